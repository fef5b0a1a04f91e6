//! Each rule of a purchase, of the add-on pool's validity and of reinstatement.

use super::*;
use crate::ledger::samples::{
    adjust, buy, catalogue, correct, debit, kinds, last_transfers, moved, paid, pass, pool, put,
    refusal, settle, spend, time,
};
use crate::ledger::{Accounts, Bucket, Command};

const NOW: &str = "2026-01-31T10:00:00Z";

fn pro() -> Book {
    pool(put("pro", 1), NOW)
}

fn check(book: &Book, purchase: &Purchase) -> Result<(), &'static str> {
    let checked = check_purchase(purchase, book.pool(), &catalogue(), time(NOW));
    checked.map_err(|refusal| refusal.code())
}

#[test]
fn the_plan_is_checked_before_the_quantity_and_the_quantity_before_the_time() {
    let wrong = paid(50, "2026-03-01");
    let free = pool(put("free", 1), NOW);
    assert_eq!(check(&free, &wrong), Err("addons_not_allowed"));
    assert_eq!(check(&pro(), &wrong), Err("invalid_quantity"));
    let too_soon = paid(100, "2026-03-01");
    assert_eq!(check(&pro(), &too_soon), Err("validation_failed"));
    let mut closed = free;
    closed.pool.closed_at = Some(time(NOW));
    assert_eq!(check(&closed, &wrong), Err("pool_closed"));
}

#[test]
fn a_quantity_is_at_least_the_minimum_and_a_multiple_of_the_step() {
    let mut terms = catalogue();
    terms.addon_terms.minimum = Credits::whole(200);
    let rows = [
        (-20_000, false),
        (0, false),
        (10_000, false),
        (19_999, false),
        (20_000, true),
        (20_001, false),
        (25_000, false),
        (30_000, true),
        (100_000_000_000, true),
        (100_000_010_000, false),
    ];
    for (units, good) in rows {
        let credits = Ok(SignedCredits::from_units(units));
        let purchase = Purchase {
            credits,
            ..paid(0, NOW)
        };
        let checked = check_purchase(&purchase, pro().pool(), &terms, time(NOW));
        let refused = Err(Refusal::InvalidQuantity {
            minimum: Credits::whole(200),
            step: Credits::whole(100),
        });
        assert_eq!(checked, if good { Ok(()) } else { refused }, "{units}");
    }
    for error in [
        CreditsError::TooFine,
        CreditsError::TooLarge,
        CreditsError::NotPositive,
    ] {
        let purchase = Purchase {
            credits: Err(error),
            ..paid(0, NOW)
        };
        assert_eq!(check(&pro(), &purchase), Err("invalid_quantity"), "{error}");
    }
}

#[test]
fn a_payment_is_neither_of_the_future_nor_so_old_that_it_is_over() {
    let rows = [
        (None, Ok(())),
        (Some(NOW), Ok(())),
        (Some("2026-01-31T10:00:00.001Z"), Err("validation_failed")),
        (Some("2025-01-31T10:00:00.001Z"), Ok(())),
        (Some("2025-01-31T10:00:00Z"), Err("validity_over")),
        (Some("2019-01-01"), Err("validity_over")),
    ];
    for (paid_at, expected) in rows {
        let paid_at = paid_at.map(time);
        let purchase = Purchase {
            paid_at,
            ..paid(100, NOW)
        };
        assert_eq!(check(&pro(), &purchase), expected, "{paid_at:?}");
    }
}

#[test]
fn no_addon_balance_passes_the_limit_of_an_account() {
    let with = |credits: Credits| {
        let mut accounts = Accounts::default();
        let (from, to) = (Account::IssuedAddon, Account::Addon);
        accounts.apply(Transfer {
            from,
            to,
            amount: credits,
        });
        let mut book = pro();
        book.pool.accounts = accounts;
        book
    };
    let room = Credits::MAX_ACCOUNT.saturating_sub(Credits::whole(100));
    assert_eq!(check(&with(room), &paid(100, NOW)), Ok(()));
    assert_eq!(check(&with(room), &paid(200, NOW)), Err("balance_limit"));

    let mut expired = with(room.saturating_sub(Credits::whole(100)));
    expired.pool.expired_addons = Some(crate::ledger::ExpiredAddons {
        expired_at: time("2026-01-20"),
        granted: Credits::whole(200),
        lapsed: Credits::whole(200),
        held: Credits::ZERO,
        opened_seq: 1,
    });
    let late = paid(100, "2026-01-19");
    assert_eq!(
        check(&expired, &late),
        Err("balance_limit"),
        "what comes back counts"
    );
    assert_eq!(check(&expired, &paid(100, "2026-01-20")), Ok(()));
}

