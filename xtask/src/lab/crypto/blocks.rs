//! Blocks of any size, signed by the fixtures' orderers as genuine orderers sign.

use anyhow::Result;
use bytes::Bytes;
use gossip_api::{Block, BlockHash, ChannelId, SeqNum};
use peer_mcs::data_hash;

use super::signers::Signer;

/// How a block's signatures name who made them.
#[derive(Clone, Copy)]
pub(in crate::lab) enum Form {
    /// By the whole identity: one orderer of a crash-tolerant ordering service.
    Creator,
    /// By the consenter's number: a quorum of a Byzantine-tolerant one.
    Number,
}

/// What one orderer signed of a block.
pub(in crate::lab) struct Attestation {
    pub(in crate::lab) signed: Vec<u8>,
    pub(in crate::lab) signature: Bytes,
}

/// A chain's blocks: each another number, all the same data.
pub(in crate::lab) struct Chain<'a> {
    template: Block,
    form: Form,
    orderers: &'a [Signer],
    next: u64,
    is_linked: bool,
}

impl<'a> Chain<'a> {
    /// Blocks of `channel` with about `size` bytes of data in ten transactions, or in one if that is small.
    pub(in crate::lab) fn new(
        channel: &ChannelId,
        size: usize,
        form: Form,
        orderers: &'a [Signer],
    ) -> Self {
        let count = if size < 10 << 10 { 1 } else { 10 };
        let tx = transaction(channel, size / count);
        let mut template = Block {
            number: SeqNum::new(0),
            previous_hash: Bytes::from(vec![1; 32]),
            data_hash: Bytes::new(),
            data: message(1, &tx).repeat(count).into(),
            metadata: Bytes::new(),
        };
        template.data_hash = data_hash(&template).to_vec().into();
        Self { template, form, orderers, next: 1, is_linked: false }
    }

    /// Each block continues the one before, and the first one a block with hash `genesis`.
    pub(in crate::lab) fn linked(mut self, genesis: BlockHash) -> Self {
        self.template.previous_hash = Bytes::copy_from_slice(genesis.as_bytes());
        self.is_linked = true;
        self
    }

    /// Bytes of a block's data.
    pub(in crate::lab) fn data_len(&self) -> usize {
        self.template.data.len()
    }

    /// The next block, and what stands behind each of its signatures.
    pub(in crate::lab) fn seal(&mut self) -> Result<(Block, Vec<Attestation>)> {
        let mut block = self.template.clone();
        block.number = SeqNum::new(self.next);
        self.next += 1;
        if self.is_linked {
            let hash = block.header().hash();
            self.template.previous_hash = Bytes::copy_from_slice(hash.as_bytes());
        }
        let header = block.header().to_asn1();
        // OrdererBlockMetadata: the last config block is the genesis block.
        let value = message(1, &[]);
        let mut signatures = message(1, &value);
        let mut attestations = Vec::new();
        for (number, orderer) in (1..).zip(self.orderers) {
            let signer = self.signer_header(number, orderer);
            let signed = [&value[..], &signer, &header].concat();
            let signature = orderer.sign(&signed)?;
            signatures.extend(message(2, &self.metadata_signature(&signer, &signature)));
            attestations.push(Attestation { signed, signature });
        }
        // The signatures, and four more entries that a genuine block has.
        block.metadata = [message(1, &signatures), message(1, &[]).repeat(4)].concat().into();
        Ok((block, attestations))
    }

    fn signer_header(&self, number: u8, orderer: &Signer) -> Vec<u8> {
        let mut header = match self.form {
            Form::Creator => message(1, orderer.identity().as_bytes()),
            Form::Number => vec![1 << 3, number],
        };
        header.extend(message(2, &[7; 24]));
        header
    }

    fn metadata_signature(&self, signer: &[u8], signature: &[u8]) -> Vec<u8> {
        let (first, last) = (message(2, signature), message(3, signer));
        match self.form {
            Form::Creator => [message(1, signer), first].concat(),
            Form::Number => [first, last].concat(),
        }
    }
}

/// A transaction's envelope of about `size` bytes.
fn transaction(channel: &ChannelId, size: usize) -> Vec<u8> {
    const ENDORSER_TRANSACTION: u8 = 3;
    let channel_header =
        [vec![1 << 3, ENDORSER_TRANSACTION], message(4, channel.as_str().as_bytes())].concat();
    let header = message(1, &message(1, &channel_header));
    let payload = [header, message(2, &vec![0x5a; size.saturating_sub(128)])].concat();
    [message(1, &payload), message(2, &[0x30; 70])].concat()
}

/// A field of bytes or of a message, as protobuf writes it.
fn message(number: u8, value: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    let mut len = value.len();
    while len >= 0x80 {
        out.push(len as u8 | 0x80);
        len >>= 7;
    }
    out.push(len as u8);
    out.extend_from_slice(value);
    out
}
