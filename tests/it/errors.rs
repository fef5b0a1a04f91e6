//! What a client sees of each error: its status, its code, its members, its headers.

use std::collections::BTreeSet;

use credit_ledger::clock::ManualClock;
use credit_ledger::http::codes;
use credit_ledger::store::{KeySecret, TenantMode};
use reqwest::Method;
use serde_json::json;

use crate::promo_codes::order;
use crate::support::client::Call;
use crate::support::stripe::Mood;
use crate::support::{self, Client, Reply, TestApp};
use crate::{license_keys, licenses};

const POOL: &str = "/v1/pools/workspace:a";

/// Codes that no request to a healthy service brings about; `faults` and `replicas` look for some.
const BEYOND_REACH: [&str; 3] = ["not_ready", "overloaded", "request_timeout"];

/// Checks that a reply is a problem that keeps every promise of the document.
#[track_caller]
fn check(reply: &Reply) -> String {
    let row = codes::ALL.iter().find(|row| row.code == reply.code());
    let row = row.unwrap_or_else(|| panic!("no code of the table: {}", reply.text));
    assert_eq!(reply.status, row.status.as_u16(), "{}", reply.text);
    assert_eq!(reply.body["status"], reply.status, "{}", reply.text);
    assert_eq!(reply.body["title"], row.title, "{}", reply.text);
    assert_eq!(
        reply.body["type"],
        format!("urn:credit-ledger:problem:{}", row.code)
    );
    assert!(reply.body["detail"].is_string(), "{}", reply.text);
    let request_id = reply.body["request_id"].as_str();
    assert!(
        request_id.is_some() && request_id == reply.header("x-request-id"),
        "{}",
        reply.text
    );
    assert_eq!(
        reply.header("content-type"),
        Some("application/problem+json"),
        "{}",
        reply.text
    );
    for member in row.members {
        assert!(
            reply.body.get(member.name).is_some(),
            "{} of {}",
            member.name,
            reply.text
        );
    }
    assert_eq!(
        reply.header("retry-after").is_some(),
        reply.status == 503,
        "{}",
        reply.text
    );
    assert_eq!(
        reply.header("www-authenticate").is_some(),
        reply.status == 401,
        "{}",
        reply.text
    );
    assert_eq!(
        reply.header("allow").is_some(),
        reply.status == 405,
        "{}",
        reply.text
    );
    row.code.to_owned()
}

fn debit(client: &Client, body: serde_json::Value) -> Call {
    client.post(&format!("{POOL}/debits")).json(&body)
}

fn purchase(client: &Client, pool: &str, body: serde_json::Value) -> Call {
    client
        .post(&format!("/v1/pools/{pool}/purchases"))
        .json(&body)
}

fn adjust(client: &Client, bucket: &str, credits: i64) -> Call {
    let body = json!({"bucket": bucket, "credits": credits, "reason": "a test"});
    client.post(&format!("{POOL}/adjustments")).json(&body)
}

/// Requests that are refused before any pool is looked at.
async fn refused_at_the_door(app: &TestApp) -> Vec<Call> {
    let reader = app.with_scopes(&["balances:read"]).await;
    let taken = json!({
        "name": "Gold", "allowance": {"per": "pool", "credits": 1}, "aliases": ["pro"],
    });
    vec![
        app.with_key("").get("/v1/plans"),
        app.post(&format!("{POOL}/debits")).raw("{\"credits\":NaN}"),
        app.call(Method::POST, &format!("{POOL}/debits"))
            .json(&json!({"credits": 1})),
        debit(&reader, json!({"credits": 1})),
        app.get("/v2/pools"),
        app.delete("/v1/plans"),
        app.post("/v1/balances").raw("x".repeat(2 << 20)),
        app.post("/v1/balances")
            .raw("{}")
            .set("content-type", "text/plain"),
        debit(app, json!({"credits": 1.005})),
        app.get("/v1/pools/workspace:absent/balance"),
        app.put("/v1/plans/gold").json(&taken),
    ]
}

