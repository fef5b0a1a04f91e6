//! `credit-ledger import`: what a pool is after it was taken over, once, and after a kill.

use chrono::{TimeDelta, Utc};
use credit_ledger::ledger::{Catalogue, TenantId};
use credit_ledger::store::{Store, TenantMode, TenantRecord};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Executor};
use uuid::Uuid;

use crate::support::webhook::Payment;
use crate::support::{Database, Folder, TestApp, process, time};

/// What the files of these tests describe.
pub const AT: &str = "2026-02-10T12:00:00Z";

pub const POOLS: &str = "\
pool,plan,builders,monthly_allowance,anchor,cycle_start,monthly_granted,monthly_remaining,\
overdraft,addon_granted,addon_remaining,addon_expires_at,license_type,license_end,grace_until
workspace:w,flexible,5,,2025-10-31T10:00:00Z,2026-01-31T10:00:00Z,4000,950,,500,300,2026-11-30,,,
instance:i,enterprise,Unlimited,10000,2026-01-31,2026-01-31,10000,9999.5,0,,,,enterprise,2027-01-31,
workspace:t,pro,1,,2026-02-01,2026-02-01,800,0,25.5,,,,trial,2026-02-20,2026-02-25
";

const USAGE: &str = "\
pool,user_id,workspace_id,operation,monthly,addon,overdraft,count
workspace:w,u-1,w-9,app_generation,2000,150,,7
workspace:w,u-2,w-9,sql_generation,50,,,
workspace:t,u-3,,,100,,5.5,2
";

pub const PAYMENTS: &str = "\
pool,payment_reference,credits,paid_at,amount_cents,currency
workspace:w,pi_old,500,2025-11-30,500,usd
";

/// Imports the files of a folder: exit code, and what was printed as JSON.
pub async fn import(app: &TestApp, folder: &Folder, more: &[&str]) -> (Option<i32>, Value) {
    let pools = folder.path("pools.csv");
    let files = ["usage.csv", "payments.csv"].map(|name| folder.path(name));
    let mut arguments = vec![
        "import",
        "--tenant",
        &app.tenant,
        "--pools",
        &pools,
        "--json",
    ];
    for (option, file) in ["--usage", "--payments"].iter().zip(&files) {
        if std::path::Path::new(file).exists() {
            arguments.extend([option, file.as_str()]);
        }
    }
    arguments.extend(more);
    let (code, printed) = process::run(&arguments, &app.database.url).await;
    let json = serde_json::from_str(&printed).unwrap_or(Value::String(printed));
    (code, json)
}

/// A service at the instant that the files describe, and the files.
pub async fn moving() -> (TestApp, Folder) {
    let app = TestApp::start().await;
    app.at(AT);
    let folder = Folder::new();
    folder.write("pools.csv", POOLS);
    folder.write("usage.csv", USAGE);
    folder.write("payments.csv", PAYMENTS);
    (app, folder)
}

/// The same after the import.
pub async fn moved() -> (TestApp, Folder) {
    let (app, folder) = moving().await;
    let (code, printed) = import(&app, &folder, &["--at", AT]).await;
    assert_eq!(code, Some(0), "{printed}");
    (app, folder)
}

/// Rows of the books as text.
pub async fn rows(url: &str, statement: &str) -> Vec<String> {
    let mut connection = Database {
        url: url.to_owned(),
    }
    .connect()
    .await;
    sqlx::query_scalar(AssertSqlSafe(statement.to_owned()))
        .fetch_all(&mut connection)
        .await
        .expect("the books can be read")
}

#[tokio::test]
async fn pools_go_on_with_the_figures_they_had() {
    let (app, folder) = moving().await;
    let (code, printed) = import(&app, &folder, &["--at", AT]).await;
    assert_eq!(code, Some(0), "{printed}");
    let expected = json!({
        "ok": true, "dry_run": false, "resumed": false, "at": "2026-02-10T12:00:00.000Z",
        "imported": 3, "already_there": 0, "refused": 0, "held_back": 0, "bad_lines": 0,
        "first_bad_lines": [],
        "monthly_granted": 14_800, "monthly_remaining": 10_949.5, "addon_granted": 500,
        "addon_remaining": 300, "overdraft": 25.5, "usage_lines": 3, "payments": 1,
        "seconds": printed["seconds"],
    });
    assert_eq!(printed, expected);

    let balance = app.balance("workspace:w").await;
    assert_eq!(balance["monthly"]["granted"], 4_000);
    assert_eq!(balance["monthly"]["settled"], 950);
    assert_eq!(balance["monthly"]["used"], 3_050);
    assert_eq!(
        balance["monthly"]["cycle_start"],
        "2026-01-31T10:00:00.000Z"
    );
    assert_eq!(balance["monthly"]["renews_at"], "2026-02-28T10:00:00.000Z");
    assert_eq!(balance["addon"]["granted"], 500);
    assert_eq!(balance["addon"]["settled"], 300);
    assert_eq!(balance["addon"]["expires_at"], "2026-11-30T00:00:00.000Z");
    let pool = app.read("workspace:w").await;
    assert_eq!(
        (&pool["plan"], &pool["builders"]),
        (&json!("pro"), &json!(5))
    );
    let own = app.read("instance:i").await;
    assert_eq!(own["builders"], "unlimited");
    assert_eq!(own["monthly_allowance"], 10_000);
    assert_eq!(own["license"]["expires_at"], "2027-01-31T23:59:59.999Z");
    let trial = app.read("workspace:t").await;
    assert_eq!(trial["license"]["type"], "trial");
    assert_eq!(trial["balance"]["overdraft"], 25.5);
    assert_eq!(trial["balance"]["available"], -25.5);
    app.verify().await;
}

