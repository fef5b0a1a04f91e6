//! What a pool has at a moment: the figures of a balance read, and the state after an entry.

use super::{Credits, SignedCredits, Time};

/// A pool's balance as of a moment. The derived figures are methods, so they cannot disagree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Balance {
    /// The moment it is true for.
    pub as_of: Time,
    /// The number of the pool's last entry.
    pub version: i64,
    /// The current cycle's credits.
    pub monthly: MonthlyBalance,
    /// The add-on pool.
    pub addon: AddonBalance,
    /// What the customer owes; zero or more.
    pub overdraft: Credits,
    /// Reserved by holds whose cycle or add-on pool has ended: in no bucket.
    pub held_ended: Credits,
}

/// The monthly bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MonthlyBalance {
    /// The allowance of the cycle.
    pub granted: Credits,
    /// Granted and not spent, the held part included.
    pub settled: Credits,
    /// Reserved out of what is settled.
    pub held: Credits,
    /// Drawn from this cycle's grant, net of refunds to it.
    pub used: Credits,
    /// When the cycle began.
    pub cycle_start: Time,
    /// When the next one begins.
    pub renews_at: Time,
    /// The earlier of `renews_at` and the licence's end.
    pub expires_at: Time,
}

/// The add-on bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddonBalance {
    /// Bought into the live add-on pool, less clawbacks.
    pub granted: Credits,
    /// Bought and not spent, the held part included.
    pub settled: Credits,
    /// Reserved out of what is settled.
    pub held: Credits,
    /// When the whole add-on pool expires; `None` when there is none.
    pub expires_at: Option<Time>,
}

impl Balance {
    /// What the monthly bucket can give: negative while an overdraft is owed.
    #[must_use]
    pub fn monthly_available(&self) -> SignedCredits {
        let unheld = self.monthly.settled.signed() - self.monthly.held.signed();
        unheld - self.overdraft.signed()
    }

    /// What the add-on bucket can give.
    #[must_use]
    pub fn addon_available(&self) -> SignedCredits {
        self.addon.settled.signed() - self.addon.held.signed()
    }

    /// What the pool can give.
    #[must_use]
    pub fn available(&self) -> SignedCredits {
        self.monthly_available() + self.addon_available()
    }

    /// Everything that holds reserve.
    #[must_use]
    pub fn held(&self) -> Credits {
        self.monthly.held + self.addon.held + self.held_ended
    }
}
