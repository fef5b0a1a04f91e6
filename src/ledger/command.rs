//! What can be asked of a pool, and the one place that decides it.

use std::sync::Arc;

use super::book::Draft;
use super::{
    Actor, Adjustment, Book, Capture, Catalogue, Change, Debit, Entry, Extension, Kind, NewHold,
    Opening, Purchase, PutPool, Refund, Refusal, Release, RunRefund, Seats, Settlement,
    SignedLicense, Time, Upgrade, Withdrawal, check_purchase, hold,
};

/// A write on one pool.
#[derive(Clone, Debug)]
pub enum Command {
    /// Book what is due, nothing else.
    Advance,
    /// Change terms, licence or metadata.
    Update(Box<PutPool>),
    /// Apply a licence whose signature was checked.
    License(Box<SignedLicense>),
    /// Give the signed licence up.
    Withdraw,
    /// Move it from a legacy plan to its new one.
    Upgrade(Box<Upgrade>),
    /// Take it over from another system.
    Import(Box<Opening>),
    /// Close it.
    Close,
    /// Spend.
    Debit(Box<Debit>),
    /// Reserve.
    Hold(Box<NewHold>),
    /// Give a hold another end.
    Extend(Extension),
    /// Spend from a hold.
    Capture(Box<Capture>),
    /// Give a hold up.
    Release(Release),
    /// Give a debit back.
    Refund(Box<Refund>),
    /// Give all debits of a run back.
    RefundRun(Box<RunRefund>),
    /// Answer whether a purchase would be booked.
    CheckPurchase(Box<Purchase>),
    /// Credit a purchase whose payment reference is claimed.
    Purchase(Box<Purchase>),
    /// Take or give back what a purchase's payment has lost.
    Settle(Box<Settlement>),
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
            Self::License(license) => license.book(book, catalogue, actor, now).map(Outcome::Put),
            Self::Withdraw => Withdrawal
                .book(book, catalogue, actor, now)
                .map(Outcome::Put),
            // Made with its pool, by `Opening::create`: this pool is another.
            Self::Import(_) => Err(Refusal::invalid("pool", "is there already")),
            Self::Upgrade(upgrade) => {
                let entry = upgrade.book(book, catalogue, actor, now)?;
                Ok(entry.map_or(Outcome::Done, Outcome::Booked))
            }
            Self::CheckPurchase(purchase) => {
                check_purchase(&purchase, book.pool(), catalogue, now).map(|_| Outcome::Done)
            }
            Self::Purchase(purchase) => purchase
                .book(book, catalogue, actor, now)
                .map(Outcome::Booked),
            _ if book.pool().is_closed() => Err(Refusal::PoolClosed),
            Self::Debit(debit) => debit.book(book, catalogue, actor, now).map(Outcome::Booked),
            Self::Hold(hold) => hold.book(book, catalogue, actor, now).map(Outcome::Booked),
            Self::Extend(extension) => extension.book(book, actor, now).map(Outcome::Booked),
            Self::Capture(capture) => capture
                .book(book, catalogue, actor, now)
                .map(Outcome::Booked),
            Self::Release(release) => release.book(book, actor, now).map(Outcome::Booked),
            Self::Refund(refund) => refund.book(book, actor, now).map(Outcome::Booked),
            Self::RefundRun(refund) => refund.book(book, actor, now).map(Outcome::Booked),
            Self::Settle(settlement) => {
                let entry = settlement.book(book, actor, now)?;
                Ok(entry.map_or(Outcome::Done, Outcome::Booked))
            }
            Self::Adjust(adjustment) => adjustment
                .book(book, catalogue, actor, now)
                .map(Outcome::Booked),
        }
    }
}

