//! Larger, smaller and equal allowances; what an update says and leaves out; edited plans.

use super::*;

#[test]
fn an_increase_starts_a_cycle_with_the_full_new_allowance() {
    let mut book = pool(put("pro", 2), NOW);
    spend(&mut book, NOW, settle(600));
    let later = "2026-02-10T12:00:00Z";
    assert_eq!(change(&mut book, later, put("pro", 5)), Change::Increase);
    let expected = [
        moved(Account::Monthly, Account::Lapsed, 1_000),
        moved(Account::IssuedMonthly, Account::Monthly, 4_000),
    ];
    assert_eq!(last_transfers(&book), expected);
    assert_eq!(book.pool().cycle, Cycle::of(time(later), 0));
    assert_eq!(book.pool().used, Credits::ZERO);
    assert_eq!(
        book.pool().billing_anchor,
        time(NOW),
        "always the one given at creation"
    );
    assert_eq!(kinds(&book), ["open", "debit", "restart"]);
}

#[test]
fn an_increase_drops_a_decrease_that_waits() {
    let mut book = pool(put("pro", 3), NOW);
    change(&mut book, NOW, put("pro", 1));
    assert_eq!(change(&mut book, NOW, put("pro", 5)), Change::Increase);
    assert_eq!(book.pool().pending, None);
    pass(&mut book, "2026-02-28T10:00:00Z");
    assert_eq!(book.pool().monthly(), Credits::whole(4_000));
}

#[test]
fn an_increase_repays_an_overdraft() {
    let mut book = pool(put("pro", 1), NOW);
    spend(&mut book, NOW, settle(1_000));
    assert_eq!(change(&mut book, NOW, put("team", 1)), Change::Increase);
    let expected = [
        moved(Account::IssuedMonthly, Account::Monthly, 2_000),
        moved(Account::Monthly, Account::Overdraft, 200),
    ];
    assert_eq!(last_transfers(&book), expected);
}

#[test]
fn one_credit_more_is_an_increase_one_less_a_decrease() {
    let rows = [
        (501, Change::Increase),
        (500, Change::None),
        (499, Change::Decrease),
    ];
    for (credits, expected) in rows {
        let mut book = pool(enterprise(500), NOW);
        assert_eq!(
            change(&mut book, NOW, enterprise(credits)),
            expected,
            "{credits}"
        );
    }
}

#[test]
fn a_decrease_waits_for_the_renewal_and_takes_nothing_back() {
    let mut book = pool(put("team", 2), NOW);
    assert_eq!(change(&mut book, NOW, put("pro", 1)), Change::Decrease);
    assert_eq!(book.pool().terms.plan.as_str(), "team");
    assert_eq!(book.pool().monthly(), Credits::whole(4_000));
    let waiting = book.pool().pending.clone().expect("it waits");
    assert_eq!(
        (waiting.plan.as_str(), waiting.builders),
        ("pro", Seats::ONE)
    );
    assert!(last_transfers(&book).is_empty());

    assert_eq!(change(&mut book, NOW, put("pro", 1)), Change::None);
    assert_eq!(
        change(&mut book, NOW, put("pro", 4)),
        Change::Decrease,
        "raised, to less"
    );
    pass(&mut book, "2026-02-28T10:00:00Z");
    assert_eq!(book.pool().monthly(), Credits::whole(3_200));
    assert_eq!(
        kinds(&book),
        ["open", "terms_change", "terms_change", "renewal"]
    );
}

#[test]
fn an_equal_allowance_applies_at_once_without_a_cycle_and_clears_what_waits() {
    let mut book = pool(put("pro", 5), NOW);
    spend(&mut book, NOW, settle(100));
    change(&mut book, NOW, put("pro", 1));
    assert_eq!(
        change(&mut book, "2026-02-05", put("team", 2)),
        Change::Equal
    );
    let pool = book.pool();
    assert_eq!((pool.terms.plan.as_str(), &pool.pending), ("team", &None));
    assert_eq!(pool.cycle, Cycle::of(time(NOW), 0));
    assert_eq!(pool.monthly(), Credits::whole(3_900));

    assert_eq!(
        change(&mut book, "2026-02-05", put("legacy_pro", 20)),
        Change::Equal
    );
    let pool = book.pool();
    assert!(
        pool.legacy_prices && !pool.addons_allowed,
        "with the plan's rules"
    );
}

