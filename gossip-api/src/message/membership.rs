//! Records, beats and the exchange of views.

use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

use super::SealedRecord;
use crate::bounded::{Blob, Bounded};
use crate::id::{Endpoint, Epoch, Nonce, PkiId};
use crate::identity::PeerIdentity;

/// What a member says of itself, signed by it when something changes, at each epoch, and when its chain of
/// beats is used up.
///
/// Of two records of one member the one with the greater (epoch, version) holds.
// fabric-differs: Fabric signs a fresh alive message every 5 s; see docs/adr/0004.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Who.
    pub pki_id: PkiId,
    /// Which life of the member.
    pub epoch: Epoch,
    /// Which record of this life, from 0.
    pub version: u32,
    /// Where other organisations may dial; nothing hides the member from them.
    pub endpoint: Option<Endpoint>,
    /// Commitment to the part told inside the organisation only; see [`Secret::commitment`].
    #[serde(with = "crate::words")]
    pub secret: [u8; 32],
    /// Opaque to the layer, at most 1 KiB.
    pub metadata: Blob<1024>,
    /// Beats of this record have the sequences from here on.
    pub first_beat: u64,
    /// How many beats the chain holds; at most [`Record::CHAIN_MAX`].
    pub chain_len: u32,
    /// Last link of the chain: `chain_len` steps from its seed.
    #[serde(with = "crate::words")]
    pub chain_end: [u8; 32],
}

impl Record {
    /// Longest chain: bounds the hashing that one beat can cost its receiver.
    pub const CHAIN_MAX: u32 = 4096;

    /// Whether `beat` is of this record's chain and newer than `known`, the newest beat's sequence and link.
    ///
    /// Costs one hash per beat skipped, at most [`Record::CHAIN_MAX`].
    pub fn accepts(&self, beat: &Beat, known: Option<(u64, &[u8; 32])>) -> bool {
        let in_chain = beat.epoch == self.epoch
            && beat.member == ShortId::of(&self.pki_id)
            && self.chain_len <= Self::CHAIN_MAX
            && beat.sequence >= self.first_beat
            && beat.sequence - self.first_beat < u64::from(self.chain_len);
        if !in_chain {
            return false;
        }
        let (steps, target) = match known {
            Some((sequence, _)) if beat.sequence <= sequence => return false,
            Some((sequence, link)) if sequence >= self.first_beat => {
                (beat.sequence - sequence, link)
            }
            _ => (beat.sequence - self.first_beat + 1, &self.chain_end),
        };
        let mut link = beat.preimage;
        for _ in 0..steps {
            link = chain_step(&link);
        }
        link == *target
    }
}

/// One step of a hash chain. Beat `first_beat + i` discloses the link from which `i + 1` steps lead to the
/// chain's end.
pub fn chain_step(link: &[u8; 32]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    hasher.update(b"fabric-gossip/1 beat\0");
    hasher.update(link);
    hasher.finalize().into()
}

/// The first eight bytes of a fingerprint: enough to name a member whose record is known.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ShortId([u8; 8]);

/// As one word: the same bytes on the wire as eight single ones.
impl Serialize for ShortId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::from_le_bytes(self.0))
    }
}

impl<'de> Deserialize<'de> for ShortId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        u64::deserialize(deserializer).map(|word| Self(word.to_le_bytes()))
    }
}

/// In the order of the bytes, compared as one number: this is done for every beat.
impl Ord for ShortId {
    fn cmp(&self, other: &Self) -> Ordering {
        u64::from_be_bytes(self.0).cmp(&u64::from_be_bytes(other.0))
    }
}

impl PartialOrd for ShortId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl ShortId {
    /// The short form of a fingerprint.
    pub fn of(pki_id: &PkiId) -> Self {
        let mut short = [0; 8];
        short.iter_mut().zip(pki_id.as_bytes()).for_each(|(to, from)| *to = *from);
        Self(short)
    }
}

impl fmt::Debug for ShortId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ShortId(")?;
        self.0.iter().take(4).try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(")")
    }
}

