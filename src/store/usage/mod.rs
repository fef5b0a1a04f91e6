//! Who spent what in a cycle, added up from the journal's transfers.
//!
//! A cycle's entries are those after the one that opened it, by number and not by instant. The
//! caller says up to which entry it has seen, so that usage agrees with the balance it read.

use std::ops::RangeInclusive;

use sqlx::FromRow;

use super::deadline::within_scan;
use super::{Store, StoreError};
use crate::ledger::{Credits, PoolId, Time};

/// What one user spent, in one workspace when that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageRow {
    /// The client's user; `None` for what no user is known of.
    pub user_id: Option<String>,
    /// The client's workspace.
    pub workspace_id: Option<String>,
    /// Drawn from the monthly bucket or beyond both.
    pub recurring: Credits,
    /// Drawn from the add-on bucket.
    pub topup: Credits,
}

/// Whether usage is split by workspace too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UsageGroups {
    /// One row a user.
    Users,
    /// One row a user and workspace.
    UsersAndWorkspaces,
}

#[derive(FromRow)]
struct SumRow {
    user_id: Option<String>,
    workspace_id: Option<String>,
    recurring: i64,
    topup: i64,
}

impl Store {
    /// Usage by the entries with these numbers, ordered by user, then workspace, unknown ones last.
    ///
    /// # Errors
    /// The database is away or a transfer is corrupt.
    pub async fn usage(
        &self,
        pool: PoolId,
        entries: RangeInclusive<i64>,
        groups: UsageGroups,
    ) -> Result<Vec<UsageRow>, StoreError> {
        let read = sqlx::query_as(
            r#"
            WITH spent AS (
                SELECT
                    e.user_id,
                    CASE WHEN $4 THEN e.workspace_id END AS workspace_id,
                    split_part(t.leg, '>', 1) AS from_account,
                    split_part(t.leg, ':', 2)::bigint AS amount
                FROM entries AS e
                CROSS JOIN LATERAL string_to_table(e.transfers, ',') AS t (leg)
                WHERE e.pool_id = $1
                    AND e.seq BETWEEN $2 AND $3
                    AND t.leg LIKE '%>consumed:%'
            )
            SELECT
                user_id,
                workspace_id,
                COALESCE(SUM(amount) FILTER (WHERE from_account <> 'addon'), 0)::bigint
                    AS recurring,
                COALESCE(SUM(amount) FILTER (WHERE from_account = 'addon'), 0)::bigint AS topup
            FROM spent
            GROUP BY user_id, workspace_id
            ORDER BY user_id COLLATE "C" NULLS LAST, workspace_id COLLATE "C" NULLS LAST
            "#,
        )
        .bind(pool.uuid())
        .bind(entries.start())
        .bind(entries.end())
        .bind(groups == UsageGroups::UsersAndWorkspaces)
        .fetch_all(self.scans());
        let rows: Vec<SumRow> = within_scan(async { Ok(read.await?) }).await?;
        let credits = |column, units| {
            Credits::from_units(units).ok_or_else(|| StoreError::Corrupt {
                table: "entries",
                column,
                id: pool.to_string(),
            })
        };
        let row = |row: SumRow| {
            Ok(UsageRow {
                recurring: credits("transfers", row.recurring)?,
                topup: credits("transfers", row.topup)?,
                user_id: row.user_id,
                workspace_id: row.workspace_id,
            })
        };
        rows.into_iter().map(row).collect()
    }

    /// The instant of a pool's first entry that names a user, ever.
    ///
    /// # Errors
    /// The database is away.
    pub async fn tracking_since(&self, pool: PoolId) -> Result<Option<Time>, StoreError> {
        let read = sqlx::query_scalar(
            r"
            SELECT at
            FROM entries
            WHERE pool_id = $1
                AND user_id IS NOT NULL
            ORDER BY seq
            LIMIT 1
            ",
        )
        .bind(pool.uuid())
        .fetch_optional(self.scans());
        within_scan(async { Ok(read.await?) }).await
    }
}
