//! The verdict: every ledger against the recorded blocks.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::peers::{Part, Peer, undisturbed, wait_until};
use super::status::Ways;

/// What `gossip-peer ledger check` finds.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Check {
    /// Blocks in the ledger.
    pub(crate) height: u64,
    /// Whether each block names the hash of the one before it.
    pub(crate) chain_ok: bool,
    /// Whether each block equals the recorded one.
    pub(crate) identical: bool,
    /// Whether no recorded block lacks.
    pub(crate) complete: bool,
}

impl Check {
    /// Whether the ledger is sound as far as it goes, and goes no further than `height_max`.
    pub(crate) fn is_cut_off(&self, height_max: u64) -> bool {
        self.chain_ok && self.identical && self.height <= height_max
    }

    /// Whether nothing is wrong with the ledger.
    pub(crate) fn is_good(&self) -> bool {
        self.chain_ok && self.identical && self.complete
    }
}

/// The last line with `--json`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Summary {
    orgs: usize,
    peers: usize,
    /// Blocks in each ledger, the genesis block included.
    blocks: usize,
    /// Whether every ledger but the revoked ones equals the source and lacks nothing, and these end in time.
    pub(crate) identical: bool,
    /// Peers that were revoked and whose ledgers end with the block that did it, or before.
    revoked: usize,
    killed: usize,
    late: usize,
    by_push: u64,
    by_pull: u64,
    by_catch_up: u64,
    seconds: f64,
    /// From the death of an elected leader until another one of its organisation led.
    leader_failover_ms: Option<u64>,
    /// Whether an organisation came while blocks did, and its peer has every block.
    org_added: bool,
    /// Blocks that a Deliver client read through a peer's relay and verified.
    relay_blocks: u64,
    /// Peers whose identities ran out and whose ledgers end soon after that, or before.
    expired: usize,
}

impl Summary {
    /// The verdict for people.
    pub(crate) fn sentence(&self) -> String {
        let Self { peers, blocks, killed, late, revoked, expired, seconds, .. } = self;
        let verdict = if self.identical { "every ledger is" } else { "NOT every ledger is" };
        let mut sentence = format!(
            "{verdict} identical and complete: {peers} peers, {blocks} blocks, {killed} killed, {late} late, {revoked} revoked and cut off, {expired} expired and cut off"
        );
        if let Some(took) = self.leader_failover_ms {
            let _ = write!(sentence, ", another leader after {took} ms");
        }
        if self.org_added {
            sentence.push_str(", an organisation added");
        }
        if self.relay_blocks > 0 {
            let _ = write!(sentence, ", {} blocks read through a relay", self.relay_blocks);
        }
        format!("{sentence}, {seconds} s")
    }
}

/// What happened in the run, besides the ledgers.
pub(crate) struct Events {
    /// Peers that were killed and started again.
    pub(crate) killed: usize,
    /// Peers that were started late.
    pub(crate) late: usize,
    /// How long it took, without the build.
    pub(crate) took: Duration,
    /// How long an organisation was without its elected leader.
    pub(crate) failover: Option<Duration>,
    /// Blocks that were read through a relay.
    pub(crate) relay_blocks: u64,
    /// The greatest height that a peer which was shut out may have.
    pub(crate) shut_out_at: u64,
}

impl Events {
    /// What happens with the recorded blocks.
    pub(crate) const fn recorded(killed: usize, late: usize, took: Duration) -> Self {
        let shut_out_at = REVOKED_HEIGHT_MAX;
        Self { killed, late, took, failover: None, relay_blocks: 0, shut_out_at }
    }
}

/// Checks the ledger of the stopped `peer` against the blocks in `recorded`.
pub(crate) fn check(program: &Path, peer: &Peer, channel: &str, recorded: &Path) -> Result<Check> {
    let answer = peer.place.home.join("verdict");
    let mut process = undisturbed(Command::new(program))
        .args(["ledger", "check", "--json", "--channel", channel, "--config"])
        .arg(peer.place.config())
        .arg("--against")
        .arg(recorded)
        .stdin(Stdio::null())
        .stdout(File::create(&answer)?)
        .spawn()
        .context("cannot start the check of the ledgers")?;
    if wait_until(&mut process, Instant::now() + TIMEOUT)?.is_none() {
        process.kill()?;
        process.wait()?;
        bail!("the check of {}'s ledger does not end", peer.place.name);
    }
    let text = std::fs::read_to_string(&answer)?;
    parse(&text)
        .with_context(|| format!("the check of {}'s ledger gave no verdict", peer.place.name))
}

fn parse(text: &str) -> Result<Check> {
    let last = text.lines().rfind(|line| !line.trim().is_empty()).context("it wrote nothing")?;
    Ok(serde_json::from_str(last)?)
}

