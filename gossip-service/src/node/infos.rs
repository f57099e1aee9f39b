//! Who is in a channel: what members say of themselves, checked, kept, told on, and asked for.

use std::collections::BTreeMap;

use gossip_api::message::StateInfoPullRequest;
use gossip_api::{ChannelId, Epoch, Message, NetworkMember, Now, PkiId, Verified, select_peers};

use super::Node;
use super::channel::Channel;
use super::pull::items::{Infos, Spoken};
use super::push::Pushed;
use super::words::{Action, ChannelView, Outgoing};

impl Node {
    /// Tells a peer that we are in a channel. Of others it hears from themselves, or in a pull.
    pub(super) fn tell_own_info(&self, name: &ChannelId, peer: PkiId) -> Option<Action> {
        let own = self.channels.get(name)?.announcement_of(&self.me.pki_id)?;
        self.send(name, peer, Outgoing::Signed(own.clone()))
    }

    /// What a peer may hear of who is in a channel, and what we know of it.
    pub(super) fn told_infos(&self, name: &ChannelId, to: &PkiId) -> Infos {
        let channel = self.channels.get(name);
        let held: BTreeMap<PkiId, Spoken> = channel.into_iter().flat_map(Channel::spoken).collect();
        let may_hear = |peer: &PkiId| self.may_learn_of(to, peer);
        let told = held.iter().filter(|(peer, _)| may_hear(peer));
        let is_there = |member: &&NetworkMember| {
            let org = member.org.as_ref();
            org.zip(channel).is_some_and(|(org, channel)| channel.is_member_org(org))
        };
        Infos {
            told: told.map(|(peer, spoken)| (*peer, *spoken)).collect(),
            members: self.members.values().filter(is_there).map(|member| member.pki_id).collect(),
            held,
        }
    }

    // fabric: gossip/gossip/channel/channel.go handleStateInfoPullRequest
    pub(super) fn on_info_pull(
        &mut self,
        now: Now,
        from: PkiId,
        message: &Verified<Message>,
    ) -> Vec<Action> {
        let Some(name) = self.channel_of(&from, &message.message().header()) else {
            return vec![Action::Drop { from, reason: "channel" }];
        };
        let channel = self.channels.get_mut(&name);
        if channel.is_some_and(|channel| channel.spread.is_asking_infos_too_often(now.mono, from)) {
            return vec![Action::Drop { from, reason: "too many state info pulls" }];
        }
        self.tell_own_info(&name, from).into_iter().collect()
    }

    /// Asks members that have not announced themselves in a channel, less and less often: what they said
    /// when we met may have come before we knew them.
    // fabric: gossip/gossip/channel/channel.go requestStateInfo
    pub(super) fn ask_silent(&mut self, now: Now, name: &ChannelId) -> Vec<Action> {
        let Some(channel) = self.channels.get_mut(name) else { return Vec::new() };
        if !channel.is_silent_due(now) {
            return Vec::new();
        }
        let tag = channel.tag_of(&self.me.pki_id);
        let members = &self.members;
        let org_of = |peer: &PkiId| members.get(peer).and_then(|member| member.org.as_ref());
        let due = channel
            .silent_due(now, |orgs, peer| org_of(peer).is_some_and(|org| orgs.contains(org)));
        due.into_iter()
            .filter_map(|peer| {
                let request = StateInfoPullRequest { tag };
                self.send(name, peer, Outgoing::Plain(Message::StateInfoPullRequest(request)))
            })
            .collect()
    }

    pub(super) fn on_state_info(
        &mut self,
        now: Now,
        from: PkiId,
        message: Verified<Message>,
    ) -> Vec<Action> {
        let Some(name) = self.channel_of(&from, &message.message().header()) else {
            return vec![Action::Drop { from, reason: "channel" }];
        };
        let author = message.author();
        if let Some(channel) = self.channels.get_mut(&name) {
            channel.info_pull.on_update(now, from, None, &author);
        }
        let known = self.channels.get(&name).and_then(|channel| channel.height_of(&author));
        let mut actions = self.admit_info(now, &name, message.clone());
        if actions.is_empty() {
            return vec![Action::Drop { from, reason: "stale or of no member" }];
        }
        // Its author tells everybody whom it reaches. What came in another way has to go on, to those whom it
        // does not reach.
        let is_here = self.channels.get(&name).and_then(|channel| channel.height_of(&author));
        if from != author && known.is_some() != is_here.is_some() {
            actions.extend(self.pass_info_on(now, &name, from, message));
        }
        actions
    }

    /// Keeps a state info that its channel accepts; nothing happens if it is old, or of no member.
    pub(super) fn admit_info(
        &mut self,
        now: Now,
        name: &ChannelId,
        message: Verified<Message>,
    ) -> Vec<Action> {
        let Message::StateInfo(info) = message.message().clone() else { return Vec::new() };
        let member = self.members.get(&info.pki_id);
        let (Some(member), Some(channel)) = (member, self.channels.get_mut(name)) else {
            return Vec::new();
        };
        let Some(org) = member.org.as_ref().filter(|org| channel.is_member_org(org)) else {
            return Vec::new();
        };
        let (own_org, peer) = (*org == self.me.org, member.remote());
        if !channel.learn(now.mono, message) {
            return Vec::new();
        }
        let channel = name.clone();
        vec![if info.left_channel {
            Action::PeerGone { channel, peer: info.pki_id }
        } else {
            Action::PeerHeight { channel, peer, height: info.height, own_org }
        }]
    }

