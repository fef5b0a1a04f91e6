//! Entries of the journal, of which only what counts for usage is read.

use std::ops::RangeInclusive;

use sqlx::FromRow;

use crate::ledger::{Kind, PoolId, Time, Transfer, UsageFigures};
use crate::store::deadline::within;
use crate::store::{Store, StoreError};

/// The most entries that are read at once.
pub const PORTION: i64 = 8_192;
/// So few entries are read like a key, not like a scan.
const FEW: i64 = 1_000;

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

#[derive(FromRow)]
struct UsedRow {
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
        let read = sqlx::query_as(
            r"
            SELECT seq, at, kind, operation, user_id, workspace_id, model, transfers, details
            FROM entries
            WHERE pool_id = $1
                AND seq BETWEEN $2 AND $3
                AND (kind IN ('debit', 'refund', 'import') OR user_id IS NOT NULL)
            ORDER BY seq
            ",
        )
        .bind(pool.uuid())
        .bind(*entries.start())
        .bind(*entries.end());
        let rows: Vec<UsedRow> = if is_few {
            within(async { Ok(read.fetch_all(self.db()).await?) }).await?
        } else {
            read.fetch_all(self.scans()).await?
        };
        rows.into_iter().map(|row| row.into_used(pool)).collect()
    }
}
