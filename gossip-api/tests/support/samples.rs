//! One message of every kind, the same in every run.

use bytes::Bytes;
use gossip_api::message::{
    Acknowledgement, Ask, Beat, Beats, BlockNote, BlockWord, DataMessage, HeaderMessage,
    HeaderNote, HeaderWord, ItemId, Known, LeadershipKind, LeadershipMessage, MemberEntry,
    MembershipRequest, MembershipResponse, PeerIdentities, Plan, PlanPart, PlannedBlock,
    PrivateData, PrivateDataRequest, PrivateDataResponse, Probe, ProofOfLife, PullDigest,
    PullHello, PullKind, PullRequest, PullUpdate, Record, SealedRecord, SealedStateInfo, Secret,
    Share, ShareClass, ShareCommitment, ShareDuty, ShareReport, ShareSet, ShortId, StateInfo,
    StateInfoPullRequest, StateInfoSnapshot, StateRequest, StateResponse,
};
use gossip_api::{
    Blob, Block, BlockHash, Bounded, ChannelId, ChannelTag, Endpoint, Envelope, Epoch, Height,
    Message, Nonce, PeerIdentity, PkiId, SeqNum, ShareRoot,
};

pub fn peer() -> PkiId {
    PkiId::from_bytes([0x11; 32])
}

pub fn trade() -> ChannelId {
    ChannelId::new("trade").unwrap()
}

pub fn tag() -> ChannelTag {
    ChannelTag::from_bytes([0x66; 32])
}

/// Stands for a signature: 64 bytes, which is the form of Ed25519.
pub fn sealed(message: &Message) -> Envelope {
    Envelope::unsigned(message).with_signature(Bytes::from(vec![0x5a; 64])).unwrap()
}

pub fn block() -> Block {
    Block {
        number: SeqNum::new(7),
        previous_hash: Bytes::from(vec![0x71; 32]),
        data_hash: Bytes::from(vec![0x72; 32]),
        data: Bytes::from_static(b"data of the block"),
        metadata: Bytes::from_static(b"metadata"),
    }
}

pub fn record() -> Record {
    Record {
        pki_id: peer(),
        epoch: Epoch::new(3),
        version: 1,
        endpoint: Some(Endpoint::new("peer0.org1:7051").unwrap()),
        secret: [0x22; 32],
        metadata: Blob::new(vec![1, 2, 3]).unwrap(),
        first_beat: 16,
        chain_len: 512,
        chain_end: [0x33; 32],
    }
}

pub fn beat() -> Beat {
    let member = ShortId::of(&peer());
    Beat { member, epoch: Epoch::new(3), sequence: 17, preimage: [0x44; 32] }
}

pub fn identity_of_peer() -> PeerIdentity {
    PeerIdentity::new(b"identity of the peer".to_vec()).unwrap()
}

pub fn entry() -> MemberEntry {
    let internal_endpoint = Endpoint::new("10.0.0.1:7051").unwrap();
    MemberEntry {
        identity: identity_of_peer(),
        record: SealedRecord::from_envelope(&sealed(&Message::Record(record()))).unwrap(),
        secret: Some(Secret { internal_endpoint, salt: [0x55; 32] }),
        beat: Some(Box::new(beat())),
    }
}

pub fn state_info() -> StateInfo {
    StateInfo {
        tag: tag(),
        pki_id: peer(),
        epoch: Epoch::new(3),
        sequence: 2,
        height: Height::new(8),
        left_channel: false,
    }
}

/// One of every kind, in the order of their numbers.
pub fn samples() -> Vec<Message> {
    let mut all = [membership(), pulls(), transfer(), direct(), spread(), shares()].concat();
    all.sort_by_key(Message::kind);
    all
}

fn membership() -> Vec<Message> {
    let nonce = Nonce::new(11);
    let (member, epoch) = (ShortId::of(&peer()), Epoch::new(3));
    let known = Bounded::new(vec![Known { member, epoch, version: 1, sequence: 18 }]).unwrap();
    let beats = Bounded::new(vec![beat()]).unwrap();
    let alive = Bounded::new(vec![entry()]).unwrap();
    let asks = Bounded::new(vec![Ask { target: member, nonce, hops: 1 }]).unwrap();
    let nonces = Bounded::new(vec![nonce, Nonce::new(12)]).unwrap();
    vec![
        Message::Record(record()),
        Message::Beats(Beats { beats: beats.clone() }),
        Message::MembershipRequest(MembershipRequest { nonce, me: entry(), known }),
        Message::MembershipResponse(MembershipResponse { nonce, alive, beats, more: true }),
        Message::Probe(Probe { asks }),
        Message::ProofOfLife(ProofOfLife { pki_id: peer(), epoch, sequence: 17, nonces }),
    ]
}

