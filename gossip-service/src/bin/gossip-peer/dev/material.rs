//! Certificate authorities and identities, laid out as Fabric's tools lay them out.

use std::fs::{DirBuilder, OpenOptions};
use std::io::Write as _;
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use time::{Duration, OffsetDateTime};

use crate::Failure;

/// An organisation: its name, its MSP, and the authorities that vouch for its members.
pub(crate) struct Org {
    /// Such as `org1.test`.
    pub(super) domain: String,
    pub(super) msp_id: String,
    ca: Authority,
    tls_ca: Authority,
}

struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A member to be.
pub(super) struct Member<'a> {
    pub(super) name: &'a str,
    /// The organisational unit that is its role: `peer`, `orderer`, `admin` or `client`.
    pub(super) role: &'a str,
    /// Until when its identity is valid; its TLS certificate is valid for ten years.
    pub(super) valid_for: Duration,
}

/// Ten years.
pub(super) const LONG: Duration = Duration::days(3650);

impl Org {
    /// The organisation called `domain`: read if it is there, else made.
    pub(super) fn open(orgs: &Path, domain: &str, msp_id: &str) -> Result<Self, Failure> {
        let dir = orgs.join(domain);
        let authority = |kind: &str| Authority::open(&dir.join(kind), &format!("{kind}.{domain}"));
        Ok(Self {
            domain: domain.to_owned(),
            msp_id: msp_id.to_owned(),
            ca: authority("ca")?,
            tls_ca: authority("tlsca")?,
        })
    }

    pub(super) fn ca_pem(&self) -> &str {
        &self.ca.pem
    }

    pub(super) fn tls_ca_pem(&self) -> &str {
        &self.tls_ca.pem
    }

    /// Makes `home` with `msp` and `tls` of a member.
    pub(super) fn enrol(&self, home: &Path, member: &Member<'_>) -> Result<(), Failure> {
        let (cert, key) = self.ca.issue(&identity(member)?)?;
        let msp = home.join("msp");
        write(&msp.join("cacerts/ca.pem"), &self.ca.pem)?;
        write(&msp.join("tlscacerts/tlsca.pem"), &self.tls_ca.pem)?;
        write(&msp.join("signcerts/cert.pem"), &cert)?;
        write(&msp.join("keystore/priv_sk"), &key)?;
        write(&msp.join("config.yaml"), NODE_OUS)?;
        let (cert, key) = self.tls_ca.issue(&tls(member)?)?;
        write(&home.join("tls/server.crt"), &cert)?;
        write(&home.join("tls/server.key"), &key)?;
        write(&home.join("tls/ca.crt"), &self.tls_ca.pem)
    }
}

impl Authority {
    fn open(dir: &Path, name: &str) -> Result<Self, Failure> {
        let (cert_file, key_file) = (dir.join("cert.pem"), dir.join("key.pem"));
        if let (Ok(pem), Ok(key)) =
            (std::fs::read_to_string(&cert_file), std::fs::read_to_string(&key_file))
        {
            let key = KeyPair::from_pem(&key).map_err(broken)?;
            return Ok(Self { pem, issuer: Issuer::new(authority(name)?, key) });
        }
        let key = KeyPair::generate().map_err(broken)?;
        let params = authority(name)?;
        let pem = params.self_signed(&key).map_err(broken)?.pem();
        write(&cert_file, &pem)?;
        write(&key_file, key.serialize_pem())?;
        Ok(Self { pem, issuer: Issuer::new(params, key) })
    }
    fn issue(&self, params: &CertificateParams) -> Result<(String, String), Failure> {
        let key = KeyPair::generate().map_err(broken)?;
        let cert = params.signed_by(&key, &self.issuer).map_err(broken)?;
        Ok((cert.pem(), key.serialize_pem()))
    }
}

/// What an authority's certificate says; with its key, all that is needed to issue under it again.
fn authority(name: &str) -> Result<CertificateParams, Failure> {
    let mut params = named(name, None, Duration::hours(1), LONG)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::CrlSign,
    ];
    Ok(params)
}

fn identity(member: &Member<'_>) -> Result<CertificateParams, Failure> {
    let age = Duration::minutes(5);
    let mut params = named(member.name, Some(member.role), age, member.valid_for)?;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn tls(member: &Member<'_>) -> Result<CertificateParams, Failure> {
    let mut params = named(member.name, None, Duration::minutes(5), LONG)?;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    for host in [member.name, "localhost"] {
        params.subject_alt_names.push(SanType::DnsName(host.try_into().map_err(broken)?));
    }
    for address in ["127.0.0.1", "::1"] {
        let address: IpAddr = address.parse().map_err(broken)?;
        params.subject_alt_names.push(SanType::IpAddress(address));
    }
    Ok(params)
}

fn named(
    name: &str,
    unit: Option<&str>,
    age: Duration,
    valid_for: Duration,
) -> Result<CertificateParams, Failure> {
    let mut params = CertificateParams::new(Vec::new()).map_err(broken)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "development");
    if let Some(unit) = unit {
        params.distinguished_name.push(DnType::OrganizationalUnitName, unit);
    }
    params.distinguished_name.push(DnType::CommonName, name);
    let now = OffsetDateTime::now_utc();
    params.not_before = now - age;
    params.not_after = now + valid_for;
    Ok(params)
}

/// Writes a file that nobody else may read, and its directories.
pub(super) fn write(file: &Path, text: impl AsRef<[u8]>) -> Result<(), Failure> {
    let dir = file.parent().map_or_else(PathBuf::new, Path::to_path_buf);
    let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    made.and_then(|()| options.open(file))
        .and_then(|mut open| open.write_all(text.as_ref()))
        .map_err(|error| Failure::Run(format!("cannot write {}: {error}", file.display())))
}

fn broken(error: impl std::fmt::Display) -> Failure {
    Failure::Run(format!("cannot make key material: {error}"))
}

/// Roles by organisational unit, as Fabric's tools write them.
const NODE_OUS: &str = "NodeOUs:
  Enable: true
  ClientOUIdentifier:
    Certificate: cacerts/ca.pem
    OrganizationalUnitIdentifier: client
  PeerOUIdentifier:
    Certificate: cacerts/ca.pem
    OrganizationalUnitIdentifier: peer
  AdminOUIdentifier:
    Certificate: cacerts/ca.pem
    OrganizationalUnitIdentifier: admin
  OrdererOUIdentifier:
    Certificate: cacerts/ca.pem
    OrganizationalUnitIdentifier: orderer
";
