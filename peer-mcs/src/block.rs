//! Blocks: taken apart, put together, and judged.

use std::borrow::Cow;

use bytes::Bytes;
use gossip_api::{Block, BlockCodec, BlockError, BlockHash, ChannelId, SeqNum};

use crate::channel::Channel;
use crate::fabric::block::{
    self as shapes, ChannelHeader, Envelope, Metadata, Payload, check_entries, entries,
};
use crate::fabric::wire::Malformed;
use crate::key::sha256_of;
use crate::policy::SignedData;

/// Fabric's serialized blocks, taken apart without copying.
#[derive(Clone, Copy, Debug, Default)]
pub struct FabricCodec;

impl BlockCodec for FabricCodec {
    fn split(&self, bytes: &Bytes) -> Result<Block, BlockError> {
        let block = shapes::Block::decode(bytes).map_err(undecodable)?;
        let header = block.header.ok_or(BlockError::HeaderMissing)?;
        Ok(Block {
            number: SeqNum::new(header.number),
            previous_hash: bytes.slice_ref(header.previous_hash),
            data_hash: bytes.slice_ref(header.data_hash),
            data: merged(bytes, &block.data),
            metadata: merged(bytes, &block.metadata),
        })
    }

    fn join(&self, block: &Block) -> Bytes {
        let header = shapes::BlockHeader {
            number: block.number.get(),
            previous_hash: &block.previous_hash,
            data_hash: &block.data_hash,
        };
        shapes::encode_block(&header, &block.data, &block.metadata).into()
    }

    fn is_config(&self, block: &Block) -> bool {
        config_of(block).is_some()
    }
}

/// The parts of a field that occurred several times, one behind the other, as protobuf merges messages.
fn merged(bytes: &Bytes, parts: &[&[u8]]) -> Bytes {
    match parts {
        [] => Bytes::new(),
        [one] => bytes.slice_ref(one),
        several => several.concat().into(),
    }
}

fn undecodable(error: Malformed) -> BlockError {
    BlockError::Decode(error.to_string())
}

/// Whether `block` continues the chain whose last header has hash `previous`.
///
/// # Errors
/// [`BlockError::PreviousHashMismatch`].
pub fn check_link(previous: &BlockHash, block: &Block) -> Result<(), BlockError> {
    if block.previous_hash == previous.as_bytes()[..] {
        Ok(())
    } else {
        Err(BlockError::PreviousHashMismatch(block.number))
    }
}

/// Whether `block` begins a chain.
pub(crate) fn check_link_to_nothing(block: &Block) -> Result<(), BlockError> {
    if block.previous_hash.is_empty() {
        Ok(())
    } else {
        Err(BlockError::PreviousHashMismatch(block.number))
    }
}

/// The channel named in the block's first transaction.
///
/// # Errors
/// [`BlockError::ChannelIdUnreadable`] if there is none, or it does not decode that far.
// fabric: protoutil/blockutils.go GetChannelIDFromBlock
pub fn channel_of(block: &Block) -> Result<String, BlockError> {
    let unreadable = |reason: &str| BlockError::ChannelIdUnreadable {
        number: block.number,
        reason: reason.to_owned(),
    };
    let first = entries(&block.data).next().ok_or_else(|| unreadable("block is empty"))?;
    let header = channel_header(first).map_err(|error| unreadable(error.0))?;
    let (header, _) = header.ok_or_else(|| unreadable("transaction has no header"))?;
    Ok(header.channel_id.to_owned())
}

/// The channel header of a transaction and its payload's data; nothing if it has no header.
fn channel_header(tx: &[u8]) -> Result<Option<(ChannelHeader<'_>, &[u8])>, Malformed> {
    let payload = Payload::decode(Envelope::decode(tx)?.payload)?;
    let Some(header) = payload.channel_header else { return Ok(None) };
    Ok(Some((ChannelHeader::decode(header)?, payload.data)))
}

