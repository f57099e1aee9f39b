//! Every message of the system.
//!
//! | Kind | Vouched for by | Tag | Class |
//! |---|---|---|---|
//! | record | its member's signature | empty | control |
//! | beats | each beat by its chain | empty | control |
//! | membership request, response | the connection; the records inside by signature | empty | membership |
//! | probe | the connection | empty | control |
//! | proof of life | its member's signature | empty | control |
//! | leadership | the connection | channel and organisation | control |
//! | state info pull request | the connection | channel or organisation | control |
//! | state info | its member's signature | channel or organisation | control |
//! | data, update | the orderers' signatures inside | channel and organisation | block |
//! | state info snapshot | the connection; the state infos inside by signature | channel or organisation | control |
//! | hello, digest, request for blocks | the connection | channel and organisation | control |
//! | hello, digest, request for identities | the connection | empty | control |
//! | peer identities | the authorities that issued them | empty | membership |
//! | state request | the connection | channel or organisation | control |
//! | state response | the orderers' signatures inside | channel or organisation | block |
//! | acknowledgement | the connection | empty | control |
//! | private data, its response | the connection | channel | block |
//! | private data request | the connection | channel | control |
//! | header | the orderers' signatures inside | channel | control |
//! | header note | the connection | channel | control |
//! | block note | the connection | channel and organisation | control |
//! | plan | its source's signature; the block by the orderers' | channel and organisation | block |
//! | share commitment | its source's signature | channel | control |
//! | share | the tree whose root a commitment signs | channel | block |
//! | share report | the connection | channel | control |

mod class;
pub mod codec;
mod direct;
mod envelope;
mod hello;
mod membership;
mod pull;
mod replace;
mod share;
mod spread;
mod state;
mod tag;

pub use class::Class;
pub use direct::{Acknowledgement, PrivateData, PrivateDataRequest, PrivateDataResponse};
pub use envelope::{Envelope, SealedRecord, SealedStateInfo, SignedMessage, signed_bytes};
pub use hello::{CloseReason, Features, Hello, HelloBinding, HelloLimits, Role, WIRE_VERSION};
pub use membership::{
    Ask, Beat, Beats, Known, MemberEntry, MembershipRequest, MembershipResponse, Probe,
    ProofOfLife, Record, Secret, ShortId, chain_step,
};
pub use pull::{ItemId, PeerIdentities, PullDigest, PullHello, PullKind, PullRequest, PullUpdate};
pub use replace::{Circumstances, Lane, Relation, Slot};
pub use share::{Share, ShareClass, ShareCommitment, ShareDuty, ShareReport, ShareSet};
pub use spread::{
    BlockNote, BlockWord, HeaderMessage, HeaderNote, HeaderWord, Plan, PlanPart, PlannedBlock,
};
pub use state::{
    DataMessage, LeadershipKind, LeadershipMessage, StateInfo, StateInfoPullRequest,
    StateInfoSnapshot, StateRequest, StateResponse,
};
pub use tag::Tag;

use bytes::Bytes;

use crate::id::{ChannelId, ChannelTag, Epoch, PkiId};
use crate::ledger::Block;

