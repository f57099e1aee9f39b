//! Pull: ask a few peers what they have, then ask one of them for what is missing.
//!
//! ```text
//!   Idle --pull_every--> Digests --all answered, or digest_wait--> Updates --all came, or response_wait--> Idle
//! ```
//!
//! Each phase ends as soon as nothing more can come, so a round costs two round trips, not two timers.

use std::collections::{BTreeMap, BTreeSet};

use gossip_api::message::{ItemId, PullDigest, PullHello, PullKind, PullRequest};
use gossip_api::{
    Block, Bounded, ChannelId, Checked, Height, Message, Mono, Nonce, Now, PkiId, SeqNum, Wakeup,
    select_peers,
};
use rand_chacha::ChaCha8Rng;
use rand_core::Rng;

use super::{NodeConfig, SpreadMode};

/// What a channel has, when it is asked.
#[derive(Debug)]
pub(crate) struct Holdings {
    /// Blocks that can be served.
    pub(crate) served: Vec<SeqNum>,
    /// Everything below is held.
    pub(crate) height: Height,
    /// Held above the height.
    pub(crate) accepted: BTreeSet<SeqNum>,
}

impl Holdings {
    fn lacks(&self, item: &ItemId) -> bool {
        item.as_block().is_some_and(|number| {
            number.get() >= self.height.get() && !self.accepted.contains(&number)
        })
    }
}

/// What a pull wants done.
#[derive(Debug)]
pub(crate) enum Step {
    /// Send a step of the exchange.
    Send { to: PkiId, message: Message },
    /// Send an item that was asked for.
    Serve { to: PkiId, nonce: Nonce, item: ItemId },
    /// Give an item to a peer whose digest lacks it.
    Give { to: PkiId, item: ItemId },
    /// An item that we asked for has come.
    Deliver { from: PkiId, block: Block },
    /// A message did not fit.
    Drop { from: PkiId, reason: &'static str },
}

/// One channel's pulling, both sides.
#[derive(Debug)]
pub(crate) struct Pull {
    channel: ChannelId,
    kind: PullKind,
    config: Checked<NodeConfig>,
    phase: Phase,
    /// Hellos that we answered and may still be sent a request for.
    heard: BTreeMap<(PkiId, Nonce), Mono>,
}

#[derive(Debug)]
enum Phase {
    /// Waiting for the next round.
    Idle { until: Mono },
    /// Hellos are out.
    Digests {
        until: Mono,
        asked: BTreeMap<PkiId, Nonce>,
        answered: BTreeSet<PkiId>,
        owners: BTreeMap<ItemId, Vec<PkiId>>,
    },
    /// Requests are out.
    Updates { until: Mono, asked: BTreeMap<PkiId, (Nonce, BTreeSet<ItemId>)> },
}

impl Pull {
    pub(crate) fn new(
        now: Now,
        channel: ChannelId,
        kind: PullKind,
        config: Checked<NodeConfig>,
    ) -> Self {
        let phase = Phase::Idle { until: now.mono.after(config.pull_every) };
        Self { channel, kind, config, phase, heard: BTreeMap::new() }
    }

    pub(crate) fn on_message(
        &mut self,
        now: Now,
        rng: &mut ChaCha8Rng,
        from: PkiId,
        message: Message,
        has: &Holdings,
    ) -> Vec<Step> {
        match message {
            Message::Hello(hello) => self.on_hello(now, from, &hello, has),
            Message::Request(request) => self.on_request(now, from, request, has),
            Message::Digest(digest) => self.on_digest(now, rng, from, digest, has),
            Message::Update(update) => self.on_update(now, from, update.nonce, update.block),
            Message::Record(_)
            | Message::Beats(_)
            | Message::MembershipRequest(_)
            | Message::MembershipResponse(_)
            | Message::StateInfo(_)
            | Message::Data(_)
            | Message::StateRequest(_)
            | Message::StateResponse(_)
            | Message::Probe(_)
            | Message::ProofOfLife(_)
            | Message::StateInfoPullRequest(_)
            | Message::Leadership(_)
            | Message::StateInfoSnapshot(_)
            | Message::PeerIdentities(_)
            | Message::Acknowledgement(_)
            | Message::PrivateData(_)
            | Message::PrivateDataRequest(_)
            | Message::PrivateDataResponse(_)
            | Message::Header(_)
            | Message::HeaderNote(_)
            | Message::BlockNote(_)
            | Message::Plan(_)
            | Message::ShareCommitment(_)
            | Message::Share(_)
            | Message::ShareReport(_) => vec![Step::Drop { from, reason: "kind" }],
        }
    }

