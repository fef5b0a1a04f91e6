//! All integration tests in one binary: one link, one Postgres.

mod auth;
mod bad_input;
mod batch;
mod calendar;
mod catalogue;
mod clocks;
mod concurrency;
mod debits;
mod errors;
mod faults;
mod invariants;
mod isolation;
mod model;
mod openapi;
mod payment_exceptions;
mod payments_orders;
mod pools;
mod purchases;
mod replicas;
mod stripe_webhook;
mod support;
mod tenants;
mod tooljet;
mod transactions;
mod verify;
