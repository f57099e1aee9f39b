//! What a peer is told and what it asks for.

use bytes::Bytes;
use gossip_api::message::MemberEntry;
use gossip_api::{
    Block, BlockError, BlockHash, ChannelId, Endpoint, Epoch, Height, Message, Nonce, OrgId,
    PeerIdentity, PkiId, SeqNum, ShareRoot, Verified,
};
use gossip_comm::{Command, Connected, InboundId, RequestId, ResponseOutcome};
use gossip_discovery::CheckedMember;
use gossip_state::BlockOrigin;

use crate::node::ChannelView;
use crate::node::coded::{Coded, DecodeJob, Evidence, ProvenShare};

/// What the peer is told.
#[derive(Debug)]
pub enum Input {
    /// Keep trying to reach this address: a bootstrap or anchor peer.
    Connect(Endpoint),
    /// No longer keep trying: the address is nobody's anchor any more.
    Unname(Endpoint),
    /// A peer proved its identity.
    Connected(Connected),
    /// A peer's last connection is gone.
    Disconnected(PkiId),
    /// A dial came to nothing.
    DialFailed(Endpoint),
    /// A message that somebody vouched for.
    Received {
        /// Over whose connection.
        from: PkiId,
        /// The message.
        message: Verified<Message>,
    },
    /// A share came whose branch holds.
    ShareProved {
        /// Over whose connection.
        from: PkiId,
        /// The share.
        share: ProvenShare,
    },
    /// A share came that does not belong to the tree it names.
    ShareFalse {
        /// Over whose connection.
        from: PkiId,
    },
    /// Answer to [`Action::EncodeShares`]; nothing if there is nothing to code.
    Encoded {
        /// The channel.
        channel: ChannelId,
        /// The block's number.
        number: SeqNum,
        /// The shares.
        coded: Option<Coded>,
    },
    /// Answer to [`Action::DecodeShares`].
    Decoded {
        /// The channel.
        channel: ChannelId,
        /// The block's number.
        number: SeqNum,
        /// The tree that the shares belong to.
        root: ShareRoot,
        /// The block, not verified; nothing if no honest source made these shares.
        block: Option<Block>,
    },
    /// A question with a stream to answer on.
    Asked {
        /// Over whose connection.
        from: PkiId,
        /// The stream.
        inbound: InboundId,
        /// The question.
        message: Verified<Message>,
    },
    /// A question of a kind we do not answer, or not from this peer.
    AskedInVain(InboundId),
    /// Part of an answer to us.
    Answered {
        /// Over whose connection.
        from: PkiId,
        /// Our question.
        request: RequestId,
        /// The part.
        message: Verified<Message>,
    },
    /// An answer to us is over.
    AnswerEnded {
        /// Our question.
        request: RequestId,
        /// How.
        outcome: ResponseOutcome,
    },
    /// Answer to [`Action::Sign`].
    Signed(Verified<Message>),
    /// Answer to [`Action::CheckMember`].
    MemberChecked {
        /// Who told us.
        from: PkiId,
        /// What it told; nothing if it did not hold.
        member: Option<CheckedMember>,
    },
    /// Answer to [`Action::RaiseEpoch`].
    EpochRaised(Epoch),
    /// Join a channel.
    Join(JoinRequest),
    /// Leave a channel: its members are told, then nothing of it is left. Answered by [`Action::Left`].
    Leave(ChannelId),
    /// The channel's configuration changed, as of a block that is committed.
    Reconfigured(ChannelView),
    /// Answer to [`Action::Recheck`]: those that still hold.
    Rechecked {
        /// The channel.
        channel: ChannelId,
        /// As in the action.
        sequence: u64,
        /// State infos.
        held: Vec<Verified<Message>>,
    },
    /// An identity is no longer valid: nothing more to or from it.
    Expelled(PkiId),
    /// A block that the host hands in.
    FromHost {
        /// The channel.
        channel: ChannelId,
        /// The block.
        block: Block,
    },
    /// The host moved the ledger itself.
    LedgerMoved {
        /// The channel.
        channel: ChannelId,
        /// Its height now.
        height: Height,
    },
    /// A block from our own source.
    FromSource {
        /// The channel.
        channel: ChannelId,
        /// The block.
        block: Block,
    },
    /// Our own source gives nothing: if we were elected to read it, another should be.
    SourceFailed(ChannelId),
    /// Answer to [`Action::ProbeSource`]: a header whose signatures are good.
    Probed {
        /// The channel.
        channel: ChannelId,
        /// The newest block that the source has, without its data.
        newest: Block,
    },
    /// Answer to [`Action::JudgeHeader`].
    HeaderJudged {
        /// The channel.
        channel: ChannelId,
        /// The header's number.
        number: SeqNum,
        /// As in the action.
        origin: BlockOrigin,
        /// The verdict under the policy that was in force at the header's number.
        then: Result<(), BlockError>,
        /// The verdict under the policy that is in force now.
        now: Result<(), BlockError>,
    },
    /// Answer to [`Action::VerifyBlock`].
    BlockChecked {
        /// The channel.
        channel: ChannelId,
        /// The block.
        block: Block,
        /// How it came.
        origin: BlockOrigin,
        /// The verdict.
        verdict: Result<(), BlockError>,
    },
    /// Answer to [`Action::VerifyHeader`].
    HeaderChecked {
        /// The channel.
        channel: ChannelId,
        /// As in the action.
        sequence: u64,
        /// As in the action.
        from: PkiId,
        /// As in the action.
        header: Block,
        /// The verdict.
        verdict: Result<(), BlockError>,
    },
    /// Answer to [`Action::Commit`].
    Committed {
        /// The channel.
        channel: ChannelId,
        /// The new height, or why there is none.
        outcome: Result<Height, String>,
    },
    /// Answer to [`Action::Read`].
    BlockRead {
        /// The channel.
        channel: ChannelId,
        /// What it was read for.
        purpose: ReadPurpose,
        /// The block; nothing if it is not there or cannot be read.
        block: Option<Block>,
    },
    /// The ledger cannot read a block that it holds.
    BlockDamaged {
        /// The channel.
        channel: ChannelId,
        /// The block's number.
        number: SeqNum,
        /// What the block above it names as its header's hash, if that one can be read.
        hash: Option<BlockHash>,
    },
    /// Answer to [`Action::MendBlock`].
    BlockMended {
        /// The channel.
        channel: ChannelId,
        /// The block's number.
        number: SeqNum,
        /// Whether the ledger can read it again.
        done: bool,
    },
    /// A ledger that refused a commit has lost its end: it is lower than we knew it.
    LedgerFell {
        /// The channel.
        channel: ChannelId,
        /// Its height now.
        height: Height,
    },
    /// Answer to [`Action::StoreTerm`].
    TermStored(ChannelId),
    /// The operator decides a conflict: the block with this header is the right one.
    Resume {
        /// The channel.
        channel: ChannelId,
        /// Hash of the header.
        accept: BlockHash,
    },
    /// The peer is about to stop: leaders say so.
    Stopping,
    /// The host replaces our metadata.
    UpdateMetadata(Bytes),
    /// A deadline passed.
    Tick,
}

