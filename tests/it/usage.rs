//! Usage over HTTP: windows, filters, groups, refunds and captures, and that it is what the
//! journal adds up to however much of it was added up in advance.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use credit_ledger::ledger::{
    Attribution, Capture, Command, Credits, EntryId, Mode, NewHold, Refund,
};
use serde_json::{Value, json};

use crate::support::TestApp;

const USAGE: &str = "/v1/pools/workspace:w/usage";

async fn usage(app: &TestApp, query: &str) -> Value {
    let path = format!("{USAGE}{query}");
    app.get(&path).send().await.expect(200).body
}

async fn spend(app: &TestApp, body: Value) -> EntryId {
    let path = "/v1/pools/workspace:w/debits";
    let debit = app.post(path).json(&body).send().await.expect(201).body;
    let id: uuid::Uuid = debit["id"]
        .as_str()
        .and_then(|id| id.parse().ok())
        .expect("an id");
    EntryId::from(id)
}

fn refund(debit: EntryId, credits: u32) -> Command {
    Command::Refund(Box::new(Refund {
        debit,
        credits: Some(Credits::whole(credits)),
        reason: None,
    }))
}

async fn buy(app: &TestApp, credits: u32) {
    let body = json!({"credits": credits, "payment_reference": format!("pi_{credits}")});
    let path = "/v1/pools/workspace:w/purchases";
    app.post(path).json(&body).send().await.expect(201);
}

async fn pro() -> TestApp {
    let app = TestApp::start().await;
    let body = json!({"plan": "pro"});
    app.put_pool("workspace:w", body).await.expect(201);
    app
}

fn figures(monthly: i64, addon: i64, overdraft: i64, count: i64) -> Value {
    json!({
        "monthly": monthly, "addon": addon, "overdraft": overdraft,
        "total": monthly + addon + overdraft, "count": count,
    })
}

/// A cycle with four debits, seven hours apart.
async fn four_debits() -> TestApp {
    let app = pro().await;
    buy(&app, 100).await;
    for body in [
        json!({"credits": 500, "user_id": "zoe", "operation": "app_generation", "model": "m-1"}),
        json!({"credits": 280, "user_id": "adam", "operation": "modify_query"}),
        json!({"credits": 40, "user_id": "adam", "workspace_id": "w-1"}),
        json!({"credits": 100, "mode": "settle"}),
    ] {
        spend(&app, body).await;
        app.pass(TimeDelta::hours(7));
    }
    app
}

#[tokio::test]
async fn the_current_cycle_is_shown_by_bucket_and_split_by_what_is_asked_for() {
    let app = four_debits().await;
    let all = usage(&app, "").await;
    assert_eq!(all["pool"], figures(800, 100, 20, 4));
    assert_eq!(
        (&all["from"], &all["to"], &all["groups"]),
        (
            &json!("2026-01-31T10:00:00.000Z"),
            &json!("2026-02-01T14:00:00.000Z"),
            &json!([])
        )
    );
    let group = |key: Value, figures: Value| {
        let mut group = figures;
        group["key"] = key;
        group
    };
    let rows = [
        (
            "operation",
            vec![
                group(json!("app_generation"), figures(500, 0, 0, 1)),
                group(json!("modify_query"), figures(280, 0, 0, 1)),
                group(Value::Null, figures(20, 100, 20, 2)),
            ],
        ),
        (
            "user",
            vec![
                group(json!("zoe"), figures(500, 0, 0, 1)),
                group(json!("adam"), figures(300, 20, 0, 2)),
                group(Value::Null, figures(0, 80, 20, 1)),
            ],
        ),
        (
            "workspace",
            vec![
                group(json!("w-1"), figures(20, 20, 0, 1)),
                group(Value::Null, figures(780, 80, 20, 3)),
            ],
        ),
        (
            "model",
            vec![
                group(json!("m-1"), figures(500, 0, 0, 1)),
                group(Value::Null, figures(300, 100, 20, 3)),
            ],
        ),
        (
            "day",
            vec![
                group(json!("2026-01-31"), figures(780, 0, 0, 2)),
                group(json!("2026-02-01"), figures(20, 100, 20, 2)),
            ],
        ),
    ];
    for (by, expected) in rows {
        let split = usage(&app, &format!("?group_by={by}")).await;
        assert_eq!(split["groups"], json!(expected), "{by}");
        assert_eq!(split["pool"], all["pool"], "{by}");
    }
}

