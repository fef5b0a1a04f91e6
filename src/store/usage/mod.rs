//! Who spent what between two entries of a pool, whatever their distance.
//!
//! The greatest blocks that are built inside are read as their lines ([`blocks`]), what is left at
//! both edges as entries ([`used`]). Every way to cut a stretch gives the same figures, so nothing
//! is ever wrong because a block is missing, only slower.

mod blocks;
mod cover;
mod used;
mod verify;

use std::collections::HashMap;
use std::ops::RangeInclusive;

use sqlx::{AssertSqlSafe, FromRow};

use super::deadline::within_scan;
use super::{Store, StoreError};
use crate::ledger::{Label, PoolId, SignedCredits, Time, UsageFigures};
use blocks::Split;
use cover::{Blocks, Piece, cover};
use used::read_used;

pub use blocks::BLOCK_ENTRIES;
pub use used::Used;
pub(super) use verify::UsageAudit;

/// So few entries are read like a key, not like a scan.
const FEW: i64 = 1_000;

/// What usage is split by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UsageBy {
    /// Not at all.
    Nothing,
    /// By the operation's code.
    Operation,
    /// By the client's user.
    User,
    /// By the client's workspace.
    Workspace,
    /// By model.
    Model,
    /// By UTC day, as `2026-01-31`.
    Day,
    /// By user and, within a user, by workspace.
    UserAndWorkspace,
}

/// Of which entries usage is wanted.
#[derive(Clone, Debug, Default)]
pub struct UsageFilter {
    /// Only what this user caused.
    pub user_id: Option<Label>,
    /// Only of this operation.
    pub operation: Option<Label>,
}

/// What a group has in common; the second part is for [`UsageBy::UserAndWorkspace`].
pub type GroupKey = (Option<String>, Option<String>);

/// Usage by group.
pub type UsageGroups = HashMap<GroupKey, UsageFigures>;

impl UsageBy {
    /// The lines that answer it: the fewest that tell what is filtered and what is grouped.
    fn split(self, filter: &UsageFilter) -> Split {
        match (&filter.user_id, &filter.operation, self) {
            // Any would do; there are fewest operations.
            (None, None, Self::Nothing) => Split::Operation,
            (None, _, Self::Nothing | Self::Operation) => Split::Operation,
            (_, None, Self::Nothing | Self::User) => Split::User,
            (_, None, Self::UserAndWorkspace) => Split::UserAndWorkspace,
            (Some(_), None, Self::Workspace) => Split::UserAndWorkspace,
            (None, None, Self::Workspace) => Split::Workspace,
            (None, None, Self::Model) => Split::Model,
            (None, None, Self::Day) => Split::Day,
            (Some(_), _, _) | (_, Some(_), _) => Split::Whole,
        }
    }

    /// The two parts of a group's key, in SQL.
    const fn columns(self) -> (&'static str, &'static str) {
        const NONE: &str = "NULL::text";
        match self {
            Self::Nothing => (NONE, NONE),
            Self::Operation => ("operation", NONE),
            Self::User => ("user_id", NONE),
            Self::Workspace => ("workspace_id", NONE),
            Self::Model => ("model", NONE),
            Self::Day => ("to_char(day, 'YYYY-MM-DD')", NONE),
            Self::UserAndWorkspace => ("user_id", "workspace_id"),
        }
    }

    /// The group of entries that are alike.
    fn key(self, used: Used) -> GroupKey {
        match self {
            Self::Nothing => (None, None),
            Self::Operation => (used.operation, None),
            Self::User => (used.user_id, None),
            Self::Workspace => (used.workspace_id, None),
            Self::Model => (used.model, None),
            Self::Day => (Some(used.at.date_naive().to_string()), None),
            Self::UserAndWorkspace => (used.user_id, used.workspace_id),
        }
    }
}

impl UsageFilter {
    fn leaves(&self, used: &Used) -> bool {
        let is = |wanted: &Option<Label>, found: &Option<String>| {
            wanted
                .as_ref()
                .is_none_or(|wanted| found.as_deref() == Some(wanted.as_str()))
        };
        is(&self.user_id, &used.user_id) && is(&self.operation, &used.operation)
    }
}

#[derive(FromRow)]
struct GroupRow {
    first: Option<String>,
    second: Option<String>,
    #[sqlx(flatten)]
    figures: FiguresRow,
}

/// Figures as SQL gives them.
#[derive(FromRow)]
struct FiguresRow {
    monthly: i64,
    addon: i64,
    overdraft: i64,
    count: i64,
    lapsed_monthly: i64,
    lapsed_addon: i64,
}

