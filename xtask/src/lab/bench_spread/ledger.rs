//! A ledger in memory that knows when each block came, and a source that is fed by hand.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;

use async_trait::async_trait;
use futures_core::Stream;
use gossip_api::{
    Block, BlockSource, BlockStream, ChannelId, Height, Ledger, LedgerError, SeqNum, SourceError,
};
use tokio::sync::mpsc;

/// The newest blocks, and when each was committed.
pub(super) struct Memory {
    channel: ChannelId,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    height: u64,
    newest: BTreeMap<u64, Block>,
    committed: BTreeMap<u64, Instant>,
}

impl Memory {
    pub(super) fn new(channel: ChannelId, genesis: Block) -> Self {
        let newest = BTreeMap::from([(0, genesis)]);
        let state = State { height: 1, newest, committed: BTreeMap::new() };
        Self { channel, state: Mutex::new(state) }
    }

    /// When a block was committed, if it was.
    pub(super) fn committed_at(&self, number: u64) -> Option<Instant> {
        self.lock().committed.get(&number).copied()
    }

    pub(super) fn current_height(&self) -> u64 {
        self.lock().height
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Ledger for Memory {
    async fn height(&self) -> Result<Height, LedgerError> {
        Ok(Height::new(self.current_height()))
    }

    async fn commit(&self, blocks: Vec<Block>) -> Result<Height, LedgerError> {
        let mut state = self.lock();
        for block in blocks {
            if block.number.get() != state.height {
                let reason = format!("waits for {}, was given {}", state.height, block.number);
                return Err(LedgerError::Storage { channel: self.channel.clone(), reason });
            }
            state.committed.insert(block.number.get(), Instant::now());
            state.newest.insert(block.number.get(), block);
            state.height += 1;
        }
        while state.newest.len() > KEPT {
            state.newest.pop_first();
        }
        Ok(Height::new(state.height))
    }

    async fn block(&self, number: SeqNum) -> Result<Option<Block>, LedgerError> {
        Ok(self.lock().newest.get(&number.get()).cloned())
    }
}

/// Gives what it is fed.
pub(super) struct Fed(pub(super) Mutex<Option<mpsc::UnboundedReceiver<Block>>>);

#[async_trait]
impl BlockSource for Fed {
    fn name(&self) -> String {
        "the benchmark".to_owned()
    }

    async fn blocks(&self, _: &ChannelId, _: SeqNum) -> Result<BlockStream, SourceError> {
        let feed = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let feed = feed.ok_or_else(|| SourceError::Unavailable {
            name: self.name(),
            reason: "opened twice".to_owned(),
            retry_after: None,
        })?;
        Ok(Box::pin(Blocks(feed)))
    }

    async fn newest(&self, _: &ChannelId) -> Result<Block, SourceError> {
        let (name, reason) = (self.name(), "it gives what it is fed".to_owned());
        Err(SourceError::Unavailable { name, reason, retry_after: None })
    }
}

struct Blocks(mpsc::UnboundedReceiver<Block>);

impl Stream for Blocks {
    type Item = Result<Block, SourceError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(context).map(|block| block.map(Ok))
    }
}

/// Blocks that can be served.
const KEPT: usize = 32;
