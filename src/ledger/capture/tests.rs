//! Spending from a hold, in its cycle and after it.

use super::*;
use crate::ledger::samples::{
    booked, buy, capture, debit, hold, label, last_transfers, long_hold, moved, paid, pass, pool,
    put, refusal, reserve, spend, time,
};
use crate::ledger::{Account, Attribution, Command, DebitFacts, NewHold};

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

fn drawn(entry: &Entry) -> [i64; 3] {
    let facts = DebitFacts::of(entry).expect("details can be read");
    [facts.monthly, facts.addon, facts.overdraft].map(Credits::units)
}

#[test]
fn less_as_much_and_more_than_is_held() {
    let rows = [
        (10, [1_000, 0, 0], 89_000),
        (800, [80_000, 0, 0], 10_000),
        (820, [80_000, 2_000, 0], 8_000),
        (850, [80_000, 5_000, 0], 5_000),
        (900, [80_000, 10_000, 0], 0),
    ];
    for (credits, expected, available) in rows {
        let mut book = pro();
        let id = reserve(&mut book, NOW, hold(850));
        let entry = booked(&mut book, NOW, capture(id, credits, Mode::Strict));
        assert_eq!(entry.kind, Kind::Debit);
        assert_eq!(drawn(&entry), expected, "{credits}");
        assert_eq!(entry.after.available().units(), available, "{credits}");
        assert_eq!(entry.after.held(), Credits::ZERO);
        assert_eq!(entry.after.monthly.used.units(), expected[0]);
        assert_eq!(book.pool().open_holds, 0);
    }
}

#[test]
fn a_strict_capture_of_too_much_leaves_the_hold_open() {
    let mut book = pro();
    let id = reserve(&mut book, NOW, hold(850));
    let refused = refusal(&mut book, NOW, capture(id, 901, Mode::Strict));
    assert_eq!(refused, "insufficient_credits");
    assert_eq!(book.pool().open_holds, 1);
    let settled = booked(&mut book, NOW, capture(id, 901, Mode::Settle));
    assert_eq!(drawn(&settled), [80_000, 10_000, 100]);
    let twice = capture(id, 1, Mode::Settle);
    assert_eq!(refusal(&mut book, NOW, twice), "hold_not_open");
}

#[test]
fn what_is_short_is_what_is_missing_beyond_the_hold() {
    let mut book = pro();
    let id = reserve(&mut book, NOW, hold(850));
    let asked = Capture {
        hold: id,
        credits: Credits::whole(901),
        round: None,
        mode: Mode::Strict,
    };
    let catalogue = crate::ledger::samples::catalogue();
    let refused = asked.book(&mut book, &catalogue, Actor::default(), time(NOW));
    let Err(Refusal::Short {
        required,
        available,
        shortfall,
        ..
    }) = refused
    else {
        panic!("not refused: {refused:?}");
    };
    assert_eq!(
        (required.units(), available.units(), shortfall.units()),
        (5_100, 5_000, 100)
    );
}

#[test]
fn a_capture_after_the_renewal_leaves_the_new_allowance_untouched() {
    let mut book = pool(put("pro", 1), NOW);
    let id = reserve(&mut book, LATE, hold(800));
    pass(&mut book, RENEWAL);
    let entry = booked(&mut book, RENEWAL, capture(id, 700, Mode::Strict));
    let expected = [
        moved(Account::HeldEnded, Account::Consumed, 700),
        moved(Account::HeldEnded, Account::Lapsed, 100),
    ];
    assert_eq!(last_transfers(&book), expected);
    assert_eq!(drawn(&entry), [70_000, 0, 0]);
    assert_eq!(entry.after.monthly.settled, Credits::whole(800));
    assert_eq!(
        entry.after.monthly.used,
        Credits::ZERO,
        "not of this cycle's grant"
    );
}

#[test]
fn an_expired_hold_is_settled_once_and_drawn_anew() {
    let mut book = pro();
    let id = reserve(&mut book, NOW, hold(850));
    let later = "2026-01-31T11:00:00Z";
    let strict = capture(id, 10, Mode::Strict);
    assert_eq!(refusal(&mut book, later, strict), "hold_not_open");
    let entry = booked(&mut book, later, capture(id, 820, Mode::Settle));
    let facts = DebitFacts::of(&entry).expect("details can be read");
    assert_eq!((facts.hold, facts.late), (Some(id), true));
    assert_eq!(drawn(&entry), [80_000, 2_000, 0]);
    let again = capture(id, 820, Mode::Settle);
    assert_eq!(refusal(&mut book, later, again), "hold_not_open");
}

#[test]
fn a_capture_is_for_what_the_hold_is_for() {
    let mut book = pro();
    let attribution = Attribution {
        operation: Some(label("app_generation")),
        user_id: Some(label("u")),
        workspace_id: Some(label("w")),
        run_id: Some(label("r")),
        model: Some(label("m")),
    };
    let asked = NewHold {
        attribution: attribution.clone(),
        ..hold(10)
    };
    let id = reserve(&mut book, NOW, asked);
    let entry = booked(&mut book, NOW, capture(id, 5, Mode::Strict));
    assert_eq!(entry.attribution, attribution);
    assert_eq!(entry.hold_id(), Some(id));
    let facts = DebitFacts::of(&entry).expect("details can be read");
    assert_eq!((facts.hold, facts.late), (Some(id), false));
}

