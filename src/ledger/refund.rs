//! Giving spent credits back, undone backwards: overdraft, add-on, monthly.
//!
//! Each part of a debit remembers the cycle or the add-on pool it was drawn from. What comes from
//! one that has ended lapses, so that no refund carries credits over.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::book::Draft;
use super::clawback::collect;
use super::hash::Canonical;
use super::{
    Account, Actor, Book, Credits, Details, Entry, EntryId, Fingerprint, Kind, Label, Pool, Reason,
    Refusal, Time, Transfer,
};

/// The most debits that one refund of a run gives back.
pub const MAX_RUN_DEBITS: usize = 10_000;

/// A debit to be given back, all of it or a part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refund {
    /// Which.
    pub debit: EntryId,
    /// How much; all that is left, when absent.
    pub credits: Option<Credits>,
    /// Why.
    pub reason: Option<Reason>,
}

/// All debits of a run to be given back, as far as they are not yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunRefund {
    /// Which run.
    pub run_id: Label,
    /// Why.
    pub reason: Option<Reason>,
}

/// A debit as it is read for its refund.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefundableDebit {
    /// Its entry.
    pub entry: Arc<Entry>,
    /// What earlier refunds gave back.
    pub refunded: Credits,
}

/// What a refund undid, by where the debit had drawn it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefundFacts {
    /// The debit.
    pub debit: EntryId,
    /// Of what was drawn from the monthly bucket, from a hold or not.
    pub monthly: Credits,
    /// Of what was drawn from the add-on bucket, from a hold or not.
    pub addon: Credits,
    /// Of the overdraft it caused.
    pub overdraft: Credits,
    /// The part of `monthly` whose cycle had ended.
    pub lapsed_monthly: Credits,
    /// The part of `addon` whose add-on pool had ended.
    pub lapsed_addon: Credits,
}

impl RefundFacts {
    /// All of it.
    #[must_use]
    pub fn credits(&self) -> Credits {
        self.monthly + self.addon + self.overdraft
    }

    /// What went back to the grant of the current cycle, and so is used no more.
    #[must_use]
    pub fn unused(&self) -> Credits {
        self.monthly.saturating_sub(self.lapsed_monthly)
    }
}

impl Refund {
    /// What makes two refunds the same request.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        Canonical::new("refund")
            .bytes(self.debit.uuid().as_bytes())
            .optional(self.credits.map(Credits::units))
            .text(self.reason.as_ref().map(Reason::as_str))
            .fingerprint()
    }

    /// Gives the credits back.
    ///
    /// # Errors
    /// There is no such debit, less than that is left of it, or an account would pass its limit.
    pub fn book(&self, book: &mut Book, actor: Actor, now: Time) -> Result<Arc<Entry>, Refusal> {
        let debit = book.debit(self.debit)?;
        let left = debit.left();
        let credits = self.credits.unwrap_or(left);
        if credits.is_zero() || credits > left {
            return Err(Refusal::RefundExceedsDebit { left });
        }
        let given = Given {
            credits,
            actor,
            reason: self.reason.clone(),
            run_refunds: None,
        };
        let entry = give_back(book, &debit, given, now)?;
        collect(book, now, freed(&entry));
        Ok(entry)
    }
}

impl RunRefund {
    /// What makes two refunds of a run the same request.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        Canonical::new("run refund")
            .text(Some(self.run_id.as_str()))
            .text(self.reason.as_ref().map(Reason::as_str))
            .fingerprint()
    }

    /// Gives back what is left of every debit of the run, one entry a debit, the oldest first. The
    /// first entry carries the request and says how many follow one another.
    ///
    /// # Errors
    /// Nothing is left, there are too many debits, or an account would pass its limit; then
    /// nothing is given back.
    pub fn book(&self, book: &mut Book, actor: Actor, now: Time) -> Result<Arc<Entry>, Refusal> {
        let debits = book.debits_of(&self.run_id);
        if debits.len() > MAX_RUN_DEBITS {
            return Err(Refusal::TooManyDebits {
                maximum: MAX_RUN_DEBITS,
            });
        }
        let left: Vec<_> = debits.iter().filter(|it| !it.left().is_zero()).collect();
        let mut trial = book.clone();
        let (mut first, mut all_freed) = (None, Credits::ZERO);
        for debit in &left {
            let is_first = first.is_none();
            let given = Given {
                credits: debit.left(),
                actor: Actor {
                    request: actor.request.clone().filter(|_| is_first),
                    ..actor.clone()
                },
                reason: self.reason.clone(),
                run_refunds: i64::try_from(left.len()).ok().filter(|_| is_first),
            };
            let entry = give_back(&mut trial, debit, given, now)?;
            all_freed = all_freed + freed(&entry);
            first.get_or_insert(entry);
        }
        let first = first.ok_or(Refusal::RefundExceedsDebit {
            left: Credits::ZERO,
        })?;
        // Only now: the refunds of a run follow one another.
        collect(&mut trial, now, all_freed);
        *book = trial;
        Ok(first)
    }
}

impl RefundableDebit {
    /// What is not yet given back.
    #[must_use]
    pub fn left(&self) -> Credits {
        let all: Credits = self.parts().iter().map(|part| part.credits).sum();
        all.saturating_sub(self.refunded)
    }

