//! What a lane decides with: the time, the catalogues of its tenants, the pools it remembers.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Job;
use super::batch::{Decided, Ground, PoolJobs};
use super::memory::Memory;
use super::needs::horizon;
use crate::clock::Clock;
use crate::ledger::{Catalogue, Command, PoolId, TenantId, Time};
use crate::store::{Loaded, Store, StoreError, needs_along};

/// The most tenants whose catalogues a lane keeps at hand.
const MOST_TENANTS: usize = 1_000;
/// How long after a replay keys are read first.
const WARY: Duration = Duration::from_secs(1);

/// What was read for jobs that had to wait for it.
pub(super) struct Read {
    pub loaded: Loaded,
    /// The time on the test clocks of pools that are being made.
    pub clocks: HashMap<PoolId, Time>,
    pub now: Time,
}

/// What a lane knows by itself.
pub(super) struct Knowledge {
    pub clock: Clock,
    pub memory: Memory,
    /// What tenants sell, and the version of that.
    catalogues: HashMap<TenantId, (i64, Arc<Catalogue>)>,
    /// When a write met an earlier key: whoever tries again often tries more than once.
    replayed_at: Option<Instant>,
}

impl Knowledge {
    pub fn new(clock: Clock) -> Self {
        Self {
            clock,
            memory: Memory::default(),
            catalogues: HashMap::new(),
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
        let (version, catalogue) = catalogue;
        decided.used = Some((job.tenant, *version));
        let first = decided.answers.len();
        let ground = Ground {
            loaded: &Loaded::default(),
            catalogue,
            now: self.clock.now(),
        };
        jobs.decide_rest(decided, &ground);
        decided.is_booked_from(first)
    }

    /// Decides all jobs of a pool on what was read.
    pub fn decide(&self, jobs: &PoolJobs, read: &Read) -> Decided {
        let Read {
            loaded,
            clocks,
            now,
        } = read;
        let stored = loaded.pools.get(&jobs.id);
        let clock = stored.map_or_else(|| clocks.get(&jobs.id).copied(), |it| it.clock_now);
        let Some(tenant) = jobs.tenant() else {
            return Decided::default();
        };
        let Some((version, catalogue)) = self.catalogues.get(&tenant) else {
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

    /// The catalogues of the jobs' tenants, as of the moment their pools were read.
    pub async fn find_catalogues(
        &mut self,
        store: &Store,
        pools: &[PoolJobs],
        loaded: &Loaded,
    ) -> Result<(), StoreError> {
        if self.catalogues.len() > MOST_TENANTS {
            self.catalogues.clear();
        }
        let mut found = HashSet::new();
        for jobs in pools {
            let Some(tenant) = jobs.tenant().filter(|tenant| found.insert(*tenant)) else {
                continue;
            };
            let stored = loaded.pools.get(&jobs.id);
            let version = stored.map(|stored| stored.catalogue_version);
            match store.catalogue(tenant, version).await? {
                Some(catalogue) => self.catalogues.insert(tenant, catalogue),
                None => self.catalogues.remove(&tenant),
            };
        }
        Ok(())
    }
}

fn only_spends(job: &Job) -> bool {
    matches!(job.command, Command::Debit(_)) && !job.dry_run
}
