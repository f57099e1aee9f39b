//! The wire form: one encoding per value, nothing believed that the bytes do not bear out.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod support;

use bytes::Bytes;
use gossip_api::message::{
    Beat, Beats, Class, DataMessage, Features, Hello, HelloBinding, HelloLimits, ItemId, Kind,
    PullDigest, PullHello, PullKind, PullRequest, PullUpdate, Record, Role, ShortId, StateInfo,
    StateRequest, StateResponse, WIRE_VERSION, chain_step, signed_bytes,
};
use gossip_api::{
    Blob, Block, Bounded, ChannelId, ChannelTag, Endpoint, Envelope, Epoch, Height, Message,
    NetworkId, Nonce, PkiId, SeqNum, Tag, Verified, WireError,
};
use proptest::prelude::*;
use support::{Host, at, identity};

fn network() -> NetworkId {
    NetworkId::new("dev").unwrap()
}

fn channel() -> ChannelId {
    ChannelId::new("trade").unwrap()
}

fn block(data: usize) -> Block {
    Block {
        number: SeqNum::new(7),
        previous_hash: Bytes::from(vec![1; 32]),
        data_hash: Bytes::from(vec![2; 32]),
        data: Bytes::from(vec![3; data]),
        metadata: Bytes::from(vec![4; 100]),
    }
}

fn record(host: &Host) -> Record {
    Record {
        pki_id: host.pki_id(),
        epoch: Epoch::new(3),
        version: 1,
        endpoint: Some(Endpoint::new("127.0.0.1:7051").unwrap()),
        secret: [9; 32],
        metadata: Blob::new(vec![1, 2, 3]).unwrap(),
        first_beat: 0,
        chain_len: 16,
        chain_end: [7; 32],
    }
}

fn messages() -> Vec<Message> {
    let nonce = Nonce::new(11);
    let items = Bounded::new(vec![ItemId::block(SeqNum::new(1)), ItemId::block(SeqNum::new(2))]);
    let items = items.unwrap();
    let beat = Beat {
        member: ShortId::of(&PkiId::from_bytes([1; 32])),
        epoch: Epoch::new(1),
        sequence: 4,
        preimage: [5; 32],
    };
    let kind = PullKind::Block;
    vec![
        Message::Record(record(&Host::named("org1.a"))),
        Message::Beats(Beats { beats: Bounded::new(vec![beat]).unwrap() }),
        Message::StateInfo(StateInfo {
            tag: ChannelTag::from_bytes([6; 32]),
            pki_id: PkiId::from_bytes([1; 32]),
            epoch: Epoch::new(1),
            sequence: 2,
            height: Height::new(9),
            left_channel: false,
        }),
        Message::Data(DataMessage { channel: channel(), block: block(1000) }),
        Message::Hello(PullHello { nonce, channel: channel(), kind }),
        Message::Digest(PullDigest { nonce, channel: channel(), kind, items: items.clone() }),
        Message::Request(PullRequest { nonce, channel: channel(), kind, items }),
        Message::Update(PullUpdate { nonce, channel: channel(), block: block(10) }),
        Message::StateRequest(StateRequest {
            nonce,
            channel: channel(),
            from: SeqNum::new(1),
            to: SeqNum::new(2),
            bytes_max: 100,
        }),
        Message::StateResponse(StateResponse { nonce, channel: channel(), block: block(0) }),
    ]
}

fn frame_of(message: &Message) -> Bytes {
    let joined = Envelope::unsigned(message).encode().unwrap().concat();
    let length = u32::from_le_bytes(joined[..4].try_into().unwrap()) as usize;
    assert_eq!(length, joined.len() - 4, "the length counts what follows it");
    Bytes::from(joined).slice(4..)
}

#[test]
fn every_message_comes_back_as_it_was_and_in_the_same_bytes() {
    for message in messages() {
        let frame = frame_of(&message);
        let envelope = Envelope::decode(&frame).unwrap();
        assert_eq!(envelope.encode().unwrap().concat()[4..], frame[..]);
        assert_eq!(envelope.open().unwrap().message, message);
    }
}

#[test]
fn a_block_is_a_slice_of_its_frame() {
    let message = Message::Data(DataMessage { channel: channel(), block: block(1 << 20) });
    let frame = frame_of(&message);
    let opened = Envelope::decode(&frame).unwrap().open().unwrap();
    let Message::Data(data) = opened.message else { panic!("another kind") };
    let within = frame.as_ptr_range();
    assert!(within.contains(&data.block.data.as_ptr()));
    assert!(within.contains(&data.block.metadata.as_ptr()));
}

#[test]
fn whatever_is_cut_off_or_added_is_refused() {
    for message in messages() {
        let frame = frame_of(&message);
        for end in 0..frame.len().min(400) {
            let cut = frame.slice(..end);
            assert!(Envelope::decode(&cut).and_then(Envelope::open).is_err(), "{message:?} {end}");
        }
        let mut longer = frame.to_vec();
        longer.push(0);
        assert!(Envelope::decode(&longer.into()).and_then(Envelope::open).is_err());
    }
}

