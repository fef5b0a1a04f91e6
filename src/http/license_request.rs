//! What an order of a licence may say: shapes, and what can be told from the body and the time.
//!
//! Whether its terms are possible is the ledger's to say.

use serde::Deserialize;
use utoipa::ToSchema;

use super::extract::{Amount, Violations};
use super::problem::Problem;
use super::time::{DayEnd, Stamp};
use super::words::{IssuedTypeWord, SeatsShape};
use crate::ledger::{Label, LicenseType, PlanCode, PoolKind, PoolName, Seats, Time};
use crate::licenses::Order;
use crate::store::TenantMode;

/// The most features of a licence.
const MOST_FEATURES: usize = 50;

/// A licence to be issued.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewLicense, example = json!({
    "customer_id": "acme", "type": "paid", "plan": "pro", "builders": 5,
    "expires_at": "2999-12-31",
}))]
pub struct LicenseOrder {
    /// The id of the instance it is for: the pool is `instance:<customer_id>`. 1 to 128 of
    /// `A-Z a-z 0-9 . _ -`.
    customer_id: String,
    /// Its kind.
    #[serde(rename = "type")]
    #[schema(value_type = IssuedTypeWord)]
    kind: LicenseType,
    /// A plan's code or alias. Left out, a `basic` licence is for the plan `basic`, a `trial` for
    /// `trial`; a `paid` one needs it.
    plan: Option<String>,
    /// At least 1, or `unlimited`; 1 when left out.
    #[schema(value_type = Option<SeatsShape>)]
    builders: Option<Seats>,
    /// Only, and then needed, on plans without an allowance and with unlimited builders.
    #[schema(value_type = Option<Amount>)]
    monthly_allowance: Option<Amount>,
    /// How many users it allows; shown, not enforced.
    #[schema(value_type = Option<SeatsShape>)]
    users: Option<Seats>,
    /// How many users who only use what was built; shown, not enforced.
    #[schema(value_type = Option<SeatsShape>)]
    end_users: Option<Seats>,
    /// Before this it cannot be applied; from the start when left out.
    starts_at: Option<Stamp>,
    /// When it expires; a date without a time means the end of that UTC day. Left out, it is for
    /// ever; but a `trial` then ends 14 days after it is first applied.
    expires_at: Option<DayEnd>,
    /// Until when it is honoured after that; only with `expires_at`, not before it.
    grace_until: Option<DayEnd>,
    /// What it opens, in your own words: at most 50 labels of 1 to 128 printable characters.
    features: Option<Vec<String>>,
}

impl LicenseOrder {
    /// The order, every field checked; what is wrong is named together.
    ///
    /// # Errors
    /// 422 naming each bad field.
    pub fn read(self, now: Time, mode: TenantMode) -> Result<Order, Problem> {
        let mut violations = Violations::new();
        self.check_times(&mut violations, now, mode);
        let pool = PoolName::new(PoolKind::Instance, &self.customer_id);
        let pool = pool.map_err(|_| "must be 1 to 128 of A-Z a-z 0-9 . _ -");
        let pool = violations.keep("customer_id", pool);
        match self.kind {
            LicenseType::Basic | LicenseType::Trial | LicenseType::Paid => {}
            LicenseType::Business | LicenseType::Enterprise => {
                violations.add("type", "must be one of basic, trial, paid");
            }
        }
        if self.builders == Some(Seats::Count(0)) {
            violations.add("builders", "must be at least 1 or \"unlimited\"");
        }
        let plan = violations.take("plan", self.plan.map(PlanCode::try_from));
        let allowance = self.monthly_allowance.map(Amount::requested);
        let monthly_allowance = violations.take("monthly_allowance", allowance);
        let features = read_features(self.features.unwrap_or_default(), &mut violations);
        let pool = violations.finish_with(pool)?;
        Ok(Order {
            pool,
            kind: self.kind,
            plan,
            builders: self.builders.unwrap_or(Seats::ONE),
            monthly_allowance,
            users: self.users,
            end_users: self.end_users,
            starts_at: self.starts_at.map(Time::from),
            expires_at: self.expires_at.map(Time::from),
            grace_until: self.grace_until.map(Time::from),
            features,
        })
    }

    fn check_times(&self, violations: &mut Violations, now: Time, mode: TenantMode) {
        let expires_at = self.expires_at.map(Time::from);
        // A sandbox's pools live on clocks of their own, at any time.
        let over = match mode {
            TenantMode::Live => expires_at.is_some_and(|end| end <= now),
            TenantMode::Sandbox => false,
        };
        if over {
            violations.add("expires_at", "must be in the future");
        }
        let start = self.starts_at.map(Time::from);
        if expires_at
            .zip(start)
            .is_some_and(|(end, start)| end <= start)
        {
            violations.add("expires_at", "must be after starts_at");
        }
        match (expires_at, self.grace_until.map(Time::from)) {
            (None, Some(_)) => violations.add("grace_until", "needs expires_at"),
            (Some(end), Some(grace)) if grace < end => {
                violations.add("grace_until", "must not be before expires_at");
            }
            (_, None) | (Some(_), Some(_)) => {}
        }
    }
}

