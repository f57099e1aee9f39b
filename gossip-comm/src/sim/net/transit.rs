//! Messages under way: how long they take, and whether they arrive.

use bytes::BytesMut;
use gossip_api::message::{Class, Kind};
use gossip_api::{Envelope, Mono, RemotePeer, SignedMessage};

use super::connect::Waiting;
use super::{DropCause, Net, NetTask, What};
use crate::comm::{Event, RequestId, ResponseOutcome};
use crate::sim::link::{Wire, serialisation};
use crate::sim::rng::{mix, scale};

/// One message under way.
#[derive(Debug)]
pub(in crate::sim) struct Parcel {
    pub(super) from: usize,
    pub(in crate::sim) to: usize,
    pub(super) conn: u64,
    /// Which life of the sender sent it.
    life: u32,
    /// When its last byte has left the sender for the last time.
    left: Mono,
    len: usize,
    pub(super) cargo: Cargo,
}

/// What a parcel carries.
#[derive(Clone, Debug)]
pub(super) enum Cargo {
    Message(SignedMessage),
    Question { exchange: u64, message: SignedMessage },
    Part { exchange: u64, id: RequestId, message: SignedMessage },
    End { exchange: u64, outcome: ResponseOutcome },
}

impl Cargo {
    pub(super) fn message(&self) -> Option<&SignedMessage> {
        match self {
            Self::Message(message)
            | Self::Question { message, .. }
            | Self::Part { message, .. } => Some(message),
            Self::End { .. } => None,
        }
    }

    fn message_mut(&mut self) -> Option<&mut SignedMessage> {
        match self {
            Self::Message(message)
            | Self::Question { message, .. }
            | Self::Part { message, .. } => Some(message),
            Self::End { .. } => None,
        }
    }

    fn kind(&self) -> Option<Kind> {
        self.message().map(|signed| signed.message.kind())
    }
}

/// A sender's bottleneck: control passes data.
#[derive(Debug, Default)]
pub(super) struct Uplink {
    pub(super) bits_per_second: Option<u64>,
    pub(super) queues: Queues,
}

impl Uplink {
    pub(super) fn forget(&mut self) {
        self.queues = Queues::default();
    }
}

/// Until when two queues before one bottleneck are busy.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Queues {
    urgent: u64,
    bulk: u64,
}

impl Queues {
    /// When `len` bytes that queue up at `start` are through.
    fn pass(&mut self, start: u64, len: usize, urgent: bool, bits_per_second: Option<u64>) -> u64 {
        let Some(rate) = bits_per_second else { return start };
        let time = serialisation(len, rate);
        if urgent {
            self.urgent = self.urgent.max(start) + time;
            // Bulk that is still queued gives way.
            if self.bulk > start {
                self.bulk += time;
            }
            self.urgent
        } else {
            self.bulk = self.bulk.max(self.urgent).max(start) + time;
            self.bulk
        }
    }
}

/// How a message is carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lane {
    /// Alone, lost if lost.
    Datagram,
    /// In order with the others of its class, ahead of bulk.
    Ordered(usize),
    /// On a stream of its own.
    Own { urgent: bool },
}

impl Net {
    pub(super) fn send(&mut self, now: Mono, from: usize, to: RemotePeer, envelope: Envelope) {
        let Some(message) = self.open(envelope) else { return };
        match self.neighbour(from, &to.pki_id) {
            Some(other) => {
                self.ship(now, from, other, Cargo::Message(message), Mono::ZERO);
            }
            None => match to.endpoint {
                Some(endpoint) => {
                    let waiting = Waiting::Message(message);
                    self.dial(now, from, endpoint, Some(to.pki_id), Some(waiting));
                }
                None => self.drop_one(DropCause::NoConnection),
            },
        }
    }

