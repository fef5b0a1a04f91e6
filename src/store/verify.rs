//! Reads the whole journal back for `verify`, pool by pool, beside live writes: each portion of
//! pools in one snapshot, each row only once and never all in memory.

use futures_util::TryStreamExt;
use sqlx::{AssertSqlSafe, Connection, FromRow, PgConnection};
use uuid::Uuid;

use super::along::{bought_column, bought_of, holds_column, holds_of};
use super::rows::{ENTRY_COLUMNS, EntryRow, POOL_COLUMNS, PoolRow};
use super::usage::UsageAudit;
use super::{Store, StoreError};
use crate::ledger::{Audit, Entry, Fault, Kept, Pool, PoolId, RefundTotals, SignedCredits};

/// What was found in one pool.
#[derive(Clone, Debug)]
pub struct PoolReport {
    /// Its id.
    pub pool: PoolId,
    /// Its name.
    pub name: String,
    /// How many entries were read and good.
    pub entries: i64,
    /// The first thing that is wrong.
    pub fault: Option<Fault>,
}

/// A long read of the journal.
pub struct Verifier {
    connection: PgConnection,
}

impl Store {
    /// Connects for a verification.
    ///
    /// # Errors
    /// The database is away.
    pub async fn verifier(&self) -> Result<Verifier, StoreError> {
        Ok(Verifier {
            connection: self.dedicated().await?,
        })
    }
}

impl Verifier {
    /// How many pools there are.
    ///
    /// # Errors
    /// The database is away.
    pub async fn count(&mut self) -> Result<u64, StoreError> {
        let count: i64 = sqlx::query_scalar("SELECT count(*) FROM pools")
            .fetch_one(&mut self.connection)
            .await?;
        Ok(count.unsigned_abs())
    }

    /// The next pools in the order of their ids, of all tenants.
    ///
    /// # Errors
    /// The database is away.
    pub async fn next_pools(
        &mut self,
        after: Option<PoolId>,
        limit: i64,
    ) -> Result<Vec<PoolId>, StoreError> {
        let ids: Vec<Uuid> = sqlx::query_scalar(
            r"
            SELECT pool_id
            FROM pools
            WHERE $1::uuid IS NULL OR pool_id > $1
            ORDER BY pool_id
            LIMIT $2
            ",
        )
        .bind(after.map(PoolId::uuid))
        .bind(limit)
        .fetch_all(&mut self.connection)
        .await?;
        Ok(ids.into_iter().map(PoolId::from).collect())
    }

    /// The pools of this name, of all tenants.
    ///
    /// # Errors
    /// The database is away.
    pub async fn pools_named(&mut self, name: &str) -> Result<Vec<PoolId>, StoreError> {
        let ids: Vec<Uuid> =
            sqlx::query_scalar("SELECT pool_id FROM pools WHERE name = $1 ORDER BY pool_id")
                .bind(name)
                .fetch_all(&mut self.connection)
                .await?;
        Ok(ids.into_iter().map(PoolId::from).collect())
    }

    /// Recomputes these pools from their journals, all in one snapshot.
    ///
    /// # Errors
    /// The database is away. What is wrong in the books is in the reports.
    pub async fn verify(&mut self, pools: &[PoolId]) -> Result<Vec<PoolReport>, StoreError> {
        let mut tx = self
            .connection
            .begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            .await?;
        let ids: Vec<Uuid> = pools.iter().map(|pool| pool.uuid()).collect();
        let statement = format!(
            "SELECT {POOL_COLUMNS}
            FROM pools AS p
            WHERE p.pool_id = ANY($1)
            ORDER BY p.pool_id"
        );
        let rows: Vec<PoolRow> = sqlx::query_as(AssertSqlSafe(statement))
            .bind(&ids)
            .fetch_all(&mut *tx)
            .await?;
        let mut reports = Vec::with_capacity(rows.len());
        for row in rows {
            reports.push(verify_pool(&mut tx, row).await?);
        }
        tx.commit().await?;
        Ok(reports)
    }

