//! The invariants of the design that a journal and its pool show by themselves.

use std::sync::Arc;

use credit_ledger::ledger::{
    Account, Accounts, Audit, Credits, Entry, Hash, Kept, Kind, Pool, SignedCredits,
};

/// Conserved, never-below-zero, ordered: what the transfers of the journal add up to is the pool's.
pub fn are_sound(pool: &Pool, sums: &Accounts, journal: &[Arc<Entry>]) -> Result<(), String> {
    let total: SignedCredits = Account::ALL
        .iter()
        .fold(SignedCredits::ZERO, |total, account| {
            total + sums.get(*account)
        });
    if total != SignedCredits::ZERO || *sums != pool.accounts {
        return Err(format!(
            "not conserved: {sums:?} is not {:?}",
            pool.accounts
        ));
    }
    let below_zero = |account: &&Account| account.is_bucket() && sums.get(**account).units() < 0;
    if let Some(account) = Account::ALL.iter().find(below_zero) {
        return Err(format!("never-below-zero: {account:?}"));
    }
    if sums.get(Account::Overdraft).units() > 0 {
        return Err("an overdraft is never positive".to_owned());
    }
    let last = journal.last().ok_or("a pool begins with an entry")?;
    let read = (pool.seq, pool.hash, pool.last_at);
    if read != (last.seq, last.hash, last.at) {
        return Err("the pool does not stand where its journal ends".to_owned());
    }
    if last.after != pool.balance(last.at) {
        return Err("the last entry has another balance than the pool".to_owned());
    }
    Ok(())
}

/// Ordered and chained: the number of the first entry that is not as it was written, if any; the
/// pool says where the chain ends.
pub fn first_broken(journal: &[Arc<Entry>], pool: &Pool) -> Option<i64> {
    let (mut previous, mut seq) = (Hash::GENESIS, 0);
    for (place, entry) in journal.iter().enumerate() {
        seq += 1;
        let earlier = place.checked_sub(1).and_then(|place| journal.get(place));
        let ordered = entry.seq == seq && earlier.is_none_or(|earlier| earlier.at <= entry.at);
        if !ordered || entry.pool != pool.id || entry.chained_to(previous) != entry.hash {
            return Some(seq);
        }
        previous = entry.hash;
    }
    (previous != pool.hash).then_some(seq)
}

/// What `verify` checks: the journal by itself, and the pool and what is kept beside it against it.
pub fn pass_their_audit(journal: &[Arc<Entry>], pool: &Pool, kept: &Kept) -> Result<(), String> {
    let mut audit = Audit::new(pool.id);
    let mut entries = journal.iter();
    let checked = entries.try_for_each(|entry| audit.check(entry));
    let fault = checked.and_then(|()| audit.finish(pool, kept));
    fault.map_err(|fault| fault.to_string())
}

/// Terms, licences, cycles and moves to other plans leave add-on credits alone: only purchases,
/// expiries, clawbacks, adjustments, debits, holds and refunds move them.
pub fn addons_are_left_alone(journal: &[Arc<Entry>]) -> Result<(), String> {
    let of_addons = [Account::Addon, Account::HeldAddon, Account::IssuedAddon];
    let touched = journal.iter().find(|entry| {
        let is_of_terms = match entry.kind {
            Kind::Open
            | Kind::Renewal
            | Kind::Restart
            | Kind::LicenseEnd
            | Kind::TermsChange
            | Kind::Upgrade => true,
            Kind::Import
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
            | Kind::Close => false,
        };
        let mut legs = entry.transfers.iter();
        is_of_terms && legs.any(|leg| of_addons.contains(&leg.from) || of_addons.contains(&leg.to))
    });
    match touched {
        Some(entry) => Err(format!("add-on credits were moved by {entry:?}")),
        None => Ok(()),
    }
}

/// No minting: a grant comes only at creation, at the cycle's end, for a larger allowance, when a
/// licence's end changes the plan, or when a legacy plan is left for its new one; each once, and
/// each the whole allowance.
pub fn grants_are_allowed(journal: &[Arc<Entry>]) -> Result<(), String> {
    let (mut before, mut plan): (Option<&Entry>, Option<String>) = (None, None);
    for entry in journal {
        let granted = entry.moved(Account::IssuedMonthly, Account::Monthly);
        let details = entry.read_details().ok_or("details can be read")?;
        let now = &entry.after.monthly;
        let occasion = match (entry.kind, before.map(|before| &before.after.monthly)) {
            (Kind::Open, earlier) => earlier.is_none(),
            (Kind::Import, earlier) => earlier.is_none() || granted.is_zero(),
            (Kind::Renewal, Some(earlier)) => {
                entry.at == earlier.renews_at && now.cycle_start == entry.at
            }
            (Kind::Restart, Some(earlier)) => {
                now.granted > earlier.granted && now.cycle_start == entry.at
            }
            (Kind::LicenseEnd, Some(earlier)) => {
                let free = plan
                    .as_deref()
                    .is_some_and(|plan| ["free", "basic"].contains(&plan));
                // A licence that is given up may leave a cycle that was granted no more than the
                // free plan grants: it goes on as it was.
                let goes_on = now.cycle_start == earlier.cycle_start
                    && now.granted == earlier.granted
                    && granted.is_zero();
                goes_on || !free && now.cycle_start == entry.at
            }
            (Kind::Upgrade, Some(earlier)) => {
                let legacy = plan
                    .as_deref()
                    .is_some_and(|plan| plan.starts_with("legacy_"));
                let ends_as_before = now.renews_at == earlier.renews_at;
                ends_as_before && (granted.is_zero() || legacy && now.cycle_start == entry.at)
            }
            _ => granted == Credits::ZERO,
        };
        let whole = granted.is_zero() || granted == now.granted;
        if !occasion || !whole {
            return Err(format!("a grant that no rule allows: {entry:?}"));
        }
        plan = details
            .terms
            .map(|terms| terms.plan.as_str().to_owned())
            .or(plan);
        before = Some(entry.as_ref());
    }
    Ok(())
}
