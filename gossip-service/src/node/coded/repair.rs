//! Asking for shares that do not come, answering who asks, and forgetting what is over.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use gossip_api::message::{ShareReport, ShareSet};
use gossip_api::{ChannelId, Message, Mono, PkiId, Wakeup, earliest};

use super::block::{BlockShares, Phase};
use super::choice::Chooser;
use super::source::{Parcel, pool};
use super::words::{Step, View};
use super::{Key, Shares, send};

impl Shares {
    /// A member tells what it holds of a block's shares, and may want some.
    pub fn on_report(&mut self, view: &View, from: PkiId, report: &ShareReport) -> Vec<Step> {
        let drop = |reason| vec![Step::Drop { from, reason }];
        let key = (report.channel.clone(), report.number);
        let Some(block) = self.blocks.get_mut(&key) else { return drop("report of no block") };
        let chooser = Chooser { salt: self.salt, number: report.number };
        let known = block.trees.contains_key(&report.root)
            || block.issued.as_ref().is_some_and(|issued| issued.coded().root() == report.root);
        if !known {
            return drop("report of another tree");
        }
        let able: BTreeSet<PkiId> = pool(view, &self.config, report.number).into_iter().collect();
        if !able.contains(&from) {
            return drop("report of no member");
        }
        if report.wanted.is_empty() {
            block.have.insert(from);
        }
        if let Some(issued) = &mut block.issued {
            let blame = &self.blame;
            let parcels = issued.on_report(&report.channel, chooser, from, report, blame, &able);
            return upload(block, parcels);
        }
        if report.wanted.is_empty() {
            return Vec::new();
        }
        let Some(tree) = block.trees.get(&report.root) else { return Vec::new() };
        let answered = block.answered.entry(from).or_default();
        if *answered >= ASKS {
            return drop("too many reports");
        }
        *answered += 1;
        let lacks = u32::from(tree.class().needed()).saturating_sub(report.held.len());
        let most = usize::try_from(lacks.div_ceil(2)).unwrap_or(usize::MAX);
        let shares = report.wanted.and(tree.held()).without(report.held);
        let (channel, number) = (&report.channel, report.number);
        let shares = shares.iter().take(most);
        let parcels: Vec<Parcel> =
            shares.filter_map(|index| Some((from, tree.share(channel, number, index)?))).collect();
        let cap = tree.data_len().saturating_mul(super::UPLOAD_COPIES_MAX);
        if block.uploaded > cap {
            return drop("share beyond the upload");
        }
        upload(block, parcels)
    }

    /// Deadlines.
    pub fn on_tick(&mut self, now: Mono, view: impl Fn(&ChannelId) -> Arc<View>) -> Vec<Step> {
        self.early.retain(|early| now.since(early.since) < EARLY_FOR);
        let keys: Vec<Key> = self.blocks.keys().cloned().collect();
        let mut steps = Vec::new();
        for key in keys {
            if self.is_left(now, &key) {
                steps.extend(self.give_rest(now, &key, &view(&key.0)));
            }
            steps.extend(self.ask(now, &key, &view));
            self.settle(now, &key);
        }
        self.retire(now);
        steps
    }

    /// When a deadline passes next.
    pub fn next_wakeup(&self) -> Option<Wakeup> {
        let collected = self.blocks.values().filter(|block| block.phase == Phase::Collecting);
        let asks = collected.filter_map(|block| block.pace.ask_at).min();
        let judge = self.blocks.values().filter_map(|block| block.issued.as_ref()?.judge_at).min();
        let left = self.blocks.values().filter_map(|block| block.issued.as_ref()?.left);
        let left = left.map(|left| left.until).min();
        let early = self.early.front().map(|early| early.since.after(EARLY_FOR));
        let retire = self.blocks.values().map(retire_at).min();
        let wakeup = |at: Option<Mono>, why| at.map(|at| Wakeup { at, why });
        earliest([
            wakeup(asks, "ask for shares"),
            wakeup(judge, "judge relays"),
            wakeup(left, "give out what another source does not"),
            wakeup(early, "forget early shares"),
            wakeup(retire, "forget shares"),
        ])
    }

