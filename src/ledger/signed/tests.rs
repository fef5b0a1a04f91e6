//! Licence keys applied and given up: each refusal, each end, and that going around grants nothing.

use super::*;
use crate::ledger::samples::{buy, change, debit, license, paid};
use crate::ledger::samples::{
    catalogue, decide, kinds, names, pass, put, refusal, spend, time, until,
};
use crate::ledger::{Account, Actor, Command, LicenseStatus, Outcome, SignedCredits};

const NOW: &str = "2026-01-20T10:00:00Z";

/// A paid licence for five builders that runs for a year, issued on a day.
fn key(issued: &str) -> SignedLicense {
    let label = |text: &str| text.parse().expect("a good label");
    SignedLicense {
        customer: label("acme"),
        terms: Terms {
            plan: "pro".parse().expect("a good code"),
            builders: Seats::Count(5),
            monthly_allowance: None,
        },
        license: license(LicenseType::Paid, Some("2027-01-20T10:00:00Z")),
        signed: Signed {
            fingerprint: label(issued),
            issued_at: time(issued),
            features: Vec::new(),
        },
        starts_at: None,
    }
}

fn trial(issued: &str) -> SignedLicense {
    SignedLicense {
        terms: Terms {
            plan: "trial".parse().expect("a good code"),
            builders: Seats::ONE,
            monthly_allowance: None,
        },
        license: license(LicenseType::Trial, None),
        ..key(issued)
    }
}

fn command(key: SignedLicense) -> Command {
    Command::License(Box::new(key))
}

fn instance(plan: &str) -> Book {
    let put = put(plan, 1);
    let made = put.create(
        names("instance:acme"),
        &catalogue(),
        Actor::default(),
        time(NOW),
    );
    made.expect("a good request")
}

fn apply(book: &mut Book, at: &str, key: SignedLicense) -> Change {
    match decide(book, &catalogue(), at, command(key)) {
        Ok(Outcome::Put(change)) => change,
        other => panic!("not applied: {other:?}"),
    }
}

fn withdraw(book: &mut Book, at: &str) -> Change {
    match decide(book, &catalogue(), at, Command::Withdraw) {
        Ok(Outcome::Put(change)) => change,
        other => panic!("not withdrawn: {other:?}"),
    }
}

fn monthly(book: &Book) -> Credits {
    book.pool().monthly()
}

#[test]
fn a_key_sets_plan_builders_and_end_and_the_same_key_again_changes_nothing() {
    let mut book = instance("basic");
    assert_eq!(apply(&mut book, NOW, key("2026-01-01")), Change::Increase);
    assert_eq!(monthly(&book), Credits::whole(4_000));
    assert_eq!(book.pool().terms.builders, Seats::Count(5));
    let end = Some(time("2027-01-20T10:00:00Z"));
    assert_eq!(book.pool().license_ends_at, end);
    assert_eq!(apply(&mut book, NOW, key("2026-01-01")), Change::None);
    assert_eq!(kinds(&book), ["open", "restart"]);
}

#[test]
fn every_key_that_is_not_for_this_pool_now_is_refused() {
    let mut book = instance("basic");
    let others = SignedLicense {
        customer: "other".parse().expect("a good label"),
        ..key("2026-01-01")
    };
    let later = SignedLicense {
        starts_at: Some(time("2026-01-20T10:00:00.001Z")),
        ..key("2026-01-01")
    };
    let over = SignedLicense {
        license: license(LicenseType::Paid, Some(NOW)),
        ..key("2026-01-01")
    };
    let rows = [
        (others, "license_of_another"),
        (later, "license_not_started"),
        (over, "license_expired"),
    ];
    for (key, code) in rows {
        assert_eq!(refusal(&mut book, NOW, command(key)), code);
    }
    let mut workspace = put("free", 1)
        .create(
            names("workspace:acme"),
            &catalogue(),
            Actor::default(),
            time(NOW),
        )
        .expect("a good request");
    let refused = refusal(&mut workspace, NOW, command(key("2026-01-01")));
    assert_eq!(refused, "license_of_another", "workspaces have no keys");
    apply(&mut book, NOW, key("2026-01-10"));
    let older = refusal(&mut book, NOW, command(key("2026-01-09")));
    assert_eq!(older, "license_outdated");
    let trial = refusal(&mut book, NOW, command(trial("2026-01-11")));
    assert_eq!(trial, "license_trial_after_paid");
}

