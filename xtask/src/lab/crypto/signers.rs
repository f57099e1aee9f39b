//! Nodes of the fixtures' network that sign, and their keys as the libraries hold them.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use bytes::Bytes;
use gossip_api::{BlockCodec as _, MessageCryptoService as _, PeerIdentity};
use peer_mcs::{Channel, Channels, FabricCodec, LocalMsp, Mcs};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::shell;

/// A node that signs: its throw-away key is public.
pub(in crate::lab) struct Signer {
    mcs: Mcs,
    /// In DER.
    pub(in crate::lab) certificate: CertificateDer<'static>,
}

impl Signer {
    /// The node whose MSP directory is at `dir` below the fixtures' `crypto`.
    pub(in crate::lab) fn node(dir: &str, msp: &str) -> Result<Self> {
        Self::with(dir, msp, |_| Ok(()))
    }

    /// peer0 of org1 under its organisation's Ed25519 certificate.
    pub(in crate::lab) fn ed25519() -> Result<Self> {
        Self::with(PEER0_ORG1, "Org1MSP", |dir| {
            let extra = fixture("crypto-extra");
            fs::remove_dir_all(dir.join("signcerts"))?;
            fs::create_dir(dir.join("signcerts"))?;
            copy_file(&extra.join("peer-ed25519-cert.pem"), &dir.join("signcerts/cert.pem"))?;
            copy_file(&extra.join("peer-ed25519-key.pem"), &dir.join("keystore/priv_sk"))
        })
    }

    fn with(dir: &str, msp: &str, change: impl FnOnce(&Path) -> Result<()>) -> Result<Self> {
        let copy = tempfile::tempdir()?;
        copy_private(&fixture("crypto").join(dir), copy.path())?;
        change(copy.path())?;
        let local = LocalMsp::from_dir(copy.path(), msp).with_context(|| dir.to_owned())?;
        let certificates = fs::read_dir(copy.path().join("signcerts"))?;
        let path = certificates.last().context("no certificate")??.path();
        let certificate = certificate(&path)?;
        Ok(Self { mcs: Mcs::new(Arc::new(local), Arc::new(Channels::new())), certificate })
    }

    pub(in crate::lab) fn identity(&self) -> &PeerIdentity {
        self.mcs.local().identity()
    }

    pub(in crate::lab) fn local(&self) -> &Arc<LocalMsp> {
        self.mcs.local()
    }

    pub(in crate::lab) fn sign(&self, message: &[u8]) -> Result<Bytes> {
        self.mcs.sign(message).map_err(|error| anyhow!("{error}"))
    }

    /// The last `N` bytes of the certificate's key: the point of an elliptic curve.
    pub(in crate::lab) fn public_key<const N: usize>(&self) -> Result<[u8; N]> {
        let certificate = webpki::EndEntityCert::try_from(&self.certificate)?;
        let key = certificate.subject_public_key_info();
        Ok(*key.last_chunk().context("key is too short")?)
    }
}

/// The channel of this name as its genesis block configures it.
pub(in crate::lab) fn joined(name: &str) -> Result<Arc<Channels>> {
    let genesis = fs::read(fixture(name).join("genesis.block"))?;
    let channel = Channel::from_config_block(&FabricCodec.split(&genesis.into())?)?;
    let channels = Channels::new();
    channels.join(channel)?;
    Ok(Arc::new(channels))
}

/// A certificate in PEM.
pub(in crate::lab) fn certificate(path: &Path) -> Result<CertificateDer<'static>> {
    CertificateDer::from_pem_file(path).map_err(|error| anyhow!("{}: {error}", path.display()))
}

/// A path below the fixtures of a genuine Fabric network.
pub(in crate::lab) fn fixture(path: &str) -> PathBuf {
    shell::root().join("peer-mcs/tests/fixtures").join(path)
}

/// Copies a directory; a key that others can read would be refused.
fn copy_private(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from).with_context(|| from.display().to_string())? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            fs::create_dir(&target)?;
            copy_private(&entry.path(), &target)?;
        } else {
            copy_file(&entry.path(), &target)?;
        }
    }
    Ok(())
}

fn copy_file(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to)?;
    Ok(fs::set_permissions(to, Permissions::from_mode(0o600))?)
}

/// MSP directory of the peer that judges.
pub(in crate::lab) const PEER0_ORG1: &str = "peerOrganizations/org1.test/peers/peer0.org1.test/msp";
/// MSP directory of a peer of another organisation.
pub(in crate::lab) const PEER0_ORG2: &str = "peerOrganizations/org2.test/peers/peer0.org2.test/msp";
