//! Blocks that [`CheapCrypto`](super::CheapCrypto) accepts.
//!
//! ```text
//!   data     = channel length u32 LE | channel | 1 if configuration, else 0 | filler
//!   metadata = the authority's tag over channel and header | zeros
//! ```

use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use gossip_api::{Block, BlockCodec, BlockError, ChannelId, SeqNum};
use rand_core::Rng;
use sha2::{Digest, Sha256};

use super::Authority;
use crate::sim::rng::{mix, seeded};

/// Makes the blocks of one channel, one after the other.
#[derive(Debug)]
pub struct BlockFactory {
    authority: Arc<Authority>,
    channel: ChannelId,
    data_len: usize,
    next: SeqNum,
    previous_hash: Bytes,
}

impl BlockFactory {
    /// Begins the chain of a channel, with `data_len` bytes of data in each block (or a few more if that is
    /// less than the channel's name needs). Makes the channel known to the authority if it is not.
    pub fn new(authority: &Arc<Authority>, channel: ChannelId, data_len: usize) -> Self {
        authority.write().channels.entry(channel.clone()).or_default();
        Self {
            authority: Arc::clone(authority),
            channel,
            data_len,
            next: SeqNum::new(0),
            previous_hash: Bytes::new(),
        }
    }

    /// Changes how many bytes of data the blocks from here on have.
    pub fn set_data_len(&mut self, data_len: usize) {
        self.data_len = data_len;
    }

    /// The next block.
    pub fn next_block(&mut self) -> Block {
        self.make(false)
    }

    /// The next block, one that carries a configuration.
    pub fn next_config(&mut self) -> Block {
        self.make(true)
    }

    /// The next `count` blocks.
    pub fn chain(&mut self, count: usize) -> Vec<Block> {
        (0..count).map(|_| self.next_block()).collect()
    }

    fn make(&mut self, config: bool) -> Block {
        let data = self.data(config);
        let mut block = Block {
            number: self.next,
            previous_hash: self.previous_hash.clone(),
            data_hash: Bytes::copy_from_slice(&Sha256::digest(&data)),
            data,
            metadata: Bytes::new(),
        };
        let mut metadata = attestation(&self.authority, &self.channel, &block).to_vec();
        metadata.resize(METADATA_LEN, 0);
        block.metadata = metadata.into();
        self.previous_hash = Bytes::copy_from_slice(block.header().hash().as_bytes());
        self.next = self.next.next();
        block
    }

    fn data(&self, config: bool) -> Bytes {
        let name = self.channel.as_str().as_bytes();
        let mut data = BytesMut::with_capacity(self.data_len);
        data.put_u32_le(u32::try_from(name.len()).unwrap_or(u32::MAX));
        data.put_slice(name);
        data.put_u8(u8::from(config));
        let head = data.len();
        data.resize(self.data_len.max(head), 0);
        let seed = name.iter().fold(self.authority.seed, |seed, byte| mix(seed ^ u64::from(*byte)));
        if let Some(filler) = data.get_mut(head..) {
            seeded(seed, self.next.get()).fill_bytes(filler);
        }
        data.freeze()
    }
}

/// Whole blocks as bytes: number, and each field behind its length.
#[derive(Clone, Copy, Debug, Default)]
pub struct SimBlockCodec;

impl BlockCodec for SimBlockCodec {
    fn split(&self, bytes: &Bytes) -> Result<Block, BlockError> {
        let mut rest = bytes.clone();
        let number = rest.try_get_u64_le().map_err(|_| cut_short())?;
        let block = Block {
            number: SeqNum::new(number),
            previous_hash: field(&mut rest)?,
            data_hash: field(&mut rest)?,
            data: field(&mut rest)?,
            metadata: field(&mut rest)?,
        };
        if rest.is_empty() { Ok(block) } else { Err(BlockError::Decode("bytes behind it".into())) }
    }

    fn join(&self, block: &Block) -> Bytes {
        let mut bytes = BytesMut::with_capacity(block.len() + 16);
        bytes.put_u64_le(block.number.get());
        for field in [&block.previous_hash, &block.data_hash, &block.data, &block.metadata] {
            bytes.put_u32_le(u32::try_from(field.len()).unwrap_or(u32::MAX));
            bytes.put_slice(field);
        }
        bytes.freeze()
    }

    fn is_config(&self, block: &Block) -> bool {
        let mut rest = block.data.clone();
        field(&mut rest).is_ok() && rest.first() == Some(&1)
    }
}

/// Reads a length and as many bytes.
fn field(rest: &mut Bytes) -> Result<Bytes, BlockError> {
    let len = rest.try_get_u32_le().map_err(|_| cut_short())? as usize;
    if len > rest.len() {
        return Err(cut_short());
    }
    Ok(rest.split_to(len))
}

fn cut_short() -> BlockError {
    BlockError::Decode("ends early".into())
}

/// Whether the block says that it is of this channel.
pub(super) fn check_channel(channel: &ChannelId, block: &Block) -> Result<(), BlockError> {
    let number = block.number;
    let name = field(&mut block.data.clone()).map_err(|_| BlockError::ChannelIdUnreadable {
        number,
        reason: "the data does not begin with a name".into(),
    })?;
    if name == channel.as_str().as_bytes() {
        return Ok(());
    }
    let found = String::from_utf8_lossy(&name).into_owned();
    Err(BlockError::ChannelIdMismatch { expected: channel.clone(), found })
}

/// Whether the authority attested the header for this channel.
pub(super) fn check_attestation(
    authority: &Authority,
    channel: &ChannelId,
    block: &Block,
) -> Result<(), BlockError> {
    let number = block.number;
    if block.metadata.is_empty() {
        return Err(BlockError::MetadataMissing(number));
    }
    if block.metadata.starts_with(&attestation(authority, channel, block)) {
        return Ok(());
    }
    let policy = "/Channel/Orderer/BlockValidation".into();
    Err(BlockError::PolicyNotSatisfied { number, policy })
}

fn attestation(authority: &Authority, channel: &ChannelId, block: &Block) -> [u8; 32] {
    let header = block.header().to_asn1();
    authority.keyed("attest", &[channel.as_str().as_bytes(), &header])
}

/// Bytes of a block's metadata: what one orderer's signature with its certificate takes, more or less.
const METADATA_LEN: usize = 1024;
