//! What a batch writes, encoded straight from ledger values into Postgres composites: arrays of
//! them are unnested by the statements in `append`. Column order is that of the SQL types.

use serde::Serialize;
use sqlx::encode::{Encode, IsNull};
use sqlx::error::BoxDynError;
use sqlx::postgres::types::PgRecordEncoder;
use sqlx::postgres::{PgArgumentBuffer, PgHasArrayType, PgTypeInfo};
use sqlx::{Postgres, Type};
use uuid::Uuid;

use crate::ledger::{
    Account, Book, Bought, Entry, Hold, IdempotencyKey, Label, Metadata, Pool, PoolId, PriceSource,
    Reason, Seats, Time, Transfer,
};
use crate::store::PurchaseRecord;

macro_rules! composite {
    ($name:ident, $sql:literal, $array:literal) => {
        impl Type<Postgres> for $name<'_> {
            fn type_info() -> PgTypeInfo {
                PgTypeInfo::with_name($sql)
            }
        }

        impl PgHasArrayType for $name<'_> {
            fn array_type_info() -> PgTypeInfo {
                PgTypeInfo::with_name($array)
            }
        }

        impl Encode<'_, Postgres> for $name<'_> {
            fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
                let mut record = PgRecordEncoder::new(buffer);
                self.write(&mut record)?;
                record.finish();
                Ok(IsNull::No)
            }
        }
    };
}

/// `entry_input`.
pub(super) struct EntryInput<'a>(pub &'a Entry);
composite!(EntryInput, "entry_input", "_entry_input");

impl EntryInput<'_> {
    fn write(&self, record: &mut PgRecordEncoder<'_>) -> Result<(), BoxDynError> {
        let entry = self.0;
        let request = entry.actor.request.as_ref();
        let who = &entry.attribution;
        record
            .encode(entry.pool.uuid())?
            .encode(entry.seq)?
            .encode(entry.kind.as_str())?
            .encode(entry.at)?
            .encode(entry.actor.key.map(|key| key.uuid()))?
            .encode(request.map(|request| IdempotencyKey::as_str(&request.key)))?
            .encode(request.map(|request| &request.fingerprint.as_bytes()[..]))?;
        let labels = [
            &who.operation,
            &who.user_id,
            &who.workspace_id,
            &who.run_id,
            &who.model,
        ];
        for label in labels.into_iter().chain([&entry.reference]) {
            record.encode(label.as_ref().map(Label::as_str))?;
        }
        record
            .encode(entry.reason.as_ref().map(Reason::as_str))?
            .encode(entry.purchase.map(|purchase| purchase.uuid()))?
            .encode(entry.metadata.as_ref().map(Metadata::as_str))?
            .encode(entry.details.as_deref())?
            .encode(Transfer::list_to_text(&entry.transfers))?;
        self.write_state(record)
    }

    fn write_state(&self, record: &mut PgRecordEncoder<'_>) -> Result<(), BoxDynError> {
        let entry = self.0;
        let (monthly, addon) = (&entry.after.monthly, &entry.after.addon);
        record
            .encode(monthly.granted.units())?
            .encode(monthly.settled.units())?
            .encode(monthly.held.units())?
            .encode(monthly.used.units())?
            .encode(monthly.cycle_start)?
            .encode(monthly.renews_at)?
            .encode(monthly.expires_at)?
            .encode(addon.granted.units())?
            .encode(addon.settled.units())?
            .encode(addon.held.units())?
            .encode(addon.expires_at)?
            .encode(entry.after.overdraft.units())?
            .encode(entry.after.held_ended.units())?
            .encode(entry.cycle_seq)?
            .encode(entry.addon_seq)?
            .encode(&entry.hash.as_bytes()[..])?;
        Ok(())
    }
}

/// `pool_balance_input`: a pool after debits only.
pub(super) struct PoolBalanceInput<'a>(pub &'a Book);
composite!(
    PoolBalanceInput,
    "pool_balance_input",
    "_pool_balance_input"
);

impl PoolBalanceInput<'_> {
    fn write(&self, record: &mut PgRecordEncoder<'_>) -> Result<(), BoxDynError> {
        use Account::{Addon, Consumed, Monthly, Overdraft};
        write_moved(self.0, &[Monthly, Addon, Overdraft, Consumed], record)
    }
}

