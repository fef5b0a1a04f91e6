//! Texts that clients send, parsed once at the edge: labels, reasons, keys, metadata.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Why a text is refused. The message reads after the field's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// See [`super::PoolName`].
    #[error("must be workspace:<id> or instance:<id>, the id 1 to 128 of A-Z a-z 0-9 . _ -")]
    PoolName,
    /// See [`Label`].
    #[error("must be 1 to 128 printable characters")]
    Label,
    /// See [`Reason`].
    #[error("must be 1 to 500 characters, without control characters")]
    Reason,
    /// See [`Code`].
    #[error("must be 1 to 64 of a-z 0-9 _ - .")]
    Code,
    /// See [`PromoCode`].
    #[error("must be 1 to 64 of A-Z a-z 0-9 . _ -")]
    PromoCode,
    /// See [`IdempotencyKey`].
    #[error("must be 1 to 255 printable ASCII characters")]
    IdempotencyKey,
    /// More keys than [`Metadata::MAX_KEYS`].
    #[error("must have at most 50 keys")]
    MetadataKeys,
    /// Longer than [`Metadata::MAX_BYTES`].
    #[error("must be at most 4096 bytes of JSON")]
    MetadataSize,
    /// A NUL character, which the database cannot keep.
    #[error("must not contain the character U+0000")]
    MetadataNul,
}

macro_rules! text {
    ($(#[$doc:meta])* $name:ident, $error:expr, $max:expr, $good:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        // Shared: a label is copied on its way from the request to the journal.
        pub struct $name(Arc<str>);

        impl $name {
            /// The text itself.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = TextError;

            fn try_from(text: String) -> Result<Self, TextError> {
                let good: fn(char) -> bool = $good;
                let fits = !text.is_empty() && text.chars().count() <= $max;
                if fits && text.chars().all(good) { Ok(Self(text.into())) } else { Err($error) }
            }
        }

        impl FromStr for $name {
            type Err = TextError;

            fn from_str(text: &str) -> Result<Self, TextError> {
                Self::try_from(text.to_owned())
            }
        }

        impl From<$name> for String {
            fn from(text: $name) -> Self {
                text.0.as_ref().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text!(
    /// A client's own reference: user, workspace, run, model, payment. 1–128 printable characters.
    Label,
    TextError::Label,
    128,
    |c| !c.is_control()
);
text!(
    /// Why a person did it: 1–500 characters.
    Reason,
    TextError::Reason,
    500,
    |c| !c.is_control() || c == '\n' || c == '\t'
);
text!(
    /// The code of a plan or an operation: 1–64 of `a-z 0-9 _ - .`.
    Code,
    TextError::Code,
    64,
    |c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-' | '.')
);
text!(
    /// What a customer types in to pay less: 1–64 of `A-Z a-z 0-9 . _ -`, as it is written.
    PromoCode,
    TextError::PromoCode,
    64,
    |c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')
);
text!(
    /// What makes a retry safe: 1–255 printable ASCII characters, good for its pool, for ever.
    IdempotencyKey,
    TextError::IdempotencyKey,
    255,
    |c| matches!(c, ' '..='~')
);

/// A client's JSON object, kept as compact JSON text: it is never looked into.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Metadata(Box<str>);

impl Metadata {
    /// The most keys of the object.
    pub const MAX_KEYS: usize = 50;
    /// The most bytes of its JSON text.
    pub const MAX_BYTES: usize = 4096;

    /// From a parsed object.
    ///
    /// # Errors
    /// Too many keys, too long, or not storable.
    pub fn new(object: &serde_json::Map<String, serde_json::Value>) -> Result<Self, TextError> {
        if object.len() > Self::MAX_KEYS {
            return Err(TextError::MetadataKeys);
        }
        let text = serde_json::to_string(object).expect("a JSON object has a text");
        if text.len() > Self::MAX_BYTES {
            return Err(TextError::MetadataSize);
        }
        if text.contains("\\u0000") {
            return Err(TextError::MetadataNul);
        }
        Ok(Self(text.into()))
    }

    /// From text that was stored.
    #[must_use]
    pub fn stored(text: String) -> Self {
        Self(text.into())
    }

    /// The JSON text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_hold_their_bounds() {
        let long = "x".repeat(129);
        assert!("u-1".parse::<Label>().is_ok() && "Ünï ☃".parse::<Label>().is_ok());
        for bad in ["", "a\0", "a\nb", &long] {
            assert_eq!(bad.parse::<Label>(), Err(TextError::Label), "{bad:?}");
        }
        assert!("x".repeat(255).parse::<IdempotencyKey>().is_ok());
        for bad in ["", "ü", "a\tb", &"x".repeat(256)] {
            assert_eq!(
                bad.parse::<IdempotencyKey>(),
                Err(TextError::IdempotencyKey),
                "{bad:?}"
            );
        }
        assert!("app_generation".parse::<Code>().is_ok());
        assert_eq!("App".parse::<Code>(), Err(TextError::Code));
        assert!("Launch-20".parse::<PromoCode>().is_ok());
        assert_eq!("20 %".parse::<PromoCode>(), Err(TextError::PromoCode));
        assert!("x".repeat(500).parse::<Reason>().is_ok());
        assert_eq!("x".repeat(501).parse::<Reason>(), Err(TextError::Reason));
    }

    #[test]
    fn metadata_is_bounded() {
        let keys = |count: usize| (0..count).map(|n| (n.to_string(), n.into())).collect();
        assert!(Metadata::new(&keys(50)).is_ok());
        assert_eq!(Metadata::new(&keys(51)), Err(TextError::MetadataKeys));
        let mut big = serde_json::Map::new();
        big.insert("a".into(), "x".repeat(4096).into());
        assert_eq!(Metadata::new(&big), Err(TextError::MetadataSize));
        let mut nul = serde_json::Map::new();
        nul.insert("a".into(), "\0".into());
        assert_eq!(Metadata::new(&nul), Err(TextError::MetadataNul));
    }
}
