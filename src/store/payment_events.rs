//! Events that tell of payments: taking one in adds to what is known of its payment, in one short
//! transaction; one that could not be done yet keeps its text until it is.

use sqlx::{Postgres, Transaction};
use uuid::Uuid;

use super::deadline::{undropped, within};
use super::{Store, StoreError};
use crate::ledger::{Label, TenantId, Time};

/// What an event adds to what is known of a payment.
#[derive(Clone, Debug, Default)]
pub struct PaymentChange {
    /// The charge it was made with.
    pub charge_id: Option<Label>,
    /// What was charged, as the charge says it.
    pub charge_amount: Option<i64>,
    /// What was charged, as the checkout session says it.
    pub session_amount: Option<i64>,
    /// What was refunded by now.
    pub refunded: Option<i64>,
    /// A dispute.
    pub dispute: Option<DisputeChange>,
}

/// A dispute as an event tells it.
#[derive(Clone, Debug)]
pub struct DisputeChange {
    /// The dispute's own name.
    pub id: Label,
    /// What it is about.
    pub amount: i64,
    /// `open`, `won` or `lost`; the last two are final.
    pub status: &'static str,
}

/// An event to be taken in.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// Whose it is.
    pub tenant: TenantId,
    /// The provider's own name of it.
    pub id: Label,
    /// The payment it is about.
    pub reference: Label,
    /// Its text, if more is to be done than to keep the payment's state.
    pub payload: Option<String>,
    /// What it adds to the payment's state.
    pub change: PaymentChange,
}

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventStatus {
    /// Stored; to be done.
    Pending,
    /// Done for good.
    Done,
    /// Its payment became an exception: tried again when it is delivered again.
    Excepted,
}

/// An event that is still to be done.
#[derive(Clone, Debug)]
pub struct PendingEvent {
    /// Whose it is.
    pub tenant: TenantId,
    /// Its text.
    pub payload: String,
}

impl EventStatus {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Done => "done",
            Self::Excepted => "excepted",
        }
    }
}

impl Store {
    /// Takes an event in: keeps what it says of the payment, and the event itself as pending where
    /// it has a payload. Gives whether it was done before.
    ///
    /// # Errors
    /// The database is away: then nothing is kept.
    pub async fn take_event(&self, event: NewEvent, now: Time) -> Result<bool, StoreError> {
        let db = self.db().clone();
        undropped(async move {
            let mut tx = db.begin().await?;
            let is_done = insert_event(&mut tx, &event, now).await?;
            if !is_done {
                change_payment(&mut tx, &event, now).await?;
            }
            tx.commit().await?;
            Ok(is_done)
        })
        .await
    }

    /// Notes what became of an event. One that is done stays done.
    ///
    /// # Errors
    /// The database is away.
    pub async fn finish_event(
        &self,
        tenant: TenantId,
        id: &Label,
        status: EventStatus,
    ) -> Result<(), StoreError> {
        let write = sqlx::query(
            r"
            UPDATE payment_events
            SET status = $3, payload = NULL
            WHERE tenant_id = $1
                AND event_id = $2
                AND status <> 'done'
            ",
        )
        .bind(tenant.uuid())
        .bind(id.as_str())
        .bind(status.as_str())
        .execute(self.db());
        within(async { Ok(write.await?) }).await?;
        Ok(())
    }

    /// Takes up to `limit` events that are to be tried again by now, and puts their next attempt
    /// off, so that nobody else takes them meanwhile. Each attempt waits twice as long as the last.
    ///
    /// # Errors
    /// The database is away.
    pub async fn take_pending_events(
        &self,
        now: Time,
        limit: i64,
    ) -> Result<Vec<PendingEvent>, StoreError> {
        let write = sqlx::query_as(
            r"
            WITH due AS (
                SELECT tenant_id, event_id
                FROM payment_events
                WHERE status = 'pending'
                    AND next_attempt_at <= $1
                ORDER BY next_attempt_at
                LIMIT $2
                FOR UPDATE
            )
            UPDATE payment_events AS e
            SET
                attempts = e.attempts + 1,
                next_attempt_at = $1 + make_interval(secs => 10 * 2 ^ LEAST(e.attempts, 8))
            FROM due
            WHERE e.tenant_id = due.tenant_id
                AND e.event_id = due.event_id
            RETURNING e.tenant_id, e.payload
            ",
        )
        .bind(now)
        .bind(limit)
        .fetch_all(self.db());
        let rows: Vec<(Uuid, Option<String>)> = within(async { Ok(write.await?) }).await?;
        let event = |(tenant, payload): (Uuid, Option<String>)| {
            Some(PendingEvent {
                tenant: tenant.into(),
                payload: payload?,
            })
        };
        Ok(rows.into_iter().filter_map(event).collect())
    }
}

/// Stores an event, unless it is there; gives whether it is done already.
async fn insert_event(
    tx: &mut Transaction<'_, Postgres>,
    event: &NewEvent,
    now: Time,
) -> Result<bool, StoreError> {
    let status = match event.payload {
        Some(_) => EventStatus::Pending,
        None => EventStatus::Done,
    };
    // The first attempt is whoever takes it in: the job comes later.
    let later = now + chrono::TimeDelta::seconds(10);
    let inserted = sqlx::query(
        r"
        INSERT INTO payment_events
            (tenant_id, event_id, payment_reference, status, payload, attempts, next_attempt_at,
            received_at)
        VALUES ($1, $2, $3, $4, $5, 0, $6, $7)
        ON CONFLICT (tenant_id, event_id) DO NOTHING
        ",
    )
    .bind(event.tenant.uuid())
    .bind(event.id.as_str())
    .bind(event.reference.as_str())
    .bind(status.as_str())
    .bind(event.payload.as_deref())
    .bind(later)
    .bind(now)
    .execute(&mut **tx)
    .await?;
    if inserted.rows_affected() == 1 {
        return Ok(false);
    }
    let is_done = sqlx::query_scalar(
        r"
        SELECT status = 'done'
        FROM payment_events
        WHERE tenant_id = $1
            AND event_id = $2
        ",
    )
    .bind(event.tenant.uuid())
    .bind(event.id.as_str())
    .fetch_one(&mut **tx)
    .await?;
    Ok(is_done)
}

