//! Changed bytes of every kind: no panic, and the readers by hand agree with prost where they must.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a failing test may panic"
)]

mod common;

use bytes::Bytes;
use common::{block, channels, fixture, id, local, peer0, read};
use gossip_api::{BlockCodec, MessageCryptoService, PeerIdentity, SecurityAdvisor};
use peer_mcs::{Advisor, Channel, FabricCodec, Mcs, Tip, channel_of, fuzz, last_config, pki_id};
use proptest::prelude::*;

/// One change to a byte string.
#[derive(Clone, Debug)]
enum Change {
    Flip(prop::sample::Index, u8),
    Cut(prop::sample::Index),
    Insert(prop::sample::Index, Vec<u8>),
    Remove(prop::sample::Index, usize),
    Repeat(prop::sample::Index, usize),
}

fn change() -> impl Strategy<Value = Change> {
    let at = any::<prop::sample::Index>;
    prop_oneof![
        4 => (at(), 0u8..8).prop_map(|(at, bit)| Change::Flip(at, bit)),
        1 => at().prop_map(Change::Cut),
        2 => (at(), prop::collection::vec(any::<u8>(), 1..8)).prop_map(|(at, b)| Change::Insert(at, b)),
        1 => (at(), 1usize..64).prop_map(|(at, len)| Change::Remove(at, len)),
        1 => (at(), 1usize..64).prop_map(|(at, len)| Change::Repeat(at, len)),
    ]
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    prop::collection::vec(change(), 1..4)
}

fn changed(original: &[u8], changes: &[Change]) -> Vec<u8> {
    let mut bytes = original.to_vec();
    for change in changes {
        if bytes.is_empty() {
            break;
        }
        let len = bytes.len();
        match change {
            Change::Flip(at, bit) => bytes[at.index(len)] ^= 1 << bit,
            Change::Cut(at) => bytes.truncate(at.index(len)),
            Change::Insert(at, new) => {
                let at = at.index(len);
                bytes.splice(at..at, new.iter().copied());
            }
            Change::Remove(at, count) => {
                let at = at.index(len);
                bytes.drain(at..(at + count).min(len));
            }
            Change::Repeat(at, count) => {
                let at = at.index(len);
                let again = bytes[at..(at + count).min(len)].to_vec();
                bytes.splice(at..at, again);
            }
        }
    }
    bytes
}

