//! Debits: booking one, reading one, listing a pool's.
//!
//! A debit's JSON is made from its journal entry alone, so a replay gives the first answer again.
//! Prices and buckets are the ledger's; many debits at once are in `batch`, those out of a hold in
//! `holds`.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::App;
use super::answer::{self, Number};
use super::auth::{PoolScope, scope};
use super::balance::BalanceBody;
use super::booking;
use super::extract::{Amount, Body, Key, MetadataBody, PathId, Query, Violations};
use super::page::{Page, PageRequest};
use super::problem::Problem;
use super::reading;
use super::time::Stamp;
use super::words::{ModeWord, RoundWord};
use crate::ledger::{
    Attribution, Command, Credits, Debit, DebitFacts, Entry, EntryId, Kind, Label, Metadata, Mode,
    PoolId, PoolName, Request, Round,
};
use crate::store::EntryFilter;

/// The routes of debits.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(post_debit, get_debits))
        .routes(routes!(get_debit))
}

/// A debit to be booked.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = DebitRequest, example = json!({
    "credits": 70, "operation": "app_generation", "user_id": "u-1", "run_id": "r-55"
}))]
pub struct DebitRequest {
    /// How many. May be left out where the operation's price is fixed for the pool, and must then
    /// be that price.
    pub(super) credits: Option<Amount>,
    /// How to bring `credits` to a multiple of the plan's denomination; refused when left out.
    #[schema(value_type = Option<RoundWord>)]
    pub(super) round: Option<Round>,
    /// A code of the rate card.
    pub(super) operation: Option<String>,
    /// The client's user.
    pub(super) user_id: Option<String>,
    /// The client's workspace.
    pub(super) workspace_id: Option<String>,
    /// The run it is part of.
    pub(super) run_id: Option<String>,
    /// The model that does the work.
    pub(super) model: Option<String>,
    /// `strict` is refused when the pool is short, `settle` (work already done) is always booked:
    /// what the buckets cannot cover becomes overdraft. `strict` when left out.
    #[schema(value_type = Option<ModeWord>)]
    pub(super) mode: Option<Mode>,
    /// The client's own.
    pub(super) metadata: Option<MetadataBody>,
}

/// A debit that was booked.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Debit)]
pub struct DebitBody<'a> {
    /// Its id.
    #[schema(value_type = uuid::Uuid)]
    id: EntryId,
    /// The pool's name.
    #[schema(value_type = String, example = "workspace:6f1c")]
    pool: &'a PoolName,
    /// Its number in the pool's journal.
    seq: i64,
    /// All of it: the sum of the three parts.
    #[schema(value_type = Number)]
    credits: Credits,
    /// What was named, when rounding was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Number>)]
    requested: Option<Credits>,
    /// Drawn from the monthly bucket.
    #[schema(value_type = Number)]
    monthly: Credits,
    /// Drawn from the add-on bucket.
    #[schema(value_type = Number)]
    addon: Credits,
    /// Beyond both: `settle` only.
    #[schema(value_type = Number)]
    overdraft: Credits,
    /// The operation's code.
    #[schema(value_type = Option<String>)]
    operation: Option<&'a Label>,
    /// The client's user.
    #[schema(value_type = Option<String>)]
    user_id: Option<&'a Label>,
    /// The client's workspace.
    #[schema(value_type = Option<String>)]
    workspace_id: Option<&'a Label>,
    /// The run it was part of.
    #[schema(value_type = Option<String>)]
    run_id: Option<&'a Label>,
    /// The model that did the work.
    #[schema(value_type = Option<String>)]
    model: Option<&'a Label>,
    /// How it was booked.
    #[schema(value_type = ModeWord)]
    mode: Mode,
    /// The hold it was captured from; only a capture has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<uuid::Uuid>)]
    hold_id: Option<EntryId>,
    /// `true` when that hold had expired, so that nothing came from it; left out otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    late: Option<bool>,
    /// When.
    created_at: Stamp,
    /// The balance after it.
    balance: BalanceBody<'a>,
}

/// Which debits to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct DebitsQuery {
    /// Only of this run.
    #[param(value_type = Option<String>)]
    run_id: Option<Label>,
    /// Only of this user.
    #[param(value_type = Option<String>)]
    user_id: Option<Label>,
    /// How many items, 1 to 200; 50 when left out.
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

impl DebitRequest {
    /// The debit, every field checked; what is wrong is named together.
    ///
    /// # Errors
    /// 422 naming each bad field.
    pub fn read(self) -> Result<Debit, Problem> {
        let mut violations = Violations::new();
        let debit = self.check(&mut violations);
        violations.finish()?;
        Ok(debit)
    }

