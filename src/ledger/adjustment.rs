//! Credits given or taken by hand.

use serde::{Deserialize, Serialize};

use super::book::Draft;
use super::hash::Canonical;
use super::{
    Account, Actor, Book, Catalogue, Credits, Details, Entry, Fingerprint, Kind, LiveAddons,
    Reason, Refusal, SignedCredits, Time, Transfer, add_months,
};
use std::sync::Arc;

/// One of the two buckets of spendable credits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
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

impl Bucket {
    /// The word in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Monthly => "monthly",
            Self::Addon => "addon",
        }
    }

    const fn account(self) -> Account {
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
        let given = self.credits.is_positive();
        let (from, to) = if given {
            (Account::Adjusted, account)
        } else {
            (account, Account::Adjusted)
        };
        if !given && amount > there {
            return Err(Refusal::AdjustmentBelowZero { available: there });
        }
        if given && there + amount > Credits::MAX_ACCOUNT {
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
