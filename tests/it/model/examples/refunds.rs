//! Refunds: their order, what is owed, what has ended, runs.

use super::*;

#[test]
fn a_refund_undoes_a_debit_backwards() {
    let now = "2026-01-01 00:00";
    let mut model = pool(now, put("pro", 1));
    buy(&mut model, now, 100, now);
    assert_eq!(settle(&mut model, now, 920), (800, 100, 20));
    assert_eq!(refund(&mut model, now, 3, Some(30)), [20, 10, 0, 0]);
    assert_eq!(refund(&mut model, now, 3, Some(95)), [0, 90, 5, 0]);
    assert_eq!(balance(&model, now).monthly.used, 795 * CREDIT);
    let too_much = Command::Refund {
        debit: 3,
        credits: Some(796 * CREDIT),
    };
    assert_eq!(refusal(&mut model, now, too_much), "refund_exceeds_debit");

    assert_eq!(refund(&mut model, now, 3, None), [0, 0, 795, 0]);
    let after = balance(&model, now);
    assert_eq!((after.available, after.monthly.used), (900 * CREDIT, 0));
    let nothing_left = Command::Refund {
        debit: 3,
        credits: None,
    };
    assert_eq!(
        refusal(&mut model, now, nothing_left),
        "refund_exceeds_debit"
    );
}

#[test]
fn a_refund_of_a_capture_begins_with_what_was_drawn_anew() {
    let now = "2026-01-01 00:00";
    let mut model = pool(now, put("pro", 1));
    buy(&mut model, now, 300, now);
    let held = hold(&mut model, now, 900);
    model.apply(at(now), &adjust(Bucket::Monthly, 40));
    let answer = model.apply(at(now), &captures(held, 1_150, true));
    let Answer::Debited {
        seq,
        monthly,
        addon,
        overdraft,
        ..
    } = answer
    else {
        panic!("a settle capture always books: {answer:?}");
    };
    let drawn = [monthly, addon, overdraft].map(|part| part / CREDIT);
    assert_eq!(drawn, [840, 300, 10]);

    let rows = [
        (10, [10, 0, 0, 0]),
        (200, [0, 200, 0, 0]),
        (40, [0, 0, 40, 0]),
        (100, [0, 100, 0, 0]),
        (800, [0, 0, 800, 0]),
    ];
    for (credits, expected) in rows {
        let parts = refund(&mut model, now, seq, Some(credits));
        assert_eq!(parts, expected, "{credits}");
    }
}

#[test]
fn what_has_ended_lapses_when_it_is_refunded() {
    let mut model = pool("2026-01-01 00:00", put("pro", 1));
    let debit = debit_for(&mut model, "2026-01-31 23:59:59", 70, "r-1");
    let now = "2026-02-01 00:00";
    assert_eq!(refund(&mut model, now, debit, None), [0, 0, 0, 70]);
    let moved = [Account::Consumed.to(Account::Lapsed, 70 * CREDIT)];
    assert_eq!(last(&model), ("refund", &moved[..]));
    let after = balance(&model, now);
    assert_eq!((after.available, after.monthly.used), (800 * CREDIT, 0));
}

#[test]
fn a_refunded_overdraft_lowers_what_is_owed_and_never_lapses() {
    let mut model = pool("2026-01-01 00:00", put("pro", 1));
    settle(&mut model, "2026-01-02 00:00", 900);
    settle(&mut model, "2026-01-03 00:00", 50);
    let now = "2026-01-04 00:00";
    let mut owing = model.clone();
    assert_eq!(refund(&mut owing, now, 2, Some(100)), [100, 0, 0, 0]);
    assert_eq!(balance(&owing, now).overdraft, 50 * CREDIT);
    assert_eq!(balance(&owing, now).monthly.used, 800 * CREDIT);

    let now = "2026-02-02 00:00";
    assert_eq!(balance(&model, now).available, 650 * CREDIT, "repaid");
    settle(&mut model, now, 680);
    assert_eq!(
        refund(&mut model, now, 2, None),
        [30, 0, 70, 800],
        "whoever caused it"
    );
    let after = balance(&model, now);
    assert_eq!((after.available, after.overdraft), (70 * CREDIT, 0));
    assert_eq!(after.monthly.used, 650 * CREDIT, "it was never used of it");
}

