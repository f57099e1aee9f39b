//! The rules, one function each; what they judge is plain data.

use std::fmt;

use super::facts::{Dependency, Member, Tree, Workspace};
use super::paths::paths;
use crate::source::Source;

/// One broken rule, in one sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    /// Number of the rule in ARCHITECTURE.md, "Ranks".
    pub(crate) rule: u8,
    /// The file (with its line) or crate that breaks it.
    pub(crate) place: String,
    /// What is wrong with it.
    pub(crate) fault: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} (rule {})", self.place, self.fault, self.rule)
    }
}

/// Judges `workspace` by every rule.
pub(crate) fn judge(workspace: &Workspace) -> Vec<Violation> {
    const RULES: [fn(&Workspace) -> Vec<Violation>; 9] = [
        members_are_the_eight,
        siblings_never_meet,
        runtimes_stay_in_two_crates,
        the_binary_alone_names_peer_mcs,
        node_could_be_a_crate,
        wire_formats_stay_in_their_place,
        features_of_comm_keep_apart,
        quic_stays_in_comm,
        the_lab_is_optional,
    ];
    RULES.iter().flat_map(|rule| rule(workspace)).collect()
}

/// Rule 0: eight members, and there is no ninth.
pub(crate) fn members_are_the_eight(workspace: &Workspace) -> Vec<Violation> {
    let extra = workspace.members.iter().filter(|member| !EIGHT.contains(&member.name.as_str()));
    let extra =
        extra.map(|member| violation(0, &member.name, "is a ninth member of the workspace"));
    let gone = EIGHT.iter().filter(|name| workspace.member(name).is_none());
    extra.chain(gone.map(|name| violation(0, name, "is no member of the workspace"))).collect()
}

/// Rule 1: `gossip-api` knows no crate of ours, its five users know it alone.
pub(crate) fn siblings_never_meet(workspace: &Workspace) -> Vec<Violation> {
    let mut found = Vec::new();
    for member in workspace.members.iter().filter(|member| !may_know_all(&member.name)) {
        let forbidden = |name: &str| {
            EIGHT.contains(&name)
                && name != member.name
                && (member.name == "gossip-api" || name != "gossip-api")
        };
        for dependency in member.dependencies.iter().filter(|d| forbidden(&d.name)) {
            if !(dependency.dev && dependency.name == "gossip-comm") {
                let fault = format!("depends on its sibling {}", dependency.name);
                found.push(violation(1, &member.name, &fault));
            }
        }
        for name in EIGHT.into_iter().filter(|name| forbidden(name)) {
            found.extend(named(workspace, &member.name, name, &[]).map(|place| {
                violation(1, &place, &format!("names {name}, a sibling of {}", member.name))
            }));
        }
    }
    found
}

/// Rule 2: only `gossip-comm` and `gossip-service` have tokio in their tree.
pub(crate) fn runtimes_stay_in_two_crates(workspace: &Workspace) -> Vec<Violation> {
    let pulled_in = workspace
        .trees
        .iter()
        .filter(|tree| tree.of != "gossip-comm" && tree.packages.contains("tokio"))
        .map(|tree| violation(2, &tree.of, "has tokio in its dependency tree"));
    let asked_for = workspace
        .members
        .iter()
        .filter(|member| {
            !matches!(member.name.as_str(), "gossip-comm" | "gossip-service" | "xtask")
        })
        .filter(|member| normal(member).any(|dependency| dependency.name.starts_with("tokio")))
        .map(|member| violation(2, &member.name, "depends on tokio"));
    pulled_in.chain(asked_for).collect()
}

/// Rule 3: `gossip-service` meets `peer-mcs` through traits; the binary alone names it.
pub(crate) fn the_binary_alone_names_peer_mcs(workspace: &Workspace) -> Vec<Violation> {
    let mut found: Vec<_> = named(workspace, SERVICE, "peer-mcs", &[BINARY])
        .map(|place| violation(3, &place, "names peer_mcs outside the gossip-peer binary"))
        .collect();
    let Some(service) = workspace.member(SERVICE) else { return found };
    if normal(service).any(|dependency| dependency.name == "peer-mcs" && !dependency.optional) {
        found.push(violation(3, SERVICE, "depends on peer-mcs without making it optional"));
    }
    for (feature, switched_on) in &service.features {
        let implicit = feature == "peer-mcs";
        let named = switched_on.iter().any(|item| item.contains("peer-mcs"));
        if feature != "peer" && (named || implicit) {
            let fault =
                format!("switches peer-mcs on by its feature `{feature}`, not by `peer` alone");
            found.push(violation(3, SERVICE, &fault));
        }
    }
    found
}

