//! What a plan grants: allowances, seats, and one version of a plan.

use std::fmt;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Code, Credits, Denomination, Time};

/// A plan's code, as in URLs: `pro`.
pub type PlanCode = Code;

/// What a plan grants each cycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowance {
    /// So many credits for each builder.
    PerBuilder(Credits),
    /// So many credits for the pool, whatever its builders.
    PerPool(Credits),
    /// The pool itself says how many.
    Custom,
}

/// A count of seats: of builders, or of users in a licence's limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seats {
    /// So many.
    Count(u32),
    /// No limit; in JSON the word `unlimited`.
    Unlimited,
}

impl Seats {
    /// What a pool has when nothing is said.
    pub const ONE: Self = Self::Count(1);
}

/// One version of a plan. Versions are never edited; an edit adds one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanVersion {
    /// Counts up from 1 for each plan.
    pub version: i32,
    /// From when cycles use it.
    pub effective_at: Time,
    /// The name people see.
    pub name: String,
    /// What it grants.
    pub allowance: Allowance,
    /// Whether its pools may buy add-on credits.
    pub addons: bool,
    /// The smallest step to debit.
    pub denomination: Denomination,
    /// Whether operations cost their old fixed prices.
    pub legacy_prices: bool,
}

impl fmt::Display for Seats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => count.fmt(f),
            Self::Unlimited => f.write_str("unlimited"),
        }
    }
}

impl Serialize for Seats {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Count(count) => serializer.serialize_u32(*count),
            Self::Unlimited => serializer.serialize_str("unlimited"),
        }
    }
}

impl<'de> Deserialize<'de> for Seats {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SeatsVisitor)
    }
}

struct SeatsVisitor;

impl Visitor<'_> for SeatsVisitor {
    type Value = Seats;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number up to 4294967295 or \"unlimited\"")
    }

    fn visit_u64<E: de::Error>(self, count: u64) -> Result<Seats, E> {
        u32::try_from(count)
            .map(Seats::Count)
            .map_err(|_| E::invalid_value(de::Unexpected::Unsigned(count), &self))
    }

    fn visit_str<E: de::Error>(self, word: &str) -> Result<Seats, E> {
        if word.eq_ignore_ascii_case("unlimited") {
            Ok(Seats::Unlimited)
        } else {
            Err(E::invalid_value(de::Unexpected::Str(word), &self))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seats_are_a_count_or_unlimited_in_any_case() {
        let read = |json: &str| serde_json::from_str::<Seats>(json).ok();
        assert_eq!(read("5"), Some(Seats::Count(5)));
        assert_eq!(read("\"Unlimited\""), Some(Seats::Unlimited));
        for bad in ["-1", "1.5", "\"many\"", "4294967296", "null", "true"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
