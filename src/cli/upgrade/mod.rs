//! `credit-ledger upgrade`: move pools on legacy plans to the plans that came after them.

mod findings;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, bail};
use futures_util::{StreamExt, stream};
use indicatif::{ProgressBar, ProgressStyle};
use uuid::Uuid;

use super::database::Books;
use crate::clock::Clock;
use crate::config::Config;
use crate::http::time::Stamp;
use crate::lanes::{Job, LaneError, LaneLimits, Reply};
use crate::ledger::{Actor, Command, PlanCode, PoolId, PoolName, TenantId, Time, Upgrade};
use crate::store::{PoolOnPlan, Portion, StoreError};
use findings::Findings;

/// Pools that are looked at in one statement.
const PORTION: i64 = 2_000;
/// Pools that are on their way at once.
const AT_ONCE: usize = 512;
const LIMITS: LaneLimits = LaneLimits {
    lanes: 2,
    batch: 256,
    queue: AT_ONCE,
};
/// How long one pool may take, and how often it is tried.
const PATIENCE: Duration = Duration::from_secs(20);
const ATTEMPTS: u32 = 10;
const PAUSE: Duration = Duration::from_millis(200);

/// Which pools to move, and when.
#[derive(clap::Args)]
#[command(group = clap::ArgGroup::new("which").required(true).multiple(true))]
pub struct Arguments {
    /// Move them as of this instant, RFC 3339; now when left out. A pool of which something later
    /// is booked is moved right after that. With the same instant, a run that was stopped goes on
    /// where it was
    #[arg(long, value_name = "TIME")]
    at: Option<Stamp>,
    /// Only pools of this tenant; needed when pools are named
    #[arg(long, value_name = "ID")]
    tenant: Option<Uuid>,
    /// A pool to move, like workspace:6f1c; may be repeated
    #[arg(long, value_name = "NAME", group = "which", requires = "tenant")]
    pool: Vec<PoolName>,
    /// A file with the names of pools to move, one a line
    #[arg(long, value_name = "FILE", group = "which", requires = "tenant")]
    pools: Option<PathBuf>,
    /// Move every pool that is on one of the old plans
    #[arg(long, group = "which", conflicts_with_all = ["pool", "pools"])]
    all: bool,
    /// An old plan and its new one, like legacy_pro=pro; may be repeated. When left out:
    /// legacy_free=free (an instance becomes basic), legacy_pro=pro, legacy_team=team
    #[arg(long, value_name = "OLD=NEW")]
    map: Vec<Mapping>,
    /// Only tell what would happen
    #[arg(long)]
    dry_run: bool,
    /// Print one JSON object instead of a table
    #[arg(long)]
    json: bool,
}

/// An old plan and its new one.
#[derive(Clone)]
struct Mapping(PlanCode, PlanCode);

impl FromStr for Mapping {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (old, new) = text
            .split_once('=')
            .ok_or_else(|| "must be like legacy_pro=pro".to_owned())?;
        let code = |code: &str| {
            code.parse::<PlanCode>()
                .map_err(|error| format!("{code}: {error}"))
        };
        Ok(Self(code(old)?, code(new)?))
    }
}

/// Moves pools; exit 1 when one of them could not be.
pub async fn run(config: &Config, arguments: Arguments) -> anyhow::Result<ExitCode> {
    let clock = Clock::System;
    let at = arguments.at.map_or_else(|| clock.now(), Time::from);
    if at > clock.now() {
        bail!("--at {} lies ahead: run this then", Stamp(at));
    }
    let plans = match arguments.map.as_slice() {
        [] => Upgrade::default_plans(),
        map => map
            .iter()
            .cloned()
            .map(|Mapping(old, new)| (old, new))
            .collect(),
    };
    let named = named_pools(&arguments)?;
    let books = Books::open(config, &clock, LIMITS).await?;
    let tenant = arguments.tenant.map(TenantId::from);
    if let Some(tenant) = tenant
        && books.store.find_tenant(tenant).await?.is_none()
    {
        books.close().await?;
        bail!("there is no tenant {tenant}");
    }
    let mover = Mover {
        books: &books,
        upgrade: Upgrade { at, plans },
        dry_run: arguments.dry_run,
        tenant,
    };
    let findings = match arguments.all {
        true => mover.move_all().await,
        false => mover.move_named(&named).await,
    };
    books.close().await?;
    let findings = findings?;
    if arguments.json {
        println!("{}", findings.to_json(at, arguments.dry_run));
    } else {
        findings.print(at, arguments.dry_run);
    }
    Ok(match findings.is_good() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

fn named_pools(arguments: &Arguments) -> anyhow::Result<Vec<PoolName>> {
    let mut names = arguments.pool.clone();
    if let Some(path) = &arguments.pools {
        names.extend(read_names(path)?);
    }
    Ok(names)
}

fn read_names(path: &Path) -> anyhow::Result<Vec<PoolName>> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let lines = text.lines().enumerate();
    let lines = lines.filter(|(_, line)| !line.trim().is_empty());
    let name = |(place, line): (usize, &str)| {
        let place = format!("{} line {}: {line}", path.display(), place + 1);
        line.trim().parse::<PoolName>().context(place)
    };
    lines.map(name).collect()
}

/// Sends pools to their lanes.
struct Mover<'a> {
    books: &'a Books,
    upgrade: Upgrade,
    dry_run: bool,
    tenant: Option<TenantId>,
}

