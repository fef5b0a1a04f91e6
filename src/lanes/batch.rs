//! The jobs of one pool, and what was decided on them. No I/O: the lane reads and writes.

use std::collections::HashSet;
use std::hash::BuildHasher;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::bench::Bench;
use super::{Envelope, Job, LaneError, Reply};
use crate::ledger::{
    Along, Book, Catalogue, ClockId, Command, Entry, IdempotencyKey, Kind, Patch, Pool, PoolId,
    Refusal, TenantId, Time,
};
use crate::store::{Loaded, PurchaseRecord};

/// The jobs of one pool, in the order they came.
pub(super) struct PoolJobs {
    pub id: PoolId,
    pub envelopes: Vec<Envelope>,
    /// Of the keys of more jobs than one.
    key_hashes: HashSet<u64>,
    /// Whether two jobs may carry the same key, so that one replays what the other has just done.
    has_twins: bool,
    /// How often they were done in vain.
    pub attempts: u32,
}

/// What was decided on one pool.
#[derive(Default)]
pub(super) struct Decided {
    /// The pool and what is to be written of it; `None` where there is no pool.
    pub book: Option<Box<Book>>,
    /// Purchases among it.
    pub purchases: Vec<PurchaseRecord>,
    /// For each job, in order. Valid only once the book is written.
    pub answers: Vec<Result<Reply, LaneError>>,
    /// Whose catalogue it was decided with, and which version.
    pub used: Option<(TenantId, i64)>,
    /// Whether the pool was not read but remembered.
    pub is_guess: bool,
}

impl Decided {
    /// Nothing yet, on a pool as it is remembered.
    pub fn on_guess(book: Box<Book>) -> Self {
        Self {
            book: Some(book),
            is_guess: true,
            ..Self::default()
        }
    }

    /// Nothing yet, on a pool as it was read.
    fn on(pool: Pool, along: Along) -> Self {
        Self {
            book: Some(Box::new(Book::with(pool, along))),
            ..Self::default()
        }
    }

    /// What is to be written, if there is anything.
    pub fn written_book(&self) -> Option<&Book> {
        self.book
            .as_deref()
            .filter(|book| !book.entries().is_empty())
    }

    /// Whether entries answer all jobs from this one on.
    pub fn is_booked_from(&self, first: usize) -> bool {
        let is_entry =
            |answer: &Result<Reply, LaneError>| matches!(answer, Ok(Reply::Entry { .. }));
        self.answers.iter().skip(first).all(is_entry)
    }
}

/// What decisions on one pool need beside the pool itself.
pub(super) struct Ground<'a> {
    pub loaded: &'a Loaded,
    pub catalogue: &'a Catalogue,
    pub now: Time,
}

impl PoolJobs {
    /// No jobs yet.
    pub fn new(id: PoolId) -> Self {
        Self {
            id,
            envelopes: Vec::with_capacity(1),
            key_hashes: HashSet::new(),
            has_twins: false,
            attempts: 0,
        }
    }

    /// Adds a job.
    pub fn push(&mut self, envelope: Envelope) {
        self.envelopes.push(envelope);
        let known = match self.envelopes.len() {
            0 | 1 => return,
            2 => 0,
            length => length - 1,
        };
        for envelope in &self.envelopes[known..] {
            let request = envelope.job.actor.request.as_ref();
            let hash = request.map(|request| self.key_hashes.hasher().hash_one(&request.key));
            self.has_twins |= hash.is_some_and(|hash| !self.key_hashes.insert(hash));
        }
    }

    /// Hands jobs over to others of the same pool, up to the first that is not wanted.
    pub fn hand_over(&mut self, others: &mut Self, is_wanted: impl Fn(&Envelope) -> bool) {
        let mut envelopes = std::mem::take(&mut self.envelopes).into_iter().peekable();
        while let Some(envelope) = envelopes.next_if(&is_wanted) {
            others.push(envelope);
        }
        let (id, attempts) = (self.id, self.attempts);
        *self = Self::new(id);
        self.attempts = attempts;
        envelopes.for_each(|envelope| self.push(envelope));
    }

    /// Drops jobs that nobody waits for any more: they never begin.
    pub fn drop_abandoned(&mut self) {
        self.envelopes
            .retain(|envelope| !envelope.answer.is_closed());
    }

    /// Takes off those after so many, none of which booked anything, with what was decided on them.
    pub fn split_off(&mut self, first: usize, decided: &mut Decided) -> Self {
        decided.answers.truncate(first);
        let mut rest = Self::new(self.id);
        for envelope in self.envelopes.split_off(first) {
            rest.push(envelope);
        }
        rest
    }

