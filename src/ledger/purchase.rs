//! Add-on credits that were paid for, and how long the add-on pool lasts.
//!
//! The whole add-on pool expires a validity after its latest payment. A payment made before an
//! expiry but booked after it brings back what lapsed then.

use std::sync::Arc;

use super::book::Draft;
use super::clawback::collect;
use super::hash::Canonical;
use super::{
    Account, Actor, AddonTerms, Attribution, Book, Bought, Catalogue, Credits, CreditsError,
    Details, Entry, Fingerprint, Kind, Label, LiveAddons, PaymentState, Pool, PurchaseId, Refusal,
    SignedCredits, Time, Transfer, add_months,
};

/// A payment to be credited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Purchase {
    /// The id it is known by, claimed together with the reference.
    pub id: PurchaseId,
    /// What was bought, as the client said it: a wrong quantity is refused after the plan.
    pub credits: Result<SignedCredits, CreditsError>,
    /// What a promo code adds to it.
    pub bonus: Credits,
    /// Whether a checkout of ours has sold it: then it is honoured whatever plan and terms say now.
    pub as_sold: bool,
    /// The payment's own name, credited once for a tenant.
    pub reference: Label,
    /// When it was paid; now, when absent.
    pub paid_at: Option<Time>,
    /// What was paid, in the currency's smallest unit.
    pub amount_cents: Option<i64>,
    /// Three lower-case letters.
    pub currency: Option<String>,
    /// Who bought.
    pub user_id: Option<Label>,
}

impl Purchase {
    /// What makes two purchases the same request.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        let credits = self.credits.ok().map(SignedCredits::units);
        Canonical::new("purchase")
            .optional(credits)
            .text(Some(self.reference.as_str()))
            .optional(self.paid_at.map(|at| at.timestamp_millis()))
            .optional(self.amount_cents)
            .text(self.currency.as_deref())
            .text(self.user_id.as_ref().map(Label::as_str))
            .fingerprint()
    }

    /// Books a purchase whose payment reference is claimed: no rule refuses any more, only a pool
    /// that was closed meanwhile. Gives the entry of the purchase; a reinstatement comes before it.
    ///
    /// # Errors
    /// The pool is closed.
    pub fn book(
        &self,
        book: &mut Book,
        catalogue: &Catalogue,
        actor: Actor,
        now: Time,
    ) -> Result<Arc<Entry>, Refusal> {
        if book.pool.is_closed() {
            return Err(Refusal::PoolClosed);
        }
        // The claim is made after `check_purchase` only, with the credits that passed it.
        let credits = self.credits.map_or(Credits::ZERO, SignedCredits::abs) + self.bonus;
        let paid_at = self.paid_at.unwrap_or(now).min(now);
        let valid_until = add_months(paid_at, catalogue.addon_terms.validity_months).max(now);
        let live = book.pool.addons;
        let expires_at = live.map_or(valid_until, |live| live.expires_at.max(valid_until));
        reinstate(book, paid_at, expires_at, now);
        let opened_seq = book.next_seq();
        let live = book.pool.addons.get_or_insert(LiveAddons {
            granted: Credits::ZERO,
            expires_at,
            opened_seq,
        });
        live.granted = live.granted + credits;
        live.expires_at = expires_at;
        let issued = Transfer::new(Account::IssuedAddon, Account::Addon, credits);
        let attribution = Attribution {
            user_id: self.user_id.clone(),
            ..Attribution::default()
        };
        let draft = Draft {
            actor,
            attribution,
            reference: Some(self.reference.clone()),
            purchase: Some(self.id),
            details: Details {
                bonus_credits: (!self.bonus.is_zero()).then_some(self.bonus),
                valid_until: Some(valid_until),
                paid_at: Some(paid_at),
                amount_cents: self.amount_cents,
                currency: self.currency.clone(),
                ..Details::default()
            },
            ..Draft::new(Kind::Purchase, issued.into_iter().collect())
        };
        let entry = book.append(now, draft);
        book.keep_bought(Bought {
            id: self.id,
            seq: entry.seq,
            credits,
            valid_until,
            clawed_back: Credits::ZERO,
            clawed_from: None,
            uncollected: Credits::ZERO,
            payment: PaymentState::default(),
        });
        Ok(entry)
    }
}

/// The rules of a purchase: first the plan, then the quantity, then the time of payment.
///
/// # Errors
/// The first rule that is broken.
pub fn check_purchase(
    purchase: &Purchase,
    pool: &Pool,
    catalogue: &Catalogue,
    now: Time,
) -> Result<(), Refusal> {
    if pool.is_closed() {
        return Err(Refusal::PoolClosed);
    }
    let terms = &catalogue.addon_terms;
    if !purchase.as_sold {
        check_offer(pool, terms, purchase.credits)?;
    }
    let credits = purchase.credits.map_or(Credits::ZERO, SignedCredits::abs) + purchase.bonus;
    let paid_at = purchase.paid_at.unwrap_or(now);
    if paid_at > now {
        return Err(Refusal::invalid("paid_at", "must not be in the future"));
    }
    if add_months(paid_at, terms.validity_months) <= now {
        return Err(Refusal::ValidityOver);
    }
    let back = pool.expired_addons.filter(|lost| lost.comes_back(paid_at));
    let back = back.map_or(Credits::ZERO, |lost| lost.lapsed + lost.held);
    if pool.settled_addon() + back + credits > Credits::MAX_ACCOUNT {
        return Err(Refusal::BalanceLimit);
    }
    Ok(())
}

/// Whether add-on credits are sold to this pool, and in this quantity.
///
/// # Errors
/// First the plan, then the quantity.
pub fn check_offer(
    pool: &Pool,
    terms: &AddonTerms,
    credits: Result<SignedCredits, CreditsError>,
) -> Result<Credits, Refusal> {
    if !pool.addons_allowed {
        return Err(Refusal::AddonsNotAllowed {
            plan: pool.terms.plan.clone(),
        });
    }
    let in_steps = |credits: &Credits| {
        let over = credits.units().checked_rem(terms.step.units());
        *credits >= terms.minimum && over.is_some_and(|over| over == 0)
    };
    let credits = credits.and_then(Credits::requested).ok();
    credits.filter(in_steps).ok_or(Refusal::InvalidQuantity {
        minimum: terms.minimum,
        step: terms.step,
    })
}

/// Brings back what the last add-on pool lost at its expiry, once, if the payment was made before.
pub(super) fn reinstate(book: &mut Book, paid_at: Time, expires_at: Time, now: Time) {
    let Some(lost) = book
        .pool
        .expired_addons
        .take_if(|lost| lost.comes_back(paid_at))
    else {
        return;
    };
    // It is as if it had never expired: what was drawn or is held of it is of a live pool again.
    let opened_seq = lost.opened_seq;
    let live = book.pool.addons.get_or_insert(LiveAddons {
        granted: Credits::ZERO,
        expires_at,
        opened_seq,
    });
    live.granted = live.granted + lost.granted;
    live.expires_at = expires_at;
    live.opened_seq = opened_seq;
    let back = [
        Transfer::new(Account::Lapsed, Account::Addon, lost.lapsed),
        Transfer::new(Account::HeldEnded, Account::HeldAddon, lost.held),
    ];
    let back: Vec<Transfer> = back.into_iter().flatten().collect();
    if !(back.is_empty() && lost.granted.is_zero()) {
        let entry = book.append(now, Draft::new(Kind::Reinstatement, back));
        collect(book, now, entry.moved(Account::Lapsed, Account::Addon));
    }
}

#[cfg(test)]
mod tests;
