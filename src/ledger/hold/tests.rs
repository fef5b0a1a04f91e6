//! Reserving: what is taken, what is refused, what becomes of a hold.

use super::*;
use crate::ledger::samples::{
    adjust, booked, buy, capture, correct, debit, hold, kinds, last_transfers, long_hold, moved,
    paid, pass, pool, put, refusal, release, reserve, settle, spend, time,
};
use crate::ledger::{Bucket, Command, Mode};

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

fn held(hold: NewHold) -> Command {
    Command::Hold(Box::new(hold))
}

#[test]
fn a_hold_takes_monthly_credits_first_then_addon_ones() {
    let mut book = pro();
    reserve(&mut book, NOW, hold(850));
    let expected = [
        moved(Account::Monthly, Account::HeldMonthly, 800),
        moved(Account::Addon, Account::HeldAddon, 50),
    ];
    assert_eq!(last_transfers(&book), expected);
    let balance = book.pool().balance(time(NOW));
    assert_eq!(balance.monthly.settled, Credits::whole(800), "not spent");
    assert_eq!(balance.monthly.used, Credits::ZERO);
    assert_eq!(balance.held(), Credits::whole(850));
    assert_eq!(balance.available().units(), 5_000);
    assert_eq!(book.pool().open_holds, 1);
    assert_eq!(
        book.pool().next_due_at(),
        Some(time("2026-01-31T10:15:00Z"))
    );
}

#[test]
fn what_is_held_cannot_be_spent_or_held_again() {
    let mut book = pro();
    reserve(&mut book, NOW, hold(850));
    let too_much = Command::Debit(Box::new(debit(51)));
    assert_eq!(refusal(&mut book, NOW, too_much), "insufficient_credits");
    assert_eq!(
        refusal(&mut book, NOW, held(hold(51))),
        "insufficient_credits"
    );
    spend(&mut book, NOW, debit(50));
    assert_eq!(refusal(&mut book, NOW, held(hold(1))), "pool_empty");
}

#[test]
fn a_partial_hold_reserves_what_is_there_and_is_refused_when_nothing_is() {
    let mut book = pool(put("free", 1), NOW);
    let partial = || NewHold {
        partial: true,
        ..hold(150)
    };
    let id = reserve(&mut book, NOW, partial());
    let facts = book.hold(id).expect("it is there").facts.clone();
    assert_eq!(
        (facts.credits(), facts.requested),
        (Credits::whole(100), Credits::whole(150))
    );
    assert_eq!(refusal(&mut book, NOW, held(partial())), "pool_empty");
    let mut enough = pro();
    reserve(&mut enough, NOW, partial());
    assert_eq!(
        enough.pool().available().units(),
        75_000,
        "no more than asked for"
    );
}

#[test]
fn an_overdraft_counts_against_a_hold() {
    let mut book = pool(put("free", 1), NOW);
    spend(&mut book, NOW, settle(130));
    correct(&mut book, NOW, adjust(Bucket::Monthly, 50));
    assert_eq!(
        refusal(&mut book, NOW, held(hold(21))),
        "insufficient_credits"
    );
    let partial = NewHold {
        partial: true,
        ..hold(21)
    };
    reserve(&mut book, NOW, partial);
    assert_eq!(
        last_transfers(&book),
        [moved(Account::Monthly, Account::HeldMonthly, 20)]
    );
}

#[test]
fn a_hold_is_priced_and_rounded_as_a_debit() {
    let mut book = pro();
    let of = |operation: &str| NewHold {
        attribution: Attribution {
            operation: operation.parse().ok(),
            ..Attribution::default()
        },
        ..hold(5)
    };
    assert_eq!(
        refusal(&mut book, NOW, held(of("nothing"))),
        "unknown_operation"
    );
    let unnamed = NewHold {
        credits: None,
        ..hold(1)
    };
    assert_eq!(refusal(&mut book, NOW, held(unnamed)), "validation_failed");
    let half = |round| NewHold {
        credits: Credits::from_units(50),
        round,
        ..hold(1)
    };
    assert_eq!(refusal(&mut book, NOW, held(half(None))), "not_a_multiple");
    let id = reserve(&mut book, NOW, half(Some(Round::Up)));
    let facts = &book.hold(id).expect("it is there").facts;
    assert_eq!((facts.monthly.units(), facts.requested.units()), (100, 50));

    let mut legacy = pool(put("legacy_pro", 1), NOW);
    assert_eq!(
        refusal(&mut legacy, NOW, held(of("custom_code"))),
        "price_is_fixed"
    );
    let fixed = NewHold {
        credits: None,
        ..of("custom_code")
    };
    let entry = booked(&mut legacy, NOW, held(fixed));
    assert_eq!(entry.after.held(), Credits::whole(3));
}

