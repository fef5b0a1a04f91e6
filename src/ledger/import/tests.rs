//! Pools taken over: their figures, their usage, their payments, and what contradicts itself.

use super::*;
use crate::ledger::samples::{
    buy, catalogue, kinds, label, license, moved, names, paid, pass, time,
};
use crate::ledger::{Audit, Kept, LicenseType, SignedCredits, UsageFigures};

const AT: &str = "2026-02-10T12:00:00Z";

/// Of 4,000 credits 950 are left, of 500 bought ones 300; one user is known to have spent 2,000.
fn opening() -> Opening {
    let user = Attribution {
        user_id: Some(label("u-1")),
        ..Attribution::default()
    };
    Opening {
        at: time(AT),
        terms: Terms {
            plan: "pro".parse().expect("a good code"),
            builders: crate::ledger::Seats::Count(5),
            monthly_allowance: None,
        },
        billing_anchor: time("2025-10-31T10:00:00Z"),
        cycle_start: time("2026-01-31T10:00:00Z"),
        monthly_granted: Credits::whole(4_000),
        monthly_remaining: Credits::whole(950),
        overdraft: Credits::ZERO,
        addons: Some(OpeningAddons {
            granted: Credits::whole(500),
            remaining: Credits::whole(300),
            expires_at: time("2026-11-30"),
        }),
        license: None,
        usage: vec![OpeningUsage {
            attribution: user,
            monthly: Credits::whole(2_000),
            addon: Credits::whole(150),
            overdraft: Credits::ZERO,
            count: 7,
        }],
        payments: vec![OpeningPayment {
            id: uuid::Uuid::from_u128(9).into(),
            reference: label("pi_old"),
            credits: Credits::whole(500),
            paid_at: time("2025-11-30"),
            amount_cents: Some(500),
            currency: Some("usd".to_owned()),
        }],
    }
}

fn create(opening: &Opening) -> Result<Book, Refusal> {
    opening.create(names("workspace:6f1c"), &catalogue(), Actor::default())
}

fn import(opening: &Opening) -> Book {
    create(opening).expect("good figures")
}

#[test]
fn a_pool_has_the_figures_it_had() {
    let book = import(&opening());
    let balance = book.pool().balance(time(AT));
    assert_eq!(balance.monthly.granted, Credits::whole(4_000));
    assert_eq!(balance.monthly.settled, Credits::whole(950));
    assert_eq!(balance.monthly.used, Credits::whole(3_050));
    assert_eq!(balance.monthly.cycle_start, time("2026-01-31T10:00:00Z"));
    assert_eq!(balance.monthly.renews_at, time("2026-02-28T10:00:00Z"));
    assert_eq!(balance.addon.granted, Credits::whole(500));
    assert_eq!(balance.addon.settled, Credits::whole(300));
    assert_eq!(balance.addon.expires_at, Some(time("2026-11-30")));
    assert_eq!(kinds(&book), ["import"; 4]);
}

#[test]
fn usage_is_what_the_lines_say_and_the_rest_is_nobodys() {
    let book = import(&opening());
    let entries = &book.entries()[1..];
    let figures = |entry: &crate::ledger::Entry| UsageFigures::of_entry(entry).expect("figures");
    let [user, rest, payment] = entries else {
        panic!("three entries after the first")
    };
    let whole = |credits: i64| SignedCredits::from_units(credits * 100);
    assert_eq!(user.attribution.user_id, Some(label("u-1")));
    assert_eq!(figures(user).monthly, whole(2_000));
    assert_eq!((figures(user).addon, figures(user).count), (whole(150), 7));
    assert_eq!(rest.attribution, Attribution::default());
    assert_eq!(
        (figures(rest).monthly, figures(rest).count),
        (whole(1_050), 0)
    );
    assert_eq!(figures(payment), UsageFigures::default());
    let first = &book.entries()[0];
    assert_eq!(figures(first), UsageFigures::default());
    let earlier = moved(Account::Addon, Account::Consumed, 50);
    assert!(
        first.transfers.contains(&earlier),
        "spent in earlier cycles"
    );
}

#[test]
fn an_overdraft_and_credits_given_by_hand_are_taken_over() {
    let mut opening = opening();
    opening.usage.clear();
    opening.monthly_remaining = Credits::whole(4_100);
    opening.overdraft = Credits::whole(30);
    let book = import(&opening);
    assert_eq!(book.pool().monthly(), Credits::whole(4_100));
    assert_eq!(book.pool().overdraft(), Credits::whole(30));
    assert_eq!(book.pool().granted, Credits::whole(4_000));
}

