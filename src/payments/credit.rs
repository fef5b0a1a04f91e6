//! Crediting a payment once for a tenant (invariant exactly-once), in three steps: the lane says
//! whether the purchase would be booked, the payment's reference is claimed, the lane books it.
//!
//! After the claim no rule refuses any more, so whoever finds a claim on the same pool and credits
//! drives the same booking to its end, whatever the channel.

use std::time::Duration;

use super::{Credited, PaymentError, Payments};
use crate::lanes::{Job, LaneError, Reply};
use crate::ledger::{Actor, Command, Credits, PoolId, PoolName, Purchase, Refusal, TenantId};
use crate::store::Claim;

/// How long whoever recorded a purchase waits for what waited for its payment.
const SETTLING: Duration = Duration::from_millis(500);

/// To whom a payment is credited, and who asks for it.
#[derive(Clone, Debug)]
pub struct Recipient {
    /// Whose pool it is.
    pub tenant: TenantId,
    /// The pool.
    pub pool: PoolName,
    /// Who asks; with a request, when it carried an idempotency key.
    pub actor: Actor,
}

impl Payments {
    /// Checks, claims and books; then settles what waited for the payment. One that was credited
    /// before is answered with its first purchase if pool and credits agree.
    ///
    /// # Errors
    /// A rule refuses it, then nothing is claimed; or the database is away, then whoever tries
    /// again drives it to its end.
    pub async fn credit(
        &self,
        recipient: &Recipient,
        purchase: Purchase,
    ) -> Result<Reply, PaymentError> {
        let credited = Credited::of(&purchase);
        let reply = self.book(recipient, purchase).await?;
        // It is credited whatever comes now: what could not be settled is the retry job's.
        let settling = self.settle_credited(recipient, &credited, None);
        match tokio::time::timeout(SETTLING, settling).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "what waited for a payment is settled later");
            }
            Err(_) => tracing::warn!("what waited for a payment takes long, and is settled later"),
        }
        Ok(reply)
    }

    /// As [`Self::credit`], without what waited for the payment.
    pub(super) async fn book(
        &self,
        recipient: &Recipient,
        mut purchase: Purchase,
    ) -> Result<Reply, PaymentError> {
        let check = Command::CheckPurchase(Box::new(purchase.clone()));
        let claim = match self.send(recipient, check).await {
            Ok(Reply::Done) => self.claim(recipient, &purchase).await?,
            // An earlier request, with this key or another, has booked it.
            Ok(reply) => return Ok(reply),
            // A claim that was left behind by a lost request is honoured on the terms it was made.
            Err(LaneError::Refused(refusal)) => self
                .own_claim(recipient, &purchase)
                .await?
                .ok_or(LaneError::Refused(refusal))?,
            Err(error) => return Err(error.into()),
        };
        purchase.id = claim.purchase;
        let reference = purchase.reference.clone();
        let booking = Command::Purchase(Box::new(purchase));
        match self.send(recipient, booking).await {
            Err(LaneError::Refused(Refusal::PoolClosed)) => {
                // Closed for ever, so nothing will book this claim: the payment is free again.
                let tenant = recipient.tenant;
                self.store.release_claim(tenant, &reference, claim).await?;
                Err(LaneError::Refused(Refusal::PoolClosed).into())
            }
            result => Ok(result?),
        }
    }

    /// Has the pool's lane do something.
    pub(super) async fn send(
        &self,
        recipient: &Recipient,
        command: Command,
    ) -> Result<Reply, LaneError> {
        let job = Job {
            tenant: recipient.tenant,
            pool: recipient.pool.clone(),
            actor: recipient.actor.clone(),
            command,
            dry_run: false,
        };
        self.lanes.submit(job).await
    }

    /// Claims the payment. One that was credited elsewhere, or with other credits, is refused.
    async fn claim(
        &self,
        recipient: &Recipient,
        purchase: &Purchase,
    ) -> Result<Claim, PaymentError> {
        let wanted = wanted(recipient, purchase).ok_or(LaneError::Failed)?;
        let (tenant, now) = (recipient.tenant, self.clock.now());
        let claim = self
            .store
            .claim_payment(tenant, &purchase.reference, wanted, now)
            .await?;
        if agrees(claim, wanted) {
            Ok(claim)
        } else {
            Err(LaneError::Refused(Refusal::PaymentReferenceReused).into())
        }
    }

    /// The claim that this very payment has already, if it has one.
    async fn own_claim(
        &self,
        recipient: &Recipient,
        purchase: &Purchase,
    ) -> Result<Option<Claim>, PaymentError> {
        let Some(wanted) = wanted(recipient, purchase) else {
            return Ok(None);
        };
        let found = self
            .store
            .find_claim(recipient.tenant, &purchase.reference)
            .await?;
        Ok(found.filter(|claim| agrees(*claim, wanted)))
    }
}

/// What a claim of this payment by this purchase says; nothing for a quantity that is no amount.
fn wanted(recipient: &Recipient, purchase: &Purchase) -> Option<Claim> {
    let credits = purchase.credits.and_then(Credits::requested).ok()?;
    Some(Claim {
        pool: PoolId::of(recipient.tenant, &recipient.pool),
        credits,
        purchase: purchase.id,
    })
}

fn agrees(claim: Claim, wanted: Claim) -> bool {
    (claim.pool, claim.credits) == (wanted.pool, wanted.credits)
}
