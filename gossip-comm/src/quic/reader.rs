//! From streams to the inbox.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use gossip_api::message::{Class, CloseReason};
use gossip_api::{Envelope, SignedMessage, WireError};
use quinn::RecvStream;
use tokio::sync::OwnedSemaphorePermit;

use super::Shared;
use super::frame::{FrameReader, ReadFailure, open};
use super::link::Link;
use super::quota::{Pressure, price};
use crate::comm::Event;
use crate::framing::{Header, peek};
use crate::metrics::Received;

/// Reads one unidirectional stream of the other side to its end.
///
/// Its first frame tells what it is: a block, alone, or the one control stream. One that ends without a
/// frame is the control stream of a link that never sent a message.
pub(super) async fn stream(shared: Arc<Shared>, link: Arc<Link>, stream: RecvStream) {
    let mut reader = FrameReader::new(stream, Some(shared.config.streams.patience));
    let read = read(&shared, &link, &mut reader).await;
    if let Err(failure) = read {
        failed(&shared, &link, &mut reader, &failure);
    }
}

/// Deals with a stream that was not read to its end.
pub(super) fn failed(
    shared: &Shared,
    link: &Link,
    reader: &mut FrameReader,
    failure: &ReadFailure,
) {
    match failure {
        ReadFailure::Lost | ReadFailure::Reset(_) | ReadFailure::Stopping => {}
        ReadFailure::Stalled => {
            shared.offence(link, "stalled", failure);
            reader.stop();
        }
        ReadFailure::Malformed(_) => {
            shared.offence(link, "malformed", failure);
            link.close(CloseReason::Malformed);
        }
    }
}

async fn read(
    shared: &Arc<Shared>,
    link: &Arc<Link>,
    reader: &mut FrameReader,
) -> Result<(), ReadFailure> {
    match reader.header().await? {
        Some(header) if header.class == Class::Block => block(shared, link, reader, header).await,
        Some(_) if link.begin_control() => control(shared, link, reader).await,
        Some(_) => Err(WireError::Misplaced("a second control stream").into()),
        None => {
            if link.begin_control() {
                shared.other_done(link);
            }
            Ok(())
        }
    }
}

async fn block(
    shared: &Shared,
    link: &Link,
    reader: &mut FrameReader,
    header: Header,
) -> Result<(), ReadFailure> {
    let (message, occupies) = block_frame(shared, link, reader, header).await?;
    reader.end().await?;
    let event = Event::Received { from: link.greeting.peer, message };
    shared.inbox.push_message(event, occupies);
    Ok(())
}

/// Reads one frame of any class that may carry a block, after making room for it.
pub(super) async fn block_frame(
    shared: &Shared,
    link: &Link,
    reader: &mut FrameReader,
    header: Header,
) -> Result<(SignedMessage, OwnedSemaphorePermit), ReadFailure> {
    let max = shared.config.streams.block_frame_max;
    if header.length > max {
        return Err(WireError::TooLarge { found: header.length, max }.into());
    }
    let room = link.block_in.occupy(header.length, &shared.cancel).await;
    let room = room.ok_or(ReadFailure::Stopping)?;
    let message = open(&reader.frame(header).await?)?;
    shared.metrics.received(&Received::one(header.class));
    Ok((message, room))
}

/// Reads control messages and membership pages until the other side ends the stream.
async fn control(
    shared: &Arc<Shared>,
    link: &Arc<Link>,
    reader: &mut FrameReader,
) -> Result<(), ReadFailure> {
    reader.wait_for_ever();
    while let Some(header) = reader.header().await? {
        if header.class == Class::Block {
            return Err(WireError::Misplaced("a block on the control stream").into());
        }
        // Frames that have arrived together go up together.
        let batch = reader.batch(header).await?;
        let units = if link.is_over_quota(shared.clock.mono()) {
            shed(shared, link, batch)?
        } else {
            let (messages, cost, units) = open_batch(shared, batch)?;
            let room = link.small_in.occupy(cost, &shared.cancel).await;
            let room = room.ok_or(ReadFailure::Stopping)?;
            shared.inbox.push_batch(link.greeting.peer, messages, room);
            units
        };
        match link.charge(units, shared.clock.mono()) {
            Pressure::None => {}
            Pressure::Pause(pause) => {
                shared.offence(link, "over_quota", &"sends faster than it may");
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = link.gone.cancelled() => {}
                    () = shared.cancel.cancelled() => return Err(ReadFailure::Stopping),
                }
            }
            Pressure::Close => {
                shared.ban(link);
                return Err(ReadFailure::Lost);
            }
        }
    }
    shared.other_done(link);
    Ok(())
}

/// Hands up datagrams until the connection ends. One that does not fit is dropped: it would be late anyhow.
pub(super) async fn datagrams(shared: Arc<Shared>, link: Arc<Link>) {
    while let Ok(frame) = link.connection.read_datagram().await {
        let now = shared.clock.mono();
        let over = link.is_over_quota(now);
        if link.charge(price(frame.len()), now) == Pressure::Close {
            return shared.ban(&link);
        }
        if over {
            shared.metrics.drop_messages("shed", 1);
            continue;
        }
        let Some(room) = link.small_in.try_occupy(frame.len() + EVENT_COST) else {
            shared.metrics.drop_messages("inbox_full", 1);
            continue;
        };
        // A copy, because the packet's buffer may be shared with many.
        match open_datagram(Bytes::copy_from_slice(&frame)) {
            Ok(message) => {
                shared.metrics.received(&Received::one(Class::Control));
                let event = Event::Received { from: link.greeting.peer, message };
                shared.inbox.push_message(event, room);
            }
            Err(error) => {
                shared.offence(&link, "malformed", &error);
                return link.close(CloseReason::Malformed);
            }
        }
    }
}

fn open_datagram(mut frame: Bytes) -> Result<SignedMessage, WireError> {
    let message = Envelope::take(&mut frame)?.open()?;
    if !frame.is_empty() {
        return Err(WireError::Trailing(frame.len()));
    }
    if !message.message.kind().rides_datagrams() {
        return Err(WireError::Misplaced("a datagram of a kind that belongs on a stream"));
    }
    Ok(message)
}

/// Drops a batch unread; returns what it cost.
fn shed(shared: &Shared, link: &Link, mut batch: Bytes) -> Result<u64, ReadFailure> {
    let (mut frames, mut units) = (0, 0);
    while let Some(header) = peek(&batch)? {
        let len = header.frame_len();
        batch.advance(len.min(batch.len()));
        frames += 1;
        units += price(len);
    }
    shared.metrics.drop_messages("shed", frames);
    shared.offence(link, "shed", &"sends faster than it may");
    Ok(units)
}

/// Reads the messages of a batch; says what they occupy, and what they cost of the quota.
fn open_batch(
    shared: &Shared,
    mut batch: Bytes,
) -> Result<(VecDeque<SignedMessage>, usize, u64), ReadFailure> {
    let mut messages = VecDeque::with_capacity(batch.len() / FRAME_LEN_GUESS + 1);
    let (mut cost, mut units) = (batch.len(), 0);
    let mut received = Received::default();
    while !batch.is_empty() {
        let before = batch.len();
        let envelope = Envelope::take(&mut batch)?;
        received.count(envelope.class());
        messages.push_back(envelope.open()?);
        units += price(before - batch.len());
        cost += EVENT_COST;
    }
    shared.metrics.received(&received);
    Ok((messages, cost, units))
}

/// What a queued message costs beside its bytes.
const EVENT_COST: usize = 256;
/// Length of a small frame, for the first guess of how many there are.
const FRAME_LEN_GUESS: usize = 128;
