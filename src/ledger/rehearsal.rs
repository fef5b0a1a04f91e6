//! What would have been under other plans and prices: the past usage of a pool, decided anew.
//!
//! The entries of a journal are read once, in order, and none is kept. Up to the first cycle that
//! begins in the window they are only followed ([`past`]); from there on each is counted as it
//! happened, and what a user did in it is decided again by the core itself under the other
//! catalogue ([`replay`]). What happens by itself comes from `advance`, as ever. So under the same
//! catalogue the past comes out again.
//!
//! Holds are not rehearsed: a capture is a debit at its own instant, and what was reserved counts
//! as there.

mod past;
mod replay;
mod spending;
mod tally;

use std::collections::BTreeMap;

use super::{
    Book, Catalogue, Details, Entry, Fault, Kind, PlanCode, PoolId, PoolName, RefundableDebit,
    TenantId, Time, advance,
};
use past::Past;
use replay::Replay;
use spending::Kept;
use tally::unreadable;

pub use tally::{Figures, Outage, Tally};

/// A pool whose past is decided anew.
pub struct Rehearsal<'c> {
    /// What the tenant sells.
    catalogue: &'c Catalogue,
    /// What it would sell.
    other: &'c Catalogue,
    from: Time,
    past: Past,
    phase: Phase<'c>,
    now: Tally,
    entries: i64,
    /// By number: the last refund of debits that are refunded.
    refunded: BTreeMap<i64, i64>,
}

enum Phase<'c> {
    /// No cycle has begun in the window yet.
    Before,
    /// One has, and what happens next is rehearsed.
    Next(LeftOut),
    /// It is rehearsed.
    Running { since: i64, replay: Box<Replay<'c>> },
}

/// What of the past could not happen again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Refunds of debits that were refused here.
    pub refunds: i64,
    /// Purchases on a plan that sells no add-on credits here.
    pub purchases: i64,
    /// Changes of terms, upgrades and adjustments that the other catalogue does not allow.
    pub changes: i64,
}

/// What came of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rehearsed {
    /// Its plan in the end.
    pub plan: PlanCode,
    /// How many entries of the journal were decided anew.
    pub entries: i64,
    /// As it was.
    pub now: Tally,
    /// As it would have been.
    pub then: Tally,
    /// What could not be decided anew.
    pub left_out: LeftOut,
}

/// An entry as the journal tells it.
struct Told<'e> {
    entry: &'e Entry,
    details: &'e Details,
    refunded_until: Option<i64>,
}

impl<'c> Rehearsal<'c> {
    /// The kinds of entries that must be read of the time before the window, together with the very
    /// last entry before it.
    pub const TERMS: [Kind; 7] = [
        Kind::Open,
        Kind::Import,
        Kind::Renewal,
        Kind::Restart,
        Kind::TermsChange,
        Kind::LicenseEnd,
        Kind::Upgrade,
    ];

    /// Begins before a pool's first entry. `catalogue` is what its tenant sells, `other` what it
    /// would sell; the window opens at `from`.
    #[must_use]
    pub fn new(
        names: (PoolId, TenantId, PoolName),
        catalogue: &'c Catalogue,
        other: &'c Catalogue,
        from: Time,
    ) -> Self {
        Self {
            catalogue,
            other,
            from,
            past: Past::new(names),
            phase: Phase::Before,
            now: Tally::default(),
            entries: 0,
            refunded: BTreeMap::new(),
        }
    }

    /// Says of a debit that is still to come which entry refunds it last.
    pub fn expect_refunds(&mut self, debit: i64, until: i64) {
        self.refunded.insert(debit, until);
    }

    /// The number of the debit from before the rehearsal that this entry refunds, if it does: it
    /// must be shown to [`Self::show_debit`] first.
    #[must_use]
    pub fn wants_debit(&self, entry: &Entry) -> Option<i64> {
        let Phase::Running { since, .. } = &self.phase else {
            return None;
        };
        let debit = (entry.kind == Kind::Refund).then(|| entry.debit_id())??;
        let (seq, _) = debit.locate(entry.pool)?;
        (seq < *since).then_some(seq)
    }

