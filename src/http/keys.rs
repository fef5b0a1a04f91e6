//! A tenant's keys: made, listed and revoked by the operator or by a key with `keys:write`.
//!
//! A key cannot give away what it does not have. Secrets are shown once; how they look and are
//! kept is in [`store`](crate::store).

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::{FromRequestParts, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::App;
use super::answer;
use super::auth::{Caller, KeyAdmin};
use super::extract::{Body, Query, Violations, path_param};
use super::page::{Page, PageQuery};
use super::problem::Problem;
use super::time::Stamp;
use crate::ledger::{KeyId, Label, PoolName, Time};
use crate::store::{KeyRecord, KeySecret, Scope, Scopes, StoreError};

/// The most pools one key may be bound to.
const MOST_POOLS: usize = 1_000;

/// The routes of keys.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(post_key, get_keys))
        .routes(routes!(delete_key))
}

/// A key to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewKey, example = json!({
    "name": "backend", "scopes": ["balances:read", "debits:write"]
}))]
struct NewKeyRequest {
    /// The name people see: 1 to 128 printable characters.
    #[schema(value_type = String)]
    name: Option<String>,
    /// What it may do; at least one.
    #[schema(value_type = Vec<ScopeWord>)]
    scopes: Option<Vec<String>>,
    /// Names of the pools it is bound to, 1 to 1,000; all of the tenant's when left out. A key
    /// that is bound has `balances:read` and `debits:write` at most.
    pools: Option<Vec<String>>,
    /// Until when it is good; for ever when left out.
    expires_at: Option<Stamp>,
}

/// What a key may do.
#[derive(ToSchema)]
#[schema(as = Scope)]
#[expect(dead_code, reason = "only its schema is used")]
enum ScopeWord {
    /// Every read but those of keys and tenants.
    #[schema(rename = "balances:read")]
    BalancesRead,
    /// Debits, holds and refunds.
    #[schema(rename = "debits:write")]
    DebitsWrite,
    /// Purchases.
    #[schema(rename = "purchases:write")]
    PurchasesWrite,
    /// Pools and test clocks.
    #[schema(rename = "pools:write")]
    PoolsWrite,
    /// Plans, operations and add-on terms.
    #[schema(rename = "catalog:write")]
    CatalogWrite,
    /// Keys of its own tenant.
    #[schema(rename = "keys:write")]
    KeysWrite,
    /// All of it, and adjustments.
    #[schema(rename = "admin")]
    Admin,
}

/// A key.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Key)]
struct KeyBody {
    id: Uuid,
    name: String,
    #[schema(value_type = Vec<ScopeWord>)]
    scopes: Vec<&'static str>,
    /// The pools it is bound to; null for all of the tenant's.
    pools: Option<Vec<String>>,
    created_at: Stamp,
    expires_at: Option<Stamp>,
    /// When it was last used, to the minute.
    last_used_at: Option<Stamp>,
}

/// A new key, with its secret.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = KeyWithSecret)]
struct NewKeyBody {
    #[serde(flatten)]
    key: KeyBody,
    /// The key itself, shown only here: `cl_(live|test)_[0-9A-Za-z]{38}`.
    secret: String,
}

impl From<KeyRecord> for KeyBody {
    fn from(key: KeyRecord) -> Self {
        let pools = key
            .pools
            .map(|pools| pools.iter().map(PoolName::to_string).collect());
        Self {
            id: key.id.uuid(),
            name: key.name.as_str().to_owned(),
            scopes: key.scopes.iter().map(Scope::as_str).collect(),
            pools,
            created_at: Stamp(key.created_at),
            expires_at: key.expires_at.map(Stamp),
            last_used_at: key.last_used_at.map(Stamp),
        }
    }
}

impl NewKeyRequest {
    /// The key to be made; every rule that is broken is named.
    fn read(self, admin: &KeyAdmin, now: Time) -> Result<KeyRecord, Problem> {
        let mut violations = Violations::new();
        let name = violations.require("name", self.name.map(Label::try_from));
        let scopes = violations.require("scopes", self.scopes.map(read_scopes));
        let bound = self.pools.is_some();
        let pools = self
            .pools
            .and_then(|names| read_pools(names, &mut violations));
        if self.expires_at.is_some_and(|Stamp(end)| end <= now) {
            violations.add("expires_at", "must be in the future");
        }
        if bound && scopes.is_some_and(|scopes| scopes.iter().any(reaches_beyond_pools)) {
            let message = "must be balances:read and debits:write at most on a key with pools";
            violations.add("scopes", message);
        }
        let (name, scopes) = violations.finish_with(name.zip(scopes))?;
        Ok(KeyRecord {
            id: KeyId::from(Uuid::now_v7()),
            tenant: admin.tenant,
            mode: admin.mode,
            name,
            scopes,
            pools,
            created_at: now,
            expires_at: self.expires_at.map(Time::from),
            last_used_at: None,
        })
    }
}

