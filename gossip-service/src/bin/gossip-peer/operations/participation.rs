//! Channels, joined and left while the peer runs, in the style of Fabric's channel participation API.

use axum::Json;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{FromRequest as _, Multipart, Path, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use gossip_api::ChannelId;
use gossip_service::ChannelStatus;
use serde::Serialize;

use super::{Operations, refuse};
use crate::channels::JoinError;

/// Where channels are told.
pub(crate) const CHANNELS: &str = "/participation/v1/channels";

/// The channels of a peer.
#[derive(Debug, Serialize)]
struct ChannelList {
    /// Never any: for readers of Fabric's answer.
    #[serde(rename = "systemChannel")]
    system: Option<String>,
    channels: Vec<ChannelShort>,
}

/// One of them.
#[derive(Debug, Serialize)]
struct ChannelShort {
    name: String,
    url: String,
}

/// How a channel stands.
#[derive(Debug, Serialize)]
struct ChannelInfo {
    name: String,
    url: String,
    /// `active`, or `stalled` with the reason beside it.
    status: String,
    height: u64,
    leader: bool,
    #[serde(rename = "stalledReason", skip_serializing_if = "Option::is_none")]
    stalled_reason: Option<String>,
}

pub(super) fn routes() -> Router<Operations> {
    Router::new()
        .route(CHANNELS, get(list).post(join))
        .route("/participation/v1/channels/{name}", get(info).delete(leave))
}

// fabric: orderer/common/channelparticipation/restapi.go HTTPHandler
async fn list(State(operations): State<Operations>) -> Response {
    let status = match operations.service.status().await {
        Ok(status) => status,
        Err(error) => return refuse(StatusCode::SERVICE_UNAVAILABLE, &error.to_string()),
    };
    let names = status.channels.iter().map(|channel| channel.name.to_string());
    let channels = names.map(|name| ChannelShort { url: url(&name), name }).collect();
    Json(ChannelList { system: None, channels }).into_response()
}

async fn info(State(operations): State<Operations>, Path(name): Path<String>) -> Response {
    match find(&operations, &name).await {
        Ok(Some(channel)) => Json(shown(&channel)).into_response(),
        Ok(None) => unknown(&name),
        Err(error) => refuse(StatusCode::SERVICE_UNAVAILABLE, &error),
    }
}

async fn join(State(operations): State<Operations>, request: Request) -> Response {
    let genesis = match genesis_of(request).await {
        Ok(genesis) => genesis,
        Err(refusal) => return refusal,
    };
    match operations.membership.join(&operations.service, genesis).await {
        Ok(name) => {
            let location = [(header::LOCATION, url(name.as_str()))];
            match find(&operations, name.as_str()).await {
                Ok(Some(channel)) => {
                    (StatusCode::CREATED, location, Json(shown(&channel))).into_response()
                }
                Ok(None) => (StatusCode::CREATED, location).into_response(),
                Err(error) => refuse(StatusCode::SERVICE_UNAVAILABLE, &error),
            }
        }
        Err(JoinError::Malformed(reason)) => refuse(StatusCode::BAD_REQUEST, &reason),
        Err(JoinError::Refused(reason)) => refuse(StatusCode::FORBIDDEN, &reason),
        Err(JoinError::Exists(name)) => {
            let reason = format!("channel {name} is joined already");
            refuse(StatusCode::METHOD_NOT_ALLOWED, &reason)
        }
        Err(JoinError::Failed(reason)) => refuse(StatusCode::INTERNAL_SERVER_ERROR, &reason),
    }
}

async fn leave(State(operations): State<Operations>, Path(name): Path<String>) -> Response {
    let Ok(channel) = ChannelId::new(&name) else { return unknown(&name) };
    match operations.membership.leave(&operations.service, &channel).await {
        Ok(true) => StatusCode::NO_CONTENT.into_response(),
        Ok(false) => unknown(&name),
        Err(reason) => refuse(StatusCode::INTERNAL_SERVER_ERROR, &reason),
    }
}

/// The genesis block in a request: the field `config-block` of a form, or the body itself.
async fn genesis_of(request: Request) -> Result<Bytes, Response> {
    let bad = |reason: String| refuse(StatusCode::BAD_REQUEST, &reason);
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.unwrap_or_default().split(';').next().unwrap_or_default().trim().to_owned();
    match kind.as_str() {
        "multipart/form-data" => {
            let form = Multipart::from_request(request, &()).await;
            let mut form = form.map_err(|error| bad(error.body_text()))?;
            let field = form.next_field().await.map_err(|error| bad(error.body_text()))?;
            let field = field.filter(|field| field.name() == Some(FIELD));
            let field = field.ok_or_else(|| {
                bad(format!("the form must hold one field, `{FIELD}`, with the genesis block"))
            })?;
            field.bytes().await.map_err(|error| bad(error.body_text()))
        }
        "application/octet-stream" => {
            Bytes::from_request(request, &()).await.map_err(|error| bad(error.body_text()))
        }
        _ => {
            let reason = format!(
                "content type {kind:?} is not supported: send multipart/form-data with the field `{FIELD}`, or application/octet-stream"
            );
            Err(refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, &reason))
        }
    }
}

async fn find(operations: &Operations, name: &str) -> Result<Option<ChannelStatus>, String> {
    let status = operations.service.status().await.map_err(|error| error.to_string())?;
    Ok(status.channels.into_iter().find(|channel| channel.name.as_str() == name))
}

fn shown(channel: &ChannelStatus) -> ChannelInfo {
    ChannelInfo {
        name: channel.name.to_string(),
        url: url(channel.name.as_str()),
        status: if channel.stalled_reason.is_some() { "stalled" } else { "active" }.to_owned(),
        height: channel.height.get(),
        leader: channel.leader,
        stalled_reason: channel.stalled_reason.clone(),
    }
}

fn unknown(name: &str) -> Response {
    refuse(StatusCode::NOT_FOUND, &format!("channel {name} is not joined"))
}

fn url(name: &str) -> String {
    format!("{CHANNELS}/{name}")
}

/// Name of the form's field, as in Fabric.
const FIELD: &str = "config-block";
