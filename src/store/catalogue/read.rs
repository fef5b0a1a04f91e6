//! Rows of the catalogue, turned into the ledger's values.

use std::collections::BTreeMap;

use sqlx::{FromRow, PgConnection};
use uuid::Uuid;

use super::super::tenants::{TenantRecord, TenantRow};
use crate::ledger::{
    AddonTerms, Allowance, Catalogue, Code, Credits, Denomination, Operation, Plan, PlanCode,
    PlanVersion, TenantId, Time,
};
use crate::store::StoreError;

/// Everything a tenant sells. The caller sees to it that nothing changes meanwhile.
pub(super) async fn all(db: &mut PgConnection, tenant: TenantId) -> Result<Catalogue, StoreError> {
    let tenant_row: TenantRow = sqlx::query_as(
        r"
        SELECT tenant_id, name, mode, auto_provision_workspace, auto_provision_instance,
            max_debit, created_at
        FROM tenants
        WHERE tenant_id = $1
        ",
    )
    .bind(tenant.uuid())
    .fetch_one(&mut *db)
    .await?;
    let plans: Vec<PlanRow> = sqlx::query_as(
        r"
        SELECT code, aliases
        FROM plans
        WHERE tenant_id = $1
        ",
    )
    .bind(tenant.uuid())
    .fetch_all(&mut *db)
    .await?;
    let versions: Vec<VersionRow> = sqlx::query_as(
        r"
        SELECT code, version, effective_at, name, allowance_per, allowance_credits, addons,
            denomination, legacy_prices
        FROM plan_versions
        WHERE tenant_id = $1
        ORDER BY code, version
        ",
    )
    .bind(tenant.uuid())
    .fetch_all(&mut *db)
    .await?;
    let operations: Vec<OperationRow> = sqlx::query_as(
        r"
        SELECT code, name, estimate, fixed, legacy_fixed
        FROM operations
        WHERE tenant_id = $1
        ",
    )
    .bind(tenant.uuid())
    .fetch_all(&mut *db)
    .await?;
    let terms: TermsRow = sqlx::query_as(
        r"
        SELECT step, minimum, price_cents_per_step, currency, validity_months
        FROM addon_terms
        WHERE tenant_id = $1
        ",
    )
    .bind(tenant.uuid())
    .fetch_one(&mut *db)
    .await?;
    Ok(Catalogue {
        plans: read_plans(tenant, plans, versions)?,
        operations: operations
            .into_iter()
            .map(|row| row.read(tenant))
            .collect::<Result<_, StoreError>>()?,
        addon_terms: terms.read(tenant)?,
        settings: TenantRecord::try_from(tenant_row)?.settings,
    })
}

#[derive(FromRow)]
struct PlanRow {
    code: String,
    aliases: Vec<String>,
}

#[derive(FromRow)]
struct VersionRow {
    code: String,
    version: i32,
    effective_at: Time,
    name: String,
    allowance_per: String,
    allowance_credits: Option<i64>,
    addons: bool,
    denomination: i64,
    legacy_prices: bool,
}

#[derive(FromRow)]
struct OperationRow {
    code: String,
    name: String,
    estimate: i64,
    fixed: Option<i64>,
    legacy_fixed: Option<i64>,
}

#[derive(FromRow)]
struct TermsRow {
    step: i64,
    minimum: i64,
    price_cents_per_step: i64,
    currency: String,
    validity_months: i32,
}

fn corrupt(tenant: TenantId, table: &'static str, column: &'static str, id: &str) -> StoreError {
    let tenant: Uuid = tenant.uuid();
    StoreError::Corrupt {
        table,
        column,
        id: format!("{tenant} {id}"),
    }
}

fn read_plans(
    tenant: TenantId,
    plans: Vec<PlanRow>,
    versions: Vec<VersionRow>,
) -> Result<BTreeMap<PlanCode, Plan>, StoreError> {
    let bad = |table, column, id: &str| corrupt(tenant, table, column, id);
    let mut by_code: BTreeMap<String, Vec<PlanVersion>> = BTreeMap::new();
    for row in versions {
        by_code
            .entry(row.code.clone())
            .or_default()
            .push(row.read(tenant)?);
    }
    let plan = |row: PlanRow| {
        let id = row.code.clone();
        let aliases = row.aliases.into_iter().map(PlanCode::try_from);
        let aliases: Vec<PlanCode> = aliases
            .collect::<Result<_, _>>()
            .map_err(|_| bad("plans", "aliases", &id))?;
        let versions = by_code
            .remove(&id)
            .ok_or_else(|| bad("plan_versions", "version", &id))?;
        let code = PlanCode::try_from(row.code).map_err(|_| bad("plans", "code", &id))?;
        Ok((code, Plan { aliases, versions }))
    };
    plans.into_iter().map(plan).collect()
}

impl VersionRow {
    fn read(self, tenant: TenantId) -> Result<PlanVersion, StoreError> {
        let bad = |column| corrupt(tenant, "plan_versions", column, &self.code);
        let credits = self
            .allowance_credits
            .map(|units| Credits::from_units(units).ok_or_else(|| bad("allowance_credits")));
        let allowance = match (self.allowance_per.as_str(), credits.transpose()?) {
            ("builder", Some(credits)) => Allowance::PerBuilder(credits),
            ("pool", Some(credits)) => Allowance::PerPool(credits),
            ("custom", None) => Allowance::Custom,
            _ => return Err(bad("allowance_per")),
        };
        let denomination =
            Denomination::from_units(self.denomination).ok_or_else(|| bad("denomination"))?;
        Ok(PlanVersion {
            version: self.version,
            effective_at: self.effective_at,
            name: self.name,
            allowance,
            addons: self.addons,
            denomination,
            legacy_prices: self.legacy_prices,
        })
    }
}

impl OperationRow {
    fn read(self, tenant: TenantId) -> Result<(Code, Operation), StoreError> {
        let bad = |column| corrupt(tenant, "operations", column, &self.code);
        let credits = |units, column| Credits::from_units(units).ok_or_else(|| bad(column));
        let price = |units: Option<i64>, column| units.map(|units| credits(units, column));
        let operation = Operation {
            estimate: credits(self.estimate, "estimate")?,
            fixed: price(self.fixed, "fixed").transpose()?,
            legacy_fixed: price(self.legacy_fixed, "legacy_fixed").transpose()?,
            name: self.name,
        };
        let code = Code::try_from(self.code.clone()).map_err(|_| bad("code"))?;
        Ok((code, operation))
    }
}

impl TermsRow {
    fn read(self, tenant: TenantId) -> Result<AddonTerms, StoreError> {
        let credits = |units, column| {
            Credits::from_units(units).ok_or_else(|| corrupt(tenant, "addon_terms", column, ""))
        };
        Ok(AddonTerms {
            step: credits(self.step, "step")?,
            minimum: credits(self.minimum, "minimum")?,
            price_cents_per_step: self.price_cents_per_step,
            currency: self.currency,
            validity_months: self.validity_months,
        })
    }
}
