//! Pools that are on certain plans, wait for them, or were last requested to be on them: for moving
//! them to other plans.

use sqlx::FromRow;
use uuid::Uuid;

use super::deadline::within_scan;
use super::{Store, StoreError};
use crate::ledger::{PlanCode, PoolId, PoolName, TenantId};

/// A pool and the plan it is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolOnPlan {
    /// Its id.
    pub id: PoolId,
    /// Whose it is.
    pub tenant: TenantId,
    /// Its name.
    pub name: PoolName,
    /// The plan in force.
    pub plan: PlanCode,
}

#[derive(FromRow)]
struct PlanRow {
    pool_id: Uuid,
    tenant_id: Uuid,
    name: String,
    plan: String,
    is_on_plan: bool,
}

impl TryFrom<PlanRow> for PoolOnPlan {
    type Error = StoreError;

    fn try_from(row: PlanRow) -> Result<Self, StoreError> {
        let corrupt = |column| StoreError::Corrupt {
            table: "pools",
            column,
            id: row.pool_id.to_string(),
        };
        Ok(Self {
            id: row.pool_id.into(),
            tenant: row.tenant_id.into(),
            name: row.name.parse().map_err(|_| corrupt("name"))?,
            plan: row.plan.parse().map_err(|_| corrupt("plan"))?,
        })
    }
}

/// Some pools, looked at in the order of their ids.
#[derive(Clone, Debug, Default)]
pub struct Portion {
    /// Those that have to do with one of the plans.
    pub pools: Vec<PoolOnPlan>,
    /// The last that was looked at; `None` when there are no more.
    pub last: Option<PoolId>,
}

impl Store {
    /// Looks at the next so many pools, of one tenant or of all, and gives those that have anything
    /// to do with one of these plans. Closed ones are left out.
    ///
    /// # Errors
    /// The database is away or a row is corrupt.
    pub async fn pools_on_plans(
        &self,
        tenant: Option<TenantId>,
        plans: &[&PlanCode],
        after: Option<PoolId>,
        most: i64,
    ) -> Result<Portion, StoreError> {
        let codes: Vec<&str> = plans.iter().map(|plan| plan.as_str()).collect();
        let read = sqlx::query_as(
            r"
            WITH looked_at AS (
                SELECT pool_id, tenant_id, name, plan, pending, requested, closed_at
                FROM pools
                WHERE pool_id > $1
                    AND ($2::uuid IS NULL OR tenant_id = $2)
                ORDER BY pool_id
                LIMIT $4
            )
            SELECT
                pool_id, tenant_id, name, plan,
                closed_at IS NULL
                AND (
                    plan = ANY($3)
                    OR COALESCE(pending::jsonb ->> 'plan' = ANY($3), FALSE)
                    OR requested::jsonb -> 'terms' ->> 'plan' = ANY($3)
                ) AS is_on_plan
            FROM looked_at
            ORDER BY pool_id
            ",
        )
        .bind(after.map_or(Uuid::nil(), PoolId::uuid))
        .bind(tenant.map(TenantId::uuid))
        .bind(codes)
        .bind(most)
        .fetch_all(self.scans());
        let rows: Vec<PlanRow> = within_scan(async { Ok(read.await?) }).await?;
        let last = rows.last().map(|row| row.pool_id.into());
        let on_plan = rows.into_iter().filter(|row| row.is_on_plan);
        Ok(Portion {
            pools: on_plan
                .map(PoolOnPlan::try_from)
                .collect::<Result<_, _>>()?,
            last,
        })
    }
}
