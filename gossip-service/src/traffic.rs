//! What goes in and out, by organisation, and how blocks come: how many copies of each, how soon.

use std::collections::BTreeMap;

use gossip_api::message::ChannelRef;
use gossip_api::{
    Block, ChannelId, Envelope, Height, IdentityMap, Message, Mono, PkiId, SeqNum, SignedMessage,
};
use gossip_comm::{Command, Event, InboundId};
use prometheus::{
    GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry, exponential_buckets,
};

/// Metrics of traffic, and what they are computed from.
#[derive(Debug)]
pub(crate) struct Traffic {
    received: IntCounterVec,
    sent: IntCounterVec,
    copies: IntCounterVec,
    redundancy: GaugeVec,
    propagation: HistogramVec,
    header_lead: HistogramVec,
    /// Who waits for which answer of ours.
    asking: BTreeMap<InboundId, PkiId>,
    channels: BTreeMap<ChannelId, Arrivals>,
    by_org: BTreeMap<String, OrgTraffic>,
}

/// What came from an organisation and what went to it, in bytes, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OrgTraffic {
    /// From its peers.
    pub received: u64,
    /// To its peers.
    pub sent: u64,
}

/// Blocks of one channel that came from peers.
#[derive(Debug, Default)]
struct Arrivals {
    copies: u64,
    blocks: u64,
    /// When the first copy came of each block that is not committed.
    first: BTreeMap<SeqNum, Mono>,
    /// When its header came first, of each block whose data has not come.
    headers: BTreeMap<SeqNum, Mono>,
}

impl Arrivals {
    /// A header came, ahead of its data or not.
    fn header(&mut self, now: Mono, number: SeqNum, height: Height) {
        let is_ahead = number >= height.next_block() && !self.first.contains_key(&number);
        if is_ahead && number.get().saturating_sub(height.get()) < ARRIVALS_MAX {
            self.headers.entry(number).or_insert(now);
        }
    }
}