impl Mover<'_> {
    async fn move_all(&self) -> anyhow::Result<Findings> {
        let mut findings = Findings::default();
        let plans: Vec<&PlanCode> = self.upgrade.plans.keys().collect();
        let progress = progress_bar();
        let mut last: Option<PoolId> = None;
        loop {
            let portion = self.next_portion(&plans, last).await?;
            if portion.last.is_none() {
                progress.finish_and_clear();
                return Ok(findings);
            }
            last = portion.last;
            self.move_pools(portion.pools, &mut findings, &progress)
                .await;
        }
    }

    /// A database that is away for a moment is asked again.
    async fn next_portion(
        &self,
        plans: &[&PlanCode],
        last: Option<PoolId>,
    ) -> Result<Portion, StoreError> {
        let store = &self.books.store;
        let mut attempt = 1;
        loop {
            let found = store
                .pools_on_plans(self.tenant, plans, last, PORTION)
                .await;
            match found {
                Err(StoreError::Unavailable(_)) if attempt < ATTEMPTS => {
                    tokio::time::sleep(PAUSE * attempt).await;
                    attempt += 1;
                }
                found => return found,
            }
        }
    }

    async fn move_named(&self, names: &[PoolName]) -> anyhow::Result<Findings> {
        let mut findings = Findings::default();
        let tenant = self
            .tenant
            .context("pools are named together with --tenant")?;
        let progress = progress_bar();
        for names in names.chunks(usize::try_from(PORTION)?) {
            let found = self
                .books
                .store
                .find_pools(tenant, names, self.upgrade.at)
                .await?;
            let pools = found.into_iter().map(|stored| PoolOnPlan {
                id: stored.pool.id,
                tenant,
                name: stored.pool.name,
                plan: stored.pool.terms.plan,
            });
            let pools: Vec<PoolOnPlan> = pools.collect();
            let unknown = names
                .iter()
                .filter(|name| !pools.iter().any(|pool| pool.name == **name));
            unknown.for_each(|name| findings.refuse(name, "there is no such pool"));
            self.move_pools(pools, &mut findings, &progress).await;
        }
        progress.finish_and_clear();
        Ok(findings)
    }

    async fn move_pools(
        &self,
        pools: Vec<PoolOnPlan>,
        findings: &mut Findings,
        progress: &ProgressBar,
    ) {
        let moves = stream::iter(pools).map(|pool| async {
            let reply = self.move_pool(&pool).await;
            (pool, reply)
        });
        let mut moves = std::pin::pin!(moves.buffer_unordered(AT_ONCE));
        while let Some((pool, reply)) = moves.next().await {
            findings.add(pool, reply);
            progress.inc(1);
        }
    }

    /// Another writer in the way or a full queue is waited out: a pool is moved only once.
    async fn move_pool(&self, pool: &PoolOnPlan) -> Result<Reply, LaneError> {
        let mut attempt = 1;
        loop {
            let job = Job {
                tenant: pool.tenant,
                pool: pool.name.clone(),
                actor: Actor::default(),
                command: Command::Upgrade(Box::new(self.upgrade.clone())),
                dry_run: self.dry_run,
            };
            let reply = self.books.lanes.submit_within(job, PATIENCE).await;
            match reply {
                Err(LaneError::Busy | LaneError::Unavailable) if attempt < ATTEMPTS => {
                    tokio::time::sleep(PAUSE * attempt).await;
                    attempt += 1;
                }
                reply => return reply,
            }
        }
    }
}

/// Seen only on a terminal.
fn progress_bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} {pos} pools, {per_sec}");
    ProgressBar::new_spinner()
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()))
}
