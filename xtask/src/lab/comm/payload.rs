//! What is sent: one kind per size, of the class that carries it.

use anyhow::{Result, ensure};
use bytes::Bytes;
use gossip_api::message::{DataMessage, PrivateDataRequest, StateInfo};
use gossip_api::{
    Block, ChannelId, ChannelTag, Envelope, Epoch, Height, Message, Nonce, PkiId, SeqNum,
};

/// A size, and how many messages of it make a batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    /// Of the payload; the row's name.
    pub(crate) bytes: usize,
    /// Messages of one batch.
    pub(crate) batch: usize,
    /// Messages of which latencies are taken, one after the other.
    pub(crate) singles: usize,
    /// Messages that are signed and checked in a batch.
    pub(crate) signed: usize,
}

pub(crate) const SIZES: [Size; 4] = [
    Size { bytes: 100, batch: 400_000, singles: 2_000, signed: 8_000 },
    Size { bytes: 10 << 10, batch: 20_000, singles: 1_000, signed: 4_000 },
    Size { bytes: 160 << 10, batch: 1_000, singles: 300, signed: 800 },
    Size { bytes: 1 << 20, batch: 160, singles: 100, signed: 120 },
];

impl Size {
    /// Whether every message gets a stream of its own.
    pub(crate) const fn is_large(self) -> bool {
        self.bytes > 64 << 10
    }

    /// Number `number` of its kind, said by `by`.
    ///
    /// 100 B: a state info, 93 bytes of body, signed by its author. 10 KiB: a question with its query. Above:
    /// a block with its data.
    pub(crate) fn message(self, by: PkiId, number: u64) -> Result<Message> {
        let channel = ChannelId::new("trade")?;
        let message = if self.is_large() {
            let block = Block {
                number: SeqNum::new(number),
                previous_hash: Bytes::from_static(&[1; 32]),
                data_hash: Bytes::from_static(&[2; 32]),
                data: Bytes::from(vec![3; self.bytes]),
                metadata: Bytes::from_static(&[4; 64]),
            };
            Message::Data(DataMessage { channel, block })
        } else if self.bytes > 1 << 10 {
            let query = Bytes::from(vec![5; self.bytes]);
            Message::PrivateDataRequest(PrivateDataRequest::new(
                Nonce::new(number),
                channel,
                query,
            )?)
        } else {
            Message::StateInfo(StateInfo {
                tag: ChannelTag::from_bytes([6; 32]),
                pki_id: by,
                epoch: Epoch::new(1),
                sequence: number,
                height: Height::new(number),
                left_channel: false,
            })
        };
        let (found, wanted) = (Envelope::unsigned(&message).encoded_len(), self.bytes);
        ensure!(found >= wanted && found <= wanted + 256, "{found} bytes for {wanted}");
        Ok(message)
    }
}
