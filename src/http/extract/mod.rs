//! What handlers take from a request: bodies, queries, path parameters, headers, all parsed.
//!
//! Who the caller is and what they may do is in [`auth`](super::auth), which also takes the pool
//! out of the path, after the scope is checked. Business rules are the ledger's.

mod body;
mod query;
mod values;
mod violations;

use std::str::FromStr;

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::header::HeaderValue;
use axum::http::request::Parts;
use uuid::Uuid;

use super::codes;
use super::middleware::REQUEST_ID;
use super::problem::Problem;
use crate::ledger::{Code, IdempotencyKey, Label, PoolName, PromoCode, TenantId, TextError};

pub use body::{Body, MAX_BODY_BYTES, OptionalBody, RawBody, parse_json};
pub use query::Query;
pub use values::{Amount, MetadataBody, Object, patch};
pub use violations::Violations;

/// The pool that `{pool}` names. Routes of pools take it by
/// [`PoolScope`](super::auth::PoolScope), which checks the caller first.
#[derive(Clone, Debug)]
pub struct PoolPath(pub PoolName);

/// The UUID in `{id}`. What is none does not exist: 404.
#[derive(Clone, Copy, Debug)]
pub struct PathId(pub Uuid);

/// The tenant in `{tenant_id}`, where no key names it; none for what is no UUID.
#[derive(Clone, Copy, Debug)]
pub struct PathTenant(pub Option<TenantId>);

/// The code of a plan or an operation in `{code}`.
#[derive(Clone, Debug)]
pub struct PathCode(pub Code);

/// The run in `{run_id}`.
#[derive(Clone, Debug)]
pub struct PathRun(pub Label);

/// The promo code in `{code}`.
#[derive(Clone, Debug)]
pub struct PathPromoCode(pub PromoCode);

/// The text in `{id}`, where it is the client's own.
#[derive(Clone, Debug)]
pub struct PathText(pub String);

/// The header `Idempotency-Key`.
#[derive(Clone, Debug)]
pub struct Key(pub IdempotencyKey);

/// The id of this request: the client's `X-Request-Id`, or one that was made.
#[derive(Clone, Debug)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }
}

/// The decoded path parameter `name`; 404 when it is not UTF-8.
///
/// # Errors
/// There is no such parameter, or it is not UTF-8.
pub async fn path_param<S: Send + Sync>(
    parts: &mut Parts,
    state: &S,
    name: &str,
) -> Result<String, Problem> {
    let missing = || Problem::plain(codes::NOT_FOUND);
    let params = RawPathParams::from_request_parts(parts, state)
        .await
        .map_err(|_| missing())?;
    let found = params.iter().find(|(param, _)| *param == name);
    found.map(|(_, value)| value.to_owned()).ok_or_else(missing)
}

impl<S: Send + Sync> FromRequestParts<S> for PoolPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        // Not UTF-8 is no pool name either: the same answer as for any other bad name.
        let name = path_param(parts, state, "pool").await.unwrap_or_default();
        let name = PoolName::from_str(&name);
        name.map(Self)
            .map_err(|error| Problem::invalid("pool", error.to_string()))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for PathId {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let id = path_param(parts, state, "id").await?;
        id.parse()
            .map(Self)
            .map_err(|_| Problem::plain(codes::NOT_FOUND))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for PathTenant {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let id = path_param(parts, state, "tenant_id").await.ok();
        let id = id.and_then(|id| id.parse::<Uuid>().ok());
        Ok(Self(id.map(TenantId::from)))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for PathCode {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        parsed_code(parts, state).await.map(Self)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for PathRun {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let run = path_param(parts, state, "run_id").await?;
        Label::try_from(run)
            .map(Self)
            .map_err(|error| Problem::invalid("run_id", error.to_string()))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for PathPromoCode {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        parsed_code(parts, state).await.map(Self)
    }
}

async fn parsed_code<T, S>(parts: &mut Parts, state: &S) -> Result<T, Problem>
where
    T: FromStr<Err = TextError>,
    S: Send + Sync,
{
    let code = path_param(parts, state, "code").await?;
    code.parse()
        .map_err(|error: TextError| Problem::invalid("code", error.to_string()))
}

impl<S: Send + Sync> FromRequestParts<S> for PathText {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        path_param(parts, state, "id").await.map(Self)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Key {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        const NAME: &str = "Idempotency-Key";
        let mut given = parts.headers.get_all("idempotency-key").iter();
        let Some(first) = given.next().filter(|key| !key.is_empty()) else {
            return Err(Problem::plain(codes::IDEMPOTENCY_KEY_MISSING));
        };
        if given.next().is_some() {
            return Err(Problem::invalid(NAME, "must be there once"));
        }
        let key = IdempotencyKey::from_str(first.to_str().unwrap_or_default());
        key.map(Self)
            .map_err(|error| Problem::invalid(NAME, error.to_string()))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for RequestId {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let id = parts.headers.get(REQUEST_ID).cloned();
        Ok(Self(id.unwrap_or_else(|| HeaderValue::from_static(""))))
    }
}
