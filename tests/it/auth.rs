//! Keys: who is let in, what each may do, and how soon a revoked key stops.

use std::future::pending;
use std::time::{Duration, Instant};

use credit_ledger::clock::Clock;
use credit_ledger::http::{self, App, Readiness, Services};
use credit_ledger::lanes::{LaneLimits, Lanes};
use credit_ledger::licenses::Licenses;
use credit_ledger::payments::Payments;
use credit_ledger::telemetry;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::support::{self, Client, Reply, TestApp};

/// A problem without what is different each time.
fn timeless(reply: &Reply) -> Value {
    let mut body = reply.body.clone();
    body["request_id"] = Value::Null;
    body
}

async fn first_key(app: &TestApp) -> Value {
    let path = format!("/v1/tenants/{}/keys", app.tenant);
    let keys = app.operator.get(&path).send().await.expect(200);
    keys.body["data"][0].clone()
}

#[tokio::test]
async fn a_key_is_taken_as_bearer_token_or_in_its_own_header() {
    let app = TestApp::start().await;
    let nobody = app.with_key("");
    app.get("/v1/plans").send().await.expect(200);
    let call = nobody.get("/v1/plans").set("x-api-key", &app.bearer);
    call.send().await.expect(200);
}

#[tokio::test]
async fn without_a_good_key_nothing_is_told() {
    let app = TestApp::start().await;
    let mut mistyped = app.bearer.clone();
    let last = mistyped.pop();
    mistyped.push(if last == Some('x') { 'y' } else { 'x' });
    let unknown = credit_ledger::store::KeySecret::generate(credit_ledger::store::TenantMode::Live);
    for key in ["", "nonsense", &mistyped, unknown.expose()] {
        let reply = app.with_key(key).get("/v1/plans").send().await;
        let reply = reply.refused(401, "unauthorized");
        assert_eq!(reply.header("www-authenticate"), Some("Bearer"), "{key}");
    }
}

#[tokio::test]
async fn the_key_comes_before_the_scope_the_path_and_the_body() {
    let app = TestApp::start().await;
    let reader = app.with_scopes(&["balances:read"]).await;
    let debit = |client: &Client| client.post("/v1/pools/no%20name/debits").raw("{");
    debit(&app.with_key(""))
        .send()
        .await
        .refused(401, "unauthorized");
    let refused = debit(&reader).send().await.refused(403, "scope_missing");
    assert_eq!(refused.body["scope"], "debits:write");
    let refused = debit(&app).send().await.refused(422, "validation_failed");
    assert_eq!(refused.body["errors"][0]["field"], "pool");
}

#[tokio::test]
async fn each_scope_opens_its_own_doors_only() {
    let app = TestApp::sandbox().await;
    let keys = format!("/v1/tenants/{}/keys", app.tenant);
    let adjustments = "/v1/pools/workspace:a/adjustments".to_owned();
    let doors = [
        (Method::GET, "/v1/plans".to_owned(), "balances:read"),
        (Method::POST, "/v1/balances".to_owned(), "balances:read"),
        (
            Method::POST,
            "/v1/pools/workspace:a/authorize".to_owned(),
            "balances:read",
        ),
        (
            Method::POST,
            "/v1/pools/workspace:a/debits".to_owned(),
            "debits:write",
        ),
        (Method::POST, "/v1/debits/batch".to_owned(), "debits:write"),
        (
            Method::POST,
            "/v1/pools/workspace:a/purchases".to_owned(),
            "purchases:write",
        ),
        (
            Method::PUT,
            "/v1/pools/workspace:a".to_owned(),
            "pools:write",
        ),
        (Method::POST, "/v1/test-clocks".to_owned(), "pools:write"),
        (Method::PUT, "/v1/plans/gold".to_owned(), "catalog:write"),
        (Method::GET, keys, "keys:write"),
        (Method::POST, adjustments, "admin"),
    ];
    let scopes = [
        "balances:read",
        "debits:write",
        "purchases:write",
        "pools:write",
        "catalog:write",
        "keys:write",
        "admin",
    ];
    for scope in scopes {
        let client = app.with_scopes(&[scope]).await;
        for (method, path, needed) in &doors {
            let reply = client.call(method.clone(), path).send().await;
            let open = scope == *needed || scope == "admin";
            assert_eq!(
                reply.status != 403,
                open,
                "{scope} on {method} {path}: {}",
                reply.text
            );
            if !open {
                assert_eq!(reply.body["scope"], *needed, "{method} {path}");
            }
        }
    }
}

