//! Keys, certificates and the local MSP, read before anything starts.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

use gossip_comm::{SecretBytes, TlsMaterial};
use peer_mcs::{LocalMsp, read_key_file};

use crate::Failure;
use crate::config::Config;

/// What was read.
#[derive(Clone)]
pub(crate) struct Material {
    pub(crate) msp: Arc<LocalMsp>,
    pub(crate) tls: TlsMaterial,
}

/// Reads the MSP directory and the TLS files.
pub(crate) fn load(config: &Config) -> Result<Material, Failure> {
    let msp = LocalMsp::from_dir(&config.msp_dir, &config.msp_id)
        .map_err(|error| Failure::Config(error.to_string()))?;
    let mut roots: Vec<Vec<u8>> = msp.tls_cas().map(|ca| ca.to_vec()).collect();
    if let Some(file) = &config.tls.roots {
        roots.extend(certificates(file)?);
    }
    let tls = TlsMaterial {
        chain: certificates(&config.tls.cert)?,
        key: SecretBytes::new(private_key(&config.tls.key)?),
        roots,
    };
    Ok(Material { msp: Arc::new(msp), tls })
}

/// The private key in a PEM file that its owner, and we, alone can read, as DER.
pub(crate) fn private_key(file: &Path) -> Result<Vec<u8>, Failure> {
    check_owner(file)?;
    let text = read_key_file(file).map_err(|error| Failure::Config(error.to_string()))?;
    key_der(file, &text)
}

/// Whoever owns a key can replace it.
fn check_owner(file: &Path) -> Result<(), Failure> {
    let Ok(found) = std::fs::metadata(file) else { return Ok(()) };
    let we = rustix::process::geteuid().as_raw();
    if found.uid() == we || we == 0 {
        return Ok(());
    }
    Err(Failure::Config(format!(
        "{} belongs to user {}, and this process runs as {we}: change the owner",
        file.display(),
        found.uid()
    )))
}

/// The certificates of a PEM file, as DER.
pub(crate) fn certificates(file: &Path) -> Result<Vec<Vec<u8>>, Failure> {
    let text = std::fs::read(file)
        .map_err(|error| Failure::Config(format!("cannot read {}: {error}", file.display())))?;
    let blocks = pem::parse_many(&text).map_err(|error| {
        Failure::Config(format!("{} is not a PEM file: {error}", file.display()))
    })?;
    let found: Vec<Vec<u8>> = blocks
        .into_iter()
        .filter(|block| block.tag() == "CERTIFICATE")
        .map(pem::Pem::into_contents)
        .collect();
    if found.is_empty() {
        return Err(Failure::Config(format!(
            "{} holds no certificate: name a PEM file with one",
            file.display()
        )));
    }
    Ok(found)
}

fn key_der(file: &Path, text: &str) -> Result<Vec<u8>, Failure> {
    let block = pem::parse(text).map_err(|error| {
        Failure::Config(format!("{} is not a PEM file: {error}", file.display()))
    })?;
    if !block.tag().ends_with("PRIVATE KEY") {
        return Err(Failure::Config(format!(
            "{} holds a {}, not a private key: correct peer.tls.key.file",
            file.display(),
            block.tag()
        )));
    }
    Ok(block.into_contents())
}
