//! Plans: what their pools are granted, in versions. What a PUT makes of a plan is decided in
//! [`plan_request`](super::plan_request).

use std::ops::Bound;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::no_catalogue;
use super::plan_request::{AllowancePer, Decision, PlanRequest};
use crate::http::App;
use crate::http::answer::{self, Number};
use crate::http::auth::{Allowed, scope};
use crate::http::extract::{Body, PathCode, Query};
use crate::http::page::{Page, PageQuery};
use crate::http::problem::Problem;
use crate::http::time::Stamp;
use crate::ledger::{
    Allowance, Catalogue, Credits, Denomination, Plan, PlanCode, PlanVersion, Time,
};
use crate::store::CatalogueChange;

/// The routes of plans.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(get_plans))
        .routes(routes!(put_plan))
}

/// A plan: the version in force, and those to come.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Plan)]
struct PlanBody {
    code: String,
    /// Other codes that mean this plan.
    aliases: Vec<String>,
    #[serde(flatten)]
    in_force: VersionBody,
    /// Versions that are not in force yet, the next one first.
    upcoming: Vec<VersionBody>,
}

/// A version of a plan.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PlanVersion)]
struct VersionBody {
    /// Counts up from 1 for each plan.
    version: i32,
    /// From when cycles use it.
    effective_at: Stamp,
    name: String,
    allowance: AllowanceBody,
    addons: bool,
    #[schema(value_type = Number)]
    denomination: Denomination,
    legacy_prices: bool,
}

/// What a plan grants each cycle.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Allowance)]
struct AllowanceBody {
    #[schema(value_type = AllowancePer)]
    per: &'static str,
    /// Null on `custom`.
    #[schema(value_type = Option<Number>)]
    credits: Option<Credits>,
}

impl PlanBody {
    fn of(code: &PlanCode, plan: &Plan, now: Time) -> Self {
        let mut upcoming: Vec<&PlanVersion> = plan
            .versions
            .iter()
            .filter(|version| version.effective_at > now)
            .collect();
        upcoming.sort_by_key(|version| (version.effective_at, version.version));
        Self {
            code: code.as_str().to_owned(),
            aliases: plan
                .aliases
                .iter()
                .map(|alias| alias.as_str().to_owned())
                .collect(),
            in_force: VersionBody::from(plan.version(Some(now))),
            upcoming: upcoming.into_iter().map(VersionBody::from).collect(),
        }
    }
}

impl From<&PlanVersion> for VersionBody {
    fn from(version: &PlanVersion) -> Self {
        let (per, credits) = match version.allowance {
            Allowance::PerBuilder(credits) => ("builder", Some(credits)),
            Allowance::PerPool(credits) => ("pool", Some(credits)),
            Allowance::Custom => ("custom", None),
        };
        Self {
            version: version.version,
            effective_at: Stamp(version.effective_at),
            name: version.name.clone(),
            allowance: AllowanceBody { per, credits },
            addons: version.addons,
            denomination: version.denomination,
            legacy_prices: version.legacy_prices,
        }
    }
}

/// Lists the plans
///
/// By code, each as it is now and with the versions to come.
#[utoipa::path(
    get,
    path = "/v1/plans",
    tag = "catalogue",
    params(PageQuery),
    responses((status = 200, description = "A page", body = Page<PlanBody>))
)]
async fn get_plans(
    State(app): State<App>,
    Allowed { caller, .. }: Allowed<scope::BalancesRead>,
    Query(query): Query<PageQuery>,
) -> Result<Response, Problem> {
    let page = query.read::<PlanCode>()?;
    let sold = app.store.catalogue(caller.tenant, None).await?;
    let (_, sold) = sold.ok_or_else(no_catalogue)?;
    let now = app.clock.now();
    let after = page.after.map_or(Bound::Unbounded, Bound::Excluded);
    let limit = usize::try_from(page.limit).unwrap_or(usize::MAX);
    let rows = sold.plans.range((after, Bound::Unbounded)).take(limit + 1);
    let rows = rows
        .map(|(code, plan)| PlanBody::of(code, plan, now))
        .collect();
    Ok(answer::ok(&Page::of(
        page.limit,
        rows,
        |row| row.code.clone(),
        |row| row,
    )))
}

/// Makes or changes a plan
///
/// A change adds a version that cycles use from `effective_at` on; running cycles stay as they are.
/// A PUT that repeats what the plan says already adds none. Pools on a test clock use the newest
/// version.
#[utoipa::path(
    put,
    path = "/v1/plans/{code}",
    tag = "catalogue",
    params(("code" = String, Path, description = "1 to 64 of `a-z 0-9 _ - .`")),
    request_body = PlanRequest,
    responses(
        (status = 200, description = "Changed, or as it was", body = PlanBody),
        (status = 201, description = "Made", body = PlanBody)
    )
)]
async fn put_plan(
    State(app): State<App>,
    Allowed { caller, .. }: Allowed<scope::CatalogWrite>,
    PathCode(code): PathCode,
    Body(body): Body<PlanRequest>,
) -> Result<Response, Problem> {
    let clock = app.clock.clone();
    let decide = move |_, sold: &Catalogue| {
        let mut decision = body.decide(code, sold, clock.now())?;
        let change = std::mem::replace(&mut decision.change, CatalogueChange::None);
        Ok::<_, Problem>((change, decision))
    };
    let changed = app.store.change_catalogue(caller.tenant, decide).await?;
    let Decision {
        code,
        plan,
        created,
        now,
        ..
    } = changed.ok_or_else(no_catalogue)??;
    let status = if created {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    Ok(answer::json(status, &PlanBody::of(&code, &plan, now)))
}