/// Rule 4: `node/` imports `gossip-api`, itself and what a protocol crate may depend on.
pub(crate) fn node_could_be_a_crate(workspace: &Workspace) -> Vec<Violation> {
    let outside = outside_of_node(workspace);
    let in_node = workspace.sources.iter().filter(|source| source.path.starts_with(NODE));
    in_node
        .flat_map(|source| {
            paths(&source.code).into_iter().filter_map(|(line, path)| {
                let fault = node_fault(&source.path, &path, &outside)?;
                Some(violation(4, &format!("{}:{line}", source.path), &fault))
            })
        })
        .collect()
}

/// Rule 5: the codec alone names `bincode`; Fabric's shapes, the binary and xtask alone name `prost`.
pub(crate) fn wire_formats_stay_in_their_place(workspace: &Workspace) -> Vec<Violation> {
    let mut found = Vec::new();
    for (library, homes) in [("bincode", BINCODE), ("prost", PROST)] {
        for place in named_anywhere(workspace, library, homes) {
            found.push(violation(
                5,
                &place,
                &format!("names {library} outside {}", homes.join(", ")),
            ));
        }
    }
    for member in &workspace.members {
        if member.name != "gossip-api" && normal(member).any(|d| d.name == "bincode") {
            found.push(violation(
                5,
                &member.name,
                "depends on bincode, which is gossip-api's alone",
            ));
        }
    }
    found
}

/// Rule 6: `sim` is free of QUIC and runtimes, and others use it in tests alone.
pub(crate) fn features_of_comm_keep_apart(workspace: &Workspace) -> Vec<Violation> {
    let mut found: Vec<_> = workspace.trees.iter().flat_map(heavy_simulation).collect();
    if let Some(comm) = workspace.member("gossip-comm") {
        if comm.features.get("default").is_none_or(|on| on.as_slice() != ["quic"]) {
            found.push(violation(6, "gossip-comm", "has other default features than `quic`"));
        }
        for feature in ["quic", "sim"].into_iter().filter(|name| !comm.features.contains_key(*name))
        {
            found.push(violation(6, "gossip-comm", &format!("lacks the feature `{feature}`")));
        }
    }
    for member in workspace.members.iter().filter(|member| member.name != "xtask") {
        let uses = member.dependencies.iter().filter(|d| d.name == "gossip-comm");
        found.extend(uses.filter_map(|d| comm_fault(&member.name, d)));
    }
    found
}

/// Invariant 1: quinn and rustls are `gossip-comm`'s alone.
pub(crate) fn quic_stays_in_comm(workspace: &Workspace) -> Vec<Violation> {
    let others =
        || workspace.members.iter().filter(|m| m.name != "gossip-comm" && m.name != "xtask");
    let is_quic = |name: &str| QUIC.contains(&name);
    let depends = others()
        .filter(|member| normal(member).any(|dependency| is_quic(&dependency.name)))
        .map(|member| {
            violation(2, &member.name, "depends on quinn or rustls, which are gossip-comm's alone")
        });
    let names = QUIC.into_iter().flat_map(|library| {
        named_anywhere(workspace, library, &["gossip-comm/src/", "xtask/", OPERATIONS_TLS])
            .map(move |place| violation(2, &place, &format!("names {library} outside gossip-comm")))
    });
    depends.chain(names).collect()
}

/// xtask's exemption: what it links of ours sits behind `lab`.
pub(crate) fn the_lab_is_optional(workspace: &Workspace) -> Vec<Violation> {
    let Some(xtask) = workspace.member("xtask") else { return Vec::new() };
    let heavy = normal(xtask).filter(|d| EIGHT.contains(&d.name.as_str()) && !d.optional);
    let heavy = heavy.map(|d| format!("links {} without the feature `lab`", d.name));
    let switched = xtask.features.iter().filter(|(name, on)| {
        name.as_str() != "lab" && on.iter().any(|item| EIGHT.iter().any(|ours| item.contains(ours)))
    });
    let switched = switched
        .map(|(name, _)| format!("links crates of ours by its feature `{name}`, not by `lab`"));
    heavy.chain(switched).map(|fault| violation(6, "xtask", &fault)).collect()
}

fn heavy_simulation(tree: &Tree) -> Vec<Violation> {
    let banned: &[&str] = match (tree.of.as_str(), tree.feature.as_str()) {
        ("gossip-comm", "sim") => &["tokio", "quinn", "quinn-proto"],
        ("gossip-comm", "sim-quic") => &["tokio", "quinn"],
        _ => &[],
    };
    let pulled_in = banned.iter().filter(|name| tree.packages.contains(**name));
    pulled_in
        .map(|name| {
            let fault = format!("pulls in {name} with the feature `{}` alone", tree.feature);
            violation(6, &tree.of, &fault)
        })
        .collect()
}

fn comm_fault(member: &str, dependency: &Dependency) -> Option<Violation> {
    let simulates = dependency.features.iter().any(|feature| feature.starts_with("sim"));
    let fault = if simulates && !dependency.dev {
        "switches on gossip-comm's simulation outside tests"
    } else if simulates && dependency.default_features {
        "uses gossip-comm's simulation without `default-features = false`"
    } else {
        return None;
    };
    Some(violation(6, member, fault))
}