#[test]
fn back_to_what_was_granted_clears_what_waits() {
    let mut book = pool(put("pro", 5), NOW);
    change(&mut book, NOW, put("pro", 1));
    assert_eq!(change(&mut book, NOW, put("pro", 5)), Change::Equal);
    assert_eq!(book.pool().pending, None);
    pass(&mut book, "2026-02-28T10:00:00Z");
    assert_eq!(book.pool().monthly(), Credits::whole(4_000));
}

#[test]
fn a_repeated_request_is_no_change_at_all() {
    let asked = PutPool {
        term: Patch::Set(Term::Annual),
        metadata: metadata(),
        billing_anchor: Some(time(NOW)),
        ..until("2027-01-31", put("pro", 5))
    };
    let mut book = pool(asked.clone(), NOW);
    for at in [NOW, "2026-02-05", "2026-02-28T10:00:00Z"] {
        assert_eq!(change(&mut book, at, asked.clone()), Change::None, "{at}");
        assert_eq!(
            change(&mut book, at, PutPool::default()),
            Change::None,
            "{at}"
        );
    }
    assert_eq!(kinds(&book), ["open", "renewal"]);
}

#[test]
fn what_an_update_leaves_out_keeps_what_was_requested_last() {
    let mut book = pool(put("pro", 5), NOW);
    change(&mut book, NOW, only(Seats::Count(2)));
    let to_team = PutPool {
        plan: "team".parse().ok(),
        ..PutPool::default()
    };
    assert_eq!(
        change(&mut book, NOW, to_team),
        Change::Equal,
        "2 builders, though they wait"
    );

    let details = PutPool {
        term: Patch::Set(Term::Annual),
        metadata: metadata(),
        ..PutPool::default()
    };
    assert_eq!(change(&mut book, NOW, details), Change::Equal);
    assert_eq!(book.pool().requested.term, Term::Annual);
    assert!(last_transfers(&book).is_empty());
    let cleared = PutPool {
        term: Patch::Clear,
        metadata: Patch::Clear,
        builders: Patch::Clear,
        ..PutPool::default()
    };
    assert_eq!(change(&mut book, NOW, cleared), Change::Decrease);
    let requested = &book.pool().requested;
    assert_eq!(
        (requested.term, &requested.metadata),
        (Term::Monthly, &None)
    );
    assert_eq!(requested.terms.builders, Seats::ONE);
}

#[test]
fn what_only_changes_details_leaves_a_pending_decrease_alone() {
    let mut book = pool(put("pro", 5), NOW);
    change(&mut book, NOW, put("pro", 1));
    let details = PutPool {
        metadata: metadata(),
        ..PutPool::default()
    };
    assert_eq!(
        change(&mut book, NOW, details),
        Change::Decrease,
        "the request as a whole is still for less"
    );
    assert!(book.pool().pending.is_some());
}

#[test]
fn an_allowance_of_the_pool_is_dropped_where_the_plan_has_its_own() {
    let mut book = pool(enterprise(500), NOW);
    let named = PutPool {
        monthly_allowance: Patch::Set(Credits::whole(500)),
        ..put("pro", 1)
    };
    assert_eq!(refused(&mut book, named), "validation_failed");
    assert_eq!(change(&mut book, NOW, put("pro", 1)), Change::Increase);
    assert_eq!(book.pool().requested.terms.monthly_allowance, None);
    assert_eq!(
        refused(&mut book, put("enterprise", 1)),
        "validation_failed",
        "it is gone"
    );
    assert_eq!(
        refused(&mut book, only(Seats::Unlimited)),
        "validation_failed"
    );
    let cleared = PutPool {
        monthly_allowance: Patch::Clear,
        ..PutPool::default()
    };
    assert_eq!(change(&mut book, NOW, cleared), Change::None);
}