    pub(crate) fn on_tick(
        &mut self,
        now: Now,
        rng: &mut ChaCha8Rng,
        partners: &[PkiId],
        has: &Holdings,
    ) -> Vec<Step> {
        self.heard.retain(|_, until| now.mono < *until);
        match &self.phase {
            Phase::Idle { until } if now.mono >= *until => self.begin(now, rng, partners),
            Phase::Digests { until, .. } if now.mono >= *until => self.ask(now, rng, has),
            Phase::Updates { until, .. } if now.mono >= *until => {
                self.rest(now);
                Vec::new()
            }
            Phase::Idle { .. } | Phase::Digests { .. } | Phase::Updates { .. } => Vec::new(),
        }
    }

    pub(crate) fn next_wakeup(&self) -> Option<Wakeup> {
        Some(match &self.phase {
            Phase::Idle { until } => Wakeup { at: *until, why: "pull round" },
            Phase::Digests { until, .. } => Wakeup { at: *until, why: "pull digests are late" },
            Phase::Updates { until, .. } => Wakeup { at: *until, why: "pull updates are late" },
        })
    }

    // fabric: gossip/gossip/algo/pull.go initiatePull
    fn begin(&mut self, now: Now, rng: &mut ChaCha8Rng, partners: &[PkiId]) -> Vec<Step> {
        if partners.is_empty() {
            self.rest(now);
            return Vec::new();
        }
        let asked: BTreeMap<PkiId, Nonce> =
            partners.iter().map(|peer| (*peer, Nonce::new(rng.next_u64()))).collect();
        let hellos = asked.iter().map(|(peer, nonce)| Step::Send {
            to: *peer,
            message: Message::Hello(PullHello {
                nonce: *nonce,
                channel: self.channel.clone(),
                kind: self.kind,
            }),
        });
        let steps = hellos.collect();
        self.phase = Phase::Digests {
            until: now.mono.after(self.config.digest_wait),
            asked,
            answered: BTreeSet::new(),
            owners: BTreeMap::new(),
        };
        steps
    }

    // fabric: gossip/gossip/algo/pull.go OnHello
    fn on_hello(&mut self, now: Now, from: PkiId, hello: &PullHello, has: &Holdings) -> Vec<Step> {
        if hello.kind != self.kind || has.served.is_empty() {
            return Vec::new();
        }
        self.heard.retain(|_, until| now.mono < *until);
        let of_peer = self.heard.keys().filter(|(peer, _)| *peer == from).count();
        if of_peer >= HEARD_PER_PEER_MAX || self.heard.len() >= HEARD_MAX {
            return vec![Step::Drop { from, reason: "too many hellos" }];
        }
        self.heard.insert((from, hello.nonce), now.mono.after(self.config.request_wait));
        let items = Bounded::truncated(has.served.iter().map(|number| ItemId::block(*number)));
        let (nonce, channel, kind) = (hello.nonce, self.channel.clone(), self.kind);
        let message = Message::Digest(PullDigest { nonce, channel, kind, items });
        vec![Step::Send { to: from, message }]
    }

    // fabric: gossip/gossip/algo/pull.go OnDigest
    fn on_digest(
        &mut self,
        now: Now,
        rng: &mut ChaCha8Rng,
        from: PkiId,
        digest: PullDigest,
        has: &Holdings,
    ) -> Vec<Step> {
        let Phase::Digests { asked, answered, owners, .. } = &mut self.phase else {
            return vec![Step::Drop { from, reason: "unsolicited digest" }];
        };
        if asked.get(&from) != Some(&digest.nonce) || !answered.insert(from) {
            return vec![Step::Drop { from, reason: "unsolicited digest" }];
        }
        let given = if self.config.mode == SpreadMode::PushPull {
            back_again(from, &digest, has)
        } else {
            Vec::new()
        };
        // A digest lists each item once, whatever it repeats.
        let items: BTreeSet<ItemId> =
            digest.items.into_iter().filter(|item| has.lacks(item)).collect();
        items.into_iter().for_each(|item| owners.entry(item).or_default().push(from));
        let mut steps = given;
        if answered.len() == asked.len() {
            steps.extend(self.ask(now, rng, has));
        }
        steps
    }

