//! The private Postgres as its user meets it: started, left behind, killed, and taken up again.

use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::Signal;

use super::*;

/// A directory of a test's own, gone with the test.
pub(super) struct Scratch(PathBuf);

impl Scratch {
    pub(super) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("credit-ledger-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("a test may make directories");
        Self(path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What a test leaves behind in the temporary directory does no harm.
        let _left_behind = std::fs::remove_dir_all(&self.0);
    }
}

async fn start(scratch: &Scratch) -> Server {
    Server::start(Options::new(scratch.path()))
        .await
        .expect("the private Postgres starts")
}

/// What `sql` answers as text, asked for until the server lets us in.
async fn ask(url: &Secret, sql: &'static str) -> String {
    for _ in 0..200 {
        if let Ok(mut connection) = PgConnection::connect(url.expose()).await {
            let answer = sqlx::query_scalar(sql).fetch_one(&mut connection).await;
            return answer.expect("the statement is good");
        }
        sleep(Duration::from_millis(50)).await;
    }
    panic!("the private Postgres did not let us in within 10 s");
}

async fn run(url: &Secret, sql: &'static str) {
    let mut connection = PgConnection::connect(url.expose())
        .await
        .expect("it lets us in");
    sqlx::raw_sql(sql)
        .execute(&mut connection)
        .await
        .expect("the statement is good");
}

async fn wait_until_gone(data: &Path) {
    for _ in 0..200 {
        if PidFile::read(data).is_none() {
            return;
        }
        sleep(Duration::from_millis(50)).await;
    }
    panic!("the private Postgres did not stop within 10 s");
}

#[tokio::test]
async fn the_ledger_is_taken_up_again_after_a_stop() {
    let scratch = Scratch::new();
    let first = start(&scratch).await;
    run(&first.url(), "CREATE TABLE kept AS SELECT 'here' AS word").await;
    first.stop().await.expect("it stops");

    let second = start(&scratch).await;

    assert_eq!(ask(&second.url(), "SELECT word FROM kept").await, "here");
    second.stop().await.expect("it stops");
}

#[tokio::test]
async fn only_the_password_opens_it_and_what_it_answers_is_durable() {
    let scratch = Scratch::new();
    let server = start(&scratch).await;
    let address = server.address();

    for sql in [
        "SHOW fsync",
        "SHOW synchronous_commit",
        "SHOW full_page_writes",
    ] {
        assert_eq!(ask(&server.url(), sql).await, "on", "{sql}");
    }
    assert_eq!(ask(&server.url(), "SHOW server_encoding").await, "UTF8");
    assert_eq!(
        ask(&server.url(), "SHOW listen_addresses").await,
        "127.0.0.1"
    );
    let stranger = Address {
        password: Secret::new("a guess"),
        ..address.clone()
    };
    for url in [stranger.url("postgres"), stranger.tcp_url("postgres")] {
        let refused = PgConnection::connect(url.expose())
            .await
            .expect_err("the password is wrong");
        assert_eq!(sql_state(&refused).as_deref(), Some("28P01"));
    }
    server.stop().await.expect("it stops");
}

#[tokio::test]
async fn a_second_start_is_refused_and_a_command_finds_the_running_one() {
    let scratch = Scratch::new();
    let absent = url_of_running(scratch.path()).expect_err("nothing runs");
    assert!(matches!(absent, EmbeddedError::NotRunning { .. }));

    let server = start(&scratch).await;

    let second = Server::start(Options::new(scratch.path())).await;
    assert!(matches!(second, Err(EmbeddedError::InUse { .. })));
    let url = url_of_running(scratch.path()).expect("it runs");
    assert_eq!(
        ask(&url, "SELECT current_database()::text").await,
        "credit_ledger"
    );
    server.stop().await.expect("it stops");
}

#[tokio::test]
async fn a_server_that_is_killed_comes_back_at_the_same_address() {
    let scratch = Scratch::new();
    let server = start(&scratch).await;
    run(&server.url(), "CREATE TABLE kept AS SELECT 'here' AS word").await;

    for _ in 0..3 {
        let killed = server.process_id().expect("it runs");
        postmaster::signal(killed, Signal::KILL);
        while server.process_id() == Some(killed) {
            sleep(POLL_INTERVAL).await;
        }
        assert_eq!(ask(&server.url(), "SELECT word FROM kept").await, "here");
    }
    server.stop().await.expect("it stops");
}

#[tokio::test]
async fn a_server_that_a_killed_run_left_behind_is_stopped_first() {
    let scratch = Scratch::new();
    let first = start(&scratch).await;
    first.stop().await.expect("it stops");
    // What is left of a run that was killed together with its watchdog.
    let data_dir = DataDir::lock(scratch.path()).expect("it is free");
    let home = data_dir.home().await.expect("it is there");
    let binaries = Binaries::find().await.expect("the tests need a Postgres");
    let (log, port) = (data_dir.log(), free_port().expect("there is a free port"));
    let data = home.data();
    let launch = Launch {
        binaries,
        home,
        log,
        port,
        settings: Vec::new(),
    };
    let (mut orphan, _) = launch.start().expect("it starts");
    while PidFile::read(&data).is_none() {
        sleep(POLL_INTERVAL).await;
    }
    drop(data_dir);

    let server = start(&scratch).await;

    let ended = orphan.try_wait().expect("it is our child");
    assert!(ended.is_some_and(|status| status.success()), "{ended:?}");
    assert_eq!(ask(&server.url(), "SELECT 'up'").await, "up");
    server.stop().await.expect("it stops");
}

#[tokio::test]
async fn a_server_that_is_forgotten_stops_by_itself() {
    let scratch = Scratch::new();
    let server = start(&scratch).await;
    let data = server.data.clone();
    // As when we are killed: the supervisor does nothing any more, and the pipe closes.
    server.supervisor.abort();

    drop(server);

    wait_until_gone(&data).await;
}

#[tokio::test]
async fn a_server_that_cannot_start_shows_what_it_logged() {
    let scratch = Scratch::new();
    let mut options = Options::new(scratch.path());
    options
        .settings
        .push(("shared_buffers".to_owned(), "nonsense".to_owned()));

    let refused = Server::start(options)
        .await
        .expect_err("the setting is wrong")
        .to_string();

    assert!(refused.contains("postgres.log"), "{refused}");
    assert!(refused.contains("shared_buffers"), "{refused}");
}

#[tokio::test]
async fn data_of_another_major_version_is_not_touched() {
    let scratch = Scratch::new();
    let data_dir = DataDir::lock(scratch.path()).expect("it is new");
    let data = data_dir.home().await.expect("it is made").data();
    std::fs::create_dir(&data).expect("a test may make directories");
    std::fs::write(data.join("PG_VERSION"), "9\n").expect("it is written");
    drop(data_dir);

    let refused = Server::start(Options::new(scratch.path())).await;

    assert!(
        matches!(refused, Err(EmbeddedError::WrongVersion { wanted: 9, .. })),
        "{refused:?}"
    );
}
