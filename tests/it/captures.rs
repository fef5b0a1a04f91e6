//! Captures over HTTP: less than was held, as much, more, too late, and across the end of a cycle
//! or of the add-on pool.

use chrono::TimeDelta;
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::{Reply, TestApp};

const W: &str = "workspace:w";

async fn app_on(plan: &str) -> TestApp {
    let app = TestApp::start().await;
    app.put_pool(W, json!({"plan": plan})).await.expect(201);
    app
}

/// A pool on `pro` whose cycle ends with January.
async fn app_until_february() -> TestApp {
    let app = TestApp::start().await;
    let pool = json!({"plan": "pro", "billing_anchor": "2026-01-01T00:00:00Z"});
    app.put_pool(W, pool).await.expect(201);
    app
}

async fn capture(app: &TestApp, id: &str, body: Value) -> Reply {
    app.book(&format!("workspace:w/holds/{id}/capture"), body)
        .await
}

async fn release(app: &TestApp, id: &str) -> Value {
    let path = format!("workspace:w/holds/{id}/release");
    app.book(&path, json!({})).await.expect(200).body
}

async fn status(app: &TestApp, id: &str) -> Value {
    app.read(&format!("workspace:w/holds/{id}")).await["status"].clone()
}

/// What a pool can give, has reserved and owes.
fn standing(balance: &Value) -> [i64; 3] {
    ["available", "held", "overdraft"].map(|name| balance[name].as_i64().expect("a number"))
}

#[tokio::test]
async fn a_capture_is_a_debit_for_what_the_hold_was_for() {
    let app = app_on("pro").await;
    let body = json!({
        "credits": 100, "operation": "app_generation", "user_id": "u-1", "workspace_id": "w-9",
        "run_id": "r-55", "model": "m-1",
    });
    let hold = app.book("workspace:w/holds", body).await.expect(201).body;
    let id = hold["id"].as_str().expect("an id");
    let debit = capture(&app, id, json!({"credits": 70}))
        .await
        .expect(201)
        .body;
    let expected = json!({
        "id": debit["id"], "pool": W, "seq": 3, "credits": 70, "monthly": 70, "addon": 0,
        "overdraft": 0, "operation": "app_generation", "user_id": "u-1", "workspace_id": "w-9",
        "run_id": "r-55", "model": "m-1", "mode": "strict", "hold_id": id,
        "created_at": "2026-01-31T10:00:00.000Z", "balance": app.balance(W).await,
    });
    assert_eq!(debit, expected);
    assert_eq!(standing(&debit["balance"]), [730, 0, 0]);
    assert_eq!(debit["balance"]["monthly"]["used"], 70);

    let debit_id = debit["id"].as_str().expect("an id");
    assert_eq!(
        app.read(&format!("workspace:w/debits/{debit_id}")).await,
        debit
    );
    let list = app.read("workspace:w/debits?run_id=r-55").await;
    assert_eq!(list["data"], json!([debit]));
    let captured = app.read(&format!("workspace:w/holds/{id}")).await;
    assert_eq!(
        (&captured["status"], &captured["credits"]),
        (&json!("captured"), &json!(100))
    );
    assert_eq!(captured["balance"], debit["balance"]);
    let plain = app.debit(W, json!(1)).await.expect(201).body;
    assert!(plain.get("hold_id").is_none() && plain.get("late").is_none());
    app.verify().await;
}

