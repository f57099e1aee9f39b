//! `cargo xtask ci`: the gate, the same on every machine.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::builder::PossibleValuesParser;

use crate::lab::{election, late, spread};
use crate::shell::{cargo, run};
use crate::{deny, layers, soak, test, tidy};

/// How to run the gate.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// Run the remaining steps after one has failed.
    #[arg(long)]
    keep_going: bool,
    /// Run this step alone; may be repeated.
    #[arg(long, value_name = "STEP", value_parser = PossibleValuesParser::new(STEPS.map(|step| step.name)))]
    only: Vec<String>,
}

/// Runs every step in order; an error names those that failed.
pub(crate) fn run_all(args: &Args) -> Result<()> {
    let started = Instant::now();
    let mut reports = Vec::new();
    let wanted =
        |step: &&Step| args.only.is_empty() || args.only.iter().any(|name| name == step.name);
    let steps: Vec<&Step> = STEPS.iter().filter(wanted).collect();
    for step in &steps {
        let report = perform(step);
        let stop = matches!(report.verdict, Verdict::Failed(_)) && !args.keep_going;
        reports.push(report);
        if stop {
            break;
        }
    }
    summarise(&reports, steps.len() - reports.len(), started.elapsed())
}

/// One step of the gate: its name and what it does.
///
/// `Ok(Some(reason))` means that it could not be judged here, and why that is no failure.
struct Step {
    name: &'static str,
    run: fn() -> Result<Option<String>>,
}

enum Verdict {
    Passed,
    Skipped(String),
    Failed(String),
}

struct Report {
    name: &'static str,
    took: Duration,
    verdict: Verdict,
}

const STEPS: [Step; 11] = [
    Step { name: "fmt", run: || done(run(&mut cargo(["fmt", "--all", "--check"]))) },
    Step { name: "clippy", run: || done(clippy()) },
    Step { name: "features", run: || done(features()) },
    Step { name: "doc", run: || done(doc()) },
    Step { name: "tidy", run: || done(tidy::run()) },
    Step { name: "layers", run: || done(layers::run()) },
    Step { name: "test", run: || done(test::run_all(&test::Args::default())) },
    Step { name: "sim", run: || done(simulation()) },
    Step { name: "crash", run: || done(soak::crash::run(&soak::crash::Args::quick())) },
    Step { name: "deny", run: || done(deny::check()) },
    Step { name: "advisories", run: deny::advisories },
];

fn done(result: Result<()>) -> Result<Option<String>> {
    result.map(|()| None)
}

fn clippy() -> Result<()> {
    let what = ["clippy", "--workspace", "--all-targets", "--all-features"];
    run(cargo(what).args(["--", "--deny", "warnings"]))
}

/// The builds that others rely on and that `--all-features` would hide.
fn features() -> Result<()> {
    for simulation in ["sim", "sim-quic"] {
        let words = ["check", "--package", "gossip-comm", "--no-default-features", "--features"];
        run(cargo(words).arg(simulation))?;
    }
    run(&mut cargo(["check", "--package", "gossip-service", "--no-default-features"]))
}

/// Fifty whole peers, a little loss: every block has to arrive everywhere. Then leaders come and go, and
/// whatever may befall membership does, two hundred times.
fn simulation() -> Result<()> {
    let words = ["run", "--quiet", "--release", "--package", "xtask", "--features", "lab", "--"];
    run(cargo(words).args(["sim", "spread"]).args(spread::Args::quick().to_words()))?;
    run(cargo(words).args(["sim", "election"]).args(election::Args::quick()))?;
    run(cargo(words).args(["sim", "catchup"]).args(late::Args::quick()))?;
    run(cargo(words).args(["sim", "swarm", "--seeds", "200", "--json"]))
}

fn doc() -> Result<()> {
    let mut command = cargo(["doc", "--workspace", "--all-features", "--no-deps"]);
    run(command.env("RUSTDOCFLAGS", "--deny warnings"))
}

fn perform(step: &Step) -> Report {
    println!("\n=== {} ===", step.name);
    let started = Instant::now();
    let verdict = match (step.run)() {
        Ok(None) => Verdict::Passed,
        Ok(Some(reason)) => Verdict::Skipped(reason),
        Err(error) => Verdict::Failed(format!("{error:#}")),
    };
    let report = Report { name: step.name, took: started.elapsed(), verdict };
    println!("{}", line(&report));
    report
}

fn line(report: &Report) -> String {
    let (word, remark) = match &report.verdict {
        Verdict::Passed => ("passed", String::new()),
        Verdict::Skipped(reason) => ("skipped", format!(": {reason}")),
        Verdict::Failed(error) => ("FAILED", format!(": {error}")),
    };
    format!("{:<12}{:>7.1} s  {word}{remark}", report.name, report.took.as_secs_f64())
}

fn summarise(reports: &[Report], not_run: usize, took: Duration) -> Result<()> {
    println!("\n=== summary ===");
    for report in reports {
        println!("{}", line(report));
    }
    let failed: Vec<_> = reports
        .iter()
        .filter(|r| matches!(r.verdict, Verdict::Failed(_)))
        .map(|r| r.name)
        .collect();
    println!("total       {:>7.1} s", took.as_secs_f64());
    if failed.is_empty() {
        return Ok(());
    }
    let rest = if not_run == 0 { String::new() } else { format!("; {not_run} steps not run") };
    bail!("failed: {}{rest}", failed.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(name: &'static str, verdict: Verdict) -> Report {
        Report { name, took: Duration::from_millis(1500), verdict }
    }

    #[test]
    fn a_line_tells_name_time_and_verdict() {
        assert_eq!(line(&report("fmt", Verdict::Passed)), "fmt             1.5 s  passed");
        let failed = report("doc", Verdict::Failed("no docs".into()));
        assert_eq!(line(&failed), "doc             1.5 s  FAILED: no docs");
    }

    #[test]
    fn the_summary_fails_with_the_names_of_what_failed() {
        let good =
            [report("fmt", Verdict::Passed), report("advisories", Verdict::Skipped("x".into()))];
        assert!(summarise(&good, 0, Duration::ZERO).is_ok());
        let bad = [report("fmt", Verdict::Passed), report("doc", Verdict::Failed("x".into()))];
        let error = summarise(&bad, 7, Duration::ZERO).unwrap_err().to_string();
        assert_eq!(error, "failed: doc; 7 steps not run");
    }
}
