//! Headers: what is verified, what is told on the mesh, and what is asked for.

use std::time::Duration;

use gossip_api::message::{DataMessage, HeaderMessage, HeaderNote, HeaderWord};
use gossip_api::{
    Block, BlockError, BlockHash, ChannelId, Message, Mono, Nonce, Now, PkiId, SeqNum, select_peers,
};
use rand_core::Rng;

use super::{Stage, Way};
use crate::node::Node;
use crate::node::words::{Action, Outgoing};

impl Node {
    /// Whoever sends a block has it, and its header.
    pub(crate) fn note_sender(&mut self, name: &ChannelId, from: PkiId, number: SeqNum) {
        let Some(channel) = self.channels.get_mut(name) else { return };
        let height = channel.height();
        if channel.spread.refusal(height, number).is_none() {
            let slot = channel.spread.slot(number);
            slot.note_teller(from);
            slot.note_holder(from);
        }
    }

    pub(crate) fn on_header(
        &mut self,
        now: Now,
        from: PkiId,
        message: HeaderMessage,
    ) -> Vec<Action> {
        let HeaderMessage { channel: name, block: header, data_len } = message;
        let number = header.number;
        if !self.may_hear_headers(&name, &from) {
            return vec![Action::Drop { from, reason: "not entitled" }];
        }
        let Some(channel) = self.channels.get_mut(&name) else {
            return vec![Action::Drop { from, reason: "channel" }];
        };
        let (height, sequence) = (channel.height(), channel.sequence());
        let spread = &mut channel.spread;
        if let Some(reason) = spread.refusal(height, number) {
            return vec![Action::Drop { from, reason }];
        }
        if spread.breaks_chain(&header) {
            return vec![Action::Drop { from, reason: "header breaks the chain" }];
        }
        let unverified = spread.slots.values().filter(
            |slot| matches!(slot.header, Stage::Checking { from: sender, .. } if sender == from),
        );
        let unverified = unverified.count();
        let hash = header.header().hash();
        let slot = spread.slot(number);
        slot.note_teller(from);
        let reason = match &slot.header {
            Stage::Proved { hash: known, .. } if *known == hash => "header known",
            Stage::Proved { .. } => "another header",
            Stage::Checking { .. } => "header in flight",
            Stage::Unknown if unverified >= UNVERIFIED_MAX => "too many unverified headers",
            Stage::Unknown
                if slot.offered.is_some_and(|at| now.mono.since(at) < OFFER_PATIENCE) =>
            {
                // The block itself is being verified: the same signatures need not be verified twice.
                spread.arm(number, now.mono.after(OFFER_PATIENCE));
                "block in flight"
            }
            Stage::Unknown => {
                slot.header = Stage::Checking { from, hash };
                slot.data_len = data_len;
                return vec![Action::CheckHeader { channel: name, sequence, from, header }];
            }
        };
        vec![Action::Drop { from, reason }]
    }

    /// The verdict on a header. Who sends one that does not hold is at fault: everybody verifies before telling.
    pub(crate) fn on_header_checked(
        &mut self,
        now: Now,
        name: &ChannelId,
        sequence: u64,
        from: PkiId,
        header: Block,
        verdict: Result<(), BlockError>,
    ) -> Vec<Action> {
        let Some(channel) = self.channels.get_mut(name) else { return Vec::new() };
        let (current, height) = (channel.sequence(), channel.height());
        let number = header.number;
        let hash = header.header().hash();
        let Some(slot) = channel.spread.slots.get_mut(&number) else { return Vec::new() };
        let is_answer = matches!(&slot.header, Stage::Checking { from: asked, hash: of } if *asked == from && *of == hash);
        if !is_answer {
            return Vec::new();
        }
        // Under another configuration it is asked anew, and that answer counts.
        if current != sequence {
            return Vec::new();
        }
        let Err(error) = verdict else {
            let mut actions = self.prove(now, name, header);
            actions.extend(self.unpark(now, name, number));
            return actions;
        };
        slot.header = Stage::Unknown;
        slot.tellers.retain(|peer| *peer != from);
        // Below a configuration that is not in force yet an honest header may fail.
        let is_certain = number == height.next_block();
        let is_policy = matches!(error, BlockError::PolicyNotSatisfied { .. });
        channel.spread.arm(number, now.mono);
        let mut actions = self.unpark(now, name, number);
        actions.push(if is_certain || !is_policy {
            self.shun(now.mono, from);
            Action::Blame { peer: from, reason: "header that does not hold" }
        } else {
            Action::Drop { from, reason: "header not believed yet" }
        });
        actions
    }

