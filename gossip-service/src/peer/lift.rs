//! Where each child's actions go.

use gossip_api::message::Kind;
use gossip_api::{ChannelId, Epoch, Machine, Message, Now, PkiId, Verified};
use gossip_comm::{Command, Connected};
use gossip_discovery::{CheckedMember, MembershipEvent};
use gossip_election::Election;
use gossip_state::{BlockOrigin, Server, StateTransfer};
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;

use super::channels::PeerChannel;
use super::lead::Lead;
use super::{Action, JoinRequest, Peer, ReadPurpose};
use crate::node::{self, Outgoing, Via};

impl Peer {
    pub(super) fn on_connected(&mut self, now: Now, connected: Connected) -> Vec<Action> {
        let Connected { peer, identity, org, epoch, dialled } = connected;
        self.connected.insert(peer);
        if dialled.is_none() {
            self.inbound.insert(peer);
        }
        let input = gossip_discovery::Input::Connected { peer, identity, org, epoch, dialled };
        let mut actions = self.tell_discovery(now, input);
        actions.extend(self.tell_node(now, node::Input::Connected(peer)));
        actions
    }

    pub(super) fn on_disconnected(&mut self, now: Now, peer: PkiId) -> Vec<Action> {
        self.connected.remove(&peer);
        self.inbound.remove(&peer);
        let mut actions = self.tell_discovery(now, gossip_discovery::Input::Disconnected { peer });
        actions.extend(self.tell_node(now, node::Input::Disconnected(peer)));
        let names: Vec<ChannelId> = self.channels.keys().cloned().collect();
        for name in names {
            actions.extend(self.tell_server(
                now,
                &name,
                gossip_state::ServeInput::Gone { from: peer },
            ));
        }
        actions
    }

    pub(super) fn on_received(
        &mut self,
        now: Now,
        from: PkiId,
        message: Verified<Message>,
    ) -> Vec<Action> {
        if self.is_evidence(&from, message.message()) {
            return self.on_evidence(now, from, message);
        }
        match message.message().kind() {
            Kind::Record
            | Kind::Beats
            | Kind::MembershipRequest
            | Kind::MembershipResponse
            | Kind::Probe
            | Kind::ProofOfLife => {
                self.tell_discovery(now, gossip_discovery::Input::Received { from, message })
            }
            Kind::StateInfo => self.on_state_info(now, from, message),
            Kind::StateInfoPullRequest
            | Kind::Data
            | Kind::Hello
            | Kind::Digest
            | Kind::Request
            | Kind::Update
            | Kind::Header
            | Kind::HeaderNote
            | Kind::BlockNote
            | Kind::Plan
            | Kind::ShareCommitment
            | Kind::ShareReport => self.tell_node(now, node::Input::Received { from, message }),
            Kind::Leadership => self.on_claim(now, from, message),
            Kind::Acknowledgement
            | Kind::PrivateData
            | Kind::PrivateDataRequest
            | Kind::PrivateDataResponse => {
                vec![Action::Deliver { from, message: message.into_parts().0 }]
            }
            Kind::StateRequest
            | Kind::StateResponse
            | Kind::StateInfoSnapshot
            | Kind::PeerIdentities
            | Kind::Share => {
                vec![Action::Drop { from: Some(from), reason: "kind out of place" }]
            }
        }
    }

    pub(super) fn on_signed(&mut self, now: Now, message: Verified<Message>) -> Vec<Action> {
        let kind = message.message().kind();
        if kind == Kind::ProofOfLife {
            return self.tell_discovery(now, gossip_discovery::Input::Proved(message));
        }
        if kind != Kind::Record {
            return self.on_signed_for_node(now, message);
        }
        match message.narrow(Message::into_record) {
            Some(record) => self.tell_discovery(now, gossip_discovery::Input::Signed(record)),
            None => Vec::new(),
        }
    }

    pub(super) fn on_epoch_raised(&mut self, now: Now, epoch: Epoch) -> Vec<Action> {
        self.me.epoch = epoch;
        let mut actions = self.tell_discovery(now, gossip_discovery::Input::EpochRaised(epoch));
        actions.extend(self.tell_node(now, node::Input::EpochRaised(epoch)));
        actions
    }

