//! Pools as of now, for everything that reads: what is due but not booked is counted in memory.
//!
//! A balance read writes nothing. Reads of the journal use [`booked`], which first has the lane
//! book what is due; neither answer depends on who looked before (invariant path-independent).

use std::collections::HashMap;
use std::sync::Arc;

use super::App;
use super::codes;
use super::problem::Problem;
use crate::lanes::{self, Job, PoolView};
use crate::ledger::{
    Actor, Balance, Book, Catalogue, Command, Pool, PoolId, PoolName, Refusal, TenantId, Time,
    advance, auto_provision, next_grant,
};
use crate::store::StoredPool;

/// How many due pools of a tenant one round books.
const DUE_PER_ROUND: usize = 250;
/// How many rounds a list waits for before it asks its caller to come again.
const ROUNDS: usize = 20;

/// A pool as of now.
#[derive(Clone, Debug)]
pub struct Current {
    /// Its state, everything due by `now` counted.
    book: Book,
    /// Its tenant's catalogue.
    pub catalogue: Arc<Catalogue>,
    /// The pool's now: its test clock's, if it lives on one.
    pub now: Time,
}

impl Current {
    /// Its state, everything due by `now` counted.
    #[must_use]
    pub const fn pool(&self) -> &Pool {
        self.book.pool()
    }

    /// What it has.
    #[must_use]
    pub fn balance(&self) -> Balance {
        self.pool().balance(self.now)
    }

    /// As it is shown: only what was read by [`shown`] or [`all_shown`] has the holds for it.
    fn view(&self) -> PoolView {
        PoolView {
            next_grant: next_grant(&self.book, &self.catalogue),
            pool: self.pool().clone(),
            as_of: self.now,
        }
    }
}

/// The pool, or what the first write would make of it where the tenant wants that: freshly
/// granted, `version` 0.
///
/// # Errors
/// 404, or the database is away.
pub async fn current(app: &App, tenant: TenantId, name: &PoolName) -> Result<Current, Problem> {
    match app.store.find_pool(tenant, name, soon(app)).await? {
        Some(stored) => as_of_now(app, tenant, stored).await,
        None => Ok(provisioned(app, tenant, name)
            .await?
            .ok_or(Refusal::PoolNotFound)?),
    }
}

/// The pool as it is shown, if it is there.
///
/// # Errors
/// 404, or the database is away.
pub async fn shown(app: &App, tenant: TenantId, name: &PoolName) -> Result<PoolView, Problem> {
    let found = app.store.find_pool(tenant, name, Time::MAX_UTC).await?;
    let current = as_of_now(app, tenant, found.ok_or(Refusal::PoolNotFound)?).await?;
    Ok(current.view())
}

/// The pool, if it is there.
///
/// # Errors
/// 404, or the database is away.
pub async fn existing(app: &App, tenant: TenantId, name: &PoolName) -> Result<Current, Problem> {
    let found = app.store.find_pool(tenant, name, soon(app)).await?;
    as_of_now(app, tenant, found.ok_or(Refusal::PoolNotFound)?).await
}

/// The pool, if it is there, once everything due is in its journal.
///
/// # Errors
/// 404, or the database is away.
pub async fn booked(app: &App, tenant: TenantId, name: &PoolName) -> Result<Current, Problem> {
    Ok(find_booked(app, tenant, name)
        .await?
        .ok_or(Refusal::PoolNotFound)?)
}

/// The pool once everything due is in its journal, or what the first write would make of it.
///
/// # Errors
/// 404, or the database is away.
pub async fn booked_or_new(
    app: &App,
    tenant: TenantId,
    name: &PoolName,
) -> Result<Current, Problem> {
    match find_booked(app, tenant, name).await? {
        Some(booked) => Ok(booked),
        None => current(app, tenant, name).await,
    }
}

/// Those of the pools that are there or would be made, each as of now.
///
/// # Errors
/// The database is away.
pub async fn current_of(
    app: &App,
    tenant: TenantId,
    names: &[PoolName],
) -> Result<HashMap<PoolName, Current>, Problem> {
    let stored = app.store.find_pools(tenant, names, soon(app)).await?;
    let mut found = HashMap::with_capacity(names.len());
    for stored in stored {
        let current = as_of_now(app, tenant, stored).await?;
        found.insert(current.pool().name.clone(), current);
    }
    for name in names {
        if !found.contains_key(name)
            && let Some(current) = provisioned(app, tenant, name).await?
        {
            found.insert(name.clone(), current);
        }
    }
    Ok(found)
}

