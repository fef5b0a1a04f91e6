//! What becomes of a batch that comes back: it is decided, written, settled, or done again.

use std::collections::HashSet;
use std::time::Instant;

use super::{Lane, fail};
use crate::lanes::LaneError;
use crate::lanes::batch::{Decided, PoolJobs};
use crate::lanes::errands::{Batch, Courier, Errand, Landed, Sent};
use crate::lanes::knowledge::Read;
use crate::lanes::memory::Memory;
use crate::lanes::traffic::Way;
use crate::ledger::PoolId;
use crate::store::{Earlier, Saved, StoreError};

/// How often a pool is tried again when other writers are in the way.
const ATTEMPTS: u32 = 20;

impl Lane {
    /// Goes on with what came back.
    pub(super) fn land(&mut self, Landed { courier, errand }: Landed) {
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
    pub(super) fn finish(&mut self, courier: Courier) {
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
                let count = pools.len() as u64;
                metrics::counter!("credit_ledger_lane_conflicts_total").increment(count);
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
    pub(super) fn distrust_all(&mut self) {
        self.idle.clear();
        self.knowledge.memory = Memory::default();
        self.desk.doubt_all();
    }
}

fn jobs_of(batch: Batch) -> Vec<PoolJobs> {
    batch.into_iter().map(|(jobs, _)| jobs).collect()
}