    pub(super) fn on_member_checked(
        &mut self,
        now: Now,
        from: PkiId,
        member: Option<CheckedMember>,
    ) -> Vec<Action> {
        let input = match member {
            Some(member) => gossip_discovery::Input::Checked { from, member },
            None => gossip_discovery::Input::CheckFailed { from },
        };
        self.tell_discovery(now, input)
    }

    pub(super) fn on_join(&mut self, now: Now, request: JoinRequest) -> Vec<Action> {
        let name = request.view.channel.clone();
        let height = request.view.height;
        if !self.channels.contains_key(&name) {
            let rng = ChaCha8Rng::from_rng(&mut self.rng);
            let state = StateTransfer::new(name.clone(), self.config.state.clone(), rng);
            let server = Server::new(name.clone(), self.config.serve.clone());
            let election = Election::new(
                name.clone(),
                self.me.pki_id,
                self.config.election.clone(),
                ChaCha8Rng::from_rng(&mut self.rng),
                now,
            );
            let channel = PeerChannel {
                state,
                server,
                election,
                lead: Lead::default(),
                delivering: false,
                refused: std::collections::BTreeMap::new(),
                proved: height,
            };
            self.channels.insert(name.clone(), channel);
        }
        let mut actions = Vec::new();
        if let Some(term) = request.term {
            let input = gossip_election::Input::Term { term };
            actions.extend(self.tell_election(now, &name, input));
        }
        actions.extend(self.tell_node(now, node::Input::Join(request.view)));
        if let Some(leading) = self.channels.get(&name).map(|channel| channel.lead.leading) {
            let input = node::Input::Leading { channel: name.clone(), leading };
            actions.extend(self.tell_node(now, input));
        }
        if let Some((number, kept)) = request.halted {
            let halted = gossip_state::Input::Halted { number, kept };
            actions.extend(self.tell_state(now, &name, halted));
        }
        let started = gossip_state::Input::Started { height, tip: request.last_hash };
        actions.extend(self.tell_state(now, &name, started));
        actions.extend(self.tell_election(now, &name, gossip_election::Input::Tick));
        actions
    }

    pub(super) fn on_tick(&mut self, now: Now) -> Vec<Action> {
        let mut actions = self.tell_discovery(now, gossip_discovery::Input::Tick);
        actions.extend(self.tell_node(now, node::Input::Tick));
        let names: Vec<ChannelId> = self.channels.keys().cloned().collect();
        for name in names {
            actions.extend(self.tell_state(now, &name, gossip_state::Input::Tick));
            actions.extend(self.tell_server(now, &name, gossip_state::ServeInput::Tick));
            actions.extend(self.tell_election(now, &name, gossip_election::Input::Tick));
        }
        actions
    }

    pub(super) fn on_stopping(&mut self, now: Now) -> Vec<Action> {
        let names: Vec<ChannelId> = self.channels.keys().cloned().collect();
        let stop = |name: &ChannelId| self.tell_election(now, name, gossip_election::Input::Stop);
        names.iter().flat_map(stop).collect()
    }

    pub(super) fn tell_discovery(
        &mut self,
        now: Now,
        input: gossip_discovery::Input,
    ) -> Vec<Action> {
        let actions = self.discovery.handle(now, input);
        actions.into_iter().flat_map(|action| self.lift_discovery(now, action)).collect()
    }

    fn lift_discovery(&mut self, now: Now, action: gossip_discovery::Action) -> Vec<Action> {
        use gossip_discovery::Action as Child;
        match action {
            Child::Dial { endpoint, expect } => {
                vec![Action::Comm(Command::Dial { endpoint, expect })]
            }
            Child::Send { to, message } => vec![Self::send(to, &message)],
            Child::Forward { to, message } => {
                vec![Action::Comm(Command::Send { to, envelope: message.envelope().clone() })]
            }
            Child::Sign(record) => vec![Action::Sign(Message::Record(record))],
            Child::Prove(proof) => vec![Action::Sign(Message::ProofOfLife(proof))],
            Child::RaiseEpoch { seen } => vec![Action::RaiseEpoch { seen }],
            Child::Conflict { epoch } => vec![Action::IdentityConflict { epoch }],
            Child::Check { from, entry } => vec![Action::CheckMember { from, entry }],
            Child::Disconnect { peer, reason } => {
                vec![Action::Comm(Command::Close { peer, reason })]
            }
            Child::Notify(event) => self.on_membership(now, event),
            Child::Drop { from, reason } => {
                vec![Action::Drop { from: Some(from), reason: reason.label() }]
            }
        }
    }

