//! Why a debit cost what it cost and where its credits came from, told from its journal entry.
//!
//! Nothing is decided again: what is shown is what was written down when the debit was booked. Only
//! the operation's name and average come from today's rate card. The prose is in
//! [`explain_sentences`].

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::App;
use super::answer::{self, Number};
use super::auth::{PoolScope, scope};
use super::balance::BalanceBody;
use super::debits::DebitBody;
use super::explain_sentences::{self as sentences, Bucket, Drawn, Told};
use super::extract::PathId;
use super::problem::Problem;
use super::reading;
use super::time::Stamp;
use crate::ledger::{
    Account, Captured, Code, Credits, DebitFacts, Details, Entry, EntryId, Kind, Label, Operation,
    PoolId, PriceSource, Reason,
};

/// The most refunds of a debit that are shown.
const MOST_REFUNDS: i64 = 1_000;

/// The route of explanations.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(explain_debit))
}

/// A debit explained.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Explanation)]
struct ExplanationBody<'a> {
    /// The debit.
    debit: DebitBody<'a>,
    /// All of it in plain English.
    sentences: Vec<String>,
    /// What it cost and who said so.
    price: PriceBody<'a>,
    /// Where the credits came from, in the order they were drawn.
    drawn: Vec<DrawnBody>,
    /// What was given back of it since, oldest first: 1,000 at most.
    refunds: Vec<RefundedBody<'a>>,
    /// The balance right before it.
    balance_before: BalanceBody<'a>,
    /// The balance right after it.
    balance_after: BalanceBody<'a>,
    /// Covers the entry and the hash of the one before it: 64 hexadecimal digits.
    hash: String,
    /// The hash of the entry before it.
    previous_hash: String,
}

/// Who said what a debit costs.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = PriceSource)]
enum SourceWord {
    /// The request.
    Named,
    /// The rate card.
    Fixed,
    /// The rate card, for plans with the old prices.
    LegacyFixed,
}

/// What a debit cost and who said so.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ExplainedPrice)]
struct PriceBody<'a> {
    /// Who said so.
    source: SourceWord,
    /// What was debited.
    #[schema(value_type = Number)]
    credits: Credits,
    /// What it was before rounding; null when no rounding was asked for.
    #[schema(value_type = Option<Number>)]
    requested: Option<Credits>,
    /// The operation's code.
    #[schema(value_type = Option<String>)]
    operation: Option<&'a Label>,
    /// What the rate card calls the operation now.
    operation_name: Option<&'a str>,
    /// What the operation costs on average, as the rate card says now.
    #[schema(value_type = Option<Number>)]
    estimate: Option<Credits>,
}

/// Credits of a debit that came from one place.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ExplainedDraw)]
struct DrawnBody {
    /// Which bucket they came from; `overdraft` for what was beyond both.
    bucket: Bucket,
    /// How many.
    #[schema(value_type = Number)]
    credits: Credits,
    /// Whether a hold had reserved them.
    from_hold: bool,
    /// Whether their cycle or add-on pool was over when they were spent.
    ended: bool,
    /// Why from there.
    why: &'static str,
}

/// A refund of the debit: the four parts say where the credits went, and add up.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ExplainedRefund)]
struct RefundedBody<'a> {
    /// Its id.
    #[schema(value_type = uuid::Uuid)]
    id: EntryId,
    /// All of it.
    #[schema(value_type = Number)]
    credits: Credits,
    /// Lowered what was owed.
    #[schema(value_type = Number)]
    overdraft: Credits,
    /// Went back to the add-on bucket.
    #[schema(value_type = Number)]
    addon: Credits,
    /// Went to the monthly bucket.
    #[schema(value_type = Number)]
    monthly: Credits,
    /// Lapsed: their cycle or add-on pool was over.
    #[schema(value_type = Number)]
    lapsed: Credits,
    /// Why, in a person's words.
    #[schema(value_type = Option<String>)]
    reason: Option<&'a Reason>,
    /// When.
    created_at: Stamp,
}

impl From<&Drawn> for DrawnBody {
    fn from(drawn: &Drawn) -> Self {
        Self {
            bucket: drawn.bucket,
            credits: drawn.credits,
            from_hold: drawn.from_hold,
            ended: drawn.ended,
            why: drawn.why(),
        }
    }
}

