//! Problems (RFC 9457): what a client is told when a request is refused or fails.
//!
//! The only place that turns refusals and failures into status codes; the codes themselves are in
//! [`codes`]. A problem travels in the response's extensions: the
//! [middleware](super::middleware) knows the request's id, writes the body and logs the cause.

use std::borrow::Cow;
use std::error::Error;
use std::sync::Arc;

use axum::http::StatusCode;
use axum::http::header::{HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::response::{IntoResponse, Response};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::value::{RawValue, to_raw_value};

use super::codes::{self, ErrorCode};
use super::time::Stamp;
use crate::lanes::LaneError;
use crate::ledger::Refusal;
use crate::licenses::LicenseError;
use crate::payments::{PaymentError, ProviderError};
use crate::store::StoreError;

/// What clients get when something is refused or fails. Boxed: it travels in every `Result`.
#[derive(Clone, Debug)]
pub struct Problem(Box<Parts>);

#[derive(Clone, Debug)]
struct Parts {
    row: &'static ErrorCode,
    detail: Cow<'static, str>,
    errors: Vec<FieldError>,
    members: Vec<(&'static str, Box<RawValue>)>,
    cause: Option<Arc<dyn Error + Send + Sync>>,
}

/// A field that is not as it must be.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct FieldError {
    /// The field's path, as in `license.limits.users`.
    #[schema(value_type = String)]
    pub field: Cow<'static, str>,
    /// What is wrong with it; reads after the field's name.
    pub message: String,
}

impl Problem {
    /// A problem with one of the [`codes`]; `detail` says what happened this time.
    pub fn new(row: &'static ErrorCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Parts {
            row,
            detail: detail.into(),
            errors: Vec::new(),
            members: Vec::new(),
            cause: None,
        }))
    }

    /// A problem whose detail is its code's title.
    #[must_use]
    pub fn plain(row: &'static ErrorCode) -> Self {
        Self::new(row, row.title)
    }

    /// 422: these fields are not as they must be.
    #[must_use]
    pub fn validation(errors: Vec<FieldError>) -> Self {
        let said: Vec<_> = errors
            .iter()
            .map(|e| format!("{} {}", e.field, e.message))
            .collect();
        let mut problem = Self::new(codes::VALIDATION_FAILED, said.join("; "));
        problem.0.errors = errors;
        problem
    }

    /// 422: this field is not as it must be.
    pub fn invalid(field: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self::validation(vec![FieldError {
            field: field.into(),
            message: message.into(),
        }])
    }

    /// 404; `what` reads after "there is no such".
    #[must_use]
    pub fn not_found(what: &str) -> Self {
        Self::new(codes::NOT_FOUND, format!("there is no such {what}"))
    }

    /// 500, with a cause for the log that the client does not see.
    pub fn internal(cause: impl Error + Send + Sync + 'static) -> Self {
        Self::new(
            codes::INTERNAL_ERROR,
            "the service failed; the request id finds it in the log",
        )
        .caused_by(cause)
    }

    /// Adds one of the members that the code lists.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl serde::Serialize) -> Self {
        debug_assert!(
            self.0.row.members.iter().any(|member| member.name == name),
            "{name}"
        );
        let value = to_raw_value(&value).expect("a problem's members are plain values");
        self.0.members.push((name, value));
        self
    }

    /// Adds what the log has to say about it.
    #[must_use]
    pub fn caused_by(mut self, cause: impl Error + Send + Sync + 'static) -> Self {
        self.0.cause = Some(Arc::new(cause));
        self
    }

    /// The row of the table of codes.
    #[must_use]
    pub fn row(&self) -> &'static ErrorCode {
        self.0.row
    }

    /// The status it is answered with.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.0.row.status
    }

    /// What the log has to say about it.
    #[must_use]
    pub fn cause(&self) -> Option<&(dyn Error + Send + Sync)> {
        self.0.cause.as_deref()
    }

    /// The body, as part of an answer to the request that has this id.
    #[must_use]
    pub fn body<'a>(&'a self, request_id: &'a str) -> ProblemBody<'a> {
        ProblemBody {
            problem: &self.0,
            request_id,
            tooljet: false,
        }
    }

    /// The body with the two members that ToolJet's own error handling reads.
    #[must_use]
    pub fn tooljet_body<'a>(&'a self, request_id: &'a str) -> ProblemBody<'a> {
        ProblemBody {
            problem: &self.0,
            request_id,
            tooljet: true,
        }
    }
}

