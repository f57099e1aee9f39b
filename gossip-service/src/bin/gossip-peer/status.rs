//! `gossip-peer status`, and the report that it shows.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use gossip_api::{Endpoint, NetworkMember, OrgId, PkiId};
use gossip_service::{ChannelStatus, OrgTraffic, Status};
use serde::{Deserialize, Serialize};

use crate::Failure;
use crate::client::ask_well;

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
    pub(crate) members: Vec<Member>,
    connections: usize,
    identities: usize,
    /// Connected peers that dialled us: our address can be reached.
    #[serde(default)]
    pub(crate) dialled_us: usize,
    /// Seconds since the start.
    #[serde(default)]
    uptime_s: f64,
    pub(crate) channels: Vec<ChannelReport>,
    /// Bytes of messages by organisation, since the start.
    #[serde(default)]
    traffic: BTreeMap<String, Traffic>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Traffic {
    received: u64,
    sent: u64,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Member {
    pki_id: String,
    org: Option<String>,
    pub(crate) endpoint: Option<String>,
    alive: bool,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ChannelReport {
    pub(crate) name: String,
    height: u64,
    /// Height that a valid block proves.
    #[serde(default)]
    proved: u64,
    /// Proved blocks that our ledger lacks.
    #[serde(default)]
    lag: u64,
    leader: bool,
    /// Fingerprint of who leads our organisation, as far as the peer knows.
    #[serde(default)]
    leader_peer: Option<String>,
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
    /// What its own source of blocks is called.
    #[serde(default)]
    source: Option<String>,
    pub(crate) stalled_reason: Option<String>,
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
        dialled_us: status.dialled_us,
        uptime_s: status.uptime.as_secs_f64(),
        channels: status.channels.iter().map(|held| channel(status, held)).collect(),
        traffic: status.traffic.iter().map(traffic).collect(),
    }
}

fn traffic((org, traffic): (&String, &OrgTraffic)) -> (String, Traffic) {
    (org.clone(), Traffic { received: traffic.received, sent: traffic.sent })
}

fn member(member: &NetworkMember) -> Member {
    Member {
        pki_id: member.pki_id.to_string(),
        org: member.org.as_ref().map(ToString::to_string),
        endpoint: member.preferred_endpoint().map(ToString::to_string),
        alive: true,
    }
}

fn channel(status: &Status, channel: &ChannelStatus) -> ChannelReport {
    ChannelReport {
        name: channel.name.to_string(),
        height: channel.height.get(),
        proved: channel.proved.get(),
        lag: channel.lag(),
        leader: channel.leader,
        leader_peer: channel.leader_peer.map(|peer| peer.to_string()),
        leader_why: channel.leader_why.to_owned(),
        leader_since_s: channel.leader_since.since(gossip_api::Mono::ZERO).as_secs_f64(),
        delivering: channel.delivering,
        by_source: channel.committed.source,
        by_push: channel.committed.push,
        by_pull: channel.committed.pull,
        by_catch_up: channel.committed.catch_up,
        neighbours: channel.peers.len(),
        refused: channel.refused.values().sum(),
        source: status.sources.get(&channel.name).cloned(),
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
    /// Again every second, until Ctrl-C; with `--json` one object a line.
    #[arg(long)]
    watch: bool,
}

/// Asks a running peer.
pub(crate) fn run(args: &StatusArgs) -> Result<(), Failure> {
    loop {
        let shown = shown(args);
        if !args.watch {
            print!("{}", shown?);
            return Ok(());
        }
        // Who watches wants to see the peer come back.
        let text = shown.unwrap_or_else(|failure| format!("{}\n", failure.sentence()));
        if args.json {
            print!("{text}");
        } else {
            print!("{CLEAR}{text}");
        }
        std::io::stdout().flush().map_err(|error| Failure::Run(error.to_string()))?;
        pause();
    }
}

fn shown(args: &StatusArgs) -> Result<String, Failure> {
    let body = ask_well(&args.config, "GET", "/status", None)?;
    let report: Report = serde_json::from_str(&body)
        .map_err(|error| Failure::Run(format!("the peer's answer is not a report: {error}")))?;
    Ok(if args.json { format!("{body}\n") } else { table(&report) })
}

#[expect(clippy::disallowed_methods, reason = "a command line tool without a runtime")]
fn pause() {
    std::thread::sleep(WATCH_EVERY);
}

fn table(report: &Report) -> String {
    let mut out = format!(
        "peer {} ({}), up {}, {} members alive, {} connections, {} of them dialled us\n",
        report.peer,
        report.org,
        span(report.uptime_s),
        report.members.len(),
        report.connections,
        report.dialled_us,
    );
    for member in &report.members {
        let org = member.org.as_deref().unwrap_or("?");
        let endpoint = member.endpoint.as_deref().unwrap_or("-");
        let short = member.pki_id.get(..8).unwrap_or_default();
        out += &format!("  member {short}  {org:<16} {endpoint}\n");
    }
    for (org, Traffic { received, sent }) in &report.traffic {
        let mib = |bytes: &u64| *bytes as f64 / f64::from(1 << 20);
        out += &format!(
            "  organisation {org}: {:.1} MiB in, {:.1} MiB out\n",
            mib(received),
            mib(sent)
        );
    }
    for channel in &report.channels {
        let leads = match (&channel.leader_peer, channel.leader) {
            (_, true) => "leads".to_owned(),
            (Some(peer), false) => format!("follows {}", peer.get(..8).unwrap_or_default()),
            (None, false) => "knows no leader".to_owned(),
        };
        out += &format!(
            "channel {}: height {}, proved {}, {} behind; {leads} since {} ({})\n",
            channel.name,
            channel.height,
            channel.proved,
            channel.lag,
            span((report.uptime_s - channel.leader_since_s).max(0.0)),
            channel.leader_why,
        );
        out += &format!(
            "  {} peers; blocks by source {}, push {}, pull {}, catch-up {}; refused {}; source {}{}\n",
            channel.neighbours,
            channel.by_source,
            channel.by_push,
            channel.by_pull,
            channel.by_catch_up,
            channel.refused,
            channel.source.as_deref().unwrap_or("none"),
            if channel.delivering { ", being read" } else { "" },
        );
        if let Some(reason) = &channel.stalled_reason {
            out += &format!("  waits: {reason}\n");
        }
    }
    out
}

/// A span of time for people.
fn span(seconds: f64) -> String {
    if seconds < 120.0 {
        format!("{seconds:.0} s")
    } else if seconds < 7200.0 {
        format!("{:.0} min", seconds / 60.0)
    } else {
        format!("{:.1} h", seconds / 3600.0)
    }
}

/// How often a watched status is shown.
const WATCH_EVERY: Duration = Duration::from_secs(1);

/// Clears the terminal.
const CLEAR: &str = "\x1b[2J\x1b[H";
