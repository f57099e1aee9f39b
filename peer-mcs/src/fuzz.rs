//! Doors for fuzz targets: every reader of bytes that strangers or operators choose, one function each.
//!
//! Not for other use and without promise. Each answers whether the bytes were accepted; none may panic.
//! Blocks, identities and configurations have public doors of their own: [`FabricCodec`](crate::FabricCodec),
//! [`Mcs`](crate::Mcs), [`Channel`](crate::Channel).

use bytes::Bytes;

use crate::fabric;
use crate::fabric::block::Envelope;
use crate::msp::certificate::Certificate;
use crate::msp::directory::parse_settings;
use crate::msp::pem::Pem;
use crate::msp::revocation::RevocationList;
use crate::msp::{Msp, MspVersion};

/// An X.509 certificate in DER.
pub fn certificate(der: &[u8]) -> bool {
    Certificate::parse(der).is_ok()
}

/// A revocation list in PEM or DER.
pub fn revocation_list(bytes: &[u8]) -> bool {
    RevocationList::parse(bytes).is_ok()
}

/// A PEM text.
pub fn pem(text: &[u8]) -> bool {
    Pem::find(text).is_some()
}

/// A serialized `msp.FabricMSPConfig`, set up as far as it goes.
pub fn msp_config(bytes: &[u8]) -> bool {
    fabric::decode(&Bytes::copy_from_slice(bytes))
        .is_ok_and(|config| Msp::new(&config, MspVersion::V3_0).is_ok())
}

/// The `config.yaml` of an MSP's directory.
pub fn msp_settings(text: &str) -> bool {
    parse_settings(text).is_ok()
}

/// A transaction's envelope; whether it is in the one form allowed, if it decodes.
pub fn envelope(bytes: &[u8]) -> Option<bool> {
    Envelope::decode(bytes).ok().map(|envelope| envelope.canonical)
}
