//! An MSP as a directory, as Fabric and `cryptogen` lay it out.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use gossip_api::PeerIdentity;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::pem::{self, Pem};
use super::{Msp, MspVersion};
use crate::error::MspError;
use crate::fabric::block::SerializedIdentity;
use crate::fabric::msp::{FabricMspConfig, FabricNodeOus, FabricOuIdentifier};
use crate::signer::SigningKey;

/// This peer's own MSP: who belongs to its organisation, its own identity, and its key.
///
/// Read once at start from a directory with `cacerts`, `signcerts` and `keystore`, and optionally
/// `intermediatecerts`, `admincerts`, `tlscacerts`, `tlsintermediatecerts`, `crls` and `config.yaml`.
/// Whether the own certificate has run out is not asked here: there is no clock; ask
/// [`expiration`](gossip_api::MessageCryptoService::expiration).
#[derive(Debug)]
pub struct LocalMsp {
    pub(crate) msp: Arc<Msp>,
    pub(crate) key: SigningKey,
    identity: PeerIdentity,
}

impl LocalMsp {
    /// Reads the directory `dir` of the MSP `id` (Fabric's `peer.mspConfigPath` and `peer.localMspId`).
    ///
    /// # Errors
    /// The first file that is missing, malformed or open to others, in a sentence that says what to do.
    // fabric: msp/configbuilder.go GetLocalMspConfig
    pub fn from_dir(dir: &Path, id: &str) -> Result<Self, MspError> {
        let msp = Arc::new(Msp::new(&read_config(dir, id)?, MspVersion::V3_0)?);
        let signcerts = dir.join("signcerts");
        let certificates = read_dir(&signcerts)?.unwrap_or_default();
        let Some((path, text)) = certificates.into_iter().next() else {
            return Err(MspError::Missing { path: signcerts, what: "signing certificate" });
        };
        let own = msp
            .deserialize_bytes(&text)
            .and_then(|own| own.validated.clone().map(|()| own))
            .map_err(|error| malformed(&path, error))?;
        let keystore = dir.join("keystore");
        let key = find_key(&keystore, |key| {
            key.belongs_to(own.certificate.key.kind(), own.certificate.key.bytes())
        })?
        .ok_or(MspError::KeyMismatch { keystore, certificate: path.clone() })?;
        let id_bytes = pem::encode("CERTIFICATE", &own.certificate.raw);
        let serialized = SerializedIdentity { mspid: id, id_bytes: &id_bytes }.encode();
        let identity = PeerIdentity::new(serialized).map_err(|error| malformed(&path, error))?;
        Ok(Self { msp, key, identity })
    }

    /// The MSP's id, which is the organisation's name in the gossip layer.
    pub fn id(&self) -> &str {
        &self.msp.id
    }

    /// This peer's serialized identity, in the form in which Fabric gives it.
    pub fn identity(&self) -> &PeerIdentity {
        &self.identity
    }

    /// Forgets which identities were found good, which changes nothing but the time it takes to find them
    /// good again.
    pub fn forget_cached(&self) {
        self.msp.forget_cached();
    }

    /// Certificates (DER) of the CAs under which the organisation's TLS certificates are issued.
    pub fn tls_cas(&self) -> impl Iterator<Item = &Bytes> {
        self.msp.tls_roots.iter().chain(&self.msp.tls_intermediates).map(|ca| &ca.raw)
    }
}

/// The configuration that a directory amounts to, keys left aside.
// fabric: msp/configbuilder.go getMspConfig
pub(crate) fn read_config(dir: &Path, id: &str) -> Result<FabricMspConfig, MspError> {
    let texts = |name: &str| -> Result<Vec<Bytes>, MspError> {
        let files = read_dir(&dir.join(name))?.unwrap_or_default();
        Ok(files.into_iter().map(|(_, text)| text).collect())
    };
    let root_certs = texts("cacerts")?;
    if root_certs.is_empty() {
        return Err(MspError::Missing { path: dir.join("cacerts"), what: "ca certificate" });
    }
    let settings = read_settings(dir)?;
    let units = settings.organizational_unit_identifiers.iter().map(|entry| {
        let path = dir.join(&entry.certificate);
        let certificate = read_file(&path)?.into();
        let organizational_unit_identifier = entry.organizational_unit_identifier.clone();
        Ok(FabricOuIdentifier { certificate, organizational_unit_identifier })
    });
    Ok(FabricMspConfig {
        name: id.to_owned(),
        root_certs,
        intermediate_certs: texts("intermediatecerts")?,
        admins: texts("admincerts")?,
        revocation_list: texts("crls")?,
        organizational_unit_identifiers: units.collect::<Result<_, MspError>>()?,
        crypto_config: None,
        tls_root_certs: texts("tlscacerts")?,
        tls_intermediate_certs: texts("tlsintermediatecerts")?,
        fabric_node_ous: settings.node_ous.filter(|ous| ous.enable).map(|ous| ous.read(dir)),
    })
}

/// `config.yaml`.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Settings {
    #[serde(default, rename = "OrganizationalUnitIdentifiers")]
    organizational_unit_identifiers: Vec<UnitSetting>,
    #[serde(default, rename = "NodeOUs")]
    node_ous: Option<NodeOuSettings>,
}