#[test]
fn the_whole_addon_pool_expires_a_validity_after_the_latest_payment() {
    let mut book = pool(put("pro", 1), "2026-01-01");
    let end = |book: &Book| book.pool().addons.map(|live| live.expires_at);
    buy(&mut book, "2026-01-10", paid(500, "2026-01-10"));
    assert_eq!(end(&book), Some(time("2027-01-10")));
    buy(&mut book, "2026-06-05", paid(300, "2026-06-05"));
    assert_eq!(end(&book), Some(time("2027-06-05")));
    buy(&mut book, "2026-06-06", paid(100, "2026-02-01"));
    assert_eq!(
        end(&book),
        Some(time("2027-06-05")),
        "an earlier payment takes nothing back"
    );

    pass(&mut book, "2027-06-04T23:59:59.999Z");
    assert_eq!(book.pool().addon(), Credits::whole(900));
    pass(&mut book, "2027-06-05");
    let addon = book.pool().balance(time("2027-06-05")).addon;
    assert_eq!(
        (addon.settled, addon.granted),
        (Credits::ZERO, Credits::ZERO)
    );
    assert_eq!(addon.expires_at, None);
}

#[test]
fn what_was_bought_on_a_leap_day_expires_on_the_28th() {
    let mut book = pool(put("pro", 1), "2024-02-01");
    let bought = buy(
        &mut book,
        "2024-02-29T10:00:00Z",
        paid(100, "2024-02-29T10:00:00Z"),
    );
    let end = time("2025-02-28T10:00:00Z");
    assert_eq!(bought.after.addon.expires_at, Some(end));
}

#[test]
fn a_payment_made_an_hour_before_the_expiry_and_delivered_a_day_after_brings_back_what_lapsed() {
    let mut book = pool(put("pro", 1), "2026-01-10");
    buy(&mut book, "2026-01-10", paid(500, "2026-01-10"));
    spend(&mut book, "2026-01-11", debit(1_000));
    pass(&mut book, "2027-01-10");
    assert_eq!(book.pool().addon(), Credits::ZERO);

    let late = buy(&mut book, "2027-01-11", paid(100, "2027-01-09T23:00:00Z"));
    let back = book
        .entries()
        .iter()
        .rev()
        .nth(1)
        .expect("an entry before it");
    assert_eq!(back.kind, Kind::Reinstatement);
    assert_eq!(
        back.transfers,
        [moved(Account::Lapsed, Account::Addon, 300)]
    );
    assert_eq!(
        late.transfers,
        [moved(Account::IssuedAddon, Account::Addon, 100)]
    );
    assert_eq!(late.after.addon.settled, Credits::whole(400));
    assert_eq!(
        late.after.addon.granted,
        Credits::whole(600),
        "what was bought, too"
    );
    assert_eq!(
        late.after.addon.expires_at,
        Some(time("2028-01-09T23:00:00Z"))
    );
    let first = book.entries()[1].seq;
    assert_eq!(
        (back.addon_seq, late.addon_seq),
        (Some(first), Some(first)),
        "it is the same add-on pool again"
    );

    buy(&mut book, "2027-01-12", paid(100, "2027-01-09T22:00:00Z"));
    let again = kinds(&book)
        .into_iter()
        .filter(|kind| *kind == "reinstatement");
    assert_eq!(again.count(), 1, "once");
}

#[test]
fn what_repaid_an_overdraft_at_the_expiry_does_not_come_back() {
    let mut book = pool(put("pro", 1), "2026-01-10");
    buy(&mut book, "2026-01-10", paid(500, "2026-01-10"));
    spend(&mut book, "2027-01-09T22:00:00Z", settle(1_400));
    correct(
        &mut book,
        "2027-01-09T22:00:00Z",
        adjust(Bucket::Addon, 250),
    );
    pass(&mut book, "2027-01-10");
    let expiry = book
        .entries()
        .iter()
        .rev()
        .nth(1)
        .expect("an entry before the renewal");
    let repaid = moved(Account::Addon, Account::Overdraft, 100);
    assert_eq!(
        expiry.transfers,
        [repaid, moved(Account::Addon, Account::Lapsed, 150)]
    );

    let late = buy(&mut book, "2027-01-11", paid(100, "2027-01-09T23:00:00Z"));
    assert_eq!(late.after.addon.settled, Credits::whole(250));
}

