//! Five months of a few customers: what they were sold, what their people did, what they bought.
//!
//! The same every time but for its dates, which end today. Told day by day on a test clock, so that
//! renewals, expiries and licence ends happen where they belong.

use anyhow::ensure;
use chrono::TimeDelta;
use hyper::Method;
use indicatif::ProgressBar;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use crate::cli::client::Client;
use crate::http::time::Stamp;
use crate::ledger::Time;

/// How long the story is.
const DAYS: i64 = 150;
/// Any number will do, as long as it stays.
const SEED: u64 = 2026;
/// How far the overdrawn pool ends below zero.
const OVERDRAWN_BY: f64 = 2_350.0;
const OVERDRAWN: &str = "workspace:globex";

/// Operations of the rate card, and what they cost from and to, by how much of it is used.
const OPERATIONS: [(&str, [u32; 2]); 7] = [
    ("app_generation", [8, 240]),
    ("add_feature", [20, 160]),
    ("modify_layout", [10, 80]),
    ("modify_query", [8, 50]),
    ("debug_autofix", [4, 20]),
    ("docs_assistant", [2, 10]),
    ("sql_generation", [2, 9]),
];

/// A customer.
pub struct Pool {
    /// The pool's name.
    pub name: &'static str,
    /// What there is to see.
    pub shows: &'static str,
    /// The PUT that makes it.
    terms: Value,
    /// On which day.
    since: i64,
    /// Who works with it.
    users: &'static [&'static str],
    /// Debits on a working day, at most.
    pace: u32,
    /// Whether the plan fixes the prices.
    fixed_prices: bool,
}

/// Something that happens once.
struct Event {
    day: i64,
    method: Method,
    path: &'static str,
    body: Value,
}

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
        let day = |day: i64| Stamp(end - TimeDelta::days(DAYS - day));
        Self {
            end,
            pools: pools(day),
            events: events(),
        }
    }

    /// The first instant.
    #[must_use]
    pub fn start(&self) -> Time {
        self.end - TimeDelta::days(DAYS)
    }

    /// Makes it happen, on a clock that stands at its start.
    ///
    /// # Errors
    /// The service refuses a part of it.
    pub async fn tell(&self, client: &mut Client, clock: &str) -> anyhow::Result<()> {
        let mut random = StdRng::seed_from_u64(SEED);
        let progress = ProgressBar::new(DAYS.unsigned_abs());
        for day in 0..=DAYS {
            let to = self.start() + TimeDelta::days(day);
            let body = json!({"to": Stamp(to)});
            let path = format!("/v1/test-clocks/{clock}/advance");
            client.call(Method::POST, &path, Some(&body)).await?;
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
                .call(
                    Method::PUT,
                    &format!("/v1/pools/{}", pool.name),
                    Some(&terms),
                )
                .await?;
        }
        Ok(())
    }

    /// A day's debits of all pools, in one request. That a pool is empty is part of the story.
    async fn work(&self, client: &mut Client, day: i64, random: &mut StdRng) -> anyhow::Result<()> {
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
        let answer = client
            .call(Method::POST, "/v1/debits/batch", Some(&body))
            .await?;
        for result in answer["results"].as_array().into_iter().flatten() {
            let told = matches!(result["status"].as_u64(), Some(201 | 402));
            ensure!(told, "a debit of the story was answered with {result}");
        }
        Ok(())
    }
}

impl Pool {
    fn debit(&self, day: i64, number: usize, random: &mut StdRng) -> Value {
        let (operation, [from, to]) = OPERATIONS[random.random_range(0..OPERATIONS.len())];
        let mut item = json!({
            "pool": self.name,
            "idempotency_key": format!("story-{day}-{number}"),
            "operation": operation,
            "user_id": self.users[random.random_range(0..self.users.len())],
            "run_id": format!("run-{day}-{number}"),
            "model": if to > 100 { "large" } else { "small" },
            // Building an app is paid for when it is done, the rest is asked for first.
            "mode": if operation == "app_generation" { "settle" } else { "strict" },
        });
        if !self.fixed_prices {
            item["credits"] = random.random_range(from..=to).into();
        }
        item
    }
}

