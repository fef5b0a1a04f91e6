//! The contract's own examples and its tricky corners, as tests of the model itself: a second
//! opinion is only worth something when it is right. This file has their vocabulary.

mod clawbacks;
mod credits;
mod expiries;
mod holds;
mod refunds;
mod takeovers;

mod terms;

use super::*;

/// `at("2026-01-31 10:00")`, or with seconds `at("2026-01-31 23:59:59")`
fn at(text: &str) -> Instant {
    let seconds = if text.len() == "2026-01-31 10:00".len() {
        ":00"
    } else {
        ""
    };
    let text = format!("{text}{seconds}Z").replace(' ', "T");
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
        signed: None,
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
        run: None,
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

/// A strict debit of whole credits, for a run; answers its entry.
fn debit_for(model: &mut Model, now: &str, credits: i64, run: &str) -> usize {
    let debit = Debit {
        run: Some(run.to_owned()),
        ..debit(credits, false)
    };
    match model.apply(at(now), &Command::Debit(debit)) {
        Answer::Debited { seq, .. } => seq,
        other => panic!("not debited: {other:?}"),
    }
}

/// A request to hold whole credits for a quarter of an hour.
fn asks_hold(credits: i64) -> Hold {
    Hold {
        credits: Some(credits * CREDIT),
        operation: None,
        run: None,
        partial: false,
        round: Round::No,
        expires_in_seconds: 900,
    }
}

/// Holds whole credits for so long; answers the entry.
fn hold_for(model: &mut Model, now: &str, credits: i64, seconds: i64) -> usize {
    let hold = Hold {
        expires_in_seconds: seconds,
        ..asks_hold(credits)
    };
    match model.apply(at(now), &Command::Hold(hold)) {
        Answer::Held { seq, .. } => seq,
        other => panic!("not held: {other:?}"),
    }
}

fn hold(model: &mut Model, now: &str, credits: i64) -> usize {
    hold_for(model, now, credits, 900)
}

fn captures(hold: usize, credits: i64, settle: bool) -> Command {
    Command::CaptureHold {
        hold,
        credits: credits * CREDIT,
        round: Round::No,
        settle,
    }
}

/// A strict capture of whole credits; answers its entry, and what was drawn from monthly and
/// add-on.
fn capture(model: &mut Model, now: &str, hold: usize, credits: i64) -> (usize, i64, i64) {
    match model.apply(at(now), &captures(hold, credits, false)) {
        Answer::Debited {
            seq,
            monthly,
            addon,
            ..
        } => (seq, monthly / CREDIT, addon / CREDIT),
        other => panic!("not captured: {other:?}"),
    }
}

fn release(model: &mut Model, now: &str, hold: usize) {
    let answer = model.apply(at(now), &Command::ReleaseHold { hold });
    assert!(matches!(answer, Answer::Released { .. }), "{answer:?}");
}

/// What a refund of whole credits, or of all that is left, gave back to the overdraft, to add-on,
/// to monthly, and what lapsed.
fn refund(model: &mut Model, now: &str, debit: usize, credits: Option<i64>) -> [i64; 4] {
    let credits = credits.map(|credits| credits * CREDIT);
    match model.apply(at(now), &Command::Refund { debit, credits }) {
        Answer::Refunded {
            credits,
            overdraft,
            addon,
            monthly,
            lapsed,
            ..
        } => {
            assert_eq!(credits, overdraft + addon + monthly + lapsed, "they add up");
            [overdraft, addon, monthly, lapsed].map(|part| part / CREDIT)
        }
        other => panic!("not refunded: {other:?}"),
    }
}

fn paid(credits: i64, paid_at: &str, reference: &str) -> Command {
    Command::Purchase(Purchase {
        credits: credits * CREDIT,
        bonus: 0,
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

/// The last entry: its kind, and what it moved.
fn last(model: &Model) -> (&'static str, &[Transfer]) {
    let last = model.journal().last().expect("a pool begins with an entry");
    (last.kind.name(), &last.transfers)
}

fn kinds(model: &Model) -> Vec<&'static str> {
    let entries = model.journal().iter();
    entries.map(|entry| entry.kind.name()).collect()
}
