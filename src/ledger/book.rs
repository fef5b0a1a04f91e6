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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Credits;
    use crate::ledger::samples::{adjust, buy, change, correct, debit, paid, pass, pool, put};
    use crate::ledger::samples::{moved, spend, time};
    use crate::ledger::{Bucket, Change, Command, PutPool};

    const NOW: &str = "2026-01-31T10:00:00Z";

    #[test]
    fn entries_are_numbered_without_gaps_and_chained_from_the_beginning() {
        let mut book = pool(put("pro", 1), NOW);
        spend(&mut book, NOW, debit(1));
        pass(&mut book, "2026-03-31T10:00:00Z");
        let (mut seq, mut hash) = (0, Hash::GENESIS);
        for entry in book.entries() {
            seq += 1;
            assert_eq!(entry.seq, seq);
            assert_eq!(entry.chained_to(hash), entry.hash);
            hash = entry.hash;
        }
        assert_eq!((book.pool().seq, book.pool().hash), (4, hash));
        assert_eq!(book.pool().last_at, time("2026-03-31T10:00:00Z"));
    }

    #[test]
    fn an_entry_holds_the_balance_after_it() {
        let mut book = pool(put("pro", 1), NOW);
        let bought = buy(&mut book, NOW, paid(500, NOW));
        assert_eq!(bought.after, book.pool().balance(time(NOW)));
        assert_eq!((bought.cycle_seq, bought.addon_seq), (1, Some(2)));
        let spent = spend(&mut book, NOW, debit(850));
        assert_eq!(spent.after.monthly.used, Credits::whole(800));
        assert_eq!(spent.after.addon.settled, Credits::whole(450));
        pass(&mut book, "2026-02-28T10:00:00Z");
        let renewal = book.entries().last().expect("a renewal");
        assert_eq!((renewal.cycle_seq, renewal.addon_seq), (4, Some(2)));
        assert_eq!(renewal.after.monthly.used, Credits::ZERO);
    }

    #[test]
    fn a_book_knows_where_it_was_opened_and_whether_only_balances_changed() {
        let made = pool(put("pro", 1), NOW);
        assert_eq!((made.read_seq(), made.changed_terms()), (0, true));
        let mut book = Book::new(made.pool().clone());
        assert_eq!((book.read_seq(), book.changed_terms()), (1, false));
        spend(&mut book, NOW, debit(1));
        assert_eq!((book.read_seq(), book.changed_terms()), (1, false));
        assert_eq!(book.entries().len(), 1);

        let changes: [fn(&mut Book); 4] = [
            |book| assert_eq!(change(book, NOW, put("pro", 2)), Change::Increase),
            |book| drop(buy(book, NOW, paid(100, NOW))),
            |book| drop(correct(book, NOW, adjust(Bucket::Addon, 1))),
            |book| pass(book, "2026-02-28T10:00:00Z"),
        ];
        for (which, change) in changes.into_iter().enumerate() {
            let mut book = Book::new(made.pool().clone());
            change(&mut book);
            assert!(book.changed_terms(), "{which}");
        }
        let mut untouched = Book::new(made.pool().clone());
        change(&mut untouched, NOW, PutPool::default());
        assert_eq!(
            (untouched.entries().len(), untouched.changed_terms()),
            (0, false)
        );
    }

    #[test]
    #[should_panic(expected = "sound accounts")]
    fn a_transfer_that_would_leave_a_bucket_below_zero_is_never_written() {
        let mut book = pool(put("free", 1), NOW);
        let too_much = moved(Account::Monthly, Account::Consumed, 101);
        book.append(time(NOW), Draft::new(Kind::Debit, vec![too_much]));
    }

    #[test]
    #[should_panic(expected = "ordered in time")]
    fn an_entry_is_never_earlier_than_the_one_before_it() {
        let mut book = pool(put("free", 1), NOW);
        let earlier = time("2026-01-31T09:59:59.999Z");
        book.append(earlier, Draft::new(Kind::Close, Vec::new()));
    }

    #[test]
    fn a_refused_command_leaves_no_trace() {
        let mut book = pool(put("free", 1), NOW);
        let before = book.pool().clone();
        let too_much = Command::Debit(Box::new(debit(101)));
        let catalogue = crate::ledger::samples::catalogue();
        let refused = too_much.decide(&mut book, &catalogue, Actor::default(), time(NOW));
        assert!(refused.is_err());
        assert_eq!((book.pool(), book.entries().len()), (&before, 1));
    }
}
