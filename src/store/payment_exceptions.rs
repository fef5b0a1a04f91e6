//! Payments that are ours and could not be credited, until somebody resolves them.
//!
//! There is at most one for a payment, ever: what a person decided is not asked again.

use sqlx::{AssertSqlSafe, FromRow};
use uuid::Uuid;

use super::deadline::{within, within_scan};
use super::{Store, StoreError};
use crate::ledger::{Credits, KeyId, Label, PoolName, Reason, TenantId, Time};

/// What became of an exception.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExceptionStatus {
    /// Somebody has to look at it.
    Open,
    /// The payment was credited after all.
    Credited,
    /// Nothing is to be done about it.
    Dismissed,
}

/// A payment that could not be credited, as it said what it was for.
#[derive(Clone, Debug)]
pub struct NewException {
    /// Its id, if there is none of this payment.
    pub id: Uuid,
    /// The payment's own name.
    pub reference: Label,
    /// Why, as a stable word.
    pub reason: &'static str,
    /// The pool that was named.
    pub pool: Option<String>,
    /// The credits that were named.
    pub credits: Option<String>,
    /// The checkout that was named.
    pub checkout: Option<String>,
    /// Who bought.
    pub user_id: Option<Label>,
    /// What was paid, in the currency's smallest unit.
    pub amount_cents: Option<i64>,
    /// The currency.
    pub currency: Option<String>,
    /// The event that told of it.
    pub event: Label,
    /// When it was paid.
    pub paid_at: Time,
}

/// An exception as it is kept.
#[derive(Clone, Debug)]
pub struct ExceptionRecord {
    /// Its id.
    pub id: Uuid,
    /// The payment's own name.
    pub reference: Label,
    /// Why, as a stable word.
    pub reason: String,
    /// The pool that was named.
    pub pool: Option<String>,
    /// The credits that were named.
    pub credits: Option<String>,
    /// The checkout that was named.
    pub checkout: Option<String>,
    /// Who bought.
    pub user_id: Option<Label>,
    /// What was paid, in the currency's smallest unit.
    pub amount_cents: Option<i64>,
    /// The currency.
    pub currency: Option<String>,
    /// The event that told of it.
    pub event: String,
    /// When it was paid.
    pub paid_at: Time,
    /// What became of it.
    pub status: ExceptionStatus,
    /// Since when it is there.
    pub created_at: Time,
    /// When it was resolved.
    pub resolved_at: Option<Time>,
    /// By which key; none when a later event or a recorded purchase did.
    pub resolved_by: Option<KeyId>,
    /// To which pool it was credited.
    pub resolved_pool: Option<String>,
    /// With what.
    pub resolved_credits: Option<Credits>,
    /// Why it was dismissed.
    pub resolved_reason: Option<String>,
}

/// Which exceptions to list.
#[derive(Clone, Debug, Default)]
pub struct ExceptionFilter {
    /// Only these.
    pub status: Option<ExceptionStatus>,
    /// Only of payments that name one of these pools.
    pub pools: Option<Vec<String>>,
    /// Only older than this one.
    pub before: Option<(Time, Uuid)>,
}

impl ExceptionStatus {
    /// The word in the API and in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Credited => "credited",
            Self::Dismissed => "dismissed",
        }
    }

    /// The status of a word.
    #[must_use]
    pub fn read(word: &str) -> Option<Self> {
        let all = [Self::Open, Self::Credited, Self::Dismissed];
        all.into_iter().find(|status| status.as_str() == word)
    }
}

const COLUMNS: &str = "exception_id, payment_reference, reason, pool_text, credits_text, \
    checkout_text, user_id, amount_cents, currency, event_id, paid_at, status, created_at, \
    resolved_at, resolved_by, resolved_pool, resolved_credits, resolved_reason";

/// The most characters that are kept of a text that a payment names.
const MAX_SAID: usize = 500;

