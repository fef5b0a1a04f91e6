//! What the load is booked on: pools that never run dry. Made through the API, as clients do.

use futures_util::future::try_join_all;
use serde_json::json;

use super::scenario::{HOT_POOL, spread_pool};
use crate::cli::client::{Authority, Client};
use crate::config::Secret;

/// How many connections make pools at once.
const MAKERS: u32 = 64;
/// The highest allowance that leaves room for every debit of a long run.
const ALLOWANCE: u64 = 500_000_000;

/// Makes the hot pool and `count` others. Those of an earlier run are left as they are.
///
/// # Errors
/// The service refuses.
pub async fn make_pools(service: &Authority, key: &Secret, count: u32) -> anyhow::Result<()> {
    put_pool(&mut Client::connect(service, key).await?, HOT_POOL).await?;
    let makers = (0..MAKERS.min(count)).map(|maker| async move {
        let mut client = Client::connect(service, key).await?;
        for number in (maker + 1..=count).step_by(MAKERS as usize) {
            put_pool(&mut client, &spread_pool(number)).await?;
        }
        anyhow::Ok(())
    });
    try_join_all(makers).await?;
    Ok(())
}

async fn put_pool(client: &mut Client, pool: &str) -> anyhow::Result<()> {
    let path = format!("/v1/pools/workspace:{pool}");
    let body = json!({"plan": "enterprise", "monthly_allowance": ALLOWANCE});
    client.put(&path, &body).await?;
    Ok(())
}