    /// A debit from before the rehearsal, as it stands before the refund `until`.
    pub fn show_debit(&mut self, debit: RefundableDebit, until: i64) {
        if let Phase::Running { replay, .. } = &mut self.phase {
            let seq = debit.entry.seq;
            replay.debits.insert(seq, Kept::earlier(debit, until));
        }
    }

    /// Goes on to the next entry.
    ///
    /// # Errors
    /// It is not what we write.
    pub fn add(&mut self, entry: &Entry) -> Result<(), Fault> {
        let details = entry.read_details().ok_or_else(|| unreadable(entry))?;
        let told = Told {
            entry,
            details: &details,
            refunded_until: self.refunded.remove(&entry.seq),
        };
        self.begin(&told)?;
        if let Phase::Running { replay, .. } = &mut self.phase {
            self.now.add(entry)?;
            self.entries = self.entries.saturating_add(1);
            if entry.kind != Kind::Open {
                replay.step(&told, &self.past, self.catalogue)?;
            }
        }
        let followed = self.past.follow(entry, &details);
        followed.ok_or_else(|| unreadable(entry))
    }

    /// Begins the rehearsal where the first cycle begins in the window. The making of a pool is
    /// rehearsed, too; what was taken over from another system is taken as it was.
    fn begin(&mut self, told: &Told<'_>) -> Result<(), Fault> {
        let entry = told.entry;
        let opens = entry.cycle_seq == entry.seq && entry.at >= self.from;
        match (&self.phase, entry.kind) {
            (Phase::Before, Kind::Import) if opens => self.phase = Phase::Next(LeftOut::default()),
            (Phase::Before, Kind::Open) if opens => {
                let opened = Replay::open(&self.past, self.other, told);
                let Some(mut replay) = opened else {
                    // Terms that the other plan does not allow: the first cycle is what it was.
                    let left_out = LeftOut {
                        changes: 1,
                        ..LeftOut::default()
                    };
                    self.phase = Phase::Next(left_out);
                    return Ok(());
                };
                replay.settle()?;
                self.run(entry.seq, replay);
            }
            (Phase::Before, _) if opens => self.stand(entry.seq, LeftOut::default()),
            (Phase::Next(left_out), kind) if kind != Kind::Import => {
                self.stand(entry.seq, *left_out);
            }
            (Phase::Before | Phase::Next(_) | Phase::Running { .. }, _) => {}
        }
        Ok(())
    }

    fn stand(&mut self, since: i64, left_out: LeftOut) {
        if let Some(pool) = self.past.standing(self.catalogue, self.other) {
            let mut replay = Replay::new(pool, self.other);
            replay.left_out = left_out;
            self.run(since, replay);
        }
    }

    fn run(&mut self, since: i64, replay: Replay<'c>) {
        let replay = Box::new(replay);
        self.phase = Phase::Running { since, replay };
    }

    /// Ends the rehearsal at `now`, after the last entry of the journal; `book` is the pool as it
    /// was read, on which what is due is booked on both sides. `None` when no cycle began in the
    /// window.
    ///
    /// # Errors
    /// What is due cannot be read: never.
    ///
    /// # Panics
    /// When a hold is due and the holds were not read along with the pool.
    pub fn finish(mut self, mut book: Book, now: Time) -> Result<Option<Rehearsed>, Fault> {
        advance(&mut book, self.catalogue, now);
        for entry in book.entries() {
            self.add(entry)?;
        }
        if let Phase::Next(left_out) = self.phase {
            self.stand(book.next_seq(), left_out);
        }
        let Phase::Running { mut replay, .. } = self.phase else {
            return Ok(None);
        };
        replay.advance(now)?;
        Ok(Some(Rehearsed {
            plan: replay.book.pool().terms.plan.clone(),
            entries: self.entries,
            now: self.now,
            then: replay.tally,
            left_out: replay.left_out,
        }))
    }
}

#[cfg(test)]
mod tests;