    /// Requests each missing item from one of its owners.
    // fabric: gossip/gossip/algo/pull.go processIncomingDigests
    fn ask(&mut self, now: Now, rng: &mut ChaCha8Rng, has: &Holdings) -> Vec<Step> {
        let until = now.mono.after(self.config.response_wait);
        let phase = std::mem::replace(&mut self.phase, Phase::Idle { until });
        let Phase::Digests { asked: nonces, owners, .. } = phase else { return Vec::new() };
        let mut asked: BTreeMap<PkiId, (Nonce, BTreeSet<ItemId>)> = BTreeMap::new();
        for (item, owners) in owners.into_iter().filter(|(item, _)| has.lacks(item)) {
            let owner = select_peers(rng, 1, &owners, |_| true).into_iter().next();
            let Some((owner, nonce)) = owner.and_then(|peer| Some((peer, *nonces.get(&peer)?)))
            else {
                continue;
            };
            asked.entry(owner).or_insert_with(|| (nonce, BTreeSet::new())).1.insert(item);
        }
        let steps = asked
            .iter()
            .map(|(peer, (nonce, items))| {
                let items = Bounded::truncated(items.iter().cloned());
                let (nonce, channel, kind) = (*nonce, self.channel.clone(), self.kind);
                let message = Message::Request(PullRequest { nonce, channel, kind, items });
                Step::Send { to: *peer, message }
            })
            .collect();
        if asked.is_empty() {
            self.rest(now);
        } else {
            self.phase = Phase::Updates { until, asked };
        }
        steps
    }

    // fabric: gossip/gossip/algo/pull.go OnReq
    fn on_request(
        &mut self,
        now: Now,
        from: PkiId,
        request: PullRequest,
        has: &Holdings,
    ) -> Vec<Step> {
        let known = self.heard.remove(&(from, request.nonce));
        if request.kind != self.kind || known.is_none_or(|until| now.mono >= until) {
            return vec![Step::Drop { from, reason: "unsolicited request" }];
        }
        let items: BTreeSet<ItemId> = request.items.into_iter().collect();
        items
            .into_iter()
            .filter(|item| item.as_block().is_some_and(|number| has.served.contains(&number)))
            .map(|item| Step::Serve { to: from, nonce: request.nonce, item })
            .collect()
    }

    // fabric: gossip/gossip/algo/pull.go OnRes
    fn on_update(&mut self, now: Now, from: PkiId, nonce: Nonce, block: Block) -> Vec<Step> {
        let Phase::Updates { asked, .. } = &mut self.phase else {
            return vec![Step::Drop { from, reason: "unsolicited update" }];
        };
        let expected = asked.get_mut(&from).filter(|(of, _)| *of == nonce);
        if !expected.is_some_and(|(_, items)| items.remove(&ItemId::block(block.number))) {
            return vec![Step::Drop { from, reason: "unsolicited update" }];
        }
        if asked.values().all(|(_, items)| items.is_empty()) {
            self.rest(now);
        }
        vec![Step::Deliver { from, block }]
    }

    fn rest(&mut self, now: Now) {
        self.phase = Phase::Idle { until: now.mono.after(self.config.pull_every) };
    }
}

/// What we have and a digest lacks, from the first item on that it lists: the other half of push-pull.
fn back_again(to: PkiId, digest: &PullDigest, has: &Holdings) -> Vec<Step> {
    let listed: BTreeSet<SeqNum> =
        digest.items.as_slice().iter().filter_map(ItemId::as_block).collect();
    let first = listed.first().copied().unwrap_or_default();
    let lacked = has.served.iter().filter(|number| **number >= first && !listed.contains(number));
    lacked.take(GIVEN_MAX).map(|number| Step::Give { to, item: ItemId::block(*number) }).collect()
}

/// Items given for one digest.
const GIVEN_MAX: usize = 16;

/// Hellos remembered in all; each is two words.
const HEARD_MAX: usize = 1024;

/// Hellos remembered of one peer.
const HEARD_PER_PEER_MAX: usize = 4;
