//! `credit-ledger verify` finds what a superuser does to the journal, and the service's own role
//! cannot do it.

use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Executor};

use crate::support::TestApp;
use crate::support::process;

/// A pool with ten debits, and the books checked.
async fn with_history() -> TestApp {
    let app = TestApp::start().await;
    app.put_pool("workspace:w", json!({"plan": "free"}))
        .await
        .expect(201);
    for _ in 0..10 {
        app.debit("workspace:w", json!(3)).await.expect(201);
    }
    app.verify().await;
    app
}

/// What `verify` finds after the superuser ran a statement.
async fn after(app: &TestApp, statement: &str) -> Value {
    let mut superuser = app.database.connect().await;
    let done = superuser.execute(AssertSqlSafe(statement.to_owned())).await;
    assert_ne!(
        done.expect("the superuser may").rows_affected(),
        0,
        "{statement}"
    );
    let (code, printed) = process::verify(&app.database.url).await;
    assert_eq!(code, Some(1), "{statement}: {printed}");
    serde_json::from_str(&printed).expect("JSON was asked for")
}

#[tokio::test]
async fn every_change_of_a_journal_row_is_found_and_named() {
    let changes = [
        "transfers = 'monthly>consumed:400'",
        "transfers = ''",
        "at = at + interval '1 millisecond'",
        "kind = 'adjustment'",
        "user_id = 'somebody'",
        "idempotency_key = 'another'",
        "fingerprint = '\\x00000000000000000000000000000000'",
        "details = '{\"mode\":\"settle\"}'",
        "metadata = '{}'",
        "monthly = monthly - 1",
        "used = used + 1",
        "granted = granted + 1",
        "overdraft = overdraft + 1",
        "cycle_start = cycle_start - interval '1 day'",
        "expires_at = expires_at - interval '1 day'",
        "cycle_seq = 2",
        "addon_seq = 2",
        "actor = NULL",
        "hash = '\\x0000000000000000000000000000000000000000000000000000000000000000'",
    ];
    let app = with_history().await;
    let mut superuser = app.database.connect().await;
    superuser
        .execute("CREATE TABLE kept AS TABLE entries")
        .await
        .expect("a copy is kept");
    for change in changes {
        let found = after(&app, &format!("UPDATE entries SET {change} WHERE seq = 5")).await;
        assert_eq!(found["wrong"][0]["seq"], 5, "{change}: {found}");
        let restore = "DELETE FROM entries; INSERT INTO entries TABLE kept";
        superuser
            .execute(restore)
            .await
            .expect("the copy is put back");
    }
    app.verify().await;
}

#[tokio::test]
async fn a_removed_row_is_found_wherever_it_was() {
    for seq in [1, 5, 11] {
        let app = with_history().await;
        let found = after(&app, &format!("DELETE FROM entries WHERE seq = {seq}")).await;
        assert_eq!(found["wrong"][0]["seq"], seq, "{found}");
    }
}

#[tokio::test]
async fn an_inserted_row_is_found_whether_at_the_end_or_in_another_pool() {
    let app = with_history().await;
    let copy = |set: &str| {
        format!(
            "CREATE TABLE extra AS TABLE entries; DELETE FROM extra WHERE seq <> 5;
            UPDATE extra SET idempotency_key = 'extra', {set};
            INSERT INTO entries TABLE extra; DROP TABLE extra"
        )
    };
    let mut superuser = app.database.connect().await;
    superuser
        .execute(AssertSqlSafe(copy("seq = 12")))
        .await
        .expect("it is inserted");
    let found = after(&app, "UPDATE tenants SET name = name").await;
    assert_eq!(found["wrong"][0]["seq"], 12, "{found}");

    superuser
        .execute("DELETE FROM entries WHERE seq = 12")
        .await
        .expect("it is removed");
    app.verify().await;
    let stray = copy("pool_id = '00000000-0000-8000-8000-000000000000'");
    superuser
        .execute(AssertSqlSafe(stray))
        .await
        .expect("it is inserted");
    let found = after(&app, "UPDATE tenants SET name = name").await;
    assert!(found["stray_entry"].is_string(), "{found}");
}

#[tokio::test]
async fn a_pool_row_that_says_otherwise_than_its_journal_is_found() {
    let changes = [
        "monthly = monthly + 100, consumed = consumed - 100",
        "seq = seq + 1",
        "used = used + 1",
        "granted = granted + 1",
        "hash = '\\x0000000000000000000000000000000000000000000000000000000000000000'",
    ];
    for change in changes {
        let app = with_history().await;
        let found = after(&app, &format!("UPDATE pools SET {change}")).await;
        assert_eq!(
            found["wrong"][0]["pool"], "workspace:w",
            "{change}: {found}"
        );
    }
}

