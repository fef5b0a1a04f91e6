//! One lane: take jobs up, decide them, write, answer.
//!
//! While a batch is being written the next one is put together on the [`Desk`]. It follows at once
//! when the first comes back, or goes along with it when a third of all jobs are in it: so the
//! database never waits for us to think, and batches stay large. No pool is in two writes at once.

use std::collections::HashSet;
use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::task::Poll;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use futures_util::stream::{FuturesOrdered, StreamExt};
use tokio::sync::{broadcast, mpsc};
use tokio::time::timeout;

use super::batch::{Decided, PoolJobs, due_events};
use super::desk::{Desk, TakenUp};
use super::knowledge::Knowledge;
use super::memory::Memory;
use super::{Envelope, LaneError};
use crate::clock::Clock;
use crate::ledger::{Book, Changed, PoolId};
use crate::store::{PurchaseRecord, Saved, Store, StoreError, Writer, Writes};

/// How long one step in the database may take before its connection is given up.
pub(super) const STEP_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a pool is tried again when other writers are in the way.
const ATTEMPTS: u32 = 20;
/// How many writes of a lane may be on their way, each on a connection of its own.
const UNDER_WAY: usize = 2;
/// The part of all jobs that a batch must have to be sent beside another: two are then being
/// written while the third is put together.
const PARTS: usize = 3;

/// Jobs of pools, decided.
type Batch = Vec<(PoolJobs, Decided)>;

/// A writer with its queue.
pub(super) struct Lane {
    number: usize,
    pub(super) store: Store,
    batch_limit: usize,
    queue: mpsc::Receiver<Envelope>,
    grown: broadcast::Sender<PoolId>,
    /// Connections that have nothing to do.
    pub(super) idle: Vec<Writer>,
    pub(super) knowledge: Knowledge,
    desk: Desk,
    /// Writes, in the order in which they were sent.
    under_way: FuturesOrdered<BoxFuture<'static, Outcome>>,
    /// The pools among them, and how many jobs they have.
    being_written: HashSet<PoolId>,
    jobs_under_way: usize,
    /// How many jobs there lately were at once, under way or on the desk.
    crowd: usize,
    /// Written, and its callers are not told yet.
    settled: Batch,
}

/// What was sent to be written of a batch, beside the writes themselves.
struct Sent {
    batch: Batch,
    jobs: usize,
    /// The pools that were to be written.
    pools: HashSet<PoolId>,
    /// Those that have one more block of usage after it.
    grown: Vec<PoolId>,
    due_events: usize,
    at: Instant,
}

/// What came of it; the connection, if it is still good.
struct Outcome {
    writer: Option<Writer>,
    sent: Sent,
    saved: Result<Saved, StoreError>,
}

impl Lane {
    pub fn new(
        number: usize,
        (store, clock): (Store, Clock),
        batch_limit: usize,
        queue: mpsc::Receiver<Envelope>,
        grown: broadcast::Sender<PoolId>,
    ) -> Self {
        Self {
            number,
            store,
            batch_limit,
            queue,
            grown,
            idle: Vec::new(),
            knowledge: Knowledge::new(clock),
            desk: Desk::default(),
            under_way: FuturesOrdered::new(),
            being_written: HashSet::new(),
            jobs_under_way: 0,
            crowd: 0,
            settled: Batch::new(),
        }
    }

    /// Works until the queue is closed and empty.
    pub async fn run(mut self) {
        let queue_length = metrics::gauge!(
            "credit_ledger_lane_queue_length", "lane" => self.number.to_string());
        let mut arrived = Vec::with_capacity(self.batch_limit);
        loop {
            // A panic is our mistake. It must not end the lane: who waits is told that the outcome
            // is unknown, and fresh connections are taken.
            let step = AssertUnwindSafe(self.step(&mut arrived));
            match step.catch_unwind().await {
                Ok(true) => queue_length.set(self.queue.len() as f64),
                Ok(false) => return,
                Err(_) => {
                    tracing::error!(lane = self.number, "a batch panicked");
                    self.distrust_all();
                }
            }
        }
    }

