//! What is measured: a service that runs somewhere, or one of our own on a private Postgres.
//!
//! Our own is this same program as a process of its own, so that the processor time of load,
//! service and database can be told apart. Its books lie in a new directory and go with it. It
//! ends with us however we end: a small watchdog process waits on a pipe from us.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;
use uuid::Uuid;

use super::process;
use crate::cli::client::Authority;
use crate::config::Secret;
use crate::embedded::{self, Server};

const PREFIX: &str = "credit-ledger-bench-";
/// How long a service may take until it listens.
const START_PATIENCE: Duration = Duration::from_secs(60);
/// How long it may take to end.
const STOP_PATIENCE: Duration = Duration::from_secs(15);
/// What makes an answered debit safe from a power cut.
const DURABLE: [&str; 3] = ["fsync", "synchronous_commit", "full_page_writes"];
/// Ends with us: waits for the end of its input, then stops the service `$0`.
const WATCHDOG: &str = "read -r _; kill -TERM \"$0\"";

/// Services of our own on one database.
pub struct Own {
    /// Where they listen.
    pub services: Vec<Authority>,
    /// Their operator's key.
    pub operator_key: Secret,
    children: Vec<Service>,
    postgres: Server,
    /// Removed last.
    directory: Directory,
}

struct Service {
    child: Child,
    watchdog: Child,
}

/// A directory that goes when the value does.
struct Directory(PathBuf);

impl Own {
    /// Starts a Postgres in a new directory below `parent`, and `count` services on it.
    ///
    /// # Errors
    /// A part does not start, or Postgres is not durable.
    pub async fn start(parent: &Path, count: u32) -> anyhow::Result<Self> {
        remove_left_over(parent);
        let directory = Directory::create(parent)?;
        if process::is_in_memory(&directory.0) {
            bail!(
                "{} lies in memory, where a commit costs nothing: name another --directory",
                parent.display()
            );
        }
        let postgres = Server::start(embedded::Options::new(&directory.0))
            .await
            .context("the private Postgres does not start")?;
        check_durable(&postgres)?;
        let operator_key = Secret::new(Uuid::new_v4().to_string());
        let mut own = Self {
            services: Vec::new(),
            operator_key,
            children: Vec::new(),
            postgres,
            directory,
        };
        // One after the other: the first migrates.
        for _ in 0..count {
            let (child, authority) = Service::start(&own.postgres, &own.operator_key).await?;
            own.children.push(child);
            own.services.push(authority);
        }
        Ok(own)
    }

    /// The processor seconds that the services have used so far.
    pub fn service_cpu_seconds(&self) -> Option<f64> {
        let ids = self.children.iter().map(|service| service.child.id());
        ids.map(|id| process::cpu_seconds(id?)).sum()
    }

    /// The processor seconds that the database has used so far.
    pub fn database_cpu_seconds(&self) -> Option<f64> {
        let id = self.postgres.process_id()?;
        process::family_cpu_seconds(id.try_into().ok()?)
    }

    /// The most memory that one of the services ever had resident, in MiB.
    pub fn peak_resident_mib(&self) -> Option<f64> {
        let ids = self.children.iter().map(|service| service.child.id());
        ids.filter_map(|id| process::peak_resident_mib(id?))
            .reduce(f64::max)
    }

    /// Stops services and database and removes their books.
    ///
    /// # Errors
    /// A part does not end.
    pub async fn stop(self) -> anyhow::Result<()> {
        for service in self.children {
            service.stop().await?;
        }
        self.postgres.stop().await?;
        drop(self.directory);
        Ok(())
    }
}

impl Service {
    async fn start(postgres: &Server, operator_key: &Secret) -> anyhow::Result<(Self, Authority)> {
        let mut child = command(postgres, operator_key)?.spawn()?;
        let id = child.id().context("the service ended at once")?;
        let mut watchdog = Command::new("/bin/sh");
        let watchdog = watchdog
            .args(["-c", WATCHDOG, &id.to_string()])
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let authority = timeout(START_PATIENCE, announced(&mut child))
            .await
            .context("the service does not start in time")??;
        Ok((Self { child, watchdog }, authority))
    }

    async fn stop(mut self) -> anyhow::Result<()> {
        // First, so that it never signals a number that is another's by then.
        self.watchdog.kill().await?;
        let id = self.child.id().and_then(|id| i32::try_from(id).ok());
        if let Some(id) = id.and_then(Pid::from_raw) {
            kill_process(id, Signal::TERM)?;
        }
        if timeout(STOP_PATIENCE, self.child.wait()).await.is_err() {
            self.child.kill().await?;
        }
        Ok(())
    }
}

/// Settings of size (`LANES` and the like) are taken over from our own environment.
fn command(postgres: &Server, operator_key: &Secret) -> anyhow::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .arg("serve")
        .env("DATABASE_URL", postgres.url().expose())
        .env_remove("MIGRATE_DATABASE_URL")
        .env("AUTO_MIGRATE", "on")
        .env("LISTEN_ADDR", "127.0.0.1:0")
        .env("OPERATOR_KEY", operator_key.expose())
        .env("DRAIN_SECONDS", "0")
        .env("RUST_LOG", "warn")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        // A group of its own: Ctrl-C in the terminal is for us, who stop it in order.
        .process_group(0);
    Ok(command)
}

/// Where the service says it listens.
async fn announced(child: &mut Child) -> anyhow::Result<Authority> {
    let output = child.stdout.take().context("its output is piped")?;
    let mut lines = BufReader::new(output).lines();
    while let Some(line) = lines.next_line().await? {
        if let Some((_, url)) = line.split_once("listening on ") {
            // Read on to its end, or it would wait for us.
            tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
            return Authority::parse(url.trim());
        }
    }
    bail!("the service ended before it listened")
}

fn check_durable(postgres: &Server) -> anyhow::Result<()> {
    // Without `/proc` it is as the embedded Postgres is always started: durable.
    let Some(id) = postgres.process_id().and_then(|id| u32::try_from(id).ok()) else {
        return Ok(());
    };
    for name in DURABLE {
        if let Some(value) = process::postgres_setting(id, name)
            && value != "on"
        {
            bail!("the private Postgres runs with {name}={value}: its figures would mean nothing");
        }
    }
    Ok(())
}

impl Directory {
    fn create(parent: &Path) -> anyhow::Result<Self> {
        let path = parent.join(format!("{PREFIX}{}", std::process::id()));
        // Others may pass through, as Postgres has to when we are root, but not look around.
        let made = DirBuilder::new().mode(0o711).create(&path);
        made.with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // What stays, as of a Postgres that is still stopping, is removed by the next run.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Removes the books of runs that were killed.
fn remove_left_over(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        let process = process.and_then(|process| process.parse().ok());
        if let Some(process) = process.and_then(Pid::from_raw)
            && test_kill_process(process) == Err(Errno::SRCH)
        {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
