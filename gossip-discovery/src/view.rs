//! Everybody we know of, and what we think of them.

use std::collections::BTreeMap;

use gossip_api::message::{Beat, Known, MemberEntry, Record, SealedRecord, Secret, ShortId};
use gossip_api::{Endpoint, Mono, NetworkMember, OrgId, PeerIdentity, PkiId};

use crate::disclose::Subject;

/// What we think of a member.
///
/// ```text
///               proof of life              late, or connection lost
///   Known -----------------------> Alive -------------------------> Suspect
///     |                              ^    <-------------------------   |
///     | no proof                     |          proof of life          | no proof
///     '-----------> Dead ------------'                                 v
///                         proof of life                              Dead
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// Heard of; nothing shows that it lives.
    Known,
    /// It proved that it lives, and has been heard since.
    Alive,
    /// It should have been heard. Others are still told that it lives.
    Suspect,
    /// It did not answer when asked.
    Dead {
        /// Since when.
        since: Mono,
    },
}

impl Status {
    /// Whether layers above and neighbours are told of it as alive.
    pub(crate) const fn is_live(self) -> bool {
        matches!(self, Self::Alive | Self::Suspect)
    }

    pub(crate) const fn is_dead(self) -> bool {
        matches!(self, Self::Dead { .. })
    }
}

/// What the layers above have been told of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Announced {
    Nothing,
    Alive,
    Dead,
}

/// Pauses between attempts.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Backoff {
    pub(crate) failures: u32,
    pub(crate) not_before: Mono,
}

/// A member.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) identity: PeerIdentity,
    pub(crate) org: OrgId,
    pub(crate) record: Record,
    pub(crate) sealed: SealedRecord,
    /// Bytes that its entry takes in a page, at most.
    pub(crate) entry_len: usize,
    pub(crate) secret: Option<Secret>,
    /// Its newest beat.
    pub(crate) beat: Option<Beat>,
    pub(crate) status: Status,
    pub(crate) announced: Announced,
    /// When we learned of it.
    pub(crate) learned: Mono,
    /// When it was last heard of in a way that nobody else can make up.
    pub(crate) heard: Mono,
    /// The neighbour who brought the newest news: a way to it.
    pub(crate) via: Option<PkiId>,
    pub(crate) backoff: Backoff,
    /// How often it was asked in vain to prove that it lives, and until when it is not asked again.
    pub(crate) proof_tries: u32,
    pub(crate) proof_after: Mono,
}

impl Member {
    pub(crate) const fn pki_id(&self) -> PkiId {
        self.record.pki_id
    }

    /// Where to dial it: the internal endpoint if we know it.
    pub(crate) fn dial_endpoint(&self) -> Option<&Endpoint> {
        let internal = self.secret.as_ref().map(|secret| &secret.internal_endpoint);
        internal.or(self.record.endpoint.as_ref())
    }

    /// Whether `endpoint` is one of its own, by its own word.
    pub(crate) fn claims(&self, endpoint: &Endpoint) -> bool {
        let internal = self.secret.as_ref().map(|secret| &secret.internal_endpoint);
        internal == Some(endpoint) || self.record.endpoint.as_ref() == Some(endpoint)
    }

    pub(crate) fn subject(&self) -> Subject<'_> {
        Subject { org: &self.org, external: self.record.endpoint.is_some() }
    }

    /// Newest beat as [`Record::accepts`] wants it.
    pub(crate) fn newest(&self) -> Option<(u64, &[u8; 32])> {
        self.beat.as_ref().map(|beat| (beat.sequence, &beat.preimage))
    }

    /// Sequence of the newest beat, from 1; 0 for none.
    pub(crate) fn progress(&self) -> u64 {
        self.beat.as_ref().map_or(0, |beat| beat.sequence.saturating_add(1))
    }

    pub(crate) fn known(&self, short: ShortId) -> Known {
        Known {
            member: short,
            epoch: self.record.epoch,
            version: self.record.version,
            sequence: self.progress(),
        }
    }

    pub(crate) fn entry(&self, with_secret: bool) -> MemberEntry {
        MemberEntry {
            identity: self.identity.clone(),
            record: self.sealed.clone(),
            secret: self.secret.clone().filter(|_| with_secret),
            beat: self.beat.clone(),
        }
    }

    pub(crate) fn network_member(&self) -> NetworkMember {
        NetworkMember {
            pki_id: self.record.pki_id,
            org: Some(self.org.clone()),
            endpoint: self.record.endpoint.clone(),
            internal_endpoint: self.secret.as_ref().map(|secret| secret.internal_endpoint.clone()),
            metadata: self.record.metadata.as_bytes().clone(),
            height: None,
        }
    }
}

