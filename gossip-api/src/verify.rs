//! The two doors to trust.

use crate::crypto::{MessageCryptoService, check_signature_form};
use crate::error::{CryptoError, VerifyError};
use crate::id::{ChannelId, NetworkId, PkiId};
use crate::identity::IdentityMap;
use crate::ledger::Block;
use crate::machine::Mono;
use crate::message::{
    Envelope, Message, Origin, PlanPart, PlannedBlock, SignedMessage, signed_bytes,
};

/// A message whose author is proved: by a signature, by the connection it came over, or by being ours.
#[derive(Clone, Debug)]
pub struct Verified<M> {
    message: M,
    envelope: Envelope,
    author: PkiId,
}

impl Verified<Message> {
    /// Signs a message of our own, or wraps it unsigned if its kind is vouched for by connections.
    ///
    /// # Errors
    /// If the host cannot sign.
    pub fn own(
        message: Message,
        own: PkiId,
        network: &NetworkId,
        mcs: &dyn MessageCryptoService,
    ) -> Result<Self, CryptoError> {
        let mut envelope = Envelope::unsigned(&message);
        if let Origin::Signed(_) = message.origin() {
            let context = message.channel_context();
            let bytes = signed_bytes(message.kind().name(), network, &context, envelope.body());
            envelope = envelope.with_signature(mcs.sign(&bytes)?)?;
        }
        Ok(Self { message, envelope, author: own })
    }

    /// Accepts a message whose kind is signed by its originator; about a channel (`channel`) only if the
    /// originator may read that channel.
    ///
    /// # Errors
    /// If the kind is not a signed one, the originator is unknown, or the signature is not canonical or
    /// does not verify over the bytes as received, or the channel's Readers policy does not accept it.
    pub fn signed(
        signed: SignedMessage,
        channel: Option<&ChannelId>,
        identities: &IdentityMap,
        network: &NetworkId,
        mcs: &dyn MessageCryptoService,
        now: Mono,
    ) -> Result<Self, VerifyError> {
        let Origin::Signed(author) = signed.message.origin() else {
            return Err(VerifyError::NotSignedKind(signed.message.kind().name()));
        };
        let verified = Self { message: signed.message, envelope: signed.envelope, author };
        check_signature_form(verified.envelope.signature())?;
        verified.check_again(channel, identities, network, mcs, now)?;
        // It may be kept long from here on.
        Ok(Self { envelope: verified.envelope.detached(), ..verified })
    }

    /// Checks a signed message once more, because what is believed has changed since.
    ///
    /// # Errors
    /// As [`signed`](Self::signed).
    pub fn check_again(
        &self,
        channel: Option<&ChannelId>,
        identities: &IdentityMap,
        network: &NetworkId,
        mcs: &dyn MessageCryptoService,
        now: Mono,
    ) -> Result<(), VerifyError> {
        let unknown = || VerifyError::UnknownIdentity(self.author);
        let identity = identities.get(&self.author, now).ok_or_else(unknown)?;
        let context = self.message.channel_context();
        let name = self.message.kind().name();
        let bytes = signed_bytes(name, network, &context, self.envelope.body());
        let signature = self.envelope.signature();
        match channel {
            Some(channel) => mcs.verify_by_channel(channel, &identity, signature, &bytes)?,
            None => mcs.verify(&identity, signature, &bytes)?,
        }
        Ok(())
    }

    /// The same plan on its way to somebody else: another part of its list, and the block. Nothing for other
    /// kinds. What the source has signed stays as it is.
    pub fn replan(&self, part: PlanPart, block: Block) -> Option<Self> {
        let Message::Plan(PlannedBlock { plan, .. }) = &self.message else { return None };
        let message = Message::Plan(PlannedBlock { plan: plan.clone(), part, block });
        let envelope = self.envelope.with_payload_of(&message)?;
        Some(Self { message, envelope, author: self.author })
    }

    /// Accepts a point-to-point message on the word of its authenticated connection.
    ///
    /// # Errors
    /// If the kind is one that its originator signs.
    pub fn sender(signed: SignedMessage, connection: PkiId) -> Result<Self, VerifyError> {
        match signed.message.origin() {
            Origin::Sender => {
                let envelope = signed.envelope.detached();
                Ok(Self { message: signed.message, envelope, author: connection })
            }
            Origin::Signed(_) => Err(VerifyError::NotSenderKind(signed.message.kind().name())),
        }
    }
}

impl<M> Verified<M> {
    /// The message.
    pub fn message(&self) -> &M {
        &self.message
    }

    /// Who said it.
    pub fn author(&self) -> PkiId {
        self.author
    }

    /// The bytes it came in, for relaying and storing.
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// The parts: message, bytes, author.
    pub fn into_parts(self) -> (M, Envelope, PkiId) {
        (self.message, self.envelope, self.author)
    }

    /// The same proof for a part of the message; nothing if `pick` finds none.
    pub fn narrow<N>(self, pick: impl FnOnce(M) -> Option<N>) -> Option<Verified<N>> {
        let Self { message, envelope, author } = self;
        pick(message).map(|message| Verified { message, envelope, author })
    }
}

/// What a peer says to a message's header, before any cryptography.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admit {
    /// Worth verifying.
    Accept,
    /// Not wanted, with the reason that drop counters carry.
    Drop(&'static str),
}