#[tokio::test]
async fn a_capture_takes_less_as_much_or_more_than_was_held() {
    // What is captured of a hold of 90, from where it comes, what is left of 50 monthly and 100
    // add-on credits.
    let rows = [
        (1, [1, 0], 149),
        (60, [50, 10], 90),
        (90, [50, 40], 60),
        (91, [50, 41], 59),
        (150, [50, 100], 0),
    ];
    for (credits, [monthly, addon], left) in rows {
        let app = app_on("pro").await;
        let buy = json!({"credits": 100, "payment_reference": "pi_1"});
        app.book("workspace:w/purchases", buy).await.expect(201);
        app.debit(W, json!(750)).await.expect(201);
        let id = app.hold(W, 90).await;
        let debit = capture(&app, &id, json!({"credits": credits}))
            .await
            .expect(201)
            .body;
        assert_eq!(
            (&debit["monthly"], &debit["addon"]),
            (&json!(monthly), &json!(addon))
        );
        assert_eq!(standing(&debit["balance"]), [left, 0, 0], "{credits}");
        app.verify().await;
    }
}

#[tokio::test]
async fn a_refused_capture_leaves_the_hold_open_and_its_key_unused() {
    let app = app_on("free").await;
    let id = app.hold(W, 80).await;
    app.debit(W, json!(10)).await.expect(201);
    let before = app.balance(W).await;
    let path = format!("/v1/pools/workspace:w/holds/{id}/capture");
    let send = async |body: Value| app.post(&path).key("k").json(&body).send().await;

    let short = send(json!({"credits": 91}))
        .await
        .refused(402, "insufficient_credits")
        .body;
    let told = ["required", "available", "shortfall"].map(|name| short[name].clone());
    assert_eq!(told, [json!(11), json!(10), json!(1)]);
    send(json!({"credits": 80.5}))
        .await
        .refused(422, "not_a_multiple");
    send(json!({"credits": 1_000_000_001}))
        .await
        .refused(422, "validation_failed");
    assert_eq!(app.balance(W).await, before);
    assert_eq!(
        (status(&app, &id).await, app.entries().await),
        (json!("open"), 3)
    );

    let debit = send(json!({"credits": 100, "mode": "settle"}))
        .await
        .expect(201);
    assert_eq!(debit.header("idempotency-replayed"), None);
    let debit = debit.body;
    let parts = ["credits", "monthly", "addon", "overdraft"].map(|name| debit[name].clone());
    assert_eq!(parts, [json!(100), json!(90), json!(0), json!(10)]);
    assert_eq!(
        (&debit["mode"], &debit["late"]),
        (&json!("settle"), &Value::Null)
    );
    assert_eq!(standing(&debit["balance"]), [-10, 0, 10]);
    app.verify().await;
}

#[tokio::test]
async fn a_capture_is_rounded_when_that_is_asked_for() {
    let app = app_on("pro").await;
    let id = app.hold(W, 10).await;
    let rounded = json!({"credits": 7.2, "round": "up"});
    let debit = capture(&app, &id, rounded).await.expect(201).body;
    assert_eq!(
        (&debit["credits"], &debit["requested"]),
        (&json!(8), &json!(7.2))
    );
    assert_eq!(standing(&debit["balance"]), [792, 0, 0]);
}

#[tokio::test]
async fn the_work_of_an_expired_hold_is_settled_once() {
    let app = app_on("free").await;
    let id = app.hold(W, 60).await;
    app.at("2026-01-31T10:15:00Z");
    let strict = capture(&app, &id, json!({"credits": 60})).await;
    assert_eq!(
        strict.refused(409, "hold_not_open").body["hold_status"],
        "expired"
    );
    app.debit(W, json!(70)).await.expect(201);

    let settle = json!({"credits": 50, "mode": "settle"});
    let late = capture(&app, &id, settle.clone()).await.expect(201).body;
    assert_eq!(
        (&late["late"], &late["hold_id"]),
        (&json!(true), &json!(id))
    );
    let parts = ["credits", "monthly", "overdraft"].map(|name| late[name].clone());
    assert_eq!(parts, [json!(50), json!(30), json!(20)]);
    assert_eq!(standing(&late["balance"]), [-20, 0, 20]);
    assert_eq!(status(&app, &id).await, "captured");
    let hold = app.read("workspace:w/holds?status=captured").await;
    assert_eq!(hold["data"][0]["id"], id);

    let again = capture(&app, &id, settle)
        .await
        .refused(409, "hold_not_open");
    assert_eq!(again.body["hold_status"], "captured");
    app.verify().await;
}