    /// The job that came last.
    pub fn last(&self) -> Option<&Job> {
        self.envelopes.last().map(|envelope| &envelope.job)
    }

    /// Decides every job in order, on the pool that was read.
    pub fn decide(&self, ground: &Ground<'_>) -> Decided {
        let stored = ground.loaded.pools.get(&self.id);
        let mut decided = stored.map_or_else(Decided::default, |stored| {
            Decided::on(stored.pool.clone(), stored.along.clone())
        });
        self.decide_rest(&mut decided, ground);
        // Who only asks what would happen books nothing, not even what is due.
        if self.envelopes.iter().all(|envelope| envelope.job.dry_run) {
            decided.book = None;
        }
        decided
    }

    /// Decides the jobs that have no answer yet, in order. A panic is our mistake: it fails the
    /// jobs of this pool alone, and writes nothing.
    pub fn decide_rest(&self, decided: &mut Decided, ground: &Ground<'_>) {
        // Never earlier than the last entry, whatever this machine's clock says (ordered).
        let last_at = decided.book.as_ref().map(|book| book.pool().last_at);
        let ground = Ground {
            now: last_at.into_iter().fold(ground.now, Time::max),
            ..*ground
        };
        let attempt = catch_unwind(AssertUnwindSafe(|| {
            let rest = self.envelopes.iter().skip(decided.answers.len());
            let mut bench = Bench {
                ground: &ground,
                id: self.id,
                decided,
                has_twins: self.has_twins,
            };
            for envelope in rest {
                bench.answer(&envelope.job);
            }
        }));
        if attempt.is_err() {
            tracing::error!(pool.id = %self.id, "a decision panicked; nothing was booked");
            let failed = |_: &Envelope| Err(LaneError::Failed);
            *decided = Decided {
                answers: self.envelopes.iter().map(failed).collect(),
                ..Decided::default()
            };
        }
    }

    /// The keys of jobs that no entry answers: they may be retries of jobs that booked one.
    pub fn unbooked_keys(
        &self,
        decided: &Decided,
    ) -> impl Iterator<Item = (PoolId, IdempotencyKey)> {
        let unbooked = self.envelopes.iter().zip(&decided.answers);
        let unbooked = unbooked.filter(|(_, answer)| !matches!(answer, Ok(Reply::Entry { .. })));
        unbooked.filter_map(|(envelope, _)| {
            let request = envelope.job.actor.request.as_ref()?;
            Some((self.id, request.key.clone()))
        })
    }

    /// Whose pool it is.
    pub fn tenant(&self) -> Option<TenantId> {
        self.envelopes.first().map(|envelope| envelope.job.tenant)
    }

    /// The test clock of a pool that one of the jobs would make.
    pub fn new_clock(&self) -> Option<(TenantId, ClockId)> {
        self.envelopes
            .iter()
            .find_map(|envelope| match &envelope.job.command {
                Command::Update(put) => match put.test_clock {
                    Patch::Set(clock) => Some((envelope.job.tenant, clock)),
                    Patch::Keep | Patch::Clear => None,
                },
                _ => None,
            })
    }

    /// A tenant that does not exist has no pools.
    pub fn without_tenant(&self) -> Decided {
        let refused = |_: &Envelope| Err(LaneError::Refused(Refusal::PoolNotFound));
        Decided {
            answers: self.envelopes.iter().map(refused).collect(),
            ..Decided::default()
        }
    }
}

/// Counts what happened by itself, for the metrics.
pub(super) fn due_events(books: &[&Book]) -> usize {
    let due = |entry: &&Arc<Entry>| match entry.kind {
        Kind::Renewal | Kind::AddonExpiry | Kind::HoldExpiry => true,
        Kind::LicenseEnd => entry.actor.key.is_none(),
        Kind::Open
        | Kind::Restart
        | Kind::TermsChange
        | Kind::Debit
        | Kind::Refund
        | Kind::Hold
        | Kind::HoldExtend
        | Kind::Release
        | Kind::Purchase
        | Kind::Reinstatement
        | Kind::Clawback
        | Kind::ClawbackReversal
        | Kind::Adjustment
        | Kind::Import
        | Kind::Upgrade
        | Kind::Close => false,
    };
    books
        .iter()
        .flat_map(|book| book.entries())
        .filter(due)
        .count()
}
