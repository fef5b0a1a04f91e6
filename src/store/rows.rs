//! Rows of pools and of the journal as Postgres gives and takes them, and their conversion to
//! ledger values. A row that does not parse is corrupt: loud, never defaulted away.

use serde::de::DeserializeOwned;
use sqlx::FromRow;
use uuid::Uuid;

use super::StoreError;
use crate::ledger::{
    Accounts, Actor, AddonBalance, Attribution, Balance, Credits, Cycle, Denomination, Entry,
    ExpiredAddons, Fingerprint, Hash, LiveAddons, Metadata, MonthlyBalance, Pool, Request, Seats,
    SignedCredits, Terms, Time, Transfer,
};

/// The columns of [`EntryRow`], of a table called `e`.
pub(super) const ENTRY_COLUMNS: &str = "e.pool_id, e.seq, e.kind, e.at, e.actor, \
    e.idempotency_key, e.fingerprint, e.operation, e.user_id, e.workspace_id, e.run_id, e.model, \
    e.reference, e.reason, e.purchase_id, e.metadata, e.details, e.transfers, e.granted, \
    e.monthly, e.held_monthly, e.used, e.cycle_start, e.renews_at, e.expires_at, \
    e.addon_granted, e.addon, e.held_addon, e.addon_expires_at, e.overdraft, e.held_ended, \
    e.cycle_seq, e.addon_seq, e.hash";

/// A row of `entries`, without `recorded_at`.
#[derive(Debug, FromRow)]
pub(super) struct EntryRow {
    pub pool_id: Uuid,
    pub seq: i64,
    pub kind: String,
    pub at: Time,
    pub actor: Option<Uuid>,
    pub idempotency_key: Option<String>,
    pub fingerprint: Option<Vec<u8>>,
    pub operation: Option<String>,
    pub user_id: Option<String>,
    pub workspace_id: Option<String>,
    pub run_id: Option<String>,
    pub model: Option<String>,
    pub reference: Option<String>,
    pub reason: Option<String>,
    pub purchase_id: Option<Uuid>,
    pub metadata: Option<String>,
    pub details: Option<String>,
    pub transfers: String,
    pub granted: i64,
    pub monthly: i64,
    pub held_monthly: i64,
    pub used: i64,
    pub cycle_start: Time,
    pub renews_at: Time,
    pub expires_at: Time,
    pub addon_granted: i64,
    pub addon: i64,
    pub held_addon: i64,
    pub addon_expires_at: Option<Time>,
    pub overdraft: i64,
    pub held_ended: i64,
    pub cycle_seq: i64,
    pub addon_seq: Option<i64>,
    pub hash: Vec<u8>,
}

impl EntryRow {
    fn corrupt(&self, column: &'static str) -> StoreError {
        let id = format!("{}/{}", self.pool_id, self.seq);
        StoreError::Corrupt {
            table: "entries",
            column,
            id,
        }
    }

    fn credits(&self, column: &'static str, units: i64) -> Result<Credits, StoreError> {
        Credits::from_units(units).ok_or_else(|| self.corrupt(column))
    }

    fn parsed<T: TryFrom<String>>(
        &self,
        column: &'static str,
        text: &Option<String>,
    ) -> Result<Option<T>, StoreError> {
        text.clone()
            .map(T::try_from)
            .transpose()
            .map_err(|_| self.corrupt(column))
    }

    fn balance(&self) -> Result<Balance, StoreError> {
        let (settled, held) = ("monthly", "held_monthly");
        Ok(Balance {
            as_of: self.at,
            version: self.seq,
            monthly: MonthlyBalance {
                granted: self.credits("granted", self.granted)?,
                settled: self.credits(settled, self.monthly)?,
                held: self.credits(held, self.held_monthly)?,
                used: self.credits("used", self.used)?,
                cycle_start: self.cycle_start,
                renews_at: self.renews_at,
                expires_at: self.expires_at,
            },
            addon: AddonBalance {
                granted: self.credits("addon_granted", self.addon_granted)?,
                settled: self.credits("addon", self.addon)?,
                held: self.credits("held_addon", self.held_addon)?,
                expires_at: self.addon_expires_at,
            },
            overdraft: self.credits("overdraft", self.overdraft)?,
            held_ended: self.credits("held_ended", self.held_ended)?,
        })
    }

    fn request(&self) -> Result<Option<Request>, StoreError> {
        let key = self.parsed("idempotency_key", &self.idempotency_key)?;
        let Some(key) = key else { return Ok(None) };
        let stored = self
            .fingerprint
            .as_deref()
            .and_then(Fingerprint::from_stored);
        let fingerprint = stored.ok_or_else(|| self.corrupt("fingerprint"))?;
        Ok(Some(Request { key, fingerprint }))
    }
}

