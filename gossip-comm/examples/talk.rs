//! The transport alone: two peers prove to each other who they are over QUIC, and one says something.
#![allow(
    clippy::print_stdout,
    clippy::wildcard_enum_match_arm,
    reason = "an example shows what it does, and prints what it does not use"
)]

use std::{error::Error, net::SocketAddr, sync::Arc};

use gossip_api::message::{PullHello, PullKind};
use gossip_api::*;
use gossip_comm::quic::{QuicComm, QuicParts};
use gossip_comm::sim::crypto::Authority;
use gossip_comm::{Clock, Comm as _, CommConfig, Command, Event, SecretBytes, TlsMaterial};
use prometheus::Registry;

/// Runs the example.
///
/// # Errors
/// If anything does not go as it should.
#[tokio::main]
pub async fn main() -> Result<(), Box<dyn Error>> {
    let authority = Authority::new(1);
    let org = OrgId::new("Org1MSP")?;
    let certificate = rcgen::generate_simple_self_signed(["peer".to_owned()])?;
    let certified = certificate.cert.der().to_vec();
    let tls = TlsMaterial {
        chain: vec![certified.clone()],
        key: SecretBytes::new(certificate.signing_key.serialize_der()),
        roots: vec![certified],
    };
    let network = NetworkId::new("example")?;
    let peer = |number: u32| -> Result<(QuicComm, PkiId), Box<dyn Error>> {
        let identity = authority.identity(&org, number);
        let crypto = Arc::new(authority.crypto(identity.clone()));
        let clock = Clock::start();
        let bounds = IdentityMapConfig::default().checked()?;
        let identities = IdentityMap::new(bounds, &identity, &*crypto, &*crypto, clock.now())?;
        let identities = Arc::new(identities);
        let own = identities.own();
        let config =
            CommConfig::new(SocketAddr::from(([127, 0, 0, 1], 0)), network.clone(), tls.clone());
        let parts = QuicParts {
            identity,
            epoch: Epoch::new(1),
            mcs: crypto.clone(),
            advisor: crypto,
            identities,
            registry: Registry::new(),
            clock,
        };
        Ok((QuicComm::bind(config.checked()?, parts)?, own))
    };
    let (first, _) = peer(0)?;
    let (second, second_id) = peer(1)?;
    let hello = PullHello {
        nonce: Nonce::new(7),
        channel: ChannelId::new("trade")?,
        kind: PullKind::Block,
    };
    let endpoint = Some(Endpoint::new(&second.local_addr().to_string())?);
    let to = RemotePeer { pki_id: second_id, endpoint };
    let envelope = Envelope::unsigned(&Message::Hello(hello));
    // There is no connection yet: it is made, and both prove who they are, before anything is sent.
    first.command(Command::Send { to, envelope });
    while let Some(event) = second.next_event().await {
        match event {
            Event::Connected(connected) => println!("{:?} proved itself", connected.peer),
            Event::Received { from, message } => {
                println!("{from:?} says {:?}", message.message);
                break;
            }
            other => println!("{other:?}"),
        }
    }
    first.stop().await;
    second.stop().await;
    Ok(())
}
