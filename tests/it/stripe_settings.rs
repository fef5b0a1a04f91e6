//! Stripe settings: taken, encrypted, shown by their ends only.

use std::process::Stdio;

use serde_json::json;

use crate::support::client::OPERATOR_KEY;
use crate::support::process::{Service, run_with};
use crate::support::{SECRETS_KEY, TestApp};

const PATH: &str = "/v1/payments/stripe";
const API_KEY: &str = "sk_live_of_the_owner_9f3c";
const SECRET: &str = "whsec_of_the_owner_d2a6";

#[tokio::test]
async fn secrets_are_masked_and_what_is_left_out_stays() {
    let app = TestApp::start().await;
    let nothing = json!({"api_key": null, "webhook_secrets": [], "updated_at": null});
    assert_eq!(app.get(PATH).send().await.expect(200).body, nothing);

    let put = json!({"api_key": API_KEY, "webhook_secrets": [SECRET]});
    let stored = app.put(PATH).json(&put).send().await.expect(200).body;
    let masked = json!({
        "api_key": "…9f3c", "webhook_secrets": ["…d2a6"],
        "updated_at": "2026-01-31T10:00:00.000Z",
    });
    assert_eq!(stored, masked);
    assert_eq!(app.get(PATH).send().await.expect(200).body, masked);

    // A rotation of the webhook's secret needs no API key, which nobody can read back.
    let rotated = json!({"webhook_secrets": ["whsec_the_next_one_0001", SECRET]});
    let rotated = app.put(PATH).json(&rotated).send().await.expect(200).body;
    assert_eq!(rotated["api_key"], "…9f3c");
    assert_eq!(rotated["webhook_secrets"], json!(["…0001", "…d2a6"]));
    let removed = json!({"api_key": null, "webhook_secrets": [SECRET]});
    let removed = app.put(PATH).json(&removed).send().await.expect(200).body;
    assert_eq!(removed["api_key"], json!(null));
}

#[tokio::test]
async fn bad_settings_are_refused_by_name() {
    let app = TestApp::start().await;
    for (body, field) in [
        (json!({}), "webhook_secrets"),
        (json!({"webhook_secrets": []}), "webhook_secrets"),
        (
            json!({"webhook_secrets": ["a", "b", "c", "d"]}),
            "webhook_secrets",
        ),
        (
            json!({"webhook_secrets": ["good", ""]}),
            "webhook_secrets[1]",
        ),
        (
            json!({"webhook_secrets": ["a"], "api_key": "with space"}),
            "api_key",
        ),
        (json!({"webhook_secrets": ["a"], "api_key": 7}), "api_key"),
        (json!({"webhook_secrets": ["a"], "other": 7}), "other"),
    ] {
        let refused = app.put(PATH).json(&body).send().await;
        let refused = refused.refused(422, "validation_failed");
        assert_eq!(refused.body["errors"][0]["field"], field, "{body}");
    }
    let reader = app.with_scopes(&["balances:read", "catalog:write"]).await;
    let refused = reader.get(PATH).send().await.refused(403, "scope_missing");
    assert_eq!(refused.body["scope"], "purchases:write");
}

#[tokio::test]
async fn another_tenant_has_its_own() {
    let app = TestApp::start().await;
    let put = json!({"api_key": API_KEY, "webhook_secrets": [SECRET]});
    app.put(PATH).json(&put).send().await.expect(200);
    let stranger = app.stranger().await;
    let seen = stranger.get(PATH).send().await.expect(200).body;
    assert_eq!(seen["api_key"], json!(null));
    // Copied to a stranger's row, a secret does not open.
    let mut database = app.database.connect().await;
    sqlx::query(
        "INSERT INTO stripe_settings
        SELECT t.tenant_id, s.api_key, s.webhook_secrets, s.updated_at
        FROM stripe_settings AS s JOIN tenants AS t ON t.tenant_id <> s.tenant_id",
    )
    .execute(&mut database)
    .await
    .expect("a good statement");
    stranger
        .get(PATH)
        .send()
        .await
        .refused(500, "internal_error");
}

#[tokio::test]
async fn the_database_and_the_log_never_see_a_secret() {
    let app = TestApp::start().await;
    let file = std::env::temp_dir().join(format!("credit-ledger-log-{}", std::process::id()));
    let log = std::fs::File::create(&file).expect("a file is made");
    let settings = [("SECRETS_KEY", SECRETS_KEY), ("RUST_LOG", "trace")];
    let service = Service::start_logging(&app.database.url, &settings, Stdio::from(log)).await;
    let client = service.client.with_key(&app.bearer);
    let put = json!({"api_key": API_KEY, "webhook_secrets": [SECRET]});
    client.put(PATH).json(&put).send().await.expect(200);
    client.get(PATH).send().await.expect(200);
    service.terminate().await;
    let log = std::fs::read_to_string(&file).expect("the log is text");
    std::fs::remove_file(&file).expect("it is removed");
    assert!(!log.is_empty(), "something was logged");

    let mut database = app.database.connect().await;
    let rows: Vec<String> = sqlx::query_scalar("SELECT s::text FROM stripe_settings AS s")
        .fetch_all(&mut database)
        .await
        .expect("the settings are there");
    assert_eq!(rows.len(), 1);
    let hex = |text: &str| {
        text.bytes()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    for secret in [API_KEY, SECRET, "of_the_owner"] {
        assert!(!log.contains(secret), "{secret} is in the log");
        assert!(!rows[0].contains(secret) && !rows[0].contains(&hex(secret)));
    }
    assert!(!log.contains(SECRETS_KEY) && !log.contains(OPERATOR_KEY));
}

#[tokio::test]
async fn without_a_key_for_secrets_none_are_taken() {
    let app = TestApp::start().await;
    let service = Service::start(&app.database.url).await;
    let client = service.client.with_key(&app.bearer);
    let put = json!({"api_key": API_KEY, "webhook_secrets": [SECRET]});
    let refused = client.put(PATH).json(&put).send().await;
    refused.refused(501, "payments_not_configured");
    client.get(PATH).send().await.expect(200);
    // Those that another replica has taken do not open here.
    app.put(PATH).json(&put).send().await.expect(200);
    let refused = client.get(PATH).send().await;
    refused.refused(501, "payments_not_configured");
    service.terminate().await;
}

#[tokio::test]
async fn a_malformed_key_for_secrets_stops_the_start_with_its_name() {
    let settings = [("SECRETS_KEY", "hunter2")];
    let (code, printed) = run_with(&["serve"], "postgres://nobody@127.0.0.1:1/x", &settings).await;
    assert_eq!(code, Some(1), "{printed}");
    assert!(
        printed.contains("SECRETS_KEY must be base64 of 32 bytes"),
        "{printed}"
    );
    assert!(!printed.contains("hunter2"), "{printed}");
}