    /// The newest header of our own source holds. On a quiet channel everybody has it; else everybody learns
    /// from it that blocks are missing.
    pub(crate) fn on_probed(&mut self, now: Now, name: &ChannelId, header: Block) -> Vec<Action> {
        let Some(channel) = self.channels.get_mut(name) else { return Vec::new() };
        let height = channel.height();
        let spread = &mut channel.spread;
        let is_news = spread.refusal(height, header.number).is_none()
            && !spread.breaks_chain(&header)
            && spread.slot(header.number).hash().is_none();
        if is_news { self.prove(now, name, header) } else { Vec::new() }
    }

    /// Shows our neighbours a header that contradicts the one that we have, and ours: each judges for itself,
    /// whichever of the two it believes in.
    pub(crate) fn on_contradicted(
        &mut self,
        now: Now,
        name: &ChannelId,
        header: &Block,
    ) -> Vec<Action> {
        self.draw_edges(now, name);
        let Some(channel) = self.channels.get(name) else { return Vec::new() };
        let edges = channel.spread.edges.clone();
        let (channel, block) = (name.clone(), header.clone());
        let theirs = Message::Header(HeaderMessage { channel, block, data_len: 0 });
        let shown: Vec<Message> =
            self.bare_header(name, header.number).into_iter().chain([theirs]).collect();
        let pairs = edges.iter().flat_map(|peer| shown.iter().map(move |message| (peer, message)));
        pairs
            .filter_map(|(peer, message)| self.send(name, *peer, Outgoing::Plain(message.clone())))
            .collect()
    }

    /// A header holds: told on, and its data is awaited.
    pub(super) fn prove(&mut self, now: Now, name: &ChannelId, header: Block) -> Vec<Action> {
        let number = header.number;
        let members = self.data_members(name).len();
        let wait = self.repair_wait(name, number, members);
        let Some(channel) = self.channels.get_mut(name) else { return Vec::new() };
        let spread = &mut channel.spread;
        spread.proved = spread.proved.max(number.height());
        let slot = spread.slot(number);
        let hash = header.header().hash();
        let header = Block { data: bytes::Bytes::new(), ..header };
        slot.header = Stage::Proved { hash, header: header.clone() };
        if !slot.held {
            let at = now.mono.after(wait);
            slot.repair_at = Some(at);
            spread.arm(number, at);
        }
        self.expect_below(now, name, number);
        let mut actions = vec![Action::Proved { channel: name.clone(), header: header.clone() }];
        actions.extend(self.tell_header(now, name, number));
        actions.extend(self.shares_header(now, name, &header));
        actions
    }

    /// Headers below one that holds exist too: those that did not come are asked of who told of this one.
    fn expect_below(&mut self, now: Now, name: &ChannelId, number: SeqNum) {
        let Some(channel) = self.channels.get_mut(name) else { return };
        let first = channel.height().get().max(number.get().saturating_sub(GAP_MAX));
        let tellers = channel.spread.slots.get(&number).map(|slot| slot.tellers.clone());
        let tellers = tellers.unwrap_or_default();
        for below in (first..number.get()).map(SeqNum::new) {
            if channel.is_accepted(below) {
                continue;
            }
            let slot = channel.spread.slot(below);
            if matches!(slot.header, Stage::Unknown) && !slot.held {
                tellers.iter().for_each(|peer| slot.note_teller(*peer));
                channel.spread.arm(below, now.mono.after(LAZY_MIN));
            }
        }
    }

    /// Tells the mesh of a header that holds: the first two, and who asked for it, get it whole. Of a small
    /// block that we have, only word goes out: who plans it gives it to everybody, and who missed it asks.
    fn tell_header(&mut self, now: Now, name: &ChannelId, number: SeqNum) -> Vec<Action> {
        if !self.config.mode.is_header_first() {
            return Vec::new();
        }
        self.draw_edges(now, name);
        let Some(channel) = self.channels.get_mut(name) else { return Vec::new() };
        let spread = &mut channel.spread;
        spread.fed.retain(|_, until| now.mono < *until);
        let whole: Vec<PkiId> =
            spread.edges.iter().take(WHOLE_EDGES).chain(spread.fed.keys()).copied().collect();
        let edges = spread.edges.clone();
        let Some(slot) = spread.slots.get(&number) else { return Vec::new() };
        let Some(hash) = slot.hash() else { return Vec::new() };
        let known = slot.tellers.clone();
        let data = slot.held;
        let len = slot.block.as_ref().map(|block| block.data.len());
        let is_small = len.is_some_and(|len| len <= self.config.whole_max);
        let whole = if is_small { Vec::new() } else { whole };
        let word = HeaderWord::Have { number, hash, data };
        let note = Message::HeaderNote(HeaderNote { channel: name.clone(), word });
        let Some(full) = self.bare_header(name, number) else { return Vec::new() };
        let mut actions = Vec::new();
        for peer in whole.iter().filter(|peer| !known.contains(peer)) {
            actions.extend(self.send(name, *peer, Outgoing::Plain(full.clone())));
        }
        for peer in edges.iter().filter(|peer| !known.contains(peer) && !whole.contains(peer)) {
            actions.extend(self.send(name, *peer, Outgoing::Plain(note.clone())));
        }
        actions
    }

