//! `gossip-peer node start`: puts a peer together from its configuration and runs it.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use gossip_api::{
    Checked, ConfigError, Epoch, IdentityMap, IdentityMapConfig, MessageCryptoService, OrgId,
    PeerIdentity, SecurityAdvisor,
};
use gossip_comm::quic::{QuicComm, QuicParts};
use gossip_comm::{Clock, Comm, CommConfig, SecretBytes};
use gossip_discovery::DiscoveryConfig;
use gossip_election::ElectionConfig;
use gossip_service::node::NodeConfig;
use gossip_service::store::{DataDir, EpochFile};
use gossip_service::{EpochStore, Parts, PeerConfig, PeerSelf, Service};
use gossip_state::{ServeConfig, StateConfig};
use peer_mcs::{Advisor, Channels, FabricCodec, Mcs};
use prometheus::Registry;
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info, warn};

use crate::Failure;
use crate::channels::{Membership, TrustHost};
use crate::config::{self, Config, Leadership};
use crate::fabric::envelope::Signer;
use crate::grpc::tls::TlsPair;
use crate::joined::Joined;
use crate::logging::LogLevels;
use crate::material::{self, Material};
use crate::operations::{Operations, router, serve as operations};
use crate::orderers::Us;
use crate::relay::Relay;
use crate::status::Who;
use crate::{doctor, tls};

/// Runs a peer until SIGTERM or Ctrl-C.
pub(crate) fn run(file: &Path) -> Result<(), Failure> {
    let config = config::load(file)?;
    let machines = machines(&config)?;
    let material = material::load(&config)?;
    // Whatever this process creates is for nobody else to read.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let data =
        DataDir::open(&config.data_dir).map_err(|error| Failure::Config(error.to_string()))?;
    let levels = LogLevels::start(config.log_spec.as_deref())
        .map_err(|error| Failure::Config(format!("gossipPeer.logging.spec: {error}")))?;
    tell_notices(&config);
    for soon in doctor::expiring(&config, &material)? {
        warn!("{soon}");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Run(format!("cannot start the runtime: {error}")))?;
    let peer = Daemon { file, config, machines, data, levels };
    let outcome = runtime.block_on(peer.live(material));
    // What blocks a thread for long, such as a commit on a slow disk, does not hold up the end.
    runtime.shutdown_timeout(Duration::from_millis(200));
    outcome
}

/// The machines' configurations, contradictions ruled out.
pub(crate) fn machines(config: &Config) -> Result<PeerConfig, Failure> {
    let refuse = |error: ConfigError| Failure::Config(format!("peer.gossip: {error}"));
    Ok(PeerConfig {
        discovery: discovery(config).map_err(refuse)?,
        node: node(config).map_err(refuse)?,
        state: state(config).map_err(refuse)?,
        serve: ServeConfig::default().checked().map_err(refuse)?,
        election: election(config).checked().map_err(refuse)?,
    })
}

fn election(config: &Config) -> ElectionConfig {
    match config.leadership {
        Leadership::Elected => ElectionConfig::dynamic(),
        Leadership::Named(leads) => ElectionConfig::fixed(leads),
    }
}

fn discovery(config: &Config) -> Result<Checked<DiscoveryConfig>, ConfigError> {
    let mut discovery = DiscoveryConfig::default();
    if let Some(every) = config.timings.alive_every {
        discovery.beat_every = every;
    }
    if let Some(after) = config.timings.alive_expiration {
        discovery.late_after = after;
    }
    discovery.checked()
}

fn node(config: &Config) -> Result<Checked<NodeConfig>, ConfigError> {
    let defaults = NodeConfig::default();
    let timings = &config.timings;
    NodeConfig {
        mode: config.spread_mode,
        redundancy_max: config.redundancy_max.unwrap_or(defaults.redundancy_max),
        push_peers: timings.propagate_peers.unwrap_or(defaults.push_peers),
        push_iterations: timings.push_iterations.unwrap_or(defaults.push_iterations),
        push_batch: timings.push_batch.unwrap_or(defaults.push_batch),
        push_wait: timings.push_wait.unwrap_or(defaults.push_wait),
        pull_every: timings.pull_every.unwrap_or(defaults.pull_every),
        pull_peers: timings.pull_peers.unwrap_or(defaults.pull_peers),
        digest_wait: timings.digest_wait.unwrap_or(defaults.digest_wait),
        request_wait: timings.request_wait.unwrap_or(defaults.request_wait),
        response_wait: timings.response_wait.unwrap_or(defaults.response_wait),
        ..defaults
    }
    .checked()
}

