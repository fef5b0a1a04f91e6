//! What requests about holds must be: replays, other requests with a used key, bad bodies, ids of
//! other things.

use chrono::TimeDelta;
use serde_json::{Value, json};

use crate::support::TestApp;

const W: &str = "workspace:w";
const HOLDS: &str = "/v1/pools/workspace:w/holds";

async fn app_on_pro() -> TestApp {
    let app = TestApp::start().await;
    app.put_pool(W, json!({"plan": "pro"})).await.expect(201);
    app
}

#[tokio::test]
async fn a_replay_is_the_first_answer_whatever_became_of_the_hold() {
    let app = app_on_pro().await;
    let send = async |key: &str, path: &str, body: Value| {
        let call = app.post(&format!("{HOLDS}{path}")).key(key).json(&body);
        call.send().await
    };
    let opening = json!({"credits": 100, "user_id": "u-1"});
    let opened = send("open", "", opening.clone()).await.expect(201);
    let id = opened.body["id"].as_str().expect("an id").to_owned();
    let longer = json!({"expires_in_seconds": 60});
    let (extend, capture) = (format!("/{id}/extend"), format!("/{id}/capture"));
    let extended = send("extend", &extend, longer.clone()).await.expect(200);
    let spending = json!({"credits": 70, "mode": "settle"});
    let captured = send("capture", &capture, spending.clone())
        .await
        .expect(201);
    let other = app.hold(W, 5).await;
    let release = format!("/{other}/release");
    let released = send("release", &release, json!({})).await.expect(200);
    app.pass(TimeDelta::days(40));
    app.delete("/v1/pools/workspace:w").send().await.expect(200);

    let entries = app.entries().await;
    for (key, path, body, first) in [
        ("open", "", &opening, &opened),
        ("extend", extend.as_str(), &longer, &extended),
        ("capture", capture.as_str(), &spending, &captured),
        ("release", release.as_str(), &json!({}), &released),
    ] {
        let again = send(key, path, body.clone()).await.expect(first.status);
        assert_eq!(again.header("idempotency-replayed"), Some("true"), "{key}");
        assert_eq!(again.text, first.text, "{key}");
        // The same key for anything else.
        let others = [("", json!({"credits": 1})), (release.as_str(), json!({}))];
        for (path, body) in others
            .into_iter()
            .filter(|(path, _)| key != "release" || *path != release)
        {
            let reused = send(key, path, body).await;
            reused.refused(422, "idempotency_key_reused");
        }
    }
    let elsewhere = send("release", &format!("/{id}/release"), json!({})).await;
    elsewhere.refused(422, "idempotency_key_reused");
    assert_eq!(app.entries().await, entries);
    app.verify().await;
}

