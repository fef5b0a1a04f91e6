//! Giving back: in which order, to where, and never more than was spent.

use super::*;
use crate::ledger::samples::{
    adjust, booked, buy, capture, correct, debit, give_back, hold, know_debits, label,
    last_transfers, moved, paid, pass, pool, put, refund, refusal, reserve, settle, spend, time,
};
use crate::ledger::{Attribution, Bucket, Command, Debit, Mode, SignedCredits};

const NOW: &str = "2026-01-31T10:00:00Z";
/// A second before the first renewal.
const LATE: &str = "2026-02-28T09:59:59Z";
const RENEWAL: &str = "2026-02-28T10:00:00Z";

/// 800 monthly and 100 add-on credits.
fn pro() -> Book {
    let mut book = pool(put("pro", 1), NOW);
    buy(&mut book, NOW, paid(100, NOW));
    book
}

/// Where a refund put the credits: overdraft, add-on, monthly, lapsed.
fn went(entry: &Entry) -> [i64; 4] {
    [
        Account::Overdraft,
        Account::Addon,
        Account::Monthly,
        Account::Lapsed,
    ]
    .map(|account| entry.moved(Account::Consumed, account).units() / 100)
}

fn of_run(run: &str, credits: u32) -> Debit {
    Debit {
        attribution: Attribution {
            run_id: Some(label(run)),
            user_id: Some(label("u")),
            ..Attribution::default()
        },
        ..debit(credits)
    }
}

fn refund_run(run: &str) -> Command {
    Command::RefundRun(Box::new(RunRefund {
        run_id: label(run),
        reason: None,
    }))
}

#[test]
fn a_debit_is_undone_backwards_and_never_beyond() {
    let mut book = pro();
    let spent = spend(&mut book, NOW, settle(910));
    let rows = [
        (Some(4), [4, 0, 0, 0]),
        (Some(20), [6, 14, 0, 0]),
        (Some(100), [0, 86, 14, 0]),
        (None, [0, 0, 786, 0]),
    ];
    for (credits, expected) in rows {
        let entry = give_back(&mut book, NOW, &spent, credits);
        assert_eq!(went(&entry), expected, "{credits:?}");
        assert_eq!(entry.debit_id(), Some(spent.id()));
    }
    assert_eq!(book.pool().available().units(), 90_000);
    assert_eq!(book.pool().used, Credits::ZERO);
    for more in [Some(1), None] {
        assert_eq!(
            refusal(&mut book, NOW, refund(&spent, more)),
            "refund_exceeds_debit"
        );
    }
}

#[test]
fn more_than_is_left_is_refused_and_says_what_is_left() {
    let mut book = pro();
    let spent = spend(&mut book, NOW, debit(10));
    give_back(&mut book, NOW, &spent, Some(4));
    let asked = Refund {
        debit: spent.id(),
        credits: Some(Credits::whole(7)),
        reason: None,
    };
    let refused = asked.book(&mut book, Actor::default(), time(NOW));
    let left = Credits::whole(6);
    assert_eq!(refused, Err(Refusal::RefundExceedsDebit { left }));
}

#[test]
fn only_debits_can_be_refunded() {
    let mut book = pro();
    let spent = spend(&mut book, NOW, debit(10));
    let back = give_back(&mut book, NOW, &spent, None);
    let opened = book.entries()[0].clone();
    for entry in [back, opened] {
        assert_eq!(refusal(&mut book, NOW, refund(&entry, None)), "not_found");
    }
}

#[test]
fn what_was_drawn_from_an_ended_cycle_lapses() {
    let mut book = pro();
    let spent = spend(&mut book, NOW, debit(850));
    pass(&mut book, RENEWAL);
    let entry = give_back(&mut book, RENEWAL, &spent, None);
    assert_eq!(went(&entry), [0, 50, 0, 800]);
    assert_eq!(
        entry.after.monthly.settled,
        Credits::whole(800),
        "nothing is carried over"
    );
    assert_eq!(entry.after.monthly.used, Credits::ZERO);
}

#[test]
fn what_was_drawn_from_an_expired_addon_pool_lapses_until_that_comes_back() {
    let mut book = pool(put("pro", 1), NOW);
    buy(&mut book, NOW, paid(100, "2025-02-01"));
    let spent = spend(&mut book, NOW, debit(860));
    pass(&mut book, "2026-02-01");
    let lapsed = give_back(&mut book, "2026-02-01", &spent, Some(10));
    assert_eq!(went(&lapsed), [0, 0, 0, 10]);
    // 40 lapsed at the expiry and 10 after it: a payment made before brings back both, once.
    buy(&mut book, "2026-02-02", paid(100, "2026-01-31"));
    assert_eq!(book.pool().addon(), Credits::whole(150));
    let live = give_back(&mut book, "2026-02-02", &spent, Some(50));
    assert_eq!(went(&live), [0, 50, 0, 0]);
}

#[test]
fn a_refunded_overdraft_lowers_what_is_owed_now_and_the_rest_is_monthly() {
    let mut book = pool(put("free", 1), NOW);
    let spent = spend(&mut book, NOW, settle(150));
    pass(&mut book, RENEWAL);
    // The grant repaid the 50; somebody owes 20 again.
    assert_eq!(book.pool().monthly(), Credits::whole(50));
    spend(&mut book, RENEWAL, settle(70));
    let entry = give_back(&mut book, RENEWAL, &spent, Some(50));
    assert_eq!(went(&entry), [20, 0, 30, 0]);
    assert_eq!(entry.after.overdraft, Credits::ZERO);
    let used = entry.after.monthly.used;
    assert_eq!(
        used,
        Credits::whole(50),
        "an overdraft part never counted as used"
    );
    let rest = give_back(&mut book, RENEWAL, &spent, None);
    assert_eq!(went(&rest), [0, 0, 0, 100]);
}

