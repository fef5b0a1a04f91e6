//! Two services, as processes of their own, on one database.

use futures_util::future::join_all;
use serde_json::json;

use crate::support::process::{Service, verify};
use crate::support::{Client, Database, Reply};

/// Two services and a tenant, known to both.
async fn two() -> (Database, [Service; 2], [Client; 2]) {
    let database = Database::create().await;
    let first = Service::start(&database.url).await;
    let second = Service::start(&database.url).await;
    let (_, admin) = first.client.new_tenant("live").await;
    let other = second.client.with_key(&admin.bearer);
    (database, [first, second], [admin, other])
}

/// A debit as a patient client sends it: an overloaded machine may say 503, and the same key makes
/// it safe to ask again.
async fn debit_until_answered(client: &Client, number: usize) -> Reply {
    let key = format!("debit-{number}");
    for _ in 0..20 {
        let reply = client
            .post("/v1/pools/workspace:hot/debits")
            .key(&key)
            .json(&json!({"credits": 1}))
            .send()
            .await;
        if reply.status != 503 {
            return reply;
        }
    }
    panic!("{key} is not answered")
}

#[tokio::test]
async fn a_pool_of_a_hundred_is_spent_exactly_by_256_debits_through_two_services() {
    let (database, services, clients) = two().await;
    clients[0]
        .put_pool("workspace:hot", json!({"plan": "free"}))
        .await
        .expect(201);

    let debits = (0..256).map(|number| debit_until_answered(&clients[number % 2], number));
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
async fn a_service_that_is_killed_while_it_has_its_turn_leaves_the_pool_to_the_other() {
    let (database, services, clients) = two().await;
    let [killed, _left] = services;
    let put = json!({"plan": "enterprise", "monthly_allowance": 1_000_000});
    clients[0].put_pool("workspace:hot", put).await.expect(201);
    // What the killed one does not answer is asked of the other, with the same key.
    let debit = async |number: usize| {
        let key = format!("debit-{number}");
        let debit = clients[0].post("/v1/pools/workspace:hot/debits").key(&key);
        let answer = debit.json(&json!({"credits": 1})).try_send().await;
        if !answer.is_ok_and(|reply| reply.status == 201) {
            debit_until_answered(&clients[1], number).await.expect(201);
        }
    };
    let caller = async |first: usize| {
        for number in first..first + 20 {
            debit(number).await;
            debit_until_answered(&clients[1], 10_000 + number)
                .await
                .expect(201);
        }
    };
    let callers = join_all((0..16).map(|caller_number| caller(caller_number * 100)));
    let kill = async {
        let left = |balance: serde_json::Value| balance["available"].as_i64();
        while left(clients[1].balance("workspace:hot").await) > Some(1_000_000 - 100) {}
        killed.kill().await;
    };
    futures_util::future::join(callers, kill).await;
    let left = clients[1].balance("workspace:hot").await;
    assert_eq!(left["available"], 1_000_000 - 16 * 20 * 2);
    let (code, printed) = verify(&database.url).await;
    assert_eq!(code, Some(0), "{printed}");
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

/// Opens a hold of ten credits that ends after so many seconds, and gives its id.
async fn reserve(client: &Client, seconds: u32) -> String {
    let body = json!({"credits": 10, "expires_in_seconds": seconds});
    let reply = client
        .post("/v1/pools/workspace:hot/holds")
        .json(&body)
        .send()
        .await
        .expect(201);
    reply.body["id"].as_str().expect("an id").to_owned()
}

/// Everybody wants to close the hold: which of it succeeded.
async fn race(clients: &[Client; 2], hold: &str, amount: u32) -> Vec<u16> {
    let path = |what: &str| format!("/v1/pools/workspace:hot/holds/{hold}/{what}");
    let ask = |number: usize| {
        let client = &clients[number % 2];
        match number % 4 {
            0 | 1 => client
                .post(&path("capture"))
                .json(&json!({"credits": amount})),
            2 => client.post(&path("release")),
            _ => client
                .post(&path("extend"))
                .json(&json!({"expires_in_seconds": 1})),
        }
    };
    let replies = join_all((0..8).map(|number| ask(number).send())).await;
    let closing = replies
        .iter()
        .enumerate()
        .filter(|(number, _)| number % 4 != 3);
    closing.map(|(_, reply)| reply.status).collect()
}

#[tokio::test]
async fn each_hold_is_closed_once_whoever_captures_releases_and_extends_it_on_two_services() {
    let (database, _services, clients) = two().await;
    let body = json!({"plan": "pro"});
    clients[0].put_pool("workspace:hot", body).await.expect(201);
    let seconds = (0..40).zip([1, 2].into_iter().cycle());
    let reserved = seconds.map(|(number, seconds)| reserve(&clients[number % 2], seconds));
    let holds = join_all(reserved).await;

    let races = holds.iter().zip((0..3).cycle());
    let races = races.map(|(hold, more)| race(&clients, hold, 9 + more));
    for closings in join_all(races).await {
        // None, when the hold expired before anybody came.
        let closed = closings.iter().filter(|status| **status < 300).count();
        assert!(closed <= 1, "{closings:?}");
        let refused = closings.iter().filter(|status| **status == 409).count();
        assert_eq!(closed + refused, closings.len(), "{closings:?}");
    }

    // What nobody closed expires by itself. Each look is a request; none of them is needed for it.
    let mut looks = 0;
    while clients[0].balance("workspace:hot").await["held"] != 0 {
        looks += 1;
        assert!(looks < 100_000, "a hold stays open");
    }
    let statuses = clients[1]
        .get("/v1/pools/workspace:hot/holds?limit=200")
        .send()
        .await
        .expect(200);
    let statuses = statuses.body["data"].as_array().expect("holds").clone();
    assert_eq!(statuses.len(), 40);
    assert!(statuses.iter().all(|hold| hold["status"] != "open"));
    let used = |hold: &serde_json::Value| hold["status"] == "captured";
    let captured = statuses.iter().filter(|hold| used(hold)).count();
    let debits = "/v1/pools/workspace:hot/transactions?kind=debit&limit=200";
    let debits = clients[0].get(debits).send().await.expect(200);
    let debits = debits.body["data"].as_array().expect("debits").len();
    assert_eq!(
        debits, captured,
        "one debit for each hold that was captured"
    );
    let (code, printed) = verify(&database.url).await;
    assert_eq!(code, Some(0), "{printed}");
}