#[test]
fn a_fixed_price_is_kept_also_by_a_capture() {
    let mut book = pool(put("legacy_pro", 1), NOW);
    let asked = NewHold {
        attribution: Attribution {
            operation: Some(label("custom_code")),
            ..Attribution::default()
        },
        ..hold(3)
    };
    let id = reserve(&mut book, NOW, asked);
    let other = capture(id, 4, Mode::Settle);
    assert_eq!(refusal(&mut book, NOW, other), "price_is_fixed");
    let entry = booked(&mut book, NOW, capture(id, 3, Mode::Strict));
    let details = entry.read_details().expect("details can be read");
    assert_eq!(details.price, Some(PriceSource::LegacyFixed));
}

#[test]
fn work_that_began_without_a_fixed_price_costs_what_it_costs() {
    let mut book = pro();
    let asked = NewHold {
        attribution: Attribution {
            operation: Some(label("custom_code")),
            ..Attribution::default()
        },
        ..hold(50)
    };
    let id = reserve(&mut book, NOW, asked);
    let mut catalogue = crate::ledger::samples::catalogue();
    let code = "custom_code".parse().expect("a good code");
    let operation = catalogue.operations.get_mut(&code);
    operation.expect("it is on the rate card").fixed = Some(Credits::whole(4));
    let forty = capture(id, 40, Mode::Settle);
    let decided = crate::ledger::samples::decide(&mut book, &catalogue, NOW, forty);
    assert!(decided.is_ok(), "{decided:?}");
}

#[test]
fn all_that_is_held_is_captured_whatever_the_denomination_has_become() {
    let mut book = pool(put("legacy_pro", 1), NOW);
    let halves = NewHold {
        credits: Credits::from_units(1_050),
        ..hold(1)
    };
    let id = reserve(&mut book, NOW, halves);
    crate::ledger::samples::change(&mut book, NOW, put("pro", 1));
    let of = |units| {
        Command::Capture(Box::new(Capture {
            hold: id,
            credits: Credits::from_units(units).expect("not negative"),
            round: None,
            mode: Mode::Strict,
        }))
    };
    assert_eq!(refusal(&mut book, NOW, of(950)), "not_a_multiple");
    let entry = booked(&mut book, NOW, of(1_050));
    assert_eq!(drawn(&entry), [1_050, 0, 0]);
}

#[test]
fn a_capture_is_rounded_when_that_is_asked_for() {
    let mut book = pro();
    let id = reserve(&mut book, NOW, hold(10));
    let half = |round| {
        let credits = Credits::from_units(150).expect("not negative");
        Command::Capture(Box::new(Capture {
            hold: id,
            credits,
            round,
            mode: Mode::Strict,
        }))
    };
    assert_eq!(refusal(&mut book, NOW, half(None)), "not_a_multiple");
    let entry = booked(&mut book, NOW, half(Some(Round::Up)));
    let facts = DebitFacts::of(&entry).expect("details can be read");
    assert_eq!(
        (facts.credits.units(), facts.requested.map(Credits::units)),
        (200, Some(150))
    );
}

#[test]
fn an_addon_part_whose_pool_has_expired_is_still_captured() {
    let mut book = pool(put("pro", 1), NOW);
    buy(&mut book, NOW, paid(100, "2025-02-01"));
    spend(&mut book, NOW, debit(800));
    let id = reserve(&mut book, "2026-01-31T23:00:00Z", long_hold(30));
    let entry = booked(&mut book, "2026-02-01", capture(id, 20, Mode::Strict));
    assert_eq!(drawn(&entry), [0, 2_000, 0]);
    assert_eq!(
        book.pool().accounts.bucket(Account::Lapsed),
        Credits::whole(80)
    );
    // The late payment brings back what lapsed, and not what was captured.
    buy(&mut book, "2026-02-01", paid(200, "2026-01-31"));
    assert_eq!(book.pool().addon(), Credits::whole(280));
    assert_eq!(
        book.pool().accounts.bucket(Account::HeldEnded),
        Credits::ZERO
    );
}

#[test]
fn another_capture_is_another_request() {
    let asked = |id, units, round, mode| {
        let capture = Capture {
            hold: EntryId::from(uuid::Uuid::from_u128(id)),
            credits: Credits::from_units(units).expect("not negative"),
            round,
            mode,
        };
        capture.fingerprint()
    };
    let one = asked(1, 100, None, Mode::Strict);
    assert_ne!(one, asked(2, 100, None, Mode::Strict));
    assert_ne!(one, asked(1, 200, None, Mode::Strict));
    assert_ne!(one, asked(1, 100, Some(Round::Up), Mode::Strict));
    assert_ne!(one, asked(1, 100, None, Mode::Settle));
    assert_eq!(one, asked(1, 100, None, Mode::Strict));
}