/// Puts checks and counters together.
pub(crate) fn summary(peers: &[Peer], checks: &[Check], blocks: usize, events: &Events) -> Summary {
    let mut ways = Ways::default();
    for peer in peers {
        ways += peer.ways();
    }
    let orgs: BTreeSet<u8> = peers.iter().map(|peer| peer.place.org).collect();
    let is_right = |(peer, check): (&Peer, &Check)| match peer.part {
        Part::Revoked | Part::Expiring => check.is_cut_off(events.shut_out_at),
        Part::Leader | Part::Follower | Part::Victim | Part::Late | Part::Newcomer => {
            check.is_good() && usize::try_from(check.height) == Ok(blocks)
        }
    };
    let right = |part: Part| {
        let of_part = move |(peer, _): &(&Peer, &Check)| peer.part == part;
        peers.iter().zip(checks).filter(of_part).filter(|pair| is_right(*pair)).count()
    };
    Summary {
        orgs: orgs.len(),
        peers: peers.len(),
        blocks,
        identical: checks.len() == peers.len() && peers.iter().zip(checks).all(is_right),
        revoked: right(Part::Revoked),
        killed: events.killed,
        late: events.late,
        by_push: ways.by_push,
        by_pull: ways.by_pull,
        by_catch_up: ways.by_catch_up,
        seconds: (events.took.as_secs_f64() * 10.0).round() / 10.0,
        leader_failover_ms: events
            .failover
            .map(|took| took.as_millis().try_into().unwrap_or(u64::MAX)),
        org_added: right(Part::Newcomer) > 0,
        relay_blocks: events.relay_blocks,
        expired: right(Part::Expiring),
    }
}

const TIMEOUT: Duration = Duration::from_secs(60);

/// Block 36 of the recorded channel revokes peer2 of org2; whoever has committed it sends it nothing more.
const REVOKED_HEIGHT_MAX: u64 = 37;

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::demo::layout::Place;

    fn peers() -> Vec<Peer> {
        let peer = |org| {
            let place =
                Place { name: "p".into(), org, home: PathBuf::new(), gossip: 1, operations: 2 };
            Peer::new(place, Part::Follower)
        };
        vec![peer(1), peer(1), peer(2)]
    }

    const GOOD: Check = Check { height: 55, chain_ok: true, identical: true, complete: true };

    #[test]
    fn the_last_line_of_a_check_is_its_verdict() {
        let line =
            r#"{"channel":"trade","height":55,"chain_ok":true,"identical":true,"complete":false}"#;
        let check = parse(&format!("checking\n{line}\n\n")).unwrap();
        assert_eq!(check.height, 55);
        assert!(!check.is_good());
        assert!(parse("").is_err());
        assert!(parse("done").is_err());
    }

    #[test]
    fn one_bad_ledger_spoils_the_verdict() {
        let events = Events::recorded(1, 1, Duration::from_millis(12_345));
        let verdict = |checks: &[Check]| summary(&peers(), checks, 55, &events).identical;
        assert!(verdict(&[GOOD, GOOD, GOOD]));
        assert!(!verdict(&[GOOD, GOOD]));
        assert!(!verdict(&[GOOD, GOOD, Check { chain_ok: false, ..GOOD }]));
        assert!(!verdict(&[GOOD, GOOD, Check { identical: false, ..GOOD }]));
        assert!(!verdict(&[GOOD, GOOD, Check { complete: false, ..GOOD }]));
        assert!(!verdict(&[GOOD, GOOD, Check { height: 54, ..GOOD }]));
    }

    #[test]
    fn a_revoked_ledger_may_end_early_and_must_not_end_late() {
        let events = Events::recorded(1, 1, Duration::ZERO);
        let mut network = peers();
        network[2].part = Part::Revoked;
        let verdict = |height, identical| {
            let last = Check { height, chain_ok: true, identical, complete: false };
            let summary = summary(&network, &[GOOD, GOOD, last], 55, &events);
            (summary.identical, summary.revoked)
        };
        assert_eq!(verdict(37, true), (true, 1));
        assert_eq!(verdict(38, true), (false, 0));
        assert_eq!(verdict(30, false), (false, 0));
    }

    #[test]
    fn the_summary_is_one_line_of_json() {
        let events = Events::recorded(1, 1, Duration::from_millis(12_345));
        let line =
            serde_json::to_string(&summary(&peers(), &[GOOD, GOOD, GOOD], 55, &events)).unwrap();
        let expect = r#"{"orgs":2,"peers":3,"blocks":55,"identical":true,"revoked":0,"killed":1,"late":1,"by_push":0,"by_pull":0,"by_catch_up":0,"seconds":12.3,"leader_failover_ms":null,"org_added":false,"relay_blocks":0,"expired":0}"#;
        assert_eq!(line, expect);
    }
}
