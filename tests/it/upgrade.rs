//! `credit-ledger upgrade`: pools on legacy plans are moved to the new ones, beside live debits.

use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::join_all;
use serde_json::{Value, json};
use sqlx::Executor;

use crate::support::{TestApp, process};

/// The move, ten days after the pools were made.
const MOVE: &str = "2026-02-10T00:00:00.000Z";

/// One pool of each kind, some with a history.
async fn with_pools() -> TestApp {
    let app = TestApp::start().await;
    let rows = [
        ("workspace:free", json!({"plan": "legacy_free"})),
        ("instance:free", json!({"plan": "legacy_free"})),
        (
            "workspace:pro",
            json!({"plan": "legacy_pro", "builders": 3}),
        ),
        (
            "workspace:team",
            json!({"plan": "legacy_team", "builders": 2}),
        ),
        ("workspace:new", json!({"plan": "pro"})),
        (
            "workspace:own",
            json!({"plan": "enterprise", "monthly_allowance": 7_000}),
        ),
        ("workspace:gone", json!({"plan": "legacy_pro"})),
    ];
    for (pool, body) in rows {
        app.put_pool(pool, body).await.expect(201);
    }
    app.delete("/v1/pools/workspace:gone")
        .send()
        .await
        .expect(200);
    let generation = json!({"operation": "app_generation"});
    app.book("workspace:pro/debits", generation)
        .await
        .expect(201);
    let owed = json!({"credits": 35.5, "mode": "settle"});
    app.book("workspace:free/debits", owed).await.expect(201);
    app.at(MOVE);
    app
}

async fn upgrade(app: &TestApp, more: &[&str]) -> (Option<i32>, Value) {
    let arguments = [&["upgrade", "--at", MOVE, "--json"], more].concat();
    let (code, printed) = process::run(&arguments, &app.database.url).await;
    let printed = serde_json::from_str(&printed).unwrap_or_else(|_| panic!("{printed}"));
    (code, printed)
}

async fn figures(app: &TestApp, pool: &str) -> (Value, Value, Value) {
    let pool = app.read(pool).await;
    let balance = &pool["balance"];
    (
        pool["plan"].clone(),
        balance["available"].clone(),
        balance["monthly"]["granted"].clone(),
    )
}

#[tokio::test]
async fn every_legacy_pool_is_moved_once_and_the_billing_date_stays() {
    let app = with_pools().await;
    let (code, done) = upgrade(&app, &["--all"]).await;
    assert_eq!(code, Some(0), "{done}");
    assert_eq!(done["total"]["pools"], 4);
    let rows = [
        ("workspace:free", "free", json!(94.5), 100),
        ("instance:free", "basic", json!(100), 100),
        ("workspace:pro", "pro", json!(2_400), 2_400),
        ("workspace:team", "team", json!(4_000), 4_000),
        ("workspace:new", "pro", json!(800), 800),
        ("workspace:own", "enterprise", json!(7_000), 7_000),
        ("workspace:gone", "legacy_pro", json!(200), 200),
    ];
    for (pool, plan, available, granted) in rows {
        let expected = (json!(plan), available, json!(granted));
        assert_eq!(figures(&app, pool).await, expected, "{pool}");
    }
    let moved = app.read("workspace:pro").await;
    assert_eq!(moved["denomination"], 1);
    assert_eq!(moved["cycle"]["start"], MOVE);
    assert_eq!(moved["cycle"]["end"], "2026-02-28T10:00:00.000Z");
    assert_eq!(moved["billing_anchor"], "2026-01-31T10:00:00.000Z");
    assert_eq!(moved["requested"]["plan"], "pro");
    let journal = app.journal("workspace:pro").await;
    let entry = journal.last().expect("an entry");
    assert_eq!(
        (&entry["kind"], &entry["at"]),
        (&json!("upgrade"), &json!(MOVE))
    );

    let (code, again) = upgrade(&app, &["--all"]).await;
    assert_eq!((code, &again["total"]["pools"]), (Some(0), &json!(0)));
    app.at("2026-03-31T10:00:00Z");
    let renewed = figures(&app, "workspace:free").await;
    assert_eq!(renewed, (json!("free"), json!(100), json!(100)));
    app.verify().await;
}

