//! What a batch writes: entries are appended and their pools saved by one statement, which counts
//! only for pools whose `seq` is still what was read. Why that is enough is told in `batch`.

use std::sync::{Arc, LazyLock};

use sqlx::error::BoxDynError;
use sqlx::postgres::PgArguments;
use sqlx::{Arguments, Encode, PgConnection, Postgres, Type};
use uuid::Uuid;

use super::PurchaseRecord;
use super::inputs::{
    BoughtInput, EntryInput, HoldInput, PoolBalanceInput, PoolCycleInput, PoolInput, PurchaseInput,
    RefundInput,
};
use crate::ledger::{Book, Changed, Entry, Kind, TenantId, Time};

/// Pools are updated, and so locked, in the order in which they are given: in id order everywhere,
/// two replicas cannot deadlock.
fn in_id_order<'a>(books: &[&'a Book]) -> impl Iterator<Item = &'a Book> {
    let mut books = books.to_vec();
    books.sort_unstable_by_key(|book| book.pool().id);
    books.into_iter()
}

/// The catalogue that decisions were made with, by tenant.
#[derive(Clone, Debug, Default)]
pub struct UsedCatalogues {
    tenants: Vec<Uuid>,
    versions: Vec<i64>,
}

impl FromIterator<(TenantId, i64)> for UsedCatalogues {
    fn from_iter<I: IntoIterator<Item = (TenantId, i64)>>(used: I) -> Self {
        let used = used
            .into_iter()
            .map(|(tenant, version)| (tenant.uuid(), version));
        let (tenants, versions) = used.unzip();
        Self { tenants, versions }
    }
}

/// A statement that gives the pools it saved, with its values encoded.
pub(super) struct Saving {
    sql: &'static str,
    values: Result<PgArguments, BoxDynError>,
}

impl Saving {
    fn new(sql: &'static str) -> Self {
        let values = Ok(PgArguments::default());
        Self { sql, values }
    }

    fn bind<'t>(mut self, value: impl Encode<'t, Postgres> + Type<Postgres>) -> Self {
        self.values = self.values.and_then(|mut values| {
            values.add(value)?;
            Ok(values)
        });
        self
    }

    /// The pools it saved.
    pub async fn run(self, connection: &mut PgConnection) -> Result<Vec<Uuid>, sqlx::Error> {
        let values = self.values.map_err(sqlx::Error::Encode)?;
        sqlx::query_scalar_with(self.sql, values)
            .fetch_all(connection)
            .await
    }
}

/// What a batch writes, made ready to be sent: it holds nothing of the books it was made from.
#[derive(Default)]
pub struct Writes(pub(super) Vec<Saving>);

impl Writes {
    /// The entries of the books, and their pools.
    #[must_use]
    pub fn of(
        books: &[&Book],
        purchases: &[PurchaseRecord],
        used: &UsedCatalogues,
        recorded_at: Time,
    ) -> Self {
        let books: Vec<&Book> = in_id_order(books).collect();
        let that = |changed| {
            let books = books.iter().filter(move |book| book.changed() == changed);
            books.copied().collect::<Vec<&Book>>()
        };
        let [balances, cycles, whole] =
            [Changed::Balances, Changed::Cycle, Changed::Everything].map(that);
        let any = |books: &[&Book]| !books.is_empty();
        let savings = [
            any(&balances).then(|| save_balances(&balances, used, recorded_at)),
            any(&cycles).then(|| save_cycles(&cycles, used, recorded_at)),
            any(&whole).then(|| save(&whole, purchases, used, recorded_at)),
        ];
        Self(savings.into_iter().flatten().collect())
    }
}

fn save_balances(books: &[&Book], used: &UsedCatalogues, recorded_at: Time) -> Saving {
    let inputs: Vec<PoolBalanceInput> = books.iter().map(|book| PoolBalanceInput(book)).collect();
    Saving::new(SAVING_BALANCES.as_str())
        .bind(inputs)
        .bind(entries_of(books))
        .bind(recorded_at)
        .bind(&used.tenants)
        .bind(&used.versions)
}

fn save_cycles(books: &[&Book], used: &UsedCatalogues, recorded_at: Time) -> Saving {
    let inputs: Vec<PoolCycleInput> = books.iter().map(|book| PoolCycleInput(book)).collect();
    Saving::new(SAVING_CYCLES.as_str())
        .bind(inputs)
        .bind(entries_of(books))
        .bind(recorded_at)
        .bind(&used.tenants)
        .bind(&used.versions)
}

