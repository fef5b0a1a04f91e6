//! A journal entry: one event of a pool, its transfers, the state after it, and its hash.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::hash::Canonical;
use super::{
    Account, Balance, Bucket, Credits, EntryId, Fingerprint, Hash, IdempotencyKey, KeyId, Label,
    Metadata, Mode, PoolId, PurchaseId, Reason, Requested, Terms, Time, Transfer,
};

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident => $text:literal,)+) => {
        /// What kind of event an entry is.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind {
            $($(#[$doc])* $name,)+
        }

        impl Kind {
            /// All kinds.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// The word in the API and the journal.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)+
                }
            }
        }
    };
}

kinds! {
    /// The pool was made and granted its first cycle.
    Open => "open",
    /// A cycle ended, the next was granted.
    Renewal => "renewal",
    /// A larger allowance started a new cycle.
    Restart => "restart",
    /// The licence ended.
    LicenseEnd => "license_end",
    /// Terms, licence or what was requested changed, no credits moved.
    TermsChange => "terms_change",
    /// The add-on pool expired.
    AddonExpiry => "addon_expiry",
    /// Credits were spent.
    Debit => "debit",
    /// Add-on credits were bought.
    Purchase => "purchase",
    /// A late payment brought an expired add-on pool back.
    Reinstatement => "reinstatement",
    /// Credits were given or taken by hand.
    Adjustment => "adjustment",
    /// The pool was closed.
    Close => "close",
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that is no kind of entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is no kind of entry")]
pub struct UnknownKind;

impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        Self::ALL
            .iter()
            .copied()
            .find(|kind| kind.as_str() == text)
            .ok_or(UnknownKind)
    }
}

/// The key of a request and what it asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What makes a retry safe.
    pub key: IdempotencyKey,
    /// What the request asked for: another one with the same key is a conflict.
    pub fingerprint: Fingerprint,
}

/// Who asked: recorded with the entry, decides nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Actor {
    /// The API key it was done with; absent for what happens by itself.
    pub key: Option<KeyId>,
    /// The request, when it carried an idempotency key.
    pub request: Option<Request>,
}

/// What a debit was for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attribution {
    /// The operation's code.
    pub operation: Option<Label>,
    /// The client's user.
    pub user_id: Option<Label>,
    /// The client's workspace.
    pub workspace_id: Option<Label>,
    /// The run it was part of.
    pub run_id: Option<Label>,
    /// The model that did the work.
    pub model: Option<Label>,
}

/// Facts of an entry that only its own kind has. Stored as JSON text, absent ones left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Details {
    /// Of a debit: its mode, when not strict.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// Of a debit: the credits named before rounding.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requested_credits: Option<Credits>,
    /// Of an adjustment: the bucket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bucket: Option<Bucket>,
    /// Of a purchase: when it was paid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paid_at: Option<Time>,
    /// Of a purchase: what was paid, in the currency's smallest unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub amount_cents: Option<i64>,
    /// Of a purchase: the currency.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
    /// Of a change of terms: the terms in force after it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub terms: Option<Terms>,
    /// Of a change of terms: the terms that wait for the renewal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pending: Option<Terms>,
    /// Of a PUT: what was requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requested: Option<Requested>,
}

impl Details {
    /// The JSON text, or `None` when there is nothing to say.
    #[must_use]
    pub fn to_text(&self) -> Option<Box<str>> {
        let text = serde_json::to_string(self).expect("details have a JSON text");
        (text != "{}").then(|| text.into())
    }
}

/// One event of a pool. Never changed, never removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Whose journal it is in.
    pub pool: PoolId,
    /// Its number there: from 1, without gaps.
    pub seq: i64,
    /// What happened.
    pub kind: Kind,
    /// When it happened, or was due.
    pub at: Time,
    /// Who asked for it.
    pub actor: Actor,
    /// What it was for.
    pub attribution: Attribution,
    /// The payment's reference.
    pub reference: Option<Label>,
    /// Why, in a person's words.
    pub reason: Option<Reason>,
    /// The purchase it belongs to.
    pub purchase: Option<PurchaseId>,
    /// The client's own.
    pub metadata: Option<Metadata>,
    /// JSON text of [`Details`].
    pub details: Option<Box<str>>,
    /// What moved.
    pub transfers: Vec<Transfer>,
    /// The balance after it.
    pub after: Balance,
    /// The entry that opened the cycle that was current after this one.
    pub cycle_seq: i64,
    /// The entry that opened the add-on pool that was live after this one.
    pub addon_seq: Option<i64>,
    /// Covers all of the above and the hash before it (invariant chained).
    pub hash: Hash,
}

impl Entry {
    /// The entry's id.
    #[must_use]
    pub fn id(&self) -> EntryId {
        EntryId::of(self.pool, self.seq, self.at)
    }

    /// What this entry moved from one account to another.
    #[must_use]
    pub fn moved(&self, from: Account, to: Account) -> Credits {
        let legs = self
            .transfers
            .iter()
            .filter(|leg| leg.from == from && leg.to == to);
        legs.map(|leg| leg.amount).sum()
    }

    /// The details, read from their text; `None` when the text is not what we write.
    #[must_use]
    pub fn read_details(&self) -> Option<Details> {
        match &self.details {
            None => Some(Details::default()),
            Some(text) => serde_json::from_str(text).ok(),
        }
    }

    /// The hash this entry must have after `previous`: over every field but itself. Fields that
    /// later versions add are hashed only where they are present, so old entries keep their hash.
    #[must_use]
    pub fn chained_to(&self, previous: Hash) -> Hash {
        let request = self.actor.request.as_ref();
        let mut form = Canonical::new("entry.1")
            .bytes(previous.as_bytes())
            .bytes(self.pool.uuid().as_bytes())
            .number(self.seq)
            .text(Some(self.kind.as_str()))
            .number(self.at.timestamp_millis())
            .text(self.actor.key.map(|key| key.to_string()).as_deref())
            .text(request.map(|request| request.key.as_str()))
            .bytes(request.map_or(&[][..], |request| &request.fingerprint.as_bytes()[..]));
        let who = &self.attribution;
        let labels = [
            &who.operation,
            &who.user_id,
            &who.workspace_id,
            &who.run_id,
            &who.model,
        ];
        for text in labels.into_iter().chain([&self.reference]) {
            form = form.text(text.as_ref().map(Label::as_str));
        }
        form = form
            .text(self.reason.as_ref().map(Reason::as_str))
            .text(
                self.purchase
                    .map(|purchase| purchase.to_string())
                    .as_deref(),
            )
            .text(self.metadata.as_ref().map(Metadata::as_str))
            .text(self.details.as_deref())
            .text(Some(&Transfer::list_to_text(&self.transfers)));
        self.state_after(form).hash()
    }

    fn state_after(&self, form: Canonical) -> Canonical {
        let Balance {
            monthly,
            addon,
            overdraft,
            held_ended,
            as_of: _,
            version: _,
        } = &self.after;
        form.number(monthly.granted.units())
            .number(monthly.settled.units())
            .number(monthly.held.units())
            .number(monthly.used.units())
            .number(monthly.cycle_start.timestamp_millis())
            .number(monthly.renews_at.timestamp_millis())
            .number(monthly.expires_at.timestamp_millis())
            .number(addon.granted.units())
            .number(addon.settled.units())
            .number(addon.held.units())
            .optional(addon.expires_at.map(|at| at.timestamp_millis()))
            .number(overdraft.units())
            .number(held_ended.units())
            .number(self.cycle_seq)
            .optional(self.addon_seq)
    }
}
