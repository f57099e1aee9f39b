//! What each kind promises by its type.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod support;

use bytes::Bytes;
use gossip_api::message::{
    Acknowledgement, Class, HeaderMessage, ItemId, Kind, Origin, PeerIdentities, Plan, PlanPart,
    PrivateData, PrivateDataRequest, PullDigest, PullHello, PullKind, PullRequest, SealedStateInfo,
    Secret, WIRE_VERSION,
};
use gossip_api::{
    Bounded, ChannelId, CryptoError, Endpoint, Envelope, Epoch, ErrorText, IdentityMap,
    IdentityMapConfig, MerkleTree, Message, NetworkId, Nonce, PeerIdentity, PkiId, Tag, Verified,
    WireError,
};
use support::{Host, at, identity, peer, plan, record, samples, sealed, state_info, trade};

fn sample(kind: Kind) -> Message {
    samples().into_iter().find(|message| message.kind() == kind).unwrap()
}

fn frame_of(envelope: &Envelope) -> Bytes {
    Bytes::from(envelope.encode().unwrap().concat()).slice(4..)
}

fn reopened(message: &Message) -> Result<Message, WireError> {
    let frame = frame_of(&Envelope::unsigned(message));
    Ok(Envelope::decode(&frame)?.open()?.message)
}

#[test]
fn every_kind_has_one_tag() {
    // fabric: gossip/protoext/message_test.go TestCheckGossipMessageTypes
    // fabric: gossip/protoext/message_test.go TestGossipMessageAliveMessageTagType
    // fabric: gossip/protoext/message_test.go TestGossipMessageMembershipMessageTagType
    // fabric: gossip/protoext/message_test.go TestGossipMessageStateInfoMessageTagType
    // fabric: gossip/protoext/message_test.go TestGossipMessageLeadershipMessageTagType
    use Tag::{ChanAndOrg, ChanOnly, ChanOrOrg, Empty};
    for (kind, tag) in [
        (Kind::Record, Empty),
        (Kind::Beats, Empty),
        (Kind::MembershipRequest, Empty),
        (Kind::MembershipResponse, Empty),
        (Kind::StateInfo, ChanOrOrg),
        (Kind::Data, ChanAndOrg),
        (Kind::Hello, ChanAndOrg),
        (Kind::Digest, ChanAndOrg),
        (Kind::Request, ChanAndOrg),
        (Kind::Update, ChanAndOrg),
        (Kind::StateRequest, ChanOrOrg),
        (Kind::StateResponse, ChanOrOrg),
        (Kind::Probe, Empty),
        (Kind::ProofOfLife, Empty),
        (Kind::StateInfoPullRequest, ChanOrOrg),
        (Kind::Leadership, ChanAndOrg),
        (Kind::StateInfoSnapshot, ChanOrOrg),
        (Kind::PeerIdentities, Empty),
        (Kind::Acknowledgement, Empty),
        (Kind::PrivateData, ChanOnly),
        (Kind::PrivateDataRequest, ChanOnly),
        (Kind::PrivateDataResponse, ChanOnly),
        (Kind::Header, ChanOnly),
        (Kind::HeaderNote, ChanOnly),
        (Kind::BlockNote, ChanAndOrg),
        (Kind::Plan, ChanAndOrg),
        (Kind::ShareCommitment, ChanAndOrg),
        (Kind::Share, ChanAndOrg),
        (Kind::ShareReport, ChanAndOrg),
    ] {
        let message = sample(kind);
        assert_eq!(message.tag(), tag, "{kind:?}");
        assert_eq!(tag.is_channel_restricted(), message.channel().is_some(), "{kind:?}");
        assert_eq!(message.header().kind, kind);
    }
    assert_eq!(samples().len(), 29, "a new kind is missing above");
}

