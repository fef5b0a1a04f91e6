//! Money that comes in and goes back: payments are credited once, whatever the channel, and what a
//! refunded or disputed payment has lost is taken back.
//!
//! No rule about credits lives here, and no SQL: the ledger decides, the lanes book. No status code
//! either: `http` shapes the answers.

mod credit;

use crate::clock::Clock;
use crate::lanes::{LaneError, Lanes};
use crate::store::{Store, StoreError};

pub use credit::Recipient;

/// What payments are handled with. Clones share it.
#[derive(Clone)]
pub struct Payments {
    store: Store,
    lanes: Lanes,
    clock: Clock,
}

/// Why a payment could not be handled.
#[derive(Debug, thiserror::Error)]
pub enum PaymentError {
    /// The lane did not book it; a refusal is among these.
    #[error(transparent)]
    Lane(#[from] LaneError),
    /// The database is away, or what it has is corrupt.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Payments {
    /// Payments on these parts.
    #[must_use]
    pub const fn new(store: Store, lanes: Lanes, clock: Clock) -> Self {
        Self {
            store,
            lanes,
            clock,
        }
    }
}
