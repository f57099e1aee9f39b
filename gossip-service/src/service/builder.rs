//! A service from what the host has, over QUIC, with a default for everything that has one.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use gossip_api::{
    BlockCodec, ConfigError, Endpoint, Epoch, IdentityMap, IdentityMapConfig, MessageCryptoService,
    PeerIdentity, SecurityAdvisor,
};
use gossip_comm::quic::{QuicComm, QuicParts};
use gossip_comm::{Clock, Comm, CommConfig, wall};
use prometheus::Registry;
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng as _;

use super::{Parts, Service, StartError};
use crate::joining::{DeliveryFactory, EpochStore};
use crate::peer::{PeerConfig, PeerSelf};

/// What only the host can say: who we are, and whom to believe.
#[derive(Clone)]
pub struct Host {
    /// Our identity.
    pub identity: PeerIdentity,
    /// Whom to believe.
    pub mcs: Arc<dyn MessageCryptoService>,
    /// Whose is whose.
    pub advisor: Arc<dyn SecurityAdvisor>,
    /// How blocks are encoded.
    pub codec: Arc<dyn BlockCodec>,
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").field("identity", &self.identity).finish_non_exhaustive()
    }
}

/// Stores an epoch of ours above the given one, durably, and returns it.
type Advance = Arc<dyn Fn(Option<Epoch>) -> std::io::Result<Epoch> + Send + Sync>;

/// Puts a [`Service`] together.
#[derive(Clone)]
pub struct ServiceBuilder {
    host: Host,
    comm: CommConfig,
    internal: Option<Endpoint>,
    external: Option<Endpoint>,
    bootstrap: Vec<Endpoint>,
    metadata: Bytes,
    config: Option<PeerConfig>,
    delivery: Option<Arc<dyn DeliveryFactory>>,
    registry: Registry,
    advance: Advance,
    seed: Option<[u8; 32]>,
}

impl fmt::Debug for ServiceBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceBuilder").field("host", &self.host).finish_non_exhaustive()
    }
}

impl Service {
    /// A service that listens as `comm` says. Nothing is opened before [`ServiceBuilder::start`].
    // fabric: gossip/service/gossip_service.go InitGossipService
    pub fn builder(host: Host, comm: CommConfig) -> ServiceBuilder {
        ServiceBuilder {
            host,
            comm,
            internal: None,
            external: None,
            bootstrap: Vec::new(),
            metadata: Bytes::new(),
            config: None,
            delivery: None,
            registry: Registry::new(),
            advance: Arc::new(by_the_clock),
            seed: None,
        }
    }
}

impl ServiceBuilder {
    /// The address told inside our organisation. Without it, the one that is listened on.
    #[must_use]
    pub fn internal_endpoint(mut self, endpoint: Endpoint) -> Self {
        self.internal = Some(endpoint);
        self
    }

    /// The address told to everybody. Without it other organisations do not learn of this peer.
    #[must_use]
    pub fn external_endpoint(mut self, endpoint: Endpoint) -> Self {
        self.external = Some(endpoint);
        self
    }

    /// Addresses of our organisation to begin with.
    #[must_use]
    pub fn bootstrap(mut self, endpoints: impl IntoIterator<Item = Endpoint>) -> Self {
        self.bootstrap.extend(endpoints);
        self
    }

    /// What our record tells of us, opaque to the layer.
    #[must_use]
    pub fn metadata(mut self, metadata: Bytes) -> Self {
        self.metadata = metadata;
        self
    }

    /// Every machine's configuration, instead of the defaults.
    #[must_use]
    pub fn config(mut self, config: PeerConfig) -> Self {
        self.config = Some(config);
        self
    }

    /// Who makes the sources of channels that are joined without one.
    // fabric: gossip/service/gossip_service.go InitGossipServiceCustomDeliveryFactory
    #[must_use]
    pub fn delivery(mut self, factory: Arc<dyn DeliveryFactory>) -> Self {
        self.delivery = Some(factory);
        self
    }

