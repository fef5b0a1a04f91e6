//! A pool's statement for one cycle, as JSON or CSV: opening, movements by kind, closing.
//!
//! What is due is booked first, so a cycle that is over is over. The figures are the store's.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_TYPE, HeaderValue, VARY};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::App;
use super::answer::{self, Number};
use super::auth::{PoolScope, scope};
use super::extract::Query;
use super::problem::Problem;
use super::reading;
use super::time::Stamp;
use super::transactions::wants_csv;
use crate::ledger::{PoolName, SignedCredits, Time};
use crate::store::{Buckets, Movement, Statement};

/// The route of statements.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(get_statement))
}

/// Which cycle.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct StatementQuery {
    /// When it began; the current one when left out. `previous_cycle_start` and `cycle_end` of a
    /// statement name the one before and, once that has begun, the one after it.
    cycle_start: Option<Stamp>,
}

/// A cycle of a pool. Opening and movements add up to the closing, bucket by bucket, and the
/// closing is the next cycle's opening.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Statement)]
struct StatementBody<'a> {
    /// The pool's name.
    #[schema(value_type = String, example = "workspace:6f1c")]
    pool: &'a PoolName,
    /// When the cycle began. Cycles that began at the same instant are one here.
    cycle_start: Stamp,
    /// When the next one began, or will.
    cycle_end: Stamp,
    /// When the one before it began; null for the first.
    previous_cycle_start: Option<Stamp>,
    /// Before the entry that opened the cycle.
    opening: BucketsBody,
    /// What happened, by kind of entry, in the order of each kind's first one.
    movements: Vec<MovementBody<'a>>,
    /// At the end of the cycle; now, while it runs.
    closing: BucketsBody,
}

/// What lies in the buckets, or moves.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[schema(as = StatementFigures)]
struct BucketsBody {
    /// Monthly credits, the held part included.
    #[schema(value_type = Number)]
    monthly: SignedCredits,
    /// Add-on credits, the held part included.
    #[schema(value_type = Number)]
    addon: SignedCredits,
    /// Credits of holds whose cycle or add-on pool has ended.
    #[schema(value_type = Number)]
    held_ended: SignedCredits,
    /// What the customer owes.
    #[schema(value_type = Number)]
    overdraft: SignedCredits,
}

/// What all entries of a kind moved.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = StatementMovement)]
struct MovementBody<'a> {
    /// The kind of entry.
    #[schema(example = "debit")]
    kind: &'a str,
    /// How many.
    count: i64,
    #[serde(flatten)]
    moved: BucketsBody,
}

impl From<Buckets> for BucketsBody {
    fn from(buckets: Buckets) -> Self {
        Self {
            monthly: buckets.monthly,
            addon: buckets.addon,
            held_ended: buckets.held_ended,
            overdraft: buckets.overdraft,
        }
    }
}

impl<'a> From<&'a Movement> for MovementBody<'a> {
    fn from(movement: &'a Movement) -> Self {
        Self {
            kind: &movement.kind,
            count: movement.count,
            moved: movement.moved.into(),
        }
    }
}

impl<'a> StatementBody<'a> {
    fn new(pool: &'a PoolName, statement: &'a Statement) -> Self {
        Self {
            pool,
            cycle_start: Stamp(statement.cycle_start),
            cycle_end: Stamp(statement.cycle_end),
            previous_cycle_start: statement.previous_cycle_start.map(Stamp),
            opening: statement.opening.into(),
            movements: statement.movements.iter().map(Into::into).collect(),
            closing: statement.closing.into(),
        }
    }
}

/// Reads a pool's statement for a cycle
///
/// With `Accept: text/csv` as a table: a line `opening`, one for each kind of entry, a line
/// `closing`.
#[utoipa::path(
    get,
    path = "/v1/pools/{pool}/statement",
    tag = "usage",
    params(("pool" = String, Path), StatementQuery),
    responses((status = 200, description = "The statement", content(
        (StatementBody = "application/json"),
        (String = "text/csv")
    )))
)]
pub async fn get_statement(
    State(app): State<App>,
    PoolScope { caller, pool, .. }: PoolScope<scope::BalancesRead>,
    headers: HeaderMap,
    Query(query): Query<StatementQuery>,
) -> Result<Response, Problem> {
    let current = reading::booked(&app, caller.tenant, &pool).await?;
    let cycle_start = query
        .cycle_start
        .map_or(current.pool().cycle.start, Time::from);
    let statement = app.store.statement(current.pool().id, cycle_start).await?;
    let statement = statement.ok_or_else(|| Problem::not_found("cycle"))?;
    if wants_csv(&headers) {
        let csv = csv(&statement).map_err(Problem::internal)?;
        let content_type = HeaderValue::from_static("text/csv; charset=utf-8");
        let headers = [
            (CONTENT_TYPE, content_type),
            (VARY, HeaderValue::from_static("accept")),
        ];
        return Ok((headers, csv).into_response());
    }
    Ok(answer::ok(&StatementBody::new(&pool, &statement)))
}

fn csv(statement: &Statement) -> std::io::Result<Vec<u8>> {
    let cells = |line: &str, count: String, buckets: &Buckets| {
        [
            Stamp(statement.cycle_start).to_string(),
            Stamp(statement.cycle_end).to_string(),
            line.to_owned(),
            count,
            buckets.monthly.to_string(),
            buckets.addon.to_string(),
            buckets.held_ended.to_string(),
            buckets.overdraft.to_string(),
        ]
    };
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record([
        "cycle_start",
        "cycle_end",
        "line",
        "count",
        "monthly",
        "addon",
        "held_ended",
        "overdraft",
    ])?;
    writer.write_record(cells("opening", String::new(), &statement.opening))?;
    for Movement { kind, count, moved } in &statement.movements {
        writer.write_record(cells(kind, count.to_string(), moved))?;
    }
    writer.write_record(cells("closing", String::new(), &statement.closing))?;
    writer.into_inner().map_err(csv::IntoInnerError::into_error)
}
