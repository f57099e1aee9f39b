//! Faults that take their course: partitions of every shape, and clogs that come and go in turn.
//!
//! Each is drawn whole from a generator of the caller's and laid into the future with
//! [`Cluster::call_at`], so that a swarm of runs can mix them at will.

use std::ops::Range;
use std::time::Duration;

use gossip_api::Mono;
use rand_core::Rng;

use super::cluster::Cluster;
use super::rng::scale;
use crate::host::Host;

/// How a partition divides peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Any number of peers is as likely as any other to be on the smaller side.
    Sizes,
    /// A coin for each peer.
    Coins,
    /// One peer alone.
    Single,
}

/// Draws a partition: for each peer whether it is on the second side. Neither side is empty.
pub fn partition(rng: &mut impl Rng, peers: usize, shape: Shape) -> Vec<bool> {
    let mut side = vec![false; peers];
    if peers < 2 {
        return side;
    }
    match shape {
        Shape::Coins => side.iter_mut().for_each(|side| *side = draw(rng, 2) == 1),
        Shape::Sizes | Shape::Single => {
            let count = if shape == Shape::Single { 1 } else { 1 + draw(rng, peers - 1) };
            let chosen = shuffled(rng, peers);
            for peer in chosen.into_iter().take(count) {
                side.get_mut(peer).into_iter().for_each(|side| *side = true);
            }
        }
    }
    if side.iter().all(|other| *other == side.first().copied().unwrap_or_default()) {
        let lone = draw(rng, peers);
        side.get_mut(lone).into_iter().for_each(|side| *side = !*side);
    }
    side
}

impl<H: Host + 'static> Cluster<H> {
    /// Partitions of all shapes, one after the other, within `when`; half of them one way alone. Each lasts
    /// for a time drawn from `lasts`, and the network is whole for a time drawn from the same before the
    /// next. All is healed at the end.
    pub fn plan_partitions(
        &mut self,
        rng: &mut impl Rng,
        when: Range<Mono>,
        lasts: Range<Duration>,
    ) {
        let mut at = when.start;
        loop {
            at = at.after(between(rng, &lasts));
            let end = at.after(between(rng, &lasts)).min(when.end);
            if at >= when.end {
                break;
            }
            let shapes = [Shape::Sizes, Shape::Coins, Shape::Single];
            let shape = shapes.get(draw(rng, shapes.len())).copied().unwrap_or(Shape::Sizes);
            let side = partition(rng, self.peers(), shape);
            let one_way = draw(rng, 2) == 1;
            self.call_at(at, move |net| net.divide(&side, one_way));
            self.call_at(end, Self::heal);
            at = end;
        }
        self.call_at(when.end, Self::heal);
    }

    /// Swizzle-clogging: a drawn set of peers is clogged one by one, each for as long as the others of it
    /// take, and unclogged in another order. All is clear at the end of `when`.
    pub fn plan_swizzle(&mut self, rng: &mut impl Rng, when: &Range<Mono>) {
        let peers = self.peers();
        let count = 1 + draw(rng, peers);
        let chosen: Vec<usize> = shuffled(rng, peers).into_iter().take(count).collect();
        let order = shuffled(rng, chosen.len());
        let step = when.end.since(when.start)
            / (2 * u32::try_from(chosen.len()).unwrap_or(u32::MAX)).max(1);
        let mut at = when.start;
        for peer in chosen.iter().copied() {
            self.call_at(at, move |net| net.clog(peer, true));
            at = at.after(step);
        }
        for peer in order.into_iter().filter_map(|index| chosen.get(index).copied()) {
            self.call_at(at.min(when.end), move |net| net.clog(peer, false));
            at = at.after(step);
        }
    }

    /// Cuts the network in two, or only the way from the first side to the second.
    pub fn divide(&mut self, second: &[bool], one_way: bool) {
        let on_second = |peer: usize| second.get(peer).copied().unwrap_or_default();
        if !one_way {
            return self.split(|peer| u32::from(on_second(peer)));
        }
        for from in (0..self.peers()).filter(|peer| !on_second(*peer)) {
            for to in (0..self.peers()).filter(|peer| on_second(*peer)) {
                self.cut_one_way(from, to, true);
            }
        }
    }
}

/// All numbers below `count`, in an order drawn.
fn shuffled(rng: &mut impl Rng, count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    for last in (1..count).rev() {
        order.swap(last, draw(rng, last + 1));
    }
    order
}

fn draw(rng: &mut impl Rng, bound: usize) -> usize {
    usize::try_from(scale(rng.next_u64(), bound as u64)).unwrap_or_default()
}

fn between(rng: &mut impl Rng, range: &Range<Duration>) -> Duration {
    let width = range.end.saturating_sub(range.start);
    let width = u64::try_from(width.as_nanos()).unwrap_or(u64::MAX);
    range.start + Duration::from_nanos(scale(rng.next_u64(), width.saturating_add(1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::seeded;

    #[test]
    fn partitions_have_two_sides_of_every_size() {
        let sizes = |shape| {
            let draws = (0..500).map(|seed| {
                let side = partition(&mut seeded(seed, 0), 10, shape);
                side.into_iter().filter(|second| *second).count()
            });
            draws.collect::<std::collections::BTreeSet<_>>()
        };
        assert_eq!(sizes(Shape::Sizes), (1..10).collect());
        assert_eq!(sizes(Shape::Single), [1].into());
        let coins = sizes(Shape::Coins);
        assert!(coins.len() > 6 && !coins.contains(&0) && !coins.contains(&10), "{coins:?}");
        assert_eq!(partition(&mut seeded(1, 0), 1, Shape::Coins), [false]);
    }
}
