//! Values that bodies are made of and that serde's own types would read too loosely.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Unexpected, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Number, Value};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{AdditionalProperties, ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use crate::ledger::{Credits, CreditsError, Metadata, Patch, SignedCredits, TextError};

/// A JSON number of credits. Any number is taken here, exactly, and what is wrong with it is kept:
/// so a request with several bad fields can be told all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Amount(Result<SignedCredits, CreditsError>);

impl Amount {
    /// As credits that a request may name: above 0, at most 10^9.
    ///
    /// # Errors
    /// The rule it breaks.
    pub fn requested(self) -> Result<Credits, CreditsError> {
        self.0.and_then(Credits::requested)
    }

    /// As credits to give (above 0) or take (below 0), at most 10^9 either way.
    ///
    /// # Errors
    /// The rule it breaks.
    pub fn signed(self) -> Result<SignedCredits, String> {
        let amount = self.0.map_err(|error| error.to_string())?;
        match Credits::requested(amount.abs().signed()) {
            Ok(_) => Ok(amount),
            Err(CreditsError::NotPositive) => Err("must not be 0".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// As a figure to compare balances with.
    ///
    /// # Errors
    /// The rule it breaks.
    pub fn balance(self) -> Result<SignedCredits, CreditsError> {
        self.0
    }
}

impl From<Credits> for Amount {
    fn from(credits: Credits) -> Self {
        Self(Ok(credits.signed()))
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?.get();
        let other = match raw.as_bytes().first() {
            Some(b'-' | b'0'..=b'9') => return Ok(Self(SignedCredits::parse(raw))),
            Some(b'"') => "a string",
            Some(b'{') => "an object",
            Some(b'[') => "an array",
            Some(b'n') => "null",
            _ => "a boolean",
        };
        Err(de::Error::invalid_type(
            Unexpected::Other(other),
            &"a number of credits",
        ))
    }
}

impl PartialSchema for Amount {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::Number)
            .description(Some(
                "Credits, an exact decimal with at most two places; above 0, at most 1000000000.",
            ))
            .into()
    }
}

impl ToSchema for Amount {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("Amount")
    }
}

/// A JSON object of the client's own. A key that is there twice is an error, at any depth.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetadataBody(Map<String, Value>);

impl TryFrom<MetadataBody> for Metadata {
    type Error = TextError;

    fn try_from(body: MetadataBody) -> Result<Self, TextError> {
        Self::new(&body.0)
    }
}

impl<'de> Deserialize<'de> for MetadataBody {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor).map(Self)
    }
}

impl PartialSchema for MetadataBody {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::Object)
            .additional_properties(Some(AdditionalProperties::FreeForm(true)))
            .description(Some(
                "The client's own: up to 50 keys and 4096 bytes of JSON.",
            ))
            .into()
    }
}

impl ToSchema for MetadataBody {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("Metadata")
    }
}

/// A value that is only read from a JSON object. serde's own structs are also read from an array
/// of their fields, in an order that is nobody's business.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Object<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer
            .deserialize_map(OnlyObject(PhantomData))
            .map(Self)
    }
}

struct OnlyObject<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for OnlyObject<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, access: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(access))
    }
}

struct ObjectVisitor;

impl<'de> Visitor<'de> for ObjectVisitor {
    type Value = Map<String, Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            if object.contains_key(&key) {
                let message = format_args!("duplicate field `{key}`");
                return Err(de::Error::custom(message));
            }
            let value = access.next_value_seed(Strict)?;
            object.insert(key, value);
        }
        Ok(object)
    }
}

/// Reads any JSON value in which no object has a key twice.
struct Strict;

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        let number = Number::from_f64(value).map(Value::Number);
        number.ok_or_else(|| E::invalid_value(Unexpected::Float(value), &self))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = access.next_element_seed(Strict)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, access: A) -> Result<Value, A::Error> {
        ObjectVisitor.visit_map(access).map(Value::Object)
    }
}

/// A field that may be left out, `null`, or a value: for
/// `#[serde(default, deserialize_with = "patch")]`.
///
/// # Errors
/// The value is not a `T`.
pub fn patch<'de, T, D>(deserializer: D) -> Result<Patch<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    Option::deserialize(deserializer).map(|value| value.map_or(Patch::Clear, Patch::Set))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn amount(text: &str) -> Amount {
        serde_json::from_str(text).expect("a JSON number")
    }

    #[test]
    fn an_amount_takes_any_number_and_says_later_what_is_wrong() {
        let units = |text| amount(text).requested().map(Credits::units);
        assert_eq!(units("1e2"), Ok(10_000));
        assert_eq!(units("0.01"), Ok(1));
        assert_eq!(units("1.005"), Err(CreditsError::TooFine));
        assert_eq!(units("0"), Err(CreditsError::NotPositive));
        assert_eq!(units("-1"), Err(CreditsError::NotPositive));
        assert_eq!(units("1e400"), Err(CreditsError::TooLarge));
        assert_eq!(units("1000000000.01"), Err(CreditsError::TooLarge));
    }

    #[test]
    fn a_signed_amount_may_be_negative_but_not_zero_or_too_large() {
        let units = |text| amount(text).signed().map(SignedCredits::units);
        assert_eq!(units("-12.5"), Ok(-1_250));
        assert_eq!(units("12.5"), Ok(1_250));
        assert_eq!(units("0"), Err("must not be 0".to_owned()));
        assert_eq!(
            units("-1000000001"),
            Err(CreditsError::TooLarge.to_string())
        );
    }

    #[test]
    fn metadata_keeps_values_as_they_are() {
        let text = r#"{"a":[1,-2,0.5,true,null,"x"],"b":{"c":18446744073709551615}}"#;
        let body: MetadataBody = serde_json::from_str(text).expect("an object");
        assert_eq!(
            Metadata::try_from(body).expect("good metadata").as_str(),
            text
        );
    }

    #[test]
    fn a_patch_tells_null_from_absent() {
        #[derive(Deserialize)]
        struct Sample {
            #[serde(default, deserialize_with = "patch")]
            field: Patch<u8>,
        }
        let read = |text| {
            serde_json::from_str::<Sample>(text)
                .expect("a sample")
                .field
        };
        assert_eq!(read("{}"), Patch::Keep);
        assert_eq!(read(r#"{"field":null}"#), Patch::Clear);
        assert_eq!(read(r#"{"field":7}"#), Patch::Set(7));
    }
}
