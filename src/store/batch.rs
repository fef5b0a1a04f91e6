//! The hot path: read the pools of a batch, then append entries and save the pools in one
//! statement.
//!
//! As a rule no row is locked between the two. What is written counts only for pools whose `seq` is
//! still what was read, and every entry moves `seq`: so no other replica's entry can have been
//! missed (invariant ordered). Entries and pool are written by one statement, which is its own
//! transaction: both are there or neither, and nothing stays open when a connection is cut. A pool
//! that lost such a race is read and written under its row lock for a while, where the writers take
//! turns, so that nobody starves.
//!
//! Whether an idempotency key was used before is not asked beforehand, because hardly any was: the
//! journal takes a key once for a pool, so an entry with an earlier key is refused with all that
//! would be written with it, and its pools are read again with their keys (invariant
//! exactly-once). What books nothing is not stopped by that: its key is looked up with
//! [`Writer::find_earlier`] before it is answered.
//!
//! The statements are atomic for each pool, not only for the batch: a batch may be split by shard.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use sqlx::postgres::PgRow;
use sqlx::{Connection, Executor, FromRow, PgConnection, Row};
use tokio::time::timeout;
use uuid::Uuid;

use super::along::{bought_column, bought_of, holds_column, holds_of, load_debits, load_runs};
use super::append::Writes;
use super::pools::{SELECTING_POOLS_ALONE, selecting_pools};
use super::purchases::{PURCHASE_COLUMNS, PurchaseRow};
use super::rows::{ENTRY_COLUMNS, EntryRow, PoolRow};
use super::{PurchaseRecord, Store, StoreError, StoredPool};
use crate::ledger::{Along, Entry, IdempotencyKey, Label, Pool, PoolId, Time};

/// What a batch reads: pools, the entries of earlier keys, earlier purchases, holds, debits.
#[derive(Debug)]
pub struct BatchKey {
    /// The pools, each once.
    pub pools: Vec<PoolId>,
    /// Whether their rows are locked until the next [`Writer::write`]: for pools that others write,
    /// too. What is read is then the row as it is once it is locked.
    pub locked: bool,
    /// The open holds of a pool are read along if one of them expires before this, on the pool's
    /// own clock.
    pub horizon: Time,
    /// Pools whose open holds are read along in any case.
    pub holders: Vec<PoolId>,
    /// Holds that its commands name, by the numbers of their entries.
    pub holds: Vec<(PoolId, i64)>,
    /// Debits that its refunds name, by the numbers of their entries.
    pub debits: Vec<(PoolId, i64)>,
    /// Runs that it refunds.
    pub runs: Vec<(PoolId, Label)>,
    /// Pools whose purchases are read along: something is taken or given back.
    pub buyers: Vec<PoolId>,
    /// Whether its keys are looked up.
    pub with_keys: bool,
    /// The idempotency keys its commands carry.
    pub keys: Vec<(PoolId, IdempotencyKey)>,
    /// The payment references of its purchases.
    pub references: Vec<(PoolId, Label)>,
}

/// Entries by the key of their request.
pub type Earlier = HashMap<(PoolId, IdempotencyKey), Arc<Entry>>;

/// What was read.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The pools that are there.
    pub pools: HashMap<PoolId, StoredPool>,
    /// Entries that carry one of the keys.
    pub earlier: Earlier,
    /// Whether all the keys were looked up.
    pub knows_keys: bool,
    /// Purchases that carry one of the references.
    pub purchases: HashMap<(PoolId, Label), PurchaseRecord>,
}

/// The connection of one lane: the only writer of its pools in this process.
pub struct Writer {
    connection: PgConnection,
    /// Whether a transaction is open that holds row locks.
    locked: bool,
    used_at: Instant,
}

/// What came of a write.
#[derive(Debug, Default)]
pub struct Saved {
    /// The pools that were written; the others were changed by another writer since they were read,
    /// a key that was not read had been used before, or a catalogue has changed.
    pub pools: HashSet<PoolId>,
    /// Whether a key had been used before.
    pub met_earlier_key: bool,
}

/// A lane's connection that was idle for longer may have been cut.
pub const FRESH: Duration = Duration::from_millis(500);
/// How long one that is asked whether it is still there may take to say so.
const PING_TIMEOUT: Duration = Duration::from_millis(100);
/// The constraint that takes a key once for a pool.
const KEY_CONSTRAINT: &str = "entries_idempotency_key";

impl Store {
    /// Connects a writer.
    ///
    /// # Errors
    /// The database is away.
    pub async fn writer(&self) -> Result<Writer, StoreError> {
        Ok(Writer {
            connection: self.dedicated_writer().await?,
            locked: false,
            used_at: Instant::now(),
        })
    }
}

