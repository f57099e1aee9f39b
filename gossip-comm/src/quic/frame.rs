//! Frames on streams: nothing is allocated on the strength of a claim.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use gossip_api::message::Class;
use gossip_api::{Envelope, SignedMessage, WireError};
use quinn::{ReadError, RecvStream, SendStream, WriteError};

use crate::framing::{HEADER_LEN, Header, LENGTH_LEN, peek};
use crate::transport::GIVEN_UP;

/// Reads frames off one stream.
pub(super) struct FrameReader {
    stream: RecvStream,
    buffer: BytesMut,
    /// Silence after which reading fails; none waits for ever.
    patience: Option<Duration>,
}

/// Why no frame came.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadFailure {
    /// The connection is gone.
    #[error("connection lost")]
    Lost,
    /// The other side gave the stream up.
    #[error("stream reset with code {0}")]
    Reset(u64),
    /// Nothing came for too long.
    #[error("nothing came for too long")]
    Stalled,
    /// What came is no frame.
    #[error(transparent)]
    Malformed(#[from] WireError),
    /// We are stopping.
    #[error("stopping")]
    Stopping,
}

impl FrameReader {
    pub(super) fn new(stream: RecvStream, patience: Option<Duration>) -> Self {
        Self { stream, buffer: BytesMut::new(), patience }
    }

    /// From here on, silence is no failure.
    pub(super) fn wait_for_ever(&mut self) {
        self.patience = None;
    }

    /// What the next frame says of itself; nothing at the end of the stream.
    pub(super) async fn header(&mut self) -> Result<Option<Header>, ReadFailure> {
        while self.buffer.len() < HEADER_LEN {
            if !self.fill(HEADER_LEN).await? {
                return match self.buffer.len() {
                    0 => Ok(None),
                    found => Err(WireError::Truncated { needed: HEADER_LEN, found }.into()),
                };
            }
        }
        Ok(peek(&self.buffer)?)
    }

    /// The frame that `header` announced, without its length field.
    pub(super) async fn frame(&mut self, header: Header) -> Result<Bytes, ReadFailure> {
        let needed = header.frame_len();
        if needed > SMALL {
            return Ok(self.large_frame(needed).await?.slice(LENGTH_LEN..));
        }
        self.fill_up_to(needed).await?;
        let _ = self.buffer.split_to(LENGTH_LEN);
        Ok(self.buffer.split_to(header.length).freeze())
    }

    /// The frame that `header` announced, and all that have arrived whole behind it, as long as they are
    /// no blocks: one piece, each with its length field.
    pub(super) async fn batch(&mut self, header: Header) -> Result<Bytes, ReadFailure> {
        let needed = header.frame_len();
        if needed > SMALL {
            return self.large_frame(needed).await;
        }
        self.fill_up_to(needed).await?;
        let mut end = needed;
        while let Some(next) = peek(self.buffer.get(end..).unwrap_or_default())?
            && next.class != Class::Block
            && end + next.frame_len() <= self.buffer.len()
        {
            end += next.frame_len();
        }
        if end == self.buffer.len() {
            return Ok(std::mem::take(&mut self.buffer).freeze());
        }
        Ok(self.buffer.split_to(end).freeze())
    }

    async fn fill_up_to(&mut self, needed: usize) -> Result<(), ReadFailure> {
        while self.buffer.len() < needed {
            if !self.fill(needed).await? {
                return Err(WireError::Truncated { needed, found: self.buffer.len() }.into());
            }
        }
        Ok(())
    }

