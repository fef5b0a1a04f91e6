//! Reading holds: one by its id, pages newest first.
//!
//! What is shown of a hold is the last entry about it; the table says which that is. Holds are
//! written with their entries in `batch`, and read for decisions in `along`.

use sqlx::AssertSqlSafe;

use super::deadline::{within, within_scan};
use super::rows::{ENTRY_COLUMNS, EntryRow};
use super::{Store, StoreError};
use crate::ledger::{Entry, EntryId, HoldStatus, Label, PoolId};

/// Holds `h`, each with the last entry `e` about it.
const HOLDS: &str = "holds AS h
    JOIN entries AS e
        ON e.pool_id = h.pool_id
        AND e.seq = h.last_seq";

/// Which holds of a pool to list.
#[derive(Clone, Debug, Default)]
pub struct HoldFilter {
    /// Only those of which this became.
    pub status: Option<HoldStatus>,
    /// Only this user's.
    pub user_id: Option<Label>,
    /// Only of this run.
    pub run_id: Option<Label>,
}

impl Store {
    /// The last entry about the hold of a pool that has this id.
    ///
    /// # Errors
    /// The database is away or the row is corrupt.
    pub async fn find_hold(&self, pool: PoolId, id: EntryId) -> Result<Option<Entry>, StoreError> {
        let Some((seq, opened_at)) = id.locate(pool) else {
            return Ok(None);
        };
        let statement = format!(
            "SELECT {ENTRY_COLUMNS}
            FROM {HOLDS}
            WHERE h.pool_id = $1
                AND h.seq = $2
                AND h.opened_at = $3"
        );
        let read = sqlx::query_as(AssertSqlSafe(statement))
            .bind(pool.uuid())
            .bind(seq)
            .bind(opened_at)
            .fetch_optional(self.db());
        let row: Option<EntryRow> = within(async { Ok(read.await?) }).await?;
        row.map(Entry::try_from).transpose()
    }

    /// The last entries about a pool's holds, the hold that was opened last first; only of holds
    /// older than entry `before` when there is one.
    ///
    /// # Errors
    /// The database is away or a row is corrupt.
    pub async fn holds(
        &self,
        pool: PoolId,
        filter: &HoldFilter,
        before: Option<i64>,
        limit: i64,
    ) -> Result<Vec<Entry>, StoreError> {
        let statement = format!(
            "SELECT {ENTRY_COLUMNS}
            FROM {HOLDS}
            WHERE h.pool_id = $1
                AND ($2::text IS NULL OR h.status = $2)
                AND ($3::text IS NULL OR h.user_id = $3)
                AND ($4::text IS NULL OR h.run_id = $4)
                AND ($5::bigint IS NULL OR h.seq < $5)
            ORDER BY h.seq DESC
            LIMIT $6"
        );
        let read = sqlx::query_as(AssertSqlSafe(statement))
            .bind(pool.uuid())
            .bind(filter.status.map(HoldStatus::as_str))
            .bind(filter.user_id.as_ref().map(Label::as_str))
            .bind(filter.run_id.as_ref().map(Label::as_str))
            .bind(before)
            .bind(limit)
            .fetch_all(self.scans());
        let rows: Vec<EntryRow> = within_scan(async { Ok(read.await?) }).await?;
        rows.into_iter().map(Entry::try_from).collect()
    }
}
