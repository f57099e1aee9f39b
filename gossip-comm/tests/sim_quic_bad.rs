//! Tables of what must not get in before the hello: transport parameters and certificates.

#![cfg(feature = "sim-quic")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "tests fail by panicking"
)]

#[path = "../../fuzz/src/comm.rs"]
mod doors;
mod packet_world;

use std::path::Path;

use gossip_comm::sim_quic::{Datagram, Packets};
use gossip_comm::{SecretBytes, TlsMaterial};
use packet_world::*;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, PKCS_ED25519, date_time_ymd,
};

/// H9: what a client says of its transport, in a genuine first flight of its, may be anything at all.
#[test]
fn malformed_transport_parameters_are_refused_and_nothing_breaks() {
    let name = flight().0;
    let good = [param(0x0f, &name), param(0x04, &[0x80, 1, 0, 0])].concat();
    let with = |more: &[u8]| [&good, more].concat();
    let cases: [(&str, Vec<u8>, bool); 25] = [
        ("as they should be", good.clone(), true),
        ("one that nobody knows", with(&param(0x3a, &[1, 2, 3])), true),
        ("the least payload", with(&param(0x03, &[0x44, 0xb0])), true),
        ("none at all", vec![], false),
        ("no name", param(0x04, &[0x80, 1, 0, 0]), false),
        ("another name", param(0x0f, &[9; 8]), false),
        ("a name too long", param(0x0f, &[9; 21]), false),
        ("one twice", with(&param(0x04, &[0x80, 1, 0, 0])), false),
        ("a length beyond the end", with(&[0x01, 9, 0]), false),
        ("half an id", with(&[0x80]), false),
        ("an id without length", with(&[0x01]), false),
        ("a value shorter than its length", with(&[0x01, 1, 0x40]), false),
        ("a value longer than it says", with(&param(0x01, &[0x01, 0x01])), false),
        ("too small a payload", with(&param(0x03, &[0x44, 0xaf])), false),
        ("too great an exponent", with(&param(0x0a, &[21])), false),
        ("too long a delay", with(&param(0x0b, &[0x80, 0, 0x40, 0])), false),
        ("one connection id", with(&param(0x0e, &[1])), false),
        ("2^60 + 1 streams", with(&param(0x08, &[0xd0, 0, 0, 0, 0, 0, 0, 1])), false),
        ("2^60 + 1 one-way streams", with(&param(0x09, &[0xd0, 0, 0, 0, 0, 0, 0, 1])), false),
        ("a flag with a value", with(&param(0x0c, &[1])), false),
        ("a server's first name", with(&param(0x00, &name)), false),
        ("a server's token", with(&param(0x02, &[7; 16])), false),
        ("a server's other address", with(&param(0x0d, &[0; 49])), false),
        ("a server's retry", with(&param(0x10, &name)), false),
        ("the greatest numbers", with(&greatest()), true),
    ];
    for (what, parameters, understood) in cases {
        let mut net = Packets::new(1, &plain());
        net.add_peer(doors::peer()).unwrap();
        for datagram in said_with(&parameters) {
            net.inject(Datagram::new(address(1), doors::listen(), &datagram));
            net.run_for(ms(20));
        }
        assert_eq!(net.connections(0), usize::from(understood), "{what}");
        let answered = net.traffic(address(1)).to;
        assert_eq!(answered > 1000, understood, "{what}: {answered} bytes");
        assert_eq!(net.identities(0), 1);
    }
}

