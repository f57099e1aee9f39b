//! What a channel takes besides the machines: a ledger, a source, and the host's word on its configuration.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use gossip_api::{
    AnchorPeer, Block, BlockCodec, BlockHash, BlockSource, ChannelId, Endpoint, Epoch, GossipError,
    Height, JoinChannelMessage, Ledger, LedgerError, OrgId, SeqNum,
};

use crate::conflicts::ConflictStore;
use crate::node::ChannelView;
use crate::peer::JoinRequest;

/// The host's side of a channel's configuration.
pub trait ConfigHost: Send + Sync {
    /// Takes over the configuration in a block that has just been committed: from now on identities and
    /// later blocks are judged by it. Called before anything later is verified.
    ///
    /// # Errors
    /// A sentence for the log, if the block cannot be applied. The old configuration stays in force.
    fn apply_config(
        &self,
        channel: &ChannelId,
        block: &Block,
    ) -> Result<Arc<dyn JoinChannelMessage>, String>;
}

/// Where our epoch outlives the process.
pub trait EpochStore: Send + Sync {
    /// Stores, durably, an epoch of ours above `seen`, makes the transport speak under it, and returns it.
    ///
    /// # Errors
    /// If it cannot be stored. Nothing has changed then.
    fn raise_above(&self, seen: Epoch) -> std::io::Result<Epoch>;
}

/// Where the term of a channel's leadership outlives the process.
pub trait TermStore: Send + Sync {
    /// The term last stored.
    ///
    /// # Errors
    /// A sentence for the log, if it cannot be read.
    fn term(&self) -> Result<Option<u64>, String>;

    /// Stores a term durably.
    ///
    /// # Errors
    /// A sentence for the log, if it cannot be stored.
    fn set_term(&self, term: u64) -> Result<(), String>;
}

/// A term that the process alone remembers: after a restart a leader may speak under a term that others
/// have seen, and is believed a little later.
#[derive(Debug, Default)]
pub struct MemoryTerms(Mutex<Option<u64>>);

impl TermStore for MemoryTerms {
    fn term(&self) -> Result<Option<u64>, String> {
        Ok(*self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn set_term(&self, term: u64) -> Result<(), String> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(term);
        Ok(())
    }
}

/// The configuration of a channel whose members never change, whatever its blocks say.
#[derive(Clone, Debug)]
pub struct FixedConfig {
    /// The channel.
    pub channel: ChannelId,
    /// Its members and their anchor peers.
    pub members: BTreeMap<OrgId, Vec<AnchorPeer>>,
}

impl JoinChannelMessage for FixedConfig {
    fn sequence_number(&self) -> u64 {
        0
    }

    fn members(&self) -> Vec<OrgId> {
        self.members.keys().cloned().collect()
    }

    fn anchor_peers_of(&self, org: &OrgId) -> Vec<AnchorPeer> {
        self.members.get(org).cloned().unwrap_or_default()
    }

    fn channel(&self) -> &ChannelId {
        &self.channel
    }
}

impl ConfigHost for FixedConfig {
    fn apply_config(
        &self,
        _: &ChannelId,
        _: &Block,
    ) -> Result<Arc<dyn JoinChannelMessage>, String> {
        Ok(Arc::new(self.clone()))
    }
}

/// Makes the source of blocks of a channel that is joined without one.
// fabric: gossip/service/gossip_service.go InitGossipServiceCustomDeliveryFactory
pub trait DeliveryFactory: Send + Sync {
    /// Where the channel's leader takes blocks from; nothing if there is no source for it.
    fn source(&self, config: &dyn JoinChannelMessage) -> Option<Arc<dyn BlockSource>>;
}

/// A channel to be joined.
#[derive(Clone)]
pub struct Channel {
    /// The configuration in force at the ledger's height.
    pub config: Arc<dyn JoinChannelMessage>,
    /// Header hash of the genesis block.
    pub genesis: BlockHash,
    /// Where blocks are kept; it holds the genesis block at least.
    pub ledger: Arc<dyn Ledger>,
    /// Where a leader takes blocks from. Without it the service's [`DeliveryFactory`] is asked; without
    /// that too we never lead to any effect.
    pub source: Option<Arc<dyn BlockSource>>,
    /// Where the term of leadership is kept.
    pub terms: Arc<dyn TermStore>,
    /// Where conflicts are kept; without it a halt ends with the process.
    pub conflicts: Option<Arc<dyn ConflictStore>>,
    /// Who applies later configurations.
    pub host: Arc<dyn ConfigHost>,
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel").field("channel", self.config.channel()).finish_non_exhaustive()
    }
}

impl Channel {
    /// Reads the ledger's tip and makes the request for the machine.
    pub(crate) async fn request(&self, codec: &dyn BlockCodec) -> Result<JoinRequest, GossipError> {
        let height = self.ledger.height().await?;
        let last_hash = match height.last_block() {
            Some(last) => self.ledger.block(last).await?.map(|block| codec.header_hash(&block)),
            None => None,
        };
        let terms = Arc::clone(&self.terms);
        let term = tokio::task::spawn_blocking(move || terms.term()).await;
        let term = term.map_err(|_| GossipError::Stopped)?.map_err(|reason| {
            LedgerError::Storage { channel: self.config.channel().clone(), reason }
        })?;
        let halted = self.halted(codec, height).await?;
        let view = view_of(&*self.config, self.genesis, height);
        Ok(JoinRequest { view, last_hash, term, halted })
    }

    /// Where a conflict stopped the channel in an earlier life, and what the ledger holds there.
    async fn halted(
        &self,
        codec: &dyn BlockCodec,
        height: Height,
    ) -> Result<Option<(SeqNum, Option<BlockHash>)>, GossipError> {
        let Some(conflicts) = self.conflicts.clone() else { return Ok(None) };
        let halted = tokio::task::spawn_blocking(move || conflicts.halted()).await;
        let halted = halted.map_err(|_| GossipError::Stopped)?.map_err(|reason| {
            LedgerError::Storage { channel: self.config.channel().clone(), reason }
        })?;
        let Some(number) = halted else { return Ok(None) };
        let is_held = number < height.next_block();
        let kept = if is_held { self.ledger.block(number).await? } else { None };
        Ok(Some((number, kept.map(|block| codec.header_hash(&block)))))
    }
}

/// The machine's view of a configuration.
pub(crate) fn view_of(
    config: &dyn JoinChannelMessage,
    genesis: BlockHash,
    height: Height,
) -> ChannelView {
    ChannelView {
        channel: config.channel().clone(),
        genesis,
        orgs: config.members().into_iter().collect(),
        sequence: config.sequence_number(),
        height,
    }
}

/// Anchor peers to connect to: our own organisation's, and the others' if we may be known outside.
// fabric: gossip/gossip/gossip_impl.go learnAnchorPeers
pub(crate) fn anchors_of(
    config: &dyn JoinChannelMessage,
    own_org: &OrgId,
    visible_outside: bool,
) -> Vec<Endpoint> {
    config
        .members()
        .into_iter()
        .filter(|org| org == own_org || visible_outside)
        .flat_map(|org| config.anchor_peers_of(&org))
        .filter(|anchor| !anchor.host.is_empty() && anchor.port != 0)
        .filter_map(|anchor| Endpoint::new(&format!("{}:{}", anchor.host, anchor.port)).ok())
        .collect()
}
