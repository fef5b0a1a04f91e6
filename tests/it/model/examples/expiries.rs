//! Holds and refunds where other things end: at one instant, with their pool, and around add-on
//! pools that expire and come back.

use super::*;

#[test]
fn holds_expire_in_the_order_of_opening_before_all_else_that_is_due() {
    let end = "2026-02-01 00:00";
    let body = licensed(put("free", 1), LicenseType::Paid, Some(at(end)));
    let mut model = pool("2025-02-01 00:00", body);
    model.apply(at("2025-02-01 00:00"), &adjust(Bucket::Addon, 5));
    let first = hold(&mut model, "2026-01-31 23:50", 60);
    hold_for(&mut model, "2026-01-31 23:51", 43, 540);
    let extend = Command::ExtendHold {
        hold: first,
        expires_in_seconds: 480,
    };
    model.apply(at("2026-01-31 23:52"), &extend);

    let before = model.journal().len();
    let too_late = captures(first, 60, false);
    assert_eq!(refusal(&mut model, end, too_late), "hold_not_open");
    let due = &model.journal()[before..];
    assert!(due.iter().all(|entry| entry.at == at(end)));
    let all: Vec<_> = due
        .iter()
        .map(|entry| (entry.kind, entry.transfers.clone()))
        .collect();
    let whole = |from: Account, to, credits| from.to(to, credits * CREDIT);
    let expected = [
        (
            Kind::HoldExpiry,
            vec![whole(Account::HeldMonthly, Account::Monthly, 60)],
        ),
        (
            Kind::HoldExpiry,
            vec![
                whole(Account::HeldMonthly, Account::Monthly, 40),
                whole(Account::HeldAddon, Account::Addon, 3),
            ],
        ),
        (
            Kind::AddonExpiry,
            vec![whole(Account::Addon, Account::Lapsed, 5)],
        ),
        (Kind::LicenseEnd, vec![]),
        (
            Kind::Renewal,
            vec![
                whole(Account::Monthly, Account::Lapsed, 100),
                whole(Account::IssuedMonthly, Account::Monthly, 100),
            ],
        ),
    ];
    assert_eq!(all, expected);
}

#[test]
fn every_end_of_a_cycle_leaves_its_holds_capturable() {
    let start = "2026-01-01 00:00";
    let until = Some(at("2026-01-10 00:00"));
    let body = licensed(put("pro", 1), LicenseType::Paid, until);
    let mut model = pool(start, body);
    let one = hold_for(&mut model, "2026-01-09 12:00", 500, 86_400);
    let to_ended = Account::HeldMonthly.to(Account::HeldEnded, 500 * CREDIT);

    let mut raised = model.clone();
    let now = "2026-01-09 13:00";
    assert_eq!(change(&mut raised, now, put("pro", 2)), Change::Increase);
    assert_eq!(last(&raised).0, "restart");
    assert_eq!(last(&raised).1[1], to_ended);
    assert_eq!(capture(&mut raised, now, one, 500).1, 500);
    assert_eq!(balance(&raised, now).available, 1_600 * CREDIT);

    let now = "2026-01-10 00:00";
    model.apply(at(now), &Command::Advance);
    assert_eq!(last(&model).0, "license_end");
    assert_eq!(last(&model).1[1], to_ended);
    assert_eq!(capture(&mut model, now, one, 500).1, 500);
    assert_eq!(balance(&model, now).available, 100 * CREDIT);
}

#[test]
fn closing_releases_what_is_held() {
    let mut model = pool("2026-01-01 00:00", put("pro", 1));
    hold(&mut model, "2026-01-31 23:59:59", 100);
    hold(&mut model, "2026-02-01 00:00:01", 50);
    let now = "2026-02-01 00:00:02";
    let closed = Answer::Closed { seq: 7 };
    assert_eq!(model.apply(at(now), &Command::Close), closed);
    assert_eq!(kinds(&model)[4..], ["release", "release", "close"]);
    let [first, second] = [4, 5].map(|place: usize| &model.journal()[place].transfers[..]);
    let lapsed = Account::HeldEnded.to(Account::Lapsed, 100 * CREDIT);
    let given_back = Account::HeldMonthly.to(Account::Monthly, 50 * CREDIT);
    assert_eq!((first, second), (&[lapsed][..], &[given_back][..]));

    let later = "2026-02-02 00:00";
    assert_eq!(model.apply(at(later), &Command::Close), closed);
    let frozen = balance(&model, later);
    assert_eq!((frozen.available, frozen.held), (800 * CREDIT, 0));
    let refused = refusal(&mut model, later, Command::ReleaseHold { hold: 2 });
    assert_eq!(refused, "pool_closed");
}

/// The monthly credits are spent, and add-on credits expire on 2026-01-10: 200 and 50 of them held
/// since just before, 20 spent, 230 left. Answers the two holds and the debit.
fn with_expiring_addons() -> (Model, [usize; 3]) {
    let mut model = pool("2025-01-01 00:00", put("pro", 1));
    buy(&mut model, "2025-01-10 00:00", 500, "2025-01-10 00:00");
    let now = "2026-01-09 23:59";
    assert_eq!(settle(&mut model, now, 800), (800, 0, 0));
    let kept = hold_for(&mut model, now, 200, 86_400);
    let released = hold_for(&mut model, now, 50, 86_400);
    let debit = debit_for(&mut model, now, 20, "r-1");
    (model, [kept, released, debit])
}

