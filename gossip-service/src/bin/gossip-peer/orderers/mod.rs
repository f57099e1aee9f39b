//! The ordering service as a source of blocks: Fabric's Deliver.
//!
//! Which orderers there are, and whom to believe that they are it, is asked of the channel's configuration
//! each time. One orderer gives the blocks; the headers of the others tell whether it keeps some back: where
//! orderers may lie they are streamed from all of them, elsewhere one is asked for its newest now and then. An orderer that fails is the last to be asked again, and none is ever given up.

mod ask;
mod endpoints;
mod headers;
#[cfg(test)]
mod replay;
mod stream;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use gossip_api::{
    Block, BlockSource, BlockStream, ChannelId, MessageCryptoService, SeqNum, SourceError,
};
use peer_mcs::Channels;
use tracing::{info, warn};

pub(crate) use ask::{Asker, Wanted, read, seek_newest};
pub(crate) use endpoints::Orderer;
use endpoints::{in_order, orderers};

use crate::fabric::envelope::Signer;
use crate::grpc::client::KeepAlive;
use crate::grpc::tls::TlsPair;

/// How the ordering service is spoken to: Fabric's `peer.deliveryclient.*`.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// A connection has to stand within this time. Fabric's value.
    pub(crate) connect_timeout: Duration,
    /// First wait after all orderers failed. Fabric's value.
    pub(crate) retry_min: Duration,
    /// Longest wait. Fabric waits up to an hour; a minute is soon enough to notice a return.
    pub(crate) retry_max: Duration,
    /// An orderer may keep back for so long what another one has shown. Fabric's value.
    pub(crate) withheld_max: Duration,
    pub(crate) keep_alive: KeepAlive,
    pub(crate) overrides: Vec<Override>,
}

impl Default for Settings {
    // fabric: core/deliverservice/config.go loadDeliverServiceConfig
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(3),
            retry_min: Duration::from_millis(100),
            retry_max: Duration::from_secs(60),
            withheld_max: Duration::from_secs(30),
            keep_alive: KeepAlive::default(),
            overrides: Vec::new(),
        }
    }
}

/// An orderer that is reached elsewhere than the channel says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Override {
    pub(crate) from: String,
    pub(crate) to: String,
    /// CAs that vouch for it instead of the organisation's.
    pub(crate) roots: Option<PathBuf>,
}

/// Who asks.
#[derive(Clone)]
pub(crate) struct Us {
    pub(crate) signer: Signer,
    pub(crate) tls: TlsPair,
    pub(crate) channels: Arc<Channels>,
    pub(crate) settings: Settings,
}

/// The orderers of one channel.
pub(crate) struct OrdererSource {
    us: Arc<Us>,
    mcs: Arc<dyn MessageCryptoService>,
    record: Arc<Mutex<Record>>,
}

/// How the orderers did, by address.
#[derive(Debug, Default)]
struct Record {
    faults: BTreeMap<String, Fault>,
    /// Attempts in a row that reached nobody.
    misses: u32,
}

#[derive(Debug)]
struct Fault {
    last: Instant,
    /// As told to the operator; the same words are not told twice.
    reason: String,
}

impl OrdererSource {
    pub(crate) fn new(us: Arc<Us>) -> Self {
        let mcs = Arc::clone(&us.signer.mcs);
        Self { us, mcs, record: Arc::default() }
    }

    fn unavailable(&self, channel: &ChannelId, reason: String) -> SourceError {
        let mut record = record(&self.record);
        record.misses = record.misses.saturating_add(1);
        let wait = backoff(&self.us.settings, record.misses);
        SourceError::Unavailable {
            name: format!("ordering service of {channel}"),
            reason,
            retry_after: Some(wait),
        }
    }

    /// The orderers now, those that failed last at the end.
    fn candidates(&self, channel: &ChannelId) -> Result<Vec<Orderer>, SourceError> {
        let found =
            orderers(&self.us, channel).map_err(|reason| self.unavailable(channel, reason))?;
        let mut record = record(&self.record);
        record.faults.retain(|address, _| found.iter().any(|known| known.address == *address));
        Ok(in_order(found, |address| record.faults.get(address).map(|fault| fault.last)))
    }

    fn blame(&self, channel: &ChannelId, orderer: &Orderer, reason: &str) {
        blame(&self.record, channel, &orderer.address, reason);
    }
}

fn record(record: &Mutex<Record>) -> std::sync::MutexGuard<'_, Record> {
    record.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Remembers a failure, and tells it unless it is the last one over again.
fn blame(held: &Mutex<Record>, channel: &ChannelId, orderer: &str, reason: &str) {
    let mut record = record(held);
    let before = record.faults.get(orderer).map(|fault| fault.reason.as_str());
    if before != Some(reason) {
        warn!(%channel, orderer, reason, "orderer failed, trying the next one");
    }
    let fault = Fault { last: Instant::now(), reason: reason.to_owned() };
    record.faults.insert(orderer.to_owned(), fault);
}

#[async_trait]
impl BlockSource for OrdererSource {
    fn name(&self) -> String {
        "ordering service".into()
    }

    async fn blocks(&self, channel: &ChannelId, from: SeqNum) -> Result<BlockStream, SourceError> {
        let candidates = self.candidates(channel)?;
        let mut reasons = Vec::new();
        for orderer in &candidates {
            match Asker::connect(&self.us, orderer).await {
                Ok(asker) => {
                    info!(%channel, orderer = orderer.address, org = orderer.org, %from, "connected to an orderer");
                    record(&self.record).misses = 0;
                    let others =
                        candidates.iter().filter(|other| *other != orderer).cloned().collect();
                    let reading = stream::Reading {
                        us: Arc::clone(&self.us),
                        mcs: Arc::clone(&self.mcs),
                        record: Arc::clone(&self.record),
                        channel: channel.clone(),
                        orderer: orderer.clone(),
                        others,
                        next: from,
                    };
                    return Ok(reading.start(asker));
                }
                Err(reason) => {
                    self.blame(channel, orderer, &reason);
                    reasons.push(format!("{} of {}: {reason}", orderer.address, orderer.org));
                }
            }
        }
        Err(self.unavailable(channel, format!("no orderer can be reached; {}", reasons.join("; "))))
    }

    /// Of the first orderer that answers: header and signatures.
    async fn newest(&self, channel: &ChannelId) -> Result<Block, SourceError> {
        let mut reasons = Vec::new();
        for orderer in &self.candidates(channel)? {
            match seek_newest(&self.us, orderer, channel).await {
                Ok(block) => return Ok(block),
                Err(reason) => {
                    self.blame(channel, orderer, &reason);
                    reasons.push(format!("{} of {}: {reason}", orderer.address, orderer.org));
                }
            }
        }
        let reason = format!("no orderer tells its newest block; {}", reasons.join("; "));
        Err(self.unavailable(channel, reason))
    }
}

/// 1.2^n times the first wait, at most the longest, and up to a quarter less by chance.
// fabric: internal/pkg/peer/blocksprovider/blocksprovider.go DeliverBlocks
fn backoff(settings: &Settings, misses: u32) -> Duration {
    let mut wait = settings.retry_min;
    for _ in 1..misses {
        wait = wait.mul_f64(1.2).min(settings.retry_max);
    }
    wait.min(settings.retry_max).mul_f64(1.0 - f64::from(endpoints::random() % 256) / 1024.0)
}
