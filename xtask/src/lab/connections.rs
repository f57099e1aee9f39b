//! `cargo xtask bench connections`: what an idle connection keeps in memory.
//!
//! Enough transports for the wanted number of pairs are started first; what the process grows by while
//! they connect is both ends of every connection, and nothing else.

/// How many connections.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// Authenticated connections, both ends in this process.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=2000))]
    pub(crate) connections: u32,
    /// One JSON object on the last line.
    #[arg(long)]
    pub(crate) json: bool,
}

#[cfg(feature = "lab")]
pub(crate) use lab::run;

#[cfg(feature = "lab")]
mod lab {
    use std::time::Duration;

    use anyhow::{Context as _, Result};
    use serde::Serialize;

    use super::Args;
    use crate::lab::comm::peers::{Authority, Peer};

    #[derive(Serialize)]
    struct Report {
        connections: u32,
        rss_bytes_per_connection: u64,
    }

    /// Connects, waits until all is quiet, and prints.
    pub(crate) fn run(args: &Args) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let report = runtime.block_on(measure(args.connections))?;
        if args.json {
            println!("{}", serde_json::to_string(&report)?);
        } else {
            let Report { connections, rss_bytes_per_connection } = report;
            println!("{connections} connections, {rss_bytes_per_connection} bytes each");
        }
        Ok(())
    }

    async fn measure(connections: u32) -> Result<Report> {
        let wanted = usize::try_from(connections)?;
        let mut peers = Vec::new();
        let authority = Authority::new()?;
        while peers.len() * peers.len().saturating_sub(1) / 2 <= wanted {
            peers.push(Peer::start(u8::try_from(peers.len() + 1)?, authority.config()?)?);
        }
        let mut pairs = (0..peers.len()).flat_map(|a| (0..a).map(move |b| (a, b)));
        // What is loaded and built with the first connection is not counted.
        let mut connect = async |count: usize| -> Result<()> {
            for (a, b) in pairs.by_ref().take(count) {
                let (a, b) = (peers.get(a).context("a peer")?, peers.get(b).context("a peer")?);
                a.connect(b).await?;
            }
            Ok(())
        };
        connect(1).await?;
        tokio::time::sleep(QUIET).await;
        let before = resident_bytes()?;
        connect(wanted).await?;
        tokio::time::sleep(QUIET).await;
        let grown = resident_bytes()?.saturating_sub(before);
        Ok(Report { connections, rss_bytes_per_connection: grown / u64::from(connections) })
    }

    fn resident_bytes() -> Result<u64> {
        let text = std::fs::read_to_string("/proc/self/statm")?;
        let pages: u64 = text.split(' ').nth(1).context("resident pages")?.parse()?;
        Ok(pages * rustix::param::page_size() as u64)
    }

    /// Handshakes have ended, and what they needed has been given back, after so long.
    const QUIET: Duration = Duration::from_secs(3);
}
