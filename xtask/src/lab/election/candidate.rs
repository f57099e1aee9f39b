//! As much of a peer as its election sees: neighbours, blocks, and a disk for the term.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use gossip_api::message::{DataMessage, LeadershipKind, LeadershipMessage};
use gossip_api::{
    Block, ChannelId, Endpoint, Envelope, Height, Machine, Message, Mono, Now, PkiId, RemotePeer,
    SeqNum, Wakeup,
};
use gossip_comm::Command;
use gossip_election::{Action as Wish, Claim, ClaimKind, Election, Input as Told};

use crate::soak::dice::Dice;

/// What a candidate is told.
#[derive(Debug)]
pub(super) enum Input {
    Connected(PkiId),
    Disconnected(PkiId),
    Received {
        from: PkiId,
        message: Box<Message>,
    },
    /// The ordering service delivers what there is.
    Ordered(Height),
    /// The ordering service's newest header.
    Header(Height),
    TermStored,
    Stop,
    Tick,
}

/// What a candidate wants done.
#[derive(Debug)]
pub(super) enum Action {
    Comm(Command),
    /// Takes blocks from the ordering service from now on, or does not.
    Leads(bool),
    Fetches(bool),
    Probe,
    StoreTerm(u64),
}

/// What a candidate has when it starts.
pub(super) struct Start {
    pub(super) election: Election,
    pub(super) channel: ChannelId,
    /// Everybody else, and where.
    pub(super) others: BTreeMap<PkiId, Endpoint>,
    pub(super) height: Height,
    pub(super) dice: Dice,
}

/// One peer of the organisation.
pub(super) struct Candidate {
    start: Start,
    /// Leads and keeps the blocks to itself.
    pub(super) withholds: bool,
    alive: BTreeSet<PkiId>,
    /// Who was connected once and is not now.
    lost: BTreeSet<PkiId>,
    redial_at: Mono,
    begun: bool,
    storing: bool,
    held: VecDeque<Wish>,
}

impl Candidate {
    pub(super) fn new(start: Start, now: Mono) -> Self {
        Self {
            start,
            withholds: false,
            alive: BTreeSet::new(),
            lost: BTreeSet::new(),
            redial_at: now,
            begun: false,
            storing: false,
            held: VecDeque::new(),
        }
    }

    pub(super) const fn height(&self) -> Height {
        self.start.height
    }

    /// Whether it is connected to all others.
    pub(super) fn sees_all(&self) -> bool {
        self.alive.len() == self.start.others.len()
    }

    /// A fact for the election before the first tick.
    pub(super) fn prepare(&mut self, now: Now, told: Told) {
        let wishes = self.start.election.handle(now, told);
        debug_assert!(wishes.is_empty(), "an election that has not begun wants nothing");
    }

    fn tell(&mut self, now: Now, told: Told) -> Vec<Action> {
        let wishes = self.start.election.handle(now, told);
        self.lift(wishes)
    }

    /// What is said under a term waits until the term is stored.
    fn lift(&mut self, wishes: Vec<Wish>) -> Vec<Action> {
        let mut actions = Vec::new();
        for wish in wishes {
            if self.storing {
                self.held.push_back(wish);
                continue;
            }
            match wish {
                Wish::Lead { .. } => actions.push(Action::Leads(true)),
                Wish::Follow { .. } => actions.push(Action::Leads(false)),
                Wish::Say(claim) => actions.extend(self.say(claim)),
                Wish::Persist { term } => {
                    self.storing = true;
                    actions.push(Action::StoreTerm(term));
                }
                Wish::Fetch { wanted } => actions.push(Action::Fetches(wanted)),
                Wish::Probe => actions.push(Action::Probe),
            }
        }
        actions
    }

    fn say(&self, claim: Claim) -> Vec<Action> {
        let kind = match claim.kind {
            ClaimKind::Propose => LeadershipKind::Propose,
            ClaimKind::Declare => LeadershipKind::Declare,
            ClaimKind::Resign => LeadershipKind::Resign,
        };
        let (channel, term) = (self.start.channel.clone(), claim.term);
        self.to_all(&Message::Leadership(LeadershipMessage {
            channel,
            kind,
            term,
            height: claim.height,
        }))
    }

    fn to_all(&self, message: &Message) -> Vec<Action> {
        let send = |pki_id: &PkiId| {
            let to = RemotePeer { pki_id: *pki_id, endpoint: None };
            Action::Comm(Command::Send { to, envelope: Envelope::unsigned(message) })
        };
        self.alive.iter().map(send).collect()
    }

    fn on_received(&mut self, now: Now, from: PkiId, message: &Message) -> Vec<Action> {
        if let Message::Leadership(claim) = message {
            let kind = match claim.kind {
                LeadershipKind::Propose => ClaimKind::Propose,
                LeadershipKind::Declare => ClaimKind::Declare,
                LeadershipKind::Resign => ClaimKind::Resign,
            };
            let claim = Claim { kind, term: claim.term, height: claim.height };
            return self.tell(now, Told::Heard { from, claim });
        }
        let Some(block) = message.block() else { return Vec::new() };
        let height = block.number.height();
        let mut actions = self.tell(now, Told::Proved { height });
        if !block.data.is_empty() {
            actions.extend(self.take(now, height));
        }
        actions
    }

