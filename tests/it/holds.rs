//! Holds over HTTP: opened, extended, released, expired, read. Captures are in `captures`.

use chrono::TimeDelta;
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::{Reply, TestApp};

const W: &str = "workspace:w";
const HOLDS: &str = "/v1/pools/workspace:w/holds";

async fn app_on(plan: &str) -> TestApp {
    let app = TestApp::start().await;
    app.put_pool(W, json!({"plan": plan})).await.expect(201);
    app
}

async fn hold(app: &TestApp, body: Value) -> Reply {
    app.book("workspace:w/holds", body).await
}

/// What is done to a hold.
async fn act(app: &TestApp, id: &str, what: &str, body: Value) -> Reply {
    app.book(&format!("workspace:w/holds/{id}/{what}"), body)
        .await
}

async fn read(app: &TestApp, id: &str) -> Value {
    app.read(&format!("workspace:w/holds/{id}")).await
}

#[tokio::test]
async fn a_hold_reserves_monthly_credits_first_then_addon_credits() {
    let app = app_on("pro").await;
    let buy = json!({"credits": 100, "payment_reference": "pi_1"});
    app.book("workspace:w/purchases", buy).await.expect(201);
    app.debit(W, json!(750)).await.expect(201);
    let body = json!({
        "credits": 90, "operation": "app_generation", "user_id": "u-1", "workspace_id": "w-9",
        "run_id": "r-55", "model": "m-1", "metadata": {"k": [1]},
    });
    let opened = hold(&app, body).await.expect(201);
    assert_eq!(opened.header("idempotency-replayed"), None);
    let balance = app.balance(W).await;
    let expected = json!({
        "id": opened.body["id"], "pool": W, "credits": 90, "requested": 90, "monthly": 50,
        "addon": 40, "status": "open", "operation": "app_generation", "user_id": "u-1",
        "workspace_id": "w-9", "run_id": "r-55", "model": "m-1",
        "created_at": "2026-01-31T10:00:00.000Z", "expires_at": "2026-01-31T10:15:00.000Z",
        "balance": balance,
    });
    assert_eq!(opened.body, expected);
    assert_eq!(
        (&balance["available"], &balance["held"]),
        (&json!(60), &json!(90))
    );
    let bucket = |name: &str| {
        let bucket = &balance[name];
        ["settled", "held", "available"].map(|figure| bucket[figure].as_i64().expect("a number"))
    };
    assert_eq!(bucket("monthly"), [50, 50, 0]);
    assert_eq!(bucket("addon"), [100, 40, 60]);

    let id = opened.body["id"].as_str().expect("an id");
    assert_eq!(read(&app, id).await, expected);
    let list = app.read("workspace:w/holds").await;
    assert_eq!(list, json!({"data": [expected], "next_cursor": null}));
    app.debit(W, json!(61))
        .await
        .refused(402, "insufficient_credits");
    app.verify().await;
}

#[tokio::test]
async fn a_short_pool_refuses_a_hold_unless_a_part_will_do() {
    let app = app_on("free").await;
    let short = hold(&app, json!({"credits": 130})).await;
    let short = short.refused(402, "insufficient_credits").body;
    let told = ["required", "available", "shortfall", "plan_allows_addons"];
    let expected = [json!(130), json!(100), json!(30), json!(false)];
    assert_eq!(told.map(|name| short[name].clone()), expected);

    let part = json!({"credits": 130, "partial": true});
    let opened = hold(&app, part.clone()).await.expect(201).body;
    assert_eq!(
        (&opened["credits"], &opened["requested"]),
        (&json!(100), &json!(130))
    );
    hold(&app, part).await.refused(402, "pool_empty");
    assert_eq!(app.entries().await, 2);
}

#[tokio::test]
async fn a_hold_is_priced_and_rounded_as_a_debit() {
    let app = app_on("pro").await;
    let rounded = json!({"credits": 7.5, "round": "up"});
    let rounded = hold(&app, rounded).await.expect(201).body;
    assert_eq!(
        (&rounded["credits"], &rounded["requested"]),
        (&json!(8), &json!(7.5))
    );
    let fine = hold(&app, json!({"credits": 7.5})).await;
    fine.refused(422, "not_a_multiple");
    let unpriced = hold(&app, json!({"operation": "app_generation"})).await;
    let unpriced = unpriced.refused(422, "validation_failed");
    assert_eq!(unpriced.body["errors"][0]["field"], "credits");

    let app = app_on("legacy_pro").await;
    let priced = hold(&app, json!({"operation": "app_generation"})).await;
    assert_eq!(priced.expect(201).body["credits"], 10);
    let other = json!({"operation": "app_generation", "credits": 11});
    hold(&app, other).await.refused(422, "price_is_fixed");
    let unknown = json!({"operation": "nothing", "credits": 11});
    hold(&app, unknown).await.refused(422, "unknown_operation");
}

