//! `gossip-peer channel evidence`: checks what a peer has kept of orderers that contradicted themselves.

use std::path::{Path, PathBuf};

use clap::Args;
use gossip_api::{Block, BlockCodec as _};
use peer_mcs::{Contradiction, FabricCodec, check_contradiction};
use serde_json::json;

use crate::Failure;
use crate::evidence::CONFIG;

/// Names of the files of one conflict, below `evidence` in the data directory of who noticed it.
pub(crate) const KEPT: &str = "kept.block";
pub(crate) const OTHER: &str = "other.block";

#[derive(Debug, Args)]
pub(crate) struct Evidence {
    /// The directory with `config.block`, `kept.block` and `other.block`. No running peer is needed.
    dir: PathBuf,
    /// One JSON object instead of sentences.
    #[arg(long)]
    json: bool,
}

/// Judges the files alone.
pub(crate) fn run(evidence: &Evidence) -> Result<(), Failure> {
    let config = read(&evidence.dir.join(CONFIG))?;
    let (kept, other) = (read(&evidence.dir.join(KEPT))?, read(&evidence.dir.join(OTHER))?);
    let proof = check_contradiction(&config, [&kept, &other])
        .map_err(|error| Failure::Run(format!("{}: {error}", evidence.dir.display())))?;
    let Contradiction { channel, number, headers: [kept, other], config, config_header } = proof;
    if evidence.json {
        let proof = json!({
            "channel": channel.as_str(),
            "number": number.get(),
            "kept": kept.to_string(),
            "other": other.to_string(),
            "config": config.get(),
            "config_header": config_header.to_string(),
        });
        println!("{proof}");
    } else {
        println!("orderers of channel {channel} signed two blocks {number}");
        println!("kept:  {kept}");
        println!("other: {other}");
        println!(
            "judged by config block {config} with header {config_header}: compare that with the channel's own"
        );
    }
    Ok(())
}

fn read(file: &Path) -> Result<Block, Failure> {
    let bytes = std::fs::read(file)
        .map_err(|error| Failure::Config(format!("cannot read {}: {error}", file.display())))?;
    FabricCodec
        .split(&bytes.into())
        .map_err(|error| Failure::Run(format!("{} is no block: {error}", file.display())))
}