#[test]
fn at_most_a_thousand_holds_are_open() {
    let mut book = pool(put("pro", 2), NOW);
    let first = reserve(&mut book, NOW, hold(1));
    for _ in 1..MAX_OPEN_HOLDS {
        reserve(&mut book, NOW, hold(1));
    }
    assert_eq!(refusal(&mut book, NOW, held(hold(1))), "too_many_holds");
    booked(&mut book, NOW, release(first));
    reserve(&mut book, NOW, hold(1));
    assert_eq!(book.pool().open_holds, MAX_OPEN_HOLDS);
}

#[test]
fn a_released_hold_returns_to_its_buckets() {
    let mut book = pro();
    let before = book.pool().accounts;
    let id = reserve(&mut book, NOW, hold(850));
    booked(&mut book, NOW, release(id));
    assert_eq!(book.pool().accounts, before);
    assert_eq!(
        (book.pool().open_holds, book.pool().next_hold_at),
        (0, None)
    );
    for again in [
        release(id),
        capture(id, 1, Mode::Strict),
        capture(id, 1, Mode::Settle),
    ] {
        assert_eq!(refusal(&mut book, NOW, again), "hold_not_open");
    }
}

#[test]
fn a_hold_that_is_not_this_pools_is_not_found() {
    let mut book = pro();
    let debit = spend(&mut book, NOW, debit(1)).id();
    let elsewhere = EntryId::from(uuid::Uuid::from_u128(1));
    for id in [debit, elsewhere] {
        let extension = Extension {
            hold: id,
            expires_in_seconds: 1,
        };
        let commands = [
            release(id),
            capture(id, 1, Mode::Strict),
            Command::Extend(extension),
        ];
        for command in commands {
            assert_eq!(refusal(&mut book, NOW, command), "not_found");
        }
    }
}

#[test]
fn a_hold_expires_at_its_instant_and_not_before() {
    let mut book = pro();
    let id = reserve(&mut book, NOW, hold(850));
    pass(&mut book, "2026-01-31T10:14:59.999Z");
    assert_eq!(book.pool().open_holds, 1);
    pass(&mut book, "2026-02-01");
    let expiry = book.entries().last().expect("an entry");
    assert_eq!(expiry.kind, Kind::HoldExpiry);
    assert_eq!(expiry.at, time("2026-01-31T10:15:00Z"));
    assert_eq!(book.pool().available().units(), 90_000);
    assert_eq!(
        refusal(&mut book, "2026-02-01", release(id)),
        "hold_not_open"
    );
}

#[test]
fn an_extension_counts_from_now_and_may_shorten() {
    let mut book = pro();
    let id = reserve(&mut book, NOW, hold(10));
    for (at, seconds, end) in [
        ("2026-01-31T10:10:00Z", 900, "2026-01-31T10:25:00Z"),
        ("2026-01-31T10:20:00Z", 60, "2026-01-31T10:21:00Z"),
    ] {
        let extension = Extension {
            hold: id,
            expires_in_seconds: seconds,
        };
        let entry = booked(&mut book, at, Command::Extend(extension));
        assert!(entry.transfers.is_empty());
        assert_eq!(book.pool().next_hold_at, Some(time(end)));
    }
    pass(&mut book, "2026-01-31T10:21:00Z");
    assert_eq!(
        kinds(&book)[2..],
        ["hold", "hold_extend", "hold_extend", "hold_expiry"]
    );
}

#[test]
fn holds_that_end_together_end_in_the_order_of_opening_before_all_else() {
    let mut book = pool(put("pro", 1), NOW);
    let seconds = |seconds| NewHold {
        expires_in_seconds: seconds,
        ..hold(10)
    };
    let first = reserve(&mut book, "2026-02-28T09:59:58Z", seconds(2));
    let second = reserve(&mut book, LATE, seconds(1));
    pass(&mut book, RENEWAL);
    assert_eq!(kinds(&book)[3..], ["hold_expiry", "hold_expiry", "renewal"]);
    let of = |place: usize| book.entries()[place].hold_id();
    assert_eq!((of(3), of(4)), (Some(first), Some(second)));
    assert_eq!(
        book.pool().accounts.bucket(Account::Lapsed),
        Credits::whole(800)
    );
}

