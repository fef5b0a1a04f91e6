//! Keeps AI credits: a multi-tenant HTTP service on a double-entry ledger in Postgres.
//!
//! # Bird's-eye view
//!
//! ```text
//! HTTP ──▶ Command ──▶ lane of the pool ──▶ ledger (pure) ──▶ one commit ──▶ answers
//! sweeper ─────▲
//! ```
//!
//! One debit, from end to end: `http` reads the key, the pool's name and the body into types that
//! are proof of being good, and sends a [`ledger::Command`] to [`lanes`]. The lane that owns the
//! pool takes everything that is queued, and `store` reads the pools that the lane does not
//! remember. On these values [`ledger`] first books what is due by now, each event at its own
//! instant, and then decides each command: a journal entry, or a refusal. `store` appends all
//! entries and saves all pools in one statement, which counts only for pools that are still as they
//! were read, and not at all with an idempotency key that was used before: then the lane reads the
//! earlier entries and decides again. Only what is written, or was looked up, is answered.
//!
//! A balance read takes the pool's row, books what is due in memory, and writes nothing.
//!
//! # Map
//!
//! - [`ledger`]: the core. What accounts, cycles, grants, debits, holds, refunds, purchases and
//!   licences are. Plain functions over values; the invariants are listed there by name.
//! - [`store`]: all the SQL.
//! - [`lanes`]: the single writer of each pool: queues, batches, back-pressure.
//! - [`sealing`]: how what tenants entrust us with is encrypted.
//! - [`payments`]: money: a payment is credited once, a lost one is taken back.
//! - [`licenses`]: licence keys: issued and signed, and believed again.
//! - [`http`]: requests to commands and reads, answers to JSON, refusals to status codes.
//! - [`jobs`]: what nobody asks for: due events made durable, what failed tried again.
//! - [`cli`]: one binary, several commands.
//! - [`config`], [`clock`], [`telemetry`], [`embedded`]: settings, time, logs and metrics, the
//!   private Postgres of the zero-set-up start.
//!
//! Who may use whom: `cli → {http, jobs} → {payments, licenses} → {lanes, sealing} → store →
//! ledger`. `tests/tidy.rs` keeps it so.
//!
//! # What is absent on purpose
//!
//! No floats near an amount. No update of a journal row: corrections are entries. No row lock
//! between read and write, but on pools that several replicas write at once; no transaction that a
//! request could leave open. No timer that must fire for an answer to be right. No cache that an
//! answer rests on: what a lane remembers of the pools it wrote last is a guess that its write
//! checks, and whoever is refused is refused on what the database says. What is remembered of usage
//! is a journal's past, which cannot change.

pub mod cli;
pub mod clock;
pub mod config;
pub mod embedded;
pub mod http;
pub mod jobs;
pub mod lanes;
pub mod ledger;
pub mod licenses;
pub mod payments;
pub mod sealing;
pub mod store;
pub mod telemetry;
