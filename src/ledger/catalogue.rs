//! What a tenant sells: plans in versions, operations with their prices, add-on terms, settings.
//!
//! The defaults that every tenant starts with are here too.

use std::collections::BTreeMap;

use super::{
    Allowance, Code, Credits, Denomination, PlanCode, PlanVersion, PoolKind, Refusal, Time,
};

/// Everything about a tenant that decisions on its pools need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Catalogue {
    /// Plans by code.
    pub plans: BTreeMap<PlanCode, Plan>,
    /// Operations by code.
    pub operations: BTreeMap<Code, Operation>,
    /// How add-on credits are sold.
    pub addon_terms: AddonTerms,
    /// The tenant's settings.
    pub settings: Settings,
}

/// A plan: its other names and its versions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Other codes that mean this plan.
    pub aliases: Vec<PlanCode>,
    /// At least one, by version.
    pub versions: Vec<PlanVersion>,
}

/// A line of the rate card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// The name people see.
    pub name: String,
    /// What it costs on average; never used to refuse.
    pub estimate: Credits,
    /// Its price, where it has one.
    pub fixed: Option<Credits>,
    /// Its price on plans with legacy prices.
    pub legacy_fixed: Option<Credits>,
}

/// How add-on credits are sold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddonTerms {
    /// Sold in multiples of this.
    pub step: Credits,
    /// The least a purchase may be.
    pub minimum: Credits,
    /// The price of one step, in the currency's smallest unit.
    pub price_cents_per_step: i64,
    /// Three lower-case letters.
    pub currency: String,
    /// How many calendar months the pool lasts after its latest purchase.
    pub validity_months: i32,
}

/// A tenant's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Whether unknown pools are made when first used, and on which plans.
    pub auto_provision: Option<AutoProvision>,
    /// The most one debit may take.
    pub max_debit: Credits,
}

impl Settings {
    /// Refuses more than one debit or hold may take.
    ///
    /// # Errors
    /// It is more.
    pub fn check_debit(&self, credits: Credits) -> Result<(), Refusal> {
        let maximum = self.max_debit;
        match credits > maximum {
            true => Err(Refusal::DebitTooLarge { maximum }),
            false => Ok(()),
        }
    }
}

/// The plans of pools that are made when first used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AutoProvision {
    /// For workspaces; none are made when absent.
    pub workspace: Option<PlanCode>,
    /// For instances; none are made when absent.
    pub instance: Option<PlanCode>,
}

impl Plan {
    /// The version in force at `at`. Before any was it is the first one, whatever was added since:
    /// a cycle that is booked late gets the same (path-independent). With `None` it is the newest:
    /// pools on a test clock live at no real instant.
    ///
    /// # Panics
    /// A plan without versions: it is stored together with its first.
    #[must_use]
    pub fn version(&self, at: Option<Time>) -> &PlanVersion {
        let first = self.versions.first().expect("a plan has a first version");
        let Some(at) = at else {
            return self.versions.last().unwrap_or(first);
        };
        let in_force = self
            .versions
            .iter()
            .filter(|version| version.effective_at <= at);
        in_force
            .max_by_key(|version| (version.effective_at, version.version))
            .unwrap_or(first)
    }
}

impl Catalogue {
    /// The plan a code or an alias means, with its own code.
    #[must_use]
    pub fn plan(&self, code: &PlanCode) -> Option<(&PlanCode, &Plan)> {
        self.plans.get_key_value(code).or_else(|| {
            self.plans
                .iter()
                .find(|(_, plan)| plan.aliases.contains(code))
        })
    }

    /// The plan of pools of a kind that are made when first used.
    #[must_use]
    pub fn auto_plan(&self, kind: PoolKind) -> Option<&PlanCode> {
        let plans = self.settings.auto_provision.as_ref()?;
        match kind {
            PoolKind::Workspace => plans.workspace.as_ref(),
            PoolKind::Instance => plans.instance.as_ref(),
        }
    }

    /// The catalogue every tenant starts with, its plans in force from `at`.
    #[must_use]
    pub fn initial(at: Time) -> Self {
        let plans = default_plans(at)
            .into_iter()
            .map(|(code, aliases, version)| {
                let aliases = aliases.iter().map(|alias| known_code(alias)).collect();
                (
                    known_code(code),
                    Plan {
                        aliases,
                        versions: vec![version],
                    },
                )
            });
        Self {
            plans: plans.collect(),
            operations: default_operations(),
            addon_terms: AddonTerms {
                step: Credits::whole(100),
                minimum: Credits::whole(100),
                price_cents_per_step: 100,
                currency: "usd".to_owned(),
                validity_months: 12,
            },
            settings: Settings {
                auto_provision: None,
                max_debit: Credits::MAX_REQUEST,
            },
        }
    }
}

