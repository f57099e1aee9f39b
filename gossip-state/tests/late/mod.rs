//! A peer far behind in the simulated network, with default settings, while the tip moves.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "a test and `cargo xtask sim catchup` use their parts"
)]
#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "simulated peers are ours")]

mod member;
mod world;

use std::collections::BTreeMap;
use std::time::Duration;

use gossip_api::{
    ChannelId, Endpoint, Epoch, Height, Mono, OrgId, PeerIdentity, PkiId, RemotePeer,
};
use gossip_comm::sim::{Cluster, Link, PeerSpec, seeded};
use gossip_state::{ServeConfig, Server, StateConfig, StateTransfer};

use member::{Input, Member};
use world::{LATE, World};

/// What is simulated.
#[derive(Clone, Copy, Debug)]
pub struct Story {
    /// How many blocks the late peer lacks at the start.
    pub behind: u64,
    /// Peers that have all blocks.
    pub sources: usize,
    /// Peers that claim a height of 2^63 and have nothing.
    pub liars: usize,
    /// Bytes of data in a block.
    pub block_bytes: usize,
    /// Time between two new blocks.
    pub interval: Duration,
    /// Probability that a packet is lost.
    pub loss: f64,
    /// Where all chance comes from.
    pub seed: u64,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    /// Until the ledger had the tip.
    pub took: Duration,
    /// Until the first commit.
    pub first: Duration,
    /// Longest time without one.
    pub longest_wait: Duration,
    /// Height in the end.
    pub height: u64,
    /// Blocks ordered meanwhile.
    pub tip_moved: u64,
    /// Ranges asked for.
    pub requests: u64,
    /// Of these, of liars.
    pub requests_to_liars: u64,
    /// Most that lay ahead of the ledger.
    pub buffered_bytes_max: usize,
    /// By how much that was over the budget.
    pub over_budget_bytes: usize,
    /// Everything that was said, as a hash.
    pub history: u64,
}

/// Tells the story; an error if it does not end within `limit`.
pub fn tell(story: &Story, limit: Duration) -> Result<Outcome, String> {
    Course::new(story).run(story, limit)
}

struct Course {
    cluster: Cluster<World>,
    sources: Vec<RemotePeer>,
    liars: Vec<RemotePeer>,
}

impl Course {
    fn new(story: &Story) -> Self {
        let mut world = World::new(story.block_bytes);
        (0..=story.behind).for_each(|_| drop(world.order()));
        let cluster = Cluster::new(story.seed, Link::lan().loss(story.loss), world);
        let mut course = Self { cluster, sources: Vec::new(), liars: Vec::new() };
        for index in 0..=story.sources + story.liars {
            let lies = index > story.sources;
            let remote = course.add(story.seed, index, lies);
            if lies {
                course.cluster.host_mut().liars.push(remote.pki_id);
                course.liars.push(remote);
            } else if index != LATE {
                course.sources.push(remote);
            }
        }
        course
    }

    fn add(&mut self, seed: u64, index: usize, lies: bool) -> RemotePeer {
        let channel = ChannelId::new("trade").expect("short");
        let rng = seeded(seed, 1_000_000 + index as u64);
        let state = StateConfig::default().checked().expect("defaults");
        let serve = ServeConfig::default().checked().expect("defaults");
        let member = Member {
            state: StateTransfer::new(channel.clone(), state, rng),
            server: Server::new(channel.clone(), serve),
            channel,
            lies,
            requests: BTreeMap::new(),
        };
        let spec = spec(index);
        let endpoint = Some(spec.endpoint.clone());
        let remote = RemotePeer { pki_id: spec.pki_id, endpoint };
        self.cluster.add_peer(spec, member);
        let host = self.cluster.host();
        let height = if index == LATE { host.height } else { host.tip() };
        self.cluster.inject(index, Input::Started(height));
        remote
    }

    fn run(&mut self, story: &Story, limit: Duration) -> Result<Outcome, String> {
        let begin = self.cluster.host().tip();
        while self.cluster.host().height < self.cluster.host().tip() {
            self.new_block();
            self.cluster.run_for(story.interval);
            let height = self.cluster.host().height.get();
            if self.cluster.now().mono.since(Mono::ZERO) > limit {
                return Err(format!("seed {}: height {height} after {limit:?}", story.seed));
            }
        }
        let stats = self.cluster.machine(LATE).state.stats();
        let world = self.cluster.host();
        let peak = stats.buffered_bytes_max;
        Ok(Outcome {
            took: self.cluster.now().mono.since(Mono::ZERO),
            first: world.first_at.unwrap_or(Mono::ZERO).since(Mono::ZERO),
            longest_wait: world.longest_wait,
            height: world.height.get(),
            tip_moved: world.tip().get() - begin.get(),
            requests: world.requests,
            requests_to_liars: world.requests_to_liars,
            buffered_bytes_max: peak,
            over_budget_bytes: peak.saturating_sub(StateConfig::default().budget_bytes),
            history: self.cluster.history_hash(),
        })
    }

    /// Ordered, everywhere but at the late peer, which is pushed it; everybody states its height.
    fn new_block(&mut self) {
        let block = self.cluster.host_mut().order();
        let tip = self.cluster.host().tip();
        for (index, source) in self.sources.clone().into_iter().enumerate() {
            self.cluster.inject(index + 1, Input::Committed(tip));
            self.cluster.inject(LATE, Input::Claims { peer: source, height: tip });
        }
        for liar in self.liars.clone() {
            let height = Height::new(1 << 63);
            self.cluster.inject(LATE, Input::Claims { peer: liar, height });
        }
        let from = self.sources[0].pki_id;
        self.cluster.inject(LATE, Input::Pushed { from, block });
    }
}

fn spec(index: usize) -> PeerSpec {
    let mut id = [0x11; 32];
    let number = (index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
    id.iter_mut().zip(number).for_each(|(byte, of)| *byte = of);
    PeerSpec {
        pki_id: PkiId::from_bytes(id),
        identity: PeerIdentity::new(format!("peer {index}").into_bytes()).expect("short"),
        org: Some(OrgId::new("org0").expect("short")),
        endpoint: Endpoint::new(&format!("peer{index}:7051")).expect("short"),
        epoch: Epoch::new(1),
    }
}
