//! What the rules judge: members, their dependencies, their resolved trees, their sources.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use cargo_metadata::{DependencyKind, MetadataCommand, Package};

use crate::shell;
use crate::source::{self, Source};

/// The workspace as the rules see it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Workspace {
    /// Its members.
    pub(crate) members: Vec<Member>,
    /// What a build of some of them pulls in.
    pub(crate) trees: Vec<Tree>,
    /// Every Rust file.
    pub(crate) sources: Vec<Source>,
}

/// One member of the workspace, as its manifest tells.
#[derive(Clone, Debug, Default)]
pub(crate) struct Member {
    /// Name of the package.
    pub(crate) name: String,
    /// Its own dependencies, of every kind.
    pub(crate) dependencies: Vec<Dependency>,
    /// Its features and what each switches on.
    pub(crate) features: BTreeMap<String, Vec<String>>,
}

/// One line of a manifest's dependency tables.
#[derive(Clone, Debug, Default)]
pub(crate) struct Dependency {
    /// Name of the package.
    pub(crate) name: String,
    /// Whether only tests, examples and benchmarks see it.
    pub(crate) dev: bool,
    /// Whether it is there on demand alone.
    pub(crate) optional: bool,
    /// Whether its default features are on.
    pub(crate) default_features: bool,
    /// The features asked for.
    pub(crate) features: Vec<String>,
}

/// The normal and build dependencies of one build, resolved.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tree {
    /// The member that is built.
    pub(crate) of: String,
    /// The features it is built with; empty for all of them.
    pub(crate) feature: String,
    /// Names of all packages in the tree.
    pub(crate) packages: BTreeSet<String>,
}

impl Workspace {
    /// The member called `name`.
    pub(crate) fn member(&self, name: &str) -> Option<&Member> {
        self.members.iter().find(|member| member.name == name)
    }
}

/// Reads the workspace we stand in.
pub(crate) fn read() -> Result<Workspace> {
    let metadata = MetadataCommand::new()
        .current_dir(shell::root())
        .no_deps()
        .exec()
        .context("cannot read the workspace's manifests")?;
    let members: Vec<Member> = metadata.workspace_packages().into_iter().map(member).collect();
    let trees = trees(&members)?;
    let sources = source::read_all(&shell::root())?;
    Ok(Workspace { members, trees, sources })
}

fn member(package: &Package) -> Member {
    let dependencies = package.dependencies.iter().map(|dependency| Dependency {
        name: dependency.name.clone(),
        dev: dependency.kind == DependencyKind::Development,
        optional: dependency.optional,
        default_features: dependency.uses_default_features,
        features: dependency.features.clone(),
    });
    Member {
        name: package.name.to_string(),
        dependencies: dependencies.collect(),
        features: package.features.clone(),
    }
}

/// The trees that rules 2 and 6 speak of: what must build without an async runtime.
fn trees(members: &[Member]) -> Result<Vec<Tree>> {
    let mut trees = Vec::new();
    for member in members {
        match member.name.as_str() {
            "gossip-comm" => {
                for feature in member.features.keys().filter(|name| name.starts_with("sim")) {
                    trees.push(tree(&member.name, feature)?);
                }
            }
            "gossip-service" | "xtask" => {}
            _ => trees.push(tree(&member.name, "")?),
        }
    }
    Ok(trees)
}

/// Resolves `of` with `feature` alone, or with all its features if that is empty.
fn tree(of: &str, feature: &str) -> Result<Tree> {
    let mut command = shell::cargo(["tree", "--quiet", "--package", of, "--edges", "normal,build"]);
    command.args(["--target", "all", "--prefix", "none", "--format", "{p}"]);
    match feature {
        "" => command.arg("--all-features"),
        feature => command.args(["--no-default-features", "--features", feature]),
    };
    let packages = shell::output(&mut command)?
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .map(str::to_owned)
        .collect();
    Ok(Tree { of: of.to_owned(), feature: feature.to_owned(), packages })
}