/// What the peer wants done.
#[derive(Debug)]
pub enum Action {
    /// Something for the transport.
    Comm(Command),
    /// Sign a message of ours; answered by [`Input::Signed`].
    Sign(Message),
    /// Validate an identity and verify its record; answered by [`Input::MemberChecked`].
    CheckMember {
        /// Who told us.
        from: PkiId,
        /// What it told.
        entry: MemberEntry,
    },
    /// Check state infos again under the channel's new configuration; answered by [`Input::Rechecked`].
    Recheck {
        /// The channel.
        channel: ChannelId,
        /// Sequence of the configuration; to be repeated in the answer.
        sequence: u64,
        /// What was believed under the old one.
        infos: Vec<Verified<Message>>,
    },
    /// Store an epoch above one that others have seen of us; answered by [`Input::EpochRaised`].
    RaiseEpoch {
        /// What was seen.
        seen: Epoch,
    },
    /// Another process runs with our identity: an operator's mistake.
    IdentityConflict {
        /// The other one's epoch.
        epoch: Epoch,
    },
    /// Verify a block under the channel's present configuration; answered by [`Input::BlockChecked`].
    VerifyBlock {
        /// The channel.
        channel: ChannelId,
        /// The block.
        block: Block,
        /// How it came.
        origin: BlockOrigin,
        /// Its header and signatures were verified already, byte for byte: only the rest is looked at.
        attested: bool,
    },
    /// Verify header and signatures of a block without its data, under the channel's present configuration;
    /// answered by [`Input::HeaderChecked`].
    VerifyHeader {
        /// The channel.
        channel: ChannelId,
        /// Sequence of the configuration; to be repeated in the answer.
        sequence: u64,
        /// Who sent it.
        from: PkiId,
        /// A block without data.
        header: Block,
    },
    /// Judge a header that contradicts one believed in, under the policy that was in force at its number and
    /// under the present one; answered by [`Input::HeaderJudged`].
    JudgeHeader {
        /// The channel.
        channel: ChannelId,
        /// A block without data.
        header: Block,
        /// To be repeated in the answer.
        origin: BlockOrigin,
    },
    /// Make shares of a block's data; answered by [`Input::Encoded`].
    EncodeShares {
        /// The channel.
        channel: ChannelId,
        /// The block's number.
        number: SeqNum,
        /// Its serialized data.
        data: Bytes,
    },
    /// Make a block of shares; answered by [`Input::Decoded`].
    DecodeShares(Box<DecodeJob>),
    /// A source of blocks is convicted by what it signed: to be kept for others to check.
    Convicted {
        /// The channel.
        channel: ChannelId,
        /// What convicts it.
        evidence: Box<Evidence>,
    },
    /// As a source we chose how a block travels, or we fetch from the ordering service without leading.
    Chosen {
        /// The channel.
        channel: ChannelId,
        /// The way; a label for counters.
        way: &'static str,
    },
    /// Give the ledger a block again that it could not read; answered by [`Input::BlockMended`].
    MendBlock {
        /// The channel.
        channel: ChannelId,
        /// The block, verified.
        block: Block,
    },
    /// Make consecutive blocks durable, and apply a configuration in the last of them; answered by
    /// [`Input::Committed`].
    Commit {
        /// The channel.
        channel: ChannelId,
        /// The blocks.
        blocks: Vec<Block>,
    },
    /// Read a block; answered by [`Input::BlockRead`].
    Read {
        /// The channel.
        channel: ChannelId,
        /// Which.
        number: SeqNum,
        /// What for.
        purpose: ReadPurpose,
    },
    /// Store the term of a channel's leadership durably; answered by [`Input::TermStored`].
    StoreTerm {
        /// The channel.
        channel: ChannelId,
        /// The term.
        term: u64,
    },
    /// Ask the channel's source for its newest header: is the channel quiet, or does the leader withhold?
    /// Answered by [`Input::Probed`], or not at all.
    ProbeSource {
        /// The channel.
        channel: ChannelId,
    },
    /// Start to take blocks from the channel's source, from this one on.
    StartDelivery {
        /// The channel.
        channel: ChannelId,
        /// The first block wanted.
        from: SeqNum,
    },
    /// Stop taking blocks from the source.
    StopDelivery(ChannelId),
    /// Something a remote sent was not acted upon; counted by reason.
    Drop {
        /// Who sent it.
        from: Option<PkiId>,
        /// Why.
        reason: &'static str,
    },
    /// A block was refused; counted by class.
    Refused {
        /// The channel.
        channel: ChannelId,
        /// Who sent it; nothing for our own source.
        from: Option<PkiId>,
        /// Its number.
        number: SeqNum,
        /// Why, with the class.
        error: BlockError,
    },
    /// Orderers signed two blocks with one number.
    Conflict {
        /// The channel.
        channel: ChannelId,
        /// What they signed.
        conflict: Box<gossip_state::Conflict>,
    },
    /// The operator's decision was taken: the channel goes on.
    Resumed {
        /// The channel.
        channel: ChannelId,
        /// The number that was decided.
        number: SeqNum,
    },
    /// A message for the host: verified and acted upon, or of a kind that is the host's alone.
    Deliver {
        /// Who sent it, or we ourselves.
        from: PkiId,
        /// The message.
        message: Message,
    },
    /// The channel's members have been told that we left it, and its state is gone.
    Left(ChannelId),
    /// Another peer leads now, or nobody that we know of.
    Led {
        /// The channel.
        channel: ChannelId,
        /// Who leads.
        leader: Option<PkiId>,
        /// Why, in words.
        why: &'static str,
    },
    /// Leadership changed here.
    Leader {
        /// The channel.
        channel: ChannelId,
        /// Whether we lead.
        leading: bool,
        /// Why, in words.
        why: &'static str,
    },
}

