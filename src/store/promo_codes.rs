//! Promo codes, and what was redeemed of them: under the code's row lock, in one short
//! transaction, so that its limits hold on any number of replicas.

use sqlx::{FromRow, Postgres, Transaction};
use uuid::Uuid;

use super::deadline::{undropped, within};
use super::{Store, StoreError};
use crate::ledger::{Credits, PoolId, PromoCode, Reduction, TenantId, Time};

/// A promo code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PromoRecord {
    /// What customers type in.
    pub code: PromoCode,
    /// What it does to a price.
    pub reduction: Reduction,
    /// Until when it is good.
    pub expires_at: Option<Time>,
    /// How often it may be used.
    pub max_redemptions: Option<i64>,
    /// Whether a pool may use it once only.
    pub once_per_pool: bool,
    /// How often it was used.
    pub redemptions: i64,
    /// When it was made.
    pub created_at: Time,
}

/// A use of a promo code by a checkout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redemption {
    /// Whose code.
    pub tenant: TenantId,
    /// The code.
    pub code: PromoCode,
    /// The checkout.
    pub checkout: Uuid,
    /// The checkout's pool.
    pub pool: PoolId,
}

impl PromoRecord {
    /// Whether one more use is allowed at `now`, by a pool that has used it or not.
    #[must_use]
    pub fn is_good(&self, now: Time, used_by_pool: bool) -> bool {
        self.expires_at.is_none_or(|end| now < end)
            && self
                .max_redemptions
                .is_none_or(|most| self.redemptions < most)
            && !(self.once_per_pool && used_by_pool)
    }
}

#[derive(FromRow)]
struct PromoRow {
    code: String,
    percent_off: Option<i64>,
    amount_off_cents: Option<i64>,
    bonus: Option<i64>,
    expires_at: Option<Time>,
    max_redemptions: Option<i64>,
    once_per_pool: bool,
    redemptions: i64,
    created_at: Time,
}

impl TryFrom<PromoRow> for PromoRecord {
    type Error = StoreError;

    fn try_from(row: PromoRow) -> Result<Self, StoreError> {
        let corrupt = |column| StoreError::Corrupt {
            table: "promo_codes",
            column,
            id: row.code.clone(),
        };
        let bonus = row.bonus.map(Credits::from_units);
        let reduction = match (row.percent_off, row.amount_off_cents, bonus) {
            (Some(hundredths), None, None) => Reduction::PercentOff(hundredths),
            (None, Some(cents), None) => Reduction::AmountOff(cents),
            (None, None, Some(Some(credits))) => Reduction::Bonus(credits),
            _ => return Err(corrupt("bonus")),
        };
        Ok(Self {
            code: row.code.parse().map_err(|_| corrupt("code"))?,
            reduction,
            expires_at: row.expires_at,
            max_redemptions: row.max_redemptions,
            once_per_pool: row.once_per_pool,
            redemptions: row.redemptions,
            created_at: row.created_at,
        })
    }
}

#[derive(FromRow)]
struct PutRow {
    #[sqlx(flatten)]
    promo: PromoRow,
    is_new: bool,
}

