//! Bad days: the service or Postgres is killed in the middle of load, or Postgres is away.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use credit_ledger::embedded::{Options, Server};
use credit_ledger::ledger::TenantId;
use credit_ledger::store::Store;
use futures_util::future::join;
use serde_json::json;
use sqlx::{Connection, PgConnection};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::support::process::{Service, verify};
use crate::support::{Client, Database};

/// Debits with keys of its own until told to stop; remembers which were acknowledged.
async fn load(client: Client, name: usize, stop: Arc<AtomicBool>, acknowledged: Acknowledged) {
    let body = json!({"credits": 1});
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        let key = format!("load-{name}-{number}");
        number += 1;
        let path = format!("/v1/pools/workspace:w{}/debits", name % 3);
        let reply = client.post(&path).key(&key).json(&body).try_send().await;
        match reply {
            Ok(reply) if reply.status == 201 => {
                acknowledged.lock().await.insert(key);
            }
            Ok(reply) => assert_eq!(reply.status, 503, "{}", reply.text),
            Err(_) => tokio::task::yield_now().await,
        }
    }
}

type Acknowledged = Arc<Mutex<HashSet<String>>>;

/// Runs load until so many more debits were acknowledged, does the deed, and ends the load.
async fn load_until(client: &Client, acknowledged: &Acknowledged, deed: impl AsyncFnOnce()) {
    let stop = Arc::new(AtomicBool::new(false));
    let before = acknowledged.lock().await.len();
    let round = before * 100;
    let tasks: Vec<_> = (0..16)
        .map(|name| {
            let it = load(
                client.clone(),
                round + name,
                stop.clone(),
                acknowledged.clone(),
            );
            tokio::spawn(it)
        })
        .collect();
    let started = Instant::now();
    while acknowledged.lock().await.len() < before + 300 {
        assert!(
            started.elapsed() < Duration::from_secs(60),
            "the load gets through"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    deed().await;
    stop.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.expect("the load ends");
    }
}

async fn make_pools(client: &Client) {
    for number in 0..3 {
        let body = json!({"plan": "enterprise", "monthly_allowance": 1_000_000});
        client
            .put_pool(&format!("workspace:w{number}"), body)
            .await
            .expect(201);
    }
}

/// Each acknowledged debit is in the journal, each key there once.
async fn assert_all_there(url: &str, acknowledged: &Acknowledged) {
    let mut connection = PgConnection::connect(url).await.expect("Postgres answers");
    let keys: Vec<String> = sqlx::query_scalar(
        "SELECT idempotency_key FROM entries WHERE idempotency_key LIKE 'load-%'",
    )
    .fetch_all(&mut connection)
    .await
    .expect("the journal is there");
    let there: HashSet<&String> = keys.iter().collect();
    assert_eq!(there.len(), keys.len(), "no key is there twice");
    let acknowledged = acknowledged.lock().await;
    let lost: Vec<_> = acknowledged
        .iter()
        .filter(|key| !there.contains(key))
        .collect();
    assert_eq!(lost, Vec::<&String>::new(), "of {}", acknowledged.len());
    let (code, printed) = verify(url).await;
    assert_eq!(code, Some(0), "{printed}");
}

#[tokio::test]
async fn a_service_killed_under_load_loses_nothing_it_acknowledged() {
    let database = Database::create().await;
    let acknowledged = Acknowledged::default();
    let mut service = Service::start(&database.url).await;
    let (_, mut admin) = service.client.new_tenant("live").await;
    make_pools(&admin).await;
    for _ in 0..4 {
        load_until(&admin, &acknowledged, async || service.kill().await).await;
        service = Service::start(&database.url).await;
        admin = service.client.with_key(&admin.bearer);
        assert_all_there(&database.url, &acknowledged).await;
    }
}

/// A durable Postgres of this test alone, which starts again by itself when it dies.
async fn durable(name: &str) -> (Server, String, std::path::PathBuf) {
    let directory = format!("credit-ledger-tests-{}-{name}", std::process::id());
    let directory = std::env::temp_dir().join(directory);
    let server = Server::start(Options::new(&directory))
        .await
        .expect("Postgres starts");
    let url = server.url().expose().to_owned();
    (server, url, directory)
}

fn kill_postgres(server: &Server) {
    let process = server.process_id().and_then(rustix::process::Pid::from_raw);
    let process = process.expect("Postgres runs");
    rustix::process::kill_process(process, rustix::process::Signal::KILL).expect("it is killed");
}

#[tokio::test]
async fn a_postgres_killed_under_load_loses_nothing_that_was_acknowledged() {
    let (server, url, directory) = durable("killed").await;
    let service = Service::start(&url).await;
    let acknowledged = Acknowledged::default();
    let (_, admin) = service.client.new_tenant("live").await;
    make_pools(&admin).await;
    for _ in 0..3 {
        load_until(&admin, &acknowledged, async || {
            kill_postgres(&server);
            answers_fast_while_away(&admin).await;
            recovers(&admin).await;
        })
        .await;
        assert_all_there(&url, &acknowledged).await;
    }
    assert_eq!(service.terminate().await, Some(0));
    server.stop().await.expect("Postgres stops");
    let _ = std::fs::remove_dir_all(directory);
}

/// No request hangs: each is answered within two seconds, and only with what may be said.
async fn answers_fast_while_away(client: &Client) {
    for _ in 0..5 {
        let started = Instant::now();
        let debit = client.debit("workspace:w0", json!(1)).await;
        let read = client.get("/v1/pools/workspace:w0/balance").send().await;
        assert!(
            started.elapsed() < Duration::from_secs(4),
            "{:?}",
            started.elapsed()
        );
        for reply in [debit, read] {
            assert!([200, 201, 503].contains(&reply.status), "{}", reply.text);
            if reply.status == 503 {
                assert!(reply.header("retry-after").is_some(), "{}", reply.text);
            }
        }
    }
}

async fn recovers(client: &Client) {
    let started = Instant::now();
    loop {
        let reply = client.debit("workspace:w0", json!(1)).await;
        if reply.status == 201 {
            return;
        }
        assert!(
            started.elapsed() < Duration::from_secs(60),
            "{}",
            reply.text
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_database_that_is_away_is_503_within_two_seconds_and_readyz_says_so() {
    let (server, url, directory) = durable("away").await;
    let service = Service::start(&url).await;
    let (_, admin) = service.client.new_tenant("live").await;
    make_pools(&admin).await;
    service.client.get("/readyz").send().await.expect(200);
    server.stop().await.expect("Postgres stops");

    let paths = [
        "/v1/pools/workspace:w0/balance",
        "/v1/pools",
        "/v1/plans",
        "/readyz",
    ];
    for path in paths {
        let started = Instant::now();
        let reply = admin.get(path).send().await.expect(503);
        assert!(
            started.elapsed() < Duration::from_secs(2),
            "{path}: {:?}",
            started.elapsed()
        );
        assert!(reply.header("retry-after").is_some(), "{path}");
    }
    let started = Instant::now();
    let reply = admin
        .debit("workspace:w0", json!(1))
        .await
        .refused(503, "database_unavailable");
    assert!(
        started.elapsed() < Duration::from_secs(2),
        "{:?}",
        started.elapsed()
    );
    assert!(reply.header("retry-after").is_some());
    service.client.get("/livez").send().await.expect(200);

    let server = Server::start(Options::new(&directory))
        .await
        .expect("Postgres starts again");
    if server.url().expose() == url {
        recovers(&admin).await;
    }
    server.stop().await.expect("Postgres stops");
    let _ = std::fs::remove_dir_all(directory);
}

/// A connection that sends part of a request and then says nothing more.
async fn stalled(client: &Client, part: &str) -> TcpStream {
    let address = client.base.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address)
        .await
        .expect("the service listens");
    stream.write_all(part.as_bytes()).await.expect("it is sent");
    stream
}

#[tokio::test]
async fn a_client_that_stalls_does_not_keep_the_service_from_ending() {
    let database = Database::create().await;
    let service = Service::start(&database.url).await;
    let body = "POST /v1/debits/batch HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
        Content-Length: 100\r\n\r\n{";
    let _streams = [
        stalled(&service.client, "GET /livez HTTP/1.1\r\nHo").await,
        stalled(&service.client, body).await,
    ];
    service.client.get("/livez").send().await.expect(200);
    let started = Instant::now();
    assert_eq!(service.terminate().await, Some(0));
    assert!(
        started.elapsed() < Duration::from_secs(10),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test]
async fn a_service_whose_database_is_away_from_the_start_serves_503_until_it_is_there() {
    let (server, url, directory) = durable("late").await;
    let port = server.address().port;
    server.stop().await.expect("Postgres stops");
    let service = Service::start_unready(&url).await;
    service.client.get("/livez").send().await.expect(200);
    for path in ["/readyz", "/v1/tenants"] {
        let started = Instant::now();
        let reply = service.client.get(path).send().await.expect(503);
        assert!(reply.header("retry-after").is_some(), "{path}");
        assert!(
            started.elapsed() < Duration::from_secs(2),
            "{path}: {:?}",
            started.elapsed()
        );
    }
    let mut options = Options::new(&directory);
    options.port = Some(port);
    let server = Server::start(options).await.expect("Postgres starts");
    let started = Instant::now();
    while service.client.get("/readyz").send().await.status != 200 {
        assert!(
            started.elapsed() < Duration::from_secs(30),
            "it becomes ready"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    service.client.new_tenant("live").await;
    assert_eq!(service.terminate().await, Some(0));
    server.stop().await.expect("Postgres stops");
    let _ = std::fs::remove_dir_all(directory);
}

#[tokio::test]
async fn nobody_uses_a_connection_before_its_role_is_known() {
    let database = Database::create().await;
    let store = Store::new(&database.url, 1).expect("a good URL");
    assert!(!store.is_ready().await.expect("it is told"));
    let is_known = AtomicBool::new(false);
    let read = async {
        let nobody = TenantId::from(Uuid::nil());
        let found = store.find_tenant(nobody).await.expect("it is read");
        assert!(found.is_none() && is_known.load(Ordering::Relaxed));
    };
    let mut watcher = database.connect().await;
    let connected = "SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND application_name = 'credit-ledger'";
    let say = async {
        let mut count: i64 = 0;
        while count == 0 {
            let counting = sqlx::query_scalar(connected).fetch_one(&mut watcher);
            count = counting.await.expect("it counts");
        }
        is_known.store(true, Ordering::Relaxed);
        store.run_as(Some("credit_ledger_app"));
    };
    join(read, say).await;
    assert!(store.is_ready().await.expect("it is told"));
}

#[tokio::test]
async fn a_service_that_waits_for_its_database_can_be_ended() {
    let service = Service::start_unready("postgres://nobody@127.0.0.1:1/nothing").await;
    service.client.get("/readyz").send().await.expect(503);
    assert_eq!(service.terminate().await, Some(0));
}
