//! A Postgres server seen from outside, by the `postmaster.pid` in its data: whose is it, is it
//! ready, and how is it stopped.
//!
//! After a `kill -9` of ours the server may still run, or its file may name a process that has long
//! been another. Two servers on one cluster would destroy it, so a file is only ever set aside when
//! its process is certainly no server of that cluster.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use super::binaries::is_server;
use super::error::{EmbeddedError, failed};

/// A server is asked to stop in ever ruder ways. None loses what was committed; after the last
/// two the next start has to recover it from the log, which takes longer.
/// All together stay within the 10 s that a stopping service has.
pub(super) const STOP_SIGNALS: [(Signal, Duration); 3] = [
    (Signal::INT, Duration::from_secs(6)),
    (Signal::QUIT, Duration::from_secs(2)),
    (Signal::KILL, Duration::from_secs(1)),
];

const POLL_INTERVAL: Duration = Duration::from_millis(25);

/// No system gives a process this number, so Postgres takes the file's process for dead.
const NO_PROCESS: &str = "2147483647";

/// What `postmaster.pid` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PidFile {
    pub(super) process: i32,
    pub(super) port: Option<u16>,
    pub(super) ready: bool,
}

/// Who the process in a `postmaster.pid` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Identity {
    /// The server of this cluster.
    Server,
    /// Another program, which got the number later; or nobody.
    Stranger,
    /// A server, but we are not let to see of which cluster.
    Unknown,
}

impl PidFile {
    /// `None` when there is none, or one that is just being written.
    pub(super) fn read(data: &Path) -> Option<Self> {
        Self::parse(&std::fs::read_to_string(data.join("postmaster.pid")).ok()?)
    }

    /// The lines: process, data directory, start time, port, socket directory, address,
    /// shared memory key, status.
    fn parse(text: &str) -> Option<Self> {
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        Some(Self {
            process: lines.first()?.parse().ok()?,
            port: lines.get(3).and_then(|port| port.parse().ok()),
            ready: lines.get(7) == Some(&"ready"),
        })
    }
}

/// Sends a signal; a process that is gone already is no error.
pub(super) fn signal(process: i32, signal: Signal) {
    let sent = Pid::from_raw(process).map(|pid| kill_process(pid, signal));
    if let Some(Err(error)) = sent
        && error != Errno::SRCH
    {
        warn!(process, %error, "could not signal the private Postgres");
    }
}

/// Stops the server that an earlier run of ours may have left behind on the cluster in `data`.
pub(super) async fn stop_leftover(data: &Path) -> Result<(), EmbeddedError> {
    let Some(PidFile { process, .. }) = PidFile::read(data) else {
        return Ok(());
    };
    if !is_alive(process) {
        return Ok(());
    }
    match identify(process, data) {
        Identity::Server => {
            info!(
                process,
                "stopping the private Postgres that an earlier run left behind"
            );
            stop(process, data).await
        }
        Identity::Stranger => set_aside(data),
        Identity::Unknown => Err(EmbeddedError::UnknownPostmaster {
            process,
            data: data.to_owned(),
        }),
    }
}

async fn stop(process: i32, data: &Path) -> Result<(), EmbeddedError> {
    for (stop_signal, patience) in STOP_SIGNALS {
        signal(process, stop_signal);
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            // It removes the file last. One that was killed leaves it, and may stay a zombie whose
            // parent never asks for it: that is a stranger with no program.
            let gone = PidFile::read(data).is_none_or(|file| file.process != process);
            if gone || !is_alive(process) || identify(process, data) == Identity::Stranger {
                return Ok(());
            }
            sleep(POLL_INTERVAL).await;
        }
    }
    Err(EmbeddedError::NotStopped { process })
}

