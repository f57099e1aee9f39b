//! For tests: a channel with key material in memory's reach, a ledger that grows on demand, and orderers
//! that behave as they are told.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use gossip_api::{Block, BlockCodec as _, ChannelId, Height, Ledger, LedgerError, SeqNum};
use peer_mcs::{Channel, Channels, FabricCodec, LocalMsp, Mcs};
use prometheus::Registry;
use prost::Message as _;
use tempfile::TempDir;
use time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::{Status as GrpcStatus, Streaming};

use super::genesis::{self, Plan, assemble};
use super::material::{LONG, Member, Org};
use super::network::signer;
use super::writer::signed;
use crate::deliver::{Chain, Deliver, Metrics, Sharing};
use crate::fabric::config::BatchSize;
use crate::fabric::envelope::{self, Contents, Signer};
use crate::fabric::shapes::{
    ChannelHeader, DeliverResponse, Envelope, Header, Metadata, Payload, Position, Reply, SeekInfo,
    kind,
};
use crate::grpc::client::KeepAlive;
use crate::grpc::server::{self, AtomicBroadcast, Caller, Listening, Replies};
use crate::grpc::tls::TlsPair;
use crate::orderers::{Settings, Us};

/// Who signs.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Who {
    Peer,
    Admin,
    Stranger,
    Expired,
    ExpiresSoon,
    Orderer,
}

/// One channel, `trade`.
pub(crate) struct Bench {
    pub(crate) channel: ChannelId,
    pub(crate) deliver: Arc<Deliver>,
    pub(crate) genesis: Block,
    chain: Arc<Chain>,
    ledger: Arc<Memory>,
    metrics: Metrics,
    dir: TempDir,
    stop: CancellationToken,
    seeks: Vec<Arc<AtomicU64>>,
}

