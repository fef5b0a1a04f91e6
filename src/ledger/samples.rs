//! What the ledger's own tests share: pools on plans, requests, and short ways to use them.

use std::sync::Arc;

use super::{
    Account, Actor, Adjustment, Attribution, Book, Bucket, Capture, Catalogue, Change, Command,
    Credits, Debit, Entry, EntryId, Kind, Label, License, LicenseType, Mode, NewHold, Outcome,
    Patch, PoolId, PoolName, Purchase, PutPool, Refund, RefundableDebit, Refusal, Release, Seats,
    SignedCredits, TenantId, Time, Transfer, advance,
};
use uuid::Uuid;

/// Midnight of a day, or an instant of it.
pub fn time(text: &str) -> Time {
    let text = match text.len() {
        10 => format!("{text}T00:00:00Z"),
        _ => text.to_owned(),
    };
    text.parse().expect("a time")
}

pub fn label(text: &str) -> Label {
    text.parse().expect("a good label")
}

/// The default plans, in force for long.
pub fn catalogue() -> Catalogue {
    Catalogue::initial(time("2020-01-01"))
}

/// Names of a workspace's pool.
pub fn names(name: &str) -> (PoolId, TenantId, PoolName) {
    let tenant = TenantId::from(Uuid::from_u128(7));
    let name: PoolName = name.parse().expect("a good name");
    (PoolId::of(tenant, &name), tenant, name)
}

pub fn put(plan: &str, builders: u32) -> PutPool {
    PutPool {
        plan: Some(plan.parse().expect("a good code")),
        builders: Patch::Set(Seats::Count(builders)),
        ..PutPool::default()
    }
}

/// A plan without an allowance of its own.
pub fn enterprise(credits: u32) -> PutPool {
    PutPool {
        monthly_allowance: Patch::Set(Credits::whole(credits)),
        ..put("enterprise", 1)
    }
}

pub fn license(kind: LicenseType, expires_at: Option<&str>) -> License {
    License {
        expires_at: expires_at.map(time),
        ..License::of(kind)
    }
}

/// A PUT with a paid licence that ends.
pub fn until(end: &str, put: PutPool) -> PutPool {
    PutPool {
        license: Patch::Set(license(LicenseType::Paid, Some(end))),
        ..put
    }
}

/// A workspace's pool since `at`, with the default catalogue.
pub fn pool(put: PutPool, at: &str) -> Book {
    create(put, at).expect("a good request")
}

pub fn create(put: PutPool, at: &str) -> Result<Book, Refusal> {
    put.create(
        names("workspace:6f1c"),
        &catalogue(),
        Actor::default(),
        time(at),
    )
}

pub fn debit(credits: u32) -> Debit {
    Debit {
        credits: Some(Credits::whole(credits)),
        round: None,
        mode: Mode::Strict,
        attribution: Attribution::default(),
        metadata: None,
    }
}

pub fn settle(credits: u32) -> Debit {
    Debit {
        mode: Mode::Settle,
        ..debit(credits)
    }
}

pub fn paid(credits: i64, paid_at: &str) -> Purchase {
    Purchase {
        id: Uuid::from_u128(3).into(),
        credits: Ok(SignedCredits::from_units(credits.saturating_mul(100))),
        bonus: Credits::ZERO,
        as_sold: false,
        reference: label("pi_1"),
        paid_at: Some(time(paid_at)),
        amount_cents: None,
        currency: None,
        user_id: None,
    }
}

pub fn adjust(bucket: Bucket, credits: i64) -> Adjustment {
    Adjustment {
        bucket,
        credits: SignedCredits::from_units(credits.saturating_mul(100)),
        reason: "by hand".parse().expect("a good reason"),
    }
}

/// Books what is due and decides, as a lane does.
pub fn decide(
    book: &mut Book,
    catalogue: &Catalogue,
    at: &str,
    command: Command,
) -> Result<Outcome, Refusal> {
    let now = time(at).max(book.pool().last_at);
    advance(book, catalogue, now);
    command.decide(book, catalogue, Actor::default(), now)
}

/// Decides with the default catalogue, and expects an entry.
pub fn booked(book: &mut Book, at: &str, command: Command) -> Arc<Entry> {
    match decide(book, &catalogue(), at, command) {
        Ok(Outcome::Booked(entry)) => entry,
        other => panic!("not booked: {other:?}"),
    }
}

