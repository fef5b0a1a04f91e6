//! Who is asking, and what they may do: keys, scopes, pools a key is bound to, the operator.
//!
//! The order of the answers is part of the contract: 401, 403, then the path, then 404. Handlers
//! take [`Allowed`] or [`PoolScope`] as their first argument, so that nothing else is looked at
//! before. How keys look and are stored is in [`store`](crate::store).

use std::collections::BTreeSet;
use std::marker::PhantomData;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::extract::{PathId, PoolPath};
use super::problem::Problem;
use super::{App, codes};
use crate::config::Secret;
use crate::ledger::{KeyId, PoolName, Refusal, TenantId};
use crate::store::{KeyRecord, Scope, Scopes, SecretHash, TenantMode};

/// The tenant's key that a request carries.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Whose key it is.
    pub tenant: TenantId,
    /// Live or sandbox.
    pub mode: TenantMode,
    /// The key.
    pub key: KeyId,
    /// What it may do.
    pub scopes: Scopes,
    /// The pools it is bound to; all of the tenant's when `None`.
    pub pools: Option<Arc<BTreeSet<PoolName>>>,
}

impl Caller {
    /// 403 unless the key has the scope.
    ///
    /// # Errors
    /// `scope_missing`.
    pub fn require(&self, scope: Scope) -> Result<(), Problem> {
        if self.scopes.allow(scope) {
            return Ok(());
        }
        let problem = Problem::new(
            codes::SCOPE_MISSING,
            format!("the key lacks the scope {scope}"),
        );
        Err(problem.with("scope", scope.as_str()))
    }

    /// Whether the key may see a pool. What it may not see does not exist for it.
    #[must_use]
    pub fn sees(&self, pool: &PoolName) -> bool {
        self.pools.as_ref().is_none_or(|bound| bound.contains(pool))
    }

    /// 404 unless the key may see the pool.
    ///
    /// # Errors
    /// `pool_not_found`, as for a pool that does not exist.
    pub fn require_pool(&self, pool: &PoolName) -> Result<(), Problem> {
        if self.sees(pool) {
            Ok(())
        } else {
            Err(Refusal::PoolNotFound.into())
        }
    }
}

impl From<&KeyRecord> for Caller {
    fn from(record: &KeyRecord) -> Self {
        Self {
            tenant: record.tenant,
            mode: record.mode,
            key: record.id,
            scopes: record.scopes,
            pools: record.pools.clone(),
        }
    }
}

/// The scopes as types, so that a handler's signature says what it needs.
pub mod scope {
    use crate::store::Scope;

    /// A scope as a type.
    pub trait Required: Send + Sync {
        /// The scope.
        const SCOPE: Scope;
    }

    macro_rules! required {
        ($($name:ident),+) => {
            $(
                #[doc = concat!("[`Scope::", stringify!($name), "`]")]
                #[derive(Clone, Copy, Debug)]
                pub struct $name;

                impl Required for $name {
                    const SCOPE: Scope = Scope::$name;
                }
            )+
        };
    }

    required!(
        BalancesRead,
        DebitsWrite,
        PurchasesWrite,
        PoolsWrite,
        CatalogWrite,
        KeysWrite,
        Admin
    );
}

/// A caller whose key has the scope.
#[derive(Clone, Debug)]
pub struct Allowed<S> {
    /// Who it is.
    pub caller: Caller,
    scope: PhantomData<S>,
}

/// A caller whose key has the scope, and the pool of the path, which the key may see.
#[derive(Clone, Debug)]
pub struct PoolScope<S> {
    /// Who it is.
    pub caller: Caller,
    /// The pool that `{pool}` names; it need not exist.
    pub pool: PoolName,
    scope: PhantomData<S>,
}

/// The operator.
#[derive(Clone, Copy, Debug)]
pub struct Operator;

/// Who may manage the keys of the tenant in `{id}`: the operator, or one of its own keys.
#[derive(Clone, Debug)]
pub struct KeyAdmin {
    /// Whose keys.
    pub tenant: TenantId,
    /// Live or sandbox.
    pub mode: TenantMode,
    /// The key that manages; `None` for the operator. It cannot give away what it does not have.
    pub caller: Option<Caller>,
}

/// The digest of `OPERATOR_KEY`: all that is needed to compare with it.
#[derive(Clone, Copy)]
pub struct OperatorKey([u8; 32]);

impl OperatorKey {
    /// The digest of the setting.
    #[must_use]
    pub fn new(secret: &Secret) -> Self {
        Self(Sha256::digest(secret.expose()).into())
    }

