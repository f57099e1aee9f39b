//! The live table.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write as _};

use super::peers::{Part, Peer};

/// Where the table is drawn: in place on a terminal, one after the other elsewhere.
pub(crate) struct Screen {
    live: bool,
    drawn: usize,
}

impl Screen {
    /// Standard output.
    pub(crate) fn new() -> Self {
        Self { live: io::stdout().is_terminal(), drawn: 0 }
    }

    /// Whether the table is redrawn in place.
    pub(crate) fn is_live(&self) -> bool {
        self.live
    }

    /// Says `sentence` above the table.
    pub(crate) fn say(&mut self, sentence: &str) {
        self.wipe();
        println!("{sentence}");
    }

    /// Draws `table`, over the last one on a terminal.
    pub(crate) fn draw(&mut self, table: &str) {
        self.wipe();
        print!("{table}");
        // A closed output is no reason to stop: the verdict is in the exit code.
        let _ = io::stdout().flush();
        self.drawn = table.lines().count();
    }

    fn wipe(&mut self) {
        if self.live && self.drawn > 0 {
            print!("\x1b[{}A\x1b[J", self.drawn);
        }
        self.drawn = 0;
    }
}

/// The table of all peers, below a line about the source.
pub(crate) fn table(peers: &[Peer], source: &str) -> String {
    let mut out = format!("source: {source}\n");
    let _ = writeln!(
        out,
        "{:<18}{:<10}{:>7}{:>8}{:>7}{:>10}{:>12}  state",
        "peer", "role", "height", "push", "pull", "catch-up", "neighbours"
    );
    for peer in peers {
        let _ = writeln!(out, "{}", row(peer));
    }
    out
}

fn row(peer: &Peer) -> String {
    let ways = peer.ways();
    let neighbours = peer.channel.as_ref().map_or(0, |channel| channel.neighbours);
    format!(
        "{:<18}{:<10}{:>7}{:>8}{:>7}{:>10}{:>12}  {}",
        peer.place.name,
        role(peer),
        peer.height(),
        ways.by_push,
        ways.by_pull,
        ways.by_catch_up,
        neighbours,
        state(peer)
    )
}

fn role(peer: &Peer) -> &'static str {
    let leads = peer.channel.as_ref().map(|channel| channel.leader);
    match leads.unwrap_or(peer.part == Part::Leader) {
        true => "leader",
        false => "follower",
    }
}

fn state(peer: &Peer) -> &str {
    let down = match peer.part {
        Part::Late => "not started yet",
        Part::Victim => "killed",
        Part::Newcomer => "not added yet",
        Part::Leader | Part::Follower | Part::Revoked | Part::Expiring => "down",
    };
    match (&peer.channel, peer.runs()) {
        (_, false) => down,
        (None, true) => "starting",
        (Some(channel), true) => channel.stalled_reason.as_deref().unwrap_or(""),
    }
}
