//! The loop: machines, network, clock and queue as one value.

use std::collections::VecDeque;
use std::time::Duration;

use gossip_api::message::Kind;
use gossip_api::{CryptoError, Expiration, Machine, Mono, Now, PeerIdentity, Wakeup};

use super::history::Stats;
use super::link::Link;
use super::net::{Net, NetTask, PeerSpec, Timing, WALL_START, wall};
use super::queue::Queue;
use crate::bounds::OutboxConfig;
use crate::comm::Event;
use crate::host::{Effect, Host};

pub(super) type Input<H> = <<H as Host>::Machine as Machine>::Input;
type Hook<H> = Box<dyn FnMut(&Cluster<H>)>;
type Call<H> = Box<dyn FnOnce(&mut Cluster<H>)>;

/// Any number of machines of one kind, joined by a simulated network.
///
/// Peers are named by what [`add_peer`](Self::add_peer) returned, from 0 up; a peer that crashed keeps
/// its name. Methods panic on a name that was not given out.
pub struct Cluster<H: Host> {
    pub(super) host: H,
    pub(super) nodes: Vec<Node<H>>,
    pub(super) net: Net,
    pub(super) queue: Queue<Task<H>>,
    pub(super) now: Mono,
    seed: u64,
    hooks: Vec<Hook<H>>,
    hooked: Mono,
    /// The inputs of the step under way.
    work: VecDeque<Input<H>>,
}

/// One machine.
pub(super) struct Node<H: Host> {
    pub(super) machine: H::Machine,
    /// The wake-up that is in the queue.
    pub(super) armed: Option<Mono>,
    /// What became due while the peer was paused.
    pub(super) stalled: Vec<Task<H>>,
    /// Ticks in a row at one instant.
    ticks: u32,
}

/// Something that becomes due.
pub(super) enum Task<H: Host> {
    Net(NetTask),
    Input { peer: usize, life: u32, input: Input<H> },
    Wakeup { peer: usize, life: u32, at: Mono },
    Call(Call<H>),
}

impl<H: Host> Task<H> {
    fn peer(&self) -> Option<usize> {
        match self {
            Self::Net(task) => Some(task.at()),
            Self::Input { peer, .. } | Self::Wakeup { peer, .. } => Some(*peer),
            Self::Call(_) => None,
        }
    }
}

impl<H: Host> Cluster<H> {
    /// A network without peers, every pair of which will be joined by `link`.
    pub fn new(seed: u64, link: Link, host: H) -> Self {
        Self {
            host,
            nodes: Vec::new(),
            net: Net::new(seed, &link),
            queue: Queue::new(),
            now: Mono::ZERO,
            seed,
            hooks: Vec::new(),
            hooked: Mono::ZERO,
            work: VecDeque::new(),
        }
    }

    /// The same with these time-outs.
    #[must_use]
    pub fn with_timing(mut self, timing: Timing) -> Self {
        self.net.timing = timing;
        self
    }

    /// The same with these bounds of what may wait for one peer.
    #[must_use]
    pub fn with_outbox(mut self, bounds: OutboxConfig) -> Self {
        self.net.bounds = bounds;
        self
    }

    /// The same with identities that are looked at before a connection stands, by both sides.
    ///
    /// `check` is asked on behalf of which peer, and about whose identity. A connection to an identity that
    /// runs out ends within a second, by the calendar of either side.
    #[must_use]
    pub fn with_door(
        mut self,
        check: impl Fn(usize, &PeerIdentity) -> Result<Expiration, CryptoError> + 'static,
    ) -> Self {
        self.net.door.set(check);
        self
    }

    /// The same with messages of these kinds sent as datagrams.
    #[must_use]
    pub fn with_datagrams(mut self, kinds: impl IntoIterator<Item = Kind>) -> Self {
        self.net.datagrams = kinds.into_iter().collect();
        self
    }

    /// The same with every message encoded to bytes and decoded again, or none. Unless this is called,
    /// one seed in fifty does so; lengths are true either way.
    #[must_use]
    pub fn with_real_decoding(mut self, real: bool) -> Self {
        self.net.real_decoding = real;
        self
    }

    /// Adds a peer; it runs from now on. Of several peers at one endpoint the last added answers there.
    pub fn add_peer(&mut self, spec: PeerSpec, machine: H::Machine) -> usize {
        let peer = self.net.add(spec);
        self.nodes.push(Node { machine, armed: None, stalled: Vec::new(), ticks: 0 });
        self.rearm(peer);
        peer
    }

    /// Gives a machine an input now. A crashed peer does not notice, a paused one does later.
    pub fn inject(&mut self, peer: usize, input: Input<H>) {
        if self.net.is_paused(peer) {
            let life = self.net.life(peer);
            self.node_mut(peer).stalled.push(Task::Input { peer, life, input });
        } else if self.net.is_up(peer) {
            self.work.push_back(input);
            self.work_off(peer);
            self.stepped();
        }
    }

