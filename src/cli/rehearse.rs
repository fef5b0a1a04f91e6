//! `credit-ledger rehearse`: the past usage of all pools under other plans or prices.
//!
//! Only reads. What is decided anew, and how, is the ledger's; what is said of it is in [`report`].

mod report;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressStyle};
use uuid::Uuid;

use super::{database, tenants};
use crate::clock::Clock;
use crate::config::Config;
use crate::http::{TrialError, TrialPrices};
use crate::ledger::{Catalogue, PoolId, PoolName, TenantId, Time};
use crate::store::{Rehearser, Store, TenantRecord, Trial};
use report::Report;

/// How many pools are read in one snapshot.
const PORTION: i64 = 200;
/// What clap exits with, too, when it cannot read what was asked.
const EX_USAGE: u8 = 2;

/// What to try out, over how long, and how to say what was found.
#[derive(clap::Args)]
#[command(after_long_help = METHOD)]
pub struct Arguments {
    /// Plans to try out: JSON, an object from code to the body of PUT /v1/plans/{code}, or an array
    /// of such bodies with a code; the name may be left out
    #[arg(long, value_name = "FILE", required_unless_present = "operations")]
    plans: Option<PathBuf>,
    /// Prices to try out: likewise, bodies of PUT /v1/operations/{code}
    #[arg(long, value_name = "FILE")]
    operations: Option<PathBuf>,
    /// The last so many months: 1 to 36
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=36))]
    months: i32,
    /// Only this tenant
    #[arg(long, value_name = "ID")]
    tenant: Option<Uuid>,
    /// Only pools of this name, like workspace:6f1c; may be repeated
    #[arg(long, value_name = "NAME")]
    pool: Vec<PoolName>,
    /// Print one JSON object instead of tables
    #[arg(long)]
    json: bool,
    /// Write a line of CSV for every pool to this file
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

/// What the help says of the method.
const METHOD: &str = "\
How it is done: each pool's journal is replayed by the service's own rules, from the first of its \
cycles that begins in the window (or from its making or import) up to now. Debits, captures, \
refunds, purchases, clawbacks, adjustments, changes of plan, seats and licence, upgrades and the \
closing happen again at their own instants; renewals, expiries and licence ends come from the \
rules. A plan that is named is in force in the whole window, in one version; what is not named \
stays as it is. Nothing is written.

Prices: where the rate card to try out fixes a price, that is charged, also for operations whose \
price was named; everything else costs what it cost, rounded up to the plan's denomination. \
Operations have no history: an operation that is not named costs what it costs today.
A strict debit that is short counts as refused; one in mode settle books overdraft. A refund \
gives the same share back. Add-on purchases are credited, unless only the plan to try out sells \
none.
Holds are not replayed: a capture is a debit at its own instant, and what was reserved counts as \
there. An imported pool keeps the cycle it came with. A clawback or an adjustment takes what it \
took, as far as that is there. Changes of terms that the plan to try out does not allow are left \
out, and counted.
A pool is out from the instant at which nothing is available or a debit is refused, until credits \
come.

What it cannot know: debits that were refused in the past are in no journal, so `now` has none \
and `then` does not serve them either; and with other plans people would have used, bought and \
upgraded otherwise.";

/// A tenant, what it sells, and what it would sell.
struct Tenant {
    record: TenantRecord,
    sold: Arc<Catalogue>,
    other: Catalogue,
}

/// Rehearses; exit 2 when the files cannot be used.
///
/// # Errors
/// The database is away, there is no such tenant or pool, or a journal cannot be read.
pub async fn run(config: &Config, arguments: Arguments) -> anyhow::Result<ExitCode> {
    let prices = match read_files(&arguments) {
        Ok(prices) => prices,
        Err(refused) => return Ok(refuse(&refused)),
    };
    let (opened, store) = database::for_command(config).await?;
    let now = Clock::System.now();
    let done = rehearse(&store, &arguments, &prices, now).await;
    store.close().await;
    opened.close().await?;
    match done? {
        Ok(report) if arguments.json => println!("{}", report.to_json()),
        Ok(report) => report.print(),
        Err(refused) => return Ok(refuse(&refused)),
    }
    Ok(ExitCode::SUCCESS)
}

fn refuse(lines: &[String]) -> ExitCode {
    for line in lines {
        eprintln!("credit-ledger: {line}");
    }
    ExitCode::from(EX_USAGE)
}

