//! Debits, overdraft, purchases, adjustments, closing.

use super::*;

#[test]
fn a_plan_of_10_000_overdrawn_by_9_000_renews_to_1_000() {
    let mut model = pool("2026-01-01 00:00", enterprise(10_000));
    assert_eq!(
        settle(&mut model, "2026-01-05 00:00", 19_000),
        (10_000, 0, 9_000)
    );
    assert_eq!(
        balance(&model, "2026-01-05 00:00").available,
        -9_000 * CREDIT
    );

    let next = view(&model, "2026-01-05 00:00").next_grant;
    let expected = NextGrant {
        at: at("2026-02-01 00:00"),
        credits: 10_000 * CREDIT,
        overdraft_repaid: 9_000 * CREDIT,
        net: 1_000 * CREDIT,
    };
    assert_eq!(next, Some(expected));

    let renewed = balance(&model, "2026-02-01 00:00");
    assert_eq!(
        (renewed.available, renewed.overdraft),
        (1_000 * CREDIT, 0),
        "the grant repays what is owed"
    );
    assert_eq!((renewed.monthly.used, renewed.version), (0, 3));
    assert_eq!(renewed.monthly.granted, 10_000 * CREDIT);
}

#[test]
fn what_is_about_to_lapse_repays_an_overdraft_first() {
    let mut model = pool("2026-01-01 00:00", put("pro", 1));
    settle(&mut model, "2026-01-02 00:00", 1_000);
    model.apply(at("2026-01-03 00:00"), &adjust(Bucket::Monthly, 300));
    let repaying = &balance(&model, "2026-01-03 00:00");
    assert_eq!((repaying.overdraft, repaying.available), (20_000, 10_000));

    model.apply(at("2026-02-01 00:00"), &Command::Advance);
    let renewal = model.journal().last().expect("there is a renewal");
    let expected = [
        Account::Monthly.to(Account::Overdraft, 200 * CREDIT),
        Account::Monthly.to(Account::Lapsed, 100 * CREDIT),
        Account::IssuedMonthly.to(Account::Monthly, 800 * CREDIT),
    ];
    assert_eq!(renewal.transfers, expected);

    buy(&mut model, "2026-02-02 00:00", 1_000, "2025-02-03 00:00");
    settle(&mut model, "2026-02-02 12:00", 1_900);
    model.apply(at("2026-02-02 13:00"), &adjust(Bucket::Addon, 400));
    model.apply(at("2026-02-03 00:00"), &Command::Advance);
    let expiry = model.journal().last().expect("there is an expiry");
    let expected = [
        Account::Addon.to(Account::Overdraft, 100 * CREDIT),
        Account::Addon.to(Account::Lapsed, 300 * CREDIT),
    ];
    assert_eq!(
        (expiry.kind, &expiry.transfers[..]),
        (Kind::AddonExpiry, &expected[..])
    );
}

#[test]
fn the_whole_addon_pool_expires_a_year_after_the_latest_payment() {
    let mut model = pool("2026-01-01 00:00", put("pro", 1));
    buy(&mut model, "2026-01-10 00:00", 500, "2026-01-10 00:00");
    let until = buy(&mut model, "2026-06-05 00:00", 300, "2026-06-05 00:00");
    assert_eq!(until, at("2027-06-05 00:00"));
    let earlier = buy(&mut model, "2026-06-06 00:00", 100, "2026-01-15 00:00");
    assert_eq!(earlier, until, "an earlier payment takes nothing back");

    let before = balance(&model, "2027-06-04 23:59").addon;
    assert_eq!((before.settled, before.granted), (90_000, 90_000));
    assert_eq!(before.expires_at, Some(until));
    let after = balance(&model, "2027-06-05 00:00").addon;
    assert_eq!(
        (after.settled, after.granted, after.expires_at),
        (0, 0, None)
    );
}

