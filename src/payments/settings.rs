//! How a tenant's Stripe account is reached: stored encrypted, opened only to be used.

use super::{PaymentError, Payments};
use crate::config::{Secret, SecretsKey};
use crate::ledger::{Patch, TenantId, Time};
use crate::sealing::{self, Purpose};
use crate::store::SealedStripeSettings;

/// A tenant's Stripe settings, decrypted. `Debug` hides the secrets.
#[derive(Clone, Debug)]
pub struct StripeSettings {
    /// The key that Stripe is asked with; without it there are no checkouts.
    pub api_key: Option<Secret>,
    /// What Stripe's events are signed with: several while one is rotated.
    pub webhook_secrets: Vec<Secret>,
    /// When they were last changed.
    pub updated_at: Time,
}

/// Stripe settings as they are to be.
#[derive(Clone, Debug)]
pub struct PutStripeSettings {
    /// The key that Stripe is asked with.
    pub api_key: Patch<Secret>,
    /// What Stripe's events are signed with.
    pub webhook_secrets: Vec<Secret>,
}

impl Payments {
    /// A tenant's Stripe settings, if it has any.
    ///
    /// # Errors
    /// The database is away; or there are settings, but this service has no key to open them, or
    /// another one.
    pub async fn stripe_settings(
        &self,
        tenant: TenantId,
    ) -> Result<Option<StripeSettings>, PaymentError> {
        match self.store.stripe_settings(tenant).await? {
            Some(sealed) => self.open(tenant, &sealed).map(Some),
            None => Ok(None),
        }
    }

    /// Stores a tenant's Stripe settings.
    ///
    /// # Errors
    /// This service has no key to encrypt them with, or the database is away.
    pub async fn put_stripe_settings(
        &self,
        tenant: TenantId,
        put: PutStripeSettings,
    ) -> Result<StripeSettings, PaymentError> {
        let key = self.secrets_key()?;
        let seal = |secret: &Secret| sealing::seal(key, Purpose::Payments, tenant, secret);
        let (api_key, keep_api_key) = match &put.api_key {
            Patch::Set(secret) => (Some(seal(secret)), false),
            Patch::Clear => (None, false),
            Patch::Keep => (None, true),
        };
        let sealed = SealedStripeSettings {
            api_key,
            webhook_secrets: put.webhook_secrets.iter().map(seal).collect(),
            updated_at: self.clock.now(),
        };
        let stored = self
            .store
            .put_stripe_settings(tenant, &sealed, keep_api_key)
            .await?;
        self.open(tenant, &stored)
    }

    /// The key that a tenant's provider is asked with.
    ///
    /// # Errors
    /// The tenant has stored none, or the database is away.
    pub(super) async fn api_key(&self, tenant: TenantId) -> Result<Secret, PaymentError> {
        let settings = self.stripe_settings(tenant).await?;
        let api_key = settings.and_then(|settings| settings.api_key);
        api_key.ok_or(PaymentError::NotConfigured(
            "the tenant has stored no api_key of its payment provider",
        ))
    }

    fn open(
        &self,
        tenant: TenantId,
        sealed: &SealedStripeSettings,
    ) -> Result<StripeSettings, PaymentError> {
        let key = self.secrets_key()?;
        let open = |sealed: &Vec<u8>| {
            let opened = sealing::open(key, Purpose::Payments, tenant, sealed);
            opened.ok_or(PaymentError::Sealed { tenant })
        };
        Ok(StripeSettings {
            api_key: sealed.api_key.as_ref().map(open).transpose()?,
            webhook_secrets: sealed
                .webhook_secrets
                .iter()
                .map(open)
                .collect::<Result<_, _>>()?,
            updated_at: sealed.updated_at,
        })
    }

    fn secrets_key(&self) -> Result<&SecretsKey, PaymentError> {
        self.secrets_key.as_ref().ok_or(PaymentError::NotConfigured(
            "the service has no SECRETS_KEY to encrypt provider secrets with",
        ))
    }
}
