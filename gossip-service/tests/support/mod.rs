//! Whole peers in the simulated network: what their actions do when the world is a value.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::indexing_slicing,
    reason = "each simulation uses its part, and peers are named by their index"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use gossip_api::message::{BlockWord, Class, HeaderWord, Kind, Share};
use gossip_api::{
    Block, BlockCodec as _, BlockHash, ChannelId, Endpoint, Envelope, Epoch, Height, IdentityMap,
    IdentityMapConfig, Message, MessageCryptoService as _, Mono, NetworkId, Now, OrgId, PkiId,
    SeqNum, SignedMessage, Verified, Wall,
};
use gossip_comm::sim::crypto::{Authority, BlockFactory, CheapCrypto, SimBlockCodec};
use gossip_comm::sim::{Cluster, Link, PeerSpec, seeded};
use gossip_comm::{Command, Effect, Event, Host};
use gossip_discovery::DiscoveryConfig;
use gossip_election::ElectionConfig;
use gossip_service::node::coded::{Coded, DecodeJob, Evidence, ProvenShare};
use gossip_service::node::{ChannelView, NodeConfig};
use gossip_service::{
    Action, Input, JoinRequest, Judged, Peer, PeerConfig, PeerSelf, Trust, judge,
};
use gossip_state::{ServeConfig, StateConfig};

/// One simulated peer's outside: keys, identities, ledger, and what was measured of it.
pub struct Outside {
    crypto: CheapCrypto,
    identities: Arc<IdentityMap>,
    pub ledger: Vec<Block>,
    /// When each block was first found valid here.
    pub valid_at: BTreeMap<SeqNum, Mono>,
    /// Blocks that were valid although nobody had been asked for them.
    pub by_push: u64,
    /// Bytes of blocks and headers received, duplicates included.
    pub block_bytes: u64,
    /// Bytes of blocks sent.
    pub uploaded: u64,
    /// Bytes of blocks received from other organisations.
    pub across: u64,
    /// Receives, and gives nothing.
    pub silent: bool,
    /// Blocks of which shares were asked for.
    wanted: BTreeSet<SeqNum>,
    /// How blocks were sent, as a source.
    pub chosen: BTreeMap<&'static str, u64>,
    pub convicted: Vec<Evidence>,
    /// Makes shares of something else than the block.
    pub lies: bool,
    /// Sends every share damaged.
    pub damages: bool,
    /// Messages not acted upon, by reason.
    pub drops: BTreeMap<&'static str, u64>,
    org: usize,
    /// Blocks refused by class.
    pub refused: BTreeMap<&'static str, u64>,
    pub leading: bool,
    /// What was proved of orderers.
    pub conflicts: Vec<gossip_state::Conflict>,
}

/// The world of all peers.
pub struct World {
    network: NetworkId,
    pub channel: ChannelId,
    pub peers: Vec<Outside>,
    pub verify_cost: Duration,
    pub commit_cost: Duration,
    orgs: BTreeMap<PkiId, usize>,
    /// The data of every block.
    ordered: BTreeMap<SeqNum, Bytes>,
}

impl World {
    fn trust(&self, peer: usize) -> Trust<'_> {
        let outside = &self.peers[peer];
        Trust {
            mcs: &outside.crypto,
            advisor: &outside.crypto,
            identities: &outside.identities,
            network: &self.network,
        }
    }

    fn commit(&mut self, peer: usize, blocks: Vec<Block>) -> Result<Height, String> {
        let ledger = &mut self.peers[peer].ledger;
        for block in blocks {
            let expected = ledger.len() as u64;
            if block.number.get() != expected {
                return Err(format!("waits for {expected}, was given {}", block.number));
            }
            ledger.push(block);
        }
        Ok(Height::new(ledger.len() as u64))
    }
}

impl Host for World {
    type Machine = Peer;