/// Channel and configuration envelope of a block whose first transaction is a configuration.
///
/// An orderer puts a configuration alone into its block. Should one come in company, it still takes effect,
/// as in Fabric's committer; only the exemption from canonical form is for a lone one.
// fabric: protoutil/commonutils.go IsConfigBlock, core/committer/txvalidator/v20/validator.go validateTx
pub(crate) fn config_of(block: &Block) -> Option<(String, Bytes)> {
    let first = entries(&block.data).next()?;
    let (header, data) = channel_header(first).ok()??;
    (header.kind == ChannelHeader::CONFIG)
        .then(|| (header.channel_id.to_owned(), block.data.slice_ref(data)))
}

/// SHA-256 over the block's transactions.
// fabric: protoutil/blockutils.go ComputeBlockDataHash
pub fn data_hash(block: &Block) -> [u8; 32] {
    sha256_of(entries(&block.data))
}

/// Number of the config block in force, as the orderers signed it in the block's metadata.
///
/// # Errors
/// [`BlockError::MetadataMissing`] or [`BlockError::SignaturesMalformed`].
// fabric: protoutil/blockutils.go GetLastConfigIndexFromBlock
pub fn last_config(block: &Block) -> Result<SeqNum, BlockError> {
    let malformed = |error: Malformed| BlockError::SignaturesMalformed {
        number: block.number,
        reason: error.to_string(),
    };
    let signatures =
        entries(&block.metadata).next().ok_or(BlockError::MetadataMissing(block.number))?;
    let metadata = Metadata::decode(signatures, MAX_SIGNATURES).map_err(malformed)?;
    let index = shapes::last_config_index(metadata.value).map_err(malformed)?;
    Ok(SeqNum::new(index.unwrap_or(0)))
}

/// What must hold of a block whatever its channel's configuration: number, channel, metadata,
/// transactions, data hash, in Fabric's order.
// fabric: internal/peer/gossip/mcs.go VerifyBlock
pub(crate) fn check_content(
    channel: &ChannelId,
    claimed: SeqNum,
    block: &Block,
) -> Result<(), BlockError> {
    check_decodes(block)?;
    if block.number != claimed {
        return Err(BlockError::NumberMismatch { claimed, found: block.number });
    }
    let found = channel_of(block)?;
    if found != channel.as_str() {
        return Err(BlockError::ChannelIdMismatch { expected: channel.clone(), found });
    }
    check_has_metadata(block, 1)?;
    check_data(block)
}

/// Accepts `block` as number `number` of `channel`, under the configuration that `channel` is: for those
/// who embed nothing but the verification of blocks. See [`Mcs`](crate::Mcs) for a peer's whole trust.
///
/// # Errors
/// The first check that fails, in Fabric's order.
// fabric: internal/peer/gossip/mcs.go VerifyBlock
pub fn verify_block(channel: &Channel, number: SeqNum, block: &Block) -> Result<(), BlockError> {
    check_content(channel.id(), number, block)?;
    check_signatures(channel, block)
}

/// Data and metadata must decode before anything else is looked at, as when Fabric decodes the whole block.
pub(crate) fn check_decodes(block: &Block) -> Result<(), BlockError> {
    check_entries(&block.data).and_then(|()| check_entries(&block.metadata)).map_err(undecodable)
}

pub(crate) fn check_has_metadata(block: &Block, entries_min: usize) -> Result<(), BlockError> {
    if entries(&block.metadata).take(entries_min).count() < entries_min {
        return Err(BlockError::MetadataMissing(block.number));
    }
    Ok(())
}

/// Transactions are in their one canonical form, and hash to what the header says.
// fabric: protoutil/blockutils.go BlockDataHash
pub(crate) fn check_data(block: &Block) -> Result<(), BlockError> {
    check_transactions(block)?;
    if data_hash(block).as_slice() == block.data_hash {
        Ok(())
    } else {
        Err(BlockError::DataHashMismatch(block.number))
    }
}

