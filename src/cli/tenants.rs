//! `credit-ledger tenants`: lists and makes tenants, straight on the database.
//!
//! For the operator at the machine: it needs no service and no key. The API does the same.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{database, table};
use crate::clock::Clock;
use crate::config::Config;
use crate::http::time::Stamp;
use crate::ledger::{Catalogue, Label};
use crate::store::{Store, StoreError, TenantMode, TenantRecord};

/// How many tenants are read at once.
const PAGE: i64 = 200;

/// What to do with tenants.
#[derive(Args)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// List all tenants, the newest first
    List {
        /// Print one JSON array instead of a table
        #[arg(long)]
        json: bool,
    },
    /// Make a tenant with the default plans and prices
    Create {
        /// What people call it
        #[arg(long)]
        name: Label,
        /// live, or sandbox for trying things out with test clocks
        #[arg(long)]
        mode: TenantMode,
        /// Print one JSON object instead of text
        #[arg(long)]
        json: bool,
    },
}

/// Does it.
///
/// # Errors
/// The database is away.
pub async fn run(config: &Config, arguments: Arguments) -> anyhow::Result<ExitCode> {
    let (opened, store) = database::for_command(config).await?;
    let done = match arguments.action {
        Action::List { json } => list(&store, json).await,
        Action::Create { name, mode, json } => create(&store, name, mode, json).await,
    };
    store.close().await;
    opened.close().await?;
    done?;
    Ok(ExitCode::SUCCESS)
}

async fn list(store: &Store, json: bool) -> Result<(), StoreError> {
    let tenants = all(store).await?;
    if json {
        let tenants: Vec<Value> = tenants.iter().map(to_json).collect();
        println!("{}", Value::from(tenants));
        return Ok(());
    }
    let mut table = table::new(["tenant", "name", "mode", "made at"]);
    for tenant in &tenants {
        let (id, made_at) = (tenant.id.to_string(), Stamp(tenant.created_at).to_string());
        table.add_row([&id, tenant.name.as_str(), tenant.mode.as_str(), &made_at]);
    }
    println!("{table}");
    Ok(())
}

/// All tenants, the newest first.
///
/// # Errors
/// The database is away.
pub async fn all(store: &Store) -> Result<Vec<TenantRecord>, StoreError> {
    let mut tenants: Vec<TenantRecord> = Vec::new();
    loop {
        let last = tenants
            .last()
            .map(|tenant| (tenant.created_at, tenant.id.uuid()));
        let page = store.tenants(last, PAGE).await?;
        if page.is_empty() {
            return Ok(tenants);
        }
        tenants.extend(page);
    }
}

async fn create(
    store: &Store,
    name: Label,
    mode: TenantMode,
    json: bool,
) -> Result<(), StoreError> {
    let now = Clock::System.now();
    let catalogue = Catalogue::initial(now);
    let tenant = TenantRecord {
        id: Uuid::now_v7().into(),
        name,
        mode,
        settings: catalogue.settings.clone(),
        created_at: now,
    };
    store.create_tenant(tenant.clone(), catalogue).await?;
    if json {
        println!("{}", to_json(&tenant));
    } else {
        println!("made the {mode} tenant {}", tenant.id);
    }
    Ok(())
}

fn to_json(tenant: &TenantRecord) -> Value {
    json!({
        "id": tenant.id,
        "name": tenant.name,
        "mode": tenant.mode.as_str(),
        "created_at": Stamp(tenant.created_at),
    })
}
