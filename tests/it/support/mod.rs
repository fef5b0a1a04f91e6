//! What the tests stand on: a database each, the service in this process with a clock moved by
//! hand, or as a process of its own.

pub mod client;
pub mod files;
pub mod postgres;
pub mod process;
pub mod stripe;
pub mod webhook;

use std::future::pending;
use std::ops::Deref;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use credit_ledger::clock::{Clock, ManualClock};
use credit_ledger::http::auth::OperatorKey;
use credit_ledger::http::{self, App, Readiness, Services};
use credit_ledger::jobs::roller;
use credit_ledger::jobs::sweeper::{self, Swept};
use credit_ledger::lanes::{Job, LaneError, LaneLimits, Lanes, Reply as LaneReply};
use credit_ledger::ledger::{Actor, Command, Entry, TenantId};
use credit_ledger::licenses::Licenses;
use credit_ledger::payments::{PaymentOptions, Payments};
use credit_ledger::store::Store;
use credit_ledger::{config::Secret, telemetry};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;

pub use client::{Client, OPERATOR_KEY, Reply};
pub use files::Folder;
pub use postgres::Database;
pub use stripe::Stripe;

/// When the tests begin: a day that not every month has.
pub const START: &str = "2026-01-31T10:00:00Z";

/// The key for secrets of every service in this process.
pub const SECRETS_KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

/// The key that tenants have of the stand-in.
pub const STRIPE_KEY: &str = "sk_test_of_the_tests_9f3c";

/// Where no Stripe is.
const NO_STRIPE: &str = "http://127.0.0.1:1";

/// The service in this process, with one tenant; used as a client with that tenant's `admin` key.
pub struct TestApp {
    pub operator: Client,
    pub tenant: String,
    pub clock: ManualClock,
    pub database: Database,
    pub store: Store,
    pub lanes: Lanes,
    pub payments: Payments,
    admin: Client,
}

impl Deref for TestApp {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.admin
    }
}

impl TestApp {
    /// A service with a live tenant, at [`START`].
    pub async fn start() -> Self {
        Self::with_tenant("live").await
    }

    /// A service with a sandbox tenant.
    pub async fn sandbox() -> Self {
        Self::with_tenant("sandbox").await
    }

    /// A service with a live tenant that has told how its Stripe, a stand-in, is reached.
    pub async fn with_stripe() -> (Self, Stripe) {
        let stripe = Stripe::start().await;
        let app = Self::with_store("live", open, stripe_options(&stripe)).await;
        let settings = json!({"api_key": STRIPE_KEY, "webhook_secrets": ["whsec_of_the_tests"]});
        app.put("/v1/payments/stripe")
            .json(&settings)
            .send()
            .await
            .expect(200);
        (app, stripe)
    }

    /// A service with a live tenant that adds usage up in blocks of so many entries.
    pub async fn with_blocks_of(entries: i64) -> Self {
        let store = |url: &str| open(url).with_blocks_of(entries);
        Self::with_store("live", store, payment_options()).await
    }

    async fn with_tenant(mode: &str) -> Self {
        Self::with_store(mode, open, payment_options()).await
    }

    async fn with_store(mode: &str, open: impl Fn(&str) -> Store, options: PaymentOptions) -> Self {
        let database = Database::create().await;
        let clock = ManualClock::new(time(START));
        let (operator, store, lanes, payments) =
            serve_store(open(&database.url), clock.clone(), options).await;
        let (tenant, admin) = operator.new_tenant(mode).await;
        Self {
            operator,
            tenant,
            clock,
            database,
            store,
            lanes,
            payments,
            admin,
        }
    }

    /// A client with another tenant's `admin` key.
    pub async fn stranger(&self) -> Client {
        self.operator.new_tenant("live").await.1
    }

    /// A client with a key of this tenant that has these scopes.
    pub async fn with_scopes(&self, scopes: &[&str]) -> Client {
        let secret = self.operator.new_key(&self.tenant, scopes).await;
        self.with_key(&secret)
    }

    /// Moves the clock to an instant.
    pub fn at(&self, instant: &str) {
        self.clock.set(time(instant));
    }

    /// Moves the clock on.
    pub fn pass(&self, time: TimeDelta) {
        self.clock.advance(time);
    }

    /// One sweep of what is due.
    pub async fn sweep(&self) -> Swept {
        let clock = Clock::from(self.clock.clone());
        sweeper::sweep(&self.store, &self.lanes, &clock)
            .await
            .expect("the database is there")
    }