    fn on_membership(&mut self, now: Now, event: MembershipEvent) -> Vec<Action> {
        let input = match event {
            MembershipEvent::Alive(member) | MembershipEvent::Changed(member) => {
                let peer = member.pki_id;
                let mut actions = self.tell_node(now, node::Input::MemberUp(member));
                if self.connected.contains(&peer) {
                    actions.extend(self.tell_node(now, node::Input::Connected(peer)));
                }
                return actions;
            }
            MembershipEvent::Dead(peer) | MembershipEvent::Forgotten(peer) => {
                node::Input::MemberDown(peer)
            }
        };
        self.tell_node(now, input)
    }

    pub(super) fn tell_node(&mut self, now: Now, input: node::Input) -> Vec<Action> {
        let actions = self.node.handle(now, input);
        self.lift_node_all(now, actions)
    }

    pub(super) fn lift_node_all(&mut self, now: Now, actions: Vec<node::Action>) -> Vec<Action> {
        actions.into_iter().flat_map(|action| self.lift_node(now, action)).collect()
    }

    fn lift_node(&mut self, now: Now, action: node::Action) -> Vec<Action> {
        use node::Action as Child;
        match action {
            Child::Send { to, message: Outgoing::Plain(message) } => vec![Self::send(to, &message)],
            Child::Send { to, message: Outgoing::Signed(verified) } => {
                vec![Action::Comm(Command::Send { to, envelope: verified.envelope().clone() })]
            }
            Child::Sign(message) => vec![Action::Sign(message)],
            Child::Offer { channel, block, via } => {
                self.offer(now, &channel, block, origin_of(via))
            }
            Child::CheckHeader { channel, sequence, from, header } => {
                vec![Action::VerifyHeader { channel, sequence, from, header }]
            }
            Child::EncodeShares { channel, number, data } => {
                vec![Action::EncodeShares { channel, number, data }]
            }
            Child::DecodeShares(job) => vec![Action::DecodeShares(job)],
            Child::Convicted { channel, evidence } => vec![Action::Convicted { channel, evidence }],
            Child::Chosen { channel, way } => vec![Action::Chosen { channel, way }],
            Child::Proved { channel, header } => {
                let mut actions = self.tell_proof(now, &channel, &header);
                let header = gossip_state::Input::Header { header };
                actions.extend(self.tell_state(now, &channel, header));
                actions
            }
            Child::Blame { peer, reason } => vec![
                Action::Drop { from: Some(peer), reason },
                Action::Comm(Command::Close {
                    peer,
                    reason: gossip_api::message::CloseReason::Faulty,
                }),
            ],
            Child::PeerHeight { channel, peer, height, own_org } => {
                let pki_id = peer.pki_id;
                let input = gossip_state::Input::PeerHeight { peer, height, own_org };
                let mut actions = self.tell_state(now, &channel, input);
                if own_org {
                    actions.extend(self.note_candidate(now, &channel, pki_id, true));
                }
                actions
            }
            Child::PeerGone { channel, peer } => {
                let input = gossip_state::Input::PeerGone { peer };
                let mut actions = self.tell_state(now, &channel, input);
                actions.extend(self.note_candidate(now, &channel, peer, false));
                actions
            }
            Child::Recheck { channel, sequence, infos } => {
                vec![Action::Recheck { channel, sequence, infos }]
            }
            Child::Read { channel, number, to, nonce } => {
                vec![Action::Read { channel, number, purpose: ReadPurpose::Pull { to, nonce } }]
            }
            Child::Drop { from, reason } => vec![Action::Drop { from: Some(from), reason }],
        }
    }
}

const fn origin_of(via: Via) -> BlockOrigin {
    match via {
        Via::Source => BlockOrigin::Source,
        Via::Push(from) => BlockOrigin::Push { from },
        Via::Pull(from) => BlockOrigin::Pull { from },
        Via::Range(from) => BlockOrigin::Range { from, request: 0 },
    }
}
