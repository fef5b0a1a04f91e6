//! Money that comes in and goes back: payments are credited once, whatever the channel, and what a
//! refunded or disputed payment has lost is taken back.
//!
//! No rule about credits lives here, and no SQL: the ledger decides, the lanes book. No status code
//! either: `http` shapes the answers.

mod credit;
mod sealing;
mod settings;
mod sold;

use crate::clock::Clock;
use crate::config::{ApiBase, SecretsKey};
use crate::lanes::{LaneError, Lanes};
use crate::ledger::TenantId;
use crate::store::{Store, StoreError};

pub use credit::Recipient;
pub use settings::{PutStripeSettings, StripeSettings};
pub use sold::Sold;

/// What payments are handled with. Clones share it.
#[derive(Clone)]
pub struct Payments {
    store: Store,
    lanes: Lanes,
    clock: Clock,
    options: PaymentOptions,
}

/// The settings that payments need.
#[derive(Clone, Debug)]
pub struct PaymentOptions {
    /// Encrypts what tenants entrust us with; without it nothing of theirs is taken.
    pub secrets_key: Option<SecretsKey>,
    /// Where Stripe is asked.
    pub stripe_api_base: ApiBase,
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
    /// A secret, or the key for secrets, is missing; says which.
    #[error("{0}")]
    NotConfigured(&'static str),
    /// A stored secret was encrypted with another key than this service has.
    #[error("a stored secret of tenant {tenant} does not open with this SECRETS_KEY")]
    Sealed {
        /// Whose secret.
        tenant: TenantId,
    },
}

impl Payments {
    /// Payments on these parts.
    #[must_use]
    pub const fn new(store: Store, lanes: Lanes, clock: Clock, options: PaymentOptions) -> Self {
        Self {
            store,
            lanes,
            clock,
            options,
        }
    }
}
