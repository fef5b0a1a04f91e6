//! What a caller sees: section 5's balance and section 4's pool. Nothing here changes anything.

use super::pool::Pool;
use super::{Account, Catalogue, Instant, PoolKind, Requested, Terms};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Balance {
    pub as_of: Instant,
    pub version: usize,
    pub available: i64,
    pub held: i64,
    pub overdraft: i64,
    pub monthly: MonthlyBalance,
    pub addon: AddonBalance,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MonthlyBalance {
    pub granted: i64,
    pub settled: i64,
    pub held: i64,
    pub available: i64,
    pub used: i64,
    pub cycle_start: Instant,
    pub renews_at: Instant,
    pub expires_at: Instant,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddonBalance {
    pub granted: i64,
    pub settled: i64,
    pub held: i64,
    pub available: i64,
    pub expires_at: Option<Instant>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolView {
    pub in_force: Terms,
    pub denomination: i64,
    pub requested: Requested,
    pub billing_anchor: Instant,
    /// With the instant at which it takes the place of what is in force.
    pub pending: Option<(Terms, Instant)>,
    pub cycle: Cycle,
    /// `None` once the pool is closed.
    pub next_grant: Option<NextGrant>,
    pub license: LicenseStatus,
    pub closed: bool,
    pub balance: Balance,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cycle {
    pub number: i64,
    pub start: Instant,
    pub end: Instant,
    pub anchor: Instant,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NextGrant {
    pub at: Instant,
    pub credits: i64,
    pub overdraft_repaid: i64,
    pub net: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LicenseStatus {
    None,
    Active,
    Grace,
    Expired,
}

/// A purchase, and what its payment has lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credited {
    pub seq: usize,
    /// The bonus included.
    pub credits: i64,
    pub valid_until: Instant,
    pub clawed_back: i64,
    pub uncollected: i64,
}

impl Pool {
    pub fn balance(&self, as_of: Instant) -> Balance {
        let renews_at = self.cycle_end();
        // Rule 8: closing froze it, and nothing was written since.
        let frozen_at = self.journal.last().filter(|_| self.closed);
        Balance {
            as_of: frozen_at.map_or(as_of, |close| close.at),
            version: self.version(),
            available: self.available(),
            held: self.held(),
            overdraft: self.overdraft(),
            monthly: MonthlyBalance {
                granted: self.granted,
                settled: self.monthly_settled(),
                held: self.monthly_held(),
                available: self.monthly() - self.overdraft(),
                used: self.used(),
                cycle_start: self.cycle_start(),
                renews_at,
                expires_at: self
                    .license_end()
                    .map_or(renews_at, |end| end.min(renews_at)),
            },
            addon: AddonBalance {
                granted: self.addon_granted(),
                settled: self.addon_settled(),
                held: self.addon_held(),
                available: self.addon(),
                expires_at: self.addon_expires_at,
            },
        }
    }

    pub fn credited(&self) -> impl Iterator<Item = Credited> {
        self.purchases.iter().map(|bought| Credited {
            seq: bought.seq,
            credits: bought.credited(),
            valid_until: bought.valid_until,
            clawed_back: bought.clawed_back,
            uncollected: bought.uncollected,
        })
    }

    /// Drawn from this cycle's grant, less what refunds gave back to it.
    fn used(&self) -> i64 {
        let since = &self.journal[self.cycle_opened_by..];
        let drawn = since.iter().map(|entry| {
            entry.moved(Account::Monthly, Account::Consumed)
                + entry.moved(Account::HeldMonthly, Account::Consumed)
        });
        let unused = self.unused.iter();
        let unused = unused
            .filter(|refund| refund.seq > self.cycle_opened_by)
            .map(|refund| refund.credits);
        drawn.sum::<i64>() - unused.sum::<i64>()
    }

    pub fn view(&self, now: Instant, kind: PoolKind, catalogue: &Catalogue) -> PoolView {
        PoolView {
            in_force: self.in_force.clone(),
            denomination: self.version.denomination,
            requested: self.requested.clone(),
            billing_anchor: self.billing_anchor,
            pending: self.pending.clone().map(|terms| (terms, self.cycle_end())),
            cycle: Cycle {
                number: self.cycle,
                start: self.cycle_start(),
                end: self.cycle_end(),
                anchor: self.anchor,
            },
            next_grant: self.next_grant(kind, catalogue),
            license: self.license_status(now),
            closed: self.closed,
            balance: self.balance(now),
        }
    }

    /// Found by letting it happen on a copy: a licence end that changes the plan grants, too.
    fn next_grant(&self, kind: PoolKind, catalogue: &Catalogue) -> Option<NextGrant> {
        if self.closed {
            return None;
        }
        let falls_at = self
            .license_end()
            .filter(|_| !self.in_force.need_no_licence());
        let at = falls_at.map_or(self.cycle_end(), |end| end.min(self.cycle_end()));
        let mut later = self.clone();
        later.advance(at, kind, catalogue);
        let opened = &later.journal[later.cycle_opened_by - 1];
        let overdraft_repaid = opened
            .transfers
            .iter()
            .skip_while(|transfer| transfer.from != Account::IssuedMonthly)
            .filter(|transfer| transfer.to == Account::Overdraft)
            .map(|transfer| transfer.amount)
            .sum();
        Some(NextGrant {
            at: opened.at,
            credits: later.granted,
            overdraft_repaid,
            net: later.granted - overdraft_repaid,
        })
    }

    fn license_status(&self, now: Instant) -> LicenseStatus {
        let ended_after_closing = self.license_end().is_some_and(|end| end <= now);
        if self.fallen_back && self.memory.given_up {
            return LicenseStatus::None;
        }
        if self.fallen_back || ended_after_closing {
            return LicenseStatus::Expired;
        }
        if self.requested.license.is_none() {
            return LicenseStatus::None;
        }
        match self.requested.license_expires_at(self.first_trial_at) {
            Some(expires_at) if expires_at <= now => LicenseStatus::Grace,
            Some(_) | None => LicenseStatus::Active,
        }
    }
}
