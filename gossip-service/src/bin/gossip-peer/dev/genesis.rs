//! The first configuration of a channel, and the group of an organisation.

use std::collections::BTreeMap;

use bytes::Bytes;
use gossip_api::{Block, BlockCodec as _, ChannelId, SeqNum};
use peer_mcs::{FabricCodec, data_hash};
use prost::Message;

use super::material::Org;
use super::proto::Proto;
use crate::fabric::config::{
    BatchSize, Config, ConfigEnvelope, ConfigGroup, ConfigPolicy, ConfigValue, Policy, Text, Texts,
};
use crate::fabric::shapes::{
    ChannelHeader, Entries, Envelope, Header, LastConfig, Metadata, OrdererBlockMetadata, Payload,
    SignatureHeader, kind,
};

/// What a channel begins with.
pub(super) struct Plan<'a> {
    pub(super) channel: &'a ChannelId,
    pub(super) orgs: &'a [Org],
    pub(super) orderer: &'a Org,
    /// `host:port` of the orderers.
    pub(super) endpoints: Vec<String>,
    pub(super) batch: BatchSize,
    /// A Go duration.
    pub(super) batch_timeout: String,
    /// Names and certificates of orderers that agree among liars; none if there is one orderer.
    pub(super) consenters: Vec<(String, Bytes)>,
}

/// The serialized genesis block.
// fabric: common/genesis/genesis.go Block
pub(super) fn block(plan: &Plan<'_>) -> Bytes {
    let config = Config { sequence: 0, channel_group: Some(channel(plan)) };
    let envelope =
        config_envelope(plan.channel, ConfigEnvelope { config: Some(config), last_update: None });
    let metadata = Metadata { value: order_metadata(0), signatures: Vec::new() };
    let block =
        assemble(SeqNum::new(0), Bytes::new(), vec![envelope.encode_to_vec().into()], &metadata);
    FabricCodec.join(&block)
}

/// An unsigned envelope around a configuration.
fn config_envelope(channel: &ChannelId, config: ConfigEnvelope) -> Envelope {
    let channel_header = ChannelHeader {
        kind: kind::CONFIG,
        timestamp: Some(crate::fabric::envelope::now()),
        channel_id: channel.as_str().to_owned(),
        ..ChannelHeader::default()
    };
    let header = Header {
        channel_header: channel_header.encode_to_vec().into(),
        signature_header: SignatureHeader::default().encode_to_vec().into(),
    };
    let payload = Payload { header: Some(header), data: config.encode_to_vec().into() };
    Envelope { payload: payload.encode_to_vec().into(), signature: Bytes::new() }
}

/// A block around transactions, with the metadata of its signatures.
pub(super) fn assemble(
    number: SeqNum,
    previous_hash: Bytes,
    transactions: Vec<Bytes>,
    metadata: &Metadata,
) -> Block {
    let mut entries = vec![Bytes::new(); METADATA_ENTRIES];
    if let Some(first) = entries.first_mut() {
        *first = metadata.encode_to_vec().into();
    }
    let mut block = Block {
        number,
        previous_hash,
        data_hash: Bytes::new(),
        data: Entries { entries: transactions }.encode_to_vec().into(),
        metadata: Entries { entries }.encode_to_vec().into(),
    };
    block.data_hash = Bytes::copy_from_slice(&data_hash(&block));
    block
}

/// What an orderer signs beside the header: the number of the config block in force.
pub(super) fn order_metadata(last_config: u64) -> Bytes {
    let last_config = Some(LastConfig { index: last_config });
    OrdererBlockMetadata { last_config, ..OrdererBlockMetadata::default() }.encode_to_vec().into()
}

fn channel(plan: &Plan<'_>) -> ConfigGroup {
    let mut values = BTreeMap::new();
    put(&mut values, "HashingAlgorithm", text("SHA256"));
    let width = Proto::default().uint(1, u64::from(u32::MAX)).done();
    put(&mut values, "BlockDataHashingStructure", width);
    put(&mut values, "Capabilities", capabilities("V2_0"));
    ConfigGroup {
        groups: BTreeMap::from([
            ("Application".to_owned(), application(plan)),
            ("Orderer".to_owned(), orderer(plan)),
        ]),
        values,
        policies: meta_policies(),
        ..group()
    }
}

fn application(plan: &Plan<'_>) -> ConfigGroup {
    let mut values = BTreeMap::new();
    put(&mut values, "Capabilities", capabilities("V2_0"));
    let orgs = plan.orgs.iter().map(|org| (org.msp_id.clone(), org_group(org)));
    ConfigGroup { groups: orgs.collect(), values, policies: meta_policies(), ..group() }
}

fn orderer(plan: &Plan<'_>) -> ConfigGroup {
    let mut values = BTreeMap::new();
    if plan.consenters.is_empty() {
        put(&mut values, "ConsensusType", text("solo"));
    } else {
        put(&mut values, "ConsensusType", text("BFT"));
        put(&mut values, "Orderers", consenters(plan));
    }
    put(&mut values, "BatchSize", plan.batch.encode_to_vec().into());
    put(&mut values, "BatchTimeout", text(&plan.batch_timeout));
    put(&mut values, "Capabilities", capabilities("V2_0"));
    let mut policies = meta_policies();
    policies.insert("BlockValidation".into(), meta_policy("Writers", ANY));
    let mut org = members(
        plan.orderer,
        &[("Readers", &[MEMBER]), ("Writers", &[MEMBER]), ("Admins", &[ADMIN])],
    );
    let endpoints = Texts { texts: plan.endpoints.clone() };
    put(&mut org.values, "Endpoints", endpoints.encode_to_vec().into());
    let groups = BTreeMap::from([(plan.orderer.msp_id.clone(), org)]);
    ConfigGroup { groups, values, policies, ..group() }
}

