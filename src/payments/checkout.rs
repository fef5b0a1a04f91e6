//! Checkouts: a price, a promo code's redemption, a page where the customer pays; all or nothing.
//!
//! The checkout's row comes first, then the redemption, then the provider is asked, with no
//! transaction open; then the row says where to pay. Each step is safe to repeat, so whoever comes
//! with the same idempotency key drives a checkout that was left half-made to its end, and a job
//! gives back what nobody came for. A lease keeps two from making the same one at once.

use std::time::{Duration, Instant};

use chrono::TimeDelta;
use tracing::Instrument as _;
use uuid::Uuid;

use super::provider::{NewSession, ProviderError, check_amount};
use super::sold::redemption;
use super::{PaymentError, Payments, Recipient};
use crate::lanes::{LaneError, Reply};
use crate::ledger::{
    Actor, Catalogue, Credits, CreditsError, Fingerprint, IdempotencyKey, KeyId, Label, Pool,
    PoolId, PoolName, Price, PromoCode, Purchase, PurchaseId, Refusal, Request, SignedCredits,
    TenantId, Time, check_offer, check_purchase,
};
use crate::store::{CheckoutRecord, CheckoutStatus};

/// How long whoever makes a checkout may be at work: longer than all its steps may take.
const LEASE: TimeDelta = TimeDelta::seconds(15);
/// When a job gives a half-made checkout back that nobody has come for.
const ABANDONED_AFTER: TimeDelta = TimeDelta::minutes(10);
/// How long a page can be paid, until the provider says so itself.
const USUAL_LIFE: TimeDelta = TimeDelta::hours(24);
/// How long after a page's end the provider is asked what became of it.
const LOOK_AFTER_END: TimeDelta = TimeDelta::minutes(5);
/// How long a request waits for another one with its key, and how often it looks.
const PATIENCE: Duration = Duration::from_secs(6);
const PAUSE: Duration = Duration::from_millis(100);

/// What a customer wants to buy.
#[derive(Clone, Debug)]
pub struct Wish {
    /// As the client said it: a wrong quantity is refused after the plan.
    pub credits: Result<SignedCredits, CreditsError>,
    /// As the client said it: a code that cannot be is as good as an unknown one.
    pub promo_code: Option<String>,
}

/// A checkout to be made.
#[derive(Clone, Debug)]
pub struct Order {
    /// Whose pool it is.
    pub tenant: TenantId,
    /// The pool.
    pub pool: PoolName,
    /// The request's idempotency key.
    pub key: IdempotencyKey,
    /// What the request says.
    pub fingerprint: Fingerprint,
    /// The API key that asks.
    pub actor: KeyId,
    /// The pool's now.
    pub now: Time,
    /// What it costs.
    pub price: Price,
    /// The promo code that is in the price.
    pub promo_code: Option<PromoCode>,
    /// Who buys.
    pub user_id: Option<Label>,
    /// Where the receipt goes.
    pub customer_email: Option<String>,
    /// Where the customer goes after paying.
    pub success_url: String,
    /// Where the customer goes otherwise.
    pub cancel_url: String,
}

/// A checkout, and whether an earlier request with the same key made it.
#[derive(Clone, Debug)]
pub struct Ordered {
    /// The checkout.
    pub checkout: CheckoutRecord,
    /// Whether it was there before.
    pub replayed: bool,
}

impl Payments {
    /// What a wish costs a pool as of `now`: plan, quantity, promo code, amount, in this order.
    /// Nothing is booked or redeemed.
    ///
    /// # Errors
    /// A rule refuses it, or the database is away.
    pub async fn price(
        &self,
        (pool, catalogue, now): (&Pool, &Catalogue, Time),
        wish: &Wish,
    ) -> Result<(Price, Option<PromoCode>), PaymentError> {
        if pool.is_closed() {
            return Err(refused(Refusal::PoolClosed));
        }
        let terms = &catalogue.addon_terms;
        let credits = check_offer(pool, terms, wish.credits).map_err(refused)?;
        let mut code = None;
        let mut reduction = None;
        if let Some(text) = &wish.promo_code {
            let invalid = || refused(Refusal::PromoCodeInvalid);
            let named: PromoCode = text.parse().map_err(|_| invalid())?;
            let found = self
                .store
                .find_promo_code(pool.tenant, &named, pool.id)
                .await?;
            let (promo, used) = found.ok_or_else(invalid)?;
            if !promo.is_good(now, used) {
                return Err(invalid());
            }
            (code, reduction) = (Some(named), Some(promo.reduction));
        }
        let price = Price::of(credits, terms, reduction).map_err(refused)?;
        // What could not be credited must not be sold.
        let credited = purchase(&price, None, "checkout")?;
        check_purchase(&credited, pool, catalogue, now).map_err(refused)?;
        check_amount(&price).map_err(refused)?;
        Ok((price, code))
    }

