//! What a cycle did to each bucket: opening, movements by kind, closing.
//!
//! A cycle's entries are those that say so themselves, and lie side by side: when a cycle began
//! only grows along a journal. Movements are added up by the database, so a long cycle takes no
//! memory here.

use chrono::TimeDelta;
use sqlx::FromRow;

use super::deadline::within_scan;
use super::{Store, StoreError};
use crate::ledger::{Balance, PoolId, SignedCredits, Time};

/// What lies in the buckets, or moves in and out of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Buckets {
    /// Monthly credits, the held part included.
    pub monthly: SignedCredits,
    /// Add-on credits, the held part included.
    pub addon: SignedCredits,
    /// Credits of holds whose cycle or add-on pool has ended.
    pub held_ended: SignedCredits,
    /// What the customer owes.
    pub overdraft: SignedCredits,
}

/// What all entries of a kind moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Movement {
    /// The kind.
    pub kind: String,
    /// How many entries.
    pub count: i64,
    /// What they moved.
    pub moved: Buckets,
}

/// One cycle of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// When it began.
    pub cycle_start: Time,
    /// When the next one began, or will.
    pub cycle_end: Time,
    /// When the one before it began.
    pub previous_cycle_start: Option<Time>,
    /// What the pool had before it: nothing before its first cycle.
    pub opening: Buckets,
    /// What happened, by kind, in the order of each kind's first entry.
    pub movements: Vec<Movement>,
    /// What the pool had at its end, or has.
    pub closing: Buckets,
}

#[derive(FromRow)]
struct MovementRow {
    kind: String,
    count: i64,
    monthly: i64,
    addon: i64,
    held_ended: i64,
    overdraft: i64,
}

impl From<&Balance> for Buckets {
    fn from(balance: &Balance) -> Self {
        Self {
            monthly: balance.monthly.settled.signed(),
            addon: balance.addon.settled.signed(),
            held_ended: balance.held_ended.signed(),
            overdraft: balance.overdraft.signed(),
        }
    }
}

impl From<MovementRow> for Movement {
    fn from(row: MovementRow) -> Self {
        Self {
            kind: row.kind,
            count: row.count,
            moved: Buckets {
                monthly: SignedCredits::from_units(row.monthly),
                addon: SignedCredits::from_units(row.addon),
                held_ended: SignedCredits::from_units(row.held_ended),
                overdraft: SignedCredits::from_units(row.overdraft),
            },
        }
    }
}

impl Store {
    /// The cycle that began at an instant; of cycles that began at the same instant all. `None`
    /// when there is none.
    ///
    /// # Errors
    /// The database is away, or a row is corrupt.
    pub async fn statement(
        &self,
        pool: PoolId,
        cycle_start: Time,
    ) -> Result<Option<Statement>, StoreError> {
        let first = self.first_of_cycle(pool, cycle_start).await?;
        // Cycles begin at whole milliseconds.
        let later = cycle_start + TimeDelta::milliseconds(1);
        let end = self.first_of_cycle(pool, later).await?;
        let before = self.entry_at(pool, first - 1).await?;
        let Some(last) = self.entry_at(pool, end - 1).await?.filter(|_| first < end) else {
            return Ok(None);
        };
        let next = self.entry_at(pool, end).await?;
        // One that was appended just now may be of the same cycle still.
        let next_start = next
            .map(|entry| entry.after.monthly.cycle_start)
            .filter(|start| *start > cycle_start);
        let opening = before.as_ref().map(|entry| Buckets::from(&entry.after));
        Ok(Some(Statement {
            cycle_start,
            cycle_end: next_start.unwrap_or(last.after.monthly.renews_at),
            previous_cycle_start: before.map(|entry| entry.after.monthly.cycle_start),
            opening: opening.unwrap_or_default(),
            movements: self.movements(pool, first, end - 1).await?,
            closing: Buckets::from(&last.after),
        }))
    }

    async fn movements(
        &self,
        pool: PoolId,
        first: i64,
        last: i64,
    ) -> Result<Vec<Movement>, StoreError> {
        let read = sqlx::query_as(
            r"
            SELECT
                d.kind,
                COUNT(*) AS count,
                SUM(d.monthly)::bigint AS monthly,
                SUM(d.addon)::bigint AS addon,
                SUM(d.held_ended)::bigint AS held_ended,
                SUM(d.overdraft)::bigint AS overdraft
            FROM (
                SELECT
                    seq,
                    kind,
                    monthly - lag(monthly, 1, 0::bigint) OVER journal AS monthly,
                    addon - lag(addon, 1, 0::bigint) OVER journal AS addon,
                    held_ended - lag(held_ended, 1, 0::bigint) OVER journal AS held_ended,
                    overdraft - lag(overdraft, 1, 0::bigint) OVER journal AS overdraft
                FROM entries
                WHERE pool_id = $1
                    AND seq BETWEEN $2::bigint - 1 AND $3
                WINDOW journal AS (ORDER BY seq)
            ) AS d
            WHERE d.seq >= $2
            GROUP BY d.kind
            ORDER BY MIN(d.seq)
            ",
        )
        .bind(pool.uuid())
        .bind(first)
        .bind(last)
        .fetch_all(self.scans());
        let rows: Vec<MovementRow> = within_scan(async { Ok(read.await?) }).await?;
        Ok(rows.into_iter().map(Movement::from).collect())
    }
}
