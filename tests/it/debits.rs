//! Debits over HTTP: the shape, replays, reads, lists, and what is refused.

use serde_json::{Value, json};

use crate::support::{Reply, TestApp};

const DEBITS: &str = "/v1/pools/workspace:w/debits";

async fn app_on(plan: &str) -> TestApp {
    let app = TestApp::start().await;
    app.put_pool("workspace:w", json!({"plan": plan}))
        .await
        .expect(201);
    app
}

async fn debit(app: &TestApp, body: &Value) -> Reply {
    app.post(DEBITS).json(body).send().await
}

#[tokio::test]
async fn a_debit_says_where_its_credits_came_from() {
    let app = app_on("pro").await;
    let buy = json!({"credits": 100, "payment_reference": "pi_1"});
    app.post("/v1/pools/workspace:w/purchases")
        .json(&buy)
        .send()
        .await
        .expect(201);
    debit(&app, &json!({"credits": 750})).await.expect(201);
    let body = json!({
        "credits": 200, "operation": "app_generation", "user_id": "u-1", "workspace_id": "w-9",
        "run_id": "r-55", "model": "m-1", "mode": "settle", "metadata": {"k": [1]},
    });
    let booked = debit(&app, &body).await.expect(201);
    assert_eq!(booked.header("idempotency-replayed"), None);
    let expected = json!({
        "id": booked.body["id"], "pool": "workspace:w", "seq": 4, "credits": 200,
        "monthly": 50, "addon": 100, "overdraft": 50, "operation": "app_generation",
        "user_id": "u-1", "workspace_id": "w-9", "run_id": "r-55", "model": "m-1",
        "mode": "settle", "created_at": "2026-01-31T10:00:00.000Z",
        "balance": app.balance("workspace:w").await,
    });
    assert_eq!(booked.body, expected);
    assert_eq!(booked.body["balance"]["available"], -50);

    let id = booked.body["id"].as_str().expect("an id");
    let read = app.get(&format!("{DEBITS}/{id}")).send().await.expect(200);
    assert_eq!(read.body, booked.body);
    app.verify().await;
}

#[tokio::test]
async fn a_replay_is_the_first_answer_even_when_everything_changed() {
    let app = app_on("pro").await;
    let body = json!({"credits": 7.5, "round": "up", "user_id": "u"});
    let first = app
        .post(DEBITS)
        .key("k")
        .json(&body)
        .send()
        .await
        .expect(201);
    assert_eq!(
        (&first.body["credits"], &first.body["requested"]),
        (&json!(8), &json!(7.5))
    );
    debit(&app, &json!({"credits": 100})).await.expect(201);
    app.delete("/v1/pools/workspace:w").send().await.expect(200);

    // The same request in other words: order of fields, form of the number, nulls.
    let again = r#"{"user_id":"u","model":null,"round":"up","credits":75e-1,"mode":"strict"}"#;
    let again = app
        .post(DEBITS)
        .key("k")
        .raw(again)
        .send()
        .await
        .expect(201);
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(again.text, first.text);
    let other = app
        .post(DEBITS)
        .key("k")
        .json(&json!({"credits": 8}))
        .send()
        .await;
    other.refused(422, "idempotency_key_reused");
    app.verify().await;
}

#[tokio::test]
async fn only_a_rounded_debit_says_what_was_requested() {
    let app = app_on("pro").await;
    let rows = [
        (json!({"credits": 7}), json!(7), Value::Null),
        (json!({"credits": 7, "round": "up"}), json!(7), json!(7)),
        (
            json!({"credits": 7.01, "round": "up"}),
            json!(8),
            json!(7.01),
        ),
        (
            json!({"credits": 7.49, "round": "nearest"}),
            json!(7),
            json!(7.49),
        ),
        (json!({"credits": 1e2}), json!(100), Value::Null),
    ];
    for (body, credits, requested) in rows {
        let booked = debit(&app, &body).await.expect(201).body;
        assert_eq!(
            (&booked["credits"], &booked["requested"]),
            (&credits, &requested),
            "{body}"
        );
    }
    let fine = app_on("legacy_pro").await;
    let booked = debit(&fine, &json!({"credits": 0.3}))
        .await
        .expect(201)
        .body;
    assert_eq!(booked["balance"]["available"], json!(199.7));
}

