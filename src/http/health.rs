//! What an orchestrator asks: alive, ready, the figures. These need no key.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::extract::State;
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tokio::time::timeout;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::problem::Problem;
use super::{App, answer, codes};

/// How long the database may take to say that it is there.
const PATIENCE: Duration = Duration::from_millis(1_500);
/// Until the schema is there and it is known as what to use it.
const NOT_PREPARED: &str = "the database is away, or migrations are missing";

/// Whether this process wants new requests. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<AtomicBool>);

impl Readiness {
    /// From now on it wants none: a load balancer is to send them elsewhere.
    pub fn drain(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn is_draining(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// The routes of an orchestrator.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(get_livez))
        .routes(routes!(get_readyz))
        .routes(routes!(get_metrics))
}

/// All is well.
#[derive(Debug, Serialize, ToSchema)]
struct Health {
    /// `ok`.
    status: &'static str,
}

/// Tells that the process lives
#[utoipa::path(
    get,
    path = "/livez",
    tag = "service",
    security(()),
    responses((status = 200, description = "It lives", body = Health))
)]
pub async fn get_livez() -> Response {
    answer::ok(&Health { status: "ok" })
}

/// Tells whether the process can serve
///
/// 503 while the database is away, migrations are missing, or the process is stopping. A schema
/// that is newer than the process is fine.
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "service",
    security(()),
    responses((status = 200, description = "It is ready", body = Health))
)]
pub async fn get_readyz(State(app): State<App>) -> Result<Response, Problem> {
    if app.ready.is_draining() {
        return Err(Problem::new(codes::NOT_READY, "the service is stopping"));
    }
    match timeout(PATIENCE, app.store.is_ready()).await {
        Ok(Ok(true)) => Ok(answer::ok(&Health { status: "ok" })),
        Ok(Ok(false)) => Err(Problem::new(codes::NOT_READY, NOT_PREPARED)),
        Ok(Err(error)) => Err(error.into()),
        Err(_) => Err(Problem::plain(codes::DATABASE_UNAVAILABLE)),
    }
}

/// Tells the figures, for Prometheus
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "service",
    security(()),
    responses((status = 200, description = "Figures named `credit_ledger_…`", body = String,
        content_type = "text/plain"))
)]
pub async fn get_metrics(State(app): State<App>) -> Response {
    let content_type = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    ([(CONTENT_TYPE, content_type)], app.metrics.render()).into_response()
}