/// The same messages as prost reads them.
mod shapes {
    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct Block {
        #[prost(message, optional, tag = "1")]
        pub(crate) header: Option<Header>,
        #[prost(message, optional, tag = "2")]
        pub(crate) data: Option<Entries>,
        #[prost(message, optional, tag = "3")]
        pub(crate) metadata: Option<Entries>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct Header {
        #[prost(uint64, tag = "1")]
        pub(crate) number: u64,
        #[prost(bytes = "vec", tag = "2")]
        pub(crate) previous_hash: Vec<u8>,
        #[prost(bytes = "vec", tag = "3")]
        pub(crate) data_hash: Vec<u8>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct Entries {
        #[prost(bytes = "vec", repeated, tag = "1")]
        pub(crate) entries: Vec<Vec<u8>>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct SerializedIdentity {
        #[prost(string, tag = "1")]
        pub(crate) mspid: String,
        #[prost(bytes = "vec", tag = "2")]
        pub(crate) id_bytes: Vec<u8>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct Envelope {
        #[prost(bytes = "vec", tag = "1")]
        pub(crate) payload: Vec<u8>,
        #[prost(bytes = "vec", tag = "2")]
        pub(crate) signature: Vec<u8>,
    }
}

/// Go takes a known field of the wrong type for an unknown one; prost refuses it.
fn is_about_wire_types(error: &prost::DecodeError) -> bool {
    let text = error.to_string();
    text.contains("invalid wire type") || text.contains("recursion limit")
}

fn small_block() -> impl Strategy<Value = Bytes> {
    let files = [
        "trade/blocks/block_000001.pb",
        "trade/blocks/block_000010.pb",
        "bft/blocks/block_000010.pb",
        "bft/attestations/block_000007.pb",
    ];
    prop::sample::select(files.to_vec()).prop_map(read)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn changed_blocks_are_judged_and_read_as_prost_reads_them(
        original in small_block(),
        changes in changes(),
    ) {
        use prost::Message as _;
        let bytes = Bytes::from(changed(&original, &changes));
        let ours = FabricCodec.split(&bytes);
        match (shapes::Block::decode(bytes.clone()), ours) {
            (Ok(theirs), Ok(ours)) => {
                let header = theirs.header.unwrap();
                prop_assert_eq!(header.number, ours.number.get());
                prop_assert_eq!(header.previous_hash, &ours.previous_hash[..]);
                prop_assert_eq!(header.data_hash, &ours.data_hash[..]);
                let entries = |bytes: &Bytes| shapes::Entries::decode(bytes.clone()).unwrap();
                prop_assert_eq!(theirs.data.unwrap_or_default(), entries(&ours.data));
                prop_assert_eq!(theirs.metadata.unwrap_or_default(), entries(&ours.metadata));
                let again = FabricCodec.split(&FabricCodec.join(&ours)).unwrap();
                prop_assert_eq!(again, ours);
            }
            (Ok(theirs), Err(_)) => prop_assert!(theirs.header.is_none()),
            (Err(error), Ok(_)) => prop_assert!(is_about_wire_types(&error), "{}", error),
            (Err(_), Err(_)) => {}
        }
    }

    #[test]
    fn changed_transactions_are_canonical_only_if_encoding_them_again_changes_nothing(
        changes in changes(),
        index in 0usize..10,
    ) {
        use prost::Message as _;
        let data = shapes::Entries::decode(block("trade", 10).data).unwrap();
        let bytes = changed(&data.entries[index], &changes);
        let canonical = fuzz::envelope(&bytes);
        let theirs = shapes::Envelope::decode(&bytes[..]);
        if let Ok(theirs) = &theirs {
            // prost drops unknown fields: equality with its encoding means there are none.
            let again = theirs.encode_to_vec();
            if again == bytes {
                prop_assert_eq!(canonical, Some(true));
            }
            if canonical == Some(true) {
                prop_assert!(bytes.starts_with(&again));
            }
        }
        if canonical.is_none() {
            prop_assert!(theirs.is_err());
        }
    }

    #[test]
    fn changed_identities_are_judged(
        name in prop::sample::select(vec!["peer0.org1", "peer0.org2", "extra.peer-ed25519",
            "extra.peer-p384", "extra.peer-cert-high-s", "orderer1.orderer"]),
        changes in changes(),
    ) {
        use prost::Message as _;
        thread_local! {
            static PEER: Mcs = peer0("trade", 36);
        }
        let bytes = changed(&read(&format!("identities/{name}.bin")), &changes);
        let identity = PeerIdentity::new(bytes.clone()).unwrap();
        PEER.with(|peer| {
            let valid = peer.validate_identity(&identity).is_ok();
            assert_eq!(valid, peer.validate_identity(&identity).is_ok(), "the cache agrees");
            assert_eq!(valid, peer.expiration(&identity).is_ok());
            assert!(peer.verify(&identity, b"no signature", b"message").is_err());
            let advisor = Advisor::new(peer.local().clone(), peer.channels().clone());
            assert!(!valid || advisor.org_by_peer_identity(&identity).is_some());
        });
        match shapes::SerializedIdentity::decode(&bytes[..]) {
            Ok(_) => prop_assert_eq!(pki_id(&identity).is_some(), !bytes.is_empty()),
            Err(error) => prop_assert!(pki_id(&identity).is_none() || is_about_wire_types(&error)),
        }
    }

    #[test]
    fn changed_certificates_and_lists_are_read_or_refused(changes in changes(), what in 0usize..3) {
        let files = ["crypto-extra/org2-revokes-peer2.crl.pem", "crypto-extra/peer-p384-cert.pem",
            "crypto/peerOrganizations/org1.test/peers/peer0.org1.test/msp/cacerts/ca.org1.test-cert.pem"];
        let text = std::fs::read(fixture(files[what])).unwrap();
        fuzz::pem(&changed(&text, &changes));
        fuzz::revocation_list(&changed(&text, &changes));
        let der = der_of(&text);
        fuzz::certificate(&changed(&der, &changes));
        fuzz::revocation_list(&changed(&der, &changes));
    }

    #[test]
    fn changed_settings_are_read_or_refused(changes in changes()) {
        let text = read("crypto/peerOrganizations/org1.test/peers/peer0.org1.test/msp/config.yaml");
        fuzz::msp_settings(&String::from_utf8_lossy(&changed(&text, &changes)));
    }

    #[test]
    fn changed_msp_configurations_are_set_up_or_refused(changes in changes()) {
        let bytes = changed(&an_msp_config(), &changes);
        fuzz::msp_config(&bytes);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn changed_blocks_are_verified_without_a_panic(original in small_block(), changes in changes()) {
        thread_local! {
            static TRADE: Mcs = peer0("trade", 0);
            static BFT: Mcs = peer0("bft", 0);
        }
        let Ok(parsed) = FabricCodec.split(&changed(&original, &changes).into()) else {
            return Ok(());
        };
        for (channel, peer) in [("trade", &TRADE), ("bft", &BFT)] {
            peer.with(|peer| {
                let _ = peer.verify_block(&id(channel), parsed.number, &parsed);
                let _ = peer.verify_block_attestation(&id(channel), &parsed);
                let _ = peer.verify_successor(&id(channel), &Tip::of(&parsed), &parsed);
                let _ = (channel_of(&parsed), last_config(&parsed));
            });
        }
    }

    #[test]
    fn changed_configurations_are_applied_or_refused(changes in changes(), number in 0usize..3) {
        let mut config = block("trade", [0, 18, 36][number]);
        config.data = changed(&config.data, &changes).into();
        config.data_hash = peer_mcs::data_hash(&config).to_vec().into();
        if let Ok(channel) = Channel::from_config_block(&config) {
            prop_assert!(channel.tls_cas().len() < 100);
        }
        let _ = channels("trade", 0).apply(&id("trade"), &config);
    }
}

/// The contents of a PEM text, by a library.
fn der_of(text: &[u8]) -> Vec<u8> {
    x509_cert::der::pem::decode_vec(text).unwrap().1
}

/// `msp.FabricMSPConfig` of Org1, with a name, a root, a TLS root and a revocation list of another's.
fn an_msp_config() -> Vec<u8> {
    #[derive(Clone, PartialEq, prost::Message)]
    struct Config {
        #[prost(string, tag = "1")]
        name: String,
        #[prost(bytes = "vec", repeated, tag = "2")]
        roots: Vec<Vec<u8>>,
        #[prost(bytes = "vec", repeated, tag = "4")]
        admins: Vec<Vec<u8>>,
        #[prost(bytes = "vec", repeated, tag = "5")]
        revocations: Vec<Vec<u8>>,
    }
    let dir = "crypto/peerOrganizations/org1.test";
    let text = |path: &str| read(path).to_vec();
    let config = Config {
        name: "Org1MSP".into(),
        roots: vec![text(&format!(
            "{dir}/peers/peer0.org1.test/msp/cacerts/ca.org1.test-cert.pem"
        ))],
        admins: vec![text(&format!(
            "{dir}/users/Admin@org1.test/msp/signcerts/Admin@org1.test-cert.pem"
        ))],
        revocations: vec![text("crypto-extra/org2-revokes-peer2.crl.pem")],
    };
    let bytes = prost::Message::encode_to_vec(&config);
    assert!(fuzz::msp_config(&bytes));
    bytes
}

#[test]
fn an_unchanged_peer_is_believed() {
    let own = local("peer1.org1.test", "Org1MSP");
    assert_eq!(peer0("trade", 0).validate_identity(own.identity()), Ok(()));
}
