//! Checks the blocks of a pool against its journal, while `verify` reads that anyway.
//!
//! Of each block only a digest of what its lines must be is kept, so the memory this takes does not
//! grow with what is in them.

use sqlx::{AssertSqlSafe, FromRow, PgConnection};

use super::SUMS;
use super::blocks::{LineKey, LineRow, Lines, add};
use super::cover::Head;
use super::used::Used;
use crate::ledger::{Canonical, Entry, Fault, Hash, Label, PoolId, Time, UsageFigures};
use crate::store::StoreError;

/// The blocks of one pool, recomputed entry by entry.
pub struct UsageAudit {
    pool: PoolId,
    heads: Vec<Head>,
    /// The block that is being added up.
    lines: Lines,
    /// What the blocks before it must be.
    digests: Vec<Hash>,
    tracking_since: Option<Time>,
    entries: i64,
}

#[derive(FromRow)]
struct Place {
    level: i16,
    block: i64,
}

/// What makes two lines the same, their numbers left out: a block has no order.
const LINE: &str = "split, day, operation, user_id, workspace_id, model";
const FIGURES: &str = "monthly, addon, overdraft, count, lapsed_monthly, lapsed_addon";

impl UsageAudit {
    /// Begins before the first entry.
    pub async fn begin(connection: &mut PgConnection, pool: PoolId) -> Result<Self, StoreError> {
        Ok(Self {
            pool,
            heads: Head::of(connection, pool).await?,
            lines: Lines::new(),
            digests: Vec::new(),
            tracking_since: None,
            entries: 0,
        })
    }

    /// Adds the next entry of the journal. Its details can be read: it was checked before.
    pub fn add(&mut self, entry: &Entry) {
        let Some(base) = self.heads.first() else {
            return;
        };
        self.entries = entry.seq;
        if entry.seq > base.blocks * base.size {
            return;
        }
        let who = &entry.attribution;
        let text = |label: &Option<Label>| label.as_ref().map(|label| label.as_str().to_owned());
        if who.user_id.is_some() {
            self.tracking_since.get_or_insert(entry.at);
        }
        let used = Used {
            at: entry.at,
            operation: text(&who.operation),
            user_id: text(&who.user_id),
            workspace_id: text(&who.workspace_id),
            model: text(&who.model),
            figures: UsageFigures::counts(entry.kind)
                .then(|| UsageFigures::of_entry(entry))
                .flatten(),
        };
        add(&mut self.lines, &used);
        if entry.seq % base.size == 0 {
            self.digests.push(digest(&std::mem::take(&mut self.lines)));
        }
    }

    /// The first block that is not what its entries add up to, once all of them were added.
    pub async fn finish(self, connection: &mut PgConnection) -> Result<Option<Fault>, StoreError> {
        let wrong = |level: i16, block: i64| {
            let size = self.heads.iter().find(|head| head.level == level);
            let size = size.map_or(0, |head| head.size);
            let (first, last) = (block * size + 1, (block + 1) * size);
            fault(format!(
                "block {block} of level {level} of its usage is not what the entries {first} to \
                 {last} add up to"
            ))
        };
        if let Some(place) = stray_line(connection, self.pool).await? {
            return Ok(Some(wrong(place.level, place.block)));
        }
        let Some(base) = self.heads.first() else {
            return Ok(None);
        };
        if base.level != 0 || base.blocks * base.size > self.entries {
            return Ok(Some(fault(
                "has more blocks of usage than entries".to_owned(),
            )));
        }
        if base.tracking_since != self.tracking_since {
            return Ok(Some(fault(
                "its usage names another first entry with a user than its journal".to_owned(),
            )));
        }
        for (block, expected) in (0..).zip(&self.digests) {
            let built = read_block(connection, self.pool, block).await?;
            if built.as_ref().map(digest) != Some(*expected) {
                return Ok(Some(wrong(0, block)));
            }
        }
        for two in self.heads.windows(2) {
            let [below, head] = two else { continue };
            let block = differing_block(connection, self.pool, below, head).await?;
            if let Some(block) = block {
                return Ok(Some(wrong(head.level, block)));
            }
        }
        Ok(None)
    }
}