    fn perform(&mut self, peer: usize, now: Now, action: Action) -> Vec<Effect<Input>> {
        match action {
            Action::Comm(command) => self.command(peer, command),
            Action::Sign(message) => {
                let crypto = &self.peers[peer].crypto;
                let own = Verified::own(message, crypto.pki_id(), &self.network, crypto);
                vec![Effect::InputAfter(self.verify_cost, Input::Signed(own.expect("it can sign")))]
            }
            Action::CheckMember { from, entry } => {
                let member = self.trust(peer).check_member(now, entry).ok();
                vec![Effect::InputAfter(self.verify_cost, Input::MemberChecked { from, member })]
            }
            Action::VerifyBlock { channel, block, origin, attested } => {
                let crypto = &self.peers[peer].crypto;
                let verdict = if attested {
                    crypto.verify_attested_block(&channel, block.number, &block)
                } else {
                    crypto.verify_block(&channel, block.number, &block)
                };
                if verdict.is_ok() {
                    let at = now.mono.after(self.verify_cost);
                    self.peers[peer].valid_at.entry(block.number).or_insert(at);
                }
                let input = Input::BlockChecked { channel, block, origin, verdict };
                vec![Effect::InputAfter(self.verify_cost, input)]
            }
            Action::VerifyHeader { channel, sequence, from, header } => {
                let verdict = self.peers[peer].crypto.verify_block_attestation(&channel, &header);
                let input = Input::HeaderChecked { channel, sequence, from, header, verdict };
                vec![Effect::InputAfter(self.verify_cost, input)]
            }
            Action::JudgeHeader { channel, header, origin } => {
                let crypto = &self.peers[peer].crypto;
                let number = header.number;
                let then = crypto.verify_block_attestation(&channel, &header);
                let present = crypto.verify_block_attestation_presently(&channel, &header);
                let judged = Input::HeaderJudged { channel, number, origin, then, now: present };
                vec![Effect::InputAfter(self.verify_cost, judged)]
            }
            Action::EncodeShares { channel, number, data } => {
                let lie = || data.iter().map(|byte| !byte).collect::<Bytes>();
                let coded =
                    if self.peers[peer].lies { Coded::of(&lie()) } else { Coded::of(&data) };
                let coded = coded.ok();
                let input = Input::Encoded { channel, number, coded };
                vec![Effect::InputAfter(code_cost(data.len()), input)]
            }
            Action::DecodeShares(job) => self.decode(peer, *job),
            Action::Convicted { evidence, .. } => {
                self.peers[peer].convicted.push(*evidence);
                Vec::new()
            }
            Action::Chosen { way, .. } => {
                *self.peers[peer].chosen.entry(way).or_default() += 1;
                Vec::new()
            }
            Action::Recheck { channel, sequence, infos } => {
                let held = self.trust(peer).recheck(now, &channel, infos);
                vec![Effect::InputAfter(
                    self.verify_cost,
                    Input::Rechecked { channel, sequence, held },
                )]
            }
            Action::Commit { channel, blocks } => {
                let outcome = self.commit(peer, blocks);
                vec![Effect::InputAfter(self.commit_cost, Input::Committed { channel, outcome })]
            }
            Action::Read { channel, number, purpose } => {
                let index = usize::try_from(number.get()).unwrap_or(usize::MAX);
                let block = self.peers[peer].ledger.get(index).cloned();
                vec![Effect::Input(Input::BlockRead { channel, purpose, block })]
            }
            Action::MendBlock { channel, block } => {
                let number = block.number;
                let index = usize::try_from(number.get()).unwrap_or(usize::MAX);
                let held = self.peers[peer].ledger.get_mut(index);
                let done = held.map(|held| *held = block).is_some();
                vec![Effect::Input(Input::BlockMended { channel, number, done })]
            }
            Action::Drop { reason, .. } => {
                *self.peers[peer].drops.entry(reason).or_default() += 1;
                Vec::new()
            }
            Action::Leader { leading, .. } => {
                self.peers[peer].leading = leading;
                Vec::new()
            }
            Action::Refused { error, .. } => {
                *self.peers[peer].refused.entry(error.class()).or_default() += 1;
                Vec::new()
            }
            Action::RaiseEpoch { seen } => {
                vec![Effect::Input(Input::EpochRaised(Epoch::new(seen.get() + 1)))]
            }
            Action::StoreTerm { channel, .. } => vec![Effect::Input(Input::TermStored(channel))],
            Action::IdentityConflict { .. }
            | Action::ProbeSource { .. }
            | Action::StartDelivery { .. }
            | Action::StopDelivery(_)
            | Action::Deliver { .. }
            | Action::Left(_)
            | Action::Led { .. }
            | Action::Resumed { .. } => Vec::new(),
            Action::Conflict { conflict, .. } => {
                self.peers[peer].conflicts.push(*conflict);
                Vec::new()
            }
        }
    }

