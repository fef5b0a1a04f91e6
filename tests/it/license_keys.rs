//! Licence keys issued, and the keys that sign them: made, shown, rotated, distrusted, private.

use std::collections::BTreeSet;
use std::process::Stdio;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::future::join_all;
use ring::signature::{ED25519, UnparsedPublicKey};
use serde_json::{Value, json};

use crate::licenses::{apply, but, issue, paid};
use crate::support::process::Service;
use crate::support::{Client, SECRETS_KEY, TestApp, payment_options, serve, serve_with};

const PATH: &str = "/v1/licenses";
const KEYS: &str = "/v1/licenses/keys";
const POOL: &str = "instance:acme";

/// A licence that has not expired when the tests begin.
fn order() -> Value {
    but(paid(), json!({"expires_at": "2027-01-31"}))
}

async fn start() -> TestApp {
    let app = TestApp::start().await;
    app.put_pool(POOL, json!({"plan": "basic"}))
        .await
        .expect(201);
    app
}

async fn keys(client: &Client) -> Vec<Value> {
    let body = client.get(KEYS).send().await.expect(200).body;
    body["keys"].as_array().expect("keys").clone()
}

fn statuses(keys: &[Value]) -> Vec<&str> {
    keys.iter()
        .filter_map(|key| key["status"].as_str())
        .collect()
}

async fn rotate(client: &Client) -> String {
    let key = client.post(KEYS).send().await.expect(201).body;
    key["kid"].as_str().expect("a kid").to_owned()
}

async fn distrust(client: &Client, kid: &str) {
    let path = format!("{KEYS}/{kid}");
    client.delete(&path).send().await.expect(204);
    client.delete(&path).send().await.refused(404, "not_found");
}

#[tokio::test]
async fn an_issued_key_is_answered_whole_and_verifies_offline() {
    let app = TestApp::start().await;
    let order = but(
        order(),
        json!({"plan": "flexible", "grace_until": "2027-02-07"}),
    );
    let issued = app.post(PATH).json(&order).send().await.expect(201).body;
    let [id, key, kid] = ["id", "key", "kid"].map(|name| issued[name].as_str().expect(name));
    let expected = json!({
        "id": id, "key": key, "fingerprint": issued["fingerprint"], "customer_id": "acme",
        "type": "paid", "plan": "pro", "builders": 5, "monthly_allowance": null, "users": 50,
        "end_users": "unlimited", "issued_at": "2026-01-31T10:00:00.000Z", "starts_at": null,
        "expires_at": "2027-01-31T23:59:59.999Z", "grace_until": "2027-02-07T23:59:59.999Z",
        "trial_days": null, "features": ["sso"], "kid": kid,
    });
    assert_eq!(issued, expected);
    let shown = keys(&app).await;
    let jwk = json!({
        "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": kid,
        "x": shown[0]["x"], "status": "current", "created_at": "2026-01-31T10:00:00.000Z",
    });
    assert_eq!(shown, [jwk]);

    let decode = |text: &Value| URL_SAFE_NO_PAD.decode(text.as_str().expect("text"));
    let public = decode(&shown[0]["x"]).expect("base64url");
    let (message, signature) = key.rsplit_once('.').expect("a JWS");
    let signature = decode(&json!(signature)).expect("base64url");
    let verified = UnparsedPublicKey::new(&ED25519, public).verify(message.as_bytes(), &signature);
    assert!(verified.is_ok());
    let (_, payload) = message.split_once('.').expect("a JWS");
    let payload = decode(&json!(payload)).expect("base64url");
    let payload: Value = serde_json::from_slice(&payload).expect("JSON");
    for name in [
        "id",
        "customer_id",
        "plan",
        "builders",
        "issued_at",
        "expires_at",
        "features",
    ] {
        assert_eq!(payload[name], issued[name], "{name}");
    }
}