impl TryFrom<EntryRow> for Entry {
    type Error = StoreError;

    fn try_from(row: EntryRow) -> Result<Self, StoreError> {
        Ok(Self {
            pool: row.pool_id.into(),
            seq: row.seq,
            kind: row.kind.parse().map_err(|_| row.corrupt("kind"))?,
            at: row.at,
            actor: Actor {
                key: row.actor.map(Into::into),
                request: row.request()?,
            },
            attribution: Attribution {
                operation: row.parsed("operation", &row.operation)?,
                user_id: row.parsed("user_id", &row.user_id)?,
                workspace_id: row.parsed("workspace_id", &row.workspace_id)?,
                run_id: row.parsed("run_id", &row.run_id)?,
                model: row.parsed("model", &row.model)?,
            },
            reference: row.parsed("reference", &row.reference)?,
            reason: row.parsed("reason", &row.reason)?,
            purchase: row.purchase_id.map(Into::into),
            transfers: Transfer::list_from_text(&row.transfers)
                .map_err(|_| row.corrupt("transfers"))?,
            after: row.balance()?,
            cycle_seq: row.cycle_seq,
            addon_seq: row.addon_seq,
            hash: Hash::from_stored(&row.hash).ok_or_else(|| row.corrupt("hash"))?,
            metadata: row.metadata.map(Metadata::stored),
            details: row.details.map(Into::into),
        })
    }
}

/// The columns of [`PoolRow`], of a table called `p`.
pub(super) const POOL_COLUMNS: &str = "p.pool_id, p.tenant_id, p.name, p.created_at, p.seq, \
    p.hash, p.last_at, p.monthly, p.addon, p.held_monthly, p.held_addon, p.held_ended, \
    p.overdraft, p.consumed, p.lapsed, p.issued_monthly, p.issued_addon, p.adjusted, \
    p.clawed_back, p.used, p.plan, p.builders, p.monthly_allowance, p.denomination, \
    p.legacy_prices, p.addons_allowed, p.granted, p.cycle_number, p.cycle_anchor, p.cycle_start, \
    p.cycle_end, p.cycle_seq, p.addon_granted, p.addon_expires_at, p.addon_seq, \
    p.expired_addon_at, p.expired_addon_granted, p.expired_addon_lapsed, p.expired_addon_held, \
    p.expired_addon_seq, p.open_holds, p.next_hold_at, p.requested, p.pending, p.license, \
    p.license_ends_at, p.first_trial_at, p.fallen_back, p.billing_anchor, p.test_clock, \
    p.closed_at";

/// A row of `pools`.
#[derive(Debug, FromRow)]
pub(super) struct PoolRow {
    pub pool_id: Uuid,
    pub tenant_id: Uuid,
    pub name: String,
    pub created_at: Time,
    pub seq: i64,
    pub hash: Vec<u8>,
    pub last_at: Time,
    pub monthly: i64,
    pub addon: i64,
    pub held_monthly: i64,
    pub held_addon: i64,
    pub held_ended: i64,
    pub overdraft: i64,
    pub consumed: i64,
    pub lapsed: i64,
    pub issued_monthly: i64,
    pub issued_addon: i64,
    pub adjusted: i64,
    pub clawed_back: i64,
    pub used: i64,
    pub plan: String,
    pub builders: Option<i64>,
    pub monthly_allowance: Option<i64>,
    pub denomination: i64,
    pub legacy_prices: bool,
    pub addons_allowed: bool,
    pub granted: i64,
    pub cycle_number: i32,
    pub cycle_anchor: Time,
    pub cycle_start: Time,
    pub cycle_end: Time,
    pub cycle_seq: i64,
    pub addon_granted: Option<i64>,
    pub addon_expires_at: Option<Time>,
    pub addon_seq: Option<i64>,
    pub expired_addon_at: Option<Time>,
    pub expired_addon_granted: Option<i64>,
    pub expired_addon_lapsed: Option<i64>,
    pub expired_addon_held: Option<i64>,
    pub expired_addon_seq: Option<i64>,
    pub open_holds: i32,
    pub next_hold_at: Option<Time>,
    pub requested: String,
    pub pending: Option<String>,
    pub license: Option<String>,
    pub license_ends_at: Option<Time>,
    pub first_trial_at: Option<Time>,
    pub fallen_back: bool,
    pub billing_anchor: Time,
    pub test_clock: Option<Uuid>,
    pub closed_at: Option<Time>,
}

impl PoolRow {
    fn corrupt(&self, column: &'static str) -> StoreError {
        StoreError::Corrupt {
            table: "pools",
            column,
            id: self.pool_id.to_string(),
        }
    }

