//! API keys: making, finding, listing and revoking them. Only a hash of a secret is ever stored.
//!
//! What a key looks like is in [`secret`], what it may do in [`scope`]; how long a key that was
//! read is trusted is decided in [`cache`].

mod cache;
mod scope;
mod secret;

use std::collections::BTreeSet;
use std::sync::Arc;

use sqlx::FromRow;
use uuid::Uuid;

use super::{Store, StoreError, TenantMode};
use crate::ledger::{KeyId, Label, PoolName, TenantId, Time};

pub use cache::KeyCache;
pub use scope::{Scope, Scopes, UnknownScope};
pub use secret::{KeySecret, SecretHash};

/// A key that may be used until it expires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRecord {
    /// Which.
    pub id: KeyId,
    /// Whose.
    pub tenant: TenantId,
    /// Live or sandbox.
    pub mode: TenantMode,
    /// The name people see.
    pub name: Label,
    /// What it may do.
    pub scopes: Scopes,
    /// The pools it is bound to; all of the tenant's when `None`.
    pub pools: Option<Arc<BTreeSet<PoolName>>>,
    /// When it was made.
    pub created_at: Time,
    /// Until when it is good.
    pub expires_at: Option<Time>,
    /// When it was last seen, to the minute.
    pub last_used_at: Option<Time>,
}

#[derive(FromRow)]
struct KeyRow {
    tenant_id: Uuid,
    key_id: Uuid,
    mode: String,
    name: String,
    scopes: Vec<String>,
    pools: Option<Vec<String>>,
    created_at: Time,
    expires_at: Option<Time>,
    last_used_at: Option<Time>,
}

impl TryFrom<KeyRow> for KeyRecord {
    type Error = StoreError;

    fn try_from(row: KeyRow) -> Result<Self, StoreError> {
        let id = row.key_id.to_string();
        let corrupt = |column| StoreError::Corrupt {
            table: "api_keys",
            column,
            id: id.clone(),
        };
        let scopes = row.scopes.iter().map(|scope| scope.parse::<Scope>());
        let pools = row.pools.map(|names| {
            let names = names.iter().map(|name| name.parse::<PoolName>());
            names.collect::<Result<BTreeSet<_>, _>>().map(Arc::new)
        });
        Ok(Self {
            id: row.key_id.into(),
            tenant: row.tenant_id.into(),
            mode: row.mode.parse().map_err(|_| corrupt("mode"))?,
            name: row.name.try_into().map_err(|_| corrupt("name"))?,
            scopes: scopes
                .collect::<Result<Scopes, _>>()
                .map_err(|_| corrupt("scopes"))?,
            pools: pools.transpose().map_err(|_| corrupt("pools"))?,
            created_at: row.created_at,
            expires_at: row.expires_at,
            last_used_at: row.last_used_at,
        })
    }
}

impl Store {
    /// Stores a new key.
    ///
    /// # Errors
    /// There is no such tenant (constraint `api_keys_tenant_fk`), or the database is away.
    pub async fn insert_key(&self, key: &KeyRecord, hash: SecretHash) -> Result<(), StoreError> {
        let scopes: Vec<&str> = key.scopes.iter().map(Scope::as_str).collect();
        let pools: Option<Vec<String>> = key
            .pools
            .as_ref()
            .map(|names| names.iter().map(PoolName::to_string).collect());
        sqlx::query(
            r"
            INSERT INTO api_keys
                (tenant_id, key_id, name, scopes, pools, secret_hash, created_at, expires_at)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
            ",
        )
        .bind(key.tenant.uuid())
        .bind(key.id.uuid())
        .bind(key.name.as_str())
        .bind(scopes)
        .bind(pools)
        .bind(&hash.as_bytes()[..])
        .bind(key.created_at)
        .bind(key.expires_at)
        .execute(self.db())
        .await?;
        Ok(())
    }

    /// A tenant's keys that are not revoked, the newest first, after the one with this instant and
    /// id.
    ///
    /// # Errors
    /// The database is away or a row is corrupt.
    pub async fn keys(
        &self,
        tenant: TenantId,
        after: Option<(Time, Uuid)>,
        limit: i64,
    ) -> Result<Vec<KeyRecord>, StoreError> {
        let (after_at, after_id) = after.unzip();
        let rows: Vec<KeyRow> = sqlx::query_as(
            r"
            SELECT k.tenant_id, k.key_id, t.mode, k.name, k.scopes, k.pools, k.created_at,
                k.expires_at, k.last_used_at
            FROM api_keys AS k
            JOIN tenants AS t ON t.tenant_id = k.tenant_id
            WHERE k.tenant_id = $1
                AND k.revoked_at IS NULL
                AND ($2::timestamptz IS NULL OR (k.created_at, k.key_id) < ($2, $3))
            ORDER BY k.created_at DESC, k.key_id DESC
            LIMIT $4
            ",
        )
        .bind(tenant.uuid())
        .bind(after_at)
        .bind(after_id)
        .bind(limit)
        .fetch_all(self.db())
        .await?;
        rows.into_iter().map(KeyRecord::try_from).collect()
    }

    /// Revokes a key: this process refuses it at once, others when they next read it, which they do
    /// every two seconds. `false` when the tenant has no such key; a revoked one stays revoked.
    ///
    /// # Errors
    /// The database is away.
    pub async fn revoke_key(
        &self,
        tenant: TenantId,
        key: KeyId,
        now: Time,
    ) -> Result<bool, StoreError> {
        let hash: Option<Vec<u8>> = sqlx::query_scalar(
            r"
            UPDATE api_keys
            SET revoked_at = coalesce(revoked_at, $3)
            WHERE tenant_id = $1
                AND key_id = $2
            RETURNING secret_hash
            ",
        )
        .bind(tenant.uuid())
        .bind(key.uuid())
        .bind(now)
        .fetch_optional(self.db())
        .await?;
        if let Some(hash) = hash.as_deref().and_then(SecretHash::from_stored) {
            self.keys.forget(hash);
        }
        Ok(hash.is_some())
    }

    /// The key with this secret, read from the database; `None` when there is none or it was
    /// revoked. The one read that cannot name its tenant: it finds it.
    async fn read_key(&self, hash: SecretHash) -> Result<Option<KeyRecord>, StoreError> {
        let row: Option<KeyRow> = sqlx::query_as(
            r"
            SELECT k.tenant_id, k.key_id, t.mode, k.name, k.scopes, k.pools, k.created_at,
                k.expires_at, k.last_used_at
            FROM api_keys AS k
            JOIN tenants AS t ON t.tenant_id = k.tenant_id
            WHERE k.secret_hash = $1
                AND k.revoked_at IS NULL
            ",
        )
        .bind(&hash.as_bytes()[..])
        .fetch_optional(self.db())
        .await?;
        row.map(KeyRecord::try_from).transpose()
    }

    /// Notes that a key was used, unless that was noted less than a minute before `now`.
    async fn touch_key(&self, key: &KeyRecord, now: Time) -> Result<(), StoreError> {
        sqlx::query(
            r"
            UPDATE api_keys
            SET last_used_at = $3
            WHERE tenant_id = $1
                AND key_id = $2
                AND (last_used_at IS NULL OR last_used_at <= $3 - interval '1 minute')
            ",
        )
        .bind(key.tenant.uuid())
        .bind(key.id.uuid())
        .bind(now)
        .execute(self.db())
        .await?;
        Ok(())
    }
}
