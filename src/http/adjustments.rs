//! Credits given or taken by hand, by whoever has the scope `admin`.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::App;
use super::answer::Number;
use super::auth::{PoolScope, scope};
use super::balance::BalanceBody;
use super::booking;
use super::extract::{Amount, Body, Key, Violations};
use super::problem::Problem;
use super::time::Stamp;
use super::words::BucketWord;
use crate::ledger::{
    Account, Adjustment, Bucket, Command, Entry, EntryId, PoolName, Reason, Request, SignedCredits,
};

/// The route of adjustments.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(post_adjustment))
}

/// Credits to give or take.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"bucket": "monthly", "credits": -20, "reason": "double charge"}))]
pub struct AdjustmentRequest {
    /// The bucket that is changed.
    #[schema(value_type = BucketWord)]
    bucket: Bucket,
    /// Above 0 to give, below 0 to take; at most 1000000000 either way.
    #[schema(value_type = f64)]
    credits: Amount,
    /// Why: 1 to 500 characters.
    reason: String,
}

/// An adjustment that was booked.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Adjustment)]
struct AdjustmentBody<'a> {
    /// Its id.
    #[schema(value_type = uuid::Uuid)]
    id: EntryId,
    /// The pool's name.
    #[schema(value_type = String, example = "workspace:6f1c")]
    pool: &'a PoolName,
    /// Its number in the pool's journal.
    seq: i64,
    /// The bucket that was changed.
    #[schema(value_type = BucketWord)]
    bucket: Bucket,
    /// What was given or, below 0, taken.
    #[schema(value_type = Number)]
    credits: SignedCredits,
    /// Why.
    #[schema(value_type = Option<String>)]
    reason: Option<&'a Reason>,
    /// When.
    created_at: Stamp,
    /// The balance after it.
    balance: BalanceBody<'a>,
}

impl AdjustmentRequest {
    fn read(self) -> Result<Adjustment, Problem> {
        let mut violations = Violations::new();
        let credits = violations.keep("credits", self.credits.signed());
        let reason = violations.keep("reason", Reason::try_from(self.reason));
        let bucket = self.bucket;
        let adjustment = credits.zip(reason);
        violations.finish_with(adjustment.map(|(credits, reason)| Adjustment {
            bucket,
            credits,
            reason,
        }))
    }
}

impl<'a> AdjustmentBody<'a> {
    fn of(pool: &'a PoolName, entry: &'a Entry) -> Option<Self> {
        let bucket = entry.read_details()?.bucket?;
        let account = match bucket {
            Bucket::Monthly => Account::Monthly,
            Bucket::Addon => Account::Addon,
        };
        let given = entry.moved(Account::Adjusted, account).signed();
        let taken = entry.moved(account, Account::Adjusted).signed();
        Some(Self {
            id: entry.id(),
            pool,
            seq: entry.seq,
            bucket,
            credits: given - taken,
            reason: entry.reason.as_ref(),
            created_at: Stamp(entry.at),
            balance: BalanceBody::new(pool, &entry.after),
        })
    }
}

/// Gives or takes credits by hand
///
/// On any plan. Changes what is settled, never what was granted, and repays no overdraft. Add-on
/// credits given without a live add-on pool open one that lasts as long as a purchase of now.
#[utoipa::path(
    post,
    path = "/v1/pools/{pool}/adjustments",
    tag = "adjustments",
    params(("pool" = String, Path), ("Idempotency-Key" = String, Header)),
    request_body = AdjustmentRequest,
    responses((status = 201, description = "Booked", body = AdjustmentBody))
)]
pub async fn post_adjustment(
    State(app): State<App>,
    PoolScope { caller, pool, .. }: PoolScope<scope::Admin>,
    Key(key): Key,
    Body(body): Body<AdjustmentRequest>,
) -> Result<Response, Problem> {
    let adjustment = body.read()?;
    let request = Request {
        key,
        fingerprint: adjustment.fingerprint(),
    };
    let command = Command::Adjust(Box::new(adjustment));
    let booked = booking::write(&app, &caller, &pool, request, command).await?;
    let body = AdjustmentBody::of(&pool, &booked.entry);
    booked.answer(StatusCode::CREATED, body)
}
