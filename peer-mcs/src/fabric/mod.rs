//! Fabric's protobuf messages, as far as this crate needs them.
//!
//! Blocks, transactions and identities are read by hand ([`block`], over [`wire`]): their bytes are
//! chosen by strangers, nothing of them may be copied, and the verdict must be Go's. Configurations and
//! MSPs are shapes with prost derives ([`config`], [`msp`]): they are read once per config block.

pub(crate) mod block;
pub(crate) mod config;
pub(crate) mod msp;
pub(crate) mod wire;

use bytes::Bytes;

/// Decodes a shape of [`config`] or [`msp`].
///
/// # Errors
/// The decoder's words.
pub(crate) fn decode<M: Shape>(bytes: &Bytes) -> Result<M, String> {
    M::decode(bytes.clone()).map_err(|error| error.to_string())
}

/// Encodes a shape of [`config`] or [`msp`].
#[cfg(test)]
pub(crate) fn encode(shape: &impl Shape) -> Bytes {
    shape.encode_to_vec().into()
}

/// What [`decode`] reads.
pub(crate) trait Shape: prost::Message + Default {}

impl<M: prost::Message + Default> Shape for M {}
