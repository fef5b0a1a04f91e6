//! A pool's terms: plan, builders, own allowance, and what was last requested of them.
//!
//! What a request does to them is in `put`.

use serde::{Deserialize, Serialize};

use super::{Allowance, ClockId, Credits, License, Metadata, PlanCode, PlanVersion, Seats, Time};

/// Plan, builders and custom allowance: what an allowance is computed from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// The plan's own code.
    pub plan: PlanCode,
    /// How many build.
    pub builders: Seats,
    /// The pool's own allowance, on plans without one and with unlimited builders.
    pub monthly_allowance: Option<Credits>,
}

/// How often the customer pays. Credits renew monthly all the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Term {
    /// Every month.
    #[default]
    Monthly,
    /// Once a year.
    Annual,
}

/// The last accepted PUT, with everything it left out filled in from the ones before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requested {
    /// Plan, builders, custom allowance.
    pub terms: Terms,
    /// What cycles were counted from at creation.
    pub billing_anchor: Time,
    /// How often the customer pays.
    pub term: Term,
    /// The licence as it was given.
    pub license: Option<License>,
    /// The clock the pool lives on.
    pub test_clock: Option<ClockId>,
    /// The client's own.
    pub metadata: Option<Metadata>,
    /// What the terms were before the pool was moved to the new plans, and after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upgraded: Option<Box<(Terms, Terms)>>,
}

impl Requested {
    /// Whether these terms are the last requested ones, as they were called before the pool was
    /// moved to the new plans: whoever sends them has not heard of it, and wants no change.
    #[must_use]
    pub fn were(&self, terms: &Terms) -> bool {
        let upgraded = self.upgraded.as_deref();
        upgraded.is_some_and(|(before, after)| before == terms && *after == self.terms)
    }
}

words!(Term {
    Monthly => "monthly",
    Annual => "annual",
});

impl Terms {
    /// What a plan's version grants on these terms; `None` where it needs an allowance of the
    /// pool's own and there is none, or passes what an account may hold.
    #[must_use]
    pub fn allowance(&self, version: &PlanVersion) -> Option<Credits> {
        match (version.allowance, self.builders) {
            (Allowance::Custom, _) | (_, Seats::Unlimited) => self.monthly_allowance,
            (Allowance::PerBuilder(credits), Seats::Count(builders)) => {
                credits.checked_mul(builders)
            }
            (Allowance::PerPool(credits), Seats::Count(_)) => Some(credits),
        }
    }

    /// Whether the plan is one that the end of a licence takes pools to, and leaves them on.
    #[must_use]
    pub fn need_no_license(&self) -> bool {
        ["free", "basic"].contains(&self.plan.as_str())
    }
}
