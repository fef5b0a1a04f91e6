//! Where credits came from. What is held or spent remembers the cycle or the add-on pool that it
//! was drawn from, because only there can it ever go back to.

use super::Account;
use super::pool::Pool;

/// The source of credits. Either is named by the entry that opened it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    Cycle(usize),
    AddonPool(usize),
}

#[derive(Clone, Copy, Debug)]
pub struct Part {
    pub origin: Origin,
    pub credits: i64,
}

/// Takes as much as there is, up to `credits`, out of the parts, the first one first. Answers what
/// was taken.
pub fn take(parts: &mut [Part], mut credits: i64) -> Vec<Part> {
    let mut taken = vec![];
    for part in parts {
        let share = credits.min(part.credits);
        credits -= share;
        part.credits -= share;
        taken.push(Part {
            origin: part.origin,
            credits: share,
        });
    }
    taken
}

pub fn total(parts: &[Part]) -> i64 {
    parts.iter().map(|part| part.credits).sum()
}

pub fn monthly_of(parts: &[Part]) -> i64 {
    let monthly = |part: &&Part| matches!(part.origin, Origin::Cycle(_));
    parts.iter().filter(monthly).map(|part| part.credits).sum()
}

pub fn addon_of(parts: &[Part]) -> i64 {
    total(parts) - monthly_of(parts)
}

impl Pool {
    /// What the buckets give for an amount, monthly first; it is less when they are short.
    pub fn drawn(&self, credits: i64) -> Vec<Part> {
        let monthly = credits.min(self.monthly());
        let addon = (credits - monthly).min(self.addon());
        let cycle = Part {
            origin: Origin::Cycle(self.cycle_opened_by),
            credits: monthly,
        };
        // Where no add-on pool is live there are no add-on credits either.
        let addon_pool = self.live_addon_pools.first().map(|opened_by| Part {
            origin: Origin::AddonPool(*opened_by),
            credits: addon,
        });
        std::iter::once(cycle).chain(addon_pool).collect()
    }

    fn is_live(&self, origin: Origin) -> bool {
        match origin {
            Origin::Cycle(opened_by) => opened_by == self.cycle_opened_by,
            Origin::AddonPool(opened_by) => self.live_addon_pools.contains(&opened_by),
        }
    }

    /// The account in which credits of this origin are while a hold has them.
    pub fn held_in(&self, origin: Origin) -> Account {
        match origin {
            _ if !self.is_live(origin) => Account::HeldEnded,
            Origin::Cycle(_) => Account::HeldMonthly,
            Origin::AddonPool(_) => Account::HeldAddon,
        }
    }

    /// The account to which credits of this origin go back now: what has ended lapses.
    pub fn home_of(&self, origin: Origin) -> Account {
        match origin {
            _ if !self.is_live(origin) => Account::Lapsed,
            Origin::Cycle(_) => Account::Monthly,
            Origin::AddonPool(_) => Account::Addon,
        }
    }
}
