//! Real QUIC endpoints in virtual time: for what only packets can show.
//!
//! The endpoints, connections and TLS sessions are quinn-proto's and rustls', set up as those of a real
//! peer are, and the hellos are the same [`exchange`](crate::hello). Between them lie datagrams that are
//! lost, late, doubled, overtaken, damaged or too long, all drawn from one seed, and no socket, task or
//! clock:
//!
//! ```text
//!   dial, send --> node: links, streams --> quinn-proto --datagrams--> path --(time, order)--> queue
//!   events    <--  frames, hellos      <--             <-----------------------------------------'
//! ```
//!
//! A node carries messages as a real peer does, control on one stream and each block on its own, and
//! settles with the same rules which of two connections stays. Questions with answers it does not carry:
//! they need nothing from packets that messages do not.
//!
//! TLS draws its keys from the operating system, so bytes differ from run to run; their number and times
//! do not, as long as certificates and signatures have fixed lengths (Ed25519).
//!
//! # Invariants
//! - The same seed and the same calls give the same [`Packets::trace_hash`].
//! - Nothing of a peer is kept before its hello is believed.
//! - What a link holds of streams that are not finished is at most one frame each.

mod frames;
mod link;
mod node;
mod path;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gossip_api::message::{CloseReason, HelloBinding};
use gossip_api::{
    Checked, Endpoint, Envelope, Epoch, MessageCryptoService, Mono, Now, PeerIdentity, PkiId,
    SecurityAdvisor, WireError,
};
use quinn_proto::{ClientConfig, Connection};
use rand_core::Rng as _;

use crate::comm::Event;
use crate::config::{CommConfig, TlsMaterial};
use crate::error::CommError;
use crate::sim::net::{WALL_START, wall};
use crate::sim::queue::Queue;
use crate::sim::rng::{Dice, mix};
use crate::sim::{Link, seeded};
use node::Node;
use path::Path;

pub use path::Datagram;

/// A peer of the simulation.
pub struct PacketPeer {
    /// Its settings; `listen` is the address of its packets.
    pub config: Checked<CommConfig>,
    /// Where others dial it.
    pub endpoint: Endpoint,
    /// Who it is.
    pub identity: PeerIdentity,
    /// Which life of it.
    pub epoch: Epoch,
    /// Judges identities and signatures, and signs.
    pub mcs: Arc<dyn MessageCryptoService>,
    /// Tells organisations.
    pub advisor: Arc<dyn SecurityAdvisor>,
}

impl fmt::Debug for PacketPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PacketPeer").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

/// What a peer that cheats says instead of its own hello, which is the last argument. Before it stand the
/// session as the hello must describe it, and the other side's hello as far as it was heard.
/// With nothing in its place it stays silent.
pub type Tamper = Box<dyn FnMut(&HelloBinding, &[u8], Vec<u8>) -> Vec<u8>>;

/// Somebody on the path: sees each datagram that is sent, and may send others.
pub type Tap = Box<dyn FnMut(&Datagram) -> Vec<Datagram>>;

/// A few peers, and the packets between them.
pub struct Packets {
    now: Mono,
    zero: Instant,
    seed: u64,
    dice: Dice,
    queue: Queue<Task>,
    nodes: Vec<Place>,
    by_address: BTreeMap<SocketAddr, usize>,
    by_endpoint: BTreeMap<Endpoint, usize>,
    path: Path,
    tap: Option<Tap>,
    trace: u64,
    /// Bytes sent to each address, and from it.
    traffic: BTreeMap<SocketAddr, Traffic>,
}

/// Bytes of datagrams of one address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Sent to it, lost ones included.
    pub to: u64,
    /// Arrived with it as their sender.
    pub from: u64,
}

struct Place {
    node: Node,
    /// The wake-up that is in the queue.
    armed: Option<Mono>,
}

enum Task {
    Arrive(Box<Datagram>),
    Wake { peer: usize, at: Mono },
}

impl Packets {
    /// No peers, any two of which will be joined by `link`: its latency and loss and all else hold for each
    /// datagram, and `drop` for none.
    pub fn new(seed: u64, link: &Link) -> Self {
        Self {
            now: Mono::ZERO,
            // The only look at a clock: QUIC's time needs a zero, and sees differences alone.
            zero: Instant::now(),
            seed,
            dice: Dice::new(seed),
            queue: Queue::new(),
            nodes: Vec::new(),
            by_address: BTreeMap::new(),
            by_endpoint: BTreeMap::new(),
            path: Path::new(seed, link),
            tap: None,
            trace: 0,
            traffic: BTreeMap::new(),
        }
    }

    /// Adds a peer, named by the number returned.
    ///
    /// # Errors
    /// If its TLS material or identity cannot be used.
    pub fn add_peer(&mut self, peer: PacketPeer) -> Result<usize, CommError> {
        let index = self.nodes.len();
        let mut rng_seed = [0; 32];
        seeded(self.seed, index as u64).fill_bytes(&mut rng_seed);
        self.by_address.insert(peer.config.listen, index);
        self.by_endpoint.insert(peer.endpoint.clone(), index);
        let node = Node::new(peer, self.zero, self.now(), rng_seed)?;
        self.nodes.push(Place { node, armed: None });
        Ok(index)
    }