    fn receive(
        &mut self,
        machine: &Peer,
        peer: usize,
        now: Now,
        event: Event,
    ) -> Vec<Effect<Input>> {
        let input = match event {
            Event::Connected(connected) => {
                // What a real transport does with the identity of a hello.
                let outside = &self.peers[peer];
                let known = outside.identities.put(
                    &connected.identity,
                    &outside.crypto,
                    &outside.crypto,
                    now,
                );
                known.expect("simulated peers have valid identities");
                Input::Connected(connected)
            }
            Event::Disconnected { peer, .. } => Input::Disconnected(peer),
            Event::DialFailed { endpoint, .. } => Input::DialFailed(endpoint),
            Event::Received { from, message } => {
                self.count(peer, from, &message.message);
                self.count_share(peer, from, &message);
                return match judge(machine, now, from, message) {
                    Judged::ToProve(share) => {
                        let cost = code_cost(share.payload.len());
                        let input = match ProvenShare::check(*share) {
                            Some(share) => Input::ShareProved { from, share },
                            None => Input::ShareFalse { from },
                        };
                        vec![Effect::InputAfter(cost, input)]
                    }
                    Judged::Vouched(message) => {
                        vec![Effect::Input(Input::Received { from, message })]
                    }
                    Judged::ToVerify(message, channel) => {
                        let verified = self.trust(peer).verify(now, message, channel.as_ref());
                        let input = verified.map(|message| Input::Received { from, message });
                        let later = |input| Effect::InputAfter(self.verify_cost, input);
                        input.into_iter().map(later).collect()
                    }
                    Judged::Dropped(reason) => {
                        *self.peers[peer].drops.entry(reason).or_default() += 1;
                        Vec::new()
                    }
                };
            }
            Event::Request { from, id, message } => {
                if let Judged::Vouched(message) = judge(machine, now, from, message) {
                    Input::Asked { from, inbound: id, message }
                } else {
                    Input::AskedInVain(id)
                }
            }
            Event::Response { from, id, message } => {
                self.count(peer, from, &message.message);
                let judged = judge(machine, now, from, message);
                let Judged::Vouched(message) = judged else { return Vec::new() };
                Input::Answered { from, request: id, message }
            }
            Event::ResponseEnd { id, outcome } => Input::AnswerEnded { request: id, outcome },
        };
        vec![Effect::Input(input)]
    }

    fn tick(&mut self, _: usize, _: Now) -> Input {
        Input::Tick
    }
}

impl World {
    /// What a peer sends: of a silent one, nothing that helps others.
    fn command(&mut self, peer: usize, command: Command) -> Vec<Effect<Input>> {
        let command = if self.peers[peer].damages { damaged(command) } else { command };
        let outside = &mut self.peers[peer];
        if outside.silent {
            match &command {
                Command::Send { envelope, .. } if helps(envelope) => return Vec::new(),
                Command::Respond { to, .. } => {
                    return vec![Effect::Command(Command::EndResponse { to: *to })];
                }
                Command::Send { .. }
                | Command::Dial { .. }
                | Command::Request { .. }
                | Command::EndResponse { .. }
                | Command::Close { .. } => {}
            }
        }
        if let Command::Send { envelope, .. } | Command::Respond { envelope, .. } = &command
            && envelope.class() == Class::Block
        {
            outside.uploaded += envelope.encoded_len() as u64;
        }
        if let Command::Send { envelope, .. } = &command
            && envelope.class() == Class::Control
            && let Ok(SignedMessage { message: Message::ShareReport(report), .. }) =
                envelope.clone().open()
            && !report.wanted.is_empty()
        {
            outside.wanted.insert(report.number);
        }
        vec![Effect::Command(command)]
    }

    /// Decodes shares. Every copy of a block is the same memory: a thousand ledgers must not hold it a
    /// thousand times.
    fn decode(&mut self, peer: usize, job: DecodeJob) -> Vec<Effect<Input>> {
        let (channel, number, root) = (job.channel.clone(), job.header.number, job.root);
        let len = usize::try_from(job.data_len).unwrap_or(usize::MAX);
        let block = job.run().ok().map(|block| match self.ordered.get(&number) {
            Some(data) if *data == block.data => Block { data: data.clone(), ..block },
            Some(_) | None => block,
        });
        let outside = &mut self.peers[peer];
        if !outside.valid_at.contains_key(&number) && !outside.wanted.contains(&number) {
            outside.by_push += 1;
        }
        vec![Effect::InputAfter(code_cost(len), Input::Decoded { channel, number, root, block })]
    }

    fn count_share(&mut self, peer: usize, from: PkiId, message: &SignedMessage) {
        let Message::Share(_) = &message.message else { return };
        let len = message.envelope.encoded_len() as u64;
        let crosses = self.orgs.get(&from) != Some(&self.peers[peer].org);
        let outside = &mut self.peers[peer];
        outside.block_bytes += len;
        outside.across += if crosses { len } else { 0 };
    }