type PlanRow = (&'static str, &'static [&'static str], PlanVersion);

fn default_plans(at: Time) -> Vec<PlanRow> {
    let plan = |name: &str, allowance, addons| PlanVersion {
        version: 1,
        effective_at: at,
        name: name.to_owned(),
        allowance,
        addons,
        denomination: Denomination::One,
        legacy_prices: false,
    };
    let legacy = |name: &str, allowance| PlanVersion {
        denomination: Denomination::Tenth,
        legacy_prices: true,
        ..plan(name, allowance, false)
    };
    let pool = |credits| Allowance::PerPool(Credits::whole(credits));
    let builder = |credits| Allowance::PerBuilder(Credits::whole(credits));
    vec![
        ("free", &[], plan("Free", pool(100), false)),
        ("basic", &[], plan("Basic", pool(100), false)),
        ("trial", &[], plan("Trial", pool(100), false)),
        ("pro", &["flexible"], plan("Pro", builder(800), true)),
        ("team", &["business"], plan("Team", builder(2000), true)),
        (
            "enterprise",
            &[],
            plan("Enterprise", Allowance::Custom, true),
        ),
        ("legacy_free", &[], legacy("Legacy Free", pool(30))),
        ("legacy_pro", &[], legacy("Legacy Pro", builder(200))),
        ("legacy_team", &[], legacy("Legacy Team", builder(500))),
    ]
}

fn default_operations() -> BTreeMap<Code, Operation> {
    let rows = [
        ("app_generation", "App generation", 100, 10),
        ("add_feature", "Add feature", 100, 3),
        ("modify_layout", "Modify layout", 50, 3),
        ("modify_query", "Modify query", 30, 3),
        ("debug_autofix", "Debug and autofix", 10, 3),
        ("docs_assistant", "Docs assistant", 6, 3),
        ("sql_generation", "SQL generation", 5, 3),
        ("custom_code", "Custom code", 2, 3),
    ];
    let operation = |(code, name, estimate, legacy_fixed): (_, &str, _, _)| {
        let operation = Operation {
            name: name.to_owned(),
            estimate: Credits::whole(estimate),
            fixed: None,
            legacy_fixed: Some(Credits::whole(legacy_fixed)),
        };
        (known_code(code), operation)
    };
    rows.into_iter().map(operation).collect()
}

fn known_code(code: &str) -> Code {
    code.parse().expect("the default codes are good codes")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> Time {
        text.parse().expect("a time")
    }

    fn version(version: i32, effective_at: &str) -> PlanVersion {
        let first = default_plans(time(effective_at)).swap_remove(3).2;
        PlanVersion { version, ..first }
    }

    #[test]
    fn an_alias_means_its_plan() {
        let catalogue = Catalogue::initial(time("2026-01-01T00:00:00Z"));
        let code = |text: &str| {
            let found = catalogue.plan(&known_code(text));
            found.map(|(code, _)| code.as_str().to_owned())
        };
        assert_eq!(code("flexible").as_deref(), Some("pro"));
        assert_eq!(code("business").as_deref(), Some("team"));
        assert_eq!(code("free").as_deref(), Some("free"));
        assert_eq!(code("gold"), None);
    }

    #[test]
    fn the_version_in_force_is_the_latest_that_has_begun() {
        let plan = Plan {
            aliases: vec![],
            versions: vec![
                version(1, "2026-02-01T00:00:00Z"),
                version(2, "2026-06-01T00:00:00Z"),
                version(3, "2026-03-01T00:00:00Z"),
                version(4, "2026-01-01T00:00:00Z"),
            ],
        };
        let rows = [
            (Some("2025-12-31T00:00:00Z"), 1),
            (Some("2026-01-01T00:00:00Z"), 4),
            (Some("2026-02-01T00:00:00Z"), 1),
            (Some("2026-03-01T00:00:00Z"), 3),
            (Some("2026-06-01T00:00:00Z"), 2),
            (None, 4),
        ];
        for (at, expected) in rows {
            assert_eq!(plan.version(at.map(time)).version, expected, "{at:?}");
        }
    }
}
