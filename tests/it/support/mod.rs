//! What the tests stand on: a database each, the service in this process with a clock moved by
//! hand, or as a process of its own.

pub mod client;
pub mod postgres;
pub mod process;
pub mod stripe;
pub mod webhook;

use std::future::pending;
use std::ops::Deref;

use chrono::{DateTime, TimeDelta, Utc};
use credit_ledger::clock::{Clock, ManualClock};
use credit_ledger::http::auth::OperatorKey;
use credit_ledger::http::{self, App, Readiness, Services};
use credit_ledger::jobs::sweeper::{self, Swept};
use credit_ledger::lanes::{LaneLimits, Lanes};
use credit_ledger::payments::{PaymentOptions, Payments};
use credit_ledger::store::Store;
use credit_ledger::{config::Secret, telemetry};
use serde_json::json;
use tokio::net::TcpListener;

pub use client::{Client, OPERATOR_KEY, Reply};
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
        let app = Self::with_options("live", stripe_options(&stripe)).await;
        let settings = json!({"api_key": STRIPE_KEY, "webhook_secrets": ["whsec_of_the_tests"]});
        app.put("/v1/payments/stripe")
            .json(&settings)
            .send()
            .await
            .expect(200);
        (app, stripe)
    }

    async fn with_tenant(mode: &str) -> Self {
        Self::with_options(mode, payment_options()).await
    }

    async fn with_options(mode: &str, options: PaymentOptions) -> Self {
        let database = Database::create().await;
        let clock = ManualClock::new(time(START));
        let (operator, store, lanes, payments) =
            serve_with(&database.url, clock.clone(), options).await;
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

    /// Checks all books.
    pub async fn verify(&self) {
        let (code, printed) = process::verify(&self.database.url).await;
        assert_eq!(code, Some(0), "{printed}");
    }
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
    let store = Store::new(url, 4).expect("a good URL");
    store.run_as(Some("credit_ledger_app"));
    let clock = Clock::from(clock);
    let limits = LaneLimits {
        lanes: 2,
        batch: 1_000,
        queue: 10_000,
    };
    let (lanes, _) = Lanes::start(&store, &clock, limits);
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port is free");
    let base = format!(
        "http://{}",
        listener.local_addr().expect("it has an address")
    );
    let payments = Payments::new(store.clone(), lanes.clone(), clock.clone(), options);
    let app = App::new(Services {
        store: store.clone(),
        lanes: lanes.clone(),
        payments: payments.clone(),
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
