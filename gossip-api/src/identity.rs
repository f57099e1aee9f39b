//! Identities, and the map from fingerprints to them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::bounded::{Blob, TooLong};
use crate::config::{Checked, ConfigError};
use crate::criteria::{PeerIdentityInfo, PeerIdentitySet};
use crate::crypto::{Expiration, MessageCryptoService};
use crate::error::CryptoError;
use crate::id::{OrgId, PkiId};
use crate::machine::{Mono, Now};
use crate::security::SecurityAdvisor;

/// A serialized identity: Fabric's `msp.SerializedIdentity`, opaque to this layer, at most 16 KiB.
// fabric: gossip/api/crypto.go PeerIdentityType
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PeerIdentity(Blob<{ PeerIdentity::MAX_LEN }>);

impl PeerIdentity {
    /// Greatest length in bytes: a certificate chain of five fits.
    pub const MAX_LEN: usize = 16 << 10;

    /// Wraps a serialized identity. It is not looked into.
    ///
    /// # Errors
    /// If it is longer than [`Self::MAX_LEN`].
    pub fn new(bytes: impl Into<Bytes>) -> Result<Self, TooLong> {
        Blob::new(bytes).map(Self)
    }

    /// The serialized identity.
    pub fn as_bytes(&self) -> &Bytes {
        self.0.as_bytes()
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.as_bytes().is_empty()
    }
}

impl fmt::Debug for PeerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerIdentity({} bytes)", self.as_bytes().len())
    }
}

/// Bounds of an [`IdentityMap`].
#[derive(Clone, Debug)]
pub struct IdentityMapConfig {
    /// Identities kept in all, our own included. At 16 KiB each this bounds the map's memory.
    pub items_max: usize,
    /// Identities kept of one organisation.
    pub items_per_org_max: usize,
    /// An identity not used for this long is forgotten. Fabric: 1 h.
    pub unused_after: Duration,
}

impl Default for IdentityMapConfig {
    fn default() -> Self {
        Self { items_max: 4096, items_per_org_max: 1024, unused_after: Duration::from_secs(3600) }
    }
}

impl IdentityMapConfig {
    /// Rules out contradictions.
    ///
    /// # Errors
    /// If a bound is zero or an organisation may hold more than all together.
    pub fn checked(self) -> Result<Checked<Self>, ConfigError> {
        if self.items_per_org_max == 0 || self.items_max < self.items_per_org_max {
            return Err(ConfigError(format!(
                "items_per_org_max ({}) must be at least 1 and at most items_max ({})",
                self.items_per_org_max, self.items_max
            )));
        }
        Ok(Checked::assume(self))
    }
}

/// Fingerprint to identity: every identity in it was valid when it came in.
///
/// The one structure that transport and protocols share. Its methods are short and never block for long;
/// the cryptography happens before the lock is taken.
// fabric: gossip/identity/identity.go identityMapperImpl
#[derive(Debug)]
pub struct IdentityMap {
    own: PkiId,
    config: Checked<IdentityMapConfig>,
    held: RwLock<Held>,
}

/// The entries, and in which order they make room.
#[derive(Debug, Default)]
struct Held {
    entries: BTreeMap<PkiId, Entry>,
    /// By when they were last used.
    by_use: BTreeSet<(Mono, PkiId)>,
    /// The same of each organisation.
    by_org: BTreeMap<Option<OrgId>, BTreeSet<(Mono, PkiId)>>,
}

impl Held {
    fn insert(&mut self, pki_id: PkiId, entry: Entry) {
        self.remove(&pki_id);
        self.by_use.insert((entry.used, pki_id));
        self.by_org.entry(entry.org.clone()).or_default().insert((entry.used, pki_id));
        self.entries.insert(pki_id, entry);
    }

    fn remove(&mut self, pki_id: &PkiId) -> Option<Entry> {
        let entry = self.entries.remove(pki_id)?;
        let place = (entry.used, *pki_id);
        self.by_use.remove(&place);
        if let Some(of_org) = self.by_org.get_mut(&entry.org) {
            of_org.remove(&place);
            if of_org.is_empty() {
                self.by_org.remove(&entry.org);
            }
        }
        Some(entry)
    }

    /// The entry, used just now.
    fn used(&mut self, pki_id: &PkiId, now: Mono) -> Option<&Entry> {
        let entry = self.entries.get_mut(pki_id)?;
        let (before, after) = (entry.used, entry.used.max(now));
        if after > before {
            entry.used = after;
            self.by_use.remove(&(before, *pki_id));
            self.by_use.insert((after, *pki_id));
            if let Some(of_org) = self.by_org.get_mut(&entry.org) {
                of_org.remove(&(before, *pki_id));
                of_org.insert((after, *pki_id));
            }
        }
        self.entries.get(pki_id)
    }
}

#[derive(Clone, Debug)]
struct Entry {
    identity: PeerIdentity,
    org: Option<OrgId>,
    expiration: Expiration,
    used: Mono,
}

