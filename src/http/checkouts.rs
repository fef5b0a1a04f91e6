//! Checkouts: a customer buys add-on credits at the payment provider's page.
//!
//! What makes a checkout all or nothing is in `payments`; what is sold, and for how much, is the
//! ledger's.

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::App;
use super::answer::{self, Number};
use super::auth::{PoolScope, scope};
use super::checkout_request::{CheckoutRequest, QuoteRequest};
use super::extract::{Body, Key, PathId};
use super::problem::Problem;
use super::reading;
use super::time::Stamp;
use crate::ledger::{Credits, PoolName, Price};
use crate::payments::Order;
use crate::store::{CheckoutRecord, CheckoutStatus};

/// The routes of checkouts.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(post_checkout))
        .routes(routes!(get_checkout))
        .routes(routes!(post_quote))
}

/// What a quantity costs.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Price)]
struct PriceBody<'a> {
    /// What is bought.
    #[schema(value_type = Number)]
    credits: Credits,
    /// What the promo code adds to it.
    #[schema(value_type = Number)]
    bonus_credits: Credits,
    /// What it costs by the add-on terms, in the currency's smallest unit.
    subtotal_cents: i64,
    /// What the promo code takes off, rounded down.
    discount_cents: i64,
    /// What is to be paid.
    total_cents: i64,
    /// Three lower-case letters.
    #[schema(example = "usd")]
    currency: &'a str,
}

/// A price for a pool.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Quote)]
struct QuoteBody<'a> {
    #[schema(value_type = String, example = "workspace:6f1c")]
    pool: &'a PoolName,
    #[serde(flatten)]
    price: PriceBody<'a>,
}

/// A checkout.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Checkout)]
struct CheckoutBody<'a> {
    id: Uuid,
    #[schema(value_type = String, example = "workspace:6f1c")]
    pool: &'a PoolName,
    /// `pending`, `completed` once it is paid and credited, or `expired`.
    #[schema(example = "pending")]
    status: &'static str,
    #[serde(flatten)]
    price: PriceBody<'a>,
    /// Where the customer pays; null where there is nothing to pay, or not any more.
    checkout_url: Option<&'a str>,
    created_at: Stamp,
    /// Until when it can be paid; null where there is nothing to pay.
    expires_at: Option<Stamp>,
}

impl<'a> PriceBody<'a> {
    fn of(price: &'a Price) -> Self {
        Self {
            credits: price.credits,
            bonus_credits: price.bonus,
            subtotal_cents: price.subtotal_cents,
            discount_cents: price.discount_cents,
            total_cents: price.total_cents,
            currency: &price.currency,
        }
    }
}

impl<'a> CheckoutBody<'a> {
    /// As it is now.
    fn of(checkout: &'a CheckoutRecord) -> Self {
        let is_pending = checkout.status == CheckoutStatus::Pending;
        let is_free = checkout.price.total_cents == 0;
        Self {
            id: checkout.id,
            pool: &checkout.pool,
            status: checkout.status.as_str(),
            price: PriceBody::of(&checkout.price),
            checkout_url: checkout.url.as_deref().filter(|_| is_pending),
            created_at: Stamp(checkout.created_at),
            expires_at: (!is_free).then_some(Stamp(checkout.expires_at)),
        }
    }

    /// As it was when it was made, which a replay answers whatever became of it since.
    fn made(checkout: &'a CheckoutRecord) -> Self {
        let is_free = checkout.price.total_cents == 0;
        let status = if is_free {
            CheckoutStatus::Completed
        } else {
            CheckoutStatus::Pending
        };
        Self {
            status: status.as_str(),
            checkout_url: checkout.url.as_deref(),
            ..Self::of(checkout)
        }
    }
}

/// Makes a checkout
///
/// The answer says where the customer pays. Where nothing is to be paid the credits are there at
/// once: `completed`, without an address. A checkout that is refused or fails uses up neither key
/// nor promo code; one that expires gives its promo code back.
#[utoipa::path(
    post,
    path = "/v1/pools/{pool}/checkouts",
    tag = "payments",
    params(("pool" = String, Path), ("Idempotency-Key" = String, Header)),
    request_body = CheckoutRequest,
    responses((status = 201, description = "Made", body = CheckoutBody))
)]
async fn post_checkout(
    State(app): State<App>,
    PoolScope { caller, pool, .. }: PoolScope<scope::PurchasesWrite>,
    Key(key): Key,
    Body(body): Body<CheckoutRequest>,
) -> Result<Response, Problem> {
    let request = body.read()?;
    let fingerprint = request.fingerprint();
    let whose = (caller.tenant, &pool);
    let earlier = app.payments.find_ordered(whose, &key, fingerprint).await?;
    if let Some(earlier) = earlier {
        return Ok(answer::booked(&CheckoutBody::made(&earlier), true));
    }
    let current = reading::current(&app, caller.tenant, &pool).await?;
    let seen = (current.pool(), &*current.catalogue, current.now);
    let (price, promo_code) = app.payments.price(seen, &request.wish).await?;
    let order = Order {
        tenant: caller.tenant,
        pool,
        key,
        fingerprint,
        actor: caller.key,
        now: current.now,
        price,
        promo_code,
        user_id: request.user_id,
        customer_email: request.customer_email,
        success_url: request.success_url,
        cancel_url: request.cancel_url,
    };
    let ordered = app.payments.order(order).await?;
    let body = CheckoutBody::made(&ordered.checkout);
    Ok(answer::booked(&body, ordered.replayed))
}

/// Prices a checkout
///
/// Books and redeems nothing, and needs no `Idempotency-Key`. What a checkout would be refused for
/// is refused here too.
#[utoipa::path(
    post,
    path = "/v1/pools/{pool}/checkouts/quote",
    tag = "payments",
    params(("pool" = String, Path)),
    request_body = QuoteRequest,
    responses((status = 200, description = "The price", body = QuoteBody))
)]
async fn post_quote(
    State(app): State<App>,
    PoolScope { caller, pool, .. }: PoolScope<scope::BalancesRead>,
    Body(body): Body<QuoteRequest>,
) -> Result<Response, Problem> {
    let wish = body.read()?;
    let current = reading::current(&app, caller.tenant, &pool).await?;
    let seen = (current.pool(), &*current.catalogue, current.now);
    let (price, _) = app.payments.price(seen, &wish).await?;
    Ok(answer::ok(&QuoteBody {
        pool: &pool,
        price: PriceBody::of(&price),
    }))
}

/// Reads a checkout
#[utoipa::path(
    get,
    path = "/v1/pools/{pool}/checkouts/{id}",
    tag = "payments",
    params(("pool" = String, Path), ("id" = Uuid, Path)),
    responses((status = 200, description = "The checkout", body = CheckoutBody))
)]
async fn get_checkout(
    State(app): State<App>,
    PoolScope { caller, pool, .. }: PoolScope<scope::BalancesRead>,
    PathId(id): PathId,
) -> Result<Response, Problem> {
    let found = app.payments.find_checkout(caller.tenant, &pool, id).await?;
    let found = found.ok_or_else(|| Problem::not_found("checkout"))?;
    Ok(answer::ok(&CheckoutBody::of(&found)))
}
