//! Amounts of credits: exact hundredths, checked arithmetic, no floats.
//!
//! [`Credits`] is an amount and never negative; [`SignedCredits`] is a balance and may be.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, Sub};

use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

/// Hundredths in one credit.
const UNITS: i64 = 100;

/// An amount of credits, in hundredths. Never negative; a balance, which may be, is its own type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Credits(i64);

/// A balance in hundredths of a credit, possibly negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SignedCredits(i64);

/// Why a number is no amount of credits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CreditsError {
    /// Zero or less where an amount is needed.
    #[error("must be greater than 0")]
    NotPositive,
    /// More than [`Credits::MAX_REQUEST`].
    #[error("must be at most 1000000000")]
    TooLarge,
    /// Finer than hundredths.
    #[error("must have at most two decimal places")]
    TooFine,
    /// Not the text of a JSON number.
    #[error("must be a number")]
    NotANumber,
}

impl Credits {
    /// No credits.
    pub const ZERO: Self = Self(0);
    /// The largest amount one request may name: 10^9 credits.
    pub const MAX_REQUEST: Self = Self(1_000_000_000 * UNITS);
    /// The largest balance of one account: 10^12 credits.
    pub const MAX_ACCOUNT: Self = Self(1_000_000_000_000 * UNITS);

    /// Whole credits.
    #[must_use]
    pub const fn whole(credits: u32) -> Self {
        Self(widen(credits).saturating_mul(UNITS))
    }

    /// From hundredths; `None` when negative.
    #[must_use]
    pub fn from_units(units: i64) -> Option<Self> {
        (units >= 0).then_some(Self(units))
    }

    /// In hundredths.
    #[must_use]
    pub const fn units(self) -> i64 {
        self.0
    }

    /// Whether this is nothing at all.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// `None` when `other` is larger: credits do not go below zero.
    #[must_use]
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).and_then(Self::from_units)
    }

    /// What is left of `self` after `other`, or nothing.
    #[must_use]
    pub fn saturating_sub(self, other: Self) -> Self {
        self.checked_sub(other).unwrap_or(Self::ZERO)
    }

    /// `self` times a count; `None` when that leaves the range of a ledger account.
    #[must_use]
    pub fn checked_mul(self, count: u32) -> Option<Self> {
        self.0
            .checked_mul(i64::from(count))
            .map(Self)
            .filter(|all| *all <= Self::MAX_ACCOUNT)
    }

    /// The signed view of this amount.
    #[must_use]
    pub const fn signed(self) -> SignedCredits {
        SignedCredits(self.0)
    }

    /// An amount named by a client: above 0, at most [`Self::MAX_REQUEST`].
    ///
    /// # Errors
    /// The rule it breaks.
    pub fn requested(amount: SignedCredits) -> Result<Self, CreditsError> {
        match Self::from_units(amount.0) {
            None | Some(Self::ZERO) => Err(CreditsError::NotPositive),
            Some(credits) if credits > Self::MAX_REQUEST => Err(CreditsError::TooLarge),
            Some(credits) => Ok(credits),
        }
    }
}

impl SignedCredits {
    /// Nothing held and nothing owed.
    pub const ZERO: Self = Self(0);

    /// From hundredths.
    #[must_use]
    pub const fn from_units(units: i64) -> Self {
        Self(units)
    }

    /// In hundredths.
    #[must_use]
    pub const fn units(self) -> i64 {
        self.0
    }

    /// Above zero.
    #[must_use]
    pub const fn is_positive(self) -> bool {
        self.0 > 0
    }

    /// The amount without its sign.
    #[must_use]
    pub fn abs(self) -> Credits {
        Credits(self.0.saturating_abs())
    }

    /// Parses the text of a JSON number exactly, exponents included; trailing zeros do not count
    /// as places. Anything beyond 10^12 in size is `TooLarge`.
    ///
    /// # Errors
    /// Not a JSON number, too large, or finer than hundredths.
    pub fn parse(text: &str) -> Result<Self, CreditsError> {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (mantissa, exponent) = match digits.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, parse_exponent(exponent)?),
            None => (digits, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all = || whole.bytes().chain(fraction.bytes());
        if whole.is_empty() || !all().all(|digit| digit.is_ascii_digit()) {
            return Err(CreditsError::NotANumber);
        }
        let units = shifted(&format!("{whole}{fraction}"), exponent, fraction.len())?;
        Ok(Self(if negative {
            units.saturating_neg()
        } else {
            units
        }))
    }
}

