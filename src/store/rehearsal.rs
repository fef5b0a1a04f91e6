//! Reads the past of pools for a rehearsal: each portion of pools in one snapshot, each journal in
//! portions of entries, and never a write. Of the time before the window only what says the terms
//! of a pool is read.

use std::sync::{Arc, LazyLock};

use sqlx::{AssertSqlSafe, Connection, FromRow, PgConnection, Row};
use uuid::Uuid;

use super::along::{bought_column, bought_of, holds_column, holds_of};
use super::journal::first_not_before;
use super::rows::{ENTRY_COLUMNS, EntryRow, POOL_COLUMNS, PoolRow};
use super::{Store, StoreError};
use crate::ledger::{
    Along, Book, Catalogue, Credits, Entry, Fault, Kind, Pool, PoolId, PoolName, RefundableDebit,
    Rehearsal, Rehearsed, TenantId, Time, add_months,
};

/// How many entries are read at once. A journal that is no longer is read whole.
const PORTION: i64 = 1_000;

/// What is tried out, and over how long.
#[derive(Clone, Copy)]
pub struct Trial<'c> {
    /// What the tenant sells.
    pub catalogue: &'c Catalogue,
    /// What it would sell.
    pub other: &'c Catalogue,
    /// The end of the window, for pools that are on no test clock.
    pub now: Time,
    /// How long the window is.
    pub months: i32,
}

/// What was found of one pool.
#[derive(Clone, Debug)]
pub struct RehearsedPool {
    /// Its name.
    pub name: PoolName,
    /// What came of it; `None` when none of its cycles began in the window.
    pub rehearsed: Result<Option<Rehearsed>, Fault>,
}

/// Where the list of a tenant's pools goes on: when the last one was recorded, and its id.
pub type PoolPlace = (Time, Uuid);

/// A long read of the past.
pub struct Rehearser {
    connection: PgConnection,
}

impl Store {
    /// Connects for a rehearsal.
    ///
    /// # Errors
    /// The database is away.
    pub async fn rehearser(&self) -> Result<Rehearser, StoreError> {
        Ok(Rehearser {
            connection: self.dedicated().await?,
        })
    }
}

static ALL_ENTRIES: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT {ENTRY_COLUMNS}
        FROM entries AS e
        WHERE e.pool_id = $1
            AND e.seq > $2
        ORDER BY e.seq
        LIMIT {PORTION}"
    )
});

/// The terms before an entry, and the very last entry before it.
static TERMS_BEFORE: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT {ENTRY_COLUMNS}
        FROM entries AS e
        WHERE e.pool_id = $1
            AND e.seq > $2
            AND e.seq < $3
            AND (e.kind = ANY($4) OR e.seq = $3 - 1)
        ORDER BY e.seq
        LIMIT {PORTION}"
    )
});

static POOLS: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT {POOL_COLUMNS}, c.now AS clock_now, {}, {}
        FROM pools AS p
        LEFT JOIN test_clocks AS c
            ON c.tenant_id = p.tenant_id
            AND c.clock_id = p.test_clock
        WHERE p.pool_id = ANY($1)
        ORDER BY p.pool_id",
        holds_column("p.open_holds > 0", ""),
        bought_column("p.uncollected > 0")
    )
});

impl Rehearser {
    /// How many pools a tenant has.
    ///
    /// # Errors
    /// The database is away.
    pub async fn count(&mut self, tenant: TenantId) -> Result<u64, StoreError> {
        let count: i64 = sqlx::query_scalar("SELECT count(*) FROM pools WHERE tenant_id = $1")
            .bind(tenant.uuid())
            .fetch_one(&mut self.connection)
            .await?;
        Ok(count.unsigned_abs())
    }