#[test]
fn unknown_versions_and_classes_and_oversize_are_told_apart() {
    let frame = frame_of(&messages()[0]);
    let with = |at: usize, byte: u8| {
        let mut bytes = frame.to_vec();
        bytes[at] = byte;
        Envelope::decode(&bytes.into()).and_then(Envelope::open).unwrap_err()
    };
    assert_eq!(with(0, WIRE_VERSION + 1), WireError::Version(WIRE_VERSION + 1));
    assert_eq!(with(1, 99), WireError::Class(99));
    assert!(matches!(with(1, 3), WireError::Misplaced(_)), "a record in a block's frame");
    let class = Class::Control;
    let over = u32::try_from(class.frame_max()).unwrap() + 1;
    let told = gossip_api::message::codec::peek(over, WIRE_VERSION, 1).unwrap_err();
    assert!(matches!(told, WireError::TooLarge { .. }));
}

#[test]
fn a_claimed_count_is_refused_before_anything_is_reserved() {
    // A beats body: kind 1, then a count of 2^40.
    let mut body = 1u32.to_le_bytes().to_vec();
    body.extend((1u64 << 40).to_le_bytes());
    let mut frame = vec![WIRE_VERSION, 1];
    frame.extend((body.len() as u64).to_le_bytes());
    frame.extend(&body);
    frame.extend(0u64.to_le_bytes());
    let error = Envelope::decode(&frame.into()).unwrap().open().unwrap_err();
    assert!(matches!(error, WireError::Malformed(_)), "{error}");
}

#[test]
fn a_kind_decides_about_class_tag_and_voucher() {
    for message in messages() {
        let block = matches!(message.kind(), Kind::Data | Kind::Update | Kind::StateResponse);
        assert_eq!(message.kind().class() == Class::Block, block);
        assert_eq!(message.tag().is_channel_restricted(), message.channel().is_some());
    }
    // fabric: gossip/protoext/message_test.go TestGossipMessageDataMessageTagType
    assert_eq!(messages()[3].tag(), Tag::ChanAndOrg);
    assert!(Tag::ChanAndOrg.is_org_restricted() && !Tag::ChanOrOrg.is_org_restricted());
}

#[test]
fn a_record_is_believed_under_its_originators_signature_only() {
    // fabric: gossip/protoext/signing_test.go TestSignedGossipMessage_Verify
    let host = Host::named("org1.a");
    let map = map_with(&host, &["org1.b"]);
    let own = Verified::own(Message::Record(record(&host)), host.pki_id(), &network(), &host);
    let envelope = own.unwrap().envelope().clone();
    let good =
        Envelope::decode(&Bytes::from(envelope.encode().unwrap().concat()).slice(4..)).unwrap();
    let verify = |envelope: Envelope, network: &NetworkId| {
        Verified::signed(envelope.open().unwrap(), None, &map, network, &host, at(1).mono)
    };
    assert_eq!(verify(good.clone(), &network()).unwrap().author(), host.pki_id());
    let other = NetworkId::new("prod").unwrap();
    assert!(verify(good.clone(), &other).is_err(), "another network");
    let by_other = Host::named("org1.b");
    let forged = Envelope::unsigned(&Message::Record(record(&host)));
    assert!(verify(forged.clone(), &network()).is_err(), "no signature");
    use gossip_api::MessageCryptoService as _;
    let bytes = signed_bytes("record", &network(), &[], forged.body());
    let forged = forged.with_signature(by_other.sign(&bytes).unwrap()).unwrap();
    assert!(verify(forged, &network()).is_err(), "somebody else's signature");
    assert!(Verified::sender(good.open().unwrap(), host.pki_id()).is_err(), "a connection's word");
}

#[test]
fn signed_bytes_cannot_be_taken_for_one_another_or_for_a_protobuf() {
    let bytes = signed_bytes("record", &network(), b"", b"body");
    assert_eq!(bytes[0], 0, "no protobuf begins with field 0");
    assert_ne!(bytes, signed_bytes("recor", &network(), b"d", b"body"));
    assert_ne!(bytes, signed_bytes("record", &network(), b"b", b"ody"));
}

#[test]
fn a_hello_is_good_for_its_session_and_its_direction_only() {
    let host = Host::named("org1.a");
    let binding = HelloBinding {
        role: Role::Dialler,
        exporter: [1; 32],
        own_leaf: [2; 32],
        peer_leaf: [3; 32],
    };
    let hello = Hello {
        identity: host.identity.clone(),
        epoch: Epoch::new(1),
        wire_version: WIRE_VERSION,
        features: Features::default(),
        limits: HelloLimits { block_frame_max: 1 << 20 },
        signature: Blob::default(),
    };
    let hello = hello.sign(&binding, &network(), &host).unwrap();
    let bytes = hello.encode().unwrap();
    let read = Hello::decode(&bytes[4..]).unwrap();
    assert_eq!(read, hello);
    let verify = |binding: &HelloBinding| read.verify(&host.pki_id(), binding, &network(), &host);
    verify(&binding).unwrap();
    assert!(verify(&HelloBinding { role: Role::Acceptor, ..binding.clone() }).is_err(), "H2");
    assert!(verify(&HelloBinding { exporter: [9; 32], ..binding.clone() }).is_err(), "H1");
    assert!(verify(&HelloBinding { own_leaf: [9; 32], ..binding.clone() }).is_err(), "H3");
    assert!(verify(&binding.other()).is_err());
    assert!(Hello::decode(&bytes[4..bytes.len() - 1]).is_err());
}

