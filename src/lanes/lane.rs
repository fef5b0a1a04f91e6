//! One lane: take jobs up, read what they need, decide, write, answer.
//!
//! While a batch is being written the next one is put together on the [`Desk`], and it is sent
//! before the callers of the written one are told: the database never waits for us to think.

use std::collections::{HashMap, HashSet};
use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use tokio::sync::{broadcast, mpsc};
use tokio::time::timeout;

use super::batch::{Decided, PoolJobs, due_events};
use super::desk::{Desk, TakenUp};
use super::knowledge::{Knowledge, Read};
use super::memory::Memory;
use super::needs::{horizon, needs};
use super::{Envelope, LaneError};
use crate::clock::Clock;
use crate::ledger::{Book, Changed, PoolId, Time};
use crate::store::{Loaded, PurchaseRecord, Store, StoreError, Writer, Writes};

/// How long one step in the database may take before its connection is given up.
const STEP_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a pool is tried again when other writers are in the way.
const ATTEMPTS: u32 = 20;

/// Jobs of pools, decided.
type Batch = Vec<(PoolJobs, Decided)>;
/// What a write gave: the pools that were written.
type Written = Result<HashSet<PoolId>, StoreError>;

/// A writer with its queue.
pub(super) struct Lane {
    number: usize,
    store: Store,
    batch_limit: usize,
    queue: mpsc::Receiver<Envelope>,
    grown: broadcast::Sender<PoolId>,
    writer: Option<Writer>,
    knowledge: Knowledge,
    desk: Desk,
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
            writer: None,
            knowledge: Knowledge::new(clock),
            desk: Desk::default(),
        }
    }

    /// Works until the queue is closed and empty.
    pub async fn run(mut self) {
        let mut arrived = Vec::with_capacity(self.batch_limit);
        while self.queue.recv_many(&mut arrived, self.batch_limit).await > 0 {
            for envelope in arrived.drain(..) {
                self.desk.take_up(envelope, &mut self.knowledge);
            }
            // A panic is our mistake. It must not end the lane: who waits is told that the outcome
            // is unknown, and a fresh connection is taken.
            let work = AssertUnwindSafe(self.work());
            if work.catch_unwind().await.is_err() {
                tracing::error!(lane = self.number, "a batch panicked");
                self.distrust_all();
            }
        }
    }

    /// Works until nothing is left on the desk.
    async fn work(&mut self) {
        let queue_length = metrics::gauge!(
            "credit_ledger_lane_queue_length", "lane" => self.number.to_string());
        let mut settled = Batch::new();
        while self.desk.jobs() > 0 {
            queue_length.set(self.queue.len() as f64);
            metrics::histogram!("credit_ledger_batch_commands").record(self.desk.jobs() as f64);
            let TakenUp { decided, waiting } = self.desk.clear();
            let mut batch = decided;
            if !waiting.is_empty() {
                // What they need is read first, and nobody else has to wait for that.
                tell(std::mem::take(&mut settled));
                match self.read_and_decide(&waiting, false).await {
                    Ok(decided) => batch.extend(waiting.into_iter().zip(decided)),
                    Err(error) => {
                        let again = self.give_up(waiting, error);
                        self.retry(again).await;
                    }
                }
            }
            settled = self.write(batch, settled).await;
        }
        tell(settled);
    }

    /// Reads what jobs need and decides them.
    async fn read_and_decide(
        &mut self,
        pools: &[PoolJobs],
        locked: bool,
    ) -> Result<Vec<Decided>, StoreError> {
        let loaded = self.load(pools, locked).await?;
        let finding = self.knowledge.find_catalogues(&self.store, pools, &loaded);
        finding.await?;
        let mut read = Read {
            clocks: self.new_clocks(pools, &loaded).await?,
            now: self.knowledge.clock.now(),
            loaded,
        };
        let decided = pools.iter().map(|jobs| self.knowledge.decide(jobs, &read));
        let mut decided = decided.collect();
        self.recognise(pools, &mut decided, &mut read).await?;
        Ok(decided)
    }

    /// What booked nothing may be the retry of a job that did. Unless every key was read before,
    /// those are looked up now, and a pool that has one of them is decided again (exactly-once).
    async fn recognise(
        &mut self,
        pools: &[PoolJobs],
        decided: &mut Vec<Decided>,
        read: &mut Read,
    ) -> Result<(), StoreError> {
        if read.loaded.knows_keys {
            return Ok(());
        }
        let unbooked = pools.iter().zip(decided.iter());
        let keys: Vec<_> = unbooked
            .flat_map(|(jobs, decided)| jobs.unbooked_keys(decided))
            .collect();
        if keys.is_empty() {
            return Ok(());
        }
        let writer = self.writer.as_mut().ok_or_else(StoreError::timed_out)?;
        let finding = timeout(STEP_TIMEOUT, writer.find_earlier(&keys));
        read.loaded.earlier = finding.await.map_err(|_| StoreError::timed_out())??;
        let replayed: HashSet<PoolId> = read.loaded.earlier.keys().map(|(pool, _)| *pool).collect();
        for (jobs, decided) in pools.iter().zip(decided) {
            if replayed.contains(&jobs.id) {
                *decided = self.knowledge.decide(jobs, read);
            }
        }
        Ok(())
    }

    /// Reads what the jobs need. A connection that was cut while it was idle is replaced, once:
    /// nothing was written yet.
    async fn load(&mut self, pools: &[PoolJobs], locked: bool) -> Result<Loaded, StoreError> {
        let batch = needs(pools, horizon(self.knowledge.clock.now()));
        let was_connected = self.writer.is_some();
        for fresh in [false, true] {
            if self.writer.is_none() {
                self.writer = Some(self.store.writer().await?);
            }
            let Some(writer) = &mut self.writer else {
                continue;
            };
            let step = async {
                if locked {
                    writer.lock(&batch).await
                } else {
                    writer.load(&batch).await
                }
            };
            match timeout(STEP_TIMEOUT, step).await {
                Ok(Err(StoreError::Unavailable(_))) if was_connected && !fresh => {
                    self.writer = None;
                }
                Ok(result) => return result,
                Err(_) => return Err(StoreError::timed_out()),
            }
        }
        Err(StoreError::timed_out())
    }

    /// The time on the test clocks of pools that are being made.
    async fn new_clocks(
        &self,
        pools: &[PoolJobs],
        loaded: &Loaded,
    ) -> Result<HashMap<PoolId, Time>, StoreError> {
        let mut clocks = HashMap::new();
        for jobs in pools {
            if loaded.pools.contains_key(&jobs.id) {
                continue;
            }
            let Some((tenant, clock)) = jobs.new_clock() else {
                continue;
            };
            if let Some(now) = self.store.clock_now(tenant, clock).await? {
                clocks.insert(jobs.id, now);
            }
        }
        Ok(clocks)
    }
}

