//! The accounts of a pool, and [`Transfer`], which cannot be unbalanced.

use std::fmt::{self, Write as _};
use std::str::FromStr;

use super::{Credits, SignedCredits};

/// Where credits of a pool are, come from, or end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Account {
    /// The current cycle's credits, spendable.
    Monthly,
    /// Add-on credits, spendable.
    Addon,
    /// Monthly credits that holds reserve.
    HeldMonthly,
    /// Add-on credits that holds reserve.
    HeldAddon,
    /// Credits reserved by holds whose cycle or add-on pool has ended.
    HeldEnded,
    /// What the customer owes: zero or less.
    Overdraft,
    /// Spent.
    Consumed,
    /// Expired unspent.
    Lapsed,
    /// The source of monthly grants: zero or less.
    IssuedMonthly,
    /// The source of bought credits: zero or less.
    IssuedAddon,
    /// The source and the sink of adjustments by hand.
    Adjusted,
    /// Taken back after a refunded or disputed payment.
    ClawedBack,
}

impl Account {
    /// All accounts, in the order their balances are kept.
    pub const ALL: [Self; 12] = [
        Self::Monthly,
        Self::Addon,
        Self::HeldMonthly,
        Self::HeldAddon,
        Self::HeldEnded,
        Self::Overdraft,
        Self::Consumed,
        Self::Lapsed,
        Self::IssuedMonthly,
        Self::IssuedAddon,
        Self::Adjusted,
        Self::ClawedBack,
    ];

    /// The name in the API, the journal and SQL.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Monthly => "monthly",
            Self::Addon => "addon",
            Self::HeldMonthly => "held_monthly",
            Self::HeldAddon => "held_addon",
            Self::HeldEnded => "held_ended",
            Self::Overdraft => "overdraft",
            Self::Consumed => "consumed",
            Self::Lapsed => "lapsed",
            Self::IssuedMonthly => "issued_monthly",
            Self::IssuedAddon => "issued_addon",
            Self::Adjusted => "adjusted",
            Self::ClawedBack => "clawed_back",
        }
    }

    /// Whether this account may never go below zero (invariant never-below-zero).
    #[must_use]
    pub const fn is_bucket(self) -> bool {
        match self {
            Self::Monthly | Self::Addon | Self::HeldMonthly | Self::HeldAddon | Self::HeldEnded => {
                true
            }
            Self::Overdraft
            | Self::Consumed
            | Self::Lapsed
            | Self::IssuedMonthly
            | Self::IssuedAddon
            | Self::Adjusted
            | Self::ClawedBack => false,
        }
    }
}

impl FromStr for Account {
    type Err = TransferError;

    fn from_str(name: &str) -> Result<Self, TransferError> {
        Self::ALL
            .into_iter()
            .find(|account| account.as_str() == name)
            .ok_or(TransferError)
    }
}

/// Moves `amount` from one account to another. One amount, two sides: a transfer cannot be out of
/// balance, so nothing downstream has to check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// The account it leaves.
    pub from: Account,
    /// The account it enters.
    pub to: Account,
    /// How much, above zero.
    pub amount: Credits,
}

/// A stored transfer that cannot be read back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a transfer is written <from>><to>:<hundredths>")]
pub struct TransferError;

impl Transfer {
    /// A transfer, or `None` when there is nothing to move.
    #[must_use]
    pub fn new(from: Account, to: Account, amount: Credits) -> Option<Self> {
        (!amount.is_zero()).then_some(Self { from, to, amount })
    }

    /// Writes transfers as the journal keeps them: `monthly>consumed:7000,overdraft>consumed:200`.
    #[must_use]
    pub fn list_to_text(transfers: &[Self]) -> String {
        let mut text = String::with_capacity(transfers.len().saturating_mul(32));
        for (leg, transfer) in transfers.iter().enumerate() {
            if leg > 0 {
                text.push(',');
            }
            // Writing to a string cannot fail.
            let _ = write!(text, "{transfer}");
        }
        text
    }

    /// Reads what [`Self::list_to_text`] wrote.
    ///
    /// # Errors
    /// The text was not written by it.
    pub fn list_from_text(text: &str) -> Result<Vec<Self>, TransferError> {
        if text.is_empty() {
            return Ok(Vec::new());
        }
        text.split(',').map(Self::from_str).collect()
    }
}

