//! The contract's own examples and its tricky corners, as tests of the model itself: a second
//! opinion is only worth something when it is right. This file has their vocabulary.

mod credits;
mod terms;

use super::*;

/// `at("2026-01-31 10:00")`
fn at(text: &str) -> Instant {
    let text = format!("{text}:00Z").replace(' ', "T");
    text.parse().expect("a test writes its times well")
}

fn workspace() -> Model {
    Model::new(
        PoolKind::Workspace,
        Catalogue::defaults(at("2020-01-01 00:00")),
    )
}

fn put(plan: &str, builders: i64) -> PutPool {
    PutPool {
        plan: Field::Value(plan.to_owned()),
        builders: Field::Value(Builders::Count(builders)),
        ..PutPool::empty()
    }
}

fn enterprise(credits: i64) -> PutPool {
    PutPool {
        monthly_allowance: Field::Value(credits * CREDIT),
        ..put("enterprise", 1)
    }
}

fn licensed(body: PutPool, license_type: LicenseType, expires_at: Option<Instant>) -> PutPool {
    let license = License {
        license_type,
        expires_at,
        grace_until: None,
    };
    PutPool {
        license: Field::Value(license),
        ..body
    }
}

/// A pool on the terms of `body` since `since`.
fn pool(since: &str, body: PutPool) -> Model {
    let mut model = workspace();
    assert_eq!(change(&mut model, since, body), Change::Created);
    model
}

fn change(model: &mut Model, now: &str, body: PutPool) -> Change {
    match model.apply(at(now), &Command::Put(body)) {
        Answer::Put { change, .. } => change,
        other => panic!("not a PUT's answer: {other:?}"),
    }
}

fn refusal(model: &mut Model, now: &str, command: Command) -> Code {
    model.apply(at(now), &Command::Advance);
    let before = model.journal().len();
    let Answer::Refused(code) = model.apply(at(now), &command) else {
        panic!("{command:?} was accepted");
    };
    assert_eq!(model.journal().len(), before, "a refusal books nothing");
    code
}

fn debit(credits: i64, settle: bool) -> Debit {
    Debit {
        credits: Some(credits * CREDIT),
        operation: None,
        settle,
        round: Round::No,
    }
}

/// Settles whole credits and answers what was drawn from monthly, add-on, overdraft.
fn settle(model: &mut Model, now: &str, credits: i64) -> (i64, i64, i64) {
    match model.apply(at(now), &Command::Debit(debit(credits, true))) {
        Answer::Debited {
            monthly,
            addon,
            overdraft,
            ..
        } => (monthly / CREDIT, addon / CREDIT, overdraft / CREDIT),
        other => panic!("a settle debit always books: {other:?}"),
    }
}

fn paid(credits: i64, paid_at: &str, reference: &str) -> Command {
    Command::Purchase(Purchase {
        credits: credits * CREDIT,
        paid_at: Some(at(paid_at)),
        reference: reference.to_owned(),
    })
}

fn buy(model: &mut Model, now: &str, credits: i64, paid_at: &str) -> Instant {
    let reference = format!("{now} {paid_at}");
    match model.apply(at(now), &paid(credits, paid_at, &reference)) {
        Answer::Purchased { expires_at, .. } => expires_at,
        other => panic!("not bought: {other:?}"),
    }
}

fn adjust(bucket: Bucket, credits: i64) -> Command {
    let credits = credits * CREDIT;
    Command::Adjust(Adjustment { bucket, credits })
}

fn balance(model: &Model, now: &str) -> Balance {
    model.balance(at(now)).expect("the pool exists")
}

fn view(model: &Model, now: &str) -> PoolView {
    model.pool_view(at(now)).expect("the pool exists")
}

fn kinds(model: &Model) -> Vec<&'static str> {
    let entries = model.journal().iter();
    entries.map(|entry| entry.kind.name()).collect()
}
