//! Taking back and giving back: how much, from where, in which order, and until when.

use super::*;
use crate::ledger::samples::{
    adjust, booked, buy, correct, debit, decide, give_back as refund_debit, hold, label, moved,
    paid, pass, pool, put, release, reserve, spend, time,
};
use crate::ledger::{Bucket, Command, Mode, Outcome, Purchase};

const NOW: &str = "2026-01-31T10:00:00Z";

/// 800 monthly and `credits` add-on credits.
fn pro(credits: i64) -> Book {
    let mut book = pool(put("pro", 1), NOW);
    buy(&mut book, NOW, paid(credits, NOW));
    book
}

fn charged(refunded: i64, disputed: i64, dispute_lost: i64) -> PaymentState {
    PaymentState {
        version: 1,
        charged: 1_000,
        refunded,
        disputed,
        dispute_lost,
    }
}

fn settlement(payment: PaymentState) -> Command {
    Command::Settle(Box::new(Settlement {
        purchase: uuid::Uuid::from_u128(3).into(),
        payment,
    }))
}

/// Settles the next state of the purchase of these tests.
fn settle(book: &mut Book, at: &str, payment: PaymentState) -> Arc<Entry> {
    let version = first(book).payment.version.saturating_add(1);
    booked(book, at, settlement(PaymentState { version, ..payment }))
}

fn first(book: &Book) -> Bought {
    let bought = book.all_bought().next();
    bought.cloned().expect("something was bought")
}

fn taken(book: &Book) -> (i64, i64) {
    let bought = first(book);
    let whole = |credits: Credits| credits.units() / 100;
    (whole(bought.clawed_back), whole(bought.uncollected))
}

#[test]
fn what_a_payment_has_lost_is_its_refunded_and_its_disputed_part() {
    let rows = [
        (charged(0, 0, 0), 500, 0),
        (charged(1_000, 0, 0), 500, 500),
        (charged(333, 0, 0), 500, 166),
        (charged(0, 250, 0), 500, 125),
        (charged(0, 0, 250), 500, 125),
        (charged(333, 333, 0), 500, 332),
        (charged(600, 600, 0), 500, 500),
        (charged(5_000, 0, 0), 500, 500),
        (charged(1, 0, 0), 500, 0),
    ];
    for (payment, credits, lost) in rows {
        let found = payment.lost(Credits::whole(credits), Denomination::One);
        assert_eq!(found, Credits::whole(lost), "{payment:?}");
    }
    let tenths = charged(333, 0, 0).lost(Credits::whole(500), Denomination::Tenth);
    assert_eq!(tenths.units(), 16_650);
    let unknown = PaymentState {
        charged: 0,
        ..charged(0, 70, 0)
    };
    let all = unknown.lost(Credits::whole(500), Denomination::One);
    assert_eq!(all, Credits::whole(500), "all of it is at stake");
}

#[test]
fn a_payment_is_disputed_before_it_is_refunded() {
    let rows = [
        (charged(0, 0, 0), "credited"),
        (charged(1, 0, 0), "partially_refunded"),
        (charged(1_000, 0, 0), "refunded"),
        (charged(1_000, 1, 0), "disputed"),
        (charged(0, 0, 1), "disputed"),
    ];
    for (payment, status) in rows {
        assert_eq!(payment.status().as_str(), status, "{payment:?}");
    }
}

#[test]
fn a_refund_takes_what_is_there_and_remembers_the_rest() {
    let mut book = pro(500);
    spend(&mut book, NOW, debit(1_200));
    let entry = settle(&mut book, NOW, charged(1_000, 0, 0));
    assert_eq!(entry.kind, Kind::Clawback);
    assert_eq!(
        entry.transfers,
        [moved(Account::Addon, Account::ClawedBack, 100)]
    );
    assert_eq!(taken(&book), (100, 400));
    assert_eq!(entry.after.addon.granted, Credits::whole(400));
    assert_eq!(book.pool().uncollected, Credits::whole(400));
    assert_eq!(
        entry.after.monthly.settled,
        Credits::ZERO,
        "never monthly ones"
    );
}

