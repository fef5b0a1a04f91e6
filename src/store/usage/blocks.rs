//! Building blocks: what a block's entries count for, added up once and kept.
//!
//! A block is written by one statement together with the head that counts it, and only if the head
//! still says that it is the next one: so any number of replicas may build at the same time, and a
//! reader that sees the head sees every line. Blocks are built from what is committed and never
//! changes, so they need no lock and no place on the path of a debit.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use sqlx::{AssertSqlSafe, FromRow, PgExecutor};

use super::cover::Head;
use super::used::{PORTION, Used, read_used};
use super::{FiguresRow, SUMS};
use crate::ledger::{PoolId, Time, UsageFigures};
use crate::store::deadline::within_scan;
use crate::store::{Store, StoreError};

/// Entries that a block of the lowest level has.
pub const BLOCK_ENTRIES: i64 = 8_192;
/// Blocks that one block of the next level has.
const FAN: i64 = 16;

/// How the lines of a block split it: each way splits all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(i16)]
pub(super) enum Split {
    Whole = 0,
    Operation = 1,
    User = 2,
    Workspace = 3,
    Model = 4,
    Day = 5,
    UserAndWorkspace = 6,
}

impl Split {
    const ALL: [Self; 7] = [
        Self::Whole,
        Self::Operation,
        Self::User,
        Self::Workspace,
        Self::Model,
        Self::Day,
        Self::UserAndWorkspace,
    ];

    /// The number in the table.
    pub const fn number(self) -> i16 {
        self as i16
    }

    /// The line of entries that are alike.
    fn key(self, used: &Used) -> LineKey {
        let among = |splits: &[Self]| self == Self::Whole || splits.contains(&self);
        let text = |splits: &[Self], text: &Option<String>| text.clone().filter(|_| among(splits));
        LineKey {
            split: self.number(),
            day: among(&[Self::Day]).then(|| used.at.date_naive()),
            operation: text(&[Self::Operation], &used.operation),
            user_id: text(&[Self::User, Self::UserAndWorkspace], &used.user_id),
            workspace_id: text(
                &[Self::Workspace, Self::UserAndWorkspace],
                &used.workspace_id,
            ),
            model: text(&[Self::Model], &used.model),
        }
    }
}

/// What the figures of a line have in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LineKey {
    pub split: i16,
    pub day: Option<NaiveDate>,
    pub operation: Option<String>,
    pub user_id: Option<String>,
    pub workspace_id: Option<String>,
    pub model: Option<String>,
}

/// What the entries of a block count for.
pub(super) type Lines = BTreeMap<LineKey, UsageFigures>;

#[derive(FromRow)]
struct HeadRow {
    level: i16,
    size: i64,
    blocks: i64,
    tracking_since: Option<Time>,
}

/// A row of `usage_lines`.
#[derive(FromRow)]
pub(super) struct LineRow {
    split: i16,
    day: Option<NaiveDate>,
    operation: Option<String>,
    user_id: Option<String>,
    workspace_id: Option<String>,
    model: Option<String>,
    #[sqlx(flatten)]
    figures: FiguresRow,
}

impl From<LineRow> for (LineKey, UsageFigures) {
    fn from(row: LineRow) -> Self {
        let key = LineKey {
            split: row.split,
            day: row.day,
            operation: row.operation,
            user_id: row.user_id,
            workspace_id: row.workspace_id,
            model: row.model,
        };
        (key, row.figures.into())
    }
}

/// Adds entries that are alike to the lines of their block.
pub(super) fn add(lines: &mut Lines, used: &Used) {
    let Some(figures) = used.figures else {
        return;
    };
    for split in Split::ALL {
        *lines.entry(split.key(used)).or_default() += figures;
    }
}

/// Moves a head on by one block, if that is the next one; without that, nothing else of the
/// statement happens.
const MOVING: &str = "moved AS (
    INSERT INTO usage_heads AS h (pool_id, level, size, blocks, tracking_since)
    VALUES ($1, $2, $3, $4::bigint + 1, $5)
    ON CONFLICT (pool_id, level) DO UPDATE
    SET blocks = EXCLUDED.blocks,
        tracking_since = COALESCE(h.tracking_since, EXCLUDED.tracking_since)
    WHERE h.blocks = $4
        AND h.size = $3
    RETURNING h.pool_id
)";

/// The columns of a line after its place.
const LINE_COLUMNS: &str = "pool_id, level, block, line, split, day, operation, user_id, \
    workspace_id, model, monthly, addon, overdraft, count, lapsed_monthly, lapsed_addon";

