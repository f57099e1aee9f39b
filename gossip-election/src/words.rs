//! What an election is told, what it asks for, and what peers tell each other.

use gossip_api::{BlockHash, Height, Mono, PkiId, SeqNum};

/// A fact for [`Election`](crate::Election).
#[derive(Clone, Debug)]
pub enum Input {
    /// Who of our organisation is in the channel and alive now, ourselves left out.
    Members {
        /// All of them.
        alive: Vec<PkiId>,
    },
    /// A claim came over the connection of the peer that makes it.
    Heard {
        /// Who claims.
        from: PkiId,
        /// What.
        claim: Claim,
    },
    /// How high our ledger is: what we can serve.
    Height {
        /// The height.
        height: Height,
    },
    /// How far blocks have arrived, committed or not.
    Arrived {
        /// One past the last of them that has no gap below it.
        height: Height,
    },
    /// How far our own source has delivered, while we lead: blocks that come by others do not count.
    ///
    /// Without it a leader whose ordering service is stuck would lead on, on what others fetch.
    Delivered {
        /// One past the last block of it.
        height: Height,
    },
    /// How high the chain is proved to be, by whatever verified header.
    ///
    /// Without it a peer far behind takes itself for as good as the others: their claims alone prove nothing.
    Proved {
        /// One past the newest header.
        height: Height,
    },
    /// The hash of a header whose number is a multiple of [`Election::BEACON_EVERY`](crate::Election::BEACON_EVERY).
    Beacon {
        /// The header's number.
        number: SeqNum,
        /// Its hash.
        hash: BlockHash,
    },
    /// The term kept on disk by the last life; told before anything else, if there is one.
    Term {
        /// The term.
        term: u64,
    },
    /// Our ordering service does not deliver: let another one lead.
    Yield,
    /// The peer is being stopped.
    Stop,
    /// Time has passed; also the first thing a new election is told.
    Tick,
}

/// What [`Election`](crate::Election) asks its parent to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Pull blocks from the ordering service.
    Lead {
        /// Why we lead now, in a few words.
        why: &'static str,
    },
    /// Do not pull.
    Follow {
        /// Why we do not lead any more, in a few words.
        why: &'static str,
    },
    /// Tell all live members of our organisation in the channel.
    Say(Claim),
    /// Keep the term on disk before anything that follows is carried out.
    Persist {
        /// The term.
        term: u64,
    },
    /// Fetch from the ordering service (or cease to) without leading: the leader withholds blocks.
    Fetch {
        /// Whether to.
        wanted: bool,
    },
    /// Ask the ordering service for its newest header and spread it: is the channel quiet, or the leader?
    Probe,
}

/// What a candidate says of itself, over its own connection: nobody can repeat it for another.
// fabric: gossip/message.proto LeadershipMessage
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// What it is about.
    pub kind: ClaimKind,
    /// Fences off former leaders; never a reason to win.
    pub term: u64,
    /// Height that the candidate can serve.
    pub height: Height,
}

/// Kinds of claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimKind {
    /// I would lead.
    Propose,
    /// I lead, for one more lease.
    Declare,
    /// I do not lead any more.
    Resign,
}

/// Who leads as far as we know, since when, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leadership {
    /// The leader, if one is known.
    pub leader: Option<PkiId>,
    /// Whether it is us.
    pub is_own: bool,
    /// The term.
    pub term: u64,
    /// Since when.
    pub since: Mono,
    /// Why, in a few words.
    pub why: &'static str,
}
