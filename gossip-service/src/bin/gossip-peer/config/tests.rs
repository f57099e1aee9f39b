//! What operators write, and what they are told.

use std::path::Path;
use std::time::Duration;

use gossip_service::node::SpreadMode;

use super::{Config, Failure, Leadership, parse};

const GOOD: &str = "
peer:
  id: peer0
  networkId: test
  listenAddress: 127.0.0.1:7051
  address: 127.0.0.1:7051
  localMspId: Org1MSP
  mspConfigPath: msp
  tls:
    enabled: true
    cert: {file: tls/server.crt}
    key: {file: tls/server.key}
  gossip:
    bootstrap: 127.0.0.1:7051 127.0.0.1:8051
    orgLeader: true
    pullInterval: 4s
    endpoint:
  BCCSP:
    Default: SW
operations:
  listenAddress: 127.0.0.1:9443
gossipPeer:
  dataDir: data
  channels: [{genesis: trade.block, source: {file: blocks}}]
ledger:
  state: {stateDatabase: goleveldb}
";

fn read(yaml: &str, environment: &[(&str, &str)]) -> Result<Config, Failure> {
    let environment = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    parse(yaml, environment, Path::new("/etc/gossip"))
}

fn refusal(yaml: &str, environment: &[(&str, &str)]) -> String {
    read(yaml, environment).expect_err("must be refused").0
}

#[test]
fn a_fabric_file_is_read_and_what_is_not_ours_is_named() {
    let config = read(GOOD, &[]).expect("good");
    assert_eq!(config.bootstrap.len(), 2);
    assert_eq!(config.timings.pull_every, Some(Duration::from_secs(4)));
    assert_eq!(config.msp_dir, Path::new("/etc/gossip/msp"));
    assert_eq!(config.leadership, Leadership::Named(true));
    assert!(config.external_endpoint.is_none());
    assert_eq!(config.notices.foreign, ["ledger", "peer.BCCSP"]);
}

#[test]
fn the_environment_wins_in_any_case() {
    let config = read(
        GOOD,
        &[
            ("CORE_PEER_GOSSIP_PULLINTERVAL", "9s"),
            ("CORE_PEER_GOSSIP_BOOTSTRAP", "a:1 b:2 c:3"),
            ("CORE_LEDGER_X", "y"),
            ("PATH", "/bin"),
        ],
    )
    .expect("good");
    assert_eq!(config.timings.pull_every, Some(Duration::from_secs(9)));
    assert_eq!(config.bootstrap.len(), 3);
    assert!(config.notices.foreign.contains(&"CORE_LEDGER_X".to_owned()));
}

#[test]
fn blocks_spread_header_first_unless_another_known_way_is_named() {
    assert_eq!(read(GOOD, &[]).expect("good").spread_mode, SpreadMode::HeaderFirst);
    let push = GOOD.replace("  dataDir: data", "  dataDir: data\n  spread: {mode: push}");
    assert_eq!(read(&push, &[]).expect("good").spread_mode, SpreadMode::Push);
    let other = push.replace("mode: push", "mode: flood");
    assert!(refusal(&other, &[]).contains("gossipPeer.spread.mode is flood"));
    let frugal = push.replace("mode: push", "mode: coded, redundancyPercent: 120");
    let config = read(&frugal, &[]).expect("good");
    assert_eq!((config.spread_mode, config.redundancy_max), (SpreadMode::Coded, Some(120)));
    let lavish = push.replace("mode: push", "mode: auto, redundancyPercent: 300");
    assert!(refusal(&lavish, &[]).contains("gossipPeer.spread.redundancyPercent is 300"));
}

#[test]
fn unknown_keys_of_strict_sections_stop_the_start() {
    for (from, to, word) in [
        ("pullInterval: 4s", "pulInterval: 4s", "peer.gossip.pulInterval"),
        ("listenAddress: 127.0.0.1:9443", "listen: x", "operations.listen"),
        ("dataDir: data", "dataDirectory: data", "gossipPeer.dataDirectory"),
        ("genesis: trade.block", "genesisBlock: trade.block", "genesisBlock"),
    ] {
        let told = refusal(&GOOD.replace(from, to), &[]);
        assert!(told.contains(word), "{told}");
    }
    let told = refusal(GOOD, &[("CORE_PEER_GOSSIP_NOSUCHKEY", "1")]);
    assert!(told.contains("CORE_PEER_GOSSIP_NOSUCHKEY"), "{told}");
}

#[test]
fn bad_values_are_named_with_their_key() {
    for (from, to, word) in [
        ("pullInterval: 4s", "pullInterval: 4 seconds", "peer.gossip.pullInterval"),
        ("orgLeader: true", "orgLeader: maybe", "peer.gossip.orgLeader"),
        ("listenAddress: 127.0.0.1:7051", "listenAddress: localhost", "peer.listenAddress"),
        ("bootstrap: 127.0.0.1:7051 127.0.0.1:8051", "bootstrap: nowhere", "peer.gossip.bootstrap"),
        ("listenAddress: 127.0.0.1:9443", "listenAddress: 0.0.0.0:9443", "loopback"),
        ("  localMspId: Org1MSP\n", "", "peer.localMspId"),
        ("enabled: true", "enabled: false", "peer.tls.enabled"),
        ("orgLeader: true", "skipBlockVerification: true", "skipBlockVerification"),
        ("orgLeader: true", "orgLeader: true\n    useLeaderElection: true", "useLeaderElection"),
        ("peer:", "peer: [", "YAML"),
    ] {
        let told = refusal(&GOOD.replace(from, to), &[]);
        assert!(told.contains(word), "{told}");
    }
}

#[test]
fn zero_means_the_default_as_in_fabric() {
    let config = read(&GOOD.replace("pullInterval: 4s", "pullInterval: 0s"), &[]).expect("good");
    assert_eq!(config.timings.pull_every, None);
}

#[test]
fn a_leader_is_elected_unless_it_is_named_or_nobody_is() {
    let with = |lines: &str| {
        let yaml = GOOD.replace("    orgLeader: true\n", lines);
        read(&yaml, &[]).expect("good").leadership
    };
    assert_eq!(with(""), Leadership::Elected);
    assert_eq!(with("    useLeaderElection: true\n    orgLeader: false\n"), Leadership::Elected);
    assert_eq!(with("    orgLeader: false\n"), Leadership::Elected);
    let nobody = "    useLeaderElection: false\n    orgLeader: false\n";
    assert_eq!(with(nobody), Leadership::Named(false));
}
