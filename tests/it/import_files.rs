//! Files with mistakes: each is told with its line, and none keeps other pools from being imported.

use serde_json::{Value, json};

use crate::import::{AT, POOLS, import, moving};
use crate::support::{Folder, TestApp, process};

/// Checks the bad lines, in the order of files and lines: each one, written as
/// `file:line pool: reason`, begins so.
pub fn assert_bad(printed: &Value, expected: &[&str]) {
    let lines = printed["first_bad_lines"].as_array().expect("bad lines");
    let place = |line: &&Value| (line["file"].to_string(), line["line"].as_i64());
    let mut lines: Vec<&Value> = lines.iter().collect();
    lines.sort_by_key(place);
    let said = |line: &&Value| {
        let text = |name: &str| line[name].as_str().expect("a text");
        let file = text("file").rsplit('/').next().unwrap_or_default();
        format!(
            "{file}:{} {}: {}",
            line["line"],
            text("pool"),
            text("reason")
        )
    };
    let found: Vec<String> = lines.iter().map(said).collect();
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found}, not {expected}");
    }
}

pub async fn there(app: &TestApp, pool: &str) -> bool {
    let path = format!("/v1/pools/{pool}");
    app.get(&path).send().await.status == 200
}

pub const PLAIN: &str = "pool,plan,anchor,cycle_start,monthly_granted,monthly_remaining\n";

/// A pool of the plan `pro` with 800 credits, 700 of which are left.
pub fn plain(name: &str) -> String {
    format!("workspace:{name},pro,2026-01-31,2026-01-31,800,700\n")
}

#[tokio::test]
async fn a_bad_line_anywhere_keeps_its_own_pool_out_and_no_other() {
    let (app, folder) = moving().await;
    let names = [
        "good", "own", "usage", "paid", "owed", "twice", "same", "late",
    ];
    let pools: String = names.iter().map(|name| plain(name)).collect();
    let pools = format!("{PLAIN}{pools}{}user:1,pro,,,,\n", plain("twice"))
        .replace("own,pro,2026-01-31", "own,gold plan,");
    folder.write("pools.csv", &pools);
    let usage = "pool,user_id,monthly,overdraft\nworkspace:good,u,50,\nworkspace:usage,u,x,-1\n\
        workspace:owed,u,101,\n\n";
    folder.write("usage.csv", usage);
    let payments = "pool,payment_reference,credits,paid_at\r\nworkspace:paid,pi_1,0,2026-01-01\r\n\
        workspace:same,pi_2,5,2026-01-01\r\nworkspace:good,pi_3,5,2026-01-01\r\n\
        workspace:late,pi_2,5,2026-01-01\r\n";
    folder.write("payments.csv", payments);
    let report = folder.path("report.csv");
    let (code, printed) = import(&app, &folder, &["--at", AT, "--report", &report]).await;
    assert_eq!(code, Some(1), "{printed}");
    assert_bad(
        &printed,
        &[
            "payments.csv:2 workspace:paid: credits must be above 0",
            "payments.csv:3 workspace:same: payment_reference is in line 5, too",
            "payments.csv:5 workspace:late: payment_reference is in line 3, too",
            "pools.csv:3 workspace:own: plan must be 1 to 64",
            "pools.csv:6 workspace:owed: monthly adds up to 101 in the usage",
            "pools.csv:7 workspace:twice: pool is in line 10, too",
            "pools.csv:10 workspace:twice: pool is in line 7, too",
            "pools.csv:11 user:1: pool must be workspace:<id> or instance:<id>",
            "usage.csv:3 workspace:usage: monthly must be a number; overdraft must not",
        ],
    );
    assert_eq!(
        (&printed["imported"], &printed["refused"]),
        (&json!(1), &json!(9))
    );
    assert!(there(&app, "workspace:good").await);
    for name in &names[1..] {
        assert!(!there(&app, &format!("workspace:{name}")).await, "{name}");
    }
    let written = folder.read("report.csv");
    assert_eq!(written.lines().count(), 10, "{written}");
    assert!(written.starts_with("file,line,pool,reason\n"));
    // What a refused pool had claimed is free again.
    app.put_pool("workspace:x", json!({"plan": "pro"}))
        .await
        .expect(201);
    let body = json!({"credits": 500, "payment_reference": "pi_2"});
    app.book("workspace:x/purchases", body).await.expect(201);
    app.verify().await;
}

