//! Whom a host's messages go to, who its peers are, and what comes back of it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::id::{ChannelId, OrgId, PkiId};
use crate::identity::PeerIdentity;
use crate::member::NetworkMember;
use crate::message::{Acknowledgement, Message};

/// Picks members.
// fabric: gossip/api/channel.go RoutingFilter
pub type RoutingFilter = Arc<dyn Fn(&NetworkMember) -> bool + Send + Sync>;

/// Picks peers by something that they signed.
// fabric: gossip/api/subchannel.go SubChannelSelectionCriteria
pub type SubChannelSelectionCriteria = Arc<dyn Fn(&PeerSignature) -> bool + Send + Sync>;

/// What a peer signed: its own state info of a channel, so that a policy can be evaluated on it.
// fabric: gossip/api/crypto.go PeerSignature
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerSignature {
    /// The signature.
    pub signature: Bytes,
    /// The bytes under it.
    pub message: Bytes,
    /// Who signed.
    pub identity: PeerIdentity,
}

/// To whom an acknowledged message goes, and how many have to acknowledge it.
// fabric: gossip/gossip/gossip.go SendCriteria
#[derive(Clone)]
pub struct SendCriteria {
    /// How long acknowledgements are waited for.
    pub timeout: Duration,
    /// How many are enough.
    pub min_ack: usize,
    /// To how many it is sent at most; with 0 nothing is sent, and that is a success.
    pub max_peers: usize,
    /// Peers of this channel; all alive members without it.
    pub channel: Option<ChannelId>,
    /// Which of them; all without it.
    pub eligible: Option<RoutingFilter>,
}

impl fmt::Debug for SendCriteria {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendCriteria")
            .field("timeout", &self.timeout)
            .field("min_ack", &self.min_ack)
            .field("max_peers", &self.max_peers)
            .field("channel", &self.channel)
            .finish_non_exhaustive()
    }
}

/// What peers said to an acknowledged message, as far as it was waited for.
// fabric: gossip/comm/comm.go AggregatedSendResults
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acks {
    /// How many took it.
    pub successes: usize,
    /// How many did not, by what they said.
    pub failures: BTreeMap<String, usize>,
}

impl Acks {
    /// How many did not take it.
    pub fn nacks(&self) -> usize {
        self.failures.values().sum()
    }

    /// Counts one that did not take it.
    pub fn fail(&mut self, why: impl Into<String>) {
        let count = self.failures.entry(why.into()).or_default();
        *count = count.saturating_add(1);
    }
}

impl fmt::Display for Acks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} took it", self.successes)?;
        for (why, count) in &self.failures {
            write!(f, ", {count} did not: {why}")?;
        }
        Ok(())
    }
}

/// A message that the core leaves to the host, from a peer that its connection vouches for.
// fabric: gossip/protoext/comm.go ReceivedMessage
#[derive(Clone)]
pub struct Handed {
    from: PkiId,
    message: Message,
    answer: Answer,
}

/// Sends a message back to where another came from.
pub type Answer = Arc<dyn Fn(Message) + Send + Sync>;

impl Handed {
    /// Hands `message` of `from` over; what is said to it goes through `answer`.
    pub fn new(from: PkiId, message: Message, answer: Answer) -> Self {
        Self { from, message, answer }
    }

    /// Who sent it.
    pub const fn from(&self) -> PkiId {
        self.from
    }

    /// What it sent.
    pub const fn message(&self) -> &Message {
        &self.message
    }

    /// Sends a message back, best effort.
    pub fn respond(&self, message: Message) {
        (self.answer)(message);
    }

    /// Says that the message was taken, or why not. Nothing is said to a message without a nonce.
    pub fn ack(&self, outcome: Result<(), &str>) {
        let Some(nonce) = self.message.ack_nonce() else { return };
        let ack = match outcome {
            Ok(()) => Acknowledgement::accepted(nonce),
            Err(why) => Acknowledgement::refused(nonce, why),
        };
        self.respond(Message::Acknowledgement(ack));
    }
}

