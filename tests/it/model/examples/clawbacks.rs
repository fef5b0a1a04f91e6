//! What payments lose and get back: what is taken, what is collected later, and which end moves.

use super::*;

const FIRST: &str = "2026-01-01 00:00";

/// On `pro`, its 800 monthly credits spent.
fn spent() -> Model {
    let mut model = pool(FIRST, put("pro", 1));
    settle(&mut model, FIRST, 800);
    model
}

/// Buys whole credits with a bonus, paid now; answers the entry.
fn bought(model: &mut Model, now: &str, credits: i64, bonus: i64) -> usize {
    let purchase = Purchase {
        credits: credits * CREDIT,
        bonus: bonus * CREDIT,
        paid_at: None,
        reference: now.to_owned(),
    };
    match model.apply(at(now), &Command::Purchase(purchase)) {
        Answer::Purchased { seq, .. } => seq,
        other => panic!("not bought: {other:?}"),
    }
}

/// Of ten dollars that were charged: refunded, disputed, and lost by a dispute.
fn of_ten_dollars(purchase: usize, [refunded, disputed, dispute_lost]: [i64; 3]) -> Command {
    Command::Settle(Settle {
        purchase,
        charged: 1_000,
        refunded,
        disputed,
        dispute_lost,
    })
}

/// What is clawed back and what is uncollected of the purchase then, in whole credits.
fn told(model: &mut Model, now: &str, purchase: usize, cents: [i64; 3]) -> (i64, i64) {
    match model.apply(at(now), &of_ten_dollars(purchase, cents)) {
        Answer::Settled {
            seq: Some(_),
            clawed_back,
            uncollected,
        } => (clawed_back / CREDIT, uncollected / CREDIT),
        other => panic!("not booked: {other:?}"),
    }
}

/// Settled and granted, in whole credits.
fn addon(model: &Model, now: &str) -> (i64, i64) {
    let addon = balance(model, now).addon;
    (addon.settled / CREDIT, addon.granted / CREDIT)
}

fn clawed_back(credits: i64) -> Vec<Transfer> {
    vec![Account::Addon.to(Account::ClawedBack, credits * CREDIT)]
}

#[test]
fn a_payment_loses_its_share_of_credits_and_bonus_and_gets_it_back() {
    let now = "2026-01-02 00:00";
    let mut model = spent();
    let one = bought(&mut model, now, 500, 50);
    assert_eq!(told(&mut model, now, one, [333, 0, 0]), (183, 0), "of 550");
    assert_eq!(last(&model), ("clawback", &clawed_back(183)[..]));
    assert_eq!(addon(&model, now), (367, 367));

    // Each part by itself is rounded down: 183.15 and 183.15.
    assert_eq!(told(&mut model, now, one, [333, 333, 0]), (366, 0));
    assert_eq!(told(&mut model, now, one, [800, 333, 0]), (550, 0), "all");
    assert_eq!(addon(&model, now), (0, 0));

    assert_eq!(told(&mut model, now, one, [333, 0, 0]), (183, 0), "won");
    let back = [Account::ClawedBack.to(Account::Addon, 367 * CREDIT)];
    assert_eq!(last(&model), ("clawback_reversal", &back[..]));
    assert_eq!(addon(&model, now), (367, 367));
}

#[test]
fn a_state_that_takes_nothing_is_booked_once() {
    let now = "2026-01-02 00:00";
    let mut model = spent();
    let one = bought(&mut model, now, 100, 0);
    assert_eq!(told(&mut model, now, one, [0, 400, 0]), (40, 0));
    assert_eq!(told(&mut model, now, one, [0, 0, 400]), (40, 0));
    assert_eq!(last(&model), ("clawback", &[][..]));
    let entries = model.journal().len();
    let again = model.apply(at(now), &of_ten_dollars(one, [0, 0, 400]));
    let expected = Answer::Settled {
        seq: None,
        clawed_back: 40 * CREDIT,
        uncollected: 0,
    };
    assert_eq!((again, model.journal().len()), (expected, entries));

    let unknown = of_ten_dollars(1, [0, 0, 400]);
    assert_eq!(refusal(&mut model, now, unknown), "not_found");
    model.apply(at(now), &Command::Close);
    let again = of_ten_dollars(one, [0, 0, 400]);
    assert_eq!(refusal(&mut model, now, again), "pool_closed");
    let mut nowhere = workspace();
    let nothing = of_ten_dollars(1, [0, 0, 0]);
    assert_eq!(refusal(&mut nowhere, now, nothing), "not_found");
}

