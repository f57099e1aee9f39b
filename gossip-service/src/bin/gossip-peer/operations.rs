//! The operations endpoint, on loopback: Fabric's paths, and `/status` of ours.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use gossip_service::Service;
use prometheus::{Encoder, Registry, TextEncoder};
use serde_json::json;

use crate::status::{Who, report};

/// What the handlers look at.
#[derive(Clone)]
pub(crate) struct Operations {
    pub(crate) service: Service,
    pub(crate) registry: Registry,
    pub(crate) who: Who,
}

/// The routes.
pub(crate) fn router(operations: Operations) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/metrics", get(metrics))
        .route("/version", get(version))
        .route("/status", get(status))
        .with_state(operations)
}

async fn healthz(State(operations): State<Operations>) -> Response {
    match operations.service.status().await {
        Ok(_) => Json(json!({"status": "OK"})).into_response(),
        Err(error) => {
            let body = json!({
                "status": "Service Unavailable",
                "failed_checks": [{"component": "gossip", "reason": error.to_string()}],
            });
            (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response()
        }
    }
}

async fn metrics(State(operations): State<Operations>) -> Response {
    let mut text = Vec::new();
    match TextEncoder::new().encode(&operations.registry.gather(), &mut text) {
        Ok(()) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn version() -> Response {
    Json(json!({"Version": env!("CARGO_PKG_VERSION")})).into_response()
}

async fn status(State(operations): State<Operations>) -> Response {
    match operations.service.status().await {
        Ok(status) => Json(report(&operations.who, &status)).into_response(),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, error.to_string()).into_response(),
    }
}
