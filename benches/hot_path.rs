//! What a debit costs the processor, piece by piece, without database and network: `cargo bench`.
//!
//! By hand, before and after a change: nothing here fails. `credit-ledger bench` measures it all.

use credit_ledger::http::debits::{DebitBody, DebitRequest};
use credit_ledger::http::extract::parse_json;
use credit_ledger::ledger::{
    Actor, Attribution, Book, Catalogue, Command, Credits, Debit, Entry, Hash, KeyId, Mode,
    Outcome, Patch, PoolId, PoolName, PutPool, Request, TenantId, Time,
};
use divan::{Bencher, black_box};
use uuid::Uuid;

const BODY: &[u8] = br#"{"credits":3,"operation":"custom_code","user_id":"u1","run_id":"r-55"}"#;

fn main() {
    divan::main();
}

fn now() -> Time {
    "2026-01-31T10:00:00Z".parse().expect("a time")
}

fn catalogue() -> Catalogue {
    Catalogue::initial(now())
}

/// A pool that can pay for many debits, as if it had just been read.
fn pool() -> Book {
    let tenant = TenantId::from(Uuid::from_u128(7));
    let name: PoolName = "workspace:6f1c".parse().expect("a good name");
    let put = PutPool {
        plan: "enterprise".parse().ok(),
        monthly_allowance: Patch::Set(Credits::whole(500_000_000)),
        ..PutPool::default()
    };
    let id = (PoolId::of(tenant, &name), tenant, name);
    let made = put.create(id, &catalogue(), Actor::default(), now());
    Book::new(made.expect("a good request").pool().clone())
}

fn debit() -> Debit {
    Debit {
        credits: Some(Credits::whole(3)),
        round: None,
        mode: Mode::Strict,
        attribution: Attribution {
            operation: "custom_code".parse().ok(),
            user_id: "u1".parse().ok(),
            run_id: "r-55".parse().ok(),
            ..Attribution::default()
        },
        metadata: None,
    }
}

fn actor(debit: &Debit) -> Actor {
    Actor {
        key: Some(KeyId::from(Uuid::from_u128(1))),
        request: Some(Request {
            key: "run-55-1".parse().expect("a good key"),
            fingerprint: debit.fingerprint(),
        }),
    }
}

fn book_one(book: &mut Book, catalogue: &Catalogue) -> Outcome {
    let debit = debit();
    let actor = actor(&debit);
    let decided = Command::Debit(Box::new(debit)).decide(book, catalogue, actor, now());
    decided.expect("the pool can pay")
}

fn entry() -> (Book, Entry) {
    let mut book = pool();
    book_one(&mut book, &catalogue());
    let entry = Entry::clone(book.entries().last().expect("it was booked"));
    (book, entry)
}

/// A strict debit on a pool that was just read: price, buckets, entry and its hash.
#[divan::bench]
fn decide(bencher: Bencher<'_, '_>) {
    let catalogue = catalogue();
    let ask = || (pool(), debit(), actor(&debit()));
    bencher
        .with_inputs(ask)
        .bench_values(|(mut book, debit, actor)| {
            let outcome =
                Command::Debit(Box::new(debit)).decide(&mut book, &catalogue, actor, now());
            (outcome, book)
        });
}

/// The link of the chain: canonical form and SHA-256.
#[divan::bench]
fn chain(bencher: Bencher<'_, '_>) {
    let (_, entry) = entry();
    bencher.bench(|| black_box(&entry).chained_to(Hash::GENESIS));
}

/// What makes two requests the same.
#[divan::bench]
fn fingerprint(bencher: Bencher<'_, '_>) {
    let debit = debit();
    bencher.bench(|| black_box(&debit).fingerprint());
}

/// A request's body, parsed and checked.
#[divan::bench]
fn read_json() -> Debit {
    let request: DebitRequest = parse_json(black_box(BODY)).expect("a good body");
    request.read().expect("good fields")
}

/// An answer's body, with the balance.
#[divan::bench]
fn write_json(bencher: Bencher<'_, '_>) {
    let (book, entry) = entry();
    let name = &book.pool().name;
    bencher.bench(|| {
        let body = DebitBody::of(name, black_box(&entry)).expect("it is a debit");
        serde_json::to_vec(&body).expect("it has a JSON text")
    });
}
