//! A machine that does as it is told and writes down what it hears, and a network of them.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    clippy::large_enum_variant,
    reason = "tests fail by panicking, and look for one event among others"
)]

use std::time::Duration;

use bytes::Bytes;
use gossip_api::message::{Beat, Beats, DataMessage, ShortId, StateRequest, StateResponse};
use gossip_api::{
    Block, Bounded, ChannelId, Endpoint, Envelope, Epoch, Machine, Message, Mono, Nonce, Now,
    OrgId, PeerIdentity, PkiId, RemotePeer, SeqNum, Wakeup,
};
use gossip_comm::sim::{Cluster, Link, PeerSpec};
use gossip_comm::{Command, Effect, Event, Host, InboundId, RequestId, ResponseOutcome};

/// What a [`Puppet`] is given.
pub enum Input {
    Do(Command),
    Heard(Event),
    WakeAt(Mono),
    Tick,
}

/// Does as told, remembers what it heard and when it woke.
#[derive(Default)]
pub struct Puppet {
    pub heard: Vec<(Mono, Event)>,
    pub woke: Vec<Mono>,
    wake_at: Option<Mono>,
}

impl Machine for Puppet {
    type Input = Input;
    type Action = Command;

    fn handle(&mut self, now: Now, input: Input) -> Vec<Command> {
        match input {
            Input::Do(command) => return vec![command],
            Input::Heard(event) => self.heard.push((now.mono, event)),
            Input::WakeAt(at) => self.wake_at = Some(at),
            Input::Tick => {
                self.wake_at = None;
                self.woke.push(now.mono);
            }
        }
        Vec::new()
    }

    fn next_wakeup(&self) -> Option<Wakeup> {
        self.wake_at.map(|at| Wakeup { at, why: "told so" })
    }
}

/// Passes everything on.
pub struct Strings;

impl Host for Strings {
    type Machine = Puppet;

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

pub type World = Cluster<Strings>;

/// `peers` puppets, not connected.
pub fn world(seed: u64, peers: usize, link: Link) -> World {
    let mut world = Cluster::new(seed, link, Strings);
    for index in 0..peers {
        world.add_peer(spec(index), Puppet::default());
    }
    world
}

/// Puppets of which 0 has dialled all others, over a good link that is `link` from the first second on.
pub fn star(seed: u64, peers: usize, link: Link) -> World {
    let mut world = world(seed, peers, plain());
    for other in 1..peers {
        dial(&mut world, 0, other);
    }
    world.run_for(ms(1000));
    world.set_default_link(link);
    world
}

pub fn spec(index: usize) -> PeerSpec {
    PeerSpec {
        pki_id: id(index),
        identity: PeerIdentity::new(format!("peer {index}").into_bytes()).unwrap(),
        org: Some(OrgId::new("Org").unwrap()),
        endpoint: endpoint(index),
        epoch: Epoch::new(1),
    }
}

pub fn id(index: usize) -> PkiId {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&(index as u64 + 1).to_be_bytes());
    PkiId::from_bytes(bytes)
}

pub fn endpoint(index: usize) -> Endpoint {
    Endpoint::new(&format!("peer{index}:7051")).unwrap()
}

/// How to reach a peer that one is connected to.
pub fn neighbour(index: usize) -> RemotePeer {
    RemotePeer { pki_id: id(index), endpoint: None }
}

/// How to reach a peer in any case.
pub fn reachable(index: usize) -> RemotePeer {
    RemotePeer { pki_id: id(index), endpoint: Some(endpoint(index)) }
}

pub fn dial(world: &mut World, from: usize, to: usize) {
    let command = Command::Dial { endpoint: endpoint(to), expect: Some(id(to)) };
    world.inject(from, Input::Do(command));
}

pub fn send(world: &mut World, from: usize, to: usize, message: &Message) {
    let command = Command::Send { to: neighbour(to), envelope: Envelope::unsigned(message) };
    world.inject(from, Input::Do(command));
}

pub fn ask(world: &mut World, from: usize, to: usize, request: u64, patience: Duration) {
    let question = Message::StateRequest(StateRequest {
        nonce: Nonce::new(request),
        channel: channel(),
        from: SeqNum::new(0),
        to: SeqNum::new(9),
        bytes_max: 1 << 20,
    });
    let command = Command::Request {
        to: neighbour(to),
        id: RequestId(request),
        envelope: Envelope::unsigned(&question),
        patience,
    };
    world.inject(from, Input::Do(command));
}

