//! From the outbox to streams.

use std::sync::Arc;

use gossip_api::Envelope;
use gossip_api::message::CloseReason;
use quinn::{SendStream, WriteError};
use tokio::sync::OwnedSemaphorePermit;
use tracing::debug;

use super::Shared;
use super::frame::write;
use super::link::Link;
use super::outbox::Batch;
use crate::duplicate::Mode;
use crate::transport::{BATCH_BYTES, CONTROL_PRIORITY, GIVEN_UP};

/// Sends control messages and membership pages over one stream for as long as the link lives.
pub(super) async fn control(shared: Arc<Shared>, link: Arc<Link>) {
    let Ok(mut stream) = link.connection.open_uni().await else { return };
    // Fails only on a closed stream, which the first write reports.
    let _ = stream.set_priority(CONTROL_PRIORITY);
    if let Err(error) = pump(&shared, &link, &mut stream).await {
        return debug!(peer = %link.greeting.peer, %error, "control stream ended");
    }
    if link.mode() == Mode::Retired {
        retire(&link, &mut stream).await;
    }
}

/// Sends batches while the link is active; ends when it is retired or gone.
async fn pump(shared: &Shared, link: &Link, stream: &mut SendStream) -> Result<(), WriteError> {
    let mut mode = link.watch_mode();
    loop {
        let now = *mode.borrow_and_update();
        if now == Mode::Retired {
            // The notice of a message may have come to us instead of to the link that stays.
            link.outbox.nudge();
            return Ok(());
        }
        let batch = (now == Mode::Active).then(|| link.outbox.take_small(BATCH_BYTES)).flatten();
        if let Some(Batch { bytes, frames }) = batch {
            let sent = stream.write_chunk(bytes).await;
            match &sent {
                Ok(()) => shared.metrics.sent.inc_by(frames as u64),
                Err(_) => shared.metrics.drop_messages("lost", frames),
            }
            sent?;
            continue;
        }
        tokio::select! {
            () = link.outbox.small.notified(), if now == Mode::Active => {}
            _ = mode.changed() => link.outbox.nudge(),
            () = link.gone.cancelled() => return Ok(()),
        }
    }
}

/// Ends in good order: all that was sent has arrived, and all that the other side sent was read.
async fn retire(link: &Link, stream: &mut SendStream) {
    link.work.close();
    link.work.wait().await;
    // An error means that the connection is gone, as it should soon be anyway.
    let _ = stream.finish();
    let _ = stream.stopped().await;
    tokio::select! {
        () = link.other_done.cancelled() => link.close(CloseReason::Duplicate),
        () = link.gone.cancelled() => {}
    }
}

/// Sends blocks, each over a stream of its own, a bounded number of bytes at once.
pub(super) async fn blocks(shared: Arc<Shared>, link: Arc<Link>) {
    let mut mode = link.watch_mode();
    loop {
        let now = *mode.borrow_and_update();
        if now == Mode::Retired {
            return link.outbox.nudge();
        }
        let next = link.outbox.next_block_len().filter(|_| now == Mode::Active);
        let Some(len) = next else {
            tokio::select! {
                () = link.outbox.block.notified(), if now == Mode::Active => {}
                _ = mode.changed() => link.outbox.nudge(),
                () = link.gone.cancelled() => return,
            }
            continue;
        };
        tokio::select! {
            begun = begin_block(&link, len) => {
                let Some((stream, room)) = begun else { return };
                dispatch(&shared, &link, stream, room);
            }
            _ = mode.changed() => {}
            () = link.gone.cancelled() => return,
        }
    }
}

/// Waits for room and for the other side's leave to open a stream.
async fn begin_block(link: &Link, len: usize) -> Option<(SendStream, OwnedSemaphorePermit)> {
    let permits = u32::try_from(len).unwrap_or(u32::MAX).min(link.block_room_max);
    let room = Arc::clone(&link.block_room).acquire_many_owned(permits).await.ok()?;
    let stream = link.connection.open_uni().await.ok()?;
    Some((stream, room))
}

fn dispatch(
    shared: &Arc<Shared>,
    link: &Arc<Link>,
    mut stream: SendStream,
    room: OwnedSemaphorePermit,
) {
    let block = link.outbox.take_block();
    let fits = |block: &Envelope| block.encoded_len() <= link.greeting.block_frame_max;
    match block {
        Some(block) if fits(&block) => {
            let sending = send_block(Arc::clone(shared), Arc::clone(link), stream, block, room);
            link.spawn_work(shared, sending);
        }
        other => {
            shared.metrics.drop_messages("too_large", usize::from(other.is_some()));
            // Nothing was written, so the other side never hears of the stream but for this.
            let _ = stream.reset(GIVEN_UP.into());
        }
    }
}

/// Sends one block and waits until it has arrived.
async fn send_block(
    shared: Arc<Shared>,
    link: Arc<Link>,
    mut stream: SendStream,
    block: Envelope,
    room: OwnedSemaphorePermit,
) {
    let sending = async {
        write(&mut stream, &block).await.ok()?;
        stream.finish().ok()?;
        stream.stopped().await.ok()
    };
    let patience = shared.config.streams.patience.saturating_mul(SENDING_PATIENCES);
    let sent = tokio::time::timeout(patience, sending).await;
    drop(room);
    match sent {
        Ok(Some(None)) => shared.metrics.sent.inc(),
        Ok(Some(Some(_stopped))) => shared.metrics.drop_messages("stopped", 1),
        Ok(None) if link.mode() == Mode::Retired => link.outbox.return_block(block),
        Ok(None) => shared.metrics.drop_messages("lost", 1),
        Err(_) => {
            shared.metrics.drop_messages("stalled", 1);
            let _ = stream.reset(GIVEN_UP.into());
        }
    }
}

/// Questions are small and somebody waits for them.
pub(super) const REQUEST_PRIORITY: i32 = 1;
/// Answers are old blocks: new ones, at 0, go before them.
pub(super) const ANSWER_PRIORITY: i32 = -1;
/// A block may take this many times the patience that the other side has with a still stream.
const SENDING_PATIENCES: u32 = 6;
