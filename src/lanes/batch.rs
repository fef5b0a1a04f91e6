//! Decides the jobs of one batch on what was read for them. No I/O: the lane reads and writes.

use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::{Envelope, Job, LaneError, PoolView, Reply};
use crate::ledger::{
    Actor, Book, Catalogue, Change, ClockId, Command, Entry, IdempotencyKey, Kind, Opening,
    Outcome, Patch, PoolId, Purchase, PutPool, Refusal, TenantId, Time, advance, auto_provision,
    next_grant,
};
use crate::store::{Loaded, PurchaseRecord};

/// The jobs of one pool, in the order they came.
pub(super) struct PoolJobs {
    pub id: PoolId,
    pub envelopes: Vec<Envelope>,
}

/// What was decided on one pool.
pub(super) struct Decided {
    /// What to write; `None` when there is nothing.
    pub book: Option<Book>,
    /// Purchases among it.
    pub purchases: Vec<PurchaseRecord>,
    /// For each job, in order. Valid only once the book is written.
    pub answers: Vec<Result<Reply, LaneError>>,
}

impl Decided {
    /// Whether an entry answers every job.
    pub fn is_booked(&self) -> bool {
        let is_entry =
            |answer: &Result<Reply, LaneError>| matches!(answer, Ok(Reply::Entry { .. }));
        self.answers.iter().all(is_entry)
    }
}

/// What decisions on one pool need.
pub(super) struct Ground<'a> {
    pub loaded: &'a Loaded,
    pub catalogue: &'a Catalogue,
    pub now: Time,
}

/// Groups jobs by pool; pools keep the order of their first job.
pub(super) fn by_pool(envelopes: Vec<Envelope>) -> Vec<PoolJobs> {
    let mut places: HashMap<PoolId, usize> = HashMap::with_capacity(envelopes.len());
    let mut pools: Vec<PoolJobs> = Vec::new();
    for envelope in envelopes {
        let id = envelope.id;
        let place = *places.entry(id).or_insert_with(|| {
            pools.push(PoolJobs {
                id,
                envelopes: Vec::new(),
            });
            pools.len() - 1
        });
        pools[place].envelopes.push(envelope);
    }
    pools
}

impl PoolJobs {
    /// Decides every job in order. A panic is our mistake: it fails the jobs of this pool alone,
    /// and writes nothing.
    pub fn decide(&self, ground: &Ground<'_>) -> Decided {
        let attempt = catch_unwind(AssertUnwindSafe(|| self.decide_in_order(ground)));
        attempt.unwrap_or_else(|_| {
            tracing::error!(pool.id = %self.id, "a decision panicked; nothing was booked");
            let answers = self
                .envelopes
                .iter()
                .map(|_| Err(LaneError::Failed))
                .collect();
            Decided {
                book: None,
                purchases: Vec::new(),
                answers,
            }
        })
    }

