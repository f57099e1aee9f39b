//! Pulls of a channel on the wire: who is asked, what is answered, and how items travel.

use gossip_api::message::{
    DataMessage, ItemId, PullDigest, PullHello, PullKind, PullRequest, PullUpdate,
};
use gossip_api::{Block, Bounded, ChannelId, Message, Nonce, Now, PkiId, SeqNum, select_peers};
use rand_chacha::ChaCha8Rng;

use super::items::{Named, Spoken};
use super::{Pull, Step};
use crate::node::Node;
use crate::node::words::{Action, Outgoing, Via};

/// A step of an exchange.
pub(crate) enum Word {
    Hello,
    Digest(Bounded<ItemId, 1024>),
    Request(Bounded<ItemId, 1024>),
}

impl Node {
    /// A step of an exchange. Blocks are exchanged with whom we may share them, state infos with whoever is
    /// in the channel.
    // fabric: gossip/gossip/channel/channel.go HandleMessage
    pub(crate) fn on_pull(
        &mut self,
        now: Now,
        from: PkiId,
        (name, kind): (&ChannelId, PullKind),
        nonce: Nonce,
        word: Word,
    ) -> Vec<Action> {
        let is_shared = kind == PullKind::StateInfo || self.shares_data_with(&from);
        if !is_shared || !self.is_entitled(name, &from) {
            return vec![Action::Drop { from, reason: "not entitled" }];
        }
        match kind {
            PullKind::Block => {
                let Some(channel) = self.channels.get_mut(name) else { return Vec::new() };
                let has = channel.blocks(now.mono);
                let steps = step(&mut channel.pull, now, &mut self.rng, (from, nonce), word, &has);
                self.lift_blocks(name, steps)
            }
            PullKind::StateInfo => {
                let has = self.told_infos(name, &from);
                let Some(channel) = self.channels.get_mut(name) else { return Vec::new() };
                let steps =
                    step(&mut channel.info_pull, now, &mut self.rng, (from, nonce), word, &has);
                self.lift_infos(name, steps)
            }
            PullKind::Identity => vec![Action::Drop { from, reason: "kind" }],
        }
    }

    /// A block that was asked for, or says so.
    pub(crate) fn on_update(&mut self, now: Now, from: PkiId, update: PullUpdate) -> Vec<Action> {
        let PullUpdate { nonce, channel: name, block } = update;
        if !self.shares_data_with(&from) || !self.is_entitled(&name, &from) {
            return vec![Action::Drop { from, reason: "not entitled" }];
        }
        if let Some(actions) = self.take_wanted(now, &name, from, nonce, &block) {
            return actions;
        }
        let Some(channel) = self.channels.get_mut(&name) else { return Vec::new() };
        if !channel.pull.on_update(now, from, Some(nonce), &block.number) {
            return vec![Action::Drop { from, reason: "unsolicited update" }];
        }
        vec![Action::Offer { channel: name, block, via: Via::Pull(from) }]
    }

    /// Rounds that are due: of blocks with a few peers, of state infos with one.
    pub(crate) fn tick_pulls(&mut self, now: Now, name: &ChannelId) -> Vec<Action> {
        let Some(channel) = self.channels.get(name) else { return Vec::new() };
        let (blocks, infos) = (channel.pull.is_due(now.mono), channel.info_pull.is_due(now.mono));
        let mut actions = Vec::new();
        if blocks {
            let mut partners = self.data_members(name);
            partners.retain(|peer| self.is_entitled(name, peer));
            let asked = self.config.pull_peers;
            let partners = select_peers(&mut self.rng, asked, &partners, |_| true);
            let Some(channel) = self.channels.get_mut(name) else { return actions };
            let has = channel.blocks(now.mono);
            let steps = channel.pull.on_tick(now, &mut self.rng, &partners, &has);
            actions.extend(self.lift_blocks(name, steps));
        }
        if infos {
            actions.extend(self.tick_info_pull(now, name));
        }
        actions
    }

    fn tick_info_pull(&mut self, now: Now, name: &ChannelId) -> Vec<Action> {
        let Some(channel) = self.channels.get(name) else { return Vec::new() };
        let present: Vec<PkiId> = channel.present().collect();
        let able = |peer: &PkiId| *peer != self.me.pki_id && self.members.contains_key(peer);
        let partners = select_peers(&mut self.rng, 1, &present, able);
        let has = self.told_infos(name, &self.me.pki_id);
        let Some(channel) = self.channels.get_mut(name) else { return Vec::new() };
        channel.info_pull.set_every(self.config.pull_every.max(channel.pace()));
        let steps = channel.info_pull.on_tick(now, &mut self.rng, &partners, &has);
        self.lift_infos(name, steps)
    }

