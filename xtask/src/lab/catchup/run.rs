//! The run: fills the sources, measures the parts, lets the late peer catch up.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use gossip_api::{Block, BlockCodec, Ledger as _, NetworkId};
use gossip_comm::Comm;
use gossip_service::Service;
use gossip_service::store::{BlockStore, DataDir};
use gossip_state::StateConfig;
use peer_mcs::FabricCodec;
use serde::Serialize;

use super::Args;
use super::meter::{Held, Metered};
use super::node::{Node, Who, channel, genesis};
use super::parts::{self, PartRates, megabytes};
use crate::lab::crypto::blocks::{Chain, Form};
use crate::lab::crypto::signers::Signer;
use crate::lab::meter::process_seconds;

/// The last line; docs/simulation.md explains the words.
#[derive(Debug, Serialize)]
struct Report {
    blocks: u64,
    sources: u8,
    mb_s: f64,
    first_block_ms: f64,
    parts_mb_s: PartRates,
    ratio_to_parts: f64,
    over_budget_bytes: u64,
}

/// Runs the benchmark and prints what it found.
pub(crate) fn run(args: &Args) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let report = runtime.block_on(measure(args))?;
    println!(
        "{}",
        if args.json {
            serde_json::to_string(&report)?
        } else {
            serde_json::to_string_pretty(&report)?
        }
    );
    Ok(())
}

async fn measure(args: &Args) -> Result<Report> {
    let home = tempfile::tempdir()?;
    let network = NetworkId::new("bench")?;
    let orderer = "ordererOrganizations/orderer.test/orderers/orderer1.orderer.test/msp";
    let orderers = [Signer::node(orderer, "OrdererMSP")?];
    let genesis = genesis()?;
    let size = usize::try_from(args.block_kib)? << 10;
    let mut chain = Chain::new(&channel(), size, Form::Creator, &orderers)
        .linked(FabricCodec.header_hash(&genesis));
    let blocks = (0..args.blocks).map(|_| Ok(chain.seal()?.0)).collect::<Result<Vec<Block>>>()?;
    let moved = megabytes(&blocks);

    let mut stores = Vec::new();
    let mut store_rate = f64::INFINITY;
    for source in 0..args.sources {
        let store = empty_store(home.path(), &format!("source{source}"), &genesis).await?;
        let rate = parts::commit(&store, &blocks).await?;
        store_rate = if source == 0 { rate } else { store_rate };
        stores.push(store);
    }
    let comm = {
        let asker = Node::bind(Who::nth(0), &network)?;
        let server = Node::bind(Who::nth(1), &network)?;
        let rate = parts::transport(&asker, &server, &blocks).await?;
        asker.comm.stop().await;
        server.comm.stop().await;
        rate
    };
    // A judge of its own: what it has verified once it does not verify again.
    let judge = Node::bind(Who::nth(0), &network)?;
    let (sha256, verify) = parts::hash_and_verify(&judge.mcs, &blocks)?;
    judge.comm.stop().await;
    drop(blocks);
    let parts_mb_s = PartRates { comm, sha256, verify, store: store_rate };

    let mut sources = Vec::new();
    let mut endpoints = Vec::new();
    for (index, store) in (1..).zip(stores) {
        let node = Node::bind(Who::nth(index), &network)?;
        let transport: Arc<dyn Comm> = Arc::clone(&node.comm) as Arc<dyn Comm>;
        let bootstrap = endpoints.clone();
        endpoints.push(node.endpoint.clone());
        sources.push(node.serve(transport, store, &network, bootstrap).await?);
    }
    // The sources have found each other before anybody asks them.
    tokio::time::sleep(SETTLE).await;
    let late = Node::bind(Who::nth(0), &network)?;
    let store = empty_store(home.path(), "late", &genesis).await?;
    let held = Arc::new(Held::default());
    let metered = Metered { comm: Arc::clone(&late.comm), held: Arc::clone(&held) };

    let (begin, cpu) = (Instant::now(), process_seconds());
    let service = late.serve(Arc::new(metered), store.clone(), &network, endpoints).await?;
    let (first, all) = watch(&store, args.blocks + 1, begin).await?;
    check(&service, args).await?;
    let mb_s = moved / all.as_secs_f64();
    let cpu = process_seconds() - cpu;
    println!(
        "{moved:.0} MB in {:.2} s and {cpu:.2} s of processor time, sources included; after the first block {:.1} MB/s; at most {:.1} MB of blocks held",
        all.as_secs_f64(),
        moved / all.saturating_sub(first).as_secs_f64(),
        held.peak() as f64 / 1e6,
    );
    for service in sources.iter().chain([&service]) {
        service.stop().await;
    }
    let budget = StateConfig::default().budget_bytes as u64;
    Ok(Report {
        blocks: args.blocks,
        sources: args.sources,
        mb_s: rounded(mb_s),
        first_block_ms: rounded(first.as_secs_f64() * 1e3),
        ratio_to_parts: (mb_s / parts_mb_s.one_after_the_other() * 100.0).round() / 100.0,
        parts_mb_s: PartRates {
            comm: rounded(parts_mb_s.comm),
            sha256: rounded(parts_mb_s.sha256),
            verify: rounded(parts_mb_s.verify),
            store: rounded(parts_mb_s.store),
        },
        over_budget_bytes: held.peak().saturating_sub(budget),
    })
}

/// A store that begins with the genesis block.
async fn empty_store(home: &std::path::Path, name: &str, genesis: &Block) -> Result<BlockStore> {
    let data = DataDir::open(&home.join(name))?;
    let codec: Arc<dyn BlockCodec> = Arc::new(FabricCodec);
    let store = data.channel(&channel(), codec)?;
    store.commit(vec![genesis.clone()]).await?;
    Ok(store)
}

/// When the first block was in the ledger, and when all were.
async fn watch(store: &BlockStore, height: u64, begin: Instant) -> Result<(Duration, Duration)> {
    let mut first = None;
    loop {
        let now = store.current_height().get();
        let since = begin.elapsed();
        if first.is_none() && now > 1 {
            first = Some(since);
        }
        if now >= height {
            return Ok((first.context("no first block")?, since));
        }
        if since > GIVE_UP {
            bail!("height {now} of {height} after {since:?}");
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Everything came by catch-up, and nothing was refused.
async fn check(service: &Service, args: &Args) -> Result<()> {
    let status = service.status().await?;
    let channel = status.channels.first().context("the channel is gone")?;
    let refused: u64 = channel.refused.values().sum();
    ensure!(refused == 0, "blocks were refused: {:?}", channel.refused);
    let by_catch_up = channel.committed.catch_up;
    ensure!(by_catch_up > args.blocks / 2, "only {by_catch_up} blocks came by catch-up");
    Ok(())
}

fn rounded(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

const SETTLE: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(1);
const GIVE_UP: Duration = Duration::from_secs(300);
