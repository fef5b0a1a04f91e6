//! Purchases of add-on credits that a trusted caller records, and their lists.
//!
//! How a payment is credited once, whatever the key or channel, is `payments`'.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::App;
use super::answer;
use super::auth::{Allowed, Caller, PoolScope, scope};
use super::extract::{Amount, Body, Key, Query, Violations};
use super::page::{Page, PageQuery, PageRequest};
use super::problem::Problem;
use super::purchase_body::{BookedPurchase, ListedPurchase};
use super::reading;
use super::time::Stamp;
use crate::lanes::Reply;
use crate::ledger::{Actor, Credits, Label, PoolId, PoolName, Purchase, PurchaseId, Request};
use crate::payments::Recipient;
use crate::store::{PurchaseFilter, PurchaseRecord};

/// The routes of purchases.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(post_purchase, get_pool_purchases))
        .routes(routes!(get_purchases))
}

/// A payment to be credited.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"credits": 500, "payment_reference": "pi_123"}))]
pub struct PurchaseRequest {
    /// At least the add-on terms' `minimum`, a multiple of their `step`.
    #[schema(value_type = f64)]
    credits: Amount,
    /// The payment's own name: it is credited once for the tenant.
    payment_reference: String,
    /// When it was paid; now, when left out.
    paid_at: Option<Stamp>,
    /// What was paid, in the currency's smallest unit.
    #[schema(minimum = 0)]
    amount_cents: Option<i64>,
    /// Three letters.
    #[schema(min_length = 3, max_length = 3)]
    currency: Option<String>,
    /// Who bought.
    user_id: Option<String>,
}

/// Which purchases to list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PurchasesQuery {
    /// Only of this payment.
    payment_reference: Option<String>,
    /// Only of this pool.
    pool: Option<String>,
    /// How many items, 1 to 200; 50 when left out.
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

/// The sort key of a list of purchases.
type ListKey = (Stamp, PurchaseId);

/// Records a purchase
///
/// The plan is checked first, then the quantity. The same payment again, with another key, answers
/// 200 with the first purchase if pool and credits agree, and books nothing.
#[utoipa::path(
    post,
    path = "/v1/pools/{pool}/purchases",
    tag = "purchases",
    params(("pool" = String, Path), ("Idempotency-Key" = String, Header)),
    request_body = PurchaseRequest,
    responses(
        (status = 200, description = "Credited before", body = BookedPurchase),
        (status = 201, description = "Credited", body = BookedPurchase)
    )
)]
pub async fn post_purchase(
    State(app): State<App>,
    PoolScope { caller, pool, .. }: PoolScope<scope::PurchasesWrite>,
    Key(key): Key,
    Body(body): Body<PurchaseRequest>,
) -> Result<Response, Problem> {
    let purchase = body.read()?;
    let recipient = Recipient {
        tenant: caller.tenant,
        pool: pool.clone(),
        actor: Actor {
            key: Some(caller.key),
            request: Some(Request {
                key,
                fingerprint: purchase.fingerprint(),
            }),
        },
    };
    match app.payments.credit(&recipient, purchase).await? {
        Reply::Entry { entry, replayed } => {
            let record = PurchaseRecord::of(&entry, caller.tenant, &pool);
            let record = record.ok_or_else(|| answer::unexpected("the entry"))?;
            Ok(answer::booked(
                StatusCode::CREATED,
                &BookedPurchase::new(&record, &entry.after),
                replayed,
            ))
        }
        Reply::Purchased { purchase, balance } => {
            Ok(answer::ok(&BookedPurchase::new(&purchase, &balance)))
        }
        Reply::Pool { .. } | Reply::Done => Err(answer::unexpected("the reply to a purchase")),
    }
}

