//! What operators ask a running peer, and what they are told.
#![cfg(feature = "peer")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

#[path = "support/processes.rs"]
mod processes;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use processes::{Peer, feed, fixtures, genesis, trade_from};
use serde_json::Value;

const CHANNELS: &str = "/participation/v1/channels";
const RAW: &str = "Content-Type: application/octet-stream\r\n";

#[test]
fn a_channel_is_joined_and_left_while_the_peer_runs_and_the_next_start_does_the_same() {
    let root = tempfile::tempdir().unwrap();
    let source = root.path().join("source");
    feed(&source, 0..=5);
    let mut first = Peer::new(root.path(), 0, None, &trade_from(&source), "");
    let mut second = Peer::new(root.path(), 1, Some(first.gossip), "", "");
    first.start();
    second.start();
    second.wait_started();
    assert_eq!(second.told(&["channel", "list"]).trim(), "");
    let genesis = genesis().display().to_string();
    let told = second.told(&["channel", "join", "--genesis", &genesis]);
    assert!(told.starts_with("joined trade: height "), "{told}");
    second.wait_until("the blocks", |peer| peer.height() == 6);
    assert_eq!(second.told(&["channel", "list"]).trim(), "trade");
    let info: Value =
        serde_json::from_str(&second.told(&["channel", "info", "trade", "--json"])).unwrap();
    assert_eq!((&info["height"], &info["status"]), (&6.into(), &"active".into()));

    assert!(second.stop().1, "{}", second.log());
    second.start();
    second.wait_until("the channel again", |peer| peer.height() == 6);

    assert_eq!(second.told(&["channel", "leave", "trade"]).trim(), "left trade");
    let gone = second.run(&["channel", "info", "trade"]);
    assert_eq!(gone.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&gone.stderr).contains("trade is not joined"));
    first.wait_until("nobody in the channel", |peer| {
        peer.get("/status").is_some_and(|s| s.json()["channels"][0]["neighbours"] == 0)
    });
    feed(&source, 6..=8);
    first.wait_until("more blocks", |peer| peer.height() == 9);
    assert!(second.stop().1, "{}", second.log());
    second.start();
    second.wait_started();
    assert_eq!(second.told(&["channel", "list"]).trim(), "", "it stays left");
    second.told(&["channel", "join", "--genesis", &genesis]);
    second.wait_until("what it missed", |peer| peer.height() == 9);

    // A channel that the configuration names can be left too.
    first.told(&["channel", "leave", "trade"]);
    assert!(first.stop().1);
    first.start();
    first.wait_started();
    assert_eq!(first.told(&["channel", "list"]).trim(), "");
    assert!(first.log().contains("was left while the peer ran"));
}

#[test]
fn malformed_joins_are_refused_with_a_reason_and_change_nothing() {
    let root = tempfile::tempdir().unwrap();
    let mut peer = Peer::new(root.path(), 0, None, "", "");
    peer.start();
    peer.wait_started();
    let genesis = fs::read(genesis()).unwrap();
    let later = fs::read(fixtures().join("trade/blocks/block_000003.pb")).unwrap();
    let form = |field: &str, body: &[u8]| {
        let head = format!("--B\r\nContent-Disposition: form-data; name=\"{field}\"\r\n\r\n");
        [head.as_bytes(), body, b"\r\n--B--\r\n"].concat()
    };
    let multipart = "Content-Type: multipart/form-data; boundary=B\r\n";
    let cut = &form("config-block", &genesis)[..200];
    for (headers, body, status, word) in [
        (RAW, b"".as_slice(), 400, "no block"),
        (RAW, b"rubbish", 400, "no block"),
        (RAW, &later, 400, "genesis block"),
        ("", &genesis, 415, "content type"),
        ("Content-Type: text/plain\r\n", &genesis, 415, "content type"),
        (multipart, &form("other", &genesis), 400, "config-block"),
        (multipart, cut, 400, ""),
        (multipart, b"", 400, ""),
        ("Content-Type: multipart/form-data\r\n", &genesis, 400, "boundary"),
        (&format!("{RAW}Origin: http://example.org\r\n"), &genesis, 403, "browsers"),
    ] {
        let answer = peer.ask("POST", CHANNELS, headers, body).unwrap();
        assert_eq!(answer.status, status, "{headers} {answer:?}");
        let reason = answer.json()["error"].as_str().unwrap().to_owned();
        assert!(reason.contains(word), "{word}: {reason}");
    }
    let long = vec![0; 17 << 20];
    let answer = peer.ask("POST", CHANNELS, RAW, &long);
    assert!(answer.is_none_or(|answer| (400..500).contains(&answer.status)));
    assert_eq!(peer.get(CHANNELS).unwrap().json()["channels"], Value::Array(Vec::new()));
    assert_eq!(fs::read_dir(peer.home.join("data/channels")).unwrap().count(), 0);

    let answer = peer.ask("POST", CHANNELS, multipart, &form("config-block", &genesis)).unwrap();
    assert_eq!((answer.status, &answer.json()["name"]), (201, &"trade".into()));
    let again = peer.ask("POST", CHANNELS, RAW, &genesis).unwrap();
    assert_eq!(again.status, 405, "{again:?}");
    assert_eq!(peer.get(&format!("{CHANNELS}/other")).unwrap().status, 404);
    let unknown = peer.ask("DELETE", &format!("{CHANNELS}/other"), "", b"").unwrap();
    assert_eq!(unknown.status, 404);
    let left = peer.ask("DELETE", &format!("{CHANNELS}/trade"), "", b"").unwrap();
    assert_eq!(left.status, 204);
}

