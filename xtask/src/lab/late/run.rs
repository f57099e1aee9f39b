//! Runs the seeds and prints the worst of each figure.

use std::time::Duration;

use anyhow::{Result, anyhow};
use serde::Serialize;

use super::Args;
use crate::lab::late_peers::{Outcome, Story, tell};

/// The last line; docs/simulation.md explains the words.
#[derive(Debug, Serialize)]
struct Report {
    behind: u64,
    sources: u8,
    liars: u8,
    caught_up_s: f64,
    blocks_per_s: f64,
    first_block_ms: f64,
    tip_moved: u64,
    requests: u64,
    requests_to_liars: u64,
    longest_wait_ms: f64,
    buffered_bytes_max: usize,
    over_budget_bytes: usize,
    history: String,
}

/// Runs every seed.
pub(crate) fn run(args: &Args) -> Result<()> {
    let mut outcomes = Vec::new();
    for seed in (args.seed..).take(usize::try_from(args.seeds)?) {
        let story = Story {
            behind: args.behind,
            sources: usize::from(args.sources),
            liars: usize::from(args.liars),
            block_bytes: args.block_bytes,
            interval: Duration::from_millis(args.interval_ms),
            loss: args.loss,
            seed,
        };
        outcomes.push(tell(&story, LIMIT).map_err(|error| anyhow!(error))?);
    }
    let report = report(args, &outcomes);
    let line = if args.json {
        serde_json::to_string(&report)?
    } else {
        serde_json::to_string_pretty(&report)?
    };
    println!("{line}");
    Ok(())
}

fn report(args: &Args, outcomes: &[Outcome]) -> Report {
    let longest = |of: fn(&Outcome) -> Duration| outcomes.iter().map(of).max().unwrap_or_default();
    let most = |of: fn(&Outcome) -> u64| outcomes.iter().map(of).max().unwrap_or_default();
    let rate = |outcome: &Outcome| outcome.height as f64 / outcome.took.as_secs_f64();
    let history = outcomes.iter().fold(0_u64, |all, outcome| all.rotate_left(1) ^ outcome.history);
    let bytes = |of: fn(&Outcome) -> usize| outcomes.iter().map(of).max().unwrap_or_default();
    Report {
        behind: args.behind,
        sources: args.sources,
        liars: args.liars,
        caught_up_s: tenth(longest(|outcome| outcome.took).as_secs_f64()),
        blocks_per_s: tenth(outcomes.iter().map(rate).fold(f64::INFINITY, f64::min)),
        first_block_ms: tenth(longest(|outcome| outcome.first).as_secs_f64() * 1e3),
        tip_moved: most(|outcome| outcome.tip_moved),
        requests: most(|outcome| outcome.requests),
        requests_to_liars: most(|outcome| outcome.requests_to_liars),
        longest_wait_ms: tenth(longest(|outcome| outcome.longest_wait).as_secs_f64() * 1e3),
        buffered_bytes_max: bytes(|outcome| outcome.buffered_bytes_max),
        over_budget_bytes: bytes(|outcome| outcome.over_budget_bytes),
        history: format!("{history:016x}"),
    }
}

fn tenth(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

/// Virtual time after which a peer is stuck.
const LIMIT: Duration = Duration::from_secs(3_600);
