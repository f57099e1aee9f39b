//! The course of the demo: who starts, dies and comes late, and when.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use super::feed::Feed;
use super::interrupt::Interrupt;
use super::peers::{Part, Peer};
use super::table::{Screen, table};
use super::verdict::Events;

/// A network of peers while blocks spread through it.
pub(crate) struct Run<'a> {
    /// The executable of the peers.
    pub(crate) program: &'a Path,
    /// The peers, leaders first in each organisation.
    pub(crate) peers: Vec<Peer>,
    /// The blocks.
    pub(crate) feed: Feed,
    /// Where it is shown.
    pub(crate) screen: Screen,
    /// Whether the user has had enough.
    pub(crate) interrupt: &'a Interrupt,
}

/// What is still to be done to a peer, at how many blocks of the feed.
struct Turn {
    at: usize,
    part: Part,
    act: Act,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Act {
    Start,
    Kill,
}

impl Run<'_> {
    /// Runs until every peer has every block; an error names who does not get there.
    pub(crate) fn spread(&mut self) -> Result<Events> {
        let started = Instant::now();
        self.start_early_peers()?;
        let mut turns = self.turns();
        let deadline = Instant::now() + self.feed.takes() + SETTLE_MAX;
        while !(turns.is_empty() && self.is_complete()) {
            self.feed.advance(Instant::now())?;
            while let Some(turn) = turns.first().filter(|turn| turn.at <= self.feed.fed()) {
                self.take(turn)?;
                turns.remove(0);
            }
            self.watch()?;
            self.ensure_in_time(deadline)?;
        }
        self.show();
        self.stop()?;
        let count = |part| self.peers.iter().filter(|peer| peer.part == part).count();
        let (killed, late) = (count(Part::Victim), count(Part::Late));
        Ok(Events::recorded(killed, late, started.elapsed()))
    }

    /// Starts all peers but the late one and waits until they answer.
    fn start_early_peers(&mut self) -> Result<()> {
        for peer in self.peers.iter_mut().filter(|peer| peer.part != Part::Late) {
            peer.start(self.program)?;
        }
        let deadline = Instant::now() + START_MAX;
        while self.peers.iter().any(|peer| peer.runs() && peer.channel.is_none()) {
            self.watch()?;
            self.ensure_in_time(deadline)?;
        }
        self.screen.say("all peers but the late one are up");
        self.show();
        Ok(())
    }

    fn turns(&self) -> Vec<Turn> {
        let blocks = self.feed.len();
        let turn = |at, part, act| Turn { at, part, act };
        vec![
            turn(blocks / 3, Part::Late, Act::Start),
            turn(blocks / 2, Part::Victim, Act::Kill),
            turn(blocks / 2 + blocks / 8, Part::Victim, Act::Start),
        ]
    }

    fn take(&mut self, turn: &Turn) -> Result<()> {
        for peer in self.peers.iter_mut().filter(|peer| peer.part == turn.part) {
            match turn.act {
                Act::Start => peer.start(self.program)?,
                Act::Kill => peer.kill()?,
            }
            let what = match (turn.act, turn.part) {
                (Act::Kill, _) => "is killed with SIGKILL",
                (Act::Start, Part::Victim) => "is started again",
                (Act::Start, _) => "is started, late",
            };
            let sentence = format!("{} {what} at block {}", peer.place.name, self.feed.fed());
            self.screen.say(&sentence);
        }
        self.show();
        Ok(())
    }

    /// Looks at every peer, shows what it sees, and rests a moment.
    fn watch(&mut self) -> Result<()> {
        for peer in &mut self.peers {
            peer.poll(CHANNEL)?;
        }
        if self.screen.is_live() {
            self.show();
        }
        self.interrupt.rest(POLL_EVERY)
    }

    fn show(&mut self) {
        let source = format!("{} of {} blocks", self.feed.fed(), self.feed.len());
        let table = table(&self.peers, &source);
        self.screen.draw(&table);
    }

    fn is_complete(&self) -> bool {
        self.feed.fed() == self.feed.len() && self.laggards().is_empty()
    }

    /// Height of a ledger that has every block, the genesis block included.
    fn goal(&self) -> u64 {
        u64::try_from(self.feed.len()).unwrap_or(u64::MAX).saturating_add(1)
    }

    fn laggards(&self) -> Vec<&Peer> {
        let lags = |peer: &&Peer| peer.part != Part::Revoked && peer.height() < self.goal();
        self.peers.iter().filter(lags).collect()
    }

    fn ensure_in_time(&self, deadline: Instant) -> Result<()> {
        if Instant::now() < deadline {
            return Ok(());
        }
        let lags = |peer: &&Peer| {
            let reason =
                peer.channel.as_ref().and_then(|channel| channel.stalled_reason.as_deref());
            let reason = reason.unwrap_or("it gives no reason");
            let (name, height) = (&peer.place.name, peer.height());
            format!("{name} stands at height {height} of {}: {reason}", self.goal())
        };
        bail!("time is up; {}", self.laggards().iter().map(lags).collect::<Vec<_>>().join("; "))
    }

    /// Ends every peer in order; an error names the one that does not end.
    fn stop(&mut self) -> Result<()> {
        for peer in &self.peers {
            peer.terminate();
        }
        let deadline = Instant::now() + STOP_MAX;
        for peer in &mut self.peers {
            let status = peer.wait(deadline)?;
            let name = &peer.place.name;
            ensure!(
                status.is_some(),
                "{name} did not end within {} s of SIGTERM",
                STOP_MAX.as_secs()
            );
        }
        Ok(())
    }
}

/// All peers are asked to end before the first is waited for.
impl Drop for Run<'_> {
    fn drop(&mut self) {
        self.peers.iter().for_each(Peer::terminate);
    }
}

/// The channel that the recorded blocks belong to.
pub(crate) const CHANNEL: &str = "trade";
const START_MAX: Duration = Duration::from_secs(30);
const SETTLE_MAX: Duration = Duration::from_secs(60);
const STOP_MAX: Duration = Duration::from_secs(10);
const POLL_EVERY: Duration = Duration::from_millis(200);
