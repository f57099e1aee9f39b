//! Doors of `gossip-comm`: a session's hellos, and the datagrams of anybody.
#![allow(unreachable_pub, dead_code, reason = "a module of several programs")]

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use gossip_api::message::{Features, HelloBinding, HelloLimits, Role};
use gossip_api::{
    Endpoint, Epoch, Expiration, IdentityMap, IdentityMapConfig, MessageCryptoService as _, Mono,
    NetworkId, Now, OrgId, PkiId, Wall,
};
use gossip_comm::hello::{Court, Exchange, Me, Versions};
use gossip_comm::sim::Link;
use gossip_comm::sim::crypto::{Authority, CheapCrypto};
use gossip_comm::sim_quic::{Datagram, PacketPeer, Packets};
use gossip_comm::{CommConfig, SecretBytes, TlsMaterial};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, PKCS_ED25519};
use rustls::Side;
use rustls::quic::{Keys, Version};

/// A target's name and its body.
pub type Door = (&'static str, fn(&[u8]));

/// Every door.
pub const DOORS: [Door; 2] = [("hello_machine", hello_machine), ("packets", packets)];

/// One side of an exchange of hellos, through anything that can happen to it. The first byte says which
/// side, then each byte is a step with its operands behind it. Nobody is believed but who spoke the
/// genuine hello, and nothing is kept before.
pub fn hello_machine(bytes: &[u8]) {
    let mut input = Input(bytes);
    let mut scene = Scene::new(input.byte() & 1 == 0);
    while !input.0.is_empty() {
        if scene.step(&mut input) {
            return;
        }
        assert_eq!(scene.identities.len(), 1, "kept before it was believed");
        assert!(scene.versions.is_empty(), "remembered before it was believed");
    }
}

/// Two peers of which one says hello to the other.
struct Scene {
    authority: Arc<Authority>,
    own: CheapCrypto,
    other: CheapCrypto,
    network: NetworkId,
    identities: IdentityMap,
    versions: Versions,
    exchange: Exchange,
    /// What the other side says on this session, and on another one.
    genuine: Vec<u8>,
    elsewhere: Vec<u8>,
    heard: Vec<u8>,
    spoilt: bool,
    now: Now,
}

impl Scene {
    fn new(dialled: bool) -> Self {
        let authority = Authority::new(7);
        let org = OrgId::new("Org").expect("short");
        let crypto = |index| authority.crypto(authority.identity(&org, index));
        let (own, other) = (crypto(0), crypto(1));
        let network = NetworkId::new("fuzz").expect("short");
        let now = Now { mono: Mono::ZERO, wall: Wall::from_unix_seconds(WALL) };
        let bounds = IdentityMapConfig::default().checked().expect("defaults");
        let identities = IdentityMap::new(bounds, own.identity(), &own, &own, now).expect("valid");
        let versions = Versions::new(Duration::from_secs(60));
        let role = if dialled { Role::Dialler } else { Role::Acceptor };
        let binding =
            HelloBinding { role, exporter: [1; 32], own_leaf: [2; 32], peer_leaf: [3; 32] };
        let exchange = Exchange::new(me(&own), binding.clone());
        let mut scene = Self {
            genuine: Vec::new(),
            elsewhere: Vec::new(),
            heard: Vec::new(),
            spoilt: false,
            authority,
            own,
            other,
            network,
            identities,
            versions,
            exchange,
            now,
        };
        let there = HelloBinding { exporter: [9; 32], ..binding.other() };
        scene.genuine = scene.spoken_by_other(binding.other());
        scene.elsewhere = scene.spoken_by_other(there);
        scene
    }

    fn spoken_by_other(&self, binding: HelloBinding) -> Vec<u8> {
        let exchange = Exchange::new(me(&self.other), binding);
        let court = Court { mcs: &self.other, ..self.court() };
        exchange.speak(&court).expect("its own identity")
    }

    fn court(&self) -> Court<'_> {
        Court {
            network: &self.network,
            mcs: &self.own,
            advisor: &self.own,
            identities: &self.identities,
            versions: &self.versions,
        }
    }

    /// Does one thing; true if the other side is believed.
    fn step(&mut self, input: &mut Input<'_>) -> bool {
        match input.byte() % 10 {
            0 => {
                let len = usize::from(input.byte());
                let bytes = input.take(len).to_vec();
                self.hear(&bytes);
            }
            1 => self.hear(&self.genuine.clone()),
            2 => {
                let (at, mask) = (input.word(), input.byte());
                let mut damaged = self.genuine.clone();
                let at = usize::from(at) % damaged.len();
                damaged[at] ^= mask;
                self.hear(&damaged);
            }
            3 => {
                let (from, to) = (usize::from(input.word()), usize::from(input.word()));
                let part = self.genuine.get(from..to).unwrap_or_default().to_vec();
                self.hear(&part);
            }
            4 => return self.believe(),
            5 => self.hear(&self.elsewhere.clone()),
            6 => {
                if let Ok(own) = self.exchange.speak(&self.court()) {
                    self.hear(&own);
                }
            }
            7 => self.authority.revoke(self.other.identity()),
            8 => {
                let end = Wall::from_unix_seconds(WALL + i64::from(input.word()));
                self.authority.set_expiration(self.other.identity(), Expiration::At(end));
            }
            _ => {
                let seconds = u64::from(input.word());
                self.now.mono = self.now.mono.after(Duration::from_secs(seconds));
                let wall = self.now.wall.as_unix_seconds() + seconds as i64;
                self.now.wall = Wall::from_unix_seconds(wall);
            }
        }
        false
    }

    fn hear(&mut self, bytes: &[u8]) {
        let heard = self.exchange.hear(bytes);
        assert!(heard.is_err() || !self.spoilt, "what comes behind nonsense is none either");
        self.spoilt |= heard.is_err();
        self.heard.extend(bytes);
        let longest = 4 + gossip_api::message::Hello::ENCODED_MAX;
        assert!(heard.is_err() || self.heard.len() <= longest || self.heard.len() < 4);
    }

    fn believe(&self) -> bool {
        let Ok(greeting) = self.exchange.heard(self.now, &self.court()) else { return false };
        assert!(self.heard.starts_with(&self.genuine), "nobody signed what was believed");
        assert_eq!(greeting.peer, PkiId::clone(&self.other.pki_id()));
        let valid = self.own.validate_identity(self.other.identity());
        assert!(valid.is_ok(), "a revoked identity was believed");
        assert!(!greeting.expiration.is_past(self.now.wall), "a late one was");
        assert_eq!((self.identities.len(), self.versions.len()), (2, 1));
        true
    }
}

