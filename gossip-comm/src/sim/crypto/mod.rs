//! Cheap cryptography with the manners of the real one: for simulations, where a keyed hash will do.
//!
//! An [`Authority`] issues identities and knows the key of each; [`CheapCrypto`] is one peer's view of
//! it. Nobody without the authority can sign for another, issue an identity or attest a block, so that
//! forgeries fail here as they do there. It does not resist who reads its memory.

mod blocks;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;
use gossip_api::{
    Block, BlockError, ChannelId, CryptoError, Expiration, MessageCryptoService, OrgId,
    PeerIdentity, PkiId, SecurityAdvisor, SeqNum, Signature,
};
use sha2::{Digest, Sha256};

pub use blocks::{BlockFactory, SimBlockCodec};

/// Issues identities, attests blocks, and knows all keys.
#[derive(Debug)]
pub struct Authority {
    seed: u64,
    registry: RwLock<Registry>,
    signature_checks: AtomicU64,
    block_checks: AtomicU64,
}

#[derive(Debug, Default)]
struct Registry {
    revoked: BTreeSet<PkiId>,
    expirations: BTreeMap<PkiId, Expiration>,
    /// Members of each channel; with none, everybody.
    channels: BTreeMap<ChannelId, BTreeSet<OrgId>>,
}

