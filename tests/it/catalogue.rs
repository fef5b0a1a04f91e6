//! Plans, operations and add-on terms, and what their changes mean for pools.

use serde_json::{Value, json};

use crate::support::{Reply, TestApp};

const POOL: &str = "workspace:a";

async fn put_plan(app: &TestApp, code: &str, body: Value) -> Reply {
    app.put(&format!("/v1/plans/{code}"))
        .json(&body)
        .send()
        .await
}

fn per_builder(credits: u32) -> Value {
    json!({"name": "Pro", "allowance": {"per": "builder", "credits": credits}})
}

async fn granted(app: &TestApp) -> Value {
    app.balance(POOL).await["monthly"]["granted"].clone()
}

/// Of a plan: code, who is granted how much, add-ons or not, denomination, aliases.
type PlanRow = (&'static str, &'static str, Value, bool, Value, Value);

fn default_plans() -> [PlanRow; 9] {
    [
        ("basic", "pool", json!(100), false, json!(1), json!([])),
        (
            "enterprise",
            "custom",
            json!(null),
            true,
            json!(1),
            json!([]),
        ),
        ("free", "pool", json!(100), false, json!(1), json!([])),
        (
            "legacy_free",
            "pool",
            json!(30),
            false,
            json!(0.1),
            json!([]),
        ),
        (
            "legacy_pro",
            "builder",
            json!(200),
            false,
            json!(0.1),
            json!([]),
        ),
        (
            "legacy_team",
            "builder",
            json!(500),
            false,
            json!(0.1),
            json!([]),
        ),
        (
            "pro",
            "builder",
            json!(800),
            true,
            json!(1),
            json!(["flexible"]),
        ),
        (
            "team",
            "builder",
            json!(2000),
            true,
            json!(1),
            json!(["business"]),
        ),
        ("trial", "pool", json!(100), false, json!(1), json!([])),
    ]
}

#[tokio::test]
async fn a_tenant_starts_with_the_default_catalogue() {
    let app = TestApp::start().await;
    let plans = app.get("/v1/plans").send().await.expect(200).body;
    let rows = default_plans();
    assert_eq!(plans["data"].as_array().map(Vec::len), Some(rows.len()));
    for (plan, (code, per, credits, addons, denomination, aliases)) in
        plans["data"].as_array().into_iter().flatten().zip(rows)
    {
        assert_eq!(plan["code"], code);
        assert_eq!(
            plan["allowance"],
            json!({"per": per, "credits": credits}),
            "{code}"
        );
        assert_eq!(plan["addons"], addons, "{code}");
        assert_eq!(plan["denomination"], denomination, "{code}");
        assert_eq!(plan["legacy_prices"], code.starts_with("legacy"), "{code}");
        assert_eq!(
            (&plan["aliases"], &plan["upcoming"]),
            (&aliases, &json!([])),
            "{code}"
        );
    }
    let operations = app.get("/v1/operations").send().await.expect(200).body;
    assert_eq!(operations["data"].as_array().map(Vec::len), Some(8));
    let terms = app.get("/v1/addon-terms").send().await.expect(200).body;
    let expected = json!({
        "step": 100, "minimum": 100, "price_cents_per_step": 100, "currency": "usd",
        "validity_months": 12,
    });
    assert_eq!(terms, expected);
}

#[tokio::test]
async fn lists_go_page_by_page_by_code() {
    let app = TestApp::start().await;
    for path in ["/v1/plans", "/v1/operations"] {
        let all = app.get(path).send().await.expect(200).body["data"].clone();
        let mut seen = Vec::new();
        let mut query = "?limit=3".to_owned();
        loop {
            let page = app
                .get(&format!("{path}{query}"))
                .send()
                .await
                .expect(200)
                .body;
            seen.extend(page["data"].as_array().cloned().unwrap_or_default());
            let Some(cursor) = page["next_cursor"].as_str() else {
                break;
            };
            query = format!("?limit=3&cursor={cursor}");
        }
        assert_eq!(json!(seen), all, "{path}");
    }
}