#[test]
fn a_held_addon_part_outlives_its_pool_and_comes_back_with_it() {
    let (mut model, [kept, released, debit]) = with_expiring_addons();
    model.apply(at("2026-01-10 00:00"), &Command::Advance);
    let moved = [
        Account::Addon.to(Account::Lapsed, 230 * CREDIT),
        Account::HeldAddon.to(Account::HeldEnded, 250 * CREDIT),
    ];
    assert_eq!(last(&model), ("addon_expiry", &moved[..]));
    let mut captured = model.clone();
    let now = "2026-01-10 00:01";
    assert_eq!(capture(&mut captured, now, kept, 200).2, 200);

    release(&mut model, now, released);
    let lapsed = [Account::HeldEnded.to(Account::Lapsed, 50 * CREDIT)];
    assert_eq!(last(&model), ("release", &lapsed[..]));
    assert_eq!(refund(&mut model, now, debit, Some(15)), [0, 0, 0, 15]);
    let gone = balance(&model, now);
    assert_eq!((gone.held, gone.addon.held), (200 * CREDIT, 0));

    let now = "2026-01-10 00:05";
    buy(&mut model, now, 100, "2026-01-09 00:00");
    let reinstatement = &model.journal()[model.journal().len() - 2];
    let back = [
        Account::Lapsed.to(Account::Addon, (230 + 50 + 15) * CREDIT),
        Account::HeldEnded.to(Account::HeldAddon, 200 * CREDIT),
    ];
    assert_eq!(
        (reinstatement.kind, &reinstatement.transfers[..]),
        (Kind::Reinstatement, &back[..])
    );
    assert_eq!(refund(&mut model, now, debit, None), [0, 5, 0, 0], "live");
    release(&mut model, now, kept);
    let addon = balance(&model, now).addon;
    assert_eq!((addon.settled, addon.granted), (60_000, 60_000));

    buy(&mut model, now, 100, "2026-01-09 12:00");
    let addon = balance(&model, now).addon;
    assert_eq!((addon.settled, addon.granted), (70_000, 70_000), "once");
}

#[test]
fn a_pool_that_comes_back_becomes_one_with_a_newer_one() {
    let (mut model, [kept, released, debit]) = with_expiring_addons();
    let now = "2026-01-10 00:01";
    buy(&mut model, now, 300, "2026-01-10 00:00");
    let newer = debit_for(&mut model, now, 10, "r-2");
    let held = hold_for(&mut model, now, 30, 86_400);
    let addon = balance(&model, now).addon;
    assert_eq!((addon.settled, addon.held), (290 * CREDIT, 30 * CREDIT));
    release(&mut model, now, released);
    assert_eq!(balance(&model, now).addon, addon, "what is released lapses");

    buy(&mut model, now, 100, "2026-01-09 00:00");
    let addon = balance(&model, now).addon;
    let settled = 290 + 230 + 50 + 200 + 100;
    assert_eq!(
        (addon.settled, addon.held, addon.granted),
        (settled * CREDIT, 230 * CREDIT, 900 * CREDIT)
    );
    assert_eq!(refund(&mut model, now, debit, None), [0, 20, 0, 0]);
    assert_eq!(refund(&mut model, now, newer, None), [0, 10, 0, 0]);
    for hold in [kept, held] {
        release(&mut model, now, hold);
    }
    let addon = balance(&model, now).addon;
    assert_eq!((addon.settled, addon.held), (90_000, 0));
    assert_eq!(model.account(Account::HeldEnded), 0);

    // Together they expire, and together they can come back.
    let spent = debit_for(&mut model, now, 40, "r-3");
    let now = "2027-01-10 00:00";
    assert_eq!(refund(&mut model, now, spent, None), [0, 0, 0, 40]);
    buy(&mut model, now, 100, "2027-01-09 00:00");
    assert_eq!(balance(&model, now).addon.settled, (900 + 100) * CREDIT);
}

#[test]
fn a_pool_comes_back_even_where_there_is_nothing_to_book() {
    let mut model = pool("2025-01-01 00:00", put("pro", 1));
    model.apply(at("2025-01-10 00:00"), &adjust(Bucket::Addon, 10));
    assert_eq!(settle(&mut model, "2025-01-11 00:00", 810), (800, 10, 0));
    let now = "2026-01-10 00:00";
    buy(&mut model, now, 100, "2026-01-09 00:00");
    let all = kinds(&model);
    assert_eq!(all[all.len() - 2..], ["addon_expiry", "purchase"]);
    assert_eq!(refund(&mut model, now, 3, None), [0, 10, 0, 800]);
}

#[test]
fn what_a_hold_gives_back_to_a_bucket_repays_only_when_it_would_lapse() {
    let (mut model, [kept, ..]) = with_expiring_addons();
    let now = "2026-01-09 23:59:59";
    assert_eq!(settle(&mut model, now, 300), (0, 230, 70));
    let mut released = model.clone();
    release(&mut released, now, kept);
    let after = balance(&released, now);
    assert_eq!((after.overdraft, after.available), (7_000, 13_000));
    released.apply(at("2026-01-10 00:00"), &Command::Advance);
    let moved = [
        Account::Addon.to(Account::Overdraft, 70 * CREDIT),
        Account::Addon.to(Account::Lapsed, 130 * CREDIT),
        Account::HeldAddon.to(Account::HeldEnded, 50 * CREDIT),
    ];
    assert_eq!(last(&released), ("addon_expiry", &moved[..]));

    let now = "2026-01-10 00:01";
    release(&mut model, now, kept);
    assert_eq!(balance(&model, now).overdraft, 70 * CREDIT);
}
