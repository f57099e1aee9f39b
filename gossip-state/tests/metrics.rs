//! What dashboards see.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "tests"
)]

mod common;

use common::{Host, chain, ms, n};
use gossip_api::ChannelId;
use gossip_state::{Input, StateMetrics};
use prometheus::{Registry, TextEncoder};

// fabric: gossip/state/metrics_test.go TestMetrics
#[test]
fn height_buffer_commits_drops_and_damage_are_told_for_each_channel() {
    let registry = Registry::new();
    let metrics = StateMetrics::new(&registry).unwrap();
    let channel = ChannelId::new("trade").unwrap();
    let blocks = chain(9, 10);
    let mut host = Host::at(1);
    for block in [&blocks[1], &blocks[2], &blocks[2], &blocks[7]] {
        host.push(block);
    }
    host.tell(Input::Damaged { number: n(1), hash: None });
    metrics.record(&channel, &host.machine.stats());
    metrics.record(&channel, &host.machine.stats());
    metrics.committed(&channel, ms(3));
    let text = TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
    for line in [
        "gossip_state_height{channel=\"trade\"} 3",
        "gossip_payload_buffer_size{channel=\"trade\"} 1",
        "gossip_state_commit_duration_count{channel=\"trade\"} 1",
        "gossip_state_blocks_dropped{channel=\"trade\",reason=\"known\"} 1",
        "gossip_state_blocks_damaged{channel=\"trade\"} 1",
        "gossip_state_blocks_mended{channel=\"trade\"} 0",
    ] {
        assert!(text.lines().any(|told| told == line), "{line} is not in\n{text}");
    }
}
