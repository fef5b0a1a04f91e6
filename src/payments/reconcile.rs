//! What the provider says was paid and refunded, held against what was credited and taken back.
//!
//! Nothing here is a rule of its own: what is missing is taken in and booked as the provider's
//! events would have it, so a repair beside a webhook that arrives at last credits once and takes
//! back once (invariant exactly-once).

use std::collections::HashSet;

use uuid::Uuid;

use super::event::Paid;
use super::provider::PaidSession;
use super::stripe::event::EventError;
use super::{PaymentError, Payments};
use crate::config::Secret;
use crate::lanes::LaneError;
use crate::ledger::{Credits, Label, PaymentState, PurchaseId, TenantId, Time};
use crate::store::{
    ExceptionStatus, NewEvent, PaymentChange, PaymentRecord, PurchaseFilter, PurchaseRecord,
};

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
    /// Whether to credit what is missing and take back what was refunded.
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
    /// Reconciles a tenant, unless it has no account with a provider; gives whether it has one.
    /// `looked_at` is told the number of payments so far.
    ///
    /// # Errors
    /// The provider or the database is away: what was found and repaired by then is in `found`.
    pub async fn reconcile(
        &self,
        tenant: TenantId,
        period: Period,
        found: &mut Reconciled,
        mut looked_at: impl FnMut(u64),
    ) -> Result<bool, PaymentError> {
        let settings = self.stripe_settings(tenant).await?;
        let Some(api_key) = settings.and_then(|settings| settings.api_key) else {
            return Ok(false);
        };
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
                if let Some(mut difference) = self.check_payment(tenant, &paid).await? {
                    let repaired = match period.repair {
                        true => self.repair(tenant, &paid, &mut difference).await,
                        false => Ok(()),
                    };
                    // It is told of even where its repair fails.
                    found.differences.push(difference);
                    repaired?;
                }
                seen.insert(paid.reference);
            }
            looked_at(found.payments);
            match page.next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        self.check_purchases((tenant, &api_key), period, &seen, found)
            .await?;
        Ok(true)
    }

    /// Holds a payment against its purchase.
    async fn check_payment(
        &self,
        tenant: TenantId,
        paid: &PaidSession,
    ) -> Result<Option<Difference>, PaymentError> {
        let filter = PurchaseFilter {
            reference: Some(paid.reference.clone()),
            ..PurchaseFilter::default()
        };
        if let Some(purchase) = self.store.purchases(tenant, &filter, 1).await?.pop() {
            return self.check_refund(tenant, paid, &purchase).await;
        }
        let is_given_back = paid.refunded_cents > 0 && paid.refunded_cents >= paid.amount_cents;
        let exception = self.store.exception_of_payment(tenant, &paid.reference);
        // Without the money nothing is owed, and what a person has dismissed is decided.
        if is_given_back || exception.await? == Some(ExceptionStatus::Dismissed) {
            return Ok(None);
        }
        Ok(Some(Difference {
            kind: DifferenceKind::PaidWithoutCredit,
            reference: paid.reference.clone(),
            pool: paid.pool.clone(),
            credits: credits_of(paid),
            amount_cents: Some(paid.amount_cents),
            currency: paid.currency.clone(),
            paid_at: paid.paid_at,
            repaired: false,
            note: None,
        }))
    }

    /// Whether the purchase follows what was refunded. Credits that were taken back say nothing
    /// about it: a dispute takes the same ones.
    async fn check_refund(
        &self,
        tenant: TenantId,
        paid: &PaidSession,
        purchase: &PurchaseRecord,
    ) -> Result<Option<Difference>, PaymentError> {
        if paid.refunded_cents == 0 {
            return Ok(None);
        }
        let known = self.store.find_payment(tenant, &paid.reference).await?;
        if known.as_ref().is_some_and(|known| follows(known, paid)) {
            return Ok(None);
        }
        let settled = known.filter(|known| known.state.version <= known.settled_version);
        let settled = settled.map_or(0, |known| known.state.refunded);
        let pool = self.store.find_pool(tenant, &purchase.pool, paid.paid_at);
        let missing = pool.await?.map(|stored| {
            let lost = |refunded| {
                let payment = PaymentState {
                    charged: paid.amount_cents,
                    refunded,
                    ..PaymentState::default()
                };
                payment.lost(purchase.credits + purchase.bonus, stored.pool.denomination)
            };
            lost(paid.refunded_cents).saturating_sub(lost(settled))
        });
        Ok(Some(Difference {
            kind: DifferenceKind::RefundedWithoutClawback,
            credits: missing,
            amount_cents: Some(paid.refunded_cents),
            ..difference_of(purchase)
        }))
    }

    /// Does what the provider's events would have done about a payment, had they come.
    async fn repair(
        &self,
        tenant: TenantId,
        paid: &PaidSession,
        difference: &mut Difference,
    ) -> Result<(), PaymentError> {
        // First what was refunded: crediting settles it, so no refunded credits can be spent.
        self.take_state(tenant, paid).await?;
        let done = match difference.kind {
            DifferenceKind::PaidWithoutCredit => self.honour(tenant, &Paid::from(paid)).await,
            DifferenceKind::RefundedWithoutClawback => {
                let settled = self.settle(tenant, &paid.reference).await;
                settled.map(|()| None)
            }
            // No payment is known of it.
            DifferenceKind::CreditedWithoutPayment => return Ok(()),
        };
        let refused = match done {
            Err(PaymentError::Lane(LaneError::Refused(refusal))) => Some(refusal.code()),
            done => done?,
        };
        difference.note = match refused {
            Some(reason) => Some(reason.to_owned()),
            None => {
                let known = self.store.find_payment(tenant, &paid.reference).await?;
                difference.repaired = known.is_some_and(|known| follows(&known, paid));
                let still = "the purchase does not follow its payment yet";
                (!difference.repaired).then(|| still.to_owned())
            }
        };
        Ok(())
    }

    /// Keeps what the provider says of a payment by now, as an event of its own would.
    async fn take_state(&self, tenant: TenantId, paid: &PaidSession) -> Result<(), PaymentError> {
        let (reference, refunded) = (paid.reference.clone(), paid.refunded_cents);
        let id = format!("reconcile:{reference}:{refunded}");
        let amount = Some(paid.amount_cents).filter(|amount| *amount >= 0);
        let event = NewEvent {
            tenant,
            id: id.parse().map_err(|_| EventError::Field("reference"))?,
            reference,
            payload: None,
            change: PaymentChange {
                // Only a charge can be refunded, and then the amount is the charge's.
                charge_amount: amount.filter(|_| refunded > 0),
                session_amount: amount,
                refunded: Some(refunded),
                ..PaymentChange::default()
            },
        };
        self.store.take_event(event, self.clock.now()).await?;
        Ok(())
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

/// Whether there is a purchase, and it knows of all that was refunded.
fn follows(known: &PaymentRecord, paid: &PaidSession) -> bool {
    let is_settled = known.purchase.is_some() && known.state.version <= known.settled_version;
    is_settled && known.state.refunded >= paid.refunded_cents
}

/// The credits that a payment says it is for, if they are an amount.
fn credits_of(paid: &PaidSession) -> Option<Credits> {
    let order = Paid::from(paid).order().ok()?;
    order.credits.and_then(Credits::requested).ok()
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
