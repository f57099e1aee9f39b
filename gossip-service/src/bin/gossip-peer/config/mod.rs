//! `core.yaml`: Fabric's keys, checked before anything starts.
//!
//! Each failure is one sentence that says which key and what to change.

mod costs;
mod keys;
mod tree;
mod value;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gossip_api::{Endpoint, NetworkId};
use gossip_service::node::SpreadMode;
use serde::Deserialize;

use keys::Use;
use tree::Tree;
pub(crate) use value::parse_duration;

use crate::grpc::client::KeepAlive;
use crate::orderers::{Override, Settings};

/// What the daemon runs with.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) network: NetworkId,
    pub(crate) listen: SocketAddr,
    pub(crate) internal_endpoint: Endpoint,
    pub(crate) external_endpoint: Option<Endpoint>,
    pub(crate) bootstrap: Vec<Endpoint>,
    pub(crate) msp_id: String,
    pub(crate) msp_dir: PathBuf,
    pub(crate) tls: TlsFiles,
    pub(crate) leadership: Leadership,
    /// How new blocks spread.
    pub(crate) spread_mode: SpreadMode,
    /// Bytes that a block in shares may cost each peer, in hundredths of its data.
    pub(crate) redundancy_max: Option<u32>,
    pub(crate) operations: Operations,
    pub(crate) data_dir: PathBuf,
    pub(crate) channels: Vec<ChannelFiles>,
    pub(crate) orderers: Settings,
    /// Where Fabric's Deliver is served, if it is.
    pub(crate) relay: Option<Relay>,
    pub(crate) timings: Timings,
    /// What is logged, in Fabric's notation or in `RUST_LOG`'s.
    pub(crate) log_spec: Option<String>,
    /// What the operator should be told, once.
    pub(crate) notices: Notices,
}

/// Where the operations endpoint is, and who may ask it.
#[derive(Clone, Debug)]
pub(crate) struct Operations {
    pub(crate) listen: SocketAddr,
    /// Mutual TLS; without it the address is on loopback.
    pub(crate) tls: Option<OperationsTls>,
}

/// TLS material of the operations endpoint on disk.
#[derive(Clone, Debug)]
pub(crate) struct OperationsTls {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) client_roots: Vec<PathBuf>,
}

/// How the organisation finds its leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leadership {
    /// The peers elect it.
    Elected,
    /// This peer is it, or is not.
    Named(bool),
}

/// TLS material on disk.
#[derive(Clone, Debug)]
pub(crate) struct TlsFiles {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) roots: Option<PathBuf>,
}

/// A channel to join at start.
#[derive(Clone, Debug)]
pub(crate) struct ChannelFiles {
    pub(crate) genesis: PathBuf,
    pub(crate) source: Source,
}

/// Where a leader takes the blocks of a channel from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The ordering service that the channel's configuration names.
    Orderers,
    /// A directory of serialized blocks.
    Directory(PathBuf),
    /// From nowhere: all blocks come from other peers.
    Nowhere,
}

/// Where Fabric's Deliver is served.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Relay {
    pub(crate) listen: SocketAddr,
    /// Clients have to show a certificate of the channels' organisations.
    pub(crate) mutual: bool,
}

impl ChannelFiles {
    /// A channel that was joined while the peer ran, kept in this file.
    pub(crate) fn joined(genesis: PathBuf) -> Self {
        Self { genesis, source: Source::Orderers }
    }
}

/// Values that override a machine's default, where the operator set them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Timings {
    pub(crate) propagate_peers: Option<usize>,
    pub(crate) push_iterations: Option<usize>,
    pub(crate) push_batch: Option<usize>,
    pub(crate) push_wait: Option<Duration>,
    pub(crate) pull_every: Option<Duration>,
    pub(crate) pull_peers: Option<usize>,
    pub(crate) digest_wait: Option<Duration>,
    pub(crate) request_wait: Option<Duration>,
    pub(crate) response_wait: Option<Duration>,
    pub(crate) dial_timeout: Option<Duration>,
    pub(crate) alive_every: Option<Duration>,
    pub(crate) alive_expiration: Option<Duration>,
    pub(crate) state_enabled: Option<bool>,
    pub(crate) state_check: Option<Duration>,
    pub(crate) state_patience: Option<Duration>,
    pub(crate) state_batch: Option<u64>,
    pub(crate) state_buffer: Option<u64>,
}

