//! What every beat, digest and look-out reads of a member.

use gossip_api::message::{Beat, Known, MemberEntry, ShortId, chain_step};
use gossip_api::{Epoch, Mono, OrgId};

use crate::disclose::Subject;
use crate::member::{Announced, Member, Status};

/// The part of a member that is read all the time, side by side with those of the others: a beat is judged
/// without going to the member itself.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) short: ShortId,
    pub(crate) epoch: Epoch,
    /// Sequence of the newest beat, from 1; 0 for none.
    pub(crate) progress: u64,
    /// The newest beat's link, if there is one.
    link: [u8; 32],
    /// Sequences of the record's beats: from the first up to, and without, the second.
    chain: (u64, u64),
    /// When it is late if it is alive, or is to be asked for a proof if it is known.
    pub(crate) due: Mono,
    /// The connections over which its newest beat came, the first ones of them; 0 for none.
    told_by: [u32; 2],
    pub(crate) version: u32,
    pub(crate) status: Status,
    pub(crate) announced: Announced,
    /// Its newest beat waits to be relayed.
    pub(crate) fresh: bool,
    /// Whether it is of our organisation.
    inside: bool,
    /// Whether it has an endpoint for other organisations.
    external: bool,
    member: Box<Member>,
}

impl Row {
    /// A member of whom no beat is known; `own` is our organisation.
    pub(crate) fn new(member: Box<Member>, due: Mono, own: &OrgId) -> Self {
        let record = &member.record;
        let mut row = Self {
            short: ShortId::of(&record.pki_id),
            epoch: record.epoch,
            progress: 0,
            link: [0; 32],
            chain: (0, 0),
            due,
            told_by: [0; 2],
            version: record.version,
            status: member.status,
            announced: member.announced,
            fresh: false,
            inside: member.org == *own,
            external: false,
            member,
        };
        row.copy();
        row
    }

    /// Changes the member, and brings what is copied here up to date.
    pub(crate) fn change<T>(&mut self, change: impl FnOnce(&mut Member) -> T) -> T {
        let result = change(&mut self.member);
        self.copy();
        result
    }

    fn copy(&mut self) {
        let Member { record, status, announced, .. } = self.member.as_ref();
        // Beats of another life say nothing of this one.
        if self.epoch != record.epoch {
            (self.progress, self.told_by) = (0, [0; 2]);
        }
        (self.epoch, self.version) = (record.epoch, record.version);
        (self.status, self.announced) = (*status, *announced);
        let end = record.first_beat.saturating_add(u64::from(record.chain_len));
        self.chain = (record.first_beat, end);
        self.external = record.endpoint.is_some();
    }

    /// Whether what is copied here agrees with the member.
    pub(crate) fn is_consistent(&self) -> bool {
        let Member { record, status, announced, .. } = self.member.as_ref();
        (self.epoch, self.version) == (record.epoch, record.version)
            && (self.status, self.announced) == (*status, *announced)
            && self.short == ShortId::of(&record.pki_id)
            && self.chain.0 == record.first_beat
            && self.external == record.endpoint.is_some()
    }

    pub(crate) fn member(&self) -> &Member {
        &self.member
    }

    pub(crate) fn into_member(self) -> Member {
        *self.member
    }

    pub(crate) fn subject(&self) -> Subject<'_> {
        Subject { org: &self.member.org, inside: self.inside, external: self.external }
    }

    pub(crate) fn known(&self) -> Known {
        let Self { short: member, epoch, version, progress: sequence, .. } = *self;
        Known { member, epoch, version, sequence }
    }

    /// The newest beat.
    pub(crate) fn beat(&self) -> Option<Beat> {
        let sequence = self.progress.checked_sub(1)?;
        Some(Beat { member: self.short, epoch: self.epoch, sequence, preimage: self.link })
    }

    pub(crate) fn entry(&self, with_secret: bool) -> MemberEntry {
        let Member { identity, sealed, secret, .. } = self.member.as_ref();
        MemberEntry {
            identity: identity.clone(),
            record: sealed.clone(),
            secret: secret.clone().filter(|_| with_secret),
            beat: self.beat().map(Box::new),
        }
    }

    /// Whether a sequence belongs to the record's chain, or to which side of it.
    pub(crate) fn place_in_chain(&self, sequence: u64) -> std::cmp::Ordering {
        if sequence < self.chain.0 {
            std::cmp::Ordering::Less
        } else if sequence >= self.chain.1 {
            std::cmp::Ordering::Greater
        } else {
            std::cmp::Ordering::Equal
        }
    }

    /// Whether a beat of this epoch, newer than the newest, is a link of the chain. One hash for the next
    /// one, one more for each that was missed.
    pub(crate) fn accepts(&self, beat: &Beat) -> bool {
        if self.progress <= self.chain.0 || beat.sequence < self.progress {
            return self.member.record.accepts(beat, None);
        }
        let mut link = beat.preimage;
        for _ in self.progress..=beat.sequence {
            link = chain_step(&link);
        }
        link == self.link
    }

    /// Notes that the newest beat came over this connection, too.
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

    /// The connection over which the newest beat came first; 0 for none.
    pub(crate) fn first_told_by(&self) -> u32 {
        let [first, _] = self.told_by;
        first
    }

    /// A newer beat, accepted, came over this connection; 0 for none.
    pub(crate) fn advance(&mut self, beat: &Beat, link: u32) {
        self.progress = beat.sequence.saturating_add(1);
        self.told_by = [link, 0];
        self.link = beat.preimage;
    }
}
