//! Messages drawn from a seed: the same ones for the same seed, for ever.
//!
//! Changing what is drawn here changes the frozen hashes of `tests/golden/conformance.txt`.

use bytes::Bytes;
use gossip_api::message::{
    Acknowledgement, Ask, Beat, Beats, BlockNote, BlockWord, DataMessage, Features, HeaderMessage,
    HeaderNote, HeaderWord, Hello, HelloLimits, ItemId, Kind, Known, LeadershipKind,
    LeadershipMessage, MemberEntry, MembershipRequest, MembershipResponse, PeerIdentities, Plan,
    PlanPart, PlannedBlock, PrivateData, PrivateDataRequest, PrivateDataResponse, Probe,
    ProofOfLife, PullDigest, PullHello, PullKind, PullRequest, PullUpdate, Record, SealedRecord,
    SealedStateInfo, Secret, Share, ShareClass, ShareCommitment, ShareDuty, ShareReport, ShareSet,
    ShortId, StateInfo, StateInfoPullRequest, StateInfoSnapshot, StateRequest, StateResponse,
};
use gossip_api::{
    Blob, Block, BlockHash, Bounded, ChannelId, ChannelTag, Endpoint, Envelope, Epoch, Height,
    Message, Nonce, PeerIdentity, PkiId, SeqNum, ShareRoot,
};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng as _};

/// The values at which arithmetic goes wrong.
pub const EDGES: [u64; 4] = [0, 1, i64::MAX as u64, u64::MAX];

/// Draws fields and messages.
pub struct Draw {
    rng: ChaCha8Rng,
    /// One number in so many is an edge.
    edges: u64,
}

impl Draw {
    /// Mostly ordinary numbers.
    pub fn seeded(seed: u64) -> Self {
        Self { rng: ChaCha8Rng::seed_from_u64(seed), edges: 8 }
    }

    /// Edges only.
    pub fn edges(seed: u64) -> Self {
        Self { rng: ChaCha8Rng::seed_from_u64(seed), edges: 1 }
    }

    pub fn below(&mut self, bound: u64) -> usize {
        usize::try_from(self.rng.next_u64() % bound).unwrap()
    }

    pub fn number(&mut self) -> u64 {
        let edge = self.below(self.edges) == 0;
        let at = self.below(4);
        let number = self.rng.next_u64();
        if edge { EDGES[at] } else { number }
    }

    fn short_number(&mut self) -> u32 {
        let number = self.number();
        u32::try_from(number).unwrap_or((number & u64::from(u32::MAX)) as u32)
    }

    fn flag(&mut self) -> bool {
        self.below(2) == 1
    }

    fn array(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        self.rng.fill_bytes(&mut bytes);
        bytes
    }

    fn bytes(&mut self, longest: u64) -> Bytes {
        let mut bytes = vec![0; self.below(longest + 1)];
        self.rng.fill_bytes(&mut bytes);
        bytes.into()
    }

    fn text(&mut self, longest: u64) -> String {
        let length = self.below(longest + 1);
        let letters = ['a', 'z', '0', '.', ':', '-', '\u{e4}', '\u{4e2d}'];
        (0..length).map(|_| letters[self.below(8)]).collect()
    }

    fn list<T, const MAX: usize>(
        &mut self,
        mut one: impl FnMut(&mut Self) -> T,
    ) -> Bounded<T, MAX> {
        let length = self.below(4);
        Bounded::truncated((0..length).map(|_| one(self)))
    }

    fn maybe<T>(&mut self, one: impl FnOnce(&mut Self) -> T) -> Option<T> {
        self.flag().then(|| one(self))
    }

    fn channel(&mut self) -> ChannelId {
        ChannelId::new(&self.text(20)).unwrap()
    }

    fn endpoint(&mut self) -> Endpoint {
        Endpoint::new(&self.text(40)).unwrap()
    }

