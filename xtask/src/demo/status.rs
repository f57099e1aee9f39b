//! What a peer tells about itself on its operations address.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

/// The part of a peer's `/status` that the demo shows.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Status {
    #[serde(default)]
    channels: Vec<Channel>,
}

/// One channel of a peer.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Channel {
    name: String,
    /// Blocks in its ledger, the genesis block included.
    pub(crate) height: u64,
    /// Whether it takes the channel's blocks from the source.
    pub(crate) leader: bool,
    /// Peers of the channel it is connected to.
    pub(crate) neighbours: u64,
    /// What it waits for, if it does.
    pub(crate) stalled_reason: Option<String>,
    /// How the blocks of this process came.
    #[serde(flatten)]
    pub(crate) ways: Ways,
}

/// Blocks committed, by the way they came.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub(crate) struct Ways {
    /// From the source.
    pub(crate) by_source: u64,
    /// Without having been asked for.
    pub(crate) by_push: u64,
    /// Named by a digest, then asked for.
    pub(crate) by_pull: u64,
    /// In a range that was asked for by number.
    pub(crate) by_catch_up: u64,
}

impl Ways {
    /// Blocks committed in all.
    pub(crate) const fn total(&self) -> u64 {
        self.by_source + self.by_push + self.by_pull + self.by_catch_up
    }
}

impl std::ops::AddAssign for Ways {
    fn add_assign(&mut self, other: Self) {
        self.by_source += other.by_source;
        self.by_push += other.by_push;
        self.by_pull += other.by_pull;
        self.by_catch_up += other.by_catch_up;
    }
}

impl Status {
    /// The channel called `name`.
    pub(crate) fn channel(self, name: &str) -> Option<Channel> {
        self.channels.into_iter().find(|channel| channel.name == name)
    }
}

/// Asks the peer whose operations address is `port` on this machine.
pub(crate) fn fetch(port: u16) -> Result<Status> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT).context("no connection")?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    stream.write_all(format!("GET /status HTTP/1.0\r\nHost: {address}\r\n\r\n").as_bytes())?;
    let mut answer = Vec::new();
    stream.take(ANSWER_LEN_MAX).read_to_end(&mut answer)?;
    parse(&String::from_utf8_lossy(&answer))
}

fn parse(answer: &str) -> Result<Status> {
    let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
    let first = head.lines().next().unwrap_or_default();
    ensure!(first.split(' ').nth(1) == Some("200"), "answered `{first}`");
    serde_json::from_str(body).context("no status in the answer")
}

const TIMEOUT: Duration = Duration::from_millis(500);
const ANSWER_LEN_MAX: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read() {
        let body = r#"{"peer":"p","channels":[{"name":"trade","height":5,"leader":true,"by_push":3,
            "by_pull":1,"neighbours":2,"refused":0,"stalled_reason":"no source"}]}"#;
        let status = parse(&format!("HTTP/1.1 200 OK\r\nA: b\r\n\r\n{body}")).unwrap();
        let channel = status.channel("trade").unwrap();
        assert_eq!((channel.height, channel.leader, channel.neighbours), (5, true, 2));
        assert_eq!(channel.ways, Ways { by_push: 3, by_pull: 1, ..Ways::default() });
        assert_eq!(channel.stalled_reason.as_deref(), Some("no source"));
    }

    #[test]
    fn anything_else_is_an_error() {
        assert!(parse("").is_err());
        assert!(parse("HTTP/1.1 503 Unavailable\r\n\r\n{}").is_err());
        assert!(parse("HTTP/1.1 200 OK\r\n\r\n<html>").is_err());
    }
}
