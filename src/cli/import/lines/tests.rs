//! Every column, good and bad.

use super::super::cells::POOLS;
use super::*;

fn time(text: &str) -> Time {
    text.parse().expect("a time")
}

/// A line of a table with these cells and no others.
fn line(table: &Table, cells: &[(&str, &str)]) -> Texts {
    let mut texts: Texts = vec![Some(String::new()); table.columns.len()];
    for (column, text) in cells {
        let place = table.place(column).expect("a known column");
        texts[place] = Some((*text).to_owned());
    }
    texts
}

const LEAST: [(&str, &str); 6] = [
    ("pool", "workspace:a"),
    ("plan", "pro"),
    ("anchor", "2025-10-31"),
    ("cycle_start", "2026-01-31T11:00:00.123999+01:00"),
    ("monthly_granted", "4000.5"),
    ("monthly_remaining", "950.25"),
];

/// The least that is said of a pool, and more.
fn pool(more: &[(&str, &str)]) -> Result<PoolLine, Vec<String>> {
    PoolLine::read(&POOLS, &line(&POOLS, &[&LEAST, more].concat()))
}

#[test]
fn the_least_that_is_said_of_a_pool_is_enough() {
    let expected = PoolLine {
        plan: "pro".parse().expect("a code"),
        builders: Seats::ONE,
        monthly_allowance: None,
        anchor: time("2025-10-31T00:00:00Z"),
        cycle_start: time("2026-01-31T10:00:00.123Z"),
        monthly_granted: Credits::from_units(400_050).expect("an amount"),
        monthly_remaining: Credits::from_units(95_025).expect("an amount"),
        overdraft: Credits::ZERO,
        addons: None,
        license: None,
    };
    assert_eq!(pool(&[]), Ok(expected));
}

#[test]
fn everything_that_can_be_said_of_a_pool_is_read() {
    let read = pool(&[
        ("builders", "UnLimited"),
        ("monthly_allowance", "6000"),
        ("overdraft", "0.5"),
        ("addon_granted", "500"),
        ("addon_remaining", "300"),
        ("addon_expires_at", "2026-11-30"),
        ("license_type", "Paid"),
        ("license_end", "2027-01-31"),
        ("grace_until", "2027-02-07T12:00:00Z"),
    ]);
    let read = read.expect("a good line");
    assert_eq!(read.builders, Seats::Unlimited);
    assert_eq!(read.monthly_allowance, Some(Credits::whole(6_000)));
    assert_eq!(read.overdraft.units(), 50);
    let addons = OpeningAddons {
        granted: Credits::whole(500),
        remaining: Credits::whole(300),
        expires_at: time("2026-11-30T00:00:00Z"),
    };
    assert_eq!(read.addons, Some(addons));
    let license = read.license.expect("a licence");
    assert_eq!(license.kind, LicenseType::Paid);
    assert_eq!(license.expires_at, Some(time("2027-01-31T23:59:59.999Z")));
    assert_eq!(license.grace_until, Some(time("2027-02-07T12:00:00Z")));
}

#[test]
fn what_is_wrong_with_a_pool_names_its_column() {
    let rows = [
        "plan= -> plan is needed",
        "plan=Gold plan -> plan must be 1 to 64 of",
        "builders=0 -> builders must be a whole number from 1 on, or unlimited",
        "builders=2.5 -> builders must be a whole number",
        "builders=-1 -> builders must be a whole number",
        "monthly_allowance=many -> monthly_allowance must be a number",
        "anchor= -> anchor is needed",
        "anchor=31.10.2025 -> anchor must be an RFC 3339 time or a date",
        "anchor=1969-12-31 -> anchor must be in the years",
        "cycle_start=2026-01-31T10:00:00 -> cycle_start must be an RFC 3339",
        "monthly_granted= -> monthly_granted is needed",
        "monthly_granted=4000.123 -> monthly_granted must have at most two decimal",
        "monthly_granted=4,000 -> monthly_granted must be a number",
        "monthly_remaining=-1 -> monthly_remaining must not be negative",
        "overdraft=1000000000000.01 -> overdraft must be at most 1000000000000",
        "addon_granted=5 -> addon_expires_at is needed",
        "addon_remaining=x -> addon_remaining must be a number",
        "addon_expires_at=soon -> addon_expires_at must be",
        "license_type=gold -> license_type must be one of basic, trial, paid",
        "license_type=trial -> license_end is needed for a trial",
        "license_end=2027-01-31 -> license_end needs a license_type",
        "grace_until=2027-01-31 -> grace_until needs a license_type",
    ];
    for row in rows {
        let (cell, message) = row.split_once(" -> ").expect("a cell and a message");
        let (column, text) = cell.split_once('=').expect("a column and a text");
        let wrong = pool(&[(column, text)]).expect_err(row);
        assert_eq!(wrong.len(), 1, "{wrong:?}");
        assert!(wrong[0].starts_with(message), "{row}: {wrong:?}");
    }
    let wrong = pool(&[("builders", "x"), ("overdraft", "y")]).expect_err("both");
    assert_eq!(wrong.len(), 2);
}

