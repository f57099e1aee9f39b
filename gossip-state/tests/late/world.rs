//! What surrounds the members: one chain, ledgers, processors, and what is counted.

use std::time::Duration;

use bytes::Bytes;
use gossip_api::{Block, BlockError, Height, Message, Mono, Now, PkiId, SeqNum};
use gossip_comm::{Effect, Event, Host};

use super::member::{Action, Input, Member};

/// The late peer's index.
pub(crate) const LATE: usize = 0;

/// The world of all members.
pub(crate) struct World {
    /// All blocks that were ordered.
    chain: Vec<Block>,
    data: Bytes,
    /// Height of the late peer's ledger.
    pub(crate) height: Height,
    pub(crate) liars: Vec<PkiId>,
    pub(crate) requests: u64,
    pub(crate) requests_to_liars: u64,
    /// When the late peer's first block was committed, and the last one.
    pub(crate) first_at: Option<Mono>,
    last_at: Mono,
    /// Longest time without a commit.
    pub(crate) longest_wait: Duration,
    /// When the late peer's processor has verified what it was given.
    free_at: Mono,
}

impl World {
    pub(crate) fn new(data_len: usize) -> Self {
        Self {
            chain: Vec::new(),
            data: vec![0xab; data_len].into(),
            height: Height::new(1),
            liars: Vec::new(),
            requests: 0,
            requests_to_liars: 0,
            first_at: None,
            last_at: Mono::ZERO,
            longest_wait: Duration::ZERO,
            free_at: Mono::ZERO,
        }
    }

    /// Orders another block.
    pub(crate) fn order(&mut self) -> Block {
        let previous = self.chain.last().map(|block| block.header().hash().as_bytes().to_vec());
        let block = Block {
            number: SeqNum::new(self.chain.len() as u64),
            previous_hash: previous.unwrap_or_default().into(),
            data_hash: Bytes::from_static(&[2; 32]),
            data: self.data.clone(),
            metadata: Bytes::from_static(&[3; 800]),
        };
        self.chain.push(block.clone());
        block
    }

    pub(crate) fn tip(&self) -> Height {
        Height::new(self.chain.len() as u64)
    }

    fn block(&self, number: SeqNum) -> Option<&Block> {
        self.chain.get(usize::try_from(number.get()).ok()?)
    }

    /// What is not the block that was ordered does not verify.
    fn verdict(&self, block: &Block) -> Result<(), BlockError> {
        if self.block(block.number) == Some(block) {
            Ok(())
        } else {
            Err(BlockError::DataHashMismatch(block.number))
        }
    }

    /// Verification is one after the other.
    fn verified_in(&mut self, now: Mono) -> Duration {
        self.free_at = self.free_at.max(now).after(VERIFY_TAKES);
        self.free_at.since(now)
    }

    fn commit(&mut self, now: Mono, blocks: &[Block]) -> Duration {
        for block in blocks {
            assert_eq!(block.number, self.height.next_block(), "in order, each once");
            self.height = block.number.height();
        }
        self.first_at.get_or_insert(now);
        self.longest_wait = self.longest_wait.max(now.since(self.last_at));
        self.last_at = now;
        COMMIT_TAKES + BLOCK_TAKES * u32::try_from(blocks.len()).unwrap_or(u32::MAX)
    }
}

impl Host for World {
    type Machine = Member;

    fn perform(&mut self, peer: usize, now: Now, action: Action) -> Vec<Effect<Input>> {
        match action {
            Action::Comm(command) => vec![Effect::Command(command)],
            Action::Verify { block, origin } => {
                let verdict = self.verdict(&block);
                let checked = Input::Checked { block, origin, verdict };
                vec![Effect::InputAfter(self.verified_in(now.mono), checked)]
            }
            Action::Commit(blocks) => {
                assert_eq!(peer, LATE, "the others have everything");
                let takes = self.commit(now.mono, &blocks);
                vec![Effect::InputAfter(takes, Input::Committed(self.height))]
            }
            Action::Read { inbound, number } => {
                let block = self.block(number).cloned();
                vec![Effect::InputAfter(BLOCK_TAKES, Input::Read { inbound, block })]
            }
            Action::Asks(whom) => {
                self.requests += 1;
                self.requests_to_liars += u64::from(self.liars.contains(&whom));
                Vec::new()
            }
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "nothing else is asked or answered")]
    fn receive(&mut self, _: &Member, _: usize, _: Now, event: Event) -> Vec<Effect<Input>> {
        let input = match event {
            Event::Request { from, id, message } => match message.message {
                Message::StateRequest(request) => Some(Input::Asked { from, inbound: id, request }),
                _ => None,
            },
            Event::Response { from, id, message } => match message.message {
                Message::StateResponse(response) => {
                    Some(Input::Answered { from, request: id, response: Box::new(response) })
                }
                _ => None,
            },
            Event::ResponseEnd { id, outcome } => Some(Input::AnswerEnded { request: id, outcome }),
            Event::Connected(_)
            | Event::Disconnected { .. }
            | Event::DialFailed { .. }
            | Event::Received { .. } => None,
        };
        input.map(Effect::Input).into_iter().collect()
    }

    fn tick(&mut self, _: usize, _: Now) -> Input {
        Input::Tick
    }
}

/// One signature check and the hash of a small block.
const VERIFY_TAKES: Duration = Duration::from_micros(100);
/// A transaction that is on disk when it is over, and each of its blocks.
const COMMIT_TAKES: Duration = Duration::from_millis(2);
const BLOCK_TAKES: Duration = Duration::from_micros(20);
