//! Recomputes a pool from its journal and names the first entry that is wrong.
//!
//! Checks every invariant that can be seen in the journal: chained, ordered, conserved,
//! never-below-zero, and that the state after each entry is what the entries add up to.

use super::{Account, Accounts, Credits, Entry, Hash, Pool, PoolId, Time};

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
    used: Credits,
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
            used: Credits::ZERO,
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
        let drawn = entry.moved(Account::Monthly, Account::Consumed);
        if entry.cycle_seq == entry.seq {
            self.cycle_seq = entry.seq;
            self.granted = entry.moved(Account::IssuedMonthly, Account::Monthly);
            self.used = Credits::ZERO;
        }
        self.used = self.used + drawn;
    }

    fn differs(&self, entry: &Entry) -> Option<&'static str> {
        let bucket = |account| self.accounts.bucket(account);
        let after = &entry.after;
        let rows = [
            ("cycle", entry.cycle_seq == self.cycle_seq),
            ("allowance", after.monthly.granted == self.granted),
            ("use", after.monthly.used == self.used),
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
        ];
        rows.into_iter()
            .find(|(_, same)| !same)
            .map(|(what, _)| what)
    }

    /// Checks the pool's own row against its whole journal. What is due but not booked is no fault.
    ///
    /// # Errors
    /// The first thing in which they differ.
    pub fn finish(&self, pool: &Pool) -> Result<(), Fault> {
        let last_at = self.at.unwrap_or(pool.last_at);
        let rows = [
            ("number of the last entry", pool.seq == self.seq),
            ("hash of the last entry", pool.hash == self.hash),
            ("instant of the last entry", pool.last_at == last_at),
            ("balances", pool.accounts == self.accounts),
            ("cycle", pool.cycle_seq == self.cycle_seq),
            ("allowance", pool.granted == self.granted),
            ("use", pool.used == self.used),
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
