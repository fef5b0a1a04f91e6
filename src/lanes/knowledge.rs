//! What a lane decides with: the time, the catalogues of its tenants, the pools it remembers.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Job;
use super::batch::{Decided, Ground, PoolJobs};
use super::memory::Memory;
use super::needs::horizon;
use crate::clock::Clock;
use crate::ledger::{Book, Catalogue, Command, PoolId, TenantId, Time};
use crate::store::{Loaded, needs_along};

/// The most tenants whose catalogues a lane keeps at hand.
const MOST_TENANTS: usize = 1_000;
/// How long after a replay keys are read first.
const WARY: Duration = Duration::from_secs(1);
/// How long after another writer was in the way a pool is only written in turn.
const CONTENDED: Duration = Duration::from_secs(1);
/// The least number of pools at which those that are contended no more are forgotten.
const MANY_CONTENDED: usize = 1_000;

/// What was read for jobs that had to wait for it.
pub(super) struct Read {
    pub loaded: Loaded,
    /// The time on the test clocks of pools that are being made.
    pub clocks: HashMap<PoolId, Time>,
    /// What the tenants of the pools sell, as of the moment their pools were read.
    pub catalogues: HashMap<TenantId, Option<Versioned>>,
    /// When all of it was there.
    pub now: Time,
}

/// A tenant's catalogue and its version.
pub(super) type Versioned = (i64, Arc<Catalogue>);

/// What a lane knows by itself.
pub(super) struct Knowledge {
    pub clock: Clock,
    pub memory: Memory,
    /// What tenants sell, and the version of that.
    catalogues: HashMap<TenantId, Versioned>,
    /// Pools that others write, too, and when they last were in the way.
    contended: HashMap<PoolId, Instant>,
    /// With so many of them, those that are no more are looked for.
    too_many_contended: usize,
    /// When a write met an earlier key: whoever tries again often tries more than once.
    replayed_at: Option<Instant>,
}

impl Knowledge {
    pub fn new(clock: Clock) -> Self {
        Self {
            clock,
            memory: Memory::default(),
            catalogues: HashMap::new(),
            contended: HashMap::new(),
            too_many_contended: MANY_CONTENDED,
            replayed_at: None,
        }
    }

    /// A write met an earlier key: for a while keys are read first, so that replays cost others
    /// little.
    pub fn be_wary(&mut self) {
        self.replayed_at = Some(Instant::now());
    }

    /// Whether keys are read first.
    pub fn is_wary(&self) -> bool {
        self.replayed_at.is_some_and(|at| at.elapsed() < WARY)
    }

    /// Another writer was in the way of this pool: for a while it is only written when it is our
    /// turn.
    pub fn contend(&mut self, pool: PoolId) {
        if self.contended.len() >= self.too_many_contended {
            self.contended.retain(|_, at| at.elapsed() < CONTENDED);
            // Where most still are, the next look is not soon.
            self.too_many_contended = MANY_CONTENDED.max(2 * self.contended.len());
        }
        self.contended.insert(pool, Instant::now());
    }

    /// Whether another writer was lately in the way of this pool.
    pub fn is_contended(&self, pool: PoolId) -> bool {
        let at = self.contended.get(&pool);
        at.is_some_and(|at| at.elapsed() < CONTENDED)
    }

    /// Takes a remembered pool out for a job that may be decided on it; `None` where it must be
    /// read. Only a debit may: the pool's own row is all it needs, and it books an entry.
    pub fn recall(&mut self, id: PoolId, job: &Job) -> Option<Decided> {
        if !self.memory.is_trusted() || self.is_wary() || !only_spends(job) {
            return None;
        }
        let book = self.memory.take(id)?;
        let is_whole = !needs_along(book.pool(), horizon(self.clock.now()));
        is_whole.then(|| Decided::on_guess(book))
    }

    /// Decides a job that came for a remembered pool. Whether what was decided may stand: what
    /// books nothing has no write to check it.
    pub fn decide_next(&self, jobs: &PoolJobs, decided: &mut Decided) -> bool {
        let Some((job, catalogue)) = jobs.last().and_then(|job| {
            let known = self.catalogues.get(&job.tenant)?;
            only_spends(job).then_some((job, known))
        }) else {
            return false;
        };
        let on_test_clock = |book: &Book| book.pool().test_clock.is_some();
        if decided.book.as_deref().is_some_and(on_test_clock) {
            // Its time is read.
            return false;
        }
        let (version, catalogue) = catalogue;
        let used = (job.tenant, *version);
        if decided.used.is_some_and(|before| before != used) {
            // The jobs before it were decided with another one: the write can only compare one.
            return false;
        }
        decided.used = Some(used);
        let first = decided.answers.len();
        let ground = Ground {
            loaded: &Loaded::default(),
            catalogue,
            now: self.clock.now(),
        };
        jobs.decide_rest(decided, &ground);
        decided.is_booked_from(first)
    }

    /// Keeps the catalogues that were read.
    pub fn learn(&mut self, read: &Read) {
        if self.catalogues.len() > MOST_TENANTS {
            self.catalogues.clear();
        }
        for (tenant, catalogue) in &read.catalogues {
            let Some(catalogue) = catalogue else {
                self.catalogues.remove(tenant);
                continue;
            };
            // What comes back later may have been read earlier.
            let known = self.catalogues.get(tenant);
            if known.is_none_or(|(version, _)| *version < catalogue.0) {
                self.catalogues.insert(*tenant, catalogue.clone());
            }
        }
    }

    /// Decides all jobs of a pool on what was read.
    pub fn decide(&self, jobs: &PoolJobs, read: &Read) -> Decided {
        let Read {
            loaded,
            clocks,
            now,
            ..
        } = read;
        let stored = loaded.pools.get(&jobs.id);
        let clock = stored.map_or_else(|| clocks.get(&jobs.id).copied(), |it| it.clock_now);
        let Some(tenant) = jobs.tenant() else {
            return Decided::default();
        };
        let Some(Some((version, catalogue))) = read.catalogues.get(&tenant) else {
            return jobs.without_tenant();
        };
        let ground = Ground {
            loaded,
            catalogue,
            now: clock.unwrap_or(*now),
        };
        let mut decided = jobs.decide(&ground);
        decided.used = Some((tenant, *version));
        decided
    }
}

/// Whether a job needs nothing but the pool's own row, and books an entry if it is not refused.
pub(super) fn only_spends(job: &Job) -> bool {
    matches!(job.command, Command::Debit(_)) && !job.dry_run
}
