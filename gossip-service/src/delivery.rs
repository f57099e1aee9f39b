//! Taking blocks from a channel's source, for as long as we are meant to.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use gossip_api::{BlockError, BlockSource, BlockStream, ChannelId, SeqNum, SourceError};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::driver::Note;
use crate::peer::Input;

/// One channel's running delivery.
#[derive(Debug)]
pub(crate) struct Delivery {
    cancel: CancellationToken,
    demand: watch::Sender<Demand>,
}

/// What a channel can take of its source now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Demand {
    /// The block that is missing first.
    next: SeqNum,
    /// Whether more fits into its buffer.
    room: bool,
    /// How many of the source's blocks were refused; one more means that the stream has to begin again.
    refusals: u64,
}

impl Delivery {
    /// The delivery, and the work of it, to be spawned.
    pub(crate) fn start(
        channel: ChannelId,
        source: Arc<dyn BlockSource>,
        from: SeqNum,
        inputs: mpsc::Sender<Note>,
        parent: &CancellationToken,
    ) -> (Self, Pin<Box<dyn Future<Output = ()> + Send>>) {
        let cancel = parent.child_token();
        let (demand, demands) = watch::channel(Demand { next: from, room: true, refusals: 0 });
        let loop_cancel = cancel.clone();
        let work = async move {
            let work = run(channel, source, demands, inputs);
            loop_cancel.run_until_cancelled(work).await;
        };
        (Self { cancel, demand }, Box::pin(work))
    }
}

impl Delivery {
    /// Tells what the channel can take now.
    pub(crate) fn set_demand(&self, next: SeqNum, room: bool) {
        self.demand.send_if_modified(|held| {
            let demand = Demand { next, room, ..*held };
            let changed = *held != demand;
            *held = demand;
            changed
        });
    }

    /// A block of the source was refused: it is asked for again.
    pub(crate) fn refused(&self) {
        self.demand.send_modify(|held| held.refusals = held.refusals.wrapping_add(1));
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

/// Reads the source for ever: it is opened again after every failure, later and later, never given up.
async fn run(
    channel: ChannelId,
    source: Arc<dyn BlockSource>,
    mut demands: watch::Receiver<Demand>,
    inputs: mpsc::Sender<Note>,
) {
    let mut wait = RETRY_MIN;
    let mut failing = false;
    let mut failures = 0u32;
    loop {
        let from = demands.borrow().next;
        let outcome = match source.blocks(&channel, from).await {
            Ok(stream) => read(&channel, stream, from, &mut demands, &inputs).await,
            Err(error) => Err(error),
        };
        let delivered = demands.borrow().next > from;
        let asked_for = outcome.as_ref().err().and_then(SourceError::retry_after);
        match outcome {
            Ok(()) => return,
            Err(error) if !failing || delivered => {
                warn!(%channel, source = source.name(), %error, "block source failed, trying again");
                failing = true;
            }
            Err(_) => {}
        }
        failures = if delivered { 1 } else { failures.saturating_add(1) };
        if failures.is_multiple_of(YIELD_AFTER) {
            // The loop is gone only when everything stops.
            let _ = inputs.send(Note::Input(Input::SourceFailed(channel.clone()))).await;
        }
        wait = if delivered { RETRY_MIN } else { (wait * 2).min(RETRY_MAX) };
        tokio::time::sleep(asked_for.unwrap_or(wait)).await;
    }
}

/// Hands over what the stream gives, as far as there is room. Ends well only when nobody listens any more.
async fn read(
    channel: &ChannelId,
    mut stream: BlockStream,
    from: SeqNum,
    demands: &mut watch::Receiver<Demand>,
    inputs: &mpsc::Sender<Note>,
) -> Result<(), SourceError> {
    info!(%channel, %from, "taking blocks from the source");
    let refusals = demands.borrow().refusals;
    let mut expected = from;
    loop {
        let demand = demands.wait_for(|demand| demand.room || demand.refusals != refusals).await;
        let Ok(demand) = demand.map(|demand| *demand) else { return Ok(()) };
        if demand.refusals != refusals {
            return Err(broken(channel, "a block of it was refused"));
        }
        let block = tokio::select! {
            block = stream.next() => block.ok_or_else(|| broken(channel, "the stream ended"))??,
            changed = demands.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return Ok(()),
            },
        };
        if block.number != expected {
            let error = BlockError::NumberMismatch { claimed: expected, found: block.number };
            return Err(SourceError::BadBlock { name: channel.to_string(), error });
        }
        expected = expected.next();
        let input = Input::FromSource { channel: channel.clone(), block };
        if inputs.send(Note::Input(input)).await.is_err() {
            return Ok(());
        }
    }
}

fn broken(channel: &ChannelId, reason: &str) -> SourceError {
    SourceError::Unavailable {
        name: channel.to_string(),
        reason: reason.to_owned(),
        retry_after: None,
    }
}

/// First wait after a failure.
const RETRY_MIN: Duration = Duration::from_millis(100);

/// So many failures in a row make an elected leader give way: a second or two.
const YIELD_AFTER: u32 = 4;

/// Longest wait after failures. Fabric backs off to an hour; a minute is soon enough to notice a return.
const RETRY_MAX: Duration = Duration::from_secs(60);
