//! `credit-ledger rehearse`: what the past would have been under other plans and prices, from a
//! real history on a test clock, without a write.

use std::path::PathBuf;

use serde_json::{Value, json};
use sqlx::AssertSqlSafe;

use crate::support::TestApp;
use crate::support::process;

/// Three pools on a clock that stands on 1 April 2026: one spends what it has in strict debits, one
/// hardly anything, one more than it has.
struct History {
    app: TestApp,
    clock: String,
}

impl History {
    async fn start() -> Self {
        let app = TestApp::sandbox().await;
        let clock = json!({"now": "2026-01-31T10:00:00Z"});
        let clock = app.post("/v1/test-clocks").json(&clock).send().await;
        let clock = clock.expect(201).body["id"].as_str().map(str::to_owned);
        let history = Self {
            app,
            clock: clock.expect("an id"),
        };
        for name in ["strict", "modest", "settles"] {
            history.put(name, json!({"plan": "pro"})).await;
        }
        history
    }

    async fn with_usage() -> Self {
        let history = Self::start().await;
        history.advance("2026-02-10T10:00:00Z").await;
        history.spend("strict", json!({"credits": 300})).await;
        history.spend("modest", json!({"credits": 100})).await;
        let settled = json!({"credits": 1000, "mode": "settle"});
        history.spend("settles", settled).await;
        history.advance("2026-02-20T10:00:00Z").await;
        history.spend("strict", json!({"credits": 300})).await;
        let lookup = json!({"credits": 50, "operation": "sql_generation"});
        history.spend("modest", lookup).await;
        history.advance("2026-04-01T00:00:00Z").await;
        history
    }

    async fn put(&self, name: &str, mut body: Value) {
        body["test_clock"] = json!(self.clock);
        let pool = format!("workspace:{name}");
        self.app.put_pool(&pool, body).await.expect(201);
    }

    async fn advance(&self, to: &str) {
        let path = format!("/v1/test-clocks/{}/advance", self.clock);
        let moved = self.app.post(&path).json(&json!({"to": to})).send().await;
        moved.expect(200);
    }

    async fn spend(&self, name: &str, body: Value) -> String {
        let path = format!("/v1/pools/workspace:{name}/debits");
        let spent = self.app.post(&path).json(&body).send().await.expect(201);
        spent.body["id"].as_str().expect("an id").to_owned()
    }

    async fn run(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let arguments = [&["rehearse"], arguments].concat();
        process::run(&arguments, &self.app.database.url).await
    }

    /// What a rehearsal with these plans and operations finds.
    async fn rehearse(&self, plans: Value, operations: Value, more: &[&str]) -> Value {
        let (plans, operations) = (file(&plans.to_string()), file(&operations.to_string()));
        let mut arguments = vec!["--json"];
        if !more.contains(&"--months") {
            arguments.extend(["--months", "3"]);
        }
        for (name, path) in [("--plans", &plans), ("--operations", &operations)] {
            if std::fs::read_to_string(path).expect("it is there") != "null" {
                arguments.extend([name, path.to_str().expect("a name")]);
            }
        }
        arguments.extend(more);
        let (code, printed) = self.run(&arguments).await;
        assert_eq!(code, Some(0), "{printed}");
        serde_json::from_str(&printed).expect("JSON was asked for")
    }
}

/// A file of its own that says this.
fn file(text: &str) -> PathBuf {
    let name = format!("rehearse-{}.json", uuid::Uuid::now_v7());
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, text).expect("it is written");
    path
}

fn pro_of(credits: u32) -> Value {
    json!({"pro": {"allowance": {"per": "builder", "credits": credits}}})
}

/// Some members of an object.
fn some(object: &Value, members: &[&str]) -> Value {
    members.iter().map(|name| object[*name].clone()).collect()
}

