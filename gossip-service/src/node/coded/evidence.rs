//! What convicts a source, for anybody who knows the channel.
//!
//! A source signs a root for a header before it gives out shares. Two different roots for one header, or a
//! root whose shares are not the header's data, cannot come from an honest one. Evidence holds the signed
//! messages as received and what they are about; it is checked without believing who hands it on.
//!
//! ```text
//!   evidence = u8 form | frames, as on the wire
//!     form 1   commitment | commitment                      two roots for one header
//!     form 2   commitment | header | shares, as many as give the data
//! ```

use std::collections::BTreeMap;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use gossip_api::message::{HeaderMessage, Share, ShareCommitment, SignedMessage};
use gossip_api::{
    Block, BlockError, ChannelId, Envelope, IdentityMap, Message, MessageCryptoService, Mono,
    NetworkId, PkiId, SeqNum, Verified, VerifyError, WireError,
};

use super::code::decode;
use super::tree::branch_holds;

/// What convicts a source.
#[derive(Clone, Debug)]
pub enum Evidence {
    /// It signed two different codings of one block.
    TwoRoots {
        /// One commitment, as received.
        first: Envelope,
        /// The other.
        second: Envelope,
    },
    /// The shares of the root that it signed are not the block's data.
    Garbled {
        /// The commitment, as received.
        commitment: Envelope,
        /// Header and orderers' signatures; no data.
        header: Block,
        /// Shares of the root, as many as give the data.
        shares: Vec<Share>,
    },
}

/// What checking takes of the world.
#[derive(Clone, Copy)]
pub struct Court<'a> {
    /// Part of all that is signed.
    pub network: &'a NetworkId,
    /// Identities known; the source's among them.
    pub identities: &'a IdentityMap,
    /// Cryptography, with the configuration that the block is judged by.
    pub mcs: &'a dyn MessageCryptoService,
    /// The clock.
    pub now: Mono,
}

impl std::fmt::Debug for Court<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Court").field("network", self.network).finish_non_exhaustive()
    }
}