    /// Asks for what is missing: holders that may have it, each for a part, and the sources; in the end nobody.
    fn ask(&mut self, now: Mono, key: &Key, view: &impl Fn(&ChannelId) -> Arc<View>) -> Vec<Step> {
        let Some(block) = self.blocks.get_mut(key) else { return Vec::new() };
        if block.phase != Phase::Collecting || block.pace.ask_at.is_none_or(|at| now < at) {
            return Vec::new();
        }
        let (channel, number) = key.clone();
        if block.pace.asked >= ASKS {
            block.pace.ask_at = None;
            return vec![Step::GiveUp { channel, number }];
        }
        let Some((root, tree)) = block.best_tree() else {
            block.pace.ask_at = None;
            return Vec::new();
        };
        let held = tree.held();
        let missing = ShareSet::all(tree.class()).without(held);
        let sources: BTreeSet<PkiId> = block.sources_of(root).collect();
        let others_too = block.pace.asked > 0;
        let view = view(&channel);
        let chooser = Chooser { salt: self.salt ^ u64::from(block.pace.asked), number };
        let inside = |peer: &PkiId| {
            let known = view.peers.iter().find(|known| known.id == *peer);
            known.is_some_and(|known| known.org == 0 || others_too)
        };
        let holders: BTreeSet<PkiId> =
            block.have.iter().copied().chain(tree.givers()).filter(inside).collect();
        let holders: Vec<PkiId> =
            holders.into_iter().filter(|peer| !sources.contains(peer)).collect();
        let chosen = chooser.relays(&self.blame, &holders, 0..HOLDERS.min(count(&holders)));
        let report = |wanted| ShareReport { channel: channel.clone(), number, root, held, wanted };
        let mut steps: Vec<Step> = Vec::new();
        for (part, to) in &chosen {
            let turn = |index: &u8| index % count_of(&chosen) == *part;
            let wanted: ShareSet = missing.iter().filter(turn).collect();
            steps.push(send(*to, Message::ShareReport(report(wanted))));
        }
        let asked = sources.iter().map(|to| send(*to, Message::ShareReport(report(missing))));
        steps.extend(asked);
        block.pace.asked(now);
        steps
    }

    /// Whether it is time to give out what was left to other sources.
    fn is_left(&self, now: Mono, key: &Key) -> bool {
        let issued = self.blocks.get(key).and_then(|block| block.issued.as_ref());
        issued.and_then(|issued| issued.left).is_some_and(|left| left.until <= now)
    }

    /// Judges who was silent with a block that we gave out.
    fn settle(&mut self, now: Mono, key: &Key) {
        let Some(issued) = self.blocks.get_mut(key).and_then(|block| block.issued.as_mut()) else {
            return;
        };
        if issued.judge_at.is_some_and(|at| at <= now) {
            issued.judge_at = None;
            issued.judge(&mut self.blame);
            let was_asked = issued.was_asked();
            self.blame.age(self.salt, key.1);
            self.ratio.learn(&self.config, was_asked);
        }
    }

    /// Forgets blocks that nobody asks about any more.
    fn retire(&mut self, now: Mono) {
        self.blocks.retain(|_, block| now < retire_at(block));
    }

    /// Forgets finished blocks but `spared`, the oldest first, until so many bytes more fit the budget; whether
    /// they do.
    pub(super) fn make_room(&mut self, bytes: usize, spared: &Key) -> bool {
        while self.bytes().saturating_add(bytes) > self.config.budget {
            let done = self.blocks.iter().filter_map(|(key, block)| match block.phase {
                Phase::Whole(since) if block.bytes() > 0 && key != spared => {
                    Some((since, key.clone()))
                }
                Phase::Whole(_) | Phase::Collecting | Phase::Decoding(_) => None,
            });
            let Some((_, key)) = done.min() else { return false };
            self.blocks.remove(&key);
        }
        true
    }
}

pub(super) fn upload(block: &mut BlockShares, parcels: Vec<Parcel>) -> Vec<Step> {
    let bytes: u64 = parcels.iter().map(|(_, share)| share.payload.len() as u64).sum();
    block.uploaded = block.uploaded.saturating_add(bytes);
    let to = |(to, share): Parcel| send(to, Message::Share(share));
    parcels.into_iter().map(to).collect()
}

fn retire_at(block: &BlockShares) -> Mono {
    match block.phase {
        Phase::Whole(since) => since.after(WHOLE_FOR),
        Phase::Collecting | Phase::Decoding(_) => block.since.after(COLLECT_FOR),
    }
}

pub(super) fn count(peers: &[PkiId]) -> u8 {
    u8::try_from(peers.len()).unwrap_or(u8::MAX)
}

fn count_of<T>(items: &[T]) -> u8 {
    u8::try_from(items.len()).unwrap_or(u8::MAX).max(1)
}

/// How often shares are asked for before the block has to come another way.
const ASKS: u8 = 3;

/// Holders asked at once, besides the sources.
const HOLDERS: u8 = 3;

/// How long a share waits for its header or its commitment.
const EARLY_FOR: Duration = Duration::from_secs(1);

/// How long shares of a block are kept for others once it is here.
const WHOLE_FOR: Duration = Duration::from_secs(3);

/// How long shares are collected.
const COLLECT_FOR: Duration = Duration::from_secs(30);
