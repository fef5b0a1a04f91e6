//! Every outcome with its code and its message: one row each.

use super::*;

/// A refusal, its code and its message.
type Row = (Refusal, &'static str, &'static str);

/// One row an outcome. Adding a variant without a row breaks [`place`], and so this.
fn rows() -> Vec<Row> {
    let themes = [
        rows_of_debits(),
        rows_of_pools(),
        rows_of_requests(),
        rows_of_holds(),
        rows_of_checkouts(),
        rows_of_licenses(),
    ];
    themes.into_iter().flatten().collect()
}

fn rows_of_debits() -> Vec<Row> {
    let two = Credits::whole(2);
    let short = |empty| Refusal::Short {
        empty,
        required: two,
        available: SignedCredits::from_units(-50),
        shortfall: Credits::from_units(250).expect("not negative"),
        renews_at: "2026-02-28T10:00:00Z".parse().expect("a time"),
        plan_allows_addons: true,
    };
    let operation = "x".parse().expect("a good label");
    let denomination = Denomination::Tenth;
    vec![
        (
            short(true),
            "pool_empty",
            "the pool is short of 2.5 credits",
        ),
        (
            short(false),
            "insufficient_credits",
            "the pool is short of 2.5 credits",
        ),
        (
            Refusal::PriceIsFixed { price: two },
            "price_is_fixed",
            "the operation costs 2 credits on this pool's plan",
        ),
        (
            Refusal::UnknownOperation { operation },
            "unknown_operation",
            "there is no operation x",
        ),
        (
            Refusal::NotAMultiple { denomination },
            "not_a_multiple",
            "credits must be a multiple of 0.1",
        ),
        (
            Refusal::DebitTooLarge { maximum: two },
            "debit_too_large",
            "one debit takes at most 2 credits",
        ),
    ]
}

fn rows_of_pools() -> Vec<Row> {
    let plan = "free".parse().expect("a good code");
    vec![
        (
            Refusal::BalanceLimit,
            "balance_limit",
            "no account may pass 1000000000000 credits",
        ),
        (Refusal::PoolClosed, "pool_closed", "the pool is closed"),
        (
            Refusal::PoolNotFound,
            "pool_not_found",
            "there is no such pool",
        ),
        (
            Refusal::AddonsNotAllowed { plan },
            "addons_not_allowed",
            "the plan free has no add-on credits",
        ),
        (
            Refusal::InvalidQuantity {
                minimum: Credits::whole(2),
                step: Credits::whole(1),
            },
            "invalid_quantity",
            "credits are sold from 2 on, in multiples of 1",
        ),
        (
            Refusal::ValidityOver,
            "validity_over",
            "the validity of this payment is over",
        ),
        (
            Refusal::PaymentReferenceReused,
            "payment_reference_reused",
            "this payment was recorded with another pool or other credits",
        ),
    ]
}

fn rows_of_requests() -> Vec<Row> {
    let two = Credits::whole(2);
    let invalid = Refusal::invalid("credits", "must not round to 0");
    vec![
        (
            Refusal::AdjustmentBelowZero { available: two },
            "adjustment_below_zero",
            "the bucket has 2 credits",
        ),
        (
            Refusal::BillingAnchorFixed,
            "billing_anchor_fixed",
            "the billing anchor was given when the pool was made and cannot change",
        ),
        (
            Refusal::TestClockFixed,
            "test_clock_fixed",
            "the test clock was given when the pool was made and cannot change",
        ),
        (
            Refusal::SandboxOnly,
            "sandbox_only",
            "test clocks are for sandbox tenants",
        ),
        (
            Refusal::IdempotencyKeyReused,
            "idempotency_key_reused",
            "this idempotency key was used for another request",
        ),
        (invalid, "validation_failed", "credits must not round to 0"),
    ]
}

fn rows_of_holds() -> Vec<Row> {
    vec![
        (
            Refusal::NotFound { what: "hold" },
            "not_found",
            "there is no such hold",
        ),
        (
            Refusal::HoldNotOpen {
                status: HoldStatus::Captured,
            },
            "hold_not_open",
            "the hold is captured",
        ),
        (
            Refusal::TooManyHolds { maximum: 7 },
            "too_many_holds",
            "7 holds are open, and there may be no more",
        ),
        (
            Refusal::RefundExceedsDebit {
                left: Credits::whole(2),
            },
            "refund_exceeds_debit",
            "2 credits are left to be refunded",
        ),
        (
            Refusal::TooManyDebits { maximum: 7 },
            "too_many_debits",
            "the run has more than 7 debits; refund them one by one",
        ),
    ]
}

