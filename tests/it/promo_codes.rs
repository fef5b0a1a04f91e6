//! Promo codes: made, listed, redeemed within their limits, given back.

use chrono::TimeDelta;
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::stripe::Mood;
use crate::support::{Client, Reply, TestApp, serve_with, stripe_options};

pub async fn put_code(app: &Client, code: &str, body: &Value) -> Reply {
    app.put(&format!("/v1/promo-codes/{code}"))
        .json(body)
        .send()
        .await
}

/// Asks for a checkout of 500 credits.
pub async fn order(client: &Client, pool: &str, key: &str, code: Option<&str>) -> Reply {
    let body = json!({
        "credits": 500, "promo_code": code, "success_url": "https://app.example/ok",
        "cancel_url": "https://app.example/no",
    });
    client
        .post(&format!("/v1/pools/{pool}/checkouts"))
        .key(key)
        .json(&body)
        .send()
        .await
}

/// How often a code counts as redeemed, and how many rows say so.
pub async fn redeemed(app: &TestApp, code: &str) -> (Value, i64) {
    let list = app.get("/v1/promo-codes").send().await.expect(200).body;
    let row = list["data"].as_array().into_iter().flatten();
    let row = row.into_iter().find(|row| row["code"] == code);
    let mut database = app.database.connect().await;
    let rows = sqlx::query_scalar("SELECT count(*) FROM promo_redemptions WHERE code = $1")
        .bind(code)
        .fetch_one(&mut database)
        .await
        .expect("the table is there");
    (
        row.expect("the code is listed")["redemptions"].clone(),
        rows,
    )
}

#[tokio::test]
async fn a_code_is_made_changed_and_listed() {
    let app = TestApp::start().await;
    let body = json!({
        "percent_off": 12.5, "expires_at": "2026-06-01T00:00:00Z", "max_redemptions": 7,
    });
    let made = put_code(&app, "Launch-20", &body).await.expect(201).body;
    let expected = json!({
        "code": "Launch-20", "percent_off": 12.5, "amount_off_cents": null, "bonus_credits": null,
        "expires_at": "2026-06-01T00:00:00.000Z", "max_redemptions": 7, "once_per_pool": true,
        "redemptions": 0, "created_at": "2026-01-31T10:00:00.000Z",
    });
    assert_eq!(made, expected);
    app.pass(TimeDelta::seconds(1));
    let other = json!({"bonus_credits": 50, "once_per_pool": false});
    put_code(&app, "bonus", &other).await.expect(201);
    let changed = json!({"amount_off_cents": 120});
    let changed = put_code(&app, "Launch-20", &changed).await.expect(200).body;
    assert_eq!(changed["amount_off_cents"], 120);
    assert_eq!(changed["expires_at"], json!(null));
    assert_eq!(changed["created_at"], "2026-01-31T10:00:00.000Z");
    let page = app
        .get("/v1/promo-codes?limit=1")
        .send()
        .await
        .expect(200)
        .body;
    assert_eq!(page["data"][0]["code"], "bonus");
    let next = page["next_cursor"].as_str().expect("a next page");
    let path = format!("/v1/promo-codes?limit=1&cursor={next}");
    let page = app.get(&path).send().await.expect(200).body;
    assert_eq!(page["data"][0], changed);
    assert_eq!(page["next_cursor"], json!(null));
    let none = app.stranger().await.get("/v1/promo-codes").send().await;
    assert_eq!(none.expect(200).body["data"], json!([]));
}

#[tokio::test]
async fn bad_codes_are_refused_by_name() {
    let app = TestApp::start().await;
    for (body, field) in [
        (json!({}), "body"),
        (json!({"percent_off": 10, "bonus_credits": 10}), "body"),
        (json!({"percent_off": 0}), "percent_off"),
        (json!({"percent_off": 100.01}), "percent_off"),
        (json!({"percent_off": 0.001}), "percent_off"),
        (json!({"amount_off_cents": 0}), "amount_off_cents"),
        (json!({"amount_off_cents": 1.5}), "amount_off_cents"),
        (json!({"bonus_credits": -1}), "bonus_credits"),
        (
            json!({"percent_off": 1, "max_redemptions": 0}),
            "max_redemptions",
        ),
        (
            json!({"percent_off": 1, "expires_at": "soon"}),
            "expires_at",
        ),
    ] {
        let refused = put_code(&app, "x", &body).await;
        let refused = refused.refused(422, "validation_failed");
        assert_eq!(refused.body["errors"][0]["field"], field, "{body}");
    }
    let body = json!({"percent_off": 1});
    let refused = put_code(&app, "with%20space", &body).await;
    refused.refused(422, "validation_failed");
    let buyer = app.with_scopes(&["purchases:write"]).await;
    put_code(&buyer, "x", &body)
        .await
        .refused(403, "scope_missing");
}

