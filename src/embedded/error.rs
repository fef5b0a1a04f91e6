//! Why the private Postgres could not be had. Each message says what to do about it.

use std::io;
use std::path::{Path, PathBuf};

use super::binaries::MIN_VERSION;

/// Why the private Postgres cannot be started, found or stopped.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    /// The machine has no Postgres that is new enough.
    #[error(
        "found no Postgres {MIN_VERSION} or newer on this machine: install one \
         (Debian: apt-get install postgresql) or set DATABASE_URL"
    )]
    NoBinaries,
    /// The data was made by another major version of Postgres than the machine has.
    #[error(
        "{} was made by Postgres {wanted}, which this machine does not have: install it again",
        data.display()
    )]
    WrongVersion {
        /// The data directory of Postgres.
        data: PathBuf,
        /// Its major version.
        wanted: u32,
    },
    /// Another process of ours has the directory.
    #[error("another credit-ledger (process {holder}) is using {}", data_dir.display())]
    InUse {
        /// `DATA_DIR`.
        data_dir: PathBuf,
        /// The other's process id, as it wrote it down.
        holder: String,
    },
    /// A Postgres that we cannot tell to be ours seems to have the data open.
    #[error(
        "process {process} may be a Postgres that still uses {}: stop it, \
         or delete postmaster.pid there when you are sure that it is another",
        data.display()
    )]
    UnknownPostmaster {
        /// Its process id.
        process: i32,
        /// The data directory of Postgres.
        data: PathBuf,
    },
    /// No credit-ledger serves from this directory.
    #[error("no private Postgres is ready in {}", data_dir.display())]
    NotRunning {
        /// `DATA_DIR`.
        data_dir: PathBuf,
    },
    /// Postgres refuses to run as root, and there is nobody else.
    #[error(
        "Postgres does not run as root, and /etc/passwd has neither `postgres` nor `nobody`: \
         start as another user or set DATABASE_URL"
    )]
    NoAccount,
    /// The unprivileged user cannot get at the data.
    #[error(
        "the user with id {uid}, who runs Postgres for root, cannot enter {}: \
         let others pass through its parent directories, or choose another DATA_DIR",
        path.display()
    )]
    NoWay {
        /// Whose way is barred.
        uid: u32,
        /// Where to.
        path: PathBuf,
    },
    /// `DATA_DIR/postgres` leads to a place that is gone. An empty ledger is not started instead.
    #[error("{} links to a directory that is gone: restore it or delete the link", .0.display())]
    DanglingLink(PathBuf),
    /// A stored key is too short to have been made by us.
    #[error("{} holds no usable key: delete it to have a new one made", .0.display())]
    BadKeyFile(PathBuf),
    /// A file operation failed.
    #[error("could not {doing} {}", path.display())]
    Io {
        /// The verb.
        doing: &'static str,
        /// The object.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// `initdb` did not make a database cluster.
    #[error("initdb failed:\n{output}")]
    Initdb {
        /// The end of what it printed.
        output: String,
    },
    /// Postgres ended before it was ready.
    #[error("the private Postgres did not start; the end of {}:\n{tail}", log.display())]
    Exited {
        /// Its log.
        log: PathBuf,
        /// The end of what it logged since it was started.
        tail: String,
    },
    /// Postgres runs but lets nobody in.
    #[error("the private Postgres was not ready in time; the end of {}:\n{tail}", log.display())]
    NotReady {
        /// Its log.
        log: PathBuf,
        /// The end of what it logged since it was started.
        tail: String,
        /// What the last attempt to connect met.
        source: Option<sqlx::Error>,
    },
    /// The database of the service could not be made.
    #[error("could not create the database in the private Postgres")]
    CreateDatabase(#[source] sqlx::Error),
    /// It outlived every signal.
    #[error("the private Postgres (process {process}) could not be stopped")]
    NotStopped {
        /// Its process id.
        process: i32,
    },
}

/// For `map_err`: what was being done, and to what.
pub(super) fn failed<'a>(
    doing: &'static str,
    path: &'a Path,
) -> impl FnOnce(io::Error) -> EmbeddedError + 'a {
    move |source| EmbeddedError::Io {
        doing,
        path: path.to_owned(),
        source,
    }
}