#[tokio::test]
async fn filters_leave_what_they_name_in_the_pool_and_in_the_groups() {
    let app = four_debits().await;
    let of_adam = usage(&app, "?user_id=adam&group_by=operation").await;
    assert_eq!(of_adam["pool"], figures(300, 20, 0, 2));
    assert_eq!(of_adam["groups"].as_array().map(Vec::len), Some(2));
    let both = usage(&app, "?user_id=adam&operation=modify_query").await;
    assert_eq!(both["pool"], figures(280, 0, 0, 1));
}

#[tokio::test]
async fn a_window_takes_its_start_and_leaves_its_end() {
    let app = pro().await;
    for credits in [1, 2, 4, 8] {
        spend(&app, json!({"credits": credits})).await;
        app.pass(TimeDelta::days(1));
    }
    let rows = [
        ("?from=2026-02-01T10:00:00Z&to=2026-02-03T10:00:00Z", 6),
        ("?from=2026-02-01T10:00:00.001Z", 12),
        ("?to=2026-02-01T10:00:00.001Z", 3),
        ("?to=2026-02-01T10:00:00Z", 1),
        ("?from=2020-01-01T00:00:00Z&to=2031-01-01T00:00:00Z", 15),
        ("?from=2026-02-03T10:00:00Z&to=2026-02-03T10:00:00Z", 0),
    ];
    for (query, expected) in rows {
        assert_eq!(
            usage(&app, query).await["pool"]["total"],
            expected,
            "{query}"
        );
    }
    let future = usage(&app, "?to=2031-01-01T00:00:00%2B01:00").await;
    assert_eq!(future["to"], "2030-12-31T23:00:00.000Z");
    for bad in [
        "?from=2026-02-03T10:00:00Z&to=2026-02-02T10:00:00Z",
        "?from=2031-01-01T00:00:00Z",
        "?to=2026-01-30T00:00:00Z",
        "?group_by=run",
        "?user_id=",
        "?limit=1",
    ] {
        let reply = app.get(&format!("{USAGE}{bad}")).send().await;
        reply.refused(422, "validation_failed");
    }
    let unknown = app.get("/v1/pools/workspace:x/usage").send().await;
    unknown.refused(404, "pool_not_found");
}

#[tokio::test]
async fn a_cycle_begins_after_its_opener_whatever_the_instant() {
    let app = pro().await;
    spend(&app, json!({"credits": 5})).await;
    app.put_pool("workspace:w", json!({"builders": 2}))
        .await
        .expect(200);
    spend(&app, json!({"credits": 7})).await;
    assert_eq!(
        usage(&app, "").await["pool"],
        figures(7, 0, 0, 1),
        "all at one instant"
    );
    app.pass(TimeDelta::days(31));
    let renewed = usage(&app, "").await;
    assert_eq!(renewed["pool"], figures(0, 0, 0, 0));
    assert_eq!(
        renewed["from"], "2026-02-28T10:00:00.000Z",
        "what is due is booked first"
    );
    let before = usage(&app, "?from=2026-01-31T10:00:00Z").await;
    assert_eq!(before["pool"], figures(12, 0, 0, 2));
}

#[tokio::test]
async fn refunds_lower_usage_at_their_own_instant_wherever_the_credits_go() {
    let app = pro().await;
    buy(&app, 100).await;
    let who = json!({
        "credits": 950, "mode": "settle", "user_id": "u-1", "operation": "app_generation",
        "workspace_id": "w-1", "model": "m-1",
    });
    let debit = spend(&app, who).await;
    app.pass(TimeDelta::days(1));
    app.decide("workspace:w", refund(debit, 200)).await;
    assert_eq!(usage(&app, "").await["pool"], figures(750, 0, 0, 1));
    let split = usage(&app, "?group_by=operation").await;
    assert_eq!(split["groups"].as_array().map(Vec::len), Some(1));
    app.pass(TimeDelta::days(40));
    app.decide("workspace:w", refund(debit, 300)).await;
    for by in ["operation", "user", "workspace", "model", "day"] {
        let now = usage(&app, &format!("?group_by={by}")).await;
        assert_eq!(now["pool"], figures(-300, 0, 0, 0), "{by}");
        assert_eq!(now["groups"][0]["total"], -300, "{by}");
        assert!(!now["groups"][0]["key"].is_null(), "{by}");
    }
    let ever = usage(&app, "?from=2026-01-01T00:00:00Z").await;
    assert_eq!(ever["pool"], figures(450, 0, 0, 1));
}

