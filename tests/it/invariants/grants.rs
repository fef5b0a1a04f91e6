//! No minting: repeating requests grants nothing, however often and in whatever order.

use chrono::Duration;
use credit_ledger::ledger::{Account, SignedCredits, Time};
use proptest::prelude::{Just, Strategy, prop, prop_oneof};

use super::lane::Lane;
use super::script::{self, Asked, Script};
use super::steps::{self, Case, Mix, PutShape};
use super::{Broken, books, holds, puts};
use crate::model::{self, Answer, Change, Command, Field};

#[test]
fn a_put_that_is_repeated_at_once_is_no_change() {
    holds(300, steps::case(Mix::Puts, 30), |case| {
        let (mut lane, mut script) = (Lane::new(case.setting), Script::default());
        let mut now = case.setting.start;
        for step in case.steps() {
            let asked;
            (now, asked) = script.next(&lane, now, &step);
            let Asked::Command(command) = asked else {
                continue;
            };
            let answer = lane.apply(now, &command);
            if let Answer::Put { version, .. } = answer {
                let again = [lane.apply(now, &command), lane.apply(now, &command)];
                let change = Change::None;
                if again
                    .iter()
                    .any(|again| *again != Answer::Put { change, version })
                {
                    return Err(format!("{now} {command:?} was {answer:?}, then {again:?}"));
                }
            }
        }
        Ok(())
    });
}

#[test]
fn puts_in_any_order_any_number_of_times_grant_what_the_rules_say() {
    let puts = prop::collection::vec(puts::put(), 1..4);
    let order = prop::collection::vec((0..4_usize, steps::when()), 1..40);
    let case = (steps::case(Mix::Puts, 3), puts, order);
    holds(300, case, |(case, puts, order)| {
        in_any_order(&case, &puts, &order)
    });
}

/// A few requests, over and over: each is written down when it first comes.
fn in_any_order(
    case: &Case,
    puts: &[PutShape],
    order: &[(usize, steps::When)],
) -> Result<(), Broken> {
    let (mut lane, mut now) = after(case)?;
    let resolve = |shape: &PutShape| script::put(lane.pool(), now, shape);
    let bodies: Vec<_> = puts.iter().map(resolve).collect();
    let mut told = vec![format!("{bodies:#?}")];
    for (which, when) in order {
        now = script::instant(lane.pool(), now, *when).max(now);
        lane.advance(now);
        let before = issued(&lane);
        let which = which % bodies.len();
        let answer = lane.apply(now, &Command::Put(bodies[which].clone()));
        told.push(format!("{now} {which} = {answer:?}"));
        let granted = issued(&lane) != before;
        let may_grant = match answer {
            Answer::Put { change, .. } => match change {
                Change::Created | Change::Increase => true,
                // The licence in it has ended, and the pool falls to its free plan.
                Change::Decrease | Change::Equal => fell_at(&lane),
                Change::None => false,
            },
            _ => false,
        };
        if granted && !may_grant {
            return Err(format!("a grant that no rule allows:\n{}", told.join("\n")));
        }
        lane.commit(None)?;
    }
    books::grants_are_allowed(lane.journal()).map_err(|why| format!("{why}\n{}", told.join("\n")))
}

/// Whether the last entry of the pool took it to its free plan.
fn fell_at(lane: &Lane) -> bool {
    let fallen =
        |pool: &credit_ledger::ledger::Pool| pool.cycle_seq == pool.seq && pool.fallen_back;
    lane.pool().is_some_and(fallen)
}

#[test]
fn a_licence_synced_nightly_grants_nothing() {
    let license = prop_oneof![
        8 => puts::license().prop_map(Field::Value),
        1 => Just(Field::Null),
    ];
    let sync = (puts::put(), license).prop_map(|(put, license)| PutShape { license, ..put });
    let case = (steps::case(Mix::Everything, 12), sync, 20..130_i64);
    holds(300, case, |(case, sync, nights)| {
        synced_nightly(&case, &sync, nights)
    });
}

/// A pool that is told the same every night gets what one that was told once gets.
fn synced_nightly(case: &Case, sync: &PutShape, nights: i64) -> Result<(), Broken> {
    let (mut busy, now) = after(case)?;
    let body = Command::Put(script::put(busy.pool(), now, sync));
    let first = busy.apply(now, &body);
    if !matches!(first, Answer::Put { .. }) {
        return Ok(());
    }
    let mut quiet = busy.clone();
    let mut told = vec![format!("{now} {body:?} = {first:?}")];
    for night in 1..=nights {
        let now = now + Duration::days(night);
        let answer = busy.apply(now, &body);
        told.push(format!("{now} = {answer:?}"));
    }
    quiet.advance(now + Duration::days(nights));
    if issued(&busy) == issued(&quiet) {
        return Ok(());
    }
    let [busy, quiet] = [issued(&busy), issued(&quiet)];
    Err(format!(
        "{busy} were granted, not {quiet}, after {case:#?}\n{}",
        told.join("\n")
    ))
}

#[test]
fn a_trial_is_given_once_however_it_is_asked_for_again() {
    let trial = |expires_at| model::License {
        license_type: model::LicenseType::Trial,
        expires_at,
        grace_until: None,
        signed: None,
    };
    let body = |plan: &str, license| model::PutPool {
        plan: Field::Value(plan.to_owned()),
        license,
        ..model::PutPool::empty()
    };
    holds(100, steps::setting(), |setting| {
        let (mut lane, start) = (Lane::new(setting), setting.start);
        let asks = body("pro", Field::Value(trial(None)));
        lane.apply(start, &Command::Put(asks.clone()));
        let end = start + Duration::days(14);
        for plan in ["pro", "team", "trial", "pro"] {
            for day in [20, 21, 40] {
                let again = model::PutPool {
                    plan: Field::Value(plan.to_owned()),
                    ..asks.clone()
                };
                lane.apply(start + Duration::days(day), &Command::Put(again));
            }
        }
        lane.commit(None)?;
        let grants = lane.journal().iter().filter(|entry| {
            let granted = entry.moved(Account::IssuedMonthly, Account::Monthly);
            granted.units() > 100 * model::CREDIT && entry.at >= end
        });
        match grants.count() {
            0 => Ok(()),
            more => Err(format!("{more} grants of a trial that was over")),
        }
    });
}

/// The case's commands, and the instant of the last.
fn after(case: &Case) -> Result<(Lane, Time), Broken> {
    let (mut lane, mut script) = (Lane::new(case.setting), Script::default());
    let mut now = case.setting.start;
    for step in case.steps() {
        let asked;
        (now, asked) = script.next(&lane, now, &step);
        if let Asked::Command(command) = asked {
            lane.apply(now, &command);
        }
        lane.commit(None)?;
    }
    Ok((lane, now))
}

/// What was ever granted, below zero as a source is.
fn issued(lane: &Lane) -> SignedCredits {
    let issued = lane
        .pool()
        .map(|pool| pool.accounts.get(Account::IssuedMonthly));
    issued.unwrap_or_default()
}
