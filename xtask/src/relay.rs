//! `cargo xtask bench relay`: how fast a peer gives its blocks to clients of Fabric's Deliver.
//!
//! An orderer, a peer that relays, and readers that verify every block run as processes of their own on this
//! machine, and share its cores: readers cost as much as the relay, or more.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use serde_json::Value;

use crate::demo::interrupt::Interrupt;
use crate::demo::layout::{Place, configure, private_dir};
use crate::demo::peers::{Part, Peer};
use crate::demo::ports::Ports;
use crate::demo::run::CHANNEL;
use crate::demo::tool::Tool;
use crate::demo::{executable, leave, run_id};
use crate::shell;

/// How much to read, and by how many.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// Deliver clients that read at once.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=100))]
    readers: u16,
    /// Blocks in the ledger; by default four times as many bytes as the relay keeps at hand for a group of readers.
    #[arg(long, default_value_t = 400)]
    blocks: u32,
    /// Bytes of a block, some more.
    #[arg(long, default_value_t = 160_000)]
    bytes: u32,
    /// End with one JSON object on the last line.
    #[arg(long)]
    json: bool,
    /// Run this executable instead of building gossip-peer.
    #[arg(long, value_name = "FILE")]
    gossip_peer: Option<PathBuf>,
}

/// Builds, fills a ledger, and lets it be read by one and by many.
pub(crate) fn run(args: &Args) -> Result<()> {
    let interrupt = Interrupt::listen()?;
    let target = shell::target()?;
    let program = executable(args.gossip_peer.as_deref(), &target, &interrupt)?;
    let home = target.join("relay").join(run_id());
    let result = measure(args, &program, &home, &interrupt);
    let found = leave(&home, false, result, &interrupt)?;
    println!(
        "{} readers verify {:.1} MB/s together, one alone {:.1} MB/s; the relay spends {:.2} s of CPU per GB and reads each block {:.2} times",
        args.readers,
        found.mb_s,
        found.one_reader_mb_s,
        found.cpu_s_per_gb,
        found.store_reads_per_block
    );
    if args.json {
        println!("{}", serde_json::to_string(&found)?);
    }
    Ok(())
}

fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

/// The last line with `--json`.
#[derive(Serialize)]
struct Found {
    readers: u16,
    mb_s: f64,
    one_reader_mb_s: f64,
    cpu_s_per_gb: f64,
    store_reads_per_block: f64,
}

fn measure(args: &Args, program: &Path, home: &Path, interrupt: &Interrupt) -> Result<Found> {
    private_dir(home)?;
    let mut ports = Ports::claim(process::id())?;
    let bench = Bench { program, interrupt, network: home.join("network") };
    let address = format!("127.0.0.1:{}", ports.next()?);
    let dir = bench.network.display().to_string();
    let count = TXS_PER_BLOCK.to_string();
    let network = [
        "dev",
        "network",
        "--dir",
        &dir,
        "--orgs",
        "1",
        "--peers",
        "1",
        "--orderer",
        &address,
        "--batch-count",
        &count,
        "--batch-timeout",
        "10s",
        "--batch-bytes",
        "50000000",
    ];
    Tool::run(program, (home, "network"), &network, interrupt)?;
    let orderer_home = bench.network.join("orderer").display().to_string();
    let orderer = ["dev-orderer", "--home", &orderer_home, "--listen", &address];
    let orderer = Tool::start(program, home, "orderer", &orderer)?;
    wait(interrupt, "the orderer listens", || Ok(TcpStream::connect(&address).is_ok()))?;
    let txs = (args.blocks * TXS_PER_BLOCK).to_string();
    let bytes = (args.bytes / TXS_PER_BLOCK).to_string();
    bench.client("submit", &address, &["--count", &txs, "--bytes", &bytes])?;
    let place = Place::claim(&bench.network.join("peers"), (0, 1), &mut ports)?;
    let relay = ports.next()?;
    let operations = place.operations;
    configure(&place, place.gossip, (&bench.network.join("genesis.block"), relay))?;
    let mut peer = Peer::new(place, Part::Follower);
    peer.start(program)?;
    let goal = u64::from(args.blocks) + 1;
    wait(interrupt, "the relay has every block", || {
        peer.poll(CHANNEL)?;
        Ok(peer.height() >= goal)
    })?;
    drop(orderer);
    let relay = format!("127.0.0.1:{relay}");
    let to = args.blocks.to_string();
    let read = |readers: &str| -> Result<Value> {
        bench.client("fetch", &relay, &["--to", &to, "--readers", readers, "--within", "600"])
    };
    let one = read("1")?;
    let before = (cpu_seconds(peer.pid()?)?, store_reads(operations)?);
    let many = read(&args.readers.to_string())?;
    let after = (cpu_seconds(peer.pid()?)?, store_reads(operations)?);
    let figure = |answer: &Value, key: &str| {
        answer.get(key).and_then(Value::as_f64).with_context(|| format!("no {key}"))
    };
    Ok(Found {
        readers: args.readers,
        mb_s: round(figure(&many, "mb_s")?),
        one_reader_mb_s: round(figure(&one, "mb_s")?),
        cpu_s_per_gb: round((after.0 - before.0) / (figure(&many, "bytes")? / 1e9)),
        store_reads_per_block: round((after.1 - before.1) / goal as f64),
    })
}

struct Bench<'a> {
    program: &'a Path,
    interrupt: &'a Interrupt,
    network: PathBuf,
}

impl Bench<'_> {
    fn client(&self, what: &str, address: &str, more: &[&str]) -> Result<Value> {
        let home = self.network.join("users/admin.org1.test").display().to_string();
        let genesis = self.network.join("genesis.block").display().to_string();
        let args = [
            "dev",
            what,
            "--json",
            "--home",
            &home,
            "--msp-id",
            "Org1MSP",
            "--genesis",
            &genesis,
            "--address",
            address,
        ];
        let args = [&args[..], more].concat();
        Tool::run(self.program, (&self.network, what), &args, self.interrupt)
    }
}

fn wait(interrupt: &Interrupt, what: &str, mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + WAIT_MAX;
    while !holds()? {
        ensure!(Instant::now() < deadline, "in vain was it waited until {what}");
        interrupt.rest(Duration::from_millis(50))?;
    }
    Ok(())
}

/// CPU time of a process so far, in user and system mode.
fn cpu_seconds(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name stands in parentheses and may hold anything; user and system time are the 12th and 13th after it.
    let (_, rest) = stat.rsplit_once(')').context("no such process")?;
    let mut fields = rest.split_whitespace().skip(11);
    let mut ticks = || -> Result<f64> { Ok(fields.next().context("no CPU time")?.parse()?) };
    Ok((ticks()? + ticks()?) / TICKS_PER_SECOND)
}

/// Blocks that the relay has read from its store so far.
fn store_reads(operations: u16) -> Result<f64> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, operations));
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: peer\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let line = answer.lines().find(|line| line.starts_with("deliver_store_reads{"));
    let value = line.and_then(|line| line.rsplit(' ').next());
    Ok(value.context("the relay counts no reads")?.parse()?)
}

const TXS_PER_BLOCK: u32 = 10;
/// Linux tells CPU time in hundredths of a second.
const TICKS_PER_SECOND: f64 = 100.0;
const WAIT_MAX: Duration = Duration::from_secs(120);
