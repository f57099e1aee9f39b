//! What proves that orderers signed two blocks with one number, for whoever was not there.

use gossip_api::{Block, BlockError, BlockHash, ChannelId, SeqNum};

use crate::block::{check_decodes, check_has_metadata, check_signatures, last_config};
use crate::channel::Channel;
use crate::error::ChannelError;

/// Two headers with one number, both signed, and the configuration under which they were judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contradiction {
    /// The channel.
    pub channel: ChannelId,
    /// The number that both carry.
    pub number: SeqNum,
    /// Hashes of the two headers, in the order given.
    pub headers: [BlockHash; 2],
    /// Number of the config block that judged them.
    pub config: SeqNum,
    /// Hash of its header: who trusts the channel's chain finds the same one there.
    pub config_header: BlockHash,
}

/// Why what was given proves nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvidenceError {
    /// The config block cannot judge anything.
    #[error("the config block is not usable: {0}")]
    Config(#[from] ChannelError),
    /// The headers carry different numbers.
    #[error("the headers have numbers {0} and {1}: no contradiction")]
    Numbers(SeqNum, SeqNum),
    /// It is twice the same header: different sets of signatures are no contradiction.
    #[error("both are header {0}: no contradiction")]
    SameHeader(BlockHash),
    /// Another configuration was in force at that number.
    #[error("header {header} names config block {named}, not the given {given}")]
    OtherConfig {
        /// Which header.
        header: BlockHash,
        /// What the orderers signed as its configuration.
        named: SeqNum,
        /// The one given.
        given: SeqNum,
    },
    /// One of the headers is not signed as it would have to be.
    #[error("header {header} is not signed: {error}")]
    Unsigned {
        /// Which header.
        header: BlockHash,
        /// Why.
        error: BlockError,
    },
}

/// Checks evidence that a peer has exported: the config block, and the two headers with their signatures,
/// each as a block that may lack its data.
///
/// Nothing but the three blocks is believed. Whether the config block is the channel's own is for whoever has
/// its chain to say: [`Contradiction::config_header`] tells.
///
/// # Errors
/// Why they prove nothing.
pub fn check_contradiction(
    config: &Block,
    headers: [&Block; 2],
) -> Result<Contradiction, EvidenceError> {
    let channel = Channel::from_config_block(config)?;
    let [one, other] = headers;
    if one.number != other.number {
        return Err(EvidenceError::Numbers(one.number, other.number));
    }
    let hashes = headers.map(|header| header.header().hash());
    let [hash, other_hash] = hashes;
    if hash == other_hash {
        return Err(EvidenceError::SameHeader(hash));
    }
    for header in headers {
        check_signed(&channel, config.number, header)?;
    }
    Ok(Contradiction {
        channel: channel.id().clone(),
        number: one.number,
        headers: hashes,
        config: config.number,
        config_header: config.header().hash(),
    })
}

/// The header satisfies the policy, and its orderers signed that this is the configuration in force. A config
/// block names itself, and is judged by the one before.
fn check_signed(channel: &Channel, config: SeqNum, header: &Block) -> Result<(), EvidenceError> {
    let hash = header.header().hash();
    let unsigned = |error| EvidenceError::Unsigned { header: hash, error };
    check_decodes(header).map_err(unsigned)?;
    check_has_metadata(header, 1).map_err(unsigned)?;
    check_signatures(channel, header).map_err(unsigned)?;
    let named = last_config(header).map_err(unsigned)?;
    if named != config && named != header.number {
        return Err(EvidenceError::OtherConfig { header: hash, named, given: config });
    }
    Ok(())
}
