//! Identities, heights, headers, choices.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use gossip_api::{
    Block, BlockError, BlockHash, BlockHeader, ChannelId, ChannelTag, CryptoError, Endpoint,
    Expiration, Height, IdentityMap, IdentityMapConfig, MessageCryptoService, Mono, PeerIdentity,
    PkiId, SeqNum, Signature, Wakeup, Wall, check_signature_form, earliest, select_peers,
};
use p256::ecdsa::SigningKey;
use p256::ecdsa::signature::Signer as _;
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng as _;
use support::{Host, at, identity};

fn map(host: &Host, config: IdentityMapConfig) -> IdentityMap {
    IdentityMap::new(config.checked().unwrap(), &host.identity, host, host, at(0)).unwrap()
}

#[test]
fn identities_are_validated_once_and_expired_ones_refused() {
    // fabric: gossip/identity/identity_test.go TestPut
    let host = Host::named("org1.me");
    let map = map(&host, IdentityMapConfig::default());
    let put = |name: &str, seconds| map.put(&identity(name), &host, &host, at(seconds));
    let peer = put("org1.peer@100", 1).unwrap();
    assert_eq!(map.get(&peer, Mono::ZERO).unwrap(), identity("org1.peer@100"));
    assert_eq!(map.org_of(&peer).unwrap().as_str(), "org1");
    assert_eq!(put("org1.peer@100", 101), Err(CryptoError::Expired), "known, and run out since");
    assert_eq!(put("org1.old@5", 6), Err(CryptoError::Expired));
    assert!(matches!(put("bad", 1), Err(CryptoError::InvalidIdentity(_))));
    assert_eq!(put("", 1), Err(CryptoError::EmptyIdentity));
}

#[test]
fn purging_takes_the_expired_the_unused_and_the_suspected_but_not_us() {
    // fabric: gossip/identity/identity_test.go TestListInvalidIdentities
    let host = Host::named("org1.me");
    let map = map(
        &host,
        IdentityMapConfig { unused_after: Duration::from_secs(50), ..Default::default() },
    );
    let expiring = map.put(&identity("org1.a@20"), &host, &host, at(1)).unwrap();
    let idle = map.put(&identity("org1.b"), &host, &host, at(1)).unwrap();
    let used = map.put(&identity("org1.c"), &host, &host, at(1)).unwrap();
    assert_eq!(
        map.purge(&host, &|_| true, at(21)),
        vec![expiring],
        "valid ones stay although suspected"
    );
    assert!(map.get(&used, at(40).mono).is_some());
    assert_eq!(map.purge(&host, &|_| false, at(60)), vec![idle]);
    assert_eq!(map.purge(&host, &|_| false, at(1000)), vec![used]);
    assert!(map.get(&host.pki_id(), at(1000).mono).is_some());
}

#[test]
fn only_the_suspected_are_asked_about_and_only_those_no_longer_valid_go() {
    // fabric: gossip/identity/identity_test.go TestListInvalidIdentities
    let host = Host::named("org1.me");
    let map = map(&host, IdentityMapConfig::default());
    let put = |name: &str| map.put(&identity(name), &host, &host, at(1)).unwrap();
    let (revoked, valid, spared) = (put("org2.revoked"), put("org2.valid"), put("org3.revoked"));
    let revoking = Revoking { host: &host, asked: Mutex::default() };
    let of_org2 = |identity: &PeerIdentity| identity.as_bytes().starts_with(b"org2.");
    assert_eq!(map.purge(&revoking, &of_org2, at(2)), vec![revoked]);
    assert_eq!(revoking.asked.into_inner().unwrap().len(), 2, "nobody else was validated again");
    assert_eq!(map.get(&revoked, at(2).mono), None);
    assert!(map.get(&valid, at(2).mono).is_some() && map.get(&spared, at(2).mono).is_some());
    // One that was thrown out may come back, if it is valid again.
    assert_eq!(map.put(&identity("org2.revoked"), &host, &host, at(3)), Ok(revoked));
}

#[test]
fn own_identity_is_reported_when_it_is_no_longer_valid_but_stays() {
    // fabric: gossip/identity/identity_test.go TestListInvalidIdentities
    let host = Host::named("org1.me@10");
    let map = map(&host, IdentityMapConfig::default());
    let other = map.put(&identity("org1.b"), &host, &host, at(1)).unwrap();
    assert_eq!(map.purge(&host, &|_| false, at(11)), vec![host.pki_id()]);
    assert!(map.get(&host.pki_id(), at(11).mono).is_some());
    map.remove(&host.pki_id());
    map.remove(&other);
    assert_eq!((map.len(), map.is_empty()), (1, false));
}

