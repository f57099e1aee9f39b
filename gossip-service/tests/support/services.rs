//! Whole services over loopback QUIC in one process, with the cheap cryptography of simulations.
#![allow(dead_code, unreachable_pub, reason = "each test uses its part")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream;
use gossip_api::{
    AnchorPeer, Block, BlockCodec as _, BlockSource, BlockStream, ChannelId, Endpoint, GossipError,
    Height, JoinChannelMessage, Ledger, LedgerError, NetworkId, OrgId, SeqNum, SourceError,
};
use gossip_comm::sim::crypto::{Authority, BlockFactory, SimBlockCodec};
use gossip_comm::{CommConfig, SecretBytes, TlsMaterial};
use gossip_election::ElectionConfig;
use gossip_service::{
    Channel, ConfigHost, Host, PeerConfig, Service, ServiceBuilder, Status, TermStore,
};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

/// Longest wait for something that must happen.
pub const SOON: Duration = Duration::from_secs(60);

/// What the services of a test agree on.
pub struct World {
    pub authority: Arc<Authority>,
    issuer: Issuer<'static, KeyPair>,
    root: Vec<u8>,
}

impl World {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let root = params.self_signed(&key).unwrap().der().to_vec();
        Self { authority: Authority::new(7), issuer: Issuer::new(params, key), root }
    }

    fn tls(&self) -> TlsMaterial {
        let params = CertificateParams::new(vec!["peer.test".into()]).unwrap();
        let key = KeyPair::generate().unwrap();
        let leaf = params.signed_by(&key, &self.issuer).unwrap();
        TlsMaterial {
            chain: vec![leaf.der().to_vec()],
            key: SecretBytes::new(key.serialize_der()),
            roots: vec![self.root.clone()],
        }
    }

    pub fn comm(&self) -> CommConfig {
        let network = NetworkId::new("test").unwrap();
        CommConfig::new(SocketAddr::from(([127, 0, 0, 1], 0)), network, self.tls())
    }

    pub fn host(&self, org_name: &str, number: u32) -> Host {
        let identity = self.authority.identity(&org(org_name), number);
        let crypto = Arc::new(self.authority.crypto(identity.clone()));
        Host {
            identity,
            mcs: Arc::clone(&crypto) as Arc<_>,
            advisor: crypto,
            codec: Arc::new(SimBlockCodec),
        }
    }

    /// A peer of an organisation, that knows `first` of it.
    pub fn peer(&self, org: &str, number: u32, first: Option<&Service>) -> ServiceBuilder {
        let known = first.map(endpoint);
        Service::builder(self.host(org, number), self.comm()).bootstrap(known)
    }

    /// A peer that others may know of too.
    pub fn open_peer(&self, org: &str, number: u32, first: Option<&Service>) -> Service {
        let port = free_port();
        let at = Endpoint::new(&format!("127.0.0.1:{port}")).unwrap();
        let network = NetworkId::new("test").unwrap();
        let comm = CommConfig::new(SocketAddr::from(([127, 0, 0, 1], port)), network, self.tls());
        let builder = Service::builder(self.host(org, number), comm);
        builder.external_endpoint(at).bootstrap(first.map(endpoint)).start().unwrap()
    }
}

