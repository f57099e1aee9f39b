//! One round: every recorded block arrives once, and the follower dies again and again meanwhile.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::crash::Tally;
use super::damage::{self, Damage};
use super::dice::Dice;
use crate::demo::feed::Feed;
use crate::demo::interrupt::Interrupt;
use crate::demo::layout::{self, Place, Shared};
use crate::demo::peers::{Part, Peer};
use crate::demo::ports::Ports;
use crate::demo::run::CHANNEL;
use crate::demo::verdict::{self, Check};

/// A leader, a follower that is killed, and blocks.
pub(super) struct Round<'a> {
    leader: Peer,
    victim: Peer,
    feed: Feed,
    recorded: &'a Path,
    home: &'a Path,
    /// Greatest height that the victim stated, in any of its lives.
    acknowledged: u64,
    /// The same of the leader.
    leader_acknowledged: u64,
    /// Whether the victim's store was damaged in this round.
    is_hurt: bool,
    /// Height of its ledger at its last death, until its next life has said what it found.
    left: Option<u64>,
}

impl<'a> Round<'a> {
    /// Lays the peers out below `home`; nothing runs yet.
    pub(super) fn new(
        fixtures: &Path,
        recorded: &'a Path,
        home: &'a Path,
        ports: &mut Ports,
    ) -> Result<Self> {
        let source = home.join("source");
        layout::private_dir(&source)?;
        let shared = Shared { fixtures, source: &source };
        let first = Place::claim(home, (0, 1), ports)?;
        let second = Place::claim(home, (1, 1), ports)?;
        layout::lay_out(&first, &first, &shared)?;
        layout::lay_out(&second, &first, &shared)?;
        let feed = Feed::new(recorded, &source, BLOCK_EVERY)?;
        let leader = Peer::new(first, Part::Leader);
        let victim = Peer::new(second, Part::Victim);
        Ok(Self {
            leader,
            victim,
            feed,
            recorded,
            home,
            acknowledged: 0,
            leader_acknowledged: 0,
            is_hurt: false,
            left: None,
        })
    }

    /// Runs until every block has arrived at both; kills until `kills` are reached in all rounds.
    pub(super) fn run(
        mut self,
        program: &Path,
        interrupt: &Interrupt,
        kills: u64,
        (dice, tally): (&mut Dice, &mut Tally),
    ) -> Result<()> {
        self.leader.start(program)?;
        self.victim.start(program)?;
        let is_up = |peer: &Peer| peer.channel.is_some();
        self.watch(interrupt, tally, START_MAX, |round| {
            is_up(&round.leader) && is_up(&round.victim)
        })?;
        ensure!(is_up(&self.leader) && is_up(&self.victim), "the peers do not start");
        while tally.kills < kills && self.feed.fed() < self.feed.len() {
            let life = Duration::from_millis(dice.below(LIFE_MAX_MS));
            self.feed.advance(Instant::now())?;
            self.watch(interrupt, tally, life, |_| false)?;
            match dice.below(FATES) {
                0 => self.kill_leader(program, tally)?,
                fate @ 1.. => {
                    self.kill(program, life, tally)?;
                    if fate == 1 {
                        self.hurt(dice, tally)?;
                    }
                    self.victim.start(program)?;
                }
            }
        }
        let goal = u64::try_from(self.feed.len()).unwrap_or(u64::MAX).saturating_add(1);
        let patience = self.feed.takes() + SETTLE_MAX;
        self.watch(interrupt, tally, patience, |round| {
            round.leader.height() >= goal && round.victim.height() >= goal
        })?;
        self.finish(program, goal, tally)
    }

    /// Lets blocks arrive and listens to the peers for `time`, or until `done`.
    fn watch(
        &mut self,
        interrupt: &Interrupt,
        tally: &mut Tally,
        time: Duration,
        done: impl Fn(&Self) -> bool,
    ) -> Result<()> {
        let end = Instant::now() + time;
        while Instant::now() < end && !done(self) {
            if self.victim.channel.is_some() || self.feed.fed() > 0 {
                self.feed.advance(Instant::now())?;
            }
            self.leader.poll(CHANNEL)?;
            self.victim.poll(CHANNEL)?;
            self.note(tally);
            let rest = end.saturating_duration_since(Instant::now()).min(LOOK_EVERY);
            interrupt.rest(rest)?;
        }
        Ok(())
    }

    /// Remembers what the victim acknowledges, and compares what it opened with what it had left.
    fn note(&mut self, tally: &mut Tally) {
        self.leader_acknowledged = self.leader_acknowledged.max(self.leader.height());
        let Some(channel) = &self.victim.channel else { return };
        if let Some(left) = self.left.take() {
            let opened = channel.height.saturating_sub(channel.ways.total());
            tally.lost += self.acknowledged.saturating_sub(channel.height);
            tally.duplicated += left.saturating_sub(opened);
        }
        self.acknowledged = self.acknowledged.max(channel.height);
    }

