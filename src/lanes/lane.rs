//! One lane: take what is queued, read, decide, write, answer.

use std::collections::{HashMap, HashSet};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use tokio::sync::{broadcast, mpsc};
use tokio::time::timeout;

use super::batch::{Decided, Ground, PoolJobs, by_pool, due_events};
use super::memory::Memory;
use super::needs::{horizon, needs};
use super::{Envelope, LaneError};
use crate::clock::Clock;
use crate::ledger::{Along, Book, Catalogue, PoolId, TenantId, Time};
use crate::store::{Loaded, PurchaseRecord, Store, StoreError, StoredPool, Writer};

/// How long one step in the database may take before its connection is given up.
const STEP_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a pool is tried again when other writers are in the way.
const ATTEMPTS: u32 = 20;

/// What a batch is decided on.
struct Read {
    loaded: Loaded,
    /// Which of the pools were not read but remembered.
    recalled: HashSet<PoolId>,
    /// The time on the test clocks of pools that are being made.
    clocks: HashMap<PoolId, Time>,
    now: Time,
}

/// A writer with its queue.
pub(super) struct Lane {
    number: usize,
    store: Store,
    clock: Clock,
    batch_limit: usize,
    writer: Option<Writer>,
    memory: Memory,
    /// What the tenants of a batch sell, and the version of that.
    catalogues: HashMap<TenantId, (i64, Arc<Catalogue>)>,
    grown: broadcast::Sender<PoolId>,
}

impl Lane {
    pub fn new(
        number: usize,
        store: Store,
        clock: Clock,
        batch_limit: usize,
        grown: broadcast::Sender<PoolId>,
    ) -> Self {
        Self {
            number,
            store,
            clock,
            batch_limit,
            writer: None,
            memory: Memory::default(),
            catalogues: HashMap::new(),
            grown,
        }
    }

    /// Works until the queue is closed and empty.
    pub async fn run(mut self, mut queue: mpsc::Receiver<Envelope>) {
        let waiting = metrics::gauge!(
            "credit_ledger_lane_queue_length", "lane" => self.number.to_string());
        let mut taken = Vec::with_capacity(self.batch_limit);
        while queue.recv_many(&mut taken, self.batch_limit).await > 0 {
            waiting.set(f64::from(u32::try_from(queue.len()).unwrap_or(u32::MAX)));
            // Who has stopped waiting was told that the outcome is unknown: it never begins.
            taken.retain(|envelope| !envelope.answer.is_closed());
            if taken.is_empty() {
                continue;
            }
            // A panic is our mistake. It must not end the lane: who waits is told that the outcome
            // is unknown, and a fresh connection is taken.
            let work = AssertUnwindSafe(self.work(std::mem::take(&mut taken)));
            if work.catch_unwind().await.is_err() {
                tracing::error!(lane = self.number, "a batch panicked");
                self.writer = None;
            }
        }
    }

    /// Does a batch; pools that lost a race to another writer are done again.
    async fn work(&mut self, envelopes: Vec<Envelope>) {
        metrics::histogram!("credit_ledger_batch_commands").record(envelopes.len() as f64);
        let mut pools = by_pool(envelopes);
        for attempt in 0..ATTEMPTS {
            match self.attempt(pools, attempt > 0).await {
                None => return,
                Some(again) => pools = again,
            }
        }
        tracing::warn!(
            lane = self.number,
            "other writers were in the way for too long"
        );
        fail(pools, &LaneError::Unavailable);
    }

    /// One go at a batch. Gives the pools that have to be tried again, after their row locks.
    async fn attempt(&mut self, pools: Vec<PoolJobs>, locked: bool) -> Option<Vec<PoolJobs>> {
        let mut read = match self.read(&pools, locked).await {
            Ok(read) => read,
            Err(error) => return self.give_up(pools, error),
        };
        let decided = pools.into_iter().map(|jobs| {
            let decided = self.decide(&jobs, &read);
            (jobs, decided)
        });
        // A guess that books nothing is not checked by a write, so it is no answer.
        let (decided, guessed): (Vec<_>, Vec<_>) = decided
            .partition(|(jobs, decided)| decided.is_booked() || !read.recalled.contains(&jobs.id));
        let (pools, mut decided): (Vec<PoolJobs>, Vec<Decided>) = decided.into_iter().unzip();
        let mut again: Vec<PoolJobs> = guessed.into_iter().map(|(jobs, _)| jobs).collect();
        metrics::counter!("credit_ledger_lane_guesses_total").increment(again.len() as u64);
        let written = match self.recognise(&pools, &mut decided, &mut read).await {
            Ok(()) => self.write(&decided, locked, read.now).await,
            Err(error) => Err(error),
        };
        match written {
            Ok(written) => again.extend(self.answer(pools, decided, &written, &read)),
            Err(error) => {
                again.extend(pools);
                return self.give_up(again, error);
            }
        }
        (!again.is_empty()).then_some(again)
    }