/// The exponent of a JSON number; a size that no amount can have is cut to one that overflows.
fn parse_exponent(text: &str) -> Result<i64, CreditsError> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(CreditsError::NotANumber);
    }
    let size = digits.parse::<i64>().unwrap_or(i64::MAX).min(1_000_000);
    Ok(if text.starts_with('-') {
        size.saturating_neg()
    } else {
        size
    })
}

/// The digits times 10^(exponent - places), in hundredths.
fn shifted(digits: &str, exponent: i64, places: usize) -> Result<i64, CreditsError> {
    let significant = digits.trim_start_matches('0');
    let trimmed = significant.trim_end_matches('0');
    if trimmed.is_empty() {
        return Ok(0);
    }
    let count = |length: usize| i64::try_from(length).unwrap_or(i64::MAX);
    let zeros = count(significant.len()).saturating_sub(count(trimmed.len()));
    let power = exponent
        .saturating_sub(count(places))
        .saturating_add(zeros)
        .saturating_add(2);
    if power < 0 {
        return Err(CreditsError::TooFine);
    }
    let value = trimmed.parse::<i64>().map_err(|_| CreditsError::TooLarge)?;
    let scale = u32::try_from(power)
        .ok()
        .and_then(|power| 10_i64.checked_pow(power));
    scale
        .and_then(|scale| value.checked_mul(scale))
        .filter(|units| *units <= Credits::MAX_ACCOUNT.0)
        .ok_or(CreditsError::TooLarge)
}

const fn widen(number: u32) -> i64 {
    #[expect(
        clippy::as_conversions,
        reason = "u32 always fits i64; From is not const"
    )]
    let wide = number as i64;
    wide
}

// The sums below cannot overflow: an account is at most 10^14 units and a cycle adds at most one
// account's worth, so i64 holds more than 90,000 of them. `expect` turns the impossible into a
// loud stop instead of wrong books.

impl Add for Credits {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(
            self.0
                .checked_add(other.0)
                .expect("the sum of two amounts fits 64 bits"),
        )
    }
}

impl Sub for Credits {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        self.checked_sub(other)
            .expect("the caller has compared the amounts")
    }
}

impl Sum for Credits {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Add::add)
    }
}

impl Add for SignedCredits {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(
            self.0
                .checked_add(other.0)
                .expect("the sum of two balances fits 64 bits"),
        )
    }
}

impl Sub for SignedCredits {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self(
            self.0
                .checked_sub(other.0)
                .expect("the difference of two balances fits 64 bits"),
        )
    }
}

impl fmt::Display for SignedCredits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let size = self.0.unsigned_abs();
        let (whole, rest) = (size.checked_div(100), size.checked_rem(100));
        let (whole, rest) = (whole.unwrap_or_default(), rest.unwrap_or_default());
        match (rest, rest.checked_rem(10)) {
            (0, _) => write!(f, "{sign}{whole}"),
            (_, Some(0)) => write!(
                f,
                "{sign}{whole}.{}",
                rest.checked_div(10).unwrap_or_default()
            ),
            _ => write!(f, "{sign}{whole}.{rest:02}"),
        }
    }
}

impl fmt::Display for Credits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.signed().fmt(f)
    }
}

impl Serialize for SignedCredits {
    /// Whole credits as an integer, others as an exact decimal (JSON serializers only).
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match (self.0.checked_rem(UNITS), self.0.checked_div(UNITS)) {
            (Some(0), Some(whole)) => serializer.serialize_i64(whole),
            _ => RawValue::from_string(self.to_string())
                .map_err(S::Error::custom)?
                .serialize(serializer),
        }
    }
}

impl Serialize for Credits {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.signed().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for SignedCredits {
    /// Reads the number's own text, so nothing is lost to a float (JSON text only).
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?;
        Self::parse(raw.get()).map_err(D::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Credits {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let amount = SignedCredits::deserialize(deserializer)?;
        Self::from_units(amount.0).ok_or_else(|| D::Error::custom("must not be negative"))
    }
}

/// The smallest step a plan lets its pools debit or hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denomination {
    /// Whole credits, the default.
    One,
    /// Tenths, as before September 2025.
    Tenth,
    /// Hundredths.
    Hundredth,
}

/// How an amount that is no multiple of the denomination is brought to one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Round {
    /// To the next multiple above.
    Up,
    /// To the nearest multiple, halves up. What comes out as nothing is no amount to debit.
    Nearest,
}