    /// The debit as far as its fields are good; what is wrong is noted.
    pub(super) fn check(self, violations: &mut Violations) -> Debit {
        let mut label =
            |field, text: Option<String>| violations.take(field, text.map(Label::try_from));
        let attribution = Attribution {
            operation: label("operation", self.operation),
            user_id: label("user_id", self.user_id),
            workspace_id: label("workspace_id", self.workspace_id),
            run_id: label("run_id", self.run_id),
            model: label("model", self.model),
        };
        Debit {
            credits: violations.take("credits", self.credits.map(Amount::requested)),
            round: self.round,
            mode: self.mode.unwrap_or_default(),
            attribution,
            metadata: violations.take("metadata", self.metadata.map(Metadata::try_from)),
        }
    }
}

impl<'a> DebitBody<'a> {
    /// The body of a debit's entry; `None` when the entry is no debit.
    #[must_use]
    pub fn of(pool: &'a PoolName, entry: &'a Entry) -> Option<Self> {
        let facts = DebitFacts::of(entry).filter(|_| entry.kind == Kind::Debit)?;
        let who = &entry.attribution;
        Some(Self {
            id: entry.id(),
            pool,
            seq: entry.seq,
            credits: facts.credits,
            requested: facts.requested,
            monthly: facts.monthly,
            addon: facts.addon,
            overdraft: facts.overdraft,
            operation: who.operation.as_ref(),
            user_id: who.user_id.as_ref(),
            workspace_id: who.workspace_id.as_ref(),
            run_id: who.run_id.as_ref(),
            model: who.model.as_ref(),
            mode: facts.mode,
            hold_id: facts.hold,
            late: facts.late.then_some(true),
            created_at: Stamp(entry.at),
            balance: BalanceBody::new(pool, &entry.after),
        })
    }
}

/// Books a debit
///
/// Monthly credits are drawn first, then add-on credits. Made safe to retry by `Idempotency-Key`:
/// the same request again gives the first answer again.
#[utoipa::path(
    post,
    path = "/v1/pools/{pool}/debits",
    tag = "debits",
    params(("pool" = String, Path), ("Idempotency-Key" = String, Header)),
    request_body = DebitRequest,
    responses((status = 201, description = "Booked", body = DebitBody))
)]
pub async fn post_debit(
    State(app): State<App>,
    PoolScope { caller, pool, .. }: PoolScope<scope::DebitsWrite>,
    Key(key): Key,
    Body(body): Body<DebitRequest>,
) -> Result<Response, Problem> {
    let debit = body.read()?;
    let request = Request {
        key,
        fingerprint: debit.fingerprint(),
    };
    let command = Command::Debit(Box::new(debit));
    let booked = booking::write(&app, &caller, &pool, request, command).await?;
    booked.answer(StatusCode::CREATED, DebitBody::of(&pool, &booked.entry))
}

/// Reads a debit
///
/// With the balance right after it.
#[utoipa::path(
    get,
    path = "/v1/pools/{pool}/debits/{id}",
    tag = "debits",
    params(("pool" = String, Path), ("id" = uuid::Uuid, Path)),
    responses((status = 200, description = "The debit", body = DebitBody))
)]
pub async fn get_debit(
    State(app): State<App>,
    PoolScope { caller, pool, .. }: PoolScope<scope::BalancesRead>,
    PathId(id): PathId,
) -> Result<Response, Problem> {
    let pool_id = PoolId::of(caller.tenant, &pool);
    let entry = app.store.find_entry(pool_id, EntryId::from(id)).await?;
    let body = entry.as_ref().and_then(|entry| DebitBody::of(&pool, entry));
    body.map(|body| answer::ok(&body))
        .ok_or_else(|| Problem::not_found("debit"))
}

/// Lists a pool's debits
///
/// Newest first, each with the balance right after it.
#[utoipa::path(
    get,
    path = "/v1/pools/{pool}/debits",
    tag = "debits",
    params(("pool" = String, Path), DebitsQuery),
    responses((status = 200, description = "A page", body = Page<DebitBody>))
)]
pub async fn get_debits(
    State(app): State<App>,
    PoolScope { caller, pool, .. }: PoolScope<scope::BalancesRead>,
    Query(query): Query<DebitsQuery>,
) -> Result<Response, Problem> {
    let mut violations = Violations::new();
    let page = PageRequest::<i64>::read(&mut violations, query.limit, query.cursor.as_deref());
    violations.finish()?;
    let current = reading::existing(&app, caller.tenant, &pool).await?;
    let filter = EntryFilter {
        kinds: vec![Kind::Debit.as_str()],
        run_id: query.run_id,
        user_id: query.user_id,
        ..EntryFilter::default()
    };
    let limit = i64::from(page.limit) + 1;
    let entries = app
        .store
        .entries(current.pool().id, &filter, page.after, limit)
        .await?;
    let bodies: Option<Vec<_>> = entries
        .iter()
        .map(|entry| DebitBody::of(&pool, entry))
        .collect();
    let bodies = bodies.ok_or_else(|| answer::unexpected("an entry"))?;
    Ok(answer::ok(&Page::of(
        page.limit,
        bodies,
        |debit| debit.seq,
        |debit| debit,
    )))
}