    /// Everything the decisions need.
    async fn read(&mut self, pools: &[PoolJobs], locked: bool) -> Result<Read, StoreError> {
        let known = match locked {
            true => HashMap::new(),
            false => self.recall(pools),
        };
        let recalled = known.keys().copied().collect();
        let loaded = self.load(pools, known, locked).await?;
        self.find_catalogues(pools, &loaded).await?;
        let now = self.clock.now();
        let clocks = self.new_clocks(pools, &loaded).await?;
        Ok(Read {
            loaded,
            recalled,
            clocks,
            now,
        })
    }

    /// What is remembered of pools that are only to be debited.
    fn recall(&mut self, pools: &[PoolJobs]) -> HashMap<PoolId, StoredPool> {
        if !self.memory.is_trusted() || self.writer.is_none() {
            return HashMap::new();
        }
        let horizon = horizon(self.clock.now());
        let ids = pools
            .iter()
            .filter(|jobs| jobs.only_spend())
            .map(|jobs| jobs.id);
        let known = ids.filter_map(|id| self.memory.take(id));
        known
            .filter(|stored| !stored.needs_more(horizon))
            .map(|stored| (stored.pool.id, stored))
            .collect()
    }

    /// What booked nothing may be the retry of a job that did. Unless every key was read before,
    /// those are looked up now, and a pool that has one of them is decided again (exactly-once).
    async fn recognise(
        &mut self,
        pools: &[PoolJobs],
        decided: &mut [Decided],
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
                *decided = self.decide(jobs, read);
            }
        }
        Ok(())
    }

    /// Nothing or something unknown was written: who is in the way is waited out, anything else
    /// is answered. The connection is not used again: locks and transaction end with it.
    fn give_up(&mut self, pools: Vec<PoolJobs>, error: StoreError) -> Option<Vec<PoolJobs>> {
        self.writer = None;
        self.memory = Memory::default();
        let answer = match &error {
            StoreError::Contended(_) => return Some(pools),
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
        None
    }

    /// Reads what the jobs need beside the pools that are known. A connection that was cut while it
    /// was idle is replaced, once: nothing was written yet.
    async fn load(
        &mut self,
        pools: &[PoolJobs],
        known: HashMap<PoolId, StoredPool>,
        locked: bool,
    ) -> Result<Loaded, StoreError> {
        let batch = needs(pools, &known, horizon(self.clock.now()));
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
                Ok(result) => {
                    return result.map(|mut loaded| {
                        loaded.pools.extend(known);
                        loaded
                    });
                }
                Err(_) => return Err(StoreError::timed_out()),
            }
        }
        Err(StoreError::timed_out())
    }

    /// The catalogues of the jobs' tenants, as of the moment their pools were read.
    async fn find_catalogues(
        &mut self,
        pools: &[PoolJobs],
        loaded: &Loaded,
    ) -> Result<(), StoreError> {
        self.catalogues.clear();
        for jobs in pools {
            let Some(tenant) = jobs.tenant() else {
                continue;
            };
            if self.catalogues.contains_key(&tenant) {
                continue;
            }
            let version = loaded
                .pools
                .get(&jobs.id)
                .map(|stored| stored.catalogue_version);
            if let Some(found) = self.store.catalogue(tenant, version).await? {
                self.catalogues.insert(tenant, found);
            }
        }
        Ok(())
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

    fn decide(&self, jobs: &PoolJobs, read: &Read) -> Decided {
        let Read {
            loaded,
            clocks,
            now,
            recalled: _,
        } = read;
        let stored = loaded.pools.get(&jobs.id);
        let clock = stored.map_or_else(|| clocks.get(&jobs.id).copied(), |it| it.clock_now);
        // Never earlier than the last entry, whatever this machine's clock says (ordered).
        let last_at = stored.map(|stored| stored.pool.last_at);
        let now = last_at.into_iter().fold(clock.unwrap_or(*now), Time::max);
        match jobs
            .tenant()
            .and_then(|tenant| self.catalogues.get(&tenant))
        {
            Some((_, catalogue)) => jobs.decide(&Ground {
                loaded,
                catalogue,
                now,
            }),
            None => jobs.without_tenant(),
        }
    }

    /// Writes what was decided; gives the pools that were written.
    async fn write(
        &mut self,
        decided: &[Decided],
        locked: bool,
        now: Time,
    ) -> Result<Vec<PoolId>, StoreError> {
        let books: Vec<&Book> = decided.iter().filter_map(|it| it.book.as_ref()).collect();
        if books.is_empty() && !locked {
            return Ok(Vec::new());
        }
        let purchases: Vec<PurchaseRecord> = decided
            .iter()
            .flat_map(|it| it.purchases.iter().cloned())
            .collect();
        let used = self.catalogues.iter();
        let used = used
            .map(|(tenant, (version, _))| (*tenant, *version))
            .collect();
        let writer = self.writer.as_mut().ok_or_else(StoreError::timed_out)?;
        let started = Instant::now();
        let step = writer.write(&books, &purchases, &used, now);
        let written = timeout(STEP_TIMEOUT, step)
            .await
            .map_err(|_| StoreError::timed_out())??;
        metrics::histogram!("credit_ledger_commit_seconds").record(started.elapsed().as_secs_f64());
        metrics::counter!("credit_ledger_due_events_total").increment(due_events(&books) as u64);
        self.tell_of_growth(&books);
        Ok(written)
    }
}

