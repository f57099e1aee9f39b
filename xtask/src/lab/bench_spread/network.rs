//! An organisation made on the spot: the fixtures' channel with another root for its first organisation, so
//! that there may be any number of peers.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use gossip_api::{Block, BlockCodec as _};
use gossip_comm::{SecretBytes, TlsMaterial};
use peer_mcs::{FabricCodec, LocalMsp, data_hash};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair,
    KeyUsagePurpose,
};

use crate::lab::crypto::signers::fixture;

type Issuer = CertifiedIssuer<'static, KeyPair>;

/// The authorities of the organisation, and the channel that it is in.
pub(super) struct Network {
    home: tempfile::TempDir,
    root: Issuer,
    tls: Issuer,
    pub(super) genesis: Block,
}

impl Network {
    pub(super) fn new() -> Result<Self> {
        let root = Issuer::self_signed(authority("ca"), KeyPair::generate()?)?;
        let tls = Issuer::self_signed(authority("tlsca"), KeyPair::generate()?)?;
        let genesis = fs::read(fixture(CHANNEL).join("genesis.block"))?;
        let mut genesis = FabricCodec.split(&genesis.into())?;
        let old = fs::read(fixture("crypto").join(ROOT))?;
        ensure!(is_in(&old, &genesis.data), "the channel does not name {ROOT}");
        let data = replaced(&genesis.data, &old, root.pem().as_bytes());
        genesis.data = data.context("the configuration is no protobuf")?.into();
        genesis.data_hash = data_hash(&genesis).to_vec().into();
        Ok(Self { home: tempfile::tempdir()?, root, tls, genesis })
    }

    /// The local MSP of a peer with a fresh key.
    pub(super) fn msp(&self, index: u32) -> Result<Arc<LocalMsp>> {
        let dir = self.home.path().join(format!("peer{index}"));
        let key = KeyPair::generate()?;
        let mut params = named(&format!("peer{index}.org1.test"));
        params.distinguished_name.push(DnType::OrganizationalUnitName, "peer");
        let certificate = params.signed_by(&key, &self.root)?;
        write(&dir.join("cacerts/ca.pem"), &self.root.pem())?;
        write(&dir.join("signcerts/peer.pem"), &certificate.pem())?;
        write(&dir.join("keystore/priv_sk"), &key.serialize_pem())?;
        write(&dir.join("config.yaml"), NODE_OUS)?;
        Ok(Arc::new(LocalMsp::from_dir(&dir, MSP)?))
    }

    /// A TLS certificate of a peer, and whom it trusts.
    pub(super) fn material(&self) -> Result<TlsMaterial> {
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new(vec!["peer.test".into()])?;
        let certificate = certificate.signed_by(&key, &self.tls)?;
        Ok(TlsMaterial {
            chain: vec![certificate.der().to_vec()],
            key: SecretBytes::new(key.serialize_der()),
            roots: vec![self.tls.der().to_vec()],
        })
    }
}

fn authority(name: &str) -> CertificateParams {
    let mut params = named(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = rcgen::date_time_ymd(2026, 1, 1);
    params.not_after = rcgen::date_time_ymd(2040, 1, 1);
    params
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::create_dir_all(path.parent().context("a file stands in a directory")?)?;
    fs::write(path, text)?;
    Ok(fs::set_permissions(path, Permissions::from_mode(0o600))?)
}

fn is_in(needle: &[u8], bytes: &[u8]) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle)
}

/// A protobuf with the bytes `old` replaced wherever they are a field, however deep; nothing if what holds
/// them is no protobuf.
fn replaced(bytes: &[u8], old: &[u8], new: &[u8]) -> Option<Vec<u8>> {
    if bytes == old {
        return Some(new.to_vec());
    }
    if !is_in(old, bytes) {
        return Some(bytes.to_vec());
    }
    let (mut out, mut rest) = (Vec::new(), bytes);
    while !rest.is_empty() {
        let tag = varint(&mut rest)?;
        put_varint(&mut out, tag);
        match tag & 7 {
            0 => put_varint(&mut out, varint(&mut rest)?),
            2 => {
                let len = usize::try_from(varint(&mut rest)?).ok()?;
                let (value, behind) = rest.split_at_checked(len)?;
                let value = replaced(value, old, new)?;
                put_varint(&mut out, value.len() as u64);
                out.extend(value);
                rest = behind;
            }
            _ => return None,
        }
    }
    Some(out)
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, behind) = rest.split_first()?;
        *rest = behind;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(super) const CHANNEL: &str = "trade";
pub(super) const MSP: &str = "Org1MSP";
const ROOT: &str = "peerOrganizations/org1.test/msp/cacerts/ca.org1.test-cert.pem";
const NODE_OUS: &str = "NodeOUs: {Enable: true, ClientOUIdentifier: {OrganizationalUnitIdentifier: client}, \
                        PeerOUIdentifier: {OrganizationalUnitIdentifier: peer}, \
                        AdminOUIdentifier: {OrganizationalUnitIdentifier: admin}}\n";
