//! A channel's trust: what a configuration says, and how one follows another.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a failing test may panic"
)]

mod common;

use std::sync::atomic::{AtomicBool, Ordering};

use common::{block, channels, id, identity, local, peer0};
use gossip_api::{JoinChannelMessage, MessageCryptoService, OrgId, SeqNum};
use peer_mcs::{Channel, ChannelError, Channels, Mcs, check_link};

#[test]
fn a_genesis_block_tells_the_channel() {
    let trade = Channel::from_config_block(&block("trade", 0)).unwrap();
    assert_eq!(trade.id(), &id("trade"));
    assert_eq!((trade.sequence(), trade.config_block().get()), (0, 0));
    assert_eq!(trade.genesis_hash(), Some(block("trade", 0).header().hash()));
    assert_eq!(trade.consensus_type(), "etcdraft");
    assert_eq!(trade.capabilities().collect::<Vec<_>>(), ["V3_0"]);
    let orgs: Vec<_> = trade.application_orgs().map(OrgId::as_str).collect();
    assert_eq!(orgs, ["Org1MSP", "Org2MSP"]);
    let (orderers, endpoints) = trade.orderer_orgs().next().unwrap();
    assert_eq!((orderers.as_str(), endpoints.len()), ("OrdererMSP", 1));
    assert_eq!(trade.tls_cas().len(), 3);
    assert!(trade.consenters().is_empty());

    let bft = Channel::from_config_block(&block("bft", 0)).unwrap();
    assert_eq!(bft.consensus_type(), "BFT");
    let numbers: Vec<_> = bft.consenters().iter().map(|consenter| consenter.id).collect();
    assert_eq!(numbers, [1, 2, 3, 4]);
}

#[test]
fn anchor_peers_follow_the_configuration() {
    let ports = |config_block| {
        let view = channels("trade", config_block).current(&id("trade")).unwrap();
        let anchors = view.anchor_peers_of(&OrgId::new("Org2MSP").unwrap());
        (view.sequence_number(), anchors.iter().map(|anchor| anchor.port).collect::<Vec<_>>())
    };
    assert_eq!(ports(0), (0, vec![17451]));
    assert_eq!(ports(18), (1, vec![17451, 17461]));
    assert_eq!(ports(48).0, 3);
    let view = channels("trade", 0).current(&id("trade")).unwrap();
    assert_eq!(view.members().len(), 2);
    assert!(view.anchor_peers_of(&OrgId::new("Org9MSP").unwrap()).is_empty());
}

#[test]
fn configurations_follow_one_another_in_order() {
    let trade = channels("trade", 0);
    let apply = |number| trade.apply(&id("trade"), &block("trade", number));
    assert!(matches!(apply(36), Err(ChannelError::OutOfOrder { current: 0, found: 2, .. })));
    assert!(matches!(apply(17), Err(ChannelError::NotConfig(_))));
    assert_eq!(apply(18).unwrap().sequence(), 1);
    assert_eq!(apply(18).unwrap().sequence(), 1, "again changes nothing");
    assert_eq!(apply(36).unwrap().sequence(), 2);
    assert!(matches!(
        trade.apply(&id("trade"), &block("bft", 16)),
        Ok(view) if view.sequence() == 2
    ));
    assert!(matches!(
        trade.apply(&id("bft"), &block("bft", 16)),
        Err(ChannelError::NoSuchChannel(_))
    ));
    let first = Channel::from_config_block(&block("trade", 0)).unwrap();
    assert!(matches!(first.next(&block("bft", 16)), Err(ChannelError::OtherChannel { .. })));
    assert!(matches!(trade.join(first), Err(ChannelError::AlreadyJoined(_))));
    assert_eq!(
        trade.current(&id("trade")).unwrap().genesis_hash(),
        Some(block("trade", 0).header().hash())
    );
}

#[test]
fn a_revoked_peer_is_cut_off_with_the_config_block_and_not_before() {
    let trade = channels("trade", 18);
    let peer = Mcs::new(local("peer0.org1.test", "Org1MSP"), trade.clone());
    let revoked = Mcs::new(local("peer2.org2.test", "Org2MSP"), trade.clone());
    let name = identity("peer2.org2");
    let signature = revoked.sign(b"message").unwrap();
    for _ in 0..2 {
        assert_eq!(peer.validate_identity(&name), Ok(()));
        assert_eq!(peer.verify(&name, &signature, b"message"), Ok(()));
    }
    trade.apply(&id("trade"), &block("trade", 36)).unwrap();
    assert!(peer.validate_identity(&name).is_err());
    assert!(peer.verify(&name, &signature, b"message").is_err());
    assert!(peer.verify_by_channel(&id("trade"), &name, &signature, b"message").is_err());
    assert_eq!(peer.validate_identity(&identity("peer1.org2")), Ok(()));
}

#[test]
fn every_block_is_verified_under_the_configuration_before_it() {
    // With all configurations known, old blocks and new ones are good, in any order, twice.
    let peer = peer0("trade", 48);
    for _ in 0..2 {
        for number in (1..=54).rev() {
            let good = block("trade", number);
            assert_eq!(peer.verify_block(&id("trade"), good.number, &good), Ok(()), "{number}");
            let before = block("trade", number - 1).header().hash();
            check_link(&before, &good).unwrap();
            assert!(check_link(&good.header().hash(), &good).is_err());
        }
    }
    let current = peer.channels().current(&id("trade")).unwrap();
    let earlier = peer.channels().for_block(&id("trade"), SeqNum::new(36)).unwrap();
    assert_eq!((current.config_block().get(), earlier.config_block().get()), (48, 18));
}

#[test]
fn a_joined_channel_may_start_at_a_later_configuration() {
    let channels = Channels::new();
    let later = Channel::from_config_block(&block("trade", 36)).unwrap();
    assert_eq!(later.genesis_hash(), None);
    let genesis = block("trade", 0).header().hash();
    channels.join(later.with_genesis_hash(genesis)).unwrap();
    let view = channels.apply(&id("trade"), &block("trade", 48)).unwrap();
    assert_eq!(view.genesis_hash(), Some(genesis));
    assert_eq!(channels.all().len(), 1);
}

#[test]
fn trust_is_replaced_while_others_verify() {
    let trade = channels("trade", 0);
    let peer = Mcs::new(local("peer0.org1.test", "Org1MSP"), trade.clone());
    let done = AtomicBool::new(false);
    let good: Vec<_> = (1..=16).map(|number| block("trade", number)).collect();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut rounds = 0;
                while rounds < 2 || !done.load(Ordering::Relaxed) {
                    for block in &good {
                        peer.verify_block(&id("trade"), block.number, block).unwrap();
                        peer.validate_identity(&identity("peer0.org2")).unwrap();
                    }
                    rounds += 1;
                }
            });
        }
        for number in [18, 36, 48] {
            trade.apply(&id("trade"), &block("trade", number)).unwrap();
            trade.forget_cached();
        }
        done.store(true, Ordering::Relaxed);
    });
}
