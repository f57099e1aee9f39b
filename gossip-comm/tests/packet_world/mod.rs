//! A few peers with cheap identities and real certificates, joined by packets.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    reason = "tests fail by panicking, and look for one event among others"
)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use gossip_api::message::{Beat, Beats, DataMessage, ShortId};
use gossip_api::{
    Block, Bounded, ChannelId, Endpoint, Envelope, Epoch, Message, Mono, NetworkId, OrgId,
    PeerIdentity, PkiId, SeqNum,
};
use gossip_comm::sim::Link;
use gossip_comm::sim::crypto::{Authority, CheapCrypto};
use gossip_comm::sim_quic::{PacketPeer, Packets};
use gossip_comm::{CommConfig, Event, SecretBytes, TlsMaterial};
use rcgen::{
    BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, PKCS_ED25519, SerialNumber,
};

/// A TLS authority whose certificates are all of one length.
pub struct TlsAuthority {
    pub issuer: Issuer<'static, KeyPair>,
    pub root: Vec<u8>,
}

impl TlsAuthority {
    pub fn new() -> Self {
        let mut params = params(1);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        let root = params.self_signed(&key).unwrap().der().to_vec();
        Self { issuer: Issuer::new(params, key), root }
    }

    /// A certificate for this key.
    pub fn certificate(&self, key: &KeyPair, serial: u64) -> Vec<u8> {
        params(serial).signed_by(key, &self.issuer).unwrap().der().to_vec()
    }

    pub fn material(&self, serial: u64) -> TlsMaterial {
        let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        TlsMaterial {
            chain: vec![self.certificate(&key, serial)],
            key: SecretBytes::new(key.serialize_der()),
            roots: vec![self.root.clone()],
        }
    }
}

fn params(serial: u64) -> CertificateParams {
    let mut params = CertificateParams::new(vec!["gossip".into()]).unwrap();
    params.serial_number = Some(SerialNumber::from(0x100 + serial));
    params
}

/// Peers, packets, and who vouches for whom.
pub struct World {
    pub net: Packets,
    pub tls: TlsAuthority,
    pub authority: Arc<Authority>,
}

pub fn world(seed: u64, peers: usize, link: &Link) -> World {
    world_with(seed, peers, link, |_| {})
}

pub fn world_with(seed: u64, peers: usize, link: &Link, adjust: impl Fn(&mut CommConfig)) -> World {
    let tls = TlsAuthority::new();
    let authority = Authority::new(seed);
    let mut net = Packets::new(seed, link);
    for index in 0..peers {
        let tls = tls.material(index as u64);
        let mut config = CommConfig::new(address(index as u16), network(), tls);
        config.secret = Some(SecretBytes::new(vec![index as u8; 32]));
        adjust(&mut config);
        let crypto = Arc::new(crypto(&authority, index));
        let peer = PacketPeer {
            config: config.checked().unwrap(),
            endpoint: Endpoint::new(&format!("peer{index}:7051")).unwrap(),
            identity: identity(&authority, index),
            epoch: Epoch::new(1),
            mcs: Arc::clone(&crypto) as Arc<_>,
            advisor: crypto,
        };
        assert_eq!(net.add_peer(peer).unwrap(), index);
    }
    World { net, tls, authority }
}

/// Peers of which 0 is connected to all others.
pub fn star(seed: u64, peers: usize, link: &Link) -> World {
    let mut world = world(seed, peers, link);
    (1..peers).for_each(|other| world.net.dial(0, other));
    world.net.run_for(ms(2000));
    for peer in 0..peers {
        let expected = if peer == 0 { peers - 1 } else { 1 };
        assert_eq!(world.net.connections(peer), expected, "of {peer}");
        world.net.clear_events(peer);
    }
    world
}

pub fn crypto(authority: &Arc<Authority>, index: usize) -> CheapCrypto {
    authority.crypto(identity(authority, index))
}

pub fn identity(authority: &Authority, index: usize) -> PeerIdentity {
    authority.identity(&OrgId::new("Org").unwrap(), index as u32)
}

pub fn id(authority: &Arc<Authority>, index: usize) -> PkiId {
    crypto(authority, index).pki_id()
}

pub fn network() -> NetworkId {
    NetworkId::new("sim").unwrap()
}

pub fn address(index: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], 7000 + index))
}

/// 5 ms each way, and nothing else.
pub fn plain() -> Link {
    Link::lan().latency(ms(5)..=ms(5)).bandwidth(None)
}

pub const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A small control message, told apart by its number.
pub fn note(number: u64) -> Envelope {
    let member = ShortId::of(&PkiId::from_bytes([9; 32]));
    let beat = Beat { member, epoch: Epoch::new(1), sequence: number, preimage: [7; 32] };
    Envelope::unsigned(&Message::Beats(Beats { beats: Bounded::new(vec![beat]).unwrap() }))
}

/// A block message with this many bytes of data.
pub fn data(number: u64, len: usize) -> Envelope {
    let block = Block {
        number: SeqNum::new(number),
        previous_hash: Bytes::from_static(&[1; 32]),
        data_hash: Bytes::from_static(&[2; 32]),
        data: (0..len).map(|at| (at as u64 ^ number) as u8).collect::<Vec<_>>().into(),
        metadata: Bytes::new(),
    };
    let channel = ChannelId::new("trade").unwrap();
    Envelope::unsigned(&Message::Data(DataMessage { channel, block }))
}

/// Messages by when they arrived, and their numbers.
pub type Arrived = Vec<(Mono, u64)>;

/// When each message arrived, by its number: control messages, and blocks, whose content is looked at.
pub fn received(net: &Packets, peer: usize) -> (Arrived, Arrived) {
    let (mut notes, mut blocks) = (Vec::new(), Vec::new());
    for (at, event) in net.events(peer) {
        let Event::Received { message, .. } = event else { continue };
        match &message.message {
            Message::Beats(beats) => notes.push((*at, beats.beats.as_slice()[0].sequence)),
            Message::Data(data) => {
                let number = data.block.number.get();
                let whole = data.block.data.iter().enumerate();
                assert!(whole.into_iter().all(|(at, byte)| *byte == (at as u64 ^ number) as u8));
                blocks.push((*at, number));
            }
            other => panic!("nobody sent a {:?}", other.kind()),
        }
    }
    (notes, blocks)
}

/// The numbers alone.
pub fn numbers(net: &Packets, peer: usize) -> (Vec<u64>, Vec<u64>) {
    let (notes, blocks) = received(net, peer);
    let number = |(_, number)| number;
    (notes.into_iter().map(number).collect(), blocks.into_iter().map(number).collect())
}

/// Whether something comes about within so many milliseconds, looked for ten times a second: a look at
/// whole blocks after each packet would take minutes.
pub fn looked_for(net: &mut Packets, millis: u64, there: impl Fn(&Packets) -> bool) -> bool {
    for _ in 0..millis / 100 {
        if there(net) {
            return true;
        }
        net.run_for(ms(100));
    }
    there(net)
}

/// What a peer heard of its connections, as words.
pub fn words(net: &Packets, peer: usize) -> Vec<String> {
    let word = |(_, event): &(Mono, Event)| match event {
        Event::Connected(connected) if connected.dialled.is_some() => Some("dialled".to_owned()),
        Event::Connected(_) => Some("accepted".to_owned()),
        Event::Disconnected { cause, .. } => Some(format!("lost: {cause:?}")),
        Event::DialFailed { .. } => Some("dial failed".to_owned()),
        _ => None,
    };
    net.events(peer).iter().filter_map(word).collect()
}
