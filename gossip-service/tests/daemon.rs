//! The real binary, as an operator runs it: genuine identities, genuine blocks, real QUIC.
#![cfg(feature = "peer")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_gossip-peer");

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../peer-mcs/tests/fixtures")
}

/// One peer's directory and ports. Its process ends with the value.
struct Peer {
    home: PathBuf,
    operations: u16,
    process: Option<Child>,
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Two ports that were free a moment ago.
fn ports() -> (u16, u16) {
    let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    (udp.local_addr().unwrap().port(), tcp.local_addr().unwrap().port())
}

fn copy_private(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_private(&entry.path(), &target);
        } else {
            fs::write(&target, fs::read(entry.path()).unwrap()).unwrap();
            fs::set_permissions(&target, fs::Permissions::from_mode(0o600)).unwrap();
        }
    }
}

impl Peer {
    /// Lays out peer `number` of org1. With a `source` it leads.
    fn new(root: &Path, number: u8, bootstrap: Option<u16>, source: Option<&Path>) -> (Self, u16) {
        let lead = format!("orgLeader: {}", source.is_some());
        let lead = format!("{lead}\n    useLeaderElection: false");
        Self::with_leadership(root, number, bootstrap, source, &lead)
    }

    fn with_leadership(
        root: &Path,
        number: u8,
        bootstrap: Option<u16>,
        source: Option<&Path>,
        lead: &str,
    ) -> (Self, u16) {
        let name = format!("peer{number}.org1.test");
        let home = root.join(&name);
        let identity = fixtures().join("crypto/peerOrganizations/org1.test/peers").join(&name);
        copy_private(&identity, &home);
        let (gossip, operations) = ports();
        let genesis = fixtures().join("trade/genesis.block");
        let source = source.map(|dir| format!("file: {}", dir.display()));
        let source = source.unwrap_or_else(|| "orderers: false".to_owned());
        let yaml = format!(
            "peer:
  networkId: test
  listenAddress: 127.0.0.1:{gossip}
  address: 127.0.0.1:{gossip}
  localMspId: Org1MSP
  mspConfigPath: msp
  tls: {{cert: {{file: tls/server.crt}}, key: {{file: tls/server.key}}, rootcert: {{file: tls/ca.crt}}}}
  gossip:
    bootstrap: 127.0.0.1:{}
    externalEndpoint: 127.0.0.1:{gossip}
    {lead}
operations: {{listenAddress: '127.0.0.1:{operations}'}}
gossipPeer:
  dataDir: data
  channels: [{{genesis: {}, source: {{{source}}}}}]
",
            bootstrap.unwrap_or(gossip),
            genesis.display(),
        );
        fs::write(home.join("core.yaml"), yaml).unwrap();
        (Self { home, operations, process: None }, gossip)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(BINARY);
        command.args(args).arg("--config").arg(self.home.join("core.yaml")).env_clear();
        command
    }

    fn start(&mut self) {
        let log =
            fs::File::options().create(true).append(true).open(self.home.join("log")).unwrap();
        let mut command = self.command(&["node", "start"]);
        self.process = Some(command.stderr(log).stdout(Stdio::null()).spawn().unwrap());
    }

    fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// SIGTERM; returns how long it took to end, and whether it ended well.
    fn stop(&mut self) -> (Duration, bool) {
        let mut process = self.process.take().unwrap();
        let since = Instant::now();
        let pid = process.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        let status = process.wait().unwrap();
        (since.elapsed(), status.success())
    }

