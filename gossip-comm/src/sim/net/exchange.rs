//! Questions with a stream to answer them on.

use std::time::Duration;

use gossip_api::{Envelope, Mono, RemotePeer, SignedMessage};

use super::outbox::Waiting;
use super::transit::Cargo;
use super::{DropCause, Net, NetTask, What, connect};
use crate::comm::{Event, InboundId, RequestId, ResponseOutcome};

/// A question on its way to be asked.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) id: RequestId,
    message: SignedMessage,
    patience: Duration,
}

impl Question {
    pub(super) const fn ended(&self, outcome: ResponseOutcome) -> Event {
        Event::ResponseEnd { id: self.id, outcome }
    }
}

/// A question that we asked.
#[derive(Debug)]
pub(super) struct Asked {
    id: RequestId,
    whom: usize,
    patience: Duration,
    give_up: Mono,
}

/// A question that we were asked.
#[derive(Debug)]
pub(super) struct Answering {
    asker: usize,
    conn: u64,
    exchange: u64,
    /// When the last part arrives: parts keep their order.
    last: Mono,
    /// Parts that QUIC has not taken over yet.
    waiting: Waiting,
}

impl Net {
    pub(super) fn request(
        &mut self,
        now: Mono,
        from: usize,
        to: RemotePeer,
        id: RequestId,
        envelope: Envelope,
        patience: Duration,
    ) {
        debug_assert!(!self.end(from).exchanges.contains_key(&id), "{id:?} is in use");
        let broken = Event::ResponseEnd { id, outcome: ResponseOutcome::Broken };
        let Some(message) = self.open(envelope) else {
            self.notify(now, from, broken);
            return;
        };
        let question = Question { id, message, patience };
        match (self.neighbour(from, &to.pki_id), to.endpoint) {
            (Some(other), _) => self.ask(now, from, other, question),
            (None, Some(endpoint)) => {
                let waiting = connect::Waiting::Question(question);
                self.dial(now, from, endpoint, Some(to.pki_id), Some(waiting));
            }
            (None, None) => {
                self.drop_one(DropCause::NoConnection);
                self.notify(now, from, broken);
            }
        }
    }

    /// Asks over the connection that there is.
    pub(super) fn ask(&mut self, now: Mono, from: usize, to: usize, question: Question) {
        let Question { id, message, patience } = question;
        let exchange = self.next_serial();
        let give_up = now.after(patience);
        let end = self.end_mut(from);
        end.asked.insert(exchange, Asked { id, whom: to, patience, give_up });
        end.exchanges.insert(id, exchange);
        self.later.push((give_up, NetTask::Patience { at: from, exchange }));
        self.ship(now, from, to, Cargo::Question { exchange, message }, Mono::ZERO);
    }

    /// A question has arrived; returns the name under which it is answered.
    pub(super) fn asked_by(
        &mut self,
        at: usize,
        asker: usize,
        conn: u64,
        exchange: u64,
    ) -> InboundId {
        let id = InboundId(exchange);
        let answering =
            Answering { asker, conn, exchange, last: Mono::ZERO, waiting: Waiting::default() };
        self.end_mut(at).answering.insert(id, answering);
        id
    }

    pub(super) fn respond(&mut self, now: Mono, from: usize, to: InboundId, envelope: Envelope) {
        let Some(message) = self.open(envelope) else { return };
        let Some((asker, exchange, last)) = self.answering(from, to) else {
            self.drop_one(DropCause::ExchangeOver);
            return;
        };
        let Some(id) = self.end(asker).asked.get(&exchange).map(|asked| asked.id) else {
            self.drop_one(DropCause::ExchangeOver);
            return;
        };
        let len = message.envelope.encoded_len();
        let answer_max = self.bounds.answer_bytes;
        let answering = self.end_mut(from).answering.get_mut(&to);
        if !answering.is_some_and(|answering| answering.waiting.fits(now, len, answer_max)) {
            return self.break_off(now, from, to);
        }
        let part = Cargo::Part { exchange, id, message };
        let shipped = self.ship(now, from, asker, part, last);
        if let Some(answering) = self.end_mut(from).answering.get_mut(&to) {
            answering.last = answering.last.max(shipped.arrives);
            if shipped.until > now.as_nanos() {
                answering.waiting.push(shipped.until, len, 0);
            }
        }
    }

    /// An answer with a hole would look complete, so one that does not fit is none.
    fn break_off(&mut self, now: Mono, from: usize, to: InboundId) {
        self.drop_one(DropCause::OutboxFull);
        if let Some(answering) = self.end_mut(from).answering.remove(&to) {
            let Answering { asker, exchange, .. } = answering;
            let outcome = ResponseOutcome::Refused;
            self.ship(now, from, asker, Cargo::End { exchange, outcome }, Mono::ZERO);
        }
    }

    pub(super) fn end_response(&mut self, now: Mono, from: usize, to: InboundId) {
        if let Some((asker, exchange, last)) = self.answering(from, to) {
            let outcome = ResponseOutcome::Complete;
            self.ship(now, from, asker, Cargo::End { exchange, outcome }, last);
            self.end_mut(from).answering.remove(&to);
        }
    }

    /// Asker, exchange and arrival of the last part, while the connection is the one it came over.
    fn answering(&self, at: usize, id: InboundId) -> Option<(usize, u64, Mono)> {
        let end = self.end(at);
        let answering = end.answering.get(&id)?;
        let half = end.halves.get(&answering.asker)?;
        (half.conn == answering.conn).then_some((
            answering.asker,
            answering.exchange,
            answering.last,
        ))
    }

    /// A part has arrived; false if nobody waits for it any more.
    pub(super) fn renew_patience(&mut self, now: Mono, at: usize, exchange: u64) -> bool {
        let Some(asked) = self.end_mut(at).asked.get_mut(&exchange) else { return false };
        asked.give_up = now.after(asked.patience);
        true
    }

    pub(super) fn out_of_patience(
        &mut self,
        now: Mono,
        at: usize,
        exchange: u64,
    ) -> Option<(usize, Event)> {
        let give_up = self.end(at).asked.get(&exchange)?.give_up;
        if give_up > now {
            self.later.push((give_up, NetTask::Patience { at, exchange }));
            return None;
        }
        let event = self.response_over(now, at, exchange, ResponseOutcome::TimedOut)?;
        Some((at, event))
    }

    /// Ends an exchange that we began; nothing if it was over.
    pub(super) fn response_over(
        &mut self,
        now: Mono,
        at: usize,
        exchange: u64,
        outcome: ResponseOutcome,
    ) -> Option<Event> {
        let asked = self.end_mut(at).asked.remove(&exchange)?;
        self.end_mut(at).exchanges.remove(&asked.id);
        self.record(now, asked.whom, at, What::ResponseEnd, 0);
        Some(Event::ResponseEnd { id: asked.id, outcome })
    }

    /// The connection between the two is gone, and all exchanges over it.
    pub(super) fn break_exchanges(&mut self, now: Mono, at: usize, other: usize) {
        let end = self.end_mut(at);
        end.answering.retain(|_, answering| answering.asker != other);
        let broken: Vec<u64> = end
            .asked
            .iter()
            .filter(|(_, asked)| asked.whom == other)
            .map(|(exchange, _)| *exchange)
            .collect();
        for exchange in broken {
            let ended = self.response_over(now, at, exchange, ResponseOutcome::Broken);
            ended.into_iter().for_each(|event| self.notify(now, at, event));
        }
    }
}
