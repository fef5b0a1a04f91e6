//! A tenant's pools in pages, newest first, by what an operator looks for.
//!
//! What is stored is compared: the caller first has what is due booked.

use sqlx::AssertSqlSafe;
use uuid::Uuid;

use super::batch::stored_pool;
use super::deadline::within_scan;
use super::pools::{StoredPool, along_columns, selecting_pools};
use super::{Store, StoreError};
use crate::ledger::{PlanCode, PoolId, SignedCredits, TenantId, Time};

/// Whether a pool takes writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolStatus {
    /// It does.
    Active,
    /// It is frozen.
    Closed,
}

/// Which pools to list.
#[derive(Clone, Debug, Default)]
pub struct PoolFilter {
    /// Only these.
    pub pools: Option<Vec<PoolId>>,
    /// Only those with this text in their name, in any case.
    pub name_contains: Option<String>,
    /// Only those on this plan.
    pub plan: Option<PlanCode>,
    /// Only open or only closed ones.
    pub status: Option<PoolStatus>,
    /// Only those that can give less than this.
    pub available_below: Option<SignedCredits>,
    /// Only those that owe something, or only those that do not.
    pub overdraft: Option<bool>,
    /// Only those whose next cycle starts before this.
    pub renews_before: Option<Time>,
    /// Only those whose add-on credits expire before this.
    pub addon_expires_before: Option<Time>,
    /// Only those made before this one.
    pub before: Option<(Time, PoolId)>,
}

impl Store {
    /// Pools of a tenant with their open holds, newest first.
    ///
    /// # Errors
    /// The database is away or a row is corrupt.
    pub async fn list_pools(
        &self,
        tenant: TenantId,
        filter: &PoolFilter,
        limit: i64,
    ) -> Result<Vec<StoredPool>, StoreError> {
        let pools = selecting_pools(&along_columns("'infinity'"));
        let statement = format!(
            "{pools}
            WHERE p.tenant_id = $1
                AND ($2::uuid[] IS NULL OR p.pool_id = ANY($2))
                AND ($3::text IS NULL OR position(lower($3) IN lower(p.name)) > 0)
                AND ($4::text IS NULL OR p.plan = $4)
                AND ($5::boolean IS NULL OR (p.closed_at IS NOT NULL) = $5)
                AND ($6::bigint IS NULL OR p.monthly + p.addon + p.overdraft < $6)
                AND ($7::boolean IS NULL OR (p.overdraft < 0) = $7)
                -- Nothing renews or expires in a closed pool.
                AND ($8::timestamptz IS NULL OR (p.cycle_end < $8 AND p.closed_at IS NULL))
                AND ($9::timestamptz IS NULL OR (p.addon_expires_at < $9 AND p.closed_at IS NULL))
                AND ($10::timestamptz IS NULL OR (p.recorded_at, p.pool_id) < ($10, $11))
            ORDER BY p.recorded_at DESC, p.pool_id DESC
            LIMIT $12"
        );
        let ids = |pools: &Vec<PoolId>| pools.iter().map(|pool| pool.uuid()).collect::<Vec<Uuid>>();
        let read = sqlx::query(AssertSqlSafe(statement))
            .bind(tenant.uuid())
            .bind(filter.pools.as_ref().map(ids))
            .bind(filter.name_contains.as_deref())
            .bind(filter.plan.as_ref().map(PlanCode::as_str))
            .bind(filter.status.map(|status| status == PoolStatus::Closed))
            .bind(filter.available_below.map(SignedCredits::units))
            .bind(filter.overdraft)
            .bind(filter.renews_before)
            .bind(filter.addon_expires_before)
            .bind(filter.before.map(|(at, _)| at))
            .bind(filter.before.map(|(_, id)| id.uuid()))
            .bind(limit)
            .fetch_all(self.scans());
        let rows = within_scan(async { Ok(read.await?) }).await?;
        rows.iter().map(stored_pool).collect()
    }
}
