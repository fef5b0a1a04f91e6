//! No minting by licence keys, moves to the new plans, imports and the clock, in whatever order:
//! every grant is the allowance of the terms then in force, on an occasion that the contract names.

use chrono::Duration;
use credit_ledger::ledger::{Account, Entry, Kind};
use proptest::prelude::{BoxedStrategy, Just, Strategy, any, prop, prop_oneof};
use proptest::sample::select;

use super::keys::{self, KeyShape};
use super::lane::{Lane, Setting};
use super::script::{self, Asked, Script};
use super::steps::{self, Case, Landmark, Mix, PutShape, Step, What, When};
use super::{Broken, answers, books, holds, puts};
use crate::model::{self, Command, Field};

/// What the free plan grants.
const FREE: i64 = 100 * model::CREDIT;

const NEW: [Mix; 3] = [Mix::Licenses, Mix::Upgrades, Mix::Imports];

#[test]
fn every_grant_is_the_allowance_of_the_terms_then_in_force() {
    for mix in NEW {
        holds(150, steps::case(mix, 30), |mut case| {
            // An edit of a plan would change what its terms are worth.
            case.steps
                .retain(|step| !matches!(step.what, What::PutPlan(..)));
            let (lane, told) = played(&case)?;
            grants_are_exact(&lane, case.setting).map_err(|why| format!("{why}\nafter\n{told}"))
        });
    }
}

fn grants_are_exact(lane: &Lane, setting: Setting) -> Result<(), Broken> {
    books::grants_are_allowed(lane.journal())?;
    books::addons_are_left_alone(lane.journal())?;
    let catalogue = model::Catalogue::defaults(setting.catalogue_from());
    let mut in_force = None;
    for entry in lane.journal() {
        let details = entry.read_details().ok_or("details can be read")?;
        in_force = details.terms.as_ref().map(answers::terms).or(in_force);
        let granted = granted_by(entry);
        // What another system granted is its own affair.
        if granted == 0 || entry.kind == Kind::Import {
            continue;
        }
        let terms = in_force.as_ref().ok_or("a grant without terms")?;
        let plan = catalogue.version_at(&terms.plan, entry.at);
        let allowance = plan.allowance_of(terms);
        if allowance != granted {
            return Err(format!("{granted}, not {allowance}, by {entry:?}"));
        }
    }
    Ok(())
}

#[test]
fn a_request_that_is_repeated_at_once_books_nothing() {
    for mix in NEW {
        holds(100, steps::case(mix, 25), |case| {
            let (mut lane, mut script) = (Lane::new(case.setting), Script::default());
            let mut now = case.setting.start;
            for step in case.steps() {
                let asked;
                (now, asked) = script.next(&lane, now, &step);
                let Asked::Command(command) = asked else {
                    continue;
                };
                lane.apply(now, &command);
                if is_of_terms(&command) {
                    let before = lane.pool().cloned();
                    let again = [lane.apply(now, &command), lane.apply(now, &command)];
                    if lane.pool() != before.as_ref() {
                        return Err(format!("{now} {command:?} was {again:?} when repeated"));
                    }
                }
                lane.commit(None)?;
            }
            Ok(())
        });
    }
}

fn is_of_terms(command: &Command) -> bool {
    matches!(
        command,
        Command::Put(_)
            | Command::License(_)
            | Command::Withdraw
            | Command::Upgrade { .. }
            | Command::Import(_)
    )
}

/// What is done to an instance within one month, over and over.
#[derive(Clone, Debug)]
enum Turn {
    /// One of the keys.
    Apply(usize),
    Withdraw,
    /// On the free plan, whatever it says of a licence.
    Put(PutShape),
    Other(What),
}

#[test]
fn keys_in_turn_within_a_month_grant_once_each_however_often_they_are_given_up() {
    // None that ends within the month: an end comes once, and grants by a rule of its own.
    let endless = keys::any_key().prop_map(|key| KeyShape {
        license: steps::LicenseShape {
            license_type: model::LicenseType::Paid,
            expires_at: None,
            grace_until: None,
        },
        ..key
    });
    let keys = prop::collection::vec(endless, 1..4);
    let turns = prop::collection::vec((soon(), turn()), 1..60);
    let case = (steps::setting(), keys, turns);
    holds(400, case, |(setting, shapes, turns)| {
        let kind = model::PoolKind::Instance;
        keys_in_turn(Setting { kind, ..setting }, &shapes, &turns)
    });
}

fn soon() -> impl Strategy<Value = When> {
    let hours = (1..60_i64).prop_map(|hours| When::After(Duration::hours(hours)));
    let ends = select(vec![Landmark::LicenseEnd, Landmark::HoldExpiry]);
    let ends = (ends, steps::nudge()).prop_map(|(landmark, nudge)| When::At(landmark, nudge));
    prop_oneof![6 => Just(When::Now), 3 => hours, 1 => ends]
}