    /// Gives a machine an input at `at`, unless its peer has crashed or restarted by then.
    pub fn inject_at(&mut self, at: Mono, peer: usize, input: Input<H>) {
        let life = self.net.life(peer);
        self.queue.push(at.max(self.now), Task::Input { peer, life, input });
    }

    /// Does something to the cluster at `at`: a fault, or its end.
    pub fn call_at(&mut self, at: Mono, call: impl FnOnce(&mut Self) + 'static) {
        self.queue.push(at.max(self.now), Task::Call(Box::new(call)));
    }

    /// Runs all that is due by `at`, which it is afterwards.
    pub fn run_until(&mut self, at: Mono) {
        while self.step(at) {}
        self.now = self.now.max(at);
    }

    /// Runs for this much virtual time.
    pub fn run_for(&mut self, time: Duration) {
        self.run_until(self.now.after(time));
    }

    /// Runs while the condition holds, but no longer than `limit`; true if the condition ended.
    ///
    /// With more than twenty peers the condition is looked at once a virtual millisecond.
    pub fn run_while(&mut self, limit: Duration, mut holds: impl FnMut(&Self) -> bool) -> bool {
        let end = self.now.after(limit);
        let mut looked = None;
        loop {
            let due = looked.is_none_or(|looked| self.now.since(looked) >= LOOK_EVERY);
            if due || self.nodes.len() <= SMALL {
                if !holds(self) {
                    return true;
                }
                looked = Some(self.now);
            }
            if !self.step(end) {
                self.now = self.now.max(end);
                return !holds(self);
            }
        }
    }

    /// Has `hook` look at the cluster after every step; with more than twenty peers, once a virtual second.
    /// It panics if something is wrong.
    pub fn on_step(&mut self, hook: impl FnMut(&Self) + 'static) {
        self.hooks.push(Box::new(hook));
    }

    /// The time, by the clock of a peer whose clock is right.
    pub fn now(&self) -> Now {
        Now { mono: self.now, wall: wall(WALL_START, self.now) }
    }

    /// The seed of all draws.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The machine of a peer; after a crash, as it was then.
    pub fn machine(&self, peer: usize) -> &H::Machine {
        &self.node(peer).machine
    }

    /// The same, to be changed. Changes of what it waits for count from its next input on.
    pub fn machine_mut(&mut self, peer: usize) -> &mut H::Machine {
        &mut self.node_mut(peer).machine
    }

    /// The host.
    pub fn host(&self) -> &H {
        &self.host
    }

    /// The host, to be changed.
    pub fn host_mut(&mut self) -> &mut H {
        &mut self.host
    }

    /// How many peers were added, crashed ones included.
    pub fn peers(&self) -> usize {
        self.nodes.len()
    }

    /// What a peer is to the others.
    pub fn spec(&self, peer: usize) -> &PeerSpec {
        self.net.spec(peer)
    }

    /// Whether a peer runs, paused or not.
    pub fn is_up(&self, peer: usize) -> bool {
        self.net.is_up(peer)
    }

    /// Whether a peer is paused.
    pub fn is_paused(&self, peer: usize) -> bool {
        self.net.is_paused(peer)
    }

    /// Whether `a` believes that it has a connection to `b`.
    pub fn is_connected(&self, a: usize, b: usize) -> bool {
        self.net.is_connected(a, b)
    }

    /// How many tasks wait in the queue, stale wake-ups included.
    pub fn queued(&self) -> usize {
        self.queue.len()
    }

    /// A hash of every (time, from, to, kind, length) so far, in order.
    pub fn history_hash(&self) -> u64 {
        self.net.history.hash()
    }

    /// The numbers so far.
    pub fn stats(&self) -> &Stats {
        &self.net.stats
    }

    /// Does the next thing that is due by `limit`; false if there is none.
    fn step(&mut self, limit: Mono) -> bool {
        let Some((at, task)) = self.queue.pop_until(limit) else { return false };
        debug_assert!(at >= self.now, "time goes forward");
        self.now = at;
        match task.peer() {
            Some(peer) if self.net.is_paused(peer) => self.node_mut(peer).stalled.push(task),
            _ => {
                self.fire(task);
                self.stepped();
            }
        }
        true
    }

    fn fire(&mut self, task: Task<H>) {
        match task {
            Task::Net(task) => {
                if let Some((peer, event)) = self.net.fire(self.now, task) {
                    self.tell(peer, event);
                }
                self.collect();
            }
            Task::Input { peer, life, input } => {
                if self.lives(peer, life) {
                    self.work.push_back(input);
                    self.work_off(peer);
                }
            }
            Task::Wakeup { peer, life, at } => {
                if self.lives(peer, life) && self.node(peer).armed == Some(at) {
                    self.wake(peer);
                }
            }
            Task::Call(call) => call(self),
        }
    }

