//! The hash chain's link and the fingerprint of a request, and the canonical bytes under both.

use std::fmt;

use sha2::{Digest, Sha256};
use uuid::Uuid;
use uuid::fmt::Hyphenated;

/// The hash of a journal entry, which covers the hash before it (invariant chained).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Hash([u8; 32]);

impl Hash {
    /// What the first entry of a pool is chained to.
    pub const GENESIS: Self = Self([0; 32]);

    /// The raw bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// From stored bytes; `None` when there are not 32.
    #[must_use]
    pub fn from_stored(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hash({self})")
    }
}

/// What a request asked for, in 16 bytes: the same key with another fingerprint is a conflict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint([u8; 16]);

impl Fingerprint {
    /// The raw bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// From stored bytes; `None` when there are not 16.
    #[must_use]
    pub fn from_stored(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

/// Hashes fields one after another so that no two lists of fields give the same bytes: each is
/// preceded by its length, an absent one is marked.
pub struct Canonical(Vec<u8>);

/// What most forms fit in: one allocation, and one pass of the hash over all of it.
const USUAL_BYTES: usize = 512;

impl Canonical {
    /// Starts a form; `name` keeps different forms apart.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self(Vec::with_capacity(USUAL_BYTES)).bytes(name.as_bytes())
    }

    /// A field of bytes.
    #[must_use]
    pub fn bytes(mut self, bytes: &[u8]) -> Self {
        let length = u64::try_from(bytes.len()).expect("a length fits 64 bits");
        self.0.extend_from_slice(&length.to_be_bytes());
        self.0.extend_from_slice(bytes);
        self
    }

    /// A field of text that may be absent.
    #[must_use]
    pub fn text(mut self, text: Option<&str>) -> Self {
        match text {
            Some(text) => self.bytes(text.as_bytes()),
            None => {
                self.0.extend_from_slice(&[0xff; 8]);
                self
            }
        }
    }

    /// A field of a UUID's text that may be absent.
    #[must_use]
    pub fn uuid(self, id: Option<Uuid>) -> Self {
        let mut text = [0; Hyphenated::LENGTH];
        self.text(id.map(|id| &*id.hyphenated().encode_lower(&mut text)))
    }

    /// A field of one number.
    #[must_use]
    pub fn number(mut self, number: i64) -> Self {
        self.0.extend_from_slice(&number.to_be_bytes());
        self
    }

    /// A number that may be absent.
    #[must_use]
    pub fn optional(self, number: Option<i64>) -> Self {
        match number {
            Some(number) => self.number(1).number(number),
            None => self.number(0),
        }
    }

    /// The link of the chain.
    #[must_use]
    pub fn hash(self) -> Hash {
        Hash(Sha256::digest(self.0).into())
    }

    /// The short form for a request.
    #[must_use]
    pub fn fingerprint(self) -> Fingerprint {
        let Hash(bytes) = self.hash();
        let mut short = [0; 16];
        short.copy_from_slice(&bytes[..16]);
        Fingerprint(short)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_do_not_run_into_each_other() {
        let form = |parts: [Option<&str>; 2]| {
            parts
                .into_iter()
                .fold(Canonical::new("t"), Canonical::text)
                .hash()
        };
        assert_ne!(form([Some("ab"), Some("c")]), form([Some("a"), Some("bc")]));
        assert_ne!(form([None, Some("")]), form([Some(""), None]));
        assert_eq!(form([Some("a"), None]), form([Some("a"), None]));
        assert_ne!(Canonical::new("a").hash(), Canonical::new("b").hash());
    }
}
