//! Decides jobs on one pool, one after another: what is due, what was asked before, what is new.

use std::sync::Arc;

use super::batch::{Decided, Ground};
use super::{Job, LaneError, PoolView, Reply};
use crate::ledger::{
    Actor, Book, Change, Command, Entry, IdempotencyKey, Opening, Outcome, PoolId, Purchase,
    PutPool, Refusal, Time, advance, auto_provision, next_grant,
};
use crate::store::PurchaseRecord;

/// One pool while its jobs are decided.
pub(super) struct Bench<'a> {
    pub ground: &'a Ground<'a>,
    pub id: PoolId,
    pub decided: &'a mut Decided,
    /// Whether two jobs may carry the same key.
    pub has_twins: bool,
}

impl Bench<'_> {
    /// Decides the next job.
    pub fn answer(&mut self, job: &Job) {
        let answer = self.decide(job);
        self.decided.answers.push(answer);
    }

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
