//! The reads that ToolJet's backend makes, in its own shapes: camelCase, never cached.
//!
//! `organizations` are workspace pools, `selfhost-customers` instance pools. The figures are those
//! of the balance and of the journal; here they only get ToolJet's names. That its problems carry
//! `message` and `statusCode` too is the [middleware](super::middleware)'s.

use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, HeaderValue};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::App;
use super::answer::{self, Number};
use super::auth::{Allowed, Caller, scope};
use super::extract::{PathText, Query};
use super::problem::Problem;
use super::reading;
use super::time::Stamp;
use super::tooljet_usage::{Split, UsageBody};
use crate::ledger::{Balance, PoolKind, PoolName, SignedCredits};

/// The routes of ToolJet's backend.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(get_organization_balance))
        .routes(routes!(get_customer_balance))
        .routes(routes!(get_organization_usage))
        .routes(routes!(get_customer_usage))
}

/// A pool's balance in ToolJet's shape.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ToolJetBalance)]
struct BalanceBody {
    /// `remaining.total`.
    #[schema(value_type = Number)]
    balance: SignedCredits,
    /// What is left: monthly less the overdraft, so it may be negative, and add-on.
    remaining: Figures,
    /// What was granted.
    plan: Figures,
    /// When it is over.
    expiry: Expiry,
    /// When the cycle began.
    cycle_start: Stamp,
    /// The moment all this is true for.
    as_of: Stamp,
    /// The number of the pool's last entry.
    version: i64,
}

/// Monthly and add-on credits, and their sum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = ToolJetFigures)]
pub struct Figures {
    /// Monthly credits, the overdraft counted among them.
    #[schema(value_type = Number)]
    recurring: SignedCredits,
    /// Add-on credits.
    #[schema(value_type = Number)]
    topup: SignedCredits,
    /// Both.
    #[schema(value_type = Number)]
    total: SignedCredits,
}

/// When credits expire.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ToolJetExpiry)]
struct Expiry {
    /// The earlier of the renewal and the licence's end.
    recurring_expiry_date: Stamp,
    /// When the add-on pool expires; null when there is none.
    topup_expiry_date: Option<Stamp>,
}

/// How usage is split. Parameters we do not know are ignored: ToolJet's calls are as they are.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub struct UsageQuery {
    /// `organization` adds `byOrganization` to each user.
    #[param(inline)]
    group_by: Option<GroupBy>,
}

/// What usage can be split by.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
enum GroupBy {
    /// By the workspace that a debit names.
    Organization,
}

impl Figures {
    /// Two figures and their sum.
    #[must_use]
    pub fn new(recurring: SignedCredits, topup: SignedCredits) -> Self {
        Self {
            recurring,
            topup,
            total: recurring + topup,
        }
    }
}

impl From<&Balance> for BalanceBody {
    fn from(balance: &Balance) -> Self {
        let (monthly, addon) = (&balance.monthly, &balance.addon);
        let left = monthly.settled.signed() - balance.overdraft.signed();
        let remaining = Figures::new(left, addon.settled.signed());
        Self {
            balance: remaining.total,
            remaining,
            plan: Figures::new(monthly.granted.signed(), addon.granted.signed()),
            expiry: Expiry {
                recurring_expiry_date: Stamp(monthly.expires_at),
                topup_expiry_date: addon.expires_at.map(Stamp),
            },
            cycle_start: Stamp(monthly.cycle_start),
            as_of: Stamp(balance.as_of),
            version: balance.version,
        }
    }
}

/// Reads a workspace's balance, as ToolJet does
#[utoipa::path(
    get,
    path = "/api/ai/organizations/{id}/balance",
    tag = "tooljet",
    params(("id" = String, Path, description = "The workspace's id")),
    responses((status = 200, description = "The balance", body = BalanceBody))
)]
pub async fn get_organization_balance(
    State(app): State<App>,
    Allowed { caller, .. }: Allowed<scope::BalancesRead>,
    PathText(id): PathText,
) -> Result<Response, Problem> {
    balance(&app, &caller, pool(&caller, PoolKind::Workspace, &id)?).await
}

/// Reads a self-hosted instance's balance, as ToolJet does
#[utoipa::path(
    get,
    path = "/api/ai/selfhost-customers/{id}/balance",
    tag = "tooljet",
    params(("id" = String, Path, description = "The instance's id")),
    responses((status = 200, description = "The balance", body = BalanceBody))
)]
pub async fn get_customer_balance(
    State(app): State<App>,
    Allowed { caller, .. }: Allowed<scope::BalancesRead>,
    PathText(id): PathText,
) -> Result<Response, Problem> {
    balance(&app, &caller, pool(&caller, PoolKind::Instance, &id)?).await
}

/// Reads a workspace's usage in the current cycle, as ToolJet does
///
/// Users and `unattributed` add up to `pool` exactly. Refunds are subtracted, but for parts that
/// lapsed: they came back to no bucket.
#[utoipa::path(
    get,
    path = "/api/ai/organizations/{id}/usage",
    tag = "tooljet",
    params(("id" = String, Path, description = "The workspace's id")),
    responses((status = 200, description = "The usage", body = UsageBody))
)]
pub async fn get_organization_usage(
    State(app): State<App>,
    Allowed { caller, .. }: Allowed<scope::BalancesRead>,
    PathText(id): PathText,
) -> Result<Response, Problem> {
    let pool = pool(&caller, PoolKind::Workspace, &id)?;
    usage(&app, &caller, pool, Split::Users).await
}

/// Reads a self-hosted instance's usage in the current cycle, as ToolJet does
///
/// Users and `unattributed` add up to `pool` exactly. Refunds are subtracted, but for parts that
/// lapsed: they came back to no bucket.
#[utoipa::path(
    get,
    path = "/api/ai/selfhost-customers/{id}/usage",
    tag = "tooljet",
    params(("id" = String, Path, description = "The instance's id"), UsageQuery),
    responses((status = 200, description = "The usage", body = UsageBody))
)]
pub async fn get_customer_usage(
    State(app): State<App>,
    Allowed { caller, .. }: Allowed<scope::BalancesRead>,
    PathText(id): PathText,
    Query(query): Query<UsageQuery>,
) -> Result<Response, Problem> {
    let pool = pool(&caller, PoolKind::Instance, &id)?;
    let split = match query.group_by {
        Some(GroupBy::Organization) => Split::Organizations,
        None => Split::Users,
    };
    usage(&app, &caller, pool, split).await
}

fn pool(caller: &Caller, kind: PoolKind, id: &str) -> Result<PoolName, Problem> {
    let name =
        PoolName::new(kind, id).map_err(|error| Problem::invalid("id", error.to_string()))?;
    caller.require_pool(&name)?;
    Ok(name)
}

async fn balance(app: &App, caller: &Caller, pool: PoolName) -> Result<Response, Problem> {
    let current = reading::current(app, caller.tenant, &pool).await?;
    Ok(uncached(answer::ok(&BalanceBody::from(&current.balance()))))
}

async fn usage(
    app: &App,
    caller: &Caller,
    pool: PoolName,
    split: Split,
) -> Result<Response, Problem> {
    let current = reading::booked_or_new(app, caller.tenant, &pool).await?;
    let json = app.cycles().read(&app.store, current.pool(), split).await?;
    Ok(uncached(answer::ready(json)))
}

fn uncached(answer: Response) -> Response {
    let no_store = HeaderValue::from_static("no-store");
    ([(CACHE_CONTROL, no_store)], answer).into_response()
}
