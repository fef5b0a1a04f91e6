//! The lines of an import while it runs: in a temporary table on a connection of their own, so that
//! files of any size are read back pool by pool in bounded memory, and nothing of them is left
//! behind. What an import remembers is the instant of its first run.

use std::collections::HashMap;

use futures_util::{Stream, TryStreamExt};
use sqlx::{Executor, FromRow, PgConnection};
use uuid::Uuid;

use super::deadline::within;
use super::{Store, StoreError};
use crate::ledger::{PoolId, TenantId, Time};

/// Which file a line is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The pools.
    Pools,
    /// Who spent what in the running cycle.
    Usage,
    /// What was paid for.
    Payments,
}

/// A line of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StagedLine {
    /// Which file.
    pub source: Source,
    /// Its number there.
    pub line: i64,
    /// The pool it is about.
    pub pool: PoolId,
    /// The payment's reference.
    pub reference: Option<String>,
    /// What it says, in whatever form the caller reads back.
    pub cells: String,
    /// Why it cannot be read at all.
    pub problem: Option<String>,
    /// Another line that says the same pool or reference: only when it is read back.
    pub twin: Option<i64>,
}

/// A line of the pools.
#[derive(Clone, Debug)]
pub struct StagedPool {
    /// The line itself.
    pub line: StagedLine,
    /// How many lines of usage are about the pool. Of a pool that is there twice only the first
    /// line has any.
    pub usage: i64,
    /// The same of payments.
    pub payments: i64,
}

/// The lines of one import.
pub struct Staging {
    connection: PgConnection,
}

impl Source {
    const fn number(self) -> i16 {
        match self {
            Self::Pools => 0,
            Self::Usage => 1,
            Self::Payments => 2,
        }
    }

    fn from_number(number: i16) -> Result<Self, StoreError> {
        let all = [Self::Pools, Self::Usage, Self::Payments];
        let found = all.into_iter().find(|source| source.number() == number);
        found.ok_or_else(|| StoreError::Corrupt {
            table: "import_lines",
            column: "source",
            id: number.to_string(),
        })
    }
}

#[derive(FromRow)]
struct LineRow {
    source: i16,
    line: i64,
    pool_id: Uuid,
    cells: String,
    problem: Option<String>,
    #[sqlx(default)]
    twin: Option<i64>,
    #[sqlx(default)]
    usage: i64,
    #[sqlx(default)]
    payments: i64,
}

impl TryFrom<LineRow> for StagedPool {
    type Error = StoreError;

    fn try_from(row: LineRow) -> Result<Self, StoreError> {
        let line = StagedLine {
            source: Source::from_number(row.source)?,
            line: row.line,
            pool: row.pool_id.into(),
            reference: None,
            cells: row.cells,
            problem: row.problem,
            twin: row.twin,
        };
        Ok(Self {
            line,
            usage: row.usage,
            payments: row.payments,
        })
    }
}

impl Store {
    /// A place for the lines of one import. It is gone with its connection.
    ///
    /// # Errors
    /// The database is away, or does not let this user make temporary tables.
    pub async fn staging(&self) -> Result<Staging, StoreError> {
        let mut connection = self.dedicated().await?;
        let making = r"
            -- These lines have statistics, and some questions are about all of them.
            SET enable_seqscan = on;
            SET temp_buffers = '64MB';
            SET maintenance_work_mem = '128MB';
            CREATE TEMPORARY TABLE import_lines (
                source smallint NOT NULL,
                line bigint NOT NULL,
                pool_id uuid NOT NULL,
                reference text,
                cells text NOT NULL,
                problem text
            )
        ";
        connection.execute(making).await?;
        Ok(Staging { connection })
    }

    /// The instant that these files describe, as their first import said, if there was one.
    ///
    /// # Errors
    /// The database is away.
    pub async fn find_import(
        &self,
        tenant: TenantId,
        content: &[u8; 32],
    ) -> Result<Option<Time>, StoreError> {
        let read = sqlx::query_scalar(
            r"
            SELECT at
            FROM imports
            WHERE tenant_id = $1
                AND content = $2
            ",
        )
        .bind(tenant.uuid())
        .bind(&content[..])
        .fetch_optional(self.db());
        within(async { Ok(read.await?) }).await
    }