#[tokio::test]
async fn a_trial_is_for_fourteen_days_unless_it_says_otherwise() {
    let app = TestApp::start().await;
    let open = json!({"customer_id": "acme", "type": "trial"});
    let open = app.post(PATH).json(&open).send().await.expect(201).body;
    assert_eq!(
        (&open["expires_at"], &open["trial_days"]),
        (&json!(null), &json!(14))
    );
    assert_eq!(
        (&open["plan"], &open["builders"]),
        (&json!("trial"), &json!(1))
    );
    let until = json!({"customer_id": "acme", "type": "trial", "expires_at": "2026-02-28"});
    let until = app.post(PATH).json(&until).send().await.expect(201).body;
    assert_eq!(until["trial_days"], json!(null));
    let basic = json!({"customer_id": "acme", "type": "basic"});
    let basic = app.post(PATH).json(&basic).send().await.expect(201).body;
    assert_eq!(
        (&basic["plan"], &basic["trial_days"]),
        (&json!("basic"), &json!(null))
    );
}

#[tokio::test]
async fn orders_on_terms_that_no_pool_could_have_are_refused_by_name() {
    let app = TestApp::start().await;
    let labels: Vec<_> = (0..50)
        .map(|n| format!("{n:0>3}{}", "é".repeat(125)))
        .collect();
    for (changes, field) in [
        (json!({"plan": null}), "plan"),
        (json!({"plan": "gold"}), "plan"),
        (json!({"monthly_allowance": 100}), "monthly_allowance"),
        (json!({"plan": "enterprise"}), "monthly_allowance"),
        (json!({"builders": "unlimited"}), "monthly_allowance"),
        (json!({"builders": 0}), "builders"),
        (json!({"type": "gold"}), "type"),
        (json!({"customer_id": "a:b"}), "customer_id"),
        (json!({"expires_at": "2026-01-30"}), "expires_at"),
        (json!({"features": labels}), "features"),
        (json!({"more": 1}), "more"),
    ] {
        let body = but(order(), changes);
        let refused = app.post(PATH).json(&body).send().await;
        let refused = refused.refused(422, "validation_failed");
        assert_eq!(refused.body["errors"][0]["field"], field, "{body}");
    }
    let most = json!({"builders": 4_000_000_000_u32, "plan": "team"});
    let refused = app.post(PATH).json(&but(order(), most)).send().await;
    refused.refused(409, "balance_limit");
    let own =
        json!({"plan": "enterprise", "builders": "Unlimited", "monthly_allowance": 12_345.67});
    let issued = app.post(PATH).json(&but(order(), own)).send().await;
    let issued = issued.expect(201).body;
    assert_eq!(issued["monthly_allowance"], json!(12_345.67));
    app.put_pool(POOL, json!({"plan": "basic"}))
        .await
        .expect(201);
    let key = issued["key"].as_str().expect("a key");
    let applied = apply(&app, POOL, key).await.expect(200).body;
    assert_eq!(applied["balance"]["available"], json!(12_345.67));
    assert_eq!(applied["limits"]["builders"], "unlimited");
}

#[tokio::test]
async fn earlier_keys_verify_until_they_are_distrusted() {
    let app = start().await;
    let old = issue(&app, order()).await;
    let older_kid = keys(&app).await[0]["kid"]
        .as_str()
        .expect("a kid")
        .to_owned();
    app.pass(chrono::TimeDelta::seconds(1));
    let newer_kid = rotate(&app).await;
    let shown = keys(&app).await;
    assert_eq!(statuses(&shown), ["current", "retired"]);
    assert_eq!(shown[0]["kid"], newer_kid.as_str());
    apply(&app, POOL, &old).await.expect(200);
    let new = app.post(PATH).json(&order()).send().await.expect(201).body;
    assert_eq!(new["kid"], newer_kid.as_str());

    distrust(&app, &older_kid).await;
    let before = app.read(&format!("{POOL}/license")).await;
    assert_eq!(before["status"], "active", "what was applied stays");
    let refused = apply(&app, POOL, &old).await;
    refused.refused(422, "license_signature_invalid");
    let new = new["key"].as_str().expect("a key").to_owned();
    distrust(&app, &newer_kid).await;
    let refused = apply(&app, POOL, &new).await;
    refused.refused(422, "license_signature_invalid");
    assert_eq!((keys(&app).await, app.entries().await), (vec![], 2));
    // The current one was deleted: the next licence is signed with a new one.
    let next = issue(&app, order()).await;
    assert_eq!(statuses(&keys(&app).await), ["current"]);
    apply(&app, POOL, &next).await.expect(200);
    for nothing in ["nonsense", "0190a000-0000-7000-8000-000000000000"] {
        let path = format!("{KEYS}/{nothing}");
        app.delete(&path).send().await.refused(404, "not_found");
    }
}

