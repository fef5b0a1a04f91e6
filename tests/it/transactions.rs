//! The journal over HTTP: filters, pages, CSV, and what is due booked first.

use chrono::TimeDelta;
use serde_json::{Value, json};

use crate::support::TestApp;

const JOURNAL: &str = "/v1/pools/workspace:w/transactions";

/// A pool with an opening, a purchase, three debits a day apart, and an adjustment.
async fn lively() -> TestApp {
    let app = TestApp::start().await;
    app.put_pool("workspace:w", json!({"plan": "pro"}))
        .await
        .expect(201);
    let buy = json!({"credits": 100, "payment_reference": "pi_1", "user_id": "u-1"});
    app.post("/v1/pools/workspace:w/purchases")
        .json(&buy)
        .send()
        .await
        .expect(201);
    for (run, user, operation) in [
        ("r-1", "u-1", "docs_assistant"),
        ("r-1", "u-2", "modify_query"),
        ("r-2", "u-1", "custom_code"),
    ] {
        app.pass(TimeDelta::days(1));
        let body = json!({
            "credits": 10, "run_id": run, "user_id": user, "operation": operation,
            "workspace_id": "w-9", "model": "m", "metadata": {"b": 1, "a": 2},
        });
        let path = "/v1/pools/workspace:w/debits";
        app.post(path)
            .key(&format!("{run}{user}"))
            .json(&body)
            .send()
            .await
            .expect(201);
    }
    let body = json!({"bucket": "monthly", "credits": -5, "reason": "a, \"b\"\nc"});
    app.post("/v1/pools/workspace:w/adjustments")
        .json(&body)
        .send()
        .await
        .expect(201);
    app
}

async fn seqs(app: &TestApp, query: &str) -> Vec<i64> {
    let page = app
        .get(&format!("{JOURNAL}{query}"))
        .send()
        .await
        .expect(200)
        .body;
    let data = page["data"].as_array().expect("a page").clone();
    data.iter()
        .map(|entry| entry["seq"].as_i64().expect("a number"))
        .collect()
}

#[tokio::test]
async fn an_entry_shows_everything_that_happened() {
    let app = lively().await;
    let page = app
        .get(&format!("{JOURNAL}?kind=debit&limit=1"))
        .send()
        .await
        .expect(200)
        .body;
    let entry = &page["data"][0];
    let mut balance = app.balance("workspace:w").await;
    balance["version"] = json!(5);
    for (path, value) in [
        ("/available", 870),
        ("/monthly/settled", 770),
        ("/monthly/available", 770),
    ] {
        *balance.pointer_mut(path).expect("a figure") = json!(value);
    }
    let expected = json!({
        "id": entry["id"], "seq": 5, "kind": "debit", "at": "2026-02-03T10:00:00.000Z",
        "operation": "custom_code", "user_id": "u-1", "workspace_id": "w-9", "run_id": "r-2",
        "model": "m", "idempotency_key": "r-2u-1", "reference": null, "reason": null,
        "hold_id": null, "debit_id": null, "purchase_id": null, "actor": entry["actor"],
        "metadata": {"a": 2, "b": 1},
        "transfers": [{"from": "monthly", "to": "consumed", "credits": 10}],
        "balance_after": balance, "hash": entry["hash"],
    });
    assert_eq!(*entry, expected);
    assert!(entry["actor"].is_string() && entry["hash"].as_str().is_some_and(|it| it.len() == 64));
    assert_eq!(seqs(&app, "").await, [6, 5, 4, 3, 2, 1]);
}

#[tokio::test]
async fn filters_leave_what_they_name() {
    let app = lively().await;
    let rows: [(&str, &[i64]); 13] = [
        ("?kind=debit", &[5, 4, 3]),
        ("?kind=open,purchase", &[2, 1]),
        ("?user_id=u-1", &[5, 3, 2]),
        ("?workspace_id=w-9", &[5, 4, 3]),
        ("?operation=modify_query", &[4]),
        ("?run_id=r-1", &[4, 3]),
        ("?reference=pi_1", &[2]),
        ("?from=2026-02-02T10:00:00Z", &[6, 5, 4]),
        ("?to=2026-02-02T10:00:00Z", &[3, 2, 1]),
        (
            "?from=2026-01-31T10:00:00.001Z&to=2026-02-03T09:59:59.999Z",
            &[4, 3],
        ),
        ("?from=2031-01-01T00:00:00Z", &[]),
        ("?to=1999-01-01T00:00:00Z", &[]),
        (
            "?from=1999-01-01T00:00:00Z&to=2031-01-01T00:00:00Z&run_id=r-1&user_id=u-2",
            &[4],
        ),
    ];
    for (query, expected) in rows {
        assert_eq!(seqs(&app, query).await, expected, "{query}");
    }
    for bad in [
        "?kind=gift",
        "?kind=",
        "?user_id=",
        "?from=yesterday",
        "?page=2",
        "?limit=201",
    ] {
        let reply = app.get(&format!("{JOURNAL}{bad}")).send().await;
        reply.refused(422, "validation_failed");
    }
    let unknown = app.get("/v1/pools/workspace:x/transactions").send().await;
    unknown.refused(404, "pool_not_found");
}

