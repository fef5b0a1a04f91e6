//! What is read along with pools for the commands that need it: open holds, debits to be refunded.
//!
//! Holds come with their pool's row, in the same statement, so the two never disagree. A pool
//! without open holds has nothing to look up.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use serde::Deserialize;
use sqlx::{FromRow, PgConnection, Row};
use uuid::Uuid;

use super::rows::{ENTRY_COLUMNS, EntryRow};
use super::{StoreError, StoredPool};
use crate::ledger::{
    Attribution, Bought, Credits, Entry, EntryId, Hold, HoldFacts, Label, MAX_RUN_DEBITS,
    PaymentState, PoolId, RefundableDebit, Time,
};

/// A column `holds` of a pool `p`: JSON of its open holds and of those that `named` selects, NULL
/// where `wanted` is not so.
pub(super) fn holds_column(wanted: &str, named: &str) -> String {
    format!(
        "CASE WHEN {wanted} THEN (
            SELECT COALESCE(json_agg(h), '[]')::text
            FROM (
                SELECT * FROM holds AS o WHERE o.pool_id = p.pool_id AND o.status = 'open'
                {named}
            ) AS h
        ) END AS holds"
    )
}

/// The holds that were read along with a pool's row.
pub(super) fn holds_of(
    pool: PoolId,
    row: &sqlx::postgres::PgRow,
) -> Result<Option<Vec<Hold>>, StoreError> {
    let Some(text) = row.try_get::<Option<String>, _>("holds")? else {
        return Ok(None);
    };
    let corrupt = |_| StoreError::Corrupt {
        table: "holds",
        column: "row",
        id: pool.to_string(),
    };
    let rows: Vec<HoldRow> = serde_json::from_str(&text).map_err(corrupt)?;
    let holds: Result<Vec<Hold>, StoreError> = rows.into_iter().map(Hold::try_from).collect();
    holds.map(Some)
}

/// A column `bought` of a pool `p`: JSON of its purchases, NULL where `wanted` is not so.
pub(super) fn bought_column(wanted: &str) -> String {
    format!(
        "CASE WHEN {wanted} THEN (
            SELECT json_agg(u)::text
            FROM purchases AS u
            WHERE u.pool_id = p.pool_id
        ) END AS bought"
    )
}

/// The purchases that were read along with a pool's row.
pub(super) fn bought_of(
    pool: PoolId,
    row: &sqlx::postgres::PgRow,
) -> Result<Vec<Bought>, StoreError> {
    let Some(text) = row.try_get::<Option<String>, _>("bought")? else {
        return Ok(Vec::new());
    };
    let corrupt = |column| StoreError::Corrupt {
        table: "purchases",
        column,
        id: pool.to_string(),
    };
    let rows: Vec<BoughtRow> = serde_json::from_str(&text).map_err(|_| corrupt("row"))?;
    let bought = rows.into_iter().map(|row| {
        let credits = |column, units| Credits::from_units(units).ok_or_else(|| corrupt(column));
        Ok(Bought {
            id: row.purchase_id.into(),
            seq: row.seq,
            credits: credits("credits", row.credits)? + credits("bonus", row.bonus)?,
            valid_until: row.valid_until.unwrap_or(row.expires_at),
            clawed_back: credits("clawed_back", row.clawed_back)?,
            clawed_from: row.clawed_from,
            uncollected: credits("uncollected", row.uncollected)?,
            payment: PaymentState {
                version: row.payment_version,
                charged: row.charged,
                refunded: row.refunded,
                disputed: row.disputed,
                dispute_lost: row.dispute_lost,
            },
        })
    });
    bought.collect()
}

/// A row of `purchases`, as JSON: what takes and gives back.
#[derive(Debug, Deserialize)]
struct BoughtRow {
    purchase_id: Uuid,
    seq: i64,
    credits: i64,
    bonus: i64,
    expires_at: Time,
    valid_until: Option<Time>,
    clawed_back: i64,
    clawed_from: Option<i64>,
    uncollected: i64,
    payment_version: i64,
    charged: i64,
    refunded: i64,
    disputed: i64,
    dispute_lost: i64,
}

/// A row of `holds`, as JSON.
#[derive(Debug, Deserialize)]
struct HoldRow {
    pool_id: Uuid,
    seq: i64,
    opened_at: Time,
    last_seq: i64,
    status: String,
    expires_at: Time,
    requested: i64,
    monthly: i64,
    addon: i64,
    cycle_seq: i64,
    addon_seq: Option<i64>,
    price: Option<String>,
    operation: Option<String>,
    user_id: Option<String>,
    workspace_id: Option<String>,
    run_id: Option<String>,
    model: Option<String>,
}

