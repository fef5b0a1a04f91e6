//! Many clients, one pool: never overspent; one key: one effect.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use serde_json::json;

use crate::support::TestApp;

#[tokio::test]
async fn a_key_sent_a_hundred_times_at_once_books_once() {
    let app = TestApp::start().await;
    app.put_pool("workspace:w", json!({"plan": "free"}))
        .await
        .expect(201);

    let send = || {
        let body = json!({"credits": 1});
        app.post("/v1/pools/workspace:w/debits")
            .key("same")
            .json(&body)
            .send()
    };
    let replies = join_all((0..100).map(|_| send())).await;

    assert!(replies.iter().all(|reply| reply.status == 201));
    let fresh = replies
        .iter()
        .filter(|reply| reply.header("idempotency-replayed").is_none());
    assert_eq!(fresh.count(), 1, "one answer is the first");
    assert!(replies.iter().all(|reply| reply.body == replies[0].body));
    assert_eq!(app.balance("workspace:w").await["available"], 99);
    assert_eq!(app.entries().await, 2);
    app.verify().await;
}

#[tokio::test]
async fn one_key_with_different_bodies_at_once_books_one_of_them() {
    let app = TestApp::start().await;
    app.put_pool("workspace:w", json!({"plan": "free"}))
        .await
        .expect(201);

    let send = |credits: u32| {
        let body = json!({"credits": credits});
        app.post("/v1/pools/workspace:w/debits")
            .key("same")
            .json(&body)
            .send()
    };
    let replies = join_all((1..=20).map(send)).await;

    let booked: Vec<_> = replies.iter().filter(|reply| reply.status == 201).collect();
    assert_eq!(booked.len(), 1);
    let reused = replies
        .iter()
        .filter(|it| it.code() == "idempotency_key_reused");
    assert_eq!(reused.count(), 19);
    let left = 100 - booked[0].body["credits"].as_i64().expect("credits");
    assert_eq!(app.balance("workspace:w").await["available"], left);
}

#[tokio::test]
async fn pools_do_not_mix_under_load() {
    let app = TestApp::start().await;
    let pools: Vec<String> = (0..20)
        .map(|number| format!("workspace:w{number}"))
        .collect();
    for pool in &pools {
        app.put_pool(pool, json!({"plan": "free"}))
            .await
            .expect(201);
    }

    let one = |number: usize| {
        let (app, pools) = (&app, &pools);
        async move {
            let pool = &pools[number % pools.len()];
            (pool.clone(), app.debit(pool, json!(number % 7 + 1)).await)
        }
    };
    let replies = join_all((0..400).map(one)).await;

    let mut spent: BTreeMap<String, i64> = BTreeMap::new();
    for (pool, reply) in replies {
        if reply.status == 201 {
            *spent.entry(pool).or_default() += reply.body["credits"].as_i64().expect("credits");
        } else {
            assert_eq!(reply.status, 402, "{}", reply.text);
        }
    }
    for pool in &pools {
        assert_eq!(app.balance(pool).await["available"], 100 - spent[pool]);
    }
    app.verify().await;
}
