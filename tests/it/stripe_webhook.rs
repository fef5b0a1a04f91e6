//! Stripe's webhook: who may speak, what is credited, what is kept for people, what is tried again.

use chrono::TimeDelta;
use futures_util::future::join_all;
use serde_json::{Value, json};
use sqlx::Executor;

use crate::promo_codes::{order, put_code, redeemed};
use crate::support::webhook::{Payment, SECRET, sign};
use crate::support::{Reply, TestApp};

const POOL: &str = "workspace:w";

/// What a payment may have written: nothing.
async fn assert_untouched(app: &TestApp) {
    assert_eq!(app.balance(POOL).await["addon"]["granted"], 0);
    assert!(app.purchases().await.is_empty());
    assert!(app.exceptions().await.is_empty());
    let mut connection = app.database.connect().await;
    for table in ["payments", "payment_events"] {
        let count = format!("SELECT count(*) FROM {table}");
        let count: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(count))
            .fetch_one(&mut connection)
            .await
            .expect("the table is there");
        assert_eq!(count, 0, "{table}");
    }
}

#[tokio::test]
async fn a_paid_session_is_credited_with_the_events_time() {
    let app = TestApp::with_events().await;
    let mut payment = app.payment("pi_1");
    payment.metadata["user_id"] = json!("u-7");
    let event = payment.completed();
    app.pass(TimeDelta::seconds(90));
    let reply = app.deliver(&event).await.expect(200);
    assert_eq!(reply.body, json!({"received": true}));
    let purchases = app.purchases().await;
    assert_eq!(purchases.len(), 1);
    let purchase = &purchases[0];
    for (field, value) in [
        ("pool", json!(POOL)),
        ("credits", json!(500)),
        ("bonus_credits", json!(0)),
        ("status", json!("credited")),
        ("payment_reference", json!("pi_1")),
        ("paid_at", json!("2026-01-31T10:00:00.000Z")),
        ("expires_at", json!("2027-01-31T10:00:00.000Z")),
        ("amount_cents", json!(500)),
        ("currency", json!("usd")),
        ("user_id", json!("u-7")),
    ] {
        assert_eq!(purchase[field], value, "{field}");
    }
    assert_eq!(app.balance(POOL).await["addon"]["available"], 500);
    assert_eq!(app.entries().await, 2, "no entry says that nothing is lost");
    app.verify().await;
}

#[tokio::test]
async fn only_who_knows_a_secret_is_believed() {
    let app = TestApp::with_events().await;
    let body = app.payment("pi_1").completed().to_string();
    let now = app.clock.now().timestamp();
    let good = sign(now, &body, SECRET);
    let changed = body.replace("\"500\"", "\"600\"");
    let old = sign(now - 301, &body, SECRET);
    let early = sign(now + 301, &body, SECRET);
    let foreign = sign(now, &body, "whsec_other");
    for (body, signature) in [
        (&changed, Some(good.as_str())),
        (&body, None),
        (&body, Some("")),
        (&body, Some("t=,v1=")),
        (&body, Some(old.as_str())),
        (&body, Some(early.as_str())),
        (&body, Some(foreign.as_str())),
        (&body, Some(good.replace("v1", "v0").as_str())),
    ] {
        let refused = app.deliver_raw(body, signature).await;
        refused.refused(400, "signature_invalid");
    }
    assert_untouched(&app).await;
    app.deliver_raw(&body, Some(&good)).await.expect(200);
    assert_eq!(app.balance(POOL).await["addon"]["granted"], 500);
}

#[tokio::test]
async fn while_a_secret_is_rotated_both_are_good() {
    let app = TestApp::with_events().await;
    app.take_events(&["whsec_new", SECRET]).await;
    let now = app.clock.now().timestamp();
    for (reference, secret) in [("pi_1", SECRET), ("pi_2", "whsec_new")] {
        let body = app.payment(reference).completed().to_string();
        let signature = sign(now, &body, secret);
        app.deliver_raw(&body, Some(&signature)).await.expect(200);
    }
    app.take_events(&["whsec_new"]).await;
    let retired = app.deliver(&app.payment("pi_3").completed()).await;
    retired.refused(400, "signature_invalid");
    assert_eq!(app.balance(POOL).await["addon"]["granted"], 1_000);
}