    /// The time.
    pub fn now(&self) -> Now {
        Now { mono: self.now, wall: wall(WALL_START, self.now) }
    }

    /// A hash of the time, addresses and length of every datagram that arrived, in order.
    pub fn trace_hash(&self) -> u64 {
        self.trace
    }

    /// Has `from` find out who answers at the endpoint of `to`.
    pub fn dial(&mut self, from: usize, to: usize) {
        let expect = Some(self.node(to).id());
        self.dial_for(from, to, expect, None);
    }

    /// The same, for whomever is there if `expect` is nobody, and with TLS settings of its own.
    pub fn dial_for(
        &mut self,
        from: usize,
        to: usize,
        expect: Option<PkiId>,
        client: Option<ClientConfig>,
    ) {
        let (endpoint, address) = (self.node(to).peer.endpoint.clone(), self.node(to).address);
        let address = self.by_address.contains_key(&address).then_some(address);
        self.act(from, |node, now| node.dial(now, endpoint, address, expect, client));
    }

    /// Has `from` send a message to `to` once there is a connection.
    ///
    /// # Errors
    /// If it is larger than its class may be.
    pub fn send(&mut self, from: usize, to: usize, envelope: &Envelope) -> Result<(), WireError> {
        let to = self.node(to).id();
        let mut sent = Ok(());
        self.act(from, |node, _| sent = node.send(to, envelope));
        sent
    }

    /// Has `from` close its connections with `to`.
    pub fn close(&mut self, from: usize, to: usize, reason: CloseReason) {
        let to = self.node(to).id();
        self.act(from, |node, now| node.close(now, &to, reason));
    }

    /// Does anything to the connections of `from` with `to`, behind the back of all that is above QUIC.
    pub fn meddle(&mut self, from: usize, to: usize, mut what: impl FnMut(&mut Connection)) {
        let to = self.node(to).id();
        self.act(from, |node, _| {
            let links = node.links.values_mut().filter(|link| link.leads_to(&to));
            links.for_each(|link| what(&mut link.quic));
        });
    }

    /// Has a peer say other hellos than its own.
    pub fn set_tamper(&mut self, peer: usize, tamper: Tamper) {
        self.node_mut(peer).tamper = Some(tamper);
    }

    /// Has somebody on the path see every datagram.
    pub fn set_tap(&mut self, tap: Option<Tap>) {
        self.tap = tap;
    }

    /// Sessions of a peer that begin from now on use other TLS material.
    ///
    /// # Errors
    /// If it cannot be used; nothing has changed then.
    pub fn set_tls(&mut self, peer: usize, material: &TlsMaterial) -> Result<(), CommError> {
        self.node_mut(peer).set_tls(material)
    }

    /// Changes the path between any two peers.
    pub fn set_link(&mut self, link: &Link) {
        self.path.set(link);
    }

    /// The longest payload that arrives; longer ones vanish without a word.
    pub fn set_mtu(&mut self, mtu: usize) {
        self.path.mtu = mtu;
    }

    /// Whether the path wipes marks about congestion out of datagrams.
    pub fn set_bleaching(&mut self, bleaches: bool) {
        self.path.bleaches = bleaches;
    }

    /// Cuts the way from `from` to `to`, or mends it.
    pub fn cut_one_way(&mut self, from: usize, to: usize, cut: bool) {
        let way = (self.node(from).address, self.node(to).address);
        if cut {
            self.path.cuts.insert(way);
        } else {
            self.path.cuts.remove(&way);
        }
    }

    /// A peer's datagrams come from another address from now on, and those to its old one are lost; it
    /// does not notice.
    pub fn rebind(&mut self, peer: usize, address: SocketAddr) {
        let old = std::mem::replace(&mut self.node_mut(peer).address, address);
        self.by_address.remove(&old);
        self.by_address.insert(address, peer);
    }

    /// Sends a datagram of anybody's making.
    pub fn inject(&mut self, datagram: Datagram) {
        self.launch(datagram);
    }

    /// Runs for this much virtual time.
    pub fn run_for(&mut self, time: Duration) {
        let end = self.now.after(time);
        while self.step(end) {}
        self.now = end;
    }

    /// Runs while the condition holds, but no longer than `limit`; true if the condition ended.
    pub fn run_while(&mut self, limit: Duration, mut holds: impl FnMut(&Self) -> bool) -> bool {
        let end = self.now.after(limit);
        while holds(self) {
            if !self.step(end) {
                self.now = end;
                return !holds(self);
            }
        }
        true
    }

    /// What a peer heard, in order.
    pub fn events(&self, peer: usize) -> &[(Mono, Event)] {
        &self.node(peer).events
    }

    /// Forgets what a peer heard so far.
    pub fn clear_events(&mut self, peer: usize) {
        self.node_mut(peer).events.clear();
    }

