//! Work that nobody asked for: making durable what is due, adding up usage in advance, giving back
//! what was abandoned, trying again what failed.

pub mod checkouts;
pub mod payments;
pub mod roller;
pub mod sweeper;