#[tokio::test]
async fn a_code_that_is_not_good_refuses_the_checkout_and_nothing_is_used_up() {
    let (app, _stripe) = TestApp::with_stripe().await;
    for pool in ["workspace:a", "workspace:b"] {
        app.put_pool(pool, json!({"plan": "pro"})).await.expect(201);
    }
    let over = json!({"percent_off": 10, "expires_at": "2026-01-31T10:00:00Z"});
    put_code(&app, "over", &over).await.expect(201);
    put_code(&app, "once", &json!({"percent_off": 10}))
        .await
        .expect(201);
    let few = json!({"percent_off": 10, "max_redemptions": 1, "once_per_pool": false});
    put_code(&app, "few", &few).await.expect(201);
    for code in ["unknown", "over", "not a code", ""] {
        let refused = order(&app, "workspace:a", "k", Some(code)).await;
        refused.refused(422, "promo_code_invalid");
    }
    order(&app, "workspace:a", "k", Some("once"))
        .await
        .expect(201);
    order(&app, "workspace:a", "l", Some("few"))
        .await
        .expect(201);
    for code in ["once", "few"] {
        let refused = order(&app, "workspace:a", "m", Some(code)).await;
        refused.refused(422, "promo_code_invalid");
    }
    order(&app, "workspace:b", "m", Some("once"))
        .await
        .expect(201);
    let refused = order(&app, "workspace:b", "n", Some("few")).await;
    refused.refused(422, "promo_code_invalid");
    // Another tenant's code is unknown.
    let stranger = app.stranger().await;
    stranger
        .put_pool("workspace:a", json!({"plan": "pro"}))
        .await
        .expect(201);
    let refused = order(&stranger, "workspace:a", "k", Some("once")).await;
    refused.refused(422, "promo_code_invalid");
    assert_eq!(redeemed(&app, "once").await, (json!(2), 2));
    assert_eq!(redeemed(&app, "few").await, (json!(1), 1));
}

#[tokio::test]
async fn fifty_checkouts_at_once_never_pass_the_limit_on_two_replicas() {
    let (app, stripe) = TestApp::with_stripe().await;
    let options = stripe_options(&stripe);
    let (replica, ..) = serve_with(&app.database.url, app.clock.clone(), options).await;
    let replica = replica.with_key(&app.bearer);
    for number in 0..50 {
        let pool = format!("workspace:p{number}");
        app.put_pool(&pool, json!({"plan": "pro"}))
            .await
            .expect(201);
    }
    let ten = json!({"amount_off_cents": 100, "max_redemptions": 10});
    put_code(&app, "ten", &ten).await.expect(201);
    let orders = (0..50).map(|number| {
        let client: &Client = if number % 2 == 0 { &app } else { &replica };
        async move { order(client, &format!("workspace:p{number}"), "k", Some("ten")).await }
    });
    let replies = join_all(orders).await;
    let made = replies.iter().filter(|reply| reply.status == 201).count();
    assert_eq!(made, 10);
    for reply in replies.iter().filter(|reply| reply.status != 201) {
        assert_eq!(reply.code(), "promo_code_invalid", "{}", reply.text);
    }
    assert_eq!(redeemed(&app, "ten").await, (json!(10), 10));
    assert_eq!(stripe.session_count(), 10);
}

#[tokio::test]
async fn a_pool_uses_a_code_once_however_many_ask_at_once() {
    let (app, _stripe) = TestApp::with_stripe().await;
    app.put_pool("instance:a", json!({"plan": "pro"}))
        .await
        .expect(201);
    put_code(&app, "once", &json!({"percent_off": 50}))
        .await
        .expect(201);
    let keys: Vec<String> = (0..10).map(|number| format!("k{number}")).collect();
    let orders = keys
        .iter()
        .map(|key| order(&app, "instance:a", key, Some("once")));
    let replies = join_all(orders).await;
    let made = replies.iter().filter(|reply| reply.status == 201).count();
    assert_eq!(made, 1);
    assert_eq!(redeemed(&app, "once").await, (json!(1), 1));
}

#[tokio::test]
async fn a_failed_checkout_gives_its_redemption_back() {
    let (app, stripe) = TestApp::with_stripe().await;
    app.put_pool("workspace:a", json!({"plan": "pro"}))
        .await
        .expect(201);
    let one = json!({"percent_off": 50, "max_redemptions": 1});
    put_code(&app, "one", &one).await.expect(201);
    stripe.be(Mood::Answers(500));
    let failed = order(&app, "workspace:a", "k", Some("one")).await;
    failed.refused(502, "payment_provider_error");
    assert_eq!(redeemed(&app, "one").await, (json!(0), 0));
    stripe.be(Mood::Good);
    let made = order(&app, "workspace:a", "k", Some("one"))
        .await
        .expect(201);
    assert_eq!(made.header("idempotency-replayed"), None);
    assert_eq!(made.body["total_cents"], 250);
    assert_eq!(redeemed(&app, "one").await, (json!(1), 1));
}
