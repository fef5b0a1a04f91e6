//! Payments that are ours and could not be credited: kept, shown, resolved by people.

use chrono::TimeDelta;
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::{Reply, TestApp};

const POOL: &str = "workspace:w";
const EXCEPTIONS: &str = "/v1/payments/exceptions";

async fn resolve(app: &TestApp, exception: &Value, how: &str, body: &Value) -> Reply {
    let id = exception["id"].as_str().expect("an id");
    let path = format!("{EXCEPTIONS}/{id}/{how}");
    app.post(&path).json(body).send().await
}

/// The service with one payment that named a pool which is not there.
async fn with_exception() -> (TestApp, Value) {
    let app = TestApp::with_events().await;
    let mut payment = app.payment("pi_1");
    payment.metadata["pool"] = json!("workspace:nowhere");
    app.deliver(&payment.completed()).await.expect(200);
    let exception = app.exceptions().await.remove(0);
    (app, exception)
}

#[tokio::test]
async fn what_is_ours_and_cannot_be_credited_is_kept_with_its_reason() {
    let app = TestApp::with_events().await;
    for (pool, plan) in [("workspace:f", "free"), ("workspace:c", "pro")] {
        app.put_pool(pool, json!({"plan": plan})).await.expect(201);
    }
    app.delete("/v1/pools/workspace:c").send().await.expect(200);
    let rows = [
        (
            json!({"pool": "workspace:x", "credits": "500"}),
            "pool_not_found",
        ),
        (
            json!({"pool": "workspace:c", "credits": "500"}),
            "pool_closed",
        ),
        (
            json!({"pool": "workspace:f", "credits": "500"}),
            "addons_not_allowed",
        ),
        (json!({"pool": POOL, "credits": "150"}), "invalid_quantity"),
        (json!({"pool": POOL, "credits": "0"}), "invalid_quantity"),
        (json!({"pool": POOL, "credits": "1e12"}), "invalid_quantity"),
        (
            json!({"pool": POOL, "credits": "1.005"}),
            "invalid_quantity",
        ),
        (
            json!({"pool": POOL, "credits": "many"}),
            "credits_unreadable",
        ),
        (json!({"pool": "here", "credits": "500"}), "pool_unreadable"),
        (json!({"credits": "500"}), "pool_missing"),
        (json!({"pool": POOL}), "credits_missing"),
    ];
    for (n, (metadata, reason)) in rows.iter().enumerate() {
        let mut payment = app.payment(&format!("pi_{n}"));
        payment.metadata = metadata.clone();
        let event = payment.completed();
        app.deliver(&event).await.expect(200);
        app.deliver(&event).await.expect(200);
        let exceptions = app.exceptions().await;
        assert_eq!(exceptions.len(), n + 1, "one row a payment");
        let expected = json!({
            "id": exceptions[0]["id"], "status": "open", "reason": reason,
            "payment_reference": format!("pi_{n}"), "pool": metadata["pool"],
            "credits": metadata["credits"], "amount_cents": 500, "currency": "usd",
            "user_id": null, "event_id": event["id"], "paid_at": exceptions[0]["created_at"],
            "created_at": exceptions[0]["created_at"], "resolution": null,
        });
        assert_eq!(exceptions[0], expected);
        app.pass(TimeDelta::seconds(1));
    }
    assert!(app.purchases().await.is_empty());
    app.verify().await;
}

#[tokio::test]
async fn a_payment_whose_validity_is_over_is_kept() {
    let app = TestApp::with_events().await;
    let event = app.payment("pi_1").completed();
    app.at("2027-01-31T10:00:00Z");
    app.deliver(&event).await.expect(200);
    assert_eq!(app.exceptions().await[0]["reason"], "validity_over");
}

