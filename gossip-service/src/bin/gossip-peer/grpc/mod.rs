//! gRPC as Fabric speaks it: messages as bytes, the two streams of `orderer.AtomicBroadcast`, TLS.

pub(crate) mod client;
mod doors;
pub(crate) mod server;
pub(crate) mod tls;

use bytes::{Buf as _, BufMut as _, Bytes};
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

/// Messages are handed over as their bytes; who uses them encodes and decodes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, dst: &mut EncodeBuf<'_>) -> Result<(), Status> {
        dst.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, src: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(src.copy_to_bytes(src.remaining())))
    }
}

/// The two streams of an ordering service.
pub(crate) const DELIVER: &str = "/orderer.AtomicBroadcast/Deliver";
pub(crate) const BROADCAST: &str = "/orderer.AtomicBroadcast/Broadcast";
/// A block's message may be so long, as in Fabric.
pub(crate) const MESSAGE_LEN_MAX: usize = 100 << 20;
