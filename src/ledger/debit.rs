//! Spending: the price, the order of the buckets, strict and settled debits, authorization.

use std::sync::Arc;

use serde::Deserialize;

use super::book::Draft;
use super::hash::Canonical;
use super::{
    Account, Actor, Attribution, Book, Catalogue, Credits, Details, Entry, Fingerprint, Kind,
    Label, Metadata, Operation, Pool, Refusal, Round, SignedCredits, Time, Transfer,
};

/// What happens when the pool is short.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Mode {
    /// The debit is refused: the default.
    #[default]
    Strict,
    /// The work is done: it is always booked, what is missing becomes overdraft.
    Settle,
}

words!(Mode {
    Strict => "strict",
    Settle => "settle",
});

/// Credits to be spent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Debit {
    /// How many; may be left out where the operation's price is fixed.
    pub credits: Option<Credits>,
    /// How to bring them to the denomination.
    pub round: Option<Round>,
    /// What happens when the pool is short.
    pub mode: Mode,
    /// What they are for.
    pub attribution: Attribution,
    /// The client's own.
    pub metadata: Option<Metadata>,
}

/// What a debit drew, read from its entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DebitFacts {
    /// All of it.
    pub credits: Credits,
    /// From the monthly bucket.
    pub monthly: Credits,
    /// From the add-on bucket.
    pub addon: Credits,
    /// Beyond both.
    pub overdraft: Credits,
    /// What was named before rounding, when rounding was asked for.
    pub requested: Option<Credits>,
    /// How it was booked.
    pub mode: Mode,
}

impl DebitFacts {
    /// The facts of a debit's entry; `None` when its details cannot be read.
    #[must_use]
    pub fn of(entry: &Entry) -> Option<Self> {
        let [monthly, addon, overdraft] = [Account::Monthly, Account::Addon, Account::Overdraft]
            .map(|bucket| entry.moved(bucket, Account::Consumed));
        let details = entry.read_details()?;
        Some(Self {
            credits: monthly + addon + overdraft,
            monthly,
            addon,
            overdraft,
            requested: details.requested_credits,
            mode: details.mode.unwrap_or_default(),
        })
    }
}

impl Debit {
    /// What makes two debits the same request.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        let who = &self.attribution;
        let labels = [
            &who.operation,
            &who.user_id,
            &who.workspace_id,
            &who.run_id,
            &who.model,
        ];
        let mut form = Canonical::new("debit")
            .optional(self.credits.map(Credits::units))
            .text(Some(self.mode.as_str()))
            .text(self.round.map(Round::as_str));
        for label in labels {
            form = form.text(label.as_ref().map(Label::as_str));
        }
        form.text(self.metadata.as_ref().map(Metadata::as_str))
            .fingerprint()
    }

    /// Draws the credits, monthly first, then add-on, in `settle` then overdraft.
    ///
    /// # Errors
    /// The price, the denomination, a limit, or in `strict` a pool that is short.
    pub fn book(
        self,
        book: &mut Book,
        catalogue: &Catalogue,
        actor: Actor,
        now: Time,
    ) -> Result<Arc<Entry>, Refusal> {
        let pool = book.pool();
        let operation = self.attribution.operation.as_ref();
        let Some(named) = price(pool, catalogue, operation, self.credits)? else {
            return Err(Refusal::invalid(
                "credits",
                "is needed where no price is fixed",
            ));
        };
        let credits = in_steps(pool, named, self.round)?;
        if credits > catalogue.settings.max_debit {
            return Err(Refusal::DebitTooLarge {
                maximum: catalogue.settings.max_debit,
            });
        }
        let transfers = match self.mode {
            Mode::Strict => draw_strictly(pool, credits)?,
            Mode::Settle => draw(pool, credits),
        };
        let over: Credits = transfers
            .iter()
            .filter(|leg| leg.from == Account::Overdraft)
            .map(|leg| leg.amount)
            .sum();
        if pool.overdraft() + over > Credits::MAX_ACCOUNT {
            return Err(Refusal::BalanceLimit);
        }
        let details = Details {
            mode: (self.mode != Mode::Strict).then_some(self.mode),
            requested_credits: self.round.map(|_| named),
            ..Details::default()
        };
        let (attribution, metadata) = (self.attribution, self.metadata);
        let kind = Draft::new(Kind::Debit, transfers);
        Ok(book.append(
            now,
            Draft {
                actor,
                attribution,
                metadata,
                details,
                ..kind
            },
        ))
    }
}

