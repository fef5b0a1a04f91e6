//! Times as clients see them: RFC 3339, answered in UTC with milliseconds and `Z`.
//!
//! Every instant that enters comes through here, so past this file all are whole milliseconds in
//! the years 1970 to 9999.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Datelike, NaiveDate, TimeDelta, Timelike};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, Schema, SchemaFormat, Type};
use utoipa::{PartialSchema, ToSchema};

use crate::ledger::Time;

/// An instant in JSON and in queries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp(pub Time);

/// An instant, or a date that means the end of that UTC day: its last millisecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DayEnd(pub Time);

/// Why a text is no time. The message reads after the field's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StampError {
    /// Not RFC 3339.
    #[error("must be an RFC 3339 time such as 2026-01-31T10:00:00.000Z")]
    Format,
    /// Outside of the years that are kept.
    #[error("must be in the years 1970 to 9999")]
    Year,
}

impl FromStr for Stamp {
    type Err = StampError;

    fn from_str(text: &str) -> Result<Self, StampError> {
        let at = DateTime::parse_from_rfc3339(text).map_err(|_| StampError::Format)?;
        let cut = DateTime::from_timestamp_millis(at.timestamp_millis()).ok_or(StampError::Year)?;
        if (1970..=9999).contains(&cut.year()) {
            Ok(Self(cut))
        } else {
            Err(StampError::Year)
        }
    }
}

impl FromStr for DayEnd {
    type Err = StampError;

    fn from_str(text: &str) -> Result<Self, StampError> {
        let Ok(day) = text.parse::<NaiveDate>() else {
            return text.parse().map(|Stamp(at)| Self(at));
        };
        let next = day.succ_opt().and_then(|next| next.and_hms_opt(0, 0, 0));
        let end = next.ok_or(StampError::Year)?.and_utc() - TimeDelta::milliseconds(1);
        if (1970..=9999).contains(&end.year()) {
            Ok(Self(end))
        } else {
            Err(StampError::Year)
        }
    }
}

impl From<Time> for Stamp {
    fn from(at: Time) -> Self {
        Self(at)
    }
}

impl From<Stamp> for Time {
    fn from(Stamp(at): Stamp) -> Self {
        at
    }
}

impl From<DayEnd> for Time {
    fn from(DayEnd(at): DayEnd) -> Self {
        at
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Text::of(*self).as_str())
    }
}

/// `2026-01-31T10:00:00.000Z`: written by hand, since an answer has up to six of them.
struct Text([u8; 24]);

impl Text {
    fn of(Stamp(at): Stamp) -> Self {
        let mut text = *b"0000-00-00T00:00:00.000Z";
        let mut put = |end: usize, number: u32| {
            let mut rest = number;
            for place in (0..end).rev() {
                if !text[place].is_ascii_digit() {
                    break;
                }
                text[place] = b'0' + u8::try_from(rest % 10).unwrap_or_default();
                rest /= 10;
            }
        };
        put(4, u32::try_from(at.year()).unwrap_or_default());
        put(7, at.month());
        put(10, at.day());
        put(13, at.hour());
        put(16, at.minute());
        put(19, at.second());
        put(23, at.timestamp_subsec_millis());
        Self(text)
    }

    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl Serialize for Stamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(Text::of(*self).as_str())
    }
}

impl<'de> Deserialize<'de> for Stamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<str>::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for DayEnd {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<str>::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

impl PartialSchema for Stamp {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
            .description(Some(
                "RFC 3339. Answered in UTC with milliseconds and `Z`; other offsets are \
                 converted, finer parts cut off. Years 1970 to 9999.",
            ))
            .into()
    }
}

impl ToSchema for Stamp {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("Time")
    }
}

impl PartialSchema for DayEnd {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some(
                "RFC 3339; a date without a time means the last millisecond of that UTC day.",
            ))
            .into()
    }
}

impl ToSchema for DayEnd {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("TimeOrDay")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_converted_to_utc_and_cut_to_milliseconds() {
        let rows = [
            ("2026-01-31T10:00:00Z", "2026-01-31T10:00:00.000Z"),
            (
                "2026-01-31T10:00:00.123999+02:00",
                "2026-01-31T08:00:00.123Z",
            ),
            ("2026-01-31t10:00:00z", "2026-01-31T10:00:00.000Z"),
            ("9999-12-31T23:59:59.9999Z", "9999-12-31T23:59:59.999Z"),
            ("1970-01-01T00:00:00Z", "1970-01-01T00:00:00.000Z"),
        ];
        for (text, shown) in rows {
            assert_eq!(text.parse::<Stamp>().expect(text).to_string(), shown);
        }
    }

    #[test]
    fn every_instant_is_written_as_the_library_writes_it() {
        let last = "9999-12-31T23:59:59.999Z".parse::<Stamp>().expect("a time");
        let span = last.0.timestamp_millis();
        for step in 0..5_000 {
            // Every digit changes on the way.
            let at = DateTime::from_timestamp_millis(span / 5_000 * step + step % 1_000);
            let at = at.expect("a time");
            let expected = at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
            assert_eq!(Stamp(at).to_string(), expected);
        }
    }

    #[test]
    fn what_is_no_time_says_why() {
        let rows = [
            ("", StampError::Format),
            ("yesterday", StampError::Format),
            ("2026-01-31", StampError::Format),
            ("2026-01-31T10:00:00", StampError::Format),
            ("2026-02-30T10:00:00Z", StampError::Format),
            ("1969-12-31T23:59:59Z", StampError::Year),
            ("9999-12-31T23:59:59-01:00", StampError::Year),
        ];
        for (text, error) in rows {
            assert_eq!(text.parse::<Stamp>(), Err(error), "{text:?}");
        }
    }

    #[test]
    fn a_date_without_a_time_is_the_end_of_that_day() {
        let end = |text: &str| text.parse().map(|DayEnd(at)| Stamp(at).to_string());
        assert_eq!(end("2027-01-31").as_deref(), Ok("2027-01-31T23:59:59.999Z"));
        assert_eq!(
            end("2027-01-31T10:00:00Z").as_deref(),
            Ok("2027-01-31T10:00:00.000Z")
        );
        assert_eq!(end("1969-01-01"), Err(StampError::Year));
        assert_eq!(end("soon"), Err(StampError::Format));
    }
}
