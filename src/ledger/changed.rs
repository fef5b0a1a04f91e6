//! How much of its pool's row an entry changes. What it does not change is not written again.

use super::{Details, Kind};

/// How much of a pool was changed, from least to most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Changed {
    /// Debits only: the balances.
    Balances,
    /// Renewals too, on the terms there were: also the cycle, its grant and the plan's rules.
    Cycle,
    /// Anything.
    Everything,
}

impl Changed {
    /// By an entry.
    pub(super) const fn by(kind: Kind, details: &Details) -> Self {
        match kind {
            Kind::Debit if details.hold.is_none() => Self::Balances,
            Kind::Renewal if details.terms.is_none() => Self::Cycle,
            Kind::Debit
            | Kind::Renewal
            | Kind::Open
            | Kind::Restart
            | Kind::TermsChange
            | Kind::LicenseEnd
            | Kind::AddonExpiry
            | Kind::Refund
            | Kind::Hold
            | Kind::HoldExtend
            | Kind::HoldExpiry
            | Kind::Release
            | Kind::Purchase
            | Kind::Reinstatement
            | Kind::Clawback
            | Kind::ClawbackReversal
            | Kind::Adjustment
            | Kind::Import
            | Kind::Upgrade
            | Kind::Close => Self::Everything,
        }
    }
}
