//! Which orderers a channel has, and who vouches for them.

use std::time::Instant;

use gossip_api::ChannelId;
use peer_mcs::Channel;

use super::{Override, Us};
use crate::grpc::tls::bundle;
use crate::material::certificates;

/// One orderer as the channel's configuration names it, after overrides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Orderer {
    /// `host:port`.
    pub(crate) address: String,
    /// MSP id, or what says that the channel names none.
    pub(crate) org: String,
    /// The CAs that vouch for it, PEM.
    pub(crate) roots: String,
}

/// The orderers of the channel's configuration in force.
// fabric: internal/pkg/peer/orderers/connection.go Update
pub(crate) fn orderers(us: &Us, channel: &ChannelId) -> Result<Vec<Orderer>, String> {
    let view = us.channels.current(channel).ok_or("the channel is not joined")?;
    let mut found = Vec::new();
    for (org, addresses) in view.orderer_orgs() {
        let roots = roots_of(&view, Some(org.as_str()));
        for address in addresses {
            found.push(Orderer {
                address: address.clone(),
                org: org.as_str().to_owned(),
                roots: roots.clone(),
            });
        }
    }
    if found.is_empty() {
        let roots = roots_of(&view, None);
        found.extend(view.orderer_addresses().iter().map(|address| Orderer {
            address: address.clone(),
            org: "the channel".into(),
            roots: roots.clone(),
        }));
    }
    if found.is_empty() {
        return Err("the channel's configuration names no endpoint of an orderer: add Endpoints to an orderer organisation, or give the channel a directory as source".into());
    }
    for orderer in &mut found {
        overridden(orderer, &us.settings.overrides)?;
    }
    Ok(found)
}

fn overridden(orderer: &mut Orderer, overrides: &[Override]) -> Result<(), String> {
    let Some(entry) = overrides.iter().find(|entry| entry.from == orderer.address) else {
        return Ok(());
    };
    if let Some(file) = &entry.roots {
        let roots = certificates(file).map_err(|failure| {
            format!("peer.deliveryclient.addressOverrides: {}", failure.sentence())
        })?;
        orderer.roots = bundle(roots.iter().map(Vec::as_slice));
    }
    orderer.address.clone_from(&entry.to);
    Ok(())
}

fn roots_of(view: &Channel, org: Option<&str>) -> String {
    let cas = view.tls_cas();
    let cas = cas.iter().filter(|ca| org.is_none_or(|org| ca.org.as_str() == org));
    bundle(cas.map(|ca| ca.certificate.as_ref()))
}

/// In random order, those without a failure first, then those whose failure is the longest ago.
pub(super) fn in_order(
    mut found: Vec<Orderer>,
    failed: impl Fn(&str) -> Option<Instant>,
) -> Vec<Orderer> {
    for place in (1..found.len()).rev() {
        let other = random() as usize % (place + 1);
        found.swap(place, other);
    }
    found.sort_by_key(|orderer| failed(&orderer.address));
    found
}

/// Drawn from the system; zero if it gives none, which makes an order less random and nothing else.
pub(super) fn random() -> u32 {
    let mut bytes = [0; 4];
    if getrandom::fill(&mut bytes).is_err() {
        return 0;
    }
    u32::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use super::*;

    fn named(address: &str) -> Orderer {
        Orderer { address: address.into(), org: "O".into(), roots: String::new() }
    }

    #[test]
    fn the_order_is_random_and_failures_go_last() {
        let early = Instant::now();
        let late = early + Duration::from_secs(1);
        let mut firsts = BTreeSet::new();
        for _ in 0..64 {
            let all = ["a", "b", "c", "d"].map(named).to_vec();
            let order = in_order(all, |address| match address {
                "c" => Some(late),
                "d" => Some(early),
                _ => None,
            });
            let order: Vec<_> = order.into_iter().map(|orderer| orderer.address).collect();
            assert_eq!(order[2..], ["d", "c"]);
            firsts.insert(order[0].clone());
        }
        assert_eq!(firsts.len(), 2);
    }

    #[test]
    fn an_override_moves_the_address_and_not_the_roots() {
        let mut orderer = Orderer { roots: "roots".into(), ..named("a:1") };
        let entry = Override { from: "a:1".into(), to: "b:2".into(), roots: None };
        overridden(&mut orderer, std::slice::from_ref(&entry)).unwrap();
        assert_eq!((orderer.address.as_str(), orderer.roots.as_str()), ("b:2", "roots"));
        let mut other = named("c:3");
        overridden(&mut other, &[entry]).unwrap();
        assert_eq!(other.address, "c:3");
    }
}
