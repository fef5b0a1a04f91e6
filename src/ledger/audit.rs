//! Recomputes a pool from its journal and names the first entry that is wrong.
//!
//! Checks every invariant that can be seen in the journal: chained, ordered, conserved,
//! never-below-zero, and that the state after each entry is what the entries add up to. What is
//! kept beside the journal so that a batch finds it, as holds and refunds, is checked against it.

use std::collections::BTreeMap;

use super::{
    Account, Accounts, Bought, Credits, Entry, Hash, Hold, HoldStatus, Kind, Pool, PoolId,
    SignedCredits, Time,
};

/// Something in the books that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{what}", seq.map_or_else(String::new, |seq| format!("entry {seq}: ")))]
pub struct Fault {
    /// The first entry that is wrong; `None` when it is the pool's own row.
    pub seq: Option<i64>,
    /// What is wrong with it.
    pub what: String,
}

/// The books of one pool, recomputed entry by entry.
#[derive(Clone, Debug)]
pub struct Audit {
    pool: PoolId,
    seq: i64,
    at: Option<Time>,
    hash: Hash,
    accounts: Accounts,
    cycle_seq: i64,
    granted: Credits,
    used: SignedCredits,
    open_holds: BTreeMap<i64, Hold>,
    closed_holds: BTreeMap<HoldStatus, i64>,
    refunds: RefundTotals,
    purchases: i64,
}

/// What is kept of a pool beside its journal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// The holds that are open.
    pub open_holds: Vec<Hold>,
    /// How many became what.
    pub closed_holds: BTreeMap<HoldStatus, i64>,
    /// What was given back.
    pub refunds: RefundTotals,
    /// What was bought, and taken back of it.
    pub bought: Vec<Bought>,
}

/// How many refunds there were, and of how much.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RefundTotals {
    /// How many.
    pub count: i64,
    /// Of how much.
    pub credits: SignedCredits,
}

impl Audit {
    /// Begins before the first entry.
    #[must_use]
    pub fn new(pool: PoolId) -> Self {
        Self {
            pool,
            seq: 0,
            at: None,
            hash: Hash::GENESIS,
            accounts: Accounts::default(),
            cycle_seq: 0,
            granted: Credits::ZERO,
            used: SignedCredits::ZERO,
            open_holds: BTreeMap::new(),
            closed_holds: BTreeMap::new(),
            refunds: RefundTotals::default(),
            purchases: 0,
        }
    }

    /// How many entries were good.
    #[must_use]
    pub const fn entries(&self) -> i64 {
        self.seq
    }

