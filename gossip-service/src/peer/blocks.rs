//! The way of blocks through a peer: offers, verdicts, commits, ranges asked and served.

use gossip_api::message::StateRequest;
use gossip_api::{Block, BlockError, ChannelId, Height, Machine, Message, Now, PkiId, Verified};
use gossip_comm::{Command, InboundId, RequestId, ResponseOutcome};
use gossip_state::{BlockOrigin, DropReason, RequestOutcome};

use super::{Action, Peer, ReadPurpose};
use crate::node::{self, Via};

impl Peer {
    /// A range is asked for. Who is not entitled hears the same as who asks for a channel that does not exist.
    pub(super) fn on_asked(
        &mut self,
        now: Now,
        from: PkiId,
        inbound: InboundId,
        message: Verified<Message>,
    ) -> Vec<Action> {
        let (message, _, _) = message.into_parts();
        let Message::StateRequest(request) = message else {
            return vec![Action::Comm(Command::EndResponse { to: inbound })];
        };
        if !self.node.is_entitled(&request.channel, &from) {
            return vec![
                Action::Comm(Command::EndResponse { to: inbound }),
                Action::Drop { from: Some(from), reason: "not entitled" },
            ];
        }
        let Some(channel) = self.channels.get(&request.channel) else {
            return vec![Action::Comm(Command::EndResponse { to: inbound })];
        };
        let name = request.channel.clone();
        let height = channel.height();
        let input = gossip_state::ServeInput::Asked { from, inbound: inbound.0, request, height };
        self.tell_server(now, &name, input)
    }

    pub(super) fn on_answered(
        &mut self,
        now: Now,
        from: PkiId,
        request: RequestId,
        message: Verified<Message>,
    ) -> Vec<Action> {
        let Some((name, id)) = self.requests.get(&request).cloned() else {
            return vec![Action::Drop { from: Some(from), reason: "unsolicited answer" }];
        };
        if let Message::StateResponse(response) = message.into_parts().0
            && response.channel == name
        {
            let origin = BlockOrigin::Range { from, request: id };
            return self.offer(now, &name, response.block, origin);
        }
        vec![Action::Drop { from: Some(from), reason: "answer of another kind" }]
    }

    pub(super) fn on_answer_ended(
        &mut self,
        now: Now,
        request: RequestId,
        outcome: ResponseOutcome,
    ) -> Vec<Action> {
        let Some((name, id)) = self.requests.remove(&request) else { return Vec::new() };
        let outcome = match outcome {
            ResponseOutcome::Complete => RequestOutcome::Complete,
            ResponseOutcome::TimedOut => RequestOutcome::TimedOut,
            ResponseOutcome::Broken => RequestOutcome::Broken,
            ResponseOutcome::Refused => RequestOutcome::Refused,
        };
        self.tell_state(now, &name, gossip_state::Input::RequestEnded { id, outcome })
    }

    /// A block came in, from whoever; its number decides whether it is looked at.
    pub(super) fn offer(
        &mut self,
        now: Now,
        name: &ChannelId,
        block: Block,
        origin: BlockOrigin,
    ) -> Vec<Action> {
        let is_config = self.codec.is_config(&block);
        self.tell_state(now, name, gossip_state::Input::Offered { block, origin, is_config })
    }

    pub(super) fn on_block_checked(
        &mut self,
        now: Now,
        name: &ChannelId,
        block: Block,
        origin: BlockOrigin,
        verdict: Result<(), BlockError>,
    ) -> Vec<Action> {
        let (number, mut actions) = (block.number, Vec::new());
        let input = match verdict {
            Ok(()) => gossip_state::Input::Verified { block, origin },
            Err(error) => {
                let channel = name.clone();
                let input = node::Input::Refused { channel, block, error: error.clone() };
                actions.extend(self.tell_node(now, input));
                gossip_state::Input::Refused { number, origin, error }
            }
        };
        actions.extend(self.tell_state(now, name, input));
        actions
    }

