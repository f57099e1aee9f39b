//! Shapes of an MSP's configuration. Field numbers are Fabric's.

use bytes::Bytes;

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct MspConfig {
    #[prost(int32, tag = "1")]
    pub(crate) kind: i32,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) config: Bytes,
}

impl MspConfig {
    /// X.509, the kind that this crate knows.
    pub(crate) const FABRIC: i32 = 0;
    /// Anonymous credentials; an MSP of this kind accepts no peer.
    pub(crate) const IDEMIX: i32 = 1;
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct FabricMspConfig {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(bytes = "bytes", repeated, tag = "2")]
    pub(crate) root_certs: Vec<Bytes>,
    #[prost(bytes = "bytes", repeated, tag = "3")]
    pub(crate) intermediate_certs: Vec<Bytes>,
    #[prost(bytes = "bytes", repeated, tag = "4")]
    pub(crate) admins: Vec<Bytes>,
    #[prost(bytes = "bytes", repeated, tag = "5")]
    pub(crate) revocation_list: Vec<Bytes>,
    #[prost(message, repeated, tag = "7")]
    pub(crate) organizational_unit_identifiers: Vec<FabricOuIdentifier>,
    #[prost(message, optional, tag = "8")]
    pub(crate) crypto_config: Option<FabricCryptoConfig>,
    #[prost(bytes = "bytes", repeated, tag = "9")]
    pub(crate) tls_root_certs: Vec<Bytes>,
    #[prost(bytes = "bytes", repeated, tag = "10")]
    pub(crate) tls_intermediate_certs: Vec<Bytes>,
    #[prost(message, optional, tag = "11")]
    pub(crate) fabric_node_ous: Option<FabricNodeOus>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct FabricCryptoConfig {
    #[prost(string, tag = "1")]
    pub(crate) signature_hash_family: String,
    #[prost(string, tag = "2")]
    pub(crate) identity_identifier_hash_function: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct FabricNodeOus {
    #[prost(bool, tag = "1")]
    pub(crate) enable: bool,
    #[prost(message, optional, tag = "2")]
    pub(crate) client_ou_identifier: Option<FabricOuIdentifier>,
    #[prost(message, optional, tag = "3")]
    pub(crate) peer_ou_identifier: Option<FabricOuIdentifier>,
    #[prost(message, optional, tag = "4")]
    pub(crate) admin_ou_identifier: Option<FabricOuIdentifier>,
    #[prost(message, optional, tag = "5")]
    pub(crate) orderer_ou_identifier: Option<FabricOuIdentifier>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct FabricOuIdentifier {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) certificate: Bytes,
    #[prost(string, tag = "2")]
    pub(crate) organizational_unit_identifier: String,
}

/// As much of `msp.IdemixMSPConfig` as is of use here.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct IdemixMspConfig {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
}
