//! Where customers pay. What the rest of the service knows of a payment provider is in these
//! values; how one is spoken to is in its own file: [`stripe`](self::stripe::Stripe), so far.
//!
//! No retry lives here: the caller owns the key that makes one safe.

mod stripe;

use uuid::Uuid;

use crate::ledger::{Credits, Label, PoolName, Price, Refusal, Time};

pub use stripe::Stripe;

/// The most a payment can be, in any currency's smallest unit: eight digits.
const MAXIMUM_CENTS: i64 = 99_999_999;
/// The least a payment can be, in a currency's smallest unit, where no other row says so.
const MINIMUM_CENTS: i64 = 50;
/// Currencies whose least payment is another, as Stripe documents it for card payments.
const MINIMA: [(&str, i64); 16] = [
    ("aed", 200),
    ("bgn", 100),
    ("czk", 1_500),
    ("dkk", 250),
    ("gbp", 30),
    ("hkd", 400),
    ("huf", 17_500),
    ("mxn", 1_000),
    ("myr", 200),
    ("nok", 300),
    ("pln", 200),
    ("ron", 200),
    ("sek", 300),
    ("thb", 1_000),
    ("cop", 200_000),
    ("php", 2_000),
];

/// A page to be made where a customer can pay.
#[derive(Clone, Copy, Debug)]
pub struct NewSession<'a> {
    /// What it pays for. The same checkout asked for again gives the same page.
    pub checkout: Uuid,
    /// Which pool is credited.
    pub pool: &'a PoolName,
    /// What is sold, and for how much.
    pub price: &'a Price,
    /// Where the customer goes after paying.
    pub success_url: &'a str,
    /// Where the customer goes otherwise.
    pub cancel_url: &'a str,
    /// Where the receipt goes.
    pub customer_email: Option<&'a str>,
}

/// A page where a customer can pay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// The provider's name for it.
    pub id: String,
    /// Its address.
    pub url: String,
    /// Until when it can be paid.
    pub expires_at: Time,
}

/// What became of such a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionState {
    /// The customer may still pay.
    Open,
    /// The customer is done; the money is on its way, or there.
    Complete,
    /// It can be paid no more, or is not known.
    Gone,
}

/// A payment for credits of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PaidSession {
    /// The provider's name for the page.
    pub session: String,
    /// The payment's own name.
    pub reference: Label,
    /// Which pool it is for, as it says itself.
    pub pool: Option<String>,
    /// How many credits it is for, as it says itself.
    pub credits: Option<String>,
    /// Which checkout of ours it is of.
    pub checkout: Option<Uuid>,
    /// When it was paid.
    pub paid_at: Time,
    /// What was charged, in the currency's smallest unit.
    pub amount_cents: i64,
    /// Three lower-case letters.
    pub currency: Option<String>,
    /// What was refunded of it by now.
    pub refunded_cents: i64,
}

/// A page of a list of payments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PaidPage {
    /// Those that are for credits of ours.
    pub paid: Vec<PaidSession>,
    /// What the next page comes after; nothing on the last one.
    pub next: Option<String>,
}

/// Why a provider did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// It cannot be reached, takes too long, or cannot do it right now.
    #[error("the payment provider does not answer")]
    Unavailable(#[source] Option<reqwest::Error>),
    /// It said no, or failed.
    #[error("the payment provider answered {status}{}", said(.what))]
    Refused {
        /// The status of its answer.
        status: u16,
        /// Its own word for what is wrong.
        what: Option<String>,
    },
    /// What it said makes no sense.
    #[error("the payment provider answered what cannot be understood: {0}")]
    Unreadable(&'static str),
}

fn said(what: &Option<String>) -> String {
    what.as_ref()
        .map_or_else(String::new, |what| format!(" {what}"))
}

/// Refuses a payment of less or more than a provider takes. Nothing at all is no payment.
///
/// # Errors
/// It is too little or too much.
pub fn check_amount(price: &Price) -> Result<(), Refusal> {
    let row = MINIMA
        .iter()
        .find(|(currency, _)| *currency == price.currency);
    let minimum_cents = row.map_or(MINIMUM_CENTS, |(_, minimum)| *minimum);
    match price.total_cents {
        0 => Ok(()),
        total_cents if total_cents < minimum_cents => Err(Refusal::AmountTooSmall {
            total_cents,
            minimum_cents,
        }),
        total_cents if total_cents > MAXIMUM_CENTS => Err(Price::too_high()),
        _ => Ok(()),
    }
}

/// What the customer sees of it.
fn product_name(price: &Price) -> String {
    let Price { credits, bonus, .. } = price;
    if *bonus == Credits::ZERO {
        format!("{credits} AI credits")
    } else {
        format!("{credits} AI credits + {bonus} bonus")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn price(total_cents: i64, currency: &str) -> Price {
        Price {
            credits: Credits::whole(100),
            bonus: Credits::ZERO,
            subtotal_cents: total_cents,
            discount_cents: 0,
            total_cents,
            currency: currency.to_owned(),
        }
    }

    #[test]
    fn each_currency_has_its_least_payment() {
        for (currency, least) in [
            ("usd", 50),
            ("eur", 50),
            ("jpy", 50),
            ("gbp", 30),
            ("czk", 1_500),
        ] {
            assert_eq!(check_amount(&price(0, currency)), Ok(()), "{currency}");
            assert_eq!(check_amount(&price(least, currency)), Ok(()), "{currency}");
            let refused = Refusal::AmountTooSmall {
                total_cents: least - 1,
                minimum_cents: least,
            };
            assert_eq!(check_amount(&price(least - 1, currency)), Err(refused));
        }
        assert_eq!(check_amount(&price(99_999_999, "usd")), Ok(()));
        assert_eq!(
            check_amount(&price(100_000_000, "usd")),
            Err(Price::too_high())
        );
    }

    #[test]
    fn the_customer_is_told_of_the_bonus() {
        let plain = price(100, "usd");
        assert_eq!(product_name(&plain), "100 AI credits");
        let bonus = Price {
            bonus: Credits::whole(5),
            ..plain
        };
        assert_eq!(product_name(&bonus), "100 AI credits + 5 bonus");
    }
}