impl<'a> From<&'a Entry> for RefundedBody<'a> {
    fn from(refund: &'a Entry) -> Self {
        let into = |account| refund.moved(Account::Consumed, account);
        let (overdraft, addon) = (into(Account::Overdraft), into(Account::Addon));
        let (monthly, lapsed) = (into(Account::Monthly), into(Account::Lapsed));
        Self {
            id: refund.id(),
            credits: overdraft + addon + monthly + lapsed,
            overdraft,
            addon,
            monthly,
            lapsed,
            reason: refund.reason.as_ref(),
            created_at: Stamp(refund.at),
        }
    }
}

/// Where a debit's credits came from: out of its hold first, then anew.
fn drawn(entry: &Entry, captured: Captured) -> Vec<Drawn> {
    let spent = |account| entry.moved(account, Account::Consumed);
    let held = |bucket, credits: Credits, live| Drawn {
        bucket,
        credits,
        from_hold: true,
        ended: !credits.is_zero() && spent(live).is_zero(),
    };
    let anew = |bucket, account| Drawn {
        bucket,
        credits: spent(account),
        from_hold: false,
        ended: false,
    };
    let parts = [
        held(Bucket::Monthly, captured.monthly, Account::HeldMonthly),
        held(Bucket::Addon, captured.addon, Account::HeldAddon),
        anew(Bucket::Monthly, Account::Monthly),
        anew(Bucket::Addon, Account::Addon),
        anew(Bucket::Overdraft, Account::Overdraft),
    ];
    let parts = parts.into_iter();
    parts.filter(|part| !part.credits.is_zero()).collect()
}

fn price<'a>(
    entry: &'a Entry,
    facts: &DebitFacts,
    details: &Details,
    operation: Option<&'a Operation>,
) -> PriceBody<'a> {
    PriceBody {
        source: match details.price {
            None => SourceWord::Named,
            Some(PriceSource::Fixed) => SourceWord::Fixed,
            Some(PriceSource::LegacyFixed) => SourceWord::LegacyFixed,
        },
        credits: facts.credits,
        requested: facts.requested,
        operation: entry.attribution.operation.as_ref(),
        operation_name: operation.map(|operation| operation.name.as_str()),
        estimate: operation.map(|operation| operation.estimate),
    }
}

/// Explains a debit
///
/// What it was for, which price applied and why, where the credits came from and why from there,
/// what was refunded since, and the hash that proves the entry.
#[utoipa::path(
    get,
    path = "/v1/pools/{pool}/debits/{id}/explain",
    tag = "debits",
    params(("pool" = String, Path), ("id" = uuid::Uuid, Path)),
    responses((status = 200, description = "The explanation", body = ExplanationBody))
)]
pub async fn explain_debit(
    State(app): State<App>,
    PoolScope { caller, pool, .. }: PoolScope<scope::BalancesRead>,
    PathId(id): PathId,
) -> Result<Response, Problem> {
    let pool_id = PoolId::of(caller.tenant, &pool);
    let found = app.store.find_entry(pool_id, EntryId::from(id)).await?;
    let entry = found.filter(|entry| entry.kind == Kind::Debit);
    let entry = entry.ok_or_else(|| Problem::not_found("debit"))?;
    let unexpected = || answer::unexpected("the entry");
    let facts = DebitFacts::of(&entry).ok_or_else(unexpected)?;
    let details = entry.read_details().ok_or_else(unexpected)?;
    // A pool begins with the entry that opened it, so a debit is never the first.
    let before = app.store.entry_at(pool_id, entry.seq - 1).await?;
    let before = before.ok_or_else(unexpected)?;
    let refunds = app.store.refunds_of(pool_id, entry.seq, MOST_REFUNDS);
    let refunds = refunds.await?;
    let current = reading::existing(&app, caller.tenant, &pool).await?;
    let code = entry.attribution.operation.as_ref();
    let code: Option<Code> = code.and_then(|code| code.as_str().parse().ok());
    let operation = code.and_then(|code| current.catalogue.operations.get(&code));
    let drawn = drawn(&entry, details.captured.unwrap_or_default());
    let told = Told {
        pool: &pool,
        entry: &entry,
        before: &before,
        facts: &facts,
        details: &details,
        operation,
        drawn: &drawn,
        refunds: &refunds,
    };
    Ok(answer::ok(&ExplanationBody {
        sentences: sentences::tell(&told),
        debit: DebitBody::of(&pool, &entry).ok_or_else(unexpected)?,
        price: price(&entry, &facts, &details, operation),
        drawn: drawn.iter().map(DrawnBody::from).collect(),
        refunds: refunds.iter().map(RefundedBody::from).collect(),
        balance_before: BalanceBody::new(&pool, &before.after),
        balance_after: BalanceBody::new(&pool, &entry.after),
        hash: entry.hash.to_string(),
        previous_hash: before.hash.to_string(),
    }))
}
