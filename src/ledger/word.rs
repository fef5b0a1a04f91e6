//! Enums that are words in JSON: written as the word, read from a string and nothing else. serde's
//! own derive would also read a word from an object or, with an unclear error, from a number.

/// A text that is none of an enum's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be one of {0}")]
pub struct UnknownWord(pub String);

macro_rules! words {
    ($name:ident { $($variant:ident => $word:literal,)+ }) => {
        impl $name {
            /// The word in JSON.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = $crate::ledger::UnknownWord;

            fn try_from(text: String) -> Result<Self, $crate::ledger::UnknownWord> {
                match text.as_str() {
                    $($word => Ok(Self::$variant),)+
                    _ => Err($crate::ledger::UnknownWord([$($word),+].join(", "))),
                }
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }
    };
}
