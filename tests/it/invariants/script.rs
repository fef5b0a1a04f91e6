//! Turns random steps into commands at instants, by looking at the pool as it is then.

use chrono::{Datelike, Duration, NaiveDate, NaiveTime};
use credit_ledger::ledger::{Book, Bought, Hold, Pool, Time, add_months};

use super::keys;
use super::lane::Lane;
use super::openings;
use super::payments::{Cents, PaymentShape};
use super::steps::{Amount, AnchorShape, Landmark, Lasting, LicenseShape, PlanShape, PutShape};
use super::steps::{Sign, Step, What, When};
use crate::model::{self, Command, Field};

/// What is asked at an instant.
#[derive(Clone, Debug)]
pub enum Asked {
    Command(Command),
    Authorize(Option<i64>, Option<&'static str>),
}

/// The commands so far, with their instants.
#[derive(Clone, Debug, Default)]
pub struct Script {
    pub lines: Vec<(Time, Asked)>,
}

impl Script {
    /// The next line: what the step comes to, on the pool as it is.
    pub fn next(&mut self, lane: &Lane, now: Time, step: &Step) -> (Time, Asked) {
        let now = instant(lane.pool(), now, step.when).max(now);
        let book = lane.read(now);
        let pool = book.as_ref().map(Book::pool);
        let asked = match named(lane, pool, now, &step.what) {
            Some(command) => Asked::Command(command),
            None => self.asked(pool, now, &step.what),
        };
        self.lines.push((now, asked.clone()));
        (now, asked)
    }

    fn asked(&self, pool: Option<&Pool>, now: Time, what: &What) -> Asked {
        Asked::Command(match what {
            What::Put(shape) => Command::Put(put(pool, now, shape)),
            What::Debit {
                amount,
                operation,
                run,
                settle,
                round,
            } => Command::Debit(model::Debit {
                credits: amount.map(|amount| units(pool, amount, 0)),
                operation: operation.map(str::to_owned),
                run: run.map(str::to_owned),
                settle: *settle,
                round: *round,
            }),
            What::Authorize(amount, operation) => {
                return Asked::Authorize(amount.map(|amount| units(pool, amount, 0)), *operation);
            }
            What::Purchase(credits, bonus, paid_at) => Command::Purchase(model::Purchase {
                credits: *credits,
                bonus: *bonus,
                paid_at: paid_at.map(|paid_at| instant(pool, now, paid_at)),
                reference: format!("pi_{}", self.lines.len()),
            }),
            What::PurchaseAgain(which, other_credits) => {
                let again = self.again(*which, |command| matches!(command, Command::Purchase(_)));
                with_credits_of(again, *other_credits)
            }
            What::Adjust(bucket, amount, sign) => Command::Adjust(model::Adjustment {
                bucket: *bucket,
                credits: units(pool, *amount, 0) * sign.factor(),
            }),
            What::Close => Command::Close,
            What::PutPlan(shape, from) => Command::PutPlan(plan(pool, now, *shape, *from)),
            What::PutOperation(operation) => Command::PutOperation(operation.clone()),
            What::Hold {
                amount,
                operation,
                run,
                partial,
                round,
                lasts,
            } => Command::Hold(model::Hold {
                credits: amount.map(|amount| units(pool, amount, 0)),
                operation: operation.map(str::to_owned),
                run: run.map(str::to_owned),
                partial: *partial,
                round: *round,
                expires_in_seconds: seconds(pool, now, *lasts),
            }),
            What::RefundRun(run) => Command::RefundRun {
                run: (*run).to_owned(),
            },
            What::PutAgain(_)
            | What::License(_)
            | What::LicenseAgain(_)
            | What::Withdraw
            | What::Upgrade(_)
            | What::Import(_) => self.about_terms(pool, now, what),
            // Without a hold, a debit or a purchase to name.
            What::Extend(..)
            | What::Capture { .. }
            | What::Release(_)
            | What::Refund(..)
            | What::Settle(..)
            | What::Advance => Command::Advance,
        })
    }

    /// What else than a new PUT changes terms.
    fn about_terms(&self, pool: Option<&Pool>, now: Time, what: &What) -> Command {
        match what {
            What::PutAgain(which) => {
                self.again(*which, |command| matches!(command, Command::Put(_)))
            }
            What::License(shape) => {
                let number = self.lines.len();
                Command::License(Box::new(keys::key(pool, now, shape, number)))
            }
            What::LicenseAgain(which) => {
                self.again(*which, |command| matches!(command, Command::License(_)))
            }
            What::Withdraw => Command::Withdraw,
            What::Upgrade(when) => Command::Upgrade {
                at: instant(pool, now, *when),
            },
            What::Import(shape) => Command::Import(Box::new(openings::opening(now, shape))),
            _ => Command::Advance,
        }
    }