fn state(config: &Config) -> Result<Checked<StateConfig>, ConfigError> {
    let defaults = StateConfig::default();
    let timings = &config.timings;
    StateConfig {
        enabled: timings.state_enabled.unwrap_or(defaults.enabled),
        tip_wait: timings.state_check.unwrap_or(defaults.tip_wait),
        patience: timings.state_patience.unwrap_or(defaults.patience),
        range_blocks: timings.state_batch.unwrap_or(defaults.range_blocks),
        window_blocks: timings.state_buffer.unwrap_or(defaults.window_blocks),
        ..defaults
    }
    .checked()
}

fn tell_notices(config: &Config) {
    for (key, why) in &config.notices.ignored {
        info!(key, why, "key read and not obeyed");
    }
    for cost in &config.notices.costs {
        warn!("{cost}");
    }
    if !config.notices.foreign.is_empty() {
        info!(keys = config.notices.foreign.join(", "), "keys that are not ours, ignored");
    }
}

/// What stays the same for as long as the process runs.
struct Daemon<'a> {
    file: &'a Path,
    config: Config,
    machines: PeerConfig,
    data: DataDir,
    levels: LogLevels,
}

/// Why a peer ended.
enum Ended {
    /// It is over.
    Stopped,
    /// Our identity was renewed: what was read, to begin anew with.
    Renewed(Box<Material>),
}

impl Daemon<'_> {
    /// Runs a peer until it is told to stop. A renewed identity is another peer to everybody, because its
    /// name is the hash of its certificate: the old one takes its leave, and the new one begins.
    async fn live(&self, mut material: Material) -> Result<(), Failure> {
        let mut tries = 1;
        loop {
            let begun = Instant::now();
            match serve(self, material.clone()).await {
                Ok(Ended::Stopped) => return Ok(()),
                Ok(Ended::Renewed(renewed)) => {
                    material = *renewed;
                    tries = BEGIN_TRIES;
                }
                // What the old peer had, such as its addresses, may take a moment to come free.
                Err(failure) if tries > 1 && begun.elapsed() < BEGIN_WITHIN => {
                    warn!(
                        reason = failure.sentence(),
                        "cannot begin yet under the renewed identity"
                    );
                    tries -= 1;
                    tokio::time::sleep(BEGIN_AGAIN_AFTER).await;
                }
                Err(failure) => return Err(failure),
            }
        }
    }
}

