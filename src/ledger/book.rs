//! A pool with the entries that are being added to its journal: the only way a pool changes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::entry::drawn_from_grant;
use super::{
    Accounts, Actor, Attribution, Bought, Changed, Credits, Details, Entry, EntryId, Hash, Hold,
    Kind, Label, Metadata, Pool, PurchaseId, Reason, RefundableDebit, Refusal, Time, Transfer,
};

/// A pool as it was read, and what has been decided on it since. Nothing is durable yet.
#[derive(Clone, Debug)]
pub struct Book {
    /// The pool after the entries.
    pub(super) pool: Pool,
    entries: Vec<Arc<Entry>>,
    read_seq: i64,
    changed: Changed,
    /// By number: those that were read along, and those that were opened since.
    holds: BTreeMap<i64, Hold>,
    /// Whether every open hold is among them.
    has_all_holds: bool,
    changed_holds: BTreeSet<i64>,
    /// By number, as far as refunds ask for them.
    debits: BTreeMap<i64, RefundableDebit>,
    /// By number: those that were read along, and those that were credited since.
    bought: BTreeMap<i64, Bought>,
    changed_bought: BTreeSet<i64>,
}

/// What is read along with a pool, for the commands that need it.
#[derive(Clone, Debug, Default)]
pub struct Along {
    /// Every open hold, and those that are named whatever became of them; `None` when nobody asked.
    pub holds: Option<Vec<Hold>>,
    /// Debits that are to be refunded.
    pub debits: Vec<RefundableDebit>,
    /// Every purchase of the pool, where something is to be taken back.
    pub bought: Vec<Bought>,
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

    /// An entry about a hold, which is for what the hold is for.
    pub fn of_hold(kind: Kind, hold: &Hold, transfers: Vec<Transfer>) -> Self {
        let details = Details {
            hold: Some(hold.facts.clone()),
            ..Details::default()
        };
        Self {
            attribution: hold.attribution.clone(),
            details,
            ..Self::new(kind, transfers)
        }
    }
}

impl Book {
    /// Opens the book of a pool as it was read.
    #[must_use]
    pub fn new(pool: Pool) -> Self {
        Self::with(pool, Along::default())
    }

    /// Opens the book of a pool with what was read along.
    #[must_use]
    pub fn with(pool: Pool, along: Along) -> Self {
        let has_all_holds = pool.open_holds == 0 || along.holds.is_some();
        let holds = along.holds.unwrap_or_default();
        let debits = along.debits.into_iter();
        let bought = along.bought;
        Self {
            read_seq: pool.seq,
            pool,
            entries: Vec::new(),
            changed: Changed::Balances,
            holds: holds.into_iter().map(|hold| (hold.seq, hold)).collect(),
            has_all_holds,
            changed_holds: BTreeSet::new(),
            debits: debits.map(|debit| (debit.entry.seq, debit)).collect(),
            bought: bought.into_iter().map(|it| (it.seq, it)).collect(),
            changed_bought: BTreeSet::new(),
        }
    }

