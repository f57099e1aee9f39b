//! Every key we know: Fabric's by Fabric's names, and our own section.

/// How a value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Text,
    Switch,
    Count,
    /// A Go duration: `5s`, `1500ms`, `1h30m`.
    Duration,
    /// A list, or words separated by blanks.
    List,
    /// Read by the section's own reader.
    Section,
}

/// What we do with a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// Obeyed.
    Honoured,
    /// Read, said once, and not obeyed, for this reason.
    Ignored(&'static str),
}

/// One key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    /// Dotted path, in Fabric's spelling; matched without regard to case, as Fabric does.
    pub(super) path: &'static str,
    pub(super) form: Form,
    pub(super) role: Use,
}

const fn used(path: &'static str, form: Form) -> Key {
    Key { path, form, role: Use::Honoured }
}

const fn ignored(path: &'static str, form: Form, why: &'static str) -> Key {
    Key { path, form, role: Use::Ignored(why) }
}

/// Sections in which an unknown key stops the start.
pub(super) const STRICT: &[&str] = &["peer.gossip", "operations", "metrics", "gossipPeer"];

/// The keys. `peer.*` keys that are not here and not in a strict section belong to Fabric's peer, not to us.
// fabric: sampleconfig/core.yaml peer
pub(super) const KEYS: &[Key] = &[
    ignored("peer.id", Form::Text, "a peer is named by its identity"),
    used("peer.networkId", Form::Text),
    used("peer.listenAddress", Form::Text),
    used("peer.address", Form::Text),
    used("peer.localMspId", Form::Text),
    used("peer.mspConfigPath", Form::Text),
    used("peer.tls.enabled", Form::Switch),
    used("peer.tls.cert.file", Form::Text),
    used("peer.tls.key.file", Form::Text),
    used("peer.tls.rootcert.file", Form::Text),
    used("peer.tls.clientAuthRequired", Form::Switch),
    ignored(
        "peer.tls.clientRootCAs.files",
        Form::List,
        "roots come from the channels' configurations",
    ),
    ignored("peer.tls.clientCert.file", Form::Text, "one certificate serves both directions"),
    ignored("peer.tls.clientKey.file", Form::Text, "one certificate serves both directions"),
    ignored("peer.maxRecvMsgSize", Form::Count, "a block frame is at most 100 MiB"),
    ignored("peer.maxSendMsgSize", Form::Count, "a block frame is at most 100 MiB"),
    ignored("peer.keepalive.client.interval", Form::Duration, "connections keep themselves alive"),
    ignored("peer.keepalive.client.timeout", Form::Duration, "connections keep themselves alive"),
    ignored("peer.deliveryclient.blockGossipEnabled", Form::Switch, "blocks are always gossiped"),
    ignored(
        "peer.deliveryclient.reconnectTotalTimeThreshold",
        Form::Duration,
        "sources of blocks are never given up",
    ),
    used("peer.deliveryclient.connTimeout", Form::Duration),
    used("peer.deliveryclient.reConnectBackoffThreshold", Form::Duration),
    used("peer.deliveryclient.minimalReconnectInterval", Form::Duration),
    used("peer.deliveryclient.blockCensorshipTimeoutKey", Form::Duration),
    used("peer.deliveryclient.addressOverrides", Form::Section),
    used("peer.keepalive.deliveryClient.interval", Form::Duration),
    used("peer.keepalive.deliveryClient.timeout", Form::Duration),
    used("peer.gossip.bootstrap", Form::List),
    used("peer.gossip.useLeaderElection", Form::Switch),
    used("peer.gossip.orgLeader", Form::Switch),
    used("peer.gossip.endpoint", Form::Text),
    used("peer.gossip.externalEndpoint", Form::Text),
    used("peer.gossip.propagatePeerNum", Form::Count),
    used("peer.gossip.propagateIterations", Form::Count),
    used("peer.gossip.maxPropagationBurstSize", Form::Count),
    used("peer.gossip.maxPropagationBurstLatency", Form::Duration),
    used("peer.gossip.pullInterval", Form::Duration),
    used("peer.gossip.pullPeerNum", Form::Count),
    used("peer.gossip.digestWaitTime", Form::Duration),
    used("peer.gossip.requestWaitTime", Form::Duration),
    used("peer.gossip.responseWaitTime", Form::Duration),
    used("peer.gossip.dialTimeout", Form::Duration),
    used("peer.gossip.aliveTimeInterval", Form::Duration),
    used("peer.gossip.aliveExpirationTimeout", Form::Duration),
    used("peer.gossip.skipBlockVerification", Form::Switch),
    used("peer.gossip.state.enabled", Form::Switch),
    used("peer.gossip.state.checkInterval", Form::Duration),
    used("peer.gossip.state.responseTimeout", Form::Duration),
    used("peer.gossip.state.batchSize", Form::Count),
    used("peer.gossip.state.blockBufferSize", Form::Count),
    ignored("peer.gossip.state.maxRetries", Form::Count, "a range is asked for until it is there"),
    ignored("peer.gossip.state.channelSize", Form::Count, "queues have bounds of their own"),
    ignored(
        "peer.gossip.membershipTrackerInterval",
        Form::Duration,
        "the gauge follows every quarter of a second",
    ),
    ignored("peer.gossip.maxBlockCountToStore", Form::Count, "blocks are served from the ledger"),
    ignored(
        "peer.gossip.requestStateInfoInterval",
        Form::Duration,
        "who is here is exchanged every `pullInterval`, more seldom in large channels",
    ),
    ignored(
        "peer.gossip.publishStateInfoInterval",
        Form::Duration,
        "heights are told every four seconds while they change, more seldom in large channels",
    ),
    ignored("peer.gossip.stateInfoRetentionInterval", Form::Duration, "not read by Fabric either"),
    ignored("peer.gossip.publishCertPeriod", Form::Duration, "identities travel with records"),
    ignored("peer.gossip.connTimeout", Form::Duration, "a hello has two seconds"),
    ignored("peer.gossip.recvBuffSize", Form::Count, "queues are bounded in bytes"),
    ignored("peer.gossip.sendBuffSize", Form::Count, "queues are bounded in bytes"),
    ignored(
        "peer.gossip.reconnectInterval",
        Form::Duration,
        "one dead peer, drawn at random, is tried every second",
    ),
    ignored("peer.gossip.maxConnectionAttempts", Form::Count, "nobody is given up"),
    ignored("peer.gossip.msgExpirationFactor", Form::Count, "the dead are bounded in number"),
    ignored("peer.gossip.nonBlockingCommitMode", Form::Switch, "a full buffer slows its source"),
    ignored("peer.gossip.election.startupGracePeriod", Form::Duration, NO_ELECTION),
    ignored("peer.gossip.election.membershipSampleInterval", Form::Duration, NO_ELECTION),
    ignored("peer.gossip.election.leaderAliveThreshold", Form::Duration, NO_ELECTION),
    ignored("peer.gossip.election.leaderElectionDuration", Form::Duration, NO_ELECTION),
    ignored("peer.gossip.pvtData.pullRetryThreshold", Form::Duration, PRIVATE),
    ignored("peer.gossip.pvtData.transientstoreMaxBlockRetention", Form::Count, PRIVATE),
    ignored("peer.gossip.pvtData.pushAckTimeout", Form::Duration, PRIVATE),
    ignored("peer.gossip.pvtData.btlPullMargin", Form::Count, PRIVATE),
    ignored("peer.gossip.pvtData.reconcileBatchSize", Form::Count, PRIVATE),
    ignored("peer.gossip.pvtData.reconcileSleepInterval", Form::Duration, PRIVATE),
    ignored("peer.gossip.pvtData.reconciliationEnabled", Form::Switch, PRIVATE),
    ignored(
        "peer.gossip.pvtData.skipPullingInvalidTransactionsDuringCommit",
        Form::Switch,
        PRIVATE,
    ),
    ignored(
        "peer.gossip.pvtData.implicitCollectionDisseminationPolicy.requiredPeerCount",
        Form::Count,
        PRIVATE,
    ),
    ignored(
        "peer.gossip.pvtData.implicitCollectionDisseminationPolicy.maxPeerCount",
        Form::Count,
        PRIVATE,
    ),
    used("operations.listenAddress", Form::Text),
    used("operations.tls.enabled", Form::Switch),
    used("operations.tls.cert.file", Form::Text),
    used("operations.tls.key.file", Form::Text),
    used("operations.tls.clientAuthRequired", Form::Switch),
    used("operations.tls.clientRootCAs.files", Form::List),
    ignored("metrics.provider", Form::Text, "metrics are always offered to Prometheus"),
    ignored("metrics.statsd.network", Form::Text, NO_STATSD),
    ignored("metrics.statsd.address", Form::Text, NO_STATSD),
    ignored("metrics.statsd.writeInterval", Form::Duration, NO_STATSD),
    ignored("metrics.statsd.prefix", Form::Text, NO_STATSD),
    used("gossipPeer.dataDir", Form::Text),
    used("gossipPeer.spread.mode", Form::Text),
    used("gossipPeer.spread.redundancyPercent", Form::Count),
    used("gossipPeer.channels", Form::Section),
    used("gossipPeer.logging.spec", Form::Text),
    used("gossipPeer.relay.listenAddress", Form::Text),
];

const NO_ELECTION: &str = "a lease of two seconds decides, see docs/operating.md";
const PRIVATE: &str = "private data is not handled here";
const NO_STATSD: &str = "statsd is not served";