#[tokio::test]
async fn a_short_pool_says_what_is_missing() {
    let app = app_on("free").await;
    debit(&app, &json!({"credits": 60})).await.expect(201);
    let short = debit(&app, &json!({"credits": 70}))
        .await
        .refused(402, "insufficient_credits");
    assert_eq!(short.body["required"], 70);
    assert_eq!(short.body["available"], 40);
    assert_eq!(short.body["shortfall"], 30);
    assert_eq!(short.body["renews_at"], "2026-02-28T10:00:00.000Z");
    assert_eq!(short.body["plan_allows_addons"], false);
    debit(&app, &json!({"credits": 40})).await.expect(201);
    debit(&app, &json!({"credits": 1}))
        .await
        .refused(402, "pool_empty");
    assert_eq!(app.entries().await, 3);
}

#[tokio::test]
async fn prices_are_fixed_where_they_are_fixed() {
    let app = app_on("legacy_pro").await;
    let body = json!({"operation": "app_generation"});
    assert_eq!(debit(&app, &body).await.expect(201).body["credits"], 10);
    let body = json!({"operation": "app_generation", "credits": 10});
    debit(&app, &body).await.expect(201);
    let body = json!({"operation": "app_generation", "credits": 11});
    let refused = debit(&app, &body).await.refused(422, "price_is_fixed");
    assert_eq!(refused.body["price"], 10);
    let app = app_on("pro").await;
    let refused = debit(&app, &body_without_credits())
        .await
        .refused(422, "validation_failed");
    assert_eq!(refused.body["errors"][0]["field"], "credits");
}

fn body_without_credits() -> Value {
    json!({"operation": "app_generation"})
}

