//! Refunds over HTTP: of a debit, of a part of it, of a run.

use chrono::TimeDelta;
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::{Reply, TestApp};

const W: &str = "workspace:w";

/// A pool on `pro` with 800 monthly and 100 add-on credits.
async fn app_with_both() -> TestApp {
    let app = TestApp::start().await;
    app.put_pool(W, json!({"plan": "pro"})).await.expect(201);
    let buy = json!({"credits": 100, "payment_reference": "pi_1"});
    app.book("workspace:w/purchases", buy).await.expect(201);
    app
}

/// Books a debit that is settled; gives its id.
async fn spend(app: &TestApp, credits: u32, run: &str) -> String {
    let body = json!({"credits": credits, "mode": "settle", "run_id": run, "user_id": "u-1"});
    let debit = app.book("workspace:w/debits", body).await.expect(201);
    debit.body["id"].as_str().expect("an id").to_owned()
}

async fn refund(app: &TestApp, debit: &str, body: Value) -> Reply {
    app.book(&format!("workspace:w/debits/{debit}/refunds"), body)
        .await
}

async fn refund_run(app: &TestApp, run: &str, body: Value) -> Reply {
    app.book(&format!("workspace:w/runs/{run}/refunds"), body)
        .await
}

/// Where the credits of a refund went: overdraft, add-on, monthly, lapsed.
fn parts(refund: &Value) -> [i64; 4] {
    let parts = ["overdraft", "addon", "monthly", "lapsed"];
    let parts = parts.map(|name| refund[name].as_i64().expect("a number"));
    assert_eq!(
        refund["credits"],
        parts.iter().sum::<i64>(),
        "the parts add up"
    );
    parts
}

/// What a pool can give, owes, and has used of its grant.
fn standing(balance: &Value) -> [i64; 3] {
    let figures = [
        &balance["available"],
        &balance["overdraft"],
        &balance["monthly"]["used"],
    ];
    figures.map(|figure| figure.as_i64().expect("a number"))
}

#[tokio::test]
async fn a_refund_says_where_the_credits_went() {
    let app = app_with_both().await;
    let debit = spend(&app, 850, "r-1").await;
    app.pass(TimeDelta::minutes(1));
    let given = refund(&app, &debit, json!({"reason": "it failed"}))
        .await
        .expect(201);
    assert_eq!(given.header("idempotency-replayed"), None);
    let given = given.body;
    let expected = json!({
        "id": given["id"], "debit_id": debit, "pool": W, "seq": 4, "credits": 850,
        "overdraft": 0, "addon": 50, "monthly": 800, "lapsed": 0, "reason": "it failed",
        "created_at": "2026-01-31T10:01:00.000Z", "balance": app.balance(W).await,
    });
    assert_eq!(given, expected);
    assert_eq!(standing(&given["balance"]), [900, 0, 0]);

    let journal = app.read("workspace:w/transactions?kind=refund").await;
    let entry = &journal["data"][0];
    assert_eq!(
        (&entry["id"], &entry["debit_id"]),
        (&given["id"], &json!(debit))
    );
    assert_eq!(
        (&entry["user_id"], &entry["run_id"]),
        (&json!("u-1"), &json!("r-1"))
    );
    assert_eq!(entry["reason"], "it failed");
    app.verify().await;
}

#[tokio::test]
async fn a_debit_is_given_back_in_parts_backwards_and_never_more_than_it_took() {
    let app = app_with_both().await;
    let debit = spend(&app, 920, "r-1").await;
    for (credits, expected) in [
        (15, [15, 0, 0, 0]),
        (30, [5, 25, 0, 0]),
        (75, [0, 75, 0, 0]),
        (799, [0, 0, 799, 0]),
    ] {
        let given = refund(&app, &debit, json!({"credits": credits})).await;
        assert_eq!(parts(&given.expect(201).body), expected, "{credits}");
    }
    let before = app.balance(W).await;
    for credits in [2, 920] {
        let more = refund(&app, &debit, json!({"credits": credits})).await;
        assert_eq!(more.refused(409, "refund_exceeds_debit").body["left"], 1);
    }
    assert_eq!((app.balance(W).await, app.entries().await), (before, 7));
    refund(&app, &debit, json!({})).await.expect(201);
    for body in [json!({}), json!({"credits": 1})] {
        let nothing = refund(&app, &debit, body).await;
        assert_eq!(nothing.refused(409, "refund_exceeds_debit").body["left"], 0);
    }
    assert_eq!(standing(&app.balance(W).await), [900, 0, 0]);
    app.verify().await;
}

