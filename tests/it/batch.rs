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

#[tokio::test]
async fn each_item_has_its_own_answer_and_none_stops_the_others() {
    let app = two_pools().await;
    let items = json!([
        item("workspace:a", "1", json!(60)),
        item("workspace:b", "1", json!(70)),
        item("workspace:a", "2", json!(60)),
        item("workspace:a", "1", json!(60)),
        item("workspace:a", "1", json!(61)),
        item("workspace:x", "1", json!(1)),
        item("nowhere", "1", json!(1)),
        item("workspace:a", "", json!(1)),
        {"pool": "workspace:a", "credits": 1},
        item("workspace:a", "3", json!("1")),
        {"pool": "workspace:a", "idempotency_key": "4", "credits": 0, "user_id": ""},
        {"pool": "workspace:a", "idempotency_key": "5", "credit": 1},
        7,
        [],
        {"idempotency_key": "6"},
        item("workspace:a", "7", json!(40)),
    ]);
    let results = send(&app, items).await.expect(200).body["results"].clone();
    let outcome = |result: &Value| {
        let code = result["error"]["code"]
            .as_str()
            .unwrap_or("booked")
            .to_owned();
        (result["status"].as_u64().expect("a status"), code)
    };
    let outcomes: Vec<_> = results
        .as_array()
        .expect("results")
        .iter()
        .map(outcome)
        .collect();
    let expected = [
        (201, "booked"),
        (201, "booked"),
        (402, "insufficient_credits"),
        (201, "booked"),
        (422, "idempotency_key_reused"),
        (404, "pool_not_found"),
        (422, "validation_failed"),
        (400, "idempotency_key_missing"),
        (400, "idempotency_key_missing"),
        (422, "validation_failed"),
        (422, "validation_failed"),
        (422, "validation_failed"),
        (422, "validation_failed"),
        (422, "validation_failed"),
        (422, "validation_failed"),
        (201, "booked"),
    ];
    let expected: Vec<_> = expected
        .into_iter()
        .map(|(status, code)| (status, code.to_owned()))
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