#[tokio::test]
async fn a_released_hold_is_not_settled() {
    let app = app_on("free").await;
    let id = app.hold(W, 60).await;
    release(&app, &id).await;
    let refused = capture(&app, &id, json!({"credits": 1, "mode": "settle"})).await;
    assert_eq!(
        refused.refused(409, "hold_not_open").body["hold_status"],
        "released"
    );
}

#[tokio::test]
async fn a_hold_of_the_last_cycle_leaves_the_new_allowance_alone() {
    for credits in [100, 60] {
        let app = app_until_february().await;
        app.at("2026-01-31T23:59:59Z");
        let id = app.hold(W, 100).await;
        app.at("2026-02-01T00:00:01Z");
        let renewed = app.balance(W).await;
        assert_eq!(standing(&renewed), [800, 100, 0]);
        assert_eq!(renewed["monthly"]["held"], 0, "it is in no bucket");

        let debit = capture(&app, &id, json!({"credits": credits}))
            .await
            .expect(201)
            .body;
        assert_eq!(debit["monthly"], credits);
        assert_eq!(standing(&debit["balance"]), [800, 0, 0], "the rest lapsed");
        assert_eq!(debit["balance"]["monthly"]["used"], 0);
        app.verify().await;
    }
}

#[tokio::test]
async fn a_hold_of_the_last_cycle_lapses_when_it_is_released() {
    let app = app_until_february().await;
    app.at("2026-01-31T23:59:59Z");
    let id = app.hold(W, 100).await;
    let expiring = app.hold(W, 50).await;
    app.at("2026-02-01T00:00:01Z");
    let released = release(&app, &id).await;
    assert_eq!(standing(&released["balance"]), [800, 50, 0]);
    app.at("2026-02-01T01:00:00Z");
    assert_eq!(standing(&app.balance(W).await), [800, 0, 0]);
    assert_eq!(status(&app, &expiring).await, "expired");
    let journal = app
        .read("workspace:w/transactions?kind=release,hold_expiry")
        .await;
    for (place, credits) in [(0, 50), (1, 100)] {
        let leg = json!([{"from": "held_ended", "to": "lapsed", "credits": credits}]);
        assert_eq!(journal["data"][place]["transfers"], leg);
    }
    app.verify().await;
}

#[tokio::test]
async fn a_hold_outlives_its_addon_pool() {
    let app = app_until_february().await;
    let buy = json!({"credits": 100, "payment_reference": "pi_1"});
    app.book("workspace:w/purchases", buy).await.expect(201);
    // A minute before the add-on pool expires, in a cycle that is spent.
    app.at("2027-01-31T09:59:00Z");
    app.debit(W, json!(800)).await.expect(201);
    let [first, second] = [app.hold(W, 60).await, app.hold(W, 30).await];
    app.at("2027-01-31T10:00:00Z");
    let expired = app.balance(W).await;
    assert_eq!(standing(&expired), [0, 90, 0], "10 lapsed");
    assert_eq!(
        (&expired["addon"]["granted"], &expired["addon"]["held"]),
        (&json!(0), &json!(0))
    );

    let debit = capture(&app, &first, json!({"credits": 50}))
        .await
        .expect(201)
        .body;
    assert_eq!(
        (&debit["addon"], &debit["monthly"]),
        (&json!(50), &json!(0))
    );
    assert_eq!(
        standing(&debit["balance"]),
        [0, 30, 0],
        "what is left of it lapsed"
    );
    let released = release(&app, &second).await;
    assert_eq!(standing(&released["balance"]), [0, 0, 0]);
    app.verify().await;
}

