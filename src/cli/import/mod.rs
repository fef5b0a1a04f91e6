//! `credit-ledger import`: takes over the pools of another system, as they stand there.
//!
//! The files are read once and their lines kept in a temporary table ([`stage`]); the lines of each
//! pool are put together ([`opening`]), its payments claimed ([`claims`]) and the pool is booked in
//! one commit ([`booking`]). A pool is imported whole or not at all, and only once: a run that was
//! cut short is simply run again. So nothing is booked while there is a line of usage or payments
//! that may be about any pool: that pool could never be completed.

mod booking;
mod cells;
mod claims;
mod findings;
mod instant;
mod lines;
mod opening;
mod reader;
mod records;
mod stage;

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use futures_util::TryStreamExt;
use indicatif::{ProgressBar, ProgressStyle};
use uuid::Uuid;

use self::booking::{Booked, Booking, LIMITS, Sent, THERE_ALREADY};
pub use self::cells::{COMPARED_POOLS, Cells, Texts};
use self::claims::{Claimed, Claims};
pub use self::findings::{BadLine, BadLines};
use self::findings::{Findings, Run};
use self::instant::Instant;
pub use self::lines::{builders, license};
use self::opening::{Candidate, Ground, assemble, too_many};
pub use self::opening::{pool_of, texts};
use self::stage::Staged;
pub use self::stage::stage;
use super::database::Books;
use crate::clock::Clock;
use crate::config::Config;
use crate::http::time::Stamp;
use crate::lanes::Lanes;
use crate::ledger::{Catalogue, PoolId, PoolName, TenantId};
use crate::store::{Source, StagedLine, StagedPool, Staging, Store};

/// How many pools are read back at once.
const PORTION: i64 = 500;
/// How many lines they have at most, beyond those of the first.
const PORTION_LINES: i64 = 20_000;
/// What `clap` ends with, too, when a command is used wrongly.
const EX_USAGE: u8 = 2;

/// What to import, and how to say what came of it.
#[derive(clap::Args)]
pub struct Arguments {
    /// The tenant that gets the pools
    #[arg(long, value_name = "ID")]
    tenant: Uuid,
    /// The pools: CSV with a header or JSON lines, with pool, plan, builders, monthly_allowance,
    /// anchor, cycle_start, monthly_granted, monthly_remaining, overdraft, addon_granted,
    /// addon_remaining, addon_expires_at, license_type, license_end, grace_until
    #[arg(long, value_name = "FILE")]
    pools: PathBuf,
    /// Who spent what in the running cycles: pool, user_id, workspace_id, operation, model,
    /// monthly, addon, overdraft (or credits alone: monthly first), count
    #[arg(long, value_name = "FILE")]
    usage: Option<PathBuf>,
    /// Payments that were credited there, so that they are not credited again: pool,
    /// payment_reference, credits, paid_at, amount_cents, currency
    #[arg(long, value_name = "FILE")]
    payments: Option<PathBuf>,
    /// The instant that the files describe, RFC 3339; now when left out. It is remembered once
    /// anything is booked: a later run of the same files takes it again
    #[arg(long, value_name = "INSTANT")]
    at: Option<Stamp>,
    /// Check everything, book nothing
    #[arg(long)]
    dry_run: bool,
    /// Write every line that was refused to this CSV file
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Print one JSON object instead of a table
    #[arg(long)]
    json: bool,
}

/// A mistake of whoever uses the command: nothing was done.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub String);

/// The files of an import.
pub struct Files {
    pools: PathBuf,
    usage: Option<PathBuf>,
    payments: Option<PathBuf>,
}

impl Files {
    /// A file of pools alone.
    pub const fn of_pools(pools: PathBuf) -> Self {
        Self {
            pools,
            usage: None,
            payments: None,
        }
    }

    const fn path(&self, source: Source) -> Option<&PathBuf> {
        match source {
            Source::Pools => Some(&self.pools),
            Source::Usage => self.usage.as_ref(),
            Source::Payments => self.payments.as_ref(),
        }
    }

    /// What a file is called.
    pub fn name(&self, source: Source) -> String {
        let path = self.path(source);
        path.map(|path| path.display().to_string())
            .unwrap_or_default()
    }
}

/// Imports; exit 1 when anything was refused.
pub async fn run(config: &Config, arguments: Arguments) -> anyhow::Result<ExitCode> {
    let books = Books::open(config, &Clock::System, LIMITS).await?;
    let done = import(&books, arguments).await;
    books.close().await?;
    exit_code(done)
}

