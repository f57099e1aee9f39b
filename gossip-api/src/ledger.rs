//! Blocks: what they are, where they come from, where they go.

use std::fmt;
use std::pin::Pin;

use async_trait::async_trait;
use bytes::Bytes;
use futures_core::Stream;
use sha2::{Digest, Sha256};

use crate::error::{BlockError, LedgerError, SourceError};
use crate::id::{BlockHash, ChannelId, Height, SeqNum};

/// A block of Fabric's, its two large fields as received.
///
/// `data` and `metadata` are the serialized `BlockData` and `BlockMetadata` messages: a protobuf is
/// never encoded again, because it has no canonical form. Two blocks with the same header are the
/// same block even where their metadata differ: orderers sign in different sets.
#[derive(Clone, PartialEq, Eq)]
pub struct Block {
    /// Number in the header.
    pub number: SeqNum,
    /// Header hash of the block before, as received; empty in block 0.
    pub previous_hash: Bytes,
    /// SHA-256 over the concatenated transactions, as received.
    pub data_hash: Bytes,
    /// Serialized `common.BlockData`; empty in a block that carries header and signatures only.
    pub data: Bytes,
    /// Serialized `common.BlockMetadata`.
    pub metadata: Bytes,
}

impl Block {
    /// The block's header.
    pub fn header(&self) -> BlockHeader {
        BlockHeader {
            number: self.number,
            previous_hash: self.previous_hash.clone(),
            data_hash: self.data_hash.clone(),
        }
    }

    /// Bytes that the block holds: what budgets count.
    pub fn len(&self) -> usize {
        [&self.previous_hash, &self.data_hash, &self.data, &self.metadata]
            .iter()
            .fold(8, |sum, field| sum.saturating_add(field.len()))
    }

    /// Whether there is neither data nor metadata.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty() && self.metadata.is_empty()
    }
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Block({}, {} bytes)", self.number, self.len())
    }
}

/// What orderers sign: number, hash of the block before, hash of the data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockHeader {
    /// Number of the block.
    pub number: SeqNum,
    /// Header hash of the block before; empty in block 0.
    pub previous_hash: Bytes,
    /// SHA-256 over the concatenated transactions.
    pub data_hash: Bytes,
}

impl BlockHeader {
    /// The header's ASN.1 form: `SEQUENCE { INTEGER number, OCTET STRING previous_hash, OCTET STRING data_hash }`.
    // fabric: protoutil/blockutils.go BlockHeaderBytes
    pub fn to_asn1(&self) -> Vec<u8> {
        let mut number = self.number.get().to_be_bytes().to_vec();
        let zeros = number.iter().take(7).take_while(|byte| **byte == 0).count();
        number.drain(..zeros);
        if number.first().is_some_and(|first| *first >= 0x80) {
            number.insert(0, 0);
        }
        let mut contents = Vec::new();
        push_der(&mut contents, 0x02, &number);
        push_der(&mut contents, 0x04, &self.previous_hash);
        push_der(&mut contents, 0x04, &self.data_hash);
        let mut sequence = Vec::new();
        push_der(&mut sequence, 0x30, &contents);
        sequence
    }

    /// SHA-256 of [`to_asn1`](Self::to_asn1): the next block's `previous_hash`.
    // fabric: protoutil/blockutils.go BlockHeaderHash
    pub fn hash(&self) -> BlockHash {
        BlockHash::from_bytes(Sha256::digest(self.to_asn1()).into())
    }
}

/// Appends one definite-length DER element.
fn push_der(out: &mut Vec<u8>, tag: u8, contents: &[u8]) {
    out.push(tag);
    match u8::try_from(contents.len()) {
        Ok(short) if short < 0x80 => out.push(short),
        _ => {
            let length = contents.len().to_be_bytes();
            let significant: Vec<u8> = length.into_iter().skip_while(|byte| *byte == 0).collect();
            out.push(0x80 | u8::try_from(significant.len()).unwrap_or(8));
            out.extend(significant);
        }
    }
    out.extend_from_slice(contents);
}

/// Between Fabric's serialized blocks and [`Block`].
pub trait BlockCodec: Send + Sync {
    /// Takes a serialized `common.Block` apart; the fields are slices of `bytes`, not copies.
    ///
    /// # Errors
    /// [`BlockError::Decode`] or [`BlockError::HeaderMissing`].
    fn split(&self, bytes: &Bytes) -> Result<Block, BlockError>;

    /// The serialized `common.Block`: the inverse of [`split`](Self::split) for canonical bytes.
    fn join(&self, block: &Block) -> Bytes;

    /// Hash of the block's header.
    fn header_hash(&self, block: &Block) -> BlockHash {
        block.header().hash()
    }

    /// Whether the block carries a channel configuration.
    ///
    /// Such a block is committed before any later one is verified.
    fn is_config(&self, block: &Block) -> bool;
}

/// Where blocks of one channel are kept for good.
///
/// Callable concurrently. `commit` returns once the block is durable; after an error nothing of it is.
// fabric: gossip/state/state.go ledgerResources
#[async_trait]
pub trait Ledger: Send + Sync {
    /// Number of blocks held.
    ///
    /// # Errors
    /// If the storage cannot be read.
    async fn height(&self) -> Result<Height, LedgerError>;

    /// Appends consecutive blocks, all or none of them, durably.
    ///
    /// # Errors
    /// [`LedgerError::OutOfOrder`] unless the first one's number is the height and the others follow.
    async fn commit(&self, blocks: Vec<Block>) -> Result<Height, LedgerError>;

    /// One block, or nothing if the ledger is not that high.
    ///
    /// # Errors
    /// If the storage cannot be read, or what it holds is damaged.
    async fn block(&self, number: SeqNum) -> Result<Option<Block>, LedgerError>;

    /// Puts back a block that the ledger holds and cannot read any more, durably. One that it can read is left
    /// as it is.
    ///
    /// The block was verified; that it is the one which was there is for the ledger to see, where it can.
    ///
    /// # Errors
    /// [`LedgerError::CannotMend`] from a ledger that has no way to do that, which is the default; or if the
    /// block does not fit between its neighbours, or the storage fails.
    async fn mend(&self, block: Block) -> Result<(), LedgerError> {
        Err(LedgerError::CannotMend(block.number))
    }
}

/// Blocks as they come, in order, without gaps.
pub type BlockStream = Pin<Box<dyn Stream<Item = Result<Block, SourceError>> + Send>>;

/// Where the leader takes blocks from: an ordering service, or files.
// fabric: internal/pkg/peer/blocksprovider DeliverStreamer
#[async_trait]
pub trait BlockSource: Send + Sync {
    /// What to call the source in logs and status.
    fn name(&self) -> String;

    /// Opens a stream of the channel's blocks from `from` on, which waits at the tip.
    ///
    /// Dropping the stream ends it. The blocks are not verified.
    ///
    /// # Errors
    /// If the source cannot be opened now; the caller tries again.
    async fn blocks(&self, channel: &ChannelId, from: SeqNum) -> Result<BlockStream, SourceError>;

    /// The channel's newest block as the source knows it: header and signatures, its data may be left out.
    ///
    /// Tells a quiet channel from a leader that withholds blocks, so it does not wait for a block that is
    /// not there yet. Not verified either.
    ///
    /// # Errors
    /// If the source cannot be asked now, or holds no block of the channel.
    // fabric: internal/pkg/peer/blocksprovider/bft_header_receiver.go BFTHeaderReceiver
    async fn newest(&self, channel: &ChannelId) -> Result<Block, SourceError>;
}
