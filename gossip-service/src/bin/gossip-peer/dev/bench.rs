//! For tests: a channel with key material in memory's reach, a ledger that grows on demand, and orderers
//! that behave as they are told.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::net::Ipv4Addr;
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
use crate::deliver::{Chain, Deliver, Metrics};
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
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Bench {
    pub(crate) async fn with_blocks(count: u64) -> Self {
        Self::new(count, false, Vec::new()).await
    }

    pub(crate) async fn mutual(count: u64) -> Self {
        Self::new(count, true, Vec::new()).await
    }

    /// With orderers that behave as told, at addresses that the channel names.
    pub(crate) async fn with_orderers(count: u64, scripts: &[Script]) -> Self {
        let mut listeners = Vec::new();
        for _ in scripts {
            listeners.push(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap());
        }
        let endpoints = listeners.iter().map(|l| l.local_addr().unwrap().to_string()).collect();
        let bench = Self::new(count, false, endpoints).await;
        for (listener, script) in listeners.into_iter().zip(scripts) {
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
            let actor = Actor { script: *script, blocks: bench.ledger.clone() };
            let stop = bench.stop.clone();
            tokio::spawn(async move { server::serve(listening, Arc::new(actor), stop).await });
        }
        bench
    }

    /// With orderers that nobody is.
    pub(crate) async fn dead(addresses: &[&str]) -> Self {
        Self::new(1, false, addresses.iter().map(|address| (*address).to_owned()).collect()).await
    }

    async fn new(count: u64, mutual: bool, endpoints: Vec<String>) -> Self {
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
        };
        let genesis = FabricCodec.split(&genesis::block(&plan)).unwrap();
        let trust = Arc::new(Channels::new());
        trust.join(Channel::from_config_block(&genesis).unwrap()).unwrap();
        let local = LocalMsp::from_dir(&dir.path().join("Peer/msp"), "Org1MSP").unwrap();
        let mcs = Arc::new(Mcs::new(Arc::new(local), Arc::clone(&trust)));
        let metrics = Metrics::new(&Registry::new()).unwrap();
        let deliver = Deliver::new(trust, mcs, mutual, metrics.clone());
        let ledger = Arc::new(Memory::default());
        ledger.commit(vec![genesis.clone()]).await.unwrap();
        let held: Arc<dyn Ledger> = ledger.clone();
        let chain = Arc::new(Chain::new(channel.clone(), held, &metrics).await.unwrap());
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
}

struct Actor {
    script: Script,
    blocks: Arc<Memory>,
}

impl Actor {
    /// The answer to one request for block `number`.
    fn play(script: Script, blocks: &Memory, number: u64) -> Option<Reply> {
        let held = blocks.0.lock().unwrap();
        let get = |number: u64| held.get(number as usize).map(|block| FabricCodec.join(block));
        let block = match script {
            Script::Honest => get(number)?,
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
        let state = (requests, None::<(u64, u64)>);
        Box::pin(stream::unfold(state, move |(mut requests, mut seek)| {
            let blocks = Arc::clone(&blocks);
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
                    seek = Some((place(info.start), place(info.stop)));
                }
                let (next, stop) = seek?;
                let reply = loop {
                    match Self::play(script, &blocks, next) {
                        Some(reply) => break reply,
                        None => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
                    }
                };
                let response = DeliverResponse { reply: Some(reply) }.encode_to_vec();
                let goes_on = if next == stop { None } else { Some((next + 1, stop)) };
                Some((Ok(response.into()), (requests, goes_on)))
            }
        }))
    }

    fn broadcast(&self, _: Caller, _: Streaming<Bytes>) -> Result<Replies, GrpcStatus> {
        Err(GrpcStatus::unimplemented("not part of the play"))
    }
}
