//! Checkouts as they are stored, and how they are found. The steps they go through are in
//! `checkout_steps`.

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
}
