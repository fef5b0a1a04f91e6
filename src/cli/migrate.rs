//! `credit-ledger migrate`: bring the schema up to date, nothing else.

use std::process::ExitCode;

use super::database;
use crate::config::Config;

/// Migrates.
pub async fn run(config: &Config) -> anyhow::Result<ExitCode> {
    let opened = database::open(config, false).await?;
    let store = opened.store(1)?;
    database::prepare(&opened.urls(), &store, true, Some(database::PATIENCE)).await?;
    store.close().await;
    opened.close().await?;
    println!("the schema is up to date");
    Ok(ExitCode::SUCCESS)
}
