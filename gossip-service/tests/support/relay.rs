//! The coded relay alone in the simulated network: members that know each other, one source, no layer else.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    clippy::large_enum_variant,
    reason = "tests fail by panicking; each uses its part"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use gossip_api::message::{DataMessage, Kind, ShareReport, ShareSet};
use gossip_api::{
    Admit, Block, ChannelId, Endpoint, Envelope, Epoch, Height, IdentityMap, IdentityMapConfig,
    Machine, Message, MessageCryptoService as _, Mono, NetworkId, Now, OrgId, PkiId, RemotePeer,
    SeqNum, ShareRoot, SignedMessage, Verified, Wakeup, Wall,
};
use gossip_comm::sim::crypto::{Authority, BlockFactory, CheapCrypto};
use gossip_comm::sim::{Cluster, Link, PeerSpec, seeded};
use gossip_comm::{Command, Effect, Event, Host};
use gossip_service::node::Outgoing;
use gossip_service::node::coded::{
    Coded, CodedConfig, DecodeJob, Evidence, PeerView, ProvenShare, Shares, Step, View,
};

pub enum Input {
    Source(Block),
    Encoded(SeqNum, Coded),
    Signed(Verified<Message>),
    Header(Block),
    Received(PkiId, Verified<Message>),
    Share(PkiId, ProvenShare),
    Whole(Block),
    Garbled(SeqNum),
    /// Say something to everybody with a greater id, so that there are connections.
    Greet,
    Tick,
}

/// A peer that does nothing but relay.
pub struct Relay {
    pub shares: Shares,
    own: PkiId,
    channel: ChannelId,
    view: View,
    /// Receives, relays nothing, tells nothing.
    silent: bool,
}

impl Machine for Relay {
    type Input = Input;
    type Action = Step;

    fn handle(&mut self, now: Now, input: Input) -> Vec<Step> {
        let (now, view, channel) = (now.mono, &self.view, &self.channel.clone());
        let shares = &mut self.shares;
        let mut steps = match input {
            Input::Source(block) => {
                let header = Block { data: Bytes::new(), ..block.clone() };
                let data = DataMessage { channel: channel.clone(), block: header };
                let message = Outgoing::Plain(Message::Data(data));
                let mut steps: Vec<Step> = view
                    .peers
                    .iter()
                    .map(|peer| Step::Send { to: peer.id, message: message.clone() })
                    .collect();
                steps.extend(shares.on_source(now, channel, &block));
                steps
            }
            Input::Encoded(number, coded) => shares.on_encoded(view, channel, number, coded),
            Input::Signed(message) => shares.on_committed(now, view, message),
            Input::Header(header) => shares.on_header(now, view, channel, &header),
            Input::Received(from, message) => match message.message() {
                Message::ShareReport(report) => shares.on_report(view, from, &report.clone()),
                _ => shares.on_commitment(now, view, from, message),
            },
            Input::Share(from, share) => shares.on_share(now, view, from, share),
            Input::Whole(block) => shares.on_whole(now, view, channel, block.number),
            Input::Garbled(number) => shares.on_garbled(channel, number),
            Input::Greet => {
                let own = self.own;
                let others = view.peers.iter().map(|peer| peer.id).filter(|peer| own < *peer);
                let report = ShareReport {
                    channel: channel.clone(),
                    number: SeqNum::new(0),
                    root: ShareRoot::from_bytes([0; 32]),
                    held: ShareSet::NONE,
                    wanted: ShareSet::NONE,
                };
                let message = Outgoing::Plain(Message::ShareReport(report));
                others.map(|to| Step::Send { to, message: message.clone() }).collect()
            }
            Input::Tick => {
                let view = view.clone();
                shares.on_tick(now, |_| Arc::new(view.clone()))
            }
        };
        if self.silent {
            steps.retain(|step| !matches!(step, Step::Send { .. }));
        }
        steps
    }

    fn next_wakeup(&self) -> Option<Wakeup> {
        self.shares.next_wakeup()
    }
}

