//! Renewals by the sweeper: what they save of a pool is all that they change.

use serde_json::{Value, json};

use crate::support::TestApp;

const POOLS: [&str; 5] = [
    "workspace:plain",
    "workspace:held",
    "workspace:waiting",
    "workspace:bought",
    "workspace:owing",
];

async fn send(app: &TestApp, path: &str, body: Value) {
    let path = format!("/v1/pools/{path}");
    app.post(&path).json(&body).send().await.expect(201);
}

/// A pool of each kind that renews in its own way.
async fn fill(app: &TestApp) {
    for pool in POOLS {
        let plan = json!({"plan": "pro", "builders": 2});
        app.put_pool(pool, plan).await.expect(201);
    }
    let hold = json!({"credits": 700, "expires_in_seconds": 86_400});
    send(app, "workspace:held/holds", hold).await;
    let smaller = json!({"plan": "pro", "builders": 1});
    app.put_pool("workspace:waiting", smaller).await.expect(200);
    let bought = json!({"credits": 500, "payment_reference": "pi_1"});
    send(app, "workspace:bought/purchases", bought).await;
    let too_much = json!({"credits": 2_000, "mode": "settle"});
    send(app, "workspace:owing/debits", too_much).await;
}

async fn shown(app: &TestApp) -> Vec<Value> {
    let mut shown = Vec::new();
    for pool in POOLS {
        for path in ["", "/balance"] {
            let path = format!("/v1/pools/{pool}{path}");
            shown.push(app.get(&path).send().await.expect(200).body);
        }
    }
    shown
}

#[tokio::test]
async fn a_swept_renewal_leaves_what_a_read_has_computed() {
    let app = TestApp::start().await;
    app.at("2026-01-31T10:00:00Z");
    fill(&app).await;
    // Late enough for two cycles and the hold.
    app.at("2026-03-31T10:00:00Z");
    let computed = shown(&app).await;
    let swept = app.sweep().await;
    assert_eq!((swept.pools, swept.is_whole_portion), (POOLS.len(), false));
    assert_eq!(shown(&app).await, computed);
    assert_eq!(app.sweep().await.pools, 0, "nothing is due any more");
    app.verify().await;
}

#[tokio::test]
async fn a_debit_of_a_pool_that_is_due_is_saved_with_its_renewal() {
    let app = TestApp::start().await;
    app.at("2026-01-31T10:00:00Z");
    fill(&app).await;
    app.at("2026-02-28T10:00:00Z");
    for pool in POOLS {
        send(&app, &format!("{pool}/debits"), json!({"credits": 3})).await;
    }
    assert_eq!(app.sweep().await.pools, 0, "the debits have booked it");
    for balance in shown(&app).await.iter().skip(1).step_by(2) {
        assert_eq!(balance["monthly"]["used"], json!(3), "{balance}");
    }
    app.verify().await;
}