    fn credits(&self, column: &'static str, units: i64) -> Result<Credits, StoreError> {
        Credits::from_units(units).ok_or_else(|| self.corrupt(column))
    }

    fn json<T: DeserializeOwned>(
        &self,
        column: &'static str,
        text: &Option<String>,
    ) -> Result<Option<T>, StoreError> {
        text.as_deref()
            .map(serde_json::from_str)
            .transpose()
            .map_err(|_| self.corrupt(column))
    }

    fn accounts(&self) -> Accounts {
        let balances = [
            self.monthly,
            self.addon,
            self.held_monthly,
            self.held_addon,
            self.held_ended,
            self.overdraft,
            self.consumed,
            self.lapsed,
            self.issued_monthly,
            self.issued_addon,
            self.adjusted,
            self.clawed_back,
        ];
        Accounts::from_stored(balances.map(SignedCredits::from_units))
    }

    fn terms(&self) -> Result<Terms, StoreError> {
        let count = |count: i64| u32::try_from(count).map(Seats::Count);
        let builders = self.builders.map_or(Ok(Seats::Unlimited), count);
        let allowance = |units| self.credits("monthly_allowance", units);
        Ok(Terms {
            plan: self.plan.parse().map_err(|_| self.corrupt("plan"))?,
            builders: builders.map_err(|_| self.corrupt("builders"))?,
            monthly_allowance: self.monthly_allowance.map(allowance).transpose()?,
        })
    }

    fn addons(&self) -> Result<Option<LiveAddons>, StoreError> {
        match (self.addon_granted, self.addon_expires_at, self.addon_seq) {
            (Some(units), Some(expires_at), Some(opened_seq)) => {
                let granted = self.credits("addon_granted", units)?;
                Ok(Some(LiveAddons {
                    granted,
                    expires_at,
                    opened_seq,
                }))
            }
            (None, None, None) => Ok(None),
            _ => Err(self.corrupt("addon_granted")),
        }
    }

    fn expired_addons(&self) -> Result<Option<ExpiredAddons>, StoreError> {
        let Some(expired_at) = self.expired_addon_at else {
            return Ok(None);
        };
        let credits = |column, units: Option<i64>| match units {
            Some(units) => self.credits(column, units),
            None => Err(self.corrupt(column)),
        };
        let opened_seq = self.expired_addon_seq;
        Ok(Some(ExpiredAddons {
            expired_at,
            granted: credits("expired_addon_granted", self.expired_addon_granted)?,
            lapsed: credits("expired_addon_lapsed", self.expired_addon_lapsed)?,
            held: credits("expired_addon_held", self.expired_addon_held)?,
            opened_seq: opened_seq.ok_or_else(|| self.corrupt("expired_addon_seq"))?,
        }))
    }
}

impl TryFrom<PoolRow> for Pool {
    type Error = StoreError;

    fn try_from(row: PoolRow) -> Result<Self, StoreError> {
        let denomination = Denomination::from_units(row.denomination);
        let requested = serde_json::from_str(&row.requested);
        Ok(Self {
            id: row.pool_id.into(),
            tenant: row.tenant_id.into(),
            name: row.name.parse().map_err(|_| row.corrupt("name"))?,
            created_at: row.created_at,
            seq: row.seq,
            hash: Hash::from_stored(&row.hash).ok_or_else(|| row.corrupt("hash"))?,
            last_at: row.last_at,
            accounts: row.accounts(),
            terms: row.terms()?,
            denomination: denomination.ok_or_else(|| row.corrupt("denomination"))?,
            legacy_prices: row.legacy_prices,
            addons_allowed: row.addons_allowed,
            granted: row.credits("granted", row.granted)?,
            used: row.credits("used", row.used)?,
            cycle: Cycle {
                number: row.cycle_number,
                anchor: row.cycle_anchor,
                start: row.cycle_start,
                end: row.cycle_end,
            },
            cycle_seq: row.cycle_seq,
            addons: row.addons()?,
            expired_addons: row.expired_addons()?,
            open_holds: u32::try_from(row.open_holds).map_err(|_| row.corrupt("open_holds"))?,
            next_hold_at: row.next_hold_at,
            pending: row.json("pending", &row.pending)?,
            license: row.json("license", &row.license)?,
            license_ends_at: row.license_ends_at,
            first_trial_at: row.first_trial_at,
            requested: requested.map_err(|_| row.corrupt("requested"))?,
            fallen_back: row.fallen_back,
            billing_anchor: row.billing_anchor,
            test_clock: row.test_clock.map(Into::into),
            closed_at: row.closed_at,
        })
    }
}
