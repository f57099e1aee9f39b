//! Shapes of a channel's configuration and of updates to it. Field numbers are Fabric's.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::shapes::Envelope;

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ConfigEnvelope {
    #[prost(message, optional, tag = "1")]
    pub(crate) config: Option<Config>,
    #[prost(message, optional, tag = "2")]
    pub(crate) last_update: Option<Envelope>,
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

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ConfigUpdateEnvelope {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) config_update: Bytes,
    #[prost(message, repeated, tag = "2")]
    pub(crate) signatures: Vec<ConfigSignature>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ConfigSignature {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) signature_header: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) signature: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ConfigUpdate {
    #[prost(string, tag = "1")]
    pub(crate) channel_id: String,
    #[prost(message, optional, tag = "2")]
    pub(crate) read_set: Option<ConfigGroup>,
    #[prost(message, optional, tag = "3")]
    pub(crate) write_set: Option<ConfigGroup>,
}

/// `orderer.BatchSize`.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct BatchSize {
    #[prost(uint32, tag = "1")]
    pub(crate) max_message_count: u32,
    #[prost(uint32, tag = "2")]
    pub(crate) absolute_max_bytes: u32,
    #[prost(uint32, tag = "3")]
    pub(crate) preferred_max_bytes: u32,
}

/// `orderer.BatchTimeout`, `orderer.ConsensusType` and `common.HashingAlgorithm` begin with a text.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Text {
    #[prost(string, tag = "1")]
    pub(crate) text: String,
}

/// `common.OrdererAddresses`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Texts {
    #[prost(string, repeated, tag = "1")]
    pub(crate) texts: Vec<String>,
}
