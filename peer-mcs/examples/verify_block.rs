//! Verifies a block of a channel, given the channel's genesis block and nothing else.
//!
//! `cargo run -p peer-mcs --example verify_block [GENESIS BLOCK]`; without arguments, block 17 of a fixture.
#![allow(clippy::print_stdout, reason = "an example shows what it found")]

use std::{env, fs, path::Path};

use gossip_api::BlockCodec;
use peer_mcs::{Channel, FabricCodec, verify_block};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/trade");
    let mut paths = env::args_os().skip(1);
    let genesis = paths.next().unwrap_or_else(|| fixtures.join("genesis.block").into());
    let block = paths.next().unwrap_or_else(|| fixtures.join("blocks/block_000017.pb").into());

    // Ten lines: read the genesis block, which is trusted; read a block, which is not; ask.
    let genesis = FabricCodec.split(&fs::read(genesis)?.into())?;
    let channel = Channel::from_config_block(&genesis)?;
    let block = FabricCodec.split(&fs::read(block)?.into())?;
    match verify_block(&channel, block.number, &block) {
        Ok(()) => println!("block {} of {} is good", block.number, channel.id()),
        Err(error) => println!("block {} is refused ({}): {error}", block.number, error.class()),
    }
    Ok(())
}
