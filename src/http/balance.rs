//! A pool's balance in JSON, and reading one or many.
//!
//! The figures are the ledger's; nothing is computed here. A read as of now writes nothing: what is
//! due but not booked is counted in memory by [`reading`](super::reading). One of the past has it
//! booked first, and is the state after an entry.

use axum::extract::State;
use axum::response::Response;
use chrono::TimeDelta;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::App;
use super::answer::{self, Number};
use super::auth::{Allowed, PoolScope, scope};
use super::extract::{Body, Query, RequestId, Violations};
use super::problem::{Problem, ProblemBody};
use super::reading;
use super::time::Stamp;
use crate::ledger::{
    AddonBalance, Balance, Credits, MonthlyBalance, PoolName, Refusal, SignedCredits, TenantId,
    Time,
};

/// The most pools of one request.
const MOST_POOLS: usize = 200;

/// The routes of balances.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(get_balance))
        .routes(routes!(post_balances))
}

/// What a pool has at a moment.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Balance)]
pub struct BalanceBody<'a> {
    /// The pool's name.
    #[schema(value_type = String, example = "workspace:6f1c")]
    pool: &'a PoolName,
    /// The moment it is true for.
    as_of: Stamp,
    /// The number of the pool's last entry; it only grows. 0 for a pool that the first write makes.
    version: i64,
    /// What the pool can give: the sum of both buckets' `available`.
    #[schema(value_type = Number)]
    available: SignedCredits,
    /// Everything that holds reserve.
    #[schema(value_type = Number)]
    held: Credits,
    /// What the customer owes: settled beyond the buckets, repaid by the next grant.
    #[schema(value_type = Number)]
    overdraft: Credits,
    /// The current cycle's credits.
    monthly: MonthlyBody,
    /// The add-on pool.
    addon: AddonBody,
}

/// The monthly bucket.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MonthlyBalance)]
struct MonthlyBody {
    /// The allowance of the cycle.
    #[schema(value_type = Number)]
    granted: Credits,
    /// Granted and not spent, the held part included.
    #[schema(value_type = Number)]
    settled: Credits,
    /// Reserved out of what is settled.
    #[schema(value_type = Number)]
    held: Credits,
    /// `settled` less `held` less the overdraft: may be negative.
    #[schema(value_type = Number)]
    available: SignedCredits,
    /// Drawn from this cycle's grant, net of refunds to it.
    #[schema(value_type = Number)]
    used: Credits,
    /// When the cycle began.
    cycle_start: Stamp,
    /// When the next one begins.
    renews_at: Stamp,
    /// The earlier of `renews_at` and the licence's end.
    expires_at: Stamp,
}

/// The add-on bucket.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AddonBalance)]
struct AddonBody {
    /// Bought into the live add-on pool, less clawbacks.
    #[schema(value_type = Number)]
    granted: Credits,
    /// Bought and not spent, the held part included.
    #[schema(value_type = Number)]
    settled: Credits,
    /// Reserved out of what is settled.
    #[schema(value_type = Number)]
    held: Credits,
    /// `settled` less `held`.
    #[schema(value_type = Number)]
    available: SignedCredits,
    /// When the whole add-on pool expires; null when there is none.
    expires_at: Option<Stamp>,
}

impl<'a> BalanceBody<'a> {
    /// The body of a pool's balance.
    #[must_use]
    pub fn new(pool: &'a PoolName, balance: &Balance) -> Self {
        let MonthlyBalance {
            granted,
            settled,
            held,
            used,
            cycle_start,
            renews_at,
            expires_at,
        } = balance.monthly;
        let monthly = MonthlyBody {
            granted,
            settled,
            held,
            available: balance.monthly_available(),
            used,
            cycle_start: Stamp(cycle_start),
            renews_at: Stamp(renews_at),
            expires_at: Stamp(expires_at),
        };
        let AddonBalance {
            granted,
            settled,
            held,
            expires_at,
        } = balance.addon;
        let addon = AddonBody {
            granted,
            settled,
            held,
            available: balance.addon_available(),
            expires_at: expires_at.map(Stamp),
        };
        Self {
            pool,
            as_of: Stamp(balance.as_of),
            version: balance.version,
            available: balance.available(),
            held: balance.held(),
            overdraft: balance.overdraft,
            monthly,
            addon,
        }
    }
}

/// As of when a balance is read.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct BalanceQuery {
    /// As it was at this instant, after every entry of it; as of now when left out. Before the pool
    /// was made there was none (404); the future is refused.
    at: Option<Stamp>,
}

/// Pools whose balances are asked for.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = BalancesRequest, example = json!({"pools": ["workspace:6f1c", "instance:a1"]}))]
pub struct BalancesRequest {
    /// Up to 200 names.
    #[schema(max_items = 200)]
    pools: Vec<String>,
}

