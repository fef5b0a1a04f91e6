//! One lane: take jobs up, decide them, write, answer.
//!
//! The lane itself never waits for the database. It sends batches off, each with a connection, and
//! goes on: jobs are taken up on the [`Desk`], and what comes back is decided, written or answered.
//! No pool is in two batches at once.

mod landing;

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
use super::desk::{Busy, Desk};
use super::errands::{Batch, Courier, Landed, Sent};
use super::knowledge::Knowledge;
use super::traffic::{ByWay, Load, Traffic, Way};
use super::{Envelope, LaneError};
use crate::clock::Clock;
use crate::ledger::{Book, Changed, PoolId};
use crate::store::{PurchaseRecord, Store, Writer, Writes};

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
    busy: Busy,
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
            busy: Busy::new(),
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
        if self.room() == 0 {
            self.make_room(now);
        }
        let room = self.room();
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

    /// How many more jobs are taken up.
    const fn room(&self) -> usize {
        self.batch_limit.saturating_sub(self.desk.jobs())
    }

    /// The desk is full: jobs that wait for a batch that is late, of a pool that somebody holds for
    /// long, make room for others. Those that were never tried have not begun.
    fn make_room(&mut self, now: Instant) {
        if !self.busy.values().any(|late| *late <= now) {
            return;
        }
        let mut stuck = ByWay::default();
        for way in Way::ALL {
            *stuck.of(way) = self.traffic.of(way).is_stuck(way, now);
        }
        let stuck = self
            .desk
            .take_stuck(&self.busy, now, stuck, &self.knowledge);
        let (new, tried): (Vec<_>, Vec<_>) = stuck.into_iter().partition(|jobs| jobs.attempts == 0);
        fail(new, &LaneError::Busy);
        fail(tried, &LaneError::Unavailable);
    }

    /// Sets the alarm to when jobs that could not be sent now need not wait any longer; whether
    /// there is such a moment.
    fn set_alarm(&mut self, now: Instant) -> bool {
        if self.desk.jobs() == 0 {
            return false;
        }
        let is_full = self.room() == 0;
        let moments = |way| {
            let traffic = self.traffic.of(way);
            let late_at = traffic.late_at(now).filter(|_| is_full);
            [traffic.admits_at(way), late_at]
        };
        let later = Way::ALL.into_iter().flat_map(moments).flatten();
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
        let late_at = courier.load.is_late_at();
        self.busy
            .extend(courier.pools.iter().map(|pool| (*pool, late_at)));
        if way == Way::Remembered {
            let batch = pools.into_iter().zip(decided.into_iter().flatten());
            self.write(courier, batch.collect());
        } else {
            self.read(courier, pools);
        }
    }

    /// A connection that has nothing to do, if there is one: best one that went this way last.
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

/// Tells callers what came of their jobs. Nobody may be waiting any more: the write stands.
fn tell(batch: Batch) {
    for (jobs, decided) in batch {
        for (envelope, answer) in jobs.envelopes.into_iter().zip(decided.answers) {
            let _ = envelope.answer.send(answer);
        }
    }
}

/// Tells callers that nothing came of their jobs, and why.
fn fail(pools: Vec<PoolJobs>, error: &LaneError) {
    for envelope in pools.into_iter().flat_map(|jobs| jobs.envelopes) {
        let _ = envelope.answer.send(Err(error.clone()));
    }
}
