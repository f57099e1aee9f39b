//! Who came and who went, as one line of the log.
// fabric: gossip/gossip/channel/channel.go newMembershipTracker

use std::collections::BTreeMap;
use std::time::Duration;

use gossip_api::{Mono, NetworkMember, PkiId};
use tracing::info;

/// The members as they were last told.
#[derive(Debug, Default)]
pub(crate) struct Roll {
    told: BTreeMap<PkiId, String>,
    next: Mono,
}

/// What changed: where those are who came, and where those were who went.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Changes {
    came: Vec<String>,
    went: Vec<String>,
}

impl Roll {
    /// Logs what changed since the last time, at most once in [`TOLD_EVERY`].
    pub(crate) fn call(&mut self, now: Mono, members: impl FnOnce() -> Vec<NetworkMember>) {
        if now < self.next {
            return;
        }
        self.next = now.after(TOLD_EVERY);
        let alive = self.told.len();
        if let Some(Changes { came, went }) = self.compare(&members()) {
            let (before, members) = (alive, self.told.len());
            info!(members, before, came = ?first(&came), went = ?first(&went), "membership");
        }
    }

    fn compare(&mut self, members: &[NetworkMember]) -> Option<Changes> {
        let now: BTreeMap<PkiId, String> =
            members.iter().map(|member| (member.pki_id, name_of(member))).collect();
        let lacking = |of: &BTreeMap<PkiId, String>, than: &BTreeMap<PkiId, String>| {
            let gone = of.iter().filter(|(peer, _)| !than.contains_key(*peer));
            gone.map(|(_, name)| name.clone()).collect::<Vec<_>>()
        };
        let changes = Changes { came: lacking(&now, &self.told), went: lacking(&self.told, &now) };
        self.told = now;
        let is_news = !changes.came.is_empty() || !changes.went.is_empty();
        is_news.then_some(changes)
    }
}

/// An endpoint if we may know one, and the short form of its fingerprint if not.
fn name_of(member: &NetworkMember) -> String {
    member.preferred_endpoint().map_or_else(|| member.pki_id.to_string(), ToString::to_string)
}

fn first(names: &[String]) -> &[String] {
    names.get(..NAMED_MAX).unwrap_or(names)
}

/// Between two lines. Fabric: `membershipTrackerInterval` 5 s.
const TOLD_EVERY: Duration = Duration::from_secs(5);

/// Names in one line; the counts tell of the others.
const NAMED_MAX: usize = 16;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn member(id: u8, endpoint: Option<&str>) -> NetworkMember {
        NetworkMember {
            pki_id: PkiId::from_bytes([id; 32]),
            org: None,
            endpoint: endpoint.map(|endpoint| gossip_api::Endpoint::new(endpoint).unwrap()),
            internal_endpoint: None,
            metadata: bytes::Bytes::new(),
            height: None,
        }
    }

    #[test]
    fn only_changes_are_told_and_who_has_no_endpoint_by_fingerprint() {
        let mut roll = Roll::default();
        assert_eq!(roll.compare(&[]), None);
        let (named, hidden) = (member(1, Some("peer1:7051")), member(2, None));
        let came = vec!["peer1:7051".to_owned(), hidden.pki_id.to_string()];
        let changes = roll.compare(&[named.clone(), hidden.clone()]);
        assert_eq!(changes, Some(Changes { came, went: Vec::new() }));
        assert_eq!(roll.compare(&[named, hidden.clone()]), None);
        let went = vec!["peer1:7051".to_owned()];
        assert_eq!(roll.compare(&[hidden]), Some(Changes { came: Vec::new(), went }));
    }

    #[test]
    fn members_are_looked_at_once_in_five_seconds() {
        let mut roll = Roll::default();
        let mut looks = 0;
        for at in [0, 1, 4, 5, 9, 10] {
            roll.call(Mono::ZERO.after(Duration::from_secs(at)), || {
                looks += 1;
                Vec::new()
            });
        }
        assert_eq!(looks, 3);
    }
}