/// What is sent to be written of a batch.
struct Outgoing {
    writes: Option<Writes>,
    /// The pools among it.
    pools: HashSet<PoolId>,
    /// Those that have one more block of usage after it.
    grown: Vec<PoolId>,
    due_events: usize,
    sent_at: Instant,
}

impl Outgoing {
    /// It came through: counts it, and tells of pools that have grown. Nothing waits for that, and
    /// nobody may be listening.
    fn report(&self, grown: &broadcast::Sender<PoolId>) {
        if self.pools.is_empty() {
            return;
        }
        let seconds = self.sent_at.elapsed().as_secs_f64();
        metrics::histogram!("credit_ledger_commit_seconds").record(seconds);
        metrics::counter!("credit_ledger_due_events_total").increment(self.due_events as u64);
        for pool in &self.grown {
            let _ = grown.send(*pool);
        }
    }
}

/// Writing, and what comes of it.
impl Lane {
    /// Writes a batch. Once it is on its way the callers of the one before are told, and jobs that
    /// arrive are taken up. Gives those of its own whose callers can be told.
    async fn write(&mut self, mut batch: Batch, settled: Batch) -> Batch {
        let mut sent = self.send_off(&mut batch);
        let written = match sent.writes.take() {
            Some(writes) => self.write_and_take_up(writes, settled).await,
            None => {
                tell(settled);
                Ok(HashSet::new())
            }
        };
        self.settle(batch, &sent, written).await
    }

    async fn write_and_take_up(&mut self, writes: Writes, settled: Batch) -> Written {
        let Some(writer) = &mut self.writer else {
            tell(settled);
            return Err(StoreError::timed_out());
        };
        let mut writing = pin!(timeout(STEP_TIMEOUT, writer.write(writes)));
        // Polled once, it is on its way.
        let mut written = poll_fn(|context| Poll::Ready(writing.as_mut().poll(context))).await;
        tell(settled);
        let mut arrived = Vec::new();
        let mut is_open = true;
        loop {
            if let Poll::Ready(written) = written {
                let pools = written.map_err(|_| StoreError::timed_out())??;
                return Ok(pools.into_iter().collect());
            }
            let room = self.batch_limit.saturating_sub(self.desk.jobs());
            tokio::select! {
                biased;
                done = &mut writing => written = Poll::Ready(done),
                taken = self.queue.recv_many(&mut arrived, room), if room > 0 && is_open => {
                    is_open = taken > 0;
                    for envelope in arrived.drain(..) {
                        self.desk.take_up(envelope, &mut self.knowledge);
                    }
                }
            }
        }
    }

