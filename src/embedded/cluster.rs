//! The database cluster: made once by `initdb`, then started with the settings below.
//!
//! The settings are arguments, not lines of a file: every start has those of this version, and
//! what an operator writes into `postgresql.conf` about anything else stays.
//! Every connection needs the password, over the socket too.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::{Child, Command};

use super::binaries::Binaries;
use super::data_dir::Home;
use super::error::{EmbeddedError, failed};
use crate::config::Secret;

/// The only database user, and the name of the service's database.
pub(super) const NAME: &str = "credit_ledger";

/// Nothing that was answered may be lost, and the machine may have other work to do.
const SETTINGS: [(&str, &str); 12] = [
    ("fsync", "on"),
    ("synchronous_commit", "on"),
    ("full_page_writes", "on"),
    ("listen_addresses", "127.0.0.1"),
    // Room for twice the highest LANES and for READ_CONNECTIONS, and for commands beside `serve`.
    ("max_connections", "400"),
    ("shared_buffers", "128MB"),
    // A decision reads by key; compiling such a query costs more than it saves.
    ("jit", "off"),
    ("timezone", "UTC"),
    ("log_timezone", "UTC"),
    ("log_checkpoints", "off"),
    ("logging_collector", "off"),
    ("cluster_name", "credit-ledger"),
];

/// The longest path that a socket can have on every system, with some to spare.
const SOCKET_PATH_MAX_BYTES: usize = 100;

/// How much of the log an error shows.
const TAIL_BYTES: u64 = 4096;
const TAIL_LINES: usize = 12;

/// The log starts anew above this size, keeping one older file.
const LOG_MAX_BYTES: u64 = 16 * 1024 * 1024;

/// Where the server listens, and how one gets in.
#[derive(Clone, Debug)]
pub struct Address {
    /// The port on 127.0.0.1, also part of the socket's name.
    pub port: u16,
    /// The directory of the unix socket; `None` when its path would be too long.
    pub socket: Option<PathBuf>,
    /// Of the only database user.
    pub password: Secret,
}

/// All that is needed to start the server, again and again.
#[derive(Debug)]
pub(super) struct Launch {
    pub(super) binaries: Binaries,
    pub(super) home: Home,
    pub(super) log: PathBuf,
    pub(super) port: u16,
    pub(super) settings: Vec<(String, String)>,
}

impl Address {
    /// The connection URL of `database`, by the socket where there is one.
    #[must_use]
    pub fn url(&self, database: &str) -> Secret {
        match &self.socket {
            Some(socket) => {
                let query = format!("&host={}", socket.display());
                Secret::new(format!("{}{query}", self.tcp_url(database).expose()))
            }
            None => self.tcp_url(database),
        }
    }

    /// The connection URL of `database` over loopback TCP.
    #[must_use]
    pub fn tcp_url(&self, database: &str) -> Secret {
        let (password, port) = (self.password.expose(), self.port);
        Secret::new(format!(
            "postgres://{NAME}:{password}@127.0.0.1:{port}/{database}?sslmode=disable"
        ))
    }
}

/// The directory of the server's socket: its home, unless the path is too long or has characters
/// that would need quoting in a setting or a URL.
pub(super) fn socket_directory(home: &Path) -> Option<PathBuf> {
    let text = home.to_str()?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte);
    let length = text.len() + "/.s.PGSQL.65535".len();
    (length <= SOCKET_PATH_MAX_BYTES && text.bytes().all(plain)).then(|| home.to_owned())
}

/// Makes the cluster where there is none. An interrupted `initdb` leaves only a directory that the
/// next one clears away.
pub(super) async fn create(binaries: &Binaries, home: &Home) -> Result<(), EmbeddedError> {
    let (data, unfinished) = (home.data(), home.path.join("data.new"));
    if data.exists() {
        return Ok(());
    }
    if unfinished.exists() {
        std::fs::remove_dir_all(&unfinished).map_err(failed("clear away", &unfinished))?;
    }
    let password = home.write_password()?;
    let mut initdb = home.account.command(binaries.program("initdb"));
    initdb
        .arg("--pgdata")
        .arg(&unfinished)
        .arg("--pwfile")
        .arg(&password);
    initdb.args([
        "--username",
        NAME,
        "--auth",
        "scram-sha-256",
        "--encoding",
        "UTF8",
    ]);
    initdb.args(["--locale", "C", "--data-checksums", "--no-instructions"]);
    let made = initdb.kill_on_drop(true).output().await;
    let made = made.map_err(failed("run", &binaries.program("initdb")))?;
    if !made.status.success() {
        let output = [made.stdout, made.stderr].concat();
        return Err(EmbeddedError::Initdb {
            output: tail(&String::from_utf8_lossy(&output)),
        });
    }
    std::fs::rename(&unfinished, &data).map_err(failed("rename", &unfinished))?;
    let parent = File::open(&home.path).and_then(|directory| directory.sync_all());
    parent.map_err(failed("sync", &home.path))
}

