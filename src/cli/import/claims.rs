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
    /// What is given up if it is refused.
    pub claims: Vec<(Label, Claim)>,
    /// Payments that are credited elsewhere, or with other credits.
    pub taken: Vec<Label>,
}

impl Claims {
    /// Claims the payments of these pools.
    ///
    /// # Errors
    /// The database is away.
    pub async fn claim(&self, candidates: Vec<Candidate>) -> Result<Vec<Claimed>, StoreError> {
        let wanted: Vec<(Label, Claim)> = candidates
            .iter()
            .flat_map(|candidate| self.wanted(candidate))
            .collect();
        let mut found = HashMap::with_capacity(wanted.len());
        for some in wanted.chunks(AT_ONCE) {
            found.extend(self.claim_some(some).await?);
        }
        let claimed = candidates.into_iter().map(|it| self.claimed(it, &found));
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

    async fn claim_some(
        &self,
        wanted: &[(Label, Claim)],
    ) -> Result<HashMap<Label, Claim>, StoreError> {
        let (store, tenant) = (&self.store, self.tenant);
        if self.dry_run {
            let references: Vec<&Label> = wanted.iter().map(|(reference, _)| reference).collect();
            return patiently(|| store.find_claims(tenant, &references)).await;
        }
        let now = Clock::System.now();
        patiently(|| store.claim_payments(tenant, wanted, now)).await
    }

    /// A payment whose claim somebody else made for the same pool and credits has that one's id.
    fn claimed(&self, mut candidate: Candidate, found: &HashMap<Label, Claim>) -> Claimed {
        let (mut claims, mut taken) = (Vec::new(), Vec::new());
        for (reference, wanted) in self.wanted(&candidate) {
            match found.get(&reference) {
                Some(claim) if (claim.pool, claim.credits) != (wanted.pool, wanted.credits) => {
                    taken.push(reference);
                }
                Some(claim) if claim.purchase != wanted.purchase => {
                    let payments = candidate.opening.payments.iter_mut();
                    for payment in payments.filter(|it| it.reference == reference) {
                        payment.id = claim.purchase;
                    }
                }
                Some(_) => claims.push((reference, wanted)),
                None => {}
            }
        }
        Claimed {
            candidate,
            claims,
            taken,
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
