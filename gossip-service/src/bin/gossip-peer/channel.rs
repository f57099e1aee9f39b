//! `gossip-peer channel`: joins, shows and leaves the channels of a running peer.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use gossip_api::{BlockHash, ChannelId};

use crate::Failure;
use crate::client::ask_well;
use crate::conflicts;
use crate::contradiction::{self, Evidence};
use crate::operations::participation::CHANNELS;

/// What is to be done.
#[derive(Debug, Subcommand)]
pub(crate) enum ChannelCommand {
    /// Join a channel by its genesis block; the peer joins it again at its next start.
    Join(Join),
    /// List the channels joined.
    List(Shown),
    /// Show one channel.
    Info(Named),
    /// Let a channel go on that was stopped because orderers signed two blocks with one number.
    Resume(Resume),
    /// Check what a peer has kept of orderers that signed two blocks with one number.
    Evidence(Evidence),
    /// Tell the channel's members that the peer leaves, and leave; the ledger is kept.
    Leave(Named),
}

#[derive(Debug, Args)]
pub(crate) struct Join {
    /// The channel's genesis block; trusted as it is.
    #[arg(long)]
    genesis: PathBuf,
    #[command(flatten)]
    shown: Shown,
}

#[derive(Debug, Args)]
pub(crate) struct Named {
    /// The channel.
    name: String,
    #[command(flatten)]
    shown: Shown,
}

#[derive(Debug, Args)]
pub(crate) struct Resume {
    #[command(flatten)]
    named: Named,
    /// Hash of the right block's header: 64 hex digits, as the log and the evidence tell it.
    #[arg(long, value_parser = conflicts::hash)]
    accept: BlockHash,
}

#[derive(Debug, Args)]
pub(crate) struct Shown {
    /// The peer's configuration; tells its operations address.
    #[arg(long, env = "GOSSIP_PEER_CONFIG", default_value = "core.yaml")]
    config: PathBuf,
    /// The peer's answer as one JSON object.
    #[arg(long)]
    json: bool,
}

/// Asks the running peer.
pub(crate) fn run(command: &ChannelCommand) -> Result<(), Failure> {
    match command {
        ChannelCommand::Join(join) => {
            let genesis = std::fs::read(&join.genesis).map_err(|error| {
                Failure::Config(format!("cannot read {}: {error}", join.genesis.display()))
            })?;
            let body = ask_well(&join.shown.config, "POST", CHANNELS, Some(&genesis))?;
            show(&join.shown, &body, |info| format!("joined {}", line(info)));
        }
        ChannelCommand::List(shown) => {
            let body = ask_well(&shown.config, "GET", CHANNELS, None)?;
            show(shown, &body, |list| {
                let channels = list["channels"].as_array().cloned().unwrap_or_default();
                let names = channels.iter().filter_map(|channel| channel["name"].as_str());
                names.collect::<Vec<_>>().join("\n")
            });
        }
        ChannelCommand::Info(named) => {
            let body = ask_well(&named.shown.config, "GET", &path(&named.name)?, None)?;
            show(&named.shown, &body, line);
        }
        ChannelCommand::Resume(Resume { named, accept }) => {
            let path = format!("{}/resume", path(&named.name)?);
            let accept = accept.to_string();
            let body = ask_well(&named.shown.config, "POST", &path, Some(accept.as_bytes()))?;
            show(&named.shown, &body, |told| {
                format!("{} goes on", told["resumed"].as_str().unwrap_or_default())
            });
        }
        ChannelCommand::Evidence(evidence) => contradiction::run(evidence)?,
        ChannelCommand::Leave(named) => {
            ask_well(&named.shown.config, "DELETE", &path(&named.name)?, None)?;
            if named.shown.json {
                println!("{}", serde_json::json!({ "left": named.name }));
            } else {
                println!("left {}", named.name);
            }
        }
    }
    Ok(())
}

fn show(shown: &Shown, body: &str, text: impl Fn(&serde_json::Value) -> String) {
    match serde_json::from_str::<serde_json::Value>(body) {
        Ok(value) if !shown.json => println!("{}", text(&value)),
        Ok(_) | Err(_) => println!("{body}"),
    }
}

fn line(info: &serde_json::Value) -> String {
    let word = |key: &str| info[key].as_str().unwrap_or_default().to_owned();
    let leads = if info["leader"] == true { ", leading" } else { "" };
    let waits = info["stalledReason"].as_str().map(|why| format!(": waits: {why}"));
    format!(
        "{}: height {}, {}{leads}{}",
        word("name"),
        info["height"],
        word("status"),
        waits.unwrap_or_default()
    )
}

/// A channel's name in a path: its characters are those that Fabric allows.
fn path(name: &str) -> Result<String, Failure> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if ChannelId::new(name).is_err() || name.is_empty() || !name.chars().all(is_plain) {
        return Err(Failure::Config(format!("{name:?} is no name of a channel")));
    }
    Ok(format!("{CHANNELS}/{name}"))
}