/// The exit code of what was found to be good or not, or of a command that was used wrongly.
pub fn exit_code(done: anyhow::Result<bool>) -> anyhow::Result<ExitCode> {
    match done {
        Ok(true) => Ok(ExitCode::SUCCESS),
        Ok(false) => Ok(ExitCode::FAILURE),
        Err(error) if error.is::<UsageError>() => {
            eprintln!("credit-ledger: {error:#}");
            Ok(ExitCode::from(EX_USAGE))
        }
        Err(error) => Err(error),
    }
}

/// Imports; whether nothing was refused.
async fn import(books: &Books, arguments: Arguments) -> anyhow::Result<bool> {
    let started = std::time::Instant::now();
    let store = &books.store;
    let tenant = TenantId::from(arguments.tenant);
    let catalogue = catalogue(store, tenant).await?;
    let files = Files {
        pools: arguments.pools,
        usage: arguments.usage,
        payments: arguments.payments,
    };
    let now = Clock::System.now();
    let wanted = arguments.at.map(|Stamp(at)| at);
    if wanted.is_some_and(|at| at > now) {
        return Err(UsageError("--at must not be in the future".to_owned()).into());
    }
    let mut bad = BadLines::new(arguments.report.as_deref())?;
    let mut staging = store.staging().await?;
    let staged = stage(&mut staging, tenant, &files, &cells::POOLS, &mut bad).await?;
    let instant = Instant::decide(store, &mut staging, (tenant, &staged), wanted, now).await?;
    let mut run = Run {
        at: instant.at,
        again: instant.is_again(),
        dry_run: arguments.dry_run,
        took: Duration::ZERO,
        report: arguments.report,
    };
    let ground = Ground {
        tenant,
        at: instant.at,
        catalogue: &catalogue,
        files: &files,
    };
    let mut import = Import {
        ground,
        instant,
        staging,
        claims: Claims {
            store: store.clone(),
            tenant,
            dry_run: arguments.dry_run,
        },
        findings: Findings::new(bad),
        is_gone: false,
    };
    let done = import.all(books.lanes.clone(), &staged).await;
    let Import { mut findings, .. } = import;
    findings.is_cut_short = done.is_err();
    findings.bad.finish()?;
    run.took = started.elapsed();
    if arguments.json {
        println!("{}", findings.to_json(&run));
    } else {
        findings.print(&run);
    }
    // What was done is told in any case.
    done?;
    Ok(findings.is_good())
}

/// What the tenant sells now.
///
/// # Errors
/// There is no such tenant.
pub async fn catalogue(store: &Store, tenant: TenantId) -> anyhow::Result<Arc<Catalogue>> {
    let found = store.catalogue(tenant, None).await?;
    let (_, catalogue) = found.ok_or_else(|| UsageError(format!("there is no tenant {tenant}")))?;
    Ok(catalogue)
}

/// One import under way.
struct Import<'a> {
    ground: Ground<'a>,
    instant: Instant,
    staging: Staging,
    claims: Claims,
    findings: Findings,
    /// Whether the database is away for good.
    is_gone: bool,
}

