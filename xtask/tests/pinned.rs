//! Versions that known advisories and decisions pin, read from `Cargo.lock`.
//!
//! The advisory database cannot be reached everywhere; what we know to matter is checked here.

use std::fs;
use std::path::Path;

/// Every version of `name` in the lock file, as numbers.
fn versions(name: &str) -> Vec<[u32; 3]> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.lock");
    let lock = fs::read_to_string(path).expect("the lock file is part of the repository");
    versions_in(&lock, name)
}

fn versions_in(lock: &str, name: &str) -> Vec<[u32; 3]> {
    let head = format!("name = \"{name}\"");
    let packages =
        lock.split("[[package]]").filter(|package| package.lines().any(|line| line == head));
    packages.filter_map(|package| package.lines().find_map(version)).collect()
}

/// The three numbers of a line such as `version = "1.2.3-rc.1+x"`.
fn version(line: &str) -> Option<[u32; 3]> {
    let text = line.strip_prefix("version = \"")?.trim_end_matches('"');
    let numbers = text.split(['-', '+']).next()?.split('.').map(str::parse);
    numbers.collect::<Result<Vec<u32>, _>>().ok()?.try_into().ok()
}

#[track_caller]
fn check_at_least(name: &str, least: [u32; 3]) {
    let found = versions(name);
    assert!(!found.is_empty(), "{name} is not in the lock file");
    assert!(
        found.iter().all(|version| *version >= least),
        "{name} {found:?} is older than {least:?}"
    );
}

#[track_caller]
fn check_absent(name: &str, reason: &str) {
    assert_eq!(versions(name), [] as [[u32; 3]; 0], "{name}: {reason}");
}

#[test]
fn quinn_proto_has_the_fixes_for_remote_denial_of_service() {
    check_at_least("quinn-proto", [0, 11, 19]);
}

#[test]
fn bincode_is_the_last_release_that_works() {
    // RUSTSEC-2025-0141 (unmaintained) is accepted with a reason in deny.toml; 3.0.0 does not compile.
    assert_eq!(versions("bincode"), [[2, 0, 1]]);
}

#[test]
fn tls_and_its_certificates_are_checked_by_recent_code() {
    check_at_least("rustls", [0, 23, 46]);
    check_at_least("rustls-webpki", [0, 103, 17]);
}

#[test]
fn signatures_come_from_one_generation_of_libraries() {
    check_at_least("p256", [0, 14, 0]);
    check_at_least("ed25519-dalek", [3, 0, 0]);
    assert_eq!(versions("aws-lc-rs").len(), 1, "one cryptography provider, once");
}

#[test]
fn what_we_decided_against_is_not_there() {
    // `ring` stands in the lock file for quinn on the web alone; deny.toml bans it from our targets.
    check_absent("openssl", "one cryptography provider: aws-lc-rs");
    check_absent("serde_yml", "RUSTSEC-2025-0068");
    check_absent("libyml", "RUSTSEC-2025-0067");
    check_absent("serde_yaml", "deprecated");
    check_absent("protobuf", "RUSTSEC-2024-0437 in its 2.x; we use prost");
}

#[test]
fn a_lock_file_is_read_as_written() {
    let lock = "[[package]]\nname = \"a\"\nversion = \"1.20.3\"\n\n[[package]]\nname = \"ab\"\nversion = \"9.9.9\"\n\n\
                [[package]]\nname = \"a\"\nversion = \"2.0.0-rc.1+x\"\ndependencies = [\n \"b\",\n]\n";
    assert_eq!(versions_in(lock, "a"), [[1, 20, 3], [2, 0, 0]]);
    assert_eq!(versions_in(lock, "b"), [] as [[u32; 3]; 0]);
}
