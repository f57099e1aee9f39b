//! Golden vectors: these bytes are these messages, for every version of this code.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use bytes::Bytes;
use gossip_api::message::{
    Acknowledgement, CloseReason, Features, Hello, HelloBinding, HelloLimits, ItemId, Kind, Origin,
    PullDigest, PullHello, PullKind, PullRequest, Role, Secret, WIRE_VERSION, chain_step,
    signed_bytes,
};
use gossip_api::{
    Blob, BlockHash, Bounded, ChannelId, ChannelTag, Endpoint, Envelope, Epoch, MerkleTree,
    Message, MessageCryptoService as _, NetworkId, Nonce,
};
use support::{Host, identity_of_peer, peer, samples, sealed, trade};

const WIRE: &str = include_str!("../../docs/wire.md");

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// The bytes of a vector: hex digits, white space anywhere.
fn read(name: &str) -> Vec<u8> {
    let text = fs::read_to_string(directory().join(format!("{name}.hex"))).unwrap_or_default();
    hex::decode(text.split_whitespace().collect::<String>()).unwrap()
}

/// Every message that has a vector: one of each kind, and further forms of some.
fn messages() -> Vec<(String, Message)> {
    let mut all: Vec<(String, Message)> =
        samples().into_iter().map(|message| (message.kind().name().to_owned(), message)).collect();
    let (nonce, channel, kind) = (Nonce::new(11), ChannelId::new("").unwrap(), PullKind::Identity);
    let items = Bounded::new(vec![ItemId::identity(peer())]).unwrap();
    let accepted = Message::Acknowledgement(Acknowledgement::accepted(nonce));
    let hello = Message::Hello(PullHello { nonce, channel: channel.clone(), kind });
    let digest = PullDigest { nonce, channel: channel.clone(), kind, items: items.clone() };
    let request = PullRequest { nonce, channel, kind, items };
    let (channel, kind) = (trade(), PullKind::StateInfo);
    let items = Bounded::new(vec![ItemId::state_info(peer(), Epoch::new(3), 9)]).unwrap();
    let infos = PullDigest { nonce, channel, kind, items };
    all.push(("pull-digest-state-info".into(), Message::Digest(infos)));
    all.push(("acknowledgement-accepted".into(), accepted));
    all.push(("pull-hello-identity".into(), hello));
    all.push(("pull-digest-identity".into(), Message::Digest(digest)));
    all.push(("pull-request-identity".into(), Message::Request(request)));
    all
}

fn envelope_of(message: &Message) -> Envelope {
    match message.origin() {
        Origin::Signed(_) => sealed(message),
        Origin::Sender => Envelope::unsigned(message),
    }
}

fn network() -> NetworkId {
    NetworkId::new("dev").unwrap()
}

fn hello() -> Hello {
    Hello {
        identity: identity_of_peer(),
        epoch: Epoch::new(3),
        wire_version: WIRE_VERSION,
        features: Features(0),
        limits: HelloLimits { block_frame_max: 1 << 20 },
        signature: Blob::new(vec![0x5a; 64]).unwrap(),
    }
}

fn binding() -> HelloBinding {
    HelloBinding {
        role: Role::Dialler,
        exporter: [0x81; 32],
        own_leaf: [0x82; 32],
        peer_leaf: [0x83; 32],
    }
}

/// What the signature of [`hello`] covers, put together by hand.
fn signed_by_hello() -> Vec<u8> {
    let mut body = vec![1];
    body.extend([[0x81; 32], [0x82; 32], [0x83; 32]].concat());
    body.extend(Host { identity: identity_of_peer() }.pki_id().as_bytes());
    body.extend(3u64.to_le_bytes());
    body.push(WIRE_VERSION);
    body.extend(0u64.to_le_bytes());
    body.extend((1u64 << 20).to_le_bytes());
    signed_bytes("hello", &network(), &[], &body)
}

#[test]
fn a_hello_signs_what_its_vector_says() {
    let host = Host { identity: identity_of_peer() };
    let signed = hello().sign(&binding(), &network(), &host).unwrap();
    let signature = signed.signature.as_bytes();
    host.verify(&host.identity, signature, &read("signed-hello")).unwrap();
}

