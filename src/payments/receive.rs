//! What is done about a provider's events: credit what was paid, take back what was lost, keep for
//! people what cannot be credited. Nothing that is ours is dropped.
//!
//! An event is first taken in, with what it says of its payment, in one short transaction; then it
//! is done; only then it is done with. Whatever fails in between leaves it to be tried again, by
//! the provider and by the retry job, and doing it twice changes nothing (invariant exactly-once).

use std::time::Duration;

use uuid::Uuid;

use super::event::{Event, Loss, LossKind, Order, Paid, What};
use super::stripe::event::EventError;
use super::stripe::{event, signature};
use super::{Credited, PaymentError, Payments, Recipient};
use crate::lanes::LaneError;
use crate::ledger::{Actor, Credits, Label, PoolName, Purchase, PurchaseId, TenantId, Time};
use crate::store::{
    DisputeChange, EventStatus, ExceptionStatus, NewEvent, NewException, PaymentChange,
    PendingEvent,
};
use crate::telemetry::{PAYMENT_EXCEPTIONS, PAYMENTS_IGNORED};

/// An answer must come within two seconds; an event that takes longer is tried again.
const PATIENCE: Duration = Duration::from_millis(1_700);

impl Payments {
    /// Takes a delivery of Stripe's webhook. Once this is done, what the event says is booked.
    ///
    /// # Errors
    /// The signature is not good, then nothing is looked at; the event cannot be read; or the
    /// database or a lane is away, then the event must come again or is tried again.
    pub async fn receive(
        &self,
        tenant: TenantId,
        signed: Option<&str>,
        body: &[u8],
    ) -> Result<(), PaymentError> {
        let signed = signed.ok_or(PaymentError::Signature)?;
        let receiving = async {
            let settings = self.stripe_settings(tenant).await?;
            let secrets = settings.map_or_else(Vec::new, |settings| settings.webhook_secrets);
            let now = self.clock.now().timestamp();
            if !signature::is_good(signed, body, &secrets, now) {
                return Err(PaymentError::Signature);
            }
            self.handle(tenant, body).await
        };
        match tokio::time::timeout(PATIENCE, receiving).await {
            Ok(result) => result,
            Err(_) => Err(LaneError::Unavailable.into()),
        }
    }

    /// Does an event that was taken in and could not be done then.
    ///
    /// # Errors
    /// As [`Self::receive`].
    pub async fn redo(&self, event: &PendingEvent) -> Result<(), PaymentError> {
        self.handle(event.tenant, event.payload.as_bytes()).await
    }

    async fn handle(&self, tenant: TenantId, body: &[u8]) -> Result<(), PaymentError> {
        let event = event::read(body)?;
        match &event.what {
            What::Nothing => Ok(()),
            What::NotOurs => {
                metrics::counter!(PAYMENTS_IGNORED).increment(1);
                Ok(())
            }
            What::Paid(paid) => self.paid(tenant, &event, paid, body).await,
            What::Lost(loss) => self.lost(tenant, &event, loss).await,
            What::Expired(checkout) => match checkout.as_deref().and_then(uuid) {
                Some(checkout) => self.checkout_expired(tenant, checkout).await,
                None => Ok(()),
            },
        }
    }

    async fn paid(
        &self,
        tenant: TenantId,
        event: &Event,
        paid: &Paid,
        body: &[u8],
    ) -> Result<(), PaymentError> {
        let new = NewEvent {
            tenant,
            id: event.id.clone(),
            reference: paid.reference.clone(),
            payload: Some(String::from_utf8_lossy(body).into_owned()),
            change: PaymentChange {
                session_amount: paid.amount,
                ..PaymentChange::default()
            },
        };
        if self.store.take_event(new, self.clock.now()).await? {
            return Ok(());
        }
        let status = match self.honour(tenant, paid).await? {
            None => EventStatus::Done,
            Some(reason) => {
                self.keep_for_people(tenant, event, paid, reason).await?;
                EventStatus::Excepted
            }
        };
        self.store.finish_event(tenant, &event.id, status).await?;
        Ok(())
    }

