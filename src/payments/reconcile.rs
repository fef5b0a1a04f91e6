//! What the provider says was paid and refunded, held against what was credited and taken back.
//!
//! Nothing here is a rule of its own: what is missing is booked the way any payment is, so a
//! repair beside a webhook that arrives at last credits once (invariant exactly-once).

use std::collections::HashSet;

use uuid::Uuid;

use super::provider::PaidSession;
use super::{PaymentError, Payments, Recipient, Sold};
use crate::config::Secret;
use crate::lanes::LaneError;
use crate::ledger::{
    Actor, Credits, Label, PaymentState, PoolName, Purchase, PurchaseId, Refusal, SignedCredits,
    TenantId, Time,
};
use crate::store::{PurchaseFilter, PurchaseRecord};

/// How many purchases are read at once.
const PAGE: i64 = 200;

/// In what the provider and the books differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DifferenceKind {
    /// The provider has the money, the pool no credits.
    PaidWithoutCredit,
    /// The pool has credits, the provider no money.
    CreditedWithoutPayment,
    /// The customer has money back, and kept the credits.
    RefundedWithoutClawback,
}

/// A payment about which the provider and the books differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// In what.
    pub kind: DifferenceKind,
    /// The payment's own name.
    pub reference: Label,
    /// The pool, as the payment or the purchase says.
    pub pool: Option<String>,
    /// The credits it is about.
    pub credits: Option<Credits>,
    /// The money it is about, in the currency's smallest unit.
    pub amount_cents: Option<i64>,
    /// The currency.
    pub currency: Option<String>,
    /// When it was paid.
    pub paid_at: Time,
    /// Whether it is no difference any more.
    pub repaired: bool,
    /// Why it could not be repaired.
    pub note: Option<String>,
}

/// What was found about a tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reconciled {
    /// How many payments the provider has.
    pub payments: u64,
    /// How many purchases were booked in that time.
    pub purchases: u64,
    /// Where they differ.
    pub differences: Vec<Difference>,
}

/// What to reconcile.
#[derive(Clone, Copy, Debug)]
pub struct Period {
    /// Sessions made, and purchases booked, from then on.
    pub from: Time,
    /// And before then.
    pub to: Time,
    /// Whether to book what is missing.
    pub repair: bool,
}

impl DifferenceKind {
    /// The word in output.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PaidWithoutCredit => "paid_without_credit",
            Self::CreditedWithoutPayment => "credited_without_payment",
            Self::RefundedWithoutClawback => "refunded_without_clawback",
        }
    }
}

