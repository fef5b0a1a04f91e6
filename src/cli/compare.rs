//! `credit-ledger compare`: holds the pools as another system has them against the ledger, for the
//! time when both run side by side. Nothing is written: what is due is booked in memory.

mod fields;
mod findings;

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use futures_util::TryStreamExt;
use indicatif::{ProgressBar, ProgressStyle};
use uuid::Uuid;

use self::fields::{Ours, differences};
use self::findings::{Difference, Findings};
use super::database;
use super::import::{BadLine, BadLines, pool_of, texts};
use super::import::{COMPARED_POOLS, Files, UsageError, catalogue, exit_code, stage};
use crate::clock::Clock;
use crate::config::Config;
use crate::http::time::Stamp;
use crate::ledger::{Balance, Book, Catalogue, PoolId, PoolName, TenantId, Time, advance};
use crate::store::{Source, StagedPool, Staging, Store, StoredPool};

/// How many pools are compared at once.
const PORTION: i64 = 500;

/// What to compare, and how to say what differs.
#[derive(clap::Args)]
pub struct Arguments {
    /// The tenant that has the pools
    #[arg(long, value_name = "ID")]
    tenant: Uuid,
    /// The pools as the other system has them, in the format that `import --pools` takes; columns
    /// that the file does not have are not compared, only pool is needed
    #[arg(long, value_name = "FILE")]
    against: PathBuf,
    /// Compare the ledger as it was at this instant, RFC 3339; plan, builders, monthly_allowance
    /// and licence of a pool that has had entries since are those of now. Now when left out
    #[arg(long, value_name = "INSTANT")]
    at: Option<Stamp>,
    /// Write every difference to this CSV file
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Print one JSON object instead of a table
    #[arg(long)]
    json: bool,
}

/// Compares; exit 1 when anything differs.
pub async fn run(config: &Config, arguments: Arguments) -> anyhow::Result<ExitCode> {
    let (opened, store) = database::for_command(config).await?;
    let done = compare(&store, arguments).await;
    store.close().await;
    opened.close().await?;
    exit_code(done)
}

/// Compares; whether all is the same.
async fn compare(store: &Store, arguments: Arguments) -> anyhow::Result<bool> {
    let now = Clock::System.now();
    let at = arguments.at.map_or(now, |Stamp(at)| at);
    if at > now {
        return Err(UsageError("--at must not be in the future".to_owned()).into());
    }
    let tenant = TenantId::from(arguments.tenant);
    let catalogue = catalogue(store, tenant).await?;
    let files = Files::of_pools(arguments.against);
    let report = arguments.report.as_deref();
    let mut findings = Findings::new(report)?;
    // What cannot be read is a difference like any other.
    let mut bad = BadLines::new(None)?;
    let mut staging = store.staging().await?;
    let staged = stage(&mut staging, tenant, &files, &COMPARED_POOLS, &mut bad).await?;
    findings.unreadable = bad;
    let mut comparison = Comparison {
        store,
        staging,
        tenant,
        at,
        catalogue,
        files,
        findings,
    };
    comparison.all(staged.pools).await?;
    let mut findings = comparison.findings;
    findings.finish()?;
    if arguments.json {
        println!("{}", findings.to_json(at));
    } else {
        findings.print(at, report);
    }
    Ok(findings.is_good())
}

/// One comparison under way.
struct Comparison<'a> {
    store: &'a Store,
    staging: Staging,
    tenant: TenantId,
    at: Time,
    catalogue: Arc<Catalogue>,
    files: Files,
    findings: Findings,
}

impl Comparison<'_> {
    async fn all(&mut self, count: u64) -> anyhow::Result<()> {
        let progress = progress_bar(count);
        let mut after = 0;
        loop {
            let pools = self.staging.pools(after, PORTION).await?;
            let Some(last) = pools.last() else {
                break;
            };
            after = last.line.line;
            self.portion(&pools).await?;
            progress.inc(pools.len() as u64);
        }
        progress.finish_and_clear();
        let mut unmentioned = std::pin::pin!(self.staging.unmentioned(self.tenant));
        while let Some(name) = unmentioned.try_next().await? {
            self.findings.add(Difference::only_in_ledger(name))?;
        }
        Ok(())
    }

    async fn portion(&mut self, pools: &[StagedPool]) -> anyhow::Result<()> {
        let mut named: Vec<(&StagedPool, PoolName)> = Vec::with_capacity(pools.len());
        for staged in pools {
            if let Some(name) = self.readable(staged)? {
                named.push((staged, name));
            }
        }
        let names: Vec<PoolName> = named.iter().map(|(_, name)| name.clone()).collect();
        let mut ours = self.ours(&names).await?;
        for (staged, name) in named {
            let Some(ours) = ours.remove(&staged.line.pool) else {
                self.findings
                    .add(Difference::only_in_file(name.to_string()))?;
                continue;
            };
            match differences(&texts(&staged.line), &ours, &self.catalogue) {
                Ok(found) => self.findings.compared(&name, found)?,
                Err(reasons) => self.unreadable(staged, reasons.join("; "))?,
            }
        }
        Ok(())
    }

    /// The name of the pool that a line is about, unless the line is no good.
    fn readable(&mut self, staged: &StagedPool) -> anyhow::Result<Option<PoolName>> {
        let line = &staged.line;
        let twin = line.twin.map(|twin| format!("pool is in line {twin}, too"));
        if let Some(reason) = line.problem.clone().or(twin) {
            self.unreadable(staged, reason)?;
            return Ok(None);
        }
        Ok(pool_of(&texts(line)).parse().ok())
    }

    fn unreadable(&mut self, staged: &StagedPool, reason: String) -> anyhow::Result<()> {
        self.findings.unreadable.add(BadLine {
            file: self.files.name(Source::Pools),
            line: staged.line.line,
            pool: pool_of(&texts(&staged.line)),
            reason,
        })
    }

    /// These pools as the ledger has them at the instant.
    async fn ours(&self, names: &[PoolName]) -> anyhow::Result<HashMap<PoolId, Ours>> {
        let found = self.store.find_pools(self.tenant, names, self.at).await?;
        let past: Vec<PoolId> = found
            .iter()
            .filter(|it| it.pool.last_at > self.at)
            .map(|it| it.pool.id)
            .collect();
        let earlier: HashMap<PoolId, Balance> = if past.is_empty() {
            HashMap::new()
        } else {
            let entries = self.store.last_entries(&past, self.at).await?;
            entries.into_iter().map(|it| (it.pool, it.after)).collect()
        };
        let ours = found.into_iter().filter_map(|stored| {
            let id = stored.pool.id;
            Some((id, self.at_instant(stored, &earlier)?))
        });
        Ok(ours.collect())
    }

    /// Nothing for a pool that was made later.
    fn at_instant(&self, stored: StoredPool, earlier: &HashMap<PoolId, Balance>) -> Option<Ours> {
        if stored.pool.last_at > self.at {
            let balance = *earlier.get(&stored.pool.id)?;
            let pool = stored.pool;
            return Some(Ours { pool, balance });
        }
        let at = stored.clock_now.unwrap_or(self.at).max(stored.pool.last_at);
        let mut book = Book::with(stored.pool, stored.along);
        advance(&mut book, &self.catalogue, at);
        let pool = book.pool().clone();
        let balance = pool.balance(at);
        Some(Ours { pool, balance })
    }
}

/// Seen only on a terminal.
fn progress_bar(pools: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} pools, {per_sec}, {eta} left");
    ProgressBar::new(pools).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
