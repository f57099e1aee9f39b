//! Blocks from one orderer, watched by what the others show.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::pending;
use futures_util::stream;
use gossip_api::{Block, BlockStream, ChannelId, MessageCryptoService, SeqNum, SourceError};
use tonic::Streaming;

use super::ask::{Asker, Wanted, read, seek_newest};
use super::endpoints::{Orderer, orderers, random};
use super::headers::Headers;
use super::{Record, Us, blame};
use crate::fabric::shapes::SeekPosition;

/// What one stream is about.
pub(super) struct Reading {
    pub(super) us: Arc<Us>,
    pub(super) mcs: Arc<dyn MessageCryptoService>,
    pub(super) record: Arc<Mutex<Record>>,
    pub(super) channel: ChannelId,
    pub(super) orderer: Orderer,
    /// Who else could be asked.
    pub(super) others: Vec<Orderer>,
    pub(super) next: SeqNum,
}

type Task<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A stream under way.
struct Running {
    reading: Reading,
    /// Nothing before the orderer has answered.
    replies: Option<Streaming<Bytes>>,
    opening: Option<Task<Result<Streaming<Bytes>, String>>>,
    /// What the others prove, where orderers may lie.
    headers: Option<Headers>,
    watch: Watch,
    ended: bool,
}

/// Whether the orderer keeps blocks back.
struct Watch {
    /// When another one is asked next.
    ask_at: Instant,
    /// Another one being asked: the newest number that it proves.
    asking: Option<Task<Option<SeqNum>>>,
    /// The block that is known to exist and has not come, and until when it may.
    suspected: Option<(SeqNum, Instant)>,
    /// When the configuration is looked at next.
    look_at: Instant,
}

impl Reading {
    /// Blocks from `next` on, for ever.
    pub(super) fn start(self, asker: Asker) -> BlockStream {
        let opening = open(Arc::clone(&self.us), asker, self.channel.clone(), self.next);
        let now = Instant::now();
        let watch = Watch {
            ask_at: now + self.ask_every(),
            asking: None,
            suspected: None,
            look_at: now + LOOK_EVERY,
        };
        let running = Running {
            headers: self.follow_headers(),
            reading: self,
            replies: None,
            opening: Some(Box::pin(opening)),
            watch,
            ended: false,
        };
        Box::pin(stream::unfold(running, |mut running| async move {
            if running.ended {
                return None;
            }
            let outcome = running.next().await;
            Some((outcome, running))
        }))
    }

    /// Half of what a block may be withheld for, some more by chance.
    fn ask_every(&self) -> Duration {
        let jitter = f64::from(random() % 256) / 1024.0;
        self.us.settings.withheld_max.mul_f64(0.5 + jitter)
    }

    /// The headers of all others, if the channel's orderers are to be believed in their majority alone.
    // fabric: internal/pkg/peer/blocksprovider/bft_censorship_monitor.go Monitor
    fn follow_headers(&self) -> Option<Headers> {
        let view = self.us.channels.current(&self.channel)?;
        if view.consenters().is_empty() || self.others.is_empty() {
            return None;
        }
        let others = self.others.clone();
        Some(Headers::follow(&self.us, &self.mcs, &self.channel, others, self.next))
    }

    /// Asks one of the others for its newest header.
    // fabric-differs: crash-tolerant orderers are watched too: it costs one small answer now and then, and
    // the orderer may be cut off from its peers.
    fn ask_another(&self) -> Option<Task<Option<SeqNum>>> {
        let at = (random() as usize).checked_rem(self.others.len())?;
        let other = self.others.get(at)?.clone();
        let (us, mcs, channel) =
            (Arc::clone(&self.us), Arc::clone(&self.mcs), self.channel.clone());
        Some(Box::pin(async move {
            let block = seek_newest(&us, &other, &channel).await.ok()?;
            mcs.verify_block_attestation(&channel, &block).ok().map(|()| block.number)
        }))
    }
}

async fn open(
    us: Arc<Us>,
    asker: Asker,
    channel: ChannelId,
    from: SeqNum,
) -> Result<Streaming<Bytes>, String> {
    let wanted = Wanted {
        start: SeekPosition::at(from.get()),
        stop: SeekPosition::at(u64::MAX),
        headers_only: false,
        wait: true,
    };
    asker.seek(&us, &channel, wanted).await
}

enum Happened {
    Opened(Result<Streaming<Bytes>, String>),
    Came(Result<Block, String>),
    OthersShow(Option<SeqNum>),
    TimeHasCome,
}