#[derive(Default)]
pub struct Seen {
    pub whole_at: BTreeMap<SeqNum, Mono>,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub border_in: u64,
    pub dropped: BTreeMap<&'static str, u64>,
    pub gave_up: u64,
    pub asked: u64,
    pub convicted: Vec<Evidence>,
}

pub struct World {
    pub authority: Arc<Authority>,
    pub crypto: Vec<CheapCrypto>,
    pub identities: Arc<IdentityMap>,
    pub network: NetworkId,
    pub seen: Vec<Seen>,
    pub orgs: usize,
    index: BTreeMap<PkiId, usize>,
}

impl World {
    pub fn index(&self, peer: &PkiId) -> usize {
        self.index[peer]
    }

    fn remote(&self, to: &PkiId) -> RemotePeer {
        RemotePeer { pki_id: *to, endpoint: Some(endpoint(self.index(to))) }
    }
}

impl Host for World {
    type Machine = Relay;

    fn perform(&mut self, peer: usize, now: Now, step: Step) -> Vec<Effect<Input>> {
        match step {
            Step::Send { to, message } => {
                let (envelope, kind) = match message {
                    Outgoing::Plain(message) => (Envelope::unsigned(&message), message.kind()),
                    Outgoing::Signed(message) => {
                        (message.envelope().clone(), message.message().kind())
                    }
                };
                self.seen[peer].bytes_out += envelope.encoded_len() as u64;
                if kind == Kind::ShareReport {
                    self.seen[peer].asked += 1;
                }
                vec![Effect::Command(Command::Send { to: self.remote(&to), envelope })]
            }
            Step::Sign(message) => {
                let crypto = &self.crypto[peer];
                let own = Verified::own(message, crypto.pki_id(), &self.network, crypto).unwrap();
                vec![Effect::InputAfter(COST, Input::Signed(own))]
            }
            Step::Encode { number, data, .. } => {
                let coded = Coded::of(&data).unwrap();
                vec![Effect::InputAfter(cost_of(data.len()), Input::Encoded(number, coded))]
            }
            Step::Decode(job) => {
                let DecodeJob { channel, header, .. } = (*job).clone();
                let cost = cost_of(usize::try_from(job.data_len).unwrap());
                let block = job.run().ok().filter(|block| {
                    self.crypto[peer].verify_block(&channel, header.number, block).is_ok()
                });
                let Some(block) = block else {
                    return vec![Effect::InputAfter(cost, Input::Garbled(header.number))];
                };
                let at = now.mono.after(cost);
                self.seen[peer].whole_at.entry(block.number).or_insert(at);
                vec![Effect::InputAfter(cost, Input::Whole(block))]
            }
            Step::Convicted { evidence, .. } => {
                self.seen[peer].convicted.push(*evidence);
                Vec::new()
            }
            Step::GiveUp { .. } => {
                self.seen[peer].gave_up += 1;
                Vec::new()
            }
            Step::Drop { reason, .. } => {
                *self.seen[peer].dropped.entry(reason).or_default() += 1;
                Vec::new()
            }
        }
    }

    fn receive(
        &mut self,
        machine: &Relay,
        peer: usize,
        now: Now,
        event: Event,
    ) -> Vec<Effect<Input>> {
        let Event::Received { from, message } = event else { return Vec::new() };
        let SignedMessage { message: content, envelope } = &message;
        let seen = &mut self.seen[peer];
        seen.bytes_in += envelope.encoded_len() as u64;
        match content {
            Message::Share(share) => {
                if self.index[&from] % self.orgs != peer % self.orgs {
                    seen.border_in += envelope.encoded_len() as u64;
                }
                if let Admit::Drop(reason) = machine.shares.admit(&from, share) {
                    *seen.dropped.entry(reason).or_default() += 1;
                    return Vec::new();
                }
                match ProvenShare::check(share.clone()) {
                    Some(share) => {
                        let cost = cost_of(share.share().payload.len());
                        vec![Effect::InputAfter(cost, Input::Share(from, share))]
                    }
                    None => {
                        *seen.dropped.entry("share with a false branch").or_default() += 1;
                        Vec::new()
                    }
                }
            }
            Message::Data(data) => {
                vec![Effect::InputAfter(COST, Input::Header(data.block.clone()))]
            }
            Message::ShareCommitment(commitment) => {
                let channel = commitment.channel.clone();
                let crypto = &self.crypto[peer];
                let verified = Verified::signed(
                    message,
                    Some(&channel),
                    &self.identities,
                    &self.network,
                    crypto,
                    now.mono,
                );
                let Ok(message) = verified else { return Vec::new() };
                vec![Effect::InputAfter(COST, Input::Received(from, message))]
            }
            _ => {
                let message = Verified::sender(message, from).unwrap();
                vec![Effect::Input(Input::Received(from, message))]
            }
        }
    }

