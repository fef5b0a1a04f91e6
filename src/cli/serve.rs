//! `credit-ledger serve`: the service, from its database to its last answer.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::database::{self, Opened};
use crate::clock::Clock;
use crate::config::{Config, Database, OPERATOR_KEY_MIN_CHARS, Secret};
use crate::embedded;
use crate::http::auth::OperatorKey;
use crate::http::{self, App, Readiness, Services};
use crate::jobs::{checkouts, payments, roller, sweeper};
use crate::lanes::{LaneLimits, Lanes};
use crate::licenses::Licenses;
use crate::payments::{PaymentOptions, Payments};
use crate::store::Store;
use crate::telemetry;

/// How long lanes and connections may take to end.
const FINISH: Duration = Duration::from_secs(2);

/// Serves until a signal says stop.
pub async fn run(config: Config) -> anyhow::Result<ExitCode> {
    // Heard from the first moment on, also while the database is still waited for.
    let mut stop = StopSignal::listen()?;
    let mut service = Service::start(&config).await?;
    tokio::select! {
        () = stop.received() => {}
        prepared = service.prepare() => {
            prepared?;
            service.announce();
            stop.received().await;
        }
    }
    tracing::info!(
        "stopping: not ready any more, serving on for {:?}",
        config.drain
    );
    service.ready.drain();
    tokio::time::sleep(config.drain).await;
    service.stop().await?;
    Ok(ExitCode::SUCCESS)
}

/// A running service.
pub struct Service {
    /// Where it listens.
    pub base_url: String,
    /// The operator's key, if there is one.
    pub operator_key: Option<Secret>,
    /// Whether the key was made by the zero-set-up start, and so must be told.
    key_is_ours: bool,
    ready: Readiness,
    opened: Opened,
    store: Store,
    lanes: Vec<JoinHandle<()>>,
    sweep_interval: Duration,
    jobs: Vec<JoinHandle<()>>,
    payments: Payments,
    clock: Clock,
    to_lanes: Lanes,
    migrate: bool,
    server: JoinHandle<()>,
    stop: watch::Sender<bool>,
}

impl Service {
    /// Starts listener and lanes. The database is still to be prepared.
    ///
    /// # Errors
    /// A part does not start.
    pub async fn start(config: &Config) -> anyhow::Result<Self> {
        let metrics = telemetry::metrics();
        let opened = database::open(config, true).await?;
        let (operator_key, key_is_ours) = operator_key(config)?;
        let store = opened.store(config.read_connections)?;
        let clock = Clock::System;
        let limits = LaneLimits {
            lanes: config.lanes,
            batch: config.batch_limit,
            queue: config.queue_limit,
        };
        let (lanes, lane_handles) = Lanes::start(&store, &clock, limits);
        let options = PaymentOptions {
            secrets_key: config.secrets_key.clone(),
            stripe_api_base: config.stripe_api_base.clone(),
        };
        let payments = Payments::new(store.clone(), lanes.clone(), clock.clone(), options);
        let secrets_key = config.secrets_key.clone();
        let licenses = Licenses::new(store.clone(), clock.clone(), secrets_key);
        let (stop, stopped) = watch::channel(false);
        let listener = TcpListener::bind(config.listen_addr)
            .await
            .with_context(|| format!("cannot listen on LISTEN_ADDR {}", config.listen_addr))?;
        let base_url = format!("http://{}", listener.local_addr()?);
        let ready = Readiness::default();
        let app = App::new(Services {
            store: store.clone(),
            lanes: lanes.clone(),
            payments: payments.clone(),
            licenses,
            clock: clock.clone(),
            operator_key: operator_key.as_ref().map(OperatorKey::new),
            ready: ready.clone(),
            metrics,
        });
        let stopping = wait_for(stopped);
        let server = tokio::spawn(http::serve(listener, app, stopping));
        Ok(Self {
            base_url,
            operator_key,
            key_is_ours,
            ready,
            opened,
            store,
            lanes: lane_handles,
            sweep_interval: config.sweep_interval,
            jobs: Vec::new(),
            payments,
            clock,
            to_lanes: lanes,
            migrate: config.auto_migrate,
            server,
            stop,
        })
    }

    /// Prepares the database: waits for it and migrates; from then on the jobs run. Until
    /// this is done, every answer that needs the database is 503.
    ///
    /// # Errors
    /// A migration fails.
    pub async fn prepare(&mut self) -> anyhow::Result<()> {
        database::prepare(&self.opened.urls(), &self.store, self.migrate, None).await?;
        self.jobs.push(tokio::spawn(sweeper::run(
            self.store.clone(),
            self.to_lanes.clone(),
            self.clock.clone(),
            self.sweep_interval,
            self.stop.subscribe(),
        )));
        self.jobs.push(tokio::spawn(roller::run(
            self.store.clone(),
            self.to_lanes.grown(),
            self.stop.subscribe(),
        )));
        let checkouts = checkouts::run(self.payments.clone(), self.stop.subscribe());
        self.jobs.push(tokio::spawn(checkouts));
        self.jobs.push(tokio::spawn(payments::run(
            self.store.clone(),
            self.payments.clone(),
            self.clock.clone(),
            self.stop.subscribe(),
        )));
        Ok(())
    }

    /// Says on standard output where it listens, and a key that nobody else knows.
    pub fn announce(&self) {
        if let (true, Some(key)) = (self.key_is_ours, &self.operator_key) {
            println!("operator key: {}", key.expose());
        }
        println!("credit-ledger is listening on {}", self.base_url);
    }

    /// Stops in order: listener and jobs, then lanes with what is queued, then the database.
    ///
    /// # Errors
    /// The listener failed, or the private Postgres does not stop.
    pub async fn stop(self) -> anyhow::Result<()> {
        let _ = self.stop.send(true);
        self.server.await.context("the listener panicked")?;
        let rest = async {
            for job in self.jobs {
                let _ = job.await;
            }
            drop((self.to_lanes, self.payments));
            for lane in self.lanes {
                let _ = lane.await;
            }
            self.store.close().await;
        };
        // A connection that was cut off may hold on to its lane: nothing is queued there any more.
        let _ = tokio::time::timeout(FINISH, rest).await;
        self.opened.close().await
    }
}

/// The configured key; with the private Postgres one is made and kept.
fn operator_key(config: &Config) -> anyhow::Result<(Option<Secret>, bool)> {
    match (&config.operator_key, &config.database) {
        (Some(key), _) => {
            if key.expose().len() < OPERATOR_KEY_MIN_CHARS {
                tracing::warn!("OPERATOR_KEY is short: {OPERATOR_KEY_MIN_CHARS} or more is safer");
            }
            Ok((Some(key.clone()), false))
        }
        (None, Database::Embedded { data_dir }) => {
            Ok((Some(embedded::operator_key(data_dir)?), true))
        }
        (None, Database::External { .. }) => Ok((None, false)),
    }
}

async fn wait_for(mut stopped: watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

/// SIGTERM, as an orchestrator sends it, or Ctrl-C.
pub struct StopSignal {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignal {
    /// Hears them from now on.
    ///
    /// # Errors
    /// The system lets us not.
    pub fn listen() -> anyhow::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for one.
    pub async fn received(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Waits for one that comes from now on.
///
/// # Errors
/// The system lets us hear none.
pub async fn stop_signal() -> anyhow::Result<()> {
    StopSignal::listen()?.received().await;
    Ok(())
}
