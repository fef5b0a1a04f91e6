//! Decides the jobs of one batch on what was read for them. No I/O: the lane reads and writes.

use std::collections::HashSet;
use std::hash::BuildHasher;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::{Envelope, Job, LaneError, PoolView, Reply};
use crate::ledger::{
    Actor, Along, Book, Catalogue, Change, ClockId, Command, Entry, IdempotencyKey, Kind, Opening,
    Outcome, Patch, Pool, PoolId, Purchase, PutPool, Refusal, TenantId, Time, advance,
    auto_provision, next_grant,
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
}

/// What was decided on one pool.
#[derive(Default)]
pub(super) struct Decided {
    /// The pool and what is to be written of it; `None` where there is no pool.
    book: Option<Box<Book>>,
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
    pub fn book(&self) -> Option<&Book> {
        self.book
            .as_deref()
            .filter(|book| !book.entries().is_empty())
    }

    /// The pool as it will be once all of this is written.
    pub fn take_book(&mut self) -> Option<Box<Book>> {
        self.book.take()
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
                let answer = bench.decide(&envelope.job);
                bench.decided.answers.push(answer);
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

/// One pool while its jobs are decided.
struct Bench<'a> {
    ground: &'a Ground<'a>,
    id: PoolId,
    decided: &'a mut Decided,
    has_twins: bool,
}

impl Bench<'_> {
    /// Decides a job after what is due. A move to the new plans comes at its own instant, before
    /// what is due after it.
    fn decide(&mut self, job: &Job) -> Result<Reply, LaneError> {
        let now = self.ground.now;
        let at = match (&job.command, &self.decided.book) {
            (Command::Upgrade(upgrade), Some(book)) => upgrade.instant(book.pool(), now),
            _ => now,
        };
        // A pool that is there is not imported again: it stays as it is.
        if !matches!(job.command, Command::Import(_)) {
            self.pass(at);
        }
        self.replay(&job.actor)
            .unwrap_or_else(|| self.decide_anew(job).map_err(LaneError::Refused))
    }

    /// Books what is due by then.
    fn pass(&mut self, at: Time) {
        if let Some(book) = &mut self.decided.book {
            advance(book, self.ground.catalogue, at);
        }
    }

    /// The answer of an earlier request with the same key: recognised before every other rule
    /// (invariant exactly-once).
    fn replay(&self, actor: &Actor) -> Option<Result<Reply, LaneError>> {
        let request = actor.request.as_ref()?;
        let earlier = &self.ground.loaded.earlier;
        let entry = match earlier.is_empty() {
            true => None,
            false => earlier.get(&(self.id, request.key.clone())),
        };
        let entry = entry.or_else(|| self.twin(&request.key))?;
        let same = entry.actor.request.as_ref().is_some_and(|it| it == request);
        Some(if same {
            Ok(Reply::Entry {
                entry: Arc::clone(entry),
                replayed: true,
            })
        } else {
            Err(LaneError::Refused(Refusal::IdempotencyKeyReused))
        })
    }

    /// An entry of this very batch with the same key.
    fn twin(&self, key: &IdempotencyKey) -> Option<&Arc<Entry>> {
        let entries = self
            .decided
            .book
            .as_ref()
            .filter(|_| self.has_twins)?
            .entries();
        let same = |entry: &&Arc<Entry>| {
            entry
                .actor
                .request
                .as_ref()
                .is_some_and(|request| request.key == *key)
        };
        entries.iter().find(same)
    }

    /// Decides; of what is only to be told, nothing stays.
    fn decide_anew(&mut self, job: &Job) -> Result<Reply, Refusal> {
        let before = job
            .dry_run
            .then(|| (self.decided.book.clone(), self.decided.purchases.len()));
        let result = self.decide_by_kind(job);
        if let Some((book, purchases)) = before {
            self.decided.book = book;
            self.decided.purchases.truncate(purchases);
        }
        result
    }

    fn decide_by_kind(&mut self, job: &Job) -> Result<Reply, Refusal> {
        match &job.command {
            Command::Update(put) => self.put(put, job),
            Command::Purchase(purchase) | Command::CheckPurchase(purchase) => {
                self.purchase(purchase, job)
            }
            Command::Import(opening) => self.import(opening, job),
            Command::Advance
            | Command::Close
            | Command::License(_)
            | Command::Withdraw
            | Command::Upgrade(_)
            | Command::Debit(_)
            | Command::Hold(_)
            | Command::Extend(_)
            | Command::Capture(_)
            | Command::Release(_)
            | Command::Refund(_)
            | Command::RefundRun(_)
            | Command::Settle(_)
            | Command::Adjust(_) => self.command(job),
        }
    }

