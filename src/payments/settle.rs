//! Having a purchase follow its payment: what a refunded or disputed payment has lost is taken
//! back, what a won dispute had taken is given back.
//!
//! Refunds and purchases look for each other after they are committed, so whichever comes second
//! finds the first. The ledger ignores a state that is older than the one it knows.

use super::{PaymentError, Payments, Recipient};
use crate::lanes::LaneError;
use crate::ledger::{
    Actor, Command, Credits, KeyId, Label, Purchase, Refusal, Settlement, SignedCredits, TenantId,
};

/// A payment that is credited, and with what.
#[derive(Clone, Debug)]
pub struct Credited {
    /// The payment's own name.
    pub reference: Label,
    /// The credits, without a bonus.
    pub credits: Credits,
}

impl Credited {
    /// What this purchase credits.
    #[must_use]
    pub fn of(purchase: &Purchase) -> Self {
        let credits = purchase.credits.map_or(Credits::ZERO, SignedCredits::abs);
        Self {
            reference: purchase.reference.clone(),
            credits,
        }
    }
}

impl Payments {
    /// Settles what waited for a payment that is credited now, its exception included; `by` says
    /// who has resolved that one.
    ///
    /// # Errors
    /// The database or the lane is away.
    pub(super) async fn settle_credited(
        &self,
        recipient: &Recipient,
        credited: &Credited,
        by: Option<KeyId>,
    ) -> Result<(), PaymentError> {
        let Recipient { tenant, pool, .. } = recipient;
        let (now, to) = (self.clock.now(), (pool, credited.credits));
        self.store
            .close_exception(*tenant, &credited.reference, by, to, now)
            .await?;
        self.settle(*tenant, &credited.reference).await
    }

    /// Has the purchase of a payment follow its present state; nothing while there is none.
    ///
    /// # Errors
    /// The database or the lane is away: the state stays unsettled, for whoever comes next.
    pub async fn settle(&self, tenant: TenantId, reference: &Label) -> Result<(), PaymentError> {
        let Some(found) = self.store.find_payment(tenant, reference).await? else {
            return Ok(());
        };
        let (state, Some((purchase, pool))) = (found.state, found.purchase) else {
            return Ok(());
        };
        if state.version <= found.settled_version {
            return Ok(());
        }
        // The first that is known of most payments is that nothing is lost: not worth a commit. A
        // later version is: an earlier one that took credits may still be on its way to the lane.
        let lost = [state.refunded, state.disputed, state.dispute_lost];
        let is_worth_it = state.version > 1 || lost.into_iter().any(|amount| amount > 0);
        if is_worth_it {
            let actor = Actor::default();
            let recipient = Recipient {
                tenant,
                pool,
                actor,
            };
            let settlement = Settlement {
                purchase,
                payment: state,
            };
            let settled = self.send(&recipient, Command::Settle(Box::new(settlement)));
            match settled.await {
                // The balance of a closed pool is frozen: nothing is taken or given any more.
                Ok(_) | Err(LaneError::Refused(Refusal::PoolClosed)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.store
            .settle_payment(tenant, reference, state.version)
            .await?;
        Ok(())
    }
}
