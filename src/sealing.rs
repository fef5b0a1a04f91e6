//! Encryption of what tenants entrust us with, so that the database alone gives no secret away.
//!
//! XChaCha20-Poly1305 under `SECRETS_KEY`: its nonce is long enough to be random each time. The
//! tenant and what the secret is for are associated data: a secret that is copied to another
//! tenant's row, or to where another kind of secret lies, does not open.

use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};

use crate::config::{Secret, SecretsKey};
use crate::ledger::TenantId;

/// How long a nonce is; it lies before what it encrypts.
const NONCE_BYTES: usize = 24;

/// What a secret is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Reaching the tenant's payment provider.
    Payments,
    /// Signing the tenant's licences.
    Licenses,
}

/// Encrypts a tenant's secret.
///
/// # Panics
/// The secret is of gigabytes.
#[must_use]
pub fn seal(key: &SecretsKey, purpose: Purpose, tenant: TenantId, secret: &Secret) -> Vec<u8> {
    let nonce: [u8; NONCE_BYTES] = rand::random();
    let payload = Payload {
        msg: secret.expose().as_bytes(),
        aad: &purpose.bound_to(tenant),
    };
    let sealed = cipher(key)
        .encrypt(&XNonce::from(nonce), payload)
        .expect("a secret is far shorter than the cipher's limit");
    [nonce.as_slice(), &sealed].concat()
}

/// Decrypts a tenant's secret; `None` when it was encrypted with another key, for another tenant
/// or purpose, or changed.
#[must_use]
pub fn open(key: &SecretsKey, purpose: Purpose, tenant: TenantId, sealed: &[u8]) -> Option<Secret> {
    let (nonce, sealed) = sealed.split_first_chunk::<NONCE_BYTES>()?;
    let payload = Payload {
        msg: sealed,
        aad: &purpose.bound_to(tenant),
    };
    let plain = cipher(key).decrypt(&XNonce::from(*nonce), payload).ok()?;
    String::from_utf8(plain).ok().map(Secret::new)
}

impl Purpose {
    /// The associated data. Provider secrets were the first, and are bound to their tenant alone.
    fn bound_to(self, tenant: TenantId) -> Vec<u8> {
        let name: &[u8] = match self {
            Self::Payments => b"",
            Self::Licenses => b"licenses",
        };
        [tenant.uuid().as_bytes(), name].concat()
    }
}

fn cipher(key: &SecretsKey) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new(key.bytes().into())
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn key(text: &str) -> SecretsKey {
        text.parse().expect("a good key")
    }

    #[test]
    fn only_the_same_key_and_tenant_open_what_was_sealed() {
        let mine = key("MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=");
        let other = key("YWJjZGVmMDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODk=");
        let tenant = |number| TenantId::from(Uuid::from_u128(number));
        let secret = Secret::new("sk_test_123456");
        let sealed = seal(&mine, Purpose::Payments, tenant(1), &secret);
        let open = |key, tenant, sealed: &[u8]| open(key, Purpose::Payments, tenant, sealed);
        let opened = open(&mine, tenant(1), &sealed).expect("it opens");
        assert!(opened.matches("sk_test_123456"));
        assert!(open(&other, tenant(1), &sealed).is_none());
        assert!(open(&mine, tenant(2), &sealed).is_none());
        for position in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[position] ^= 1;
            assert!(open(&mine, tenant(1), &changed).is_none(), "{position}");
        }
        assert!(open(&mine, tenant(1), &sealed[..10]).is_none());
    }

    #[test]
    fn a_secret_opens_for_its_own_purpose_alone() {
        let key = key("MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=");
        let tenant = TenantId::from(Uuid::from_u128(1));
        let purposes = [Purpose::Payments, Purpose::Licenses];
        for (purpose, other) in purposes.into_iter().zip(purposes.into_iter().rev()) {
            let sealed = seal(&key, purpose, tenant, &Secret::new("secret"));
            assert!(open(&key, purpose, tenant, &sealed).is_some());
            assert!(open(&key, other, tenant, &sealed).is_none());
        }
    }

    #[test]
    fn provider_secrets_that_were_sealed_before_there_were_purposes_still_open() {
        let key = key("MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=");
        let owner = Uuid::from_u128(1);
        let (nonce, msg) = ([7; NONCE_BYTES], b"sk_test_123456".as_slice());
        let aad = owner.as_bytes();
        let old = cipher(&key).encrypt(&XNonce::from(nonce), Payload { msg, aad });
        let sealed = [nonce.as_slice(), &old.expect("it is short")].concat();
        let opened = open(&key, Purpose::Payments, TenantId::from(owner), &sealed);
        assert!(opened.expect("it opens").matches("sk_test_123456"));
    }

    #[test]
    fn the_same_secret_looks_different_each_time_and_never_plain() {
        let key = key("MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=");
        let tenant = TenantId::from(Uuid::from_u128(1));
        let secret = Secret::new("whsec_abcdef");
        let seal = || seal(&key, Purpose::Payments, tenant, &secret);
        let (one, two) = (seal(), seal());
        assert_ne!(one, two);
        assert!(!one.windows(6).any(|part| part == b"abcdef"));
    }
}
