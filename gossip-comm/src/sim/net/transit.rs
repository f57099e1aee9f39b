//! Messages under way: how long they take, and whether they arrive.

use bytes::BytesMut;
use gossip_api::message::{Class, Kind};
use gossip_api::{Envelope, Mono, RemotePeer, SignedMessage, WireError};

use super::connect::Waiting;
use super::outbox::Admission;
use super::{DropCause, Net, NetTask, What};
use crate::comm::{Event, RequestId, ResponseOutcome};
use crate::sim::link::{Rate, Wire};
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
    pub(super) len: usize,
    /// Names it in its sender's outbox; 0 if it never stood there.
    ticket: u64,
    /// Whether it has passed the receiver's downlink.
    through: bool,
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

impl Parcel {
    pub(super) fn message_class(&self) -> Option<Class> {
        match &self.cargo {
            Cargo::Message(message) => Some(message.envelope.class()),
            Cargo::Question { .. } | Cargo::Part { .. } | Cargo::End { .. } => None,
        }
    }
}

/// A parcel on its way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shipped {
    pub(super) arrives: Mono,
    /// When QUIC takes it over.
    pub(super) until: u64,
}

/// When a message leaves its sender.
#[derive(Clone, Copy, Debug)]
struct Leave {
    at: Mono,
    /// When QUIC takes it over.
    until: u64,
    ticket: u64,
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
            frame_of(&envelope).and_then(|frame| {
                debug_assert_eq!(
                    frame.len(),
                    envelope.encoded_len(),
                    "the length counted is the length sent"
                );
                Envelope::decode(&frame.freeze().slice(4..))
            })
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
    pub(super) fn ship(
        &mut self,
        now: Mono,
        from: usize,
        to: usize,
        cargo: Cargo,
        after: Mono,
    ) -> Shipped {
        let nothing = Shipped { arrives: now, until: 0 };
        let Some(conn) = self.end(from).halves.get(&to).map(|half| half.conn) else {
            self.drop_one(DropCause::NoConnection);
            return nothing;
        };
        let wire = self.wire_between(from, to);
        let len = cargo.message().map_or(END_LEN, |message| message.envelope.encoded_len());
        let lane = self.lane(&cargo);
        let class = match &cargo {
            Cargo::Message(message) if lane != Lane::Datagram => Some(message.envelope.class()),
            Cargo::Message(_) | Cargo::Question { .. } | Cargo::Part { .. } | Cargo::End { .. } => {
                None
            }
        };
        let Some(Leave { at: leaves, until, ticket }) =
            self.leave(now, from, to, class, len, lane, &wire)
        else {
            self.drop_one(DropCause::OutboxFull);
            return nothing;
        };
        if let Some(kind) = cargo.kind() {
            self.stats.sent(from, kind, len);
        }
        let life = self.end(from).life;
        let mut parcel =
            Parcel { from, to, conn, life, left: leaves, len, ticket, through: false, cargo };
        let is_message = matches!(parcel.cargo, Cargo::Message(_));
        if is_message && ticket == 0 && self.dice.chance(wire.duplicate) {
            let copy = Parcel { cargo: parcel.cargo.clone(), ..parcel };
            self.travel(copy, lane, &wire, after);
        }
        if self.dice.chance(wire.corrupt) && !self.corrupt(&mut parcel) {
            self.lose(parcel, DropCause::Malformed);
            return Shipped { arrives: leaves, until };
        }
        Shipped { arrives: self.travel(parcel, lane, &wire, after), until }
    }

