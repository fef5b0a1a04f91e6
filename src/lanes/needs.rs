//! What has to be read before the jobs of a batch can be decided.

use chrono::TimeDelta;

use super::Envelope;
use super::batch::PoolJobs;
use crate::ledger::{Command, EntryId, Extension, PoolId, Release, Time};
use crate::store::BatchKey;

/// Longer than a batch or a read is ever at work: a hold that expires within it may be due when
/// the batch is decided.
const AT_WORK: TimeDelta = TimeDelta::seconds(60);

/// What has to be read for these jobs.
pub(super) fn needs(pools: &[PoolJobs], horizon: Time) -> BatchKey {
    let mut batch = BatchKey {
        pools: Vec::with_capacity(pools.len()),
        locked: false,
        horizon,
        holders: Vec::new(),
        holds: Vec::new(),
        debits: Vec::new(),
        runs: Vec::new(),
        buyers: Vec::new(),
        with_keys: false,
        keys: Vec::new(),
        references: Vec::new(),
    };
    for PoolJobs { id, envelopes, .. } in pools {
        batch.pools.push(*id);
        for Envelope { job, .. } in envelopes {
            if let Some(request) = &job.actor.request {
                batch.keys.push((*id, request.key.clone()));
            }
            need(&mut batch, *id, &job.command);
        }
    }
    batch
}

/// Up to when a hold may become due while a batch or a read is at work.
#[must_use]
pub fn horizon(now: Time) -> Time {
    now.checked_add_signed(AT_WORK).unwrap_or(now)
}

fn need(batch: &mut BatchKey, pool: PoolId, command: &Command) {
    let number = |id: EntryId| id.locate(pool).map(|(seq, _)| (pool, seq));
    match command {
        Command::Advance
        | Command::Debit(_)
        | Command::Hold(_)
        | Command::Adjust(_)
        | Command::Import(_)
        | Command::Upgrade(_) => {}
        // What they answer tells of the next grant, which an expiring hold may change.
        Command::Update(_) | Command::License(_) | Command::Withdraw | Command::Close => {
            batch.holders.push(pool);
        }
        Command::Extend(Extension { hold, .. }) | Command::Release(Release { hold }) => {
            batch.holders.push(pool);
            batch.holds.extend(number(*hold));
        }
        Command::Capture(capture) => {
            batch.holders.push(pool);
            batch.holds.extend(number(capture.hold));
        }
        Command::Refund(refund) => batch.debits.extend(number(refund.debit)),
        Command::Settle(_) => batch.buyers.push(pool),
        Command::RefundRun(refund) => batch.runs.push((pool, refund.run_id.clone())),
        Command::Purchase(purchase) | Command::CheckPurchase(purchase) => {
            batch.references.push((pool, purchase.reference.clone()));
        }
    }
}
