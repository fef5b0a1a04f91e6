//! What a pool was at some point of its journal: its terms, cycle and licence, folded from the
//! entries that change them, and its balances, which each entry says.
//!
//! Nothing is decided here: what was decided then is only followed.

use std::collections::BTreeMap;

use crate::ledger::creation::blank_pool;
use crate::ledger::{
    Account, Accounts, Balance, Catalogue, Credits, Cycle, Details, Entry, Kind, License,
    LiveAddons, Patch, PlanCode, PlanVersion, Pool, PoolId, PoolName, Requested, SignedCredits,
    TenantId, Time, Transfer, cycle_containing,
};

/// A pool as far as its journal was followed.
pub(super) struct Past {
    names: (PoolId, TenantId, PoolName),
    /// Terms, cycle and licence; the balances are those of `last`. None before the first entry.
    pool: Option<Pool>,
    last: Option<Last>,
}

/// What the last entry says of the state after it.
#[derive(Clone, Copy)]
struct Last {
    seq: i64,
    at: Time,
    after: Balance,
    cycle_seq: i64,
    addon_seq: Option<i64>,
}

impl Past {
    pub fn new(names: (PoolId, TenantId, PoolName)) -> Self {
        Self {
            names,
            pool: None,
            last: None,
        }
    }

    pub fn names(&self) -> (PoolId, TenantId, PoolName) {
        self.names.clone()
    }

    /// The terms, the cycle and the licence after the last entry.
    pub fn pool(&self) -> Option<&Pool> {
        self.pool.as_ref()
    }

    /// Goes on to the next entry; `None` when it does not say what its kind has to say.
    pub fn follow(&mut self, entry: &Entry, details: &Details) -> Option<()> {
        self.last = Some(Last {
            seq: entry.seq,
            at: entry.at,
            after: entry.after,
            cycle_seq: entry.cycle_seq,
            addon_seq: entry.addon_seq,
        });
        let Some(pool) = &mut self.pool else {
            self.pool = Some(opened(self.names.clone(), entry, details)?);
            return Some(());
        };
        let opens = entry.cycle_seq == entry.seq;
        match entry.kind {
            Kind::Renewal => {
                pool.pending = None;
                pool.cycle = pool.cycle.next();
                take_terms(pool, details);
            }
            Kind::Restart => {
                pool.fallen_back = false;
                pool.cycle = Cycle::of(entry.at, 0);
                change(pool, entry.at, details)?;
            }
            Kind::TermsChange => {
                pool.fallen_back = stays_fallen_back(pool, entry.at, details)?;
                change(pool, entry.at, details)?;
            }
            Kind::LicenseEnd => {
                end_license(pool, entry.at, details);
                if opens {
                    pool.cycle = Cycle::of(entry.at, 0);
                }
            }
            Kind::Upgrade => {
                if opens {
                    pool.cycle.start = entry.at;
                }
                change(pool, entry.at, details)?;
            }
            Kind::Close => pool.closed_at = Some(entry.at),
            Kind::Open
            | Kind::AddonExpiry
            | Kind::Debit
            | Kind::Refund
            | Kind::Hold
            | Kind::HoldExtend
            | Kind::Release
            | Kind::HoldExpiry
            | Kind::Purchase
            | Kind::Reinstatement
            | Kind::Clawback
            | Kind::ClawbackReversal
            | Kind::Adjustment
            | Kind::Import => {}
        }
        Some(())
    }

    /// The whole pool after the last entry, as the other catalogue has it: what holds reserve is in
    /// its bucket again, because holds are not rehearsed, and the running cycle counts as granted
    /// what the other catalogue grants on its terms, so that what is an increase is measured by it.
    pub fn standing(&self, past: &Catalogue, other: &Catalogue) -> Option<Pool> {
        let (mut pool, last) = (self.pool.clone()?, self.last?);
        let (monthly, addon) = (&last.after.monthly, &last.after.addon);
        pool.seq = last.seq;
        pool.last_at = last.at;
        pool.accounts = accounts(&last.after);
        pool.granted = monthly.granted;
        pool.used = monthly.used;
        pool.cycle_seq = last.cycle_seq;
        pool.addons = addon.expires_at.map(|expires_at| LiveAddons {
            granted: addon.granted,
            expires_at,
            opened_seq: last.addon_seq.unwrap_or_default(),
        });
        let granted = |catalogue| {
            let version = version_of(&pool, catalogue);
            version.and_then(|version| pool.terms.allowance(version))
        };
        let (before, after) = (granted(past), granted(other));
        if let Some(after) = after.filter(|_| before != after) {
            pool.granted = after;
        }
        if let Some(version) = version_of(&pool, other).cloned() {
            pool.take_rules(&version);
        }
        Some(pool)
    }

    /// Whether the pool's plan let it buy add-on credits.
    pub fn addons_allowed(&self, past: &Catalogue) -> bool {
        let version = self.pool.as_ref().and_then(|pool| version_of(pool, past));
        version.is_some_and(|version| version.addons)
    }

