//! Holds within their cycle and across its end: placed, captured, released, expired.

use super::*;

/// Across the renewal at midnight: `(the pool, its hold)`, just after it.
fn held_across_a_renewal(credits: i64) -> (Model, usize) {
    let mut model = pool("2026-01-01 00:00", put("pro", 1));
    let hold = hold(&mut model, "2026-01-31 23:59:59", credits);
    let before = balance(&model, "2026-01-31 23:59:59");
    assert_eq!(before.available, (800 - credits) * CREDIT);
    assert_eq!(
        (before.monthly.settled, before.monthly.held),
        (800 * CREDIT, credits * CREDIT)
    );

    let after = balance(&model, "2026-02-01 00:00");
    assert_eq!(after.available, 800 * CREDIT, "the whole new allowance");
    assert_eq!((after.held, after.monthly.held), (credits * CREDIT, 0));
    (model, hold)
}

#[test]
fn a_hold_from_before_a_renewal_is_captured_out_of_its_own_cycle() {
    let (mut model, hold) = held_across_a_renewal(100);
    model.apply(at("2026-02-01 00:00"), &Command::Advance);
    let renewal = [
        Account::Monthly.to(Account::Lapsed, 700 * CREDIT),
        Account::HeldMonthly.to(Account::HeldEnded, 100 * CREDIT),
        Account::IssuedMonthly.to(Account::Monthly, 800 * CREDIT),
    ];
    assert_eq!(last(&model), ("renewal", &renewal[..]));

    let captured = model.apply(at("2026-02-01 00:00:05"), &captures(hold, 60, false));
    let expected = Answer::Debited {
        seq: 4,
        credits: 60 * CREDIT,
        requested: None,
        monthly: 60 * CREDIT,
        addon: 0,
        overdraft: 0,
        late: false,
        hold: Some(hold),
    };
    assert_eq!(captured, expected);
    let moved = [
        Account::HeldEnded.to(Account::Consumed, 60 * CREDIT),
        Account::HeldEnded.to(Account::Lapsed, 40 * CREDIT),
    ];
    assert_eq!(last(&model), ("debit", &moved[..]));
    let after = balance(&model, "2026-02-01 00:00:05");
    assert_eq!((after.available, after.held), (800 * CREDIT, 0));
    assert_eq!(after.monthly.used, 0, "it was an earlier cycle's grant");
}

#[test]
fn a_hold_from_before_a_renewal_lapses_when_it_is_released_or_expires() {
    let lapse = [Account::HeldEnded.to(Account::Lapsed, 100 * CREDIT)];
    let (mut model, hold) = held_across_a_renewal(100);
    settle(&mut model, "2026-02-01 00:00:01", 850);
    release(&mut model, "2026-02-01 00:00:05", hold);
    assert_eq!(last(&model), ("release", &lapse[..]));
    let after = balance(&model, "2026-02-01 00:00:05");
    assert_eq!((after.held, after.overdraft), (0, 50 * CREDIT));

    let (mut model, _) = held_across_a_renewal(100);
    model.apply(at("2026-03-10 00:00"), &Command::Advance);
    let expected = ["open", "hold", "renewal", "hold_expiry", "renewal"];
    assert_eq!(kinds(&model), expected);
    let expiry = &model.journal()[3];
    assert_eq!(expiry.at, at("2026-02-01 00:14:59"), "its own instant");
    assert_eq!(expiry.transfers, lapse);
}

#[test]
fn a_capture_above_an_ended_hold_draws_only_the_excess_anew() {
    let (mut model, hold) = held_across_a_renewal(800);
    let now = "2026-02-01 00:00:05";
    let (debit, monthly, addon) = capture(&mut model, now, hold, 801);
    assert_eq!((monthly, addon), (801, 0));
    assert_eq!(balance(&model, now).monthly.used, CREDIT);

    assert_eq!(refund(&mut model, now, debit, None), [0, 0, 1, 800]);
    let after = balance(&model, now);
    assert_eq!((after.available, after.monthly.used), (800 * CREDIT, 0));
}

