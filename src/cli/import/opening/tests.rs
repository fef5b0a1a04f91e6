//! What lines that name no buckets are taken from.

use super::*;
use crate::ledger::{Attribution, OpeningAddons};

fn time(text: &str) -> Time {
    text.parse().expect("a time")
}

/// A pool that has spent 100 of its monthly credits and 50 of its add-on credits, and owes 10.
fn pool() -> PoolLine {
    PoolLine {
        plan: "pro".parse().expect("a code"),
        builders: Seats::ONE,
        monthly_allowance: None,
        anchor: time("2026-01-31T10:00:00Z"),
        cycle_start: time("2026-01-31T10:00:00Z"),
        monthly_granted: Credits::whole(800),
        monthly_remaining: Credits::whole(700),
        overdraft: Credits::whole(10),
        addons: Some(OpeningAddons {
            granted: Credits::whole(200),
            remaining: Credits::whole(150),
            expires_at: time("2026-11-30T00:00:00Z"),
        }),
        license: None,
    }
}

fn usage(spent: Spent) -> UsageLine {
    UsageLine {
        attribution: Attribution::default(),
        spent,
        count: 1,
    }
}

fn parts(monthly: u32, addon: u32, overdraft: u32) -> Spent {
    Spent::Parts {
        monthly: Credits::whole(monthly),
        addon: Credits::whole(addon),
        overdraft: Credits::whole(overdraft),
    }
}

#[test]
fn one_figure_takes_monthly_then_addon_then_overdraft_beside_what_others_say() {
    let credits = |amount| usage(Spent::Credits(Credits::whole(amount)));
    let lines = [
        credits(60),
        usage(parts(30, 20, 0)),
        credits(45),
        credits(5),
    ];
    let split = split(&pool(), &lines);
    let figures: Vec<[i64; 3]> = split
        .iter()
        .map(|it| [it.monthly, it.addon, it.overdraft].map(|it| it.units() / 100))
        .collect();
    assert_eq!(figures, [[60, 0, 0], [30, 20, 0], [10, 30, 5], [0, 0, 5]]);
}
