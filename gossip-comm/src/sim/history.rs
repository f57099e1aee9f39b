//! What happened: one hash for all of it, and the numbers.

use std::collections::BTreeMap;

use gossip_api::Mono;
use gossip_api::message::Kind;

use super::rng::mix;

/// A hash over everything that happened, in order.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct History {
    hash: u64,
}

impl History {
    pub(super) fn record(&mut self, at: Mono, from: usize, to: usize, what: What, len: usize) {
        for word in [at.as_nanos(), from as u64, to as u64, what.code(), len as u64] {
            self.hash = mix(self.hash ^ word);
        }
    }

    pub(super) const fn hash(self) -> u64 {
        self.hash
    }
}

/// What a line of the history is about.
#[derive(Clone, Copy, Debug)]
pub(super) enum What {
    Message(Kind),
    Connected,
    Disconnected,
    ResponseEnd,
    Refused,
}

impl What {
    const fn code(self) -> u64 {
        match self {
            Self::Message(kind) => kind as u64,
            Self::Connected => 1 << 32,
            Self::Disconnected => 2 << 32,
            Self::ResponseEnd => 3 << 32,
            Self::Refused => 4 << 32,
        }
    }
}

/// Numbers of one simulation so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Messages handed to a machine, parts of answers included.
    pub messages: u64,
    /// Their frames' bytes.
    pub bytes: u64,
    /// Connections made.
    pub connections: u64,
    /// Handshakes in which one side did not let the other in.
    pub refused: u64,
    /// Events, inputs and ticks that machines were given.
    pub steps: u64,
    /// By index of the peer.
    pub peers: Vec<PeerStats>,
    /// Messages that did not arrive, by cause.
    pub drops: BTreeMap<DropCause, u64>,
}

impl Stats {
    /// Messages that did not arrive, for any cause.
    pub fn dropped(&self) -> u64 {
        self.drops.values().sum()
    }

    pub(super) fn drop_one(&mut self, cause: DropCause) {
        *self.drops.entry(cause).or_default() += 1;
    }

    pub(super) fn sent(&mut self, from: usize, kind: Kind, len: usize) {
        if let Some(peer) = self.peers.get_mut(from) {
            peer.sent.entry(kind).or_default().add(len);
        }
    }

    pub(super) fn received(&mut self, to: usize, kind: Kind, len: usize) {
        self.messages += 1;
        self.bytes += len as u64;
        if let Some(peer) = self.peers.get_mut(to) {
            peer.received.entry(kind).or_default().add(len);
        }
    }
}

/// What one peer sent and received.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerStats {
    /// Put on the wire, by kind, lost ones included.
    pub sent: BTreeMap<Kind, Tally>,
    /// Handed to its machine, by kind.
    pub received: BTreeMap<Kind, Tally>,
}

impl PeerStats {
    /// All kinds that it sent.
    pub fn sent_total(&self) -> Tally {
        Tally::total(&self.sent)
    }

    /// All kinds that it received.
    pub fn received_total(&self) -> Tally {
        Tally::total(&self.received)
    }
}

/// A number of messages and of their frames' bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Messages.
    pub messages: u64,
    /// Bytes.
    pub bytes: u64,
}

impl Tally {
    fn add(&mut self, len: usize) {
        self.messages += 1;
        self.bytes += len as u64;
    }

    fn total(tallies: &BTreeMap<Kind, Self>) -> Self {
        tallies.values().fold(Self::default(), |sum, tally| Self {
            messages: sum.messages + tally.messages,
            bytes: sum.bytes + tally.bytes,
        })
    }
}

/// Why a message did not arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DropCause {
    /// There was no connection, and no endpoint to dial.
    NoConnection,
    /// The connection that it waited for did not come about, or its endpoint is left alone after failures.
    DialFailed,
    /// More waited for its receiver than may.
    OutboxFull,
    /// The link lost it.
    Lost,
    /// Its connection ended before it arrived.
    ConnectionGone,
    /// Its sender crashed before the last byte had left.
    SenderCrashed,
    /// It does not decode.
    Malformed,
    /// It belongs to an exchange that is over.
    ExchangeOver,
}
