//! Pools that are on certain plans, wait for them, or were last requested to be on them: for moving
//! them to other plans.

use sqlx::FromRow;
use uuid::Uuid;

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

impl Store {
    /// The next pools, in the order of their ids, that have anything to do with one of these plans:
    /// of one tenant, or of all. Closed ones are left out.
    ///
    /// # Errors
    /// The database is away or a row is corrupt.
    pub async fn pools_on_plans(
        &self,
        tenant: Option<TenantId>,
        plans: &[&PlanCode],
        after: Option<PoolId>,
        limit: i64,
    ) -> Result<Vec<PoolOnPlan>, StoreError> {
        let codes: Vec<&str> = plans.iter().map(|plan| plan.as_str()).collect();
        let rows: Vec<PlanRow> = sqlx::query_as(
            r"
            SELECT pool_id, tenant_id, name, plan
            FROM pools
            WHERE pool_id > $1
                AND ($2::uuid IS NULL OR tenant_id = $2)
                AND closed_at IS NULL
                AND (
                    plan = ANY($3)
                    OR pending::jsonb ->> 'plan' = ANY($3)
                    OR requested::jsonb -> 'terms' ->> 'plan' = ANY($3)
                )
            ORDER BY pool_id
            LIMIT $4
            ",
        )
        .bind(after.map_or(Uuid::nil(), PoolId::uuid))
        .bind(tenant.map(TenantId::uuid))
        .bind(codes)
        .bind(limit)
        .fetch_all(self.scans())
        .await?;
        rows.into_iter().map(PoolOnPlan::try_from).collect()
    }
}
