//! A whole peer in a program of one's own: two of them, over QUIC, in one process. The first is handed
//! blocks; the second gets them from its neighbour.
//!
//! Identities and blocks are those of the simulation; a peer beside Fabric takes them from `peer-mcs`.
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::{collections::BTreeMap, error::Error, net::SocketAddr, path::Path, sync::Arc};

use futures_util::StreamExt as _;
use gossip_api::*;
use gossip_comm::sim::crypto::{Authority, BlockFactory, SimBlockCodec};
use gossip_comm::{CommConfig, SecretBytes, TlsMaterial};
use gossip_service::store::DataDir;
use gossip_service::{Channel, FixedConfig, Host, MemoryTerms, Service};

/// Runs the example.
///
/// # Errors
/// If anything does not go as it should.
#[tokio::main]
pub async fn main() -> Result<(), Box<dyn Error>> {
    let (org, name) = (OrgId::new("Org1MSP")?, ChannelId::new("trade")?);
    let authority = Authority::new(1);
    let mut blocks = BlockFactory::new(&authority, name.clone(), 1024);
    let genesis = blocks.next_block();
    let certificate = rcgen::generate_simple_self_signed(["peer".to_owned()])?;
    let certified = certificate.cert.der().to_vec();
    let tls = TlsMaterial {
        chain: vec![certified.clone()],
        key: SecretBytes::new(certificate.signing_key.serialize_der()),
        roots: vec![certified],
    };
    let network = NetworkId::new("example")?;
    let peer = |number: u32, known: Option<Endpoint>| {
        let identity = authority.identity(&org, number);
        let crypto = Arc::new(authority.crypto(identity.clone()));
        let host =
            Host { identity, mcs: crypto.clone(), advisor: crypto, codec: Arc::new(SimBlockCodec) };
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let comm = CommConfig::new(listen, network.clone(), tls.clone());
        Service::builder(host, comm).bootstrap(known).start()
    };
    let (first_dir, second_dir) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let first = peer(0, None)?;
    let second = peer(1, Some(first.me().internal_endpoint.clone()))?;
    let members = BTreeMap::from([(org.clone(), Vec::new())]);
    let config = Arc::new(FixedConfig { channel: name.clone(), members });
    first.join(channel(first_dir.path(), &config, &genesis).await?).await?;
    second.join(channel(second_dir.path(), &config, &genesis).await?).await?;
    let mut arriving = second.accept(Arc::new(|message| message.block().is_some())).await;
    for block in blocks.chain(10) {
        first.add_payload(&name, block).await?;
    }
    for _ in 0..10 {
        let (from, message) = arriving.next().await.ok_or("the service stopped")?;
        println!("{from:?} gave us block {:?}", message.block().map(|block| block.number));
    }
    println!("{} peers in the channel", first.peers_of_channel(&name).await.len());
    first.stop().await;
    second.stop().await;
    Ok(())
}

/// A ledger in `dir` that begins with the genesis block, and what else joining takes.
async fn channel(
    dir: &Path,
    config: &Arc<FixedConfig>,
    genesis: &Block,
) -> Result<Channel, Box<dyn Error>> {
    let ledger = DataDir::open(dir)?.channel(&config.channel, Arc::new(SimBlockCodec))?;
    ledger.commit(vec![genesis.clone()]).await?;
    Ok(Channel {
        config: config.clone(),
        genesis: SimBlockCodec.header_hash(genesis),
        ledger: Arc::new(ledger),
        source: None,
        terms: Arc::new(MemoryTerms::default()),
        conflicts: None,
        host: config.clone(),
    })
}
