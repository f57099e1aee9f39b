//! Channels as the daemon holds them: a store, the trust of their configuration, and a source.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use gossip_api::{
    Block, BlockCodec, BlockSource, ChannelId, Gossip as _, GossipError, JoinChannelMessage,
    Ledger, SeqNum,
};
use gossip_comm::TlsMaterial;
use gossip_comm::quic::QuicComm;
use gossip_service::store::{BlockStore, DataDir};
use gossip_service::{Channel, ConfigHost, Service, TermStore};
use peer_mcs::{Channels, FabricCodec};

use crate::Failure;
use crate::config::{ChannelFiles, Source};
use crate::conflicts::Conflicts;
use crate::joined::Joined;
use crate::orderers::{OrdererSource, Us};
use crate::relay::Relay;
use crate::source::FileSource;

/// Applies committed configurations: to the trust store, and to the transport's roots.
pub(crate) struct TrustHost {
    pub(crate) channels: Arc<Channels>,
    pub(crate) comm: Arc<QuicComm>,
    pub(crate) tls: Mutex<TlsMaterial>,
    /// How ordering services are asked for blocks.
    pub(crate) orderers: Arc<Us>,
    /// Who serves blocks to Fabric's peers, if anybody does.
    pub(crate) relay: Option<Arc<Relay>>,
}

impl ConfigHost for TrustHost {
    fn apply_config(
        &self,
        channel: &ChannelId,
        block: &Block,
    ) -> Result<Arc<dyn JoinChannelMessage>, String> {
        let applied = self.channels.apply(channel, block).map_err(|error| error.to_string())?;
        self.refresh_roots().map_err(|error| error.to_string())?;
        Ok(applied)
    }
}

impl TrustHost {
    /// Lets the transport trust the TLS roots of every joined channel, and cut off whom nobody vouches for.
    pub(crate) fn refresh_roots(&self) -> Result<(), gossip_comm::CommError> {
        // Held until the transport has what was found: of two that refresh, the later one must win.
        let own = self.tls.lock().unwrap_or_else(PoisonError::into_inner);
        let mut tls = own.clone();
        let cas = self.channels.all().into_iter().flat_map(|channel| channel.tls_cas());
        for certificate in cas.map(|ca| ca.certificate.to_vec()) {
            if !tls.roots.contains(&certificate) {
                tls.roots.push(certificate);
            }
        }
        self.comm.set_tls(&tls)?;
        self.comm.recheck();
        if let Some(relay) = &self.relay {
            relay.trust(tls.roots.iter().map(Vec::as_slice));
        }
        Ok(())
    }

    /// Our own certificate, key and roots were read again.
    pub(crate) fn renew(&self, tls: TlsMaterial) -> Result<(), gossip_comm::CommError> {
        *self.tls.lock().unwrap_or_else(PoisonError::into_inner) = tls;
        if let Some(relay) = &self.relay {
            relay.renew();
        }
        self.refresh_roots()
    }
}

/// The channels of a running peer, and how they become more or fewer.
#[derive(Clone)]
pub(crate) struct Membership {
    pub(crate) data: DataDir,
    pub(crate) channels: Arc<Channels>,
    pub(crate) host: Arc<TrustHost>,
    pub(crate) joined: Joined,
    /// One change at a time.
    pub(crate) turn: Arc<tokio::sync::Mutex<()>>,
}

/// Why a channel was not joined.
#[derive(Debug)]
pub(crate) enum JoinError {
    /// What was sent is no genesis block.
    Malformed(String),
    /// It is joined already.
    Exists(ChannelId),
    /// It contradicts what we hold.
    Refused(String),
    /// Something broke.
    Failed(String),
}

