//! Giving out shares as a source, and forwarding them as a relay.

use gossip_api::message::{Share, ShareCommitment, ShareDuty};
use gossip_api::{Block, ChannelId, Message, Mono, PkiId, SeqNum, Verified};

use super::block::{Phase, commitment_of};
use super::choice::Chooser;
use super::code::Coded;
use super::repair::{count, upload};
use super::source::{Issued, Left, of_needed, pool};
use super::words::{Step, View};
use super::{Key, Shares, UPLOAD_COPIES_MAX, send};
use crate::node::Outgoing;

impl Shares {
    /// We are a source of a verified block whose data is to travel in shares.
    pub fn on_source(&mut self, now: Mono, channel: &ChannelId, block: &Block) -> Vec<Step> {
        let number = block.number;
        let held = self.block(now, channel, number);
        held.take_header(now, block);
        if !matches!(held.phase, Phase::Whole(_)) {
            held.phase = Phase::Whole(now);
        }
        vec![Step::Encode { channel: channel.clone(), number, data: block.data.clone() }]
    }

    /// The shares are made: we sign their root.
    pub fn on_encoded(
        &mut self,
        view: &View,
        channel: &ChannelId,
        number: SeqNum,
        coded: Coded,
    ) -> Vec<Step> {
        let me = self.me;
        let key = (channel.clone(), number);
        if !self.make_room(coded.bytes(), &key) {
            return vec![Step::GiveUp { channel: channel.clone(), number }];
        }
        let Some(block) = self.blocks.get_mut(&key) else {
            return Vec::new();
        };
        let Some(header) = &block.header else { return Vec::new() };
        let commitment = ShareCommitment {
            channel: channel.clone(),
            source: me,
            number,
            header_hash: header.header().hash(),
            root: coded.root(),
            class: coded.class(),
            data_len: coded.data_len(),
        };
        // Sources of one organisation begin at different places, so that they help instead of repeating.
        let sources = &view.sources;
        let place = sources.iter().filter(|source| **source < me).count();
        let offset = usize::from(coded.class().shares()) * place / sources.len().max(1);
        let most = of_needed(&coded, self.config.ratio_most);
        block.issued = Some(Issued::new(coded, u8::try_from(offset).unwrap_or(0), most));
        vec![Step::Sign(Message::ShareCommitment(commitment))]
    }

    /// Our commitment is signed: it goes to every member, and the first shares to their relays.
    pub fn on_committed(
        &mut self,
        now: Mono,
        view: &View,
        message: Verified<Message>,
    ) -> Vec<Step> {
        let Some(commitment) = commitment_of(&message).cloned() else { return Vec::new() };
        let (channel, number) = (commitment.channel.clone(), commitment.number);
        let Some(block) = self.blocks.get_mut(&(channel.clone(), number)) else {
            return Vec::new();
        };
        let present = block.commitments.len() + 1;
        block.commitments.insert(self.me, message.clone());
        let members: Vec<PkiId> = pool(view, &self.config, number)
            .into_iter()
            .filter(|peer| !block.have.contains(peer))
            .collect();
        let Some(issued) = &mut block.issued else { return Vec::new() };
        let mut steps: Vec<Step> = members
            .iter()
            .map(|to| Step::Send { to: *to, message: Outgoing::Signed(message.clone()) })
            .collect();
        // Each source gives out its part at once; the rest, if the others do not show themselves.
        let all = self.ratio.first(issued.coded(), &self.config);
        let sources = view.sources.len().max(present);
        let first = all.div_ceil(u32::try_from(sources).unwrap_or(1));
        issued.left = (present < sources).then(|| Left {
            count: all.saturating_sub(first),
            sources,
            until: now.after(OTHERS_WITHIN),
        });
        let chooser = Chooser { salt: self.salt, number };
        let parcels = issued.give_out(&channel, chooser, &self.blame, &members, first);
        issued.judge_at = Some(now.after(JUDGE_AFTER));
        block.uploaded += parcels.iter().map(|(_, share)| share.payload.len() as u64).sum::<u64>();
        steps.extend(parcels.into_iter().map(|(to, share)| send(to, Message::Share(share))));
        steps
    }

    /// Gives out what was left to other sources, if they have not shown themselves.
    pub(super) fn give_rest(&mut self, now: Mono, key: &Key, view: &View) -> Vec<Step> {
        let Some(block) = self.blocks.get_mut(key) else { return Vec::new() };
        let present = block.commitments.len();
        let Some(issued) = &mut block.issued else { return Vec::new() };
        let Some(left) = issued.left.filter(|left| left.until <= now) else { return Vec::new() };
        issued.left = None;
        if present >= left.sources {
            return Vec::new();
        }
        let (channel, number) = key;
        let chooser = Chooser { salt: self.salt, number: *number };
        let members = pool(view, &self.config, *number);
        let parcels = issued.give_out(channel, chooser, &self.blame, &members, left.count);
        upload(block, parcels)
    }