/// A message between peers. What it must be tagged with, who vouches for it and how large it may be
/// follow from its kind, so that an illegal combination cannot be written down.
// fabric: gossip/message.proto GossipMessage
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// A member about itself.
    Record(Record),
    /// Proofs that members live.
    Beats(Beats),
    /// What do you know of the members?
    MembershipRequest(MembershipRequest),
    /// The answer, a page.
    MembershipResponse(MembershipResponse),
    /// A member about itself in one channel.
    StateInfo(StateInfo),
    /// A block, pushed.
    Data(DataMessage),
    /// Pull, first step: what do you have?
    Hello(PullHello),
    /// Pull, second step: this.
    Digest(PullDigest),
    /// Pull, third step: give me these.
    Request(PullRequest),
    /// Pull, last step: one of them.
    Update(PullUpdate),
    /// Blocks from here to there, please, over this stream.
    StateRequest(StateRequest),
    /// One of them.
    StateResponse(StateResponse),
    /// Do you live? Does it live?
    Probe(Probe),
    /// I live, and these nonces show that I say so now.
    ProofOfLife(ProofOfLife),
    /// Who is in this channel, and how high?
    StateInfoPullRequest(StateInfoPullRequest),
    /// A candidate about its leadership of a channel in its organisation.
    Leadership(LeadershipMessage),
    /// These are, and so high.
    StateInfoSnapshot(StateInfoSnapshot),
    /// Pull of identities, last step: some of them.
    PeerIdentities(PeerIdentities),
    /// Your message has arrived.
    Acknowledgement(Acknowledgement),
    /// Private data, pushed.
    PrivateData(PrivateData),
    /// This private data, please.
    PrivateDataRequest(PrivateDataRequest),
    /// That of it which you may have.
    PrivateDataResponse(PrivateDataResponse),
    /// A block's header with its signatures.
    Header(HeaderMessage),
    /// A word about headers.
    HeaderNote(HeaderNote),
    /// A word about the data of blocks.
    BlockNote(BlockNote),
    /// A block on its way down a tree.
    Plan(PlannedBlock),
    /// A source about a large block: these are its shares.
    ShareCommitment(ShareCommitment),
    /// One of them.
    Share(Share),
    /// What a peer holds of them, and wants.
    ShareReport(ShareReport),
}

/// Kinds of messages, without their contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "each names the variant of `Message` that documents it")]
pub enum Kind {
    Record,
    Beats,
    MembershipRequest,
    MembershipResponse,
    StateInfo,
    Data,
    Hello,
    Digest,
    Request,
    Update,
    StateRequest,
    StateResponse,
    Probe,
    ProofOfLife,
    StateInfoPullRequest,
    Leadership,
    StateInfoSnapshot,
    PeerIdentities,
    Acknowledgement,
    PrivateData,
    PrivateDataRequest,
    PrivateDataResponse,
    Header,
    HeaderNote,
    BlockNote,
    Plan,
    ShareCommitment,
    Share,
    ShareReport,
}

impl Kind {
    /// The kind's name: part of signed bytes and of metrics, so it never changes.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Record => "record",
            Self::Beats => "beats",
            Self::MembershipRequest => "membership-request",
            Self::MembershipResponse => "membership-response",
            Self::StateInfo => "state-info",
            Self::Data => "data",
            Self::Hello => "pull-hello",
            Self::Digest => "pull-digest",
            Self::Request => "pull-request",
            Self::Update => "pull-update",
            Self::StateRequest => "state-request",
            Self::StateResponse => "state-response",
            Self::Probe => "probe",
            Self::ProofOfLife => "proof-of-life",
            Self::StateInfoPullRequest => "state-info-pull-request",
            Self::Leadership => "leadership",
            Self::StateInfoSnapshot => "state-info-snapshot",
            Self::PeerIdentities => "peer-identities",
            Self::Acknowledgement => "acknowledgement",
            Self::PrivateData => "private-data",
            Self::PrivateDataRequest => "private-data-request",
            Self::PrivateDataResponse => "private-data-response",
            Self::Header => "header",
            Self::HeaderNote => "header-note",
            Self::BlockNote => "block-note",
            Self::Plan => "plan",
            Self::ShareCommitment => "share-commitment",
            Self::Share => "share",
            Self::ShareReport => "share-report",
        }
    }

    /// Whether its messages travel as datagrams where they fit one: they are asked for again when they are
    /// lost, and worth nothing late.
    pub const fn rides_datagrams(self) -> bool {
        matches!(self, Self::Probe | Self::ProofOfLife)
    }

    /// The class whose cap the kind's frames obey.
    pub const fn class(self) -> Class {
        match self {
            Self::Record
            | Self::Beats
            | Self::StateInfo
            | Self::Hello
            | Self::Digest
            | Self::Request
            | Self::StateRequest
            | Self::Probe
            | Self::ProofOfLife
            | Self::StateInfoPullRequest
            | Self::Leadership
            | Self::StateInfoSnapshot
            | Self::Acknowledgement
            | Self::PrivateDataRequest
            | Self::Header
            | Self::HeaderNote
            | Self::BlockNote
            | Self::ShareCommitment
            | Self::ShareReport => Class::Control,
            Self::MembershipRequest | Self::MembershipResponse | Self::PeerIdentities => {
                Class::Membership
            }
            Self::Data
            | Self::Update
            | Self::StateResponse
            | Self::PrivateData
            | Self::PrivateDataResponse
            | Self::Plan
            | Self::Share => Class::Block,
        }
    }
}