/// What a bench may have instead of what it has by default.
#[derive(Default)]
struct Setting {
    mutual: bool,
    endpoints: Vec<String>,
    doubted: bool,
    sharing: Sharing,
    first_seek_within: Option<std::time::Duration>,
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Bench {
    pub(crate) async fn with_blocks(count: u64) -> Self {
        Self::new(count, Setting::default()).await
    }

    /// Whose readers share little room, and wait a little for each other.
    pub(crate) async fn sharing(count: u64, sharing: Sharing) -> Self {
        Self::new(count, Setting { sharing, ..Setting::default() }).await
    }

    pub(crate) async fn mutual(count: u64) -> Self {
        Self::new(count, Setting { mutual: true, ..Setting::default() }).await
    }

    /// With orderers that behave as told, at addresses that the channel names.
    pub(crate) async fn with_orderers(count: u64, scripts: &[Script]) -> Self {
        Self::played(count, scripts, false).await
    }

    /// With orderers of which some may lie, and that are told as such by the channel.
    pub(crate) async fn with_doubted_orderers(count: u64, scripts: &[Script]) -> Self {
        Self::played(count, scripts, true).await
    }

    async fn played(count: u64, scripts: &[Script], doubted: bool) -> Self {
        let mut listeners = Vec::new();
        for _ in scripts {
            listeners.push(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap());
        }
        let endpoints = listeners.iter().map(|l| l.local_addr().unwrap().to_string()).collect();
        let plan = Setting { endpoints, doubted, ..Setting::default() };
        let mut bench = Self::new(count, plan).await;
        for (listener, script) in listeners.into_iter().zip(scripts) {
            let seeks = Arc::new(AtomicU64::new(0));
            bench.seeks.push(Arc::clone(&seeks));
            let home = bench.dir.path().join("orderer");
            let listening = Listening {
                listener,
                tls: TlsPair {
                    cert: home.join("tls/server.crt"),
                    key: home.join("tls/server.key"),
                },
                mutual: false,
                roots: watch::Sender::new("".into()).subscribe(),
            };
            let actor = Actor { script: *script, blocks: bench.ledger.clone(), seeks };
            let stop = bench.stop.clone();
            tokio::spawn(async move { server::serve(listening, Arc::new(actor), stop).await });
        }
        bench
    }

    /// With orderers that nobody is.
    pub(crate) async fn dead(addresses: &[&str]) -> Self {
        let endpoints = addresses.iter().map(|address| (*address).to_owned()).collect();
        Self::new(1, Setting { endpoints, ..Setting::default() }).await
    }

    /// Whose Deliver streams end if nothing is asked for so long.
    pub(crate) async fn impatient(first_seek_within: std::time::Duration) -> Self {
        let first_seek_within = Some(first_seek_within);
        Self::new(1, Setting { first_seek_within, ..Setting::default() }).await
    }

    async fn new(count: u64, setting: Setting) -> Self {
        let Setting { mutual, endpoints, doubted, sharing, first_seek_within } = setting;
        let dir = tempfile::tempdir().unwrap();
        let orgs = dir.path().join("orgs");
        let channel = ChannelId::new("trade").unwrap();
        let org = Org::open(&orgs, "org1.test", "Org1MSP").unwrap();
        let orderer = Org::open(&orgs, "orderer.test", "OrdererMSP").unwrap();
        let stranger = Org::open(&dir.path().join("elsewhere"), "org1.test", "Org1MSP").unwrap();
        for (org, name, role, valid_for) in [
            (&org, "Peer", "peer", LONG),
            (&org, "Admin", "admin", LONG),
            (&org, "Expired", "peer", Duration::minutes(-1)),
            (&org, "ExpiresSoon", "peer", Duration::seconds(2)),
            (&orderer, "orderer", "orderer", LONG),
            (&stranger, "Stranger", "peer", LONG),
        ] {
            org.enrol(&dir.path().join(name), &Member { name, role, valid_for }).unwrap();
        }
        let certs = dir.path().join("orderer/msp/signcerts");
        let cert = std::fs::read_dir(certs).unwrap().next().unwrap().unwrap().path();
        let consenter = vec![("orderer".to_owned(), Bytes::from(std::fs::read(cert).unwrap()))];
        let plan = Plan {
            channel: &channel,
            orgs: std::slice::from_ref(&org),
            orderer: &orderer,
            endpoints,
            batch: BatchSize {
                max_message_count: 2,
                absolute_max_bytes: 10_000,
                preferred_max_bytes: 5_000,
            },
            batch_timeout: "1s".into(),
            consenters: if doubted { consenter } else { Vec::new() },
        };
        let genesis = FabricCodec.split(&genesis::block(&plan)).unwrap();
        let trust = Arc::new(Channels::new());
        trust.join(Channel::from_config_block(&genesis).unwrap()).unwrap();
        let local = LocalMsp::from_dir(&dir.path().join("Peer/msp"), "Org1MSP").unwrap();
        let mcs = Arc::new(Mcs::new(Arc::new(local), Arc::clone(&trust)));
        let metrics = Metrics::new(&Registry::new()).unwrap();
        let mut deliver = Deliver::new(trust, mcs, mutual, metrics.clone());
        if let Some(within) = first_seek_within {
            deliver = deliver.with_first_seek_within(within);
        }
        let ledger = Arc::new(Memory::default());
        ledger.commit(vec![genesis.clone()]).await.unwrap();
        let held: Arc<dyn Ledger> = ledger.clone();
        let chain = Arc::new(Chain::new(channel.clone(), held, &metrics, sharing).await.unwrap());
        deliver.add(&chain);
        let stop = CancellationToken::new();
        let bench = Self {
            channel,
            deliver: Arc::new(deliver),
            genesis,
            chain,
            ledger,
            metrics,
            dir,
            stop,
            seeks: Vec::new(),
        };
        bench.grow(count - 1).await;
        bench
    }

    /// Adds signed blocks.
    pub(crate) async fn grow(&self, count: u64) {
        for _ in 0..count {
            let last = self.ledger.last();
            let next = self.successor(&last, &self.channel);
            self.chain.commit(vec![next]).await.unwrap();
        }
    }

    /// Blocks in the ledger.
    pub(crate) async fn height(&self) -> u64 {
        self.ledger.height().await.unwrap().get()
    }

    /// A signed block after `last`, with a transaction of `channel`.
    pub(crate) fn successor(&self, last: &Block, channel: &ChannelId) -> Block {
        let orderer = self.signer(Who::Orderer);
        let contents = Contents {
            kind: kind::ENDORSER_TRANSACTION,
            channel,
            tls_cert_hash: Bytes::new(),
            is_transaction: true,
            data: Bytes::from_static(&[7; 500]),
        };
        let tx = orderer.seal(contents).unwrap().encode_to_vec().into();
        let hash = Bytes::copy_from_slice(last.header().hash().as_bytes());
        let block = assemble(last.number.next(), hash, vec![tx], &Metadata::default());
        signed(block, &orderer, 0).unwrap()
    }

    pub(crate) fn signer(&self, who: Who) -> Signer {
        let (name, msp_id) = match who {
            Who::Peer => ("Peer", "Org1MSP"),
            Who::Admin => ("Admin", "Org1MSP"),
            Who::Stranger => ("Stranger", "Org1MSP"),
            Who::Expired => ("Expired", "Org1MSP"),
            Who::ExpiresSoon => ("ExpiresSoon", "Org1MSP"),
            Who::Orderer => ("orderer", "OrdererMSP"),
        };
        signer(&self.dir.path().join(name), msp_id).unwrap()
    }

    /// A seek of the peer's that was signed at another time.
    pub(crate) fn sealed_at(&self, seconds: i64, seek: &SeekInfo) -> Envelope {
        let signer = self.signer(Who::Peer);
        let channel_header = ChannelHeader {
            kind: kind::DELIVER_SEEK_INFO,
            timestamp: Some(crate::fabric::shapes::Timestamp { seconds, nanos: 0 }),
            channel_id: self.channel.as_str().to_owned(),
            ..ChannelHeader::default()
        };
        let header = Header {
            channel_header: channel_header.encode_to_vec().into(),
            signature_header: signer.signature_header().unwrap(),
        };
        let payload = Payload { header: Some(header), data: seek.encode_to_vec().into() };
        let payload: Bytes = payload.encode_to_vec().into();
        let signature = signer.sign(&payload).unwrap();
        Envelope { payload, signature }
    }

    /// An organisation that is not in the channel.
    pub(crate) fn another_org(&self) -> Org {
        Org::open(&self.dir.path().join("orgs"), "org2.test", "Org2MSP").unwrap()
    }

    /// How often each orderer was asked for blocks or headers.
    pub(crate) fn seeks(&self) -> Vec<u64> {
        self.seeks.iter().map(|seeks| seeks.load(Ordering::Relaxed)).collect()
    }

    /// Blocks read from the ledger to be delivered.
    pub(crate) fn reads(&self) -> u64 {
        self.metrics.store_reads.with_label_values(&["trade"]).get()
    }

    /// A peer that asks the orderers, and that is told within `withheld_max` of what is kept back.
    pub(crate) fn us(&self, withheld_max: std::time::Duration) -> Us {
        let channels = Arc::new(Channels::new());
        channels.join(Channel::from_config_block(&self.genesis).unwrap()).unwrap();
        let home = self.dir.path().join("Peer");
        let local = LocalMsp::from_dir(&home.join("msp"), "Org1MSP").unwrap();
        let identity = local.identity().clone();
        let mcs = Arc::new(Mcs::new(Arc::new(local), Arc::clone(&channels)));
        let settings =
            Settings { withheld_max, keep_alive: KeepAlive::default(), ..Settings::default() };
        Us {
            signer: Signer { identity, mcs },
            tls: TlsPair { cert: home.join("tls/server.crt"), key: home.join("tls/server.key") },
            channels,
            settings,
        }
    }
}

/// The block in serialized form.
pub(crate) fn block(bytes: &Bytes) -> Block {
    FabricCodec.split(bytes).unwrap()
}

/// Blocks in memory.
#[derive(Default)]
pub(crate) struct Memory(Mutex<Vec<Block>>);

impl Memory {
    fn last(&self) -> Block {
        self.0.lock().unwrap().last().unwrap().clone()
    }
}

#[async_trait]
impl Ledger for Memory {
    async fn height(&self) -> Result<Height, LedgerError> {
        Ok(Height::new(self.0.lock().unwrap().len() as u64))
    }

