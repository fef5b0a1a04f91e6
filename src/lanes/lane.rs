//! One lane: take jobs up, decide them, write, answer.
//!
//! The lane itself never waits for the database. It sends batches off, each with a connection, and
//! goes on: jobs are taken up on the [`Desk`], and what comes back is decided, written or answered.
//! No pool is in two batches at once.

use std::collections::HashSet;
use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::{broadcast, mpsc};
use tokio::time::{Sleep, sleep};

use super::batch::{Decided, PoolJobs, due_events};
use super::desk::Desk;
use super::errands::{Batch, Courier, Errand, Landed, Sent};
use super::knowledge::{Knowledge, Read};
use super::memory::Memory;
use super::traffic::{ByWay, Load, Traffic, Way};
use super::{Envelope, LaneError};
use crate::clock::Clock;
use crate::ledger::{Book, Changed, PoolId};
use crate::store::{Earlier, PurchaseRecord, Saved, Store, StoreError, Writer, Writes};

/// How often a pool is tried again when other writers are in the way.
const ATTEMPTS: u32 = 20;
/// How long no more connections are tried after one could not be made.
const SHORT: Duration = Duration::from_secs(1);

/// A writer with its queue.
pub(super) struct Lane {
    number: usize,
    store: Store,
    batch_limit: usize,
    queue: mpsc::Receiver<Envelope>,
    grown: broadcast::Sender<PoolId>,
    /// Connections that have nothing to do, and which way they last went: the database is quicker
    /// with what the same connection has done before.
    idle: Vec<(Way, Writer)>,
    knowledge: Knowledge,
    desk: Desk,
    under_way: FuturesUnordered<BoxFuture<'static, Landed>>,
    traffic: ByWay<Traffic>,
    /// The pools of all batches under way.
    busy: HashSet<PoolId>,
    /// Done, and its callers are not told yet.
    settled: Batch,
    /// When another connection was wanted and could not be made.
    short_of_connections_at: Option<Instant>,
    /// Wakes us when jobs need not wait any longer for a batch that takes long.
    alarm: Pin<Box<Sleep>>,
    /// Whether no more jobs will come.
    is_closed: bool,
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
            under_way: FuturesUnordered::new(),
            traffic: ByWay::default(),
            busy: HashSet::new(),
            settled: Batch::new(),
            short_of_connections_at: None,
            alarm: Box::pin(sleep(Duration::ZERO)),
            is_closed: false,
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
                    self.under_way.clear();
                    self.traffic = ByWay::default();
                    self.busy.clear();
                    self.distrust_all();
                }
            }
        }
    }

    /// Sends what can be sent, then waits for an errand to be done or jobs to arrive; false when
    /// there is nothing left to wait for.
    async fn step(&mut self, arrived: &mut Vec<Envelope>) -> bool {
        let mut now = Instant::now();
        while self.send(now) {
            self.begin().await;
            now = Instant::now();
        }
        tell(std::mem::take(&mut self.settled));
        let room = self.batch_limit.saturating_sub(self.desk.jobs());
        let is_waited_for = self.set_alarm(now);
        tokio::select! {
            biased;
            Some(landed) = self.under_way.next() => self.land(landed),
            taken = self.queue.recv_many(arrived, room), if room > 0 && !self.is_closed => {
                self.is_closed = taken == 0;
                for envelope in arrived.drain(..) {
                    self.desk.take_up(envelope, &mut self.knowledge);
                }
            }
            () = self.alarm.as_mut(), if is_waited_for => {}
            else => return self.desk.jobs() > 0,
        }
        true
    }

    /// Sets the alarm to when jobs that could not be sent now need not wait any longer; whether
    /// there is such a moment.
    fn set_alarm(&mut self, now: Instant) -> bool {
        if self.desk.jobs() == 0 {
            return false;
        }
        let admits_at = |way| self.traffic.of(way).admits_at(way);
        let later = Way::ALL.into_iter().filter_map(admits_at);
        // At any moment before, all was sent that could be.
        let Some(next) = later.filter(|at| *at > now).min() else {
            return false;
        };
        if self.alarm.deadline() != next.into() {
            self.alarm.as_mut().reset(next.into());
        }
        true
    }

    /// Sends batches off, if it is their time; whether there was one.
    fn send(&mut self, now: Instant) -> bool {
        let jobs = self.desk.jobs();
        let remembered = self.traffic.of(Way::Remembered);
        if !remembered.may_admit(Way::Remembered, jobs, now) && !self.desk.may_wait() {
            return false;
        }
        let mut free = self.desk.free(&self.busy, &self.knowledge);
        let mut any = false;
        for way in Way::ALL {
            let is_time = self.traffic.of(way).admits(way, *free.of(way), now);
            if is_time && !self.must_wait_for_a_connection() {
                self.send_off(way, now);
                any = true;
            }
        }
        any
    }

    /// Where no connection could be made lately, those that there are must do.
    fn must_wait_for_a_connection(&self) -> bool {
        let lately = |at: Instant| at.elapsed() < SHORT;
        let is_short = self.short_of_connections_at.is_some_and(lately);
        is_short && self.idle.is_empty() && !self.under_way.is_empty()
    }

    fn send_off(&mut self, way: Way, now: Instant) {
        let taken = self.desk.take(way, &self.busy, &self.knowledge);
        let (pools, decided): (Vec<PoolJobs>, Vec<Option<Decided>>) = taken.into_iter().unzip();
        if pools.is_empty() {
            return;
        }
        let courier = Courier {
            store: self.store.clone(),
            writer: self.take_idle(way),
            way,
            pools: pools.iter().map(|jobs| jobs.id).collect(),
            load: Load {
                jobs: pools.iter().map(|jobs| jobs.envelopes.len()).sum(),
                at: now,
            },
            was_connected: false,
        };
        self.traffic.of(way).begin(courier.load);
        self.busy.extend(&courier.pools);
        if way == Way::Remembered {
            let batch = pools.into_iter().zip(decided.into_iter().flatten());
            self.write(courier, batch.collect());
        } else {
            self.read(courier, pools);
        }
    }

    fn take_idle(&mut self, way: Way) -> Option<Writer> {
        let same = self.idle.iter().rposition(|(last, _)| *last == way);
        let place = same.or_else(|| self.idle.len().checked_sub(1))?;
        Some(self.idle.remove(place).1)
    }

    /// Reads what jobs need. What was remembered of their pools will be out of date.
    fn read(&mut self, courier: Courier, pools: Vec<PoolJobs>) {
        for jobs in &pools {
            self.knowledge.memory.forget(jobs.id);
        }
        let with_keys = self.knowledge.is_wary();
        let reading = courier.read(pools, self.knowledge.clock.clone(), with_keys);
        self.under_way.push(reading);
    }

    /// Writes a batch, and remembers its pools as they will be. Whose turn it is always has
    /// something to do: to end it.
    fn write(&mut self, courier: Courier, mut batch: Batch) {
        let (writes, sent) = self.put_up(&mut batch, courier.way);
        if writes.is_none() && courier.way != Way::InTurn {
            self.settled.extend(batch);
            return self.finish(courier);
        }
        let sent = Sent { batch, ..sent };
        let writing = courier.write(writes.unwrap_or_default(), sent);
        self.under_way.push(writing);
    }

    /// What is written of a batch.
    fn put_up(&mut self, batch: &mut Batch, way: Way) -> (Option<Writes>, Sent) {
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
            pools: books.iter().map(|book| book.pool().id).collect(),
            grown: grown.map(|book| book.pool().id).collect(),
            due_events: due_events(&books),
            at: Instant::now(),
        };
        for (_, decided) in batch {
            match decided.book.take() {
                // Another writer will soon have changed what it shares with us.
                Some(book) if book.changed() == Changed::Balances && way != Way::InTurn => {
                    self.knowledge.memory.keep(book);
                }
                // Pools that only renew would drive out those that are debited all the time.
                Some(book) => self.knowledge.memory.forget(book.pool().id),
                None => {}
            }
        }
        (writes, sent)
    }

    /// Lets what was sent off begin before anything else is done.
    async fn begin(&mut self) {
        let begun = poll_fn(|context| Poll::Ready(self.under_way.poll_next_unpin(context)));
        if let Poll::Ready(Some(landed)) = begun.await {
            self.land(landed);
        }
    }
}