    /// Sends what can be sent, then waits for the next write to come back or jobs to arrive; false
    /// when there is nothing left to wait for.
    async fn step(&mut self, arrived: &mut Vec<Envelope>) -> bool {
        self.send().await;
        tell(std::mem::take(&mut self.settled));
        let room = self.batch_limit.saturating_sub(self.desk.jobs());
        tokio::select! {
            biased;
            Some(outcome) = self.under_way.next() => self.land(outcome).await,
            taken = self.queue.recv_many(arrived, room), if room > 0 => {
                if taken == 0 {
                    // Closed: only what is under way is left.
                    match self.under_way.next().await {
                        Some(outcome) => self.land(outcome).await,
                        None => return self.desk.jobs() > 0,
                    }
                }
                for envelope in arrived.drain(..) {
                    self.desk.take_up(envelope, &mut self.knowledge);
                }
            }
        }
        true
    }

    /// Sends a batch, if there is one and it is its time.
    async fn send(&mut self) {
        if self.desk.jobs() == 0 {
            return;
        }
        self.crowd = self.crowd.max(self.jobs_under_way + self.desk.jobs());
        if !self.under_way.is_empty() {
            return self.send_along().await;
        }
        let TakenUp { decided, waiting } = self.desk.clear();
        let mut batch = decided;
        if !waiting.is_empty() {
            // What they need is read first, and nobody else has to wait for that.
            tell(std::mem::take(&mut self.settled));
            match self.read_and_decide(&waiting, false).await {
                Ok(decided) => batch.extend(waiting.into_iter().zip(decided)),
                Err(error) => {
                    let again = self.give_up(waiting, error);
                    self.retry(again).await;
                }
            }
        }
        self.launch(batch).await;
    }

    /// Sends a batch beside the one that is under way, if it has its part of all the jobs there
    /// are, so that batches do not become small. What waits for a read, or for a pool that is being
    /// written, stays.
    async fn send_along(&mut self) {
        let is_part = |jobs: usize| jobs * PARTS >= self.crowd;
        if self.under_way.len() >= UNDER_WAY
            || !is_part(self.desk.jobs())
            || !is_part(self.desk.free_jobs(&self.being_written))
        {
            return;
        }
        // Without a second connection all waits for the first.
        let Some(mut writer) = self.second_writer().await else {
            return;
        };
        if writer.is_alive().await {
            self.idle.push(writer);
            let batch = self.desk.take_free(&self.being_written);
            self.launch(batch).await;
        }
    }

    async fn second_writer(&mut self) -> Option<Writer> {
        match self.idle.pop() {
            Some(writer) => Some(writer),
            None => self.store.writer().await.ok(),
        }
    }

    /// Sends a batch on its way, and remembers its pools as they will be.
    async fn launch(&mut self, mut batch: Batch) {
        let (writes, sent) = self.send_off(&mut batch);
        let sent = Sent { batch, ..sent };
        let Some(writes) = writes else {
            self.settled.extend(sent.batch);
            return;
        };
        let Some(writer) = self.idle.pop() else {
            let saved = Err(StoreError::timed_out());
            let writer = None;
            return self
                .settle(Outcome {
                    writer,
                    sent,
                    saved,
                })
                .await;
        };
        metrics::histogram!("credit_ledger_batch_commands").record(sent.jobs as f64);
        self.jobs_under_way += sent.jobs;
        self.being_written.extend(&sent.pools);
        let mut writing = carry_out(writer, writes, sent).boxed();
        // Polled once, it is on its way.
        match poll_fn(|context| Poll::Ready(writing.as_mut().poll(context))).await {
            Poll::Ready(outcome) => self.under_way.push_back(ready(outcome).boxed()),
            Poll::Pending => self.under_way.push_back(writing),
        }
    }