fn turn() -> BoxedStrategy<Turn> {
    let license = prop_oneof![
        2 => Just(Field::LeftOut),
        1 => Just(Field::Null),
        3 => puts::license().prop_map(Field::Value),
    ];
    let put = license.prop_map(|license| PutShape {
        plan: Field::Value("basic"),
        builders: Field::Value(model::Builders::Count(1)),
        monthly_allowance: Field::LeftOut,
        anchor: steps::AnchorShape::LeftOut,
        license,
        metadata: Field::LeftOut,
    });
    prop_oneof![
        8 => any::<usize>().prop_map(Turn::Apply),
        8 => Just(Turn::Withdraw),
        3 => put.prop_map(Turn::Put),
        2 => steps::debit().prop_map(Turn::Other),
        2 => steps::held_or_refunded().prop_map(Turn::Other),
    ]
    .boxed()
}

fn keys_in_turn(
    setting: Setting,
    shapes: &[KeyShape],
    turns: &[(When, Turn)],
) -> Result<(), Broken> {
    let (mut lane, mut script) = (Lane::new(setting), Script::default());
    let start = setting.start;
    let made = model::PutPool {
        plan: Field::Value("basic".to_owned()),
        ..model::PutPool::empty()
    };
    lane.apply(start, &Command::Put(made));
    let numbered = shapes.iter().zip(1..);
    let keys: Vec<_> = numbered
        .map(|(shape, number)| keys::key(lane.pool(), start, shape, number))
        .collect();
    let mut told = format!("{keys:#?}");
    let mut now = start;
    for (when, turn) in turns {
        now = script::instant(lane.pool(), now, *when).max(now);
        // February is a month, too: what was given up on its first day comes back in it.
        if now >= start + Duration::days(28) {
            break;
        }
        let command = match turn {
            Turn::Apply(which) => Command::License(Box::new(keys[which % keys.len()].clone())),
            Turn::Withdraw => Command::Withdraw,
            Turn::Put(shape) => Command::Put(script::put(lane.pool(), now, shape)),
            Turn::Other(what) => {
                let (when, what) = (When::Now, what.clone());
                let (_, asked) = script.next(&lane, now, &Step { when, what });
                let Asked::Command(command) = asked else {
                    continue;
                };
                command
            }
        };
        let answer = lane.apply(now, &command);
        told += &format!("\n{now} {command:?} = {answer:?}");
        lane.commit(None)?;
    }
    let most: i64 = keys.iter().map(|key| most_granted_by(key, setting)).sum();
    let of_terms = lane.journal().iter().skip(1);
    let of_terms = of_terms.filter(|entry| entry.kind != Kind::Renewal);
    let granted: i64 = of_terms.map(|entry| granted_by(entry)).sum();
    if granted > most {
        return Err(format!(
            "{granted} were granted, at most {most} may be:\n{told}"
        ));
    }
    Ok(())
}

/// Its own allowance when it first comes, and the free plan's when it is first given up.
fn most_granted_by(key: &model::Key, setting: Setting) -> i64 {
    let catalogue = model::Catalogue::defaults(setting.catalogue_from());
    if !catalogue.knows_plan(&key.terms.plan) {
        return 0;
    }
    let plan = catalogue.version_at(&key.terms.plan, setting.start);
    plan.allowance_of(&key.terms) + FREE
}

#[test]
fn a_pool_that_is_not_put_back_on_a_legacy_plan_is_moved_with_a_grant_once() {
    holds(200, steps::case(Mix::Upgrades, 40), |mut case| {
        case.steps
            .retain(|step| !may_name_a_legacy_plan(&step.what));
        let (lane, told) = played(&case)?;
        let moves = lane.journal().iter();
        let moves = moves.filter(|entry| entry.kind == Kind::Upgrade && granted_by(entry) > 0);
        match moves.count() {
            0 | 1 => Ok(()),
            more => Err(format!("{more} grants by moves\nafter\n{told}")),
        }
    });
}

fn may_name_a_legacy_plan(what: &What) -> bool {
    match what {
        What::Put(shape) => matches!(shape.plan, Field::Value(plan) if plan.starts_with("legacy")),
        What::License(shape) => shape.terms.plan.starts_with("legacy"),
        What::PutAgain(_) | What::LicenseAgain(_) => true,
        _ => false,
    }
}

/// The case's commands one after the other, and what was asked and answered.
fn played(case: &Case) -> Result<(Lane, String), Broken> {
    let (mut lane, mut script) = (Lane::new(case.setting), Script::default());
    let (mut now, mut told) = (case.setting.start, String::new());
    for step in case.steps() {
        let asked;
        (now, asked) = script.next(&lane, now, &step);
        if let Asked::Command(command) = asked {
            let answer = lane.apply(now, &command);
            told += &format!("{now} {command:?} = {answer:?}\n");
        }
        lane.commit(None)?;
    }
    Ok((lane, told))
}

fn granted_by(entry: &Entry) -> i64 {
    entry
        .moved(Account::IssuedMonthly, Account::Monthly)
        .units()
}
