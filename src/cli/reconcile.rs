//! `credit-ledger reconcile`: what the payment provider says was paid, held against the books.

use std::process::ExitCode;
use std::str::FromStr;

use anyhow::{Context, bail};
use chrono::{NaiveDate, TimeDelta};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use uuid::Uuid;

use super::database::Books;
use super::{table, tenants};
use crate::clock::Clock;
use crate::config::Config;
use crate::http::time::Stamp;
use crate::lanes::LaneLimits;
use crate::ledger::{TenantId, Time};
use crate::payments::{Difference, PaymentOptions, Payments, Period, Reconciled};
use crate::store::Store;

/// One payment is booked after another.
const LIMITS: LaneLimits = LaneLimits {
    lanes: 1,
    batch: 100,
    queue: 100,
};

/// What to reconcile, and how to say what was found.
#[derive(clap::Args)]
pub struct Arguments {
    /// From this time on: RFC 3339, or a date for the start of that UTC day
    #[arg(long, value_name = "TIME")]
    from: Start,
    /// Before this time: RFC 3339, or a date for the end of that UTC day; now when left out
    #[arg(long, value_name = "TIME")]
    to: Option<End>,
    /// Only this tenant
    #[arg(long, value_name = "ID")]
    tenant: Option<Uuid>,
    /// Credit what was paid and not credited, take back what was refunded and kept
    #[arg(long)]
    repair: bool,
    /// Print one JSON object instead of a table
    #[arg(long)]
    json: bool,
}

/// Where a period starts: a date means its first moment.
#[derive(Clone, Copy)]
struct Start(Time);

/// Where a period ends: a date means the first moment after it.
#[derive(Clone, Copy)]
struct End(Time);

impl FromStr for Start {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        read(text, TimeDelta::zero()).map(Self)
    }
}

impl FromStr for End {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        read(text, TimeDelta::days(1)).map(Self)
    }
}

/// A time, or so long after the start of a day.
fn read(text: &str, after: TimeDelta) -> Result<Time, String> {
    if let Ok(Stamp(at)) = text.parse() {
        return Ok(at);
    }
    let day = text.parse::<NaiveDate>().ok();
    let start = day.and_then(|day| day.and_hms_opt(0, 0, 0));
    let at = start.and_then(|start| start.and_utc().checked_add_signed(after));
    at.ok_or_else(|| "must be a date or an RFC 3339 time".to_owned())
}

/// What was found about all tenants.
#[derive(Default)]
struct Findings {
    tenants: u64,
    payments: u64,
    purchases: u64,
    differences: Vec<(TenantId, Difference)>,
    failed: Vec<(TenantId, String)>,
}