#[tokio::test]
async fn tooljets_usage_of_the_running_cycle_adds_up() {
    let (app, _folder) = moved().await;
    let path = "/api/ai/organizations/w/usage";
    let usage = app.get(path).send().await.expect(200).body;
    let users = json!([
        {"userId": "u-1", "recurring": 2_000, "topup": 150, "total": 2_150},
        {"userId": "u-2", "recurring": 50, "topup": 0, "total": 50},
    ]);
    assert_eq!(usage["users"], users);
    assert_eq!(usage["pool"]["recurring"], 3_050);
    assert_eq!(usage["unattributed"]["recurring"], 1_000);
    let balance = app
        .get("/api/ai/organizations/w/balance")
        .send()
        .await
        .expect(200)
        .body;
    // remaining + spend = plan.
    assert_eq!(balance["remaining"]["recurring"], 4_000 - 3_050);
    assert_eq!(balance["plan"]["recurring"], 4_000);

    let by_workspace = app.read("workspace:w/usage?group_by=workspace").await;
    let groups = by_workspace["groups"].as_array().expect("groups");
    let of = |key: &Value| groups.iter().find(|it| it["key"] == *key).expect("a group");
    assert_eq!(of(&json!("w-9"))["total"], 2_200);
    assert_eq!(of(&json!("w-9"))["count"], 8);
    assert_eq!(of(&Value::Null)["total"], 1_000);
    let by_operation = app.read("workspace:w/usage?operation=app_generation").await;
    assert_eq!(by_operation["pool"]["total"], 2_150);

    let trial = app.read("workspace:t/usage?group_by=user").await;
    assert_eq!(trial["pool"]["monthly"], 800);
    assert_eq!(trial["pool"]["overdraft"], 5.5);
}

#[tokio::test]
async fn the_journal_says_where_it_came_from_and_life_goes_on() {
    let (app, _folder) = moved().await;
    let journal = app.journal("workspace:w").await;
    let kinds: Vec<&Value> = journal.iter().map(|entry| &entry["kind"]).collect();
    assert_eq!(kinds, ["import"; 5]);
    assert_eq!(journal[0]["idempotency_key"], "credit-ledger:import");
    assert_eq!(journal[4]["reference"], "pi_old");

    let body = json!({"credits": 1_000, "user_id": "u-1"});
    let debit = app.book("workspace:w/debits", body).await.expect(201).body;
    assert_eq!(
        (&debit["monthly"], &debit["addon"]),
        (&json!(950), &json!(50))
    );
    app.at("2026-02-28T10:00:00Z");
    let renewed = app.balance("workspace:w").await;
    assert_eq!(renewed["monthly"]["granted"], 4_000);
    assert_eq!(renewed["monthly"]["renews_at"], "2026-03-31T10:00:00.000Z");
    let fallen = app.read("workspace:t").await;
    assert_eq!(fallen["plan"], "free", "its trial and its grace are over");
    app.at("2026-12-01T00:00:00Z");
    let expired = app.balance("workspace:w").await;
    assert_eq!(expired["addon"]["granted"], 0);
    app.sweep().await;
    app.verify().await;
}

