//! The form of a block on disk.
//!
//! ```text
//!   magic (8) | number (8, little-endian) | length (4, little-endian) | seal (32) | serialized block
//! ```
//!
//! The seal is SHA-256 over a key of the store, the number and the block. The database checks its pages
//! after a crash only; the seal finds a flipped bit at any time, and a record in another's place. It
//! is keyed because blocks contain what clients wrote: without the key nobody can write a transaction
//! that looks like a record when a damaged file is searched for records.

use std::ops::Range;

use bytes::Bytes;
use gossip_api::SeqNum;
use sha2::{Digest, Sha256};

/// The store's secret.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct SealKey([u8; KEY_LEN]);

impl SealKey {
    pub(super) const fn from_bytes(bytes: [u8; KEY_LEN]) -> Self {
        Self(bytes)
    }

    pub(super) const fn as_bytes(&self) -> &[u8; KEY_LEN] {
        &self.0
    }

    fn seal(&self, number: SeqNum, block: &[u8]) -> [u8; SEAL_LEN] {
        let mut hasher = Sha256::new();
        hasher.update(b"fabric-gossip/1 record\0");
        hasher.update(self.0);
        hasher.update(number.get().to_le_bytes());
        hasher.update((block.len() as u64).to_le_bytes());
        hasher.update(block);
        hasher.finalize().into()
    }
}

impl std::fmt::Debug for SealKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SealKey(..)")
    }
}

/// A record's beginning: everything in front of the block.
pub(super) fn header(key: &SealKey, number: SeqNum, block: &[u8]) -> Option<[u8; HEADER_LEN]> {
    let length = u32::try_from(block.len()).ok()?;
    let mut header = [0; HEADER_LEN];
    let (magic, rest) = header.split_at_mut(MAGIC.len());
    magic.copy_from_slice(MAGIC);
    let (in_number, rest) = rest.split_at_mut(8);
    in_number.copy_from_slice(&number.get().to_le_bytes());
    let (in_length, in_seal) = rest.split_at_mut(4);
    in_length.copy_from_slice(&length.to_le_bytes());
    in_seal.copy_from_slice(&key.seal(number, block));
    Some(header)
}

/// A record that was found whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) number: SeqNum,
    /// Where the block lies in the bytes looked at.
    pub(super) block: Range<usize>,
}

/// Looks for a whole record at the beginning of `bytes`, which may go on behind it.
pub(super) fn find(key: &SealKey, bytes: &[u8]) -> Option<Found> {
    let (magic, rest) = bytes.split_at_checked(MAGIC.len())?;
    if magic != MAGIC {
        return None;
    }
    let (number, rest) = rest.split_first_chunk::<8>()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (seal, rest) = rest.split_first_chunk::<SEAL_LEN>()?;
    let number = SeqNum::new(u64::from_le_bytes(*number));
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    let block = rest.get(..length)?;
    let is_whole = key.seal(number, block) == *seal;
    is_whole.then(|| Found { number, block: HEADER_LEN..HEADER_LEN.saturating_add(length) })
}

/// The block in a record that is to hold block `number` and nothing else.
pub(super) fn open(key: &SealKey, number: SeqNum, record: &Bytes) -> Option<Bytes> {
    let found = find(key, record)?;
    (found.number == number && found.block.end == record.len()).then(|| record.slice(found.block))
}

pub(super) const MAGIC: &[u8; 8] = b"\xf9gossblk";
pub(super) const HEADER_LEN: usize = 8 + 8 + 4 + SEAL_LEN;
pub(super) const KEY_LEN: usize = 32;
const SEAL_LEN: usize = 32;