fn rows_of_checkouts() -> Vec<Row> {
    vec![
        (
            Refusal::PromoCodeInvalid,
            "promo_code_invalid",
            "this promo code is not good here",
        ),
        (
            Refusal::AmountTooSmall {
                total_cents: 49,
                minimum_cents: 50,
            },
            "amount_too_small",
            "49 is less than the 50 that a payment must be",
        ),
    ]
}

fn rows_of_licenses() -> Vec<Row> {
    vec![
        (
            Refusal::Licensed,
            "licensed",
            "a signed licence says plan, builders, monthly allowance and licence of this pool",
        ),
        (
            Refusal::LicenseOfAnother,
            "license_of_another",
            "the licence key was issued for another instance",
        ),
        (
            Refusal::LicenseNotStarted,
            "license_not_started",
            "the licence has not started",
        ),
        (
            Refusal::LicenseExpired,
            "license_expired",
            "the licence has expired",
        ),
        (
            Refusal::LicenseOutdated,
            "license_outdated",
            "a licence that was issued later is in force",
        ),
        (
            Refusal::LicenseTrialAfterPaid,
            "license_trial_after_paid",
            "a trial does not follow a paid licence",
        ),
    ]
}

/// The row of an outcome.
const fn place(refusal: &Refusal) -> usize {
    match refusal {
        Refusal::Short { empty: true, .. } => 0,
        Refusal::Short { empty: false, .. } => 1,
        Refusal::PriceIsFixed { .. } => 2,
        Refusal::UnknownOperation { .. } => 3,
        Refusal::NotAMultiple { .. } => 4,
        Refusal::DebitTooLarge { .. } => 5,
        Refusal::BalanceLimit => 6,
        Refusal::PoolClosed => 7,
        Refusal::PoolNotFound => 8,
        Refusal::AddonsNotAllowed { .. } => 9,
        Refusal::InvalidQuantity { .. } => 10,
        Refusal::ValidityOver => 11,
        Refusal::PaymentReferenceReused => 12,
        Refusal::AdjustmentBelowZero { .. } => 13,
        Refusal::BillingAnchorFixed => 14,
        Refusal::TestClockFixed => 15,
        Refusal::SandboxOnly => 16,
        Refusal::IdempotencyKeyReused => 17,
        Refusal::Invalid { .. } => 18,
        Refusal::NotFound { .. } => 19,
        Refusal::HoldNotOpen { .. } => 20,
        Refusal::TooManyHolds { .. } => 21,
        Refusal::RefundExceedsDebit { .. } => 22,
        Refusal::TooManyDebits { .. } => 23,
        Refusal::PromoCodeInvalid => 24,
        Refusal::AmountTooSmall { .. } => 25,
        Refusal::Licensed => 26,
        Refusal::LicenseOfAnother => 27,
        Refusal::LicenseNotStarted => 28,
        Refusal::LicenseExpired => 29,
        Refusal::LicenseOutdated => 30,
        Refusal::LicenseTrialAfterPaid => 31,
    }
}

#[test]
fn every_refusal_has_its_code_and_says_what_is_wrong() {
    for (expected, (refusal, code, message)) in rows().into_iter().enumerate() {
        assert_eq!(place(&refusal), expected, "{refusal:?}");
        assert_eq!(refusal.code(), code);
        assert_eq!(refusal.to_string(), message);
    }
}

#[test]
fn no_two_refusals_share_a_code() {
    let mut codes: Vec<_> = rows().into_iter().map(|(_, code, _)| code).collect();
    let all = codes.len();
    codes.sort_unstable();
    codes.dedup();
    assert_eq!(codes.len(), all);
}

#[test]
fn every_violation_is_named() {
    let violations = vec![
        ("plan", "is needed".to_owned()),
        ("builders", "must be at least 1".to_owned()),
    ];
    let refusal = Refusal::Invalid { violations };
    assert_eq!(
        refusal.to_string(),
        "plan is needed; builders must be at least 1"
    );
}