#[tokio::test]
async fn a_smaller_plan_makes_known_pools_run_out_at_known_instants() {
    let history = History::with_usage().await;
    let found = history.rehearse(pro_of(400), Value::Null, &[]).await;
    let (now, then) = (&found["total"]["now"], &found["total"]["then"]);
    let figures = ["granted", "lapsed", "spent", "overdraft", "pools_out"];
    // Three grants each, and what was left of two; 200 of what was owed are repaid by the second.
    let lapsed = 200 + 800 + 650 + 800 + 600;
    assert_eq!(some(now, &figures), json!([7200, lapsed, 1750, 200, 1]));
    // Of `settles` 600 are owed: 400 are repaid by the second grant, the rest by the third.
    let lapsed = 100 + 400 + 250 + 400;
    assert_eq!(some(then, &figures), json!([3600, lapsed, 1450, 600, 2]));
    assert_eq!(some(then, &["refused", "not_served"]), json!([1, 300]));
    assert_eq!(some(now, &["refused", "not_served"]), json!([null, null]));

    let first = |at: &str| json!({"at": at, "cycle_start": "2026-01-31T10:00:00.000Z"});
    let rows = found["run_out"].as_array().expect("the pools");
    let members = ["pool", "plan", "first", "short", "refused", "ran_out_now"];
    let settles = json!([
        "workspace:settles",
        "pro",
        first("2026-02-10T10:00:00.000Z"),
        600,
        0,
        true
    ]);
    let strict = json!([
        "workspace:strict",
        "pro",
        first("2026-02-20T10:00:00.000Z"),
        300,
        1,
        false
    ]);
    assert_eq!(rows.len(), 2);
    assert_eq!(some(&rows[0], &members), settles);
    assert_eq!(some(&rows[1], &members), strict);
    assert_eq!(found["total"]["newly_out"], 1);
}

#[tokio::test]
async fn a_bigger_plan_grants_and_lapses_more_and_pools_no_longer_run_out() {
    let history = History::with_usage().await;
    let found = history.rehearse(pro_of(1200), Value::Null, &[]).await;
    let then = &found["total"]["then"];
    let figures = ["granted", "lapsed", "spent", "overdraft", "pools_out"];
    let lapsed = 600 + 1200 + 1050 + 1200 + 200 + 1200;
    assert_eq!(some(then, &figures), json!([10_800, lapsed, 1750, 0, 0]));
    assert_eq!(found["run_out"], json!([]));
    let row = &found["no_longer_run_out"][0];
    assert_eq!(
        some(row, &["pool", "first", "short_now"]),
        json!(["workspace:settles", null, 200])
    );
    assert_eq!(found["tenants"][0]["tenant"], json!(history.app.tenant));
    assert_eq!(found["tenants"][0]["then"], *then);
}

#[tokio::test]
async fn other_fixed_prices_change_what_is_spent() {
    let history = History::with_usage().await;
    let prices = json!([{"code": "sql_generation", "fixed": 7}]);
    let found = history.rehearse(Value::Null, prices, &[]).await;
    assert_eq!(found["total"]["now"]["spent"], 1750);
    assert_eq!(found["total"]["then"]["spent"], 1750 - 43);
    let only = ["--pool", "workspace:modest"];
    let prices = json!({"sql_generation": {"fixed": 700}});
    let found = history.rehearse(Value::Null, prices, &only).await;
    assert_eq!(found["total"]["pools"], 1);
    assert_eq!(found["total"]["then"]["spent"], 800);
    assert_eq!(
        found["run_out"][0]["first"]["at"],
        "2026-02-20T10:00:00.000Z"
    );
}

#[tokio::test]
async fn a_plan_as_it_is_gives_the_past_again_in_whole_cycles_of_the_window() {
    let history = History::with_usage().await;
    for (months, pools) in [("3", 3), ("1", 3), ("36", 3)] {
        let found = history
            .rehearse(pro_of(800), Value::Null, &["--months", months])
            .await;
        let (now, then) = (&found["total"]["now"], &found["total"]["then"]);
        let mut then = then.clone();
        then["refused"] = Value::Null;
        then["not_served"] = Value::Null;
        assert_eq!(*now, then, "{months}");
        assert_eq!(found["total"]["pools"], pools);
        if months == "1" {
            assert_eq!(now["granted"], 2400, "only the cycle of 31 March");
        }
    }
}

