//! Facts of an entry that only its own kind has.

use serde::{Deserialize, Serialize};

use super::{
    Bucket, Captured, Credits, HoldFacts, Mode, PriceSource, RefundFacts, Requested, Terms, Time,
};

/// Facts of an entry that only its own kind has. Stored as JSON text, absent ones left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Details {
    /// Of a debit: its mode, when not strict.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// Of a debit: the credits named before rounding.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requested_credits: Option<Credits>,
    /// Of a debit: where its price came from, when it was a fixed one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price: Option<PriceSource>,
    /// Of everything that happens to a hold: the hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold: Option<HoldFacts>,
    /// Of a capture: what came out of the hold. Absent when it came too late for that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub captured: Option<Captured>,
    /// Of a refund: what it undid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refund: Option<RefundFacts>,
    /// Of the first refund of a run: how many refunds of the run follow one another from it on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_refunds: Option<i64>,
    /// Of an adjustment: the bucket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bucket: Option<Bucket>,
    /// Of a purchase: what of its credits came on top of what was bought.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bonus_credits: Option<Credits>,
    /// Of a purchase: to when it alone would keep the add-on pool.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub valid_until: Option<Time>,
    /// Of a purchase: when it was paid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paid_at: Option<Time>,
    /// Of a purchase: what was paid, in the currency's smallest unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub amount_cents: Option<i64>,
    /// Of a purchase: the currency.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
    /// Of what was spent in another system: in how many debits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub imported_debits: Option<i64>,
    /// Of a payment that was credited in another system: what was credited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub imported_credits: Option<Credits>,
    /// Of a change of terms: the terms in force after it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub terms: Option<Terms>,
    /// Of a change of terms: the terms that wait for the renewal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pending: Option<Terms>,
    /// Of a PUT: what was requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requested: Option<Requested>,
}

impl Details {
    /// The JSON text, or `None` when there is nothing to say.
    #[must_use]
    pub fn to_text(&self) -> Option<Box<str>> {
        let text = serde_json::to_string(self).expect("details have a JSON text");
        (text != "{}").then(|| text.into())
    }
}
