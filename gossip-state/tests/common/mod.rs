//! A channel's chain, and a peer around the machine that verifies and commits by itself.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use gossip_api::{
    Block, BlockError, BlockHash, ChannelId, Height, Machine, Mono, Now, PkiId, RemotePeer, SeqNum,
    Wall,
};
use gossip_state::{
    Action, BlockOrigin, DropReason, Input, RequestOutcome, StateConfig, StateTransfer,
};
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;

/// `len` linked blocks with `payload` bytes each.
pub fn chain(len: u64, payload: usize) -> Vec<Block> {
    fork(&[], len, payload, 0)
}

/// `base`, continued up to `len` blocks with other contents than any other `flavour`.
pub fn fork(base: &[Block], len: u64, payload: usize, flavour: u8) -> Vec<Block> {
    let mut blocks = base.to_vec();
    for number in base.len() as u64..len {
        let previous = blocks.last().map(|block: &Block| block.header().hash().as_bytes().to_vec());
        let mut data_hash = vec![flavour; 32];
        data_hash[..8].copy_from_slice(&number.to_be_bytes());
        blocks.push(Block {
            number: SeqNum::new(number),
            previous_hash: previous.unwrap_or_default().into(),
            data_hash: data_hash.into(),
            data: Bytes::from(vec![0xab; payload]),
            metadata: Bytes::from_static(b"signatures"),
        });
    }
    blocks
}

pub fn pki(n: u8) -> PkiId {
    PkiId::from_bytes([n; 32])
}

pub fn peer(n: u8) -> RemotePeer {
    RemotePeer { pki_id: pki(n), endpoint: None }
}

pub fn n(number: u64) -> SeqNum {
    SeqNum::new(number)
}

pub fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// The machine, a clock, and a host whose ledger and verification answer when told to.
pub struct Host {
    pub machine: StateTransfer,
    pub now: Mono,
    pub configs: BTreeSet<u64>,
    /// Whether verdicts and commits are answered at once.
    pub verifies: bool,
    pub commits: bool,
    /// Numbers given to the ledger, in order.
    pub ledger: Vec<SeqNum>,
    /// Header hash of the last of them.
    pub last_hash: Option<BlockHash>,
    /// Every action that the host did not answer itself.
    pub actions: Vec<Action>,
    /// Blocks that do not verify.
    pub forged: Vec<Block>,
    /// Whether those who signed were dismissed since.
    pub dismissed: bool,
}

impl Host {
    pub fn at(height: u64) -> Self {
        Self::with(height, StateConfig::default())
    }

    pub fn with(height: u64, config: StateConfig) -> Self {
        let channel = ChannelId::new("trade").unwrap();
        let config = config.checked().unwrap();
        let machine = StateTransfer::new(channel, config, ChaCha8Rng::seed_from_u64(7));
        let mut host = Self {
            machine,
            now: Mono::ZERO,
            configs: BTreeSet::new(),
            verifies: true,
            commits: true,
            ledger: Vec::new(),
            last_hash: None,
            actions: Vec::new(),
            forged: Vec::new(),
            dismissed: false,
        };
        host.tell(Input::Started { height: Height::new(height), tip: None });
        host.actions.clear();
        host
    }

