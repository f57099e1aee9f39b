//! `gossip-peer status`, and the report that it shows.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use gossip_api::{Endpoint, NetworkMember, OrgId, PkiId};
use gossip_service::{ChannelStatus, Status};
use serde::{Deserialize, Serialize};

use crate::Failure;

/// Who reports.
#[derive(Clone, Debug)]
pub(crate) struct Who {
    pub(crate) endpoint: Endpoint,
    pub(crate) pki_id: PkiId,
    pub(crate) org: OrgId,
}

/// How a peer stands.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    peer: String,
    pki_id: String,
    org: String,
    members: Vec<Member>,
    connections: usize,
    identities: usize,
    channels: Vec<ChannelReport>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Member {
    pki_id: String,
    org: Option<String>,
    endpoint: Option<String>,
    alive: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct ChannelReport {
    name: String,
    height: u64,
    leader: bool,
    /// Why it leads, or does not.
    leader_why: String,
    /// Seconds since the service's start at which that was decided.
    leader_since_s: f64,
    /// Whether it takes blocks from its own source.
    delivering: bool,
    by_source: u64,
    by_push: u64,
    by_pull: u64,
    by_catch_up: u64,
    neighbours: usize,
    refused: u64,
    stalled_reason: Option<String>,
}

/// Makes the report.
pub(crate) fn report(who: &Who, status: &Status) -> Report {
    Report {
        peer: who.endpoint.to_string(),
        pki_id: who.pki_id.to_string(),
        org: who.org.to_string(),
        members: status.members.iter().map(member).collect(),
        connections: status.connections,
        identities: status.identities,
        channels: status.channels.iter().map(channel).collect(),
    }
}

fn member(member: &NetworkMember) -> Member {
    Member {
        pki_id: member.pki_id.to_string(),
        org: member.org.as_ref().map(ToString::to_string),
        endpoint: member.preferred_endpoint().map(ToString::to_string),
        alive: true,
    }
}

fn channel(channel: &ChannelStatus) -> ChannelReport {
    ChannelReport {
        name: channel.name.to_string(),
        height: channel.height.get(),
        leader: channel.leader,
        leader_why: channel.leader_why.to_owned(),
        leader_since_s: channel.leader_since.since(gossip_api::Mono::ZERO).as_secs_f64(),
        delivering: channel.delivering,
        by_source: channel.committed.source,
        by_push: channel.committed.push,
        by_pull: channel.committed.pull,
        by_catch_up: channel.committed.catch_up,
        neighbours: channel.peers.len(),
        refused: channel.refused.values().sum(),
        stalled_reason: channel.stalled_reason.clone(),
    }
}

/// Which peer to ask, and how to show the answer.
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// The peer's configuration; tells its operations address.
    #[arg(long, env = "GOSSIP_PEER_CONFIG", default_value = "core.yaml")]
    config: PathBuf,
    /// One JSON object instead of a table.
    #[arg(long)]
    json: bool,
}

/// Asks a running peer.
pub(crate) fn run(args: &StatusArgs) -> Result<(), Failure> {
    let config = crate::config::load(&args.config)?;
    let body = get(config.operations, "/status").map_err(|reason| {
        Failure::Run(format!("no answer from the peer at {}: {reason}", config.operations))
    })?;
    let report: Report = serde_json::from_str(&body)
        .map_err(|error| Failure::Run(format!("the peer's answer is not a report: {error}")))?;
    if args.json {
        println!("{body}");
    } else {
        print!("{}", table(&report));
    }
    Ok(())
}

/// One plain GET; the operations address is on loopback.
fn get(address: std::net::SocketAddr, path: &str) -> Result<String, String> {
    let text = |error: std::io::Error| error.to_string();
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).map_err(text)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(text)?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")
        .map_err(text)?;
    let mut answer = String::new();
    stream.take(ANSWER_MAX).read_to_string(&mut answer).map_err(text)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("the answer is cut off")?;
    if head.starts_with("HTTP/1.1 200") {
        Ok(body.to_owned())
    } else {
        Err(head.lines().next().unwrap_or_default().to_owned())
    }
}

fn table(report: &Report) -> String {
    let mut out = format!(
        "peer {} ({}), {} members alive, {} connections\n",
        report.peer,
        report.org,
        report.members.len(),
        report.connections
    );
    for member in &report.members {
        let org = member.org.as_deref().unwrap_or("?");
        let endpoint = member.endpoint.as_deref().unwrap_or("-");
        let short = member.pki_id.get(..8).unwrap_or_default();
        out += &format!("  member {short}  {org:<16} {endpoint}\n");
    }
    for channel in &report.channels {
        out += &format!(
            "channel {}: height {}, {} ({}), {} peers; blocks by source {}, push {}, pull {}, catch-up {}; refused {}\n",
            channel.name,
            channel.height,
            if channel.leader { "leading" } else { "following" },
            channel.leader_why,
            channel.neighbours,
            channel.by_source,
            channel.by_push,
            channel.by_pull,
            channel.by_catch_up,
            channel.refused,
        );
        if let Some(reason) = &channel.stalled_reason {
            out += &format!("  waits: {reason}\n");
        }
    }
    out
}

/// How long the peer may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Longest answer read, in bytes.
const ANSWER_MAX: u64 = 16 << 20;
