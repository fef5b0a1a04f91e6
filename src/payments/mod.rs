//! Money that comes in and goes back: payments are credited once, whatever the channel, and what a
//! refunded or disputed payment has lost is taken back.
//!
//! No rule about credits lives here, and no SQL: the ledger decides, the lanes book. No status code
//! either: `http` shapes the answers.

mod checkout;
mod credit;
pub mod event;
mod exceptions;
mod overdue;
mod provider;
mod receive;
mod reconcile;
mod settings;
mod settle;
mod sold;
pub mod stripe;

use crate::clock::Clock;
use crate::config::{ApiBase, SecretsKey};
use crate::lanes::{LaneError, Lanes};
use crate::ledger::TenantId;
use crate::store::{ExceptionStatus, Store, StoreError};
use provider::Stripe;
use stripe::event::EventError;

pub use checkout::{Order, Ordered, Wish};
pub use credit::Recipient;
pub use exceptions::Resolution;
pub use provider::ProviderError;
pub use reconcile::{Difference, DifferenceKind, Period, Reconciled};
pub use settings::{PutStripeSettings, StripeSettings};
pub use settle::Credited;
pub use sold::Sold;

/// What payments are handled with. Clones share it.
#[derive(Clone)]
pub struct Payments {
    store: Store,
    lanes: Lanes,
    clock: Clock,
    secrets_key: Option<SecretsKey>,
    provider: Stripe,
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
    /// The payment provider did not do it.
    #[error(transparent)]
    Provider(#[from] ProviderError),
    /// A secret, or the key for secrets, is missing; says which.
    #[error("{0}")]
    NotConfigured(&'static str),
    /// A stored secret was encrypted with another key than this service has.
    #[error("a stored secret of tenant {tenant} does not open with this SECRETS_KEY")]
    Sealed {
        /// Whose secret.
        tenant: TenantId,
    },
    /// Nobody who knows a secret of the tenant has signed this event, or too long ago.
    #[error("the event's signature is not good")]
    Signature,
    /// An event with a good signature that cannot be read.
    #[error(transparent)]
    Event(#[from] EventError),
    /// The exception was resolved before.
    #[error("the exception is {} already", .0.as_str())]
    Resolved(ExceptionStatus),
    /// The exception's payment names no credits that could be credited.
    #[error("the payment names no credits: say how many")]
    CreditsNeeded,
}

impl Payments {
    /// Payments on these parts.
    #[must_use]
    pub fn new(store: Store, lanes: Lanes, clock: Clock, options: PaymentOptions) -> Self {
        Self {
            store,
            lanes,
            clock,
            secrets_key: options.secrets_key,
            provider: Stripe::new(options.stripe_api_base),
        }
    }
}
