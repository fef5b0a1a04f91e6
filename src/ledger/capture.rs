//! Spending from a hold: the debit whose cost was not known when the work began.

use std::sync::Arc;

use super::book::Draft;
use super::clawback::collect;
use super::debit::{Drawn, draw, in_steps, price_source};
use super::hash::Canonical;
use super::hold::given_back;
use super::{
    Account, Actor, Book, Captured, Catalogue, Credits, Details, Entry, EntryId, Fingerprint, Hold,
    HoldStatus, Kind, Mode, Pool, PriceSource, Refusal, Round, Time,
};

/// Credits to be spent from a hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capture {
    /// Which hold.
    pub hold: EntryId,
    /// What the work cost: less than is held, as much, or more.
    pub credits: Credits,
    /// How to bring them to the denomination.
    pub round: Option<Round>,
    /// What happens when the pool is short of what is not held.
    pub mode: Mode,
}

impl Capture {
    /// What makes two captures the same request.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        Canonical::new("hold capture")
            .bytes(self.hold.uuid().as_bytes())
            .number(self.credits.units())
            .text(self.round.map(Round::as_str))
            .text(Some(self.mode.as_str()))
            .fingerprint()
    }

    /// Spends from the hold, its monthly part first; the rest of the hold is given back, what is
    /// above it is drawn anew by `mode`. The work of an expired hold may be settled once more:
    /// then all of it is drawn anew.
    ///
    /// # Errors
    /// There is no such hold, it is open no more, the price, the denomination, a limit, or in
    /// `strict` a pool that is short. The hold then stays as it is.
    pub fn book(
        &self,
        book: &mut Book,
        catalogue: &Catalogue,
        actor: Actor,
        now: Time,
    ) -> Result<Arc<Entry>, Refusal> {
        let mut hold = book.hold(self.hold)?.clone();
        let is_late = hold.status == HoldStatus::Expired && self.mode == Mode::Settle;
        if !hold.is_open() && !is_late {
            return Err(Refusal::HoldNotOpen {
                status: hold.status,
            });
        }
        let source = self.price(book.pool(), catalogue, &hold)?;
        let credits = self.amount(book.pool(), &hold)?;
        catalogue.settings.check_debit(credits)?;
        let captured = hold.is_open().then(|| from_hold(&hold, credits));
        let anew = captured.map_or(credits, |it| credits.saturating_sub(it.monthly + it.addon));
        let drawn = match anew.is_zero() {
            true => Drawn::default(),
            false => draw(book.pool(), anew, self.mode)?,
        };
        let mut transfers = match captured {
            Some(captured) => given_back(&mut book.pool, &hold.facts, captured),
            None => Vec::new(),
        };
        transfers.extend(drawn.spent());
        hold.status = HoldStatus::Captured;
        let draft = Draft {
            actor,
            details: Details {
                mode: (self.mode != Mode::Strict).then_some(self.mode),
                requested_credits: self.round.map(|_| self.credits),
                price: source,
                hold: Some(hold.facts.clone()),
                captured,
                ..Details::default()
            },
            ..Draft::of_hold(Kind::Debit, &hold, transfers)
        };
        let entry = book.append_to_hold(now, draft, hold);
        collect(book, now, entry.moved(Account::HeldAddon, Account::Addon));
        Ok(entry)
    }

    /// Work that began at a fixed price ends at it, or at today's; work that began without one
    /// costs what it costs, also when a price was fixed since.
    fn price(
        &self,
        pool: &Pool,
        catalogue: &Catalogue,
        hold: &Hold,
    ) -> Result<Option<PriceSource>, Refusal> {
        let Some(source) = hold.facts.price else {
            return Ok(None);
        };
        if self.credits == hold.facts.requested {
            return Ok(Some(source));
        }
        let operation = hold.attribution.operation.as_ref();
        match price_source(pool, catalogue, operation)? {
            Some((price, source)) if price == self.credits => Ok(Some(source)),
            Some(_) | None => Err(Refusal::PriceIsFixed {
                price: hold.facts.requested,
            }),
        }
    }

    /// All that is held can be captured, whatever the denomination has become since.
    fn amount(&self, pool: &Pool, hold: &Hold) -> Result<Credits, Refusal> {
        match hold.is_open() && self.credits == hold.facts.credits() {
            true => Ok(self.credits),
            false => in_steps(pool, self.credits, self.round),
        }
    }
}

fn from_hold(hold: &Hold, credits: Credits) -> Captured {
    let monthly = credits.min(hold.facts.monthly);
    let addon = credits.saturating_sub(monthly).min(hold.facts.addon);
    Captured { monthly, addon }
}

#[cfg(test)]
mod tests;
