//! `credit-ledger bench`: a bounded load, and how the service bears it.
//!
//! Every debit is strict, has an idempotency key of its own and is durable when it is answered.
//! It measures a service that runs somewhere, or starts one on a private Postgres and removes both
//! afterwards. What is sent lives in `scenario`, how in `load`, what runs in `service`.

mod books;
mod load;
mod process;
mod report;
mod scenario;
mod service;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::value_parser;
use indicatif::ProgressBar;
use serde_json::{Value, json};
use uuid::Uuid;

use super::client::{Authority, Tenant, bearer};
use super::serve::stop_signal;
use crate::config::Secret;
use load::Load;
use report::{Cores, Row};
use scenario::{Kind, Scenario};
use service::Own;

/// What a shell says of a program that Ctrl-C ended.
const EX_INTERRUPTED: u8 = 130;
/// How often the spinner turns: seldom, as it takes from what is measured.
const TICK: Duration = Duration::from_millis(500);

/// What to measure, and how.
#[derive(clap::Args)]
pub struct Arguments {
    /// Measure the service at http://HOST:PORT instead of one started for the purpose
    #[arg(long, value_name = "URL", requires = "key")]
    url: Option<String>,
    /// For --url: a tenant's key with pools:write, debits:write and balances:read
    #[arg(long, requires = "url")]
    key: Option<String>,
    /// What to measure
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        value_name = "KIND,…",
        default_value = "hot,spread,reads,batch-spread"
    )]
    only: Vec<Kind>,
    /// How many ask at once; several numbers are measured in turn
    #[arg(long, value_delimiter = ',', value_name = "N,…", default_value = "64",
          value_parser = value_parser!(u32).range(1..=4096))]
    callers: Vec<u32>,
    /// The same for the batch route
    #[arg(long, value_delimiter = ',', value_name = "N,…", default_value = "16",
          value_parser = value_parser!(u32).range(1..=4096))]
    batch_callers: Vec<u32>,
    /// Debits in one request of the batch route
    #[arg(long, value_name = "N", default_value = "100",
          value_parser = value_parser!(u32).range(1..=1000))]
    batch: u32,
    /// Pools of the spread load and of the reads
    #[arg(long, value_name = "N", default_value = "10000",
          value_parser = value_parser!(u32).range(1..=1_000_000))]
    pools: u32,
    /// How long to measure each
    #[arg(long, value_name = "N", default_value = "6",
          value_parser = value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Services to start on the one database
    #[arg(long, value_name = "N", default_value = "1", conflicts_with = "url",
          value_parser = value_parser!(u32).range(1..=8))]
    replicas: u32,
    /// Where to keep the books of a service that is started, as long as it runs
    // Not the usual place for temporary files: on many systems that is in memory.
    #[arg(
        long,
        value_name = "PATH",
        default_value = "/var/tmp",
        conflicts_with = "url"
    )]
    directory: PathBuf,
    /// Print one JSON object instead of a table
    #[arg(long)]
    json: bool,
}

/// The services under load.
enum Target {
    /// One that runs somewhere, and a key of a tenant there.
    Running(Authority, Secret),
    /// Those that we started ourselves.
    Own(Box<Own>),
}

