//! The state of a pool: everything a decision is made on.

use super::{
    Account, Accounts, AddonBalance, Balance, ClockId, Credits, Cycle, Denomination, Hash, License,
    MonthlyBalance, PlanVersion, PoolId, PoolName, Requested, SignedCredits, TenantId, Terms, Time,
};

/// A pool of credits. Only a [`super::Book`] changes it, entry by entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Made from tenant and name.
    pub id: PoolId,
    /// Whose it is.
    pub tenant: TenantId,
    /// Kind and the client's id.
    pub name: PoolName,
    /// When it was made.
    pub created_at: Time,
    /// The number of its last entry; 0 before the first.
    pub seq: i64,
    /// The hash of its last entry.
    pub hash: Hash,
    /// The instant of its last entry.
    pub last_at: Time,
    /// What its transfers add up to.
    pub accounts: Accounts,
    /// Plan, builders and custom allowance in force.
    pub terms: Terms,
    /// The smallest step to debit, of the plan version in force.
    pub denomination: Denomination,
    /// Whether operations cost their old fixed prices.
    pub legacy_prices: bool,
    /// Whether add-on credits may be bought.
    pub addons_allowed: bool,
    /// What the current cycle was granted.
    pub granted: Credits,
    /// What was drawn from that grant.
    pub used: Credits,
    /// The current cycle.
    pub cycle: Cycle,
    /// The number of the entry that opened the cycle: later entries belong to it.
    pub cycle_seq: i64,
    /// The add-on pool, while one is live.
    pub addons: Option<LiveAddons>,
    /// The last add-on pool that expired, until a late payment brings it back.
    pub expired_addons: Option<ExpiredAddons>,
    /// What refunded and disputed payments have lost and is still to be taken back.
    pub uncollected: Credits,
    /// How many holds are open.
    pub open_holds: u32,
    /// When the first of them expires.
    pub next_hold_at: Option<Time>,
    /// Terms that wait for the next renewal.
    pub pending: Option<Terms>,
    /// The last licence applied, with a trial's end filled in; kept to be shown after its end, and
    /// to be remembered after it was given up or cleared.
    pub license: Option<License>,
    /// When the running licence ends; `None` when none is running or it has no end.
    pub license_ends_at: Option<Time>,
    /// When a trial licence was first applied, ever.
    pub first_trial_at: Option<Time>,
    /// What the last accepted PUT asked for.
    pub requested: Requested,
    /// Whether the pool is on its free plan because the licence of what was requested has ended.
    pub fallen_back: bool,
    /// The anchor given at creation.
    pub billing_anchor: Time,
    /// The clock it lives on, in a sandbox.
    pub test_clock: Option<ClockId>,
    /// When it was closed.
    pub closed_at: Option<Time>,
}

/// An add-on pool that has not expired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LiveAddons {
    /// Bought into it, less clawbacks.
    pub granted: Credits,
    /// When all of it expires.
    pub expires_at: Time,
    /// The number of the entry that opened it.
    pub opened_seq: i64,
}

/// What an add-on pool lost when it expired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpiredAddons {
    /// When it expired.
    pub expired_at: Time,
    /// What had been bought into it.
    pub granted: Credits,
    /// What lapsed, without what repaid an overdraft; later lapses of its holds and refunds too.
    pub lapsed: Credits,
    /// What open holds still have of it.
    pub held: Credits,
    /// The number of the entry that opened it.
    pub opened_seq: i64,
}

impl ExpiredAddons {
    /// Whether a payment of `paid_at`, though it is booked late, was made before the expiry.
    #[must_use]
    pub fn comes_back(&self, paid_at: Time) -> bool {
        paid_at < self.expired_at
    }
}

impl Pool {
    /// The unheld monthly credits.
    #[must_use]
    pub fn monthly(&self) -> Credits {
        self.accounts.bucket(Account::Monthly)
    }

    /// The unheld add-on credits.
    #[must_use]
    pub fn addon(&self) -> Credits {
        self.accounts.bucket(Account::Addon)
    }

    /// What the customer owes.
    #[must_use]
    pub fn overdraft(&self) -> Credits {
        self.accounts.owed()
    }

    /// What the pool can give: negative while more is owed than there is.
    #[must_use]
    pub fn available(&self) -> SignedCredits {
        (self.monthly() + self.addon()).signed() - self.overdraft().signed()
    }

    /// The monthly credits that are not spent, held ones included.
    #[must_use]
    pub fn settled_monthly(&self) -> Credits {
        self.monthly() + self.accounts.bucket(Account::HeldMonthly)
    }

    /// The add-on credits that are not spent, held ones included.
    #[must_use]
    pub fn settled_addon(&self) -> Credits {
        self.addon() + self.accounts.bucket(Account::HeldAddon)
    }

    /// Whether the cycle that this entry opened is the current one.
    #[must_use]
    pub const fn is_current_cycle(&self, opened_seq: i64) -> bool {
        self.cycle_seq == opened_seq
    }

    /// Whether the add-on pool that this entry opened is live. One that was brought back may have
    /// been joined to a later one: both are live then, and it has the earlier's number.
    #[must_use]
    pub fn is_live_addon_pool(&self, opened_seq: Option<i64>) -> bool {
        let live = self.addons.map(|live| live.opened_seq);
        live.is_some_and(|live| opened_seq.is_some_and(|opened| opened >= live))
    }

