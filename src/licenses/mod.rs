//! Licence keys: issued and signed for a tenant's self-hosted customers, and believed again.
//!
//! A key carries all that its licence says, so believing one takes the tenant's public keys alone.
//! The key itself is shown once and kept nowhere; its fingerprint stands for it. What a licence
//! does to a pool is the ledger's to say. No SQL lives here, and no status code.

mod ed25519;
mod issue;
mod keys;
mod token;

use crate::clock::Clock;
use crate::config::{Secret, SecretsKey};
use crate::ledger::{Refusal, SignedLicense, TenantId};
use crate::store::{Store, StoreError};
use token::TokenError;

pub use issue::{Issued, Order};
pub use token::Claims;

/// What licences are issued and believed with. Clones share it.
#[derive(Clone)]
pub struct Licenses {
    store: Store,
    clock: Clock,
    secrets_key: Option<SecretsKey>,
}

/// Why a licence was not issued or is not believed. None of them repeats a key.
#[derive(Debug, thiserror::Error)]
pub enum LicenseError {
    /// The database is away, or what it has is corrupt.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Its terms are not possible.
    #[error("refused: {0}")]
    Refused(Refusal),
    /// The service has no key to encrypt signing keys with.
    #[error("the service has no SECRETS_KEY to encrypt signing keys with")]
    NotConfigured,
    /// The signing key was encrypted with another key than this service has.
    #[error("the signing key of tenant {tenant} does not open with this SECRETS_KEY")]
    Sealed {
        /// Whose signing key.
        tenant: TenantId,
    },
    /// Others change the tenant's signing keys at this moment.
    #[error("the tenant's signing keys are changing at this moment; try again")]
    Busy,
    /// As many signing keys as may be.
    #[error("there are {maximum} signing keys, and may be no more: delete old ones")]
    TooManyKeys {
        /// The most.
        maximum: usize,
    },
    /// What is to be signed makes a key that is too long.
    #[error("the licence says too much for one key")]
    TooLong,
    /// The text is no licence key.
    #[error("this is no licence key of this service")]
    Malformed,
    /// The text looks like a licence key, but no key that the tenant trusts has signed it.
    #[error("no key that is trusted here has signed this licence")]
    Signature,
}

impl From<TokenError> for LicenseError {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::Malformed => Self::Malformed,
            TokenError::Signature => Self::Signature,
        }
    }
}

impl Licenses {
    /// Licences on these parts.
    #[must_use]
    pub fn new(store: Store, clock: Clock, secrets_key: Option<SecretsKey>) -> Self {
        Self {
            store,
            clock,
            secrets_key,
        }
    }

    /// What a licence key says, if a key that the tenant trusts has signed it.
    ///
    /// # Errors
    /// The text is no licence key, or its signature is not good.
    pub async fn believe(
        &self,
        tenant: TenantId,
        key: &Secret,
    ) -> Result<SignedLicense, LicenseError> {
        let kid = token::kid_of(key)?;
        let public = self.store.license_public_key(tenant, kid).await?;
        let public = public.ok_or(LicenseError::Signature)?;
        let claims = token::verify(key, &public)?;
        Ok(claims.into_license(token::fingerprint(key)))
    }
}