fn me(crypto: &CheapCrypto) -> Arc<Me> {
    Arc::new(Me {
        pki_id: crypto.pki_id(),
        identity: crypto.identity().clone(),
        epoch: Epoch::new(3),
        features: Features(5),
        limits: HelloLimits { block_frame_max: 1 << 20 },
    })
}

/// Datagrams of one stranger to a live endpoint: garbage, and genuine first packets around any frames,
/// whole or damaged. Nothing is kept, nobody is let in, and no more than three times as much goes back, and
/// a datagram.
pub fn packets(bytes: &[u8]) {
    let mut net = Packets::new(1, &Link::lan().latency(MS..=MS).bandwidth(None));
    net.add_peer(peer()).expect("good material");
    let mut sent = 0;
    for step in steps(bytes) {
        match step {
            Step::Send(datagram) => {
                sent += 1;
                net.inject(Datagram::new(stranger(), listen(), &datagram));
                net.run_for(2 * MS);
            }
            Step::Wait(time) => net.run_for(time),
        }
        check(&net, sent);
    }
    net.run_for(Duration::from_secs(30));
    check(&net, sent);
    assert_eq!(net.connections(0), 0, "a stranger's connection outlived its time");
}

/// The datagrams that an input of [`packets`] stands for.
pub fn datagrams(bytes: &[u8]) -> Vec<Vec<u8>> {
    let sent = |step| match step {
        Step::Send(datagram) => Some(datagram),
        Step::Wait(_) => None,
    };
    steps(bytes).into_iter().filter_map(sent).collect()
}

