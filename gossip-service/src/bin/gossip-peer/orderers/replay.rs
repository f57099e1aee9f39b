//! What genuine orderers of Fabric answered, byte for byte, played back over gRPC to the source.
//!
//! The blocks and the headers with signatures were recorded from Fabric's own orderers; no such orderer can be
//! started where these tests run.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use gossip_api::{BlockCodec as _, BlockSource as _, MessageCryptoService, SeqNum};
use peer_mcs::{Channel, Channels, FabricCodec, LocalMsp, Mcs};
use prost::Message as _;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

use super::{OrdererSource, Override, Settings, Us};
use crate::channels::read_genesis;
use crate::fabric::envelope::{self, Signer};
use crate::fabric::shapes::{DeliverResponse, Position, Reply, SeekInfo};
use crate::grpc::server::{self, AtomicBroadcast, Caller, Listening, Replies};
use crate::grpc::tls::TlsPair;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../peer-mcs/tests/fixtures")
}

/// An answer for each block, as it was recorded.
struct Recorded {
    blocks: Vec<Bytes>,
    headers: Vec<Bytes>,
    /// How many streams of headers were asked for.
    header_streams: AtomicUsize,
}

impl Recorded {
    fn of(channel: &Path) -> Self {
        let file =
            |dir: &str, number: usize| channel.join(dir).join(format!("block_{number:06}.pb"));
        let header_streams = AtomicUsize::new(0);
        let mut recorded = Self { blocks: Vec::new(), headers: Vec::new(), header_streams };
        while let Ok(block) = std::fs::read(file("blocks", recorded.blocks.len())) {
            let number = recorded.blocks.len();
            let block = Bytes::from(block);
            // Where no header was recorded: the same message without its data, as the recorded ones are.
            let header = match std::fs::read(file("attestations", number)) {
                Ok(header) => header.into(),
                Err(_) if is_config(&block) => block.clone(),
                Err(_) => {
                    let mut header = FabricCodec.split(&block).unwrap();
                    header.data = Bytes::new();
                    FabricCodec.join(&header)
                }
            };
            recorded.blocks.push(block);
            recorded.headers.push(header);
        }
        recorded
    }
}

fn is_config(block: &Bytes) -> bool {
    FabricCodec.is_config(&FabricCodec.split(block).unwrap())
}

struct Player(Arc<Recorded>);

impl AtomicBroadcast for Player {
    fn deliver(&self, _: Caller, mut requests: Streaming<Bytes>) -> Replies {
        let recorded = Arc::clone(&self.0);
        let answers = async move {
            let opened = envelope::open(&requests.next().await.unwrap().unwrap()).unwrap();
            let seek = SeekInfo::decode(opened.data).unwrap();
            let answers = match seek.content_type {
                SeekInfo::HEADER_WITH_SIG => &recorded.headers,
                _ => &recorded.blocks,
            };
            let is_stream = seek.start != seek.stop;
            if is_stream && seek.content_type == SeekInfo::HEADER_WITH_SIG {
                recorded.header_streams.fetch_add(1, Ordering::Relaxed);
            }
            let first = match seek.start.unwrap().position.unwrap() {
                Position::Specified(at) => at.number as usize,
                Position::Oldest(_) => 0,
                Position::Newest(_) | Position::NextCommit(_) => answers.len() - 1,
            };
            let answers: Vec<_> = answers[first..].to_vec();
            stream::iter(answers).chain(stream::pending()).map(|block| {
                let response = DeliverResponse { reply: Some(Reply::Block(block)) };
                Ok(Bytes::from(response.encode_to_vec()))
            })
        };
        Box::pin(stream::once(answers).flatten())
    }

    fn broadcast(&self, _: Caller, _: Streaming<Bytes>) -> Result<Replies, Status> {
        Err(Status::unimplemented("not recorded"))
    }
}

