//! `gossip-peer`: the daemon that operators run beside their peers.
//!
//! Exit codes: 0 done, 1 failed while running, 2 the configuration has to be changed (one sentence says how).
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line tool speaks to its terminal"
)]

mod channel;
mod channels;
mod client;
mod config;
mod conflicts;
mod contradiction;
mod deliver;
#[cfg(test)]
mod deployed;
mod dev;
mod doctor;
mod evidence;
mod fabric;
mod grpc;
mod joined;
mod ledger;
mod logging;
mod material;
mod operations;
mod orderers;
mod relay;
mod source;
mod start;
mod status;
mod tls;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

/// Membership, leaders and blocks for the peers of a Fabric network.
#[derive(Debug, Parser)]
#[command(version, about = "Membership, leaders and blocks for the peers of a Fabric network.")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a peer.
    #[command(subcommand)]
    Node(Node),
    /// Ask a running peer how it stands.
    Status(status::StatusArgs),
    /// Join, show and leave the channels of a running peer.
    #[command(subcommand)]
    Channel(channel::ChannelCommand),
    /// Look for what will go wrong: certificates, files, addresses, neighbours.
    Doctor(doctor::DoctorArgs),
    /// Look at the blocks that a stopped peer holds.
    #[command(subcommand)]
    Ledger(Ledger),
    /// Check what convicts a source of blocks.
    #[command(subcommand)]
    Evidence(evidence::EvidenceCommand),
    /// Look at a configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Run an ordering service for development: alone, without consensus.
    DevOrderer(dev::OrdererArgs),
    /// Tools around a network for development.
    #[command(subcommand)]
    Dev(dev::Dev),
}

#[derive(Debug, Subcommand)]
enum Node {
    /// Start, and run until SIGTERM or Ctrl-C.
    Start(ConfigFile),
}

#[derive(Debug, Subcommand)]
enum Ledger {
    /// Walk the chain of one channel, and compare it with a directory of serialized blocks.
    Check(ledger::CheckArgs),
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Read the configuration as a start would, and say what is wrong with it or ignored.
    Check(ConfigFile),
}

#[derive(Debug, Args)]
struct ConfigFile {
    /// Fabric's core.yaml, with our section `gossipPeer`.
    #[arg(long, env = "GOSSIP_PEER_CONFIG", default_value = "core.yaml")]
    config: PathBuf,
}

/// Why the program ends, and with which code.
#[derive(Debug)]
enum Failure {
    /// The operator has to change something.
    Config(String),
    /// Something broke.
    Run(String),
}

impl Failure {
    /// What to tell.
    fn sentence(&self) -> &str {
        match self {
            Self::Config(sentence) | Self::Run(sentence) => sentence,
        }
    }
}

impl From<config::Failure> for Failure {
    fn from(failure: config::Failure) -> Self {
        Self::Config(failure.0)
    }
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Node(Node::Start(file)) => start::run(&file.config),
        Command::Status(args) => status::run(&args),
        Command::Channel(command) => channel::run(&command),
        Command::Doctor(args) => doctor::run(&args),
        Command::Ledger(Ledger::Check(args)) => ledger::check(&args),
        Command::Evidence(command) => evidence::run(&command),
        Command::Config(ConfigCommand::Check(file)) => check_config(&file),
        Command::DevOrderer(args) => dev::run_orderer(&args),
        Command::Dev(command) => dev::run(&command),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Config(sentence)) => {
            eprintln!("gossip-peer: {sentence}");
            ExitCode::from(2)
        }
        Err(Failure::Run(sentence)) => {
            eprintln!("gossip-peer: {sentence}");
            ExitCode::FAILURE
        }
    }
}

fn check_config(file: &ConfigFile) -> Result<(), Failure> {
    let config = config::load(&file.config)?;
    start::machines(&config)?;
    let material = material::load(&config)?;
    for soon in doctor::expiring(&config, &material)? {
        println!("expires: {soon}");
    }
    if let Some(files) = &config.operations.tls {
        tls::Acceptor::open(files)?;
    }
    for (key, why) in &config.notices.ignored {
        println!("ignored: {key} ({why})");
    }
    for cost in &config.notices.costs {
        println!("costs: {cost}");
    }
    for key in &config.notices.foreign {
        println!("not ours: {key}");
    }
    println!("{} is usable", file.config.display());
    Ok(())
}
