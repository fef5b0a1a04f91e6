//! Spending: the price, the order of the buckets, strict and settled debits, authorization.

use std::sync::Arc;

use serde::Deserialize;

use super::book::Draft;
use super::hash::Canonical;
use super::{
    Account, Actor, Attribution, Book, Catalogue, Credits, Details, Entry, EntryId, Fingerprint,
    Kind, Label, Metadata, Operation, Pool, Refusal, Round, SignedCredits, Time, Transfer,
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

/// Who fixed a debit's price.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum PriceSource {
    /// The rate card.
    Fixed,
    /// The rate card, for plans with the old prices.
    LegacyFixed,
}

words!(PriceSource {
    Fixed => "fixed",
    LegacyFixed => "legacy_fixed",
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
    /// The hold it was captured from.
    pub hold: Option<EntryId>,
    /// Whether the hold had expired, so that all of it was drawn anew.
    pub late: bool,
}

impl DebitFacts {
    /// The facts of a debit's entry; `None` when its details cannot be read.
    #[must_use]
    pub fn of(entry: &Entry) -> Option<Self> {
        let details = entry.read_details()?;
        let captured = details.captured.unwrap_or_default();
        let drawn = |account| entry.moved(account, Account::Consumed);
        let monthly = drawn(Account::Monthly) + captured.monthly;
        let addon = drawn(Account::Addon) + captured.addon;
        let overdraft = drawn(Account::Overdraft);
        let late = details.hold.is_some() && details.captured.is_none();
        Some(Self {
            credits: monthly + addon + overdraft,
            monthly,
            addon,
            overdraft,
            requested: details.requested_credits,
            mode: details.mode.unwrap_or_default(),
            hold: details.hold.map(|hold| hold.id),
            late,
        })
    }
}

impl Debit {
    /// What makes two debits the same request.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        let form = Canonical::new("debit")
            .optional(self.credits.map(Credits::units))
            .text(Some(self.mode.as_str()))
            .text(self.round.map(Round::as_str));
        self.attribution
            .hashed_into(form)
            .text(self.metadata.as_ref().map(Metadata::as_str))
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
        let priced = price(pool, catalogue, operation, (self.credits, self.round))?;
        let transfers = draw(pool, priced.credits, self.mode)?.spent();
        let details = Details {
            mode: (self.mode != Mode::Strict).then_some(self.mode),
            requested_credits: self.round.map(|_| priced.named),
            price: priced.source,
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
        None => price_source(pool, catalogue, operation)?.map(|(price, _)| price),
    };
    let required = named.map(|named| in_steps(pool, named, None)).transpose()?;
    if let Some(required) = required {
        catalogue.settings.check_debit(required)?;
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

/// What is to be debited or held.
pub(super) struct Priced {
    /// The credits named, or the fixed price.
    pub named: Credits,
    /// These in steps of the denomination.
    pub credits: Credits,
    /// Who fixed the price; `None` when the request named it.
    pub source: Option<PriceSource>,
}

/// The fixed price, or the credits named where none is fixed, in steps of the denomination.
///
/// # Errors
/// The price, the denomination, or the tenant's limit.
pub(super) fn price(
    pool: &Pool,
    catalogue: &Catalogue,
    operation: Option<&Label>,
    (named, round): (Option<Credits>, Option<Round>),
) -> Result<Priced, Refusal> {
    let (named, source) = match (price_source(pool, catalogue, operation)?, named) {
        (Some((price, _)), Some(named)) if named != price => {
            return Err(Refusal::PriceIsFixed { price });
        }
        (Some((price, source)), _) => (price, Some(source)),
        (None, Some(named)) => (named, None),
        (None, None) => {
            let message = "is needed where no price is fixed";
            return Err(Refusal::invalid("credits", message));
        }
    };
    let credits = in_steps(pool, named, round)?;
    catalogue.settings.check_debit(credits)?;
    Ok(Priced {
        named,
        credits,
        source,
    })
}

/// The fixed price, where the operation has one for this pool.
pub(super) fn price_source(
    pool: &Pool,
    catalogue: &Catalogue,
    operation: Option<&Label>,
) -> Result<Option<(Credits, PriceSource)>, Refusal> {
    let Some(operation) = find_operation(catalogue, operation)? else {
        return Ok(None);
    };
    let legacy = operation.legacy_fixed.filter(|_| pool.legacy_prices);
    let legacy = legacy.map(|price| (price, PriceSource::LegacyFixed));
    Ok(legacy.or(operation.fixed.map(|price| (price, PriceSource::Fixed))))
}

pub(super) fn in_steps(
    pool: &Pool,
    named: Credits,
    round: Option<Round>,
) -> Result<Credits, Refusal> {
    let denomination = pool.denomination;
    match denomination.apply(named, round) {
        Some(Credits::ZERO) => Err(Refusal::invalid("credits", "must not round to 0")),
        Some(credits) => Ok(credits),
        None => Err(Refusal::NotAMultiple { denomination }),
    }
}

/// What the buckets give of an amount, and what is beyond them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Drawn {
    pub monthly: Credits,
    pub addon: Credits,
    pub overdraft: Credits,
}

impl Drawn {
    /// Monthly first, then add-on, then beyond both.
    pub fn of(pool: &Pool, credits: Credits) -> Self {
        let monthly = credits.min(pool.monthly());
        let addon = credits.saturating_sub(monthly).min(pool.addon());
        let overdraft = credits.saturating_sub(monthly + addon);
        Self {
            monthly,
            addon,
            overdraft,
        }
    }

    /// The transfers of spending it.
    pub fn spent(self) -> Vec<Transfer> {
        let spent = |from, amount| Transfer::new(from, Account::Consumed, amount);
        let legs = [
            spent(Account::Monthly, self.monthly),
            spent(Account::Addon, self.addon),
            spent(Account::Overdraft, self.overdraft),
        ];
        legs.into_iter().flatten().collect()
    }
}

/// Where a debit's credits are to come from, if the mode lets it have them.
pub(super) fn draw(pool: &Pool, credits: Credits, mode: Mode) -> Result<Drawn, Refusal> {
    match mode {
        Mode::Strict => check_available(pool, credits)?,
        Mode::Settle => {}
    }
    let drawn = Drawn::of(pool, credits);
    if pool.overdraft() + drawn.overdraft > Credits::MAX_ACCOUNT {
        return Err(Refusal::BalanceLimit);
    }
    Ok(drawn)
}

/// Strict debits and holds never overspend, and an overdraft counts against both buckets.
pub(super) fn check_available(pool: &Pool, credits: Credits) -> Result<(), Refusal> {
    let available = pool.available();
    if credits.signed() <= available {
        return Ok(());
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

#[cfg(test)]
mod tests;