/// A proof that a member lived at sequence `sequence`: a link of its chain that nobody else can find.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beat {
    /// Whose.
    pub member: ShortId,
    /// In which life.
    pub epoch: Epoch,
    /// The how-manieth of that life, from 0.
    pub sequence: u64,
    /// The link.
    #[serde(with = "crate::words")]
    pub preimage: [u8; 32],
}

/// Beats, batched: one frame per neighbour and interval.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beats {
    /// At most 1,024 of them.
    pub beats: Bounded<Beat, 1024>,
}

/// What a member tells its own organisation only.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret {
    /// Where the organisation dials it.
    pub internal_endpoint: Endpoint,
    /// Random, so that the commitment does not give the endpoint away to who guesses it.
    #[serde(with = "crate::words")]
    pub salt: [u8; 32],
}

impl Secret {
    /// What the signed record holds in the secret's place: whoever has the record can check the secret,
    /// and a secret cannot be moved to another record.
    // fabric-differs: Fabric signs the secret by itself, so that an old one can be put beside a new alive message.
    pub fn commitment(&self, owner: &PkiId, epoch: Epoch) -> [u8; 32] {
        let mut hasher = Sha256::new();
        hasher.update(b"fabric-gossip/1 secret\0");
        hasher.update(self.salt);
        hasher.update(owner.as_bytes());
        hasher.update(epoch.get().to_le_bytes());
        hasher.update(self.internal_endpoint.as_str().as_bytes());
        hasher.finalize().into()
    }

    /// Whether the secret is the one that `record` commits to.
    pub fn belongs_to(&self, record: &Record) -> bool {
        self.commitment(&record.pki_id, record.epoch) == record.secret
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// A member as one peer tells another: its identity, its signed record, and what else may be told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberEntry {
    /// The identity under which the record verifies.
    pub identity: PeerIdentity,
    /// The signed record, as received from the member.
    pub record: SealedRecord,
    /// The part for the own organisation; left out for others.
    pub secret: Option<Secret>,
    /// The newest beat known.
    pub beat: Option<Box<Beat>>,
}

/// What the asker knows already, so that it is not told again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// Which member.
    pub member: ShortId,
    /// The epoch of its record.
    pub epoch: Epoch,
    /// The version of its record.
    pub version: u32,
    /// One past the newest beat known of it; 0 for none.
    pub sequence: u64,
}

/// Asks for members that the asker does not know, or not as well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MembershipRequest {
    /// Echoed in the answer; single use.
    pub nonce: Nonce,
    /// The asker itself.
    pub me: MemberEntry,
    /// What it knows, at most 1,024 members.
    pub known: Bounded<Known, 1024>,
}

/// A page of members the asker lacked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MembershipResponse {
    /// Of the request.
    pub nonce: Nonce,
    /// The answerer itself, members it believes alive, and those it heard of lately; at most 64.
    pub alive: Bounded<MemberEntry, 64>,
    /// Newer beats of members whose record the asker has, at most 1,024.
    pub beats: Bounded<Beat, 1024>,
    /// Whether there is more to ask for.
    pub more: bool,
}

/// One question of a [`Probe`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// Who is to prove that it lives.
    pub target: ShortId,
    /// What its signature must cover; random, single use.
    pub nonce: Nonce,
    /// How many more peers may pass the question on; 0 if only the receiver may answer.
    pub hops: u8,
}

/// Asks members for proofs of life: the receiver itself, or others through it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// At most 64 questions.
    pub asks: Bounded<Ask, 64>,
}

/// "I live": signed by the member itself over nonces that others drew, so that it can be neither made by
/// anybody else nor kept for later.
// fabric-differs: Fabric believes any newer alive message, whenever it was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProofOfLife {
    /// Who lives.
    pub pki_id: PkiId,
    /// In which life.
    pub epoch: Epoch,
    /// Its newest beat.
    pub sequence: u64,
    /// Every nonce that it answers, at most 64.
    pub nonces: Bounded<Nonce, 64>,
}