    /// Checks the next entry of the journal.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn check(&mut self, entry: &Entry) -> Result<(), Fault> {
        let fault = |what: &str| Fault {
            seq: Some(entry.seq),
            what: what.to_owned(),
        };
        let expected = self.seq.saturating_add(1);
        if entry.seq != expected || entry.pool != self.pool {
            let what = format!("is followed by entry {}: entries are missing", entry.seq);
            return Err(Fault {
                seq: Some(expected),
                what: format!("is not there, {what}"),
            });
        }
        if self.at.is_some_and(|at| entry.at < at) {
            return Err(fault("is earlier than the entry before it"));
        }
        if entry.chained_to(self.hash) != entry.hash {
            return Err(fault(
                "does not match its hash: it was changed, or the one before it was",
            ));
        }
        for transfer in &entry.transfers {
            self.accounts.apply(*transfer);
        }
        if !self.accounts.are_sound() {
            return Err(fault("leaves a bucket below zero"));
        }
        self.follow_cycle(entry);
        self.follow_hold(entry).map_err(fault)?;
        self.follow_payments(entry);
        if let Some(what) = self.differs(entry) {
            return Err(fault(&format!(
                "says another {what} than the transfers add up to"
            )));
        }
        (self.seq, self.at, self.hash) = (entry.seq, Some(entry.at), entry.hash);
        Ok(())
    }

    /// An entry that opens a cycle names itself; the others draw from the one that is open.
    fn follow_cycle(&mut self, entry: &Entry) {
        if entry.cycle_seq == entry.seq {
            self.cycle_seq = entry.seq;
            self.granted = entry.moved(Account::IssuedMonthly, Account::Monthly);
            self.used = SignedCredits::ZERO;
        }
        self.used = self.used + entry.drawn_from_grant();
    }

    /// A hold is opened once and closed once, and what is held is what the open ones reserve.
    fn follow_hold(&mut self, entry: &Entry) -> Result<(), &'static str> {
        let details = entry.read_details().unwrap_or_default();
        let Some(facts) = details.hold else {
            return Ok(());
        };
        let Some((seq, _)) = facts.id.locate(self.pool) else {
            return Err("is about a hold of another pool");
        };
        let hold = Hold {
            seq,
            last_seq: entry.seq,
            status: HoldStatus::Open,
            facts,
            attribution: entry.attribution.clone(),
        };
        let closed_as = match entry.kind {
            Kind::Hold | Kind::HoldExtend => {
                let is_known = self.open_holds.insert(seq, hold).is_some();
                return match is_known == (entry.kind == Kind::HoldExtend) {
                    true => Ok(()),
                    false => Err("opens a hold twice, or extends one that is not open"),
                };
            }
            Kind::Release => HoldStatus::Released,
            Kind::HoldExpiry => HoldStatus::Expired,
            _ => HoldStatus::Captured,
        };
        let is_late = entry.kind == Kind::Debit && details.captured.is_none();
        if is_late {
            let expired = self.closed_holds.entry(HoldStatus::Expired).or_default();
            *expired = expired.saturating_sub(1);
        } else if self.open_holds.remove(&seq).is_none() {
            return Err("closes a hold that is not open");
        }
        let closed = self.closed_holds.entry(closed_as).or_default();
        *closed = closed.saturating_add(1);
        Ok(())
    }

    fn follow_payments(&mut self, entry: &Entry) {
        let is_imported = entry.kind == Kind::Import && entry.purchase.is_some();
        if entry.kind == Kind::Purchase || is_imported {
            self.purchases = self.purchases.saturating_add(1);
        }
        if entry.kind == Kind::Refund {
            let details = entry.read_details().unwrap_or_default();
            let credits = details.refund.map_or(Credits::ZERO, |it| it.credits());
            self.refunds.count = self.refunds.count.saturating_add(1);
            self.refunds.credits = self.refunds.credits + credits.signed();
        }
    }

    fn differs(&self, entry: &Entry) -> Option<&'static str> {
        let bucket = |account| self.accounts.bucket(account);
        let after = &entry.after;
        let rows = [
            ("cycle", entry.cycle_seq == self.cycle_seq),
            ("allowance", after.monthly.granted == self.granted),
            ("use", after.monthly.used.signed() == self.used),
            (
                "monthly balance",
                after.monthly.settled == bucket(Account::Monthly) + bucket(Account::HeldMonthly),
            ),
            (
                "held monthly balance",
                after.monthly.held == bucket(Account::HeldMonthly),
            ),
            (
                "add-on balance",
                after.addon.settled == bucket(Account::Addon) + bucket(Account::HeldAddon),
            ),
            (
                "held add-on balance",
                after.addon.held == bucket(Account::HeldAddon),
            ),
            ("overdraft", after.overdraft == self.accounts.owed()),
            ("ended hold", after.held_ended == bucket(Account::HeldEnded)),
            ("sum of the open holds", after.held() == self.held()),
        ];
        rows.into_iter()
            .find(|(_, same)| !same)
            .map(|(what, _)| what)
    }

    fn held(&self) -> Credits {
        let open = self.open_holds.values();
        open.map(|hold| hold.facts.credits()).sum()
    }

    /// Checks the pool's own row, and what is kept beside it, against its whole journal. What is
    /// due but not booked is no fault.
    ///
    /// # Errors
    /// The first thing in which they differ.
    pub fn finish(&self, pool: &Pool, kept: &Kept) -> Result<(), Fault> {
        let last_at = self.at.unwrap_or(pool.last_at);
        let rows = [
            ("number of the last entry", pool.seq == self.seq),
            ("hash of the last entry", pool.hash == self.hash),
            ("instant of the last entry", pool.last_at == last_at),
            ("balances", pool.accounts == self.accounts),
            ("cycle", pool.cycle_seq == self.cycle_seq),
            ("allowance", pool.granted == self.granted),
            ("use", pool.used.signed() == self.used),
            (
                "number of open holds",
                i64::from(pool.open_holds) == self.open_count(),
            ),
            (
                "next expiry of a hold",
                pool.next_hold_at == self.next_hold_at(),
            ),
            (
                "open holds",
                kept.open_holds.iter().eq(self.open_holds.values()),
            ),
            ("closed holds", kept.closed_holds == self.closed_holds()),
            ("refunds", kept.refunds == self.refunds),
            ("purchases", self.purchases_agree(pool, &kept.bought)),
        ];
        let what = rows
            .into_iter()
            .find(|(_, same)| !same)
            .map(|(what, _)| what);
        what.map_or(Ok(()), |what| {
            let seq = (pool.seq != self.seq).then(|| self.seq.saturating_add(1));
            let what = format!("the pool's row and its journal differ in the {what}");
            Err(Fault { seq, what })
        })
    }
}

