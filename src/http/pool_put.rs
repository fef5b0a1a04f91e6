//! What a PUT of a pool may say: each field left out, `null` or a value.
//!
//! Shapes and what can be told from the body alone. What the request does to the pool is the
//! ledger's; whether a test clock may be used is asked in [`pools`](super::pools).

use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::extract::{Amount, MetadataBody, Object, Violations, patch};
use super::problem::Problem;
use super::time::{DayEnd, Stamp};
use super::words::{LicenseTypeWord, LimitsShape, SeatsShape, TermWord};
use crate::ledger::{
    ClockId, License, LicenseLimits, LicenseType, Metadata, Patch, PlanCode, PutPool, Seats, Term,
};

/// A pool's terms, licence and metadata. What an update leaves out keeps its last requested value;
/// `null` clears.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PutPool, example = json!({"plan": "pro", "builders": 5}))]
pub struct PutPoolRequest {
    /// A plan's code or alias. Needed when the pool is made.
    #[serde(default, deserialize_with = "patch")]
    #[schema(value_type = Option<String>, nullable = false)]
    plan: Patch<String>,
    /// At least 1, or `unlimited`; 1 when never said.
    #[serde(default, deserialize_with = "patch")]
    #[schema(value_type = Option<SeatsShape>)]
    builders: Patch<Seats>,
    /// The pool's own allowance: only, and then needed, on plans without one and with unlimited
    /// builders.
    #[serde(default, deserialize_with = "patch")]
    #[schema(value_type = Option<Amount>)]
    monthly_allowance: Patch<Amount>,
    /// What cycles are counted from: given once, when the pool is made; now, when never said.
    #[serde(default)]
    billing_anchor: Option<Stamp>,
    /// How often the customer pays; `monthly` when never said.
    #[serde(default, deserialize_with = "patch")]
    #[schema(value_type = Option<TermWord>)]
    term: Patch<Term>,
    /// A running licence is kept when this is left out.
    #[serde(default, deserialize_with = "patch")]
    #[schema(value_type = Option<LicenseRequest>)]
    license: Patch<Object<LicenseRequest>>,
    /// A test clock of the tenant: given once, sandbox tenants only.
    #[serde(default, deserialize_with = "patch")]
    #[schema(value_type = Option<Uuid>)]
    test_clock: Patch<Uuid>,
    /// The client's own.
    #[serde(default, deserialize_with = "patch")]
    #[schema(value_type = Option<MetadataBody>)]
    metadata: Patch<MetadataBody>,
}

/// A licence.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LicenseRequest {
    /// Its kind.
    #[serde(rename = "type")]
    #[schema(value_type = LicenseTypeWord)]
    kind: LicenseType,
    /// When it expires; a date without a time means the end of that UTC day.
    #[serde(default)]
    expires_at: Option<DayEnd>,
    /// Until when an expired licence is still honoured; only with `expires_at`, not before it.
    #[serde(default)]
    grace_until: Option<DayEnd>,
    /// What it allows.
    #[serde(default)]
    #[schema(value_type = Option<LimitsShape>)]
    limits: Option<Object<LicenseLimits>>,
}

impl PutPoolRequest {
    /// The PUT, every field checked; what is wrong is named together.
    ///
    /// # Errors
    /// 422 naming each bad field.
    pub fn read(self) -> Result<PutPool, Problem> {
        let mut violations = Violations::new();
        let plan = match self.plan {
            Patch::Keep => None,
            Patch::Clear => {
                violations.add("plan", "must not be null");
                None
            }
            Patch::Set(plan) => violations.keep("plan", PlanCode::try_from(plan)),
        };
        if matches!(self.builders, Patch::Set(Seats::Count(0))) {
            violations.add("builders", "must be at least 1 or \"unlimited\"");
        }
        let allowance = |amount: Amount| amount.requested();
        let monthly_allowance = checked(
            &mut violations,
            "monthly_allowance",
            self.monthly_allowance,
            allowance,
        );
        let metadata = checked(
            &mut violations,
            "metadata",
            self.metadata,
            Metadata::try_from,
        );
        let license = match self.license {
            Patch::Keep => Patch::Keep,
            Patch::Clear => Patch::Clear,
            Patch::Set(Object(license)) => Patch::Set(license.read(&mut violations)),
        };
        violations.finish()?;
        Ok(PutPool {
            plan,
            builders: self.builders,
            monthly_allowance,
            billing_anchor: self.billing_anchor.map(|Stamp(at)| at),
            term: self.term,
            license,
            test_clock: map(self.test_clock, ClockId::from),
            // An empty object says as much as none: repeating either is no change.
            metadata: match metadata {
                Patch::Set(metadata) if metadata.as_str() == "{}" => Patch::Clear,
                other => other,
            },
        })
    }
}

