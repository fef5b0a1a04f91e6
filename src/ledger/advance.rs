//! What happens by itself: every due event at its own instant, in order.
//!
//! Whoever looks and however often, the same entries come out (invariant path-independent):
//! nothing here depends on when it is called, only on what is due by then.

use super::book::Draft;
use super::hold;
use super::{
    Account, Actor, Book, Catalogue, Credits, Cycle, Details, ExpiredAddons, Kind, PlanVersion,
    Pool, Seats, Terms, Time, Transfer,
};

/// What can be due, in the order of events at one instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    HoldExpiry,
    AddonExpiry,
    LicenseEnd,
    Renewal,
}

/// Why a licence ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LicenseEnd {
    /// Its end has come.
    Due,
    /// A PUT says that it has ended already; what it requested is kept.
    Stored,
    /// It was given up.
    Withdrawn,
}

/// Books everything that is due by `now`, each event at its own instant.
///
/// # Panics
/// When a hold is due and the holds were not read along with the pool.
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
///
/// # Panics
/// When holds are open and were not read along with the pool.
#[must_use]
pub fn next_grant(book: &Book, catalogue: &Catalogue) -> Option<NextGrant> {
    let mut book = book.clone();
    // Bounded: each hold expires once, the add-on pool and the licence end once before a renewal.
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
    let hold = pool.next_hold_at.map(|at| (at, Due::HoldExpiry));
    let addons = pool.addons.map(|live| (live.expires_at, Due::AddonExpiry));
    let license = pool.license_ends_at.map(|end| (end, Due::LicenseEnd));
    let renewal = Some((pool.cycle.end, Due::Renewal));
    [hold, addons, license, renewal].into_iter().flatten().min()
}

fn happen(book: &mut Book, catalogue: &Catalogue, at: Time, due: Due) {
    match due {
        Due::HoldExpiry => hold::expire(book, at),
        Due::AddonExpiry => expire_addons(book, at),
        Due::LicenseEnd => {
            end_license(book, catalogue, at, Actor::default(), LicenseEnd::Due);
        }
        Due::Renewal => renew(book, catalogue, at),
    }
}

/// The add-on pool expires: what is left repays an overdraft, the rest lapses. What is held of it
/// stays capturable.
fn expire_addons(book: &mut Book, at: Time) {
    let Some(live) = book.pool.addons.take() else {
        return;
    };
    let left = book.pool.addon();
    let repaid = left.min(book.pool.overdraft());
    let lapsed = left.saturating_sub(repaid);
    let held = book.pool.accounts.bucket(Account::HeldAddon);
    let transfers = [
        Transfer::new(Account::Addon, Account::Overdraft, repaid),
        Transfer::new(Account::Addon, Account::Lapsed, lapsed),
        Transfer::new(Account::HeldAddon, Account::HeldEnded, held),
    ];
    book.pool.expired_addons = Some(ExpiredAddons {
        expired_at: live.expires_at,
        granted: live.granted,
        lapsed,
        held,
        opened_seq: live.opened_seq,
    });
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
pub(super) fn end_license(
    book: &mut Book,
    catalogue: &Catalogue,
    at: Time,
    actor: Actor,
    why: LicenseEnd,
) {
    let keeps_cycle = why != LicenseEnd::Due && !takes_back(&book.pool, catalogue, at);
    let pool = &mut book.pool;
    pool.license_ends_at = None;
    pool.pending = None;
    pool.fallen_back = true;
    if why != LicenseEnd::Stored {
        pool.requested.license = None;
    }
    let transfers = if pool.terms.need_no_license() {
        keep_free_plan(pool);
        Vec::new()
    } else if keeps_cycle {
        pool.terms = free_terms(pool);
        if let Some(version) = version_of(pool, &pool.terms, catalogue, at) {
            pool.take_rules(version);
        }
        Vec::new()
    } else {
        let terms = free_terms(pool);
        turn_over(book, catalogue, at, terms, Cycle::of(at, 0))
    };
    let requested = (why == LicenseEnd::Stored).then(|| book.pool.requested.clone());
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

/// Whether the cycle was granted more than the free plan would grant. Where it was not, a licence
/// that is given up or stored after its end, which can be as often as one likes, grants nothing
/// (invariant no minting).
fn takes_back(pool: &Pool, catalogue: &Catalogue, at: Time) -> bool {
    let terms = free_terms(pool);
    let version = version_of(pool, &terms, catalogue, at);
    let free = version.and_then(|version| terms.allowance(version));
    free.is_none_or(|free| pool.granted > free)
}

/// The version of the terms' plan that counts for the pool; `None` for a plan that is gone.
fn version_of<'c>(
    pool: &Pool,
    terms: &Terms,
    catalogue: &'c Catalogue,
    at: Time,
) -> Option<&'c PlanVersion> {
    let plan = catalogue.plan(&terms.plan);
    plan.map(|(_, plan)| plan.version(pool.plan_instant(at)))
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

/// Starts a cycle on `terms`: what is left of the old one repays the overdraft and lapses, what is
/// held of it stays capturable, the full allowance is granted and repays what is still owed. The
/// caller appends the entry.
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
    let version = version_of(pool, &terms, catalogue, at);
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
    let held = pool.accounts.bucket(Account::HeldMonthly);
    let transfers = [
        Transfer::new(Account::Monthly, Account::Overdraft, repaid_by_rest),
        Transfer::new(Account::Monthly, Account::Lapsed, lapsed),
        Transfer::new(Account::HeldMonthly, Account::HeldEnded, held),
        Transfer::new(Account::IssuedMonthly, Account::Monthly, allowance),
        Transfer::new(Account::Monthly, Account::Overdraft, repaid_by_grant),
    ];
    transfers.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests;
