//! Encryption of what tenants entrust us with, so that the database alone gives no secret away.
//!
//! XChaCha20-Poly1305 under `SECRETS_KEY`: its nonce is long enough to be random each time. The
//! tenant is associated data: a secret that is copied to another tenant's row does not open.

use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};

use crate::config::{Secret, SecretsKey};
use crate::ledger::TenantId;

/// How long a nonce is; it lies before what it encrypts.
const NONCE_BYTES: usize = 24;

/// Encrypts a tenant's secret.
pub fn seal(key: &SecretsKey, tenant: TenantId, secret: &Secret) -> Vec<u8> {
    let nonce: [u8; NONCE_BYTES] = rand::random();
    let owner = tenant.uuid();
    let payload = Payload {
        msg: secret.expose().as_bytes(),
        aad: owner.as_bytes(),
    };
    let sealed = cipher(key)
        .encrypt(&XNonce::from(nonce), payload)
        .expect("a secret is far shorter than the cipher's limit");
    [nonce.as_slice(), &sealed].concat()
}

/// Decrypts a tenant's secret; `None` when it was encrypted with another key, for another tenant,
/// or changed.
pub fn open(key: &SecretsKey, tenant: TenantId, sealed: &[u8]) -> Option<Secret> {
    let (nonce, sealed) = sealed.split_first_chunk::<NONCE_BYTES>()?;
    let owner = tenant.uuid();
    let payload = Payload {
        msg: sealed,
        aad: owner.as_bytes(),
    };
    let plain = cipher(key).decrypt(&XNonce::from(*nonce), payload).ok()?;
    String::from_utf8(plain).ok().map(Secret::new)
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
        let sealed = seal(&mine, tenant(1), &secret);
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
    fn the_same_secret_looks_different_each_time_and_never_plain() {
        let key = key("MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=");
        let tenant = TenantId::from(Uuid::from_u128(1));
        let secret = Secret::new("whsec_abcdef");
        let (one, two) = (seal(&key, tenant, &secret), seal(&key, tenant, &secret));
        assert_ne!(one, two);
        assert!(!one.windows(6).any(|part| part == b"abcdef"));
    }
}
