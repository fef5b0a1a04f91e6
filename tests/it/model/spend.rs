//! Sections 6 and 7 as far as the model goes: debits, authorize, recorded purchases with their
//! validity and reinstatement, adjustments.

use super::calendar::add_months;
use super::journal::expiry_to_reinstate;
use super::pool::{CreditedPurchase, Pool};
use super::{Account, Answer, BALANCE_LIMIT, CREDIT, Code, Instant, Kind, LARGEST_AMOUNT, Model};

const PURCHASE_STEP: i64 = 100 * CREDIT;
const PURCHASE_MINIMUM: i64 = 100 * CREDIT;
const VALIDITY_MONTHS: i64 = 12;

#[derive(Clone, Debug)]
pub struct Debit {
    pub credits: Option<i64>,
    pub operation: Option<String>,
    /// Work already done: always booked, what the buckets cannot cover as overdraft.
    pub settle: bool,
    pub round: Round,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Round {
    No,
    Up,
    Nearest,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Purchase {
    pub credits: i64,
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

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authorization {
    pub allowed: bool,
    pub code: Option<Code>,
    pub available: i64,
    pub required: Option<i64>,
    pub estimate: Option<i64>,
    pub renews_at: Instant,
    pub version: usize,
}

impl Model {
    pub(super) fn debit(&mut self, now: Instant, debit: &Debit) -> Result<Answer, Code> {
        let max_debit_credits = self.catalogue.max_debit_credits;
        self.writable()?;
        let fixed = self.fixed_price(debit.operation.as_deref())?;
        let asked = match (fixed, debit.credits) {
            (Some(price), None) => price,
            (Some(price), Some(credits)) if credits == price => price,
            (Some(_), Some(_)) => return Err("price_is_fixed"),
            (None, Some(credits)) => credits,
            (None, None) => return Err("validation_failed"),
        };
        let pool = self.writable()?;
        let credits = rounded(valid_amount(asked)?, pool.version.denomination, debit.round)?;
        if credits > max_debit_credits {
            return Err("debit_too_large");
        }
        if !debit.settle {
            refuse_if_short(pool.available(), credits)?;
        }
        let monthly = credits.min(pool.monthly());
        let addon = (credits - monthly).min(pool.addon());
        let overdraft = credits - monthly - addon;
        if pool.overdraft() + overdraft > BALANCE_LIMIT {
            return Err("balance_limit");
        }
        let transfers = vec![
            Account::Monthly.to(Account::Consumed, monthly),
            Account::Addon.to(Account::Consumed, addon),
            Account::Overdraft.to(Account::Consumed, overdraft),
        ];
        Ok(Answer::Debited {
            seq: pool.write(Kind::Debit, now, transfers),
            credits,
            requested: (debit.round != Round::No).then_some(asked),
            monthly,
            addon,
            overdraft,
        })
    }

    /// The price of the operation where it is fixed for this pool, `None` where it is not.
    fn fixed_price(&self, operation: Option<&str>) -> Result<Option<i64>, Code> {
        let Some(code) = operation else {
            return Ok(None);
        };
        let operation = self.catalogue.operation(code).ok_or("unknown_operation")?;
        let legacy = if self.existing()?.version.legacy_prices {
            operation.legacy_fixed
        } else {
            None
        };
        Ok(legacy.or(operation.fixed))
    }

    /// `POST …/authorize`: a read, books nothing.
    pub fn authorize(
        &self,
        now: Instant,
        credits: Option<i64>,
        operation: Option<&str>,
    ) -> Result<Authorization, Code> {
        let mut then = self.at(self.not_before_the_last_entry(now));
        then.writable()?;
        let fixed = then.fixed_price(operation)?;
        let required = match credits {
            Some(credits) => Some(valid_amount(credits)?),
            None => fixed,
        };
        let estimate = operation.and_then(|code| then.catalogue.operation(code));
        let pool = then.existing()?;
        // Section 1 holds for every amount, and allowing what no debit may take helps nobody.
        if let Some(credits) = required {
            let credits = rounded(credits, pool.version.denomination, Round::No)?;
            if credits > then.catalogue.max_debit_credits {
                return Err("debit_too_large");
            }
        }
        let short = refuse_if_short(pool.available(), required.unwrap_or(0)).err();
        Ok(Authorization {
            allowed: short.is_none(),
            code: short,
            available: pool.available(),
            required,
            estimate: estimate.map(|operation| operation.estimate),
            renews_at: pool.cycle_end(),
            version: pool.version(),
        })
    }

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
        let reinstated = pool.lost_to_an_expiry_after(paid_at);
        let lapsed = reinstated.map_or(0, |lost| lost.lapsed);
        if pool.addon() + lapsed + credits > BALANCE_LIMIT {
            return Err("balance_limit");
        }
        if let Some(lost) = reinstated
            && (lost.lapsed > 0 || lost.granted > 0)
        {
            let back = Account::Lapsed.to(Account::Addon, lost.lapsed);
            pool.write(Kind::Reinstatement, now, vec![back]);
        }
        let issued = Account::IssuedAddon.to(Account::Addon, credits);
        let seq = pool.write(Kind::Purchase, now, vec![issued]);
        let live_until = pool.addon_expires_at.unwrap_or(valid_until);
        let expires_at = valid_until.max(live_until);
        pool.addon_expires_at = Some(expires_at);
        pool.purchases.push(CreditedPurchase {
            seq,
            purchase: Purchase {
                paid_at: Some(paid_at),
                ..bought.clone()
            },
            expires_at,
        });
        Ok(Answer::Purchased {
            seq,
            credits,
            paid_at,
            expires_at,
            first: true,
        })
    }

    pub(super) fn adjust(&mut self, now: Instant, given: &Adjustment) -> Result<Answer, Code> {
        let pool = self.writable()?;
        valid_amount(given.credits.abs())?;
        let (bucket, before) = match given.bucket {
            Bucket::Monthly => (Account::Monthly, pool.monthly()),
            Bucket::Addon => (Account::Addon, pool.addon()),
        };
        let after = before + given.credits;
        if after < 0 {
            return Err("adjustment_below_zero");
        }
        if after > BALANCE_LIMIT {
            return Err("balance_limit");
        }
        if given.bucket == Bucket::Addon && pool.addon_expires_at.is_none() {
            pool.addon_expires_at = Some(add_months(now, VALIDITY_MONTHS));
        }
        let transfer = if given.credits > 0 {
            Account::Adjusted.to(bucket, given.credits)
        } else {
            bucket.to(Account::Adjusted, -given.credits)
        };
        let seq = pool.write(Kind::Adjustment, now, vec![transfer]);
        Ok(Answer::Adjusted { seq })
    }
}

/// What the last add-on pool lost when it expired.
#[derive(Clone, Copy)]
struct Lost {
    lapsed: i64,
    granted: i64,
}

impl Pool {
    fn purchase_of(&self, reference: &str) -> Option<&CreditedPurchase> {
        self.purchases
            .iter()
            .find(|credited| credited.purchase.reference == reference)
    }

    /// What a payment made at `paid_at` saves: it was there before the expiry, only delivered late.
    fn lost_to_an_expiry_after(&self, paid_at: Instant) -> Option<Lost> {
        let expiry = expiry_to_reinstate(&self.journal)?;
        let before = &self.journal[..expiry.seq - 1];
        (paid_at < expiry.at).then(|| Lost {
            lapsed: expiry.moved(Account::Addon, Account::Lapsed),
            granted: super::journal::addon_granted(before),
        })
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
            paid_at: self.purchase.paid_at.expect("stored with the purchase"),
            expires_at: self.expires_at,
            first: false,
        })
    }
}

fn valid_amount(credits: i64) -> Result<i64, Code> {
    match credits {
        1..=LARGEST_AMOUNT => Ok(credits),
        _ => Err("validation_failed"),
    }
}

/// The multiple of the denomination to book. A half goes up, nothing is rounded to zero.
fn rounded(credits: i64, denomination: i64, round: Round) -> Result<i64, Code> {
    let over = credits % denomination;
    if over == 0 {
        return Ok(credits);
    }
    let down = credits - over;
    let up = down + denomination;
    match round {
        Round::No => Err("not_a_multiple"),
        Round::Up => Ok(up),
        Round::Nearest if over * 2 >= denomination => Ok(up),
        Round::Nearest => valid_amount(down),
    }
}

fn refuse_if_short(available: i64, credits: i64) -> Result<(), Code> {
    if available <= 0 {
        return Err("pool_empty");
    }
    if available < credits {
        return Err("insufficient_credits");
    }
    Ok(())
}
