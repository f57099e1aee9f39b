//! From streams to the inbox.

use std::sync::Arc;

use gossip_api::message::{Class, CloseReason};
use gossip_api::{SignedMessage, WireError};
use quinn::RecvStream;
use tokio::sync::OwnedSemaphorePermit;

use super::Shared;
use super::frame::{FrameReader, Header, ReadFailure, open};
use super::inbox::Queued;
use super::link::Link;
use super::quota::Bucket;
use crate::comm::Event;

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
    shared.inbox.push_all([Queued::message(event, occupies)]);
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
    shared.metrics.received(header.class);
    Ok((message, room))
}

/// Reads control messages and membership pages until the other side ends the stream.
async fn control(
    shared: &Arc<Shared>,
    link: &Arc<Link>,
    reader: &mut FrameReader,
) -> Result<(), ReadFailure> {
    reader.wait_for_ever();
    let mut quota = Bucket::new(&shared.config.quota, shared.clock.mono());
    let mut events = Vec::new();
    while let Some(header) = reader.header().await? {
        if header.class == Class::Block {
            return Err(WireError::Misplaced("a block on the control stream").into());
        }
        let mut next = Some(header);
        // Frames that have arrived together go up together.
        while let Some(header) = next {
            let cost = header.length + EVENT_COST;
            let room = match link.small_in.try_occupy(cost) {
                Some(room) => room,
                None => {
                    // What is waited for may be held by what has not been handed up yet.
                    shared.inbox.push_all(events.drain(..));
                    let room = link.small_in.occupy(cost, &shared.cancel).await;
                    room.ok_or(ReadFailure::Stopping)?
                }
            };
            let message = open(&reader.frame(header).await?)?;
            shared.metrics.received(header.class);
            let event = Event::Received { from: link.greeting.peer, message };
            events.push(Queued::message(event, room));
            let pause = quota.take(header.length, shared.clock.mono());
            if !pause.is_zero() {
                shared.inbox.push_all(events.drain(..));
                shared.offence(link, "over_quota", &"sends faster than it may");
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = link.gone.cancelled() => {}
                    () = shared.cancel.cancelled() => return Err(ReadFailure::Stopping),
                }
            }
            next = reader.peek()?.filter(|next| next.class != Class::Block && reader.holds(*next));
        }
        shared.inbox.push_all(events.drain(..));
    }
    shared.other_done(link);
    Ok(())
}

/// What a queued message costs beside its bytes.
const EVENT_COST: usize = 256;
