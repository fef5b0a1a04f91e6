//! How a tenant sells add-on credits.

use axum::extract::State;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::no_catalogue;
use crate::http::App;
use crate::http::answer::{self, Number};
use crate::http::auth::{Allowed, scope};
use crate::http::extract::{Amount, Body, Violations};
use crate::http::problem::Problem;
use crate::ledger::{AddonTerms, Catalogue, Credits};
use crate::store::CatalogueChange;

/// The most months that add-on credits may last: so no expiry leaves the years a date can have.
const MOST_MONTHS: i64 = 1_200;
/// The highest price of one step.
const HIGHEST_PRICE_CENTS: i64 = 1_000_000_000;

/// The routes of add-on terms.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(get_addon_terms, put_addon_terms))
}

/// Add-on terms as they are to be; what is left out stays.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PutAddonTerms, example = json!({"step": 100, "minimum": 200}))]
struct AddonTermsRequest {
    /// Sold in multiples of this.
    step: Option<Amount>,
    /// The least a purchase may be; a multiple of `step`.
    minimum: Option<Amount>,
    /// The price of one step, in the currency's smallest unit; 0 to 1000000000.
    price_cents_per_step: Option<i64>,
    /// Three letters.
    currency: Option<String>,
    /// How many calendar months the add-on pool lasts after its latest purchase; 1 to 1200.
    validity_months: Option<i64>,
}

/// How add-on credits are sold.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AddonTerms)]
struct AddonTermsBody {
    #[schema(value_type = Number)]
    step: Credits,
    #[schema(value_type = Number)]
    minimum: Credits,
    price_cents_per_step: i64,
    currency: String,
    validity_months: i32,
}

impl From<&AddonTerms> for AddonTermsBody {
    fn from(terms: &AddonTerms) -> Self {
        Self {
            step: terms.step,
            minimum: terms.minimum,
            price_cents_per_step: terms.price_cents_per_step,
            currency: terms.currency.clone(),
            validity_months: terms.validity_months,
        }
    }
}

impl AddonTermsRequest {
    /// The terms with what is named changed; every rule that is broken is named.
    fn apply(self, terms: &AddonTerms) -> Result<AddonTerms, Problem> {
        let mut violations = Violations::new();
        let mut new = terms.clone();
        if let Some(step) = violations.take("step", self.step.map(Amount::requested)) {
            new.step = step;
        }
        if let Some(minimum) = violations.take("minimum", self.minimum.map(Amount::requested)) {
            new.minimum = minimum;
        }
        if new.minimum.units() % new.step.units() != 0 {
            violations.add("minimum", "must be a multiple of step");
        }
        if let Some(price) = self.price_cents_per_step {
            new.price_cents_per_step = price;
            if !(0..=HIGHEST_PRICE_CENTS).contains(&price) {
                let message = format_args!("must be from 0 to {HIGHEST_PRICE_CENTS}");
                violations.add("price_cents_per_step", message);
            }
        }
        if let Some(currency) = violations.take("currency", self.currency.map(read_currency)) {
            new.currency = currency;
        }
        let months = self.validity_months.map(read_months);
        if let Some(months) = violations.take("validity_months", months) {
            new.validity_months = months;
        }
        violations.finish()?;
        Ok(new)
    }
}

fn read_currency(text: String) -> Result<String, &'static str> {
    let good = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_alphabetic());
    if good {
        Ok(text.to_ascii_lowercase())
    } else {
        Err("must be three letters")
    }
}

fn read_months(months: i64) -> Result<i32, String> {
    let good = i32::try_from(months)
        .ok()
        .filter(|_| (1..=MOST_MONTHS).contains(&months));
    good.ok_or_else(|| format!("must be from 1 to {MOST_MONTHS}"))
}

/// Reads the add-on terms
#[utoipa::path(
    get,
    path = "/v1/addon-terms",
    tag = "catalogue",
    responses((status = 200, description = "The terms", body = AddonTermsBody))
)]
async fn get_addon_terms(
    State(app): State<App>,
    Allowed { caller, .. }: Allowed<scope::BalancesRead>,
) -> Result<Response, Problem> {
    let sold = app.store.catalogue(caller.tenant, None).await?;
    let (_, sold) = sold.ok_or_else(no_catalogue)?;
    Ok(answer::ok(&AddonTermsBody::from(&sold.addon_terms)))
}

/// Changes the add-on terms
///
/// What is left out stays. They hold for purchases from then on.
#[utoipa::path(
    put,
    path = "/v1/addon-terms",
    tag = "catalogue",
    request_body = AddonTermsRequest,
    responses((status = 200, description = "The terms as they are now", body = AddonTermsBody))
)]
async fn put_addon_terms(
    State(app): State<App>,
    Allowed { caller, .. }: Allowed<scope::CatalogWrite>,
    Body(body): Body<AddonTermsRequest>,
) -> Result<Response, Problem> {
    let decide = move |_, sold: &Catalogue| {
        let terms = body.apply(&sold.addon_terms)?;
        let change = match terms == sold.addon_terms {
            true => CatalogueChange::None,
            false => CatalogueChange::AddonTerms(Box::new(terms.clone())),
        };
        Ok::<_, Problem>((change, terms))
    };
    let changed = app.store.change_catalogue(caller.tenant, decide).await?;
    let terms = changed.ok_or_else(no_catalogue)??;
    Ok(answer::ok(&AddonTermsBody::from(&terms)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::extract::parse_json;

    fn apply(json: &str) -> Result<AddonTerms, serde_json::Value> {
        let sold = Catalogue::initial("2026-01-01T00:00:00Z".parse().expect("a time"));
        let request = parse_json::<AddonTermsRequest>(json.as_bytes());
        let result = request.and_then(|request| request.apply(&sold.addon_terms));
        result.map_err(|problem| serde_json::to_value(problem.body("r")).expect("a body"))
    }

    #[test]
    fn what_is_left_out_stays() {
        let terms = apply(r#"{"price_cents_per_step":250,"currency":"EUR"}"#).expect("good");
        assert_eq!(
            (terms.price_cents_per_step, terms.currency.as_str()),
            (250, "eur")
        );
        assert_eq!((terms.step.units(), terms.validity_months), (10_000, 12));
    }

    #[test]
    fn every_broken_rule_is_named() {
        let rows = [
            (r#"{"step":0}"#, "step"),
            (r#"{"step":150}"#, "minimum"),
            (r#"{"minimum":150}"#, "minimum"),
            (r#"{"price_cents_per_step":-1}"#, "price_cents_per_step"),
            (r#"{"price_cents_per_step":1.5}"#, "price_cents_per_step"),
            (r#"{"currency":"euro"}"#, "currency"),
            (r#"{"validity_months":0}"#, "validity_months"),
            (r#"{"validity_months":99999999999}"#, "validity_months"),
        ];
        for (json, field) in rows {
            assert_eq!(
                apply(json).expect_err(json)["errors"][0]["field"],
                field,
                "{json}"
            );
        }
    }
}