    fn tick(&mut self, _: usize, _: Now) -> Input {
        Input::Tick
    }
}

/// Bits that a peer sends in a second.
const UPLINK: u64 = 1_000_000_000;

const COST: Duration = Duration::from_micros(150);

/// A gigabyte a second: hashing and coding.
fn cost_of(bytes: usize) -> Duration {
    Duration::from_nanos(bytes as u64)
}

pub struct Setup {
    pub seed: u64,
    pub peers: usize,
    pub orgs: usize,
    pub cross_orgs: bool,
    pub block_len: usize,
    pub silent: f64,
    pub link: Link,
    pub config: CodedConfig,
}

impl Setup {
    pub fn new(peers: usize, block_len: usize) -> Self {
        Self {
            seed: 1,
            peers,
            orgs: 1,
            cross_orgs: false,
            block_len,
            silent: 0.0,
            link: Link::wan(),
            config: CodedConfig::default(),
        }
    }
}

/// Everybody connected, one source: peer 0.
pub struct Field {
    pub cluster: Cluster<World>,
    pub blocks: BlockFactory,
    pub channel: ChannelId,
    pub silent: BTreeSet<usize>,
    pub sent_at: BTreeMap<SeqNum, Mono>,
    setup: Setup,
}

impl Field {
    pub fn new(setup: Setup) -> Self {
        let authority = Authority::new(setup.seed);
        let channel = ChannelId::new("trade").unwrap();
        let orgs = setup.orgs;
        authority.add_channel(&channel, (0..orgs).map(org));
        let mut blocks = BlockFactory::new(&authority, channel.clone(), setup.block_len);
        blocks.next_block();
        let crypto: Vec<CheapCrypto> = (0..setup.peers)
            .map(|peer| {
                let number = u32::try_from(peer / orgs).unwrap();
                authority.crypto(authority.identity(&org(peer % orgs), number))
            })
            .collect();
        let ids: Vec<PkiId> = crypto.iter().map(CheapCrypto::pki_id).collect();
        let now = Now { mono: Mono::ZERO, wall: Wall::from_unix_seconds(1_700_000_000) };
        let config = IdentityMapConfig::default().checked().unwrap();
        let first = &crypto[0];
        let identities = IdentityMap::new(config, first.identity(), first, first, now).unwrap();
        for other in &crypto[1..] {
            identities.put(other.identity(), first, first, now).unwrap();
        }
        let world = World {
            authority: Arc::clone(&authority),
            identities: Arc::new(identities),
            network: NetworkId::new("sim").unwrap(),
            seen: ids.iter().map(|_| Seen::default()).collect(),
            orgs,
            index: ids.iter().enumerate().map(|(index, id)| (*id, index)).collect(),
            crypto,
        };
        let mut cluster = Cluster::new(setup.seed, Link::lan(), world);
        let mut silent = BTreeSet::new();
        let mut dice = seeded(setup.seed, 77);
        let wanted = (setup.silent * setup.peers as f64).round() as usize;
        while silent.len() < wanted {
            use rand_core::Rng as _;
            let peer = (dice.next_u64() % setup.peers as u64) as usize;
            if peer != 0 {
                silent.insert(peer);
            }
        }
        for peer in 0..setup.peers {
            let view = View {
                peers: (0..setup.peers)
                    .filter(|other| *other != peer)
                    .filter(|other| setup.cross_orgs || other % orgs == peer % orgs)
                    .map(|other| PeerView {
                        id: ids[other],
                        org: u32::try_from((other % orgs + orgs - peer % orgs) % orgs).unwrap(),
                        height: Height::new(1),
                        connected: true,
                    })
                    .collect(),
                sources: if peer % orgs == 0 { vec![ids[0]] } else { Vec::new() },
            };
            let config = CodedConfig { cross_orgs: setup.cross_orgs, ..setup.config.clone() };
            let mut shares =
                Shares::new(ids[peer], config, &mut seeded(setup.seed, 1000 + peer as u64));
            shares.on_height(&channel, Height::new(1));
            let machine = Relay {
                shares,
                own: ids[peer],
                channel: channel.clone(),
                view,
                silent: silent.contains(&peer),
            };
            let spec = PeerSpec {
                pki_id: ids[peer],
                identity: cluster.host().crypto[peer].identity().clone(),
                org: Some(org(peer % orgs)),
                endpoint: endpoint(peer),
                epoch: Epoch::new(1),
            };
            cluster.add_peer(spec, machine);
            cluster.set_uplink(peer, UPLINK);
        }
        Self { cluster, blocks, channel, silent, sent_at: BTreeMap::new(), setup }
    }