fn pulls() -> Vec<Message> {
    let (nonce, channel, kind) = (Nonce::new(11), trade(), PullKind::Block);
    let items = vec![ItemId::block(SeqNum::new(7)), ItemId::block(SeqNum::new(8))];
    let items = Bounded::new(items).unwrap();
    vec![
        Message::Hello(PullHello { nonce, channel: channel.clone(), kind }),
        Message::Digest(PullDigest { nonce, channel: channel.clone(), kind, items: items.clone() }),
        Message::Request(PullRequest { nonce, channel: channel.clone(), kind, items }),
        Message::Update(PullUpdate { nonce, channel, block: block() }),
        Message::PeerIdentities(PeerIdentities {
            nonce,
            identities: Bounded::new(vec![identity_of_peer()]).unwrap(),
        }),
    ]
}

fn transfer() -> Vec<Message> {
    let (nonce, channel) = (Nonce::new(11), trade());
    let (from, to) = (SeqNum::new(7), SeqNum::new(9));
    let info = sealed(&Message::StateInfo(state_info()));
    let info = SealedStateInfo::from_envelope(&info).unwrap();
    vec![
        Message::StateInfo(state_info()),
        Message::Data(DataMessage { channel: channel.clone(), block: block() }),
        Message::StateRequest(StateRequest {
            nonce,
            channel: channel.clone(),
            from,
            to,
            bytes_max: 1 << 20,
        }),
        Message::StateResponse(StateResponse { nonce, channel: channel.clone(), block: block() }),
        Message::StateInfoPullRequest(StateInfoPullRequest { tag: tag() }),
        Message::StateInfoSnapshot(StateInfoSnapshot {
            tag: tag(),
            infos: Bounded::new(vec![info]).unwrap(),
        }),
        Message::Leadership(LeadershipMessage {
            channel,
            kind: LeadershipKind::Declare,
            term: 4,
            height: Height::new(8),
        }),
    ]
}

fn direct() -> Vec<Message> {
    let (nonce, channel) = (Nonce::new(11), trade());
    let payload = Bytes::from_static(b"private data");
    let query = Bytes::from_static(b"which private data");
    vec![
        Message::Acknowledgement(Acknowledgement::refused(nonce, "not entitled")),
        Message::PrivateData(PrivateData {
            nonce,
            channel: channel.clone(),
            payload: payload.clone(),
        }),
        Message::PrivateDataRequest(
            PrivateDataRequest::new(nonce, channel.clone(), query).unwrap(),
        ),
        Message::PrivateDataResponse(PrivateDataResponse { nonce, channel, payload }),
    ]
}

pub fn plan() -> Plan {
    Plan {
        channel: trade(),
        number: SeqNum::new(7),
        header: BlockHash::from_bytes([0x73; 32]),
        source: peer(),
        issued: 1500,
        members: 5,
        fan_out: 2,
        root: [0x74; 32],
    }
}

fn spread() -> Vec<Message> {
    let (channel, nonce, number) = (trade(), Nonce::new(11), SeqNum::new(7));
    let header = Block { data: Bytes::new(), ..block() };
    let part = PlanPart {
        first: 2,
        members: Bounded::new(vec![PkiId::from_bytes([0x12; 32])]).unwrap(),
        proof: Bounded::new(vec![[0x75; 32], [0x76; 32]]).unwrap(),
    };
    let hash = BlockHash::from_bytes([0x73; 32]);
    let word = HeaderWord::Have { number, hash, data: true };
    vec![
        Message::Header(HeaderMessage { channel: channel.clone(), block: header, data_len: 17 }),
        Message::HeaderNote(HeaderNote { channel: channel.clone(), word }),
        Message::BlockNote(BlockNote { channel, word: BlockWord::Want { nonce, number } }),
        Message::Plan(PlannedBlock { plan: plan(), part, block: block() }),
    ]
}

fn shares() -> Vec<Message> {
    let (channel, number, root) = (trade(), SeqNum::new(7), ShareRoot::from_bytes([0x77; 32]));
    let (class, data_len) = (ShareClass::Small, 35);
    vec![
        Message::ShareCommitment(ShareCommitment {
            channel: channel.clone(),
            source: peer(),
            number,
            header_hash: BlockHash::from_bytes([0x78; 32]),
            root,
            class,
            data_len,
        }),
        Message::Share(Share {
            channel: channel.clone(),
            number,
            root,
            class,
            data_len,
            index: 3,
            duty: ShareDuty::Relay,
            branch: Bounded::new(vec![[0x79; 32], [0x7a; 32], [0x7b; 32], [0x7c; 32]]).unwrap(),
            payload: Bytes::from_static(b"data"),
        }),
        Message::ShareReport(ShareReport {
            channel,
            number,
            root,
            held: [0, 1, 2, 3, 4, 5, 6, 7, 8].into_iter().collect(),
            wanted: [9, 127].into_iter().collect::<ShareSet>(),
        }),
    ]
}
