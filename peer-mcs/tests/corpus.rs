//! What the fuzz targets start from, and what they once stumbled over, through the same doors.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "../../fuzz/src/mcs.rs"]
mod doors;

use std::fs;
use std::path::{Path, PathBuf};

use doors::fixture;
use gossip_api::BlockCodec as _;
use peer_mcs::FabricCodec;

fn corpus(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target)
}

#[test]
fn the_corpora_pass_their_doors() {
    for (target, door) in doors::DOORS {
        let inputs: Vec<_> = fs::read_dir(corpus(target)).unwrap().collect();
        assert!(!inputs.is_empty(), "{target} has a corpus");
        for input in inputs {
            let path = input.unwrap().path();
            println!("{target}: {}", path.display());
            door(&fs::read(path).unwrap());
        }
    }
}

/// Small fixtures of every kind. After a change of theirs, `UPDATE_SEEDS=1` writes them anew.
#[test]
fn the_seeds_are_those_that_the_code_makes() {
    for channel in ["trade", "bft"] {
        for number in [1, 10] {
            let bytes =
                fs::read(fixture(&format!("{channel}/blocks/block_{number:06}.pb"))).unwrap();
            seed("block", &format!("{channel}_{number}"), &bytes);
            seed("shapes", &format!("{channel}_{number}"), &bytes);
        }
    }
    for (channel, numbers) in [("trade", &[0, 18, 36, 48][..]), ("bft", &[0, 16])] {
        for number in numbers {
            let bytes =
                fs::read(fixture(&format!("{channel}/blocks/block_{number:06}.pb"))).unwrap();
            let block = FabricCodec.split(&bytes.into()).unwrap();
            seed("channel_config", &format!("{channel}_{number}"), &block.data);
        }
    }
    copy("bad", "block", 4 << 10);
    copy("identities", "identity", 4 << 10);
    for name in ["peer0.org1.bin", "odd.fields-reordered-org1.bin", "odd.unknown-field-org1.bin"] {
        seed("shapes", name, &fs::read(fixture("identities").join(name)).unwrap());
    }
    for path in files("crypto-extra") {
        let name = path.file_name().unwrap().to_str().unwrap();
        let text = fs::read(&path).unwrap();
        if name.ends_with("-cert.pem") {
            seed("certificate", name, &der(&text));
        } else if name.ends_with(".crl.pem") {
            seed("crl", name, &text);
            seed("crl", &name.replace(".pem", ".der"), &der(&text));
        }
    }
    let config =
        fixture("crypto/peerOrganizations/org1.test/peers/peer0.org1.test/msp/config.yaml");
    seed("msp_settings", "config.yaml", &fs::read(config).unwrap());
    seed("msp_directory", "peer0", &doors::msp_directory_seed());
    seed("msp_config", "org1", &msp_config());
}

/// `msp.FabricMSPConfig` with a name, a root, an admin and a revocation list of another's.
fn msp_config() -> Vec<u8> {
    let dir = "crypto/peerOrganizations/org1.test/users/Admin@org1.test/msp";
    let text = |path: &str| fs::read_to_string(fixture(path)).unwrap();
    let config = MspConfig {
        name: "Org1MSP".into(),
        roots: vec![text(&format!("{dir}/cacerts/ca.org1.test-cert.pem"))],
        admins: vec![text(&format!("{dir}/signcerts/Admin@org1.test-cert.pem"))],
        revocations: vec![text("crypto-extra/org2-revokes-peer2.crl.pem")],
    };
    let bytes = prost::Message::encode_to_vec(&config);
    assert!(peer_mcs::fuzz::msp_config(&bytes));
    bytes
}

#[derive(Clone, PartialEq, prost::Message)]
struct MspConfig {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, repeated, tag = "2")]
    roots: Vec<String>,
    #[prost(string, repeated, tag = "4")]
    admins: Vec<String>,
    #[prost(string, repeated, tag = "5")]
    revocations: Vec<String>,
}

fn der(text: &[u8]) -> Vec<u8> {
    x509_cert::der::pem::decode_vec(text).unwrap().1
}

/// The files of a fixture's directory up to a size become seeds of a target.
fn copy(dir: &str, target: &str, len_max: usize) {
    for path in files(dir) {
        let bytes = fs::read(&path).unwrap();
        if bytes.len() <= len_max {
            seed(target, path.file_name().unwrap().to_str().unwrap(), &bytes);
        }
    }
}

fn files(dir: &str) -> Vec<PathBuf> {
    fs::read_dir(fixture(dir)).unwrap().map(|entry| entry.unwrap().path()).collect()
}

fn seed(target: &str, name: &str, bytes: &[u8]) {
    let path = corpus(target).join(name);
    if std::env::var_os("UPDATE_SEEDS").is_some() {
        fs::create_dir_all(corpus(target)).unwrap();
        fs::write(&path, bytes).unwrap();
    }
    let held = fs::read(&path).unwrap_or_default();
    assert!(held == bytes, "{} is out of date: run with UPDATE_SEEDS=1", path.display());
}