/// A problem as JSON.
#[derive(Debug)]
pub struct ProblemBody<'a> {
    problem: &'a Parts,
    request_id: &'a str,
    tooljet: bool,
}

impl Serialize for ProblemBody<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Parts {
            row,
            detail,
            errors,
            members,
            cause: _,
        } = self.problem;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry(
            "type",
            &format_args!("urn:credit-ledger:problem:{}", row.code),
        )?;
        map.serialize_entry("title", row.title)?;
        map.serialize_entry("status", &row.status.as_u16())?;
        map.serialize_entry("detail", detail)?;
        map.serialize_entry("code", row.code)?;
        map.serialize_entry("request_id", self.request_id)?;
        if !errors.is_empty() {
            map.serialize_entry("errors", errors)?;
        }
        for (name, value) in members {
            map.serialize_entry(name, value)?;
        }
        if self.tooljet {
            map.serialize_entry("message", detail)?;
            map.serialize_entry("statusCode", &row.status.as_u16())?;
        }
        map.end()
    }
}

impl IntoResponse for Problem {
    /// Status, headers and the problem itself as an extension; the middleware writes the body.
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        let headers = response.headers_mut();
        if self.status() == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if self.status() == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response.extensions_mut().insert(self);
        response
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let row = codes::ALL.iter().find(|row| row.code == refusal.code());
        let row = row.expect("the table has every refusal's code");
        let problem = Self::new(row, refusal.to_string());
        match &refusal {
            Refusal::Short {
                empty: _,
                required,
                available,
                shortfall,
                renews_at,
                plan_allows_addons,
            } => problem
                .with("required", required)
                .with("available", available)
                .with("shortfall", shortfall)
                .with("renews_at", Stamp(*renews_at))
                .with("plan_allows_addons", plan_allows_addons),
            Refusal::PriceIsFixed { price } => problem.with("price", price),
            Refusal::UnknownOperation { operation } => problem.with("operation", operation),
            Refusal::NotAMultiple { denomination } => problem.with("denomination", denomination),
            Refusal::DebitTooLarge { maximum } => problem.with("maximum", maximum),
            Refusal::HoldNotOpen { status } => problem.with("hold_status", status),
            Refusal::TooManyHolds { maximum } => problem.with("maximum", maximum),
            Refusal::RefundExceedsDebit { left } => problem.with("left", left),
            Refusal::TooManyDebits { maximum } => problem.with("maximum", maximum),
            Refusal::AddonsNotAllowed { plan } => problem.with("plan", plan),
            Refusal::InvalidQuantity { minimum, step } => {
                problem.with("minimum", minimum).with("step", step)
            }
            Refusal::AmountTooSmall {
                total_cents,
                minimum_cents,
            } => problem
                .with("total_cents", total_cents)
                .with("minimum_cents", minimum_cents),
            Refusal::AdjustmentBelowZero { available } => problem.with("available", available),
            Refusal::Invalid { violations } => {
                let error = |(field, message): &(&'static str, String)| FieldError {
                    field: Cow::Borrowed(field),
                    message: message.clone(),
                };
                Self::validation(violations.iter().map(error).collect())
            }
            Refusal::NotFound { .. }
            | Refusal::BalanceLimit
            | Refusal::PoolClosed
            | Refusal::PoolNotFound
            | Refusal::ValidityOver
            | Refusal::PaymentReferenceReused
            | Refusal::PromoCodeInvalid
            | Refusal::BillingAnchorFixed
            | Refusal::TestClockFixed
            | Refusal::Licensed
            | Refusal::LicenseOfAnother
            | Refusal::LicenseNotStarted
            | Refusal::LicenseExpired
            | Refusal::LicenseOutdated
            | Refusal::LicenseTrialAfterPaid
            | Refusal::SandboxOnly
            | Refusal::IdempotencyKeyReused => problem,
        }
    }
}