impl Import<'_> {
    async fn all(&mut self, lanes: Lanes, staged: &Staged) -> anyhow::Result<()> {
        self.findings.refused = staged.nameless;
        self.findings.held_back = staged.unreadable + self.refuse_strays().await?;
        let progress = progress_bar(staged.pools);
        progress.inc(staged.nameless);
        let done = self.book(lanes, &progress).await;
        progress.finish_and_clear();
        done
    }

    /// Lines about pools that are not to be imported; how many there are.
    async fn refuse_strays(&mut self) -> anyhow::Result<u64> {
        let mut strays = std::pin::pin!(self.staging.strays());
        let mut count = 0;
        while let Some(line) = strays.try_next().await? {
            count += 1;
            self.findings.bad.add(BadLine {
                file: self.ground.files.name(line.source),
                line: line.line,
                pool: pool_of(&texts(&line)),
                reason: "pool is in no line of the pools".to_owned(),
            })?;
        }
        Ok(count)
    }

    /// Books all pools, in the order of their file.
    async fn book(&mut self, lanes: Lanes, progress: &ProgressBar) -> anyhow::Result<()> {
        let mut booking = Booking::new(lanes, self.ground.tenant, self.claims.dry_run);
        let sent = self.send_all(&mut booking, progress).await;
        while let Some(sent) = booking.next().await? {
            self.count(sent, progress).await?;
        }
        if self.is_gone {
            bail!("the database was away for too long: run the same again, it goes on from there");
        }
        sent
    }

    async fn send_all(
        &mut self,
        booking: &mut Booking,
        progress: &ProgressBar,
    ) -> anyhow::Result<()> {
        let mut after = 0;
        while !self.is_gone {
            let pools = self.staging.pools(after, PORTION).await?;
            let pools = portion(pools);
            let Some(last) = pools.last() else {
                break;
            };
            after = last.line.line;
            let candidates = self.candidates(&pools, progress).await?;
            if self.findings.held_back > 0 {
                self.findings.refused += candidates.len() as u64;
                progress.inc(candidates.len() as u64);
                continue;
            }
            if !candidates.is_empty() && !self.claims.dry_run {
                self.instant.keep(&self.claims.store).await?;
            }
            for claimed in self.claims.claim(candidates).await? {
                if let Some(claimed) = self.without_taken(claimed, progress).await? {
                    booking.send(claimed.candidate, claimed.claims).await?;
                }
                while let Some(sent) = booking.try_next()? {
                    self.count(sent, progress).await?;
                }
            }
        }
        Ok(())
    }

    /// Puts the lines of these pools together; those with a bad one are refused.
    async fn candidates(
        &mut self,
        pools: &[StagedPool],
        progress: &ProgressBar,
    ) -> anyhow::Result<Vec<Candidate>> {
        let is_first = |pool: &StagedPool| pool.line.twin.is_none_or(|it| it > pool.line.line);
        let readable = pools.iter();
        let readable = readable.filter(|pool| is_first(pool) && too_many(pool).is_none());
        let ids: Vec<PoolId> = readable.map(|pool| pool.line.pool).collect();
        let mut others: HashMap<PoolId, Vec<StagedLine>> = HashMap::new();
        for line in self.staging.others(&ids).await? {
            others.entry(line.pool).or_default().push(line);
        }
        let mut candidates = Vec::with_capacity(pools.len());
        for pool in pools {
            // Of a pool that is there twice the other lines are told once.
            let others = others.remove(&pool.line.pool).unwrap_or_default();
            match assemble(&self.ground, pool, &others) {
                Ok(candidate) => candidates.push(candidate),
                Err(bad) => {
                    self.findings.refused += 1;
                    progress.inc(1);
                    for line in bad {
                        self.findings.bad.add(line)?;
                    }
                }
            }
        }
        Ok(candidates)
    }

    /// The pool, unless it is there, or one of its payments is known otherwise.
    async fn without_taken(
        &mut self,
        claimed: Claimed,
        progress: &ProgressBar,
    ) -> anyhow::Result<Option<Claimed>> {
        if claimed.is_there {
            let reason = format!("pool {THERE_ALREADY}");
            self.refuse(&claimed.candidate.name, claimed.candidate.line, reason)?;
            progress.inc(1);
            return Ok(None);
        }
        let [first, ..] = claimed.taken.as_slice() else {
            return Ok(Some(claimed));
        };
        let more = claimed.taken.len() - 1;
        let more = if more > 0 {
            format!(", and {more} more payments are, too")
        } else {
            String::new()
        };
        let reason =
            format!("payment_reference {first} is known for another pool or other credits{more}");
        self.claims.release(&claimed.claims).await?;
        self.refuse(&claimed.candidate.name, claimed.candidate.line, reason)?;
        progress.inc(1);
        Ok(None)
    }

    async fn count(&mut self, sent: Sent, progress: &ProgressBar) -> anyhow::Result<()> {
        progress.inc(1);
        match sent.booked {
            Booked::Imported => self.findings.imported += 1,
            Booked::AlreadyThere => self.findings.already_there += 1,
            Booked::Refused(reason) => {
                self.claims.release(&sent.claims).await?;
                return self.refuse(&sent.name, sent.line, reason);
            }
            Booked::Failed(reason) => return self.refuse(&sent.name, sent.line, reason),
            Booked::Unknown => {
                self.is_gone = true;
                let reason = "is perhaps not booked: the database was away for too long";
                return self.refuse(&sent.name, sent.line, reason.to_owned());
            }
        }
        self.findings.figures.add(sent.figures);
        Ok(())
    }

    fn refuse(&mut self, name: &PoolName, line: i64, reason: String) -> anyhow::Result<()> {
        self.findings.refused += 1;
        self.findings.bad.add(BadLine {
            file: self.ground.files.name(Source::Pools),
            line,
            pool: name.to_string(),
            reason,
        })
    }
}

/// As many of these pools as do not have too many lines to be in memory at once.
fn portion(mut pools: Vec<StagedPool>) -> Vec<StagedPool> {
    let mut lines = 0;
    let fitting = pools.iter().take_while(|pool| {
        let is_first = lines == 0;
        lines += 1 + pool.usage + pool.payments;
        is_first || lines <= PORTION_LINES
    });
    let count = fitting.count();
    pools.truncate(count);
    pools
}

/// Seen only on a terminal.
fn progress_bar(pools: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} pools, {per_sec}, {eta} left");
    ProgressBar::new(pools).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
