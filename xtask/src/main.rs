//! Everything a developer runs: checks, tests, the demo, simulations and benchmarks.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line tool talks to its user"
)]

mod ci;
mod demo;
mod deny;
mod fuzz;
mod lab;
mod layers;
mod parity;
mod relay;
mod shell;
mod soak;
mod source;
mod test;
mod tidy;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Everything a developer runs.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// The gate: fmt, clippy, docs, tidy, layers, tests, a simulation, crashes, deny
    Ci(ci::Args),
    /// Run every test of the workspace
    Test(test::Args),
    /// List what stands out; fail on missing module docs and broken links
    Tidy,
    /// Check the rules of the architecture
    Layers,
    /// Compare with Fabric: what is cited, what deviates, what is missing
    Parity(parity::Args),
    /// Spread blocks of an ordering service through real peers and compare their ledgers
    Demo(demo::Args),
    /// Simulate whole peers on virtual time
    #[command(subcommand)]
    Sim(Simulation),
    /// Do to real peers what they have to survive
    #[command(subcommand)]
    Soak(soak::Ordeal),
    /// Measure, beside what others offer
    #[command(subcommand)]
    Bench(Benchmark),
    /// Throw changed bytes at every reader of bytes
    Fuzz(fuzz::Args),
}

#[derive(Subcommand)]
enum Simulation {
    /// Who is alive: views, deaths, partitions, and their price
    Membership(lab::membership::Args),
    /// Membership under faults drawn from seeds, with its invariants
    Swarm(lab::membership_swarm::Args),
    /// How a block reaches everybody
    Spread(lab::spread::Args),
    /// Who leads, and how soon another does
    Election(lab::election::Args),
    /// A peer far behind catches up while the tip moves
    Catchup(lab::late::Args),
}

#[derive(Subcommand)]
enum Benchmark {
    /// What verification costs, beside the fastest libraries
    Crypto(lab::crypto::Args),
    /// How fast an empty peer catches up, and what its parts would allow
    Catchup(lab::catchup::Args),
    /// What the transport adds to bare QUIC
    Comm(lab::comm::Args),
    /// What an idle connection keeps in memory
    Connections(lab::connections::Args),
    /// A peer's relay, by one reader and by many
    Relay(relay::Args),
    /// How a block reaches everybody over real QUIC, genuinely verified
    Spread(lab::bench_spread::Args),
}

fn main() -> ExitCode {
    let result = match Cli::parse().task {
        Task::Ci(args) => ci::run_all(&args),
        Task::Test(args) => test::run_all(&args),
        Task::Tidy => tidy::run(),
        Task::Layers => layers::run(),
        Task::Parity(args) => parity::run(&args),
        Task::Demo(args) => demo::run(&args),
        Task::Sim(simulation) => simulate(&simulation),
        Task::Soak(ordeal) => soak::run(&ordeal),
        Task::Bench(Benchmark::Relay(args)) => relay::run(&args),
        Task::Bench(benchmark) => measure(&benchmark),
        Task::Fuzz(args) => fuzz::run_all(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(feature = "lab")]
fn simulate(simulation: &Simulation) -> anyhow::Result<()> {
    match simulation {
        Simulation::Membership(args) => lab::membership::run(args),
        Simulation::Swarm(args) => lab::membership_swarm::run(args),
        Simulation::Spread(args) => lab::spread::run(args),
        Simulation::Election(args) => lab::election::run(args),
        Simulation::Catchup(args) => lab::late::run(args),
    }
}

#[cfg(not(feature = "lab"))]
fn simulate(_: &Simulation) -> anyhow::Result<()> {
    lab::again_in_release()
}

#[cfg(feature = "lab")]
fn measure(benchmark: &Benchmark) -> anyhow::Result<()> {
    match benchmark {
        Benchmark::Crypto(args) => lab::crypto::run(args),
        Benchmark::Catchup(args) => lab::catchup::run(args),
        Benchmark::Comm(args) => lab::comm::run(args),
        Benchmark::Connections(args) => lab::connections::run(args),
        Benchmark::Relay(args) => relay::run(args),
        Benchmark::Spread(args) => lab::bench_spread::run(args),
    }
}

#[cfg(not(feature = "lab"))]
fn measure(_: &Benchmark) -> anyhow::Result<()> {
    lab::again_in_release()
}
