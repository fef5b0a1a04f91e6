//! Making a pool: its first entry, with the full allowance of the cycle that contains its creation.

use super::advance::{free_terms, turn_over};
use super::book::Draft;
use super::put::possible;
use super::{
    Actor, Book, Catalogue, Credits, Details, Kind, Pool, PoolId, PoolName, PutPool, Refusal,
    Requested, Seats, TenantId, Term, Terms, Time, cycle_containing,
};

impl PutPool {
    /// Makes a pool: `open` with the full allowance of the cycle that contains `now`. A licence
    /// that has already ended makes it on the free plan.
    ///
    /// # Errors
    /// The plan is missing or unknown, or the allowance is missing or too large.
    pub fn create(
        self,
        (id, tenant, name): (PoolId, TenantId, PoolName),
        catalogue: &Catalogue,
        actor: Actor,
        now: Time,
    ) -> Result<Book, Refusal> {
        let Some(plan) = &self.plan else {
            return Err(Refusal::invalid("plan", "is needed when a pool is made"));
        };
        let terms = Terms {
            plan: plan.clone(),
            builders: Seats::ONE,
            monthly_allowance: None,
        };
        let billing_anchor = self.billing_anchor.unwrap_or(now);
        let blank = Requested {
            terms,
            billing_anchor,
            term: Term::default(),
            license: None,
            test_clock: None,
            metadata: None,
            upgraded: None,
        };
        let test_clock = self.test_clock.over(None);
        let instant = test_clock.is_none().then_some(now);
        let requested = self.merged(&blank, catalogue, instant)?;
        possible(&requested.terms, catalogue, instant)?;
        let pool = blank_pool((id, tenant, name), requested.clone(), now);
        let mut book = Book::new(pool);
        let ended = book.pool.apply_license(&self.license, now);
        book.pool.fallen_back = ended;
        let terms = if ended {
            free_terms(&book.pool)
        } else {
            requested.terms.clone()
        };
        let cycle = cycle_containing(billing_anchor, now);
        let transfers = turn_over(&mut book, catalogue, now, terms.clone(), cycle);
        let details = Details {
            terms: Some(terms),
            requested: Some(requested),
            ..Details::default()
        };
        book.append(
            now,
            Draft {
                actor,
                details,
                ..Draft::new(Kind::Open, transfers)
            },
        );
        Ok(book)
    }
}

/// A pool before its first entry.
pub(super) fn blank_pool(
    (id, tenant, name): (PoolId, TenantId, PoolName),
    requested: Requested,
    now: Time,
) -> Pool {
    Pool {
        id,
        tenant,
        name,
        created_at: now,
        seq: 0,
        hash: super::Hash::GENESIS,
        last_at: now,
        accounts: super::Accounts::default(),
        terms: requested.terms.clone(),
        denomination: super::Denomination::One,
        legacy_prices: false,
        addons_allowed: false,
        granted: Credits::ZERO,
        used: Credits::ZERO,
        cycle: cycle_containing(requested.billing_anchor, now),
        cycle_seq: 0,
        addons: None,
        expired_addons: None,
        uncollected: Credits::ZERO,
        open_holds: 0,
        next_hold_at: None,
        pending: None,
        license: None,
        license_ends_at: None,
        first_trial_at: None,
        billing_anchor: requested.billing_anchor,
        test_clock: requested.test_clock,
        requested,
        fallen_back: false,
        closed_at: None,
    }
}