    /// One of the commands so far that are of a sort; `Advance` when there are none.
    fn again(&self, which: usize, of_the_sort: impl Fn(&Command) -> bool) -> Command {
        let commands = self.lines.iter().filter_map(|(_, asked)| match asked {
            Asked::Command(command) if of_the_sort(command) => Some(command),
            Asked::Command(_) | Asked::Authorize(..) => None,
        });
        let all: Vec<_> = commands.collect();
        match which.checked_rem(all.len()) {
            Some(place) => all[place].clone(),
            None => Command::Advance,
        }
    }
}

/// A command that names a hold, a debit or a purchase of the pool; `None` for others, and when
/// there is none.
fn named(lane: &Lane, pool: Option<&Pool>, now: Time, what: &What) -> Option<Command> {
    let hold = |which: usize| {
        // Every other one is open, as long as any is.
        let any_is_open = lane.holds().any(Hold::is_open);
        let only_open = any_is_open && which.is_multiple_of(2);
        let all: Vec<_> = lane
            .holds()
            .filter(|hold| hold.is_open() || !only_open)
            .collect();
        let hold = all.get(which.checked_rem(all.len())?)?;
        let seq = usize::try_from(hold.seq).ok()?;
        Some((seq, hold.facts.credits().units()))
    };
    Some(match what {
        What::Extend(which, lasts) => Command::ExtendHold {
            hold: hold(*which)?.0,
            expires_in_seconds: seconds(pool, now, *lasts),
        },
        What::Capture {
            which,
            amount,
            settle,
            round,
        } => {
            let (hold, reserved) = hold(*which)?;
            Command::CaptureHold {
                hold,
                credits: units(pool, *amount, reserved),
                round: *round,
                settle: *settle,
            }
        }
        What::Release(which) => Command::ReleaseHold {
            hold: hold(*which)?.0,
        },
        What::Refund(which, amount) => {
            let all: Vec<_> = lane.debits().collect();
            let debit = all.get(which.checked_rem(all.len())?)?;
            let left = debit.left().units();
            Command::Refund {
                debit: usize::try_from(debit.entry.seq).ok()?,
                credits: amount.map(|amount| units(pool, amount, left)),
            }
        }
        What::Settle(which, shape) => {
            let all: Vec<_> = lane.bought().collect();
            Command::Settle(settled(all.get(which.checked_rem(all.len())?)?, shape))
        }
        _ => return None,
    })
}

/// The payment's next state.
fn settled(bought: &Bought, shape: &PaymentShape) -> model::Settle {
    let known = bought.payment;
    let charged = match known.charged {
        0 => shape.charged.unwrap_or(1_000),
        charged => shape.charged.unwrap_or(charged),
    };
    let cents = |cents: Cents, before: i64| match cents {
        Cents::AsBefore => before,
        Cents::These(these) => these,
        Cents::More(more) => (before + more).max(0),
        Cents::Charged(more) => charged + more,
    };
    let entry = if shape.of_no_purchase { 1 } else { bought.seq };
    model::Settle {
        purchase: usize::try_from(entry).expect("entries are counted from 1"),
        charged,
        refunded: cents(shape.refunded, known.refunded),
        disputed: cents(shape.disputed, known.disputed),
        dispute_lost: cents(shape.dispute_lost, known.dispute_lost),
    }
}

fn seconds(pool: Option<&Pool>, now: Time, lasts: Lasting) -> i64 {
    let until = |end: Option<Time>| end.map_or(900, |end| (end - now).num_seconds());
    let seconds = match lasts {
        Lasting::Seconds(seconds) => seconds,
        Lasting::ToCycleEnd(more) => until(pool.map(|pool| pool.cycle.end)) + more,
        Lasting::ToAddonExpiry(more) => {
            let live = pool.and_then(|pool| pool.addons);
            until(live.map(|live| live.expires_at)) + more
        }
    };
    seconds.clamp(1, 86_400)
}

impl Sign {
    const fn factor(self) -> i64 {
        match self {
            Self::Give => 1,
            Self::Take => -1,
        }
    }
}

fn with_credits_of(again: Command, other_credits: bool) -> Command {
    match again {
        Command::Purchase(first) if other_credits => Command::Purchase(model::Purchase {
            credits: first.credits + 100 * model::CREDIT,
            ..first
        }),
        other => other,
    }
}

pub fn instant(pool: Option<&Pool>, now: Time, when: When) -> Time {
    match when {
        When::Now => now,
        When::After(duration) => now + duration,
        When::At(landmark, nudge) => {
            find(pool, now, landmark).map_or(now, |at| at + Duration::milliseconds(nudge))
        }
    }
}

fn find(pool: Option<&Pool>, now: Time, landmark: Landmark) -> Option<Time> {
    match landmark {
        Landmark::CycleEnd => pool.map(|pool| pool.cycle.end),
        Landmark::LaterCycleEnd(cycles) => {
            let cycle = pool?.cycle;
            Some(add_months(cycle.anchor, cycle.number + 1 + cycles))
        }
        Landmark::LicenseEnd => pool?.license_ends_at,
        Landmark::AddonExpiry => pool?.addons.map(|live| live.expires_at),
        Landmark::HoldExpiry => pool?.next_hold_at,
        Landmark::PastExpiry => pool?.expired_addons.map(|lost| lost.expired_at),
        Landmark::MonthEnd => {
            let first = now.date_naive().with_day(1)?.and_time(NaiveTime::MIN);
            Some(add_months(first.and_utc(), 1))
        }
        Landmark::LeapDay => (now.year()..)
            .filter_map(|year| NaiveDate::from_ymd_opt(year, 2, 29))
            .map(|day| day.and_time(now.time()).and_utc())
            .find(|at| *at >= now),
        Landmark::MonthsFromNow(months) => Some(add_months(now, months)),
    }
}

/// An amount that the edge lets through; `named` is what a hold or a debit has.
fn units(pool: Option<&Pool>, amount: Amount, named: i64) -> i64 {
    let of_the_pool = |figure: fn(&Pool) -> i64| pool.map_or(0, figure);
    let (base, more) = match amount {
        Amount::Units(units) => (units, 0),
        Amount::Available(more) => (of_the_pool(|pool| pool.available().units()), more),
        Amount::Monthly(more) => (of_the_pool(|pool| pool.monthly().units()), more),
        Amount::Addon(more) => (of_the_pool(|pool| pool.addon().units()), more),
        Amount::Named(more) => (named, more),
    };
    (base + more).clamp(1, model::LARGEST_AMOUNT)
}

pub fn put(pool: Option<&Pool>, now: Time, shape: &PutShape) -> model::PutPool {
    model::PutPool {
        plan: field(&shape.plan, |plan| (*plan).to_owned()),
        builders: shape.builders,
        monthly_allowance: shape.monthly_allowance,
        billing_anchor: match shape.anchor {
            AnchorShape::LeftOut => Field::LeftOut,
            AnchorShape::Same(when) => {
                let known = pool.map(|pool| pool.billing_anchor);
                Field::Value(known.unwrap_or_else(|| instant(pool, now, when)))
            }
            AnchorShape::Other(when) => Field::Value(instant(pool, now, when)),
        },
        license: field(&shape.license, |license| license_of(pool, now, license)),
        metadata: shape.metadata,
    }
}

pub fn license_of(pool: Option<&Pool>, now: Time, shape: &LicenseShape) -> model::License {
    model::License {
        license_type: shape.license_type,
        expires_at: shape.expires_at.map(|when| instant(pool, now, when)),
        grace_until: shape.grace_until.map(|when| instant(pool, now, when)),
        signed: None,
    }
}

fn field<T, U>(field: &Field<T>, resolve: impl Fn(&T) -> U) -> Field<U> {
    match field {
        Field::LeftOut => Field::LeftOut,
        Field::Null => Field::Null,
        Field::Value(value) => Field::Value(resolve(value)),
    }
}

/// A version that begins at the very instant of an event is before or after it, as it comes: that
/// is left out of these tests.
fn plan(pool: Option<&Pool>, now: Time, shape: PlanShape, from: When) -> model::PlanVersion {
    let from = instant(pool, now, from);
    let ambiguous = from == now && pool.is_some_and(|pool| pool.last_at == now);
    model::PlanVersion {
        code: shape.code.to_owned(),
        effective_at: from + Duration::milliseconds(i64::from(ambiguous)),
        allowance: shape.allowance,
        addons: shape.addons,
        denomination: shape.denomination,
        legacy_prices: shape.legacy_prices,
    }
}