    /// How many entries all journals have.
    pub async fn entries(&self) -> i64 {
        let mut connection = self.database.connect().await;
        sqlx::query_scalar("SELECT count(*) FROM entries")
            .fetch_one(&mut connection)
            .await
            .expect("the journal is there")
    }

    /// Has a lane book a command, and gives its entry.
    pub async fn decide(&self, pool: &str, command: Command) -> Arc<Entry> {
        let refused = || panic!("not booked");
        self.try_decide(pool, command).await.unwrap_or_else(refused)
    }

    /// The same, or nothing when the ledger refuses it.
    pub async fn try_decide(&self, pool: &str, command: Command) -> Option<Arc<Entry>> {
        let tenant: uuid::Uuid = self.tenant.parse().expect("an id");
        let job = Job {
            tenant: TenantId::from(tenant),
            pool: pool.parse().expect("a good name"),
            actor: Actor::default(),
            command,
            dry_run: false,
        };
        match self.lanes.submit(job).await {
            Ok(LaneReply::Entry { entry, .. }) => Some(entry),
            Err(LaneError::Refused(_)) => None,
            other => panic!("no entry: {other:?}"),
        }
    }

    /// A pool's whole journal as the API shows it, oldest first.
    pub async fn journal(&self, pool: &str) -> Vec<Value> {
        let mut entries = Vec::new();
        let mut cursor = String::new();
        loop {
            let path = format!("/v1/pools/{pool}/transactions?limit=200{cursor}");
            let page = self.get(&path).send().await.expect(200).body;
            entries.extend(page["data"].as_array().expect("a page").iter().cloned());
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        entries.reverse();
        entries
    }

    /// Checks all books.
    pub async fn verify(&self) {
        let (code, printed) = process::verify(&self.database.url).await;
        assert_eq!(code, Some(0), "{printed}");
    }
}

fn open(url: &str) -> Store {
    let store = Store::new(url, 4).expect("a good URL");
    store.run_as(Some("credit_ledger_app"));
    store
}

/// Serves a database in this process; gives a client with the operator's key.
pub async fn serve(url: &str, clock: ManualClock) -> (Client, Store, Lanes) {
    let (client, store, lanes, _) = serve_with(url, clock, payment_options()).await;
    (client, store, lanes)
}

/// The same with other settings of payments.
pub async fn serve_with(
    url: &str,
    clock: ManualClock,
    options: PaymentOptions,
) -> (Client, Store, Lanes, Payments) {
    serve_store(open(url), clock, options).await
}

async fn serve_store(
    store: Store,
    clock: ManualClock,
    options: PaymentOptions,
) -> (Client, Store, Lanes, Payments) {
    let clock = Clock::from(clock);
    let limits = LaneLimits {
        lanes: 2,
        batch: 1_000,
        queue: 10_000,
    };
    let (lanes, _) = Lanes::start(&store, &clock, limits);
    let (rolled, grown) = (store.clone(), lanes.grown());
    tokio::spawn(async move {
        let (_never, stop) = watch::channel(false);
        roller::run(rolled, grown, stop).await;
    });
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port is free");
    let base = format!(
        "http://{}",
        listener.local_addr().expect("it has an address")
    );
    let secrets_key = options.secrets_key.clone();
    let licenses = Licenses::new(store.clone(), clock.clone(), secrets_key);
    let payments = Payments::new(store.clone(), lanes.clone(), clock.clone(), options);
    let app = App::new(Services {
        store: store.clone(),
        lanes: lanes.clone(),
        payments: payments.clone(),
        licenses,
        clock,
        operator_key: Some(OperatorKey::new(&Secret::new(OPERATOR_KEY))),
        ready: Readiness::default(),
        metrics: telemetry::metrics(),
    });
    tokio::spawn(http::serve(listener, app, pending()));
    (Client::new(&base), store, lanes, payments)
}

/// A key for secrets, and a provider that is not there.
pub fn payment_options() -> PaymentOptions {
    PaymentOptions {
        secrets_key: Some(SECRETS_KEY.parse().expect("a good key")),
        stripe_api_base: NO_STRIPE.parse().expect("a good address"),
    }
}

/// A key for secrets, and this stand-in.
pub fn stripe_options(stripe: &Stripe) -> PaymentOptions {
    PaymentOptions {
        stripe_api_base: stripe.base.parse().expect("a good address"),
        ..payment_options()
    }
}

/// Reads an RFC 3339 time.
pub fn time(text: &str) -> DateTime<Utc> {
    text.parse().expect("a time")
}
