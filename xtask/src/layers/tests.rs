//! Each rule is shown a workspace that breaks it, and one that does not.

use std::collections::BTreeSet;

use super::facts::{Dependency, Member, Tree, Workspace};
use super::rules::{self, Violation};
use crate::source::Source;

fn dependency(name: &str) -> Dependency {
    Dependency { name: name.to_owned(), ..Dependency::default() }
}

fn member(name: &str, dependencies: &[&str]) -> Member {
    let dependencies = dependencies.iter().map(|name| dependency(name)).collect();
    Member { name: name.to_owned(), dependencies, ..Member::default() }
}

/// The workspace as it should be, in the small.
fn sound() -> Workspace {
    let mut comm = member("gossip-comm", &["gossip-api", "quinn", "tokio"]);
    comm.features.insert("default".to_owned(), vec!["quic".to_owned()]);
    comm.features.insert("quic".to_owned(), vec!["dep:quinn".to_owned()]);
    comm.features.insert("sim".to_owned(), Vec::new());
    let mut discovery = member("gossip-discovery", &["gossip-api", "bytes"]);
    let simulated =
        Dependency { dev: true, features: vec!["sim".to_owned()], ..dependency("gossip-comm") };
    discovery.dependencies.push(simulated);
    let mut service = member(
        "gossip-service",
        &["gossip-api", "gossip-comm", "gossip-discovery", "bytes", "tokio", "tokio-util"],
    );
    service.dependencies.push(Dependency { optional: true, ..dependency("peer-mcs") });
    service.features.insert("peer".to_owned(), vec!["dep:peer-mcs".to_owned()]);
    let members = vec![
        member("gossip-api", &["bincode", "bytes"]),
        comm,
        discovery,
        member("gossip-election", &["gossip-api"]),
        service,
        member("gossip-state", &["gossip-api"]),
        member("peer-mcs", &["gossip-api", "prost"]),
        member("xtask", &["clap"]),
    ];
    Workspace { members, ..Workspace::default() }
}

fn with_source(path: &str, text: &str) -> Workspace {
    Workspace { sources: vec![Source::new(path, text)], ..sound() }
}

fn with_dependency(of: &str, new: Dependency) -> Workspace {
    let mut workspace = sound();
    let member = workspace.members.iter_mut().find(|member| member.name == of);
    member.unwrap().dependencies.push(new);
    workspace
}

fn with_tree(of: &str, feature: &str, package: &str) -> Workspace {
    let packages = BTreeSet::from([package.to_owned()]);
    let tree = Tree { of: of.to_owned(), feature: feature.to_owned(), packages };
    Workspace { trees: vec![tree], ..sound() }
}

/// Exactly one rule is broken, by `place`, and the sentence holds `fault`.
#[track_caller]
fn check(workspace: &Workspace, rule: u8, place: &str, fault: &str) {
    let found = rules::judge(workspace);
    let fits = |v: &Violation| v.rule == rule && v.place == place && v.fault.contains(fault);
    assert!(
        !found.is_empty() && found.iter().all(fits),
        "expected {place}: {fault}; found {found:?}"
    );
}

#[track_caller]
fn check_sound(workspace: &Workspace) {
    assert_eq!(rules::judge(workspace), []);
}

#[test]
fn a_sound_workspace_breaks_no_rule() {
    check_sound(&sound());
}

#[test]
fn there_is_no_ninth_member_and_no_seventh() {
    let mut workspace = sound();
    workspace.members.push(member("gossip-extra", &[]));
    check(&workspace, 0, "gossip-extra", "ninth");
    let mut workspace = sound();
    workspace.members.retain(|member| member.name != "gossip-state");
    check(&workspace, 0, "gossip-state", "no member");
}

#[test]
fn siblings_never_import_each_other() {
    let workspace = with_dependency("gossip-state", dependency("gossip-election"));
    check(&workspace, 1, "gossip-state", "sibling gossip-election");
    let workspace = with_dependency("gossip-api", dependency("gossip-state"));
    check(&workspace, 1, "gossip-api", "sibling gossip-state");
    let dev = Dependency { dev: true, ..dependency("gossip-discovery") };
    check(&with_dependency("peer-mcs", dev), 1, "peer-mcs", "sibling gossip-discovery");
    let workspace = with_source("gossip-election/src/lib.rs", "\nuse gossip_discovery::View;");
    check(&workspace, 1, "gossip-election/src/lib.rs:2", "names gossip-discovery");
    check_sound(&with_source("gossip-election/tests/x.rs", "use gossip_comm::sim::Net;"));
    check_sound(&with_source("gossip-election/src/lib.rs", "// like gossip_discovery::View"));
}

#[test]
fn protocol_crates_have_no_runtime_in_their_tree() {
    check(&with_tree("gossip-election", "", "tokio"), 2, "gossip-election", "tokio");
    let workspace = with_dependency("gossip-state", dependency("tokio-util"));
    check(&workspace, 2, "gossip-state", "tokio");
    check_sound(&with_tree("gossip-election", "", "bytes"));
}

#[test]
fn quic_is_known_to_comm_alone() {
    let workspace = with_dependency("gossip-service", dependency("rustls"));
    check(&workspace, 2, "gossip-service", "quinn or rustls");
    let workspace = with_source("gossip-service/src/driver.rs", "fn f() -> quinn::Connection {}");
    check(&workspace, 2, "gossip-service/src/driver.rs:1", "names quinn");
    check_sound(&with_source("gossip-comm/src/quic/tls.rs", "use rustls::ClientConfig;"));
}