/// The data hash is over the transactions without their lengths: only where each transaction has exactly
/// one encoding can its bytes not be cut elsewhere.
///
/// A single config transaction is exempt: there is nothing to cut.
// fabric: protoutil/blockutils.go VerifyTransactionsAreWellFormed
fn check_transactions(block: &Block) -> Result<(), BlockError> {
    let malformed = |index: usize, reason: &str| BlockError::TransactionsMalformed {
        number: block.number,
        index,
        reason: reason.to_owned(),
    };
    let mut transactions = entries(&block.data);
    if transactions.next().is_none() {
        return Err(malformed(0, "block is empty"));
    }
    if transactions.next().is_none() && config_of(block).is_some() {
        return Ok(());
    }
    for (index, tx) in entries(&block.data).enumerate() {
        let envelope = Envelope::decode(tx).map_err(|error| malformed(index, error.0))?;
        if envelope.payload.is_empty() {
            return Err(malformed(index, "no payload"));
        }
        if envelope.signature.is_empty() {
            return Err(malformed(index, "no signature"));
        }
        if !envelope.canonical {
            return Err(malformed(index, "not the canonical encoding"));
        }
    }
    Ok(())
}

/// The orderers' signatures satisfy the channel's policy of blocks.
// fabric: protoutil/blockutils.go BlockSignatureVerifier
pub(crate) fn check_signatures(channel: &Channel, block: &Block) -> Result<(), BlockError> {
    let unsatisfied = || BlockError::PolicyNotSatisfied {
        number: block.number,
        policy: format!("/Channel/{BLOCK_VALIDATION}"),
    };
    if channel.is_bft() && !channel.has_orderer_section {
        return Err(unsatisfied());
    }
    let header = block.header().to_asn1();
    let signatures =
        entries(&block.metadata).next().ok_or(BlockError::MetadataMissing(block.number))?;
    let fingerprint = sha256_of([&header[..], signatures]);
    if channel.verified.get(&fingerprint).is_some() {
        return Ok(());
    }
    let metadata = Metadata::decode(signatures, MAX_SIGNATURES).map_err(|error| {
        BlockError::SignaturesMalformed { number: block.number, reason: error.to_string() }
    })?;
    let signed = signed_data(channel, &metadata, &header).map_err(|error| {
        BlockError::SignatureHeaderMalformed { number: block.number, reason: error.to_string() }
    })?;
    let signers = channel.msps.signers(&signed);
    if !channel.policies.are_satisfied(BLOCK_VALIDATION, &channel.msps, &signers) {
        return Err(unsatisfied());
    }
    channel.verified.insert(fingerprint, ());
    Ok(())
}

/// What each signature of a block is over, and by whom. Unknown numbers of consenters are passed over.
fn signed_data<'a>(
    channel: &'a Channel,
    metadata: &Metadata<'a>,
    header: &[u8],
) -> Result<Vec<SignedData<'a>>, Malformed> {
    let mut signed = Vec::new();
    for signature in &metadata.signatures {
        let by_number = channel.is_bft()
            && signature.signature_header.is_empty()
            && !signature.identifier_header.is_empty();
        let (identity, signer_header) = if by_number {
            let number = shapes::identifier_header_id(signature.identifier_header)?;
            match channel.consenter_identities.get(&number) {
                Some(identity) if !identity.is_empty() => {
                    (identity.as_slice(), signature.identifier_header)
                }
                _ => continue,
            }
        } else {
            let header = signature.signature_header;
            (shapes::signature_header_creator(header)?, header)
        };
        signed.push(SignedData {
            identity: Cow::Borrowed(identity),
            message: Cow::Owned([metadata.value, signer_header, header].concat()),
            signature: signature.signature,
        });
    }
    Ok(signed)
}

/// Entries of a block's metadata in this version of Fabric.
pub(crate) const METADATA_ENTRIES: usize = 5;
/// Path, below the channel group, of the policy that a block's signatures must satisfy.
const BLOCK_VALIDATION: &str = "Orderer/BlockValidation";
/// Signatures looked at in one block. Quorums are counted in dozens; Fabric has no bound.
const MAX_SIGNATURES: usize = 1024;
