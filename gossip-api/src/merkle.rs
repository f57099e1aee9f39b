//! Lists that a 32-byte root stands for: any run of leaves can be shown to be in its place.
//!
//! ```text
//!   leaf = SHA-256(0x00 | bytes)      node = SHA-256(0x01 | left | right)
//!   the last node of a level with an odd number of them rises as it is
//! ```

use sha2::{Digest, Sha256};

/// A tree over a list of leaves, or as much of it as follows from a run of them.
#[derive(Clone, Debug)]
pub struct MerkleTree {
    /// How many leaves the list has.
    total: usize,
    /// From the leaves up to the root.
    levels: Vec<Level>,
}

/// The nodes of a level that are known.
#[derive(Clone, Debug)]
struct Level {
    start: usize,
    nodes: Vec<[u8; 32]>,
}

impl MerkleTree {
    /// Builds the tree; of no leaves, one whose root is zero.
    pub fn new<T: AsRef<[u8]>>(leaves: impl IntoIterator<Item = T>) -> Self {
        let leaves: Vec<[u8; 32]> = leaves.into_iter().map(|leaf| leaf_hash(&leaf)).collect();
        let total = leaves.len();
        let mut levels = Vec::new();
        climb(total, 0, leaves, &mut std::iter::empty(), &mut levels);
        Self { total, levels }
    }

    /// What follows of the tree from a run of leaves and its proof; nothing if the proof has a hash too many
    /// or too few. Whether it is the right tree its [`root`](Self::root) tells.
    pub fn of_run<T: AsRef<[u8]>>(
        total: usize,
        first: usize,
        leaves: impl IntoIterator<Item = T>,
        proof: &[[u8; 32]],
    ) -> Option<Self> {
        let leaves: Vec<[u8; 32]> = leaves.into_iter().map(|leaf| leaf_hash(&leaf)).collect();
        let end = first.checked_add(leaves.len())?;
        if leaves.is_empty() || end > total {
            return None;
        }
        let (mut levels, mut proof) = (Vec::new(), proof.iter());
        let is_whole = climb(total, first, leaves, &mut proof, &mut levels);
        (is_whole && proof.next().is_none()).then_some(Self { total, levels })
    }

    /// What stands for the whole list.
    pub fn root(&self) -> [u8; 32] {
        let top = self.levels.last().and_then(|level| level.nodes.first());
        top.copied().unwrap_or_default()
    }

    /// What shows that `len` leaves from `first` on are in the list: at most two hashes a level. Of a tree
    /// that follows from a run, only runs inside that run can be shown.
    pub fn prove(&self, first: usize, len: usize) -> Vec<[u8; 32]> {
        let (mut from, mut to, mut width) = (first, first.saturating_add(len), self.total);
        let mut proof = Vec::new();
        for level in &self.levels {
            if width <= 1 {
                break;
            }
            if from % 2 == 1 {
                proof.extend(from.checked_sub(1).and_then(|at| level.node(at)));
            }
            if to % 2 == 1 && to < width {
                proof.extend(level.node(to));
            }
            (from, to, width) = (from / 2, to.div_ceil(2), width.div_ceil(2));
        }
        proof
    }
}

impl Level {
    fn node(&self, at: usize) -> Option<[u8; 32]> {
        self.nodes.get(at.checked_sub(self.start)?).copied()
    }
}

/// Computes the levels above `level`, which begins at `from`; false if a hash beside it is missing.
fn climb<'a>(
    mut width: usize,
    mut from: usize,
    mut level: Vec<[u8; 32]>,
    beside: &mut impl Iterator<Item = &'a [u8; 32]>,
    levels: &mut Vec<Level>,
) -> bool {
    while width > 1 {
        let mut to = from.saturating_add(level.len());
        if from % 2 == 1 {
            let Some(left) = beside.next() else { return false };
            level.insert(0, *left);
            from = from.saturating_sub(1);
        }
        if to % 2 == 1 && to < width {
            let Some(right) = beside.next() else { return false };
            level.push(*right);
            to = to.saturating_add(1);
        }
        debug_assert_eq!(to.saturating_sub(from), level.len(), "a level has no holes");
        let above = level.chunks(2).map(|pair| match pair {
            [left, right] => node_hash(left, right),
            _ => pair.first().copied().unwrap_or_default(),
        });
        let above = above.collect();
        levels.push(Level { start: from, nodes: std::mem::replace(&mut level, above) });
        (from, width) = (from / 2, width.div_ceil(2));
    }
    levels.push(Level { start: from, nodes: level });
    true
}

fn leaf_hash(leaf: &impl AsRef<[u8]>) -> [u8; 32] {
    Sha256::new().chain_update([0]).chain_update(leaf.as_ref()).finalize().into()
}

fn node_hash(left: &[u8; 32], right: &[u8; 32]) -> [u8; 32] {
    Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
mod tests {
    use super::*;

    fn leaves(count: usize) -> Vec<[u8; 2]> {
        (0..count).map(|leaf| u16::try_from(leaf).unwrap().to_le_bytes()).collect()
    }

    /// Whether `leaves` stand from `first` on in the list of `total` leaves that `root` stands for.
    fn is_run_of<T: AsRef<[u8]>>(
        root: &[u8; 32],
        total: usize,
        first: usize,
        leaves: impl IntoIterator<Item = T>,
        proof: &[[u8; 32]],
    ) -> bool {
        MerkleTree::of_run(total, first, leaves, proof).is_some_and(|tree| tree.root() == *root)
    }

    #[test]
    fn every_run_of_every_list_is_shown_to_stand_in_its_place_and_nowhere_else() {
        for total in 1..=17 {
            let all = leaves(total);
            let tree = MerkleTree::new(&all);
            let root = tree.root();
            for first in 0..total {
                for len in 1..=total - first {
                    let run = &all[first..first + len];
                    let proof = tree.prove(first, len);
                    assert!(is_run_of(&root, total, first, run, &proof), "{first} {len} {total}");
                    assert!(!is_run_of(&root, total, first + 1, run, &proof));
                    let partial = MerkleTree::of_run(total, first, run, &proof).unwrap();
                    for inner in 0..len {
                        for inner_len in 1..=len - inner {
                            let at = first + inner;
                            assert_eq!(partial.prove(at, inner_len), tree.prove(at, inner_len));
                        }
                    }
                    let mut longer = proof.clone();
                    longer.push([0; 32]);
                    assert!(!is_run_of(&root, total, first, run, &longer));
                    if total > 1 && len < total {
                        assert!(!is_run_of(&root, total, first, run, &proof[1..]));
                    }
                    let mut other = run.to_vec();
                    other[0][1] ^= 1;
                    assert!(!is_run_of(&root, total, first, &other, &proof));
                }
            }
        }
    }

    #[test]
    fn nothing_is_shown_of_an_empty_run_or_one_that_reaches_beyond_the_end() {
        let all = leaves(5);
        let tree = MerkleTree::new(&all);
        assert!(!is_run_of(&tree.root(), 5, 0, leaves(0), &[]));
        assert!(!is_run_of(&tree.root(), 5, usize::MAX, &all, &[]));
        assert!(!is_run_of(&tree.root(), 4, 0, &all, &[]));
        assert_eq!(MerkleTree::new(leaves(0)).root(), [0; 32]);
    }
}
