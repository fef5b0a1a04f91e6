//! What kinds of events there are.

use std::fmt;
use std::str::FromStr;

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident => $text:literal,)+) => {
        /// What kind of event an entry is.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind {
            $($(#[$doc])* $name,)+
        }

        impl Kind {
            /// All kinds.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// The word in the API and the journal.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)+
                }
            }
        }
    };
}

kinds! {
    /// The pool was made and granted its first cycle.
    Open => "open",
    /// A cycle ended, the next was granted.
    Renewal => "renewal",
    /// A larger allowance started a new cycle.
    Restart => "restart",
    /// The licence ended.
    LicenseEnd => "license_end",
    /// Terms, licence or what was requested changed, no credits moved.
    TermsChange => "terms_change",
    /// The add-on pool expired.
    AddonExpiry => "addon_expiry",
    /// Credits were spent.
    Debit => "debit",
    /// Spent credits were given back.
    Refund => "refund",
    /// Credits were reserved.
    Hold => "hold",
    /// A hold was given another end.
    HoldExtend => "hold_extend",
    /// A hold was given up.
    Release => "release",
    /// A hold reached its end and was given up by itself.
    HoldExpiry => "hold_expiry",
    /// Add-on credits were bought.
    Purchase => "purchase",
    /// A late payment brought an expired add-on pool back.
    Reinstatement => "reinstatement",
    /// Bought credits were taken back: their payment was refunded or disputed.
    Clawback => "clawback",
    /// What was taken back came back: a dispute was won.
    ClawbackReversal => "clawback_reversal",
    /// Credits were given or taken by hand.
    Adjustment => "adjustment",
    /// Figures were taken over from another system: the first entry of an imported pool, what was
    /// spent there in the running cycle, and payments that were credited there.
    Import => "import",
    /// A pool on a legacy plan was moved to the new plans.
    Upgrade => "upgrade",
    /// The pool was closed.
    Close => "close",
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that is no kind of entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is no kind of entry")]
pub struct UnknownKind;

impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        Self::ALL
            .iter()
            .copied()
            .find(|kind| kind.as_str() == text)
            .ok_or(UnknownKind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_known_by_its_word() {
        for kind in Kind::ALL {
            assert_eq!(kind.as_str().parse(), Ok(*kind));
            assert_eq!(kind.to_string(), kind.as_str());
        }
        assert_eq!("Debit".parse::<Kind>(), Err(UnknownKind));
    }
}