async fn serve(daemon: &Daemon<'_>, material: Material) -> Result<Ended, Failure> {
    let Daemon { file, config, machines, data, levels } = daemon;
    let clock = Clock::start();
    let registry = Registry::new();
    let channels = Arc::new(Channels::new());
    let mcs: Arc<dyn MessageCryptoService> =
        Arc::new(Mcs::new(Arc::clone(&material.msp), Arc::clone(&channels)));
    let advisor: Arc<dyn SecurityAdvisor> =
        Arc::new(Advisor::new(Arc::clone(&material.msp), Arc::clone(&channels)));
    let me = who_we_are(config, &material, &*mcs, &data.epoch())?;
    let identities = IdentityMapConfig::default()
        .checked()
        .map_err(|error| Failure::Config(error.to_string()))?;
    let identities = IdentityMap::new(identities, &me.identity, &*mcs, &*advisor, clock.now())
        .map_err(|error| Failure::Config(format!("our own identity: {error}")))?;
    let identities = Arc::new(identities);
    let secret = data.transport_secret().map_err(|error| Failure::Config(error.to_string()))?;
    let parts = QuicParts {
        identity: me.identity.clone(),
        epoch: me.epoch,
        mcs: Arc::clone(&mcs),
        advisor: Arc::clone(&advisor),
        identities: Arc::clone(&identities),
        registry: registry.clone(),
        clock,
    };
    let comm = bind(config, &material, secret, parts)?;
    let comm = Arc::new(comm);
    let orderers = Us {
        signer: Signer { identity: me.identity.clone(), mcs: Arc::clone(&mcs) },
        tls: TlsPair { cert: config.tls.cert.clone(), key: config.tls.key.clone() },
        channels: Arc::clone(&channels),
        settings: config.orderers.clone(),
    };
    let relay = match config.relay {
        Some(place) => Some(Relay::bind(place, &orderers, &registry).await?),
        None => None,
    };
    let host = TrustHost {
        channels: Arc::clone(&channels),
        comm: Arc::clone(&comm),
        tls: std::sync::Mutex::new(material.tls.clone()),
        orderers: Arc::new(orderers),
        relay: relay.clone(),
    };
    let host = Arc::new(host);
    let who =
        Who { endpoint: me.internal_endpoint.clone(), pki_id: me.pki_id, org: me.org.clone() };
    let joined = Joined::open(data)
        .map_err(|error| Failure::Config(format!("gossipPeer.dataDir: {error}")))?;
    let membership = Membership {
        data: data.clone(),
        channels: Arc::clone(&channels),
        host: Arc::clone(&host),
        joined,
        turn: Arc::default(),
    };
    let channels = membership.at_start(&config.channels).await?;
    host.refresh_roots().map_err(|error| Failure::Config(error.to_string()))?;
    let epochs = Epochs { file: data.epoch(), comm: Arc::clone(&comm) };
    let transport: Arc<dyn Comm> = comm;
    let service = Service::start(Parts {
        me,
        network: config.network.clone(),
        config: machines.clone(),
        bootstrap: config.bootstrap.clone(),
        mcs,
        advisor,
        codec: Arc::new(FabricCodec),
        identities,
        epochs: Arc::new(epochs),
        comm: transport,
        clock,
        registry: registry.clone(),
        rng: random_generator()?,
        delivery: None,
    })
    .map_err(|error| Failure::Run(error.to_string()))?;
    for channel in channels {
        service.join(channel).await.map_err(|error| Failure::Run(error.to_string()))?;
    }
    let levels = levels.clone();
    let operations = Operations { service: service.clone(), registry, who, levels, membership };
    let identity = material.msp.identity().clone();
    let outcome = tokio::select! {
        outcome = run_until_signal(file, config, &identity, operations) => outcome,
        error = serve_relay(relay.as_deref()) => Err(Failure::Run(error)),
    };
    info!("stopping");
    if let Some(relay) = &relay {
        relay.stop();
    }
    if tokio::time::timeout(STOP_WITHIN, service.stop()).await.is_err() {
        warn!("tasks were still running, leaving anyway");
    }
    outcome
}

/// Serves Fabric's Deliver, if it is to be served; comes back with an error alone.
async fn serve_relay(relay: Option<&Relay>) -> String {
    match relay {
        Some(relay) => relay.serve().await,
        None => std::future::pending().await,
    }
}

/// The epoch on disk, and in the transport's hellos.
struct Epochs {
    file: EpochFile,
    comm: Arc<QuicComm>,
}

impl EpochStore for Epochs {
    fn raise_above(&self, seen: Epoch) -> std::io::Result<Epoch> {
        let epoch = self.file.advance(Some(seen)).map_err(std::io::Error::other)?;
        self.comm.set_epoch(epoch);
        Ok(epoch)
    }
}

fn who_we_are(
    config: &Config,
    material: &Material,
    mcs: &dyn MessageCryptoService,
    epochs: &EpochFile,
) -> Result<PeerSelf, Failure> {
    let identity = material.msp.identity().clone();
    let pki_id = mcs
        .pki_id_of_cert(&identity)
        .ok_or_else(|| Failure::Config("peer.mspConfigPath: the identity is unreadable".into()))?;
    let org = OrgId::new(&config.msp_id)
        .map_err(|error| Failure::Config(format!("peer.localMspId: {error}")))?;
    let epoch = epochs
        .advance(None)
        .map_err(|error| Failure::Run(format!("cannot persist the epoch: {error}")))?;
    Ok(PeerSelf {
        pki_id,
        identity,
        org,
        epoch,
        external_endpoint: config.external_endpoint.clone(),
        internal_endpoint: config.internal_endpoint.clone(),
        metadata: Bytes::new(),
    })
}