/// Members by the short form of their fingerprint, whose order is that of the whole.
#[derive(Debug, Default)]
pub(crate) struct View {
    /// Boxed, so that the many look-ups of few fields walk a small tree.
    members: BTreeMap<ShortId, Box<Member>>,
    all: Count,
    /// The same by organisation; none without members.
    orgs: BTreeMap<OrgId, Count>,
}

/// How many members there are.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    members: usize,
    live: usize,
    dead: usize,
}

impl Count {
    fn add(&mut self, status: Status) {
        self.members += 1;
        self.live += usize::from(status.is_live());
        self.dead += usize::from(status.is_dead());
    }

    fn sub(&mut self, status: Status) {
        self.members -= 1;
        self.live -= usize::from(status.is_live());
        self.dead -= usize::from(status.is_dead());
    }
}

impl View {
    pub(crate) fn get(&self, short: &ShortId) -> Option<&Member> {
        self.members.get(short).map(Box::as_ref)
    }

    pub(crate) fn get_mut(&mut self, short: &ShortId) -> Option<&mut Member> {
        self.members.get_mut(short).map(Box::as_mut)
    }

    /// The member with this whole fingerprint.
    pub(crate) fn find(&self, pki_id: &PkiId) -> Option<&Member> {
        self.get(&ShortId::of(pki_id)).filter(|member| member.pki_id() == *pki_id)
    }

    pub(crate) fn find_mut(&mut self, pki_id: &PkiId) -> Option<&mut Member> {
        self.get_mut(&ShortId::of(pki_id)).filter(|member| member.pki_id() == *pki_id)
    }

    pub(crate) fn insert(&mut self, member: Member) {
        let (status, org) = (member.status, member.org.clone());
        let before = self.members.insert(ShortId::of(&member.record.pki_id), Box::new(member));
        self.count(&org, None, Some(status));
        if let Some(before) = before {
            self.count(&before.org, Some(before.status), None);
        }
    }

    pub(crate) fn remove(&mut self, short: &ShortId) -> Option<Member> {
        let member = *self.members.remove(short)?;
        self.count(&member.org, Some(member.status), None);
        Some(member)
    }

    /// Changes a member's status; nothing if there is no such member.
    pub(crate) fn set_status(&mut self, short: &ShortId, status: Status) -> Option<&mut Member> {
        let member = self.members.get_mut(short)?;
        let before = std::mem::replace(&mut member.status, status);
        if before != status {
            let org = member.org.clone();
            self.count(&org, Some(before), Some(status));
        }
        self.get_mut(short)
    }

    fn count(&mut self, org: &OrgId, before: Option<Status>, after: Option<Status>) {
        let of_org = self.orgs.entry(org.clone()).or_default();
        for count in [&mut self.all, of_org] {
            if let Some(after) = after {
                count.add(after);
            }
            if let Some(before) = before {
                count.sub(before);
            }
        }
        if of_org.members == 0 {
            self.orgs.remove(org);
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&ShortId, &Member)> {
        self.members.iter().map(|(short, member)| (short, member.as_ref()))
    }

    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    /// How many are alive or suspect.
    pub(crate) const fn live(&self) -> usize {
        self.all.live
    }

    pub(crate) fn live_of(&self, org: &OrgId) -> usize {
        self.orgs.get(org).map_or(0, |count| count.live)
    }

    pub(crate) const fn dead(&self) -> usize {
        self.all.dead
    }

    pub(crate) fn of_org(&self, org: &OrgId) -> usize {
        self.orgs.get(org).map_or(0, |count| count.members)
    }
}