impl LicenseRequest {
    fn read(self, violations: &mut Violations) -> License {
        let (expires_at, grace_until) = (self.expires_at, self.grace_until);
        match (expires_at, grace_until) {
            (None, Some(_)) => {
                violations.add("license.grace_until", "needs license.expires_at");
            }
            (Some(expires_at), Some(grace_until)) if grace_until < expires_at => {
                violations.add(
                    "license.grace_until",
                    "must not be before license.expires_at",
                );
            }
            (_, None) | (Some(_), Some(_)) => {}
        }
        License {
            expires_at: expires_at.map(|DayEnd(at)| at),
            grace_until: grace_until.map(|DayEnd(at)| at),
            limits: self.limits.map(|Object(limits)| limits),
            ..License::of(self.kind)
        }
    }
}

fn map<T, U>(patch: Patch<T>, convert: impl FnOnce(T) -> U) -> Patch<U> {
    match patch {
        Patch::Keep => Patch::Keep,
        Patch::Clear => Patch::Clear,
        Patch::Set(value) => Patch::Set(convert(value)),
    }
}

/// A field whose value may be bad; a bad one is noted.
fn checked<T, U, E: std::fmt::Display>(
    violations: &mut Violations,
    field: &'static str,
    patch: Patch<T>,
    check: impl FnOnce(T) -> Result<U, E>,
) -> Patch<U> {
    match patch {
        Patch::Keep => Patch::Keep,
        Patch::Clear => Patch::Clear,
        Patch::Set(value) => violations
            .keep(field, check(value))
            .map_or(Patch::Keep, Patch::Set),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::extract::parse_json;

    fn read(json: &str) -> Result<PutPool, serde_json::Value> {
        let put = parse_json::<PutPoolRequest>(json.as_bytes()).and_then(PutPoolRequest::read);
        put.map_err(|problem| serde_json::to_value(problem.body("r")).expect("a body"))
    }

    fn fields(json: &str) -> Vec<String> {
        let body = read(json).expect_err(json);
        let errors = body["errors"].as_array().expect("errors").clone();
        let field = |error: &serde_json::Value| error["field"].as_str().map(str::to_owned);
        errors.iter().filter_map(field).collect()
    }

    #[test]
    fn a_field_is_left_out_cleared_or_set() {
        let put = read(r#"{"plan":"pro","builders":null,"license":null}"#).expect("a PUT");
        assert_eq!(put.plan.expect("a plan").as_str(), "pro");
        assert_eq!((put.builders, put.license), (Patch::Clear, Patch::Clear));
        assert_eq!((put.term, put.test_clock), (Patch::Keep, Patch::Keep));
        assert_eq!(read("{}").expect("nothing said"), PutPool::default());
    }

    #[test]
    fn builders_are_a_count_or_unlimited_in_any_case() {
        let builders = |json| read(json).expect(json).builders;
        assert_eq!(builders(r#"{"builders":7}"#), Patch::Set(Seats::Count(7)));
        assert_eq!(
            builders(r#"{"builders":"Unlimited"}"#),
            Patch::Set(Seats::Unlimited)
        );
        for bad in [
            r#"{"builders":0}"#,
            r#"{"builders":-1}"#,
            r#"{"builders":"many"}"#,
        ] {
            assert_eq!(fields(bad), ["builders"], "{bad}");
        }
    }

    #[test]
    fn every_broken_rule_is_named() {
        let bad = r#"{"plan":null,"builders":0,"monthly_allowance":0.001,
            "license":{"type":"paid","grace_until":"2027-01-01"}}"#;
        let expected = [
            "plan",
            "builders",
            "monthly_allowance",
            "license.grace_until",
        ];
        assert_eq!(fields(bad), expected);
    }

    #[test]
    fn a_grace_is_not_over_before_the_licence() {
        let license = |expires: &str, grace: &str| {
            let dates = format!(r#""expires_at":"{expires}","grace_until":"{grace}""#);
            format!(r#"{{"license":{{"type":"paid",{dates}}}}}"#)
        };
        assert!(read(&license("2027-01-31", "2027-01-31")).is_ok());
        assert!(read(&license("2027-01-31", "2027-02-07T00:00:00Z")).is_ok());
        let early = license("2027-01-31", "2027-01-31T23:59:59.998Z");
        assert_eq!(fields(&early), ["license.grace_until"]);
    }

    #[test]
    fn wrong_types_and_unknown_fields_are_named() {
        let rows = [
            (r#"{"plan":7}"#, "plan"),
            (r#"{"plans":"pro"}"#, "plans"),
            (r#"{"term":"weekly"}"#, "term"),
            (r#"{"billing_anchor":"soon"}"#, "billing_anchor"),
            (r#"{"license":{}}"#, "license.type"),
            (r#"{"license":{"type":"gold"}}"#, "license.type"),
            (
                r#"{"license":{"type":"paid","limits":{"users":-1}}}"#,
                "license.limits.users",
            ),
            (
                r#"{"license":{"type":"paid","limits":{"seats":1}}}"#,
                "license.limits.seats",
            ),
            (r#"{"test_clock":"noon"}"#, "test_clock"),
            (r#"{"metadata":[]}"#, "metadata"),
        ];
        for (json, field) in rows {
            assert_eq!(fields(json), [field], "{json}");
        }
    }

    #[test]
    fn no_metadata_and_empty_metadata_are_the_same() {
        assert_eq!(
            read(r#"{"metadata":{}}"#).expect("a PUT").metadata,
            Patch::Clear
        );
    }
}
