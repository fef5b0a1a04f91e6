//! The single writer of each pool: queues, batches, answers, back-pressure.
//!
//! Every write, whoever asks for it, is a [`Job`] sent to the lane of its pool. A lane is a task
//! with database connections of its own. It takes whatever is queued, decides it in memory, writes
//! it in one commit and only then answers. Nobody waits for a timer, but for one that says how long
//! to wait for something slow, and no request ever holds a transaction: a dropped request changes
//! nothing. Several replicas are safe because the write counts only if the pool is as it was read;
//! the lane itself is only an optimisation.

mod batch;
mod bench;
mod desk;
mod errands;
mod knowledge;
mod lane;
mod memory;
mod needs;
mod reply;
mod traffic;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::clock::Clock;
use crate::ledger::{Actor, Command, PoolId, PoolName, Refusal, TenantId};
use crate::store::Store;

pub use needs::horizon;
pub use reply::{PoolView, Reply};

/// How long a caller waits: an answer must come within two seconds.
const PATIENCE: Duration = Duration::from_millis(1_800);

/// How many pools that have grown are remembered for whoever listens.
const GROWN_QUEUE: usize = 1_024;

/// A write on one pool.
#[derive(Clone, Debug)]
pub struct Job {
    /// Whose pool it is.
    pub tenant: TenantId,
    /// Its name.
    pub pool: PoolName,
    /// Who asks.
    pub actor: Actor,
    /// For what.
    pub command: Command,
    /// Only tell what would happen.
    pub dry_run: bool,
}

/// Why a job has no reply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LaneError {
    /// A rule of the ledger says no: nothing was booked.
    #[error("refused: {0}")]
    Refused(Refusal),
    /// The lane's queue is full, or so many jobs wait for a pool that somebody holds that others
    /// would wait, too: nothing was booked.
    #[error("too many writes are waiting")]
    Busy,
    /// The database is away or did not answer in time: the write may have happened. The
    /// idempotency key makes a retry safe.
    #[error("the database is unavailable")]
    Unavailable,
    /// We are wrong: the log says how.
    #[error("the write failed")]
    Failed,
}

/// A job on its way to its lane, and who waits for it.
struct Envelope {
    id: PoolId,
    job: Job,
    answer: oneshot::Sender<Result<Reply, LaneError>>,
}

/// How many lanes, and their bounds.
#[derive(Clone, Copy, Debug)]
pub struct LaneLimits {
    /// Writers, each with up to five connections of its own.
    pub lanes: usize,
    /// The most jobs in one commit.
    pub batch: usize,
    /// The most jobs that wait for one lane.
    pub queue: usize,
}

/// The way to the lanes. Clones share them.
#[derive(Clone)]
pub struct Lanes {
    queues: Arc<[mpsc::Sender<Envelope>]>,
    grown: broadcast::Sender<PoolId>,
}

impl Lanes {
    /// Starts the lanes. They end by themselves when every [`Lanes`] is dropped and what was queued
    /// is done; the handles tell when.
    #[must_use]
    pub fn start(store: &Store, clock: &Clock, limits: LaneLimits) -> (Self, Vec<JoinHandle<()>>) {
        let (grown, _) = broadcast::channel(GROWN_QUEUE);
        let start = |number| {
            let (sender, queue) = mpsc::channel(limits.queue);
            let means = (store.clone(), clock.clone());
            let lane = lane::Lane::new(number, means, limits.batch, queue, grown.clone());
            (sender, tokio::spawn(lane.run()))
        };
        let (queues, handles): (Vec<_>, Vec<_>) = (0..limits.lanes).map(start).unzip();
        (
            Self {
                queues: queues.into(),
                grown,
            },
            handles,
        )
    }

    /// Tells of pools whose journal has grown by a block of usage. Who listens too slowly misses
    /// some, which does no harm: their next block, or the next read, builds what is missing.
    #[must_use]
    pub fn grown(&self) -> broadcast::Receiver<PoolId> {
        self.grown.subscribe()
    }

    /// Sends a job to its lane at once; what is given waits for what came of it, within the time a
    /// request may take.
    ///
    /// # Errors
    /// See [`LaneError`].
    pub fn submit(&self, job: Job) -> impl Future<Output = Result<Reply, LaneError>> + use<> {
        self.submit_within(job, PATIENCE)
    }

    /// As [`Self::submit`], with the caller's own patience: for background work.
    ///
    /// # Errors
    /// See [`LaneError`].
    pub fn submit_within(
        &self,
        job: Job,
        patience: Duration,
    ) -> impl Future<Output = Result<Reply, LaneError>> + use<> {
        let id = PoolId::of(job.tenant, &job.pool);
        let (answer, waiting) = oneshot::channel();
        let queue = &self.queues[lane_of(id, self.queues.len())];
        let sent = queue.try_send(Envelope { id, job, answer });
        let sent = sent.map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => LaneError::Busy,
            mpsc::error::TrySendError::Closed(_) => LaneError::Unavailable,
        });
        async move {
            sent?;
            match tokio::time::timeout(patience, waiting).await {
                Ok(Ok(reply)) => reply,
                // The lane gave the job up, or is slower than the caller may wait.
                Ok(Err(_)) | Err(_) => Err(LaneError::Unavailable),
            }
        }
    }
}

/// A pool's lane: its id is a hash already.
fn lane_of(pool: PoolId, lanes: usize) -> usize {
    let bytes = pool.uuid().into_bytes();
    usize::from(u16::from_be_bytes([bytes[14], bytes[15]])) % lanes
}
