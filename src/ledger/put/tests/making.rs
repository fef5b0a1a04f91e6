//! What terms grant, and which requests make a pool.

use super::*;

#[test]
fn an_allowance_is_of_the_plan_the_builders_or_the_pool_itself() {
    let rows = [
        (put("free", 1), 100),
        (put("free", 7), 100),
        (put("pro", 1), 800),
        (put("pro", 5), 4_000),
        (put("team", 2), 4_000),
        (put("legacy_team", 2), 1_000),
        (enterprise(123), 123),
        (unlimited("pro", 5_000), 5_000),
        (unlimited("free", 5), 5),
        (unlimited("enterprise", 77), 77),
    ];
    for (put, credits) in rows {
        let asked = format!("{put:?}");
        let book = pool(put, NOW);
        let granted = [moved(Account::IssuedMonthly, Account::Monthly, credits)];
        assert_eq!(last_transfers(&book), granted, "{asked}");
        assert_eq!(book.pool().granted, Credits::whole(credits), "{asked}");
    }
}

#[test]
fn no_allowance_passes_the_limit_of_an_account() {
    let most = 500_000_000;
    let full = pool(put("team", most), NOW);
    assert_eq!(full.pool().granted, Credits::MAX_ACCOUNT);
    let one_more = create(put("team", most + 1), NOW).map_err(|refusal| refusal.code());
    assert_eq!(one_more.map(|_| ()), Err("balance_limit"));
    let mut book = pool(put("team", 1), NOW);
    assert_eq!(refused(&mut book, put("team", most + 1)), "balance_limit");
    let ended = until(ENDED, put("team", most + 1));
    assert_eq!(
        refused(&mut book, ended),
        "balance_limit",
        "even where it is not granted now"
    );
}

#[test]
fn a_request_that_makes_no_sense_makes_no_pool() {
    let rows = [
        (PutPool::default(), "plan"),
        (put("gold", 1), "plan"),
        (put("enterprise", 1), "monthly_allowance"),
        (
            PutPool {
                plan: "pro".parse().ok(),
                ..only(Seats::Unlimited)
            },
            "monthly_allowance",
        ),
        (
            PutPool {
                monthly_allowance: Patch::Set(Credits::whole(5)),
                ..put("pro", 1)
            },
            "monthly_allowance",
        ),
    ];
    for (put, field) in rows {
        let asked = format!("{put:?}");
        let Err(Refusal::Invalid { violations }) = create(put, NOW) else {
            panic!("made: {asked}");
        };
        assert_eq!(violations[0].0, field, "{asked}");
    }
}

#[test]
fn the_first_cycle_is_the_one_that_contains_the_creation() {
    let rows = [
        (None, 0, NOW),
        (Some("2026-01-31T10:00:00Z"), 0, NOW),
        (
            Some("2026-01-31T10:00:00.001Z"),
            -1,
            "2025-12-31T10:00:00.001Z",
        ),
        (Some("2025-10-31"), 3, "2026-01-31"),
        (Some("2026-04-30T12:00:00Z"), -3, "2026-01-30T12:00:00Z"),
    ];
    for (anchor, number, start) in rows {
        let anchored = PutPool {
            billing_anchor: anchor.map(time),
            ..put("pro", 1)
        };
        let book = pool(anchored, NOW);
        let cycle = book.pool().cycle;
        assert_eq!(
            (cycle.number, cycle.start),
            (number, time(start)),
            "{anchor:?}"
        );
        assert_eq!(
            kinds(&book),
            ["open"],
            "nothing is granted for earlier cycles"
        );
        assert_eq!(book.pool().available().units(), 80_000, "granted in full");
    }
}

#[test]
fn an_ended_licence_makes_a_pool_on_its_free_plan() {
    let mut book = pool(until(NOW, put("pro", 5)), NOW);
    assert_eq!(book.pool().terms.plan.as_str(), "free");
    assert_eq!(book.pool().monthly(), Credits::whole(100));
    assert_eq!(book.pool().requested.terms.plan.as_str(), "pro");
    assert_eq!(status(&book, NOW), Some(LicenseStatus::Expired));
    assert_eq!(
        change(&mut book, NOW, until(NOW, put("pro", 5))),
        Change::None
    );

    let runs = pool(until("2026-01-31T10:00:00.001Z", put("pro", 5)), NOW);
    assert_eq!(
        runs.pool().terms.plan.as_str(),
        "pro",
        "a millisecond is left"
    );
}

#[test]
fn an_alias_is_the_plan() {
    let mut book = pool(put("flexible", 1), NOW);
    assert_eq!(book.pool().terms.plan.as_str(), "pro");
    assert_eq!(change(&mut book, NOW, put("pro", 1)), Change::None);
    assert_eq!(change(&mut book, NOW, put("flexible", 1)), Change::None);
}
