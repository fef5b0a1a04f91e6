//! Licences that run, end and have ended, trials, and the way back.

use super::*;

#[test]
fn a_running_licence_is_kept_changed_and_cleared() {
    let mut book = pool(until("2026-03-10", put("pro", 1)), NOW);
    let end = |book: &Book| book.pool().license_ends_at;
    assert_eq!(change(&mut book, NOW, put("pro", 2)), Change::Increase);
    assert_eq!(
        end(&book),
        Some(time("2026-03-10")),
        "a PUT without one keeps it"
    );
    assert_eq!(
        change(&mut book, NOW, until("2027-03-10", put("pro", 2))),
        Change::Equal
    );
    assert_eq!(end(&book), Some(time("2027-03-10")));
    let cleared = PutPool {
        license: Patch::Clear,
        ..PutPool::default()
    };
    assert_eq!(change(&mut book, NOW, cleared), Change::Equal);
    assert_eq!((end(&book), status(&book, NOW)), (None, None));
    pass(&mut book, "2027-03-11");
    assert_eq!(book.pool().terms.plan.as_str(), "pro");
}

#[test]
fn an_ended_licence_synced_nightly_grants_nothing() {
    let ended = || until(ENDED, put("pro", 5));
    let mut book = pool(put("pro", 5), NOW);
    assert_eq!(change(&mut book, NOW, ended()), Change::Decrease);
    let fallen = [
        moved(Account::Monthly, Account::Lapsed, 4_000),
        moved(Account::IssuedMonthly, Account::Monthly, 100),
    ];
    assert_eq!(last_transfers(&book), fallen);
    for night in ["2026-02-01", "2026-02-02", "2026-02-03"] {
        assert_eq!(change(&mut book, night, ended()), Change::None);
    }
    assert_eq!(
        change(&mut book, "2026-02-04", until(ENDED, put("team", 9))),
        Change::Equal
    );
    assert_eq!(book.pool().requested.terms.plan.as_str(), "team");
    assert_eq!(change(&mut book, "2026-02-05", ended()), Change::Equal);
    assert_eq!(
        kinds(&book),
        ["open", "license_end", "terms_change", "terms_change"]
    );
    assert_eq!(book.pool().monthly(), Credits::whole(100));
    assert_eq!(status(&book, NOW), Some(LicenseStatus::Expired));
}

#[test]
fn an_ended_licence_leaves_a_pool_on_a_free_plan_as_it_is() {
    let mut book = pool(put("free", 3), NOW);
    spend(&mut book, NOW, settle(30));
    change(&mut book, NOW, put("legacy_free", 1));
    assert!(book.pool().pending.is_some());
    assert_eq!(
        change(&mut book, NOW, until(ENDED, put("pro", 5))),
        Change::Equal
    );
    let pool = book.pool();
    assert_eq!(
        (pool.terms.plan.as_str(), pool.terms.builders),
        ("free", Seats::ONE)
    );
    assert_eq!((&pool.pending, pool.monthly()), (&None, Credits::whole(70)));
    assert_eq!(pool.cycle, Cycle::of(time(NOW), 0));
}

#[test]
fn a_trial_synced_nightly_ends_once_and_never_starts_again() {
    let mut book = pool(trial(put("pro", 1)), "2026-01-20T10:00:00Z");
    for night in ["2026-01-21", "2026-02-02", "2026-02-03T09:59:59.999Z"] {
        assert_eq!(
            change(&mut book, night, trial(put("pro", 1))),
            Change::None,
            "{night}"
        );
    }
    let end = "2026-02-03T10:00:00Z";
    assert_eq!(change(&mut book, end, trial(put("pro", 1))), Change::Equal);
    for night in ["2026-02-04", "2026-02-20"] {
        assert_eq!(
            change(&mut book, night, trial(put("pro", 1))),
            Change::None,
            "{night}"
        );
    }
    assert_eq!(kinds(&book), ["open", "license_end", "terms_change"]);

    change(&mut book, "2026-02-21", until("2026-02-22", put("pro", 1)));
    pass(&mut book, "2026-02-22");
    let again = change(&mut book, "2026-02-23", trial(put("pro", 1)));
    assert_eq!(again, Change::Equal, "the first trial ever counts");
    assert_eq!(book.pool().terms.plan.as_str(), "free");
}

#[test]
fn a_trial_with_an_end_of_its_own_ends_then() {
    let longer = with_license(
        put("pro", 1),
        license(LicenseType::Trial, Some("2026-06-01")),
    );
    let book = pool(longer, NOW);
    assert_eq!(book.pool().license_ends_at, Some(time("2026-06-01")));
    assert_eq!(book.pool().first_trial_at, Some(time(NOW)));
}