pub fn spend(book: &mut Book, at: &str, debit: Debit) -> Arc<Entry> {
    booked(book, at, Command::Debit(Box::new(debit)))
}

/// A hold that lasts a quarter of an hour.
pub fn hold(credits: u32) -> NewHold {
    NewHold {
        credits: Some(Credits::whole(credits)),
        round: None,
        partial: false,
        expires_in_seconds: 900,
        attribution: Attribution::default(),
        metadata: None,
    }
}

/// A hold that lasts a day, the longest there is.
pub fn long_hold(credits: u32) -> NewHold {
    NewHold {
        expires_in_seconds: 86_400,
        ..hold(credits)
    }
}

/// Opens a hold and gives its id.
pub fn reserve(book: &mut Book, at: &str, hold: NewHold) -> EntryId {
    booked(book, at, Command::Hold(Box::new(hold))).id()
}

pub fn capture(hold: EntryId, credits: u32, mode: Mode) -> Command {
    Command::Capture(Box::new(Capture {
        hold,
        credits: Credits::whole(credits),
        round: None,
        mode,
    }))
}

pub fn release(hold: EntryId) -> Command {
    Command::Release(Release { hold })
}

/// A refund of so many credits, or of all that is left.
pub fn refund(debit: &Entry, credits: Option<u32>) -> Command {
    Command::Refund(Box::new(Refund {
        debit: debit.id(),
        credits: credits.map(Credits::whole),
        reason: None,
    }))
}

/// Lets the book know its debits, as a lane reads them for a refund.
pub fn know_debits(book: &mut Book) {
    let debits = book.entries().iter();
    let debits = debits.filter(|entry| entry.kind == Kind::Debit);
    for entry in debits.cloned().collect::<Vec<_>>() {
        if book.debit(entry.id()).is_err() {
            book.keep_debit(RefundableDebit {
                entry,
                refunded: Credits::ZERO,
            });
        }
    }
}

/// Refunds a debit of this book.
pub fn give_back(book: &mut Book, at: &str, debit: &Entry, credits: Option<u32>) -> Arc<Entry> {
    know_debits(book);
    booked(book, at, refund(debit, credits))
}

pub fn buy(book: &mut Book, at: &str, purchase: Purchase) -> Arc<Entry> {
    booked(book, at, Command::Purchase(Box::new(purchase)))
}

pub fn correct(book: &mut Book, at: &str, adjustment: Adjustment) -> Arc<Entry> {
    booked(book, at, Command::Adjust(Box::new(adjustment)))
}

/// What a PUT changes, with the default catalogue.
pub fn change(book: &mut Book, at: &str, put: PutPool) -> Change {
    match decide(book, &catalogue(), at, Command::Update(Box::new(put))) {
        Ok(Outcome::Put(change)) => change,
        other => panic!("no change: {other:?}"),
    }
}

/// The code of a refusal, with the default catalogue. A refusal changes nothing.
pub fn refusal(book: &mut Book, at: &str, command: Command) -> &'static str {
    advance(book, &catalogue(), time(at));
    let before = book.clone();
    match decide(book, &catalogue(), at, command) {
        Err(refusal) => {
            assert_eq!(book.pool(), before.pool(), "a refusal changes nothing");
            assert_eq!(book.entries(), before.entries(), "a refusal books nothing");
            refusal.code()
        }
        Ok(outcome) => panic!("not refused: {outcome:?}"),
    }
}

/// Books what is due by `at`, with the default catalogue.
pub fn pass(book: &mut Book, at: &str) {
    advance(book, &catalogue(), time(at));
}

/// The kinds of all entries.
pub fn kinds(book: &Book) -> Vec<&'static str> {
    let entries = book.entries().iter();
    entries.map(|entry| entry.kind.as_str()).collect()
}

/// A transfer of whole credits.
pub fn moved(from: Account, to: Account, credits: u32) -> Transfer {
    Transfer {
        from,
        to,
        amount: Credits::whole(credits),
    }
}

/// What the last entry moved.
pub fn last_transfers(book: &Book) -> &[Transfer] {
    let last = book.entries().last().expect("there is an entry");
    &last.transfers
}
