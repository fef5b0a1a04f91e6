//! What a payment provider tells, in words of our own. How a provider says it is its own module's;
//! what is done about it is `receive`'s.

use super::provider::PaidSession;
use crate::ledger::{CreditsError, Label, PoolName, SignedCredits, Time};

/// Something happened to a payment, or to what may become one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The provider's own name of it: it may be delivered more than once.
    pub id: Label,
    /// When it happened.
    pub created: Time,
    /// What.
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// Nothing that concerns us yet, or at all.
    Nothing,
    /// Money that is not for credits: the same account sells other things too.
    NotOurs,
    /// Credits were paid for.
    Paid(Box<Paid>),
    /// A checkout will not be paid any more; its own name, if it has one.
    Expired(Option<String>),
    /// The payment was refunded or disputed.
    Lost(Loss),
}

/// A payment for credits, as it says it: what cannot be read is kept for whoever has to look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paid {
    /// The payment's own name.
    pub reference: Label,
    /// When it was paid.
    pub paid_at: Time,
    /// The pool.
    pub pool: Option<String>,
    /// The credits.
    pub credits: Option<String>,
    /// The checkout that sold them, if it was one of ours.
    pub checkout: Option<String>,
    /// Who bought.
    pub user_id: Option<Label>,
    /// What was paid, in the currency's smallest unit.
    pub amount: Option<i64>,
    /// Three lower-case letters.
    pub currency: Option<String>,
}

/// What a payment has lost by now. Events may come in any order, so this is a state, not a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// The payment's own name, where the event knows it.
    pub reference: Option<Label>,
    /// The charge.
    pub charge: Option<Label>,
    /// What was charged, where the event knows it.
    pub charged: Option<i64>,
    /// How it was lost.
    pub kind: LossKind,
}

/// How money is lost again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LossKind {
    /// This much was refunded by now.
    Refunded(i64),
    /// A dispute about this much.
    Disputed {
        /// The dispute's own name.
        id: Label,
        /// What it is about.
        amount: i64,
        /// What became of it.
        status: DisputeStatus,
    },
}

/// What became of a dispute. Won and lost are final.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DisputeStatus {
    /// It is not decided.
    Open,
    /// The money stays.
    Won,
    /// The money is gone.
    Lost,
}

/// Why a payment that is ours cannot be credited, before the ledger is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// It names no pool.
    PoolMissing,
    /// It names no credits.
    CreditsMissing,
    /// What it names is no pool's name.
    Pool,
    /// What it names is no number.
    Credits,
}

/// What a payment is to be credited as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// To which pool.
    pub pool: PoolName,
    /// How much; a quantity that is not sold is refused after the plan.
    pub credits: Result<SignedCredits, CreditsError>,
}

impl DisputeStatus {
    /// The word that is stored.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Won => "won",
            Self::Lost => "lost",
        }
    }
}

impl Unreadable {
    /// A stable word for it.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::PoolMissing => "pool_missing",
            Self::CreditsMissing => "credits_missing",
            Self::Pool => "pool_unreadable",
            Self::Credits => "credits_unreadable",
        }
    }
}

impl Paid {
    /// What it is to be credited as.
    ///
    /// # Errors
    /// A field is missing or cannot be read.
    pub fn order(&self) -> Result<Order, Unreadable> {
        let pool = self.pool.as_deref().ok_or(Unreadable::PoolMissing)?;
        let credits = self.credits.as_deref().ok_or(Unreadable::CreditsMissing)?;
        let pool = pool.trim().parse().map_err(|_| Unreadable::Pool)?;
        let credits = match SignedCredits::parse(credits.trim()) {
            Err(CreditsError::NotANumber) => return Err(Unreadable::Credits),
            credits => credits,
        };
        Ok(Order { pool, credits })
    }
}

impl From<&PaidSession> for Paid {
    fn from(paid: &PaidSession) -> Self {
        let currency = paid.currency.as_ref().map(|it| it.to_ascii_lowercase());
        let is_code =
            |text: &String| text.len() == 3 && text.bytes().all(|b| b.is_ascii_lowercase());
        Self {
            reference: paid.reference.clone(),
            paid_at: paid.paid_at,
            pool: paid.pool.clone(),
            credits: paid.credits.clone(),
            checkout: paid.checkout.map(|checkout| checkout.to_string()),
            // A list does not say it; a checkout of ours knows.
            user_id: None,
            amount: Some(paid.amount_cents).filter(|amount| *amount >= 0),
            currency: currency.filter(is_code),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paid(pool: Option<&str>, credits: Option<&str>) -> Paid {
        Paid {
            reference: "pi_1".parse().expect("a good reference"),
            paid_at: Time::UNIX_EPOCH,
            pool: pool.map(str::to_owned),
            credits: credits.map(str::to_owned),
            checkout: None,
            user_id: None,
            amount: None,
            currency: None,
        }
    }

    #[test]
    fn an_order_needs_a_pool_and_credits_that_can_be_read() {
        let rows = [
            (None, Some("100"), "pool_missing"),
            (Some("workspace:w"), None, "credits_missing"),
            (Some("w"), Some("100"), "pool_unreadable"),
            (Some(""), Some("100"), "pool_unreadable"),
            (Some("workspace:w"), Some("many"), "credits_unreadable"),
            (Some("workspace:w"), Some(""), "credits_unreadable"),
        ];
        for (pool, credits, code) in rows {
            let refused = paid(pool, credits).order().expect_err(code);
            assert_eq!(refused.code(), code);
        }
    }

    #[test]
    fn a_quantity_that_is_not_sold_is_left_to_the_ledger() {
        let credits = |text| {
            let order = paid(Some(" workspace:w "), Some(text)).order();
            order.expect("it can be read").credits
        };
        assert_eq!(credits("500"), Ok(SignedCredits::from_units(50_000)));
        assert_eq!(credits("-1"), Ok(SignedCredits::from_units(-100)));
        assert_eq!(credits("1.005"), Err(CreditsError::TooFine));
        assert_eq!(credits("1e15"), Err(CreditsError::TooLarge));
    }
}