impl Lane {
    /// Tells of pools that have one more block of usage. Nothing waits for it, and one that was not
    /// written after all is told in vain.
    fn tell_of_growth(&self, books: &[&Book]) {
        for book in books {
            let pool = book.pool();
            if self.store.completes_a_block(book.read_seq(), pool.seq) {
                // Nobody may be listening.
                let _ = self.grown.send(pool.id);
            }
        }
    }
}

impl Lane {
    /// Answers the jobs of every pool that needed no write or was written, and remembers those that
    /// were written; gives the others back.
    fn answer(
        &mut self,
        pools: Vec<PoolJobs>,
        decided: Vec<Decided>,
        written: &[PoolId],
        read: &Read,
    ) -> Vec<PoolJobs> {
        let written: HashSet<PoolId> = written.iter().copied().collect();
        let mut again = Vec::new();
        let mut was_wrong = false;
        for (jobs, decided) in pools.into_iter().zip(decided) {
            if let Some(book) = decided.book {
                if !written.contains(&jobs.id) {
                    was_wrong |= read.recalled.contains(&jobs.id);
                    self.memory.forget(jobs.id);
                    again.push(jobs);
                    continue;
                }
                self.remember(book, read);
            }
            for (envelope, answer) in jobs.envelopes.into_iter().zip(decided.answers) {
                // Nobody may be waiting any more: the write stands all the same.
                let _ = envelope.answer.send(answer);
            }
        }
        // Retries are no other writer.
        let is_replay = self.writer.as_ref().is_some_and(Writer::is_wary);
        if was_wrong && !is_replay {
            self.memory.mistrust();
        }
        match is_replay {
            true => metrics::counter!("credit_ledger_lane_replays_total"),
            false => metrics::counter!("credit_ledger_lane_conflicts_total"),
        }
        .increment(again.len() as u64);
        again
    }

    /// Keeps a pool that was read before and is written now.
    fn remember(&mut self, book: Book, read: &Read) {
        let pool = book.into_pool();
        let version = self
            .catalogues
            .get(&pool.tenant)
            .map(|(version, _)| *version);
        let Some((before, catalogue_version)) = read.loaded.pools.get(&pool.id).zip(version) else {
            return;
        };
        self.memory.keep(StoredPool {
            pool,
            along: Along::default(),
            recorded_at: before.recorded_at,
            catalogue_version,
            clock_now: None,
        });
    }
}

fn fail(pools: Vec<PoolJobs>, error: &LaneError) {
    for envelope in pools.into_iter().flat_map(|jobs| jobs.envelopes) {
        let _ = envelope.answer.send(Err(error.clone()));
    }
}