/// Who vouches for a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// This peer, by its signature, however the message travelled.
    Signed(PkiId),
    /// The peer at the other end of the connection.
    Sender,
}

/// Which channel a message is about, as far as it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChannelRef {
    /// By name, between members of the channel.
    Name(ChannelId),
    /// By a tag that tells the name only to who knows the channel.
    Tag(ChannelTag),
}

/// What can be said of a message before anything is verified: enough to refuse it for nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageHeader {
    /// The kind.
    pub kind: Kind,
    /// The channel, for kinds that have one.
    pub channel: Option<ChannelRef>,
    /// Who claims to have originated it, for signed kinds.
    pub originator: Option<PkiId>,
    /// Which life of the originator, for kinds that say.
    pub epoch: Option<Epoch>,
    /// Version, sequence or block number, for kinds that have one; else 0.
    pub sequence: u64,
}

impl Message {
    /// The message's kind.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Record(_) => Kind::Record,
            Self::Beats(_) => Kind::Beats,
            Self::MembershipRequest(_) => Kind::MembershipRequest,
            Self::MembershipResponse(_) => Kind::MembershipResponse,
            Self::StateInfo(_) => Kind::StateInfo,
            Self::Data(_) => Kind::Data,
            Self::Hello(_) => Kind::Hello,
            Self::Digest(_) => Kind::Digest,
            Self::Request(_) => Kind::Request,
            Self::Update(_) => Kind::Update,
            Self::StateRequest(_) => Kind::StateRequest,
            Self::StateResponse(_) => Kind::StateResponse,
            Self::Probe(_) => Kind::Probe,
            Self::ProofOfLife(_) => Kind::ProofOfLife,
            Self::StateInfoPullRequest(_) => Kind::StateInfoPullRequest,
            Self::Leadership(_) => Kind::Leadership,
            Self::StateInfoSnapshot(_) => Kind::StateInfoSnapshot,
            Self::PeerIdentities(_) => Kind::PeerIdentities,
            Self::Acknowledgement(_) => Kind::Acknowledgement,
            Self::PrivateData(_) => Kind::PrivateData,
            Self::PrivateDataRequest(_) => Kind::PrivateDataRequest,
            Self::PrivateDataResponse(_) => Kind::PrivateDataResponse,
            Self::Header(_) => Kind::Header,
            Self::HeaderNote(_) => Kind::HeaderNote,
            Self::BlockNote(_) => Kind::BlockNote,
            Self::Plan(_) => Kind::Plan,
            Self::ShareCommitment(_) => Kind::ShareCommitment,
            Self::Share(_) => Kind::Share,
            Self::ShareReport(_) => Kind::ShareReport,
        }
    }

    /// Who has to vouch for it.
    pub const fn origin(&self) -> Origin {
        match self {
            Self::Record(record) => Origin::Signed(record.pki_id),
            Self::StateInfo(info) => Origin::Signed(info.pki_id),
            Self::ProofOfLife(proof) => Origin::Signed(proof.pki_id),
            Self::Plan(planned) => Origin::Signed(planned.plan.source),
            Self::ShareCommitment(commitment) => Origin::Signed(commitment.source),
            Self::Beats(_)
            | Self::MembershipRequest(_)
            | Self::MembershipResponse(_)
            | Self::Data(_)
            | Self::Hello(_)
            | Self::Digest(_)
            | Self::Request(_)
            | Self::Update(_)
            | Self::StateRequest(_)
            | Self::StateResponse(_)
            | Self::Probe(_)
            | Self::StateInfoPullRequest(_)
            | Self::Leadership(_)
            | Self::StateInfoSnapshot(_)
            | Self::PeerIdentities(_)
            | Self::Acknowledgement(_)
            | Self::PrivateData(_)
            | Self::PrivateDataRequest(_)
            | Self::PrivateDataResponse(_)
            | Self::Header(_)
            | Self::HeaderNote(_)
            | Self::BlockNote(_)
            | Self::Share(_)
            | Self::ShareReport(_) => Origin::Sender,
        }
    }

    /// Who may see it.
    // fabric: gossip/protoext/message.go IsTagLegal
    pub const fn tag(&self) -> Tag {
        match self {
            Self::Record(_)
            | Self::Beats(_)
            | Self::MembershipRequest(_)
            | Self::MembershipResponse(_)
            | Self::Probe(_)
            | Self::ProofOfLife(_)
            | Self::PeerIdentities(_)
            | Self::Acknowledgement(_) => Tag::Empty,
            Self::Hello(hello) => hello.kind.tag(),
            Self::Digest(digest) => digest.kind.tag(),
            Self::Request(request) => request.kind.tag(),
            Self::Data(_)
            | Self::Update(_)
            | Self::Leadership(_)
            | Self::BlockNote(_)
            | Self::Plan(_)
            | Self::ShareCommitment(_)
            | Self::Share(_)
            | Self::ShareReport(_) => Tag::ChanAndOrg,
            Self::PrivateData(_)
            | Self::PrivateDataRequest(_)
            | Self::PrivateDataResponse(_)
            | Self::Header(_)
            | Self::HeaderNote(_) => Tag::ChanOnly,
            Self::StateInfo(_)
            | Self::StateInfoPullRequest(_)
            | Self::StateInfoSnapshot(_)
            | Self::StateRequest(_)
            | Self::StateResponse(_) => Tag::ChanOrOrg,
        }
    }

    /// The block it carries, for kinds that carry one.
    pub const fn block(&self) -> Option<&Block> {
        match self {
            Self::Data(data) => Some(&data.block),
            Self::Update(update) => Some(&update.block),
            Self::StateResponse(response) => Some(&response.block),
            Self::Plan(planned) => Some(&planned.block),
            Self::Record(_)
            | Self::Beats(_)
            | Self::MembershipRequest(_)
            | Self::MembershipResponse(_)
            | Self::StateInfo(_)
            | Self::Hello(_)
            | Self::Digest(_)
            | Self::Request(_)
            | Self::StateRequest(_)
            | Self::Probe(_)
            | Self::ProofOfLife(_)
            | Self::StateInfoPullRequest(_)
            | Self::Leadership(_)
            | Self::StateInfoSnapshot(_)
            | Self::PeerIdentities(_)
            | Self::Acknowledgement(_)
            | Self::PrivateData(_)
            | Self::PrivateDataRequest(_)
            | Self::PrivateDataResponse(_)
            | Self::Header(_)
            | Self::HeaderNote(_)
            | Self::BlockNote(_)
            | Self::ShareCommitment(_)
            | Self::Share(_)
            | Self::ShareReport(_) => None,
        }
    }

    /// The record that it is, if it is one.
    pub fn into_record(self) -> Option<Record> {
        if let Self::Record(record) = self { Some(record) } else { None }
    }

    /// Its channel, as far as it says.
    pub fn channel(&self) -> Option<ChannelRef> {
        let name = |channel: &ChannelId| Some(ChannelRef::Name(channel.clone()));
        let pulled = |kind, channel| if kind == PullKind::Identity { None } else { name(channel) };
        match self {
            Self::Record(_)
            | Self::Beats(_)
            | Self::MembershipRequest(_)
            | Self::MembershipResponse(_)
            | Self::Probe(_)
            | Self::ProofOfLife(_)
            | Self::PeerIdentities(_)
            | Self::Acknowledgement(_) => None,
            Self::StateInfo(info) => Some(ChannelRef::Tag(info.tag)),
            Self::StateInfoPullRequest(request) => Some(ChannelRef::Tag(request.tag)),
            Self::StateInfoSnapshot(snapshot) => Some(ChannelRef::Tag(snapshot.tag)),
            Self::Leadership(claim) => name(&claim.channel),
            Self::Data(data) => name(&data.channel),
            Self::Hello(hello) => pulled(hello.kind, &hello.channel),
            Self::Digest(digest) => pulled(digest.kind, &digest.channel),
            Self::Request(request) => pulled(request.kind, &request.channel),
            Self::Update(update) => name(&update.channel),
            Self::StateRequest(request) => name(&request.channel),
            Self::StateResponse(response) => name(&response.channel),
            Self::PrivateData(data) => name(&data.channel),
            Self::PrivateDataRequest(request) => name(&request.channel),
            Self::PrivateDataResponse(response) => name(&response.channel),
            Self::Header(header) => name(&header.channel),
            Self::HeaderNote(note) => name(&note.channel),
            Self::BlockNote(note) => name(&note.channel),
            Self::Plan(planned) => name(&planned.plan.channel),
            Self::ShareCommitment(commitment) => name(&commitment.channel),
            Self::Share(share) => name(&share.channel),
            Self::ShareReport(report) => name(&report.channel),
        }
    }

    /// What stands in the place of the channel when the message is signed.
    pub fn channel_context(&self) -> Bytes {
        match self.channel() {
            None => Bytes::new(),
            Some(ChannelRef::Name(name)) => Bytes::copy_from_slice(name.as_str().as_bytes()),
            Some(ChannelRef::Tag(tag)) => Bytes::copy_from_slice(tag.as_bytes()),
        }
    }

    /// What `admit` is asked about.
    pub fn header(&self) -> MessageHeader {
        let (epoch, sequence) = match self {
            Self::Record(record) => (Some(record.epoch), u64::from(record.version)),
            Self::StateInfo(info) => (Some(info.epoch), info.sequence),
            Self::ProofOfLife(proof) => (Some(proof.epoch), proof.sequence),
            Self::Data(data) => (None, data.block.number.get()),
            Self::Update(update) => (None, update.block.number.get()),
            Self::StateResponse(response) => (None, response.block.number.get()),
            Self::StateRequest(request) => (None, request.from.get()),
            Self::Leadership(claim) => (None, claim.term),
            Self::Header(header) => (None, header.block.number.get()),
            Self::HeaderNote(note) => (None, note.word.sequence()),
            Self::BlockNote(note) => (None, note.word.sequence()),
            Self::Plan(planned) => (None, planned.plan.number.get()),
            Self::ShareCommitment(commitment) => (None, commitment.number.get()),
            Self::Share(share) => (None, share.number.get()),
            Self::ShareReport(report) => (None, report.number.get()),
            Self::Beats(_)
            | Self::StateInfoPullRequest(_)
            | Self::MembershipRequest(_)
            | Self::MembershipResponse(_)
            | Self::Hello(_)
            | Self::Digest(_)
            | Self::Request(_)
            | Self::Probe(_)
            | Self::StateInfoSnapshot(_)
            | Self::PeerIdentities(_)
            | Self::Acknowledgement(_)
            | Self::PrivateData(_)
            | Self::PrivateDataRequest(_)
            | Self::PrivateDataResponse(_) => (None, 0),
        };
        let originator = match self.origin() {
            Origin::Signed(pki_id) => Some(pki_id),
            Origin::Sender => None,
        };
        MessageHeader { kind: self.kind(), channel: self.channel(), originator, epoch, sequence }
    }
}