    fn status(&self) -> Option<Value> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.operations)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        stream
            .write_all(b"GET /status HTTP/1.1\r\nHost: peer\r\nConnection: close\r\n\r\n")
            .ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()
    }

    fn height(&self) -> u64 {
        self.status().and_then(|status| status["channels"][0]["height"].as_u64()).unwrap_or(0)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.home.join("log")).unwrap_or_default()
    }

    #[expect(clippy::disallowed_methods, reason = "polls another process, with a deadline")]
    /// Waits until `holds`; a peer that ends meanwhile, or two minutes, fail the test with its log.
    fn wait_until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(120);
        while !holds(self) {
            let ended = self.process.as_mut().is_none_or(|p| p.try_wait().unwrap().is_some());
            assert!(!ended, "the peer ended before {what}:\n{}", self.log());
            assert!(
                Instant::now() < deadline,
                "no {what} in time: {:?}\n{}",
                self.status(),
                self.log()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn ledger_check(&self, against: &Path) -> Output {
        let mut command = self.command(&["ledger", "check", "--channel", "trade", "--json"]);
        command.arg("--against").arg(against).output().unwrap()
    }
}

/// Puts blocks `range` into the source, as an orderer would: each at once or not at all.
fn feed(source: &Path, range: std::ops::RangeInclusive<u64>) {
    for number in range {
        let name = format!("block_{number:06}.pb");
        let bytes = fs::read(fixtures().join("trade/blocks").join(&name)).unwrap();
        fs::write(source.join("coming"), bytes).unwrap();
        fs::rename(source.join("coming"), source.join(&name)).unwrap();
    }
}

#[test]
fn genuine_blocks_cross_processes_survive_a_kill_and_reach_a_late_peer() {
    let root = tempfile::tempdir().unwrap();
    let source = root.path().join("source");
    fs::create_dir(&source).unwrap();
    let (mut leader, gossip) = Peer::new(root.path(), 0, None, Some(&source));
    let (mut follower, _) = Peer::new(root.path(), 1, Some(gossip), None);
    leader.start();
    follower.start();
    feed(&source, 0..=20);
    leader.wait_until("height 21", |peer| peer.height() == 21);
    follower.wait_until("height 21", |peer| peer.height() == 21);
    follower.kill();
    feed(&source, 21..=40);
    follower.start();
    let (mut late, _) = Peer::new(root.path(), 2, Some(gossip), None);
    late.start();
    feed(&source, 41..=54);
    for peer in [&mut leader, &mut follower, &mut late] {
        peer.wait_until("height 55", |peer| peer.height() == 55);
        let status = peer.status().unwrap();
        assert_eq!(status["channels"][0]["refused"], 0, "{status}");
        assert_eq!(status["org"], "Org1MSP");
    }
    for peer in [&mut leader, &mut follower, &mut late] {
        let (took, well) = peer.stop();
        assert!(well, "{}", peer.log());
        assert!(took < Duration::from_secs(5), "SIGTERM took {took:?}");
        let checked = peer.ledger_check(&source);
        let verdict: Value = serde_json::from_slice(&checked.stdout).unwrap();
        assert_eq!(verdict["height"], 55);
        for key in ["chain_ok", "identical", "complete"] {
            assert_eq!(verdict[key], true, "{key}: {verdict}");
        }
    }
}

#[test]
fn a_bad_block_in_the_source_is_refused_by_class_and_the_peer_goes_on() {
    for (file, number) in [("trade_tampered_data.pb", 10), ("trade_claimed_number_plus_one.pb", 10)]
    {
        let root = tempfile::tempdir().unwrap();
        let source = root.path().join("source");
        fs::create_dir(&source).unwrap();
        feed(&source, 0..=9);
        let bad = if file.contains("claimed") {
            // A good block of another number, under this one's name.
            fs::read(fixtures().join("trade/blocks/block_000011.pb")).unwrap()
        } else {
            fs::read(fixtures().join("bad").join(file)).unwrap()
        };
        fs::write(source.join(format!("block_{number:06}.pb")), bad).unwrap();
        let (mut peer, _) = Peer::new(root.path(), 0, None, Some(&source));
        peer.start();
        peer.wait_until("height 10", |peer| peer.height() == 10);
        feed(&source, 10..=12);
        peer.wait_until("height 13 after the source was mended", |peer| peer.height() == 13);
        peer.stop();
    }
}

#[test]
fn what_is_wrong_with_a_configuration_is_one_sentence_and_code_2() {
    let root = tempfile::tempdir().unwrap();
    let (peer, _) = Peer::new(root.path(), 0, None, None);
    let file = peer.home.join("core.yaml");
    let good = fs::read_to_string(&file).unwrap();
    let refused = |word: &str| {
        for args in [&["node", "start"][..], &["config", "check"][..]] {
            let output = peer.command(args).output().unwrap();
            let told = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(2), "{word}: {told}");
            assert_eq!(told.lines().count(), 1, "one sentence: {told}");
            assert!(told.contains(word), "{word}: {told}");
        }
    };
    for (from, to, word) in [
        ("orgLeader", "orgLeder", "peer.gossip.orgLeder"),
        ("listenAddress: 127.0.0.1", "listenAddress: nowhere", "peer.listenAddress"),
        ("tls/server.key", "tls/nosuch.key", "nosuch.key"),
        ("localMspId: Org1MSP", "localMspId: ''", "peer.localMspId"),
    ] {
        fs::write(&file, good.replace(from, to)).unwrap();
        refused(word);
    }
    fs::write(&file, &good).unwrap();
    assert!(peer.command(&["config", "check"]).output().unwrap().status.success());
    let key = peer.home.join("tls/server.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    refused("server.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let keystore = peer.home.join("msp/keystore/priv_sk");
    fs::set_permissions(&keystore, fs::Permissions::from_mode(0o640)).unwrap();
    refused("priv_sk");
}

#[test]
fn a_second_process_on_one_data_directory_is_told_so() {
    let root = tempfile::tempdir().unwrap();
    let (mut peer, _) = Peer::new(root.path(), 0, None, None);
    peer.start();
    peer.wait_until("start", |peer| peer.status().is_some());
    let second = peer.command(&["node", "start"]).output().unwrap();
    let told = String::from_utf8(second.stderr).unwrap();
    assert_eq!(second.status.code(), Some(2), "{told}");
    assert!(told.contains("data"), "{told}");
    assert!(peer.status().is_some(), "the first goes on");
    peer.stop();
    let mut misspelt = peer.command(&["ledger", "check", "--channel", "trad"]);
    let misspelt = misspelt.output().unwrap();
    assert_eq!(misspelt.status.code(), Some(2));
    assert!(!peer.home.join("data/trad.redb").exists(), "looking makes nothing");
}

#[test]
fn an_elected_leader_is_replaced_when_it_dies_and_when_it_stops() {
    let root = tempfile::tempdir().unwrap();
    let source = root.path().join("source");
    fs::create_dir(&source).unwrap();
    feed(&source, 0..=5);
    let elected = "useLeaderElection: true";
    let (first, gossip) = Peer::with_leadership(root.path(), 0, None, Some(&source), elected);
    let mut peers = vec![first];
    for number in 1..3 {
        let source = Some(source.as_path());
        let peer = Peer::with_leadership(root.path(), number, Some(gossip), source, elected);
        peers.push(peer.0);
    }
    peers.iter_mut().for_each(Peer::start);
    let leads =
        |peer: &Peer| peer.status().is_some_and(|status| status["channels"][0]["leader"] == true);
    let mut height = 6;
    for (end, kill) in [(12, true), (18, false)] {
        peers.iter_mut().for_each(|peer| {
            peer.wait_until("the fed blocks", |peer| peer.height() == height);
        });
        let leaders: Vec<usize> = (0..peers.len()).filter(|at| leads(&peers[*at])).collect();
        assert_eq!(leaders.len(), 1, "one leader: {}", peers[0].log());
        let mut leader = peers.remove(leaders[0]);
        if kill {
            leader.kill();
        } else {
            assert!(leader.stop().1, "{}", leader.log());
        }
        feed(&source, height..=end);
        height = end + 1;
    }
    peers[0].wait_until("the last blocks", |peer| peer.height() == height && leads(peer));
}

#[test]
fn a_leader_that_gives_nothing_is_found_out_by_who_asks_the_source_for_its_newest_header() {
    let root = tempfile::tempdir().unwrap();
    let [stuck, whole] = ["stuck", "whole"].map(|name| root.path().join(name));
    fs::create_dir(&stuck).unwrap();
    fs::create_dir(&whole).unwrap();
    feed(&stuck, 0..=5);
    feed(&whole, 0..=5);
    let elected = "useLeaderElection: true";
    let (mut leader, gossip) = Peer::with_leadership(root.path(), 0, None, Some(&stuck), elected);
    let (mut follower, _) =
        Peer::with_leadership(root.path(), 1, Some(gossip), Some(&whole), elected);
    let leads =
        |peer: &Peer| peer.status().is_some_and(|status| status["channels"][0]["leader"] == true);
    leader.start();
    leader.wait_until("leadership", |peer| leads(peer) && peer.height() == 6);
    follower.start();
    follower.wait_until("the first blocks", |peer| peer.height() == 6);
    assert!(leads(&leader) && !leads(&follower), "who leads already is not displaced");
    feed(&whole, 6..=12);
    follower.wait_until("what the leader withholds", |peer| peer.height() == 13);
    leader.wait_until("what it withheld", |peer| peer.height() == 13);
    follower.wait_until("leadership", leads);
    leader.wait_until("the end of its leadership", |peer| !leads(peer));
}
