//! Licence keys: which a pool takes, what they change, and giving a licence up again.
//!
//! A key is applied as a PUT of plan, builders, allowance and licence together. That its signature
//! is good is taken for granted here.

use super::calendar::add_months;
use super::pool::Pool;
use super::put::trial_start;
use super::{
    Answer, BALANCE_LIMIT, Catalogue, Change, Code, Field, Instant, Kind, License, LicenseType,
};
use super::{Model, PoolKind, PutPool, Requested, Terms};

/// For how long a licence that was given up comes back without a grant.
const COMES_BACK_MONTHS: i64 = 1;

/// What a licence key says.
#[derive(Clone, Debug)]
pub struct Key {
    /// Or for another instance than the model is of.
    pub for_this_customer: bool,
    pub terms: Terms,
    pub license: License,
    /// What tells it from other keys.
    pub signed: Signed,
    pub starts_at: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signed {
    pub fingerprint: usize,
    pub issued_at: Instant,
}

/// Licences that were given up before their end, each less than a month after the one before.
#[derive(Clone, Copy, Debug)]
pub struct Withdrawn {
    /// The latest of them.
    pub issued_at: Instant,
    /// The last time.
    pub at: Instant,
}

/// What the licence that a pool shows remembers of it and of those before it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    pub had_paid: bool,
    /// It was given up: then it is shown as none.
    pub given_up: bool,
}

impl License {
    fn is_paid(&self) -> bool {
        match self.license_type {
            LicenseType::Paid | LicenseType::Business | LicenseType::Enterprise => true,
            LicenseType::Basic | LicenseType::Trial => false,
        }
    }
}

impl Key {
    fn as_put(&self) -> PutPool {
        let Terms {
            plan,
            builders,
            monthly_allowance,
        } = self.terms.clone();
        PutPool {
            plan: Field::Value(plan),
            builders: Field::Value(builders),
            monthly_allowance: monthly_allowance.map_or(Field::Null, Field::Value),
            license: Field::Value(License {
                signed: Some(self.signed),
                ..self.license
            }),
            ..PutPool::empty()
        }
    }
}

impl PutPool {
    /// Whether it names what a signed licence alone says while it is in force.
    pub fn names_what_a_licence_says(&self) -> bool {
        self.plan != Field::LeftOut
            || self.builders != Field::LeftOut
            || self.monthly_allowance != Field::LeftOut
            || self.license != Field::LeftOut
    }
}

impl Model {
    pub(super) fn apply_key(&mut self, now: Instant, key: &Key) -> Result<Answer, Code> {
        let pool = self.writable()?;
        let version = pool.version();
        let in_force = pool.signed();
        if in_force.is_some_and(|signed| signed.fingerprint == key.signed.fingerprint) {
            let change = Change::None;
            return Ok(Answer::Put { change, version });
        }
        let comes_back = pool.comes_back(now, key);
        self.refuse_key(now, key)?;
        let body = key.as_put();
        let request = self.compose(now, &body)?;
        let change = if comes_back {
            self.come_back(now, request)?
        } else {
            self.update(now, &body, request)?
        };
        let pool = self.writable()?;
        pool.remember(&body.license);
        let version = pool.version();
        Ok(Answer::Put { change, version })
    }

    fn refuse_key(&self, now: Instant, key: &Key) -> Result<(), Code> {
        if self.kind == PoolKind::Workspace || !key.for_this_customer {
            return Err("license_of_another");
        }
        if key.starts_at.is_some_and(|starts_at| starts_at > now) {
            return Err("license_not_started");
        }
        let pool = self.existing()?;
        let asked = Requested {
            license: Some(key.license),
            ..pool.requested.clone()
        };
        let first_trial_at = trial_start(&asked, pool.first_trial_at, now);
        let end = asked.license_end(first_trial_at);
        if end.is_some_and(|end| end <= now) {
            return Err("license_expired");
        }
        let in_force = pool.signed();
        if in_force.is_some_and(|signed| key.signed.issued_at < signed.issued_at) {
            return Err("license_outdated");
        }
        if key.license.is_trial() && pool.memory.had_paid {
            return Err("license_trial_after_paid");
        }
        Ok(())
    }

