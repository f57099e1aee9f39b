//! `cargo xtask fuzz`: every fuzz target for a while.
//!
//! The targets are in `fuzz/`, a workspace of its own that cargo-fuzz would take too. They are built here
//! with the same instrumentation by cargo alone: there is nothing to install, and stable Rust is enough.
//! What is found grows in `fuzz/target/corpus`; `fuzz/corpus` in git holds the seeds, which the tests
//! `corpus` of `gossip-api`, `gossip-comm` and `peer-mcs`, and `coded_corpus` of `gossip-service`, replay.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;

use crate::shell::{self, cargo, run};

/// What to fuzz, and for how long.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// Seconds per target.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Fuzz this target alone; may be repeated.
    #[arg(long, value_name = "TARGET")]
    target: Vec<String>,
    /// One JSON object on the last line.
    #[arg(long)]
    json: bool,
}

/// What libFuzzer says of one target.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct Outcome {
    target: String,
    seconds: u32,
    executions: u64,
    /// Edges of the code that were reached.
    edges: u64,
    /// Inputs worth keeping.
    corpus: u64,
    crashed: bool,
}

#[derive(Serialize)]
struct Report {
    executions: u64,
    targets: Vec<Outcome>,
}

/// Builds the targets, runs one after the other, and fails if one of them crashed.
pub(crate) fn run_all(args: &Args) -> Result<()> {
    let targets = wanted(&targets()?, &args.target)?;
    let home = build(&targets)?;
    let mut outcomes = Vec::new();
    for target in targets {
        let outcome = fuzz(&home, &target, args.seconds)?;
        println!(
            "{:<16}{:>12} executions{:>8} edges{:>7} inputs{}",
            outcome.target,
            outcome.executions,
            outcome.edges,
            outcome.corpus,
            if outcome.crashed { "  CRASHED" } else { "" }
        );
        outcomes.push(outcome);
    }
    let crashed: Vec<_> = outcomes.iter().filter(|o| o.crashed).map(|o| o.target.clone()).collect();
    let executions = outcomes.iter().map(|outcome| outcome.executions).sum();
    if args.json {
        println!("{}", serde_json::to_string(&Report { executions, targets: outcomes })?);
    }
    ensure!(crashed.is_empty(), "crashed: {}; inputs are in fuzz/artifacts", crashed.join(", "));
    Ok(())
}

/// The names of all targets.
fn targets() -> Result<Vec<String>> {
    let directory = shell::root().join("fuzz/fuzz_targets");
    let entries = fs::read_dir(&directory).context("cannot list the fuzz targets")?;
    let mut names: Vec<_> = entries
        .filter_map(|entry| Some(entry.ok()?.path().file_stem()?.to_string_lossy().into_owned()))
        .collect();
    names.sort();
    Ok(names)
}

fn wanted(all: &[String], named: &[String]) -> Result<Vec<String>> {
    if let Some(name) = named.iter().find(|name| !all.contains(name)) {
        bail!("there is no fuzz target `{name}`; there are {}", all.join(", "));
    }
    Ok(if named.is_empty() { all.to_vec() } else { named.to_vec() })
}

/// Builds with coverage instrumentation; answers with the directory of the programs.
fn build(targets: &[String]) -> Result<PathBuf> {
    let host = host()?;
    // Naming the target keeps the instrumentation out of build scripts and macros.
    let words = ["build", "--release", "--manifest-path", "fuzz/Cargo.toml", "--target"];
    let mut command = cargo(words);
    command.arg(&host).env("RUSTFLAGS", INSTRUMENTATION.join(" "));
    command.env_remove("CARGO_ENCODED_RUSTFLAGS");
    command.env("CARGO_TARGET_DIR", shell::root().join("fuzz/target"));
    for target in targets {
        command.args(["--bin", target]);
    }
    run(&mut command)?;
    Ok(shell::root().join("fuzz/target").join(host).join("release"))
}

fn host() -> Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let told = shell::output(Command::new(rustc).current_dir(shell::root()).arg("-vV"))?;
    let host = told.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).context("rustc does not tell its host")
}

fn fuzz(home: &Path, target: &str, seconds: u32) -> Result<Outcome> {
    let root = shell::root().join("fuzz");
    let (grown, artifacts) =
        (root.join("target/corpus").join(target), root.join("artifacts").join(target));
    fs::create_dir_all(&grown)?;
    fs::create_dir_all(&artifacts)?;
    let mut command = Command::new(home.join(target));
    command.arg(&grown).arg(root.join("corpus").join(target));
    command.arg(format!("-artifact_prefix={}/", artifacts.display()));
    command.arg(format!("-max_total_time={seconds}"));
    command.args(["-timeout=10", "-rss_limit_mb=2048", "-print_final_stats=1"]);
    let output = command.output().with_context(|| format!("cannot start {target}"))?;
    let told = String::from_utf8_lossy(&output.stderr);
    let crashed = !output.status.success();
    if crashed {
        eprintln!("{told}");
    }
    Ok(Outcome { crashed, ..outcome(target, seconds, &told) })
}

/// Reads libFuzzer's last words.
fn outcome(target: &str, seconds: u32, told: &str) -> Outcome {
    let after = |line: &str, word: &str| -> Option<u64> {
        let rest = line.split(word).nth(1)?.trim_start();
        rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    };
    let last = |word: &str| told.lines().rev().find_map(|line| after(line, word));
    Outcome {
        target: target.to_owned(),
        seconds,
        executions: last("stat::number_of_executed_units:").unwrap_or_default(),
        edges: last(" cov:").unwrap_or_default(),
        corpus: last(" corp:").unwrap_or_default(),
        crashed: false,
    }
}

/// As cargo-fuzz instruments, without a sanitizer: our crates forbid unsafe code.
const INSTRUMENTATION: [&str; 6] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cllvm-args=-simplifycfg-branch-fold-threshold=0",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_words_of_a_run_are_read() {
        let told = "#2\tINITED cov: 12 ft: 13 corp: 1/1b exec/s: 0 rss: 40Mb\n\
                    #90\tDONE   cov: 310 ft: 900 corp: 45/9Kb lim: 4096 exec/s: 30 rss: 41Mb\n\
                    Done 90 runs in 3 second(s)\n\
                    stat::number_of_executed_units: 90\n\
                    stat::average_exec_per_sec:     30\n";
        let read = outcome("frame", 3, told);
        assert_eq!((read.executions, read.edges, read.corpus), (90, 310, 45));
    }

    #[test]
    fn an_unknown_target_is_named() {
        let all = ["block".to_owned(), "frame".to_owned()];
        assert_eq!(wanted(&all, &[]).unwrap(), all);
        assert_eq!(wanted(&all, &all[1..]).unwrap(), ["frame"]);
        assert!(wanted(&all, &["x".to_owned()]).unwrap_err().to_string().contains("block, frame"));
    }

    #[test]
    fn every_target_is_a_program_and_has_a_corpus() {
        let manifest = fs::read_to_string(shell::root().join("fuzz/Cargo.toml")).unwrap();
        for target in targets().unwrap() {
            assert!(manifest.contains(&format!("fuzz_targets/{target}.rs")), "{target}");
            assert!(shell::root().join("fuzz/corpus").join(&target).is_dir(), "{target}");
        }
    }
}