    /// The next pools of a tenant, the newest first, and where to go on.
    ///
    /// # Errors
    /// The database is away.
    pub async fn next_pools(
        &mut self,
        tenant: TenantId,
        after: Option<PoolPlace>,
        limit: i64,
    ) -> Result<(Vec<PoolId>, Option<PoolPlace>), StoreError> {
        let rows: Vec<PoolPlace> = sqlx::query_as(
            r"
            SELECT recorded_at, pool_id
            FROM pools
            WHERE tenant_id = $1
                AND ($2::timestamptz IS NULL OR (recorded_at, pool_id) < ($2, $3))
            ORDER BY recorded_at DESC, pool_id DESC
            LIMIT $4
            ",
        )
        .bind(tenant.uuid())
        .bind(after.map(|(recorded_at, _)| recorded_at))
        .bind(after.map(|(_, pool)| pool))
        .bind(limit)
        .fetch_all(&mut self.connection)
        .await?;
        let last = rows.last().copied();
        Ok((rows.into_iter().map(|(_, id)| id.into()).collect(), last))
    }

    /// Rehearses those of these pools that are there, all in one snapshot.
    ///
    /// # Errors
    /// The database is away or a row is corrupt. What is wrong in a journal is in what was found.
    pub async fn rehearse(
        &mut self,
        pools: &[PoolId],
        trial: Trial<'_>,
    ) -> Result<Vec<RehearsedPool>, StoreError> {
        let mut tx = self
            .connection
            .begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            .await?;
        let ids: Vec<Uuid> = pools.iter().map(|pool| pool.uuid()).collect();
        let rows = sqlx::query(POOLS.as_str())
            .bind(&ids)
            .fetch_all(&mut *tx)
            .await?;
        let mut found = Vec::with_capacity(rows.len());
        for row in rows {
            let pool = Pool::try_from(PoolRow::from_row(&row)?)?;
            let now = row.try_get::<Option<Time>, _>("clock_now")?;
            let now = now.unwrap_or(trial.now).max(pool.last_at);
            let along = Along {
                holds: holds_of(pool.id, &row)?,
                debits: Vec::new(),
                bought: bought_of(pool.id, &row)?,
            };
            found.push(RehearsedPool {
                name: pool.name.clone(),
                rehearsed: rehearse_pool(&mut tx, (pool, along), trial, now).await?,
            });
        }
        tx.commit().await?;
        Ok(found)
    }
}

async fn rehearse_pool(
    connection: &mut PgConnection,
    (pool, along): (Pool, Along),
    trial: Trial<'_>,
    now: Time,
) -> Result<Result<Option<Rehearsed>, Fault>, StoreError> {
    let from = add_months(now, -trial.months);
    let names = (pool.id, pool.tenant, pool.name.clone());
    let mut rehearsal = Rehearsal::new(names, trial.catalogue, trial.other, from);
    let first = match pool.seq <= PORTION {
        true => 1,
        false => first_to_rehearse(connection, pool.id, from).await?,
    };
    if let Err(fault) = follow_terms(connection, pool.id, first, &mut rehearsal).await? {
        return Ok(Err(fault));
    }
    let mut last = first - 1;
    while last < pool.seq {
        let entries: Vec<EntryRow> = sqlx::query_as(ALL_ENTRIES.as_str())
            .bind(pool.id.uuid())
            .bind(last)
            .fetch_all(&mut *connection)
            .await?;
        let Some(end) = entries.last() else { break };
        last = end.seq;
        if let Err(fault) = rehearse_portion(connection, entries, &mut rehearsal).await? {
            return Ok(Err(fault));
        }
    }
    Ok(rehearsal.finish(Book::with(pool, along), now))
}

/// The entry that opens the first cycle in the window; one more than the last entry's number when
/// none does.
async fn first_to_rehearse(
    connection: &mut PgConnection,
    pool: PoolId,
    from: Time,
) -> Result<i64, StoreError> {
    let in_window: i64 = sqlx::query_scalar(AssertSqlSafe(first_not_before("at")))
        .bind(pool.uuid())
        .bind(from)
        .fetch_one(&mut *connection)
        .await?;
    let opening = sqlx::query_scalar(AssertSqlSafe(first_not_before("cycle_seq")))
        .bind(pool.uuid())
        .bind(in_window)
        .fetch_one(&mut *connection)
        .await?;
    Ok(opening)
}