#[test]
fn a_state_that_says_nothing_new_books_nothing() {
    let mut book = pro(500);
    settle(&mut book, NOW, charged(500, 0, 0));
    let catalogue = crate::ledger::samples::catalogue();
    let version = |version, payment| PaymentState { version, ..payment };
    for again in [
        version(1, charged(1_000, 0, 0)),
        version(0, charged(0, 0, 0)),
        version(2, charged(500, 0, 0)),
    ] {
        let done = decide(&mut book, &catalogue, NOW, settlement(again));
        assert_eq!(done, Ok(Outcome::Done), "{again:?}");
    }
    assert_eq!(taken(&book), (250, 0));
}

#[test]
fn an_older_state_never_counts_after_a_newer_one() {
    // A dispute that was opened and won; what tells of the opening comes last.
    let mut book = pro(500);
    settle(&mut book, NOW, charged(0, 0, 0));
    let catalogue = crate::ledger::samples::catalogue();
    let version = |version, payment| PaymentState { version, ..payment };
    let won = settlement(version(3, charged(0, 0, 0)));
    assert_eq!(booked(&mut book, NOW, won).transfers, []);
    let opened = settlement(version(2, charged(0, 1_000, 0)));
    assert_eq!(
        decide(&mut book, &catalogue, NOW, opened),
        Ok(Outcome::Done)
    );
    assert_eq!(taken(&book), (0, 0));
}

#[test]
fn a_won_dispute_gives_back_what_it_took_and_nothing_more_is_collected() {
    let mut book = pro(500);
    spend(&mut book, NOW, debit(1_100));
    settle(&mut book, NOW, charged(0, 1_000, 0));
    assert_eq!(taken(&book), (200, 300));
    let won = settle(&mut book, NOW, charged(0, 0, 0));
    assert_eq!(won.kind, Kind::ClawbackReversal);
    assert_eq!(
        won.transfers,
        [moved(Account::ClawedBack, Account::Addon, 200)]
    );
    assert_eq!(
        (taken(&book), book.pool().uncollected),
        ((0, 0), Credits::ZERO)
    );
    assert_eq!(won.after.addon.granted, Credits::whole(500));
}

#[test]
fn every_order_of_a_refund_and_a_dispute_ends_the_same() {
    let states = [
        charged(400, 0, 0),
        charged(400, 1_000, 0),
        charged(0, 1_000, 0),
        charged(0, 0, 0),
    ];
    let end = charged(400, 0, 0);
    let mut ends = Vec::new();
    for one in states {
        for other in states {
            let mut book = pro(500);
            spend(&mut book, NOW, debit(1_200));
            for state in [one, other, end] {
                let version = first(&book).payment.version.saturating_add(1);
                let next = settlement(PaymentState { version, ..state });
                let catalogue = crate::ledger::samples::catalogue();
                decide(&mut book, &catalogue, NOW, next).expect("it is never refused");
            }
            ends.push((book.pool().accounts, taken(&book), book.pool().addons));
        }
    }
    assert!(ends.iter().all(|it| *it == ends[0]), "{ends:?}");
    assert_eq!(ends[0].1, (100, 100));
}

#[test]
fn held_credits_are_taken_when_they_are_given_up() {
    let mut book = pro(500);
    spend(&mut book, NOW, debit(800));
    let id = reserve(&mut book, NOW, hold(450));
    settle(&mut book, NOW, charged(1_000, 0, 0));
    assert_eq!(taken(&book), (50, 450));
    let released = booked(&mut book, NOW, release(id));
    assert_eq!(released.after.addon.settled, Credits::whole(450));
    let collected = book.entries().last().expect("an entry");
    assert_eq!(
        collected.transfers,
        [moved(Account::Addon, Account::ClawedBack, 450)]
    );
    assert_eq!(
        (taken(&book), book.pool().uncollected),
        ((500, 0), Credits::ZERO)
    );
    assert_eq!(book.pool().addon(), Credits::ZERO);
}

#[test]
fn what_a_hold_leaves_at_its_end_and_a_capture_leaves_over_is_taken() {
    let mut book = pro(500);
    spend(&mut book, NOW, debit(800));
    reserve(&mut book, NOW, hold(100));
    let captured = reserve(&mut book, NOW, hold(100));
    settle(&mut book, NOW, charged(1_000, 0, 0));
    let capture = crate::ledger::samples::capture(captured, 30, Mode::Strict);
    booked(&mut book, NOW, capture);
    assert_eq!(taken(&book), (370, 130));
    pass(&mut book, "2026-02-01");
    assert_eq!(taken(&book), (470, 30));
}