#[tokio::test]
async fn an_extended_hold_ends_so_long_after_now() {
    let app = app_on("pro").await;
    let id = app.hold(W, 100).await;
    app.pass(TimeDelta::minutes(10));
    let extended = act(&app, &id, "extend", json!({"expires_in_seconds": 3600})).await;
    let extended = extended.expect(200).body;
    assert_eq!(extended["expires_at"], "2026-01-31T11:10:00.000Z");
    assert_eq!(extended["created_at"], "2026-01-31T10:00:00.000Z");
    assert_eq!(
        (&extended["status"], &extended["credits"]),
        (&json!("open"), &json!(100))
    );
    assert_eq!(read(&app, &id).await, extended);

    app.pass(TimeDelta::minutes(59));
    assert_eq!(app.balance(W).await["held"], 100);
    // Also an earlier end.
    let shortened = act(&app, &id, "extend", json!({"expires_in_seconds": 1})).await;
    shortened.expect(200);
    app.pass(TimeDelta::seconds(1));
    assert_eq!(app.balance(W).await["held"], 0);
    app.verify().await;
}

#[tokio::test]
async fn a_released_hold_gives_its_credits_back() {
    let app = app_on("pro").await;
    for body in [None, Some(""), Some("{}"), Some(" { } ")] {
        let id = app.hold(W, 100).await;
        let call = app.post(&format!("{HOLDS}/{id}/release"));
        let call = match body {
            Some(body) => call.raw(body),
            None => call,
        };
        let released = call.send().await.expect(200).body;
        assert_eq!(released["status"], "released", "{body:?}");
        let figures = (
            &released["balance"]["available"],
            &released["balance"]["held"],
        );
        assert_eq!(figures, (&json!(800), &json!(0)), "{body:?}");
        assert_eq!(read(&app, &id).await, released);
    }
    let id = app.hold(W, 100).await;
    let release = || app.post(&format!("{HOLDS}/{id}/release"));
    let unknown = release().raw(r#"{"credits":1}"#).send().await;
    let unknown = unknown.refused(422, "validation_failed");
    assert_eq!(unknown.body["errors"][0]["field"], "credits");
    for body in ["{", "{}x", " "] {
        release()
            .raw(body)
            .send()
            .await
            .refused(400, "malformed_json");
    }
    for body in ["null", "[]", "7"] {
        release()
            .raw(body)
            .send()
            .await
            .refused(422, "validation_failed");
    }
    let text = release().raw("{}").set("content-type", "text/plain");
    text.send().await.refused(415, "unsupported_media_type");
    assert_eq!(read(&app, &id).await["status"], "open");
    app.verify().await;
}

#[tokio::test]
async fn what_is_open_no_more_says_what_became_of_it() {
    let app = app_on("pro").await;
    let [captured, released] = [app.hold(W, 10).await, app.hold(W, 10).await];
    let expired = app.hold(W, 10).await;
    act(&app, &captured, "capture", json!({"credits": 10}))
        .await
        .expect(201);
    act(&app, &released, "release", json!({})).await.expect(200);
    app.pass(TimeDelta::minutes(15));
    app.sweep().await;
    let version = app.balance(W).await["version"].clone();
    for (id, status) in [
        (captured, "captured"),
        (released, "released"),
        (expired, "expired"),
    ] {
        for (what, body) in [
            ("release", json!({})),
            ("extend", json!({"expires_in_seconds": 60})),
            ("capture", json!({"credits": 10})),
        ] {
            let refused = act(&app, &id, what, body)
                .await
                .refused(409, "hold_not_open");
            assert_eq!(refused.body["hold_status"], status, "{what}");
        }
        assert_eq!(read(&app, &id).await["status"], status);
    }
    assert_eq!(app.balance(W).await["version"], version);
    assert_eq!(app.entries().await, 1 + 3 + 3);
    app.verify().await;
}

#[tokio::test]
async fn a_hold_expires_at_its_instant_though_nobody_looks() {
    let app = app_on("pro").await;
    let id = app.hold(W, 100).await;
    app.at("2026-01-31T10:14:59.999Z");
    assert_eq!(app.balance(W).await["held"], 100);
    app.at("2026-01-31T10:15:00Z");
    let balance = app.balance(W).await;
    assert_eq!(
        (&balance["held"], &balance["available"]),
        (&json!(0), &json!(800))
    );
    assert_eq!(
        (&balance["version"], app.entries().await),
        (&json!(3), 2),
        "a read books nothing"
    );

    app.at("2026-02-02T00:00:00Z");
    app.sweep().await;
    assert_eq!(app.entries().await, 3);
    let expired = read(&app, &id).await;
    assert_eq!(expired["status"], "expired");
    assert_eq!(expired["balance"]["as_of"], "2026-01-31T10:15:00.000Z");
    let journal = app.read("workspace:w/transactions").await;
    let entry = &journal["data"][0];
    assert_eq!(
        (&entry["kind"], &entry["actor"]),
        (&json!("hold_expiry"), &Value::Null)
    );
    assert_eq!(entry["at"], "2026-01-31T10:15:00.000Z");
    app.verify().await;
}

#[tokio::test]
async fn reading_a_hold_books_its_expiry_first() {
    let app = app_on("pro").await;
    let id = app.hold(W, 100).await;
    app.pass(TimeDelta::hours(1));
    assert_eq!(read(&app, &id).await["status"], "expired");
    assert_eq!(app.entries().await, 3);
    let other = app.hold(W, 100).await;
    app.pass(TimeDelta::hours(1));
    let open = app.read("workspace:w/holds?status=open").await;
    assert_eq!(open["data"], json!([]));
    let expired = app.read("workspace:w/holds?status=expired").await;
    assert_eq!(expired["data"][0]["id"], other);
    assert_eq!(expired["data"][1]["id"], id);
}

/// The credits of the holds that a list shows.
async fn listed(app: &TestApp, query: &str) -> Vec<String> {
    let page = app.read(&format!("workspace:w/holds{query}")).await;
    let holds = page["data"].as_array().expect("a page").clone();
    let credits = |hold: &Value| hold["credits"].to_string();
    holds.iter().map(credits).collect()
}

#[tokio::test]
async fn holds_are_listed_by_their_opening_newest_first() {
    let app = app_on("pro").await;
    let mut ids = Vec::new();
    for (credits, user, run) in [(1, "u-1", "r-1"), (2, "u-2", "r-1"), (3, "u-1", "r-2")] {
        let body = json!({"credits": credits, "user_id": user, "run_id": run});
        ids.push(hold(&app, body).await.expect(201).body["id"].clone());
    }
    let first = ids[0].as_str().expect("an id");
    // What happens to a hold later does not move it in the list.
    act(&app, first, "capture", json!({"credits": 1}))
        .await
        .expect(201);

    assert_eq!(listed(&app, "").await, ["3", "2", "1"]);
    assert_eq!(listed(&app, "?status=open").await, ["3", "2"]);
    assert_eq!(listed(&app, "?status=captured").await, ["1"]);
    assert_eq!(listed(&app, "?status=released").await, [""; 0]);
    assert_eq!(listed(&app, "?user_id=u-1").await, ["3", "1"]);
    assert_eq!(listed(&app, "?run_id=r-1").await, ["2", "1"]);
    assert_eq!(
        listed(&app, "?run_id=r-1&user_id=u-1&status=captured").await,
        ["1"]
    );
    let page = app.read("workspace:w/holds?limit=2").await;
    let cursor = page["next_cursor"].as_str().expect("a next page");
    hold(&app, json!({"credits": 4})).await.expect(201);
    assert_eq!(
        listed(&app, &format!("?limit=2&cursor={cursor}")).await,
        ["1"]
    );

    for bad in [
        "?status=lost",
        "?status=",
        "?user_id=",
        "?limit=0",
        "?cursor=zz",
        "?page=2",
    ] {
        let refused = app.get(&format!("{HOLDS}{bad}")).send().await;
        refused.refused(422, "validation_failed");
    }
    let unknown = app.get("/v1/pools/workspace:x/holds").send().await;
    unknown.refused(404, "pool_not_found");
}

#[tokio::test]
async fn a_thousand_holds_may_be_open_and_not_one_more() {
    let app = app_on("team").await;
    let replies = join_all((0..1_000).map(|_| hold(&app, json!({"credits": 1})))).await;
    assert!(replies.iter().all(|reply| reply.status == 201));
    let refused = hold(&app, json!({"credits": 1})).await;
    assert_eq!(
        refused.refused(409, "too_many_holds").body["maximum"],
        1_000
    );
    assert_eq!(
        (app.entries().await, &app.balance(W).await["held"]),
        (1_001, &json!(1_000))
    );

    let id = replies[500].body["id"].as_str().expect("an id");
    act(&app, id, "release", json!({})).await.expect(200);
    app.hold(W, 1).await;
    hold(&app, json!({"credits": 1}))
        .await
        .refused(409, "too_many_holds");
    app.pass(TimeDelta::hours(1));
    assert_eq!(app.balance(W).await["held"], 0);
    app.hold(W, 1).await;
    assert_eq!(app.entries().await, 1_001 + 2 + 1_000 + 1);
    app.verify().await;
}

#[tokio::test]
async fn closing_a_pool_releases_its_holds() {
    let app = app_on("pro").await;
    let [first, second] = [app.hold(W, 100).await, app.hold(W, 50).await];
    let closed = app
        .delete("/v1/pools/workspace:w")
        .send()
        .await
        .expect(200)
        .body;
    let figures = (&closed["balance"]["held"], &closed["balance"]["available"]);
    assert_eq!(figures, (&json!(0), &json!(800)));
    for id in [&first, &second] {
        assert_eq!(read(&app, id).await["status"], "released");
        for (what, body) in [("release", json!({})), ("capture", json!({"credits": 1}))] {
            act(&app, id, what, body).await.refused(409, "pool_closed");
        }
    }
    hold(&app, json!({"credits": 1}))
        .await
        .refused(409, "pool_closed");
    app.verify().await;
}

#[tokio::test]
async fn the_journal_tells_what_happened_to_a_hold() {
    let app = app_on("pro").await;
    let body = json!({"credits": 100, "user_id": "u-1", "run_id": "r-1", "metadata": {"k": 1}});
    let opened = hold(&app, body).await.expect(201).body;
    let id = opened["id"].as_str().expect("an id");
    act(&app, id, "extend", json!({"expires_in_seconds": 60}))
        .await
        .expect(200);
    act(&app, id, "capture", json!({"credits": 70}))
        .await
        .expect(201);
    let other = app.hold(W, 5).await;
    act(&app, &other, "release", json!({})).await.expect(200);

    let journal = app.read("workspace:w/transactions").await;
    let entries = journal["data"].as_array().expect("entries");
    let told: Vec<_> = entries.iter().rev().skip(1).collect();
    let kinds = ["hold", "hold_extend", "debit", "hold", "release"];
    for (place, kind) in kinds.into_iter().enumerate() {
        let expected = if place < 3 { id } else { &other };
        assert_eq!(
            (&told[place]["kind"], &told[place]["hold_id"]),
            (&json!(kind), &json!(expected))
        );
    }
    assert!(
        told[..3]
            .iter()
            .all(|entry| entry["user_id"] == "u-1" && entry["run_id"] == "r-1")
    );
    assert_eq!(told[0]["metadata"], json!({"k": 1}));
    let legs = json!([
        {"from": "held_monthly", "to": "consumed", "credits": 70},
        {"from": "held_monthly", "to": "monthly", "credits": 30},
    ]);
    assert_eq!(told[2]["transfers"], legs);
    let holds = app.read("workspace:w/transactions?kind=hold,release").await;
    assert_eq!(holds["data"].as_array().map(Vec::len), Some(3));
}

#[tokio::test]
async fn the_first_hold_makes_a_pool_where_the_tenant_wants_that() {
    let app = TestApp::start().await;
    let settings = json!({"settings": {"auto_provision": {"workspace": "free", "instance": null}}});
    let tenant = format!("/v1/tenants/{}", app.tenant);
    let patch = app.operator.call(reqwest::Method::PATCH, &tenant);
    patch.json(&settings).send().await.expect(200);

    hold(&app, json!({"credits": 101}))
        .await
        .refused(402, "insufficient_credits");
    let id = "0190a000-0000-7000-8000-000000000000";
    act(&app, id, "release", json!({}))
        .await
        .refused(404, "pool_not_found");
    assert_eq!(app.entries().await, 0);

    let opened = hold(&app, json!({"credits": 60})).await.expect(201).body;
    assert_eq!(opened["balance"]["available"], 40);
    assert_eq!(app.entries().await, 2);
    let id = opened["id"].as_str().expect("an id");
    act(&app, id, "capture", json!({"credits": 60}))
        .await
        .expect(201);
    app.verify().await;
}
