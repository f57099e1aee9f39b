//! A state transfer alone: blocks come in the wrong order and are committed in the right one.
#![allow(
    clippy::print_stdout,
    clippy::wildcard_enum_match_arm,
    reason = "an example shows what it does, and prints what it does not use"
)]

use std::error::Error;

use bytes::Bytes;
use gossip_api::{Block, BlockHash, ChannelId, Height, Machine as _, Mono, Now, SeqNum, Wall};
use gossip_state::{Action, BlockOrigin, Input, StateConfig, StateTransfer};
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng as _;

/// Runs the example.
///
/// # Errors
/// If anything does not go as it should.
pub fn main() -> Result<(), Box<dyn Error>> {
    let channel = ChannelId::new("trade")?;
    let config = StateConfig::default().checked()?;
    let mut transfer = StateTransfer::new(channel, config, ChaCha8Rng::seed_from_u64(1));
    let now = Now { mono: Mono::ZERO, wall: Wall::from_unix_seconds(0) };
    let genesis = block(0, None);
    let first = block(1, Some(genesis.header().hash()));
    let second = block(2, Some(first.header().hash()));
    let tip = Some(genesis.header().hash());
    let offer = |block| Input::Offered { block, origin: BlockOrigin::Local, is_config: false };
    let mut inputs =
        vec![Input::Started { height: Height::new(1), tip }, offer(second), offer(first)];
    let mut height = Height::new(1);
    while !inputs.is_empty() {
        let input = inputs.remove(0);
        for action in transfer.handle(now, input) {
            match action {
                // A host checks the orderers' signatures here, and writes to its ledger below.
                Action::Verify { block, origin } => inputs.push(Input::Verified { block, origin }),
                Action::Commit { blocks, .. } => {
                    for block in blocks {
                        println!("block {} is committed", block.number);
                        height = block.number.height();
                    }
                    inputs.push(Input::Committed { height });
                }
                other => println!("{other:?}"),
            }
        }
    }
    if height == Height::new(3) { Ok(()) } else { Err(format!("height {height}").into()) }
}

fn block(number: u64, previous: Option<BlockHash>) -> Block {
    Block {
        number: SeqNum::new(number),
        previous_hash: previous
            .map_or_else(Bytes::new, |hash| Bytes::copy_from_slice(hash.as_bytes())),
        data_hash: Bytes::from(vec![u8::try_from(number).unwrap_or(0); 32]),
        data: Bytes::from_static(b"transactions"),
        metadata: Bytes::from_static(b"signatures"),
    }
}
