//! Checkouts as they are stored, step by step: each step is one statement that counts only if
//! nobody else went on from the step before.
//!
//! What the steps are for is in [`payments`](crate::payments).

use std::str::FromStr;

use sqlx::{AssertSqlSafe, FromRow};
use uuid::Uuid;

use super::deadline::within;
use super::{Store, StoreError};
use crate::ledger::{
    Credits, Fingerprint, IdempotencyKey, KeyId, Label, PoolId, PoolName, Price, PromoCode,
    TenantId, Time,
};

/// What became of a checkout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckoutStatus {
    /// The provider has no session for it yet, and nobody was told of it.
    Creating,
    /// It can be paid.
    Pending,
    /// It was paid and credited.
    Completed,
    /// It can be paid no more.
    Expired,
}

/// A checkout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckoutRecord {
    /// Its id.
    pub id: Uuid,
    /// Whose it is.
    pub tenant: TenantId,
    /// Which pool is to be credited.
    pub pool: PoolName,
    /// The request that asked for it.
    pub key: IdempotencyKey,
    /// What that request said.
    pub fingerprint: Fingerprint,
    /// What became of it.
    pub status: CheckoutStatus,
    /// What is sold, and for how much.
    pub price: Price,
    /// The promo code that it uses.
    pub promo_code: Option<PromoCode>,
    /// Who buys.
    pub user_id: Option<Label>,
    /// Where the provider sends the receipt.
    pub customer_email: Option<String>,
    /// Where the customer goes after paying.
    pub success_url: String,
    /// Where the customer goes otherwise.
    pub cancel_url: String,
    /// The key that asked for it.
    pub actor: Option<KeyId>,
    /// The provider's session.
    pub session_id: Option<String>,
    /// Where the customer pays.
    pub url: Option<String>,
    /// When it was asked for.
    pub created_at: Time,
    /// When it can be paid no more.
    pub expires_at: Time,
    /// Until when whoever makes it may be waited for.
    pub leased_until: Time,
    /// How often somebody set out to make it.
    pub attempt: i64,
    /// When a job looks at it again.
    pub next_look_at: Option<Time>,
}

impl CheckoutStatus {
    /// The word in the API and in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Pending => "pending",
            Self::Completed => "completed",
            Self::Expired => "expired",
        }
    }
}

impl FromStr for CheckoutStatus {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let all = [
            Self::Creating,
            Self::Pending,
            Self::Completed,
            Self::Expired,
        ];
        let found = all.into_iter().find(|status| status.as_str() == text);
        found.ok_or(())
    }
}

const COLUMNS: &str = "c.pool_id, c.checkout_id, c.tenant_id, c.pool, c.idempotency_key, \
    c.fingerprint, c.status, c.credits, c.bonus, c.subtotal_cents, c.discount_cents, \
    c.total_cents, c.currency, c.promo_code, c.user_id, c.customer_email, c.success_url, \
    c.cancel_url, c.actor, c.session_id, c.checkout_url, c.created_at, c.expires_at, \
    c.leased_until, c.attempt, c.next_look_at";

#[derive(FromRow)]
struct CheckoutRow {
    checkout_id: Uuid,
    tenant_id: Uuid,
    pool: String,
    idempotency_key: String,
    fingerprint: Vec<u8>,
    status: String,
    credits: i64,
    bonus: i64,
    subtotal_cents: i64,
    discount_cents: i64,
    total_cents: i64,
    currency: String,
    promo_code: Option<String>,
    user_id: Option<String>,
    customer_email: Option<String>,
    success_url: String,
    cancel_url: String,
    actor: Option<Uuid>,
    session_id: Option<String>,
    checkout_url: Option<String>,
    created_at: Time,
    expires_at: Time,
    leased_until: Time,
    attempt: i64,
    next_look_at: Option<Time>,
}

impl TryFrom<CheckoutRow> for CheckoutRecord {
    type Error = StoreError;

