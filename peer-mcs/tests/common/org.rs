//! Organisations made on the spot, for certificates that the fixtures do not have.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use gossip_api::PeerIdentity;
use peer_mcs::{Channels, LocalMsp, Mcs, MspError};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
};
use tempfile::TempDir;

pub const MSP: &str = "MadeMSP";

pub type Issuer = CertifiedIssuer<'static, KeyPair>;

/// An MSP's directory with one root, and a peer of it.
pub struct Org {
    pub dir: TempDir,
    pub root: Issuer,
}

impl Org {
    pub fn new() -> Self {
        let root = Issuer::self_signed(ca("root"), KeyPair::generate().unwrap()).unwrap();
        let org = Self { dir: tempfile::tempdir().unwrap(), root };
        org.write("cacerts/root.pem", &org.root.pem());
        let config = "NodeOUs: {Enable: true, ClientOUIdentifier: {OrganizationalUnitIdentifier: client}, \
                      PeerOUIdentifier: {OrganizationalUnitIdentifier: peer}, \
                      AdminOUIdentifier: {OrganizationalUnitIdentifier: admin}}\n";
        org.write("config.yaml", config);
        org.enroll(&KeyPair::generate().unwrap());
        org
    }

    /// Writes certificate and key of the peer itself.
    pub fn enroll(&self, key: &KeyPair) {
        let certificate = leaf("peer0").signed_by(key, &self.root).unwrap();
        self.write("signcerts/peer.pem", &certificate.pem());
        self.write("keystore/priv_sk", &key.serialize_pem());
    }

    pub fn write(&self, path: &str, text: &str) {
        let path = self.dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        set_mode(&path, 0o600);
    }

    pub fn load(&self) -> Result<LocalMsp, MspError> {
        LocalMsp::from_dir(self.dir.path(), MSP)
    }

    /// A peer of the organisation that has joined no channel.
    pub fn peer(&self) -> Mcs {
        Mcs::new(Arc::new(self.load().unwrap()), Arc::new(Channels::new()))
    }
}

pub fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

pub fn ca(name: &str) -> CertificateParams {
    let mut params = named(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

pub fn leaf(name: &str) -> CertificateParams {
    let mut params = named(name);
    params.distinguished_name.push(DnType::OrganizationalUnitName, "peer");
    params
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = rcgen::date_time_ymd(2026, 1, 1);
    params.not_after = rcgen::date_time_ymd(2040, 1, 1);
    params
}

/// The serialized identity of a certificate in PEM.
pub fn serialized(msp: &str, pem: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (tag, value) in [(0x0a, msp.as_bytes()), (0x12, pem.as_bytes())] {
        bytes.push(tag);
        let mut len = value.len();
        while len >= 0x80 {
            bytes.push((len & 0x7f) as u8 | 0x80);
            len >>= 7;
        }
        bytes.push(len as u8);
        bytes.extend_from_slice(value);
    }
    bytes
}

pub fn made(pem: &str) -> PeerIdentity {
    PeerIdentity::new(serialized(MSP, pem)).unwrap()
}