    async fn commit(&self, blocks: Vec<Block>) -> Result<Height, LedgerError> {
        self.0.lock().unwrap().extend(blocks);
        self.height().await
    }

    async fn block(&self, number: SeqNum) -> Result<Option<Block>, LedgerError> {
        Ok(self.0.lock().unwrap().get(number.get() as usize).cloned())
    }
}

/// How an orderer behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Script {
    /// Gives what there is, and says truly what is newest.
    Honest,
    /// Gives blocks below this number, and nothing more.
    Withholds(u64),
    /// Accepts, and never answers.
    Stalls,
    /// Gives blocks of another channel.
    OtherChannel,
    /// Gives the block after the one that is due.
    Skips,
    /// Gives bytes that are no block.
    Garbage,
    /// Refuses everybody.
    Forbids,
    /// Gives blocks as they are, and headers of blocks that nobody ordered.
    InventsHeaders,
}

struct Actor {
    script: Script,
    blocks: Arc<Memory>,
    seeks: Arc<AtomicU64>,
}

impl Actor {
    /// The answer to one request for block `number`.
    fn play(script: Script, blocks: &Memory, number: u64, headers_only: bool) -> Option<Reply> {
        let held = blocks.0.lock().unwrap();
        let get = |number: u64| {
            let mut block = held.get(number as usize)?.clone();
            if headers_only {
                block.data = Bytes::new();
            }
            Some(FabricCodec.join(&block))
        };
        let block = match script {
            Script::InventsHeaders if headers_only => {
                let mut block = held.last()?.clone();
                block.number = SeqNum::new(number);
                block.data = Bytes::new();
                FabricCodec.join(&block)
            }
            Script::Honest | Script::InventsHeaders => get(number)?,
            Script::Withholds(from) if number < from => get(number)?,
            Script::Withholds(_) | Script::Stalls => return None,
            Script::Skips => get(number + 1)?,
            Script::Garbage => Bytes::from_static(b"\xff\xff"),
            Script::Forbids => return Some(Reply::Status(403)),
            Script::OtherChannel => {
                let data = crate::fabric::shapes::Entries { entries: vec![other_channels_tx()] };
                let mut block = held.get(number as usize)?.clone();
                block.data = data.encode_to_vec().into();
                FabricCodec.join(&block)
            }
        };
        Some(Reply::Block(block))
    }
}