    fn pki_id(&mut self) -> PkiId {
        PkiId::from_bytes(self.array())
    }

    fn nonce(&mut self) -> Nonce {
        Nonce::new(self.number())
    }

    fn epoch(&mut self) -> Epoch {
        Epoch::new(self.number())
    }

    fn identity(&mut self) -> PeerIdentity {
        PeerIdentity::new(self.bytes(80)).unwrap()
    }

    /// The message with a signature-like byte string.
    pub fn envelope(&mut self, message: &Message) -> Envelope {
        Envelope::unsigned(message).with_signature(self.bytes(112)).unwrap()
    }

    pub fn record(&mut self) -> Record {
        Record {
            pki_id: self.pki_id(),
            epoch: self.epoch(),
            version: self.short_number(),
            endpoint: self.maybe(Self::endpoint),
            secret: self.array(),
            metadata: Blob::new(self.bytes(50)).unwrap(),
            first_beat: self.number(),
            chain_len: self.short_number(),
            chain_end: self.array(),
        }
    }

    pub fn beat(&mut self) -> Beat {
        Beat {
            member: ShortId::of(&self.pki_id()),
            epoch: self.epoch(),
            sequence: self.number(),
            preimage: self.array(),
        }
    }

    fn entry(&mut self) -> MemberEntry {
        let record = Message::Record(self.record());
        let record = SealedRecord::from_envelope(&self.envelope(&record)).unwrap();
        let secret =
            |draw: &mut Self| Secret { internal_endpoint: draw.endpoint(), salt: draw.array() };
        MemberEntry {
            identity: self.identity(),
            record,
            secret: self.maybe(secret),
            beat: self.maybe(Self::beat).map(Box::new),
        }
    }

    fn state_info(&mut self) -> StateInfo {
        StateInfo {
            tag: ChannelTag::from_bytes(self.array()),
            pki_id: self.pki_id(),
            epoch: self.epoch(),
            sequence: self.number(),
            height: Height::new(self.number()),
            left_channel: self.flag(),
        }
    }

    fn sealed_info(&mut self) -> SealedStateInfo {
        let info = Message::StateInfo(self.state_info());
        SealedStateInfo::from_envelope(&self.envelope(&info)).unwrap()
    }

    fn block(&mut self) -> Block {
        Block {
            number: SeqNum::new(self.number()),
            previous_hash: self.bytes(64),
            data_hash: self.bytes(64),
            data: self.bytes(100),
            metadata: self.bytes(100),
        }
    }

    /// What is pulled, and the channel that a pull of it names.
    fn pulled(&mut self) -> (PullKind, ChannelId) {
        let channel = self.channel();
        match (self.flag(), self.flag()) {
            (true, true) => (PullKind::Block, channel),
            (true, false) => (PullKind::StateInfo, channel),
            (false, _) => (PullKind::Identity, ChannelId::new("").unwrap()),
        }
    }

    fn item(&mut self) -> ItemId {
        if self.flag() {
            ItemId::block(SeqNum::new(self.number()))
        } else {
            ItemId::identity(self.pki_id())
        }
    }

    pub fn hello(&mut self) -> Hello {
        Hello {
            identity: self.identity(),
            epoch: self.epoch(),
            wire_version: (self.number() & 0xff) as u8,
            features: Features(self.number()),
            limits: HelloLimits { block_frame_max: self.number() },
            signature: Blob::new(self.bytes(112)).unwrap(),
        }
    }

