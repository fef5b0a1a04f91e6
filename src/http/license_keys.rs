//! The keys that a tenant signs licences with: shown as a JWK set, rotated, distrusted. Their
//! private halves are never shown.

use axum::extract::{FromRequestParts, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::App;
use super::answer;
use super::auth::{Allowed, scope};
use super::extract::path_param;
use super::problem::Problem;
use super::time::Stamp;
use crate::store::LicenseKeyRecord;

/// The routes of signing keys.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(get_license_keys, post_license_key))
        .routes(routes!(delete_license_key))
}

/// Whether a signing key signs.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = SigningKeyStatus)]
enum StatusWord {
    /// It signs, and verifies.
    Current,
    /// It verifies what it has signed before.
    Retired,
}

/// A signing key's public half, as a JSON Web Key (RFC 8037).
#[derive(Serialize, ToSchema)]
#[schema(as = SigningKey)]
struct KeyBody {
    #[schema(example = "OKP")]
    kty: &'static str,
    #[schema(example = "Ed25519")]
    crv: &'static str,
    #[schema(example = "EdDSA")]
    alg: &'static str,
    #[serde(rename = "use")]
    #[schema(example = "sig")]
    usage: &'static str,
    /// Its name in the header of what it has signed.
    kid: Uuid,
    /// The public key: 32 bytes in base64url.
    x: String,
    status: StatusWord,
    created_at: Stamp,
}

/// A tenant's signing keys, newest first: a JSON Web Key set (RFC 7517).
#[derive(Serialize, ToSchema)]
#[schema(as = SigningKeys)]
struct KeysBody {
    keys: Vec<KeyBody>,
}

impl From<LicenseKeyRecord> for KeyBody {
    fn from(key: LicenseKeyRecord) -> Self {
        Self {
            kty: "OKP",
            crv: "Ed25519",
            alg: "EdDSA",
            usage: "sig",
            kid: key.kid,
            x: URL_SAFE_NO_PAD.encode(key.public_key),
            status: if key.is_current {
                StatusWord::Current
            } else {
                StatusWord::Retired
            },
            created_at: Stamp(key.created_at),
        }
    }
}

/// The id in `{kid}`.
struct KidPath(Uuid);

impl<S: Send + Sync> FromRequestParts<S> for KidPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let kid = path_param(parts, state, "kid").await?;
        let kid = kid.parse().map_err(|_| no_such_key())?;
        Ok(Self(kid))
    }
}

fn no_such_key() -> Problem {
    Problem::not_found("signing key")
}

/// Reads the public signing keys
///
/// A JWK set with which licence keys are verified offline. Those that were deleted are not in it.
#[utoipa::path(
    get,
    path = "/v1/licenses/keys",
    tag = "licenses",
    responses((status = 200, description = "All of them, newest first", body = KeysBody))
)]
async fn get_license_keys(
    State(app): State<App>,
    Allowed { caller, .. }: Allowed<scope::BalancesRead>,
) -> Result<Response, Problem> {
    let keys = app.licenses.keys(caller.tenant).await?;
    let keys = keys.into_iter().map(KeyBody::from).collect();
    Ok(answer::ok(&KeysBody { keys }))
}

/// Rotates the signing key
///
/// A new key signs from now on. Earlier ones still verify what they have signed, until they are
/// deleted; their private halves are destroyed.
#[utoipa::path(
    post,
    path = "/v1/licenses/keys",
    tag = "licenses",
    responses((status = 201, description = "The new current key", body = KeyBody))
)]
async fn post_license_key(
    State(app): State<App>,
    Allowed { caller, .. }: Allowed<scope::Admin>,
) -> Result<Response, Problem> {
    let key = app.licenses.rotate(caller.tenant).await?;
    Ok(answer::json(StatusCode::CREATED, &KeyBody::from(key)))
}

/// Distrusts a signing key
///
/// What it has signed cannot be applied any more; licences that were applied already stay in force.
/// When it is the current key, the next licence is signed with a new one.
#[utoipa::path(
    delete,
    path = "/v1/licenses/keys/{kid}",
    tag = "licenses",
    params(("kid" = Uuid, Path)),
    responses((status = 204, description = "Deleted"))
)]
async fn delete_license_key(
    State(app): State<App>,
    Allowed { caller, .. }: Allowed<scope::Admin>,
    KidPath(kid): KidPath,
) -> Result<Response, Problem> {
    if app.licenses.distrust(caller.tenant, kid).await? {
        Ok(StatusCode::NO_CONTENT.into_response())
    } else {
        Err(no_such_key())
    }
}