impl Writer {
    /// Reads what a batch needs, if wanted with its keys. Those are read after the pools: an entry
    /// that is missed here was appended later, and moved the `seq` that the write compares.
    ///
    /// # Errors
    /// The database is away or a row is corrupt. The writer must then be dropped, and its locks
    /// with it.
    pub async fn load(&mut self, batch: &BatchKey) -> Result<Loaded, StoreError> {
        if batch.locked {
            self.connection.execute("BEGIN").await?;
            self.locked = true;
        }
        let mut loaded = load(&mut self.connection, batch).await?;
        self.used_at = Instant::now();
        if batch.with_keys {
            loaded.earlier = self.find_earlier(&batch.keys).await?;
            loaded.knows_keys = true;
        }
        Ok(loaded)
    }

    /// Whether the connection is still there, asked if it was idle.
    pub async fn is_alive(&mut self) -> bool {
        let is_fresh = self.used_at.elapsed() < FRESH;
        is_fresh
            || matches!(
                timeout(PING_TIMEOUT, self.connection.ping()).await,
                Ok(Ok(()))
            )
    }

    /// The entries that carry one of the keys.
    ///
    /// # Errors
    /// The database is away or a row is corrupt.
    pub async fn find_earlier(
        &mut self,
        keys: &[(PoolId, IdempotencyKey)],
    ) -> Result<Earlier, StoreError> {
        load_earlier(&mut self.connection, keys).await
    }

    /// Appends entries and saves their pools, in one transaction for each kind of book, or for all
    /// that was read under locks.
    ///
    /// # Errors
    /// The database is away: whether the write happened is then unknown.
    pub async fn write(&mut self, writes: Writes) -> Result<Saved, StoreError> {
        let mut all = Saved::default();
        for saving in writes.0 {
            match saving
                .run(&mut self.connection)
                .await
                .map_err(StoreError::from)
            {
                Ok(saved) => all.pools.extend(saved.into_iter().map(PoolId::from)),
                // The statement wrote nothing.
                Err(StoreError::Conflict { constraint }) if constraint == KEY_CONSTRAINT => {
                    all.met_earlier_key = true;
                    if self.locked {
                        // Nor did those before it in the same transaction.
                        all.pools.clear();
                        break;
                    }
                }
                Err(error) => return Err(error),
            }
        }
        if std::mem::take(&mut self.locked) {
            // One that failed is rolled back by this.
            self.connection.execute("COMMIT").await?;
        }
        self.used_at = Instant::now();
        Ok(all)
    }
}

async fn load(connection: &mut PgConnection, batch: &BatchKey) -> Result<Loaded, StoreError> {
    let mut pools = load_pools(connection, batch).await?;
    load_debits(connection, &batch.debits, &mut pools).await?;
    load_runs(connection, &batch.runs, &mut pools).await?;
    let purchases = load_purchases(connection, &batch.references).await?;
    Ok(Loaded {
        pools,
        purchases,
        ..Loaded::default()
    })
}

fn reading_pools(selecting: &str) -> String {
    format!("{selecting} WHERE p.pool_id = ANY($1)")
}

/// Locks are taken in id order, as everywhere: two replicas cannot deadlock.
static LOCKING_POOLS: LazyLock<String> = LazyLock::new(|| {
    let reading = reading_pools(&SELECTING_POOLS_ALONE);
    format!("{reading} ORDER BY p.pool_id FOR UPDATE OF p")
});

static READING_POOLS: LazyLock<String> = LazyLock::new(|| reading_pools(&SELECTING_POOLS_ALONE));
static READING_POOLS_ALONG: LazyLock<String> = LazyLock::new(|| {
    let holds = holds_column(
        "p.next_hold_at <= GREATEST(c.now, $2) OR p.pool_id = ANY($3)",
        "UNION
        SELECT o.*
        FROM unnest($4::uuid[], $5::bigint[]) AS k (pool_id, seq)
        JOIN holds AS o
            ON o.pool_id = k.pool_id
            AND o.seq = k.seq
        WHERE k.pool_id = p.pool_id",
    );
    let bought = bought_column("p.uncollected > 0 OR p.pool_id = ANY($6)");
    reading_pools(&selecting_pools(&format!("{holds}, {bought}")))
});

