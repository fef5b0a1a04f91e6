//! Test clocks of sandbox tenants: a pool on one lives in its time, which is moved by hand.
//!
//! Moving a clock books everything that is due on its pools before it answers. The clock is moved
//! first: a move that is interrupted is finished by asking for it again.

use std::time::Duration;

use axum::extract::{FromRequestParts, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::Response;
use chrono::Datelike;
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::App;
use super::answer;
use super::auth::{Allowed, Caller, scope};
use super::codes;
use super::extract::{Body, PathId};
use super::problem::Problem;
use super::time::Stamp;
use crate::lanes::{Job, LaneError};
use crate::ledger::{Actor, ClockId, Command, PoolName, Refusal, TenantId, Time, add_months};
use crate::store::TenantMode;

/// The furthest that one call moves a clock: 100 years.
const FURTHEST_MONTHS: i32 = 1_200;
/// The last year of a clock. Add-on credits last up to 100 years more, and every time that is ever
/// shown has four digits for its year.
const LAST_YEAR: i32 = 9_899;
/// How many pools are moved at a time: each may book a thousand renewals in one commit.
const AT_A_TIME: usize = 8;
/// How long one pool may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often, and after which pause, a full queue is tried again.
const TRIES: u32 = 50;
const PAUSE: Duration = Duration::from_millis(100);

/// The routes of test clocks.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(post_clock))
        .routes(routes!(post_advance))
}

/// A clock to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewTestClock, example = json!({"now": "2026-01-31T10:00:00Z"}))]
struct NewClockRequest {
    /// Where it stands.
    now: Stamp,
}

/// Where a clock is to be moved.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = AdvanceTestClock, example = json!({"to": "2026-02-28T10:00:00Z"}))]
struct AdvanceRequest {
    /// Not before its now, and at most 100 years after it.
    to: Stamp,
}

/// A test clock.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TestClock)]
struct ClockBody {
    id: Uuid,
    now: Stamp,
}

/// A caller with `pools:write` whose tenant is a sandbox.
struct SandboxCaller(Caller);

impl FromRequestParts<App> for SandboxCaller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let allowed = Allowed::<scope::PoolsWrite>::from_request_parts(parts, app).await?;
        match allowed.caller.mode {
            TenantMode::Sandbox => Ok(Self(allowed.caller)),
            TenantMode::Live => Err(Refusal::SandboxOnly.into()),
        }
    }
}

fn in_range(field: &'static str, Stamp(at): Stamp) -> Result<Time, Problem> {
    if at.year() <= LAST_YEAR {
        return Ok(at);
    }
    Err(Problem::invalid(
        field,
        format!("must be in the years 1970 to {LAST_YEAR}"),
    ))
}

/// Refuses a move that is not forward, or too far.
fn check_move(now: Time, to: Time) -> Result<(), Problem> {
    if to < now {
        let detail = format!("the clock stands at {} already", Stamp(now));
        return Err(Problem::new(codes::CLOCK_BACKWARDS, detail).with("now", Stamp(now)));
    }
    if to > add_months(now, FURTHEST_MONTHS) {
        return Err(Problem::invalid(
            "to",
            "must be at most 100 years after the clock's now",
        ));
    }
    Ok(())
}

/// Makes a test clock
///
/// For sandbox tenants. A pool that is created with it lives in its time for every rule.
#[utoipa::path(
    post,
    path = "/v1/test-clocks",
    tag = "test clocks",
    request_body = NewClockRequest,
    responses((status = 201, description = "Made", body = ClockBody))
)]
async fn post_clock(
    State(app): State<App>,
    SandboxCaller(caller): SandboxCaller,
    Body(body): Body<NewClockRequest>,
) -> Result<Response, Problem> {
    let now = in_range("now", body.now)?;
    let id = ClockId::from(Uuid::now_v7());
    app.store
        .insert_clock(caller.tenant, id, now, app.clock.now())
        .await?;
    Ok(answer::json(
        StatusCode::CREATED,
        &ClockBody {
            id: id.uuid(),
            now: Stamp(now),
        },
    ))
}

/// Moves a test clock
///
/// Forward only, up to 100 years a call. Answers when everything that is due on its pools is
/// booked. After a 503 the same call finishes what is missing.
#[utoipa::path(
    post,
    path = "/v1/test-clocks/{id}/advance",
    tag = "test clocks",
    params(("id" = Uuid, Path)),
    request_body = AdvanceRequest,
    responses((status = 200, description = "Moved, and all is booked", body = ClockBody))
)]
async fn post_advance(
    State(app): State<App>,
    SandboxCaller(caller): SandboxCaller,
    PathId(id): PathId,
    Body(body): Body<AdvanceRequest>,
) -> Result<Response, Problem> {
    let (tenant, clock) = (caller.tenant, ClockId::from(id));
    let no_clock = || Problem::not_found("test clock");
    let now = app
        .store
        .clock_now(tenant, clock)
        .await?
        .ok_or_else(no_clock)?;
    let to = in_range("to", body.to)?;
    check_move(now, to)?;
    if !app.store.advance_clock(tenant, clock, to).await? {
        // Somebody else moved it further meanwhile.
        let now = app
            .store
            .clock_now(tenant, clock)
            .await?
            .ok_or_else(no_clock)?;
        check_move(now, to)?;
    }
    let pools = app.store.pools_on_clock(tenant, clock).await?;
    stream::iter(pools)
        .map(|pool| Ok(book_due(&app, tenant, pool.name)))
        .try_buffer_unordered(AT_A_TIME)
        .try_for_each(|()| async { Ok(()) })
        .await?;
    Ok(answer::ok(&ClockBody { id, now: Stamp(to) }))
}

/// Books everything that is due on a pool; a queue that is full is waited for.
async fn book_due(app: &App, tenant: TenantId, pool: PoolName) -> Result<(), Problem> {
    let actor = Actor::default();
    let job = Job {
        tenant,
        pool,
        actor,
        command: Command::Advance,
        dry_run: false,
    };
    for _ in 0..TRIES {
        match app.lanes.submit_within(job.clone(), PATIENCE).await {
            Err(LaneError::Busy) => tokio::time::sleep(PAUSE).await,
            Err(error) => return Err(error.into()),
            Ok(_) => return Ok(()),
        }
    }
    Err(LaneError::Busy.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moved(now: &str, to: &str) -> Result<(), String> {
        let time = |text: &str| text.parse::<Stamp>().expect("a time").0;
        let result = check_move(time(now), time(to));
        result.map_err(|problem| problem.row().code.to_owned())
    }

    #[test]
    fn a_clock_moves_forward_a_hundred_years_at_most() {
        let now = "2026-01-31T10:00:00Z";
        let refused = |code: &str| Err(code.to_owned());
        assert_eq!(moved(now, now), Ok(()));
        assert_eq!(moved(now, "2126-01-31T10:00:00Z"), Ok(()));
        assert_eq!(
            moved(now, "2126-01-31T10:00:00.001Z"),
            refused("validation_failed")
        );
        assert_eq!(
            moved(now, "2026-01-31T09:59:59.999Z"),
            refused("clock_backwards")
        );
    }

    #[test]
    fn a_clock_stays_in_years_of_four_digits() {
        let stamp = |text: &str| text.parse::<Stamp>().expect("a time");
        assert!(in_range("now", stamp("9899-12-31T23:59:59.999Z")).is_ok());
        assert!(in_range("now", stamp("9900-01-01T00:00:00Z")).is_err());
    }
}