/// On the free plan since the licence ended by itself, with 5 builders of pro requested.
fn fallen() -> Book {
    let mut book = pool(until("2026-02-02", put("pro", 5)), NOW);
    pass(&mut book, "2026-02-02");
    book
}

#[test]
fn a_plan_without_a_licence_is_a_new_request_and_means_no_end() {
    let mut book = fallen();
    assert_eq!(
        change(&mut book, "2026-02-05", put("pro", 5)),
        Change::Increase
    );
    assert_eq!(book.pool().monthly(), Credits::whole(4_000));
    assert_eq!(
        (book.pool().license_ends_at, book.pool().shown_license()),
        (None, None)
    );
    assert_eq!(change(&mut book, "2026-02-06", put("pro", 5)), Change::None);
    pass(&mut book, "2028-02-05");
    assert_eq!(book.pool().terms.plan.as_str(), "pro");
}

#[test]
fn a_running_licence_alone_brings_back_what_was_requested() {
    let mut book = fallen();
    let renewed = until("2027-02-02", PutPool::default());
    assert_eq!(change(&mut book, "2026-02-05", renewed), Change::Increase);
    assert_eq!(book.pool().monthly(), Credits::whole(4_000));
    assert_eq!(book.pool().license_ends_at, Some(time("2027-02-02")));
    assert_eq!(status(&book, "2026-02-05"), Some(LicenseStatus::Active));
}

#[test]
fn nothing_else_brings_a_plan_back() {
    let mut book = fallen();
    assert_eq!(
        change(&mut book, "2026-02-05", only(Seats::Count(9))),
        Change::Equal
    );
    let details = PutPool {
        metadata: metadata(),
        ..PutPool::default()
    };
    assert_eq!(change(&mut book, "2026-02-05", details), Change::Equal);
    assert_eq!(
        change(&mut book, "2026-02-05", PutPool::default()),
        Change::None
    );
    assert_eq!(book.pool().terms.plan.as_str(), "free");
    assert_eq!(book.pool().monthly(), Credits::whole(100));
    assert_eq!(
        change(&mut book, "2026-02-05", put("pro", 9)),
        Change::Increase
    );
    assert_eq!(
        book.pool().monthly(),
        Credits::whole(7_200),
        "with what was asked meanwhile"
    );
}

#[test]
fn what_a_pool_fell_back_from_is_shown_until_a_plan_is_back() {
    let cleared = || PutPool {
        license: Patch::Clear,
        ..PutPool::default()
    };
    let mut by_itself = fallen();
    assert_eq!(
        change(&mut by_itself, "2026-02-05", cleared()),
        Change::None
    );
    let mut by_request = pool(until(ENDED, put("pro", 5)), NOW);
    assert_eq!(
        change(&mut by_request, "2026-02-05", cleared()),
        Change::Equal
    );
    for mut book in [by_itself, by_request] {
        assert_eq!(status(&book, "2026-02-05"), Some(LicenseStatus::Expired));
        assert_eq!(
            change(&mut book, "2026-02-06", put("free", 1)),
            Change::Equal
        );
        assert_eq!(status(&book, "2026-02-06"), None);
    }
}

#[test]
fn a_smaller_plan_asked_for_after_a_fall_waits_for_the_renewal() {
    let mut book = fallen();
    assert_eq!(
        change(&mut book, "2026-02-05", put("legacy_free", 1)),
        Change::Decrease
    );
    assert_eq!(book.pool().monthly(), Credits::whole(100));
    pass(&mut book, "2026-03-02");
    assert_eq!(book.pool().terms.plan.as_str(), "legacy_free");
}

#[test]
fn ended_licences_in_turn_with_a_plan_of_no_more_than_the_free_one_grant_nothing() {
    let mut book = pool(put("trial", 1), NOW);
    spend(&mut book, NOW, crate::ledger::samples::debit(100));
    for day in ["2026-01-01", "2026-01-02", "2026-01-03"] {
        let ended = with_license(put("trial", 1), license(LicenseType::Trial, Some(day)));
        assert_eq!(change(&mut book, NOW, ended), Change::Equal);
        assert_eq!(book.pool().terms.plan.as_str(), "free");
        assert_eq!(book.pool().monthly(), Credits::ZERO);
        let clear = PutPool {
            license: Patch::Clear,
            ..put("trial", 1)
        };
        assert_eq!(change(&mut book, NOW, clear), Change::Equal);
    }
}
