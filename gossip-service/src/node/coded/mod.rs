//! Large blocks in shares: coded by the source, relayed by everybody.
//!
//! A source codes a block's data into s shares, any k of which give the data, signs the root of the tree over
//! them, and gives each of the first shares to a relay of its own. A relay forwards its share at once to the
//! members of its organisation and, where blocks may cross organisations, to one peer of each other, which
//! forwards it inside. Who has k shares decodes them.
//!
//! ```text
//!   source                 relay                  member
//!     |--- ShareCommitment -->|  (and to every member; members pass it on to two others)
//!     |--- Share 7, relay --->|--- Share 7, keep ---->|
//!     |<----------------- ShareReport: I have it -----|   or: I lack these
//! ```
//!
//! # Invariants
//! - Shares are held for a verified header and a root that a member has signed for it. What comes earlier
//!   waits in a small room of fixed size, as the frame that it came in.
//! - Every share held was proved to belong to its tree; only such shares are forwarded.
//! - A share is forwarded once, and nothing of a block once `UPLOAD_COPIES_MAX` copies and a round of shares
//!   are uploaded; who asks is answered a few times.
//! - Bytes held never exceed the budget.

mod assembly;
mod block;
mod choice;
mod code;
mod evidence;
mod relay;
mod repair;
mod source;
mod tree;
mod words;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use gossip_api::message::{Share, ShareCommitment, ShareDuty, ShareReport, ShareSet};
use gossip_api::{
    Admit, Block, ChannelId, Height, Message, Mono, PkiId, SeqNum, ShareRoot, SignedMessage,
    Verified,
};
use rand_core::Rng;

pub use assembly::{Assembly, Unwanted};
pub use code::{CodeError, Coded, decode};
pub use evidence::{Acquittal, Court, Evidence, is_datas_fault};
pub use tree::{ShareTree, branch_holds};
pub use words::{CodedConfig, DecodeJob, PeerView, ProvenShare, Step, View};

use block::{BlockShares, Phase, commitment_of};
use choice::{Blame, Chooser};
use source::Ratio;

type Key = (ChannelId, SeqNum);

/// The coded relay of all channels.
#[derive(Debug)]
pub struct Shares {
    me: PkiId,
    config: CodedConfig,
    salt: u64,
    blocks: BTreeMap<Key, BlockShares>,
    heights: BTreeMap<ChannelId, Height>,
    /// Shares of blocks whose header or commitment is not here yet.
    early: VecDeque<Early>,
    blame: Blame,
    ratio: Ratio,
    convicted: BTreeSet<PkiId>,
}

/// A share that came, in the frame that it came in; those that are too early wait so.
#[derive(Debug)]
struct Early {
    since: Mono,
    from: PkiId,
    share: ProvenShare,
}

impl Shares {
    /// A relay that knows of no channel yet. `rng` gives the secret that its choices are salted with.
    pub fn new(me: PkiId, config: CodedConfig, rng: &mut impl Rng) -> Self {
        Self {
            me,
            salt: rng.next_u64(),
            blocks: BTreeMap::new(),
            heights: BTreeMap::new(),
            early: VecDeque::new(),
            blame: Blame::default(),
            ratio: Ratio::new(&config),
            convicted: BTreeSet::new(),
            config,
        }
    }

    /// Shares that a source gives out at first, in hundredths of those needed.
    pub fn ratio(&self) -> u32 {
        self.ratio.percent(&self.config)
    }

    /// Bytes of shares held.
    pub fn bytes(&self) -> usize {
        let early = self.early.iter().map(|early| early.share.share().payload.len());
        let blocks = self.blocks.values().map(BlockShares::bytes);
        early.chain(blocks).fold(0, usize::saturating_add)
    }

    /// Whether a share is worth proving: asked before its branch is hashed.
    pub fn admit(&self, from: &PkiId, share: &Share) -> Admit {
        match self.place_for(from, share) {
            Ok(_) => Admit::Accept,
            Err(reason) => Admit::Drop(reason),
        }
    }