    fn lives(&self, peer: usize, life: u32) -> bool {
        self.net.is_up(peer) && self.net.life(peer) == life
    }

    /// Hands an event to a peer.
    fn tell(&mut self, peer: usize, event: Event) {
        let now = self.now_at(peer);
        let node = self.nodes.get(peer).expect("peers are named by what add_peer returned");
        let effects = self.host.receive(&node.machine, peer, now, event);
        self.apply(peer, effects);
        self.work_off(peer);
    }

    /// A wake-up is due, unless the machine changed its mind.
    fn wake(&mut self, peer: usize) {
        let now = self.now;
        let node = self.node_mut(peer);
        node.armed = None;
        let due = node.machine.next_wakeup().filter(|wakeup| wakeup.at <= now);
        if let Some(Wakeup { why, .. }) = due {
            node.ticks += 1;
            assert!(node.ticks < TICKS_MAX, "peer {peer} wants ever more ticks at {now}: {why}");
            let now = self.now_at(peer);
            let tick = self.host.tick(peer, now);
            self.work.push_back(tick);
        }
        self.work_off(peer);
    }

    /// Gives the machine all inputs of this step, those that arise on the way included.
    fn work_off(&mut self, peer: usize) {
        let now = self.now_at(peer);
        let mut inputs: u32 = 0;
        while let Some(input) = self.work.pop_front() {
            inputs += 1;
            assert!(inputs < INPUTS_MAX, "peer {peer} keeps itself busy at {}", self.now);
            self.net.stats.steps += 1;
            let actions = self.node_mut(peer).machine.handle(now, input);
            for action in actions {
                let effects = self.host.perform(peer, now, action);
                self.apply(peer, effects);
            }
        }
        self.rearm(peer);
        self.collect();
    }

    fn apply(&mut self, peer: usize, effects: Vec<Effect<Input<H>>>) {
        for effect in effects {
            match effect {
                Effect::Command(command) => self.net.command(self.now, peer, command),
                Effect::Input(input) => self.work.push_back(input),
                Effect::InputAfter(wait, input) => {
                    self.inject_at(self.now.after(wait), peer, input);
                }
            }
        }
    }

    /// Sees to it that a task is in the queue for when the machine wants to be woken.
    pub(super) fn rearm(&mut self, peer: usize) {
        let now = self.now;
        let life = self.net.life(peer);
        let node = self.node_mut(peer);
        let wakeup = node.machine.next_wakeup();
        if wakeup.is_none_or(|wakeup| wakeup.at > now) {
            node.ticks = 0;
        }
        let Some(wakeup) = wakeup else { return };
        let at = wakeup.at.max(now);
        // An earlier task finds that it came too soon and arms the next one.
        if node.armed.is_none_or(|armed| at < armed) {
            node.armed = Some(at);
            self.queue.push(at, Task::Wakeup { peer, life, at });
        }
    }

    /// Queues what the network left to be done.
    pub(super) fn collect(&mut self) {
        for (at, task) in self.net.later.drain(..) {
            self.queue.push(at.max(self.now), Task::Net(task));
        }
    }

    fn stepped(&mut self) {
        if self.hooks.is_empty()
            || (self.nodes.len() > SMALL && self.now.since(self.hooked) < HOOKS_EVERY)
        {
            return;
        }
        self.hooked = self.now;
        let mut hooks = std::mem::take(&mut self.hooks);
        hooks.iter_mut().for_each(|hook| hook(self));
        self.hooks = hooks;
    }

    fn now_at(&self, peer: usize) -> Now {
        Now { mono: self.now, wall: self.net.wall(peer, self.now) }
    }

    pub(super) fn node(&self, peer: usize) -> &Node<H> {
        self.nodes.get(peer).expect("peers are named by what add_peer returned")
    }

    pub(super) fn node_mut(&mut self, peer: usize) -> &mut Node<H> {
        self.nodes.get_mut(peer).expect("peers are named by what add_peer returned")
    }
}

/// Up to this many peers, invariants and conditions are looked at after every step.
const SMALL: usize = 20;

/// Virtual time between two looks at the condition of a large cluster.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// Virtual time between two looks at the invariants of a large cluster.
const HOOKS_EVERY: Duration = Duration::from_secs(1);

/// Ticks in a row at one instant after which a machine is taken to be stuck.
const TICKS_MAX: u32 = 1_000;

/// Inputs of one step after which machine and host are taken to be stuck.
const INPUTS_MAX: u32 = 1_000_000;
