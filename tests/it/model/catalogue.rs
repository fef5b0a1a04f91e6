//! Section 3: plans with their versions, and the rate card.

use super::{Answer, BALANCE_LIMIT, Builders, CREDIT, Code, Instant, LARGEST_AMOUNT, Terms};

#[derive(Clone, Debug)]
pub struct Catalogue {
    /// In the order in which they were put.
    pub plans: Vec<PlanVersion>,
    pub operations: Vec<Operation>,
    pub max_debit_credits: i64,
    /// A pool on a test clock takes the newest version, whatever its `effective_at`.
    pub on_test_clock: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanVersion {
    pub code: String,
    pub effective_at: Instant,
    pub allowance: Allowance,
    pub addons: bool,
    /// The smallest step of a debit, in hundredths: 100, 10 or 1.
    pub denomination: i64,
    pub legacy_prices: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowance {
    PerBuilder(i64),
    PerPool(i64),
    Custom,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    pub code: String,
    pub estimate: i64,
    pub fixed: Option<i64>,
    pub legacy_fixed: Option<i64>,
}

impl Catalogue {
    /// The catalogue a new tenant starts with, every plan in force from `from`.
    pub fn defaults(from: Instant) -> Self {
        let per_pool = |credits| Allowance::PerPool(credits * CREDIT);
        let per_builder = |credits| Allowance::PerBuilder(credits * CREDIT);
        let plans = [
            ("free", per_pool(100), false),
            ("basic", per_pool(100), false),
            ("trial", per_pool(100), false),
            ("pro", per_builder(800), true),
            ("team", per_builder(2000), true),
            ("enterprise", Allowance::Custom, true),
            ("legacy_free", per_pool(30), false),
            ("legacy_pro", per_builder(200), false),
            ("legacy_team", per_builder(500), false),
        ];
        let operations = [
            ("app_generation", 100, 10),
            ("add_feature", 100, 3),
            ("modify_layout", 50, 3),
            ("modify_query", 30, 3),
            ("debug_autofix", 10, 3),
            ("docs_assistant", 6, 3),
            ("sql_generation", 5, 3),
            ("custom_code", 2, 3),
        ];
        Self {
            plans: plans
                .into_iter()
                .map(|(code, allowance, addons)| {
                    let legacy = code.starts_with("legacy_");
                    PlanVersion {
                        code: code.to_owned(),
                        effective_at: from,
                        allowance,
                        addons,
                        denomination: if legacy { CREDIT / 10 } else { CREDIT },
                        legacy_prices: legacy,
                    }
                })
                .collect(),
            operations: operations
                .into_iter()
                .map(|(code, estimate, legacy_fixed)| Operation {
                    code: code.to_owned(),
                    estimate: estimate * CREDIT,
                    fixed: None,
                    legacy_fixed: Some(legacy_fixed * CREDIT),
                })
                .collect(),
            max_debit_credits: LARGEST_AMOUNT,
            on_test_clock: false,
        }
    }

    pub fn knows_plan(&self, code: &str) -> bool {
        self.plans.iter().any(|version| version.code == code)
    }

    /// The version in force at `at`; of a plan that had none yet, the one it was made with. An
    /// earlier one that is put later must not change what a cycle before it was granted.
    pub fn version_at(&self, code: &str, at: Instant) -> &PlanVersion {
        let of_the_plan = || self.plans.iter().filter(|version| version.code == code);
        let chosen = if self.on_test_clock {
            of_the_plan().next_back()
        } else {
            // `max_by_key` takes the last of equals: what was put later replaces.
            of_the_plan()
                .filter(|version| version.effective_at <= at)
                .max_by_key(|version| version.effective_at)
                .or_else(|| of_the_plan().next())
        };
        chosen.expect("a pool is only ever put on a plan that exists")
    }

    pub fn operation(&self, code: &str) -> Option<&Operation> {
        self.operations
            .iter()
            .find(|operation| operation.code == code)
    }

    /// A version of the past is refused: it would change grants that have already happened.
    pub fn put_plan(&mut self, now: Instant, version: &PlanVersion) -> Result<Answer, Code> {
        if version.effective_at < now && !self.on_test_clock {
            return Err("validation_failed");
        }
        self.plans.push(version.clone());
        Ok(Answer::CatalogueStored)
    }

    pub fn put_operation(&mut self, operation: &Operation) -> Result<Answer, Code> {
        self.operations.retain(|other| other.code != operation.code);
        self.operations.push(operation.clone());
        Ok(Answer::CatalogueStored)
    }
}

impl PlanVersion {
    /// What a cycle on these terms is granted. It may pass the limit, then a PUT is refused.
    pub fn allowance_of(&self, terms: &Terms) -> i64 {
        match (terms.builders, self.allowance) {
            (Builders::Unlimited, _) | (_, Allowance::Custom) => {
                terms.monthly_allowance.unwrap_or(0)
            }
            (Builders::Count(_), Allowance::PerPool(credits)) => credits,
            (Builders::Count(builders), Allowance::PerBuilder(credits)) => {
                builders.checked_mul(credits).unwrap_or(i64::MAX)
            }
        }
    }

    /// The same for an event, which nobody can refuse: no account passes the limit.
    pub fn grant_of(&self, terms: &Terms) -> i64 {
        self.allowance_of(terms).min(BALANCE_LIMIT)
    }

    pub fn needs_monthly_allowance(&self, builders: Builders) -> bool {
        self.allowance == Allowance::Custom || builders == Builders::Unlimited
    }
}