impl From<FiguresRow> for UsageFigures {
    fn from(row: FiguresRow) -> Self {
        Self {
            monthly: SignedCredits::from_units(row.monthly),
            addon: SignedCredits::from_units(row.addon),
            overdraft: SignedCredits::from_units(row.overdraft),
            count: row.count,
            lapsed_monthly: SignedCredits::from_units(row.lapsed_monthly),
            lapsed_addon: SignedCredits::from_units(row.lapsed_addon),
        }
    }
}

/// The sums of figures over lines, in SQL.
const SUMS: &str = "SUM(monthly)::bigint AS monthly, SUM(addon)::bigint AS addon, \
    SUM(overdraft)::bigint AS overdraft, SUM(count)::bigint AS count, \
    SUM(lapsed_monthly)::bigint AS lapsed_monthly, SUM(lapsed_addon)::bigint AS lapsed_addon";

impl Store {
    /// Usage by the entries with these numbers. Blocks that could be built and are not are built
    /// first. `None` when there would be more than `most` groups.
    ///
    /// # Errors
    /// The database is away, or an entry is corrupt.
    pub async fn usage(
        &self,
        pool: PoolId,
        entries: RangeInclusive<i64>,
        filter: &UsageFilter,
        by: UsageBy,
        most: usize,
    ) -> Result<Option<UsageGroups>, StoreError> {
        within_scan(async {
            let length = entries.end() - entries.start();
            let heads = match length < self.block_entries {
                true => Vec::new(),
                false => self.roll_up(pool).await?,
            };
            let mut groups = UsageGroups::new();
            for piece in cover(&heads, &entries) {
                match piece {
                    Piece::Entries(entries) => {
                        let all = match length < FEW {
                            true => self.used(pool, entries).await?,
                            false => read_used(self.scans(), pool, entries).await?,
                        };
                        for used in all.into_iter().filter(|used| filter.leaves(used)) {
                            let Some(figures) = used.figures else {
                                continue;
                            };
                            *groups.entry(by.key(used)).or_default() += figures;
                        }
                    }
                    Piece::Blocks(blocks) => {
                        let rows = self.lines(pool, blocks, filter, by, most).await?;
                        for row in rows {
                            let group = groups.entry((row.first, row.second)).or_default();
                            *group += row.figures.into();
                        }
                    }
                }
                if groups.len() > most {
                    return Ok(None);
                }
            }
            Ok(Some(groups))
        })
        .await
    }

    /// The lines of blocks that follow one another, added up by group.
    async fn lines(
        &self,
        pool: PoolId,
        blocks: Blocks,
        filter: &UsageFilter,
        by: UsageBy,
        most: usize,
    ) -> Result<Vec<GroupRow>, StoreError> {
        let (first_key, second_key) = by.columns();
        let statement = format!(
            "SELECT {first_key} AS first, {second_key} AS second, {SUMS}
            FROM usage_lines
            WHERE pool_id = $1
                AND level = $2
                AND block BETWEEN $3 AND $4
                AND ($5::text IS NULL OR user_id = $5)
                AND ($6::text IS NULL OR operation = $6)
                AND split = $8
            GROUP BY 1, 2
            LIMIT $7"
        );
        let rows = sqlx::query_as(AssertSqlSafe(statement))
            .bind(pool.uuid())
            .bind(blocks.level)
            .bind(blocks.first)
            .bind(blocks.last)
            .bind(filter.user_id.as_ref().map(Label::as_str))
            .bind(filter.operation.as_ref().map(Label::as_str))
            // One more than there may be, so that it is noticed.
            .bind(i64::try_from(most).unwrap_or(i64::MAX).saturating_add(1))
            .bind(by.split(filter).number())
            .fetch_all(self.scans())
            .await?;
        Ok(rows)
    }

    /// The instant of a pool's first entry that names a user, ever.
    ///
    /// # Errors
    /// The database is away.
    pub async fn tracking_since(&self, pool: PoolId) -> Result<Option<Time>, StoreError> {
        within_scan(async {
            let heads = self.usage_heads(pool).await?;
            let base = heads.first();
            if let Some(known) = base.and_then(|head| head.tracking_since) {
                return Ok(Some(known));
            }
            // What the blocks have was looked through when they were built.
            let after = base.map_or(0, |head| head.blocks * head.size);
            let at = sqlx::query_scalar(
                r"
                SELECT at
                FROM entries
                WHERE pool_id = $1
                    AND seq > $2
                    AND user_id IS NOT NULL
                ORDER BY seq
                LIMIT 1
                ",
            )
            .bind(pool.uuid())
            .bind(after)
            .fetch_optional(self.scans())
            .await?;
            Ok(at)
        })
        .await
    }
}