    fn try_from(row: CheckoutRow) -> Result<Self, StoreError> {
        let corrupt = |column| StoreError::Corrupt {
            table: "checkouts",
            column,
            id: row.checkout_id.to_string(),
        };
        let credits = |column, units| Credits::from_units(units).ok_or_else(|| corrupt(column));
        let fingerprint = Fingerprint::from_stored(&row.fingerprint);
        let promo_code = row.promo_code.map(PromoCode::try_from).transpose();
        let user_id = row.user_id.map(Label::try_from).transpose();
        Ok(Self {
            id: row.checkout_id,
            tenant: row.tenant_id.into(),
            pool: row.pool.parse().map_err(|_| corrupt("pool"))?,
            key: row
                .idempotency_key
                .parse()
                .map_err(|_| corrupt("idempotency_key"))?,
            fingerprint: fingerprint.ok_or_else(|| corrupt("fingerprint"))?,
            status: row.status.parse().map_err(|()| corrupt("status"))?,
            price: Price {
                credits: credits("credits", row.credits)?,
                bonus: credits("bonus", row.bonus)?,
                subtotal_cents: row.subtotal_cents,
                discount_cents: row.discount_cents,
                total_cents: row.total_cents,
                currency: row.currency,
            },
            promo_code: promo_code.map_err(|_| corrupt("promo_code"))?,
            user_id: user_id.map_err(|_| corrupt("user_id"))?,
            customer_email: row.customer_email,
            success_url: row.success_url,
            cancel_url: row.cancel_url,
            actor: row.actor.map(KeyId::from),
            session_id: row.session_id,
            url: row.checkout_url,
            created_at: row.created_at,
            expires_at: row.expires_at,
            leased_until: row.leased_until,
            attempt: row.attempt,
            next_look_at: row.next_look_at,
        })
    }
}

impl CheckoutRecord {
    /// The pool's id.
    #[must_use]
    pub fn pool_id(&self) -> PoolId {
        PoolId::of(self.tenant, &self.pool)
    }
}

impl Store {
    /// A pool's checkout.
    ///
    /// # Errors
    /// The database is away or the row is corrupt.
    pub async fn find_checkout(
        &self,
        tenant: TenantId,
        pool: &PoolName,
        id: Uuid,
    ) -> Result<Option<CheckoutRecord>, StoreError> {
        let condition = "c.pool_id = $1 AND c.checkout_id = $2 AND c.tenant_id = $3";
        let statement = format!("SELECT {COLUMNS} FROM checkouts AS c WHERE {condition}");
        let read = sqlx::query_as(AssertSqlSafe(statement))
            .bind(PoolId::of(tenant, pool).uuid())
            .bind(id)
            .bind(tenant.uuid())
            .fetch_optional(self.db());
        let row: Option<CheckoutRow> = within(async { Ok(read.await?) }).await?;
        row.map(CheckoutRecord::try_from).transpose()
    }

    /// The checkout that a request with this key has asked for.
    ///
    /// # Errors
    /// The database is away or the row is corrupt.
    pub async fn find_checkout_by_key(
        &self,
        tenant: TenantId,
        pool: &PoolName,
        key: &IdempotencyKey,
    ) -> Result<Option<CheckoutRecord>, StoreError> {
        let condition = "c.pool_id = $1 AND c.idempotency_key = $2 AND c.tenant_id = $3";
        let statement = format!("SELECT {COLUMNS} FROM checkouts AS c WHERE {condition}");
        let read = sqlx::query_as(AssertSqlSafe(statement))
            .bind(PoolId::of(tenant, pool).uuid())
            .bind(key.as_str())
            .bind(tenant.uuid())
            .fetch_optional(self.db());
        let row: Option<CheckoutRow> = within(async { Ok(read.await?) }).await?;
        row.map(CheckoutRecord::try_from).transpose()
    }

    /// A tenant's checkout, whatever its pool.
    ///
    /// # Errors
    /// The database is away or the row is corrupt.
    pub async fn find_checkout_of_tenant(
        &self,
        tenant: TenantId,
        id: Uuid,
    ) -> Result<Option<CheckoutRecord>, StoreError> {
        let condition = "c.tenant_id = $1 AND c.checkout_id = $2";
        let statement = format!("SELECT {COLUMNS} FROM checkouts AS c WHERE {condition}");
        let read = sqlx::query_as(AssertSqlSafe(statement))
            .bind(tenant.uuid())
            .bind(id)
            .fetch_optional(self.db());
        let row: Option<CheckoutRow> = within(async { Ok(read.await?) }).await?;
        row.map(CheckoutRecord::try_from).transpose()
    }

    /// Checkouts that a job has to look at, the longest due first.
    ///
    /// # Errors
    /// The database is away or a row is corrupt.
    pub async fn checkouts_to_look_at(
        &self,
        now: Time,
        limit: i64,
    ) -> Result<Vec<CheckoutRecord>, StoreError> {
        let statement = format!(
            "SELECT {COLUMNS} FROM checkouts AS c
            WHERE c.next_look_at <= $1
            ORDER BY c.next_look_at
            LIMIT $2"
        );
        let read = sqlx::query_as(AssertSqlSafe(statement))
            .bind(now)
            .bind(limit)
            .fetch_all(self.db());
        let rows: Vec<CheckoutRow> = within(async { Ok(read.await?) }).await?;
        rows.into_iter().map(CheckoutRecord::try_from).collect()
    }

