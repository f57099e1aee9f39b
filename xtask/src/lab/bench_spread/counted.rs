//! A transport and a judge that count what passes them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use gossip_api::message::{Class, Share, ShareSet};
use gossip_api::{
    Block, BlockError, ChannelId, CryptoError, Expiration, Message, MessageCryptoService,
    PeerIdentity, PkiId, SeqNum, Signature, SignedMessage,
};
use gossip_comm::{Comm, Command, Event};
use peer_mcs::Mcs;

/// What one peer received, sent and verified.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Bytes of blocks and headers received, duplicates included.
    pub(super) received: AtomicU64,
    /// Bytes of blocks sent.
    pub(super) sent: AtomicU64,
    /// Blocks that came first without having been asked for.
    pub(super) pushed: AtomicU64,
    /// Signature sets of blocks looked at.
    pub(super) verified: AtomicU64,
    seen: Mutex<BTreeSet<u64>>,
    /// Different shares that came of each block.
    shares: Mutex<BTreeMap<u64, ShareSet>>,
    /// Blocks of which shares were asked for.
    asked: Mutex<BTreeSet<u64>>,
}

impl Counts {
    fn note(&self, event: &Event) {
        let (Event::Received { message, .. } | Event::Response { message, .. }) = event else {
            return;
        };
        if let Message::Header(header) = &message.message {
            self.received.fetch_add(header.block.len() as u64, Ordering::Relaxed);
        }
        if let Message::Share(share) = &message.message {
            self.note_share(share, message.envelope.encoded_len() as u64);
        }
        let Some(block) = message.message.block() else { return };
        self.received.fetch_add(block.len() as u64, Ordering::Relaxed);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let is_first = seen.insert(block.number.get());
        if is_first && matches!(message.message, Message::Data(_) | Message::Plan(_)) {
            self.pushed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Counts {
    /// A block in shares came unasked if enough of them came before any was asked for.
    fn note_share(&self, share: &Share, len: u64) {
        self.received.fetch_add(len, Ordering::Relaxed);
        let number = share.number.get();
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        let held = shares.entry(number).or_default();
        let before = held.len();
        held.insert(share.index);
        let needed = u32::from(share.class.needed());
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if before < needed && held.len() >= needed && !asked.contains(&number) {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            if seen.insert(number) {
                self.pushed.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn note_command(&self, command: &Command) {
        let Command::Send { envelope, .. } = command else { return };
        if envelope.class() != Class::Control {
            return;
        }
        if let Ok(SignedMessage { message: Message::ShareReport(report), .. }) =
            envelope.clone().open()
            && !report.wanted.is_empty()
        {
            let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
            asked.insert(report.number.get());
        }
    }
}

/// The real transport.
pub(super) struct CountedComm<C> {
    pub(super) comm: Arc<C>,
    pub(super) counts: Arc<Counts>,
}

#[async_trait]
impl<C: Comm> Comm for CountedComm<C> {
    fn command(&self, command: Command) {
        if let Command::Send { envelope, .. } | Command::Respond { envelope, .. } = &command
            && envelope.class() == Class::Block
        {
            self.counts.sent.fetch_add(envelope.encoded_len() as u64, Ordering::Relaxed);
        }
        self.counts.note_command(&command);
        self.comm.command(command);
    }

    async fn next_event(&self) -> Option<Event> {
        let event = self.comm.next_event().await?;
        self.counts.note(&event);
        Some(event)
    }

    fn try_events(&self, into: &mut Vec<Event>, max: usize) {
        let before = into.len();
        self.comm.try_events(into, max);
        into.iter().skip(before).for_each(|event| self.counts.note(event));
    }

    async fn stop(&self) {
        self.comm.stop().await;
    }
}

/// The real judge.
pub(super) struct CountedMcs {
    pub(super) mcs: Mcs,
    pub(super) counts: Arc<Counts>,
}

impl MessageCryptoService for CountedMcs {
    fn pki_id_of_cert(&self, identity: &PeerIdentity) -> Option<PkiId> {
        self.mcs.pki_id_of_cert(identity)
    }

    fn verify_block(
        &self,
        channel: &ChannelId,
        number: SeqNum,
        block: &Block,
    ) -> Result<(), BlockError> {
        self.counts.verified.fetch_add(1, Ordering::Relaxed);
        self.mcs.verify_block(channel, number, block)
    }

    fn verify_block_attestation(
        &self,
        channel: &ChannelId,
        block: &Block,
    ) -> Result<(), BlockError> {
        self.counts.verified.fetch_add(1, Ordering::Relaxed);
        self.mcs.verify_block_attestation(channel, block)
    }

    fn verify_attested_block(
        &self,
        channel: &ChannelId,
        number: SeqNum,
        block: &Block,
    ) -> Result<(), BlockError> {
        self.mcs.verify_attested_block(channel, number, block)
    }

    fn sign(&self, message: &[u8]) -> Result<Signature, CryptoError> {
        self.mcs.sign(message)
    }

    fn verify(
        &self,
        identity: &PeerIdentity,
        signature: &[u8],
        message: &[u8],
    ) -> Result<(), CryptoError> {
        self.mcs.verify(identity, signature, message)
    }

    fn verify_by_channel(
        &self,
        channel: &ChannelId,
        identity: &PeerIdentity,
        signature: &[u8],
        message: &[u8],
    ) -> Result<(), CryptoError> {
        self.mcs.verify_by_channel(channel, identity, signature, message)
    }

    fn validate_identity(&self, identity: &PeerIdentity) -> Result<(), CryptoError> {
        self.mcs.validate_identity(identity)
    }

    fn expiration(&self, identity: &PeerIdentity) -> Result<Expiration, CryptoError> {
        self.mcs.expiration(identity)
    }
}