    /// Writes under row locks, and lets go of them.
    async fn write_locked(&mut self, writes: Option<Writes>) -> Written {
        let writer = self.writer.as_mut().ok_or_else(StoreError::timed_out)?;
        let writing = timeout(STEP_TIMEOUT, writer.write(writes.unwrap_or_default()));
        let pools = writing.await.map_err(|_| StoreError::timed_out())??;
        Ok(pools.into_iter().collect())
    }
}

impl Lane {
    /// Makes a batch ready to be sent, and remembers its pools as they will be.
    fn send_off(&mut self, batch: &mut Batch) -> Outgoing {
        let now = self.knowledge.clock.now();
        let books: Vec<&Book> = batch.iter().filter_map(|(_, it)| it.book()).collect();
        let purchases: Vec<PurchaseRecord> = batch
            .iter()
            .flat_map(|(_, it)| it.purchases.iter().cloned())
            .collect();
        // A catalogue that changed in between is used in two versions: then neither must count.
        let used: HashSet<_> = batch.iter().filter_map(|(_, it)| it.used).collect();
        let grown = books.iter().filter(|book| {
            let (before, after) = (book.read_seq(), book.pool().seq);
            self.store.completes_a_block(before, after)
        });
        let outgoing = Outgoing {
            writes: (!books.is_empty())
                .then(|| Writes::of(&books, &purchases, &used.into_iter().collect(), now)),
            pools: books.iter().map(|book| book.pool().id).collect(),
            grown: grown.map(|book| book.pool().id).collect(),
            due_events: due_events(&books),
            sent_at: Instant::now(),
        };
        for (_, decided) in batch {
            match decided.take_book() {
                Some(book) if book.changed() == Changed::Balances => {
                    self.knowledge.memory.keep(book);
                }
                // Pools that only renew would drive out those that are debited all the time.
                Some(book) => self.knowledge.memory.forget(book.pool().id),
                None => {}
            }
        }
        outgoing
    }

    /// Sorts out what came of a write. Pools that were not written are done again, under their row
    /// locks; gives the others.
    async fn settle(&mut self, batch: Batch, sent: &Outgoing, written: Written) -> Batch {
        let (done, lost) = self.split(batch, sent, written);
        if lost.is_empty() {
            return done;
        }
        tell(done);
        self.retry(lost).await;
        Batch::new()
    }

    /// Those of a batch whose callers can be told, and those that must be done again.
    fn split(&mut self, batch: Batch, sent: &Outgoing, written: Written) -> (Batch, Vec<PoolJobs>) {
        let written = match written {
            Ok(written) => written,
            Err(error) => {
                let jobs = batch.into_iter().map(|(jobs, _)| jobs).collect();
                return (Batch::new(), self.give_up(jobs, error));
            }
        };
        sent.report(&self.grown);
        self.knowledge.memory.confirm();
        let is_done =
            |jobs: &PoolJobs| written.contains(&jobs.id) || !sent.pools.contains(&jobs.id);
        let (done, lost): (Batch, Batch) = batch.into_iter().partition(|(jobs, _)| is_done(jobs));
        if !lost.is_empty() {
            self.learn_from(&lost);
        }
        (done, lost.into_iter().map(|(jobs, _)| jobs).collect())
    }

    /// Somebody else wrote these pools, or a key of theirs had been used before.
    fn learn_from(&mut self, lost: &Batch) {
        for (jobs, _) in lost {
            self.knowledge.memory.forget(jobs.id);
            self.desk.doubt(jobs.id);
        }
        let count = lost.len() as u64;
        if self.writer.as_ref().is_some_and(Writer::is_wary) {
            // Retries are no other writer; but keys are read first for a while.
            self.knowledge.memory.pause();
            metrics::counter!("credit_ledger_lane_replays_total").increment(count);
            return;
        }
        metrics::counter!("credit_ledger_lane_conflicts_total").increment(count);
        if lost.iter().any(|(_, decided)| decided.is_guess) {
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
        let mut sent = self.send_off(&mut batch);
        let written = self.write_locked(sent.writes.take()).await;
        let (done, lost) = self.split(batch, &sent, written);
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
        self.writer = None;
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