    /// An entry of a pool that does not exist, if there is one.
    ///
    /// # Errors
    /// The database is away.
    pub async fn stray_entry(&mut self) -> Result<Option<(Uuid, i64)>, StoreError> {
        let row = sqlx::query_as(
            r"
            SELECT e.pool_id, e.seq
            FROM entries AS e
            WHERE NOT EXISTS (SELECT FROM pools AS p WHERE p.pool_id = e.pool_id)
            LIMIT 1
            ",
        )
        .fetch_optional(&mut self.connection)
        .await?;
        Ok(row)
    }
}

/// What is kept of a pool beside its journal.
async fn kept(connection: &mut PgConnection, pool: PoolId) -> Result<Kept, StoreError> {
    let statement = format!(
        "SELECT {}, {} FROM pools AS p WHERE p.pool_id = $1",
        holds_column("true", ""),
        bought_column("true")
    );
    let row = sqlx::query(AssertSqlSafe(statement))
        .bind(pool.uuid())
        .fetch_one(&mut *connection)
        .await?;
    let mut open_holds = holds_of(pool, &row)?.unwrap_or_default();
    open_holds.sort_by_key(|hold| hold.seq);
    let counts: Vec<(String, i64)> = sqlx::query_as(
        r"
        SELECT status, COUNT(*)
        FROM holds
        WHERE pool_id = $1
            AND status <> 'open'
        GROUP BY status
        ",
    )
    .bind(pool.uuid())
    .fetch_all(&mut *connection)
    .await?;
    let corrupt = |_| StoreError::Corrupt {
        table: "holds",
        column: "status",
        id: pool.to_string(),
    };
    let closed_holds = counts
        .into_iter()
        .map(|(status, count)| Ok((status.try_into().map_err(corrupt)?, count)))
        .collect::<Result<_, StoreError>>()?;
    let (count, credits): (i64, i64) = sqlx::query_as(
        "SELECT COUNT(*), COALESCE(SUM(credits), 0)::bigint FROM refunds WHERE pool_id = $1",
    )
    .bind(pool.uuid())
    .fetch_one(&mut *connection)
    .await?;
    Ok(Kept {
        open_holds,
        closed_holds,
        bought: bought_of(pool, &row)?,
        refunds: RefundTotals {
            count,
            credits: SignedCredits::from_units(credits),
        },
    })
}

async fn verify_pool(
    connection: &mut PgConnection,
    row: PoolRow,
) -> Result<PoolReport, StoreError> {
    let (id, name) = (PoolId::from(row.pool_id), row.name.clone());
    let statement = format!(
        "SELECT {ENTRY_COLUMNS}
        FROM entries AS e
        WHERE e.pool_id = $1
        ORDER BY e.seq"
    );
    let mut audit = Audit::new(id);
    let mut usage = UsageAudit::begin(connection, id).await?;
    let mut fault = None;
    let mut stream = sqlx::query(AssertSqlSafe(statement))
        .bind(id.uuid())
        .fetch(&mut *connection);
    while let Some(row) = stream.try_next().await? {
        let row = EntryRow::from_row(&row)?;
        let seq = row.seq;
        let checked = match Entry::try_from(row) {
            Ok(entry) => audit.check(&entry).map(|()| usage.add(&entry)),
            Err(error) => Err(Fault {
                seq: Some(seq),
                what: error.to_string(),
            }),
        };
        if let Err(first) = checked {
            fault = Some(first);
            break;
        }
    }
    drop(stream);
    let entries = audit.entries();
    if fault.is_none() {
        let pool = Pool::try_from(row);
        fault = match (pool, kept(connection, id).await) {
            (Ok(pool), Ok(kept)) => audit.finish(&pool, &kept).err(),
            (Err(error @ StoreError::Corrupt { .. }), _)
            | (_, Err(error @ StoreError::Corrupt { .. })) => Some(Fault {
                seq: None,
                what: error.to_string(),
            }),
            (Err(error), _) | (_, Err(error)) => return Err(error),
        };
    }
    if fault.is_none() {
        fault = usage.finish(connection).await?;
    }
    Ok(PoolReport {
        pool: id,
        name,
        entries,
        fault,
    })
}
