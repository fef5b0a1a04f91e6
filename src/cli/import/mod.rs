//! `credit-ledger import`: takes over the pools of another system, as they stand there.
//!
//! The files are read once and their lines kept in a temporary table ([`stage`]); the lines of each
//! pool are put together ([`opening`]), its payments claimed ([`claims`]) and the pool is booked in
//! one commit ([`booking`]). A pool is imported whole or not at all, and only once: a run that was
//! cut short is simply run again.

mod booking;
mod cells;
mod claims;
mod findings;
mod lines;
mod opening;
mod reader;
mod records;
mod stage;

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use futures_util::TryStreamExt;
use indicatif::{ProgressBar, ProgressStyle};
use uuid::Uuid;

use self::booking::{Booked, Booking, LIMITS, Sent};
pub use self::cells::{COMPARED_POOLS, Cells, Texts};
use self::claims::{Claimed, Claims};
pub use self::findings::{BadLine, BadLines};
use self::findings::{Findings, Run};
pub use self::lines::{builders, license};
use self::opening::{Candidate, Ground, MAX_LINES, assemble};
pub use self::opening::{pool_of, texts};
use self::stage::Staged;
pub use self::stage::stage;
use super::database::Books;
use crate::clock::Clock;
use crate::config::Config;
use crate::http::time::Stamp;
use crate::lanes::Lanes;
use crate::ledger::{Catalogue, PoolId, PoolName, TenantId, Time};
use crate::store::{Source, StagedLine, StagedPool, Staging, Store};

/// How many pools are read back at once.
const PORTION: i64 = 500;
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
    /// The instant that the files describe, RFC 3339; now when left out. It is remembered: a later
    /// run of the same files takes it again
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
    let started = Instant::now();
    let store = &books.store;
    let tenant = TenantId::from(arguments.tenant);
    let catalogue = catalogue(store, tenant).await?;
    let files = Files {
        pools: arguments.pools,
        usage: arguments.usage,
        payments: arguments.payments,
    };
    let now = Clock::System.now();
    if arguments.at.is_some_and(|Stamp(at)| at > now) {
        return Err(UsageError("--at must not be in the future".to_owned()).into());
    }
    let mut bad = BadLines::new(arguments.report.as_deref())?;
    let mut staging = store.staging().await?;
    let staged = stage(&mut staging, tenant, &files, &cells::POOLS, &mut bad).await?;
    let instant = Instants {
        wanted: arguments.at,
        now,
        dry_run: arguments.dry_run,
    };
    let (at, again) = instant.decide(store, tenant, &staged).await?;
    let ground = Ground {
        tenant,
        at,
        catalogue: &catalogue,
        files: &files,
    };
    let mut import = Import {
        ground,
        staging,
        claims: Claims {
            store: store.clone(),
            tenant,
            dry_run: arguments.dry_run,
        },
        findings: Findings::new(bad),
    };
    import.findings.refused = staged.nameless;
    import.all(books.lanes.clone(), &staged).await?;
    let Import { mut findings, .. } = import;
    findings.bad.finish()?;
    let run = Run {
        at,
        again,
        dry_run: arguments.dry_run,
        took: started.elapsed(),
        report: arguments.report,
    };
    if arguments.json {
        println!("{}", findings.to_json(&run));
    } else {
        findings.print(&run);
    }
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

/// From what the instant that the files describe is decided.
struct Instants {
    wanted: Option<Stamp>,
    now: Time,
    dry_run: bool,
}

impl Instants {
    /// The instant that the files describe, and whether an earlier run has said so.
    async fn decide(
        &self,
        store: &Store,
        tenant: TenantId,
        staged: &Staged,
    ) -> anyhow::Result<(Time, bool)> {
        let wanted = self.wanted.map(|Stamp(at)| at);
        let earlier = store.find_import(tenant, &staged.content).await?;
        let mut at = earlier.or(wanted).unwrap_or(self.now);
        if earlier.is_none() && !self.dry_run {
            let content = &staged.content;
            at = store.remember_import(tenant, content, at, self.now).await?;
        }
        match wanted {
            Some(wanted) if wanted != at => {
                let at = Stamp(at);
                let message = format!("--at: these files were imported as of {at} before");
                Err(UsageError(message).into())
            }
            _ => Ok((at, earlier.is_some())),
        }
    }
}

/// One import under way.
struct Import<'a> {
    ground: Ground<'a>,
    staging: Staging,
    claims: Claims,
    findings: Findings,
}

impl Import<'_> {
    async fn all(&mut self, lanes: Lanes, staged: &Staged) -> anyhow::Result<()> {
        self.refuse_strays().await?;
        let progress = progress_bar(staged.pools);
        progress.inc(staged.nameless);
        let done = self.book(lanes, &progress).await;
        progress.finish_and_clear();
        done
    }

    /// Lines about pools that are not to be imported.
    async fn refuse_strays(&mut self) -> anyhow::Result<()> {
        let mut strays = std::pin::pin!(self.staging.strays());
        while let Some(line) = strays.try_next().await? {
            let reason = line.problem.clone();
            self.findings.bad.add(BadLine {
                file: self.ground.files.name(line.source),
                line: line.line,
                pool: pool_of(&texts(&line)),
                reason: reason.unwrap_or_else(|| "pool is in no line of the pools".to_owned()),
            })?;
        }
        Ok(())
    }

    /// Books all pools, in the order of their file.
    async fn book(&mut self, lanes: Lanes, progress: &ProgressBar) -> anyhow::Result<()> {
        let mut booking = Booking::new(lanes, self.ground.tenant, self.claims.dry_run);
        let mut after = 0;
        loop {
            let pools = self.staging.pools(after, PORTION).await?;
            let pools = portion(pools);
            let Some(last) = pools.last() else {
                break;
            };
            after = last.line.line;
            let candidates = self.candidates(&pools, progress).await?;
            for claimed in self.claims.claim(candidates).await? {
                if let Some(Claimed {
                    candidate, claims, ..
                }) = self.without_taken(claimed, progress).await?
                {
                    booking.send(candidate, claims).await?;
                }
                while let Some(sent) = booking.try_next()? {
                    self.count(sent, progress).await?;
                }
            }
        }
        while let Some(sent) = booking.next().await? {
            self.count(sent, progress).await?;
        }
        Ok(())
    }

    /// Puts the lines of these pools together; those with a bad one are refused.
    async fn candidates(
        &mut self,
        pools: &[StagedPool],
        progress: &ProgressBar,
    ) -> anyhow::Result<Vec<Candidate>> {
        let readable = pools.iter().filter(|pool| pool.others <= MAX_LINES);
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

    /// The pool, unless one of its payments is known otherwise.
    async fn without_taken(
        &mut self,
        claimed: Claimed,
        progress: &ProgressBar,
    ) -> anyhow::Result<Option<Claimed>> {
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
        lines += 1 + pool.others.min(MAX_LINES);
        is_first || lines <= MAX_LINES
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