#[tokio::test]
async fn a_long_journal_is_read_in_portions_and_from_its_window_on() {
    let history = History::start().await;
    let item = |number: u32, pool: &str| {
        json!({
            "pool": pool, "idempotency_key": format!("k-{number}"), "credits": 1,
            "mode": "settle",
        })
    };
    let mut first = Value::Null;
    for (month, start) in [(2, 0), (3, 1000), (3, 2000)] {
        history
            .advance(&format!("2026-0{month}-15T10:00:00Z"))
            .await;
        let items: Vec<Value> = (start..start + 1000)
            .map(|number| item(number, "workspace:strict"))
            .collect();
        let path = "/v1/debits/batch";
        let body = json!({"items": items});
        let booked = history.app.post(path).json(&body).send().await.expect(200);
        if first.is_null() {
            first = booked.body["results"][0]["debit"]["id"].clone();
        }
    }
    let refund = format!(
        "/v1/pools/workspace:strict/debits/{}/refunds",
        first.as_str().expect("an id")
    );
    let refund = history.app.post(&refund).json(&json!({})).send().await;
    refund.expect(201);
    history.advance("2026-04-01T00:00:00Z").await;
    let only = ["--pool", "workspace:strict", "--months", "2"];
    let found = history.rehearse(pro_of(800), Value::Null, &only).await;
    let members = ["granted", "spent", "overdraft", "lapsed"];
    let now = some(&found["total"]["now"], &members);
    assert_eq!(now, some(&found["total"]["then"], &members));
    // The cycle of 28 February: 200 owed of the one before, 2000 spent, one given back.
    assert_eq!(now, json!([1600, 1999, 1400, 1]));
    let found = history.rehearse(pro_of(3000), Value::Null, &only).await;
    let then = some(&found["total"]["then"], &members);
    assert_eq!(then, json!([6000, 1999, 0, 801]));
}

#[tokio::test]
async fn nothing_is_written_and_people_get_tables_and_a_file() {
    let history = History::with_usage().await;
    let before = contents(&history.app).await;
    let plans = file(&pro_of(400).to_string());
    let report = file("");
    let (code, printed) = history
        .run(&[
            "--plans",
            plans.to_str().expect("a name"),
            "--months",
            "3",
            "--report",
            report.to_str().expect("a name"),
        ])
        .await;
    assert_eq!(code, Some(0), "{printed}");
    assert_eq!(contents(&history.app).await, before);
    for said in [
        "| granted            |      7200 | 3600 |",
        "2 pools would run out",
        "workspace:strict",
        "No pool would no longer run out.",
        "3 pools, 14 entries replayed",
    ] {
        assert!(printed.contains(said), "{said} is not in\n{printed}");
    }
    let lines = std::fs::read_to_string(&report).expect("it was written");
    assert_eq!(lines.lines().count(), 4, "{lines}");
    let strict = lines.lines().find(|line| line.contains("strict"));
    let strict = strict.expect("every pool has a line");
    assert!(
        strict.contains("workspace:strict,pro,true,false,2026-02-20T10:00:00.000Z"),
        "{strict}"
    );
}

/// How many rows every table has, and a hash of all of them.
async fn contents(app: &TestApp) -> Vec<(String, i64, Option<String>)> {
    let mut connection = app.database.connect().await;
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public' ORDER BY 1",
    )
    .fetch_all(&mut connection)
    .await
    .expect("there are tables");
    let mut found = Vec::new();
    for table in tables {
        let statement = format!(
            "SELECT count(*), md5(string_agg(t::text, '' ORDER BY t::text)) FROM {table} t"
        );
        let (count, hash) = sqlx::query_as(AssertSqlSafe(statement))
            .fetch_one(&mut connection)
            .await
            .expect("it can be read");
        found.push((table, count, hash));
    }
    assert!(found.len() > 10);
    found
}

