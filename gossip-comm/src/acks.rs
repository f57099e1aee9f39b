//! Sending with acknowledgement: to several peers, until enough of them have accepted.
//!
//! A machine over [`Command`] and [`Event`], so that it works over QUIC and in the simulation alike. Each
//! message is a question on a stream of its own, and its answer is one
//! [`Acknowledgement`]: a peer that is busy with something else delays nobody's.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use gossip_api::message::Acknowledgement;
use gossip_api::{Envelope, ErrorText, Message, Nonce, PkiId, RemotePeer};

use crate::comm::{Command, Event, InboundId, RequestId, ResponseOutcome};

/// Messages that wait to be acknowledged.
// fabric: gossip/comm/comm_impl.go SendWithAck
// fabric-differs: an acknowledgement is the answer on the message's own stream, so that no nonce has to match.
#[derive(Debug)]
pub struct AckedSends {
    /// Requests are named from here on.
    next: u64,
    rounds: BTreeMap<u64, Round>,
    questions: BTreeMap<RequestId, Question>,
    next_round: u64,
}

/// Names one message sent with acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AckId(u64);

/// What is sent, and how many have to accept it.
#[derive(Clone, Debug)]
pub struct AckedSend {
    /// To whom.
    pub to: Vec<RemotePeer>,
    /// What.
    pub envelope: Envelope,
    /// After so many have accepted, the others are not waited for. With 0, all are, unless one refuses.
    pub accepted_min: usize,
    /// How long each peer may take.
    pub patience: Duration,
}

/// What one peer said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AckOutcome {
    /// It accepts.
    Accepted,
    /// It does not, for this reason.
    Refused(ErrorText),
    /// It said nothing in time.
    TimedOut,
    /// It was not reached, or broke off, or answered something else.
    Broken,
}

/// What those said that were waited for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AckReport {
    /// In the order in which they were known.
    pub outcomes: Vec<(PkiId, AckOutcome)>,
}

#[derive(Debug)]
struct Round {
    report: AckReport,
    waiting: usize,
    accepted_min: usize,
}

#[derive(Debug)]
struct Question {
    round: u64,
    peer: PkiId,
    said: Option<AckOutcome>,
}

impl AckedSends {
    /// Names its requests from `first` on; nobody else may use those names.
    pub const fn new(first: RequestId) -> Self {
        let rounds = BTreeMap::new();
        Self { next: first.0, rounds, questions: BTreeMap::new(), next_round: 0 }
    }

    /// Sends; the report comes with [`receive`](Self::receive). One that waits for nobody comes at once.
    pub fn send(&mut self, what: AckedSend) -> (AckId, Vec<Command>, Option<AckReport>) {
        let round = self.next_round;
        self.next_round += 1;
        if what.to.is_empty() || self.questions.len() + what.to.len() > QUESTIONS_MAX {
            let peers: Vec<PkiId> = what.to.iter().map(|to| to.pki_id).collect();
            return (AckId(round), Vec::new(), Some(AckReport::broken(&peers)));
        }
        let AckedSend { to, envelope, accepted_min, patience } = what;
        let waiting = to.len();
        self.rounds.insert(round, Round { report: AckReport::default(), waiting, accepted_min });
        let ask = |to: RemotePeer| {
            let id = RequestId(self.next);
            self.next += 1;
            self.questions.insert(id, Question { round, peer: to.pki_id, said: None });
            Command::Request { to, id, envelope: envelope.clone(), patience }
        };
        (AckId(round), to.into_iter().map(ask).collect(), None)
    }

