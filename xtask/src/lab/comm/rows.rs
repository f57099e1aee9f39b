//! The rows of the table.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use gossip_api::{Message, PkiId};
use serde::{Deserialize, Serialize};

use super::Args;
use super::bare::Bare;
use super::ours::{Ours, again};
use super::payload::{SIZES, Size};
use super::peers::Authority;
use super::signed::{Share, Signatures};
use crate::lab::meter::{median, process_seconds};

/// One line of the table.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Row {
    what: String,
    bytes: usize,
    messages_s: f64,
    mb_s: f64,
    cpu_s_per_gb: f64,
    p50_us: f64,
    p99_us: f64,
    allocations_per_message: f64,
}

#[derive(Debug, Serialize)]
struct Report {
    rows: Vec<Row>,
    /// Ours over bare quinn, at each size.
    comm_over_quinn: Vec<Ratio>,
    /// Messages checked on arrival over what checking alone allows, at each size.
    checked: Vec<Share>,
}

#[derive(Debug, Serialize)]
struct Ratio {
    bytes: usize,
    ratio: f64,
}

/// Measures everything and prints it.
pub(crate) fn run(args: &Args) -> Result<()> {
    let cores = std::thread::available_parallelism()?.get();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(cores).enable_all().build()?;
    if args.count_allocations {
        let counts = runtime.block_on(counting::all())?;
        println!("{}", serde_json::to_string(&counts)?);
        return Ok(());
    }
    let counts = counting::in_a_process_of_its_own()?;
    let mut report = runtime.block_on(measure(args))?;
    for row in &mut report.rows {
        let counted = counts.iter().find(|c| c.what == row.what && c.bytes == row.bytes);
        row.allocations_per_message = counted.context("a count for each row")?.per_message;
    }
    if args.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        report.rows.iter().for_each(|row| println!("{}", line(row)));
        report.comm_over_quinn.iter().for_each(|r| println!("comm/quinn {r:?}"));
        report.checked.iter().for_each(|share| println!("{share:?}"));
    }
    Ok(())
}

fn line(row: &Row) -> String {
    let Row { what, bytes, messages_s, mb_s, cpu_s_per_gb, p50_us, p99_us, .. } = row;
    let allocations = row.allocations_per_message;
    format!(
        "{what:<12} {bytes:>8} B {messages_s:>10.0}/s {mb_s:>7.1} MB/s {cpu_s_per_gb:>7.2} s/GB \
         {p50_us:>8.0} us {p99_us:>8.0} us {allocations:>6.2} allocations"
    )
}

async fn measure(args: &Args) -> Result<Report> {
    let authority = Authority::new()?;
    let pair = Pair {
        bare: in_time("quinn", Bare::connect(&authority)).await?,
        ours: in_time("comm", Ours::connect(&authority)).await?,
        rounds: args.rounds,
    };
    let mut report = Report { rows: Vec::new(), comm_over_quinn: Vec::new(), checked: Vec::new() };
    for size in SIZES {
        let message = size.message(PkiId::from_bytes([1; 32]), 1)?;
        pair.side_by_side(size, &message, &mut report).await?;
        pair.signed(size, &mut report).await?;
        pair.acknowledged(size, &message, &mut report).await?;
    }
    Ok(report)
}

/// What is compared.
struct Pair {
    bare: Bare,
    ours: Ours,
    rounds: u32,
}

impl Pair {
    /// One batch of each to warm up; then they take turns, and who begins changes.
    async fn side_by_side(&self, size: Size, message: &Message, report: &mut Report) -> Result<()> {
        let (mut theirs, mut mine) = (Batches::default(), Batches::default());
        for round in 0..=self.rounds {
            for turn in 0..2 {
                let of_bare = (round + turn) % 2 == 0;
                let watch = Watch::start();
                if of_bare {
                    in_time("quinn", self.bare.batch(size, message, size.batch)).await?;
                } else {
                    let take = |message| {
                        std::hint::black_box(message);
                    };
                    in_time("comm", self.ours.batch(size.batch, again(message), take)).await?;
                }
                if round > 0 {
                    let batches = if of_bare { &mut theirs } else { &mut mine };
                    batches.push(&watch, size.batch);
                }
            }
        }
        let quiet = in_time("quinn", self.bare.singles(size, message, size.singles)).await?;
        report.rows.push(row("quinn", size, &theirs, quiet));
        let singles = self.ours.singles(size.singles, again(message), drop);
        let quiet = in_time("comm", singles).await?;
        report.rows.push(row("comm", size, &mine, quiet));
        let ratio = mine.messages_s() / theirs.messages_s();
        report.comm_over_quinn.push(Ratio { bytes: size.bytes, ratio });
        Ok(())
    }

    async fn signed(&self, size: Size, report: &mut Report) -> Result<()> {
        let signatures = Signatures::new(size)?;
        let (batches, share) = signatures.race(&self.ours, self.rounds).await?;
        let quiet = in_time("comm_signed", signatures.singles(&self.ours)).await?;
        report.rows.push(row("comm_signed", size, &batches, quiet));
        report.checked.push(share);
        Ok(())
    }

    async fn acknowledged(&self, size: Size, message: &Message, report: &mut Report) -> Result<()> {
        let mut batches = Batches::default();
        for _ in 0..self.rounds {
            let watch = Watch::start();
            let sent = self.ours.acknowledged(message, size.signed, ACKS_AT_ONCE);
            in_time("ack", sent).await?;
            batches.push(&watch, size.signed);
        }
        let sent = self.ours.acknowledged(message, size.singles, 1);
        report.rows.push(row("ack", size, &batches, in_time("ack", sent).await?));
        Ok(())
    }
}

