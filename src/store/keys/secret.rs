//! The secret of a key, as clients send it and as scanners find it:
//! `cl_(live|test)_[0-9A-Za-z]{38}`.
//!
//! The first 32 characters are random, about 190 bits; the last 6 are the CRC-32 of everything
//! before them in base 62, so that a scanner, and the service, can tell a key from something that
//! only looks like one without asking the database. Only a SHA-256 hash is kept: with so many
//! random bits a slow hash would protect nothing more.

use std::fmt;

use rand::RngExt;
use sha2::{Digest, Sha256};

use crate::store::TenantMode;

const RANDOM_CHARS: usize = 32;
const CHECKSUM_CHARS: usize = 6;
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The secret of a new key, shown once.
#[derive(Clone)]
pub struct KeySecret(String);

/// What is kept of a secret.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SecretHash([u8; 32]);

impl KeySecret {
    /// A new secret for a tenant of this mode.
    #[must_use]
    pub fn generate(mode: TenantMode) -> Self {
        let mut text = String::with_capacity(64);
        text.push_str(prefix(mode));
        let mut random = rand::rng();
        for _ in 0..RANDOM_CHARS {
            text.push(digit(random.random_range(0..ALPHABET.len())));
        }
        let checksum = checksum(&text);
        text.push_str(&checksum);
        Self(text)
    }

    /// The secret itself, to be shown to whoever asked for the key.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What is kept of it.
    #[must_use]
    pub fn hash(&self) -> SecretHash {
        SecretHash::digest(&self.0)
    }
}

impl SecretHash {
    /// The hash of a text that a client sent; `None` when it cannot be a key of ours.
    #[must_use]
    pub fn of(text: &str) -> Option<Self> {
        let random = text
            .strip_prefix("cl_live_")
            .or_else(|| text.strip_prefix("cl_test_"))?;
        let good = |byte: u8| byte.is_ascii_alphanumeric();
        if random.len() != RANDOM_CHARS + CHECKSUM_CHARS || !random.bytes().all(good) {
            return None;
        }
        let (body, given) = text.split_at(text.len() - CHECKSUM_CHARS);
        // No secret is compared here: a checksum proves nothing but that this is meant as a key.
        (checksum(body) == given).then(|| Self::digest(text))
    }

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

    fn digest(text: &str) -> Self {
        Self(Sha256::digest(text).into())
    }
}

impl fmt::Debug for KeySecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeySecret(hidden)")
    }
}

impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretHash(hidden)")
    }
}

const fn prefix(mode: TenantMode) -> &'static str {
    match mode {
        TenantMode::Live => "cl_live_",
        TenantMode::Sandbox => "cl_test_",
    }
}

/// A digit of base 62.
fn digit(value: usize) -> char {
    char::from(ALPHABET[value % ALPHABET.len()])
}

/// The CRC-32 of a text as six digits of base 62, the highest first.
fn checksum(text: &str) -> String {
    let mut rest = usize::try_from(crc32fast::hash(text.as_bytes())).unwrap_or_default();
    let mut digits = ['0'; CHECKSUM_CHARS];
    for place in digits.iter_mut().rev() {
        *place = digit(rest % ALPHABET.len());
        rest /= ALPHABET.len();
    }
    digits.iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_secret_is_recognised_and_each_is_another() {
        let live = KeySecret::generate(TenantMode::Live);
        let test = KeySecret::generate(TenantMode::Sandbox);
        assert!(live.expose().starts_with("cl_live_") && live.expose().len() == 46);
        assert!(test.expose().starts_with("cl_test_"));
        assert_eq!(SecretHash::of(live.expose()), Some(live.hash()));
        assert_ne!(live.hash(), KeySecret::generate(TenantMode::Live).hash());
    }

    #[test]
    fn the_format_is_fixed() {
        let known = format!("cl_live_{}", "0".repeat(32));
        assert_eq!(checksum(&known), "1QbQWO");
    }

    #[test]
    fn what_is_mistyped_is_no_key() {
        let secret = KeySecret::generate(TenantMode::Live);
        let text = secret.expose();
        let last = if text.ends_with('0') { "1" } else { "0" };
        let wrong_end = format!("{}{last}", &text[..45]);
        let wrong_mode = text.replace("live", "test");
        let wrong_char = format!("{}-{}", &text[..20], &text[21..]);
        let longer = format!("{text}0");
        for bad in [
            "",
            "cl_live_",
            &text[..45],
            &wrong_end,
            &wrong_mode,
            &wrong_char,
            &longer,
        ] {
            assert_eq!(SecretHash::of(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_secret_does_not_show_itself() {
        let secret = KeySecret::generate(TenantMode::Live);
        assert_eq!(
            format!("{secret:?}{:?}", secret.hash()),
            "KeySecret(hidden)SecretHash(hidden)"
        );
    }
}