#[tokio::test]
async fn a_refunded_overdraft_lowers_what_is_owed_whoever_caused_it() {
    let app = app_with_both().await;
    let first = spend(&app, 930, "r-1").await;
    let second = spend(&app, 20, "r-2").await;
    assert_eq!(app.balance(W).await["overdraft"], 50);
    let given = refund(&app, &second, json!({})).await.expect(201).body;
    assert_eq!(parts(&given), [20, 0, 0, 0]);

    // The renewal repays what is left of it: then its refund is credit, and does not lapse.
    app.pass(TimeDelta::days(28));
    assert_eq!(standing(&app.balance(W).await), [770, 0, 0]);
    let given = refund(&app, &first, json!({})).await.expect(201).body;
    assert_eq!(parts(&given), [0, 100, 30, 800]);
    assert_eq!(standing(&given["balance"]), [900, 0, 0]);
    app.verify().await;
}

#[tokio::test]
async fn what_was_drawn_from_an_ended_addon_pool_lapses() {
    let app = app_with_both().await;
    app.at("2027-01-31T09:00:00Z");
    let debit = spend(&app, 850, "r-1").await;
    app.at("2027-01-31T11:00:00Z");
    let given = refund(&app, &debit, json!({})).await.expect(201).body;
    // The cycle has ended at the same instant.
    assert_eq!(parts(&given), [0, 0, 0, 850]);
    assert_eq!(standing(&given["balance"]), [800, 0, 0]);
    app.verify().await;
}

#[tokio::test]
async fn a_capture_of_two_cycles_is_given_back_to_each() {
    let app = app_with_both().await;
    let adjust = json!({"bucket": "addon", "credits": -100, "reason": "none of these"});
    app.book("workspace:w/adjustments", adjust)
        .await
        .expect(201);
    app.at("2026-02-28T09:59:00Z");
    let hold = app.hold(W, 800).await;
    app.at("2026-02-28T10:00:00Z");
    let path = format!("workspace:w/holds/{hold}/capture");
    let debit = app
        .book(&path, json!({"credits": 801}))
        .await
        .expect(201)
        .body;
    assert_eq!(standing(&debit["balance"]), [799, 0, 1]);
    let id = debit["id"].as_str().expect("an id");

    let given = refund(&app, id, json!({})).await.expect(201).body;
    assert_eq!(parts(&given), [0, 0, 1, 800]);
    assert_eq!(standing(&given["balance"]), [800, 0, 0]);
    app.verify().await;
}

#[tokio::test]
async fn a_run_is_given_back_as_a_whole() {
    let app = app_with_both().await;
    let first = spend(&app, 100, "r-1").await;
    let other = spend(&app, 7, "r-2").await;
    let body = json!({"credits": 50, "run_id": "r-1"});
    let hold = app.book("workspace:w/holds", body).await.expect(201).body;
    let hold = hold["id"].as_str().expect("an id");
    let path = format!("workspace:w/holds/{hold}/capture");
    let captured = app
        .book(&path, json!({"credits": 40}))
        .await
        .expect(201)
        .body;
    let last = spend(&app, 30, "r-1").await;
    let whole = spend(&app, 5, "r-1").await;
    refund(&app, &first, json!({"credits": 90}))
        .await
        .expect(201);
    refund(&app, &whole, json!({})).await.expect(201);

    let send = || {
        let call = app.post("/v1/pools/workspace:w/runs/r-1/refunds").key("k");
        call.json(&json!({"reason": "stopped"})).send()
    };
    let given = send().await.expect(201);
    let refunds = given.body["refunds"].as_array().expect("refunds");
    let told: Vec<_> = refunds
        .iter()
        .map(|it| (it["debit_id"].clone(), it["credits"].clone()))
        .collect();
    let expected = [
        (json!(first), json!(10)),
        (captured["id"].clone(), json!(40)),
        (json!(last), json!(30)),
    ];
    assert_eq!(told, expected);
    assert!(refunds.iter().all(|refund| refund["reason"] == "stopped"));
    assert_eq!(given.body["credits"], 80);
    assert_eq!(given.body["balance"], app.balance(W).await);
    assert_eq!(standing(&given.body["balance"]), [893, 0, 7]);
    let journal = app.read("workspace:w/transactions?limit=3").await;
    for (entry, refund) in journal["data"]
        .as_array()
        .expect("entries")
        .iter()
        .rev()
        .zip(refunds)
    {
        assert_eq!(
            (&entry["id"], &entry["kind"]),
            (&refund["id"], &json!("refund"))
        );
        assert_eq!(entry["seq"], refund["seq"]);
    }

    refund(&app, &other, json!({})).await.expect(201);
    spend(&app, 3, "r-1").await;
    let again = send().await.expect(201);
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(again.text, given.text);
    let rest = refund_run(&app, "r-1", json!({})).await.expect(201).body;
    assert_eq!(
        (&rest["credits"], &rest["refunds"][0]["reason"]),
        (&json!(3), &Value::Null)
    );
    app.verify().await;
}

