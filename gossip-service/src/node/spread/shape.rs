//! The shape of a tree: how many each serves, how deep it gets, and who stands where.

use std::time::Duration;

/// Best fan-out for `members`, if a hop takes `hop` and each copy another `transfer` of the sender's uplink.
pub(crate) fn fan_out(members: usize, hop: Duration, transfer: Duration) -> usize {
    let widest = members.clamp(1, FAN_OUT_MAX);
    (1..=widest).min_by_key(|fan_out| time_of(members, *fan_out, hop, transfer)).unwrap_or(1)
}

/// How long the last of `members` waits.
pub(crate) fn time_of(
    members: usize,
    fan_out: usize,
    hop: Duration,
    transfer: Duration,
) -> Duration {
    let copies = u32::try_from(fan_out.min(members)).unwrap_or(u32::MAX);
    hop.saturating_add(transfer.saturating_mul(copies)).saturating_mul(depth(members, fan_out))
}

/// Hops to the last of `members`.
pub(crate) fn depth(members: usize, fan_out: usize) -> u32 {
    let (mut depth, mut reached, mut level) = (0, 0_usize, 1_usize);
    while reached < members && depth < DEPTH_MAX {
        level = level.saturating_mul(fan_out.max(1));
        reached = reached.saturating_add(level);
        depth += 1;
    }
    depth
}

/// Cuts a run of `len` members, of whom the `own`-th is who cuts, into runs for up to `fan_out` others: the
/// place in the run where each begins, and its length. One more if we stand in the midst of one.
pub(crate) fn cut(len: usize, own: Option<usize>, fan_out: usize) -> Vec<(usize, usize)> {
    let others = len.saturating_sub(usize::from(own.is_some()));
    let pieces = fan_out.min(others);
    let mut runs = Vec::with_capacity(pieces + 1);
    let mut at = 0;
    for piece in 0..pieces {
        if own == Some(at) {
            at += 1;
        }
        let size = others / pieces + usize::from(piece < others % pieces);
        match own {
            Some(own) if at < own && own < at + size => {
                runs.push((at, own - at));
                runs.push((own + 1, at + size - own));
                at += size + 1;
            }
            _ => {
                runs.push((at, size));
                at += size;
            }
        }
    }
    runs
}

/// How many copies the member at each place of a list uploads, if the first of each run serves it.
pub(crate) fn loads(members: usize, fan_out: usize) -> Vec<usize> {
    let mut loads = vec![0; members];
    let mut open = cut(members, None, fan_out);
    while let Some((at, len)) = open.pop() {
        let below = cut(len, Some(0), fan_out);
        if let Some(load) = loads.get_mut(at) {
            *load = below.len();
        }
        open.extend(below.into_iter().map(|(first, len)| (at + first, len)));
    }
    loads
}

/// Whatever a plan says, nobody serves more than this many.
pub(crate) const FAN_OUT_MAX: usize = 64;

/// A chain of more hops is no tree.
const DEPTH_MAX: u32 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn few_members_or_small_data_make_a_star_and_large_data_a_deep_tree() {
        assert_eq!(fan_out(1, ms(50), ms(1)), 1);
        assert_eq!(fan_out(9, ms(50), ms(1)), 9);
        assert_eq!(fan_out(50, ms(50), Duration::ZERO), 50);
        assert_eq!(fan_out(99, ms(50), ms(1)), 10);
        assert!(fan_out(99, ms(5), ms(80)) <= 4);
        assert_eq!((depth(99, 10), depth(999, 10), depth(9, 9), depth(0, 3)), (2, 3, 1, 0));
    }

    #[test]
    fn runs_cover_everybody_else_once() {
        for len in 0..40 {
            for own in (0..len).map(Some).chain([None]) {
                for fan_out in 1..12 {
                    let runs = cut(len, own, fan_out);
                    assert!(runs.len() <= fan_out + 1);
                    let covered: Vec<usize> =
                        runs.iter().flat_map(|(at, len)| *at..at + len).collect();
                    let others: Vec<usize> = (0..len).filter(|at| Some(*at) != own).collect();
                    assert_eq!(covered, others, "{len} {own:?} {fan_out}");
                }
            }
        }
    }

    #[test]
    fn loads_add_up_to_all_but_what_the_source_uploads() {
        for members in 0..130 {
            for fan_out in 1..12 {
                let loads = loads(members, fan_out);
                assert_eq!(loads.iter().sum::<usize>(), members - fan_out.min(members));
                assert!(loads.iter().all(|load| *load <= fan_out));
            }
        }
    }
}