    /// Which plan an upgrade made of which.
    pub fn moves(&self, details: &Details) -> BTreeMap<PlanCode, PlanCode> {
        let Some(pool) = &self.pool else {
            return BTreeMap::new();
        };
        let requested = details.requested.as_ref().map(|it| &it.terms);
        let pairs = [
            (Some(&pool.terms), details.terms.as_ref()),
            (pool.pending.as_ref(), details.pending.as_ref()),
            (Some(&pool.requested.terms), requested),
        ];
        let pairs = pairs.into_iter().filter_map(|(old, new)| old.zip(new));
        pairs
            .filter(|(old, new)| old.plan != new.plan)
            .map(|(old, new)| (old.plan.clone(), new.plan.clone()))
            .collect()
    }
}

/// The version of the pool's plan that its cycle is on.
fn version_of<'c>(pool: &Pool, catalogue: &'c Catalogue) -> Option<&'c PlanVersion> {
    let began = pool.cycle.start.max(pool.created_at);
    let plan = catalogue.plan(&pool.terms.plan);
    plan.map(|(_, plan)| plan.version(pool.plan_instant(began)))
}

/// The pool that an `open` or the first `import` made.
fn opened(names: (PoolId, TenantId, PoolName), entry: &Entry, details: &Details) -> Option<Pool> {
    let requested = details.requested.clone()?;
    let license = requested.license.clone();
    let anchor = requested.billing_anchor;
    let mut pool = blank_pool(names, requested, entry.at);
    if let Some(license) = license {
        pool.fallen_back = pool.apply_license(&Patch::Set(license), entry.at);
    }
    take_terms(&mut pool, details);
    let cycle = cycle_containing(anchor, entry.at);
    pool.cycle = match entry.kind {
        // The running cycle of an imported pool may have been begun by an increase.
        Kind::Import => Cycle {
            start: entry.after.monthly.cycle_start,
            ..cycle
        },
        _ => cycle,
    };
    Some(pool)
}

fn take_terms(pool: &mut Pool, details: &Details) {
    if let Some(terms) = &details.terms {
        pool.terms = terms.clone();
    }
}

/// A change of terms that says what was requested and what waits.
fn change(pool: &mut Pool, at: Time, details: &Details) -> Option<()> {
    let requested = details.requested.as_ref()?;
    take_license(pool, at, requested);
    pool.requested = requested.clone();
    pool.pending.clone_from(&details.pending);
    take_terms(pool, details);
    Some(())
}

/// A licence that was given, given again or taken out.
fn take_license(pool: &mut Pool, at: Time, requested: &Requested) {
    if requested.license == pool.requested.license && requested.license.is_some() {
        return;
    }
    let said = requested.license.clone();
    pool.apply_license(&said.map_or(Patch::Clear, Patch::Set), at);
}

/// Whether the pool is on its free plan for want of a licence after a change of terms.
fn stays_fallen_back(pool: &Pool, at: Time, details: &Details) -> Option<bool> {
    let requested = details.requested.as_ref()?;
    Some(match has_ended(pool, requested.license.as_ref(), at) {
        true => true,
        false => pool.fallen_back && !returns(pool, Kind::TermsChange, details),
    })
}

/// Whether a licence is over when it is given.
pub(super) fn has_ended(pool: &Pool, license: Option<&License>, at: Time) -> bool {
    let first_trial = pool.first_trial_at.unwrap_or(at);
    let end = license.and_then(|it| it.clone().with_trial_end(first_trial).ends_at());
    end.is_some_and(|end| end <= at)
}

/// Whether a change of terms took a pool that had lost its licence off its free plan. The journal
/// does not say whether a plan was named; what came of it does.
pub(super) fn returns(before: &Pool, kind: Kind, details: &Details) -> bool {
    let requested = details.requested.as_ref().map(|it| &it.terms);
    let in_force = requested.is_some() && details.terms.as_ref() == requested;
    let says_more = requested != Some(&before.requested.terms);
    kind == Kind::Restart || details.pending.is_some() || (in_force && says_more) || {
        let license = details.requested.as_ref().map(|it| &it.license);
        in_force && license.is_some_and(|it| *it != before.requested.license)
    }
}

fn end_license(pool: &mut Pool, at: Time, details: &Details) {
    let was_due = pool.license_ends_at == Some(at);
    if let Some(requested) = &details.requested {
        take_license(pool, at, requested);
        pool.requested = requested.clone();
    } else {
        pool.requested.license = None;
        if !was_due {
            pool.license = pool.license.take().map(|license| license.withdrawn(at));
        }
    }
    pool.license_ends_at = None;
    pool.pending = None;
    pool.fallen_back = true;
    take_terms(pool, details);
}

/// The accounts that say this balance; where the credits came from is not kept.
fn accounts(after: &Balance) -> Accounts {
    let mut accounts = Accounts::from_stored([SignedCredits::ZERO; 12]);
    let owed: Credits = after.overdraft;
    let legs = [
        (Account::Adjusted, Account::Monthly, after.monthly.settled),
        (Account::Adjusted, Account::Addon, after.addon.settled),
        (Account::Overdraft, Account::Adjusted, owed),
    ];
    let legs = legs.map(|(from, to, amount)| Transfer::new(from, to, amount));
    for leg in legs.into_iter().flatten() {
        accounts.apply(leg);
    }
    accounts
}
