//! What a stretch of a journal adds up to: what was granted, lapsed, spent and bought, and when
//! the pool had run out. The same count is made of what happened and of what is rehearsed.

use std::ops::{Add, AddAssign};

use crate::ledger::{Account, Balance, Credits, Entry, Fault, SignedCredits, Time, UsageFigures};

/// Sums over entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Granted by cycles.
    pub granted: SignedCredits,
    /// Lapsed, less what a late payment brought back.
    pub lapsed: SignedCredits,
    /// Add-on credits bought, bonus included.
    pub bought: SignedCredits,
    /// Spent out of the monthly bucket, net of refunds.
    pub monthly: SignedCredits,
    /// Spent out of the add-on bucket, net of refunds.
    pub addon: SignedCredits,
    /// Spent beyond both, net of refunds.
    pub overdraft: SignedCredits,
    /// Spent beyond both, whatever was given back of it.
    pub overdrawn: SignedCredits,
    /// How many debits were refused.
    pub refused: i64,
    /// What these would have cost.
    pub not_served: SignedCredits,
}

/// An instant at which a pool had nothing more to give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outage {
    /// When.
    pub at: Time,
    /// The beginning of the cycle in which that was.
    pub cycle_start: Time,
}

/// Figures of one pool, and how it ran out.
///
/// A pool is out from the instant at which nothing is available, or a debit is refused, until
/// credits come. Credits that holds reserve count as there: holds are not rehearsed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// The sums.
    pub figures: Figures,
    /// How often it ran out.
    pub outages: i64,
    /// The first time.
    pub first_outage: Option<Outage>,
    is_out: bool,
    there: SignedCredits,
}

impl Figures {
    /// Everything spent, net of refunds.
    #[must_use]
    pub fn spent(&self) -> SignedCredits {
        self.monthly + self.addon + self.overdraft
    }

    /// What the credits fell short by: spent beyond both buckets, or refused.
    #[must_use]
    pub fn short(&self) -> SignedCredits {
        self.overdrawn + self.not_served
    }

    fn of(entry: &Entry) -> Option<Self> {
        let spent = UsageFigures::of_entry(entry)?;
        let sum = |counts: fn(&Account, &Account) -> bool| {
            let legs = entry.transfers.iter();
            let legs = legs.filter(|leg| counts(&leg.from, &leg.to));
            legs.map(|leg| leg.amount).sum::<Credits>().signed()
        };
        Some(Self {
            granted: sum(|from, _| *from == Account::IssuedMonthly),
            lapsed: sum(|_, to| *to == Account::Lapsed) - sum(|from, _| *from == Account::Lapsed),
            bought: sum(|from, _| *from == Account::IssuedAddon),
            monthly: spent.monthly,
            addon: spent.addon,
            overdraft: spent.overdraft,
            overdrawn: sum(|from, to| *from == Account::Overdraft && *to == Account::Consumed),
            refused: 0,
            not_served: SignedCredits::ZERO,
        })
    }
}

impl Add for Figures {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            granted: self.granted + other.granted,
            lapsed: self.lapsed + other.lapsed,
            bought: self.bought + other.bought,
            monthly: self.monthly + other.monthly,
            addon: self.addon + other.addon,
            overdraft: self.overdraft + other.overdraft,
            overdrawn: self.overdrawn + other.overdrawn,
            refused: self.refused.saturating_add(other.refused),
            not_served: self.not_served + other.not_served,
        }
    }
}

impl AddAssign for Figures {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Tally {
    /// Whether it ran out at some instant.
    #[must_use]
    pub const fn ran_out(&self) -> bool {
        self.first_outage.is_some()
    }

    pub(super) fn add(&mut self, entry: &Entry) -> Result<(), Fault> {
        self.figures += Figures::of(entry).ok_or_else(|| unreadable(entry))?;
        let there = there(&entry.after);
        let more = there > self.there;
        self.there = there;
        if !there.is_positive() {
            self.run_out(entry.at, entry.after.monthly.cycle_start);
        } else if more {
            self.is_out = false;
        }
        Ok(())
    }

    pub(super) fn refuse(&mut self, at: Time, cycle_start: Time, credits: Credits) {
        self.figures.refused = self.figures.refused.saturating_add(1);
        self.figures.not_served = self.figures.not_served + credits.signed();
        self.run_out(at, cycle_start);
    }

    fn run_out(&mut self, at: Time, cycle_start: Time) {
        if !self.is_out {
            self.is_out = true;
            self.outages = self.outages.saturating_add(1);
            self.first_outage.get_or_insert(Outage { at, cycle_start });
        }
    }
}

/// What the pool has, held or not.
fn there(after: &Balance) -> SignedCredits {
    let settled = after.monthly.settled + after.addon.settled;
    settled.signed() - after.overdraft.signed()
}

/// An entry that is not what we write: `verify` says more of it.
pub(super) fn unreadable(entry: &Entry) -> Fault {
    Fault {
        seq: Some(entry.seq),
        what: "its details cannot be read".to_owned(),
    }
}
