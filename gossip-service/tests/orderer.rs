//! The ordering service and the relay as real processes: blocks from the development orderer to peers, and
//! from a peer to a client of Deliver.
#![cfg(feature = "peer")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_gossip-peer");

/// A process that ends with the value, and its log.
struct Process {
    name: String,
    log: PathBuf,
    child: Option<Child>,
}

impl Process {
    fn start(home: &Path, name: &str, args: &[&str]) -> Self {
        let log = home.join("log");
        let file = fs::File::options().create(true).append(true).open(&log).unwrap();
        let mut command = Command::new(BINARY);
        let child = command.args(args).env_clear().stderr(file).stdout(Stdio::null()).spawn();
        Self { name: name.to_owned(), log, child: Some(child.unwrap()) }
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// SIGTERM, and whether it ended well.
    fn stop(&mut self) -> bool {
        let mut child = self.child.take().unwrap();
        let pid = child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        child.wait().unwrap().success()
    }

    fn ensure_runs(&mut self, before: &str) {
        let ended = self.child.as_mut().is_none_or(|child| child.try_wait().unwrap().is_some());
        assert!(!ended, "{} ended before {before}:\n{}", self.name, self.log());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn tcp_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

fn udp_port() -> u16 {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

fn run(args: &[&str]) -> Output {
    Command::new(BINARY).args(args).env_clear().output().unwrap()
}

/// A network's material, its orderer, and its peers.
struct Network {
    dir: PathBuf,
    address: String,
    orderer: Option<Process>,
    peers: Vec<Peer>,
}

struct Peer {
    process: Process,
    home: PathBuf,
    org: u8,
    operations: u16,
    relay: String,
}

impl Network {
    fn new(root: &Path, more: &[&str]) -> Self {
        let dir = root.join("network");
        let address = format!("127.0.0.1:{}", tcp_port());
        let dir_text = dir.display().to_string();
        let args = ["dev", "network", "--dir", &dir_text, "--orderer", &address];
        let batch = ["--batch-count", "4", "--batch-timeout", "300ms"];
        let made = run(&[&args[..], &batch, more].concat());
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        Self { dir, address, orderer: None, peers: Vec::new() }
    }

    fn start_orderer(&mut self) {
        let home = self.dir.join("orderer").display().to_string();
        let args = ["dev-orderer", "--client-auth", "--home", &home, "--listen", &self.address];
        self.orderer = Some(Process::start(&self.dir.join("orderer"), "the orderer", &args));
        wait_for("the orderer to listen", self.orderer.as_mut().unwrap(), || {
            TcpStream::connect(&self.address).is_ok()
        });
    }

    /// Starts a peer that takes part in elections, and relays.
    fn start_peer(&mut self, name: &str, org: u8) {
        let home = self.dir.join("peers").join(name);
        let (gossip, operations, relay) = (udp_port(), tcp_port(), tcp_port());
        let bootstrap = self.peers.iter().find(|peer| peer.org == org);
        let bootstrap = bootstrap.map_or(gossip, |peer| gossip_port(&peer.home));
        let genesis = self.dir.join("genesis.block");
        let yaml = format!(
            "peer:
  networkId: test
  listenAddress: 127.0.0.1:{gossip}
  address: 127.0.0.1:{gossip}
  localMspId: Org{org}MSP
  mspConfigPath: msp
  tls:
    cert: {{file: tls/server.crt}}
    key: {{file: tls/server.key}}
    rootcert: {{file: tls/ca.crt}}
    clientAuthRequired: true
  gossip:
    bootstrap: 127.0.0.1:{bootstrap}
    externalEndpoint: 127.0.0.1:{gossip}
    useLeaderElection: true
operations: {{listenAddress: '127.0.0.1:{operations}'}}
gossipPeer:
  dataDir: data
  relay: {{listenAddress: '127.0.0.1:{relay}'}}
  channels: [{{genesis: {}}}]
",
            genesis.display()
        );
        fs::write(home.join("core.yaml"), yaml).unwrap();
        let config = home.join("core.yaml").display().to_string();
        let process = Process::start(&home, name, &["node", "start", "--config", &config]);
        let relay = format!("127.0.0.1:{relay}");
        self.peers.push(Peer { process, home, org, operations, relay });
    }

    fn client(&self, what: &str, home: &str, org: u8, address: &str, more: &[&str]) -> Output {
        let home = self.dir.join(home).display().to_string();
        let msp_id = format!("Org{org}MSP");
        let genesis = self.dir.join("genesis.block").display().to_string();
        let args = [
            "dev",
            what,
            "--home",
            &home,
            "--msp-id",
            &msp_id,
            "--genesis",
            &genesis,
            "--address",
            address,
            "--json",
        ];
        run(&[&args[..], more].concat())
    }

    fn submit(&self, count: u32) {
        let count = count.to_string();
        let home = "users/admin.org1.test";
        let sent = self.client("submit", home, 1, &self.address, &["--count", &count]);
        assert!(sent.status.success(), "{}", String::from_utf8_lossy(&sent.stderr));
    }

    fn wait_for_height(&mut self, height: u64) {
        for peer in &mut self.peers {
            let operations = peer.operations;
            wait_for(&format!("height {height}"), &mut peer.process, || {
                status(operations).is_some_and(|status| status["channels"][0]["height"] == height)
            });
        }
    }
}

fn gossip_port(home: &Path) -> u16 {
    let yaml = fs::read_to_string(home.join("core.yaml")).unwrap();
    let line = yaml.lines().find(|line| line.contains("listenAddress")).unwrap();
    line.rsplit(':').next().unwrap().parse().unwrap()
}

fn status(operations: u16) -> Option<Value> {
    serde_json::from_str(&get(operations, "/status")?).ok()
}

fn get(operations: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, operations)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: peer\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer.split_once("\r\n\r\n")?.1.to_owned())
}

/// Bytes that a peer has sent to an organisation so far.
fn sent_to(operations: u16, org: &str) -> u64 {
    let metrics = get(operations, "/metrics").unwrap();
    let name = format!("gossip_bytes_sent{{org=\"{org}\"}} ");
    let value = metrics.lines().find_map(|line| line.strip_prefix(&name));
    value.map_or(0, |value| value.parse().unwrap())
}

#[expect(clippy::disallowed_methods, reason = "polls another process, with a deadline")]
fn wait_for(what: &str, process: &mut Process, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while !holds() {
        process.ensure_runs(what);
        assert!(Instant::now() < deadline, "no {what} in time:\n{}", process.log());
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn answer(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn refusal(output: &Output) -> String {
    assert!(!output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn blocks_of_the_ordering_service_reach_peers_a_new_organisation_and_clients_of_the_relay() {
    let root = tempfile::tempdir().unwrap();
    let mut network = Network::new(root.path(), &["--orgs", "2", "--peers", "2"]);
    network.start_orderer();
    network.start_peer("peer0.org1.test", 1);
    network.start_peer("peer1.org1.test", 1);
    network.submit(10);
    network.wait_for_height(4);

    // The orderer ends and comes back; it has what it had, and its clients find it again.
    assert!(network.orderer.as_mut().unwrap().stop());
    network.start_orderer();
    network.submit(4);
    network.wait_for_height(5);

    let dir = network.dir.display().to_string();
    let address = network.address.clone();
    let added = run(&["dev", "add-org", "--dir", &dir, "--org", "3", "--orderer", &address]);
    assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
    network.wait_for_height(6);
    network.start_peer("peer0.org3.test", 3);
    network.submit(1);
    network.wait_for_height(7);

    // The newcomer reads from the relay of another organisation's peer, and all of it is genuine.
    let blocks = root.path().join("blocks");
    fs::create_dir(&blocks).unwrap();
    let out = blocks.display().to_string();
    let relay = network.peers[0].relay.clone();
    let newcomer = "peers/peer0.org3.test";
    let read = network.client("fetch", newcomer, 3, &relay, &["--out", &out, "--to", "6"]);
    assert_eq!(answer(&read)["blocks"], 7);
    for peer in &mut network.peers {
        assert!(peer.process.stop(), "{}", peer.process.log());
        let config = peer.home.join("core.yaml").display().to_string();
        let args = ["ledger", "check", "--channel", "trade", "--json", "--config", &config];
        let verdict = answer(&run(&[&args[..], &["--against", &out]].concat()));
        for key in ["chain_ok", "identical", "complete"] {
            assert_eq!(verdict[key], true, "{key}: {verdict}");
        }
    }
}

#[test]
fn clients_without_rights_are_refused_and_told_why() {
    let root = tempfile::tempdir().unwrap();
    let mut network = Network::new(root.path(), &["--orgs", "1", "--peers", "2"]);
    let stranger = tempfile::tempdir().unwrap();
    let other = Network::new(stranger.path(), &["--orgs", "1", "--peers", "1"]);
    network.start_orderer();
    network.start_peer("peer0.org1.test", 1);
    network.wait_for_height(1);
    let relay = network.peers[0].relay.clone();

    // A peer may read and not write.
    let address = network.address.clone();
    let wrote = network.client("submit", "peers/peer1.org1.test", 1, &address, &[]);
    assert!(refusal(&wrote).contains("403"), "{wrote:?}");
    let read = network.client("fetch", "peers/peer1.org1.test", 1, &address, &[]);
    assert_eq!(answer(&read)["blocks"], 1);
    // A relay orders nothing.
    let wrote = network.client("submit", "users/admin.org1.test", 1, &relay, &[]);
    assert!(refusal(&wrote).contains("orders nothing"), "{wrote:?}");
    // Somebody else's organisation of the same name has no certificate that either believes.
    let home = other.dir.join("peers/peer0.org1.test").display().to_string();
    for address in [&address, &relay] {
        let read = network.client("fetch", &home, 1, address, &["--within", "20"]);
        refusal(&read);
    }
}

#[test]
fn a_second_orderer_on_one_data_directory_is_told_so() {
    let root = tempfile::tempdir().unwrap();
    let mut network = Network::new(root.path(), &["--orgs", "1", "--peers", "1"]);
    network.start_orderer();
    let home = network.dir.join("orderer").display().to_string();
    let listen = format!("127.0.0.1:{}", tcp_port());
    let second = run(&["dev-orderer", "--home", &home, "--listen", &listen]);
    assert_eq!(second.status.code(), Some(2));
    assert!(refusal(&second).contains("data"), "{second:?}");
    network.submit(1);
    let orderer = network.orderer.as_mut().unwrap();
    assert!(orderer.stop(), "{}", orderer.log());
}

#[test]
fn an_orderer_with_a_full_disk_says_so_and_loses_nothing_that_it_stored() {
    let root = tempfile::tempdir().unwrap();
    let mut network = Network::new(root.path(), &["--orgs", "1", "--peers", "1"]);
    network.start_orderer();
    network.submit(4);
    assert!(network.orderer.as_mut().unwrap().stop());
    // From here on no file may grow beyond what the store has now, and a bit.
    let home = network.dir.join("orderer");
    let len = fs::metadata(home.join("data/trade.redb")).unwrap().len();
    let script = format!(
        "trap '' XFSZ; ulimit -f {}; exec '{BINARY}' dev-orderer --client-auth --home '{}' --listen {}",
        len.div_ceil(512) + 64,
        home.display(),
        network.address
    );
    let log = fs::File::create(root.path().join("full")).unwrap();
    let child = Command::new("sh").args(["-c", &script]).stderr(log).spawn().unwrap();
    let log = root.path().join("full");
    let mut orderer = Process { name: "the full orderer".into(), log, child: Some(child) };
    let address = network.address.clone();
    wait_for("the orderer to listen", &mut orderer, || TcpStream::connect(&address).is_ok());
    let home = "users/admin.org1.test";
    let more = ["--count", "8", "--bytes", "1000000"];
    let sent = network.client("submit", home, 1, &address, &more);
    assert!(sent.status.success(), "accepted, not stored: {sent:?}");
    let log = orderer.log.clone();
    wait_for("word of the full disk", &mut orderer, || {
        fs::read_to_string(&log).unwrap().contains("cannot store a block")
    });
    orderer.kill();
    network.start_orderer();
    let read = network.client("fetch", "peers/peer0.org1.test", 1, &address, &["--to", "1"]);
    assert_eq!(answer(&read)["blocks"], 2);
}

#[test]
fn a_removed_organisation_gets_not_one_byte_more_of_peers_nor_of_the_relay() {
    let root = tempfile::tempdir().unwrap();
    let mut network = Network::new(root.path(), &["--orgs", "2", "--peers", "1"]);
    network.start_orderer();
    network.start_peer("peer0.org1.test", 1);
    network.start_peer("peer0.org2.test", 2);
    network.submit(8);
    network.wait_for_height(3);
    let (stays, relay) = (network.peers[0].operations, network.peers[0].relay.clone());
    let read = network.client("fetch", "peers/peer0.org2.test", 2, &relay, &[]);
    assert_eq!(answer(&read)["blocks"], 3, "a member reads");

    let (dir, address) = (network.dir.display().to_string(), network.address.clone());
    let removed = run(&["dev", "remove-org", "--dir", &dir, "--org", "2", "--orderer", &address]);
    assert!(removed.status.success(), "{}", String::from_utf8_lossy(&removed.stderr));
    let log = network.peers[0].process.log.clone();
    wait_for("the removal", &mut network.peers[0].process, || {
        fs::read_to_string(&log).unwrap().contains("configuration applied")
            && status(stays).is_some_and(|status| status["connections"] == 0)
    });
    let before = sent_to(stays, "Org2MSP");
    network.submit(40);
    wait_for("more blocks", &mut network.peers[0].process, || {
        status(stays).is_some_and(|status| status["channels"][0]["height"] == 14)
    });
    assert_eq!(sent_to(stays, "Org2MSP"), before, "bytes after the removal");
    let height = status(network.peers[1].operations).unwrap()["channels"][0]["height"].clone();
    assert!(height.as_u64().unwrap() <= 4, "it has blocks of after its removal: {height}");
    let more = ["--within", "20"];
    refusal(&network.client("fetch", "peers/peer0.org2.test", 2, &relay, &more));
    refusal(&network.client("fetch", "peers/peer0.org2.test", 2, &address, &more));
}

#[test]
fn a_renewed_identity_is_taken_over_without_a_new_process() {
    let root = tempfile::tempdir().unwrap();
    let mut network = Network::new(root.path(), &["--orgs", "1", "--peers", "3"]);
    network.start_orderer();
    network.start_peer("peer0.org1.test", 1);
    network.start_peer("peer1.org1.test", 1);
    network.submit(4);
    network.wait_for_height(2);
    let (renews, other) = (network.peers[0].operations, network.peers[1].operations);
    let name = |operations| status(operations).map(|status| status["pki_id"].clone());
    let old = name(renews).unwrap();

    // What the authority has issued anew: another key, another certificate, the same organisation.
    let msp = network.peers[0].home.join("msp");
    let issued = network.dir.join("peers/peer2.org1.test/msp");
    for dir in ["signcerts", "keystore"] {
        fs::remove_dir_all(msp.join(dir)).unwrap();
        fs::rename(issued.join(dir), msp.join(dir)).unwrap();
    }
    let pid = network.peers[0].process.child.as_ref().unwrap().id().to_string();
    assert!(Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
    let is_renewed = || name(renews).is_some_and(|now| now != old);
    wait_for("the new identity", &mut network.peers[0].process, is_renewed);
    let new = name(renews).unwrap();
    wait_for("word of it", &mut network.peers[1].process, || {
        status(other).is_some_and(|status| status["members"].to_string().contains(&new.to_string()))
    });
    network.submit(8);
    network.wait_for_height(4);
    let relay = network.peers[0].relay.clone();
    let read = network.client("fetch", "users/admin.org1.test", 1, &relay, &[]);
    assert_eq!(answer(&read)["blocks"], 4, "the relay serves on");
    for peer in &mut network.peers {
        assert!(peer.process.stop(), "{}", peer.process.log());
    }
}
