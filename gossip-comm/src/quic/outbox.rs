//! What waits to be sent to one peer, bounded in bytes.
//!
//! It belongs to the peer and not to a connection: when two connections meet and one gives way, what
//! waits goes over the other.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use gossip_api::Envelope;
use gossip_api::message::Class;
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

#[derive(Debug)]
struct Queues {
    control: Queue,
    membership: Queue,
    blocks: Queue,
}

#[derive(Debug)]
struct Queue {
    waiting: VecDeque<Envelope>,
    bytes: usize,
    bytes_max: usize,
}

impl Outbox {
    pub(super) fn new(config: &OutboxConfig) -> Self {
        let queues = Queues {
            control: Queue::new(config.control_bytes),
            membership: Queue::new(config.membership_bytes),
            blocks: Queue::new(config.block_bytes),
        };
        Self { queues: Mutex::new(queues), small: Notify::new(), block: Notify::new() }
    }

    /// Puts a message in; returns how many were dropped for it, itself counted if it was refused.
    pub(super) fn push(&self, envelope: Envelope) -> usize {
        let mut queues = self.lock();
        let (dropped, ready) = match envelope.class() {
            Class::Control => (queues.control.push_dropping_oldest(envelope), &self.small),
            Class::Membership => (queues.membership.push_dropping_oldest(envelope), &self.small),
            Class::Block => (queues.blocks.push_or_refuse(envelope), &self.block),
        };
        drop(queues);
        ready.notify_one();
        dropped
    }

    /// Moves control messages, then membership pages, into `batch` until it holds `bytes_max` or more.
    pub(super) fn take_small(&self, bytes_max: usize, batch: &mut Vec<Envelope>) {
        let mut queues = self.lock();
        let mut bytes = 0;
        while bytes < bytes_max {
            let next = queues.control.pop();
            let Some(envelope) = next.or_else(|| queues.membership.pop()) else { break };
            bytes += envelope.encoded_len();
            batch.push(envelope);
        }
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
        [&queues.control, &queues.membership, &queues.blocks].iter().map(|q| q.waiting.len()).sum()
    }

    fn lock(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn new(bytes_max: usize) -> Self {
        Self { waiting: VecDeque::new(), bytes: 0, bytes_max }
    }

    fn push_dropping_oldest(&mut self, envelope: Envelope) -> usize {
        let len = envelope.encoded_len();
        let mut dropped = 0;
        while self.bytes + len > self.bytes_max && self.pop().is_some() {
            dropped += 1;
        }
        self.bytes += len;
        self.waiting.push_back(envelope);
        dropped
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
        let dropped: usize = (0..5).map(|nonce| outbox.push(control(nonce))).sum();
        assert_eq!(dropped, 2);
        let mut batch = Vec::new();
        outbox.take_small(usize::MAX, &mut batch);
        let kept: Vec<_> = batch.into_iter().map(nonce_of).collect();
        assert_eq!(kept, [2, 3, 4]);

        assert_eq!(outbox.push(block(1)), 0, "a block larger than the bound waits alone");
        assert_eq!(outbox.push(block(2)), 1);
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

    fn nonce_of(envelope: Envelope) -> u64 {
        let Message::Hello(hello) = envelope.open().expect("own encoding").message else {
            panic!("another kind")
        };
        hello.nonce.get()
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
