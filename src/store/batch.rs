//! The hot path: read the pools of a batch and their earlier keys, then append entries and save
//! the pools in one statement.
//!
//! No row is locked between the two. What is written counts only for pools whose `seq` is still
//! what was read, and every entry moves `seq`: so neither another replica's entry nor an earlier
//! idempotency key can have been missed (invariants exactly-once, ordered). Entries and pool are
//! written by one statement, which is its own transaction: both are there or neither, and nothing
//! stays open when a connection is cut. A pool that lost such a race is read again under its row
//! lock, so that nobody starves.
//!
//! The statements are atomic for each pool, not only for the batch: a batch may be split by shard.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use sqlx::postgres::PgRow;
use sqlx::{Executor, FromRow, PgConnection, Row};
use uuid::Uuid;

use super::along::{bought_column, bought_of, holds_column, holds_of, load_debits, load_runs};
use super::inputs::{
    BoughtInput, EntryInput, HoldInput, PoolBalanceInput, PoolInput, PurchaseInput, RefundInput,
};
use super::pools::{NOTHING_ALONG, selecting_pools};
use super::purchases::{PURCHASE_COLUMNS, PurchaseRow};
use super::rows::{ENTRY_COLUMNS, EntryRow, PoolRow};
use super::{PurchaseRecord, Store, StoreError, StoredPool};
use crate::ledger::{Along, Book, Entry, IdempotencyKey, Kind, Label, Pool, PoolId, Time};

/// What a batch reads: pools, the entries of earlier keys, earlier purchases, holds, debits.
#[derive(Debug)]
pub struct BatchKey {
    /// The pools, each once.
    pub pools: Vec<PoolId>,
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
    /// The idempotency keys its commands carry.
    pub keys: Vec<(PoolId, IdempotencyKey)>,
    /// The payment references of its purchases.
    pub references: Vec<(PoolId, Label)>,
}

/// What was read.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The pools that are there.
    pub pools: HashMap<PoolId, StoredPool>,
    /// Entries that carry one of the keys.
    pub earlier: HashMap<(PoolId, IdempotencyKey), Arc<Entry>>,
    /// Purchases that carry one of the references.
    pub purchases: HashMap<(PoolId, Label), PurchaseRecord>,
}

/// The connection of one lane: the only writer of its pools in this process.
pub struct Writer {
    connection: PgConnection,
    /// Whether a transaction is open that holds row locks.
    locked: bool,
}

impl Store {
    /// Connects a writer.
    ///
    /// # Errors
    /// The database is away.
    pub async fn writer(&self) -> Result<Writer, StoreError> {
        Ok(Writer {
            connection: self.dedicated().await?,
            locked: false,
        })
    }
}

impl Writer {
    /// Reads what a batch needs. Keys are read after the pools: an entry that is missed here was
    /// appended later, and moved the `seq` that the write compares.
    ///
    /// # Errors
    /// The database is away or a row is corrupt.
    pub async fn load(&mut self, batch: &BatchKey) -> Result<Loaded, StoreError> {
        load(&mut self.connection, batch).await
    }

    /// As [`Self::load`], under the row locks of the pools until the next [`Self::write`]: for
    /// pools that lost a race. The locks are taken in id order, so two replicas cannot deadlock.
    ///
    /// # Errors
    /// The database is away or a row is corrupt. The writer must then be dropped, and its locks
    /// with it.
    pub async fn lock(&mut self, batch: &BatchKey) -> Result<Loaded, StoreError> {
        self.connection.execute("BEGIN").await?;
        self.locked = true;
        let ids: Vec<Uuid> = batch.pools.iter().map(|pool| pool.uuid()).collect();
        sqlx::query("SELECT FROM pools WHERE pool_id = ANY($1) ORDER BY pool_id FOR UPDATE")
            .bind(ids)
            .execute(&mut self.connection)
            .await?;
        // A later statement than the one that waited for the locks sees what was written meanwhile.
        load(&mut self.connection, batch).await
    }

