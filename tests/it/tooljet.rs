//! The reads that ToolJet's backend makes: exact shapes, and figures that add up.

use chrono::TimeDelta;
use credit_ledger::ledger::{Attribution, Capture, Command, Credits, Mode, NewHold, Refund};
use serde_json::{Value, json};

use crate::support::{self, TestApp};

async fn read(app: &TestApp, path: &str) -> Value {
    let reply = app.get(&format!("/api/ai/{path}")).send().await.expect(200);
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    reply.body
}

async fn spend(app: &TestApp, pool: &str, body: Value) {
    app.post(&format!("/v1/pools/{pool}/debits"))
        .json(&body)
        .send()
        .await
        .expect(201);
}

#[tokio::test]
async fn the_balance_has_tooljets_names() {
    let app = TestApp::start().await;
    app.put_pool("workspace:w", json!({"plan": "pro"}))
        .await
        .expect(201);
    spend(&app, "workspace:w", json!({"credits": 50})).await;
    let expected = json!({
        "balance": 750,
        "remaining": {"recurring": 750, "topup": 0, "total": 750},
        "plan": {"recurring": 800, "topup": 0, "total": 800},
        "expiry": {
            "recurringExpiryDate": "2026-02-28T10:00:00.000Z", "topupExpiryDate": null,
        },
        "cycleStart": "2026-01-31T10:00:00.000Z", "asOf": "2026-01-31T10:00:00.000Z",
        "version": 2,
    });
    assert_eq!(read(&app, "organizations/w/balance").await, expected);
}

#[tokio::test]
async fn an_overdraft_is_negative_until_the_renewal_repays_it() {
    let app = TestApp::start().await;
    let body = json!({"plan": "enterprise", "monthly_allowance": 10_000});
    app.put_pool("instance:i", body).await.expect(201);
    spend(
        &app,
        "instance:i",
        json!({"credits": 19_000, "mode": "settle"}),
    )
    .await;
    let before = read(&app, "selfhost-customers/i/balance").await;
    assert_eq!(
        before["remaining"],
        json!({"recurring": -9000, "topup": 0, "total": -9000})
    );
    assert_eq!(before["balance"], -9000);
    app.pass(TimeDelta::days(28));
    let after = read(&app, "selfhost-customers/i/balance").await;
    assert_eq!(after["remaining"]["recurring"], 1000);
    assert_eq!(after["plan"]["recurring"], 10_000);
    assert_eq!(after["cycleStart"], "2026-02-28T10:00:00.000Z");
    let usage = read(&app, "selfhost-customers/i/usage").await;
    assert_eq!(usage["pool"]["total"], 0, "a new cycle");
}

#[tokio::test]
async fn a_purchase_leaves_the_cycle_alone_and_a_builder_restarts_it() {
    let app = TestApp::start().await;
    app.put_pool("workspace:w", json!({"plan": "pro"}))
        .await
        .expect(201);
    app.pass(TimeDelta::days(3));
    let buy = json!({"credits": 500, "payment_reference": "pi_1"});
    app.post("/v1/pools/workspace:w/purchases")
        .json(&buy)
        .send()
        .await
        .expect(201);
    let bought = read(&app, "organizations/w/balance").await;
    assert_eq!(bought["cycleStart"], "2026-01-31T10:00:00.000Z");
    assert_eq!(
        bought["plan"],
        json!({"recurring": 800, "topup": 500, "total": 1300})
    );
    assert_eq!(
        bought["expiry"]["topupExpiryDate"],
        "2027-02-03T10:00:00.000Z"
    );
    app.put_pool("workspace:w", json!({"builders": 2}))
        .await
        .expect(200);
    let raised = read(&app, "organizations/w/balance").await;
    assert_eq!(raised["cycleStart"], "2026-02-03T10:00:00.000Z");
    assert_eq!(
        raised["remaining"],
        json!({"recurring": 1600, "topup": 500, "total": 2100})
    );
}

