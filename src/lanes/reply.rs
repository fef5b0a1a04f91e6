//! What comes back from a lane.

use std::sync::Arc;

use crate::ledger::{Balance, Change, Entry, NextGrant, Pool, Time};
use crate::store::PurchaseRecord;

/// What a job did.
#[derive(Clone, Debug)]
pub enum Reply {
    /// One entry says it all: a debit, an adjustment, a purchase.
    Entry {
        /// The entry.
        entry: Arc<Entry>,
        /// Whether an earlier request with the same key booked it.
        replayed: bool,
    },
    /// The payment was credited before.
    Purchased {
        /// The first purchase.
        purchase: Box<PurchaseRecord>,
        /// The balance now.
        balance: Box<Balance>,
    },
    /// The pool after a PUT or a DELETE.
    Pool {
        /// The pool.
        view: Box<PoolView>,
        /// What a PUT did; `None` for a DELETE.
        change: Change,
    },
    /// There is nothing to say: the purchase may be booked, what was due is booked.
    Done,
}

/// A pool as it is shown.
#[derive(Clone, Debug)]
pub struct PoolView {
    /// Its state.
    pub pool: Pool,
    /// The next grant that will come by itself.
    pub next_grant: Option<NextGrant>,
    /// The moment it is true for.
    pub as_of: Time,
}
