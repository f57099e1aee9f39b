//! Stories drawn from seeds; see `support/swarm.rs`.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    reason = "tests"
)]

mod support;

use gossip_comm::sim::check;

/// Seeds that once broke an invariant: a member that came back without its disk was not told how far it had
/// come by those to whom it was dead, and stayed dead to them.
const REGRESSIONS: [u64; 2] = [57, 117];

#[test]
fn seeds_that_once_failed_hold() {
    check(REGRESSIONS, |seed| {
        support::swarm::tell(seed);
    });
}

#[test]
fn v1_to_v15_hold_in_stories_drawn_from_seeds() {
    check(0..12, |seed| {
        support::swarm::tell(seed);
    });
}
