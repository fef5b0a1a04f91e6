//! Pools: making and changing one (PUT), reading, closing, and finding many.
//!
//! What a request does to a pool's cycle and credits is the ledger's. The shapes are in
//! [`pool_put`](super::pool_put) and [`pool_body`](super::pool_body).

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::App;
use super::answer;
use super::auth::{Allowed, Caller, PoolScope, scope};
use super::extract::{Body, Query, Violations};
use super::page::{Page, PageRequest};
use super::pool_body::PoolBody;
use super::pool_put::PutPoolRequest;
use super::problem::Problem;
use super::reading;
use super::time::Stamp;
use super::words::StatusWord;
use crate::lanes::{Job, PoolView, Reply};
use crate::ledger::{
    Actor, Change, ClockId, Command, Patch, PlanCode, PoolId, PoolName, Refusal, SignedCredits,
    TenantId, Time,
};
use crate::store::{PoolFilter, PoolStatus, TenantMode};

/// The most pools of one test clock.
const MOST_POOLS_ON_A_CLOCK: usize = 1_000;
/// The longest text that is searched for: names are shorter.
const MOST_CHARS_OF_Q: usize = 140;

/// The routes of pools.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(get_pools))
        .routes(routes!(put_pool, get_pool, delete_pool))
}

/// How a PUT is to be taken.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PutQuery {
    /// `true`: answer 200 as the PUT would, and book nothing.
    #[serde(default)]
    #[param(required = false)]
    pub(super) dry_run: bool,
}

/// Which pools to list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PoolsQuery {
    /// Only those with this text in their name, in any case.
    q: Option<String>,
    /// Only those on this plan, by code or alias.
    plan: Option<String>,
    /// Only `active` or only `closed` ones.
    #[param(inline)]
    status: Option<StatusWord>,
    /// Only those that can give less than this many credits.
    #[param(value_type = Option<f64>)]
    available_below: Option<String>,
    /// `true`: only those that owe something; `false`: only those that do not.
    overdraft: Option<bool>,
    /// Only those whose next cycle starts before this.
    renews_before: Option<Stamp>,
    /// Only those whose add-on credits expire before this.
    addon_expires_before: Option<Stamp>,
    /// How many items, 1 to 200; 50 when left out.
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Makes or changes a pool
///
/// Repeating a PUT is no change at all. A larger allowance starts a new cycle at once, a smaller
/// one waits for the renewal, an equal one applies silently. Takes no `Idempotency-Key`.
#[utoipa::path(
    put,
    path = "/v1/pools/{pool}",
    tag = "pools",
    params(("pool" = String, Path), PutQuery),
    request_body = PutPoolRequest,
    responses(
        (status = 200, description = "Changed, unchanged, or a dry run", body = PoolBody),
        (status = 201, description = "Made", body = PoolBody)
    )
)]
pub async fn put_pool(
    State(app): State<App>,
    PoolScope { caller, pool, .. }: PoolScope<scope::PoolsWrite>,
    Query(PutQuery { dry_run }): Query<PutQuery>,
    Body(body): Body<PutPoolRequest>,
) -> Result<Response, Problem> {
    let put = body.read()?;
    if let Patch::Set(clock) = put.test_clock {
        may_live_on(&app, &caller, &pool, clock).await?;
    }
    let (view, change) = send(&app, &caller, pool, Command::Update(Box::new(put)), dry_run).await?;
    let status = match change {
        Change::Created if !dry_run => StatusCode::CREATED,
        Change::Created | Change::None | Change::Increase | Change::Decrease | Change::Equal => {
            StatusCode::OK
        }
    };
    Ok(answer::json(status, &PoolBody::new(&view, Some(change))))
}

/// Reads a pool
///
/// As of now, whether or not what was due has been booked.
#[utoipa::path(
    get,
    path = "/v1/pools/{pool}",
    tag = "pools",
    params(("pool" = String, Path)),
    responses((status = 200, description = "The pool", body = PoolBody))
)]
pub async fn get_pool(
    State(app): State<App>,
    PoolScope { caller, pool, .. }: PoolScope<scope::BalancesRead>,
) -> Result<Response, Problem> {
    let view = reading::shown(&app, caller.tenant, &pool).await?;
    Ok(answer::ok(&PoolBody::new(&view, None)))
}

/// Closes a pool
///
/// Renewals and expiries stop, the balance is frozen, history stays readable, further writes are
/// refused with `pool_closed`. Closing it again answers the same.
#[utoipa::path(
    delete,
    path = "/v1/pools/{pool}",
    tag = "pools",
    params(("pool" = String, Path)),
    responses((status = 200, description = "The closed pool", body = PoolBody))
)]
pub async fn delete_pool(
    State(app): State<App>,
    PoolScope { caller, pool, .. }: PoolScope<scope::PoolsWrite>,
) -> Result<Response, Problem> {
    let (view, _) = send(&app, &caller, pool, Command::Close, false).await?;
    Ok(answer::ok(&PoolBody::new(&view, None)))
}

