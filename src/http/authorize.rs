//! Asking before an AI action whether the pool can pay it. Books and reserves nothing.

use axum::extract::State;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::App;
use super::answer::{self, Number};
use super::auth::{PoolScope, scope};
use super::extract::{Amount, Body, Violations};
use super::problem::Problem;
use super::reading;
use super::time::Stamp;
use crate::ledger::{Credits, Label, SignedCredits, authorize};

/// The route.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(post_authorize))
}

/// What is about to be done.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = AuthorizeRequest, example = json!({"operation": "app_generation", "user_id": "u-1"}))]
pub struct AuthorizeRequest {
    /// What it will cost, when that is known.
    credits: Option<Amount>,
    /// A code of the rate card.
    operation: Option<String>,
    /// The client's user.
    user_id: Option<String>,
}

/// Whether it may be done.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Authorization)]
struct AuthorizationBody {
    /// Whether a strict debit of `required` would be booked now; without `required`, whether
    /// anything is available.
    allowed: bool,
    /// Null when allowed, else `pool_empty` or `insufficient_credits`.
    code: Option<&'static str>,
    /// What the pool can give.
    #[schema(value_type = Number)]
    available: SignedCredits,
    /// `credits`, else the operation's fixed price, else null.
    #[schema(value_type = Option<Number>)]
    required: Option<Credits>,
    /// What the operation costs on average; it never refuses.
    #[schema(value_type = Option<Number>)]
    estimate: Option<Credits>,
    /// When the next cycle starts.
    renews_at: Stamp,
    /// The number of the pool's last entry.
    version: i64,
}

/// Asks whether a debit would be booked
///
/// Needs no `Idempotency-Key`. A pool that is short is an answer (`allowed: false`), no error.
#[utoipa::path(
    post,
    path = "/v1/pools/{pool}/authorize",
    tag = "balances",
    params(("pool" = String, Path)),
    request_body = AuthorizeRequest,
    responses((status = 200, description = "The answer", body = AuthorizationBody))
)]
pub async fn post_authorize(
    State(app): State<App>,
    PoolScope { caller, pool, .. }: PoolScope<scope::BalancesRead>,
    Body(body): Body<AuthorizeRequest>,
) -> Result<Response, Problem> {
    let mut violations = Violations::new();
    let credits = violations.take("credits", body.credits.map(Amount::requested));
    let operation = violations.take("operation", body.operation.map(Label::try_from));
    violations.take("user_id", body.user_id.map(Label::try_from));
    violations.finish()?;
    let current = reading::current(&app, caller.tenant, &pool).await?;
    let answer = authorize(
        current.pool(),
        &current.catalogue,
        operation.as_ref(),
        credits,
    )?;
    Ok(answer::ok(&AuthorizationBody {
        allowed: answer.refused.is_none(),
        code: answer.refused,
        available: answer.available,
        required: answer.required,
        estimate: answer.estimate,
        renews_at: Stamp(current.pool().cycle.end),
        version: current.pool().seq,
    }))
}