#[test]
fn what_is_not_there_is_collected_as_holds_and_refunds_free_it() {
    let now = "2026-01-02 00:00";
    let mut model = spent();
    let one = bought(&mut model, now, 300, 0);
    let other = bought(&mut model, "2026-01-02 00:01", 200, 0);
    let now = "2026-01-02 00:02";
    let held = hold_for(&mut model, now, 100, 60);
    let released = hold(&mut model, now, 50);
    let captured = hold(&mut model, now, 60);
    let debit = debit_for(&mut model, now, 250, "r-1");
    assert_eq!(told(&mut model, now, one, [1_000, 0, 0]), (40, 260));
    assert_eq!(told(&mut model, now, other, [500, 0, 0]), (0, 100));
    assert_eq!(addon(&model, now), (210, 460), "never below zero");

    release(&mut model, now, released);
    assert_eq!(last(&model), ("clawback", &clawed_back(50)[..]));
    capture(&mut model, now, captured, 20);
    assert_eq!(last(&model), ("clawback", &clawed_back(40)[..]));
    model.apply(at("2026-01-02 00:10"), &Command::Advance);
    assert_eq!(last(&model), ("clawback", &clawed_back(100)[..]));
    let collected = model.journal().last().expect("it was collected");
    assert_eq!(collected.at, at("2026-01-02 00:03"), "as the hold expired");
    assert_eq!(kinds(&model)[collected.seq - 2], "hold_expiry");
    let gone = Command::ReleaseHold { hold: held };
    let now = "2026-01-02 00:10";
    assert_eq!(refusal(&mut model, now, gone), "hold_not_open");

    // 70 of the first and 100 of the second are still to be collected.
    assert_eq!(refund(&mut model, now, debit, Some(90)), [0, 90, 0, 0]);
    assert_eq!(kinds(&model)[16..], ["refund", "clawback", "clawback"]);
    assert_eq!(model.journal()[17].transfers, clawed_back(70));
    assert_eq!(model.journal()[18].transfers, clawed_back(20));
    assert_eq!(told(&mut model, now, other, [200, 0, 0]), (20, 20));
    assert_eq!(last(&model), ("clawback_reversal", &[][..]));
    let run = Command::RefundRun {
        run: "r-1".to_owned(),
    };
    model.apply(at(now), &run);
    assert_eq!(last(&model), ("clawback", &clawed_back(20)[..]));
    assert_eq!(addon(&model, now), (140, 160));
}

#[test]
fn a_run_is_collected_from_when_all_its_refunds_are_booked() {
    let now = "2026-01-02 00:00";
    let mut model = spent();
    let one = bought(&mut model, now, 300, 0);
    for _ in 0..3 {
        debit_for(&mut model, now, 100, "r-1");
    }
    assert_eq!(told(&mut model, now, one, [500, 0, 0]), (0, 150));
    let run = Command::RefundRun {
        run: "r-1".to_owned(),
    };
    model.apply(at(now), &run);
    let expected = ["refund", "refund", "refund", "clawback"];
    assert_eq!(kinds(&model)[7..], expected);
    assert_eq!(model.journal()[10].transfers, clawed_back(150));
}

#[test]
fn closing_collects_from_what_it_releases() {
    let now = "2026-01-02 00:00";
    let mut model = spent();
    let one = bought(&mut model, now, 300, 0);
    hold(&mut model, now, 200);
    hold(&mut model, now, 100);
    assert_eq!(told(&mut model, now, one, [800, 0, 0]), (0, 240));
    model.apply(at(now), &Command::Close);
    let expected = ["release", "clawback", "release", "clawback", "close"];
    assert_eq!(kinds(&model)[6..], expected);
    assert_eq!(addon(&model, now), (60, 60));
}

