//! The jobs that a lane has taken up and not yet sent on their way.
//!
//! A debit on a pool that is remembered is decided at once, while the batch before it is being
//! written. Every other job waits until its pool can be read; so does each one after it on the same
//! pool, which keeps their order. Nothing is sent for a pool that is busy: it is being read or
//! written for jobs that came before.

use std::collections::HashMap;
use std::time::Instant;

use super::Envelope;
use super::batch::{Decided, PoolJobs};
use super::knowledge::{Knowledge, only_spends};
use super::traffic::{ByWay, Way};
use crate::ledger::PoolId;

/// Pools that are being read or written, and when that is so late that nothing should wait for it.
pub(super) type Busy = HashMap<PoolId, Instant>;

/// The jobs of one pool and what was decided on them; `None` where they wait for a read.
struct Group {
    jobs: PoolJobs,
    decided: Option<Decided>,
}

impl Group {
    /// How it can be sent now; `None` as long as its pool is busy.
    fn way(&self, busy: &Busy, knowledge: &Knowledge) -> Option<Way> {
        let id = self.jobs.id;
        match self.decided {
            _ if busy.contains_key(&id) => None,
            Some(_) => Some(Way::Remembered),
            None if knowledge.is_contended(id) => Some(Way::InTurn),
            None => Some(Way::Read),
        }
    }
}

/// Jobs by pool.
#[derive(Default)]
pub(super) struct Desk {
    groups: Vec<Group>,
    places: HashMap<PoolId, usize>,
    jobs: usize,
    /// Whether jobs may be waiting for a read: never false while one does.
    may_wait: bool,
}

impl Desk {
    /// How many jobs there are.
    pub const fn jobs(&self) -> usize {
        self.jobs
    }

    /// Takes up a job. One that nobody waits for any more never begins: who asked was told that the
    /// outcome is unknown.
    pub fn take_up(&mut self, envelope: Envelope, knowledge: &mut Knowledge) {
        if envelope.answer.is_closed() {
            return;
        }
        let id = envelope.id;
        let place = *self.places.entry(id).or_insert_with(|| {
            self.groups.push(Group {
                jobs: PoolJobs::new(id),
                decided: knowledge.recall(id, &envelope.job),
            });
            self.groups.len() - 1
        });
        let Group { jobs, decided } = &mut self.groups[place];
        jobs.push(envelope);
        self.jobs += 1;
        let stands = |decided: &mut Decided| knowledge.decide_next(jobs, decided);
        self.may_wait |= decided.is_none();
        if !decided.as_mut().is_some_and(stands) && decided.take().is_some() {
            self.may_wait = true;
            metrics::counter!("credit_ledger_lane_guesses_total").increment(1);
        }
    }

    /// Whether jobs may be waiting for a read.
    pub const fn may_wait(&self) -> bool {
        self.may_wait
    }

    /// How many jobs can be sent now, by the way they have to go.
    pub fn free(&mut self, busy: &Busy, knowledge: &Knowledge) -> ByWay<usize> {
        let mut free = ByWay::default();
        for group in &self.groups {
            if let Some(way) = group.way(busy, knowledge) {
                *free.of(way) += group.jobs.envelopes.len();
            }
        }
        self.may_wait = self.groups.iter().any(|group| group.decided.is_none());
        free
    }

    /// Takes those off the desk that go this way now. What nobody waits for any more never begins.
    pub fn take(
        &mut self,
        way: Way,
        busy: &Busy,
        knowledge: &Knowledge,
    ) -> Vec<(PoolJobs, Option<Decided>)> {
        let mut taken = Vec::new();
        for mut group in self.take_if(|group| group.way(busy, knowledge) == Some(way)) {
            if group.decided.is_none() {
                group.jobs.drop_abandoned();
            }
            if !group.jobs.envelopes.is_empty() {
                taken.push((group.jobs, group.decided));
            }
        }
        taken
    }

    /// Takes those off the desk that wait for what is late: their pool, or all that goes their way.
    pub fn take_stuck(
        &mut self,
        busy: &Busy,
        now: Instant,
        mut stuck: ByWay<bool>,
        knowledge: &Knowledge,
    ) -> Vec<PoolJobs> {
        let waits_for_long = |group: &Group| match group.way(busy, knowledge) {
            Some(way) => *stuck.of(way),
            None => busy.get(&group.jobs.id).is_some_and(|late| *late <= now),
        };
        let taken = self.take_if(waits_for_long).into_iter();
        taken.map(|group| group.jobs).collect()
    }

    fn take_if(&mut self, mut is_wanted: impl FnMut(&Group) -> bool) -> Vec<Group> {
        let mut taken = Vec::new();
        for group in std::mem::take(self).groups {
            if is_wanted(&group) {
                taken.push(group);
            } else {
                self.put(group.jobs, group.decided);
            }
        }
        taken
    }

    /// Lets the jobs on a pool that has just been read be joined by those that came meanwhile, up
    /// to the first one that needs more than the pool itself.
    pub fn join(&mut self, jobs: &mut PoolJobs) {
        let Some(&place) = self.places.get(&jobs.id) else {
            return;
        };
        let group = &mut self.groups[place].jobs;
        let before = group.envelopes.len();
        group.hand_over(jobs, |envelope| only_spends(&envelope.job));
        self.jobs -= before - group.envelopes.len();
        if group.envelopes.is_empty() {
            self.groups.swap_remove(place);
            self.places.remove(&jobs.id);
            if let Some(moved) = self.groups.get(place) {
                self.places.insert(moved.jobs.id, place);
            }
        }
    }

    /// Puts jobs back that must be done again, before those that came after them.
    pub fn put_back(&mut self, mut jobs: PoolJobs) {
        if let Some(place) = self.places.get(&jobs.id) {
            let group = &mut self.groups[*place];
            self.jobs += jobs.envelopes.len();
            std::mem::swap(&mut group.jobs, &mut jobs);
            jobs.hand_over(&mut group.jobs, |_| true);
            group.decided = None;
            self.may_wait = true;
            return;
        }
        self.put(jobs, None);
    }

    /// Whether there are jobs on this pool.
    pub fn has(&self, pool: PoolId) -> bool {
        self.places.contains_key(&pool)
    }

    /// Puts jobs on a pool down that has none here.
    pub fn put(&mut self, jobs: PoolJobs, decided: Option<Decided>) {
        self.jobs += jobs.envelopes.len();
        self.may_wait |= decided.is_none();
        self.places.insert(jobs.id, self.groups.len());
        self.groups.push(Group { jobs, decided });
    }

    /// What was decided on a pool was decided on a wrong guess.
    pub fn doubt(&mut self, pool: PoolId) {
        if let Some(place) = self.places.get(&pool) {
            self.groups[*place].decided = None;
            self.may_wait = true;
        }
    }

    /// All of it was decided on what may be wrong.
    pub fn doubt_all(&mut self) {
        self.may_wait = true;
        for group in &mut self.groups {
            group.decided = None;
        }
    }
}

#[cfg(test)]
mod tests;