    /// Whether a journal entry of the pool has this key: then it is another request's.
    ///
    /// # Errors
    /// The database is away.
    pub async fn is_key_in_journal(
        &self,
        pool: PoolId,
        key: &IdempotencyKey,
    ) -> Result<bool, StoreError> {
        let read = sqlx::query_scalar(
            r"
            SELECT EXISTS (SELECT FROM entries WHERE pool_id = $1 AND idempotency_key = $2)
            ",
        )
        .bind(pool.uuid())
        .bind(key.as_str())
        .fetch_one(self.db());
        within(async { Ok(read.await?) }).await
    }

    /// Stores a new checkout; `false` when another request has its key already.
    ///
    /// # Errors
    /// The database is away.
    pub async fn insert_checkout(&self, checkout: &CheckoutRecord) -> Result<bool, StoreError> {
        let price = &checkout.price;
        let write = sqlx::query(
            r"
            INSERT INTO checkouts
                (pool_id, checkout_id, tenant_id, pool, idempotency_key, fingerprint, status,
                credits, bonus, subtotal_cents, discount_cents, total_cents, currency, promo_code,
                user_id, customer_email, success_url, cancel_url, actor, created_at, expires_at,
                leased_until, attempt, next_look_at)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17,
                $18, $19, $20, $21, $22, $23, $24)
            ON CONFLICT (pool_id, idempotency_key) DO NOTHING
            ",
        )
        .bind(checkout.pool_id().uuid())
        .bind(checkout.id)
        .bind(checkout.tenant.uuid())
        .bind(checkout.pool.to_string())
        .bind(checkout.key.as_str())
        .bind(checkout.fingerprint.as_bytes().as_slice())
        .bind(checkout.status.as_str())
        .bind(price.credits.units())
        .bind(price.bonus.units())
        .bind(price.subtotal_cents)
        .bind(price.discount_cents)
        .bind(price.total_cents)
        .bind(price.currency.as_str())
        .bind(checkout.promo_code.as_ref().map(PromoCode::as_str))
        .bind(checkout.user_id.as_ref().map(Label::as_str))
        .bind(checkout.customer_email.as_deref())
        .bind(checkout.success_url.as_str())
        .bind(checkout.cancel_url.as_str())
        .bind(checkout.actor.map(KeyId::uuid))
        .bind(checkout.created_at)
        .bind(checkout.expires_at)
        .bind(checkout.leased_until)
        .bind(checkout.attempt)
        .bind(checkout.next_look_at)
        .execute(self.db());
        let done = within(async { Ok(write.await?) }).await?;
        Ok(done.rows_affected() == 1)
    }

    /// Sets out to make a checkout that nobody is making at `now`: gives it with a new attempt.
    ///
    /// # Errors
    /// The database is away.
    pub async fn lease_checkout(
        &self,
        checkout: &CheckoutRecord,
        now: Time,
        until: Time,
    ) -> Result<Option<CheckoutRecord>, StoreError> {
        let write = sqlx::query_scalar(
            r"
            UPDATE checkouts
            SET attempt = attempt + 1,
                leased_until = $4
            WHERE pool_id = $1
                AND checkout_id = $2
                AND status = 'creating'
                AND leased_until <= $3
            RETURNING attempt
            ",
        )
        .bind(checkout.pool_id().uuid())
        .bind(checkout.id)
        .bind(now)
        .bind(until)
        .fetch_optional(self.db());
        let attempt: Option<i64> = within(async { Ok(write.await?) }).await?;
        Ok(attempt.map(|attempt| CheckoutRecord {
            attempt,
            leased_until: until,
            ..checkout.clone()
        }))
    }

    /// Saves a checkout that this attempt has made; `false` when a later one took over.
    ///
    /// # Errors
    /// The database is away.
    pub async fn finish_checkout(&self, made: &CheckoutRecord) -> Result<bool, StoreError> {
        let write = sqlx::query(
            r"
            UPDATE checkouts
            SET status = $4,
                session_id = $5,
                checkout_url = $6,
                expires_at = $7,
                next_look_at = $8
            WHERE pool_id = $1
                AND checkout_id = $2
                AND attempt = $3
                AND status = 'creating'
            ",
        )
        .bind(made.pool_id().uuid())
        .bind(made.id)
        .bind(made.attempt)
        .bind(made.status.as_str())
        .bind(made.session_id.as_deref())
        .bind(made.url.as_deref())
        .bind(made.expires_at)
        .bind(made.next_look_at)
        .execute(self.db());
        let done = within(async { Ok(write.await?) }).await?;
        Ok(done.rows_affected() == 1)
    }

    /// Lets others make a checkout that this attempt has given up at `now`.
    ///
    /// # Errors
    /// The database is away.
    pub async fn end_lease(&self, left: &CheckoutRecord, now: Time) -> Result<(), StoreError> {
        let write = sqlx::query(
            r"
            UPDATE checkouts
            SET leased_until = $4
            WHERE pool_id = $1
                AND checkout_id = $2
                AND attempt = $3
                AND status = 'creating'
            ",
        )
        .bind(left.pool_id().uuid())
        .bind(left.id)
        .bind(left.attempt)
        .bind(now)
        .execute(self.db());
        within(async { Ok(write.await?) }).await?;
        Ok(())
    }

    /// Removes a checkout that this attempt could not make: its key is free again.
    ///
    /// # Errors
    /// The database is away.
    pub async fn remove_checkout(&self, failed: &CheckoutRecord) -> Result<(), StoreError> {
        let write = sqlx::query(
            r"
            DELETE FROM checkouts
            WHERE pool_id = $1
                AND checkout_id = $2
                AND attempt = $3
                AND status = 'creating'
            ",
        )
        .bind(failed.pool_id().uuid())
        .bind(failed.id)
        .bind(failed.attempt)
        .execute(self.db());
        within(async { Ok(write.await?) }).await?;
        Ok(())
    }

    /// Says that a checkout was paid and credited.
    ///
    /// # Errors
    /// The database is away.
    pub async fn complete_checkout(&self, paid: &CheckoutRecord) -> Result<(), StoreError> {
        let write = sqlx::query(
            r"
            UPDATE checkouts
            SET status = 'completed',
                next_look_at = NULL
            WHERE pool_id = $1
                AND checkout_id = $2
                AND status <> 'completed'
            ",
        )
        .bind(paid.pool_id().uuid())
        .bind(paid.id)
        .execute(self.db());
        within(async { Ok(write.await?) }).await?;
        Ok(())
    }

    /// Says that a pending checkout can be paid no more; whether it is so now. A job looks at it
    /// until [`Self::close_checkout`] was called.
    ///
    /// # Errors
    /// The database is away.
    pub async fn expire_checkout(
        &self,
        checkout: &CheckoutRecord,
        now: Time,
    ) -> Result<bool, StoreError> {
        let write = sqlx::query(
            r"
            UPDATE checkouts
            SET status = 'expired',
                next_look_at = CASE status WHEN 'expired' THEN next_look_at ELSE $3 END
            WHERE pool_id = $1
                AND checkout_id = $2
                AND status IN ('pending', 'expired')
            ",
        )
        .bind(checkout.pool_id().uuid())
        .bind(checkout.id)
        .bind(now)
        .execute(self.db());
        let done = within(async { Ok(write.await?) }).await?;
        Ok(done.rows_affected() == 1)
    }

    /// Says that nothing is left to be done for an expired checkout.
    ///
    /// # Errors
    /// The database is away.
    pub async fn close_checkout(&self, checkout: &CheckoutRecord) -> Result<(), StoreError> {
        let write = sqlx::query(
            r"
            UPDATE checkouts
            SET next_look_at = NULL
            WHERE pool_id = $1
                AND checkout_id = $2
                AND status = 'expired'
            ",
        )
        .bind(checkout.pool_id().uuid())
        .bind(checkout.id)
        .execute(self.db());
        within(async { Ok(write.await?) }).await?;
        Ok(())
    }

    /// Has a job look at a checkout again later.
    ///
    /// # Errors
    /// The database is away.
    pub async fn look_at_checkout_later(
        &self,
        checkout: &CheckoutRecord,
        at: Time,
    ) -> Result<(), StoreError> {
        let write = sqlx::query(
            r"
            UPDATE checkouts
            SET next_look_at = $3
            WHERE pool_id = $1
                AND checkout_id = $2
                AND next_look_at IS NOT NULL
            ",
        )
        .bind(checkout.pool_id().uuid())
        .bind(checkout.id)
        .bind(at)
        .execute(self.db());
        within(async { Ok(write.await?) }).await?;
        Ok(())
    }
}
