//! Everybody we know of.

use std::collections::BTreeMap;

use gossip_api::message::ShortId;
use gossip_api::{Endpoint, Mono, OrgId, PkiId};

use crate::member::{Member, Status};
use crate::row::Row;

/// Members by the short form of their fingerprint, whose order is that of the whole.
#[derive(Debug, Default)]
pub(crate) struct View {
    /// Whose rows these are, side by side: to find a beat's member few places in memory are looked at.
    shorts: Vec<ShortId>,
    rows: Vec<Row>,
    /// Who is to be dialled where; more than one where members contradict each other.
    endpoints: BTreeMap<Endpoint, Vec<ShortId>>,
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
    /// Where a member's row is.
    fn place(&self, short: &ShortId) -> Option<usize> {
        self.shorts.binary_search(short).ok()
    }

    /// Where a member's row is; `hint` is where the row before it was found, for those who ask in order.
    fn place_after(&self, short: &ShortId, hint: &mut usize) -> Option<usize> {
        let begin =
            if self.shorts.get(*hint).is_some_and(|found| found <= short) { *hint } else { 0 };
        let rest = self.shorts.get(begin..)?;
        // Twice as far each time, then halving: near ones are found at once.
        let mut reach = 1;
        while rest.get(reach).is_some_and(|found| found < short) {
            reach *= 2;
        }
        let near = rest.get(reach / 2..rest.len().min(reach + 1))?;
        let found = near.binary_search(short);
        *hint = begin + reach / 2 + found.unwrap_or_else(|place| place);
        found.is_ok().then_some(*hint)
    }

    /// The row of a member, for those who ask in order: see [`Self::place_after`].
    pub(crate) fn row_mut(&mut self, short: &ShortId, hint: &mut usize) -> Option<&mut Row> {
        let place = self.place_after(short, hint)?;
        self.rows.get_mut(place)
    }

    pub(crate) fn row_after(&self, short: &ShortId, hint: &mut usize) -> Option<&Row> {
        let place = self.place_after(short, hint)?;
        self.rows.get(place)
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

    /// The row of the member with this whole fingerprint.
    pub(crate) fn find(&self, pki_id: &PkiId) -> Option<&Row> {
        self.row(&ShortId::of(pki_id)).filter(|row| row.member().pki_id() == *pki_id)
    }

    /// When a member is to be looked at.
    pub(crate) fn set_due(&mut self, short: &ShortId, due: Mono) {
        if let Some(row) = self.place(short).and_then(|place| self.rows.get_mut(place)) {
            row.due = due;
        }
    }

    /// Adds a member; `own` is our organisation.
    pub(crate) fn insert(&mut self, member: Member, due: Mono, own: &OrgId) {
        let (status, org) = (member.status, member.org.clone());
        let short = ShortId::of(&member.record.pki_id);
        self.remove(&short);
        let endpoint = member.dial_endpoint().cloned();
        let place = self.shorts.partition_point(|found| *found < short);
        self.shorts.insert(place, short);
        self.rows.insert(place, Row::new(Box::new(member), due, own));
        self.count(&org, None, Some(status));
        self.move_endpoint(short, None, endpoint);
    }

    pub(crate) fn remove(&mut self, short: &ShortId) -> Option<Member> {
        let place = self.place(short)?;
        self.shorts.remove(place);
        let member = self.rows.remove(place).into_member();
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
        let (status, endpoint) = (row.status, row.member().dial_endpoint().cloned());
        let result = row.change(change);
        let after = row.status;
        let moved = row.member().dial_endpoint() != endpoint.as_ref();
        let now_at = row.member().dial_endpoint().filter(|_| moved).cloned();
        let org = (after != status).then(|| row.member().org.clone());
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
        let sorted = self.shorts.is_sorted_by(|a, b| a < b)
            && self.shorts.iter().eq(self.rows.iter().map(|row| &row.short));
        let copied = self.rows.iter().all(Row::is_consistent);
        let live = self.rows.iter().filter(|row| row.status.is_live()).count();
        let dead = self.rows.iter().filter(|row| row.status.is_dead()).count();
        let at = |row: &&Row| {
            row.member().dial_endpoint().is_none_or(|endpoint| {
                self.endpoints.get(endpoint).is_some_and(|there| there.contains(&row.short))
            })
        };
        let indexed: usize = self.endpoints.values().map(Vec::len).sum();
        let dialled = self.rows.iter().filter(|row| row.member().dial_endpoint().is_some()).count();
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