#[test]
fn a_hold_outlives_its_cycle_and_what_is_released_then_lapses() {
    let mut book = pool(put("pro", 1), NOW);
    let id = reserve(&mut book, LATE, hold(800));
    pass(&mut book, RENEWAL);
    let balance = book.pool().balance(time(RENEWAL));
    assert_eq!(
        balance.monthly.settled,
        Credits::whole(800),
        "the new allowance"
    );
    assert_eq!(
        (balance.monthly.held, balance.held()),
        (Credits::ZERO, Credits::whole(800))
    );
    booked(&mut book, RENEWAL, release(id));
    assert_eq!(
        last_transfers(&book),
        [moved(Account::HeldEnded, Account::Lapsed, 800)]
    );
    assert_eq!(book.pool().available().units(), 80_000);
}

#[test]
fn what_lapses_from_a_hold_repays_no_overdraft() {
    let mut book = pool(put("pro", 1), NOW);
    let id = reserve(&mut book, LATE, hold(800));
    spend(&mut book, RENEWAL, settle(900));
    booked(&mut book, RENEWAL, release(id));
    assert_eq!(book.pool().overdraft(), Credits::whole(100));
}

#[test]
fn the_addon_part_outlives_its_addon_pool_and_comes_back_with_it() {
    let mut book = pool(put("pro", 1), NOW);
    buy(&mut book, NOW, paid(100, "2025-02-01"));
    spend(&mut book, NOW, debit(800));
    let id = reserve(&mut book, "2026-01-31T23:00:00Z", long_hold(30));
    pass(&mut book, "2026-02-01");
    let expiry = last_transfers(&book);
    let expected = [
        moved(Account::Addon, Account::Lapsed, 70),
        moved(Account::HeldAddon, Account::HeldEnded, 30),
    ];
    assert_eq!(expiry, expected);

    let mut released = book.clone();
    booked(&mut released, "2026-02-01", release(id));
    assert_eq!(
        last_transfers(&released),
        [moved(Account::HeldEnded, Account::Lapsed, 30)]
    );
    let late = paid(200, "2026-01-31");
    buy(&mut released, "2026-02-01", late.clone());
    assert_eq!(
        released.pool().addon(),
        Credits::whole(300),
        "all that lapsed is back"
    );

    buy(&mut book, "2026-02-01", late);
    let balance = book.pool().balance(time("2026-02-01"));
    assert_eq!(
        balance.addon.held,
        Credits::whole(30),
        "as if it had never expired"
    );
    booked(&mut book, "2026-02-01", release(id));
    assert_eq!(book.pool().addon(), Credits::whole(300));
}

#[test]
fn a_closed_pool_has_released_its_holds() {
    let mut book = pro();
    reserve(&mut book, LATE, hold(800));
    reserve(&mut book, RENEWAL, hold(10));
    booked_or_done(&mut book, Command::Close);
    assert_eq!(kinds(&book)[5..], ["release", "release", "close"]);
    assert_eq!(book.pool().balance(time(RENEWAL)).held(), Credits::ZERO);
    assert_eq!(book.pool().next_due_at(), None);
}

fn booked_or_done(book: &mut Book, command: Command) {
    let catalogue = crate::ledger::samples::catalogue();
    let decided = crate::ledger::samples::decide(book, &catalogue, RENEWAL, command);
    assert!(decided.is_ok(), "{decided:?}");
}

#[test]
fn another_hold_or_another_field_is_another_request() {
    let asked = hold(1);
    let others = [
        hold(2),
        long_hold(1),
        NewHold {
            partial: true,
            ..hold(1)
        },
        NewHold {
            round: Some(Round::Up),
            ..hold(1)
        },
        NewHold {
            metadata: Some(Metadata::stored("{}".to_owned())),
            ..hold(1)
        },
        NewHold {
            attribution: Attribution {
                user_id: "u".parse().ok(),
                ..Attribution::default()
            },
            ..hold(1)
        },
    ];
    for other in others {
        assert_ne!(other.fingerprint(), asked.fingerprint(), "{other:?}");
    }
    let of = |id| EntryId::from(uuid::Uuid::from_u128(id));
    let released = |id| Release { hold: of(id) }.fingerprint();
    let extended = |id, seconds| {
        let extension = Extension {
            hold: of(id),
            expires_in_seconds: seconds,
        };
        extension.fingerprint()
    };
    assert_ne!(released(1), released(2));
    assert_ne!(extended(1, 1), extended(2, 1));
    assert_ne!(extended(1, 1), extended(1, 2));
    assert_ne!(extended(1, 1), released(1));
}
