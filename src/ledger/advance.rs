//! What happens by itself: every due event at its own instant, in order.
//!
//! Whoever looks and however often, the same entries come out (invariant path-independent):
//! nothing here depends on when it is called, only on what is due by then.

use super::book::Draft;
use super::{
    Account, Actor, Book, Catalogue, Credits, Cycle, Details, ExpiredAddons, Kind, Pool, Seats,
    Terms, Time, Transfer,
};

/// What can be due, in the order of events at one instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    AddonExpiry,
    LicenseEnd,
    Renewal,
}

/// Books everything that is due by `now`, each event at its own instant.
pub fn advance(book: &mut Book, catalogue: &Catalogue, now: Time) {
    while let Some((at, due)) = next_due(book.pool()).filter(|(at, _)| *at <= now) {
        happen(book, catalogue, at, due);
    }
}

/// The next grant that will come by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextGrant {
    /// When.
    pub at: Time,
    /// The whole allowance.
    pub credits: Credits,
    /// What of it repays the overdraft.
    pub overdraft_repaid: Credits,
    /// What is left to spend.
    pub net: Credits,
}

/// What the next grant would be if nothing else happened; none comes to a closed pool.
#[must_use]
pub fn next_grant(pool: &Pool, catalogue: &Catalogue) -> Option<NextGrant> {
    let mut book = Book::new(pool.clone());
    // Bounded: an add-on expiry and a licence end come at most once before a renewal.
    while let Some((at, due)) = next_due(book.pool()) {
        happen(&mut book, catalogue, at, due);
        let entry = book.entries().last()?;
        if book.pool().cycle_seq == entry.seq {
            let credits = book.pool().granted;
            // The rest of the old cycle repays first; only what the grant repays counts here.
            let legs = entry.transfers.iter();
            let overdraft_repaid = legs
                .skip_while(|leg| leg.from != Account::IssuedMonthly)
                .filter(|leg| leg.to == Account::Overdraft)
                .map(|leg| leg.amount)
                .sum();
            let net = credits.saturating_sub(overdraft_repaid);
            return Some(NextGrant {
                at,
                credits,
                overdraft_repaid,
                net,
            });
        }
    }
    None
}

fn next_due(pool: &Pool) -> Option<(Time, Due)> {
    if pool.is_closed() {
        return None;
    }
    let addons = pool.addons.map(|live| (live.expires_at, Due::AddonExpiry));
    let license = pool.license_ends_at.map(|end| (end, Due::LicenseEnd));
    let renewal = Some((pool.cycle.end, Due::Renewal));
    [addons, license, renewal].into_iter().flatten().min()
}

fn happen(book: &mut Book, catalogue: &Catalogue, at: Time, due: Due) {
    match due {
        Due::AddonExpiry => expire_addons(book, at),
        Due::LicenseEnd => {
            end_license(book, catalogue, at, Actor::default(), false);
        }
        Due::Renewal => renew(book, catalogue, at),
    }
}

/// The add-on pool expires: what is left repays an overdraft, the rest lapses.
fn expire_addons(book: &mut Book, at: Time) {
    let Some(live) = book.pool.addons.take() else {
        return;
    };
    let left = book.pool.addon();
    let repaid = left.min(book.pool.overdraft());
    let lapsed = left.saturating_sub(repaid);
    let transfers = [
        Transfer::new(Account::Addon, Account::Overdraft, repaid),
        Transfer::new(Account::Addon, Account::Lapsed, lapsed),
    ];
    let lost = ExpiredAddons {
        expired_at: live.expires_at,
        granted: live.granted,
        lapsed,
    };
    // Where nothing was lost, a late payment has nothing to bring back.
    let nothing = lost.granted.is_zero() && lost.lapsed.is_zero();
    book.pool.expired_addons = (!nothing).then_some(lost);
    let transfers = transfers.into_iter().flatten().collect();
    book.append(at, Draft::new(Kind::AddonExpiry, transfers));
}

