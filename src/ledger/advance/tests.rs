//! What happens by itself: the order, the instants, and what each event moves.

use super::*;
use crate::ledger::samples::{
    adjust, buy, catalogue, change, correct, create, debit, enterprise, kinds, last_transfers,
    license, moved, names, paid, pass, pool, put, settle, spend, time, until,
};
use crate::ledger::{
    Allowance, Bucket, Change, Command, LicenseStatus, LicenseType, Patch, Plan, PlanVersion,
    PutPool,
};

const NOW: &str = "2026-01-31T10:00:00Z";

/// The default catalogue with one more version of a plan.
fn edited(plan: &str, allowance: Allowance, effective_at: &str) -> Catalogue {
    let mut catalogue = catalogue();
    let code = plan.parse().expect("a good code");
    let Some(Plan { versions, .. }) = catalogue.plans.get_mut(&code) else {
        panic!("no default plan {plan}");
    };
    versions.push(PlanVersion {
        version: 2,
        effective_at: time(effective_at),
        allowance,
        ..versions[0].clone()
    });
    catalogue
}

#[test]
fn at_one_instant_addons_expire_before_the_licence_ends_and_that_before_a_renewal() {
    let end = "2027-01-31T10:00:00Z";
    let mut book = pool(until(end, put("free", 1)), NOW);
    correct(&mut book, NOW, adjust(Bucket::Addon, 5));
    pass(&mut book, end);
    let all = kinds(&book);
    assert_eq!(
        all[all.len() - 3..],
        ["addon_expiry", "license_end", "renewal"]
    );
    assert!(
        book.entries()
            .iter()
            .rev()
            .take(3)
            .all(|entry| entry.at == time(end))
    );

    let mut falls = pool(until(end, put("pro", 1)), NOW);
    pass(&mut falls, end);
    let all = kinds(&falls);
    assert_eq!(
        all[all.len() - 2..],
        ["renewal", "license_end"],
        "one grant, not two"
    );
    assert_eq!(falls.pool().cycle, Cycle::of(time(end), 0));
}

#[test]
fn a_plan_of_10_000_overdrawn_by_9_000_renews_to_1_000() {
    let mut book = pool(enterprise(10_000), NOW);
    spend(&mut book, NOW, settle(19_000));
    assert_eq!(book.pool().available().units(), -900_000);
    pass(&mut book, "2026-02-28T10:00:00Z");
    let expected = [
        moved(Account::IssuedMonthly, Account::Monthly, 10_000),
        moved(Account::Monthly, Account::Overdraft, 9_000),
    ];
    assert_eq!(last_transfers(&book), expected);
    assert_eq!(book.pool().available().units(), 100_000);
    assert_eq!(book.pool().overdraft(), Credits::ZERO);
}

#[test]
fn an_overdraft_beyond_the_allowance_is_repaid_over_several_renewals() {
    let mut book = pool(put("free", 1), NOW);
    spend(&mut book, NOW, settle(300));
    let rows = [
        ("2026-02-28T10:00:00Z", 100),
        ("2026-03-31T10:00:00Z", 0),
        ("2026-04-30T10:00:00Z", 0),
    ];
    for (at, owed) in rows {
        pass(&mut book, at);
        assert_eq!(book.pool().overdraft(), Credits::whole(owed), "{at}");
    }
    assert_eq!(book.pool().monthly(), Credits::whole(100));
}

#[test]
fn what_is_about_to_lapse_repays_an_overdraft_before_the_grant_does() {
    let mut book = pool(put("pro", 1), NOW);
    spend(&mut book, NOW, settle(1_000));
    correct(&mut book, NOW, adjust(Bucket::Monthly, 150));
    pass(&mut book, "2026-02-28T10:00:00Z");
    let expected = [
        moved(Account::Monthly, Account::Overdraft, 150),
        moved(Account::IssuedMonthly, Account::Monthly, 800),
        moved(Account::Monthly, Account::Overdraft, 50),
    ];
    assert_eq!(last_transfers(&book), expected);
}

#[test]
fn each_missed_cycle_gets_its_own_entry_at_its_own_instant() {
    let mut book = pool(put("pro", 1), NOW);
    pass(&mut book, "2026-05-01");
    let instants: Vec<_> = book.entries().iter().map(|entry| entry.at).collect();
    let expected = [
        NOW,
        "2026-02-28T10:00:00Z",
        "2026-03-31T10:00:00Z",
        "2026-04-30T10:00:00Z",
    ];
    assert_eq!(instants, expected.map(time));
    let lapse_and_grant = [
        moved(Account::Monthly, Account::Lapsed, 800),
        moved(Account::IssuedMonthly, Account::Monthly, 800),
    ];
    assert_eq!(book.entries()[1].transfers, lapse_and_grant);
}

