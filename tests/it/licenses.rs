//! Signed licences on pools: applied, read, refused, ended, given up.

use chrono::TimeDelta;
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::{Client, Reply, TestApp, serve};

const POOL: &str = "instance:acme";
const PATH: &str = "/v1/pools/instance:acme/license";
/// When most of these tests begin.
const NOW: &str = "2026-01-20T10:00:00Z";

/// A paid licence for five builders.
pub fn paid() -> Value {
    json!({
        "customer_id": "acme", "type": "paid", "plan": "pro", "builders": 5, "users": 50,
        "end_users": "unlimited", "expires_at": "2026-03-20T10:00:00Z", "features": ["sso"],
    })
}

/// The same with other fields.
pub fn but(order: Value, changes: Value) -> Value {
    let mut order = order;
    for (name, value) in changes.as_object().expect("an object") {
        order[name] = value.clone();
    }
    order
}

fn trial() -> Value {
    json!({"customer_id": "acme", "type": "trial"})
}

/// Issues a licence; gives its key.
pub async fn issue(client: &Client, order: Value) -> String {
    let issued = client.post("/v1/licenses").json(&order).send().await;
    let key = issued.expect(201).body["key"].clone();
    key.as_str().expect("a key").to_owned()
}

/// Applies a key to a pool.
pub async fn apply(client: &Client, pool: &str, key: &str) -> Reply {
    let path = format!("/v1/pools/{pool}/license");
    client.put(&path).json(&json!({"key": key})).send().await
}

/// A service with the pool on plan `basic`.
async fn start() -> TestApp {
    let app = TestApp::start().await;
    app.at(NOW);
    app.put_pool(POOL, json!({"plan": "basic"}))
        .await
        .expect(201);
    app
}

async fn license(client: &Client) -> Value {
    client.get(PATH).send().await.expect(200).body
}

/// One reply for each code of a refused licence; the pool is `instance:acme`, on plan `basic`.
pub async fn refused(app: &TestApp) -> Vec<Reply> {
    let now = app.clock.now();
    let later = (now + TimeDelta::hours(1)).to_rfc3339();
    let order = but(paid(), json!({"expires_at": "2027-01-01"}));
    let older = issue(app, order.clone()).await;
    app.pass(TimeDelta::seconds(1));
    let good = issue(app, order.clone()).await;
    let short = issue(app, but(order.clone(), json!({"expires_at": later}))).await;
    let tests = [
        issue(app, but(order.clone(), json!({"customer_id": "other"}))).await,
        issue(app, but(order, json!({"starts_at": later}))).await,
        format!("{good}A"),
        "nonsense".to_owned(),
    ];
    let mut replies = Vec::new();
    for key in tests {
        replies.push(apply(app, POOL, &key).await);
    }
    app.pass(TimeDelta::hours(1));
    replies.push(apply(app, POOL, &short).await);
    apply(app, POOL, &good).await.expect(200);
    let tests = [older, issue(app, trial()).await];
    for key in tests {
        replies.push(apply(app, POOL, &key).await);
    }
    replies.push(app.put_pool(POOL, json!({"plan": "team"})).await);
    replies
}

