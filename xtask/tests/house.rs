//! What the documents say about the workspace is what the workspace says about itself.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(root().join(path)).expect("a document of the repository")
}

/// The value of `key = "value"` at the start of a line.
fn value<'a>(manifest: &'a str, key: &str) -> &'a str {
    let head = format!("{key} = \"");
    let line = manifest.lines().find_map(|line| line.strip_prefix(&head));
    line.and_then(|rest| rest.strip_suffix('"')).expect("a key of the manifest")
}

#[test]
fn a_crate_is_described_the_same_everywhere() {
    let readme = read("README.md");
    for name in EIGHT {
        let description = value(&read(format!("{name}/Cargo.toml")), "description").to_owned();
        let row = format!("| [`{name}`]({name}) | {description} |");
        assert!(readme.contains(&row), "README.md lacks the row\n{row}");
        let file = if name == "xtask" { "src/main.rs" } else { "src/lib.rs" };
        let docs = read(format!("{name}/{file}"));
        assert_eq!(
            docs.lines().next(),
            Some(format!("//! {description}").as_str()),
            "{name}/{file}"
        );
    }
}

#[test]
fn members_inherit_what_the_workspace_decides() {
    for name in EIGHT {
        let manifest = read(format!("{name}/Cargo.toml"));
        for key in ["version", "edition", "rust-version", "license", "publish"] {
            let line = format!("{key}.workspace = true");
            assert!(manifest.lines().any(|l| l == line), "{name}/Cargo.toml lacks `{line}`");
        }
        assert!(
            manifest.contains("[lints]\nworkspace = true"),
            "{name}/Cargo.toml has its own lints"
        );
    }
}

#[test]
fn the_toolchain_is_named_exactly() {
    assert_eq!(value(&read("rust-toolchain.toml"), "channel"), "1.95.0");
}

#[test]
fn every_test_that_the_threats_name_exists() {
    let text = read("docs/threats.md");
    let named = text.split('`').skip(1).step_by(2).filter(|name| name.matches('_').count() >= 3);
    let named: Vec<_> = named.collect();
    assert!(named.len() > 60, "{}", named.len());
    let crates = ["gossip-api", "gossip-comm", "gossip-discovery", "gossip-service"];
    let tests = crates.iter().flat_map(|name| fs::read_dir(root().join(name).join("tests")));
    let files = tests.flatten().map(|entry| entry.expect("an entry").path());
    let sources = files.filter(|path| path.is_file()).map(read);
    let sources: String = sources.collect();
    for name in named {
        assert!(sources.contains(&format!("fn {name}(")), "docs/threats.md names {name}");
    }
}

#[test]
fn the_readme_starts_a_newcomer_with_two_commands() {
    let readme = read("README.md");
    let start = readme.split("```sh").nth(1).and_then(|rest| rest.split("```").next());
    let commands: Vec<_> = start
        .unwrap_or_default()
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default().trim())
        .filter(|line| !line.is_empty())
        .collect();
    assert_eq!(commands, ["cargo xtask demo", "cargo xtask test"]);
}

/// The words of `text` in backquotes.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.lines().flat_map(|line| line.split('`').skip(1).step_by(2))
}

#[test]
fn the_files_that_documents_name_exist() {
    for document in ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "docs/fabric-map.md"] {
        for word in quoted(&read(document)) {
            let ours = EIGHT.iter().any(|name| word.starts_with(&format!("{name}/")));
            let lost = ours && !word.contains('*') && !root().join(word).exists();
            assert!(!lost, "{document} names {word}, which does not exist");
        }
    }
}

/// A table of faults is worth what its tests are.
#[test]
fn the_tests_that_cover_faults_exist() {
    let document = read("docs/faults.md");
    let mut tests = 0;
    for row in document.lines().filter(|line| line.starts_with("| ")) {
        let mut file = String::new();
        for word in quoted(row) {
            let path = root().join(word);
            if path.is_file() {
                file = fs::read_to_string(path).expect("readable");
            } else if word.matches('_').count() >= 3 {
                assert!(file.contains(&format!("fn {word}(")), "docs/faults.md names {word}");
                tests += 1;
            } else {
                assert!(!word.contains('/'), "docs/faults.md names {word}, which does not exist");
            }
        }
    }
    assert!(tests > 40, "the tables were not found");
}

#[test]
fn the_code_map_leads_to_files() {
    let architecture = read("ARCHITECTURE.md");
    let map = architecture.split("## Code map").nth(1).expect("a code map");
    let mut files = 0;
    for row in map.lines().take_while(|line| !line.starts_with("## ")) {
        let mut words = quoted(row);
        let Some(name) = words.next().filter(|name| EIGHT.contains(name)) else { continue };
        for word in words.filter(|word| word.ends_with(".rs") || word.ends_with('/')) {
            let home = root().join(name);
            let found = home.join("src").join(word).exists() || home.join(word).exists();
            assert!(found, "the code map names {word} of {name}, which does not exist");
            files += 1;
        }
    }
    assert!(files > EIGHT.len(), "the code map was not found");
}

const EIGHT: [&str; 8] = [
    "gossip-api",
    "gossip-comm",
    "gossip-discovery",
    "gossip-election",
    "gossip-service",
    "gossip-state",
    "peer-mcs",
    "xtask",
];