impl Store {
    /// Keeps an exception, unless there is one of the payment. Gives whether it is new.
    ///
    /// # Errors
    /// The database is away.
    pub async fn insert_exception(
        &self,
        tenant: TenantId,
        exception: NewException,
        now: Time,
    ) -> Result<bool, StoreError> {
        let write = sqlx::query(
            r"
            INSERT INTO payment_exceptions
                (tenant_id, exception_id, payment_reference, reason, pool_text, credits_text,
                checkout_text, user_id, amount_cents, currency, event_id, paid_at, status,
                created_at)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, 'open', $13)
            ON CONFLICT (tenant_id, payment_reference) DO NOTHING
            ",
        )
        .bind(tenant.uuid())
        .bind(exception.id)
        .bind(exception.reference.as_str())
        .bind(exception.reason)
        .bind(exception.pool.map(fit))
        .bind(exception.credits.map(fit))
        .bind(exception.checkout.map(fit))
        .bind(exception.user_id.as_ref().map(Label::as_str))
        .bind(exception.amount_cents)
        .bind(exception.currency)
        .bind(exception.event.as_str())
        .bind(exception.paid_at)
        .bind(now)
        .execute(self.db());
        let written = within(async { Ok(write.await?) }).await?;
        Ok(written.rows_affected() == 1)
    }

    /// A tenant's exceptions, newest first.
    ///
    /// # Errors
    /// The database is away or a row is corrupt.
    pub async fn exceptions(
        &self,
        tenant: TenantId,
        filter: &ExceptionFilter,
        limit: i64,
    ) -> Result<Vec<ExceptionRecord>, StoreError> {
        let statement = format!(
            "SELECT {COLUMNS}
            FROM payment_exceptions
            WHERE tenant_id = $1
                AND ($2::text IS NULL OR status = $2)
                AND ($3::timestamptz IS NULL OR (created_at, exception_id) < ($3, $4))
                AND ($6::text[] IS NULL OR pool_text = ANY($6))
            ORDER BY created_at DESC, exception_id DESC
            LIMIT $5"
        );
        let read = sqlx::query_as(AssertSqlSafe(statement))
            .bind(tenant.uuid())
            .bind(filter.status.map(ExceptionStatus::as_str))
            .bind(filter.before.map(|(at, _)| at))
            .bind(filter.before.map(|(_, id)| id))
            .bind(limit)
            .bind(filter.pools.as_deref())
            .fetch_all(self.db());
        let rows: Vec<ExceptionRow> = within(async { Ok(read.await?) }).await?;
        rows.into_iter().map(ExceptionRecord::try_from).collect()
    }

    /// One of a tenant's exceptions.
    ///
    /// # Errors
    /// The database is away or the row is corrupt.
    pub async fn find_exception(
        &self,
        tenant: TenantId,
        id: Uuid,
    ) -> Result<Option<ExceptionRecord>, StoreError> {
        let statement = format!(
            "SELECT {COLUMNS}
            FROM payment_exceptions
            WHERE tenant_id = $1
                AND exception_id = $2"
        );
        let read = sqlx::query_as(AssertSqlSafe(statement))
            .bind(tenant.uuid())
            .bind(id)
            .fetch_optional(self.db());
        let row: Option<ExceptionRow> = within(async { Ok(read.await?) }).await?;
        row.map(ExceptionRecord::try_from).transpose()
    }

    /// What became of the exception of a payment, if there is one.
    ///
    /// # Errors
    /// The database is away.
    pub async fn exception_of_payment(
        &self,
        tenant: TenantId,
        reference: &Label,
    ) -> Result<Option<ExceptionStatus>, StoreError> {
        let read = sqlx::query_scalar(
            r"
            SELECT status
            FROM payment_exceptions
            WHERE tenant_id = $1
                AND payment_reference = $2
            ",
        )
        .bind(tenant.uuid())
        .bind(reference.as_str())
        .fetch_optional(self.db());
        let status: Option<String> = within(async { Ok(read.await?) }).await?;
        Ok(status.and_then(|word| ExceptionStatus::read(&word)))
    }

    /// Notes that a payment was credited after all, by somebody or by itself. By itself, one that
    /// names another purchase than the one it was credited as stays open: it is about just that.
    ///
    /// # Errors
    /// The database is away.
    pub async fn close_exception(
        &self,
        tenant: TenantId,
        reference: &Label,
        by: Option<KeyId>,
        to: (&PoolName, Credits),
        now: Time,
    ) -> Result<(), StoreError> {
        let (pool, credits) = to;
        let write = sqlx::query(
            r"
            UPDATE payment_exceptions
            SET
                status = 'credited',
                resolved_at = $3,
                resolved_by = $4,
                resolved_pool = $5,
                resolved_credits = $6
            WHERE tenant_id = $1
                AND payment_reference = $2
                AND status = 'open'
                AND ($4::uuid IS NOT NULL OR reason <> 'payment_reference_reused')
            ",
        )
        .bind(tenant.uuid())
        .bind(reference.as_str())
        .bind(now)
        .bind(by.map(KeyId::uuid))
        .bind(pool.to_string())
        .bind(credits.units())
        .execute(self.db());
        within(async { Ok(write.await?) }).await?;
        Ok(())
    }

    /// Closes the exceptions of payments that were credited after all, by whatever channel: for
    /// those whose own request could not.
    ///
    /// # Errors
    /// The database is away.
    pub async fn close_credited_exceptions(&self, now: Time) -> Result<(), StoreError> {
        let write = sqlx::query(
            r"
            UPDATE payment_exceptions AS e
            SET
                status = 'credited',
                resolved_at = $1,
                resolved_pool = p.name,
                resolved_credits = u.credits
            FROM payment_claims AS c
            JOIN purchases AS u
                ON u.pool_id = c.pool_id
                AND u.payment_reference = c.payment_reference
            JOIN pools AS p ON p.pool_id = u.pool_id
            WHERE c.tenant_id = e.tenant_id
                AND c.payment_reference = e.payment_reference
                AND e.status = 'open'
                AND e.reason <> 'payment_reference_reused'
            ",
        )
        .bind(now)
        .execute(self.scans());
        within_scan(async { Ok(write.await?) }).await?;
        Ok(())
    }

    /// Dismisses an open exception. Gives whether it was open. One whose payment is claimed is
    /// being credited, or is by now.
    ///
    /// # Errors
    /// The database is away.
    pub async fn dismiss_exception(
        &self,
        tenant: TenantId,
        id: Uuid,
        by: KeyId,
        reason: &Reason,
        now: Time,
    ) -> Result<bool, StoreError> {
        let write = sqlx::query(
            r"
            UPDATE payment_exceptions
            SET
                status = 'dismissed',
                resolved_at = $3,
                resolved_by = $4,
                resolved_reason = $5
            WHERE tenant_id = $1
                AND exception_id = $2
                AND status = 'open'
                AND (
                    reason = 'payment_reference_reused'
                    OR NOT EXISTS (
                        SELECT
                        FROM payment_claims AS c
                        WHERE c.tenant_id = payment_exceptions.tenant_id
                            AND c.payment_reference = payment_exceptions.payment_reference
                    )
                )
            ",
        )
        .bind(tenant.uuid())
        .bind(id)
        .bind(now)
        .bind(by.uuid())
        .bind(reason.as_str())
        .execute(self.db());
        let written = within(async { Ok(write.await?) }).await?;
        Ok(written.rows_affected() == 1)
    }
}

