//! Refunds: of a debit, all of it or a part, and of all debits of a run.
//!
//! A refund's JSON is made from its journal entry. Those of a run follow one another in the
//! journal, and the first one says how many they are, so that a replay finds them again.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::App;
use super::answer::{self, Number};
use super::auth::{PoolScope, scope};
use super::balance::BalanceBody;
use super::booking;
use super::extract::{Amount, Key, OptionalBody, PathId, PathRun, Violations};
use super::problem::Problem;
use super::time::Stamp;
use crate::ledger::{
    Account, Command, Credits, Entry, EntryId, Label, PoolName, Reason, Refund, Request, RunRefund,
};

/// The routes of refunds.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(post_refund))
        .routes(routes!(post_run_refund))
}

/// What is to be given back of a debit.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"credits": 20, "reason": "the build failed"}))]
pub struct RefundRequest {
    /// How many; all that is left, when left out.
    credits: Option<Amount>,
    /// Why: 1 to 500 characters.
    reason: Option<String>,
}

/// Why a run is given back.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"reason": "the run failed"}))]
pub struct RunRefundRequest {
    /// 1 to 500 characters.
    reason: Option<String>,
}

/// Credits given back. The four parts say where they went.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Refund)]
struct RefundBody<'a> {
    /// Its id.
    #[schema(value_type = uuid::Uuid)]
    id: EntryId,
    /// The debit.
    #[schema(value_type = uuid::Uuid)]
    debit_id: EntryId,
    /// The pool's name.
    #[schema(value_type = String, example = "workspace:6f1c")]
    pool: &'a PoolName,
    /// Its number in the pool's journal.
    seq: i64,
    /// All of it: the sum of the four parts.
    #[schema(value_type = Number)]
    credits: Credits,
    /// Lowered the overdraft of now.
    #[schema(value_type = Number)]
    overdraft: Credits,
    /// Returned to the add-on bucket.
    #[schema(value_type = Number)]
    addon: Credits,
    /// Returned to the monthly bucket, with the part of an overdraft that was already repaid.
    #[schema(value_type = Number)]
    monthly: Credits,
    /// Lapsed, as the cycle or the add-on pool they were drawn from has ended.
    #[schema(value_type = Number)]
    lapsed: Credits,
    /// Why.
    #[schema(value_type = Option<String>)]
    reason: Option<&'a Reason>,
    /// When.
    created_at: Stamp,
    /// The balance after it.
    balance: BalanceBody<'a>,
}

/// What was left of all debits of a run, given back.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RunRefund)]
struct RunRefundBody<'a> {
    /// One a debit, in the order of the debits.
    refunds: Vec<RefundBody<'a>>,
    /// All of it.
    #[schema(value_type = Number)]
    credits: Credits,
    /// The balance after the last of them.
    balance: BalanceBody<'a>,
}

impl RefundRequest {
    fn read(self, debit: EntryId) -> Result<Refund, Problem> {
        let mut violations = Violations::new();
        let credits = violations.take("credits", self.credits.map(Amount::requested));
        let reason = violations.take("reason", self.reason.map(Reason::try_from));
        violations.finish()?;
        Ok(Refund {
            debit,
            credits,
            reason,
        })
    }
}

impl RunRefundRequest {
    fn read(self, run_id: Label) -> Result<RunRefund, Problem> {
        let mut violations = Violations::new();
        let reason = violations.take("reason", self.reason.map(Reason::try_from));
        violations.finish()?;
        Ok(RunRefund { run_id, reason })
    }
}

impl<'a> RefundBody<'a> {
    fn of(pool: &'a PoolName, entry: &'a Entry) -> Option<Self> {
        let went_to = |account| entry.moved(Account::Consumed, account);
        let (overdraft, addon) = (went_to(Account::Overdraft), went_to(Account::Addon));
        let (monthly, lapsed) = (went_to(Account::Monthly), went_to(Account::Lapsed));
        Some(Self {
            id: entry.id(),
            debit_id: entry.debit_id()?,
            pool,
            seq: entry.seq,
            credits: overdraft + addon + monthly + lapsed,
            overdraft,
            addon,
            monthly,
            lapsed,
            reason: entry.reason.as_ref(),
            created_at: Stamp(entry.at),
            balance: BalanceBody::new(pool, &entry.after),
        })
    }
}

impl<'a> RunRefundBody<'a> {
    fn of(pool: &'a PoolName, entries: &'a [Entry]) -> Option<Self> {
        let refunds = entries.iter().map(|entry| RefundBody::of(pool, entry));
        let refunds: Vec<_> = refunds.collect::<Option<_>>()?;
        Some(Self {
            credits: refunds.iter().map(|refund| refund.credits).sum(),
            balance: BalanceBody::new(pool, &entries.last()?.after),
            refunds,
        })
    }
}

/// Gives a debit back
///
/// All that is left of it, or a part; the body may be left out. It is undone backwards: overdraft,
/// add-on, monthly. What was drawn from a cycle or an add-on pool that has ended lapses.
#[utoipa::path(
    post,
    path = "/v1/pools/{pool}/debits/{id}/refunds",
    tag = "refunds",
    params(
        ("pool" = String, Path),
        ("id" = uuid::Uuid, Path),
        ("Idempotency-Key" = String, Header)
    ),
    request_body = Option<RefundRequest>,
    responses((status = 201, description = "Booked", body = RefundBody))
)]
pub async fn post_refund(
    State(app): State<App>,
    PoolScope { caller, pool, .. }: PoolScope<scope::DebitsWrite>,
    PathId(id): PathId,
    Key(key): Key,
    OptionalBody(body): OptionalBody<RefundRequest>,
) -> Result<Response, Problem> {
    let refund = body.read(EntryId::from(id))?;
    let request = Request {
        key,
        fingerprint: refund.fingerprint(),
    };
    let command = Command::Refund(Box::new(refund));
    let booked = booking::write(&app, &caller, &pool, request, command).await?;
    booked.answer(StatusCode::CREATED, RefundBody::of(&pool, &booked.entry))
}

/// Gives a run back
///
/// What is left of all debits of the run, captures included, in one commit: all of them or none.
/// The body may be left out. At most 10,000 debits.
#[utoipa::path(
    post,
    path = "/v1/pools/{pool}/runs/{run_id}/refunds",
    tag = "refunds",
    params(
        ("pool" = String, Path),
        ("run_id" = String, Path),
        ("Idempotency-Key" = String, Header)
    ),
    request_body = Option<RunRefundRequest>,
    responses((status = 201, description = "Booked", body = RunRefundBody))
)]
pub async fn post_run_refund(
    State(app): State<App>,
    PoolScope { caller, pool, .. }: PoolScope<scope::DebitsWrite>,
    PathRun(run_id): PathRun,
    Key(key): Key,
    OptionalBody(body): OptionalBody<RunRefundRequest>,
) -> Result<Response, Problem> {
    let refund = body.read(run_id)?;
    let request = Request {
        key,
        fingerprint: refund.fingerprint(),
    };
    let command = Command::RefundRun(Box::new(refund));
    let booked = booking::write(&app, &caller, &pool, request, command).await?;
    let first = &booked.entry;
    let count = first.read_details().and_then(|details| details.run_refunds);
    let count = count.ok_or_else(|| answer::unexpected("the entry"))?;
    let entries = app.store.entries_from(first.pool, first.seq, count).await?;
    let body = RunRefundBody::of(&pool, &entries);
    booked.answer(StatusCode::CREATED, body)
}
