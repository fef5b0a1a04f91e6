//! Adds up the usage of pools in advance, soon after their journal has grown by a block.
//!
//! Answers are right without it, and a read of usage that finds a block missing builds it itself.
//! Any number of replicas may do so at once: a block is written by whoever is first.

use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio::sync::watch;

use crate::ledger::PoolId;
use crate::store::Store;

/// How many pools are listed at once.
const PORTION: i64 = 1_000;

/// Builds what was missed while no service ran, then blocks of the pools that have grown, one pool
/// at a time, until `stop` is true or no lane is left to tell of any.
pub async fn run(store: Store, mut grown: Receiver<PoolId>, mut stop: watch::Receiver<bool>) {
    tokio::select! {
        () = catch_up(&store) => {}
        _ = stop.wait_for(|stopped| *stopped) => return,
    }
    loop {
        let pool = tokio::select! {
            pool = grown.recv() => pool,
            _ = stop.wait_for(|stopped| *stopped) => return,
        };
        match pool {
            Ok(pool) => build(&store, pool).await,
            // Their next block, or the next read of their usage, catches up.
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}

async fn catch_up(store: &Store) {
    let mut after = None;
    loop {
        let pools = match store.pools_to_add_up(after, PORTION).await {
            Ok(pools) => pools,
            Err(error) => {
                // The next block of each pool, or the next read of its usage, catches up.
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "the pools whose usage lags could not be listed");
                return;
            }
        };
        for pool in &pools {
            build(store, *pool).await;
        }
        match pools.last() {
            Some(last) => after = Some(*last),
            None => return,
        }
    }
}

async fn build(store: &Store, pool: PoolId) {
    match store.build_usage_blocks(pool).await {
        Ok(()) => metrics::counter!("credit_ledger_usage_rolled_total").increment(1),
        Err(error) => {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(pool.id = %pool, error, "usage could not be added up in advance");
        }
    }
}