impl Launch {
    /// Starts the server; it is not ready yet. Gives the length its log had before.
    pub(super) fn start(&self) -> Result<(Child, u64), EmbeddedError> {
        let log = self.open_log().map_err(failed("open", &self.log))?;
        let log_start = log.metadata().map_err(failed("read", &self.log))?.len();
        let copy = log.try_clone().map_err(failed("open", &self.log))?;
        let mut command = self.command();
        command.stdout(Stdio::from(log)).stderr(Stdio::from(copy));
        // A group of its own: Ctrl-C in the terminal is for us, who have to drain first.
        let child = command.process_group(0).spawn();
        Ok((
            child.map_err(failed("run", &self.binaries.program("postgres")))?,
            log_start,
        ))
    }

    fn command(&self) -> Command {
        let socket = socket_directory(&self.home.path).unwrap_or_default();
        let mut command = self.home.account.command(self.binaries.program("postgres"));
        command.arg("-D").arg(self.home.data());
        let mut set = |name: &str, value: &str| {
            command.arg("-c").arg(format!("{name}={value}"));
        };
        SETTINGS.iter().for_each(|(name, value)| set(name, value));
        set("port", &self.port.to_string());
        set("unix_socket_directories", &socket.to_string_lossy());
        // Last, so that they win.
        self.settings
            .iter()
            .for_each(|(name, value)| set(name, value));
        command
    }

    fn open_log(&self) -> std::io::Result<File> {
        if std::fs::metadata(&self.log).is_ok_and(|log| log.len() > LOG_MAX_BYTES) {
            std::fs::rename(&self.log, self.log.with_extension("log.1"))?;
        }
        OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&self.log)
    }

    /// The end of what was logged after the first `log_start` bytes.
    pub(super) fn log_tail(&self, log_start: u64) -> String {
        let read = || {
            let mut file = File::open(&self.log)?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(
                log_start.max(length.saturating_sub(TAIL_BYTES)),
            ))?;
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            Ok::<_, std::io::Error>(tail(&String::from_utf8_lossy(&bytes)))
        };
        read().unwrap_or_else(|error| format!("(the log cannot be read: {error})"))
    }
}

/// The last lines of a text.
fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_goes_by_the_socket_where_there_is_one() {
        let password = Secret::new("secret");
        let mut address = Address {
            port: 5433,
            socket: Some(PathBuf::from("/srv/pg")),
            password,
        };
        let tcp = "postgres://credit_ledger:secret@127.0.0.1:5433/books?sslmode=disable";

        assert_eq!(address.url("books").expose(), format!("{tcp}&host=/srv/pg"));
        assert_eq!(address.tcp_url("books").expose(), tcp);
        address.socket = None;
        assert_eq!(address.url("books").expose(), tcp);
    }

    #[test]
    fn a_home_with_a_long_or_odd_path_has_no_socket() {
        assert!(socket_directory(Path::new("/home/ada/credit-ledger/data/postgres")).is_some());
        assert!(socket_directory(Path::new("/home/ada/my, data/postgres")).is_none());
        assert!(socket_directory(Path::new(&format!("/{}", "x".repeat(84)))).is_some());
        assert!(socket_directory(Path::new(&format!("/{}", "x".repeat(85)))).is_none());
    }

    #[test]
    fn a_tail_is_the_last_lines() {
        let text: String = (1..=20).map(|n| format!("{n}\n")).collect();

        assert_eq!(tail(&text).lines().next(), Some("9"));
        assert_eq!(tail(&text).lines().last(), Some("20"));
        assert_eq!(tail("one"), "one");
        assert_eq!(tail(""), "");
    }
}
