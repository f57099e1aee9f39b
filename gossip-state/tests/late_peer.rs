//! A peer far behind, over the simulated network. Cases B6 and B7 of the threat model; `cargo xtask sim catchup`
//! tells longer stories of the same kind.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod late;

use std::time::Duration;

use late::{Story, tell};

const STORY: Story = Story {
    behind: 10_000,
    sources: 3,
    liars: 1,
    block_bytes: 1_000,
    interval: Duration::from_millis(100),
    loss: 0.0,
    seed: 1,
};

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn a_late_peer_reaches_the_moving_tip_and_a_liar_at_2_to_the_63_costs_one_request() {
    for seed in 1..4 {
        let outcome = tell(&Story { seed, ..STORY }, secs(20)).unwrap();
        assert!(outcome.requests_to_liars <= 1, "{outcome:?}");
        assert_eq!((outcome.height, outcome.over_budget_bytes), (10_001 + outcome.tip_moved, 0));
        let alone = tell(&Story { seed, liars: 0, ..STORY }, secs(20)).unwrap();
        let (lied_to, alone) = (outcome.took.as_millis(), alone.took.as_millis());
        assert!(lied_to <= alone + 200, "{lied_to} ms instead of {alone} ms");
    }
}

#[test]
fn one_source_does_and_losses_only_slow_it_down() {
    for (sources, loss) in [(1, 0.0), (1, 0.01), (3, 0.05)] {
        let story = Story { sources, loss, liars: 3, ..STORY };
        let outcome = tell(&story, secs(60)).unwrap();
        assert!(outcome.requests_to_liars <= 3, "{outcome:?}");
    }
}

#[test]
fn the_same_seed_tells_the_same_story() {
    let story = Story { behind: 1_000, loss: 0.02, ..STORY };
    assert_eq!(tell(&story, secs(60)), tell(&story, secs(60)));
}