    /// Appends the entries of the books and saves their pools, in one transaction for each kind of
    /// book. Gives the pools that were written; the others were changed by another writer since
    /// they were read.
    ///
    /// # Errors
    /// The database is away: whether the write happened is then unknown.
    pub async fn write(
        &mut self,
        books: &[&Book],
        purchases: &[PurchaseRecord],
        recorded_at: Time,
    ) -> Result<Vec<PoolId>, StoreError> {
        let written = write(&mut self.connection, books, purchases, recorded_at).await?;
        if std::mem::take(&mut self.locked) {
            self.connection.execute("COMMIT").await?;
        }
        Ok(written)
    }
}

async fn load(connection: &mut PgConnection, batch: &BatchKey) -> Result<Loaded, StoreError> {
    let mut pools = load_pools(connection, batch).await?;
    load_debits(connection, &batch.debits, &mut pools).await?;
    load_runs(connection, &batch.runs, &mut pools).await?;
    let earlier = load_earlier(connection, &batch.keys).await?;
    let purchases = load_purchases(connection, &batch.references).await?;
    Ok(Loaded {
        pools,
        earlier,
        purchases,
    })
}

fn reading_pools(along: &str) -> String {
    format!("{} WHERE p.pool_id = ANY($1)", selecting_pools(along))
}

static READING_POOLS: LazyLock<String> = LazyLock::new(|| reading_pools(NOTHING_ALONG));
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
    reading_pools(&format!("{holds}, {bought}"))
});

async fn load_pools(
    connection: &mut PgConnection,
    batch: &BatchKey,
) -> Result<HashMap<PoolId, StoredPool>, StoreError> {
    let ids = |pools: &[PoolId]| pools.iter().map(|pool| pool.uuid()).collect::<Vec<Uuid>>();
    let by_id = |rows: Vec<PgRow>| -> Result<HashMap<PoolId, StoredPool>, StoreError> {
        let pools = rows.iter().map(stored_pool);
        pools
            .map(|stored| stored.map(|stored| (stored.pool.id, stored)))
            .collect()
    };
    if batch.holders.is_empty() && batch.buyers.is_empty() {
        let read = sqlx::query(READING_POOLS.as_str()).bind(ids(&batch.pools));
        let pools = by_id(read.fetch_all(&mut *connection).await?)?;
        if !pools.values().any(|it| it.needs_more(batch.horizon)) {
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
) -> Result<HashMap<(PoolId, IdempotencyKey), Arc<Entry>>, StoreError> {
    if keys.is_empty() {
        return Ok(HashMap::new());
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

async fn write(
    connection: &mut PgConnection,
    books: &[&Book],
    purchases: &[PurchaseRecord],
    recorded_at: Time,
) -> Result<Vec<PoolId>, StoreError> {
    let (whole, balances): (Vec<&Book>, Vec<&Book>) =
        books.iter().partition(|book| book.changed_terms());
    let mut written = Vec::with_capacity(books.len());
    if !balances.is_empty() {
        let inputs: Vec<PoolBalanceInput> =
            balances.iter().map(|book| PoolBalanceInput(book)).collect();
        let ids: Vec<Uuid> = sqlx::query_scalar(SAVING_BALANCES.as_str())
            .bind(inputs)
            .bind(entries_of(&balances))
            .bind(recorded_at)
            .fetch_all(&mut *connection)
            .await?;
        written.extend(ids.into_iter().map(PoolId::from));
    }
    if !whole.is_empty() {
        let inputs: Vec<PoolInput> = whole.iter().map(|book| PoolInput(book)).collect();
        let bought: Vec<PurchaseInput> = purchases.iter().map(PurchaseInput).collect();
        let ids: Vec<Uuid> = sqlx::query_scalar(SAVING_POOLS.as_str())
            .bind(inputs)
            .bind(entries_of(&whole))
            .bind(recorded_at)
            .bind(bought)
            .bind(holds_of_books(&whole))
            .bind(refunds_of_books(&whole))
            .bind(bought_of_books(&whole))
            .fetch_all(&mut *connection)
            .await?;
        written.extend(ids.into_iter().map(PoolId::from));
    }
    Ok(written)
}

fn entries_of<'a>(books: &[&'a Book]) -> Vec<EntryInput<'a>> {
    let entries = books.iter().flat_map(|book| book.entries());
    entries.map(|entry| EntryInput(entry)).collect()
}

fn holds_of_books<'a>(books: &[&'a Book]) -> Vec<HoldInput<'a>> {
    let of_book = |book: &&'a Book| {
        let book: &'a Book = book;
        let pool = book.pool().id;
        book.changed_holds().map(move |hold| HoldInput(pool, hold))
    };
    books.iter().flat_map(of_book).collect()
}

