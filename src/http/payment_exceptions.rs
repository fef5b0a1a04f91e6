//! Payments that could not be credited by themselves, and how people resolve them.
//!
//! A key that is bound to pools sees those of payments that name one of them.

use axum::extract::State;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::App;
use super::answer::{self, Number};
use super::auth::{Allowed, scope};
use super::extract::{Amount, Body, PathId, Query, Violations};
use super::page::{Page, PageRequest};
use super::problem::Problem;
use super::time::Stamp;
use crate::ledger::{Credits, KeyId, Label, PoolName, Reason};
use crate::payments::Resolution;
use crate::store::{ExceptionFilter, ExceptionRecord, ExceptionStatus};

/// The routes of exceptions.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(get_exceptions))
        .routes(routes!(credit_exception))
        .routes(routes!(dismiss_exception))
}

/// Which exceptions to list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ExceptionsQuery {
    /// Only these: `open`, `credited` or `dismissed`.
    status: Option<String>,
    /// How many items, 1 to 200; 50 when left out.
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Where the payment is to be credited.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = CreditException, example = json!({"pool": "workspace:6f1c"}))]
struct CreditRequest {
    /// The pool.
    pool: String,
    /// The credits; left out, what the payment named.
    #[schema(value_type = Option<f64>)]
    credits: Option<Amount>,
}

/// Why nothing is to be done.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = DismissException, example = json!({"reason": "paid back by hand"}))]
struct DismissRequest {
    /// Why: 1 to 500 characters.
    reason: String,
}

/// A payment that could not be credited.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PaymentException)]
struct ExceptionBody<'a> {
    /// Its id.
    id: Uuid,
    /// `open`, `credited` or `dismissed`.
    #[schema(example = "open")]
    status: &'static str,
    /// Why it could not be credited: the code of a refusal, or `pool_missing`, `credits_missing`,
    /// `pool_unreadable`, `credits_unreadable`.
    #[schema(example = "pool_not_found")]
    reason: &'a str,
    /// The payment's own name.
    #[schema(value_type = String)]
    payment_reference: &'a Label,
    /// The pool that the payment named, as it did.
    pool: Option<&'a str>,
    /// The credits that the payment named, as it did.
    credits: Option<&'a str>,
    /// What was paid, in the currency's smallest unit.
    amount_cents: Option<i64>,
    /// The currency.
    currency: Option<&'a str>,
    /// Who bought.
    #[schema(value_type = Option<String>)]
    user_id: Option<&'a Label>,
    /// The provider's event that told of the payment.
    event_id: &'a str,
    /// When it was paid.
    paid_at: Stamp,
    /// Since when it is an exception.
    created_at: Stamp,
    /// How it was resolved; null while it is open.
    resolution: Option<ResolutionBody<'a>>,
}

/// How an exception was resolved.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ExceptionResolution)]
struct ResolutionBody<'a> {
    /// When.
    at: Stamp,
    /// By which key; null when the payment was credited by itself later.
    #[schema(value_type = Option<Uuid>)]
    by: Option<KeyId>,
    /// The pool it was credited to.
    pool: Option<&'a str>,
    /// The credits.
    #[schema(value_type = Option<Number>)]
    credits: Option<Credits>,
    /// Why it was dismissed.
    reason: Option<&'a str>,
}

/// The sort key of the list.
type ListKey = (Stamp, Uuid);

impl<'a> ExceptionBody<'a> {
    fn new(record: &'a ExceptionRecord) -> Self {
        let resolution = record.resolved_at.map(|at| ResolutionBody {
            at: Stamp(at),
            by: record.resolved_by,
            pool: record.resolved_pool.as_deref(),
            credits: record.resolved_credits,
            reason: record.resolved_reason.as_deref(),
        });
        Self {
            id: record.id,
            status: record.status.as_str(),
            reason: &record.reason,
            payment_reference: &record.reference,
            pool: record.pool.as_deref(),
            credits: record.credits.as_deref(),
            amount_cents: record.amount_cents,
            currency: record.currency.as_deref(),
            user_id: record.user_id.as_ref(),
            event_id: &record.event,
            paid_at: Stamp(record.paid_at),
            created_at: Stamp(record.created_at),
            resolution,
        }
    }
}

