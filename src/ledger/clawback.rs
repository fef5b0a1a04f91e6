//! Taking add-on credits back when their payment is refunded or disputed, and giving them back when
//! a dispute is won.
//!
//! What a payment has lost follows from its state alone, and each change of it takes or gives only
//! the difference to what was taken before: so every order of events ends the same. What is not
//! there to be taken is taken later, as holds and refunds free add-on credits.

use std::sync::Arc;

use super::book::Draft;
use super::{
    Account, Actor, Book, Credits, Denomination, Entry, Kind, LiveAddons, PurchaseId, Refusal,
    Time, Transfer,
};

/// What is known of a payment. Amounts are in the currency's smallest unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PaymentState {
    /// Grows with each change: an older state is never settled after a newer one.
    pub version: i64,
    /// What was charged; 0 while that is not known.
    pub charged: i64,
    /// What was refunded by now.
    pub refunded: i64,
    /// What open disputes are about.
    pub disputed: i64,
    /// What lost disputes were about.
    pub dispute_lost: i64,
}

/// What became of a purchase's payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PurchaseStatus {
    /// It stands.
    Credited,
    /// A part was refunded.
    PartiallyRefunded,
    /// All of it was refunded.
    Refunded,
    /// A dispute is open or was lost.
    Disputed,
}

/// A purchase that was credited, and what was taken back of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bought {
    /// Which purchase.
    pub id: PurchaseId,
    /// The entry that credited it.
    pub seq: i64,
    /// What was credited, the bonus included.
    pub credits: Credits,
    /// To when it alone would keep the add-on pool.
    pub valid_until: Time,
    /// What was taken back.
    pub clawed_back: Credits,
    /// The entry that opened the add-on pool that this was taken from.
    pub clawed_from: Option<i64>,
    /// What is still to be taken back.
    pub uncollected: Credits,
    /// The state that this follows from.
    pub payment: PaymentState,
}

/// A payment's state that a purchase is to follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settlement {
    /// The purchase.
    pub purchase: PurchaseId,
    /// What is known of its payment.
    pub payment: PaymentState,
}

impl PurchaseStatus {
    /// The word in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Credited => "credited",
            Self::PartiallyRefunded => "partially_refunded",
            Self::Refunded => "refunded",
            Self::Disputed => "disputed",
        }
    }
}

impl PaymentState {
    /// What became of the payment.
    #[must_use]
    pub fn status(&self) -> PurchaseStatus {
        if self.disputed > 0 || self.dispute_lost > 0 {
            PurchaseStatus::Disputed
        } else if self.is_refunded() {
            PurchaseStatus::Refunded
        } else if self.refunded > 0 {
            PurchaseStatus::PartiallyRefunded
        } else {
            PurchaseStatus::Credited
        }
    }

    /// Of `credits`, what the payment has lost: the refunded and the disputed part, each rounded
    /// down, and no more than all.
    #[must_use]
    pub fn lost(&self, credits: Credits, denomination: Denomination) -> Credits {
        let disputed = self.disputed.saturating_add(self.dispute_lost);
        let parts =
            [self.refunded, disputed].map(|amount| self.part(credits, amount, denomination));
        parts.into_iter().sum::<Credits>().min(credits)
    }

    fn part(&self, credits: Credits, amount: i64, denomination: Denomination) -> Credits {
        if amount <= 0 {
            return Credits::ZERO;
        }
        // Without a known charge all of it is at stake.
        let charged = i128::from(if self.charged > 0 {
            self.charged
        } else {
            amount
        });
        let share = i128::from(credits.units())
            .checked_mul(i128::from(amount))
            .and_then(|product| product.checked_div(charged));
        let units = share.and_then(|share| i64::try_from(share).ok());
        let part = units.and_then(Credits::from_units).unwrap_or(credits);
        let over = part.units().checked_rem(denomination.units()).unwrap_or(0);
        let over = Credits::from_units(over).unwrap_or(Credits::ZERO);
        part.saturating_sub(over).min(credits)
    }

    fn is_refunded(&self) -> bool {
        self.refunded > 0 && self.refunded >= self.charged
    }

    /// Whether the purchase keeps the add-on pool alive no more.
    fn is_undone(&self) -> bool {
        self.is_refunded() || self.dispute_lost > 0
    }
}