fn other_channels_tx() -> Bytes {
    let channel_header = ChannelHeader { channel_id: "other".into(), ..ChannelHeader::default() };
    let header = Header {
        channel_header: channel_header.encode_to_vec().into(),
        signature_header: Bytes::new(),
    };
    let payload = Payload { header: Some(header), data: Bytes::new() };
    let payload = payload.encode_to_vec().into();
    Envelope { payload, signature: Bytes::from_static(b"s") }.encode_to_vec().into()
}

impl AtomicBroadcast for Actor {
    fn deliver(&self, _: Caller, requests: Streaming<Bytes>) -> Replies {
        let (script, blocks) = (self.script, Arc::clone(&self.blocks));
        let seeks = Arc::clone(&self.seeks);
        let state = (requests, None::<(u64, u64, bool)>);
        Box::pin(stream::unfold(state, move |(mut requests, mut seek)| {
            let (blocks, seeks) = (Arc::clone(&blocks), Arc::clone(&seeks));
            async move {
                if seek.is_none() {
                    let opened = envelope::open(&requests.next().await?.ok()?).unwrap();
                    let info = SeekInfo::decode(opened.data).unwrap();
                    let newest = blocks.0.lock().unwrap().len() as u64 - 1;
                    let place = |at: Option<crate::fabric::shapes::SeekPosition>| match at
                        .unwrap()
                        .position
                        .unwrap()
                    {
                        Position::Specified(at) => at.number,
                        Position::Newest(_) | Position::NextCommit(_) => newest,
                        Position::Oldest(_) => 0,
                    };
                    seeks.fetch_add(1, Ordering::Relaxed);
                    let headers_only = info.content_type == SeekInfo::HEADER_WITH_SIG;
                    seek = Some((place(info.start), place(info.stop), headers_only));
                }
                let (next, stop, headers_only) = seek?;
                let reply = loop {
                    match Self::play(script, &blocks, next, headers_only) {
                        Some(reply) => break reply,
                        None => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
                    }
                };
                let response = DeliverResponse { reply: Some(reply) }.encode_to_vec();
                let goes_on =
                    if next == stop { None } else { Some((next + 1, stop, headers_only)) };
                Some((Ok(response.into()), (requests, goes_on)))
            }
        }))
    }

    fn broadcast(&self, _: Caller, _: Streaming<Bytes>) -> Result<Replies, GrpcStatus> {
        Err(GrpcStatus::unimplemented("not part of the play"))
    }
}
