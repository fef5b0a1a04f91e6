//! What add-on credits cost: the tenant's terms, less what a promo code takes off.
//!
//! Money is whole numbers of the currency's smallest unit. A discount is rounded down.

use super::{AddonTerms, Credits, Refusal};

/// What a promo code does to a price.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduction {
    /// Hundredths of a percent, 1 to 10,000.
    PercentOff(i64),
    /// The currency's smallest unit.
    AmountOff(i64),
    /// Credits on top of what is bought.
    Bonus(Credits),
}

/// The price of a quantity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Price {
    /// What is bought.
    pub credits: Credits,
    /// What comes on top of it.
    pub bonus: Credits,
    /// What it costs by the terms.
    pub subtotal_cents: i64,
    /// What is taken off.
    pub discount_cents: i64,
    /// What is left to pay.
    pub total_cents: i64,
    /// Three lower-case letters.
    pub currency: String,
}

/// All of a price, in hundredths of a percent.
const WHOLE: i128 = 10_000;

impl Price {
    /// The price of a quantity that is sold.
    ///
    /// # Errors
    /// It is beyond any amount of money.
    pub fn of(
        credits: Credits,
        terms: &AddonTerms,
        reduction: Option<Reduction>,
    ) -> Result<Self, Refusal> {
        let steps = i128::from(credits.units()).checked_div(i128::from(terms.step.units()));
        let subtotal =
            steps.and_then(|steps| steps.checked_mul(i128::from(terms.price_cents_per_step)));
        let subtotal = subtotal.and_then(|cents| i64::try_from(cents).ok());
        let subtotal_cents = subtotal.ok_or_else(Self::too_high)?;
        let discount_cents = match reduction {
            None | Some(Reduction::Bonus(_)) => 0,
            Some(Reduction::AmountOff(cents)) => cents.min(subtotal_cents),
            Some(Reduction::PercentOff(hundredths)) => part(subtotal_cents, hundredths),
        };
        let bonus = match reduction {
            Some(Reduction::Bonus(credits)) => credits,
            None | Some(Reduction::AmountOff(_) | Reduction::PercentOff(_)) => Credits::ZERO,
        };
        Ok(Self {
            credits,
            bonus,
            subtotal_cents,
            discount_cents,
            total_cents: subtotal_cents.saturating_sub(discount_cents),
            currency: terms.currency.clone(),
        })
    }

    /// The refusal of a price that nobody can pay.
    #[must_use]
    pub fn too_high() -> Refusal {
        Refusal::invalid("credits", "cost more than one payment can be")
    }
}

/// So many hundredths of a percent of an amount, rounded down.
fn part(cents: i64, hundredths: i64) -> i64 {
    let product = i128::from(cents).checked_mul(i128::from(hundredths));
    let part = product.and_then(|product| product.checked_div(WHOLE));
    let part = part.and_then(|part| i64::try_from(part).ok());
    part.unwrap_or(cents).min(cents)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::samples::catalogue;

    fn price(credits: u32, cents_per_step: i64, reduction: Option<Reduction>) -> [i64; 3] {
        let terms = AddonTerms {
            price_cents_per_step: cents_per_step,
            ..catalogue().addon_terms
        };
        let price = Price::of(Credits::whole(credits), &terms, reduction).expect("a price");
        [
            price.subtotal_cents,
            price.discount_cents,
            price.total_cents,
        ]
    }

    #[test]
    fn a_discount_is_rounded_down_and_never_below_nothing() {
        assert_eq!(price(500, 100, None), [500, 0, 500]);
        assert_eq!(
            price(100, 333, Some(Reduction::PercentOff(1_000))),
            [333, 33, 300]
        );
        assert_eq!(
            price(100, 101, Some(Reduction::PercentOff(5_000))),
            [101, 50, 51]
        );
        assert_eq!(
            price(100, 100, Some(Reduction::PercentOff(1))),
            [100, 0, 100]
        );
        assert_eq!(
            price(500, 100, Some(Reduction::PercentOff(10_000))),
            [500, 500, 0]
        );
        assert_eq!(
            price(500, 100, Some(Reduction::AmountOff(120))),
            [500, 120, 380]
        );
        assert_eq!(
            price(500, 100, Some(Reduction::AmountOff(501))),
            [500, 500, 0]
        );
        let bonus = Some(Reduction::Bonus(Credits::whole(50)));
        assert_eq!(price(500, 100, bonus), [500, 0, 500]);
    }

    #[test]
    fn a_price_beyond_all_money_is_refused() {
        let terms = AddonTerms {
            step: Credits::from_units(1).expect("not negative"),
            price_cents_per_step: 1_000_000_000,
            ..catalogue().addon_terms
        };
        let refused = Price::of(Credits::MAX_REQUEST, &terms, None);
        assert_eq!(refused, Err(Price::too_high()));
    }
}
