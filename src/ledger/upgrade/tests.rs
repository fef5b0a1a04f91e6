//! Pools on legacy plans moved to the new ones: what lapses, what is granted, what stays.

use super::*;
use crate::ledger::samples::{
    booked, catalogue, decide, kinds, last_transfers, long_hold, moved, names, pass, pool, put,
    refusal, reserve, settle, spend, time, until,
};
use crate::ledger::samples::{capture, debit};
use crate::ledger::{Account, Command, Credits, Mode, Outcome, Patch, PutPool, Seats};

const NOW: &str = "2025-08-15T10:00:00Z";
const MOVE: &str = "2025-09-01T00:00:00Z";

fn upgrade(at: &str) -> Upgrade {
    Upgrade {
        at: time(at),
        plans: Upgrade::default_plans(),
    }
}

fn command(at: &str) -> Command {
    Command::Upgrade(Box::new(upgrade(at)))
}

#[test]
fn each_legacy_plan_gets_the_allowance_of_its_new_plan() {
    let rows = [
        ("legacy_free", 3, 30, "free", 100),
        ("legacy_pro", 3, 600, "pro", 2_400),
        ("legacy_team", 3, 1_500, "team", 6_000),
    ];
    for (old, builders, before, new, after) in rows {
        let mut book = pool(put(old, builders), NOW);
        assert_eq!(book.pool().granted, Credits::whole(before));
        booked(&mut book, MOVE, command(MOVE));
        let pool = book.pool();
        assert_eq!(pool.terms.plan.as_str(), new);
        assert_eq!(pool.monthly(), Credits::whole(after));
        assert_eq!(pool.denomination.units(), 100);
        assert!(!pool.legacy_prices);
        assert_eq!(pool.requested.terms, pool.terms);
    }
}

#[test]
fn the_old_balance_lapses_and_the_billing_date_stays() {
    let mut book = pool(put("legacy_pro", 1), NOW);
    spend(&mut book, NOW, debit(50));
    booked(&mut book, MOVE, command(MOVE));
    let moves = [
        moved(Account::Monthly, Account::Lapsed, 150),
        moved(Account::IssuedMonthly, Account::Monthly, 800),
    ];
    assert_eq!(last_transfers(&book), moves);
    let cycle = book.pool().cycle;
    assert_eq!(
        (cycle.start, cycle.end),
        (time(MOVE), time("2025-09-15T10:00:00Z"))
    );
    pass(&mut book, "2025-10-15T10:00:00Z");
    assert_eq!(
        kinds(&book),
        ["open", "debit", "upgrade", "renewal", "renewal"]
    );
    assert_eq!(book.pool().cycle.start, time("2025-10-15T10:00:00Z"));
    assert_eq!(book.pool().billing_anchor, time(NOW));
}

#[test]
fn a_pool_is_moved_once_and_others_not_at_all() {
    let mut book = pool(put("legacy_pro", 1), NOW);
    booked(&mut book, MOVE, command(MOVE));
    for book in [&mut book, &mut pool(put("pro", 1), NOW)] {
        let entries = book.entries().len();
        let outcome = decide(book, &catalogue(), MOVE, command(MOVE));
        assert_eq!(outcome, Ok(Outcome::Done));
        assert_eq!(book.entries().len(), entries);
    }
}

#[test]
fn what_is_owed_is_repaid_by_the_rest_and_then_by_the_fresh_grant() {
    let mut book = pool(put("legacy_free", 1), NOW);
    spend(&mut book, NOW, settle(45));
    booked(&mut book, MOVE, command(MOVE));
    assert_eq!(book.pool().monthly(), Credits::whole(85));
    assert_eq!(book.pool().overdraft(), Credits::ZERO);
}