fn save(
    books: &[&Book],
    purchases: &[PurchaseRecord],
    used: &UsedCatalogues,
    recorded_at: Time,
) -> Saving {
    let inputs: Vec<PoolInput> = books.iter().map(|book| PoolInput(book)).collect();
    let bought: Vec<PurchaseInput> = purchases.iter().map(PurchaseInput).collect();
    Saving::new(SAVING_POOLS.as_str())
        .bind(inputs)
        .bind(entries_of(books))
        .bind(recorded_at)
        .bind(&used.tenants)
        .bind(&used.versions)
        .bind(bought)
        .bind(holds_of_books(books))
        .bind(refunds_of_books(books))
        .bind(bought_of_books(books))
}

fn entries_of<'a>(books: &[&'a Book]) -> Vec<EntryInput<'a>> {
    let entries = books.iter().flat_map(|book| book.entries());
    entries.map(|entry| EntryInput(entry)).collect()
}

fn holds_of_books<'a>(books: &[&'a Book]) -> Vec<HoldInput<'a>> {
    let of_book = |book: &&'a Book| {
        let book: &'a Book = book;
        let pool = book.pool().id;
        book.changed_holds().map(move |hold| HoldInput(pool, hold))
    };
    books.iter().flat_map(of_book).collect()
}

fn bought_of_books<'a>(books: &[&'a Book]) -> Vec<BoughtInput<'a>> {
    let of_book = |book: &&'a Book| {
        let book: &'a Book = book;
        let pool = book.pool().id;
        let changed = book.changed_bought();
        changed.map(move |bought| BoughtInput(pool, bought))
    };
    books.iter().flat_map(of_book).collect()
}

fn refunds_of_books<'a>(books: &[&'a Book]) -> Vec<RefundInput<'a>> {
    let entries = books.iter().flat_map(|book| book.entries());
    let refunds = entries.filter(|entry| entry.kind == Kind::Refund);
    let input = |entry: &'a Arc<Entry>| {
        let facts = entry.read_details()?.refund?;
        let (debit_seq, _) = facts.debit.locate(entry.pool)?;
        let credits = facts.credits().units();
        Some(RefundInput {
            entry,
            debit_seq,
            credits,
        })
    };
    refunds.filter_map(input).collect()
}

/// Whether every catalogue is the one that was used. It names no pool, so it is asked once.
const SAME_CATALOGUES: &str = "NOT EXISTS (
    SELECT FROM unnest($4::uuid[], $5::bigint[]) AS used (tenant_id, version)
    JOIN tenants AS t ON t.tenant_id = used.tenant_id
    WHERE t.catalogue_version <> used.version
)";

/// Entries of the pools that were saved. `IS TRUE` keeps the planner from turning the test into a
/// join: it expects one pool, and would compare every pool with every entry.
const APPENDING: &str = "appended AS (
    INSERT INTO entries (
        pool_id, seq, kind, at, recorded_at, actor, idempotency_key, fingerprint, operation,
        user_id, workspace_id, run_id, model, reference, reason, purchase_id, metadata, details,
        transfers, granted, monthly, held_monthly, used, cycle_start, renews_at, expires_at,
        addon_granted, addon, held_addon, addon_expires_at, overdraft, held_ended, cycle_seq,
        addon_seq, hash
    )
    SELECT
        e.pool_id, e.seq, e.kind, e.at, $3, e.actor, e.idempotency_key, e.fingerprint,
        e.operation, e.user_id, e.workspace_id, e.run_id, e.model, e.reference, e.reason,
        e.purchase_id, e.metadata, e.details, e.transfers, e.granted, e.monthly, e.held_monthly,
        e.used, e.cycle_start, e.renews_at, e.expires_at, e.addon_granted, e.addon, e.held_addon,
        e.addon_expires_at, e.overdraft, e.held_ended, e.cycle_seq, e.addon_seq, e.hash
    FROM unnest($2::entry_input[]) AS e
    WHERE (e.pool_id IN (SELECT pool_id FROM saved)) IS TRUE
)";

/// Saves some columns of pools that are there, and appends their entries.
fn saving(columns: &str, input: &str) -> String {
    let values = format!("b.{}", columns.replace(", ", ", b."));
    format!(
        "WITH saved AS (
            UPDATE pools AS p
            SET ({columns}) = ROW({values})
            FROM unnest($1::{input}[]) AS b
            WHERE p.pool_id = b.pool_id
                AND p.seq = b.read_seq
                AND {SAME_CATALOGUES}
            RETURNING p.pool_id
        ), {APPENDING}
        SELECT pool_id FROM saved"
    )
}

static SAVING_BALANCES: LazyLock<String> = LazyLock::new(|| {
    let columns = "seq, hash, last_at, monthly, addon, overdraft, consumed, used";
    saving(columns, "pool_balance_input")
});

static SAVING_CYCLES: LazyLock<String> = LazyLock::new(|| {
    let columns = "seq, hash, last_at, monthly, addon, held_monthly, held_ended, overdraft, \
        consumed, lapsed, issued_monthly, used, denomination, legacy_prices, addons_allowed, \
        granted, cycle_number, cycle_start, cycle_end, cycle_seq, next_due_at";
    saving(columns, "pool_cycle_input")
});