    /// The checkout that an earlier request with this key has made, or was about to make: then it
    /// is driven to its end.
    ///
    /// # Errors
    /// The key was used for another request; or it cannot be driven to its end.
    pub async fn find_ordered(
        &self,
        (tenant, pool): (TenantId, &PoolName),
        key: &IdempotencyKey,
        fingerprint: Fingerprint,
    ) -> Result<Option<CheckoutRecord>, PaymentError> {
        let started = Instant::now();
        while let Some(found) = self.store.find_checkout_by_key(tenant, pool, key).await? {
            if found.fingerprint != fingerprint {
                return Err(refused(Refusal::IdempotencyKeyReused));
            }
            if found.status != CheckoutStatus::Creating {
                return Ok(Some(found));
            }
            let now = self.clock.now();
            if let Some(leased) = self.store.lease_checkout(&found, now, now + LEASE).await? {
                return self.make_undropped(leased).await.map(Some);
            }
            if started.elapsed() > PATIENCE {
                return Err(ProviderError::Unavailable(None).into());
            }
            tokio::time::sleep(PAUSE).await;
        }
        if self
            .store
            .is_key_in_journal(PoolId::of(tenant, pool), key)
            .await?
        {
            return Err(refused(Refusal::IdempotencyKeyReused));
        }
        Ok(None)
    }

    /// Makes a checkout. One that fails leaves nothing behind: no key is used up, and no promo
    /// code.
    ///
    /// # Errors
    /// The promo code was used up meanwhile; or the provider or the database is away.
    pub async fn order(&self, order: Order) -> Result<Ordered, PaymentError> {
        if order.price.total_cents > 0 {
            self.api_key(order.tenant).await?;
        }
        let checkout = self.new_checkout(order);
        if self.store.insert_checkout(&checkout).await? {
            let checkout = self.make_undropped(checkout).await?;
            return Ok(Ordered {
                checkout,
                replayed: false,
            });
        }
        // Another request with this key was faster.
        let whose = (checkout.tenant, &checkout.pool);
        let earlier = self
            .find_ordered(whose, &checkout.key, checkout.fingerprint)
            .await?;
        // It was there and failed: so did its twin.
        let checkout = earlier.ok_or(ProviderError::Unavailable(None))?;
        Ok(Ordered {
            checkout,
            replayed: true,
        })
    }

    /// A pool's checkout that clients know of.
    ///
    /// # Errors
    /// The database is away.
    pub async fn find_checkout(
        &self,
        tenant: TenantId,
        pool: &PoolName,
        id: Uuid,
    ) -> Result<Option<CheckoutRecord>, PaymentError> {
        let found = self.store.find_checkout(tenant, pool, id).await?;
        Ok(found.filter(|found| found.status != CheckoutStatus::Creating))
    }

    fn new_checkout(&self, order: Order) -> CheckoutRecord {
        let now = self.clock.now();
        CheckoutRecord {
            id: Uuid::now_v7(),
            tenant: order.tenant,
            pool: order.pool,
            key: order.key,
            fingerprint: order.fingerprint,
            status: CheckoutStatus::Creating,
            price: order.price,
            promo_code: order.promo_code,
            user_id: order.user_id,
            customer_email: order.customer_email,
            success_url: order.success_url,
            cancel_url: order.cancel_url,
            actor: Some(order.actor),
            session_id: None,
            url: None,
            created_at: order.now,
            expires_at: now + USUAL_LIFE,
            leased_until: now + LEASE,
            attempt: 1,
            next_look_at: Some(now + ABANDONED_AFTER),
        }
    }

