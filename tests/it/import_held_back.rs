//! Lines that may be about any pool hold the whole import back, and nothing that another run or
//! another channel relies on is changed by a run that books nothing.

use credit_ledger::ledger::{PoolId, PurchaseId, TenantId};
use serde_json::json;
use sqlx::Executor;
use uuid::Uuid;

use crate::import::{AT, PAYMENTS, POOLS, import, moving, rows};
use crate::import_files::{PLAIN, assert_bad, plain, there};
use crate::support::TestApp;

/// How many entries, pools, claims, purchases and remembered imports there are.
async fn everything(app: &TestApp) -> String {
    let tables = ["entries", "pools", "payment_claims", "purchases", "imports"];
    let counts = tables.map(|table| format!("(SELECT count(*) FROM {table})"));
    let statement = format!("SELECT concat_ws(' ', {})", counts.join(", "));
    rows(&app.database.url, &statement).await.remove(0)
}

#[tokio::test]
async fn a_payment_whose_pool_is_not_known_holds_everything_back_until_it_is_corrected() {
    let lost = "workspace:i2,pi_lost,500,2026-01-01,,usd";
    let broken = [
        (
            lost.to_owned(),
            "payments.csv:3 workspace:i2: pool is in no line",
        ),
        (
            lost.replace("workspace:i2", ""),
            "payments.csv:3 : pool is needed",
        ),
        (
            lost.replace("space:i2", ""),
            "payments.csv:3 work: pool must be workspace:<id>",
        ),
        (
            lost.replace("pi_", "\"pi_"),
            "payments.csv:3 workspace:i2: has a quote that is not",
        ),
        (
            lost.replace(",500", ""),
            "payments.csv:3 workspace:i2: has 5 cells, the header 6",
        ),
        (
            lost.replace("usd", &"x".repeat(70_000)),
            "payments.csv:3 workspace:i2: is longer than",
        ),
    ];
    let next = "workspace:t,pi_next,500,2026-01-01,,";
    for (line, reason) in broken {
        let (app, folder) = moving().await;
        folder.write("payments.csv", &format!("{PAYMENTS}{line}\n{next}\n"));
        for more in [&["--at", AT, "--dry-run"][..], &["--at", AT]] {
            let (code, printed) = import(&app, &folder, more).await;
            assert_eq!(code, Some(1), "{printed}");
            assert_bad(&printed, &[reason]);
            let counts = ["imported", "refused", "held_back", "payments"];
            let counts = counts.map(|name| printed[name].as_u64());
            assert_eq!(counts, [Some(0), Some(3), Some(1), Some(0)], "{printed}");
            assert_eq!(everything(&app).await, "0 0 0 0 0");
        }
        let good = lost.replace("workspace:i2", "instance:i");
        folder.write("payments.csv", &format!("{PAYMENTS}{good}\n{next}\n"));
        let (code, printed) = import(&app, &folder, &["--at", AT]).await;
        assert_eq!(code, Some(0), "{printed}");
        assert_eq!(
            (&printed["imported"], &printed["payments"]),
            (&json!(3), &json!(3))
        );
        for (pool, reference) in [("instance:i", "pi_lost"), ("workspace:t", "pi_next")] {
            let body = json!({"credits": 500, "payment_reference": reference});
            app.book(&format!("{pool}/purchases"), body)
                .await
                .expect(200);
        }
        app.verify().await;
    }
}

#[tokio::test]
async fn a_line_of_usage_whose_pool_is_not_known_holds_everything_back_too() {
    let (app, folder) = moving().await;
    let usage = "pool,user_id,monthly\nworkspace:nobody,u,1\n,u,1\n";
    folder.write("usage.csv", usage);
    let (code, printed) = import(&app, &folder, &["--at", AT]).await;
    assert_eq!(code, Some(1), "{printed}");
    assert_bad(
        &printed,
        &[
            "usage.csv:2 workspace:nobody: pool is in no line of the pools",
            "usage.csv:3 : pool is needed",
        ],
    );
    assert_eq!(everything(&app).await, "0 0 0 0 0");
    folder.write("usage.csv", "pool,user_id,monthly\nworkspace:w,u,1\n");
    let (code, printed) = import(&app, &folder, &["--at", AT]).await;
    assert_eq!(code, Some(0), "{printed}");
}