/// A cycle ends: pending terms come into force and the next cycle gets its full allowance.
fn renew(book: &mut Book, catalogue: &Catalogue, at: Time) {
    let pending = book.pool.pending.take();
    let details = Details {
        terms: pending.clone(),
        ..Details::default()
    };
    let cycle = book.pool.cycle.next();
    let terms = pending.unwrap_or_else(|| book.pool.terms.clone());
    let transfers = turn_over(book, catalogue, at, terms, cycle);
    book.append(
        at,
        Draft {
            details,
            ..Draft::new(Kind::Renewal, transfers)
        },
    );
}

/// The licence is over: the pool falls to its free plan and a cycle starts, but a pool that is on
/// a free plan already keeps plan and cycle and gets nothing.
///
/// `stored` tells that a PUT with this ended licence causes it, so what it requested is kept.
pub(super) fn end_license(
    book: &mut Book,
    catalogue: &Catalogue,
    at: Time,
    actor: Actor,
    stored: bool,
) {
    let pool = &mut book.pool;
    pool.license_ends_at = None;
    pool.pending = None;
    pool.fallen_back = true;
    if !stored {
        pool.requested.license = None;
    }
    let transfers = if pool.terms.need_no_license() {
        keep_free_plan(pool);
        Vec::new()
    } else {
        let terms = free_terms(pool);
        turn_over(book, catalogue, at, terms, Cycle::of(at, 0))
    };
    let requested = stored.then(|| book.pool.requested.clone());
    let details = Details {
        terms: Some(book.pool.terms.clone()),
        requested,
        ..Details::default()
    };
    book.append(
        at,
        Draft {
            actor,
            details,
            ..Draft::new(Kind::LicenseEnd, transfers)
        },
    );
}

/// A pool on a free plan keeps it and its cycle when a licence ends. The builders and the allowance
/// of its own went with the licence, so the next renewal grants what the plan says.
pub(super) fn keep_free_plan(pool: &mut Pool) {
    let plan = pool.terms.plan.clone();
    pool.terms = Terms {
        plan,
        ..free_terms(pool)
    };
}

/// What a pool without a licence is on.
pub(super) fn free_terms(pool: &Pool) -> Terms {
    let plan = pool
        .name
        .kind()
        .free_plan()
        .parse()
        .expect("the free plans have good codes");
    Terms {
        plan,
        builders: Seats::ONE,
        monthly_allowance: None,
    }
}

/// Starts a cycle on `terms`: what is left of the old one repays the overdraft and lapses, the
/// full allowance is granted and repays what is still owed. The caller appends the entry.
pub(super) fn turn_over(
    book: &mut Book,
    catalogue: &Catalogue,
    at: Time,
    terms: Terms,
    cycle: Cycle,
) -> Vec<Transfer> {
    let cycle_seq = book.next_seq();
    let pool = &mut book.pool;
    // A plan that is gone or says no amount leaves the last grant as it was: a renewal cannot be
    // refused, and taking credits away for a slip in the catalogue would be worse.
    let version = catalogue
        .plan(&terms.plan)
        .map(|(_, plan)| plan.version(pool.plan_instant(at)));
    let allowance = version
        .and_then(|version| terms.allowance(version))
        .unwrap_or(pool.granted);
    if let Some(version) = version {
        pool.take_rules(version);
    }
    let (left, owed) = (pool.monthly(), pool.overdraft());
    let repaid_by_rest = left.min(owed);
    let repaid_by_grant = allowance.min(owed.saturating_sub(repaid_by_rest));
    pool.terms = terms;
    pool.granted = allowance;
    pool.used = Credits::ZERO;
    pool.cycle = cycle;
    pool.cycle_seq = cycle_seq;
    let lapsed = left.saturating_sub(repaid_by_rest);
    let transfers = [
        Transfer::new(Account::Monthly, Account::Overdraft, repaid_by_rest),
        Transfer::new(Account::Monthly, Account::Lapsed, lapsed),
        Transfer::new(Account::IssuedMonthly, Account::Monthly, allowance),
        Transfer::new(Account::Monthly, Account::Overdraft, repaid_by_grant),
    ];
    transfers.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
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
        let next = |book: &Book| next_grant(book.pool(), &catalogue());
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
        let none = next_grant(stays.pool(), &nothing);
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
}