/// What is computed, not sent.
fn computed() -> Vec<(&'static str, Vec<u8>)> {
    let record = envelope_of(&samples()[0]);
    let genesis = BlockHash::from_bytes([0x77; 32]);
    let internal_endpoint = Endpoint::new("10.0.0.1:7051").unwrap();
    let secret = Secret { internal_endpoint, salt: [0x55; 32] };
    vec![
        ("signed-record", signed_bytes("record", &network(), &[], record.body())),
        ("signed-hello", signed_by_hello()),
        ("chain-step", chain_step(&[0x44; 32]).to_vec()),
        ("secret-commitment", secret.commitment(&peer(), Epoch::new(3)).to_vec()),
        ("merkle-root", merkle_root().to_vec()),
        ("channel-tag", ChannelTag::derive(&trade(), &genesis, &peer()).as_bytes().to_vec()),
    ]
}

/// Root of a list of five members.
fn merkle_root() -> [u8; 32] {
    MerkleTree::new((1..=5u8).map(|member| [member; 32])).root()
}

/// All vectors, as they ought to be.
fn expected() -> Vec<(String, Vec<u8>)> {
    let frames = messages().into_iter();
    let frames =
        frames.map(|(name, message)| (name, envelope_of(&message).encode().unwrap().concat()));
    let rest = computed().into_iter().map(|(name, bytes)| (name.to_owned(), bytes));
    frames.chain(rest).chain([("hello".to_owned(), hello().encode().unwrap())]).collect()
}

#[test]
fn values_encode_to_their_vectors() {
    let changed: Vec<String> = expected()
        .into_iter()
        .filter(|(name, bytes)| read(name) != *bytes)
        .map(|(name, bytes)| format!("{name} {}", hex::encode(bytes)))
        .collect();
    assert!(changed.is_empty(), "vectors that differ:\n{}", changed.join("\n"));
}

#[test]
fn vectors_decode_to_their_values() {
    for (name, message) in messages() {
        let frame = Bytes::from(read(&name));
        let length = u32::from_le_bytes(frame[..4].try_into().unwrap()) as usize;
        assert_eq!(length, frame.len() - 4, "{name}");
        let signed = Envelope::decode(&frame.slice(4..)).unwrap().open().unwrap();
        assert_eq!(signed.message, message, "{name}");
        assert_eq!(signed.envelope.class(), message.kind().class());
    }
    assert_eq!(Hello::decode(&read("hello")[4..]).unwrap(), hello());
}

#[test]
fn there_is_a_vector_for_every_kind_and_none_for_nothing() {
    let files: BTreeSet<String> = fs::read_dir(directory())
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .filter_map(|file| file.strip_suffix(".hex").map(str::to_owned))
        .collect();
    let wanted: BTreeSet<String> = expected().into_iter().map(|(name, _)| name).collect();
    assert_eq!(files, wanted);
}

#[test]
fn the_wires_description_names_every_kind_class_and_reason() {
    for (number, message) in samples().iter().enumerate() {
        let kind: Kind = message.kind();
        let body = Envelope::unsigned(message).body().clone();
        assert_eq!(body[..4], u32::try_from(number).unwrap().to_le_bytes(), "{kind:?}");
        let row = format!("| {number} | `{}` |", kind.name());
        assert!(WIRE.contains(&row), "docs/wire.md lacks {row}");
        assert!(WIRE.contains(&format!("### {number} `{}`", kind.name())), "{kind:?}");
    }
    for (name, _) in expected() {
        assert!(WIRE.contains(&format!("`{name}`")), "docs/wire.md does not name vector {name}");
    }
    use CloseReason::{Done, Duplicate, Expelled, Faulty, Malformed, Overload, Refused};
    for reason in [Done, Refused, Duplicate, Malformed, Overload, Expelled, Faulty] {
        let row = format!("| {} | {reason:?} |", reason.code());
        assert!(WIRE.contains(&row), "docs/wire.md lacks {row}");
        assert_eq!(CloseReason::from_code(u64::from(reason.code())), reason);
    }
}