#[tokio::test]
async fn a_key_puts_its_pool_on_its_terms() {
    let app = start().await;
    let issued = app.post("/v1/licenses").json(&paid()).send().await;
    let issued = issued.expect(201).body;
    let key = issued["key"].as_str().expect("a key");
    let before = json!({
        "pool": POOL, "type": "basic", "plan": "basic", "status": "none", "expires_at": null,
        "grace_until": null, "fingerprint": null, "features": [],
        "limits": {"users": null, "builders": 1, "end_users": null},
    });
    assert_eq!(license(&app).await, before);

    let path = format!("{PATH}?dry_run=true");
    let body = json!({"key": key});
    let tried = app.put(&path).json(&body).send().await.expect(200).body;
    assert_eq!(
        (&tried["change"], app.entries().await),
        (&json!("increase"), 1)
    );
    assert_eq!(license(&app).await, before);

    let applied = apply(&app, POOL, key).await.expect(200).body;
    assert_eq!(applied["change"], "increase");
    assert_eq!(applied["balance"]["monthly"]["granted"], 4_000);
    assert_eq!(applied["balance"], tried["balance"]);
    let mut shown = license(&app).await;
    let expected = json!({
        "pool": POOL, "type": "paid", "plan": "pro", "status": "active",
        "expires_at": "2026-03-20T10:00:00.000Z", "grace_until": null,
        "fingerprint": issued["fingerprint"], "features": ["sso"],
        "limits": {"users": 50, "builders": 5, "end_users": "unlimited"},
    });
    assert_eq!(shown, expected);
    shown["change"] = applied["change"].clone();
    shown["balance"] = applied["balance"].clone();
    assert_eq!(applied, shown);

    let again = apply(&app, POOL, key).await.expect(200).body;
    assert_eq!((&again["change"], app.entries().await), (&json!("none"), 2));
    let pool = app.read(POOL).await;
    assert_eq!(pool["license"]["fingerprint"], issued["fingerprint"]);
    assert_eq!(pool["license"]["status"], "active");
    app.verify().await;
}

#[tokio::test]
async fn a_key_that_is_refused_changes_nothing() {
    let app = start().await;
    let codes = [
        (422, "license_of_another"),
        (422, "license_not_started"),
        (422, "license_signature_invalid"),
        (422, "license_malformed"),
        (422, "license_expired"),
        (409, "license_outdated"),
        (409, "license_trial_after_paid"),
        (409, "licensed"),
    ];
    let replies = refused(&app).await;
    assert_eq!(replies.len(), codes.len());
    for (reply, (status, code)) in replies.into_iter().zip(codes) {
        reply.refused(status, code);
    }
    // The one good key among them has made the second entry.
    assert_eq!(app.entries().await, 2);
    let key = issue(&app, but(paid(), json!({"customer_id": "w"}))).await;
    apply(&app, "workspace:w", &key)
        .await
        .refused(404, "pool_not_found");
    app.put_pool("workspace:w", json!({"plan": "free"}))
        .await
        .expect(201);
    let refused = apply(&app, "workspace:w", &key).await;
    refused.refused(422, "license_of_another");
    apply(&app, "instance:w", &key)
        .await
        .refused(404, "pool_not_found");
    app.delete("/v1/pools/instance:acme")
        .send()
        .await
        .expect(200);
    let key = issue(&app, paid()).await;
    apply(&app, POOL, &key).await.refused(409, "pool_closed");
    app.delete(PATH).send().await.refused(409, "pool_closed");
    assert_eq!(app.entries().await, 4);
    app.verify().await;
}

