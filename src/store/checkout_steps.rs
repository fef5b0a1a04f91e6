//! The steps of a checkout: each is one statement that counts only if nobody else went on from the
//! step before.
//!
//! What the steps are for is in [`payments`](crate::payments).

use super::deadline::within;
use super::{CheckoutRecord, Store, StoreError};
use crate::ledger::{KeyId, Label, PromoCode, Time};

impl Store {
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