    /// What proves a header: small blocks whole, if we have them.
    fn header_message(&self, name: &ChannelId, number: SeqNum) -> Option<Message> {
        let slot = self.channels.get(name)?.spread.slots.get(&number)?;
        match slot.block.as_ref().filter(|block| self.way_of(block) == Way::Whole) {
            Some(block) => {
                let block = block.clone();
                Some(Message::Data(DataMessage { channel: name.clone(), block }))
            }
            None => self.bare_header(name, number),
        }
    }

    pub(crate) fn bare_header(&self, name: &ChannelId, number: SeqNum) -> Option<Message> {
        let slot = self.channels.get(name)?.spread.slots.get(&number)?;
        let Stage::Proved { header, .. } = &slot.header else { return None };
        let (block, data_len) = (header.clone(), slot.data_len);
        Some(Message::Header(HeaderMessage { channel: name.clone(), block, data_len }))
    }

    /// How the data of a block travels.
    pub(super) fn way_of(&self, block: &Block) -> Way {
        if block.data.len() <= self.config.whole_max { Way::Whole } else { Way::Tree }
    }

    pub(crate) fn on_header_note(
        &mut self,
        now: Now,
        from: PkiId,
        note: HeaderNote,
    ) -> Vec<Action> {
        let HeaderNote { channel: name, word } = note;
        if !self.may_hear_headers(&name, &from) {
            return vec![Action::Drop { from, reason: "not entitled" }];
        }
        match word {
            HeaderWord::Have { number, hash, data } => {
                self.on_header_told(now, &name, from, number, Some(hash), data)
            }
            HeaderWord::Want { number } => self.on_header_wanted(&name, from, number),
            HeaderWord::Tip { nonce, height, feed } => {
                let Some(channel) = self.channels.get_mut(&name) else { return Vec::new() };
                let spread = &mut channel.spread;
                if feed && (spread.fed.len() < FED_MAX || spread.fed.contains_key(&from)) {
                    spread.fed.insert(from, now.mono.after(REDRAW_EVERY));
                }
                let own = spread.proved;
                let word = HeaderWord::TipIs { nonce, height: own };
                let answer = Message::HeaderNote(HeaderNote { channel: name.clone(), word });
                let mut actions: Vec<Action> =
                    self.send(&name, from, Outgoing::Plain(answer)).into_iter().collect();
                actions.extend(self.tell_newest(&name, from, height.next_block()));
                actions
            }
            HeaderWord::TipIs { nonce, height } => {
                let Some(channel) = self.channels.get_mut(&name) else { return Vec::new() };
                let asked = channel.spread.tips.remove(&nonce);
                let Some((_, at)) = asked.filter(|(peer, _)| *peer == from) else {
                    return vec![Action::Drop { from, reason: "unsolicited tip" }];
                };
                self.latency.note(now.mono.since(at));
                self.tell_newest(&name, from, height.next_block()).into_iter().collect()
            }
        }
    }

    /// Tells a peer whose newest header is below ours of ours.
    fn tell_newest(&self, name: &ChannelId, to: PkiId, above: SeqNum) -> Option<Action> {
        let spread = &self.channels.get(name)?.spread;
        let (number, slot) = spread.slots.range(above..).next_back()?;
        let (hash, data) = (slot.hash()?, slot.held);
        let word = HeaderWord::Have { number: *number, hash, data };
        let note = Message::HeaderNote(HeaderNote { channel: name.clone(), word });
        self.send(name, to, Outgoing::Plain(note))
    }