#[test]
fn a_beat_is_a_link_of_its_chain_and_older_ones_are_refused() {
    let host = Host::named("org1.a");
    let mut links = vec![[0x55; 32]];
    for _ in 0..16 {
        let next = chain_step(links.last().unwrap());
        links.push(next);
    }
    let record = Record { chain_end: links[16], ..record(&host) };
    let beat = |sequence: u64| Beat {
        member: ShortId::of(&host.pki_id()),
        epoch: record.epoch,
        sequence,
        preimage: links[15 - usize::try_from(sequence).unwrap()],
    };
    assert!(record.accepts(&beat(0), None) && record.accepts(&beat(15), None));
    assert!(record.accepts(&beat(9), Some((4, &beat(4).preimage))));
    assert!(!record.accepts(&beat(4), Some((4, &beat(4).preimage))), "not newer");
    assert!(!record.accepts(&beat(3), Some((4, &beat(4).preimage))), "older");
    let forged = Beat { preimage: [1; 32], ..beat(5) };
    assert!(!record.accepts(&forged, None));
    let far = Beat { sequence: u64::MAX, ..beat(5) };
    assert!(!record.accepts(&far, None), "beyond the chain");
    let other_life = Beat { epoch: Epoch::new(99), ..beat(5) };
    assert!(!record.accepts(&other_life, None));
}

fn map_with(host: &Host, others: &[&str]) -> gossip_api::IdentityMap {
    let config = gossip_api::IdentityMapConfig::default().checked().unwrap();
    let map = gossip_api::IdentityMap::new(config, &host.identity, host, host, at(0)).unwrap();
    for name in others {
        map.put(&identity(name), host, host, at(0)).unwrap();
    }
    map
}

proptest! {
    #[test]
    fn no_bytes_panic_and_what_decodes_encodes_to_the_same(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let frame = Bytes::from(bytes);
        if let Ok(envelope) = Envelope::decode(&frame) {
            prop_assert_eq!(&envelope.encode().unwrap().concat()[4..], &frame[..]);
            if let Ok(signed) = envelope.open() {
                let again = Envelope::unsigned(&signed.message);
                prop_assert_eq!(again.body(), signed.envelope.body());
            }
        }
    }

    #[test]
    fn a_flipped_bit_gives_an_error_or_another_canonical_message(which in 0usize..10, at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let mut bytes = frame_of(&messages()[which]).to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        if let Ok(envelope) = Envelope::decode(&Bytes::from(bytes))
            && let Ok(signed) = envelope.open()
        {
            let again = Envelope::unsigned(&signed.message);
            prop_assert_eq!(again.body(), signed.envelope.body());
        }
    }
}

#[test]
fn a_message_too_large_for_its_class_is_an_error_of_its_sender() {
    let identity = gossip_api::PeerIdentity::new(vec![7; 16 << 10]).unwrap();
    let identities = vec![identity; 64];
    let message = Message::PeerIdentities(gossip_api::message::PeerIdentities {
        nonce: Nonce::new(1),
        identities: gossip_api::Bounded::new(identities).unwrap(),
    });
    let envelope = Envelope::unsigned(&message);
    assert!(envelope.body().len() > 1 << 20, "nothing is cut off before it is noticed");
    assert!(matches!(envelope.encode(), Err(WireError::TooLarge { .. })));
    let mut out = bytes::BytesMut::from(&b"before"[..]);
    assert!(envelope.encode_into(&mut out).is_err());
    assert_eq!(&out[..], b"before");
}

#[test]
fn both_ways_of_encoding_give_the_same_bytes() {
    for message in support::samples() {
        let envelope = Envelope::unsigned(&message);
        let mut out = bytes::BytesMut::new();
        envelope.encode_into(&mut out).unwrap();
        assert_eq!(envelope.encode().unwrap().concat(), out[..]);
        assert_eq!(out.len(), envelope.encoded_len());
    }
}

#[test]
fn an_envelope_knows_like_its_kind_whether_it_rides_datagrams() {
    let ride = support::samples().into_iter().filter(|message| {
        let kind = message.kind();
        assert_eq!(
            Envelope::unsigned(message).rides_datagrams(),
            kind.rides_datagrams(),
            "{kind:?}"
        );
        kind.rides_datagrams()
    });
    let kinds: Vec<_> = ride.map(|message| message.kind()).collect();
    assert_eq!(kinds, [Kind::Probe, Kind::ProofOfLife]);
}
