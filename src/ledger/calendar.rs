//! Cycles counted from the anchor, in UTC, clamped to the month's last day.
//!
//! Every boundary is computed from the anchor itself, never from the boundary before it, so
//! Jan 31 → Feb 28 → Mar 31. Periods are half open.

use chrono::{Datelike, Months};

use super::Time;

/// One cycle: from `start` (inclusive) to `end` (exclusive).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cycle {
    /// How many months after the anchor it starts; negative before the anchor.
    pub number: i32,
    /// What the months are counted from.
    pub anchor: Time,
    /// Inclusive.
    pub start: Time,
    /// Exclusive: the next cycle's start.
    pub end: Time,
}

impl Cycle {
    /// Cycle `number` of an anchor.
    #[must_use]
    pub fn of(anchor: Time, number: i32) -> Self {
        let end = add_months(anchor, number.saturating_add(1));
        Self {
            number,
            anchor,
            start: add_months(anchor, number),
            end,
        }
    }

    /// The cycle that follows.
    #[must_use]
    pub fn next(&self) -> Self {
        Self::of(self.anchor, self.number.saturating_add(1))
    }
}

/// `anchor` plus calendar months, clamped to the month's last day.
///
/// # Panics
/// Beyond the year 262,000: the edge admits times up to the year 9999 only.
#[must_use]
pub fn add_months(anchor: Time, months: i32) -> Time {
    let size = Months::new(months.unsigned_abs());
    let moved = if months < 0 {
        anchor.checked_sub_months(size)
    } else {
        anchor.checked_add_months(size)
    };
    moved.expect("times are bounded at the edge")
}

/// The cycle of `anchor` that contains `now`.
#[must_use]
pub fn cycle_containing(anchor: Time, now: Time) -> Cycle {
    let months = |time: Time| {
        let month = i32::try_from(time.month0()).unwrap_or_default();
        time.year().saturating_mul(12).saturating_add(month)
    };
    // The calendar months apart, or one less when this month's boundary is still to come.
    let guess = Cycle::of(anchor, months(now).saturating_sub(months(anchor)));
    if guess.start <= now {
        guess
    } else {
        Cycle::of(anchor, guess.number.saturating_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> Time {
        text.parse().expect("a time")
    }

    #[test]
    fn months_are_counted_from_the_anchor_and_clamped() {
        let anchor = time("2026-01-31T10:00:00Z");
        let rows = [
            (0, "2026-01-31T10:00:00Z"),
            (1, "2026-02-28T10:00:00Z"),
            (2, "2026-03-31T10:00:00Z"),
            (3, "2026-04-30T10:00:00Z"),
            (25, "2028-02-29T10:00:00Z"),
            (-2, "2025-11-30T10:00:00Z"),
        ];
        for (months, expected) in rows {
            assert_eq!(add_months(anchor, months), time(expected), "{months}");
        }
    }

    #[test]
    fn a_boundary_belongs_to_the_cycle_it_starts() {
        let anchor = time("2026-01-31T10:00:00Z");
        let rows = [
            ("2026-01-31T10:00:00Z", 0),
            ("2026-02-28T09:59:59.999Z", 0),
            ("2026-02-28T10:00:00Z", 1),
            ("2026-03-01T00:00:00Z", 1),
            ("2026-03-31T10:00:00Z", 2),
            ("2026-01-31T09:59:59.999Z", -1),
            ("2025-12-31T10:00:00Z", -1),
            ("2025-12-31T09:00:00Z", -2),
        ];
        for (now, number) in rows {
            let cycle = cycle_containing(anchor, time(now));
            assert_eq!(cycle.number, number, "{now}");
            assert!(cycle.start <= time(now) && time(now) < cycle.end, "{now}");
        }
    }
}
