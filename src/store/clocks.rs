//! Test clocks: the time of sandbox pools, moved by hand and only forward.

use uuid::Uuid;

use super::{Store, StoreError};
use crate::ledger::{ClockId, TenantId, Time};

impl Store {
    /// Stores a new clock that stands at `now`.
    ///
    /// # Errors
    /// The database is away.
    pub async fn insert_clock(
        &self,
        tenant: TenantId,
        clock: ClockId,
        now: Time,
        created_at: Time,
    ) -> Result<(), StoreError> {
        sqlx::query(
            r"
            INSERT INTO test_clocks (tenant_id, clock_id, now, created_at)
            VALUES ($1, $2, $3, $4)
            ",
        )
        .bind(tenant.uuid())
        .bind(clock.uuid())
        .bind(now)
        .bind(created_at)
        .execute(self.db())
        .await?;
        Ok(())
    }

    /// Where a tenant's clock stands; `None` when it has no such clock.
    ///
    /// # Errors
    /// The database is away.
    pub async fn clock_now(
        &self,
        tenant: TenantId,
        clock: ClockId,
    ) -> Result<Option<Time>, StoreError> {
        let now = sqlx::query_scalar(
            r"
            SELECT now
            FROM test_clocks
            WHERE tenant_id = $1
                AND clock_id = $2
            ",
        )
        .bind(tenant.uuid())
        .bind(clock.uuid())
        .fetch_optional(self.db())
        .await?;
        Ok(now)
    }

    /// Moves a clock forward to `to`; `false` when it stands later already or is not there.
    ///
    /// # Errors
    /// The database is away.
    pub async fn advance_clock(
        &self,
        tenant: TenantId,
        clock: ClockId,
        to: Time,
    ) -> Result<bool, StoreError> {
        let moved: Option<Uuid> = sqlx::query_scalar(
            r"
            UPDATE test_clocks
            SET now = $3
            WHERE tenant_id = $1
                AND clock_id = $2
                AND now <= $3
            RETURNING clock_id
            ",
        )
        .bind(tenant.uuid())
        .bind(clock.uuid())
        .bind(to)
        .fetch_optional(self.db())
        .await?;
        Ok(moved.is_some())
    }
}