#[test]
fn log_levels_change_while_the_peer_runs_and_rubbish_changes_nothing() {
    let root = tempfile::tempdir().unwrap();
    let mut peer = Peer::new(root.path(), 0, None, "", "");
    peer.start();
    peer.wait_started();
    assert_eq!(peer.get("/logspec").unwrap().json()["spec"], "info");
    let put = |body: &str| peer.ask("PUT", "/logspec", "", body.as_bytes()).unwrap().status;
    assert_eq!(put(r#"{"spec": "gossip.state=debug:warn"}"#), 204);
    for rubbish in [r#"{"spec": "loud"}"#, r#"{"level": "debug"}"#, "debug", ""] {
        assert_eq!(put(rubbish), 400, "{rubbish}");
    }
    assert_eq!(peer.get("/logspec").unwrap().json()["spec"], "gossip.state=debug:warn");
    // The file is read again at SIGHUP.
    peer.edit("  dataDir: data", "  dataDir: data\n  logging: {spec: debug}");
    peer.signal("-HUP");
    peer.wait_until("the new level", |peer| {
        peer.get("/logspec").is_some_and(|answer| answer.json()["spec"] == "debug")
    });
}

#[test]
fn health_metrics_and_version_have_fabrics_paths_and_names() {
    let root = tempfile::tempdir().unwrap();
    let source = root.path().join("source");
    feed(&source, 0..=5);
    let mut first = Peer::new(root.path(), 0, None, &trade_from(&source), "");
    let plain = format!("{{genesis: {}}}", genesis().display());
    let mut second = Peer::new(root.path(), 1, Some(first.gossip), &plain, "");
    first.start();
    second.start();
    second.wait_until("the blocks", |peer| peer.height() == 6);
    assert_eq!(second.get("/healthz").unwrap().json()["status"], "OK");
    assert!(second.get("/version").unwrap().json()["Version"].is_string());
    second.wait_until("the gauges", |peer| {
        let metrics = peer.get("/metrics").unwrap().body;
        metrics.contains("gossip_state_height{channel=\"trade\"} 6")
    });
    let metrics = second.get("/metrics").unwrap().body;
    for name in [
        "gossip_state_commit_duration",
        "gossip_payload_buffer_size",
        "gossip_membership_total_peers_known{channel=\"trade\"}",
        "gossip_leader_election_leader{channel=\"trade\"} 0",
        "gossip_comm_messages_sent",
        "gossip_comm_messages_received",
        "gossip_comm_overflow_count",
        "gossip_block_copies_received{channel=\"trade\"}",
        "gossip_block_propagation_duration",
        "gossip_bytes_received{org=\"Org1MSP\"}",
        "gossip_discovery_members_alive 1",
        "gossip_bytes_sent{org=\"Org1MSP\"}",
    ] {
        assert!(metrics.contains(name), "{name} is missing in\n{metrics}");
    }
}

#[test]
fn the_status_tells_who_leads_how_far_behind_we_are_and_why() {
    let root = tempfile::tempdir().unwrap();
    let source = root.path().join("source");
    feed(&source, 0..=5);
    let mut peer = Peer::new(root.path(), 0, None, &trade_from(&source), "");
    peer.start();
    peer.wait_until("the blocks", |peer| peer.height() == 6);
    let text = peer.told(&["status"]);
    for part in ["height 6, proved 6, 0 behind; leads since", "0 peers", "being read"] {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
    let report: Value = serde_json::from_str(&peer.told(&["status", "--json"])).unwrap();
    let channel = &report["channels"][0];
    assert_eq!((&channel["proved"], &channel["lag"]), (&6.into(), &0.into()));
    assert!(channel["source"].as_str().unwrap().ends_with("source"));
    assert!(report["uptime_s"].as_f64().unwrap() > 0.0);
}

#[test]
fn operations_over_tls_take_a_client_certificate() {
    let root = tempfile::tempdir().unwrap();
    let tls = "  tls:
    enabled: true
    cert: {file: tls/server.crt}
    key: {file: tls/server.key}
    clientRootCAs: {files: [tls/ca.crt]}";
    let mut peer = Peer::new(root.path(), 0, None, "", tls);
    peer.start();
    peer.wait_until("a status", |peer| peer.run(&["status"]).status.success());
    assert!(peer.get("/status").is_none(), "plain HTTP is not answered");
    let bare = std::process::Command::new("curl")
        .args(["-sk", "--max-time", "10", "-o", "/dev/null", "-w", "%{http_code}"])
        .arg(format!("https://127.0.0.1:{}/status", peer.operations))
        .output();
    if let Ok(bare) = bare {
        assert!(!bare.status.success(), "a client without certificate: {bare:?}");
    }
    let told = peer.told(&["channel", "join", "--genesis", &genesis().display().to_string()]);
    assert!(told.contains("trade"), "{told}");
    // Another endpoint's certificate is not believed, whoever issued it.
    let other = Peer::new(root.path(), 1, None, "", tls);
    other.edit(
        &format!("listenAddress: 127.0.0.1:{}", other.operations),
        &format!("listenAddress: 127.0.0.1:{}", peer.operations),
    );
    assert_eq!(other.run(&["status"]).status.code(), Some(1));
    let (took, well) = peer.stop();
    assert!(well && took < Duration::from_secs(1), "took {took:?}");
}

#[test]
fn an_address_that_others_reach_takes_tls_with_clients_certificates() {
    let root = tempfile::tempdir().unwrap();
    for (operations, word) in [
        ("", "loopback"),
        (
            "  tls: {enabled: true, cert: {file: tls/server.crt}, key: {file: tls/server.key}}",
            "clientRootCAs",
        ),
        (
            "  tls: {enabled: true, clientAuthRequired: false, cert: {file: tls/server.crt}, key: {file: tls/server.key}, clientRootCAs: {files: [tls/ca.crt]}}",
            "clientAuthRequired",
        ),
        (
            "  tls: {enabled: true, cert: {file: tls/server.crt}, key: {file: tls/nosuch.key}, clientRootCAs: {files: [tls/ca.crt]}}",
            "nosuch.key",
        ),
    ] {
        let peer = Peer::new(root.path(), 0, None, "", operations);
        peer.edit(&format!("127.0.0.1:{}", peer.operations), "0.0.0.0:9443");
        for args in [["node", "start"], ["config", "check"]] {
            let output = peer.run(&args);
            let told = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(2), "{told}");
            assert!(told.contains(word), "{word}: {told}");
            assert_eq!(told.lines().count(), 1, "one sentence: {told}");
        }
    }
}

#[test]
fn sighup_reads_certificates_again_and_keeps_the_old_ones_if_the_new_ones_cannot_be_used() {
    let root = tempfile::tempdir().unwrap();
    let mut peer = Peer::new(root.path(), 0, None, "", "");
    peer.start();
    peer.wait_started();
    peer.edit("gossipPeer:\n", "gossipPeer:\n  logging: {spec: 'gossip.state=debug:info'}\n");
    peer.signal("-HUP");
    peer.wait_until("the reload", |peer| peer.log().contains("read again"));
    let spec = |peer: &Peer| peer.get("/logspec").unwrap().json()["spec"].clone();
    let levels = spec(&peer);
    assert!(levels.as_str().unwrap().contains("debug"), "{levels}");
    let cert = peer.home.join("tls/server.crt");
    let good = fs::read(&cert).unwrap();
    fs::write(&cert, "rubbish").unwrap();
    peer.signal("-HUP");
    peer.wait_until("the complaint", |peer| peer.log().contains("the rest is as it was"));
    peer.edit("gossip.state=debug", "gossip.state=warn");
    peer.signal("-HUP");
    peer.wait_until("two complaints", |peer| {
        peer.log().matches("the rest is as it was").count() > 1
    });
    assert!(peer.log().contains("server.crt"), "the file is named:\n{}", peer.log());
    assert_eq!(spec(&peer), levels, "what cannot be used as a whole changes nothing");
    fs::write(&cert, good).unwrap();
    peer.signal("-HUP");
    peer.wait_until("the good ones", |peer| peer.log().matches("read again").count() > 3);
    assert_ne!(spec(&peer), levels);
    assert_eq!(peer.get("/healthz").unwrap().status, 200);
    let (took, well) = peer.stop();
    assert!(well && took < Duration::from_secs(1), "took {took:?}\n{}", peer.log());
}

#[test]
fn a_full_disk_is_told_loses_nothing_and_passes() {
    let root = tempfile::tempdir().unwrap();
    let source = root.path().join("source");
    feed(&source, 0..=54);
    let mut peer = Peer::new(root.path(), 0, None, &trade_from(&source), "");
    peer.start();
    peer.wait_until("the first blocks", |peer| peer.height() == 55);
    assert!(peer.stop().1);
    let full = fs::metadata(peer.home.join("data/trade.redb")).unwrap().len();
    fs::remove_dir_all(peer.home.join("data")).unwrap();
    // Room for half of it.
    peer.start_limited(u32::try_from(full / 2 / 512).unwrap());
    peer.wait_until("the full disk", |peer| {
        peer.get("/healthz").is_some_and(|answer| answer.status == 503)
    });
    let failed = peer.get("/healthz").unwrap().json();
    assert_eq!(failed["failed_checks"][0]["component"], "channel trade", "{failed}");
    assert!(peer.height() < 55);
    peer.stop();
    peer.start();
    peer.wait_until("all blocks once there is room", |peer| peer.height() == 55);
    assert!(peer.stop().1);
    let against = source.display().to_string();
    let told = peer.told(&["ledger", "check", "--channel", "trade", "--against", &against]);
    assert!(told.contains("chain intact, identical true, complete true"), "{told}");
}

#[test]
fn the_doctor_names_what_is_wrong_and_what_to_do() {
    let root = tempfile::tempdir().unwrap();
    let mut peer = Peer::new(root.path(), 0, None, "", "");
    let findings = |peer: &Peer| {
        let output = peer.run(&["doctor", "--json"]);
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        (output.status.code().unwrap(), report)
    };
    let has = |report: &Value, about: &str, verdict: &str| {
        let findings = report["findings"].as_array().unwrap();
        findings.iter().any(|f| f["about"] == about && f["verdict"] == verdict)
    };
    let (code, report) = findings(&peer);
    assert_eq!(code, 0, "{report}");
    for about in ["config", "identity", "certificates", "roots", "clock", "endpoints"] {
        assert!(has(&report, about, "ok"), "{about}: {report}");
    }
    assert!(has(&report, "neighbours", "warn"), "it does not run: {report}");
    peer.start();
    peer.wait_started();
    let (code, report) = findings(&peer);
    assert_eq!(code, 1, "alone: {report}");
    assert!(has(&report, "neighbours", "bad") && has(&report, "data", "ok"), "{report}");
    peer.edit(
        "orgLeader: true",
        "orgLeader: true\n    aliveTimeInterval: 5s\n    aliveExpirationTimeout: 25s",
    );
    assert!(has(&findings(&peer).1, "config", "warn"), "values that cost something are named");
    fs::set_permissions(peer.home.join("tls/server.key"), fs::Permissions::from_mode(0o644))
        .unwrap();
    let (code, report) = findings(&peer);
    assert!(code == 1 && has(&report, "keys", "bad"), "{report}");
    peer.edit("listenAddress: 127.0.0.1", "listenAdress: 127.0.0.1");
    assert!(findings(&peer).0 == 1);
    let text = String::from_utf8(peer.run(&["doctor"]).stdout).unwrap();
    assert!(text.starts_with("BAD ") && text.contains("->"), "{text}");
}