impl fmt::Debug for Handed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handed")
            .field("from", &self.from)
            .field("message", &self.message)
            .finish_non_exhaustive()
    }
}

/// One identity that is known, and whose it is.
// fabric: gossip/api/crypto.go PeerIdentityInfo
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerIdentityInfo {
    /// Its fingerprint.
    pub pki_id: PkiId,
    /// The identity.
    pub identity: PeerIdentity,
    /// Its organisation, where the host could tell it.
    pub org: Option<OrgId>,
}

/// Identities that are known.
// fabric: gossip/api/crypto.go PeerIdentitySet
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerIdentitySet(pub Vec<PeerIdentityInfo>);

impl PeerIdentitySet {
    /// By organisation; those without one are left out.
    // fabric: gossip/api/crypto.go ByOrg
    pub fn by_org(&self) -> BTreeMap<OrgId, Self> {
        let mut orgs: BTreeMap<OrgId, Self> = BTreeMap::new();
        for info in &self.0 {
            if let Some(org) = &info.org {
                orgs.entry(org.clone()).or_default().0.push(info.clone());
            }
        }
        orgs
    }

    /// By fingerprint; of two with the same the last.
    // fabric: gossip/api/crypto.go ByID
    pub fn by_id(&self) -> BTreeMap<PkiId, PeerIdentityInfo> {
        self.0.iter().map(|info| (info.pki_id, info.clone())).collect()
    }

    /// Those that `accept` takes.
    // fabric: gossip/api/crypto.go Filter
    pub fn filter(&self, accept: impl Fn(&PeerIdentityInfo) -> bool) -> Self {
        Self(self.0.iter().filter(|info| accept(info)).cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::id::Nonce;
    use crate::message::PrivateData;

    fn info(id: u8, org: Option<&str>) -> PeerIdentityInfo {
        PeerIdentityInfo {
            pki_id: PkiId::from_bytes([id; 32]),
            identity: PeerIdentity::new(vec![id]).unwrap(),
            org: org.map(|org| OrgId::new(org).unwrap()),
        }
    }

    #[test]
    fn identities_are_found_by_organisation_and_by_fingerprint_and_the_last_one_wins() {
        let mut again = info(1, Some("b"));
        again.identity = PeerIdentity::new(vec![9]).unwrap();
        let set =
            PeerIdentitySet(vec![info(1, Some("a")), info(2, Some("a")), info(3, None), again]);
        let orgs = set.by_org();
        assert_eq!(orgs.len(), 2);
        assert_eq!(orgs[&OrgId::new("a").unwrap()].0.len(), 2);
        let ids = set.by_id();
        assert_eq!(ids.len(), 3);
        assert_eq!(ids[&PkiId::from_bytes([1; 32])].org, Some(OrgId::new("b").unwrap()));
        assert_eq!(set.filter(|info| info.org.is_none()).0, [info(3, None)]);
    }

    #[test]
    fn an_acknowledgement_carries_the_nonce_of_its_message_and_the_reason() {
        let said = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&said);
        let data = PrivateData {
            nonce: Nonce::new(7),
            channel: ChannelId::new("trade").unwrap(),
            payload: Bytes::new(),
        };
        let answer: Answer = Arc::new(move |message| log.lock().unwrap().push(message));
        let handed = Handed::new(PkiId::from_bytes([1; 32]), Message::PrivateData(data), answer);
        handed.ack(Ok(()));
        handed.ack(Err("no room"));
        let nonce = Nonce::new(7);
        assert_eq!(
            *said.lock().unwrap(),
            [
                Message::Acknowledgement(Acknowledgement::accepted(nonce)),
                Message::Acknowledgement(Acknowledgement::refused(nonce, "no room")),
            ]
        );
    }
}