fn fault(what: String) -> Fault {
    Fault { seq: None, what }
}

fn digest(lines: &Lines) -> Hash {
    let form = Canonical::new("usage block");
    let add = |form: Canonical, (key, figures): (&LineKey, &UsageFigures)| {
        form.number(i64::from(key.split))
            .text(key.day.map(|day| day.to_string()).as_deref())
            .text(key.operation.as_deref())
            .text(key.user_id.as_deref())
            .text(key.workspace_id.as_deref())
            .text(key.model.as_deref())
            .number(figures.monthly.units())
            .number(figures.addon.units())
            .number(figures.overdraft.units())
            .number(figures.count)
            .number(figures.lapsed_monthly.units())
            .number(figures.lapsed_addon.units())
    };
    lines.iter().fold(form, add).hash()
}

/// The lines of a block of the lowest level; `None` when two are of the same.
async fn read_block(
    connection: &mut PgConnection,
    pool: PoolId,
    block: i64,
) -> Result<Option<Lines>, StoreError> {
    let statement = format!(
        "SELECT {LINE}, {FIGURES}
        FROM usage_lines
        WHERE pool_id = $1
            AND level = 0
            AND block = $2"
    );
    let rows: Vec<LineRow> = sqlx::query_as(AssertSqlSafe(statement))
        .bind(pool.uuid())
        .bind(block)
        .fetch_all(connection)
        .await?;
    let count = rows.len();
    let lines: Lines = rows.into_iter().map(Into::into).collect();
    Ok((lines.len() == count).then_some(lines))
}

/// A line of a block that is not built.
async fn stray_line(
    connection: &mut PgConnection,
    pool: PoolId,
) -> Result<Option<Place>, StoreError> {
    let place = sqlx::query_as(
        r"
        SELECT l.level, l.block
        FROM usage_lines AS l
        WHERE l.pool_id = $1
            AND NOT EXISTS (
                SELECT
                FROM usage_heads AS h
                WHERE h.pool_id = l.pool_id
                    AND h.level = l.level
                    AND h.blocks > l.block
                    AND l.block >= 0
            )
        LIMIT 1
        ",
    )
    .bind(pool.uuid())
    .fetch_optional(connection)
    .await?;
    Ok(place)
}

/// The first block of a level that is not what the blocks below it add up to.
async fn differing_block(
    connection: &mut PgConnection,
    pool: PoolId,
    below: &Head,
    head: &Head,
) -> Result<Option<i64>, StoreError> {
    let fan = head.size / below.size;
    let is_cut_well = head.level == below.level + 1 && fan * below.size == head.size;
    if !is_cut_well || head.blocks * fan > below.blocks {
        return Ok(Some(head.blocks - 1));
    }
    let statement = format!(
        "WITH built AS (
            SELECT block, {LINE}, {FIGURES}
            FROM usage_lines
            WHERE pool_id = $1
                AND level = $2
        ), summed AS (
            SELECT block / $3 AS block, {LINE}, {SUMS}
            FROM usage_lines
            WHERE pool_id = $1
                AND level = $2 - 1
                AND block < $3 * $4
            GROUP BY block / $3, {LINE}
        )
        SELECT d.block
        FROM (
            (TABLE built EXCEPT ALL TABLE summed)
            UNION ALL
            (TABLE summed EXCEPT ALL TABLE built)
        ) AS d
        ORDER BY d.block
        LIMIT 1"
    );
    let block = sqlx::query_scalar(AssertSqlSafe(statement))
        .bind(pool.uuid())
        .bind(head.level)
        .bind(fan)
        .bind(head.blocks)
        .fetch_optional(connection)
        .await?;
    Ok(block)
}