impl Authority {
    /// An authority whose keys follow from `seed`.
    pub fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self {
            seed,
            registry: RwLock::default(),
            signature_checks: AtomicU64::new(0),
            block_checks: AtomicU64::new(0),
        })
    }

    /// The identity of peer `index` of an organisation: the same for the same arguments, about as long as
    /// a certificate.
    pub fn identity(&self, org: &OrgId, index: u32) -> PeerIdentity {
        self.renewed(org, index, 0)
    }

    /// Another certificate of the same peer, the `serial`-th.
    pub fn renewed(&self, org: &OrgId, index: u32, serial: u32) -> PeerIdentity {
        let mut subject = vec![u8::try_from(org.as_str().len()).unwrap_or(u8::MAX)];
        subject.extend(org.as_str().as_bytes());
        subject.extend(index.to_le_bytes());
        subject.extend(serial.to_le_bytes());
        let mut bytes = IDENTITY_MARK.to_vec();
        bytes.extend(self.keyed("issue", &[&subject]));
        bytes.extend(subject);
        bytes.resize(IDENTITY_LEN, 0);
        PeerIdentity::new(bytes).expect("IDENTITY_LEN is below the limit of identities")
    }

    /// The view of the peer with this identity.
    pub fn crypto(self: &Arc<Self>, identity: PeerIdentity) -> CheapCrypto {
        let pki_id = fingerprint(&identity).unwrap_or(PkiId::from_bytes([0; 32]));
        CheapCrypto { authority: Arc::clone(self), identity, pki_id, checks: AtomicU64::new(0) }
    }

    /// Makes a channel known. Its members are these organisations; with none, everybody.
    pub fn add_channel(&self, channel: &ChannelId, members: impl IntoIterator<Item = OrgId>) {
        self.write().channels.insert(channel.clone(), members.into_iter().collect());
    }

    /// Sets when an identity runs out. Unless this is called it never does.
    pub fn set_expiration(&self, identity: &PeerIdentity, expiration: Expiration) {
        if let Some(pki_id) = fingerprint(identity) {
            self.write().expirations.insert(pki_id, expiration);
        }
    }

    /// Makes an identity invalid from now on.
    pub fn revoke(&self, identity: &PeerIdentity) {
        self.write().revoked.extend(fingerprint(identity));
    }

    /// What [`Cluster::with_door`](crate::sim::Cluster::with_door) takes: lets in whose identity this
    /// authority issued and has not revoked.
    pub fn door(
        self: &Arc<Self>,
    ) -> impl Fn(usize, &PeerIdentity) -> Result<Expiration, CryptoError> + 'static {
        let authority = Arc::clone(self);
        move |_, identity| authority.expiration(identity)
    }

    /// When a valid identity runs out.
    fn expiration(&self, identity: &PeerIdentity) -> Result<Expiration, CryptoError> {
        self.subject(identity)?;
        let registry = self.read();
        let set = fingerprint(identity).and_then(|pki_id| registry.expirations.get(&pki_id));
        Ok(set.copied().unwrap_or(Expiration::Never))
    }

    /// Signatures checked by all peers.
    pub fn signature_checks(&self) -> u64 {
        self.signature_checks.load(Ordering::Relaxed)
    }

    /// Blocks and attestations checked by all peers.
    pub fn block_checks(&self) -> u64 {
        self.block_checks.load(Ordering::Relaxed)
    }

    /// The tag of an issued identity, which its key follows from.
    fn subject<'a>(&self, identity: &'a PeerIdentity) -> Result<Subject<'a>, CryptoError> {
        if identity.is_empty() {
            return Err(CryptoError::EmptyIdentity);
        }
        let subject = Subject::read(identity)
            .ok_or_else(|| CryptoError::MalformedIdentity("not of a simulation".into()))?;
        if self.keyed("issue", &[subject.bytes]) != *subject.tag {
            return Err(CryptoError::InvalidIdentity("issued by nobody known".into()));
        }
        let registry = self.read();
        if !registry.revoked.is_empty()
            && fingerprint(identity).is_some_and(|pki_id| registry.revoked.contains(&pki_id))
        {
            return Err(CryptoError::InvalidIdentity("revoked".into()));
        }
        Ok(subject)
    }

    /// A hash that only the authority can make; parts cannot be mistaken for one another.
    fn keyed(&self, purpose: &str, parts: &[&[u8]]) -> [u8; 32] {
        let mut hasher = Sha256::new();
        hasher.update(self.seed.to_le_bytes());
        for part in std::iter::once(&purpose.as_bytes()).chain(parts) {
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        hasher.finalize().into()
    }

    fn signature(&self, subject: &Subject<'_>, message: &[u8]) -> [u8; 64] {
        let first = self.keyed("sign", &[subject.tag, message]);
        let mut signature = [0; 64];
        // The second half has the form of a reduced scalar: its last byte is its highest, and zero.
        let halves = first.iter().chain(first.iter().take(31));
        signature.iter_mut().zip(halves).for_each(|(to, from)| *to = *from);
        signature
    }

    fn read(&self) -> RwLockReadGuard<'_, Registry> {
        self.registry.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Registry> {
        self.registry.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One peer's cryptography: signs with its own key, checks with everybody's.
pub struct CheapCrypto {
    authority: Arc<Authority>,
    identity: PeerIdentity,
    pki_id: PkiId,
    checks: AtomicU64,
}

impl CheapCrypto {
    /// The peer's identity.
    pub fn identity(&self) -> &PeerIdentity {
        &self.identity
    }

    /// Its fingerprint.
    pub fn pki_id(&self) -> PkiId {
        self.pki_id
    }

    /// Who issued it.
    pub fn authority(&self) -> &Arc<Authority> {
        &self.authority
    }

    /// Signatures that this peer checked.
    pub fn signature_checks(&self) -> u64 {
        self.checks.load(Ordering::Relaxed)
    }

    fn check(
        &self,
        subject: &Subject<'_>,
        signature: &[u8],
        message: &[u8],
    ) -> Result<(), CryptoError> {
        self.checks.fetch_add(1, Ordering::Relaxed);
        self.authority.signature_checks.fetch_add(1, Ordering::Relaxed);
        if self.authority.signature(subject, message) == signature {
            Ok(())
        } else {
            Err(CryptoError::BadSignature)
        }
    }
}

impl MessageCryptoService for CheapCrypto {
    fn pki_id_of_cert(&self, identity: &PeerIdentity) -> Option<PkiId> {
        Subject::read(identity)?;
        fingerprint(identity)
    }

    fn verify_block(
        &self,
        channel: &ChannelId,
        number: SeqNum,
        block: &Block,
    ) -> Result<(), BlockError> {
        self.verify_attested_block(channel, number, block)?;
        self.verify_block_attestation(channel, block)
    }

    fn verify_attested_block(
        &self,
        channel: &ChannelId,
        number: SeqNum,
        block: &Block,
    ) -> Result<(), BlockError> {
        if block.number != number {
            return Err(BlockError::NumberMismatch { claimed: number, found: block.number });
        }
        blocks::check_channel(channel, block)?;
        if block.metadata.is_empty() {
            return Err(BlockError::MetadataMissing(number));
        }
        if Sha256::digest(&block.data).as_slice() != block.data_hash {
            return Err(BlockError::DataHashMismatch(number));
        }
        Ok(())
    }

    fn verify_block_attestation(
        &self,
        channel: &ChannelId,
        block: &Block,
    ) -> Result<(), BlockError> {
        self.authority.block_checks.fetch_add(1, Ordering::Relaxed);
        if !self.authority.read().channels.contains_key(channel) {
            return Err(BlockError::NoSuchChannel(channel.clone()));
        }
        blocks::check_attestation(&self.authority, channel, block)
    }

    fn sign(&self, message: &[u8]) -> Result<Signature, CryptoError> {
        let subject = Subject::read(&self.identity)
            .ok_or_else(|| CryptoError::Sign("no identity of a simulation".into()))?;
        Ok(Bytes::copy_from_slice(&self.authority.signature(&subject, message)))
    }

    fn verify(
        &self,
        identity: &PeerIdentity,
        signature: &[u8],
        message: &[u8],
    ) -> Result<(), CryptoError> {
        let subject = self.authority.subject(identity)?;
        self.check(&subject, signature, message)
    }

    fn verify_by_channel(
        &self,
        channel: &ChannelId,
        identity: &PeerIdentity,
        signature: &[u8],
        message: &[u8],
    ) -> Result<(), CryptoError> {
        let subject = self.authority.subject(identity)?;
        {
            let registry = self.authority.read();
            let members = registry
                .channels
                .get(channel)
                .ok_or_else(|| CryptoError::NoSuchChannel(channel.clone()))?;
            if !members.is_empty() && !members.iter().any(|org| org.as_str() == subject.org) {
                return Err(CryptoError::PolicyNotSatisfied("Readers".into()));
            }
        }
        self.check(&subject, signature, message)
    }

    fn validate_identity(&self, identity: &PeerIdentity) -> Result<(), CryptoError> {
        self.authority.subject(identity).map(|_| ())
    }

    fn expiration(&self, identity: &PeerIdentity) -> Result<Expiration, CryptoError> {
        self.authority.expiration(identity)
    }
}

impl SecurityAdvisor for CheapCrypto {
    fn org_by_peer_identity(&self, identity: &PeerIdentity) -> Option<OrgId> {
        OrgId::new(Subject::read(identity)?.org).ok()
    }
}

impl fmt::Debug for CheapCrypto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CheapCrypto({:?})", self.pki_id)
    }
}

