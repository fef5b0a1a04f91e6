//! What tenants sell, as it is stored: read whole, remembered by version, changed one at a time.
//!
//! The tenant's `catalogue_version` goes up with every change, and a pool is read together with it:
//! so whoever holds a version may use what is remembered under it, and nobody needs to be told of
//! changes.

mod read;
mod write;

use std::sync::Arc;

use moka::sync::Cache;

use super::deadline::within;
use super::{Store, StoreError};
use crate::ledger::{Catalogue, TenantId};

pub use write::CatalogueChange;
pub(super) use write::insert_all;

/// The most catalogues that are remembered.
const MAX_REMEMBERED: u64 = 1_000;
/// How often a catalogue is read again when it is changed meanwhile.
const MAX_READS: u32 = 5;

/// Catalogues by tenant and version.
#[derive(Clone, Debug)]
pub struct CatalogueCache(Cache<(TenantId, i64), Arc<Catalogue>>);

impl Default for CatalogueCache {
    fn default() -> Self {
        Self(Cache::new(MAX_REMEMBERED))
    }
}

impl Store {
    /// What a tenant sells, and the version of that. With a `version` that is remembered nothing is
    /// read; otherwise the answer is the newest version, which may be newer than the one named.
    /// `None` when there is no such tenant.
    ///
    /// # Errors
    /// The database is away or a row is corrupt.
    pub async fn catalogue(
        &self,
        tenant: TenantId,
        version: Option<i64>,
    ) -> Result<Option<(i64, Arc<Catalogue>)>, StoreError> {
        let remembered = |version| {
            let catalogue = self.catalogues.0.get(&(tenant, version))?;
            Some((version, catalogue))
        };
        if let Some(found) = version.and_then(remembered) {
            return Ok(Some(found));
        }
        within(async {
            for _ in 0..MAX_READS {
                let Some(newest) = self.catalogue_version(tenant).await? else {
                    return Ok(None);
                };
                if let Some(found) = remembered(newest) {
                    return Ok(Some(found));
                }
                let catalogue =
                    Arc::new(read::all(&mut *self.db().acquire().await?, tenant).await?);
                // Read piece by piece, it is one catalogue only if its version still is the same.
                if self.catalogue_version(tenant).await? == Some(newest) {
                    self.catalogues
                        .0
                        .insert((tenant, newest), catalogue.clone());
                    return Ok(Some((newest, catalogue)));
                }
            }
            Err(StoreError::Contended(sqlx::Error::PoolTimedOut))
        })
        .await
    }

    async fn catalogue_version(&self, tenant: TenantId) -> Result<Option<i64>, StoreError> {
        let version = sqlx::query_scalar(
            r"
            SELECT catalogue_version
            FROM tenants
            WHERE tenant_id = $1
            ",
        )
        .bind(tenant.uuid())
        .fetch_optional(self.db())
        .await?;
        Ok(version)
    }
}
