//! What waits to be sent to one peer, bounded in bytes.
//!
//! It belongs to the peer and not to a connection: when two connections meet and one gives way, what
//! waits goes over the other. Small messages wait as the bytes that go on the stream, one behind the
//! other, so that a batch of them is handed to it without another copy.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::{Buf, Bytes, BytesMut};
use gossip_api::message::Class;
use gossip_api::{Envelope, WireError};
use tokio::sync::Notify;

use crate::bounds::OutboxConfig;

/// The waiting messages of one peer, by class.
#[derive(Debug)]
pub(super) struct Outbox {
    queues: Mutex<Queues>,
    /// Told when a control or membership message is put in.
    pub(super) small: Notify,
    /// Told when a block is put in.
    pub(super) block: Notify,
}

/// Frames that go on the stream as one piece.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) bytes: Bytes,
    pub(super) frames: usize,
}

#[derive(Debug)]
struct Queues {
    control: Frames,
    membership: Frames,
    blocks: Blocks,
}

/// Small messages, as the bytes on the stream.
#[derive(Debug)]
struct Frames {
    bytes: BytesMut,
    lens: VecDeque<usize>,
    bytes_max: usize,
}

#[derive(Debug)]
struct Blocks {
    waiting: VecDeque<Envelope>,
    bytes: usize,
    bytes_max: usize,
}

impl Outbox {
    pub(super) fn new(config: &OutboxConfig) -> Self {
        let queues = Queues {
            control: Frames::new(config.control_bytes),
            membership: Frames::new(config.membership_bytes),
            blocks: Blocks::new(config.block_bytes),
        };
        Self { queues: Mutex::new(queues), small: Notify::new(), block: Notify::new() }
    }

    /// Puts a message in; returns how many were dropped for it, itself counted if it was refused.
    ///
    /// # Errors
    /// If it is larger than any message may be.
    pub(super) fn push(&self, envelope: Envelope) -> Result<usize, WireError> {
        let mut queues = self.lock();
        let (pushed, ready) = match envelope.class() {
            Class::Control => (queues.control.push_dropping_oldest(&envelope), &self.small),
            Class::Membership => (queues.membership.push_dropping_oldest(&envelope), &self.small),
            Class::Block => (Ok(queues.blocks.push_or_refuse(envelope)), &self.block),
        };
        drop(queues);
        ready.notify_one();
        pushed
    }

    /// Takes out control messages or, if there are none, membership pages: about `bytes_max` bytes.
    pub(super) fn take_small(&self, bytes_max: usize) -> Option<Batch> {
        let mut queues = self.lock();
        let control = queues.control.take(bytes_max);
        control.or_else(|| queues.membership.take(bytes_max))
    }

    /// Length of the block that is next.
    pub(super) fn next_block_len(&self) -> Option<usize> {
        self.lock().blocks.waiting.front().map(Envelope::encoded_len)
    }

    /// The block that is next.
    pub(super) fn take_block(&self) -> Option<Envelope> {
        self.lock().blocks.pop()
    }

    /// Puts a block that could not be sent back to the front.
    pub(super) fn return_block(&self, envelope: Envelope) {
        let mut queues = self.lock();
        queues.blocks.bytes += envelope.encoded_len();
        queues.blocks.waiting.push_front(envelope);
        drop(queues);
        self.block.notify_one();
    }

    /// Lets a newly responsible writer look again: the one before may have taken its notice.
    pub(super) fn nudge(&self) {
        self.small.notify_one();
        self.block.notify_one();
    }

    /// How many messages wait.
    pub(super) fn len(&self) -> usize {
        let queues = self.lock();
        queues.control.lens.len() + queues.membership.lens.len() + queues.blocks.waiting.len()
    }

