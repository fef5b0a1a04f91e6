//! Tenants and their settings, as the operator sees them.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Reply, TestApp};

async fn settings(app: &TestApp, settings: Value) -> Reply {
    let path = format!("/v1/tenants/{}", app.tenant);
    let body = json!({"settings": settings});
    app.operator
        .call(Method::PATCH, &path)
        .json(&body)
        .send()
        .await
}

#[tokio::test]
async fn a_tenant_is_made_read_and_changed() {
    let app = TestApp::start().await;
    let body = json!({"name": "Acme", "mode": "sandbox"});
    let made = app
        .operator
        .post("/v1/tenants")
        .json(&body)
        .send()
        .await
        .expect(201);
    let id = made.body["id"].as_str().expect("an id");
    let expected = json!({
        "id": id, "name": "Acme", "mode": "sandbox",
        "settings": {"auto_provision": null, "max_debit_credits": 1_000_000_000},
        "created_at": "2026-01-31T10:00:00.000Z",
    });
    assert_eq!(made.body, expected);
    let path = format!("/v1/tenants/{id}");
    assert_eq!(
        app.operator.get(&path).send().await.expect(200).body,
        expected
    );

    let body = json!({"name": "Acme Inc", "settings": {"max_debit_credits": 12.5}});
    let changed = app
        .operator
        .call(Method::PATCH, &path)
        .json(&body)
        .send()
        .await
        .expect(200);
    assert_eq!(changed.body["name"], "Acme Inc");
    assert_eq!(changed.body["settings"]["max_debit_credits"], json!(12.5));
    assert_eq!(app.operator.get(&path).send().await.body, changed.body);
}

#[tokio::test]
async fn tenants_are_listed_newest_first_page_by_page() {
    let app = TestApp::start().await;
    for _ in 0..4 {
        app.pass(chrono::TimeDelta::seconds(1));
        app.operator.new_tenant("live").await;
    }
    let mut seen = Vec::new();
    let mut path = "/v1/tenants?limit=2".to_owned();
    loop {
        let page = app.operator.get(&path).send().await.expect(200).body;
        let data = page["data"].as_array().expect("a list");
        seen.extend(
            data.iter()
                .map(|it| it["created_at"].as_str().expect("a time").to_owned()),
        );
        let Some(cursor) = page["next_cursor"].as_str() else {
            break;
        };
        assert_eq!(data.len(), 2);
        path = format!("/v1/tenants?limit=2&cursor={cursor}");
    }
    assert_eq!(seen.len(), 5);
    assert!(seen.is_sorted_by(|newer, older| newer >= older), "{seen:?}");
}

#[tokio::test]
async fn what_is_wrong_with_a_tenant_is_named() {
    let app = TestApp::start().await;
    let rows = [
        (json!({}), vec!["name", "mode"]),
        (json!({"name": "", "mode": "test"}), vec!["name", "mode"]),
        (
            json!({"name": "a", "mode": "live", "plan": "pro"}),
            vec!["plan"],
        ),
    ];
    for (body, fields) in rows {
        let refused = app.operator.post("/v1/tenants").json(&body).send().await;
        let refused = refused.refused(422, "validation_failed");
        let named: Vec<_> = (0..fields.len())
            .map(|n| refused.body["errors"][n]["field"].clone())
            .collect();
        assert_eq!(named, fields, "{body}");
    }
    let nowhere = "/v1/tenants/00000000-0000-0000-0000-000000000000";
    app.operator
        .get(nowhere)
        .send()
        .await
        .refused(404, "not_found");
    let call = app.operator.call(Method::PATCH, nowhere).json(&json!({}));
    call.send().await.refused(404, "not_found");
    app.operator
        .get("/v1/tenants/7")
        .send()
        .await
        .refused(404, "not_found");
}

#[tokio::test]
async fn unknown_pools_are_made_on_the_plans_of_auto_provision() {
    let app = TestApp::start().await;
    let read = app.get("/v1/pools/workspace:new/balance");
    read.send().await.refused(404, "pool_not_found");

    let plans = json!({"auto_provision": {"workspace": "flexible"}});
    let changed = settings(&app, plans).await.expect(200);
    let expected = json!({"workspace": "pro", "instance": null});
    assert_eq!(changed.body["settings"]["auto_provision"], expected);

    let balance = app.balance("workspace:new").await;
    assert_eq!(
        (&balance["available"], &balance["version"]),
        (&json!(800), &json!(0))
    );
    assert_eq!(app.entries().await, 0);
    let debit = app.debit("workspace:new", json!(1)).await.expect(201);
    assert_eq!(debit.body["balance"]["available"], json!(799));
    let instance = app.get("/v1/pools/instance:new/balance");
    instance.send().await.refused(404, "pool_not_found");

    settings(&app, json!({"auto_provision": null}))
        .await
        .expect(200);
    let read = app.get("/v1/pools/workspace:newer/balance");
    read.send().await.refused(404, "pool_not_found");
}

#[tokio::test]
async fn auto_provision_takes_plans_that_say_what_they_grant() {
    let app = TestApp::start().await;
    for plan in ["gold", "enterprise", "NO"] {
        let refused = settings(&app, json!({"auto_provision": {"instance": plan}})).await;
        let refused = refused.refused(422, "validation_failed");
        let field = &refused.body["errors"][0]["field"];
        assert_eq!(field, "settings.auto_provision.instance");
    }
    settings(&app, json!({"auto_provision": {"workspace": "team"}}))
        .await
        .expect(200);
    let custom = json!({"name": "Team", "allowance": {"per": "custom"}});
    let refused = app.put("/v1/plans/team").json(&custom).send().await;
    let refused = refused.refused(422, "validation_failed");
    assert_eq!(refused.body["errors"][0]["field"], "allowance.per");
}

#[tokio::test]
async fn one_debit_takes_no_more_than_the_tenant_allows() {
    let app = TestApp::start().await;
    app.put_pool("workspace:a", json!({"plan": "pro"}))
        .await
        .expect(201);
    settings(&app, json!({"max_debit_credits": 50}))
        .await
        .expect(200);
    app.debit("workspace:a", json!(50)).await.expect(201);
    let refused = app
        .debit("workspace:a", json!(51))
        .await
        .refused(422, "debit_too_large");
    assert_eq!(refused.body["maximum"], json!(50));
    settings(&app, json!({"max_debit_credits": null}))
        .await
        .expect(200);
    app.debit("workspace:a", json!(51)).await.expect(201);
}
