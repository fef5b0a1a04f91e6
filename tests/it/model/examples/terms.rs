//! Cycles, plans, changes of terms, licences and trials.

use super::super::calendar::add_months;
use super::*;
use chrono::Duration;

#[test]
fn months_are_counted_from_the_anchor_and_clamped() {
    let anchor = at("2026-01-31 10:00");
    let rows = [
        (1, "2026-02-28 10:00"),
        (2, "2026-03-31 10:00"),
        (3, "2026-04-30 10:00"),
        (12, "2027-01-31 10:00"),
        (25, "2028-02-29 10:00"),
        (-1, "2025-12-31 10:00"),
        (-2, "2025-11-30 10:00"),
        (-14, "2024-11-30 10:00"),
        (-23, "2024-02-29 10:00"),
    ];
    for (months, expected) in rows {
        assert_eq!(add_months(anchor, months), at(expected), "{months} months");
    }
}

#[test]
fn the_first_cycle_is_the_one_that_contains_the_creation() {
    let rows = [
        ("2026-03-31 09:59", 1, "2026-02-28 10:00"),
        ("2026-03-31 10:00", 2, "2026-03-31 10:00"),
        ("2025-11-30 10:00", -2, "2025-11-30 10:00"),
    ];
    for (now, number, start) in rows {
        let body = PutPool {
            billing_anchor: Field::Value(at("2026-01-31 10:00")),
            ..put("pro", 1)
        };
        let model = pool(now, body);
        let cycle = view(&model, now).cycle;
        assert_eq!((cycle.number, cycle.start), (number, at(start)), "{now}");
        assert_eq!(balance(&model, now).available, 800 * CREDIT, "{now}");
        assert_eq!(kinds(&model), ["open"], "{now}");
    }
}

#[test]
fn each_missed_cycle_gets_its_own_entry_at_its_own_instant() {
    let mut model = pool("2026-01-31 10:00", put("pro", 1));
    model.apply(at("2026-04-01 00:00"), &Command::Advance);

    let dates: Vec<_> = model.journal().iter().map(|entry| entry.at).collect();
    let expected = ["2026-01-31 10:00", "2026-02-28 10:00", "2026-03-31 10:00"];
    assert_eq!(dates, expected.map(at));
    let lapse_and_grant = [
        Account::Monthly.to(Account::Lapsed, 800 * CREDIT),
        Account::IssuedMonthly.to(Account::Monthly, 800 * CREDIT),
    ];
    assert_eq!(model.journal()[1].transfers, lapse_and_grant);
}

#[test]
fn an_increase_restarts_the_cycle_and_a_decrease_waits() {
    let mut model = pool("2026-01-01 00:00", put("pro", 2));
    assert_eq!(settle(&mut model, "2026-01-02 00:00", 600), (600, 0, 0));
    let now = "2026-01-10 00:00";
    assert_eq!(change(&mut model, now, put("pro", 5)), Change::Increase);
    let restarted = balance(&model, now);
    assert_eq!(restarted.available, 4_000 * CREDIT);
    assert_eq!(restarted.monthly.used, 0);
    assert_eq!(view(&model, now).cycle.anchor, at(now));
    assert_eq!(view(&model, now).billing_anchor, at("2026-01-01 00:00"));

    let now = "2026-01-20 00:00";
    assert_eq!(change(&mut model, now, put("pro", 2)), Change::Decrease);
    assert_eq!(change(&mut model, now, put("pro", 2)), Change::None);
    assert_eq!(balance(&model, now).available, 4_000 * CREDIT);
    assert_eq!(change(&mut model, now, put("pro", 3)), Change::Decrease);
    let (terms, when) = view(&model, now).pending.expect("it waits");
    assert_eq!(terms.builders, Builders::Count(3));
    assert_eq!(when, at("2026-02-10 00:00"));
    let renewed = view(&model, "2026-02-10 00:00");
    assert_eq!(renewed.balance.available, 2_400 * CREDIT);
    assert_eq!(renewed.in_force.builders, Builders::Count(3));

    let equal = put("team", 2);
    assert_eq!(change(&mut model, now, equal), Change::Equal);
    let after = view(&model, now);
    assert_eq!(
        (after.in_force.plan.as_str(), after.pending),
        ("team", None)
    );
    assert_eq!(after.cycle.anchor, at("2026-01-10 00:00"));
    let expected = [
        "open",
        "debit",
        "restart",
        "terms_change",
        "terms_change",
        "terms_change",
    ];
    assert_eq!(kinds(&model), expected);
}