    fn lock(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Frames {
    fn new(bytes_max: usize) -> Self {
        Self { bytes: BytesMut::new(), lens: VecDeque::new(), bytes_max }
    }

    /// A frame larger than the bound waits alone.
    fn push_dropping_oldest(&mut self, envelope: &Envelope) -> Result<usize, WireError> {
        let before = self.bytes.len();
        envelope.encode_into(&mut self.bytes)?;
        self.lens.push_back(self.bytes.len() - before);
        let mut dropped = 0;
        while self.bytes.len() > self.bytes_max && self.lens.len() > 1 {
            self.bytes.advance(self.lens.pop_front().unwrap_or_default());
            dropped += 1;
        }
        Ok(dropped)
    }

    /// The oldest frames, one at least, as long as they stay within `bytes_max`.
    fn take(&mut self, bytes_max: usize) -> Option<Batch> {
        let mut len = self.lens.pop_front()?;
        let mut frames = 1;
        if self.bytes.len() <= bytes_max {
            // All of them, and their memory with them: an idle peer keeps none.
            frames += self.lens.len();
            self.lens.clear();
            if self.lens.capacity() > IDLE_FRAMES {
                self.lens = VecDeque::new();
            }
            return Some(Batch { bytes: std::mem::take(&mut self.bytes).freeze(), frames });
        }
        while let Some(next) = self.lens.front()
            && len + next <= bytes_max
        {
            len += next;
            frames += 1;
            self.lens.pop_front();
        }
        Some(Batch { bytes: self.bytes.split_to(len).freeze(), frames })
    }
}

impl Blocks {
    const fn new(bytes_max: usize) -> Self {
        Self { waiting: VecDeque::new(), bytes: 0, bytes_max }
    }

    fn push_or_refuse(&mut self, envelope: Envelope) -> usize {
        let len = envelope.encoded_len();
        if !self.waiting.is_empty() && self.bytes + len > self.bytes_max {
            return 1;
        }
        self.bytes += len;
        self.waiting.push_back(envelope);
        0
    }

    fn pop(&mut self) -> Option<Envelope> {
        let envelope = self.waiting.pop_front()?;
        self.bytes = self.bytes.saturating_sub(envelope.encoded_len());
        Some(envelope)
    }
}

/// Room for frame lengths that an idle peer keeps.
const IDLE_FRAMES: usize = 64;

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use gossip_api::message::{DataMessage, Message, PullHello, PullKind};
    use gossip_api::{Block, ChannelId, Nonce, SeqNum};

    use super::*;

    #[test]
    fn control_drops_the_oldest_and_blocks_refuse_the_newest() {
        let one = control(0).encoded_len();
        let outbox = Outbox::new(&OutboxConfig {
            control_bytes: 3 * one,
            membership_bytes: 1,
            block_bytes: 1,
            answer_bytes: 1,
        });
        let dropped: usize = (0..5).map(|nonce| outbox.push(control(nonce)).expect("small")).sum();
        assert_eq!(dropped, 2);
        let first = outbox.take_small(2 * one).expect("three wait");
        assert_eq!((first.frames, nonces_of(first.bytes)), (2, vec![2, 3]));
        let second = outbox.take_small(2 * one).expect("one waits");
        assert_eq!((second.frames, nonces_of(second.bytes)), (1, vec![4]));
        assert!(outbox.take_small(2 * one).is_none());

        let refused = [1, 2].map(|number| outbox.push(block(number)).expect("small"));
        assert_eq!(refused, [0, 1], "a block larger than the bound waits alone");
        assert_eq!(outbox.len(), 1);
        let first = outbox.take_block().expect("the first block");
        outbox.return_block(first);
        assert_eq!(outbox.len(), 1);
    }

    fn control(nonce: u64) -> Envelope {
        let channel = ChannelId::new("trade").expect("short");
        Envelope::unsigned(&Message::Hello(PullHello {
            nonce: Nonce::new(nonce),
            channel,
            kind: PullKind::Block,
        }))
    }

    fn nonces_of(mut bytes: Bytes) -> Vec<u64> {
        let mut nonces = Vec::new();
        while !bytes.is_empty() {
            let envelope = Envelope::take(&mut bytes).expect("own encoding");
            let Message::Hello(hello) = envelope.open().expect("own encoding").message else {
                panic!("another kind")
            };
            nonces.push(hello.nonce.get());
        }
        nonces
    }

    fn block(number: u64) -> Envelope {
        let block = Block {
            number: SeqNum::new(number),
            previous_hash: Bytes::new(),
            data_hash: Bytes::new(),
            data: Bytes::from_static(b"data"),
            metadata: Bytes::new(),
        };
        let channel = ChannelId::new("trade").expect("short");
        Envelope::unsigned(&Message::Data(DataMessage { channel, block }))
    }
}
