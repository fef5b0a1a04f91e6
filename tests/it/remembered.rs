//! Lanes remember the pools they wrote last, and decide on them while a write is on its way.
//! Nothing that anybody sees may depend on that: not after another replica wrote, not after the
//! catalogue changed, not after a write was cut off, not for who is refused.

use futures_util::future::{join, join_all};
use serde_json::{Value, json};
use sqlx::{Executor, PgConnection};

use crate::support::{Client, Reply, TestApp, serve};

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
        let available = |balance: &Value| balance["available"].as_i64();
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

/// Sends debits as one batch request: status, replayed or not, and code of each.
async fn batch(app: &TestApp, items: &[Value]) -> Vec<(u64, bool, String)> {
    let body = json!({"items": items});
    let answer = app
        .post("/v1/debits/batch")
        .json(&body)
        .send()
        .await
        .expect(200)
        .body;
    let results = answer["results"].as_array().expect("results").iter();
    let row = |result: &Value| {
        let code = result["error"]["code"].as_str().unwrap_or_default();
        let replayed = result["replayed"].as_bool().unwrap_or_default();
        (
            result["status"].as_u64().expect("a status"),
            replayed,
            code.to_owned(),
        )
    };
    results.map(row).collect()
}

#[tokio::test]
async fn a_batch_of_replays_refusals_and_fresh_debits_answers_each_for_itself() {
    let app = TestApp::start().await;
    for pool in ["workspace:a", "workspace:b", "workspace:c"] {
        app.put_pool(pool, json!({"plan": "free"}))
            .await
            .expect(201);
    }
    let item = |pool: &str, key: &str, credits: u32| {
        let pool = format!("workspace:{pool}");
        json!({"pool": pool, "idempotency_key": key, "credits": credits})
    };
    let booked = |replayed: bool| (201, replayed, String::new());
    let first = [item("a", "k-1", 60), item("b", "k-1", 100)];
    assert_eq!(batch(&app, &first).await, [booked(false), booked(false)]);
    let mixed = [
        item("a", "k-2", 40),
        item("a", "k-1", 60),
        item("a", "k-3", 1),
        item("b", "k-1", 100),
        item("b", "k-1", 99),
        item("b", "k-2", 1),
        item("c", "k-1", 5),
        item("c", "k-1", 5),
        item("c", "k-1", 6),
    ];
    let refused = |status, code: &str| (status, false, code.to_owned());
    let expected = |fresh: bool| {
        [
            booked(!fresh),
            booked(true),
            refused(402, "pool_empty"),
            booked(true),
            refused(422, "idempotency_key_reused"),
            refused(402, "pool_empty"),
            booked(!fresh),
            booked(true),
            refused(422, "idempotency_key_reused"),
        ]
    };
    // Cold, right after a replay, and with nothing new in it.
    assert_eq!(batch(&app, &mixed).await, expected(true));
    assert_eq!(batch(&app, &mixed).await, expected(false));
    assert_eq!(batch(&app, &mixed).await, expected(false));
    assert_eq!(app.entries().await, 3 + 4);
    app.verify().await;
}

/// Waits until so many statements wait for locks of others.
async fn until_blocked(database: &mut PgConnection, statements: i64) {
    let waiting = "SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let mut count: i64 = -1;
    while count != statements {
        let counting = sqlx::query_scalar(waiting).fetch_one(&mut *database);
        count = counting.await.expect("it counts");
    }
}

/// A pool with 99 credits that the lane remembers, and whose row is locked.
async fn locked_pool(app: &TestApp) -> PgConnection {
    app.put_pool(POOL, json!({"plan": "free"}))
        .await
        .expect(201);
    app.debit(POOL, json!(1)).await.expect(201);
    let mut locker = app.database.connect().await;
    let lock = "BEGIN; SELECT FROM pools FOR UPDATE";
    locker.execute(lock).await.expect("it is locked");
    locker
}

/// Debits that are taken up behind a write that waits; `then` is done once they most likely are.
async fn behind<T, U>(
    app: &TestApp,
    debits: impl Future<Output = T>,
    then: impl Future<Output = U>,
) -> (T, U) {
    let then = async {
        for _ in 0..20 {
            app.balance(POOL).await;
        }
        then.await
    };
    join(debits, then).await
}