/// What comes back.
impl Lane {
    fn land(&mut self, Landed { courier, errand }: Landed) {
        match errand {
            Errand::Read { pools, read } => match read {
                Ok(read) => self.decide(courier, pools, read),
                Err(error) => self.give_up(courier, pools, error),
            },
            Errand::Recognised {
                batch,
                read,
                earlier,
            } => match earlier {
                Ok(earlier) => self.decide_again(courier, batch, read, earlier),
                Err(error) => self.give_up(courier, jobs_of(batch), error),
            },
            Errand::Written { sent, saved } => match saved {
                Ok(saved) => self.settle(courier, sent, saved),
                Err(error) => self.give_up(courier, jobs_of(sent.batch), error),
            },
        }
    }

    /// A batch has come to its end.
    fn finish(&mut self, courier: Courier) {
        for pool in &courier.pools {
            self.busy.remove(pool);
        }
        self.traffic.of(courier.way).end(courier.load);
        let writer = courier.writer.map(|writer| (courier.way, writer));
        self.idle.extend(writer);
    }

    /// Decides jobs on what was read for them. What books nothing may be the retry of a job that
    /// did: unless every key was read, those are looked up now.
    fn decide(&mut self, courier: Courier, pools: Vec<PoolJobs>, read: Read) {
        self.knowledge.learn(&read);
        let knows_keys = read.loaded.knows_keys;
        let mut batch = Batch::with_capacity(pools.len());
        for mut jobs in pools {
            jobs.drop_abandoned();
            let own = jobs.envelopes.len();
            // The write would notice if a pool were out of date, but not its test clock.
            let stored = read.loaded.pools.get(&jobs.id);
            if !knows_keys && stored.is_some_and(|it| it.clock_now.is_none()) {
                self.desk.join(&mut jobs);
            }
            let mut decided = self.knowledge.decide(&jobs, &read);
            if decided.written_book().is_none() && jobs.envelopes.len() > own {
                // There is no write to notice, and they came after the read: it is not for them.
                self.desk.put_back(jobs.split_off(own, &mut decided));
            }
            batch.push((jobs, decided));
        }
        let unbooked = batch.iter().filter(|_| !knows_keys);
        let keys: Vec<_> = unbooked
            .flat_map(|(jobs, decided)| jobs.unbooked_keys(decided))
            .collect();
        if keys.is_empty() {
            return self.pass_on(courier, batch);
        }
        let recognising = courier.recognise(batch, read, keys);
        self.under_way.push(recognising);
    }

