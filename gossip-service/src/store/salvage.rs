//! Getting blocks out of a file that the database cannot read any more.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use bytes::Bytes;
use gossip_api::{BlockCodec, SeqNum};

use super::error::StoreError;
use super::record::{self, HEADER_LEN, MAGIC, SealKey};

/// Where whole records lie in a damaged file.
///
/// The database writes a value in one piece, so a record that no damage touched can be found without
/// it. Its seal proves that it is ours.
#[derive(Debug)]
pub(super) struct Salvage {
    file: File,
    found: BTreeMap<SeqNum, (u64, usize)>,
}

impl Salvage {
    /// Looks through the whole file.
    pub(super) fn scan(path: &Path, key: &SealKey) -> Result<Self, StoreError> {
        let mut file = File::open(path).map_err(StoreError::io(path))?;
        let mut found = BTreeMap::new();
        let mut offset = 0_u64;
        let mut buffer = Vec::new();
        loop {
            let is_end = fill(&mut file, &mut buffer).map_err(StoreError::io(path))?;
            let used = scan_buffer(&buffer, key, offset, is_end, &mut found);
            buffer.drain(..used);
            offset = offset.saturating_add(used as u64);
            if is_end {
                return Ok(Self { file, found });
            }
        }
    }

    /// The blocks of the longest chain from 0 on, in order, each in its serialized form.
    pub(super) fn chain(mut self, codec: &dyn BlockCodec) -> impl Iterator<Item = (SeqNum, Bytes)> {
        let mut next = SeqNum::default();
        let mut below = None;
        std::iter::from_fn(move || {
            let (offset, length) = *self.found.get(&next)?;
            let mut bytes = vec![0; length];
            self.file.seek(SeekFrom::Start(offset)).ok()?;
            self.file.read_exact(&mut bytes).ok()?;
            let bytes = Bytes::from(bytes);
            let block = codec.split(&bytes).ok()?;
            let links = below.is_none_or(|hash: gossip_api::BlockHash| {
                block.previous_hash.as_ref() == hash.as_bytes()
            });
            if block.number != next || !links {
                return None;
            }
            below = Some(codec.header_hash(&block));
            next = next.next();
            Some((block.number, bytes))
        })
    }
}

/// Reads on; tells whether the file is at its end.
fn fill(file: &mut File, buffer: &mut Vec<u8>) -> std::io::Result<bool> {
    let read = file.by_ref().take(CHUNK).read_to_end(buffer)?;
    Ok(read == 0)
}

/// Notes whole records in `buffer`; returns how much of it need not be looked at again.
fn scan_buffer(
    buffer: &[u8],
    key: &SealKey,
    offset: u64,
    is_end: bool,
    found: &mut BTreeMap<SeqNum, (u64, usize)>,
) -> usize {
    let mut at = 0;
    while let Some(candidate) = next_magic(buffer, at) {
        let rest = buffer.get(candidate..).unwrap_or_default();
        if let Some(record) = record::find(key, rest) {
            let start = offset.saturating_add(candidate as u64).saturating_add(HEADER_LEN as u64);
            found.insert(record.number, (start, record.block.len()));
            at = candidate.saturating_add(record.block.end);
        } else if !is_end && may_go_on(rest) {
            return candidate;
        } else {
            at = candidate.saturating_add(1);
        }
    }
    if is_end { buffer.len() } else { at.max(buffer.len().saturating_sub(MAGIC.len())) }
}

fn next_magic(buffer: &[u8], from: usize) -> Option<usize> {
    let rest = buffer.get(from..)?;
    let at = rest.windows(MAGIC.len()).position(|window| window == MAGIC)?;
    from.checked_add(at)
}

/// Whether a record may begin here whose end is not in the buffer.
fn may_go_on(bytes: &[u8]) -> bool {
    let Some(length) = bytes.get(16..).and_then(|rest| rest.first_chunk::<4>()) else {
        return true;
    };
    let needed = HEADER_LEN.saturating_add(u32::from_le_bytes(*length) as usize);
    needed > bytes.len() && needed <= RECORD_MAX
}

const CHUNK: u64 = 8 << 20;

/// A block has at most 100 MiB, Fabric's limit for a message; a length beyond this is damage.
const RECORD_MAX: usize = 128 << 20;