#[test]
fn a_trial_synced_nightly_ends_after_14_days_once_and_for_all() {
    let trial = || licensed(put("trial", 1), LicenseType::Trial, None);
    let mut model = pool("2026-01-01 06:00", trial());
    for day in 1..14 {
        let now = at("2026-01-01 06:00") + Duration::days(day);
        let answer = model.apply(now, &Command::Put(trial()));
        let unchanged = Answer::Put {
            change: Change::None,
            version: 1,
        };
        assert_eq!(answer, unchanged);
    }
    let end = "2026-01-15 06:00";
    assert_eq!(
        balance(&model, "2026-01-14 06:00").monthly.expires_at,
        at(end)
    );

    assert_eq!(change(&mut model, end, trial()), Change::Equal);
    assert_eq!(kinds(&model), ["open", "license_end", "terms_change"]);
    let fallen = view(&model, end);
    assert_eq!(fallen.in_force, Terms::without_licence(PoolKind::Workspace));
    assert_eq!(fallen.license, LicenseStatus::Expired);
    assert_eq!(fallen.requested.terms.plan, "trial");
    assert_eq!(
        change(&mut model, "2026-01-16 06:00", trial()),
        Change::None
    );
    assert_eq!(
        change(&mut model, "2026-03-01 00:00", trial()),
        Change::None
    );
    assert_eq!(kinds(&model)[3..], ["renewal"], "of the free plan, alone");
}

#[test]
fn a_licence_end_on_a_cycle_start_grants_once_or_keeps_the_renewal() {
    let end = Some(at("2026-02-01 00:00"));
    let paid_plan = licensed(put("pro", 5), LicenseType::Paid, end);
    let mut model = pool("2026-01-01 00:00", paid_plan);
    model.apply(at("2026-02-01 00:00"), &Command::Advance);
    assert_eq!(kinds(&model), ["open", "license_end"]);
    assert_eq!(balance(&model, "2026-02-01 00:00").available, 100 * CREDIT);

    let free_plan = licensed(put("free", 1), LicenseType::Paid, end);
    let mut model = pool("2026-01-01 00:00", free_plan);
    model.apply(at("2026-02-01 00:00"), &Command::Advance);
    assert_eq!(kinds(&model), ["open", "license_end", "renewal"]);
    assert!(model.journal()[1].transfers.is_empty());
}

#[test]
fn after_a_licence_end_only_a_plan_or_a_running_licence_brings_the_plan_back() {
    let end = Some(at("2026-01-20 00:00"));
    let body = licensed(put("pro", 5), LicenseType::Paid, end);
    let mut fallen = pool("2026-01-01 00:00", body);
    let now = "2026-01-25 00:00";

    let more_builders = PutPool {
        builders: Field::Value(Builders::Count(7)),
        ..PutPool::empty()
    };
    assert_eq!(change(&mut fallen, now, more_builders), Change::Equal);
    assert_eq!(view(&fallen, now).in_force.plan, "free");
    assert_eq!(balance(&fallen, now).available, 100 * CREDIT);

    let mut named = fallen.clone();
    assert_eq!(change(&mut named, now, put("pro", 7)), Change::Increase);
    assert_eq!(balance(&named, now).available, 5_600 * CREDIT);
    assert_eq!(view(&named, now).license, LicenseStatus::None);
    assert_eq!(balance(&named, "2027-01-26 00:00").available, 560_000);

    let next_year = Some(at("2027-01-20 00:00"));
    let license_alone = licensed(PutPool::empty(), LicenseType::Paid, next_year);
    let mut renewed = fallen.clone();
    assert_eq!(change(&mut renewed, now, license_alone), Change::Increase);
    assert_eq!(balance(&renewed, now).available, 5_600 * CREDIT);
}

#[test]
fn an_ended_licence_synced_nightly_grants_nothing() {
    let ended = || {
        let end = Some(at("2025-12-31 00:00"));
        licensed(put("pro", 5), LicenseType::Paid, end)
    };
    let mut new = pool("2026-01-01 00:00", ended());
    assert_eq!(change(&mut new, "2026-01-02 00:00", ended()), Change::None);
    assert_eq!(balance(&new, "2026-01-02 00:00").available, 100 * CREDIT);
    assert_eq!(view(&new, "2026-01-02 00:00").in_force.plan, "free");

    let mut running = pool("2026-01-01 00:00", put("pro", 5));
    assert_eq!(
        change(&mut running, "2026-01-02 00:00", ended()),
        Change::Decrease
    );
    assert_eq!(
        change(&mut running, "2026-01-03 00:00", ended()),
        Change::None
    );
    assert_eq!(kinds(&running), ["open", "license_end"]);
    assert_eq!(
        balance(&running, "2026-01-03 00:00").available,
        100 * CREDIT
    );
}