#[tokio::test]
async fn a_forgotten_instant_is_not_kept_where_everything_was_refused() {
    let (app, folder) = moving().await;
    let (code, printed) = import(&app, &folder, &[]).await;
    assert_eq!(code, Some(1), "{printed}");
    assert_eq!(
        (&printed["imported"], &printed["refused"]),
        (&json!(0), &json!(3))
    );
    let (code, printed) = import(&app, &folder, &["--at", AT]).await;
    assert_eq!(code, Some(0), "{printed}");
    assert_eq!(
        (&printed["imported"], &printed["resumed"]),
        (&json!(3), &json!(false))
    );
    // Now it is kept.
    let (code, printed) = import(&app, &folder, &[]).await;
    assert_eq!((code, &printed["already_there"]), (Some(0), &json!(3)));
    let (code, printed) = import(&app, &folder, &["--at", "2026-02-11T12:00:00Z"]).await;
    assert_eq!(code, Some(2), "{printed}");
}

#[tokio::test]
async fn a_claim_that_another_run_or_channel_made_is_never_given_up() {
    let (app, folder) = moving().await;
    let tenant = TenantId::from(app.tenant.parse::<Uuid>().expect("an id"));
    let reference = "pi_old".parse().expect("a reference");
    let pool = PoolId::of(tenant, &"workspace:w".parse().expect("a name"));
    let statement = format!(
        "INSERT INTO payment_claims VALUES ('{tenant}', 'pi_old', '{}', 50000, '{}', now())",
        pool.uuid(),
        PurchaseId::of_imported(tenant, &reference).uuid(),
    );
    let mut connection = app.database.connect().await;
    connection
        .execute(sqlx::AssertSqlSafe(statement))
        .await
        .expect("it is claimed");
    // More was spent than the pool says.
    folder.write("usage.csv", "pool,monthly\nworkspace:w,3051\n");
    let mine = "workspace:w,pi_new,500,2026-01-01,,\n";
    folder.write("payments.csv", &format!("{PAYMENTS}{mine}"));
    let (code, printed) = import(&app, &folder, &["--at", AT]).await;
    assert_eq!(
        (code, &printed["refused"]),
        (Some(1), &json!(1)),
        "{printed}"
    );
    let claims = "SELECT payment_reference FROM payment_claims ORDER BY 1";
    assert_eq!(rows(&app.database.url, claims).await, ["pi_old"]);

    // A pool that was made otherwise in the meantime gets no claim at all.
    app.put_pool("workspace:w", json!({"plan": "pro"}))
        .await
        .expect(201);
    let (code, printed) = import(&app, &folder, &["--at", AT]).await;
    assert_eq!(
        (code, &printed["refused"]),
        (Some(1), &json!(1)),
        "{printed}"
    );
    assert_bad(
        &printed,
        &["pools.csv:2 workspace:w: pool is there already"],
    );
    assert_eq!(rows(&app.database.url, claims).await, ["pi_old"]);
}

#[tokio::test]
async fn a_pool_that_the_service_fails_on_stops_no_other() {
    let (app, folder) = moving().await;
    let making = "
        CREATE FUNCTION break_it() RETURNS trigger LANGUAGE plpgsql
            AS $$ BEGIN RAISE EXCEPTION 'broken'; END $$;
        CREATE TRIGGER broken BEFORE INSERT ON pools FOR EACH ROW
            WHEN (NEW.name = 'workspace:w') EXECUTE FUNCTION break_it()
    ";
    let mut connection = app.database.connect().await;
    connection.execute(making).await.expect("it is broken");
    let (code, printed) = import(&app, &folder, &["--at", AT]).await;
    assert_eq!(code, Some(1), "{printed}");
    assert_bad(
        &printed,
        &["pools.csv:2 workspace:w: the service failed on it; its log says why"],
    );
    assert_eq!(
        (&printed["imported"], &printed["refused"]),
        (&json!(2), &json!(1))
    );
    connection
        .execute("DROP TRIGGER broken ON pools")
        .await
        .expect("it is mended");
    let (code, printed) = import(&app, &folder, &["--at", AT]).await;
    assert_eq!(code, Some(0), "{printed}");
    app.verify().await;
}

