//! The network: who is connected to whom, and what is under way.
//!
//! [`Net`] knows no machine. It is given commands ([`Net::command`]) and its own tasks when they are due
//! ([`Net::fire`]), and leaves what is to happen later in [`Net::later`].

mod bottleneck;
mod connect;
mod door;
mod exchange;
mod outbox;
mod transit;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use gossip_api::message::{CloseReason, Kind};
use gossip_api::{Endpoint, Epoch, Mono, OrgId, PeerIdentity, PkiId, Wall};

use super::history::{DropCause, History, Stats, What};
use super::link::{Link, Rate, Wire};
use super::rng::Dice;
use crate::backoff::Backoff;
use crate::bounds::OutboxConfig;
use crate::comm::{Command, Event, InboundId, RequestId};
use bottleneck::Bottleneck;
use connect::{Dial, DialKey, Half};
use door::Door;
use exchange::{Answering, Asked};
use transit::Parcel;

/// A peer as the others meet it.
#[derive(Clone, Debug)]
pub struct PeerSpec {
    /// Its fingerprint. Several peers may have the same one: clones.
    pub pki_id: PkiId,
    /// Its identity.
    pub identity: PeerIdentity,
    /// Its organisation.
    pub org: Option<OrgId>,
    /// Where it listens.
    pub endpoint: Endpoint,
    /// Which life of it.
    pub epoch: Epoch,
}

/// Time-outs of the simulated transport.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Silence after which a connection is gone.
    pub idle_after: Duration,
    /// Time after which a dial has failed.
    pub dial_for: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self { idle_after: Duration::from_secs(10), dial_for: Duration::from_secs(3) }
    }
}

/// Something of the network's that becomes due.
#[derive(Debug)]
pub(super) enum NetTask {
    /// A message reaches its receiver.
    Deliver(Box<Parcel>),
    /// A dial may have succeeded.
    Handshake { at: usize, key: DialKey, serial: u64, attempt: u32 },
    /// A dial has taken too long.
    DialOver { at: usize, key: DialKey, serial: u64 },
    /// The other side of a connection closed it, or does not know it.
    Closed { at: usize, other: usize, conn: u64, reason: Option<CloseReason> },
    /// A connection that was silent since `since` may have been so for too long.
    Idle { at: usize, other: usize, conn: u64, since: Mono },
    /// What waited for a link may come now that the link is back.
    Revival { at: usize, other: usize, conn: u64, due: Mono },
    /// The identity shown on a connection may have run out.
    Expiry { at: usize, other: usize, conn: u64 },
    /// An exchange may have been silent for too long.
    Patience { at: usize, exchange: u64 },
    /// A machine is told something in this life of its peer.
    Notify { at: usize, life: u32, event: Box<Event> },
}

impl NetTask {
    /// The peer at which it happens.
    pub(super) fn at(&self) -> usize {
        match self {
            Self::Deliver(parcel) => parcel.to,
            Self::Handshake { at, .. }
            | Self::DialOver { at, .. }
            | Self::Closed { at, .. }
            | Self::Idle { at, .. }
            | Self::Revival { at, .. }
            | Self::Expiry { at, .. }
            | Self::Patience { at, .. }
            | Self::Notify { at, .. } => *at,
        }
    }
}

/// All that is between the machines.
#[derive(Debug)]
pub(super) struct Net {
    seed: u64,
    dice: Dice,
    wire: Wire,
    wires: BTreeMap<(usize, usize), Wire>,
    cuts: BTreeSet<(usize, usize)>,
    ends: Vec<End>,
    by_id: BTreeMap<PkiId, Vec<usize>>,
    by_endpoint: BTreeMap<Endpoint, usize>,
    serial: u64,
    pub(super) timing: Timing,
    pub(super) bounds: OutboxConfig,
    pub(super) door: Door,
    pub(super) datagrams: BTreeSet<Kind>,
    pub(super) real_decoding: bool,
    pub(super) history: History,
    pub(super) stats: Stats,
    /// What is to happen, not yet in the queue.
    pub(super) later: Vec<(Mono, NetTask)>,
}

/// One peer's end of the network.
#[derive(Debug)]
struct End {
    spec: PeerSpec,
    up: bool,
    paused: bool,
    /// Counts the starts: what belongs to an earlier life is void.
    life: u32,
    crashed: Mono,
    group: u32,
    clogged: bool,
    refuses: bool,
    /// The calendar's time at the start, in seconds since 1970.
    wall_start: i64,
    uplink: Bottleneck,
    downlink: Bottleneck,
    backoff: Backoff,
    halves: BTreeMap<usize, Half>,
    dials: BTreeMap<DialKey, Dial>,
    asked: BTreeMap<u64, Asked>,
    exchanges: BTreeMap<RequestId, u64>,
    answering: BTreeMap<InboundId, Answering>,
}

