//! A pool taken over from another system, as it stood there at one instant.

use super::calendar::{add_months, cycle_containing};
use super::parts::Origin;
use super::pool::{CreditedPurchase, Pool};
use super::put::trial_start;
use super::{Account, Answer, Code, Field, Instant, Kind, License, Model, Purchase, Requested};
use super::{Terms, Transfer};

const VALIDITY_MONTHS: i64 = 12;

/// The number that no entry has: what was bought into an add-on pool that is long gone.
const LONG_GONE: Origin = Origin::AddonPool(0);

#[derive(Clone, Debug)]
pub struct Opening {
    /// When these figures were true.
    pub at: Instant,
    pub terms: Terms,
    pub billing_anchor: Instant,
    pub cycle_start: Instant,
    pub monthly_granted: i64,
    pub monthly_remaining: i64,
    pub overdraft: i64,
    pub addons: Option<OpeningAddons>,
    pub license: Option<License>,
    /// What was spent in the running cycle, as far as it is known by whom.
    pub usage: Vec<OpeningUsage>,
    pub payments: Vec<OpeningPayment>,
}

#[derive(Clone, Copy, Debug)]
pub struct OpeningAddons {
    pub granted: i64,
    pub remaining: i64,
    pub expires_at: Instant,
}

#[derive(Clone, Copy, Debug)]
pub struct OpeningUsage {
    pub monthly: i64,
    pub addon: i64,
    pub overdraft: i64,
}

#[derive(Clone, Debug)]
pub struct OpeningPayment {
    pub reference: String,
    pub credits: i64,
    pub paid_at: Instant,
}

impl Opening {
    /// What was spent and is in no line of usage: monthly, add-on, overdraft.
    fn unattributed(&self) -> Result<OpeningUsage, Code> {
        let (bought, left) = self.addons.map_or((0, 0), |it| (it.granted, it.remaining));
        let said = |of: fn(&OpeningUsage) -> i64| self.usage.iter().map(of).sum::<i64>();
        let monthly = (self.monthly_granted - self.monthly_remaining).max(0);
        let rest = OpeningUsage {
            monthly: monthly - said(|line| line.monthly),
            addon: (bought - left).max(0) - said(|line| line.addon),
            overdraft: self.overdraft - said(|line| line.overdraft),
        };
        if rest.monthly < 0 || rest.addon < 0 || rest.overdraft < 0 {
            return Err("validation_failed");
        }
        Ok(rest)
    }

    /// The first entry: what was granted and bought, and what was spent and owed before all that
    /// follows as usage.
    fn opening_transfers(&self, rest: OpeningUsage) -> Vec<Transfer> {
        let (granted, remaining) = self.addons.map_or((0, 0), |it| (it.granted, it.remaining));
        let more_monthly = (self.monthly_remaining - self.monthly_granted).max(0);
        vec![
            Account::IssuedMonthly.to(Account::Monthly, self.monthly_granted),
            Account::Adjusted.to(Account::Monthly, more_monthly),
            Account::IssuedAddon.to(Account::Addon, granted),
            Account::Adjusted.to(Account::Addon, (remaining - granted).max(0)),
            Account::Addon.to(Account::Consumed, rest.addon),
            Account::Overdraft.to(Account::Consumed, rest.overdraft),
        ]
    }
}

impl Model {
    pub(super) fn import(&mut self, now: Instant, opening: &Opening) -> Result<Answer, Code> {
        let known = self.catalogue.knows_plan(&opening.terms.plan);
        if self.pool.is_some() || opening.at > now || !known {
            return Err("validation_failed");
        }
        let rest = opening.unattributed()?;
        let mut pool = self.taken_over(opening)?;
        pool.write(Kind::Import, opening.at, opening.opening_transfers(rest));
        let nobodys = OpeningUsage {
            addon: 0,
            overdraft: 0,
            ..rest
        };
        let of_somebody = opening.usage.iter().copied();
        for line in of_somebody.chain((nobodys.monthly > 0).then_some(nobodys)) {
            let spent = vec![
                Account::Monthly.to(Account::Consumed, line.monthly),
                Account::Addon.to(Account::Consumed, line.addon),
                Account::Overdraft.to(Account::Consumed, line.overdraft),
            ];
            pool.write(Kind::Import, opening.at, spent);
        }
        for payment in &opening.payments {
            pool.know(opening.at, payment);
        }
        let version = pool.version();
        self.pool = Some(pool);
        self.advance(now);
        Ok(Answer::Imported { version })
    }

    fn taken_over(&self, opening: &Opening) -> Result<Pool, Code> {
        let at = opening.at;
        let cycle = cycle_containing(at, opening.billing_anchor);
        let earliest = add_months(opening.billing_anchor, cycle);
        if opening.cycle_start < earliest || opening.cycle_start > at {
            return Err("validation_failed");
        }
        if opening.addons.is_some_and(|addons| addons.expires_at <= at) {
            return Err("validation_failed");
        }
        let request = Requested {
            terms: opening.terms.clone(),
            license: opening.license,
            metadata: None,
        };
        let version = self.catalogue.version_at(&opening.terms.plan, at).clone();
        let needs_own = version.needs_monthly_allowance(opening.terms.builders);
        if needs_own && opening.terms.monthly_allowance.is_none() {
            return Err("validation_failed");
        }
        let first_trial_at = trial_start(&request, None, at);
        let ended = request
            .license_end(first_trial_at)
            .is_some_and(|end| end <= at);
        if ended && !opening.terms.need_no_licence() {
            return Err("validation_failed");
        }
        let mut pool = Pool {
            cycle,
            cycle_began_at: Some(opening.cycle_start),
            granted: opening.monthly_granted,
            fallen_back: ended,
            first_trial_at,
            addon_expires_at: opening.addons.map(|addons| addons.expires_at),
            live_addon_pools: opening.addons.iter().map(|_| 1).collect(),
            ..Pool::blank(opening.billing_anchor, request, version)
        };
        pool.remember(&opening.license.map_or(Field::LeftOut, Field::Value));
        Ok(pool)
    }
}

impl Pool {
    /// A payment that was credited there, so that it is not credited again; nothing moves.
    fn know(&mut self, at: Instant, payment: &OpeningPayment) {
        let seq = self.write(Kind::Import, at, vec![]);
        let valid_until = add_months(payment.paid_at, VALIDITY_MONTHS);
        let live = self.live_addon_pools.first().copied();
        self.purchases.push(CreditedPurchase {
            seq,
            purchase: Purchase {
                credits: payment.credits,
                bonus: 0,
                paid_at: Some(payment.paid_at),
                reference: payment.reference.clone(),
            },
            expires_at: valid_until,
            valid_until,
            origin: live.map_or(LONG_GONE, Origin::AddonPool),
            known: None,
            clawed_back: 0,
            clawed_from: None,
            uncollected: 0,
        });
    }
}
