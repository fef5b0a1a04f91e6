//! `DATA_DIR` on disk: who may use it, what lies in it, and the secrets kept there.
//!
//! ```text
//! lock              held while a credit-ledger runs, so that two never share one directory
//! operator_key      the operator key of the zero-set-up start, for the owner only
//! postgres.log      what Postgres says
//! postgres/         open to the user that runs Postgres alone; or a link to such a place
//!   password        of the only database user
//!   data/           the database cluster
//! ```

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use tracing::info;

use super::account::Account;
use super::error::{EmbeddedError, failed};
use crate::config::{OPERATOR_KEY_MIN_CHARS, Secret};

/// Where root's databases go when `DATA_DIR` lies in a place that only root can reach.
const FALLBACK: &str = "/var/lib/credit-ledger";

/// A data directory that is ours alone as long as this value lives.
#[derive(Debug)]
pub(super) struct DataDir {
    path: PathBuf,
    /// Locked; the system unlocks it when we end, however we end.
    _lock: File,
}

/// The directory of the user who runs Postgres.
#[derive(Clone, Debug)]
pub(super) struct Home {
    pub(super) path: PathBuf,
    pub(super) account: Account,
}

impl DataDir {
    /// Makes the directory where it is missing, and takes it.
    pub(super) fn lock(path: &Path) -> Result<Self, EmbeddedError> {
        create_data_dir(path)?;
        let path = std::fs::canonicalize(path).map_err(failed("find", path))?;
        let lock = take_lock(&path)?;
        Ok(Self { path, _lock: lock })
    }

    /// The file that Postgres logs to.
    pub(super) fn log(&self) -> PathBuf {
        self.path.join("postgres.log")
    }

    /// The directory for Postgres, made at the first start.
    pub(super) async fn home(&self) -> Result<Home, EmbeddedError> {
        let path = home_path(&self.path)?;
        if let Some(path) = path {
            let metadata = std::fs::metadata(&path).map_err(failed("read", &path))?;
            let account = Account::choose(Some(&metadata))?;
            account.own(&path)?;
            account.check_way(&path).await?;
            return Ok(Home { path, account });
        }
        let account = Account::choose(None)?;
        let path = self.path.join("postgres");
        create_home(&path, account)?;
        match account.check_way(&path).await {
            Ok(()) => Ok(Home { path, account }),
            Err(EmbeddedError::NoWay { .. }) => {
                std::fs::remove_dir(&path).map_err(failed("remove", &path))?;
                self.home_elsewhere(account).await
            }
            Err(other) => Err(other),
        }
    }

    /// A new directory that others can reach, with a link to it in `DATA_DIR`. Its name is drawn by
    /// lot: who deletes `DATA_DIR` to start anew does not meet the old data again.
    async fn home_elsewhere(&self, account: Account) -> Result<Home, EmbeddedError> {
        create_directory(Path::new(FALLBACK), 0o711)?;
        let path = Path::new(FALLBACK).join(&random_hex()[..16]);
        create_home(&path, account)?;
        account.check_way(&path).await?;
        let link = self.path.join("postgres");
        std::os::unix::fs::symlink(&path, &link).map_err(failed("create", &link))?;
        info!(
            "the user that runs Postgres for root cannot enter {}: the database is kept in {}",
            self.path.display(),
            path.display()
        );
        Ok(Home { path, account })
    }
}

/// Where Postgres lives in `data_dir`, links resolved; `None` when it never did.
pub(super) fn home_path(data_dir: &Path) -> Result<Option<PathBuf>, EmbeddedError> {
    let path = data_dir.join("postgres");
    match std::fs::canonicalize(&path) {
        Ok(path) => Ok(Some(path)),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("find", &path)(error)),
        Err(_) if path.is_symlink() => Err(EmbeddedError::DanglingLink(path)),
        Err(_) => Ok(None),
    }
}

impl Home {
    /// The database cluster.
    pub(super) fn data(&self) -> PathBuf {
        self.path.join("data")
    }

    /// Puts a new password where `initdb` and [`read_password`] find it.
    pub(super) fn write_password(&self) -> Result<PathBuf, EmbeddedError> {
        let path = self.path.join("password");
        write_private(&path, &random_hex())?;
        self.account.own(&path)?;
        Ok(path)
    }
}

/// The password of the database user.
pub(super) fn read_password(home: &Path) -> Result<Secret, EmbeddedError> {
    read_key(&home.join("password"))
}

/// The operator key of the zero-set-up start: made at the first start, the same ever after.
///
/// # Errors
///
/// When the file can be neither read nor written, or holds something else.
pub fn operator_key(data_dir: &Path) -> Result<Secret, EmbeddedError> {
    let path = data_dir.join("operator_key");
    if !path.exists() {
        create_data_dir(data_dir)?;
        write_private(&path, &format!("operator_{}", random_hex()))?;
    }
    read_key(&path)
}

