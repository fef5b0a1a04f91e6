//! Five months of a few customers: what they were sold, what their people did, what they bought.
//!
//! The same every time but for its dates, which end today. Told day by day on a test clock, so that
//! renewals, expiries and licence ends happen where they belong.

use anyhow::ensure;
use chrono::TimeDelta;
use indicatif::ProgressBar;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;

use super::customers::{Event, OVERDRAWN, Pool, events, pools};
use crate::cli::client::Client;
use crate::http::time::Stamp;
use crate::ledger::Time;

/// How long the story is.
pub const DAYS: i64 = 150;
/// Any number will do, as long as it stays.
const SEED: u64 = 2026;
/// How far the overdrawn pool ends below zero.
const OVERDRAWN_BY: i64 = 2_350;

/// What happened, until when.
pub struct Story {
    /// The last instant.
    pub end: Time,
    /// Whom it happened to.
    pub pools: Vec<Pool>,
    events: Vec<Event>,
}

impl Story {
    /// The story that ends at an instant.
    #[must_use]
    pub fn ending_at(end: Time) -> Self {
        let day = |number: i64| Stamp(end - TimeDelta::days(DAYS - number));
        Self {
            end,
            pools: pools(day),
            events: events(),
        }
    }

    /// The first instant.
    #[must_use]
    pub fn start(&self) -> Time {
        self.day(0)
    }

    fn day(&self, number: i64) -> Time {
        self.end - TimeDelta::days(DAYS - number)
    }

    /// Makes it happen, on a clock that stands at its start.
    ///
    /// # Errors
    /// The service refuses a part of it.
    pub async fn tell(&self, client: &mut Client, clock: &str) -> anyhow::Result<()> {
        let mut random = StdRng::seed_from_u64(SEED);
        let progress = ProgressBar::new(DAYS.unsigned_abs());
        for day in 0..=DAYS {
            let body = json!({"to": Stamp(self.day(day))});
            let path = format!("/v1/test-clocks/{clock}/advance");
            client.post(&path, &body).await?;
            self.open_pools(client, clock, day).await?;
            for event in self.events.iter().filter(|event| event.day == day) {
                client
                    .call(event.method.clone(), event.path, Some(&event.body))
                    .await?;
            }
            self.work(client, day, &mut random).await?;
            progress.inc(1);
        }
        progress.finish_and_clear();
        overdraw(client).await
    }

    async fn open_pools(&self, client: &mut Client, clock: &str, day: i64) -> anyhow::Result<()> {
        for pool in self.pools.iter().filter(|pool| pool.since == day) {
            let mut terms = pool.terms.clone();
            terms["test_clock"] = clock.into();
            client
                .put(&format!("/v1/pools/{}", pool.name), &terms)
                .await?;
        }
        Ok(())
    }

    /// A day's debits of all pools, in one request. That a pool is empty is part of the story.
    async fn work(&self, client: &mut Client, day: i64, random: &mut StdRng) -> anyhow::Result<()> {
        // Not by the calendar: the story would be another on each day of the week.
        let is_weekend = day % 7 >= 5;
        let mut items = Vec::new();
        for pool in self.pools.iter().filter(|pool| pool.since <= day) {
            let most = if is_weekend { 1 } else { pool.pace };
            for _ in 0..random.random_range(0..=most) {
                items.push(pool.debit(day, items.len(), random));
            }
        }
        if items.is_empty() {
            return Ok(());
        }
        let body = json!({"items": items});
        let answer = client.post("/v1/debits/batch", &body).await?;
        for result in answer["results"].as_array().into_iter().flatten() {
            let told = matches!(result["status"].as_u64(), Some(201 | 402));
            ensure!(told, "a debit of the story was answered with {result}");
        }
        Ok(())
    }
}

/// Leaves one pool with a debt, which its next grant will repay.
async fn overdraw(client: &mut Client) -> anyhow::Result<()> {
    let path = format!("/v1/pools/{OVERDRAWN}");
    let balance = client.get(&format!("{path}/balance")).await?;
    let available = balance["available"].as_i64().unwrap_or_default();
    let body = json!({
        "credits": available.max(0) + OVERDRAWN_BY,
        "operation": "app_generation",
        "user_id": "hank",
        "run_id": "run-migration",
        "mode": "settle",
    });
    client.post(&format!("{path}/debits"), &body).await?;
    Ok(())
}
