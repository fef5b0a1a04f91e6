//! Promo codes: what takes something off the price of add-on credits, or adds credits to them.
//!
//! What was redeemed is counted by the store, under the code's lock.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::http::App;
use crate::http::answer::{self, Number};
use crate::http::auth::{Allowed, scope};
use crate::http::extract::{Amount, Body, PathPromoCode, Query, Violations};
use crate::http::page::{Page, PageQuery};
use crate::http::problem::Problem;
use crate::http::time::Stamp;
use crate::ledger::{Credits, PromoCode, Reduction, Time};
use crate::store::PromoRecord;

/// The most that a code takes off, and the most redemptions: no sum leaves 64 bits.
const MOST: i64 = 1_000_000_000;
/// All of a price, in hundredths of a percent.
const WHOLE: i64 = 10_000;

/// The routes of promo codes.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(get_promo_codes))
        .routes(routes!(put_promo_code))
}

/// A promo code as it is to be: exactly one of `percent_off`, `amount_off_cents` and
/// `bonus_credits`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PutPromoCode, example = json!({"percent_off": 20, "max_redemptions": 100}))]
struct PromoCodeRequest {
    /// Above 0, at most 100, with at most two places.
    #[schema(value_type = Option<f64>)]
    percent_off: Option<Amount>,
    /// In the currency's smallest unit; 1 to 1000000000.
    amount_off_cents: Option<i64>,
    /// What comes on top of what is bought.
    bonus_credits: Option<Amount>,
    /// Until when it is good; for ever when left out.
    expires_at: Option<Stamp>,
    /// How many checkouts may use it, 1 to 1000000000; any number when left out.
    max_redemptions: Option<i64>,
    /// Whether each pool may use it once only; `true` when left out.
    once_per_pool: Option<bool>,
}

/// A promo code.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PromoCode)]
struct PromoCodeBody {
    #[schema(value_type = String)]
    code: PromoCode,
    /// A percentage; null where it is none.
    #[schema(value_type = Option<f64>)]
    percent_off: Option<Credits>,
    amount_off_cents: Option<i64>,
    #[schema(value_type = Option<Number>)]
    bonus_credits: Option<Credits>,
    expires_at: Option<Stamp>,
    max_redemptions: Option<i64>,
    once_per_pool: bool,
    /// How many checkouts use it: those that expired or failed have given theirs back.
    redemptions: i64,
    created_at: Stamp,
}

impl From<PromoRecord> for PromoCodeBody {
    fn from(promo: PromoRecord) -> Self {
        let (percent_off, amount_off_cents, bonus_credits) = match promo.reduction {
            // Hundredths, as credits are: they are written the same.
            Reduction::PercentOff(hundredths) => (Credits::from_units(hundredths), None, None),
            Reduction::AmountOff(cents) => (None, Some(cents), None),
            Reduction::Bonus(credits) => (None, None, Some(credits)),
        };
        Self {
            code: promo.code,
            percent_off,
            amount_off_cents,
            bonus_credits,
            expires_at: promo.expires_at.map(Stamp),
            max_redemptions: promo.max_redemptions,
            once_per_pool: promo.once_per_pool,
            redemptions: promo.redemptions,
            created_at: Stamp(promo.created_at),
        }
    }
}

impl PromoCodeRequest {
    fn read(self, code: PromoCode, now: Time) -> Result<PromoRecord, Problem> {
        let mut violations = Violations::new();
        let percent = violations.take("percent_off", self.percent_off.map(read_percent));
        let amount = self.amount_off_cents.map(within_most);
        let amount = violations.take("amount_off_cents", amount);
        let bonus = self.bonus_credits.map(Amount::requested);
        let bonus = violations.take("bonus_credits", bonus);
        let most = self.max_redemptions.map(within_most);
        let max_redemptions = violations.take("max_redemptions", most);
        let given = [
            self.percent_off.is_some(),
            self.amount_off_cents.is_some(),
            self.bonus_credits.is_some(),
        ];
        if given.into_iter().filter(|given| *given).count() != 1 {
            violations.add(
                "body",
                "must have exactly one of percent_off, amount_off_cents and bonus_credits",
            );
        }
        let reduction = percent
            .map(Reduction::PercentOff)
            .or(amount.map(Reduction::AmountOff))
            .or(bonus.map(Reduction::Bonus));
        let reduction = violations.finish_with(reduction)?;
        Ok(PromoRecord {
            code,
            reduction,
            expires_at: self.expires_at.map(|Stamp(at)| at),
            max_redemptions,
            once_per_pool: self.once_per_pool.unwrap_or(true),
            redemptions: 0,
            created_at: now,
        })
    }
}

/// Hundredths of a percent.
fn read_percent(amount: Amount) -> Result<i64, String> {
    let hundredths = amount.requested().map_err(|error| error.to_string())?;
    let hundredths = Some(hundredths.units()).filter(|units| *units <= WHOLE);
    hundredths.ok_or_else(|| "must be at most 100".to_owned())
}

fn within_most(number: i64) -> Result<i64, String> {
    let good = Some(number).filter(|number| (1..=MOST).contains(number));
    good.ok_or_else(|| format!("must be from 1 to {MOST}"))
}

/// Lists promo codes
///
/// Newest first, with how often each was redeemed.
#[utoipa::path(
    get,
    path = "/v1/promo-codes",
    tag = "catalogue",
    params(PageQuery),
    responses((status = 200, description = "A page", body = Page<PromoCodeBody>))
)]
async fn get_promo_codes(
    State(app): State<App>,
    Allowed { caller, .. }: Allowed<scope::BalancesRead>,
    Query(query): Query<PageQuery>,
) -> Result<Response, Problem> {
    let page = query.read::<(Stamp, PromoCode)>()?;
    let before = page.after.map(|(Stamp(at), code)| (at, code));
    let limit = i64::from(page.limit) + 1;
    let rows = app
        .store
        .promo_codes(caller.tenant, before.as_ref(), limit)
        .await?;
    let key = |row: &PromoRecord| (Stamp(row.created_at), row.code.clone());
    Ok(answer::ok(&Page::of(
        page.limit,
        rows,
        key,
        PromoCodeBody::from,
    )))
}

/// Makes or changes a promo code
///
/// It then is what the body says. Checkouts that use it keep their price, and count as redemptions.
#[utoipa::path(
    put,
    path = "/v1/promo-codes/{code}",
    tag = "catalogue",
    params(("code" = String, Path, description = "1 to 64 of `A-Z a-z 0-9 . _ -`")),
    request_body = PromoCodeRequest,
    responses(
        (status = 200, description = "Changed, or as it was", body = PromoCodeBody),
        (status = 201, description = "Made", body = PromoCodeBody)
    )
)]
async fn put_promo_code(
    State(app): State<App>,
    Allowed { caller, .. }: Allowed<scope::CatalogWrite>,
    PathPromoCode(code): PathPromoCode,
    Body(body): Body<PromoCodeRequest>,
) -> Result<Response, Problem> {
    let promo = body.read(code, app.clock.now())?;
    let (promo, is_new) = app.store.put_promo_code(caller.tenant, &promo).await?;
    let status = if is_new {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    Ok(answer::json(status, &PromoCodeBody::from(promo)))
}
