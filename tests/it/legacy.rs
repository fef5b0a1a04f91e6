//! The plans of before September 2025 and those of after: what they grant, what operations cost.

use serde_json::{Value, json};

use crate::support::TestApp;

/// Makes a pool for each row and compares what it was granted.
async fn grants(app: &TestApp, rows: &[(&str, Value, u64, bool)]) {
    for (row, (plan, terms, granted, addons)) in rows.iter().enumerate() {
        let kind = if *plan == "basic" {
            "instance"
        } else {
            "workspace"
        };
        let pool = format!("{kind}:{plan}-{row}");
        let mut body = terms.clone();
        body["plan"] = json!(plan);
        let made = app.put_pool(&pool, body).await.expect(201).body;
        let monthly = &made["balance"]["monthly"];
        assert_eq!(monthly["granted"], *granted, "{plan} {terms}");
        assert_eq!(made["balance"]["available"], *granted, "{plan} {terms}");
        let purchase = json!({"credits": 100, "payment_reference": format!("pi_{plan}_{row}")});
        let bought = app.book(&format!("{pool}/purchases"), purchase).await;
        match addons {
            true => drop(bought.expect(201)),
            false => drop(bought.refused(403, "addons_not_allowed")),
        }
    }
}

#[tokio::test]
async fn the_new_plans_grant_what_their_table_says() {
    let app = TestApp::start().await;
    let builders = |count: u32| json!({"builders": count});
    let custom = json!({"monthly_allowance": 12_345});
    let unlimited = json!({"builders": "Unlimited", "monthly_allowance": 50_000});
    let rows = [
        ("free", json!({}), 100, false),
        ("free", builders(7), 100, false),
        ("basic", json!({}), 100, false),
        ("trial", json!({}), 100, false),
        ("pro", builders(1), 800, true),
        ("pro", builders(5), 4_000, true),
        ("team", builders(1), 2_000, true),
        ("team", builders(12), 24_000, true),
        ("enterprise", custom, 12_345, true),
        ("team", unlimited, 50_000, true),
    ];
    grants(&app, &rows).await;
    let flexible = json!({"plan": "flexible", "builders": 2});
    let aliased = app.put_pool("workspace:alias", flexible).await.expect(201);
    assert_eq!(aliased.body["plan"], "pro");
    let business = json!({"plan": "business", "builders": 2});
    let aliased = app.put_pool("workspace:other", business).await.expect(201);
    assert_eq!(aliased.body["plan"], "team");
}

#[tokio::test]
async fn the_legacy_plans_grant_what_their_table_says_and_sell_nothing() {
    let app = TestApp::start().await;
    let builders = |count: u32| json!({"builders": count});
    let rows = [
        ("legacy_free", json!({}), 30, false),
        ("legacy_free", builders(4), 30, false),
        ("legacy_pro", builders(1), 200, false),
        ("legacy_pro", builders(3), 600, false),
        ("legacy_team", builders(1), 500, false),
        ("legacy_team", builders(3), 1_500, false),
    ];
    grants(&app, &rows).await;
}

#[tokio::test]
async fn operations_cost_ten_or_three_on_legacy_plans_and_what_they_cost_on_the_new_ones() {
    let app = TestApp::start().await;
    let put = |plan: &str| json!({"plan": plan, "builders": 10});
    app.put_pool("workspace:old", put("legacy_pro"))
        .await
        .expect(201);
    app.put_pool("workspace:new", put("pro")).await.expect(201);
    let rows = [
        ("app_generation", 10),
        ("add_feature", 3),
        ("modify_layout", 3),
        ("modify_query", 3),
        ("debug_autofix", 3),
        ("docs_assistant", 3),
        ("sql_generation", 3),
        ("custom_code", 3),
    ];
    for (operation, price) in rows {
        let named = json!({"operation": operation});
        let old = app
            .book("workspace:old/debits", named.clone())
            .await
            .expect(201);
        assert_eq!(old.body["credits"], price, "{operation}");
        let other = json!({"operation": operation, "credits": price + 1});
        let other = app.book("workspace:old/debits", other).await;
        assert_eq!(other.refused(422, "price_is_fixed").body["price"], price);
        let new = app.book("workspace:new/debits", named).await;
        new.refused(422, "validation_failed");
        let varies = json!({"operation": operation, "credits": 1});
        app.book("workspace:new/debits", varies).await.expect(201);
    }
}

#[tokio::test]
async fn the_least_debit_is_a_tenth_on_legacy_plans_and_one_on_the_new_ones() {
    let app = TestApp::start().await;
    for (pool, plan) in [("workspace:old", "legacy_free"), ("workspace:new", "free")] {
        app.put_pool(pool, json!({"plan": plan})).await.expect(201);
    }
    let tenth = app.debit("workspace:old", json!(0.1)).await.expect(201);
    assert_eq!(tenth.body["balance"]["available"], json!(29.9));
    let finer = app.debit("workspace:old", json!(0.15)).await;
    finer.refused(422, "not_a_multiple");
    let tenth = app.debit("workspace:new", json!(0.1)).await;
    tenth.refused(422, "not_a_multiple");
    app.debit("workspace:new", json!(1)).await.expect(201);
}