    /// Decides on the pool; one that is not there is made first where the tenant wants that, and
    /// only if the command itself is not refused.
    fn command(&mut self, job: &Job) -> Result<Reply, Refusal> {
        let made = match self.decided.book {
            Some(_) => None,
            None => Some(self.make_when_first_used(job)?),
        };
        let made_now = made.is_some();
        if made_now {
            self.decided.book = made;
        }
        let Ground { catalogue, now, .. } = *self.ground;
        let book = self.decided.book.as_mut().ok_or(Refusal::PoolNotFound)?;
        let now = match &job.command {
            Command::Upgrade(upgrade) => upgrade.instant(book.pool(), now),
            _ => now,
        };
        let outcome = job
            .command
            .clone()
            .decide(book, catalogue, job.actor.clone(), now);
        match outcome {
            Ok(Outcome::Booked(entry)) => Ok(Reply::Entry {
                entry,
                replayed: false,
            }),
            Ok(Outcome::Put(change)) => Ok(self.view(change)),
            Ok(Outcome::Done) if matches!(job.command, Command::Close) => {
                Ok(self.view(Change::None))
            }
            Ok(Outcome::Done) => Ok(Reply::Done),
            Err(refusal) => {
                if made_now {
                    self.decided.book = None;
                }
                Err(refusal)
            }
        }
    }

    fn make_when_first_used(&self, job: &Job) -> Result<Box<Book>, Refusal> {
        let spends = match &job.command {
            Command::Debit(_)
            | Command::Hold(_)
            | Command::Purchase(_)
            | Command::CheckPurchase(_)
            | Command::License(_)
            | Command::Adjust(_) => true,
            Command::Advance
            | Command::Close
            | Command::Update(_)
            | Command::Withdraw
            | Command::Upgrade(_)
            | Command::Import(_)
            | Command::Extend(_)
            | Command::Capture(_)
            | Command::Release(_)
            | Command::Refund(_)
            | Command::RefundRun(_)
            | Command::Settle(_) => false,
        };
        let put = auto_provision(&job.pool, self.ground.catalogue).filter(|_| spends);
        let put = put.ok_or(Refusal::PoolNotFound)?;
        // The pool is made by the way: the key belongs to the command itself.
        let actor = Actor {
            request: None,
            ..job.actor.clone()
        };
        self.create(put, job, actor)
    }

    fn create(&self, put: PutPool, job: &Job, actor: Actor) -> Result<Box<Book>, Refusal> {
        let Ground { catalogue, now, .. } = *self.ground;
        let names = (self.id, job.tenant, job.pool.clone());
        put.create(names, catalogue, actor, now).map(Box::new)
    }

    fn put(&mut self, put: &PutPool, job: &Job) -> Result<Reply, Refusal> {
        if self.decided.book.is_some() {
            return self.command(job);
        }
        self.decided.book = Some(self.create(put.clone(), job, job.actor.clone())?);
        Ok(self.view(Change::Created))
    }

    /// Takes a pool over; one that is there already stays as it is.
    fn import(&mut self, opening: &Opening, job: &Job) -> Result<Reply, Refusal> {
        if self.decided.book.is_some() {
            return Err(Refusal::invalid("pool", "is there already"));
        }
        if opening.at > self.ground.now {
            return Err(Refusal::invalid("at", "must not be in the future"));
        }
        let names = (self.id, job.tenant, job.pool.clone());
        let book = opening.create(names, self.ground.catalogue, job.actor.clone())?;
        let records = book.entries().iter();
        let records = records.filter_map(|entry| PurchaseRecord::of(entry, job.tenant, &job.pool));
        self.decided.purchases.extend(records);
        let first = book.entries().first().cloned();
        self.decided.book = Some(Box::new(book));
        first.map_or(Ok(Reply::Done), |entry| {
            Ok(Reply::Entry {
                entry,
                replayed: false,
            })
        })
    }

    /// A payment that was credited before is answered with its first purchase, before every rule.
    fn purchase(&mut self, purchase: &Purchase, job: &Job) -> Result<Reply, Refusal> {
        if let Some(first) = self.earlier_purchase(purchase) {
            let same = purchase
                .credits
                .is_ok_and(|credits| credits == first.credits.signed());
            let book = self.decided.book.as_ref().ok_or(Refusal::PoolNotFound)?;
            let balance = book.pool().balance(self.ground.now);
            return match same {
                true => Ok(Reply::Purchased {
                    purchase: Box::new(first),
                    balance: Box::new(balance),
                }),
                false => Err(Refusal::PaymentReferenceReused),
            };
        }
        let made = self.decided.book.is_none();
        let reply = self.command(job);
        let only_checked = matches!(job.command, Command::CheckPurchase(_));
        if made && only_checked {
            self.decided.book = None;
        }
        if let (Ok(Reply::Entry { entry, .. }), false) = (&reply, only_checked) {
            self.decided
                .purchases
                .extend(PurchaseRecord::of(entry, job.tenant, &job.pool));
        }
        reply
    }

    fn earlier_purchase(&self, purchase: &Purchase) -> Option<PurchaseRecord> {
        let stored = self
            .ground
            .loaded
            .purchases
            .get(&(self.id, purchase.reference.clone()));
        let same = |record: &&PurchaseRecord| record.reference == purchase.reference;
        stored
            .or_else(|| self.decided.purchases.iter().find(same))
            .cloned()
    }

    fn view(&self, change: Change) -> Reply {
        let Some(book) = &self.decided.book else {
            unreachable!("a view is asked for after the pool was decided on")
        };
        Reply::Pool {
            view: Box::new(PoolView {
                pool: book.pool().clone(),
                next_grant: next_grant(book, self.ground.catalogue),
                as_of: self.ground.now,
            }),
            change,
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
