//! Two services, as processes of their own, on one database.

use futures_util::future::join_all;
use serde_json::json;

use crate::support::process::{Service, verify};
use crate::support::{Client, Database};

/// Two services and a tenant, known to both.
async fn two() -> (Database, [Service; 2], [Client; 2]) {
    let database = Database::create().await;
    let first = Service::start(&database.url).await;
    let second = Service::start(&database.url).await;
    let (_, admin) = first.client.new_tenant("live").await;
    let other = second.client.with_key(&admin.bearer);
    (database, [first, second], [admin, other])
}

#[tokio::test]
async fn a_pool_of_a_hundred_is_spent_exactly_by_256_debits_through_two_services() {
    let (database, services, clients) = two().await;
    clients[0]
        .put_pool("workspace:hot", json!({"plan": "free"}))
        .await
        .expect(201);

    let debits = (0..256).map(|number| clients[number % 2].debit("workspace:hot", json!(1)));
    let replies = join_all(debits).await;

    let count = |status: u16| {
        replies
            .iter()
            .filter(|reply| reply.status == status)
            .count()
    };
    assert_eq!((count(201), count(402)), (100, 156));
    assert_eq!(clients[1].balance("workspace:hot").await["available"], 0);
    let (code, printed) = verify(&database.url).await;
    assert_eq!(code, Some(0), "{printed}");
    for service in services {
        assert_eq!(service.terminate().await, Some(0));
    }
}

#[tokio::test]
async fn one_key_through_two_services_books_once() {
    let (database, _services, clients) = two().await;
    clients[0]
        .put_pool("workspace:hot", json!({"plan": "free"}))
        .await
        .expect(201);

    let body = json!({"credits": 1});
    let send = |number: usize| {
        clients[number % 2]
            .post("/v1/pools/workspace:hot/debits")
            .key("same")
            .json(&body)
            .send()
    };
    let replies = join_all((0..100).map(send)).await;

    let fresh = replies
        .iter()
        .filter(|reply| reply.header("idempotency-replayed").is_none());
    assert_eq!(fresh.count(), 1);
    assert!(replies.iter().all(|reply| reply.status == 201));
    assert_eq!(clients[0].balance("workspace:hot").await["available"], 99);
    let (code, printed) = verify(&database.url).await;
    assert_eq!(code, Some(0), "{printed}");
}

#[tokio::test]
async fn one_pool_made_through_two_services_is_granted_once() {
    let (database, _services, clients) = two().await;

    let put = |number: usize| clients[number % 2].put_pool("workspace:w", json!({"plan": "pro"}));
    let replies = join_all((0..40).map(put)).await;

    let count = |status: u16| {
        replies
            .iter()
            .filter(|reply| reply.status == status)
            .count()
    };
    assert_eq!((count(201), count(200)), (1, 39));
    assert_eq!(clients[0].balance("workspace:w").await["available"], 800);
    let (code, printed) = verify(&database.url).await;
    assert_eq!(code, Some(0), "{printed}");
}

#[tokio::test]
async fn a_change_of_the_catalogue_is_seen_by_both_services_at_once() {
    let (_database, _services, clients) = two().await;
    clients[0]
        .put_pool("workspace:w", json!({"plan": "pro"}))
        .await
        .expect(201);
    let body = json!({"credits": 2, "operation": "custom_code"});
    let debit = || {
        clients[1]
            .post("/v1/pools/workspace:w/debits")
            .json(&body)
            .send()
    };
    debit().await.expect(201);

    let fixed = json!({"name": "Custom code", "estimate": 2, "fixed": 5});
    clients[0]
        .put("/v1/operations/custom_code")
        .json(&fixed)
        .send()
        .await
        .expect(200);

    debit().await.refused(422, "price_is_fixed");
}