#[test]
fn a_pull_of_identities_names_no_channel() {
    // fabric: gossip/protoext/message_test.go TestGossipMessagePullMessageTagType
    // fabric: gossip/protoext/message_test.go TestGossipPullMessageType
    let pulls = |kind: PullKind, channel: ChannelId| {
        let nonce = Nonce::new(1);
        let items = Bounded::new(vec![ItemId::identity(peer())]).unwrap();
        [
            Message::Hello(PullHello { nonce, channel: channel.clone(), kind }),
            Message::Digest(PullDigest {
                nonce,
                channel: channel.clone(),
                kind,
                items: items.clone(),
            }),
            Message::Request(PullRequest { nonce, channel, kind, items }),
        ]
    };
    for pull in pulls(PullKind::Identity, ChannelId::new("").unwrap()) {
        assert_eq!((pull.tag(), pull.channel()), (Tag::Empty, None));
        assert_eq!(reopened(&pull).unwrap(), pull);
    }
    for pull in pulls(PullKind::Identity, trade()) {
        assert!(matches!(reopened(&pull), Err(WireError::Misplaced(_))), "{pull:?}");
    }
    for pull in pulls(PullKind::Block, trade()) {
        assert_eq!(pull.tag(), Tag::ChanAndOrg);
        reopened(&pull).unwrap();
    }
    for pull in pulls(PullKind::StateInfo, trade()) {
        assert_eq!(pull.tag(), Tag::ChanOrOrg);
        reopened(&pull).unwrap();
    }
    let said = (peer(), Epoch::new(3), 9);
    assert_eq!(ItemId::state_info(said.0, said.1, said.2).as_state_info(), Some(said));
    assert_eq!(ItemId::identity(peer()).as_state_info(), None);
    assert_eq!(ItemId::identity(peer()).as_identity(), Some(peer()));
    assert_eq!(ItemId::identity(peer()).as_block(), None);
}

#[test]
fn identities_are_paged_so_that_each_page_fits_its_frame() {
    // fabric: gossip/protoext/message_test.go TestGossipMessageIdentityMessageTagType
    let large = || PeerIdentity::new(vec![7; PeerIdentity::MAX_LEN]).unwrap();
    let small = || PeerIdentity::new(vec![7; 100]).unwrap();
    let many = (0..40).map(|_| large()).chain((0..100).map(|_| small()));
    let pages = PeerIdentities::pages(Nonce::new(1), many);
    assert_eq!(pages.iter().map(|page| page.identities.as_slice().len()).sum::<usize>(), 140);
    for page in pages {
        let message = Message::PeerIdentities(page);
        assert!(frame_of(&Envelope::unsigned(&message)).len() <= Class::Membership.frame_max());
        assert_eq!(reopened(&message).unwrap(), message);
    }
    assert!(PeerIdentities::pages(Nonce::new(1), []).is_empty());
}

#[test]
fn a_full_snapshot_fits_its_frame_and_holds_state_infos_only() {
    let envelope = Envelope::unsigned(&Message::StateInfo(state_info()));
    let longest = envelope.with_signature(Bytes::from(vec![1; Envelope::SIGNATURE_MAX])).unwrap();
    let info = SealedStateInfo::from_envelope(&longest).unwrap();
    let Message::StateInfoSnapshot(mut snapshot) = sample(Kind::StateInfoSnapshot) else {
        panic!("another kind")
    };
    snapshot.infos = Bounded::new(vec![info; 256]).unwrap();
    reopened(&Message::StateInfoSnapshot(snapshot)).unwrap();
    for message in samples().iter().filter(|message| message.kind() != Kind::StateInfo) {
        assert!(SealedStateInfo::from_envelope(&sealed(message)).is_none(), "{message:?}");
    }
}

#[test]
fn a_state_info_of_a_snapshot_is_believed_under_its_members_signature() {
    let (host, network) = (Host::named("org1.a"), NetworkId::new("dev").unwrap());
    let config = IdentityMapConfig::default().checked().unwrap();
    let map = IdentityMap::new(config, &host.identity, &host, &host, at(0)).unwrap();
    let mut info = state_info();
    info.pki_id = host.pki_id();
    let own = Verified::own(Message::StateInfo(info.clone()), host.pki_id(), &network, &host);
    let inside = SealedStateInfo::from_envelope(own.unwrap().envelope()).unwrap();
    let (read, signed) = inside.open().unwrap();
    assert_eq!(read, info);
    let now = at(1).mono;
    Verified::signed(signed, None, &map, &network, &host, now).unwrap();
    let forged = sealed(&Message::StateInfo(info));
    let (_, forged) = SealedStateInfo::from_envelope(&forged).unwrap().open().unwrap();
    assert!(Verified::signed(forged, None, &map, &network, &host, now).is_err());
}

#[test]
fn a_refusals_text_is_cut_at_a_character() {
    let nonce = Nonce::new(9);
    assert_eq!(Acknowledgement::accepted(nonce).error, None);
    let long = "\u{e4}".repeat(200);
    let refused = Acknowledgement::refused(nonce, &format!("x{long}"));
    assert_eq!(refused.error.unwrap().as_str().len(), ErrorText::MAX_LEN - 1);
    assert!(ErrorText::new(&"x".repeat(ErrorText::MAX_LEN + 1)).is_err());
}

