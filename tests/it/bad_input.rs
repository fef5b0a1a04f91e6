//! Bodies, names and queries that are not as they must be: each is refused by name, and nothing is
//! booked.

use serde_json::json;

use crate::support::TestApp;

const DEBITS: &str = "/v1/pools/workspace:a/debits";

#[tokio::test]
async fn bad_input_is_named_and_books_nothing() {
    let app = TestApp::start().await;
    app.put_pool("workspace:a", json!({"plan": "pro"}))
        .await
        .expect(201);
    let long = "x".repeat(10_000);
    let long_user = format!(r#"{{"credits":1,"user_id":"{long}"}}"#);
    let long_field = format!(r#"{{"credits":1,"{long}":1}}"#);
    let rows = [
        (r#"{"credits":"1"}"#, "credits"),
        (r#"{"credits":[1]}"#, "credits"),
        (r#"{"credits":1e10}"#, "credits"),
        (r#"{"credits":1e-3}"#, "credits"),
        (r#"{"credits":99999999999999999999999999999999}"#, "credits"),
        (r#"{"credits":0}"#, "credits"),
        (r#"{"credits":-1}"#, "credits"),
        (r#"{"credits":1,"credits":2}"#, "credits"),
        (r#"{"credits":1,"mode":"maybe"}"#, "mode"),
        (r#"{"credits":1,"user_id":"a\u0000"}"#, "user_id"),
        (r#"{"credits":1,"metadata":[]}"#, "metadata"),
        (
            r#"{"credits":1,"metadata":{"a":{"b":1,"b":2}}}"#,
            "metadata.a.b",
        ),
        (r#"{"credits":1,"metadata":{"a":"\u0000"}}"#, "metadata"),
        ("[]", "body"),
        ("null", "body"),
        (&long_user, "user_id"),
    ];
    for (body, field) in rows {
        let refused = app.post(DEBITS).raw(body.to_owned()).send().await;
        let refused = refused.refused(422, "validation_failed");
        assert_eq!(refused.body["errors"][0]["field"], field, "{body}");
    }
    let refused = app.post(DEBITS).raw(long_field).send().await;
    refused.refused(422, "validation_failed");
    let deep = format!(
        r#"{{"credits":1,"metadata":{}{}}}"#,
        r#"{"a":"#.repeat(50_000),
        "}".repeat(50_000)
    );
    for body in [
        &deep,
        "",
        "{",
        "{\"credits\":+1}",
        "{\"credits\":.5}",
        "{\"credits\":Infinity}",
    ] {
        let refused = app.post(DEBITS).raw(body.to_owned()).send().await;
        refused.refused(400, "malformed_json");
    }
    app.post(DEBITS)
        .json(&json!({"credits": 1}))
        .key(&long)
        .send()
        .await
        .refused(422, "validation_failed");
    assert_eq!(app.entries().await, 1);
    let exponent = app.post(DEBITS).raw(r#"{"credits":1e2}"#).send().await;
    assert_eq!(exponent.expect(201).body["credits"], json!(100));
}

#[tokio::test]
async fn a_name_that_is_none_is_refused_by_name() {
    let app = TestApp::start().await;
    let long = format!("workspace:{}", "x".repeat(129));
    for name in [
        "workspace:",
        "team:a",
        "workspace:a%2Fb",
        "workspace:a%00",
        "workspace:%FF",
        &long,
    ] {
        let path = format!("/v1/pools/{name}/balance");
        let refused = app
            .get(&path)
            .send()
            .await
            .refused(422, "validation_failed");
        assert_eq!(refused.body["errors"][0]["field"], "pool", "{name}");
    }
    app.get("/v1/pools/workspace:a/b/balance")
        .send()
        .await
        .refused(404, "not_found");
    app.put_pool("workspace%3Aa", json!({"plan": "free"}))
        .await
        .expect(201);
    app.get("/v1/pools/workspace:a/balance")
        .send()
        .await
        .expect(200);
}

#[tokio::test]
async fn a_query_is_read_strictly() {
    let app = TestApp::start().await;
    let rows = [
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("limit=ten", "limit"),
        ("limit=1&limit=2", "limit"),
        ("cursor=nonsense", "cursor"),
        ("page=2", "page"),
    ];
    for (query, field) in rows {
        let refused = app.get(&format!("/v1/plans?{query}")).send().await;
        let refused = refused.refused(422, "validation_failed");
        assert_eq!(refused.body["errors"][0]["field"], field, "{query}");
    }
}

#[tokio::test]
async fn a_body_just_too_large_is_refused_and_just_small_enough_is_read() {
    let app = TestApp::start().await;
    let body = |bytes: usize| {
        let start = r#"{"pools":["workspace:a"]"#;
        format!("{start}{}}}", " ".repeat(bytes - start.len() - 1))
    };
    let fits = app.post("/v1/balances").raw(body(1 << 20)).send().await;
    fits.expect(200);
    let refused = app
        .post("/v1/balances")
        .raw(body((1 << 20) + 1))
        .send()
        .await;
    let refused = refused.refused(413, "payload_too_large");
    assert_eq!(refused.body["maximum_bytes"], json!(1 << 20));
}