    /// Makes a leased checkout, also when the request that asked for it is dropped.
    pub(super) async fn make_undropped(
        &self,
        leased: CheckoutRecord,
    ) -> Result<CheckoutRecord, PaymentError> {
        let payments = self.clone();
        let making = async move { payments.make(leased).await };
        match tokio::spawn(making.in_current_span()).await {
            Ok(result) => result,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Err(LaneError::Unavailable.into()),
            },
        }
    }

    /// Makes a leased checkout; what fails for good is given back.
    async fn make(&self, leased: CheckoutRecord) -> Result<CheckoutRecord, PaymentError> {
        let error = match self.try_make(leased.clone()).await {
            Ok(made) => return Ok(made),
            Err(error) => error,
        };
        let left = if is_for_good(&error) {
            self.abandon(&leased).await
        } else {
            // It may have happened: the same key finds out.
            let now = self.clock.now();
            self.store.end_lease(&leased, now).await.map_err(Into::into)
        };
        if let Err(left) = left {
            tracing::warn!(
                error = &left as &dyn std::error::Error,
                "the checkout {} is left half-made; a job gives it back",
                leased.id
            );
        }
        Err(error)
    }

    /// Gives back what a leased checkout has taken, and removes it.
    pub(super) async fn abandon(&self, leased: &CheckoutRecord) -> Result<(), PaymentError> {
        self.give_back(leased).await?;
        self.store.remove_checkout(leased).await?;
        Ok(())
    }

    async fn try_make(&self, leased: CheckoutRecord) -> Result<CheckoutRecord, PaymentError> {
        if let Some(redemption) = redemption(&leased)
            && !self.store.redeem(redemption, leased.created_at).await?
        {
            return Err(refused(Refusal::PromoCodeInvalid));
        }
        let made = if leased.price.total_cents == 0 {
            self.give(leased).await?
        } else {
            self.ask_provider(leased).await?
        };
        if self.store.finish_checkout(&made).await? {
            Ok(made)
        } else {
            // Nobody takes over within a lease, so this one was paused for longer than that.
            Err(LaneError::Unavailable.into())
        }
    }

    /// Nothing is to be paid: credits it at once.
    async fn give(&self, leased: CheckoutRecord) -> Result<CheckoutRecord, PaymentError> {
        let reference = format!("checkout:{}", leased.id);
        let purchase = purchase(&leased.price, leased.user_id.clone(), &reference)?;
        let recipient = Recipient {
            tenant: leased.tenant,
            pool: leased.pool.clone(),
            actor: Actor {
                key: leased.actor,
                request: Some(Request {
                    key: leased.key.clone(),
                    fingerprint: leased.fingerprint,
                }),
            },
        };
        match self.credit(&recipient, purchase).await? {
            Reply::Entry { .. } | Reply::Purchased { .. } => Ok(CheckoutRecord {
                status: CheckoutStatus::Completed,
                next_look_at: None,
                ..leased
            }),
            Reply::Pool { .. } | Reply::Done => Err(LaneError::Failed.into()),
        }
    }

    async fn ask_provider(&self, leased: CheckoutRecord) -> Result<CheckoutRecord, PaymentError> {
        let api_key = self.api_key(leased.tenant).await?;
        let new = NewSession {
            checkout: leased.id,
            pool: &leased.pool,
            price: &leased.price,
            success_url: &leased.success_url,
            cancel_url: &leased.cancel_url,
            customer_email: leased.customer_email.as_deref(),
        };
        let session = self.provider.create_session(&api_key, new).await?;
        Ok(CheckoutRecord {
            status: CheckoutStatus::Pending,
            session_id: Some(session.id),
            url: Some(session.url),
            expires_at: session.expires_at,
            next_look_at: session.expires_at.checked_add_signed(LOOK_AFTER_END),
            ..leased
        })
    }
}

/// Whether nothing happened and nothing will: a retry is another checkout.
const fn is_for_good(error: &PaymentError) -> bool {
    match error {
        PaymentError::Lane(LaneError::Refused(_))
        | PaymentError::Provider(_)
        | PaymentError::NotConfigured(_)
        | PaymentError::Sealed { .. }
        | PaymentError::Signature
        | PaymentError::Event(_)
        | PaymentError::Resolved(_)
        | PaymentError::CreditsNeeded => true,
        // Of one that was not even begun, an earlier attempt may be on its way.
        PaymentError::Lane(LaneError::Busy | LaneError::Unavailable | LaneError::Failed)
        | PaymentError::Store(_) => false,
    }
}

/// The purchase of a checkout: honoured on the terms it was sold.
fn purchase(
    price: &Price,
    user_id: Option<Label>,
    reference: &str,
) -> Result<Purchase, PaymentError> {
    Ok(Purchase {
        id: PurchaseId::from(Uuid::now_v7()),
        credits: Ok(Credits::signed(price.credits)),
        bonus: price.bonus,
        as_sold: true,
        reference: reference.parse().map_err(|_| LaneError::Failed)?,
        paid_at: None,
        amount_cents: Some(price.total_cents),
        currency: Some(price.currency.clone()),
        user_id,
    })
}

fn refused(refusal: Refusal) -> PaymentError {
    LaneError::Refused(refusal).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_no_longer_happen_is_given_up() {
        assert!(is_for_good(&refused(Refusal::PromoCodeInvalid)));
        // An earlier attempt with the same key may still be on its way.
        for error in [LaneError::Busy, LaneError::Unavailable, LaneError::Failed] {
            assert!(!is_for_good(&error.clone().into()), "{error}");
        }
    }
}
