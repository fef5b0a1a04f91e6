//! Tenants and their settings: for the operator only. Their keys are in [`keys`](super::keys).

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::App;
use super::answer::{self, Number};
use super::auth::Operator;
use super::extract::{Amount, Body, Object, PathId, Query, Violations, patch};
use super::page::{Page, PageQuery};
use super::problem::Problem;
use super::time::Stamp;
use crate::ledger::{
    Allowance, AutoProvision, Catalogue, Credits, Label, Patch, Plan, PlanCode, Settings, TenantId,
    Time,
};
use crate::store::{CatalogueChange, TenantMode, TenantRecord};

/// The routes of tenants.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(post_tenant, get_tenants))
        .routes(routes!(get_tenant, patch_tenant))
}

/// A tenant to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewTenant, example = json!({"name": "Acme", "mode": "live"}))]
struct NewTenantRequest {
    /// The name people see: 1 to 128 printable characters.
    #[schema(value_type = String)]
    name: Option<String>,
    /// `live`, or `sandbox` for trying things out with test clocks. Fixed from then on.
    #[schema(value_type = ModeOfTenant)]
    mode: Option<String>,
}

/// Whether a tenant is real or for trying things out.
#[derive(ToSchema)]
#[schema(as = TenantMode, rename_all = "snake_case")]
#[expect(dead_code, reason = "only its schema is used")]
pub(super) enum ModeOfTenant {
    /// Real.
    Live,
    /// May use test clocks.
    Sandbox,
}

/// A change of a tenant: what is left out stays.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = TenantChange, example = json!({
    "settings": {"auto_provision": {"workspace": "free", "instance": "basic"}}
}))]
struct TenantChangeRequest {
    /// The name people see.
    #[serde(default, deserialize_with = "patch")]
    #[schema(value_type = Option<String>, nullable = false)]
    name: Patch<String>,
    /// The settings to change.
    #[schema(value_type = Option<SettingsRequest>)]
    settings: Option<Object<SettingsRequest>>,
}

/// Settings to change: what is left out stays, `null` is the default again.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SettingsChange)]
struct SettingsRequest {
    /// The plans of pools that are made when first used; `null`: none are made.
    #[serde(default, deserialize_with = "patch")]
    #[schema(value_type = Option<AutoProvisionBody>)]
    auto_provision: Patch<Object<AutoProvisionBody>>,
    /// The most one debit may take; 1000000000 by default.
    #[serde(default, deserialize_with = "patch")]
    #[schema(value_type = Option<Amount>)]
    max_debit_credits: Patch<Amount>,
}

/// The plans of pools that are made when first used.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = AutoProvision, example = json!({"workspace": "free", "instance": "basic"}))]
struct AutoProvisionBody {
    /// The code of a plan, for workspaces; none are made when null.
    workspace: Option<String>,
    /// The code of a plan, for instances; none are made when null.
    instance: Option<String>,
}

/// A tenant.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Tenant)]
struct TenantBody {
    id: Uuid,
    name: String,
    #[schema(value_type = ModeOfTenant)]
    mode: &'static str,
    settings: SettingsBody,
    created_at: Stamp,
}

/// A tenant's settings.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Settings)]
struct SettingsBody {
    auto_provision: Option<AutoProvisionBody>,
    #[schema(value_type = Number)]
    max_debit_credits: Credits,
}

impl From<TenantRecord> for TenantBody {
    fn from(tenant: TenantRecord) -> Self {
        let text = |code: PlanCode| code.as_str().to_owned();
        let auto_provision = tenant
            .settings
            .auto_provision
            .map(|plans| AutoProvisionBody {
                workspace: plans.workspace.map(text),
                instance: plans.instance.map(text),
            });
        Self {
            id: tenant.id.uuid(),
            name: tenant.name.as_str().to_owned(),
            mode: tenant.mode.as_str(),
            settings: SettingsBody {
                auto_provision,
                max_debit_credits: tenant.settings.max_debit,
            },
            created_at: Stamp(tenant.created_at),
        }
    }
}