/// Lists a pool's purchases
///
/// Newest first.
#[utoipa::path(
    get,
    path = "/v1/pools/{pool}/purchases",
    tag = "purchases",
    params(("pool" = String, Path), PageQuery),
    responses((status = 200, description = "A page", body = Page<ListedPurchase>))
)]
pub async fn get_pool_purchases(
    State(app): State<App>,
    PoolScope { caller, pool, .. }: PoolScope<scope::BalancesRead>,
    Query(query): Query<PageQuery>,
) -> Result<Response, Problem> {
    let page = query.read::<ListKey>()?;
    let current = reading::existing(&app, caller.tenant, &pool).await?;
    let pools = Some(vec![current.pool().id]);
    list(
        &app,
        &caller,
        page,
        PurchaseFilter {
            pools,
            ..PurchaseFilter::default()
        },
    )
    .await
}

/// Lists a tenant's purchases
///
/// Newest first.
#[utoipa::path(
    get,
    path = "/v1/purchases",
    tag = "purchases",
    params(PurchasesQuery),
    responses((status = 200, description = "A page", body = Page<ListedPurchase>))
)]
pub async fn get_purchases(
    State(app): State<App>,
    Allowed { caller, .. }: Allowed<scope::BalancesRead>,
    Query(query): Query<PurchasesQuery>,
) -> Result<Response, Problem> {
    let mut violations = Violations::new();
    let page = PageRequest::read(&mut violations, query.limit, query.cursor.as_deref());
    let pool = violations.take("pool", query.pool.map(|pool| pool.parse::<PoolName>()));
    let reference = query.payment_reference.map(Label::try_from);
    let reference = violations.take("payment_reference", reference);
    violations.finish()?;
    // What a bound key may not see is as if it did not exist.
    let id = |name: &PoolName| PoolId::of(caller.tenant, name);
    let pools = match (&pool, &caller.pools) {
        (Some(pool), _) => Some(
            Some(pool)
                .filter(|pool| caller.sees(pool))
                .map(id)
                .into_iter()
                .collect(),
        ),
        (None, Some(bound)) => Some(bound.iter().map(id).collect()),
        (None, None) => None,
    };
    list(
        &app,
        &caller,
        page,
        PurchaseFilter {
            pools,
            reference,
            before: None,
        },
    )
    .await
}

async fn list(
    app: &App,
    caller: &Caller,
    page: PageRequest<ListKey>,
    filter: PurchaseFilter,
) -> Result<Response, Problem> {
    let before = page.after.map(|(Stamp(at), id)| (at, id));
    let filter = PurchaseFilter { before, ..filter };
    let limit = i64::from(page.limit) + 1;
    let records = app.store.purchases(caller.tenant, &filter, limit).await?;
    let key = |record: &&PurchaseRecord| (Stamp(record.created_at), record.id);
    let rows: Vec<&PurchaseRecord> = records.iter().collect();
    Ok(answer::ok(&Page::of(
        page.limit,
        rows,
        key,
        ListedPurchase::new,
    )))
}

impl PurchaseRequest {
    /// The purchase under a new id. A wrong quantity is kept: the plan is checked before it.
    fn read(self) -> Result<Purchase, Problem> {
        let mut violations = Violations::new();
        let reference = Label::try_from(self.payment_reference);
        let reference = violations.keep("payment_reference", reference);
        let user_id = violations.take("user_id", self.user_id.map(Label::try_from));
        if self.amount_cents.is_some_and(|cents| cents < 0) {
            violations.add("amount_cents", "must not be negative");
        }
        let letters =
            |text: &String| text.len() == 3 && text.bytes().all(|b| b.is_ascii_alphabetic());
        if self
            .currency
            .as_ref()
            .is_some_and(|currency| !letters(currency))
        {
            violations.add("currency", "must be three letters");
        }
        let reference = violations.finish_with(reference)?;
        Ok(Purchase {
            id: PurchaseId::from(Uuid::now_v7()),
            credits: self.credits.balance(),
            bonus: Credits::ZERO,
            as_sold: false,
            reference,
            paid_at: self.paid_at.map(|Stamp(at)| at),
            amount_cents: self.amount_cents,
            currency: self.currency.map(|currency| currency.to_ascii_lowercase()),
            user_id,
        })
    }
}