    /// Writes what was decided on what was read. A few jobs go with the next batch of debits on
    /// remembered pools: a write of their own would cost as much as that one.
    fn pass_on(&mut self, courier: Courier, batch: Batch) {
        let is_alone = |(jobs, decided): &(PoolJobs, Decided)| {
            decided.written_book().is_some() && !self.desk.has(jobs.id)
        };
        let debits = self.traffic.of(Way::Remembered);
        let few = debits.takes_along(courier.load.jobs, Instant::now());
        let rides_along = courier.way == Way::Read && few;
        if !rides_along || !batch.iter().all(is_alone) {
            return self.write(courier, batch);
        }
        self.finish(courier);
        for (jobs, decided) in batch {
            self.desk.put(jobs, Some(decided));
        }
    }

    /// Pools that have one of the keys are decided again (exactly-once).
    fn decide_again(
        &mut self,
        courier: Courier,
        mut batch: Batch,
        mut read: Read,
        earlier: Earlier,
    ) {
        let replayed: HashSet<PoolId> = earlier.keys().map(|(pool, _)| *pool).collect();
        read.loaded.earlier = earlier;
        for (jobs, decided) in &mut batch {
            if replayed.contains(&jobs.id) {
                *decided = self.knowledge.decide(jobs, &read);
            }
        }
        self.pass_on(courier, batch);
    }