impl Store {
    /// Makes a promo code or changes it; what was redeemed and when it was made stays. Tells
    /// whether it is new.
    ///
    /// # Errors
    /// The database is away.
    pub async fn put_promo_code(
        &self,
        tenant: TenantId,
        promo: &PromoRecord,
    ) -> Result<(PromoRecord, bool), StoreError> {
        let (percent, amount, bonus) = match promo.reduction {
            Reduction::PercentOff(hundredths) => (Some(hundredths), None, None),
            Reduction::AmountOff(cents) => (None, Some(cents), None),
            Reduction::Bonus(credits) => (None, None, Some(credits.units())),
        };
        let write = sqlx::query_as(
            r"
            INSERT INTO promo_codes
                (tenant_id, code, percent_off, amount_off_cents, bonus, expires_at,
                max_redemptions, once_per_pool, created_at)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
            ON CONFLICT (tenant_id, code) DO UPDATE
            SET percent_off = excluded.percent_off,
                amount_off_cents = excluded.amount_off_cents,
                bonus = excluded.bonus,
                expires_at = excluded.expires_at,
                max_redemptions = excluded.max_redemptions,
                once_per_pool = excluded.once_per_pool
            RETURNING code, percent_off, amount_off_cents, bonus, expires_at, max_redemptions,
                once_per_pool, redemptions, created_at, xmax = 0 AS is_new
            ",
        )
        .bind(tenant.uuid())
        .bind(promo.code.as_str())
        .bind(percent)
        .bind(amount)
        .bind(bonus)
        .bind(promo.expires_at)
        .bind(promo.max_redemptions)
        .bind(promo.once_per_pool)
        .bind(promo.created_at)
        .fetch_one(self.db());
        let row: PutRow = within(async { Ok(write.await?) }).await?;
        Ok((row.promo.try_into()?, row.is_new))
    }

    /// A tenant's promo codes, the newest first, after the one with this instant and code.
    ///
    /// # Errors
    /// The database is away or a row is corrupt.
    pub async fn promo_codes(
        &self,
        tenant: TenantId,
        before: Option<&(Time, PromoCode)>,
        limit: i64,
    ) -> Result<Vec<PromoRecord>, StoreError> {
        let read = sqlx::query_as(
            r"
            SELECT code, percent_off, amount_off_cents, bonus, expires_at, max_redemptions,
                once_per_pool, redemptions, created_at
            FROM promo_codes
            WHERE tenant_id = $1
                AND ($2::timestamptz IS NULL OR (created_at, code) < ($2, $3))
            ORDER BY created_at DESC, code DESC
            LIMIT $4
            ",
        )
        .bind(tenant.uuid())
        .bind(before.map(|(at, _)| at))
        .bind(before.map(|(_, code)| code.as_str()))
        .bind(limit)
        .fetch_all(self.db());
        let rows: Vec<PromoRow> = within(async { Ok(read.await?) }).await?;
        rows.into_iter().map(PromoRecord::try_from).collect()
    }

    /// A promo code, and whether a pool has used it.
    ///
    /// # Errors
    /// The database is away or the row is corrupt.
    pub async fn find_promo_code(
        &self,
        tenant: TenantId,
        code: &PromoCode,
        pool: PoolId,
    ) -> Result<Option<(PromoRecord, bool)>, StoreError> {
        within(async {
            let mut tx = self.db().begin().await?;
            let Some(promo) = read(&mut tx, tenant, code, "").await? else {
                return Ok(None);
            };
            let used = is_redeemed(&mut tx, tenant, code, RedeemedBy::Pool(pool)).await?;
            tx.commit().await?;
            Ok(Some((promo, used)))
        })
        .await
    }

    /// Uses a promo code for a checkout; `false` when it may not be used once more. What the
    /// checkout has taken already is taken once.
    ///
    /// # Errors
    /// The database is away.
    pub async fn redeem(&self, redemption: Redemption, now: Time) -> Result<bool, StoreError> {
        let db = self.db().clone();
        undropped(async move {
            let Redemption {
                tenant,
                code,
                checkout,
                pool,
            } = redemption;
            let mut tx = db.begin().await?;
            let Some(promo) = read(&mut tx, tenant, &code, "FOR NO KEY UPDATE").await? else {
                return Ok(false);
            };
            // In later statements than the one that waited for the lock: they see what the holder
            // before us has committed.
            if is_redeemed(&mut tx, tenant, &code, RedeemedBy::Checkout(checkout)).await? {
                return Ok(true);
            }
            let used_by_pool = is_redeemed(&mut tx, tenant, &code, RedeemedBy::Pool(pool)).await?;
            if !promo.is_good(now, used_by_pool) {
                return Ok(false);
            }
            sqlx::query(
                r"
                INSERT INTO promo_redemptions
                    (tenant_id, code, checkout_id, pool_id, once_per_pool, redeemed_at)
                VALUES ($1, $2, $3, $4, $5, $6)
                ",
            )
            .bind(tenant.uuid())
            .bind(code.as_str())
            .bind(checkout)
            .bind(pool.uuid())
            .bind(promo.once_per_pool)
            .bind(now)
            .execute(&mut *tx)
            .await?;
            count(&mut tx, tenant, &code, 1).await?;
            tx.commit().await?;
            Ok(true)
        })
        .await
    }