#[test]
fn a_full_refund_takes_the_validity_back_to_the_latest_that_stands() {
    let mut model = spent();
    let one = bought(&mut model, "2026-02-01 00:00", 100, 0);
    let two = bought(&mut model, "2026-03-01 00:00", 100, 0);
    let three = bought(&mut model, "2026-04-01 00:00", 100, 0);
    let now = "2026-04-02 00:00";
    let until = |model: &Model, now: &str| balance(model, now).addon.expires_at;
    told(&mut model, now, three, [999, 1, 0]);
    assert_eq!(until(&model, now), Some(at("2027-04-01 00:00")));
    told(&mut model, now, two, [0, 0, 1]);
    assert_eq!(until(&model, now), Some(at("2027-04-01 00:00")));
    told(&mut model, now, three, [1_000, 0, 0]);
    assert_eq!(until(&model, now), Some(at("2027-02-01 00:00")));
    told(&mut model, now, three, [0, 0, 0]);
    assert_eq!(until(&model, now), Some(at("2027-02-01 00:00")), "for good");
    told(&mut model, now, one, [1_000, 0, 0]);
    assert_eq!(
        until(&model, now),
        Some(at("2027-02-01 00:00")),
        "never later"
    );
    told(&mut model, now, three, [1_000, 0, 0]);
    assert_eq!(
        until(&model, now),
        Some(at("2027-02-01 00:00")),
        "none stands"
    );
}

#[test]
fn a_validity_that_is_over_by_a_refund_ends_now_and_not_before() {
    let mut model = spent();
    bought(&mut model, "2026-02-01 00:00", 100, 10);
    let two = bought(&mut model, "2026-03-01 00:00", 100, 0);
    let now = "2027-02-02 00:00";
    model.apply(at(now), &Command::Advance);
    settle(&mut model, now, 850);
    let debit = model.journal().len();
    told(&mut model, now, two, [400, 0, 0]);
    assert_eq!(told(&mut model, now, two, [1_000, 0, 0]), (100, 0));
    let lapsed = [Account::Addon.to(Account::Lapsed, 60 * CREDIT)];
    assert_eq!(last(&model), ("addon_expiry", &lapsed[..]));
    let expiry = model.journal().last().expect("it expired");
    assert_eq!(expiry.at, at(now));

    assert_eq!(told(&mut model, now, two, [0, 0, 0]), (0, 0));
    let back = [Account::ClawedBack.to(Account::Lapsed, 100 * CREDIT)];
    assert_eq!(last(&model), ("clawback_reversal", &back[..]));
    refund(&mut model, now, debit, Some(20));
    assert_eq!(addon(&model, now), (0, 0));

    // A payment from before that end brings back what it bought, less what is spent.
    buy(&mut model, now, 100, "2027-02-01 12:00");
    assert_eq!(addon(&model, now), (60 + 100 + 20 + 100, 110 + 100 + 100));
}

#[test]
fn a_payment_of_an_expired_pool_is_taken_from_what_there_is() {
    let mut model = pool("2025-01-01 00:00", put("pro", 1));
    let old = bought(&mut model, "2025-01-10 00:00", 100, 0);
    let now = "2026-01-10 00:00";
    bought(&mut model, now, 300, 0);
    model.apply(at(now), &adjust(Bucket::Addon, -250));
    assert_eq!(told(&mut model, now, old, [1_000, 0, 0]), (50, 50));
    assert_eq!(
        addon(&model, now),
        (0, 300),
        "nothing of what was bought into it"
    );
    let until = balance(&model, now).addon.expires_at;
    assert_eq!(until, Some(at("2027-01-10 00:00")));
    assert_eq!(told(&mut model, now, old, [200, 0, 0]), (20, 0));
    assert_eq!(
        addon(&model, now),
        (30, 300),
        "back where it was taken from"
    );
}