    /// Why this peer did not let others in, and how often.
    pub fn refused(&self, peer: usize) -> &BTreeMap<&'static str, u64> {
        &self.node(peer).refused
    }

    /// What peers that it had let in did wrong, and how often.
    pub fn offences(&self, peer: usize) -> &BTreeMap<&'static str, u64> {
        &self.node(peer).offences
    }

    /// The hellos that a peer heard, as they came, the newest last.
    pub fn overheard(&self, peer: usize) -> Vec<Vec<u8>> {
        self.node(peer).overheard.iter().cloned().collect()
    }

    /// How many identities a peer keeps, its own included.
    pub fn identities(&self, peer: usize) -> usize {
        self.node(peer).identities.len()
    }

    /// Connections of a peer that are not closed, believed or not.
    pub fn connections(&self, peer: usize) -> usize {
        self.node(peer).handles(|link| !link.quic.is_closed()).len()
    }

    /// Bytes that a peer holds of frames that are not whole.
    pub fn held(&self, peer: usize) -> usize {
        self.node(peer).links.values().map(link::Link::held).sum()
    }

    /// Bytes that a peer keeps because they have not arrived where it sent them.
    pub fn waiting(&self, peer: usize) -> usize {
        self.node(peer).waiting()
    }

    /// Messages that a peer dropped because too much waited.
    pub fn overflow(&self, peer: usize) -> u64 {
        self.node(peer).overflow
    }

    /// Bytes to and from an address.
    pub fn traffic(&self, address: SocketAddr) -> Traffic {
        self.traffic.get(&address).copied().unwrap_or_default()
    }

    /// The address of a peer's packets.
    pub fn address(&self, peer: usize) -> SocketAddr {
        self.node(peer).address
    }

    fn step(&mut self, limit: Mono) -> bool {
        let Some((at, task)) = self.queue.pop_until(limit) else { return false };
        self.now = at;
        match task {
            Task::Arrive(datagram) => self.arrive(*datagram),
            Task::Wake { peer, at } => {
                if self.place(peer).armed == Some(at) {
                    self.place_mut(peer).armed = None;
                    let mut out = Vec::new();
                    let now = self.now();
                    self.node_mut(peer).tick(now, &mut out);
                    self.finish(peer, out);
                }
            }
        }
        true
    }

    fn arrive(&mut self, datagram: Datagram) {
        let Some(peer) = self.by_address.get(&datagram.to).copied() else { return };
        let name = |address: SocketAddr| mix(u64::from(address.port()));
        let words = [self.now.as_nanos(), name(datagram.from), name(datagram.to)];
        for word in words.into_iter().chain([datagram.bytes.len() as u64]) {
            self.trace = mix(self.trace ^ word);
        }
        self.traffic.entry(datagram.from).or_default().from += datagram.bytes.len() as u64;
        let mut out = Vec::new();
        let now = self.now();
        self.node_mut(peer).receive(now, datagram, &mut out);
        self.finish(peer, out);
    }

    /// Does something to a peer, and what follows from it.
    fn act(&mut self, peer: usize, what: impl FnOnce(&mut Node, Now)) {
        let now = self.now();
        let mut out = Vec::new();
        let node = self.node_mut(peer);
        what(node, now);
        node.drive(now, &mut out);
        self.finish(peer, out);
    }

    fn finish(&mut self, peer: usize, out: Vec<Datagram>) {
        out.into_iter().for_each(|datagram| self.dispatch(datagram));
        let now = self.now;
        let place = self.place_mut(peer);
        if let Some(at) = place.node.wakeup()
            && place.armed.is_none_or(|armed| at < armed)
        {
            let at = at.max(now);
            place.armed = Some(at);
            self.queue.push(at, Task::Wake { peer, at });
        }
    }

    fn dispatch(&mut self, datagram: Datagram) {
        let forged = match &mut self.tap {
            Some(tap) => tap(&datagram),
            None => Vec::new(),
        };
        self.launch(datagram);
        forged.into_iter().for_each(|datagram| self.launch(datagram));
    }

    fn launch(&mut self, datagram: Datagram) {
        self.traffic.entry(datagram.to).or_default().to += datagram.bytes.len() as u64;
        for (at, datagram) in self.path.travel(self.now, &mut self.dice, datagram) {
            self.queue.push(at, Task::Arrive(Box::new(datagram)));
        }
    }

    fn place(&self, peer: usize) -> &Place {
        self.nodes.get(peer).expect("peers are named by what add_peer returned")
    }

    fn place_mut(&mut self, peer: usize) -> &mut Place {
        self.nodes.get_mut(peer).expect("peers are named by what add_peer returned")
    }

    fn node(&self, peer: usize) -> &Node {
        &self.place(peer).node
    }

    fn node_mut(&mut self, peer: usize) -> &mut Node {
        &mut self.place_mut(peer).node
    }
}

impl fmt::Debug for Packets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Packets")
            .field("now", &self.now)
            .field("seed", &self.seed)
            .finish_non_exhaustive()
    }
}