/// Requests that the pool `workspace:a`, on plan `pro` with 700 credits, refuses.
async fn refused_by_the_pool(app: &TestApp) -> Vec<Call> {
    debit(app, json!({"credits": 100}))
        .key("used")
        .send()
        .await
        .expect(201);
    let bought = json!({"credits": 100, "payment_reference": "pi_1"});
    purchase(app, "workspace:a", bought)
        .send()
        .await
        .expect(201);
    let old =
        json!({"credits": 100, "payment_reference": "pi_2", "paid_at": "2024-01-01T00:00:00Z"});
    let price = json!({"name": "Review", "estimate": 5, "fixed": 3});
    app.put("/v1/operations/review")
        .json(&price)
        .send()
        .await
        .expect(201);
    vec![
        debit(app, json!({"credits": 5_000})),
        debit(app, json!({"credits": 0.5})),
        debit(app, json!({"credits": 4, "operation": "review"})),
        debit(app, json!({"credits": 4, "operation": "nothing"})),
        debit(app, json!({"credits": 1_000_000})),
        debit(app, json!({"credits": 7})).key("used"),
        purchase(
            app,
            "workspace:a",
            json!({"credits": 200, "payment_reference": "pi_1"}),
        ),
        purchase(
            app,
            "workspace:a",
            json!({"credits": 150, "payment_reference": "pi_3"}),
        ),
        purchase(app, "workspace:a", old),
        purchase(
            app,
            "workspace:free",
            json!({"credits": 100, "payment_reference": "pi_4"}),
        ),
        adjust(app, "addon", -101),
        app.put(POOL)
            .json(&json!({"billing_anchor": "2026-01-01T00:00:00Z"})),
    ]
}

/// Requests about a hold, a debit and a run with which nothing can be done any more, on
/// `workspace:held`.
async fn refused_about_holds_and_refunds(app: &TestApp) -> Vec<Call> {
    let pool = "workspace:held";
    app.put_pool(pool, json!({"plan": "pro"})).await.expect(201);
    let hold = app.hold(pool, 10).await;
    let capture = format!("{pool}/holds/{hold}/capture");
    let debit = app.book(&capture, json!({"credits": 10})).await.expect(201);
    let debit = debit.body["id"].as_str().expect("an id").to_owned();
    let run = json!({"credits": 1, "run_id": "r-1"});
    let path = format!("{pool}/debits");
    app.book(&path, run).await.expect(201);
    let mut database = app.database.connect().await;
    for statement in [
        // A run of more debits than are refunded at once.
        "INSERT INTO entries
            SELECT (jsonb_populate_record(e, jsonb_build_object(
                'seq', 1000 + n, 'idempotency_key', NULL, 'fingerprint', NULL))).*
            FROM entries AS e, generate_series(1, 10000) AS n
            WHERE e.run_id = 'r-1'",
        "UPDATE pools SET open_holds = 1000, next_hold_at = '9999-01-01'
            WHERE name = 'workspace:held'",
    ] {
        sqlx::query(statement)
            .execute(&mut database)
            .await
            .expect("a good statement");
    }
    let post = |path: &str| app.post(&format!("/v1/pools/{pool}/{path}"));
    vec![
        post(&format!("holds/{hold}/release")),
        post("holds").json(&json!({"credits": 1})),
        post(&format!("debits/{debit}/refunds")).json(&json!({"credits": 11})),
        post("runs/r-1/refunds"),
    ]
}

/// The codes of requests that need a pool or a catalogue of an unusual kind.
async fn refused_elsewhere(app: &TestApp) -> Vec<Call> {
    let most = json!({"plan": "enterprise", "monthly_allowance": 1_000_000_000});
    app.put_pool("workspace:rich", most).await.expect(201);
    let mut database = app.database.connect().await;
    let statements = [
        // A thousand operations, and a pool that holds all an account may.
        "INSERT INTO operations (tenant_id, code, name, estimate)
            SELECT tenant_id, 'op' || n, 'x', 100 FROM tenants, generate_series(1, 1000) AS n",
        "UPDATE tenants SET catalogue_version = catalogue_version + 1",
        "UPDATE pools SET monthly = 100000000000000, issued_monthly = -100000000000000
            WHERE name = 'workspace:rich'",
    ];
    for statement in statements {
        sqlx::query(statement)
            .execute(&mut database)
            .await
            .expect("a good statement");
    }
    app.put_pool("workspace:closed", json!({"plan": "free"}))
        .await
        .expect(201);
    app.delete("/v1/pools/workspace:closed")
        .send()
        .await
        .expect(200);
    let price = json!({"name": "One more", "estimate": 5});
    let more = json!({"bucket": "monthly", "credits": 1, "reason": "a test"});
    vec![
        app.put("/v1/operations/one-more").json(&price),
        app.post("/v1/pools/workspace:rich/adjustments").json(&more),
        app.post("/v1/pools/workspace:closed/debits")
            .json(&json!({"credits": 1})),
    ]
}

