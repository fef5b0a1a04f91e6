//! Purchases as they are listed, and the claims that let a payment be credited once for a tenant.
//! Booking a purchase is the lane's: see `batch`.

use std::collections::{HashMap, HashSet};

use sqlx::FromRow;
use uuid::Uuid;

use super::deadline::within;
use super::{Store, StoreError};
use crate::ledger::{
    Credits, Entry, Label, PaymentState, PoolId, PoolName, PurchaseId, PurchaseStatus, TenantId,
    Time,
};

/// A purchase that was credited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PurchaseRecord {
    /// Its id.
    pub id: PurchaseId,
    /// Whose it is.
    pub tenant: TenantId,
    /// The pool it was credited to.
    pub pool_id: PoolId,
    /// That pool's name.
    pub pool: PoolName,
    /// The entry that credited it.
    pub seq: i64,
    /// What was bought.
    pub credits: Credits,
    /// What came on top of it.
    pub bonus: Credits,
    /// The payment's own name.
    pub reference: Label,
    /// When it was paid.
    pub paid_at: Time,
    /// When the add-on pool expired, as this purchase left it.
    pub expires_at: Time,
    /// To when the purchase alone would keep the add-on pool.
    pub valid_until: Option<Time>,
    /// What was paid, in the currency's smallest unit.
    pub amount_cents: Option<i64>,
    /// The currency.
    pub currency: Option<String>,
    /// Who bought.
    pub user_id: Option<Label>,
    /// When it was credited.
    pub created_at: Time,
    /// What became of its payment.
    pub status: PurchaseStatus,
    /// What was taken back.
    pub clawed_back: Credits,
    /// What is still to be taken back.
    pub uncollected: Credits,
}

/// Which pool a payment is credited to: the first claim counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The pool.
    pub pool: PoolId,
    /// What is credited.
    pub credits: Credits,
    /// The id of the purchase.
    pub purchase: PurchaseId,
}

/// Which purchases to list.
#[derive(Clone, Debug, Default)]
pub struct PurchaseFilter {
    /// Only of this pool.
    pub pools: Option<Vec<PoolId>>,
    /// Only of this payment.
    pub reference: Option<Label>,
    /// Only older than this one.
    pub before: Option<(Time, PurchaseId)>,
}

impl PurchaseRecord {
    /// The purchase that an entry credited; `None` for an entry of another kind.
    #[must_use]
    pub fn of(entry: &Entry, tenant: TenantId, pool: &PoolName) -> Option<Self> {
        let details = entry.read_details()?;
        let moved: Credits = entry.transfers.iter().map(|leg| leg.amount).sum();
        let all = details.imported_credits.unwrap_or(moved);
        let bonus = details.bonus_credits.unwrap_or_default();
        Some(Self {
            id: entry.purchase?,
            tenant,
            pool_id: entry.pool,
            pool: pool.clone(),
            seq: entry.seq,
            credits: all.saturating_sub(bonus),
            bonus,
            reference: entry.reference.clone()?,
            paid_at: details.paid_at?,
            expires_at: entry.after.addon.expires_at.or(details.valid_until)?,
            valid_until: details.valid_until,
            amount_cents: details.amount_cents,
            currency: details.currency,
            user_id: entry.attribution.user_id.clone(),
            created_at: entry.at,
            status: PurchaseStatus::Credited,
            clawed_back: Credits::ZERO,
            uncollected: Credits::ZERO,
        })
    }
}

pub(super) const PURCHASE_COLUMNS: &str = "u.pool_id, u.purchase_id, u.tenant_id, u.seq, \
    u.credits, u.payment_reference, u.paid_at, u.expires_at, u.amount_cents, u.currency, \
    u.user_id, u.created_at, u.bonus, u.valid_until, u.clawed_back, u.uncollected, u.charged, \
    u.refunded, u.disputed, u.dispute_lost, p.name";

#[derive(FromRow)]
pub(super) struct PurchaseRow {
    pub pool_id: Uuid,
    purchase_id: Uuid,
    tenant_id: Uuid,
    seq: i64,
    credits: i64,
    payment_reference: String,
    paid_at: Time,
    expires_at: Time,
    amount_cents: Option<i64>,
    currency: Option<String>,
    user_id: Option<String>,
    created_at: Time,
    bonus: i64,
    valid_until: Option<Time>,
    clawed_back: i64,
    uncollected: i64,
    charged: i64,
    refunded: i64,
    disputed: i64,
    dispute_lost: i64,
    name: String,
}

impl TryFrom<PurchaseRow> for PurchaseRecord {
    type Error = StoreError;