#[test]
fn what_a_refunded_debit_frees_is_taken_and_no_more() {
    let mut book = pro(500);
    let spent = spend(&mut book, NOW, debit(1_300));
    settle(&mut book, NOW, charged(1_000, 0, 0));
    let more = Purchase {
        id: uuid::Uuid::from_u128(4).into(),
        reference: label("pi_2"),
        ..paid(100, NOW)
    };
    buy(&mut book, NOW, more);
    assert_eq!(taken(&book), (0, 500));
    refund_debit(&mut book, NOW, &spent, Some(200));
    assert_eq!(taken(&book), (200, 300));
    assert_eq!(
        book.pool().addon(),
        Credits::whole(100),
        "what was bought since stays"
    );
}

#[test]
fn only_a_full_refund_or_a_lost_dispute_moves_the_validity_back() {
    let bought = |book: &mut Book| {
        let later = Purchase {
            id: uuid::Uuid::from_u128(4).into(),
            reference: label("pi_2"),
            ..paid(100, "2026-06-05")
        };
        buy(book, "2026-06-05", later);
    };
    let rows = [
        (charged(999, 0, 0), "2027-06-05"),
        (charged(0, 1_000, 0), "2027-06-05"),
        (charged(1_000, 0, 0), "2027-01-31T10:00:00Z"),
        (charged(0, 0, 1_000), "2027-01-31T10:00:00Z"),
    ];
    for (payment, ends) in rows {
        let mut book = pro(500);
        bought(&mut book);
        let settlement = Settlement {
            purchase: uuid::Uuid::from_u128(4).into(),
            payment,
        };
        booked(
            &mut book,
            "2026-07-01",
            Command::Settle(Box::new(settlement)),
        );
        let live = book.pool().addons.expect("it is live");
        assert_eq!(live.expires_at, time(ends), "{payment:?}");
    }
}

#[test]
fn an_addon_pool_never_ends_before_now_and_keeps_its_end_where_no_purchase_stands() {
    let mut book = pro(500);
    let later = Purchase {
        id: uuid::Uuid::from_u128(4).into(),
        reference: label("pi_2"),
        ..paid(100, "2026-06-05")
    };
    buy(&mut book, "2026-06-05", later);
    let settlement = Settlement {
        purchase: uuid::Uuid::from_u128(4).into(),
        payment: charged(1_000, 0, 0),
    };
    // The first purchase alone would have ended in January.
    booked(
        &mut book,
        "2027-03-01",
        Command::Settle(Box::new(settlement)),
    );
    pass(&mut book, "2027-03-01");
    assert_eq!(book.pool().addons, None, "it ends at this instant");

    let mut book = pro(500);
    correct(&mut book, NOW, adjust(Bucket::Addon, 5));
    settle(&mut book, "2026-02-01", charged(1_000, 0, 0));
    pass(&mut book, "2026-02-01");
    let live = book.pool().addons.expect("it is live");
    assert_eq!(live.expires_at, time("2027-01-31T10:00:00Z"));
}

/// Another payment, of a hundred credits.
fn second(paid_at: &str) -> Purchase {
    Purchase {
        id: uuid::Uuid::from_u128(4).into(),
        reference: label("pi_2"),
        ..paid(100, paid_at)
    }
}

fn settle_second(book: &mut Book, at: &str, version: i64, payment: PaymentState) {
    let settlement = Settlement {
        purchase: uuid::Uuid::from_u128(4).into(),
        payment: PaymentState { version, ..payment },
    };
    booked(book, at, Command::Settle(Box::new(settlement)));
}

#[test]
fn what_was_taken_from_a_later_addon_pool_comes_back_to_it() {
    let mut book = pro(500);
    buy(&mut book, "2027-02-01", second("2027-02-01"));
    let before = book.pool().balance(time("2027-02-02")).addon;
    settle(&mut book, "2027-02-02", charged(0, 1_000, 0));
    assert_eq!(taken(&book), (100, 400));
    let meanwhile = book.pool().balance(time("2027-02-02")).addon;
    assert_eq!(
        meanwhile.granted, before.granted,
        "it was not bought with that payment"
    );
    settle(&mut book, "2027-02-02", charged(0, 0, 0));
    assert_eq!(book.pool().balance(time("2027-02-02")).addon, before);
}

