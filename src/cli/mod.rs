//! One binary, several commands. Each file is one command.

mod bench;
mod client;
mod compare;
mod database;
mod demo;
mod health;
mod import;
mod keys;
mod migrate;
mod reconcile;
mod rehearse;
mod report_file;
mod serve;
mod table;
mod tenants;
mod upgrade;
mod verify;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

use crate::config::{Config, ConfigError};
use crate::telemetry;

/// What `sysexits` calls a configuration error.
const EX_CONFIG: u8 = 78;

/// Keeps AI credits in a double-entry ledger on Postgres.
///
/// Settings come from the environment: see .env.example. Without DATABASE_URL a private Postgres is
/// started in ./data.
#[derive(Parser)]
#[command(name = "credit-ledger", version)]
struct Arguments {
    #[command(subcommand)]
    command: Option<CommandLine>,
}

#[derive(Subcommand)]
enum CommandLine {
    /// Serve the API (the default)
    Serve,
    /// Bring the schema up to date
    Migrate,
    /// Recompute all books from the journal; exit 1 and name the first bad entry if any is wrong
    Verify(verify::Arguments),
    /// Hold the payment provider's payments against the books; exit 1 if differences remain
    Reconcile(reconcile::Arguments),
    /// Move pools on legacy plans to the plans that came after them; exit 1 if any could not be
    Upgrade(upgrade::Arguments),
    /// Take over pools from another system, as they stand there; exit 1 if any was refused
    Import(import::Arguments),
    /// Hold the pools of another system against the ledger; exit 1 if anything differs
    Compare(compare::Arguments),
    /// Replay the past usage under other plans or prices: who would run out, and when
    Rehearse(rehearse::Arguments),
    /// List or make tenants
    Tenants(tenants::Arguments),
    /// List, make or revoke a tenant's API keys
    Keys(keys::Arguments),
    /// Serve with a sandbox tenant that has some months of history, to try things out
    Demo,
    /// Measure debits a second, on a service of its own or a running one
    Bench(bench::Arguments),
    /// Ask a running service whether it is ready; exit 1 if it is not
    Health,
}

/// Runs the command that was asked for.
pub fn main() -> ExitCode {
    let command = Arguments::parse().command.unwrap_or(CommandLine::Serve);
    let config = match settings(&command) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("credit-ledger: {error}");
            return match error {
                ConfigError::NoDatabase => ExitCode::from(EX_CONFIG),
                ConfigError::Invalid { .. } => ExitCode::FAILURE,
            };
        }
    };
    if let Err(error) = telemetry::init_logs(config.log_format, &config.log_filter) {
        eprintln!("credit-ledger: {error}");
        return ExitCode::FAILURE;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let result = runtime.map_err(Into::into).and_then(|runtime| {
        let result = runtime.block_on(run(command, config));
        // Connections of clients that neither speak nor hang up are not waited for.
        runtime.shutdown_timeout(Duration::from_millis(200));
        result
    });
    result.unwrap_or_else(|error: anyhow::Error| {
        eprintln!("credit-ledger: {error:#}");
        ExitCode::FAILURE
    })
}

fn settings(command: &CommandLine) -> Result<Config, ConfigError> {
    match command {
        // It needs none: a service that it starts reads them itself, but for its database.
        CommandLine::Bench(_) => Config::read(|name| (name == "RUST_LOG").then(|| "warn".into())),
        CommandLine::Serve
        | CommandLine::Migrate
        | CommandLine::Verify(_)
        | CommandLine::Reconcile(_)
        | CommandLine::Upgrade(_)
        | CommandLine::Import(_)
        | CommandLine::Compare(_)
        | CommandLine::Rehearse(_)
        | CommandLine::Tenants(_)
        | CommandLine::Keys(_)
        | CommandLine::Demo
        | CommandLine::Health => Config::from_env(),
    }
}

async fn run(command: CommandLine, config: Config) -> anyhow::Result<ExitCode> {
    match command {
        CommandLine::Serve => serve::run(config).await,
        CommandLine::Migrate => migrate::run(&config).await,
        CommandLine::Verify(arguments) => verify::run(&config, arguments).await,
        CommandLine::Reconcile(arguments) => reconcile::run(&config, arguments).await,
        CommandLine::Upgrade(arguments) => upgrade::run(&config, arguments).await,
        CommandLine::Import(arguments) => import::run(&config, arguments).await,
        CommandLine::Compare(arguments) => compare::run(&config, arguments).await,
        CommandLine::Rehearse(arguments) => rehearse::run(&config, arguments).await,
        CommandLine::Tenants(arguments) => tenants::run(&config, arguments).await,
        CommandLine::Keys(arguments) => keys::run(&config, arguments).await,
        CommandLine::Demo => demo::run(config).await,
        CommandLine::Bench(arguments) => bench::run(arguments).await,
        CommandLine::Health => health::run(&config).await,
    }
}
