//! Fabric's messages as clients and orderers exchange them, and how they are signed.

pub(crate) mod config;
pub(crate) mod envelope;
pub(crate) mod shapes;
