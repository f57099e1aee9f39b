//! One channel: who is in it, how high they say they are, what is being pulled.

mod state_info;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use gossip_api::message::{MessageHeader, StateInfo};
use gossip_api::{
    Admit, BlockHash, ChannelId, ChannelTag, Checked, Height, Message, Mono, Now, OrgId, PkiId,
    SeqNum, Verified, Wakeup, earliest,
};
use rand_chacha::ChaCha8Rng;

use super::pull::{Pull, Step};
use super::spread::Spread;
use super::{ChannelView, Me, NodeConfig, PULLED, SpreadMode, tag_for};
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
    pull: Pull,
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
            pull: Pull::new(now, view.channel, PULLED, config.clone()),
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
    pub(crate) fn admit(&self, header: &MessageHeader) -> Admit {
        let stale = match (header.originator, header.epoch) {
            (Some(originator), Some(epoch)) => {
                !self.infos.is_news(&originator, epoch, header.sequence)
            }
            _ => false,
        };
        if stale { Admit::Drop("stale") } else { Admit::Accept }
    }

    /// Refuses headers whose number is of no use.
    pub(crate) fn admit_header(&self, header: &MessageHeader) -> Admit {
        match self.spread.refusal(self.height, SeqNum::new(header.sequence)) {
            Some(reason) => Admit::Drop(reason),
            None => Admit::Accept,
        }
    }

    /// Keeps a state info unless a newer one is held.
    pub(crate) fn learn(&mut self, message: Verified<Message>) -> bool {
        self.infos.put(message)
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

    /// Of `members`, those to be asked now; each is asked again after twice the time.
    pub(crate) fn silent_due(&mut self, now: Now, members: &[PkiId]) -> Vec<PkiId> {
        self.silent.retain(|peer, _| members.contains(peer) && self.infos.is_missing(peer));
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
        self.height = self.height.max(height);
        self.accepted = self.accepted.split_off(&self.height.next_block());
        self.spread.on_height(self.height);
        if self.height != self.announced {
            self.announce_at = self.announce_at.min(now.mono.after(self.config.announce_after));
        }
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
        self.announce_at = now.mono.after(self.config.announce_every);
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

    pub(crate) fn on_pull(
        &mut self,
        now: Now,
        rng: &mut ChaCha8Rng,
        from: PkiId,
        message: Message,
    ) -> Vec<Step> {
        let has = self.holdings(now.mono);
        self.pull.on_message(now, rng, from, message, &has)
    }

    pub(crate) fn tick_pull(
        &mut self,
        now: Now,
        rng: &mut ChaCha8Rng,
        partners: &[PkiId],
    ) -> Vec<Step> {
        let has = self.holdings(now.mono);
        self.pull.on_tick(now, rng, partners, &has)
    }

    fn holdings(&self, now: Mono) -> super::pull::Holdings {
        let first = self.height.get().saturating_sub(SERVED);
        super::pull::Holdings {
            served: (first..self.height.get()).map(SeqNum::new).collect(),
            height: self.height,
            accepted: self.accepted.iter().copied().chain(self.spread.awaited(now)).collect(),
        }
    }

    pub(crate) fn next_wakeup(&self) -> Option<Wakeup> {
        let announce = Wakeup { at: self.announce_at, why: "announce height" };
        let ask = self.silent.values().map(|(at, _)| *at).min();
        let ask = ask.map(|at| Wakeup { at, why: "ask a member that is silent in the channel" });
        let spread = self.spread.next_wakeup(self.config.mode == SpreadMode::HeaderFirst);
        earliest([Some(announce), ask, self.pull.next_wakeup(), spread])
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
