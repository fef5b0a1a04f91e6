//! The journal of a pool, as JSON pages or as a CSV stream of all of it.
//!
//! What is due is booked first. Entries are shown as they are: nothing is computed but the figures
//! that follow from a balance.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::ACCEPT;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::App;
use super::answer::{self, Number};
use super::auth::{PoolScope, scope};
use super::balance::BalanceBody;
use super::extract::{Query, Violations};
use super::page::{Page, PageRequest};
use super::problem::Problem;
use super::reading;
use super::time::Stamp;
use super::transactions_csv;
use crate::ledger::UnknownKind;
use crate::ledger::{
    Credits, Entry, EntryId, IdempotencyKey, KeyId, Kind, Label, Metadata, PoolName, PurchaseId,
    Reason, Time, Transfer,
};
use crate::store::EntryFilter;

/// The route of the journal.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(get_transactions))
}

/// Which entries to list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct TransactionsQuery {
    /// Only of these kinds, separated by commas.
    #[param(example = "debit,renewal")]
    kind: Option<String>,
    /// Only what this user caused.
    user_id: Option<String>,
    /// Only what was done in this workspace.
    workspace_id: Option<String>,
    /// Only of this operation.
    operation: Option<String>,
    /// Only of this run.
    run_id: Option<String>,
    /// Only of this payment.
    reference: Option<String>,
    /// Only at this instant or later.
    from: Option<Stamp>,
    /// Only before this instant.
    to: Option<Stamp>,
    /// How many items, 1 to 200; 50 when left out. CSV has all.
    limit: Option<u32>,
    /// The `next_cursor` of the page before. CSV has all.
    cursor: Option<String>,
}

/// A journal entry: one event of the pool.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Transaction)]
pub struct EntryBody<'a> {
    /// Its id.
    #[schema(value_type = Uuid)]
    id: EntryId,
    /// Its number in the pool's journal: from 1, without gaps.
    seq: i64,
    /// What happened.
    #[schema(example = "debit")]
    kind: &'static str,
    /// When it happened, or was due.
    at: Stamp,
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
    /// The key of the request.
    #[schema(value_type = Option<String>)]
    idempotency_key: Option<&'a IdempotencyKey>,
    /// The payment's reference.
    #[schema(value_type = Option<String>)]
    reference: Option<&'a Label>,
    /// Why, in a person's words.
    #[schema(value_type = Option<String>)]
    reason: Option<&'a Reason>,
    /// The hold it belongs to.
    #[schema(value_type = Option<uuid::Uuid>)]
    hold_id: Option<EntryId>,
    /// The debit it belongs to.
    #[schema(value_type = Option<Uuid>)]
    debit_id: Option<EntryId>,
    /// The purchase it belongs to.
    #[schema(value_type = Option<Uuid>)]
    purchase_id: Option<PurchaseId>,
    /// The API key it was done with; null for what happens by itself.
    #[schema(value_type = Option<Uuid>)]
    actor: Option<KeyId>,
    /// The client's own.
    #[schema(value_type = Option<super::extract::MetadataBody>)]
    metadata: Option<&'a RawValue>,
    /// What moved; a pool's accounts always sum to zero.
    transfers: Vec<TransferBody>,
    /// The balance after it.
    balance_after: BalanceBody<'a>,
    /// Covers the entry and the hash of the one before it: 64 hexadecimal digits.
    hash: String,
}

/// Credits that left one account and entered another.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Transfer)]
struct TransferBody {
    /// The account they left.
    #[schema(example = "monthly")]
    from: &'static str,
    /// The account they entered.
    #[schema(example = "consumed")]
    to: &'static str,
    /// How many.
    #[schema(value_type = Number)]
    credits: Credits,
}

/// A kind's own word.
fn kind_word(word: &str) -> Result<&'static str, UnknownKind> {
    word.parse::<Kind>().map(Kind::as_str)
}

impl TransactionsQuery {
    fn read(self) -> Result<(EntryFilter, PageRequest<i64>), Problem> {
        let mut violations = Violations::new();
        let page = PageRequest::read(&mut violations, self.limit, self.cursor.as_deref());
        let kinds = self
            .kind
            .map(|kinds| kinds.split(',').map(kind_word).collect());
        let kinds = violations.take("kind", kinds);
        let mut label =
            |field, text: Option<String>| violations.take(field, text.map(Label::try_from));
        let filter = EntryFilter {
            kinds: kinds.unwrap_or_default(),
            user_id: label("user_id", self.user_id),
            workspace_id: label("workspace_id", self.workspace_id),
            operation: label("operation", self.operation),
            run_id: label("run_id", self.run_id),
            reference: label("reference", self.reference),
            from: self.from.map(Time::from),
            to: self.to.map(Time::from),
        };
        violations.finish()?;
        Ok((filter, page))
    }
}

