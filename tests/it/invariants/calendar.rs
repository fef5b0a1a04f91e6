//! The core's calendar against the model's, which adds months by hand.

use chrono::Duration;
use credit_ledger::ledger::{Cycle, Time, add_months, cycle_containing};

use super::steps::start;
use super::{Broken, holds};
use crate::model::calendar as by_hand;

#[test]
fn cycles_are_counted_as_by_hand() {
    let off_a_boundary = -40 * 86_400_000..40 * 86_400_000_i64;
    let nudge = proptest::prop_oneof![-1..=1_i64, off_a_boundary];
    let case = (start(), -400..400_i32, nudge);
    holds(5_000, case, |(anchor, months, nudge)| {
        counted(anchor, months, nudge)
    });
}

fn counted(anchor: Time, months: i32, nudge: i64) -> Result<(), Broken> {
    let boundary = add_months(anchor, months);
    if boundary != by_hand::add_months(anchor, months.into()) {
        return Err(format!("{anchor} plus {months} months is not {boundary}"));
    }
    let now = boundary + Duration::milliseconds(nudge);
    let cycle = cycle_containing(anchor, now);
    let number = by_hand::cycle_containing(now, anchor);
    let bounds = [number, number + 1].map(|months| by_hand::add_months(anchor, months));
    if i64::from(cycle.number) != number || [cycle.start, cycle.end] != bounds {
        return Err(format!(
            "{now} is in cycle {number} of {anchor}, not in {cycle:?}"
        ));
    }
    if cycle.next() != Cycle::of(anchor, cycle.number + 1) || cycle.next().start != cycle.end {
        return Err(format!("the cycle after {cycle:?} does not follow it"));
    }
    Ok(())
}
