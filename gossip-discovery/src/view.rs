//! Everybody we know of, and what we think of them.

use std::collections::BTreeMap;

use gossip_api::message::{Beat, Known, MemberEntry, Record, SealedRecord, Secret, ShortId};
use gossip_api::{Endpoint, Epoch, Mono, NetworkMember, OrgId, PeerIdentity, PkiId};

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
    /// The neighbour who brought the newest news: a way to it.
    pub(crate) via: Option<PkiId>,
    pub(crate) backoff: Backoff,
    /// How often it was asked in vain to prove that it lives.
    pub(crate) proof_tries: u32,
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
    rows: Vec<Row>,
    /// Who is to be dialled where; more than one where members contradict each other.
    endpoints: BTreeMap<Endpoint, Vec<ShortId>>,
    all: Count,
    /// The same by organisation; none without members.
    orgs: BTreeMap<OrgId, Count>,
}

/// What every beat, digest and look-out reads of a member, without going to the member itself.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) short: ShortId,
    pub(crate) epoch: Epoch,
    /// Sequence of the newest beat, from 1; 0 for none.
    pub(crate) progress: u64,
    /// When it is late if it is alive, or is to be asked for a proof if it is known.
    pub(crate) due: Mono,
    pub(crate) status: Status,
    pub(crate) announced: Announced,
    pub(crate) version: u32,
    /// The links over which its newest beat came, the first ones of them; 0 for none.
    told_by: [u32; 2],
    /// Its newest beat waits to be relayed.
    pub(crate) fresh: bool,
    member: Box<Member>,
}

impl Row {
    fn new(member: Box<Member>, due: Mono) -> Self {
        Self {
            short: ShortId::of(&member.record.pki_id),
            epoch: member.record.epoch,
            progress: member.progress(),
            due,
            status: member.status,
            announced: member.announced,
            version: member.record.version,
            told_by: [0; 2],
            fresh: false,
            member,
        }
    }

    /// Brings what is copied here up to date.
    fn copy(&mut self) {
        let Member { record, status, announced, .. } = self.member.as_ref();
        (self.epoch, self.version) = (record.epoch, record.version);
        (self.status, self.announced) = (*status, *announced);
        self.progress = self.member.progress();
    }

    pub(crate) fn member(&self) -> &Member {
        &self.member
    }

    pub(crate) fn known(&self) -> Known {
        let Self { short: member, epoch, version, progress: sequence, .. } = *self;
        Known { member, epoch, version, sequence }
    }

    /// The newest beat came over this link, too.
    pub(crate) fn told_by(&mut self, link: u32) {
        if !self.was_told_by(link)
            && let Some(free) = self.told_by.iter_mut().find(|known| **known == 0)
        {
            *free = link;
        }
    }

    pub(crate) fn was_told_by(&self, link: u32) -> bool {
        self.told_by.contains(&link)
    }

    /// A newer beat came over this link, at `now`.
    pub(crate) fn advance(&mut self, beat: &Beat, link: u32, from: PkiId) {
        self.progress = beat.sequence.saturating_add(1);
        self.told_by = [link, 0];
        self.member.beat = Some(beat.clone());
        self.member.via = Some(from);
    }
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
    /// Where a member's row is.
    fn place(&self, short: &ShortId) -> Option<usize> {
        self.rows.binary_search_by_key(short, |row| row.short).ok()
    }

    /// The row of a member; `hint` is where the row before it was found, for those who ask in order.
    pub(crate) fn row_mut(&mut self, short: &ShortId, hint: &mut usize) -> Option<&mut Row> {
        let begin =
            if self.rows.get(*hint).is_some_and(|row| row.short <= *short) { *hint } else { 0 };
        let rest = self.rows.get(begin..)?;
        // Twice as far each time, then halving: near ones are found at once.
        let mut reach = 1;
        while rest.get(reach).is_some_and(|row| row.short < *short) {
            reach *= 2;
        }
        let near = rest.get(reach / 2..rest.len().min(reach + 1))?;
        let found = near.binary_search_by_key(short, |row| row.short);
        *hint = begin + reach / 2 + found.unwrap_or_else(|place| place);
        if found.is_err() {
            return None;
        }
        self.rows.get_mut(*hint)
    }

    pub(crate) fn row(&self, short: &ShortId) -> Option<&Row> {
        self.place(short).and_then(|place| self.rows.get(place))
    }

    pub(crate) fn rows(&self) -> &[Row] {
        &self.rows
    }

