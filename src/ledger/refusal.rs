//! Every business refusal, one closed enum, each with a stable code.
//!
//! What a caller may do about it is in the variant. Status codes are not: they are HTTP's.

use super::{Credits, Denomination, HoldStatus, Label, PlanCode, SignedCredits, Time};

/// Why a command was refused. A refusal books nothing and uses up no key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A strict debit of more than the pool can give.
    #[error("the pool is short of {shortfall} credits")]
    Short {
        /// Nothing at all is available.
        empty: bool,
        /// What the debit needs.
        required: Credits,
        /// What the pool can give.
        available: SignedCredits,
        /// What is missing.
        shortfall: Credits,
        /// When the next cycle starts.
        renews_at: Time,
        /// Whether add-on credits could be bought.
        plan_allows_addons: bool,
    },
    /// Other credits than the fixed price.
    #[error("the operation costs {price} credits on this pool's plan")]
    PriceIsFixed {
        /// The price.
        price: Credits,
    },
    /// An operation that is not on the rate card.
    #[error("there is no operation {operation}")]
    UnknownOperation {
        /// What was named.
        operation: Label,
    },
    /// Credits finer than the plan's denomination.
    #[error("credits must be a multiple of {}", denomination.step())]
    NotAMultiple {
        /// The smallest step.
        denomination: Denomination,
    },
    /// More than the tenant lets one debit take.
    #[error("one debit takes at most {maximum} credits")]
    DebitTooLarge {
        /// The setting.
        maximum: Credits,
    },
    /// The pool has no such hold or debit.
    #[error("there is no such {what}")]
    NotFound {
        /// What was named.
        what: &'static str,
    },
    /// The hold was captured, released or has expired.
    #[error("the hold is {}", status.as_str())]
    HoldNotOpen {
        /// What became of it.
        status: HoldStatus,
    },
    /// As many holds are open as may be.
    #[error("{maximum} holds are open, and there may be no more")]
    TooManyHolds {
        /// The most.
        maximum: u32,
    },
    /// Less is left of the debit than is to be given back.
    #[error("{left} credits are left to be refunded")]
    RefundExceedsDebit {
        /// What is not yet given back.
        left: Credits,
    },
    /// A run of more debits than are refunded at once.
    #[error("the run has more than {maximum} debits; refund them one by one")]
    TooManyDebits {
        /// The most.
        maximum: usize,
    },
    /// An account would pass its limit.
    #[error("no account may pass {} credits", Credits::MAX_ACCOUNT)]
    BalanceLimit,
    /// The pool takes no writes any more.
    #[error("the pool is closed")]
    PoolClosed,
    /// There is no such pool.
    #[error("there is no such pool")]
    PoolNotFound,
    /// The plan sells no add-on credits.
    #[error("the plan {plan} has no add-on credits")]
    AddonsNotAllowed {
        /// The plan in force.
        plan: PlanCode,
    },
    /// Not a quantity that is sold.
    #[error("credits are sold from {minimum} on, in multiples of {step}")]
    InvalidQuantity {
        /// The least.
        minimum: Credits,
        /// The step.
        step: Credits,
    },
    /// A payment so late that what it bought is over.
    #[error("the validity of this payment is over")]
    ValidityOver,
    /// The payment was credited to another pool or with other credits.
    #[error("this payment was recorded with another pool or other credits")]
    PaymentReferenceReused,
    /// Unknown, expired, used up, or used by this pool already: which is nobody's business.
    #[error("this promo code is not good here")]
    PromoCodeInvalid,
    /// A payment of less than the provider takes.
    #[error("{total_cents} is less than the {minimum_cents} that a payment must be")]
    AmountTooSmall {
        /// What would be paid, in the currency's smallest unit.
        total_cents: i64,
        /// The least.
        minimum_cents: i64,
    },
    /// An adjustment takes more than there is.
    #[error("the bucket has {available} credits")]
    AdjustmentBelowZero {
        /// What the bucket has.
        available: Credits,
    },
    /// The anchor is given once.
    #[error("the billing anchor was given when the pool was made and cannot change")]
    BillingAnchorFixed,
    /// The clock is given once.
    #[error("the test clock was given when the pool was made and cannot change")]
    TestClockFixed,
    /// A signed licence is in force, and it alone says plan, builders, allowance and licence.
    #[error("a signed licence says plan, builders, monthly allowance and licence of this pool")]
    Licensed,
    /// A licence key of another customer, or for a workspace.
    #[error("the licence key was issued for another instance")]
    LicenseOfAnother,
    /// A licence key before its start.
    #[error("the licence has not started")]
    LicenseNotStarted,
    /// A licence key after its end.
    #[error("the licence has expired")]
    LicenseExpired,
    /// A licence key that was issued before the one in force.
    #[error("a licence that was issued later is in force")]
    LicenseOutdated,
    /// A trial on a pool that has had a paid licence.
    #[error("a trial does not follow a paid licence")]
    LicenseTrialAfterPaid,
    /// Test clocks are for sandbox tenants.
    #[error("test clocks are for sandbox tenants")]
    SandboxOnly,
    /// The key was used for another request.
    #[error("this idempotency key was used for another request")]
    IdempotencyKeyReused,
    /// Fields that break a rule which needs the pool or the catalogue to be checked.
    #[error("{}", violations.iter().map(|(field, message)| format!("{field} {message}"))
        .collect::<Vec<_>>().join("; "))]
    Invalid {
        /// Field and what is wrong with it.
        violations: Vec<(&'static str, String)>,
    },
}

