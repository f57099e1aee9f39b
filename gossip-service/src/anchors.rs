//! Which addresses and organisations the channels name, and what a newer configuration changes about it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use gossip_api::{ChannelId, Endpoint, JoinChannelMessage, OrgId};

use crate::joining::anchors_of;

/// What every joined channel names.
// fabric: gossip/service/gossip_service.go anchorPeerTracker
#[derive(Debug)]
pub(crate) struct Tracker {
    org: OrgId,
    visible_outside: bool,
    /// Named by the operator: never given up.
    bootstrap: BTreeSet<Endpoint>,
    channels: Mutex<BTreeMap<ChannelId, Named>>,
}

#[derive(Clone, Debug, Default)]
struct Named {
    sequence: u64,
    orgs: BTreeSet<OrgId>,
    anchors: BTreeSet<Endpoint>,
}

/// What a configuration changes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Change {
    /// Addresses to connect to.
    pub(crate) named: Vec<Endpoint>,
    /// Addresses that nobody names any more.
    pub(crate) unnamed: Vec<Endpoint>,
    /// Organisations that are no members of the channel any more.
    pub(crate) removed: Vec<OrgId>,
}

impl Tracker {
    pub(crate) fn new(org: OrgId, visible_outside: bool, bootstrap: &[Endpoint]) -> Self {
        let bootstrap = bootstrap.iter().cloned().collect();
        Self { org, visible_outside, bootstrap, channels: Mutex::default() }
    }

    /// Takes over a configuration; nothing changes if it is older than the one held.
    pub(crate) fn take_over(&self, config: &dyn JoinChannelMessage) -> Change {
        let new = Named {
            sequence: config.sequence_number(),
            orgs: config.members().into_iter().collect(),
            anchors: anchors_of(config, &self.org, self.visible_outside).into_iter().collect(),
        };
        let mut channels = self.lock();
        let old = channels.get(config.channel()).cloned();
        let is_older = old.as_ref().is_some_and(|old| new.sequence < old.sequence);
        if is_older || new.orgs.is_empty() {
            return Change::default();
        }
        let old = old.unwrap_or_default();
        channels.insert(config.channel().clone(), new.clone());
        Change {
            named: new.anchors.iter().cloned().collect(),
            unnamed: self.unnamed(&channels, &old),
            removed: old.orgs.difference(&new.orgs).cloned().collect(),
        }
    }

    /// A channel is left; returns the addresses that nobody names any more.
    pub(crate) fn forget(&self, channel: &ChannelId) -> Vec<Endpoint> {
        let mut channels = self.lock();
        let old = channels.remove(channel).unwrap_or_default();
        self.unnamed(&channels, &old)
    }

    /// Whether a channel names this address as an anchor peer.
    // fabric: gossip/service/gossip_service.go IsAnchorPeer
    pub(crate) fn is_anchor(&self, endpoint: &Endpoint) -> bool {
        self.lock().values().any(|channel| channel.anchors.contains(endpoint))
    }

    fn unnamed(&self, channels: &BTreeMap<ChannelId, Named>, old: &Named) -> Vec<Endpoint> {
        let is_named = |endpoint: &Endpoint| {
            self.bootstrap.contains(endpoint)
                || channels.values().any(|channel| channel.anchors.contains(endpoint))
        };
        old.anchors.iter().filter(|endpoint| !is_named(endpoint)).cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ChannelId, Named>> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use gossip_api::AnchorPeer;

    use super::*;

    struct Config {
        channel: ChannelId,
        sequence: u64,
        orgs: Vec<(&'static str, &'static [u16])>,
    }

    impl JoinChannelMessage for Config {
        fn sequence_number(&self) -> u64 {
            self.sequence
        }

        fn members(&self) -> Vec<OrgId> {
            self.orgs.iter().map(|(org, _)| OrgId::new(org).unwrap()).collect()
        }

        fn anchor_peers_of(&self, org: &OrgId) -> Vec<AnchorPeer> {
            let of = self.orgs.iter().filter(|(name, _)| *name == org.as_str());
            of.flat_map(|(_, ports)| ports.iter())
                .map(|port| AnchorPeer { host: "anchor".into(), port: *port })
                .collect()
        }

        fn channel(&self) -> &ChannelId {
            &self.channel
        }
    }

    fn config(channel: &str, sequence: u64, orgs: &[(&'static str, &'static [u16])]) -> Config {
        Config { channel: ChannelId::new(channel).unwrap(), sequence, orgs: orgs.to_vec() }
    }

    fn ports(endpoints: &[Endpoint]) -> Vec<String> {
        endpoints.iter().map(|endpoint| endpoint.as_str().replace("anchor:", "")).collect()
    }

    #[test]
    fn an_address_is_given_up_when_the_last_channel_and_the_operator_name_it_no_more() {
        let bootstrap = [Endpoint::new("anchor:4").unwrap()];
        let tracker = Tracker::new(OrgId::new("a").unwrap(), true, &bootstrap);
        let first = tracker.take_over(&config("x", 1, &[("a", &[1, 2]), ("b", &[3, 4, 0])]));
        assert_eq!(ports(&first.named), ["1", "2", "3", "4"], "port 0 names nobody");
        assert!(first.unnamed.is_empty() && first.removed.is_empty());
        tracker.take_over(&config("y", 1, &[("a", &[2])]));
        let second = tracker.take_over(&config("x", 2, &[("a", &[5])]));
        assert_eq!(ports(&second.unnamed), ["1", "3"], "2 is another channel's, 4 the operator's");
        assert_eq!(second.removed, [OrgId::new("b").unwrap()]);
        assert!(tracker.is_anchor(&Endpoint::new("anchor:2").unwrap()));
        assert!(!tracker.is_anchor(&Endpoint::new("anchor:3").unwrap()));
        assert_eq!(ports(&tracker.forget(&ChannelId::new("y").unwrap())), ["2"]);
    }

    #[test]
    fn an_older_configuration_and_one_without_members_change_nothing() {
        let tracker = Tracker::new(OrgId::new("a").unwrap(), true, &[]);
        tracker.take_over(&config("x", 5, &[("a", &[1])]));
        assert_eq!(tracker.take_over(&config("x", 4, &[("b", &[2])])), Change::default());
        assert_eq!(tracker.take_over(&config("x", 6, &[])), Change::default());
        assert!(tracker.is_anchor(&Endpoint::new("anchor:1").unwrap()));
    }

    #[test]
    fn who_is_hidden_from_others_does_not_go_to_their_anchors() {
        let tracker = Tracker::new(OrgId::new("a").unwrap(), false, &[]);
        let change = tracker.take_over(&config("x", 1, &[("a", &[1]), ("b", &[2])]));
        assert_eq!(ports(&change.named), ["1"]);
    }
}
