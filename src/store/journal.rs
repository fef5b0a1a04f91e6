//! Reading the journal of a pool: one entry by its id, a few by number, pages newest first.
//!
//! Appending is in `batch`. Nothing here reads a whole history at once: a page is at most what its
//! caller asked for, found by the primary key, and an instant is turned into a number by bisection,
//! because entries of a pool are ordered in time (invariant ordered).

use std::sync::LazyLock;

use sqlx::AssertSqlSafe;
use uuid::Uuid;

use super::deadline::{within, within_scan};
use super::rows::{ENTRY_COLUMNS, EntryRow};
use super::{Store, StoreError};
use crate::ledger::{Entry, EntryId, Label, PoolId, Time};

/// Which entries of a pool to list.
#[derive(Clone, Debug, Default)]
pub struct EntryFilter {
    /// Only of these kinds; of all, when empty.
    pub kinds: Vec<&'static str>,
    /// Only what this user caused.
    pub user_id: Option<Label>,
    /// Only what was done in this workspace.
    pub workspace_id: Option<Label>,
    /// Only of this operation.
    pub operation: Option<Label>,
    /// Only of this run.
    pub run_id: Option<Label>,
    /// Only of this payment.
    pub reference: Option<Label>,
    /// Only at this instant or later.
    pub from: Option<Time>,
    /// Only before this instant.
    pub to: Option<Time>,
}

/// What only grows along a journal.
#[derive(Clone, Copy)]
enum Order {
    At,
    CycleStart,
}

impl Order {
    const fn column(self) -> &'static str {
        match self {
            Self::At => "at",
            Self::CycleStart => "cycle_start",
        }
    }
}

static ENTRY_BY_NUMBER: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT {ENTRY_COLUMNS}
        FROM entries AS e
        WHERE e.pool_id = $1
            AND e.seq = $2"
    )
});

impl Store {
    /// The last entry of each of these pools up to an instant, of those that had one.
    ///
    /// # Errors
    /// The database is away or a row is corrupt.
    pub async fn last_entries(
        &self,
        pools: &[PoolId],
        instant: Time,
    ) -> Result<Vec<Entry>, StoreError> {
        let ids: Vec<Uuid> = pools.iter().map(|pool| pool.uuid()).collect();
        let statement = format!(
            "SELECT {ENTRY_COLUMNS}
            FROM unnest($1::uuid[]) AS k (pool_id)
            JOIN LATERAL (
                SELECT *
                FROM entries
                WHERE pool_id = k.pool_id
                    AND at <= $2
                ORDER BY seq DESC
                LIMIT 1
            ) AS e ON true"
        );
        let read = sqlx::query_as(AssertSqlSafe(statement))
            .bind(ids)
            .bind(instant)
            .fetch_all(self.scans());
        let rows: Vec<EntryRow> = within_scan(async { Ok(read.await?) }).await?;
        rows.into_iter().map(Entry::try_from).collect()
    }

    /// The entry of a pool that has this id.
    ///
    /// # Errors
    /// The database is away or the row is corrupt.
    pub async fn find_entry(&self, pool: PoolId, id: EntryId) -> Result<Option<Entry>, StoreError> {
        let Some((seq, at)) = id.locate(pool) else {
            return Ok(None);
        };
        let statement = format!(
            "SELECT {ENTRY_COLUMNS}
            FROM entries AS e
            WHERE e.pool_id = $1
                AND e.seq = $2
                AND e.at = $3"
        );
        let read = sqlx::query_as(AssertSqlSafe(statement))
            .bind(pool.uuid())
            .bind(seq)
            .bind(at)
            .fetch_optional(self.db());
        let row: Option<EntryRow> = within(async { Ok(read.await?) }).await?;
        row.map(Entry::try_from).transpose()
    }

    /// Entries of a pool, newest first, only older than entry `before` when there is one.
    ///
    /// # Errors
    /// The database is away or a row is corrupt.
    pub async fn entries(
        &self,
        pool: PoolId,
        filter: &EntryFilter,
        before: Option<i64>,
        limit: i64,
    ) -> Result<Vec<Entry>, StoreError> {
        let first = match filter.from {
            Some(instant) => Some(self.first_since(pool, instant).await?),
            None => None,
        };
        let end = match filter.to {
            Some(instant) => Some(self.first_since(pool, instant).await?),
            None => None,
        };
        let end = end.into_iter().chain(before).min();
        let statement = format!(
            "SELECT {ENTRY_COLUMNS}
            FROM entries AS e
            WHERE e.pool_id = $1
                AND ($2::bigint IS NULL OR e.seq >= $2)
                AND ($3::bigint IS NULL OR e.seq < $3)
                AND ($4::text[] = '{{}}' OR e.kind = ANY($4))
                AND ($5::text IS NULL OR e.user_id = $5)
                AND ($6::text IS NULL OR e.workspace_id = $6)
                AND ($7::text IS NULL OR e.operation = $7)
                AND ($8::text IS NULL OR e.run_id = $8)
                AND ($9::text IS NULL OR e.reference = $9)
            ORDER BY e.seq DESC
            LIMIT $10"
        );
        let read = sqlx::query_as(AssertSqlSafe(statement))
            .bind(pool.uuid())
            .bind(first)
            .bind(end)
            .bind(&filter.kinds)
            .bind(filter.user_id.as_ref().map(Label::as_str))
            .bind(filter.workspace_id.as_ref().map(Label::as_str))
            .bind(filter.operation.as_ref().map(Label::as_str))
            .bind(filter.run_id.as_ref().map(Label::as_str))
            .bind(filter.reference.as_ref().map(Label::as_str))
            .bind(limit)
            .fetch_all(self.scans());
        let rows: Vec<EntryRow> = within_scan(async { Ok(read.await?) }).await?;
        rows.into_iter().map(Entry::try_from).collect()
    }