#[tokio::test]
async fn users_and_unattributed_are_the_pool_and_what_is_left_is_the_rest_of_the_plan() {
    let app = TestApp::start().await;
    app.put_pool("instance:i", json!({"plan": "pro"}))
        .await
        .expect(201);
    let empty = read(&app, "selfhost-customers/i/usage").await;
    let none = json!({"recurring": 0, "topup": 0, "total": 0});
    let expected = json!({
        "cycleStart": "2026-01-31T10:00:00.000Z", "trackingSince": null, "users": [],
        "unattributed": none, "pool": none,
    });
    assert_eq!(empty, expected);

    let buy = json!({"credits": 100, "payment_reference": "pi_1"});
    app.post("/v1/pools/instance:i/purchases")
        .json(&buy)
        .send()
        .await
        .expect(201);
    app.pass(TimeDelta::hours(1));
    for body in [
        json!({"credits": 300, "user_id": "zoe", "workspace_id": "w-2"}),
        json!({"credits": 400, "user_id": "adam", "workspace_id": "w-2"}),
        json!({"credits": 150, "user_id": "adam"}),
        json!({"credits": 30}),
        json!({"credits": 50, "user_id": "adam", "workspace_id": "w-1", "mode": "settle"}),
    ] {
        spend(&app, "instance:i", body).await;
    }
    let usage = read(&app, "selfhost-customers/i/usage").await;
    let expected = json!({
        "cycleStart": "2026-01-31T10:00:00.000Z", "trackingSince": "2026-01-31T11:00:00.000Z",
        "users": [
            {"userId": "adam", "recurring": 530, "topup": 70, "total": 600},
            {"userId": "zoe", "recurring": 300, "topup": 0, "total": 300},
        ],
        "unattributed": {"recurring": 0, "topup": 30, "total": 30},
        "pool": {"recurring": 830, "topup": 100, "total": 930},
    });
    assert_eq!(usage, expected);
    let balance = read(&app, "selfhost-customers/i/balance").await;
    for figure in ["recurring", "topup", "total"] {
        let of = |value: &Value| value[figure].as_i64().expect("a figure");
        let sum = of(&balance["remaining"]) + of(&usage["pool"]);
        assert_eq!(sum, of(&balance["plan"]), "{figure}");
    }

    let grouped = read(&app, "selfhost-customers/i/usage?groupBy=organization").await;
    let adam = json!([
        {"organizationId": "w-1", "recurring": 30, "topup": 20, "total": 50},
        {"organizationId": "w-2", "recurring": 400, "topup": 0, "total": 400},
        {"organizationId": null, "recurring": 100, "topup": 50, "total": 150},
    ]);
    assert_eq!(grouped["users"][0]["byOrganization"], adam);
    assert_eq!(grouped["pool"], usage["pool"]);
    app.verify().await;
}

/// What is left and what was spent are the plan.
async fn expect_whole_plan(app: &TestApp) -> Value {
    let usage = read(app, "organizations/w/usage").await;
    let balance = read(app, "organizations/w/balance").await;
    for figure in ["recurring", "topup", "total"] {
        let of = |value: &Value| value[figure].as_i64().expect("a figure");
        let sum = of(&balance["remaining"]) + of(&usage["pool"]);
        assert_eq!(sum, of(&balance["plan"]), "{figure}: {balance} {usage}");
    }
    usage
}

#[tokio::test]
async fn refunds_and_captures_keep_what_is_left_and_what_is_spent_together() {
    let app = TestApp::start().await;
    app.put_pool("workspace:w", json!({"plan": "pro"}))
        .await
        .expect(201);
    let buy = json!({"credits": 100, "payment_reference": "pi_1"});
    app.post("/v1/pools/workspace:w/purchases")
        .json(&buy)
        .send()
        .await
        .expect(201);
    let hold = NewHold {
        credits: Some(Credits::whole(300)),
        round: None,
        partial: false,
        expires_in_seconds: 3_600,
        attribution: Attribution {
            user_id: "zoe".parse().ok(),
            ..Attribution::default()
        },
        metadata: None,
    };
    let hold = app
        .decide("workspace:w", Command::Hold(Box::new(hold)))
        .await;
    let tracked = expect_whole_plan(&app).await;
    assert_eq!(tracked["trackingSince"], "2026-01-31T10:00:00.000Z");
    assert_eq!(tracked["users"], json!([]), "a hold spends nothing");
    let capture = Capture {
        hold: hold.id(),
        credits: Credits::whole(250),
        round: None,
        mode: Mode::Strict,
    };
    let capture = Command::Capture(Box::new(capture));
    let debit = app.decide("workspace:w", capture).await;
    let refund = |credits: u32| {
        Command::Refund(Box::new(Refund {
            debit: debit.id(),
            credits: Some(Credits::whole(credits)),
            reason: None,
        }))
    };
    expect_whole_plan(&app).await;
    app.decide("workspace:w", refund(100)).await;
    let usage = expect_whole_plan(&app).await;
    let zoe = json!({"userId": "zoe", "recurring": 150, "topup": 0, "total": 150});
    assert_eq!(usage["users"][0], zoe);

    app.pass(TimeDelta::days(30));
    let renewed = expect_whole_plan(&app).await;
    assert_eq!(renewed["users"], json!([]), "a new cycle");
    app.decide("workspace:w", refund(40)).await;
    let late = expect_whole_plan(&app).await;
    let zoe = json!({"userId": "zoe", "recurring": 0, "topup": 0, "total": 0});
    assert_eq!(late["users"][0], zoe, "what lapsed came back to no bucket");
    assert_eq!(late["trackingSince"], "2026-01-31T10:00:00.000Z");
}