impl Head {
    /// How far the blocks of a pool are built, from the smallest ones to the greatest.
    pub(super) async fn of(
        executor: impl PgExecutor<'_>,
        pool: PoolId,
    ) -> Result<Vec<Self>, StoreError> {
        let rows: Vec<HeadRow> = sqlx::query_as(
            r"
            SELECT level, size, blocks, tracking_since
            FROM usage_heads
            WHERE pool_id = $1
            ORDER BY level
            ",
        )
        .bind(pool.uuid())
        .fetch_all(executor)
        .await?;
        let head = |row: HeadRow| Self {
            level: row.level,
            size: row.size,
            blocks: row.blocks,
            tracking_since: row.tracking_since,
        };
        Ok(rows.into_iter().map(head).collect())
    }
}

impl Store {
    /// How far the blocks of a pool are built, from the smallest ones to the greatest.
    pub(super) async fn usage_heads(&self, pool: PoolId) -> Result<Vec<Head>, StoreError> {
        Head::of(self.db(), pool).await
    }

    /// Builds every block of a pool that is complete and not yet built; gives the heads then.
    ///
    /// # Errors
    /// The database is away, or an entry is corrupt. What was built stays.
    pub(super) async fn roll_up(&self, pool: PoolId) -> Result<Vec<Head>, StoreError> {
        let seq: Option<i64> = sqlx::query_scalar("SELECT seq FROM pools WHERE pool_id = $1")
            .bind(pool.uuid())
            .fetch_optional(self.db())
            .await?;
        let seq = seq.unwrap_or_default();
        // Each round builds a block, or another replica has: the journal's length bounds them.
        loop {
            let heads = self.usage_heads(pool).await?;
            match next_block(&heads, seq, self.block_entries) {
                Some(next) if next.level == 0 => {
                    within_scan(self.build_from_entries(pool, &next)).await?;
                }
                Some(next) => within_scan(self.build_from_blocks(pool, &next)).await?,
                None => return Ok(heads),
            }
        }
    }

    /// Builds what is missing of a pool's blocks: for background work.
    ///
    /// # Errors
    /// The database is away, or an entry is corrupt. What was built stays.
    pub async fn build_usage_blocks(&self, pool: PoolId) -> Result<(), StoreError> {
        self.roll_up(pool).await.map(drop)
    }

    /// Pools that have grown by a block that is not built, in the order of their ids.
    ///
    /// # Errors
    /// The database is away.
    pub async fn pools_to_add_up(
        &self,
        after: Option<PoolId>,
        limit: i64,
    ) -> Result<Vec<PoolId>, StoreError> {
        let read = sqlx::query_scalar(
            r"
            SELECT p.pool_id
            FROM pools AS p
            LEFT JOIN usage_heads AS h ON h.pool_id = p.pool_id AND h.level = 0
            WHERE ($1::uuid IS NULL OR p.pool_id > $1)
                AND p.seq >= (COALESCE(h.blocks, 0) + 1) * COALESCE(h.size, $2)
            ORDER BY p.pool_id
            LIMIT $3
            ",
        )
        .bind(after.map(PoolId::uuid))
        .bind(self.block_entries)
        .bind(limit)
        .fetch_all(self.scans());
        let ids: Vec<uuid::Uuid> = within_scan(async { Ok(read.await?) }).await?;
        Ok(ids.into_iter().map(PoolId::from).collect())
    }

    async fn build_from_entries(&self, pool: PoolId, next: &Head) -> Result<(), StoreError> {
        let end = (next.blocks + 1) * next.size;
        let mut lines = Lines::new();
        let mut tracking_since = None;
        let mut done = next.blocks * next.size;
        while done < end {
            let last = end.min(done.saturating_add(PORTION));
            for used in read_used(self.scans(), pool, done + 1..=last).await? {
                if used.user_id.is_some() {
                    tracking_since.get_or_insert(used.at);
                }
                add(&mut lines, &used);
            }
            done = last;
        }
        let statement = format!(
            "WITH {MOVING}
            INSERT INTO usage_lines ({LINE_COLUMNS})
            SELECT
                $1, $2, $4, l.line, l.split, l.day, l.operation, l.user_id, l.workspace_id, l.model,
                l.monthly, l.addon, l.overdraft, l.count, l.lapsed_monthly, l.lapsed_addon
            FROM unnest(
                $6::date[], $7::text[], $8::text[], $9::text[], $10::text[], $11::bigint[],
                $12::bigint[], $13::bigint[], $14::bigint[], $15::bigint[], $16::bigint[],
                $17::smallint[]
            ) WITH ORDINALITY AS l (
                day, operation, user_id, workspace_id, model, monthly, addon, overdraft, count,
                lapsed_monthly, lapsed_addon, split, line
            )
            WHERE EXISTS (SELECT FROM moved)"
        );
        let of_keys = |column: fn(&LineKey) -> Option<&str>| -> Vec<Option<&str>> {
            lines.keys().map(column).collect()
        };
        let of_figures =
            |column: fn(&UsageFigures) -> i64| -> Vec<i64> { lines.values().map(column).collect() };
        sqlx::query(AssertSqlSafe(statement))
            .bind(pool.uuid())
            .bind(next.level)
            .bind(next.size)
            .bind(next.blocks)
            .bind(tracking_since)
            .bind(lines.keys().map(|key| key.day).collect::<Vec<_>>())
            .bind(of_keys(|key| key.operation.as_deref()))
            .bind(of_keys(|key| key.user_id.as_deref()))
            .bind(of_keys(|key| key.workspace_id.as_deref()))
            .bind(of_keys(|key| key.model.as_deref()))
            .bind(of_figures(|figures| figures.monthly.units()))
            .bind(of_figures(|figures| figures.addon.units()))
            .bind(of_figures(|figures| figures.overdraft.units()))
            .bind(of_figures(|figures| figures.count))
            .bind(of_figures(|figures| figures.lapsed_monthly.units()))
            .bind(of_figures(|figures| figures.lapsed_addon.units()))
            .bind(lines.keys().map(|key| key.split).collect::<Vec<i16>>())
            .execute(self.scans())
            .await?;
        Ok(())
    }