    /// Forwards a share as its sender asks, if the sender may ask that.
    pub(super) fn forward(&mut self, view: &View, from: PkiId, share: &Share) -> Vec<Step> {
        let me = self.me;
        let Some(block) = self.blocks.get_mut(&(share.channel.clone(), share.number)) else {
            return Vec::new();
        };
        let foreign = view.peers.iter().any(|peer| peer.id == from && peer.org != 0);
        let duty = match share.duty {
            ShareDuty::Relay if block.is_source(share.root, &from) => ShareDuty::Relay,
            ShareDuty::Entry if foreign => ShareDuty::Entry,
            ShareDuty::Relay | ShareDuty::Entry | ShareDuty::Keep => return Vec::new(),
        };
        if !block.may_forward(share) {
            return Vec::new();
        }
        let cap = share.data_len.saturating_mul(UPLOAD_COPIES_MAX);
        let sources: Vec<PkiId> = block.sources_of(share.root).collect();
        let number = share.number;
        let serves = |peer: &PkiId| *peer != from && *peer != me && !sources.contains(peer);
        let inside = members(view, &self.config, number, duty == ShareDuty::Relay);
        let keep = inside.filter(|peer| serves(peer) && !block.have.contains(peer));
        let mut targets: Vec<(PkiId, ShareDuty)> = keep.map(|to| (to, ShareDuty::Keep)).collect();
        if duty == ShareDuty::Relay && !is_flat(view) && self.config.cross_orgs {
            let chooser = Chooser { salt: self.salt, number };
            let entries = chooser.entries(view, share.index);
            targets.extend(entries.into_iter().filter(serves).map(|to| (to, ShareDuty::Entry)));
        }
        // Each relay begins elsewhere, so that no member is the last one of all.
        let turn =
            targets.len() * usize::from(share.index) / usize::from(share.class.shares()).max(1);
        let turn = turn.min(targets.len());
        targets.rotate_left(turn);
        let bytes = (share.payload.len() as u64).saturating_mul(targets.len() as u64);
        if block.uploaded.saturating_add(bytes)
            > cap.saturating_add(bytes_of_one_round(share, view))
        {
            return vec![Step::Drop { from, reason: "share beyond the upload" }];
        }
        block.uploaded = block.uploaded.saturating_add(bytes);
        block.forwarded.entry(share.root).or_default().insert(share.index);
        let to = |(to, duty)| send(to, Message::Share(Share { duty, ..share.clone() }));
        targets.into_iter().map(to).collect()
    }

    /// Tells two other members of our organisation what a source has signed: the second way beside the source's.
    pub(super) fn pass_on(
        &self,
        view: &View,
        from: PkiId,
        commitment: &ShareCommitment,
        message: Verified<Message>,
    ) -> Vec<Step> {
        let others: Vec<PkiId> = view
            .peers
            .iter()
            .filter(|peer| peer.org == 0 && peer.id != from && peer.id != commitment.source)
            .map(|peer| peer.id)
            .collect();
        let chooser = Chooser { salt: self.salt, number: commitment.number };
        let chosen = chooser.relays(&self.blame, &others, 0..PASS_ON.min(count(&others)));
        chosen
            .into_iter()
            .map(|(_, to)| Step::Send { to, message: Outgoing::Signed(message.clone()) })
            .collect()
    }
}

/// Members that a relay or an entry serves itself: of its organisation; of all in a small channel.
fn members<'a>(
    view: &'a View,
    config: &super::CodedConfig,
    number: SeqNum,
    relay: bool,
) -> impl Iterator<Item = PkiId> + 'a {
    let all = relay && config.cross_orgs && is_flat(view);
    let able = pool(view, config, number);
    let peers = view.peers.iter().filter(move |peer| all || peer.org == 0);
    peers.map(|peer| peer.id).filter(move |peer| able.contains(peer))
}

/// Whether two hops are enough for everybody: few members, or one of each organisation.
fn is_flat(view: &View) -> bool {
    let mut orgs: Vec<u32> = view.peers.iter().map(|peer| peer.org).collect();
    orgs.sort_unstable();
    let alone = orgs.windows(2).all(|pair| pair.first() != pair.last()) && !orgs.contains(&0);
    view.peers.len() < FLAT_MAX || alone
}

/// What a relay may upload of any block, however small: one share to everybody.
fn bytes_of_one_round(share: &Share, view: &View) -> u64 {
    (share.payload.len() as u64).saturating_mul(view.peers.len() as u64)
}

/// Members, ourselves included, up to which a relay serves everybody itself.
const FLAT_MAX: usize = 64;

/// How long other sources have to show themselves: they read the same orderers.
const OTHERS_WITHIN: std::time::Duration = std::time::Duration::from_millis(60);

/// Members to whom a commitment is passed on.
const PASS_ON: u8 = 2;

/// When it is judged who was silent with a block, after its first shares went out.
const JUDGE_AFTER: std::time::Duration = std::time::Duration::from_millis(1500);
