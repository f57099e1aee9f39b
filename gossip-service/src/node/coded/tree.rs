//! The tree over a block's shares, whose root a source signs.
//!
//! A full binary tree of SHA-256: each leaf is hashed with its place and with how the data is coded, so that
//! a share is good for one place in one coding only, and leaves and inner nodes have different domains.

use gossip_api::message::{Share, ShareClass};
use gossip_api::{Bounded, ShareRoot};
use sha2::{Digest, Sha256};

type Hash = [u8; 32];

/// The tree: every layer, leaves first, the root last.
#[derive(Clone, Debug)]
pub struct ShareTree {
    layers: Vec<Vec<Hash>>,
}

impl ShareTree {
    /// The tree over shares in their order; there are as many as the class says.
    pub fn over<P: AsRef<[u8]>>(class: ShareClass, data_len: u64, shares: &[P]) -> Self {
        let leaves = (0..class.shares()).zip(shares);
        let leaves: Vec<Hash> =
            leaves.map(|(index, share)| leaf(class, data_len, index, share.as_ref())).collect();
        let mut layers = vec![leaves];
        while let Some(above) = layers.last().filter(|layer| layer.len() > 1).map(|l| parents(l)) {
            layers.push(above);
        }
        Self { layers }
    }

    /// The root.
    pub fn root(&self) -> ShareRoot {
        let top = self.layers.last().and_then(|layer| layer.first());
        ShareRoot::from_bytes(top.copied().unwrap_or_default())
    }

    /// What proves the share at `index`: the hashes beside its way to the root.
    pub fn branch(&self, index: u8) -> Bounded<Hash, 7> {
        let inner = self.layers.iter().enumerate().take(self.layers.len().saturating_sub(1));
        let beside = |(depth, layer): (usize, &Vec<Hash>)| {
            layer.get((usize::from(index) >> depth) ^ 1).copied().unwrap_or_default()
        };
        Bounded::truncated(inner.map(beside))
    }
}

/// Whether the share belongs to the tree that it names, at the place that it names. A pure function of the
/// share: it says nothing of who signed that root.
pub fn branch_holds(share: &Share) -> bool {
    let Share { class, data_len, index, .. } = *share;
    let branch = share.branch.as_slice();
    if index >= class.shares() || branch.len() != class.branch_len() {
        return false;
    }
    let leaf = leaf(class, data_len, index, &share.payload);
    let top = branch.iter().enumerate().fold(leaf, |hash, (depth, beside)| {
        if index >> depth & 1 == 0 { parent(&hash, beside) } else { parent(beside, &hash) }
    });
    top == *share.root.as_bytes()
}

fn parents(layer: &[Hash]) -> Vec<Hash> {
    let pairs = layer.chunks_exact(2);
    pairs.filter_map(|pair| Some(parent(pair.first()?, pair.last()?))).collect()
}

fn leaf(class: ShareClass, data_len: u64, index: u8, payload: &[u8]) -> Hash {
    let mut hasher = Sha256::new();
    hasher.update(b"fabric-gossip/1 share\0");
    hasher.update([class.shares(), class.needed(), index]);
    hasher.update(data_len.to_le_bytes());
    hasher.update(payload);
    hasher.finalize().into()
}

fn parent(left: &Hash, right: &Hash) -> Hash {
    let mut hasher = Sha256::new();
    hasher.update(b"fabric-gossip/1 shares\0");
    hasher.update(left);
    hasher.update(right);
    hasher.finalize().into()
}