impl Net {
    pub(super) fn new(seed: u64, link: &Link) -> Self {
        Self {
            seed,
            dice: Dice::new(seed),
            wire: link.wire(),
            wires: BTreeMap::new(),
            cuts: BTreeSet::new(),
            ends: Vec::new(),
            by_id: BTreeMap::new(),
            by_endpoint: BTreeMap::new(),
            serial: 0,
            timing: Timing::default(),
            bounds: OutboxConfig::default(),
            door: Door::default(),
            datagrams: BTreeSet::new(),
            real_decoding: seed.is_multiple_of(REAL_DECODING_EVERY),
            history: History::default(),
            stats: Stats::default(),
            later: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, spec: PeerSpec) -> usize {
        let index = self.ends.len();
        self.register(index, &spec);
        self.ends.push(End::new(spec));
        self.stats.peers.push(super::PeerStats::default());
        index
    }

    /// Carries out what the machine of `from` asked for.
    pub(super) fn command(&mut self, now: Mono, from: usize, command: Command) {
        match command {
            Command::Dial { endpoint, expect } => self.dial(now, from, endpoint, expect, None),
            Command::Send { to, envelope } => self.send(now, from, to, envelope),
            Command::Request { to, id, envelope, patience } => {
                self.request(now, from, to, id, envelope, patience);
            }
            Command::Respond { to, envelope } => self.respond(now, from, to, envelope),
            Command::EndResponse { to } => self.end_response(now, from, to),
            Command::Close { peer, reason } => self.close(now, from, &peer, reason),
        }
    }

    /// Does what is due; returns what a machine is to be told.
    pub(super) fn fire(&mut self, now: Mono, task: NetTask) -> Option<(usize, Event)> {
        match task {
            NetTask::Deliver(parcel) => self.arrive(now, parcel),
            NetTask::Handshake { at, key, serial, attempt } => {
                self.handshake(now, at, &key, serial, attempt);
                None
            }
            NetTask::DialOver { at, key, serial } => {
                self.dial_over(now, at, &key, serial, "no answer");
                None
            }
            NetTask::Closed { at, other, conn, reason } => {
                self.closed(now, at, other, conn, reason)
            }
            NetTask::Idle { at, other, conn, since } => self.idle(now, at, other, conn, since),
            NetTask::Revival { at, other, conn, due } => {
                self.revive(now, at, other, conn, due);
                None
            }
            NetTask::Expiry { at, other, conn } => {
                self.check_expiry(now, at, other, conn);
                None
            }
            NetTask::Patience { at, exchange } => self.out_of_patience(now, at, exchange),
            NetTask::Notify { at, life, event } => {
                (self.is_up(at) && self.end(at).life == life).then_some((at, *event))
            }
        }
    }

    pub(super) fn is_up(&self, peer: usize) -> bool {
        self.end(peer).up
    }

    pub(super) fn is_paused(&self, peer: usize) -> bool {
        self.end(peer).paused
    }

    pub(super) fn life(&self, peer: usize) -> u32 {
        self.end(peer).life
    }

    pub(super) fn spec(&self, peer: usize) -> &PeerSpec {
        &self.end(peer).spec
    }

    pub(super) fn is_connected(&self, a: usize, b: usize) -> bool {
        self.end(a).halves.contains_key(&b)
    }

    /// Whether packets of `from` reach `to`'s host now.
    pub(super) fn reaches(&self, from: usize, to: usize) -> bool {
        let (ours, theirs) = (self.end(from), self.end(to));
        ours.group == theirs.group
            && !ours.clogged
            && !theirs.clogged
            && !self.cuts.contains(&(from, to))
    }

    pub(super) fn set_wire(&mut self, link: &Link) {
        self.wire = link.wire();
    }

    pub(super) fn set_wire_between(&mut self, a: usize, b: usize, link: &Link) {
        self.wires.insert((a.min(b), a.max(b)), link.wire());
    }

    pub(super) fn set_uplink(&mut self, peer: usize, bits_per_second: Option<u64>) {
        self.end_mut(peer).uplink.rate = bits_per_second.map(Rate::of);
    }

    pub(super) fn set_downlink(&mut self, peer: usize, bits_per_second: Option<u64>) {
        self.end_mut(peer).downlink.rate = bits_per_second.map(Rate::of);
    }

    pub(super) fn set_wall_ahead(&mut self, peer: usize, seconds: i64) {
        self.end_mut(peer).wall_start = WALL_START.saturating_add(seconds);
    }

    /// A peer's calendar.
    pub(super) fn wall(&self, peer: usize, now: Mono) -> Wall {
        wall(self.end(peer).wall_start, now)
    }

    pub(super) fn set_group(&mut self, peer: usize, group: u32) {
        self.end_mut(peer).group = group;
    }

    pub(super) fn set_clogged(&mut self, now: Mono, peer: usize, clogged: bool) {
        self.end_mut(peer).clogged = clogged;
        self.refresh_around(now, peer);
    }

    pub(super) fn set_refusing(&mut self, peer: usize, refuses: bool) {
        self.end_mut(peer).refuses = refuses;
    }

    pub(super) fn set_cut(&mut self, from: usize, to: usize, cut: bool) {
        if cut {
            self.cuts.insert((from, to));
        } else {
            self.cuts.remove(&(from, to));
        }
    }

    pub(super) fn clear_cuts(&mut self) {
        self.cuts.clear();
        for end in &mut self.ends {
            end.group = 0;
            end.clogged = false;
        }
    }

    /// The process is gone without a word, or after closing its connections.
    pub(super) fn crash(&mut self, now: Mono, peer: usize, with_a_word: bool) {
        if !self.is_up(peer) {
            return;
        }
        if with_a_word {
            self.close_all(now, peer);
        }
        let end = self.end_mut(peer);
        end.up = false;
        end.paused = false;
        end.crashed = now;
        end.halves.clear();
        end.dials.clear();
        end.asked.clear();
        end.exchanges.clear();
        end.answering.clear();
        self.refresh_around(now, peer);
    }

    pub(super) fn restart(&mut self, now: Mono, peer: usize, spec: PeerSpec) {
        self.crash(now, peer, false);
        self.unregister(peer);
        self.register(peer, &spec);
        let end = self.end_mut(peer);
        end.spec = spec;
        end.up = true;
        end.life += 1;
        end.uplink.forget();
        end.downlink.forget();
        end.backoff = Backoff::default();
    }

    pub(super) fn set_paused(&mut self, now: Mono, peer: usize, paused: bool) {
        self.end_mut(peer).paused = paused;
        self.refresh_around(now, peer);
    }

    fn register(&mut self, index: usize, spec: &PeerSpec) {
        self.by_id.entry(spec.pki_id).or_default().push(index);
        self.by_endpoint.insert(spec.endpoint.clone(), index);
    }

    fn unregister(&mut self, index: usize) {
        let (pki_id, endpoint) = {
            let spec = &self.end(index).spec;
            (spec.pki_id, spec.endpoint.clone())
        };
        if let Some(same) = self.by_id.get_mut(&pki_id) {
            same.retain(|other| *other != index);
        }
        if self.by_endpoint.get(&endpoint) == Some(&index) {
            self.by_endpoint.remove(&endpoint);
        }
    }

    /// The neighbour of `from` with this fingerprint.
    fn neighbour(&self, from: usize, pki_id: &PkiId) -> Option<usize> {
        let same = self.by_id.get(pki_id)?;
        same.iter().copied().find(|other| self.is_connected(from, *other))
    }

    fn notify(&mut self, now: Mono, at: usize, event: Event) {
        let life = self.end(at).life;
        let event = Box::new(event);
        self.later.push((now, NetTask::Notify { at, life, event }));
    }

    fn drop_one(&mut self, cause: DropCause) {
        self.stats.drop_one(cause);
    }

    fn record(&mut self, now: Mono, from: usize, to: usize, what: What, len: usize) {
        self.history.record(now, from, to, what, len);
    }

    fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    fn end(&self, peer: usize) -> &End {
        self.ends.get(peer).expect("peers are named by what add_peer returned")
    }

    fn end_mut(&mut self, peer: usize) -> &mut End {
        self.ends.get_mut(peer).expect("peers are named by what add_peer returned")
    }
}

impl End {
    fn new(spec: PeerSpec) -> Self {
        Self {
            spec,
            up: true,
            paused: false,
            life: 0,
            crashed: Mono::ZERO,
            group: 0,
            clogged: false,
            refuses: false,
            wall_start: WALL_START,
            uplink: Bottleneck::default(),
            downlink: Bottleneck::default(),
            backoff: Backoff::default(),
            halves: BTreeMap::new(),
            dials: BTreeMap::new(),
            asked: BTreeMap::new(),
            exchanges: BTreeMap::new(),
            answering: BTreeMap::new(),
        }
    }
}

/// The calendar's time `now` if it was `start` at the beginning.
pub(crate) fn wall(start: i64, now: Mono) -> Wall {
    let passed = i64::try_from(now.as_nanos() / 1_000_000_000).unwrap_or(i64::MAX);
    Wall::from_unix_seconds(start.saturating_add(passed))
}

/// 2026-01-01T00:00:00Z.
pub(crate) const WALL_START: i64 = 1_767_225_600;

/// One seed in this many carries real bytes, encoded by the sender and decoded by the receiver.
const REAL_DECODING_EVERY: u64 = 50;
