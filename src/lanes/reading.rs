//! What a lane reads before it can decide jobs whose pools it does not know.

use std::collections::{HashMap, HashSet};

use tokio::time::timeout;

use super::batch::{Decided, PoolJobs};
use super::knowledge::Read;
use super::lane::{Lane, STEP_TIMEOUT};
use super::needs::{horizon, needs};
use crate::ledger::{PoolId, Time};
use crate::store::{Loaded, Store, StoreError};

impl Lane {
    /// Reads what jobs need and decides them.
    pub(super) async fn read_and_decide(
        &mut self,
        pools: &[PoolJobs],
        locked: bool,
    ) -> Result<Vec<Decided>, StoreError> {
        let loaded = self.load(pools, locked).await?;
        let finding = self.knowledge.find_catalogues(&self.store, pools, &loaded);
        finding.await?;
        let mut read = Read {
            clocks: new_clocks(&self.store, pools, &loaded).await?,
            now: self.knowledge.clock.now(),
            loaded,
        };
        let decided = pools.iter().map(|jobs| self.knowledge.decide(jobs, &read));
        let mut decided: Vec<Decided> = decided.collect();
        self.recognise(pools, &mut decided, &mut read).await?;
        Ok(decided)
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
        let writer = self.idle.last_mut().ok_or_else(StoreError::timed_out)?;
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

    /// Reads what the jobs need. Connections that were cut while they were idle are replaced, once:
    /// nothing was written yet.
    async fn load(&mut self, pools: &[PoolJobs], locked: bool) -> Result<Loaded, StoreError> {
        let batch = needs(pools, horizon(self.knowledge.clock.now()));
        let with_keys = self.knowledge.is_wary();
        let was_connected = !self.idle.is_empty();
        for fresh in [false, true] {
            if self.idle.is_empty() {
                self.idle.push(self.store.writer().await?);
            }
            let Some(writer) = self.idle.last_mut() else {
                continue;
            };
            let step = async {
                if locked {
                    writer.lock(&batch).await
                } else {
                    writer.load(&batch, with_keys).await
                }
            };
            match timeout(STEP_TIMEOUT, step).await {
                Ok(Err(StoreError::Unavailable(_))) if was_connected && !fresh => {
                    self.idle.clear();
                }
                Ok(result) => return result,
                Err(_) => return Err(StoreError::timed_out()),
            }
        }
        Err(StoreError::timed_out())
    }
}

/// The time on the test clocks of pools that are being made.
async fn new_clocks(
    store: &Store,
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
        if let Some(now) = store.clock_now(tenant, clock).await? {
            clocks.insert(jobs.id, now);
        }
    }
    Ok(clocks)
}