/// Where the pool's journal was and is now, some of its accounts, and what is used of the grant.
fn write_moved(
    book: &Book,
    accounts: &[Account],
    record: &mut PgRecordEncoder<'_>,
) -> Result<(), BoxDynError> {
    let pool = book.pool();
    record
        .encode(pool.id.uuid())?
        .encode(book.read_seq())?
        .encode(pool.seq)?
        .encode(&pool.hash.as_bytes()[..])?
        .encode(pool.last_at)?;
    for account in accounts {
        record.encode(pool.accounts.get(*account).units())?;
    }
    record.encode(pool.used.units())?;
    Ok(())
}

/// `pool_cycle_input`: a pool after renewals and debits only.
pub(super) struct PoolCycleInput<'a>(pub &'a Book);
composite!(PoolCycleInput, "pool_cycle_input", "_pool_cycle_input");

impl PoolCycleInput<'_> {
    fn write(&self, record: &mut PgRecordEncoder<'_>) -> Result<(), BoxDynError> {
        use Account::{
            Addon, Consumed, HeldEnded, HeldMonthly, IssuedMonthly, Lapsed, Monthly, Overdraft,
        };
        let accounts = [
            Monthly,
            Addon,
            HeldMonthly,
            HeldEnded,
            Overdraft,
            Consumed,
            Lapsed,
            IssuedMonthly,
        ];
        write_moved(self.0, &accounts, record)?;
        let pool = self.0.pool();
        record
            .encode(pool.denomination.units())?
            .encode(pool.legacy_prices)?
            .encode(pool.addons_allowed)?
            .encode(pool.granted.units())?
            .encode(pool.cycle.number)?
            .encode(pool.cycle.start)?
            .encode(pool.cycle.end)?
            .encode(pool.cycle_seq)?
            .encode(next_due_at(pool))?;
        Ok(())
    }
}

/// Pools on a test clock are advanced by hand.
fn next_due_at(pool: &Pool) -> Option<Time> {
    pool.next_due_at().filter(|_| pool.test_clock.is_none())
}

/// `pool_state_input`: a pool after anything, or a new one.
pub(super) struct PoolInput<'a>(pub &'a Book);
composite!(PoolInput, "pool_state_input", "_pool_state_input");

impl PoolInput<'_> {
    fn write(&self, record: &mut PgRecordEncoder<'_>) -> Result<(), BoxDynError> {
        let pool = self.0.pool();
        record
            .encode(pool.id.uuid())?
            .encode(self.0.read_seq())?
            .encode(pool.tenant.uuid())?
            .encode(pool.name.to_string())?
            .encode(pool.created_at)?
            .encode(pool.seq)?
            .encode(&pool.hash.as_bytes()[..])?
            .encode(pool.last_at)?;
        for account in Account::ALL {
            record.encode(pool.accounts.get(account).units())?;
        }
        record.encode(pool.used.units())?;
        write_terms(pool, record)?;
        write_addons(pool, record)?;
        write_requests(pool, record)
    }
}

fn write_terms(pool: &Pool, record: &mut PgRecordEncoder<'_>) -> Result<(), BoxDynError> {
    let builders = match pool.terms.builders {
        Seats::Count(count) => Some(i64::from(count)),
        Seats::Unlimited => None,
    };
    record
        .encode(pool.terms.plan.as_str())?
        .encode(builders)?
        .encode(pool.terms.monthly_allowance.map(|credits| credits.units()))?
        .encode(pool.denomination.units())?
        .encode(pool.legacy_prices)?
        .encode(pool.addons_allowed)?
        .encode(pool.granted.units())?
        .encode(pool.cycle.number)?
        .encode(pool.cycle.anchor)?
        .encode(pool.cycle.start)?
        .encode(pool.cycle.end)?
        .encode(pool.cycle_seq)?;
    Ok(())
}

fn write_addons(pool: &Pool, record: &mut PgRecordEncoder<'_>) -> Result<(), BoxDynError> {
    let (live, lost) = (pool.addons, pool.expired_addons);
    record
        .encode(live.map(|live| live.granted.units()))?
        .encode(live.map(|live| live.expires_at))?
        .encode(live.map(|live| live.opened_seq))?
        .encode(lost.map(|lost| lost.expired_at))?
        .encode(lost.map(|lost| lost.granted.units()))?
        .encode(lost.map(|lost| lost.lapsed.units()))?
        .encode(lost.map(|lost| lost.held.units()))?
        .encode(lost.map(|lost| lost.opened_seq))?
        .encode(pool.uncollected.units())?
        .encode(i32::try_from(pool.open_holds)?)?
        .encode(pool.next_hold_at)?;
    Ok(())
}

