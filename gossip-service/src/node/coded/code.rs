//! From a block's data to shares and back.
//!
//! The data is cut into as many pieces as the class needs, the last ones filled up with zeros, and these are
//! extended by a systematic Reed-Solomon code over GF(2^16). The same data always give the same shares,
//! whatever the processor.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use gossip_api::message::{Share, ShareClass, ShareDuty};
use gossip_api::{ChannelId, SeqNum, ShareRoot};

use super::tree::ShareTree;

/// A block's data in shares.
#[derive(Clone, Debug)]
pub struct Coded {
    class: ShareClass,
    data_len: u64,
    shares: Vec<Bytes>,
    tree: ShareTree,
}

impl Coded {
    /// Codes data. Takes a millisecond for a mebibyte: work for outside the loop.
    ///
    /// # Errors
    /// If there is no data.
    pub fn of(data: &Bytes) -> Result<Self, CodeError> {
        let data_len = data.len() as u64;
        if data_len == 0 {
            return Err(CodeError::Empty);
        }
        let class = ShareClass::of(data_len);
        let len = share_len(class, data_len)?;
        let mut shares: Vec<Bytes> =
            (0..class.needed()).map(|index| piece(data, usize::from(index) * len, len)).collect();
        let (needed, spare) = counts(class);
        let spare = reed_solomon_simd::encode(needed, spare, &shares)
            .map_err(|error| CodeError::Code(error.to_string()))?;
        shares.extend(spare.into_iter().map(Bytes::from));
        let tree = ShareTree::over(class, data_len, &shares);
        Ok(Self { class, data_len, shares, tree })
    }

    /// How it is coded.
    pub fn class(&self) -> ShareClass {
        self.class
    }

    /// Length of the data.
    pub fn data_len(&self) -> u64 {
        self.data_len
    }

    /// Root of the tree over the shares.
    pub fn root(&self) -> ShareRoot {
        self.tree.root()
    }

    /// Bytes of all shares.
    pub fn bytes(&self) -> usize {
        self.shares.len() * self.shares.first().map_or(0, Bytes::len)
    }

    /// One of the shares, ready to send; nothing for an index that the class does not have.
    pub fn share(
        &self,
        channel: &ChannelId,
        number: SeqNum,
        index: u8,
        duty: ShareDuty,
    ) -> Option<Share> {
        Some(Share {
            channel: channel.clone(),
            number,
            root: self.root(),
            class: self.class,
            data_len: self.data_len,
            index,
            duty,
            branch: self.tree.branch(index),
            payload: self.shares.get(usize::from(index))?.clone(),
        })
    }
}

/// Why shares give no data, or data no shares.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodeError {
    /// There is nothing to code.
    #[error("no data")]
    Empty,
    /// The class is not the one that data of this length have.
    #[error("data of {data_len} bytes are not coded in class {class:?}")]
    Class {
        /// What was claimed.
        class: ShareClass,
        /// Length of the data.
        data_len: u64,
    },
    /// Fewer shares than the class needs.
    #[error("{found} shares, {needed} are needed")]
    TooFew {
        /// Shares given, of different index.
        found: usize,
        /// Shares needed.
        needed: usize,
    },
    /// A share has another length than the class and the data give it.
    #[error("share {index} is {found} bytes long instead of {expected}")]
    ShareLength {
        /// Which.
        index: u8,
        /// Its length.
        found: usize,
        /// What it should be.
        expected: usize,
    },
    /// What lies behind the data is not zero: an honest source fills up with zeros.
    #[error("the shares hold more than the data")]
    Padding,
    /// The code refuses; the library's words.
    #[error("the code refuses: {0}")]
    Code(String),
}

/// The data that any `class.needed()` of the shares give. Takes a millisecond for a mebibyte: work for outside
/// the loop.
///
/// Whether it is the block's data is for the header to say.
///
/// # Errors
/// If the shares are too few, of a wrong length, or not those of data of this length.
pub fn decode(
    class: ShareClass,
    data_len: u64,
    shares: &BTreeMap<u8, Bytes>,
) -> Result<Bytes, CodeError> {
    if data_len == 0 || ShareClass::of(data_len) != class {
        return Err(CodeError::Class { class, data_len });
    }
    let expected = share_len(class, data_len)?;
    for (index, share) in shares {
        if share.len() != expected {
            return Err(CodeError::ShareLength { index: *index, found: share.len(), expected });
        }
    }
    let (needed, spare) = counts(class);
    let usable = shares.range(..class.shares()).take(needed);
    if usable.clone().count() < needed {
        return Err(CodeError::TooFew { found: usable.count(), needed });
    }
    let (own, other): (Vec<_>, Vec<_>) = usable.partition(|(index, _)| **index < class.needed());
    let restored = if other.is_empty() {
        BTreeMap::default()
    } else {
        let own = own.iter().map(|(index, share)| (usize::from(**index), *share));
        let other = other
            .iter()
            .map(|(index, share)| (usize::from(**index).saturating_sub(needed), *share));
        let restored = reed_solomon_simd::decode(needed, spare, own, other)
            .map_err(|error| CodeError::Code(error.to_string()))?;
        restored.into_iter().collect::<BTreeMap<usize, Vec<u8>>>()
    };
    let mut data = BytesMut::with_capacity(needed.saturating_mul(expected));
    for index in 0..class.needed() {
        match (shares.get(&index), restored.get(&usize::from(index))) {
            (_, Some(piece)) => data.extend_from_slice(piece),
            (Some(piece), None) => data.extend_from_slice(piece),
            (None, None) => return Err(CodeError::Code(format!("piece {index} not restored"))),
        }
    }
    let padding = data.split_off(usize::try_from(data_len).unwrap_or(usize::MAX).min(data.len()));
    if padding.iter().any(|byte| *byte != 0) {
        return Err(CodeError::Padding);
    }
    Ok(data.freeze())
}

/// Data pieces and spare ones.
fn counts(class: ShareClass) -> (usize, usize) {
    let needed = usize::from(class.needed());
    (needed, usize::from(class.shares()).saturating_sub(needed))
}

fn share_len(class: ShareClass, data_len: u64) -> Result<usize, CodeError> {
    usize::try_from(class.share_len(data_len)).map_err(|_| CodeError::Class { class, data_len })
}

/// `len` bytes of `data` from `at` on, as a slice where they are all there, filled up with zeros where not.
fn piece(data: &Bytes, at: usize, len: usize) -> Bytes {
    let (from, to) = (at.min(data.len()), at.saturating_add(len).min(data.len()));
    let held = data.slice(from..to);
    if held.len() == len {
        return held;
    }
    let mut filled = BytesMut::with_capacity(len);
    filled.extend_from_slice(&held);
    filled.resize(len, 0);
    filled.freeze()
}
