//! The database of a command: the configured one, or the private one of the zero-set-up start.

use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::task::JoinHandle;

use crate::clock::Clock;
use crate::config::{Config, Database, Secret};
use crate::embedded::{self, EmbeddedError, Server};
use crate::lanes::{LaneLimits, Lanes};
use crate::store::{self, Store, StoreError};

/// How long a command waits for its database.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Connections for the reads of a command that is no service.
const COMMAND_CONNECTIONS: u32 = 2;
/// The pause before a database that is away is asked again.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

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
    /// A store that nobody can use before [`Self::prepare`] is done.
    ///
    /// # Errors
    /// The URL cannot be read.
    pub fn store(&self, reads: u32) -> anyhow::Result<Store> {
        Store::new(self.url.expose(), reads).context("DATABASE_URL cannot be used")
    }

    /// Where it is, for [`prepare`] while this process goes on.
    #[must_use]
    pub fn urls(&self) -> Urls {
        Urls {
            service: self.url.clone(),
            migrate: self.migrate_url.clone(),
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

/// The URLs of a database.
pub struct Urls {
    service: Secret,
    migrate: Secret,
}

/// Migrates, if asked to, and tells the store what to run as. A database that is away is waited
/// for: for ever, or so long.
///
/// # Errors
/// A migration fails, or the database stays away.
pub async fn prepare(
    urls: &Urls,
    store: &Store,
    migrate: bool,
    patience: Option<Duration>,
) -> anyhow::Result<()> {
    let started = Instant::now();
    let again = || patience.is_none_or(|patience| started.elapsed() < patience);
    loop {
        match urls.role(migrate).await {
            Ok(role) => {
                store.run_as(role);
                return Ok(());
            }
            Err(StoreError::Unavailable(error)) if again() => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the database is not there yet; trying again"
                );
                tokio::time::sleep(RETRY_PAUSE).await;
            }
            Err(error) => return Err(error).context("the database cannot be used"),
        }
    }
}

impl Urls {
    async fn role(&self, migrate: bool) -> Result<Option<&'static str>, StoreError> {
        if migrate {
            store::migrate(self.migrate.expose(), self.service.expose()).await
        } else {
            store::existing_role(self.service.expose()).await
        }
    }
}

/// Opens the store for a command that is no service: no migration.
pub async fn for_command(config: &Config) -> anyhow::Result<(Opened, Store)> {
    let opened = open(config, false).await?;
    let store = opened.store(COMMAND_CONNECTIONS)?;
    let migrate = opened.server.is_some();
    prepare(&opened.urls(), &store, migrate, Some(PATIENCE)).await?;
    Ok((opened, store))
}

/// The books as a command writes them: by lanes of its own, beside those of a running service.
pub struct Books {
    /// For reads.
    pub store: Store,
    /// For writes.
    pub lanes: Lanes,
    handles: Vec<JoinHandle<()>>,
    opened: Opened,
}

impl Books {
    /// Opens the store, without migration, and starts the lanes.
    ///
    /// # Errors
    /// The database is away or cannot be used.
    pub async fn open(config: &Config, clock: &Clock, limits: LaneLimits) -> anyhow::Result<Self> {
        let (opened, store) = for_command(config).await?;
        let (lanes, handles) = Lanes::start(&store, clock, limits);
        Ok(Self {
            store,
            lanes,
            handles,
            opened,
        })
    }

    /// Ends the lanes and closes the store. Whoever was given the lanes must have dropped them:
    /// they end when nobody can send them anything any more.
    ///
    /// # Errors
    /// The private server does not stop.
    pub async fn close(self) -> anyhow::Result<()> {
        drop(self.lanes);
        for lane in self.handles {
            let _ = lane.await;
        }
        self.store.close().await;
        self.opened.close().await
    }
}