/// I7, as far as TLS goes: each is refused, whoever shows it, and nothing is kept.
#[test]
fn certificates_that_are_not_right_are_refused_in_both_roles() {
    let tls = TlsAuthority::new();
    let cases: [(&str, TlsMaterial, bool); 9] = [
        ("a plain one", tls.made(|_| {}), true),
        ("one of another authority", TlsAuthority::new().made(|_| {}), false),
        ("one that ran out", tls.made(|leaf| leaf.not_after = date_time_ymd(2001, 1, 1)), false),
        ("one of the future", tls.made(|leaf| leaf.not_before = date_time_ymd(4000, 1, 1)), false),
        (
            "one for signing code",
            tls.made(|leaf| {
                leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
            }),
            false,
        ),
        (
            "one with an extension that must be understood",
            tls.made(|leaf| {
                let mut strange =
                    CustomExtension::from_oid_content(&[1, 2, 3, 4, 5], vec![0x05, 0x00]);
                strange.set_criticality(true);
                leaf.custom_extensions = vec![strange];
            }),
            false,
        ),
        (
            "64 KiB of names",
            tls.made(|leaf| {
                let name = |index| format!("name-{index:060}.peer.test").try_into().unwrap();
                leaf.subject_alt_names =
                    (0..800).map(|index| rcgen::SanType::DnsName(name(index))).collect();
            }),
            false,
        ),
        ("a chain of ten", tls.chain(9, true), false),
        ("one by an issuer that is no authority", tls.chain(1, false), false),
    ];
    for (what, material, fits) in cases {
        for shower in [0, 1] {
            let mut world = world_of(&tls);
            if world.set_tls(shower, &trusting(&material, &tls)).is_err() {
                assert!(!fits, "{what}: no peer of ours would show it either");
                continue;
            }
            world.dial(0, 1);
            world.run_for(ms(5000));
            let expected = usize::from(fits);
            assert_eq!(world.connections(0), expected, "{what}, shown by {shower}");
            assert_eq!(world.connections(1), expected, "{what}, shown by {shower}");
            assert_eq!(world.identities(1 - shower), 1 + expected, "{what}, shown by {shower}");
        }
    }
}

/// I6, as far as TLS goes: while both authorities are trusted everybody reaches everybody, whichever of
/// them a peer's certificate is of, and whatever its key; afterwards the old one opens no door.
#[test]
fn authorities_are_exchanged_under_way() {
    let (old, new) = (TlsAuthority::new(), TlsAuthority::new());
    let both = vec![old.root.clone(), new.root.clone()];
    let p256 = || {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        material(vec![new.certificate(&key, 7)], &key, &new.root)
    };
    let mut net = world(1, 4, &plain()).net;
    for peer in 0..4 {
        let own = if peer < 2 { old.material(peer as u64) } else { p256() };
        net.set_tls(peer, &TlsMaterial { roots: both.clone(), ..own }).unwrap();
    }
    let pairs = || (0..4).flat_map(|a| (0..a).map(move |b| (a, b)));
    pairs().for_each(|(a, b)| net.dial(a, b));
    net.run_for(ms(2000));
    assert!((0..4).all(|peer| net.connections(peer) == 3), "all through the overlap");
    // The others trust the new authority alone; 0 still shows the old one's certificate.
    for peer in 1..4 {
        net.set_tls(peer, &p256()).unwrap();
    }
    pairs().for_each(|(a, b)| net.close(a, b, gossip_api::message::CloseReason::Done));
    net.run_for(ms(2000));
    pairs().for_each(|(a, b)| net.dial(a, b));
    net.run_for(ms(5000));
    let connections: Vec<usize> = (0..4).map(|peer| net.connections(peer)).collect();
    assert_eq!(connections, [0, 2, 2, 2]);
}

impl TlsAuthority {
    /// A certificate of this authority, changed.
    fn made(&self, change: impl FnOnce(&mut CertificateParams)) -> TlsMaterial {
        let mut leaf = CertificateParams::new(vec!["gossip".into()]).unwrap();
        change(&mut leaf);
        let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        let leaf = leaf.signed_by(&key, &self.issuer).unwrap();
        material(vec![leaf.der().to_vec()], &key, &self.root)
    }

    /// A certificate below this many intermediate ones.
    fn chain(&self, between: usize, authorities: bool) -> TlsMaterial {
        let mut chain = Vec::new();
        let mut above: Option<Issuer<'static, KeyPair>> = None;
        for _ in 0..between {
            let mut params = CertificateParams::new(Vec::new()).unwrap();
            if authorities {
                params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            }
            let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
            let signed = params.signed_by(&key, above.as_ref().unwrap_or(&self.issuer)).unwrap();
            chain.insert(0, signed.der().to_vec());
            above = Some(Issuer::new(params, key));
        }
        let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        let leaf = CertificateParams::new(vec!["gossip".into()]).unwrap();
        let leaf = leaf.signed_by(&key, above.as_ref().unwrap_or(&self.issuer)).unwrap();
        chain.insert(0, leaf.der().to_vec());
        material(chain, &key, &self.root)
    }
}

fn material(chain: Vec<Vec<u8>>, key: &KeyPair, root: &[u8]) -> TlsMaterial {
    let key = SecretBytes::new(key.serialize_der());
    TlsMaterial { chain, key, roots: vec![root.to_vec()] }
}