impl Payments {
    /// Reconciles a tenant; `None` when it has no account with a provider. `looked_at` is told the
    /// number of payments so far.
    ///
    /// # Errors
    /// The provider or the database is away.
    pub async fn reconcile(
        &self,
        tenant: TenantId,
        period: Period,
        mut looked_at: impl FnMut(u64),
    ) -> Result<Option<Reconciled>, PaymentError> {
        let settings = self.stripe_settings(tenant).await?;
        let Some(api_key) = settings.and_then(|settings| settings.api_key) else {
            return Ok(None);
        };
        let mut found = Reconciled::default();
        let mut seen = HashSet::new();
        let mut after = None;
        loop {
            let within = (period.from, period.to);
            let page = self
                .provider
                .paid_sessions(&api_key, within, after.as_deref());
            let page = page.await?;
            for paid in page.paid {
                found.payments += 1;
                let difference = self.check_payment(tenant, &paid, period.repair).await?;
                found.differences.extend(difference);
                seen.insert(paid.reference);
            }
            looked_at(found.payments);
            match page.next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        self.check_purchases((tenant, &api_key), period, &seen, &mut found)
            .await?;
        Ok(Some(found))
    }

    /// Holds a payment against its purchase.
    async fn check_payment(
        &self,
        tenant: TenantId,
        paid: &PaidSession,
        repair: bool,
    ) -> Result<Option<Difference>, PaymentError> {
        let filter = PurchaseFilter {
            reference: Some(paid.reference.clone()),
            ..PurchaseFilter::default()
        };
        if let Some(purchase) = self.store.purchases(tenant, &filter, 1).await?.pop() {
            return self.check_refund(tenant, paid, &purchase).await;
        }
        let difference = Difference {
            kind: DifferenceKind::PaidWithoutCredit,
            reference: paid.reference.clone(),
            pool: paid.pool.clone(),
            credits: credits_of(paid),
            amount_cents: Some(paid.amount_cents),
            currency: paid.currency.clone(),
            paid_at: paid.paid_at,
            repaired: false,
            note: None,
        };
        if !repair {
            return Ok(Some(difference));
        }
        let note = match self.book_missing(tenant, paid).await {
            Ok(()) => None,
            Err(PaymentError::Lane(LaneError::Refused(refusal))) => Some(refusal.to_string()),
            Err(error) => return Err(error),
        };
        Ok(Some(Difference {
            repaired: note.is_none(),
            note,
            ..difference
        }))
    }

    /// Books a payment that was never credited, as the event would have done.
    async fn book_missing(&self, tenant: TenantId, paid: &PaidSession) -> Result<(), PaymentError> {
        let pool = paid.pool.as_ref().and_then(|pool| pool.parse().ok());
        let pool: PoolName = pool.ok_or(LaneError::Refused(Refusal::PoolNotFound))?;
        let bad_credits = || LaneError::Refused(Refusal::invalid("credits", "are not an amount"));
        let credits = credits_of(paid).ok_or_else(bad_credits)?;
        let sold = match paid.checkout {
            Some(checkout) => self.sold(tenant, checkout, &pool, credits).await?,
            None => None,
        };
        let as_sold = sold.is_some();
        let Sold { bonus, user_id } = sold.unwrap_or(Sold {
            bonus: Credits::ZERO,
            user_id: None,
        });
        let stored = self.store.find_pool(tenant, &pool, paid.paid_at).await?;
        // A pool on a test clock lives in its own time.
        let pools_now = stored.and_then(|stored| stored.clock_now);
        let purchase = Purchase {
            id: PurchaseId::from(Uuid::now_v7()),
            credits: Ok(credits.signed()),
            bonus,
            as_sold,
            reference: paid.reference.clone(),
            paid_at: Some(pools_now.map_or(paid.paid_at, |now| paid.paid_at.min(now))),
            amount_cents: Some(paid.amount_cents),
            currency: paid.currency.clone(),
            user_id,
        };
        let recipient = Recipient {
            tenant,
            pool,
            actor: Actor::default(),
        };
        self.credit(&recipient, purchase).await?;
        if let Some(checkout) = paid.checkout.filter(|_| as_sold) {
            self.checkout_paid(tenant, checkout).await?;
        }
        Ok(())
    }

    /// Whether what was refunded was taken back, or is still to be.
    async fn check_refund(
        &self,
        tenant: TenantId,
        paid: &PaidSession,
        purchase: &PurchaseRecord,
    ) -> Result<Option<Difference>, PaymentError> {
        if paid.refunded_cents == 0 {
            return Ok(None);
        }
        let pool = self
            .store
            .find_pool(tenant, &purchase.pool, paid.paid_at)
            .await?;
        let Some(stored) = pool else {
            return Ok(None);
        };
        let payment = PaymentState {
            charged: paid.amount_cents,
            refunded: paid.refunded_cents,
            ..PaymentState::default()
        };
        let credits = purchase.credits + purchase.bonus;
        let lost = payment.lost(credits, stored.pool.denomination);
        let taken = purchase.clawed_back + purchase.uncollected;
        let missing = lost.saturating_sub(taken);
        Ok((!missing.is_zero()).then(|| Difference {
            kind: DifferenceKind::RefundedWithoutClawback,
            credits: Some(missing),
            amount_cents: Some(paid.refunded_cents),
            note: Some("resend the provider's event charge.refunded".to_owned()),
            ..difference_of(purchase)
        }))
    }

    /// Asks the provider about each purchase that names a payment of it which was not listed.
    async fn check_purchases(
        &self,
        (tenant, api_key): (TenantId, &Secret),
        period: Period,
        seen: &HashSet<Label>,
        found: &mut Reconciled,
    ) -> Result<(), PaymentError> {
        let mut before = (period.to, PurchaseId::from(Uuid::nil()));
        loop {
            let filter = PurchaseFilter {
                before: Some(before),
                ..PurchaseFilter::default()
            };
            let page = self.store.purchases(tenant, &filter, PAGE).await?;
            let Some(last) = page.last() else {
                return Ok(());
            };
            before = (last.created_at, last.id);
            for purchase in &page {
                if purchase.created_at < period.from {
                    return Ok(());
                }
                found.purchases += 1;
                let reference = purchase.reference.as_str();
                let is_paid = seen.contains(&purchase.reference)
                    // A name that is none of the provider's is of another channel.
                    || self.provider.is_paid(api_key, reference).await? != Some(false);
                if !is_paid {
                    found.differences.push(difference_of(purchase));
                }
            }
        }
    }
}

/// The credits that a payment says it is for, if they are an amount.
fn credits_of(paid: &PaidSession) -> Option<Credits> {
    let credits = SignedCredits::parse(paid.credits.as_ref()?).ok()?;
    Credits::requested(credits).ok()
}

fn difference_of(purchase: &PurchaseRecord) -> Difference {
    Difference {
        kind: DifferenceKind::CreditedWithoutPayment,
        reference: purchase.reference.clone(),
        pool: Some(purchase.pool.to_string()),
        credits: Some(purchase.credits + purchase.bonus),
        amount_cents: purchase.amount_cents,
        currency: purchase.currency.clone(),
        paid_at: purchase.paid_at,
        repaired: false,
        note: None,
    }
}
