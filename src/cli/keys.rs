//! `credit-ledger keys`: lists, makes and revokes API keys, straight on the database.
//!
//! For the operator at the machine: it needs no service and no key. The API does the same. What a
//! key looks like and how it is kept is in [`store`](crate::store).

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{database, table};
use crate::clock::Clock;
use crate::config::Config;
use crate::http::time::Stamp;
use crate::ledger::{Label, PoolName, TenantId};
use crate::store::{KeyRecord, KeySecret, Scope, Scopes, Store, StoreError, TenantMode};

/// How many keys are read at once.
const PAGE: i64 = 200;
/// All that a key may do that is bound to pools.
const BOUND: [Scope; 2] = [Scope::BalancesRead, Scope::DebitsWrite];

/// What to do with keys.
#[derive(Args)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// List a tenant's keys, the newest first; their secrets are not known
    List {
        /// The tenant's id
        #[arg(long, value_name = "ID")]
        tenant: Uuid,
        /// Print one JSON array instead of a table
        #[arg(long)]
        json: bool,
    },
    /// Make a key; its secret is shown this once
    Create(New),
    /// Revoke a key: within 5 seconds it is good nowhere
    Revoke {
        /// The tenant's id
        #[arg(long, value_name = "ID")]
        tenant: Uuid,
        /// The key's id
        #[arg(long, value_name = "ID")]
        key: Uuid,
    },
}

/// A key to be made.
#[derive(Args)]
struct New {
    /// The tenant's id
    #[arg(long, value_name = "ID")]
    tenant: Uuid,
    /// What people call it
    #[arg(long)]
    name: Label,
    /// What it may do: balances:read, debits:write, purchases:write, pools:write, catalog:write,
    /// keys:write, or admin for all of it
    #[arg(long, required = true, value_delimiter = ',', value_name = "SCOPE,…")]
    scopes: Vec<Scope>,
    /// Bind it to a pool, such as workspace:6f1c; may be given more than once
    #[arg(long, value_name = "NAME")]
    pool: Vec<PoolName>,
    /// Until when it is good, such as 2027-01-31T00:00:00Z; for ever when left out
    #[arg(long, value_name = "TIME")]
    expires_at: Option<Stamp>,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

/// Does it.
///
/// # Errors
/// There is no such tenant or key, the key cannot be made so, or the database is away.
pub async fn run(config: &Config, arguments: Arguments) -> anyhow::Result<ExitCode> {
    let (opened, store) = database::for_command(config).await?;
    let done = match arguments.action {
        Action::List { tenant, json } => list(&store, tenant.into(), json).await,
        Action::Create(new) => create(&store, new).await,
        Action::Revoke { tenant, key } => revoke(&store, tenant, key).await,
    };
    store.close().await;
    opened.close().await?;
    done?;
    Ok(ExitCode::SUCCESS)
}

async fn list(store: &Store, tenant: TenantId, json: bool) -> anyhow::Result<()> {
    find_tenant(store, tenant).await?;
    let keys = all(store, tenant).await?;
    if json {
        let keys: Vec<Value> = keys.iter().map(to_json).collect();
        println!("{}", Value::from(keys));
        return Ok(());
    }
    let mut table = table::new(["key", "name", "scopes", "pools", "expires at", "last used"]);
    for key in &keys {
        table.add_row([
            key.id.to_string(),
            key.name.to_string(),
            words(key.scopes.iter()),
            key.pools
                .as_ref()
                .map_or_else(|| "all".to_owned(), |pools| words(pools.iter())),
            key.expires_at
                .map_or_else(|| "never".to_owned(), |at| Stamp(at).to_string()),
            key.last_used_at
                .map_or_else(|| "never".to_owned(), |at| Stamp(at).to_string()),
        ]);
    }
    println!("{table}");
    Ok(())
}

async fn all(store: &Store, tenant: TenantId) -> Result<Vec<KeyRecord>, StoreError> {
    let mut keys: Vec<KeyRecord> = Vec::new();
    loop {
        let last = keys.last().map(|key| (key.created_at, key.id.uuid()));
        let page = store.keys(tenant, last, PAGE).await?;
        if page.is_empty() {
            return Ok(keys);
        }
        keys.extend(page);
    }
}

async fn create(store: &Store, new: New) -> anyhow::Result<()> {
    let now = Clock::System.now();
    new.check(Stamp(now))?;
    let mode = find_tenant(store, new.tenant.into()).await?;
    let secret = KeySecret::generate(mode);
    let bound = (!new.pool.is_empty()).then(|| Arc::new(new.pool.into_iter().collect()));
    let key = KeyRecord {
        id: Uuid::now_v7().into(),
        tenant: new.tenant.into(),
        mode,
        name: new.name,
        scopes: new.scopes.into_iter().collect::<Scopes>(),
        pools: bound,
        created_at: now,
        expires_at: new.expires_at.map(|Stamp(at)| at),
        last_used_at: None,
    };
    store.insert_key(&key, secret.hash()).await?;
    if new.json {
        let mut document = to_json(&key);
        document["secret"] = secret.expose().into();
        println!("{document}");
    } else {
        println!("made the key {}; its secret is shown this once:", key.id);
        println!("{}", secret.expose());
    }
    Ok(())
}

async fn revoke(store: &Store, tenant: Uuid, key: Uuid) -> anyhow::Result<()> {
    let now = Clock::System.now();
    if !store.revoke_key(tenant.into(), key.into(), now).await? {
        bail!("the tenant {tenant} has no key {key}");
    }
    println!("revoked the key {key}");
    Ok(())
}

impl New {
    fn check(&self, now: Stamp) -> anyhow::Result<()> {
        let beyond = self.scopes.iter().find(|scope| !BOUND.contains(scope));
        if let (Some(scope), false) = (beyond, self.pool.is_empty()) {
            bail!("a key that is bound to pools cannot have the scope {scope}");
        }
        ensure!(
            self.expires_at.is_none_or(|end| end > now),
            "--expires-at is in the past"
        );
        Ok(())
    }
}

/// The tenant's mode, which a key's secret tells.
async fn find_tenant(store: &Store, id: TenantId) -> anyhow::Result<TenantMode> {
    let tenant = store.find_tenant(id).await?;
    let tenant = tenant.with_context(|| format!("there is no tenant {id}"))?;
    Ok(tenant.mode)
}

fn words(items: impl Iterator<Item = impl ToString>) -> String {
    let words: Vec<String> = items.map(|item| item.to_string()).collect();
    words.join(" ")
}

fn to_json(key: &KeyRecord) -> Value {
    let scopes: Vec<&str> = key.scopes.iter().map(Scope::as_str).collect();
    json!({
        "id": key.id,
        "name": key.name,
        "scopes": scopes,
        "pools": key.pools.as_deref(),
        "created_at": Stamp(key.created_at),
        "expires_at": key.expires_at.map(Stamp),
        "last_used_at": key.last_used_at.map(Stamp),
    })
}
