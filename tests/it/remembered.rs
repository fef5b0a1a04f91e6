//! Lanes remember the pools they wrote last. Nothing that anybody sees may depend on that: not after
//! another replica wrote, not after the catalogue changed, not for who is refused.

use futures_util::future::join_all;
use serde_json::json;

use crate::support::{Client, TestApp, serve};

const POOL: &str = "workspace:w";

/// Two services on one database, both used as the same tenant.
async fn two() -> (TestApp, Client) {
    let app = TestApp::start().await;
    let (other, ..) = serve(&app.database.url, app.clock.clone()).await;
    let key = app.operator.new_key(&app.tenant, &["admin"]).await;
    (app, other.with_key(&key))
}

#[tokio::test]
async fn a_new_price_counts_for_the_next_debit() {
    let app = TestApp::start().await;
    app.put_pool(POOL, json!({"plan": "team"}))
        .await
        .expect(201);
    for price in 1..=40 {
        let card = json!({"name": "Custom code", "estimate": 2, "fixed": price});
        let put = app.put("/v1/operations/custom_code").json(&card);
        put.send().await.expect(200);
        let debit = json!({"operation": "custom_code"});
        let booked = app.book(&format!("{POOL}/debits"), debit).await.expect(201);
        assert_eq!(booked.body["credits"], price);
    }
    app.verify().await;
}

#[tokio::test]
async fn what_another_replica_spent_is_gone_and_what_it_bought_is_there() {
    let (here, there) = two().await;
    here.put_pool(POOL, json!({"plan": "pro"}))
        .await
        .expect(201);
    for round in 0..20 {
        let available = |balance: &serde_json::Value| balance["available"].as_i64();
        let left = available(&here.balance(POOL).await).expect("a number");
        here.debit(POOL, json!(1)).await.expect(201);
        there.debit(POOL, json!(left - 1)).await.expect(201);
        here.debit(POOL, json!(1)).await.refused(402, "pool_empty");
        let purchase = json!({"credits": 100, "payment_reference": format!("pi_{round}")});
        there
            .book(&format!("{POOL}/purchases"), purchase)
            .await
            .expect(201);
        here.debit(POOL, json!(1)).await.expect(201);
    }
    here.verify().await;
}

#[tokio::test]
async fn a_pool_that_another_replica_closed_or_moved_to_another_plan_is_so_at_once() {
    let (here, there) = two().await;
    here.put_pool(POOL, json!({"plan": "free"}))
        .await
        .expect(201);
    here.debit(POOL, json!(100)).await.expect(201);
    there
        .put_pool(POOL, json!({"plan": "pro"}))
        .await
        .expect(200);
    here.debit(POOL, json!(800)).await.expect(201);
    let settle = json!({"credits": 1, "mode": "settle"});
    here.book(&format!("{POOL}/debits"), settle.clone())
        .await
        .expect(201);
    let path = format!("/v1/pools/{POOL}");
    there.delete(&path).send().await.expect(200);
    let closed = here.book(&format!("{POOL}/debits"), settle).await;
    closed.refused(409, "pool_closed");
    here.verify().await;
}

#[tokio::test]
async fn replays_mixed_with_fresh_debits_are_answered_as_they_were() {
    let (here, there) = two().await;
    here.put_pool(POOL, json!({"plan": "free"}))
        .await
        .expect(201);
    let send = |client: &Client, number: u32| {
        let call = client.post(&format!("/v1/pools/{POOL}/debits"));
        let body = json!({"credits": 1});
        call.key(&format!("key-{}", number % 40)).json(&body).send()
    };
    for _ in 0..3 {
        let (first, second) = tokio::join!(
            join_all((0..80).map(|number| send(&here, number))),
            join_all((0..80).map(|number| send(&there, number))),
        );
        assert!(first.iter().chain(&second).all(|reply| reply.status == 201));
    }
    assert_eq!(here.balance(POOL).await["available"], 60);
    assert_eq!(here.entries().await, 41);
    here.verify().await;
}

#[tokio::test]
async fn the_last_credits_go_to_as_many_as_there_are_on_two_replicas() {
    let (here, there) = two().await;
    here.put_pool(POOL, json!({"plan": "free"}))
        .await
        .expect(201);
    let (first, second) = tokio::join!(
        join_all((0..90).map(|_| here.debit(POOL, json!(1)))),
        join_all((0..90).map(|_| there.debit(POOL, json!(1)))),
    );
    let booked = first.iter().chain(&second).filter(|it| it.status == 201);
    assert_eq!(booked.count(), 100);
    let refused = first.iter().chain(&second).filter(|it| it.status == 402);
    assert_eq!(refused.count(), 80);
    here.verify().await;
}