/// Statements that change what was added up, and what is then said of it.
fn changes_of_usage() -> Vec<(String, &'static str)> {
    let line = "level = 0 AND block = 3 AND line = 1";
    vec![
        (
            format!("UPDATE usage_lines SET monthly = monthly + 1 WHERE {line}"),
            "level 0",
        ),
        (
            format!("UPDATE usage_lines SET count = count + 1 WHERE {line}"),
            "level 0",
        ),
        (
            format!("UPDATE usage_lines SET user_id = 'c' WHERE {line}"),
            "level 0",
        ),
        (
            format!("UPDATE usage_lines SET day = day + 1 WHERE {line}"),
            "level 0",
        ),
        (format!("DELETE FROM usage_lines WHERE {line}"), "level 0"),
        (
            "UPDATE usage_lines SET addon = 1 WHERE level = 1 AND line = 1".to_owned(),
            "level 1",
        ),
        (
            "DELETE FROM usage_lines WHERE level = 1 AND line = 1".to_owned(),
            "level 1",
        ),
        (
            "INSERT INTO usage_lines SELECT pool_id, level, 99, split, line, day, operation,
                user_id, workspace_id, model, monthly, addon, overdraft, count,
                lapsed_monthly, lapsed_addon
            FROM usage_lines WHERE level = 0 AND block = 0"
                .to_owned(),
            "level 0",
        ),
        (
            "UPDATE usage_heads SET blocks = blocks + 1 WHERE level = 0".to_owned(),
            "more blocks",
        ),
        (
            "UPDATE usage_heads SET blocks = blocks - 1 WHERE level = 0".to_owned(),
            "level 0",
        ),
        (
            "DELETE FROM usage_heads WHERE level = 1".to_owned(),
            "level 1",
        ),
        (
            "UPDATE usage_heads SET tracking_since = NULL WHERE level = 0".to_owned(),
            "first entry with a user",
        ),
    ]
}

#[tokio::test]
async fn usage_that_was_added_up_otherwise_than_the_journal_says_is_found() {
    let app = TestApp::with_blocks_of(4).await;
    app.put_pool("workspace:w", json!({"plan": "free"}))
        .await
        .expect(201);
    for user in ["a", "b"].iter().cycle().take(70) {
        let body = json!({"credits": 1, "user_id": user});
        let path = "/v1/pools/workspace:w/debits";
        app.post(path).json(&body).send().await.expect(201);
    }
    let usage = "/v1/pools/workspace:w/usage?from=2026-01-01T00:00:00Z";
    app.get(usage).send().await.expect(200);
    app.verify().await;
    let mut superuser = app.database.connect().await;
    let keep =
        "CREATE TABLE kept AS TABLE usage_lines; CREATE TABLE kept_heads AS TABLE usage_heads";
    superuser.execute(keep).await.expect("a copy is kept");
    for (change, said) in changes_of_usage() {
        let found = after(&app, &change).await;
        assert_eq!(
            found["wrong"][0]["pool"], "workspace:w",
            "{change}: {found}"
        );
        let what = found["wrong"][0]["what"].as_str().unwrap_or_default();
        assert!(what.contains(said), "{change}: {found}");
        let restore = "DELETE FROM usage_lines; INSERT INTO usage_lines TABLE kept;
            DELETE FROM usage_heads; INSERT INTO usage_heads TABLE kept_heads";
        superuser
            .execute(restore)
            .await
            .expect("the copy is put back");
    }
    app.verify().await;
}

#[tokio::test]
async fn what_is_due_but_not_booked_is_no_fault() {
    let app = with_history().await;
    app.at("2026-05-01T00:00:00Z");
    app.verify().await;
    assert_eq!(
        app.balance("workspace:w").await["version"],
        14,
        "three renewals are due"
    );
    app.verify().await;
}

#[tokio::test]
async fn one_pool_can_be_verified_and_an_unknown_one_is_an_error() {
    let app = with_history().await;
    let url = &app.database.url;
    let (code, printed) = process::run(&["verify", "--pool", "workspace:w"], url).await;
    assert_eq!(
        (code, printed.trim()),
        (Some(0), "1 pools, 11 entries: the books are right")
    );
    let (code, printed) = process::run(&["verify", "--pool", "workspace:x"], url).await;
    assert_eq!(code, Some(1));
    assert!(
        printed.contains("there is no pool workspace:x"),
        "{printed}"
    );
}

#[tokio::test]
async fn the_services_role_can_add_to_the_journal_but_never_change_it() {
    let app = with_history().await;
    let mut connection = app.database.connect().await;
    connection
        .execute("SET ROLE credit_ledger_app")
        .await
        .expect("the role is there");
    let refused = [
        "UPDATE entries SET kind = 'debit'",
        "DELETE FROM entries",
        "TRUNCATE entries",
        "DROP TABLE entries",
        "ALTER TABLE entries DISABLE TRIGGER ALL",
        "UPDATE purchases SET credits = 1",
        "DELETE FROM pools",
        "UPDATE usage_lines SET monthly = 0",
        "DELETE FROM usage_lines",
        "DELETE FROM usage_heads",
    ];
    for statement in refused {
        let error = connection.execute(statement).await.expect_err(statement);
        let code = error.as_database_error().and_then(|error| error.code());
        assert_eq!(code.as_deref(), Some("42501"), "{statement}: {error}");
    }
}