    /// What is written of a batch.
    fn send_off(&mut self, batch: &mut Batch) -> (Option<Writes>, Sent) {
        let now = self.knowledge.clock.now();
        let books: Vec<&Book> = batch
            .iter()
            .filter_map(|(_, it)| it.written_book())
            .collect();
        let purchases: Vec<PurchaseRecord> = batch
            .iter()
            .flat_map(|(_, it)| it.purchases.iter().cloned())
            .collect();
        // A catalogue that changed in between is used in two versions: then neither must count.
        let used: HashSet<_> = batch.iter().filter_map(|(_, it)| it.used).collect();
        let used = used.into_iter().collect();
        let writes = (!books.is_empty()).then(|| Writes::of(&books, &purchases, &used, now));
        let grown = books.iter().filter(|book| {
            let (before, after) = (book.read_seq(), book.pool().seq);
            self.store.completes_a_block(before, after)
        });
        let sent = Sent {
            batch: Batch::new(),
            jobs: batch.iter().map(|(jobs, _)| jobs.envelopes.len()).sum(),
            pools: books.iter().map(|book| book.pool().id).collect(),
            grown: grown.map(|book| book.pool().id).collect(),
            due_events: due_events(&books),
            at: Instant::now(),
        };
        for (_, decided) in batch {
            match decided.book.take() {
                Some(book) if book.changed() == Changed::Balances => {
                    self.knowledge.memory.keep(book);
                }
                // Pools that only renew would drive out those that are debited all the time.
                Some(book) => self.knowledge.memory.forget(book.pool().id),
                None => {}
            }
        }
        (writes, sent)
    }
}

async fn carry_out(mut writer: Writer, writes: Writes, sent: Sent) -> Outcome {
    let writing = timeout(STEP_TIMEOUT, writer.write(writes));
    let saved = writing
        .await
        .unwrap_or_else(|_| Err(StoreError::timed_out()));
    Outcome {
        // After an error its state is unknown.
        writer: saved.is_ok().then_some(writer),
        sent,
        saved,
    }
}

impl Sent {
    /// It came through: counts it, and tells of pools that have grown. Nothing waits for that, and
    /// nobody may be listening.
    fn report(&self, grown: &broadcast::Sender<PoolId>) {
        if self.pools.is_empty() {
            return;
        }
        let seconds = self.at.elapsed().as_secs_f64();
        metrics::histogram!("credit_ledger_commit_seconds").record(seconds);
        metrics::counter!("credit_ledger_due_events_total").increment(self.due_events as u64);
        for pool in &self.grown {
            let _ = grown.send(*pool);
        }
    }
}

/// What comes of a write.
impl Lane {
    /// A write has come back.
    async fn land(&mut self, outcome: Outcome) {
        self.jobs_under_way -= outcome.sent.jobs;
        for pool in &outcome.sent.pools {
            self.being_written.remove(pool);
        }
        self.crowd -= self.crowd.div_ceil(8);
        self.settle(outcome).await;
    }

    /// Sorts out what came of a write. Pools that were not written are done again, under their row
    /// locks.
    async fn settle(&mut self, outcome: Outcome) {
        self.idle.extend(outcome.writer);
        let (done, lost) = self.split(outcome.sent, outcome.saved);
        self.settled.extend(done);
        if !lost.is_empty() {
            tell(std::mem::take(&mut self.settled));
            self.retry(lost).await;
        }
    }

    /// Those of a batch whose callers can be told, and those that must be done again.
    fn split(
        &mut self,
        mut sent: Sent,
        saved: Result<Saved, StoreError>,
    ) -> (Batch, Vec<PoolJobs>) {
        let batch = std::mem::take(&mut sent.batch);
        let saved = match saved {
            Ok(saved) => saved,
            Err(error) => {
                let jobs = batch.into_iter().map(|(jobs, _)| jobs).collect();
                return (Batch::new(), self.give_up(jobs, error));
            }
        };
        sent.report(&self.grown);
        self.knowledge.memory.confirm();
        let is_done =
            |jobs: &PoolJobs| saved.pools.contains(&jobs.id) || !sent.pools.contains(&jobs.id);
        let (done, lost): (Batch, Batch) = batch.into_iter().partition(|(jobs, _)| is_done(jobs));
        if !lost.is_empty() {
            self.learn_from(&lost, saved.met_earlier_key);
        }
        (done, lost.into_iter().map(|(jobs, _)| jobs).collect())
    }

