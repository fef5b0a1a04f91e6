//! The current cycle's usage by user, kept per pool: ToolJet reads it with every AI action.
//!
//! What is kept is never trusted to be current. Each read has the pool's row before it comes here,
//! and adds the entries that the journal has since: the journal only grows, so what was added up
//! once stays right. What is answered is the state at the entry it was added up to, which is the
//! row's last one, or a later one when another read was faster.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::body::Bytes;
use moka::sync::Cache;
use serde_json::value::RawValue;
use tokio::sync::Mutex;

use super::answer;
use super::tooljet_usage::{Split, UsageBody};
use crate::ledger::{Pool, PoolId, Time, UsageFigures};
use crate::store::{Store, StoreError, UsageBy, UsageFilter};

/// The most memory that all kept cycles take, about.
const MOST_BYTES: u64 = 32 * 1024 * 1024;
/// What a cycle takes besides what is in it, and what each user's organization takes, about.
const BYTES_EACH: usize = 384;
/// From how many new entries on a cycle is added up anew, out of what is added up in advance.
const MANY: i64 = 1_000;

/// Cycles that were read lately.
#[derive(Clone)]
pub struct Cycles(Cache<PoolId, Arc<Kept>>);

struct Kept {
    /// How many bytes it takes, about.
    weight: AtomicU32,
    cycle: Mutex<CycleUsage>,
}

/// Who spent what in a cycle, up to an entry.
#[derive(Clone, Debug)]
pub struct CycleUsage {
    /// The entry up to which it is added up.
    seq: i64,
    /// The entry that opened the cycle.
    cycle_seq: i64,
    /// When the cycle began.
    pub cycle_start: Time,
    /// The pool's first entry that names a user.
    pub tracking_since: Option<Time>,
    /// By user.
    pub users: BTreeMap<String, UserCycle>,
    /// What no user is known of.
    pub unattributed: UsageFigures,
    /// All of it.
    pub pool: UsageFigures,
    /// As JSON, by [`Split`], until there are new entries.
    json: [Option<Bytes>; 2],
}

/// What one user spent in a cycle.
#[derive(Clone, Debug, Default)]
pub struct UserCycle {
    /// By workspace.
    pub workspaces: BTreeMap<Option<String>, UsageFigures>,
    /// As JSON, by [`Split`], until the user spends more: of a thousand users few do at a time.
    pub json: [Option<Box<RawValue>>; 2],
}

impl Default for Cycles {
    fn default() -> Self {
        let weight = |_: &PoolId, kept: &Arc<Kept>| kept.weight.load(Ordering::Relaxed);
        Self(
            Cache::builder()
                .max_capacity(MOST_BYTES)
                .weigher(weight)
                .build(),
        )
    }
}

impl Cycles {
    /// The usage of a pool's current cycle as JSON. The pool is as it was just read, with nothing
    /// due.
    ///
    /// # Errors
    /// The database is away, or an entry is corrupt.
    pub async fn read(
        &self,
        store: &Store,
        pool: &Pool,
        split: Split,
    ) -> Result<Bytes, StoreError> {
        if pool.seq == 0 {
            // It is not there yet: there is nothing to keep.
            return Ok(CycleUsage::empty(pool.cycle.start).json(split));
        }
        let kept = self.0.get_with(pool.id, || {
            Arc::new(Kept {
                weight: AtomicU32::new(weight(0)),
                cycle: Mutex::new(CycleUsage::empty(pool.cycle.start)),
            })
        });
        let mut cycle = kept.cycle.lock().await;
        cycle.catch_up(store, pool).await?;
        let json = cycle.json(split);
        let weight = weight(cycle.bytes());
        drop(cycle);
        if kept.weight.swap(weight, Ordering::Relaxed) != weight {
            self.0.insert(pool.id, kept);
        }
        Ok(json)
    }
}

impl CycleUsage {
    /// Nothing was added up yet.
    #[must_use]
    pub fn empty(cycle_start: Time) -> Self {
        Self {
            seq: 0,
            cycle_seq: 0,
            cycle_start,
            tracking_since: None,
            users: BTreeMap::new(),
            unattributed: UsageFigures::default(),
            pool: UsageFigures::default(),
            json: [None, None],
        }
    }

    /// Adds what the pool's journal has that is not in it. A read that fails, or is dropped while
    /// it waits, leaves it as it was.
    async fn catch_up(&mut self, store: &Store, pool: &Pool) -> Result<(), StoreError> {
        if pool.seq <= self.seq {
            return Ok(());
        }
        if self.cycle_seq == pool.cycle_seq && pool.seq - self.seq <= MANY {
            let entries = self.seq + 1..=pool.seq;
            for used in store.used(pool.id, entries).await? {
                if used.user_id.is_some() {
                    self.tracking_since.get_or_insert(used.at);
                }
                if let Some(figures) = used.figures {
                    self.add(used.user_id, used.workspace_id, figures);
                }
            }
            self.seq = pool.seq;
        } else {
            *self = Self::of(store, pool, self.tracking_since).await?;
        }
        self.json = [None, None];
        Ok(())
    }

    /// A whole cycle.
    async fn of(
        store: &Store,
        pool: &Pool,
        tracking_since: Option<Time>,
    ) -> Result<Self, StoreError> {
        let entries = pool.cycle_seq.saturating_add(1)..=pool.seq;
        let (by, all) = (UsageBy::UserAndWorkspace, usize::MAX);
        let filter = UsageFilter::default();
        let groups = store.usage(pool.id, entries, &filter, by, all);
        let mut cycle = Self {
            seq: pool.seq,
            cycle_seq: pool.cycle_seq,
            ..Self::empty(pool.cycle.start)
        };
        for ((user, workspace), figures) in groups.await?.unwrap_or_default() {
            cycle.add(user, workspace, figures);
        }
        cycle.tracking_since = match tracking_since {
            Some(known) => Some(known),
            None => store.tracking_since(pool.id).await?,
        };
        Ok(cycle)
    }

    /// Adds what somebody spent.
    pub fn add(&mut self, user: Option<String>, workspace: Option<String>, figures: UsageFigures) {
        self.pool += figures;
        match user {
            Some(user) => {
                let user = self.users.entry(user).or_default();
                *user.workspaces.entry(workspace).or_default() += figures;
                user.json = [None, None];
            }
            None => self.unattributed += figures,
        }
    }

    fn json(&mut self, split: Split) -> Bytes {
        let place = split.place();
        if let Some(json) = &self.json[place] {
            return json.clone();
        }
        let json = answer::to_json(&UsageBody::new(self, split));
        self.json[place] = Some(json.clone());
        json
    }

    /// What it takes in memory, about.
    fn bytes(&self) -> usize {
        let rendered: usize = self.json.iter().flatten().map(Bytes::len).sum();
        let workspaces = self.users.values().map(|user| user.workspaces.len());
        let workspaces: usize = workspaces.sum();
        rendered + (self.users.len() + workspaces) * BYTES_EACH
    }
}

fn weight(bytes: usize) -> u32 {
    u32::try_from(bytes.saturating_add(BYTES_EACH)).unwrap_or(u32::MAX)
}