impl Membership {
    /// Joins a channel by its genesis block, now and at the next start.
    // fabric: orderer/common/channelparticipation/restapi.go JoinChannel
    pub(crate) async fn join(
        &self,
        service: &Service,
        genesis: Bytes,
    ) -> Result<ChannelId, JoinError> {
        let _turn = self.turn.lock().await;
        let block = FabricCodec
            .split(&genesis)
            .map_err(|error| JoinError::Malformed(format!("that is no block: {error}")))?;
        let trust = peer_mcs::Channel::from_config_block(&block).map_err(|error| {
            JoinError::Malformed(format!("that is no genesis block to begin with: {error}"))
        })?;
        let name = trust.id().clone();
        if block.number != SeqNum::new(0) {
            return Err(JoinError::Malformed(format!(
                "that is block {} of channel {name}, not its genesis block",
                block.number
            )));
        }
        if self.channels.current(&name).is_some() {
            return Err(JoinError::Exists(name));
        }
        let file = self.joined.add(&name, &genesis).map_err(|error| {
            JoinError::Failed(format!("the genesis block cannot be kept: {error}"))
        })?;
        let outcome = self.enter(service, ChannelFiles::joined(file)).await;
        let failed = |error: &dyn std::fmt::Display| JoinError::Failed(error.to_string());
        if let Err(reason) = outcome {
            self.channels.leave(&name);
            self.host.refresh_roots().map_err(|error| failed(&error))?;
            self.joined.forget(&name).map_err(|error| failed(&error))?;
            return Err(reason);
        }
        self.joined.settle(&name).map_err(|error| failed(&error))?;
        Ok(name)
    }

    async fn enter(&self, service: &Service, files: ChannelFiles) -> Result<(), JoinError> {
        let channel = open(&files, &self.data, &self.channels, Arc::clone(&self.host)).await;
        let channel = channel.map_err(|failure| match failure {
            Failure::Config(reason) => JoinError::Refused(reason),
            Failure::Run(reason) => JoinError::Failed(reason),
        })?;
        self.host.refresh_roots().map_err(|error| JoinError::Failed(error.to_string()))?;
        service.join(channel).await.map_err(|error| JoinError::Failed(error.to_string()))
    }

    /// Leaves a channel, now and at the next start; tells whether it was joined. The ledger is kept.
    pub(crate) async fn leave(
        &self,
        service: &Service,
        channel: &ChannelId,
    ) -> Result<bool, String> {
        let _turn = self.turn.lock().await;
        match service.leave_chan(channel).await {
            Ok(()) => {}
            Err(GossipError::NoSuchChannel(_)) => return Ok(false),
            Err(error) => return Err(error.to_string()),
        }
        self.channels.leave(channel);
        self.host.refresh_roots().map_err(|error| error.to_string())?;
        self.joined.leave(channel).map_err(|error| {
            format!("the channel is left, and will be joined again at the next start: {error}")
        })?;
        Ok(true)
    }

    /// Everything to join at a start: what the configuration names, and what was joined while the peer ran.
    pub(crate) async fn at_start(
        &self,
        configured: &[ChannelFiles],
    ) -> Result<Vec<Channel>, Failure> {
        let unreadable = |error: std::io::Error| {
            Failure::Run(format!("joined channels are unreadable: {error}"))
        };
        let mut channels = Vec::new();
        for files in configured {
            let genesis = read_genesis(&files.genesis)?;
            if name_of(&genesis).is_some_and(|name| self.joined.is_left(&name)) {
                tracing::info!(
                    genesis = %files.genesis.display(),
                    "channel was left while the peer ran: not joined; `gossip-peer channel join` joins it again"
                );
                continue;
            }
            channels.push(self.open(files).await?);
        }
        for file in self.joined.blocks().map_err(unreadable)? {
            let genesis = read_genesis(&file)?;
            let name = name_of(&genesis);
            if name.is_some_and(|name| self.channels.current(&name).is_none()) {
                channels.push(self.open(&ChannelFiles::joined(file)).await?);
            }
        }
        Ok(channels)
    }

    async fn open(&self, files: &ChannelFiles) -> Result<Channel, Failure> {
        open(files, &self.data, &self.channels, Arc::clone(&self.host)).await
    }
}

/// The channel that a block says it is of.
fn name_of(block: &Block) -> Option<ChannelId> {
    ChannelId::new(&peer_mcs::channel_of(block).ok()?).ok()
}