/// Tells Postgres that the process in its file is not one of its own. The rest of the file stays:
/// by its shared memory key Postgres still finds orphans of a dead server.
fn set_aside(data: &Path) -> Result<(), EmbeddedError> {
    let path = data.join("postmaster.pid");
    let text = std::fs::read_to_string(&path).map_err(failed("read", &path))?;
    let rest = text.split_once('\n').map_or("", |(_, rest)| rest);
    std::fs::write(&path, format!("{NO_PROCESS}\n{rest}")).map_err(failed("write", &path))
}

fn is_alive(process: i32) -> bool {
    Pid::from_raw(process).is_some_and(|pid| test_kill_process(pid) != Err(Errno::SRCH))
}

fn identify(process: i32, data: &Path) -> Identity {
    let command = command_line(process);
    if !command.first().is_some_and(|program| is_server(program)) {
        return Identity::Stranger;
    }
    if command.iter().any(|argument| argument == data) {
        return Identity::Server;
    }
    // A server works in its data directory, whatever path it was started with.
    match std::fs::canonicalize(format!("/proc/{process}/cwd")) {
        Ok(directory) if directory == data => Identity::Server,
        Ok(_) => Identity::Stranger,
        Err(_) => Identity::Unknown,
    }
}

/// The words of a process' command line; none when it is gone or a zombie.
fn command_line(process: i32) -> Vec<PathBuf> {
    let words = |bytes: &[u8], end: fn(&u8) -> bool| {
        let words = bytes.split(end).filter(|word| !word.is_empty());
        words
            .map(|word| PathBuf::from(OsString::from_vec(word.to_vec())))
            .collect()
    };
    if let Ok(bytes) = std::fs::read(format!("/proc/{process}/cmdline")) {
        return words(&bytes, |byte| *byte == 0);
    }
    // No `/proc`, as on a Mac. A path with a blank in it falls apart here, and counts as unknown.
    let mut ps = std::process::Command::new("ps");
    match ps
        .args(["-o", "command=", "-p", &process.to_string()])
        .output()
    {
        Ok(output) => words(&output.stdout, u8::is_ascii_whitespace),
        Err(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedded::tests::Scratch;

    const RUNNING: &str = "4242\n/srv/data\n1700000000\n54321\n/srv\n127.0.0.1\n  1 2\nready   \n";

    fn pid_file(scratch: &Scratch, text: &str) -> PathBuf {
        let path = scratch.path().join("postmaster.pid");
        std::fs::write(&path, text).expect("it is written");
        path
    }

    #[test]
    fn the_pid_file_tells_process_port_and_readiness() {
        let running = PidFile {
            process: 4242,
            port: Some(54321),
            ready: true,
        };
        assert_eq!(PidFile::parse(RUNNING), Some(running));

        let starting = PidFile {
            process: 4242,
            port: None,
            ready: false,
        };
        assert_eq!(PidFile::parse("4242\n/srv/data\n"), Some(starting));

        assert_eq!(PidFile::parse(""), None);
    }

    #[test]
    fn a_process_that_is_no_server_is_a_stranger() {
        let us = i32::try_from(std::process::id()).expect("process ids are small");

        assert_eq!(identify(us, Path::new("/srv/data")), Identity::Stranger);
    }

    #[tokio::test]
    async fn a_file_that_names_a_stranger_is_set_aside_and_keeps_the_rest() {
        let scratch = Scratch::new();
        let us = std::process::id().to_string();
        let path = pid_file(&scratch, &RUNNING.replace("4242", &us));

        stop_leftover(scratch.path())
            .await
            .expect("nothing has to be stopped");

        let text = std::fs::read_to_string(path).expect("it is still there");
        assert_eq!(text, RUNNING.replace("4242", NO_PROCESS));
    }

    #[tokio::test]
    async fn a_file_that_names_a_dead_process_is_left_to_postgres() {
        let scratch = Scratch::new();
        let text = RUNNING.replace("4242", NO_PROCESS);
        let path = pid_file(&scratch, &text);

        stop_leftover(scratch.path())
            .await
            .expect("nothing has to be stopped");

        assert_eq!(
            std::fs::read_to_string(path).expect("it is still there"),
            text
        );
    }
}