/// Reconciles; exit 1 when differences remain, or a tenant could not be looked at.
pub async fn run(config: &Config, arguments: Arguments) -> anyhow::Result<ExitCode> {
    let clock = Clock::System;
    let Start(from) = arguments.from;
    let to = arguments.to.map_or_else(|| clock.now(), |End(to)| to);
    if from >= to {
        bail!("--from must be before --to");
    }
    let books = Books::open(config, &clock, LIMITS).await?;
    let options = PaymentOptions {
        secrets_key: config.secrets_key.clone(),
        stripe_api_base: config.stripe_api_base.clone(),
    };
    let payments = Payments::new(books.store.clone(), books.lanes.clone(), clock, options);
    let period = Period {
        from,
        to,
        repair: arguments.repair,
    };
    let findings = reconcile(&books.store, &payments, period, arguments.tenant).await;
    drop(payments);
    books.close().await?;
    let findings = findings?;
    if arguments.json {
        println!("{}", to_json(&findings, period));
    } else {
        print_table(&findings);
    }
    Ok(if findings.is_good() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn reconcile(
    store: &Store,
    payments: &Payments,
    period: Period,
    only: Option<Uuid>,
) -> anyhow::Result<Findings> {
    let tenants = match only {
        Some(id) => {
            let found = store.find_tenant(id.into()).await?;
            vec![found.with_context(|| format!("there is no tenant {id}"))?]
        }
        None => tenants::all(store).await?,
    };
    let progress = progress_bar(tenants.len());
    let mut findings = Findings::default();
    for tenant in tenants {
        let tell = |count| progress.set_message(format!("{count} payments of {}", tenant.name));
        let mut found = Reconciled::default();
        let looked = payments.reconcile(tenant.id, period, &mut found, tell);
        match looked.await {
            Ok(true) => findings.tenants += 1,
            Ok(false) if only.is_some() => {
                bail!("the tenant has stored no api_key of its payment provider");
            }
            Ok(false) => {}
            Err(error) => {
                let error = format!("{:#}", anyhow::Error::from(error));
                findings.failed.push((tenant.id, error));
            }
        }
        // Also of a tenant that failed half way: what was repaired by then is.
        findings.add(tenant.id, found);
        progress.inc(1);
    }
    progress.finish_and_clear();
    Ok(findings)
}

/// Seen only on a terminal.
fn progress_bar(tenants: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} tenants, {msg}");
    ProgressBar::new(tenants as u64)
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

impl Findings {
    fn add(&mut self, tenant: TenantId, found: Reconciled) {
        self.payments += found.payments;
        self.purchases += found.purchases;
        let differences = found.differences.into_iter().map(|it| (tenant, it));
        self.differences.extend(differences);
    }

    fn left(&self) -> usize {
        let left = self.differences.iter().filter(|(_, it)| !it.repaired);
        left.count()
    }

    fn is_good(&self) -> bool {
        self.left() == 0 && self.failed.is_empty()
    }
}

fn print_table(findings: &Findings) {
    if !findings.differences.is_empty() {
        let mut table = table::new([
            "tenant",
            "difference",
            "payment",
            "pool",
            "credits",
            "amount",
            "paid at",
            "repaired",
        ]);
        for (tenant, it) in &findings.differences {
            let amount = it.amount_cents.map(|cents| cents.to_string());
            let currency = it.currency.clone().unwrap_or_default();
            let repaired = match (&it.note, it.repaired) {
                (_, true) => "yes".to_owned(),
                (Some(note), false) => format!("no: {note}"),
                (None, false) => "no".to_owned(),
            };
            table.add_row([
                tenant.to_string(),
                it.kind.as_str().to_owned(),
                it.reference.to_string(),
                it.pool.clone().unwrap_or_default(),
                it.credits
                    .map(|credits| credits.to_string())
                    .unwrap_or_default(),
                format!("{} {currency}", amount.unwrap_or_default()),
                Stamp(it.paid_at).to_string(),
                repaired,
            ]);
        }
        table::align_right(&mut table, 4..6);
        println!("{table}");
    }
    for (tenant, error) in &findings.failed {
        println!("FAILED {tenant}: {error}");
    }
    let (left, all) = (findings.left(), findings.differences.len());
    println!(
        "{} tenants, {} payments, {} purchases: {all} differences, {} repaired, {left} left",
        findings.tenants,
        findings.payments,
        findings.purchases,
        all - left
    );
}

fn to_json(findings: &Findings, period: Period) -> Value {
    let difference = |(tenant, it): &(TenantId, Difference)| {
        json!({
            "tenant": tenant.to_string(),
            "kind": it.kind.as_str(),
            "payment_reference": it.reference.as_str(),
            "pool": it.pool,
            "credits": it.credits,
            "amount_cents": it.amount_cents,
            "currency": it.currency,
            "paid_at": Stamp(it.paid_at),
            "repaired": it.repaired,
            "note": it.note,
        })
    };
    let failed = |(tenant, error): &(TenantId, String)| {
        let tenant = tenant.to_string();
        json!({"tenant": tenant, "error": error})
    };
    json!({
        "ok": findings.is_good(),
        "from": Stamp(period.from),
        "to": Stamp(period.to),
        "tenants": findings.tenants,
        "payments": findings.payments,
        "purchases": findings.purchases,
        "differences": findings.differences.iter().map(difference).collect::<Vec<_>>(),
        "failed": findings.failed.iter().map(failed).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_means_all_of_its_day() {
        let start = |text: &str| text.parse::<Start>().map(|Start(at)| Stamp(at).to_string());
        let end = |text: &str| text.parse::<End>().map(|End(at)| Stamp(at).to_string());
        assert_eq!(
            start("2026-01-31"),
            Ok("2026-01-31T00:00:00.000Z".to_owned())
        );
        assert_eq!(end("2026-01-31"), Ok("2026-02-01T00:00:00.000Z".to_owned()));
        for read in [start("2026-01-31T10:00:00Z"), end("2026-01-31T10:00:00Z")] {
            assert_eq!(read, Ok("2026-01-31T10:00:00.000Z".to_owned()));
        }
        assert!(start("soon").is_err());
    }
}