/// Names (as written in code) that `node/` may not use: what `gossip-service` depends on and no protocol crate does.
fn outside_of_node(workspace: &Workspace) -> Vec<String> {
    let protocol = ["gossip-discovery", "gossip-election", "gossip-state"];
    let allowed: Vec<&str> = workspace
        .members
        .iter()
        .filter(|member| protocol.contains(&member.name.as_str()))
        .flat_map(|member| normal(member).map(|d| d.name.as_str()))
        .collect();
    let service = workspace.member(SERVICE).into_iter().flat_map(|member| &member.dependencies);
    service
        .map(|dependency| dependency.name.as_str())
        .chain([SERVICE])
        .filter(|name| !allowed.contains(name) && !PURE.contains(name))
        .map(|name| name.replace('-', "_"))
        .collect()
}

/// What the node needs and no other protocol: crates that compute, and know neither time nor world.
const PURE: [&str; 1] = ["reed-solomon-simd"];

/// What is wrong with `path`, used in the file `file` below `node/`.
fn node_fault(file: &str, path: &[String], outside: &[String]) -> Option<String> {
    let (root, rest) = path.split_first()?;
    let shown = path.join("::");
    match root.as_str() {
        "crate" if rest.first().is_some_and(|next| next != "node") => {
            Some(format!("imports `{shown}`, which is outside node/"))
        }
        "super" => {
            let ups = path.iter().take_while(|segment| *segment == "super").count();
            (ups > depth_in_node(file)).then(|| format!("leaves node/ by `{shown}`"))
        }
        "std" if rest.first().is_some_and(|next| next == "time") => {
            let clock =
                rest.iter().find(|segment| matches!(segment.as_str(), "Instant" | "SystemTime"))?;
            Some(format!("names std's {clock}; a machine is told the time"))
        }
        "std"
            if rest
                .first()
                .is_some_and(|next| matches!(next.as_str(), "thread" | "net" | "fs")) =>
        {
            Some(format!("names `{shown}`; a machine owns no task, socket or file"))
        }
        root if outside.iter().any(|name| name == root) => {
            Some(format!("names `{root}`, which no protocol crate may"))
        }
        _ => None,
    }
}

/// How many modules deep below `node` the file is: 0 for node/mod.rs, 1 for node/push.rs.
fn depth_in_node(file: &str) -> usize {
    let below = file.trim_start_matches(NODE).trim_start_matches('/');
    let below = below.trim_end_matches(".rs").trim_end_matches("mod").trim_end_matches('/');
    below.split('/').filter(|part| !part.is_empty()).count()
}

/// Places in the code of `member`, outside `homes`, where the crate `name` is named.
fn named<'a>(
    workspace: &'a Workspace,
    member: &'a str,
    name: &'a str,
    homes: &'a [&'a str],
) -> impl Iterator<Item = String> + 'a {
    let home = format!("{member}/");
    let word = name.replace('-', "_");
    workspace
        .sources
        .iter()
        .filter(move |source| source.path.starts_with(&home) && !at_home(source, homes))
        .filter_map(move |source| Some(format!("{}:{}", source.path, source.line_of(&word)?)))
}

/// Places in any code, outside `homes`, where the crate `name` is named.
fn named_anywhere<'a>(
    workspace: &'a Workspace,
    name: &'a str,
    homes: &'a [&'a str],
) -> impl Iterator<Item = String> + 'a {
    let word = name.replace('-', "_");
    workspace
        .sources
        .iter()
        .filter(move |source| !at_home(source, homes))
        .filter_map(move |source| Some(format!("{}:{}", source.path, source.line_of(&word)?)))
}

fn at_home(source: &Source, homes: &[&str]) -> bool {
    homes.iter().any(|home| source.path.starts_with(home))
}

fn may_know_all(member: &str) -> bool {
    matches!(member, SERVICE | "xtask")
}

fn normal(member: &Member) -> impl Iterator<Item = &Dependency> {
    member.dependencies.iter().filter(|dependency| !dependency.dev)
}

fn violation(rule: u8, place: &str, fault: &str) -> Violation {
    Violation { rule, place: place.to_owned(), fault: fault.to_owned() }
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
const SERVICE: &str = "gossip-service";
const BINARY: &str = "gossip-service/src/bin/gossip-peer/";
/// Mutual TLS over TCP for operators: no QUIC, and no library of its own between.
const OPERATIONS_TLS: &str = "gossip-service/src/bin/gossip-peer/tls.rs";
const NODE: &str = "gossip-service/src/node";
const BINCODE: &[&str] = &["gossip-api/src/message/codec.rs"];
const PROST: &[&str] = &["peer-mcs/src/fabric/", BINARY, "xtask/"];
const QUIC: [&str; 4] = ["quinn", "quinn-proto", "rustls", "rustls-webpki"];
