//! What a tenant sells: plans, operations, add-on terms, promo codes.
//!
//! Each change is decided on what is stored at that moment, while nobody else changes it; what a
//! plan or a price means for a pool is the ledger's.

mod addon_terms;
mod operations;
mod plan_request;
mod plans;
mod promo_codes;
mod trial;

use utoipa_axum::router::OpenApiRouter;

use super::App;
use super::codes;
use super::problem::Problem;

pub use trial::{TrialError, TrialPrices};

/// The routes of the catalogue.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .merge(plans::routes())
        .merge(operations::routes())
        .merge(addon_terms::routes())
        .merge(promo_codes::routes())
}

/// A key is only good while its tenant is there, so this is no client's mistake.
fn no_catalogue() -> Problem {
    Problem::not_found("catalogue")
}

/// 409: a catalogue is read whole, so it has bounds.
fn too_many(what: &str, maximum: usize) -> Problem {
    let detail = format!("there are {maximum} {what} already");
    Problem::new(codes::CATALOGUE_LIMIT, detail).with("maximum", maximum)
}