fn write_requests(pool: &Pool, record: &mut PgRecordEncoder<'_>) -> Result<(), BoxDynError> {
    record
        .encode(json(&pool.requested)?)?
        .encode(pool.pending.as_ref().map(json).transpose()?)?
        .encode(pool.license.as_ref().map(json).transpose()?)?
        .encode(pool.license_ends_at)?
        .encode(pool.first_trial_at)?
        .encode(pool.fallen_back)?
        .encode(pool.billing_anchor)?
        .encode(pool.test_clock.map(|clock| clock.uuid()))?
        .encode(pool.closed_at)?
        .encode(next_due_at(pool))?;
    Ok(())
}

/// `hold_input`.
pub(super) struct HoldInput<'a>(pub PoolId, pub &'a Hold);
composite!(HoldInput, "hold_input", "_hold_input");

impl HoldInput<'_> {
    fn write(&self, record: &mut PgRecordEncoder<'_>) -> Result<(), BoxDynError> {
        let (pool, hold, facts) = (self.0, self.1, &self.1.facts);
        let who = &hold.attribution;
        let opened_at = facts.id.locate(pool).map(|(_, at)| at);
        record
            .encode(pool.uuid())?
            .encode(hold.seq)?
            .encode(opened_at)?
            .encode(hold.last_seq)?
            .encode(hold.status.as_str())?
            .encode(facts.expires_at)?
            .encode(facts.requested.units())?
            .encode(facts.monthly.units())?
            .encode(facts.addon.units())?
            .encode(facts.cycle_seq)?
            .encode(facts.addon_seq)?
            .encode(facts.price.map(PriceSource::as_str))?;
        let labels = [
            &who.operation,
            &who.user_id,
            &who.workspace_id,
            &who.run_id,
            &who.model,
        ];
        for label in labels {
            record.encode(label.as_ref().map(Label::as_str))?;
        }
        Ok(())
    }
}

/// `bought_input`: what became of a purchase.
pub(super) struct BoughtInput<'a>(pub PoolId, pub &'a Bought);
composite!(BoughtInput, "bought_input", "_bought_input");

impl BoughtInput<'_> {
    fn write(&self, record: &mut PgRecordEncoder<'_>) -> Result<(), BoxDynError> {
        let (bought, payment) = (self.1, &self.1.payment);
        record
            .encode(self.0.uuid())?
            .encode(bought.seq)?
            .encode(bought.clawed_back.units())?
            .encode(bought.clawed_from)?
            .encode(bought.uncollected.units())?
            .encode(payment.version)?
            .encode(payment.charged)?
            .encode(payment.refunded)?
            .encode(payment.disputed)?
            .encode(payment.dispute_lost)?;
        Ok(())
    }
}

/// `refund_input`: a refund's entry and the number of its debit.
pub(super) struct RefundInput<'a> {
    pub entry: &'a Entry,
    pub debit_seq: i64,
    pub credits: i64,
}
composite!(RefundInput, "refund_input", "_refund_input");

impl RefundInput<'_> {
    fn write(&self, record: &mut PgRecordEncoder<'_>) -> Result<(), BoxDynError> {
        record
            .encode(self.entry.pool.uuid())?
            .encode(self.debit_seq)?
            .encode(self.entry.seq)?
            .encode(self.credits)?;
        Ok(())
    }
}

fn json<T: Serialize>(value: &T) -> Result<String, serde_json::Error> {
    serde_json::to_string(value)
}

/// `credited_purchase_input`.
pub(super) struct PurchaseInput<'a>(pub &'a PurchaseRecord);
composite!(
    PurchaseInput,
    "credited_purchase_input",
    "_credited_purchase_input"
);

impl PurchaseInput<'_> {
    fn write(&self, record: &mut PgRecordEncoder<'_>) -> Result<(), BoxDynError> {
        let purchase = self.0;
        let pool: Uuid = purchase.pool_id.uuid();
        record
            .encode(pool)?
            .encode(purchase.id.uuid())?
            .encode(purchase.tenant.uuid())?
            .encode(purchase.seq)?
            .encode(purchase.credits.units())?
            .encode(purchase.bonus.units())?
            .encode(purchase.reference.as_str())?
            .encode(purchase.paid_at)?
            .encode(purchase.expires_at)?
            .encode(purchase.valid_until)?
            .encode(purchase.amount_cents)?
            .encode(purchase.currency.as_deref())?
            .encode(purchase.user_id.as_ref().map(Label::as_str))?
            .encode(purchase.created_at)?;
        Ok(())
    }
}
