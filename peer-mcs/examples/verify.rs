//! The verification of blocks alone: a genesis block says whom to believe, and a later block is judged by it.
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::path::Path;

use bytes::Bytes;
use gossip_api::{BlockCodec as _, SeqNum};
use peer_mcs::{Channel, FabricCodec, verify_block};

/// Runs the example.
///
/// # Errors
/// If anything does not go as it should.
pub fn main() -> Result<(), Box<dyn Error>> {
    let recorded = Path::new(env!("CARGO_MANIFEST_DIR")).join("../peer-mcs/tests/fixtures");
    let read = |file: &str| -> Result<_, Box<dyn Error>> {
        Ok(FabricCodec.split(&Bytes::from(std::fs::read(recorded.join(file))?))?)
    };
    let channel = Channel::from_config_block(&read("trade/genesis.block")?)?;
    println!("channel {}", channel.id());
    let block = read("trade/blocks/block_000001.pb")?;
    verify_block(&channel, SeqNum::new(1), &block)?;
    println!("block {} is the orderers'", block.number);
    let tampered = read("bad/trade_tampered_data.pb")?;
    match verify_block(&channel, tampered.number, &tampered) {
        Ok(()) => Err("a tampered block was believed".into()),
        Err(error) => {
            println!("a tampered one is not: {error}");
            Ok(())
        }
    }
}
