//! Section 7: recorded purchases with their validity and reinstatement, and adjustments of either
//! bucket.

use super::calendar::add_months;
use super::journal::GrantedAgain;
use super::parts::{Origin, Part};
use super::pool::{CreditedPurchase, Pool};
use super::spend::valid_amount;
use super::{Account, Answer, BALANCE_LIMIT, CREDIT, Code, Instant, Kind, LARGEST_AMOUNT, Model};

const PURCHASE_STEP: i64 = 100 * CREDIT;
const PURCHASE_MINIMUM: i64 = 100 * CREDIT;
const VALIDITY_MONTHS: i64 = 12;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Purchase {
    pub credits: i64,
    /// Credited with it, and lost with it.
    pub bonus: i64,
    /// Left out means now.
    pub paid_at: Option<Instant>,
    pub reference: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bucket {
    Monthly,
    Addon,
}

#[derive(Clone, Copy, Debug)]
pub struct Adjustment {
    pub bucket: Bucket,
    pub credits: i64,
}

/// What the last add-on pool to expire lost by it, until a payment that was made before and comes
/// late brings it back. Older ones do not matter: a payment made before them would by now be too
/// late for its own validity.
#[derive(Clone, Debug)]
pub struct LostAddons {
    /// Several where late payments had made them one.
    pub pools: Vec<usize>,
    pub expired_at: Instant,
    pub granted: i64,
    /// At the expiry, and later out of its holds and refunds.
    pub lapsed: i64,
}

impl Model {
    pub(super) fn purchase(&mut self, now: Instant, bought: &Purchase) -> Result<Answer, Code> {
        if let Some(first) = self.existing()?.purchase_of(&bought.reference) {
            return first.answer_again(bought);
        }
        let pool = self.writable()?;
        if !pool.version.addons {
            return Err("addons_not_allowed");
        }
        let credits = bought.credits;
        let wrong_step = credits < PURCHASE_MINIMUM || credits % PURCHASE_STEP != 0;
        if wrong_step || credits > LARGEST_AMOUNT {
            return Err("invalid_quantity");
        }
        let paid_at = bought.paid_at.unwrap_or(now);
        if paid_at > now {
            return Err("validation_failed");
        }
        let valid_until = add_months(paid_at, VALIDITY_MONTHS);
        if valid_until <= now {
            return Err("validity_over");
        }
        let lost = pool.lost_addons.clone();
        let lost = lost.filter(|lost| paid_at < lost.expired_at);
        let comes_back = lost
            .as_ref()
            .map_or(0, |lost| lost.lapsed + pool.held_from(&lost.pools));
        let credited = credits + bought.bonus;
        if pool.addon_settled() + comes_back + credited > BALANCE_LIMIT {
            return Err("balance_limit");
        }
        if let Some(lost) = lost {
            pool.reinstate(now, lost);
        }
        let issued = Account::IssuedAddon.to(Account::Addon, credited);
        let seq = pool.write(Kind::Purchase, now, vec![issued]);
        let live_until = pool.addon_expires_at.unwrap_or(valid_until);
        let expires_at = valid_until.max(live_until);
        pool.keep_addons_until(expires_at, seq);
        pool.purchases.push(CreditedPurchase {
            seq,
            purchase: Purchase {
                paid_at: Some(paid_at),
                ..bought.clone()
            },
            expires_at,
            valid_until: valid_until.max(now),
            origin: Origin::AddonPool(pool.live_addon_pools[0]),
            known: None,
            clawed_back: 0,
            clawed_from: None,
            uncollected: 0,
        });
        Ok(Answer::Purchased {
            seq,
            credits,
            bonus: bought.bonus,
            paid_at,
            expires_at,
            first: true,
        })
    }

    pub(super) fn adjust(&mut self, now: Instant, given: &Adjustment) -> Result<Answer, Code> {
        let pool = self.writable()?;
        valid_amount(given.credits.abs())?;
        let (bucket, unheld, settled) = match given.bucket {
            Bucket::Monthly => (Account::Monthly, pool.monthly(), pool.monthly_settled()),
            Bucket::Addon => (Account::Addon, pool.addon(), pool.addon_settled()),
        };
        if unheld + given.credits < 0 {
            return Err("adjustment_below_zero");
        }
        if settled + given.credits > BALANCE_LIMIT {
            return Err("balance_limit");
        }
        let transfer = if given.credits > 0 {
            Account::Adjusted.to(bucket, given.credits)
        } else {
            bucket.to(Account::Adjusted, -given.credits)
        };
        let seq = pool.write(Kind::Adjustment, now, vec![transfer]);
        if given.bucket == Bucket::Addon && pool.addon_expires_at.is_none() {
            pool.keep_addons_until(add_months(now, VALIDITY_MONTHS), seq);
        }
        Ok(Answer::Adjusted { seq })
    }
}

impl Pool {
    fn purchase_of(&self, reference: &str) -> Option<&CreditedPurchase> {
        self.purchases
            .iter()
            .find(|credited| credited.purchase.reference == reference)
    }

    /// Opens an add-on pool where none is live.
    fn keep_addons_until(&mut self, expires_at: Instant, opened_by: usize) {
        self.addon_expires_at = Some(expires_at);
        if self.live_addon_pools.is_empty() {
            self.live_addon_pools.push(opened_by);
        }
    }

    /// What is still held out of these add-on pools.
    fn held_from(&self, pools: &[usize]) -> i64 {
        let of_the_pools = |part: &&Part| match part.origin {
            Origin::AddonPool(opened_by) => pools.contains(&opened_by),
            Origin::Cycle(_) => false,
        };
        let parts = self.open_holds().flat_map(|hold| &hold.parts);
        parts.filter(of_the_pools).map(|part| part.credits).sum()
    }

    /// Brings back what an expiry took. The pools live on, as one with a newer one if there is any:
    /// even where nothing comes back, what was drawn from them can from now on.
    fn reinstate(&mut self, now: Instant, lost: LostAddons) {
        let held = self.held_from(&lost.pools);
        if lost.granted > 0 || lost.lapsed > 0 || held > 0 {
            let back = vec![
                Account::Lapsed.to(Account::Addon, lost.lapsed),
                Account::HeldEnded.to(Account::HeldAddon, held),
            ];
            let seq = self.write(Kind::Reinstatement, now, back);
            self.granted_again.push(GrantedAgain {
                seq,
                credits: lost.granted,
            });
        }
        self.live_addon_pools.extend(lost.pools);
        self.lost_addons = None;
        self.collect(now, lost.lapsed);
    }

    /// Remembers what lapses only now of the add-on pool that has expired.
    pub fn note_lapses(&mut self, given_back: &[Part]) {
        let Some(lost) = &mut self.lost_addons else {
            return;
        };
        for part in given_back {
            if let Origin::AddonPool(opened_by) = part.origin
                && lost.pools.contains(&opened_by)
            {
                lost.lapsed += part.credits;
            }
        }
    }
}

impl CreditedPurchase {
    fn answer_again(&self, again: &Purchase) -> Result<Answer, Code> {
        if again.credits != self.purchase.credits {
            return Err("payment_reference_reused");
        }
        Ok(Answer::Purchased {
            seq: self.seq,
            credits: self.purchase.credits,
            bonus: self.purchase.bonus,
            paid_at: self.purchase.paid_at.expect("stored with the purchase"),
            expires_at: self.expires_at,
            first: false,
        })
    }
}
