//! One Postgres for the whole run, started by the binary's own module, and a database for each
//! test, copied from a migrated template.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use credit_ledger::embedded::{Options, Server};
use credit_ledger::store;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use tokio::runtime::Runtime;
use tokio::sync::Mutex;

/// The server's runtime must outlive every test's own.
static RUNTIME: OnceLock<Runtime> = OnceLock::new();
static SHARED: OnceLock<Shared> = OnceLock::new();
static NUMBER: AtomicU32 = AtomicU32::new(0);

struct Shared {
    server: Server,
    /// Two copies of a template at once would be refused.
    copying: Mutex<()>,
}

/// A database of its own, for one test.
pub struct Database {
    pub url: String,
}

impl Database {
    /// Copies the template.
    pub async fn create() -> Self {
        let shared = tokio::task::spawn_blocking(shared)
            .await
            .expect("the server starts");
        let name = format!("test_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let _one_at_a_time = shared.copying.lock().await;
        let mut admin = connect(&shared.url("postgres")).await;
        admin
            .execute(AssertSqlSafe(format!(
                "CREATE DATABASE {name} TEMPLATE ledger_template"
            )))
            .await
            .expect("a database is made");
        Self {
            url: shared.url(&name),
        }
    }

    /// A connection as the superuser.
    pub async fn connect(&self) -> PgConnection {
        connect(&self.url).await
    }

    /// Whether it takes more connections than it has.
    pub async fn accept_connections(&self, accepts: bool) {
        let options: PgConnectOptions = self.url.parse().expect("a good URL");
        let name = options.get_database().expect("it has a name");
        let shared = SHARED.get().expect("it was made there");
        let mut admin = connect(&shared.url("postgres")).await;
        admin
            .execute(AssertSqlSafe(format!(
                "ALTER DATABASE {name} ALLOW_CONNECTIONS {accepts}"
            )))
            .await
            .expect("it is said");
    }
}

impl Shared {
    fn url(&self, database: &str) -> String {
        self.server.address().url(database).expose().to_owned()
    }
}

async fn connect(url: &str) -> PgConnection {
    PgConnection::connect(url).await.expect("Postgres answers")
}

fn shared() -> &'static Shared {
    SHARED.get_or_init(|| {
        let runtime = RUNTIME.get_or_init(|| Runtime::new().expect("a runtime starts"));
        runtime.block_on(start())
    })
}

async fn start() -> Shared {
    // Beside the tests: much may be left.
    std::thread::spawn(remove_left_over);
    let mut options = Options::new(data_dir(std::process::id()));
    // These tests are about rules, not about power cuts; those have a durable server of their own.
    for (name, value) in [("fsync", "off"), ("synchronous_commit", "off")] {
        options.settings.push((name.to_owned(), value.to_owned()));
    }
    let server = Server::start(options)
        .await
        .expect("the private Postgres starts");
    let shared = Shared {
        server,
        copying: Mutex::new(()),
    };
    let mut admin = connect(&shared.url("postgres")).await;
    admin
        .execute("CREATE DATABASE ledger_template")
        .await
        .expect("the template is made");
    let url = shared.url("ledger_template");
    store::migrate(&url, &url)
        .await
        .expect("the template is migrated");
    shared
}

fn data_dir(process: u32) -> PathBuf {
    std::env::temp_dir().join(format!("credit-ledger-tests-{process}"))
}

/// Data of runs that are over: nothing removes it when a run ends.
fn remove_left_over() {
    let Ok(entries) = std::fs::read_dir(std::env::temp_dir()) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let process = name
            .to_str()
            .and_then(|name| name.strip_prefix("credit-ledger-tests-"));
        let process = process.and_then(|process| process.parse::<i32>().ok());
        let Some(process) = process.and_then(rustix::process::Pid::from_raw) else {
            continue;
        };
        if rustix::process::test_kill_process(process).is_err() {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}
