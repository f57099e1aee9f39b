//! What a channel's configuration brings with it: trust first, then who is cut off, then who is a member.

use std::sync::Arc;

use gossip_api::message::CloseReason;
use gossip_api::{
    Block, BlockHash, ChannelId, Endpoint, Height, JoinChannelMessage, OrgId, PeerIdentity, PkiId,
};
use gossip_comm::{Comm, Command};
use tracing::{error, info, warn};

use crate::effects::Shared;
use crate::joining::{Channel, view_of};
use crate::peer::Input;

/// Brings a committed configuration into force.
pub(crate) async fn apply_config(
    shared: &Arc<Shared>,
    comm: &dyn Comm,
    channel: &Channel,
    name: &ChannelId,
    block: &Block,
    height: Height,
) {
    let config = match channel.host.apply_config(name, block) {
        Ok(config) => config,
        Err(reason) => {
            error!(channel = %name, number = %block.number, reason, "configuration not applied");
            return;
        }
    };
    info!(channel = %name, number = %block.number, "configuration applied");
    expel(shared, comm, |_| true).await;
    reconfigure(shared, comm, &*config, channel.genesis, height).await;
}

/// Takes over who is a member and who is an anchor peer. Nothing more goes to an organisation that is a
/// member no longer, nor what waits to be sent to it.
// fabric: gossip/service/gossip_service.go updateAnchors
pub(crate) async fn reconfigure(
    shared: &Arc<Shared>,
    comm: &dyn Comm,
    config: &dyn JoinChannelMessage,
    genesis: BlockHash,
    height: Height,
) {
    let name = config.channel();
    // fabric-differs: an organisation that is a member no longer is told so in the log, and the newer
    // configuration holds: its peer serves nobody and is served by nobody.
    if !config.members().contains(&shared.org) {
        error!(channel = %name, org = %shared.org, "our organisation is no member of the channel any more");
    }
    let change = shared.tracker.take_over(config);
    shared.tell(Input::Reconfigured(view_of(config, genesis, height))).await;
    cut_off(shared, comm, &change.removed, name);
    name_endpoints(shared, change.named, change.unnamed).await;
}

/// Connects to what is named, and gives up what nobody names any more.
pub(crate) async fn name_endpoints(shared: &Shared, named: Vec<Endpoint>, unnamed: Vec<Endpoint>) {
    for endpoint in unnamed {
        shared.tell(Input::Unname(endpoint)).await;
    }
    for endpoint in named {
        shared.tell(Input::Connect(endpoint)).await;
    }
}

/// Validates again what `suspect` flags, and cuts off whom the host accepts no longer, or whose
/// certificate ran out.
// fabric: gossip/gossip/gossip_impl.go SuspectPeers
pub(crate) async fn expel(
    shared: &Arc<Shared>,
    comm: &dyn Comm,
    suspect: impl Fn(&PeerIdentity) -> bool + Send + 'static,
) {
    let worker = Arc::clone(shared);
    let expelled = tokio::task::spawn_blocking(move || {
        worker.identities.purge(&*worker.mcs, &suspect, worker.clock.now())
    });
    let Ok(expelled) = expelled.await.inspect_err(|failure| {
        error!(%failure, "identities could not be validated again");
    }) else {
        return;
    };
    cut_off_expelled(shared, comm, expelled).await;
}

pub(crate) async fn cut_off_expelled(shared: &Shared, comm: &dyn Comm, expelled: Vec<PkiId>) {
    for peer in expelled {
        if peer == shared.own {
            warn!("our own certificate has run out: others will not believe us; renew it");
            continue;
        }
        warn!(%peer, "identity no longer valid, peer cut off");
        comm.command(Command::Close { peer, reason: CloseReason::Expelled });
        shared.tell(Input::Expelled(peer)).await;
    }
}

/// Closes the connections of organisations that left a channel, with all that waits on them. Who shares
/// another channel with us may connect again.
fn cut_off(shared: &Shared, comm: &dyn Comm, orgs: &[OrgId], channel: &ChannelId) {
    if orgs.is_empty() {
        return;
    }
    for info in shared.identities.info().0 {
        if info.pki_id != shared.own && info.org.is_some_and(|org| orgs.contains(&org)) {
            info!(peer = %info.pki_id, %channel, "its organisation is no member of the channel any more");
            let reason = CloseReason::Expelled;
            comm.command(Command::Close { peer: info.pki_id, reason });
        }
    }
}
