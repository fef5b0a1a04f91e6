//! `credit-ledger compare`: each kind of difference is found, and none after a fresh import.

use serde_json::{Value, json};

use crate::import::{AT, POOLS, moved};
use crate::support::{Folder, TestApp, process};

/// Compares with a file of this text: exit code, and what was printed as JSON.
async fn compare(app: &TestApp, text: &str, more: &[&str]) -> (Option<i32>, Value) {
    let folder = Folder::new();
    let file = folder.write("pools.csv", text);
    let arguments = [
        "compare",
        "--tenant",
        &app.tenant,
        "--against",
        &file,
        "--json",
    ];
    let arguments = [&arguments[..], more].concat();
    let (code, printed) = process::run(&arguments, &app.database.url).await;
    let json = serde_json::from_str(&printed).unwrap_or(Value::String(printed));
    (code, json)
}

#[tokio::test]
async fn after_an_import_nothing_differs() {
    let (app, _folder) = moved().await;
    let entries = app.entries().await;
    let (code, printed) = compare(&app, POOLS, &["--at", AT]).await;
    assert_eq!(code, Some(0), "{printed}");
    assert_eq!(
        (&printed["ok"], &printed["same"]),
        (&json!(true), &json!(3))
    );
    // Long after it renewals are due, and compared; they are booked in memory alone.
    let (code, printed) = compare(&app, POOLS, &[]).await;
    assert_eq!(code, Some(1), "{printed}");
    assert_eq!(printed["fields"]["cycle_start"], 3, "{printed}");
    assert_eq!(app.entries().await, entries);
}

/// A text of the file, what is written in its place, and what is then said of which field.
type Change = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
);

const CHANGES: [Change; 13] = [
    (",flexible,", ",team,", "plan", "team", "pro"),
    (",flexible,5", ",flexible,", "builders", "1", "5"),
    (
        ",10000,2026",
        ",9000,2026",
        "monthly_allowance",
        "9000",
        "10000",
    ),
    (
        "2026-01-31T10:00:00Z,4000",
        "2026-01-31T11:00:00Z,4000",
        "cycle_start",
        "2026-01-31T11:00:00.000Z",
        "2026-01-31T10:00:00.000Z",
    ),
    (",4000,950,", ",,950,", "monthly_granted", "", "4000"),
    (
        ",4000,950,",
        ",4000,950.01,",
        "monthly_remaining",
        "950.01",
        "950",
    ),
    (",25.5,", ",,", "overdraft", "0", "25.5"),
    (",500,300,", ",400,300,", "addon_granted", "400", "500"),
    (",500,300,", ",500,0,", "addon_remaining", "0", "300"),
    (
        "300,2026-11-30",
        "300,2026-12-01",
        "addon_expires_at",
        "2026-12-01T00:00:00.000Z",
        "2026-11-30T00:00:00.000Z",
    ),
    (
        ",enterprise,2027",
        ",paid,2027",
        "license_type",
        "paid",
        "enterprise",
    ),
    (
        ",enterprise,2027-01-31",
        ",enterprise,",
        "license_end",
        "",
        "2027-01-31T23:59:59.999Z",
    ),
    (
        ",2026-02-25\n",
        ",\n",
        "grace_until",
        "",
        "2026-02-25T23:59:59.999Z",
    ),
];

#[tokio::test]
async fn each_field_that_differs_is_told_with_both_values() {
    let (app, _folder) = moved().await;
    for (from, to, field, in_file, in_ledger) in CHANGES {
        let text = POOLS.replacen(from, to, 1);
        assert_ne!(text, POOLS, "{field}");
        let (code, printed) = compare(&app, &text, &["--at", AT]).await;
        assert_eq!(code, Some(1), "{printed}");
        assert_eq!(printed["fields"], json!({field: 1}), "{printed}");
        let first = &printed["first_differences"][0];
        let said = (&first["what"], &first["in_file"], &first["in_ledger"]);
        assert_eq!(
            said,
            (&json!("differs"), &json!(in_file), &json!(in_ledger))
        );
    }
}

#[tokio::test]
async fn pools_that_only_one_has_and_lines_that_nobody_can_read_are_told() {
    let (app, _folder) = moved().await;
    app.put_pool("workspace:new", json!({"plan": "free"}))
        .await
        .expect(201);
    app.put_pool("workspace:gone", json!({"plan": "free"}))
        .await
        .expect(201);
    app.delete("/v1/pools/workspace:gone")
        .send()
        .await
        .expect(200);
    // Only what the header names is compared.
    let text = "pool,overdraft\nworkspace:w,\ninstance:i,0\nworkspace:t,25.5\nworkspace:other,1\n\
        user:1,0\n";
    let report = Folder::new();
    let path = report.path("report.csv");
    let (code, printed) = compare(&app, text, &["--at", AT, "--report", &path]).await;
    assert_eq!(code, Some(1), "{printed}");
    let counts = [
        "same",
        "different",
        "only_in_file",
        "only_in_ledger",
        "bad_lines",
    ];
    assert_eq!(
        counts.map(|name| printed[name].as_u64()),
        [3, 0, 1, 1, 1].map(Some),
        "{printed}"
    );
    assert_eq!(
        report.read("report.csv"),
        "pool,what,field,in_file,in_ledger\nworkspace:other,only_in_file,,,\n\
        workspace:new,only_in_ledger,,,\n"
    );
    let closed = "pool\nworkspace:gone\n";
    let (_, printed) = compare(&app, closed, &["--at", AT]).await;
    assert_eq!(printed["fields"], json!({"status": 1}), "{printed}");
}

#[tokio::test]
async fn the_past_is_compared_as_it_was() {
    let (app, _folder) = moved().await;
    app.at("2026-02-11T00:00:00Z");
    app.debit("workspace:w", json!(50)).await.expect(201);
    app.at("2026-05-01T00:00:00Z");
    app.sweep().await;
    app.put_pool("workspace:later", json!({"plan": "free"}))
        .await
        .expect(201);
    let (code, printed) = compare(&app, POOLS, &["--at", "2026-02-10T13:00:00Z"]).await;
    // The trial is over since, and plan and licence are those of now.
    assert_eq!(code, Some(1), "{printed}");
    assert_eq!(printed["fields"], json!({"plan": 1}), "{printed}");
    let spent = POOLS.replacen(",4000,950,", ",4000,900,", 1);
    let (_, printed) = compare(&app, &spent, &["--at", "2026-02-11T01:00:00Z"]).await;
    assert_eq!(printed["fields"], json!({"plan": 1}), "{printed}");
}

#[tokio::test]
async fn mistakes_of_usage_say_so() {
    let (app, _folder) = moved().await;
    let cases = [
        (
            "pool,colour\n",
            &[][..],
            "unknown column of the pools: colour",
        ),
        ("plan\n", &[], "missing column of the pools: pool"),
        (
            "pool\n",
            &["--at", "9000-01-01T00:00:00Z"],
            "--at must not be in the future",
        ),
    ];
    for (text, more, message) in cases {
        let (code, printed) = compare(&app, text, more).await;
        assert_eq!(code, Some(2), "{printed}");
        assert!(printed.to_string().contains(message), "{printed}");
    }
}