/// What a block is read for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadPurpose {
    /// Part of a range that a peer asked for.
    Range(InboundId),
    /// An item of a pull.
    Pull {
        /// For whom.
        to: PkiId,
        /// Of the pull.
        nonce: Nonce,
    },
}

/// What joining a channel takes.
#[derive(Clone, Debug)]
pub struct JoinRequest {
    /// The channel as its configuration says.
    pub view: ChannelView,
    /// Header hash of the ledger's last block; nothing for an empty ledger.
    pub last_hash: Option<BlockHash>,
    /// The term of leadership that the last life stored.
    pub term: Option<u64>,
    /// Where a conflict stopped the channel, and hash of the header that the ledger holds there.
    pub halted: Option<(SeqNum, Option<BlockHash>)>,
}

/// Who we are.
#[derive(Clone, Debug)]
pub struct PeerSelf {
    /// Our fingerprint.
    pub pki_id: PkiId,
    /// Our identity.
    pub identity: PeerIdentity,
    /// Our organisation.
    pub org: OrgId,
    /// Which life of ours.
    pub epoch: Epoch,
    /// Endpoint told to everyone; nothing hides us from other organisations.
    pub external_endpoint: Option<Endpoint>,
    /// Endpoint told inside the organisation.
    pub internal_endpoint: Endpoint,
    /// Opaque to the layer.
    pub metadata: Bytes,
}
