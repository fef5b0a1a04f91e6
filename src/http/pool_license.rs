//! A pool's signed licence: applied by its key, read, given up.
//!
//! Whether a licence is good here and now, and what it does to plan and credits, is the ledger's.

use axum::extract::State;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::App;
use super::answer;
use super::auth::{PoolScope, scope};
use super::balance::BalanceBody;
use super::extract::{Body, Query};
use super::pools::{self, PutQuery};
use super::problem::Problem;
use super::reading;
use super::time::Stamp;
use super::words::{ChangeWord, LicenseStatusWord, LicenseTypeWord, LimitsShape};
use crate::config::Secret;
use crate::lanes::PoolView;
use crate::ledger::{
    Change, Command, Label, License, LicenseLimits, LicenseStatus, LicenseType, PlanCode, Pool,
    PoolName, Time,
};

/// The routes of a pool's licence.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(get_license, put_license, delete_license))
}

/// A licence key to be applied. No `Debug`: the key must not be seen.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = LicenseKey, example = json!({"key": "eyJ0eXAiOiJsaWNlbnNlK2p3dCJ9.e30.c2ln"}))]
struct KeyRequest {
    /// As it was issued; at most 8 KiB.
    key: String,
}

/// A pool's licence as of now.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PoolLicense)]
struct PoolLicenseBody<'a> {
    /// The pool's name.
    #[schema(value_type = String, example = "instance:acme")]
    pool: &'a PoolName,
    /// The kind of the licence, also after its end; `basic` without one.
    #[serde(rename = "type")]
    #[schema(value_type = LicenseTypeWord)]
    kind: LicenseType,
    /// The plan in force.
    #[schema(value_type = String)]
    plan: &'a PlanCode,
    /// What the licence is now; `none` without one, and when it was given up.
    #[schema(value_type = LicenseStatusWord)]
    status: LicenseStatus,
    /// When it expires or has expired.
    expires_at: Option<Stamp>,
    /// Until when it is honoured after that.
    grace_until: Option<Stamp>,
    /// Of a signed licence: `sha256:<hex>` of its key.
    #[schema(value_type = Option<String>)]
    fingerprint: Option<&'a Label>,
    /// What is open now, in the vendor's words.
    #[schema(value_type = Vec<String>)]
    features: &'a [Label],
    /// What is allowed now; `builders` are those of the pool where no licence says them.
    #[schema(value_type = LimitsShape)]
    limits: LicenseLimits,
    /// What the request did; in answers to PUT and DELETE only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<ChangeWord>)]
    change: Option<Change>,
    /// What the pool has; in answers to PUT and DELETE only.
    #[serde(skip_serializing_if = "Option::is_none")]
    balance: Option<BalanceBody<'a>>,
}

impl<'a> PoolLicenseBody<'a> {
    fn new(pool: &'a Pool, now: Time) -> Self {
        let last = pool.shown_license();
        let status = last.map_or(LicenseStatus::None, |last| last.status(now));
        let in_force = match status {
            LicenseStatus::Active | LicenseStatus::Grace => last,
            LicenseStatus::None | LicenseStatus::Expired => None,
        };
        let limits = in_force.and_then(|license| license.limits);
        let limits = limits.unwrap_or_default();
        let signed = |license: &'a License| license.signed.as_ref();
        Self {
            pool: &pool.name,
            kind: last.map_or(LicenseType::Basic, |last| last.kind),
            plan: &pool.terms.plan,
            status,
            expires_at: last.and_then(|last| last.expires_at).map(Stamp),
            grace_until: last.and_then(|last| last.grace_until).map(Stamp),
            fingerprint: last.and_then(signed).map(|signed| &signed.fingerprint),
            features: in_force
                .and_then(signed)
                .map_or(&[], |signed| &signed.features),
            limits: LicenseLimits {
                builders: limits.builders.or(Some(pool.terms.builders)),
                ..limits
            },
            change: None,
            balance: None,
        }
    }

    fn changed(view: &'a PoolView, change: Change) -> Self {
        let (pool, now) = (&view.pool, view.as_of);
        Self {
            change: Some(change),
            balance: Some(BalanceBody::new(&pool.name, &pool.balance(now))),
            ..Self::new(pool, now)
        }
    }
}

/// Applies a licence key
///
/// The pool must be the one the key was issued for. The licence's plan, builders and allowance come
/// into force by the rules of any PUT of the pool; from then on it alone says them, until its end
/// or until it is given up. The same key again changes nothing. Nor does a key that is refused:
/// because it is none, or signed by no key that is trusted, or for another instance, or not
/// started, over, older than the one in force, or a trial after a paid one. Takes no
/// `Idempotency-Key`.
#[utoipa::path(
    put,
    path = "/v1/pools/{pool}/license",
    tag = "licenses",
    params(("pool" = String, Path), PutQuery),
    request_body = KeyRequest,
    responses((status = 200, description = "In force, or a dry run", body = PoolLicenseBody))
)]
async fn put_license(
    State(app): State<App>,
    PoolScope { caller, pool, .. }: PoolScope<scope::PoolsWrite>,
    Query(PutQuery { dry_run }): Query<PutQuery>,
    Body(KeyRequest { key }): Body<KeyRequest>,
) -> Result<Response, Problem> {
    let key = Secret::new(key);
    let license = app.licenses.believe(caller.tenant, &key).await?;
    let command = Command::License(Box::new(license));
    let (view, change) = pools::send(&app, &caller, pool, command, dry_run).await?;
    Ok(answer::ok(&PoolLicenseBody::changed(&view, change)))
}

/// Reads a pool's licence
///
/// As of now. `plan`, `limits` and `features` are those in force; `type` and `expires_at` still
/// tell of a licence that has ended.
#[utoipa::path(
    get,
    path = "/v1/pools/{pool}/license",
    tag = "licenses",
    params(("pool" = String, Path)),
    responses((status = 200, description = "The licence", body = PoolLicenseBody))
)]
async fn get_license(
    State(app): State<App>,
    PoolScope { caller, pool, .. }: PoolScope<scope::BalancesRead>,
) -> Result<Response, Problem> {
    let current = reading::current(&app, caller.tenant, &pool).await?;
    Ok(answer::ok(&PoolLicenseBody::new(
        current.pool(),
        current.now,
    )))
}

/// Gives a pool's signed licence up
///
/// The pool falls to its free plan at once, as at the licence's end; add-on credits stay. The key
/// may be applied again. Without a signed licence nothing changes.
#[utoipa::path(
    delete,
    path = "/v1/pools/{pool}/license",
    tag = "licenses",
    params(("pool" = String, Path)),
    responses((status = 200, description = "None is in force", body = PoolLicenseBody))
)]
async fn delete_license(
    State(app): State<App>,
    PoolScope { caller, pool, .. }: PoolScope<scope::PoolsWrite>,
) -> Result<Response, Problem> {
    let (view, change) = pools::send(&app, &caller, pool, Command::Withdraw, false).await?;
    Ok(answer::ok(&PoolLicenseBody::changed(&view, change)))
}
