//! Credits given or taken by hand.

use serde::Deserialize;

use super::book::Draft;
use super::hash::Canonical;
use super::{
    Account, Actor, Book, Catalogue, Credits, Details, Entry, Fingerprint, Kind, LiveAddons,
    Reason, Refusal, SignedCredits, Time, Transfer, add_months,
};
use std::sync::Arc;

/// One of the two buckets of spendable credits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Bucket {
    /// The current cycle's credits.
    Monthly,
    /// Add-on credits.
    Addon,
}

/// A change by hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adjustment {
    /// What it changes.
    pub bucket: Bucket,
    /// How much, given (above zero) or taken (below).
    pub credits: SignedCredits,
    /// Why.
    pub reason: Reason,
}

words!(Bucket {
    Monthly => "monthly",
    Addon => "addon",
});

impl Bucket {
    pub(super) const fn account(self) -> Account {
        match self {
            Self::Monthly => Account::Monthly,
            Self::Addon => Account::Addon,
        }
    }
}

impl Adjustment {
    /// What makes two adjustments the same request.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        Canonical::new("adjustment")
            .text(Some(self.bucket.as_str()))
            .number(self.credits.units())
            .text(Some(self.reason.as_str()))
            .fingerprint()
    }

    /// Gives or takes the credits. Adjustments change what is settled, never what was granted, and
    /// repay no overdraft.
    ///
    /// # Errors
    /// The bucket has less than is to be taken, or would pass the limit of an account.
    pub fn book(
        &self,
        book: &mut Book,
        catalogue: &Catalogue,
        actor: Actor,
        now: Time,
    ) -> Result<Arc<Entry>, Refusal> {
        let account = self.bucket.account();
        let (there, amount) = (book.pool.accounts.bucket(account), self.credits.abs());
        let settled = match self.bucket {
            Bucket::Monthly => book.pool.settled_monthly(),
            Bucket::Addon => book.pool.settled_addon(),
        };
        let given = self.credits.is_positive();
        let (from, to) = if given {
            (Account::Adjusted, account)
        } else {
            (account, Account::Adjusted)
        };
        if !given && amount > there {
            return Err(Refusal::AdjustmentBelowZero { available: there });
        }
        if given && settled + amount > Credits::MAX_ACCOUNT {
            return Err(Refusal::BalanceLimit);
        }
        if given && self.bucket == Bucket::Addon && book.pool.addons.is_none() {
            // Credits given without a live add-on pool open one, as a payment of now would.
            let expires_at = add_months(now, catalogue.addon_terms.validity_months);
            let opened_seq = book.next_seq();
            book.pool.addons = Some(LiveAddons {
                granted: Credits::ZERO,
                expires_at,
                opened_seq,
            });
        }
        let transfers = Transfer::new(from, to, amount).into_iter().collect();
        let details = Details {
            bucket: Some(self.bucket),
            ..Details::default()
        };
        let reason = Some(self.reason.clone());
        let draft = Draft {
            actor,
            reason,
            details,
            ..Draft::new(Kind::Adjustment, transfers)
        };
        Ok(book.append(now, draft))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::samples::{
        adjust, buy, correct, kinds, last_transfers, moved, paid, pass, pool, put, refusal, settle,
        spend, time,
    };
    use crate::ledger::{Accounts, Command};

    const NOW: &str = "2026-01-31T10:00:00Z";

    fn free() -> Book {
        pool(put("free", 1), NOW)
    }

    #[test]
    fn all_of_a_bucket_can_be_taken_and_not_a_credit_more() {
        let mut book = pool(put("pro", 1), NOW);
        buy(&mut book, NOW, paid(100, NOW));
        for (bucket, there) in [(Bucket::Monthly, 800), (Bucket::Addon, 100)] {
            let one_too_many = Command::Adjust(Box::new(adjust(bucket, -there - 1)));
            let refused = refusal(&mut book.clone(), NOW, one_too_many);
            assert_eq!(refused, "adjustment_below_zero", "{bucket:?}");
            correct(&mut book, NOW, adjust(bucket, -there));
        }
        assert_eq!(book.pool().available(), SignedCredits::ZERO);
        let from_nothing = Command::Adjust(Box::new(adjust(Bucket::Monthly, -1)));
        assert_eq!(
            refusal(&mut book, NOW, from_nothing),
            "adjustment_below_zero"
        );
    }

    #[test]
    fn no_bucket_is_given_more_than_an_account_may_hold() {
        let mut book = free();
        let mut accounts = Accounts::default();
        let (from, to) = (Account::IssuedMonthly, Account::Monthly);
        let amount = Credits::MAX_ACCOUNT.saturating_sub(Credits::whole(1));
        accounts.apply(Transfer { from, to, amount });
        book.pool.accounts = accounts;
        let one_too_many = Command::Adjust(Box::new(adjust(Bucket::Monthly, 2)));
        assert_eq!(refusal(&mut book, NOW, one_too_many), "balance_limit");
        correct(&mut book, NOW, adjust(Bucket::Monthly, 1));
        assert_eq!(book.pool().monthly(), Credits::MAX_ACCOUNT);
    }

    #[test]
    fn what_is_settled_changes_and_what_was_granted_does_not() {
        let mut book = free();
        let given = correct(&mut book, NOW, adjust(Bucket::Monthly, 30));
        assert_eq!(
            given.transfers,
            [moved(Account::Adjusted, Account::Monthly, 30)]
        );
        let taken = correct(&mut book, NOW, adjust(Bucket::Monthly, -50));
        assert_eq!(
            taken.transfers,
            [moved(Account::Monthly, Account::Adjusted, 50)]
        );
        let monthly = taken.after.monthly;
        assert_eq!(monthly.settled, Credits::whole(80));
        assert_eq!(
            (monthly.granted, monthly.used),
            (Credits::whole(100), Credits::ZERO)
        );
        assert_eq!(given.reason.as_ref().map(Reason::as_str), Some("by hand"));
        let details = given.read_details().expect("details can be read");
        assert_eq!(details.bucket, Some(Bucket::Monthly));
    }

    #[test]
    fn an_adjustment_repays_no_overdraft() {
        let mut book = free();
        spend(&mut book, NOW, settle(130));
        let given = correct(&mut book, NOW, adjust(Bucket::Monthly, 30));
        assert_eq!(given.after.overdraft, Credits::whole(30));
        assert_eq!(given.after.available(), SignedCredits::ZERO);
    }

    #[test]
    fn an_adjustment_that_differs_in_any_field_is_another_request() {
        let asked = adjust(Bucket::Monthly, 1);
        let others = [
            adjust(Bucket::Addon, 1),
            adjust(Bucket::Monthly, -1),
            Adjustment {
                reason: "else".parse().expect("a good reason"),
                ..asked.clone()
            },
        ];
        for other in others {
            assert_ne!(other.fingerprint(), asked.fingerprint(), "{other:?}");
        }
        assert_eq!(asked.clone().fingerprint(), asked.fingerprint());
    }

    #[test]
    fn addon_credits_given_to_any_plan_open_an_addon_pool() {
        let mut book = free();
        let given = correct(&mut book, NOW, adjust(Bucket::Addon, 5));
        let addon = given.after.addon;
        assert_eq!(
            (addon.settled, addon.granted),
            (Credits::whole(5), Credits::ZERO)
        );
        assert_eq!(addon.expires_at, Some(time("2027-01-31T10:00:00Z")));
        assert_eq!(given.addon_seq, Some(given.seq));

        let more = correct(&mut book, "2026-03-01", adjust(Bucket::Addon, 5));
        assert_eq!(
            more.after.addon.expires_at, addon.expires_at,
            "a live one keeps its end"
        );
        pass(&mut book, "2027-01-31T10:00:00Z");
        let [.., expiry, _] = kinds(&book)[..] else {
            panic!("the pool expires and renews");
        };
        assert_eq!(expiry, "addon_expiry");
        assert_eq!(last_transfers(&book).len(), 2);
    }
}