/// What an operation would cost and whether the pool can pay it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authorization {
    /// `None` when allowed, else the refusal's code.
    pub refused: Option<&'static str>,
    /// What the pool can give.
    pub available: SignedCredits,
    /// The price, where one is known.
    pub required: Option<Credits>,
    /// What the operation costs on average: it never refuses.
    pub estimate: Option<Credits>,
}

/// Answers whether a debit could be booked; books nothing. Without a price it is allowed while
/// anything is available.
///
/// # Errors
/// What a debit of the same request would be refused for, but for a pool that is short.
pub fn authorize(
    pool: &Pool,
    catalogue: &Catalogue,
    operation: Option<&Label>,
    credits: Option<Credits>,
) -> Result<Authorization, Refusal> {
    if pool.is_closed() {
        return Err(Refusal::PoolClosed);
    }
    let estimate = find_operation(catalogue, operation)?.map(|operation| operation.estimate);
    let named = match credits {
        Some(credits) => Some(credits),
        None => price(pool, catalogue, operation, None)?,
    };
    let required = named.map(|named| in_steps(pool, named, None)).transpose()?;
    let maximum = catalogue.settings.max_debit;
    if required.is_some_and(|required| required > maximum) {
        return Err(Refusal::DebitTooLarge { maximum });
    }
    let available = pool.available();
    let refused = if !available.is_positive() {
        Some("pool_empty")
    } else if required.is_some_and(|required| required.signed() > available) {
        Some("insufficient_credits")
    } else {
        None
    };
    Ok(Authorization {
        refused,
        available,
        required,
        estimate,
    })
}

fn find_operation<'c>(
    catalogue: &'c Catalogue,
    operation: Option<&Label>,
) -> Result<Option<&'c Operation>, Refusal> {
    let Some(code) = operation else {
        return Ok(None);
    };
    // A label that is no code cannot be on the rate card.
    let found = code
        .as_str()
        .parse()
        .ok()
        .and_then(|code| catalogue.operations.get(&code));
    found.map(Some).ok_or_else(|| Refusal::UnknownOperation {
        operation: code.clone(),
    })
}

/// The fixed price, or the credits named where none is fixed; `None` when nothing says it.
fn price(
    pool: &Pool,
    catalogue: &Catalogue,
    operation: Option<&Label>,
    credits: Option<Credits>,
) -> Result<Option<Credits>, Refusal> {
    let fixed = find_operation(catalogue, operation)?.and_then(|operation| {
        let legacy = operation.legacy_fixed.filter(|_| pool.legacy_prices);
        legacy.or(operation.fixed)
    });
    match (fixed, credits) {
        (Some(price), Some(named)) if named != price => Err(Refusal::PriceIsFixed { price }),
        (Some(price), _) => Ok(Some(price)),
        (None, named) => Ok(named),
    }
}

fn in_steps(pool: &Pool, named: Credits, round: Option<Round>) -> Result<Credits, Refusal> {
    let denomination = pool.denomination;
    match denomination.apply(named, round) {
        Some(Credits::ZERO) => Err(Refusal::invalid("credits", "must not round to 0")),
        Some(credits) => Ok(credits),
        None => Err(Refusal::NotAMultiple { denomination }),
    }
}

/// A strict debit never overspends, and an overdraft counts against both buckets.
fn draw_strictly(pool: &Pool, credits: Credits) -> Result<Vec<Transfer>, Refusal> {
    let available = pool.available();
    if credits.signed() <= available {
        return Ok(draw(pool, credits));
    }
    let shortfall = (credits.signed() - available).abs();
    Err(Refusal::Short {
        empty: !available.is_positive(),
        required: credits,
        available,
        shortfall,
        renews_at: pool.cycle.end,
        plan_allows_addons: pool.addons_allowed,
    })
}

fn draw(pool: &Pool, credits: Credits) -> Vec<Transfer> {
    let monthly = credits.min(pool.monthly());
    let addon = credits.saturating_sub(monthly).min(pool.addon());
    let overdraft = credits.saturating_sub(monthly + addon);
    let spent = |from, amount| Transfer::new(from, Account::Consumed, amount);
    let legs = [
        spent(Account::Monthly, monthly),
        spent(Account::Addon, addon),
        spent(Account::Overdraft, overdraft),
    ];
    legs.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests;