#[test]
fn usage_is_said_in_parts_or_in_one_figure() {
    let read = |cells: &[(&str, &str)]| UsageLine::read(&line(&USAGE, cells));
    let all = [
        ("user_id", "u-1"),
        ("workspace_id", "w-9"),
        ("operation", "app_generation"),
        ("model", "m 1"),
        ("monthly", "20"),
        ("overdraft", "0.5"),
        ("count", "7"),
    ];
    let usage = read(&all).expect("a good line");
    let who = usage.attribution;
    let said = [&who.user_id, &who.workspace_id, &who.operation, &who.model];
    let said = said.map(|it| it.as_ref().map(Label::as_str).unwrap_or_default());
    assert_eq!(said, ["u-1", "w-9", "app_generation", "m 1"]);
    let parts = Spent::Parts {
        monthly: Credits::whole(20),
        addon: Credits::ZERO,
        overdraft: Credits::from_units(50).expect("an amount"),
    };
    assert_eq!((usage.spent, usage.count), (parts, 7));
    let usage = read(&[("credits", "12")]).expect("a good line");
    assert_eq!(usage.spent, Spent::Credits(Credits::whole(12)));
    assert_eq!(usage.count, 1);

    let rows: [(&[(&str, &str)], &str); 4] = [
        (&[("credits", "1"), ("addon", "1")], "credits stands alone"),
        (&[("addon", "-1")], "addon must not be negative"),
        (&[("count", "1.5")], "count must be a whole number"),
        (
            &[("user_id", "a\u{7}")],
            "user_id must be 1 to 128 printable",
        ),
    ];
    for (cells, message) in rows {
        let wrong = read(cells).expect_err(message);
        assert!(wrong[0].starts_with(message), "{wrong:?}");
    }
}

#[test]
fn payments_are_read_and_their_mistakes_named() {
    let at = time("2026-02-10T12:00:00Z");
    let good = [
        ("payment_reference", "pi_1"),
        ("credits", "500"),
        ("paid_at", "2026-02-10"),
    ];
    let read = |more: &[(&str, &str)]| {
        PaymentLine::read(&line(&PAYMENTS, &[&good[..], more].concat()), at)
    };
    let payment = read(&[("amount_cents", "500"), ("currency", "USD")]).expect("a good line");
    assert_eq!(payment.reference.as_str(), "pi_1");
    assert_eq!(payment.paid_at, time("2026-02-10T00:00:00Z"));
    assert_eq!(payment.amount_cents, Some(500));
    assert_eq!(payment.currency.as_deref(), Some("usd"));
    let rows = [
        ("payment_reference", "", "payment_reference is needed"),
        (
            "credits",
            "0",
            "credits must be above 0 and at most 1000000000",
        ),
        ("credits", "1000000001", "credits must be above 0"),
        ("paid_at", "", "paid_at is needed"),
        (
            "paid_at",
            "2026-02-10T12:00:00.001Z",
            "paid_at is after the instant",
        ),
        ("amount_cents", "5.5", "amount_cents must be a whole number"),
        ("currency", "euro", "currency must be three letters"),
    ];
    for (column, text, message) in rows {
        let wrong = read(&[(column, text)]).expect_err(column);
        assert!(wrong[0].starts_with(message), "{column} {text}: {wrong:?}");
    }
}