#[test]
fn a_hold_draws_monthly_then_addon_and_its_rest_goes_back_where_it_came_from() {
    let now = "2026-01-02 00:00";
    let mut model = pool(now, put("pro", 1));
    buy(&mut model, now, 500, now);
    let answer = model.apply(at(now), &Command::Hold(asks_hold(1_000)));
    let expected = Answer::Held {
        seq: 3,
        credits: 1_000 * CREDIT,
        requested: 1_000 * CREDIT,
        monthly: 800 * CREDIT,
        addon: 200 * CREDIT,
        expires_at: at("2026-01-02 00:15"),
    };
    assert_eq!(answer, expected);
    let held = balance(&model, now);
    assert_eq!(
        (held.available, held.held),
        (300 * CREDIT, 1_000 * CREDIT),
        "reserved, though not spent"
    );
    let addon = &held.addon;
    assert_eq!(
        (addon.settled, addon.held, addon.available),
        (500 * CREDIT, 200 * CREDIT, 300 * CREDIT)
    );

    let mut released = model.clone();
    release(&mut released, now, 3);
    assert_eq!(balance(&released, now).available, 1_300 * CREDIT);

    assert_eq!(capture(&mut model, now, 3, 850), (4, 800, 50));
    let after = balance(&model, now);
    assert_eq!((after.available, after.held), (450 * CREDIT, 0));
    assert_eq!(after.monthly.used, 800 * CREDIT);
}

#[test]
fn a_capture_above_the_hold_is_short_or_settles() {
    let now = "2026-01-02 00:00";
    let mut model = pool(now, put("pro", 1));
    let first = hold(&mut model, now, 700);
    let short = refusal(&mut model, now, captures(first, 801, false));
    assert_eq!(short, "insufficient_credits");
    let other = hold(&mut model, now, 100);
    let empty = refusal(&mut model, now, captures(first, 701, false));
    assert_eq!(empty, "pool_empty", "what another hold has is not there");

    let answer = model.apply(at(now), &captures(first, 730, true));
    let Answer::Debited {
        monthly, overdraft, ..
    } = answer
    else {
        panic!("a settle capture always books: {answer:?}");
    };
    assert_eq!((monthly, overdraft), (700 * CREDIT, 30 * CREDIT));
    let (_, monthly, _) = capture(&mut model, now, other, 100);
    assert_eq!(monthly, 100, "an overdraft takes nothing from a hold");
}

#[test]
fn a_partial_hold_takes_what_there_is() {
    let now = "2026-01-02 00:00";
    let mut model = pool(now, put("pro", 1));
    let half = Adjustment {
        bucket: Bucket::Monthly,
        credits: 50,
    };
    model.apply(at(now), &Command::Adjust(half));
    let short = Command::Hold(asks_hold(801));
    assert_eq!(refusal(&mut model, now, short), "insufficient_credits");

    let partial = Hold {
        credits: Some(900 * CREDIT + 20),
        partial: true,
        round: Round::Up,
        ..asks_hold(0)
    };
    let answer = model.apply(at(now), &Command::Hold(partial.clone()));
    let Answer::Held {
        credits, requested, ..
    } = answer
    else {
        panic!("not held: {answer:?}");
    };
    assert_eq!((credits, requested), (80_050, 90_020), "in no steps");
    let nothing_left = Command::Hold(partial);
    assert_eq!(refusal(&mut model, now, nothing_left), "pool_empty");
}

#[test]
fn a_hold_is_bounded_by_what_is_owed() {
    let now = "2026-01-02 00:00";
    let mut model = pool(now, put("pro", 1));
    settle(&mut model, now, 900);
    model.apply(at(now), &adjust(Bucket::Monthly, 300));
    let short = Command::Hold(asks_hold(201));
    assert_eq!(refusal(&mut model, now, short), "insufficient_credits");
    hold(&mut model, now, 200);
    let monthly = balance(&model, now).monthly;
    assert_eq!((monthly.settled, monthly.available), (300 * CREDIT, 0));
}

#[test]
fn an_expired_hold_is_only_captured_late_and_once() {
    let mut model = pool("2026-01-01 00:00", put("pro", 1));
    let hold = hold(&mut model, "2026-01-02 00:00", 100);
    let now = "2026-01-02 00:15";
    let extend = Command::ExtendHold {
        hold,
        expires_in_seconds: 60,
    };
    for command in [
        captures(hold, 100, false),
        Command::ReleaseHold { hold },
        extend,
    ] {
        assert_eq!(refusal(&mut model, now, command), "hold_not_open");
    }
    assert_eq!(kinds(&model), ["open", "hold", "hold_expiry"]);

    settle(&mut model, now, 790);
    let answer = model.apply(at(now), &captures(hold, 30, true));
    let expected = Answer::Debited {
        seq: 5,
        credits: 30 * CREDIT,
        requested: None,
        monthly: 10 * CREDIT,
        addon: 0,
        overdraft: 20 * CREDIT,
        late: true,
        hold: Some(hold),
    };
    assert_eq!(answer, expected);
    let again = refusal(&mut model, now, captures(hold, 30, true));
    assert_eq!(again, "hold_not_open");
}