#[tokio::test]
async fn an_event_at_another_tenants_door_is_refused() {
    let app = TestApp::with_events().await;
    let (other, stranger) = app.operator.new_tenant("live").await;
    let body = app.payment("pi_1").completed().to_string();
    let signature = sign(app.clock.now().timestamp(), &body, SECRET);
    let send = async |door: &str| {
        let path = format!("/v1/payments/stripe/{door}/webhook");
        let call = app.with_key("").call(reqwest::Method::POST, &path);
        let call = call.raw(body.clone()).set("stripe-signature", &signature);
        call.send().await.refused(400, "signature_invalid")
    };
    // No secrets, another secret, no tenant, no id: all the same.
    send(&other).await;
    let secrets = json!({"webhook_secrets": ["whsec_of_a_stranger"]});
    let put = stranger.put("/v1/payments/stripe").json(&secrets);
    put.send().await.expect(200);
    send(&other).await;
    send("0190a000-0000-7000-8000-000000000000").await;
    send("nobody").await;
    assert_untouched(&app).await;
}

#[tokio::test]
async fn what_is_not_for_credits_or_not_paid_makes_no_noise() {
    let app = TestApp::with_events().await;
    let payment = app.payment("pi_1");
    let with = |changes: Value| {
        let mut session = payment.session();
        for (name, value) in changes.as_object().expect("changes") {
            session[name] = value.clone();
        }
        session
    };
    let ignored = async || {
        let text = app.get("/metrics").send().await.text;
        let line = text.lines().find_map(|line| {
            line.strip_prefix("credit_ledger_payments_ignored_total ")
                .map(str::to_owned)
        });
        line.map_or(0, |count| count.parse::<i64>().expect("a number"))
    };
    let before = ignored().await;
    for (kind, object) in [
        ("completed", with(json!({"mode": "subscription"}))),
        ("completed", with(json!({"metadata": {"seats": "5"}}))),
        ("completed", with(json!({"metadata": {}}))),
        ("completed", with(json!({"payment_status": "unpaid"}))),
        ("expired", with(json!({"payment_status": "unpaid"}))),
        (
            "async_payment_failed",
            with(json!({"payment_status": "unpaid"})),
        ),
    ] {
        let event = payment.event(&format!("checkout.session.{kind}"), "e", &object);
        app.deliver(&event).await.expect(200);
    }
    let unknown = payment.event("invoice.paid", "e", &json!({"id": "in_1"}));
    app.deliver(&unknown).await.expect(200);
    assert_untouched(&app).await;
    assert!(ignored().await >= before + 3, "they are counted");
}

#[tokio::test]
async fn a_signed_body_that_is_no_event_is_said_so() {
    let app = TestApp::with_events().await;
    for body in ["", "{", "[]", "{\"id\":\"evt_1\"}"] {
        let signature = sign(app.clock.now().timestamp(), body, SECRET);
        let reply = app.deliver_raw(body, Some(&signature)).await;
        reply.refused(400, "malformed_json");
    }
    let large = " ".repeat(1024 * 1024 + 1);
    let signature = sign(app.clock.now().timestamp(), &large, SECRET);
    let reply = app.deliver_raw(&large, Some(&signature)).await;
    reply.refused(413, "payload_too_large");
}

#[tokio::test]
async fn a_late_payment_is_credited_when_the_money_is_there() {
    let app = TestApp::with_events().await;
    let payment = app.payment("pi_1");
    let mut session = payment.session();
    session["payment_status"] = json!("unpaid");
    let completed = payment.event("checkout.session.completed", "a", &session);
    app.deliver(&completed).await.expect(200);
    assert_untouched(&app).await;
    session["payment_status"] = json!("paid");
    let kind = "checkout.session.async_payment_succeeded";
    let succeeded = payment.event(kind, "b", &session);
    app.deliver(&succeeded).await.expect(200);
    assert_eq!(app.balance(POOL).await["addon"]["granted"], 500);
}

#[tokio::test]
async fn fifty_deliveries_at_once_credit_once() {
    let app = TestApp::with_events().await;
    let payment = app.payment("pi_1");
    let (one, kind) = (
        payment.completed(),
        "checkout.session.async_payment_succeeded",
    );
    let two = payment.event(kind, "other", &payment.session());
    let replies = join_all((0..50).map(|n| app.deliver([&one, &two][n % 2]))).await;
    assert!(
        replies.iter().all(|reply| reply.status == 200),
        "{replies:?}"
    );
    assert_eq!(app.purchases().await.len(), 1);
    assert_eq!(app.balance(POOL).await["addon"]["granted"], 500);
    let same = app.payment("pi_2").completed();
    join_all((0..50).map(|_| app.deliver(&same))).await;
    assert_eq!(app.balance(POOL).await["addon"]["granted"], 1_000);
    assert!(app.exceptions().await.is_empty());
    app.verify().await;
}

