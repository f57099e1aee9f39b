//! What the whole peers of benchmarks have in common.

use std::sync::Arc;

use anyhow::Result;
use gossip_api::{Block, ChannelId, Epoch, JoinChannelMessage};
use gossip_discovery::DiscoveryConfig;
use gossip_election::ElectionConfig;
use gossip_service::node::{NodeConfig, SpreadMode};
use gossip_service::{ConfigHost, EpochStore, PeerConfig, TermStore};
use gossip_state::{ServeConfig, StateConfig};

/// Defaults but for what is given: what is measured is what an operator gets.
pub(super) fn machines(mode: SpreadMode, leads: bool) -> Result<PeerConfig> {
    Ok(PeerConfig {
        discovery: DiscoveryConfig::default().checked()?,
        node: NodeConfig { mode, ..NodeConfig::default() }.checked()?,
        state: StateConfig::default().checked()?,
        serve: ServeConfig::default().checked()?,
        election: ElectionConfig::fixed(leads).checked()?,
    })
}

/// What a peer keeps that lives once: nobody is elected, and no configuration changes.
pub(super) struct OneLife;

impl EpochStore for OneLife {
    fn raise_above(&self, _: Epoch) -> std::io::Result<Epoch> {
        Err(std::io::Error::other("no peer of the benchmark lived before"))
    }
}

impl TermStore for OneLife {
    fn term(&self) -> Result<Option<u64>, String> {
        Ok(None)
    }

    fn set_term(&self, _: u64) -> Result<(), String> {
        Err("nobody is elected in the benchmark".to_owned())
    }
}

impl ConfigHost for OneLife {
    fn apply_config(
        &self,
        _: &ChannelId,
        _: &Block,
    ) -> Result<Arc<dyn JoinChannelMessage>, String> {
        Err("no block of the benchmark configures".to_owned())
    }
}
