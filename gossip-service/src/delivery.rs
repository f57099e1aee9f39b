//! Taking blocks from a channel's source, for as long as we are meant to.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use gossip_api::{BlockSource, BlockStream, ChannelId, SeqNum, SourceError};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::driver::Note;
use crate::peer::Input;

/// One channel's running delivery.
#[derive(Debug)]
pub(crate) struct Delivery {
    cancel: CancellationToken,
    /// What the channel can take: the next block it misses, and whether there is room for it.
    pub(crate) demand: watch::Sender<Demand>,
}

/// What a channel can take of its source now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Demand {
    /// The block that is missing first.
    pub(crate) next: SeqNum,
    /// Whether more fits into its buffer.
    pub(crate) room: bool,
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
        let (demand, demands) = watch::channel(Demand { next: from, room: true });
        let loop_cancel = cancel.clone();
        let work = async move {
            let work = run(channel, source, demands, inputs);
            loop_cancel.run_until_cancelled(work).await;
        };
        (Self { cancel, demand }, Box::pin(work))
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
    loop {
        let from = demands.borrow().next;
        let outcome = match source.blocks(&channel, from).await {
            Ok(stream) => read(&channel, stream, from, &mut demands, &inputs).await,
            Err(error) => Err(error),
        };
        let delivered = demands.borrow().next > from;
        match outcome {
            Ok(()) => return,
            Err(error) if !failing || delivered => {
                warn!(%channel, source = source.name(), %error, "block source failed, trying again");
                failing = true;
            }
            Err(_) => {}
        }
        wait = if delivered { RETRY_MIN } else { (wait * 2).min(RETRY_MAX) };
        tokio::time::sleep(wait).await;
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
    loop {
        if demands.wait_for(|demand| demand.room).await.is_err() {
            return Ok(());
        }
        let Some(block) = stream.next().await else {
            return Err(SourceError::Unavailable {
                name: channel.to_string(),
                reason: "the stream ended".into(),
                retry_after: None,
            });
        };
        let input = Input::FromSource { channel: channel.clone(), block: block? };
        if inputs.send(Note::Input(input)).await.is_err() {
            return Ok(());
        }
    }
}

/// First wait after a failure.
const RETRY_MIN: Duration = Duration::from_millis(100);

/// Longest wait after failures. Fabric backs off to an hour; a minute is soon enough to notice a return.
const RETRY_MAX: Duration = Duration::from_secs(60);