/// Twelve of them, of four credits each.
async fn debits_behind<T>(app: &TestApp, then: impl Future<Output = T>) -> (Vec<Reply>, T) {
    let debits = join_all((0..12).map(|_| app.debit(POOL, json!(4))));
    behind(app, debits, then).await
}

fn count(replies: &[Reply], status: u16) -> usize {
    let same = replies.iter().filter(|reply| reply.status == status);
    same.count()
}

#[tokio::test]
async fn what_was_decided_behind_a_write_that_came_too_late_is_decided_again() {
    let (here, there) = two().await;
    let mut watcher = here.database.connect().await;
    let mut locker = locked_pool(&here).await;
    // The other replica is first in line and takes 60. Then the 50 cannot be taken here, and what
    // was decided as if they had been must not stand, though the journal has as many entries.
    let here_next = async {
        until_blocked(&mut watcher, 1).await;
        let behind = async {
            until_blocked(&mut watcher, 2).await;
            debits_behind(&here, locker.execute("ROLLBACK")).await
        };
        join(here.debit(POOL, json!(50)), behind).await
    };
    let (other, (too_much, (replies, freed))) = join(there.debit(POOL, json!(60)), here_next).await;
    freed.expect("it is free again");
    other.expect(201);
    too_much.refused(402, "insufficient_credits");
    assert_eq!((count(&replies, 201), count(&replies, 402)), (9, 3));
    assert_eq!(here.balance(POOL).await["available"], 3);
    here.verify().await;
}

/// Some pools that the lanes remember besides [`POOL`], whose row is locked.
async fn others_beside_a_locked_pool(app: &TestApp) -> (Vec<String>, PgConnection) {
    let others: Vec<String> = (0..8).map(|it| format!("workspace:other-{it}")).collect();
    for pool in others.iter().map(String::as_str).chain([POOL]) {
        let put = app.put_pool(pool, json!({"plan": "free"}));
        put.await.expect(201);
        app.debit(pool, json!(1)).await.expect(201);
    }
    let mut locker = app.database.connect().await;
    let lock = format!("BEGIN; SELECT FROM pools WHERE name = '{POOL}' FOR UPDATE");
    let locking = locker.execute(sqlx::AssertSqlSafe(lock));
    locking.await.expect("it is locked");
    (others, locker)
}

#[tokio::test]
async fn a_write_that_is_held_up_holds_up_no_debits_on_other_pools() {
    let app = TestApp::start().await;
    let mut watcher = app.database.connect().await;
    let (others, mut locker) = others_beside_a_locked_pool(&app).await;
    let meanwhile = async {
        until_blocked(&mut watcher, 1).await;
        // All of them come at once: after that nothing happens that the lane could notice.
        let debits = join_all(others.iter().map(|pool| app.debit(pool, json!(1)))).await;
        locker.execute("ROLLBACK").await.expect("it is free again");
        debits
    };
    // Were it waited for, it would have been given up before its row is free.
    let (held_up, debits) = join(app.debit(POOL, json!(1)), meanwhile).await;
    held_up.expect(201);
    assert_eq!(count(&debits, 201), others.len());
    app.verify().await;
}

#[tokio::test]
async fn debits_for_which_no_connection_can_be_made_wait_for_one_that_is_there() {
    let app = TestApp::start().await;
    let mut watcher = app.database.connect().await;
    let (others, mut locker) = others_beside_a_locked_pool(&app).await;
    app.database.accept_connections(false).await;
    let waiting = async {
        until_blocked(&mut watcher, 1).await;
        let debits = join_all(others.iter().map(|pool| app.debit(pool, json!(1))));
        behind(&app, debits, locker.execute("ROLLBACK")).await
    };
    let (held_up, (debits, freed)) = join(app.debit(POOL, json!(1)), waiting).await;
    freed.expect("it is free again");
    held_up.expect(201);
    assert_eq!(count(&debits, 201), others.len());
    app.database.accept_connections(true).await;
    app.verify().await;
}