#[tokio::test]
async fn a_run_with_nothing_left_is_refused() {
    let app = app_with_both().await;
    let debit = spend(&app, 10, "r-1").await;
    refund(&app, &debit, json!({})).await.expect(201);
    for run in ["r-1", "r-2"] {
        let nothing = refund_run(&app, run, json!({})).await;
        assert_eq!(nothing.refused(409, "refund_exceeds_debit").body["left"], 0);
    }
    assert_eq!(app.entries().await, 4);
    let unknown = app.book("workspace:x/runs/r-1/refunds", json!({})).await;
    unknown.refused(404, "pool_not_found");
}

#[tokio::test]
async fn a_run_in_a_path_is_decoded_and_must_be_one() {
    let app = app_with_both().await;
    for (run, in_path) in [
        ("a/b c%", "a%2Fb%20c%25"),
        ("Ünï", "%C3%9Cn%C3%AF"),
        ("?x=#1", "%3Fx=%231"),
    ] {
        spend(&app, 10, run).await;
        let given = refund_run(&app, in_path, json!({})).await.expect(201).body;
        assert_eq!(given["credits"], 10, "{run}");
    }
    let long = "x".repeat(129);
    for bad in ["%00", "a%0Ab", &long] {
        let refused = refund_run(&app, bad, json!({}))
            .await
            .refused(422, "validation_failed");
        assert_eq!(refused.body["errors"][0]["field"], "run_id", "{bad}");
    }
}

#[tokio::test]
async fn a_refund_needs_no_body_and_is_the_same_without() {
    let app = app_with_both().await;
    let debit = spend(&app, 10, "r-1").await;
    for path in [
        format!("debits/{debit}/refunds"),
        "runs/r-2/refunds".to_owned(),
    ] {
        spend(&app, 10, "r-2").await;
        let path = format!("/v1/pools/workspace:w/{path}");
        let first = app.post(&path).key(&path).send().await.expect(201);
        for body in ["", "{}", r#"{"reason":null}"#] {
            let again = app
                .post(&path)
                .key(&path)
                .raw(body)
                .send()
                .await
                .expect(201);
            assert_eq!(
                again.header("idempotency-replayed"),
                Some("true"),
                "{body:?}"
            );
            assert_eq!(again.text, first.text, "{body:?}");
        }
        let other = app
            .post(&path)
            .key(&path)
            .json(&json!({"reason": "x"}))
            .send()
            .await;
        other.refused(422, "idempotency_key_reused");
    }
    assert_eq!(app.entries().await, 2 + 3 + 3);
}

