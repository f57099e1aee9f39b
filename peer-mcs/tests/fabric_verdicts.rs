//! Every verdict that genuine Fabric code gave on the fixtures, and ours beside it.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a failing test may panic"
)]
#![allow(clippy::print_stdout, reason = "the count is what the test is asked for")]

mod common;

use std::collections::BTreeMap;

use common::{block, fixture, id, identity, peer0, read};
use gossip_api::{
    Block, BlockCodec, BlockError, Expiration, MessageCryptoService, PeerIdentity, SecurityAdvisor,
    SeqNum, Wall,
};
use peer_mcs::{
    Advisor, Disbelief, FabricCodec, Mcs, Tip, channel_of, last_config, pki_id, sha256,
};
use serde_json::Value;

/// When the fixtures were made, which Fabric's identity mapper looked at the clock for.
const MADE_AT: i64 = 1_795_392_000;

/// A verdict as the fixtures write it: `accept`, or the class of the error.
fn wanted(entry: &Value, judge: &str) -> String {
    let verdict = &entry[judge];
    match verdict["verdict"].as_str() {
        Some("reject") => verdict["error_class"].as_str().unwrap().to_owned(),
        Some(other) => other.to_owned(),
        None => panic!("{judge} is missing in {entry}"),
    }
}

fn block_verdict(result: Result<(), BlockError>) -> String {
    result.map_or_else(|error| error.class().to_owned(), |()| "accept".to_owned())
}

fn verdict(result: Result<(), Disbelief>) -> String {
    result.map_or_else(|error| error.class().to_owned(), |()| "accept".to_owned())
}

/// Peers by channel and config block, made once.
#[derive(Default)]
struct Peers(BTreeMap<(String, u64), Mcs>);

impl Peers {
    fn at(&mut self, channel: &str, config_block: u64) -> &Mcs {
        self.0
            .entry((channel.to_owned(), config_block))
            .or_insert_with(|| peer0(channel, config_block))
    }
}

#[derive(Default)]
struct Tally {
    passed: usize,
    failed: Vec<String>,
    by_kind: BTreeMap<&'static str, usize>,
}

impl Tally {
    /// Counts an entry; `differences` are what is wrong with it.
    fn add(&mut self, kind: &'static str, name: &str, differences: Vec<String>) {
        if differences.is_empty() {
            self.passed += 1;
            *self.by_kind.entry(kind).or_default() += 1;
        } else {
            self.failed.push(format!("{kind} {name}: {}", differences.join("; ")));
        }
    }
}

/// Collects what is not as it should be.
#[derive(Default)]
struct Differences(Vec<String>);

impl Differences {
    fn check<T: PartialEq + std::fmt::Debug>(&mut self, what: &str, found: T, wanted: T) {
        if found != wanted {
            self.0.push(format!("{what} is {found:?}, Fabric says {wanted:?}"));
        }
    }
}

#[test]
fn every_verdict_is_fabrics() {
    let expected: Value = serde_json::from_slice(&read("expected.json")).unwrap();
    let mut tally = Tally::default();
    let mut peers = Peers::default();
    for (channel, entries) in expected["channels"].as_object().unwrap() {
        for entry in entries["blocks"].as_array().unwrap() {
            tally.add("block", name(entry), check_block(&mut peers, channel, entry));
        }
        for entry in entries["alternate_copies"].as_array().into_iter().flatten() {
            tally.add("copy", name(entry), check_block(&mut peers, channel, entry));
        }
        for entry in entries["attestations"].as_array().unwrap() {
            tally.add("attestation", name(entry), check_block(&mut peers, channel, entry));
        }
    }
    for entry in expected["identities"].as_array().unwrap() {
        tally.add("identity", name(entry), check_identity(&mut peers, entry));
    }
    for entry in expected["signature_vectors"].as_array().unwrap() {
        tally.add("vector", name(entry), check_vector(&mut peers, entry));
    }
    for entry in expected["bad"].as_array().unwrap() {
        tally.add("bad", name(entry), check_bad(&mut peers, entry));
    }
    for failure in &tally.failed {
        println!("{failure}");
    }
    println!("{:?}", tally.by_kind);
    println!("{} passed, {} failed", tally.passed, tally.failed.len());
    assert_eq!((tally.passed, tally.failed.len()), (353, 0), "{:#?}", tally.failed);
}

fn name(entry: &Value) -> &str {
    entry["name"].as_str().or(entry["file"].as_str()).unwrap()
}