#[tokio::test]
async fn a_payment_credited_with_other_terms_is_kept() {
    let app = TestApp::with_events().await;
    let body = json!({"credits": 400, "payment_reference": "pi_1"});
    let path = format!("/v1/pools/{POOL}/purchases");
    app.post(&path).json(&body).send().await.expect(201);
    app.deliver(&app.payment("pi_1").completed())
        .await
        .expect(200);
    let exception = app.exceptions().await.remove(0);
    assert_eq!(exception["reason"], "payment_reference_reused");
    // Recorded once more, it is still a question for people.
    app.post(&path).json(&body).send().await.expect(200);
    assert_eq!(app.exceptions().await[0]["status"], "open");
    let other = resolve(&app, &exception, "credit", &json!({"pool": POOL})).await;
    other.refused(409, "payment_reference_reused");
    let as_it_was = json!({"pool": POOL, "credits": 400});
    let credited = resolve(&app, &exception, "credit", &as_it_was).await;
    assert_eq!(credited.expect(200).body["status"], "credited");
    assert_eq!(app.balance(POOL).await["addon"]["granted"], 400);
}

#[tokio::test]
async fn crediting_by_hand_honours_the_payment_once() {
    let (app, exception) = with_exception().await;
    app.put_pool("workspace:f", json!({"plan": "free"}))
        .await
        .expect(201);
    app.delete("/v1/pools/workspace:gone").send().await;
    let unknown = json!({"pool": "workspace:nowhere"});
    let refused = resolve(&app, &exception, "credit", &unknown).await;
    refused.refused(404, "pool_not_found");
    for body in [
        json!({"pool": "x"}),
        json!({"pool": POOL, "credits": 0}),
        json!({}),
    ] {
        let refused = resolve(&app, &exception, "credit", &body).await;
        refused.refused(422, "validation_failed");
    }
    assert_eq!(app.exceptions().await[0]["status"], "open");

    // A plan without add-ons would not sell them, but they are sold.
    let body = json!({"pool": "workspace:f"});
    let replies = join_all((0..10).map(|_| resolve(&app, &exception, "credit", &body))).await;
    assert!(replies.iter().any(|reply| reply.status == 200));
    assert!(
        replies
            .iter()
            .all(|reply| [200, 409].contains(&reply.status))
    );
    let exception = app.exceptions().await.remove(0);
    assert_eq!(exception["status"], "credited");
    assert_eq!(exception["resolution"]["pool"], "workspace:f");
    assert_eq!(exception["resolution"]["credits"], 500);
    assert!(exception["resolution"]["by"].is_string());
    assert_eq!(app.balance("workspace:f").await["addon"]["available"], 500);
    assert_eq!(app.purchases().await.len(), 1);

    for (how, body) in [
        ("credit", json!({"pool": POOL})),
        ("dismiss", json!({"reason": "r"})),
    ] {
        let refused = resolve(&app, &exception, how, &body).await;
        let refused = refused.refused(409, "exception_resolved");
        assert_eq!(refused.body["exception_status"], "credited");
    }
    app.verify().await;
}

#[tokio::test]
async fn what_was_refunded_meanwhile_is_taken_back_at_once() {
    let (app, exception) = with_exception().await;
    app.deliver(&app.payment("pi_1").refunded(200))
        .await
        .expect(200);
    let credited = resolve(&app, &exception, "credit", &json!({"pool": POOL})).await;
    credited.expect(200);
    let purchase = app.purchases().await.remove(0);
    assert_eq!(purchase["clawed_back"], 200);
    assert_eq!(app.balance(POOL).await["addon"]["available"], 300);
}

#[tokio::test]
async fn credits_that_were_not_named_are_asked_for() {
    let app = TestApp::with_events().await;
    let mut payment = app.payment("pi_1");
    payment.metadata = json!({"pool": POOL});
    app.deliver(&payment.completed()).await.expect(200);
    let exception = app.exceptions().await.remove(0);
    let refused = resolve(&app, &exception, "credit", &json!({"pool": POOL})).await;
    let refused = refused.refused(422, "validation_failed");
    assert_eq!(refused.body["errors"][0]["field"], "credits");
    let body = json!({"pool": POOL, "credits": 70});
    resolve(&app, &exception, "credit", &body).await.expect(200);
    assert_eq!(app.balance(POOL).await["addon"]["granted"], 70);
}

