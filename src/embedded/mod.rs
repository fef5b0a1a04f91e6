//! The private Postgres of the zero-set-up start.
//!
//! With no `DATABASE_URL` the service keeps its ledger in a Postgres of its own: made from the
//! machine's programs at the first start, taken up again at the next, stopped when we stop, and
//! started again when it dies under us. It listens on a unix socket and on loopback only, and asks
//! for a password. All that the rest of the service sees of it is a database URL; migrations and
//! roles are the store's work.
//!
//! A supervisor task owns the server's process. A small watchdog process waits on a pipe from us:
//! when we end without stopping the server, even by `kill -9`, the pipe closes, and it does.

mod account;
mod binaries;
mod cluster;
mod data_dir;
mod error;
mod postmaster;

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use sqlx::{Connection, PgConnection};
use tokio::process::Child;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tracing::{error, info, warn};

pub use binaries::{Binaries, MIN_VERSION};
pub use cluster::Address;
use cluster::Launch;
pub use data_dir::operator_key;
use data_dir::{DataDir, Home};
pub use error::EmbeddedError;
use error::failed;
use postmaster::{PidFile, STOP_SIGNALS};

use crate::config::Secret;

/// How long a server may take to let us in.
const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// The same while it says that it recovers from a crash: stopping it would only start that anew.
const RECOVERY_TIMEOUT: Duration = Duration::from_secs(600);

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const POLL_INTERVAL: Duration = Duration::from_millis(25);

/// The pause before a server that died is started again; it doubles while it keeps dying.
const RESTART_PAUSE: Duration = Duration::from_millis(100);
const RESTART_PAUSE_MAX: Duration = Duration::from_secs(1);

/// Ends with us: waits for the end of its input, then stops the server whose data is `$0`.
const WATCHDOG: &str = "read -r _; read -r pid < \"$0/postmaster.pid\" && kill -INT \"$pid\"";

/// What to start.
#[derive(Clone, Debug)]
pub struct Options {
    /// `DATA_DIR`; made where it is missing.
    pub data_dir: PathBuf,
    /// The port on 127.0.0.1; `None` takes a free one.
    pub port: Option<u16>,
    /// Postgres settings (name, value) on top of ours, as a test needs them.
    pub settings: Vec<(String, String)>,
}

impl Options {
    /// The usual start from `data_dir`.
    #[must_use]
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            port: None,
            settings: Vec::new(),
        }
    }
}

/// A running private Postgres. Dropped without [`Server::stop`], it is stopped a moment later.
#[derive(Debug)]
pub struct Server {
    address: Address,
    data: PathBuf,
    stop: oneshot::Sender<()>,
    supervisor: JoinHandle<Result<(), EmbeddedError>>,
    /// Held for its pipe.
    _watchdog: Child,
    /// Given back last.
    _data_dir: DataDir,
}

impl Server {
    /// Starts the server of `options.data_dir` and waits until it is ready.
    ///
    /// The runtime that this is called on supervises the server: it has to live as long.
    ///
    /// # Errors
    ///
    /// [`EmbeddedError::InUse`] when another process has the directory; otherwise what is missing
    /// on the machine, or the end of what Postgres logged.
    pub async fn start(options: Options) -> Result<Self, EmbeddedError> {
        let data_dir = DataDir::lock(&options.data_dir)?;
        let home = data_dir.home().await?;
        let binaries = Binaries::find_for(&home.data()).await?;
        cluster::create(&binaries, &home).await?;
        postmaster::stop_leftover(&home.data()).await?;
        let (data, log, settings) = (home.data(), data_dir.log(), options.settings);
        let watchdog = start_watchdog(&home)?;
        let mut launch = Launch {
            binaries,
            home,
            log,
            port: 0,
            settings,
        };
        let (child, address) = launch_until_ready(&mut launch, options.port).await?;
        create_database(&address).await?;
        info!(
            port = address.port,
            "the private Postgres runs on port {}", address.port
        );
        let (stop, stopped) = oneshot::channel();
        let supervisor = tokio::spawn(supervise(child, launch, stopped));
        Ok(Self {
            address,
            data,
            stop,
            supervisor,
            _watchdog: watchdog,
            _data_dir: data_dir,
        })
    }

