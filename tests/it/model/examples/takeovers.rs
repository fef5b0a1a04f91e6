//! Licence keys, the move to the new plans, and pools that begin with another system's figures.

use super::super::license::Key;
use super::super::{Opening, OpeningAddons, OpeningPayment, OpeningUsage, Signed};
use super::*;

fn instance(since: &str, body: PutPool) -> Model {
    let catalogue = Catalogue::defaults(at("2020-01-01 00:00"));
    let mut model = Model::new(PoolKind::Instance, catalogue);
    assert_eq!(change(&mut model, since, body), Change::Created);
    model
}

/// A paid key without an end, for one builder.
fn key(plan: &str, issued_at: &str) -> Key {
    let signed = Signed {
        fingerprint: issued_at.len() + plan.len(),
        issued_at: at(issued_at),
    };
    Key {
        for_this_customer: true,
        terms: Terms {
            plan: plan.to_owned(),
            builders: Builders::Count(1),
            monthly_allowance: None,
        },
        license: License {
            license_type: LicenseType::Paid,
            expires_at: None,
            grace_until: None,
            signed: None,
        },
        signed,
        starts_at: None,
    }
}

fn ask(model: &mut Model, now: &str, command: Command) -> Change {
    match model.apply(at(now), &command) {
        Answer::Put { change, .. } => change,
        other => panic!("not about terms: {other:?}"),
    }
}

fn apply(model: &mut Model, now: &str, key: Key) -> Change {
    ask(model, now, Command::License(Box::new(key)))
}

fn upgrade(model: &mut Model, now: &str, instant: &str) -> Option<usize> {
    match model.apply(at(now), &Command::Upgrade { at: at(instant) }) {
        Answer::Upgraded { seq } => seq,
        other => panic!("not moved: {other:?}"),
    }
}

#[test]
fn a_key_decides_alone_and_comes_back_without_a_grant_after_it_was_given_up() {
    let mut model = instance("2026-01-01 00:00", put("basic", 1));
    let now = "2026-01-10 00:00";
    let again = || key("pro", "2026-01-01 00:00");
    assert_eq!(apply(&mut model, now, again()), Change::Increase);
    assert_eq!(apply(&mut model, now, again()), Change::None);
    let named = Command::Put(put("team", 1));
    assert_eq!(refusal(&mut model, now, named), "licensed");

    let now = "2026-01-12 00:00";
    let gave_up = ask(&mut model, now, Command::Withdraw);
    assert_eq!(gave_up, Change::Decrease);
    assert_eq!(view(&model, now).license, LicenseStatus::None);
    assert_eq!(balance(&model, now).available, 100 * CREDIT);
    assert_eq!(change(&mut model, now, put("basic", 1)), Change::Equal);
    assert_eq!(apply(&mut model, now, again()), Change::Equal);
    assert_eq!(ask(&mut model, now, Command::Withdraw), Change::Equal);
    assert_eq!(apply(&mut model, now, again()), Change::Equal);
    assert_eq!(balance(&model, now).available, 100 * CREDIT);
    let renewed = balance(&model, "2026-02-12 00:00");
    assert_eq!(
        renewed.available,
        800 * CREDIT,
        "the renewal grants in full"
    );
}

#[test]
fn a_month_after_it_was_given_up_a_key_is_one_like_any_other() {
    for (now, expected) in [
        ("2026-02-28 09:59", Change::Equal),
        ("2026-02-28 10:00", Change::Increase),
    ] {
        let mut model = instance("2026-01-01 00:00", put("basic", 1));
        apply(
            &mut model,
            "2026-01-31 10:00",
            key("pro", "2026-01-01 00:00"),
        );
        ask(&mut model, "2026-01-31 10:00", Command::Withdraw);
        let back = apply(&mut model, now, key("pro", "2026-01-01 00:00"));
        assert_eq!(back, expected, "{now}");
    }
}

