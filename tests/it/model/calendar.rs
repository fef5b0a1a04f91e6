//! Months counted from an anchor, by hand: no month arithmetic of a library is used, so that the
//! model is a second opinion on the calendar too.

use super::Instant;
use chrono::{Datelike, NaiveDate};

/// `months` after `from` (before it when negative), clamped to the last day of the month reached.
pub fn add_months(from: Instant, months: i64) -> Instant {
    let reached = i64::from(from.year()) * 12 + i64::from(from.month0()) + months;
    let year = i32::try_from(reached.div_euclid(12)).expect("the tests stay in a sane era");
    let month = u32::try_from(reached.rem_euclid(12) + 1).expect("between 1 and 12");
    let day = (1..=from.day())
        .rev()
        .find_map(|day| NaiveDate::from_ymd_opt(year, month, day))
        .expect("every month has a first day");
    day.and_time(from.time()).and_utc()
}

/// The number of the cycle that contains `now`: it may be negative.
pub fn cycle_containing(now: Instant, anchor: Instant) -> i64 {
    let mut number = 0;
    while add_months(anchor, number) > now {
        number -= 1;
    }
    while add_months(anchor, number + 1) <= now {
        number += 1;
    }
    number
}
