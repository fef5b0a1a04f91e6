//! Holds in JSON: what is asked of them, and how one is shown.
//!
//! A hold's JSON is made from one journal entry about it, so a replay gives the first answer again.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::answer::Number;
use super::balance::BalanceBody;
use super::debits::DebitRequest;
use super::extract::{Amount, MetadataBody, Violations};
use super::problem::Problem;
use super::time::Stamp;
use super::words::{HoldStatusWord, ModeWord, RoundWord};
use crate::ledger::{
    Capture, Credits, Debit, Entry, EntryId, Extension, HoldStatus, Kind, Label, Mode, NewHold,
    PoolName, Round,
};

/// How long a hold is open when nothing is said.
const USUAL_SECONDS: u32 = 900;
/// How long it may be open.
const MOST_SECONDS: u32 = 86_400;

/// Credits to be reserved.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "credits": 100, "operation": "app_generation", "user_id": "u-1", "run_id": "r-55"
}))]
pub struct HoldRequest {
    /// How many. May be left out where the operation's price is fixed for the pool, and must then
    /// be that price.
    credits: Option<Amount>,
    /// How to bring `credits` to a multiple of the plan's denomination; refused when left out.
    #[schema(value_type = Option<RoundWord>)]
    round: Option<Round>,
    /// Whether to reserve what is there when that is less; `false` when left out.
    partial: Option<bool>,
    /// A code of the rate card.
    operation: Option<String>,
    /// The client's user.
    user_id: Option<String>,
    /// The client's workspace.
    workspace_id: Option<String>,
    /// The run it is part of.
    run_id: Option<String>,
    /// The model that will do the work.
    model: Option<String>,
    /// The client's own.
    metadata: Option<MetadataBody>,
    /// For how long; 900 when left out.
    #[schema(minimum = 1, maximum = 86400)]
    expires_in_seconds: Option<u32>,
}

/// Another end for a hold.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"expires_in_seconds": 3600}))]
pub struct ExtendRequest {
    /// For how long from now.
    #[schema(minimum = 1, maximum = 86400)]
    expires_in_seconds: u32,
}

/// Credits to be spent from a hold.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"credits": 70, "mode": "settle"}))]
pub struct CaptureRequest {
    /// What the work cost: less than is held, as much, or more.
    credits: Amount,
    /// How to bring `credits` to a multiple of the plan's denomination; refused when left out.
    #[schema(value_type = Option<RoundWord>)]
    round: Option<Round>,
    /// How what is above the hold is debited, as for a debit. Only `settle` books the work of a
    /// hold that has expired, once. `strict` when left out.
    #[schema(value_type = Option<ModeWord>)]
    mode: Option<Mode>,
}

/// Takes no fields yet.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({}))]
pub struct ReleaseRequest {}

/// A hold.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Hold)]
pub struct HoldBody<'a> {
    /// The number of the entry that opened it, by which lists are ordered.
    #[serde(skip)]
    pub(super) opened_seq: i64,
    /// Its id.
    #[schema(value_type = uuid::Uuid)]
    id: EntryId,
    /// The pool's name.
    #[schema(value_type = String, example = "workspace:6f1c")]
    pool: &'a PoolName,
    /// All that it reserved: the sum of the two parts.
    #[schema(value_type = Number)]
    credits: Credits,
    /// What was named, before rounding and before `partial` made less of it.
    #[schema(value_type = Number)]
    requested: Credits,
    /// Reserved out of the monthly bucket.
    #[schema(value_type = Number)]
    monthly: Credits,
    /// Reserved out of the add-on bucket.
    #[schema(value_type = Number)]
    addon: Credits,
    /// What became of it.
    #[schema(value_type = HoldStatusWord)]
    status: HoldStatus,
    /// The operation's code.
    #[schema(value_type = Option<String>)]
    operation: Option<&'a Label>,
    /// The client's user.
    #[schema(value_type = Option<String>)]
    user_id: Option<&'a Label>,
    /// The client's workspace.
    #[schema(value_type = Option<String>)]
    workspace_id: Option<&'a Label>,
    /// The run it is part of.
    #[schema(value_type = Option<String>)]
    run_id: Option<&'a Label>,
    /// The model that does the work.
    #[schema(value_type = Option<String>)]
    model: Option<&'a Label>,
    /// When it was opened.
    created_at: Stamp,
    /// When it is released by itself.
    expires_at: Stamp,
    /// The balance after what last happened to it.
    balance: BalanceBody<'a>,
}