impl IdentityMap {
    /// A map that holds our own identity and will never lose it.
    ///
    /// # Errors
    /// If our own identity is not acceptable: the host is misconfigured.
    pub fn new(
        config: Checked<IdentityMapConfig>,
        own: &PeerIdentity,
        mcs: &dyn MessageCryptoService,
        advisor: &dyn SecurityAdvisor,
        now: Now,
    ) -> Result<Self, CryptoError> {
        let pki_id = mcs.pki_id_of_cert(own).ok_or(CryptoError::EmptyIdentity)?;
        let map = Self { own: pki_id, config, held: RwLock::default() };
        map.put(own, mcs, advisor, now)?;
        Ok(map)
    }

    /// Our own fingerprint.
    pub fn own(&self) -> PkiId {
        self.own
    }

    /// Validates `identity` and keeps it; one already held is not validated again.
    ///
    /// At a full map the least recently used entry that is not our own makes room.
    ///
    /// # Errors
    /// If the identity is empty, malformed, not valid or expired.
    // fabric: gossip/identity/identity.go Put
    pub fn put(
        &self,
        identity: &PeerIdentity,
        mcs: &dyn MessageCryptoService,
        advisor: &dyn SecurityAdvisor,
        now: Now,
    ) -> Result<PkiId, CryptoError> {
        if identity.is_empty() {
            return Err(CryptoError::EmptyIdentity);
        }
        let pki_id = mcs
            .pki_id_of_cert(identity)
            .ok_or_else(|| CryptoError::MalformedIdentity("has no fingerprint".into()))?;
        if let Some(entry) = self.write().used(&pki_id, now.mono) {
            return if entry.expiration.is_past(now.wall) {
                Err(CryptoError::Expired)
            } else {
                Ok(pki_id)
            };
        }
        let expiration = mcs.expiration(identity)?;
        if expiration.is_past(now.wall) {
            return Err(CryptoError::Expired);
        }
        mcs.validate_identity(identity)?;
        let org = advisor.org_by_peer_identity(identity);
        let entry = Entry { identity: identity.clone(), org, expiration, used: now.mono };
        self.insert(pki_id, entry);
        Ok(pki_id)
    }

    /// The identity behind a fingerprint; counts as use.
    pub fn get(&self, pki_id: &PkiId, now: Mono) -> Option<PeerIdentity> {
        self.write().used(pki_id, now).map(|entry| entry.identity.clone())
    }

    /// The organisation behind a fingerprint.
    pub fn org_of(&self, pki_id: &PkiId) -> Option<OrgId> {
        self.read().entries.get(pki_id).and_then(|entry| entry.org.clone())
    }

    /// Every identity held, our own included.
    // fabric: gossip/identity/identity.go IdentityInfo
    pub fn info(&self) -> PeerIdentitySet {
        let info = |(id, entry): (&PkiId, &Entry)| PeerIdentityInfo {
            pki_id: *id,
            identity: entry.identity.clone(),
            org: entry.org.clone(),
        };
        PeerIdentitySet(self.read().entries.iter().map(info).collect())
    }

    /// Drops one identity. Our own stays.
    pub fn remove(&self, pki_id: &PkiId) {
        if *pki_id != self.own {
            self.write().remove(pki_id);
        }
    }

    /// Drops and returns every identity that ran out, was not used for long, or that `suspect` flags and
    /// the host no longer accepts. Our own is returned if it ran out, but stays.
    ///
    /// After a channel's configuration has changed, `suspect` flags the identities of its organisations:
    /// only those are validated again, and a valid one stays however suspected. Whatever was learned under
    /// an identity returned here is void: connections, records, state infos, claims.
    // fabric: gossip/identity/identity.go SuspectPeers
    pub fn purge(
        &self,
        mcs: &dyn MessageCryptoService,
        suspect: &dyn Fn(&PeerIdentity) -> bool,
        now: Now,
    ) -> Vec<PkiId> {
        let held: Vec<(PkiId, Entry)> =
            self.read().entries.iter().map(|(id, entry)| (*id, entry.clone())).collect();
        let invalid: Vec<PkiId> = held
            .into_iter()
            .filter(|(id, entry)| {
                let unused =
                    *id != self.own && now.mono.since(entry.used) > self.config.unused_after;
                unused
                    || entry.expiration.is_past(now.wall)
                    || (suspect(&entry.identity) && mcs.validate_identity(&entry.identity).is_err())
            })
            .map(|(id, _)| id)
            .collect();
        invalid.iter().for_each(|id| self.remove(id));
        invalid
    }

    /// How many identities are held, our own included.
    pub fn len(&self) -> usize {
        self.read().entries.len()
    }

    /// Never true: our own identity is always held.
    pub fn is_empty(&self) -> bool {
        self.read().entries.is_empty()
    }

    /// Keeps `entry`. Of a full organisation, or else of a full map, the one that was not used for longest
    /// makes room; our own never does.
    fn insert(&self, pki_id: PkiId, entry: Entry) {
        let mut held = self.write();
        let same_org = held.by_org.get(&entry.org);
        let org_full = same_org.is_some_and(|org| org.len() >= self.config.items_per_org_max);
        let victims = if org_full { same_org } else { Some(&held.by_use) };
        if org_full || held.entries.len() >= self.config.items_max {
            let mut victims = victims.into_iter().flatten().map(|(_, id)| *id);
            let victim = victims.find(|id| *id != self.own);
            victim.and_then(|id| held.remove(&id));
        }
        held.insert(pki_id, entry);
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Held> {
        self.held.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Held> {
        self.held.write().unwrap_or_else(PoisonError::into_inner)
    }
}
