//! Statements: they add up, and each begins where the one before it ends.

use chrono::TimeDelta;
use credit_ledger::ledger::{Attribution, Capture, Command, Credits, Mode, NewHold};
use serde_json::{Value, json};

use crate::support::{Reply, TestApp};

const STATEMENT: &str = "/v1/pools/workspace:w/statement";
const BUCKETS: [&str; 4] = ["monthly", "addon", "held_ended", "overdraft"];

async fn read(app: &TestApp, query: &str) -> Reply {
    app.get(&format!("{STATEMENT}{query}")).send().await
}

/// A statement that adds up.
async fn statement(app: &TestApp, cycle_start: Option<&str>) -> Value {
    let query = cycle_start.map_or(String::new(), |start| format!("?cycle_start={start}"));
    let body = read(app, &query).await.expect(200).body;
    for bucket in BUCKETS {
        let figure = |of: &Value| of[bucket].as_i64().expect("a figure");
        let movements = body["movements"].as_array().expect("movements");
        let moved: i64 = movements.iter().map(figure).sum();
        let closing = figure(&body["opening"]) + moved;
        assert_eq!(closing, figure(&body["closing"]), "{bucket}: {body}");
    }
    body
}

fn figures(monthly: i64, addon: i64, held_ended: i64, overdraft: i64) -> Value {
    json!({
        "monthly": monthly, "addon": addon, "held_ended": held_ended, "overdraft": overdraft,
    })
}

fn movement(kind: &str, count: i64, moved: Value) -> Value {
    let mut movement = moved;
    movement["kind"] = json!(kind);
    movement["count"] = json!(count);
    movement
}

fn hold(credits: u32) -> Command {
    Command::Hold(Box::new(NewHold {
        credits: Some(Credits::whole(credits)),
        round: None,
        partial: false,
        expires_in_seconds: 86_400 * 40,
        attribution: Attribution::default(),
        metadata: None,
    }))
}

async fn buy(app: &TestApp) {
    let buy = json!({"credits": 100, "payment_reference": "pi_1"});
    let path = "/v1/pools/workspace:w/purchases";
    app.post(path).json(&buy).send().await.expect(201);
}

async fn settle(app: &TestApp, credits: u32) {
    let body = json!({"credits": credits, "mode": "settle"});
    let path = "/v1/pools/workspace:w/debits";
    app.post(path).json(&body).send().await.expect(201);
}

/// Two cycles with a hold that outlives the first, an overdraft, a purchase.
async fn two_cycles() -> TestApp {
    let app = TestApp::start().await;
    app.put_pool("workspace:w", json!({"plan": "pro"}))
        .await
        .expect(201);
    buy(&app).await;
    let hold = app.decide("workspace:w", hold(200)).await;
    app.pass(TimeDelta::days(3));
    settle(&app, 600).await;
    settle(&app, 130).await;
    app.pass(TimeDelta::days(30));
    let capture = Capture {
        hold: hold.id(),
        credits: Credits::whole(150),
        round: None,
        mode: Mode::Strict,
    };
    app.decide("workspace:w", Command::Capture(Box::new(capture)))
        .await;
    app
}

#[tokio::test]
async fn a_statement_says_what_each_kind_of_entry_did_to_each_bucket() {
    let app = two_cycles().await;
    let now = statement(&app, None).await;
    let expected = json!({
        "pool": "workspace:w", "cycle_start": "2026-02-28T10:00:00.000Z",
        "cycle_end": "2026-03-31T10:00:00.000Z",
        "previous_cycle_start": "2026-01-31T10:00:00.000Z",
        "opening": figures(200, 0, 0, 30),
        "movements": [
            movement("renewal", 1, figures(570, 0, 200, -30)),
            movement("debit", 1, figures(0, 0, -200, 0)),
        ],
        "closing": figures(770, 0, 0, 0),
    });
    assert_eq!(now, expected);
    let first = statement(&app, Some("2026-01-31T10:00:00Z")).await;
    let expected = json!({
        "pool": "workspace:w", "cycle_start": "2026-01-31T10:00:00.000Z",
        "cycle_end": "2026-02-28T10:00:00.000Z", "previous_cycle_start": null,
        "opening": figures(0, 0, 0, 0),
        "movements": [
            movement("open", 1, figures(800, 0, 0, 0)),
            movement("purchase", 1, figures(0, 100, 0, 0)),
            movement("hold", 1, figures(0, 0, 0, 0)),
            movement("debit", 2, figures(-600, -100, 0, 30)),
        ],
        "closing": figures(200, 0, 0, 30),
    });
    assert_eq!(first, expected);
}