/// Bodies that are not valid, each with the field that is named.
fn invalid_debits() -> Vec<(String, &'static str)> {
    let long = "x".repeat(129);
    vec![
        (json!({}).to_string(), "credits"),
        (json!({"credits": 0}).to_string(), "credits"),
        (json!({"credits": -1}).to_string(), "credits"),
        (json!({"credits": 0.001}).to_string(), "credits"),
        (json!({"credits": 1_000_000_001}).to_string(), "credits"),
        (r#"{"credits":1e999}"#.to_owned(), "credits"),
        (json!({"credits": "7"}).to_string(), "credits"),
        (
            json!({"credits": 1, "user_id": long}).to_string(),
            "user_id",
        ),
        (
            json!({"credits": 1, "run_id": "a\u{0}"}).to_string(),
            "run_id",
        ),
        (json!({"credits": 1, "mode": "loose"}).to_string(), "mode"),
        (json!({"credits": 1, "amount": 1}).to_string(), "amount"),
        (r#"{"credits":1,"credits":1}"#.to_owned(), "credits"),
        (
            r#"{"credits":1,"metadata":{"a":1,"a":1}}"#.to_owned(),
            "metadata.a",
        ),
        ("[]".to_owned(), "body"),
    ]
}

#[tokio::test]
async fn bad_debits_are_refused_by_name_and_book_nothing() {
    let app = app_on("pro").await;
    for (body, field) in invalid_debits() {
        let refused = app
            .post(DEBITS)
            .raw(body.clone())
            .send()
            .await
            .refused(422, "validation_failed");
        assert_eq!(refused.body["errors"][0]["field"], field, "{body}");
    }
    for body in ["", "{", r#"{"credits":NaN}"#, "{\"credits\":1}x"] {
        app.post(DEBITS)
            .raw(body)
            .send()
            .await
            .refused(400, "malformed_json");
    }
    debit(&app, &json!({"credits": 1.5}))
        .await
        .refused(422, "not_a_multiple");
    let unknown = json!({"credits": 1, "operation": "Nothing"});
    debit(&app, &unknown)
        .await
        .refused(422, "unknown_operation");
    assert_eq!(app.entries().await, 1);
}

#[tokio::test]
async fn keys_are_needed_and_checked_before_the_body() {
    let app = app_on("pro").await;
    let none = app
        .call(reqwest::Method::POST, DEBITS)
        .raw("{")
        .send()
        .await;
    none.refused(400, "idempotency_key_missing");
    let long = app.post(DEBITS).key(&"x".repeat(256)).raw("{").send().await;
    let long = long.refused(422, "validation_failed");
    assert_eq!(long.body["errors"][0]["field"], "Idempotency-Key");
    let text = app
        .post(DEBITS)
        .set("content-type", "text/plain")
        .send()
        .await;
    text.refused(415, "unsupported_media_type");
    // A refused request does not use up its key.
    app.post(DEBITS)
        .key("k")
        .json(&json!({"credits": 801}))
        .send()
        .await
        .expect(402);
    let booked = app
        .post(DEBITS)
        .key("k")
        .json(&json!({"credits": 1}))
        .send()
        .await
        .expect(201);
    assert_eq!(booked.header("idempotency-replayed"), None);
}

#[tokio::test]
async fn debits_are_listed_newest_first_by_run_and_user() {
    let app = app_on("pro").await;
    for (run, user) in [("r-1", "u-1"), ("r-1", "u-2"), ("r-2", "u-1")] {
        let body = json!({"credits": 1, "run_id": run, "user_id": user});
        debit(&app, &body).await.expect(201);
    }
    let seqs = async |query: &str| {
        let page = app
            .get(&format!("{DEBITS}{query}"))
            .send()
            .await
            .expect(200)
            .body;
        let data = page["data"].as_array().expect("a page").clone();
        data.iter()
            .map(|debit| debit["seq"].as_i64().expect("a number"))
            .collect::<Vec<_>>()
    };
    assert_eq!(seqs("").await, [4, 3, 2]);
    assert_eq!(seqs("?run_id=r-1").await, [3, 2]);
    assert_eq!(seqs("?user_id=u-1").await, [4, 2]);
    assert_eq!(seqs("?user_id=u-1&run_id=r-1").await, [2]);
    let page = app
        .get(&format!("{DEBITS}?limit=2"))
        .send()
        .await
        .expect(200)
        .body;
    let cursor = page["next_cursor"].as_str().expect("a next page");
    assert_eq!(seqs(&format!("?limit=2&cursor={cursor}")).await, [2]);
    app.get(&format!("{DEBITS}?run=r-1"))
        .send()
        .await
        .refused(422, "validation_failed");
    app.get("/v1/pools/workspace:x/debits")
        .send()
        .await
        .refused(404, "pool_not_found");
}

#[tokio::test]
async fn a_debit_is_found_in_its_own_pool_only() {
    let app = app_on("pro").await;
    app.put_pool("workspace:v", json!({"plan": "pro"}))
        .await
        .expect(201);
    let booked = debit(&app, &json!({"credits": 1})).await.expect(201).body;
    let id = booked["id"].as_str().expect("an id");
    let entries = app
        .get("/v1/pools/workspace:w/transactions")
        .send()
        .await
        .expect(200)
        .body;
    let opening = entries["data"][1]["id"].as_str().expect("an id");
    for path in [
        format!("/v1/pools/workspace:v/debits/{id}"),
        format!("{DEBITS}/{opening}"),
        format!("{DEBITS}/0190a000-0000-7000-8000-000000000000"),
        format!("{DEBITS}/nothing"),
    ] {
        app.get(&path).send().await.refused(404, "not_found");
    }
    app.get("/v1/pools/nowhere:v/debits/x")
        .send()
        .await
        .refused(422, "validation_failed");
}