words!(Round {
    Up => "up",
    Nearest => "nearest",
});

impl Denomination {
    /// The step in hundredths of a credit.
    #[must_use]
    pub const fn units(self) -> i64 {
        match self {
            Self::One => 100,
            Self::Tenth => 10,
            Self::Hundredth => 1,
        }
    }

    /// From hundredths; `None` for any other step.
    #[must_use]
    pub const fn from_units(units: i64) -> Option<Self> {
        match units {
            100 => Some(Self::One),
            10 => Some(Self::Tenth),
            1 => Some(Self::Hundredth),
            _ => None,
        }
    }

    /// The step as an amount.
    #[must_use]
    pub const fn step(self) -> Credits {
        Credits(self.units())
    }

    /// `amount` as a multiple of the step; `None` when it is none and no rounding was asked for.
    #[must_use]
    pub fn apply(self, amount: Credits, round: Option<Round>) -> Option<Credits> {
        let step = self.units();
        let over = amount.0.checked_rem(step)?;
        if over == 0 {
            return Some(amount);
        }
        let below = amount.0.checked_sub(over)?;
        let above = below.checked_add(step)?;
        let up = match round? {
            Round::Up => true,
            Round::Nearest => over.checked_mul(2)? >= step,
        };
        Some(Credits(if up { above } else { below }))
    }
}

impl Serialize for Denomination {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.step().serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<i64, CreditsError> {
        SignedCredits::parse(text).map(SignedCredits::units)
    }

    #[test]
    fn the_text_of_a_json_number_is_read_exactly() {
        let rows = [
            ("70", 7_000),
            ("0", 0),
            ("-0.05", -5),
            ("0.1", 10),
            ("1e2", 10_000),
            ("1.5E+1", 1_500),
            ("12e-1", 120),
            ("70.000", 7_000),
            ("100e-2", 100),
            ("0e999999999999999999", 0),
            ("1000000000000", 100_000_000_000_000),
        ];
        for (text, units) in rows {
            assert_eq!(parse(text), Ok(units), "{text}");
        }
    }

    #[test]
    fn what_is_no_amount_says_why() {
        let rows = [
            ("1.234", CreditsError::TooFine),
            ("1e-3", CreditsError::TooFine),
            ("1e-99999999999", CreditsError::TooFine),
            ("1000000000000.01", CreditsError::TooLarge),
            ("1e400", CreditsError::TooLarge),
            ("99999999999999999999999999", CreditsError::TooLarge),
            ("NaN", CreditsError::NotANumber),
            ("\"7\"", CreditsError::NotANumber),
            ("null", CreditsError::NotANumber),
            ("", CreditsError::NotANumber),
        ];
        for (text, error) in rows {
            assert_eq!(parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn amounts_are_written_as_the_shortest_exact_decimal() {
        for (units, text) in [(7_000, "70"), (7_050, "70.5"), (-5, "-0.05"), (1, "0.01")] {
            let json = serde_json::to_string(&SignedCredits::from_units(units));
            assert_eq!(json.expect("credits serialize"), text);
        }
    }

    #[test]
    fn a_request_names_between_a_hundredth_and_a_billion() {
        let requested = |units| Credits::requested(SignedCredits(units)).map(Credits::units);
        assert_eq!(requested(1), Ok(1));
        assert_eq!(requested(100_000_000_000), Ok(100_000_000_000));
        assert_eq!(requested(0), Err(CreditsError::NotPositive));
        assert_eq!(requested(-100), Err(CreditsError::NotPositive));
        assert_eq!(requested(100_000_000_001), Err(CreditsError::TooLarge));
    }

    #[test]
    fn the_denomination_refuses_or_rounds() {
        let rows = [
            (Denomination::One, 700, None, Some(700)),
            (Denomination::One, 750, None, None),
            (Denomination::One, 701, Some(Round::Up), Some(800)),
            (Denomination::One, 750, Some(Round::Nearest), Some(800)),
            (Denomination::One, 749, Some(Round::Nearest), Some(700)),
            (Denomination::One, 49, Some(Round::Nearest), Some(0)),
            (Denomination::Tenth, 75, None, None),
            (Denomination::Tenth, 70, None, Some(70)),
            (Denomination::Hundredth, 1, None, Some(1)),
        ];
        for (step, units, round, expected) in rows {
            let rounded = step.apply(Credits(units), round).map(Credits::units);
            assert_eq!(rounded, expected, "{step:?} {units} {round:?}");
        }
    }
}
