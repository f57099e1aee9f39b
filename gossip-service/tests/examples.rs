//! The examples of all crates run.
#![cfg(feature = "store")]
#![allow(unreachable_pub, reason = "an example's main is called from here")]

#[path = "../../gossip-election/examples/elect.rs"]
mod elect;
#[path = "../examples/embed.rs"]
mod embed;
#[path = "../examples/membership.rs"]
mod membership;
#[path = "../../gossip-api/examples/message.rs"]
mod message;
#[path = "../../gossip-state/examples/order.rs"]
mod order;
#[path = "../../gossip-comm/examples/talk.rs"]
mod talk;
#[path = "../../peer-mcs/examples/verify.rs"]
mod verify;

#[test]
fn a_peer_embedded_in_a_program_gets_the_blocks_of_its_neighbour() {
    embed::main().expect("the example runs");
}

#[test]
fn each_crate_is_of_use_alone() {
    message::main().expect("the words");
    talk::main().expect("the transport");
    membership::main().expect("the membership");
    elect::main().expect("the election");
    order::main().expect("the state transfer");
    verify::main().expect("the verification of blocks");
}
