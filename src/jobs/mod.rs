//! Work that nobody asked for: making durable what is due.

pub mod sweeper;