    /// Somebody has a header, and perhaps its data. It is asked for if it does not come by itself.
    pub(super) fn on_header_told(
        &mut self,
        now: Now,
        name: &ChannelId,
        from: PkiId,
        number: SeqNum,
        hash: Option<BlockHash>,
        data: bool,
    ) -> Vec<Action> {
        let wait = self.latency.one_way().max(LAZY_MIN);
        let shares = self.shares_data_with(&from);
        let Some(channel) = self.channels.get_mut(name) else { return Vec::new() };
        let height = channel.height();
        let spread = &mut channel.spread;
        if let Some(reason) = spread.refusal(height, number) {
            return vec![Action::Drop { from, reason }];
        }
        let slot = spread.slot(number);
        slot.note_teller(from);
        if data && shares {
            slot.note_holder(from);
        }
        match &slot.header {
            Stage::Proved { hash: known, .. } => {
                if hash.is_some_and(|hash| hash != *known) {
                    return vec![Action::Drop { from, reason: "another header" }];
                }
            }
            Stage::Checking { .. } => {}
            Stage::Unknown => spread.arm(number, now.mono.after(wait)),
        }
        Vec::new()
    }

    fn on_header_wanted(&mut self, name: &ChannelId, from: PkiId, number: SeqNum) -> Vec<Action> {
        if !self.is_entitled(name, &from) {
            return vec![Action::Drop { from, reason: "not entitled" }];
        }
        let Some(channel) = self.channels.get_mut(name) else { return Vec::new() };
        let known = channel.spread.slots.get_mut(&number).filter(|slot| slot.hash().is_some());
        let Some(slot) = known else {
            return vec![Action::Drop { from, reason: "header not held" }];
        };
        // So many answers for one number, whoever asks.
        if slot.header_uploads >= UPLOADS_MAX {
            return vec![Action::Drop { from, reason: "header asked too often" }];
        }
        slot.header_uploads += 1;
        let message = self.header_message(name, number);
        let sent = message.and_then(|message| self.send(name, from, Outgoing::Plain(message)));
        let bare = || {
            let header = self.bare_header(name, number)?;
            self.send(name, from, Outgoing::Plain(header))
        };
        sent.or_else(bare).into_iter().collect()
    }

    /// Asks the next one that has a header which did not come.
    pub(super) fn ask_header(&mut self, now: Now, name: &ChannelId, number: SeqNum) -> Vec<Action> {
        let wait = self.latency.round_trip().max(LAZY_MIN);
        let Some(channel) = self.channels.get_mut(name) else { return Vec::new() };
        let slot = channel.spread.slot(number);
        if slot.offered.is_some_and(|at| now.mono.since(at) < OFFER_PATIENCE) {
            channel.spread.arm(number, now.mono.after(OFFER_PATIENCE));
            return Vec::new();
        }
        let next = slot.tellers.iter().find(|peer| !slot.header_asked.contains(peer)).copied();
        let Some(peer) = next else { return Vec::new() };
        slot.header_asked.insert(peer);
        channel.spread.arm(number, now.mono.after(wait));
        let word = HeaderWord::Want { number };
        let note = Message::HeaderNote(HeaderNote { channel: name.clone(), word });
        self.send(name, peer, Outgoing::Plain(note)).into_iter().collect()
    }

    /// Draws the mesh anew when it is due, when an edge is gone, or after headers were missed.
    fn draw_edges(&mut self, now: Now, name: &ChannelId) {
        let is_settled = self.channels.get(name).is_some_and(|channel| {
            let spread = &channel.spread;
            now.mono < spread.redraw_at && spread.edges.len() >= self.config.mesh_peers
        });
        if is_settled {
            return;
        }
        let pool = self.header_members(name);
        let wanted = self.config.mesh_peers.min(pool.len());
        let Some(channel) = self.channels.get_mut(name) else { return };
        let spread = &mut channel.spread;
        if now.mono >= spread.redraw_at {
            spread.redraw_at = now.mono.after(REDRAW_EVERY);
            // Two at a time: the others go on carrying what the new ones miss.
            spread.edges.drain(..WHOLE_EDGES.min(spread.edges.len()));
        }
        let missing = wanted.saturating_sub(spread.edges.len());
        if missing > 0 {
            let edges = spread.edges.clone();
            let more = select_peers(&mut self.rng, missing, &pool, |peer| !edges.contains(peer));
            // The new ones carry whole headers.
            spread.edges.splice(0..0, more);
        }
    }

