//! The instant that the files describe. The first run that books anything decides it for all runs
//! of the same files: a run that was cut short goes on with the same figures.

use super::UsageError;
use super::stage::Staged;
use crate::http::time::Stamp;
use crate::ledger::{TenantId, Time};
use crate::store::{Staging, Store};

/// The instant of this run.
pub struct Instant {
    /// What the files describe.
    pub at: Time,
    /// What an earlier run took.
    earlier: Option<Time>,
    now: Time,
    tenant: TenantId,
    content: [u8; 32],
    is_kept: bool,
}

impl Instant {
    /// Decides it. One that an earlier run took counts, unless nothing was imported as of it and
    /// another is wanted.
    ///
    /// # Errors
    /// The files were imported as of another instant.
    pub async fn decide(
        store: &Store,
        staging: &mut Staging,
        (tenant, staged): (TenantId, &Staged),
        wanted: Option<Time>,
        now: Time,
    ) -> anyhow::Result<Self> {
        let earlier = store.find_import(tenant, &staged.content).await?;
        if let (Some(earlier), Some(wanted)) = (earlier, wanted)
            && earlier != wanted
            && staging.has_imported(earlier).await?
        {
            return Err(other(earlier));
        }
        Ok(Self {
            at: wanted.or(earlier).unwrap_or(now),
            earlier,
            now,
            tenant,
            content: staged.content,
            is_kept: false,
        })
    }

    /// Whether an earlier run said so.
    pub fn is_again(&self) -> bool {
        self.earlier == Some(self.at)
    }

    /// Remembers it, before the first pool is booked.
    ///
    /// # Errors
    /// Another run was quicker, with another instant.
    pub async fn keep(&mut self, store: &Store) -> anyhow::Result<()> {
        if self.is_kept {
            return Ok(());
        }
        let (content, at) = (&self.content, self.at);
        let kept = store
            .remember_import(self.tenant, content, at, self.earlier, self.now)
            .await?;
        if kept != at {
            return Err(other(kept));
        }
        self.is_kept = true;
        Ok(())
    }
}

fn other(at: Time) -> anyhow::Error {
    let at = Stamp(at);
    UsageError(format!("--at: these files were imported as of {at} before")).into()
}