    fn count(&mut self, peer: usize, from: PkiId, message: &Message) {
        let crosses = self.orgs.get(&from) != Some(&self.peers[peer].org);
        let outside = &mut self.peers[peer];
        if let Message::Header(header) = message {
            outside.block_bytes += header.block.len() as u64;
        }
        let Some(block) = message.block() else { return };
        outside.block_bytes += block.len() as u64;
        outside.across += if crosses { block.len() as u64 } else { 0 };
        let pushed = matches!(message, Message::Data(_) | Message::Plan(_));
        if pushed && !outside.valid_at.contains_key(&block.number) {
            outside.by_push += 1;
        }
    }
}

/// A channel of whole peers, evenly spread over organisations; the first of each organisation leads.
pub struct Consortium {
    pub cluster: Cluster<World>,
    pub authority: Arc<Authority>,
    pub blocks: BlockFactory,
    pub orgs: usize,
    specs: Vec<PeerSpec>,
    genesis: Block,
    seed: u64,
    node: NodeConfig,
}

impl Consortium {
    pub fn new(seed: u64, orgs: usize, link: Link, block_len: usize) -> Self {
        let authority = Authority::new(seed);
        let channel = ChannelId::new("trade").expect("short");
        authority.add_channel(&channel, (0..orgs).map(org));
        let mut blocks = BlockFactory::new(&authority, channel.clone(), block_len);
        let genesis = blocks.next_block();
        let world = World {
            network: NetworkId::new("sim").expect("short"),
            channel,
            peers: Vec::new(),
            verify_cost: Duration::from_micros(150),
            commit_cost: Duration::from_millis(2),
            orgs: BTreeMap::new(),
            ordered: BTreeMap::new(),
        };
        let cluster = Cluster::new(seed, link, world);
        let node = NodeConfig::default();
        Self { cluster, authority, blocks, orgs, specs: Vec::new(), genesis, seed, node }
    }

    pub fn with_node(mut self, node: NodeConfig) -> Self {
        self.node = node;
        self
    }

    /// Starts another peer; it knows one address, its organisation's first peer.
    pub fn add_peer(&mut self) -> usize {
        let index = self.cluster.peers();
        let own_org = org(index % self.orgs);
        let number = u32::try_from(index / self.orgs).expect("few peers");
        let identity = self.authority.identity(&own_org, number);
        let crypto = self.authority.crypto(identity.clone());
        let spec = PeerSpec {
            pki_id: crypto.pki_id(),
            identity,
            org: Some(own_org),
            endpoint: endpoint(index),
            epoch: Epoch::new(1),
        };
        self.specs.push(spec.clone());
        let now = self.cluster.now();
        let identities = identities(&crypto, now);
        let outside = Outside {
            crypto,
            identities: Arc::new(identities),
            ledger: vec![self.genesis.clone()],
            valid_at: BTreeMap::new(),
            by_push: 0,
            block_bytes: 0,
            refused: BTreeMap::new(),
            leading: false,
            conflicts: Vec::new(),
            uploaded: 0,
            across: 0,
            silent: false,
            wanted: BTreeSet::new(),
            chosen: BTreeMap::new(),
            convicted: Vec::new(),
            lies: false,
            damages: false,
            drops: BTreeMap::new(),
            org: index % self.orgs,
        };
        self.cluster.host_mut().orgs.insert(spec.pki_id, index % self.orgs);
        self.cluster.host_mut().peers.push(outside);
        let machine = self.machine(index, &spec, now);
        let added = self.cluster.add_peer(spec, machine);
        assert_eq!(added, index, "peers are numbered in order");
        self.begin(index);
        index
    }

    /// Starts a crashed peer again, with the ledger it had.
    pub fn restart(&mut self, peer: usize) {
        let held = self.specs[peer].clone();
        let spec = PeerSpec { epoch: Epoch::new(held.epoch.get() + 1), ..held };
        self.specs[peer] = spec.clone();
        let machine = self.machine(peer, &spec, self.cluster.now());
        self.cluster.restart(peer, spec, machine);
        self.begin(peer);
    }

    /// The next block reaches every organisation's leader.
    pub fn order_block(&mut self) -> SeqNum {
        let block = self.blocks.next_block();
        self.deliver(&block);
        block.number
    }

    /// Hands a block to every organisation's leader as if its source had given it.
    pub fn deliver(&mut self, block: &Block) {
        let channel = self.cluster.host().channel.clone();
        self.cluster.host_mut().ordered.insert(block.number, block.data.clone());
        for leader in 0..self.sources().min(self.cluster.peers()) {
            let input = Input::FromSource { channel: channel.clone(), block: block.clone() };
            self.cluster.inject(leader, input);
        }
    }