#[tokio::test]
async fn what_was_done_is_told_when_the_database_goes_away_for_good() {
    let (app, folder) = moving().await;
    let making = "
        CREATE FUNCTION go_away() RETURNS trigger LANGUAGE plpgsql
            AS $$ BEGIN RAISE EXCEPTION 'away' USING ERRCODE = '57P01'; END $$;
        CREATE TRIGGER away BEFORE INSERT ON pools FOR EACH ROW
            WHEN (NEW.name = 'workspace:w') EXECUTE FUNCTION go_away()
    ";
    let mut connection = app.database.connect().await;
    connection.execute(making).await.expect("it goes away");
    let (code, printed) = import(&app, &folder, &["--at", AT]).await;
    assert_eq!(code, Some(1), "{printed}");
    let printed = printed.as_str().expect("JSON and a message");
    for said in [
        r#""imported":2"#,
        r#""refused":1"#,
        "is perhaps not booked: the database was away for too long",
        "run the same again, it goes on from there",
    ] {
        assert!(printed.contains(said), "{printed}");
    }
    // What was claimed for a pool of which nobody knows stays claimed.
    let claims = "SELECT payment_reference FROM payment_claims";
    assert_eq!(rows(&app.database.url, claims).await, ["pi_old"]);
    let mending = connection.execute("DROP TRIGGER away ON pools").await;
    mending.expect("it comes back");
    let (code, printed) = import(&app, &folder, &["--at", AT]).await;
    assert_eq!(code, Some(0), "{printed}");
    app.verify().await;
}

#[tokio::test]
async fn a_pool_has_no_more_payments_than_one_commit_can_take() {
    let (app, folder) = moving().await;
    let mut payments = "pool,payment_reference,credits,paid_at\n".to_owned();
    for (pool, count) in [("most", 2_000), ("more", 2_001)] {
        for number in 0..count {
            payments += &format!("workspace:{pool},pi_{pool}_{number},5,2026-01-01\n");
        }
    }
    let long = "x".repeat(9_000);
    payments += &format!("workspace:long,{long},5,2026-01-01\n");
    folder.write("payments.csv", &payments);
    let names = ["most", "more", "long"];
    let pools: String = names.iter().map(|name| plain(name)).collect();
    folder.write("pools.csv", &format!("{PLAIN}{pools}"));
    let mut usage = "pool,user_id,monthly\n".to_owned();
    for number in 0..20_000 {
        usage += &format!("workspace:most,u-{number},\n");
    }
    folder.write("usage.csv", &usage);
    let (code, printed) = import(&app, &folder, &["--at", AT]).await;
    assert_eq!(code, Some(1), "{printed}");
    assert_bad(
        &printed,
        &[
            "payments.csv:4003 workspace:long: payment_reference must be",
            "pools.csv:3 workspace:more: has 2001 payments, more than 2000",
        ],
    );
    assert_eq!(
        (&printed["imported"], &printed["payments"]),
        (&json!(1), &json!(2_000))
    );
    assert!(there(&app, "workspace:most").await);
}

#[tokio::test]
async fn the_first_of_many_lines_of_a_pool_is_told_with_its_twin() {
    let (app, folder) = moving().await;
    let header = POOLS.lines().next().expect("a header");
    let row = POOLS.lines().nth(1).expect("a pool");
    folder.write(
        "pools.csv",
        &format!("{header}\n{}", format!("{row}\n").repeat(3)),
    );
    folder.write("usage.csv", "pool,monthly\nworkspace:w,x\n");
    let (code, printed) = import(&app, &folder, &["--at", AT]).await;
    assert_eq!(code, Some(1), "{printed}");
    assert_bad(
        &printed,
        &[
            "pools.csv:2 workspace:w: pool is in line 3, too",
            "pools.csv:3 workspace:w: pool is in line 2, too",
            "pools.csv:4 workspace:w: pool is in line 2, too",
            "usage.csv:2 workspace:w: monthly must be a number",
        ],
    );
}
