//! The PUT of a plan: what it asks for, and what that makes of the plan.
//!
//! Nothing is read or written here: the plan is decided on what is stored, by one function.

use serde::Deserialize;
use utoipa::ToSchema;

use super::too_many;
use crate::http::codes;
use crate::http::extract::{Amount, Object, Violations};
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

/// A plan as it is to be.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PutPlan, example = json!({
    "name": "Pro", "allowance": {"per": "builder", "credits": 800}, "addons": true,
    "denomination": 1, "legacy_prices": false, "aliases": ["flexible"]
}))]
pub(super) struct PlanRequest {
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
pub(super) struct AllowanceRequest {
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
pub(super) enum AllowancePer {
    /// So many credits for each builder.
    Builder,
    /// So many credits for the pool.
    Pool,
    /// The pool says how many.
    Custom,
}

/// What a PUT does to a plan.
#[derive(Debug)]
pub(super) struct Decision {
    pub(super) change: CatalogueChange,
    pub(super) code: PlanCode,
    pub(super) plan: Plan,
    pub(super) created: bool,
    pub(super) now: Time,
}

impl PlanRequest {
    /// The same with a name, where it has none.
    pub(super) fn or_named(self, name: impl FnOnce() -> Option<String>) -> Self {
        Self {
            name: self.name.or_else(name),
            ..self
        }
    }

    /// Whether it says from when cycles are to use it.
    pub(super) const fn says_when(&self) -> bool {
        self.effective_at.is_some()
    }

    /// The plan after the PUT; every rule that is broken is named.
    ///
    /// # Errors
    /// 422 naming each bad field, or 409 for a code or alias that another plan has.
    pub(super) fn decide(
        self,
        code: PlanCode,
        sold: &Catalogue,
        now: Time,
    ) -> Result<Decision, Problem> {
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
        let repeated = known
            .zip(version.as_ref())
            .is_some_and(|(plan, it)| self.repeats(plan, it));
        if effective_at < now && !repeated {
            violations.add("effective_at", "must not be in the past");
        }
        let version = violations.finish_with(version)?;
        let mut plan = known.cloned().unwrap_or(Plan {
            aliases: Vec::new(),
            versions: Vec::new(),
        });
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
            CatalogueChange::Plan {
                code: code.clone(),
                aliases,
                version: added,
            }
        };
        Ok(Decision {
            change,
            code,
            plan,
            created: known.is_none(),
            now,
        })
    }

    /// Whether the plan says this already, so that a repeated PUT adds no version. What says it
    /// must also be the newest version, which is the one that pools on test clocks use.
    fn repeats(&self, plan: &Plan, version: &PlanVersion) -> bool {
        let in_force = plan.version(Some(version.effective_at));
        let PlanVersion {
            version: number,
            effective_at,
            ..
        } = *in_force;
        let same = PlanVersion {
            version: number,
            effective_at,
            ..version.clone()
        } == *in_force;
        let asked = self.effective_at.is_none_or(|Stamp(at)| at == effective_at);
        same && asked && plan.versions.last() == Some(in_force)
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
            legacy_prices: self
                .legacy_prices
                .or(before.map(|it| it.legacy_prices))
                .unwrap_or(false),
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
    units
        .and_then(Denomination::from_units)
        .ok_or("must be 1, 0.1 or 0.01")
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
        violations.add(
            "allowance.per",
            "must not be custom: pools fall to this plan by themselves",
        );
    }
    if kinds.iter().any(|kind| sold.auto_plan(*kind) == Some(code)) {
        violations.add(
            "allowance.per",
            "must not be custom: the tenant's pools are made on it",
        );
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

#[cfg(test)]
mod tests;
