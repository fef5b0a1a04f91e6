//! Makes due events durable soon after they are due: renewals, expiries, licence ends.
//!
//! Answers are right without it. It lists due pools without locking and sends `Advance` to their
//! lanes; any number of replicas may do so at once, since the lane's write counts only if the pool
//! is as it was read, and a pool on which nothing is due any more books nothing.

use std::time::Duration;

use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt};
use tokio::sync::watch;

use crate::clock::Clock;
use crate::lanes::{Job, LaneError, Lanes, Reply};
use crate::ledger::{Actor, Command};
use crate::store::{DuePool, Store, StoreError};

/// How many pools are listed at once. Each listing passes what the ones before it have left in the
/// index.
const PORTION: i64 = 5_000;
/// How many are sent to the lanes at once, to share a commit: a debit that comes after them waits
/// for them.
const GROUP: usize = 112;
/// How many groups are on their way: one at work, one that waits.
const GROUPS: usize = 2;
/// How long the sweeper waits for a lane.
const PATIENCE: Duration = Duration::from_secs(30);

/// Sweeps every `interval` until `stop` is true; a full portion is followed by the next at once.
pub async fn run(
    store: Store,
    lanes: Lanes,
    clock: Clock,
    interval: Duration,
    mut stop: watch::Receiver<bool>,
) {
    loop {
        let more = match sweep(&store, &lanes, &clock).await {
            Ok(swept) => swept.is_whole_portion,
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "a sweep failed");
                false
            }
        };
        let pause = if more { Duration::ZERO } else { interval };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = stop.wait_for(|stopped| *stopped) => return,
        }
    }
}

/// What one sweep did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Swept {
    /// Pools that were advanced.
    pub pools: usize,
    /// Whether there may be more, and the lanes kept up.
    pub is_whole_portion: bool,
}

/// Advances one portion of the due pools.
///
/// # Errors
/// The database is away. A lane that failed is tried again by the next sweep.
pub async fn sweep(store: &Store, lanes: &Lanes, clock: &Clock) -> Result<Swept, StoreError> {
    let due = store.due_pools(clock.now(), PORTION).await?;
    let found = due.len();
    let pools = stream::iter(due)
        .chunks(GROUP)
        .map(|group| advance_all(lanes, group))
        .buffer_unordered(GROUPS)
        .fold(0, async |pools, advanced| pools + advanced)
        .await;
    metrics::counter!("credit_ledger_swept_total").increment(pools as u64);
    let is_whole_portion = pools == found && i64::try_from(found).is_ok_and(|it| it == PORTION);
    Ok(Swept {
        pools,
        is_whole_portion,
    })
}

/// Advances pools through their lanes; gives how many of them.
async fn advance_all(lanes: &Lanes, pools: Vec<DuePool>) -> usize {
    let jobs = pools.into_iter().map(|pool| advance(lanes, pool));
    let results = join_all(jobs).await;
    results.iter().filter(|result| result.is_ok()).count()
}

/// Advances one pool through its lane.
///
/// # Errors
/// See [`LaneError`].
pub async fn advance(lanes: &Lanes, pool: DuePool) -> Result<Reply, LaneError> {
    let job = Job {
        tenant: pool.tenant,
        pool: pool.name,
        actor: Actor::default(),
        command: Command::Advance,
        dry_run: false,
    };
    lanes.submit_within(job, PATIENCE).await
}