fn text<'a>(entry: &'a Value, key: &str) -> &'a str {
    entry[key].as_str().unwrap()
}

fn number(entry: &Value, key: &str) -> u64 {
    entry[key].as_u64().unwrap()
}

/// A block, another copy of one, or one without data.
fn check_block(peers: &mut Peers, channel: &str, entry: &Value) -> Vec<String> {
    let mut found = Differences::default();
    let bytes = read(text(entry, "file"));
    let parsed = FabricCodec.split(&bytes).unwrap();
    let claimed = SeqNum::new(number(entry, "number"));
    let peer = peers.at(channel, number(entry, "verified_under_config_block"));

    found.check("re-encoding", FabricCodec.join(&parsed), bytes.clone());
    found.check("file", hex::encode(sha256(&bytes)).as_str(), text(entry, "file_sha256"));
    found.check("number", parsed.number, claimed);
    found.check("asn1", &*hex::encode(parsed.header().to_asn1()), text(entry, "header_asn1"));
    found.check("hash", &*parsed.header().hash().to_string(), text(entry, "header_hash"));
    found.check("data hash", &*hex::encode(&parsed.data_hash), text(entry, "data_hash"));
    found.check("previous", &*hex::encode(&parsed.previous_hash), text(entry, "previous_hash"));
    found.check("config", FabricCodec.is_config(&parsed), entry["is_config"].as_bool().unwrap());
    found.check("channel", &*channel_of(&parsed).unwrap_or_default(), text(entry, "channel_id"));
    found.check("last config", last_config(&parsed).unwrap().get(), number(entry, "last_config"));

    let by_mcs = block_verdict(peer.verify_block(&id(channel), claimed, &parsed));
    found.check("verify_block", by_mcs, wanted(entry, "mcs_verify_block"));
    if entry.get("mcs_verify_block_attestation").is_some() {
        let by_mcs = block_verdict(peer.verify_block_attestation(&id(channel), &parsed));
        found.check("attestation", by_mcs, wanted(entry, "mcs_verify_block_attestation"));
    }
    let wanted = wanted(entry, "deliver_client_verifier");
    let by_client = by_deliver_client(peer, channel, claimed.get(), &parsed);
    found.check("deliver client", by_client, wanted);
    found.0
}

/// The verdict of the verifier of blocks that come from an orderer, after block `number - 1`.
fn by_deliver_client(peer: &Mcs, channel: &str, number: u64, parsed: &Block) -> String {
    let Some(before) = number.checked_sub(1) else { return "not-applicable".to_owned() };
    let last = Tip::of(&block(channel, before));
    let without_data = parsed.data.is_empty() && !parsed.metadata.is_empty();
    block_verdict(if without_data && parsed.number.get() == number && is_attestation(parsed) {
        peer.verify_attested_successor(&id(channel), &last, parsed)
    } else {
        peer.verify_successor(&id(channel), &last, parsed)
    })
}

/// Whether the fixtures have this header in `attestations/`, where Fabric was asked for an attestation.
fn is_attestation(parsed: &Block) -> bool {
    ["trade", "bft"].iter().any(|channel| {
        let file = format!("{channel}/attestations/block_{:06}.pb", parsed.number.get());
        std::fs::read(fixture(&file))
            .is_ok_and(|bytes| FabricCodec.split(&bytes.into()).unwrap() == *parsed)
    })
}

fn check_identity(peers: &mut Peers, entry: &Value) -> Vec<String> {
    let mut found = Differences::default();
    let identity = PeerIdentity::new(read(text(entry, "serialized_identity_file"))).unwrap();
    let fingerprint = pki_id(&identity).map(|id| id.to_string()).unwrap_or_default();
    found.check("pki id", &*fingerprint, entry["pki_id"].as_str().unwrap_or_default());
    for (config_block, wanted_verdict) in entry["mcs_validate_identity"].as_object().unwrap() {
        let peer = peers.at("trade", config_block.parse().unwrap());
        let wanted = wanted_verdict["error_class"].as_str().unwrap_or("accept");
        found.check("validate", &*verdict(peer.judge_identity(&identity)), wanted);
        let contract = peer.validate_identity(&identity).is_ok();
        found.check("contract", contract, wanted == "accept");
    }
    let peer = peers.at("trade", 0);
    let advisor = Advisor::new(peer.local().clone(), peer.channels().clone());
    let org = advisor.org_by_peer_identity(&identity).map(|org| org.as_str().to_owned());
    let wanted_org = entry["org_by_peer_identity"].as_str().unwrap_or_default();
    found.check("org", &*org.unwrap_or_default(), wanted_org);
    check_expiration(&mut found, peer, &identity, entry);
    check_mapper(&mut found, peer, &identity, entry);
    found.0
}

