//! The database of a command: the configured one, or the private one of the zero-set-up start.

use std::time::Duration;

use anyhow::Context;

use crate::config::{Config, Database, Secret};
use crate::embedded::{self, EmbeddedError, Server};
use crate::store::{self, Store, StoreError};

/// How long to wait for a configured database before giving up.
const PATIENCE: Duration = Duration::from_secs(60);
/// Connections for the reads of a command that is no service.
const COMMAND_CONNECTIONS: u32 = 2;

/// Where the books are, and the private server if this process runs it.
pub struct Opened {
    /// For the service.
    pub url: Secret,
    /// For migrations: the owner's.
    pub migrate_url: Secret,
    /// Stop it at the end.
    pub server: Option<Server>,
}

/// Finds the database. A private one that another process runs is shared with it, unless
/// `for_service` asks to run it.
pub async fn open(config: &Config, for_service: bool) -> anyhow::Result<Opened> {
    match &config.database {
        Database::External { url, migrate_url } => Ok(Opened {
            url: url.clone(),
            migrate_url: migrate_url.clone(),
            server: None,
        }),
        Database::Embedded { data_dir } => {
            let options = embedded::Options::new(data_dir.clone());
            let (url, server) = match Server::start(options).await {
                Ok(server) => (server.url(), Some(server)),
                Err(EmbeddedError::InUse { .. }) if !for_service => {
                    (embedded::url_of_running(data_dir)?, None)
                }
                Err(error) => return Err(error).context("the private Postgres does not start"),
            };
            Ok(Opened {
                migrate_url: url.clone(),
                url,
                server,
            })
        }
    }
}

impl Opened {
    /// Migrates, if asked to, and gives the store with the role to run as.
    ///
    /// # Errors
    /// The database stays away, or a migration fails.
    pub async fn store(&self, migrate: bool, reads: u32) -> anyhow::Result<Store> {
        let started = std::time::Instant::now();
        let role = loop {
            match self.role(migrate).await {
                Ok(role) => break role,
                Err(StoreError::Unavailable(error)) if started.elapsed() < PATIENCE => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "the database is not there yet; trying again"
                    );
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                Err(error) => return Err(error).context("the database cannot be used"),
            }
        };
        Ok(Store::new(self.url.expose(), reads, role)?)
    }

    async fn role(&self, migrate: bool) -> Result<Option<&'static str>, StoreError> {
        if migrate {
            store::migrate(self.migrate_url.expose(), self.url.expose()).await
        } else {
            store::existing_role(self.url.expose()).await
        }
    }

    /// Stops the private server, if this process runs it.
    ///
    /// # Errors
    /// It does not stop.
    pub async fn close(self) -> anyhow::Result<()> {
        match self.server {
            Some(server) => Ok(server.stop().await?),
            None => Ok(()),
        }
    }
}

/// Opens the store for a command that is no service: no migration.
pub async fn for_command(config: &Config) -> anyhow::Result<(Opened, Store)> {
    let opened = open(config, false).await?;
    let store = opened
        .store(opened.server.is_some(), COMMAND_CONNECTIONS)
        .await?;
    Ok((opened, store))
}