    pub fn message(&mut self, kind: Kind) -> Message {
        match kind {
            Kind::Record => Message::Record(self.record()),
            Kind::Beats => Message::Beats(Beats { beats: self.list(Self::beat) }),
            Kind::MembershipRequest | Kind::MembershipResponse => self.membership(kind),
            Kind::Probe | Kind::ProofOfLife => self.proof(kind),
            Kind::StateInfo => Message::StateInfo(self.state_info()),
            Kind::Hello | Kind::Digest | Kind::Request | Kind::Update | Kind::PeerIdentities => {
                self.pull(kind)
            }
            Kind::Data
            | Kind::StateRequest
            | Kind::StateResponse
            | Kind::StateInfoPullRequest
            | Kind::StateInfoSnapshot
            | Kind::Leadership => self.channels(kind),
            Kind::Acknowledgement
            | Kind::PrivateData
            | Kind::PrivateDataRequest
            | Kind::PrivateDataResponse => self.direct(kind),
            Kind::Header | Kind::HeaderNote | Kind::BlockNote | Kind::Plan => self.spread(kind),
            Kind::ShareCommitment | Kind::Share | Kind::ShareReport => self.shares(kind),
        }
    }

    fn spread(&mut self, kind: Kind) -> Message {
        let (channel, nonce) = (self.channel(), self.nonce());
        let (number, height) = (SeqNum::new(self.number()), Height::new(self.number()));
        match kind {
            Kind::Header => {
                let block = Block { data: Bytes::new(), ..self.block() };
                let data_len = self.number();
                Message::Header(HeaderMessage { channel, block, data_len })
            }
            Kind::HeaderNote => {
                let hash = BlockHash::from_bytes(self.array());
                let (data, feed) = (self.flag(), self.flag());
                let words = [
                    HeaderWord::Have { number, hash, data },
                    HeaderWord::Want { number },
                    HeaderWord::Tip { nonce, height, feed },
                    HeaderWord::TipIs { nonce, height },
                ];
                Message::HeaderNote(HeaderNote { channel, word: words[self.below(4)] })
            }
            Kind::BlockNote => {
                let words = [
                    BlockWord::Have { number },
                    BlockWord::Want { nonce, number },
                    BlockWord::Lack { nonce },
                    BlockWord::Behind { height },
                ];
                Message::BlockNote(BlockNote { channel, word: words[self.below(4)] })
            }
            _ => {
                let plan = Plan {
                    channel,
                    number,
                    header: BlockHash::from_bytes(self.array()),
                    source: self.pki_id(),
                    issued: self.number(),
                    members: self.short_number(),
                    fan_out: self.short_number(),
                    root: self.array(),
                };
                let part = PlanPart {
                    first: self.short_number(),
                    members: self.list(Self::pki_id),
                    proof: self.list(Self::array),
                };
                Message::Plan(PlannedBlock { plan, part, block: self.block() })
            }
        }
    }

    fn membership(&mut self, kind: Kind) -> Message {
        let nonce = self.nonce();
        if kind == Kind::MembershipResponse {
            return Message::MembershipResponse(MembershipResponse {
                nonce,
                alive: self.list(Self::entry),
                beats: self.list(Self::beat),
                more: self.flag(),
            });
        }
        let known = |draw: &mut Self| Known {
            member: ShortId::of(&draw.pki_id()),
            epoch: draw.epoch(),
            version: draw.short_number(),
            sequence: draw.number(),
        };
        let (me, known) = (self.entry(), self.list(known));
        Message::MembershipRequest(MembershipRequest { nonce, me, known })
    }

    fn proof(&mut self, kind: Kind) -> Message {
        if kind == Kind::Probe {
            let ask = |draw: &mut Self| Ask {
                target: ShortId::of(&draw.pki_id()),
                nonce: draw.nonce(),
                hops: (draw.number() & 0xff) as u8,
            };
            return Message::Probe(Probe { asks: self.list(ask) });
        }
        Message::ProofOfLife(ProofOfLife {
            pki_id: self.pki_id(),
            epoch: self.epoch(),
            sequence: self.number(),
            nonces: self.list(Self::nonce),
        })
    }