#[test]
fn an_expired_key_is_honoured_in_its_grace() {
    let mut book = instance("basic");
    let mut graced = key("2026-01-01");
    graced.license.expires_at = Some(time("2026-01-19"));
    graced.license.grace_until = Some(time("2026-01-27"));
    assert_eq!(apply(&mut book, NOW, graced), Change::Increase);
    let license = book.pool().license.as_ref().expect("it is kept");
    assert_eq!(license.status(time(NOW)), LicenseStatus::Grace);
    pass(&mut book, "2026-01-27");
    assert_eq!(book.pool().terms.plan.as_str(), "basic");
}

#[test]
fn a_trial_ends_to_the_millisecond_fourteen_days_after_it_was_applied() {
    let mut book = instance("basic");
    apply(&mut book, NOW, trial("2026-01-01"));
    let before = spend(&mut book, "2026-02-03T09:59:59.999Z", debit(10));
    assert_eq!(before.after.monthly.settled, Credits::whole(90));
    assert_eq!(book.pool().terms.plan.as_str(), "trial");
    let after = spend(&mut book, "2026-02-03T10:00:00Z", debit(1));
    assert_eq!(after.after.monthly.settled, Credits::whole(99));
    assert_eq!(book.pool().terms.plan.as_str(), "basic");
    let again = refusal(&mut book, "2026-02-04", command(trial("2026-02-04")));
    assert_eq!(again, "license_expired", "fourteen days, ever");
}

#[test]
fn a_paid_key_that_has_ended_is_still_no_ground_for_a_trial() {
    let mut book = instance("basic");
    let mut short = key("2026-01-01");
    short.license.expires_at = Some(time("2026-01-25"));
    apply(&mut book, NOW, short);
    let ended = refusal(&mut book, "2026-01-26", command(trial("2026-01-26")));
    assert_eq!(ended, "license_trial_after_paid");
    // Nor is a licence in between.
    let mut basic = key("2026-01-27");
    basic.terms.plan = "basic".parse().expect("a good code");
    basic.license = license(LicenseType::Basic, None);
    apply(&mut book, "2026-01-27", basic);
    let after = refusal(&mut book, "2026-01-28", command(trial("2026-01-28")));
    assert_eq!(after, "license_trial_after_paid");
}

#[test]
fn nor_is_one_that_was_paid_for_before_a_plan_was_put() {
    let mut book = instance("basic");
    let mut short = key("2026-01-01");
    short.license.expires_at = Some(time("2026-01-25"));
    apply(&mut book, NOW, short);
    change(&mut book, "2026-01-26", put("basic", 1));
    assert_eq!(book.pool().shown_license(), None);
    let after = refusal(&mut book, "2026-01-27", command(trial("2026-01-27")));
    assert_eq!(after, "license_trial_after_paid");
}

#[test]
fn only_the_key_says_plan_builders_allowance_and_licence_while_it_is_in_force() {
    let mut book = instance("basic");
    apply(&mut book, NOW, key("2026-01-01"));
    let puts = [
        put("team", 5),
        put("pro", 5),
        until("2028-01-01", PutPool::default()),
        PutPool {
            license: Patch::Clear,
            ..PutPool::default()
        },
        PutPool {
            monthly_allowance: Patch::Clear,
            ..PutPool::default()
        },
    ];
    for put in puts {
        let refused = refusal(&mut book, NOW, Command::Update(Box::new(put)));
        assert_eq!(refused, "licensed");
    }
    let metadata = PutPool {
        term: Patch::Set(crate::ledger::Term::Annual),
        ..PutPool::default()
    };
    assert_eq!(change(&mut book, NOW, metadata), Change::Equal);
    pass(&mut book, "2027-01-20T10:00:00Z");
    let renewed = change(&mut book, "2027-01-21", put("team", 1));
    assert_eq!(renewed, Change::Increase, "any plan works after its end");
}

#[test]
fn a_newer_key_takes_the_place_of_the_one_in_force() {
    let mut book = instance("basic");
    apply(&mut book, NOW, key("2026-01-01"));
    let mut smaller = key("2026-01-02");
    smaller.terms.builders = Seats::Count(2);
    assert_eq!(apply(&mut book, NOW, smaller), Change::Decrease);
    assert_eq!(monthly(&book), Credits::whole(4_000), "nothing is taken");
    pass(&mut book, "2026-02-20T10:00:00Z");
    assert_eq!(monthly(&book), Credits::whole(1_600));
}

