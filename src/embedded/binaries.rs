//! Where this machine keeps its Postgres programs. Nothing is started or installed here.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

use super::error::EmbeddedError;

/// The oldest major version that the service works with.
pub const MIN_VERSION: u32 = 15;

/// Places besides `PATH`: every directory in the first whose name begins with the second,
/// followed by the third. Debian, Red Hat, Homebrew on both kinds of Mac, and Postgres.app.
const PLACES: [(&str, &str, &str); 5] = [
    ("/usr/lib/postgresql", "", "bin"),
    ("/usr", "pgsql-", "bin"),
    ("/opt/homebrew/opt", "postgresql@", "bin"),
    ("/usr/local/opt", "postgresql@", "bin"),
    ("/Applications/Postgres.app/Contents/Versions", "", "bin"),
];

/// The programs of one installed Postgres.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binaries {
    /// The major version, at least [`MIN_VERSION`].
    pub version: u32,
    /// The directory that holds `initdb` and `postgres`.
    pub directory: PathBuf,
}

impl Binaries {
    /// The newest on this machine.
    ///
    /// # Errors
    ///
    /// [`EmbeddedError::NoBinaries`] when there is none, or only older ones.
    pub async fn find() -> Result<Self, EmbeddedError> {
        Self::list()
            .await
            .into_iter()
            .next()
            .ok_or(EmbeddedError::NoBinaries)
    }

    /// Those that can open the cluster in `data`, which only its own major version can.
    pub(super) async fn find_for(data: &Path) -> Result<Self, EmbeddedError> {
        let Some(wanted) = version_of_cluster(data) else {
            return Self::find().await;
        };
        let data = data.to_owned();
        let mut installed = Self::list().await.into_iter();
        installed
            .find(|binaries| binaries.version == wanted)
            .ok_or(EmbeddedError::WrongVersion { data, wanted })
    }

    /// The path of `program` among them.
    pub(super) fn program(&self, program: &str) -> PathBuf {
        self.directory.join(program)
    }

    /// All that are new enough, the newest first; of two alike the one found first.
    async fn list() -> Vec<Self> {
        let mut found: Vec<Self> = Vec::new();
        for directory in candidate_directories() {
            if found.iter().any(|known| known.directory == directory) {
                continue;
            }
            if let Some(version) = ask_version(&directory).await
                && version >= MIN_VERSION
            {
                found.push(Self { version, directory });
            }
        }
        found.sort_by_key(|binaries| std::cmp::Reverse(binaries.version));
        found
    }
}

/// Every directory that holds `initdb` and `postgres`, links resolved: both look for their
/// companions beside the file that they really are.
fn candidate_directories() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = PLACES.iter().flat_map(|(parent, prefix, rest)| {
        let names = std::fs::read_dir(parent).into_iter().flatten().flatten();
        names
            .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
            .map(|entry| entry.path().join(rest))
            .collect::<Vec<_>>()
    });
    std::env::split_paths(&path)
        .chain(places)
        .filter_map(|directory| std::fs::canonicalize(directory.join("postgres")).ok())
        .filter_map(|postgres| postgres.parent().map(Path::to_owned))
        .filter(|directory| directory.join("initdb").is_file())
        .collect()
}

async fn ask_version(directory: &Path) -> Option<u32> {
    let mut command = Command::new(directory.join("postgres"));
    command
        .arg("--version")
        .stdin(Stdio::null())
        .stderr(Stdio::null());
    let output = command.output().await.ok()?;
    major_version(&String::from_utf8_lossy(&output.stdout))
}

/// `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)` is 15; so is `15beta2`.
fn major_version(text: &str) -> Option<u32> {
    let number = text.split_once("(PostgreSQL) ")?.1;
    let end = number
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(number.len());
    number[..end].parse().ok()
}

/// `None` when there is no cluster yet.
fn version_of_cluster(data: &Path) -> Option<u32> {
    std::fs::read_to_string(data.join("PG_VERSION"))
        .ok()?
        .trim()
        .parse()
        .ok()
}

/// Whether a process' program is a Postgres server, going by the file name in its first argument.
pub(super) fn is_server(program: &Path) -> bool {
    let name = program
        .file_name()
        .unwrap_or(OsStr::new(""))
        .to_string_lossy();
    name.starts_with("postgres") || name.starts_with("postmaster")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_is_read_from_what_postgres_prints() {
        let debian = "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n";

        assert_eq!(major_version(debian), Some(15));
        assert_eq!(major_version("postgres (PostgreSQL) 19beta1"), Some(19));
        assert_eq!(major_version("postgres (PostgreSQL) 17"), Some(17));
        assert_eq!(major_version("postgres: not found"), None);
        assert_eq!(major_version("postgres (PostgreSQL) devel"), None);
    }

    #[test]
    fn a_server_is_known_by_its_file_name() {
        assert!(is_server(Path::new("/usr/lib/postgresql/15/bin/postgres")));
        assert!(!is_server(Path::new("/usr/bin/vim")));
        assert!(!is_server(Path::new("")));
    }

    #[tokio::test]
    async fn the_newest_of_this_machine_is_found() {
        let newest = Binaries::find().await.expect("the tests need a Postgres");

        assert!(newest.version >= MIN_VERSION);
        assert!(newest.program("initdb").is_file());
    }
}