    fn pass_info_on(
        &mut self,
        now: Now,
        name: &ChannelId,
        from: PkiId,
        message: Verified<Message>,
    ) -> Vec<Action> {
        let Message::StateInfo(info) = message.message() else { return Vec::new() };
        let (peer, spoken) = (info.pki_id, (info.epoch, info.sequence));
        let Some(channel) = self.channels.get_mut(name) else { return Vec::new() };
        let batch = channel.info_push.add(now.mono, peer, spoken, message, Some(from));
        self.push_infos(name, batch)
    }

    /// Passes new state infos on, each to a few peers that may not have it.
    // fabric: gossip/gossip/gossip_impl.go gossipBatch
    pub(super) fn push_infos(
        &mut self,
        name: &ChannelId,
        batch: Vec<Pushed<PkiId, Verified<Message>>>,
    ) -> Vec<Action> {
        if batch.is_empty() {
            return Vec::new();
        }
        let pool: Vec<PkiId> = self.own_org_members(name);
        let fan_out = self.config.push_peers;
        let mut actions = Vec::new();
        for item in batch {
            let fits = |peer: &PkiId| Some(*peer) != item.from && *peer != item.key;
            let chosen = select_peers(&mut self.rng, fan_out, &pool, fits).into_iter();
            actions
                .extend(chosen.filter_map(|peer| {
                    self.send(name, peer, Outgoing::Signed(item.value.clone()))
                }));
        }
        actions
    }

    pub(super) fn on_signed(&mut self, now: Now, message: Verified<Message>) -> Vec<Action> {
        if let Message::Plan(_) = message.message() {
            return self.on_plan_signed(message);
        }
        if let Message::ShareCommitment(_) = message.message() {
            return self.on_share_signed(now, message);
        }
        let Message::StateInfo(info) = message.message() else { return Vec::new() };
        let left = info.left_channel;
        let tag = info.tag;
        let own = self.me.pki_id;
        let found = self.channels.iter_mut().find(|(_, channel)| channel.tag_of(&own) == tag);
        let Some((name, channel)) = found else { return Vec::new() };
        channel.learn(now.mono, message.clone());
        let name = name.clone();
        let everybody: Vec<PkiId> = self.members.keys().copied().collect();
        let actions = everybody
            .into_iter()
            .filter_map(|peer| self.send(&name, peer, Outgoing::Signed(message.clone())))
            .collect();
        if left && let Some(channel) = self.channels.remove(&name) {
            self.shares.leave(&name);
            self.views.remove(&name);
            self.left.insert(name, channel.announcement_count());
        }
        actions
    }

    pub(super) fn on_epoch_raised(&mut self, epoch: Epoch) -> Vec<Action> {
        self.me.epoch = epoch;
        let me = self.me.clone();
        let announce =
            |channel: &mut Channel| Action::Sign(Message::StateInfo(channel.announcement(&me)));
        self.channels.values_mut().map(announce).collect()
    }

    /// Takes over a newer configuration. Nobody is a peer of the channel until it is known to be one still.
    // fabric: gossip/gossip/channel/channel.go ConfigureChannel
    pub(super) fn reconfigure(&mut self, name: &ChannelId, view: ChannelView) -> Vec<Action> {
        let Some(channel) = self.channels.get_mut(name) else { return Vec::new() };
        if !channel.reconfigure(view) {
            return Vec::new();
        }
        let (sequence, infos) = (channel.sequence(), channel.take_infos());
        // No verdict counts any more: what is on its way comes another way.
        self.shares.leave(name);
        self.shares.on_height(name, channel.height());
        self.views.remove(name);
        let gone = infos.iter().map(Verified::author);
        let mut actions: Vec<Action> =
            gone.map(|peer| Action::PeerGone { channel: name.clone(), peer }).collect();
        actions.push(Action::Recheck { channel: name.clone(), sequence, infos });
        actions
    }

    pub(super) fn on_rechecked(
        &mut self,
        now: Now,
        name: &ChannelId,
        sequence: u64,
        held: Vec<Verified<Message>>,
    ) -> Vec<Action> {
        let Some(current) = self.config_sequence(name) else { return Vec::new() };
        if current != sequence {
            // Another configuration came while these were looked at under the one before.
            let channel = name.clone();
            return vec![Action::Recheck { channel, sequence: current, infos: held }];
        }
        held.into_iter().flat_map(|info| self.admit_info(now, name, info)).collect()
    }

    pub(super) fn on_leave(&mut self, channel: &ChannelId) -> Vec<Action> {
        match self.channels.get_mut(channel) {
            Some(state) => {
                let info = state.farewell(&self.me);
                vec![Action::Sign(Message::StateInfo(info))]
            }
            None => Vec::new(),
        }
    }
}