#[tokio::test]
async fn a_moved_pool_works_by_the_new_rules() {
    let app = with_pools().await;
    upgrade(&app, &["--all"]).await;
    let tenth = app.debit("workspace:pro", json!(0.1)).await;
    tenth.refused(422, "not_a_multiple");
    let generation = json!({"operation": "app_generation", "credits": 137});
    app.book("workspace:pro/debits", generation)
        .await
        .expect(201);
    let purchase = json!({"credits": 500, "payment_reference": "pi_1"});
    app.book("workspace:pro/purchases", purchase)
        .await
        .expect(201);
    let usage = app.read("workspace:pro/usage").await;
    assert_eq!(usage["from"], MOVE);
    assert_eq!(usage["pool"]["total"], 137);
    let statement = app.read("workspace:pro/statement").await;
    assert_eq!(statement["closing"]["monthly"], 2_263, "{statement}");
    app.verify().await;
}

#[tokio::test]
async fn a_dry_run_tells_the_totals_before_and_after_and_books_nothing() {
    let app = with_pools().await;
    let before = app.entries().await;
    let (code, told) = upgrade(&app, &["--all", "--dry-run"]).await;
    assert_eq!((code, app.entries().await), (Some(0), before));
    let expected = json!({
        "pools": 4, "left_before": 1_620, "owed_before": 5.5, "lapsed": 1_620, "repaid": 5.5,
        "granted": 6_600, "left_after": 6_594.5,
    });
    assert_eq!(told["total"], expected);
    let (_, done) = upgrade(&app, &["--all"]).await;
    assert_eq!(done["total"], expected);
    assert_eq!(done["moved"], told["moved"]);
}

#[tokio::test]
async fn pools_are_moved_one_by_one_or_from_a_list() {
    let app = with_pools().await;
    let tenant = ["--tenant", app.tenant.as_str()];
    let one = [
        &tenant[..],
        &["--pool", "workspace:pro", "--pool", "workspace:new"],
    ]
    .concat();
    let (code, done) = upgrade(&app, &one).await;
    assert_eq!((code, &done["total"]["pools"]), (Some(0), &json!(1)));
    assert_eq!(done["nothing_to_move"], 1);
    let folder = tempfile::tempdir().expect("a folder");
    let list = folder.path().join("pools.txt");
    let names = "workspace:team\n\nworkspace:gone\nworkspace:nobody\n";
    std::fs::write(&list, names).expect("a file");
    let list = [&tenant[..], &["--pools", list.to_str().expect("a path")]].concat();
    let (code, done) = upgrade(&app, &list).await;
    assert_eq!(
        (code, &done["total"]["pools"]),
        (Some(1), &json!(1)),
        "{done}"
    );
    let mut refused: Vec<_> = done["not_moved"].as_array().expect("a list").clone();
    refused.sort_by_key(|row| row["pool"].to_string());
    assert_eq!(
        refused[0],
        json!({"pool": "workspace:gone", "error": "refused: the pool is closed"})
    );
    assert_eq!(refused[1]["pool"], "workspace:nobody");
    let legacy = figures(&app, "workspace:free").await.0;
    assert_eq!(legacy, "legacy_free", "was not named");
}

#[tokio::test]
async fn other_plans_can_be_mapped_and_bad_arguments_are_named() {
    let app = with_pools().await;
    let (code, done) = upgrade(&app, &["--all", "--map", "legacy_team=enterprise"]).await;
    assert_eq!(code, Some(1));
    let why = done["not_moved"][0]["error"].as_str().expect("a reason");
    assert!(why.contains("monthly_allowance is needed"), "{why}");
    let rows: [&[&str]; 5] = [
        &["upgrade"],
        &["upgrade", "--pool", "workspace:pro"],
        &["upgrade", "--all", "--map", "legacy_pro"],
        &["upgrade", "--all", "--at", "soon"],
        &["upgrade", "--all", "--at", "2999-01-01T00:00:00Z"],
    ];
    for arguments in rows {
        let (code, printed) = process::run(arguments, &app.database.url).await;
        assert_ne!(code, Some(0), "{arguments:?}: {printed}");
    }
}