#[test]
fn an_invalid_own_identity_stops_the_start() {
    // fabric: gossip/identity/identity_test.go TestExpirationPanic
    let new = |name: &str| {
        let (host, config) = (Host::named(name), IdentityMapConfig::default().checked().unwrap());
        IdentityMap::new(config, &host.identity, &host, &host, at(6)).unwrap_err()
    };
    assert_eq!(new("org1.old@5"), CryptoError::Expired);
    assert!(matches!(new("bad"), CryptoError::InvalidIdentity(_)));
    assert_eq!(new(""), CryptoError::EmptyIdentity);
    let config = IdentityMapConfig { items_per_org_max: 0, ..Default::default() };
    assert!(config.checked().is_err());
}

#[test]
fn an_identity_is_good_until_its_last_second() {
    // fabric: gossip/identity/identity_test.go TestExpiration
    let host = Host::named("org1.me");
    let map = map(&host, IdentityMapConfig::default());
    let ends = map.put(&identity("org1.a@100"), &host, &host, at(1)).unwrap();
    let stays = map.put(&identity("org1.b"), &host, &host, at(1)).unwrap();
    assert_eq!(map.purge(&host, &|_| false, at(100)), vec![]);
    assert_eq!(map.purge(&host, &|_| false, at(101)), vec![ends]);
    // fabric: gossip/identity/identity_test.go TestGet
    assert_eq!(map.get(&stays, at(101).mono), Some(identity("org1.b")));
    assert_eq!(map.get(&ends, at(101).mono), None);
}

#[test]
fn identities_are_known_by_fingerprint_and_organisation() {
    // fabric: gossip/identity/identity_test.go TestIdentityInfo
    // fabric: gossip/api/api_test.go TestPeerIdentitySetByOrg
    // fabric: gossip/api/api_test.go TestPeerIdentitySetByID
    let host = Host::named("org1.me");
    let map = map(&host, IdentityMapConfig::default());
    for name in ["org1.a", "org2.b"] {
        let id = map.put(&identity(name), &host, &host, at(1)).unwrap();
        assert_eq!(map.get(&id, Mono::ZERO), Some(identity(name)));
        assert_eq!(map.org_of(&id).unwrap().as_str(), &name[..4]);
    }
    assert_eq!(map.org_of(&PkiId::from_bytes([9; 32])), None);
}

/// Accepts no identity whose name ends in "revoked", and counts what it is asked.
struct Revoking<'a> {
    host: &'a Host,
    asked: Mutex<Vec<PeerIdentity>>,
}

impl MessageCryptoService for Revoking<'_> {
    fn pki_id_of_cert(&self, identity: &PeerIdentity) -> Option<PkiId> {
        self.host.pki_id_of_cert(identity)
    }

    fn verify_block(&self, _: &ChannelId, _: SeqNum, _: &Block) -> Result<(), BlockError> {
        Ok(())
    }

    fn verify_block_attestation(&self, _: &ChannelId, _: &Block) -> Result<(), BlockError> {
        Ok(())
    }

    fn sign(&self, message: &[u8]) -> Result<Signature, CryptoError> {
        self.host.sign(message)
    }

    fn verify(&self, id: &PeerIdentity, sig: &[u8], message: &[u8]) -> Result<(), CryptoError> {
        self.host.verify(id, sig, message)
    }

    fn verify_by_channel(
        &self,
        _: &ChannelId,
        id: &PeerIdentity,
        sig: &[u8],
        message: &[u8],
    ) -> Result<(), CryptoError> {
        self.host.verify(id, sig, message)
    }

    fn validate_identity(&self, identity: &PeerIdentity) -> Result<(), CryptoError> {
        self.asked.lock().unwrap().push(identity.clone());
        if identity.as_bytes().ends_with(b"revoked") {
            return Err(CryptoError::InvalidIdentity("revoked".into()));
        }
        Ok(())
    }

    fn expiration(&self, identity: &PeerIdentity) -> Result<Expiration, CryptoError> {
        self.host.expiration(identity)
    }
}

#[test]
fn a_flood_of_identities_of_one_organisation_displaces_its_own_only() {
    // I10
    let host = Host::named("org1.me");
    let config = IdentityMapConfig { items_max: 20, items_per_org_max: 10, ..Default::default() };
    let map = map(&host, config);
    let honest = map.put(&identity("org2.honest"), &host, &host, at(1)).unwrap();
    for i in 0..1000 {
        map.put(&identity(&format!("org3.{i}")), &host, &host, at(2 + i)).unwrap();
    }
    assert_eq!(map.len(), 12);
    assert!(
        map.get(&honest, Mono::ZERO).is_some() && map.get(&host.pki_id(), Mono::ZERO).is_some()
    );
}

#[test]
fn a_header_hashes_as_fabric_hashes_it() {
    // Header of block 1 of the fixtures' channel trade.
    let previous = "b05b2ca8608e444f17e44ede50305cd500347730a92934ed9f9f68411626825e";
    let data = "6a8ba2fc1c8f8a24a72ac774c528bb11ca30d914ba733a98186c51bf98917ddd";
    let header = BlockHeader {
        number: SeqNum::new(1),
        previous_hash: Bytes::from(hex::decode(previous).unwrap()),
        data_hash: Bytes::from(hex::decode(data).unwrap()),
    };
    let expected = format!("30470201010420{previous}0420{data}");
    assert_eq!(hex::encode(header.to_asn1()), expected);
    let hash = "97dfb0fb87f92bb1e7aec4af57f0d3cf6f3afe92d59924d72a777625bf35850a";
    assert_eq!(header.hash().to_string(), hash);
}