enum Step {
    Send(Vec<u8>),
    Wait(Duration),
}

/// Each a byte that says what it is, the length of what belongs to it, and that.
fn steps(bytes: &[u8]) -> Vec<Step> {
    let mut input = Input(bytes);
    let mut steps = Vec::new();
    while !input.0.is_empty() && steps.len() < DATAGRAMS_MAX {
        let kind = input.byte();
        let len = input.word();
        let mut body = Input(input.take(len.into()));
        steps.push(match kind % 4 {
            0 => Step::Send(body.0.to_vec()),
            1 => Step::Send(initial(&mut body)),
            2 => {
                let flips: Vec<(u16, u8)> =
                    (0..body.byte() % 8).map(|_| (body.word(), body.byte())).collect();
                let mut datagram = initial(&mut body);
                for (at, mask) in flips {
                    let at = usize::from(at) % datagram.len();
                    datagram[at] ^= mask;
                }
                Step::Send(datagram)
            }
            _ => Step::Wait(Duration::from_millis(len.into())),
        });
    }
    steps
}

fn check(net: &Packets, sent: u64) {
    assert_eq!(net.identities(0), 1, "something of a stranger was kept");
    assert_eq!(net.held(0), 0);
    assert!(net.events(0).is_empty(), "{:?}", net.events(0));
    assert!(net.connections(0) <= DATAGRAMS_MAX);
    let traffic = net.traffic(stranger());
    // quinn lets the datagram that passes three times what came go out whole (quinn#1082): one to each
    // connection, and a datagram begins one at most.
    assert!(traffic.to <= 3 * traffic.from + sent * DATAGRAM, "{traffic:?}");
}

/// A first packet of a client, protected as it must be: a byte for its number and the connection's name,
/// the client's own eight of its, one for the length of the token, the token, and the frames.
fn initial(input: &mut Input<'_>) -> Vec<u8> {
    let first = input.byte();
    let number = first >> 2;
    let id = [first & 3; 8];
    let own_id = input.take(8);
    let token_len = usize::from(input.byte() % 64);
    let token = input.take(token_len);
    let mut payload = input.0.get(..input.0.len().min(1100)).unwrap_or_default().to_vec();
    input.0 = &[];
    // A datagram that begins a connection has 1,200 bytes at least.
    payload.resize(payload.len().max(1200), 0);
    protect(&id, own_id, number, token, &payload)
}

/// As RFC 9001 (5.2 to 5.4) has it, with four bytes of packet number.
fn protect(id: &[u8; 8], own_id: &[u8], number: u8, token: &[u8], payload: &[u8]) -> Vec<u8> {
    let keys = keys(id, Side::Client);
    let mut packet = vec![0xc3, 0, 0, 0, 1, 8];
    packet.extend(id);
    packet.push(u8::try_from(own_id.len()).unwrap_or(8));
    packet.extend(own_id);
    packet.push(u8::try_from(token.len()).unwrap_or(63));
    packet.extend(token);
    let length = 4 + payload.len() + keys.local.packet.tag_len();
    packet.extend((0x4000 | u16::try_from(length).unwrap_or(0)).to_be_bytes());
    let at = packet.len();
    packet.extend([0, 0, 0, number]);
    let mut body = payload.to_vec();
    let sealed = keys.local.packet.encrypt_in_place(u64::from(number), &packet, &mut body);
    let tag = sealed.expect("a key for few packets");
    packet.extend(body);
    packet.extend(tag.as_ref());
    let sample = packet[at + 4..][..keys.local.header.sample_len()].to_vec();
    let (head, rest) = packet.split_at_mut(at);
    let masked = keys.local.header.encrypt_in_place(&sample, &mut head[0], &mut rest[..4]);
    masked.expect("a sample of the right length");
    packet
}

