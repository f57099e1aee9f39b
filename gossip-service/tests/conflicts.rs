//! Orderers that sign two blocks with one number, and what an operator of real peers does about it.
#![cfg(feature = "peer")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

#[path = "../../peer-mcs/tests/common/fork.rs"]
mod fork;
#[path = "support/processes.rs"]
mod processes;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use fork::{fork, recorded, resigned};
use gossip_api::{Block, BlockCodec as _};
use peer_mcs::FabricCodec;
use processes::{Peer, copy_private, feed, genesis, trade_from};
use serde_json::Value;

/// The command line, about files alone.
fn look_at(dir: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gossip-peer"));
    command.args(["channel", "evidence", "--json"]).arg(dir).env_clear().output().unwrap()
}

fn evidence_of(peer: &Peer) -> Vec<PathBuf> {
    let dirs = fs::read_dir(peer.home.join("data/evidence")).into_iter().flatten();
    dirs.map(|dir| dir.unwrap().path()).collect()
}

fn hash(block: &Block) -> String {
    block.header().hash().to_string()
}

fn halted(peer: &mut Peer, what: &str) {
    peer.wait_until(what, |peer| {
        let status = peer.get("/status").map(|status| status.json());
        let reason = status.map(|status| status["channels"][0]["stalled_reason"].to_string());
        reason.is_some_and(|reason| reason.contains("an operator must decide"))
    });
}

#[test]
fn a_fork_stops_both_sides_with_evidence_that_others_can_check_until_the_operator_decides() {
    let root = tempfile::tempdir().unwrap();
    let (one, two) = (root.path().join("one"), root.path().join("two"));
    feed(&one, 0..=4);
    feed(&two, 0..=4);
    let mut first = Peer::new(root.path(), 0, None, &trade_from(&one), "");
    let mut second = Peer::new(root.path(), 1, Some(first.gossip), &trade_from(&two), "");
    second.edit("orgLeader: false", "orgLeader: true");
    first.start();
    second.start();
    for peer in [&mut first, &mut second] {
        peer.wait_until("the common blocks", |peer| peer.height() == 5);
        peer.wait_until("each other", |peer| {
            peer.get("/status").is_some_and(|s| s.json()["channels"][0]["neighbours"] == 1)
        });
    }
    // From here on the orderer tells each of them something else.
    let (ours, theirs) = (recorded(5), fork(5, 4));
    fs::write(two.join("coming"), FabricCodec.join(&theirs)).unwrap();
    fs::rename(two.join("coming"), two.join("block_000005.pb")).unwrap();
    for peer in [&mut first, &mut second] {
        peer.wait_until("the block of the second", |peer| peer.height() == 6);
    }
    feed(&one, 5..=5);
    halted(&mut first, "a halt of the first");
    halted(&mut second, "a halt of the second");

    for peer in [&mut first, &mut second] {
        peer.wait_until("its evidence", |peer| peer.log().contains("evidence kept"));
    }
    let dirs = [evidence_of(&first), evidence_of(&second)].concat();
    assert!(dirs.len() >= 2, "both have evidence: {dirs:?}");
    for dir in &dirs {
        let output = look_at(dir);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((&told["channel"], &told["number"]), (&"trade".into(), &5.into()));
        let pair = [told["kept"].as_str().unwrap(), told["other"].as_str().unwrap()];
        assert!(pair.contains(&hash(&ours).as_str()) && pair.contains(&hash(&theirs).as_str()));
    }
    spoiled_evidence_is_refused(root.path(), &dirs[0]);

    // A restart changes nothing.
    assert!(first.stop().1, "{}", first.log());
    first.start();
    halted(&mut first, "the halt again");
    let info = first.told(&["channel", "info", "trade"]);
    assert!(info.contains("waits: stopped"), "{info}");
    assert_eq!(first.get("/healthz").unwrap().status, 503);

    let wrong = first.run(&["channel", "resume", "trade", "--accept", "abc"]);
    assert_eq!(wrong.status.code(), Some(2), "{wrong:?}");
    // Both have committed the block of the second: they can only go on with that one.
    let refused = first.run(&["channel", "resume", "trade", "--accept", &hash(&ours)]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("stays stopped"), "{refused:?}");
    for peer in [&first, &second] {
        let told = peer.told(&["channel", "resume", "trade", "--accept", &hash(&theirs)]);
        assert!(told.contains("goes on"), "{told}");
    }
    let previous_hash = theirs.header().hash().as_bytes().to_vec().into();
    let next = resigned(Block { previous_hash, ..recorded(6) });
    for source in [&one, &two] {
        fs::write(source.join("coming"), FabricCodec.join(&next)).unwrap();
        fs::rename(source.join("coming"), source.join("block_000006.pb")).unwrap();
    }
    for peer in [&mut first, &mut second] {
        peer.wait_until("the next block", |peer| peer.height() == 7);
    }
    assert!(first.stop().1);
    first.start();
    first.wait_until("the chain as it was", |peer| peer.height() == 7);
}

fn spoiled_evidence_is_refused(root: &Path, dir: &Path) {
    for (index, (file, code)) in
        [("kept.block", 1), ("other.block", 1), ("config.block", 1)].into_iter().enumerate()
    {
        let copy = root.join(format!("spoiled{index}"));
        copy_private(dir, &copy);
        let genuine = fs::read(copy.join(file)).unwrap();
        for spoiled in [recorded(3), recorded(4)] {
            fs::write(copy.join(file), FabricCodec.join(&spoiled)).unwrap();
            assert_eq!(look_at(&copy).status.code(), Some(code), "{file}");
        }
        fs::write(copy.join(file), &genuine[..genuine.len() / 2]).unwrap();
        assert_eq!(look_at(&copy).status.code(), Some(code), "{file} cut off");
        fs::remove_file(copy.join(file)).unwrap();
        assert_eq!(look_at(&copy).status.code(), Some(2), "{file} missing");
    }
    assert!(genesis().exists());
}
