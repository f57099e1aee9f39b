//! The way of datagrams.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use bytes::BytesMut;
use gossip_api::Mono;
use quinn_proto::EcnCodepoint;

use crate::sim::Link;
use crate::sim::link::Wire;
use crate::sim::rng::{Dice, mix, scale};

/// One UDP datagram under way.
#[derive(Clone, Debug)]
pub struct Datagram {
    /// The address that it seems to come from.
    pub from: SocketAddr,
    /// Where it goes.
    pub to: SocketAddr,
    /// Its payload.
    pub bytes: BytesMut,
    /// Whether its sender marked it as able to bear congestion marks.
    pub(super) ecn: Option<EcnCodepoint>,
}

impl Datagram {
    /// A datagram with any payload, from any address.
    pub fn new(from: SocketAddr, to: SocketAddr, bytes: &[u8]) -> Self {
        Self { from, to, bytes: bytes.into(), ecn: None }
    }
}

/// What lies between any two addresses.
#[derive(Debug)]
pub(super) struct Path {
    seed: u64,
    wire: Wire,
    /// Longest payload that arrives.
    pub(super) mtu: usize,
    /// Whether marks about congestion are wiped out on the way.
    pub(super) bleaches: bool,
    pub(super) cuts: BTreeSet<(SocketAddr, SocketAddr)>,
    /// Until when each sender's bottleneck is busy.
    busy: BTreeMap<SocketAddr, u64>,
}

impl Path {
    pub(super) fn new(seed: u64, link: &Link) -> Self {
        Self {
            seed,
            wire: link.wire(),
            mtu: usize::MAX,
            bleaches: false,
            cuts: BTreeSet::new(),
            busy: BTreeMap::new(),
        }
    }

    pub(super) fn set(&mut self, link: &Link) {
        self.wire = link.wire();
    }

    /// When and as what a datagram arrives: not at all, once, or twice.
    pub(super) fn travel(
        &mut self,
        now: Mono,
        dice: &mut Dice,
        mut datagram: Datagram,
    ) -> Vec<(Mono, Datagram)> {
        let wire = self.wire;
        let Some(leaves) = self.leave(now, &datagram) else { return Vec::new() };
        let cut = self.cuts.contains(&(datagram.from, datagram.to));
        if cut || datagram.bytes.len() > self.mtu || dice.chance(wire.loss) {
            return Vec::new();
        }
        if self.bleaches {
            datagram.ecn = None;
        }
        let copies = 1 + usize::from(dice.chance(wire.duplicate));
        let arrive = |dice: &mut Dice| {
            let latency = self.latency(&datagram) + dice.up_to(wire.jitter);
            let late = if dice.chance(wire.reorder) { latency } else { 0 };
            let mut copy = datagram.clone();
            if dice.chance(wire.corrupt) {
                flip(&mut copy.bytes, dice);
            }
            (Mono::from_nanos(leaves.saturating_add(latency + late)), copy)
        };
        (0..copies).map(|_| arrive(dice)).collect()
    }

    /// When it has passed its sender's bottleneck, whose queue is a second long.
    fn leave(&mut self, now: Mono, datagram: &Datagram) -> Option<u64> {
        let now = now.as_nanos();
        let Some(rate) = self.wire.bandwidth else { return Some(now) };
        let busy = self.busy.entry(datagram.from).or_default();
        if busy.saturating_sub(now) > QUEUE_MAX {
            return None;
        }
        *busy = (*busy).max(now) + rate.time(datagram.bytes.len());
        Some(*busy)
    }

    /// Drawn once for each pair of addresses, by the seed alone.
    fn latency(&self, datagram: &Datagram) -> u64 {
        let name = |address: SocketAddr| match address {
            SocketAddr::V4(v4) => (u64::from(v4.ip().to_bits()) << 16) | u64::from(v4.port()),
            SocketAddr::V6(v6) => mix(v6.ip().to_bits() as u64) ^ u64::from(v6.port()),
        };
        let (a, b) = (name(datagram.from), name(datagram.to));
        let drawn = mix(mix(self.seed ^ a.min(b)) ^ a.max(b));
        self.wire.latency_min + scale(drawn, self.wire.latency_spread.saturating_add(1))
    }
}

/// Flips one bit.
fn flip(bytes: &mut BytesMut, dice: &mut Dice) {
    let bit = dice.up_to((8 * bytes.len() as u64).saturating_sub(1));
    let place = usize::try_from(bit / 8).ok().and_then(|place| bytes.get_mut(place));
    place.into_iter().for_each(|byte| *byte ^= 1 << (bit % 8));
}

/// Nanoseconds that a datagram may wait before a bottleneck.
const QUEUE_MAX: u64 = 1_000_000_000;