impl From<LaneError> for Problem {
    fn from(error: LaneError) -> Self {
        match error {
            LaneError::Refused(refusal) => refusal.into(),
            LaneError::Busy => Self::plain(codes::OVERLOADED),
            LaneError::Unavailable => Self::plain(codes::DATABASE_UNAVAILABLE),
            // The lane has logged the cause: it failed a whole batch.
            LaneError::Failed => Self::new(
                codes::INTERNAL_ERROR,
                "the service failed; its log says why",
            ),
        }
    }
}

impl From<PaymentError> for Problem {
    fn from(error: PaymentError) -> Self {
        match error {
            PaymentError::Lane(error) => error.into(),
            PaymentError::Store(error) => error.into(),
            PaymentError::NotConfigured(what) => Self::new(codes::PAYMENTS_NOT_CONFIGURED, what),
            PaymentError::Provider(error) => error.into(),
            PaymentError::Sealed { .. } => Self::internal(error),
            PaymentError::Signature => Self::plain(codes::SIGNATURE_INVALID),
            PaymentError::Event(why) => {
                let said = why.source().map(|cause| format!("{why}: {cause}"));
                Self::new(
                    codes::MALFORMED_JSON,
                    said.unwrap_or_else(|| why.to_string()),
                )
            }
            PaymentError::Resolved(status) => {
                Self::new(codes::EXCEPTION_RESOLVED, error.to_string())
                    .with("exception_status", status.as_str())
            }
            PaymentError::CreditsNeeded => Self::invalid("credits", "is required"),
        }
    }
}

impl From<LicenseError> for Problem {
    fn from(error: LicenseError) -> Self {
        let said = error.to_string();
        match error {
            LicenseError::Store(error) => error.into(),
            LicenseError::Refused(refusal) => refusal.into(),
            LicenseError::NotConfigured => Self::new(codes::LICENSES_NOT_CONFIGURED, said),
            LicenseError::Sealed { .. } => Self::internal(error),
            LicenseError::Busy => Self::new(codes::OVERLOADED, said),
            LicenseError::TooManyKeys { maximum } => {
                Self::new(codes::LICENSE_KEYS_LIMIT, said).with("maximum", maximum)
            }
            LicenseError::TooLong => {
                Self::invalid("features", "say too much for one licence key of 8 KiB")
            }
            LicenseError::Malformed => Self::new(codes::LICENSE_MALFORMED, said),
            LicenseError::Signature => Self::new(codes::LICENSE_SIGNATURE_INVALID, said),
        }
    }
}

impl From<ProviderError> for Problem {
    fn from(error: ProviderError) -> Self {
        let row = match &error {
            ProviderError::Unavailable(_) => codes::PAYMENT_PROVIDER_UNAVAILABLE,
            ProviderError::Refused { .. } | ProviderError::Unreadable(_) => {
                codes::PAYMENT_PROVIDER_ERROR
            }
        };
        Self::new(row, error.to_string()).caused_by(error)
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::Unavailable(_) => Self::plain(codes::DATABASE_UNAVAILABLE).caused_by(error),
            StoreError::Contended(_) => Self::plain(codes::OVERLOADED).caused_by(error),
            StoreError::Conflict { .. }
            | StoreError::Corrupt { .. }
            | StoreError::Migration(_)
            | StoreError::Failed(_) => Self::internal(error),
        }
    }
}
