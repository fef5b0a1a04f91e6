//! What a move to the new plans did, in figures by plan: for people and for programs.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::cli::table;
use crate::http::time::Stamp;
use crate::lanes::{LaneError, Reply};
use crate::ledger::{Account, Credits, Entry, PlanCode, PoolName, Time};
use crate::store::PoolOnPlan;

/// Pools that could not be moved and are named in the table.
const NAMED: usize = 20;

/// What became of pools that were on one plan and are on another now.
#[derive(Clone, Copy, Debug, Default)]
struct Moved {
    pools: u64,
    left_before: Credits,
    owed_before: Credits,
    lapsed: Credits,
    repaid: Credits,
    granted: Credits,
    left_after: Credits,
}

/// What was done.
#[derive(Default)]
pub struct Findings {
    moved: BTreeMap<(PlanCode, String), Moved>,
    nothing_to_move: u64,
    refused: Vec<(String, String)>,
}

impl Moved {
    /// What an entry of a move did, told by its transfers alone.
    fn of(entry: &Entry) -> Self {
        let moved = |from, to| entry.moved(from, to);
        let granted = moved(Account::IssuedMonthly, Account::Monthly);
        let repaid = moved(Account::Monthly, Account::Overdraft);
        let lapsed = moved(Account::Monthly, Account::Lapsed);
        let held = moved(Account::HeldMonthly, Account::HeldEnded);
        let left_after = entry.after.monthly.settled;
        // Nothing is granted when only what waits or was requested is moved.
        let left_before = match granted.is_zero() {
            true => left_after,
            false => {
                let by_grant = granted.saturating_sub(left_after);
                lapsed + held + repaid.saturating_sub(by_grant)
            }
        };
        Self {
            pools: 1,
            left_before,
            owed_before: entry.after.overdraft + repaid,
            lapsed,
            repaid,
            granted,
            left_after,
        }
    }

    fn add(&mut self, other: Self) {
        self.pools += other.pools;
        self.left_before = self.left_before + other.left_before;
        self.owed_before = self.owed_before + other.owed_before;
        self.lapsed = self.lapsed + other.lapsed;
        self.repaid = self.repaid + other.repaid;
        self.granted = self.granted + other.granted;
        self.left_after = self.left_after + other.left_after;
    }

    fn figures(&self) -> [Credits; 6] {
        [
            self.left_before,
            self.owed_before,
            self.lapsed,
            self.repaid,
            self.granted,
            self.left_after,
        ]
    }
}

const FIGURES: [&str; 6] = [
    "left_before",
    "owed_before",
    "lapsed",
    "repaid",
    "granted",
    "left_after",
];

impl Findings {
    /// Whether every pool was moved that should be.
    pub fn is_good(&self) -> bool {
        self.refused.is_empty()
    }

    /// A pool could not be moved.
    pub fn refuse(&mut self, pool: &PoolName, why: &str) {
        self.refused.push((pool.to_string(), why.to_owned()));
    }

    /// What came of a pool.
    pub fn add(&mut self, pool: PoolOnPlan, reply: Result<Reply, LaneError>) {
        match reply {
            Ok(Reply::Entry { entry, .. }) => {
                let details = entry.read_details().unwrap_or_default();
                let new = details
                    .terms
                    .map_or_else(String::new, |it| it.plan.to_string());
                let moved = self.moved.entry((pool.plan, new)).or_default();
                moved.add(Moved::of(&entry));
            }
            Ok(Reply::Done | Reply::Pool { .. } | Reply::Purchased { .. }) => {
                self.nothing_to_move += 1;
            }
            Err(error) => self.refuse(&pool.name, &error.to_string()),
        }
    }

    fn total(&self) -> Moved {
        let mut total = Moved::default();
        self.moved.values().for_each(|moved| total.add(*moved));
        total
    }

    /// Prints a table.
    pub fn print(&self, at: Time, dry_run: bool) {
        let mut table = table::new([
            "plan",
            "new plan",
            "pools",
            "left before",
            "owed before",
            "lapsed",
            "repaid",
            "granted",
            "left after",
        ]);
        let rows = self
            .moved
            .iter()
            .map(|((old, new), moved)| (old.as_str(), new.as_str(), *moved));
        for (old, new, moved) in rows.chain([("all", "", self.total())]) {
            let mut row = vec![old.to_owned(), new.to_owned(), moved.pools.to_string()];
            row.extend(moved.figures().map(|credits| credits.to_string()));
            table.add_row(row);
        }
        table::align_right(&mut table, 2..9);
        println!("{table}");
        for (pool, why) in self.refused.iter().take(NAMED) {
            println!("NOT MOVED {pool}: {why}");
        }
        println!(
            "{} pools {} as of {}, {} had nothing to move, {} could not be moved",
            self.total().pools,
            if dry_run { "would be moved" } else { "moved" },
            Stamp(at),
            self.nothing_to_move,
            self.refused.len()
        );
    }

    /// The same as one JSON object.
    pub fn to_json(&self, at: Time, dry_run: bool) -> Value {
        let figures = |moved: &Moved| {
            let figures = FIGURES.into_iter().zip(moved.figures());
            let mut figures: serde_json::Map<String, Value> = figures
                .map(|(name, credits)| (name.to_owned(), json!(credits)))
                .collect();
            figures.insert("pools".to_owned(), json!(moved.pools));
            figures
        };
        let moved = self.moved.iter().map(|((old, new), moved)| {
            let mut row = figures(moved);
            row.insert("plan".to_owned(), json!(old.as_str()));
            row.insert("new_plan".to_owned(), json!(new));
            Value::Object(row)
        });
        let refused = self.refused.iter();
        let refused = refused.map(|(pool, why)| json!({"pool": pool, "error": why}));
        json!({
            "ok": self.refused.is_empty(),
            "at": Stamp(at),
            "dry_run": dry_run,
            "moved": moved.collect::<Vec<_>>(),
            "total": figures(&self.total()),
            "nothing_to_move": self.nothing_to_move,
            "not_moved": refused.collect::<Vec<_>>(),
        })
    }
}