    fn kill(&mut self, program: &Path, life: Duration, tally: &mut Tally) -> Result<()> {
        self.victim.kill()?;
        tally.kills += 1;
        let found = self.autopsy(program, &self.victim.place)?;
        tally.lost += self.acknowledged.saturating_sub(found.height);
        tally.damaged += u64::from(!(found.chain_ok && found.identical));
        println!(
            "kill {}: after {} ms, at block {}; acknowledged {}, on disk {}",
            tally.kills,
            life.as_millis(),
            self.feed.fed(),
            self.acknowledged,
            found.height
        );
        self.left = Some(found.height);
        Ok(())
    }

    /// The leader dies, and is back at once: nobody else takes blocks from the source here.
    fn kill_leader(&mut self, program: &Path, tally: &mut Tally) -> Result<()> {
        self.leader.kill()?;
        tally.kills += 1;
        tally.of_leaders += 1;
        let found = self.autopsy(program, &self.leader.place)?;
        tally.lost += self.leader_acknowledged.saturating_sub(found.height);
        tally.damaged += u64::from(!(found.chain_ok && found.identical));
        let (kills, acknowledged) = (tally.kills, self.leader_acknowledged);
        println!("kill {kills}: the leader; acknowledged {acknowledged}, on disk {}", found.height);
        self.leader.start(program)
    }

    /// Damages what the dead victim left. What it acknowledged may be gone from its disk now, and has to
    /// be there again at the end of the round.
    fn hurt(&mut self, dice: &mut Dice, tally: &mut Tally) -> Result<()> {
        let damage = damage::inflict(&self.victim.place.home.join("data"), dice)?;
        match damage {
            Damage::Torn => tally.torn += 1,
            Damage::Flipped => tally.flipped += 1,
        }
        println!("its store is damaged: {damage:?}");
        (self.acknowledged, self.left, self.is_hurt) = (0, None, true);
        Ok(())
    }

    /// Checks a copy of what a peer left, so that its next life finds the original untouched.
    fn autopsy(&self, program: &Path, place: &Place) -> Result<Check> {
        let copy = Place { home: self.home.join("autopsy"), ..place.clone() };
        if copy.home.exists() {
            fs::remove_dir_all(&copy.home)?;
        }
        layout::copy_private(&place.home, &copy.home)?;
        verdict::check(program, &Peer::new(copy, Part::Victim), CHANNEL, self.recorded)
    }

    /// Ends both in order and judges their ledgers.
    fn finish(mut self, program: &Path, goal: u64, tally: &mut Tally) -> Result<()> {
        for peer in [&mut self.leader, &mut self.victim] {
            let (name, height) = (peer.place.name.clone(), peer.height());
            ensure!(height >= goal, "{name} stands at height {height} of {goal}");
            peer.terminate();
            let ended = peer.wait(Instant::now() + STOP_MAX)?;
            ensure!(ended.is_some(), "{name} does not end");
            let check = verdict::check(program, peer, CHANNEL, self.recorded)?;
            let rebuilt = rebuilt(&peer.place.home.join("data"))
                .with_context(|| format!("cannot list the data of {name}"))?;
            let may_be_rebuilt = self.is_hurt && peer.part == Part::Victim;
            let is_rebuilt = !rebuilt.is_empty() && !may_be_rebuilt;
            tally.damaged += u64::from(!check.is_good() || is_rebuilt);
            tally.duplicated += check.height.saturating_sub(goal);
            tally.lost += goal.saturating_sub(check.height);
        }
        println!("round {}: {goal} blocks in both ledgers", tally.rounds);
        Ok(())
    }
}

/// Files that a store puts aside when it has to be rebuilt.
fn rebuilt(data: &Path) -> Result<Vec<PathBuf>> {
    let files: Vec<PathBuf> = fs::read_dir(data)?.map(|e| Ok(e?.path())).collect::<Result<_>>()?;
    Ok(files.into_iter().filter(|file| file.extension().is_some_and(|e| e == "damaged")).collect())
}

/// Of so many kills one meets the leader, and after one the victim's store is damaged.
const FATES: u64 = 6;

/// Time between two blocks.
const BLOCK_EVERY: Duration = Duration::from_millis(60);

/// A life ends within this, its start-up included.
const LIFE_MAX_MS: u64 = 1_000;
const LOOK_EVERY: Duration = Duration::from_millis(10);
const START_MAX: Duration = Duration::from_secs(30);
const SETTLE_MAX: Duration = Duration::from_secs(60);
const STOP_MAX: Duration = Duration::from_secs(10);