#[test]
fn a_millisecond_decides_what_is_due() {
    let mut book = pool(put("free", 1), NOW);
    pass(&mut book, "2026-02-28T09:59:59.999Z");
    assert_eq!(kinds(&book), ["open"]);
    pass(&mut book, "2026-02-28T10:00:00Z");
    assert_eq!(kinds(&book), ["open", "renewal"]);
    pass(&mut book, "2026-02-28T10:00:00Z");
    assert_eq!(kinds(&book), ["open", "renewal"], "once");
}

#[test]
fn pending_terms_come_into_force_at_the_renewal() {
    let mut book = pool(put("pro", 3), NOW);
    assert_eq!(change(&mut book, NOW, put("pro", 1)), Change::Decrease);
    pass(&mut book, "2026-02-28T10:00:00Z");
    assert_eq!(book.pool().terms.builders, Seats::ONE);
    assert_eq!(
        (book.pool().granted, &book.pool().pending),
        (Credits::whole(800), &None)
    );
    let details = book.entries().last().and_then(|entry| entry.read_details());
    assert_eq!(
        details.and_then(|details| details.terms),
        Some(book.pool().terms.clone())
    );
}

#[test]
fn a_cycle_is_granted_by_the_plan_version_at_its_start_however_late_it_is_booked() {
    let catalogue = edited(
        "free",
        Allowance::PerPool(Credits::whole(70)),
        "2026-03-31T10:00:00Z",
    );
    let mut book = pool(put("free", 1), NOW);
    advance(&mut book, &catalogue, time("2026-05-01"));
    let granted: Vec<_> = book
        .entries()
        .iter()
        .map(|entry| entry.after.monthly.granted)
        .collect();
    assert_eq!(granted, [100, 100, 70, 70].map(Credits::whole));

    let clocked = PutPool {
        test_clock: Patch::Set(uuid::Uuid::from_u128(1).into()),
        ..put("free", 1)
    };
    let mut book = pool(clocked, NOW);
    advance(&mut book, &catalogue, time("2026-02-28T10:00:00Z"));
    assert_eq!(
        book.pool().granted,
        Credits::whole(70),
        "the newest, on a test clock"
    );
}

#[test]
fn a_plan_that_says_no_amount_any_more_leaves_the_last_grant() {
    let custom = edited("pro", Allowance::Custom, "2026-02-01");
    let mut gone = catalogue();
    gone.plans.clear();
    let too_much = edited(
        "pro",
        Allowance::PerBuilder(Credits::MAX_ACCOUNT),
        "2026-02-01",
    );
    for catalogue in [custom, gone, too_much] {
        let mut book = pool(put("pro", 2), NOW);
        advance(&mut book, &catalogue, time("2026-02-28T10:00:00Z"));
        assert_eq!(book.pool().monthly(), Credits::whole(1_600));
    }
}

#[test]
fn a_licence_end_takes_the_pool_to_its_free_plan_and_starts_a_cycle() {
    let end = "2026-02-10T12:00:00Z";
    for (name, plan) in [("workspace:a", "free"), ("instance:a", "basic")] {
        let put = until(end, put("pro", 5));
        let made = put.create(names(name), &catalogue(), Actor::default(), time(NOW));
        let mut book = made.expect("a good request");
        buy(&mut book, NOW, paid(500, NOW));
        change(
            &mut book,
            NOW,
            PutPool {
                builders: Patch::Set(Seats::Count(2)),
                ..PutPool::default()
            },
        );
        spend(&mut book, NOW, debit(1_000));
        pass(&mut book, end);

        let pool = book.pool();
        assert_eq!(pool.terms.plan.as_str(), plan);
        assert_eq!((pool.terms.builders, &pool.pending), (Seats::ONE, &None));
        assert_eq!(pool.cycle, Cycle::of(time(end), 0));
        assert_eq!(
            pool.requested.license, None,
            "taken out of what is requested"
        );
        assert_eq!(pool.requested.terms.builders, Seats::Count(2));
        assert_eq!(
            (pool.monthly(), pool.addon()),
            (Credits::whole(100), Credits::whole(500))
        );
        let expected = [
            moved(Account::Monthly, Account::Lapsed, 3_000),
            moved(Account::IssuedMonthly, Account::Monthly, 100),
        ];
        assert_eq!(last_transfers(&book), expected);
    }
}

#[test]
fn a_pool_on_a_free_plan_keeps_plan_and_cycle_and_gets_nothing() {
    let end = "2026-02-10";
    for plan in ["free", "basic"] {
        let mut book = pool(until(end, put(plan, 3)), NOW);
        spend(&mut book, NOW, debit(30));
        pass(&mut book, end);
        assert_eq!(kinds(&book), ["open", "debit", "license_end"]);
        assert!(last_transfers(&book).is_empty());
        let pool = book.pool();
        assert_eq!(
            (pool.terms.plan.as_str(), pool.terms.builders),
            (plan, Seats::ONE)
        );
        assert_eq!(pool.cycle, Cycle::of(time(NOW), 0));
        assert_eq!(pool.available().units(), 7_000);
        assert_eq!(pool.next_due_at(), Some(time("2026-02-28T10:00:00Z")));
    }
}