/// A transport that stands still is an error, not a wait without end.
pub(super) async fn in_time<T>(
    what: &'static str,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    let done = tokio::time::timeout(LIMIT, work).await;
    done.with_context(|| format!("{what} stands still"))?.context(what)
}

fn row(what: &str, size: Size, batches: &Batches, mut quiet: Vec<f64>) -> Row {
    let messages_s = batches.messages_s();
    quiet.sort_by(f64::total_cmp);
    let at = |share: f64| {
        let rank = (share * quiet.len() as f64).ceil() as usize;
        quiet.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
    };
    Row {
        what: what.to_owned(),
        bytes: size.bytes,
        messages_s,
        mb_s: messages_s * size.bytes as f64 / 1e6,
        cpu_s_per_gb: batches.cpu_s_per_message() / size.bytes as f64 * 1e9,
        p50_us: at(0.5),
        p99_us: at(0.99),
        allocations_per_message: f64::NAN,
    }
}

/// What batches took; their medians count.
#[derive(Debug, Default)]
pub(super) struct Batches {
    seconds: Vec<f64>,
    cpu_seconds: Vec<f64>,
}

impl Batches {
    pub(super) fn push(&mut self, watch: &Watch, messages: usize) {
        self.seconds.push(watch.began.elapsed().as_secs_f64() / messages as f64);
        self.cpu_seconds.push((process_seconds() - watch.cpu) / messages as f64);
    }

    pub(super) fn messages_s(&self) -> f64 {
        1.0 / median(&self.seconds)
    }

    pub(super) fn cpu_s_per_message(&self) -> f64 {
        median(&self.cpu_seconds)
    }
}

/// Time of the wall and of all of this process's threads.
#[derive(Debug)]
pub(super) struct Watch {
    began: Instant,
    cpu: f64,
}

impl Watch {
    pub(super) fn start() -> Self {
        Self { began: Instant::now(), cpu: process_seconds() }
    }
}

/// Longer than any step takes on a busy machine.
const LIMIT: Duration = Duration::from_secs(120);
/// Acknowledged messages under way at once; no more than the other side takes.
const ACKS_AT_ONCE: usize = 8;

/// Allocations are counted by an allocator that would slow everything else, so in another process.
mod counting {
    use std::process::Stdio;

    use anyhow::{Context as _, Result, ensure};
    use gossip_api::PkiId;
    use serde::{Deserialize, Serialize};

    use super::in_time;
    use crate::lab::comm::bare::Bare;
    use crate::lab::comm::ours::{Ours, again};
    use crate::lab::comm::payload::SIZES;
    use crate::lab::comm::peers::Authority;
    use crate::lab::comm::signed::Signatures;
    use crate::shell::cargo;

    #[derive(Debug, Serialize, Deserialize)]
    pub(super) struct Count {
        pub(super) what: String,
        pub(super) bytes: usize,
        pub(super) per_message: f64,
    }

    pub(super) fn in_a_process_of_its_own() -> Result<Vec<Count>> {
        let words = ["run", "--quiet", "--release", "--package", "xtask", "--features"];
        let words = words.into_iter().chain(["lab-counting", "--", "bench", "comm"]);
        let mut counting = cargo(words);
        counting.args(["--count-allocations", "--json"]).stderr(Stdio::inherit());
        let output = counting.output()?;
        ensure!(output.status.success(), "counting allocations failed");
        let text = String::from_utf8(output.stdout)?;
        let last = text.lines().last().context("counts on the last line")?;
        Ok(serde_json::from_str(last)?)
    }

    pub(super) async fn all() -> Result<Vec<Count>> {
        let authority = Authority::new()?;
        let (bare, ours) = (Bare::connect(&authority).await?, Ours::connect(&authority).await?);
        let mut counts = Vec::new();
        for size in SIZES {
            let message = size.message(PkiId::from_bytes([1; 32]), 1)?;
            let signatures = Signatures::new(size)?;
            // A first batch fills what is kept from one to the next.
            let batch = size.signed;
            for counted in [false, true] {
                let mut push = |what: &str, before: usize| {
                    if counted {
                        let per_message = (allocations() - before) as f64 / batch as f64;
                        counts.push(Count { what: what.into(), bytes: size.bytes, per_message });
                    }
                };
                let before = allocations();
                in_time("quinn", bare.batch(size, &message, batch)).await?;
                push("quinn", before);
                let before = allocations();
                in_time("comm", ours.batch(batch, again(&message), drop)).await?;
                push("comm", before);
                let before = allocations();
                in_time("comm_signed", signatures.batch(&ours)).await?;
                push("comm_signed", before);
                let before = allocations();
                let sent = ours.acknowledged(&message, batch, super::ACKS_AT_ONCE);
                in_time("ack", sent).await?;
                push("ack", before);
            }
        }
        Ok(counts)
    }

    #[cfg(feature = "lab-counting")]
    fn allocations() -> usize {
        let stats = stats_alloc::INSTRUMENTED_SYSTEM.stats();
        stats.allocations + stats.reallocations
    }

    #[cfg(not(feature = "lab-counting"))]
    const fn allocations() -> usize {
        0
    }

    #[cfg(feature = "lab-counting")]
    #[global_allocator]
    static ALLOCATOR: &stats_alloc::StatsAlloc<std::alloc::System> =
        &stats_alloc::INSTRUMENTED_SYSTEM;
}