fn read_files(arguments: &Arguments) -> Result<TrialPrices, Vec<String>> {
    let mut prices = TrialPrices::default();
    let said = |TrialError(lines)| lines;
    if let Some(path) = &arguments.plans {
        let (name, text) = read_file(path)?;
        prices.add_plans(name, &text).map_err(said)?;
    }
    if let Some(path) = &arguments.operations {
        let (name, text) = read_file(path)?;
        prices.add_operations(name, &text).map_err(said)?;
    }
    Ok(prices)
}

/// A file's name, and what is in it.
fn read_file(path: &Path) -> Result<(String, String), Vec<String>> {
    let name = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(text) => Ok((name, text)),
        Err(error) => Err(vec![format!("{name}: {error}")]),
    }
}

/// What was found, or what is wrong with the files for one of the tenants.
async fn rehearse(
    store: &Store,
    arguments: &Arguments,
    prices: &TrialPrices,
    now: Time,
) -> anyhow::Result<Result<Report, Vec<String>>> {
    let tenants = match with_prices(store, arguments, prices, now).await? {
        Ok(tenants) => tenants,
        Err(refused) => return Ok(Err(refused)),
    };
    let mut report = Report::new(arguments.months, now, arguments.report.as_deref())?;
    let mut rehearser = store.rehearser().await?;
    let progress = progress_bar();
    let mut found = 0;
    for tenant in &tenants {
        let trial = Trial {
            catalogue: &tenant.sold,
            other: &tenant.other,
            now,
            months: arguments.months,
        };
        report.begin(&tenant.record);
        if arguments.pool.is_empty() {
            progress.inc_length(rehearser.count(tenant.record.id).await?);
            rehearse_all(
                &mut rehearser,
                tenant.record.id,
                trial,
                &mut report,
                &progress,
            )
            .await?;
        } else {
            let ids = |name| PoolId::of(tenant.record.id, name);
            let ids: Vec<PoolId> = arguments.pool.iter().map(ids).collect();
            found += add(&mut rehearser, &ids, trial, &mut report).await?;
        }
    }
    progress.finish_and_clear();
    if found == 0 && !arguments.pool.is_empty() {
        bail!("there is no pool of this name");
    }
    report.finish()?;
    Ok(Ok(report))
}

async fn rehearse_all(
    rehearser: &mut Rehearser,
    tenant: TenantId,
    trial: Trial<'_>,
    report: &mut Report,
    progress: &ProgressBar,
) -> anyhow::Result<()> {
    let mut last = None;
    loop {
        let (pools, end) = rehearser.next_pools(tenant, last, PORTION).await?;
        if pools.is_empty() {
            return Ok(());
        }
        last = end;
        add(rehearser, &pools, trial, report).await?;
        progress.inc(pools.len() as u64);
    }
}

/// Rehearses these pools; how many of them are there.
async fn add(
    rehearser: &mut Rehearser,
    pools: &[PoolId],
    trial: Trial<'_>,
    report: &mut Report,
) -> anyhow::Result<usize> {
    let found = rehearser.rehearse(pools, trial).await?;
    let count = found.len();
    for pool in found {
        let name = pool.name;
        let context = || format!("{name} cannot be read; verify says more");
        let rehearsed = pool.rehearsed.with_context(context)?;
        report.add(&name, rehearsed)?;
    }
    Ok(count)
}

/// The tenants, each with what it would sell.
async fn with_prices(
    store: &Store,
    arguments: &Arguments,
    prices: &TrialPrices,
    now: Time,
) -> anyhow::Result<Result<Vec<Tenant>, Vec<String>>> {
    let records = match arguments.tenant {
        Some(id) => {
            let found = store.find_tenant(id.into()).await?;
            vec![found.with_context(|| format!("there is no tenant {id}"))?]
        }
        None => tenants::all(store).await?,
    };
    let mut sold = Vec::with_capacity(records.len());
    for record in &records {
        let found = store.catalogue(record.id, None).await?;
        let (_, catalogue) = found.with_context(|| format!("{} sells nothing", record.id))?;
        sold.push(catalogue);
    }
    let (mut tenants, mut refused) = (Vec::with_capacity(records.len()), Vec::new());
    for (record, catalogue) in records.into_iter().zip(&sold) {
        match prices.over(catalogue, now, &sold) {
            Ok(other) => tenants.push(Tenant {
                record,
                sold: Arc::clone(catalogue),
                other,
            }),
            Err(TrialError(lines)) => refused.extend(lines),
        }
    }
    // What is wrong is mostly wrong for all tenants alike.
    refused.sort();
    refused.dedup();
    Ok(match refused.is_empty() {
        true => Ok(tenants),
        false => Err(refused),
    })
}

/// Seen only on a terminal.
fn progress_bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} pools, {per_sec}, {eta} left");
    ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
