//! How a tenant's Stripe account is reached: secrets are taken, and never given back.

use axum::extract::State;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::App;
use super::answer;
use super::auth::{Allowed, scope};
use super::extract::{Body, Violations, patch};
use super::problem::Problem;
use super::time::Stamp;
use crate::config::Secret;
use crate::ledger::Patch;
use crate::payments::{PutStripeSettings, StripeSettings};

/// The most webhook secrets: the one in use, and those of a rotation.
const MOST_WEBHOOK_SECRETS: usize = 3;
/// The most characters of a secret.
const MOST_CHARS: usize = 255;
/// The most characters of a secret that are shown.
const MOST_SHOWN: usize = 4;

/// The routes of Stripe settings.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(get_stripe_settings, put_stripe_settings))
}

/// Stripe settings as they are to be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PutStripeSettings, example = json!({"webhook_secrets": ["whsec_2b7e151628aed2a6"]}))]
struct StripeSettingsRequest {
    /// The secret or restricted key that Stripe is asked with, for checkouts. Left out, the one
    /// that is stored stays; null removes it.
    #[serde(default, deserialize_with = "patch")]
    #[schema(value_type = Option<String>)]
    api_key: Patch<String>,
    /// What Stripe signs events with, 1 to 3: all of them are good, so that one can be rotated.
    webhook_secrets: Vec<String>,
}

/// Stripe settings; of each secret the last four characters at most.
#[derive(Serialize, ToSchema)]
#[schema(as = StripeSettings)]
struct StripeSettingsBody {
    #[schema(example = "…9f3c")]
    api_key: Option<String>,
    #[schema(example = json!(["…d2a6"]))]
    webhook_secrets: Vec<String>,
    /// When they were last changed; null when there are none.
    updated_at: Option<Stamp>,
}

impl StripeSettingsRequest {
    fn read(self) -> Result<PutStripeSettings, Problem> {
        let mut violations = Violations::new();
        let mut check = |field: String, text: &str| {
            let good = text.bytes().all(|byte| byte.is_ascii_graphic());
            if !good || text.is_empty() || text.len() > MOST_CHARS {
                violations.add(field, "must be 1 to 255 printable ASCII characters");
            }
        };
        if let Patch::Set(key) = &self.api_key {
            check("api_key".to_owned(), key);
        }
        for (place, secret) in self.webhook_secrets.iter().enumerate() {
            check(format!("webhook_secrets[{place}]"), secret);
        }
        if !(1..=MOST_WEBHOOK_SECRETS).contains(&self.webhook_secrets.len()) {
            let message = format_args!("must be 1 to {MOST_WEBHOOK_SECRETS}");
            violations.add("webhook_secrets", message);
        }
        violations.finish()?;
        Ok(PutStripeSettings {
            api_key: match self.api_key {
                Patch::Keep => Patch::Keep,
                Patch::Clear => Patch::Clear,
                Patch::Set(key) => Patch::Set(Secret::new(key)),
            },
            webhook_secrets: self.webhook_secrets.into_iter().map(Secret::new).collect(),
        })
    }
}

impl StripeSettingsBody {
    fn of(settings: Option<&StripeSettings>) -> Self {
        let api_key = settings.and_then(|it| it.api_key.as_ref());
        let secrets = settings.iter().flat_map(|it| &it.webhook_secrets);
        Self {
            api_key: api_key.map(masked),
            webhook_secrets: secrets.map(masked).collect(),
            updated_at: settings.map(|it| Stamp(it.updated_at)),
        }
    }
}

/// The end of a secret, and of a short one even less.
fn masked(secret: &Secret) -> String {
    let text = secret.expose();
    let shown = MOST_SHOWN.min(text.len() / 3);
    let end = text.get(text.len() - shown..).unwrap_or_default();
    format!("…{end}")
}

/// Reads the Stripe settings
///
/// Secrets are masked. Needs the scope `purchases:write`.
#[utoipa::path(
    get,
    path = "/v1/payments/stripe",
    tag = "payments",
    responses((status = 200, description = "The settings", body = StripeSettingsBody))
)]
async fn get_stripe_settings(
    State(app): State<App>,
    Allowed { caller, .. }: Allowed<scope::PurchasesWrite>,
) -> Result<Response, Problem> {
    let settings = app.payments.stripe_settings(caller.tenant).await?;
    Ok(answer::ok(&StripeSettingsBody::of(settings.as_ref())))
}

/// Changes the Stripe settings
///
/// Secrets are encrypted before they are stored; where the service has no key for that, the answer
/// is 501 `payments_not_configured`.
#[utoipa::path(
    put,
    path = "/v1/payments/stripe",
    tag = "payments",
    request_body = StripeSettingsRequest,
    responses((status = 200, description = "The settings, masked", body = StripeSettingsBody))
)]
async fn put_stripe_settings(
    State(app): State<App>,
    Allowed { caller, .. }: Allowed<scope::PurchasesWrite>,
    Body(body): Body<StripeSettingsRequest>,
) -> Result<Response, Problem> {
    let put = body.read()?;
    let settings = app.payments.put_stripe_settings(caller.tenant, put).await?;
    Ok(answer::ok(&StripeSettingsBody::of(Some(&settings))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn little_of_a_secret_is_shown() {
        let shown = |text: &str| masked(&Secret::new(text));
        assert_eq!(shown("sk_test_123456"), "…3456");
        assert_eq!(shown("secret"), "…et");
        assert_eq!(shown("ab"), "…");
    }
}