    /// When the last byte has passed the sender's uplink and the link; nothing if the outbox of this
    /// class has no room for it.
    #[expect(clippy::too_many_arguments, reason = "who, whom, what, and over what")]
    fn leave(
        &mut self,
        now: Mono,
        from: usize,
        to: usize,
        class: Option<Class>,
        len: usize,
        lane: Lane,
        wire: &Wire,
    ) -> Option<Leave> {
        let urgent = lane != Lane::Own { urgent: false };
        let start = now.as_nanos();
        let ticket = self.serial + 1;
        let Self { ends, bounds, .. } = self;
        let end = ends.get_mut(from)?;
        let half = end.halves.get_mut(&to)?;
        let (uplink, link) = (end.uplink.rate, wire.bandwidth);
        let overflows = end.uplink.queues.overflows(start, urgent, uplink)
            || half.queues.overflows(start, urgent, link);
        let mut charged = len;
        let mut held = None;
        if let Some(class) = class.filter(|_| overflows) {
            let outbox = half.outbox.get_or_insert_default();
            match outbox.admit(now, class, len, bounds) {
                Admission::Refused => return None,
                Admission::Waits { freed } => charged = len.saturating_sub(freed),
            }
            held = Some((outbox, class));
        }
        let window = |rate: Option<Rate>| rate.map_or(0, |rate| rate.window_time);
        let by_uplink = end.uplink.queues.pass(start, charged, urgent, uplink);
        let by_link = half.queues.pass(start, charged, urgent, link);
        let at = by_uplink.max(by_link);
        let until = by_uplink.saturating_sub(window(uplink));
        let until = until.max(by_link.saturating_sub(window(link)));
        let Some((outbox, class)) = held else {
            return Some(Leave { at: Mono::from_nanos(at), until, ticket: 0 });
        };
        outbox.hold(class, until, len, ticket);
        self.serial = ticket;
        Some(Leave { at: Mono::from_nanos(at), until, ticket })
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
        let Ok(mut frame) = frame_of(&message.envelope) else { return false };
        let mut frame = frame.split_off(4);
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
        if parcel.ticket != 0 && self.gave_way(&parcel) {
            self.drop_one(DropCause::OutboxFull);
            return None;
        }
        if !self.reaches(from, to) {
            self.park(parcel);
            return None;
        }
        if self.end(to).halves.get(&from).is_some_and(|half| half.revives.is_some()) {
            self.hurry_revival(now, to, from);
            if matches!(self.lane(&parcel.cargo), Lane::Ordered(_)) {
                self.park(parcel);
                return None;
            }
        }
        let parcel = self.pass_downlink(now, parcel)?;
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

    /// Whether the parcel's message had to make room for a later one.
    fn gave_way(&mut self, parcel: &Parcel) -> bool {
        let Some(half) = self.end_mut(parcel.from).halves.get_mut(&parcel.to) else { return false };
        half.conn == parcel.conn
            && half.outbox.as_mut().is_some_and(|outbox| outbox.gave_way(parcel.ticket))
    }

    /// Has a parcel wait until the receiver's downlink has taken it in; gives back what need not.
    fn pass_downlink(&mut self, now: Mono, mut parcel: Box<Parcel>) -> Option<Box<Parcel>> {
        let rate = self.end(parcel.to).downlink.rate;
        let Some(limit) = rate.filter(|_| !parcel.through) else { return Some(parcel) };
        // The end of an answer must not overtake its parts.
        let urgent = self.lane(&parcel.cargo) != Lane::Own { urgent: false }
            && !matches!(parcel.cargo, Cargo::End { .. });
        let first_byte = now.as_nanos().saturating_sub(limit.time(parcel.len));
        let end = self.end_mut(parcel.to);
        let at = end.downlink.queues.pass(first_byte, parcel.len, urgent, rate);
        if at <= now.as_nanos() {
            return Some(parcel);
        }
        parcel.through = true;
        self.later.push((Mono::from_nanos(at), NetTask::Deliver(parcel)));
        None
    }

    /// A stream's data waits for the link to come back, as much as its sender keeps; a datagram does not.
    fn park(&mut self, parcel: Box<Parcel>) {
        let (from, to, conn) = (parcel.from, parcel.to, parcel.conn);
        let datagram = self.lane(&parcel.cargo) == Lane::Datagram;
        let Self { ends, bounds, .. } = self;
        let half = ends.get_mut(to).and_then(|end| end.halves.get_mut(&from));
        match half {
            Some(half) if half.conn == conn && !datagram => {
                let refused = half.parked.get_or_insert_default().push(*parcel, bounds);
                (0..refused).for_each(|_| self.drop_one(DropCause::OutboxFull));
            }
            Some(_) => self.drop_one(DropCause::Lost),
            None => self.drop_one(DropCause::ConnectionGone),
        }
    }

    /// The link is back: what waited for it comes with the sender's next probe. It probes a silent link ever
    /// more rarely, so that the next probe is up to as far away as the silence was long.
    pub(super) fn await_revival(&mut self, now: Mono, to: usize, from: usize, silent_since: Mono) {
        let Some(half) = self.end(to).halves.get(&from) else { return };
        if half.parked.is_none() {
            return;
        }
        let silence = u64::try_from(now.since(silent_since).as_nanos()).unwrap_or(u64::MAX);
        let wire = self.wire_between(from, to);
        let wait = self.dice.up_to(silence) + self.base_latency(from, to, &wire);
        self.revive_at(Mono::from_nanos(now.as_nanos().saturating_add(wait)), to, from);
    }

    /// Whatever arrives is acknowledged, from which its sender sees what was lost: that comes a round trip later.
    fn hurry_revival(&mut self, now: Mono, to: usize, from: usize) {
        let wire = self.wire_between(from, to);
        let round_trip = 2 * self.base_latency(from, to, &wire);
        let due = Mono::from_nanos(now.as_nanos().saturating_add(round_trip));
        let revives = self.end(to).halves.get(&from).and_then(|half| half.revives);
        if revives.is_some_and(|revives| due < revives) {
            self.revive_at(due, to, from);
        }
    }

    fn revive_at(&mut self, due: Mono, to: usize, from: usize) {
        let Some(half) = self.end_mut(to).halves.get_mut(&from) else { return };
        half.revives = Some(due);
        let conn = half.conn;
        self.later.push((due, NetTask::Revival { at: to, other: from, conn, due }));
    }

    /// Hands over what waited, unless the link fell silent again or all of it came before.
    pub(super) fn revive(&mut self, now: Mono, to: usize, from: usize, conn: u64, due: Mono) {
        let Some(half) = self.end_mut(to).halves.get_mut(&from) else { return };
        if half.conn != conn || half.revives != Some(due) {
            return;
        }
        half.revives = None;
        let parked = half.parked.take().into_iter().flat_map(|parked| parked.parcels);
        let tasks: Vec<_> =
            parked.map(|parcel| (now, NetTask::Deliver(Box::new(parcel)))).collect();
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

fn frame_of(envelope: &Envelope) -> Result<BytesMut, WireError> {
    let mut frame = BytesMut::with_capacity(envelope.encoded_len());
    envelope.encode_into(&mut frame)?;
    Ok(frame)
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
