//! What a developer needs around peers: key material, an ordering service, and clients of it.
//!
//! Nothing here is for production: keys lie in files, one process orders, and who runs it is believed.

mod batch;
#[cfg(test)]
pub(crate) mod bench;
mod client;
mod genesis;
mod material;
mod network;
mod orderer;
mod proto;
mod update;
mod writer;

use clap::Subcommand;

pub(crate) use orderer::{OrdererArgs, run as run_orderer};

use crate::Failure;

/// Tools around a network for development.
#[derive(Debug, Subcommand)]
pub(crate) enum Dev {
    /// Make the key material and the genesis block of a network.
    Network(network::NetworkArgs),
    /// Add an organisation to a channel by a configuration update.
    AddOrg(network::AddOrgArgs),
    /// Remove an organisation from a channel by a configuration update.
    RemoveOrg(network::RemoveOrgArgs),
    /// Send transactions to an orderer.
    Submit(client::SubmitArgs),
    /// Read and verify blocks from an orderer or a relay.
    Fetch(client::FetchArgs),
}

/// Does it.
pub(crate) fn run(command: &Dev) -> Result<(), Failure> {
    match command {
        Dev::Network(args) => network::create(args),
        Dev::AddOrg(args) => network::add_org(args),
        Dev::RemoveOrg(args) => network::remove_org(args),
        Dev::Submit(args) => client::submit(args),
        Dev::Fetch(args) => client::fetch(args),
    }
}
