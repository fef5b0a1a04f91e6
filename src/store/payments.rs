//! What is known of payments: their state, and the purchases that follow it.
//!
//! A payment's state only grows, by the events of `payment_events`, under its row's lock: they may
//! come in any order and more than once. Which purchase it belongs to is found by the claim on it:
//! neither waits for the other.

use sqlx::FromRow;
use uuid::Uuid;

use super::deadline::{within, within_scan};
use super::{Store, StoreError};
use crate::ledger::{Label, PaymentState, PoolName, PurchaseId, TenantId};

/// A payment and the purchase that follows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PaymentRecord {
    /// Its state.
    pub state: PaymentState,
    /// The version that the purchase knows.
    pub settled_version: i64,
    /// The purchase and its pool, once it is credited.
    pub purchase: Option<(PurchaseId, PoolName)>,
}

impl Store {
    /// The payment's own name, by the charge it was made with.
    ///
    /// # Errors
    /// The database is away.
    pub async fn payment_of_charge(
        &self,
        tenant: TenantId,
        charge: &Label,
    ) -> Result<Option<Label>, StoreError> {
        let read = sqlx::query_scalar(
            r"
            SELECT payment_reference
            FROM payments
            WHERE tenant_id = $1
                AND charge_id = $2
            -- Its own name before the charge's, which stands in while that is not known.
            ORDER BY payment_reference = charge_id, created_at
            LIMIT 1
            ",
        )
        .bind(tenant.uuid())
        .bind(charge.as_str())
        .fetch_optional(self.db());
        let found: Option<String> = within(async { Ok(read.await?) }).await?;
        found.map(|text| label(text, charge)).transpose()
    }

    /// What is known of a payment; nothing is of one that no event told of.
    ///
    /// # Errors
    /// The database is away or a row is corrupt.
    pub async fn find_payment(
        &self,
        tenant: TenantId,
        reference: &Label,
    ) -> Result<Option<PaymentRecord>, StoreError> {
        // One statement, so one snapshot: the version and the disputes belong together.
        let read = sqlx::query_as(
            r"
            SELECT
                s.version, s.settled_version, s.refunded,
                COALESCE(
                    NULLIF(s.charge_amount, 0), NULLIF(s.session_amount, 0), u.amount_cents, 0
                ) AS charged,
                d.disputed, d.dispute_lost, u.purchase_id, p.name
            FROM payments AS s
            CROSS JOIN LATERAL (
                SELECT
                    COALESCE(SUM(amount) FILTER (WHERE status = 'open'), 0)::bigint AS disputed,
                    COALESCE(SUM(amount) FILTER (WHERE status = 'lost'), 0)::bigint AS dispute_lost
                FROM payment_disputes AS o
                WHERE o.tenant_id = s.tenant_id
                    AND o.payment_reference = s.payment_reference
            ) AS d
            LEFT JOIN payment_claims AS c
                ON c.tenant_id = s.tenant_id
                AND c.payment_reference = s.payment_reference
            LEFT JOIN purchases AS u
                ON u.pool_id = c.pool_id
                AND u.payment_reference = c.payment_reference
            LEFT JOIN pools AS p ON p.pool_id = u.pool_id
            WHERE s.tenant_id = $1
                AND s.payment_reference = $2
            ",
        )
        .bind(tenant.uuid())
        .bind(reference.as_str())
        .fetch_optional(self.db());
        let row: Option<PaymentRow> = within(async { Ok(read.await?) }).await?;
        row.map(|row| row.record(reference)).transpose()
    }

    /// Notes that the purchase knows a payment's state up to a version.
    ///
    /// # Errors
    /// The database is away.
    pub async fn settle_payment(
        &self,
        tenant: TenantId,
        reference: &Label,
        version: i64,
    ) -> Result<(), StoreError> {
        let write = sqlx::query(
            r"
            UPDATE payments
            SET settled_version = $3
            WHERE tenant_id = $1
                AND payment_reference = $2
                AND settled_version < $3
            ",
        )
        .bind(tenant.uuid())
        .bind(reference.as_str())
        .bind(version)
        .execute(self.db());
        within(async { Ok(write.await?) }).await?;
        Ok(())
    }

    /// Up to `limit` payments after this one whose purchase does not know their state.
    ///
    /// # Errors
    /// The database is away or a row is corrupt.
    pub async fn unsettled_payments(
        &self,
        after: Option<&(TenantId, Label)>,
        limit: i64,
    ) -> Result<Vec<(TenantId, Label)>, StoreError> {
        let read = sqlx::query_as(
            r"
            SELECT s.tenant_id, s.payment_reference
            FROM payments AS s
            JOIN payment_claims AS c
                ON c.tenant_id = s.tenant_id
                AND c.payment_reference = s.payment_reference
            JOIN purchases AS u
                ON u.pool_id = c.pool_id
                AND u.payment_reference = c.payment_reference
            WHERE s.version > s.settled_version
                AND (s.tenant_id, s.payment_reference) > ($1, $2)
            ORDER BY s.tenant_id, s.payment_reference
            LIMIT $3
            ",
        )
        .bind(after.map_or(Uuid::nil(), |(tenant, _)| tenant.uuid()))
        .bind(after.map_or("", |(_, reference)| reference.as_str()))
        .bind(limit)
        .fetch_all(self.scans());
        let rows: Vec<(Uuid, String)> = within_scan(async { Ok(read.await?) }).await?;
        let row = |(tenant, reference): (Uuid, String)| {
            let found = label(reference, &tenant)?;
            Ok((tenant.into(), found))
        };
        rows.into_iter().map(row).collect()
    }
}

#[derive(FromRow)]
struct PaymentRow {
    version: i64,
    settled_version: i64,
    charged: i64,
    refunded: i64,
    disputed: i64,
    dispute_lost: i64,
    purchase_id: Option<Uuid>,
    name: Option<String>,
}

impl PaymentRow {
    fn record(self, reference: &Label) -> Result<PaymentRecord, StoreError> {
        let name = self.name.map(|name| name.parse()).transpose();
        let name: Option<PoolName> = name.map_err(|_| StoreError::Corrupt {
            table: "pools",
            column: "name",
            id: reference.to_string(),
        })?;
        Ok(PaymentRecord {
            state: PaymentState {
                version: self.version,
                charged: self.charged,
                refunded: self.refunded,
                disputed: self.disputed,
                dispute_lost: self.dispute_lost,
            },
            settled_version: self.settled_version,
            purchase: self.purchase_id.map(PurchaseId::from).zip(name),
        })
    }
}

fn label(text: String, id: &impl ToString) -> Result<Label, StoreError> {
    Label::try_from(text).map_err(|_| StoreError::Corrupt {
        table: "payments",
        column: "payment_reference",
        id: id.to_string(),
    })
}