fn read_scopes(words: Vec<String>) -> Result<Scopes, String> {
    let scopes = words.iter().map(|word| word.parse::<Scope>());
    let scopes: Scopes = scopes
        .collect::<Result<_, _>>()
        .map_err(|error| error.to_string())?;
    if scopes.is_empty() {
        Err("must name at least one scope".to_owned())
    } else {
        Ok(scopes)
    }
}

fn read_pools(names: Vec<String>, violations: &mut Violations) -> Option<Arc<BTreeSet<PoolName>>> {
    if names.is_empty() || names.len() > MOST_POOLS {
        violations.add("pools", format_args!("must name 1 to {MOST_POOLS} pools"));
        return None;
    }
    let mut pools = BTreeSet::new();
    for (index, name) in names.iter().enumerate() {
        match name.parse() {
            Ok(name) => drop(pools.insert(name)),
            Err(error) => {
                let error: crate::ledger::TextError = error;
                violations.add(format!("pools[{index}]"), error);
            }
        }
    }
    Some(Arc::new(pools))
}

/// Whether a scope has to do with more than single pools.
fn reaches_beyond_pools(scope: Scope) -> bool {
    match scope {
        Scope::BalancesRead | Scope::DebitsWrite => false,
        Scope::PurchasesWrite
        | Scope::PoolsWrite
        | Scope::CatalogWrite
        | Scope::KeysWrite
        | Scope::Admin => true,
    }
}

/// 403 for the first scope that the giver does not have itself.
fn may_give(giver: Option<&Caller>, scopes: Scopes) -> Result<(), Problem> {
    giver.map_or(Ok(()), |giver| {
        scopes.iter().try_for_each(|scope| giver.require(scope))
    })
}

/// The id in `{key_id}`.
struct KeyPath(KeyId);

impl<S: Send + Sync> FromRequestParts<S> for KeyPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let id = path_param(parts, state, "key_id").await?;
        let id = id.parse::<Uuid>().map_err(|_| Problem::not_found("key"))?;
        Ok(Self(id.into()))
    }
}

/// Makes a key
///
/// Needs the operator's key, or one of the tenant's own with `keys:write`, which cannot give
/// scopes that it does not have.
#[utoipa::path(
    post,
    path = "/v1/tenants/{id}/keys",
    tag = "tenants",
    params(("id" = Uuid, Path, description = "The tenant")),
    request_body = NewKeyRequest,
    responses((status = 201, description = "Made; the secret is shown once", body = NewKeyBody))
)]
async fn post_key(
    State(app): State<App>,
    admin: KeyAdmin,
    Body(body): Body<NewKeyRequest>,
) -> Result<Response, Problem> {
    let key = body.read(&admin, app.clock.now())?;
    may_give(admin.caller.as_ref(), key.scopes)?;
    let secret = KeySecret::generate(key.mode);
    match app.store.insert_key(&key, secret.hash()).await {
        Ok(()) => {}
        Err(StoreError::Conflict { constraint }) if constraint == "api_keys_tenant_fk" => {
            return Err(Problem::not_found("tenant"));
        }
        Err(error) => return Err(error.into()),
    }
    let body = NewKeyBody {
        key: key.into(),
        secret: secret.expose().to_owned(),
    };
    Ok(answer::json(StatusCode::CREATED, &body))
}

/// Lists a tenant's keys
///
/// Newest first, without secrets and without those that were revoked.
#[utoipa::path(
    get,
    path = "/v1/tenants/{id}/keys",
    tag = "tenants",
    params(("id" = Uuid, Path, description = "The tenant"), PageQuery),
    responses((status = 200, description = "A page", body = Page<KeyBody>))
)]
async fn get_keys(
    State(app): State<App>,
    admin: KeyAdmin,
    Query(query): Query<PageQuery>,
) -> Result<Response, Problem> {
    let page = query.read::<(Time, Uuid)>()?;
    let keys = app
        .store
        .keys(admin.tenant, page.after, i64::from(page.limit) + 1)
        .await?;
    let sort = |key: &KeyRecord| (key.created_at, key.id);
    Ok(answer::ok(&Page::of(page.limit, keys, sort, KeyBody::from)))
}

/// Revokes a key
///
/// It stops working at once here and within 5 seconds on every replica. A second DELETE answers
/// the same.
#[utoipa::path(
    delete,
    path = "/v1/tenants/{id}/keys/{key_id}",
    tag = "tenants",
    params(("id" = Uuid, Path, description = "The tenant"), ("key_id" = Uuid, Path)),
    responses((status = 204, description = "Revoked"))
)]
async fn delete_key(
    State(app): State<App>,
    admin: KeyAdmin,
    KeyPath(key): KeyPath,
) -> Result<Response, Problem> {
    if app
        .store
        .revoke_key(admin.tenant, key, app.clock.now())
        .await?
    {
        Ok(StatusCode::NO_CONTENT.into_response())
    } else {
        Err(Problem::not_found("key"))
    }
}

#[cfg(test)]
mod tests;
