//! One stream: seek requests in, blocks and statuses out, no faster than the client takes them.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use prost::Message as _;
use tokio::sync::OwnedSemaphorePermit;
use tonic::Status as GrpcStatus;
use tracing::{info, warn};

use super::access::{Refusal, Seek, refuse};
use super::chain::without_data;
use super::{Deliver, Metrics};
use crate::fabric::shapes::{DeliverResponse, Reply, Status};
use crate::grpc::server::{Caller, Replies};

/// Nothing is read ahead: the next block is looked up when the client has room for it.
struct Session<R> {
    deliver: Arc<Deliver>,
    caller: Caller,
    requests: R,
    serving: Option<Seek>,
    /// By when the first request has to come; nothing once it has.
    first_by: Option<Instant>,
    ended: bool,
    _open: Open,
}

/// Counted, and one of so many.
struct Open {
    metrics: Metrics,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.metrics.streams.dec();
    }
}

pub(super) fn run<R>(deliver: Arc<Deliver>, caller: Caller, requests: R) -> Replies
where
    R: Stream<Item = Result<Bytes, GrpcStatus>> + Send + Unpin + 'static,
{
    let permit = Arc::clone(&deliver.readers).try_acquire_owned().ok();
    let is_full = permit.is_none();
    deliver.metrics.streams.inc();
    let open = Open { metrics: deliver.metrics.clone(), _permit: permit };
    let session = Session {
        first_by: Some(Instant::now() + deliver.first_seek_within),
        deliver,
        caller,
        requests,
        serving: None,
        ended: false,
        _open: open,
    };
    if is_full {
        let full = GrpcStatus::resource_exhausted("too many Deliver streams are open here");
        return Box::pin(stream::iter([Err(full)]));
    }
    Box::pin(stream::unfold(session, |mut session| async move {
        if session.ended {
            return None;
        }
        let stopping = session.deliver.stopping().clone();
        let reply = match stopping.run_until_cancelled(session.next()).await {
            Some(reply) => reply?,
            None => Ok(session.end(&refuse(Status::ServiceUnavailable, "the server stops"))),
        };
        Some((reply, session))
    }))
}

impl<R> Session<R>
where
    R: Stream<Item = Result<Bytes, GrpcStatus>> + Send + Unpin + 'static,
{
    async fn next(&mut self) -> Option<Result<Bytes, GrpcStatus>> {
        loop {
            let Some(seek) = &mut self.serving else {
                match self.request().await {
                    None | Some(Err(_)) => return None,
                    Some(Ok(bytes)) => match self.deliver.grant(&self.caller, &bytes) {
                        Ok(seek) => self.serving = Some(seek),
                        Err(refusal) => return Some(Ok(self.end(&refusal))),
                    },
                }
                continue;
            };
            if seek.next > seek.stop {
                self.serving = None;
                return Some(Ok(status(Status::Success)));
            }
            return Some(Ok(match advance(&self.deliver, seek).await {
                Ok(block) => block,
                Err(refusal) => self.end(&refusal),
            }));
        }
    }

    /// The next request. The first one may not be long in coming; after it a client may rest.
    async fn request(&mut self) -> Option<Result<Bytes, GrpcStatus>> {
        match self.first_by.take() {
            Some(by) => tokio::time::timeout_at(by.into(), self.requests.next()).await.ok()?,
            None => self.requests.next().await,
        }
    }

    fn end(&mut self, refusal: &Refusal) -> Bytes {
        self.ended = true;
        let Refusal { status: code, reason } = refusal;
        let caller = &self.caller.address;
        if *code == Status::InternalServerError {
            warn!(%caller, %reason, "a Deliver stream ends");
        } else {
            info!(%caller, status = code.code(), %reason, "a Deliver client is refused");
        }
        status(*code)
    }
}

/// The next block, as soon as it is there and as long as the client may have it.
async fn advance(deliver: &Deliver, seek: &mut Seek) -> Result<Bytes, Refusal> {
    loop {
        deliver.recheck(seek)?;
        if *seek.reader.height.borrow_and_update() > seek.next {
            break;
        }
        if !seek.wait {
            let reason = format!("block {} is not there", seek.next);
            return Err(refuse(Status::NotFound, reason));
        }
        let within = seek.expires_in();
        match tokio::time::timeout(within, seek.reader.height.changed()).await {
            Ok(Ok(())) | Err(_) => {}
            Ok(Err(_)) => return Err(refuse(Status::NotFound, "the channel was left")),
        }
    }
    let internal = |reason: String| refuse(Status::InternalServerError, reason);
    let block = seek.reader.block(seek.next).await.map_err(|error| internal(error.to_string()))?;
    let block = block.ok_or_else(|| internal(format!("block {} is gone", seek.next)))?;
    // The block may have been waited for, and the right to it lost meanwhile.
    deliver.recheck(seek)?;
    let block = match seek.headers_only {
        true => without_data(&block).ok_or_else(|| internal("a block does not decode".into()))?,
        false => block,
    };
    seek.next = seek.next.saturating_add(1);
    seek.reader.sent.inc();
    Ok(block)
}

pub(super) fn status(status: Status) -> Bytes {
    DeliverResponse { reply: Some(Reply::Status(status.code())) }.encode_to_vec().into()
}
