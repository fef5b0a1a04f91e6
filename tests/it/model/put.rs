//! Section 4: `PUT /v1/pools/{pool}`. What a request comes to, and what it changes.

use super::calendar::cycle_containing;
use super::pool::Pool;
use super::{Answer, BALANCE_LIMIT, Code, Instant, Kind, LARGEST_AMOUNT, Model, Signed};
use std::cmp::Ordering;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field<T> {
    LeftOut,
    Null,
    Value(T),
}

#[derive(Clone, Debug)]
pub struct PutPool {
    pub plan: Field<String>,
    pub builders: Field<Builders>,
    pub monthly_allowance: Field<i64>,
    pub billing_anchor: Field<Instant>,
    pub license: Field<License>,
    /// Stands for everything that is stored and shown but moves no credits.
    pub metadata: Field<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Builders {
    Count(i64),
    Unlimited,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct License {
    pub license_type: LicenseType,
    pub expires_at: Option<Instant>,
    pub grace_until: Option<Instant>,
    /// Of a licence that came as a key.
    pub signed: Option<Signed>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LicenseType {
    Basic,
    Trial,
    Paid,
    Business,
    Enterprise,
}

/// The triple that decides the allowance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    pub plan: String,
    pub builders: Builders,
    pub monthly_allowance: Option<i64>,
}

/// The last accepted PUT, with what earlier ones said where it was silent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requested {
    pub terms: Terms,
    pub license: Option<License>,
    pub metadata: Option<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Created,
    None,
    Increase,
    Decrease,
    Equal,
}

impl PutPool {
    /// A body that says nothing at all.
    pub fn empty() -> Self {
        Self {
            plan: Field::LeftOut,
            builders: Field::LeftOut,
            monthly_allowance: Field::LeftOut,
            billing_anchor: Field::LeftOut,
            license: Field::LeftOut,
            metadata: Field::LeftOut,
        }
    }
}

impl<T: Clone> Field<T> {
    /// What is left out keeps the last requested value; null clears.
    fn or_last(&self, last: Option<T>) -> Option<T> {
        match self {
            Self::LeftOut => last,
            Self::Null => None,
            Self::Value(value) => Some(value.clone()),
        }
    }
}

impl Change {
    /// What a pool that was granted so much before was granted after.
    pub fn between(before: i64, after: i64) -> Self {
        match after.cmp(&before) {
            Ordering::Greater => Self::Increase,
            Ordering::Less => Self::Decrease,
            Ordering::Equal => Self::Equal,
        }
    }
}

impl License {
    pub fn is_trial(&self) -> bool {
        self.license_type == LicenseType::Trial
    }
}

impl Model {
    pub(super) fn put(&mut self, now: Instant, body: &PutPool) -> Result<Answer, Code> {
        if self.pool.as_ref().is_some_and(|pool| pool.closed) {
            return Err("pool_closed");
        }
        let signed = self.pool.as_ref().and_then(Pool::signed);
        if signed.is_some() && body.names_what_a_licence_says() {
            return Err("licensed");
        }
        let request = self.compose(now, body)?;
        let change = match &self.pool {
            None => self.create(now, body, request)?,
            Some(pool) => {
                if let Field::Value(anchor) = body.billing_anchor
                    && anchor != pool.billing_anchor
                {
                    return Err("billing_anchor_fixed");
                }
                self.update(now, body, request)?
            }
        };
        let pool = self.writable()?;
        pool.remember(&body.license);
        let version = pool.version();
        Ok(Answer::Put { change, version })
    }

    /// The whole request that this body, together with the last one, comes to.
    pub(super) fn compose(&self, now: Instant, body: &PutPool) -> Result<Requested, Code> {
        let last = self.pool.as_ref().map(|pool| &pool.requested);
        let plan = match (&body.plan, last) {
            (Field::Value(plan), _) => plan.clone(),
            (Field::LeftOut, Some(last)) => last.terms.plan.clone(),
            (Field::LeftOut, None) | (Field::Null, _) => return Err("validation_failed"),
        };
        if !self.catalogue.knows_plan(&plan) {
            return Err("unknown_plan");
        }
        let builders = body.builders.or_last(last.map(|last| last.terms.builders));
        let builders = builders.unwrap_or(Builders::Count(1));
        let kept_allowance = last.and_then(|last| last.terms.monthly_allowance);
        let mut terms = Terms {
            monthly_allowance: body.monthly_allowance.or_last(kept_allowance),
            plan,
            builders,
        };
        // Whoever repeats what was asked for before the move has not heard of it.
        let renamed = self.pool.as_ref().and_then(|pool| pool.renamed.as_ref());
        if let (Field::Value(_), Some((before, after)), Some(last)) = (&body.plan, renamed, last)
            && terms == *before
            && last.terms == *after
        {
            terms = after.clone();
        }
        let repeated = last.is_some_and(|last| last.terms == terms);
        if !repeated {
            self.check_terms(now, body, &mut terms)?;
        }
        let fallen_back = self.pool.as_ref().is_some_and(|pool| pool.fallen_back);
        let names_a_plan = matches!(body.plan, Field::Value(_));
        // A licence that has ended is not kept by a PUT that names a plan and no licence: that
        // means the plan without an end.
        let kept_license = last
            .and_then(|last| last.license)
            .filter(|_| !(fallen_back && names_a_plan));
        Ok(Requested {
            terms,
            license: body.license.or_last(kept_license),
            metadata: body.metadata.or_last(last.and_then(|last| last.metadata)),
        })
    }