/// Opens a channel's store, begins it with the genesis block if it is new, and builds the trust that is in
/// force at its height.
pub(crate) async fn open(
    files: &ChannelFiles,
    data: &DataDir,
    channels: &Arc<Channels>,
    host: Arc<TrustHost>,
) -> Result<Channel, Failure> {
    let codec: Arc<dyn BlockCodec> = Arc::new(FabricCodec);
    let genesis = read_genesis(&files.genesis)?;
    let trust = peer_mcs::Channel::from_config_block(&genesis).map_err(|error| {
        Failure::Config(format!(
            "{} is no genesis block to begin with: {error}",
            files.genesis.display()
        ))
    })?;
    let name = trust.id().clone();
    let store = data
        .channel(&name, Arc::clone(&codec))
        .map_err(|error| Failure::Config(error.to_string()))?;
    let run = |error: gossip_api::LedgerError| Failure::Run(error.to_string());
    if store.height().await.map_err(run)?.last_block().is_none() {
        store.commit(vec![genesis.clone()]).await.map_err(run)?;
    }
    check_same_genesis(&store, &genesis, files).await?;
    let trust = in_force(&store, trust).await?;
    let config = channels
        .join(trust)
        .map_err(|error| Failure::Config(format!("gossipPeer.channels: {error}")))?;
    let source: Option<Arc<dyn BlockSource>> = match &files.source {
        Source::Orderers => Some(Arc::new(OrdererSource::new(Arc::clone(&host.orderers)))),
        Source::Directory(dir) => Some(Arc::new(FileSource::new(dir.clone(), Arc::clone(&codec)))),
        Source::Nowhere => None,
    };
    let store = Arc::new(store);
    let mut ledger: Arc<dyn Ledger> = Arc::clone(&store) as _;
    if let Some(relay) = &host.relay {
        ledger = relay.before(name.clone(), ledger).await.map_err(run)?;
    }
    Ok(Channel {
        config,
        genesis: codec.header_hash(&genesis),
        ledger,
        source,
        terms: Arc::new(Terms(Arc::clone(&store))),
        conflicts: Some(Arc::new(Conflicts {
            channel: name,
            store,
            data: data.clone(),
            channels: Arc::clone(channels),
        })),
        host,
    })
}

/// The term of leadership, kept beside the blocks.
struct Terms(Arc<BlockStore>);

impl TermStore for Terms {
    fn term(&self) -> Result<Option<u64>, String> {
        let value = self.0.value(TERM).map_err(|error| error.to_string())?;
        let term = value.map(|bytes| bytes.as_ref().try_into().map(u64::from_le_bytes));
        term.transpose().map_err(|_| "the stored term is damaged".to_owned())
    }

    fn set_term(&self, term: u64) -> Result<(), String> {
        self.0.set_value(TERM, Some(&term.to_le_bytes())).map_err(|error| error.to_string())
    }
}

/// Name of the stored term.
const TERM: &str = "term";

/// The block in a file.
pub(crate) fn read_genesis(file: &Path) -> Result<Block, Failure> {
    let bytes = std::fs::read(file)
        .map_err(|error| Failure::Config(format!("cannot read {}: {error}", file.display())))?;
    FabricCodec
        .split(&Bytes::from(bytes))
        .map_err(|error| Failure::Config(format!("{} is not a block: {error}", file.display())))
}

async fn check_same_genesis(
    store: &BlockStore,
    genesis: &Block,
    files: &ChannelFiles,
) -> Result<(), Failure> {
    let first = store
        .block(SeqNum::new(0))
        .await
        .map_err(|error| Failure::Run(error.to_string()))?
        .ok_or_else(|| Failure::Run("the ledger has lost its first block".into()))?;
    if first.header() != genesis.header() {
        return Err(Failure::Config(format!(
            "{} is not the genesis block with which the ledger under gossipPeer.dataDir begins: correct one of them",
            files.genesis.display()
        )));
    }
    Ok(())
}

/// The configuration that the ledger's newest block was ordered under, or that it carries.
pub(crate) async fn in_force(
    store: &BlockStore,
    genesis: peer_mcs::Channel,
) -> Result<peer_mcs::Channel, Failure> {
    let run = |error: &dyn std::fmt::Display| Failure::Run(error.to_string());
    let height = store.height().await.map_err(|error| run(&error))?;
    let Some(last) = height.last_block() else { return Ok(genesis) };
    let tip = store.block(last).await.map_err(|error| run(&error))?;
    let Some(tip) = tip.filter(|tip| tip.number != SeqNum::new(0)) else { return Ok(genesis) };
    let number = peer_mcs::last_config(&tip).map_err(|error| run(&error))?;
    if number == SeqNum::new(0) {
        return Ok(genesis);
    }
    let block = store
        .block(number)
        .await
        .map_err(|error| run(&error))?
        .ok_or_else(|| Failure::Run(format!("the ledger lacks config block {number}")))?;
    let hash = genesis.genesis_hash();
    let channel = peer_mcs::Channel::from_config_block(&block).map_err(|error| run(&error))?;
    Ok(match hash {
        Some(hash) => channel.with_genesis_hash(hash),
        None => channel,
    })
}
