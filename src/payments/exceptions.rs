//! Resolving by hand what could not be credited by itself.
//!
//! Whoever resolves honours a payment that is made: neither plan nor quantity refuses it any more.
//! A closed or unknown pool still does, and a payment whose validity is over.

use uuid::Uuid;

use super::{Credited, PaymentError, Payments, Recipient};
use crate::ledger::{
    Actor, Credits, KeyId, PoolName, Purchase, PurchaseId, Reason, SignedCredits, TenantId,
};
use crate::store::{ExceptionRecord, ExceptionStatus};

/// Where an exception's payment is to go.
#[derive(Clone, Debug)]
pub struct Resolution {
    /// The pool.
    pub pool: PoolName,
    /// The credits; what the payment named, when absent.
    pub credits: Option<Credits>,
    /// Whose decision it is.
    pub by: KeyId,
}

impl Payments {
    /// Credits an exception's payment, once, and settles what waited for it. `None` when there is
    /// no such exception.
    ///
    /// # Errors
    /// It is resolved already, no credits are known, a rule refuses, or the database is away.
    pub async fn credit_exception(
        &self,
        tenant: TenantId,
        id: Uuid,
        resolution: Resolution,
    ) -> Result<Option<ExceptionRecord>, PaymentError> {
        let Some(found) = self.store.find_exception(tenant, id).await? else {
            return Ok(None);
        };
        if found.status != ExceptionStatus::Open {
            return Err(PaymentError::Resolved(found.status));
        }
        let credits = resolution.credits.or_else(|| named_credits(&found));
        let credits = credits.ok_or(PaymentError::CreditsNeeded)?;
        let Resolution { pool, by, .. } = resolution;
        let checkout = found.checkout.as_deref().and_then(|text| text.parse().ok());
        let sold = match checkout {
            Some(checkout) => self.sold(tenant, checkout, &pool, credits).await?,
            None => None,
        };
        let checkout = checkout.filter(|_| sold.is_some());
        let purchase = Purchase {
            id: PurchaseId::from(Uuid::now_v7()),
            credits: Ok(credits.signed()),
            bonus: sold.map_or(Credits::ZERO, |sold| sold.bonus),
            as_sold: true,
            reference: found.reference.clone(),
            paid_at: Some(self.paid_at(tenant, &pool, found.paid_at).await?),
            amount_cents: found.amount_cents,
            currency: found.currency.clone(),
            user_id: found.user_id.clone(),
        };
        let recipient = Recipient {
            tenant,
            pool,
            actor: Actor {
                key: Some(by),
                request: None,
            },
        };
        let credited = Credited::of(&purchase);
        self.book(&recipient, purchase).await?;
        self.settle_credited(&recipient, &credited, Some(by))
            .await?;
        if let Some(checkout) = checkout {
            self.checkout_paid(tenant, checkout).await?;
        }
        Ok(self.store.find_exception(tenant, id).await?)
    }

    /// Dismisses an open exception. `None` when there is no such exception.
    ///
    /// # Errors
    /// It is resolved already, or the database is away.
    pub async fn dismiss_exception(
        &self,
        tenant: TenantId,
        id: Uuid,
        by: KeyId,
        reason: &Reason,
    ) -> Result<Option<ExceptionRecord>, PaymentError> {
        let now = self.clock.now();
        let was_open = self.store.dismiss_exception(tenant, id, by, reason, now);
        let was_open = was_open.await?;
        match self.store.find_exception(tenant, id).await? {
            // Still open, its payment is being credited.
            Some(found) if !was_open && found.status == ExceptionStatus::Open => {
                Err(PaymentError::Resolved(ExceptionStatus::Credited))
            }
            Some(found) if !was_open => Err(PaymentError::Resolved(found.status)),
            found => Ok(found),
        }
    }
}

/// The credits that a payment named, if they can be credited.
fn named_credits(exception: &ExceptionRecord) -> Option<Credits> {
    let text = exception.credits.as_deref()?;
    let credits = SignedCredits::parse(text.trim()).ok()?;
    Credits::requested(credits).ok()
}
