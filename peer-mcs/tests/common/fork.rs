//! Blocks that the fixtures' orderer signs although it signed others with their numbers.
#![allow(dead_code, unreachable_pub, reason = "every test uses another part of it")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use gossip_api::{Block, BlockCodec as _, MessageCryptoService as _};
use peer_mcs::{Channels, FabricCodec, LocalMsp, Mcs};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../peer-mcs/tests/fixtures")
}

/// A recorded block of the channel `trade`.
pub fn recorded(number: u64) -> Block {
    let file = fixtures().join(format!("trade/blocks/block_{number:06}.pb"));
    FabricCodec.split(&std::fs::read(file).unwrap().into()).unwrap()
}

/// Block `number` with the transactions of block `other`, signed by the orderer that signed both.
pub fn fork(number: u64, other: u64) -> Block {
    let (genuine, other) = (recorded(number), recorded(other));
    resigned(Block { data: other.data, data_hash: other.data_hash, ..genuine })
}

/// The block with its orderer's signature over its header.
pub fn resigned(block: Block) -> Block {
    let entries = fields(&block.metadata);
    let signed = fields(&entries[0].1);
    let value = signed.iter().find(|(number, _)| *number == 1).map_or(&b""[..], |(_, v)| v);
    let signature = signed.iter().find(|(number, _)| *number == 2).expect("it is signed");
    let header = &fields(&signature.1)[0].1;
    let message = [value, header, &block.header().to_asn1()].concat();
    let signature = orderer().sign(&message).unwrap();
    let signature = [field(1, header), field(2, &signature)].concat();
    let entry = [field(1, value), field(2, &signature)].concat();
    let rest = entries[1..].iter().flat_map(|(number, contents)| field(*number, contents));
    let metadata: Vec<u8> = field(entries[0].0, &entry).into_iter().chain(rest).collect();
    Block { metadata: metadata.into(), ..block }
}

/// Whoever signed the recorded blocks.
fn orderer() -> Mcs {
    let name = "crypto/ordererOrganizations/orderer.test/orderers/orderer1.orderer.test/msp";
    let private = tempfile::tempdir().unwrap();
    super::copy_private(&fixtures().join(name), private.path());
    let local = LocalMsp::from_dir(private.path(), "OrdererMSP").unwrap();
    Mcs::new(Arc::new(local), Arc::new(Channels::new()))
}

/// Fields of a message that has none but byte strings.
fn fields(mut bytes: &[u8]) -> Vec<(u8, Bytes)> {
    let mut fields = Vec::new();
    while let Some((tag, rest)) = bytes.split_first() {
        assert_eq!(tag & 7, 2, "a byte string");
        let (length, rest) = varint(rest);
        fields.push((tag >> 3, Bytes::copy_from_slice(&rest[..length])));
        bytes = &rest[length..];
    }
    fields
}

fn varint(bytes: &[u8]) -> (usize, &[u8]) {
    let end = bytes.iter().position(|byte| byte & 0x80 == 0).unwrap();
    let value =
        bytes[..=end].iter().rev().fold(0, |value, byte| value << 7 | usize::from(byte & 0x7f));
    (value, &bytes[end + 1..])
}

fn field(number: u8, contents: &[u8]) -> Vec<u8> {
    let mut bytes = vec![number << 3 | 2];
    let mut length = contents.len();
    while length >= 0x80 {
        bytes.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    bytes.push(length as u8);
    bytes.extend(contents);
    bytes
}
