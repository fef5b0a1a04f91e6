//! Signed licences: what a licence key says, whether a pool takes it, and giving it up again.
//!
//! The signature was checked by whoever read the key. While a signed licence is in force it alone
//! says what the pool's plan, builders and end are.

use super::advance::{LicenseEnd, end_license};
use super::{
    Actor, Book, Catalogue, Change, Credits, Label, License, LicenseType, Patch, Pool, PoolKind,
    PutPool, Refusal, Seats, Signed, Terms, Time,
};

/// What a licence key says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedLicense {
    /// The id of the instance it was issued for.
    pub customer: Label,
    /// The plan, the builders and the allowance it gives.
    pub terms: Terms,
    /// Its kind, end and limits, with what is kept of the key.
    pub license: License,
    /// What is kept of the key.
    pub signed: Signed,
    /// Not to be applied before this.
    pub starts_at: Option<Time>,
}

/// Gives the signed licence of a pool up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Withdrawal;

impl SignedLicense {
    /// Puts the pool on the licence's terms, by the rules of any change of terms.
    ///
    /// # Errors
    /// The licence is not for this pool, not now, or not after the ones before it; then nothing
    /// changes.
    pub fn book(
        &self,
        book: &mut Book,
        catalogue: &Catalogue,
        actor: Actor,
        now: Time,
    ) -> Result<Change, Refusal> {
        if book.pool.is_closed() {
            return Err(Refusal::PoolClosed);
        }
        let in_force = book.pool.signed();
        if in_force.is_some_and(|signed| signed.fingerprint == self.signed.fingerprint) {
            return Ok(Change::None);
        }
        self.check(&book.pool, now)?;
        let put = self.put();
        if self.comes_back(&book.pool, now) {
            put.resume(book, catalogue, actor, now)
        } else {
            put.change(book, catalogue, actor, now)
        }
    }

    fn check(&self, pool: &Pool, now: Time) -> Result<(), Refusal> {
        let is_for_this =
            pool.name.kind() == PoolKind::Instance && self.customer.as_str() == pool.name.id();
        if !is_for_this {
            return Err(Refusal::LicenseOfAnother);
        }
        if self.starts_at.is_some_and(|start| start > now) {
            return Err(Refusal::LicenseNotStarted);
        }
        let license = self.license.clone();
        let license = license.with_trial_end(pool.first_trial_at.unwrap_or(now));
        if license.ends_at().is_some_and(|end| end <= now) {
            return Err(Refusal::LicenseExpired);
        }
        let in_force = pool.signed();
        if in_force.is_some_and(|signed| signed.issued_at > self.signed.issued_at) {
            return Err(Refusal::LicenseOutdated);
        }
        let last = pool.license.as_ref();
        let was_paid = last.is_some_and(License::tells_of_paid);
        if was_paid && self.license.kind == LicenseType::Trial {
            return Err(Refusal::LicenseTrialAfterPaid);
        }
        Ok(())
    }

    /// Whether it was withdrawn from the pool less than a month ago: its cycle was granted then, so
    /// it comes back without another grant (invariant no minting), whatever came in between.
    pub(super) fn comes_back(&self, pool: &Pool, now: Time) -> bool {
        let given_up = pool.license.as_ref().and_then(|last| last.given_up);
        given_up.is_some_and(|it| it.is_recent(now) && self.signed.issued_at <= it.issued_at)
    }

    fn put(&self) -> PutPool {
        let Terms {
            plan,
            builders,
            monthly_allowance,
        } = self.terms.clone();
        PutPool {
            plan: Some(plan),
            builders: Patch::Set(builders),
            monthly_allowance: monthly_allowance.map_or(Patch::Clear, Patch::Set),
            license: Patch::Set(License {
                signed: Some(Box::new(self.signed.clone())),
                ..self.license.clone()
            }),
            ..PutPool::default()
        }
    }
}

impl Withdrawal {
    /// The signed licence in force ends now, as it would have at its end; without one nothing
    /// happens. A cycle that was granted no more than the free plan grants goes on.
    ///
    /// # Errors
    /// The pool is closed.
    pub fn book(
        self,
        book: &mut Book,
        catalogue: &Catalogue,
        actor: Actor,
        now: Time,
    ) -> Result<Change, Refusal> {
        if book.pool.is_closed() {
            return Err(Refusal::PoolClosed);
        }
        if book.pool.signed().is_none() {
            return Ok(Change::None);
        }
        let license = book.pool.license.take();
        book.pool.license = license.map(|license| license.withdrawn(now));
        let before = book.pool.granted;
        end_license(book, catalogue, now, actor, LicenseEnd::Withdrawn);
        Ok(Change::of(book.pool.granted, before))
    }
}

impl Pool {
    /// The last licence, running or over; none that was given up or cleared.
    #[must_use]
    pub fn shown_license(&self) -> Option<&License> {
        self.license.as_ref().filter(|last| !last.is_hidden)
    }

    /// The signed licence in force.
    #[must_use]
    pub fn signed(&self) -> Option<&Signed> {
        self.requested.license.as_ref()?.signed.as_deref()
    }
}

impl PutPool {
    /// Whether it says what a signed licence alone says while it is in force.
    pub(super) fn says_what_a_license_says(&self) -> bool {
        self.plan.is_some()
            || self.builders != Patch::<Seats>::Keep
            || self.monthly_allowance != Patch::<Credits>::Keep
            || self.license != Patch::<License>::Keep
    }
}

#[cfg(test)]
mod tests;
