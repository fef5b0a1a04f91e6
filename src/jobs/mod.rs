//! Work that nobody asked for: making durable what is due, adding up usage in advance.

pub mod roller;
pub mod sweeper;