    pub(crate) fn get(&self, short: &ShortId) -> Option<&Member> {
        self.row(short).map(Row::member)
    }

    /// The member with this whole fingerprint.
    pub(crate) fn find(&self, pki_id: &PkiId) -> Option<&Member> {
        self.get(&ShortId::of(pki_id)).filter(|member| member.pki_id() == *pki_id)
    }

    /// When a member is to be looked at.
    pub(crate) fn set_due(&mut self, short: &ShortId, due: Mono) {
        if let Some(row) = self.place(short).and_then(|place| self.rows.get_mut(place)) {
            row.due = due;
        }
    }

    pub(crate) fn insert(&mut self, member: Member, due: Mono) {
        let (status, org) = (member.status, member.org.clone());
        let short = ShortId::of(&member.record.pki_id);
        self.remove(&short);
        let endpoint = member.dial_endpoint().cloned();
        let place = self.rows.partition_point(|row| row.short < short);
        self.rows.insert(place, Row::new(Box::new(member), due));
        self.count(&org, None, Some(status));
        self.move_endpoint(short, None, endpoint);
    }

    pub(crate) fn remove(&mut self, short: &ShortId) -> Option<Member> {
        let place = self.place(short)?;
        let member = *self.rows.remove(place).member;
        self.count(&member.org, Some(member.status), None);
        self.move_endpoint(*short, member.dial_endpoint().cloned(), None);
        Some(member)
    }

    /// Changes a member, if there is one; everything that is kept beside it follows.
    pub(crate) fn change<T>(
        &mut self,
        short: &ShortId,
        change: impl FnOnce(&mut Member) -> T,
    ) -> Option<T> {
        let place = self.place(short)?;
        let row = self.rows.get_mut(place)?;
        let (status, endpoint) = (row.status, row.member.dial_endpoint().cloned());
        let result = change(&mut row.member);
        row.copy();
        let after = row.status;
        let moved = row.member.dial_endpoint() != endpoint.as_ref();
        let now_at = row.member.dial_endpoint().filter(|_| moved).cloned();
        let org = (after != status).then(|| row.member.org.clone());
        if let Some(org) = org {
            self.count(&org, Some(status), Some(after));
        }
        if moved {
            self.move_endpoint(*short, endpoint, now_at);
        }
        Some(result)
    }

    /// Members that are dialled at `endpoint`.
    pub(crate) fn at_endpoint(&self, endpoint: &Endpoint) -> impl Iterator<Item = &Row> {
        let shorts = self.endpoints.get(endpoint).into_iter().flatten();
        shorts.filter_map(|short| self.row(short))
    }

    fn move_endpoint(&mut self, short: ShortId, from: Option<Endpoint>, to: Option<Endpoint>) {
        if let Some(from) = from
            && let Some(there) = self.endpoints.get_mut(&from)
        {
            there.retain(|other| *other != short);
            if there.is_empty() {
                self.endpoints.remove(&from);
            }
        }
        if let Some(to) = to {
            let there = self.endpoints.entry(to).or_default();
            if let Err(place) = there.binary_search(&short) {
                there.insert(place, short);
            }
        }
    }

    /// Whether all that is kept beside the members agrees with them.
    pub(crate) fn is_consistent(&self) -> bool {
        let sorted = self.rows.is_sorted_by(|a, b| a.short < b.short);
        let copied = self.rows.iter().all(|row| {
            let Member { record, status, announced, .. } = row.member.as_ref();
            (row.epoch, row.version) == (record.epoch, record.version)
                && (row.status, row.announced) == (*status, *announced)
                && row.short == ShortId::of(&record.pki_id)
                && row.progress == row.member.progress()
        });
        let live = self.rows.iter().filter(|row| row.status.is_live()).count();
        let dead = self.rows.iter().filter(|row| row.status.is_dead()).count();
        let at = |row: &&Row| {
            row.member.dial_endpoint().is_none_or(|endpoint| {
                self.endpoints.get(endpoint).is_some_and(|there| there.contains(&row.short))
            })
        };
        let indexed: usize = self.endpoints.values().map(Vec::len).sum();
        let dialled = self.rows.iter().filter(|row| row.member.dial_endpoint().is_some()).count();
        sorted
            && copied
            && self.all.members == self.rows.len()
            && (self.all.live, self.all.dead) == (live, dead)
            && self.rows.iter().all(|row| at(&row))
            && indexed == dialled
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
        self.rows.iter().map(|row| (&row.short, row.member()))
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
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
