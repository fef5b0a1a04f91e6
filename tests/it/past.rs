//! The past: balances as they were.

use chrono::TimeDelta;
use serde_json::{Value, json};

use crate::support::{Reply, TestApp};

async fn at(app: &TestApp, instant: &str) -> Reply {
    let path = format!("/v1/pools/workspace:w/balance?at={instant}");
    app.get(&path).send().await
}

/// The version and what was available then.
async fn then(app: &TestApp, instant: &str) -> (i64, i64) {
    let balance = at(app, instant).await.expect(200).body;
    assert_eq!(balance["as_of"], instant);
    let figure = |name: &str| balance[name].as_i64().expect("a figure");
    (figure("version"), figure("available"))
}

#[tokio::test]
async fn a_balance_of_the_past_is_that_after_the_last_entry_by_then() {
    let app = TestApp::start().await;
    app.put_pool("workspace:w", json!({"plan": "pro"}))
        .await
        .expect(201);
    app.pass(TimeDelta::days(1));
    for credits in [1, 2] {
        app.debit("workspace:w", json!(credits)).await.expect(201);
    }
    app.pass(TimeDelta::days(60));
    for (instant, expected) in [
        ("2026-01-31T10:00:00.000Z", (1, 800)),
        ("2026-02-01T09:59:59.999Z", (1, 800)),
        ("2026-02-01T10:00:00.000Z", (3, 797)),
        ("2026-02-28T09:59:59.999Z", (3, 797)),
        ("2026-02-28T10:00:00.000Z", (4, 800)),
        ("2026-04-02T10:00:00.000Z", (5, 800)),
    ] {
        assert_eq!(then(&app, instant).await, expected, "{instant}");
    }
    let now = at(&app, "2026-04-02T10:00:00.000Z").await.body;
    assert_eq!(now, app.balance("workspace:w").await);
    assert_eq!(app.entries().await, 5, "what was due is booked");

    let future = at(&app, "2026-04-02T10:00:00.001Z").await;
    assert_eq!(
        future.refused(422, "validation_failed").body["errors"][0]["field"],
        "at"
    );
    let before = at(&app, "2026-01-31T09:59:59.999Z").await;
    before.refused(404, "pool_not_found");
    at(&app, "then").await.refused(422, "validation_failed");
    let unknown = "/v1/pools/workspace:x/balance?at=2026-01-31T10:00:00.000Z";
    app.get(unknown).send().await.refused(404, "pool_not_found");
}

#[tokio::test]
async fn a_pool_that_only_a_write_would_make_has_no_past() {
    let app = TestApp::start().await;
    let path = format!("/v1/tenants/{}", app.tenant);
    let settings =
        json!({"settings": {"auto_provision": {"workspace": "free", "instance": "basic"}}});
    app.operator
        .call(reqwest::Method::PATCH, &path)
        .json(&settings)
        .send()
        .await
        .expect(200);
    assert_eq!(app.balance("workspace:w").await["version"], 0);
    at(&app, "2026-01-31T10:00:00.000Z")
        .await
        .refused(404, "pool_not_found");
}

#[tokio::test]
async fn a_closed_pool_stays_as_it_was_when_it_was_closed() {
    let app = TestApp::start().await;
    app.put_pool("workspace:w", json!({"plan": "pro"}))
        .await
        .expect(201);
    app.pass(TimeDelta::days(1));
    app.delete("/v1/pools/workspace:w").send().await.expect(200);
    app.pass(TimeDelta::days(90));
    let closed = at(&app, "2026-04-02T10:00:00.000Z").await.expect(200).body;
    assert_eq!(closed, app.balance("workspace:w").await);
    assert_eq!(closed["as_of"], "2026-02-01T10:00:00.000Z");
    let before = at(&app, "2026-02-01T09:00:00.000Z").await.expect(200).body;
    assert_eq!(
        (&before["as_of"], &before["version"]),
        (&json!("2026-02-01T09:00:00.000Z"), &json!(1))
    );
}

#[tokio::test]
async fn on_a_test_clock_the_future_begins_where_the_clock_stands() {
    let app = TestApp::sandbox().await;
    let clock = json!({"now": "2030-01-01T00:00:00Z"});
    let clock = app.post("/v1/test-clocks").json(&clock).send().await;
    let body = json!({"plan": "pro", "test_clock": clock.expect(201).body["id"]});
    app.put_pool("workspace:w", body).await.expect(201);
    assert_eq!(then(&app, "2030-01-01T00:00:00.000Z").await, (1, 800));
    at(&app, "2030-01-01T00:00:00.001Z")
        .await
        .refused(422, "validation_failed");
    let before: Value = at(&app, "2026-01-31T10:00:00.000Z").await.body;
    assert_eq!(before["code"], "pool_not_found");
}
