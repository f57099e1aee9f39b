//! `gossip-peer ledger check`: walks the chain that a stopped peer holds.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use clap::Args;
use gossip_api::{Block, BlockCodec, BlockHash, ChannelId, Ledger, SeqNum};
use gossip_service::store::DataDir;
use peer_mcs::FabricCodec;
use serde::Serialize;

use crate::Failure;
use crate::source::file_name;

/// Whose ledger, which channel, and what it should hold.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// The peer's configuration.
    #[arg(long, env = "GOSSIP_PEER_CONFIG", default_value = "core.yaml")]
    config: PathBuf,
    /// The channel.
    #[arg(long)]
    channel: String,
    /// Directory of serialized blocks (`block_NNNNNN.pb`) to compare with, byte for byte.
    #[arg(long)]
    against: Option<PathBuf>,
    /// One JSON object instead of a sentence.
    #[arg(long)]
    json: bool,
}

/// What was found.
#[derive(Debug, Serialize)]
struct Verdict {
    channel: String,
    height: u64,
    /// Every block continues the one before, and its data is what its header says.
    chain_ok: bool,
    /// Every block held is, byte for byte, the file of its number.
    identical: bool,
    /// Every file's block is held.
    complete: bool,
    /// The first block that is not as it should be.
    first_bad: Option<u64>,
}

/// Opens the store alone and walks it.
pub(crate) fn check(args: &CheckArgs) -> Result<(), Failure> {
    let config = crate::config::load(&args.config)?;
    let name = ChannelId::new(&args.channel)
        .map_err(|error| Failure::Config(format!("--channel: {error}")))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Run(error.to_string()))?;
    let verdict = runtime.block_on(walk(&config.data_dir, name, args.against.as_deref()))?;
    if args.json {
        let line = serde_json::to_string(&verdict).map_err(|e| Failure::Run(e.to_string()))?;
        println!("{line}");
    } else {
        println!(
            "channel {}: height {}, chain {}, identical {}, complete {}",
            verdict.channel,
            verdict.height,
            if verdict.chain_ok { "intact" } else { "broken" },
            verdict.identical,
            verdict.complete
        );
    }
    match verdict.first_bad {
        None => Ok(()),
        Some(number) => Err(Failure::Run(format!("block {number} is not as it should be"))),
    }
}

async fn walk(
    data_dir: &Path,
    name: ChannelId,
    against: Option<&Path>,
) -> Result<Verdict, Failure> {
    let codec: Arc<dyn BlockCodec> = Arc::new(FabricCodec);
    let refuse = |error: gossip_service::store::StoreError| Failure::Config(error.to_string());
    let data = DataDir::open(data_dir).map_err(refuse)?;
    if !data.holds(&name) {
        return Err(Failure::Config(format!(
            "there is no ledger of channel {name} in {}: correct --channel",
            data_dir.display()
        )));
    }
    let store = data.channel(&name, Arc::clone(&codec)).map_err(refuse)?;
    let run = |error: gossip_api::LedgerError| Failure::Run(error.to_string());
    let height = store.height().await.map_err(run)?;
    let mut verdict = Verdict {
        channel: name.to_string(),
        height: height.get(),
        chain_ok: true,
        identical: true,
        complete: true,
        first_bad: None,
    };
    let mut previous: Option<BlockHash> = None;
    for number in (0..height.get()).map(SeqNum::new) {
        let block = store.block(number).await.map_err(run)?;
        let chained = block.as_ref().is_some_and(|block| continues(previous.as_ref(), block));
        let same = match (&block, against) {
            (Some(block), Some(dir)) => is_file(&codec.join(block), dir, number)?,
            (_, None) => true,
            (None, _) => false,
        };
        verdict.chain_ok &= chained;
        verdict.identical &= same;
        if !(chained && same) && verdict.first_bad.is_none() {
            verdict.first_bad = Some(number.get());
        }
        previous = block.map(|block| codec.header_hash(&block));
    }
    if let Some(dir) = against {
        verdict.complete = !dir.join(file_name(height.next_block())).exists();
    }
    Ok(verdict)
}

/// Whether the block continues the one before and holds what its header says.
fn continues(previous: Option<&BlockHash>, block: &Block) -> bool {
    let linked = match previous {
        Some(previous) => peer_mcs::check_link(previous, block).is_ok(),
        None => block.previous_hash.is_empty(),
    };
    linked && peer_mcs::data_hash(block)[..] == block.data_hash[..]
}

fn is_file(held: &Bytes, dir: &Path, number: SeqNum) -> Result<bool, Failure> {
    let file = dir.join(file_name(number));
    match std::fs::read(&file) {
        Ok(bytes) => Ok(bytes == *held),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Failure::Run(format!("cannot read {}: {error}", file.display()))),
    }
}