#[tokio::test]
async fn what_was_refused_follows_when_it_is_corrected() {
    let (app, folder) = moving().await;
    let pools: String = ["good", "owed"].iter().map(|name| plain(name)).collect();
    folder.write("pools.csv", &format!("{PLAIN}{pools}"));
    folder.write("payments.csv", "pool,payment_reference,credits,paid_at\n");
    let usage = "pool,monthly,user_id\nworkspace:good,50,u\nworkspace:owed,101,u\n";
    folder.write("usage.csv", usage);
    let (code, printed) = import(&app, &folder, &["--at", AT]).await;
    assert_eq!((code, &printed["imported"]), (Some(1), &json!(1)));
    folder.write("usage.csv", &usage.replace("101", "100"));
    let (code, printed) = import(&app, &folder, &["--at", AT]).await;
    assert_eq!(code, Some(0), "{printed}");
    let counts = ["imported", "already_there"].map(|name| printed[name].as_u64());
    assert_eq!(counts, [Some(1), Some(1)]);
}

#[tokio::test]
async fn what_the_catalogue_or_the_books_do_not_allow_is_told_with_the_pools_line() {
    let (app, folder) = moving().await;
    app.put_pool("workspace:mine", json!({"plan": "pro"}))
        .await
        .expect(201);
    let bought = json!({"credits": 500, "payment_reference": "pi_mine"});
    app.book("workspace:mine/purchases", bought)
        .await
        .expect(201);
    let rows = [
        "workspace:mine,pro,,2026-01-31,2026-01-31,800,700,,,",
        "workspace:gold,gold,,2026-01-31,2026-01-31,800,700,,,",
        "workspace:own,pro,800,2026-01-31,2026-01-31,800,700,,,",
        "workspace:none,enterprise,,2026-01-31,2026-01-31,800,700,,,",
        "workspace:cycle,pro,,2026-01-31,2026-01-30,800,700,,,",
        "workspace:over,pro,,2026-01-31,2026-01-31,800,700,2026-02-01,,",
        "workspace:ended,pro,,2026-01-31,2026-01-31,800,700,,paid,2026-02-01",
        "workspace:paid,pro,,2026-01-31,2026-01-31,800,700,,,",
    ];
    let header = "pool,plan,monthly_allowance,anchor,cycle_start,monthly_granted,\
        monthly_remaining,addon_expires_at,license_type,license_end";
    folder.write("pools.csv", &format!("{header}\n{}\n", rows.join("\n")));
    folder.write("usage.csv", "pool\n");
    let payments = "pool,payment_reference,credits,paid_at\nworkspace:paid,pi_mine,500,2026-01-01\n\
        workspace:paid,pi_new,500,2026-01-01\n";
    folder.write("payments.csv", payments);
    let (code, printed) = import(&app, &folder, &["--at", AT]).await;
    assert_eq!(code, Some(1), "{printed}");
    assert_bad(
        &printed,
        &[
            "pools.csv:2 workspace:mine: pool is there already",
            "pools.csv:3 workspace:gold: plan is no plan of this tenant",
            "pools.csv:4 workspace:own: monthly_allowance must be empty",
            "pools.csv:5 workspace:none: monthly_allowance is needed on these terms",
            "pools.csv:6 workspace:cycle: cycle_start must be in the cycle",
            "pools.csv:7 workspace:over: addon_expires_at is over",
            "pools.csv:8 workspace:ended: license_end is over",
            "pools.csv:9 workspace:paid: payment_reference pi_mine is known for another",
        ],
    );
    // The other payment of that pool is free again.
    let body = json!({"credits": 500, "payment_reference": "pi_new"});
    app.book("workspace:mine/purchases", body).await.expect(201);
    app.verify().await;
}

