//! Work that nobody asked for: making durable what is due, giving back what was abandoned.

pub mod checkouts;
pub mod sweeper;