#[tokio::test]
async fn a_capture_counts_when_it_is_booked_by_the_buckets_its_hold_had() {
    let app = pro().await;
    buy(&app, 100).await;
    let attribution = Attribution {
        user_id: "u-1".parse().ok(),
        ..Attribution::default()
    };
    let hold = NewHold {
        credits: Some(Credits::whole(850)),
        round: None,
        partial: false,
        expires_in_seconds: 86_400,
        attribution,
        metadata: None,
    };
    let hold = app
        .decide("workspace:w", Command::Hold(Box::new(hold)))
        .await;
    assert_eq!(usage(&app, "").await["pool"], figures(0, 0, 0, 0));
    let capture = Capture {
        hold: hold.id(),
        credits: Credits::whole(870),
        round: None,
        mode: Mode::Strict,
    };
    app.decide("workspace:w", Command::Capture(Box::new(capture)))
        .await;
    let after = usage(&app, "?group_by=user").await;
    assert_eq!(after["pool"], figures(800, 70, 0, 1));
    assert_eq!(after["groups"][0]["key"], "u-1");
}

/// A long history in short blocks: debits of every sort, refunds, renewals.
async fn long_history() -> TestApp {
    let app = TestApp::with_blocks_of(4).await;
    let body = json!({"plan": "team", "builders": 20});
    app.put_pool("workspace:w", body).await.expect(201);
    buy(&app, 500).await;
    let operations = ["app_generation", "modify_query", "custom_code"];
    let mut number = 0_usize;
    for round in 0..30 {
        let item = |_: usize| {
            number += 1;
            let mut item = json!({
                "pool": "workspace:w", "idempotency_key": format!("k-{number}"),
                "credits": number * 7 % 13 + 1, "mode": "settle",
                "user_id": format!("u-{}", number * number % 7),
                "workspace_id": format!("w-{}", number % 3),
                "operation": operations[number % 5 % 3],
            });
            if number.is_multiple_of(4) {
                item["user_id"] = Value::Null;
            }
            item
        };
        let items: Vec<Value> = (0..37).map(item).collect();
        let body = json!({"items": items});
        app.post("/v1/debits/batch")
            .json(&body)
            .send()
            .await
            .expect(200);
        let debit = spend(&app, json!({"credits": 9, "user_id": "u-1"})).await;
        app.pass(TimeDelta::hours(50));
        app.decide("workspace:w", refund(debit, 1 + round % 9))
            .await;
    }
    app
}

/// Total and count by key, added up from entries.
fn added_up<'a>(
    entries: impl Iterator<Item = &'a Value>,
    key: &str,
) -> BTreeMap<String, (i64, i64)> {
    let mut groups: BTreeMap<String, (i64, i64)> = BTreeMap::new();
    for entry in entries {
        let sign = match entry["kind"].as_str() {
            Some("debit") => 1,
            Some("refund") => -1,
            _ => continue,
        };
        let legs = entry["transfers"].as_array().expect("transfers").iter();
        let moved: i64 = legs.filter_map(|leg| leg["credits"].as_i64()).sum();
        let key = match key {
            "day" => json!(entry["at"].as_str().expect("a time")[..10]),
            "operation" => entry["operation"].clone(),
            key => entry[format!("{key}_id")].clone(),
        };
        let group = groups.entry(key.to_string()).or_default();
        *group = (group.0 + sign * moved, group.1 + i64::from(sign == 1));
    }
    groups
}

fn shown(usage: &Value) -> BTreeMap<String, (i64, i64)> {
    let figure = |group: &Value, name: &str| group[name].as_i64().expect("a figure");
    let groups = usage["groups"].as_array().expect("groups").iter();
    let row = |group: &Value| {
        let sum = ["monthly", "addon", "overdraft"].map(|name| figure(group, name));
        assert_eq!(sum.iter().sum::<i64>(), figure(group, "total"));
        let counted = (figure(group, "total"), figure(group, "count"));
        (group["key"].to_string(), counted)
    };
    groups.map(row).collect()
}

/// A query, and the user and operation it leaves.
const FILTERS: [(&str, &str, &str); 4] = [
    ("&user_id=u-1", "u-1", ""),
    ("&operation=custom_code", "", "custom_code"),
    ("", "", ""),
    ("&user_id=u-2&operation=modify_query", "u-2", "modify_query"),
];