pub fn answer(world: &mut World, from: usize, to: InboundId, number: u64) {
    let part = Message::StateResponse(StateResponse {
        nonce: Nonce::new(0),
        channel: channel(),
        block: block(number, 1000),
    });
    let command = Command::Respond { to, envelope: Envelope::unsigned(&part) };
    world.inject(from, Input::Do(command));
}

/// A small control message, told apart by its number.
pub fn note(number: u64) -> Message {
    let beat = Beat {
        member: ShortId::of(&id(0)),
        epoch: Epoch::new(1),
        sequence: number,
        preimage: [7; 32],
    };
    Message::Beats(Beats { beats: Bounded::new(vec![beat]).unwrap() })
}

/// A block message with this many bytes of data.
pub fn data(number: u64, len: usize) -> Message {
    Message::Data(DataMessage { channel: channel(), block: block(number, len) })
}

fn block(number: u64, len: usize) -> Block {
    Block {
        number: SeqNum::new(number),
        previous_hash: Bytes::from_static(&[1; 32]),
        data_hash: Bytes::from_static(&[2; 32]),
        data: vec![3; len].into(),
        metadata: Bytes::new(),
    }
}

pub fn channel() -> ChannelId {
    ChannelId::new("trade").unwrap()
}

/// When each of these messages arrived, by its number.
pub fn notes(world: &World, peer: usize) -> Vec<(Mono, u64)> {
    let numbered = |(at, event): &(Mono, Event)| match event {
        Event::Received { message, .. } => Some((*at, number_of(&message.message))),
        _ => None,
    };
    world.machine(peer).heard.iter().filter_map(numbered).collect()
}

fn number_of(message: &Message) -> u64 {
    match message {
        Message::Beats(beats) => beats.beats.as_slice()[0].sequence,
        other => other.header().sequence,
    }
}

/// The numbers of the parts of answers that arrived.
pub fn answers(world: &World, peer: usize) -> Vec<u64> {
    let part = |(_, event): &(Mono, Event)| match event {
        Event::Response { message, .. } => Some(number_of(&message.message)),
        _ => None,
    };
    world.machine(peer).heard.iter().filter_map(part).collect()
}

/// The ends of exchanges that the peer heard of.
pub fn outcomes(world: &World, peer: usize) -> Vec<(Mono, RequestId, ResponseOutcome)> {
    let ended = |(at, event): &(Mono, Event)| match event {
        Event::ResponseEnd { id, outcome } => Some((*at, *id, *outcome)),
        _ => None,
    };
    world.machine(peer).heard.iter().filter_map(ended).collect()
}

/// The questions that the peer was asked.
pub fn questions(world: &World, peer: usize) -> Vec<InboundId> {
    let asked = |(_, event): &(Mono, Event)| match event {
        Event::Request { id, .. } => Some(*id),
        _ => None,
    };
    world.machine(peer).heard.iter().filter_map(asked).collect()
}

/// What of the peer's connections it heard of, as words.
pub fn connections(world: &World, peer: usize) -> Vec<(Mono, String)> {
    let word = |(at, event): &(Mono, Event)| {
        let name =
            |pki_id: &PkiId| u64::from_be_bytes(pki_id.as_bytes()[..8].try_into().unwrap()) - 1;
        match event {
            Event::Connected(peer) if peer.dialled.is_some() => {
                Some((*at, format!("dialled {}", name(&peer.peer))))
            }
            Event::Connected(peer) => Some((*at, format!("accepted {}", name(&peer.peer)))),
            Event::Disconnected { peer, cause } => {
                Some((*at, format!("lost {}: {cause:?}", name(peer))))
            }
            Event::DialFailed { endpoint, reason } => {
                Some((*at, format!("no {endpoint}: {reason}")))
            }
            _ => None,
        }
    };
    world.machine(peer).heard.iter().filter_map(word).collect()
}

/// The words alone.
pub fn words(world: &World, peer: usize) -> Vec<String> {
    connections(world, peer).into_iter().map(|(_, word)| word).collect()
}

pub const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub fn at_ms(millis: u64) -> Mono {
    Mono::ZERO.after(ms(millis))
}

/// Every way 5 ms long, nothing else in the way.
pub fn plain() -> Link {
    Link::lan().latency(ms(5)..=ms(5)).bandwidth(None)
}