/// Books what is due on a tenant's pools, so that a list can compare what is stored. Pools on test
/// clocks are booked when their clock is moved.
///
/// # Errors
/// The database is away, or more is due than a request has time for: what was booked stays booked,
/// so a later try gets further.
pub async fn book_all_due(app: &App, tenant: TenantId) -> Result<(), Problem> {
    let now = app.clock.now();
    let limit = i64::try_from(DUE_PER_ROUND).unwrap_or(i64::MAX);
    for _ in 0..ROUNDS {
        let due = app.store.due_pools_of(tenant, now, limit).await?;
        let last_round = due.len() < DUE_PER_ROUND;
        let booking = due.into_iter().map(|pool| book_due(app, tenant, pool.name));
        futures_util::future::try_join_all(booking).await?;
        if last_round {
            return Ok(());
        }
    }
    Err(Problem::new(
        codes::OVERLOADED,
        "many pools renew at this moment; try again",
    ))
}

/// Pools as they were read with their holds, as they are shown.
///
/// # Errors
/// The database is away.
pub async fn all_shown(
    app: &App,
    tenant: TenantId,
    stored: Vec<StoredPool>,
) -> Result<Vec<PoolView>, Problem> {
    let mut pools = Vec::with_capacity(stored.len());
    for stored in stored {
        pools.push(as_of_now(app, tenant, stored).await?.view());
    }
    Ok(pools)
}

async fn find_booked(
    app: &App,
    tenant: TenantId,
    name: &PoolName,
) -> Result<Option<Current>, Problem> {
    let found = app.store.find_pool(tenant, name, soon(app)).await?;
    let Some(stored) = found else {
        return Ok(None);
    };
    let now = now_of(app, &stored);
    if stored.pool.next_due_at().is_none_or(|due| due > now) {
        return as_of_now(app, tenant, stored).await.map(Some);
    }
    book_due(app, tenant, name.clone()).await?;
    existing(app, tenant, name).await.map(Some)
}

async fn book_due(app: &App, tenant: TenantId, pool: PoolName) -> Result<(), Problem> {
    let actor = Actor::default();
    let job = Job {
        tenant,
        pool,
        actor,
        command: Command::Advance,
        dry_run: false,
    };
    app.lanes.submit(job).await?;
    Ok(())
}

fn now_of(app: &App, stored: &StoredPool) -> Time {
    // Never earlier than the last entry, whatever this machine's clock says (invariant ordered).
    stored
        .clock_now
        .unwrap_or_else(|| app.clock.now())
        .max(stored.pool.last_at)
}

/// Holds that expire by then are read along with their pool.
fn soon(app: &App) -> Time {
    lanes::horizon(app.clock.now())
}

async fn as_of_now(app: &App, tenant: TenantId, stored: StoredPool) -> Result<Current, Problem> {
    let now = now_of(app, &stored);
    let catalogue = catalogue(app, tenant, Some(stored.catalogue_version)).await?;
    let mut book = Book::with(stored.pool, stored.along);
    advance(&mut book, &catalogue, now);
    Ok(Current {
        book,
        catalogue,
        now,
    })
}

/// What the first write would make of a pool that is not there: freshly granted, nothing written.
async fn provisioned(
    app: &App,
    tenant: TenantId,
    name: &PoolName,
) -> Result<Option<Current>, Problem> {
    let catalogue = catalogue(app, tenant, None).await?;
    let Some(put) = auto_provision(name, &catalogue) else {
        return Ok(None);
    };
    let now = app.clock.now();
    let id = (PoolId::of(tenant, name), tenant, name.clone());
    let book = put.create(id, &catalogue, Actor::default(), now)?;
    let pool = Pool {
        seq: 0,
        ..book.pool().clone()
    };
    Ok(Some(Current {
        book: Book::new(pool),
        catalogue,
        now,
    }))
}

async fn catalogue(
    app: &App,
    tenant: TenantId,
    version: Option<i64>,
) -> Result<Arc<Catalogue>, Problem> {
    let found = app.store.catalogue(tenant, version).await?;
    // A key is only good while its tenant is there, so this is no client's mistake.
    found
        .map(|(_, catalogue)| catalogue)
        .ok_or_else(|| Problem::plain(codes::POOL_NOT_FOUND))
}