    async fn build_from_blocks(&self, pool: PoolId, next: &Head) -> Result<(), StoreError> {
        let statement = format!(
            "WITH {MOVING}, sums AS (
                SELECT split, day, operation, user_id, workspace_id, model, {SUMS}
                FROM usage_lines
                WHERE pool_id = $1
                    AND level = $2 - 1
                    AND block >= $4 * {FAN}
                    AND block < ($4 + 1) * {FAN}
                GROUP BY split, day, operation, user_id, workspace_id, model
            )
            INSERT INTO usage_lines ({LINE_COLUMNS})
            SELECT
                $1, $2, $4, row_number() OVER (), s.split, s.day, s.operation, s.user_id,
                s.workspace_id, s.model, s.monthly, s.addon, s.overdraft, s.count, s.lapsed_monthly,
                s.lapsed_addon
            FROM sums AS s
            WHERE EXISTS (SELECT FROM moved)"
        );
        sqlx::query(AssertSqlSafe(statement))
            .bind(pool.uuid())
            .bind(next.level)
            .bind(next.size)
            .bind(next.blocks)
            // Said of the lowest level alone.
            .bind(None::<Time>)
            .execute(self.scans())
            .await?;
        Ok(())
    }
}

/// The next block that can be built, as the head that it would move: from a journal that has `seq`
/// entries, with blocks of `size` entries in a pool that has none yet.
fn next_block(heads: &[Head], seq: i64, size: i64) -> Option<Head> {
    let none_yet = |level, size| Head {
        level,
        size,
        blocks: 0,
        tracking_since: None,
    };
    let base = heads.first().cloned().unwrap_or(none_yet(0, size));
    if (base.blocks + 1) * base.size <= seq {
        return Some(base);
    }
    let above = |head: &Head| {
        let next = heads.iter().find(|it| it.level == head.level + 1).cloned();
        let next = next.unwrap_or(none_yet(head.level + 1, head.size * FAN));
        ((next.blocks + 1) * FAN <= head.blocks).then_some(next)
    };
    heads.iter().find_map(above)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(level: i16, size: i64, blocks: i64) -> Head {
        Head {
            level,
            size,
            blocks,
            tracking_since: None,
        }
    }

    #[test]
    fn blocks_are_built_in_order_once_they_are_complete() {
        assert_eq!(next_block(&[], 3, 4), None);
        assert_eq!(next_block(&[], 4, 4), Some(head(0, 4, 0)));
        assert_eq!(next_block(&[head(0, 4, 1)], 7, 4), None);
        assert_eq!(next_block(&[head(0, 4, 1)], 8, 4), Some(head(0, 4, 1)));
        assert_eq!(next_block(&[head(0, 4, 16)], 64, 4), Some(head(1, 64, 0)));
        let two = [head(0, 4, 32), head(1, 64, 1)];
        assert_eq!(next_block(&two, 128, 4), Some(head(1, 64, 1)));
        let whole = [head(0, 4, 256), head(1, 64, 16)];
        assert_eq!(next_block(&whole, 1024, 4), Some(head(2, 1024, 0)));
    }

    #[test]
    fn a_pool_keeps_the_size_its_first_block_was_made_with() {
        let base = [head(0, 4, 1)];
        assert_eq!(next_block(&base, 8, 8_192), Some(head(0, 4, 1)));
    }
}
