//! The message crypto service: identities, signatures and blocks, judged as a Fabric peer judges them.

use std::borrow::Cow;
use std::sync::Arc;

use gossip_api::{
    Block, BlockError, BlockHash, ChannelId, CryptoError, Expiration, MessageCryptoService,
    PeerIdentity, PkiId, SeqNum, Signature, Wall,
};

use crate::block::{
    METADATA_ENTRIES, check_content, check_data, check_decodes, check_has_metadata, check_link,
    check_signatures,
};
use crate::channel::Channel;
use crate::channels::Channels;
use crate::error::{Disbelief, IdentityError};
use crate::fabric::block::SerializedIdentity;
use crate::key::sha256_of;
use crate::msp::directory::LocalMsp;
use crate::msp::identity::Identity;
use crate::policy::SignedData;

/// Fabric's verdicts on Fabric's bytes, no more and no less.
///
/// The methods of [`MessageCryptoService`] are the contract with the gossip layer; the inherent ones give
/// the same verdicts with Fabric's own error classes.
#[derive(Debug)]
pub struct Mcs {
    local: Arc<LocalMsp>,
    channels: Arc<Channels>,
}

/// The last block that was verified: what the next one must continue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tip {
    /// Its number.
    pub number: SeqNum,
    /// Its header's hash.
    pub hash: BlockHash,
}

impl Tip {
    /// The tip that `block` is once it has been verified.
    pub fn of(block: &Block) -> Self {
        Self { number: block.number, hash: block.header().hash() }
    }
}

impl Mcs {
    /// A service for the peer whose MSP is `local`, trusting what `channels` hold at each moment.
    pub fn new(local: Arc<LocalMsp>, channels: Arc<Channels>) -> Self {
        Self { local, channels }
    }

    /// This peer's MSP.
    pub fn local(&self) -> &Arc<LocalMsp> {
        &self.local
    }

    /// The channels' trust.
    pub fn channels(&self) -> &Arc<Channels> {
        &self.channels
    }

    /// Whether `identity` is valid: in the local MSP if it is of our organisation, else in a channel's.
    ///
    /// # Errors
    /// [`Disbelief::Identity`].
    pub fn judge_identity(&self, identity: &PeerIdentity) -> Result<(), Disbelief> {
        self.validated(identity).map(drop).map_err(Disbelief::Identity)
    }

    /// As [`verify`](MessageCryptoService::verify), with Fabric's class of error.
    ///
    /// # Errors
    /// Why not.
    pub fn judge_signature(
        &self,
        identity: &PeerIdentity,
        signature: &[u8],
        message: &[u8],
    ) -> Result<(), Disbelief> {
        let (known, channel) = self.validated(identity)?;
        match channel {
            None => Ok(known.verify(message, signature)?),
            Some(channel) => judge_reader(&channel, identity, signature, message),
        }
    }

    /// As [`verify_by_channel`](MessageCryptoService::verify_by_channel), with Fabric's class of error.
    ///
    /// # Errors
    /// Why not.
    pub fn judge_signature_by_channel(
        &self,
        channel: &ChannelId,
        identity: &PeerIdentity,
        signature: &[u8],
        message: &[u8],
    ) -> Result<(), Disbelief> {
        if identity.is_empty() {
            return Err(IdentityError::Empty.into());
        }
        let view = self.channels.current(channel);
        let view = view.ok_or_else(|| Disbelief::NoSuchChannel(channel.clone()))?;
        judge_reader(&view, identity, signature, message)
    }

    /// Accepts `block` as the one after `last`: number, previous hash, all metadata entries, transactions,
    /// data hash and signatures. The channel named in the transactions is not looked at.
    ///
    /// What a peer asks of blocks that come from an ordering service.
    ///
    /// # Errors
    /// The first check that fails, in Fabric's order.
    // fabric: common/deliverclient/block_verification.go VerifyBlock
    pub fn verify_successor(
        &self,
        channel: &ChannelId,
        last: &Tip,
        block: &Block,
    ) -> Result<(), BlockError> {
        self.check_successor(channel, last, block, check_data)
    }

    /// As [`verify_successor`](Self::verify_successor), for a block whose data is not at hand.
    ///
    /// # Errors
    /// The first check that fails, in Fabric's order.
    // fabric: common/deliverclient/block_verification.go VerifyBlockAttestation
    pub fn verify_attested_successor(
        &self,
        channel: &ChannelId,
        last: &Tip,
        block: &Block,
    ) -> Result<(), BlockError> {
        self.check_successor(channel, last, block, |_| Ok(()))
    }

    fn check_successor(
        &self,
        channel: &ChannelId,
        last: &Tip,
        block: &Block,
        check_data: impl Fn(&Block) -> Result<(), BlockError>,
    ) -> Result<(), BlockError> {
        check_decodes(block)?;
        let claimed = last.number.next();
        if block.number != claimed {
            return Err(BlockError::NumberMismatch { claimed, found: block.number });
        }
        check_link(&last.hash, block)?;
        check_has_metadata(block, METADATA_ENTRIES)?;
        check_data(block)?;
        self.check_signatures(channel, block)
    }

    fn check_signatures(&self, channel: &ChannelId, block: &Block) -> Result<(), BlockError> {
        match self.channels.for_block(channel, block.number) {
            Some(view) => check_signatures(&view, block),
            None => Err(BlockError::NoSuchChannel(channel.clone())),
        }
    }