    /// Opens every connection before the first block, by a message that nobody wants.
    pub fn connect(&mut self) {
        for peer in 0..self.setup.peers {
            self.cluster.inject(peer, Input::Greet);
        }
        self.cluster.run_for(Duration::from_secs(2));
        self.cluster.set_default_link(self.setup.link.clone());
        self.cluster.host_mut().seen.iter_mut().for_each(|seen| *seen = Seen::default());
    }

    pub fn spread(&mut self, blocks: usize, interval: Duration) {
        for _ in 0..blocks {
            let block = self.blocks.next_block();
            self.sent_at.insert(block.number, self.cluster.now().mono);
            self.cluster.inject(0, Input::Source(block));
            self.cluster.run_for(interval);
        }
    }

    /// For each block, how long the last honest receiver waited, in milliseconds; nothing if one has not got it.
    pub fn last_ms(&self) -> Vec<Option<f64>> {
        let honest = (1..self.setup.peers)
            .filter(|peer| !self.silent.contains(peer))
            .filter(|peer| self.setup.cross_orgs || peer % self.setup.orgs == 0);
        let honest: Vec<usize> = honest.collect();
        self.sent_at
            .iter()
            .map(|(number, at)| {
                honest.iter().try_fold(0.0, |last: f64, peer| {
                    let whole = self.cluster.host().seen[*peer].whole_at.get(number)?;
                    Some(last.max(whole.since(*at).as_secs_f64() * 1e3))
                })
            })
            .collect()
    }

    pub fn copies_in(&self) -> f64 {
        let bytes: u64 = self.cluster.host().seen.iter().map(|seen| seen.bytes_in).sum();
        bytes as f64 / (self.setup.peers * self.sent_at.len() * self.setup.block_len) as f64
    }

    pub fn upload_max(&self) -> f64 {
        let most = self.cluster.host().seen.iter().map(|seen| seen.bytes_out).max().unwrap();
        most as f64 / (self.sent_at.len() * self.setup.block_len) as f64
    }

    pub fn border_max(&self) -> f64 {
        let seen = &self.cluster.host().seen;
        let per_org = (0..self.setup.orgs)
            .map(|org| seen.iter().skip(org).step_by(self.setup.orgs).map(|s| s.border_in).sum());
        let most: u64 = per_org.max().unwrap();
        most as f64 / (self.sent_at.len() * self.setup.block_len) as f64
    }

    pub fn dropped(&self) -> BTreeMap<&'static str, u64> {
        let mut all = BTreeMap::new();
        for seen in &self.cluster.host().seen {
            seen.dropped.iter().for_each(|(why, count)| *all.entry(*why).or_default() += count);
        }
        all
    }
}

pub fn org(index: usize) -> OrgId {
    OrgId::new(&format!("org{index}")).unwrap()
}

fn endpoint(index: usize) -> Endpoint {
    Endpoint::new(&format!("peer{index}:7051")).unwrap()
}