#[tokio::test]
async fn the_same_hold_asked_for_in_other_words_is_a_replay() {
    let app = app_on_pro().await;
    let send = async |body: &str| app.post(HOLDS).key("k").raw(body.to_owned()).send().await;
    let first = send(r#"{"credits":7,"user_id":"u"}"#).await.expect(201);
    let words =
        r#"{"user_id":"u","partial":false,"expires_in_seconds":900,"credits":70e-1,"model":null}"#;
    assert_eq!(send(words).await.expect(201).text, first.text);
    for other in [
        r#"{"credits":8,"user_id":"u"}"#,
        r#"{"credits":7,"user_id":"v"}"#,
        r#"{"credits":7,"user_id":"u","partial":true}"#,
        r#"{"credits":7,"user_id":"u","expires_in_seconds":901}"#,
        r#"{"credits":7,"user_id":"u","round":"up"}"#,
        r#"{"credits":7,"user_id":"u","metadata":{}}"#,
    ] {
        send(other).await.refused(422, "idempotency_key_reused");
    }
}

/// Bodies that are not valid: of which route, and the field that is named.
fn invalid() -> Vec<(&'static str, &'static str, &'static str)> {
    let long = "expires_in_seconds";
    vec![
        ("", r#"{}"#, "credits"),
        ("", r#"{"credits":0}"#, "credits"),
        ("", r#"{"credits":-1}"#, "credits"),
        ("", r#"{"credits":0.001}"#, "credits"),
        ("", r#"{"credits":"7"}"#, "credits"),
        ("", r#"{"credits":1,"expires_in_seconds":0}"#, long),
        ("", r#"{"credits":1,"expires_in_seconds":86401}"#, long),
        ("", r#"{"credits":1,"expires_in_seconds":-1}"#, long),
        ("", r#"{"credits":1,"expires_in_seconds":1.5}"#, long),
        ("", r#"{"credits":1,"expires_in_seconds":"900"}"#, long),
        ("", r#"{"credits":1,"partial":"yes"}"#, "partial"),
        ("", r#"{"credits":1,"mode":"strict"}"#, "mode"),
        ("", r#"{"credits":1,"round":"down"}"#, "round"),
        ("", r#"{"credits":1,"user_id":""}"#, "user_id"),
        (
            "",
            r#"{"credits":1,"metadata":{"a":1,"a":1}}"#,
            "metadata.a",
        ),
        ("/extend", r#"{}"#, long),
        ("/extend", r#"{"expires_in_seconds":0}"#, long),
        ("/extend", r#"{"expires_in_seconds":86401}"#, long),
        ("/extend", r#"{"expires_in_seconds":null}"#, long),
        (
            "/extend",
            r#"{"expires_in_seconds":1,"credits":1}"#,
            "credits",
        ),
        ("/capture", r#"{}"#, "credits"),
        ("/capture", r#"{"credits":null}"#, "credits"),
        ("/capture", r#"{"credits":0}"#, "credits"),
        ("/capture", r#"{"credits":1e10}"#, "credits"),
        ("/capture", r#"{"credits":1,"mode":"loose"}"#, "mode"),
        ("/capture", r#"{"credits":1,"user_id":"u"}"#, "user_id"),
        ("/capture", "[]", "body"),
    ]
}

#[tokio::test]
async fn bad_holds_are_refused_by_name_and_book_nothing() {
    let app = app_on_pro().await;
    let id = app.hold(W, 10).await;
    for (what, body, field) in invalid() {
        let path = match what {
            "" => HOLDS.to_owned(),
            what => format!("{HOLDS}/{id}{what}"),
        };
        let refused = app.post(&path).raw(body).send().await;
        let refused = refused.refused(422, "validation_failed");
        assert_eq!(refused.body["errors"][0]["field"], field, "{what} {body}");
    }
    let both = r#"{"credits":0,"user_id":"","expires_in_seconds":0}"#;
    let both = app.post(HOLDS).raw(both).send().await;
    let both = both.refused(422, "validation_failed");
    assert_eq!(both.body["errors"].as_array().map(Vec::len), Some(3));
    for path in [
        HOLDS,
        &format!("{HOLDS}/{id}/release"),
        &format!("{HOLDS}/{id}/capture"),
    ] {
        let keyless = app.call(reqwest::Method::POST, path).raw("{}").send().await;
        keyless.refused(400, "idempotency_key_missing");
    }
    assert_eq!(app.entries().await, 2);
}

#[tokio::test]
async fn a_hold_is_found_in_its_own_pool_only() {
    let app = app_on_pro().await;
    app.put_pool("workspace:v", json!({"plan": "pro"}))
        .await
        .expect(201);
    let id = app.hold(W, 10).await;
    let debit = app.debit(W, json!(1)).await.expect(201).body;
    let debit = debit["id"].as_str().expect("an id");
    let strange = "0190a000-0000-7000-8000-000000000000";
    for (pool, id) in [
        ("v", id.as_str()),
        ("w", debit),
        ("w", strange),
        ("w", "nothing"),
    ] {
        let path = format!("/v1/pools/workspace:{pool}/holds/{id}");
        app.get(&path).send().await.refused(404, "not_found");
        for (what, body) in [
            ("release", json!({})),
            ("extend", json!({"expires_in_seconds": 60})),
            ("capture", json!({"credits": 1, "mode": "settle"})),
        ] {
            let reply = app.post(&format!("{path}/{what}")).json(&body).send().await;
            reply.refused(404, "not_found");
        }
    }
    let nowhere = format!("workspace:x/holds/{id}/release");
    app.book(&nowhere, json!({}))
        .await
        .refused(404, "pool_not_found");
    assert_eq!(app.entries().await, 4);
}
