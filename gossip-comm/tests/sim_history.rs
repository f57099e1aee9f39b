//! The same seed gives the same history, quickly.

#![cfg(feature = "sim")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    clippy::large_enum_variant,
    reason = "tests fail by panicking, and look for one event among others"
)]

mod sim_world;

use std::cell::Cell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use gossip_api::{Envelope, Machine, Message, Mono, Now, Wakeup};
use gossip_comm::sim::{Cluster, Link, check, seeded};
use gossip_comm::{Command, Effect, Event, Host};
use rand_chacha::ChaCha8Rng;
use rand_core::Rng;
use sim_world::{at_ms, data, endpoint, id, ms, note, reachable, spec};

/// Passes on each note that is new to it to a few peers; sends one to somebody every now and then.
struct Flooder {
    index: usize,
    peers: usize,
    rng: ChaCha8Rng,
    every: Duration,
    next: Mono,
    seen: BTreeSet<u64>,
}

enum Input {
    Start(u64),
    Heard(Event),
    Tick,
}

impl Machine for Flooder {
    type Input = Input;
    type Action = Command;

    fn handle(&mut self, now: Now, input: Input) -> Vec<Command> {
        match input {
            Input::Start(number) => self.spread(number),
            Input::Heard(Event::Received { message, .. }) => match message.message {
                Message::Beats(beats) => self.spread(beats.beats.as_slice()[0].sequence),
                _ => Vec::new(),
            },
            Input::Heard(_) => Vec::new(),
            Input::Tick => {
                self.next = now.mono.after(self.every);
                vec![self.send(&data(0, 200))]
            }
        }
    }

    fn next_wakeup(&self) -> Option<Wakeup> {
        Some(Wakeup { at: self.next, why: "send to somebody" })
    }
}

impl Flooder {
    fn spread(&mut self, number: u64) -> Vec<Command> {
        if !self.seen.insert(number) {
            return Vec::new();
        }
        (0..4).map(|_| self.send(&note(number))).collect()
    }

    /// To one of six neighbours.
    fn send(&mut self, message: &Message) -> Command {
        let hop = 1 << (self.rng.next_u32() % 6);
        let to = reachable((self.index + hop) % self.peers);
        Command::Send { to, envelope: Envelope::unsigned(message) }
    }
}

struct Plain;

impl Host for Plain {
    type Machine = Flooder;

    fn perform(&mut self, _: usize, _: Now, action: Command) -> Vec<Effect<Input>> {
        vec![Effect::Command(action)]
    }

    fn receive(&mut self, _: &Self::Machine, _: usize, _: Now, event: Event) -> Vec<Effect<Input>> {
        vec![Effect::Input(Input::Heard(event))]
    }

    fn tick(&mut self, _: usize, _: Now) -> Input {
        Input::Tick
    }
}

#[test]
fn the_same_seed_gives_the_same_history_and_another_one_another() {
    let run = |seed| {
        let net = storm(seed);
        (net.history_hash(), net.stats().clone())
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1).0, run(2).0);
}

#[test]
fn lengths_and_history_are_the_same_with_real_bytes() {
    let mut real = flood(7, 10, ms(100)).with_real_decoding(true);
    let mut cheap = flood(7, 10, ms(100)).with_real_decoding(false);
    for net in [&mut real, &mut cheap] {
        net.inject(0, Input::Start(1));
        net.run_for(ms(2000));
    }
    assert_eq!(real.history_hash(), cheap.history_hash());
    assert_eq!(real.stats(), cheap.stats());
}

#[test]
fn a_flood_reaches_everybody_over_a_whole_network() {
    check(0..20, |seed| {
        let mut net = flood(seed, 20, ms(1000));
        (0..40).for_each(|number| net.inject(number % 20, Input::Start(number as u64)));
        net.run_for(ms(5000));
        let heard: usize = (0..20).map(|peer| net.machine(peer).seen.len()).sum();
        assert!(heard > 600, "{heard} of 800");
        assert_eq!(net.stats().dropped(), 0);
    });
}

#[test]
fn invariants_are_looked_at_after_every_step_of_a_small_network() {
    let mut net = flood(1, 5, ms(10));
    let looks = Rc::new(Cell::new(0_u64));
    let count = Rc::clone(&looks);
    net.on_step(move |net| {
        count.set(count.get() + 1);
        assert!(net.peers() == 5);
    });
    net.run_for(ms(1000));
    assert!(looks.get() >= net.stats().steps, "{} looks", looks.get());
}

#[test]
fn a_thousand_peers_with_ten_messages_a_second_are_quick() {
    let mut net = flood(1, 1000, ms(100));
    net.run_for(ms(10_000));
    let messages = net.stats().messages;
    assert!((95_000..101_000).contains(&messages), "{messages}");
    assert!(net.queued() < 20_000, "{} tasks wait", net.queued());
}

/// A network with every fault at once.
fn storm(seed: u64) -> Cluster<Plain> {
    let mut net = flood(seed, 12, ms(50));
    net.set_default_link(
        Link::wan().jitter(ms(9)).loss(0.1).drop(0.02).duplicate(0.1).reorder(0.1).corrupt(0.05),
    );
    net.set_uplink(3, 1_000_000);
    (0..30).for_each(|number| net.inject_at(at_ms(100 * number), 0, Input::Start(number)));
    net.call_at(at_ms(1000), |net| net.crash(2));
    net.call_at(at_ms(1500), |net| net.pause(4));
    net.call_at(at_ms(2000), |net| net.split(|peer| u32::from(peer > 6)));
    net.call_at(at_ms(3000), |net| net.restart(2, spec(2), flooder(9, 2, 12, ms(50))));
    net.call_at(at_ms(4000), Cluster::heal);
    net.call_at(at_ms(5000), |net| net.resume(4));
    net.run_for(ms(20_000));
    net
}

fn flood(seed: u64, peers: usize, every: Duration) -> Cluster<Plain> {
    let mut net = Cluster::new(seed, Link::lan(), Plain);
    for index in 0..peers {
        net.add_peer(spec(index), flooder(seed, index, peers, every));
    }
    assert_eq!((net.spec(0).pki_id, &net.spec(0).endpoint), (id(0), &endpoint(0)));
    net
}

fn flooder(seed: u64, index: usize, peers: usize, every: Duration) -> Flooder {
    let mut rng = seeded(seed, index as u64);
    let next = Mono::from_nanos(rng.next_u64() % 100_000_000);
    Flooder { index, peers, rng, every, next, seen: BTreeSet::new() }
}
