//! What `deploy/` holds is what this program understands.

use std::path::{Path, PathBuf};

use clap::Parser as _;
use serde_json::Value;

use crate::config::read_sample;
use crate::{Cli, Command, Node, start};

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy")
}

fn text(name: &str) -> String {
    std::fs::read_to_string(deploy().join(name)).unwrap()
}

/// A command line of ours, and the configuration that it names.
fn is_start(words: &[&str]) -> PathBuf {
    let command = Cli::try_parse_from(words).unwrap().command;
    let Command::Node(Node::Start(file)) = command else { panic!("not a start: {command:?}") };
    file.config
}

#[test]
fn the_sample_names_every_key_and_has_our_defaults() {
    let (config, missing) = read_sample(&text("core.yaml"), &[]).unwrap();
    assert!(missing.is_empty(), "not in the sample: {missing:?}");
    assert!(config.notices.foreign.is_empty(), "{:?}", config.notices.foreign);
    assert!(config.notices.costs.is_empty(), "{:?}", config.notices.costs);
    assert_eq!(config.channels.len(), 1);
    start::machines(&config).unwrap();
}

#[test]
fn the_units_commands_are_ours() {
    let unit = text("gossip-peer.service");
    let value = |key: &str| {
        let line = unit.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.unwrap_or_else(|| panic!("the unit has no {key}")).to_owned()
    };
    let words = value("ExecStart");
    let config = is_start(&words.split_whitespace().collect::<Vec<_>>());
    assert_eq!(config, Path::new("/etc/gossip-peer/core.yaml"));
    let check = value("ExecStartPre");
    Cli::try_parse_from(check.split_whitespace()).unwrap();
    assert_eq!(value("RestartPreventExitStatus"), "2", "what the program ends with");
    let (name, dir) =
        value("Environment").split_once('=').map(|(n, d)| (n.to_owned(), d.to_owned())).unwrap();
    let (config, _) = read_sample(&text("core.yaml"), &[(&name, &dir)]).unwrap();
    assert_eq!(config.data_dir, Path::new(&dir));
}

#[test]
fn composes_three_peers_start_and_know_each_other() {
    let compose: Value = serde_saphyr::from_str(&text("compose.yaml")).unwrap();
    let services = compose["services"].as_object().unwrap();
    assert_eq!(services.len(), 3);
    for (name, service) in services {
        let words = service["command"].as_array().unwrap().iter().map(|w| w.as_str().unwrap());
        let words: Vec<&str> = ["gossip-peer"].into_iter().chain(words).collect();
        let config = is_start(&words);
        let check = service["healthcheck"]["test"].as_array().unwrap();
        let check = check.iter().skip(1).map(|word| word.as_str().unwrap());
        Cli::try_parse_from(check).unwrap();
        let environment: Vec<(&str, &str)> = service["environment"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str().unwrap()))
            .collect();
        let (read, _) = read_sample(&text("core.yaml"), &environment).unwrap();
        let others: Vec<String> =
            services.keys().filter(|other| *other != name).map(|n| format!("{n}:7051")).collect();
        let known: Vec<&str> = read.bootstrap.iter().map(gossip_api::Endpoint::as_str).collect();
        assert_eq!(known, others, "{name}");
        assert_eq!(read.internal_endpoint.as_str(), format!("{name}:7051"));
        let mounts: Vec<&str> =
            service["volumes"].as_array().unwrap().iter().map(|v| v.as_str().unwrap()).collect();
        let dir = config.parent().unwrap();
        let mut needed =
            vec![config.clone(), read.data_dir.clone(), dir.join("msp"), dir.join("tls")];
        needed.extend(
            read.channels.iter().map(|channel| dir.join(channel.genesis.file_name().unwrap())),
        );
        for path in needed {
            let path = path.display().to_string();
            let is_mounted = mounts.iter().any(|mount| mount.split(':').nth(1) == Some(&path));
            assert!(is_mounted, "{name} lacks {path}");
        }
    }
}

#[test]
fn the_image_runs_the_same_command() {
    let image = text("Dockerfile");
    let list = |word: &str| {
        let line = image.lines().find_map(|line| line.strip_prefix(word)).unwrap();
        serde_json::from_str::<Vec<String>>(line.trim()).unwrap()
    };
    let words = [list("ENTRYPOINT"), list("CMD")].concat();
    is_start(&words.iter().map(String::as_str).collect::<Vec<_>>());
}