/// Adds to what is known of a payment, under its row's lock. Its version goes up only if that says
/// anything new.
async fn change_payment(
    tx: &mut Transaction<'_, Postgres>,
    event: &NewEvent,
    now: Time,
) -> Result<(), StoreError> {
    let NewEvent { change, .. } = event;
    let (tenant, reference) = (event.tenant.uuid(), event.reference.as_str());
    sqlx::query(
        r"
        INSERT INTO payments
            (tenant_id, payment_reference, refunded, version, settled_version, created_at)
        VALUES ($1, $2, 0, 0, 0, $3)
        ON CONFLICT (tenant_id, payment_reference) DO NOTHING
        ",
    )
    .bind(tenant)
    .bind(reference)
    .bind(now)
    .execute(&mut **tx)
    .await?;
    sqlx::query("SELECT FROM payments WHERE tenant_id = $1 AND payment_reference = $2 FOR UPDATE")
        .bind(tenant)
        .bind(reference)
        .execute(&mut **tx)
        .await?;
    let has_more = match &change.charge_id {
        Some(charge) if *charge != event.reference => adopt_charge(tx, event, charge).await?,
        Some(_) | None => false,
    };
    let is_disputed = match &change.dispute {
        Some(dispute) => change_dispute(tx, event, dispute).await? || has_more,
        None => has_more,
    };
    sqlx::query(
        r"
        UPDATE payments
        SET
            charge_id = COALESCE(charge_id, $3),
            charge_amount = GREATEST(charge_amount, $4),
            session_amount = GREATEST(session_amount, $5),
            refunded = GREATEST(refunded, $6),
            version = version + 1
        WHERE tenant_id = $1
            AND payment_reference = $2
            AND (
                $7
                OR (charge_id IS NULL AND $3 IS NOT NULL)
                OR GREATEST(charge_amount, $4) IS DISTINCT FROM charge_amount
                OR GREATEST(session_amount, $5) IS DISTINCT FROM session_amount
                OR GREATEST(refunded, $6) IS DISTINCT FROM refunded
            )
        ",
    )
    .bind(tenant)
    .bind(reference)
    .bind(change.charge_id.as_ref().map(Label::as_str))
    .bind(change.charge_amount)
    .bind(change.session_amount)
    .bind(change.refunded)
    .bind(is_disputed)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Takes over what was kept under the charge's name, while the payment's own was not known. Gives
/// whether that was anything. A purchase that was recorded under the charge's name keeps it.
async fn adopt_charge(
    tx: &mut Transaction<'_, Postgres>,
    event: &NewEvent,
    charge: &Label,
) -> Result<bool, StoreError> {
    let (tenant, reference) = (event.tenant.uuid(), event.reference.as_str());
    let disputes = sqlx::query(
        r"
        UPDATE payment_disputes AS d
        SET payment_reference = $2
        WHERE d.tenant_id = $1
            AND d.payment_reference = $3
            AND NOT EXISTS (
                SELECT
                FROM payment_claims AS c
                WHERE c.tenant_id = d.tenant_id
                    AND c.payment_reference = d.payment_reference
            )
        ",
    )
    .bind(tenant)
    .bind(reference)
    .bind(charge.as_str())
    .execute(&mut **tx)
    .await?;
    let refunded = sqlx::query(
        r"
        UPDATE payments AS s
        SET refunded = o.refunded
        FROM payments AS o
        WHERE s.tenant_id = $1
            AND s.payment_reference = $2
            AND o.tenant_id = s.tenant_id
            AND o.payment_reference = $3
            AND o.refunded > s.refunded
            AND NOT EXISTS (
                SELECT
                FROM payment_claims AS c
                WHERE c.tenant_id = o.tenant_id
                    AND c.payment_reference = o.payment_reference
            )
        ",
    )
    .bind(tenant)
    .bind(reference)
    .bind(charge.as_str())
    .execute(&mut **tx)
    .await?;
    Ok(disputes.rows_affected() + refunded.rows_affected() > 0)
}

/// Keeps a dispute; gives whether that says anything new. One that is decided stays as it is,
/// whatever arrives after.
async fn change_dispute(
    tx: &mut Transaction<'_, Postgres>,
    event: &NewEvent,
    dispute: &DisputeChange,
) -> Result<bool, StoreError> {
    let changed = sqlx::query(
        r"
        INSERT INTO payment_disputes AS d
            (tenant_id, dispute_id, payment_reference, amount, status)
        VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (tenant_id, dispute_id) DO UPDATE
        SET
            status = EXCLUDED.status,
            amount = CASE EXCLUDED.status
                WHEN 'open' THEN GREATEST(d.amount, EXCLUDED.amount)
                ELSE EXCLUDED.amount
            END
        WHERE d.status = 'open'
            AND (EXCLUDED.status <> 'open' OR EXCLUDED.amount > d.amount)
        ",
    )
    .bind(event.tenant.uuid())
    .bind(dispute.id.as_str())
    .bind(event.reference.as_str())
    .bind(dispute.amount)
    .bind(dispute.status)
    .execute(&mut **tx)
    .await?;
    Ok(changed.rows_affected() == 1)
}