#[tokio::test]
async fn an_expired_key_is_no_key() {
    let app = TestApp::start().await;
    let body = json!({"name": "short", "scopes": ["admin"], "expires_at": "2026-02-01T00:00:00Z"});
    let path = format!("/v1/tenants/{}/keys", app.tenant);
    let key = app
        .operator
        .post(&path)
        .json(&body)
        .send()
        .await
        .expect(201);
    let short = app.with_key(key.body["secret"].as_str().expect("a secret"));
    app.at("2026-01-31T23:59:59.999Z");
    short.get("/v1/plans").send().await.expect(200);
    app.at("2026-02-01T00:00:00Z");
    short
        .get("/v1/plans")
        .send()
        .await
        .refused(401, "unauthorized");
}

#[tokio::test]
async fn a_revoked_key_stops_at_once_here_and_soon_everywhere() {
    let app = TestApp::start().await;
    let (other_replica, ..) = support::serve(&app.database.url, app.clock.clone()).await;
    let doomed = app.with_scopes(&["balances:read"]).await;
    let elsewhere = other_replica.with_key(&doomed.bearer);
    doomed.get("/v1/plans").send().await.expect(200);
    elsewhere.get("/v1/plans").send().await.expect(200);

    let id = first_key(&app).await["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let path = format!("/v1/tenants/{}/keys/{id}", app.tenant);
    assert_eq!(app.operator.delete(&path).send().await.expect(204).text, "");
    let revoked_at = Instant::now();

    doomed
        .get("/v1/plans")
        .send()
        .await
        .refused(401, "unauthorized");
    while elsewhere.get("/v1/plans").send().await.status == 200 {
        assert!(
            revoked_at.elapsed() < Duration::from_secs(5),
            "it still works elsewhere"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    elsewhere
        .get("/v1/plans")
        .send()
        .await
        .refused(401, "unauthorized");
    app.operator.delete(&path).send().await.expect(204);
}

#[tokio::test]
async fn a_bound_key_sees_only_its_pools() {
    let app = TestApp::start().await;
    for pool in ["instance:mine", "instance:other"] {
        app.put_pool(pool, json!({"plan": "basic"}))
            .await
            .expect(201);
    }
    let body = json!({
        "name": "self-hosted", "scopes": ["balances:read", "debits:write"],
        "pools": ["instance:mine"]
    });
    let path = format!("/v1/tenants/{}/keys", app.tenant);
    let key = app
        .operator
        .post(&path)
        .json(&body)
        .send()
        .await
        .expect(201);
    let bound = app.with_key(key.body["secret"].as_str().expect("a secret"));

    bound.debit("instance:mine", json!(1)).await.expect(201);
    let hidden = bound
        .debit("instance:other", json!(1))
        .await
        .refused(404, "pool_not_found");
    let absent = bound
        .debit("instance:absent", json!(1))
        .await
        .refused(404, "pool_not_found");
    assert_eq!(timeless(&hidden), timeless(&absent));
    let listed = bound.get("/v1/pools").send().await.expect(200);
    assert_eq!(
        listed.body["data"].as_array().map(Vec::len),
        Some(1),
        "{}",
        listed.text
    );
}

#[tokio::test]
async fn a_bound_key_cannot_have_more_than_reads_and_debits() {
    let app = TestApp::start().await;
    let path = format!("/v1/tenants/{}/keys", app.tenant);
    for scope in [
        "purchases:write",
        "pools:write",
        "catalog:write",
        "keys:write",
        "admin",
    ] {
        let body = json!({"name": "k", "scopes": [scope], "pools": ["workspace:a"]});
        let refused = app.operator.post(&path).json(&body).send().await;
        let refused = refused.refused(422, "validation_failed");
        assert_eq!(refused.body["errors"][0]["field"], "scopes");
    }
}

#[tokio::test]
async fn a_tenants_key_manages_keys_of_its_own_tenant_only() {
    let app = TestApp::start().await;
    let keeper = app.with_scopes(&["keys:write", "balances:read"]).await;
    let path = format!("/v1/tenants/{}/keys", app.tenant);
    let new = |scopes: &[&str]| json!({"name": "k", "scopes": scopes});
    let made = keeper
        .post(&path)
        .json(&new(&["balances:read"]))
        .send()
        .await
        .expect(201);
    let refused = keeper
        .post(&path)
        .json(&new(&["balances:read", "admin"]))
        .send()
        .await;
    assert_eq!(refused.refused(403, "scope_missing").body["scope"], "admin");
    let made = format!("{path}/{}", made.body["id"].as_str().expect("an id"));
    keeper.delete(&made).send().await.expect(204);

    let stranger = app.stranger().await;
    let absent = "/v1/tenants/00000000-0000-0000-0000-000000000000/keys";
    let absent = stranger.get(absent).send().await.refused(404, "not_found");
    let hidden = stranger.get(&path).send().await.refused(404, "not_found");
    assert_eq!(timeless(&hidden), timeless(&absent));
    stranger
        .delete(&made)
        .send()
        .await
        .refused(404, "not_found");
    keeper
        .get(&format!("/v1/tenants/{}", app.tenant))
        .send()
        .await
        .refused(401, "unauthorized");
}

#[tokio::test]
async fn a_list_of_keys_has_no_secrets_and_says_when_each_was_used() {
    let app = TestApp::start().await;
    app.get("/v1/plans").send().await.expect(200);
    let until = Instant::now() + Duration::from_secs(5);
    let key = loop {
        let key = first_key(&app).await;
        if !key["last_used_at"].is_null() {
            break key;
        }
        assert!(Instant::now() < until, "the use is not noted: {key}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(key["last_used_at"], "2026-01-31T10:00:00.000Z");
    assert_eq!(key["scopes"], json!(["admin"]));
    assert!(key.get("secret").is_none() && key["pools"].is_null());
    let mut database = app.database.connect().await;
    let stored: Vec<String> = sqlx::query_scalar("SELECT k::text FROM api_keys AS k")
        .fetch_all(&mut database)
        .await
        .expect("the keys are there");
    assert!(stored.iter().all(|row| !row.contains(&app.bearer)));
}

#[tokio::test]
async fn without_an_operators_key_there_is_no_operator() {
    let app = TestApp::start().await;
    let limits = LaneLimits {
        lanes: 1,
        batch: 10,
        queue: 10,
    };
    let clock = Clock::from(app.clock.clone());
    let lanes = Lanes::start(&app.store, &clock, limits).0;
    let services = Services {
        store: app.store.clone(),
        payments: Payments::new(
            app.store.clone(),
            lanes.clone(),
            clock.clone(),
            support::payment_options(),
        ),
        licenses: Licenses::new(app.store.clone(), clock.clone(), None),
        lanes,
        clock,
        operator_key: None,
        ready: Readiness::default(),
        metrics: telemetry::metrics(),
    };
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port is free");
    let base = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(http::serve(listener, App::new(services), pending()));

    let operator = Client::new(&base);
    let nobody = operator.with_key("");
    for client in [&operator, &nobody, &operator.with_key(&app.bearer)] {
        client
            .get("/v1/tenants")
            .send()
            .await
            .refused(401, "unauthorized");
        let path = format!("/v1/tenants/{}", app.tenant);
        client.get(&path).send().await.refused(401, "unauthorized");
    }
    operator
        .with_key(&app.bearer)
        .get("/v1/plans")
        .send()
        .await
        .expect(200);
}
