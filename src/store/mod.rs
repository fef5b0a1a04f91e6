//! All the SQL: Postgres rows in, ledger values out. No rule about credits lives here.
//!
//! Reads use a small pool of connections, writes of the journal the connections of the lanes.
//! Every read for a tenant names the tenant; every statement on a pool names `pool_id`.

mod along;
mod append;
mod batch;
mod catalogue;
mod checkout_steps;
mod checkouts;
mod clocks;
mod deadline;
mod error;
mod holds;
mod imports;
mod inputs;
mod journal;
mod keys;
mod license_keys;
mod migrate;
mod on_plans;
mod payment_events;
mod payment_exceptions;
mod payments;
mod pool_list;
mod pools;
mod promo_codes;
mod purchases;
mod rehearsal;
mod rows;
mod shared_reads;
mod statement;
mod stripe_settings;
mod tenants;
mod usage;
mod verify;

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, PgPool};
use tokio::sync::SetOnce;

pub use append::{UsedCatalogues, Writes};
pub use batch::{BatchKey, Earlier, FRESH, Loaded, Saved, Writer};
pub use catalogue::*;
pub use checkouts::{CheckoutRecord, CheckoutStatus};
pub use error::StoreError;
pub use holds::HoldFilter;
pub use imports::*;
pub use journal::*;
pub use keys::*;
pub use license_keys::{LicenseKeyRecord, NewLicenseKey};
pub use migrate::{existing_role, migrate};
pub use on_plans::{PoolOnPlan, Portion};
pub use payment_events::*;
pub use payment_exceptions::*;
pub use payments::*;
pub use pool_list::*;
pub use pools::{DuePool, StoredPool, needs_along};
pub use promo_codes::{PromoRecord, Redemption};
pub use purchases::{Claim, PurchaseFilter, PurchaseRecord};
pub use rehearsal::{PoolPlace, RehearsedPool, Rehearser, Trial};
pub use statement::{Buckets, Movement, Statement};
pub use stripe_settings::SealedStripeSettings;
pub use tenants::*;
pub use usage::*;
pub use verify::*;

use shared_reads::SharedReads;

/// How long connecting may take: an answer must come within two seconds.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(1_000);
/// How long a connection may lie idle and be used again unasked.
const TRUSTED_IDLE: Duration = Duration::from_millis(100);
/// How long a read may wait for a connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_millis(1_500);
/// How many reads may look through much at once: however many there are, balances stay readable.
const SCANS: u32 = 4;
/// What ends such a read on the server, whether or not its client still waits.
const SCAN_TIMEOUT: &str = "20s";

/// What ends a lane's statement on the server: by then it has given the connection up.
const WRITE_TIMEOUT: &str = "6s";
/// What ends its turn on a pool when nothing comes any more: callers of others who wait for theirs
/// shall still have their answer in time.
const TURN_TIMEOUT: &str = "1s";

/// What connections run as, once it is known.
type Role = SetOnce<Option<&'static str>>;

/// Where the books are kept.
#[derive(Clone)]
pub struct Store {
    reads: PgPool,
    scans: PgPool,
    options: PgConnectOptions,
    role: Arc<Role>,
    catalogues: CatalogueCache,
    keys: KeyCache,
    shared_reads: SharedReads,
    /// Entries that a block of usage has, in pools that have none yet.
    block_entries: i64,
}