/// Measures; exit 1 when anything was refused or not answered.
///
/// # Errors
/// The service cannot be started or reached, or refuses to make the pools.
pub async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    // Listened for from the beginning: a start that is cut short would leave things behind, so
    // Ctrl-C waits for its end.
    let stopped = tokio::spawn(stop_signal());
    let progress = ProgressBar::new_spinner();
    progress.enable_steady_tick(TICK);
    progress.set_message("starting");
    let target = Target::open(&arguments).await?;
    let measured = tokio::select! {
        measured = measure(&target, &arguments, &progress) => Some(measured),
        _ = stopped => None,
    };
    progress.finish_and_clear();
    target.close().await?;
    let Some(rows) = measured.transpose()? else {
        return Ok(ExitCode::from(EX_INTERRUPTED));
    };
    if arguments.json {
        report::print_json(&rows, &arguments.settings());
    } else {
        report::print_text(&rows, &arguments.about());
    }
    let good = rows.iter().all(|row| row.tally.errors == 0);
    Ok(if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn measure(
    target: &Target,
    arguments: &Arguments,
    progress: &ProgressBar,
) -> anyhow::Result<Vec<Row>> {
    let scenarios = arguments.scenarios();
    let spread = scenarios.iter().any(|scenario| scenario.kind.is_spread());
    let pools = if spread { arguments.pools } else { 0 };
    progress.set_message(format!("making {} pools", pools + 1));
    let key = target.key().await?;
    books::make_pools(target.first()?, &key, pools).await?;
    let mut rows = Vec::with_capacity(scenarios.len());
    for scenario in scenarios {
        let (kind, callers) = (scenario.kind.name(), scenario.callers);
        progress.set_message(format!("{kind}, {callers} callers"));
        let load = Load {
            scenario,
            services: target.services().to_vec(),
            key: bearer(&key)?,
            run: Uuid::new_v4().simple().to_string(),
            length: Duration::from_secs(arguments.seconds),
        };
        rows.push(target.measure(load).await?);
    }
    Ok(rows)
}

impl Arguments {
    /// What is to be measured, in turn.
    fn scenarios(&self) -> Vec<Scenario> {
        let of_kind = |kind: &Kind| {
            let callers = if kind.is_batch() {
                &self.batch_callers
            } else {
                &self.callers
            };
            let kind = *kind;
            callers.iter().map(move |callers| Scenario {
                kind,
                callers: *callers,
                pools: self.pools,
                items: self.batch,
            })
        };
        self.only.iter().flat_map(of_kind).collect()
    }

    fn settings(&self) -> Value {
        json!({
            "url": self.url,
            "seconds": self.seconds,
            "pools": self.pools,
            "batch": self.batch,
            "replicas": self.url.is_none().then_some(self.replicas),
            // Of a service that runs elsewhere we do not know.
            "durable": self.url.is_none().then_some(true),
        })
    }

    fn about(&self) -> String {
        let what = format!(
            "{} pools where there are many; the batch route with {} debits a request, each counted",
            self.pools, self.batch
        );
        match &self.url {
            Some(url) => format!("{what}; {url}"),
            None => format!("{what}; durable: fsync and synchronous_commit are on"),
        }
    }
}

impl Target {
    async fn open(arguments: &Arguments) -> anyhow::Result<Self> {
        if let (Some(url), Some(key)) = (&arguments.url, &arguments.key) {
            return Ok(Self::Running(Authority::parse(url)?, Secret::new(key)));
        }
        let own = Own::start(&arguments.directory, arguments.replicas).await?;
        Ok(Self::Own(Box::new(own)))
    }

    async fn close(self) -> anyhow::Result<()> {
        match self {
            Self::Running(..) => Ok(()),
            Self::Own(own) => own.stop().await,
        }
    }

    fn services(&self) -> &[Authority] {
        match self {
            Self::Running(service, _) => std::slice::from_ref(service),
            Self::Own(own) => &own.services,
        }
    }

    fn first(&self) -> anyhow::Result<&Authority> {
        self.services().first().context("there is no service")
    }

    /// The key that was given, or one of a new tenant.
    async fn key(&self) -> anyhow::Result<Secret> {
        match self {
            Self::Running(_, key) => Ok(key.clone()),
            Self::Own(own) => {
                let tenant = json!({"name": "bench", "mode": "live"});
                let tenant = Tenant::make(self.first()?, &own.operator_key, &tenant).await?;
                Ok(tenant.key)
            }
        }
    }

    async fn measure(&self, load: Load) -> anyhow::Result<Row> {
        let scenario = load.scenario;
        let (before, started) = (self.cpu_seconds(), Instant::now());
        let tally = load.send().await?;
        let cores = Cores::between(before, self.cpu_seconds(), started.elapsed());
        let peak_resident_mib = match self {
            Self::Running(..) => None,
            Self::Own(own) => own.peak_resident_mib(),
        };
        Ok(Row {
            scenario,
            tally,
            cores,
            peak_resident_mib,
        })
    }

    fn cpu_seconds(&self) -> Cores {
        let all = Cores {
            load: process::cpu_seconds(std::process::id()),
            machine: process::machine_cpu_seconds(),
            ..Cores::default()
        };
        match self {
            Self::Running(..) => all,
            Self::Own(own) => Cores {
                service: own.service_cpu_seconds(),
                database: own.database_cpu_seconds(),
                ..all
            },
        }
    }
}