#[test]
fn a_pool_of_its_own_allowance_on_a_free_plan_loses_it_with_the_licence() {
    let own = PutPool {
        builders: Patch::Set(Seats::Unlimited),
        monthly_allowance: Patch::Set(Credits::whole(5_000)),
        ..put("free", 1)
    };
    let mut book = pool(until("2026-02-10", own), NOW);
    pass(&mut book, "2026-02-10");
    assert_eq!(
        book.pool().monthly(),
        Credits::whole(5_000),
        "nothing is taken"
    );
    assert_eq!(book.pool().terms, free_terms(book.pool()));
    pass(&mut book, "2026-02-28T10:00:00Z");
    assert_eq!(book.pool().monthly(), Credits::whole(100));
}

#[test]
fn the_grace_and_not_the_expiry_ends_a_licence() {
    let graced = crate::ledger::License {
        grace_until: Some(time("2026-02-15")),
        ..license(LicenseType::Paid, Some("2026-02-10"))
    };
    let mut book = pool(
        PutPool {
            license: Patch::Set(graced),
            ..put("pro", 1)
        },
        NOW,
    );
    let status = |book: &Book, at| {
        book.pool()
            .license
            .as_ref()
            .map(|given| given.status(time(at)))
    };
    pass(&mut book, "2026-02-14T23:59:59.999Z");
    assert_eq!(book.pool().terms.plan.as_str(), "pro");
    assert_eq!(status(&book, "2026-02-14"), Some(LicenseStatus::Grace));
    let expires_at = book.pool().balance(time(NOW)).monthly.expires_at;
    assert_eq!(
        expires_at,
        time("2026-02-15"),
        "the licence ends before the cycle"
    );
    pass(&mut book, "2026-02-15");
    assert_eq!(book.pool().terms.plan.as_str(), "free");
    assert_eq!(status(&book, "2026-02-15"), Some(LicenseStatus::Expired));
}

#[test]
fn a_trial_of_january_20_at_10_ends_on_february_3_at_10_to_the_millisecond() {
    let trial = Patch::Set(license(LicenseType::Trial, None));
    let mut book = pool(
        PutPool {
            license: trial,
            ..put("pro", 1)
        },
        "2026-01-20T10:00:00Z",
    );
    pass(&mut book, "2026-02-03T09:59:59.999Z");
    assert_eq!(kinds(&book), ["open"]);
    pass(&mut book, "2026-02-03T10:00:00Z");
    assert_eq!(kinds(&book), ["open", "license_end"]);
    assert_eq!(book.pool().last_at, time("2026-02-03T10:00:00Z"));
}

#[test]
fn the_next_grant_is_the_renewal_or_the_fall_to_the_free_plan() {
    let next = |book: &Book| next_grant(book, &catalogue());
    let grant = |at: &str, credits, repaid, net| {
        let [credits, overdraft_repaid, net] = [credits, repaid, net].map(Credits::whole);
        Some(NextGrant {
            at: time(at),
            credits,
            overdraft_repaid,
            net,
        })
    };
    let mut book = pool(put("pro", 1), NOW);
    assert_eq!(next(&book), grant("2026-02-28T10:00:00Z", 800, 0, 800));
    spend(&mut book, NOW, settle(1_000));
    correct(&mut book, NOW, adjust(Bucket::Monthly, 50));
    assert_eq!(next(&book), grant("2026-02-28T10:00:00Z", 800, 150, 650));
    change(&mut book, NOW, put("legacy_pro", 1));
    assert_eq!(next(&book), grant("2026-02-28T10:00:00Z", 200, 150, 50));
    let close = Command::Close;
    close
        .decide(&mut book, &catalogue(), Actor::default(), time(NOW))
        .expect("it closes");
    assert_eq!(next(&book), None);

    let falls = pool(until("2026-02-10", put("pro", 1)), NOW);
    assert_eq!(next(&falls), grant("2026-02-10", 100, 0, 100));
    let stays = pool(until("2026-02-10", put("free", 1)), NOW);
    assert_eq!(next(&stays), grant("2026-02-28T10:00:00Z", 100, 0, 100));
    let nothing = edited("free", Allowance::PerPool(Credits::ZERO), "2026-02-01");
    let none = next_grant(&stays, &nothing);
    assert_eq!(none, grant("2026-02-28T10:00:00Z", 0, 0, 0), "and it ends");
}

#[test]
fn a_first_cycle_before_the_anchor_renews_at_the_anchor() {
    let anchored = PutPool {
        billing_anchor: Some(time("2026-03-31")),
        ..put("free", 1)
    };
    let mut book = create(anchored, NOW).expect("a good request");
    assert_eq!(book.pool().cycle.number, -2);
    pass(&mut book, "2026-03-31");
    let instants: Vec<_> = book.entries().iter().map(|entry| entry.at).collect();
    assert_eq!(instants, [NOW, "2026-02-28", "2026-03-31"].map(time));
    assert_eq!(book.pool().cycle.number, 0);
}
