//! Stripe's webhook: who signed an event, and what it says. What is done about it is
//! `receive`'s, and says nothing of Stripe.

pub mod event;
pub mod signature;