impl Running {
    async fn next(&mut self) -> Result<Block, SourceError> {
        loop {
            let reason = match self.happen().await {
                Happened::Opened(Ok(replies)) => {
                    self.opening = None;
                    self.replies = Some(replies);
                    continue;
                }
                Happened::Came(Ok(block)) => match self.take(block) {
                    Ok(block) => return Ok(block),
                    Err(reason) => reason,
                },
                Happened::OthersShow(newest) => {
                    self.watch.asking = None;
                    self.suspect(newest);
                    continue;
                }
                Happened::TimeHasCome => match self.look(Instant::now()) {
                    Ok(()) => continue,
                    Err(reason) => reason,
                },
                Happened::Opened(Err(reason)) | Happened::Came(Err(reason)) => reason,
            };
            return Err(self.fail(&reason));
        }
    }

    async fn happen(&mut self) -> Happened {
        let wake = self.wake_at();
        let Self { replies, opening, headers, watch, .. } = self;
        let asking = async {
            match (headers, &mut watch.asking) {
                (Some(headers), _) => headers.next().await,
                (None, Some(asking)) => asking.await,
                (None, None) => pending().await,
            }
        };
        let came = async {
            match (opening, replies) {
                (Some(opening), _) => Happened::Opened(opening.await),
                (None, Some(replies)) => Happened::Came(read(replies.message().await)),
                (None, None) => pending().await,
            }
        };
        tokio::select! {
            biased;
            happened = came => happened,
            newest = asking => Happened::OthersShow(newest),
            () = tokio::time::sleep_until(wake.into()) => Happened::TimeHasCome,
        }
    }

    fn wake_at(&self) -> Instant {
        let Watch { ask_at, asking, suspected, look_at } = &self.watch;
        let ask = asking.is_none().then_some(*ask_at);
        let until = suspected.map(|(_, until)| until);
        [ask, until].into_iter().flatten().fold(*look_at, Instant::min)
    }

    /// A block must be the next one, and of this channel, before anybody looks at its signatures.
    fn take(&mut self, block: Block) -> Result<Block, String> {
        let expected = self.reading.next;
        if block.number != expected {
            return Err(format!("it gave block {} where {expected} was due", block.number));
        }
        match peer_mcs::channel_of(&block) {
            Ok(name) if name == self.reading.channel.as_str() => {}
            Ok(name) => return Err(format!("it gave a block of channel {name:?}")),
            Err(error) => return Err(format!("it gave a bad block: {error}")),
        }
        self.reading.next = expected.next();
        if self.watch.suspected.is_some_and(|(number, _)| block.number >= number) {
            self.watch.suspected = None;
        }
        if let Some(headers) = &self.headers {
            headers.have_come(self.reading.next);
            let newest = headers.newest();
            self.suspect(newest);
        }
        Ok(block)
    }

    /// Another orderer proves block `newest`: ours has so long to give what it has not given yet.
    fn suspect(&mut self, newest: Option<SeqNum>) {
        let next = self.reading.next;
        if newest.is_some_and(|newest| newest >= next) && self.watch.suspected.is_none() {
            let until = Instant::now() + self.reading.us.settings.withheld_max;
            self.watch.suspected = Some((next, until));
        }
    }

    fn look(&mut self, now: Instant) -> Result<(), String> {
        if let Some((number, until)) = self.watch.suspected
            && now >= until
        {
            let limit = self.reading.us.settings.withheld_max.as_secs_f64();
            return Err(format!(
                "it withholds block {number}, which another orderer proved {limit} s ago; ask its operator whether it is cut off"
            ));
        }
        if self.watch.asking.is_none() && now >= self.watch.ask_at {
            self.watch.ask_at = now + self.reading.ask_every();
            if self.watch.suspected.is_none() && self.headers.is_none() {
                self.watch.asking = self.reading.ask_another();
            }
        }
        if now >= self.watch.look_at {
            self.watch.look_at = now + LOOK_EVERY;
            let known = orderers(&self.reading.us, &self.reading.channel)?;
            if !known.contains(&self.reading.orderer) {
                return Err("the channel's configuration does not name it any more".into());
            }
            let current = self.reading.orderer.clone();
            self.reading.others = known.into_iter().filter(|other| *other != current).collect();
            if self.headers.as_ref().is_none_or(|headers| !headers.is_of(&self.reading.others)) {
                self.headers = self.reading.follow_headers();
            }
        }
        Ok(())
    }

    fn fail(&mut self, reason: &str) -> SourceError {
        self.ended = true;
        let Reading { record, channel, orderer, .. } = &self.reading;
        blame(record, channel, &orderer.address, reason);
        SourceError::Unavailable {
            name: format!("orderer {} of {}", orderer.address, orderer.org),
            reason: reason.to_owned(),
            retry_after: None,
        }
    }
}

/// An orderer whose stream was given up is the last to be asked again.
impl Drop for Running {
    fn drop(&mut self) {
        if !self.ended {
            let mut record = super::record(&self.reading.record);
            let address = self.reading.orderer.address.clone();
            let reason = "its stream was given up".to_owned();
            record.faults.insert(address, super::Fault { last: Instant::now(), reason });
        }
    }
}

/// How often the configuration is looked at for whether it still names the orderer.
const LOOK_EVERY: Duration = Duration::from_secs(1);