    /// The connection URL of the service's database.
    #[must_use]
    pub fn url(&self) -> Secret {
        self.address.url(cluster::NAME)
    }

    /// Where the server listens: for the URL of another database, or a port.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The server's process; `None` in the moments when it does not run.
    #[must_use]
    pub fn process_id(&self) -> Option<i32> {
        PidFile::read(&self.data).map(|file| file.process)
    }

    /// Stops the server, closing what connections there still are. Takes 9 s at most.
    ///
    /// # Errors
    ///
    /// When it outlives every signal.
    pub async fn stop(self) -> Result<(), EmbeddedError> {
        // The supervisor is gone only when its runtime is, and the server then stops by itself.
        let _nobody_there = self.stop.send(());
        self.supervisor.await.unwrap_or(Ok(()))
    }
}

/// The URL of the server that another credit-ledger runs from `data_dir`: for the commands that
/// an operator gives while `serve` is running.
///
/// # Errors
///
/// [`EmbeddedError::NotRunning`] when there is none, or it is not ready.
pub fn url_of_running(data_dir: &Path) -> Result<Secret, EmbeddedError> {
    let not_running = || EmbeddedError::NotRunning {
        data_dir: data_dir.to_owned(),
    };
    let home = data_dir::home_path(data_dir)?.ok_or_else(not_running)?;
    let file = PidFile::read(&home.join("data")).filter(|file| file.ready);
    let port = file.and_then(|file| file.port).ok_or_else(not_running)?;
    Ok(address(&home, port)?.url(cluster::NAME))
}

fn address(home: &Path, port: u16) -> Result<Address, EmbeddedError> {
    let password = data_dir::read_password(home)?;
    Ok(Address {
        port,
        socket: cluster::socket_directory(home),
        password,
    })
}

fn start_watchdog(home: &Home) -> Result<Child, EmbeddedError> {
    let shell = Path::new("/bin/sh");
    let mut watchdog = home.account.command(shell);
    watchdog
        .args(["-c", WATCHDOG])
        .arg(home.data())
        .stdin(Stdio::piped());
    watchdog
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0);
    watchdog.spawn().map_err(failed("run", shell))
}

/// Starts the server, more than once where another took its port or its dead predecessor's last
/// processes are just ending.
async fn launch_until_ready(
    launch: &mut Launch,
    port: Option<u16>,
) -> Result<(Child, Address), EmbeddedError> {
    let deadline = Instant::now() + READY_TIMEOUT;
    loop {
        launch.port = port.map_or_else(free_port, Ok)?;
        let address = address(&launch.home.path, launch.port)?;
        let (mut child, log_start) = launch.start()?;
        match wait_until_ready(&mut child, &address).await {
            Ok(()) => return Ok((child, address)),
            Err(NotReady::Exited) => {
                let tail = launch.log_tail(log_start);
                if Instant::now() >= deadline || !may_pass(&tail) {
                    return Err(EmbeddedError::Exited {
                        log: launch.log.clone(),
                        tail,
                    });
                }
                sleep(RESTART_PAUSE).await;
            }
            Err(NotReady::Closed(source)) => {
                shut_down(&mut child).await?;
                let (log, tail) = (launch.log.clone(), launch.log_tail(log_start));
                return Err(EmbeddedError::NotReady { log, tail, source });
            }
        }
    }
}

/// Whether the reason that a server gave for ending may be gone in a moment.
fn may_pass(log: &str) -> bool {
    log.contains("Address already in use") || log.contains("shared memory block")
}