/// Requests about test clocks: of a live tenant, and of a sandbox.
async fn refused_by_clocks(app: &TestApp) -> Vec<Call> {
    let now = json!({"now": "2026-01-31T10:00:00Z"});
    let (_, sandbox) = app.operator.new_tenant("sandbox").await;
    let clock = sandbox
        .post("/v1/test-clocks")
        .json(&now)
        .send()
        .await
        .expect(201)
        .body;
    let path = format!(
        "/v1/test-clocks/{}/advance",
        clock["id"].as_str().expect("an id")
    );
    sandbox
        .put_pool("workspace:a", json!({"plan": "free"}))
        .await
        .expect(201);
    vec![
        app.post("/v1/test-clocks").json(&now),
        sandbox
            .post(&path)
            .json(&json!({"to": "2026-01-01T00:00:00Z"})),
        sandbox.put(POOL).json(&json!({"test_clock": clock["id"]})),
    ]
}

/// Requests about payments, of a tenant whose Stripe listens or not.
async fn refused_by_payments(app: &TestApp) -> Vec<Reply> {
    let (shop, stripe) = TestApp::with_stripe().await;
    stripe.be(Mood::Rubbish);
    let mut replies = Vec::new();
    for client in [app as &Client, &*shop] {
        let pool = json!({"plan": "pro"});
        client.put_pool("workspace:shop", pool).await.expect(201);
        let body = |credits: i64, code: Option<&str>| {
            json!({
                "credits": credits, "promo_code": code, "success_url": "https://a.example",
                "cancel_url": "https://a.example",
            })
        };
        let path = "/v1/pools/workspace:shop/checkouts";
        let half = json!({"percent_off": 60});
        let code = client.put("/v1/promo-codes/most").json(&half);
        code.send().await.expect(201);
        for body in [
            body(100, None),
            body(100, Some("most")),
            body(100, Some("none")),
        ] {
            replies.push(client.post(path).json(&body).send().await);
        }
    }
    let settings = json!({"api_key": "sk_test", "webhook_secrets": ["whsec"]});
    let put = app.put("/v1/payments/stripe").json(&settings);
    put.send().await.expect(200);
    replies.push(order(app, "workspace:shop", "k", None).await);
    replies.push(shop.deliver_raw("{}", None).await);
    replies.push(resolved_twice(&shop).await);
    replies
}

/// Requests about licences and the keys that sign them.
async fn refused_licenses() -> Vec<Reply> {
    let app = TestApp::start().await;
    let pool = json!({"plan": "basic"});
    app.put_pool("instance:acme", pool).await.expect(201);
    let mut replies = licenses::refused(&app).await;
    let bare = license_keys::without_secrets(&app).await;
    replies.push(bare.post("/v1/licenses/keys").send().await);
    license_keys::fill(&app).await;
    replies.push(app.post("/v1/licenses/keys").send().await);
    replies
}

async fn resolved_twice(shop: &TestApp) -> Reply {
    let mut payment = shop.payment("pi_1");
    payment.metadata["pool"] = json!("workspace:nowhere");
    shop.deliver(&payment.completed()).await.expect(200);
    let exception = shop.exceptions().await.remove(0);
    let id = exception["id"].as_str().expect("an id");
    let path = format!("/v1/payments/exceptions/{id}/dismiss");
    let body = json!({"reason": "known"});
    shop.post(&path).json(&body).send().await.expect(200);
    shop.post(&path).json(&body).send().await
}

#[tokio::test]
async fn every_code_of_the_table_is_met_as_the_document_says() {
    let app = TestApp::start().await;
    app.put_pool("workspace:a", json!({"plan": "pro"}))
        .await
        .expect(201);
    app.put_pool("workspace:free", json!({"plan": "free"}))
        .await
        .expect(201);
    let path = format!("/v1/tenants/{}", app.tenant);
    let limit = json!({"settings": {"max_debit_credits": 100_000}});
    app.operator
        .call(Method::PATCH, &path)
        .json(&limit)
        .send()
        .await
        .expect(200);
    let mut calls = refused_at_the_door(&app).await;
    calls.append(&mut refused_by_the_pool(&app).await);
    calls.append(&mut refused_about_holds_and_refunds(&app).await);
    calls.append(&mut refused_elsewhere(&app).await);
    calls.append(&mut refused_by_clocks(&app).await);
    let mut seen = BTreeSet::new();
    for call in calls {
        seen.insert(check(&call.send().await));
    }
    for reply in refused_licenses().await {
        seen.insert(check(&reply));
    }
    for reply in refused_by_payments(&app).await {
        seen.insert(check(&reply));
    }
    debit(&app, json!({"credits": 5_000, "mode": "settle"}))
        .send()
        .await
        .expect(201);
    seen.insert(check(&debit(&app, json!({"credits": 1})).send().await));
    seen.insert(check(&without_database().await));
    seen.insert(check(&with_a_corrupt_row(&app).await));

    let all: BTreeSet<_> = codes::ALL.iter().map(|row| row.code.to_owned()).collect();
    let unseen: Vec<_> = all.difference(&seen).collect();
    assert_eq!(unseen, BEYOND_REACH, "each code is met, or beyond reach");
}