/// Follows what says the terms of a pool before an entry.
async fn follow_terms(
    connection: &mut PgConnection,
    pool: PoolId,
    first: i64,
    rehearsal: &mut Rehearsal<'_>,
) -> Result<Result<(), Fault>, StoreError> {
    let kinds = Rehearsal::TERMS.map(Kind::as_str);
    let mut last = 0;
    while last < first - 1 {
        let rows: Vec<EntryRow> = sqlx::query_as(TERMS_BEFORE.as_str())
            .bind(pool.uuid())
            .bind(last)
            .bind(first)
            .bind(&kinds[..])
            .fetch_all(&mut *connection)
            .await?;
        let Some(end) = rows.last() else { break };
        last = end.seq;
        for row in rows {
            if let Err(fault) = rehearsal.add(&Entry::try_from(row)?) {
                return Ok(Err(fault));
            }
        }
    }
    Ok(Ok(()))
}

async fn rehearse_portion(
    connection: &mut PgConnection,
    rows: Vec<EntryRow>,
    rehearsal: &mut Rehearsal<'_>,
) -> Result<Result<(), Fault>, StoreError> {
    let entries = rows.into_iter().map(Entry::try_from);
    let entries: Vec<Entry> = entries.collect::<Result<_, _>>()?;
    for (debit, refund) in refunds_of(connection, &entries).await? {
        rehearsal.expect_refunds(debit, refund);
    }
    for entry in &entries {
        if let Some(seq) = rehearsal.wants_debit(entry) {
            let debit = debit_before(connection, entry.pool, seq, entry.seq).await?;
            rehearsal.show_debit(debit, entry.seq);
        }
        if let Err(fault) = rehearsal.add(entry) {
            return Ok(Err(fault));
        }
    }
    Ok(Ok(()))
}

/// Those of these debits that are refunded, each with the last entry that does it.
async fn refunds_of(
    connection: &mut PgConnection,
    entries: &[Entry],
) -> Result<Vec<(i64, i64)>, StoreError> {
    let mut debits = entries.iter().filter(|entry| entry.kind == Kind::Debit);
    let Some(first) = debits.next() else {
        return Ok(Vec::new());
    };
    let last = debits.next_back().unwrap_or(first);
    let rows = sqlx::query_as(
        r"
        SELECT debit_seq, MAX(seq)
        FROM refunds
        WHERE pool_id = $1
            AND debit_seq >= $2
            AND debit_seq <= $3
        GROUP BY debit_seq
        ",
    )
    .bind(first.pool.uuid())
    .bind(first.seq)
    .bind(last.seq)
    .fetch_all(connection)
    .await?;
    Ok(rows)
}

/// A debit, with what was given back of it before the entry `before`.
async fn debit_before(
    connection: &mut PgConnection,
    pool: PoolId,
    debit: i64,
    before: i64,
) -> Result<RefundableDebit, StoreError> {
    let statement = format!(
        "SELECT {ENTRY_COLUMNS}, COALESCE((
            SELECT SUM(r.credits)
            FROM refunds AS r
            WHERE r.pool_id = e.pool_id
                AND r.debit_seq = e.seq
                AND r.seq < $3
        ), 0)::bigint AS refunded
        FROM entries AS e
        WHERE e.pool_id = $1
            AND e.seq = $2"
    );
    let row = sqlx::query(AssertSqlSafe(statement))
        .bind(pool.uuid())
        .bind(debit)
        .bind(before)
        .fetch_one(connection)
        .await?;
    let refunded = Credits::from_units(row.try_get("refunded")?);
    Ok(RefundableDebit {
        entry: Arc::new(Entry::try_from(EntryRow::from_row(&row)?)?),
        refunded: refunded.ok_or_else(|| StoreError::Corrupt {
            table: "refunds",
            column: "credits",
            id: format!("{pool}/{debit}"),
        })?,
    })
}