#[tokio::test]
async fn what_is_kept_of_a_cycle_is_what_the_journal_says() {
    let app = TestApp::with_blocks_of(4).await;
    app.put_pool("instance:i", json!({"plan": "team", "builders": 9}))
        .await
        .expect(201);
    // Another replica, which has nothing in memory when it is asked.
    for round in 0..40_usize {
        let item = |number: usize| {
            json!({
                "pool": "instance:i", "idempotency_key": format!("{round}-{number}"),
                "credits": 1 + number, "user_id": format!("u-{}", (round + number) % 5),
                "workspace_id": format!("w-{}", number % 2),
            })
        };
        let items: Vec<Value> = (0..round % 6).map(item).collect();
        if !items.is_empty() {
            let body = json!({"items": items});
            let path = "/v1/debits/batch";
            app.post(path).json(&body).send().await.expect(200);
        }
        app.pass(TimeDelta::hours(20));
        let other = support::serve(&app.database.url, app.clock.clone()).await.0;
        let other = other.with_key(&app.bearer);
        for query in ["", "?groupBy=organization"] {
            let path = format!("/api/ai/selfhost-customers/i/usage{query}");
            let kept = app.get(&path).send().await.expect(200).text;
            assert_eq!(
                kept,
                other.get(&path).send().await.expect(200).text,
                "{round}"
            );
        }
    }
    app.verify().await;
}

#[tokio::test]
async fn many_reads_beside_writes_only_ever_see_more() {
    let app = TestApp::start().await;
    app.put_pool("workspace:w", json!({"plan": "team"}))
        .await
        .expect(201);
    let reads = async {
        let mut last = 0;
        for _ in 0..60 {
            let usage = read(&app, "organizations/w/usage").await;
            let total = usage["pool"]["total"].as_i64().expect("a figure");
            assert_eq!(
                usage["users"][0]["total"].as_i64().unwrap_or_default(),
                total
            );
            assert!(total >= last, "{total} after {last}");
            last = total;
        }
    };
    let writes = async {
        for _ in 0..60 {
            let body = json!({"credits": 1, "user_id": "u-1"});
            spend(&app, "workspace:w", body).await;
        }
    };
    futures_util::future::join3(reads, writes, async {
        for _ in 0..60 {
            read(&app, "organizations/w/usage").await;
        }
    })
    .await;
    let usage = read(&app, "organizations/w/usage").await;
    assert_eq!(usage["pool"]["total"], 60);
}

#[tokio::test]
async fn problems_carry_what_tooljet_reads() {
    let app = TestApp::start().await;
    let refused = app.get("/api/ai/organizations/x/balance").send().await;
    let refused = refused.refused(404, "pool_not_found");
    assert_eq!(refused.body["statusCode"], 404);
    assert_eq!(refused.body["message"], refused.body["detail"]);
    let bad = app.get("/api/ai/organizations/a%20b/usage").send().await;
    let bad = bad.refused(422, "validation_failed");
    assert_eq!(
        (&bad.body["statusCode"], &bad.body["errors"][0]["field"]),
        (&json!(422), &json!("id"))
    );
    let unknown = app
        .get("/api/ai/selfhost-customers/x/usage?groupBy=user")
        .send()
        .await;
    unknown.refused(422, "validation_failed");
}