#[test]
fn a_plan_version_counts_from_the_next_grant_at_or_after_it() {
    let mut model = pool("2026-01-01 00:00", put("pro", 1));
    let mut version = model
        .catalogue
        .version_at("pro", at("2026-01-01 00:00"))
        .clone();
    version.allowance = Allowance::PerBuilder(900 * CREDIT);
    version.effective_at = at("2026-02-01 00:00");
    let command = Command::PutPlan(version.clone());
    model.apply(at("2026-01-05 00:00"), &command);
    assert_eq!(
        change(&mut model, "2026-01-06 00:00", put("pro", 1)),
        Change::None
    );
    assert_eq!(balance(&model, "2026-01-31 23:59").monthly.granted, 80_000);
    assert_eq!(balance(&model, "2026-02-01 00:00").monthly.granted, 90_000);
    let late = refusal(&mut model, "2026-02-02 00:00", command.clone());
    assert_eq!(late, "validation_failed");

    let mut catalogue = Catalogue::defaults(at("2020-01-01 00:00"));
    catalogue.on_test_clock = true;
    let mut clocked = Model::new(PoolKind::Instance, catalogue);
    clocked.apply(at("2026-01-01 00:00"), &command);
    change(&mut clocked, "2026-01-01 00:00", put("pro", 1));
    let granted = balance(&clocked, "2026-01-01 00:00").monthly.granted;
    assert_eq!(granted, 90_000, "the newest, whatever its instant");
}

#[test]
fn requests_that_make_no_sense_are_refused() {
    let now = "2026-01-01 00:00";
    let mut model = workspace();
    let nothing = Command::Put(PutPool::empty());
    assert_eq!(refusal(&mut model, now, nothing), "validation_failed");
    assert_eq!(refusal(&mut model, now, Command::Close), "not_found");
    let huge = Command::Put(put("team", 1_000_000_000));
    assert_eq!(refusal(&mut model, now, huge), "balance_limit");

    assert_eq!(change(&mut model, now, enterprise(500)), Change::Created);
    let anchored = PutPool {
        billing_anchor: Field::Value(at("2026-01-02 00:00")),
        ..PutPool::empty()
    };
    let rows = [
        (put("gold", 1), "unknown_plan"),
        (put("pro", 0), "validation_failed"),
        (
            PutPool {
                plan: Field::Value("pro".to_owned()),
                ..enterprise(500)
            },
            "validation_failed",
        ),
        (
            PutPool {
                monthly_allowance: Field::Null,
                ..PutPool::empty()
            },
            "validation_failed",
        ),
        (anchored, "billing_anchor_fixed"),
    ];
    for (body, code) in rows {
        assert_eq!(refusal(&mut model, now, Command::Put(body)), code);
    }
    assert_eq!(change(&mut model, now, put("pro", 1)), Change::Increase);
    let kept = view(&model, now).requested.terms.monthly_allowance;
    assert_eq!(kept, None, "an allowance kept from earlier is dropped");
    assert_eq!(
        refusal(&mut model, now, Command::Put(put("enterprise", 1))),
        "validation_failed"
    );
}

#[test]
fn every_type_of_licence_ends_at_its_grace_if_it_has_one() {
    let types = [
        LicenseType::Basic,
        LicenseType::Trial,
        LicenseType::Paid,
        LicenseType::Business,
        LicenseType::Enterprise,
    ];
    for license_type in types {
        let license = License {
            license_type,
            expires_at: Some(at("2026-01-20 00:00")),
            grace_until: Some(at("2026-01-25 00:00")),
            signed: None,
        };
        let body = PutPool {
            license: Field::Value(license),
            ..put("pro", 1)
        };
        let model = pool("2026-01-01 00:00", body);
        let rows = [
            ("2026-01-19 23:59", LicenseStatus::Active, "pro"),
            ("2026-01-20 00:00", LicenseStatus::Grace, "pro"),
            ("2026-01-25 00:00", LicenseStatus::Expired, "free"),
        ];
        for (now, status, plan) in rows {
            let then = view(&model, now);
            assert_eq!((then.license, then.in_force.plan.as_str()), (status, plan));
        }
    }
}
