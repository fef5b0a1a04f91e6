//! Issuing: what was ordered, checked by the ledger's own rules of terms, signed.

use uuid::Uuid;

use super::token::{self, Claims};
use super::{LicenseError, Licenses};
use crate::config::Secret;
use crate::ledger::{
    Actor, Catalogue, Credits, Label, LicenseType, Patch, PlanCode, PoolId, PoolName, PutPool,
    Refusal, Seats, TenantId, Terms, Time,
};

/// A licence to be issued.
#[derive(Clone, Debug)]
pub struct Order {
    /// The pool that it is for.
    pub pool: PoolName,
    /// Its kind.
    pub kind: LicenseType,
    /// The plan's code or alias; for a basic or trial licence the plan of that name, when absent.
    pub plan: Option<PlanCode>,
    /// How many build.
    pub builders: Seats,
    /// The pool's own allowance, on plans without one and with unlimited builders.
    pub monthly_allowance: Option<Credits>,
    /// All users.
    pub users: Option<Seats>,
    /// Users who only use what was built.
    pub end_users: Option<Seats>,
    /// Not to be applied before this.
    pub starts_at: Option<Time>,
    /// When it expires.
    pub expires_at: Option<Time>,
    /// Until when it is honoured after that.
    pub grace_until: Option<Time>,
    /// What it opens, in the vendor's words.
    pub features: Vec<Label>,
}

/// A licence that was issued.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The key, which is kept nowhere. `Debug` hides it.
    pub key: Secret,
    /// What is kept of it once it is applied.
    pub fingerprint: Label,
    /// The signing key.
    pub kid: Uuid,
    /// What it says.
    pub claims: Claims,
}

impl Licenses {
    /// Issues a licence.
    ///
    /// # Errors
    /// Its terms are not possible, it says too much, this service has no key to open the signing
    /// key with, or the database is away.
    pub async fn issue(&self, tenant: TenantId, order: Order) -> Result<Issued, LicenseError> {
        let catalogue = self.store.catalogue(tenant, None).await?;
        let (_, catalogue) = catalogue.ok_or(LicenseError::Refused(Refusal::PoolNotFound))?;
        let now = self.clock.now();
        let terms = order.terms(tenant, &catalogue, now);
        let claims = order.claims(terms.map_err(LicenseError::Refused)?, now);
        let signing = self.signing_key(tenant).await?;
        let key = token::sign(&claims, signing.kid, &signing.private);
        if key.expose().len() > token::MAX_BYTES {
            return Err(LicenseError::TooLong);
        }
        Ok(Issued {
            fingerprint: token::fingerprint(&key),
            key,
            kid: signing.kid,
            claims,
        })
    }
}

impl Order {
    /// The plan's own code, the builders and the allowance, by the rules of a new pool: one on
    /// these terms is made in memory alone.
    fn terms(&self, tenant: TenantId, catalogue: &Catalogue, now: Time) -> Result<Terms, Refusal> {
        let plan = self.plan.clone().or_else(|| plan_of(self.kind));
        let plan = plan.ok_or_else(|| Refusal::invalid("plan", "is needed for a paid licence"))?;
        let put = PutPool {
            plan: Some(plan),
            builders: Patch::Set(self.builders),
            monthly_allowance: self.monthly_allowance.map_or(Patch::Keep, Patch::Set),
            ..PutPool::default()
        };
        let names = (PoolId::of(tenant, &self.pool), tenant, self.pool.clone());
        let book = put.create(names, catalogue, Actor::default(), now)?;
        Ok(book.pool().requested.terms.clone())
    }

    fn claims(self, terms: Terms, now: Time) -> Claims {
        let customer_id = self.pool.id().parse();
        Claims {
            id: Uuid::now_v7(),
            customer_id: customer_id.expect("a pool's id is a label"),
            kind: self.kind,
            plan: terms.plan,
            builders: terms.builders,
            users: self.users,
            end_users: self.end_users,
            monthly_allowance: terms.monthly_allowance,
            issued_at: now,
            starts_at: self.starts_at,
            expires_at: self.expires_at,
            grace_until: self.grace_until,
            features: self.features,
        }
    }
}

/// The plan of a licence that names none.
fn plan_of(kind: LicenseType) -> Option<PlanCode> {
    let code = match kind {
        LicenseType::Basic => "basic",
        LicenseType::Trial => "trial",
        LicenseType::Paid | LicenseType::Business | LicenseType::Enterprise => return None,
    };
    code.parse().ok()
}
