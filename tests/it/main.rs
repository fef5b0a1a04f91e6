//! All integration tests in one binary: one link, one Postgres.

mod concurrency;
mod faults;
mod invariants;
mod model;
mod replicas;
mod support;
mod verify;
