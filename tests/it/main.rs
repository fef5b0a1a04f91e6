//! All integration tests in one binary: one link, one Postgres.

mod auth;
mod bad_input;
mod batch;
mod calendar;
mod captures;
mod catalogue;
mod clocks;
mod concurrency;
mod debits;
mod errors;
mod faults;
mod hold_requests;
mod holds;
mod invariants;
mod isolation;
mod model;
mod openapi;
mod pools;
mod purchases;
mod refunds;
mod replicas;
mod support;
mod tenants;
mod tooljet;
mod transactions;
mod verify;