#[test]
fn the_pool_lives_on_by_the_rules() {
    let mut book = import(&opening());
    pass(&mut book, "2026-03-31T10:00:00Z");
    assert_eq!(book.pool().cycle.start, time("2026-03-31T10:00:00Z"));
    assert_eq!(book.pool().monthly(), Credits::whole(4_000));
    let bought = buy(&mut book, "2026-04-01", paid(100, "2026-04-01"));
    assert_eq!(bought.after.addon.settled, Credits::whole(400));
    pass(&mut book, "2027-04-01");
    assert_eq!(book.pool().addons, None);
}

#[test]
fn the_audit_knows_imported_books() {
    let book = import(&opening());
    let mut audit = Audit::new(book.pool().id);
    for entry in book.entries() {
        audit.check(entry).expect("a good entry");
    }
    let kept = Kept {
        bought: book.changed_bought().cloned().collect(),
        ..Kept::default()
    };
    assert_eq!(kept.bought.len(), 1);
    audit.finish(book.pool(), &kept).expect("good books");
}

#[test]
fn figures_that_contradict_themselves_are_refused_by_field() {
    type Slip = fn(&mut Opening);
    let rows: [(Slip, &str); 9] = [
        (|it| it.terms.plan = "gold".parse().expect("a code"), "plan"),
        (
            |it| it.terms.plan = "enterprise".parse().expect("a code"),
            "monthly_allowance",
        ),
        (
            |it| it.cycle_start = time("2026-01-31T09:59:59Z"),
            "cycle_start",
        ),
        (
            |it| it.cycle_start = time("2026-02-10T12:00:01Z"),
            "cycle_start",
        ),
        (|it| it.usage[0].monthly = Credits::whole(3_051), "monthly"),
        (|it| it.usage[0].addon = Credits::whole(201), "addon"),
        (|it| it.usage[0].overdraft = Credits::whole(1), "overdraft"),
        (
            |it| it.addons.as_mut().expect("add-ons").expires_at = time(AT),
            "addon_expires_at",
        ),
        (
            |it| it.license = Some(license(LicenseType::Paid, Some(AT))),
            "license_end",
        ),
    ];
    for (slip, field) in rows {
        let mut opening = opening();
        slip(&mut opening);
        match create(&opening) {
            Err(Refusal::Invalid { violations }) => assert_eq!(violations[0].0, field),
            other => panic!("{field}: {other:?}"),
        }
    }
}

#[test]
fn an_ended_licence_leaves_a_free_pool_fallen_back() {
    let mut opening = opening();
    opening.terms.plan = "free".parse().expect("a good code");
    opening.license = Some(license(LicenseType::Paid, Some("2026-01-31")));
    assert!(import(&opening).pool().fallen_back);
}

#[test]
fn a_running_licence_ends_when_it_says() {
    let mut opening = opening();
    opening.license = Some(license(LicenseType::Paid, Some("2026-02-20")));
    let mut book = import(&opening);
    pass(&mut book, "2026-02-20");
    assert_eq!(book.pool().terms.plan.as_str(), "free");
    assert_eq!(book.pool().addon(), Credits::whole(300));
}

#[test]
fn a_trial_began_when_its_end_says_and_the_next_one_ends_with_it() {
    let rows = [
        ("2026-02-12", "2026-01-29"),
        // It is longer than trials are here: it began when it was taken over, at the latest.
        ("2026-03-31", AT),
    ];
    for (end, begun) in rows {
        let mut opening = opening();
        opening.license = Some(license(LicenseType::Trial, Some(end)));
        let pool = import(&opening).pool().clone();
        assert_eq!(pool.first_trial_at, Some(time(begun)), "{end}");
        assert_eq!(pool.license_ends_at, Some(time(end)), "{end}");
    }
    let mut opening = opening();
    opening.license = Some(license(LicenseType::Paid, None));
    assert_eq!(import(&opening).pool().first_trial_at, None);
}

#[test]
fn everything_in_an_opening_makes_it_another() {
    type Change = fn(&mut Opening);
    let changes: [Change; 8] = [
        |it| it.at = time("2026-02-10T12:00:01Z"),
        |it| it.terms.builders = crate::ledger::Seats::Count(6),
        |it| it.cycle_start = time("2026-02-01"),
        |it| it.monthly_remaining = Credits::whole(1),
        |it| it.addons = None,
        |it| it.license = Some(license(LicenseType::Paid, None)),
        |it| it.usage[0].count = 8,
        |it| it.payments[0].credits = Credits::whole(400),
    ];
    for change in changes {
        let mut changed = opening();
        change(&mut changed);
        assert_ne!(
            changed.fingerprint(),
            opening().fingerprint(),
            "{changed:?}"
        );
    }
}