fn free_port() -> u16 {
    std::net::UdpSocket::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

/// Where a service listens.
pub fn endpoint(service: &Service) -> Endpoint {
    service.me().internal_endpoint.clone()
}

pub fn org(name: &str) -> OrgId {
    OrgId::new(name).unwrap()
}

pub fn channel_id(name: &str) -> ChannelId {
    ChannelId::new(name).unwrap()
}

/// Defaults, with a leader that is named.
pub fn led_by(leads: bool) -> PeerConfig {
    let election = ElectionConfig::fixed(leads).checked().unwrap();
    PeerConfig { election, ..PeerConfig::new().unwrap() }
}

/// A channel: its configuration as of any block, its blocks, and a ledger for each peer that joins.
pub struct TestChannel {
    pub id: ChannelId,
    authority: Arc<Authority>,
    pub blocks: Mutex<BlockFactory>,
    genesis: Block,
    /// What each configuration block says.
    configs: Mutex<BTreeMap<SeqNum, TestConfig>>,
}

/// A configuration in the tests' terms.
#[derive(Clone, Debug)]
pub struct TestConfig {
    pub channel: ChannelId,
    pub sequence: u64,
    pub orgs: Vec<(OrgId, Vec<Endpoint>)>,
}

impl JoinChannelMessage for TestConfig {
    fn sequence_number(&self) -> u64 {
        self.sequence
    }

    fn members(&self) -> Vec<OrgId> {
        self.orgs.iter().map(|(org, _)| org.clone()).collect()
    }

    fn anchor_peers_of(&self, org: &OrgId) -> Vec<AnchorPeer> {
        let of = self.orgs.iter().filter(|(name, _)| name == org);
        let anchors = of.flat_map(|(_, anchors)| anchors).map(|anchor| {
            let (host, port) = anchor.as_str().rsplit_once(':').unwrap();
            AnchorPeer { host: host.into(), port: port.parse().unwrap() }
        });
        anchors.collect()
    }

    fn channel(&self) -> &ChannelId {
        &self.channel
    }
}

impl TestChannel {
    pub fn new(world: &World, name: &str, orgs: &[&str]) -> Arc<Self> {
        let id = channel_id(name);
        let members: Vec<OrgId> = orgs.iter().map(|name| org(name)).collect();
        world.authority.add_channel(&id, members.clone());
        let mut blocks = BlockFactory::new(&world.authority, id.clone(), 1024);
        let genesis = blocks.next_block();
        let config = TestConfig {
            channel: id.clone(),
            sequence: 0,
            orgs: members.into_iter().map(|org| (org, Vec::new())).collect(),
        };
        Arc::new(Self {
            id,
            authority: Arc::clone(&world.authority),
            blocks: Mutex::new(blocks),
            genesis,
            configs: Mutex::new(BTreeMap::from([(SeqNum::new(0), config)])),
        })
    }

    pub fn next_block(&self) -> Block {
        self.blocks.lock().unwrap().next_block()
    }

    /// A configuration block with these members and their anchor peers.
    pub fn next_config(&self, orgs: &[(&str, &[Endpoint])]) -> Block {
        let block = self.blocks.lock().unwrap().next_config();
        let orgs = orgs.iter().map(|(name, anchors)| (org(name), anchors.to_vec()));
        let config = TestConfig {
            channel: self.id.clone(),
            sequence: block.number.get(),
            orgs: orgs.collect(),
        };
        self.configs.lock().unwrap().insert(block.number, config);
        block
    }

    pub fn config(&self) -> Arc<TestConfig> {
        Arc::new(self.configs.lock().unwrap().values().next_back().unwrap().clone())
    }

    /// What a peer joins with: a ledger of its own that holds the genesis block, and no source.
    pub fn join(self: &Arc<Self>) -> (Channel, Arc<MemoryLedger>) {
        self.join_with(Arc::new(MemoryLedger::new(&self.id, self.genesis.clone())))
    }

    pub fn join_with(self: &Arc<Self>, ledger: Arc<MemoryLedger>) -> (Channel, Arc<MemoryLedger>) {
        let channel = Channel {
            config: self.config(),
            genesis: SimBlockCodec.header_hash(&self.genesis),
            ledger: Arc::clone(&ledger) as Arc<dyn Ledger>,
            source: None,
            terms: Arc::new(Terms::default()),
            conflicts: None,
            host: Arc::clone(self) as Arc<dyn ConfigHost>,
        };
        (channel, ledger)
    }
}

impl ConfigHost for TestChannel {
    fn apply_config(
        &self,
        channel: &ChannelId,
        block: &Block,
    ) -> Result<Arc<dyn JoinChannelMessage>, String> {
        let configs = self.configs.lock().unwrap();
        let config = configs.get(&block.number).ok_or("no configuration of the test's")?.clone();
        self.authority.add_channel(channel, config.members());
        Ok(Arc::new(config))
    }
}

/// Blocks in memory; the newest are committed only while the gate is open.
pub struct MemoryLedger {
    channel: ChannelId,
    blocks: Mutex<Vec<Block>>,
    gate: tokio::sync::watch::Sender<bool>,
    rotten: Mutex<std::collections::BTreeSet<SeqNum>>,
}

impl MemoryLedger {
    pub fn new(channel: &ChannelId, genesis: Block) -> Self {
        let gate = tokio::sync::watch::Sender::new(true);
        Self {
            channel: channel.clone(),
            blocks: Mutex::new(vec![genesis]),
            gate,
            rotten: Mutex::default(),
        }
    }

    /// Whether commits go through or wait.
    pub fn set_open(&self, open: bool) {
        self.gate.send_replace(open);
    }

    pub fn len(&self) -> u64 {
        self.blocks.lock().unwrap().len() as u64
    }

    /// The block cannot be read any more.
    pub fn rot(&self, number: SeqNum) {
        self.rotten.lock().unwrap().insert(number);
    }

    /// Loses its end without the service's knowledge.
    pub fn truncate(&self, height: usize) {
        self.blocks.lock().unwrap().truncate(height);
    }

    /// Puts a block in without the service's knowledge.
    pub fn put(&self, block: Block) {
        self.blocks.lock().unwrap().push(block);
    }
}

#[async_trait]
impl Ledger for MemoryLedger {
    async fn height(&self) -> Result<Height, LedgerError> {
        Ok(Height::new(self.len()))
    }

    async fn commit(&self, blocks: Vec<Block>) -> Result<Height, LedgerError> {
        let mut gate = self.gate.subscribe();
        gate.wait_for(|open| *open).await.unwrap();
        let mut held = self.blocks.lock().unwrap();
        for block in blocks {
            if block.number.get() != held.len() as u64 {
                let reason = format!("{} after {}", block.number, held.len());
                return Err(LedgerError::Storage { channel: self.channel.clone(), reason });
            }
            held.push(block);
        }
        Ok(Height::new(held.len() as u64))
    }

    async fn block(&self, number: SeqNum) -> Result<Option<Block>, LedgerError> {
        let index = usize::try_from(number.get()).unwrap();
        if self.rotten.lock().unwrap().contains(&number) {
            let reason = format!("block {number} is damaged");
            return Err(LedgerError::Storage { channel: self.channel.clone(), reason });
        }
        Ok(self.blocks.lock().unwrap().get(index).cloned())
    }

    async fn mend(&self, block: Block) -> Result<(), LedgerError> {
        self.rotten.lock().unwrap().remove(&block.number);
        let index = usize::try_from(block.number.get()).unwrap();
        self.blocks.lock().unwrap()[index] = block;
        Ok(())
    }
}

#[derive(Default)]
struct Terms(Mutex<Option<u64>>);

impl TermStore for Terms {
    fn term(&self) -> Result<Option<u64>, String> {
        Ok(*self.0.lock().unwrap())
    }

    fn set_term(&self, term: u64) -> Result<(), String> {
        *self.0.lock().unwrap() = Some(term);
        Ok(())
    }
}

/// A source that gives nothing and counts who opens it.
#[derive(Default)]
pub struct CountingSource {
    pub opened: AtomicU64,
}

#[async_trait]
impl BlockSource for CountingSource {
    fn name(&self) -> String {
        "a counting source".into()
    }

    async fn blocks(&self, _: &ChannelId, _: SeqNum) -> Result<BlockStream, SourceError> {
        self.opened.fetch_add(1, Ordering::SeqCst);
        Ok(Box::pin(stream::pending()))
    }

    async fn newest(&self, channel: &ChannelId) -> Result<Block, SourceError> {
        Err(SourceError::NoSuchChannel { name: self.name(), channel: channel.clone() })
    }
}

/// Polls until `condition` holds.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let polling = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(tokio::time::timeout(SOON, polling).await.is_ok(), "in vain: {what}");
}

pub async fn status(service: &Service) -> Result<Status, GossipError> {
    service.status().await
}