    /// The identity, if it is valid, and the channel whose MSP says so; no channel for our own organisation.
    // fabric: internal/peer/gossip/mcs.go getValidatedIdentity
    fn validated(
        &self,
        identity: &PeerIdentity,
    ) -> Result<(Arc<Identity>, Option<Arc<Channel>>), IdentityError> {
        if identity.is_empty() {
            return Err(IdentityError::Empty);
        }
        let bytes = identity.as_bytes();
        SerializedIdentity::decode(bytes)
            .map_err(|error| IdentityError::Undecodable(error.to_string()))?;
        let mut last_error = match self.local.msp.deserialize(bytes) {
            Ok(known) => {
                known.well_formed.clone()?;
                return known.validated.clone().map(|()| (known, None));
            }
            Err(error) => error,
        };
        let judged = self.channels.find_map(|channel| match channel.msps.deserialize(bytes) {
            Ok(known) => match (&known.well_formed, &known.validated) {
                (Err(error), _) => Some(Err(error.clone())),
                (Ok(()), Ok(())) => Some(Ok((known, Some(channel.clone())))),
                (Ok(()), Err(error)) => {
                    last_error = error.clone();
                    None
                }
            },
            Err(error) => {
                last_error = error;
                None
            }
        });
        judged.unwrap_or_else(|| {
            let reason = last_error;
            let is_final = matches!(reason, IdentityError::NoMsp(_));
            Err(if is_final { reason } else { IdentityError::NoMsp(reason.to_string()) })
        })
    }
}

/// Whether the channel's Readers policy accepts the signature.
// fabric: internal/peer/gossip/mcs.go VerifyByChannel
fn judge_reader(
    channel: &Channel,
    identity: &PeerIdentity,
    signature: &[u8],
    message: &[u8],
) -> Result<(), Disbelief> {
    let identity = Cow::Borrowed(&identity.as_bytes()[..]);
    let signed = SignedData { identity, message: Cow::Borrowed(message), signature };
    let signers = channel.msps.signers(&[signed]);
    if channel.policies.are_satisfied(READERS, &channel.msps, &signers) {
        Ok(())
    } else {
        Err(Disbelief::PolicyNotSatisfied("/Channel/Application/Readers"))
    }
}

impl MessageCryptoService for Mcs {
    fn pki_id_of_cert(&self, identity: &PeerIdentity) -> Option<PkiId> {
        pki_id(identity)
    }

    fn verify_block(
        &self,
        channel: &ChannelId,
        number: SeqNum,
        block: &Block,
    ) -> Result<(), BlockError> {
        check_content(channel, number, block)?;
        self.check_signatures(channel, block)
    }

    fn verify_block_attestation(
        &self,
        channel: &ChannelId,
        block: &Block,
    ) -> Result<(), BlockError> {
        check_decodes(block)?;
        check_has_metadata(block, 1)?;
        self.check_signatures(channel, block)
    }

    fn verify_block_attestation_presently(
        &self,
        channel: &ChannelId,
        block: &Block,
    ) -> Result<(), BlockError> {
        check_decodes(block)?;
        check_has_metadata(block, 1)?;
        let current = self.channels.current(channel);
        let current = current.ok_or_else(|| BlockError::NoSuchChannel(channel.clone()))?;
        check_signatures(&current, block)
    }

    fn verify_attested_block(
        &self,
        channel: &ChannelId,
        number: SeqNum,
        block: &Block,
    ) -> Result<(), BlockError> {
        check_content(channel, number, block)
    }

    fn sign(&self, message: &[u8]) -> Result<Signature, CryptoError> {
        self.local.key.sign(message).map_err(CryptoError::Sign)
    }

    fn verify(
        &self,
        identity: &PeerIdentity,
        signature: &[u8],
        message: &[u8],
    ) -> Result<(), CryptoError> {
        self.judge_signature(identity, signature, message).map_err(CryptoError::from)
    }

    fn verify_by_channel(
        &self,
        channel: &ChannelId,
        identity: &PeerIdentity,
        signature: &[u8],
        message: &[u8],
    ) -> Result<(), CryptoError> {
        self.judge_signature_by_channel(channel, identity, signature, message)
            .map_err(CryptoError::from)
    }

    fn validate_identity(&self, identity: &PeerIdentity) -> Result<(), CryptoError> {
        self.judge_identity(identity).map_err(CryptoError::from)
    }

    fn expiration(&self, identity: &PeerIdentity) -> Result<Expiration, CryptoError> {
        let (known, _) = self.validated(identity).map_err(Disbelief::Identity)?;
        Ok(Expiration::At(Wall::from_unix_seconds(known.certificate.not_after)))
    }
}

/// The fingerprint of an identity: SHA-256 over MSP id and certificate bytes as received.
///
/// Nothing if it is empty or does not decode. Needs no MSP and no channel.
// fabric: internal/peer/gossip/mcs.go GetPKIidOfCert
pub fn pki_id(identity: &PeerIdentity) -> Option<PkiId> {
    if identity.is_empty() {
        return None;
    }
    let identity = SerializedIdentity::decode(identity.as_bytes()).ok()?;
    Some(PkiId::from_bytes(sha256_of([identity.mspid.as_bytes(), identity.id_bytes])))
}

/// Path, below the channel group, of the policy of who may read.
const READERS: &str = "Application/Readers";
