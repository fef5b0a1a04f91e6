//! Taking a pool over from another system: its figures as they stood there, at one instant.
//!
//! The first entry takes the place of the first grant. What was spent in the running cycle follows
//! as entries of its own, so that usage by user is known; what was spent before is in the first.
//! Payments that were credited there are known here, so that they are not credited again.

use chrono::TimeDelta;

use super::book::Draft;
use super::creation::blank_pool;
use super::hash::Canonical;
use super::put::possible;
use super::{
    Account, Actor, Attribution, Book, Bought, Catalogue, Credits, Cycle, Details, Fingerprint,
    Kind, Label, License, LicenseType, LiveAddons, Patch, PaymentState, Pool, PoolId, PoolName,
    PurchaseId, Refusal, Requested, TRIAL_DAYS, TenantId, Term, Terms, Time, Transfer, add_months,
    cycle_containing,
};

/// A pool as another system kept it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    /// When these figures were true.
    pub at: Time,
    /// Plan, builders, custom allowance.
    pub terms: Terms,
    /// What cycles are counted from.
    pub billing_anchor: Time,
    /// When the running cycle began.
    pub cycle_start: Time,
    /// What the running cycle was granted.
    pub monthly_granted: Credits,
    /// What is left of it.
    pub monthly_remaining: Credits,
    /// What the customer owes.
    pub overdraft: Credits,
    /// The add-on pool, if one was bought.
    pub addons: Option<OpeningAddons>,
    /// The licence, if there is one.
    pub license: Option<License>,
    /// Who spent what in the running cycle.
    pub usage: Vec<OpeningUsage>,
    /// Payments that were credited there.
    pub payments: Vec<OpeningPayment>,
}

/// An add-on pool as another system kept it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpeningAddons {
    /// What was bought into it.
    pub granted: Credits,
    /// What is left of it.
    pub remaining: Credits,
    /// When all of it expires.
    pub expires_at: Time,
}

/// What somebody spent in the running cycle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpeningUsage {
    /// Who, where, on what.
    pub attribution: Attribution,
    /// Out of the monthly credits.
    pub monthly: Credits,
    /// Out of the add-on credits.
    pub addon: Credits,
    /// Beyond both.
    pub overdraft: Credits,
    /// In how many debits.
    pub count: i64,
}

/// A payment that was credited by another system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpeningPayment {
    /// The id it is known by, claimed together with the reference.
    pub id: PurchaseId,
    /// The payment's own name.
    pub reference: Label,
    /// What was credited for it.
    pub credits: Credits,
    /// When it was paid.
    pub paid_at: Time,
    /// What was paid, in the currency's smallest unit.
    pub amount_cents: Option<i64>,
    /// Three lower-case letters.
    pub currency: Option<String>,
}

/// What was spent beyond what the lines of usage say.
struct Unattributed {
    monthly: Credits,
    addon: Credits,
    overdraft: Credits,
}

