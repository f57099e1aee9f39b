//! One channel's blocks as Deliver's clients get them: encoded once, read once, whoever asks.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::{BufMut as _, Bytes, BytesMut};
use gossip_api::{Block, BlockCodec, ChannelId, Height, Ledger, LedgerError, SeqNum};
use peer_mcs::FabricCodec;
use prometheus::IntCounter;
use prost::encoding::{WireType, encode_key, encode_varint};
use tokio::sync::{OnceCell, watch};

use super::Metrics;

/// A ledger whose commits feed those who wait for blocks.
pub(crate) struct Chain {
    id: ChannelId,
    ledger: Arc<dyn Ledger>,
    height: watch::Sender<u64>,
    shelf: Mutex<Shelf>,
    reads: IntCounter,
    pub(super) sent: IntCounter,
    pub(super) requests: IntCounter,
}

/// Blocks at hand, encoded; the first that came is the first to go.
#[derive(Default)]
struct Shelf {
    slots: BTreeMap<u64, Arc<OnceCell<Bytes>>>,
    order: VecDeque<(u64, usize)>,
    bytes: usize,
}

impl Chain {
    /// Before `ledger`, which holds the channel's blocks.
    pub(crate) async fn new(
        id: ChannelId,
        ledger: Arc<dyn Ledger>,
        metrics: &Metrics,
    ) -> Result<Self, LedgerError> {
        let height = ledger.height().await?.get();
        let label = [id.as_str()];
        Ok(Self {
            ledger,
            height: watch::Sender::new(height),
            shelf: Mutex::default(),
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

    /// Block `number` as an encoded `DeliverResponse`; nothing above the height.
    ///
    /// Whoever asks for a block that is being read waits for that read.
    pub(crate) async fn block(&self, number: u64) -> Result<Option<Bytes>, LedgerError> {
        if number >= *self.height.borrow() {
            return Ok(None);
        }
        let slot = self.shelf().slots.entry(number).or_default().clone();
        let claim = Claim { chain: self, number, slot };
        let read = claim.slot.get_or_try_init(|| async {
            self.reads.inc();
            let block = self.ledger.block(SeqNum::new(number)).await?;
            let block = block.ok_or_else(|| LedgerError::Storage {
                channel: self.id.clone(),
                reason: format!("block {number} is not there"),
            })?;
            let encoded = encode(&block);
            self.shelf().account(number, encoded.len());
            Ok(encoded)
        });
        Ok(Some(read.await?.clone()))
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shelf {
    /// Counts what was put on the shelf, and makes room again.
    fn account(&mut self, number: u64, len: usize) {
        self.order.push_back((number, len));
        self.bytes = self.bytes.saturating_add(len);
        while self.bytes > SHELF_BYTES_MAX && self.order.len() > 1 {
            let Some((oldest, len)) = self.order.pop_front() else { break };
            self.slots.remove(&oldest);
            self.bytes = self.bytes.saturating_sub(len);
        }
    }

    /// Frees a place that nothing came to and that nobody but the map and `claim` knows.
    fn forget_empty(&mut self, claim: &Claim<'_>) {
        let Claim { number, slot, .. } = claim;
        if slot.get().is_none() && Arc::strong_count(slot) <= 2 {
            self.slots.remove(number);
        }
    }
}

/// Somebody who waits for a block to be read, or goes away before it is.
struct Claim<'a> {
    chain: &'a Chain,
    number: u64,
    slot: Arc<OnceCell<Bytes>>,
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.chain.shelf().forget_empty(self);
    }
}

#[async_trait]
impl Ledger for Chain {
    async fn height(&self) -> Result<Height, LedgerError> {
        self.ledger.height().await
    }

    async fn commit(&self, blocks: Vec<Block>) -> Result<Height, LedgerError> {
        let height = self.ledger.commit(blocks.clone()).await?;
        if self.height.receiver_count() > 0 {
            let mut shelf = self.shelf();
            for block in &blocks {
                let encoded = encode(block);
                let number = block.number.get();
                let len = encoded.len();
                if shelf.slots.insert(number, Arc::new(OnceCell::new_with(Some(encoded)))).is_none()
                {
                    shelf.account(number, len);
                }
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

/// Encoded blocks kept at hand for the readers of one channel; at least one is.
const SHELF_BYTES_MAX: usize = 32 << 20;
