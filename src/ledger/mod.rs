//! The core: what the books are and how they may change. Plain functions over values.
//!
//! No I/O, no async, no clock, no SQL lives here. A decision is made on what was read, and gives
//! journal entries or a [`Refusal`]; `store` reads and writes, `lanes` carries decisions out.
//!
//! A pool is a set of [`Account`]s. A [`Transfer`] takes an amount from one and gives it to
//! another, so the accounts of a pool always sum to zero. An [`Entry`] is one event with its
//! transfers.
//!
//! Invariants, each kept here and checked again by the schema or by `verify`:
//!
//! - **conserved**: the accounts of a pool sum to zero and are what the transfers add up to.
//! - **never-below-zero**: the buckets and what is held in them are never negative.
//! - **exactly-once**: one effect per idempotency key and per payment.
//! - **ordered**: `seq` has no gaps and `at` never goes backwards.
//! - **path-independent**: one jump in time or a thousand steps give the same entries and hashes.
//! - **no minting**: a grant is the allowance of the terms in force, on the occasions of the rules.
//! - **chained**: each entry's hash covers the one before it.
#![deny(
    clippy::arithmetic_side_effects,
    clippy::float_arithmetic,
    clippy::as_conversions
)]

#[macro_use]
mod word;

mod account;
mod adjustment;
mod advance;
mod audit;
mod balance;
mod book;
mod calendar;
mod capture;
mod catalogue;
mod changed;
mod clawback;
mod command;
mod creation;
mod credits;
mod debit;
mod details;
mod entry;
mod hash;
mod hold;
mod id;
mod import;
mod kind;
mod license;
mod plan;
mod pool;
mod price;
mod purchase;
mod put;
mod refund;
mod refusal;
mod rehearsal;
#[cfg(test)]
mod samples;
mod signed;
mod terms;
mod text;
mod upgrade;
mod usage;

pub use account::{Account, Accounts, Transfer, TransferError};
pub use adjustment::{Adjustment, Bucket};
pub use advance::{NextGrant, advance, next_grant};
pub use audit::{Audit, Fault, Kept, RefundTotals};
pub use balance::{AddonBalance, Balance, MonthlyBalance};
pub use book::{Along, Book};
pub use calendar::{Cycle, add_months, cycle_containing};
pub use capture::Capture;
pub use catalogue::{AddonTerms, AutoProvision, Catalogue, Operation, Plan, Settings};
pub use changed::Changed;
pub use clawback::{Bought, PaymentState, PurchaseStatus, Settlement};
pub use command::{Command, Outcome, auto_provision};
pub use credits::{Credits, CreditsError, Denomination, Round, SignedCredits};
pub use debit::{Authorization, Debit, DebitFacts, Mode, PriceSource, authorize};
pub use details::Details;
pub use entry::{Actor, Attribution, Entry, Request};
pub use hash::{Canonical, Fingerprint, Hash};
pub use hold::{
    Captured, Extension, Hold, HoldFacts, HoldStatus, MAX_OPEN_HOLDS, NewHold, Release,
};
pub use id::{ClockId, EntryId, KeyId, PoolId, PoolKind, PoolName, PurchaseId, TenantId};
pub use import::{Opening, OpeningAddons, OpeningPayment, OpeningUsage};
pub use kind::{Kind, UnknownKind};
pub use license::{
    GivenUp, License, LicenseLimits, LicenseStatus, LicenseType, Signed, TRIAL_DAYS,
};
pub use plan::{Allowance, PlanCode, PlanVersion, Seats};
pub use pool::{ExpiredAddons, LiveAddons, Pool};
pub use price::{Price, Reduction};
pub use purchase::{Purchase, check_offer, check_purchase};
pub use put::{Change, Patch, PutPool};
pub use refund::{MAX_RUN_DEBITS, Refund, RefundFacts, RefundableDebit, RunRefund};
pub use refusal::Refusal;
pub use rehearsal::{Figures, LeftOut, Outage, Rehearsal, Rehearsed, Tally};
pub use signed::{SignedLicense, Withdrawal};
pub use terms::{Requested, Term, Terms};
pub use text::{Code, IdempotencyKey, Label, Metadata, PromoCode, Reason, TextError};
pub use upgrade::Upgrade;
pub use usage::UsageFigures;
pub use word::UnknownWord;

/// A moment, in UTC, always cut to whole milliseconds at the edge.
pub type Time = chrono::DateTime<chrono::Utc>;
