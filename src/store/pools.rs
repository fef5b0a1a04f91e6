//! Pools as they are read outside a batch, and which of them are due.

use std::sync::LazyLock;

use sqlx::FromRow;
use uuid::Uuid;

use super::along::{bought_column, holds_column};
use super::batch::stored_pool;
use super::deadline::within;
use super::rows::POOL_COLUMNS;
use super::{Store, StoreError};
use crate::ledger::{Along, ClockId, Pool, PoolId, PoolName, TenantId, Time};

/// A pool as it is stored, with what must be read in the same moment.
#[derive(Clone, Debug)]
pub struct StoredPool {
    /// Its state; what is due may not be booked yet.
    pub pool: Pool,
    /// What was read along with it.
    pub along: Along,
    /// When its row was made.
    pub recorded_at: Time,
    /// The version of its tenant's catalogue.
    pub catalogue_version: i64,
    /// The time on its test clock, if it lives on one.
    pub clock_now: Option<Time>,
}

/// A pool on which something is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DuePool {
    /// Whose it is.
    pub tenant: TenantId,
    /// Its name.
    pub name: PoolName,
}

#[derive(FromRow)]
struct NameRow {
    tenant_id: Uuid,
    name: String,
}

impl TryFrom<NameRow> for DuePool {
    type Error = StoreError;

    fn try_from(row: NameRow) -> Result<Self, StoreError> {
        let name = row.name.parse().map_err(|_| StoreError::Corrupt {
            table: "pools",
            column: "name",
            id: row.name.clone(),
        })?;
        Ok(Self {
            tenant: row.tenant_id.into(),
            name,
        })
    }
}

/// A pool's open holds, read along if one of them expires by the horizon on the pool's own clock.
///
/// So are its purchases, if something of them is still to be taken: what a hold frees is taken.
pub(super) fn along_columns(horizon: &str) -> String {
    let due = format!("p.next_hold_at <= GREATEST(c.now, {horizon})");
    let (holds, bought) = (holds_column(&due, ""), bought_column("p.uncollected > 0"));
    format!("{holds}, {bought}")
}

/// Selects what [`stored_pool`] reads by place, from pools `p`: up to the condition.
fn selecting(version: &str, clock: &str, along: &str, joins: &str) -> String {
    format!(
        "SELECT {POOL_COLUMNS}, p.recorded_at, {version} AS catalogue_version,
            {clock} AS clock_now, {along}
        FROM pools AS p {joins}"
    )
}

/// The same with what is read along.
pub(super) fn selecting_pools(along: &str) -> String {
    let joins = "JOIN tenants AS t ON t.tenant_id = p.tenant_id
        LEFT JOIN test_clocks AS c ON c.tenant_id = p.tenant_id AND c.clock_id = p.test_clock";
    selecting("t.catalogue_version", "c.now", along, joins)
}

/// The same for pools that need nothing along: a condition that is never met costs a read a fifth,
/// and joining what hardly any pool has costs as much again.
pub(super) static SELECTING_POOLS_ALONE: LazyLock<String> = LazyLock::new(|| {
    let version = "(
        SELECT t.catalogue_version
        FROM tenants AS t
        WHERE t.tenant_id = p.tenant_id
    )";
    let clock = "CASE WHEN p.test_clock IS NOT NULL THEN (
        SELECT c.now
        FROM test_clocks AS c
        WHERE c.tenant_id = p.tenant_id
            AND c.clock_id = p.test_clock
    ) END";
    let nothing_along = "NULL::text AS holds, NULL::text AS bought";
    selecting(version, clock, nothing_along, "")
});

fn finding_pools(selecting: &str) -> String {
    format!(
        "{selecting}
        WHERE p.pool_id = ANY($2)
            -- Never by the index of the tenant's pools: there may be many, and we name ours.
            AND p.tenant_id IS NOT DISTINCT FROM $1"
    )
}

static FINDING_POOLS: LazyLock<String> = LazyLock::new(|| finding_pools(&SELECTING_POOLS_ALONE));
static FINDING_POOLS_ALONG: LazyLock<String> =
    LazyLock::new(|| finding_pools(&selecting_pools(&along_columns("$3"))));

impl StoredPool {
    /// Whether something must be read along to know the pool as of the horizon, or of its clock.
    #[must_use]
    pub fn needs_more(&self, horizon: Time) -> bool {
        let horizon = self.clock_now.map_or(horizon, |now| now.max(horizon));
        needs_along(&self.pool, horizon)
    }
}