#[tokio::test]
async fn bad_refunds_are_refused_by_name_and_book_nothing() {
    let app = app_with_both().await;
    let debit = spend(&app, 10, "r-1").await;
    let long = format!(r#"{{"reason":"{}"}}"#, "x".repeat(501));
    let of_debit = format!("/v1/pools/workspace:w/debits/{debit}/refunds");
    let of_run = "/v1/pools/workspace:w/runs/r-1/refunds";
    for (path, body, field) in [
        (of_debit.as_str(), r#"{"credits":0}"#, "credits"),
        (&of_debit, r#"{"credits":-1}"#, "credits"),
        (&of_debit, r#"{"credits":0.001}"#, "credits"),
        (&of_debit, r#"{"credits":"1"}"#, "credits"),
        (&of_debit, r#"{"credits":1,"credits":1}"#, "credits"),
        (&of_debit, r#"{"reason":""}"#, "reason"),
        (&of_debit, &long, "reason"),
        (&of_debit, r#"{"amount":1}"#, "amount"),
        (&of_debit, "[]", "body"),
        (&of_debit, "null", "body"),
        (of_run, r#"{"credits":1}"#, "credits"),
        (of_run, r#"{"reason":7}"#, "reason"),
        (of_run, &long, "reason"),
    ] {
        let refused = app.post(path).raw(body.to_owned()).send().await;
        let refused = refused.refused(422, "validation_failed");
        assert_eq!(refused.body["errors"][0]["field"], field, "{path} {body}");
    }
    for path in [of_debit.as_str(), of_run] {
        app.post(path)
            .raw("{")
            .send()
            .await
            .refused(400, "malformed_json");
        let text = app.post(path).raw("{}").set("content-type", "text/plain");
        text.send().await.refused(415, "unsupported_media_type");
        let keyless = app.call(reqwest::Method::POST, path).send().await;
        keyless.refused(400, "idempotency_key_missing");
    }
    // A refused refund does not use up its key.
    let send = async |credits: u32| {
        let call = app.post(&of_debit).key("k");
        call.json(&json!({"credits": credits})).send().await
    };
    send(11).await.refused(409, "refund_exceeds_debit");
    assert_eq!(
        (app.entries().await, &app.balance(W).await["version"]),
        (3, &json!(3))
    );
    send(10).await.expect(201);
}

#[tokio::test]
async fn only_a_debit_of_the_pool_is_given_back() {
    let app = app_with_both().await;
    app.put_pool("workspace:v", json!({"plan": "pro"}))
        .await
        .expect(201);
    let debit = spend(&app, 10, "r-1").await;
    let given = refund(&app, &debit, json!({"credits": 1}))
        .await
        .expect(201)
        .body;
    let given = given["id"].as_str().expect("an id");
    let hold = app.hold(W, 10).await;
    let strange = "0190a000-0000-7000-8000-000000000000";
    for (pool, id) in [
        ("v", debit.as_str()),
        ("w", given),
        ("w", &hold),
        ("w", strange),
        ("w", "x"),
    ] {
        let path = format!("workspace:{pool}/debits/{id}/refunds");
        app.book(&path, json!({})).await.refused(404, "not_found");
    }
    let nowhere = format!("workspace:x/debits/{debit}/refunds");
    app.book(&nowhere, json!({}))
        .await
        .refused(404, "pool_not_found");
    assert_eq!(app.entries().await, 6);
}

#[tokio::test]
async fn a_closed_pool_refunds_nothing_but_still_replays() {
    let app = app_with_both().await;
    let debit = spend(&app, 10, "r-1").await;
    let path = format!("/v1/pools/workspace:w/debits/{debit}/refunds");
    let send = || app.post(&path).key("k").json(&json!({"credits": 4})).send();
    let given = send().await.expect(201);
    app.delete("/v1/pools/workspace:w").send().await.expect(200);
    refund(&app, &debit, json!({}))
        .await
        .refused(409, "pool_closed");
    refund_run(&app, "r-1", json!({}))
        .await
        .refused(409, "pool_closed");
    let again = send().await.expect(201);
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(again.text, given.text);
}

#[tokio::test]
async fn refunds_at_once_give_back_no_more_than_was_taken() {
    let app = app_with_both().await;
    let debit = spend(&app, 100, "r-1").await;
    let (app, debit) = (&app, &debit);
    let one = |number: usize| async move {
        match number % 4 {
            0 => refund_run(app, "r-1", json!({})).await,
            _ => refund(app, debit, json!({"credits": 10})).await,
        }
    };
    let replies = join_all((0..40).map(one)).await;
    let given = replies.iter().filter(|reply| reply.status == 201);
    let given: i64 = given
        .map(|reply| reply.body["credits"].as_i64().expect("a number"))
        .sum();
    assert_eq!(given, 100);
    let refused = replies.iter().filter(|reply| reply.status != 201);
    assert!(
        refused
            .into_iter()
            .all(|reply| reply.code() == "refund_exceeds_debit")
    );
    assert_eq!(standing(&app.balance(W).await), [900, 0, 0]);
    app.verify().await;
}

#[tokio::test]
async fn a_run_of_two_thousand_debits_is_given_back_in_one_commit() {
    let app = TestApp::start().await;
    app.put_pool(W, json!({"plan": "team", "builders": 2}))
        .await
        .expect(201);
    for batch in 0..2 {
        let item = |number: usize| {
            let key = format!("{batch}-{number}");
            json!({"pool": W, "idempotency_key": key, "credits": 1, "run_id": "r-1"})
        };
        let items: Vec<Value> = (0..1_000).map(item).collect();
        let call = app.post("/v1/debits/batch").json(&json!({"items": items}));
        call.send().await.expect(200);
    }
    let given = refund_run(&app, "r-1", json!({})).await.expect(201).body;
    assert_eq!(given["refunds"].as_array().map(Vec::len), Some(2_000));
    assert_eq!(given["credits"], 2_000);
    assert_eq!(standing(&given["balance"]), [4_000, 0, 0]);
    app.verify().await;
}