    /// Reads a message of one of our machines, through its bytes if that is wanted.
    pub(super) fn open(&mut self, envelope: Envelope) -> Option<SignedMessage> {
        let envelope = if self.real_decoding {
            let frame = frame_of(&envelope);
            debug_assert_eq!(
                frame.len(),
                envelope.encoded_len(),
                "the length counted is the length sent"
            );
            Envelope::decode(&frame.freeze().slice(4..))
        } else {
            Ok(envelope)
        };
        match envelope.and_then(Envelope::open) {
            Ok(message) => Some(message),
            Err(_) => {
                self.drop_one(DropCause::Malformed);
                None
            }
        }
    }

    /// Puts a parcel on the way over the connection that `from` has, not to arrive before `after`.
    /// Returns when it arrives.
    pub(super) fn ship(
        &mut self,
        now: Mono,
        from: usize,
        to: usize,
        cargo: Cargo,
        after: Mono,
    ) -> Mono {
        let Some(conn) = self.end(from).halves.get(&to).map(|half| half.conn) else {
            self.drop_one(DropCause::NoConnection);
            return now;
        };
        let wire = self.wire_between(from, to);
        let len = cargo.message().map_or(END_LEN, |message| message.envelope.encoded_len());
        let lane = self.lane(&cargo);
        if let Some(kind) = cargo.kind() {
            self.stats.sent(from, kind, len);
        }
        let leaves = self.leave(now, from, to, len, lane, &wire);
        let life = self.end(from).life;
        let mut parcel = Parcel { from, to, conn, life, left: leaves, len, cargo };
        let is_message = matches!(parcel.cargo, Cargo::Message(_));
        if is_message && self.dice.chance(wire.duplicate) {
            let copy = Parcel { cargo: parcel.cargo.clone(), ..parcel };
            self.travel(copy, lane, &wire, after);
        }
        if self.dice.chance(wire.corrupt) && !self.corrupt(&mut parcel) {
            self.lose(parcel, DropCause::Malformed);
            return leaves;
        }
        self.travel(parcel, lane, &wire, after)
    }

    /// When the last byte has passed the sender's uplink and the link.
    fn leave(
        &mut self,
        now: Mono,
        from: usize,
        to: usize,
        len: usize,
        lane: Lane,
        wire: &Wire,
    ) -> Mono {
        let urgent = lane != Lane::Own { urgent: false };
        let start = now.as_nanos();
        let end = self.end_mut(from);
        let rate = end.uplink.bits_per_second;
        let uplink = end.uplink.queues.pass(start, len, urgent, rate);
        let link = match end.halves.get_mut(&to) {
            Some(half) => half.queues.pass(start, len, urgent, wire.bandwidth),
            None => start,
        };
        Mono::from_nanos(uplink.max(link))
    }

    /// Draws the rest of the way. Returns when the parcel arrives.
    fn travel(&mut self, mut parcel: Parcel, lane: Lane, wire: &Wire, after: Mono) -> Mono {
        let latency =
            self.base_latency(parcel.from, parcel.to, wire) + self.dice.up_to(wire.jitter);
        let left = parcel.left;
        if lane == Lane::Datagram {
            if self.packets_lost(packets(parcel.len), wire) > 0 {
                self.drop_one(DropCause::Lost);
                return left;
            }
        } else if self.dice.chance(wire.drop) {
            self.lose(parcel, DropCause::Lost);
            return left;
        } else {
            let resent = self.resending(packets(parcel.len), latency, wire);
            parcel.left = Mono::from_nanos(left.as_nanos().saturating_add(resent));
        }
        let mut arrives =
            Mono::from_nanos(parcel.left.as_nanos().saturating_add(latency)).max(after);
        let overtaken = self.dice.chance(wire.reorder);
        if overtaken {
            arrives = Mono::from_nanos(arrives.as_nanos() + arrives.since(left).as_nanos() as u64);
        } else if let Lane::Ordered(lane) = lane
            && let Some(half) = self.end_mut(parcel.from).halves.get_mut(&parcel.to)
            && let Some(last) = half.last.get_mut(lane)
        {
            arrives = arrives.max(*last);
            *last = arrives;
        }
        self.later.push((arrives, NetTask::Deliver(Box::new(parcel))));
        arrives
    }