/// Lists payments that could not be credited
///
/// Newest first. At most one of each payment.
#[utoipa::path(
    get,
    path = "/v1/payments/exceptions",
    tag = "payments",
    params(ExceptionsQuery),
    responses((status = 200, description = "A page", body = Page<ExceptionBody>))
)]
async fn get_exceptions(
    State(app): State<App>,
    Allowed { caller, .. }: Allowed<scope::BalancesRead>,
    Query(query): Query<ExceptionsQuery>,
) -> Result<Response, Problem> {
    let mut violations = Violations::new();
    let page: PageRequest<ListKey> =
        PageRequest::read(&mut violations, query.limit, query.cursor.as_deref());
    let status = query
        .status
        .map(|word| ExceptionStatus::read(&word).ok_or("must be open, credited or dismissed"));
    let status = violations.take("status", status);
    violations.finish()?;
    // What a bound key may not see is as if it did not exist.
    let bound = caller.pools.as_ref();
    let filter = ExceptionFilter {
        status,
        pools: bound.map(|names| names.iter().map(ToString::to_string).collect()),
        before: page.after.map(|(Stamp(at), id)| (at, id)),
    };
    let limit = i64::from(page.limit) + 1;
    let records = app.store.exceptions(caller.tenant, &filter, limit).await?;
    let rows: Vec<&ExceptionRecord> = records.iter().collect();
    let key = |record: &&ExceptionRecord| (Stamp(record.created_at), record.id);
    Ok(answer::ok(&Page::of(
        page.limit,
        rows,
        key,
        ExceptionBody::new,
    )))
}

/// Credits a payment that could not be credited
///
/// The payment is honoured whatever plan and quantity; a closed or unknown pool still refuses it.
/// What was refunded or disputed of it meanwhile is taken back at once.
#[utoipa::path(
    post,
    path = "/v1/payments/exceptions/{id}/credit",
    tag = "payments",
    params(("id" = Uuid, Path)),
    request_body = CreditRequest,
    responses((status = 200, description = "Credited", body = ExceptionBody))
)]
async fn credit_exception(
    State(app): State<App>,
    Allowed { caller, .. }: Allowed<scope::PurchasesWrite>,
    PathId(id): PathId,
    Body(body): Body<CreditRequest>,
) -> Result<Response, Problem> {
    let mut violations = Violations::new();
    let pool = violations.keep("pool", body.pool.parse::<PoolName>());
    let credits = violations.take("credits", body.credits.map(Amount::requested));
    let resolution = Resolution {
        pool: violations.finish_with(pool)?,
        credits,
        by: caller.key,
    };
    let resolved = app.payments.credit_exception(caller.tenant, id, resolution);
    let record = resolved.await?.ok_or_else(no_such)?;
    Ok(answer::ok(&ExceptionBody::new(&record)))
}

/// Dismisses a payment that could not be credited
///
/// Nothing is booked for it, also when its event comes again.
#[utoipa::path(
    post,
    path = "/v1/payments/exceptions/{id}/dismiss",
    tag = "payments",
    params(("id" = Uuid, Path)),
    request_body = DismissRequest,
    responses((status = 200, description = "Dismissed", body = ExceptionBody))
)]
async fn dismiss_exception(
    State(app): State<App>,
    Allowed { caller, .. }: Allowed<scope::PurchasesWrite>,
    PathId(id): PathId,
    Body(body): Body<DismissRequest>,
) -> Result<Response, Problem> {
    let mut violations = Violations::new();
    let reason = violations.keep("reason", Reason::try_from(body.reason));
    let reason = violations.finish_with(reason)?;
    let resolved = app
        .payments
        .dismiss_exception(caller.tenant, id, caller.key, &reason);
    let record = resolved.await?.ok_or_else(no_such)?;
    Ok(answer::ok(&ExceptionBody::new(&record)))
}

fn no_such() -> Problem {
    Problem::not_found("exception")
}