#[test]
fn a_payment_delivered_after_the_expiry_brings_back_what_lapsed() {
    let mut model = pool("2025-01-01 00:00", put("pro", 1));
    buy(&mut model, "2025-01-10 00:00", 500, "2025-01-10 00:00");
    assert_eq!(settle(&mut model, "2025-01-11 00:00", 900), (800, 100, 0));
    let until = buy(&mut model, "2026-01-12 00:00", 100, "2026-01-09 00:00");
    assert_eq!(until, at("2027-01-09 00:00"));
    let addon = balance(&model, "2026-01-12 00:00").addon;
    assert_eq!((addon.settled, addon.granted), (500 * CREDIT, 600 * CREDIT));
    let all = kinds(&model);
    assert_eq!(all[all.len() - 2..], ["reinstatement", "purchase"]);

    buy(&mut model, "2026-01-13 00:00", 100, "2026-01-09 12:00");
    let addon = balance(&model, "2026-01-13 00:00").addon;
    assert_eq!((addon.settled, addon.granted), (60_000, 70_000), "once");
}

#[test]
fn a_purchase_is_refused_by_plan_then_quantity_then_date() {
    let now = "2026-02-01 00:00";
    let mut free = pool(now, put("free", 1));
    assert_eq!(
        refusal(&mut free, now, paid(50, now, "a")),
        "addons_not_allowed"
    );

    let mut model = pool(now, put("pro", 1));
    let rows = [
        (50, "2026-03-01 00:00", "invalid_quantity"),
        (-100, now, "invalid_quantity"),
        (150, now, "invalid_quantity"),
        (1_000_000_100, now, "invalid_quantity"),
        (100, "2026-03-01 00:00", "validation_failed"),
        (100, "2025-02-01 00:00", "validity_over"),
    ];
    for (credits, paid_at, code) in rows {
        let command = paid(credits, paid_at, "a");
        assert_eq!(refusal(&mut model, now, command), code);
    }
    let first = model.apply(at(now), &paid(100, now, "a"));
    let again = model.apply(at(now), &paid(100, now, "a"));
    assert!(matches!(
        first,
        Answer::Purchased {
            seq: 2,
            first: true,
            ..
        }
    ));
    assert!(matches!(
        again,
        Answer::Purchased {
            seq: 2,
            first: false,
            ..
        }
    ));
    let other = paid(200, now, "a");
    assert_eq!(refusal(&mut model, now, other), "payment_reference_reused");
}

#[test]
fn a_debit_draws_monthly_then_addon_and_a_short_one_is_refused() {
    let now = "2026-01-01 00:00";
    let mut model = pool(now, put("pro", 1));
    buy(&mut model, now, 100, now);
    let short = refusal(&mut model, now, Command::Debit(debit(901, false)));
    assert_eq!(short, "insufficient_credits");
    assert_eq!(settle(&mut model, now, 850), (800, 50, 0));
    let just_enough = model.authorize(at(now), Some(50 * CREDIT), None);
    assert!(just_enough.expect("a fair question").allowed);

    assert_eq!(settle(&mut model, now, 70), (0, 50, 20));
    let empty = refusal(&mut model, now, Command::Debit(debit(1, false)));
    assert_eq!(empty, "pool_empty");
    let used = balance(&model, now).monthly.used;
    assert_eq!(used, 800 * CREDIT, "overdraft does not count");
    let average = model.authorize(at(now), None, Some("add_feature"));
    let expected = Authorization {
        allowed: false,
        code: Some("pool_empty"),
        available: -20 * CREDIT,
        required: None,
        estimate: Some(100 * CREDIT),
        renews_at: at("2026-02-01 00:00"),
        version: 4,
    };
    assert_eq!(average, Ok(expected));
}

#[test]
fn an_operation_with_a_fixed_price_needs_no_amount() {
    let now = "2026-01-01 00:00";
    let mut model = pool(now, put("pro", 1));
    let operation = Operation {
        code: "custom_code".to_owned(),
        estimate: 2 * CREDIT,
        fixed: Some(4 * CREDIT),
        legacy_fixed: None,
    };
    model.apply(at(now), &Command::PutOperation(operation));
    let price = model.authorize(at(now), None, Some("custom_code"));
    assert_eq!(price.map(|price| price.required), Ok(Some(4 * CREDIT)));
}

