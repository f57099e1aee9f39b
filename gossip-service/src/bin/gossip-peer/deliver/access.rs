//! Who may read: Fabric's checks of a seek request, in Fabric's order.

use std::time::Duration;

use bytes::Bytes;
use gossip_api::{ChannelId, Expiration, PeerIdentity};
use gossip_comm::wall;
use peer_mcs::Signed;
use prost::Message as _;

use super::Deliver;
use super::chain::Reader;
use crate::fabric::envelope::{self, Opened};
use crate::fabric::shapes::{Position, SeekInfo, SeekPosition, Status};
use crate::grpc::server::Caller;

/// A request that was granted.
pub(super) struct Seek {
    pub(super) reader: Reader,
    pub(super) next: u64,
    pub(super) stop: u64,
    pub(super) wait: bool,
    pub(super) headers_only: bool,
    access: Access,
}

/// Why there is nothing to read: the status for the client, and the reason for our log.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: Status,
    pub(super) reason: String,
}

pub(super) fn refuse(status: Status, reason: impl Into<String>) -> Refusal {
    Refusal { status, reason: reason.into() }
}

/// The right to read, as of one configuration of the channel.
struct Access {
    request: Opened,
    sequence: u64,
    expires: Expiration,
}

impl Deliver {
    /// Grants what the envelope asks for, or says why not.
    // fabric: common/deliver/deliver.go deliverBlocks
    pub(super) fn grant(&self, caller: &Caller, bytes: &Bytes) -> Result<Seek, Refusal> {
        let bad = |reason: String| refuse(Status::BadRequest, reason);
        let request = envelope::open(bytes).map_err(bad)?;
        self.check_header(caller, &request).map_err(bad)?;
        let name = request.channel_header.channel_id.clone();
        let chain = self
            .chain(&name)
            .ok_or_else(|| refuse(Status::NotFound, format!("channel {name:?} is not served")))?;
        let seek = SeekInfo::decode(request.data.clone())
            .map_err(|error| bad(format!("the seek info does not decode: {error}")))?;
        let access = self.admit(chain.id(), request)?;
        let height = *chain.height().borrow();
        let (next, stop) = range(&seek, height).map_err(bad)?;
        chain.requests.inc();
        Ok(Seek {
            reader: chain.reader(),
            next,
            stop,
            wait: seek.behavior == SeekInfo::BLOCK_UNTIL_READY,
            headers_only: seek.content_type == SeekInfo::HEADER_WITH_SIG,
            access,
        })
    }

    // fabric: common/deliver/deliver.go validateChannelHeader
    fn check_header(&self, caller: &Caller, request: &Opened) -> Result<(), String> {
        let header = &request.channel_header;
        let sent = header.timestamp.ok_or("the channel header has no timestamp")?.seconds;
        let now = wall().as_unix_seconds();
        let apart = now.saturating_sub(sent).unsigned_abs();
        if apart > TIME_WINDOW.as_secs() {
            return Err(format!("the request was signed {apart} s off our clock"));
        }
        if !self.mutual {
            return Ok(());
        }
        let leaf = caller.leaf_hash.ok_or("the client showed no TLS certificate")?;
        if header.tls_cert_hash != leaf[..] {
            return Err("the request is bound to another TLS certificate".into());
        }
        Ok(())
    }

    /// The signature satisfies the channel's Readers policy, and the identity has not run out.
    // fabric: common/deliver/acl.go NewSessionAC
    fn admit(&self, channel: &ChannelId, request: Opened) -> Result<Access, Refusal> {
        let forbidden = |reason: String| refuse(Status::Forbidden, reason);
        let view = self
            .trust
            .current(channel)
            .ok_or_else(|| refuse(Status::NotFound, "the channel was left"))?;
        let signed = Signed {
            identity: &request.creator,
            message: &request.payload,
            signature: &request.signature,
        };
        if !view.is_satisfied(READERS, &[signed]) {
            return Err(forbidden("the channel's Readers policy does not accept it".into()));
        }
        let identity = PeerIdentity::new(request.creator.clone())
            .map_err(|error| forbidden(error.to_string()))?;
        let expires =
            self.mcs.expiration(&identity).map_err(|error| forbidden(error.to_string()))?;
        let access = Access { request, sequence: view.sequence(), expires };
        access.check_time()?;
        Ok(access)
    }

    /// Whether what was granted still holds; a new configuration is asked again.
    pub(super) fn recheck(&self, seek: &mut Seek) -> Result<(), Refusal> {
        let view = self
            .trust
            .current(&seek.reader.channel)
            .ok_or_else(|| refuse(Status::NotFound, "the channel was left"))?;
        if view.sequence() != seek.access.sequence {
            seek.access = self.admit(&seek.reader.channel, seek.access.request.clone())?;
        }
        seek.access.check_time()
    }
}

impl Seek {
    /// How long the identity is still valid.
    pub(super) fn expires_in(&self) -> Duration {
        match self.access.expires {
            Expiration::Never => EXPIRY_LOOK_MAX,
            Expiration::At(at) => {
                let left = at.as_unix_seconds().saturating_sub(wall().as_unix_seconds());
                let left = Duration::from_secs(u64::try_from(left.saturating_add(1)).unwrap_or(0));
                left.min(EXPIRY_LOOK_MAX)
            }
        }
    }
}

impl Access {
    fn check_time(&self) -> Result<(), Refusal> {
        if self.expires.is_past(wall()) {
            return Err(refuse(Status::Forbidden, "its identity has expired"));
        }
        Ok(())
    }
}

/// First and last block asked for.
fn range(seek: &SeekInfo, height: u64) -> Result<(u64, u64), String> {
    let newest = height.saturating_sub(1);
    let place = |position: Option<SeekPosition>, what: &str| {
        let position = position.and_then(|position| position.position);
        match position.ok_or_else(|| format!("the seek info has no {what}"))? {
            Position::Newest(_) => Ok(newest),
            Position::Oldest(_) => Ok(0),
            Position::Specified(specified) => Ok(specified.number),
            Position::NextCommit(_) if what == "start" => Ok(height),
            Position::NextCommit(_) => Err("a seek cannot stop at the next commit".to_owned()),
        }
    };
    let (start, stop) = (place(seek.start, "start")?, place(seek.stop, "stop")?);
    if start > stop {
        return Err(format!("the seek starts at block {start}, after its stop at {stop}"));
    }
    if ![SeekInfo::BLOCK_UNTIL_READY, SeekInfo::FAIL_IF_NOT_READY].contains(&seek.behavior) {
        return Err(format!("behavior {} is not known", seek.behavior));
    }
    if ![SeekInfo::BLOCK, SeekInfo::HEADER_WITH_SIG].contains(&seek.content_type) {
        return Err(format!("content type {} is not known", seek.content_type));
    }
    Ok((start, stop))
}

/// Path, below the channel group, of the policy of who may read.
const READERS: &str = "Readers";
/// How far the client's clock may be off, as in Fabric.
const TIME_WINDOW: Duration = Duration::from_secs(15 * 60);
/// Waiting streams look at the clock and at the configuration at least so often.
const EXPIRY_LOOK_MAX: Duration = Duration::from_secs(1);
