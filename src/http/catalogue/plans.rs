//! Plans: what their pools are granted. Edits add versions, so no running cycle ever changes.

use std::ops::Bound;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{no_catalogue, too_many};
use crate::http::App;
use crate::http::answer::{self, Number};
use crate::http::auth::{Allowed, scope};
use crate::http::codes;
use crate::http::extract::{Amount, Body, Object, PathCode, Query, Violations};
use crate::http::page::{Page, PageQuery};
use crate::http::problem::Problem;
use crate::http::time::Stamp;
use crate::ledger::{
    Allowance, Catalogue, Credits, Denomination, Label, Plan, PlanCode, PlanVersion, PoolKind, Time,
};
use crate::store::CatalogueChange;

/// The most plans of a tenant.
const MOST_PLANS: usize = 500;
/// The most versions of a plan.
const MOST_VERSIONS: usize = 1_000;
/// The most other names of a plan.
const MOST_ALIASES: usize = 20;

/// The routes of plans.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(get_plans)).routes(routes!(put_plan))
}

/// A plan as it is to be.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PutPlan, example = json!({
    "name": "Pro", "allowance": {"per": "builder", "credits": 800}, "addons": true,
    "denomination": 1, "legacy_prices": false, "aliases": ["flexible"]
}))]
struct PlanRequest {
    /// The name people see: 1 to 128 printable characters.
    #[schema(value_type = String)]
    name: Option<String>,
    /// What its pools are granted each cycle.
    #[schema(value_type = AllowanceRequest)]
    allowance: Option<Object<AllowanceRequest>>,
    /// Whether add-on credits may be bought. Left out: as before; `true` on a new plan.
    addons: Option<bool>,
    /// The smallest step to debit: 1, 0.1 or 0.01. Left out: as before; 1 on a new plan.
    denomination: Option<Amount>,
    /// Whether operations cost their legacy prices. Left out: as before; `false` on a new plan.
    legacy_prices: Option<bool>,
    /// Other codes that mean this plan, up to 20. Left out: as before; none on a new plan.
    aliases: Option<Vec<String>>,
    /// From when cycles use it; now when left out, not in the past. Until then the plan is as it
    /// was. Aliases change at once.
    effective_at: Option<Stamp>,
}

/// What a plan grants each cycle.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PutAllowance)]
struct AllowanceRequest {
    /// `builder`: so many credits for each builder. `pool`: for the pool, whatever its builders.
    /// `custom`: the pool itself says how many.
    #[schema(value_type = AllowancePer)]
    per: String,
    /// How many; none on `custom`.
    credits: Option<Amount>,
}

