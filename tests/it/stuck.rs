//! A pool that somebody holds for long: others go on, and it comes free.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::{join, join_all};
use serde_json::json;
use sqlx::{Executor, PgConnection};
use tokio::sync::Notify;

use crate::support::process::{Service, verify};
use crate::support::{Client, Database, Reply};

/// A pool that two services write.
const HOT: &str = "workspace:hot";

/// A debit of one credit, with this key.
async fn debit(client: &Client, pool: &str, key: &str) -> Option<Reply> {
    let path = format!("/v1/pools/{pool}/debits");
    let debit = client.post(&path).key(key).json(&json!({"credits": 1}));
    debit.try_send().await.ok()
}

/// The same as a patient client sends it: the key makes it safe to ask again.
async fn debit_until_booked(client: &Client, pool: &str, key: &str) {
    debit_within(20, client, pool, key).await;
}

/// The same for so many times at the most.
async fn debit_within(times: usize, client: &Client, pool: &str, key: &str) {
    for _ in 0..times {
        match debit(client, pool, key).await {
            Some(reply) if reply.status == 503 => {}
            Some(reply) => return drop(reply.expect(201)),
            None => panic!("the service is there"),
        }
    }
    panic!("{key} is not booked")
}

#[tokio::test]
async fn many_who_wait_for_a_pool_that_is_held_leave_room_for_others() {
    let database = Database::create().await;
    let limits = [("LANES", "1"), ("BATCH_LIMIT", "4")];
    let service = Service::start_with(&database.url, &limits).await;
    let (_, admin) = service.client.new_tenant("live").await;
    let (held, other) = ("workspace:held", "workspace:other");
    for pool in [held, other] {
        let put = admin.put_pool(pool, json!({"plan": "free"}));
        put.await.expect(201);
        debit_until_booked(&admin, pool, "before").await;
    }
    let mut locker = database.connect().await;
    let lock = "BEGIN; SELECT FROM pools WHERE name = 'workspace:held' FOR UPDATE";
    locker.execute(lock).await.expect("it is locked");

    let keys: Vec<String> = (0..16).map(|number| format!("waits-{number}")).collect();
    let is_refused = Notify::new();
    let waits = async |key: &str| {
        let reply = debit(&admin, held, key).await.expect("an answer");
        is_refused.notify_one();
        reply
    };
    let waiting = join_all(keys.iter().map(|key| waits(key)));
    let meanwhile = async {
        is_refused.notified().await;
        let beside = debit(&admin, other, "beside").await;
        locker.execute("ROLLBACK").await.expect("it is free again");
        beside
    };
    let (replies, beside) = join(waiting, meanwhile).await;
    beside.expect("it is answered").expect(201);
    // Who could not even begin is told so; whose debit was on its way waited until it was booked,
    // or for as long as he may.
    let refused = replies.into_iter().filter(|reply| reply.status != 201);
    let codes: HashSet<String> = refused
        .map(|reply| {
            assert!(reply.header("retry-after").is_some(), "{reply:?}");
            reply.expect(503).code().to_owned()
        })
        .collect();
    assert!(codes.contains("overloaded"), "{codes:?}");
    for key in &keys {
        debit_until_booked(&admin, held, key).await;
    }
    assert_eq!(admin.balance(held).await["available"], 100 - 1 - 16);
    let (code, printed) = verify(&database.url).await;
    assert_eq!(code, Some(0), "{printed}");
}

/// Lets the service hang while it has its turn on a pool.
async fn hang_in_its_turn(service: &Service, other: &Client, watcher: &mut PgConnection) {
    // Who has locked a row has a transaction's number. What it sent before it hung is still done.
    let states = "SELECT
            coalesce(bool_or(state = 'idle in transaction' AND backend_xid IS NOT NULL
                AND clock_timestamp() - state_change > interval '200 milliseconds'), false),
            coalesce(bool_or(backend_xid IS NOT NULL OR state = 'active'), false)
        FROM pg_stat_activity
        WHERE application_name = 'hangs'";
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(60) {
        service.hang();
        loop {
            let states = sqlx::query_as(states).fetch_one(&mut *watcher);
            let (has_its_turn, may_get_it): (bool, bool) = states.await.expect("it is told");
            if has_its_turn {
                return;
            }
            if !may_get_it {
                break;
            }
        }
        service.go_on();
        // It comes to its next turns meanwhile.
        for _ in 0..20 {
            other.balance(HOT).await;
        }
    }
    panic!("it never has its turn")
}

#[tokio::test]
async fn a_service_that_hangs_while_it_has_its_turn_leaves_the_pool_to_the_other() {
    let database = Database::create().await;
    let hangs = Service::start_with(&database.url, &[("PGAPPNAME", "hangs")]).await;
    let lives = Service::start(&database.url).await;
    let (_, there) = hangs.client.new_tenant("live").await;
    let here = lives.client.with_key(&there.bearer);
    let put = json!({"plan": "enterprise", "monthly_allowance": 1_000_000});
    here.put_pool(HOT, put).await.expect(201);

    let (count, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
    // What the one that hangs does not answer well is asked of the other, with the same key.
    let caller = async |first: Option<&Client>| {
        while !is_over.load(Ordering::Relaxed) {
            let key = format!("debit-{}", count.fetch_add(1, Ordering::Relaxed));
            if let Some(client) = first {
                let reply = debit(client, HOT, &key).await.expect("an answer");
                assert!([201, 503].contains(&reply.status), "{reply:?}");
            }
            debit_until_booked(&here, HOT, &key).await;
        }
    };
    let callers = (0..8).map(|number| caller((number % 2 == 0).then_some(&there)));
    let mut watcher = database.connect().await;
    let hang = async {
        hang_in_its_turn(&hangs, &here, &mut watcher).await;
        // It is free again in time for the first; the other is for a machine that is busy.
        debit_within(2, &here, HOT, "meanwhile").await;
        is_over.store(true, Ordering::Relaxed);
        hangs.go_on();
    };
    join(join_all(callers), hang).await;
    debit_until_booked(&there, HOT, "afterwards").await;
    let booked = 2 + count.load(Ordering::Relaxed);
    assert_eq!(there.balance(HOT).await["available"], 1_000_000 - booked);
    let (code, printed) = verify(&database.url).await;
    assert_eq!(code, Some(0), "{printed}");
}
