//! What a PUT of a pool does: to cycle, allowance and licence.
//!
//! An increase starts a cycle at once, a decrease waits for the renewal, an equal allowance
//! applies silently, and a repeated request is no change at all (invariant no minting).

use super::advance::{LicenseEnd, end_license, keep_free_plan, turn_over};
use super::book::Draft;
use super::{
    Actor, Allowance, Book, Catalogue, ClockId, Credits, Cycle, Details, Kind, License, Metadata,
    PlanCode, PlanVersion, Pool, Refusal, Requested, Seats, Term, Terms, Time,
};

/// A field of a PUT: left out, `null`, or a value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Patch<T> {
    /// Left out: the last requested value stays.
    #[default]
    Keep,
    /// `null`: cleared.
    Clear,
    /// A new value.
    Set(T),
}

impl<T: Clone> Patch<T> {
    pub(super) fn over(&self, current: Option<&T>) -> Option<T> {
        match self {
            Self::Keep => current.cloned(),
            Self::Clear => None,
            Self::Set(value) => Some(value.clone()),
        }
    }
}

/// A PUT of a pool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PutPool {
    /// Needed when the pool is made.
    pub plan: Option<PlanCode>,
    /// One, when never said.
    pub builders: Patch<Seats>,
    /// Only where the plan has no allowance of its own.
    pub monthly_allowance: Patch<Credits>,
    /// Now, when never said.
    pub billing_anchor: Option<Time>,
    /// Monthly, when never said.
    pub term: Patch<Term>,
    /// Kept while it runs, when left out.
    pub license: Patch<License>,
    /// None, when never said.
    pub test_clock: Patch<ClockId>,
    /// None, when never said.
    pub metadata: Patch<Metadata>,
}

/// What a PUT did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The pool was made.
    Created,
    /// Nothing: it repeats the last request.
    None,
    /// A larger allowance: a new cycle started.
    Increase,
    /// A smaller allowance: it waits for the renewal.
    Decrease,
    /// The allowance stays as it is.
    Equal,
}

words!(Change {
    Created => "created",
    None => "none",
    Increase => "increase",
    Decrease => "decrease",
    Equal => "equal",
});

impl PutPool {
    /// Changes a pool that is there.
    ///
    /// # Errors
    /// The pool is closed, a signed licence alone says what would change, something fixed would
    /// change, or the new terms are not possible.
    pub fn update(
        self,
        book: &mut Book,
        catalogue: &Catalogue,
        actor: Actor,
        now: Time,
    ) -> Result<Change, Refusal> {
        if book.pool.is_closed() {
            return Err(Refusal::PoolClosed);
        }
        if book.pool.signed().is_some() && self.says_what_a_license_says() {
            return Err(Refusal::Licensed);
        }
        self.change(book, catalogue, actor, now)
    }

    /// As [`Self::update`], whoever says it.
    pub(super) fn change(
        mut self,
        book: &mut Book,
        catalogue: &Catalogue,
        actor: Actor,
        now: Time,
    ) -> Result<Change, Refusal> {
        let ended = self
            .license_end(&book.pool, now)
            .is_some_and(|end| end <= now);
        let runs = matches!(self.license, Patch::Set(_)) && !ended;
        let returns = book.pool.fallen_back && !ended && (self.plan.is_some() || runs);
        if returns && !runs {
            // The licence it fell back from is over: naming a plan without one means no end.
            self.license = Patch::Clear;
        }
        let instant = book.pool.plan_instant(now);
        let requested = self.merged(&book.pool.requested, catalogue, instant)?;
        if requested.terms != book.pool.requested.terms {
            possible(&requested.terms, catalogue, instant)?;
        }
        self.keeps_what_is_fixed(&book.pool)?;
        if ended {
            return Ok(self.store_ended(book, catalogue, actor, requested, now));
        }
        if requested == book.pool.requested && !returns {
            return Ok(Change::None);
        }
        let same_terms = requested.terms == book.pool.requested.terms;
        if !returns && (same_terms || book.pool.fallen_back) {
            self.take_request(book, requested, now);
            changed_terms(book, actor, now);
            // What is requested compares with what was granted as it did before.
            let waits = book.pool.pending.is_some();
            return Ok(if waits {
                Change::Decrease
            } else {
                Change::Equal
            });
        }
        self.change_allowance(book, catalogue, actor, requested, now)
    }

