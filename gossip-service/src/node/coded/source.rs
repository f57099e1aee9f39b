//! What a source gives out of one block, and to whom.

use std::collections::{BTreeMap, BTreeSet};

use gossip_api::message::{Share, ShareDuty, ShareReport, ShareSet};
use gossip_api::{ChannelId, Mono, PkiId, SeqNum};

use super::choice::{Blame, Chooser};
use super::code::Coded;
use super::words::{CodedConfig, View};

/// The shares of a block that we are a source of.
#[derive(Debug)]
pub(super) struct Issued {
    coded: Coded,
    /// Shares that go to relays at most.
    most: u32,
    /// First share that we give out: another source of our organisation begins elsewhere.
    offset: u8,
    /// Who relays what.
    relays: BTreeMap<u8, PkiId>,
    /// Shares given to relays.
    out: ShareSet,
    /// What members said that they hold when they had enough, or asked.
    reports: BTreeMap<PkiId, ShareSet>,
    /// Who asked, and how often.
    askers: BTreeMap<PkiId, u8>,
    /// Most shares that an asker lacked.
    lacked: u32,
    /// Shares left to another source, until when, and how many sources there have to be by then.
    pub(super) left: Option<Left>,
    /// When it is judged who was silent.
    pub(super) judge_at: Option<Mono>,
}

/// What is left to other sources of our organisation, unless they are not there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Left {
    /// Shares.
    pub(super) count: u32,
    /// Sources that there should be, ourselves included.
    pub(super) sources: usize,
    /// How long they have for their commitments.
    pub(super) until: Mono,
}

/// A share for somebody.
pub(super) type Parcel = (PkiId, Share);

impl Issued {
    pub(super) fn new(coded: Coded, offset: u8, most: u32) -> Self {
        Self {
            coded,
            most,
            offset,
            relays: BTreeMap::new(),
            out: ShareSet::NONE,
            reports: BTreeMap::new(),
            askers: BTreeMap::new(),
            lacked: 0,
            left: None,
            judge_at: None,
        }
    }

    pub(super) fn coded(&self) -> &Coded {
        &self.coded
    }

    pub(super) fn bytes(&self) -> usize {
        self.coded.bytes()
    }

    /// The next `count` shares that are not out yet, each for a relay of its own as far as there are so many.
    pub(super) fn give_out(
        &mut self,
        channel: &ChannelId,
        chooser: Chooser,
        blame: &Blame,
        pool: &[PkiId],
        count: u32,
    ) -> Vec<Parcel> {
        let count = count.min(self.most.saturating_sub(self.out.len()));
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let shares: Vec<u8> = self.rest().take(count).collect();
        let chosen = chooser.relays(blame, pool, shares.into_iter());
        let mut parcels = Vec::with_capacity(chosen.len());
        for (index, relay) in chosen {
            if let Some(share) = self.coded.share(channel, chooser.number, index, ShareDuty::Relay)
            {
                self.out.insert(index);
                self.relays.insert(index, relay);
                parcels.push((relay, share));
            }
        }
        parcels
    }