/// The same, with trust in `tls` and nobody else.
fn trusting(material: &TlsMaterial, tls: &TlsAuthority) -> TlsMaterial {
    TlsMaterial { roots: vec![tls.root.clone()], ..material.clone() }
}

/// Two peers with certificates of `tls`.
fn world_of(tls: &TlsAuthority) -> Packets {
    let mut net = world(1, 2, &plain()).net;
    (0..2).for_each(|peer| net.set_tls(peer, &tls.material(peer as u64)).unwrap());
    net
}

/// The client's name and the bytes of its handshake in the recorded first flight.
fn flight() -> (Vec<u8>, Vec<u8>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/packets/first-flight");
    let (mut name, mut hello) = (Vec::new(), Vec::new());
    for datagram in doors::datagrams(&std::fs::read(path).unwrap()) {
        let (id, frames) = doors::frames(&datagram).unwrap();
        name = id;
        let mut rest = &frames[..];
        while let Some((6, frame)) = rest.split_first() {
            let (offset, frame) = varint(frame);
            let (len, frame) = varint(frame);
            hello.resize(hello.len().max(offset + len), 0);
            hello[offset..offset + len].copy_from_slice(&frame[..len]);
            rest = &frame[len..];
        }
    }
    (name, hello)
}

/// The first flight with these transport parameters in it, as datagrams.
fn said_with(parameters: &[u8]) -> Vec<Vec<u8>> {
    let (name, hello) = flight();
    let hello = with_parameters(&hello, parameters);
    let pieces = hello.chunks(1000).enumerate().map(|(number, piece)| {
        let offset = u16::try_from(1000 * number).unwrap() | 0x4000;
        let len = u16::try_from(piece.len()).unwrap() | 0x4000;
        let frame = [&[6][..], &offset.to_be_bytes(), &len.to_be_bytes(), piece].concat();
        let head = [&[u8::try_from(number << 2).unwrap()], &name[..], &[0]].concat();
        let body = [head, frame].concat();
        [&[1][..], &u16::try_from(body.len()).unwrap().to_le_bytes(), &body].concat()
    });
    doors::datagrams(&pieces.collect::<Vec<_>>().concat())
}

/// A ClientHello (RFC 8446, 4.1.2) with another extension 57 (RFC 9001, 8.2).
fn with_parameters(hello: &[u8], parameters: &[u8]) -> Vec<u8> {
    let mut at = 4 + 2 + 32;
    at += 1 + usize::from(hello[at]);
    at += 2 + usize::from(u16::from_be_bytes([hello[at], hello[at + 1]]));
    at += 1 + usize::from(hello[at]);
    let (front, mut rest) = (&hello[4..at], &hello[at + 2..]);
    let mut extensions = Vec::new();
    while !rest.is_empty() {
        let len = usize::from(u16::from_be_bytes([rest[2], rest[3]]));
        let value = if rest[..2] == [0, 57] { parameters } else { &rest[4..4 + len] };
        extensions.extend(&rest[..2]);
        extensions.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
        extensions.extend(value);
        rest = &rest[4 + len..];
    }
    let len = u16::try_from(extensions.len()).unwrap().to_be_bytes();
    let body = [front, &len, &extensions].concat();
    let head = u32::try_from(body.len()).unwrap() | 1 << 24;
    [&head.to_be_bytes()[..], &body].concat()
}

/// Every number at its greatest.
fn greatest() -> Vec<u8> {
    let flow = [0x05, 0x06, 0x07].map(|id| param(id, &[0xff; 8]));
    let streams = [0x08, 0x09].map(|id| param(id, &[0xd0, 0, 0, 0, 0, 0, 0, 0]));
    let rest = [param(0x01, &[0xff; 8]), param(0x03, &[0xff; 8]), param(0x0e, &[0xff; 8])];
    let all: Vec<Vec<u8>> = flow.into_iter().chain(streams).chain(rest).collect();
    all.concat()
}

fn param(id: u8, value: &[u8]) -> Vec<u8> {
    [&[id, u8::try_from(value.len()).unwrap()], value].concat()
}

fn varint(bytes: &[u8]) -> (usize, &[u8]) {
    let len = 1 << (bytes[0] >> 6);
    let first = usize::from(bytes[0] & 0x3f);
    let value = bytes[1..len].iter().fold(first, |all, byte| (all << 8) | usize::from(*byte));
    (value, &bytes[len..])
}