#[test]
fn what_a_won_dispute_and_a_late_payment_bring_back_is_taken_for_what_others_owe() {
    let mut book = pro(100);
    buy(&mut book, NOW, second(NOW));
    spend(&mut book, NOW, debit(900));
    settle(&mut book, NOW, charged(0, 1_000, 0));
    settle_second(&mut book, NOW, 1, charged(1_000, 0, 0));
    assert_eq!(book.pool().uncollected, Credits::whole(100));
    settle(&mut book, NOW, charged(0, 0, 0));
    assert_eq!(book.pool().addon(), Credits::ZERO);
    assert_eq!(book.pool().uncollected, Credits::ZERO);

    let mut book = pro(100);
    pass(&mut book, "2027-02-01");
    settle(&mut book, "2027-02-01", charged(1_000, 0, 0));
    buy(&mut book, "2027-02-01", second("2027-01-31T09:00:00Z"));
    assert_eq!(
        book.pool().addon(),
        Credits::whole(100),
        "what is back is taken"
    );
    assert_eq!(taken(&book), (100, 0));
}

#[test]
fn the_end_does_not_depend_on_the_order_in_which_payments_were_refunded() {
    let refunded = charged(1_000, 0, 0);
    let [mut one, mut other] = [pro(500), pro(500)];
    for book in [&mut one, &mut other] {
        buy(book, "2026-06-05", second("2026-06-05"));
        correct(book, "2026-06-05", adjust(Bucket::Addon, 50));
    }
    settle(&mut one, "2026-07-01", refunded);
    settle_second(&mut one, "2026-07-01", 1, refunded);
    settle_second(&mut other, "2026-07-01", 1, refunded);
    settle(&mut other, "2026-07-01", refunded);
    assert_eq!(one.pool().addons, other.pool().addons);
}

#[test]
fn a_payment_of_an_ended_addon_pool_shortens_no_other() {
    let mut book = pro(500);
    correct(&mut book, "2027-02-01", adjust(Bucket::Addon, 50));
    buy(&mut book, "2027-02-01", second("2027-01-31T10:00:00Z"));
    let live = book.pool().addons;
    settle(&mut book, "2027-02-02", charged(1_000, 0, 0));
    let after = book.pool().addons;
    assert_eq!(after.map(|it| it.expires_at), live.map(|it| it.expires_at));
}

#[test]
fn what_comes_back_to_an_ended_addon_pool_lapses_until_that_comes_back() {
    let mut book = pro(500);
    settle(&mut book, NOW, charged(0, 1_000, 0));
    pass(&mut book, "2027-02-01");
    settle(&mut book, "2027-02-01", charged(0, 0, 0));
    assert_eq!(book.pool().addon(), Credits::ZERO);
    let late = Purchase {
        id: uuid::Uuid::from_u128(4).into(),
        reference: label("pi_2"),
        ..paid(100, "2027-01-31T09:00:00Z")
    };
    buy(&mut book, "2027-02-01", late);
    let balance = book.pool().balance(time("2027-02-01"));
    assert_eq!(balance.addon.settled, Credits::whole(600));
    assert_eq!(balance.addon.granted, Credits::whole(600));
}

#[test]
fn a_purchase_that_is_not_this_pools_is_not_found() {
    let mut book = pool(put("pro", 1), NOW);
    let asked = settlement(charged(1, 0, 0));
    let refused = crate::ledger::samples::refusal(&mut book, NOW, asked);
    assert_eq!(refused, "not_found");
}

#[test]
fn a_bonus_is_credited_and_lost_with_what_was_bought() {
    let mut book = pool(put("pro", 1), NOW);
    let with_bonus = Purchase {
        bonus: Credits::whole(50),
        ..paid(100, NOW)
    };
    let entry = buy(&mut book, NOW, with_bonus);
    assert_eq!(entry.after.addon.granted, Credits::whole(150));
    settle(&mut book, NOW, charged(500, 0, 0));
    assert_eq!(taken(&book), (75, 0));
}
