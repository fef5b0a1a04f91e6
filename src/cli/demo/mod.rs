//! `credit-ledger demo`: serves like `serve`, with a sandbox tenant that has a past.
//!
//! Everything is made through the service's own API, as a client would. Each run makes a tenant of
//! its own; nothing else in the database is touched. Who is in it stands in [`customers`], what
//! happened to them tells [`story`].

mod customers;
mod story;

use std::process::ExitCode;

use anyhow::Context;
use chrono::Months;
use comfy_table::Table;
use serde_json::{Value, json};
use uuid::Uuid;

use super::client::{Authority, Client, Tenant, text};
use super::serve::{Service, stop_signal};
use super::table;
use crate::clock::Clock;
use crate::config::{Config, Database, Secret};
use crate::http::time::Stamp;
use customers::Pool;
use story::Story;

/// A tenant with a past.
struct Demo {
    base_url: String,
    operator_key: Secret,
    tenant: Tenant,
    clock: String,
    story: Story,
    /// The pools as they are now.
    pools: Vec<Value>,
}

/// Serves until a signal says stop.
///
/// # Errors
/// The service does not start, or refuses a part of the story.
pub async fn run(mut config: Config) -> anyhow::Result<ExitCode> {
    // The private Postgres keeps an operator key of its own; elsewhere one is made for this run.
    if let (Database::External { .. }, None) = (&config.database, &config.operator_key) {
        config.operator_key = Some(Secret::new(format!("operator_{}", Uuid::new_v4().simple())));
    }
    let mut stopped = tokio::spawn(stop_signal());
    let mut service = Service::start(&config).await?;
    let made = tokio::select! {
        made = make(&mut service) => made.map(Some),
        _ = &mut stopped => Ok(None),
    };
    if let Ok(Some(demo)) = &made {
        demo.announce();
        stopped.await??;
    }
    service.stop().await?;
    made?;
    Ok(ExitCode::SUCCESS)
}

async fn make(service: &mut Service) -> anyhow::Result<Demo> {
    service.prepare().await?;
    let authority = Authority::parse(&service.base_url)?;
    let operator_key = service.operator_key.clone();
    let operator_key = operator_key.context("there is no operator key")?;
    let tenant = json!({"name": "Demo", "mode": "sandbox"});
    let tenant = Tenant::make(&authority, &operator_key, &tenant).await?;
    let mut client = Client::connect(&authority, &tenant.key).await?;
    let story = Story::ending_at(Clock::System.now());
    let clock = json!({"now": Stamp(story.start())});
    let clock = client.post("/v1/test-clocks", &clock).await?;
    let clock = text(&clock, "id").to_owned();
    story.tell(&mut client, &clock).await?;
    let mut pools = Vec::new();
    for Pool { name, .. } in &story.pools {
        pools.push(client.get(&format!("/v1/pools/{name}")).await?);
    }
    let base_url = service.base_url.clone();
    Ok(Demo {
        base_url,
        operator_key,
        tenant,
        clock,
        story,
        pools,
    })
}

impl Demo {
    /// Says on standard output what there is, and what to try.
    fn announce(&self) {
        println!("{}", self.table());
        let (base_url, clock) = (&self.base_url, &self.clock);
        let (tenant, key) = (&self.tenant.id, self.tenant.key.expose());
        let end = self.story.end;
        let later = Stamp(end.checked_add_months(Months::new(1)).unwrap_or(end));
        println!(
            r#"
operator key: {operator}
tenant:       {tenant} (sandbox)
admin key:    {key}

Try:

export URL={base_url} KEY={key}
curl -s $URL/v1/pools/workspace:nordwind/balance -H "Authorization: Bearer $KEY"
curl -s $URL/v1/pools/workspace:nordwind/debits -H "Authorization: Bearer $KEY" \
  -H 'Idempotency-Key: try-1' -H 'Content-Type: application/json' \
  -d '{{"credits":70,"operation":"app_generation","user_id":"ada"}}'
curl -s "$URL/v1/pools/workspace:nordwind/transactions?limit=5" -H "Authorization: Bearer $KEY"
curl -s $URL/api/ai/organizations/nordwind/usage -H "Authorization: Bearer $KEY"

These pools live on a test clock. A month passes, and they renew:

curl -s $URL/v1/test-clocks/{clock}/advance -H "Authorization: Bearer $KEY" \
  -H 'Content-Type: application/json' -d '{{"to":"{later}"}}'

All of the API: {base_url}/docs
Ctrl-C ends it."#,
            operator = self.operator_key.expose(),
        );
    }

    fn table(&self) -> Table {
        let mut table = table::new([
            "pool",
            "plan",
            "monthly",
            "add-on",
            "overdraft",
            "renews at",
            "what it shows",
        ]);
        for (pool, Pool { name, shows, .. }) in self.pools.iter().zip(&self.story.pools) {
            let balance = &pool["balance"];
            table.add_row([
                (*name).to_owned(),
                text(pool, "plan").to_owned(),
                balance["monthly"]["available"].to_string(),
                balance["addon"]["available"].to_string(),
                balance["overdraft"].to_string(),
                text(&balance["monthly"], "renews_at").to_owned(),
                (*shows).to_owned(),
            ]);
        }
        table::align_right(&mut table, 2..5);
        table
    }
}