#[tokio::test]
async fn another_tenants_keys_are_nobodys() {
    let app = start().await;
    let stranger = app.stranger().await;
    let theirs = issue(&stranger, order()).await;
    let refused = apply(&app, POOL, &theirs).await;
    refused.refused(422, "license_signature_invalid");
    assert_eq!(
        (keys(&app).await.len(), keys(&stranger).await.len()),
        (0, 1)
    );
    let kid = keys(&stranger).await[0]["kid"]
        .as_str()
        .expect("a kid")
        .to_owned();
    let path = format!("{KEYS}/{kid}");
    app.delete(&path).send().await.refused(404, "not_found");
    stranger
        .put_pool(POOL, json!({"plan": "basic"}))
        .await
        .expect(201);
    apply(&stranger, POOL, &theirs).await.expect(200);
    assert_eq!(app.balance(POOL).await["available"], 100);

    // Copied to another tenant's row, a signing key signs nothing there.
    let mut database = app.database.connect().await;
    sqlx::query(
        "INSERT INTO license_keys
        SELECT t.tenant_id, k.key_id, k.public_key, k.private_key, k.created_at
        FROM license_keys AS k JOIN tenants AS t ON t.tenant_id <> k.tenant_id",
    )
    .execute(&mut database)
    .await
    .expect("a good statement");
    let refused = app.post(PATH).json(&order()).send().await;
    refused.refused(500, "internal_error");
}

#[tokio::test]
async fn only_an_admin_issues_and_rotates() {
    let app = start().await;
    let kid = rotate(&app).await;
    let scopes = [
        "balances:read",
        "pools:write",
        "catalog:write",
        "keys:write",
    ];
    let other = app.with_scopes(&scopes).await;
    let calls = [
        other.post(PATH).json(&order()),
        other.post(KEYS),
        other.delete(&format!("{KEYS}/{kid}")),
    ];
    for call in calls {
        let refused = call.send().await.refused(403, "scope_missing");
        assert_eq!(refused.body["scope"], "admin");
    }
    assert_eq!(statuses(&keys(&other).await), ["current"]);
    let writer = app.with_scopes(&["pools:write"]).await;
    writer.get(KEYS).send().await.refused(403, "scope_missing");
}

#[tokio::test]
async fn replicas_agree_on_one_current_key() {
    let app = start().await;
    let (other, ..) = serve(&app.database.url, app.clock.clone()).await;
    let other = other.with_key(&app.bearer);
    let clients: [&Client; 2] = [&app, &other];
    let order = order();
    let issued = (0..12).map(|number| clients[number % 2].post(PATH).json(&order).send());
    // A machine at work on much else may say 503 to some.
    let mut kids = BTreeSet::new();
    for reply in join_all(issued).await {
        if reply.status != 503 {
            kids.insert(reply.expect(201).body["kid"].to_string());
        }
    }
    assert_eq!(
        (kids.len(), statuses(&keys(&app).await)),
        (1, vec!["current"])
    );

    let rotated = join_all((0..4).map(|number| clients[number % 2].post(KEYS).send())).await;
    let made = rotated.iter().filter(|reply| reply.status == 201).count();
    let busy = rotated.iter().filter(|reply| reply.status == 503).count();
    assert_eq!(made + busy, 4);
    let shown = keys(&other).await;
    assert_eq!(shown.len(), made + 1);
    let current = statuses(&shown).into_iter().filter(|it| *it == "current");
    assert_eq!(current.count(), 1);
}

/// A client of a service without a key for secrets, on the same database.
pub async fn without_secrets(app: &TestApp) -> Client {
    let mut options = payment_options();
    options.secrets_key = None;
    let (bare, ..) = serve_with(&app.database.url, app.clock.clone(), options).await;
    bare.with_key(&app.bearer)
}