#[tokio::test]
async fn bad_files_are_refused_naming_the_file_the_code_and_the_field() {
    let history = History::start().await;
    let bad_plans = [
        ("{", "EOF while parsing"),
        ("[]", "names nothing to try out"),
        ("7", "an object from code to body"),
        (r#"{"pro":{}}"#, "pro: allowance: is required"),
        (
            r#"{"pro":{"allowance":{"per":"builder","credits":-1}}}"#,
            "pro: allowance.credits: must be",
        ),
        (
            r#"{"pro":{"allowance":{"per":"seat","credits":1}}}"#,
            "pro: allowance.per: must be builder, pool or custom",
        ),
        (
            r#"{"pro":{"allowance":{"per":"pool","credits":1},"price":3}}"#,
            "pro: price: is not known here",
        ),
        (
            r#"{"gold":{"allowance":{"per":"pool","credits":1}}}"#,
            "gold: name: is required",
        ),
        (
            r#"{"pro":{"allowance":{"per":"custom"},"effective_at":"2030-01-01T00:00:00Z"}}"#,
            "pro: effective_at: must be left out",
        ),
        (
            r#"{"flexible":{"name":"F","allowance":{"per":"pool","credits":1}}}"#,
            "flexible already means the plan pro",
        ),
        (r#"[{"allowance":{"per":"custom"}}]"#, "[0] needs one code"),
        (
            r#"{"pro":{"allowance":{"per":"custom"}},"pro":{"allowance":{"per":"custom"}}}"#,
            "pro: is there twice",
        ),
        (
            r#"{"free":{"allowance":{"per":"custom"}}}"#,
            "free: allowance.per",
        ),
    ];
    for (text, said) in bad_plans {
        expect_refused(&history, "--plans", text, said).await;
    }
    let bad_operations = [
        (
            r#"{"sql_generation":{"fixed":0.001}}"#,
            "sql_generation: fixed: ",
        ),
        (r#"{"new_one":{"fixed":3}}"#, "new_one: name: is required"),
        (
            r#"{"sql_generation":{"fix":3}}"#,
            "sql_generation: fix: is not known",
        ),
    ];
    for (text, said) in bad_operations {
        expect_refused(&history, "--operations", text, said).await;
    }
    let (code, printed) = history
        .run(&["--months", "3", "--plans", "/nowhere/plans.json"])
        .await;
    assert_eq!(code, Some(2), "{printed}");
    assert!(printed.contains("/nowhere/plans.json: "), "{printed}");
}

async fn expect_refused(history: &History, option: &str, text: &str, said: &str) {
    let path = file(text);
    let path = path.to_str().expect("a name");
    let (code, printed) = history.run(&[option, path, "--months", "3"]).await;
    assert_eq!(code, Some(2), "{text}: {printed}");
    assert!(printed.contains(path), "{text}: {printed}");
    assert!(printed.contains(said), "{text}: {printed}");
}

#[tokio::test]
async fn what_is_asked_wrongly_is_refused() {
    let history = History::start().await;
    let plans = file(&pro_of(400).to_string());
    let plans = plans.to_str().expect("a name");
    for wrong in [
        &["--months", "3"][..],
        &["--plans", plans],
        &["--plans", plans, "--months", "0"],
        &["--plans", plans, "--months", "37"],
        &["--plans", plans, "--months", "3", "--pool", "nonsense"],
    ] {
        let (code, printed) = history.run(wrong).await;
        assert_eq!(code, Some(2), "{wrong:?}: {printed}");
    }
    for (unknown, said) in [
        (["--pool", "workspace:x"], "there is no pool"),
        (
            ["--tenant", "00000000-0000-0000-0000-000000000001"],
            "there is no tenant",
        ),
    ] {
        let arguments = [&["--plans", plans, "--months", "3"], &unknown[..]].concat();
        let (code, printed) = history.run(&arguments).await;
        assert_eq!(code, Some(1), "{printed}");
        assert!(printed.contains(said), "{printed}");
    }
}