    /// Sorts out what came of a write: callers can be told, or a pool must be done again.
    fn settle(&mut self, courier: Courier, mut sent: Sent, saved: Saved) {
        self.finish(courier);
        self.report(&sent);
        self.knowledge.memory.confirm();
        let is_done =
            |jobs: &PoolJobs| saved.pools.contains(&jobs.id) || !sent.pools.contains(&jobs.id);
        let batch = std::mem::take(&mut sent.batch);
        let (done, lost): (Batch, Batch) = batch.into_iter().partition(|(jobs, _)| is_done(jobs));
        if !lost.is_empty() {
            let all_are_lost = saved.pools.is_empty() && lost.len() > 1;
            self.learn_from(&lost, saved.met_earlier_key, all_are_lost);
        }
        self.settled.extend(done);
        self.try_again(jobs_of(lost));
    }

    /// A write came through: counts it, and tells of pools that have grown. Nothing waits for that,
    /// and nobody may be listening.
    fn report(&self, sent: &Sent) {
        if sent.pools.is_empty() {
            return;
        }
        let jobs: usize = sent.batch.iter().map(|(it, _)| it.envelopes.len()).sum();
        metrics::histogram!("credit_ledger_batch_commands").record(jobs as f64);
        let seconds = sent.at.elapsed().as_secs_f64();
        metrics::histogram!("credit_ledger_commit_seconds").record(seconds);
        metrics::counter!("credit_ledger_due_events_total").increment(sent.due_events as u64);
        for pool in &sent.grown {
            let _ = self.grown.send(*pool);
        }
    }

    /// Somebody else wrote these pools, or a key of theirs had been used before.
    fn learn_from(&mut self, lost: &Batch, met_earlier_key: bool, all_are_lost: bool) {
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
        for (jobs, _) in lost {
            // Where all are lost at once, a catalogue has most likely changed.
            if !all_are_lost || jobs.attempts > 0 {
                self.knowledge.contend(jobs.id);
            }
        }
        if !self.knowledge.is_wary() && lost.iter().any(|(_, decided)| decided.is_guess) {
            self.knowledge.memory.mistrust();
            self.desk.doubt_all();
        }
    }

    /// Puts jobs back that have to be done again.
    fn try_again(&mut self, pools: Vec<PoolJobs>) {
        for mut jobs in pools {
            jobs.attempts += 1;
            if jobs.attempts < ATTEMPTS {
                self.desk.put_back(jobs);
                continue;
            }
            tracing::warn!(
                lane = self.number,
                "other writers were in the way for too long"
            );
            fail(vec![jobs], &LaneError::Unavailable);
        }
    }

    /// Nothing or something unknown was written: who is in the way is waited out, anything else
    /// is answered. The connection is not used again: locks and transaction end with it.
    fn give_up(&mut self, courier: Courier, pools: Vec<PoolJobs>, error: StoreError) {
        let has_begun = courier.was_connected;
        self.finish(courier);
        let there_are_others = !self.under_way.is_empty() || !self.idle.is_empty();
        if !has_begun && there_are_others {
            return self.wait_for_a_connection(pools);
        }
        self.distrust_all();
        let answer = match &error {
            StoreError::Contended(_) => {
                for jobs in &pools {
                    self.knowledge.contend(jobs.id);
                }
                return self.try_again(pools);
            }
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
    }

    /// Nothing was sent, and there are other connections: jobs wait for one of them.
    fn wait_for_a_connection(&mut self, pools: Vec<PoolJobs>) {
        self.short_of_connections_at = Some(Instant::now());
        for jobs in pools {
            // It is remembered as if it had been written.
            self.knowledge.memory.forget(jobs.id);
            self.desk.put_back(jobs);
        }
    }

    /// What is written and what is not is unknown: everything is read anew, by a new connection.
    fn distrust_all(&mut self) {
        self.idle.clear();
        self.knowledge.memory = Memory::default();
        self.desk.doubt_all();
    }
}

fn jobs_of(batch: Batch) -> Vec<PoolJobs> {
    batch.into_iter().map(|(jobs, _)| jobs).collect()
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
