//! Reserving credits for work whose cost is not known yet: opening a hold, giving it another end,
//! giving it up. Spending from one is in `capture`.
//!
//! Held credits leave the buckets, so nothing else can draw them. Each part of a hold remembers the
//! cycle or the add-on pool it came from. When that ends while the hold is open, the part stays
//! capturable; what is given up of it then lapses, so that no hold carries credits over.

use std::sync::Arc;

use chrono::Duration;
use serde::{Deserialize, Serialize};

use super::book::Draft;
use super::clawback::collect;
use super::debit::{Drawn, check_available, price};
use super::hash::Canonical;
use super::{
    Account, Actor, Attribution, Book, Catalogue, Credits, Details, Entry, EntryId, Fingerprint,
    Kind, Metadata, Pool, PriceSource, Refusal, Round, Time, Transfer,
};

/// The most holds that may be open on one pool.
pub const MAX_OPEN_HOLDS: u32 = 1_000;

/// What became of a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub enum HoldStatus {
    /// Its credits are reserved.
    Open,
    /// Work was debited from it, or from the pool when that came too late.
    Captured,
    /// It was given up.
    Released,
    /// It reached its end and was given up by itself.
    Expired,
}

words!(HoldStatus {
    Open => "open",
    Captured => "captured",
    Released => "released",
    Expired => "expired",
});

/// A hold as each of its entries says it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldFacts {
    /// The id of the entry that opened it.
    pub id: EntryId,
    /// The credits named, before rounding and before `partial` made less of them.
    pub requested: Credits,
    /// Reserved out of the monthly bucket.
    pub monthly: Credits,
    /// Reserved out of the add-on bucket.
    pub addon: Credits,
    /// The entry that opened the cycle of the monthly part.
    pub cycle_seq: i64,
    /// The entry that opened the add-on pool of the add-on part.
    pub addon_seq: Option<i64>,
    /// When it is given up by itself.
    pub expires_at: Time,
    /// Who fixed the price of the work when it began; `None` when the request named the credits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<PriceSource>,
}

/// A hold and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// The number of the entry that opened it.
    pub seq: i64,
    /// The number of the last entry about it.
    pub last_seq: i64,
    /// What became of it.
    pub status: HoldStatus,
    /// What its entries say of it.
    pub facts: HoldFacts,
    /// What it is for; its capture is for the same.
    pub attribution: Attribution,
}

/// Credits to be reserved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewHold {
    /// How many; may be left out where the operation's price is fixed.
    pub credits: Option<Credits>,
    /// How to bring them to the denomination.
    pub round: Option<Round>,
    /// Whether to reserve what is there when that is less.
    pub partial: bool,
    /// For how long.
    pub expires_in_seconds: u32,
    /// What they are for.
    pub attribution: Attribution,
    /// The client's own.
    pub metadata: Option<Metadata>,
}

/// Another end for an open hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extension {
    /// Which.
    pub hold: EntryId,
    /// From now.
    pub expires_in_seconds: u32,
}

/// An open hold to be given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// Which.
    pub hold: EntryId,
}

impl HoldFacts {
    /// All that was reserved.
    #[must_use]
    pub fn credits(&self) -> Credits {
        self.monthly + self.addon
    }
}

impl Hold {
    /// Whether its credits are reserved.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.status == HoldStatus::Open
    }
}

impl NewHold {
    /// What makes two holds the same request.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        let form = Canonical::new("hold")
            .optional(self.credits.map(Credits::units))
            .text(self.round.map(Round::as_str))
            .number(i64::from(self.partial))
            .number(i64::from(self.expires_in_seconds));
        self.attribution
            .hashed_into(form)
            .text(self.metadata.as_ref().map(Metadata::as_str))
            .fingerprint()
    }

    /// Reserves the credits, monthly first, then add-on.
    ///
    /// # Errors
    /// As a strict debit; `partial` only when nothing at all is available. Too many open holds.
    pub fn book(
        self,
        book: &mut Book,
        catalogue: &Catalogue,
        actor: Actor,
        now: Time,
    ) -> Result<Arc<Entry>, Refusal> {
        let pool = book.pool();
        let operation = self.attribution.operation.as_ref();
        let priced = price(pool, catalogue, operation, (self.credits, self.round))?;
        if pool.open_holds >= MAX_OPEN_HOLDS {
            return Err(Refusal::TooManyHolds {
                maximum: MAX_OPEN_HOLDS,
            });
        }
        let credits = match Credits::from_units(pool.available().units()) {
            Some(there) if self.partial && !there.is_zero() => priced.credits.min(there),
            _ => priced.credits,
        };
        check_available(pool, credits)?;
        let drawn = Drawn::of(pool, credits);
        let seq = book.next_seq();
        let facts = HoldFacts {
            id: EntryId::of(pool.id, seq, now),
            requested: priced.named,
            monthly: drawn.monthly,
            addon: drawn.addon,
            cycle_seq: pool.cycle_seq,
            addon_seq: pool.addons.map(|live| live.opened_seq),
            expires_at: end(now, self.expires_in_seconds),
            price: priced.source,
        };
        let held = [
            Transfer::new(Account::Monthly, Account::HeldMonthly, drawn.monthly),
            Transfer::new(Account::Addon, Account::HeldAddon, drawn.addon),
        ];
        let draft = Draft {
            actor,
            attribution: self.attribution.clone(),
            metadata: self.metadata,
            details: Details {
                price: priced.source,
                hold: Some(facts.clone()),
                ..Details::default()
            },
            ..Draft::new(Kind::Hold, held.into_iter().flatten().collect())
        };
        let hold = Hold {
            seq,
            last_seq: seq,
            status: HoldStatus::Open,
            facts,
            attribution: self.attribution,
        };
        let entry = book.append(now, draft);
        book.keep_hold(hold);
        Ok(entry)
    }
}