    /// Shares that are not out, in the order in which they are to go.
    fn rest(&self) -> impl Iterator<Item = u8> + '_ {
        let all = self.coded.class().shares();
        let from = self.offset.min(all);
        (from..all).chain(0..from).filter(|index| !self.out.contains(*index))
    }

    /// Whether anybody had to ask.
    pub(super) fn was_asked(&self) -> bool {
        !self.askers.is_empty()
    }

    /// Somebody tells what it holds, and may want more.
    ///
    /// The first time that anybody lacks shares, more of those that were held back go out, through relays that
    /// the asker has shares of or that have reported themselves: everybody else will lack them too. Who asks
    /// again is answered itself.
    pub(super) fn on_report(
        &mut self,
        channel: &ChannelId,
        chooser: Chooser,
        from: PkiId,
        report: &ShareReport,
        blame: &Blame,
        pool: &BTreeSet<PkiId>,
    ) -> Vec<Parcel> {
        if self.reports.len() < REPORTS_MAX || self.reports.contains_key(&from) {
            self.reports.insert(from, report.held);
        }
        if report.wanted.is_empty() {
            return Vec::new();
        }
        let lacks = u32::from(self.coded.class().needed()).saturating_sub(report.held.len());
        if self.askers.len() >= REPORTS_MAX && !self.askers.contains_key(&from) {
            return Vec::new();
        }
        let times = self.askers.entry(from).or_default();
        *times = times.saturating_add(1);
        if *times > ASKS_MAX || lacks == 0 {
            return Vec::new();
        }
        if *times == 1 && lacks <= self.lacked {
            return Vec::new();
        }
        if *times == 1 && self.out.len() < self.most {
            let margin = if self.lacked == 0 { MARGIN } else { 0 };
            let more = lacks.saturating_sub(self.lacked).saturating_add(margin);
            self.lacked = lacks;
            let alive = self.proven(report.held, from, pool);
            return self.give_out(channel, chooser, blame, &alive, more);
        }
        let enough = usize::try_from(lacks).unwrap_or(usize::MAX).saturating_add(1);
        let wanted = report.wanted.without(report.held);
        let shares = wanted.iter().take(enough).filter_map(|index| {
            let share = self.coded.share(channel, chooser.number, index, ShareDuty::Keep)?;
            Some((from, share))
        });
        shares.collect()
    }

    /// Relays of which it is known that they work for this block.
    fn proven(&self, held: ShareSet, asker: PkiId, pool: &BTreeSet<PkiId>) -> Vec<PkiId> {
        let through = held.iter().filter_map(|index| self.relays.get(&index).copied());
        let known: BTreeSet<PkiId> =
            through.chain(self.reports.keys().copied()).chain([asker]).collect();
        known.intersection(pool).copied().collect()
    }

    /// Who was silent and who was not: a relay is silent if hardly anybody who told what it holds has the
    /// shares that it owed. What the relay says of itself does not count.
    pub(super) fn judge(&self, blame: &mut Blame) {
        let mut owed: BTreeMap<PkiId, Vec<u8>> = BTreeMap::new();
        for (index, relay) in &self.relays {
            owed.entry(*relay).or_default().push(*index);
        }
        for (relay, shares) in owed {
            let others = self.reports.iter().filter(|(peer, _)| **peer != relay);
            let others: Vec<ShareSet> = others.map(|(_, held)| *held).collect();
            if others.len() < REPORTS_MIN {
                continue;
            }
            let held = |index: u8| others.iter().filter(|held| held.contains(index)).count();
            if shares.iter().all(|index| held(*index).saturating_mul(RARE) < others.len()) {
                blame.silent(relay);
            } else {
                blame.served(&relay);
            }
        }
    }
}

/// How many shares a source gives out at first: grows when somebody had to ask for a reason that blame does
/// not mend, and falls only after many blocks for which nobody did.
#[derive(Clone, Debug)]
pub(super) struct Ratio {
    percent: u32,
    clean: u32,
}

impl Ratio {
    pub(super) fn new(config: &CodedConfig) -> Self {
        Self { percent: config.ratio_start, clean: 0 }
    }

    /// In hundredths of the shares needed.
    pub(super) fn percent(&self, config: &CodedConfig) -> u32 {
        self.percent.min(config.ratio_most)
    }

    /// Shares to give out at first.
    pub(super) fn first(&self, coded: &Coded, config: &CodedConfig) -> u32 {
        of_needed(coded, self.percent(config))
    }

    /// A block is over.
    pub(super) fn learn(&mut self, config: &CodedConfig, was_asked: bool) {
        if was_asked {
            self.clean = 0;
            self.percent = self.percent.max(config.ratio_start);
            return;
        }
        self.clean = self.clean.saturating_add(1);
        if self.clean >= CLEAN_BLOCKS {
            self.clean = 0;
            self.percent = self.percent.saturating_sub(RATIO_STEP).max(config.ratio_least);
        }
    }
}

/// So many hundredths of the shares needed; at least these, and no more than there are.
pub(super) fn of_needed(coded: &Coded, percent: u32) -> u32 {
    let needed = u32::from(coded.class().needed());
    let wanted = needed.saturating_mul(percent).div_ceil(100);
    wanted.clamp(needed, u32::from(coded.class().shares()))
}

/// Members that can be relays of a block, or use it: of our organisation, unless blocks may cross.
pub(super) fn pool(view: &View, config: &CodedConfig, number: SeqNum) -> Vec<PkiId> {
    let can_use =
        |height: u64| number.get() >= height && number.get().saturating_sub(height) < config.window;
    let may_have = |org: u32| org == 0 || config.cross_orgs;
    let peers = view.peers.iter().filter(|peer| may_have(peer.org) && can_use(peer.height.get()));
    peers.map(|peer| peer.id).collect()
}

/// Shares given out beyond those that the first asker lacks: others may lack more.
const MARGIN: u32 = 3;

/// Members whose reports are kept of one block.
const REPORTS_MAX: usize = 1024;

/// Reports that it takes to judge a relay.
const REPORTS_MIN: usize = 4;

/// A share is rare if fewer than one in so many has it.
const RARE: usize = 5;

/// Questions of one member about one block that are answered.
const ASKS_MAX: u8 = 6;

/// Blocks for which nobody asked before fewer shares are given out at first.
const CLEAN_BLOCKS: u32 = 50;

/// How many hundredths fewer.
const RATIO_STEP: u32 = 5;