fn check_expiration(found: &mut Differences, peer: &Mcs, identity: &PeerIdentity, entry: &Value) {
    let wanted = text(entry, "mcs_expiration");
    match peer.expiration(identity) {
        Ok(Expiration::At(end)) => {
            found.check("expiration", end.as_unix_seconds(), unix_seconds(wanted));
        }
        Ok(Expiration::Never) => found.0.push("never expires".to_owned()),
        Err(_) => found.check("expiration fails", true, wanted.starts_with("error: ")),
    }
}

/// Fabric's identity mapper: fingerprint, expiration by the clock, validity. Ours stands in `gossip-api`.
fn check_mapper(found: &mut Differences, peer: &Mcs, identity: &PeerIdentity, entry: &Value) {
    let put = if pki_id(identity).is_none() {
        "pki_id_missing".to_owned()
    } else {
        match peer.expiration(identity) {
            Ok(end) if end.is_past(Wall::from_unix_seconds(MADE_AT)) => {
                "identity_expired".to_owned()
            }
            _ => verdict(peer.judge_identity(identity)),
        }
    };
    found.check("mapper", put, wanted(entry, "gossip_identity_mapper_put"));
    let macs = entry["state_info_channel_mac"].as_object();
    for (channel, mac) in macs.into_iter().flatten() {
        let Some(fingerprint) = pki_id(identity) else { continue };
        let bytes = [&fingerprint.as_bytes()[..], channel.as_bytes()].concat();
        found.check("mac", &*hex::encode(sha256(&bytes)), mac.as_str().unwrap_or_default());
    }
}

fn check_vector(peers: &mut Peers, entry: &Value) -> Vec<String> {
    let mut found = Differences::default();
    let peer = peers.at("trade", 0);
    let identity = identity(text(entry, "identity"));
    let message = text(entry, "message").as_bytes();
    let signature = hex::decode(text(entry, "signature")).unwrap();
    let by_mcs = verdict(peer.judge_signature(&identity, &signature, message));
    found.check("verify", by_mcs, wanted(entry, "mcs_verify"));
    let by_channel =
        verdict(peer.judge_signature_by_channel(&id("trade"), &identity, &signature, message));
    found.check("by channel", by_channel, wanted(entry, "mcs_verify_by_channel_trade"));
    let contract = peer.verify(&identity, &signature, message).is_ok();
    found.check("contract", contract, wanted(entry, "mcs_verify") == "accept");
    found.0
}

fn check_bad(peers: &mut Peers, entry: &Value) -> Vec<String> {
    let mut found = Differences::default();
    let network = text(entry, "network");
    let peer = peers.at(network, number(entry, "config_block"));
    let split = FabricCodec.split(&read(text(entry, "file")));
    let claimed = id(text(entry, "claimed_channel"));
    let claimed_number = SeqNum::new(number(entry, "claimed_number"));
    let with = |judge: &dyn Fn(&Block) -> Result<(), BlockError>| {
        block_verdict(split.clone().and_then(|block| judge(&block)))
    };
    let by_mcs = with(&|block| peer.verify_block(&claimed, claimed_number, block));
    found.check("verify_block", by_mcs, wanted(entry, "mcs_verify_block"));
    let attestation = with(&|block| peer.verify_block_attestation(&claimed, block));
    found.check("attestation", attestation, wanted(entry, "mcs_verify_block_attestation"));
    let base = number(entry, "base_block");
    let by_client = match base.checked_sub(1) {
        None => "not-applicable".to_owned(),
        Some(before) => {
            let last = Tip::of(&block(network, before));
            with(&|block| peer.verify_successor(&id(network), &last, block))
        }
    };
    found.check("deliver client", by_client, wanted(entry, "deliver_client_verifier"));
    found.0
}

/// Seconds since 1970 of `2036-11-19T21:56:00Z`.
fn unix_seconds(time: &str) -> i64 {
    let part = |range: std::ops::Range<usize>| time[range].parse::<i64>().unwrap();
    let (year, month, day) = (part(0..4), part(5..7), part(8..10));
    // Days since 1970 in the proleptic Gregorian calendar, years beginning in March.
    let (year, month) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    let days =
        365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 719_469;
    days * 86_400 + part(11..13) * 3_600 + part(14..16) * 60 + part(17..19)
}