fn read_features(words: Vec<String>, violations: &mut Violations) -> Vec<Label> {
    if words.len() > MOST_FEATURES {
        let message = format_args!("must name at most {MOST_FEATURES}");
        violations.add("features", message);
        return Vec::new();
    }
    let mut features = Vec::with_capacity(words.len());
    for (place, word) in words.into_iter().enumerate() {
        match Label::try_from(word) {
            Ok(feature) => features.push(feature),
            Err(error) => violations.add(format!("features[{place}]"), error),
        }
    }
    features
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::extract::parse_json;

    const NOW: &str = "2026-01-20T10:00:00Z";

    fn read_in(mode: TenantMode, json: &str) -> Result<Order, serde_json::Value> {
        let now = NOW.parse().expect("a time");
        let order = parse_json::<LicenseOrder>(json.as_bytes());
        let order = order.and_then(|order| order.read(now, mode));
        order.map_err(|problem| serde_json::to_value(problem.body("r")).expect("a body"))
    }

    fn with(more: &str) -> String {
        format!(r#"{{"customer_id":"acme","type":"paid","plan":"pro"{more}}}"#)
    }

    fn fields(json: &str) -> Vec<String> {
        let body = read_in(TenantMode::Live, json).expect_err(json);
        let errors = body["errors"].as_array().expect("errors").clone();
        let field = |error: &serde_json::Value| error["field"].as_str().map(str::to_owned);
        errors.iter().filter_map(field).collect()
    }

    #[test]
    fn a_date_without_a_time_is_the_end_of_that_day() {
        let json = with(r#","expires_at":"2027-01-31","grace_until":"2027-02-07""#);
        let order = read_in(TenantMode::Live, &json).expect("a good order");
        let end = |text: &str| Some(text.parse().expect("a time"));
        assert_eq!(order.expires_at, end("2027-01-31T23:59:59.999Z"));
        assert_eq!(order.grace_until, end("2027-02-07T23:59:59.999Z"));
        assert_eq!(order.builders, Seats::ONE);
        assert_eq!(order.pool.to_string(), "instance:acme");
    }

    #[test]
    fn every_broken_rule_is_named() {
        let json = r#"{"customer_id":"a b","type":"enterprise","plan":"P","builders":0,
            "monthly_allowance":-1,"grace_until":"2027-01-01","features":["","b"]}"#;
        let expected = [
            "grace_until",
            "customer_id",
            "type",
            "builders",
            "plan",
            "monthly_allowance",
            "features[0]",
        ];
        assert_eq!(fields(json), expected);
    }

    #[test]
    fn an_end_comes_after_now_and_the_start_and_before_the_grace_is_over() {
        let rows = [
            (r#","expires_at":"2026-01-20T10:00:00Z""#, "expires_at"),
            (r#","expires_at":"2026-01-19""#, "expires_at"),
            (
                r#","starts_at":"2027-01-01T00:00:00Z","expires_at":"2027-01-01T00:00:00Z""#,
                "expires_at",
            ),
            (
                r#","expires_at":"2027-01-02","grace_until":"2027-01-01""#,
                "grace_until",
            ),
        ];
        for (more, field) in rows {
            assert_eq!(fields(&with(more)), [field], "{more}");
        }
        let soon = with(r#","expires_at":"2026-01-20T10:00:00.001Z""#);
        assert!(read_in(TenantMode::Live, &soon).is_ok());
        let past = with(r#","expires_at":"2026-01-19""#);
        assert!(
            read_in(TenantMode::Sandbox, &past).is_ok(),
            "clocks of its own"
        );
    }

    #[test]
    fn fifty_features_are_the_most() {
        let many = |count: usize| {
            let words: Vec<_> = (0..count).map(|number| format!("\"f{number}\"")).collect();
            with(&format!(r#","features":[{}]"#, words.join(",")))
        };
        assert!(read_in(TenantMode::Live, &many(50)).is_ok());
        assert_eq!(fields(&many(51)), ["features"]);
    }

    #[test]
    fn wrong_types_and_unknown_fields_are_named() {
        let rows = [
            (r#"{"type":"paid"}"#.to_owned(), "customer_id"),
            (r#"{"customer_id":"acme"}"#.to_owned(), "type"),
            (r#"{"customer_id":"acme","type":"gold"}"#.to_owned(), "type"),
            (with(r#","builders":"many""#), "builders"),
            (with(r#","users":-1"#), "users"),
            (with(r#","expires_at":"soon""#), "expires_at"),
            (with(r#","starts_at":"2027-01-01""#), "starts_at"),
            (with(r#","features":"sso""#), "features"),
            (with(r#","seats":1"#), "seats"),
        ];
        for (json, field) in rows {
            assert_eq!(fields(&json), [field], "{json}");
        }
    }
}