#[tokio::test]
async fn a_body_that_is_no_key_is_refused_by_name() {
    let app = start().await;
    let put = |body: &str| app.put(PATH).raw(body.to_owned()).send();
    for (body, field) in [
        ("{}", "key"),
        (r#"{"key":7}"#, "key"),
        (r#"{"key":null}"#, "key"),
        (r#"{"key":"a","key":"b"}"#, "key"),
        (r#"{"key":"a","more":1}"#, "more"),
        ("[]", "body"),
    ] {
        let refused = put(body).await.refused(422, "validation_failed");
        assert_eq!(refused.body["errors"][0]["field"], field, "{body}");
    }
    put("{").await.refused(400, "malformed_json");
    let parts = ["", ".", "..", "a.b.c", "e30.e30.e30", &"x".repeat(10_000)];
    for text in parts {
        apply(&app, POOL, text)
            .await
            .refused(422, "license_malformed");
    }
    let path = format!("{PATH}?dry_run=maybe");
    let refused = app.put(&path).json(&json!({"key": "a"})).send().await;
    refused.refused(422, "validation_failed");
    assert_eq!(app.entries().await, 1);
}

#[tokio::test]
async fn a_trial_ends_to_the_millisecond_fourteen_days_after_it_was_applied() {
    for sweeps in [false, true] {
        let app = start().await;
        let key = issue(&app, trial()).await;
        let applied = apply(&app, POOL, &key).await.expect(200).body;
        // As much as before, and the cycle goes on.
        assert_eq!(
            (&applied["change"], &applied["type"]),
            (&json!("equal"), &json!("trial"))
        );
        assert_eq!(applied["expires_at"], "2026-02-03T10:00:00.000Z");
        app.at("2026-02-03T09:59:59.999Z");
        if sweeps {
            app.sweep().await;
        }
        let before = app.debit(POOL, json!(30)).await.expect(201).body;
        assert_eq!(before["balance"]["available"], 70);
        assert_eq!(license(&app).await["status"], "active");

        app.at("2026-02-03T10:00:00Z");
        let expired = json!({
            "pool": POOL, "type": "trial", "plan": "basic", "status": "expired",
            "expires_at": "2026-02-03T10:00:00.000Z", "grace_until": null,
            "fingerprint": applied["fingerprint"], "features": [],
            "limits": {"users": null, "builders": 1, "end_users": null},
        });
        assert_eq!(license(&app).await, expired, "whether or not it is booked");
        if sweeps {
            app.sweep().await;
        }
        let after = app.debit(POOL, json!(30)).await.expect(201).body;
        assert_eq!(after["balance"]["available"], 70, "a cycle of its own");
        assert_eq!(license(&app).await, expired);
        let again = issue(&app, trial()).await;
        apply(&app, POOL, &again)
            .await
            .refused(422, "license_expired");
        let kinds: Vec<_> = app.journal(POOL).await;
        let kinds: Vec<_> = kinds.iter().map(|entry| entry["kind"].clone()).collect();
        let expected = ["open", "terms_change", "debit", "license_end", "debit"];
        assert_eq!(kinds, expected);
        app.verify().await;
    }
}

#[tokio::test]
async fn at_its_end_a_licence_leaves_the_add_on_credits_and_a_new_one_renews() {
    let app = start().await;
    let key = issue(&app, paid()).await;
    apply(&app, POOL, &key).await.expect(200);
    let buy = json!({"credits": 500, "payment_reference": "pi_1"});
    app.book(&format!("{POOL}/purchases"), buy)
        .await
        .expect(201);
    app.at("2026-03-20T09:59:59.999Z");
    assert_eq!(app.balance(POOL).await["available"], 4_500);
    app.at("2026-03-20T10:00:00Z");
    let balance = app.balance(POOL).await;
    assert_eq!(balance["monthly"]["available"], 100);
    assert_eq!(balance["addon"]["available"], 500);
    let ended = license(&app).await;
    assert_eq!(
        (&ended["status"], &ended["type"]),
        (&json!("expired"), &json!("paid"))
    );
    assert_eq!(
        (&ended["plan"], &ended["limits"]["builders"]),
        (&json!("basic"), &json!(1))
    );
    apply(&app, POOL, &key)
        .await
        .refused(422, "license_expired");

    app.at("2026-03-25T10:00:00Z");
    let order = but(paid(), json!({"expires_at": "2026-06-30"}));
    let renewed = issue(&app, order.clone()).await;
    let renewed = apply(&app, POOL, &renewed).await.expect(200).body;
    assert_eq!(
        (&renewed["change"], &renewed["status"]),
        (&json!("increase"), &json!("active"))
    );
    assert_eq!(renewed["expires_at"], "2026-06-30T23:59:59.999Z");
    assert_eq!(renewed["balance"]["available"], 4_500);
    // Before its end the next one only moves the end.
    app.debit(POOL, json!(1_000)).await.expect(201);
    app.pass(TimeDelta::days(1));
    let longer = issue(&app, but(order, json!({"expires_at": "2027-06-30"}))).await;
    let longer = apply(&app, POOL, &longer).await.expect(200).body;
    assert_eq!(
        (&longer["change"], &longer["balance"]["available"]),
        (&json!("equal"), &json!(3_500))
    );
    assert_eq!(longer["expires_at"], "2027-06-30T23:59:59.999Z");
    app.verify().await;
}

#[tokio::test]
async fn a_licence_is_honoured_until_its_grace_is_over() {
    let app = start().await;
    let order = but(paid(), json!({"grace_until": "2026-03-27T10:00:00Z"}));
    let key = issue(&app, order).await;
    apply(&app, POOL, &key).await.expect(200);
    for (at, status, plan) in [
        ("2026-03-20T09:59:59.999Z", "active", "pro"),
        ("2026-03-20T10:00:00Z", "grace", "pro"),
        ("2026-03-27T09:59:59.999Z", "grace", "pro"),
        ("2026-03-27T10:00:00Z", "expired", "basic"),
    ] {
        app.at(at);
        let shown = license(&app).await;
        assert_eq!(
            (&shown["status"], &shown["plan"]),
            (&json!(status), &json!(plan)),
            "{at}"
        );
        assert_eq!(app.read(POOL).await["license"]["status"], status, "{at}");
    }
    let in_grace = issue(&app, but(paid(), json!({"expires_at": null}))).await;
    apply(&app, POOL, &in_grace).await.expect(200);
    assert_eq!(license(&app).await["expires_at"], json!(null), "for ever");
}

#[tokio::test]
async fn only_the_key_says_what_it_says() {
    let app = start().await;
    let key = issue(&app, paid()).await;
    apply(&app, POOL, &key).await.expect(200);
    for body in [
        json!({"plan": "pro"}),
        json!({"builders": 5}),
        json!({"monthly_allowance": null}),
        json!({"license": null}),
        json!({"license": {"type": "paid"}}),
    ] {
        app.put_pool(POOL, body).await.refused(409, "licensed");
    }
    assert_eq!(app.entries().await, 2);
    let other = json!({"term": "annual", "metadata": {"crm": "77"}});
    app.put_pool(POOL, other).await.expect(200);
    assert_eq!(license(&app).await["status"], "active");
}

#[tokio::test]
async fn a_licence_that_is_given_up_comes_back_without_a_grant() {
    let app = start().await;
    let none = app.delete(PATH).send().await.expect(200).body;
    assert_eq!((&none["change"], app.entries().await), (&json!("none"), 1));
    let key = issue(&app, paid()).await;
    apply(&app, POOL, &key).await.expect(200);
    app.debit(POOL, json!(1_000)).await.expect(201);
    app.pass(TimeDelta::days(1));
    let given_up = app.delete(PATH).send().await.expect(200).body;
    let shown = json!({
        "pool": POOL, "type": "basic", "plan": "basic", "status": "none", "expires_at": null,
        "grace_until": null, "fingerprint": null, "features": [],
        "limits": {"users": null, "builders": 1, "end_users": null},
    });
    assert_eq!(given_up["change"], "decrease");
    assert_eq!(given_up["balance"]["available"], 100);
    assert_eq!(license(&app).await, shown);
    let of_pool = app.read(POOL).await["license"].clone();
    assert_eq!(
        (&of_pool["status"], &of_pool["type"]),
        (&json!("none"), &json!(null))
    );
    let entries = app.entries().await;
    let again = app.delete(PATH).send().await.expect(200).body;
    assert_eq!(
        (&again["change"], &again["balance"]),
        (&json!("none"), &given_up["balance"])
    );
    assert_eq!(app.entries().await, entries);

    let back = apply(&app, POOL, &key).await.expect(200).body;
    assert_eq!(
        (&back["change"], &back["status"]),
        (&json!("equal"), &json!("active"))
    );
    assert_eq!(back["balance"]["available"], 100, "no second grant");
    app.put_pool(POOL, json!({"plan": "basic"}))
        .await
        .refused(409, "licensed");
    app.verify().await;
}

#[tokio::test]
async fn a_key_that_comes_many_times_at_once_is_booked_once() {
    let app = start().await;
    let key = issue(&app, paid()).await;
    let (other, ..) = serve(&app.database.url, app.clock.clone()).await;
    let other = other.with_key(&app.bearer);
    let clients: [&Client; 2] = [&app, &other];
    let replies = (0..16).map(|number| apply(clients[number % 2], POOL, &key));
    let replies = join_all(replies).await;
    // A machine at work on much else may say 503 to some, booked or not.
    let answered = replies.into_iter().filter(|reply| reply.status != 503);
    let changes = answered.map(|reply| reply.expect(200).body["change"].clone());
    let booked = changes.filter(|change| *change == "increase").count();
    assert!(booked <= 1, "{booked} times");
    let again = apply(&app, POOL, &key).await.expect(200).body;
    assert_eq!((&again["change"], app.entries().await), (&json!("none"), 2));
    assert_eq!(app.balance(POOL).await["available"], 4_000);
    app.verify().await;
}

#[tokio::test]
async fn an_installation_reads_its_own_licence_and_applies_none() {
    let app = start().await;
    app.put_pool("instance:other", json!({"plan": "basic"}))
        .await
        .expect(201);
    let path = format!("/v1/tenants/{}/keys", app.tenant);
    let body = json!({"name": "acme's", "scopes": ["balances:read"], "pools": [POOL]});
    let bound = app
        .operator
        .post(&path)
        .json(&body)
        .send()
        .await
        .expect(201);
    let bound = app.with_key(bound.body["secret"].as_str().expect("a secret"));
    assert_eq!(license(&bound).await["plan"], "basic");
    let other = "/v1/pools/instance:other/license";
    bound.get(other).send().await.refused(404, "pool_not_found");
    let key = issue(&app, paid()).await;
    apply(&bound, POOL, &key)
        .await
        .refused(403, "scope_missing");
    let refused = bound.delete(PATH).send().await;
    assert_eq!(
        refused.refused(403, "scope_missing").body["scope"],
        "pools:write"
    );
    let writer = app.with_scopes(&["pools:write"]).await;
    apply(&writer, POOL, &key).await.expect(200);
    writer.get(PATH).send().await.refused(403, "scope_missing");
}

#[tokio::test]
async fn a_pool_that_is_made_when_first_used_has_a_licence_like_any_other() {
    let app = start().await;
    let path = format!("/v1/tenants/{}", app.tenant);
    let key = issue(&app, but(paid(), json!({"customer_id": "new"}))).await;
    apply(&app, "instance:new", &key)
        .await
        .refused(404, "pool_not_found");
    let nothing = app.get("/v1/pools/instance:new/license").send().await;
    nothing.refused(404, "pool_not_found");
    let settings = json!({"auto_provision": {"workspace": "free", "instance": "basic"}});
    let call = app.operator.call(reqwest::Method::PATCH, &path);
    let body = json!({"settings": settings});
    call.json(&body).send().await.expect(200);
    let shown = app.read("instance:new/license").await;
    assert_eq!(
        (&shown["plan"], &shown["status"]),
        (&json!("basic"), &json!("none"))
    );
    let stranger = issue(&app, paid()).await;
    let refused = apply(&app, "instance:new", &stranger).await;
    refused.refused(422, "license_of_another");
    app.get("/v1/pools/instance:new")
        .send()
        .await
        .refused(404, "pool_not_found");
    let applied = apply(&app, "instance:new", &key).await.expect(200).body;
    assert_eq!(applied["balance"]["available"], 4_000);
    app.verify().await;
}

#[tokio::test]
async fn on_a_test_clock_a_licence_lives_in_its_time() {
    let app = TestApp::sandbox().await;
    let clock = json!({"now": "2020-01-20T10:00:00Z"});
    let clock = app.post("/v1/test-clocks").json(&clock).send().await;
    let clock = clock.expect(201).body["id"].clone();
    let pool = json!({"plan": "basic", "test_clock": clock});
    app.put_pool(POOL, pool).await.expect(201);
    let past = but(paid(), json!({"expires_at": "2020-03-20T10:00:00Z"}));
    let key = issue(&app, past).await;
    apply(&app, POOL, &key).await.expect(200);
    assert_eq!(license(&app).await["status"], "active");
    let path = format!("/v1/test-clocks/{}/advance", clock.as_str().expect("an id"));
    let to = json!({"to": "2020-03-20T10:00:00Z"});
    app.post(&path).json(&to).send().await.expect(200);
    let ended = license(&app).await;
    assert_eq!(
        (&ended["status"], &ended["plan"]),
        (&json!("expired"), &json!("basic"))
    );
    app.verify().await;
}
