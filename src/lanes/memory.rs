//! What a lane remembers of the pools it wrote last, so that debits on them need no read.
//!
//! It is a guess, also because a pool is kept from the moment its write is on its way. What is
//! decided on it counts only if the write finds each pool at the entry that is remembered and its
//! tenant's catalogue at the version that was used: the write compares both, for remembered pools
//! as for pools just read. What books nothing has no write to check it, so it is never answered
//! from here. Another writer makes guesses wrong; then nothing is recalled for a while, and what
//! two replicas write in turn is not kept at all.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::ledger::{Book, PoolId};
use crate::store::FRESH;

/// Pools of the younger half; as many may be in the older one.
const HALF: usize = 16_384;
/// How long after a wrong guess nothing is recalled.
const MISTRUST: Duration = Duration::from_secs(1);

/// The pools a lane wrote last, as they were after that.
#[derive(Default)]
pub(super) struct Memory {
    // Boxed: a table has room for more than it holds, and a pool is large.
    young: HashMap<PoolId, Box<Book>>,
    old: HashMap<PoolId, Box<Book>>,
    written_at: Option<Instant>,
    mistrusted_at: Option<Instant>,
}

impl Memory {
    /// Whether guesses are good now. On a connection that may have been cut they are not: a read
    /// would notice before a write.
    pub fn is_trusted(&self) -> bool {
        let within = |at: Option<Instant>, time| at.is_some_and(|at| at.elapsed() < time);
        within(self.written_at, FRESH) && !within(self.mistrusted_at, MISTRUST)
    }

    /// Takes a pool out: it is kept again when it is written.
    pub fn take(&mut self, pool: PoolId) -> Option<Box<Book>> {
        let young = self.young.remove(&pool);
        young.or_else(|| self.old.remove(&pool))
    }

    /// Keeps a pool as it will be once its book is written. One on a test clock is not kept: its
    /// time is read.
    pub fn keep(&mut self, mut book: Box<Book>) {
        let (id, test_clock) = (book.pool().id, book.pool().test_clock);
        // An older state of it is out of date.
        self.old.remove(&id);
        if test_clock.is_some() {
            self.young.remove(&id);
            return;
        }
        book.turn();
        if self.young.len() >= HALF {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(id, book);
    }

    /// A write has come through.
    pub fn confirm(&mut self) {
        self.written_at = Some(Instant::now());
    }

    /// Forgets a pool.
    pub fn forget(&mut self, pool: PoolId) {
        self.young.remove(&pool);
        self.old.remove(&pool);
    }

    /// A guess was wrong: somebody else writes these pools.
    pub fn mistrust(&mut self) {
        *self = Self {
            mistrusted_at: Some(Instant::now()),
            ..Self::default()
        };
    }
}

#[cfg(test)]
mod tests;