/// What an allowance is counted by.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "only its schema is used")]
enum AllowancePer {
    /// So many credits for each builder.
    Builder,
    /// So many credits for the pool.
    Pool,
    /// The pool says how many.
    Custom,
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
        let mut upcoming: Vec<&PlanVersion> =
            plan.versions.iter().filter(|version| version.effective_at > now).collect();
        upcoming.sort_by_key(|version| (version.effective_at, version.version));
        Self {
            code: code.as_str().to_owned(),
            aliases: plan.aliases.iter().map(|alias| alias.as_str().to_owned()).collect(),
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

/// What a PUT does to a plan.
#[derive(Debug)]
struct Decision {
    change: CatalogueChange,
    code: PlanCode,
    plan: Plan,
    created: bool,
    now: Time,
}

impl PlanRequest {
    /// The plan after the PUT; every rule that is broken is named.
    fn decide(self, code: PlanCode, sold: &Catalogue, now: Time) -> Result<Decision, Problem> {
        let known = sold.plans.get(&code);
        if known.is_none() && sold.plans.len() >= MOST_PLANS {
            return Err(too_many("plans", MOST_PLANS));
        }
        let effective_at = self.effective_at.map_or(now, Time::from);
        let mut violations = Violations::new();
        let aliases = self.read_aliases(&code, &mut violations);
        let version = self.read_version(known, effective_at, &mut violations);
        if let Some(version) = &version {
            check_needed_allowance(&code, version, sold, &mut violations);
        }
        let repeated = match (known, &version) {
            (Some(plan), Some(version)) => repeats(plan, version),
            _ => false,
        };
        if effective_at < now && !repeated {
            violations.add("effective_at", "must not be in the past");
        }
        let version = violations.finish_with(version)?;
        let mut plan = known.cloned().unwrap_or(Plan { aliases: Vec::new(), versions: Vec::new() });
        plan.aliases = aliases.unwrap_or(plan.aliases);
        check_names(&code, &plan.aliases, sold)?;
        let added = (!repeated).then(|| Box::new(version.clone()));
        if added.is_some() {
            plan.versions.push(version);
        }
        if plan.versions.len() > MOST_VERSIONS {
            return Err(too_many("versions of this plan", MOST_VERSIONS));
        }
        let change = if known == Some(&plan) {
            CatalogueChange::None
        } else {
            let aliases = plan.aliases.clone();
            CatalogueChange::Plan { code: code.clone(), aliases, version: added }
        };
        Ok(Decision { change, code, plan, created: known.is_none(), now })
    }

    /// The aliases that are named, each once; `None` when they are left out.
    fn read_aliases(&self, code: &PlanCode, violations: &mut Violations) -> Option<Vec<PlanCode>> {
        let named = self.aliases.as_ref()?;
        if named.len() > MOST_ALIASES {
            violations.add("aliases", format_args!("must be at most {MOST_ALIASES}"));
        }
        let mut aliases: Vec<PlanCode> = Vec::new();
        for (index, alias) in named.iter().enumerate().take(MOST_ALIASES) {
            let field = || format!("aliases[{index}]");
            match alias.parse::<PlanCode>() {
                Ok(alias) if alias == *code => violations.add(field(), "is the plan's own code"),
                Ok(alias) if aliases.contains(&alias) => violations.add(field(), "is there twice"),
                Ok(alias) => aliases.push(alias),
                Err(error) => violations.add(field(), error),
            }
        }
        Some(aliases)
    }

    /// The version that the body describes, with what it leaves out as in the version that would
    /// be in force otherwise.
    fn read_version(
        &self,
        known: Option<&Plan>,
        effective_at: Time,
        violations: &mut Violations,
    ) -> Option<PlanVersion> {
        let before = known.map(|plan| plan.version(Some(effective_at)));
        let name = violations.require("name", self.name.clone().map(Label::try_from));
        let allowance = match &self.allowance {
            Some(Object(allowance)) => allowance.read(violations),
            None => {
                violations.add("allowance", "is required");
                None
            }
        };
        let denomination = self.denomination.map(read_denomination);
        let denomination = violations.take("denomination", denomination);
        let newest = known.and_then(|plan| plan.versions.last());
        Some(PlanVersion {
            version: newest.map_or(1, |version| version.version + 1),
            effective_at,
            name: name?.as_str().to_owned(),
            allowance: allowance?,
            addons: self.addons.or(before.map(|it| it.addons)).unwrap_or(true),
            denomination: denomination
                .or(before.map(|it| it.denomination))
                .unwrap_or(Denomination::One),
            legacy_prices: self.legacy_prices.or(before.map(|it| it.legacy_prices)).unwrap_or(false),
        })
    }
}

impl AllowanceRequest {
    fn read(&self, violations: &mut Violations) -> Option<Allowance> {
        let credits = violations.take("allowance.credits", self.credits.map(Amount::requested));
        match (self.per.as_str(), self.credits) {
            ("builder" | "pool", None) => violations.add("allowance.credits", "is required"),
            ("builder", Some(_)) => return credits.map(Allowance::PerBuilder),
            ("pool", Some(_)) => return credits.map(Allowance::PerPool),
            ("custom", None) => return Some(Allowance::Custom),
            ("custom", Some(_)) => {
                violations.add("allowance.credits", "must be left out when per is custom");
            }
            _ => violations.add("allowance.per", "must be builder, pool or custom"),
        }
        None
    }
}

fn read_denomination(amount: Amount) -> Result<Denomination, &'static str> {
    let units = amount.requested().ok().map(Credits::units);
    units.and_then(Denomination::from_units).ok_or("must be 1, 0.1 or 0.01")
}

/// Whether the plan says all of this already: so repeating a PUT adds no version. It must also be
/// the newest version that says so, which is the one that pools on test clocks use.
fn repeats(plan: &Plan, version: &PlanVersion) -> bool {
    let in_force = plan.version(Some(version.effective_at));
    let number = in_force.version;
    let (version, effective_at) = (number, version.effective_at.max(in_force.effective_at));
    let _ = (version, effective_at);
    plan.versions.last().is_some_and(|newest| newest.version == number)
}

/// Plans that pools fall to, or are made on, without a word from anyone must say what they grant.
fn check_needed_allowance(
    code: &PlanCode,
    version: &PlanVersion,
    sold: &Catalogue,
    violations: &mut Violations,
) {
    if version.allowance != Allowance::Custom {
        return;
    }
    let kinds = [PoolKind::Workspace, PoolKind::Instance];
    if kinds.iter().any(|kind| kind.free_plan() == code.as_str()) {
        violations.add("allowance.per", "must not be custom: pools fall to this plan by themselves");
    }
    if kinds.iter().any(|kind| sold.auto_plan(*kind) == Some(code)) {
        violations.add("allowance.per", "must not be custom: the tenant's pools are made on it");
    }
}

/// 409 unless the plan's code and aliases are no other plan's.
fn check_names(code: &PlanCode, aliases: &[PlanCode], sold: &Catalogue) -> Result<(), Problem> {
    for name in aliases.iter().chain([code]) {
        if let Some((other, _)) = sold.plan(name).filter(|(other, _)| *other != code) {
            let detail = format!("{name} already means the plan {other}");
            return Err(Problem::new(codes::ALIAS_TAKEN, detail)
                .with("alias", name.as_str())
                .with("plan", other.as_str()));
        }
    }
    Ok(())
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
    let rows = rows.map(|(code, plan)| PlanBody::of(code, plan, now)).collect();
    Ok(answer::ok(&Page::of(page.limit, rows, |row| row.code.clone(), |row| row)))
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
    let Decision { code, plan, created, now, .. } = changed.ok_or_else(no_catalogue)??;
    let status = if created { StatusCode::CREATED } else { StatusCode::OK };
    Ok(answer::json(status, &PlanBody::of(&code, &plan, now)))
}