    /// Takes in an event; hands it back if it is not about a message sent here.
    ///
    /// # Errors
    /// The event, for somebody else.
    pub fn receive(&mut self, event: Event) -> Result<Option<(AckId, AckReport)>, Box<Event>> {
        match event {
            Event::Response { id, message, from } => match self.questions.get_mut(&id) {
                Some(question) => {
                    question.said = Some(outcome_of(message.message));
                    Ok(None)
                }
                None => Err(Box::new(Event::Response { id, message, from })),
            },
            Event::ResponseEnd { id, outcome } => match self.questions.remove(&id) {
                Some(question) => Ok(self.answered(question, outcome)),
                None => Err(Box::new(Event::ResponseEnd { id, outcome })),
            },
            other @ (Event::Connected(_)
            | Event::Disconnected { .. }
            | Event::DialFailed { .. }
            | Event::Received { .. }
            | Event::Request { .. }) => Err(Box::new(other)),
        }
    }

    fn answered(
        &mut self,
        question: Question,
        outcome: ResponseOutcome,
    ) -> Option<(AckId, AckReport)> {
        // Nobody waits any more for peers of a round that has been reported.
        let round = self.rounds.get_mut(&question.round)?;
        let outcome = match (outcome, question.said) {
            (ResponseOutcome::Complete, Some(said)) => said,
            (ResponseOutcome::TimedOut, _) => AckOutcome::TimedOut,
            (ResponseOutcome::Complete, None)
            | (ResponseOutcome::Broken | ResponseOutcome::Refused, _) => AckOutcome::Broken,
        };
        let accepted = outcome == AckOutcome::Accepted;
        round.report.outcomes.push((question.peer, outcome));
        round.waiting = round.waiting.saturating_sub(1);
        let enough = match round.accepted_min {
            0 => !accepted,
            min => round.report.accepted() >= min,
        };
        if round.waiting > 0 && !enough {
            return None;
        }
        let round = self.rounds.remove(&question.round)?;
        Some((AckId(question.round), round.report))
    }
}

impl AckReport {
    /// Nobody was reached.
    pub fn broken(peers: &[PkiId]) -> Self {
        let outcomes = peers.iter().map(|peer| (*peer, AckOutcome::Broken)).collect();
        Self { outcomes }
    }

    /// How many accept.
    // fabric: gossip/comm/comm.go AckCount
    pub fn accepted(&self) -> usize {
        self.outcomes.iter().filter(|(_, outcome)| *outcome == AckOutcome::Accepted).count()
    }

    /// How many do not, or said nothing.
    // fabric: gossip/comm/comm.go NackCount
    pub fn failed(&self) -> usize {
        self.outcomes.len() - self.accepted()
    }
}

impl fmt::Display for AckReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} accepted", self.accepted())?;
        let mut failures: BTreeMap<String, usize> = BTreeMap::new();
        for (_, outcome) in &self.outcomes {
            let text = match outcome {
                AckOutcome::Accepted => continue,
                AckOutcome::Refused(why) => why.to_string(),
                AckOutcome::TimedOut => "timed out".to_owned(),
                AckOutcome::Broken => "not reached".to_owned(),
            };
            *failures.entry(text).or_default() += 1;
        }
        failures.iter().try_for_each(|(text, count)| write!(f, ", {count}: {text}"))
    }
}

/// How whoever was asked says that a message is accepted, or why not.
///
/// The answer's two commands, in order.
// fabric: gossip/comm/msg.go Ack
pub fn acknowledge(to: InboundId, refused: Option<&str>) -> [Command; 2] {
    let nonce = Nonce::new(to.0);
    let acknowledgement = match refused {
        None => Acknowledgement::accepted(nonce),
        Some(why) => Acknowledgement::refused(nonce, why),
    };
    let envelope = Envelope::unsigned(&Message::Acknowledgement(acknowledgement));
    [Command::Respond { to, envelope }, Command::EndResponse { to }]
}

fn outcome_of(message: Message) -> AckOutcome {
    let Message::Acknowledgement(said) = message else { return AckOutcome::Broken };
    match said.error {
        None => AckOutcome::Accepted,
        Some(why) => AckOutcome::Refused(why),
    }
}

/// Peers that have not answered, of all rounds.
const QUESTIONS_MAX: usize = 1024;