    fn try_from(row: PurchaseRow) -> Result<Self, StoreError> {
        let corrupt = |column| StoreError::Corrupt {
            table: "purchases",
            column,
            id: row.purchase_id.to_string(),
        };
        let credits = |column, units| Credits::from_units(units).ok_or_else(|| corrupt(column));
        let payment = PaymentState {
            version: 0,
            charged: row.charged,
            refunded: row.refunded,
            disputed: row.disputed,
            dispute_lost: row.dispute_lost,
        };
        let user_id = row.user_id.clone().map(Label::try_from).transpose();
        Ok(Self {
            id: row.purchase_id.into(),
            tenant: row.tenant_id.into(),
            pool_id: row.pool_id.into(),
            pool: row.name.parse().map_err(|_| corrupt("name"))?,
            seq: row.seq,
            credits: credits("credits", row.credits)?,
            bonus: credits("bonus", row.bonus)?,
            reference: row
                .payment_reference
                .parse()
                .map_err(|_| corrupt("payment_reference"))?,
            paid_at: row.paid_at,
            expires_at: row.expires_at,
            valid_until: row.valid_until,
            amount_cents: row.amount_cents,
            currency: row.currency.clone(),
            user_id: user_id.map_err(|_| corrupt("user_id"))?,
            created_at: row.created_at,
            status: payment.status(),
            clawed_back: credits("clawed_back", row.clawed_back)?,
            uncollected: credits("uncollected", row.uncollected)?,
        })
    }
}

impl Store {
    /// Purchases of a tenant, newest first.
    ///
    /// # Errors
    /// The database is away or a row is corrupt.
    pub async fn purchases(
        &self,
        tenant: TenantId,
        filter: &PurchaseFilter,
        limit: i64,
    ) -> Result<Vec<PurchaseRecord>, StoreError> {
        let pools = filter.pools.as_ref();
        let pools = pools.map(|pools| pools.iter().map(|pool| pool.uuid()).collect::<Vec<_>>());
        let statement = format!(
            "SELECT {PURCHASE_COLUMNS}
            FROM purchases AS u
            JOIN pools AS p ON p.pool_id = u.pool_id
            WHERE u.tenant_id = $1
                AND ($2::uuid[] IS NULL OR u.pool_id = ANY($2))
                AND ($3::text IS NULL OR u.payment_reference = $3)
                AND ($4::timestamptz IS NULL OR (u.created_at, u.purchase_id) < ($4, $5))
            ORDER BY u.created_at DESC, u.purchase_id DESC
            LIMIT $6"
        );
        let read = sqlx::query_as(sqlx::AssertSqlSafe(statement))
            .bind(tenant.uuid())
            .bind(pools)
            .bind(filter.reference.as_ref().map(Label::as_str))
            .bind(filter.before.map(|(at, _)| at))
            .bind(filter.before.map(|(_, id)| id.uuid()))
            .bind(limit)
            .fetch_all(self.db());
        let rows: Vec<PurchaseRow> = within(async { Ok(read.await?) }).await?;
        rows.into_iter().map(PurchaseRecord::try_from).collect()
    }

    /// The claim on a payment, if there is one.
    ///
    /// # Errors
    /// The database is away.
    pub async fn find_claim(
        &self,
        tenant: TenantId,
        reference: &Label,
    ) -> Result<Option<Claim>, StoreError> {
        let read = sqlx::query_as(
            r"
            SELECT pool_id, credits, purchase_id
            FROM payment_claims
            WHERE tenant_id = $1
                AND payment_reference = $2
            ",
        )
        .bind(tenant.uuid())
        .bind(reference.as_str())
        .fetch_optional(self.db());
        let row: Option<(Uuid, i64, Uuid)> = within(async { Ok(read.await?) }).await?;
        let claim = |(pool, units, purchase): (Uuid, i64, Uuid)| {
            let credits = Credits::from_units(units).ok_or_else(|| StoreError::Corrupt {
                table: "payment_claims",
                column: "credits",
                id: reference.to_string(),
            })?;
            Ok(Claim {
                pool: pool.into(),
                credits,
                purchase: purchase.into(),
            })
        };
        row.map(claim).transpose()
    }

    /// Claims a payment for a purchase, in a transaction of its own. Gives the claim that counts:
    /// an earlier one stays as it is (invariant exactly-once).
    ///
    /// # Errors
    /// The database is away.
    pub async fn claim_payment(
        &self,
        tenant: TenantId,
        reference: &Label,
        claim: Claim,
        now: Time,
    ) -> Result<Claim, StoreError> {
        let write = sqlx::query(
            r"
            INSERT INTO payment_claims
                (tenant_id, payment_reference, pool_id, credits, purchase_id, claimed_at)
            VALUES ($1, $2, $3, $4, $5, $6)
            ON CONFLICT (tenant_id, payment_reference) DO NOTHING
            ",
        )
        .bind(tenant.uuid())
        .bind(reference.as_str())
        .bind(claim.pool.uuid())
        .bind(claim.credits.units())
        .bind(claim.purchase.uuid())
        .bind(now)
        .execute(self.db());
        within(async { Ok(write.await?) }).await?;
        // Absent only when the winner gave its claim up in this moment: whoever asks tries again.
        let found = self.find_claim(tenant, reference).await?;
        found.ok_or_else(StoreError::timed_out)
    }

