//! The journal, and the sums over it. Nothing here is remembered: every balance is the sum of all
//! transfers ever written.

use super::Instant;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Account {
    Monthly,
    Addon,
    HeldMonthly,
    HeldAddon,
    /// Held, of a cycle or an add-on pool that has ended: in no bucket any more.
    HeldEnded,
    Overdraft,
    Consumed,
    Lapsed,
    IssuedMonthly,
    IssuedAddon,
    Adjusted,
    ClawedBack,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Open,
    Renewal,
    Restart,
    LicenseEnd,
    TermsChange,
    AddonExpiry,
    Debit,
    Refund,
    Hold,
    HoldExtend,
    Release,
    HoldExpiry,
    Purchase,
    Reinstatement,
    Clawback,
    ClawbackReversal,
    Adjustment,
    Import,
    Upgrade,
    Close,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transfer {
    pub from: Account,
    pub to: Account,
    pub amount: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Counted from 1, without gaps.
    pub seq: usize,
    pub kind: Kind,
    pub at: Instant,
    pub transfers: Vec<Transfer>,
}

impl Account {
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

    /// `Account::Monthly.to(Account::Lapsed, 500)`
    pub fn to(self, to: Self, amount: i64) -> Transfer {
        Transfer {
            from: self,
            to,
            amount,
        }
    }
}

impl Kind {
    /// The contract's word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Renewal => "renewal",
            Self::Restart => "restart",
            Self::LicenseEnd => "license_end",
            Self::TermsChange => "terms_change",
            Self::AddonExpiry => "addon_expiry",
            Self::Debit => "debit",
            Self::Refund => "refund",
            Self::Hold => "hold",
            Self::HoldExtend => "hold_extend",
            Self::Release => "release",
            Self::HoldExpiry => "hold_expiry",
            Self::Purchase => "purchase",
            Self::Reinstatement => "reinstatement",
            Self::Clawback => "clawback",
            Self::ClawbackReversal => "clawback_reversal",
            Self::Adjustment => "adjustment",
            Self::Import => "import",
            Self::Upgrade => "upgrade",
            Self::Close => "close",
        }
    }
}

impl Entry {
    /// How much this entry moved from one account to another.
    pub fn moved(&self, from: Account, to: Account) -> i64 {
        self.transfers
            .iter()
            .filter(|transfer| transfer.from == from && transfer.to == to)
            .map(|transfer| transfer.amount)
            .sum()
    }
}

pub fn balance_of(entries: &[Entry], account: Account) -> i64 {
    let mut balance = 0;
    for transfer in entries.iter().flat_map(|entry| &entry.transfers) {
        if transfer.to == account {
            balance += transfer.amount;
        }
        if transfer.from == account {
            balance -= transfer.amount;
        }
    }
    balance
}

/// What the reinstatement of this entry gave back to the live add-on pool as granted.
#[derive(Clone, Copy, Debug)]
pub struct GrantedAgain {
    pub seq: usize,
    pub credits: i64,
}

/// What was bought into the live add-on pool, with what a reinstatement gave back to it, less what
/// was clawed back of it while it lived; `elsewhere` names the entries about other credits.
pub fn addon_granted(entries: &[Entry], again: &[GrantedAgain], elsewhere: &[usize]) -> i64 {
    let mut granted = 0;
    for entry in entries {
        match entry.kind {
            Kind::Purchase | Kind::Import => {
                granted += entry.moved(Account::IssuedAddon, Account::Addon)
            }
            Kind::Reinstatement => {
                let of_the_entry = again.iter().filter(|again| again.seq == entry.seq);
                granted += of_the_entry.map(|again| again.credits).sum::<i64>();
            }
            Kind::Clawback | Kind::ClawbackReversal if elsewhere.contains(&entry.seq) => {}
            Kind::Clawback => {
                let taken = entry.moved(Account::Addon, Account::ClawedBack);
                granted -= taken;
            }
            Kind::ClawbackReversal => granted += entry.moved(Account::ClawedBack, Account::Addon),
            Kind::AddonExpiry => granted = 0,
            Kind::Open
            | Kind::Renewal
            | Kind::Restart
            | Kind::LicenseEnd
            | Kind::TermsChange
            | Kind::Debit
            | Kind::Refund
            | Kind::Hold
            | Kind::HoldExtend
            | Kind::Release
            | Kind::HoldExpiry
            | Kind::Adjustment
            | Kind::Upgrade
            | Kind::Close => {}
        }
    }
    granted
}