    /// Puts the pool on these terms without a grant: its cycle stays, the next renewal grants.
    pub(super) fn resume(
        self,
        book: &mut Book,
        catalogue: &Catalogue,
        actor: Actor,
        now: Time,
    ) -> Result<Change, Refusal> {
        let instant = book.pool.plan_instant(now);
        let requested = self.merged(&book.pool.requested, catalogue, instant)?;
        let (version, _) = possible(&requested.terms, catalogue, instant)?;
        book.pool.fallen_back = false;
        self.keep_cycle(book, version, actor, requested, now);
        Ok(Change::Equal)
    }

    /// What would be requested after this PUT, with the plan's own code and no allowance where the
    /// plan has one.
    pub(super) fn merged(
        &self,
        last: &Requested,
        catalogue: &Catalogue,
        instant: Option<Time>,
    ) -> Result<Requested, Refusal> {
        let named = self.plan.as_ref().unwrap_or(&last.terms.plan);
        let Some((plan, versions)) = catalogue.plan(named) else {
            return Err(Refusal::invalid("plan", "is no plan of this tenant"));
        };
        let version = versions.version(instant);
        let builders = self
            .builders
            .over(Some(&last.terms.builders))
            .unwrap_or(Seats::ONE);
        let own = version.allowance == Allowance::Custom || builders == Seats::Unlimited;
        let kept = last.terms.monthly_allowance.as_ref();
        let mut terms = Terms {
            plan: plan.clone(),
            builders,
            monthly_allowance: self.monthly_allowance.over(kept),
        };
        if self.plan.is_some() && last.were(&terms) {
            terms = last.terms.clone();
        }
        // Terms that repeat the last request are no change, whatever became of their plan since.
        if !own && terms != last.terms {
            if matches!(self.monthly_allowance, Patch::Set(_)) {
                let message = "is only for plans without an allowance or unlimited builders";
                return Err(Refusal::invalid("monthly_allowance", message));
            }
            terms.monthly_allowance = None;
        }
        Ok(Requested {
            terms,
            billing_anchor: last.billing_anchor,
            term: self.term.over(Some(&last.term)).unwrap_or_default(),
            license: self.license.over(last.license.as_ref()),
            test_clock: self.test_clock.over(last.test_clock.as_ref()),
            metadata: self.metadata.over(last.metadata.as_ref()),
            upgraded: last.upgraded.clone(),
        })
    }

    fn keeps_what_is_fixed(&self, pool: &Pool) -> Result<(), Refusal> {
        if self
            .billing_anchor
            .is_some_and(|anchor| anchor != pool.billing_anchor)
        {
            return Err(Refusal::BillingAnchorFixed);
        }
        let clock = self.test_clock.over(pool.test_clock.as_ref());
        if clock != pool.test_clock {
            Err(Refusal::TestClockFixed)
        } else {
            Ok(())
        }
    }

    /// When the licence in this PUT ends, a trial's end filled in.
    fn license_end(&self, pool: &Pool, now: Time) -> Option<Time> {
        let Patch::Set(license) = &self.license else {
            return None;
        };
        let first_trial = pool.first_trial_at.unwrap_or(now);
        license.clone().with_trial_end(first_trial).ends_at()
    }

    /// A licence that has already ended: stored as requested, but the pool stays on, or falls to,
    /// its free plan.
    fn store_ended(
        self,
        book: &mut Book,
        catalogue: &Catalogue,
        actor: Actor,
        requested: Requested,
        now: Time,
    ) -> Change {
        if requested == book.pool.requested && book.pool.fallen_back {
            return Change::None;
        }
        let before = book.pool.granted;
        book.pool.apply_license(&self.license, now);
        book.pool.requested = requested;
        if !book.pool.terms.need_no_license() {
            end_license(book, catalogue, now, actor, LicenseEnd::Stored);
            return Change::of(book.pool.granted, before);
        }
        keep_free_plan(&mut book.pool);
        book.pool.pending = None;
        book.pool.fallen_back = true;
        changed_terms(book, actor, now);
        Change::Equal
    }