    /// Each second one random peer is asked for its newest header.
    pub(super) fn ask_tip(&mut self, now: Now, name: &ChannelId) -> Vec<Action> {
        let pool = self.header_members(name);
        let nonce = Nonce::new(self.rng.next_u64());
        let chosen = select_peers(&mut self.rng, 1, &pool, |_| true);
        let Some(channel) = self.channels.get_mut(name) else { return Vec::new() };
        let spread = &mut channel.spread;
        spread.tip_at = now.mono.after(super::TIP_EVERY);
        spread.tips.retain(|_, (_, at)| now.mono.since(*at) < TIP_PATIENCE);
        let Some(peer) = chosen.first().copied() else { return Vec::new() };
        spread.tips.insert(nonce, (peer, now.mono));
        let feed = spread.missed >= MISSED_MAX;
        if feed {
            spread.missed = 0;
            spread.redraw_at = now.mono;
        }
        let word = HeaderWord::Tip { nonce, height: spread.proved, feed };
        let note = Message::HeaderNote(HeaderNote { channel: name.clone(), word });
        self.send(name, peer, Outgoing::Plain(note)).into_iter().collect()
    }

    /// Peers of the channel that headers may be told to.
    fn header_members(&self, name: &ChannelId) -> Vec<PkiId> {
        let Some(channel) = self.channels.get(name) else { return Vec::new() };
        let fits = |peer: &PkiId| {
            let org = self.members.get(peer).and_then(|member| member.org.as_ref());
            let crosses = self.config.headers_cross_orgs || self.is_own_org(peer);
            crosses && org.is_some_and(|org| channel.is_member_org(org))
        };
        channel.present().filter(|peer| *peer != self.me.pki_id && fits(peer)).collect()
    }

    fn may_hear_headers(&self, name: &ChannelId, from: &PkiId) -> bool {
        let crosses = self.config.headers_cross_orgs || self.is_own_org(from);
        crosses && self.channels.contains_key(name) && !self.is_shunned(from)
    }

    /// Nothing about headers is heard of a peer for a while.
    pub(crate) fn shun(&mut self, now: Mono, peer: PkiId) {
        self.shunned.retain(|_, until| now < *until);
        if self.shunned.len() < SHUNNED_MAX {
            self.shunned.insert(peer, now.after(SHUN_FOR));
        }
    }

    /// A block that waited for its header's verdict goes on.
    fn unpark(&mut self, now: Now, name: &ChannelId, number: SeqNum) -> Vec<Action> {
        let Some(channel) = self.channels.get_mut(name) else { return Vec::new() };
        let Some(slot) = channel.spread.slots.get_mut(&number) else { return Vec::new() };
        let Some((block, via)) = slot.parked.take() else { return Vec::new() };
        slot.offered = Some(now.mono);
        vec![Action::Offer { channel: name.clone(), block, via }]
    }
}

impl super::Spread {
    /// Whether a header does not continue the one below it, or is not continued by the one above.
    fn breaks_chain(&self, header: &Block) -> bool {
        let below = header.number.get().checked_sub(1).map(SeqNum::new);
        let below = below.and_then(|number| self.slots.get(&number)).and_then(super::Slot::hash);
        let breaks = below.is_some_and(|hash| header.previous_hash.as_ref() != hash.as_bytes());
        let above = self.slots.get(&header.number.next());
        breaks
            || above.is_some_and(|slot| match &slot.header {
                Stage::Proved { header: above, .. } => {
                    above.previous_hash.as_ref() != header.header().hash().as_bytes()
                }
                Stage::Unknown | Stage::Checking { .. } => false,
            })
    }
}

/// So many headers below one that holds are looked for; who lacks more catches up by ranges.
const GAP_MAX: u64 = 16;

/// Edges that carry whole headers.
const WHOLE_EDGES: usize = 2;

/// How often two edges are drawn anew.
const REDRAW_EVERY: Duration = Duration::from_secs(30);

/// Headers in a row that may come otherwise than over the mesh before a peer asks to be fed.
const MISSED_MAX: u32 = 2;

/// Peers fed besides the edges.
const FED_MAX: usize = 6;

/// Headers of one sender that may wait for a verdict.
const UNVERIFIED_MAX: usize = 4;

/// A header that was told of is awaited at least this long before it is asked for.
const LAZY_MIN: Duration = Duration::from_millis(10);

/// A verdict on a whole block is awaited this long before its header is looked at by itself.
const OFFER_PATIENCE: Duration = Duration::from_millis(500);

/// Questions for the tip are remembered this long.
const TIP_PATIENCE: Duration = Duration::from_secs(5);

/// Headers of one number uploaded on request.
const UPLOADS_MAX: usize = 256;

/// Whose header did not hold is not listened to for this long.
const SHUN_FOR: Duration = Duration::from_secs(600);

/// Peers remembered as not to be listened to.
const SHUNNED_MAX: usize = 1024;