    pub(super) fn on_committed(
        &mut self,
        now: Now,
        name: &ChannelId,
        outcome: Result<Height, String>,
    ) -> Vec<Action> {
        let input = match outcome {
            Ok(height) => gossip_state::Input::Committed { height },
            Err(reason) => gossip_state::Input::CommitFailed { reason },
        };
        self.tell_state(now, name, input)
    }

    pub(super) fn on_block_read(
        &mut self,
        now: Now,
        name: &ChannelId,
        purpose: ReadPurpose,
        block: Option<Block>,
    ) -> Vec<Action> {
        match purpose {
            ReadPurpose::Range(inbound) => {
                let input = gossip_state::ServeInput::Read { inbound: inbound.0, block };
                self.tell_server(now, name, input)
            }
            ReadPurpose::Pull { to, nonce } => {
                let input = node::Input::Read { channel: name.clone(), to, nonce, block };
                self.tell_node(now, input)
            }
        }
    }

    pub(super) fn tell_state(
        &mut self,
        now: Now,
        name: &ChannelId,
        input: gossip_state::Input,
    ) -> Vec<Action> {
        let Some(channel) = self.channels.get_mut(name) else { return Vec::new() };
        let actions = channel.state.handle(now, input);
        let mut lifted: Vec<Action> =
            actions.into_iter().flat_map(|action| self.lift_state(now, name, action)).collect();
        lifted.extend(self.tell_arrivals(now, name));
        lifted
    }

    pub(super) fn lift_state(
        &mut self,
        now: Now,
        name: &ChannelId,
        action: gossip_state::Action,
    ) -> Vec<Action> {
        use gossip_state::Action as Child;
        let channel = name.clone();
        match action {
            Child::Verify { block, origin } => {
                let attested = self.node.is_attested(&channel, &block);
                vec![Action::VerifyBlock { channel, block, origin, attested }]
            }
            Child::Judge { header, origin } => {
                vec![Action::JudgeHeader { channel, header, origin }]
            }
            Child::Commit { blocks, .. } => vec![Action::Commit { channel, blocks }],
            Child::Mend { block } => vec![Action::MendBlock { channel, block }],
            Child::Request { to, id, from, through, bytes_max, patience } => {
                let request = self.open_request(name, id);
                let message = Message::StateRequest(StateRequest {
                    nonce: gossip_api::Nonce::new(request.0),
                    channel,
                    from,
                    to: through,
                    bytes_max,
                });
                if !self.node.may_be_told(name, &to.pki_id, message.tag()) {
                    let outcome = ResponseOutcome::Refused;
                    return self.on_answer_ended(now, request, outcome);
                }
                let envelope = gossip_api::Envelope::unsigned(&message);
                vec![Action::Comm(Command::Request { to, id: request, envelope, patience })]
            }
            Child::Announce { height } => {
                let mut actions = self.tell_node(now, node::Input::Height { channel, height });
                let input = gossip_election::Input::Height { height };
                actions.extend(self.tell_election(now, name, input));
                actions
            }
            Child::Accepted { block, origin } => {
                let mut actions = self.tell_proof(now, name, &block);
                actions.push(self.deliver_block(name, &block, origin));
                let via = via_of(origin);
                actions.extend(self.tell_node(now, node::Input::Accepted { channel, block, via }));
                actions
            }
            Child::Drop { number, origin, reason } => {
                self.on_block_dropped(name, number, origin, reason)
            }
            Child::Blame { peer, reason } => vec![Action::Drop { from: Some(peer), reason }],
            Child::Source { wanted } => {
                if let Some(state) = self.channels.get_mut(name) {
                    state.lead.missing = wanted;
                }
                self.align_delivery(name)
            }
            Child::Resumed { number } => vec![Action::Resumed { channel, number }],
            Child::Conflict(conflict) => {
                let header = conflict.other.to_block();
                let shown = node::Input::Contradicted { channel: channel.clone(), header };
                let mut actions = self.tell_node(now, shown);
                actions.push(Action::Conflict { channel, conflict });
                actions
            }
        }
    }

