//! Orderers that contradict themselves, and sources of blocks in shares that lie: evidence that others can
//! check, and a halt that outlives the process.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use gossip_api::{Block, ChannelId, PeerIdentity, PkiId, SeqNum};
use gossip_state::Conflict;
use tracing::{error, warn};

use crate::effects::Shared;
use crate::joining::Channel;
use crate::node::coded::Evidence;

/// Where conflicts of one channel are kept. Called from threads that may block.
// fabric-differs: Fabric does not notice conflicts.
pub trait ConflictStore: Send + Sync {
    /// The number at which the channel was stopped, if nobody has decided since.
    ///
    /// # Errors
    /// A sentence for the log, if it cannot be read.
    fn halted(&self) -> Result<Option<SeqNum>, String>;

    /// Keeps what proves a conflict, so that others can check it, and then, if `halt`, that the channel is
    /// stopped; both durably.
    ///
    /// # Errors
    /// A sentence for the log, if it cannot be stored.
    fn keep(&self, proof: &ConflictProof, halt: bool) -> Result<(), String>;

    /// Keeps what convicts a source of blocks in shares, so that others can check it, durably.
    ///
    /// # Errors
    /// A sentence for the log, if it cannot be stored.
    fn convict(&self, proof: &SourceProof) -> Result<(), String>;

    /// The operator has decided: the channel is not stopped any more, durably.
    ///
    /// # Errors
    /// A sentence for the log, if it cannot be stored.
    fn resume(&self) -> Result<(), String>;
}

/// Two blocks without data that carry one number, different headers, and orderers' signatures.
#[derive(Clone, Debug)]
pub struct ConflictProof {
    /// The number.
    pub number: SeqNum,
    /// The one that was believed first; nothing if the ledger did not give it.
    pub kept: Option<Block>,
    /// The other one.
    pub other: Block,
}

/// What convicts a source of blocks in shares before anybody who knows the channel.
#[derive(Clone, Debug)]
pub struct SourceProof {
    /// Number of the block.
    pub number: SeqNum,
    /// The source.
    pub source: PkiId,
    /// Its identity, which its signature is checked with; nothing if it is not known any more.
    pub identity: Option<PeerIdentity>,
    /// What [`Evidence::to_bytes`] gave.
    pub evidence: Bytes,
}

/// Keeps what convicts a source; tries again until it is kept.
pub(crate) async fn convict(shared: Arc<Shared>, channel: Channel, evidence: Evidence) {
    let name = channel.config.channel().clone();
    shared.metrics.convicted(&name);
    let (Some((_, number)), Some(source)) = (evidence.subject(), evidence.accused()) else {
        error!(channel = %name, "a source was convicted by what cannot be read");
        return;
    };
    warn!(channel = %name, %number, %source, "a source of blocks is convicted by what it signed");
    let Some(store) = channel.conflicts.clone() else { return };
    let identity = shared.identities.get(&source, shared.clock.now().mono);
    let evidence = match evidence.to_bytes() {
        Ok(evidence) => evidence,
        Err(failure) => {
            error!(channel = %name, %number, %failure, "evidence not kept");
            return;
        }
    };
    let proof = Arc::new(SourceProof { number, source, identity, evidence });
    again(&name, "evidence not kept", || {
        let (store, proof) = (Arc::clone(&store), Arc::clone(&proof));
        move || store.convict(&proof)
    })
    .await;
}

/// Keeps a conflict; tries again until it is kept.
pub(crate) async fn keep(shared: Arc<Shared>, channel: Channel, conflict: Conflict) {
    let name = channel.config.channel().clone();
    let number = conflict.number;
    shared.metrics.conflict(&name);
    warn!(
        channel = %name, %number, kept = %conflict.kept,
        other = %conflict.other.header.hash(), halt = conflict.halt,
        "orderers signed two blocks with one number"
    );
    let Some(store) = channel.conflicts.clone() else { return };
    let kept = match &conflict.kept_evidence {
        Some(evidence) => Some(evidence.to_block()),
        None => held(&channel, &name, number).await,
    };
    let halt = conflict.halt;
    let proof = Arc::new(ConflictProof { number, kept, other: conflict.other.to_block() });
    again(&name, "conflict not kept", || {
        let (store, proof) = (Arc::clone(&store), Arc::clone(&proof));
        move || store.keep(&proof, halt)
    })
    .await;
}

/// Keeps that a channel goes on.
pub(crate) async fn resume(channel: Channel, number: SeqNum) {
    let name = channel.config.channel().clone();
    warn!(channel = %name, %number, "an operator decided a conflict: the channel goes on");
    let Some(store) = channel.conflicts.clone() else { return };
    again(&name, "decision not kept", || {
        let store = Arc::clone(&store);
        move || store.resume()
    })
    .await;
}

/// What the ledger holds of the number, without its data.
async fn held(channel: &Channel, name: &ChannelId, number: SeqNum) -> Option<Block> {
    match channel.ledger.block(number).await {
        Ok(block) => block.map(|block| Block { data: Bytes::new(), ..block }),
        Err(failure) => {
            error!(channel = %name, %number, %failure, "one side of a conflict cannot be read");
            None
        }
    }
}

async fn again<W>(name: &ChannelId, complaint: &str, work: impl Fn() -> W)
where
    W: FnOnce() -> Result<(), String> + Send + 'static,
{
    loop {
        match tokio::task::spawn_blocking(work()).await {
            Ok(Ok(())) => return,
            Ok(Err(reason)) => error!(channel = %name, reason, "{complaint}"),
            Err(failure) => error!(channel = %name, %failure, "{complaint}"),
        }
        tokio::time::sleep(AGAIN_AFTER).await;
    }
}

/// Wait after something could not be stored.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