impl TenantChangeRequest {
    /// The tenant as it is to be; every rule that is broken is named.
    fn apply(self, mut tenant: TenantRecord, sold: &Catalogue) -> Result<TenantRecord, Problem> {
        let mut violations = Violations::new();
        match self.name {
            Patch::Keep => {}
            Patch::Clear => violations.add("name", "must not be null"),
            Patch::Set(name) => {
                let name = violations.keep("name", Label::try_from(name));
                tenant.name = name.unwrap_or(tenant.name);
            }
        }
        if let Some(Object(settings)) = self.settings {
            settings.apply(&mut tenant.settings, sold, &mut violations);
        }
        violations.finish()?;
        Ok(tenant)
    }
}

impl SettingsRequest {
    fn apply(self, settings: &mut Settings, sold: &Catalogue, violations: &mut Violations) {
        match self.max_debit_credits {
            Patch::Keep => {}
            Patch::Clear => settings.max_debit = Credits::MAX_REQUEST,
            Patch::Set(amount) => {
                let maximum = violations.keep("settings.max_debit_credits", amount.requested());
                settings.max_debit = maximum.unwrap_or(settings.max_debit);
            }
        }
        match self.auto_provision {
            Patch::Keep => {}
            Patch::Clear => settings.auto_provision = None,
            Patch::Set(Object(AutoProvisionBody {
                workspace,
                instance,
            })) => {
                let mut plan = |field, code: Option<String>| {
                    violations.take(field, code.map(|code| provisionable(&code, sold)))
                };
                let workspace = plan("settings.auto_provision.workspace", workspace);
                let instance = plan("settings.auto_provision.instance", instance);
                let any = workspace.is_some() || instance.is_some();
                settings.auto_provision = any.then_some(AutoProvision {
                    workspace,
                    instance,
                });
            }
        }
    }
}

/// The plan that a code or an alias means, if pools can be made on it with nothing else said.
fn provisionable(code: &str, sold: &Catalogue) -> Result<PlanCode, &'static str> {
    let code = code.parse().ok();
    let found = code.and_then(|code| sold.plan(&code).map(|(code, plan)| (code.clone(), plan)));
    let (code, plan) = found.ok_or("is no plan of this tenant")?;
    if may_need_allowance(plan) {
        return Err("must be a plan with an allowance of its own");
    }
    Ok(code)
}

/// Whether a pool may have to say its own allowance on the plan, now or later.
pub(super) fn may_need_allowance(plan: &Plan) -> bool {
    plan.versions
        .iter()
        .any(|version| version.allowance == Allowance::Custom)
}

/// Makes a tenant
///
/// With the default plans, operations and add-on terms. Needs the operator's key.
#[utoipa::path(
    post,
    path = "/v1/tenants",
    tag = "tenants",
    request_body = NewTenantRequest,
    responses((status = 201, description = "Made", body = TenantBody))
)]
async fn post_tenant(
    State(app): State<App>,
    Operator: Operator,
    Body(body): Body<NewTenantRequest>,
) -> Result<Response, Problem> {
    let mut violations = Violations::new();
    let name = violations.require("name", body.name.map(Label::try_from));
    let mode = violations.require("mode", body.mode.map(|mode| mode.parse::<TenantMode>()));
    let (name, mode) = violations.finish_with(name.zip(mode))?;
    let now = app.clock.now();
    let catalogue = Catalogue::initial(now);
    let tenant = TenantRecord {
        id: TenantId::from(Uuid::now_v7()),
        name,
        mode,
        settings: catalogue.settings.clone(),
        created_at: now,
    };
    app.store.create_tenant(tenant.clone(), catalogue).await?;
    Ok(answer::json(StatusCode::CREATED, &TenantBody::from(tenant)))
}

/// Lists the tenants
///
/// Newest first. Needs the operator's key.
#[utoipa::path(
    get,
    path = "/v1/tenants",
    tag = "tenants",
    params(PageQuery),
    responses((status = 200, description = "A page", body = Page<TenantBody>))
)]
async fn get_tenants(
    State(app): State<App>,
    Operator: Operator,
    Query(query): Query<PageQuery>,
) -> Result<Response, Problem> {
    let page = query.read::<(Time, Uuid)>()?;
    let tenants = app
        .store
        .tenants(page.after, i64::from(page.limit) + 1)
        .await?;
    let key = |tenant: &TenantRecord| (tenant.created_at, tenant.id);
    Ok(answer::ok(&Page::of(
        page.limit,
        tenants,
        key,
        TenantBody::from,
    )))
}

