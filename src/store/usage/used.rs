//! Entries of the journal, of which only what counts for usage is read.

use std::ops::RangeInclusive;
use std::sync::LazyLock;

use sqlx::postgres::PgRow;
use sqlx::{FromRow, Row};
use tokio::task::yield_now;

use crate::ledger::{Kind, PoolId, Time, Transfer, UsageFigures};
use crate::store::deadline::within;
use crate::store::rows::row;
use crate::store::{Store, StoreError};

/// The most entries that are read at once.
pub const PORTION: i64 = 8_192;
/// So few entries are read like a key, not like a scan.
const FEW: i64 = 1_000;
/// So many are taken apart before others have their turn: a request behind all of them would wait.
const AT_ONCE: usize = 512;

/// What an entry says of usage. One that counts for nothing may still name a user.
#[derive(Clone, Debug)]
pub struct UsedEntry {
    /// When.
    pub at: Time,
    /// The operation's code.
    pub operation: Option<String>,
    /// The client's user.
    pub user_id: Option<String>,
    /// The client's workspace.
    pub workspace_id: Option<String>,
    /// The model that did the work.
    pub model: Option<String>,
    /// What it counts for; `None` for an entry of another kind.
    pub figures: Option<UsageFigures>,
}

row! {
    /// A row of `entries`, as far as it says something of usage.
    UsedRow,
    /// The columns of [`UsedRow`], of a table called `e`.
    USED_COLUMNS of "e",
    {
        seq: i64,
        at: Time,
        kind: String,
        operation: Option<String>,
        user_id: Option<String>,
        workspace_id: Option<String>,
        model: Option<String>,
        transfers: String,
        details: Option<String>,
    }
}

static READING_USED: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT {USED_COLUMNS}
        FROM entries AS e
        WHERE e.pool_id = $1
            AND e.seq BETWEEN $2 AND $3
            AND (e.kind IN ('debit', 'refund', 'import') OR e.user_id IS NOT NULL)
        ORDER BY e.seq"
    )
});

impl UsedRow {
    fn into_used(self, pool: PoolId) -> Result<UsedEntry, StoreError> {
        let corrupt = |column| StoreError::Corrupt {
            table: "entries",
            column,
            id: format!("{pool}/{}", self.seq),
        };
        let kind: Kind = self.kind.parse().map_err(|_| corrupt("kind"))?;
        let figures = match UsageFigures::counts(kind) {
            true => {
                let transfers = Transfer::list_from_text(&self.transfers);
                let transfers = transfers.map_err(|_| corrupt("transfers"))?;
                let figures = UsageFigures::of(kind, &transfers, self.details.as_deref());
                Some(figures.ok_or_else(|| corrupt("details"))?)
            }
            false => None,
        };
        Ok(UsedEntry {
            at: self.at,
            operation: self.operation,
            user_id: self.user_id,
            workspace_id: self.workspace_id,
            model: self.model,
            figures,
        })
    }
}

impl Store {
    /// Of these entries those that count for usage or name a user, oldest first. The caller bounds
    /// how many there may be.
    ///
    /// # Errors
    /// The database is away, or an entry is corrupt.
    pub async fn used_entries(
        &self,
        pool: PoolId,
        entries: RangeInclusive<i64>,
    ) -> Result<Vec<UsedEntry>, StoreError> {
        let is_few = entries.end() - entries.start() < FEW;
        let read = sqlx::query_as(READING_USED.as_str())
            .bind(pool.uuid())
            .bind(*entries.start())
            .bind(*entries.end());
        let rows: Vec<UsedRow> = if is_few {
            within(async { Ok(read.fetch_all(self.db()).await?) }).await?
        } else {
            read.fetch_all(self.scans()).await?
        };
        let mut used = Vec::with_capacity(rows.len());
        for (place, row) in rows.into_iter().enumerate() {
            used.push(row.into_used(pool)?);
            if place % AT_ONCE == 0 {
                yield_now().await;
            }
        }
        Ok(used)
    }
}