#[tokio::test]
async fn pages_do_not_shift_when_entries_are_added() {
    let app = lively().await;
    let first = app
        .get(&format!("{JOURNAL}?limit=4"))
        .send()
        .await
        .expect(200)
        .body;
    app.debit("workspace:w", json!(1)).await.expect(201);
    let cursor = first["next_cursor"].as_str().expect("a next page");
    assert_eq!(
        seqs(&app, &format!("?limit=4&cursor={cursor}")).await,
        [2, 1]
    );
}

#[tokio::test]
async fn what_is_due_is_booked_before_the_journal_is_read() {
    let app = TestApp::start().await;
    app.put_pool("workspace:w", json!({"plan": "pro"}))
        .await
        .expect(201);
    app.pass(TimeDelta::days(70));
    let page = app.get(JOURNAL).send().await.expect(200).body;
    let at = |place: usize| (&page["data"][place]["kind"], &page["data"][place]["at"]);
    assert_eq!(
        at(0),
        (&json!("renewal"), &json!("2026-03-31T10:00:00.000Z"))
    );
    assert_eq!(
        at(1),
        (&json!("renewal"), &json!("2026-02-28T10:00:00.000Z"))
    );
    let legs = json!([
        {"from": "monthly", "to": "lapsed", "credits": 800},
        {"from": "issued_monthly", "to": "monthly", "credits": 800},
    ]);
    assert_eq!(page["data"][0]["transfers"], legs);
    assert_eq!(page["data"][0]["actor"], Value::Null);
    assert_eq!(app.entries().await, 3);
}

#[tokio::test]
async fn the_journal_is_streamed_as_csv() {
    let app = lively().await;
    let formula = json!({"credits": 2, "user_id": "=1+1"});
    app.post("/v1/pools/workspace:w/debits")
        .json(&formula)
        .send()
        .await
        .expect(201);
    let csv = app
        .get(&format!("{JOURNAL}?limit=1"))
        .set("accept", "text/csv")
        .send()
        .await;
    let csv = csv.expect(200);
    assert_eq!(csv.header("content-type"), Some("text/csv; charset=utf-8"));
    let mut reader = csv::Reader::from_reader(csv.text.as_bytes());
    let columns = reader.headers().expect("a header").clone();
    let rows: Vec<csv::StringRecord> = reader
        .records()
        .collect::<Result<_, _>>()
        .expect("good CSV");
    let cell = |row: usize, name: &str| {
        let place = columns
            .iter()
            .position(|column| column == name)
            .expect(name);
        rows[row].get(place).expect("a cell").to_owned()
    };
    assert_eq!(rows.len(), 7, "all of it, whatever the limit");
    assert_eq!(cell(0, "user_id"), "'=1+1");
    assert_eq!(cell(1, "reason"), "a, \"b\"\nc");
    assert_eq!(cell(1, "transfers"), "monthly>adjusted:5");
    assert_eq!(cell(2, "transfers"), "monthly>consumed:10");
    assert_eq!(
        (cell(2, "available"), cell(2, "monthly_used")),
        ("870".into(), "30".into())
    );
    assert_eq!(cell(5, "reference"), "pi_1");
    assert_eq!(cell(6, "seq"), "1");
    let page = app.get(JOURNAL).send().await.expect(200).body;
    for (row, entry) in page["data"].as_array().expect("a page").iter().enumerate() {
        assert_eq!(entry["id"], cell(row, "id"));
        assert_eq!(entry["hash"], cell(row, "hash"));
    }
    let debits = app
        .get(&format!("{JOURNAL}?kind=debit"))
        .set("accept", "text/csv");
    assert_eq!(debits.send().await.expect(200).text.lines().count(), 5);
    let unknown = app
        .get("/v1/pools/workspace:x/transactions")
        .set("accept", "text/csv");
    unknown.send().await.refused(404, "pool_not_found");
}

#[tokio::test]
async fn a_long_journal_is_streamed_whole() {
    let app = TestApp::start().await;
    app.put_pool("workspace:w", json!({"plan": "team", "builders": 2}))
        .await
        .expect(201);
    for batch in 0..3 {
        let item = |number: usize| {
            let key = format!("{batch}-{number}");
            json!({"pool": "workspace:w", "idempotency_key": key, "credits": 0.01, "round": "up"})
        };
        let items: Vec<Value> = (0..667).map(item).collect();
        let path = "/v1/debits/batch";
        app.post(path)
            .json(&json!({"items": items}))
            .send()
            .await
            .expect(200);
    }
    let csv = app
        .get(JOURNAL)
        .set("accept", "text/csv")
        .send()
        .await
        .expect(200)
        .text;
    let seqs: Vec<i64> = csv
        .lines()
        .skip(1)
        .map(|line| {
            line.split(',')
                .nth(1)
                .and_then(|seq| seq.parse().ok())
                .expect("a number")
        })
        .collect();
    let all: Vec<i64> = (1..=2_001 + 1).rev().collect();
    assert_eq!(seqs.len(), all.len());
    assert!(seqs == all, "every entry once, newest first");
}
