//! Choosing peers at random.

use rand_core::Rng;

/// Up to `k` of `pool`, uniformly, without repetition, among those that `accept` takes.
// fabric: gossip/filter/filter.go SelectPeers
pub fn select_peers<T: Clone>(
    rng: &mut impl Rng,
    k: usize,
    pool: &[T],
    accept: impl Fn(&T) -> bool,
) -> Vec<T> {
    let mut accepted: Vec<&T> = pool.iter().filter(|peer| accept(peer)).collect();
    let mut chosen = Vec::with_capacity(k.min(accepted.len()));
    while chosen.len() < k && !accepted.is_empty() {
        let index = below(rng, accepted.len());
        chosen.push(accepted.swap_remove(index).clone());
    }
    chosen
}

/// A uniform number in `0..bound`; 0 for a bound of 0.
fn below(rng: &mut impl Rng, bound: usize) -> usize {
    let bound = bound.max(1) as u64;
    // Values of the incomplete last interval are drawn again, so that none is favoured.
    let limit = u64::MAX - u64::MAX % bound;
    loop {
        let drawn = rng.next_u64();
        if drawn < limit {
            return usize::try_from(drawn % bound).unwrap_or(0);
        }
    }
}
