//! `gossip-peer dev-orderer`: one process that orders, for development and demonstrations.
//!
//! Broadcast and Deliver as Fabric's orderers serve them; blocks are cut by count, bytes and time as the
//! channel says, signed with the orderer's identity, and kept in the crash-safe store. It accepts
//! configuration updates and checks versions and policies as Fabric does. It is alone: no consensus, no
//! channel participation API, and transactions accepted and not yet in a block die with the process.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use futures_util::{StreamExt as _, stream};
use gossip_api::{Ledger, MessageCryptoService};
use gossip_service::store::DataDir;
use peer_mcs::{Channels, FabricCodec, LocalMsp, Mcs};
use prometheus::Registry;
use prost::Message as _;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::{Status as GrpcStatus, Streaming};
use tracing::info;

use super::writer::{self, Entrance};
use crate::Failure;
use crate::channels::{in_force, read_genesis};
use crate::deliver::{Chain, Deliver, Metrics, Sharing};
use crate::fabric::envelope::{self, Signer};
use crate::fabric::shapes::{BroadcastResponse, Status};
use crate::grpc::server::{self, AtomicBroadcast, Caller, Listening, Replies};
use crate::grpc::tls::{TlsPair, bundle};
use crate::logging::LogLevels;

/// Where it lives, and where it listens.
#[derive(Debug, Args)]
pub(crate) struct OrdererArgs {
    /// Directory with `msp`, `tls` and `genesis.block`, as `gossip-peer dev network` makes it.
    #[arg(long, value_name = "DIR")]
    home: PathBuf,
    /// Id of the orderer's MSP.
    #[arg(long, value_name = "ID", default_value = "OrdererMSP")]
    msp_id: String,
    /// Address of Broadcast and Deliver.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7050")]
    listen: SocketAddr,
    /// Clients have to show a TLS certificate of the channel's organisations.
    #[arg(long)]
    client_auth: bool,
    /// Another genesis block; may be given several times, for several channels.
    #[arg(long, value_name = "FILE")]
    genesis: Vec<PathBuf>,
}

/// Runs until SIGTERM or Ctrl-C.
pub(crate) fn run(args: &OrdererArgs) -> Result<(), Failure> {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let msp = LocalMsp::from_dir(&args.home.join("msp"), &args.msp_id)
        .map_err(|error| Failure::Config(error.to_string()))?;
    let data = DataDir::open(&args.home.join("data"))
        .map_err(|error| Failure::Config(error.to_string()))?;
    let _levels = LogLevels::start(None).map_err(Failure::Config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Run(format!("cannot start the runtime: {error}")))?;
    runtime.block_on(serve(args, msp, data))
}

async fn serve(args: &OrdererArgs, msp: LocalMsp, data: DataDir) -> Result<(), Failure> {
    let listener = TcpListener::bind(args.listen)
        .await
        .map_err(|error| Failure::Config(format!("--listen {}: {error}", args.listen)))?;
    let trust = Arc::new(Channels::new());
    let identity = msp.identity().clone();
    let mcs: Arc<dyn MessageCryptoService> = Arc::new(Mcs::new(Arc::new(msp), Arc::clone(&trust)));
    let signer = Signer { identity, mcs: Arc::clone(&mcs) };
    let metrics =
        Metrics::new(&Registry::new()).map_err(|error| Failure::Run(error.to_string()))?;
    let deliver = Deliver::new(Arc::clone(&trust), mcs, args.client_auth, metrics);
    let roots = Arc::new(watch::Sender::new(Arc::<str>::from("")));
    let mut orderer = Orderer { deliver: Arc::new(deliver), entrances: BTreeMap::new() };
    let stop = CancellationToken::new();
    let mut writers = JoinSet::new();
    let mut files = args.genesis.clone();
    if files.is_empty() {
        files.push(args.home.join("genesis.block"));
    }
    for file in files {
        let writer = orderer.open(&file, &data, &trust, (&signer, &roots)).await?;
        writers.spawn(writer.run(stop.clone()));
    }
    tell_roots(&trust, &roots);
    let listening = Listening {
        listener,
        tls: TlsPair {
            cert: args.home.join("tls/server.crt"),
            key: args.home.join("tls/server.key"),
        },
        mutual: args.client_auth,
        roots: roots.subscribe(),
    };
    info!(listen = %args.listen, "ordering");
    let outcome = tokio::select! {
        served = server::serve(listening, Arc::new(orderer), stop.clone()) => {
            served.map_err(Failure::Run)
        }
        outcome = signalled() => outcome,
    };
    info!("stopping");
    stop.cancel();
    let finished = async { while writers.join_next().await.is_some() {} };
    if tokio::time::timeout(STOP_WITHIN, finished).await.is_err() {
        return Err(Failure::Run("the last blocks could not be stored".into()));
    }
    outcome
}