    /// Credits a payment and settles what waited for it; or says why it cannot be credited.
    pub(super) async fn honour(
        &self,
        tenant: TenantId,
        paid: &Paid,
    ) -> Result<Option<&'static str>, PaymentError> {
        let found = self.store.exception_of_payment(tenant, &paid.reference);
        if found.await? == Some(ExceptionStatus::Dismissed) {
            // Somebody has decided that nothing is to be done about it.
            return Ok(None);
        }
        let order = match paid.order() {
            Ok(order) => order,
            Err(unreadable) => return Ok(Some(unreadable.code())),
        };
        let purchase = self.purchase(tenant, paid, &order).await?;
        let recipient = Recipient {
            tenant,
            pool: order.pool,
            actor: Actor::default(),
        };
        let (credited, as_sold) = (Credited::of(&purchase), purchase.as_sold);
        match self.book(&recipient, purchase).await {
            Ok(_) => {}
            Err(PaymentError::Lane(LaneError::Refused(refusal))) => {
                return Ok(Some(refusal.code()));
            }
            Err(error) => return Err(error),
        }
        self.settle_credited(&recipient, &credited, None).await?;
        // Only what was sold just so is paid by it.
        let checkout = paid.checkout.as_deref().and_then(uuid);
        if let Some(checkout) = checkout.filter(|_| as_sold) {
            self.checkout_paid(tenant, checkout).await?;
        }
        Ok(None)
    }

    /// The purchase that a payment is to be credited as: on the terms of our checkout, if one of
    /// ours has sold just this.
    async fn purchase(
        &self,
        tenant: TenantId,
        paid: &Paid,
        order: &Order,
    ) -> Result<Purchase, PaymentError> {
        let credits = order.credits.and_then(Credits::requested).ok();
        let checkout = paid.checkout.as_deref().and_then(uuid);
        let sold = match checkout.zip(credits) {
            Some((checkout, credits)) => self.sold(tenant, checkout, &order.pool, credits).await?,
            None => None,
        };
        let as_sold = sold.is_some();
        let (bonus, buyer) = sold.map_or((Credits::ZERO, None), |sold| (sold.bonus, sold.user_id));
        Ok(Purchase {
            id: PurchaseId::from(Uuid::now_v7()),
            credits: order.credits,
            bonus,
            as_sold,
            reference: paid.reference.clone(),
            paid_at: Some(self.paid_at(tenant, &order.pool, paid.paid_at).await?),
            amount_cents: paid.amount,
            currency: paid.currency.clone(),
            user_id: buyer.or_else(|| paid.user_id.clone()),
        })
    }

    /// When a payment was made, on its pool's own clock: never after now.
    pub(super) async fn paid_at(
        &self,
        tenant: TenantId,
        pool: &PoolName,
        paid_at: Time,
    ) -> Result<Time, PaymentError> {
        let now = self.clock.now();
        let pool = self.store.find_pool(tenant, pool, now).await?;
        let now = pool.and_then(|pool| pool.clock_now).unwrap_or(now);
        Ok(paid_at.min(now))
    }

    async fn keep_for_people(
        &self,
        tenant: TenantId,
        event: &Event,
        paid: &Paid,
        reason: &'static str,
    ) -> Result<(), PaymentError> {
        let exception = NewException {
            id: Uuid::now_v7(),
            reference: paid.reference.clone(),
            reason,
            pool: paid.pool.clone(),
            credits: paid.credits.clone(),
            checkout: paid.checkout.clone(),
            user_id: paid.user_id.clone(),
            amount_cents: paid.amount,
            currency: paid.currency.clone(),
            event: event.id.clone(),
            paid_at: paid.paid_at,
        };
        let now = self.clock.now();
        if self.store.insert_exception(tenant, exception, now).await? {
            metrics::counter!(PAYMENT_EXCEPTIONS, "reason" => reason).increment(1);
            tracing::warn!(reason, "a payment could not be credited: see its exception");
        }
        Ok(())
    }

    async fn lost(&self, tenant: TenantId, event: &Event, loss: &Loss) -> Result<(), PaymentError> {
        let reference = self.reference_of(tenant, loss).await?;
        let mut change = PaymentChange {
            charge_id: loss.charge.clone(),
            charge_amount: loss.charged,
            ..PaymentChange::default()
        };
        match &loss.kind {
            LossKind::Refunded(amount) => change.refunded = Some(*amount),
            LossKind::Disputed { id, amount, status } => {
                change.dispute = Some(DisputeChange {
                    id: id.clone(),
                    amount: *amount,
                    status: status.as_str(),
                });
            }
        }
        let new = NewEvent {
            tenant,
            id: event.id.clone(),
            reference: reference.clone(),
            // What it says is all in the payment's state, which waits for its purchase.
            payload: None,
            change,
        };
        self.store.take_event(new, self.clock.now()).await?;
        self.settle(tenant, &reference).await
    }

    /// The payment that an event is about. One that is only known by its charge goes by that name.
    async fn reference_of(&self, tenant: TenantId, loss: &Loss) -> Result<Label, PaymentError> {
        if let Some(reference) = &loss.reference {
            return Ok(reference.clone());
        }
        let charge = loss.charge.as_ref().ok_or(EventError::Field("charge"))?;
        let known = self.store.payment_of_charge(tenant, charge).await?;
        Ok(known.unwrap_or_else(|| charge.clone()))
    }
}

fn uuid(text: &str) -> Option<Uuid> {
    text.parse().ok()
}