#[tokio::test]
async fn a_statement_is_a_table_for_spreadsheets() {
    let app = two_cycles().await;
    let csv = app
        .get(&format!("{STATEMENT}?cycle_start=2026-01-31T10:00:00Z"))
        .set("accept", "text/csv")
        .send()
        .await
        .expect(200);
    assert_eq!(csv.header("content-type"), Some("text/csv; charset=utf-8"));
    let cycle = "2026-01-31T10:00:00.000Z,2026-02-28T10:00:00.000Z";
    let expected = [
        "cycle_start,cycle_end,line,count,monthly,addon,held_ended,overdraft".to_owned(),
        format!("{cycle},opening,,0,0,0,0"),
        format!("{cycle},open,1,800,0,0,0"),
        format!("{cycle},purchase,1,0,100,0,0"),
        format!("{cycle},hold,1,0,0,0,0"),
        format!("{cycle},debit,2,-600,-100,0,30"),
        format!("{cycle},closing,,200,0,0,30"),
    ];
    assert_eq!(csv.text.lines().collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn each_statement_begins_where_the_one_before_it_ends() {
    let app = TestApp::start().await;
    app.put_pool("workspace:w", json!({"plan": "pro"}))
        .await
        .expect(201);
    for builders in [2, 3] {
        // Both at one instant: one cycle, as far as anybody can tell.
        app.put_pool("workspace:w", json!({"builders": builders}))
            .await
            .expect(200);
    }
    settle(&app, 2_500).await;
    app.pass(TimeDelta::days(10));
    app.put_pool("workspace:w", json!({"builders": 4}))
        .await
        .expect(200);
    buy(&app).await;
    app.pass(TimeDelta::days(100));
    settle(&app, 7).await;
    let mut later = statement(&app, None).await;
    let mut cycles = 1;
    while let Some(start) = later["previous_cycle_start"].as_str() {
        let earlier = statement(&app, Some(start)).await;
        assert_eq!(earlier["closing"], later["opening"], "{start}");
        assert_eq!(earlier["cycle_end"], later["cycle_start"], "{start}");
        later = earlier;
        cycles += 1;
    }
    assert_eq!(later["opening"], figures(0, 0, 0, 0));
    assert_eq!(later["cycle_start"], "2026-01-31T10:00:00.000Z");
    assert_eq!(
        later["movements"][1],
        movement("restart", 2, figures(1_600, 0, 0, 0))
    );
    assert_eq!(cycles, 5);
}

#[tokio::test]
async fn what_is_no_cycle_has_no_statement() {
    let app = two_cycles().await;
    for query in [
        "?cycle_start=2026-01-31T10:00:00.001Z",
        "?cycle_start=2026-01-01T10:00:00Z",
        "?cycle_start=2026-03-31T10:00:00Z",
    ] {
        read(&app, query).await.refused(404, "not_found");
    }
    read(&app, "?cycle_start=now")
        .await
        .refused(422, "validation_failed");
    read(&app, "?cycle=1")
        .await
        .refused(422, "validation_failed");
    let unknown = app.get("/v1/pools/workspace:x/statement").send().await;
    unknown.refused(404, "pool_not_found");
    app.delete("/v1/pools/workspace:w").send().await.expect(200);
    app.pass(TimeDelta::days(300));
    let closed = statement(&app, None).await;
    assert_eq!(
        closed["cycle_start"], "2026-02-28T10:00:00.000Z",
        "it stays as it was"
    );
}