    pub fn tell(&mut self, input: Input) {
        let now = Now { mono: self.now, wall: Wall::default() };
        let actions = self.machine.handle(now, input);
        for action in actions {
            self.perform(action);
        }
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Verify { block, origin } if self.verifies => self.verdict(block, origin),
            Action::Judge { header, origin } if self.verifies => self.judge(&header, origin),
            Action::Commit { blocks, .. } if self.commits => self.commit(&blocks),
            other => self.actions.push(other),
        }
    }

    pub fn verdict(&mut self, block: Block, origin: BlockOrigin) {
        if self.forged.contains(&block) {
            let number = block.number;
            let error = BlockError::DataHashMismatch(number);
            self.tell(Input::Refused { number, origin, error });
        } else {
            self.tell(Input::Verified { block, origin });
        }
    }

    fn judge(&mut self, header: &Block, origin: BlockOrigin) {
        assert!(header.data.is_empty(), "headers are judged without data");
        let number = header.number;
        let is_forged = self.forged.iter().any(|block| block.header() == header.header());
        let policy = || "orderers".to_owned();
        let refused = || Err(BlockError::PolicyNotSatisfied { number, policy: policy() });
        let then = if is_forged { refused() } else { Ok(()) };
        let now = if is_forged || self.dismissed { refused() } else { Ok(()) };
        self.tell(Input::Judged { number, origin, then, now });
    }

    pub fn commit(&mut self, blocks: &[Block]) {
        for block in blocks {
            let links = |hash: BlockHash| block.previous_hash.as_ref() == hash.as_bytes();
            assert!(self.last_hash.is_none_or(links), "block {} does not link", block.number);
            self.ledger.push(block.number);
            self.last_hash = Some(block.header().hash());
        }
        let height = blocks.last().unwrap().number.height();
        self.tell(Input::Committed { height });
    }

    /// Answers the commit that was asked for, if one was and was not answered at once.
    pub fn commit_asked(&mut self) {
        let asked = self.actions.iter().position(|action| matches!(action, Action::Commit { .. }));
        if let Some(Action::Commit { blocks, .. }) = asked.map(|at| self.actions.remove(at)) {
            self.commit(&blocks);
        }
    }

    pub fn offer(&mut self, block: &Block, origin: BlockOrigin) {
        let is_config = self.configs.contains(&block.number.get());
        self.tell(Input::Offered { block: block.clone(), origin, is_config });
    }

    pub fn push(&mut self, block: &Block) {
        self.offer(block, BlockOrigin::Push { from: pki(9) });
    }

    pub fn claim(&mut self, who: u8, height: u64) {
        self.tell(Input::PeerHeight {
            peer: peer(who),
            height: Height::new(height),
            own_org: true,
        });
    }

    /// Lets time pass, with a tick at each deadline.
    pub fn pass(&mut self, time: Duration) {
        let until = self.now.after(time);
        while let Some(wakeup) = self.machine.next_wakeup().filter(|wakeup| wakeup.at <= until) {
            assert!(wakeup.at > self.now, "a wake-up in the past: {}", wakeup.why);
            self.now = wakeup.at;
            self.tell(Input::Tick);
        }
        self.now = until;
    }

    /// Takes the requests asked for since the last look.
    pub fn requests(&mut self) -> Vec<Request> {
        let mut requests = Vec::new();
        self.actions.retain(|action| match action {
            Action::Request { to, id, from, through, bytes_max, .. } => {
                requests.push(Request {
                    to: to.pki_id,
                    id: *id,
                    from: *from,
                    through: *through,
                    bytes_max: *bytes_max,
                });
                false
            }
            _ => true,
        });
        requests
    }

    /// Answers a request from `blocks` as an honest server would.
    pub fn answer(&mut self, request: &Request, blocks: &[Block]) {
        let mut bytes = 0;
        for block in &blocks[request.from.get() as usize..] {
            bytes += block.len() as u64;
            if block.number > request.through
                || (bytes > request.bytes_max && block.number > request.from)
            {
                break;
            }
            self.offer(block, BlockOrigin::Range { from: request.to, request: request.id });
        }
        self.tell(Input::RequestEnded { id: request.id, outcome: RequestOutcome::Complete });
    }

    pub fn end(&mut self, request: &Request, outcome: RequestOutcome) {
        self.tell(Input::RequestEnded { id: request.id, outcome });
    }

    pub fn height(&self) -> u64 {
        self.machine.height().get()
    }

    pub fn dropped(&self) -> Vec<(u64, DropReason)> {
        let drops = self.actions.iter().filter_map(|action| match action {
            Action::Drop { number, reason, .. } => Some((number.get(), reason.clone())),
            _ => None,
        });
        drops.collect()
    }

    pub fn blamed(&self) -> Vec<PkiId> {
        let blames = self.actions.iter().filter_map(|action| match action {
            Action::Blame { peer, .. } => Some(*peer),
            _ => None,
        });
        blames.collect()
    }

    pub fn stalled(&self) -> Option<String> {
        let now = Now { mono: self.now, wall: Wall::default() };
        self.machine.stalled_reason(now).map(|reason| reason.to_string())
    }
}

/// A request that the machine made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub to: PkiId,
    pub id: u64,
    pub from: SeqNum,
    pub through: SeqNum,
    pub bytes_max: u64,
}
