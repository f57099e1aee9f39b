//! The operations endpoint: Fabric's paths, and `/status` of ours. On loopback, or over mutual TLS.

pub(crate) mod participation;
pub(crate) mod serve;

use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use gossip_service::Service;
use prometheus::{Encoder, Registry, TextEncoder};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::channels::Membership;
use crate::conflicts;
use crate::logging::LogLevels;
use crate::status::{Who, report};

/// What the handlers look at.
#[derive(Clone)]
pub(crate) struct Operations {
    pub(crate) service: Service,
    pub(crate) registry: Registry,
    pub(crate) who: Who,
    pub(crate) levels: LogLevels,
    pub(crate) membership: Membership,
}

/// The routes.
pub(crate) fn router(operations: Operations) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/metrics", get(metrics))
        .route("/logspec", get(log_spec).put(set_log_spec))
        .route("/version", get(version))
        .route("/status", get(status))
        .merge(participation::routes())
        .route("/participation/v1/channels/{channel}/resume", post(conflicts::decide))
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .layer(from_fn(refuse_browsers))
        .with_state(operations)
}

/// A page that an operator happens to read must not reach what listens on the operator's loopback.
async fn refuse_browsers(request: Request, next: Next) -> Response {
    if request.headers().contains_key(header::ORIGIN) {
        return refuse(StatusCode::FORBIDDEN, "browsers are not served");
    }
    next.run(request).await
}

// fabric: core/operations/system.go
async fn healthz(State(operations): State<Operations>) -> Response {
    let failed: Vec<FailedCheck> = match operations.service.status().await {
        Ok(status) => {
            let stalled = status.channels.iter().filter_map(|channel| {
                let reason = channel.stalled_reason.clone()?;
                let component = format!("channel {}", channel.name);
                channel.is_failing().then_some(FailedCheck { component, reason })
            });
            stalled.collect()
        }
        Err(error) => {
            vec![FailedCheck { component: "gossip".into(), reason: error.to_string() }]
        }
    };
    if failed.is_empty() {
        return Json(json!({"status": "OK"})).into_response();
    }
    let body = json!({"status": "Service Unavailable", "failed_checks": failed});
    (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response()
}

#[derive(Serialize)]
struct FailedCheck {
    component: String,
    reason: String,
}

async fn metrics(State(operations): State<Operations>) -> Response {
    let mut text = Vec::new();
    match TextEncoder::new().encode(&operations.registry.gather(), &mut text) {
        Ok(()) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// Levels of the log, as they are read and written at `/logspec`.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct LogSpec {
    spec: String,
}

// fabric: common/flogging/httpadmin/spec.go SpecHandler
async fn log_spec(State(operations): State<Operations>) -> Response {
    Json(LogSpec { spec: operations.levels.spec() }).into_response()
}

async fn set_log_spec(State(operations): State<Operations>, body: String) -> Response {
    let asked = serde_json::from_str::<LogSpec>(&body).map_err(|error| error.to_string());
    match asked.and_then(|asked| operations.levels.set(&asked.spec)) {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(reason) => refuse(StatusCode::BAD_REQUEST, &reason),
    }
}

async fn version() -> Response {
    Json(json!({"Version": env!("CARGO_PKG_VERSION"), "CommitSHA": ""})).into_response()
}

async fn status(State(operations): State<Operations>) -> Response {
    match operations.service.status().await {
        Ok(status) => Json(report(&operations.who, &status)).into_response(),
        Err(error) => refuse(StatusCode::SERVICE_UNAVAILABLE, &error.to_string()),
    }
}

/// An error as Fabric's endpoints tell it.
pub(crate) fn refuse(status: StatusCode, reason: &str) -> Response {
    (status, Json(json!({"error": reason}))).into_response()
}

/// Longest body: a genesis block with hundreds of organisations.
const BODY_MAX: usize = 16 << 20;
