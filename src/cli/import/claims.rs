//! Payments that were credited elsewhere are claimed before their pools are booked, many at once,
//! so that whoever reports them again finds them credited (invariant exactly-once).

use std::collections::HashMap;
use std::time::Duration;

use super::opening::Candidate;
use crate::clock::Clock;
use crate::ledger::{Label, PoolId, TenantId};
use crate::store::{Claim, Store, StoreError};

/// How many payments are claimed by one statement.
const AT_ONCE: usize = 1_000;
/// How often that is tried.
const ATTEMPTS: u32 = 8;
/// The pause before it is tried again.
const PAUSE: Duration = Duration::from_millis(500);

/// Where payments are claimed.
pub struct Claims {
    /// The books.
    pub store: Store,
    /// Whose payments they are.
    pub tenant: TenantId,
    /// Only look: claim nothing.
    pub dry_run: bool,
}

/// A pool whose payments are claimed.
pub struct Claimed {
    /// The pool.
    pub candidate: Candidate,
    /// What this run claimed itself, and gives up if the pool is refused. A claim that was there
    /// before is never given up: whoever made it may be about to book it.
    pub claims: Vec<(Label, Claim)>,
    /// Payments that are credited elsewhere, or with other credits.
    pub taken: Vec<Label>,
    /// Whether the pool is there, and was not imported.
    pub is_there: bool,
}

/// The claims that count, each with whether this run made it.
type Found = HashMap<Label, (Claim, bool)>;

impl Claims {
    /// Claims the payments of these pools, unless they are there: those of an imported one are
    /// claimed already, and one that was made otherwise is going to be refused.
    ///
    /// # Errors
    /// The database is away.
    pub async fn claim(&self, candidates: Vec<Candidate>) -> Result<Vec<Claimed>, StoreError> {
        let id = |candidate: &Candidate| PoolId::of(self.tenant, &candidate.name);
        let ids: Vec<PoolId> = candidates.iter().map(id).collect();
        let there = patiently(|| self.store.find_imported(&ids)).await?;
        let wanted: Vec<(Label, Claim)> = candidates
            .iter()
            .filter(|candidate| !there.contains_key(&id(candidate)))
            .flat_map(|candidate| self.wanted(candidate))
            .collect();
        let mut found = HashMap::with_capacity(wanted.len());
        for some in wanted.chunks(AT_ONCE) {
            found.extend(self.claim_some(some).await?);
        }
        let claimed = candidates.into_iter().map(|it| {
            let is_there = there.get(&id(&it)).is_some_and(|imported| !imported);
            self.claimed(it, &found, is_there)
        });
        Ok(claimed.collect())
    }

    /// Gives up what was claimed for a pool that is refused: a refused pool uses up no payment.
    ///
    /// # Errors
    /// The database is away.
    pub async fn release(&self, claims: &[(Label, Claim)]) -> Result<(), StoreError> {
        if self.dry_run {
            return Ok(());
        }
        for (reference, claim) in claims {
            let (store, tenant) = (&self.store, self.tenant);
            patiently(|| store.release_claim(tenant, reference, *claim)).await?;
        }
        Ok(())
    }

    fn wanted(&self, candidate: &Candidate) -> Vec<(Label, Claim)> {
        let pool = PoolId::of(self.tenant, &candidate.name);
        let payments = candidate.opening.payments.iter();
        let claim = payments.map(|payment| {
            let claim = Claim {
                pool,
                credits: payment.credits,
                purchase: payment.id,
            };
            (payment.reference.clone(), claim)
        });
        claim.collect()
    }

    async fn claim_some(&self, wanted: &[(Label, Claim)]) -> Result<Found, StoreError> {
        let (store, tenant) = (&self.store, self.tenant);
        if self.dry_run {
            let references: Vec<&Label> = wanted.iter().map(|(reference, _)| reference).collect();
            let found = patiently(|| store.find_claims(tenant, &references)).await?;
            let found = found.into_iter().map(|(it, claim)| (it, (claim, false)));
            return Ok(found.collect());
        }
        let now = Clock::System.now();
        patiently(|| store.claim_payments(tenant, wanted, now)).await
    }

    /// A payment whose claim somebody else made for the same pool and credits has that one's id.
    fn claimed(&self, mut candidate: Candidate, found: &Found, is_there: bool) -> Claimed {
        let (mut claims, mut taken) = (Vec::new(), Vec::new());
        for (payment, (reference, wanted)) in self.wanted(&candidate).into_iter().enumerate() {
            match found.get(&reference) {
                Some((claim, _))
                    if (claim.pool, claim.credits) != (wanted.pool, wanted.credits) =>
                {
                    taken.push(reference);
                }
                Some((_, true)) => claims.push((reference, wanted)),
                Some((claim, false)) => candidate.opening.payments[payment].id = claim.purchase,
                None => {}
            }
        }
        Claimed {
            candidate,
            claims,
            taken,
            is_there,
        }
    }
}

/// Tries again while the database is away for a moment, or somebody is in the way.
async fn patiently<T, F>(mut work: impl FnMut() -> F) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, StoreError>>,
{
    let mut attempt = 0;
    loop {
        attempt += 1;
        match work().await {
            Err(StoreError::Unavailable(_) | StoreError::Contended(_)) if attempt < ATTEMPTS => {
                tokio::time::sleep(PAUSE).await;
            }
            result => return result,
        }
    }
}
