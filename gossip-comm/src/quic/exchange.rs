//! Questions and streamed answers, each on a bidirectional stream of its own.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use gossip_api::message::{Class, CloseReason};
use gossip_api::{Envelope, SignedMessage, WireError};
use quinn::{RecvStream, SendStream};
use tokio::sync::{Notify, OwnedSemaphorePermit};

use super::Shared;
use super::frame::{FrameReader, ReadFailure, open, write};
use super::link::Link;
use super::reader::{block_frame, failed};
use super::writer::{ANSWER_PRIORITY, REQUEST_PRIORITY};
use crate::comm::{Event, RequestId, ResponseOutcome};
use crate::metrics::Received;
use crate::transport::{GIVEN_UP, REFUSED};

/// A question of ours.
#[derive(Clone, Debug)]
pub(super) struct Question {
    pub(super) id: RequestId,
    pub(super) envelope: Envelope,
    pub(super) patience: Duration,
}

/// Asks over a link and hands up the answer as it comes.
pub(super) async fn ask(shared: Arc<Shared>, link: Arc<Link>, question: Question) {
    let outcome = match converse(&shared, &link, &question).await {
        Ok(()) => ResponseOutcome::Complete,
        Err(ReadFailure::Stalled) => ResponseOutcome::TimedOut,
        Err(ReadFailure::Reset(code)) if code == u64::from(REFUSED) => ResponseOutcome::Refused,
        Err(ReadFailure::Malformed(error)) => {
            shared.offence(&link, "malformed", &error);
            link.close(CloseReason::Malformed);
            ResponseOutcome::Broken
        }
        Err(ReadFailure::Lost | ReadFailure::Reset(_) | ReadFailure::Stopping) => {
            ResponseOutcome::Broken
        }
    };
    shared.end_request(question.id, outcome);
}

async fn converse(shared: &Shared, link: &Link, question: &Question) -> Result<(), ReadFailure> {
    let asking = async {
        let (mut send, recv) = link.connection.open_bi().await.ok()?;
        send.set_priority(REQUEST_PRIORITY).ok()?;
        write(&mut send, &question.envelope).await.ok()?;
        send.finish().ok()?;
        Some(recv)
    };
    let asked = tokio::time::timeout(question.patience, asking).await;
    let recv = asked.map_err(|_| ReadFailure::Stalled)?.ok_or(ReadFailure::Lost)?;
    shared.metrics.sent.inc();
    let mut reader = FrameReader::new(recv, Some(question.patience));
    let heard = listen(shared, link, question.id, &mut reader).await;
    if heard.is_err() {
        reader.stop();
    }
    heard
}

async fn listen(
    shared: &Shared,
    link: &Link,
    id: RequestId,
    reader: &mut FrameReader,
) -> Result<(), ReadFailure> {
    while let Some(header) = reader.header().await? {
        let (message, occupies) = block_frame(shared, link, reader, header).await?;
        let event = Event::Response { from: link.greeting.peer, id, message };
        shared.inbox.push_message(event, occupies);
    }
    Ok(())
}

/// Takes in a question of the other side and writes the answer that the layer above gives.
pub(super) async fn serve(
    shared: Arc<Shared>,
    link: Arc<Link>,
    mut send: SendStream,
    recv: RecvStream,
) {
    let mut reader = FrameReader::new(recv, Some(shared.config.streams.patience));
    match question(&shared, &link, &mut reader).await {
        Ok((message, occupies)) => {
            let answer = Arc::new(Answer::new(shared.config.outbox.answer_bytes));
            let id = shared.begin_answer(Arc::clone(&answer));
            let event = Event::Request { from: link.greeting.peer, id, message };
            shared.inbox.push_message(event, occupies);
            let code = speak(&shared, &link, &answer, &mut send).await.err();
            shared.end_answer(id);
            if let Some(code) = code {
                // Fails only if the stream has ended, which serves as well.
                let _ = send.reset(code.into());
            }
        }
        Err(failure) => {
            failed(&shared, &link, &mut reader, &failure);
            let _ = send.reset(GIVEN_UP.into());
        }
    }
}

async fn question(
    shared: &Shared,
    link: &Link,
    reader: &mut FrameReader,
) -> Result<(SignedMessage, OwnedSemaphorePermit), ReadFailure> {
    let header = reader.header().await?;
    let header = header.ok_or(WireError::Truncated { needed: 1, found: 0 })?;
    let question = if header.class == Class::Block {
        block_frame(shared, link, reader, header).await?
    } else {
        let room = link.small_in.occupy(header.length, &shared.cancel).await;
        let room = room.ok_or(ReadFailure::Stopping)?;
        let message = open(&reader.frame(header).await?)?;
        shared.metrics.received(&Received::one(header.class));
        (message, room)
    };
    reader.end().await?;
    Ok(question)
}

/// Writes an answer to its end; fails with the code to reset the stream with.
async fn speak(
    shared: &Shared,
    link: &Link,
    answer: &Answer,
    send: &mut SendStream,
) -> Result<(), u32> {
    send.set_priority(ANSWER_PRIORITY).map_err(|_| GIVEN_UP)?;
    let patience = shared.config.streams.patience;
    let asker_gone = send.stopped();
    tokio::pin!(asker_gone);
    loop {
        let next = tokio::select! {
            next = answer.next() => next,
            () = tokio::time::sleep(patience) => Next::Broken,
            _ = &mut asker_gone => return Err(GIVEN_UP),
            () = link.gone.cancelled() => return Err(GIVEN_UP),
        };
        match next {
            Next::Part(part) => {
                let writing = tokio::time::timeout(patience * 6, write(send, &part)).await;
                writing.map_err(|_| GIVEN_UP)?.map_err(|_| GIVEN_UP)?;
                shared.metrics.sent.inc();
            }
            Next::End => return send.finish().map_err(|_| GIVEN_UP),
            Next::Broken => return Err(REFUSED),
        }
    }
}

/// What waits to be sent of one answer.
#[derive(Debug)]
pub(super) struct Answer {
    state: Mutex<AnswerState>,
    ready: Notify,
    bytes_max: usize,
}

#[derive(Debug, Default)]
struct AnswerState {
    parts: VecDeque<Envelope>,
    bytes: usize,
    ended: bool,
    broken: bool,
}

enum Next {
    Part(Envelope),
    End,
    Broken,
}

impl Answer {
    fn new(bytes_max: usize) -> Self {
        Self { state: Mutex::default(), ready: Notify::new(), bytes_max }
    }

    /// Adds a part. One that does not fit breaks the answer off, since an answer with a hole would look
    /// complete; returns false then.
    pub(super) fn push(&self, part: Envelope) -> bool {
        let mut state = self.lock();
        let len = part.encoded_len();
        let fits = state.parts.is_empty() || state.bytes + len <= self.bytes_max;
        if fits && !state.broken {
            state.bytes += len;
            state.parts.push_back(part);
        } else {
            *state = AnswerState { broken: true, ..AnswerState::default() };
        }
        drop(state);
        self.ready.notify_one();
        fits
    }

    /// Nothing more comes.
    pub(super) fn end(&self) {
        self.lock().ended = true;
        self.ready.notify_one();
    }

    async fn next(&self) -> Next {
        loop {
            let ready = self.ready.notified();
            {
                let mut state = self.lock();
                if state.broken {
                    return Next::Broken;
                }
                if let Some(part) = state.parts.pop_front() {
                    state.bytes = state.bytes.saturating_sub(part.encoded_len());
                    return Next::Part(part);
                }
                if state.ended {
                    return Next::End;
                }
            }
            ready.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, AnswerState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