    /// Remembers the instant that these files describe, in the place of an `earlier` one. Gives the
    /// one that counts: another run's, if it was quicker.
    ///
    /// # Errors
    /// The database is away.
    pub async fn remember_import(
        &self,
        tenant: TenantId,
        content: &[u8; 32],
        at: Time,
        earlier: Option<Time>,
        now: Time,
    ) -> Result<Time, StoreError> {
        let write = sqlx::query(
            r"
            INSERT INTO imports AS i (tenant_id, content, at, started_at)
            VALUES ($1, $2, $3, $4)
            ON CONFLICT (tenant_id, content) DO UPDATE
            SET at = excluded.at
            WHERE i.at = $5
            ",
        )
        .bind(tenant.uuid())
        .bind(&content[..])
        .bind(at)
        .bind(now)
        .bind(earlier)
        .execute(self.db());
        within(async { Ok(write.await?) }).await?;
        let found = self.find_import(tenant, content).await?;
        Ok(found.unwrap_or(at))
    }

    /// Which of these pools are there, and whether each was imported.
    ///
    /// # Errors
    /// The database is away.
    pub async fn find_imported(
        &self,
        pools: &[PoolId],
    ) -> Result<HashMap<PoolId, bool>, StoreError> {
        let ids: Vec<Uuid> = pools.iter().map(|pool| pool.uuid()).collect();
        let read = sqlx::query_as(
            r"
            SELECT p.pool_id, e.kind = 'import'
            FROM pools AS p
            JOIN entries AS e ON e.pool_id = p.pool_id AND e.seq = 1
            WHERE p.pool_id = ANY($1)
            ",
        )
        .bind(ids)
        .fetch_all(self.db());
        let rows: Vec<(Uuid, bool)> = within(async { Ok(read.await?) }).await?;
        let found = rows.into_iter().map(|(id, imported)| (id.into(), imported));
        Ok(found.collect())
    }
}

impl Staging {
    /// Keeps lines.
    ///
    /// # Errors
    /// The database is away.
    pub async fn add(&mut self, lines: &[StagedLine]) -> Result<(), StoreError> {
        let sources: Vec<i16> = lines.iter().map(|it| it.source.number()).collect();
        let numbers: Vec<i64> = lines.iter().map(|it| it.line).collect();
        let pools: Vec<Uuid> = lines.iter().map(|it| it.pool.uuid()).collect();
        let references: Vec<Option<&str>> =
            lines.iter().map(|it| it.reference.as_deref()).collect();
        let cells: Vec<&str> = lines.iter().map(|it| it.cells.as_str()).collect();
        let problems: Vec<Option<&str>> = lines.iter().map(|it| it.problem.as_deref()).collect();
        sqlx::query(
            r"
            INSERT INTO import_lines (source, line, pool_id, reference, cells, problem)
            SELECT *
            FROM unnest(
                $1::smallint[], $2::bigint[], $3::uuid[], $4::text[], $5::text[], $6::text[]
            )
            ",
        )
        .bind(sources)
        .bind(numbers)
        .bind(pools)
        .bind(references)
        .bind(cells)
        .bind(problems)
        .execute(&mut self.connection)
        .await?;
        Ok(())
    }

    /// Makes what was kept ready to be read back.
    ///
    /// # Errors
    /// The database is away.
    pub async fn finish(&mut self) -> Result<(), StoreError> {
        self.connection
            .execute(
                r"
                CREATE INDEX ON import_lines (line) WHERE source = 0;
                CREATE INDEX ON import_lines (pool_id, source, line);
                CREATE INDEX ON import_lines (reference, line) WHERE reference IS NOT NULL;
                ANALYZE import_lines
                ",
            )
            .await?;
        Ok(())
    }

    /// Whether a pool of these files was imported as of this instant.
    ///
    /// # Errors
    /// The database is away.
    pub async fn has_imported(&mut self, at: Time) -> Result<bool, StoreError> {
        let found = sqlx::query_scalar(
            r"
            SELECT EXISTS (
                SELECT
                FROM import_lines AS l
                JOIN entries AS e ON e.pool_id = l.pool_id AND e.seq = 1
                WHERE l.source = 0
                    AND e.kind = 'import'
                    AND e.at = $1
            )
            ",
        )
        .bind(at)
        .fetch_one(&mut self.connection)
        .await?;
        Ok(found)
    }