fn read_key(path: &Path) -> Result<Secret, EmbeddedError> {
    let text = std::fs::read_to_string(path).map_err(failed("read", path))?;
    let key = text.trim();
    if key.len() < OPERATOR_KEY_MIN_CHARS || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(EmbeddedError::BadKeyFile(path.to_owned()));
    }
    Ok(Secret::new(key))
}

fn take_lock(data_dir: &Path) -> Result<File, EmbeddedError> {
    let path = data_dir.join("lock");
    let mut options = OpenOptions::new();
    options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600);
    let mut lock = options.open(&path).map_err(failed("open", &path))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::Error(error)) => return Err(failed("lock", &path)(error)),
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            lock.read_to_string(&mut holder)
                .map_err(failed("read", &path))?;
            let holder = holder.trim().to_owned();
            return Err(EmbeddedError::InUse {
                data_dir: data_dir.to_owned(),
                holder,
            });
        }
    }
    // Only the message to whoever comes second needs the number.
    lock.set_len(0).map_err(failed("write", &path))?;
    writeln!(lock, "{}", std::process::id()).map_err(failed("write", &path))?;
    Ok(lock)
}

fn create_data_dir(path: &Path) -> Result<(), EmbeddedError> {
    // Root lets others pass through but not look around: Postgres, which runs as another user,
    // has to reach its part below.
    let mode = if rustix::process::geteuid().is_root() {
        0o711
    } else {
        0o700
    };
    create_directory(path, mode)
}

fn create_home(path: &Path, account: Account) -> Result<(), EmbeddedError> {
    create_directory(path, 0o700)?;
    account.own(path)
}

/// An existing directory keeps its mode: its owner has chosen it.
fn create_directory(path: &Path, mode: u32) -> Result<(), EmbeddedError> {
    let mut builder = DirBuilder::new();
    builder
        .recursive(true)
        .mode(mode)
        .create(path)
        .map_err(failed("create", path))
}

/// Writes a file for its owner only, wholly or not at all.
fn write_private(path: &Path, text: &str) -> Result<(), EmbeddedError> {
    let unfinished = path.with_extension("new");
    let write = || {
        if unfinished.exists() {
            std::fs::remove_file(&unfinished)?;
        }
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&unfinished)?;
        writeln!(file, "{text}")?;
        file.sync_all()?;
        std::fs::rename(&unfinished, path)
    };
    write().map_err(failed("write", path))
}

/// 256 random bits in 64 characters.
fn random_hex() -> String {
    rand::random::<[u8; 32]>()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;
    use crate::embedded::tests::Scratch;

    #[test]
    fn the_operator_key_is_made_once_and_for_the_owner_only() {
        let scratch = Scratch::new();
        let data_dir = scratch.path().join("data");

        let made = operator_key(&data_dir).expect("it is made");
        let again = operator_key(&data_dir).expect("it is read");

        assert!(made.matches(again.expose()));
        assert!(made.expose().len() >= OPERATOR_KEY_MIN_CHARS);
        let file = std::fs::metadata(data_dir.join("operator_key")).expect("it is a file");
        assert_eq!(file.permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn an_operator_key_that_is_too_short_is_refused() {
        let scratch = Scratch::new();
        std::fs::write(scratch.path().join("operator_key"), "short\n").expect("it is written");

        let refused = operator_key(scratch.path());

        assert!(matches!(refused, Err(EmbeddedError::BadKeyFile(_))));
    }

    #[test]
    fn a_second_process_is_told_who_has_the_directory() {
        let scratch = Scratch::new();
        let first = DataDir::lock(scratch.path()).expect("the first has it");

        let second = DataDir::lock(scratch.path()).expect_err("the second does not get it");
        assert!(
            second.to_string().contains(&std::process::id().to_string()),
            "{second}"
        );

        drop(first);
        DataDir::lock(scratch.path()).expect("it is free again");
    }

    #[tokio::test]
    async fn the_home_of_postgres_belongs_to_who_runs_it_alone() {
        let scratch = Scratch::new();
        let data_dir = DataDir::lock(&scratch.path().join("data")).expect("it is new");

        let home = data_dir.home().await.expect("it is made");
        let again = data_dir.home().await.expect("it is found");

        assert_eq!((&again.path, again.account), (&home.path, home.account));
        let metadata = std::fs::metadata(&home.path).expect("it is there");
        assert_eq!(metadata.permissions().mode() & 0o777, 0o700);
        assert_ne!(metadata.uid(), 0);
    }

    #[tokio::test]
    async fn a_link_that_leads_nowhere_does_not_become_an_empty_ledger() {
        let scratch = Scratch::new();
        let data_dir = DataDir::lock(scratch.path()).expect("it is new");
        let link = scratch.path().join("postgres");
        std::os::unix::fs::symlink("/nonexistent/credit-ledger", &link).expect("it is made");

        let refused = data_dir.home().await;

        assert!(matches!(refused, Err(EmbeddedError::DanglingLink(_))));
    }
}
