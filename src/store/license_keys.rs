//! The keys that tenants sign licences with: private halves come and go encrypted.
//!
//! A tenant has one current key at most, on any number of replicas: the index
//! `license_keys_one_current` decides who was first.

use sqlx::FromRow;
use uuid::Uuid;

use super::deadline::within;
use super::{Store, StoreError};
use crate::ledger::{TenantId, Time};

/// A signing key without its private half.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct LicenseKeyRecord {
    /// The name in the header of what it has signed.
    #[sqlx(rename = "key_id")]
    pub kid: Uuid,
    /// What its signatures are verified with.
    pub public_key: Vec<u8>,
    /// Whether it signs; if not, it only verifies.
    pub is_current: bool,
    /// When it was made.
    pub created_at: Time,
}

/// A signing key to be stored.
#[derive(Clone, Debug)]
pub struct NewLicenseKey {
    /// The name in the header of what it is to sign.
    pub kid: Uuid,
    /// What its signatures are verified with.
    pub public_key: Vec<u8>,
    /// What it signs with, encrypted.
    pub private_key: Vec<u8>,
    /// When it was made.
    pub created_at: Time,
}

impl From<NewLicenseKey> for LicenseKeyRecord {
    fn from(new: NewLicenseKey) -> Self {
        Self {
            kid: new.kid,
            public_key: new.public_key,
            is_current: true,
            created_at: new.created_at,
        }
    }
}

impl Store {
    /// All signing keys of a tenant, newest first.
    ///
    /// # Errors
    /// The database is away.
    pub async fn license_keys(
        &self,
        tenant: TenantId,
    ) -> Result<Vec<LicenseKeyRecord>, StoreError> {
        let read = sqlx::query_as(
            r"
            SELECT key_id, public_key, private_key IS NOT NULL AS is_current, created_at
            FROM license_keys
            WHERE tenant_id = $1
            ORDER BY created_at DESC, key_id DESC
            ",
        )
        .bind(tenant.uuid())
        .fetch_all(self.db());
        within(async { Ok(read.await?) }).await
    }

    /// What the signatures of one of a tenant's keys are verified with.
    ///
    /// # Errors
    /// The database is away.
    pub async fn license_public_key(
        &self,
        tenant: TenantId,
        kid: Uuid,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let read = sqlx::query_scalar(
            r"
            SELECT public_key
            FROM license_keys
            WHERE tenant_id = $1
                AND key_id = $2
            ",
        )
        .bind(tenant.uuid())
        .bind(kid)
        .fetch_optional(self.db());
        within(async { Ok(read.await?) }).await
    }

    /// The key that signs: its name, and its private half, encrypted.
    ///
    /// # Errors
    /// The database is away.
    pub async fn current_license_key(
        &self,
        tenant: TenantId,
    ) -> Result<Option<(Uuid, Vec<u8>)>, StoreError> {
        let read = sqlx::query_as(
            r"
            SELECT key_id, private_key
            FROM license_keys
            WHERE tenant_id = $1
                AND private_key IS NOT NULL
            ",
        )
        .bind(tenant.uuid())
        .fetch_optional(self.db());
        within(async { Ok(read.await?) }).await
    }

    /// Stores a tenant's current key, unless it has one; tells whether it was stored.
    ///
    /// # Errors
    /// The database is away.
    pub async fn insert_license_key(
        &self,
        tenant: TenantId,
        new: &NewLicenseKey,
    ) -> Result<bool, StoreError> {
        let write = sqlx::query(
            r"
            INSERT INTO license_keys (tenant_id, key_id, public_key, private_key, created_at)
            VALUES ($1, $2, $3, $4, $5)
            ON CONFLICT (tenant_id) WHERE private_key IS NOT NULL DO NOTHING
            ",
        )
        .bind(tenant.uuid())
        .bind(new.kid)
        .bind(&new.public_key)
        .bind(&new.private_key)
        .bind(new.created_at)
        .execute(self.db());
        within(async { Ok(write.await?.rows_affected() == 1) }).await
    }

    /// Retires a tenant's current key, whose private half is lost, and stores the next one; tells
    /// whether it was stored: not when another one came in between.
    ///
    /// # Errors
    /// The database is away.
    pub async fn replace_license_key(
        &self,
        tenant: TenantId,
        new: &NewLicenseKey,
    ) -> Result<bool, StoreError> {
        let write = sqlx::query(
            r"
            WITH retired AS (
                UPDATE license_keys
                SET private_key = NULL
                WHERE tenant_id = $1
                    AND private_key IS NOT NULL
                RETURNING key_id
            )
            INSERT INTO license_keys (tenant_id, key_id, public_key, private_key, created_at)
            -- Counting has the update done first.
            SELECT $1, $2, $3, $4, $5 FROM (SELECT count(*) FROM retired) AS done
            ON CONFLICT (tenant_id) WHERE private_key IS NOT NULL DO NOTHING
            ",
        )
        .bind(tenant.uuid())
        .bind(new.kid)
        .bind(&new.public_key)
        .bind(&new.private_key)
        .bind(new.created_at)
        .execute(self.db());
        within(async { Ok(write.await?.rows_affected() == 1) }).await
    }

    /// Deletes one of a tenant's keys; tells whether it was there.
    ///
    /// # Errors
    /// The database is away.
    pub async fn delete_license_key(
        &self,
        tenant: TenantId,
        kid: Uuid,
    ) -> Result<bool, StoreError> {
        let write = sqlx::query(
            r"
            DELETE FROM license_keys
            WHERE tenant_id = $1
                AND key_id = $2
            ",
        )
        .bind(tenant.uuid())
        .bind(kid)
        .execute(self.db());
        within(async { Ok(write.await?.rows_affected() == 1) }).await
    }
}
