//! One channel: who is in it, how high they say they are, what is being pulled.

mod state_info;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use gossip_api::message::{MessageHeader, StateInfo};
use gossip_api::{
    Admit, Block, BlockHash, ChannelId, ChannelTag, Checked, Height, Message, Mono, Now, OrgId,
    PkiId, SeqNum, Verified, Wakeup, earliest,
};

use super::pull::items::{Blocks, Spoken};
use super::pull::{self, Pull};
use super::push::Push;
use super::spread::Spread;
use super::{ChannelView, Me, NodeConfig, SpreadMode, tag_for};
use state_info::StateInfos;

/// State of one channel.
#[derive(Debug)]
pub(crate) struct Channel {
    own: PkiId,
    name: ChannelId,
    genesis: BlockHash,
    orgs: BTreeSet<OrgId>,
    sequence: u64,
    height: Height,
    /// Accepted blocks above the height, so that they are not pulled again.
    accepted: BTreeSet<SeqNum>,
    infos: StateInfos,
    /// Members that have not announced themselves here: when to ask next, and how long to wait then.
    silent: BTreeMap<PkiId, (Mono, Duration)>,
    announcements: u64,
    announced: Height,
    announce_at: Mono,
    config: Checked<NodeConfig>,
    /// What is exchanged of blocks, and of state infos.
    pub(super) pull: Pull<SeqNum, ()>,
    pub(super) info_pull: Pull<PkiId, Spoken>,
    /// What is passed on to a few.
    pub(super) push: Push<SeqNum, (), Block>,
    pub(super) info_push: Push<PkiId, Spoken, Verified<Message>>,
    /// New blocks on their way.
    pub(super) spread: Spread,
}

impl Channel {
    pub(crate) fn new(
        now: Now,
        own: PkiId,
        view: ChannelView,
        config: Checked<NodeConfig>,
    ) -> Self {
        Self {
            own,
            name: view.channel.clone(),
            genesis: view.genesis,
            orgs: view.orgs,
            sequence: view.sequence,
            height: view.height,
            accepted: BTreeSet::new(),
            infos: StateInfos::default(),
            silent: BTreeMap::new(),
            announcements: 0,
            announced: view.height,
            announce_at: now.mono.after(config.announce_every),
            pull: Pull::new(
                now.mono,
                pull::Course::new(&config, config.mode == SpreadMode::PushPull),
            ),
            info_pull: Pull::new(now.mono, pull::Course::new(&config, true)),
            push: Push::new(config.push_course()),
            info_push: Push::new(config.push_course()),
            spread: Spread::new(now.mono, view.height),
            config,
        }
    }

    /// Takes over a configuration that is neither empty nor older; tells whether it did.
    pub(crate) fn reconfigure(&mut self, view: ChannelView) -> bool {
        if view.orgs.is_empty() || view.sequence < self.sequence {
            return false;
        }
        self.sequence = view.sequence;
        self.orgs = view.orgs;
        self.spread.forget_verdicts();
        true
    }

    /// Our ledger's height.
    pub(crate) fn height(&self) -> Height {
        self.height
    }

    /// Who is here, as far as we know, ourselves included.
    pub(crate) fn present(&self) -> impl Iterator<Item = PkiId> {
        self.infos.present()
    }

    pub(crate) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Its member organisations.
    pub(crate) fn orgs(&self) -> impl Iterator<Item = &OrgId> {
        self.orgs.iter()
    }

    /// Takes out what others said of themselves here.
    pub(crate) fn take_infos(&mut self) -> Vec<Verified<Message>> {
        self.infos.take_others(&self.own)
    }

    pub(crate) fn tag_of(&self, peer: &PkiId) -> ChannelTag {
        self.infos.tag_of(peer).unwrap_or_else(|| tag_for(&self.name, &self.genesis, peer))
    }

    // fabric: gossip/gossip/channel/channel.go IsOrgInChannel
    pub(crate) fn is_member_org(&self, org: &OrgId) -> bool {
        self.orgs.contains(org)
    }

    /// Refuses what is old before anybody verifies it.
    pub(crate) fn admit(&self, now: Mono, header: &MessageHeader) -> Admit {
        let (Some(originator), Some(epoch)) = (header.originator, header.epoch) else {
            return Admit::Accept;
        };
        if !self.infos.is_news(&originator, epoch, header.sequence) {
            Admit::Drop("stale")
        } else if self.infos.is_flooding(now, &originator) {
            Admit::Drop("too many state infos")
        } else {
            Admit::Accept
        }
    }

    /// Refuses headers whose number is of no use.
    pub(crate) fn admit_header(&self, header: &MessageHeader) -> Admit {
        match self.spread.refusal(self.height, SeqNum::new(header.sequence)) {
            Some(reason) => Admit::Drop(reason),
            None => Admit::Accept,
        }
    }

    /// Keeps a state info unless a newer one is held.
    pub(crate) fn learn(&mut self, now: Mono, message: Verified<Message>) -> bool {
        self.infos.put(now, message)
    }

    pub(crate) fn forget(&mut self, peer: &PkiId) -> bool {
        self.silent.remove(peer);
        self.spread.forget(peer);
        self.infos.remove(peer)
    }

    /// A member is alive: it should announce itself here soon, or be asked.
    pub(crate) fn expect_info(&mut self, now: Now, peer: PkiId) {
        if self.infos.is_missing(&peer) && self.silent.len() < SILENT_MAX {
            self.silent.insert(peer, (now.mono.after(ASK_FIRST), ASK_FIRST));
        }
    }

    /// Whether a silent member is to be asked now.
    pub(crate) fn is_silent_due(&self, now: Now) -> bool {
        self.silent.values().any(|(at, _)| now.mono >= *at)
    }