    /// Gives back what a checkout has taken of a promo code, once.
    ///
    /// # Errors
    /// The database is away.
    pub async fn give_back(&self, redemption: Redemption) -> Result<(), StoreError> {
        let db = self.db().clone();
        undropped(async move {
            let Redemption {
                tenant,
                code,
                checkout,
                pool: _,
            } = redemption;
            let mut tx = db.begin().await?;
            // The code's lock first, as in `redeem`: so the two cannot deadlock.
            read(&mut tx, tenant, &code, "FOR NO KEY UPDATE").await?;
            let removed = sqlx::query(
                r"
                DELETE FROM promo_redemptions
                WHERE tenant_id = $1
                    AND code = $2
                    AND checkout_id = $3
                ",
            )
            .bind(tenant.uuid())
            .bind(code.as_str())
            .bind(checkout)
            .execute(&mut *tx)
            .await?;
            if removed.rows_affected() == 1 {
                count(&mut tx, tenant, &code, -1).await?;
            }
            tx.commit().await?;
            Ok(())
        })
        .await
    }
}

/// The code's row, with a lock on it or without.
async fn read(
    tx: &mut Transaction<'_, Postgres>,
    tenant: TenantId,
    code: &PromoCode,
    lock: &'static str,
) -> Result<Option<PromoRecord>, StoreError> {
    let statement = format!(
        "SELECT code, percent_off, amount_off_cents, bonus, expires_at, max_redemptions,
            once_per_pool, redemptions, created_at
        FROM promo_codes
        WHERE tenant_id = $1
            AND code = $2
        {lock}"
    );
    let row: Option<PromoRow> = sqlx::query_as(sqlx::AssertSqlSafe(statement))
        .bind(tenant.uuid())
        .bind(code.as_str())
        .fetch_optional(&mut **tx)
        .await?;
    row.map(PromoRecord::try_from).transpose()
}

/// Whose redemption.
#[derive(Clone, Copy)]
enum RedeemedBy {
    Pool(PoolId),
    Checkout(Uuid),
}

async fn is_redeemed(
    tx: &mut Transaction<'_, Postgres>,
    tenant: TenantId,
    code: &PromoCode,
    by: RedeemedBy,
) -> Result<bool, StoreError> {
    let (pool, checkout) = match by {
        RedeemedBy::Pool(pool) => (Some(pool.uuid()), None),
        RedeemedBy::Checkout(checkout) => (None, Some(checkout)),
    };
    let used = sqlx::query_scalar(
        r"
        SELECT EXISTS (
            SELECT FROM promo_redemptions
            WHERE tenant_id = $1
                AND code = $2
                AND (pool_id = $3 OR checkout_id = $4)
        )
        ",
    )
    .bind(tenant.uuid())
    .bind(code.as_str())
    .bind(pool)
    .bind(checkout)
    .fetch_one(&mut **tx)
    .await?;
    Ok(used)
}

/// Counts redemptions up or down, under the code's lock.
async fn count(
    tx: &mut Transaction<'_, Postgres>,
    tenant: TenantId,
    code: &PromoCode,
    by: i64,
) -> Result<(), StoreError> {
    sqlx::query(
        r"
        UPDATE promo_codes
        SET redemptions = redemptions + $3
        WHERE tenant_id = $1
            AND code = $2
        ",
    )
    .bind(tenant.uuid())
    .bind(code.as_str())
    .bind(by)
    .execute(&mut **tx)
    .await?;
    Ok(())
}
