//! Licence keys: issued for self-hosted customers; shown once, and kept nowhere.
//!
//! What a key does to its pool is in [`pool_license`](super::pool_license), what signs it in
//! [`license_keys`](super::license_keys).

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::App;
use super::answer::{self, Number};
use super::auth::{Allowed, scope};
use super::extract::Body;
use super::license_request::LicenseOrder;
use super::problem::Problem;
use super::time::Stamp;
use super::words::{IssuedTypeWord, SeatsShape};
use crate::ledger::{Credits, Label, LicenseType, PlanCode, Seats, TRIAL_DAYS};
use crate::licenses::{Claims, Issued};

/// The routes of licences.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(post_license))
}

/// A licence that was issued, with its key.
#[derive(Serialize, ToSchema)]
#[schema(as = IssuedLicense)]
struct IssuedBody<'a> {
    /// The licence's own id.
    id: Uuid,
    /// The key itself, shown only here: a compact JWS (EdDSA) over what the licence says.
    key: &'a str,
    /// What is kept of the key once it is applied: `sha256:<hex>`.
    #[schema(value_type = String)]
    fingerprint: &'a Label,
    /// The id of the instance it is for.
    #[schema(value_type = String)]
    customer_id: &'a Label,
    /// Its kind.
    #[serde(rename = "type")]
    #[schema(value_type = IssuedTypeWord)]
    kind: LicenseType,
    /// The plan's own code.
    #[schema(value_type = String)]
    plan: &'a PlanCode,
    /// How many build.
    #[schema(value_type = SeatsShape)]
    builders: Seats,
    /// The pool's own allowance.
    #[schema(value_type = Option<Number>)]
    monthly_allowance: Option<Credits>,
    /// How many users it allows.
    #[schema(value_type = Option<SeatsShape>)]
    users: Option<Seats>,
    /// How many users who only use what was built.
    #[schema(value_type = Option<SeatsShape>)]
    end_users: Option<Seats>,
    /// When it was issued: an earlier one never takes the place of a later one.
    issued_at: Stamp,
    /// Before this it cannot be applied.
    starts_at: Option<Stamp>,
    /// When it expires; null when it does not, or by `trial_days`.
    expires_at: Option<Stamp>,
    /// Until when it is honoured after that.
    grace_until: Option<Stamp>,
    /// On a trial without an end of its own: how many days it lasts from when the pool's first
    /// trial, ever, was applied. Else null.
    trial_days: Option<i64>,
    /// What it opens.
    #[schema(value_type = Vec<String>)]
    features: &'a [Label],
    /// The signing key.
    kid: Uuid,
}

impl<'a> IssuedBody<'a> {
    fn of(issued: &'a Issued) -> Self {
        let Claims {
            id,
            customer_id,
            kind,
            plan,
            builders,
            users,
            end_users,
            monthly_allowance,
            issued_at,
            starts_at,
            expires_at,
            grace_until,
            features,
        } = &issued.claims;
        let is_open = *kind == LicenseType::Trial && expires_at.is_none();
        Self {
            id: *id,
            key: issued.key.expose(),
            fingerprint: &issued.fingerprint,
            customer_id,
            kind: *kind,
            plan,
            builders: *builders,
            monthly_allowance: *monthly_allowance,
            users: *users,
            end_users: *end_users,
            issued_at: Stamp(*issued_at),
            starts_at: starts_at.map(Stamp),
            expires_at: expires_at.map(Stamp),
            grace_until: grace_until.map(Stamp),
            trial_days: is_open.then_some(TRIAL_DAYS),
            features,
            kid: issued.kid,
        }
    }
}

/// Issues a licence key
///
/// For the customer's pool `instance:<customer_id>`, which need not be there yet. The key is shown
/// once and kept nowhere; it can be verified offline with the tenant's public keys. A `paid`
/// licence without `expires_at` is for ever; a `trial` without one ends 14 days after a trial was
/// first applied to its pool. In a sandbox, whose pools live on test clocks, `expires_at` may be in
/// the past. Each request issues another key: only those that are applied have an effect.
#[utoipa::path(
    post,
    path = "/v1/licenses",
    tag = "licenses",
    request_body = LicenseOrder,
    responses((status = 201, description = "Issued; the key is shown once", body = IssuedBody))
)]
async fn post_license(
    State(app): State<App>,
    Allowed { caller, .. }: Allowed<scope::Admin>,
    Body(body): Body<LicenseOrder>,
) -> Result<Response, Problem> {
    let order = body.read(app.clock.now(), caller.mode)?;
    let issued = app.licenses.issue(caller.tenant, order).await?;
    Ok(answer::json(StatusCode::CREATED, &IssuedBody::of(&issued)))
}