#[tokio::test]
async fn of_many_captures_at_once_one_is_booked() {
    let app = app_on("pro").await;
    let id = app.hold(W, 100).await;
    let many = (0..50).map(|number| {
        let mode = ["strict", "settle"][number % 2];
        capture(&app, &id, json!({"credits": 100 + number, "mode": mode}))
    });
    let replies = join_all(many).await;
    let booked: Vec<_> = replies.iter().filter(|reply| reply.status == 201).collect();
    assert_eq!(booked.len(), 1);
    let late = replies
        .iter()
        .filter(|reply| reply.code() == "hold_not_open");
    assert_eq!(late.count(), 49);
    let credits = booked[0].body["credits"].as_i64().expect("a number");
    assert_eq!(standing(&app.balance(W).await), [800 - credits, 0, 0]);
    assert_eq!(app.entries().await, 3);
    app.verify().await;
}

#[tokio::test]
async fn one_key_sent_many_times_at_once_captures_once() {
    let app = app_on("pro").await;
    let id = app.hold(W, 100).await;
    let path = format!("/v1/pools/workspace:w/holds/{id}/capture");
    let body = json!({"credits": 40});
    let send = || app.post(&path).key("same").json(&body).send();
    let replies = join_all((0..30).map(|_| send())).await;
    assert!(
        replies
            .iter()
            .all(|reply| reply.status == 201 && reply.text == replies[0].text)
    );
    let fresh = replies
        .iter()
        .filter(|reply| reply.header("idempotency-replayed").is_none());
    assert_eq!(fresh.count(), 1);
    assert_eq!(app.entries().await, 3);
    app.verify().await;
}

#[tokio::test]
async fn captures_releases_and_debits_at_once_never_spend_a_credit_twice() {
    let app = app_on("pro").await;
    let holds = join_all((0..8).map(|_| app.hold(W, 100))).await;
    assert_eq!(standing(&app.balance(W).await), [0, 800, 0]);
    let (app, holds) = (&app, &holds);
    let one = |number: usize| async move {
        let id = &holds[number % holds.len()];
        match number % 3 {
            0 => capture(app, id, json!({"credits": 60})).await,
            1 => {
                app.book(&format!("workspace:w/holds/{id}/release"), json!({}))
                    .await
            }
            _ => app.debit(W, json!(70)).await,
        }
    };
    let replies = join_all((0..120).map(one)).await;
    let spent = replies.iter().filter(|reply| reply.status == 201);
    let spent: i64 = spent
        .map(|reply| reply.body["credits"].as_i64().expect("a number"))
        .sum();
    assert_eq!(standing(&app.balance(W).await), [800 - spent, 0, 0]);
    let ended = replies.iter().filter(|reply| {
        reply.status == 200 || reply.status == 201 && reply.body.get("hold_id").is_some()
    });
    assert_eq!(ended.count(), 8, "each hold ends once");
    app.verify().await;
}

#[tokio::test]
async fn holds_live_in_the_time_of_a_test_clock() {
    let app = TestApp::sandbox().await;
    let clock = app
        .post("/v1/test-clocks")
        .json(&json!({"now": "2030-01-31T10:00:00Z"}));
    let clock = clock.send().await.expect(201).body["id"].clone();
    let pool = json!({"plan": "pro", "test_clock": clock});
    app.put_pool(W, pool).await.expect(201);
    let id = app.hold(W, 100).await;
    app.pass(TimeDelta::days(365));
    assert_eq!(status(&app, &id).await, "open");

    let path = format!("/v1/test-clocks/{}/advance", clock.as_str().expect("an id"));
    let to = json!({"to": "2030-01-31T10:15:00Z"});
    app.post(&path).json(&to).send().await.expect(200);
    assert_eq!(status(&app, &id).await, "expired");
    let late = capture(&app, &id, json!({"credits": 5, "mode": "settle"})).await;
    assert_eq!(late.expect(201).body["late"], true);
    app.verify().await;
}
