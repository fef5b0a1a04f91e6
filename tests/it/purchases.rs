//! Recorded purchases and adjustments over HTTP.

use chrono::TimeDelta;
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::{Reply, TestApp};

const POOL: &str = "/v1/pools/workspace:w";

async fn app_on(plan: &str) -> TestApp {
    let app = TestApp::start().await;
    app.put_pool("workspace:w", json!({"plan": plan}))
        .await
        .expect(201);
    app
}

async fn buy(app: &TestApp, pool: &str, body: &Value) -> Reply {
    app.post(&format!("/v1/pools/{pool}/purchases"))
        .json(body)
        .send()
        .await
}

#[tokio::test]
async fn a_purchase_is_credited_and_says_until_when() {
    let app = app_on("pro").await;
    let body = json!({
        "credits": 500, "payment_reference": "pi_1", "paid_at": "2026-01-30T00:00:00Z",
        "amount_cents": 500, "currency": "USD", "user_id": "u-1",
    });
    let booked = app
        .post(&format!("{POOL}/purchases"))
        .key("k")
        .json(&body)
        .send()
        .await;
    let booked = booked.expect(201);
    let expected = json!({
        "id": booked.body["id"], "pool": "workspace:w", "credits": 500, "bonus_credits": 0,
        "status": "credited", "payment_reference": "pi_1", "paid_at": "2026-01-30T00:00:00.000Z",
        "expires_at": "2027-01-30T00:00:00.000Z", "balance": app.balance("workspace:w").await,
    });
    assert_eq!(booked.body, expected);
    assert_eq!(booked.body["balance"]["addon"]["available"], 500);

    let replay = app
        .post(&format!("{POOL}/purchases"))
        .key("k")
        .json(&body)
        .send()
        .await;
    let replay = replay.expect(201);
    assert_eq!(replay.header("idempotency-replayed"), Some("true"));
    assert_eq!(replay.text, booked.text);

    let list = app
        .get(&format!("{POOL}/purchases"))
        .send()
        .await
        .expect(200)
        .body;
    let listed = json!({
        "id": booked.body["id"], "pool": "workspace:w", "credits": 500, "bonus_credits": 0,
        "status": "credited", "payment_reference": "pi_1", "paid_at": "2026-01-30T00:00:00.000Z",
        "expires_at": "2027-01-30T00:00:00.000Z", "amount_cents": 500, "currency": "usd",
        "user_id": "u-1", "clawed_back": 0, "uncollected": 0,
        "created_at": "2026-01-31T10:00:00.000Z",
    });
    assert_eq!(list, json!({"data": [listed], "next_cursor": null}));
    app.verify().await;
}

#[tokio::test]
async fn a_payment_is_credited_once_whatever_the_key() {
    let app = app_on("pro").await;
    app.put_pool("workspace:v", json!({"plan": "pro"}))
        .await
        .expect(201);
    let body = json!({"credits": 500, "payment_reference": "pi_1"});
    let first = buy(&app, "workspace:w", &body).await.expect(201).body;
    app.debit("workspace:w", json!(900)).await.expect(201);
    let again = app
        .post(&format!("{POOL}/purchases"))
        .key("other")
        .json(&body)
        .send()
        .await;
    let again = again.expect(200);
    assert_eq!(again.header("idempotency-replayed"), None);
    let mut expected = first.clone();
    expected["balance"] = app.balance("workspace:w").await;
    assert_eq!(
        again.body, expected,
        "the first purchase, with the balance now"
    );

    // Such a 200 has not used up its key.
    let other = json!({"credits": 100, "payment_reference": "pi_2"});
    let other = app
        .post(&format!("{POOL}/purchases"))
        .key("other")
        .json(&other)
        .send()
        .await;
    other.expect(201);
    let more = json!({"credits": 600, "payment_reference": "pi_1"});
    buy(&app, "workspace:w", &more)
        .await
        .refused(409, "payment_reference_reused");
    buy(&app, "workspace:v", &body)
        .await
        .refused(409, "payment_reference_reused");
    // Still the first purchase, though the pool buys nothing any more.
    app.delete(POOL).send().await.expect(200);
    assert_eq!(
        buy(&app, "workspace:w", &body).await.expect(200).body["id"],
        first["id"]
    );
    assert_eq!(app.balance("workspace:v").await["addon"]["granted"], 0);
    app.verify().await;
}

#[tokio::test]
async fn a_payment_sent_to_two_pools_at_once_is_credited_to_one() {
    let app = TestApp::start().await;
    for pool in ["workspace:a", "workspace:b"] {
        app.put_pool(pool, json!({"plan": "pro"})).await.expect(201);
    }
    let body = json!({"credits": 100, "payment_reference": "pi_1"});
    let sends = (0..20).map(|n| buy(&app, ["workspace:a", "workspace:b"][n % 2], &body));
    let replies = join_all(sends).await;
    let count = |status| {
        replies
            .iter()
            .filter(|reply| reply.status == status)
            .count()
    };
    assert_eq!((count(201), count(200), count(409)), (1, 9, 10));
    app.verify().await;
}

