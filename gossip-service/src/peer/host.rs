//! What the host asks of a peer, and what it hears of it.

use gossip_api::message::{ChannelRef, DataMessage, MessageHeader};
use gossip_api::{
    Admit, Block, ChannelId, Height, Machine, Message, NetworkMember, Now, PkiId, SeqNum, Verified,
};
use gossip_state::BlockOrigin;

use super::{Action, Peer};
use crate::node;

impl Peer {
    /// Ourselves as others see us, with what only our organisation sees.
    pub fn self_member(&self) -> NetworkMember {
        self.discovery.self_member()
    }

    /// The channels joined.
    pub fn channels(&self) -> impl Iterator<Item = &ChannelId> {
        self.channels.keys()
    }

    /// Whether the channel is joined.
    pub fn is_joined(&self, channel: &ChannelId) -> bool {
        self.channels.contains_key(channel)
    }

    /// Whether we lead our organisation in the channel.
    pub fn leads(&self, channel: &ChannelId) -> bool {
        self.channels.get(channel).is_some_and(|channel| channel.election.is_leader())
    }

    /// State infos believed in a channel, ours included.
    pub fn announcements(&self, channel: &ChannelId) -> impl Iterator<Item = &Verified<Message>> {
        self.node.announcements(channel)
    }

    /// Whether a block that the host hands in would be taken now.
    pub fn room_for(&self, channel: &ChannelId, number: SeqNum, len: usize) -> bool {
        self.channels.get(channel).is_some_and(|channel| channel.room_for(number, len))
    }

    /// Whether the block is in the ledger, or waits for it and was found valid.
    pub fn has_block(&self, channel: &ChannelId, number: SeqNum) -> bool {
        self.channels.get(channel).is_some_and(|channel| channel.has(number))
    }

    /// Whether the host may send `message` to `peer`: about a channel only to its peers, and what stays in
    /// an organisation only to ours.
    pub fn may_be_sent(&self, message: &Message, peer: &PkiId) -> bool {
        let name = match message.channel() {
            None => return true,
            Some(ChannelRef::Name(name)) => name,
            // Who speaks by tags is the core itself.
            Some(ChannelRef::Tag(_)) => return false,
        };
        self.node.is_entitled(&name, peer) && self.node.may_be_told(&name, peer, message.tag())
    }

    /// Private data comes from peers of its channel alone.
    pub(super) fn admit_private(&self, from: &PkiId, header: &MessageHeader) -> Admit {
        match &header.channel {
            Some(ChannelRef::Name(name)) if self.node.is_entitled(name, from) => Admit::Accept,
            Some(ChannelRef::Name(_) | ChannelRef::Tag(_)) | None => Admit::Drop("channel"),
        }
    }

    /// A state info, from whoever relays it; the host hears of those that are news.
    pub(super) fn on_state_info(
        &mut self,
        now: Now,
        from: PkiId,
        message: Verified<Message>,
    ) -> Vec<Action> {
        let told = message.message().clone();
        let author = message.author();
        let actions = self.node.handle(now, node::Input::Received { from, message });
        let is_news = actions.iter().any(|action| {
            matches!(action, node::Action::PeerHeight { .. } | node::Action::PeerGone { .. })
        });
        let mut lifted = self.lift_node_all(now, actions);
        if is_news {
            lifted.push(Action::Deliver { from: author, message: told });
        }
        lifted
    }

    /// A block is valid, for the first time.
    pub(super) fn deliver_block(
        &self,
        channel: &ChannelId,
        block: &Block,
        origin: BlockOrigin,
    ) -> Action {
        let message = DataMessage { channel: channel.clone(), block: block.clone() };
        Action::Deliver {
            from: origin.peer().unwrap_or(self.me.pki_id),
            message: Message::Data(message),
        }
    }

    /// Blocks below the height are no longer wanted.
    pub(super) fn on_ledger_moved(
        &mut self,
        now: Now,
        name: &ChannelId,
        height: Height,
    ) -> Vec<Action> {
        if self.height(name).is_none_or(|held| height <= held) {
            return Vec::new();
        }
        self.tell_state(now, name, gossip_state::Input::Started { height, tip: None })
    }

    /// What the ledger lost is fetched again, from our own source too.
    pub(super) fn on_ledger_fell(
        &mut self,
        now: Now,
        name: &ChannelId,
        height: Height,
    ) -> Vec<Action> {
        if self.height(name).is_none_or(|held| height >= held) {
            return Vec::new();
        }
        let started = gossip_state::Input::Started { height, tip: None };
        let mut actions = self.tell_state(now, name, started);
        if let Some(channel) = self.channels.get_mut(name)
            && std::mem::take(&mut channel.delivering)
        {
            actions.push(Action::StopDelivery(name.clone()));
            actions.extend(self.align_delivery(name));
        }
        actions
    }

    /// Says goodbye as leader, stops taking blocks, and lets the node tell the others.
    // fabric: gossip/gossip/gossip_impl.go LeaveChan
    pub(super) fn on_leave(&mut self, now: Now, name: &ChannelId) -> Vec<Action> {
        let mut actions = self.tell_election(now, name, gossip_election::Input::Stop);
        if let Some(channel) = self.channels.remove(name)
            && channel.delivering
        {
            actions.push(Action::StopDelivery(name.clone()));
        }
        actions.extend(self.tell_node(now, node::Input::Leave(name.clone())));
        actions
    }

    /// Our own state info is signed. If it was our last one, the channel is left.
    pub(super) fn on_signed_for_node(
        &mut self,
        now: Now,
        message: Verified<Message>,
    ) -> Vec<Action> {
        let before: Vec<ChannelId> = self.node.channels().cloned().collect();
        let mut actions = self.tell_node(now, node::Input::Signed(message));
        let gone = before.into_iter().filter(|name| !self.node.channels().any(|held| held == name));
        let gone: Vec<Action> = gone.map(Action::Left).collect();
        actions.extend(gone);
        actions
    }
}
