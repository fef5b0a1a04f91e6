//! Changes of a tenant and of what it sells: one at a time, decided on what is locked.
//!
//! What is allowed is not decided here: the caller's function is, on what was read.

use sqlx::{PgConnection, Postgres, Transaction};

use super::read;
use crate::ledger::{
    AddonTerms, Allowance, Catalogue, Code, Credits, Denomination, Operation, PlanCode,
    PlanVersion, TenantId,
};
use crate::store::deadline::undropped;
use crate::store::tenants::{self, TenantRecord};
use crate::store::{Store, StoreError};

/// A change to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CatalogueChange {
    /// None: it is as it should be.
    None,
    /// The tenant's name and settings.
    Tenant(Box<TenantRecord>),
    /// A plan, new or not: all its aliases, and a version that is added.
    Plan {
        /// Its code.
        code: PlanCode,
        /// What else it is called.
        aliases: Vec<PlanCode>,
        /// The version to add, if any.
        version: Option<Box<PlanVersion>>,
    },
    /// An operation, new or not.
    Operation {
        /// Its code.
        code: Code,
        /// What it is from now on.
        operation: Box<Operation>,
    },
    /// The add-on terms.
    AddonTerms(Box<AddonTerms>),
}

impl Store {
    /// Changes a tenant or its catalogue as `decide` says on what is stored now; nobody else
    /// changes it meanwhile. `None` when there is no such tenant; what `decide` refuses with is
    /// handed back, and nothing is changed then.
    ///
    /// # Errors
    /// The database is away.
    pub async fn change_catalogue<T, E>(
        &self,
        tenant: TenantId,
        decide: impl FnOnce(TenantRecord, &Catalogue) -> Result<(CatalogueChange, T), E>
        + Send
        + 'static,
    ) -> Result<Option<Result<T, E>>, StoreError>
    where
        T: Send + 'static,
        E: Send + 'static,
    {
        let db = self.db().clone();
        undropped(async move {
            let mut tx = db.begin().await?;
            let Some(row) = tenants::lock(&mut tx, tenant).await? else {
                return Ok(None);
            };
            let catalogue = read::all(&mut tx, tenant).await?;
            let (change, answer) = match decide(TenantRecord::try_from(row)?, &catalogue) {
                Ok(decided) => decided,
                Err(refusal) => return Ok(Some(Err(refusal))),
            };
            apply(&mut tx, tenant, change).await?;
            tx.commit().await?;
            Ok(Some(Ok(answer)))
        })
        .await
    }
}

async fn apply(
    tx: &mut Transaction<'_, Postgres>,
    tenant: TenantId,
    change: CatalogueChange,
) -> Result<(), StoreError> {
    match change {
        CatalogueChange::None => return Ok(()),
        CatalogueChange::Tenant(record) => tenants::save(tx, &record).await?,
        CatalogueChange::Plan {
            code,
            aliases,
            version,
        } => {
            save_plan(tx, tenant, &code, &aliases).await?;
            if let Some(version) = version {
                insert_version(tx, tenant, &code, &version).await?;
            }
        }
        CatalogueChange::Operation { code, operation } => {
            save_operation(tx, tenant, &code, &operation).await?;
        }
        CatalogueChange::AddonTerms(terms) => save_addon_terms(tx, tenant, &terms).await?,
    }
    tenants::count_up(tx, tenant).await
}

/// Stores a new tenant's whole catalogue.
pub(in crate::store) async fn insert_all(
    tx: &mut Transaction<'_, Postgres>,
    tenant: TenantId,
    catalogue: &Catalogue,
) -> Result<(), StoreError> {
    for (code, plan) in &catalogue.plans {
        save_plan(tx, tenant, code, &plan.aliases).await?;
        for version in &plan.versions {
            insert_version(tx, tenant, code, version).await?;
        }
    }
    for (code, operation) in &catalogue.operations {
        save_operation(tx, tenant, code, operation).await?;
    }
    save_addon_terms(tx, tenant, &catalogue.addon_terms).await
}

async fn save_plan(
    db: &mut PgConnection,
    tenant: TenantId,
    code: &PlanCode,
    aliases: &[PlanCode],
) -> Result<(), StoreError> {
    let aliases: Vec<&str> = aliases.iter().map(PlanCode::as_str).collect();
    sqlx::query(
        r"
        INSERT INTO plans (tenant_id, code, aliases)
        VALUES ($1, $2, $3)
        ON CONFLICT (tenant_id, code) DO UPDATE
        SET aliases = excluded.aliases
        ",
    )
    .bind(tenant.uuid())
    .bind(code.as_str())
    .bind(aliases)
    .execute(db)
    .await?;
    Ok(())
}

async fn insert_version(
    db: &mut PgConnection,
    tenant: TenantId,
    code: &PlanCode,
    version: &PlanVersion,
) -> Result<(), StoreError> {
    let (per, credits) = match version.allowance {
        Allowance::PerBuilder(credits) => ("builder", Some(credits)),
        Allowance::PerPool(credits) => ("pool", Some(credits)),
        Allowance::Custom => ("custom", None),
    };
    sqlx::query(
        r"
        INSERT INTO plan_versions
            (tenant_id, code, version, effective_at, name, allowance_per, allowance_credits,
            addons, denomination, legacy_prices)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
        ",
    )
    .bind(tenant.uuid())
    .bind(code.as_str())
    .bind(version.version)
    .bind(version.effective_at)
    .bind(version.name.as_str())
    .bind(per)
    .bind(credits.map(Credits::units))
    .bind(version.addons)
    .bind(Denomination::units(version.denomination))
    .bind(version.legacy_prices)
    .execute(db)
    .await?;
    Ok(())
}

async fn save_operation(
    db: &mut PgConnection,
    tenant: TenantId,
    code: &Code,
    operation: &Operation,
) -> Result<(), StoreError> {
    sqlx::query(
        r"
        INSERT INTO operations (tenant_id, code, name, estimate, fixed, legacy_fixed)
        VALUES ($1, $2, $3, $4, $5, $6)
        ON CONFLICT (tenant_id, code) DO UPDATE
        SET name = excluded.name,
            estimate = excluded.estimate,
            fixed = excluded.fixed,
            legacy_fixed = excluded.legacy_fixed
        ",
    )
    .bind(tenant.uuid())
    .bind(code.as_str())
    .bind(operation.name.as_str())
    .bind(operation.estimate.units())
    .bind(operation.fixed.map(Credits::units))
    .bind(operation.legacy_fixed.map(Credits::units))
    .execute(db)
    .await?;
    Ok(())
}

async fn save_addon_terms(
    db: &mut PgConnection,
    tenant: TenantId,
    terms: &AddonTerms,
) -> Result<(), StoreError> {
    sqlx::query(
        r"
        INSERT INTO addon_terms
            (tenant_id, step, minimum, price_cents_per_step, currency, validity_months)
        VALUES ($1, $2, $3, $4, $5, $6)
        ON CONFLICT (tenant_id) DO UPDATE
        SET step = excluded.step,
            minimum = excluded.minimum,
            price_cents_per_step = excluded.price_cents_per_step,
            currency = excluded.currency,
            validity_months = excluded.validity_months
        ",
    )
    .bind(tenant.uuid())
    .bind(terms.step.units())
    .bind(terms.minimum.units())
    .bind(terms.price_cents_per_step)
    .bind(terms.currency.as_str())
    .bind(terms.validity_months)
    .execute(db)
    .await?;
    Ok(())
}
