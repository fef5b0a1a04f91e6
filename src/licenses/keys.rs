//! A tenant's signing keys: one signs, earlier ones still verify until they are distrusted.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use uuid::Uuid;

use super::{LicenseError, Licenses, ed25519};
use crate::config::{Secret, SecretsKey};
use crate::ledger::TenantId;
use crate::sealing::{self, Purpose};
use crate::store::{LicenseKeyRecord, NewLicenseKey};

/// The most signing keys of a tenant.
const MOST_KEYS: usize = 100;
/// How often a rotation gives way to others.
const ATTEMPTS: usize = 5;

/// A private key, and the name it signs under.
pub struct SigningKey {
    pub kid: Uuid,
    /// PKCS #8.
    pub private: Vec<u8>,
}

impl Licenses {
    /// A tenant's signing keys without their private halves, newest first.
    ///
    /// # Errors
    /// The database is away.
    pub async fn keys(&self, tenant: TenantId) -> Result<Vec<LicenseKeyRecord>, LicenseError> {
        Ok(self.store.license_keys(tenant).await?)
    }

    /// Makes a new signing key; the one before it still verifies.
    ///
    /// # Errors
    /// This service has no key to encrypt it with, there are too many, or the database is away.
    pub async fn rotate(&self, tenant: TenantId) -> Result<LicenseKeyRecord, LicenseError> {
        let secrets_key = self.secrets_key()?;
        if self.store.license_keys(tenant).await?.len() >= MOST_KEYS {
            return Err(LicenseError::TooManyKeys { maximum: MOST_KEYS });
        }
        for _ in 0..ATTEMPTS {
            let (new, _) = self.new_key(secrets_key, tenant);
            if self.store.replace_license_key(tenant, &new).await? {
                return Ok(new.into());
            }
        }
        Err(LicenseError::Busy)
    }

    /// Takes the trust from a signing key: what it has signed is not applied any more. Tells
    /// whether there was one.
    ///
    /// # Errors
    /// The database is away.
    pub async fn distrust(&self, tenant: TenantId, kid: Uuid) -> Result<bool, LicenseError> {
        Ok(self.store.delete_license_key(tenant, kid).await?)
    }

    /// The key that signs now; the first time, and after it was distrusted, a new one.
    pub(super) async fn signing_key(&self, tenant: TenantId) -> Result<SigningKey, LicenseError> {
        let secrets_key = self.secrets_key()?;
        if let Some(current) = self.current(secrets_key, tenant).await? {
            return Ok(current);
        }
        let (new, made) = self.new_key(secrets_key, tenant);
        if self.store.insert_license_key(tenant, &new).await? {
            return Ok(made);
        }
        // Another replica was first.
        let current = self.current(secrets_key, tenant).await?;
        current.ok_or(LicenseError::Busy)
    }

    async fn current(
        &self,
        secrets_key: &SecretsKey,
        tenant: TenantId,
    ) -> Result<Option<SigningKey>, LicenseError> {
        let Some((kid, sealed)) = self.store.current_license_key(tenant).await? else {
            return Ok(None);
        };
        let opened = sealing::open(secrets_key, Purpose::Licenses, tenant, &sealed);
        let private = opened.and_then(|secret| STANDARD.decode(secret.expose()).ok());
        let private = private.ok_or(LicenseError::Sealed { tenant })?;
        Ok(Some(SigningKey { kid, private }))
    }

    fn new_key(&self, secrets_key: &SecretsKey, tenant: TenantId) -> (NewLicenseKey, SigningKey) {
        let (private, public_key) = ed25519::generate();
        let secret = Secret::new(STANDARD.encode(&private));
        let kid = Uuid::now_v7();
        let new = NewLicenseKey {
            kid,
            public_key,
            private_key: sealing::seal(secrets_key, Purpose::Licenses, tenant, &secret),
            created_at: self.clock.now(),
        };
        (new, SigningKey { kid, private })
    }

    fn secrets_key(&self) -> Result<&SecretsKey, LicenseError> {
        self.secrets_key.as_ref().ok_or(LicenseError::NotConfigured)
    }
}