    /// The next lines of the pools, in their order.
    ///
    /// # Errors
    /// The database is away.
    pub async fn pools(&mut self, after: i64, limit: i64) -> Result<Vec<StagedPool>, StoreError> {
        let rows: Vec<LineRow> = sqlx::query_as(
            r"
            SELECT
                p.source, p.line, p.pool_id, p.cells, p.problem, t.line AS twin,
                o.usage, o.payments
            FROM import_lines AS p
            LEFT JOIN LATERAL (
                SELECT t.line
                FROM import_lines AS t
                WHERE t.pool_id = p.pool_id
                    AND t.source = 0
                    AND t.line <> p.line
                ORDER BY t.pool_id, t.source, t.line
                LIMIT 1
            ) AS t ON true
            CROSS JOIN LATERAL (
                SELECT
                    count(*) FILTER (WHERE o.source = 1) AS usage,
                    count(*) FILTER (WHERE o.source = 2) AS payments
                FROM import_lines AS o
                WHERE o.pool_id = p.pool_id
                    AND o.source > 0
                    AND (t.line IS NULL OR t.line > p.line)
            ) AS o
            WHERE p.source = 0
                AND p.line > $1
            ORDER BY p.line
            LIMIT $2
            ",
        )
        .bind(after)
        .bind(limit)
        .fetch_all(&mut self.connection)
        .await?;
        rows.into_iter().map(StagedPool::try_from).collect()
    }

    /// What the other files say about these pools, file by file, line by line.
    ///
    /// # Errors
    /// The database is away.
    pub async fn others(&mut self, pools: &[PoolId]) -> Result<Vec<StagedLine>, StoreError> {
        let ids: Vec<Uuid> = pools.iter().map(|pool| pool.uuid()).collect();
        let rows: Vec<LineRow> = sqlx::query_as(
            r"
            SELECT
                l.source, l.line, l.pool_id, l.cells, l.problem,
                (
                    SELECT o.line
                    FROM import_lines AS o
                    WHERE o.reference = l.reference
                        AND o.line <> l.line
                    ORDER BY o.reference, o.line
                    LIMIT 1
                ) AS twin
            FROM import_lines AS l
            WHERE l.pool_id = ANY($1)
                AND l.source > 0
            ORDER BY l.source, l.line
            ",
        )
        .bind(ids)
        .fetch_all(&mut self.connection)
        .await?;
        let lines = rows.into_iter().map(StagedPool::try_from);
        lines.map(|read| read.map(|it| it.line)).collect()
    }

    /// Lines about pools that no line of the pools is about, file by file, line by line.
    pub fn strays(&mut self) -> impl Stream<Item = Result<StagedLine, StoreError>> + Send + '_ {
        let rows = sqlx::query_as::<_, LineRow>(
            r"
            SELECT
                l.source, l.line, l.pool_id, l.cells, l.problem
            FROM import_lines AS l
            WHERE l.source > 0
                AND NOT EXISTS (
                    SELECT
                    FROM import_lines AS p
                    WHERE p.pool_id = l.pool_id
                        AND p.source = 0
                )
            ORDER BY l.source, l.line
            ",
        )
        .fetch(&mut self.connection);
        rows.err_into::<StoreError>()
            .and_then(async |row| StagedPool::try_from(row).map(|it| it.line))
    }

    /// Open pools of a tenant that no line of the pools is about, by name.
    pub fn unmentioned(
        &mut self,
        tenant: TenantId,
    ) -> impl Stream<Item = Result<String, StoreError>> + Send + '_ {
        let names = sqlx::query_scalar(
            r"
            SELECT p.name
            FROM pools AS p
            WHERE p.tenant_id = $1
                AND p.closed_at IS NULL
                AND NOT EXISTS (
                    SELECT
                    FROM import_lines AS l
                    WHERE l.pool_id = p.pool_id
                        AND l.source = 0
                )
            ORDER BY p.name
            ",
        )
        .bind(tenant.uuid())
        .fetch(&mut self.connection);
        names.err_into()
    }
}