    /// Where metrics are registered, instead of a registry of the service's own.
    #[must_use]
    pub fn registry(mut self, registry: Registry) -> Self {
        self.registry = registry;
        self
    }

    /// How an epoch above the given one is stored and returned. Without it epochs follow the clock: then
    /// a restarted peer whose clock was set back is believed only after others have told it their newest.
    #[must_use]
    pub fn epochs(
        mut self,
        advance: impl Fn(Option<Epoch>) -> std::io::Result<Epoch> + Send + Sync + 'static,
    ) -> Self {
        self.advance = Arc::new(advance);
        self
    }

    /// What all randomness grows from, for tests: proofs of life too, so that nobody else may know it.
    /// Without it the operating system is asked.
    #[must_use]
    pub fn seed(mut self, seed: [u8; 32]) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Binds the socket and starts the peer. To be called within a tokio runtime.
    ///
    /// # Errors
    /// If our identity is not acceptable, the socket cannot be bound, or a name of ours is taken in the
    /// metrics registry.
    pub fn start(self) -> Result<Service, StartError> {
        let clock = Clock::start();
        let Host { identity, mcs, advisor, codec } = self.host;
        let config = match self.config {
            Some(config) => config,
            None => PeerConfig::new()?,
        };
        let own = IdentityMapConfig::default().checked()?;
        let identities = IdentityMap::new(own, &identity, &*mcs, &*advisor, clock.now())?;
        let identities = Arc::new(identities);
        let org = advisor.org_by_peer_identity(&identity);
        let org = org.ok_or_else(|| ConfigError("our identity is of no organisation".into()))?;
        let epoch = (self.advance)(None)?;
        let network = self.comm.network.clone();
        let quic = QuicParts {
            identity: identity.clone(),
            epoch,
            mcs: Arc::clone(&mcs),
            advisor: Arc::clone(&advisor),
            identities: Arc::clone(&identities),
            registry: self.registry.clone(),
            clock,
        };
        let comm = Arc::new(QuicComm::bind(self.comm.checked()?, quic)?);
        let listening = Endpoint::new(&comm.local_addr().to_string());
        let listening = listening.map_err(|error| ConfigError(error.to_string()))?;
        let me = PeerSelf {
            pki_id: identities.own(),
            identity,
            org,
            epoch,
            external_endpoint: self.external,
            internal_endpoint: self.internal.unwrap_or(listening),
            metadata: self.metadata,
        };
        let seed = match self.seed {
            Some(seed) => seed,
            None => drawn()?,
        };
        Service::start(Parts {
            network,
            config,
            bootstrap: self.bootstrap,
            mcs,
            advisor,
            codec,
            identities,
            epochs: Arc::new(Epochs { advance: self.advance, comm: Arc::clone(&comm) }),
            comm: comm as Arc<dyn Comm>,
            clock,
            registry: self.registry,
            rng: ChaCha8Rng::from_seed(seed),
            delivery: self.delivery,
            me,
        })
    }
}

/// Epochs as the builder was told to store them, and the transport that speaks under them.
struct Epochs {
    advance: Advance,
    comm: Arc<QuicComm>,
}

impl EpochStore for Epochs {
    fn raise_above(&self, seen: Epoch) -> std::io::Result<Epoch> {
        let epoch = (self.advance)(Some(seen))?;
        self.comm.set_epoch(epoch);
        Ok(epoch)
    }
}

/// Seconds since 1970, or one more than what was seen.
#[expect(clippy::unnecessary_wraps, reason = "stands in for a store, which can fail")]
fn by_the_clock(seen: Option<Epoch>) -> std::io::Result<Epoch> {
    let seconds = u64::try_from(wall().as_unix_seconds()).unwrap_or(0);
    let above = seen.map_or(0, |seen| seen.get().saturating_add(1));
    Ok(Epoch::new(seconds.max(above)))
}

/// Hash chains and nonces grow from it: nobody may guess it.
fn drawn() -> std::io::Result<[u8; 32]> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(std::io::Error::other)?;
    Ok(seed)
}