/// The balances that were asked for, in the same order.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Balances)]
struct BalancesBody<'a> {
    /// One for each name.
    results: Vec<BalanceResult<'a>>,
}

/// A balance, or why there is none.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BalanceResult)]
struct BalanceResult<'a> {
    /// The pool's name.
    #[schema(value_type = String, example = "workspace:6f1c")]
    pool: &'a PoolName,
    /// 200 or 404.
    status: u16,
    /// The balance.
    #[serde(skip_serializing_if = "Option::is_none")]
    balance: Option<BalanceBody<'a>>,
    /// The problem.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<super::openapi::ProblemSchema>)]
    error: Option<ProblemBody<'a>>,
}

/// Reads a pool's balance
///
/// As of now, whether or not what was due has been booked. Where the tenant auto-provisions, an
/// unknown pool answers as its plan freshly granted, with `version` 0; nothing is written.
#[utoipa::path(
    get,
    path = "/v1/pools/{pool}/balance",
    tag = "balances",
    params(("pool" = String, Path), BalanceQuery),
    responses((status = 200, description = "The balance", body = BalanceBody))
)]
pub async fn get_balance(
    State(app): State<App>,
    PoolScope { caller, pool, .. }: PoolScope<scope::BalancesRead>,
    Query(BalanceQuery { at }): Query<BalanceQuery>,
) -> Result<Response, Problem> {
    let balance = match at {
        None => reading::current(&app, caller.tenant, &pool)
            .await?
            .balance(),
        // Boxed: what is rarely asked for would make every read's future large.
        Some(Stamp(instant)) => Box::pin(balance_at(&app, caller.tenant, &pool, instant)).await?,
    };
    Ok(answer::ok(&BalanceBody::new(&pool, &balance)))
}

/// The balance after the last entry at or before an instant: once everything due is booked, nothing
/// happened between two entries.
async fn balance_at(
    app: &App,
    tenant: TenantId,
    name: &PoolName,
    instant: Time,
) -> Result<Balance, Problem> {
    let current = reading::booked(app, tenant, name).await?;
    if instant > current.now {
        return Err(Problem::invalid("at", "must not be in the future"));
    }
    let pool = current.pool();
    // Instants are whole milliseconds.
    let after = instant + TimeDelta::milliseconds(1);
    let last = app.store.first_since(pool.id, after).await? - 1;
    let entry = app.store.entry_at(pool.id, last).await?;
    let entry = entry.ok_or(Refusal::PoolNotFound)?;
    // A closed pool is frozen: what it had then is what it has.
    let frozen_at = pool.closed_at.unwrap_or(instant);
    Ok(Balance {
        as_of: instant.min(frozen_at),
        ..entry.after
    })
}

/// Reads the balances of many pools
///
/// In the order of the names. A pool that is not there has a 404 of its own; the others answer.
#[utoipa::path(
    post,
    path = "/v1/balances",
    tag = "balances",
    request_body = BalancesRequest,
    responses((status = 200, description = "The balances", body = BalancesBody))
)]
pub async fn post_balances(
    State(app): State<App>,
    Allowed { caller, .. }: Allowed<scope::BalancesRead>,
    request_id: RequestId,
    Body(body): Body<BalancesRequest>,
) -> Result<Response, Problem> {
    let names = body.read()?;
    let visible: Vec<PoolName> = names
        .iter()
        .filter(|pool| caller.sees(pool))
        .cloned()
        .collect();
    let found = reading::current_of(&app, caller.tenant, &visible).await?;
    let unknown = Problem::from(Refusal::PoolNotFound);
    let result = |pool| match found.get(pool) {
        Some(current) => BalanceResult {
            pool,
            status: 200,
            balance: Some(BalanceBody::new(pool, &current.balance())),
            error: None,
        },
        None => BalanceResult {
            pool,
            status: unknown.status().as_u16(),
            balance: None,
            error: Some(unknown.body(request_id.as_str())),
        },
    };
    Ok(answer::ok(&BalancesBody {
        results: names.iter().map(result).collect(),
    }))
}

impl BalancesRequest {
    fn read(self) -> Result<Vec<PoolName>, Problem> {
        let mut violations = Violations::new();
        if self.pools.len() > MOST_POOLS {
            violations.add(
                "pools",
                format_args!("must have at most {MOST_POOLS} names"),
            );
        }
        let mut names = Vec::with_capacity(MOST_POOLS);
        for (place, name) in self.pools.iter().enumerate().take(MOST_POOLS) {
            match name.parse() {
                Ok(name) => names.push(name),
                Err(error) => violations.add(format!("pools[{place}]"), error),
            }
        }
        violations.finish()?;
        Ok(names)
    }
}
