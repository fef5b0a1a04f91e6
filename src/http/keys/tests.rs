//! What a new key may be: its shape, its scopes, and who may give them.

use super::*;
use crate::http::extract::parse_json;
use crate::ledger::TenantId;
use crate::store::TenantMode;

fn admin(scopes: Option<&[Scope]>) -> KeyAdmin {
    let tenant = TenantId::from(Uuid::nil());
    let caller = scopes.map(|scopes| Caller {
        tenant,
        mode: TenantMode::Live,
        key: KeyId::from(Uuid::nil()),
        scopes: scopes.iter().copied().collect(),
        pools: None,
    });
    KeyAdmin {
        tenant,
        mode: TenantMode::Live,
        caller,
    }
}

fn read(json: &str) -> Result<KeyRecord, serde_json::Value> {
    let now = "2026-01-01T00:00:00Z".parse().expect("a time");
    let request = parse_json::<NewKeyRequest>(json.as_bytes());
    let result = request.and_then(|request| request.read(&admin(None), now));
    result.map_err(|problem| serde_json::to_value(problem.body("r")).expect("a body"))
}

#[test]
fn a_key_is_bound_to_the_pools_it_names() {
    let key = read(
        r#"{"name":"self-hosted","scopes":["debits:write","balances:read"],
            "pools":["instance:a","instance:a"],"expires_at":"2026-06-01T00:00:00Z"}"#,
    )
    .expect("a good key");
    assert_eq!(key.pools.map(|pools| pools.len()), Some(1));
    let scopes: Vec<_> = key.scopes.iter().collect();
    assert_eq!(scopes, [Scope::BalancesRead, Scope::DebitsWrite]);
}

#[test]
fn every_broken_rule_is_named() {
    let rows = [
        ("{}", vec!["name", "scopes"]),
        (r#"{"name":"","scopes":[]}"#, vec!["name", "scopes"]),
        (r#"{"name":"a","scopes":["all"]}"#, vec!["scopes"]),
        (
            r#"{"name":"a","scopes":["admin"],"pools":["workspace:a"]}"#,
            vec!["scopes"],
        ),
        (
            r#"{"name":"a","scopes":["debits:write"],"pools":[]}"#,
            vec!["pools"],
        ),
        (
            r#"{"name":"a","scopes":["debits:write"],"pools":["workspace:a","b"]}"#,
            vec!["pools[1]"],
        ),
        (
            r#"{"name":"a","scopes":["admin"],"expires_at":"2025-12-31T23:59:59Z"}"#,
            vec!["expires_at"],
        ),
    ];
    for (json, fields) in rows {
        let body = read(json).expect_err(json);
        let errors = body["errors"].as_array().expect("errors");
        let named: Vec<_> = errors.iter().map(|error| error["field"].clone()).collect();
        assert_eq!(named, fields, "{json}");
    }
}

#[test]
fn a_key_gives_no_more_than_it_has() {
    let give = |giver: Option<&[Scope]>, scopes: &[Scope]| {
        may_give(
            admin(giver).caller.as_ref(),
            scopes.iter().copied().collect(),
        )
        .is_ok()
    };
    assert!(give(None, &[Scope::Admin]));
    assert!(give(Some(&[Scope::Admin]), &Scope::ALL));
    assert!(give(Some(&[Scope::KeysWrite]), &[Scope::KeysWrite]));
    assert!(!give(
        Some(&[Scope::KeysWrite]),
        &[Scope::KeysWrite, Scope::DebitsWrite]
    ));
    assert!(!give(
        Some(&[Scope::KeysWrite, Scope::DebitsWrite]),
        &[Scope::Admin]
    ));
}