/// Closes the pool: its open holds are given up, its balance is frozen, nothing is due any more. A
/// closed one stays closed.
fn close(book: &mut Book, actor: Actor, now: Time) -> Outcome {
    if !book.pool().is_closed() {
        hold::release_all(book, &actor, now);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::samples::{
        adjust, catalogue, change, debit, decide, kinds, paid, pool, put, refusal, settle, spend,
        time,
    };
    use crate::ledger::{AutoProvision, Bucket, PoolName};

    const NOW: &str = "2026-01-31T10:00:00Z";

    #[test]
    fn a_closed_pool_takes_no_writes() {
        let mut book = pool(put("pro", 1), NOW);
        assert_eq!(
            decide(&mut book, &catalogue(), NOW, Command::Close),
            Ok(Outcome::Done)
        );
        let writes = [
            Command::Update(Box::new(put("pro", 2))),
            Command::Update(Box::new(put("pro", 1))),
            Command::Debit(Box::new(debit(1))),
            Command::Debit(Box::new(settle(1))),
            Command::CheckPurchase(Box::new(paid(100, NOW))),
            Command::Purchase(Box::new(paid(100, NOW))),
            Command::Adjust(Box::new(adjust(Bucket::Monthly, 1))),
        ];
        for write in writes {
            let name = format!("{write:?}");
            assert_eq!(refusal(&mut book, NOW, write), "pool_closed", "{name}");
        }
    }

    #[test]
    fn a_closed_pool_stays_as_it_is_for_ever() {
        let mut book = pool(put("pro", 1), NOW);
        spend(&mut book, NOW, debit(1));
        for at in [NOW, "2026-02-01", "2030-01-01"] {
            assert_eq!(
                decide(&mut book, &catalogue(), at, Command::Close),
                Ok(Outcome::Done)
            );
        }
        assert_eq!(kinds(&book), ["open", "debit", "close"]);
        assert_eq!(book.pool().closed_at, Some(time(NOW)));
        assert_eq!(book.pool().available().units(), 79_900);
        assert_eq!(book.pool().next_due_at(), None);
        let frozen = book.pool().balance(time("2030-01-01"));
        assert_eq!(frozen.as_of, time(NOW));
    }

    #[test]
    fn what_is_due_comes_before_a_command_at_its_instant() {
        let mut book = pool(put("free", 1), NOW);
        spend(&mut book, NOW, debit(100));
        spend(&mut book, "2026-02-28T10:00:00Z", debit(100));
        assert_eq!(kinds(&book), ["open", "debit", "renewal", "debit"]);
    }

    #[test]
    fn a_check_and_an_advance_book_nothing() {
        let mut book = pool(put("pro", 1), NOW);
        for command in [
            Command::Advance,
            Command::CheckPurchase(Box::new(paid(100, NOW))),
        ] {
            assert_eq!(
                decide(&mut book, &catalogue(), NOW, command),
                Ok(Outcome::Done)
            );
        }
        assert_eq!(kinds(&book), ["open"]);
        let no_addons = Command::CheckPurchase(Box::new(paid(150, NOW)));
        assert_eq!(refusal(&mut book, NOW, no_addons), "invalid_quantity");
    }

    #[test]
    fn pools_are_made_by_themselves_on_the_plans_that_the_tenant_names() {
        let mut catalogue = catalogue();
        let name = |text: &str| text.parse::<PoolName>().expect("a good name");
        let [cloud, hosted] = [name("workspace:a"), name("instance:a")];
        assert_eq!(
            auto_provision(&cloud, &catalogue),
            None,
            "not unless asked for"
        );

        catalogue.settings.auto_provision = Some(AutoProvision {
            workspace: "free".parse().ok(),
            instance: None,
        });
        assert_eq!(auto_provision(&hosted, &catalogue), None);
        let made = auto_provision(&cloud, &catalogue).expect("workspaces are made");
        let mut book = pool(made, NOW);
        assert_eq!(book.pool().available().units(), 10_000);
        assert_eq!(change(&mut book, NOW, put("free", 1)), Change::None);
    }
}
