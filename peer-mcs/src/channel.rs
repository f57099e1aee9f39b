//! What one configuration of a channel makes a peer believe.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use gossip_api::{AnchorPeer, Block, BlockHash, ChannelId, JoinChannelMessage, OrgId, SeqNum};

use crate::block::{check_link_to_nothing, config_of, data_hash};
use crate::cache::Cache;
use crate::config::{ORDERER, ReadError, Reader};
use crate::error::ChannelError;
use crate::fabric;
use crate::fabric::config::{Config, ConfigEnvelope};
use crate::fabric::msp::MspConfig;
use crate::policy::{Msps, Policies, SignedData};

/// A channel's trust as of one of its config blocks: organisations, MSPs, policies, orderers.
///
/// Immutable; a later config block gives another value ([`next`](Self::next)). [`Channels`](crate::Channels)
/// holds the ones in force.
#[derive(Debug)]
pub struct Channel {
    id: ChannelId,
    genesis_hash: Option<BlockHash>,
    config_block: SeqNum,
    sequence: u64,
    application_orgs: BTreeMap<OrgId, Vec<AnchorPeer>>,
    orderer_orgs: BTreeMap<OrgId, Vec<String>>,
    orderer_addresses: Vec<String>,
    consensus_type: String,
    capabilities: BTreeSet<String>,
    consenters: Vec<Consenter>,
    /// Serialized identities by number; the first one of a number counts.
    pub(crate) consenter_identities: BTreeMap<u32, Vec<u8>>,
    pub(crate) has_orderer_section: bool,
    pub(crate) msps: Msps,
    /// What each MSP was made of, so that the next view can keep those that did not change.
    pub(crate) msp_configs: BTreeMap<String, MspConfig>,
    pub(crate) policies: Policies,
    /// Headers with signatures that were found to satisfy the policy of blocks.
    pub(crate) verified: Cache<[u8; 32], ()>,
}

/// An ordering node of a channel with BFT consensus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consenter {
    /// The number by which its signatures name it.
    pub id: u32,
    /// Host name or address of the cluster's listener.
    pub host: String,
    /// TCP port of the cluster's listener.
    pub port: u32,
    /// MSP id.
    pub org: String,
    /// Certificate of its TLS server, PEM.
    pub server_tls_cert: Bytes,
}

/// A CA under which an organisation's TLS certificates are issued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsCa {
    /// Whose.
    pub org: OrgId,
    /// The certificate, DER.
    pub certificate: Bytes,
    /// Whether it is an intermediate one, which is no trust anchor by itself.
    pub is_intermediate: bool,
}

/// A message, a signature over it, and the serialized identity whose signature it is said to be.
#[derive(Clone, Copy, Debug)]
pub struct Signed<'a> {
    /// Serialized `msp.SerializedIdentity`.
    pub identity: &'a [u8],
    /// What was signed.
    pub message: &'a [u8],
    /// The signature.
    pub signature: &'a [u8],
}

impl Channel {
    /// Reads the configuration in `block`, which the caller trusts: a genesis block from the operator, or
    /// a config block that was verified under the configuration before it.
    ///
    /// # Errors
    /// If the block carries no configuration, or one that Fabric would refuse.
    pub fn from_config_block(block: &Block) -> Result<Self, ChannelError> {
        Self::read(block, None)
    }

    /// The trust after `block`, a verified config block of this channel. MSPs that did not change keep
    /// what they have remembered.
    ///
    /// # Errors
    /// As [`from_config_block`](Self::from_config_block), and if the block is of another channel or does
    /// not follow this configuration.
    // fabric: common/configtx/validator.go Validate
    pub fn next(&self, block: &Block) -> Result<Self, ChannelError> {
        let next = Self::read(block, Some(self))?;
        if next.id != self.id {
            return Err(ChannelError::OtherChannel { expected: self.id.clone(), found: next.id });
        }
        if next.sequence != self.sequence + 1 || next.config_block <= self.config_block {
            return Err(ChannelError::OutOfOrder {
                channel: next.id,
                current: self.sequence,
                found: next.sequence,
            });
        }
        Ok(next)
    }

    /// The channel's name.
    pub fn id(&self) -> &ChannelId {
        &self.id
    }

    /// Header hash of block 0; nothing if the first configuration read was a later one.
    pub fn genesis_hash(&self) -> Option<BlockHash> {
        self.genesis_hash
    }

    /// The same, knowing the header hash of block 0 from elsewhere.
    #[must_use]
    pub fn with_genesis_hash(mut self, hash: BlockHash) -> Self {
        self.genesis_hash = Some(hash);
        self
    }

    /// Number of the block that carried this configuration.
    pub fn config_block(&self) -> SeqNum {
        self.config_block
    }

    /// Sequence number of the configuration: 0 in the genesis block, one more with every update.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// The application organisations, whose peers gossip, in order.
    pub fn application_orgs(&self) -> impl Iterator<Item = &OrgId> {
        self.application_orgs.keys()
    }

    /// The organisations that order, with the endpoints (`host:port`) of their orderers.
    pub fn orderer_orgs(&self) -> impl Iterator<Item = (&OrgId, &[String])> {
        self.orderer_orgs.iter().map(|(org, endpoints)| (org, endpoints.as_slice()))
    }