/// Fills the tenant's signing keys up; the next one is too many.
pub async fn fill(app: &TestApp) {
    let mut database = app.database.connect().await;
    sqlx::query(
        "INSERT INTO license_keys
        SELECT tenant_id, gen_random_uuid(), decode(repeat('00', 32), 'hex'), NULL, created_at
        FROM tenants, generate_series(1, 100)",
    )
    .execute(&mut database)
    .await
    .expect("a good statement");
}

#[tokio::test]
async fn applying_and_reading_need_no_key_for_secrets() {
    let app = start().await;
    let key = issue(&app, order()).await;
    let bare = without_secrets(&app).await;
    apply(&bare, POOL, &key).await.expect(200);
    let path = format!("/v1/pools/{POOL}/license");
    let shown = bare.get(&path).send().await.expect(200).body;
    assert_eq!(shown["status"], "active");
    bare.delete(&path).send().await.expect(200);
}

#[tokio::test]
async fn without_a_key_for_secrets_nothing_is_issued_or_rotated() {
    let app = start().await;
    issue(&app, order()).await;
    let bare = without_secrets(&app).await;
    let refused = bare.post(PATH).json(&order()).send().await;
    refused.refused(501, "licenses_not_configured");
    bare.post(KEYS)
        .send()
        .await
        .refused(501, "licenses_not_configured");
    assert_eq!(statuses(&keys(&bare).await), ["current"]);

    // A key that another SECRETS_KEY has encrypted is replaced by a rotation.
    let mut options = payment_options();
    let other = "YWJjZGVmMDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODk=";
    options.secrets_key = Some(other.parse().expect("a good key"));
    let (other, ..) = serve_with(&app.database.url, app.clock.clone(), options).await;
    let other = other.with_key(&app.bearer);
    let refused = other.post(PATH).json(&order()).send().await;
    refused.refused(500, "internal_error");
    rotate(&other).await;
    issue(&other, order()).await;
    fill(&app).await;
    let refused = other.post(KEYS).send().await;
    let refused = refused.refused(409, "license_keys_limit");
    assert_eq!(refused.body["maximum"], 100);
}

#[tokio::test]
async fn a_key_is_in_no_log_no_answer_and_nowhere_in_the_database() {
    let app = start().await;
    let file = std::env::temp_dir().join(format!("credit-ledger-lic-{}", std::process::id()));
    let log = std::fs::File::create(&file).expect("a file is made");
    let settings = [("SECRETS_KEY", SECRETS_KEY), ("RUST_LOG", "trace")];
    let service = Service::start_logging(&app.database.url, &settings, Stdio::from(log)).await;
    let client = service.client.with_key(&app.bearer);
    let key = issue(&client, but(order(), json!({"expires_at": "2999-01-31"}))).await;
    let mut answers = vec![apply(&client, POOL, &key).await.expect(200).text];
    let tampered = format!("{key}A");
    answers.push(apply(&client, POOL, &tampered).await.text);
    for path in ["license", "transactions", "balance"] {
        let path = format!("/v1/pools/{POOL}/{path}");
        answers.push(client.get(&path).send().await.expect(200).text);
    }
    answers.push(client.get(&format!("/v1/pools/{POOL}")).send().await.text);
    service.terminate().await;
    answers.push(std::fs::read_to_string(&file).expect("the log is text"));
    std::fs::remove_file(&file).expect("it is removed");

    let mut database = app.database.connect().await;
    let tables: Vec<String> =
        sqlx::query_scalar("SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'")
            .fetch_all(&mut database)
            .await
            .expect("there are tables");
    for table in tables {
        let sql = format!("SELECT coalesce(string_agg(t::text, ' '), '') FROM {table} AS t");
        let rows: String = sqlx::query_scalar(sqlx::AssertSqlSafe(sql))
            .fetch_one(&mut database)
            .await
            .expect("a good statement");
        answers.push(rows);
    }
    let (message, signature) = key.rsplit_once('.').expect("a JWS");
    let (_, payload) = message.split_once('.').expect("a JWS");
    for secret in [key.as_str(), signature, payload] {
        let told = answers.iter().find(|text| text.contains(secret));
        assert!(told.is_none(), "{secret} is in {told:?}");
    }
}
