//! Entries of the journal, of which only what counts for usage is read. Most entries of a pool are
//! for the same few things, so what differs in nothing but its amounts is one row.

use std::ops::RangeInclusive;
use std::sync::LazyLock;

use sqlx::postgres::PgRow;
use sqlx::{FromRow, PgPool, Row};

use crate::ledger::{Kind, PoolId, Time, Transfer, UsageFigures};
use crate::store::deadline::within;
use crate::store::rows::row;
use crate::store::{Store, StoreError};

/// The most entries that are read at once: many more would hold up whoever waits for a processor,
/// here or in the database.
pub const PORTION: i64 = 1_024;
/// What stands between the transfers of one entry and those of the next.
const BETWEEN: char = ';';

/// What entries of one day with the same attribution say of usage. Some that count for nothing may
/// still name a user.
#[derive(Debug)]
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
            id: format!("{pool}/{} or one like it", self.seq),
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
    /// What a few entries say of usage, oldest first: of those that count for it or name a user.
    /// They are read like a key.
    ///
    /// # Errors
    /// The database is away, or an entry is corrupt.
    pub async fn used(
        &self,
        pool: PoolId,
        entries: RangeInclusive<i64>,
    ) -> Result<Vec<Used>, StoreError> {
        within(read_used(self.db(), pool, entries)).await
    }
}

/// What entries say of usage, oldest first. The caller bounds how many there may be.
pub(super) async fn read_used(
    db: &PgPool,
    pool: PoolId,
    entries: RangeInclusive<i64>,
) -> Result<Vec<Used>, StoreError> {
    let rows: Vec<UsedRow> = sqlx::query_as(READING_USED.as_str())
        .bind(pool.uuid())
        .bind(*entries.start())
        .bind(*entries.end())
        .fetch_all(db)
        .await?;
    rows.into_iter().map(|row| row.into_used(pool)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::SignedCredits;

    fn figures(kind: &str, transfers: &str, details: Option<&str>) -> Option<UsageFigures> {
        let row = UsedRow {
            seq: 7,
            at: Time::UNIX_EPOCH,
            kind: kind.to_owned(),
            operation: None,
            user_id: None,
            workspace_id: None,
            model: None,
            details: details.map(str::to_owned),
            transfers: transfers.to_owned(),
        };
        let pool = PoolId::from(uuid::Uuid::nil());
        row.figures(pool).expect("they can be read")
    }

    #[test]
    fn entries_in_one_row_count_each_with_their_own_transfers() {
        let transfers = "monthly>consumed:300;monthly>consumed:50,addon>consumed:7;;\
            overdraft>consumed:1";
        let expected = UsageFigures {
            monthly: SignedCredits::from_units(350),
            addon: SignedCredits::from_units(7),
            overdraft: SignedCredits::from_units(1),
            count: 4,
            ..UsageFigures::default()
        };
        assert_eq!(figures("debit", transfers, None), Some(expected));
        assert_eq!(figures("renewal", "", None), None);
    }

    #[test]
    fn what_entries_in_one_row_have_in_common_counts_once_for_each() {
        let details = Some(r#"{"imported_debits":12}"#);
        let both = figures(
            "import",
            "monthly>consumed:100;monthly>consumed:200",
            details,
        );
        let expected = UsageFigures {
            monthly: SignedCredits::from_units(300),
            count: 24,
            ..UsageFigures::default()
        };
        assert_eq!(both, Some(expected));
    }
}