    fn change_allowance(
        self,
        book: &mut Book,
        catalogue: &Catalogue,
        actor: Actor,
        requested: Requested,
        now: Time,
    ) -> Result<Change, Refusal> {
        let terms = requested.terms.clone();
        let instant = book.pool.plan_instant(now);
        let (version, allowance) = possible(&terms, catalogue, instant)?;
        let change = Change::of(allowance, book.pool.granted);
        book.pool.fallen_back = false;
        match change {
            Change::Increase => {
                self.take_request(book, requested, now);
                book.pool.pending = None;
                let transfers = turn_over(book, catalogue, now, terms, Cycle::of(now, 0));
                let details = put_details(&book.pool);
                let kind = Draft::new(Kind::Restart, transfers);
                book.append(
                    now,
                    Draft {
                        actor,
                        details,
                        ..kind
                    },
                );
            }
            Change::Decrease => {
                self.take_request(book, requested, now);
                book.pool.pending = Some(terms);
                changed_terms(book, actor, now);
            }
            Change::Equal | Change::None | Change::Created => {
                self.keep_cycle(book, version, actor, requested, now);
            }
        }
        Ok(change)
    }

    /// The requested terms come into force in the cycle that runs.
    fn keep_cycle(
        &self,
        book: &mut Book,
        version: &PlanVersion,
        actor: Actor,
        requested: Requested,
        now: Time,
    ) {
        book.pool.pending = None;
        book.pool.terms = requested.terms.clone();
        book.pool.take_rules(version);
        self.take_request(book, requested, now);
        changed_terms(book, actor, now);
    }

    /// The request becomes the pool's, its licence with it.
    fn take_request(&self, book: &mut Book, requested: Requested, now: Time) {
        book.pool.apply_license(&self.license, now);
        book.pool.requested = requested;
    }
}

/// The version of the plan that new terms are on, and what it grants on them. Terms that were
/// accepted before stay good, whatever became of their plan since.
pub(super) fn possible<'c>(
    terms: &Terms,
    catalogue: &'c Catalogue,
    instant: Option<Time>,
) -> Result<(&'c PlanVersion, Credits), Refusal> {
    let Some((_, plan)) = catalogue.plan(&terms.plan) else {
        return Err(Refusal::invalid("plan", "is no plan of this tenant"));
    };
    let version = plan.version(instant);
    let own = version.allowance == Allowance::Custom || terms.builders == Seats::Unlimited;
    match terms.allowance(version) {
        Some(allowance) => Ok((version, allowance)),
        None if own => Err(Refusal::invalid(
            "monthly_allowance",
            "is needed on these terms",
        )),
        None => Err(Refusal::BalanceLimit),
    }
}

impl Change {
    pub(super) fn of(allowance: Credits, granted: Credits) -> Self {
        match allowance.cmp(&granted) {
            std::cmp::Ordering::Greater => Self::Increase,
            std::cmp::Ordering::Less => Self::Decrease,
            std::cmp::Ordering::Equal => Self::Equal,
        }
    }
}

impl Pool {
    /// Applies what a PUT says of the licence; whether that licence has already ended.
    pub(super) fn apply_license(&mut self, license: &Patch<License>, now: Time) -> bool {
        let given = match license {
            Patch::Keep => return false,
            // What the pool fell back from stays to be shown until something brings a plan back.
            Patch::Clear if self.fallen_back => return false,
            Patch::Clear => {
                self.license_ends_at = None;
                // What was paid for or given up is remembered for as long as there is a pool.
                self.license = self.license.take().and_then(License::forgotten);
                return false;
            }
            Patch::Set(given) => given.clone(),
        };
        let last = self.license.as_ref();
        let follows_paid = last.is_some_and(License::tells_of_paid);
        let given_up = last.and_then(|last| last.given_up);
        if given.kind == super::LicenseType::Trial {
            self.first_trial_at.get_or_insert(now);
        }
        let given = given.with_trial_end(self.first_trial_at.unwrap_or(now));
        let ended = given.ends_at().is_some_and(|end| end <= now);
        self.license_ends_at = given.ends_at().filter(|_| !ended);
        self.license = Some(License {
            follows_paid,
            given_up,
            ..given
        });
        ended
    }
}

pub(super) fn put_details(pool: &Pool) -> Details {
    Details {
        terms: Some(pool.terms.clone()),
        pending: pool.pending.clone(),
        requested: Some(pool.requested.clone()),
        ..Details::default()
    }
}

fn changed_terms(book: &mut Book, actor: Actor, now: Time) {
    let details = put_details(&book.pool);
    book.append(
        now,
        Draft {
            actor,
            details,
            ..Draft::new(Kind::TermsChange, Vec::new())
        },
    );
}

#[cfg(test)]
mod tests;