#[test]
fn a_payment_of_the_expiry_itself_is_too_late_to_bring_anything_back() {
    let rows = [("2027-01-09T23:59:59.999Z", true), ("2027-01-10", false)];
    for (paid_at, back) in rows {
        let mut book = pool(put("pro", 1), "2026-01-10");
        buy(&mut book, "2026-01-10", paid(500, "2026-01-10"));
        buy(&mut book, "2027-01-11", paid(100, paid_at));
        assert_eq!(kinds(&book).contains(&"reinstatement"), back, "{paid_at}");
        let lost = book.pool().expired_addons;
        assert_eq!(lost.is_none(), back, "{paid_at}: another payment may still");
    }
}

#[test]
fn where_nothing_was_lost_nothing_comes_back() {
    let mut book = pool(put("pro", 1), "2026-01-10");
    correct(&mut book, "2026-01-10", adjust(Bucket::Addon, 5));
    correct(&mut book, "2026-01-10", adjust(Bucket::Addon, -5));
    pass(&mut book, "2027-01-10");
    buy(&mut book, "2027-01-11", paid(100, "2027-01-09"));
    assert!(!kinds(&book).contains(&"reinstatement"));

    let mut spent = pool(put("pro", 1), "2026-01-10");
    buy(&mut spent, "2026-01-10", paid(100, "2026-01-10"));
    spend(&mut spent, "2026-01-10", debit(900));
    let late = buy(&mut spent, "2027-01-11", paid(100, "2027-01-09"));
    assert!(
        kinds(&spent).contains(&"reinstatement"),
        "what was bought is shown again"
    );
    assert_eq!(late.after.addon.granted, Credits::whole(200));
    assert_eq!(late.after.addon.settled, Credits::whole(100));
}

#[test]
fn the_entry_of_a_purchase_names_payment_and_buyer() {
    let mut book = pro();
    let purchase = Purchase {
        amount_cents: Some(500),
        currency: Some("usd".to_owned()),
        user_id: "u-1".parse().ok(),
        ..paid(500, "2026-01-30")
    };
    let entry = buy(&mut book, NOW, purchase.clone());
    assert_eq!(
        (entry.purchase, entry.reference.as_ref()),
        (Some(purchase.id), Some(&purchase.reference))
    );
    assert_eq!(entry.attribution.user_id, purchase.user_id);
    let details = entry.read_details().expect("details can be read");
    assert_eq!(details.paid_at, Some(time("2026-01-30")));
    assert_eq!(
        (details.amount_cents, details.currency),
        (Some(500), Some("usd".to_owned()))
    );
}

#[test]
fn a_purchase_that_differs_in_any_field_is_another_request() {
    let changes: [fn(&mut Purchase); 6] = [
        |purchase| purchase.credits = Ok(SignedCredits::from_units(1)),
        |purchase| purchase.reference = "pi_2".parse().expect("a good label"),
        |purchase| purchase.paid_at = None,
        |purchase| purchase.amount_cents = Some(1),
        |purchase| purchase.currency = Some("usd".to_owned()),
        |purchase| purchase.user_id = "u-1".parse().ok(),
    ];
    let mut seen = vec![paid(100, NOW).fingerprint()];
    for (which, change) in changes.into_iter().enumerate() {
        let mut other = paid(100, NOW);
        change(&mut other);
        assert!(!seen.contains(&other.fingerprint()), "{which}");
        seen.push(other.fingerprint());
    }
    let renamed = Purchase {
        id: uuid::Uuid::from_u128(9).into(),
        ..paid(100, NOW)
    };
    assert_eq!(renamed.fingerprint(), seen[0], "the id is the answer's");
}

#[test]
fn a_claimed_purchase_is_refused_by_a_closed_pool_only() {
    let mut downgraded = pool(put("free", 1), NOW);
    buy(&mut downgraded, NOW, paid(500, NOW));
    assert_eq!(
        last_transfers(&downgraded),
        [moved(Account::IssuedAddon, Account::Addon, 500)]
    );
    let mut old = pro();
    buy(&mut old, NOW, paid(500, "2020-01-01"));
    let end = old.pool().addons.map(|live| live.expires_at);
    assert_eq!(end, Some(time(NOW)), "never over before it began");

    let mut closed = pro();
    closed.pool.closed_at = Some(time(NOW));
    let purchase = Command::Purchase(Box::new(paid(500, NOW)));
    assert_eq!(refusal(&mut closed, NOW, purchase), "pool_closed");
}