#[tokio::test]
async fn json_lines_say_the_same_as_csv() {
    let (app, folder) = moving().await;
    let pools = concat!(
        r#"{"pool":"workspace:w","plan":"pro","builders":5,"anchor":"2025-10-31T10:00:00Z","#,
        r#""cycle_start":"2026-01-31T10:00:00Z","monthly_granted":4000,"#,
        r#""monthly_remaining":950.50,"license_type":null}"#,
        "\n{\"pool\":\"workspace:x\",\"plan\":\"pro\",\"size\":1}\n",
        "{\"plan\":\"pro\"}\nnonsense\n",
    );
    let pools = folder.write("pools", pools);
    let usage = folder.write("usage.ndjson", r#"{"pool":"workspace:w","credits":49.5}"#);
    let arguments = [
        "import",
        "--tenant",
        &app.tenant,
        "--pools",
        &pools,
        "--usage",
        &usage,
        "--at",
        AT,
    ];
    let (code, printed) = process::run(&arguments, &app.database.url).await;
    assert_eq!(code, Some(1), "{printed}");
    for said in [
        "unknown column \"size\"",
        "pool is needed",
        "is no JSON object",
        "run again with --at 2026-02-10T12:00:00.000Z",
    ] {
        assert!(printed.contains(said), "{printed}");
    }
    let balance = app.balance("workspace:w").await;
    assert_eq!(balance["monthly"]["settled"], 950.5);
    let usage = app.read("workspace:w/usage").await;
    assert_eq!(usage["pool"]["monthly"], 3_049.5);
    assert_eq!(usage["pool"]["count"], 1);
}

#[tokio::test]
async fn a_file_that_cannot_be_read_at_all_is_a_mistake_of_usage() {
    let (app, _) = moving().await;
    let folder = Folder::new();
    let cases = [
        (
            POOLS.replace("anchor", "anker"),
            "unknown column of the pools: anker",
        ),
        (
            POOLS.replace("anchor", "anker"),
            "missing column of the pools: anchor",
        ),
        (String::new(), "is empty: it needs a header"),
    ];
    for (text, message) in cases {
        folder.write("pools.csv", &text);
        let (code, printed) = import(&app, &folder, &[]).await;
        assert_eq!(code, Some(2), "{printed}");
        assert!(printed.to_string().contains(message), "{printed}");
    }
    let arguments = ["import", "--tenant", &app.tenant, "--pools", "/nowhere.csv"];
    let (code, printed) = process::run(&arguments, &app.database.url).await;
    assert_eq!(code, Some(2), "{printed}");
    assert!(
        printed.contains("/nowhere.csv cannot be opened"),
        "{printed}"
    );
    assert_eq!(app.entries().await, 0);
}

#[tokio::test]
async fn only_the_first_twenty_bad_lines_are_printed() {
    let (app, _) = moving().await;
    let folder = Folder::new();
    let bad: String = (0..30).map(|_| "nobody,pro,,,,\n").collect();
    let pools = folder.write("pools.csv", &format!("{PLAIN}{bad}{}", plain("good")));
    let arguments = [
        "import",
        "--tenant",
        &app.tenant,
        "--pools",
        &pools,
        "--at",
        AT,
    ];
    let (code, printed) = process::run(&arguments, &app.database.url).await;
    assert_eq!(code, Some(1), "{printed}");
    assert_eq!(printed.matches("| nobody |").count(), 20, "{printed}");
    assert!(
        printed.contains("and 10 more: --report FILE writes them all"),
        "{printed}"
    );
    assert!(there(&app, "workspace:good").await);
}