#[test]
fn a_withdrawn_licence_ends_at_once_and_comes_back_without_a_grant() {
    let mut book = instance("basic");
    assert_eq!(withdraw(&mut book, NOW), Change::None, "there is none");
    apply(&mut book, NOW, key("2026-01-01"));
    buy(&mut book, NOW, paid(500, NOW));
    assert_eq!(withdraw(&mut book, "2026-01-25"), Change::Decrease);
    assert_eq!(monthly(&book), Credits::whole(100));
    spend(&mut book, "2026-01-25", debit(30));
    for _ in 0..3 {
        assert_eq!(book.pool().terms.plan.as_str(), "basic");
        assert_eq!(withdraw(&mut book, "2026-01-25"), Change::None);
        let back = apply(&mut book, "2026-01-25", key("2026-01-01"));
        assert_eq!(back, Change::Equal);
        assert_eq!(book.pool().terms.plan.as_str(), "pro");
        assert!(book.pool().addons_allowed);
        assert_eq!(withdraw(&mut book, "2026-01-25"), Change::Equal);
        assert!(!book.pool().addons_allowed);
        assert_eq!(monthly(&book), Credits::whole(70), "nothing is granted");
    }
    apply(&mut book, "2026-01-25", key("2026-01-01"));
    assert_eq!(book.pool().addon(), Credits::whole(500));
    pass(&mut book, "2026-02-25");
    assert_eq!(monthly(&book), Credits::whole(4_000), "the next renewal");
    withdraw(&mut book, "2026-02-26");
    let newer = apply(&mut book, "2026-02-26", key("2026-02-26"));
    assert_eq!(newer, Change::Increase, "one that was issued since");
}

/// What was ever granted, below zero as a source is.
fn issued(book: &Book) -> SignedCredits {
    book.pool().accounts.get(Account::IssuedMonthly)
}

#[test]
fn a_licence_that_was_given_up_is_remembered_whatever_comes_in_between() {
    let without_licence = put("basic", 1);
    let other_licence = || PutPool {
        license: Patch::Set(license(LicenseType::Basic, None)),
        ..put("basic", 1)
    };
    let mut book = instance("basic");
    apply(&mut book, NOW, key("2026-01-01"));
    withdraw(&mut book, NOW);
    let granted = issued(&book);
    for between in [without_licence, other_licence(), put("basic", 1)] {
        change(&mut book, NOW, between);
        assert_eq!(apply(&mut book, NOW, key("2026-01-01")), Change::Equal);
        withdraw(&mut book, NOW);
        assert_eq!(book.pool().shown_license(), None);
    }
    assert_eq!(issued(&book), granted);
    // Since the last time, not the first: then it is a licence like any other.
    let again = apply(&mut book, "2026-02-20T10:00:00Z", key("2026-01-01"));
    assert_eq!(again, Change::Increase);
}

#[test]
fn two_keys_in_turn_come_back_without_a_grant_as_one_does() {
    let mut book = instance("basic");
    apply(&mut book, NOW, key("2026-01-02"));
    withdraw(&mut book, NOW);
    let granted = issued(&book);
    for _ in 0..3 {
        assert_eq!(apply(&mut book, NOW, key("2026-01-01")), Change::Equal);
        assert_eq!(apply(&mut book, NOW, key("2026-01-02")), Change::Equal);
        withdraw(&mut book, NOW);
        assert_eq!(apply(&mut book, NOW, key("2026-01-01")), Change::Equal);
        withdraw(&mut book, NOW);
        assert_eq!(apply(&mut book, NOW, key("2026-01-02")), Change::Equal);
        withdraw(&mut book, NOW);
    }
    assert_eq!(issued(&book), granted);
}

#[test]
fn a_closed_pool_takes_no_licence() {
    let mut book = instance("basic");
    decide(&mut book, &catalogue(), NOW, Command::Close).expect("it closes");
    let refused = refusal(&mut book, NOW, command(key("2026-01-01")));
    assert_eq!(refused, "pool_closed");
    assert_eq!(refusal(&mut book, NOW, Command::Withdraw), "pool_closed");
}
