//! Every error code a client can meet: the one table of code, status, title and extra members.
//!
//! [`Problem`](super::problem::Problem) answers with its rows, the OpenAPI document lists them.
//! Which refusal has which code is decided in [`problem`](super::problem), not here.

use axum::http::StatusCode;

/// A row of the table.
#[derive(Debug, PartialEq, Eq)]
pub struct ErrorCode {
    /// Stable, snake_case: what clients act on.
    pub code: &'static str,
    /// The HTTP status it always comes with.
    pub status: StatusCode,
    /// A short text for people, the same each time.
    pub title: &'static str,
    /// Members of the body besides those that every problem has.
    pub members: &'static [Member],
}

/// An extra member of a problem's body.
#[derive(Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name.
    pub name: &'static str,
    /// What it says.
    pub description: &'static str,
}

macro_rules! codes {
    ($($name:ident: $code:literal, $status:ident, $title:literal
        $(, { $($member:literal: $description:literal),+ $(,)? })?;)+) => {
        $(
            #[doc = $title]
            pub const $name: &ErrorCode = &ErrorCode {
                code: $code,
                status: StatusCode::$status,
                title: $title,
                members: &[$($(Member { name: $member, description: $description }),+)?],
            };
        )+

        /// The whole table.
        pub const ALL: &[&ErrorCode] = &[$($name),+];
    };
}

