//! The words alone: a message becomes a frame and a message again, and a store keeps what is newest.
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;

use bytes::Bytes;
use gossip_api::message::{PullHello, PullKind};
use gossip_api::{ChannelId, Envelope, Message, Nonce};

/// Runs the example.
///
/// # Errors
/// If anything does not go as it should.
pub fn main() -> Result<(), Box<dyn Error>> {
    let channel = ChannelId::new("trade")?;
    let hello = Message::Hello(PullHello { nonce: Nonce::new(7), channel, kind: PullKind::Block });
    let frame: Vec<u8> = Envelope::unsigned(&hello).encode()?.concat();
    println!("{} bytes, tag {:?}", frame.len(), hello.tag());
    // A frame is read without the length in front of it; nobody has vouched for what is in it yet.
    let signed =
        Envelope::decode(&Bytes::copy_from_slice(frame.get(4..).ok_or("cut off")?))?.open()?;
    if signed.message != hello {
        return Err("another message".into());
    }
    println!("{:?}, to be vouched for by {:?}", signed.message.kind(), signed.message.origin());
    Ok(())
}