impl Refusal {
    /// One field that breaks a rule.
    #[must_use]
    pub fn invalid(field: &'static str, message: &str) -> Self {
        Self::Invalid {
            violations: vec![(field, message.to_owned())],
        }
    }

    /// The stable code that clients act on.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Short { empty: true, .. } => "pool_empty",
            Self::Short { empty: false, .. } => "insufficient_credits",
            Self::PriceIsFixed { .. } => "price_is_fixed",
            Self::UnknownOperation { .. } => "unknown_operation",
            Self::NotAMultiple { .. } => "not_a_multiple",
            Self::DebitTooLarge { .. } => "debit_too_large",
            Self::NotFound { .. } => "not_found",
            Self::HoldNotOpen { .. } => "hold_not_open",
            Self::TooManyHolds { .. } => "too_many_holds",
            Self::RefundExceedsDebit { .. } => "refund_exceeds_debit",
            Self::TooManyDebits { .. } => "too_many_debits",
            Self::BalanceLimit => "balance_limit",
            Self::PoolClosed => "pool_closed",
            Self::PoolNotFound => "pool_not_found",
            Self::AddonsNotAllowed { .. } => "addons_not_allowed",
            Self::InvalidQuantity { .. } => "invalid_quantity",
            Self::ValidityOver => "validity_over",
            Self::PaymentReferenceReused => "payment_reference_reused",
            Self::PromoCodeInvalid => "promo_code_invalid",
            Self::AmountTooSmall { .. } => "amount_too_small",
            Self::AdjustmentBelowZero { .. } => "adjustment_below_zero",
            Self::BillingAnchorFixed => "billing_anchor_fixed",
            Self::TestClockFixed => "test_clock_fixed",
            Self::Licensed => "licensed",
            Self::LicenseOfAnother => "license_of_another",
            Self::LicenseNotStarted => "license_not_started",
            Self::LicenseExpired => "license_expired",
            Self::LicenseOutdated => "license_outdated",
            Self::LicenseTrialAfterPaid => "license_trial_after_paid",
            Self::SandboxOnly => "sandbox_only",
            Self::IdempotencyKeyReused => "idempotency_key_reused",
            Self::Invalid { .. } => "validation_failed",
        }
    }
}

#[cfg(test)]
mod tests;
