//! Which of two connections to one peer stays.
//!
//! Both ends must choose alike without asking each other, and neither may know of both connections at
//! the same time as the other. Of two connections between the same peers
//!
//! 1. the one whose two hellos state the greater epochs stays: a peer that was restarted has forgotten the other;
//! 2. else, if either side showed another certificate on the newer one, the newer stays: somebody has
//!    replaced what the older was made with;
//! 3. else, if the older is older than any dial can have been under way, the newer stays: whoever dialled
//!    has lost the older, for nobody dials a peer it is connected to;
//! 4. else the two were dialled at the same time: the one that the lower PKI-ID dialled stays;
//! 5. if one side dialled both, that side keeps the older, and the other side follows it.
//!
//! The one that gives way is retired: it sends nothing new, and ends when all that was sent on it, either
//! way, has arrived. So nothing is lost.

use std::cmp::Ordering;
use std::time::Duration;

use gossip_api::PkiId;

use crate::config::CommConfig;
use crate::hello::Greeting;

/// What a connection does with what waits for its peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Sends it.
    Active,
    /// Leaves it alone: another one is active.
    Standby,
    /// Is about to end.
    Retired,
}

/// Longest time between the ends of two dials that began at once, with room to spare.
pub(crate) fn dial_window(config: &CommConfig) -> Duration {
    (config.dial_timeout + config.hello_timeout) * 2
}

/// What both ends know alike of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts {
    epochs: u128,
    /// Of our TLS certificate and the other side's.
    certificates: [[u8; 32]; 2],
    by_us: bool,
}

impl Facts {
    /// Of a connection that `greeting` came over.
    pub(crate) fn of(greeting: &Greeting, by_us: bool) -> Self {
        let epochs = u128::from(greeting.epoch.get()) + u128::from(greeting.own_epoch.get());
        Self { epochs, certificates: [greeting.own_leaf, greeting.peer_leaf], by_us }
    }
}

/// What becomes of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The newer gives way.
    KeepOld,
    /// The older gives way.
    KeepNew,
    /// The other side decides; until then the newer is used and both are read.
    Defer,
}

/// Decides, of an older connection and a newer; `outdated` if both cannot have been dialled at once.
pub(crate) fn judge(
    own: PkiId,
    peer: PkiId,
    old: &Facts,
    fresh: &Facts,
    outdated: bool,
) -> Verdict {
    match fresh.epochs.cmp(&old.epochs) {
        Ordering::Greater => return Verdict::KeepNew,
        Ordering::Less => return Verdict::KeepOld,
        Ordering::Equal if fresh.certificates != old.certificates => return Verdict::KeepNew,
        Ordering::Equal => {}
    }
    match (old.by_us, fresh.by_us) {
        (true, true) => Verdict::KeepOld,
        (false, false) => Verdict::Defer,
        _ if outdated => Verdict::KeepNew,
        (_, by_us) if by_us == (own < peer) => Verdict::KeepNew,
        _ => Verdict::KeepOld,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAME: [[u8; 32]; 2] = [[1; 32], [2; 32]];

    #[test]
    fn both_ends_keep_the_same_connection() {
        let low = PkiId::from_bytes([1; 32]);
        let high = PkiId::from_bytes([2; 32]);
        for epochs in [(7, 7), (7, 8), (8, 7)] {
            // Whichever of the two connections each end sees first.
            let kept = [true, false].map(|low_dialled_first| {
                let (first, second) = if low_dialled_first { epochs } else { (epochs.1, epochs.0) };
                [(low, high), (high, low)].map(|(own, peer)| {
                    let old = Facts {
                        epochs: first,
                        certificates: SAME,
                        by_us: (own == low) == low_dialled_first,
                    };
                    let fresh = Facts {
                        epochs: second,
                        certificates: SAME,
                        by_us: (own == low) != low_dialled_first,
                    };
                    match judge(own, peer, &old, &fresh, false) {
                        Verdict::KeepOld => low_dialled_first,
                        Verdict::KeepNew => !low_dialled_first,
                        Verdict::Defer => panic!("two diallers"),
                    }
                })
            });
            let expected = epochs.0 >= epochs.1;
            assert_eq!(kept, [[expected; 2]; 2], "low's connection stays with epochs {epochs:?}");
        }
    }

    #[test]
    fn who_shows_a_new_certificate_is_believed_on_both_sides() {
        let low = PkiId::from_bytes([1; 32]);
        let high = PkiId::from_bytes([2; 32]);
        let old = Facts { epochs: 2, certificates: SAME, by_us: true };
        let fresh = Facts { epochs: 2, certificates: [[9; 32], [2; 32]], by_us: true };
        assert_eq!(judge(low, high, &old, &fresh, false), Verdict::KeepNew);
        let [old, fresh] = [old, fresh].map(|facts| {
            let [own, peer] = facts.certificates;
            Facts { certificates: [peer, own], by_us: false, ..facts }
        });
        assert_eq!(judge(high, low, &old, &fresh, false), Verdict::KeepNew);
    }

    #[test]
    fn an_old_connection_gives_way_to_a_fresh_dial() {
        let low = PkiId::from_bytes([1; 32]);
        let high = PkiId::from_bytes([2; 32]);
        let old = Facts { epochs: 1, certificates: SAME, by_us: true };
        let fresh = Facts { epochs: 1, certificates: SAME, by_us: false };
        assert_eq!(judge(low, high, &old, &fresh, true), Verdict::KeepNew);
        assert_eq!(judge(low, high, &old, &fresh, false), Verdict::KeepOld);
    }

    #[test]
    fn who_dialled_both_decides() {
        let low = PkiId::from_bytes([1; 32]);
        let high = PkiId::from_bytes([2; 32]);
        let ours = Facts { epochs: 1, certificates: SAME, by_us: true };
        let theirs = Facts { epochs: 1, certificates: SAME, by_us: false };
        assert_eq!(judge(low, high, &ours, &ours, true), Verdict::KeepOld);
        assert_eq!(judge(low, high, &theirs, &theirs, true), Verdict::Defer);
    }
}