fn bind(
    config: &Config,
    material: &Material,
    secret: [u8; 32],
    parts: QuicParts,
) -> Result<QuicComm, Failure> {
    let mut comm = CommConfig::new(config.listen, config.network.clone(), material.tls.clone());
    comm.secret = Some(SecretBytes::new(secret.to_vec()));
    comm.stop_timeout = GOODBYE_WITHIN;
    if let Some(timeout) = config.timings.dial_timeout {
        comm.dial_timeout = timeout;
    }
    let comm = comm.checked().map_err(|error| Failure::Config(error.to_string()))?;
    QuicComm::bind(comm, parts)
        .map_err(|error| Failure::Config(format!("peer.listenAddress {}: {error}", config.listen)))
}

async fn run_until_signal(
    file: &Path,
    config: &Config,
    identity: &PeerIdentity,
    operations: Operations,
) -> Result<Ended, Failure> {
    let address = config.operations.listen;
    let listener = tokio::net::TcpListener::bind(address)
        .await
        .map_err(|error| Failure::Config(format!("operations.listenAddress {address}: {error}")))?;
    let acceptor = config.operations.tls.as_ref().map(tls::Acceptor::open).transpose()?;
    let acceptor = acceptor.map(Arc::new);
    let listen = |kind| {
        signal(kind).map_err(|error| Failure::Run(format!("cannot listen for signals: {error}")))
    };
    let mut terminate = listen(SignalKind::terminate())?;
    let mut hang_up = listen(SignalKind::hangup())?;
    info!(listen = %config.listen, operations = %address, peer = %operations.who.pki_id, "started");
    let reload = Reload {
        host: Arc::clone(&operations.membership.host),
        levels: operations.levels.clone(),
        acceptor: acceptor.clone(),
    };
    let signals = async {
        loop {
            tokio::select! {
                _ = terminate.recv() => return Ended::Stopped,
                _ = tokio::signal::ctrl_c() => return Ended::Stopped,
                _ = hang_up.recv() => if let Some(renewed) = reload.run(file, identity) {
                    return Ended::Renewed(Box::new(renewed));
                },
            }
        }
    };
    tokio::select! {
        outcome = operations::run(listener, acceptor, router(operations)) => {
            outcome.map_err(|error| Failure::Run(format!("operations endpoint: {error}")))?;
            Ok(Ended::Stopped)
        }
        ended = signals => Ok(ended),
    }
}

/// What SIGHUP reads again.
struct Reload {
    host: Arc<TrustHost>,
    levels: LogLevels,
    acceptor: Option<Arc<tls::Acceptor>>,
}

impl Reload {
    /// Reads certificates and log levels again. What cannot be used changes nothing, and is told. Gives what
    /// was read if our identity is another one than `identity` now.
    fn run(&self, file: &Path, identity: &PeerIdentity) -> Option<Material> {
        match self.try_run(file) {
            Ok(material) if material.msp.identity() == identity => {
                info!("certificates and log levels read again");
                None
            }
            Ok(material) => {
                info!("our identity was renewed: the peer begins anew under it");
                Some(material)
            }
            Err(failure) => {
                error!(
                    "not everything could be read again, the rest is as it was: {}",
                    failure.sentence()
                );
                None
            }
        }
    }

    fn try_run(&self, file: &Path) -> Result<Material, Failure> {
        let config = config::load(file)?;
        let material = material::load(&config)?;
        for soon in doctor::expiring(&config, &material)? {
            warn!("{soon}");
        }
        let renewed = self.host.renew(material.tls.clone());
        renewed.map_err(|error| Failure::Config(error.to_string()))?;
        if let Some(acceptor) = &self.acceptor {
            acceptor.reload()?;
        }
        self.levels.configure(config.log_spec.as_deref()).map_err(Failure::Config)?;
        Ok(material)
    }
}

/// Seeded by the operating system.
fn random_generator() -> Result<ChaCha8Rng, Failure> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed)
        .map_err(|error| Failure::Run(format!("no randomness from the system: {error}")))?;
    Ok(ChaCha8Rng::from_seed(seed))
}

/// How often a peer under a renewed identity tries to begin, how long such a try takes at most, and when
/// the next one comes.
const BEGIN_TRIES: u32 = 20;
const BEGIN_WITHIN: Duration = Duration::from_secs(5);
const BEGIN_AGAIN_AFTER: Duration = Duration::from_millis(200);

/// How long connections may take to end in good order.
const GOODBYE_WITHIN: Duration = Duration::from_millis(300);

/// A stop that takes longer is a defect, and no reason to hang.
const STOP_WITHIN: Duration = Duration::from_millis(700);