    /// A block is here. Who has it has what is below it: catching up is not what is simulated.
    fn take(&mut self, now: Now, height: Height) -> Vec<Action> {
        if height <= self.start.height {
            return Vec::new();
        }
        self.start.height = height;
        let mut actions = self.tell(now, Told::Arrived { height });
        actions.extend(self.tell(now, Told::Height { height }));
        actions
    }

    /// The ordering service delivered to us: pass it on, unless we withhold.
    fn on_ordered(&mut self, now: Now, height: Height) -> Vec<Action> {
        if height <= self.start.height {
            return self.tell(now, Told::Delivered { height });
        }
        let mut actions = self.tell(now, Told::Proved { height });
        actions.extend(self.tell(now, Told::Delivered { height }));
        actions.extend(self.take(now, height));
        if !self.withholds {
            actions.extend(self.to_all(&self.data(height, BLOCK_LEN)));
        }
        actions
    }

    /// The newest header: told to all.
    fn on_header(&mut self, now: Now, height: Height) -> Vec<Action> {
        let mut actions = self.to_all(&self.data(height, 0));
        actions.extend(self.tell(now, Told::Proved { height }));
        actions
    }

    /// A block, or its header alone.
    fn data(&self, height: Height, len: usize) -> Message {
        let number = height.last_block().unwrap_or(SeqNum::new(0));
        let block = Block {
            number,
            previous_hash: Bytes::from_static(&[1; 32]),
            data_hash: Bytes::from_static(&[2; 32]),
            data: Bytes::from(vec![3; len]),
            metadata: Bytes::new(),
        };
        Message::Data(DataMessage { channel: self.start.channel.clone(), block })
    }

    fn on_neighbours(&mut self, now: Now) -> Vec<Action> {
        let alive = self.alive.iter().copied().collect();
        self.tell(now, Told::Members { alive })
    }

    /// All others are tried at the start, then once a second one of the missing, at random.
    fn redial(&mut self, now: Mono) -> Vec<Action> {
        if self.redial_at > now {
            return Vec::new();
        }
        let jitter = Duration::from_millis(self.start.dice.below(400));
        self.redial_at = now.after(REDIAL_EVERY + jitter);
        let mut missing = self.dial_missing();
        if std::mem::replace(&mut self.begun, true) && !missing.is_empty() {
            let chosen = usize::try_from(self.start.dice.below(missing.len() as u64));
            missing = missing.into_iter().skip(chosen.unwrap_or(0)).take(1).collect();
        }
        missing
    }

    fn dial_missing(&self) -> Vec<Action> {
        let others = self.start.others.iter();
        let missing = others.filter(|(peer, _)| !self.alive.contains(*peer));
        let dial = |(peer, endpoint): (&PkiId, &Endpoint)| {
            Action::Comm(Command::Dial { endpoint: endpoint.clone(), expect: Some(*peer) })
        };
        missing.map(dial).collect()
    }

    /// Whoever comes back tells whom it sees, as in discovery: the other missing peers are tried at once.
    fn on_connected(&mut self, now: Now, peer: PkiId) -> Vec<Action> {
        let is_return = self.lost.remove(&peer);
        self.alive.insert(peer);
        let mut actions = if is_return { self.dial_missing() } else { Vec::new() };
        actions.extend(self.on_neighbours(now));
        actions
    }
}

impl Machine for Candidate {
    type Input = Input;
    type Action = Action;

    fn handle(&mut self, now: Now, input: Input) -> Vec<Action> {
        match input {
            Input::Connected(peer) => self.on_connected(now, peer),
            Input::Disconnected(peer) => {
                self.alive.remove(&peer);
                self.lost.insert(peer);
                self.on_neighbours(now)
            }
            Input::Received { from, message } => self.on_received(now, from, &message),
            Input::Ordered(height) => self.on_ordered(now, height),
            Input::Header(height) => self.on_header(now, height),
            Input::TermStored => {
                self.storing = false;
                let held = self.held.drain(..).collect();
                self.lift(held)
            }
            Input::Stop => self.tell(now, Told::Stop),
            Input::Tick => {
                let mut actions = self.redial(now.mono);
                actions.extend(self.tell(now, Told::Tick));
                actions
            }
        }
    }

    fn next_wakeup(&self) -> Option<Wakeup> {
        let redial = Wakeup { at: self.redial_at, why: "try a missing peer" };
        let redial = (!self.sees_all()).then_some(redial);
        [redial, self.start.election.next_wakeup()].into_iter().flatten().min_by_key(|w| w.at)
    }
}

const BLOCK_LEN: usize = 1 << 10;

/// protocol.md 1: every peer tries one random dead member a second.
const REDIAL_EVERY: Duration = Duration::from_millis(800);
