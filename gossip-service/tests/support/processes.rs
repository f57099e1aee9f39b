//! Peers as processes, with genuine identities, and what operators ask them.
#![allow(dead_code, unreachable_pub, reason = "each test uses its part")]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_gossip-peer");

pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../peer-mcs/tests/fixtures")
}

pub fn genesis() -> PathBuf {
    fixtures().join("trade/genesis.block")
}

/// Two ports that were free a moment ago.
fn ports() -> (u16, u16) {
    let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    (udp.local_addr().unwrap().port(), tcp.local_addr().unwrap().port())
}

pub fn copy_private(from: &Path, to: &Path) {
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

/// One peer's directory and ports. Its process ends with the value.
pub struct Peer {
    pub home: PathBuf,
    pub gossip: u16,
    pub operations: u16,
    process: Option<Child>,
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// An answer of the operations endpoint.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }
}

impl Peer {
    /// Lays out peer `number` of org1, that knows the peer at `bootstrap`. Each of `channels` is an entry
    /// of `gossipPeer.channels`; `operations` comes behind the operations address.
    pub fn new(
        root: &Path,
        number: u8,
        bootstrap: Option<u16>,
        channels: &str,
        operations: &str,
    ) -> Self {
        let name = format!("peer{number}.org1.test");
        let home = root.join(&name);
        let identity = fixtures().join("crypto/peerOrganizations/org1.test/peers").join(&name);
        copy_private(&identity, &home);
        let (gossip, port) = ports();
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
    orgLeader: {}
    useLeaderElection: false
operations:
  listenAddress: 127.0.0.1:{port}
{operations}
gossipPeer:
  dataDir: data
  channels: [{channels}]
",
            bootstrap.unwrap_or(gossip),
            bootstrap.is_none(),
        );
        fs::write(home.join("core.yaml"), yaml).unwrap();
        Self { home, gossip, operations: port, process: None }
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(BINARY);
        command.args(args).arg("--config").arg(self.home.join("core.yaml")).env_clear();
        command
    }

    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Runs a command that must succeed; returns what it printed.
    pub fn told(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {error}\n{}", self.log());
        String::from_utf8(output.stdout).unwrap()
    }

    /// Changes the configuration.
    pub fn edit(&self, from: &str, to: &str) {
        let file = self.home.join("core.yaml");
        let yaml = fs::read_to_string(&file).unwrap();
        assert!(yaml.contains(from), "{from}");
        fs::write(&file, yaml.replace(from, to)).unwrap();
    }

    pub fn start(&mut self) {
        let command = self.command(&["node", "start"]);
        self.spawn(command);
    }

    /// Starts it with files that cannot grow beyond so many blocks of 512 bytes: a full disk.
    pub fn start_limited(&mut self, blocks: u32) {
        let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$@\"");
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(script).arg("sh").arg(BINARY).args(["node", "start", "--config"]);
        command.arg(self.home.join("core.yaml")).env_clear();
        self.spawn(command);
    }

    fn spawn(&mut self, mut command: Command) {
        let log =
            fs::File::options().create(true).append(true).open(self.home.join("log")).unwrap();
        self.process = Some(command.stderr(log).stdout(Stdio::null()).spawn().unwrap());
    }

    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    pub fn signal(&self, signal: &str) {
        let pid = self.process.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    /// SIGTERM; returns how long it took to end, and whether it ended well.
    pub fn stop(&mut self) -> (Duration, bool) {
        let since = Instant::now();
        self.signal("-TERM");
        let status = self.process.take().unwrap().wait().unwrap();
        (since.elapsed(), status.success())
    }

    /// Asks the operations endpoint, in plain HTTP.
    pub fn ask(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> Option<Answer> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.operations)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(30))).ok()?;
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: peer\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n"
        )
        .ok()?;
        // A server may refuse before it has read everything.
        let _ = stream.write_all(body);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8(answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some(Answer { status, body: body.to_owned() })
    }

    pub fn get(&self, path: &str) -> Option<Answer> {
        self.ask("GET", path, "", b"")
    }

    pub fn height(&self) -> u64 {
        self.get("/status")
            .and_then(|answer| answer.json()["channels"][0]["height"].as_u64())
            .unwrap_or(0)
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.home.join("log")).unwrap_or_default()
    }

    #[expect(clippy::disallowed_methods, reason = "polls another process, with a deadline")]
    /// Waits until `holds`; a peer that ends meanwhile, or two minutes, fail the test with its log.
    pub fn wait_until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(120);
        while !holds(self) {
            let ended = self.process.as_mut().is_none_or(|p| p.try_wait().unwrap().is_some());
            assert!(!ended, "the peer ended before {what}:\n{}", self.log());
            assert!(Instant::now() < deadline, "no {what} in time:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub fn wait_started(&mut self) {
        self.wait_until("start", |peer| peer.get("/version").is_some());
    }
}

/// Puts blocks `range` into the source, as an orderer would: each at once or not at all.
pub fn feed(source: &Path, range: std::ops::RangeInclusive<u64>) {
    fs::create_dir_all(source).unwrap();
    for number in range {
        let name = format!("block_{number:06}.pb");
        let bytes = fs::read(fixtures().join("trade/blocks").join(&name)).unwrap();
        fs::write(source.join("coming"), bytes).unwrap();
        fs::rename(source.join("coming"), source.join(&name)).unwrap();
    }
}

/// An entry of `gossipPeer.channels` that takes blocks from a directory.
pub fn trade_from(source: &Path) -> String {
    format!("{{genesis: {}, source: {{file: {}}}}}", genesis().display(), source.display())
}