#[test]
fn prices_amounts_and_steps_are_checked_in_order() {
    let asks = |credits, operation: Option<&str>, round| {
        Command::Debit(Debit {
            credits,
            operation: operation.map(str::to_owned),
            run: None,
            settle: true,
            round,
        })
    };
    let now = "2026-01-01 00:00";
    let mut model = pool(now, put("pro", 1));
    let rows = [
        (None, None, Round::No, "validation_failed"),
        (None, Some("nothing"), Round::No, "unknown_operation"),
        (None, Some("custom_code"), Round::No, "validation_failed"),
        (Some(0), None, Round::No, "validation_failed"),
        (
            Some(LARGEST_AMOUNT + 1),
            None,
            Round::No,
            "validation_failed",
        ),
        (Some(150), None, Round::No, "not_a_multiple"),
        (Some(49), None, Round::Nearest, "validation_failed"),
    ];
    for (credits, operation, round, code) in rows {
        let command = asks(credits, operation, round);
        assert_eq!(refusal(&mut model, now, command), code);
    }
    for (round, booked) in [(Round::Nearest, 100), (Round::Up, 200)] {
        let answer = model.apply(at(now), &asks(Some(149), None, round));
        let Answer::Debited {
            credits, requested, ..
        } = answer
        else {
            panic!("not booked: {answer:?}");
        };
        assert_eq!((credits, requested), (booked, Some(149)));
    }

    let mut legacy = pool(now, put("legacy_pro", 1));
    let other_price = asks(Some(400), Some("add_feature"), Round::No);
    assert_eq!(refusal(&mut legacy, now, other_price), "price_is_fixed");
    let answer = legacy.apply(at(now), &asks(None, Some("add_feature"), Round::No));
    assert!(matches!(
        answer,
        Answer::Debited {
            credits: 300,
            requested: None,
            ..
        }
    ));
    let step = legacy.apply(at(now), &asks(Some(10), None, Round::No));
    assert!(matches!(step, Answer::Debited { credits: 10, .. }));
}

#[test]
fn an_adjustment_opens_an_addon_pool_and_never_goes_below_zero() {
    let now = "2026-01-31 00:00";
    let mut model = pool(now, put("free", 1));
    let too_much = adjust(Bucket::Monthly, -101);
    assert_eq!(refusal(&mut model, now, too_much), "adjustment_below_zero");
    let nothing_there = adjust(Bucket::Addon, -1);
    assert_eq!(
        refusal(&mut model, now, nothing_there),
        "adjustment_below_zero"
    );
    model.apply(at(now), &adjust(Bucket::Addon, 5));
    model.apply(at(now), &adjust(Bucket::Addon, -5));
    let addon = balance(&model, now).addon;
    assert_eq!((addon.settled, addon.granted), (0, 0));
    assert_eq!(addon.expires_at, Some(at("2027-01-31 00:00")));
    model.apply(at("2027-01-31 00:00"), &Command::Advance);
    let expiry = &model.journal()[model.journal().len() - 2];
    assert_eq!(expiry.kind, Kind::AddonExpiry, "before the renewal");
    assert!(expiry.transfers.is_empty());
}

#[test]
fn a_closed_pool_is_frozen() {
    let body = licensed(
        put("pro", 1),
        LicenseType::Paid,
        Some(at("2026-01-20 00:00")),
    );
    let mut model = pool("2026-01-01 00:00", body);
    let closed = Answer::Closed { seq: 2 };
    assert_eq!(model.apply(at("2026-01-05 00:00"), &Command::Close), closed);
    assert_eq!(model.apply(at("2027-01-05 00:00"), &Command::Close), closed);
    let now = "2027-01-05 00:00";
    let write = Command::Debit(debit(1, true));
    assert_eq!(refusal(&mut model, now, write), "pool_closed");
    let frozen = view(&model, now);
    assert_eq!(frozen.balance.available, 800 * CREDIT);
    assert_eq!((frozen.closed, frozen.next_grant), (true, None));
}

#[test]
fn every_account_together_comes_to_zero() {
    let mut model = pool("2026-01-01 00:00", put("pro", 1));
    settle(&mut model, "2026-01-02 00:00", 1_000);
    buy(&mut model, "2026-01-03 00:00", 100, "2025-01-05 00:00");
    model.apply(at("2026-03-03 00:00"), &adjust(Bucket::Monthly, -7));
    let total: i64 = Account::ALL
        .into_iter()
        .map(|each| model.account(each))
        .sum();
    assert_eq!(total, 0);
    assert_eq!(model.account(Account::Consumed), 1_000 * CREDIT);
}