/// Leaves one pool with a debt, which its next grant will repay.
async fn overdraw(client: &mut Client) -> anyhow::Result<()> {
    let path = format!("/v1/pools/{OVERDRAWN}");
    let balance = client
        .call(Method::GET, &format!("{path}/balance"), None)
        .await?;
    let available = balance["available"].as_f64().unwrap_or_default();
    let body = json!({
        "credits": available.max(0.0) + OVERDRAWN_BY,
        "operation": "app_generation",
        "user_id": "hank",
        "run_id": "run-migration",
        "mode": "settle",
    });
    client
        .call(Method::POST, &format!("{path}/debits"), Some(&body))
        .await?;
    Ok(())
}

fn pools(day: impl Fn(i64) -> Stamp) -> Vec<Pool> {
    let paid = |until| json!({"type": "paid", "expires_at": day(until)});
    let pool = |name, shows, terms, users, pace| Pool {
        name,
        shows,
        terms,
        since: 0,
        users,
        pace,
        fixed_prices: false,
    };
    vec![
        pool(
            "workspace:sparrow",
            "free: 100 a month",
            json!({"plan": "free"}),
            &["mara"],
            2,
        ),
        pool(
            "workspace:nordwind",
            "builders bought in between: the cycle began anew",
            json!({"plan": "pro", "builders": 5, "term": "annual", "license": paid(365)}),
            &["ada", "ben", "chen", "dora"],
            4,
        ),
        pool(
            "workspace:atlas",
            "fewer builders from the next renewal on",
            json!({"plan": "team", "builders": 6, "license": paid(365)}),
            &["emil", "fay", "gus"],
            6,
        ),
        pool(
            OVERDRAWN,
            "overdrawn: the next grant repays it",
            json!({"plan": "enterprise", "monthly_allowance": 10_000, "license": paid(400)}),
            &["hank", "ines", "jo", "kim", "lou"],
            8,
        ),
        pool(
            "workspace:orbit",
            "add-on credits bought, and some given by hand",
            json!({"plan": "pro", "builders": 2, "license": paid(365)}),
            &["nia", "otto"],
            4,
        ),
        Pool {
            fixed_prices: true,
            ..pool(
                "workspace:heritage",
                "an old plan with fixed prices",
                json!({"plan": "legacy_pro", "builders": 3}),
                &["pia", "quin"],
                3,
            )
        },
        Pool {
            since: DAYS - 5,
            ..pool(
                "instance:harbor",
                "self-hosted, in its trial",
                json!({"plan": "trial", "license": {"type": "trial"}}),
                &["rosa"],
                1,
            )
        },
        pool(
            "instance:mill",
            "self-hosted, its licence has ended",
            json!({"plan": "team", "builders": 2, "license": paid(120)}),
            &["sam", "tess"],
            3,
        ),
    ]
}

fn events() -> Vec<Event> {
    let event = |day, method, path, body| Event {
        day,
        method,
        path,
        body,
    };
    let purchase = |day, credits: u32, user: &str| {
        let body = json!({
            "credits": credits,
            "payment_reference": format!("pi_demo_{day}"),
            "amount_cents": credits,
            "currency": "usd",
            "user_id": user,
        });
        event(
            day,
            Method::POST,
            "/v1/pools/workspace:orbit/purchases",
            body,
        )
    };
    let builders =
        |day, path, builders: u32| event(day, Method::PUT, path, json!({"builders": builders}));
    let goodwill = json!({"bucket": "addon", "credits": 50, "reason": "sorry for the outage"});
    vec![
        purchase(20, 500, "nia"),
        purchase(75, 1_000, "otto"),
        purchase(140, 300, "nia"),
        event(
            100,
            Method::POST,
            "/v1/pools/workspace:orbit/adjustments",
            goodwill,
        ),
        builders(64, "/v1/pools/workspace:nordwind", 8),
        builders(DAYS - 2, "/v1/pools/workspace:atlas", 3),
    ]
}