fn bought_of_books<'a>(books: &[&'a Book]) -> Vec<BoughtInput<'a>> {
    let of_book = |book: &&'a Book| {
        let book: &'a Book = book;
        let pool = book.pool().id;
        let changed = book.changed_bought();
        changed.map(move |bought| BoughtInput(pool, bought))
    };
    books.iter().flat_map(of_book).collect()
}

fn refunds_of_books<'a>(books: &[&'a Book]) -> Vec<RefundInput<'a>> {
    let entries = books.iter().flat_map(|book| book.entries());
    let refunds = entries.filter(|entry| entry.kind == Kind::Refund);
    let input = |entry: &'a Arc<Entry>| {
        let facts = entry.read_details()?.refund?;
        let (debit_seq, _) = facts.debit.locate(entry.pool)?;
        let credits = facts.credits().units();
        Some(RefundInput {
            entry,
            debit_seq,
            credits,
        })
    };
    refunds.filter_map(input).collect()
}

/// What to save of pools whose `seq` is still what was read, their rows locked in id order.
fn locking(input: &str) -> String {
    format!(
        "locked AS (
            SELECT b.*
            FROM unnest($1::{input}[]) AS b
            JOIN pools AS p ON p.pool_id = b.pool_id AND p.seq = b.read_seq
            ORDER BY p.pool_id
            FOR UPDATE OF p
        )"
    )
}

/// Entries of the pools that were saved. `IS TRUE` keeps the planner from turning the test into a
/// join: it expects one pool, and would compare every pool with every entry.
const APPENDING: &str = "appended AS (
    INSERT INTO entries (
        pool_id, seq, kind, at, recorded_at, actor, idempotency_key, fingerprint, operation,
        user_id, workspace_id, run_id, model, reference, reason, purchase_id, metadata, details,
        transfers, granted, monthly, held_monthly, used, cycle_start, renews_at, expires_at,
        addon_granted, addon, held_addon, addon_expires_at, overdraft, held_ended, cycle_seq,
        addon_seq, hash
    )
    SELECT
        e.pool_id, e.seq, e.kind, e.at, $3, e.actor, e.idempotency_key, e.fingerprint,
        e.operation, e.user_id, e.workspace_id, e.run_id, e.model, e.reference, e.reason,
        e.purchase_id, e.metadata, e.details, e.transfers, e.granted, e.monthly, e.held_monthly,
        e.used, e.cycle_start, e.renews_at, e.expires_at, e.addon_granted, e.addon, e.held_addon,
        e.addon_expires_at, e.overdraft, e.held_ended, e.cycle_seq, e.addon_seq, e.hash
    FROM unnest($2::entry_input[]) AS e
    WHERE (e.pool_id IN (SELECT pool_id FROM saved)) IS TRUE
)";

static SAVING_BALANCES: LazyLock<String> = LazyLock::new(|| {
    let locking = locking("pool_balance_input");
    format!(
        "WITH {locking}, saved AS (
            UPDATE pools AS p
            SET
                seq = b.seq,
                hash = b.hash,
                last_at = b.last_at,
                monthly = b.monthly,
                addon = b.addon,
                overdraft = b.overdraft,
                consumed = b.consumed,
                used = b.used
            FROM locked AS b
            WHERE p.pool_id = b.pool_id
            RETURNING p.pool_id
        ), {APPENDING}
        SELECT pool_id FROM saved"
    )
});