    /// Endpoints of orderers that the channel names without their organisation, as old channels do.
    pub fn orderer_addresses(&self) -> &[String] {
        &self.orderer_addresses
    }

    /// The ordering nodes of a BFT channel, by the channel's configuration; empty for others.
    pub fn consenters(&self) -> &[Consenter] {
        &self.consenters
    }

    /// `etcdraft`, `BFT`, or what else the channel says.
    pub fn consensus_type(&self) -> &str {
        &self.consensus_type
    }

    /// Capabilities of the channel group, such as `V3_0`.
    pub fn capabilities(&self) -> impl Iterator<Item = &str> {
        self.capabilities.iter().map(String::as_str)
    }

    /// The CAs of TLS certificates of all organisations, orderers' included.
    pub fn tls_cas(&self) -> Vec<TlsCa> {
        let mut cas = Vec::new();
        for (name, msp) in &self.msps.0 {
            let Ok(org) = OrgId::new(name) else { continue };
            let roots = msp.tls_roots.iter().map(|ca| (ca, false));
            let intermediates = msp.tls_intermediates.iter().map(|ca| (ca, true));
            cas.extend(roots.chain(intermediates).map(|(ca, is_intermediate)| TlsCa {
                org: org.clone(),
                certificate: ca.raw.clone(),
                is_intermediate,
            }));
        }
        cas
    }

    /// Whether those who signed satisfy the policy at `path`, such as `Readers`, `Writers` or
    /// `Application/Admins`: a path below the channel group. A policy that is not there is never satisfied.
    // fabric: common/policies/policy.go EvaluateSignedData
    pub fn is_satisfied(&self, path: &str, signed: &[Signed<'_>]) -> bool {
        let signed: Vec<SignedData<'_>> = signed
            .iter()
            .map(|Signed { identity, message, signature }| SignedData {
                identity: Cow::Borrowed(identity),
                message: Cow::Borrowed(message),
                signature,
            })
            .collect();
        let signers = self.msps.signers(&signed);
        self.policies.are_satisfied(path, &self.msps, &signers)
    }

    /// Whether signatures may name their signer by number.
    // fabric: common/capabilities/channel.go ConsensusTypeBFT
    pub(crate) fn is_bft(&self) -> bool {
        self.capabilities.contains("V3_0")
    }

    /// Forgets remembered verdicts.
    pub(crate) fn forget_cached(&self) {
        self.verified.clear();
        for msp in self.msps.0.values() {
            msp.forget_cached();
        }
    }

    fn read(block: &Block, before: Option<&Self>) -> Result<Self, ChannelError> {
        let number = block.number;
        let malformed = |reason: String| ChannelError::Malformed { number, reason };
        let (name, payload) = config_of(block).ok_or(ChannelError::NotConfig(number))?;
        let id = ChannelId::new(&name).map_err(|error| malformed(error.to_string()))?;
        if data_hash(block).as_slice() != block.data_hash {
            return Err(malformed("data does not match the hash in the header".into()));
        }
        if number.get() == 0 {
            check_link_to_nothing(block).map_err(|error| malformed(error.to_string()))?;
        }
        let ConfigEnvelope { config } = fabric::decode(&payload).map_err(malformed)?;
        let Config { sequence, channel_group } =
            config.ok_or_else(|| malformed("configuration is missing".into()))?;
        let group = channel_group.ok_or_else(|| malformed("channel group is missing".into()))?;
        let mut reader = Reader::new(&group, before).map_err(malformed)?;
        reader.read_groups(&group).map_err(|error| match error {
            ReadError::Malformed(reason) => malformed(reason),
            ReadError::Msp(source) => ChannelError::Msp { number, source },
        })?;
        let policies = Policies::compile(&group).map_err(malformed)?;
        let first_hash = (number.get() == 0).then(|| block.header().hash());
        Ok(Self {
            id,
            genesis_hash: first_hash.or(before.and_then(|before| before.genesis_hash)),
            config_block: number,
            sequence,
            policies,
            application_orgs: reader.application_orgs,
            orderer_orgs: reader.orderer_orgs,
            orderer_addresses: reader.orderer_addresses,
            consensus_type: reader.consensus_type,
            capabilities: reader.capabilities,
            consenters: reader.consenters,
            consenter_identities: reader.consenter_identities,
            has_orderer_section: group.groups.contains_key(ORDERER),
            msps: reader.msps,
            msp_configs: reader.msp_configs,
            verified: Cache::new(MAX_VERIFIED),
        })
    }
}

impl JoinChannelMessage for Channel {
    fn sequence_number(&self) -> u64 {
        self.sequence
    }

    fn members(&self) -> Vec<OrgId> {
        self.application_orgs.keys().cloned().collect()
    }

    fn anchor_peers_of(&self, org: &OrgId) -> Vec<AnchorPeer> {
        self.application_orgs.get(org).cloned().unwrap_or_default()
    }

    fn channel(&self) -> &ChannelId {
        &self.id
    }
}

/// Remembered headers per configuration, 32 bytes each.
const MAX_VERIFIED: usize = 1024;
