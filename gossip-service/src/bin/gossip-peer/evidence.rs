//! `gossip-peer evidence check`: whether a directory of evidence convicts a source of blocks in shares.
//!
//! Whoever knows an identity of the network can check it: the evidence holds the source's identity and the
//! channel's configuration beside what the source signed, and none of it is believed unchecked.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use clap::Subcommand;
use gossip_api::{BlockCodec as _, IdentityMap, IdentityMapConfig, NetworkId, PeerIdentity, PkiId};
use gossip_comm::Clock;
use gossip_service::node::coded::{Court, Evidence};
use peer_mcs::{Advisor, Channel, Channels, FabricCodec, LocalMsp, Mcs};
use serde_json::json;

use crate::{Failure, config};

/// What is to be done.
#[derive(Debug, Subcommand)]
pub(crate) enum EvidenceCommand {
    /// Check what convicts a source of blocks, as a peer kept it under `evidence` in its data directory.
    Check(CheckArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct CheckArgs {
    /// A directory of evidence.
    dir: PathBuf,
    /// The configuration of a peer that checks it; names the network and the MSP.
    #[arg(long, env = "GOSSIP_PEER_CONFIG", default_value = "core.yaml")]
    config: PathBuf,
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

/// Checks evidence, and says whom it convicts.
pub(crate) fn run(command: &EvidenceCommand) -> Result<(), Failure> {
    let EvidenceCommand::Check(args) = command;
    let config = config::load(&args.config)?;
    let msp = LocalMsp::from_dir(&config.msp_dir, &config.msp_id)
        .map_err(|error| Failure::Config(error.to_string()))?;
    let convicted = convicted(&args.dir, msp, &config.network)?;
    if args.json {
        println!("{}", json!({ "convicted": convicted.to_string() }));
    } else {
        println!("{convicted} is convicted");
    }
    Ok(())
}

/// Whom the evidence in a directory convicts.
fn convicted(dir: &Path, msp: LocalMsp, network: &NetworkId) -> Result<PkiId, Failure> {
    let refuse = |error: &dyn std::fmt::Display| Failure::Run(error.to_string());
    let read = |name: &str| {
        let path = dir.join(name);
        std::fs::read(&path)
            .map(Bytes::from)
            .map_err(|error| Failure::Config(format!("cannot read {}: {error}", path.display())))
    };
    let evidence = Evidence::from_bytes(&read(SHARES)?).map_err(|error| refuse(&error))?;
    let genesis = FabricCodec.split(&read(CONFIG)?).map_err(|error| refuse(&error))?;
    let trust = Channel::from_config_block(&genesis).map_err(|error| refuse(&error))?;
    let channels = Arc::new(Channels::new());
    channels.join(trust).map_err(|error| refuse(&error))?;
    let msp = Arc::new(msp);
    let mcs = Mcs::new(Arc::clone(&msp), Arc::clone(&channels));
    let advisor = Advisor::new(Arc::clone(&msp), channels);
    let now = Clock::start().now();
    let map = IdentityMapConfig::default().checked().map_err(|error| refuse(&error))?;
    let identities = IdentityMap::new(map, msp.identity(), &mcs, &advisor, now)
        .map_err(|error| refuse(&error))?;
    let source = PeerIdentity::new(read(SOURCE)?).map_err(|error| refuse(&error))?;
    identities.put(&source, &mcs, &advisor, now).map_err(|error| refuse(&error))?;
    let court = Court { network, identities: &identities, mcs: &mcs, now: now.mono };
    evidence.check(&court).map_err(|error| refuse(&error))
}

/// What the source signed, and the shares.
pub(crate) const SHARES: &str = "shares.evidence";

/// The source's identity.
pub(crate) const SOURCE: &str = "source.identity";

/// The block with the configuration that judges.
pub(crate) const CONFIG: &str = "config.block";
