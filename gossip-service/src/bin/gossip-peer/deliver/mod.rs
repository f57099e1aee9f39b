//! Fabric's Deliver, served from ledgers: by the relay of a peer, and by the development orderer.
//!
//! ```text
//!   ledger --commit--> Chain: blocks at hand, encoded once --> Session, Session, ... --> gRPC
//!                        ^-- older ones are read once for each group of readers (lanes)
//! ```

mod access;
mod chain;
mod lanes;
mod session;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use gossip_api::{ChannelId, MessageCryptoService};
use peer_mcs::Channels;
use prometheus::{IntCounterVec, IntGauge, Opts, Registry};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tonic::Status;

pub(crate) use chain::{Chain, Sharing};

use crate::grpc::server::{Caller, Replies};

/// Whom to serve, and from which chains.
pub(crate) struct Deliver {
    trust: Arc<Channels>,
    mcs: Arc<dyn MessageCryptoService>,
    /// Requests must name the hash of the certificate that TLS showed.
    mutual: bool,
    first_seek_within: Duration,
    /// Held by those who commit to them: a channel that is left is served no more.
    chains: RwLock<BTreeMap<ChannelId, Weak<Chain>>>,
    readers: Arc<Semaphore>,
    stopping: CancellationToken,
    metrics: Metrics,
}

/// What is counted, by channel; names as Fabric's where it has them.
#[derive(Clone)]
pub(crate) struct Metrics {
    pub(crate) blocks_sent: IntCounterVec,
    pub(crate) requests: IntCounterVec,
    pub(crate) store_reads: IntCounterVec,
    pub(crate) streams: IntGauge,
}

impl Metrics {
    /// Counters in `registry`.
    // fabric: common/deliver/metrics.go NewMetrics
    pub(crate) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counter = |name: &str, help: &str| {
            let counter = IntCounterVec::new(Opts::new(name, help), &["channel"])?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        let streams = IntGauge::new("deliver_streams", "Deliver streams that are open.")?;
        registry.register(Box::new(streams.clone()))?;
        Ok(Self {
            blocks_sent: counter("deliver_blocks_sent", "Blocks given to Deliver clients.")?,
            requests: counter("deliver_requests_received", "Seek requests that were granted.")?,
            store_reads: counter(
                "deliver_store_reads",
                "Blocks read from the ledger to be delivered.",
            )?,
            streams,
        })
    }
}

impl Deliver {
    /// No chain yet.
    pub(crate) fn new(
        trust: Arc<Channels>,
        mcs: Arc<dyn MessageCryptoService>,
        mutual: bool,
        metrics: Metrics,
    ) -> Self {
        Self {
            trust,
            mcs,
            mutual,
            first_seek_within: FIRST_SEEK_WITHIN,
            chains: RwLock::default(),
            readers: Arc::new(Semaphore::new(STREAMS_MAX)),
            stopping: CancellationToken::new(),
            metrics,
        }
    }

    /// When it is cancelled, every stream ends.
    pub(crate) fn stopping(&self) -> &CancellationToken {
        &self.stopping
    }

    /// With another patience for clients that ask nothing.
    #[cfg(test)]
    pub(crate) fn with_first_seek_within(self, first_seek_within: Duration) -> Self {
        Self { first_seek_within, ..self }
    }

    /// What the chains count with.
    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Serves `chain` from now on, for as long as somebody else holds it.
    pub(crate) fn add(&self, chain: &Arc<Chain>) {
        let mut chains = self.chains.write().unwrap_or_else(PoisonError::into_inner);
        chains.retain(|_, held| held.strong_count() > 0);
        chains.insert(chain.id().clone(), Arc::downgrade(chain));
    }

    /// The chain of a channel that is served.
    pub(crate) fn chain(&self, channel: &str) -> Option<Arc<Chain>> {
        let channel = ChannelId::new(channel).ok()?;
        let chains = self.chains.read().unwrap_or_else(PoisonError::into_inner);
        chains.get(&channel).and_then(Weak::upgrade)
    }

    /// Answers one stream of seek requests.
    pub(crate) fn serve(
        self: &Arc<Self>,
        caller: Caller,
        requests: impl Stream<Item = Result<Bytes, Status>> + Send + Unpin + 'static,
    ) -> Replies {
        session::run(Arc::clone(self), caller, requests)
    }
}

/// A stream whose client asks nothing for so long ends.
const FIRST_SEEK_WITHIN: Duration = Duration::from_secs(30);
/// Streams served at once, as Fabric's `peer.limits.concurrency.deliverService`.
const STREAMS_MAX: usize = 2500;
