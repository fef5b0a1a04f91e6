//! Entries of the journal, of which only what counts for usage is read. Most entries of a pool are
//! for the same few things, so what differs in nothing but its amounts is one row.

use std::ops::RangeInclusive;
use std::sync::LazyLock;

use sqlx::postgres::PgRow;
use sqlx::{FromRow, Row};

use crate::ledger::{Kind, PoolId, Time, Transfer, UsageFigures};
use crate::store::deadline::within;
use crate::store::rows::row;
use crate::store::{Store, StoreError};

/// The most entries that are read at once: many more would hold up whoever waits for a processor,
/// here or in the database.
pub const PORTION: i64 = 1_024;
/// So few entries are read like a key, not like a scan.
const FEW: i64 = 1_000;
/// What stands between the transfers of one entry and those of the next.
const BETWEEN: char = ';';

/// What entries of one day with the same attribution say of usage. Some that count for nothing may
/// still name a user.
#[derive(Clone, Debug)]
pub struct Used {
    /// When the first of them happened.
    pub at: Time,
    /// The operation's code.
    pub operation: Option<String>,
    /// The client's user.
    pub user_id: Option<String>,
    /// The client's workspace.
    pub workspace_id: Option<String>,
    /// The model that did the work.
    pub model: Option<String>,
    /// What they count for; `None` for entries of another kind.
    pub figures: Option<UsageFigures>,
}

row! {
    /// Entries that are alike, as far as they say something of usage.
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
        details: Option<String>,
        transfers: String,
    }
}

static READING_USED: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT {USED_COLUMNS}
        FROM (
            SELECT
                min(seq) AS seq, min(at) AS at, kind, operation, user_id, workspace_id, model,
                details, string_agg(transfers, '{BETWEEN}') AS transfers
            FROM entries
            WHERE pool_id = $1
                AND seq BETWEEN $2 AND $3
                AND (kind IN ('debit', 'refund', 'import') OR user_id IS NOT NULL)
            GROUP BY
                (at AT TIME ZONE 'UTC')::date, kind, operation, user_id, workspace_id, model,
                details
        ) AS e
        ORDER BY e.seq"
    )
});

impl UsedRow {
    /// What the entries count for together.
    fn figures(&self, pool: PoolId) -> Result<Option<UsageFigures>, StoreError> {
        let corrupt = |column| StoreError::Corrupt {
            table: "entries",
            column,
            id: format!("{pool}/{}", self.seq),
        };
        let kind: Kind = self.kind.parse().map_err(|_| corrupt("kind"))?;
        if !UsageFigures::counts(kind) {
            return Ok(None);
        }
        let mut figures = UsageFigures::default();
        for transfers in self.transfers.split(BETWEEN) {
            let transfers = Transfer::list_from_text(transfers);
            let transfers = transfers.map_err(|_| corrupt("transfers"))?;
            let one = UsageFigures::of(kind, &transfers, self.details.as_deref());
            figures += one.ok_or_else(|| corrupt("details"))?;
        }
        Ok(Some(figures))
    }

    fn into_used(self, pool: PoolId) -> Result<Used, StoreError> {
        Ok(Used {
            figures: self.figures(pool)?,
            at: self.at,
            operation: self.operation,
            user_id: self.user_id,
            workspace_id: self.workspace_id,
            model: self.model,
        })
    }
}

impl Store {
    /// What these entries say of usage, oldest first: of those that count for it or name a user.
    /// The caller bounds how many there may be.
    ///
    /// # Errors
    /// The database is away, or an entry is corrupt.
    pub async fn used(
        &self,
        pool: PoolId,
        entries: RangeInclusive<i64>,
    ) -> Result<Vec<Used>, StoreError> {
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
        rows.into_iter().map(|row| row.into_used(pool)).collect()
    }
}