    /// How many of the first peers have a source.
    pub fn sources(&self) -> usize {
        if self.node.data_cross_orgs { 1 } else { self.orgs }
    }

    /// What happens outside a peer.
    pub fn outside_mut(&mut self, peer: usize) -> &mut Outside {
        &mut self.cluster.host_mut().peers[peer]
    }

    /// Makes a peer receive, and give nothing, from now on.
    pub fn silence(&mut self, peer: usize) {
        self.cluster.host_mut().peers[peer].silent = true;
    }

    pub fn outside(&self, peer: usize) -> &Outside {
        &self.cluster.host().peers[peer]
    }

    fn begin(&mut self, peer: usize) {
        let first = peer % self.orgs;
        if first != peer {
            self.cluster.inject(peer, Input::Connect(endpoint(first)));
        } else if peer != 0 {
            self.cluster.inject(peer, Input::Connect(endpoint(0)));
        }
        let ledger = &self.outside(peer).ledger;
        let view = ChannelView {
            channel: self.cluster.host().channel.clone(),
            genesis: genesis_hash(&self.genesis),
            orgs: (0..self.orgs).map(org).collect(),
            sequence: 0,
            height: Height::new(ledger.len() as u64),
        };
        let last_hash = ledger.last().map(|block| SimBlockCodec.header_hash(block));
        self.cluster
            .inject(peer, Input::Join(JoinRequest { view, last_hash, term: None, halted: None }));
    }

    fn machine(&self, index: usize, spec: &PeerSpec, now: Now) -> Peer {
        let leader = index < self.sources();
        let config = PeerConfig {
            discovery: DiscoveryConfig::default().checked().expect("defaults"),
            node: self.node.clone().checked().expect("consistent"),
            state: StateConfig::default().checked().expect("defaults"),
            serve: ServeConfig::default().checked().expect("defaults"),
            election: ElectionConfig::fixed(leader).checked().expect("defaults"),
        };
        let me = PeerSelf {
            pki_id: spec.pki_id,
            identity: spec.identity.clone(),
            org: spec.org.clone().expect("peers have organisations"),
            epoch: spec.epoch,
            external_endpoint: Some(spec.endpoint.clone()),
            internal_endpoint: spec.endpoint.clone(),
            metadata: Bytes::new(),
        };
        let stream = 1_000_000 * spec.epoch.get() + index as u64;
        Peer::new(me, config, Arc::new(SimBlockCodec), seeded(self.seed, stream), now)
    }
}

/// Whether a message gives others something: news, data, or word of either.
fn helps(envelope: &Envelope) -> bool {
    let opened = envelope.clone().open().expect("peers send what they can read");
    let kind = opened.message.kind();
    if let Message::HeaderNote(note) = opened.message {
        return matches!(note.word, HeaderWord::Have { .. } | HeaderWord::TipIs { .. });
    }
    if let Message::BlockNote(note) = opened.message {
        return matches!(note.word, BlockWord::Have { .. } | BlockWord::Lack { .. });
    }
    matches!(
        kind,
        Kind::Header
            | Kind::Plan
            | Kind::Data
            | Kind::Update
            | Kind::Digest
            | Kind::ShareCommitment
            | Kind::Share
            | Kind::ShareReport
    )
}

/// The command with a share in it damaged, if there is one.
fn damaged(command: Command) -> Command {
    let Command::Send { to, envelope } = &command else { return command };
    let Ok(SignedMessage { message: Message::Share(share), .. }) = envelope.clone().open() else {
        return command;
    };
    let payload: Bytes = share.payload.iter().map(|byte| !byte).collect();
    let share = Message::Share(Share { payload, ..share });
    Command::Send { to: to.clone(), envelope: Envelope::unsigned(&share) }
}

/// A gigabyte a second: hashing shares, coding and decoding.
fn code_cost(bytes: usize) -> Duration {
    Duration::from_nanos(bytes as u64)
}

fn org(index: usize) -> OrgId {
    OrgId::new(&format!("org{index}")).expect("short")
}

fn endpoint(index: usize) -> Endpoint {
    Endpoint::new(&format!("peer{index}:7051")).expect("short")
}

fn genesis_hash(genesis: &Block) -> BlockHash {
    SimBlockCodec.header_hash(genesis)
}

fn identities(crypto: &CheapCrypto, now: Now) -> IdentityMap {
    let config = IdentityMapConfig::default().checked().expect("defaults");
    let start = Now { wall: Wall::from_unix_seconds(now.wall.as_unix_seconds()), ..now };
    IdentityMap::new(config, crypto.identity(), crypto, crypto, start).expect("own identity")
}