#[tokio::test]
async fn a_repeated_put_of_a_plan_adds_no_version() {
    let app = TestApp::start().await;
    let body = json!({
        "name": "Gold", "allowance": {"per": "pool", "credits": 12.5}, "denomination": 0.1,
        "addons": false, "legacy_prices": false, "aliases": ["golden"],
    });
    let made = put_plan(&app, "gold", body.clone()).await.expect(201).body;
    assert_eq!(
        (&made["version"], &made["denomination"]),
        (&json!(1), &json!(0.1))
    );
    app.pass(chrono::TimeDelta::days(1));
    let again = put_plan(&app, "gold", body.clone()).await.expect(200).body;
    assert_eq!(again, made);
    let mut dearer = body;
    dearer["allowance"]["credits"] = json!(13);
    let changed = put_plan(&app, "gold", dearer).await.expect(200).body;
    assert_eq!(changed["version"], json!(2));
    assert_eq!(changed["effective_at"], "2026-02-01T10:00:00.000Z");
}

#[tokio::test]
async fn an_edit_never_changes_a_running_cycle() {
    let app = TestApp::start().await;
    app.put_pool(POOL, json!({"plan": "pro"})).await.expect(201);
    app.pass(chrono::TimeDelta::days(1));
    put_plan(&app, "pro", per_builder(900)).await.expect(200);
    assert_eq!(granted(&app).await, json!(800));
    app.at("2026-02-28T10:00:00Z");
    assert_eq!(granted(&app).await, json!(900));
}

#[tokio::test]
async fn a_cycle_uses_the_version_in_force_at_its_start_however_late_it_is_booked() {
    let app = TestApp::start().await;
    app.put_pool(POOL, json!({"plan": "pro"})).await.expect(201);
    let mut later = per_builder(1000);
    later["effective_at"] = json!("2026-03-01T00:00:00+00:00");
    let shown = put_plan(&app, "pro", later).await.expect(200).body;
    assert_eq!(shown["allowance"]["credits"], json!(800));
    assert_eq!(shown["upcoming"][0]["allowance"]["credits"], json!(1000));
    assert_eq!(
        shown["upcoming"][0]["effective_at"],
        "2026-03-01T00:00:00.000Z"
    );

    app.at("2026-04-01T00:00:00Z");
    app.sweep().await;
    let path = format!("/v1/pools/{POOL}/transactions?kind=renewal");
    let renewals = app.get(&path).send().await.expect(200).body;
    let grants: Vec<_> = renewals["data"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|entry| entry["balance_after"]["monthly"]["granted"].clone())
        .collect();
    assert_eq!(
        grants,
        [json!(1000), json!(800)],
        "Mar 31 newest first, then Feb 28"
    );
    let plans = app.get("/v1/plans?limit=200").send().await.expect(200).body;
    let pro = plans["data"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|plan| plan["code"] == "pro");
    assert_eq!(pro.map(|plan| &plan["upcoming"]), Some(&json!([])));
}

#[tokio::test]
async fn a_version_cannot_start_in_the_past() {
    let app = TestApp::start().await;
    let mut body = per_builder(900);
    body["effective_at"] = json!("2026-01-31T09:59:59.999Z");
    let refused = put_plan(&app, "pro", body)
        .await
        .refused(422, "validation_failed");
    assert_eq!(refused.body["errors"][0]["field"], "effective_at");
}