#[test]
fn a_run_is_refunded_debit_by_debit_with_its_captures() {
    let now = "2026-01-01 00:00";
    let mut model = pool(now, put("pro", 1));
    let first = debit_for(&mut model, now, 70, "r-55");
    debit_for(&mut model, now, 5, "r-56");
    let of_the_run = Hold {
        run: Some("r-55".to_owned()),
        ..asks_hold(100)
    };
    model.apply(at(now), &Command::Hold(of_the_run));
    let (captured, ..) = capture(&mut model, now, 4, 30);
    let done = debit_for(&mut model, now, 10, "r-55");
    refund(&mut model, now, done, None);
    refund(&mut model, now, first, Some(20));

    let run = |name: &str| Command::RefundRun {
        run: name.to_owned(),
    };
    let refunded = |seq, debit, credits| RunRefund {
        seq,
        debit,
        credits: credits * CREDIT,
        overdraft: 0,
        addon: 0,
        monthly: credits * CREDIT,
        lapsed: 0,
    };
    let expected = Answer::RunRefunded {
        refunds: vec![refunded(9, first, 50), refunded(10, captured, 30)],
        credits: 80 * CREDIT,
    };
    assert_eq!(model.apply(at(now), &run("r-55")), expected);
    assert_eq!(balance(&model, now).available, 795 * CREDIT);
    for name in ["r-55", "r-57"] {
        let refused = refusal(&mut model, now, run(name));
        assert_eq!(refused, "refund_exceeds_debit", "{name}");
    }
    model.apply(at(now), &Command::Close);
    assert_eq!(refusal(&mut model, now, run("r-56")), "pool_closed");
}

#[test]
fn only_debits_are_refunded_and_only_real_amounts() {
    let now = "2026-01-01 00:00";
    let mut model = pool(now, put("pro", 1));
    let held = hold(&mut model, now, 10);
    let debit = debit_for(&mut model, now, 10, "r-1");
    let refunds = |debit, credits| Command::Refund { debit, credits };
    for unknown in [0, 1, held, 9] {
        let refused = refusal(&mut model, now, refunds(unknown, None));
        assert_eq!(refused, "not_found", "{unknown}");
    }
    for wrong in [0, -1, LARGEST_AMOUNT + 1] {
        let refused = refusal(&mut model, now, refunds(debit, Some(wrong)));
        assert_eq!(refused, "validation_failed", "{wrong}");
    }
    let hundredth = model.apply(at(now), &refunds(debit, Some(1)));
    assert!(matches!(hundredth, Answer::Refunded { monthly: 1, .. }));
    model.apply(at(now), &Command::Close);
    let closed = refusal(&mut model, now, refunds(9, Some(0)));
    assert_eq!(closed, "pool_closed");
}

#[test]
fn a_refund_lifts_no_bucket_above_the_limit_not_even_as_one_of_many() {
    let now = "2026-01-01 00:00";
    let mut model = pool(now, enterprise(100));
    let first = debit_for(&mut model, now, 10, "r-1");
    let second = debit_for(&mut model, now, 20, "r-1");
    hold(&mut model, now, 5);
    let limit = BALANCE_LIMIT / CREDIT;
    let most = LARGEST_AMOUNT / CREDIT;
    for _ in 0..limit / most - 1 {
        model.apply(at(now), &adjust(Bucket::Monthly, most));
    }
    // 70 were there, 5 of them held: the limit leaves room for the first of the two alone.
    model.apply(at(now), &adjust(Bucket::Monthly, most - 70 - 15));
    let refused = refusal(&mut model, now, adjust(Bucket::Monthly, 16));
    assert_eq!(refused, "balance_limit");
    let run = Command::RefundRun {
        run: "r-1".to_owned(),
    };
    assert_eq!(refusal(&mut model, now, run), "balance_limit");
    let all_of_the_second = Command::Refund {
        debit: second,
        credits: None,
    };
    let refused = refusal(&mut model, now, all_of_the_second);
    assert_eq!(refused, "balance_limit");
    assert_eq!(refund(&mut model, now, first, None), [0, 0, 10, 0]);
}
