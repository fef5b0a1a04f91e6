//! Writes with an idempotency key that one journal entry answers: debits, adjustments.

use std::sync::Arc;

use super::App;
use super::answer;
use super::auth::Caller;
use super::problem::Problem;
use crate::lanes::{Job, Reply};
use crate::ledger::{Actor, Command, Entry, PoolName, Request};

/// The entry of a write, and whether an earlier request with the same key booked it.
pub struct Booked {
    /// The entry.
    pub entry: Arc<Entry>,
    /// Whether it was there before.
    pub replayed: bool,
}

/// What a caller asks of a pool's lane.
pub fn job(caller: &Caller, pool: PoolName, request: Request, command: Command) -> Job {
    Job {
        tenant: caller.tenant,
        pool,
        actor: Actor {
            key: Some(caller.key),
            request: Some(request),
        },
        command,
        dry_run: false,
    }
}

/// Has the lane book it.
///
/// # Errors
/// A rule refuses it, or the database is away.
pub async fn book(app: &App, job: Job) -> Result<Booked, Problem> {
    match app.lanes.submit(job).await? {
        Reply::Entry { entry, replayed } => Ok(Booked { entry, replayed }),
        Reply::Purchased { .. } | Reply::Pool { .. } | Reply::Done => {
            Err(answer::unexpected("the reply"))
        }
    }
}
