//! All ways of spreading side by side, with faults and without.

use super::lab::{Report, simulate};
use super::{Args, Mode};

/// Faults of one row.
struct Fault {
    name: &'static str,
    silent: f64,
    loss: f64,
    drop: f64,
    /// Up to how many peers it is simulated.
    peers_max: usize,
}

const FAULTS: [Fault; 4] = [
    Fault { name: "none", silent: 0.0, loss: 0.0, drop: 0.0, peers_max: usize::MAX },
    Fault { name: "30 % silent", silent: 0.3, loss: 0.0, drop: 0.0, peers_max: usize::MAX },
    Fault { name: "5 % of packets lost", silent: 0.0, loss: 0.05, drop: 0.0, peers_max: 250 },
    Fault { name: "5 % of messages lost", silent: 0.0, loss: 0.0, drop: 0.05, peers_max: 250 },
];

/// Simulates every mode at each of these sizes and prints a table; returns how many deliveries are missing.
pub(super) fn print(args: &Args, sizes: &[usize]) -> usize {
    println!(
        "| peers | mode | faults | by push | p50 ms | p95 ms | p99 ms | max ms | copies | source's copies | busiest / mean | undelivered | wall s |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|---|");
    let mut undelivered = 0;
    for peers in sizes {
        for mode in Mode::ALL {
            for fault in FAULTS.iter().filter(|fault| *peers <= fault.peers_max) {
                let Fault { silent, loss, drop, .. } = *fault;
                let args = Args { mode, peers: *peers, silent, loss, drop, ..args.clone() };
                let report = simulate(&args);
                undelivered += report.undelivered;
                println!("{}", row(&report, fault.name));
            }
        }
    }
    undelivered
}

fn row(report: &Report, fault: &str) -> String {
    let Report { peers, mode, reached_by_push, bytes_per_block_copy, undelivered, .. } = report;
    let Report { p50_ms, p95_ms, p99_ms, max_ms, wall_s, .. } = report;
    let Report { upload_source_copies: source, upload_max_over_mean: busiest, .. } = report;
    format!(
        "| {peers} | {mode} | {fault} | {reached_by_push:.3} | {p50_ms:.0} | {p95_ms:.0} | {p99_ms:.0} | {max_ms:.0} | {bytes_per_block_copy:.2} | {source:.1} | {busiest:.2} | {undelivered} | {wall_s:.0} |"
    )
}