#[tokio::test]
async fn usage_is_what_the_journal_adds_up_to_however_it_is_cut() {
    let app = long_history().await;
    let entries = app.journal("workspace:w").await;
    assert!(entries.len() > 1_100, "three levels of blocks");
    let instants: Vec<&str> = entries
        .iter()
        .step_by(61)
        .map(|entry| entry["at"].as_str().expect("a time"))
        .collect();
    for (place, from) in instants.iter().enumerate() {
        for (step, to) in instants.iter().skip(place + 1).step_by(3).enumerate() {
            let by = ["day", "operation", "user", "workspace"][place % 4];
            let (filter, user, operation) = FILTERS[step % FILTERS.len()];
            let inside = entries.iter().filter(|entry| {
                let at = entry["at"].as_str().expect("a time");
                let is = |name: &str, wanted: &str| wanted.is_empty() || entry[name] == wanted;
                *from <= at && at < *to && is("user_id", user) && is("operation", operation)
            });
            let expected = added_up(inside, by);
            let query = format!("?from={from}&to={to}&group_by={by}{filter}");
            let said = usage(&app, &query).await;
            assert_eq!(shown(&said), expected, "{query}");
            let total: i64 = expected.values().map(|(total, _)| total).sum();
            assert_eq!(said["pool"]["total"], total);
        }
    }
    let mut connection = app.database.connect().await;
    let levels: Vec<(i16, i64, i64)> =
        sqlx::query_as("SELECT level, size, blocks FROM usage_heads ORDER BY level")
            .fetch_all(&mut connection)
            .await
            .expect("heads");
    let whole = entries.len() as i64;
    let expected: Vec<_> = [(0, 4), (1, 64), (2, 1_024)]
        .map(|(level, size)| (level, size, whole / size))
        .into();
    assert_eq!(levels, expected, "everything that could be built is");
    app.verify().await;
}

#[tokio::test]
async fn many_alike_entries_of_two_days_add_up() {
    // A block is longer than what is read at once.
    let app = TestApp::with_blocks_of(2_500).await;
    let body = json!({"plan": "team", "builders": 20});
    app.put_pool("workspace:w", body).await.expect(201);
    for round in 0..6 {
        let item = |number: i64| {
            json!({
                "pool": "workspace:w", "idempotency_key": format!("k-{round}-{number}"),
                "credits": 1 + number % 3, "mode": "settle", "user_id": format!("u-{}", number % 2),
                "operation": "custom_code",
            })
        };
        let items: Vec<Value> = (0..500).map(item).collect();
        let batch = app.post("/v1/debits/batch").json(&json!({"items": items}));
        batch.send().await.expect(200);
        app.pass(TimeDelta::hours(5));
    }
    let entries = app.journal("workspace:w").await;
    for by in ["day", "user", "operation"] {
        let expected = added_up(entries.iter(), by);
        let query = format!("?from=2026-01-01T00:00:00Z&group_by={by}");
        let groups = if by == "operation" { 1 } else { 2 };
        assert_eq!(expected.len(), groups, "{by}");
        assert_eq!(shown(&usage(&app, &query).await), expected, "{by}");
    }
    let mut connection = app.database.connect().await;
    let built = sqlx::query_scalar("SELECT blocks FROM usage_heads WHERE level = 0");
    let built: i64 = built.fetch_one(&mut connection).await.expect("a head");
    assert_eq!(built, 1);
    app.verify().await;
}

#[tokio::test]
async fn blocks_are_built_while_nobody_reads_usage() {
    let app = TestApp::with_blocks_of(4).await;
    app.put_pool("workspace:w", json!({"plan": "pro"}))
        .await
        .expect(201);
    for _ in 0..7 {
        app.debit("workspace:w", json!(1)).await.expect(201);
    }
    let mut connection = app.database.connect().await;
    let built = async {
        loop {
            let blocks: Option<i64> = sqlx::query_scalar("SELECT blocks FROM usage_heads")
                .fetch_optional(&mut connection)
                .await
                .expect("heads");
            if blocks == Some(2) {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    let in_time = tokio::time::timeout(std::time::Duration::from_secs(20), built).await;
    in_time.expect("two blocks are built");
}

#[tokio::test]
async fn replicas_that_build_the_same_blocks_build_each_once() {
    let app = TestApp::with_blocks_of(4).await;
    app.put_pool("workspace:w", json!({"plan": "team"}))
        .await
        .expect(201);
    let items: Vec<Value> = (0..399)
        .map(|number| {
            json!({"pool": "workspace:w", "idempotency_key": format!("k-{number}"), "credits": 1})
        })
        .collect();
    let body = json!({"items": items});
    app.post("/v1/debits/batch")
        .json(&body)
        .send()
        .await
        .expect(200);
    let reads = (0..12).map(|_| usage(&app, "?from=2026-01-01T00:00:00Z"));
    for read in futures_util::future::join_all(reads).await {
        assert_eq!(read["pool"], figures(399, 0, 0, 399));
    }
    app.verify().await;
}