/// What an identity says.
struct Subject<'a> {
    tag: &'a [u8; 32],
    bytes: &'a [u8],
    org: &'a str,
}

impl<'a> Subject<'a> {
    fn read(identity: &'a PeerIdentity) -> Option<Self> {
        let rest = identity.as_bytes().strip_prefix(IDENTITY_MARK)?;
        let (tag, rest) = rest.split_first_chunk::<32>()?;
        let org_len = usize::from(*rest.first()?);
        let bytes = rest.get(..1 + org_len + 8)?;
        let org = std::str::from_utf8(bytes.get(1..=org_len)?).ok()?;
        let padding = rest.get(bytes.len()..)?;
        let whole = identity.as_bytes().len() == IDENTITY_LEN;
        (whole && padding.iter().all(|byte| *byte == 0)).then_some(Self { tag, bytes, org })
    }
}

fn fingerprint(identity: &PeerIdentity) -> Option<PkiId> {
    let bytes = identity.as_bytes();
    (!bytes.is_empty()).then(|| PkiId::from_bytes(Sha256::digest(bytes).into()))
}

const IDENTITY_MARK: &[u8] = b"simulated identity\n";

/// Bytes of every identity: what a PEM certificate of Fabric's with its MSP id has, more or less.
const IDENTITY_LEN: usize = 800;
