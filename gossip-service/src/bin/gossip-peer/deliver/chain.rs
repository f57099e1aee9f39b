//! One channel's blocks as Deliver's clients get them: encoded once, read once, whoever asks.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::{BufMut as _, Bytes, BytesMut};
use gossip_api::{Block, BlockCodec, ChannelId, Height, Ledger, LedgerError, SeqNum};
use peer_mcs::FabricCodec;
use prometheus::IntCounter;
use prost::encoding::{WireType, encode_key, encode_varint};
use tokio::sync::{Notify, watch};

use super::Metrics;
use super::lanes::{Found, Lanes, Slot};

/// A ledger whose commits feed those who wait for blocks.
pub(crate) struct Chain {
    id: ChannelId,
    ledger: Arc<dyn Ledger>,
    height: watch::Sender<u64>,
    lanes: Mutex<Lanes>,
    /// Somebody of a lane has come on, or has gone.
    moved: Notify,
    patience_max: Duration,
    reads: IntCounter,
    sent: IntCounter,
    pub(super) requests: IntCounter,
}

/// What readers share, and how much they wait for each other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sharing {
    /// Encoded blocks kept at hand for one group of readers; at least one is.
    pub(crate) lane_bytes_max: usize,
    /// How long a reader waits for the slowest of its group at a time.
    pub(crate) patience_max: Duration,
}

impl Default for Sharing {
    fn default() -> Self {
        Self { lane_bytes_max: 16 << 20, patience_max: Duration::from_secs(5) }
    }
}

impl Chain {
    /// Before `ledger`, which holds the channel's blocks.
    pub(crate) async fn new(
        id: ChannelId,
        ledger: Arc<dyn Ledger>,
        metrics: &Metrics,
        sharing: Sharing,
    ) -> Result<Self, LedgerError> {
        let height = ledger.height().await?.get();
        let label = [id.as_str()];
        Ok(Self {
            ledger,
            height: watch::Sender::new(height),
            lanes: Mutex::new(Lanes::new(sharing.lane_bytes_max)),
            moved: Notify::new(),
            patience_max: sharing.patience_max,
            reads: metrics.store_reads.with_label_values(&label),
            sent: metrics.blocks_sent.with_label_values(&label),
            requests: metrics.requests.with_label_values(&label),
            id,
        })
    }

    /// The channel.
    pub(crate) fn id(&self) -> &ChannelId {
        &self.id
    }

    /// Blocks held, and how to wait for more.
    pub(crate) fn height(&self) -> watch::Receiver<u64> {
        self.height.subscribe()
    }

    /// Somebody who is going to read blocks in their order.
    pub(super) fn reader(self: &Arc<Self>) -> Reader {
        let id = self.lanes().enter();
        let patience = Patience { left: self.patience_max, since: Instant::now() };
        Reader {
            channel: self.id.clone(),
            height: self.height.subscribe(),
            sent: self.sent.clone(),
            chain: Arc::downgrade(self),
            patience_max: self.patience_max,
            id,
            patience,
        }
    }

    fn lanes(&self) -> MutexGuard<'_, Lanes> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Block `number` for whoever waits for `slot`.
    async fn read(&self, number: u64, slot: &Slot) -> Result<Bytes, LedgerError> {
        let read = slot.get_or_try_init(|| async {
            self.reads.inc();
            let block = self.ledger.block(SeqNum::new(number)).await?;
            let block = block.ok_or_else(|| LedgerError::Storage {
                channel: self.id.clone(),
                reason: format!("block {number} is not there"),
            })?;
            let encoded = encode(&block);
            self.lanes().account(number, slot, encoded.len());
            Ok(encoded)
        });
        Ok(read.await?.clone())
    }
}

/// Reads block after block, together with others who are about as far. It does not keep the chain open:
/// a client that takes nothing for hours must not hold the ledger of a channel that was left.
pub(super) struct Reader {
    pub(super) channel: ChannelId,
    /// Blocks held, and how to wait for more.
    pub(super) height: watch::Receiver<u64>,
    pub(super) sent: IntCounter,
    chain: Weak<Chain>,
    patience_max: Duration,
    id: u64,
    patience: Patience,
}