    /// So many entries of a pool from one on, oldest first.
    ///
    /// # Errors
    /// The database is away or a row is corrupt.
    pub async fn entries_from(
        &self,
        pool: PoolId,
        seq: i64,
        count: i64,
    ) -> Result<Vec<Entry>, StoreError> {
        let statement = format!(
            "SELECT {ENTRY_COLUMNS}
            FROM entries AS e
            WHERE e.pool_id = $1
                AND e.seq >= $2
                AND e.seq < $2 + $3
            ORDER BY e.seq"
        );
        let read = sqlx::query_as(AssertSqlSafe(statement))
            .bind(pool.uuid())
            .bind(seq)
            .bind(count)
            .fetch_all(self.scans());
        let rows: Vec<EntryRow> = within_scan(async { Ok(read.await?) }).await?;
        rows.into_iter().map(Entry::try_from).collect()
    }

    /// The entry of a pool that has this number.
    ///
    /// # Errors
    /// The database is away or the row is corrupt.
    pub async fn entry_at(&self, pool: PoolId, seq: i64) -> Result<Option<Entry>, StoreError> {
        let read = sqlx::query_as(ENTRY_BY_NUMBER.as_str())
            .bind(pool.uuid())
            .bind(seq)
            .fetch_optional(self.db());
        let row: Option<EntryRow> = within(async { Ok(read.await?) }).await?;
        row.map(Entry::try_from).transpose()
    }

    /// The refunds of a debit, oldest first, at most so many.
    ///
    /// # Errors
    /// The database is away or a row is corrupt.
    pub async fn refunds_of(
        &self,
        pool: PoolId,
        debit_seq: i64,
        limit: i64,
    ) -> Result<Vec<Entry>, StoreError> {
        let statement = format!(
            "SELECT {ENTRY_COLUMNS}
            FROM refunds AS r
            JOIN entries AS e
                ON e.pool_id = r.pool_id
                AND e.seq = r.seq
            WHERE r.pool_id = $1
                AND r.debit_seq = $2
            ORDER BY r.seq
            LIMIT $3"
        );
        let read = sqlx::query_as(AssertSqlSafe(statement))
            .bind(pool.uuid())
            .bind(debit_seq)
            .bind(limit)
            .fetch_all(self.db());
        let rows: Vec<EntryRow> = within(async { Ok(read.await?) }).await?;
        rows.into_iter().map(Entry::try_from).collect()
    }

    /// The number of the first entry at an instant or later, or one more than the last entry's.
    ///
    /// # Errors
    /// The database is away.
    pub async fn first_since(&self, pool: PoolId, instant: Time) -> Result<i64, StoreError> {
        self.first_not_before(pool, Order::At, instant).await
    }

    /// The number of the first entry of the cycle that began at an instant, or else of the next
    /// one that began later; one more than the last entry's when there is none.
    pub(super) async fn first_of_cycle(
        &self,
        pool: PoolId,
        cycle_start: Time,
    ) -> Result<i64, StoreError> {
        self.first_not_before(pool, Order::CycleStart, cycle_start)
            .await
    }

    /// Halves the journal until one entry is left, so it costs as many look-ups as the length of
    /// the journal has bits.
    async fn first_not_before(
        &self,
        pool: PoolId,
        order: Order,
        instant: Time,
    ) -> Result<i64, StoreError> {
        let statement = first_not_before(order.column());
        let read = sqlx::query_scalar(AssertSqlSafe(statement))
            .bind(pool.uuid())
            .bind(instant)
            .fetch_one(self.scans());
        within_scan(async { Ok(read.await?) }).await
    }
}

/// The statement that finds the first entry of pool `$1` whose `column`, which only grows along a
/// journal, is not before `$2`; one more than the last entry's number when there is none.
pub(super) fn first_not_before(column: &str) -> String {
    format!(
        "WITH RECURSIVE halves AS (
            -- Entries up to `earlier` are before the instant, those from `later` on are not.
            SELECT 0::bigint AS earlier, COALESCE(MAX(seq), 0) + 1 AS later
            FROM entries
            WHERE pool_id = $1
            UNION ALL
            SELECT
                CASE WHEN h.is_earlier THEN h.middle ELSE h.earlier END,
                CASE WHEN h.is_earlier THEN h.later ELSE h.middle END
            FROM (
                SELECT
                    b.earlier,
                    b.later,
                    (b.earlier + b.later) / 2 AS middle,
                    -- A subquery, not a join: it is one look-up by the key each time.
                    (
                        SELECT e.{column} < $2
                        FROM entries AS e
                        WHERE e.pool_id = $1
                            AND e.seq = (b.earlier + b.later) / 2
                    ) AS is_earlier
                FROM halves AS b
                WHERE b.later - b.earlier > 1
            ) AS h
        )
        SELECT MIN(later)
        FROM halves"
    )
}