/// Why evidence convicts nobody.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Acquittal {
    /// The bytes are no evidence.
    #[error("no evidence: {0}")]
    Malformed(String),
    /// A frame does not decode.
    #[error("no evidence: {0}")]
    Wire(#[from] WireError),
    /// A commitment is not its source's.
    #[error("a commitment is not believed: {0}")]
    NotSigned(#[from] VerifyError),
    /// The two commitments do not contradict each other.
    #[error("the commitments do not contradict each other")]
    NoContradiction,
    /// The header is another one, or the orderers have not signed it.
    #[error("the header is not the one committed to: {0}")]
    Header(String),
    /// A share does not belong to the root, or there are too few.
    #[error("the shares prove nothing: {0}")]
    Shares(&'static str),
    /// The shares give the header's data.
    #[error("the shares give the block's data")]
    Honest,
    /// The data cannot be judged here.
    #[error("the data cannot be judged: {0}")]
    Undecided(BlockError),
}

impl Evidence {
    /// Whom it convicts.
    ///
    /// # Errors
    /// Why it convicts nobody.
    pub fn check(&self, court: &Court<'_>) -> Result<PkiId, Acquittal> {
        match self {
            Self::TwoRoots { first, second } => {
                let (first, second) = (court.believe(first)?, court.believe(second)?);
                if contradict(&first, &second) {
                    Ok(first.source)
                } else {
                    Err(Acquittal::NoContradiction)
                }
            }
            Self::Garbled { commitment, header, shares } => {
                let commitment = court.believe(commitment)?;
                court.judge_header(&commitment, header)?;
                court.judge_data(&commitment, header, shares)?;
                Ok(commitment.source)
            }
        }
    }

    /// Whom it accuses, unchecked; nothing if it is not about a source at all.
    pub fn accused(&self) -> Option<PkiId> {
        let (Self::TwoRoots { first: envelope, .. } | Self::Garbled { commitment: envelope, .. }) =
            self;
        read_commitment(envelope).ok().map(|(commitment, _)| commitment.source)
    }

    /// The channel and the number that it is about, unchecked.
    pub fn subject(&self) -> Option<(ChannelId, SeqNum)> {
        let (Self::TwoRoots { first: envelope, .. } | Self::Garbled { commitment: envelope, .. }) =
            self;
        let (commitment, _) = read_commitment(envelope).ok()?;
        Some((commitment.channel, commitment.number))
    }

    /// The bytes that a third party is given.
    ///
    /// # Errors
    /// If a part of it is larger than a frame may be.
    pub fn to_bytes(&self) -> Result<Bytes, WireError> {
        let mut out = BytesMut::new();
        match self {
            Self::TwoRoots { first, second } => {
                out.put_u8(TWO_ROOTS);
                first.encode_into(&mut out)?;
                second.encode_into(&mut out)?;
            }
            Self::Garbled { commitment, header, shares } => {
                out.put_u8(GARBLED);
                commitment.encode_into(&mut out)?;
                let share = shares.first().ok_or(WireError::Misplaced("no shares"))?;
                let (channel, data_len) = (share.channel.clone(), share.data_len);
                let block = Block { data: Bytes::new(), ..header.clone() };
                let header = HeaderMessage { channel, block, data_len };
                Envelope::unsigned(&Message::Header(header)).encode_into(&mut out)?;
                for share in shares {
                    Envelope::unsigned(&Message::Share(share.clone())).encode_into(&mut out)?;
                }
            }
        }
        Ok(out.freeze())
    }

    /// Reads what [`to_bytes`](Self::to_bytes) gave. Nothing is checked yet.
    ///
    /// # Errors
    /// If the bytes are no evidence.
    pub fn from_bytes(bytes: &Bytes) -> Result<Self, Acquittal> {
        let mut rest = bytes.clone();
        let form = rest.try_get_u8().map_err(|_| malformed("it is empty"))?;
        let commitment = frame(&mut rest)?;
        read_commitment(&commitment)?;
        match form {
            TWO_ROOTS => {
                let second = frame(&mut rest)?;
                read_commitment(&second)?;
                let end = rest.is_empty();
                end.then_some(Self::TwoRoots { first: commitment, second })
                    .ok_or_else(|| malformed("bytes behind it"))
            }
            GARBLED => {
                let Message::Header(HeaderMessage { block: header, .. }) =
                    frame(&mut rest)?.open()?.message
                else {
                    return Err(malformed("no header behind the commitment"));
                };
                let mut shares = Vec::new();
                while !rest.is_empty() {
                    let Message::Share(share) = frame(&mut rest)?.open()?.message else {
                        return Err(malformed("something else among the shares"));
                    };
                    if shares.len() >= SHARES_MAX {
                        return Err(malformed("too many shares"));
                    }
                    shares.push(share);
                }
                Ok(Self::Garbled { commitment, header, shares })
            }
            _ => Err(malformed("of another form")),
        }
    }
}

impl Court<'_> {
    fn believe(&self, envelope: &Envelope) -> Result<ShareCommitment, Acquittal> {
        let (commitment, signed) = read_commitment(envelope)?;
        let Self { network, identities, mcs, now } = *self;
        Verified::signed(signed, Some(&commitment.channel), identities, network, mcs, now)?;
        Ok(commitment)
    }

    fn judge_header(&self, commitment: &ShareCommitment, header: &Block) -> Result<(), Acquittal> {
        if header.number != commitment.number || header.header().hash() != commitment.header_hash {
            return Err(Acquittal::Header("another header".into()));
        }
        self.mcs
            .verify_block_attestation(&commitment.channel, header)
            .map_err(|error| Acquittal::Header(error.to_string()))
    }

    /// Fails unless what the shares give is not the header's data.
    fn judge_data(
        &self,
        commitment: &ShareCommitment,
        header: &Block,
        shares: &[Share],
    ) -> Result<(), Acquittal> {
        let ShareCommitment { root, class, data_len, .. } = *commitment;
        let belongs = |share: &Share| {
            share.root == root && share.class == class && share.data_len == data_len
        };
        if !shares.iter().all(|share| belongs(share) && branch_holds(share)) {
            return Err(Acquittal::Shares("one belongs to another tree"));
        }
        let payloads: BTreeMap<u8, Bytes> =
            shares.iter().map(|share| (share.index, share.payload.clone())).collect();
        if payloads.len() < usize::from(class.needed()) {
            return Err(Acquittal::Shares("too few"));
        }
        // No honest source makes shares that give no data at all.
        let Ok(data) = decode(class, data_len, &payloads) else { return Ok(()) };
        let block = Block { data, ..header.clone() };
        match self.mcs.verify_block(&commitment.channel, commitment.number, &block) {
            Ok(()) => Err(Acquittal::Honest),
            Err(error) if is_datas_fault(&error) => Ok(()),
            Err(error) => Err(Acquittal::Undecided(error)),
        }
    }
}

/// Whether one source cannot have meant both.
pub(crate) fn contradict(first: &ShareCommitment, second: &ShareCommitment) -> bool {
    let subject = |of: &ShareCommitment| (of.channel.clone(), of.source, of.number, of.header_hash);
    let coding = |of: &ShareCommitment| (of.root, of.class, of.data_len);
    subject(first) == subject(second) && coding(first) != coding(second)
}

/// Whether a block whose header is attested was refused for its data, so that its source is to blame.
pub fn is_datas_fault(error: &BlockError) -> bool {
    match error {
        BlockError::DataHashMismatch(_)
        | BlockError::TransactionsMalformed { .. }
        | BlockError::ChannelIdUnreadable { .. }
        | BlockError::ChannelIdMismatch { .. }
        | BlockError::Decode(_) => true,
        BlockError::HeaderMissing
        | BlockError::NumberMismatch { .. }
        | BlockError::MetadataMissing(_)
        | BlockError::PreviousHashMismatch(_)
        | BlockError::NoSuchChannel(_)
        | BlockError::SignaturesMalformed { .. }
        | BlockError::SignatureHeaderMalformed { .. }
        | BlockError::PolicyNotSatisfied { .. } => false,
        // The enumeration may grow: what is not known convicts nobody.
        #[allow(clippy::wildcard_enum_match_arm, reason = "non-exhaustive")]
        _ => false,
    }
}

fn read_commitment(envelope: &Envelope) -> Result<(ShareCommitment, SignedMessage), Acquittal> {
    let signed = envelope.clone().open()?;
    let Message::ShareCommitment(commitment) = &signed.message else {
        return Err(malformed("no commitment at its beginning"));
    };
    Ok((commitment.clone(), signed))
}

fn frame(rest: &mut Bytes) -> Result<Envelope, Acquittal> {
    let length = rest.try_get_u32_le().map_err(|_| malformed("it ends early"))?;
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length > rest.len() {
        return Err(malformed("it ends early"));
    }
    Ok(Envelope::decode(&rest.split_to(length))?)
}

fn malformed(why: &str) -> Acquittal {
    Acquittal::Malformed(why.to_owned())
}

const TWO_ROOTS: u8 = 1;
const GARBLED: u8 = 2;

/// Shares that evidence holds at most; of the largest class.
const SHARES_MAX: usize = 128;
