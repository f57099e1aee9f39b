//! One connection of a node, and the streams on it.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use gossip_api::message::{Class, CloseReason, HelloBinding};
use gossip_api::{Endpoint, Mono, PkiId, WireError};
use quinn_proto::{Connection, Dir, StreamId};

use super::frames::Frames;
use crate::config::CommConfig;
use crate::duplicate::Mode;
use crate::hello::{Exchange, Greeting};
use crate::transport::{CONTROL_PRIORITY, RETIREMENT};

/// A connection.
pub(super) struct Link {
    pub(super) quic: Connection,
    pub(super) stage: Stage,
    /// When the stage began.
    pub(super) since: Mono,
    /// Where it was dialled; nothing if the other side did.
    pub(super) dialled: Option<Endpoint>,
    pub(super) expect: Option<PkiId>,
    /// Hash of the certificate shown on it.
    pub(super) own_leaf: [u8; 32],
    pub(super) closed_for: Option<CloseReason>,
    pub(super) streams: BTreeMap<StreamId, Inbound>,
    pub(super) writing: BTreeMap<StreamId, Outbound>,
    pub(super) control: Option<StreamId>,
    /// Whether nothing more will be written on it.
    pub(super) control_ended: bool,
    /// Blocks that have not arrived as far as we know.
    pub(super) blocks: BTreeMap<StreamId, Frame>,
    /// Whether the other side's control stream has begun.
    pub(super) control_seen: bool,
}

/// How far a connection has come.
#[derive(Debug)]
pub(super) enum Stage {
    /// TLS is being done.
    Shaking,
    /// The other side has not proved who it is.
    Hello(Box<Talk>),
    /// Both have.
    Up(Box<Up>),
    /// It ends.
    Over,
}

/// An exchange of hellos.
#[derive(Debug)]
pub(super) struct Talk {
    pub(super) exchange: Exchange,
    pub(super) binding: HelloBinding,
    /// What the hellos go over.
    pub(super) stream: Option<StreamId>,
    pub(super) heard: Vec<u8>,
}

/// An authenticated connection.
#[derive(Debug)]
pub(super) struct Up {
    pub(super) greeting: Greeting,
    /// When both hellos were believed.
    pub(super) born: Mono,
    pub(super) mode: Mode,
    /// The other side has nothing more to send.
    pub(super) other_done: bool,
    /// All that we sent has arrived, and we shall send nothing more.
    pub(super) own_done: bool,
}

/// A message as it goes on a stream.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub(super) chunks: Vec<Bytes>,
    pub(super) len: usize,
}

/// A stream that is read.
#[derive(Debug)]
pub(super) struct Inbound {
    pub(super) frames: Frames,
    pub(super) carries: Carries,
    /// When something last came.
    pub(super) touched: Mono,
}

/// What a stream turns out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Carries {
    Unknown,
    Control,
    /// Its one block is there.
    Block,
}

/// A stream that is written.
#[derive(Debug, Default)]
pub(super) struct Outbound {
    pub(super) chunks: VecDeque<Bytes>,
    pub(super) ends: bool,
}

impl Link {
    pub(super) fn new(quic: Connection, now: Mono, own_leaf: [u8; 32]) -> Self {
        Self {
            quic,
            stage: Stage::Shaking,
            since: now,
            dialled: None,
            expect: None,
            own_leaf,
            closed_for: None,
            streams: BTreeMap::new(),
            writing: BTreeMap::new(),
            control: None,
            control_ended: false,
            blocks: BTreeMap::new(),
            control_seen: false,
        }
    }

    pub(super) fn up(&self) -> Option<&Up> {
        match &self.stage {
            Stage::Up(up) => Some(up),
            Stage::Shaking | Stage::Hello(_) | Stage::Over => None,
        }
    }

    pub(super) fn up_mut(&mut self) -> Option<&mut Up> {
        match &mut self.stage {
            Stage::Up(up) => Some(up),
            Stage::Shaking | Stage::Hello(_) | Stage::Over => None,
        }
    }

    /// Whether it can be or become the one that sends.
    pub(super) fn is_live(&self) -> bool {
        self.up().is_some_and(|up| up.mode != Mode::Retired) && !self.quic.is_closed()
    }

    pub(super) fn leads_to(&self, peer: &PkiId) -> bool {
        self.up().is_some_and(|up| up.greeting.peer == *peer)
    }

    pub(super) fn set_mode(&mut self, now: Mono, mode: Mode) {
        if let Some(up) = self.up_mut()
            && up.mode != Mode::Retired
            && up.mode != mode
        {
            up.mode = mode;
            self.since = now;
        }
    }

    /// When it must have come further, or a stream must have moved.
    pub(super) fn deadline(&self, config: &CommConfig) -> Option<Mono> {
        match &self.stage {
            Stage::Shaking => Some(self.since.after(config.dial_timeout)),
            Stage::Hello(_) => Some(self.since.after(config.hello_timeout)),
            Stage::Over => None,
            Stage::Up(up) => {
                let patience = config.streams.patience;
                let still = self.waiting().map(|(_, stream)| stream.touched.after(patience)).min();
                let retired = (up.mode == Mode::Retired).then(|| self.since.after(RETIREMENT));
                still.into_iter().chain(retired).min()
            }
        }
    }