#[test]
fn private_data_is_a_slice_of_its_frame_and_never_printed() {
    let payload = Bytes::from(vec![b'S'; 1 << 20]);
    let data = PrivateData { nonce: Nonce::new(1), channel: trade(), payload };
    assert!(!format!("{data:?}").contains("SS"));
    let frame = frame_of(&Envelope::unsigned(&Message::PrivateData(data)));
    let opened = Envelope::decode(&frame).unwrap().open().unwrap();
    let Message::PrivateData(data) = opened.message else { panic!("another kind") };
    assert!(frame.as_ptr_range().contains(&data.payload.as_ptr()));
    let query = Bytes::from(vec![0; PrivateDataRequest::QUERY_MAX + 1]);
    assert!(PrivateDataRequest::new(Nonce::new(1), trade(), query).is_err());
}

#[test]
fn a_payload_has_exactly_the_length_announced() {
    for kind in [Kind::PrivateData, Kind::PrivateDataResponse, Kind::Data, Kind::Share] {
        let frame = frame_of(&Envelope::unsigned(&sample(kind)));
        let open = |frame: Bytes| Envelope::decode(&frame).and_then(Envelope::open);
        open(frame.clone()).unwrap();
        assert!(open(frame.slice(..frame.len() - 1)).is_err());
        assert!(open([&frame[..], b"x"].concat().into()).is_err());
    }
    let mut frame = frame_of(&Envelope::unsigned(&sample(Kind::Acknowledgement))).to_vec();
    frame.push(0);
    let error = Envelope::decode(&frame.into()).unwrap().open().unwrap_err();
    assert!(matches!(error, WireError::Misplaced(_)), "{error}");
}

#[test]
fn only_the_originators_kinds_are_signed() {
    // fabric: gossip/protoext/signing_test.go TestEnvelope_NoopSign
    // fabric: gossip/protoext/signing_test.go TestEnvelope
    let (host, network) = (Host::named("org1.a"), NetworkId::new("dev").unwrap());
    let by = PkiId::from_bytes([1; 32]);
    for message in samples() {
        let signed = matches!(message.origin(), Origin::Signed(_));
        let own = Verified::own(message.clone(), by, &network, &host).unwrap();
        assert_eq!(own.envelope().signature().is_empty(), !signed, "{message:?}");
        assert_eq!(
            Envelope::decode(&frame_of(own.envelope())).unwrap().open().unwrap().message,
            message
        );
    }
    // fabric: gossip/protoext/signing_test.go TestToGossipMessageNilEnvelope
    assert!(Envelope::decode(&Bytes::new()).is_err());
    assert!(Envelope::decode(&Bytes::from_static(&[WIRE_VERSION, 1])).is_err());
}

#[test]
fn a_signature_has_a_greatest_length() {
    // fabric: gossip/protoext/signing_test.go TestSignedGossipMessageSign
    let envelope = Envelope::unsigned(&sample(Kind::Record));
    let longest = Bytes::from(vec![1; Envelope::SIGNATURE_MAX]);
    let signed = envelope.clone().with_signature(longest.clone()).unwrap();
    assert_eq!(*signed.signature(), longest);
    let longer = Bytes::from(vec![1; Envelope::SIGNATURE_MAX + 1]);
    assert!(matches!(envelope.with_signature(longer), Err(CryptoError::Sign(_))));
}

#[test]
fn an_internal_endpoint_is_believed_beside_its_own_record_only() {
    // fabric: gossip/protoext/signing_test.go TestEnvelope_SignSecret
    // fabric: gossip/protoext/signing_test.go TestInternalEndpoint
    let endpoint = |name: &str| Endpoint::new(name).unwrap();
    let secret = Secret { internal_endpoint: endpoint("10.0.0.1:7051"), salt: [1; 32] };
    let mut record = record();
    assert!(!secret.belongs_to(&record));
    record.secret = secret.commitment(&record.pki_id, record.epoch);
    assert!(secret.belongs_to(&record));
    let moved = Secret { internal_endpoint: endpoint("10.0.0.2:7051"), ..secret.clone() };
    assert!(!moved.belongs_to(&record), "another endpoint");
    assert!(!Secret { salt: [2; 32], ..secret.clone() }.belongs_to(&record), "another salt");
    record.epoch = Epoch::new(record.epoch.get() + 1);
    assert!(!secret.belongs_to(&record), "the record of another life");
    // fabric: gossip/protoext/signing_test.go TestToString
    assert!(!format!("{secret:?}").contains("10.0.0.1"));
}