impl<'a> EntryBody<'a> {
    fn new(pool: &'a PoolName, entry: &'a Entry) -> Self {
        let who = &entry.attribution;
        let metadata = entry.metadata.as_ref().map(Metadata::as_str);
        Self {
            id: entry.id(),
            seq: entry.seq,
            kind: entry.kind.as_str(),
            at: Stamp(entry.at),
            operation: who.operation.as_ref(),
            user_id: who.user_id.as_ref(),
            workspace_id: who.workspace_id.as_ref(),
            run_id: who.run_id.as_ref(),
            model: who.model.as_ref(),
            idempotency_key: entry.actor.request.as_ref().map(|request| &request.key),
            reference: entry.reference.as_ref(),
            reason: entry.reason.as_ref(),
            hold_id: entry.hold_id(),
            debit_id: entry.debit_id(),
            purchase_id: entry.purchase,
            actor: entry.actor.key,
            metadata: metadata.and_then(|text| serde_json::from_str(text).ok()),
            transfers: entry.transfers.iter().map(TransferBody::of).collect(),
            balance_after: BalanceBody::new(pool, &entry.after),
            hash: entry.hash.to_string(),
        }
    }
}

impl TransferBody {
    fn of(transfer: &Transfer) -> Self {
        let Transfer { from, to, amount } = *transfer;
        Self {
            from: from.as_str(),
            to: to.as_str(),
            credits: amount,
        }
    }
}

/// Reads a pool's journal
///
/// Newest first. With `Accept: text/csv` the whole of what the filters leave is streamed, without
/// pages; texts that a spreadsheet would take for a formula begin with an apostrophe there.
#[utoipa::path(
    get,
    path = "/v1/pools/{pool}/transactions",
    tag = "transactions",
    params(("pool" = String, Path), TransactionsQuery),
    responses((status = 200, description = "A page, or everything as CSV", content(
        (Page<EntryBody> = "application/json"),
        (String = "text/csv")
    )))
)]
pub async fn get_transactions(
    State(app): State<App>,
    PoolScope { caller, pool, .. }: PoolScope<scope::BalancesRead>,
    headers: HeaderMap,
    Query(query): Query<TransactionsQuery>,
) -> Result<Response, Problem> {
    let (filter, page) = query.read()?;
    let current = reading::booked(&app, caller.tenant, &pool).await?;
    let id = current.pool().id;
    if wants_csv(&headers) {
        return Ok(transactions_csv::stream(
            app,
            id,
            filter,
            current.pool().seq,
        ));
    }
    let limit = i64::from(page.limit) + 1;
    let entries = app.store.entries(id, &filter, page.after, limit).await?;
    let rows: Vec<&Entry> = entries.iter().collect();
    let show = |entry| EntryBody::new(&pool, entry);
    Ok(answer::ok(&Page::of(
        page.limit,
        rows,
        |entry| entry.seq,
        show,
    )))
}

/// Whether CSV is named before JSON, or before anything will do.
pub fn wants_csv(headers: &HeaderMap) -> bool {
    let accepted = headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let mut ranges = accepted.flat_map(|text| text.split(',')).map(|range| {
        range
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase()
    });
    let known = ["text/csv", "application/json", "application/*", "*/*"];
    ranges
        .find(|range| known.contains(&range.as_str()))
        .is_some_and(|range| range == "text/csv")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_is_given_to_whom_names_it_first() {
        let wants = |accept: &str| {
            let value = accept.parse().expect("a header value");
            wants_csv(&HeaderMap::from_iter([(ACCEPT, value)]))
        };
        for csv in [
            "text/csv",
            "Text/CSV; charset=utf-8",
            "text/csv, */*",
            "text/html,text/csv",
        ] {
            assert!(wants(csv), "{csv}");
        }
        for json in [
            "*/*",
            "application/json",
            "application/json, text/csv",
            "text/html",
            "",
        ] {
            assert!(!wants(json), "{json}");
        }
        assert!(!wants_csv(&HeaderMap::new()));
    }

    #[test]
    fn kinds_are_a_list_and_every_bad_filter_is_named() {
        let query = |kind: &str, user_id: &str| TransactionsQuery {
            kind: Some(kind.to_owned()),
            user_id: Some(user_id.to_owned()),
            ..TransactionsQuery::default()
        };
        let (filter, _) = query("debit,renewal", "u-1").read().expect("a good query");
        assert_eq!(filter.kinds, ["debit", "renewal"]);
        let problem = query("debit,gift", "\n")
            .read()
            .expect_err("two bad filters");
        let body = serde_json::to_value(problem.body("r")).expect("a body");
        assert_eq!(body["errors"][0]["field"], "kind");
        assert_eq!(body["errors"][1]["field"], "user_id");
    }
}
