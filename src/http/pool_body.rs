//! A pool in JSON: terms, cycle, licence, what was requested, what waits, and its balance.
//!
//! Shapes only. What a PUT may say is in [`pool_put`](super::pool_put).

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::answer::Number;
use super::balance::BalanceBody;
use super::time::Stamp;
use super::words::{
    ChangeWord, LicenseStatusWord, LicenseTypeWord, LimitsShape, SeatsShape, StatusWord, TermWord,
};
use crate::lanes::PoolView;
use crate::ledger::{
    Change, ClockId, Credits, Denomination, Label, License, LicenseLimits, LicenseStatus,
    LicenseType, Metadata, NextGrant, PlanCode, Pool, PoolName, Requested, Seats, Term, Terms,
};

/// A pool.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Pool)]
pub struct PoolBody<'a> {
    /// Its name.
    #[schema(value_type = String, example = "workspace:6f1c")]
    pool: &'a PoolName,
    #[serde(flatten)]
    terms: TermsBody<'a>,
    /// The smallest step to debit: 1, 0.1 or 0.01.
    #[schema(value_type = Number)]
    denomination: Denomination,
    /// As given when the pool was made; cycles of a restart count from `cycle.anchor`.
    billing_anchor: Stamp,
    /// How often the customer pays. Credits renew monthly all the same.
    #[schema(value_type = TermWord)]
    term: Term,
    /// The last accepted PUT, with what it left out filled in from the ones before.
    requested: RequestedBody<'a>,
    /// Terms that wait for the next renewal.
    pending: Option<PendingBody<'a>>,
    /// The current cycle.
    cycle: CycleBody,
    /// The next grant that will come by itself; null for a closed pool.
    next_grant: Option<NextGrantBody>,
    /// The last licence that was applied.
    license: LicenseStateBody<'a>,
    /// `closed` pools are frozen.
    status: StatusWord,
    /// The clock it lives on, in a sandbox.
    #[schema(value_type = Option<Uuid>)]
    test_clock: Option<ClockId>,
    /// The client's own.
    #[schema(value_type = super::extract::MetadataBody)]
    metadata: MetadataText<'a>,
    /// When it was made.
    created_at: Stamp,
    /// When it was closed.
    closed_at: Option<Stamp>,
    /// What it has.
    balance: BalanceBody<'a>,
    /// What the PUT did; in answers to a PUT only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<ChangeWord>)]
    change: Option<Change>,
}

/// What an allowance is computed from.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Terms)]
struct TermsBody<'a> {
    /// The plan's own code.
    #[schema(value_type = String, example = "pro")]
    plan: &'a PlanCode,
    /// How many build.
    #[schema(value_type = SeatsShape)]
    builders: Seats,
    /// The pool's own allowance, on plans without one and with unlimited builders.
    #[schema(value_type = Option<Number>)]
    monthly_allowance: Option<Credits>,
}

/// What was requested, as in the body of a PUT.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RequestedPool)]
struct RequestedBody<'a> {
    #[serde(flatten)]
    terms: TermsBody<'a>,
    /// What cycles are counted from.
    billing_anchor: Stamp,
    /// How often the customer pays.
    #[schema(value_type = TermWord)]
    term: Term,
    /// The licence as it was given.
    license: Option<LicenseBody<'a>>,
    /// The clock it lives on.
    #[schema(value_type = Option<Uuid>)]
    test_clock: Option<ClockId>,
    /// The client's own.
    #[schema(value_type = super::extract::MetadataBody)]
    metadata: MetadataText<'a>,
}

/// Terms that wait.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PendingTerms)]
struct PendingBody<'a> {
    #[serde(flatten)]
    terms: TermsBody<'a>,
    /// When they come into force.
    at: Stamp,
}

/// A cycle, from `start` (inclusive) to `end` (exclusive).
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Cycle)]
struct CycleBody {
    /// How many months after the anchor it starts; may be negative.
    number: i32,
    /// Inclusive.
    start: Stamp,
    /// Exclusive.
    end: Stamp,
    /// What its months are counted from.
    anchor: Stamp,
}

/// A grant to come.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = NextGrant)]
struct NextGrantBody {
    /// When.
    at: Stamp,
    /// The whole allowance.
    #[schema(value_type = Number)]
    credits: Credits,
    /// What of it repays the overdraft.
    #[schema(value_type = Number)]
    overdraft_repaid: Credits,
    /// What is left to spend.
    #[schema(value_type = Number)]
    net: Credits,
}

/// A licence as it was given.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = License)]
struct LicenseBody<'a> {
    /// Its kind.
    #[serde(rename = "type")]
    #[schema(value_type = LicenseTypeWord)]
    kind: LicenseType,
    /// When it expires.
    expires_at: Option<Stamp>,
    /// Until when an expired licence is still honoured.
    grace_until: Option<Stamp>,
    /// What it allows.
    #[schema(value_type = Option<LimitsShape>)]
    limits: Option<&'a LicenseLimits>,
}