async fn load_pools(
    connection: &mut PgConnection,
    batch: &BatchKey,
) -> Result<HashMap<PoolId, StoredPool>, StoreError> {
    if batch.pools.is_empty() {
        return Ok(HashMap::new());
    }
    let ids = |pools: &[PoolId]| pools.iter().map(|pool| pool.uuid()).collect::<Vec<Uuid>>();
    let by_id = |rows: Vec<PgRow>| -> Result<HashMap<PoolId, StoredPool>, StoreError> {
        let pools = rows.iter().map(stored_pool);
        pools
            .map(|stored| stored.map(|stored| (stored.pool.id, stored)))
            .collect()
    };
    let needs_nothing = batch.holders.is_empty() && batch.buyers.is_empty();
    if needs_nothing || batch.locked {
        let reading: &'static str = match batch.locked {
            true => &LOCKING_POOLS,
            false => &READING_POOLS,
        };
        let read = sqlx::query(reading).bind(ids(&batch.pools));
        let pools = by_id(read.fetch_all(&mut *connection).await?)?;
        // Under locks, a clock may be of a moment before what was waited for.
        let needs_more = |it: &StoredPool| {
            it.needs_more(batch.horizon) || batch.locked && it.clock_now.is_some()
        };
        if needs_nothing && !pools.values().any(needs_more) {
            return Ok(pools);
        }
    }
    let named: Vec<Uuid> = batch.holds.iter().map(|(pool, _)| pool.uuid()).collect();
    let seqs: Vec<i64> = batch.holds.iter().map(|(_, seq)| *seq).collect();
    let rows = sqlx::query(READING_POOLS_ALONG.as_str())
        .bind(ids(&batch.pools))
        .bind(batch.horizon)
        .bind(ids(&batch.holders))
        .bind(named)
        .bind(seqs)
        .bind(ids(&batch.buyers))
        .fetch_all(connection)
        .await?;
    by_id(rows)
}

/// A pool with what is read along with it.
pub(super) fn stored_pool(row: &PgRow) -> Result<StoredPool, StoreError> {
    let pool = Pool::try_from(PoolRow::from_row(row)?)?;
    let along = Along {
        holds: holds_of(pool.id, row)?,
        debits: Vec::new(),
        bought: bought_of(pool.id, row)?,
    };
    Ok(StoredPool {
        pool,
        along,
        recorded_at: row.try_get("recorded_at")?,
        catalogue_version: row.try_get("catalogue_version")?,
        clock_now: row.try_get("clock_now")?,
    })
}

static FINDING_EARLIER: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT {ENTRY_COLUMNS}
        FROM unnest($1::uuid[], $2::text[]) AS k (pool_id, idempotency_key)
        JOIN entries AS e
            ON e.pool_id = k.pool_id
            AND e.idempotency_key = k.idempotency_key"
    )
});

async fn load_earlier(
    connection: &mut PgConnection,
    keys: &[(PoolId, IdempotencyKey)],
) -> Result<Earlier, StoreError> {
    if keys.is_empty() {
        return Ok(Earlier::new());
    }
    let pools: Vec<Uuid> = keys.iter().map(|(pool, _)| pool.uuid()).collect();
    let texts: Vec<&str> = keys.iter().map(|(_, key)| key.as_str()).collect();
    let rows: Vec<EntryRow> = sqlx::query_as(FINDING_EARLIER.as_str())
        .bind(pools)
        .bind(texts)
        .fetch_all(connection)
        .await?;
    let mut earlier = HashMap::with_capacity(rows.len());
    for row in rows {
        let entry = Entry::try_from(row)?;
        if let Some(request) = &entry.actor.request {
            earlier.insert((entry.pool, request.key.clone()), Arc::new(entry));
        }
    }
    Ok(earlier)
}

static FINDING_PURCHASES: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT {PURCHASE_COLUMNS}
        FROM unnest($1::uuid[], $2::text[]) AS k (pool_id, payment_reference)
        JOIN purchases AS u
            ON u.pool_id = k.pool_id
            AND u.payment_reference = k.payment_reference
        JOIN pools AS p ON p.pool_id = u.pool_id"
    )
});

async fn load_purchases(
    connection: &mut PgConnection,
    references: &[(PoolId, Label)],
) -> Result<HashMap<(PoolId, Label), PurchaseRecord>, StoreError> {
    if references.is_empty() {
        return Ok(HashMap::new());
    }
    let pools: Vec<Uuid> = references.iter().map(|(pool, _)| pool.uuid()).collect();
    let texts: Vec<&str> = references.iter().map(|(_, text)| text.as_str()).collect();
    let rows: Vec<PurchaseRow> = sqlx::query_as(FINDING_PURCHASES.as_str())
        .bind(pools)
        .bind(texts)
        .fetch_all(connection)
        .await?;
    let records = rows.into_iter().map(PurchaseRecord::try_from);
    records
        .map(|record| record.map(|record| ((record.pool_id, record.reference.clone()), record)))
        .collect()
}