    /// The pool after everything that was decided.
    #[must_use]
    pub const fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Turns the page: what was decided counts as what was read, and nothing was read along.
    pub fn turn(&mut self) {
        self.read_seq = self.pool.seq;
        self.entries.clear();
        self.changed = Changed::Balances;
        self.holds.clear();
        self.has_all_holds = self.pool.open_holds == 0;
        self.changed_holds.clear();
        self.debits.clear();
        self.bought.clear();
        self.changed_bought.clear();
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

    /// How much of the pool changed.
    #[must_use]
    pub const fn changed(&self) -> Changed {
        self.changed
    }

    /// The holds that were opened, changed or closed.
    pub fn changed_holds(&self) -> impl Iterator<Item = &Hold> {
        self.changed_holds
            .iter()
            .filter_map(|seq| self.holds.get(seq))
    }

    /// The purchases that were credited, or of which something was taken or given back.
    pub fn changed_bought(&self) -> impl Iterator<Item = &Bought> {
        let changed = self.changed_bought.iter();
        changed.filter_map(|seq| self.bought.get(seq))
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
        }
        let used = drawn_from_grant(&draft.transfers, draft.details.refund.as_ref());
        pool.used = Credits::from_units((pool.used.signed() + used).units())
            .expect("no more of a grant is returned than was drawn from it");
        assert!(
            Accounts::are_sound(&pool.accounts),
            "an entry leaves sound accounts"
        );
        pool.seq = pool.seq.saturating_add(1);
        pool.last_at = at;
        self.changed = self.changed.max(Changed::by(draft.kind, &draft.details));
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

    /// A hold, whatever became of it.
    ///
    /// # Errors
    /// There is none with this id.
    pub(super) fn hold(&self, id: EntryId) -> Result<&Hold, Refusal> {
        let found = id.locate(self.pool.id);
        let hold = found.and_then(|(seq, _)| self.holds.get(&seq));
        hold.filter(|hold| hold.facts.id == id)
            .ok_or(Refusal::NotFound { what: "hold" })
    }

    /// A hold that is open.
    ///
    /// # Errors
    /// There is none with this id, or it is open no more.
    pub(super) fn open_hold(&self, id: EntryId) -> Result<Hold, Refusal> {
        let hold = self.hold(id)?;
        if !hold.is_open() {
            let status = hold.status;
            return Err(Refusal::HoldNotOpen { status });
        }
        Ok(hold.clone())
    }

    /// Every open hold, in the order of opening.
    ///
    /// # Panics
    /// When they were not read: whoever asks must have said so before.
    pub fn open_holds(&self) -> impl Iterator<Item = &Hold> {
        assert!(self.has_all_holds, "the open holds were read along");
        self.holds.values().filter(|hold| hold.is_open())
    }

    /// The open hold that expires first; of several, the one that was opened first.
    ///
    /// # Panics
    /// As [`Self::open_holds`], and when none is open.
    pub(super) fn first_to_expire(&self) -> Hold {
        let first = self.open_holds().min_by_key(|hold| hold.facts.expires_at);
        first.expect("a hold is due").clone()
    }

    /// Adds an entry about a hold, and keeps the hold as it is after it.
    pub(super) fn append_to_hold(&mut self, at: Time, draft: Draft, hold: Hold) -> Arc<Entry> {
        let entry = self.append(at, draft);
        self.keep_hold(Hold {
            last_seq: entry.seq,
            ..hold
        });
        entry
    }

    /// Keeps a hold as it is now; the pool knows how many are open and when the first is due.
    pub(super) fn keep_hold(&mut self, hold: Hold) {
        let seq = hold.seq;
        let due = hold.facts.expires_at;
        let is_new = self.holds.insert(seq, hold).is_none();
        self.changed_holds.insert(seq);
        if is_new {
            self.pool.open_holds = self.pool.open_holds.saturating_add(1);
            let next = self.pool.next_hold_at.into_iter().chain([due]).min();
            self.pool.next_hold_at = next;
            return;
        }
        let open = self.open_holds().map(|hold| hold.facts.expires_at);
        let (count, next) = open.fold((0_u32, None), |(count, next), at| {
            (count.saturating_add(1), next.into_iter().chain([at]).min())
        });
        self.pool.open_holds = count;
        self.pool.next_hold_at = next;
    }

    /// A debit of this pool that was read for a refund.
    ///
    /// # Errors
    /// There is none with this id.
    pub(super) fn debit(&self, id: EntryId) -> Result<RefundableDebit, Refusal> {
        let found = id.locate(self.pool.id);
        let debit = found.and_then(|(seq, _)| self.debits.get(&seq));
        debit
            .filter(|debit| debit.entry.id() == id && debit.entry.kind == Kind::Debit)
            .cloned()
            .ok_or(Refusal::NotFound { what: "debit" })
    }

    /// The debits of a run, oldest first: those that were read, and those booked since.
    pub(super) fn debits_of(&self, run: &Label) -> Vec<RefundableDebit> {
        let of_run = |entry: &Entry| {
            entry.kind == Kind::Debit && entry.attribution.run_id.as_ref() == Some(run)
        };
        let mut debits: BTreeMap<i64, RefundableDebit> = BTreeMap::new();
        for entry in self.entries.iter().filter(|entry| of_run(entry)) {
            let debit = RefundableDebit {
                entry: Arc::clone(entry),
                refunded: Credits::ZERO,
            };
            debits.insert(entry.seq, debit);
        }
        let read = self.debits.values().filter(|debit| of_run(&debit.entry));
        debits.extend(read.map(|debit| (debit.entry.seq, debit.clone())));
        debits.into_values().collect()
    }

    /// A purchase of this pool.
    ///
    /// # Errors
    /// There is none with this id.
    pub(super) fn bought(&self, id: PurchaseId) -> Result<&Bought, Refusal> {
        let found = self.bought.values().find(|bought| bought.id == id);
        found.ok_or(Refusal::NotFound { what: "purchase" })
    }

    /// The purchases that were read along or credited since, oldest first.
    pub(super) fn all_bought(&self) -> impl Iterator<Item = &Bought> {
        self.bought.values()
    }

    /// Keeps a purchase as it is now; the pool knows what is still to be collected of all.
    pub(super) fn keep_bought(&mut self, bought: Bought) {
        let seq = bought.seq;
        let now = bought.uncollected;
        let before = self.bought.insert(seq, bought);
        let before = before.map_or(Credits::ZERO, |before| before.uncollected);
        self.changed_bought.insert(seq);
        self.pool.uncollected = (self.pool.uncollected + now).saturating_sub(before);
    }

    /// Keeps what is refunded of a debit by now.
    pub(super) fn keep_debit(&mut self, debit: RefundableDebit) {
        self.debits.insert(debit.entry.seq, debit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Credits;
    use crate::ledger::samples::{adjust, buy, change, correct, debit, paid, pass, pool, put};
    use crate::ledger::samples::{hold, moved, reserve, spend, time};
    use crate::ledger::{Account, Bucket, Change, Command, PutPool};

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
    fn a_book_knows_where_it_was_opened_and_how_much_of_its_pool_changed() {
        let made = pool(put("pro", 1), NOW);
        assert_eq!((made.read_seq(), made.changed()), (0, Changed::Everything));
        let mut book = Book::new(made.pool().clone());
        assert_eq!((book.read_seq(), book.changed()), (1, Changed::Balances));
        spend(&mut book, NOW, debit(1));
        assert_eq!((book.read_seq(), book.changed()), (1, Changed::Balances));
        assert_eq!(book.entries().len(), 1);

        type Step = fn(&mut Book);
        let changes: [(Step, Changed); 6] = [
            (|book| pass(book, "2026-02-28T10:00:00Z"), Changed::Cycle),
            (
                |book| {
                    pass(book, "2026-03-31T10:00:00Z");
                    spend(book, "2026-03-31T10:00:00Z", debit(1));
                },
                Changed::Cycle,
            ),
            (
                |book| assert_eq!(change(book, NOW, put("pro", 2)), Change::Increase),
                Changed::Everything,
            ),
            (
                |book| drop(buy(book, NOW, paid(100, NOW))),
                Changed::Everything,
            ),
            (
                |book| drop(correct(book, NOW, adjust(Bucket::Addon, 1))),
                Changed::Everything,
            ),
            (
                |book| assert!(reserve(book, NOW, hold(1)).locate(book.pool().id).is_some()),
                Changed::Everything,
            ),
        ];
        for (which, (change, changed)) in changes.into_iter().enumerate() {
            let mut book = Book::new(made.pool().clone());
            change(&mut book);
            assert_eq!(book.changed(), changed, "{which}");
        }
        let mut waiting = pool(put("pro", 2), NOW);
        change(&mut waiting, NOW, put("pro", 1));
        let mut book = Book::new(waiting.pool().clone());
        pass(&mut book, "2026-02-28T10:00:00Z");
        assert_eq!(book.changed(), Changed::Everything, "other terms come");
        let mut untouched = Book::new(made.pool().clone());
        change(&mut untouched, NOW, PutPool::default());
        assert_eq!(
            (untouched.entries().len(), untouched.changed()),
            (0, Changed::Balances)
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
