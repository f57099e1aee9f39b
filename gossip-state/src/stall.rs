//! Why a channel does not move, in words for people.

use std::fmt;
use std::time::Duration;

use gossip_api::{Height, SeqNum};

/// What a channel waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StalledReason {
    /// The ledger's height is not known yet.
    NotStarted,
    /// Orderers signed two blocks with one number.
    Halted {
        /// The number.
        number: SeqNum,
    },
    /// The ledger refuses the next block.
    LedgerFails {
        /// The next block.
        number: SeqNum,
        /// The ledger's words.
        reason: String,
        /// When it is tried again.
        retry_in: Duration,
    },
    /// The ledger has been at work on one commit for long.
    LedgerSlow {
        /// Last block of the commit.
        number: SeqNum,
        /// For how long.
        since: Duration,
    },
    /// Verification of the next block has been under way for long.
    Verifying {
        /// The next block.
        number: SeqNum,
    },
    /// Peers have it, but asking peers is switched off.
    FetchingOff {
        /// The block missing.
        number: SeqNum,
        /// The highest believable claim.
        claimed: Height,
    },
    /// Nobody who is connected claims to have the block.
    NoSource {
        /// The block missing.
        number: SeqNum,
    },
    /// Those who claim to have the block did not deliver it.
    SourcesFail {
        /// The block missing.
        number: SeqNum,
        /// How many claim to have it.
        claimants: usize,
    },
}

impl fmt::Display for StalledReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotStarted => write!(f, "waits for the ledger to tell its height"),
            Self::Halted { number } => write!(
                f,
                "stopped: orderers signed two different blocks {number}; an operator must decide"
            ),
            Self::LedgerFails { number, reason, retry_in } => write!(
                f,
                "the ledger refuses block {number} ({reason}); next attempt in {:.1} s",
                retry_in.as_secs_f64()
            ),
            Self::LedgerSlow { number, since } => write!(
                f,
                "the ledger has been committing up to block {number} for {:.1} s",
                since.as_secs_f64()
            ),
            Self::Verifying { number } => write!(f, "block {number} is still being verified"),
            Self::FetchingOff { number, claimed } => write!(
                f,
                "block {number} is missing, peers are at height {claimed}, and asking peers is \
                 switched off (peer.gossip.state.enabled); waits for the ordering service"
            ),
            Self::NoSource { number } => write!(
                f,
                "block {number} is missing and no connected peer claims to have it; waits for the \
                 ordering service"
            ),
            Self::SourcesFail { number, claimants } => write!(
                f,
                "block {number} is missing and none of the {claimants} peers that claim to have it \
                 delivered it yet"
            ),
        }
    }
}