fn free_port() -> Result<u16, EmbeddedError> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let address = listener.and_then(|listener| listener.local_addr());
    Ok(address
        .map_err(failed("listen on", Path::new("127.0.0.1")))?
        .port())
}

/// Why there is no way in.
enum NotReady {
    Exited,
    Closed(Option<sqlx::Error>),
}

async fn wait_until_ready(child: &mut Child, address: &Address) -> Result<(), NotReady> {
    let started = Instant::now();
    let url = address.url("postgres");
    loop {
        if child.try_wait().is_ok_and(|status| status.is_some()) {
            return Err(NotReady::Exited);
        }
        let attempt = timeout(CONNECT_TIMEOUT, PgConnection::connect(url.expose())).await;
        let refused = match attempt {
            Ok(Ok(connection)) => {
                // What it says to our good-bye does not matter: it has let us in.
                let _closed = connection.close().await;
                return Ok(());
            }
            Ok(Err(refused)) => Some(refused),
            Err(_) => None,
        };
        let code = refused.as_ref().and_then(sql_state);
        let patience = if code.as_deref() == Some("57P03") {
            RECOVERY_TIMEOUT
        } else {
            READY_TIMEOUT
        };
        let wrong_password = code.as_deref() == Some("28P01");
        if wrong_password || started.elapsed() >= patience {
            return Err(NotReady::Closed(refused));
        }
        sleep(POLL_INTERVAL).await;
    }
}

fn sql_state(error: &sqlx::Error) -> Option<String> {
    Some(error.as_database_error()?.code()?.into_owned())
}

async fn create_database(address: &Address) -> Result<(), EmbeddedError> {
    let create = async {
        let mut connection = PgConnection::connect(address.url("postgres").expose()).await?;
        let known = sqlx::query("SELECT 1 FROM pg_database WHERE datname = 'credit_ledger'")
            .fetch_optional(&mut connection)
            .await?;
        if known.is_none() {
            sqlx::query("CREATE DATABASE credit_ledger")
                .execute(&mut connection)
                .await?;
        }
        connection.close().await
    };
    create.await.map_err(EmbeddedError::CreateDatabase)
}

/// Starts the server again whenever it dies, on the same port, until told to stop it.
async fn supervise(
    mut child: Child,
    launch: Launch,
    mut stop: oneshot::Receiver<()>,
) -> Result<(), EmbeddedError> {
    let mut pause = RESTART_PAUSE;
    loop {
        let started = Instant::now();
        tokio::select! {
            // Told to stop, or forgotten by whoever held the server.
            _ = &mut stop => return shut_down(&mut child).await,
            status = child.wait() => match status {
                Ok(status) => {
                    let log = launch.log.display();
                    error!("the private Postgres ended by itself: {status}; its log is {log}");
                }
                Err(error) => error!(%error, "lost sight of the private Postgres"),
            },
        }
        if started.elapsed() > RESTART_PAUSE_MAX {
            pause = RESTART_PAUSE;
        }
        child = loop {
            tokio::select! {
                _ = &mut stop => return Ok(()),
                () = sleep(pause) => {}
            }
            pause = (pause * 2).min(RESTART_PAUSE_MAX);
            match launch.start() {
                Ok((child, _)) => break child,
                Err(error) => error!(%error, "could not start the private Postgres again"),
            }
        };
        warn!("started the private Postgres again");
    }
}

async fn shut_down(child: &mut Child) -> Result<(), EmbeddedError> {
    // Without an id it has ended, and has been waited for.
    let Some(process) = child.id().and_then(|id| i32::try_from(id).ok()) else {
        return Ok(());
    };
    for (signal, patience) in STOP_SIGNALS {
        postmaster::signal(process, signal);
        if timeout(patience, child.wait()).await.is_ok() {
            return Ok(());
        }
        warn!(process, "the private Postgres is slow to stop");
    }
    Err(EmbeddedError::NotStopped { process })
}

#[cfg(test)]
mod tests;
