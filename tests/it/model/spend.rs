//! Section 6: prices, debits and authorize. A capture ends in the same booking as a debit.

use super::parts::{Part, addon_of, monthly_of, total};
use super::pool::Pool;
use super::refund::BookedDebit;
use super::{Account, Answer, BALANCE_LIMIT, Code, Instant, Kind, LARGEST_AMOUNT, Model};

#[derive(Clone, Debug)]
pub struct Debit {
    pub credits: Option<i64>,
    pub operation: Option<String>,
    pub run: Option<String>,
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
pub struct Authorization {
    pub allowed: bool,
    pub code: Option<Code>,
    pub available: i64,
    pub required: Option<i64>,
    pub estimate: Option<i64>,
    pub renews_at: Instant,
    pub version: usize,
}

/// Everything that one entry of kind `debit` books.
pub struct Charge {
    pub credits: i64,
    pub requested: Option<i64>,
    /// Out of a hold.
    pub captured: Vec<Part>,
    /// Out of the buckets. What is then missing is owed.
    pub drawn: Vec<Part>,
    /// What a captured hold had left.
    pub released: Vec<Part>,
    pub hold: Option<usize>,
    pub late: bool,
    pub run: Option<String>,
}

impl Model {
    pub(super) fn debit(&mut self, now: Instant, debit: &Debit) -> Result<Answer, Code> {
        self.writable()?;
        let asked = self.priced(debit.operation.as_deref(), debit.credits)?;
        let credits = self.amount(asked, debit.round)?;
        let pool = self.writable()?;
        if !debit.settle {
            refuse_if_short(pool.available(), credits)?;
        }
        let charge = Charge {
            credits,
            requested: (debit.round != Round::No).then_some(asked),
            captured: vec![],
            drawn: pool.drawn(credits),
            released: vec![],
            hold: None,
            late: false,
            run: debit.run.clone(),
        };
        pool.book(now, charge)
    }

    /// What is asked for, in credits: the fixed price, which may be repeated, or else the amount.
    pub(super) fn priced(
        &self,
        operation: Option<&str>,
        credits: Option<i64>,
    ) -> Result<i64, Code> {
        match (self.fixed_price(operation)?, credits) {
            (Some(price), None) => Ok(price),
            (Some(price), Some(credits)) if credits == price => Ok(price),
            (Some(_), Some(_)) => Err("price_is_fixed"),
            (None, Some(credits)) => Ok(credits),
            (None, None) => Err("validation_failed"),
        }
    }

    /// What is booked for what is asked: in steps of the denomination, and not too large.
    pub(super) fn amount(&self, asked: i64, round: Round) -> Result<i64, Code> {
        let denomination = self.existing()?.version.denomination;
        let credits = rounded(valid_amount(asked)?, denomination, round)?;
        if credits > self.catalogue.max_debit_credits {
            return Err("debit_too_large");
        }
        Ok(credits)
    }

    /// The price of the operation where it is fixed for this pool, `None` where it is not.
    pub(super) fn fixed_price(&self, operation: Option<&str>) -> Result<Option<i64>, Code> {
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
        let required = credits.or(fixed);
        let estimate = operation.and_then(|code| then.catalogue.operation(code));
        let pool = then.existing()?;
        // Section 1 holds for every amount, and allowing what no debit may take helps nobody.
        if let Some(credits) = required {
            then.amount(credits, Round::No)?;
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
}

impl Pool {
    pub fn book(&mut self, now: Instant, charge: Charge) -> Result<Answer, Code> {
        let Charge {
            credits,
            captured,
            drawn,
            released,
            ..
        } = charge;
        let overdraft = credits - total(&captured) - total(&drawn);
        if self.overdraft() + overdraft > BALANCE_LIMIT {
            return Err("balance_limit");
        }
        let held = |part: &Part| self.held_in(part.origin);
        let home = |part: &Part| self.home_of(part.origin);
        let of_the_hold = captured
            .iter()
            .map(|part| held(part).to(Account::Consumed, part.credits));
        let of_the_buckets = drawn
            .iter()
            .map(|part| home(part).to(Account::Consumed, part.credits));
        let owed = Account::Overdraft.to(Account::Consumed, overdraft);
        let given_back = released
            .iter()
            .map(|part| held(part).to(home(part), part.credits));
        let transfers = of_the_hold
            .chain(of_the_buckets)
            .chain([owed])
            .chain(given_back)
            .collect();
        self.note_lapses(&released);
        let seq = self.write(Kind::Debit, now, transfers);
        let answer = Answer::Debited {
            seq,
            credits,
            requested: charge.requested,
            monthly: monthly_of(&captured) + monthly_of(&drawn),
            addon: addon_of(&captured) + addon_of(&drawn),
            overdraft,
            late: charge.late,
            hold: charge.hold,
        };
        let last_drawn_first = drawn.into_iter().rev();
        self.debits.push(BookedDebit {
            seq,
            run: charge.run,
            overdraft,
            parts: last_drawn_first.chain(captured.into_iter().rev()).collect(),
        });
        self.collect(now, self.freed_by(seq));
        Ok(answer)
    }
}

pub fn valid_amount(credits: i64) -> Result<i64, Code> {
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

pub fn refuse_if_short(available: i64, credits: i64) -> Result<(), Code> {
    if available <= 0 {
        return Err("pool_empty");
    }
    if available < credits {
        return Err("insufficient_credits");
    }
    Ok(())
}
