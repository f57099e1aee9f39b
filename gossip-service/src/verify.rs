//! What stands between a message as received and the peer: admission, then proof.

use gossip_api::message::{MemberEntry, Origin, Share};
use gossip_api::{
    Admit, ChannelId, IdentityMap, Message, MessageCryptoService, NetworkId, Now, PkiId,
    SecurityAdvisor, SignedMessage, Verified, VerifyError,
};
use gossip_discovery::CheckedMember;

use crate::peer::Peer;

/// What is to happen with a message that has just come in.
#[derive(Debug)]
pub enum Judged {
    /// The connection vouches for it.
    Vouched(Verified<Message>),
    /// Its originator's signature has to be checked, outside the loop, and for a message about a channel
    /// whether the originator may read it.
    ToVerify(SignedMessage, Option<ChannelId>),
    /// A share of a block, whose branch has to be checked, outside the loop.
    ToProve(Box<Share>),
    /// Not wanted; nothing was computed.
    Dropped(&'static str),
}

/// Asks the peer whether it wants a message, of the header alone, and sorts it by who vouches for it.
pub fn judge(peer: &Peer, now: Now, from: PkiId, message: SignedMessage) -> Judged {
    if let Admit::Drop(reason) = peer.admit(now, &from, &message.message.header())
        && !peer.is_evidence(&from, &message.message)
    {
        return Judged::Dropped(reason);
    }
    if let Message::Share(share) = message.message {
        return match peer.admit_share(&from, &share) {
            Admit::Accept => Judged::ToProve(Box::new(share)),
            Admit::Drop(reason) => Judged::Dropped(reason),
        };
    }
    if let Message::ShareCommitment(_) = &message.message
        && let Admit::Drop(reason) = peer.admit_commitment(&message)
    {
        return Judged::Dropped(reason);
    }
    match message.message.origin() {
        Origin::Signed(_) => {
            let channel = peer.channel_of(&from, &message.message);
            Judged::ToVerify(message, channel)
        }
        Origin::Sender => match Verified::sender(message, from) {
            Ok(verified) => Judged::Vouched(verified),
            Err(_) => Judged::Dropped("not vouched for"),
        },
    }
}

/// What verification needs besides the message.
#[derive(Clone, Copy)]
pub struct Trust<'a> {
    /// The host's cryptography.
    pub mcs: &'a dyn MessageCryptoService,
    /// The host's organisations.
    pub advisor: &'a dyn SecurityAdvisor,
    /// Identities known.
    pub identities: &'a IdentityMap,
    /// Part of all that is signed.
    pub network: &'a NetworkId,
}

impl std::fmt::Debug for Trust<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trust").field("network", self.network).finish_non_exhaustive()
    }
}

impl Trust<'_> {
    /// Checks the originator's signature.
    ///
    /// # Errors
    /// Why it is not believed.
    pub fn verify(
        &self,
        now: Now,
        message: SignedMessage,
        channel: Option<&ChannelId>,
    ) -> Result<Verified<Message>, VerifyError> {
        Verified::signed(message, channel, self.identities, self.network, self.mcs, now.mono)
    }

    /// Of messages about a channel, those that hold under its present configuration.
    pub fn recheck(
        &self,
        now: Now,
        channel: &ChannelId,
        messages: Vec<Verified<Message>>,
    ) -> Vec<Verified<Message>> {
        let holds = |message: &Verified<Message>| {
            message
                .check_again(Some(channel), self.identities, self.network, self.mcs, now.mono)
                .is_ok()
        };
        messages.into_iter().filter(holds).collect()
    }

    /// Checks a member that another peer told us of: its identity, its record's signature, and that the
    /// secret beside it is the record's.
    ///
    /// # Errors
    /// Why it is not believed.
    pub fn check_member(&self, now: Now, entry: MemberEntry) -> Result<CheckedMember, VerifyError> {
        let pki_id = self.identities.put(&entry.identity, self.mcs, self.advisor, now)?;
        let malformed =
            |reason: &str| gossip_api::CryptoError::MalformedIdentity(reason.to_owned());
        let (record, signed) =
            entry.record.open().map_err(|error| malformed(&error.to_string()))?;
        if record.pki_id != pki_id {
            return Err(VerifyError::WrongSender { claimed: record.pki_id, actual: pki_id });
        }
        if entry.secret.as_ref().is_some_and(|secret| !secret.belongs_to(&record)) {
            return Err(malformed("the secret beside the record is another's").into());
        }
        let record = self
            .verify(now, signed, None)?
            .narrow(Message::into_record)
            .ok_or(VerifyError::NotSignedKind("record"))?;
        Ok(CheckedMember {
            org: self.identities.org_of(&pki_id),
            identity: entry.identity,
            record,
            sealed: entry.record,
            secret: entry.secret,
            beat: entry.beat,
        })
    }
}