#[test]
fn only_the_binary_names_peer_mcs() {
    let workspace = with_source("gossip-service/src/peer.rs", "use peer_mcs::Mcs;");
    check(&workspace, 3, "gossip-service/src/peer.rs:1", "outside the gossip-peer binary");
    check_sound(&with_source("gossip-service/src/bin/gossip-peer/main.rs", "use peer_mcs::Mcs;"));
    check_sound(&with_source("gossip-service/examples/whole.rs", "use peer_mcs::Mcs;"));
    let workspace = with_dependency("gossip-service", dependency("peer-mcs"));
    check(&workspace, 3, "gossip-service", "without making it optional");
}

#[test]
fn peer_mcs_hangs_on_one_feature() {
    let mut workspace = sound();
    let service = workspace.members.iter_mut().find(|m| m.name == "gossip-service").unwrap();
    service.features.insert("store".to_owned(), vec!["dep:peer-mcs".to_owned()]);
    check(&workspace, 3, "gossip-service", "feature `store`");
}

#[test]
fn node_imports_the_api_and_itself() {
    let check_node = |file: &str, text: &str, fault: &str| {
        let path = format!("gossip-service/src/node/{file}");
        check(&with_source(&path, text), 4, &format!("{path}:1"), fault);
    };
    check_node("push.rs", "use crate::config::PeerConfig;", "`crate::config::PeerConfig`");
    check_node("push.rs", "use crate::{node::Node, peer::Peer};", "`crate::peer::Peer`");
    check_node("push.rs", "fn f(peer: &crate::peer::Peer) {}", "outside node/");
    check_node("push.rs", "use super::super::peer;", "leaves node/");
    check_node("mod.rs", "use super::peer;", "leaves node/");
    check_node("channel/blocks.rs", "use gossip_comm::Command;", "`gossip_comm`");
    check_node("mod.rs", "fn f() { tokio_util::sync::x() }", "`tokio_util`");
    check_node("mod.rs", "use std::time::{Duration, Instant};", "Instant");
    check_node("mod.rs", "use std::thread;", "`std::thread`");
    for text in [
        "use crate::node::{Node, channel::Channel};\nuse gossip_api::PkiId;\nuse bytes::Bytes;",
        "use super::{Node, pull};\nuse std::time::Duration;\nuse std::collections::BTreeMap;",
        "#[cfg(test)]\nmod tests { use gossip_comm::sim::Net; }",
        "mod channel;\npub use channel::Channel;\nfn f() { self::channel::g() }",
    ] {
        check_sound(&with_source("gossip-service/src/node/push.rs", text));
    }
}

#[test]
fn wire_formats_are_confined() {
    let workspace = with_source("gossip-api/src/message/mod.rs", "use bincode::config;");
    check(&workspace, 5, "gossip-api/src/message/mod.rs:1", "bincode");
    check_sound(&with_source("gossip-api/src/message/codec.rs", "use bincode::config;"));
    let workspace = with_source("peer-mcs/src/block.rs", "use prost::Message as _;");
    check(&workspace, 5, "peer-mcs/src/block.rs:1", "prost");
    check_sound(&with_source(
        "peer-mcs/src/fabric/common.rs",
        "#[derive(::prost::Message)] struct A;",
    ));
    check_sound(&with_source("peer-mcs/tests/blocks.rs", "use prost::Message as _;"));
    check_sound(&with_source("fuzz/fuzz_targets/block.rs", "use bincode::config;"));
    let workspace = with_dependency("gossip-comm", dependency("bincode"));
    check(&workspace, 5, "gossip-comm", "bincode");
}

#[test]
fn simulation_needs_neither_quic_nor_runtime() {
    check(&with_tree("gossip-comm", "sim", "quinn-proto"), 6, "gossip-comm", "quinn-proto");
    check(&with_tree("gossip-comm", "sim-quic", "tokio"), 6, "gossip-comm", "tokio");
    check_sound(&with_tree("gossip-comm", "sim-quic", "quinn-proto"));
}

#[test]
fn simulation_is_used_in_tests_without_the_rest_of_comm() {
    let sim = Dependency { features: vec!["sim".to_owned()], ..dependency("gossip-comm") };
    let workspace = with_dependency("gossip-service", sim.clone());
    check(&workspace, 6, "gossip-service", "outside tests");
    let whole = Dependency { dev: true, default_features: true, ..sim.clone() };
    check(&with_dependency("gossip-state", whole), 6, "gossip-state", "default-features");
    check_sound(&with_dependency("gossip-state", Dependency { dev: true, ..sim }));
}

#[test]
fn comm_has_the_features_that_others_build_on() {
    let mut workspace = sound();
    let comm = workspace.members.iter_mut().find(|m| m.name == "gossip-comm").unwrap();
    comm.features.remove("sim");
    check(&workspace, 6, "gossip-comm", "lacks the feature `sim`");
}

#[test]
fn xtask_links_the_crates_for_the_lab_alone() {
    let workspace = with_dependency("xtask", dependency("gossip-service"));
    check(&workspace, 6, "xtask", "without the feature `lab`");
    check_sound(&with_dependency(
        "xtask",
        Dependency { optional: true, ..dependency("gossip-api") },
    ));
}
