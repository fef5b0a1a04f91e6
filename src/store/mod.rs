//! All the SQL: Postgres rows in, ledger values out. No rule about credits lives here.
//!
//! Reads use a small pool of connections, writes of the journal the connections of the lanes.
//! Every read for a tenant names the tenant; every statement on a pool names `pool_id`.

mod batch;
mod catalogue;
mod clocks;
mod deadline;
mod error;
mod inputs;
mod journal;
mod keys;
mod migrate;
mod pool_list;
mod pools;
mod purchases;
mod rows;
mod tenants;
mod usage;
mod verify;

use std::str::FromStr;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, PgConnection, PgPool};

pub use batch::{BatchKey, Loaded, Writer};
pub use catalogue::*;
pub use error::StoreError;
pub use journal::*;
pub use keys::*;
pub use migrate::{existing_role, migrate};
pub use pool_list::*;
pub use pools::{DuePool, StoredPool};
pub use purchases::{Claim, PurchaseFilter, PurchaseRecord};
pub use tenants::*;
pub use usage::*;
pub use verify::*;

/// How long connecting may take: an answer must come within two seconds.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(1_000);
/// How long a read may wait for a connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_millis(1_500);
/// How many reads may look through much at once: however many there are, balances stay readable.
const SCANS: u32 = 4;
/// What ends such a read on the server, whether or not its client still waits.
const SCAN_TIMEOUT: &str = "20s";

/// Where the books are kept.
#[derive(Clone)]
pub struct Store {
    reads: PgPool,
    scans: PgPool,
    options: PgConnectOptions,
    catalogues: CatalogueCache,
    keys: KeyCache,
}

impl Store {
    /// A store at a database URL, with at most so many connections for reads. Connects when first
    /// used, so the service starts without its database and recovers by itself.
    ///
    /// `role` is what every connection runs as: the one that cannot change the journal.
    ///
    /// # Errors
    /// The URL cannot be read.
    pub fn new(url: &str, reads: u32, role: Option<&str>) -> Result<Self, StoreError> {
        let mut options = PgConnectOptions::from_str(url)?.application_name("credit-ledger");
        if let Some(role) = role {
            options = options.options([("role", role)]);
        }
        let pool = |connections| {
            PgPoolOptions::new()
                .max_connections(connections)
                .acquire_timeout(ACQUIRE_TIMEOUT)
                .test_before_acquire(false)
        };
        let bounded = options
            .clone()
            .options([("statement_timeout", SCAN_TIMEOUT)]);
        Ok(Self {
            reads: pool(reads).connect_lazy_with(options.clone()),
            scans: pool(SCANS).connect_lazy_with(bounded),
            options,
            catalogues: CatalogueCache::default(),
            keys: KeyCache::default(),
        })
    }

    /// The connections for reads.
    fn db(&self) -> &PgPool {
        &self.reads
    }

    /// The few connections for reads that may look through much.
    fn scans(&self) -> &PgPool {
        &self.scans
    }

    /// A connection of its own, for a lane or a long read.
    ///
    /// # Errors
    /// The database is away.
    async fn dedicated(&self) -> Result<PgConnection, StoreError> {
        let connecting = PgConnection::connect_with(&self.options);
        match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
            Ok(connection) => Ok(connection?),
            Err(_) => Err(StoreError::Unavailable(sqlx::Error::PoolTimedOut)),
        }
    }

    /// Whether the database answers and has every migration this service knows.
    ///
    /// # Errors
    /// The database is away.
    pub async fn is_ready(&self) -> Result<bool, StoreError> {
        migrate::schema_is_current(self.db()).await
    }

    /// Closes the connections for reads.
    pub async fn close(&self) {
        self.reads.close().await;
        self.scans.close().await;
    }
}