#[tokio::test]
async fn what_is_dismissed_stays_so_when_its_event_comes_again() {
    let (app, exception) = with_exception().await;
    let blank = resolve(&app, &exception, "dismiss", &json!({"reason": ""})).await;
    blank.refused(422, "validation_failed");
    let body = json!({"reason": "paid back by hand"});
    let dismissed = resolve(&app, &exception, "dismiss", &body)
        .await
        .expect(200);
    assert_eq!(dismissed.body["status"], "dismissed");
    assert_eq!(dismissed.body["resolution"]["reason"], "paid back by hand");
    let again = resolve(&app, &exception, "dismiss", &body).await;
    assert_eq!(
        again.refused(409, "exception_resolved").body["exception_status"],
        "dismissed"
    );

    app.put_pool("workspace:nowhere", json!({"plan": "pro"}))
        .await
        .expect(201);
    let mut payment = app.payment("pi_1");
    payment.metadata["pool"] = json!("workspace:nowhere");
    app.deliver(&payment.completed()).await.expect(200);
    assert!(app.purchases().await.is_empty());
    assert_eq!(app.exceptions().await.len(), 1);
}

#[tokio::test]
async fn delivered_again_once_its_pool_is_there_it_is_credited() {
    let (app, _) = with_exception().await;
    app.put_pool("workspace:nowhere", json!({"plan": "pro"}))
        .await
        .expect(201);
    let mut payment = app.payment("pi_1");
    payment.metadata["pool"] = json!("workspace:nowhere");
    app.deliver(&payment.completed()).await.expect(200);
    let exception = app.exceptions().await.remove(0);
    assert_eq!(exception["status"], "credited");
    assert_eq!(exception["resolution"]["by"], Value::Null);
    assert_eq!(
        app.balance("workspace:nowhere").await["addon"]["granted"],
        500
    );
}

#[tokio::test]
async fn exceptions_are_listed_by_status_and_by_page() {
    let app = TestApp::with_events().await;
    for n in 0..3 {
        let mut payment = app.payment(&format!("pi_{n}"));
        payment.metadata["pool"] = json!("workspace:nowhere");
        app.deliver(&payment.completed()).await.expect(200);
        app.pass(TimeDelta::seconds(1));
    }
    let all = app.exceptions().await;
    let body = json!({"reason": "known"});
    resolve(&app, &all[1], "dismiss", &body).await.expect(200);
    let listed = async |query: &str| {
        let page = app.get(&format!("{EXCEPTIONS}{query}")).send().await;
        let page = page.expect(200).body;
        let name = |it: &Value| it["payment_reference"].as_str().expect("a name").to_owned();
        let names: Vec<String> = page["data"]
            .as_array()
            .expect("a page")
            .iter()
            .map(name)
            .collect();
        (names, page["next_cursor"].clone())
    };
    assert_eq!(listed("?status=open").await.0, ["pi_2", "pi_0"]);
    assert_eq!(listed("?status=dismissed").await.0, ["pi_1"]);
    let (first, cursor) = listed("?limit=2").await;
    assert_eq!(first, ["pi_2", "pi_1"]);
    let cursor = cursor.as_str().expect("a next page").to_owned();
    assert_eq!(
        listed(&format!("?limit=2&cursor={cursor}")).await.0,
        ["pi_0"]
    );
    let bad = app.get(&format!("{EXCEPTIONS}?status=lost")).send().await;
    bad.refused(422, "validation_failed");
}

#[tokio::test]
async fn a_strangers_exception_is_not_there() {
    let (app, exception) = with_exception().await;
    let stranger = app.stranger().await;
    let none = stranger.get(EXCEPTIONS).send().await.expect(200);
    assert_eq!(none.body["data"], json!([]));
    let id = exception["id"].as_str().expect("an id");
    for (how, body) in [
        ("credit", json!({"pool": POOL})),
        ("dismiss", json!({"reason": "r"})),
    ] {
        let path = format!("{EXCEPTIONS}/{id}/{how}");
        let reply = stranger.post(&path).json(&body).send().await;
        reply.refused(404, "not_found");
    }
    let reader = app.with_scopes(&["balances:read"]).await;
    let seen = reader.get(EXCEPTIONS).send().await.expect(200);
    assert_eq!(seen.body["data"][0]["id"], exception["id"]);
    let path = format!("{EXCEPTIONS}/{id}/credit");
    let by_reader = reader.post(&path).json(&json!({"pool": POOL})).send().await;
    by_reader.refused(403, "scope_missing");
    assert_eq!(app.exceptions().await[0]["status"], "open");
}