    /// Terms at once and no grant: the cycle goes on.
    fn come_back(&mut self, now: Instant, request: Requested) -> Result<Change, Code> {
        let terms = request.terms.clone();
        let version = self.catalogue.version_at(&terms.plan, now).clone();
        if version.allowance_of(&terms) > BALANCE_LIMIT {
            return Err("balance_limit");
        }
        let pool = self.writable()?;
        pool.first_trial_at = trial_start(&request, pool.first_trial_at, now);
        pool.fallen_back = false;
        pool.pending = None;
        pool.requested = request;
        pool.in_force = terms;
        pool.version = version;
        pool.write(Kind::TermsChange, now, vec![]);
        Ok(Change::Equal)
    }

    /// Ends the signed licence now, as its end would: but a cycle that was granted no more than
    /// the free plan grants goes on, so that nobody is granted anything by giving licences up.
    pub(super) fn withdraw(&mut self, now: Instant) -> Result<Answer, Code> {
        let (kind, catalogue) = (self.kind, self.catalogue.clone());
        let pool = self.writable()?;
        let Some(signed) = pool.signed() else {
            let (change, version) = (Change::None, pool.version());
            return Ok(Answer::Put { change, version });
        };
        let earlier = pool.withdrawn_lately(now);
        let issued_at = earlier.map_or(signed.issued_at, |it| it.issued_at.max(signed.issued_at));
        pool.withdrawn = Some(Withdrawn { issued_at, at: now });
        pool.memory.given_up = true;
        pool.requested.license = None;
        let granted_before = pool.granted;
        pool.give_up_plan(now, kind, &catalogue, Kind::LicenseEnd);
        let change = Change::between(granted_before, pool.granted);
        let version = pool.version();
        Ok(Answer::Put { change, version })
    }
}

impl Pool {
    /// The pool falls back by a request, as at a licence's end; but a cycle that was granted no
    /// more than the free plan grants goes on.
    pub fn give_up_plan(&mut self, now: Instant, kind: PoolKind, all: &Catalogue, kept: Kind) {
        let free = Terms::without_licence(kind);
        let version = all.version_at(&free.plan, now).clone();
        let goes_on = self.granted <= version.grant_of(&free);
        if goes_on && !self.in_force.need_no_licence() {
            self.fallen_back = true;
            self.pending = None;
            self.in_force = free;
            self.version = version;
            self.write(Kind::LicenseEnd, now, vec![]);
        } else {
            self.fall_back(now, kind, all, kept);
        }
    }

    /// The signed licence in force.
    pub fn signed(&self) -> Option<Signed> {
        self.requested.license?.signed
    }

    fn comes_back(&self, now: Instant, key: &Key) -> bool {
        let withdrawn = self.withdrawn_lately(now);
        withdrawn.is_some_and(|withdrawn| key.signed.issued_at <= withdrawn.issued_at)
    }

    fn withdrawn_lately(&self, now: Instant) -> Option<Withdrawn> {
        self.withdrawn
            .filter(|withdrawn| now < add_months(withdrawn.at, COMES_BACK_MONTHS))
    }

    /// After a request about this licence: a pool that has none, and did not fall back from one,
    /// shows none either.
    pub fn remember(&mut self, license: &Field<License>) {
        match license {
            Field::Value(license) => {
                self.memory.had_paid |= license.is_paid();
                self.memory.given_up = false;
            }
            Field::LeftOut | Field::Null => {
                if self.requested.license.is_none() && !self.fallen_back {
                    self.memory.given_up = self.withdrawn.is_some();
                }
            }
        }
    }
}
