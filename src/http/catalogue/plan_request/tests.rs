//! What a PUT makes of a plan, decided on the catalogue every tenant starts with.

use super::*;
use crate::http::extract::parse_json;

const NOW: &str = "2026-03-01T00:00:00Z";
const PRO: &str = r#""name":"Pro","allowance":{"per":"builder","credits":800}"#;

fn time(text: &str) -> Time {
    text.parse().expect("a time")
}

fn sold() -> Catalogue {
    Catalogue::initial(time("2026-01-01T00:00:00Z"))
}

fn put(code: &str, json: &str, sold: &Catalogue) -> Result<Decision, serde_json::Value> {
    let request = parse_json::<PlanRequest>(format!("{{{json}}}").as_bytes());
    let code = code.parse().expect("a code");
    let result = request.and_then(|request| request.decide(code, sold, time(NOW)));
    result.map_err(|problem| serde_json::to_value(problem.body("r")).expect("a body"))
}

/// The catalogue after a PUT.
fn after(code: &str, json: &str, sold: &Catalogue) -> Catalogue {
    let Decision { code, plan, .. } = put(code, json, sold).expect("a good PUT");
    let mut sold = sold.clone();
    sold.plans.insert(code, plan);
    sold
}

fn is_none(decision: &Decision) -> bool {
    decision.change == CatalogueChange::None
}

#[test]
fn a_new_plan_has_the_defaults() {
    let made = put("gold", PRO, &sold()).expect("a good plan");
    let version = &made.plan.versions[0];
    assert!(made.created && made.plan.versions.len() == 1);
    assert_eq!((version.version, version.effective_at), (1, time(NOW)));
    assert!(version.addons && !version.legacy_prices);
    assert_eq!(version.denomination, Denomination::One);
}

#[test]
fn what_is_left_out_stays_as_it_was() {
    let json = r#""name":"Legacy","allowance":{"per":"pool","credits":40}"#;
    let changed = put("legacy_free", json, &sold()).expect("a good plan");
    let version = changed.plan.versions.last().expect("a version");
    assert!(version.legacy_prices && !version.addons && version.version == 2);
    assert_eq!(version.denomination, Denomination::Tenth);
    let json = format!(r#"{PRO},"addons":false"#);
    let pro = put("pro", &json, &sold()).expect("a good plan").plan;
    assert_eq!(pro.aliases.len(), 1);
}

#[test]
fn a_repeated_put_adds_no_version() {
    let same = put("pro", PRO, &sold()).expect("a good plan");
    assert!(is_none(&same) && !same.created);
    let json = format!(r#"{PRO},"addons":false,"effective_at":"2026-06-01T00:00:00Z""#);
    let once = after("pro", &json, &sold());
    let twice = put("pro", &json, &once).expect("a good plan");
    assert!(is_none(&twice) && twice.plan.versions.len() == 2);
}

#[test]
fn a_put_beside_an_upcoming_version_is_a_new_one() {
    let json = format!(r#"{PRO},"addons":false,"effective_at":"2026-06-01T00:00:00Z""#);
    let upcoming = after("pro", &json, &sold());
    let json = format!(r#"{PRO},"addons":true"#);
    let back = after("pro", &json, &upcoming);
    let plan = &back.plans[&"pro".parse().expect("a code")];
    assert_eq!(plan.versions.len(), 3);
    assert!(plan.version(None).addons && plan.version(Some(time(NOW))).addons);
    assert!(is_none(&put("pro", &json, &back).expect("a good plan")));
}

#[test]
fn aliases_change_without_a_version() {
    let json = format!(r#"{PRO},"aliases":["flexible","growth"]"#);
    let changed = put("pro", &json, &sold()).expect("a good plan");
    assert!(!is_none(&changed) && changed.plan.versions.len() == 1);
    assert_eq!(changed.plan.aliases.len(), 2);
}

#[test]
fn a_name_means_one_plan_only() {
    let with = |alias: &str| format!(r#"{PRO},"aliases":["{alias}"]"#);
    for (code, json) in [
        ("gold", with("team")),
        ("gold", with("business")),
        ("flexible", PRO.to_owned()),
    ] {
        let body = put(code, &json, &sold()).expect_err(code);
        assert_eq!(body["code"], "alias_taken", "{body}");
    }
}

#[test]
fn every_broken_rule_is_named() {
    let rows = [
        ("gold", r#""aliases":[]"#, vec!["name", "allowance"]),
        (
            "gold",
            r#""name":"","allowance":{"per":"day"}"#,
            vec!["name", "allowance.per"],
        ),
        (
            "gold",
            r#""name":"G","allowance":{"per":"pool"}"#,
            vec!["allowance.credits"],
        ),
        (
            "gold",
            r#""name":"G","allowance":{"per":"custom","credits":5}"#,
            vec!["allowance.credits"],
        ),
        (
            "gold",
            r#""name":"G","allowance":{"per":"pool","credits":0.001},"denomination":0.5"#,
            vec!["allowance.credits", "denomination"],
        ),
        (
            "gold",
            r#""name":"G","allowance":{"per":"custom"},"aliases":["gold","A","b","b"]"#,
            vec!["aliases[0]", "aliases[1]", "aliases[3]"],
        ),
        (
            "gold",
            r#""name":"G","allowance":{"per":"custom"},"effective_at":"2026-02-28T23:59:59Z""#,
            vec!["effective_at"],
        ),
        (
            "free",
            r#""name":"F","allowance":{"per":"custom"}"#,
            vec!["allowance.per"],
        ),
    ];
    for (code, json, fields) in rows {
        let body = put(code, json, &sold()).expect_err(json);
        let errors = body["errors"].as_array().expect("errors");
        let named: Vec<_> = errors.iter().map(|error| error["field"].clone()).collect();
        assert_eq!(named, fields, "{json}");
    }
}