    /// Refuses terms that make no sense, and drops an allowance kept from an earlier request that
    /// these terms have no use for.
    fn check_terms(&self, now: Instant, body: &PutPool, terms: &mut Terms) -> Result<(), Code> {
        if matches!(terms.builders, Builders::Count(count) if count < 1) {
            return Err("validation_failed");
        }
        let version = self.catalogue.version_at(&terms.plan, now);
        if !version.needs_monthly_allowance(terms.builders) {
            terms.monthly_allowance = None;
            return match body.monthly_allowance {
                Field::Value(_) => Err("validation_failed"),
                // Even where an ended licence keeps the terms from being granted now.
                Field::LeftOut | Field::Null if version.allowance_of(terms) > BALANCE_LIMIT => {
                    Err("balance_limit")
                }
                Field::LeftOut | Field::Null => Ok(()),
            };
        }
        match terms.monthly_allowance {
            Some(1..=LARGEST_AMOUNT) => Ok(()),
            Some(_) | None => Err("validation_failed"),
        }
    }

    fn create(&mut self, now: Instant, body: &PutPool, request: Requested) -> Result<Change, Code> {
        let first_trial_at = trial_start(&request, None, now);
        let ended = has_ended(&request, first_trial_at, now);
        let terms = if ended {
            Terms::without_licence(self.kind)
        } else {
            request.terms.clone()
        };
        let version = self.catalogue.version_at(&terms.plan, now).clone();
        let anchor = match body.billing_anchor {
            Field::Value(anchor) => anchor,
            Field::LeftOut | Field::Null => now,
        };
        let mut pool = Pool {
            cycle: cycle_containing(now, anchor),
            fallen_back: ended,
            first_trial_at,
            ..Pool::blank(anchor, request, version.clone())
        };
        pool.remember(&body.license);
        pool.open_cycle(Kind::Open, now, terms, version);
        self.pool = Some(pool);
        Ok(Change::Created)
    }

    pub(super) fn update(
        &mut self,
        now: Instant,
        body: &PutPool,
        request: Requested,
    ) -> Result<Change, Code> {
        let pool = self.existing()?;
        let first_trial_at = trial_start(&request, pool.first_trial_at, now);
        // One that a pool fell back from before is no news.
        let is_news = !pool.fallen_back || matches!(body.license, Field::Value(_));
        if is_news && has_ended(&request, first_trial_at, now) {
            return self.update_with_ended_licence(now, request, first_trial_at);
        }
        let brings_back =
            matches!(body.plan, Field::Value(_)) || matches!(body.license, Field::Value(_));
        let stays_fallen = pool.fallen_back && !brings_back;
        let same_terms = !pool.fallen_back && request.terms == pool.requested.terms;
        if !stays_fallen && !same_terms {
            return self.change_terms(now, request, first_trial_at);
        }
        let pool = self.writable()?;
        if request == pool.requested {
            return Ok(Change::None);
        }
        pool.first_trial_at = first_trial_at;
        pool.requested = request;
        pool.write(Kind::TermsChange, now, vec![]);
        // The terms that are requested compare with what was granted as they did before.
        Ok(match pool.pending {
            Some(_) => Change::Decrease,
            None => Change::Equal,
        })
    }

    /// Rules 3 and 4: compared with what the current cycle was granted.
    fn change_terms(
        &mut self,
        now: Instant,
        request: Requested,
        first_trial_at: Option<Instant>,
    ) -> Result<Change, Code> {
        let terms = request.terms.clone();
        let version = self.catalogue.version_at(&terms.plan, now).clone();
        let allowance = version.allowance_of(&terms);
        let pool = self.writable()?;
        let compared = allowance.cmp(&pool.granted);
        if compared == Ordering::Greater && allowance > BALANCE_LIMIT {
            return Err("balance_limit");
        }
        pool.requested = request;
        pool.first_trial_at = first_trial_at;
        pool.fallen_back = false;
        match compared {
            Ordering::Greater => {
                pool.pending = None;
                pool.restart_cycle_at(now);
                pool.open_cycle(Kind::Restart, now, terms, version);
                Ok(Change::Increase)
            }
            Ordering::Less => {
                pool.pending = Some(terms);
                pool.write(Kind::TermsChange, now, vec![]);
                Ok(Change::Decrease)
            }
            Ordering::Equal => {
                pool.pending = None;
                pool.in_force = terms;
                pool.version = version;
                pool.write(Kind::TermsChange, now, vec![]);
                Ok(Change::Equal)
            }
        }
    }

    /// Rule 5: stored as requested; the pool stays on, or falls to, the plan that needs none.
    fn update_with_ended_licence(
        &mut self,
        now: Instant,
        request: Requested,
        first_trial_at: Option<Instant>,
    ) -> Result<Change, Code> {
        let (kind, catalogue) = (self.kind, self.catalogue.clone());
        let pool = self.writable()?;
        if request == pool.requested {
            return Ok(Change::None);
        }
        pool.requested = request;
        pool.first_trial_at = first_trial_at;
        let granted_before = pool.granted;
        pool.give_up_plan(now, kind, &catalogue, Kind::TermsChange);
        Ok(Change::between(granted_before, pool.granted))
    }
}

/// When the pool's first trial began, this request included. It never begins again.
pub fn trial_start(request: &Requested, earlier: Option<Instant>, now: Instant) -> Option<Instant> {
    let is_trial = request.license.is_some_and(|license| license.is_trial());
    earlier.or(is_trial.then_some(now))
}

fn has_ended(request: &Requested, first_trial_at: Option<Instant>, now: Instant) -> bool {
    request
        .license_end(first_trial_at)
        .is_some_and(|end| end <= now)
}