#[test]
fn what_is_printed_holds_no_payload_and_no_signature() {
    // fabric: gossip/protoext/signing_test.go TestToString
    // fabric: gossip/protoext/stringers_test.go TestRemotePvtDataResponseToString
    for message in samples() {
        let printed = format!("{:?}", sealed(&message).open().unwrap());
        for hidden in ["data of the block", "private data", "90, 90, 90", "5a5a5a"] {
            assert!(!printed.contains(hidden), "{printed}");
        }
    }
}

#[test]
fn an_identity_once_known_stays_the_one_of_its_fingerprint() {
    // fabric: gossip/protoext/msgcomparator_test.go TestIdentityMessagesInvalidation
    let host = Host::named("org1.me");
    let config = IdentityMapConfig::default().checked().unwrap();
    let map = IdentityMap::new(config, &host.identity, &host, &host, at(0)).unwrap();
    let a = map.put(&identity("org1.a"), &host, &host, at(1)).unwrap();
    let b = map.put(&identity("org1.b"), &host, &host, at(1)).unwrap();
    assert_eq!(map.put(&identity("org1.a"), &host, &host, at(2)), Ok(a));
    assert_ne!(a, b);
    assert_eq!(map.len(), 3);
}

#[test]
fn a_plan_on_its_way_to_another_keeps_what_its_source_signed() {
    let (host, network) = (Host::named("org1.a"), NetworkId::new("dev").unwrap());
    let Message::Plan(mut planned) = sample(Kind::Plan) else { panic!("another kind") };
    planned.plan.source = host.pki_id();
    let (part, block) = (planned.part.clone(), planned.block.clone());
    let own = Verified::own(Message::Plan(planned), host.pki_id(), &network, &host).unwrap();
    let moved = PlanPart { first: 3, ..part };
    let onward = own.replan(moved.clone(), block.clone()).unwrap();
    assert_eq!(onward.envelope().body(), own.envelope().body());
    assert_eq!(onward.envelope().signature(), own.envelope().signature());
    let read = Envelope::decode(&frame_of(onward.envelope())).unwrap().open().unwrap();
    let Message::Plan(read) = read.message else { panic!("another kind") };
    assert_eq!((read.part, read.block), (moved, block));
}

#[test]
fn a_run_of_a_plans_list_is_cut_with_its_proof_and_another_list_is_not_believed() {
    let members: Vec<PkiId> = (0..23).map(|index| PkiId::from_bytes([index; 32])).collect();
    let tree = MerkleTree::new(members.iter().map(PkiId::as_bytes));
    let plan = Plan { members: 23, root: tree.root(), ..plan() };
    let whole = PlanPart::whole(members).unwrap();
    let run = whole.cut(&whole.tree(&plan).unwrap(), 5, 9).unwrap();
    let below = run.cut(&run.tree(&plan).unwrap(), 3, 4).unwrap();
    assert_eq!((below.first, below.members.as_slice()[0]), (8, PkiId::from_bytes([8; 32])));
    assert!(below.tree(&plan).is_some());
    assert!(PlanPart { first: 7, ..below.clone() }.tree(&plan).is_none());
    assert!(below.tree(&Plan { members: 11, ..plan.clone() }).is_none());
    assert!(below.tree(&Plan { root: [0; 32], ..plan }).is_none());
    assert!(run.cut(&tree, 8, 2).is_none(), "beyond its end");
}

#[test]
fn a_header_has_no_data_behind_it_and_a_plan_no_payload_of_another_length() {
    let Message::Header(header) = sample(Kind::Header) else { panic!("another kind") };
    let with_data = gossip_api::Block { data: Bytes::from_static(b"data"), ..header.block.clone() };
    let dressed = Message::Header(HeaderMessage { block: with_data, ..header.clone() });
    assert_eq!(reopened(&dressed).unwrap(), Message::Header(header), "it is left out");
    let frame = frame_of(&Envelope::unsigned(&sample(Kind::Plan)));
    for cut in 1..=60 {
        let shorter = frame.slice(..frame.len() - cut);
        assert!(Envelope::decode(&shorter).unwrap().open().is_err(), "{cut}");
    }
}