/// The name that a client gives itself in a first packet of its, and the frames in it.
pub fn frames(datagram: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let mut input = Input(datagram);
    let mut first = input.byte();
    input.take(4);
    let len = usize::from(input.byte());
    let id = input.take(len).to_vec();
    let len = usize::from(input.byte());
    let own_id = input.take(len).to_vec();
    let len = usize::from(input.byte());
    input.take(len);
    let length = usize::from(u16::from_be_bytes([input.byte() & 0x3f, input.byte()]));
    let at = datagram.len() - input.0.len();
    let keys = keys(&id, Side::Client);
    let sample = datagram.get(at + 4..at + 4 + keys.local.header.sample_len())?.to_vec();
    let mut packet = datagram.get(..at + length)?.to_vec();
    let (_, masked) = packet.split_at_mut(at);
    keys.local.header.decrypt_in_place(&sample, &mut first, masked.get_mut(..4)?).ok()?;
    packet[0] = first;
    let number_len = usize::from(first & 3) + 1;
    // What was unmasked behind a shorter number is payload, and is masked again.
    packet[at + number_len..at + 4].copy_from_slice(&datagram[at + number_len..at + 4]);
    let number =
        packet[at..at + number_len].iter().fold(0, |all, byte| (all << 8) | u64::from(*byte));
    let (head, body) = packet.split_at_mut(at + number_len);
    let frames = keys.local.packet.decrypt_in_place(number, head, body).ok()?;
    Some((own_id, frames.to_vec()))
}

fn keys(id: &[u8], side: Side) -> Keys {
    let suite = rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
    let suite = suite.tls13().expect("it is one of TLS 1.3");
    suite.quic_suite().expect("it is one of QUIC").keys(id, side, Version::V1)
}

/// A peer with certificates that are made once.
pub fn peer() -> PacketPeer {
    static MATERIAL: OnceLock<TlsMaterial> = OnceLock::new();
    let authority = Authority::new(7);
    let identity = authority.identity(&OrgId::new("Org").expect("short"), 0);
    let crypto = Arc::new(authority.crypto(identity.clone()));
    let network = NetworkId::new("fuzz").expect("short");
    let tls = MATERIAL.get_or_init(material).clone();
    let mut config = CommConfig::new(listen(), network, tls);
    config.secret = Some(SecretBytes::new(vec![5; 32]));
    PacketPeer {
        config: config.checked().expect("defaults"),
        endpoint: Endpoint::new("peer0:7051").expect("short"),
        identity,
        epoch: Epoch::new(1),
        mcs: Arc::clone(&crypto) as Arc<_>,
        advisor: crypto,
    }
}

fn material() -> TlsMaterial {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate_for(&PKCS_ED25519).expect("a key");
    let root = params.self_signed(&key).expect("a root").der().to_vec();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate_for(&PKCS_ED25519).expect("a key");
    let leaf = CertificateParams::new(vec!["peer".into()]).expect("a name");
    let leaf = leaf.signed_by(&key, &issuer).expect("a leaf");
    TlsMaterial {
        chain: vec![leaf.der().to_vec()],
        key: SecretBytes::new(key.serialize_der()),
        roots: vec![root],
    }
}

/// Where the endpoint listens.
pub fn listen() -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], 7051))
}

fn stranger() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], 4000))
}

/// What is left to read; zeros behind the end.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or_default()
    }

    fn word(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }
}

const WALL: i64 = 1_767_225_600;
const MS: Duration = Duration::from_millis(1);
const DATAGRAMS_MAX: usize = 32;
/// Bytes of one to an address of which nothing is known.
const DATAGRAM: u64 = 1200;
