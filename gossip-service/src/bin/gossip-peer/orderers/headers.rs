//! Headers, streamed from the orderers that do not give the blocks: they tell what is kept back.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use gossip_api::{ChannelId, MessageCryptoService, SeqNum};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::debug;

use super::ask::{Asker, Wanted, read};
use super::endpoints::Orderer;
use super::{Us, backoff};
use crate::fabric::shapes::SeekPosition;

/// One stream from each orderer, opened again after every failure, for as long as this lives.
// fabric: internal/pkg/peer/blocksprovider/bft_header_receiver.go BFTHeaderReceiver
pub(super) struct Headers {
    sources: Vec<Orderer>,
    /// The first block that has not come.
    missing: Arc<AtomicU64>,
    proved: watch::Receiver<Option<SeqNum>>,
    _tasks: JoinSet<()>,
}

impl Headers {
    /// Follows `sources` from block `next` on.
    pub(super) fn follow(
        us: &Arc<Us>,
        mcs: &Arc<dyn MessageCryptoService>,
        channel: &ChannelId,
        sources: Vec<Orderer>,
        next: SeqNum,
    ) -> Self {
        let missing = Arc::new(AtomicU64::new(next.get()));
        let (told, proved) = watch::channel(None);
        let mut tasks = JoinSet::new();
        for source in &sources {
            let follower = Follower {
                us: Arc::clone(us),
                mcs: Arc::clone(mcs),
                channel: channel.clone(),
                orderer: source.clone(),
                missing: Arc::clone(&missing),
                told: told.clone(),
            };
            tasks.spawn(follower.run());
        }
        Self { sources, missing, proved, _tasks: tasks }
    }

    /// Whether it is these that are followed.
    pub(super) fn is_of(&self, sources: &[Orderer]) -> bool {
        self.sources.len() == sources.len()
            && self.sources.iter().all(|source| sources.contains(source))
    }

    /// Blocks below `next` have come: nobody needs to prove them.
    pub(super) fn have_come(&self, next: SeqNum) {
        self.missing.store(next.get(), Ordering::Relaxed);
    }

    /// The newest block that an orderer has proved so far.
    pub(super) fn newest(&self) -> Option<SeqNum> {
        *self.proved.borrow()
    }

    /// The newest block proved, when there is a newer one.
    pub(super) async fn next(&mut self) -> Option<SeqNum> {
        match self.proved.changed().await {
            Ok(()) => *self.proved.borrow_and_update(),
            // Every follower is gone, which they are with us alone.
            Err(_) => std::future::pending().await,
        }
    }
}

/// Who reads the headers of one orderer.
struct Follower {
    us: Arc<Us>,
    mcs: Arc<dyn MessageCryptoService>,
    channel: ChannelId,
    orderer: Orderer,
    missing: Arc<AtomicU64>,
    told: watch::Sender<Option<SeqNum>>,
}

impl Follower {
    async fn run(self) {
        let mut misses = 0u32;
        loop {
            let before = self.missing.load(Ordering::Relaxed);
            let Err(reason) = self.read().await;
            debug!(channel = %self.channel, orderer = self.orderer.address, reason, "no more headers");
            let progressed = self.missing.load(Ordering::Relaxed) > before;
            misses = if progressed { 1 } else { misses.saturating_add(1) };
            tokio::time::sleep(backoff(&self.us.settings, misses)).await;
        }
    }

    /// Tells of every header that proves a block which has not come. Gives why there are no more.
    async fn read(&self) -> Result<Infallible, String> {
        let asker = Asker::connect(&self.us, &self.orderer).await?;
        let mut next = SeqNum::new(self.missing.load(Ordering::Relaxed));
        let wanted = Wanted {
            start: SeekPosition::at(next.get()),
            stop: SeekPosition::at(u64::MAX),
            headers_only: true,
            wait: true,
        };
        let mut replies = asker.seek(&self.us, &self.channel, wanted).await?;
        loop {
            let header = read(replies.message().await)?;
            if header.number != next {
                return Err(format!("it gave header {} where {next} was due", header.number));
            }
            next = next.next();
            if header.number.get() < self.missing.load(Ordering::Relaxed) {
                continue;
            }
            self.mcs
                .verify_block_attestation(&self.channel, &header)
                .map_err(|error| format!("header {}: {error}", header.number))?;
            self.told.send_if_modified(|newest| {
                let is_newer = newest.is_none_or(|newest| header.number > newest);
                if is_newer {
                    *newest = Some(header.number);
                }
                is_newer
            });
        }
    }
}
