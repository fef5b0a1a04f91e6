//! Sends pools to the lanes: as many at once as make good batches. One of the largest may take
//! seconds of a lane's time, so what a batch could not finish within the lanes' time limit is
//! sent again alone. A pool that was sent before answers the same again, so whatever is unknown
//! is simply sent again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::findings::Figures;
use super::opening::Candidate;
use crate::lanes::{Job, LaneError, LaneLimits, Lanes, Reply};
use crate::ledger::{
    Actor, Command, IdempotencyKey, Label, Opening, PoolName, Refusal, Request, TenantId,
};
use crate::store::Claim;

/// The key of every import: a pool is imported once, for ever.
const KEY: &str = "credit-ledger:import";

/// Two lanes keep Postgres busy while two more are being decided.
pub const LIMITS: LaneLimits = LaneLimits {
    lanes: 4,
    batch: 500,
    queue: IN_FLIGHT,
};

/// The most entries that are under way at once. A machine that books a thousand a second still
/// answers in time.
const IN_FLIGHT: usize = 4_096;
/// How long an answer is waited for: longer than the lanes' own limit of a step.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often a pool is sent whose answer was not known.
const ATTEMPTS: u32 = 8;
/// The pause before it is sent again.
const PAUSE: Duration = Duration::from_millis(500);
/// The pause when the lanes are full.
const BUSY_PAUSE: Duration = Duration::from_millis(250);

/// What is wrong with a pool that is there, and was not imported.
pub const THERE_ALREADY: &str = "is there already";

/// What came of a pool.
pub enum Booked {
    /// It is imported now, or would be.
    Imported,
    /// An earlier run has imported it.
    AlreadyThere,
    /// It is not imported, and nothing of it is under way.
    Refused(String),
    /// It is not imported as far as anybody can tell; what was claimed for it stays claimed.
    Failed(String),
    /// The database was away for so long that nobody knows, and the others need not be tried.
    Unknown,
}

/// A pool that has been sent.
pub struct Sent {
    /// Its line in the file of the pools.
    pub line: i64,
    /// Its name.
    pub name: PoolName,
    /// What it adds to the sums.
    pub figures: Figures,
    /// What was claimed for it, to be given up if it is refused.
    pub claims: Vec<(Label, Claim)>,
    /// What came of it.
    pub booked: Booked,
}

/// The way to the lanes.
pub struct Booking {
    lanes: Lanes,
    tenant: TenantId,
    dry_run: bool,
    key: IdempotencyKey,
    room: Arc<Semaphore>,
    /// Set when the database is away for good.
    gone: Arc<AtomicBool>,
    sent: JoinSet<anyhow::Result<Sent>>,
}

impl Booking {
    /// Begins.
    pub fn new(lanes: Lanes, tenant: TenantId, dry_run: bool) -> Self {
        Self {
            lanes,
            tenant,
            dry_run,
            key: KEY.parse().expect("the key is a good one"),
            room: Arc::new(Semaphore::new(IN_FLIGHT)),
            gone: Arc::default(),
            sent: JoinSet::new(),
        }
    }

    /// Sends a pool as soon as there is room for it.
    ///
    /// # Errors
    /// Never: the room is not closed.
    pub async fn send(
        &mut self,
        candidate: Candidate,
        claims: Vec<(Label, Claim)>,
    ) -> anyhow::Result<()> {
        let weight = u32::try_from(candidate.weight().min(IN_FLIGHT))?;
        let permit = Arc::clone(&self.room).acquire_many_owned(weight).await?;
        let request = Request {
            key: self.key.clone(),
            fingerprint: candidate.opening.fingerprint(),
        };
        let figures = Figures::of(&candidate);
        let Candidate {
            name,
            line,
            opening,
        } = candidate;
        let job = self.job(name.clone(), opening, request);
        let (lanes, room) = (self.lanes.clone(), Arc::clone(&self.room));
        let gone = Arc::clone(&self.gone);
        self.sent.spawn(async move {
            let mut answer = submit(&lanes, &job).await;
            drop(permit);
            // What was not answered in time is sent alone, and so is what failed: that may have
            // been the fault of another pool.
            let mut attempt = 1;
            while is_worth_more(&answer, attempt) && !gone.load(Ordering::Relaxed) {
                attempt += 1;
                tokio::time::sleep(PAUSE).await;
                let _alone = room.acquire_many(u32::try_from(IN_FLIGHT)?).await?;
                if !gone.load(Ordering::Relaxed) {
                    answer = submit(&lanes, &job).await;
                }
            }
            let booked = booked(answer, attempt > 1);
            if matches!(booked, Booked::Unknown) {
                gone.store(true, Ordering::Relaxed);
            }
            Ok(Sent {
                line,
                name,
                figures,
                claims,
                booked,
            })
        });
        Ok(())
    }

    fn job(&self, pool: PoolName, opening: Opening, request: Request) -> Job {
        Job {
            tenant: self.tenant,
            pool,
            actor: Actor {
                key: None,
                request: Some(request),
            },
            command: Command::Import(Box::new(opening)),
            dry_run: self.dry_run,
        }
    }

    /// A pool that is answered already.
    ///
    /// # Errors
    /// It could not be booked.
    pub fn try_next(&mut self) -> anyhow::Result<Option<Sent>> {
        self.sent.try_join_next().map(|sent| sent?).transpose()
    }

    /// The next pool that is answered; nothing when all are.
    ///
    /// # Errors
    /// It could not be booked.
    pub async fn next(&mut self) -> anyhow::Result<Option<Sent>> {
        self.sent.join_next().await.map(|sent| sent?).transpose()
    }
}

/// Whether another attempt may come to another answer.
const fn is_worth_more(answer: &Result<bool, LaneError>, attempt: u32) -> bool {
    match answer {
        Err(LaneError::Unavailable) => attempt < ATTEMPTS,
        Err(LaneError::Failed) => attempt == 1,
        _ => false,
    }
}

/// What an answer means; `again` when an earlier one never came.
fn booked(answer: Result<bool, LaneError>, again: bool) -> Booked {
    match answer {
        Ok(true) => Booked::AlreadyThere,
        Ok(false) => Booked::Imported,
        // Somebody else may have made the pool by now, or what was sent first may still come.
        Err(LaneError::Refused(refusal)) if again || refusal == there_already() => {
            Booked::Failed(reason(&refusal))
        }
        Err(LaneError::Refused(refusal)) => Booked::Refused(reason(&refusal)),
        Err(LaneError::Failed) => {
            Booked::Failed("the service failed on it; its log says why".to_owned())
        }
        Err(LaneError::Unavailable | LaneError::Busy) => Booked::Unknown,
    }
}

fn there_already() -> Refusal {
    Refusal::invalid("pool", THERE_ALREADY)
}

/// Whether it was there already.
async fn submit(lanes: &Lanes, job: &Job) -> Result<bool, LaneError> {
    loop {
        match lanes.submit_within(job.clone(), PATIENCE).await {
            Err(LaneError::Busy) => tokio::time::sleep(BUSY_PAUSE).await,
            Ok(reply) => return Ok(matches!(reply, Reply::Entry { replayed: true, .. })),
            Err(error) => return Err(error),
        }
    }
}

/// Why a pool is refused, for people.
fn reason(refusal: &Refusal) -> String {
    match refusal {
        Refusal::IdempotencyKeyReused => {
            "was imported before with other figures, or as of another instant".to_owned()
        }
        other => other.to_string(),
    }
}