    fn pull(&mut self, pull: Kind) -> Message {
        let (nonce, (kind, channel)) = (self.nonce(), self.pulled());
        match pull {
            Kind::Hello => Message::Hello(PullHello { nonce, channel, kind }),
            Kind::Digest => {
                let items = self.list(Self::item);
                Message::Digest(PullDigest { nonce, channel, kind, items })
            }
            Kind::Request => {
                let items = self.list(Self::item);
                Message::Request(PullRequest { nonce, channel, kind, items })
            }
            Kind::Update => Message::Update(PullUpdate { nonce, channel, block: self.block() }),
            _ => {
                let identities = self.list(Self::identity);
                Message::PeerIdentities(PeerIdentities { nonce, identities })
            }
        }
    }

    fn channels(&mut self, kind: Kind) -> Message {
        let (nonce, channel) = (self.nonce(), self.channel());
        let tag = ChannelTag::from_bytes(self.array());
        match kind {
            Kind::Data => Message::Data(DataMessage { channel, block: self.block() }),
            Kind::StateRequest => {
                let (from, to) = (SeqNum::new(self.number()), SeqNum::new(self.number()));
                let bytes_max = self.number();
                Message::StateRequest(StateRequest { nonce, channel, from, to, bytes_max })
            }
            Kind::StateResponse => {
                Message::StateResponse(StateResponse { nonce, channel, block: self.block() })
            }
            Kind::StateInfoPullRequest => {
                Message::StateInfoPullRequest(StateInfoPullRequest { tag })
            }
            Kind::StateInfoSnapshot => {
                let infos = self.list(Self::sealed_info);
                Message::StateInfoSnapshot(StateInfoSnapshot { tag, infos })
            }
            _ => {
                let kinds =
                    [LeadershipKind::Propose, LeadershipKind::Declare, LeadershipKind::Resign];
                let kind = kinds[self.below(3)];
                let (term, height) = (self.number(), Height::new(self.number()));
                Message::Leadership(LeadershipMessage { channel, kind, term, height })
            }
        }
    }

    fn direct(&mut self, kind: Kind) -> Message {
        let (nonce, channel) = (self.nonce(), self.channel());
        let payload = self.bytes(200);
        match kind {
            Kind::PrivateData => Message::PrivateData(PrivateData { nonce, channel, payload }),
            Kind::PrivateDataRequest => Message::PrivateDataRequest(
                PrivateDataRequest::new(nonce, channel, payload).unwrap(),
            ),
            Kind::PrivateDataResponse => {
                Message::PrivateDataResponse(PrivateDataResponse { nonce, channel, payload })
            }
            _ if self.flag() => Message::Acknowledgement(Acknowledgement::accepted(nonce)),
            _ => Message::Acknowledgement(Acknowledgement::refused(nonce, &self.text(80))),
        }
    }

    fn share_set(&mut self) -> ShareSet {
        (0..self.below(6)).map(|_| (self.rng.next_u64() % 128) as u8).collect()
    }

    fn shares(&mut self, kind: Kind) -> Message {
        let (channel, number) = (self.channel(), SeqNum::new(self.number()));
        let root = ShareRoot::from_bytes(self.array());
        let class = ShareClass::ALL[self.below(3)];
        match kind {
            Kind::ShareCommitment => Message::ShareCommitment(ShareCommitment {
                channel,
                source: self.pki_id(),
                number,
                header_hash: BlockHash::from_bytes(self.array()),
                root,
                class,
                data_len: self.number(),
            }),
            Kind::Share => {
                let duties = [ShareDuty::Keep, ShareDuty::Entry, ShareDuty::Relay];
                Message::Share(Share {
                    channel,
                    number,
                    root,
                    class,
                    data_len: self.number(),
                    index: (self.number() & 0xff) as u8,
                    duty: duties[self.below(3)],
                    branch: self.list(Self::array),
                    payload: self.bytes(200),
                })
            }
            _ => {
                let (held, wanted) = (self.share_set(), self.share_set());
                Message::ShareReport(ShareReport { channel, number, root, held, wanted })
            }
        }
    }
}
