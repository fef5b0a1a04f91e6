//! Tenants and their settings. What a tenant sells is in [`catalogue`](super::catalogue).

use std::fmt;
use std::str::FromStr;

use sqlx::{FromRow, Postgres, Transaction};
use uuid::Uuid;

use super::deadline::undropped;
use super::{Store, StoreError};
use crate::ledger::{AutoProvision, Catalogue, Credits, Label, PlanCode, Settings, TenantId, Time};

/// Whether a tenant is real or for trying things out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TenantMode {
    /// Real.
    Live,
    /// For trying things out: may use test clocks.
    Sandbox,
}

/// A word that is no mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be live or sandbox")]
pub struct UnknownMode;

/// A tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantRecord {
    /// Which.
    pub id: TenantId,
    /// The name people see.
    pub name: Label,
    /// Live or sandbox.
    pub mode: TenantMode,
    /// Its settings.
    pub settings: Settings,
    /// When it was made.
    pub created_at: Time,
}

impl TenantMode {
    /// The word in the API and in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Sandbox => "sandbox",
        }
    }
}

impl FromStr for TenantMode {
    type Err = UnknownMode;

    fn from_str(text: &str) -> Result<Self, UnknownMode> {
        match text {
            "live" => Ok(Self::Live),
            "sandbox" => Ok(Self::Sandbox),
            _ => Err(UnknownMode),
        }
    }
}

impl fmt::Display for TenantMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[derive(FromRow)]
pub(super) struct TenantRow {
    tenant_id: Uuid,
    name: String,
    mode: String,
    auto_provision_workspace: Option<String>,
    auto_provision_instance: Option<String>,
    max_debit: i64,
    created_at: Time,
}

impl TryFrom<TenantRow> for TenantRecord {
    type Error = StoreError;

    fn try_from(row: TenantRow) -> Result<Self, StoreError> {
        let id = row.tenant_id;
        let corrupt = |column| corrupt(id, column);
        let plan = |code: Option<String>, column| {
            code.map(PlanCode::try_from)
                .transpose()
                .map_err(|_| corrupt(column))
        };
        let workspace = plan(row.auto_provision_workspace, "auto_provision_workspace")?;
        let instance = plan(row.auto_provision_instance, "auto_provision_instance")?;
        let any = workspace.is_some() || instance.is_some();
        Ok(Self {
            id: id.into(),
            name: row.name.try_into().map_err(|_| corrupt("name"))?,
            mode: row.mode.parse().map_err(|_| corrupt("mode"))?,
            settings: Settings {
                auto_provision: any.then_some(AutoProvision {
                    workspace,
                    instance,
                }),
                max_debit: Credits::from_units(row.max_debit).ok_or(corrupt("max_debit"))?,
            },
            created_at: row.created_at,
        })
    }
}

fn corrupt(id: Uuid, column: &'static str) -> StoreError {
    StoreError::Corrupt {
        table: "tenants",
        column,
        id: id.to_string(),
    }
}

impl Store {
    /// Stores a new tenant with what it sells.
    ///
    /// # Errors
    /// The database is away.
    pub async fn create_tenant(
        &self,
        tenant: TenantRecord,
        catalogue: Catalogue,
    ) -> Result<(), StoreError> {
        let db = self.db().clone();
        undropped(async move {
            let mut tx = db.begin().await?;
            sqlx::query(
                r"
                INSERT INTO tenants
                    (tenant_id, name, mode, max_debit, catalogue_version, created_at)
                VALUES ($1, $2, $3, $4, 1, $5)
                ",
            )
            .bind(tenant.id.uuid())
            .bind(tenant.name.as_str())
            .bind(tenant.mode.as_str())
            .bind(tenant.settings.max_debit.units())
            .bind(tenant.created_at)
            .execute(&mut *tx)
            .await?;
            super::catalogue::insert_all(&mut tx, tenant.id, &catalogue).await?;
            tx.commit().await?;
            Ok(())
        })
        .await
    }

    /// A tenant.
    ///
    /// # Errors
    /// The database is away or the row is corrupt.
    pub async fn find_tenant(&self, id: TenantId) -> Result<Option<TenantRecord>, StoreError> {
        let row: Option<TenantRow> = sqlx::query_as(
            r"
            SELECT tenant_id, name, mode, auto_provision_workspace, auto_provision_instance,
                max_debit, created_at
            FROM tenants
            WHERE tenant_id = $1
            ",
        )
        .bind(id.uuid())
        .fetch_optional(self.db())
        .await?;
        row.map(TenantRecord::try_from).transpose()
    }

    /// All tenants, the newest first, after the one with this instant and id.
    ///
    /// # Errors
    /// The database is away or a row is corrupt.
    pub async fn tenants(
        &self,
        after: Option<(Time, Uuid)>,
        limit: i64,
    ) -> Result<Vec<TenantRecord>, StoreError> {
        let (after_at, after_id) = after.unzip();
        let rows: Vec<TenantRow> = sqlx::query_as(
            r"
            SELECT tenant_id, name, mode, auto_provision_workspace, auto_provision_instance,
                max_debit, created_at
            FROM tenants
            WHERE ($1::timestamptz IS NULL OR (created_at, tenant_id) < ($1, $2))
            ORDER BY created_at DESC, tenant_id DESC
            LIMIT $3
            ",
        )
        .bind(after_at)
        .bind(after_id)
        .bind(limit)
        .fetch_all(self.db())
        .await?;
        rows.into_iter().map(TenantRecord::try_from).collect()
    }
}

/// Reads a tenant and keeps others from changing it or its catalogue until the transaction ends.
pub(super) async fn lock(
    tx: &mut Transaction<'_, Postgres>,
    id: TenantId,
) -> Result<Option<TenantRow>, StoreError> {
    let row = sqlx::query_as(
        r"
        SELECT tenant_id, name, mode, auto_provision_workspace, auto_provision_instance,
            max_debit, created_at
        FROM tenants
        WHERE tenant_id = $1
        -- Not the strongest lock: new pools, which refer to the tenant, need not wait.
        FOR NO KEY UPDATE
        ",
    )
    .bind(id.uuid())
    .fetch_optional(&mut **tx)
    .await?;
    Ok(row)
}

/// Saves a locked tenant's name and settings.
pub(super) async fn save(
    tx: &mut Transaction<'_, Postgres>,
    tenant: &TenantRecord,
) -> Result<(), StoreError> {
    let auto = tenant.settings.auto_provision.as_ref();
    let workspace = auto.and_then(|plans| plans.workspace.as_ref());
    let instance = auto.and_then(|plans| plans.instance.as_ref());
    sqlx::query(
        r"
        UPDATE tenants
        SET name = $2,
            auto_provision_workspace = $3,
            auto_provision_instance = $4,
            max_debit = $5
        WHERE tenant_id = $1
        ",
    )
    .bind(tenant.id.uuid())
    .bind(tenant.name.as_str())
    .bind(workspace.map(PlanCode::as_str))
    .bind(instance.map(PlanCode::as_str))
    .bind(tenant.settings.max_debit.units())
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Counts the version of a locked tenant's catalogue up.
pub(super) async fn count_up(
    tx: &mut Transaction<'_, Postgres>,
    id: TenantId,
) -> Result<(), StoreError> {
    sqlx::query(
        r"
        UPDATE tenants
        SET catalogue_version = catalogue_version + 1
        WHERE tenant_id = $1
        ",
    )
    .bind(id.uuid())
    .execute(&mut **tx)
    .await?;
    Ok(())
}