    fn lift_blocks(&self, name: &ChannelId, steps: Vec<Step<SeqNum, ()>>) -> Vec<Action> {
        let read = |number, to, nonce| Action::Read { channel: name.clone(), number, to, nonce };
        let lift = |step| match step {
            Step::Serve { to, nonce, key } => Some(read(key, to, nonce)),
            Step::Give { to, key } => self.can_use(name, &to, key).then(|| read(key, to, GIVEN)),
            Step::Hello { .. } | Step::Digest { .. } | Step::Request { .. } | Step::Drop { .. } => {
                self.say(name, PullKind::Block, step)
            }
        };
        steps.into_iter().filter_map(lift).collect()
    }

    fn lift_infos(&self, name: &ChannelId, steps: Vec<Step<PkiId, Spoken>>) -> Vec<Action> {
        let lift = |step| match step {
            Step::Serve { to, key, .. } | Step::Give { to, key } => {
                let info = self.channels.get(name)?.announcement_of(&key)?;
                self.send(name, to, Outgoing::Signed(info.clone()))
            }
            Step::Hello { .. } | Step::Digest { .. } | Step::Request { .. } | Step::Drop { .. } => {
                self.say(name, PullKind::StateInfo, step)
            }
        };
        steps.into_iter().filter_map(lift).collect()
    }

    /// A step that is a message, whatever is pulled.
    fn say<K, V>(&self, name: &ChannelId, kind: PullKind, step: Step<K, V>) -> Option<Action>
    where
        (K, V): Named,
    {
        let channel = name.clone();
        let (to, message) = match step {
            Step::Hello { to, nonce } => (to, Message::Hello(PullHello { nonce, channel, kind })),
            Step::Digest { to, nonce, items } => {
                let items = names(items);
                (to, Message::Digest(PullDigest { nonce, channel, kind, items }))
            }
            Step::Request { to, nonce, items } => {
                let items = names(items);
                (to, Message::Request(PullRequest { nonce, channel, kind, items }))
            }
            Step::Drop { from, reason } => return Some(Action::Drop { from, reason }),
            Step::Serve { .. } | Step::Give { .. } => return None,
        };
        self.send(name, to, Outgoing::Plain(message))
    }

    /// The ledger gave a block that a peer is to have.
    pub(crate) fn on_read(
        &mut self,
        name: &ChannelId,
        to: PkiId,
        nonce: Nonce,
        block: Option<Block>,
    ) -> Vec<Action> {
        let Some(block) = block else { return Vec::new() };
        let channel = name.clone();
        let message = if nonce == GIVEN {
            Message::Data(DataMessage { channel, block })
        } else {
            Message::Update(PullUpdate { nonce, channel, block })
        };
        self.send(name, to, Outgoing::Plain(message)).into_iter().collect()
    }
}

/// Gives a step of an exchange to its engine.
fn step<H: super::Holdings>(
    pull: &mut Pull<H::Key, H::Version>,
    now: Now,
    rng: &mut ChaCha8Rng,
    (from, nonce): (PkiId, Nonce),
    word: Word,
    has: &H,
) -> super::Steps<H>
where
    (H::Key, H::Version): Named,
{
    let read = |items: Bounded<ItemId, 1024>| {
        let read: Vec<_> = items.into_iter().filter_map(|name| Named::of(&name)).collect();
        read
    };
    match word {
        Word::Hello => pull.on_hello(now, from, nonce, has),
        Word::Digest(items) => pull.on_digest(now, rng, from, nonce, read(items), has),
        Word::Request(items) => pull.on_request(now, from, nonce, read(items), has),
    }
}

fn names<K, V>(items: Vec<(K, V)>) -> Bounded<ItemId, 1024>
where
    (K, V): Named,
{
    Bounded::truncated(items.iter().map(Named::name))
}

/// Stands in for the nonce of a pull where a block is read to be given unasked; an answer to a nonce that a
/// peer chose like this is a push, which nobody minds.
const GIVEN: Nonce = Nonce::new(0);
