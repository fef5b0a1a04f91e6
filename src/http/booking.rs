//! Writes with an idempotency key that one journal entry answers: debits, holds, refunds,
//! adjustments.
//!
//! The answer is made from that entry, so a replay gives the first answer again.

use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;

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

impl Booked {
    /// The answer with the body that was made from the entry.
    ///
    /// # Errors
    /// There is no body: the entry is not what the command books.
    pub fn answer(
        &self,
        status: StatusCode,
        body: Option<impl Serialize>,
    ) -> Result<Response, Problem> {
        let body = body.ok_or_else(|| answer::unexpected("the entry"))?;
        Ok(answer::booked(status, &body, self.replayed))
    }
}

/// Has the pool's lane book what a caller's request asks for.
///
/// # Errors
/// A rule refuses it, or the database is away.
pub async fn write(
    app: &App,
    caller: &Caller,
    pool: &PoolName,
    request: Request,
    command: Command,
) -> Result<Booked, Problem> {
    book(app, job(caller, pool.clone(), request, command)).await
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
