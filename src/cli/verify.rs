//! `credit-ledger verify`: recompute all books from the journal.

use std::process::ExitCode;

use anyhow::bail;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::database;
use crate::config::Config;
use crate::ledger::PoolId;
use crate::store::{PoolReport, Store, StoreError, Verifier};

/// How many pools are read in one snapshot.
const PORTION: i64 = 200;

/// What to verify, and how to say what was found.
#[derive(clap::Args)]
pub struct Arguments {
    /// Only pools of this name, like workspace:6f1c
    #[arg(long, value_name = "NAME")]
    pool: Option<String>,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

/// What was found in all pools.
#[derive(Default)]
struct Findings {
    pools: u64,
    entries: i64,
    bad: Vec<PoolReport>,
    stray: Option<String>,
}

/// Verifies; exit 1 when anything is wrong.
pub async fn run(config: &Config, arguments: Arguments) -> anyhow::Result<ExitCode> {
    let (opened, store) = database::for_command(config).await?;
    let findings = verify(&store, &arguments).await;
    store.close().await;
    opened.close().await?;
    let findings = findings?;
    let good = findings.bad.is_empty() && findings.stray.is_none();
    if arguments.json {
        print_json(&findings)
    } else {
        print_text(&findings)
    }
    Ok(if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn verify(store: &Store, arguments: &Arguments) -> anyhow::Result<Findings> {
    let mut verifier = store.verifier().await?;
    let mut findings = Findings::default();
    if let Some(name) = &arguments.pool {
        let pools = verifier.pools_named(name).await?;
        if pools.is_empty() {
            bail!("there is no pool {name}");
        }
        findings.add(verifier.verify(&pools).await?);
        return Ok(findings);
    }
    let progress = progress_bar(verifier.count().await?);
    verify_all(&mut verifier, &mut findings, &progress).await?;
    findings.stray = verifier
        .stray_entry()
        .await?
        .map(|(pool, seq)| format!("{pool} entry {seq}"));
    progress.finish_and_clear();
    Ok(findings)
}

async fn verify_all(
    verifier: &mut Verifier,
    findings: &mut Findings,
    progress: &ProgressBar,
) -> Result<(), StoreError> {
    let mut last: Option<PoolId> = None;
    loop {
        let pools = verifier.next_pools(last, PORTION).await?;
        let Some(end) = pools.last() else {
            return Ok(());
        };
        last = Some(*end);
        findings.add(verifier.verify(&pools).await?);
        progress.inc(pools.len() as u64);
    }
}

impl Findings {
    fn add(&mut self, reports: Vec<PoolReport>) {
        for report in reports {
            self.pools += 1;
            self.entries += report.entries;
            if report.fault.is_some() {
                self.bad.push(report);
            }
        }
    }
}

/// Seen only on a terminal.
fn progress_bar(pools: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} pools, {per_sec}, {eta} left");
    ProgressBar::new(pools).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn print_text(findings: &Findings) {
    for report in &findings.bad {
        let fault = report
            .fault
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default();
        println!("WRONG {} ({}): {fault}", report.name, report.pool);
    }
    if let Some(stray) = &findings.stray {
        println!("WRONG {stray}: there is no such pool");
    }
    let verdict = match findings.bad.len() + usize::from(findings.stray.is_some()) {
        0 => "the books are right".to_owned(),
        wrong => format!("{wrong} WRONG"),
    };
    println!(
        "{} pools, {} entries: {verdict}",
        findings.pools, findings.entries
    );
}

fn print_json(findings: &Findings) {
    let bad = |report: &PoolReport| {
        let fault = report.fault.as_ref();
        json!({
            "pool": report.name,
            "pool_id": report.pool.to_string(),
            "seq": fault.and_then(|fault| fault.seq),
            "what": fault.map(|fault| fault.what.clone()),
        })
    };
    let document = json!({
        "ok": findings.bad.is_empty() && findings.stray.is_none(),
        "pools": findings.pools,
        "entries": findings.entries,
        "wrong": findings.bad.iter().map(bad).collect::<Vec<_>>(),
        "stray_entry": findings.stray,
    });
    println!("{document}");
}