#[test]
fn a_key_is_refused_for_the_first_reason_that_applies() {
    let mut model = instance("2026-01-01 00:00", put("basic", 1));
    let now = "2026-01-10 00:00";
    let refused = |model: &mut Model, key: Key| {
        let command = Command::License(Box::new(key));
        refusal(model, now, command)
    };
    apply(&mut model, now, key("pro", "2026-01-05 00:00"));
    let mut wrong = Key {
        for_this_customer: false,
        starts_at: Some(at("2026-01-10 00:01")),
        license: License {
            license_type: LicenseType::Trial,
            expires_at: Some(at(now)),
            grace_until: None,
            signed: None,
        },
        ..key("legacy_pro", "2026-01-04 00:00")
    };
    assert_eq!(refused(&mut model, wrong.clone()), "license_of_another");
    wrong.for_this_customer = true;
    assert_eq!(refused(&mut model, wrong.clone()), "license_not_started");
    wrong.starts_at = Some(at(now));
    assert_eq!(refused(&mut model, wrong.clone()), "license_expired");
    wrong.license.expires_at = None;
    assert_eq!(refused(&mut model, wrong.clone()), "license_outdated");
    wrong.signed.issued_at = at("2026-01-06 00:00");
    assert_eq!(refused(&mut model, wrong), "license_trial_after_paid");
}

#[test]
fn a_move_to_the_new_plan_grants_in_full_and_keeps_the_billing_date() {
    let mut model = pool("2026-01-31 10:00", put("legacy_pro", 2));
    assert_eq!(settle(&mut model, "2026-02-01 00:00", 500), (400, 0, 100));
    let now = "2026-02-10 00:00";
    assert_eq!(upgrade(&mut model, now, now), Some(3));
    let repaid = [
        Account::IssuedMonthly.to(Account::Monthly, 1_600 * CREDIT),
        Account::Monthly.to(Account::Overdraft, 100 * CREDIT),
    ];
    assert_eq!(last(&model), ("upgrade", &repaid[..]));
    let cycle = view(&model, now).cycle;
    assert_eq!((cycle.start, cycle.end), (at(now), at("2026-02-28 10:00")));
    assert_eq!(view(&model, now).requested.terms.plan, "pro");
    assert_eq!(
        upgrade(&mut model, now, now),
        None,
        "nothing is left to move"
    );
}

#[test]
fn a_move_that_comes_late_is_booked_between_what_was_due_before_and_after() {
    let mut model = pool("2026-01-31 10:00", put("legacy_free", 1));
    assert_eq!(
        upgrade(&mut model, "2026-04-10 00:00", "2026-03-10 00:00"),
        Some(3)
    );
    let order = ["open", "renewal", "upgrade", "renewal"];
    assert_eq!(kinds(&model), order);
    assert_eq!(model.journal()[2].at, at("2026-03-10 00:00"));
    assert_eq!(balance(&model, "2026-04-10 00:00").available, 100 * CREDIT);
}

#[test]
fn a_pool_that_is_taken_over_has_the_figures_it_had() {
    let mut model = workspace();
    let now = "2026-02-10 12:00";
    let opening = Opening {
        at: at(now),
        terms: Terms {
            plan: "pro".to_owned(),
            builders: Builders::Count(5),
            monthly_allowance: None,
        },
        billing_anchor: at("2025-10-31 10:00"),
        cycle_start: at("2026-02-01 00:00"),
        monthly_granted: 4_000 * CREDIT,
        monthly_remaining: 950 * CREDIT,
        overdraft: 0,
        addons: Some(OpeningAddons {
            granted: 500 * CREDIT,
            remaining: 300 * CREDIT,
            expires_at: at("2026-11-30 00:00"),
        }),
        license: None,
        usage: vec![OpeningUsage {
            monthly: 2_000 * CREDIT,
            addon: 150 * CREDIT,
            overdraft: 0,
        }],
        payments: vec![OpeningPayment {
            reference: "pi_old".to_owned(),
            credits: 500 * CREDIT,
            paid_at: at("2025-11-30 00:00"),
        }],
    };
    let answer = model.apply(at(now), &Command::Import(Box::new(opening)));
    assert_eq!(answer, Answer::Imported { version: 4 });
    let then = balance(&model, now);
    assert_eq!((then.monthly.settled, then.monthly.used), (95_000, 305_000));
    assert_eq!((then.addon.settled, then.addon.granted), (30_000, 50_000));
    assert_eq!(then.monthly.cycle_start, at("2026-02-01 00:00"));
    assert_eq!(then.monthly.renews_at, at("2026-02-28 10:00"));
    let refunded = Settle {
        purchase: 4,
        charged: 500,
        refunded: 500,
        disputed: 0,
        dispute_lost: 0,
    };
    model.apply(at(now), &Command::Settle(refunded));
    let after = balance(&model, now);
    assert_eq!((after.addon.settled, after.addon.granted), (0, 20_000));
    assert_eq!(balance(&model, "2026-02-28 10:00").available, 400_000);
}
