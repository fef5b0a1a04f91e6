//! How tenants' Stripe accounts are reached, as it is stored: secrets come and go encrypted.
//!
//! The key is not known here, nor is anything ever decrypted here.

use sqlx::FromRow;

use super::deadline::within;
use super::{Store, StoreError};
use crate::ledger::{TenantId, Time};

/// A tenant's Stripe settings, every secret encrypted.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct SealedStripeSettings {
    /// The key that Stripe is asked with.
    pub api_key: Option<Vec<u8>>,
    /// What Stripe's events are signed with.
    pub webhook_secrets: Vec<Vec<u8>>,
    /// When they were last changed.
    pub updated_at: Time,
}

impl Store {
    /// A tenant's Stripe settings, if it has any.
    ///
    /// # Errors
    /// The database is away.
    pub async fn stripe_settings(
        &self,
        tenant: TenantId,
    ) -> Result<Option<SealedStripeSettings>, StoreError> {
        let read = sqlx::query_as(
            r"
            SELECT api_key, webhook_secrets, updated_at
            FROM stripe_settings
            WHERE tenant_id = $1
            ",
        )
        .bind(tenant.uuid())
        .fetch_optional(self.db());
        within(async { Ok(read.await?) }).await
    }

    /// Stores a tenant's Stripe settings. With `keep_api_key` the key that is stored stays.
    ///
    /// # Errors
    /// The database is away.
    pub async fn put_stripe_settings(
        &self,
        tenant: TenantId,
        settings: &SealedStripeSettings,
        keep_api_key: bool,
    ) -> Result<SealedStripeSettings, StoreError> {
        let write = sqlx::query_as(
            r"
            INSERT INTO stripe_settings AS s (tenant_id, api_key, webhook_secrets, updated_at)
            VALUES ($1, $2, $3, $4)
            ON CONFLICT (tenant_id) DO UPDATE
            SET api_key = CASE WHEN $5 THEN s.api_key ELSE excluded.api_key END,
                webhook_secrets = excluded.webhook_secrets,
                updated_at = excluded.updated_at
            RETURNING api_key, webhook_secrets, updated_at
            ",
        )
        .bind(tenant.uuid())
        .bind(settings.api_key.as_deref())
        .bind(&settings.webhook_secrets)
        .bind(settings.updated_at)
        .bind(keep_api_key)
        .fetch_one(self.db());
        within(async { Ok(write.await?) }).await
    }
}
