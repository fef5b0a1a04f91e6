//! The real binary, as a process of its own: for replicas, kills and signals.

use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};

use super::client::{Client, OPERATOR_KEY};

/// A running `credit-ledger serve`.
pub struct Service {
    pub child: Child,
    pub client: Client,
}

impl Service {
    /// Starts a service on a database and waits until it listens.
    pub async fn start(url: &str) -> Self {
        Self::start_with(url, &[]).await
    }

    /// The same with more settings.
    pub async fn start_with(url: &str, settings: &[(&str, &str)]) -> Self {
        Self::start_logging(url, settings, Stdio::inherit()).await
    }

    /// The same with a place for the log.
    pub async fn start_logging(url: &str, settings: &[(&str, &str)], log: Stdio) -> Self {
        let mut child = command("serve", url)
            .envs(settings.iter().copied())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("the binary starts");
        let stdout = child.stdout.take().expect("its output is piped");
        let mut lines = BufReader::new(stdout).lines();
        let base = loop {
            let line = lines.next_line().await.expect("its output is text");
            let line = line.expect("the service says where it listens before it ends");
            if let Some((_, base)) = line.split_once("listening on ") {
                break base.trim().to_owned();
            }
        };
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Self {
            child,
            client: Client::new(&base),
        }
    }

    /// Starts a service whose database is away; it listens all the same.
    pub async fn start_unready(url: &str) -> Self {
        let free = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port is free");
        let address = free.local_addr().expect("it has an address").to_string();
        drop(free);
        let child = command("serve", url)
            .env("LISTEN_ADDR", &address)
            .stdout(Stdio::null())
            .spawn()
            .expect("the binary starts");
        let started = Instant::now();
        while TcpStream::connect(&address).await.is_err() {
            assert!(started.elapsed() < Duration::from_secs(30), "it listens");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Self {
            child,
            client: Client::new(&format!("http://{address}")),
        }
    }

    /// Kills it without warning.
    pub async fn kill(mut self) {
        self.child.kill().await.expect("it is killed");
    }

    /// Lets it do nothing, as on a machine that hangs.
    pub fn hang(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn go_on(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let id = self.child.id().and_then(|id| i32::try_from(id).ok());
        let id = id.and_then(Pid::from_raw).expect("it runs");
        kill_process(id, signal).expect("it is told");
    }

    /// Asks it to end, and gives its exit code.
    pub async fn terminate(mut self) -> Option<i32> {
        self.signal(Signal::TERM);
        let ended = tokio::time::timeout(Duration::from_secs(20), self.child.wait()).await;
        ended
            .expect("it ends in time")
            .expect("it is waited for")
            .code()
    }
}

/// Runs a command of the binary to its end: exit code and what it printed.
pub async fn run(arguments: &[&str], url: &str) -> (Option<i32>, String) {
    run_with(arguments, url, &[]).await
}

/// The same with more settings.
pub async fn run_with(
    arguments: &[&str],
    url: &str,
    settings: &[(&str, &str)],
) -> (Option<i32>, String) {
    let (first, rest) = arguments.split_first().expect("a command");
    let output = command(first, url)
        .envs(settings.iter().copied())
        .args(rest)
        .output()
        .await
        .expect("the binary runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (
        output.status.code(),
        text + &String::from_utf8_lossy(&output.stderr),
    )
}

/// Starts a command of the binary and leaves it running; dropped, it is killed.
pub fn spawn(arguments: &[&str], url: &str) -> Child {
    let (first, rest) = arguments.split_first().expect("a command");
    let mut command = command(first, url);
    let command = command.args(rest).stdout(Stdio::null());
    command.spawn().expect("the binary starts")
}

/// Verifies all books: the exit code says whether they are right.
pub async fn verify(url: &str) -> (Option<i32>, String) {
    run(&["verify", "--json"], url).await
}

fn command(name: &str, url: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_credit-ledger"));
    command
        .arg(name)
        .env_clear()
        .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
        .env("DATABASE_URL", url)
        .env("LISTEN_ADDR", "127.0.0.1:0")
        .env("OPERATOR_KEY", OPERATOR_KEY)
        .env("RUST_LOG", "off")
        .env("DRAIN_SECONDS", "0")
        .kill_on_drop(true)
        .stdin(Stdio::null());
    command
}