impl Store {
    /// A store at a database URL, with at most so many connections for reads. It connects when
    /// first used, and lets nobody use a connection before [`Self::run_as`] was called: so the
    /// service starts without its database, and never runs as more than it should.
    ///
    /// # Errors
    /// The URL cannot be read.
    pub fn new(url: &str, reads: u32) -> Result<Self, StoreError> {
        let given = PgConnectOptions::from_str(url)?;
        let name = given.get_application_name().unwrap_or("credit-ledger");
        let plain = given.clone().application_name(name);
        // Pools and entries are always read by key. Before a new database has statistics, the
        // planner would rather read whole tables; and it would plan a read of one key anew each
        // time, which costs more than the read.
        let options = plain.clone().options([
            ("enable_seqscan", "off"),
            ("plan_cache_mode", "force_generic_plan"),
        ]);
        let role = Arc::new(SetOnce::new());
        let pool = |connections| {
            let role = Arc::clone(&role);
            PgPoolOptions::new()
                .max_connections(connections)
                .acquire_timeout(ACQUIRE_TIMEOUT)
                .test_before_acquire(false)
                .after_connect(move |connection, _| {
                    let role = Arc::clone(&role);
                    Box::pin(async move { take_role(connection, &role).await })
                })
                .before_acquire(|connection, use_of_it| {
                    Box::pin(async move {
                        // One that lay idle may have been cut; under load there are none.
                        if use_of_it.idle_for > TRUSTED_IDLE {
                            connection.ping().await?;
                        }
                        Ok(true)
                    })
                })
        };
        let bounded = plain.options([("statement_timeout", SCAN_TIMEOUT)]);
        Ok(Self {
            reads: pool(reads).connect_lazy_with(options.clone()),
            scans: pool(SCANS).connect_lazy_with(bounded),
            role,
            options,
            catalogues: CatalogueCache::default(),
            keys: KeyCache::default(),
            shared_reads: SharedReads::default(),
            block_entries: BLOCK_ENTRIES,
        })
    }

    /// The same store with smaller blocks of usage: tests have few entries.
    #[doc(hidden)]
    #[must_use]
    pub fn with_blocks_of(self, block_entries: i64) -> Self {
        Self {
            block_entries,
            ..self
        }
    }

    /// Whether a block of usage ends among the entries after `before`, up to `seq`.
    #[must_use]
    pub const fn completes_a_block(&self, before: i64, seq: i64) -> bool {
        before / self.block_entries != seq / self.block_entries
    }

    /// Says what every connection runs as: the role that cannot change the journal, or, with
    /// `None`, the user that connects. The first call counts.
    pub fn run_as(&self, role: Option<&'static str>) {
        let _ = self.role.set(role);
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
        self.connect(&self.options).await
    }

    /// A connection for a lane. It looks its pools up one by one in the order they are given, so
    /// their rows are locked in that order, whatever the planner thinks of joining them otherwise.
    ///
    /// # Errors
    /// The database is away.
    async fn dedicated_writer(&self) -> Result<PgConnection, StoreError> {
        let options = self.options.clone();
        let in_order = [("enable_hashjoin", "off"), ("enable_mergejoin", "off")];
        // Who hangs must not keep rows locked.
        let bounded = [
            ("statement_timeout", WRITE_TIMEOUT),
            ("idle_in_transaction_session_timeout", TURN_TIMEOUT),
        ];
        self.connect(&options.options(in_order).options(bounded))
            .await
    }

    async fn connect(&self, options: &PgConnectOptions) -> Result<PgConnection, StoreError> {
        let connecting = async {
            let mut connection = PgConnection::connect_with(options).await?;
            take_role(&mut connection, &self.role).await?;
            Ok(connection)
        };
        match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
            Ok(connection) => connection,
            Err(_) => Err(StoreError::timed_out()),
        }
    }

    /// Whether the database answers and has every migration this service knows.
    ///
    /// # Errors
    /// The database is away.
    pub async fn is_ready(&self) -> Result<bool, StoreError> {
        Ok(self.role.initialized() && migrate::schema_is_current(self.db()).await?)
    }

    /// Closes the connections for reads.
    pub async fn close(&self) {
        self.reads.close().await;
        self.scans.close().await;
    }
}

/// Makes a connection run as the role, once it is known which.
async fn take_role(connection: &mut PgConnection, role: &Role) -> Result<(), sqlx::Error> {
    if let Some(role) = role.wait().await {
        let taking = AssertSqlSafe(format!("SET ROLE {role}"));
        connection.execute(taking).await?;
    }
    Ok(())
}
