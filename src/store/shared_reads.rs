//! Reads of single pools that are asked for at the same moment share a statement.
//!
//! A round trip costs as much as some twenty pools read by it, and balances are asked for most.
//! Nobody waits for company: a reader takes whatever is asked for when it is free. Nothing is
//! remembered either: a statement that answers a request began after it was asked.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, OnceLock};

use sqlx::PgPool;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::yield_now;
use uuid::Uuid;

use super::batch::stored_pool;
use super::deadline::within;
use super::pools::SELECTING_POOLS_ALONE;
use super::{StoreError, StoredPool};
use crate::ledger::{PoolId, TenantId};

/// How many statements are under way at once: while one is answered the next is read.
const READERS: usize = 2;
/// The most pools of one statement.
const MOST: usize = 200;
/// The most requests that wait; more wait for their turn to wait.
const QUEUE: usize = 4_096;

/// A pool that is asked for; `None` for one that is not there.
struct Asked {
    tenant: TenantId,
    pool: PoolId,
    answer: oneshot::Sender<Option<StoredPool>>,
}

/// The way to the readers. They start when first needed, and end with the last clone of it.
#[derive(Clone, Debug, Default)]
pub(super) struct SharedReads(Arc<OnceLock<mpsc::Sender<Asked>>>);

impl SharedReads {
    /// A tenant's pool, without what is read along. An error says only that it could not be read
    /// together with others: the caller reads it alone, and gets the cause.
    pub async fn find(
        &self,
        db: &PgPool,
        tenant: TenantId,
        pool: PoolId,
    ) -> Result<Option<StoredPool>, oneshot::error::RecvError> {
        let (answer, waiting) = oneshot::channel();
        let asked = Asked {
            tenant,
            pool,
            answer,
        };
        // Where the readers are gone the answer is, too, and waiting for it ends at once.
        let _ = self.0.get_or_init(|| start(db)).send(asked).await;
        waiting.await
    }
}

fn start(db: &PgPool) -> mpsc::Sender<Asked> {
    let (sender, queue) = mpsc::channel(QUEUE);
    let queue = Arc::new(Mutex::new(queue));
    for _ in 0..READERS {
        tokio::spawn(read_in_turn(db.clone(), queue.clone()));
    }
    sender
}

async fn read_in_turn(db: PgPool, queue: Arc<Mutex<mpsc::Receiver<Asked>>>) {
    let mut taken = Vec::with_capacity(MOST);
    while take(&mut *queue.lock().await, &mut taken).await > 0 {
        taken.retain(|asked| !asked.answer.is_closed());
        let Ok(mut found) = read(&db, &taken).await else {
            taken.clear();
            continue;
        };
        let mut last_to_ask: HashMap<PoolId, usize> = HashMap::with_capacity(taken.len());
        for (place, asked) in taken.iter().enumerate() {
            last_to_ask.insert(asked.pool, place);
        }
        for (place, asked) in taken.drain(..).enumerate() {
            let stored = match last_to_ask[&asked.pool] == place {
                true => found.remove(&asked.pool),
                false => found.get(&asked.pool).cloned(),
            };
            // Who asked may have gone.
            let _ = asked.answer.send(stored);
        }
    }
}

/// Waits for whatever is asked for; gives how much that is.
async fn take(queue: &mut mpsc::Receiver<Asked>, taken: &mut Vec<Asked>) -> usize {
    if queue.recv_many(taken, MOST).await == 0 {
        return 0;
    }
    // The first of requests that arrived together wakes us: the others are about to follow.
    yield_now().await;
    while taken.len() < MOST
        && let Ok(asked) = queue.try_recv()
    {
        taken.push(asked);
    }
    taken.len()
}

static READING: LazyLock<String> = LazyLock::new(|| {
    let selecting = SELECTING_POOLS_ALONE.as_str();
    format!(
        "{selecting}
        JOIN unnest($1::uuid[], $2::uuid[]) AS k (tenant_id, pool_id)
            ON k.pool_id = p.pool_id
            -- Never by the index of a tenant's pools: there may be many, and we name ours.
            AND k.tenant_id IS NOT DISTINCT FROM p.tenant_id"
    )
});

async fn read(db: &PgPool, asked: &[Asked]) -> Result<HashMap<PoolId, StoredPool>, StoreError> {
    let mut named: Vec<(Uuid, Uuid)> = asked
        .iter()
        .map(|it| (it.tenant.uuid(), it.pool.uuid()))
        .collect();
    named.sort_unstable();
    named.dedup();
    let (tenants, ids): (Vec<Uuid>, Vec<Uuid>) = named.into_iter().unzip();
    let read = sqlx::query(READING.as_str()).bind(tenants).bind(ids);
    let rows = within(async { Ok(read.fetch_all(db).await?) }).await?;
    let pools = rows.iter().map(stored_pool);
    pools
        .map(|stored| stored.map(|stored| (stored.pool.id, stored)))
        .collect()
}