/// Reads a tenant
///
/// Needs the operator's key.
#[utoipa::path(
    get,
    path = "/v1/tenants/{id}",
    tag = "tenants",
    params(("id" = Uuid, Path)),
    responses((status = 200, description = "The tenant", body = TenantBody))
)]
async fn get_tenant(
    State(app): State<App>,
    Operator: Operator,
    PathId(id): PathId,
) -> Result<Response, Problem> {
    let tenant = app.store.find_tenant(TenantId::from(id)).await?;
    let tenant = tenant.ok_or_else(|| Problem::not_found("tenant"))?;
    Ok(answer::ok(&TenantBody::from(tenant)))
}

/// Changes a tenant
///
/// What is left out stays as it is. Needs the operator's key.
#[utoipa::path(
    patch,
    path = "/v1/tenants/{id}",
    tag = "tenants",
    params(("id" = Uuid, Path)),
    request_body = TenantChangeRequest,
    responses((status = 200, description = "The tenant as it is now", body = TenantBody))
)]
async fn patch_tenant(
    State(app): State<App>,
    Operator: Operator,
    PathId(id): PathId,
    Body(body): Body<TenantChangeRequest>,
) -> Result<Response, Problem> {
    let change = move |before: TenantRecord, sold: &Catalogue| {
        let after = body.apply(before.clone(), sold)?;
        let change = match after == before {
            true => CatalogueChange::None,
            false => CatalogueChange::Tenant(Box::new(after.clone())),
        };
        Ok::<_, Problem>((change, after))
    };
    let changed = app
        .store
        .change_catalogue(TenantId::from(id), change)
        .await?;
    let tenant = changed.ok_or_else(|| Problem::not_found("tenant"))??;
    Ok(answer::ok(&TenantBody::from(tenant)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::extract::parse_json;

    fn tenant() -> (TenantRecord, Catalogue) {
        let now = "2026-01-01T00:00:00Z".parse().expect("a time");
        let sold = Catalogue::initial(now);
        let record = TenantRecord {
            id: TenantId::from(Uuid::nil()),
            name: "Acme".parse().expect("a name"),
            mode: TenantMode::Live,
            settings: sold.settings.clone(),
            created_at: now,
        };
        (record, sold)
    }

    fn changed(json: &str) -> Result<TenantRecord, serde_json::Value> {
        let (record, sold) = tenant();
        let change = parse_json::<TenantChangeRequest>(json.as_bytes());
        let result = change.and_then(|change| change.apply(record, &sold));
        result.map_err(|problem| serde_json::to_value(problem.body("r")).expect("a body"))
    }

    #[test]
    fn what_is_left_out_stays_and_null_is_the_default() {
        let (before, _) = tenant();
        assert_eq!(changed("{}"), Ok(before.clone()));
        assert_eq!(changed(r#"{"settings":{}}"#), Ok(before.clone()));
        let lower = changed(r#"{"settings":{"max_debit_credits":12.5}}"#).expect("good");
        assert_eq!(lower.settings.max_debit.units(), 1_250);
        let null = changed(r#"{"settings":{"max_debit_credits":null,"auto_provision":null}}"#);
        assert_eq!(null, Ok(before));
    }

    #[test]
    fn an_alias_is_kept_as_the_plans_own_code() {
        let json = r#"{"settings":{"auto_provision":{"workspace":"flexible"}}}"#;
        let plans = changed(json)
            .expect("good")
            .settings
            .auto_provision
            .expect("plans");
        assert_eq!(plans.workspace.as_ref().map(PlanCode::as_str), Some("pro"));
        assert_eq!(plans.instance, None);
    }

    #[test]
    fn every_broken_rule_is_named() {
        let body = changed(
            r#"{"name":null,"settings":{"max_debit_credits":0,
                "auto_provision":{"workspace":"gold","instance":"enterprise"}}}"#,
        )
        .expect_err("four violations");
        let fields: Vec<_> = (0..4).map(|n| body["errors"][n]["field"].clone()).collect();
        let expected = [
            "name",
            "settings.max_debit_credits",
            "settings.auto_provision.workspace",
            "settings.auto_provision.instance",
        ];
        assert_eq!(fields, expected);
    }
}