/// What is said once at the start.
#[derive(Clone, Debug, Default)]
pub(crate) struct Notices {
    /// Keys that are not ours.
    pub(crate) foreign: Vec<String>,
    /// Keys of Fabric's that we read and do not obey, with the reason.
    pub(crate) ignored: Vec<(&'static str, &'static str)>,
    /// Values that miss our figures, with what that costs.
    pub(crate) costs: Vec<String>,
}

/// Why the configuration cannot be used: one sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Failure(pub(crate) String);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ChannelEntry {
    genesis: String,
    source: Option<SourceEntry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SourceEntry {
    file: Option<String>,
    orderers: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OverrideEntry {
    from: String,
    to: String,
    #[serde(rename = "caCertsFile")]
    roots: Option<String>,
}

/// Reads the file and the environment.
pub(crate) fn load(file: &Path) -> Result<Config, Failure> {
    let yaml = std::fs::read_to_string(file)
        .map_err(|error| Failure(format!("cannot read {}: {error}", file.display())))?;
    let base = file.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let config = parse(&yaml, std::env::vars(), base)?;
    check_files(&config)?;
    Ok(config)
}

/// Everything but the file system.
fn parse(
    yaml: &str,
    environment: impl IntoIterator<Item = (String, String)>,
    base: &Path,
) -> Result<Config, Failure> {
    let mut notices = Notices::default();
    let tree = Tree::read(yaml, environment, &mut notices)?;
    for key in tree.keys() {
        value::check_form(&tree, key)?;
        if let Use::Ignored(why) = key.role {
            notices.ignored.push((key.path, why));
        }
    }
    refuse_insecure(&tree)?;
    let path = |text: String| base.join(text);
    let listen = value::address(&tree, "peer.listenAddress")?;
    let own_address = value::text(&tree, "peer.address")?;
    let internal = match value::text(&tree, "peer.gossip.endpoint")? {
        Some(endpoint) => endpoint,
        None => own_address.unwrap_or_else(|| listen.to_string()),
    };
    Ok(Config {
        network: network(&tree)?,
        listen,
        internal_endpoint: value::endpoint("peer.gossip.endpoint", &internal)?,
        external_endpoint: value::text(&tree, "peer.gossip.externalEndpoint")?
            .map(|text| value::endpoint("peer.gossip.externalEndpoint", &text))
            .transpose()?,
        bootstrap: value::list(&tree, "peer.gossip.bootstrap")?
            .iter()
            .map(|text| value::endpoint("peer.gossip.bootstrap", text))
            .collect::<Result<_, _>>()?,
        msp_id: value::required(&tree, "peer.localMspId")?,
        msp_dir: path(value::required(&tree, "peer.mspConfigPath")?),
        tls: TlsFiles {
            cert: path(value::required(&tree, "peer.tls.cert.file")?),
            key: path(value::required(&tree, "peer.tls.key.file")?),
            roots: value::text(&tree, "peer.tls.rootcert.file")?.map(path),
        },
        leadership: leadership(&tree)?,
        operations: operations(&tree, base)?,
        data_dir: path(value::required(&tree, "gossipPeer.dataDir")?),
        channels: channels(&tree, base)?,
        orderers: orderers(&tree, base)?,
        relay: relay(&tree)?,
        spread_mode: spread_mode(&tree)?,
        redundancy_max: redundancy_max(&tree)?,
        log_spec: value::text(&tree, "gossipPeer.logging.spec")?,
        timings: {
            let timings = timings(&tree)?;
            notices.costs = costs::of(&timings);
            timings
        },
        notices,
    })
}

fn refuse_insecure(tree: &Tree) -> Result<(), Failure> {
    if value::switch(tree, "peer.gossip.skipBlockVerification")? == Some(true) {
        return Err(Failure(
            "peer.gossip.skipBlockVerification is true: blocks are always verified here, remove the key".into(),
        ));
    }
    if value::switch(tree, "peer.tls.enabled")? == Some(false) {
        return Err(Failure(
            "peer.tls.enabled is false: peers talk over TLS only, set it to true or remove the key"
                .into(),
        ));
    }
    Ok(())
}

fn network(tree: &Tree) -> Result<NetworkId, Failure> {
    let name = value::text(tree, "peer.networkId")?.unwrap_or_else(|| "dev".into());
    NetworkId::new(&name).map_err(|error| {
        Failure(format!("peer.networkId is too long: {error}, choose a shorter name"))
    })
}

fn spread_mode(tree: &Tree) -> Result<SpreadMode, Failure> {
    match value::text(tree, "gossipPeer.spread.mode")?.as_deref() {
        None | Some("header-first") => Ok(SpreadMode::HeaderFirst),
        Some("coded") => Ok(SpreadMode::Coded),
        Some("auto") => Ok(SpreadMode::Auto),
        Some("push") => Ok(SpreadMode::Push),
        Some("pull") => Ok(SpreadMode::Pull),
        Some("push-pull") => Ok(SpreadMode::PushPull),
        Some(other) => Err(Failure(format!(
            "gossipPeer.spread.mode is {other}: write auto, header-first, coded, push, pull or push-pull"
        ))),
    }
}

fn redundancy_max(tree: &Tree) -> Result<Option<u32>, Failure> {
    let path = "gossipPeer.spread.redundancyPercent";
    let wrong = |percent| {
        Failure(format!(
            "{path} is {percent}: write 100, one copy to each peer, to 200, two copies"
        ))
    };
    let percent = value::count(tree, path)?;
    let checked = |percent: u64| match u32::try_from(percent) {
        Ok(within @ 100..=200) => Ok(within),
        Ok(_) | Err(_) => Err(wrong(percent)),
    };
    percent.map(checked).transpose()
}

// fabric: gossip/service/gossip_service.go InitializeChannel
fn leadership(tree: &Tree) -> Result<Leadership, Failure> {
    let elect = value::switch(tree, "peer.gossip.useLeaderElection")?;
    let leader = value::switch(tree, "peer.gossip.orgLeader")?;
    match (elect, leader) {
        (Some(true), Some(true)) => Err(Failure(
            "peer.gossip.useLeaderElection and peer.gossip.orgLeader are both true: a leader is either elected or named, set one of them to false".into(),
        )),
        (Some(true), _) | (None, None | Some(false)) => Ok(Leadership::Elected),
        (None | Some(false), leader) => Ok(Leadership::Named(leader.unwrap_or(false))),
    }
}

fn operations(tree: &Tree, base: &Path) -> Result<Operations, Failure> {
    let listen = match value::text(tree, "operations.listenAddress")? {
        Some(_) => value::address(tree, "operations.listenAddress")?,
        None => SocketAddr::from(([127, 0, 0, 1], 9443)),
    };
    if value::switch(tree, "operations.tls.enabled")? != Some(true) {
        if !listen.ip().is_loopback() {
            return Err(Failure(format!(
                "operations.listenAddress {listen} is not on loopback: use 127.0.0.1 or [::1], or set operations.tls.enabled with a certificate and the roots of clients"
            )));
        }
        return Ok(Operations { listen, tls: None });
    }
    if value::switch(tree, "operations.tls.clientAuthRequired")? == Some(false) {
        return Err(Failure(
            "operations.tls.clientAuthRequired is false: clients always have to show a certificate, set it to true or remove the key".into(),
        ));
    }
    let roots = value::list(tree, "operations.tls.clientRootCAs.files")?;
    if roots.is_empty() {
        return Err(Failure(
            "operations.tls.clientRootCAs.files is empty: name the authorities of the clients' certificates".into(),
        ));
    }
    Ok(Operations {
        listen,
        tls: Some(OperationsTls {
            cert: base.join(value::required(tree, "operations.tls.cert.file")?),
            key: base.join(value::required(tree, "operations.tls.key.file")?),
            client_roots: roots.into_iter().map(|file| base.join(file)).collect(),
        }),
    })
}

fn channels(tree: &Tree, base: &Path) -> Result<Vec<ChannelFiles>, Failure> {
    let Some(value) = tree.get("gossipPeer.channels") else { return Ok(Vec::new()) };
    let entries: Vec<ChannelEntry> = serde_json::from_value(value.clone()).map_err(|error| {
        Failure(format!(
            "gossipPeer.channels is not a list of {{genesis: FILE, source: {{file: DIR}} or {{orderers: true}}}}: {error}"
        ))
    })?;
    let files = entries.into_iter().map(|entry| {
        Ok(ChannelFiles { genesis: base.join(entry.genesis), source: source(entry.source, base)? })
    });
    files.collect()
}

fn source(entry: Option<SourceEntry>, base: &Path) -> Result<Source, Failure> {
    match entry {
        None | Some(SourceEntry { file: None, orderers: None | Some(true) }) => {
            Ok(Source::Orderers)
        }
        Some(SourceEntry { file: None, orderers: Some(false) }) => Ok(Source::Nowhere),
        Some(SourceEntry { file: Some(file), orderers: None | Some(false) }) => {
            Ok(Source::Directory(base.join(file)))
        }
        Some(SourceEntry { file: Some(_), orderers: Some(true) }) => Err(Failure(
            "gossipPeer.channels: a source is either `file` or `orderers: true`, remove one".into(),
        )),
    }
}

// fabric: core/deliverservice/config.go loadDeliverServiceConfig
fn orderers(tree: &Tree, base: &Path) -> Result<Settings, Failure> {
    let defaults = Settings::default();
    let duration =
        |path, otherwise| Ok::<_, Failure>(value::duration(tree, path)?.unwrap_or(otherwise));
    Ok(Settings {
        connect_timeout: duration("peer.deliveryclient.connTimeout", defaults.connect_timeout)?,
        retry_min: duration("peer.deliveryclient.minimalReconnectInterval", defaults.retry_min)?,
        retry_max: duration("peer.deliveryclient.reConnectBackoffThreshold", defaults.retry_max)?,
        withheld_max: duration(
            "peer.deliveryclient.blockCensorshipTimeoutKey",
            defaults.withheld_max,
        )?,
        keep_alive: KeepAlive {
            every: duration("peer.keepalive.deliveryClient.interval", defaults.keep_alive.every)?,
            timeout: duration(
                "peer.keepalive.deliveryClient.timeout",
                defaults.keep_alive.timeout,
            )?,
        },
        overrides: overrides(tree, base)?,
    })
}

fn overrides(tree: &Tree, base: &Path) -> Result<Vec<Override>, Failure> {
    let Some(value) = tree.get("peer.deliveryclient.addressOverrides") else {
        return Ok(Vec::new());
    };
    let entries: Option<Vec<OverrideEntry>> =
        serde_json::from_value(value.clone()).map_err(|error| {
            Failure(format!(
                "peer.deliveryclient.addressOverrides is not a list of {{from: HOST:PORT, to: HOST:PORT, caCertsFile: FILE}}: {error}"
            ))
        })?;
    let entries = entries.unwrap_or_default().into_iter().map(|entry| Override {
        from: entry.from,
        to: entry.to,
        roots: entry.roots.filter(|file| !file.is_empty()).map(|file| base.join(file)),
    });
    Ok(entries.collect())
}

fn relay(tree: &Tree) -> Result<Option<Relay>, Failure> {
    if value::text(tree, "gossipPeer.relay.listenAddress")?.is_none() {
        return Ok(None);
    }
    let mutual = value::switch(tree, "peer.tls.clientAuthRequired")?.unwrap_or(false);
    Ok(Some(Relay { listen: value::address(tree, "gossipPeer.relay.listenAddress")?, mutual }))
}

fn timings(tree: &Tree) -> Result<Timings, Failure> {
    let duration = |path| value::duration(tree, path);
    Ok(Timings {
        propagate_peers: value::size(tree, "peer.gossip.propagatePeerNum")?,
        push_iterations: value::size(tree, "peer.gossip.propagateIterations")?,
        push_batch: value::size(tree, "peer.gossip.maxPropagationBurstSize")?,
        push_wait: duration("peer.gossip.maxPropagationBurstLatency")?,
        pull_every: duration("peer.gossip.pullInterval")?,
        pull_peers: value::size(tree, "peer.gossip.pullPeerNum")?,
        digest_wait: duration("peer.gossip.digestWaitTime")?,
        request_wait: duration("peer.gossip.requestWaitTime")?,
        response_wait: duration("peer.gossip.responseWaitTime")?,
        dial_timeout: duration("peer.gossip.dialTimeout")?,
        alive_every: duration("peer.gossip.aliveTimeInterval")?,
        alive_expiration: duration("peer.gossip.aliveExpirationTimeout")?,
        state_enabled: value::switch(tree, "peer.gossip.state.enabled")?,
        state_check: duration("peer.gossip.state.checkInterval")?,
        state_patience: duration("peer.gossip.state.responseTimeout")?,
        state_batch: value::count(tree, "peer.gossip.state.batchSize")?,
        state_buffer: value::count(tree, "peer.gossip.state.blockBufferSize")?,
    })
}

/// A sample's configuration, and the keys that it does not show.
#[cfg(test)]
pub(crate) fn read_sample(
    yaml: &str,
    environment: &[(&str, &str)],
) -> Result<(Config, Vec<&'static str>), Failure> {
    let environment =
        || environment.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    let tree = Tree::read(yaml, environment(), &mut Notices::default())?;
    let held: Vec<&str> = tree.keys().map(|key| key.path).collect();
    let is_named = |path: &str| {
        // A key without a value is shown all the same.
        let last = path.rsplit('.').next().unwrap_or(path);
        held.contains(&path) || yaml.lines().any(|line| line.trim() == format!("{last}:"))
    };
    let missing = keys::KEYS.iter().map(|key| key.path).filter(|path| !is_named(path)).collect();
    Ok((parse(yaml, environment(), Path::new("/etc/gossip-peer"))?, missing))
}

/// Missing files are told before anything starts.
fn check_files(config: &Config) -> Result<(), Failure> {
    let mut files = vec![
        ("peer.tls.cert.file", &config.tls.cert),
        ("peer.tls.key.file", &config.tls.key),
        ("peer.mspConfigPath", &config.msp_dir),
    ];
    if let Some(tls) = &config.operations.tls {
        files.push(("operations.tls.cert.file", &tls.cert));
        files.push(("operations.tls.key.file", &tls.key));
        let roots = tls.client_roots.iter();
        files.extend(roots.map(|file| ("operations.tls.clientRootCAs.files", file)));
    }
    files.extend(config.tls.roots.iter().map(|file| ("peer.tls.rootcert.file", file)));
    for channel in &config.channels {
        files.push(("gossipPeer.channels: genesis", &channel.genesis));
        if let Source::Directory(dir) = &channel.source {
            files.push(("gossipPeer.channels: source", dir));
        }
    }
    match files.into_iter().find(|(_, file)| !file.exists()) {
        Some((key, file)) => Err(Failure(format!(
            "{key} names {}, which does not exist: correct the path",
            file.display()
        ))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
