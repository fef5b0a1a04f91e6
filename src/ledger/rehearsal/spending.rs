//! What was spent and given back, decided anew: at the other prices, and in the other steps.

use std::sync::Arc;

use super::Told;
use super::replay::Replay;
use crate::ledger::debit::{price, price_source};
use crate::ledger::{
    Actor, Along, Attribution, Book, Command, Credits, Debit, DebitFacts, Label, Outcome, Refund,
    RefundableDebit, Round,
};

/// A debit of which refunds are still to come.
pub(super) struct Kept {
    /// As it is here.
    debit: RefundableDebit,
    /// What it costs here.
    costs: Credits,
    /// What it cost in the past, and what was given back of that.
    cost: Credits,
    refunded: Credits,
    /// The number of the last of its refunds.
    until: i64,
}

impl Kept {
    /// A debit from before the rehearsal: it is what it was.
    pub fn earlier(debit: RefundableDebit, until: i64) -> Self {
        let cost = debit.left() + debit.refunded;
        Self {
            costs: cost,
            cost,
            refunded: debit.refunded,
            until,
            debit,
        }
    }

    /// What a refund of the past gives back here: the same share.
    fn share(&self, credits: Credits, round: impl Fn(Credits) -> Option<Credits>) -> Credits {
        let left = self.debit.left();
        if self.refunded + credits >= self.cost {
            return left;
        }
        if self.cost == self.costs {
            return credits.min(left);
        }
        let product = i128::from(credits.units()).checked_mul(i128::from(self.costs.units()));
        let share = product.and_then(|product| product.checked_div(i128::from(self.cost.units())));
        let units = share.and_then(|units| i64::try_from(units).ok());
        let share = units.and_then(Credits::from_units).unwrap_or(left);
        round(share).unwrap_or(share).min(left)
    }
}

impl Replay<'_> {
    /// Spends again. An operation with a fixed price costs what the other rate card says, anything
    /// else what was named, rounded up to the other plan's steps. A capture is a debit like any:
    /// its hold was not rehearsed.
    pub fn debit(&mut self, told: &Told<'_>) -> Option<()> {
        let entry = told.entry;
        let facts = DebitFacts::of(entry)?;
        let (pool, other) = (&self.book.pool, self.other);
        let known = |operation: &&Label| price_source(pool, other, Some(operation)).is_ok();
        let operation = entry.attribution.operation.as_ref().filter(known);
        let source = price_source(pool, other, operation).ok()?;
        let credits = match source {
            Some(_) => None,
            None => Some(facts.credits),
        };
        let round = Some(Round::Up);
        let priced = price(pool, other, operation, (credits, round));
        let costs = priced.map_or(facts.credits, |priced| priced.credits);
        let debit = Debit {
            credits,
            round,
            mode: facts.mode,
            attribution: Attribution {
                operation: operation.cloned(),
                ..Attribution::default()
            },
            metadata: None,
        };
        let command = Command::Debit(Box::new(debit));
        match command.decide(&mut self.book, other, Actor::default(), entry.at) {
            Ok(Outcome::Booked(booked)) => {
                if let Some(until) = told.refunded_until {
                    let kept = Kept {
                        debit: RefundableDebit {
                            entry: Arc::clone(&booked),
                            refunded: Credits::ZERO,
                        },
                        costs,
                        cost: facts.credits,
                        refunded: Credits::ZERO,
                        until,
                    };
                    self.debits.insert(entry.seq, kept);
                }
            }
            Ok(Outcome::Put(_) | Outcome::Done) => {}
            Err(_) => {
                // What was due is counted before what was refused after it.
                self.settle().ok()?;
                let cycle_start = self.book.pool.cycle.start;
                self.tally.refuse(entry.at, cycle_start, costs);
            }
        }
        Some(())
    }

    /// Gives the same share back; of a debit that was refused here, nothing.
    pub fn refund(&mut self, told: &Told<'_>) -> Option<()> {
        let entry = told.entry;
        let facts = told.details.refund.as_ref()?;
        let (seq, _) = facts.debit.locate(entry.pool)?;
        let Some(mut kept) = self.debits.remove(&seq) else {
            self.left_out.refunds = self.left_out.refunds.saturating_add(1);
            return Some(());
        };
        let denomination = self.book.pool.denomination;
        let share = kept.share(facts.credits(), |credits| {
            denomination.apply(credits, Some(Round::Up))
        });
        kept.refunded = kept.refunded + facts.credits();
        if self.give_back(&kept.debit, share, told).is_some() {
            kept.debit.refunded = kept.debit.refunded + share;
        } else {
            self.left_out.refunds = self.left_out.refunds.saturating_add(1);
        }
        if kept.until > entry.seq {
            self.debits.insert(seq, kept);
        }
        Some(())
    }

    fn give_back(
        &mut self,
        debit: &RefundableDebit,
        share: Credits,
        told: &Told<'_>,
    ) -> Option<()> {
        self.settle().ok()?;
        let along = Along {
            debits: vec![debit.clone()],
            ..Along::default()
        };
        self.book = Book::with(self.book.pool().clone(), along);
        let refund = Refund {
            debit: debit.entry.id(),
            credits: Some(share),
            reason: None,
        };
        let booked = refund.book(&mut self.book, Actor::default(), told.entry.at);
        booked.ok().map(|_| ())
    }
}