#[test]
fn of_a_capture_what_was_drawn_anew_comes_back_first() {
    let mut book = pool(put("pro", 1), NOW);
    let id = reserve(&mut book, LATE, hold(800));
    let captured = booked(&mut book, RENEWAL, capture(id, 801, Mode::Strict));
    assert_eq!(captured.after.monthly.used, Credits::whole(1));
    let entry = give_back(&mut book, RENEWAL, &captured, None);
    assert_eq!(went(&entry), [0, 0, 1, 800]);
    assert_eq!(
        last_transfers(&book),
        [
            moved(Account::Consumed, Account::Monthly, 1),
            moved(Account::Consumed, Account::Lapsed, 800),
        ]
    );
    assert_eq!(entry.after.monthly.used, Credits::ZERO);
    assert_eq!(entry.after.available(), SignedCredits::from_units(80_000));
}

#[test]
fn a_captured_hold_is_refunded_like_any_debit() {
    let mut book = pro();
    let id = reserve(&mut book, NOW, hold(850));
    let captured = booked(&mut book, NOW, capture(id, 850, Mode::Strict));
    let addon_first = give_back(&mut book, NOW, &captured, Some(60));
    assert_eq!(went(&addon_first), [0, 50, 10, 0]);
    assert_eq!(addon_first.after.monthly.used, Credits::whole(790));
    give_back(&mut book, NOW, &captured, None);
    assert_eq!(book.pool().available().units(), 90_000);
}

#[test]
fn a_refund_is_for_whom_the_debit_was() {
    let mut book = pro();
    let spent = spend(&mut book, NOW, of_run("r", 10));
    let entry = give_back(&mut book, NOW, &spent, None);
    assert_eq!(entry.attribution, spent.attribution);
}

#[test]
fn no_bucket_passes_its_limit_by_a_refund() {
    let mut book = pro();
    let spent = spend(&mut book, NOW, debit(800));
    // Given in portions: one request is for less than an account may hold.
    let most = 1_000_000_000;
    for _ in 0..1_000 {
        correct(&mut book, NOW, adjust(Bucket::Monthly, most));
    }
    know_debits(&mut book);
    assert_eq!(
        refusal(&mut book, NOW, refund(&spent, None)),
        "balance_limit"
    );
}

#[test]
fn all_that_is_left_of_a_run_comes_back_in_one_go() {
    let mut book = pro();
    let first = spend(&mut book, NOW, of_run("r", 10));
    spend(&mut book, NOW, of_run("other", 20));
    spend(&mut book, NOW, of_run("r", 30));
    let whole = spend(&mut book, NOW, of_run("r", 5));
    give_back(&mut book, NOW, &first, Some(4));
    give_back(&mut book, NOW, &whole, None);
    let before = book.entries().len();
    let entry = booked(&mut book, NOW, refund_run("r"));
    let refunds = &book.entries()[before..];
    assert_eq!(entry.id(), refunds[0].id());
    let details = entry.read_details().expect("details can be read");
    assert_eq!(details.run_refunds, Some(2));
    let back: Vec<_> = refunds.iter().map(|entry| went(entry)[2]).collect();
    assert_eq!(back, [6, 30], "the oldest first, what is left of each");
    assert_eq!(book.pool().used, Credits::whole(20));
    assert_eq!(
        refusal(&mut book, NOW, refund_run("r")),
        "refund_exceeds_debit"
    );
    assert_eq!(
        refusal(&mut book, NOW, refund_run("none")),
        "refund_exceeds_debit"
    );
}

#[test]
fn a_run_is_refunded_wholly_or_not_at_all() {
    let mut book = pro();
    spend(&mut book, NOW, of_run("r", 10));
    spend(&mut book, NOW, of_run("r", 20));
    let there = book.pool().monthly();
    let most = 1_000_000_000;
    for _ in 0..999 {
        correct(&mut book, NOW, adjust(Bucket::Monthly, most));
    }
    let room = Credits::MAX_ACCOUNT.saturating_sub(book.pool().monthly() + Credits::whole(15));
    let rest = i64::from(u32::try_from(room.units() / 100).expect("it is less than the most"));
    correct(&mut book, NOW, adjust(Bucket::Monthly, rest));
    assert!(book.pool().monthly() > there);
    // The first debit would still fit, the second would not.
    assert_eq!(refusal(&mut book, NOW, refund_run("r")), "balance_limit");
}

#[test]
fn another_refund_is_another_request() {
    let asked = |id, credits: Option<u32>, reason: Option<&str>| {
        let refund = Refund {
            debit: EntryId::from(uuid::Uuid::from_u128(id)),
            credits: credits.map(Credits::whole),
            reason: reason.and_then(|reason| reason.parse().ok()),
        };
        refund.fingerprint()
    };
    let one = asked(1, Some(1), None);
    for other in [
        asked(2, Some(1), None),
        asked(1, None, None),
        asked(1, Some(1), Some("x")),
    ] {
        assert_ne!(one, other);
    }
    let run = |run: &str, reason: Option<&str>| {
        let refund = RunRefund {
            run_id: label(run),
            reason: reason.and_then(|reason| reason.parse().ok()),
        };
        refund.fingerprint()
    };
    assert_ne!(run("a", None), run("b", None));
    assert_ne!(run("a", None), run("a", Some("x")));
}
