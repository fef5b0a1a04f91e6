//! What can be asked of a pool, and the one place that decides it.

use std::sync::Arc;

use super::book::Draft;
use super::{
    Actor, Adjustment, Book, Catalogue, Change, Debit, Entry, Kind, Purchase, PutPool, Refusal,
    Seats, Time, check_purchase,
};

/// A write on one pool.
#[derive(Clone, Debug)]
pub enum Command {
    /// Book what is due, nothing else.
    Advance,
    /// Change terms, licence or metadata.
    Update(Box<PutPool>),
    /// Close it.
    Close,
    /// Spend.
    Debit(Box<Debit>),
    /// Answer whether a purchase would be booked.
    CheckPurchase(Box<Purchase>),
    /// Credit a purchase whose payment reference is claimed.
    Purchase(Box<Purchase>),
    /// Give or take by hand.
    Adjust(Box<Adjustment>),
}

/// What a command did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// One entry says it all.
    Booked(Arc<Entry>),
    /// The terms are as requested.
    Put(Change),
    /// Nothing had to be booked.
    Done,
}

impl Command {
    /// Decides on a pool on which everything due by `now` is booked. A refusal leaves the book as
    /// it was.
    ///
    /// # Errors
    /// The rule that refuses it.
    pub fn decide(
        self,
        book: &mut Book,
        catalogue: &Catalogue,
        actor: Actor,
        now: Time,
    ) -> Result<Outcome, Refusal> {
        match self {
            Self::Advance => Ok(Outcome::Done),
            Self::Close => Ok(close(book, actor, now)),
            Self::Update(put) => put.update(book, catalogue, actor, now).map(Outcome::Put),
            Self::CheckPurchase(purchase) => {
                check_purchase(&purchase, book.pool(), catalogue, now).map(|_| Outcome::Done)
            }
            Self::Purchase(purchase) => purchase
                .book(book, catalogue, actor, now)
                .map(Outcome::Booked),
            Self::Debit(_) | Self::Adjust(_) if book.pool().is_closed() => Err(Refusal::PoolClosed),
            Self::Debit(debit) => debit.book(book, catalogue, actor, now).map(Outcome::Booked),
            Self::Adjust(adjustment) => adjustment
                .book(book, catalogue, actor, now)
                .map(Outcome::Booked),
        }
    }
}

/// Closes the pool: its balance is frozen, nothing is due any more. A closed one stays closed.
fn close(book: &mut Book, actor: Actor, now: Time) -> Outcome {
    if !book.pool().is_closed() {
        book.pool.closed_at = Some(now);
        book.append(
            now,
            Draft {
                actor,
                ..Draft::new(Kind::Close, Vec::new())
            },
        );
    }
    Outcome::Done
}

/// What makes a pool when it is first used, for tenants that want that.
#[must_use]
pub fn auto_provision(book_name: &super::PoolName, catalogue: &Catalogue) -> Option<PutPool> {
    let plan = catalogue.auto_plan(book_name.kind())?.clone();
    Some(PutPool {
        plan: Some(plan),
        builders: super::Patch::Set(Seats::ONE),
        ..PutPool::default()
    })
}