impl Extension {
    /// What makes two extensions the same request.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        Canonical::new("hold extend")
            .bytes(self.hold.uuid().as_bytes())
            .number(i64::from(self.expires_in_seconds))
            .fingerprint()
    }

    /// Gives an open hold another end.
    ///
    /// # Errors
    /// There is no such hold, or it is open no more.
    pub fn book(&self, book: &mut Book, actor: Actor, now: Time) -> Result<Arc<Entry>, Refusal> {
        let mut hold = book.open_hold(self.hold)?;
        hold.facts.expires_at = end(now, self.expires_in_seconds);
        let draft = Draft {
            actor,
            ..Draft::of_hold(Kind::HoldExtend, &hold, Vec::new())
        };
        Ok(book.append_to_hold(now, draft, hold))
    }
}

impl Release {
    /// What makes two releases the same request.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        Canonical::new("hold release")
            .bytes(self.hold.uuid().as_bytes())
            .fingerprint()
    }

    /// Gives an open hold up: live parts return to their bucket, ended ones lapse.
    ///
    /// # Errors
    /// There is no such hold, or it is open no more.
    pub fn book(&self, book: &mut Book, actor: Actor, now: Time) -> Result<Arc<Entry>, Refusal> {
        let hold = book.open_hold(self.hold)?;
        Ok(release(book, hold, actor, now))
    }
}

/// Gives up every open hold, in the order of opening: the pool is being closed.
pub(super) fn release_all(book: &mut Book, actor: &Actor, now: Time) {
    let open: Vec<Hold> = book.open_holds().cloned().collect();
    for hold in open {
        release(book, hold, actor.clone(), now);
    }
}

/// The hold that reaches its end first is given up, at that instant.
pub(super) fn expire(book: &mut Book, at: Time) {
    let mut hold = book.first_to_expire();
    hold.status = HoldStatus::Expired;
    let transfers = given_back(&mut book.pool, &hold.facts, Captured::default());
    let draft = Draft::of_hold(Kind::HoldExpiry, &hold, transfers);
    let entry = book.append_to_hold(at, draft, hold);
    collect(book, at, entry.moved(Account::HeldAddon, Account::Addon));
}

fn release(book: &mut Book, mut hold: Hold, actor: Actor, now: Time) -> Arc<Entry> {
    hold.status = HoldStatus::Released;
    let transfers = given_back(&mut book.pool, &hold.facts, Captured::default());
    let draft = Draft {
        actor,
        ..Draft::of_hold(Kind::Release, &hold, transfers)
    };
    let entry = book.append_to_hold(now, draft, hold);
    collect(book, now, entry.moved(Account::HeldAddon, Account::Addon));
    entry
}

/// What came out of a hold and was spent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Captured {
    /// Out of its monthly part.
    pub monthly: Credits,
    /// Out of its add-on part.
    pub addon: Credits,
}

/// Empties a hold: `captured` is spent, the rest returns to its bucket where that is still live and
/// lapses where not.
pub(super) fn given_back(pool: &mut Pool, hold: &HoldFacts, captured: Captured) -> Vec<Transfer> {
    let monthly = match pool.is_current_cycle(hold.cycle_seq) {
        true => (Account::HeldMonthly, Account::Monthly),
        false => (Account::HeldEnded, Account::Lapsed),
    };
    let addon = match pool.is_live_addon_pool(hold.addon_seq) {
        true => (Account::HeldAddon, Account::Addon),
        false => (Account::HeldEnded, Account::Lapsed),
    };
    let rest = Captured {
        monthly: hold.monthly.saturating_sub(captured.monthly),
        addon: hold.addon.saturating_sub(captured.addon),
    };
    if let Some(lost) = pool.lost_addon_pool(hold.addon_seq) {
        // A late payment would bring back what lapses here, too.
        lost.held = lost.held.saturating_sub(hold.addon);
        lost.lapsed = lost.lapsed + rest.addon;
    }
    let legs = [
        Transfer::new(monthly.0, Account::Consumed, captured.monthly),
        Transfer::new(addon.0, Account::Consumed, captured.addon),
        Transfer::new(monthly.0, monthly.1, rest.monthly),
        Transfer::new(addon.0, addon.1, rest.addon),
    ];
    legs.into_iter().flatten().collect()
}

fn end(now: Time, seconds: u32) -> Time {
    let length = Duration::seconds(i64::from(seconds));
    now.checked_add_signed(length).unwrap_or(Time::MAX_UTC)
}

#[cfg(test)]
mod tests;
