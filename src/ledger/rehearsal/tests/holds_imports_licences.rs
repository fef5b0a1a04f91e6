//! What is not rehearsed as it was: holds, what came from another system, licences by key.

use super::*;
use crate::ledger::samples::{capture, decide, hold, license, names, release, reserve};
use crate::ledger::{Actor, License, LicenseType, Mode, Opening, Signed, SignedLicense, Terms};

#[test]
fn a_capture_is_a_debit_at_its_own_instant_and_what_is_reserved_counts_as_there() {
    let mut book = pool(put("pro", 1), START);
    let all = reserve(&mut book, START, hold(800));
    let later = "2026-01-31T10:05:00Z";
    decide(
        &mut book,
        &catalogue(),
        later,
        capture(all, 200, Mode::Strict),
    )
    .expect("captured");
    let given_up = reserve(&mut book, later, hold(600));
    decide(&mut book, &catalogue(), later, release(given_up)).expect("released");
    let settled = reserve(&mut book, later, hold(50));
    decide(
        &mut book,
        &catalogue(),
        later,
        capture(settled, 150, Mode::Settle),
    )
    .expect("captured");
    reserve(&mut book, later, hold(10));
    let Rehearsed { now, then, .. } = rehearse(&book, &catalogue());
    assert_eq!(now, then);
    assert_eq!(sums(&now), (2400, 450 + 800, 350));
    assert!(!now.ran_out(), "what was reserved was there");

    let Rehearsed { then, .. } = rehearse(&book, &pro_of(100));
    assert_eq!(whole(then.figures.not_served), 200, "the strict capture");
    assert_eq!(whole(then.figures.overdraft), 50, "the settled one");
    let first = then.first_outage.expect("it ran out");
    assert_eq!(first.at, time(later));
}

/// A pool that came with 500 of its 800 credits.
fn imported() -> Book {
    let opening = Opening {
        at: time("2026-02-10"),
        terms: Terms {
            plan: code("pro"),
            builders: Seats::ONE,
            monthly_allowance: None,
        },
        billing_anchor: time(START),
        cycle_start: time(START),
        monthly_granted: Credits::whole(800),
        monthly_remaining: Credits::whole(500),
        overdraft: Credits::ZERO,
        addons: None,
        license: None,
        usage: Vec::new(),
        payments: Vec::new(),
    };
    let made = opening.create(names("workspace:6f1c"), &catalogue(), Actor::default());
    made.expect("good figures")
}

#[test]
fn an_imported_pool_keeps_the_cycle_it_came_with() {
    let mut book = imported();
    spend(&mut book, "2026-02-11", debit(400));
    spend(&mut book, "2026-03-11", debit(400));
    let Rehearsed { now, then, .. } = rehearse(&book, &catalogue());
    assert_eq!(now, then);
    assert_eq!(sums(&now), (1600, 100 + 400, 800));
    let Rehearsed {
        now: same, then, ..
    } = rehearse(&book, &pro_of(300));
    assert_eq!(same, now);
    assert_eq!(sums(&then), (600, 100 + 300, 400));
    assert_eq!(then.figures.refused, 1);
    // An increase in the cycle it came with is measured by the other plan.
    let mut book = imported();
    change(&mut book, "2026-02-12", put("pro", 2));
    let end = "2026-02-13";
    let found = from("2026-02-01", &book, &pro_of(300), end).expect("it came in the window");
    assert_eq!(
        (sums(&found.now), sums(&found.then)),
        ((1600, 500, 0), (600, 500, 0))
    );
    assert_eq!(from("2026-02-11", &imported(), &catalogue(), end), None);
    let idle = from("2026-02-01", &imported(), &catalogue(), end).expect("it came in the window");
    assert_eq!((sums(&idle.now), sums(&idle.then)), ((0, 0, 0), (0, 0, 0)));
}

fn signed() -> SignedLicense {
    let signed = Signed {
        fingerprint: label("f-1"),
        issued_at: time("2026-01-01"),
        features: Vec::new(),
    };
    SignedLicense {
        customer: label("c-1"),
        terms: Terms {
            plan: code("pro"),
            builders: Seats::Count(2),
            monthly_allowance: None,
        },
        license: License {
            signed: Some(Box::new(signed.clone())),
            ..license(LicenseType::Paid, Some("2026-04-10"))
        },
        signed,
        starts_at: None,
    }
}

#[test]
fn a_licence_by_key_comes_goes_and_comes_back_without_another_grant() {
    let made = put("basic", 1).create(
        names("instance:c-1"),
        &catalogue(),
        Actor::default(),
        time(START),
    );
    let mut book = made.expect("a good request");
    let apply = || Command::License(Box::new(signed()));
    for (at, command) in [
        ("2026-02-01", apply()),
        ("2026-02-03", Command::Withdraw),
        ("2026-02-05", apply()),
    ] {
        decide(&mut book, &catalogue(), at, command).expect("it is taken");
    }
    spend(&mut book, "2026-02-06", settle(150));
    let Rehearsed { now, then, .. } = rehearse(&book, &catalogue());
    assert_eq!(now, then);
    // Basic, the licence, basic again, two renewals of the licence, and basic after its end.
    assert_eq!(
        whole(now.figures.granted),
        100 + 1600 + 100 + 1600 + 1600 + 100
    );
    let Rehearsed { then, .. } = rehearse(&book, &pro_of(500));
    assert_eq!(
        whole(then.figures.granted),
        100 + 1000 + 100 + 1000 + 1000 + 100
    );
}
