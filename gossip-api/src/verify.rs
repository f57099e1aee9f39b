//! The two doors to trust.

use crate::crypto::{MessageCryptoService, check_signature_form};
use crate::error::{CryptoError, VerifyError};
use crate::id::{NetworkId, PkiId};
use crate::identity::IdentityMap;
use crate::machine::Mono;
use crate::message::{Envelope, Message, Origin, SignedMessage, signed_bytes};

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

    /// Accepts a message whose kind is signed by its originator.
    ///
    /// # Errors
    /// If the kind is not a signed one, the originator is unknown, or the signature is not canonical or
    /// does not verify over the bytes as received.
    pub fn signed(
        signed: SignedMessage,
        identities: &IdentityMap,
        network: &NetworkId,
        mcs: &dyn MessageCryptoService,
        now: Mono,
    ) -> Result<Self, VerifyError> {
        let Origin::Signed(author) = signed.message.origin() else {
            return Err(VerifyError::NotSignedKind(signed.message.kind().name()));
        };
        check_signature_form(signed.envelope.signature())?;
        let identity = identities.get(&author, now).ok_or(VerifyError::UnknownIdentity(author))?;
        let context = signed.message.channel_context();
        let name = signed.message.kind().name();
        let bytes = signed_bytes(name, network, &context, signed.envelope.body());
        mcs.verify(&identity, signed.envelope.signature(), &bytes)?;
        Ok(Self { message: signed.message, envelope: signed.envelope, author })
    }

    /// Accepts a point-to-point message on the word of its authenticated connection.
    ///
    /// # Errors
    /// If the kind is one that its originator signs.
    pub fn sender(signed: SignedMessage, connection: PkiId) -> Result<Self, VerifyError> {
        match signed.message.origin() {
            Origin::Sender => {
                Ok(Self { message: signed.message, envelope: signed.envelope, author: connection })
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