#[tokio::test]
async fn debits_go_on_while_their_pools_are_moved() {
    let app = TestApp::start().await;
    let pools: Vec<String> = (0..40).map(|it| format!("workspace:w{it}")).collect();
    for pool in &pools {
        let body = json!({"plan": "legacy_pro", "builders": 2});
        app.put_pool(pool, body).await.expect(201);
    }
    app.at(MOVE);
    let is_done = AtomicBool::new(false);
    let spend = async |pool: &String| {
        let mut answers = Vec::new();
        // Bounded: at the latest the pool is empty some time.
        while !is_done.load(Ordering::Relaxed) && answers.len() < 5_000 {
            answers.push(app.debit(pool, json!(1)).await.status);
        }
        answers
    };
    let moving = async {
        let moved = upgrade(&app, &["--all"]).await;
        is_done.store(true, Ordering::Relaxed);
        moved
    };
    let (answers, (code, done)) = tokio::join!(join_all(pools.iter().map(spend)), moving);
    assert_eq!(
        (code, &done["total"]["pools"]),
        (Some(0), &json!(40)),
        "{done}"
    );
    let all: Vec<u16> = answers.into_iter().flatten().collect();
    assert!(
        all.iter().all(|status| [201, 402].contains(status)),
        "{all:?}"
    );
    for pool in &pools {
        let journal = app.journal(pool).await;
        let upgrades = journal.iter().filter(|entry| entry["kind"] == "upgrade");
        assert_eq!(upgrades.count(), 1, "{pool}");
    }
    app.verify().await;
}

#[tokio::test]
async fn a_run_that_was_killed_goes_on_where_it_was() {
    let app = TestApp::start().await;
    let pools: Vec<String> = (0..300).map(|it| format!("workspace:w{it}")).collect();
    let body = json!({"plan": "legacy_pro", "builders": 2});
    let puts = pools.iter().map(|pool| app.put_pool(pool, body.clone()));
    join_all(puts)
        .await
        .into_iter()
        .for_each(|made| drop(made.expect(201)));
    // One pool's row is locked, so its lane waits: the run is killed in the middle.
    let mut locker = app.database.connect().await;
    let lock = "BEGIN; SELECT FROM pools WHERE name = 'workspace:w7' FOR UPDATE";
    locker.execute(lock).await.expect("it is locked");
    let mut run = process::spawn(&["upgrade", "--at", MOVE, "--all"], &app.database.url);
    let mut database = app.database.connect().await;
    let moved = "SELECT FROM entries WHERE kind = 'upgrade' LIMIT 1";
    // Bounded by the other lane, which waits for nobody.
    while database
        .fetch_optional(moved)
        .await
        .expect("it answers")
        .is_none()
    {}
    run.kill().await.expect("it is killed");
    let moved: i64 = sqlx::query_scalar("SELECT count(*) FROM entries WHERE kind = 'upgrade'")
        .fetch_one(&mut database)
        .await
        .expect("it counts");
    assert!((1..300).contains(&moved), "{moved} were moved");
    locker.execute("ROLLBACK").await.expect("it is free again");
    let (code, done) = upgrade(&app, &["--all"]).await;
    assert_eq!(code, Some(0), "{done}");
    let row = "SELECT count(*) FILTER (WHERE at = '2026-02-10' AND granted = 160000), count(*)
        FROM entries WHERE kind = 'upgrade'";
    let counts: (i64, i64) = sqlx::query_as(row)
        .fetch_one(&mut database)
        .await
        .expect("it counts");
    assert_eq!(counts, (300, 300), "each once, at the same instant");
    app.verify().await;
}