/// A directory with keys, copied so that nobody else may read them: git keeps no modes. Gives the copy.
fn private_copy(from: &Path, to: &Path) -> PathBuf {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let copy = to.join(entry.file_name());
        if entry.path().is_dir() {
            private_copy(&entry.path(), &copy);
        } else {
            std::fs::copy(entry.path(), &copy).unwrap();
            std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o600)).unwrap();
        }
    }
    to.to_owned()
}

/// Reads a channel as it was recorded; how many blocks were believed.
async fn replay(name: &str) -> u64 {
    let channel = fixtures().join(name);
    let genesis = read_genesis(&channel.join("genesis.block")).unwrap();
    let view = Channel::from_config_block(&genesis).unwrap();
    let recorded = Arc::new(Recorded::of(&channel));
    let last = recorded.blocks.len() as u64 - 1;
    let material = tempfile::tempdir().unwrap();
    let crypto = fixtures().join("crypto");
    let orderer = "ordererOrganizations/orderer.test/orderers/orderer1.orderer.test/tls";
    let orderer = private_copy(&crypto.join(orderer), &material.path().join("orderer"));
    let peer = "peerOrganizations/org1.test/peers/peer0.org1.test";
    let peer = private_copy(&crypto.join(peer), &material.path().join("peer"));
    let stop = CancellationToken::new();
    let mut overrides = Vec::new();
    for from in view.orderer_orgs().flat_map(|(_, addresses)| addresses.to_vec()) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let to = listener.local_addr().unwrap().to_string();
        overrides.push(Override { from, to, roots: None });
        let listening = Listening {
            listener,
            tls: TlsPair { cert: orderer.join("server.crt"), key: orderer.join("server.key") },
            mutual: false,
            roots: watch::Sender::new("".into()).subscribe(),
        };
        let player = Arc::new(Player(Arc::clone(&recorded)));
        tokio::spawn(server::serve(listening, player, stop.clone()));
    }
    let orderers = overrides.len();
    let settings = Settings { overrides, ..Settings::default() };
    let view_is_bft = !view.consenters().is_empty();
    let (id, channels) = (view.id().clone(), Arc::new(Channels::new()));
    channels.join(view).unwrap();
    let local = LocalMsp::from_dir(&peer.join("msp"), "Org1MSP").unwrap();
    let identity = local.identity().clone();
    let mcs = Arc::new(Mcs::new(Arc::new(local), Arc::clone(&channels)));
    let signer = Signer { identity, mcs: Arc::clone(&mcs) as _ };
    let tls = TlsPair { cert: peer.join("tls/server.crt"), key: peer.join("tls/server.key") };
    let us = Us { signer, tls, channels: Arc::clone(&channels), settings };
    let source = OrdererSource::new(Arc::new(us));
    let newest = source.newest(&id).await.unwrap();
    assert_eq!(newest.number.get(), last);
    let mut blocks = source.blocks(&id, SeqNum::new(1)).await.unwrap();
    for number in 1..=last {
        let next = tokio::time::timeout(Duration::from_secs(20), blocks.next()).await;
        let block = next.expect("the next block in time").unwrap().unwrap();
        mcs.verify_block(&id, SeqNum::new(number), &block).unwrap();
        if FabricCodec.is_config(&block) {
            channels.apply(&id, &block).unwrap();
        }
    }
    // Those that do not give the blocks give headers, where they may lie.
    let streams = || recorded.header_streams.load(Ordering::Relaxed);
    let expected = if view_is_bft { orderers - 1 } else { 0 };
    for _ in 0..500 {
        if streams() >= expected {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // One that cannot verify a header yet begins again when the configuration has come.
    assert!(streams() >= expected && (view_is_bft || streams() == 0), "{} streams", streams());
    stop.cancel();
    last
}

#[tokio::test]
async fn every_block_of_a_genuine_raft_channel_is_taken_and_believed() {
    assert_eq!(replay("trade").await, 54);
}

#[tokio::test]
async fn every_block_of_a_genuine_bft_channel_is_taken_with_the_headers_of_all_orderers() {
    assert_eq!(replay("bft").await, 18);
}