impl HoldRequest {
    /// The hold, every field checked; what is wrong is named together.
    ///
    /// # Errors
    /// 422 naming each bad field.
    pub fn read(self) -> Result<NewHold, Problem> {
        let mut violations = Violations::new();
        let seconds = self.expires_in_seconds.unwrap_or(USUAL_SECONDS);
        let expires_in_seconds = length(seconds, &mut violations);
        // It reserves what a debit of the same fields would spend.
        let spent = DebitRequest {
            credits: self.credits,
            round: self.round,
            operation: self.operation,
            user_id: self.user_id,
            workspace_id: self.workspace_id,
            run_id: self.run_id,
            model: self.model,
            mode: None,
            metadata: self.metadata,
        };
        let Debit {
            credits,
            round,
            mode: _,
            attribution,
            metadata,
        } = spent.check(&mut violations);
        violations.finish()?;
        Ok(NewHold {
            credits,
            round,
            partial: self.partial.unwrap_or_default(),
            expires_in_seconds,
            attribution,
            metadata,
        })
    }
}

impl ExtendRequest {
    /// The extension of a hold.
    ///
    /// # Errors
    /// 422 naming the bad field.
    pub fn read(self, hold: EntryId) -> Result<Extension, Problem> {
        let mut violations = Violations::new();
        let expires_in_seconds = length(self.expires_in_seconds, &mut violations);
        violations.finish()?;
        Ok(Extension {
            hold,
            expires_in_seconds,
        })
    }
}

fn length(seconds: u32, violations: &mut Violations) -> u32 {
    if !(1..=MOST_SECONDS).contains(&seconds) {
        let message = format_args!("must be from 1 to {MOST_SECONDS}");
        violations.add("expires_in_seconds", message);
    }
    seconds
}

impl CaptureRequest {
    /// The capture from a hold.
    ///
    /// # Errors
    /// 422 naming the bad field.
    pub fn read(self, hold: EntryId) -> Result<Capture, Problem> {
        let mut violations = Violations::new();
        let credits = violations.keep("credits", self.credits.requested());
        Ok(Capture {
            hold,
            credits: violations.finish_with(credits)?,
            round: self.round,
            mode: self.mode.unwrap_or_default(),
        })
    }
}

impl<'a> HoldBody<'a> {
    /// The body of an entry about a hold; `None` when the entry is about none.
    #[must_use]
    pub fn of(pool: &'a PoolName, entry: &'a Entry) -> Option<Self> {
        let facts = entry.read_details()?.hold?;
        let (opened_seq, opened_at) = facts.id.locate(entry.pool)?;
        let who = &entry.attribution;
        Some(Self {
            opened_seq,
            id: facts.id,
            pool,
            credits: facts.credits(),
            requested: facts.requested,
            monthly: facts.monthly,
            addon: facts.addon,
            status: status_after(entry.kind)?,
            operation: who.operation.as_ref(),
            user_id: who.user_id.as_ref(),
            workspace_id: who.workspace_id.as_ref(),
            run_id: who.run_id.as_ref(),
            model: who.model.as_ref(),
            created_at: Stamp(opened_at),
            expires_at: Stamp(facts.expires_at),
            balance: BalanceBody::new(pool, &entry.after),
        })
    }
}

/// What an entry made of its hold; `None` for a kind that is about none.
const fn status_after(kind: Kind) -> Option<HoldStatus> {
    match kind {
        Kind::Hold | Kind::HoldExtend => Some(HoldStatus::Open),
        Kind::Debit => Some(HoldStatus::Captured),
        Kind::Release => Some(HoldStatus::Released),
        Kind::HoldExpiry => Some(HoldStatus::Expired),
        Kind::Open
        | Kind::Renewal
        | Kind::Restart
        | Kind::LicenseEnd
        | Kind::TermsChange
        | Kind::AddonExpiry
        | Kind::Refund
        | Kind::Purchase
        | Kind::Reinstatement
        | Kind::Clawback
        | Kind::ClawbackReversal
        | Kind::Adjustment
        | Kind::Import
        | Kind::Upgrade
        | Kind::Close => None,
    }
}
