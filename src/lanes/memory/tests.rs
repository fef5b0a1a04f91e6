//! What is recalled, when, and how much is kept at the most.

use uuid::Uuid;

use super::*;
use crate::clock::Clock;
use crate::ledger::{Actor, Catalogue, PoolName, PutPool, TenantId};

fn book(number: usize) -> Box<Book> {
    let now = Clock::System.now();
    let tenant = TenantId::from(Uuid::from_u128(7));
    let name: PoolName = format!("workspace:w{number}").parse().expect("a good name");
    let put = PutPool {
        plan: "free".parse().ok(),
        ..PutPool::default()
    };
    let names = (PoolId::of(tenant, &name), tenant, name);
    let made = put.create(names, &Catalogue::initial(now), Actor::default(), now);
    let pool = made.expect("a good request").pool().clone();
    Box::new(Book::new(pool))
}

#[test]
fn a_pool_that_was_written_is_recalled_once() {
    let mut memory = Memory::default();
    let book = book(1);
    let id = book.pool().id;
    memory.keep(book.clone());
    assert!(!memory.is_trusted(), "nothing was written yet");
    memory.confirm();
    assert!(memory.is_trusted());
    let taken = memory.take(id).expect("it was kept");
    assert_eq!(taken.pool(), book.pool());
    assert!(memory.take(id).is_none(), "until it is written again");
    memory.keep(taken);
    memory.forget(id);
    assert!(memory.take(id).is_none());
}

#[test]
fn after_a_wrong_guess_nothing_is_recalled_for_a_while() {
    let mut memory = Memory::default();
    let [first, second] = [book(1), book(2)];
    memory.keep(first.clone());
    memory.confirm();
    memory.mistrust();
    memory.keep(second.clone());
    memory.confirm();
    assert!(!memory.is_trusted());
    memory.mistrusted_at = Instant::now().checked_sub(MISTRUST);
    assert!(memory.is_trusted());
    assert!(memory.take(first.pool().id).is_none(), "it was forgotten");
    assert!(memory.take(second.pool().id).is_some());
}

#[test]
fn an_idle_connection_is_not_written_to_unasked() {
    let mut memory = Memory::default();
    memory.confirm();
    memory.written_at = Instant::now().checked_sub(FRESH);
    assert!(!memory.is_trusted());
}

#[test]
fn a_pool_on_a_test_clock_is_not_kept() {
    let mut memory = Memory::default();
    let book = book(1);
    memory.keep(book.clone());
    let mut pool = book.pool().clone();
    pool.test_clock = Some(Uuid::from_u128(9).into());
    let id = pool.id;
    memory.keep(Box::new(Book::new(pool)));
    assert!(memory.take(id).is_none());
}

#[test]
fn the_pools_written_last_are_kept_and_not_too_many() {
    let mut memory = Memory::default();
    let one = book(0).pool().clone();
    for number in 0..=2 * HALF {
        let mut next = one.clone();
        next.id = Uuid::from_u128(number as u128).into();
        memory.keep(Box::new(Book::new(next)));
    }
    assert!(memory.young.len() + memory.old.len() <= 2 * HALF);
    let last = Uuid::from_u128(2 * HALF as u128).into();
    assert!(memory.take(last).is_some());
    assert!(memory.take(Uuid::from_u128(0).into()).is_none());
}
