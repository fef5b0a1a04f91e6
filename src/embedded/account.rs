//! Which user of the machine runs Postgres, and how a program is run as that user.
//!
//! Postgres refuses to run as root. When we are root, the owner of existing data runs it, else the
//! user `postgres`, else `nobody`. Otherwise it runs as we do.

use std::ffi::OsStr;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Stdio;

use tokio::process::Command;

use super::error::{EmbeddedError, failed};

/// All that Postgres gets of our environment: our settings hold secrets, and variables such as
/// `PGPORT` would change what it does.
const KEPT_VARIABLES: [&str; 4] = ["PATH", "HOME", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"];

/// Who runs Postgres.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Account {
    /// The user we are.
    Ours,
    /// This one, because we are root.
    Other { uid: u32, gid: u32 },
}

impl Account {
    /// Chooses who runs Postgres; `home` is the directory of earlier data, where there is one.
    pub(super) fn choose(home: Option<&Metadata>) -> Result<Self, EmbeddedError> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Self::Ours);
        }
        if let Some(owner) = home.filter(|home| home.uid() != 0) {
            return Ok(Self::Other {
                uid: owner.uid(),
                gid: owner.gid(),
            });
        }
        let users = Path::new("/etc/passwd");
        let users = std::fs::read_to_string(users).map_err(failed("read", users))?;
        let (uid, gid) = find_user(&users, "postgres")
            .or_else(|| find_user(&users, "nobody"))
            .ok_or(EmbeddedError::NoAccount)?;
        Ok(Self::Other { uid, gid })
    }

    /// A command that will run as this user, in `/`, with next to nothing of our environment.
    pub(super) fn command(self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        let kept = KEPT_VARIABLES.into_iter().filter_map(|name| {
            let value = std::env::var_os(name)?;
            Some((name, value))
        });
        command
            .env_clear()
            .envs(kept)
            .env("LC_ALL", "C")
            .env("TZ", "UTC");
        command.current_dir("/").stdin(Stdio::null());
        if let Self::Other { uid, gid } = self {
            command.uid(uid).gid(gid);
        }
        command
    }

    /// Makes this user the owner of `path`, which we have made.
    pub(super) fn own(self, path: &Path) -> Result<(), EmbeddedError> {
        match self {
            Self::Ours => Ok(()),
            Self::Other { uid, gid } => std::os::unix::fs::chown(path, Some(uid), Some(gid))
                .map_err(failed("change the owner of", path)),
        }
    }

    /// Checks that this user gets into `directory` and may write there.
    /// Tried rather than computed: modes, access lists and mounts all have a say.
    pub(super) async fn check_way(self, directory: &Path) -> Result<(), EmbeddedError> {
        let Self::Other { uid, .. } = self else {
            return Ok(());
        };
        let mut shell = self.command("/bin/sh");
        shell
            .args(["-c", "cd -- \"$0\" && test -w ."])
            .arg(directory)
            .stderr(Stdio::null());
        let entered = shell
            .status()
            .await
            .map_err(failed("run", Path::new("/bin/sh")))?;
        if entered.success() {
            Ok(())
        } else {
            Err(EmbeddedError::NoWay {
                uid,
                path: directory.to_owned(),
            })
        }
    }
}

/// The user and group id of `name` in the text of `/etc/passwd`.
fn find_user(users: &str, name: &str) -> Option<(u32, u32)> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        if fields.next() != Some(name) {
            return None;
        }
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        Some((uid, gid))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_the_whole_name() {
        let users = "root:x:0:0:root:/root:/bin/sh\n\
                     postgresql:x:7:8::/:/bin/sh\n\
                     postgres:x:101:104:PostgreSQL administrator,,,:/var/lib:/bin/bash\n\
                     broken:x\n";

        assert_eq!(find_user(users, "postgres"), Some((101, 104)));
        assert_eq!(find_user(users, "nobody"), None);
        assert_eq!(find_user(users, "broken"), None);
    }

    #[tokio::test]
    async fn a_command_gets_none_of_our_secrets() {
        let output = Account::Ours
            .command("/usr/bin/env")
            .output()
            .await
            .expect("env runs");

        let seen = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(seen.contains("LC_ALL=C"), "{seen}");
        assert!(
            seen.lines().all(|line| !line.starts_with("CARGO")),
            "{seen}"
        );
    }
}
