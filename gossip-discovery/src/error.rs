//! Why remote input was refused.

/// Why something that a peer sent was not used. The peer stays connected unless said otherwise.
///
/// Nothing here is an error of ours: the driver counts these, tests assert them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum DropReason {
    /// The sender is not connected (any more).
    NotConnected,
    /// A kind of message that is no business of membership.
    Misdelivered,
    /// A record that does not decode, or whose numbers contradict one another.
    Malformed,
    /// An answer that was not asked for, or not on this connection, or twice.
    Unsolicited,
    /// A request whose own entry is somebody else's.
    ForeignSelf,
    /// An epoch too far above the last one known: nobody restarts that often.
    EpochTooFar,
    /// Not newer than what is known.
    Stale,
    /// A signature, a fingerprint or a secret that does not belong to its record.
    Forged,
    /// A beat that is no link of its member's chain.
    ForgedBeat,
    /// A member whose organisation is not known.
    UnknownOrg,
    /// A question about a member that we do not know or may not tell the asker of.
    Undisclosed,
    /// A question that nobody is left to pass on to.
    NoRoute,
    /// More than the sender, or its organisation, may send in this time.
    TooMany,
    /// A bound on what is remembered is reached.
    Full,
    /// Two fingerprints with the same short form.
    ShortIdTaken,
}

impl DropReason {
    /// The reason as counters carry it.
    pub const fn label(self) -> &'static str {
        match self {
            Self::NotConnected => "not_connected",
            Self::Misdelivered => "misdelivered",
            Self::Malformed => "malformed",
            Self::Unsolicited => "unsolicited",
            Self::ForeignSelf => "foreign_self",
            Self::EpochTooFar => "epoch_too_far",
            Self::Stale => "stale",
            Self::Forged => "forged",
            Self::ForgedBeat => "forged_beat",
            Self::UnknownOrg => "unknown_org",
            Self::Undisclosed => "undisclosed",
            Self::NoRoute => "no_route",
            Self::TooMany => "too_many",
            Self::Full => "full",
            Self::ShortIdTaken => "short_id_taken",
        }
    }
}