/// As much of a text as is kept, without what the database cannot keep.
fn fit(text: String) -> String {
    text.chars()
        .filter(|c| !c.is_control())
        .take(MAX_SAID)
        .collect()
}

#[derive(FromRow)]
struct ExceptionRow {
    exception_id: Uuid,
    payment_reference: String,
    reason: String,
    pool_text: Option<String>,
    credits_text: Option<String>,
    checkout_text: Option<String>,
    user_id: Option<String>,
    amount_cents: Option<i64>,
    currency: Option<String>,
    event_id: String,
    paid_at: Time,
    status: String,
    created_at: Time,
    resolved_at: Option<Time>,
    resolved_by: Option<Uuid>,
    resolved_pool: Option<String>,
    resolved_credits: Option<i64>,
    resolved_reason: Option<String>,
}

impl TryFrom<ExceptionRow> for ExceptionRecord {
    type Error = StoreError;

    fn try_from(row: ExceptionRow) -> Result<Self, StoreError> {
        let corrupt = |column| StoreError::Corrupt {
            table: "payment_exceptions",
            column,
            id: row.exception_id.to_string(),
        };
        let status = ExceptionStatus::read(&row.status);
        let reference = Label::try_from(row.payment_reference);
        let user_id = row.user_id.map(Label::try_from).transpose();
        let credits = |units| Credits::from_units(units).ok_or_else(|| corrupt("resolved_credits"));
        Ok(Self {
            id: row.exception_id,
            reference: reference.map_err(|_| corrupt("payment_reference"))?,
            reason: row.reason,
            pool: row.pool_text,
            credits: row.credits_text,
            checkout: row.checkout_text,
            user_id: user_id.map_err(|_| corrupt("user_id"))?,
            amount_cents: row.amount_cents,
            currency: row.currency,
            event: row.event_id,
            paid_at: row.paid_at,
            status: status.ok_or_else(|| corrupt("status"))?,
            created_at: row.created_at,
            resolved_at: row.resolved_at,
            resolved_by: row.resolved_by.map(KeyId::from),
            resolved_pool: row.resolved_pool,
            resolved_credits: row.resolved_credits.map(credits).transpose()?,
            resolved_reason: row.resolved_reason,
        })
    }
}
