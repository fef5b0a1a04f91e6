//! What a lane lets a connection do while it goes on itself: read, look keys up, write.
//!
//! An errand owns the jobs it is for and gives them back with what came of it.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use tokio::time::timeout;

use super::batch::{Decided, PoolJobs};
use super::knowledge::Read;
use super::needs::{horizon, needs};
use super::traffic::{Load, Way};
use crate::clock::Clock;
use crate::ledger::{ClockId, IdempotencyKey, PoolId, TenantId};
use crate::store::{BatchKey, Earlier, Loaded, Saved, Store, StoreError, Writer, Writes};

/// How long one step in the database may take before its connection is given up.
const STEP_TIMEOUT: Duration = Duration::from_secs(5);

/// Jobs of pools, decided.
pub(super) type Batch = Vec<(PoolJobs, Decided)>;

/// A batch on its way, come back from an errand.
pub(super) struct Landed {
    pub courier: Courier,
    pub errand: Errand,
}

/// What it was sent for, and what came of it.
pub(super) enum Errand {
    /// What jobs need was read.
    Read {
        pools: Vec<PoolJobs>,
        read: Result<Read, StoreError>,
    },
    /// Entries with the keys of what booked nothing were looked up.
    Recognised {
        batch: Batch,
        read: Read,
        earlier: Result<Earlier, StoreError>,
    },
    /// Entries and pools were written.
    Written {
        sent: Sent,
        saved: Result<Saved, StoreError>,
    },
}

/// What was sent to be written, beside the writes themselves.
pub(super) struct Sent {
    pub batch: Batch,
    /// The pools that were to be written.
    pub pools: HashSet<PoolId>,
    /// Those that have one more block of usage after it.
    pub grown: Vec<PoolId>,
    pub due_events: usize,
    pub at: Instant,
}

/// A connection, and the batch that it serves until its end.
pub(super) struct Courier {
    pub store: Store,
    /// `None` when there is none yet, or it is no good any more.
    pub writer: Option<Writer>,
    pub way: Way,
    /// The pools of the batch, and with how many jobs it was sent off, and when.
    pub pools: Vec<PoolId>,
    pub load: Load,
    /// Whether there ever was a connection: before that nothing has begun.
    pub was_connected: bool,
}

impl Courier {
    /// Reads what jobs need.
    pub fn read(
        mut self,
        pools: Vec<PoolJobs>,
        clock: Clock,
        with_keys: bool,
    ) -> BoxFuture<'static, Landed> {
        let mut wanted = Wanted::by(&pools, clock);
        wanted.batch.with_keys = with_keys;
        wanted.batch.locked = self.way == Way::InTurn;
        Box::pin(async move {
            let read = self.read_wanted(&wanted).await;
            let is_good = read.is_ok();
            self.land(is_good, Errand::Read { pools, read })
        })
    }

    /// Looks entries up by their keys.
    pub fn recognise(
        mut self,
        batch: Batch,
        read: Read,
        keys: Vec<(PoolId, IdempotencyKey)>,
    ) -> BoxFuture<'static, Landed> {
        Box::pin(async move {
            let earlier = match &mut self.writer {
                Some(writer) => in_time(writer.find_earlier(&keys)).await,
                None => Err(StoreError::timed_out()),
            };
            let is_good = earlier.is_ok();
            let errand = Errand::Recognised {
                batch,
                read,
                earlier,
            };
            self.land(is_good, errand)
        })
    }

    /// Writes.
    pub fn write(mut self, writes: Writes, sent: Sent) -> BoxFuture<'static, Landed> {
        Box::pin(async move {
            let saved = match self.connected().await {
                Ok(writer) => in_time(writer.write(writes)).await,
                Err(error) => Err(error),
            };
            let is_good = saved.is_ok();
            self.land(is_good, Errand::Written { sent, saved })
        })
    }

    /// After an error the state of the connection is unknown.
    fn land(mut self, is_good: bool, errand: Errand) -> Landed {
        self.writer = self.writer.filter(|_| is_good);
        let courier = self;
        Landed { courier, errand }
    }

    /// A connection that is there: one that lay idle may have been cut.
    async fn connected(&mut self) -> Result<&mut Writer, StoreError> {
        if let Some(writer) = &mut self.writer
            && !writer.is_alive().await
        {
            self.writer = None;
        }
        let writer = match self.writer.take() {
            Some(writer) => writer,
            None => self.store.writer().await?,
        };
        self.was_connected = true;
        Ok(self.writer.insert(writer))
    }

    /// A connection that was cut is replaced, once: nothing was written yet.
    async fn read_wanted(&mut self, wanted: &Wanted) -> Result<Read, StoreError> {
        let was_connected = self.writer.is_some();
        let reading = timeout(STEP_TIMEOUT, self.try_to_read(wanted)).await;
        match reading {
            Ok(Err(StoreError::Unavailable(_))) if was_connected && self.writer.is_some() => {
                self.writer = None;
                in_time(self.try_to_read(wanted)).await
            }
            Ok(read) => read,
            Err(_) => Err(StoreError::timed_out()),
        }
    }

    async fn try_to_read(&mut self, wanted: &Wanted) -> Result<Read, StoreError> {
        let writer = self.connected().await?;
        let loaded = writer.load(&wanted.batch).await?;
        wanted.beside(&self.store, loaded).await
    }
}

async fn in_time<T>(step: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    let step = timeout(STEP_TIMEOUT, step).await;
    step.unwrap_or_else(|_| Err(StoreError::timed_out()))
}

/// What is to be read for jobs.
struct Wanted {
    batch: BatchKey,
    tenants: Vec<(PoolId, TenantId)>,
    /// The test clocks of pools that would be made.
    test_clocks: Vec<(PoolId, TenantId, ClockId)>,
    clock: Clock,
}

impl Wanted {
    fn by(pools: &[PoolJobs], clock: Clock) -> Self {
        let tenant = |jobs: &PoolJobs| Some((jobs.id, jobs.tenant()?));
        let test_clock = |jobs: &PoolJobs| {
            let (tenant, clock) = jobs.new_clock()?;
            Some((jobs.id, tenant, clock))
        };
        Self {
            batch: needs(pools, horizon(clock.now())),
            tenants: pools.iter().filter_map(tenant).collect(),
            test_clocks: pools.iter().filter_map(test_clock).collect(),
            clock,
        }
    }

    /// What is read beside pools: the catalogues of their tenants, as of the moment when the pools
    /// were read, and the time on the test clocks of those that are being made.
    async fn beside(&self, store: &Store, loaded: Loaded) -> Result<Read, StoreError> {
        let mut catalogues = HashMap::new();
        for (pool, tenant) in &self.tenants {
            if !catalogues.contains_key(tenant) {
                let stored = loaded.pools.get(pool);
                let version = stored.map(|stored| stored.catalogue_version);
                catalogues.insert(*tenant, store.catalogue(*tenant, version).await?);
            }
        }
        let mut clocks = HashMap::new();
        for (pool, tenant, clock) in &self.test_clocks {
            if loaded.pools.contains_key(pool) {
                continue;
            }
            if let Some(now) = store.clock_now(*tenant, *clock).await? {
                clocks.insert(*pool, now);
            }
        }
        Ok(Read {
            loaded,
            clocks,
            catalogues,
            now: self.clock.now(),
        })
    }
}