impl Audit {
    fn purchases_agree(&self, pool: &Pool, bought: &[Bought]) -> bool {
        let count = i64::try_from(bought.len());
        let uncollected: Credits = bought.iter().map(|it| it.uncollected).sum();
        let clawed_back: Credits = bought.iter().map(|it| it.clawed_back).sum();
        count.is_ok_and(|count| count == self.purchases)
            && uncollected == pool.uncollected
            && clawed_back.signed() == self.accounts.get(Account::ClawedBack)
    }

    fn open_count(&self) -> i64 {
        i64::try_from(self.open_holds.len()).unwrap_or(i64::MAX)
    }

    fn next_hold_at(&self) -> Option<Time> {
        let open = self.open_holds.values();
        open.map(|hold| hold.facts.expires_at).min()
    }

    fn closed_holds(&self) -> BTreeMap<HoldStatus, i64> {
        let closed = self.closed_holds.iter();
        closed
            .filter(|(_, count)| **count > 0)
            .map(|(status, count)| (*status, *count))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::PaymentState;
    use crate::ledger::samples::{buy, debit, moved, paid, pass, pool, put, settle, spend, time};

    const NOW: &str = "2026-01-31T10:00:00Z";

    /// A change that nobody should have made.
    type Tampering<T> = fn(&mut T);

    /// Six entries: open, purchase, two debits, two renewals.
    fn books() -> (Pool, Vec<Entry>) {
        let mut book = pool(put("pro", 1), NOW);
        buy(&mut book, NOW, paid(100, NOW));
        spend(&mut book, NOW, debit(850));
        spend(&mut book, NOW, settle(60));
        pass(&mut book, "2026-03-31T10:00:00Z");
        let entries = book.entries().iter().map(|entry| Entry::clone(entry));
        (book.pool().clone(), entries.collect())
    }

    fn audit(pool: &Pool, entries: &[Entry]) -> Result<(), Fault> {
        let mut audit = Audit::new(pool.id);
        entries.iter().try_for_each(|entry| audit.check(entry))?;
        let bought = entries.iter().filter(|it| it.kind == Kind::Purchase);
        let bought = bought.map(|entry| Bought {
            id: entry.purchase.expect("a purchase has an id"),
            seq: entry.seq,
            credits: Credits::whole(100),
            valid_until: entry.at,
            clawed_back: Credits::ZERO,
            clawed_from: None,
            uncollected: Credits::ZERO,
            payment: PaymentState::default(),
        });
        let kept = Kept {
            bought: bought.collect(),
            ..Kept::default()
        };
        audit.finish(pool, &kept)
    }

    /// Hashes as somebody would make them who knows how.
    fn rehash(entries: &mut [Entry]) {
        let mut previous = Hash::GENESIS;
        for entry in entries {
            entry.hash = entry.chained_to(previous);
            previous = entry.hash;
        }
    }

    #[test]
    fn good_books_have_no_fault() {
        let (pool, entries) = books();
        assert_eq!(audit(&pool, &entries), Ok(()));
    }

    #[test]
    fn the_first_entry_that_is_wrong_is_named() {
        let rows: [(Tampering<Vec<Entry>>, i64, &str); 4] = [
            (
                |entries| drop(entries.remove(2)),
                3,
                "is followed by entry 4",
            ),
            (|entries| drop(entries.remove(0)), 1, "is not there"),
            (
                |entries| entries[3].at = time("2026-01-30"),
                4,
                "is earlier",
            ),
            (
                |entries| entries[1].reason = "another".parse().ok(),
                2,
                "does not match its hash",
            ),
        ];
        for (tamper, seq, what) in rows {
            let (pool, mut entries) = books();
            tamper(&mut entries);
            let fault = audit(&pool, &entries).expect_err(what);
            assert_eq!(fault.seq, Some(seq), "{fault}");
            assert!(fault.what.contains(what), "{fault}");
        }
    }

    #[test]
    fn figures_that_the_transfers_do_not_add_up_to_are_found_behind_good_hashes() {
        let rows: [(Tampering<Entry>, &str); 9] = [
            (|entry| entry.cycle_seq = 2, "cycle"),
            (
                |entry| entry.after.monthly.granted = Credits::whole(1),
                "allowance",
            ),
            (|entry| entry.after.monthly.used = Credits::whole(1), "use"),
            (
                |entry| entry.after.monthly.settled = Credits::whole(1),
                "monthly",
            ),
            (
                |entry| entry.after.monthly.held = Credits::whole(1),
                "held monthly",
            ),
            (
                |entry| entry.after.addon.settled = Credits::whole(1),
                "add-on",
            ),
            (
                |entry| entry.after.addon.held = Credits::whole(1),
                "held add-on",
            ),
            (
                |entry| entry.after.overdraft = Credits::whole(1),
                "overdraft",
            ),
            (
                |entry| entry.after.held_ended = Credits::whole(1),
                "ended hold",
            ),
        ];
        for (forge, what) in rows {
            let (pool, mut entries) = books();
            forge(&mut entries[3]);
            rehash(&mut entries);
            let fault = audit(&pool, &entries).expect_err(what);
            assert_eq!(fault.seq, Some(4), "{fault}");
            assert!(fault.what.contains(&format!("another {what}")), "{fault}");
        }
        let (pool, mut entries) = books();
        entries[2].transfers = vec![moved(Account::Monthly, Account::Consumed, 850)];
        rehash(&mut entries);
        let fault = audit(&pool, &entries).expect_err("too much was drawn");
        assert!(fault.what.contains("below zero"), "{fault}");
    }

    #[test]
    fn a_pool_that_does_not_stand_where_its_journal_ends_is_found() {
        let (pool, entries) = books();
        let all_but_one = &entries[..entries.len() - 1];
        let fault = audit(&pool, all_but_one).expect_err("the last entry is gone");
        assert_eq!(fault.seq, Some(6), "{fault}");

        let rows: [(Tampering<Pool>, &str); 5] = [
            (|pool| pool.hash = Hash::GENESIS, "hash of the last entry"),
            (|pool| pool.last_at = time(NOW), "instant of the last entry"),
            (|pool| pool.accounts = Accounts::default(), "balances"),
            (|pool| pool.granted = Credits::whole(1), "allowance"),
            (|pool| pool.used = Credits::whole(1), "use"),
        ];
        for (change, what) in rows {
            let mut changed = pool.clone();
            change(&mut changed);
            let fault = audit(&changed, &entries).expect_err(what);
            assert_eq!(fault.seq, None, "{fault}");
            assert!(fault.what.ends_with(what), "{fault}");
        }
    }
}