/// Every column of `pools`, in the order of `pool_state_input` without `read_seq`.
const SAVED_COLUMNS: &str = "pool_id, tenant_id, name, created_at, seq, hash, last_at, monthly, \
    addon, held_monthly, held_addon, held_ended, overdraft, consumed, lapsed, issued_monthly, \
    issued_addon, adjusted, clawed_back, used, plan, builders, monthly_allowance, denomination, \
    legacy_prices, addons_allowed, granted, cycle_number, cycle_anchor, cycle_start, cycle_end, \
    cycle_seq, addon_granted, addon_expires_at, addon_seq, expired_addon_at, \
    expired_addon_granted, expired_addon_lapsed, expired_addon_held, expired_addon_seq, \
    uncollected, open_holds, next_hold_at, requested, pending, license, license_ends_at, \
    first_trial_at, \
    fallen_back, billing_anchor, test_clock, closed_at, next_due_at";

/// Every column of `holds`.
const HOLD_COLUMNS: &str = "pool_id, seq, opened_at, last_seq, status, expires_at, requested, \
    monthly, addon, cycle_seq, addon_seq, price, operation, user_id, workspace_id, run_id, \
    model";

/// What became of a purchase, in the order of `bought_input`.
pub(super) const PAYMENT_COLUMNS: &str = "clawed_back, clawed_from, uncollected, \
    payment_version, charged, refunded, disputed, dispute_lost";

static SAVING_POOLS: LazyLock<String> = LazyLock::new(|| {
    let values = format!("b.{}", SAVED_COLUMNS.replace(", ", ", b."));
    let hold_values = format!("h.{}", HOLD_COLUMNS.replace(", ", ", h."));
    let payment_values = format!("b.{}", PAYMENT_COLUMNS.replace(", ", ", b."));
    format!(
        "WITH updated AS (
            UPDATE pools AS p
            SET ({SAVED_COLUMNS}) = ROW({values})
            FROM unnest($1::pool_state_input[]) AS b
            WHERE p.pool_id = b.pool_id
                AND p.seq = b.read_seq
                AND {SAME_CATALOGUES}
            RETURNING p.pool_id
        ), created AS (
            INSERT INTO pools ({SAVED_COLUMNS}, recorded_at)
            SELECT {values}, $3
            FROM unnest($1::pool_state_input[]) AS b
            WHERE b.read_seq = 0
            ON CONFLICT (pool_id) DO NOTHING
            RETURNING pool_id
        ), saved AS (
            SELECT pool_id FROM updated
            UNION ALL
            SELECT pool_id FROM created
        ), {APPENDING}, bought AS (
            INSERT INTO purchases (
                pool_id, purchase_id, tenant_id, seq, credits, bonus, payment_reference, paid_at,
                expires_at, valid_until, amount_cents, currency, user_id, created_at,
                {PAYMENT_COLUMNS}
            )
            SELECT
                u.pool_id, u.purchase_id, u.tenant_id, u.seq, u.credits, u.bonus,
                u.payment_reference, u.paid_at, u.expires_at, u.valid_until, u.amount_cents,
                u.currency, u.user_id, u.created_at, {payment_values}
            FROM unnest($6::credited_purchase_input[]) AS u
            JOIN unnest($9::bought_input[]) AS b ON b.pool_id = u.pool_id AND b.seq = u.seq
            WHERE (u.pool_id IN (SELECT pool_id FROM saved)) IS TRUE
        ), taken AS (
            -- Of purchases that were there before: what this statement adds, it does not see.
            UPDATE purchases AS u
            SET ({PAYMENT_COLUMNS}) = ROW({payment_values})
            FROM unnest($9::bought_input[]) AS b
            WHERE u.pool_id = b.pool_id
                AND u.seq = b.seq
                AND (u.pool_id IN (SELECT pool_id FROM saved)) IS TRUE
        ), held AS (
            INSERT INTO holds ({HOLD_COLUMNS})
            SELECT {hold_values}
            FROM unnest($7::hold_input[]) AS h
            WHERE (h.pool_id IN (SELECT pool_id FROM saved)) IS TRUE
            ON CONFLICT (pool_id, seq) DO UPDATE SET
                last_seq = excluded.last_seq,
                status = excluded.status,
                expires_at = excluded.expires_at
        ), refunded AS (
            INSERT INTO refunds (pool_id, debit_seq, seq, credits)
            SELECT r.pool_id, r.debit_seq, r.seq, r.credits
            FROM unnest($8::refund_input[]) AS r
            WHERE (r.pool_id IN (SELECT pool_id FROM saved)) IS TRUE
        )
        SELECT pool_id FROM saved"
    )
});