#[test]
fn what_is_held_stays_capturable() {
    let mut book = pool(put("legacy_pro", 1), "2025-08-31T20:00:00Z");
    let hold = reserve(&mut book, "2025-08-31T20:00:00Z", long_hold(20));
    booked(&mut book, MOVE, command(MOVE));
    let held = book.pool().accounts.bucket(Account::HeldEnded);
    assert_eq!(held, Credits::whole(20));
    booked(&mut book, MOVE, capture(hold, 20, Mode::Strict));
    assert_eq!(book.pool().monthly(), Credits::whole(800));
}

#[test]
fn a_decrease_that_waits_is_moved_with_the_pool() {
    let mut book = pool(put("legacy_team", 1), NOW);
    crate::ledger::samples::change(&mut book, NOW, put("legacy_pro", 1));
    booked(&mut book, MOVE, command(MOVE));
    assert_eq!(book.pool().monthly(), Credits::whole(2_000));
    let pending = book
        .pool()
        .pending
        .as_ref()
        .map(|terms| terms.plan.as_str());
    assert_eq!(pending, Some("pro"));
    pass(&mut book, "2025-09-15T10:00:00Z");
    assert_eq!(book.pool().monthly(), Credits::whole(800));
}

#[test]
fn an_instance_on_the_old_free_plan_becomes_basic_and_unlimited_builders_keep_their_allowance() {
    let make = |put: PutPool| {
        let made = put.create(
            names("instance:a"),
            &catalogue(),
            Actor::default(),
            time(NOW),
        );
        made.expect("a good request")
    };
    let mut free = make(put("legacy_free", 1));
    booked(&mut free, MOVE, command(MOVE));
    assert_eq!(free.pool().terms.plan.as_str(), "basic");
    let mut unlimited = make(PutPool {
        builders: Patch::Set(Seats::Unlimited),
        monthly_allowance: Patch::Set(Credits::whole(9_000)),
        ..put("legacy_team", 1)
    });
    booked(&mut unlimited, MOVE, command(MOVE));
    assert_eq!(unlimited.pool().monthly(), Credits::whole(9_000));
}

#[test]
fn a_pool_that_fell_back_returns_to_the_new_plan() {
    let mut book = pool(until("2025-08-20", put("legacy_pro", 2)), NOW);
    pass(&mut book, "2025-08-20");
    booked(&mut book, MOVE, command(MOVE));
    assert_eq!(
        book.pool().terms.plan.as_str(),
        "free",
        "moved by its licence's end"
    );
    assert_eq!(book.pool().requested.terms.plan.as_str(), "pro");
    assert_eq!(
        book.pool().monthly(),
        Credits::whole(100),
        "and not granted again"
    );
}

#[test]
fn the_instant_is_never_before_the_last_entry_nor_after_now() {
    let book = pool(put("legacy_pro", 1), NOW);
    let rows = [
        ("2025-08-01", "2025-09-02", NOW),
        (MOVE, "2025-09-02", MOVE),
        (MOVE, "2025-08-20", "2025-08-20"),
    ];
    for (at, now, expected) in rows {
        assert_eq!(upgrade(at).instant(book.pool(), time(now)), time(expected));
    }
}

#[test]
fn a_request_of_before_is_no_change_and_another_one_is() {
    use crate::ledger::Change;
    let mut book = pool(put("legacy_pro", 2), NOW);
    booked(&mut book, MOVE, command(MOVE));
    let change = crate::ledger::samples::change;
    assert_eq!(change(&mut book, MOVE, put("legacy_pro", 2)), Change::None);
    assert_eq!(change(&mut book, MOVE, put("pro", 2)), Change::None);
    assert_eq!(book.pool().pending, None);
    let back = change(&mut book, MOVE, put("legacy_pro", 3));
    assert_eq!(back, Change::Decrease, "that was never asked for before");
}

#[test]
fn a_closed_pool_is_left_as_it_is() {
    let mut book = pool(put("legacy_pro", 1), NOW);
    decide(&mut book, &catalogue(), NOW, Command::Close).expect("it closes");
    assert_eq!(refusal(&mut book, MOVE, command(MOVE)), "pool_closed");
}
