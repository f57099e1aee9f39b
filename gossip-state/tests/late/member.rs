//! As much of a peer as blocks see: a state transfer, and a server of ranges.

use std::collections::BTreeMap;

use gossip_api::message::{StateRequest, StateResponse};
use gossip_api::{
    Block, BlockError, ChannelId, Envelope, Height, Machine, Message, Nonce, Now, PkiId,
    RemotePeer, SeqNum, Wakeup, earliest,
};
use gossip_comm::{Command, InboundId, RequestId, ResponseOutcome};
use gossip_state::{
    Action as Wish, BlockOrigin, Input as Told, RequestOutcome, ServeAction, ServeInput, Server,
    StateTransfer,
};

/// What a member is told.
#[derive(Debug)]
pub(crate) enum Input {
    Started(Height),
    Claims { peer: RemotePeer, height: Height },
    Pushed { from: PkiId, block: Block },
    Asked { from: PkiId, inbound: InboundId, request: StateRequest },
    Answered { from: PkiId, request: RequestId, response: Box<StateResponse> },
    AnswerEnded { request: RequestId, outcome: ResponseOutcome },
    Checked { block: Block, origin: BlockOrigin, verdict: Result<(), BlockError> },
    Committed(Height),
    Read { inbound: u64, block: Option<Block> },
    Tick,
}

/// What a member wants done.
#[derive(Debug)]
pub(crate) enum Action {
    Comm(Command),
    Verify {
        block: Block,
        origin: BlockOrigin,
    },
    Commit(Vec<Block>),
    Read {
        inbound: u64,
        number: SeqNum,
    },
    /// Somebody was asked for a range.
    Asks(PkiId),
}

/// One peer.
pub(crate) struct Member {
    pub(crate) channel: ChannelId,
    pub(crate) state: StateTransfer,
    pub(crate) server: Server,
    /// Claims what it has not.
    pub(crate) lies: bool,
    pub(crate) requests: BTreeMap<RequestId, u64>,
}

impl Member {
    fn tell(&mut self, now: Now, told: Told) -> Vec<Action> {
        let wishes = self.state.handle(now, told);
        wishes.into_iter().flat_map(|wish| self.lift(wish)).collect()
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "the rest is for neighbours and operators")]
    fn lift(&mut self, wish: Wish) -> Vec<Action> {
        match wish {
            Wish::Verify { block, origin } => vec![Action::Verify { block, origin }],
            Wish::Commit { blocks, .. } => vec![Action::Commit(blocks)],
            Wish::Request { to, id, from, through, bytes_max, patience } => {
                self.requests.insert(RequestId(id), id);
                let message = Message::StateRequest(StateRequest {
                    nonce: Nonce::new(id),
                    channel: self.channel.clone(),
                    from,
                    to: through,
                    bytes_max,
                });
                let asks = Action::Asks(to.pki_id);
                let envelope = Envelope::unsigned(&message);
                let request = Command::Request { to, id: RequestId(id), envelope, patience };
                vec![asks, Action::Comm(request)]
            }
            _ => Vec::new(),
        }
    }

    fn serve(&mut self, now: Now, input: ServeInput) -> Vec<Action> {
        let actions = self.server.handle(now, input);
        let lift = |action| match action {
            ServeAction::Read { inbound, number } => Some(Action::Read { inbound, number }),
            ServeAction::Respond { inbound, message, .. } => Some(Action::Comm(Command::Respond {
                to: InboundId(inbound),
                envelope: Envelope::unsigned(&message),
            })),
            ServeAction::End { inbound } => {
                Some(Action::Comm(Command::EndResponse { to: InboundId(inbound) }))
            }
            ServeAction::Drop { .. } => None,
        };
        actions.into_iter().filter_map(lift).collect()
    }

    fn on_asked(
        &mut self,
        now: Now,
        from: PkiId,
        inbound: InboundId,
        request: StateRequest,
    ) -> Vec<Action> {
        if self.lies {
            return vec![Action::Comm(Command::EndResponse { to: inbound })];
        }
        let height = self.state.height();
        self.serve(now, ServeInput::Asked { from, inbound: inbound.0, request, height })
    }

    fn offer(&mut self, now: Now, block: Block, origin: BlockOrigin) -> Vec<Action> {
        self.tell(now, Told::Offered { block, origin, is_config: false })
    }
}

impl Machine for Member {
    type Input = Input;
    type Action = Action;

    fn handle(&mut self, now: Now, input: Input) -> Vec<Action> {
        match input {
            Input::Started(height) => self.tell(now, Told::Started { height, tip: None }),
            Input::Claims { peer, height } => {
                self.tell(now, Told::PeerHeight { peer, height, own_org: true })
            }
            Input::Pushed { from, block } if self.state.wants(block.number) => {
                self.offer(now, block, BlockOrigin::Push { from })
            }
            Input::Pushed { .. } => Vec::new(),
            Input::Asked { from, inbound, request } => self.on_asked(now, from, inbound, request),
            Input::Answered { from, request, response } => match self.requests.get(&request) {
                Some(request) => {
                    let origin = BlockOrigin::Range { from, request: *request };
                    self.offer(now, response.block, origin)
                }
                None => Vec::new(),
            },
            Input::AnswerEnded { request, outcome } => {
                let Some(id) = self.requests.remove(&request) else { return Vec::new() };
                let outcome = match outcome {
                    ResponseOutcome::Complete => RequestOutcome::Complete,
                    ResponseOutcome::TimedOut => RequestOutcome::TimedOut,
                    ResponseOutcome::Broken => RequestOutcome::Broken,
                    ResponseOutcome::Refused => RequestOutcome::Refused,
                };
                self.tell(now, Told::RequestEnded { id, outcome })
            }
            Input::Checked { block, origin, verdict: Ok(()) } => {
                self.tell(now, Told::Verified { block, origin })
            }
            Input::Checked { block, origin, verdict: Err(error) } => {
                self.tell(now, Told::Refused { number: block.number, origin, error })
            }
            Input::Committed(height) => self.tell(now, Told::Committed { height }),
            Input::Read { inbound, block } => self.serve(now, ServeInput::Read { inbound, block }),
            Input::Tick => {
                let mut actions = self.tell(now, Told::Tick);
                actions.extend(self.serve(now, ServeInput::Tick));
                actions
            }
        }
    }

    fn next_wakeup(&self) -> Option<Wakeup> {
        earliest([self.state.next_wakeup(), self.server.next_wakeup()])
    }
}