#[tokio::test]
async fn the_plan_is_checked_before_the_quantity() {
    let app = app_on("free").await;
    let body = |credits: Value| json!({"credits": credits, "payment_reference": "pi_1"});
    let refused = buy(&app, "workspace:w", &body(json!(0)))
        .await
        .refused(403, "addons_not_allowed");
    assert_eq!(refused.body["plan"], "free");
    app.put_pool("workspace:w", json!({"plan": "pro"}))
        .await
        .expect(200);
    for credits in [
        json!(0),
        json!(-100),
        json!(50),
        json!(150),
        json!(100.5),
        json!(2e9),
    ] {
        let refused = buy(&app, "workspace:w", &body(credits)).await;
        let refused = refused.refused(422, "invalid_quantity");
        assert_eq!(
            (&refused.body["minimum"], &refused.body["step"]),
            (&json!(100), &json!(100))
        );
    }
    for (body, field) in [
        (json!({"payment_reference": "pi_1"}), "credits"),
        (json!({"credits": 100}), "payment_reference"),
        (
            json!({"credits": 100, "payment_reference": ""}),
            "payment_reference",
        ),
        (
            json!({"credits": 100, "payment_reference": "p", "currency": "euro"}),
            "currency",
        ),
        (
            json!({"credits": 100, "payment_reference": "p", "amount_cents": -1}),
            "amount_cents",
        ),
        (
            json!({
                "credits": 100, "payment_reference": "p", "paid_at": "2026-01-31T10:00:00.001Z",
            }),
            "paid_at",
        ),
    ] {
        let refused = buy(&app, "workspace:w", &body)
            .await
            .refused(422, "validation_failed");
        assert_eq!(refused.body["errors"][0]["field"], field, "{body}");
    }
    let late = json!({"credits": 100, "payment_reference": "p", "paid_at": "2025-01-31T10:00:00Z"});
    buy(&app, "workspace:w", &late)
        .await
        .refused(422, "validity_over");
    // Refused purchases have used up no reference.
    buy(&app, "workspace:w", &body(json!(100)))
        .await
        .expect(201);
    let unknown = buy(&app, "workspace:x", &body(json!(100))).await;
    unknown.refused(404, "pool_not_found");
}

#[tokio::test]
async fn purchases_are_listed_over_all_pools_and_by_payment() {
    let app = app_on("pro").await;
    app.put_pool("instance:i", json!({"plan": "team"}))
        .await
        .expect(201);
    for (pool, reference) in [
        ("workspace:w", "p1"),
        ("instance:i", "p2"),
        ("workspace:w", "p3"),
    ] {
        let body = json!({"credits": 100, "payment_reference": reference});
        buy(&app, pool, &body).await.expect(201);
        app.pass(TimeDelta::seconds(1));
    }
    let listed = async |query: &str| {
        let page = app
            .get(&format!("/v1/purchases{query}"))
            .send()
            .await
            .expect(200)
            .body;
        let data = page["data"].as_array().expect("a page").clone();
        let name = |it: &Value| it["payment_reference"].as_str().expect("a name").to_owned();
        (
            data.iter().map(name).collect::<Vec<_>>(),
            page["next_cursor"].clone(),
        )
    };
    assert_eq!(listed("").await.0, ["p3", "p2", "p1"]);
    assert_eq!(listed("?pool=workspace:w").await.0, ["p3", "p1"]);
    assert_eq!(listed("?payment_reference=p2").await.0, ["p2"]);
    assert!(
        listed("?payment_reference=p2&pool=workspace:w")
            .await
            .0
            .is_empty()
    );
    assert!(listed("?pool=workspace:nowhere").await.0.is_empty());
    let (page, next) = listed("?limit=2").await;
    assert_eq!(page, ["p3", "p2"]);
    let next = next.as_str().expect("a next page").to_owned();
    assert_eq!(listed(&format!("?limit=2&cursor={next}")).await.0, ["p1"]);
    app.get("/v1/purchases?pool=x")
        .send()
        .await
        .refused(422, "validation_failed");
    let unknown = app.get("/v1/pools/workspace:x/purchases").send().await;
    unknown.refused(404, "pool_not_found");
}

#[tokio::test]
async fn an_adjustment_gives_or_takes_by_hand() {
    let app = app_on("free").await;
    let adjust = async |key: &str, body: &Value| {
        app.post(&format!("{POOL}/adjustments"))
            .key(key)
            .json(body)
            .send()
            .await
    };
    let body = json!({"bucket": "monthly", "credits": -30.5, "reason": "double charge"});
    let taken = adjust("k", &body).await.expect(201);
    let expected = json!({
        "id": taken.body["id"], "pool": "workspace:w", "seq": 2, "bucket": "monthly",
        "credits": -30.5, "reason": "double charge", "created_at": "2026-01-31T10:00:00.000Z",
        "balance": app.balance("workspace:w").await,
    });
    assert_eq!(taken.body, expected);
    let again = adjust("k", &body).await.expect(201);
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(again.text, taken.text);
    let given = json!({"bucket": "addon", "credits": 7, "reason": "sorry"});
    let given = adjust("l", &given).await.expect(201).body;
    assert_eq!(
        given["balance"]["addon"]["expires_at"],
        "2027-01-31T10:00:00.000Z"
    );
    assert_eq!(given["balance"]["addon"]["granted"], 0);

    let much = json!({"bucket": "monthly", "credits": -70, "reason": "x"});
    let refused = adjust("m", &much)
        .await
        .refused(409, "adjustment_below_zero");
    assert_eq!(refused.body["available"], json!(69.5));
    let bad = json!({"bucket": "monthly", "credits": 0, "reason": ""});
    let refused = adjust("n", &bad).await.refused(422, "validation_failed");
    assert_eq!(refused.body["errors"][1]["field"], "reason");
    let caller = app
        .with_scopes(&["debits:write", "purchases:write", "pools:write"])
        .await;
    let path = format!("{POOL}/adjustments");
    caller
        .post(&path)
        .json(&body)
        .send()
        .await
        .refused(403, "scope_missing");
    app.verify().await;
}