impl fmt::Display for Transfer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}>{}:{}",
            self.from.as_str(),
            self.to.as_str(),
            self.amount.units()
        )
    }
}

impl FromStr for Transfer {
    type Err = TransferError;

    fn from_str(text: &str) -> Result<Self, TransferError> {
        let (accounts, units) = text.split_once(':').ok_or(TransferError)?;
        let (from, to) = accounts.split_once('>').ok_or(TransferError)?;
        let amount = units
            .parse()
            .ok()
            .and_then(Credits::from_units)
            .ok_or(TransferError)?;
        Self::new(from.parse()?, to.parse()?, amount).ok_or(TransferError)
    }
}

/// The balances of a pool's accounts. They change by transfers only, so they always sum to zero
/// (invariant conserved).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accounts([SignedCredits; 12]);

impl Accounts {
    /// From stored balances, in the order of [`Account::ALL`].
    #[must_use]
    pub const fn from_stored(balances: [SignedCredits; 12]) -> Self {
        Self(balances)
    }

    /// The balance of one account.
    #[must_use]
    pub fn get(&self, account: Account) -> SignedCredits {
        self.0[index(account)]
    }

    /// The balance of an account that is never negative.
    #[must_use]
    pub fn bucket(&self, account: Account) -> Credits {
        Credits::from_units(self.get(account).units()).unwrap_or(Credits::ZERO)
    }

    /// What the customer owes, as an amount.
    #[must_use]
    pub fn owed(&self) -> Credits {
        self.get(Account::Overdraft).abs()
    }

    /// Moves the amount: the only way a balance changes.
    pub fn apply(&mut self, transfer: Transfer) {
        let (from, to) = (index(transfer.from), index(transfer.to));
        self.0[from] = self.0[from] - transfer.amount.signed();
        self.0[to] = self.0[to] + transfer.amount.signed();
    }

    /// Whether the accounts sum to zero and no bucket is below it.
    #[must_use]
    pub fn are_sound(&self) -> bool {
        let sum = self
            .0
            .iter()
            .fold(SignedCredits::ZERO, |sum, balance| sum + *balance);
        let positive = |account: &Account| !account.is_bucket() || self.get(*account).units() >= 0;
        sum == SignedCredits::ZERO && Account::ALL.iter().all(positive)
    }
}

fn index(account: Account) -> usize {
    match account {
        Account::Monthly => 0,
        Account::Addon => 1,
        Account::HeldMonthly => 2,
        Account::HeldAddon => 3,
        Account::HeldEnded => 4,
        Account::Overdraft => 5,
        Account::Consumed => 6,
        Account::Lapsed => 7,
        Account::IssuedMonthly => 8,
        Account::IssuedAddon => 9,
        Account::Adjusted => 10,
        Account::ClawedBack => 11,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transfers_survive_their_text() {
        let transfers = vec![
            Transfer {
                from: Account::Monthly,
                to: Account::Consumed,
                amount: Credits::whole(7),
            },
            Transfer {
                from: Account::Overdraft,
                to: Account::Consumed,
                amount: Credits::whole(2),
            },
        ];
        let text = Transfer::list_to_text(&transfers);
        assert_eq!(text, "monthly>consumed:700,overdraft>consumed:200");
        assert_eq!(Transfer::list_from_text(&text), Ok(transfers));
        assert_eq!(Transfer::list_from_text(""), Ok(vec![]));
        for bad in [
            "monthly>consumed",
            "monthly>nowhere:1",
            "monthly>consumed:-1",
            "a>b:0",
            ",",
        ] {
            assert_eq!(Transfer::list_from_text(bad), Err(TransferError), "{bad}");
        }
    }

    #[test]
    fn balances_are_kept_in_the_order_of_the_list() {
        for (place, account) in Account::ALL.into_iter().enumerate() {
            assert_eq!(index(account), place);
        }
    }

    #[test]
    fn a_transfer_keeps_the_sum_at_zero() {
        let mut accounts = Accounts::default();
        accounts.apply(Transfer {
            from: Account::IssuedMonthly,
            to: Account::Monthly,
            amount: Credits::whole(100),
        });
        assert!(accounts.are_sound());
        accounts.apply(Transfer {
            from: Account::Monthly,
            to: Account::Consumed,
            amount: Credits::whole(101),
        });
        assert!(!accounts.are_sound(), "a bucket below zero is not sound");
    }
}