#[tokio::test]
async fn an_alias_means_one_plan_and_may_be_used_for_it() {
    let app = TestApp::start().await;
    let pool = app
        .put_pool(POOL, json!({"plan": "flexible"}))
        .await
        .expect(201);
    assert_eq!(pool.body["plan"], "pro");
    let mut body = per_builder(1);
    body["aliases"] = json!(["business"]);
    let refused = put_plan(&app, "gold", body.clone())
        .await
        .refused(409, "alias_taken");
    assert_eq!(
        (&refused.body["alias"], &refused.body["plan"]),
        (&json!("business"), &json!("team"))
    );
    put_plan(&app, "business", per_builder(1))
        .await
        .refused(409, "alias_taken");
    body["aliases"] = json!(["golden"]);
    put_plan(&app, "gold", body).await.expect(201);
    app.put_pool("workspace:b", json!({"plan": "golden"}))
        .await
        .expect(201);
}

#[tokio::test]
async fn a_fixed_price_is_what_the_operation_costs() {
    let app = TestApp::start().await;
    app.put_pool(POOL, json!({"plan": "pro"})).await.expect(201);
    let operation = json!({"name": "Review", "estimate": 5, "fixed": 3});
    let made = app
        .put("/v1/operations/review")
        .json(&operation)
        .send()
        .await
        .expect(201);
    let expected = json!({
        "code": "review", "name": "Review", "estimate": 5, "fixed": 3, "legacy_fixed": null,
    });
    assert_eq!(made.body, expected);
    let again = app
        .put("/v1/operations/review")
        .json(&operation)
        .send()
        .await;
    again.expect(200);
    let debits = format!("/v1/pools/{POOL}/debits");
    let debit = app
        .post(&debits)
        .json(&json!({"operation": "review"}))
        .send()
        .await;
    assert_eq!(debit.expect(201).body["credits"], json!(3));

    let free = json!({"name": "Review", "estimate": 5});
    app.put("/v1/operations/review")
        .json(&free)
        .send()
        .await
        .expect(200);
    let debit = app
        .post(&debits)
        .json(&json!({"operation": "review"}))
        .send()
        .await;
    debit.refused(422, "validation_failed");
}

#[tokio::test]
async fn add_on_terms_hold_for_purchases() {
    let app = TestApp::start().await;
    app.put_pool(POOL, json!({"plan": "pro"})).await.expect(201);
    let terms = json!({"step": 50, "minimum": 150, "validity_months": 1});
    let changed = app
        .put("/v1/addon-terms")
        .json(&terms)
        .send()
        .await
        .expect(200);
    assert_eq!(changed.body["price_cents_per_step"], json!(100));
    let path = format!("/v1/pools/{POOL}/purchases");
    let buy = |credits: u32| {
        let reference = format!("pi_{credits}");
        app.post(&path)
            .json(&json!({"credits": credits, "payment_reference": reference}))
    };
    let refused = buy(100).send().await.refused(422, "invalid_quantity");
    assert_eq!(
        (&refused.body["minimum"], &refused.body["step"]),
        (&json!(150), &json!(50))
    );
    let bought = buy(150).send().await.expect(201);
    assert_eq!(bought.body["expires_at"], "2026-02-28T10:00:00.000Z");
}

#[tokio::test]
async fn what_a_tenant_sells_is_its_own() {
    let app = TestApp::start().await;
    let stranger = app.stranger().await;
    put_plan(&app, "secret", per_builder(1)).await.expect(201);
    let seen = stranger.get("/v1/plans?limit=200").send().await.expect(200);
    assert!(!seen.text.contains("secret"), "{}", seen.text);
    put_plan(&app, "secret", per_builder(1)).await.expect(200);
}

#[tokio::test]
async fn parallel_puts_of_a_plan_are_each_a_version() {
    let app = TestApp::start().await;
    let puts = (1..=20).map(|credits| put_plan(&app, "pro", per_builder(credits)));
    let replies = futures_util::future::join_all(puts).await;
    let mut versions: Vec<i64> = replies
        .into_iter()
        .filter_map(|reply| reply.expect(200).body["version"].as_i64())
        .collect();
    versions.sort_unstable();
    assert_eq!(versions, (2..=21).collect::<Vec<_>>());
}