impl Settlement {
    /// Takes or gives back what the payment's state says; nothing when it says nothing new.
    ///
    /// # Errors
    /// The pool has no such purchase.
    pub fn book(
        &self,
        book: &mut Book,
        actor: Actor,
        now: Time,
    ) -> Result<Option<Arc<Entry>>, Refusal> {
        let before = book.bought(self.purchase)?.clone();
        let newer_by = self.payment.version.saturating_sub(before.payment.version);
        let said = |payment: PaymentState| PaymentState {
            version: 0,
            ..payment
        };
        // A state in between may still be on its way, and must find that it is older: only the very
        // next one needs no entry when it says nothing new.
        let is_known = newer_by == 1 && said(self.payment) == said(before.payment);
        if newer_by <= 0 || is_known {
            return Ok(None);
        }
        let lost = self.payment.lost(before.credits, book.pool.denomination);
        let taken_before = before.clawed_back + before.uncollected;
        let undone_now = self.payment.is_undone() && !before.payment.is_undone();
        let keeps_the_pool = book.pool.is_live_addon_pool(Some(before.seq));
        let mut after = Bought {
            payment: self.payment,
            ..before
        };
        let (kind, transfers) = match lost >= taken_before {
            true => (
                Kind::Clawback,
                take(book, &mut after, lost.saturating_sub(taken_before)),
            ),
            false => (
                Kind::ClawbackReversal,
                give_back(book, &mut after, taken_before.saturating_sub(lost)),
            ),
        };
        book.keep_bought(after);
        if undone_now && keeps_the_pool {
            move_validity_back(book, now);
        }
        let draft = Draft {
            actor,
            purchase: Some(self.purchase),
            ..Draft::new(kind, transfers)
        };
        let entry = book.append(now, draft);
        collect(book, now, entry.moved(Account::ClawedBack, Account::Addon));
        Ok(Some(entry))
    }
}

/// Takes what is there and not held; the rest is still to be collected. What was granted falls only
/// where the purchase was made: credits of a later add-on pool were not bought with it.
fn take(book: &mut Book, bought: &mut Bought, wanted: Credits) -> Vec<Transfer> {
    let taken = wanted.min(book.pool.addon());
    bought.clawed_back = bought.clawed_back + taken;
    bought.uncollected = bought.uncollected + wanted.saturating_sub(taken);
    let is_of_it = book.pool.is_live_addon_pool(Some(bought.seq));
    if let Some(live) = book.pool.addons.as_mut().filter(|_| !taken.is_zero()) {
        bought.clawed_from = Some(live.opened_seq);
        if is_of_it {
            live.granted = live.granted.saturating_sub(taken);
        }
    }
    let leg = Transfer::new(Account::Addon, Account::ClawedBack, taken);
    leg.into_iter().collect()
}

/// First nothing more is to be collected, then what was taken comes back: to the add-on pool it was
/// taken from, or, if that has ended, to what ended with it.
fn give_back(book: &mut Book, bought: &mut Bought, wanted: Credits) -> Vec<Transfer> {
    let forgiven = wanted.min(bought.uncollected);
    let back = wanted.saturating_sub(forgiven).min(bought.clawed_back);
    bought.uncollected = bought.uncollected.saturating_sub(forgiven);
    bought.clawed_back = bought.clawed_back.saturating_sub(back);
    let pool = &mut book.pool;
    let is_of_it = pool.is_live_addon_pool(Some(bought.seq));
    let is_live = pool.is_live_addon_pool(bought.clawed_from);
    let to = match (&mut pool.addons, is_live) {
        (Some(live), true) => {
            if is_of_it {
                live.granted = live.granted + back;
            }
            Account::Addon
        }
        (Some(_), false) | (None, _) => {
            if let Some(lost) = pool.lost_addon_pool(bought.clawed_from) {
                lost.lapsed = lost.lapsed + back;
                if bought.seq >= lost.opened_seq {
                    lost.granted = lost.granted + back;
                }
            }
            Account::Lapsed
        }
    };
    let leg = Transfer::new(Account::ClawedBack, to, back);
    leg.into_iter().collect()
}

/// The add-on pool lasts as long as the latest purchase that stands, and never ends before now.
/// Where none stands it lasts as long as the earliest would have kept it: what is held of it or
/// owed to it can still be settled, and the order in which they fell does not matter.
fn move_validity_back(book: &mut Book, now: Time) {
    let Some(live) = book.pool.addons else {
        return;
    };
    let of_it = |bought: &&Bought| bought.seq >= live.opened_seq;
    let standing = |bought: &&Bought| !bought.payment.is_undone();
    let latest = book.all_bought().filter(of_it).filter(standing);
    let latest = latest.map(|bought| bought.valid_until).max();
    let earliest = || {
        book.all_bought()
            .filter(of_it)
            .map(|it| it.valid_until)
            .min()
    };
    if let Some(end) = latest.or_else(earliest) {
        let expires_at = end.max(now).min(live.expires_at);
        book.pool.addons = Some(LiveAddons { expires_at, ..live });
    }
}

/// What an entry freed of add-on credits goes to what is still to be collected, the oldest purchase
/// first.
pub(super) fn collect(book: &mut Book, at: Time, freed: Credits) {
    let mut left = freed.min(book.pool.addon());
    if left.is_zero() || book.pool.uncollected.is_zero() {
        return;
    }
    let owing: Vec<Bought> = book
        .all_bought()
        .filter(|bought| !bought.uncollected.is_zero())
        .cloned()
        .collect();
    for mut bought in owing {
        let wanted = bought.uncollected.min(left);
        if wanted.is_zero() {
            return;
        }
        left = left.saturating_sub(wanted);
        bought.uncollected = bought.uncollected.saturating_sub(wanted);
        let transfers = take(book, &mut bought, wanted);
        let purchase = Some(bought.id);
        book.keep_bought(bought);
        let draft = Draft {
            purchase,
            ..Draft::new(Kind::Clawback, transfers)
        };
        book.append(at, draft);
    }
}

#[cfg(test)]
mod tests;
