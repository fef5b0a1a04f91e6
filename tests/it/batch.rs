//! Batches of debits: order, independence, keys, bounds.

use serde_json::{Value, json};

use crate::support::{Reply, TestApp};

async fn send(app: &TestApp, items: Value) -> Reply {
    let path = "/v1/debits/batch";
    app.call(reqwest::Method::POST, path)
        .json(&json!({"items": items}))
        .send()
        .await
}

async fn two_pools() -> TestApp {
    let app = TestApp::start().await;
    app.put_pool("workspace:a", json!({"plan": "free"}))
        .await
        .expect(201);
    app.put_pool("workspace:b", json!({"plan": "pro"}))
        .await
        .expect(201);
    app
}

fn item(pool: &str, key: &str, credits: Value) -> Value {
    json!({"pool": pool, "idempotency_key": key, "credits": credits})
}

/// What an item is answered: the status, and the code of its refusal.
type Outcome = (u64, &'static str);

const BOOKED: Outcome = (201, "booked");

/// Items of all kinds, each with what it is answered.
fn good_and_bad_items() -> Vec<(Value, Outcome)> {
    let short = (402, "insufficient_credits");
    let reused = (422, "idempotency_key_reused");
    let unknown = (404, "pool_not_found");
    let keyless = (400, "idempotency_key_missing");
    let invalid = (422, "validation_failed");
    let two_wrong =
        json!({"pool": "workspace:a", "idempotency_key": "4", "credits": 0, "user_id": ""});
    let misspelt = json!({"pool": "workspace:a", "idempotency_key": "5", "credit": 1});
    vec![
        (item("workspace:a", "1", json!(60)), BOOKED),
        (item("workspace:b", "1", json!(70)), BOOKED),
        (item("workspace:a", "2", json!(60)), short),
        (item("workspace:a", "1", json!(60)), BOOKED),
        (item("workspace:a", "1", json!(61)), reused),
        (item("workspace:x", "1", json!(1)), unknown),
        (item("nowhere", "1", json!(1)), invalid),
        (item("workspace:a", "", json!(1)), keyless),
        (json!({"pool": "workspace:a", "credits": 1}), keyless),
        (item("workspace:a", "3", json!("1")), invalid),
        (two_wrong, invalid),
        (misspelt, invalid),
        (json!(7), invalid),
        (json!([]), invalid),
        (json!({"idempotency_key": "6"}), invalid),
        (item("workspace:a", "7", json!(40)), BOOKED),
    ]
}

fn outcome(result: &Value) -> (u64, &str) {
    let code = result["error"]["code"].as_str().unwrap_or("booked");
    (result["status"].as_u64().expect("a status"), code)
}

#[tokio::test]
async fn each_item_has_its_own_answer_and_none_stops_the_others() {
    let app = two_pools().await;
    let (items, expected): (Vec<_>, Vec<_>) = good_and_bad_items().into_iter().unzip();
    let results = send(&app, json!(items)).await.expect(200).body["results"].clone();
    let outcomes: Vec<_> = results
        .as_array()
        .expect("results")
        .iter()
        .map(outcome)
        .collect();
    assert_eq!(outcomes, expected);
    assert_eq!(
        (&results[0]["replayed"], &results[3]["replayed"]),
        (&json!(false), &json!(true))
    );
    assert_eq!(results[3]["debit"], results[0]["debit"]);
    assert_eq!(
        results[10]["error"]["errors"].as_array().map(Vec::len),
        Some(2)
    );
    assert_eq!(results[9]["error"]["errors"][0]["field"], "credits");
    assert_eq!(app.balance("workspace:a").await["available"], 0);
    assert_eq!(app.balance("workspace:b").await["available"], 730);
    app.verify().await;
}

#[tokio::test]
async fn an_items_key_is_as_good_as_the_header() {
    let app = two_pools().await;
    let debit = json!({"credits": 5, "user_id": "u"});
    let path = "/v1/pools/workspace:b/debits";
    let single = app
        .post(path)
        .key("k")
        .json(&debit)
        .send()
        .await
        .expect(201);
    let item = json!({
        "pool": "workspace:b", "idempotency_key": "k", "credits": 5, "user_id": "u",
    });
    let batch = send(&app, json!([item])).await.expect(200).body;
    let expected = json!({"status": 201, "replayed": true, "debit": single.body});
    assert_eq!(batch["results"][0], expected);
}

#[tokio::test]
async fn a_thousand_items_of_one_pool_are_booked_in_order() {
    let app = two_pools().await;
    let item = |number: usize| {
        let key = format!("k{number}");
        json!({"pool": "workspace:b", "idempotency_key": key, "credits": 1, "mode": "settle"})
    };
    let items: Vec<Value> = (0..1_000).map(item).collect();
    let results = send(&app, json!(items)).await.expect(200).body["results"].clone();
    let results = results.as_array().expect("results");
    assert_eq!(results.len(), 1_000);
    for (place, result) in results.iter().enumerate() {
        assert_eq!(result["debit"]["seq"], place + 2, "{result}");
    }
    assert_eq!(app.balance("workspace:b").await["overdraft"], 200);
    app.verify().await;
}

#[tokio::test]
async fn a_batch_has_one_to_a_thousand_items() {
    let app = two_pools().await;
    for bad in [json!([]), json!(vec![0; 1_001]), json!({}), json!(null)] {
        let refused = send(&app, bad).await.refused(422, "validation_failed");
        assert_eq!(refused.body["errors"][0]["field"], "items");
    }
    let path = "/v1/debits/batch";
    app.post(path)
        .raw("{\"items\":[{]}")
        .send()
        .await
        .refused(400, "malformed_json");
    let large = format!("{{\"items\":[{}]}}", " ".repeat(1024 * 1024));
    app.post(path)
        .raw(large)
        .send()
        .await
        .refused(413, "payload_too_large");
}
