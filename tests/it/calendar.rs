//! The calendar against an independent oracle: Postgres' own interval arithmetic.

use chrono::{NaiveDateTime, TimeDelta};
use credit_ledger::ledger::{Cycle, Time, add_months, cycle_containing};

use crate::support::Database;

/// Every day of four years, leap day and month ends among them, and what Postgres makes of so many
/// months before and after it. Without a time zone: the calendar counts in UTC.
const BOUNDARIES: &str = "
    SELECT anchor, months, anchor + make_interval(months => months)
    FROM generate_series(
             timestamp '2024-01-01 10:00:00.123',
             timestamp '2027-12-31 10:00:00.123',
             interval '1 day'
         ) AS anchor,
         generate_series($1, $2) AS months";

#[tokio::test]
async fn every_anchor_day_has_the_cycles_that_postgres_counts_over_thirty_years() {
    let mut connection = Database::create().await.connect().await;
    let rows: Vec<(NaiveDateTime, i32, NaiveDateTime)> = sqlx::query_as(BOUNDARIES)
        .bind(-24)
        .bind(360)
        .fetch_all(&mut connection)
        .await
        .expect("Postgres adds months");
    assert_eq!(rows.len(), 1_461 * 385);
    for (anchor, months, boundary) in rows {
        agrees(anchor.and_utc(), months, boundary.and_utc());
    }
}

fn agrees(anchor: Time, months: i32, boundary: Time) {
    assert_eq!(
        add_months(anchor, months),
        boundary,
        "{anchor} and {months} months"
    );

    let begins = cycle_containing(anchor, boundary);
    assert_eq!(
        begins,
        Cycle::of(anchor, months),
        "the cycle of {anchor} at {boundary}"
    );
    let before = cycle_containing(anchor, boundary - TimeDelta::milliseconds(1));
    assert_eq!(
        before,
        Cycle::of(anchor, months - 1),
        "the cycle of {anchor} before {boundary}"
    );
    assert_eq!(
        before.end, begins.start,
        "cycles of {anchor} have no gap at {boundary}"
    );
}
