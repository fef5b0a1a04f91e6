//! The document and its page.

use serde_json::{Value, json};

use crate::support::TestApp;

#[tokio::test]
async fn the_document_is_served_complete() {
    let app = TestApp::start().await;
    let reply = app
        .with_key("")
        .get("/openapi.json")
        .send()
        .await
        .expect(200);
    assert_eq!(reply.header("content-type"), Some("application/json"));
    assert_eq!(reply.body["openapi"], "3.1.0");
    assert_eq!(reply.body["info"]["title"], "credit-ledger");
    let schemes = &reply.body["components"]["securitySchemes"];
    assert_eq!(
        schemes["bearer"],
        json!({"type": "http", "scheme": "bearer"})
    );
    assert_eq!(schemes["api_key"]["name"], "X-Api-Key");
}

#[tokio::test]
async fn answers_have_the_members_that_the_document_says() {
    let app = TestApp::start().await;
    let document = app.get("/openapi.json").send().await.expect(200).body;
    let pool = app
        .put_pool("workspace:w", json!({"plan": "pro"}))
        .await
        .expect(201)
        .body;
    let debit = app.debit("workspace:w", json!(7)).await.expect(201).body;
    let id = debit["id"].as_str().expect("an id");
    let refund = app
        .book(&format!("workspace:w/debits/{id}/refunds"), json!({}))
        .await
        .expect(201)
        .body;
    let hold = json!({"credits": 7, "run_id": "r"});
    let hold = app.book("workspace:w/holds", hold).await.expect(201).body;
    let id = hold["id"].as_str().expect("an id");
    app.pass(chrono::TimeDelta::hours(1));
    let late = json!({"credits": 7, "mode": "settle"});
    let late = app
        .book(&format!("workspace:w/holds/{id}/capture"), late)
        .await
        .expect(201)
        .body;
    let run = app
        .book("workspace:w/runs/r/refunds", json!({}))
        .await
        .expect(201)
        .body;
    let buy = json!({"credits": 100, "payment_reference": "pi_1"});
    let path = "/v1/pools/workspace:w/purchases";
    let purchase = app.post(path).json(&buy).send().await.expect(201).body;
    let list = app.get(path).send().await.expect(200).body;
    let journal = app
        .get("/v1/pools/workspace:w/transactions")
        .send()
        .await
        .expect(200)
        .body;
    let short = app.debit("workspace:w", json!(9999)).await.expect(402).body;
    let balance = app.balance("workspace:w").await;
    let tooljet = |what: &str| app.get(&format!("/api/ai/organizations/w/{what}")).send();
    let (left, usage) = (tooljet("balance").await.body, tooljet("usage").await.body);
    for (schema, value) in [
        ("Pool", &pool),
        ("Debit", &debit),
        ("Debit", &late),
        ("Hold", &hold),
        ("Refund", &refund),
        ("RunRefund", &run),
        ("BookedPurchase", &purchase),
        ("ListedPurchase", &list["data"][0]),
        ("Transaction", &journal["data"][0]),
        ("Balance", &balance),
        ("ToolJetBalance", &left),
        ("ToolJetUsage", &usage),
        ("Problem", &short),
    ] {
        fits(&document, schema, value);
    }
}

#[tokio::test]
async fn answers_about_licences_have_the_members_that_the_document_says() {
    let app = TestApp::start().await;
    let document = app.get("/openapi.json").send().await.expect(200).body;
    let order = json!({"customer_id": "acme", "type": "paid", "plan": "pro"});
    let issued = app.post("/v1/licenses").json(&order).send().await;
    let issued = issued.expect(201).body;
    app.put_pool("instance:acme", json!({"plan": "basic"}))
        .await
        .expect(201);
    let key = issued["key"].as_str().expect("a key");
    let applied = crate::licenses::apply(&app, "instance:acme", key).await;
    let applied = applied.expect(200).body;
    let keys = app.get("/v1/licenses/keys").send().await.expect(200).body;
    fits(&document, "IssuedLicense", &issued);
    fits(&document, "PoolLicense", &applied);
    fits(&document, "SigningKeys", &keys);
    fits(&document, "SigningKey", &keys["keys"][0]);
    fits(&document, "Pool", &app.read("instance:acme").await);
}

/// Checks that a value has the members that its schema says, and no others.
#[track_caller]
fn fits(document: &Value, schema: &str, value: &Value) {
    let schema = &document["components"]["schemas"][schema];
    let (known, required) = members(document, schema);
    for name in value.as_object().expect("an object").keys() {
        assert!(known.contains(name), "{name} is not in {schema}");
    }
    for name in required {
        assert!(value.get(&name).is_some(), "{name} is missing in {value}");
    }
}

/// The members that a schema knows, and those it requires.
fn members(document: &Value, schema: &Value) -> (Vec<String>, Vec<String>) {
    if let Some(target) = schema["$ref"].as_str() {
        let schema = document
            .pointer(target.trim_start_matches('#'))
            .expect("the schema");
        return members(document, schema);
    }
    let (mut known, mut required) = (Vec::new(), Vec::new());
    for part in schema["allOf"].as_array().into_iter().flatten() {
        let (more_known, more_required) = members(document, part);
        known.extend(more_known);
        required.extend(more_required);
    }
    known.extend(
        schema["properties"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|it| it.0.clone()),
    );
    let names = schema["required"].as_array().into_iter().flatten();
    required.extend(names.filter_map(|name| name.as_str().map(str::to_owned)));
    (known, required)
}

#[tokio::test]
async fn the_page_needs_nothing_from_elsewhere() {
    let app = TestApp::start().await;
    let page = app.with_key("").get("/docs").send().await.expect(200);
    assert!(
        page.header("content-type")
            .is_some_and(|it| it.starts_with("text/html"))
    );
    let mut asked = 0;
    for attribute in ["src=\"", "href=\""] {
        for rest in page.text.split(attribute).skip(1) {
            let target = rest.split('"').next().expect("a target");
            assert!(!target.contains("//"), "{target} is elsewhere");
            if target == "/docs/page/" {
                continue; // What the others are relative to.
            }
            let path = format!("/docs/page/{}", target.trim_start_matches("./"));
            app.get(&path).send().await.expect(200);
            asked += 1;
        }
    }
    assert!(asked >= 3, "scripts and styles are served");
    let script = app
        .get("/docs/page/swagger-initializer.js")
        .send()
        .await
        .expect(200)
        .text;
    assert!(script.contains("/openapi.json") && !script.contains("https://"));
    app.get("/docs/page/nothing.js")
        .send()
        .await
        .refused(404, "not_found");
}
