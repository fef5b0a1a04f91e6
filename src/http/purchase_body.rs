//! Purchases in JSON: as the answer to one, and in lists.

use serde::Serialize;
use utoipa::ToSchema;

use super::answer::Number;
use super::balance::BalanceBody;
use super::time::Stamp;
use crate::ledger::{Balance, Credits, Label, PoolName, PurchaseId};
use crate::store::PurchaseRecord;

/// A purchase.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Purchase)]
struct PurchaseBody<'a> {
    /// Its id.
    #[schema(value_type = uuid::Uuid)]
    id: PurchaseId,
    /// The pool it was credited to.
    #[schema(value_type = String, example = "workspace:6f1c")]
    pool: &'a PoolName,
    /// What was bought.
    #[schema(value_type = Number)]
    credits: Credits,
    /// What came on top of it.
    #[schema(value_type = Number)]
    bonus_credits: Credits,
    /// What became of its payment: `credited`, `partially_refunded`, `refunded` or `disputed`.
    #[schema(example = "credited")]
    status: &'static str,
    /// The payment's own name.
    #[schema(value_type = String)]
    payment_reference: &'a Label,
    /// When it was paid.
    paid_at: Stamp,
    /// When the add-on pool expires, as this purchase left it.
    expires_at: Stamp,
}

/// A purchase as it was booked, with the balance after it.
#[derive(Debug, Serialize, ToSchema)]
pub struct BookedPurchase<'a> {
    #[serde(flatten)]
    purchase: PurchaseBody<'a>,
    /// The balance after it; of a payment credited before, the balance now.
    balance: BalanceBody<'a>,
}

/// A purchase in a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct ListedPurchase<'a> {
    #[serde(flatten)]
    purchase: PurchaseBody<'a>,
    /// What was paid, in the currency's smallest unit.
    amount_cents: Option<i64>,
    /// The currency.
    currency: Option<&'a str>,
    /// Who bought.
    #[schema(value_type = Option<String>)]
    user_id: Option<&'a Label>,
    /// What was taken back after a refund or dispute.
    #[schema(value_type = Number)]
    clawed_back: Credits,
    /// What is still to be taken back.
    #[schema(value_type = Number)]
    uncollected: Credits,
    /// When it was credited.
    created_at: Stamp,
}

impl<'a> PurchaseBody<'a> {
    fn of(record: &'a PurchaseRecord) -> Self {
        Self {
            id: record.id,
            pool: &record.pool,
            credits: record.credits,
            bonus_credits: record.bonus,
            status: record.status.as_str(),
            payment_reference: &record.reference,
            paid_at: Stamp(record.paid_at),
            expires_at: Stamp(record.expires_at),
        }
    }
}

impl<'a> BookedPurchase<'a> {
    /// A purchase and a balance of its pool.
    #[must_use]
    pub fn new(record: &'a PurchaseRecord, balance: &Balance) -> Self {
        let balance = BalanceBody::new(&record.pool, balance);
        Self {
            purchase: PurchaseBody::of(record),
            balance,
        }
    }
}

impl<'a> ListedPurchase<'a> {
    /// A purchase as it is listed.
    #[must_use]
    pub fn new(record: &'a PurchaseRecord) -> Self {
        Self {
            purchase: PurchaseBody::of(record),
            amount_cents: record.amount_cents,
            currency: record.currency.as_deref(),
            user_id: record.user_id.as_ref(),
            clawed_back: record.clawed_back,
            uncollected: record.uncollected,
            created_at: Stamp(record.created_at),
        }
    }
}