    /// What the debit drew, in the order in which it is undone: what was drawn anew before what
    /// came from a hold.
    fn parts(&self) -> Vec<Part> {
        let entry = &self.entry;
        let drawn = |account| entry.moved(account, Account::Consumed);
        let mut parts = vec![
            Part::new(Origin::Overdraft, drawn(Account::Overdraft)),
            Part::new(Origin::Addon(entry.addon_seq), drawn(Account::Addon)),
            Part::new(Origin::Monthly(entry.cycle_seq), drawn(Account::Monthly)),
        ];
        let details = entry.read_details().unwrap_or_default();
        if let (Some(hold), Some(captured)) = (details.hold, details.captured) {
            parts.push(Part::new(Origin::Addon(hold.addon_seq), captured.addon));
            parts.push(Part::new(Origin::Monthly(hold.cycle_seq), captured.monthly));
        }
        parts
    }
}

/// Credits of a debit that were drawn from one place.
#[derive(Clone, Copy)]
struct Part {
    origin: Origin,
    credits: Credits,
}

#[derive(Clone, Copy)]
enum Origin {
    Overdraft,
    /// The entry that opened the add-on pool.
    Addon(Option<i64>),
    /// The entry that opened the cycle.
    Monthly(i64),
}

impl Part {
    const fn new(origin: Origin, credits: Credits) -> Self {
        Self { origin, credits }
    }
}

/// What a refund's entry says.
struct Given {
    credits: Credits,
    actor: Actor,
    reason: Option<Reason>,
    run_refunds: Option<i64>,
}

/// What a refund gave back to the add-on pool.
fn freed(refund: &Entry) -> Credits {
    refund.moved(Account::Consumed, Account::Addon)
}

fn give_back(
    book: &mut Book,
    debit: &RefundableDebit,
    given: Given,
    now: Time,
) -> Result<Arc<Entry>, Refusal> {
    let undone = undo(&book.pool, debit, given.credits);
    let transfers = undone.transfers();
    let into = |account| {
        let legs = transfers.iter().filter(move |leg| leg.to == account);
        legs.map(|leg| leg.amount).sum::<Credits>()
    };
    let passes = |settled: Credits, account| settled + into(account) > Credits::MAX_ACCOUNT;
    let pool = &mut book.pool;
    if passes(pool.settled_monthly(), Account::Monthly)
        || passes(pool.settled_addon(), Account::Addon)
    {
        return Err(Refusal::BalanceLimit);
    }
    for (addon_seq, lapsed) in &undone.lapsed_addon_pools {
        if let Some(lost) = pool.lost_addon_pool(*addon_seq) {
            // A late payment would bring back what lapses here, too.
            lost.lapsed = lost.lapsed + *lapsed;
        }
    }
    let draft = Draft {
        actor: given.actor,
        attribution: debit.entry.attribution.clone(),
        reason: given.reason,
        details: Details {
            refund: Some(undone.facts),
            run_refunds: given.run_refunds,
            ..Details::default()
        },
        ..Draft::new(Kind::Refund, transfers)
    };
    let entry = book.append(now, draft);
    book.keep_debit(RefundableDebit {
        entry: Arc::clone(&debit.entry),
        refunded: debit.refunded + given.credits,
    });
    Ok(entry)
}

/// What is undone, and where it goes.
struct Undone {
    facts: RefundFacts,
    /// Lowers what is owed now.
    repaid: Credits,
    lapsed_addon_pools: Vec<(Option<i64>, Credits)>,
}

impl Undone {
    fn transfers(&self) -> Vec<Transfer> {
        let facts = &self.facts;
        // What was owed once and is repaid by now never lapses.
        let repaid_before = facts.overdraft.saturating_sub(self.repaid);
        let addon = facts.addon.saturating_sub(facts.lapsed_addon);
        let lapsed = facts.lapsed_monthly + facts.lapsed_addon;
        let legs = [
            (Account::Overdraft, self.repaid),
            (Account::Addon, addon),
            (Account::Monthly, facts.unused() + repaid_before),
            (Account::Lapsed, lapsed),
        ];
        let leg = |(to, amount)| Transfer::new(Account::Consumed, to, amount);
        legs.into_iter().filter_map(leg).collect()
    }
}

/// Takes `credits` back from the debit's parts, where earlier refunds stopped.
fn undo(pool: &Pool, debit: &RefundableDebit, credits: Credits) -> Undone {
    let facts = RefundFacts {
        debit: debit.entry.id(),
        monthly: Credits::ZERO,
        addon: Credits::ZERO,
        overdraft: Credits::ZERO,
        lapsed_monthly: Credits::ZERO,
        lapsed_addon: Credits::ZERO,
    };
    let mut undone = Undone {
        facts,
        repaid: Credits::ZERO,
        lapsed_addon_pools: Vec::new(),
    };
    let (mut before, mut wanted) = (debit.refunded, credits);
    for part in debit.parts() {
        let skipped = before.min(part.credits);
        let taken = part.credits.saturating_sub(skipped).min(wanted);
        before = before.saturating_sub(skipped);
        wanted = wanted.saturating_sub(taken);
        undone.take(pool, part.origin, taken);
    }
    undone
}

impl Undone {
    fn take(&mut self, pool: &Pool, origin: Origin, taken: Credits) {
        let facts = &mut self.facts;
        match origin {
            Origin::Overdraft => {
                facts.overdraft = facts.overdraft + taken;
                self.repaid = facts.overdraft.min(pool.overdraft());
            }
            Origin::Addon(seq) => {
                facts.addon = facts.addon + taken;
                if !pool.is_live_addon_pool(seq) {
                    facts.lapsed_addon = facts.lapsed_addon + taken;
                    self.lapsed_addon_pools.push((seq, taken));
                }
            }
            Origin::Monthly(seq) => {
                facts.monthly = facts.monthly + taken;
                if !pool.is_current_cycle(seq) {
                    facts.lapsed_monthly = facts.lapsed_monthly + taken;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