#[tokio::test]
async fn an_old_payment_is_known_and_never_credited_again() {
    let (app, _folder) = moved().await;
    let entries = app.entries().await;
    let again = json!({"credits": 500, "payment_reference": "pi_old"});
    let first = app.book("workspace:w/purchases", again).await.expect(200);
    assert_eq!(first.body["paid_at"], "2025-11-30T00:00:00.000Z");
    assert_eq!(first.body["credits"], 500);
    let other = json!({"credits": 400, "payment_reference": "pi_old"});
    app.book("workspace:w/purchases", other)
        .await
        .refused(409, "payment_reference_reused");
    let elsewhere = json!({"credits": 500, "payment_reference": "pi_old"});
    let path = "/v1/pools/instance:i/purchases";
    app.post(path)
        .json(&elsewhere)
        .send()
        .await
        .refused(409, "payment_reference_reused");

    let settings = json!({"webhook_secrets": ["whsec_of_the_tests"]});
    app.put("/v1/payments/stripe")
        .json(&settings)
        .send()
        .await
        .expect(200);
    let payment = Payment::new("pi_old", time("2025-11-30T00:00:00Z").timestamp());
    app.deliver(&payment.completed()).await.expect(200);
    assert_eq!(app.entries().await, entries, "nothing was credited");
    assert_eq!(app.balance("workspace:w").await["addon"]["settled"], 300);

    // What is refunded of it now is taken back.
    app.deliver(&payment.refunded(250)).await.expect(200);
    assert_eq!(app.balance("workspace:w").await["addon"]["settled"], 50);
    app.verify().await;
}

#[tokio::test]
async fn the_same_again_changes_nothing_and_other_figures_are_refused() {
    let (app, folder) = moved().await;
    let entries = app.entries().await;
    // Also when nobody says as of when any more.
    let (code, printed) = import(&app, &folder, &[]).await;
    assert_eq!(code, Some(0), "{printed}");
    assert_eq!(printed["at"], "2026-02-10T12:00:00.000Z");
    assert_eq!(
        (&printed["already_there"], &printed["imported"]),
        (&json!(3), &json!(0))
    );
    assert_eq!(printed["resumed"], true);

    folder.write("usage.csv", &USAGE.replace("2000,150", "1999,150"));
    let (code, printed) = import(&app, &folder, &["--at", AT]).await;
    assert_eq!(code, Some(1), "{printed}");
    assert_eq!(
        (&printed["already_there"], &printed["refused"]),
        (&json!(2), &json!(1))
    );
    let bad = &printed["first_bad_lines"][0];
    assert_eq!(
        (&bad["pool"], &bad["line"]),
        (&json!("workspace:w"), &json!(2))
    );
    let reason = bad["reason"].as_str().expect("a reason");
    assert!(
        reason.starts_with("was imported before with other figures"),
        "{reason}"
    );
    assert_eq!(app.entries().await, entries);
}

#[tokio::test]
async fn a_dry_run_says_what_would_be_and_writes_nothing() {
    let (app, folder) = moving().await;
    app.put_pool("workspace:t", json!({"plan": "pro"}))
        .await
        .expect(201);
    let tables = ["entries", "pools", "payment_claims", "purchases", "imports"];
    let count = async || {
        let counts = tables.map(|table| format!("(SELECT count(*) FROM {table})"));
        let statement = format!("SELECT concat_ws(' ', {})", counts.join(", "));
        rows(&app.database.url, &statement).await
    };
    let before = count().await;
    let (code, printed) = import(&app, &folder, &["--at", AT, "--dry-run"]).await;
    assert_eq!(code, Some(1), "{printed}");
    assert_eq!(
        (&printed["imported"], &printed["refused"]),
        (&json!(2), &json!(1))
    );
    assert_eq!(printed["dry_run"], true);
    assert_eq!(
        printed["first_bad_lines"][0]["reason"],
        "pool is there already"
    );
    assert_eq!(count().await, before, "though renewals of a pool are due");
}

#[tokio::test]
async fn the_instant_is_never_in_the_future_nor_another_one_than_before() {
    let (app, folder) = moved().await;
    let tomorrow = (Utc::now() + TimeDelta::days(1)).to_rfc3339();
    let cases = [
        (tomorrow.as_str(), "--at must not be in the future"),
        (
            "2026-02-11T12:00:00Z",
            "imported as of 2026-02-10T12:00:00.000Z before",
        ),
        ("soon", "invalid value 'soon' for '--at <INSTANT>'"),
    ];
    for (at, message) in cases {
        let (code, printed) = import(&app, &folder, &["--at", at]).await;
        assert_eq!(code, Some(2), "{printed}");
        assert!(printed.to_string().contains(message), "{printed}");
    }
    let nobody = Uuid::now_v7().to_string();
    let pools = folder.path("pools.csv");
    let arguments = ["import", "--tenant", &nobody, "--pools", &pools];
    let (code, printed) = process::run(&arguments, &app.database.url).await;
    assert_eq!(code, Some(2), "{printed}");
    assert!(printed.contains("there is no tenant"), "{printed}");
}

