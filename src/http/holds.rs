//! Holds: reserving credits for work whose cost is not known yet, and what then becomes of it.
//!
//! What is asked and shown is in [`hold_body`](super::hold_body). When a hold is read, what is due
//! is booked first, so that one which has expired is shown so.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::App;
use super::answer;
use super::auth::{PoolScope, scope};
use super::booking;
use super::debits::DebitBody;
use super::extract::{Body, Key, OptionalBody, PathId, Query, Violations};
use super::hold_body::{CaptureRequest, ExtendRequest, HoldBody, HoldRequest, ReleaseRequest};
use super::page::{Page, PageRequest};
use super::problem::Problem;
use super::reading;
use super::words::HoldStatusWord;
use crate::ledger::{Command, EntryId, HoldStatus, Label, Release, Request};
use crate::store::HoldFilter;

/// The routes of holds.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(post_hold, get_holds))
        .routes(routes!(get_hold))
        .routes(routes!(post_extend))
        .routes(routes!(post_capture))
        .routes(routes!(post_release))
}

/// Which holds to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct HoldsQuery {
    /// Only those of which this became.
    #[param(value_type = Option<HoldStatusWord>, inline)]
    status: Option<HoldStatus>,
    /// Only of this user.
    #[param(value_type = Option<String>)]
    user_id: Option<Label>,
    /// Only of this run.
    #[param(value_type = Option<String>)]
    run_id: Option<Label>,
    /// How many items, 1 to 200; 50 when left out.
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Reserves credits
///
/// Monthly credits first, then add-on credits; nothing else can spend them while the hold is open.
/// Refused as a strict debit is when the pool is short. With `partial` what is there is reserved,
/// and only a pool without credits refuses. At most 1,000 holds may be open on a pool.
///
/// A hold outlives its cycle and its add-on pool: what it reserved stays capturable, what is given
/// back after that lapses.
#[utoipa::path(
    post,
    path = "/v1/pools/{pool}/holds",
    tag = "holds",
    params(("pool" = String, Path), ("Idempotency-Key" = String, Header)),
    request_body = HoldRequest,
    responses((status = 201, description = "Reserved", body = HoldBody))
)]
pub async fn post_hold(
    State(app): State<App>,
    PoolScope { caller, pool, .. }: PoolScope<scope::DebitsWrite>,
    Key(key): Key,
    Body(body): Body<HoldRequest>,
) -> Result<Response, Problem> {
    let hold = body.read()?;
    let request = Request {
        key,
        fingerprint: hold.fingerprint(),
    };
    let command = Command::Hold(Box::new(hold));
    let booked = booking::write(&app, &caller, &pool, request, command).await?;
    booked.answer(StatusCode::CREATED, HoldBody::of(&pool, &booked.entry))
}

/// Gives a hold another end
///
/// Counted from now, so it may also be an earlier one. Only while the hold is open.
#[utoipa::path(
    post,
    path = "/v1/pools/{pool}/holds/{id}/extend",
    tag = "holds",
    params(
        ("pool" = String, Path),
        ("id" = uuid::Uuid, Path),
        ("Idempotency-Key" = String, Header)
    ),
    request_body = ExtendRequest,
    responses((status = 200, description = "The hold", body = HoldBody))
)]
pub async fn post_extend(
    State(app): State<App>,
    PoolScope { caller, pool, .. }: PoolScope<scope::DebitsWrite>,
    PathId(id): PathId,
    Key(key): Key,
    Body(body): Body<ExtendRequest>,
) -> Result<Response, Problem> {
    let extension = body.read(EntryId::from(id))?;
    let request = Request {
        key,
        fingerprint: extension.fingerprint(),
    };
    let command = Command::Extend(extension);
    let booked = booking::write(&app, &caller, &pool, request, command).await?;
    booked.answer(StatusCode::OK, HoldBody::of(&pool, &booked.entry))
}

