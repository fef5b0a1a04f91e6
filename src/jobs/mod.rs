//! Work that nobody asked for: making durable what is due, trying again what failed.

pub mod payments;
pub mod sweeper;