/// Two databases with the same tenant.
async fn twins() -> (String, [Database; 2]) {
    let databases = [Database::create().await, Database::create().await];
    let now = time("2026-01-01T00:00:00Z");
    let catalogue = Catalogue::initial(now);
    let tenant = TenantRecord {
        id: TenantId::from(Uuid::now_v7()),
        name: "a tenant".parse().expect("a good name"),
        mode: TenantMode::Live,
        settings: catalogue.settings.clone(),
        created_at: now,
    };
    for database in &databases {
        let store = Store::new(&database.url, 1).expect("a good URL");
        store.run_as(Some("credit_ledger_app"));
        store
            .create_tenant(tenant.clone(), catalogue.clone())
            .await
            .expect("it is made");
        store.close().await;
    }
    (tenant.id.to_string(), databases)
}

/// So many pools with two lines of usage and a payment each.
fn many(folder: &Folder, count: usize) -> [String; 3] {
    let first = |text: &str| format!("{}\n", text.lines().next().expect("a header"));
    let mut files = [first(POOLS), first(USAGE), first(PAYMENTS)];
    for number in 0..count {
        let pool = format!("workspace:p{number}");
        files[0] +=
            &format!("{pool},pro,1,,2026-01-31,2026-01-31,800,{number},,100,90,2026-12-01,,,\n");
        files[1] += &format!("{pool},u-1,,custom_code,50,5,,3\n{pool},u-2,,,20,,,\n");
        files[2] += &format!("{pool},pi_{number},100,2025-12-01,,\n");
    }
    let [pools, usage, payments] = files;
    [
        folder.write("pools.csv", &pools),
        folder.write("usage.csv", &usage),
        folder.write("payments.csv", &payments),
    ]
}

/// Looks until it is so.
async fn until(database: &Database, statement: &str) {
    let mut connection = database.connect().await;
    for _ in 0..1_000_000 {
        let so = sqlx::query_scalar(AssertSqlSafe(statement.to_owned()));
        if so.fetch_one(&mut connection).await.expect("it can be read") {
            return;
        }
    }
    panic!("it never comes to that: {statement}");
}

/// Entries by their hashes, purchases and claims are the same.
async fn assert_same_books(left: &Database, right: &Database, least: usize) {
    let books = [
        "SELECT concat(pool_id, ' ', seq, ' ', hash) FROM entries ORDER BY pool_id, seq",
        "SELECT concat(pool_id, purchase_id, ' ', payment_reference) FROM purchases ORDER BY 1",
        "SELECT concat(pool_id, ' ', purchase_id, ' ', credits) FROM payment_claims ORDER BY 1",
    ];
    for statement in books {
        let found = rows(&left.url, statement).await;
        assert!(found.len() >= least, "{statement}");
        let same = found == rows(&right.url, statement).await;
        assert!(same, "{statement}");
    }
}

#[tokio::test]
async fn killed_half_way_and_run_again_it_comes_to_the_same_books() {
    const COUNT: usize = 700;
    let (tenant, databases) = twins().await;
    let folder = Folder::new();
    let [pools, usage, payments] = many(&folder, COUNT);
    let at = ["--at", AT];
    let arguments = [
        "import",
        "--tenant",
        &tenant,
        "--pools",
        &pools,
        "--usage",
        &usage,
        "--payments",
        &payments,
        "--json",
    ];
    let [killed, whole] = &databases;
    let mut child = process::spawn(&[&arguments[..], &at].concat(), &killed.url);
    let mut connection = killed.connect().await;
    // It begins while nobody may claim a payment, and is killed when the first pools are there.
    connection
        .execute("BEGIN; LOCK TABLE payment_claims IN SHARE MODE")
        .await
        .expect("claims wait");
    until(killed, "SELECT count(*) > 0 FROM imports").await;
    connection.execute("COMMIT").await.expect("claims go on");
    until(killed, "SELECT count(*) > 0 FROM pools").await;
    child.kill().await.expect("it is killed");
    let there = rows(&killed.url, "SELECT count(*)::text FROM pools").await;
    let there: usize = there[0].parse().expect("a count");
    assert!(there < COUNT, "{there} are too many to be half way");

    let (code, printed) = process::run(&arguments, &killed.url).await;
    assert_eq!(code, Some(0), "{printed}");
    let printed: Value = serde_json::from_str(&printed).expect("JSON was asked for");
    assert!(
        printed["already_there"].as_u64() >= Some(there as u64),
        "{printed}"
    );
    let (code, printed) = process::run(&[&arguments[..], &at].concat(), &whole.url).await;
    assert_eq!(code, Some(0), "{printed}");

    assert_same_books(killed, whole, COUNT).await;
    for database in &databases {
        let (code, printed) = process::verify(&database.url).await;
        assert_eq!(code, Some(0), "{printed}");
    }
}