    /// Those of whom `is_member` to be asked now; each is asked again after twice the time.
    pub(crate) fn silent_due(
        &mut self,
        now: Now,
        is_member: impl Fn(&BTreeSet<OrgId>, &PkiId) -> bool,
    ) -> Vec<PkiId> {
        let (infos, orgs) = (&self.infos, &self.orgs);
        self.silent.retain(|peer, _| infos.is_missing(peer) && is_member(orgs, peer));
        let mut due = Vec::new();
        for (peer, (at, wait)) in &mut self.silent {
            if now.mono >= *at && due.len() < ASK_AT_ONCE {
                *wait = (*wait * 2).min(ASK_LAST);
                *at = now.mono.after(*wait);
                due.push(*peer);
            }
        }
        due
    }

    /// The height a peer states; nothing if it has not announced itself, or has left.
    pub(crate) fn height_of(&self, peer: &PkiId) -> Option<Height> {
        self.infos.height_of(peer)
    }

    /// What we know of who is here, ourselves included.
    pub(crate) fn announcements(&self) -> impl Iterator<Item = &Verified<Message>> {
        self.infos.iter()
    }

    pub(crate) fn on_height(&mut self, now: Now, height: Height) {
        self.height = height;
        self.accepted = self.accepted.split_off(&self.height.next_block());
        self.spread.on_height(self.height);
        if self.height != self.announced {
            let wait = self.config.announce_after.max(self.pace());
            self.announce_at = self.announce_at.min(now.mono.after(wait));
        }
    }

    /// Whether a block above the height is here.
    pub(crate) fn is_accepted(&self, number: SeqNum) -> bool {
        self.accepted.contains(&number)
    }

    pub(crate) fn on_accepted(&mut self, number: SeqNum) {
        if number >= self.height.next_block() && self.accepted.len() < ACCEPTED_MAX {
            self.accepted.insert(number);
        }
    }

    pub(crate) fn is_announcement_due(&mut self, now: Now) -> bool {
        if now.mono < self.announce_at {
            return false;
        }
        self.announce_at = now.mono.after(self.config.announce_every.max(self.pace()));
        true
    }

    /// Our next state info, to be signed.
    pub(crate) fn announcement(&mut self, me: &Me) -> StateInfo {
        self.announced = self.height;
        let sequence = self.announcements;
        self.announcements = sequence.saturating_add(1);
        StateInfo {
            tag: self.tag_of(&self.own),
            pki_id: me.pki_id,
            epoch: me.epoch,
            sequence,
            height: self.height,
            left_channel: false,
        }
    }

    /// How often we have announced ourselves in this life.
    pub(crate) fn announcement_count(&self) -> u64 {
        self.announcements
    }

    /// Goes on counting after an earlier stay in the channel.
    pub(crate) fn resume_announcing(&mut self, announcements: u64) {
        self.announcements = announcements;
    }

    /// Our last state info in this channel.
    // fabric: gossip/gossip/channel/channel.go LeaveChannel
    pub(crate) fn farewell(&mut self, me: &Me) -> StateInfo {
        StateInfo { left_channel: true, ..self.announcement(me) }
    }

    /// What there is to pull, and what of it we have.
    pub(crate) fn blocks(&self, now: Mono) -> Blocks {
        let first = self.height.get().saturating_sub(SERVED);
        Blocks {
            served: (first..self.height.get()).map(SeqNum::new).collect(),
            height: self.height,
            accepted: self.accepted.iter().copied().chain(self.spread.awaited(now)).collect(),
        }
    }

    /// The newest that is known of a peer here.
    pub(crate) fn announcement_of(&self, peer: &PkiId) -> Option<&Verified<Message>> {
        self.infos.get(peer)
    }

    /// Who said what last, whether it is here or has left.
    pub(crate) fn spoken(&self) -> impl Iterator<Item = (PkiId, Spoken)> {
        self.infos.spoken()
    }

    /// So long between two words of each peer that nobody has to hear more than a few a second.
    pub(crate) fn pace(&self) -> Duration {
        let heard = u32::try_from(self.infos.len()).unwrap_or(u32::MAX);
        Duration::from_secs(1).saturating_mul(heard) / INFOS_A_SECOND
    }

    pub(crate) fn next_wakeup(&self) -> Option<Wakeup> {
        let announce = Wakeup { at: self.announce_at, why: "announce height" };
        let ask = self.silent.values().map(|(at, _)| *at).min();
        let ask = ask.map(|at| Wakeup { at, why: "ask a member that is silent in the channel" });
        let spread = self.spread.next_wakeup(self.config.mode.is_header_first());
        let pushes = [self.push.next_wakeup(), self.info_push.next_wakeup()];
        let push = pushes.into_iter().flatten().min();
        let push = push.map(|at| Wakeup { at, why: "a batch is old enough to be pushed" });
        let pulls = [self.pull.next_wakeup(), self.info_pull.next_wakeup()].map(Some);
        earliest([Some(announce), ask, push, spread].into_iter().chain(pulls))
    }
}

/// First wait before a member is asked whether it is in the channel.
const ASK_FIRST: Duration = Duration::from_millis(50);

/// Longest wait: members of other channels never answer.
const ASK_LAST: Duration = Duration::from_secs(60);

/// Members asked in one go.
const ASK_AT_ONCE: usize = 8;

/// Silent members remembered.
const SILENT_MAX: usize = 4096;

/// Newest blocks that a digest lists; whoever lacks older ones asks for a range.
const SERVED: u64 = 64;

/// Numbers remembered above the height; as many as a state transfer ever buffers.
const ACCEPTED_MAX: usize = 1024;

/// State infos that a peer has to hear, and check, in a second, however many peers a channel has.
const INFOS_A_SECOND: u32 = 64;
