//! Refunds and disputes: whatever the order of their events, and however often they come, the
//! credits end the same.

use chrono::TimeDelta;
use credit_ledger::lanes::{Job, Reply};
use credit_ledger::ledger::{Actor, Attribution, Command, Credits, NewHold, Release};
use serde_json::{Value, json};

use crate::support::TestApp;
use crate::support::webhook::Payment;

const POOL: &str = "workspace:w";

/// All orders of these events.
fn orders(events: &[Value]) -> Vec<Vec<Value>> {
    if events.is_empty() {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for first in 0..events.len() {
        let mut rest = events.to_vec();
        let first = rest.remove(first);
        for mut order in orders(&rest) {
            order.insert(0, first.clone());
            all.push(order);
        }
    }
    all
}

/// What is left after these events on a pool of their own, and what became of the purchase.
async fn end(app: &TestApp, pool: &str, events: &[Value]) -> Value {
    for (place, event) in events.iter().enumerate() {
        app.deliver(event).await.expect(200);
        if place % 2 == 1 {
            app.deliver(event).await.expect(200);
        }
    }
    // And all of it once more, as if nothing had been answered.
    for event in events {
        app.deliver(event).await.expect(200);
    }
    let list = format!("/v1/pools/{pool}/purchases");
    let list = app.get(&list).send().await.expect(200).body;
    let purchase = &list["data"][0];
    let addon = app.balance(pool).await["addon"].clone();
    json!({
        "available": addon["available"], "granted": addon["granted"],
        "status": purchase["status"], "clawed_back": purchase["clawed_back"],
        "uncollected": purchase["uncollected"],
    })
}

/// Delivers the events of one payment in every order, each on a pool of its own.
async fn in_every_order(events: impl Fn(&Payment) -> Vec<Value>, expected: &Value) {
    let app = TestApp::with_events().await;
    let count = orders(&events(&app.payment("pi"))).len();
    for n in 0..count {
        let pool = format!("workspace:p{n}");
        app.put_pool(&pool, json!({"plan": "pro"}))
            .await
            .expect(201);
        let mut payment = app.payment(&format!("pi_{n}"));
        payment.metadata["pool"] = json!(pool);
        let order = orders(&events(&payment)).swap_remove(n);
        let kinds: Vec<String> = order.iter().map(|it| it["id"].to_string()).collect();
        assert_eq!(&end(&app, &pool, &order).await, expected, "{kinds:?}");
    }
    assert!(app.exceptions().await.is_empty());
    app.verify().await;
}

fn ends_in(available: i64, status: &str) -> Value {
    json!({
        "available": available, "granted": available, "status": status,
        "clawed_back": 500 - available, "uncollected": 0,
    })
}

#[tokio::test]
async fn a_full_refund_and_a_won_dispute_end_alike_in_every_order() {
    let events = |payment: &Payment| {
        vec![
            payment.completed(),
            payment.refunded(500),
            payment.disputed("created", "needs_response", 500),
            payment.disputed("closed", "won", 500),
        ]
    };
    in_every_order(events, &ends_in(0, "refunded")).await;
}

#[tokio::test]
async fn a_partial_refund_and_a_won_dispute_end_alike_in_every_order() {
    let events = |payment: &Payment| {
        vec![
            payment.completed(),
            payment.refunded(125),
            payment.disputed("created", "needs_response", 375),
            payment.disputed("closed", "won", 375),
        ]
    };
    in_every_order(events, &ends_in(375, "partially_refunded")).await;
}

#[tokio::test]
async fn two_partial_refunds_and_a_lost_dispute_end_alike_in_every_order() {
    let events = |payment: &Payment| {
        vec![
            payment.completed(),
            payment.refunded(100),
            payment.refunded(150),
            payment.disputed("created", "needs_response", 250),
        ]
    };
    in_every_order(events, &ends_in(100, "disputed")).await;
    let events = |payment: &Payment| {
        vec![
            payment.completed(),
            payment.disputed("created", "warning_needs_response", 500),
            payment.disputed("updated", "needs_response", 500),
            payment.disputed("closed", "lost", 500),
        ]
    };
    in_every_order(events, &ends_in(0, "disputed")).await;
}

#[tokio::test]
async fn all_events_at_once_end_as_one_by_one() {
    let app = TestApp::with_events().await;
    for n in 0..10 {
        let payment = app.payment(&format!("pi_{n}"));
        let events = [
            payment.completed(),
            payment.refunded(125),
            payment.disputed("created", "needs_response", 375),
            payment.disputed("closed", "won", 375),
        ];
        let sends = (0..20).map(|k| app.deliver(&events[k % 4]));
        let replies = futures_util::future::join_all(sends).await;
        assert!(
            replies.iter().all(|reply| reply.status == 200),
            "{replies:?}"
        );
        let purchase = app.purchases().await.remove(0);
        assert_eq!(purchase["payment_reference"], format!("pi_{n}"));
        assert_eq!(purchase["clawed_back"], 125, "{purchase}");
        app.pass(TimeDelta::seconds(1));
    }
    assert_eq!(app.balance(POOL).await["addon"]["available"], 3_750);
    app.verify().await;
}

#[tokio::test]
async fn a_dispute_is_known_by_its_charge_where_it_names_no_payment_whatever_comes_first() {
    // The events that the dispute comes before: none of them, the refund, both.
    for place in [2, 1, 0] {
        let app = TestApp::with_events().await;
        let payment = app.payment("pi_1");
        let mut dispute = payment.disputed("created", "needs_response", 400);
        dispute["data"]["object"]["payment_intent"] = Value::Null;
        let mut events = vec![payment.completed(), payment.refunded(100)];
        events.insert(place, dispute);
        for event in &events {
            app.deliver(event).await.expect(200);
        }
        let addon = app.balance(POOL).await["addon"]["available"].clone();
        assert_eq!(addon, 0, "{place}");
        assert_eq!(app.purchases().await[0]["status"], "disputed", "{place}");
    }
}

#[tokio::test]
async fn a_full_refund_moves_the_validity_back_to_what_still_stands() {
    let app = TestApp::with_events().await;
    app.at("2026-02-10T00:00:00Z");
    app.deliver(&app.payment("pi_1").completed())
        .await
        .expect(200);
    app.at("2026-06-05T00:00:00Z");
    let second = app.payment("pi_2");
    app.deliver(&second.completed()).await.expect(200);
    let until = async || app.balance(POOL).await["addon"]["expires_at"].clone();
    assert_eq!(until().await, "2027-06-05T00:00:00.000Z");
    app.deliver(&second.refunded(499)).await.expect(200);
    assert_eq!(until().await, "2027-06-05T00:00:00.000Z");
    app.deliver(&second.refunded(500)).await.expect(200);
    assert_eq!(until().await, "2027-02-10T00:00:00.000Z");
    assert_eq!(app.balance(POOL).await["addon"]["available"], 500);
    app.verify().await;
}

async fn send(app: &TestApp, command: Command) -> Reply {
    let job = Job {
        tenant: app.tenant.parse::<uuid::Uuid>().expect("an id").into(),
        pool: POOL.parse().expect("a good name"),
        actor: Actor::default(),
        command,
        dry_run: false,
    };
    app.lanes.submit(job).await.expect("the lane does it")
}

#[tokio::test]
async fn what_is_held_is_collected_once_it_is_released() {
    let app = TestApp::with_events().await;
    let payment = app.payment("pi_1");
    app.deliver(&payment.completed()).await.expect(200);
    let hold = NewHold {
        credits: Some(Credits::whole(900)),
        round: None,
        partial: false,
        attribution: Attribution::default(),
        metadata: None,
        expires_in_seconds: 900,
    };
    let Reply::Entry { entry, .. } = send(&app, Command::Hold(Box::new(hold))).await else {
        panic!("a hold is an entry");
    };
    app.deliver(&payment.refunded(500)).await.expect(200);
    let purchase = app.purchases().await.remove(0);
    assert_eq!(
        (&purchase["clawed_back"], &purchase["uncollected"]),
        (&json!(400), &json!(100))
    );
    send(&app, Command::Release(Release { hold: entry.id() })).await;
    let purchase = app.purchases().await.remove(0);
    assert_eq!(
        (&purchase["clawed_back"], &purchase["uncollected"]),
        (&json!(500), &json!(0))
    );
    assert_eq!(app.balance(POOL).await["addon"]["available"], 0);
    app.verify().await;
}

#[tokio::test]
async fn a_closed_pool_gives_and_takes_nothing_any_more() {
    let app = TestApp::with_events().await;
    let payment = app.payment("pi_1");
    app.deliver(&payment.completed()).await.expect(200);
    app.delete(&format!("/v1/pools/{POOL}"))
        .send()
        .await
        .expect(200);
    let before = app.balance(POOL).await;
    app.deliver(&payment.refunded(500)).await.expect(200);
    app.deliver(&app.payment("pi_2").completed())
        .await
        .expect(200);
    assert_eq!(app.balance(POOL).await, before);
    assert_eq!(app.exceptions().await[0]["reason"], "pool_closed");
    assert_eq!(app.retry_payments().await.payments, 0);
    app.verify().await;
}
