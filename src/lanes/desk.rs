//! The jobs that a lane has taken up and not yet sent to be written.
//!
//! A debit on a pool that is remembered is decided at once, while the batch before it is being
//! written. Every other job waits until its pool can be read; so does each one after it on the same
//! pool, which keeps their order.

use std::collections::{HashMap, HashSet};

use super::Envelope;
use super::batch::{Decided, PoolJobs};
use super::knowledge::Knowledge;
use crate::ledger::PoolId;

/// The jobs of one pool and what was decided on them; `None` where they wait for a read.
struct Group {
    jobs: PoolJobs,
    decided: Option<Decided>,
}

impl Group {
    fn is_free(&self, being_written: &HashSet<PoolId>) -> bool {
        self.decided.is_some() && !being_written.contains(&self.jobs.id)
    }
}

/// Jobs by pool.
#[derive(Default)]
pub(super) struct Desk {
    groups: Vec<Group>,
    places: HashMap<PoolId, usize>,
    jobs: usize,
}

/// What was on the desk.
#[derive(Default)]
pub(super) struct TakenUp {
    /// Jobs that can be written as they were decided.
    pub decided: Vec<(PoolJobs, Decided)>,
    /// Jobs on pools that have to be read first.
    pub waiting: Vec<PoolJobs>,
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
        if !decided.as_mut().is_some_and(stands) && decided.take().is_some() {
            metrics::counter!("credit_ledger_lane_guesses_total").increment(1);
        }
    }

    /// How many jobs are decided on pools that are not being written; none as long as one waits
    /// for a read, which must have its turn.
    pub fn free_jobs(&self, being_written: &HashSet<PoolId>) -> usize {
        if self.groups.iter().any(|group| group.decided.is_none()) {
            return 0;
        }
        let free = self
            .groups
            .iter()
            .filter(|group| group.is_free(being_written));
        free.map(|group| group.jobs.envelopes.len()).sum()
    }

    /// Takes those off the desk.
    pub fn take_free(&mut self, being_written: &HashSet<PoolId>) -> Vec<(PoolJobs, Decided)> {
        let mut free = Vec::new();
        for group in std::mem::take(self).groups {
            let is_free = group.is_free(being_written);
            match group {
                Group {
                    jobs,
                    decided: Some(decided),
                } if is_free => free.push((jobs, decided)),
                group => self.put_back(group),
            }
        }
        free
    }

    fn put_back(&mut self, group: Group) {
        self.jobs += group.jobs.envelopes.len();
        self.places.insert(group.jobs.id, self.groups.len());
        self.groups.push(group);
    }

    /// What was decided on a pool was decided on a wrong guess.
    pub fn doubt(&mut self, pool: PoolId) {
        if let Some(place) = self.places.get(&pool) {
            self.groups[*place].decided = None;
        }
    }

    /// All of it was decided on what may be wrong.
    pub fn doubt_all(&mut self) {
        for group in &mut self.groups {
            group.decided = None;
        }
    }

    /// Empties the desk.
    pub fn clear(&mut self) -> TakenUp {
        let mut taken_up = TakenUp::default();
        for Group { jobs, decided } in std::mem::take(self).groups {
            match decided {
                Some(decided) => taken_up.decided.push((jobs, decided)),
                None => taken_up.waiting.push(jobs),
            }
        }
        taken_up
    }
}