impl Reader {
    /// Block `number` as an encoded `DeliverResponse`; nothing above the height, or if the channel was left.
    ///
    /// Whoever asks for a block that is being read waits for that read. Who is far ahead of others is held
    /// back until they have come on, within bounds (see [`Lanes`]).
    pub(super) async fn block(&mut self, number: u64) -> Result<Option<Bytes>, LedgerError> {
        let Some(chain) = self.chain.upgrade() else { return Ok(None) };
        if number >= *chain.height.borrow() {
            return Ok(None);
        }
        let slot = self.slot(&chain, number).await;
        let block = chain.read(number, &slot).await?;
        if chain.lanes().moved(self.id, number.saturating_add(1)) {
            chain.moved.notify_waiters();
        }
        Ok(Some(block))
    }

    async fn slot(&mut self, chain: &Chain, number: u64) -> Slot {
        self.patience.gain(self.patience_max);
        loop {
            let moved = chain.moved.notified();
            tokio::pin!(moved);
            moved.as_mut().enable();
            let patient = !self.patience.left.is_zero();
            let found = chain.lanes().find(self.id, number, patient, Instant::now());
            match found {
                Found::Slot(slot) => return slot,
                Found::NoRoomYet(wait) => {
                    // Both mean the same: look again.
                    let _ = tokio::time::timeout(self.patience.left.min(wait), moved).await;
                    self.patience.spend();
                }
            }
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let Some(chain) = self.chain.upgrade() else { return };
        if chain.lanes().leave(self.id) {
            chain.moved.notify_waiters();
        }
    }
}

/// How long a reader may still be held back: what it waits it first has to have gone on.
struct Patience {
    left: Duration,
    since: Instant,
}

impl Patience {
    /// The time since the last wait counts.
    fn gain(&mut self, max: Duration) {
        let now = Instant::now();
        let gained = (now - self.since).saturating_mul(PATIENCE_RATIO);
        self.left = self.left.saturating_add(gained).min(max);
        self.since = now;
    }

    fn spend(&mut self) {
        let now = Instant::now();
        self.left = self.left.saturating_sub(now - self.since);
        self.since = now;
    }
}

#[async_trait]
impl Ledger for Chain {
    async fn height(&self) -> Result<Height, LedgerError> {
        self.ledger.height().await
    }

    async fn commit(&self, blocks: Vec<Block>) -> Result<Height, LedgerError> {
        let height = self.ledger.commit(blocks.clone()).await?;
        {
            let mut lanes = self.lanes();
            for block in &blocks {
                lanes.append(block.number.get(), || encode(block));
            }
        }
        self.height.send_replace(height.get());
        Ok(height)
    }

    async fn block(&self, number: SeqNum) -> Result<Option<Block>, LedgerError> {
        self.ledger.block(number).await
    }
}

/// The block as `DeliverResponse{ block }`.
fn encode(block: &Block) -> Bytes {
    respond(&FabricCodec.join(block))
}

/// Header and signatures alone; config blocks come whole.
// fabric: common/deliver/deliver.go SendBlockResponse
pub(super) fn without_data(response: &Bytes) -> Option<Bytes> {
    let block = FabricCodec.split(&contents(response)?).ok()?;
    if FabricCodec.is_config(&block) {
        return Some(response.clone());
    }
    Some(encode(&Block { data: Bytes::new(), ..block }))
}

fn respond(block: &Bytes) -> Bytes {
    let mut out = BytesMut::with_capacity(block.len().saturating_add(12));
    encode_key(2, WireType::LengthDelimited, &mut out);
    encode_varint(block.len() as u64, &mut out);
    out.put_slice(block);
    out.freeze()
}

/// The block in a response that [`encode`] made.
fn contents(response: &Bytes) -> Option<Bytes> {
    let mut rest = response.clone();
    prost::encoding::decode_key(&mut rest).ok()?;
    let len = prost::encoding::decode_varint(&mut rest).ok()?;
    (rest.len() as u64 == len).then_some(rest)
}

/// So many times as long as it went on a reader waits for slower ones at most.
const PATIENCE_RATIO: u32 = 7;