async fn signalled() -> Result<(), Failure> {
    let mut terminate = signal(SignalKind::terminate())
        .map_err(|error| Failure::Run(format!("cannot listen for signals: {error}")))?;
    tokio::select! {
        _ = terminate.recv() => Ok(()),
        _ = tokio::signal::ctrl_c() => Ok(()),
    }
}

/// The CAs of all organisations of all channels are those of clients.
fn tell_roots(trust: &Channels, roots: &watch::Sender<Arc<str>>) {
    let cas: Vec<_> = trust.all().iter().flat_map(|view| view.tls_cas()).collect();
    roots.send_replace(bundle(cas.iter().map(|ca| ca.certificate.as_ref())).into());
}

struct Orderer {
    deliver: Arc<Deliver>,
    entrances: BTreeMap<String, Arc<Entrance>>,
}

impl Orderer {
    /// Opens the channel that `file` begins.
    async fn open(
        &mut self,
        file: &std::path::Path,
        data: &DataDir,
        trust: &Arc<Channels>,
        (signer, roots): (&Signer, &Arc<watch::Sender<Arc<str>>>),
    ) -> Result<writer::Writer, Failure> {
        let run = |error: gossip_api::LedgerError| Failure::Run(error.to_string());
        let genesis = read_genesis(file)?;
        let view = peer_mcs::Channel::from_config_block(&genesis).map_err(|error| {
            Failure::Config(format!("{} is no genesis block: {error}", file.display()))
        })?;
        let id = view.id().clone();
        let store = data
            .channel(&id, Arc::new(FabricCodec))
            .map_err(|error| Failure::Config(error.to_string()))?;
        if store.current_height().last_block().is_none() {
            store.commit(vec![genesis]).await.map_err(run)?;
        }
        let view = trust
            .join(in_force(&store, view).await?)
            .map_err(|error| Failure::Config(error.to_string()))?;
        let ledger: Arc<dyn Ledger> = Arc::new(store.clone());
        let chain = Chain::new(id.clone(), ledger, self.deliver.metrics(), Sharing::default())
            .await
            .map_err(run)?;
        let chain = Arc::new(chain);
        self.deliver.add(&chain);
        let (held, roots) = (Arc::clone(trust), Arc::clone(roots));
        let changed = Box::new(move || tell_roots(&held, &roots));
        let (entrance, writer) =
            writer::open(trust, &view, (&store, &chain), signer.clone(), changed)
                .await
                .map_err(Failure::Run)?;
        self.entrances.insert(id.as_str().to_owned(), Arc::new(entrance));
        Ok(writer)
    }

    async fn answer(
        entrances: &BTreeMap<String, Arc<Entrance>>,
        envelope: Bytes,
    ) -> (Status, String) {
        let opened = match envelope::open(&envelope) {
            Ok(opened) => opened,
            Err(reason) => return (Status::BadRequest, reason),
        };
        match entrances.get(&opened.channel_header.channel_id) {
            Some(entrance) => entrance.submit(envelope, opened).await,
            None => {
                let name = opened.channel_header.channel_id;
                (Status::BadRequest, format!("channel {name:?} is not served"))
            }
        }
    }
}

impl AtomicBroadcast for Orderer {
    fn deliver(&self, caller: Caller, requests: Streaming<Bytes>) -> Replies {
        self.deliver.serve(caller, requests)
    }

    // fabric: orderer/common/broadcast/broadcast.go Handle
    fn broadcast(&self, _: Caller, requests: Streaming<Bytes>) -> Result<Replies, GrpcStatus> {
        let state = Some((requests, self.entrances.clone()));
        Ok(Box::pin(stream::unfold(state, |state| async move {
            let (mut requests, entrances) = state?;
            let envelope = requests.next().await?.ok()?;
            let (status, info) = Self::answer(&entrances, envelope).await;
            let response = BroadcastResponse { status: status.code(), info };
            let response: Bytes = response.encode_to_vec().into();
            let goes_on = (status == Status::Success).then_some((requests, entrances));
            Some((Ok(response), goes_on))
        })))
    }
}

const STOP_WITHIN: Duration = Duration::from_secs(5);