#[test]
fn integers_of_a_header_are_minimal_and_unsigned() {
    for (number, integer) in [
        (0, "020100"),
        (127, "02017f"),
        (128, "02020080"),
        (256, "02020100"),
        (u64::MAX, "020900ffffffffffffffff"),
    ] {
        let number = SeqNum::new(number);
        let header = BlockHeader { number, previous_hash: Bytes::new(), data_hash: Bytes::new() };
        let asn1 = hex::encode(header.to_asn1());
        assert!(asn1[4..].starts_with(integer), "{asn1}");
    }
}

#[test]
fn signatures_have_one_form() {
    let key = SigningKey::from_bytes(&[7; 32].into()).unwrap();
    let signature: p256::ecdsa::Signature = key.sign(b"message");
    let low = signature.normalize_s();
    check_signature_form(low.to_der().as_bytes()).unwrap();
    let (r, s) = low.split_scalars();
    let high = p256::ecdsa::Signature::from_scalars(r, -s).unwrap();
    assert!(check_signature_form(high.to_der().as_bytes()).is_err(), "high s");
    let mut trailing = low.to_der().as_bytes().to_vec();
    trailing.push(0);
    assert!(check_signature_form(&trailing).is_err(), "a byte behind");
    assert!(check_signature_form(&[]).is_err());
    let mut unreduced = [0xff; 64];
    assert!(check_signature_form(&unreduced).is_err(), "s not below the order");
    unreduced[63] = 0;
    check_signature_form(&unreduced).unwrap();
}

#[test]
fn a_channels_tag_is_different_for_every_peer_and_genesis() {
    let channel = ChannelId::new("trade").unwrap();
    let (a, b) = (PkiId::from_bytes([1; 32]), PkiId::from_bytes([2; 32]));
    let (g, h) = (BlockHash::from_bytes([3; 32]), BlockHash::from_bytes([4; 32]));
    let tags: BTreeSet<ChannelTag> = [(&g, &a), (&g, &b), (&h, &a)]
        .into_iter()
        .map(|(genesis, peer)| ChannelTag::derive(&channel, genesis, peer))
        .collect();
    assert_eq!(tags.len(), 3);
}

#[test]
fn selection_is_bounded_filtered_and_fair() {
    // fabric: gossip/filter/filter_test.go TestSelectPeers
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let pool: Vec<u32> = (0..10).collect();
    let mut counts = [0u32; 10];
    for _ in 0..10_000 {
        let chosen = select_peers(&mut rng, 3, &pool, |peer| *peer != 4);
        let distinct: BTreeSet<u32> = chosen.iter().copied().collect();
        assert_eq!(distinct.len(), 3);
        chosen.iter().for_each(|peer| counts[*peer as usize] += 1);
    }
    assert_eq!(counts[4], 0);
    let others = counts.iter().enumerate().filter(|(peer, _)| *peer != 4);
    assert!(
        others.map(|(_, count)| *count).all(|count| (3000..3700).contains(&count)),
        "{counts:?}"
    );
    assert_eq!(select_peers(&mut rng, 100, &pool, |_| true).len(), 10);
}

#[test]
fn counters_and_clocks_saturate() {
    // F10
    assert_eq!(SeqNum::new(u64::MAX).next().get(), u64::MAX);
    assert_eq!(SeqNum::new(u64::MAX).height(), Height::new(u64::MAX));
    assert_eq!(Height::new(0).last_block(), None);
    let end = Mono::from_nanos(u64::MAX);
    assert_eq!(end.after(Duration::MAX), end);
    assert_eq!(Mono::ZERO.since(end), Duration::ZERO);
    assert!(!Expiration::Never.is_past(Wall::from_unix_seconds(i64::MAX)));
    let wakeup = |nanos| Some(Wakeup { at: Mono::from_nanos(nanos), why: "test" });
    assert_eq!(earliest([wakeup(5), None, wakeup(3)]), wakeup(3));
    assert_eq!(earliest([None, None]), None);
}

#[test]
fn names_have_a_greatest_length() {
    assert!(ChannelId::new(&"c".repeat(249)).is_ok() && ChannelId::new(&"c".repeat(250)).is_err());
    assert!(Endpoint::new(&"e".repeat(256)).is_err());
    // fabric: gossip/common/common_test.go TestPKIidTypeStringer
    let id = PkiId::from_bytes([0xab; 32]);
    assert_eq!(format!("{id:?}"), "PkiId(abababab)");
    assert_eq!(id.to_string().len(), 64);
}