/// The last licence that was applied, a trial's end filled in, and what it is now. Without one, and
/// when a signed one was given up, every member but `status` is null.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LicenseState)]
struct LicenseStateBody<'a> {
    /// Its kind.
    #[serde(rename = "type")]
    #[schema(value_type = Option<LicenseTypeWord>)]
    kind: Option<LicenseType>,
    /// When it expires.
    expires_at: Option<Stamp>,
    /// Until when an expired licence is still honoured.
    grace_until: Option<Stamp>,
    /// What it allows.
    #[schema(value_type = Option<LimitsShape>)]
    limits: Option<&'a LicenseLimits>,
    /// Of a signed licence: `sha256:<hex>` of its key.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    fingerprint: Option<&'a Label>,
    /// What it is now.
    #[schema(value_type = LicenseStatusWord)]
    status: LicenseStatus,
}

/// A client's metadata: its JSON text as it is kept; `{}` when there is none.
#[derive(Clone, Copy, Debug)]
pub(super) struct MetadataText<'a>(pub Option<&'a Metadata>);

impl Serialize for MetadataText<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = self.0.map_or("{}", Metadata::as_str);
        let raw: &RawValue = serde_json::from_str(text).map_err(serde::ser::Error::custom)?;
        raw.serialize(serializer)
    }
}

impl<'a> PoolBody<'a> {
    /// The body of a pool; `change` is what a PUT did to it.
    #[must_use]
    pub fn new(view: &'a PoolView, change: Option<Change>) -> Self {
        let Pool {
            name,
            requested,
            cycle,
            ..
        } = &view.pool;
        let pool = &view.pool;
        // Nothing comes to a closed pool any more.
        let pending = pool.pending.as_ref().filter(|_| !pool.is_closed());
        Self {
            pool: name,
            terms: TermsBody::of(&pool.terms),
            denomination: pool.denomination,
            billing_anchor: Stamp(pool.billing_anchor),
            term: requested.term,
            requested: RequestedBody::of(requested),
            pending: pending.map(|terms| PendingBody {
                terms: TermsBody::of(terms),
                at: Stamp(cycle.end),
            }),
            cycle: CycleBody {
                number: cycle.number,
                start: Stamp(cycle.start),
                end: Stamp(cycle.end),
                anchor: Stamp(cycle.anchor),
            },
            next_grant: view.next_grant.as_ref().map(NextGrantBody::of),
            license: LicenseStateBody::of(view),
            status: if pool.is_closed() {
                StatusWord::Closed
            } else {
                StatusWord::Active
            },
            test_clock: pool.test_clock,
            metadata: MetadataText(requested.metadata.as_ref()),
            created_at: Stamp(pool.created_at),
            closed_at: pool.closed_at.map(Stamp),
            balance: BalanceBody::new(name, &pool.balance(view.as_of)),
            change,
        }
    }
}

impl<'a> TermsBody<'a> {
    fn of(terms: &'a Terms) -> Self {
        let Terms {
            plan,
            builders,
            monthly_allowance,
        } = terms;
        Self {
            plan,
            builders: *builders,
            monthly_allowance: *monthly_allowance,
        }
    }
}

impl<'a> RequestedBody<'a> {
    fn of(requested: &'a Requested) -> Self {
        Self {
            terms: TermsBody::of(&requested.terms),
            billing_anchor: Stamp(requested.billing_anchor),
            term: requested.term,
            license: requested.license.as_ref().map(LicenseBody::of),
            test_clock: requested.test_clock,
            metadata: MetadataText(requested.metadata.as_ref()),
        }
    }
}

impl NextGrantBody {
    fn of(grant: &NextGrant) -> Self {
        let NextGrant {
            at,
            credits,
            overdraft_repaid,
            net,
        } = *grant;
        Self {
            at: Stamp(at),
            credits,
            overdraft_repaid,
            net,
        }
    }
}

impl<'a> LicenseBody<'a> {
    fn of(license: &'a License) -> Self {
        Self {
            kind: license.kind,
            expires_at: license.expires_at.map(Stamp),
            grace_until: license.grace_until.map(Stamp),
            limits: license.limits.as_ref(),
        }
    }
}

impl<'a> LicenseStateBody<'a> {
    fn of(view: &'a PoolView) -> Self {
        let license = view.pool.shown_license();
        let signed = license.and_then(|license| license.signed.as_ref());
        let status = license.map_or(LicenseStatus::None, |license| license.status(view.as_of));
        let license = license.map(LicenseBody::of);
        Self {
            kind: license.as_ref().map(|license| license.kind),
            expires_at: license.as_ref().and_then(|license| license.expires_at),
            grace_until: license.as_ref().and_then(|license| license.grace_until),
            limits: license.as_ref().and_then(|license| license.limits),
            fingerprint: signed.map(|signed| &signed.fingerprint),
            status,
        }
    }
}
