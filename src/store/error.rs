//! What can fail below the ledger: the database is away, a constraint says no, a row is corrupt.

use sqlx::error::ErrorKind;

/// Why the store could not answer.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database is away, shutting down, or did not answer in time. A retry is right.
    #[error("the database is unavailable")]
    Unavailable(#[source] sqlx::Error),
    /// Another writer was in the way: a deadlock, a lock that took too long, a turn that ended
    /// while we did nothing. The statement that met it wrote nothing, and a retry is right.
    #[error("another writer was in the way")]
    Contended(#[source] sqlx::Error),
    /// A named constraint refused the write.
    #[error("the constraint {constraint} refused the write")]
    Conflict {
        /// Its name.
        constraint: String,
    },
    /// A stored value that cannot be what we wrote.
    #[error("{table}.{column} of {id} cannot be read")]
    Corrupt {
        /// Where.
        table: &'static str,
        /// Which column.
        column: &'static str,
        /// Which row.
        id: String,
    },
    /// A migration failed.
    #[error("the schema could not be migrated")]
    Migration(#[source] Box<sqlx::migrate::MigrateError>),
    /// Anything else: we are wrong.
    #[error("the database refused a statement")]
    Failed(#[source] sqlx::Error),
}

impl StoreError {
    /// The database did not answer in time.
    #[must_use]
    pub const fn timed_out() -> Self {
        Self::Unavailable(sqlx::Error::PoolTimedOut)
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::Protocol(_) => Self::Unavailable(error),
            sqlx::Error::Database(database) => {
                let code = database.code().unwrap_or_default();
                let kind = database.kind();
                let constraint = database.constraint().map(str::to_owned);
                match (code.as_ref(), constraint) {
                    // Shutting down, starting up, out of connections or disk, cancelled.
                    // Migrations are still to come.
                    ("42P01" | "3F000", _) => Self::Unavailable(error),
                    ("57P01" | "57P02" | "57P03" | "57P05" | "57014", _) => {
                        Self::Unavailable(error)
                    }
                    (code, _) if code.starts_with("08") || code.starts_with("53") => {
                        Self::Unavailable(error)
                    }
                    // The last: our turn was ended, because nothing came for too long.
                    ("40001" | "40P01" | "55P03" | "25P03", _) => Self::Contended(error),
                    (_, Some(constraint)) if !matches!(kind, ErrorKind::Other) => {
                        Self::Conflict { constraint }
                    }
                    _ => Self::Failed(error),
                }
            }
            _ => Self::Failed(error),
        }
    }
}