#[tokio::test]
async fn recorded_and_told_at_once_it_is_credited_once() {
    let app = TestApp::with_events().await;
    let event = app.payment("pi_1").completed();
    let body = json!({"credits": 500, "payment_reference": "pi_1"});
    let path = format!("/v1/pools/{POOL}/purchases");
    let both = (0..50).map(|n| {
        let (app, event, body, path) = (&app, &event, &body, &path);
        async move {
            match n % 2 {
                0 => app.deliver(event).await,
                _ => app.post(path).json(body).send().await,
            }
        }
    });
    let replies: Vec<Reply> = join_all(both).await;
    assert!(
        replies.iter().all(|reply| reply.status < 300),
        "{replies:?}"
    );
    assert_eq!(app.purchases().await.len(), 1);
    assert_eq!(app.balance(POOL).await["addon"]["granted"], 500);
    assert!(app.exceptions().await.is_empty());
    app.verify().await;
}

#[tokio::test]
async fn a_refund_waits_for_a_payment_that_is_recorded_by_hand() {
    let app = TestApp::with_events().await;
    let payment = app.payment("pi_1");
    app.deliver(&payment.refunded(250)).await.expect(200);
    assert!(
        app.exceptions().await.is_empty(),
        "it may be somebody else's"
    );
    let body = json!({"credits": 500, "payment_reference": "pi_1"});
    let path = format!("/v1/pools/{POOL}/purchases");
    app.post(&path).json(&body).send().await.expect(201);
    let purchase = app.purchases().await.remove(0);
    assert_eq!(purchase["status"], "partially_refunded");
    assert_eq!(purchase["clawed_back"], 250);
    assert_eq!(app.balance(POOL).await["addon"]["available"], 250);
    app.verify().await;
}

#[tokio::test]
async fn a_payment_delivered_after_the_expiry_reinstates_what_lapsed() {
    let app = TestApp::with_events().await;
    app.deliver(&app.payment("pi_1").completed())
        .await
        .expect(200);
    app.debit(POOL, json!(950)).await.expect(201);
    // The add-on pool ends on 2027-01-31 at 10:00.
    app.at("2027-01-31T09:00:00Z");
    let late = app.payment("pi_2").completed();
    app.at("2027-02-01T09:00:00Z");
    assert_eq!(app.balance(POOL).await["addon"]["available"], 0);
    app.deliver(&late).await.expect(200);
    let addon = app.balance(POOL).await["addon"].clone();
    assert_eq!(
        (&addon["available"], &addon["granted"]),
        (&json!(850), &json!(1_000))
    );
    assert_eq!(addon["expires_at"], "2028-01-31T09:00:00.000Z");
    app.verify().await;
}

#[tokio::test]
async fn a_payment_is_not_credited_as_made_after_its_test_clock() {
    let app = TestApp::sandbox().await;
    app.take_events(&[SECRET]).await;
    let clock = json!({"now": "2025-06-01T00:00:00Z"});
    let clock = app.post("/v1/test-clocks").json(&clock).send().await;
    let clock = clock.expect(201).body["id"].clone();
    let pool = json!({"plan": "pro", "test_clock": clock});
    app.put_pool(POOL, pool).await.expect(201);
    app.deliver(&app.payment("pi_1").completed())
        .await
        .expect(200);
    let purchase = app.purchases().await.remove(0);
    assert_eq!(purchase["paid_at"], "2025-06-01T00:00:00.000Z");
    assert_eq!(purchase["expires_at"], "2026-06-01T00:00:00.000Z");
}

#[tokio::test]
async fn a_session_without_a_payment_intent_goes_by_its_own_id() {
    let app = TestApp::with_events().await;
    let payment = app.payment("x");
    let mut session = payment.session();
    session["payment_intent"] = Value::Null;
    session["payment_status"] = json!("no_payment_required");
    session["amount_total"] = json!(0);
    let event = payment.event("checkout.session.completed", "e", &session);
    app.deliver(&event).await.expect(200);
    assert_eq!(app.purchases().await[0]["payment_reference"], "cs_x");
}

#[tokio::test]
async fn what_cannot_be_done_now_is_done_later_without_another_delivery() {
    let app = TestApp::with_events().await;
    let mut blocker = app.database.connect().await;
    blocker.execute("BEGIN").await.expect("a transaction");
    blocker
        .execute("SELECT FROM pools FOR UPDATE")
        .await
        .expect("the pool is locked");
    let started = std::time::Instant::now();
    let reply = app.deliver(&app.payment("pi_1").completed()).await;
    assert!(started.elapsed() < std::time::Duration::from_secs(2));
    let reply = reply.refused(503, "database_unavailable");
    assert!(reply.header("retry-after").is_some());
    blocker.execute("ROLLBACK").await.expect("it ends");

    app.pass(TimeDelta::seconds(60));
    let mut retried = app.retry_payments().await;
    if retried.failed > 0 {
        // The lane may still have been waiting for the lock's end.
        app.pass(TimeDelta::seconds(60));
        retried = app.retry_payments().await;
    }
    assert_eq!((retried.events, retried.failed), (1, 0));
    assert_eq!(app.balance(POOL).await["addon"]["granted"], 500);
    app.pass(TimeDelta::hours(1));
    assert_eq!(app.retry_payments().await.events, 0, "it is done with");
    let mut connection = app.database.connect().await;
    let kept: i64 = sqlx::query_scalar("SELECT count(payload) FROM payment_events")
        .fetch_one(&mut connection)
        .await
        .expect("the table is there");
    assert_eq!(
        kept, 0,
        "nothing of the customer's is kept longer than needed"
    );
    app.verify().await;
}