impl Traffic {
    /// Registers everything with `registry`.
    pub(crate) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let bytes = |name: &str, help: &str| IntCounterVec::new(Opts::new(name, help), &["org"]);
        let traffic = Self {
            received: bytes(
                "gossip_bytes_received",
                "Bytes of messages from peers of the organisation",
            )?,
            sent: bytes("gossip_bytes_sent", "Bytes of messages to peers of the organisation")?,
            copies: IntCounterVec::new(
                Opts::new("gossip_block_copies_received", "Blocks from peers, duplicates included"),
                &["channel"],
            )?,
            redundancy: GaugeVec::new(
                Opts::new(
                    "gossip_block_redundancy",
                    "Copies of blocks from peers for each block that came from peers; 1 is the least",
                ),
                &["channel"],
            )?,
            propagation: HistogramVec::new(
                HistogramOpts::new(
                    "gossip_block_propagation_duration",
                    "Seconds from the arrival of a block's first copy from a peer until it is durable",
                )
                .buckets(exponential_buckets(0.001, 2.0, 16)?),
                &["channel"],
            )?,
            header_lead: HistogramVec::new(
                HistogramOpts::new(
                    "gossip_header_lead_duration",
                    "Seconds from the arrival of a block's header from a peer to that of its data",
                )
                .buckets(exponential_buckets(0.001, 2.0, 16)?),
                &["channel"],
            )?,
            asking: BTreeMap::new(),
            channels: BTreeMap::new(),
            by_org: BTreeMap::new(),
        };
        registry.register(Box::new(traffic.received.clone()))?;
        registry.register(Box::new(traffic.sent.clone()))?;
        registry.register(Box::new(traffic.copies.clone()))?;
        registry.register(Box::new(traffic.redundancy.clone()))?;
        registry.register(Box::new(traffic.propagation.clone()))?;
        registry.register(Box::new(traffic.header_lead.clone()))?;
        Ok(traffic)
    }

    /// Counts what the transport gives. `height` tells how far a channel is.
    pub(crate) fn count_event(
        &mut self,
        now: Mono,
        identities: &IdentityMap,
        event: &Event,
        height: impl Fn(&ChannelId) -> Option<Height>,
    ) {
        let (from, message): (&PkiId, &SignedMessage) = match event {
            Event::Received { from, message } | Event::Response { from, message, .. } => {
                (from, message)
            }
            Event::Request { from, id, message } => {
                self.asking.insert(*id, *from);
                (from, message)
            }
            Event::Connected(_)
            | Event::Disconnected { .. }
            | Event::DialFailed { .. }
            | Event::ResponseEnd { .. } => return,
        };
        let len = message.envelope.encoded_len();
        let (org, bytes) = count(&self.received, identities, from, len);
        let held = self.by_org.entry(org).or_default();
        held.received = held.received.saturating_add(bytes);
        if let Message::Header(header) = &message.message
            && let Some(height) = height(&header.channel)
        {
            let arrivals = self.channels.entry(header.channel.clone()).or_default();
            arrivals.header(now, header.block.number, height);
        }
        if let (Some(block), Some(ChannelRef::Name(name))) =
            (message.message.block(), message.message.channel())
            && let Some(height) = height(&name)
        {
            self.count_copy(now, &name, block, height);
        }
    }

    fn count_copy(&mut self, now: Mono, name: &ChannelId, block: &Block, height: Height) {
        let arrivals = self.channels.entry(name.clone()).or_default();
        arrivals.copies = arrivals.copies.saturating_add(1);
        self.copies.with_label_values(&[name.as_str()]).inc();
        let is_new = block.number >= height.next_block()
            && !arrivals.first.contains_key(&block.number)
            && block.number.get().saturating_sub(height.get()) < ARRIVALS_MAX;
        if is_new {
            arrivals.blocks = arrivals.blocks.saturating_add(1);
            arrivals.first.insert(block.number, now);
            if let Some(since) = arrivals.headers.remove(&block.number) {
                let lead = now.since(since).as_secs_f64();
                self.header_lead.with_label_values(&[name.as_str()]).observe(lead);
            }
        }
        #[allow(clippy::cast_precision_loss, reason = "a ratio for people")]
        let redundancy = arrivals.copies as f64 / arrivals.blocks.max(1) as f64;
        self.redundancy.with_label_values(&[name.as_str()]).set(redundancy);
    }

    /// Blocks below the height are durable.
    pub(crate) fn committed(&mut self, now: Mono, name: &ChannelId, height: Height) {
        let Some(arrivals) = self.channels.get_mut(name) else { return };
        arrivals.headers = arrivals.headers.split_off(&height.next_block());
        let waiting = arrivals.first.split_off(&height.next_block());
        for since in std::mem::replace(&mut arrivals.first, waiting).into_values() {
            let took = now.since(since).as_secs_f64();
            self.propagation.with_label_values(&[name.as_str()]).observe(took);
        }
    }

    /// Nothing is remembered of a channel that was left.
    pub(crate) fn left(&mut self, name: &ChannelId) {
        self.channels.remove(name);
    }

    /// Counts what the transport is given.
    pub(crate) fn count_command(&mut self, identities: &IdentityMap, command: &Command) {
        let Self { sent, by_org, .. } = self;
        let mut out = |peer: &PkiId, envelope: &Envelope| {
            let (org, bytes) = count(sent, identities, peer, envelope.encoded_len());
            let held = by_org.entry(org).or_default();
            held.sent = held.sent.saturating_add(bytes);
        };
        match command {
            Command::Send { to, envelope } | Command::Request { to, envelope, .. } => {
                out(&to.pki_id, envelope);
            }
            Command::Respond { to, envelope } => {
                if let Some(peer) = self.asking.get(to) {
                    out(peer, envelope);
                }
            }
            Command::EndResponse { to } => {
                self.asking.remove(to);
            }
            Command::Close { peer, .. } => self.asking.retain(|_, asking| asking != peer),
            Command::Dial { .. } => {}
        }
    }

    /// Bytes by organisation; `unknown` for peers whose organisation is not known any more.
    pub(crate) const fn by_org(&self) -> &BTreeMap<String, OrgTraffic> {
        &self.by_org
    }

    /// Whoever is gone waits for nothing.
    pub(crate) fn disconnected(&mut self, peer: &PkiId) {
        self.asking.retain(|_, asking| asking != peer);
    }
}

fn count(
    counter: &IntCounterVec,
    identities: &IdentityMap,
    peer: &PkiId,
    bytes: usize,
) -> (String, u64) {
    let org = identities.org_of(peer).map_or_else(|| "unknown".into(), |org| org.to_string());
    let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
    counter.with_label_values(&[org.as_str()]).inc_by(bytes);
    (org, bytes)
}

/// Blocks above a channel's height that are timed: as many as a state transfer buffers, and more.
const ARRIVALS_MAX: u64 = 1024;