    /// The claims on payments that are there.
    ///
    /// # Errors
    /// The database is away.
    pub async fn find_claims(
        &self,
        tenant: TenantId,
        references: &[&Label],
    ) -> Result<HashMap<Label, Claim>, StoreError> {
        let references: Vec<&str> = references.iter().map(|it| it.as_str()).collect();
        let read = sqlx::query_as(
            r"
            SELECT payment_reference, pool_id, credits, purchase_id
            FROM payment_claims
            WHERE tenant_id = $1
                AND payment_reference = ANY($2)
            ",
        )
        .bind(tenant.uuid())
        .bind(references)
        .fetch_all(self.db());
        let rows: Vec<(String, Uuid, i64, Uuid)> = within(async { Ok(read.await?) }).await?;
        let claim = |(reference, pool, units, purchase): (String, Uuid, i64, Uuid)| {
            let corrupt = |column| StoreError::Corrupt {
                table: "payment_claims",
                column,
                id: reference.clone(),
            };
            let label = reference.parse();
            let label = label.map_err(|_| corrupt("payment_reference"))?;
            let credits = Credits::from_units(units).ok_or_else(|| corrupt("credits"))?;
            let claim = Claim {
                pool: pool.into(),
                credits,
                purchase: purchase.into(),
            };
            Ok((label, claim))
        };
        rows.into_iter().map(claim).collect()
    }

    /// As [`Self::claim_payment`] for many at once, of different references. Gives the claims that
    /// count, each with whether it was made here and now: nobody else may be at work on that one.
    ///
    /// # Errors
    /// The database is away.
    pub async fn claim_payments(
        &self,
        tenant: TenantId,
        claims: &[(Label, Claim)],
        now: Time,
    ) -> Result<HashMap<Label, (Claim, bool)>, StoreError> {
        // In one order, so that two that claim the same cannot deadlock.
        let mut sorted: Vec<&(Label, Claim)> = claims.iter().collect();
        sorted.sort_unstable_by_key(|(reference, _)| reference);
        let references: Vec<&Label> = sorted.iter().map(|(reference, _)| reference).collect();
        let texts: Vec<&str> = references.iter().map(|it| it.as_str()).collect();
        let pools: Vec<Uuid> = sorted.iter().map(|(_, it)| it.pool.uuid()).collect();
        let credits: Vec<i64> = sorted.iter().map(|(_, it)| it.credits.units()).collect();
        let ids: Vec<Uuid> = sorted.iter().map(|(_, it)| it.purchase.uuid()).collect();
        let write = sqlx::query_scalar(
            r"
            INSERT INTO payment_claims
                (tenant_id, payment_reference, pool_id, credits, purchase_id, claimed_at)
            SELECT $1, c.reference, c.pool_id, c.credits, c.purchase_id, $6
            FROM unnest($2::text[], $3::uuid[], $4::bigint[], $5::uuid[])
                AS c (reference, pool_id, credits, purchase_id)
            ON CONFLICT (tenant_id, payment_reference) DO NOTHING
            RETURNING payment_reference
            ",
        )
        .bind(tenant.uuid())
        .bind(texts)
        .bind(pools)
        .bind(credits)
        .bind(ids)
        .bind(now)
        .fetch_all(self.db());
        let made: Vec<String> = within(async { Ok(write.await?) }).await?;
        let made: HashSet<&str> = made.iter().map(String::as_str).collect();
        let found = self.find_claims(tenant, &references).await?;
        let found = found.into_iter().map(|(reference, claim)| {
            let is_new = made.contains(reference.as_str());
            (reference, (claim, is_new))
        });
        Ok(found.collect())
    }

    /// Gives a claim up, when the pool was closed before its purchase was booked: a refused
    /// purchase uses up no reference.
    ///
    /// # Errors
    /// The database is away.
    pub async fn release_claim(
        &self,
        tenant: TenantId,
        reference: &Label,
        claim: Claim,
    ) -> Result<(), StoreError> {
        let write = sqlx::query(
            r"
            DELETE FROM payment_claims AS c
            WHERE c.tenant_id = $1
                AND c.payment_reference = $2
                AND c.pool_id = $3
                AND c.purchase_id = $4
                AND NOT EXISTS (
                    SELECT FROM purchases AS u
                    WHERE u.pool_id = c.pool_id
                        AND u.payment_reference = c.payment_reference
                )
            ",
        )
        .bind(tenant.uuid())
        .bind(reference.as_str())
        .bind(claim.pool.uuid())
        .bind(claim.purchase.uuid())
        .execute(self.db());
        within(async { Ok(write.await?) }).await?;
        Ok(())
    }
}