    fn decide_in_order(&self, ground: &Ground<'_>) -> Decided {
        let stored = ground.loaded.pools.get(&self.id);
        let mut bench = Bench {
            ground,
            id: self.id,
            book: stored.map(|stored| Book::with(stored.pool.clone(), stored.along.clone())),
            has_twins: self.has_twins(),
            purchases: Vec::new(),
        };
        let jobs = self.envelopes.iter().map(|envelope| &envelope.job);
        let answers = jobs.map(|job| bench.decide(job)).collect();
        // Who only asks what would happen books nothing, not even what is due.
        let only_told = self.envelopes.iter().all(|envelope| envelope.job.dry_run);
        let book = bench
            .book
            .filter(|book| !book.entries().is_empty() && !only_told);
        Decided {
            book,
            purchases: bench.purchases,
            answers,
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

    /// Whether they only spend: then the pool's own row is all they need.
    pub fn only_spend(&self) -> bool {
        let mut jobs = self.envelopes.iter().map(|envelope| &envelope.job);
        jobs.all(|job| matches!(job.command, Command::Debit(_)))
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
        let answers = self.envelopes.iter().map(refused).collect();
        Decided {
            book: None,
            purchases: Vec::new(),
            answers,
        }
    }

    /// Whether two jobs carry the same key, so that one may replay what the other has just decided.
    fn has_twins(&self) -> bool {
        let requests = self
            .envelopes
            .iter()
            .filter_map(|it| it.job.actor.request.as_ref());
        let mut seen = HashSet::with_capacity(self.envelopes.len());
        self.envelopes.len() > 1
            && !requests
                .map(|request| &request.key)
                .all(|key| seen.insert(key))
    }
}

/// One pool while its jobs are decided.
struct Bench<'a> {
    ground: &'a Ground<'a>,
    id: PoolId,
    book: Option<Book>,
    has_twins: bool,
    purchases: Vec<PurchaseRecord>,
}

impl Bench<'_> {
    /// Decides a job after what is due. A move to the new plans comes at its own instant, before
    /// what is due after it.
    fn decide(&mut self, job: &Job) -> Result<Reply, LaneError> {
        let now = self.ground.now;
        let at = match (&job.command, &self.book) {
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
        if let Some(book) = &mut self.book {
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
        let entries = self.book.as_ref().filter(|_| self.has_twins)?.entries();
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
            .then(|| (self.book.clone(), self.purchases.len()));
        let result = self.decide_by_kind(job);
        if let Some((book, purchases)) = before {
            self.book = book;
            self.purchases.truncate(purchases);
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
        let made = match self.book {
            Some(_) => None,
            None => Some(self.make_when_first_used(job)?),
        };
        let made_now = made.is_some();
        if made_now {
            self.book = made;
        }
        let Ground { catalogue, now, .. } = *self.ground;
        let book = self.book.as_mut().ok_or(Refusal::PoolNotFound)?;
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
                    self.book = None;
                }
                Err(refusal)
            }
        }
    }

    fn make_when_first_used(&self, job: &Job) -> Result<Book, Refusal> {
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

    fn create(&self, put: PutPool, job: &Job, actor: Actor) -> Result<Book, Refusal> {
        let Ground { catalogue, now, .. } = *self.ground;
        put.create(
            (self.id, job.tenant, job.pool.clone()),
            catalogue,
            actor,
            now,
        )
    }

    fn put(&mut self, put: &PutPool, job: &Job) -> Result<Reply, Refusal> {
        if self.book.is_some() {
            return self.command(job);
        }
        self.book = Some(self.create(put.clone(), job, job.actor.clone())?);
        Ok(self.view(Change::Created))
    }

    /// Takes a pool over; one that is there already stays as it is.
    fn import(&mut self, opening: &Opening, job: &Job) -> Result<Reply, Refusal> {
        if self.book.is_some() {
            return Err(Refusal::invalid("pool", "is there already"));
        }
        if opening.at > self.ground.now {
            return Err(Refusal::invalid("at", "must not be in the future"));
        }
        let names = (self.id, job.tenant, job.pool.clone());
        let book = opening.create(names, self.ground.catalogue, job.actor.clone())?;
        let records = book.entries().iter();
        let records = records.filter_map(|entry| PurchaseRecord::of(entry, job.tenant, &job.pool));
        self.purchases.extend(records);
        let first = book.entries().first().cloned();
        self.book = Some(book);
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
            let book = self.book.as_ref().ok_or(Refusal::PoolNotFound)?;
            let balance = book.pool().balance(self.ground.now);
            return match same {
                true => Ok(Reply::Purchased {
                    purchase: Box::new(first),
                    balance,
                }),
                false => Err(Refusal::PaymentReferenceReused),
            };
        }
        let made = self.book.is_none();
        let reply = self.command(job);
        let only_checked = matches!(job.command, Command::CheckPurchase(_));
        if made && only_checked {
            self.book = None;
        }
        if let (Ok(Reply::Entry { entry, .. }), false) = (&reply, only_checked) {
            self.purchases
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
        stored.or_else(|| self.purchases.iter().find(same)).cloned()
    }

    fn view(&self, change: Change) -> Reply {
        let Some(book) = &self.book else {
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