    /// Somebody else wrote these pools, or a key of theirs had been used before.
    fn learn_from(&mut self, lost: &Batch, met_earlier_key: bool) {
        for (jobs, _) in lost {
            self.knowledge.memory.forget(jobs.id);
            self.desk.doubt(jobs.id);
        }
        let count = lost.len() as u64;
        if met_earlier_key {
            // Retries are no other writer.
            self.knowledge.be_wary();
            metrics::counter!("credit_ledger_lane_replays_total").increment(count);
            return;
        }
        metrics::counter!("credit_ledger_lane_conflicts_total").increment(count);
        if !self.knowledge.is_wary() && lost.iter().any(|(_, decided)| decided.is_guess) {
            self.knowledge.memory.mistrust();
            self.desk.doubt_all();
        }
    }

    /// Does pools again that lost a race to another writer.
    async fn retry(&mut self, mut pools: Vec<PoolJobs>) {
        for _ in 1..ATTEMPTS {
            if pools.is_empty() {
                return;
            }
            pools = self.attempt(pools).await;
        }
        tracing::warn!(
            lane = self.number,
            "other writers were in the way for too long"
        );
        fail(pools, &LaneError::Unavailable);
    }

    /// One go at pools under their row locks. Gives those that have to be tried again.
    async fn attempt(&mut self, pools: Vec<PoolJobs>) -> Vec<PoolJobs> {
        let decided = match self.read_and_decide(&pools, true).await {
            Ok(decided) => decided,
            Err(error) => return self.give_up(pools, error),
        };
        let mut batch: Batch = pools.into_iter().zip(decided).collect();
        let (writes, sent) = self.send_off(&mut batch);
        let sent = Sent { batch, ..sent };
        let saved = match self.idle.last_mut() {
            Some(writer) => {
                let writing = timeout(STEP_TIMEOUT, writer.write(writes.unwrap_or_default()));
                writing
                    .await
                    .unwrap_or_else(|_| Err(StoreError::timed_out()))
            }
            None => Err(StoreError::timed_out()),
        };
        let (done, lost) = self.split(sent, saved);
        tell(done);
        lost
    }

    /// Nothing or something unknown was written: who is in the way is waited out, anything else
    /// is answered. The connection is not used again: locks and transaction end with it.
    fn give_up(&mut self, pools: Vec<PoolJobs>, error: StoreError) -> Vec<PoolJobs> {
        self.distrust_all();
        let answer = match &error {
            StoreError::Contended(_) => return pools,
            StoreError::Unavailable(_) => LaneError::Unavailable,
            StoreError::Conflict { .. }
            | StoreError::Corrupt { .. }
            | StoreError::Migration(_)
            | StoreError::Failed(_) => LaneError::Failed,
        };
        metrics::counter!("credit_ledger_lane_failures_total").increment(1);
        tracing::error!(
            lane = self.number,
            error = &error as &dyn std::error::Error,
            "a batch failed"
        );
        fail(pools, &answer);
        Vec::new()
    }

    /// What is written and what is not is unknown: everything is read anew, by a new connection.
    fn distrust_all(&mut self) {
        self.idle.clear();
        self.knowledge.memory = Memory::default();
        self.desk.doubt_all();
    }
}

/// Tells callers what came of their jobs. Nobody may be waiting any more: the write stands.
fn tell(batch: Batch) {
    for (jobs, decided) in batch {
        for (envelope, answer) in jobs.envelopes.into_iter().zip(decided.answers) {
            let _ = envelope.answer.send(answer);
        }
    }
}

fn fail(pools: Vec<PoolJobs>, error: &LaneError) {
    for envelope in pools.into_iter().flat_map(|jobs| jobs.envelopes) {
        let _ = envelope.answer.send(Err(error.clone()));
    }
}