#[derive(Debug, Default, Deserialize)]
struct UnitSetting {
    #[serde(default, rename = "Certificate")]
    certificate: String,
    #[serde(default, rename = "OrganizationalUnitIdentifier")]
    organizational_unit_identifier: String,
}

#[derive(Debug, Deserialize)]
struct NodeOuSettings {
    #[serde(default, rename = "Enable")]
    enable: bool,
    #[serde(default, rename = "ClientOUIdentifier")]
    client: Option<UnitSetting>,
    #[serde(default, rename = "PeerOUIdentifier")]
    peer: Option<UnitSetting>,
    #[serde(default, rename = "AdminOUIdentifier")]
    admin: Option<UnitSetting>,
    #[serde(default, rename = "OrdererOUIdentifier")]
    orderer: Option<UnitSetting>,
}

impl NodeOuSettings {
    fn read(self, dir: &Path) -> FabricNodeOus {
        // An unreadable certificate counts as none, as in Fabric: the unit is then bound to no CA.
        let read = |setting: Option<UnitSetting>| {
            let setting = setting.filter(|s| !s.organizational_unit_identifier.is_empty())?;
            let certificate = match setting.certificate.as_str() {
                "" => Bytes::new(),
                path => fs::read(dir.join(path)).unwrap_or_default().into(),
            };
            let organizational_unit_identifier = setting.organizational_unit_identifier;
            Some(FabricOuIdentifier { certificate, organizational_unit_identifier })
        };
        FabricNodeOus {
            enable: true,
            client_ou_identifier: read(self.client),
            peer_ou_identifier: read(self.peer),
            admin_ou_identifier: read(self.admin),
            orderer_ou_identifier: read(self.orderer),
        }
    }
}

fn read_settings(dir: &Path) -> Result<Settings, MspError> {
    let path = dir.join("config.yaml");
    match fs::read_to_string(&path) {
        Ok(text) => parse_settings(&text).map_err(|reason| malformed(&path, reason)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Settings::default()),
        Err(source) => Err(MspError::Unreadable { path, source }),
    }
}

pub(crate) fn parse_settings(text: &str) -> Result<Settings, String> {
    serde_saphyr::from_str(text).map_err(|error| error.to_string())
}

/// The PEM files of a directory, by name; nothing if there is no such directory. Other files are passed over.
// fabric: msp/configbuilder.go getPemMaterialFromDir
fn read_dir(dir: &Path) -> Result<Option<Vec<(PathBuf, Bytes)>>, MspError> {
    let Some(paths) = files(dir)? else { return Ok(None) };
    let mut texts = Vec::new();
    for path in paths {
        let text = read_file(&path)?;
        if Pem::find(&text).is_some() {
            texts.push((path, text.into()));
        }
    }
    Ok(Some(texts))
}

/// The files of a directory, by name; nothing if there is no such directory.
fn files(dir: &Path) -> Result<Option<Vec<PathBuf>>, MspError> {
    let unreadable = |source| MspError::Unreadable { path: dir.to_owned(), source };
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(unreadable)?.path();
        if path.is_file() {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(Some(paths))
}

fn read_file(path: &Path) -> Result<Vec<u8>, MspError> {
    fs::read(path).map_err(|source| MspError::Unreadable { path: path.to_owned(), source })
}

fn malformed(path: &Path, reason: impl ToString) -> MspError {
    MspError::Malformed { path: path.to_owned(), reason: reason.to_string() }
}

/// The key of a keystore that `fits`. Files that hold no key of a kind we know are passed over.
fn find_key(
    keystore: &Path,
    fits: impl Fn(&SigningKey) -> bool,
) -> Result<Option<SigningKey>, MspError> {
    let Some(paths) = files(keystore)?.filter(|paths| !paths.is_empty()) else {
        return Err(MspError::Missing { path: keystore.to_owned(), what: "private key" });
    };
    for path in paths {
        let text = read_key_file(&path)?;
        if let Ok(key) = SigningKey::from_pem(&text)
            && fits(&key)
        {
            return Ok(Some(key));
        }
    }
    Ok(None)
}

/// The text of a private key's file, in memory that is overwritten when dropped.
///
/// # Errors
/// [`MspError::KeyExposed`] if group or others may do anything with the file, before it is read.
pub fn read_key_file(path: &Path) -> Result<Zeroizing<String>, MspError> {
    use std::io::Read as _;
    use std::os::unix::fs::MetadataExt as _;

    let unreadable = |source| MspError::Unreadable { path: path.to_owned(), source };
    // Asked before opening, which would wait for the other end of a pipe.
    if !fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(malformed(path, "a private key must be a regular file"));
    }
    let mut file = fs::File::open(path).map_err(unreadable)?;
    let mode = file.metadata().map_err(unreadable)?.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(MspError::KeyExposed { path: path.to_owned(), mode });
    }
    // Room for the whole file at once: a growing buffer would leave copies behind.
    let mut text = Zeroizing::new(String::with_capacity(MAX_KEY_FILE_LEN as usize));
    file.by_ref().take(MAX_KEY_FILE_LEN).read_to_string(&mut text).map_err(unreadable)?;
    Ok(text)
}

/// A key with its PEM frame is under 1 KiB.
const MAX_KEY_FILE_LEN: u64 = 16 << 10;