    /// A stream broke under a message: a message is gone, an answer ends.
    fn lose(&mut self, parcel: Parcel, cause: DropCause) {
        self.drop_one(cause);
        let at = parcel.left;
        let outcome = ResponseOutcome::Broken;
        if let Cargo::Part { exchange, .. } | Cargo::End { exchange, .. } = parcel.cargo {
            let cargo = Cargo::End { exchange, outcome };
            self.later.push((at, NetTask::Deliver(Box::new(Parcel { cargo, ..parcel }))));
        }
    }

    /// How long the packets of a stream that get lost delay its last byte.
    pub(super) fn resending(&mut self, packets: usize, latency: u64, wire: &Wire) -> u64 {
        let mut under_way = packets;
        let mut delay: u64 = 0;
        loop {
            let lost = self.packets_lost(under_way, wire);
            if lost == 0 || delay > RESENDING_MAX {
                return delay;
            }
            let wait = if under_way == 1 { 3 * latency } else { latency * 9 / 4 };
            // A link without latency still notices a loss only after some time.
            delay += wait.max(1_000_000);
            under_way = lost;
        }
    }

    pub(super) fn packets_lost(&mut self, packets: usize, wire: &Wire) -> usize {
        if wire.loss == Default::default() {
            return 0;
        }
        (0..packets).filter(|_| self.dice.chance(wire.loss)).count()
    }

    /// Flips a bit; false if what is left is no message.
    fn corrupt(&mut self, parcel: &mut Parcel) -> bool {
        let Some(message) = parcel.cargo.message_mut() else { return true };
        let mut frame = frame_of(&message.envelope).split_off(4);
        let bits = 8 * frame.len() as u64;
        let bit = self.dice.up_to(bits.saturating_sub(1));
        let place = usize::try_from(bit / 8).ok().and_then(|byte| frame.get_mut(byte));
        if let Some(byte) = place {
            *byte ^= 1 << (bit % 8);
        }
        match Envelope::decode(&frame.freeze()).and_then(Envelope::open) {
            Ok(altered) => {
                *message = altered;
                true
            }
            Err(_) => false,
        }
    }

    /// A parcel reaches its receiver's host.
    pub(super) fn arrive(&mut self, now: Mono, parcel: Box<Parcel>) -> Option<(usize, Event)> {
        let Parcel { from, to, conn, .. } = *parcel;
        let sender = self.end(from);
        let gone = !sender.up || sender.life != parcel.life;
        if gone && sender.crashed < parcel.left {
            self.drop_one(DropCause::SenderCrashed);
            return None;
        }
        if !self.is_up(to) {
            self.drop_one(DropCause::ConnectionGone);
            return None;
        }
        if !self.reaches(from, to) {
            self.park(parcel);
            return None;
        }
        if self.end(to).halves.get(&from).is_none_or(|half| half.conn != conn) {
            self.drop_one(DropCause::ConnectionGone);
            self.reset(now, to, from, conn);
            return None;
        }
        self.hand_over(now, *parcel)
    }

    fn hand_over(&mut self, now: Mono, parcel: Parcel) -> Option<(usize, Event)> {
        let Parcel { from, to, len, .. } = parcel;
        let kind = parcel.cargo.kind();
        let peer = self.end(from).spec.pki_id;
        let event = match parcel.cargo {
            Cargo::Message(message) => Some(Event::Received { from: peer, message }),
            Cargo::Question { exchange, .. } if self.end(to).refuses => {
                let outcome = ResponseOutcome::Refused;
                self.ship(now, to, from, Cargo::End { exchange, outcome }, Mono::ZERO);
                return None;
            }
            Cargo::Question { exchange, message } => {
                let id = self.asked_by(to, from, parcel.conn, exchange);
                Some(Event::Request { from: peer, id, message })
            }
            Cargo::Part { exchange, id, message } => self
                .renew_patience(now, to, exchange)
                .then_some(Event::Response { from: peer, id, message }),
            Cargo::End { exchange, outcome } => self.response_over(now, to, exchange, outcome),
        };
        match kind {
            Some(kind) if event.is_some() => {
                self.stats.received(to, kind, len);
                self.record(now, from, to, What::Message(kind), len);
            }
            Some(_) => self.drop_one(DropCause::ExchangeOver),
            None => {}
        }
        event.map(|event| (to, event))
    }