/// Every column of `pools`, in the order of `pool_state_input` without `read_seq`.
const SAVED_COLUMNS: &str = "pool_id, tenant_id, name, created_at, seq, hash, last_at, monthly, \
    addon, held_monthly, held_addon, held_ended, overdraft, consumed, lapsed, issued_monthly, \
    issued_addon, adjusted, clawed_back, used, plan, builders, monthly_allowance, denomination, \
    legacy_prices, addons_allowed, granted, cycle_number, cycle_anchor, cycle_start, cycle_end, \
    cycle_seq, addon_granted, addon_expires_at, addon_seq, expired_addon_at, \
    expired_addon_granted, expired_addon_lapsed, expired_addon_held, expired_addon_seq, \
    uncollected, open_holds, next_hold_at, requested, pending, license, license_ends_at, \
    first_trial_at, \
    fallen_back, billing_anchor, test_clock, closed_at, next_due_at";

/// Every column of `holds`.
const HOLD_COLUMNS: &str = "pool_id, seq, opened_at, last_seq, status, expires_at, requested, \
    monthly, addon, cycle_seq, addon_seq, price, operation, user_id, workspace_id, run_id, \
    model";

/// What became of a purchase, in the order of `bought_input`.
pub(super) const PAYMENT_COLUMNS: &str = "clawed_back, clawed_from, uncollected, \
    payment_version, charged, refunded, disputed, dispute_lost";

static SAVING_POOLS: LazyLock<String> = LazyLock::new(|| {
    let locking = locking("pool_state_input");
    let values = format!("b.{}", SAVED_COLUMNS.replace(", ", ", b."));
    let hold_values = format!("h.{}", HOLD_COLUMNS.replace(", ", ", h."));
    let payment_values = format!("b.{}", PAYMENT_COLUMNS.replace(", ", ", b."));
    format!(
        "WITH {locking}, updated AS (
            UPDATE pools AS p
            SET ({SAVED_COLUMNS}) = ROW({values})
            FROM locked AS b
            WHERE p.pool_id = b.pool_id
            RETURNING p.pool_id
        ), created AS (
            INSERT INTO pools ({SAVED_COLUMNS}, recorded_at)
            SELECT {values}, $3
            FROM unnest($1::pool_state_input[]) AS b
            WHERE b.read_seq = 0
            ON CONFLICT (pool_id) DO NOTHING
            RETURNING pool_id
        ), saved AS (
            SELECT pool_id FROM updated
            UNION ALL
            SELECT pool_id FROM created
        ), {APPENDING}, bought AS (
            INSERT INTO purchases (
                pool_id, purchase_id, tenant_id, seq, credits, bonus, payment_reference, paid_at,
                expires_at, valid_until, amount_cents, currency, user_id, created_at,
                {PAYMENT_COLUMNS}
            )
            SELECT
                u.pool_id, u.purchase_id, u.tenant_id, u.seq, u.credits, u.bonus,
                u.payment_reference, u.paid_at, u.expires_at, u.valid_until, u.amount_cents,
                u.currency, u.user_id, u.created_at, {payment_values}
            FROM unnest($4::credited_purchase_input[]) AS u
            JOIN unnest($7::bought_input[]) AS b ON b.pool_id = u.pool_id AND b.seq = u.seq
            WHERE (u.pool_id IN (SELECT pool_id FROM saved)) IS TRUE
        ), taken AS (
            -- Of purchases that were there before: what this statement adds, it does not see.
            UPDATE purchases AS u
            SET ({PAYMENT_COLUMNS}) = ROW({payment_values})
            FROM unnest($7::bought_input[]) AS b
            WHERE u.pool_id = b.pool_id
                AND u.seq = b.seq
                AND (u.pool_id IN (SELECT pool_id FROM saved)) IS TRUE
        ), held AS (
            INSERT INTO holds ({HOLD_COLUMNS})
            SELECT {hold_values}
            FROM unnest($5::hold_input[]) AS h
            WHERE (h.pool_id IN (SELECT pool_id FROM saved)) IS TRUE
            ON CONFLICT (pool_id, seq) DO UPDATE SET
                last_seq = excluded.last_seq,
                status = excluded.status,
                expires_at = excluded.expires_at
        ), refunded AS (
            INSERT INTO refunds (pool_id, debit_seq, seq, credits)
            SELECT r.pool_id, r.debit_seq, r.seq, r.credits
            FROM unnest($6::refund_input[]) AS r
            WHERE (r.pool_id IN (SELECT pool_id FROM saved)) IS TRUE
        )
        SELECT pool_id FROM saved"
    )
});