/// Whether something must be read along to know a pool as of the horizon.
#[must_use]
pub fn needs_along(pool: &Pool, horizon: Time) -> bool {
    let is_due = pool.next_hold_at.is_some_and(|due| due <= horizon);
    is_due || !pool.uncollected.is_zero()
}

impl Store {
    /// A tenant's pool, with its open holds if one of them expires by the horizon. Many that are
    /// asked for at once are read together.
    ///
    /// # Errors
    /// The database is away or the row is corrupt.
    pub async fn find_pool(
        &self,
        tenant: TenantId,
        name: &PoolName,
        horizon: Time,
    ) -> Result<Option<StoredPool>, StoreError> {
        let id = PoolId::of(tenant, name);
        within(async {
            match self.shared_reads.find(self.db(), tenant, id).await {
                Ok(None) => Ok(None),
                Ok(Some(stored)) if !stored.needs_more(horizon) => Ok(Some(stored)),
                Ok(Some(_)) | Err(_) => {
                    let names = std::slice::from_ref(name);
                    let mut found = self.find_pools(tenant, names, horizon).await?;
                    Ok(found.pop())
                }
            }
        })
        .await
    }

    /// Those of a tenant's pools that are there, in no order.
    ///
    /// # Errors
    /// The database is away or a row is corrupt.
    pub async fn find_pools(
        &self,
        tenant: TenantId,
        names: &[PoolName],
        horizon: Time,
    ) -> Result<Vec<StoredPool>, StoreError> {
        let ids: Vec<Uuid> = names
            .iter()
            .map(|name| PoolId::of(tenant, name).uuid())
            .collect();
        within(async {
            let read = sqlx::query(FINDING_POOLS.as_str());
            let read = read.bind(tenant.uuid()).bind(&ids);
            let rows = read.fetch_all(self.db()).await?;
            let pools: Vec<StoredPool> = rows.iter().map(stored_pool).collect::<Result<_, _>>()?;
            if !pools.iter().any(|stored| stored.needs_more(horizon)) {
                return Ok(pools);
            }
            let read = sqlx::query(FINDING_POOLS_ALONG.as_str());
            let read = read.bind(tenant.uuid()).bind(&ids).bind(horizon);
            let rows = read.fetch_all(self.db()).await?;
            rows.iter().map(stored_pool).collect()
        })
        .await
    }

    /// Pools on which something is due, the longest due first. Nothing is locked: whoever books it
    /// first has done it.
    ///
    /// # Errors
    /// The database is away or a row is corrupt.
    pub async fn due_pools(&self, now: Time, limit: i64) -> Result<Vec<DuePool>, StoreError> {
        let read = sqlx::query_as(
            r"
            SELECT tenant_id, name
            FROM pools
            WHERE next_due_at <= $1
            ORDER BY next_due_at
            LIMIT $2
            ",
        )
        .bind(now)
        .bind(limit)
        .fetch_all(self.db());
        let rows: Vec<NameRow> = within(async { Ok(read.await?) }).await?;
        rows.into_iter().map(DuePool::try_from).collect()
    }

    /// Those of one tenant.
    ///
    /// # Errors
    /// The database is away or a row is corrupt.
    pub async fn due_pools_of(
        &self,
        tenant: TenantId,
        now: Time,
        limit: i64,
    ) -> Result<Vec<DuePool>, StoreError> {
        let read = sqlx::query_as(
            r"
            SELECT tenant_id, name
            FROM pools
            WHERE tenant_id = $1
                AND next_due_at <= $2
            ORDER BY next_due_at
            LIMIT $3
            ",
        )
        .bind(tenant.uuid())
        .bind(now)
        .bind(limit)
        .fetch_all(self.db());
        let rows: Vec<NameRow> = within(async { Ok(read.await?) }).await?;
        rows.into_iter().map(DuePool::try_from).collect()
    }

    /// The pools that live on a test clock.
    ///
    /// # Errors
    /// The database is away or a row is corrupt.
    pub async fn pools_on_clock(
        &self,
        tenant: TenantId,
        clock: ClockId,
    ) -> Result<Vec<DuePool>, StoreError> {
        let read = sqlx::query_as(
            r"
            SELECT tenant_id, name
            FROM pools
            WHERE tenant_id = $1
                AND test_clock = $2
            ORDER BY pool_id
            ",
        )
        .bind(tenant.uuid())
        .bind(clock.uuid())
        .fetch_all(self.db());
        let rows: Vec<NameRow> = within(async { Ok(read.await?) }).await?;
        rows.into_iter().map(DuePool::try_from).collect()
    }
}
