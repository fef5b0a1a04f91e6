//! What our own checkouts have sold, and what becomes of them: for whoever hears of a payment.

use uuid::Uuid;

use super::{PaymentError, Payments};
use crate::ledger::{Credits, Label, PoolName, TenantId};
use crate::store::{CheckoutRecord, Redemption};

/// What a checkout has sold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sold {
    /// What comes on top of the credits that were bought.
    pub bonus: Credits,
    /// Who bought.
    pub user_id: Option<Label>,
}

impl Payments {
    /// What a checkout of ours has sold, whatever became of it, if it has sold these credits to
    /// this pool.
    ///
    /// # Errors
    /// The database is away.
    pub async fn sold(
        &self,
        tenant: TenantId,
        checkout: Uuid,
        pool: &PoolName,
        credits: Credits,
    ) -> Result<Option<Sold>, PaymentError> {
        let found = self.store.find_checkout(tenant, pool, checkout).await?;
        let found = found.filter(|found| found.price.credits == credits);
        Ok(found.map(|found| Sold {
            bonus: found.price.bonus,
            user_id: found.user_id,
        }))
    }

    /// Says that a checkout's payment was credited. Saying it again changes nothing.
    ///
    /// # Errors
    /// The database is away.
    pub async fn checkout_paid(
        &self,
        tenant: TenantId,
        checkout: Uuid,
    ) -> Result<(), PaymentError> {
        if let Some(paid) = self.store.find_checkout_of_tenant(tenant, checkout).await? {
            self.store.complete_checkout(&paid).await?;
        }
        Ok(())
    }

    /// Says that a checkout can be paid no more: a pending one expires and gives its promo code's
    /// redemption back. Saying it again changes nothing.
    ///
    /// # Errors
    /// The database is away; a job then does what is left.
    pub async fn checkout_expired(
        &self,
        tenant: TenantId,
        checkout: Uuid,
    ) -> Result<(), PaymentError> {
        match self.store.find_checkout_of_tenant(tenant, checkout).await? {
            Some(found) => self.expire(&found).await,
            None => Ok(()),
        }
    }

    /// Lets a pending checkout expire, or does what is left to be done for an expired one.
    pub(super) async fn expire(&self, checkout: &CheckoutRecord) -> Result<(), PaymentError> {
        if self
            .store
            .expire_checkout(checkout, self.clock.now())
            .await?
        {
            self.give_back(checkout).await?;
            self.store.close_checkout(checkout).await?;
        }
        Ok(())
    }

    /// Gives a checkout's redemption back, if it has one.
    pub(super) async fn give_back(&self, checkout: &CheckoutRecord) -> Result<(), PaymentError> {
        if let Some(redemption) = redemption(checkout) {
            self.store.give_back(redemption).await?;
        }
        Ok(())
    }
}

/// What a checkout takes of its promo code, if it has one.
pub(super) fn redemption(checkout: &CheckoutRecord) -> Option<Redemption> {
    let code = checkout.promo_code.clone()?;
    Some(Redemption {
        tenant: checkout.tenant,
        code,
        checkout: checkout.id,
        pool: checkout.pool_id(),
    })
}
