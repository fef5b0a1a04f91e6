//! A pool with the entries that are being added to its journal: the only way a pool changes.

use std::sync::Arc;

use super::{
    Account, Accounts, Actor, Attribution, Details, Entry, Hash, Kind, Label, Metadata, Pool,
    PurchaseId, Reason, Time, Transfer,
};

/// A pool as it was read, and what has been decided on it since. Nothing is durable yet.
#[derive(Clone, Debug)]
pub struct Book {
    /// The pool after the entries.
    pub(super) pool: Pool,
    entries: Vec<Arc<Entry>>,
    read_seq: i64,
    changed_terms: bool,
}

/// What an entry says, before it has its number, its state and its hash.
pub(super) struct Draft {
    pub kind: Kind,
    pub actor: Actor,
    pub attribution: Attribution,
    pub reference: Option<Label>,
    pub reason: Option<Reason>,
    pub purchase: Option<PurchaseId>,
    pub metadata: Option<Metadata>,
    pub details: Details,
    pub transfers: Vec<Transfer>,
}

impl Draft {
    /// An entry of a kind, with its transfers and nothing else yet.
    pub fn new(kind: Kind, transfers: Vec<Transfer>) -> Self {
        Self {
            kind,
            actor: Actor::default(),
            attribution: Attribution::default(),
            reference: None,
            reason: None,
            purchase: None,
            metadata: None,
            details: Details::default(),
            transfers,
        }
    }
}

impl Book {
    /// Opens the book of a pool as it was read.
    #[must_use]
    pub fn new(pool: Pool) -> Self {
        let read_seq = pool.seq;
        Self {
            pool,
            entries: Vec::new(),
            read_seq,
            changed_terms: false,
        }
    }

    /// The pool after everything that was decided.
    #[must_use]
    pub const fn pool(&self) -> &Pool {
        &self.pool
    }

    /// The entries to append, in order.
    #[must_use]
    pub fn entries(&self) -> &[Arc<Entry>] {
        &self.entries
    }

    /// The number of the last entry that was in the journal when the pool was read: the write
    /// counts only if that is still so. 0 for a pool that is being made.
    #[must_use]
    pub const fn read_seq(&self) -> i64 {
        self.read_seq
    }

    /// Whether more than the balances of the pool changed.
    #[must_use]
    pub const fn changed_terms(&self) -> bool {
        self.changed_terms
    }

    /// Adds an entry: moves its transfers, numbers it, and chains it to the one before.
    ///
    /// # Panics
    /// When the accounts are not sound afterwards (invariants conserved, never-below-zero) or time
    /// runs backwards (ordered): the decision was wrong, and wrong books must not be written.
    pub(super) fn append(&mut self, at: Time, draft: Draft) -> Arc<Entry> {
        let pool = &mut self.pool;
        assert!(
            at >= pool.last_at || pool.seq == 0,
            "entries of a pool are ordered in time"
        );
        for transfer in &draft.transfers {
            pool.accounts.apply(*transfer);
            if (transfer.from, transfer.to) == (Account::Monthly, Account::Consumed) {
                pool.used = pool.used + transfer.amount;
            }
        }
        assert!(
            Accounts::are_sound(&pool.accounts),
            "an entry leaves sound accounts"
        );
        pool.seq = pool.seq.saturating_add(1);
        pool.last_at = at;
        self.changed_terms |= draft.kind != Kind::Debit;
        let mut entry = Entry {
            pool: pool.id,
            seq: pool.seq,
            kind: draft.kind,
            at,
            actor: draft.actor,
            attribution: draft.attribution,
            reference: draft.reference,
            reason: draft.reason,
            purchase: draft.purchase,
            metadata: draft.metadata,
            details: draft.details.to_text(),
            transfers: draft.transfers,
            after: pool.balance(at),
            cycle_seq: pool.cycle_seq,
            addon_seq: pool.addons.map(|live| live.opened_seq),
            hash: Hash::GENESIS,
        };
        entry.hash = entry.chained_to(pool.hash);
        pool.hash = entry.hash;
        let entry = Arc::new(entry);
        self.entries.push(Arc::clone(&entry));
        entry
    }

    /// The number the next entry will have.
    pub(super) fn next_seq(&self) -> i64 {
        self.pool.seq.saturating_add(1)
    }
}