    /// The add-on pool that expired last, if this entry opened it and a late payment could still
    /// bring it back.
    pub(super) fn lost_addon_pool(
        &mut self,
        opened_seq: Option<i64>,
    ) -> Option<&mut ExpiredAddons> {
        if self.is_live_addon_pool(opened_seq) {
            return None;
        }
        let lost = self.expired_addons.as_mut();
        lost.filter(|lost| opened_seq.is_some_and(|opened| opened >= lost.opened_seq))
    }

    /// Closed pools are frozen.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        self.closed_at.is_some()
    }

    /// The instant plans are looked up at: none on a test clock, where the newest version counts.
    #[must_use]
    pub fn plan_instant(&self, at: Time) -> Option<Time> {
        self.test_clock.is_none().then_some(at)
    }

    /// The next instant at which something happens by itself; nothing does in a closed pool.
    #[must_use]
    pub fn next_due_at(&self) -> Option<Time> {
        if self.is_closed() {
            return None;
        }
        let ends = [
            self.next_hold_at,
            self.addons.map(|live| live.expires_at),
            self.license_ends_at,
        ];
        ends.into_iter().flatten().chain([self.cycle.end]).min()
    }

    /// The plan version's rules become the pool's.
    pub(super) fn take_rules(&mut self, version: &PlanVersion) {
        self.denomination = version.denomination;
        self.legacy_prices = version.legacy_prices;
        self.addons_allowed = version.addons;
    }

    /// The balance as of `as_of`; what is due by then must have been booked.
    #[must_use]
    pub fn balance(&self, as_of: Time) -> Balance {
        let held_monthly = self.accounts.bucket(Account::HeldMonthly);
        let held_addon = self.accounts.bucket(Account::HeldAddon);
        let renews_at = self.cycle.end;
        Balance {
            // A closed pool is frozen: what it had then is what it has.
            as_of: self.closed_at.unwrap_or(as_of),
            version: self.seq,
            monthly: MonthlyBalance {
                granted: self.granted,
                settled: self.settled_monthly(),
                held: held_monthly,
                used: self.used,
                cycle_start: self.cycle.start,
                renews_at,
                expires_at: self
                    .license_ends_at
                    .map_or(renews_at, |end| end.min(renews_at)),
            },
            addon: AddonBalance {
                granted: self.addons.map_or(Credits::ZERO, |live| live.granted),
                settled: self.settled_addon(),
                held: held_addon,
                expires_at: self.addons.map(|live| live.expires_at),
            },
            overdraft: self.overdraft(),
            held_ended: self.accounts.bucket(Account::HeldEnded),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::samples::{buy, paid, pass, pool, put, settle, spend, time, until};
    use crate::ledger::{Book, Transfer};

    const NOW: &str = "2026-01-31T10:00:00Z";

    #[test]
    fn the_next_due_instant_is_the_earliest_of_all() {
        let mut book = pool(until("2027-01-31T09:00:00Z", put("pro", 1)), NOW);
        let bought = paid(100, "2026-01-31T08:00:00Z");
        buy(&mut book, NOW, bought);
        let due = |book: &Book| book.pool().next_due_at();
        assert_eq!(
            due(&book),
            Some(time("2026-02-28T10:00:00Z")),
            "the renewal"
        );
        pass(&mut book, "2026-12-31T10:00:00Z");
        assert_eq!(
            due(&book),
            Some(time("2027-01-31T08:00:00Z")),
            "the add-on expiry"
        );
        pass(&mut book, "2027-01-31T08:00:00Z");
        assert_eq!(
            due(&book),
            Some(time("2027-01-31T09:00:00Z")),
            "the licence's end"
        );
        book.pool.closed_at = Some(time(NOW));
        assert_eq!(due(&book), None);
    }

    #[test]
    fn monthly_credits_end_with_the_cycle_or_with_the_licence_before_it() {
        let rows = [
            ("2026-02-10", "2026-02-10"),
            ("2026-02-28T10:00:00Z", "2026-02-28T10:00:00Z"),
            ("2026-03-10", "2026-02-28T10:00:00Z"),
        ];
        for (end, expires_at) in rows {
            let book = pool(until(end, put("pro", 1)), NOW);
            let monthly = book.pool().balance(time(NOW)).monthly;
            assert_eq!(monthly.expires_at, time(expires_at), "{end}");
            assert_eq!(monthly.renews_at, time("2026-02-28T10:00:00Z"));
        }
    }

    #[test]
    fn the_figures_of_a_balance_add_up_held_credits_included() {
        let mut book = pool(put("pro", 1), NOW);
        buy(&mut book, NOW, paid(100, NOW));
        let holds = [
            (Account::Monthly, Account::HeldMonthly, 30),
            (Account::Addon, Account::HeldAddon, 20),
            (Account::Monthly, Account::HeldEnded, 5),
        ];
        for (from, to, credits) in holds {
            let amount = Credits::whole(credits);
            book.pool.accounts.apply(Transfer { from, to, amount });
        }
        spend(&mut book, NOW, settle(850));
        let balance = book.pool().balance(time(NOW));
        let (monthly, addon) = (&balance.monthly, &balance.addon);
        assert_eq!(
            (monthly.settled, monthly.held),
            (Credits::whole(30), Credits::whole(30))
        );
        assert_eq!(
            (addon.settled, addon.held),
            (Credits::whole(20), Credits::whole(20))
        );
        assert_eq!(balance.overdraft, Credits::whole(5));
        assert_eq!(balance.monthly_available().units(), -500);
        assert_eq!(balance.addon_available().units(), 0);
        assert_eq!(balance.available(), book.pool().available());
        assert_eq!(
            balance.held(),
            Credits::whole(55),
            "those of ended cycles, too"
        );
    }
}