    /// Collects the pieces of a large frame and joins them once all are there: what is allocated has
    /// really come, and is copied once.
    async fn large_frame(&mut self, needed: usize) -> Result<Bytes, ReadFailure> {
        let mut pieces = vec![self.buffer.split().freeze()];
        let mut found: usize = pieces.iter().map(Bytes::len).sum();
        while found < needed {
            let mut chunks = [const { Bytes::new() }; CHUNKS];
            let Some(count) = self.pull(&mut chunks).await? else {
                return Err(WireError::Truncated { needed, found }.into());
            };
            let arrived = chunks.get_mut(..count).unwrap_or_default();
            found += arrived.iter().map(Bytes::len).sum::<usize>();
            pieces.extend(arrived.iter_mut().map(std::mem::take));
        }
        let mut frame = BytesMut::with_capacity(found);
        pieces.iter().for_each(|piece| frame.extend_from_slice(piece));
        self.buffer = frame.split_off(needed);
        Ok(frame.freeze())
    }

    /// Waits for the end of the stream.
    pub(super) async fn end(&mut self) -> Result<(), ReadFailure> {
        if self.buffer.is_empty() && !self.fill(1).await? {
            return Ok(());
        }
        Err(WireError::Trailing(self.buffer.len()).into())
    }

    /// Tells the other side that nothing more is read.
    pub(super) fn stop(&mut self) {
        // Fails only if the stream has ended, which serves as well.
        let _ = self.stream.stop(GIVEN_UP.into());
    }

    /// Appends what has arrived, aiming at `needed` bytes in all; false at the end of the stream.
    async fn fill(&mut self, needed: usize) -> Result<bool, ReadFailure> {
        if self.buffer.is_empty() && self.buffer.capacity() > IDLE_CAPACITY {
            self.buffer = BytesMut::new();
        }
        let mut chunks = [const { Bytes::new() }; CHUNKS];
        let Some(count) = self.pull(&mut chunks).await? else { return Ok(false) };
        let arrived = chunks.get(..count).unwrap_or_default();
        let fresh: usize = arrived.iter().map(Bytes::len).sum();
        let found = self.buffer.len() + fresh;
        self.buffer.reserve(needed.clamp(found, room_for(found)) - self.buffer.len());
        arrived.iter().for_each(|chunk| self.buffer.extend_from_slice(chunk));
        Ok(true)
    }

    /// Takes what has arrived, as it is; nothing at the end of the stream.
    async fn pull(&mut self, chunks: &mut [Bytes; CHUNKS]) -> Result<Option<usize>, ReadFailure> {
        let reading = self.stream.read_chunks(chunks);
        let read = match self.patience {
            Some(patience) => {
                tokio::time::timeout(patience, reading).await.map_err(|_| ReadFailure::Stalled)?
            }
            None => reading.await,
        };
        Ok(read?)
    }
}

impl From<ReadError> for ReadFailure {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Reset(code) => Self::Reset(code.into_inner()),
            ReadError::ConnectionLost(_)
            | ReadError::ClosedStream
            | ReadError::IllegalOrderedRead
            | ReadError::ZeroRttRejected => Self::Lost,
        }
    }
}

/// Reads the message in a frame.
pub(super) fn open(frame: &Bytes) -> Result<SignedMessage, WireError> {
    Envelope::decode(frame)?.open()
}

/// Writes one message; its payload is handed to the stream without a copy.
pub(super) async fn write(
    stream: &mut SendStream,
    envelope: &Envelope,
) -> Result<(), WriteFailure> {
    Ok(stream.write_all_chunks(&mut envelope.encode()?).await?)
}

/// Why a message was not written.
#[derive(Debug, thiserror::Error)]
pub(super) enum WriteFailure {
    /// It is larger than a message may be.
    #[error(transparent)]
    TooLarge(#[from] WireError),
    /// The stream or its connection has ended.
    #[error(transparent)]
    Stream(#[from] WriteError),
}

/// Room for half a frame of which so many bytes are there: most frames get theirs at once, and none on the
/// strength of its head alone.
const fn room_for(found: usize) -> usize {
    4 * found + (4 << 10)
}

/// Pieces taken from the connection at once; each is at most a packet, as a rule.
const CHUNKS: usize = 32;
/// A larger frame is joined once all of it is there.
const SMALL: usize = 64 << 10;
/// An empty buffer larger than this is given back while nothing comes.
const IDLE_CAPACITY: usize = 4 << 10;
