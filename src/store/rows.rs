//! Rows of pools and of the journal as Postgres gives and takes them, and their conversion to
//! ledger values. A row that does not parse is corrupt: loud, never defaulted away.

use serde::de::DeserializeOwned;
use sqlx::postgres::PgRow;
use sqlx::{FromRow, Row};
use uuid::Uuid;

use super::StoreError;
use crate::ledger::{
    Accounts, Actor, AddonBalance, Attribution, Balance, Credits, Cycle, Denomination, Entry,
    ExpiredAddons, Fingerprint, Hash, LiveAddons, Metadata, MonthlyBalance, Pool, Request, Seats,
    SignedCredits, Terms, Time, Transfer,
};

/// A row, and the columns it is read from by their places: looking up each of some fifty by its
/// name costs as much as all else about a row. A statement names them first.
macro_rules! row {
    (
        $(#[$doc:meta])* $name:ident,
        $(#[$columns_doc:meta])* $columns:ident of $table:literal,
        { $first:ident: $first_type:ty, $($field:ident: $type:ty,)+ }
    ) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub(super) struct $name {
            pub $first: $first_type,
            $(pub $field: $type,)+
        }

        $(#[$columns_doc])*
        pub(super) const $columns: &str = concat!(
            $table, ".", stringify!($first), $(", ", $table, ".", stringify!($field)),+
        );

        impl FromRow<'_, PgRow> for $name {
            fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
                let mut places = 0_usize..;
                let mut place = || places.next().unwrap_or(usize::MAX);
                // In the order in which they are written.
                Ok(Self {
                    $first: row.try_get(place())?,
                    $($field: row.try_get(place())?,)+
                })
            }
        }
    };
}
pub(super) use row;

row! {
    /// A row of `entries`, without `recorded_at`.
    EntryRow,
    /// The columns of [`EntryRow`], of a table called `e`.
    ENTRY_COLUMNS of "e",
    {
        pool_id: Uuid,
        seq: i64,
        kind: String,
        at: Time,
        actor: Option<Uuid>,
        idempotency_key: Option<String>,
        fingerprint: Option<Vec<u8>>,
        operation: Option<String>,
        user_id: Option<String>,
        workspace_id: Option<String>,
        run_id: Option<String>,
        model: Option<String>,
        reference: Option<String>,
        reason: Option<String>,
        purchase_id: Option<Uuid>,
        metadata: Option<String>,
        details: Option<String>,
        transfers: String,
        granted: i64,
        monthly: i64,
        held_monthly: i64,
        used: i64,
        cycle_start: Time,
        renews_at: Time,
        expires_at: Time,
        addon_granted: i64,
        addon: i64,
        held_addon: i64,
        addon_expires_at: Option<Time>,
        overdraft: i64,
        held_ended: i64,
        cycle_seq: i64,
        addon_seq: Option<i64>,
        hash: Vec<u8>,
    }
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

row! {
    /// A row of `pools`.
    PoolRow,
    /// The columns of [`PoolRow`], of a table called `p`.
    POOL_COLUMNS of "p",
    {
        pool_id: Uuid,
        tenant_id: Uuid,
        name: String,
        created_at: Time,
        seq: i64,
        hash: Vec<u8>,
        last_at: Time,
        monthly: i64,
        addon: i64,
        held_monthly: i64,
        held_addon: i64,
        held_ended: i64,
        overdraft: i64,
        consumed: i64,
        lapsed: i64,
        issued_monthly: i64,
        issued_addon: i64,
        adjusted: i64,
        clawed_back: i64,
        used: i64,
        plan: String,
        builders: Option<i64>,
        monthly_allowance: Option<i64>,
        denomination: i64,
        legacy_prices: bool,
        addons_allowed: bool,
        granted: i64,
        cycle_number: i32,
        cycle_anchor: Time,
        cycle_start: Time,
        cycle_end: Time,
        cycle_seq: i64,
        addon_granted: Option<i64>,
        addon_expires_at: Option<Time>,
        addon_seq: Option<i64>,
        expired_addon_at: Option<Time>,
        expired_addon_granted: Option<i64>,
        expired_addon_lapsed: Option<i64>,
        expired_addon_held: Option<i64>,
        expired_addon_seq: Option<i64>,
        uncollected: i64,
        open_holds: i32,
        next_hold_at: Option<Time>,
        requested: String,
        pending: Option<String>,
        license: Option<String>,
        license_ends_at: Option<Time>,
        first_trial_at: Option<Time>,
        fallen_back: bool,
        billing_anchor: Time,
        test_clock: Option<Uuid>,
        closed_at: Option<Time>,
    }
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
            uncollected: row.credits("uncollected", row.uncollected)?,
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
