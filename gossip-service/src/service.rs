//! The service: a peer, its transport and its world, put together and taken apart.

mod builder;
mod gossip;

use std::sync::Arc;

use gossip_api::{
    BlockCodec, BlockHash, ChannelId, ConfigError, CryptoError, Endpoint, GossipError, IdentityMap,
    MessageCryptoService, NetworkId, SecurityAdvisor,
};
use gossip_comm::{Clock, Comm, CommError};
use prometheus::Registry;
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng as _;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument as _, info_span};

use crate::anchors::Tracker;
use crate::backlog::Backlog;
use crate::driver::{self, Note, Status};
use crate::effects::{Effects, Shared};
use crate::eventer::ConfigEventer;
use crate::hosting::Hosting;
use crate::joining::{Channel, DeliveryFactory, EpochStore};
use crate::metrics::ServiceMetrics;
use crate::peer::{Input, Peer, PeerConfig, PeerSelf};
use crate::traffic::Traffic;

/// Why a service did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration contradicts itself.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Our own identity is not acceptable.
    #[error("our own identity is not acceptable: {0}")]
    OwnIdentity(#[from] CryptoError),
    /// The transport cannot be had: an address in use, TLS material that does not fit.
    #[error(transparent)]
    Comm(#[from] CommError),
    /// Our epoch cannot be stored, or the system gives no randomness.
    #[error("the system refuses: {0}")]
    System(#[from] std::io::Error),
    /// The metrics registry holds one of our names already.
    #[error("metrics cannot be registered: {0}")]
    Metrics(#[from] prometheus::Error),
}

/// What the host supplies.
#[derive(Clone)]
pub struct Parts {
    /// Who we are.
    pub me: PeerSelf,
    /// Fabric's `peer.networkId`.
    pub network: NetworkId,
    /// Every machine's configuration.
    pub config: PeerConfig,
    /// Addresses of our organisation to begin with.
    pub bootstrap: Vec<Endpoint>,
    /// Whom to believe.
    pub mcs: Arc<dyn MessageCryptoService>,
    /// Whose is whose.
    pub advisor: Arc<dyn SecurityAdvisor>,
    /// How blocks are encoded.
    pub codec: Arc<dyn BlockCodec>,
    /// Identities known, shared with the transport.
    pub identities: Arc<IdentityMap>,
    /// Where our epoch is kept.
    pub epochs: Arc<dyn EpochStore>,
    /// The transport.
    pub comm: Arc<dyn Comm>,
    /// The process's clock, shared with the transport.
    pub clock: Clock,
    /// Where metrics are registered.
    pub registry: Registry,
    /// All randomness of the machines comes from here.
    pub rng: ChaCha8Rng,
    /// Makes the sources of channels that are joined without one.
    pub delivery: Option<Arc<dyn DeliveryFactory>>,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts").field("me", &self.me.pki_id).finish_non_exhaustive()
    }
}

pub use builder::{Host, ServiceBuilder};

/// A running peer. Cheap to clone; dropping every clone does not stop it, [`stop`](Self::stop) does.
///
/// There is no process-wide instance: a process may run as many as it has addresses for.
// fabric: gossip/service/gossip_service.go GossipService
#[derive(Clone)]
pub struct Service {
    notes: mpsc::Sender<Note>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
    comm: Arc<dyn Comm>,
    shared: Arc<Shared>,
    me: Arc<PeerSelf>,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service").field("tasks", &self.tasks.len()).finish_non_exhaustive()
    }
}

impl Service {
    /// Puts the peer together and starts its loop. To be called within a tokio runtime.
    ///
    /// # Errors
    /// If the metrics cannot be registered.
    // fabric: gossip/service/gossip_service.go New
    pub fn start(parts: Parts) -> Result<Self, StartError> {
        let clock = parts.clock;
        let (notes, inbox) = mpsc::channel(NOTES_MAX);
        let tasks = TaskTracker::new();
        let shutdown = CancellationToken::new();
        let mut rng = parts.rng;
        let hosting = Hosting::new(ChaCha8Rng::from_rng(&mut rng));
        let peer =
            Peer::new(parts.me.clone(), parts.config, Arc::clone(&parts.codec), rng, clock.now());
        let traffic = Traffic::new(&parts.registry)?;
        let visible_outside = parts.me.external_endpoint.is_some();
        let shared = Arc::new(Shared {
            own: parts.me.pki_id,
            org: parts.me.org.clone(),
            network: parts.network,
            mcs: parts.mcs,
            advisor: parts.advisor,
            codec: parts.codec,
            identities: parts.identities,
            epochs: parts.epochs,
            factory: parts.delivery,
            tracker: Tracker::new(parts.me.org.clone(), visible_outside, &parts.bootstrap),
            notes: notes.clone(),
            tasks: tasks.clone(),
            shutdown: shutdown.clone(),
            processors: Semaphore::new(processors()),
            backlog: Backlog::new(BACKLOG_MAX),
            clock,
            metrics: ServiceMetrics::new(&parts.registry)?,
        });
        let effects = Effects::new(Arc::clone(&shared), Arc::clone(&parts.comm), hosting, traffic);
        let comm = Arc::clone(&parts.comm);
        let running = driver::run(peer, effects, comm, inbox, clock, shutdown.clone());
        tasks.spawn(running.instrument(info_span!("peer", id = ?parts.me.pki_id)));
        let me = Arc::new(parts.me);
        let service = Self { notes, tasks, shutdown, comm: parts.comm, shared, me };
        service.bootstrap(parts.bootstrap);
        Ok(service)
    }

    /// Who this peer is.
    pub fn me(&self) -> &PeerSelf {
        &self.me
    }

    /// Whether a joined channel names this address as an anchor peer.
    // fabric: gossip/service/gossip_service.go IsAnchorPeer
    pub fn is_anchor_peer(&self, endpoint: &Endpoint) -> bool {
        self.shared.tracker.is_anchor(endpoint)
    }

    /// Hands on those configurations of a channel that change its members or anchor peers.
    // fabric: gossip/service/gossip_service.go NewConfigEventer
    pub fn config_eventer(&self, channel: ChannelId) -> ConfigEventer<Self> {
        ConfigEventer::new(self.clone(), channel)
    }

    /// Joins a channel. Its ledger must hold the genesis block at least.
    ///
    /// # Errors
    /// If our organisation is no member of it, the ledger cannot be read, or the service has stopped.
    // fabric: gossip/service/gossip_service.go InitializeChannel
    pub async fn join(&self, channel: Channel) -> Result<(), GossipError> {
        let (answer, outcome) = oneshot::channel();
        self.tell(Note::Join(Box::new(channel), answer)).await?;
        outcome.await.map_err(|_| GossipError::Stopped)?
    }

    /// How things stand.
    ///
    /// # Errors
    /// If the service has stopped.
    pub async fn status(&self) -> Result<Status, GossipError> {
        let (answer, status) = oneshot::channel();
        self.tell(Note::Status(answer)).await?;
        status.await.map_err(|_| GossipError::Stopped)
    }

    /// Decides a conflict that stopped a channel: the block with this header is the right one. Tells whether
    /// the channel goes on; it does not if the ledger holds the other block, which then has to be rebuilt.
    ///
    /// # Errors
    /// If the channel is not joined, or the service has stopped.
    pub async fn resume(
        &self,
        channel: &ChannelId,
        accept: BlockHash,
    ) -> Result<bool, GossipError> {
        let input = Input::Resume { channel: channel.clone(), accept };
        self.tell(Note::Input(input)).await?;
        // Notes are taken in order: the status is one of after the decision.
        let status = self.status().await?;
        let found = status.channels.into_iter().find(|status| status.name == *channel);
        let found = found.ok_or_else(|| GossipError::NoSuchChannel(channel.clone()))?;
        Ok(found.halted.is_none())
    }

    /// Stops: connections are closed, and every task has ended when this returns. Idempotent.
    // fabric: gossip/service/gossip_service.go Stop
    pub async fn stop(&self) {
        // A leader says goodbye first, so that another takes over at once; it may be too late for that.
        let (said, done) = oneshot::channel();
        if self.tell(Note::Stopping(said)).await.is_ok() {
            let _ = tokio::time::timeout(GOODBYE_WITHIN, done).await;
        }
        self.shutdown.cancel();
        self.comm.stop().await;
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn bootstrap(&self, endpoints: Vec<Endpoint>) {
        let notes = self.notes.clone();
        self.tasks.spawn(async move {
            for endpoint in endpoints {
                if notes.send(Note::Input(Input::Connect(endpoint))).await.is_err() {
                    return;
                }
            }
        });
    }

    async fn tell(&self, note: Note) -> Result<(), GossipError> {
        self.notes.send(note).await.map_err(|_| GossipError::Stopped)
    }
}

/// How many computations run at a time: one per processor.
fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// How long a goodbye may take to leave.
const GOODBYE_WITHIN: std::time::Duration = std::time::Duration::from_millis(200);

/// Answers and requests that wait for the loop.
const NOTES_MAX: usize = 1024;

/// Signatures that wait to be checked; more are dropped before anything is computed.
const BACKLOG_MAX: usize = 1024;