codes! {
    MALFORMED_JSON: "malformed_json", BAD_REQUEST, "The body is not JSON";
    IDEMPOTENCY_KEY_MISSING: "idempotency_key_missing", BAD_REQUEST,
        "The header Idempotency-Key is missing";
    SIGNATURE_INVALID: "signature_invalid", BAD_REQUEST,
        "The event is not signed with a secret of this tenant, or not lately";
    UNAUTHORIZED: "unauthorized", UNAUTHORIZED, "A valid key is needed";
    POOL_EMPTY: "pool_empty", PAYMENT_REQUIRED, "The pool has no credits", {
        "required": "Credits that the request needs.",
        "available": "Credits that the pool can give; 0 or less.",
        "shortfall": "Credits that are missing.",
        "renews_at": "When the next cycle starts.",
        "plan_allows_addons": "Whether add-on credits can be bought on the pool's plan.",
    };
    INSUFFICIENT_CREDITS: "insufficient_credits", PAYMENT_REQUIRED,
        "The pool has not enough credits", {
        "required": "Credits that the request needs.",
        "available": "Credits that the pool can give.",
        "shortfall": "Credits that are missing.",
        "renews_at": "When the next cycle starts.",
        "plan_allows_addons": "Whether add-on credits can be bought on the pool's plan.",
    };
    SCOPE_MISSING: "scope_missing", FORBIDDEN, "The key lacks a scope", {
        "scope": "The scope that the request needs.",
    };
    ADDONS_NOT_ALLOWED: "addons_not_allowed", FORBIDDEN, "The plan has no add-on credits", {
        "plan": "The plan in force.",
    };
    SANDBOX_ONLY: "sandbox_only", FORBIDDEN, "Test clocks are for sandbox tenants";
    NOT_FOUND: "not_found", NOT_FOUND, "There is no such thing";
    POOL_NOT_FOUND: "pool_not_found", NOT_FOUND, "There is no such pool";
    METHOD_NOT_ALLOWED: "method_not_allowed", METHOD_NOT_ALLOWED,
        "The path does not take this method";
    REQUEST_TIMEOUT: "request_timeout", REQUEST_TIMEOUT, "The body took too long to arrive";
    ADJUSTMENT_BELOW_ZERO: "adjustment_below_zero", CONFLICT,
        "The adjustment takes more than there is", {
        "available": "Credits that the bucket has.",
    };
    ALIAS_TAKEN: "alias_taken", CONFLICT, "Another plan has this code or alias", {
        "alias": "The code or alias that is taken.",
        "plan": "The plan that has it.",
    };
    BALANCE_LIMIT: "balance_limit", CONFLICT, "No account may pass 1000000000000 credits";
    BILLING_ANCHOR_FIXED: "billing_anchor_fixed", CONFLICT,
        "The billing anchor is given when the pool is made and cannot change";
    CATALOGUE_LIMIT: "catalogue_limit", CONFLICT, "The catalogue is full", {
        "maximum": "The most there may be.",
    };
    CLOCK_BACKWARDS: "clock_backwards", CONFLICT, "A test clock only moves forward", {
        "now": "Where the clock stands.",
    };
    EXCEPTION_RESOLVED: "exception_resolved", CONFLICT, "The exception is resolved already", {
        "exception_status": "How it was resolved: credited or dismissed.",
    };
    HOLD_NOT_OPEN: "hold_not_open", CONFLICT, "The hold is open no more", {
        "hold_status": "What became of it: captured, released or expired.",
    };
    LICENSED: "licensed", CONFLICT,
        "A signed licence alone says plan, builders, monthly allowance and licence of the pool";
    LICENSE_OUTDATED: "license_outdated", CONFLICT, "A licence that was issued later is in force";
    LICENSE_TRIAL_AFTER_PAID: "license_trial_after_paid", CONFLICT,
        "A trial does not follow a paid licence";
    LICENSE_KEYS_LIMIT: "license_keys_limit", CONFLICT,
        "There are as many signing keys as may be", {
        "maximum": "The most there may be.",
    };
    PAYMENT_REFERENCE_REUSED: "payment_reference_reused", CONFLICT,
        "The payment was recorded with another pool or other credits";
    POOL_CLOSED: "pool_closed", CONFLICT, "The pool is closed";
    REFUND_EXCEEDS_DEBIT: "refund_exceeds_debit", CONFLICT,
        "Less is left of the debit than is to be refunded", {
        "left": "Credits that are not refunded yet.",
    };
    TEST_CLOCK_FIXED: "test_clock_fixed", CONFLICT,
        "The test clock is given when the pool is made and cannot change";
    TOO_MANY_DEBITS: "too_many_debits", CONFLICT, "The run has too many debits to refund at once", {
        "maximum": "The most there may be.",
    };
    TOO_MANY_HOLDS: "too_many_holds", CONFLICT, "As many holds are open as may be", {
        "maximum": "The most there may be.",
    };
    PAYLOAD_TOO_LARGE: "payload_too_large", PAYLOAD_TOO_LARGE, "The body is too large", {
        "maximum_bytes": "The most bytes a body may have.",
    };
    UNSUPPORTED_MEDIA_TYPE: "unsupported_media_type", UNSUPPORTED_MEDIA_TYPE,
        "The body must be application/json";
    VALIDATION_FAILED: "validation_failed", UNPROCESSABLE_ENTITY,
        "Fields are not as they must be", {
        "errors": "The fields, each with a message that reads after its name.",
    };
    DEBIT_TOO_LARGE: "debit_too_large", UNPROCESSABLE_ENTITY,
        "The debit is above the tenant's limit", {
        "maximum": "The most credits one debit may take.",
    };
    IDEMPOTENCY_KEY_REUSED: "idempotency_key_reused", UNPROCESSABLE_ENTITY,
        "The idempotency key was used for another request";
    INVALID_QUANTITY: "invalid_quantity", UNPROCESSABLE_ENTITY,
        "Credits are not sold in this quantity", {
        "minimum": "The least credits that are sold.",
        "step": "Credits are sold in multiples of this.",
    };
    LICENSE_EXPIRED: "license_expired", UNPROCESSABLE_ENTITY, "The licence has expired";
    LICENSE_MALFORMED: "license_malformed", UNPROCESSABLE_ENTITY,
        "The text is no licence key of this service";
    LICENSE_NOT_STARTED: "license_not_started", UNPROCESSABLE_ENTITY,
        "The licence has not started";
    LICENSE_OF_ANOTHER: "license_of_another", UNPROCESSABLE_ENTITY,
        "The licence key was issued for another instance";
    LICENSE_SIGNATURE_INVALID: "license_signature_invalid", UNPROCESSABLE_ENTITY,
        "The licence key is not signed by a key that the tenant trusts";
    NOT_A_MULTIPLE: "not_a_multiple", UNPROCESSABLE_ENTITY,
        "The credits are no multiple of the plan's denomination", {
        "denomination": "The smallest step of the pool's plan.",
    };
    PRICE_IS_FIXED: "price_is_fixed", UNPROCESSABLE_ENTITY, "The operation has a fixed price", {
        "price": "What the operation costs on the pool's plan.",
    };
    PROMO_CODE_INVALID: "promo_code_invalid", UNPROCESSABLE_ENTITY,
        "The promo code is unknown, expired, used up, or used by this pool already";
    AMOUNT_TOO_SMALL: "amount_too_small", UNPROCESSABLE_ENTITY,
        "The amount is below what the payment provider takes", {
        "total_cents": "What would be paid, in the currency's smallest unit.",
        "minimum_cents": "The least that the provider takes.",
    };
    UNKNOWN_OPERATION: "unknown_operation", UNPROCESSABLE_ENTITY,
        "The operation is not on the rate card", {
        "operation": "What was named.",
    };
    VALIDITY_OVER: "validity_over", UNPROCESSABLE_ENTITY,
        "The validity of this payment is over";
    INTERNAL_ERROR: "internal_error", INTERNAL_SERVER_ERROR, "The service failed";
    LICENSES_NOT_CONFIGURED: "licenses_not_configured", NOT_IMPLEMENTED,
        "The service cannot keep signing keys of licences";
    PAYMENTS_NOT_CONFIGURED: "payments_not_configured", NOT_IMPLEMENTED,
        "Payments are not set up";
    PAYMENT_PROVIDER_ERROR: "payment_provider_error", BAD_GATEWAY,
        "The payment provider refused, failed or answered what nobody understands";
    PAYMENT_PROVIDER_UNAVAILABLE: "payment_provider_unavailable", SERVICE_UNAVAILABLE,
        "The payment provider does not answer; try again";
    DATABASE_UNAVAILABLE: "database_unavailable", SERVICE_UNAVAILABLE,
        "The database is away; try again";
    NOT_READY: "not_ready", SERVICE_UNAVAILABLE, "The service takes no requests";
    OVERLOADED: "overloaded", SERVICE_UNAVAILABLE, "The service is overloaded; try again";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_snake_case() {
        let mut seen = std::collections::HashSet::new();
        for row in ALL {
            let snake = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
            assert!(row.code.bytes().all(snake), "{}", row.code);
            assert!(seen.insert(row.code), "{} is there twice", row.code);
            assert!(row.status.is_client_error() || row.status.is_server_error());
        }
    }

    #[test]
    fn no_member_has_the_name_of_one_that_every_problem_has() {
        let of_all = ["type", "title", "status", "detail", "code", "request_id"];
        for member in ALL.iter().flat_map(|row| row.members) {
            assert!(!of_all.contains(&member.name), "{}", member.name);
        }
    }
}