impl Opening {
    /// What makes two imports of a pool the same.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        let json = |license: &License| serde_json::to_string(license).ok();
        let seats = self.terms.builders.to_string();
        let addons = self.addons;
        let form = Canonical::new("import")
            .number(self.at.timestamp_millis())
            .text(Some(self.terms.plan.as_str()))
            .text(Some(&seats))
            .optional(self.terms.monthly_allowance.map(Credits::units))
            .number(self.billing_anchor.timestamp_millis())
            .number(self.cycle_start.timestamp_millis())
            .number(self.monthly_granted.units())
            .number(self.monthly_remaining.units())
            .number(self.overdraft.units())
            .optional(addons.map(|it| it.granted.units()))
            .optional(addons.map(|it| it.remaining.units()))
            .optional(addons.map(|it| it.expires_at.timestamp_millis()))
            .text(self.license.as_ref().and_then(json).as_deref());
        let form = self.usage.iter().fold(form, |form, line| {
            let form = line.attribution.hashed_into(form);
            let figures = [line.monthly, line.addon, line.overdraft];
            let form = figures
                .map(Credits::units)
                .into_iter()
                .fold(form, Canonical::number);
            form.number(line.count)
        });
        let form = self.payments.iter().fold(form, |form, payment| {
            form.text(Some(payment.reference.as_str()))
                .number(payment.credits.units())
                .number(payment.paid_at.timestamp_millis())
                .optional(payment.amount_cents)
                .text(payment.currency.as_deref())
        });
        form.fingerprint()
    }

    /// Makes the pool.
    ///
    /// # Errors
    /// The figures contradict each other, or the terms are not possible; each names its field.
    pub fn create(
        &self,
        names: (PoolId, TenantId, PoolName),
        catalogue: &Catalogue,
        actor: Actor,
    ) -> Result<Book, Refusal> {
        let cycle = self.cycle()?;
        let rest = self.check()?;
        let (plan, _) = catalogue
            .plan(&self.terms.plan)
            .ok_or_else(|| Refusal::invalid("plan", "is no plan of this tenant"))?;
        let terms = Terms {
            plan: plan.clone(),
            ..self.terms.clone()
        };
        let (version, _) = possible(&terms, catalogue, Some(self.at))?;
        let requested = Requested {
            terms,
            billing_anchor: self.billing_anchor,
            term: Term::default(),
            license: self.license.clone(),
            test_clock: None,
            metadata: None,
            upgraded: None,
        };
        let mut pool = blank_pool(names, requested, self.at);
        pool.take_rules(version);
        self.apply_license(&mut pool)?;
        pool.cycle = cycle;
        pool.cycle_seq = 1;
        pool.granted = self.monthly_granted;
        pool.addons = self.addons.map(|addons| LiveAddons {
            granted: addons.granted,
            expires_at: addons.expires_at,
            opened_seq: 1,
        });
        let mut book = Book::new(pool);
        self.open(&mut book, actor, &rest);
        self.spend(&mut book, &rest);
        for payment in &self.payments {
            payment.book(&mut book, catalogue, self.at);
        }
        Ok(book)
    }

    fn cycle(&self) -> Result<Cycle, Refusal> {
        let cycle = cycle_containing(self.billing_anchor, self.at);
        if self.cycle_start < cycle.start || self.cycle_start > self.at {
            let message = format!(
                "must be in the cycle of the anchor that contains {}, from {} on",
                self.at, cycle.start
            );
            return Err(Refusal::invalid("cycle_start", &message));
        }
        Ok(Cycle {
            start: self.cycle_start,
            ..cycle
        })
    }

    /// What was spent beyond the lines of usage.
    fn check(&self) -> Result<Unattributed, Refusal> {
        let addons = self.addons;
        let bought = addons.map_or(Credits::ZERO, |it| it.granted.max(it.remaining));
        let left = addons.map_or(Credits::ZERO, |it| it.remaining);
        let monthly = self.monthly_granted.max(self.monthly_remaining);
        let sum = |of: fn(&OpeningUsage) -> Credits| self.usage.iter().map(of).sum::<Credits>();
        let rest = |field: &'static str, spent: Credits, said: Credits| {
            let message = || format!("adds up to {said} in the usage, more than the {spent} spent");
            spent
                .checked_sub(said)
                .ok_or_else(|| Refusal::invalid(field, &message()))
        };
        if addons.is_some_and(|addons| addons.expires_at <= self.at) {
            return Err(Refusal::invalid("addon_expires_at", "is over"));
        }
        Ok(Unattributed {
            monthly: rest(
                "monthly",
                monthly.saturating_sub(self.monthly_remaining),
                sum(|line| line.monthly),
            )?,
            addon: rest("addon", bought.saturating_sub(left), sum(|line| line.addon))?,
            overdraft: rest("overdraft", self.overdraft, sum(|line| line.overdraft))?,
        })
    }

    /// A licence that is over leaves a pool on a free plan only.
    fn apply_license(&self, pool: &mut Pool) -> Result<(), Refusal> {
        let Some(license) = &self.license else {
            return Ok(());
        };
        pool.first_trial_at = self.first_trial_at();
        let ended = pool.apply_license(&Patch::Set(license.clone()), self.at);
        if ended && !pool.terms.need_no_license() {
            let message = "is over, but the plan is not a free one";
            return Err(Refusal::invalid("license_end", message));
        }
        pool.fallen_back = ended;
        Ok(())
    }

    /// When the trial began at the latest, if there is one: it has been running there for as long
    /// as its end says, and the next one ends with it.
    fn first_trial_at(&self) -> Option<Time> {
        let license = self.license.as_ref()?;
        if license.kind != LicenseType::Trial {
            return None;
        }
        let days = TimeDelta::days(TRIAL_DAYS);
        let begun = license
            .expires_at
            .and_then(|end| end.checked_sub_signed(days));
        Some(begun.map_or(self.at, |begun| begun.min(self.at)))
    }

    /// The first entry: what was granted and bought, what was spent of it before the running cycle,
    /// and what was owed then.
    fn open(&self, book: &mut Book, actor: Actor, rest: &Unattributed) {
        let (granted, left) = (self.monthly_granted, self.monthly_remaining);
        let mut transfers = vec![
            Transfer::new(Account::IssuedMonthly, Account::Monthly, granted),
            Transfer::new(
                Account::Adjusted,
                Account::Monthly,
                left.saturating_sub(granted),
            ),
            Transfer::new(Account::Overdraft, Account::Consumed, rest.overdraft),
        ];
        if let Some(OpeningAddons {
            granted, remaining, ..
        }) = self.addons
        {
            let more = remaining.saturating_sub(granted);
            transfers.extend([
                Transfer::new(Account::IssuedAddon, Account::Addon, granted),
                Transfer::new(Account::Adjusted, Account::Addon, more),
                Transfer::new(Account::Addon, Account::Consumed, rest.addon),
            ]);
        }
        let details = Details {
            terms: Some(book.pool.terms.clone()),
            requested: Some(book.pool.requested.clone()),
            ..Details::default()
        };
        let draft = Draft {
            actor,
            details,
            ..Draft::new(Kind::Import, transfers.into_iter().flatten().collect())
        };
        book.append(self.at, draft);
    }

    /// What was spent in the running cycle; of the monthly credits also what nobody is named for.
    fn spend(&self, book: &mut Book, rest: &Unattributed) {
        let unattributed = OpeningUsage {
            attribution: Attribution::default(),
            monthly: rest.monthly,
            addon: Credits::ZERO,
            overdraft: Credits::ZERO,
            count: 0,
        };
        let has_more = !rest.monthly.is_zero();
        for line in self.usage.iter().chain(has_more.then_some(&unattributed)) {
            let legs = [
                Transfer::new(Account::Monthly, Account::Consumed, line.monthly),
                Transfer::new(Account::Addon, Account::Consumed, line.addon),
                Transfer::new(Account::Overdraft, Account::Consumed, line.overdraft),
            ];
            let draft = Draft {
                attribution: line.attribution.clone(),
                details: Details {
                    imported_debits: Some(line.count),
                    ..Details::default()
                },
                ..Draft::new(Kind::Import, legs.into_iter().flatten().collect())
            };
            book.append(self.at, draft);
        }
    }
}

impl OpeningPayment {
    /// The payment is known, and nothing moves: its credits are in the first entry, or long gone.
    fn book(&self, book: &mut Book, catalogue: &Catalogue, at: Time) {
        let months = catalogue.addon_terms.validity_months;
        let valid_until = add_months(self.paid_at, months);
        let draft = Draft {
            reference: Some(self.reference.clone()),
            purchase: Some(self.id),
            details: Details {
                imported_credits: Some(self.credits),
                valid_until: Some(valid_until),
                paid_at: Some(self.paid_at),
                amount_cents: self.amount_cents,
                currency: self.currency.clone(),
                ..Details::default()
            },
            ..Draft::new(Kind::Import, Vec::new())
        };
        let entry = book.append(at, draft);
        book.keep_bought(Bought {
            id: self.id,
            seq: entry.seq,
            credits: self.credits,
            valid_until,
            clawed_back: Credits::ZERO,
            clawed_from: None,
            uncollected: Credits::ZERO,
            payment: PaymentState::default(),
        });
    }
}

#[cfg(test)]
mod tests;
