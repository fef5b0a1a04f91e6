//! All integration tests in one binary: one link, one Postgres.

mod auth;
mod bad_input;
mod batch;
mod calendar;
mod catalogue;
mod checkouts;
mod clocks;
mod concurrency;
mod debits;
mod errors;
mod faults;
mod invariants;
mod isolation;
mod model;
mod openapi;
mod pools;
mod promo_codes;
mod purchases;
mod reconcile;
mod replicas;
mod stripe_settings;
mod support;
mod tenants;
mod tooljet;
mod transactions;
mod verify;
