//! Many debits in one request: each item stands for itself, items of one pool go in order.
//!
//! A bad item is answered with its own problem and never stops the others. The work is that of
//! [`debits`](super::debits); nothing is decided here.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::App;
use super::answer;
use super::auth::{Allowed, Caller, scope};
use super::booking::{self, Booked};
use super::codes;
use super::debits::{DebitBody, DebitRequest};
use super::extract::{Amount, Body, MetadataBody, RequestId, parse_json};
use super::openapi::ProblemSchema;
use super::problem::{Problem, ProblemBody};
use super::words::{ModeWord, RoundWord};
use crate::lanes::Job;
use crate::ledger::{Command, IdempotencyKey, Mode, PoolName, Request, Round};
use crate::telemetry::REFUSALS;

/// The most items of one batch.
const MOST_ITEMS: usize = 1_000;

/// The route of batches.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(post_batch))
}

/// Debits to be booked.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"items": [
    {"pool": "workspace:6f1c", "idempotency_key": "run-55-1", "credits": 70, "user_id": "u-1"}
]}))]
pub struct BatchRequest {
    /// 1 to 1,000.
    #[schema(value_type = Vec<BatchItem>, min_items = 1, max_items = 1000)]
    items: Vec<Box<RawValue>>,
}

/// A debit of a batch.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct BatchItem {
    /// The pool's name.
    pool: String,
    /// As good as the header `Idempotency-Key` of a single debit.
    idempotency_key: Option<String>,
    /// How many.
    credits: Option<Amount>,
    /// How to bring `credits` to a multiple of the plan's denomination.
    #[schema(value_type = Option<RoundWord>)]
    round: Option<Round>,
    /// A code of the rate card.
    operation: Option<String>,
    /// The client's user.
    user_id: Option<String>,
    /// The client's workspace.
    workspace_id: Option<String>,
    /// The run it is part of.
    run_id: Option<String>,
    /// The model that does the work.
    model: Option<String>,
    /// What happens when the pool is short; `strict` when left out.
    #[schema(value_type = Option<ModeWord>)]
    mode: Option<Mode>,
    /// The client's own.
    metadata: Option<MetadataBody>,
}

/// What came of each item, in their order.
#[derive(Serialize, ToSchema)]
struct BatchResponse<'a> {
    /// One for each item.
    results: Vec<BatchResult<'a>>,
}

/// What came of one item: a debit or a problem.
#[derive(Serialize, ToSchema)]
struct BatchResult<'a> {
    /// 201, or the problem's status.
    status: u16,
    /// With a debit: whether an earlier request with the same key booked it.
    #[serde(skip_serializing_if = "Option::is_none")]
    replayed: Option<bool>,
    /// The debit.
    #[serde(skip_serializing_if = "Option::is_none")]
    debit: Option<DebitBody<'a>>,
    /// The problem.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<ProblemSchema>)]
    error: Option<ProblemBody<'a>>,
}

/// An item that was booked, with the name of its pool.
type Item = (PoolName, Booked);

/// Books many debits
///
/// Items of one pool are booked in their order. Each item has its own key and its own answer; one
/// that is refused does not stop the others. Takes no `Idempotency-Key` header.
#[utoipa::path(
    post,
    path = "/v1/debits/batch",
    tag = "debits",
    request_body = BatchRequest,
    responses((status = 200, description = "What came of each item", body = BatchResponse))
)]
pub async fn post_batch(
    State(app): State<App>,
    Allowed { caller, .. }: Allowed<scope::DebitsWrite>,
    request_id: RequestId,
    Body(body): Body<BatchRequest>,
) -> Result<Response, Problem> {
    if !(1..=MOST_ITEMS).contains(&body.items.len()) {
        let message = format!("must have 1 to {MOST_ITEMS} items");
        return Err(Problem::invalid("items", message));
    }
    // A job is queued when its future is first polled, which `join_all` does in their order: so
    // items of one pool reach their lane in order, and all lanes work at once.
    let booking = body
        .items
        .iter()
        .map(|item| book(&app, read(&caller, item)));
    let outcomes = join_all(booking).await;
    for problem in outcomes.iter().filter_map(|outcome| outcome.as_ref().err()) {
        metrics::counter!(REFUSALS, "code" => problem.row().code).increment(1);
    }
    let id = request_id.as_str();
    let results = outcomes
        .iter()
        .map(|outcome| BatchResult::of(outcome, id))
        .collect();
    Ok(answer::ok(&BatchResponse { results }))
}

/// The job of an item, checked in the order of a single debit: its shape, its pool, its key, the
/// rest.
fn read(caller: &Caller, item: &RawValue) -> Result<Job, Problem> {
    let item: BatchItem = parse_json(item.get().as_bytes())?;
    let name: Result<PoolName, _> = item.pool.parse();
    let pool = name.map_err(|error| Problem::invalid("pool", error.to_string()))?;
    caller.require_pool(&pool)?;
    let key = item.idempotency_key.filter(|key| !key.is_empty());
    let key = key.ok_or_else(|| {
        Problem::new(
            codes::IDEMPOTENCY_KEY_MISSING,
            "the item has no idempotency_key",
        )
    })?;
    let key = IdempotencyKey::try_from(key)
        .map_err(|error| Problem::invalid("idempotency_key", error.to_string()))?;
    let debit = DebitRequest {
        credits: item.credits,
        round: item.round,
        operation: item.operation,
        user_id: item.user_id,
        workspace_id: item.workspace_id,
        run_id: item.run_id,
        model: item.model,
        mode: item.mode,
        metadata: item.metadata,
    };
    let debit = debit.read()?;
    let request = Request {
        key,
        fingerprint: debit.fingerprint(),
    };
    let command = Command::Debit(Box::new(debit));
    Ok(booking::job(caller, pool, request, command))
}

async fn book(app: &App, job: Result<Job, Problem>) -> Result<Item, Problem> {
    let job = job?;
    let pool = job.pool.clone();
    let booked = booking::book(app, job).await?;
    Ok((pool, booked))
}

impl<'a> BatchResult<'a> {
    fn of(outcome: &'a Result<Item, Problem>, request_id: &'a str) -> Self {
        let status = outcome
            .as_ref()
            .map_or_else(Problem::status, |_| StatusCode::CREATED);
        let debit = outcome
            .as_ref()
            .ok()
            .and_then(|(pool, booked)| DebitBody::of(pool, &booked.entry));
        Self {
            status: status.as_u16(),
            replayed: outcome.as_ref().ok().map(|(_, booked)| booked.replayed),
            debit,
            error: outcome.as_ref().err().map(|it| it.body(request_id)),
        }
    }
}