#[test]
fn a_hold_that_is_captured_or_released_is_not_open() {
    let now = "2026-01-02 00:00";
    let mut model = pool(now, put("pro", 1));
    let captured = hold(&mut model, now, 100);
    capture(&mut model, now, captured, 100);
    let released = hold(&mut model, now, 100);
    release(&mut model, now, released);
    for hold in [captured, released] {
        let late = captures(hold, 100, true);
        assert_eq!(refusal(&mut model, now, late), "hold_not_open");
        let again = Command::ReleaseHold { hold };
        assert_eq!(refusal(&mut model, now, again), "hold_not_open");
    }
    let unknown = captures(1, 100, true);
    assert_eq!(refusal(&mut model, now, unknown), "not_found");
    model.apply(at(now), &Command::Close);
    let closed = captures(1, 100, true);
    assert_eq!(refusal(&mut model, now, closed), "pool_closed");
}

#[test]
fn an_extended_hold_expires_so_long_after_that() {
    let mut model = pool("2026-01-01 00:00", put("pro", 1));
    let hold = hold(&mut model, "2026-01-02 00:00", 100);
    let extend = |expires_in_seconds| Command::ExtendHold {
        hold,
        expires_in_seconds,
    };
    let now = "2026-01-02 00:14:59";
    for wrong in [0, 86_401] {
        let refused = refusal(&mut model, now, extend(wrong));
        assert_eq!(refused, "validation_failed");
    }
    let expires_at = at("2026-01-03 00:14:59");
    let extended = Answer::Extended { seq: 3, expires_at };
    assert_eq!(model.apply(at(now), &extend(86_400)), extended);
    assert_eq!(last(&model), ("hold_extend", &[][..]));
    assert_eq!(balance(&model, "2026-01-03 00:14:58").held, 100 * CREDIT);
    assert_eq!(balance(&model, "2026-01-03 00:14:59").held, 0);
}

#[test]
fn a_capture_may_repeat_the_price_of_now_or_of_the_hold() {
    let now = "2026-01-01 00:00";
    let mut model = pool(now, put("legacy_pro", 1));
    let of_a_feature = Hold {
        credits: None,
        operation: Some("add_feature".to_owned()),
        ..asks_hold(0)
    };
    let other_price = Hold {
        credits: Some(4 * CREDIT),
        ..of_a_feature.clone()
    };
    let refused = refusal(&mut model, now, Command::Hold(other_price));
    assert_eq!(refused, "price_is_fixed");
    let answer = model.apply(at(now), &Command::Hold(of_a_feature));
    assert!(matches!(answer, Answer::Held { credits: 300, .. }));

    let dearer = Operation {
        code: "add_feature".to_owned(),
        estimate: 100 * CREDIT,
        fixed: None,
        legacy_fixed: Some(5 * CREDIT),
    };
    model.apply(at(now), &Command::PutOperation(dearer));
    let between = captures(2, 4, false);
    assert_eq!(refusal(&mut model, now, between), "price_is_fixed");
    for price in [3, 5] {
        let mut model = model.clone();
        assert_eq!(capture(&mut model, now, 2, price).1, price);
    }
}

#[test]
fn amounts_and_numbers_of_holds_are_checked_in_order() {
    let now = "2026-01-01 00:00";
    let mut catalogue = Catalogue::defaults(at("2020-01-01 00:00"));
    catalogue.max_debit_credits = 1_000 * CREDIT;
    let mut model = Model::new(PoolKind::Workspace, catalogue);
    let nothing_there = Command::Hold(asks_hold(1));
    assert_eq!(refusal(&mut model, now, nothing_there), "not_found");
    change(&mut model, now, put("team", 1));
    for _ in 0..1_000 {
        hold(&mut model, now, 1);
    }
    let hundredths = |credits, round| Hold {
        credits,
        round,
        ..asks_hold(0)
    };
    let rows = [
        (None, Round::No, "validation_failed"),
        (Some(0), Round::No, "validation_failed"),
        (Some(100_001), Round::No, "not_a_multiple"),
        (Some(100_001), Round::Up, "debit_too_large"),
        (Some(100_049), Round::Nearest, "too_many_holds"),
    ];
    for (credits, round, code) in rows {
        let command = Command::Hold(hundredths(credits, round));
        assert_eq!(refusal(&mut model, now, command), code);
    }
    let too_large = captures(2, 1_001, true);
    assert_eq!(refusal(&mut model, now, too_large), "debit_too_large");
    capture(&mut model, now, 2, 1);
    hold(&mut model, now, 1);
}