    /// Compares digests, in a time that tells nothing about the key.
    fn matches(self, given: &str) -> bool {
        let given: [u8; 32] = Sha256::digest(given).into();
        self.0.ct_eq(&given).into()
    }
}

impl std::fmt::Debug for OperatorKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OperatorKey(hidden)")
    }
}

fn unauthorized(detail: &'static str) -> Problem {
    Problem::new(codes::UNAUTHORIZED, detail)
}

/// The key in `Authorization: Bearer` or `X-Api-Key`.
fn credential(headers: &HeaderMap) -> Option<&str> {
    let bearer = headers.get(AUTHORIZATION).and_then(|value| {
        let (scheme, key) = value.to_str().ok()?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
    });
    bearer.or_else(|| headers.get("x-api-key")?.to_str().ok())
}

impl FromRequestParts<App> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let Some(secret) = credential(&parts.headers) else {
            return Err(unauthorized(
                "a key is needed, as `Authorization: Bearer <key>` or `X-Api-Key: <key>`",
            ));
        };
        let Some(hash) = SecretHash::of(secret) else {
            return Err(unauthorized("this is no key of this service"));
        };
        let now = app.clock.now();
        let found = app.store.key_by_secret_hash(hash, now).await?;
        match found.filter(|key| key.expires_at.is_none_or(|end| now < end)) {
            Some(record) => Ok(Self::from(&*record)),
            None => Err(unauthorized("the key is unknown, expired or revoked")),
        }
    }
}

impl<S: scope::Required> FromRequestParts<App> for Allowed<S> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let caller = Caller::from_request_parts(parts, app).await?;
        caller.require(S::SCOPE)?;
        Ok(Self {
            caller,
            scope: PhantomData,
        })
    }
}

impl<S: scope::Required> FromRequestParts<App> for PoolScope<S> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let Allowed { caller, scope } = Allowed::from_request_parts(parts, app).await?;
        let PoolPath(pool) = PoolPath::from_request_parts(parts, app).await?;
        caller.require_pool(&pool)?;
        Ok(Self {
            caller,
            pool,
            scope,
        })
    }
}

impl FromRequestParts<App> for Operator {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let is_operator = |given: &str| app.operator_key.is_some_and(|key| key.matches(given));
        if credential(&parts.headers).is_some_and(is_operator) {
            Ok(Self)
        } else {
            Err(unauthorized("the operator's key is needed"))
        }
    }
}

impl FromRequestParts<App> for KeyAdmin {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let caller = match Operator::from_request_parts(parts, app).await {
            Ok(Operator) => None,
            Err(_) => Some(Caller::from_request_parts(parts, app).await?),
        };
        if let Some(caller) = &caller {
            caller.require(Scope::KeysWrite)?;
        }
        let no_tenant = || Problem::not_found("tenant");
        let PathId(id) = PathId::from_request_parts(parts, app)
            .await
            .map_err(|_| no_tenant())?;
        let tenant = TenantId::from(id);
        let mode = match &caller {
            Some(caller) => (caller.tenant == tenant).then_some(caller.mode),
            None => app
                .store
                .find_tenant(tenant)
                .await?
                .map(|tenant| tenant.mode),
        };
        Ok(Self {
            tenant,
            mode: mode.ok_or_else(no_tenant)?,
            caller,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(rows: &[(&'static str, &str)]) -> Option<String> {
        let headers: HeaderMap = rows
            .iter()
            .map(|(name, value)| {
                let value = value.parse().expect("a header value");
                (axum::http::HeaderName::from_static(name), value)
            })
            .collect();
        credential(&headers).map(str::to_owned)
    }

    #[test]
    fn a_key_comes_as_bearer_token_or_in_its_own_header() {
        let key = Some("k".to_owned());
        assert_eq!(given(&[("authorization", "Bearer k")]), key);
        assert_eq!(given(&[("authorization", "bearer  k")]), key);
        assert_eq!(given(&[("x-api-key", "k")]), key);
        assert_eq!(
            given(&[("authorization", "Basic xyz"), ("x-api-key", "k")]),
            key
        );
        assert_eq!(given(&[("authorization", "k")]), None);
        assert_eq!(given(&[]), None);
    }

    #[test]
    fn only_the_operators_own_key_matches() {
        let operator = OperatorKey::new(&Secret::new("0123456789abcdef"));
        assert!(operator.matches("0123456789abcdef"));
        for other in [
            "",
            "0123456789abcde",
            "0123456789abcdeg",
            "0123456789abcdef ",
        ] {
            assert!(!operator.matches(other), "{other:?}");
        }
    }
}