/// Lists pools
///
/// Newest first. What is due is booked first, so the filters compare what is true now.
#[utoipa::path(
    get,
    path = "/v1/pools",
    tag = "pools",
    params(PoolsQuery),
    responses((status = 200, description = "A page", body = Page<PoolBody>))
)]
pub async fn get_pools(
    State(app): State<App>,
    Allowed { caller, .. }: Allowed<scope::BalancesRead>,
    Query(query): Query<PoolsQuery>,
) -> Result<Response, Problem> {
    let (mut filter, limit) = query.read()?;
    filter.plan = match filter.plan {
        Some(code) => Some(own_code(&app, caller.tenant, code).await?),
        None => None,
    };
    let bound = caller.pools.as_ref();
    filter.pools = bound.map(|names| {
        names
            .iter()
            .map(|name| PoolId::of(caller.tenant, name))
            .collect()
    });
    reading::book_all_due(&app, caller.tenant).await?;
    let stored = app
        .store
        .list_pools(caller.tenant, &filter, i64::from(limit) + 1)
        .await?;
    let keys: Vec<_> = stored
        .iter()
        .map(|row| (Stamp(row.recorded_at), row.pool.id))
        .collect();
    let views = reading::all_shown(&app, caller.tenant, stored).await?;
    let rows: Vec<_> = keys.into_iter().zip(views).collect();
    let page = Page::of(
        limit,
        rows.iter().collect(),
        |(key, _)| *key,
        |(_, view)| PoolBody::new(view, None),
    );
    Ok(answer::ok(&page))
}

impl PoolsQuery {
    fn read(self) -> Result<(PoolFilter, u32), Problem> {
        let mut violations = Violations::new();
        let page = PageRequest::<(Stamp, PoolId)>::read(
            &mut violations,
            self.limit,
            self.cursor.as_deref(),
        );
        if let Some(q) = &self.q {
            let fits = q.chars().count() <= MOST_CHARS_OF_Q && !q.chars().any(char::is_control);
            if !fits {
                let message =
                    format_args!("must be at most {MOST_CHARS_OF_Q} printable characters");
                violations.add("q", message);
            }
        }
        let below = self.available_below.as_deref().map(SignedCredits::parse);
        let filter = PoolFilter {
            pools: None,
            name_contains: self.q,
            plan: violations.take("plan", self.plan.map(PlanCode::try_from)),
            status: self.status.map(|status| match status {
                StatusWord::Active => PoolStatus::Active,
                StatusWord::Closed => PoolStatus::Closed,
            }),
            available_below: violations.take("available_below", below),
            overdraft: self.overdraft,
            renews_before: self.renews_before.map(Time::from),
            addon_expires_before: self.addon_expires_before.map(Time::from),
            before: page.after.map(|(Stamp(at), id)| (at, id)),
        };
        violations.finish()?;
        Ok((filter, page.limit))
    }
}

/// The plan's own code: an alias means its plan. An unknown code is on no pool.
async fn own_code(app: &App, tenant: TenantId, code: PlanCode) -> Result<PlanCode, Problem> {
    let catalogue = app.store.catalogue(tenant, None).await?;
    let own =
        catalogue.and_then(|(_, catalogue)| catalogue.plan(&code).map(|(own, _)| own.clone()));
    Ok(own.unwrap_or(code))
}

/// Whether a pool may be made on, or is already on, a test clock.
async fn may_live_on(
    app: &App,
    caller: &Caller,
    pool: &PoolName,
    clock: ClockId,
) -> Result<(), Problem> {
    match caller.mode {
        TenantMode::Live => return Err(Refusal::SandboxOnly.into()),
        TenantMode::Sandbox => {}
    }
    if app.store.clock_now(caller.tenant, clock).await?.is_none() {
        return Err(Problem::invalid(
            "test_clock",
            "is no test clock of this tenant",
        ));
    }
    let living = app.store.pools_on_clock(caller.tenant, clock).await?;
    let full = living.len() >= MOST_POOLS_ON_A_CLOCK;
    if full && living.iter().all(|there| there.name != *pool) {
        let message = format!("has {MOST_POOLS_ON_A_CLOCK} pools, the most a clock may have");
        return Err(Problem::invalid("test_clock", message));
    }
    Ok(())
}

/// Sends a command that is answered with the pool.
///
/// # Errors
/// A refusal, or the database is away.
pub(super) async fn send(
    app: &App,
    caller: &Caller,
    pool: PoolName,
    command: Command,
    dry_run: bool,
) -> Result<(Box<PoolView>, Change), Problem> {
    let actor = Actor {
        key: Some(caller.key),
        request: None,
    };
    let job = Job {
        tenant: caller.tenant,
        pool,
        actor,
        command,
        dry_run,
    };
    match app.lanes.submit(job).await? {
        Reply::Pool { view, change } => Ok((view, change)),
        Reply::Entry { .. } | Reply::Purchased { .. } | Reply::Done => {
            Err(answer::unexpected("the reply to a PUT or DELETE"))
        }
    }
}