    /// Where a share belongs.
    fn place_for(&self, from: &PkiId, share: &Share) -> Result<Place, &'static str> {
        let Some(height) = self.heights.get(&share.channel).map(|height| height.get()) else {
            return Err("share of another channel");
        };
        let number = share.number.get();
        if number >= height.saturating_add(self.config.window) {
            return Err("share beyond the window");
        }
        if self.bytes().saturating_add(share.payload.len()) > self.config.budget {
            return Err("share beyond the budget");
        }
        let Some(block) = self.blocks.get(&(share.channel.clone(), share.number)) else {
            return if number < height { Err("late share") } else { self.room_for(from, share) };
        };
        match block.place_for(share) {
            Ok(()) => Ok(Place::Tree),
            Err(_) if share.duty != ShareDuty::Keep && block.may_forward(share) => Ok(Place::Tree),
            Err(_) if block.trees.is_empty() && block.phase == Phase::Collecting => {
                self.room_for(from, share)
            }
            Err(reason) => Err(reason),
        }
    }

    /// Whether a share may wait for its header or its commitment.
    fn room_for(&self, from: &PkiId, share: &Share) -> Result<Place, &'static str> {
        let of_sender = self.early.iter().filter(|early| early.from == *from).count();
        let bytes = self.early.iter().map(|early| early.share.share().payload.len());
        let bytes = bytes.fold(share.payload.len(), usize::saturating_add);
        if of_sender >= EARLY_PER_SENDER || bytes > EARLY_BYTES_MAX {
            return Err("early share");
        }
        let twice = self.early.iter().any(|early| {
            let held = early.share.share();
            held.root == share.root && held.index == share.index
        });
        if twice { Err("duplicate share") } else { Ok(Place::Room) }
    }

    /// Whether the signature of a commitment is worth checking: not if the same bytes were believed already.
    pub fn admit_commitment(&self, message: &SignedMessage) -> Admit {
        let Message::ShareCommitment(said) = &message.message else { return Admit::Drop("kind") };
        let height = self.heights.get(&said.channel).map(|height| height.get());
        let Some(height) = height else { return Admit::Drop("commitment of another channel") };
        let number = said.number.get();
        if number < height {
            return Admit::Drop("late commitment");
        }
        if number >= height.saturating_add(self.config.window) {
            return Admit::Drop("commitment beyond the window");
        }
        if self.convicted.contains(&said.source) {
            return Admit::Drop("commitment of a convicted source");
        }
        let block = self.blocks.get(&(said.channel.clone(), said.number));
        let held = block.and_then(|block| block.commitments.get(&said.source));
        if held.and_then(commitment_of) == Some(said) {
            return Admit::Drop("duplicate commitment");
        }
        Admit::Accept
    }

    /// Whether anything is known of a block.
    pub fn knows(&self, channel: &ChannelId, number: SeqNum) -> bool {
        self.blocks.contains_key(&(channel.clone(), number))
    }

    /// Whether shares of a block come in, or are being decoded: for a while it need not come another way.
    pub fn is_coming(&self, now: Mono, channel: &ChannelId, number: SeqNum) -> bool {
        let block = self.blocks.get(&(channel.clone(), number));
        block.is_some_and(|block| {
            now.since(block.since) < COMING_FOR
                && match block.phase {
                    Phase::Collecting => !block.trees.is_empty() && block.pace.ask_at.is_some(),
                    Phase::Decoding(_) => true,
                    Phase::Whole(_) => false,
                }
        })
    }

    /// A header of the channel is verified.
    pub fn on_header(
        &mut self,
        now: Mono,
        view: &View,
        channel: &ChannelId,
        header: &Block,
    ) -> Vec<Step> {
        if self.is_below(channel, header.number) {
            return Vec::new();
        }
        let block = self.block(now, channel, header.number);
        block.take_header(now, header);
        self.admit_early(view, channel, header.number)
    }

    /// A source has signed a root.
    pub fn on_commitment(
        &mut self,
        now: Mono,
        view: &View,
        from: PkiId,
        message: Verified<Message>,
    ) -> Vec<Step> {
        let drop = |reason| vec![Step::Drop { from, reason }];
        let Some(commitment) = commitment_of(&message).cloned() else { return drop("kind") };
        let ShareCommitment { channel, number, source, .. } = commitment.clone();
        if let Err(reason) = self.judge_commitment(view, &commitment) {
            return drop(reason);
        }
        let block = self.block(now, &channel, number);
        if let Some(held) = block.commitments.get(&source) {
            let first = held.envelope().clone();
            let held = commitment_of(held);
            if !held.is_some_and(|held| evidence::contradict(held, &commitment)) {
                return drop("duplicate commitment");
            }
            self.convict(source);
            let second = message.envelope().clone();
            let evidence = Box::new(Evidence::TwoRoots { first, second });
            return vec![Step::Convicted { channel, evidence }];
        }
        if block.commitments.len() >= SOURCES_MAX {
            return drop("commitment of one source too many");
        }
        if block.header.as_ref().is_some_and(|h| h.header().hash() != commitment.header_hash) {
            return drop("commitment of another header");
        }
        block.commitments.insert(source, message.clone());
        block.open_trees(now);
        let mut steps = self.pass_on(view, from, &commitment, message);
        steps.extend(self.admit_early(view, &channel, number));
        steps
    }

    fn judge_commitment(&self, view: &View, of: &ShareCommitment) -> Result<(), &'static str> {
        if of.source == self.me {
            return Err("own commitment");
        }
        if self.convicted.contains(&of.source) {
            return Err("commitment of a convicted source");
        }
        if self.is_below(&of.channel, of.number) {
            return Err("late commitment");
        }
        let Some(height) = self.heights.get(&of.channel).map(|height| height.get()) else {
            return Err("commitment of another channel");
        };
        if of.number.get() >= height.saturating_add(self.config.window) {
            return Err("commitment beyond the window");
        }
        let own_org = view.peers.iter().find(|p| p.id == of.source).map(|p| p.org == 0);
        match own_org {
            None => return Err("commitment of no member"),
            Some(true) if !view.sources.is_empty() && !view.sources.contains(&of.source) => {
                return Err("commitment of no source");
            }
            Some(false) if !self.config.cross_orgs => {
                return Err("commitment of another organisation");
            }
            Some(true | false) => {}
        }
        if Assembly::new(of.root, of.class, of.data_len).is_none() || of.data_len > DATA_MAX {
            return Err("commitment that contradicts itself");
        }
        let unproved = self
            .blocks
            .values()
            .filter(|block| block.header.is_none() && block.commitments.contains_key(&of.source));
        if unproved.count() >= UNPROVED_MAX {
            return Err("too many commitments without header");
        }
        Ok(())
    }

    /// A share came whose branch holds.
    pub fn on_share(
        &mut self,
        now: Mono,
        view: &View,
        from: PkiId,
        share: ProvenShare,
    ) -> Vec<Step> {
        self.settle_share(view, Early { since: now, from, share })
    }

    fn settle_share(&mut self, view: &View, arrived: Early) -> Vec<Step> {
        let from = arrived.from;
        match self.place_for(&from, arrived.share.share()) {
            Err(reason) => vec![Step::Drop { from, reason }],
            Ok(Place::Room) => {
                self.early.push_back(arrived);
                Vec::new()
            }
            Ok(Place::Tree) => self.take(view, arrived),
        }
    }

    /// Forwards a share if that is its duty, and keeps it if it is wanted.
    fn take(&mut self, view: &View, arrived: Early) -> Vec<Step> {
        let Early { since, from, share } = arrived;
        let mut steps = self.forward(view, from, share.share());
        let (channel, number) = (share.share().channel.clone(), share.share().number);
        let Some(block) = self.blocks.get_mut(&(channel.clone(), number)) else { return steps };
        if let Err(reason) = block.place_for(share.share()) {
            if steps.is_empty() {
                steps.push(Step::Drop { from, reason });
            }
            return steps;
        }
        let root = share.share().root;
        let Some(tree) = block.trees.get_mut(&root) else { return steps };
        if let Err(unwanted) = tree.keep(from, &share) {
            steps.push(Step::Drop { from, reason: unwanted.reason() });
            return steps;
        }
        block.pace.arrived(since);
        steps.extend(Self::try_decode(block, &channel, root));
        steps
    }

    fn try_decode(block: &mut BlockShares, channel: &ChannelId, root: ShareRoot) -> Option<Step> {
        let source = block.sources_of(root).next()?;
        let (header, tree) = (block.header.clone()?, block.trees.get(&root)?);
        if !tree.is_enough() || block.phase != Phase::Collecting {
            return None;
        }
        block.phase = Phase::Decoding(root);
        Some(Step::Decode(Box::new(DecodeJob {
            channel: channel.clone(),
            header,
            root,
            source,
            class: tree.class(),
            data_len: tree.data_len(),
            shares: tree.payloads(),
        })))
    }

    /// Who answers for the tree that is being decoded, if it is this one.
    pub fn decoding(&self, channel: &ChannelId, number: SeqNum, root: ShareRoot) -> Option<PkiId> {
        let block = self.blocks.get(&(channel.clone(), number))?;
        (block.phase == Phase::Decoding(root)).then(|| block.sources_of(root).next()).flatten()
    }

    /// Shares gave this block, which is being verified.
    pub fn on_decoded(&mut self, channel: &ChannelId, block: &Block) {
        if let Some(held) = self.blocks.get_mut(&(channel.clone(), block.number)) {
            held.decoded = Some(block.data.clone());
        }
    }

    /// Whether this is the very block that shares gave, and not one that came another way.
    pub fn gave(&self, channel: &ChannelId, block: &Block) -> bool {
        let held = self.blocks.get(&(channel.clone(), block.number));
        let decoded = held.and_then(|held| held.decoded.as_ref());
        decoded.is_some_and(|data| {
            data.as_ptr() == block.data.as_ptr() && data.len() == block.data.len()
        })
    }

    /// What shares gave is refused for no fault of theirs: the block has to come another way.
    pub fn abandon(&mut self, channel: &ChannelId, number: SeqNum) -> Vec<Step> {
        self.blocks.remove(&(channel.clone(), number));
        vec![Step::GiveUp { channel: channel.clone(), number }]
    }

    /// The shares of a tree are not the block's data: whoever signed its root is convicted, and the block is
    /// collected from others.
    pub fn on_garbled(&mut self, channel: &ChannelId, number: SeqNum) -> Vec<Step> {
        let Some(block) = self.blocks.get_mut(&(channel.clone(), number)) else {
            return Vec::new();
        };
        let Phase::Decoding(root) = block.phase else { return Vec::new() };
        block.phase = Phase::Collecting;
        block.decoded = None;
        let (Some(tree), Some(header)) = (block.trees.remove(&root), block.header.clone()) else {
            return Vec::new();
        };
        let guilty: Vec<PkiId> = block.sources_of(root).collect();
        let indices = tree.held().iter();
        let shares: Vec<Share> =
            indices.filter_map(|index| tree.share(channel, number, index)).collect();
        let mut steps = Vec::new();
        for source in &guilty {
            let Some(commitment) = block.commitments.remove(source) else { continue };
            let evidence = Box::new(Evidence::Garbled {
                commitment: commitment.envelope().clone(),
                header: header.clone(),
                shares: shares.clone(),
            });
            steps.push(Step::Convicted { channel: channel.clone(), evidence });
        }
        let next = block.best_tree().map(|(root, _)| root);
        steps.extend(next.and_then(|root| Self::try_decode(block, channel, root)));
        guilty.into_iter().for_each(|source| self.convict(source));
        steps
    }

    /// The block is here and verified, however it came: those who might send more of it are told.
    pub fn on_whole(
        &mut self,
        now: Mono,
        view: &View,
        channel: &ChannelId,
        number: SeqNum,
    ) -> Vec<Step> {
        let Some(block) = self.blocks.get_mut(&(channel.clone(), number)) else {
            return Vec::new();
        };
        if matches!(block.phase, Phase::Whole(_)) {
            return Vec::new();
        }
        block.phase = Phase::Whole(now);
        block.decoded = None;
        let Some((root, tree)) = block.best_tree() else { return Vec::new() };
        let report = ShareReport {
            channel: channel.clone(),
            number,
            root,
            held: tree.held(),
            wanted: ShareSet::NONE,
        };
        let chooser = Chooser { salt: self.salt, number };
        if !chooser.draws(&self.me, REPORTERS, view.peers.len()) {
            return Vec::new();
        }
        let sources = block.sources_of(root);
        sources.map(|to| send(to, Message::ShareReport(report.clone()))).collect()
    }

    /// Our ledger's height in a channel.
    pub fn on_height(&mut self, channel: &ChannelId, height: Height) {
        self.heights.insert(channel.clone(), height);
    }

    /// A channel is left.
    pub fn leave(&mut self, channel: &ChannelId) {
        self.heights.remove(channel);
        self.blocks.retain(|(name, _), _| name != channel);
        self.early.retain(|early| early.share.share().channel != *channel);
    }

    fn admit_early(&mut self, view: &View, channel: &ChannelId, number: SeqNum) -> Vec<Step> {
        let block = self.blocks.get(&(channel.clone(), number));
        if block.is_none_or(|block| block.trees.is_empty()) {
            return Vec::new();
        }
        let waiting = std::mem::take(&mut self.early);
        let (due, rest): (VecDeque<Early>, VecDeque<Early>) = waiting.into_iter().partition(|e| {
            let share = e.share.share();
            share.channel == *channel && share.number == number
        });
        self.early = rest;
        due.into_iter().flat_map(|early| self.settle_share(view, early)).collect()
    }

    fn block(&mut self, now: Mono, channel: &ChannelId, number: SeqNum) -> &mut BlockShares {
        self.blocks.entry((channel.clone(), number)).or_insert_with(|| BlockShares::new(now))
    }

    fn is_below(&self, channel: &ChannelId, number: SeqNum) -> bool {
        self.heights.get(channel).is_some_and(|height| number.get() < height.get())
    }

    fn convict(&mut self, source: PkiId) {
        if self.convicted.len() < CONVICTED_MAX {
            self.convicted.insert(source);
        }
    }
}

fn send(to: PkiId, message: Message) -> Step {
    Step::Send { to, message: crate::node::Outgoing::Plain(message) }
}

/// Where an admitted share goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// With the other shares of its tree.
    Tree,
    /// To wait for its header or its commitment.
    Room,
}

/// Members whose commitment for one block is kept.
const SOURCES_MAX: usize = 4;

/// A block that has been coming in shares for longer comes another way as well.
const COMING_FOR: Duration = Duration::from_millis(1500);

/// Commitments of one source whose headers are not here yet.
const UNPROVED_MAX: usize = 8;

/// Longest data that is coded: Fabric's limit for a message.
const DATA_MAX: u64 = 100 << 20;

/// Early shares of one sender.
const EARLY_PER_SENDER: usize = 4;

/// Bytes of early shares in all.
const EARLY_BYTES_MAX: usize = 4 << 20;

/// Members that report to a source when they have a block, on average: as many as it takes to see who is silent.
const REPORTERS: usize = 64;

/// Convicted sources remembered.
const CONVICTED_MAX: usize = 1024;

/// How often a block is uploaded at most, in copies of its data.
const UPLOAD_COPIES_MAX: u64 = 8;
