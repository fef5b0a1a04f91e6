//! Test clocks: pools of sandbox tenants in a time of their own.

use serde_json::json;

use crate::support::{Client, Reply, TestApp};

async fn new_clock(client: &Client, now: &str) -> String {
    let clock = client
        .post("/v1/test-clocks")
        .json(&json!({"now": now}))
        .send()
        .await;
    clock.expect(201).body["id"]
        .as_str()
        .expect("an id")
        .to_owned()
}

async fn advance(client: &Client, clock: &str, to: &str) -> Reply {
    let path = format!("/v1/test-clocks/{clock}/advance");
    client.post(&path).json(&json!({"to": to})).send().await
}

#[tokio::test]
async fn a_pool_on_a_clock_lives_in_its_time() {
    let app = TestApp::sandbox().await;
    let clock = new_clock(&app, "2030-01-31T10:00:00Z").await;
    let pool = json!({"plan": "pro", "test_clock": clock});
    let made = app.put_pool("workspace:a", pool).await.expect(201).body;
    assert_eq!(made["cycle"]["start"], "2030-01-31T10:00:00.000Z");
    app.debit("workspace:a", json!(300)).await.expect(201);

    app.at("2040-01-01T00:00:00Z");
    assert_eq!(app.balance("workspace:a").await["available"], json!(500));
    let moved = advance(&app, &clock, "2030-03-31T12:00:00+02:00")
        .await
        .expect(200);
    assert_eq!(
        moved.body,
        json!({"id": clock, "now": "2030-03-31T10:00:00.000Z"})
    );
    let balance = app.balance("workspace:a").await;
    assert_eq!(balance["as_of"], "2030-03-31T10:00:00.000Z");
    assert_eq!(
        (&balance["available"], &balance["version"]),
        (&json!(800), &json!(4))
    );
    app.verify().await;
}

#[tokio::test]
async fn everything_due_is_booked_when_the_clock_answers() {
    let app = TestApp::sandbox().await;
    let clock = new_clock(&app, "2026-01-31T10:00:00Z").await;
    for number in 0..20 {
        let pool = json!({"plan": "free", "test_clock": clock});
        app.put_pool(&format!("workspace:{number}"), pool)
            .await
            .expect(201);
    }
    assert_eq!(app.entries().await, 20);
    advance(&app, &clock, "2027-01-31T10:00:00Z")
        .await
        .expect(200);
    assert_eq!(app.entries().await, 20 * 13);
    advance(&app, &clock, "2027-01-31T10:00:00Z")
        .await
        .expect(200);
    assert_eq!(app.entries().await, 20 * 13);
    app.verify().await;
}

#[tokio::test]
async fn a_hundred_years_at_once_are_booked_month_by_month() {
    let app = TestApp::sandbox().await;
    let clock = new_clock(&app, "2026-01-31T10:00:00Z").await;
    let pool = json!({"plan": "free", "test_clock": clock});
    app.put_pool("workspace:a", pool).await.expect(201);
    advance(&app, &clock, "2126-01-31T10:00:00Z")
        .await
        .expect(200);
    assert_eq!(app.balance("workspace:a").await["version"], json!(1_201));
    app.verify().await;
}

#[tokio::test]
async fn a_clock_goes_forward_only_and_not_too_far() {
    let app = TestApp::sandbox().await;
    let clock = new_clock(&app, "2026-01-31T10:00:00Z").await;
    let refused = advance(&app, &clock, "2026-01-31T09:59:59.999Z").await;
    let refused = refused.refused(409, "clock_backwards");
    assert_eq!(refused.body["now"], "2026-01-31T10:00:00.000Z");
    for (to, field) in [("2126-01-31T10:00:00.001Z", "to"), ("tomorrow", "to")] {
        let refused = advance(&app, &clock, to)
            .await
            .refused(422, "validation_failed");
        assert_eq!(refused.body["errors"][0]["field"], field, "{to}");
    }
    let late = json!({"now": "9999-01-01T00:00:00Z"});
    let refused = app.post("/v1/test-clocks").json(&late).send().await;
    refused.refused(422, "validation_failed");
}

#[tokio::test]
async fn clocks_are_for_their_own_sandbox_tenant() {
    let app = TestApp::sandbox().await;
    let clock = new_clock(&app, "2026-01-31T10:00:00Z").await;
    let (_, other) = app.operator.new_tenant("sandbox").await;
    let live = app.stranger().await;
    let to = "2026-02-28T10:00:00Z";
    advance(&other, &clock, to).await.refused(404, "not_found");
    advance(&app, "7", to).await.refused(404, "not_found");
    advance(&live, &clock, to)
        .await
        .refused(403, "sandbox_only");
    let new = live.post("/v1/test-clocks").raw("{");
    new.send().await.refused(403, "sandbox_only");
    let reader = app.with_scopes(&["balances:read"]).await;
    advance(&reader, &clock, to)
        .await
        .refused(403, "scope_missing");
}

#[tokio::test]
async fn pools_on_a_clock_use_the_newest_version_of_their_plan() {
    let app = TestApp::sandbox().await;
    let clock = new_clock(&app, "2020-01-31T10:00:00Z").await;
    let pool = json!({"plan": "pro", "test_clock": clock});
    app.put_pool("workspace:a", pool).await.expect(201);
    let plan = json!({
        "name": "Pro", "allowance": {"per": "builder", "credits": 900},
        "effective_at": "2030-01-01T00:00:00Z",
    });
    app.put("/v1/plans/pro")
        .json(&plan)
        .send()
        .await
        .expect(200);
    assert_eq!(
        app.balance("workspace:a").await["monthly"]["granted"],
        json!(800)
    );
    advance(&app, &clock, "2020-02-29T10:00:00Z")
        .await
        .expect(200);
    assert_eq!(
        app.balance("workspace:a").await["monthly"]["granted"],
        json!(900)
    );
}