/// Spends from a hold
///
/// Books a debit with the hold's attribution and closes the hold. The debit comes from the hold,
/// its monthly part first; what it leaves of the hold is given back, what is above the hold is
/// debited by `mode`. A capture that is refused leaves the hold open.
///
/// The work of a hold that has expired may still be booked, once, with `mode` `settle`: then all of
/// it is debited from the pool, and the debit says `late`.
#[utoipa::path(
    post,
    path = "/v1/pools/{pool}/holds/{id}/capture",
    tag = "holds",
    params(
        ("pool" = String, Path),
        ("id" = uuid::Uuid, Path),
        ("Idempotency-Key" = String, Header)
    ),
    request_body = CaptureRequest,
    responses((status = 201, description = "The debit", body = DebitBody))
)]
pub async fn post_capture(
    State(app): State<App>,
    PoolScope { caller, pool, .. }: PoolScope<scope::DebitsWrite>,
    PathId(id): PathId,
    Key(key): Key,
    Body(body): Body<CaptureRequest>,
) -> Result<Response, Problem> {
    let capture = body.read(EntryId::from(id))?;
    let request = Request {
        key,
        fingerprint: capture.fingerprint(),
    };
    let command = Command::Capture(Box::new(capture));
    let booked = booking::write(&app, &caller, &pool, request, command).await?;
    booked.answer(StatusCode::CREATED, DebitBody::of(&pool, &booked.entry))
}

/// Gives a hold up
///
/// What it reserved returns to its bucket; a part whose cycle or add-on pool has ended lapses. The
/// body may be left out.
#[utoipa::path(
    post,
    path = "/v1/pools/{pool}/holds/{id}/release",
    tag = "holds",
    params(
        ("pool" = String, Path),
        ("id" = uuid::Uuid, Path),
        ("Idempotency-Key" = String, Header)
    ),
    request_body = Option<ReleaseRequest>,
    responses((status = 200, description = "The hold", body = HoldBody))
)]
pub async fn post_release(
    State(app): State<App>,
    PoolScope { caller, pool, .. }: PoolScope<scope::DebitsWrite>,
    PathId(id): PathId,
    Key(key): Key,
    OptionalBody(ReleaseRequest {}): OptionalBody<ReleaseRequest>,
) -> Result<Response, Problem> {
    let release = Release {
        hold: EntryId::from(id),
    };
    let request = Request {
        key,
        fingerprint: release.fingerprint(),
    };
    let command = Command::Release(release);
    let booked = booking::write(&app, &caller, &pool, request, command).await?;
    booked.answer(StatusCode::OK, HoldBody::of(&pool, &booked.entry))
}

/// Reads a hold
///
/// With the balance right after what last happened to it.
#[utoipa::path(
    get,
    path = "/v1/pools/{pool}/holds/{id}",
    tag = "holds",
    params(("pool" = String, Path), ("id" = uuid::Uuid, Path)),
    responses((status = 200, description = "The hold", body = HoldBody))
)]
pub async fn get_hold(
    State(app): State<App>,
    PoolScope { caller, pool, .. }: PoolScope<scope::BalancesRead>,
    PathId(id): PathId,
) -> Result<Response, Problem> {
    let current = reading::booked(&app, caller.tenant, &pool).await?;
    let found = app.store.find_hold(current.pool().id, EntryId::from(id));
    let entry = found.await?.ok_or_else(|| Problem::not_found("hold"))?;
    let body = HoldBody::of(&pool, &entry);
    let body = body.ok_or_else(|| answer::unexpected("the last entry of a hold"))?;
    Ok(answer::ok(&body))
}

/// Lists a pool's holds
///
/// The last opened first, each with the balance right after what last happened to it.
#[utoipa::path(
    get,
    path = "/v1/pools/{pool}/holds",
    tag = "holds",
    params(("pool" = String, Path), HoldsQuery),
    responses((status = 200, description = "A page", body = Page<HoldBody>))
)]
pub async fn get_holds(
    State(app): State<App>,
    PoolScope { caller, pool, .. }: PoolScope<scope::BalancesRead>,
    Query(query): Query<HoldsQuery>,
) -> Result<Response, Problem> {
    let mut violations = Violations::new();
    let page = PageRequest::<i64>::read(&mut violations, query.limit, query.cursor.as_deref());
    violations.finish()?;
    let current = reading::booked(&app, caller.tenant, &pool).await?;
    let filter = HoldFilter {
        status: query.status,
        user_id: query.user_id,
        run_id: query.run_id,
    };
    let limit = i64::from(page.limit) + 1;
    let entries = app
        .store
        .holds(current.pool().id, &filter, page.after, limit)
        .await?;
    let bodies: Option<Vec<_>> = entries
        .iter()
        .map(|entry| HoldBody::of(&pool, entry))
        .collect();
    let bodies = bodies.ok_or_else(|| answer::unexpected("the last entry of a hold"))?;
    Ok(answer::ok(&Page::of(
        page.limit,
        bodies,
        |hold| hold.opened_seq,
        |hold| hold,
    )))
}
