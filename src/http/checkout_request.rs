//! What a client says of a checkout that it wants, or wants to know the price of.

use reqwest::Url;
use serde::Deserialize;
use utoipa::ToSchema;

use super::extract::{Amount, Violations};
use super::problem::Problem;
use crate::ledger::{Canonical, Fingerprint, Label, SignedCredits};
use crate::payments::Wish;

/// The most characters of an address to go to.
const MOST_URL_CHARS: usize = 2_000;
/// The most characters of an e-mail address.
const MOST_EMAIL_CHARS: usize = 254;

/// A checkout to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewCheckout, example = json!({
    "credits": 500, "success_url": "https://app.example.com/paid",
    "cancel_url": "https://app.example.com/plans"
}))]
pub struct CheckoutRequest {
    /// At least the add-on terms' `minimum`, a multiple of their `step`.
    credits: Amount,
    /// A promo code, as it is written.
    promo_code: Option<String>,
    /// Where the customer goes after paying: http or https, up to 2000 characters.
    #[schema(value_type = String)]
    success_url: Option<String>,
    /// Where the customer goes otherwise: http or https, up to 2000 characters.
    #[schema(value_type = String)]
    cancel_url: Option<String>,
    /// Where the receipt goes.
    customer_email: Option<String>,
    /// Who buys.
    user_id: Option<String>,
}

/// A checkout to be priced. A checkout's own body is as good: what else it says is checked too.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = QuoteCheckout, example = json!({"credits": 500}))]
pub struct QuoteRequest {
    /// At least the add-on terms' `minimum`, a multiple of their `step`.
    credits: Amount,
    /// A promo code, as it is written.
    promo_code: Option<String>,
    success_url: Option<String>,
    cancel_url: Option<String>,
    customer_email: Option<String>,
    user_id: Option<String>,
}

/// A checkout that is wanted, good as far as that can be told without looking.
#[derive(Debug)]
pub struct WantedCheckout {
    /// What is to be bought.
    pub wish: Wish,
    /// Where the customer goes after paying.
    pub success_url: String,
    /// Where the customer goes otherwise.
    pub cancel_url: String,
    /// Where the receipt goes.
    pub customer_email: Option<String>,
    /// Who buys.
    pub user_id: Option<Label>,
}

impl CheckoutRequest {
    /// The checkout that is wanted.
    ///
    /// # Errors
    /// 422 naming every field that is not as it must be.
    pub fn read(self) -> Result<WantedCheckout, Problem> {
        let mut violations = Violations::new();
        let success_url = violations.require("success_url", self.success_url.map(read_url));
        let cancel_url = violations.require("cancel_url", self.cancel_url.map(read_url));
        let email = self.customer_email.map(read_email);
        let customer_email = violations.take("customer_email", email);
        let user_id = violations.take("user_id", self.user_id.map(Label::try_from));
        let (success_url, cancel_url) = violations.finish_with(success_url.zip(cancel_url))?;
        Ok(WantedCheckout {
            wish: Wish {
                credits: self.credits.balance(),
                promo_code: self.promo_code,
            },
            success_url,
            cancel_url,
            customer_email,
            user_id,
        })
    }
}

impl QuoteRequest {
    /// What is to be priced.
    ///
    /// # Errors
    /// 422 naming every field that is not as it must be.
    pub fn read(self) -> Result<Wish, Problem> {
        let mut violations = Violations::new();
        violations.take("success_url", self.success_url.map(read_url));
        violations.take("cancel_url", self.cancel_url.map(read_url));
        violations.take("customer_email", self.customer_email.map(read_email));
        violations.take("user_id", self.user_id.map(Label::try_from));
        violations.finish()?;
        Ok(Wish {
            credits: self.credits.balance(),
            promo_code: self.promo_code,
        })
    }
}

impl WantedCheckout {
    /// What makes two of them the same request.
    pub fn fingerprint(&self) -> Fingerprint {
        let credits = self.wish.credits.ok().map(SignedCredits::units);
        Canonical::new("checkout")
            .optional(credits)
            .text(self.wish.promo_code.as_deref())
            .text(Some(&self.success_url))
            .text(Some(&self.cancel_url))
            .text(self.customer_email.as_deref())
            .text(self.user_id.as_ref().map(Label::as_str))
            .fingerprint()
    }
}

/// An address as it was written: the provider fills in what it has in braces.
fn read_url(text: String) -> Result<String, &'static str> {
    let url = Url::parse(&text).ok();
    let good = url.is_some_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    if good && text.chars().count() <= MOST_URL_CHARS && !text.contains(char::is_control) {
        Ok(text)
    } else {
        Err("must be an http or https URL of at most 2000 characters")
    }
}

fn read_email(text: String) -> Result<String, &'static str> {
    let parts = text.split_once('@');
    let good = parts.is_some_and(|(name, host)| !name.is_empty() && !host.is_empty());
    let plain = |c: char| !c.is_whitespace() && !c.is_control();
    if good && text.chars().count() <= MOST_EMAIL_CHARS && text.chars().all(plain) {
        Ok(text)
    } else {
        Err("must be an e-mail address")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::extract::parse_json;

    fn read(json: serde_json::Value) -> Result<WantedCheckout, serde_json::Value> {
        let request = parse_json::<CheckoutRequest>(json.to_string().as_bytes());
        let result = request.and_then(CheckoutRequest::read);
        result.map_err(|problem| serde_json::to_value(problem.body("r")).expect("a body"))
    }

    #[test]
    fn addresses_are_kept_as_they_are_written() {
        let url = "https://a.example/ok?session={CHECKOUT_SESSION_ID}";
        let body = serde_json::json!({
            "credits": 100, "success_url": url, "cancel_url": "http://localhost:1/no",
            "customer_email": "a@b.example",
        });
        let wanted = read(body).expect("good");
        assert_eq!(wanted.success_url, url);
        assert_eq!(wanted.customer_email.as_deref(), Some("a@b.example"));
    }

    #[test]
    fn every_bad_field_is_named() {
        let body = serde_json::json!({
            "credits": 0, "success_url": "javascript:alert(1)", "customer_email": "nobody",
            "user_id": "",
        });
        let problem = read(body).expect_err("bad");
        let fields: Vec<_> = (0..4)
            .map(|n| problem["errors"][n]["field"].clone())
            .collect();
        let expected = ["success_url", "cancel_url", "customer_email", "user_id"];
        assert_eq!(fields, expected);
    }
}
