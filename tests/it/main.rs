//! All integration tests in one binary: one link, one Postgres.

mod auth;
mod bad_input;
mod catalogue;
mod clocks;
mod concurrency;
mod errors;
mod faults;
mod invariants;
mod model;
mod replicas;
mod support;
mod tenants;
mod verify;
