//! Every business refusal, one closed enum, each with a stable code.
//!
//! What a caller may do about it is in the variant. Status codes are not: they are HTTP's.

use super::{Credits, Denomination, Label, PlanCode, SignedCredits, Time};

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
            Self::BalanceLimit => "balance_limit",
            Self::PoolClosed => "pool_closed",
            Self::PoolNotFound => "pool_not_found",
            Self::AddonsNotAllowed { .. } => "addons_not_allowed",
            Self::InvalidQuantity { .. } => "invalid_quantity",
            Self::ValidityOver => "validity_over",
            Self::PaymentReferenceReused => "payment_reference_reused",
            Self::AdjustmentBelowZero { .. } => "adjustment_below_zero",
            Self::BillingAnchorFixed => "billing_anchor_fixed",
            Self::TestClockFixed => "test_clock_fixed",
            Self::SandboxOnly => "sandbox_only",
            Self::IdempotencyKeyReused => "idempotency_key_reused",
            Self::Invalid { .. } => "validation_failed",
        }
    }
}