    /// Somebody shows another header than ours: it is judged.
    pub(super) fn on_evidence(
        &mut self,
        now: Now,
        from: PkiId,
        message: Verified<Message>,
    ) -> Vec<Action> {
        let (message, _, _) = message.into_parts();
        let Some((name, block)) = shown_block(&message) else { return Vec::new() };
        let origin = BlockOrigin::Push { from };
        let sighted = gossip_state::Input::Sighted { header: block.clone(), origin };
        self.tell_state(now, name, sighted)
    }

    pub(super) fn on_block_dropped(
        &mut self,
        name: &ChannelId,
        number: gossip_api::SeqNum,
        origin: BlockOrigin,
        reason: DropReason,
    ) -> Vec<Action> {
        let from = origin.peer();
        let label = reason.label();
        let DropReason::Refused(error) = reason else {
            return vec![Action::Drop { from, reason: label }];
        };
        if let Some(channel) = self.channels.get_mut(name) {
            channel.count_refusal(error.class());
        }
        vec![Action::Refused { channel: name.clone(), from, number, error }]
    }

    pub(super) fn open_request(&mut self, name: &ChannelId, id: u64) -> RequestId {
        let request = RequestId(self.next_request);
        self.next_request = self.next_request.wrapping_add(1);
        self.requests.insert(request, (name.clone(), id));
        request
    }

    pub(super) fn tell_server(
        &mut self,
        now: Now,
        name: &ChannelId,
        input: gossip_state::ServeInput,
    ) -> Vec<Action> {
        let Some(channel) = self.channels.get_mut(name) else { return Vec::new() };
        let actions = channel.server.handle(now, input);
        actions.into_iter().flat_map(|action| self.lift_server(now, name, action)).collect()
    }

    pub(super) fn lift_server(
        &mut self,
        now: Now,
        name: &ChannelId,
        action: gossip_state::ServeAction,
    ) -> Vec<Action> {
        use gossip_state::ServeAction as Child;
        let action = match action {
            Child::Read { inbound, number } => Action::Read {
                channel: name.clone(),
                number,
                purpose: ReadPurpose::Range(InboundId(inbound)),
            },
            // The channel's configuration may have changed since the range was asked for.
            Child::Respond { inbound, to, message }
                if !self.node.may_be_told(name, &to, message.tag()) =>
            {
                let input = gossip_state::ServeInput::Withdrawn { inbound };
                let mut actions = self.tell_server(now, name, input);
                actions.push(Action::Drop { from: Some(to), reason: "not entitled" });
                return actions;
            }
            Child::Respond { inbound, message, .. } => Action::Comm(Command::Respond {
                to: InboundId(inbound),
                envelope: gossip_api::Envelope::unsigned(&message),
            }),
            Child::End { inbound } => Action::Comm(Command::EndResponse { to: InboundId(inbound) }),
            Child::Drop { from, reason } => {
                Action::Drop { from: Some(from), reason: reason.label() }
            }
        };
        vec![action]
    }
}

/// The channel and the block of a message that shows one, with its data or without.
pub(super) const fn shown_block(message: &Message) -> Option<(&ChannelId, &Block)> {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "new kinds show no block unless they say so"
    )]
    match message {
        Message::Header(shown) => Some((&shown.channel, &shown.block)),
        Message::Data(shown) => Some((&shown.channel, &shown.block)),
        _ => None,
    }
}

const fn via_of(origin: BlockOrigin) -> Via {
    match origin {
        BlockOrigin::Source | BlockOrigin::Local => Via::Source,
        BlockOrigin::Push { from } => Via::Push(from),
        BlockOrigin::Pull { from } => Via::Pull(from),
        BlockOrigin::Range { from, .. } => Via::Range(from),
    }
}