    /// A stream's data waits for the link to come back; a datagram does not.
    fn park(&mut self, parcel: Box<Parcel>) {
        let (from, to, conn) = (parcel.from, parcel.to, parcel.conn);
        let datagram = self.lane(&parcel.cargo) == Lane::Datagram;
        match self.end_mut(to).halves.get_mut(&from) {
            Some(half) if half.conn == conn && !datagram => half.parked.push(*parcel),
            Some(_) => self.drop_one(DropCause::Lost),
            None => self.drop_one(DropCause::ConnectionGone),
        }
    }

    /// Sends on their way again what waited for the link between the two.
    pub(super) fn unpark(&mut self, now: Mono, to: usize, from: usize, silent_since: Mono) {
        let Some(half) = self.end_mut(to).halves.get_mut(&from) else { return };
        let parked = std::mem::take(&mut half.parked);
        if parked.is_empty() {
            return;
        }
        // A sender probes a silent link ever more rarely, so that the next probe is up to as far away as
        // the silence was long.
        let silence = u64::try_from(now.since(silent_since).as_nanos()).unwrap_or(u64::MAX);
        let wire = self.wire_between(from, to);
        let wait = self.dice.up_to(silence) + self.base_latency(from, to, &wire);
        let at = Mono::from_nanos(now.as_nanos().saturating_add(wait));
        if let Some(half) = self.end_mut(from).halves.get_mut(&to) {
            half.last.iter_mut().for_each(|last| *last = at.max(*last));
        }
        let tasks = parked.into_iter().map(|parcel| (at, NetTask::Deliver(Box::new(parcel))));
        self.later.extend(tasks);
    }

    /// One-way latency between two peers: drawn once from the link's range, by the seed alone.
    pub(super) fn base_latency(&self, a: usize, b: usize, wire: &Wire) -> u64 {
        let pair = ((a.min(b) as u64) << 32) | a.max(b) as u64;
        let drawn = mix(mix(self.seed) ^ pair);
        wire.latency_min + scale(drawn, wire.latency_spread.saturating_add(1))
    }

    pub(super) fn wire_between(&self, a: usize, b: usize) -> Wire {
        if self.wires.is_empty() {
            return self.wire;
        }
        self.wires.get(&(a.min(b), a.max(b))).copied().unwrap_or(self.wire)
    }

    fn lane(&self, cargo: &Cargo) -> Lane {
        let kind = match cargo {
            Cargo::Message(message) => message.message.kind(),
            Cargo::Part { message, .. } => {
                return Lane::Own { urgent: message.envelope.class() != Class::Block };
            }
            Cargo::Question { .. } | Cargo::End { .. } => return Lane::Own { urgent: true },
        };
        if self.datagrams.contains(&kind) {
            return Lane::Datagram;
        }
        match kind.class() {
            Class::Control => Lane::Ordered(0),
            Class::Membership => Lane::Ordered(1),
            Class::Block => Lane::Own { urgent: false },
        }
    }
}

fn frame_of(envelope: &Envelope) -> BytesMut {
    let mut frame = BytesMut::with_capacity(envelope.encoded_len());
    envelope.encode().iter().for_each(|part| frame.extend_from_slice(part));
    frame
}

const fn packets(len: usize) -> usize {
    len.div_ceil(PACKET_LEN)
}

/// Bytes of a packet, for losses.
const PACKET_LEN: usize = 1200;

/// Bytes that the end of an answer costs.
const END_LEN: usize = 1;

/// Nanoseconds after which a link that loses nearly everything lets the rest through.
const RESENDING_MAX: u64 = 60_000_000_000;