async fn without_database() -> Reply {
    let url = "postgres://nobody@127.0.0.1:1/nowhere";
    let clock = ManualClock::new(support::time(support::START));
    let (client, ..) = support::serve(url, clock).await;
    let key = KeySecret::generate(TenantMode::Live);
    client.with_key(key.expose()).get("/v1/plans").send().await
}

async fn with_a_corrupt_row(app: &TestApp) -> Reply {
    let client = app.with_scopes(&["balances:read"]).await;
    let mut database = app.database.connect().await;
    sqlx::query("UPDATE api_keys SET scopes = '{nonsense}' WHERE scopes = '{balances:read}'")
        .execute(&mut database)
        .await
        .expect("a good statement");
    client.get("/v1/plans").send().await
}

#[tokio::test]
async fn what_is_short_says_by_how_much() {
    let app = TestApp::start().await;
    app.put_pool("workspace:a", json!({"plan": "free"}))
        .await
        .expect(201);
    let refused = debit(&app, json!({"credits": 130})).send().await;
    let body = refused.refused(402, "insufficient_credits").body;
    let members = [
        "required",
        "available",
        "shortfall",
        "renews_at",
        "plan_allows_addons",
    ];
    let expected = [
        json!(130),
        json!(100),
        json!(30),
        json!("2026-02-28T10:00:00.000Z"),
        json!(false),
    ];
    assert_eq!(members.map(|name| body[name].clone()), expected);
    assert_eq!(app.entries().await, 1);
}

#[tokio::test]
async fn a_request_id_is_taken_or_made() {
    let app = TestApp::start().await;
    let taken = app
        .get("/v1/nothing")
        .set("x-request-id", "job 7")
        .send()
        .await;
    assert_eq!(taken.header("x-request-id"), Some("job 7"));
    assert_eq!(taken.body["request_id"], "job 7");
    let long = "x".repeat(129);
    let made = app
        .get("/v1/plans")
        .set("x-request-id", &long)
        .send()
        .await
        .expect(200);
    assert_eq!(made.header("x-request-id").map(str::len), Some(36));
}

#[tokio::test]
async fn tool_jets_reads_say_message_and_status_code_too() {
    let app = TestApp::start().await;
    let reply = app.get("/api/ai/organizations/absent/balance").send().await;
    let body = reply.refused(404, "pool_not_found").body;
    assert_eq!(
        (&body["message"], &body["statusCode"]),
        (&body["detail"], &json!(404))
    );
    let reply = app.with_key("").get("/api/ai/nothing").send().await;
    assert_eq!(
        reply.refused(404, "not_found").body["statusCode"],
        json!(404)
    );
}

#[tokio::test]
async fn a_wrong_method_says_which_are_right() {
    let app = TestApp::start().await;
    let reply = app
        .delete("/v1/addon-terms")
        .send()
        .await
        .refused(405, "method_not_allowed");
    let allow: BTreeSet<_> = reply
        .header("allow")
        .unwrap_or_default()
        .split(',')
        .collect();
    assert!(allow.contains("GET") && allow.contains("PUT"), "{allow:?}");
}

#[tokio::test]
async fn requests_and_refusals_are_counted_by_route_and_code() {
    let app = TestApp::start().await;
    let path = "/v1/pools/workspace:counted/debits/00000000-0000-0000-0000-000000000000";
    app.get(path).send().await.refused(404, "not_found");
    let figures = app
        .with_key("")
        .get("/metrics")
        .send()
        .await
        .expect(200)
        .text;
    let route = r#"method="GET",route="/v1/pools/{pool}/debits/{id}",status="404""#;
    let counted = format!("credit_ledger_http_requests_total{{{route}}}");
    assert!(figures.contains(&counted), "{figures}");
    assert!(figures.contains(r#"credit_ledger_refusals_total{code="not_found"}"#));
    assert!(figures.contains("credit_ledger_http_request_seconds_bucket{route="));
    assert!(!figures.contains("workspace:counted"));
}
