//! How long a key that was read is trusted: two seconds, so that a revoked key stops on every
//! replica within five.
//!
//! A key in use is read again in the background before its time is up, so no request waits for
//! that; one that is not found is remembered too, so guessing costs the database little. Both
//! memories are bounded. When the database is away, a key is good until its time is up; after that
//! nobody can say, and the answer is an error, never "no such key".

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use moka::sync::Cache;

use super::{KeyRecord, SecretHash};
use crate::ledger::Time;
use crate::store::deadline::within;
use crate::store::{Store, StoreError};

/// How long what was read is trusted.
const TRUST: Duration = Duration::from_secs(2);
/// From which age on a key is read again in the background.
const REFRESH_AFTER: Duration = Duration::from_secs(1);
/// The most keys that are remembered, and the most that are remembered not to exist.
const MAX_KEYS: u64 = 20_000;
/// How often at most a key's last use is noted.
const TOUCH_AFTER: chrono::TimeDelta = chrono::TimeDelta::minutes(1);

/// Keys that were read lately.
#[derive(Clone, Debug)]
pub struct KeyCache {
    found: Cache<SecretHash, Arc<Cached>>,
    absent: Cache<SecretHash, ()>,
    /// Whether the last attempt to note a use failed: only the first failure is logged.
    failing: Arc<AtomicBool>,
}

#[derive(Debug)]
struct Cached {
    key: Arc<KeyRecord>,
    read_at: Instant,
    refreshing: AtomicBool,
}

impl Default for KeyCache {
    fn default() -> Self {
        Self {
            found: Cache::builder()
                .max_capacity(MAX_KEYS)
                .time_to_live(TRUST)
                .build(),
            absent: Cache::builder()
                .max_capacity(MAX_KEYS)
                .time_to_live(TRUST)
                .build(),
            failing: Arc::default(),
        }
    }
}

impl KeyCache {
    /// Forgets a key that was revoked.
    pub(super) fn forget(&self, hash: SecretHash) {
        self.found.invalidate(&hash);
    }

    fn remember(&self, hash: SecretHash, key: Option<&Arc<KeyRecord>>, read_at: Instant) {
        // What took long to read may be out of date by now.
        if read_at.elapsed() > REFRESH_AFTER {
            return;
        }
        if let Some(key) = key {
            let refreshing = AtomicBool::new(false);
            self.found.insert(
                hash,
                Arc::new(Cached {
                    key: key.clone(),
                    read_at,
                    refreshing,
                }),
            );
        } else {
            self.found.invalidate(&hash);
            self.absent.insert(hash, ());
        }
    }
}

impl Cached {
    /// Whether the caller is the one who has to read the key again.
    fn wants_refresh(&self) -> bool {
        self.read_at.elapsed() > REFRESH_AFTER && !self.refreshing.swap(true, Ordering::Relaxed)
    }
}

impl Store {
    /// The key with this secret; `None` when there is none or it was revoked. Whether it has
    /// expired is for the caller to see.
    ///
    /// # Errors
    /// The database is away and the key was not read lately.
    pub async fn key_by_secret_hash(
        &self,
        hash: SecretHash,
        now: Time,
    ) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        if let Some(cached) = self.keys.found.get(&hash) {
            if cached.wants_refresh() {
                let store = self.clone();
                // A refresh that fails is no error: the key is read again when its time is up.
                tokio::spawn(async move { store.load_key(hash, now).await.ok() });
            }
            return Ok(Some(cached.key.clone()));
        }
        if self.keys.absent.contains_key(&hash) {
            return Ok(None);
        }
        self.load_key(hash, now).await
    }

    async fn load_key(
        &self,
        hash: SecretHash,
        now: Time,
    ) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        let read_at = Instant::now();
        let key = within(self.read_key(hash)).await?.map(Arc::new);
        self.keys.remember(hash, key.as_ref(), read_at);
        let unseen = |key: &&Arc<KeyRecord>| {
            key.last_used_at
                .is_none_or(|seen| now - seen >= TOUCH_AFTER)
        };
        if let Some(key) = key.as_ref().filter(unseen) {
            tokio::spawn(note_use(self.clone(), key.clone(), now));
        }
        Ok(key)
    }
}

/// Writes down that a key is in use, beside the request. A failure costs nothing but the figure, so
/// it is logged once until it works again.
async fn note_use(store: Store, key: Arc<KeyRecord>, now: Time) {
    let result = store.touch_key(&key, now).await;
    let was_failing = store.keys.failing.swap(result.is_err(), Ordering::Relaxed);
    if let (Err(error), false) = (result, was_failing) {
        let error = &error as &dyn std::error::Error;
        tracing::warn!(error, "when keys were last used cannot be noted");
    }
}