impl TryFrom<HoldRow> for Hold {
    type Error = StoreError;

    fn try_from(row: HoldRow) -> Result<Self, StoreError> {
        let id = format!("{}/{}", row.pool_id, row.seq);
        let corrupt = |column| StoreError::Corrupt {
            table: "holds",
            column,
            id: id.clone(),
        };
        let credits = |column, units| Credits::from_units(units).ok_or_else(|| corrupt(column));
        let label = |column, text: Option<String>| {
            let label = text.map(Label::try_from).transpose();
            label.map_err(|_| corrupt(column))
        };
        Ok(Self {
            seq: row.seq,
            last_seq: row.last_seq,
            status: row.status.try_into().map_err(|_| corrupt("status"))?,
            facts: HoldFacts {
                id: EntryId::of(row.pool_id.into(), row.seq, row.opened_at),
                requested: credits("requested", row.requested)?,
                monthly: credits("monthly", row.monthly)?,
                addon: credits("addon", row.addon)?,
                cycle_seq: row.cycle_seq,
                addon_seq: row.addon_seq,
                expires_at: row.expires_at,
                price: row
                    .price
                    .map(TryInto::try_into)
                    .transpose()
                    .map_err(|_| corrupt("price"))?,
            },
            attribution: Attribution {
                operation: label("operation", row.operation)?,
                user_id: label("user_id", row.user_id)?,
                workspace_id: label("workspace_id", row.workspace_id)?,
                run_id: label("run_id", row.run_id)?,
                model: label("model", row.model)?,
            },
        })
    }
}

const REFUNDED: &str = "COALESCE((
    SELECT SUM(r.credits)
    FROM refunds AS r
    WHERE r.pool_id = e.pool_id
        AND r.debit_seq = e.seq
), 0)::bigint AS refunded";

static FINDING_DEBITS: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT {ENTRY_COLUMNS}, {REFUNDED}
        FROM unnest($1::uuid[], $2::bigint[]) AS k (pool_id, seq)
        JOIN entries AS e
            ON e.pool_id = k.pool_id
            AND e.seq = k.seq"
    )
});

static FINDING_RUNS: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT {ENTRY_COLUMNS}, {REFUNDED}
        FROM unnest($1::uuid[], $2::text[]) AS k (pool_id, run_id)
        CROSS JOIN LATERAL (
            SELECT *
            FROM entries AS o
            WHERE o.pool_id = k.pool_id
                AND o.run_id = k.run_id
                AND o.kind = 'debit'
            -- One more than may be refunded at once, so that it is noticed.
            LIMIT {MAX_RUN_DEBITS} + 1
        ) AS e"
    )
});

/// Adds the debits that refunds name, with what earlier refunds gave back.
pub(super) async fn load_debits(
    connection: &mut PgConnection,
    debits: &[(PoolId, i64)],
    pools: &mut HashMap<PoolId, StoredPool>,
) -> Result<(), StoreError> {
    if debits.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = debits.iter().map(|(pool, _)| pool.uuid()).collect();
    let seqs: Vec<i64> = debits.iter().map(|(_, seq)| *seq).collect();
    let rows = sqlx::query(FINDING_DEBITS.as_str())
        .bind(ids)
        .bind(seqs)
        .fetch_all(connection)
        .await?;
    keep(&rows, pools)
}

/// As [`load_debits`], all debits of runs.
pub(super) async fn load_runs(
    connection: &mut PgConnection,
    runs: &[(PoolId, Label)],
    pools: &mut HashMap<PoolId, StoredPool>,
) -> Result<(), StoreError> {
    if runs.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = runs.iter().map(|(pool, _)| pool.uuid()).collect();
    let names: Vec<&str> = runs.iter().map(|(_, run)| run.as_str()).collect();
    let rows = sqlx::query(FINDING_RUNS.as_str())
        .bind(ids)
        .bind(names)
        .fetch_all(connection)
        .await?;
    keep(&rows, pools)
}

fn keep(
    rows: &[sqlx::postgres::PgRow],
    pools: &mut HashMap<PoolId, StoredPool>,
) -> Result<(), StoreError> {
    for row in rows {
        let entry = Entry::try_from(EntryRow::from_row(row)?)?;
        let refunded = Credits::from_units(row.try_get("refunded")?);
        let debit = RefundableDebit {
            refunded: refunded.ok_or_else(|| StoreError::Corrupt {
                table: "refunds",
                column: "credits",
                id: format!("{}/{}", entry.pool, entry.seq),
            })?,
            entry: Arc::new(entry),
        };
        if let Some(stored) = pools.get_mut(&debit.entry.pool) {
            stored.along.debits.push(debit);
        }
    }
    Ok(())
}