#[tokio::test]
async fn a_refund_that_was_not_settled_is_settled_by_the_job() {
    let app = TestApp::with_events().await;
    let payment = app.payment("pi_1");
    app.deliver(&payment.completed()).await.expect(200);
    // As if the service had been killed after the refund was taken in.
    let mut connection = app.database.connect().await;
    connection
        .execute("UPDATE payments SET refunded = 500, charge_amount = 500, version = version + 1")
        .await
        .expect("the payment is there");
    let retried = app.retry_payments().await;
    assert_eq!((retried.payments, retried.failed), (1, 0));
    assert_eq!(app.purchases().await[0]["status"], "refunded");
    assert_eq!(app.retry_payments().await.payments, 0);
    app.verify().await;
}

/// A checkout of ours for 500 credits with a promo code, and the event that it is paid.
async fn sold_with_a_bonus(app: &TestApp) -> (String, Payment) {
    let bonus = json!({"bonus_credits": 50, "max_redemptions": 1});
    put_code(app, "BONUS", &bonus).await.expect(201);
    let checkout = order(app, POOL, "k", Some("BONUS")).await.expect(201).body;
    let id = checkout["id"].as_str().expect("an id").to_owned();
    let mut payment = app.payment("pi_1");
    payment.metadata = json!({"pool": POOL, "credits": "500", "checkout_id": id});
    (format!("/v1/pools/{POOL}/checkouts/{id}"), payment)
}

#[tokio::test]
async fn a_checkout_of_ours_is_honoured_on_the_terms_it_was_sold() {
    let (app, _stripe) = TestApp::with_stripe().await;
    app.put_pool(POOL, json!({"plan": "pro"})).await.expect(201);
    let (path, payment) = sold_with_a_bonus(&app).await;
    let terms = json!({
        "step": 1_000, "minimum": 1_000, "price_cents_per_step": 1, "currency": "usd",
        "validity_months": 12,
    });
    app.put("/v1/addon-terms")
        .json(&terms)
        .send()
        .await
        .expect(200);
    app.deliver(&payment.completed()).await.expect(200);
    let purchase = app.purchases().await.remove(0);
    assert_eq!(
        (&purchase["credits"], &purchase["bonus_credits"]),
        (&json!(500), &json!(50))
    );
    assert_eq!(app.balance(POOL).await["addon"]["available"], 550);
    let checkout = app.get(&path).send().await.expect(200).body;
    assert_eq!(checkout["status"], "completed");
    // Half of it back is half of the bonus back.
    app.deliver(&payment.refunded(250)).await.expect(200);
    assert_eq!(app.balance(POOL).await["addon"]["available"], 275);
    // A page that is said to have expired after it was paid changes nothing.
    let expired = payment.event("checkout.session.expired", "x", &payment.session());
    app.deliver(&expired).await.expect(200);
    let checkout = app.get(&path).send().await.expect(200).body;
    assert_eq!(checkout["status"], "completed");
    app.verify().await;
}

#[tokio::test]
async fn a_checkout_that_expires_gives_its_redemption_back() {
    let (app, _stripe) = TestApp::with_stripe().await;
    app.put_pool(POOL, json!({"plan": "pro"})).await.expect(201);
    let (path, payment) = sold_with_a_bonus(&app).await;
    assert_eq!(redeemed(&app, "BONUS").await, (json!(1), 1));
    let expired = payment.event("checkout.session.expired", "x", &payment.session());
    for _ in 0..2 {
        app.deliver(&expired).await.expect(200);
        let checkout = app.get(&path).send().await.expect(200).body;
        assert_eq!(checkout["status"], "expired");
        assert_eq!(redeemed(&app, "BONUS").await, (json!(0), 0));
    }
    // Paid all the same, it is honoured.
    app.deliver(&payment.completed()).await.expect(200);
    assert_eq!(app.balance(POOL).await["addon"]["available"], 550);
}