fn consenters(plan: &Plan<'_>) -> Bytes {
    let mut orderers = Proto::default();
    for (id, (host, certificate)) in (1..).zip(&plan.consenters) {
        let consenter = Proto::default()
            .uint(1, id)
            .bytes(2, host.as_bytes())
            .bytes(4, plan.orderer.msp_id.as_bytes())
            .bytes(5, certificate);
        orderers = orderers.message(1, consenter);
    }
    orderers.done()
}

/// The group of an application organisation.
pub(super) fn org_group(org: &Org) -> ConfigGroup {
    members(
        org,
        &[
            ("Readers", &[ADMIN, PEER, CLIENT]),
            ("Writers", &[ADMIN, CLIENT]),
            ("Admins", &[ADMIN]),
            ("Endorsement", &[PEER]),
        ],
    )
}

fn members(org: &Org, policies: &[(&str, &[u64])]) -> ConfigGroup {
    let mut values = BTreeMap::new();
    put(&mut values, "MSP", msp(org));
    let policies = policies.iter().map(|(name, roles)| {
        let policy = Policy { kind: SIGNATURE, value: any_of(&org.msp_id, roles) };
        ((*name).to_owned(), admins_policy(policy))
    });
    ConfigGroup { values, policies: policies.collect(), ..group() }
}

/// One signature of somebody who has one of the roles.
fn any_of(msp_id: &str, roles: &[u64]) -> Bytes {
    let mut choice = Proto::default().uint(1, 1);
    for index in 0..roles.len() {
        choice = choice.message(2, Proto::default().uint(1, index as u64));
    }
    let rule = Proto::default().message(2, choice);
    let mut envelope = Proto::default().message(2, rule);
    for role in roles {
        let role = Proto::default().bytes(1, msp_id.as_bytes()).uint(2, *role);
        envelope = envelope.message(3, Proto::default().message(2, role));
    }
    envelope.done()
}

fn msp(org: &Org) -> Bytes {
    let unit =
        |name: &str| Proto::default().bytes(1, org.ca_pem().as_bytes()).bytes(2, name.as_bytes());
    let node_ous = Proto::default()
        .uint(1, 1)
        .message(2, unit("client"))
        .message(3, unit("peer"))
        .message(4, unit("admin"))
        .message(5, unit("orderer"));
    let crypto = Proto::default().bytes(1, b"SHA2").bytes(2, b"SHA256");
    let config = Proto::default()
        .bytes(1, org.msp_id.as_bytes())
        .bytes(2, org.ca_pem().as_bytes())
        .message(8, crypto)
        .bytes(9, org.tls_ca_pem().as_bytes())
        .message(11, node_ous);
    Proto::default().message(2, config).done()
}

fn meta_policies() -> BTreeMap<String, ConfigPolicy> {
    [("Readers", ANY), ("Writers", ANY), ("Admins", MAJORITY)]
        .into_iter()
        .map(|(name, rule)| (name.to_owned(), meta_policy(name, rule)))
        .collect()
}

fn meta_policy(below: &str, rule: u64) -> ConfigPolicy {
    let value = Proto::default().bytes(1, below.as_bytes()).uint(2, rule).done();
    admins_policy(Policy { kind: IMPLICIT_META, value })
}

fn admins_policy(policy: Policy) -> ConfigPolicy {
    ConfigPolicy { version: 0, policy: Some(policy), mod_policy: ADMINS.into() }
}

fn group() -> ConfigGroup {
    ConfigGroup { mod_policy: ADMINS.into(), ..ConfigGroup::default() }
}

fn put(values: &mut BTreeMap<String, ConfigValue>, name: &str, value: Bytes) {
    let value = ConfigValue { version: 0, value, mod_policy: ADMINS.into() };
    values.insert(name.to_owned(), value);
}

fn text(text: &str) -> Bytes {
    Text { text: text.to_owned() }.encode_to_vec().into()
}

fn capabilities(name: &str) -> Bytes {
    let entry = Proto::default().bytes(1, name.as_bytes()).bytes(2, &[]);
    Proto::default().message(1, entry).done()
}

const ADMINS: &str = "Admins";
/// `common.Policy.PolicyType`.
const SIGNATURE: i32 = 1;
const IMPLICIT_META: i32 = 3;
/// `common.ImplicitMetaPolicy.Rule`.
const ANY: u64 = 0;
const MAJORITY: u64 = 2;
/// `common.MSPRole.MSPRoleType`.
const MEMBER: u64 = 0;
const ADMIN: u64 = 1;
const CLIENT: u64 = 2;
const PEER: u64 = 3;
/// Entries of a block's metadata in this version of Fabric.
const METADATA_ENTRIES: usize = 5;