/// The pool's row is free again, the other replica is first in line and here a debit comes too
/// late: from now on the pool is written in turn here.
async fn be_late(
    [here, there]: [&Client; 2],
    watcher: &mut PgConnection,
    locker: &mut PgConnection,
) {
    let late = async {
        until_blocked(watcher, 1).await;
        let free = async {
            until_blocked(watcher, 2).await;
            locker.execute("ROLLBACK").await.expect("it is free again");
        };
        join(here.debit(POOL, json!(1)), free).await.0.expect(201);
    };
    join(there.debit(POOL, json!(1)), late).await.0.expect(201);
}

#[tokio::test]
async fn a_pool_that_waits_for_its_turn_holds_up_no_other() {
    let (here, there) = two().await;
    let mut watcher = here.database.connect().await;
    let mut locker = locked_pool(&here).await;
    be_late([&here, &there], &mut watcher, &mut locker).await;

    let lock = "BEGIN; SELECT FROM pools FOR UPDATE";
    locker.execute(lock).await.expect("it is locked");
    let others = async {
        until_blocked(&mut watcher, 2).await;
        // Of both lanes.
        for number in 0..8 {
            let pool = format!("workspace:other-{number}");
            let put = here.put_pool(&pool, json!({"plan": "free"}));
            put.await.expect(201);
            here.debit(&pool, json!(1)).await.expect(201);
            here.debit(&pool, json!(1)).await.expect(201);
        }
        locker.execute("ROLLBACK").await.expect("it is free again");
    };
    let debits = join(here.debit(POOL, json!(1)), there.debit(POOL, json!(1)));
    let ((first, second), ()) = join(debits, others).await;
    first.expect(201);
    second.expect(201);
    assert_eq!(here.balance(POOL).await["available"], 95);
    here.verify().await;
}

#[tokio::test]
async fn who_comes_while_a_turn_is_awaited_is_not_refused_at_the_price_before() {
    let (here, there) = two().await;
    let mut watcher = here.database.connect().await;
    let mut locker = locked_pool(&here).await;
    let card = |fixed: u32| json!({"name": "Custom code", "estimate": 2, "fixed": fixed});
    let set_price = async |fixed: u32| {
        let put = there.put("/v1/operations/custom_code").json(&card(fixed));
        put.send().await.expect(200);
    };
    be_late([&here, &there], &mut watcher, &mut locker).await;

    set_price(3).await;
    // That price is known here.
    let body = json!({"operation": "custom_code"});
    let booked = here.book(&format!("{POOL}/debits"), body).await.expect(201);
    assert_eq!(booked.body["credits"], 3);
    let lock = "BEGIN; SELECT FROM pools FOR UPDATE";
    locker.execute(lock).await.expect("it is locked");
    let joining = async {
        until_blocked(&mut watcher, 1).await;
        set_price(5).await;
        let body = json!({"operation": "custom_code", "credits": 5});
        let path = format!("{POOL}/debits");
        let debits = join_all((0..4).map(|_| here.book(&path, body.clone())));
        behind(&here, debits, locker.execute("ROLLBACK")).await
    };
    let (too_much, (joined, freed)) = join(here.debit(POOL, json!(1_000)), joining).await;
    freed.expect("it is free again");
    too_much.refused(402, "insufficient_credits");
    assert_eq!(count(&joined, 201), 4, "the price is 5 now");
    assert_eq!(here.balance(POOL).await["available"], 94 - 4 * 5);
    here.verify().await;
}

#[tokio::test]
async fn what_was_decided_behind_a_write_that_was_cut_off_is_decided_on_what_is_there() {
    let app = TestApp::start().await;
    let mut watcher = app.database.connect().await;
    let mut locker = locked_pool(&app).await;
    let behind = async {
        until_blocked(&mut watcher, 1).await;
        let cut_off = async {
            let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                WHERE datname = current_database() AND wait_event_type = 'Lock'";
            watcher.execute(cut).await.expect("it is cut off");
            locker.execute("ROLLBACK").await
        };
        debits_behind(&app, cut_off).await
    };
    let (unknown, (replies, freed)) = join(app.debit(POOL, json!(50)), behind).await;
    freed.expect("it is free again");
    unknown.refused(503, "database_unavailable");
    assert_eq!(count(&replies, 201), 12, "they wait for a new connection");
    assert_eq!(app.balance(POOL).await["available"], 51);
    app.verify().await;
}
