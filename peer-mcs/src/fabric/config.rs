//! Shapes of a channel's configuration. Field numbers are Fabric's.

use std::collections::BTreeMap;

use bytes::Bytes;

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ConfigEnvelope {
    #[prost(message, optional, tag = "1")]
    pub(crate) config: Option<Config>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Config {
    #[prost(uint64, tag = "1")]
    pub(crate) sequence: u64,
    #[prost(message, optional, tag = "2")]
    pub(crate) channel_group: Option<ConfigGroup>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ConfigGroup {
    #[prost(uint64, tag = "1")]
    pub(crate) version: u64,
    #[prost(btree_map = "string, message", tag = "2")]
    pub(crate) groups: BTreeMap<String, ConfigGroup>,
    #[prost(btree_map = "string, message", tag = "3")]
    pub(crate) values: BTreeMap<String, ConfigValue>,
    #[prost(btree_map = "string, message", tag = "4")]
    pub(crate) policies: BTreeMap<String, ConfigPolicy>,
    #[prost(string, tag = "5")]
    pub(crate) mod_policy: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ConfigValue {
    #[prost(uint64, tag = "1")]
    pub(crate) version: u64,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) value: Bytes,
    #[prost(string, tag = "3")]
    pub(crate) mod_policy: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ConfigPolicy {
    #[prost(uint64, tag = "1")]
    pub(crate) version: u64,
    #[prost(message, optional, tag = "2")]
    pub(crate) policy: Option<Policy>,
    #[prost(string, tag = "3")]
    pub(crate) mod_policy: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Policy {
    #[prost(int32, tag = "1")]
    pub(crate) kind: i32,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) value: Bytes,
}

impl Policy {
    pub(crate) const SIGNATURE: i32 = 1;
    pub(crate) const IMPLICIT_META: i32 = 3;
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ImplicitMetaPolicy {
    #[prost(string, tag = "1")]
    pub(crate) sub_policy: String,
    #[prost(int32, tag = "2")]
    pub(crate) rule: i32,
}

impl ImplicitMetaPolicy {
    pub(crate) const ANY: i32 = 0;
    pub(crate) const ALL: i32 = 1;
    pub(crate) const MAJORITY: i32 = 2;
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct SignaturePolicyEnvelope {
    #[prost(int32, tag = "1")]
    pub(crate) version: i32,
    #[prost(message, optional, tag = "2")]
    pub(crate) rule: Option<SignaturePolicy>,
    #[prost(message, repeated, tag = "3")]
    pub(crate) identities: Vec<MspPrincipal>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct SignaturePolicy {
    #[prost(oneof = "Rule", tags = "1, 2")]
    pub(crate) rule: Option<Rule>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum Rule {
    #[prost(int32, tag = "1")]
    SignedBy(i32),
    #[prost(message, tag = "2")]
    NOutOf(NOutOf),
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct NOutOf {
    #[prost(int32, tag = "1")]
    pub(crate) n: i32,
    #[prost(message, repeated, tag = "2")]
    pub(crate) rules: Vec<SignaturePolicy>,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct MspPrincipal {
    #[prost(int32, tag = "1")]
    pub(crate) classification: i32,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) principal: Bytes,
}

impl MspPrincipal {
    pub(crate) const ROLE: i32 = 0;
    pub(crate) const ORGANIZATION_UNIT: i32 = 1;
    pub(crate) const IDENTITY: i32 = 2;
    pub(crate) const ANONYMITY: i32 = 3;
    pub(crate) const COMBINED: i32 = 4;
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct CombinedPrincipal {
    #[prost(message, repeated, tag = "1")]
    pub(crate) principals: Vec<MspPrincipal>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct MspRole {
    #[prost(string, tag = "1")]
    pub(crate) msp_identifier: String,
    #[prost(int32, tag = "2")]
    pub(crate) role: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct OrganizationUnit {
    #[prost(string, tag = "1")]
    pub(crate) msp_identifier: String,
    #[prost(string, tag = "2")]
    pub(crate) organizational_unit_identifier: String,
    #[prost(bytes = "bytes", tag = "3")]
    pub(crate) certifiers_identifier: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct MspIdentityAnonymity {
    #[prost(int32, tag = "1")]
    pub(crate) anonymity_type: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Capabilities {
    #[prost(btree_map = "string, message", tag = "1")]
    pub(crate) capabilities: BTreeMap<String, Capability>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Capability {}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct HashingAlgorithm {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct BlockDataHashingStructure {
    #[prost(uint32, tag = "1")]
    pub(crate) width: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct OrdererAddresses {
    #[prost(string, repeated, tag = "1")]
    pub(crate) addresses: Vec<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct AnchorPeers {
    #[prost(message, repeated, tag = "1")]
    pub(crate) anchor_peers: Vec<AnchorPeer>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct AnchorPeer {
    #[prost(string, tag = "1")]
    pub(crate) host: String,
    #[prost(int32, tag = "2")]
    pub(crate) port: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ConsensusType {
    #[prost(string, tag = "1")]
    pub(crate) kind: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Orderers {
    #[prost(message, repeated, tag = "1")]
    pub(crate) consenter_mapping: Vec<Consenter>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Consenter {
    #[prost(uint32, tag = "1")]
    pub(crate) id: u32,
    #[prost(string, tag = "2")]
    pub(crate) host: String,
    #[prost(uint32, tag = "3")]
    pub(crate) port: u32,
    #[prost(string, tag = "4")]
    pub(crate) msp_id: String,
    #[prost(bytes = "bytes", tag = "5")]
    pub(crate) identity: Bytes,
    #[prost(bytes = "bytes", tag = "6")]
    pub(crate) client_tls_cert: Bytes,
    #[prost(bytes = "bytes", tag = "7")]
    pub(crate) server_tls_cert: Bytes,
}
