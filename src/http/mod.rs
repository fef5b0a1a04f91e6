//! HTTP: parse the request, send a command or read, shape the answer.
//!
//! No rule about credits lives here, and no SQL. What every request goes through is in
//! [`middleware`], who may ask in [`auth`], what is taken from a request in [`extract`], and every
//! status code of a refusal in [`problem`].

mod adjustments;
mod answer;
pub mod auth;
mod authorize;
mod balance;
mod batch;
mod booking;
mod catalogue;
mod checkout_request;
mod checkouts;
mod clocks;
pub mod codes;
pub mod debits;
mod explain;
mod explain_sentences;
pub mod extract;
mod health;
mod hold_body;
mod holds;
mod keys;
mod license_keys;
mod license_request;
mod licenses;
pub mod middleware;
mod openapi;
pub mod page;
mod payment_exceptions;
mod pool_body;
mod pool_license;
mod pool_put;
mod pools;
pub mod problem;
mod purchase_body;
mod purchases;
mod reading;
mod refunds;
mod server;
mod statement;
mod stripe_settings;
mod stripe_webhook;
mod tenants;
pub mod time;
mod tooljet;
mod tooljet_cycles;
mod tooljet_usage;
mod transactions;
mod transactions_csv;
mod usage;
mod words;

use std::ops::Deref;
use std::sync::Arc;

use metrics_exporter_prometheus::PrometheusHandle;
use utoipa_axum::router::OpenApiRouter;

use crate::clock::Clock;
use crate::lanes::Lanes;
use crate::licenses::Licenses;
use crate::payments::Payments;
use crate::store::Store;
use auth::OperatorKey;
use middleware::Around;
use problem::Problem;
use tooljet_cycles::Cycles;

pub use catalogue::{TrialError, TrialPrices};
pub use health::Readiness;
pub use server::serve;

/// What handlers work with. Cloning is one count up: every request does it.
#[derive(Clone)]
pub struct App(Arc<Whole>);

struct Whole {
    services: Services,
    cycles: Cycles,
}

/// The parts of an [`App`].
pub struct Services {
    /// Reads.
    pub store: Store,
    /// Writes.
    pub lanes: Lanes,
    /// Money.
    pub payments: Payments,
    /// Licence keys.
    pub licenses: Licenses,
    /// The time.
    pub clock: Clock,
    /// What the operator's key must match; without it there is no operator.
    pub operator_key: Option<OperatorKey>,
    /// Whether new requests are wanted.
    pub ready: Readiness,
    /// The figures of `/metrics`.
    pub metrics: PrometheusHandle,
}

impl App {
    /// An app of these parts.
    #[must_use]
    pub fn new(services: Services) -> Self {
        let cycles = Cycles::default();
        Self(Arc::new(Whole { services, cycles }))
    }

    /// Usage of current cycles that was read lately.
    fn cycles(&self) -> &Cycles {
        &self.0.cycles
    }
}

impl Deref for App {
    type Target = Services;

    fn deref(&self) -> &Services {
        &self.0.services
    }
}

/// Every route with its place in the document.
fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .merge(health::routes())
        .merge(tenants::routes())
        .merge(keys::routes())
        .merge(catalogue::routes())
        .merge(clocks::routes())
        .merge(pools::routes())
        .merge(pool_license::routes())
        .merge(licenses::routes())
        .merge(license_keys::routes())
        .merge(balance::routes())
        .merge(authorize::routes())
        .merge(debits::routes())
        .merge(batch::routes())
        .merge(holds::routes())
        .merge(refunds::routes())
        .merge(purchases::routes())
        .merge(checkouts::routes())
        .merge(stripe_settings::routes())
        .merge(stripe_webhook::routes())
        .merge(payment_exceptions::routes())
        .merge(adjustments::routes())
        .merge(transactions::routes())
        .merge(usage::routes())
        .merge(statement::routes())
        .merge(explain::routes())
        .merge(tooljet::routes())
}

/// The service: the routes, and around all of them the [`middleware`].
pub fn service(app: App) -> Around {
    let (routes, document) = routes().split_for_parts();
    let document = openapi::complete(document);
    let router = routes
        .merge(openapi::router(&document))
        .fallback(|| async { Problem::not_found("path") })
        .method_not_allowed_fallback(|| async { Problem::plain(codes::METHOD_NOT_ALLOWED) })
        .with_state(app);
    Around::new(router, document.paths.paths.into_keys())
}