    /// The streams that may not be silent for ever.
    fn waiting(&self) -> impl Iterator<Item = (&StreamId, &Inbound)> {
        self.streams.iter().filter(|(_, stream)| stream.carries != Carries::Control)
    }

    /// Streams on which nothing has moved for too long.
    pub(super) fn stalled(&self, now: Mono, config: &CommConfig) -> Vec<StreamId> {
        let patience = config.streams.patience;
        let late = |stream: &Inbound| now >= stream.touched.after(patience);
        self.waiting().filter(|(_, stream)| late(stream)).map(|(id, _)| *id).collect()
    }

    /// Takes what has come on a stream; whether it has ended, or nothing if it was given up.
    pub(super) fn take(&mut self, id: StreamId) -> Option<(Vec<Bytes>, bool)> {
        let mut stream = self.quic.recv_stream(id);
        let mut chunks = stream.read(true).ok()?;
        let mut taken = Vec::new();
        let ended = loop {
            match chunks.next(usize::MAX) {
                Ok(Some(chunk)) => taken.push(chunk.bytes),
                Ok(None) => break Some(true),
                Err(quinn_proto::ReadError::Blocked) => break Some(false),
                Err(quinn_proto::ReadError::Reset(_)) => break None,
            }
        };
        // Whether something is to be sent now, the next look for datagrams finds out anyway.
        let _ = chunks.finalize();
        Some((taken, ended?))
    }

    /// Reads the frames of a unidirectional stream.
    pub(super) fn frames(
        &mut self,
        now: Mono,
        id: StreamId,
        bytes: &[Bytes],
        block_max: usize,
    ) -> Result<Vec<Bytes>, WireError> {
        let Some(stream) = self.streams.get_mut(&id) else { return Ok(Vec::new()) };
        stream.touched = now;
        bytes.iter().for_each(|bytes| stream.frames.push(bytes));
        let mut found = Vec::new();
        while let Some((class, frame)) = stream.frames.next(block_max)? {
            stream.carries = match (stream.carries, class) {
                (Carries::Unknown, Class::Block) => Carries::Block,
                (Carries::Unknown, Class::Control | Class::Membership) if !self.control_seen => {
                    self.control_seen = true;
                    Carries::Control
                }
                (Carries::Control, Class::Control | Class::Membership) => Carries::Control,
                (Carries::Unknown, Class::Control | Class::Membership) => {
                    return Err(WireError::Misplaced("a second control stream"));
                }
                (Carries::Control, Class::Block) => {
                    return Err(WireError::Misplaced("a block on the control stream"));
                }
                (Carries::Block, _) => {
                    return Err(WireError::Misplaced("a frame behind a block"));
                }
            };
            found.push(frame);
        }
        Ok(found)
    }

    /// The stream that control messages go on.
    pub(super) fn control_stream(&mut self) -> Option<StreamId> {
        if self.control.is_none() {
            let id = self.quic.streams().open(Dir::Uni)?;
            // Fails only on a closed stream, and this one is new.
            let _ = self.quic.send_stream(id).set_priority(CONTROL_PRIORITY);
            self.control = Some(id);
        }
        self.control
    }

    /// Puts bytes on a stream, now or as soon as there is leave to.
    pub(super) fn write(
        &mut self,
        id: StreamId,
        chunks: impl IntoIterator<Item = Bytes>,
        ends: bool,
    ) {
        let outbound = self.writing.entry(id).or_default();
        outbound.chunks.extend(chunks);
        outbound.ends |= ends;
    }

    /// Bytes that stand before a stream.
    pub(super) fn backlog(&self, id: StreamId) -> usize {
        self.writing.get(&id).map_or(0, |out| out.chunks.iter().map(Bytes::len).sum())
    }

    /// Hands to QUIC what it takes.
    pub(super) fn flush(&mut self) {
        let Self { quic, writing, .. } = self;
        writing.retain(|id, outbound| {
            let mut stream = quic.send_stream(*id);
            while let Some(chunk) = outbound.chunks.front_mut() {
                match stream.write_chunks(std::slice::from_mut(chunk)) {
                    Ok(_) if chunk.is_empty() => drop(outbound.chunks.pop_front()),
                    Ok(_) | Err(quinn_proto::WriteError::Blocked) => return true,
                    Err(
                        quinn_proto::WriteError::Stopped(_) | quinn_proto::WriteError::ClosedStream,
                    ) => return false,
                }
            }
            if outbound.ends {
                // A stream that was stopped has ended, too.
                let _ = stream.finish();
            }
            false
        });
    }

    /// Bytes held of streams whose frames are not whole.
    pub(super) fn held(&self) -> usize {
        self.streams.values().map(|stream| stream.frames.len()).sum()
    }
}