#[test]
fn the_allowance_that_terms_need_cannot_be_cleared() {
    let mut book = pool(enterprise(500), NOW);
    let cleared = PutPool {
        monthly_allowance: Patch::Clear,
        ..PutPool::default()
    };
    assert_eq!(refused(&mut book, cleared), "validation_failed");
    assert_eq!(
        change(&mut book, NOW, only(Seats::Unlimited)),
        Change::Equal,
        "it is kept"
    );
}

#[test]
fn anchor_and_clock_are_given_once() {
    let clock = |id| Patch::Set(ClockId::from(uuid::Uuid::from_u128(id)));
    let mut book = pool(
        PutPool {
            test_clock: clock(1),
            ..put("pro", 1)
        },
        NOW,
    );
    assert_eq!(
        change(
            &mut book,
            NOW,
            PutPool {
                test_clock: clock(1),
                ..put("pro", 1)
            }
        ),
        Change::None
    );
    for test_clock in [clock(2), Patch::Clear] {
        let other = PutPool {
            test_clock,
            ..PutPool::default()
        };
        assert_eq!(refused(&mut book, other), "test_clock_fixed");
    }
    let late = PutPool {
        test_clock: clock(1),
        ..PutPool::default()
    };
    assert_eq!(
        refused(&mut pool(put("pro", 1), NOW), late),
        "test_clock_fixed"
    );

    let anchored = |at| PutPool {
        billing_anchor: Some(time(at)),
        ..PutPool::default()
    };
    assert_eq!(change(&mut book, NOW, anchored(NOW)), Change::None);
    change(&mut book, "2026-02-05", put("pro", 2));
    assert_eq!(book.pool().cycle.anchor, time("2026-02-05"));
    let restarted = Command::Update(Box::new(anchored("2026-02-05")));
    assert_eq!(
        refusal(&mut book, "2026-02-05", restarted),
        "billing_anchor_fixed"
    );
    assert_eq!(change(&mut book, "2026-02-05", anchored(NOW)), Change::None);
}

#[test]
fn an_unknown_plan_changes_nothing() {
    let mut book = pool(put("pro", 1), NOW);
    assert_eq!(refused(&mut book, put("gold", 1)), "validation_failed");
}

#[test]
fn a_repeated_request_is_no_change_whatever_became_of_its_plan() {
    let rows = [
        (
            "pro",
            put("pro", 1),
            Allowance::PerBuilder(Credits::whole(900)),
        ),
        (
            "enterprise",
            enterprise(500),
            Allowance::PerPool(Credits::whole(900)),
        ),
        (
            "enterprise",
            enterprise(500),
            Allowance::PerBuilder(Credits::whole(10)),
        ),
        ("pro", put("pro", 1), Allowance::Custom),
    ];
    for (plan, asked, allowance) in rows {
        let catalogue = edited(plan, allowance);
        let mut book = pool(asked.clone(), NOW);
        for again in [asked, PutPool::default()] {
            let again = Command::Update(Box::new(again));
            let answer = decide(&mut book, &catalogue, "2026-02-05", again);
            assert_eq!(
                answer,
                Ok(crate::ledger::Outcome::Put(Change::None)),
                "{allowance:?}"
            );
        }
        assert_eq!(kinds(&book), ["open"], "{allowance:?}");
    }
}

#[test]
fn a_new_request_is_measured_by_the_version_of_now() {
    let catalogue = edited("pro", Allowance::PerBuilder(Credits::whole(300)));
    let mut book = pool(put("pro", 1), NOW);
    let two = Command::Update(Box::new(put("pro", 2)));
    let answer = decide(&mut book, &catalogue, "2026-02-05", two);
    assert_eq!(answer, Ok(crate::ledger::Outcome::Put(Change::Decrease)));
    assert_eq!(book.pool().granted, Credits::whole(800));
}

#[test]
fn a_plan_that_became_custom_needs_an_allowance_to_come_back_to() {
    let catalogue = edited("pro", Allowance::Custom);
    let mut book = pool(until("2026-02-02", put("pro", 1)), NOW);
    let back = Command::Update(Box::new(put("pro", 1)));
    let refused = decide(&mut book, &catalogue, "2026-02-05", back);
    assert_eq!(
        refused.map_err(|refusal| refusal.code()),
        Err("validation_failed")
    );
}
