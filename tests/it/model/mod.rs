//! A second, deliberately naive model of the contract's rules for one pool, against which property
//! tests hold the real core.
//!
//! It is written from the contract alone and uses nothing of the crate under test: amounts are
//! plain `i64` hundredths, every balance is summed up from the whole journal each time, months are
//! added by hand, and a read plays the future forward on a copy. Slow on purpose, obvious on
//! purpose. Idempotency keys, names and JSON have no place here.

pub mod calendar;
mod catalogue;
mod clawback;
mod examples;
mod hold;
mod import;
mod journal;
mod license;
mod parts;
mod pool;
mod purchase;
mod put;
mod refund;
mod spend;
mod upgrade;
pub mod view;

pub use catalogue::{Allowance, Catalogue, Operation, PlanVersion};
pub use clawback::Settle;
pub use hold::Hold;
pub use import::{Opening, OpeningAddons, OpeningPayment, OpeningUsage};
pub use journal::{Account, Entry, Kind, Transfer};
pub use license::{Key, Signed};
pub use purchase::{Adjustment, Bucket, Purchase};
pub use put::{Builders, Change, Field, License, LicenseType, PutPool, Requested, Terms};
pub use refund::RunRefund;
pub use spend::{Authorization, Debit, Round};
pub use view::{Balance, LicenseStatus, NextGrant, PoolView};

use chrono::{DateTime, Utc};
use hold::Capture;
use pool::Pool;

pub type Instant = DateTime<Utc>;

/// A stable code of the contract, such as `pool_empty`.
pub type Code = &'static str;

/// One credit, in the hundredths that every amount here is counted in.
pub const CREDIT: i64 = 100;

/// The most a single request may name.
pub const LARGEST_AMOUNT: i64 = 1_000_000_000 * CREDIT;

/// The most an account may come to: section 1, `balance_limit`.
pub const BALANCE_LIMIT: i64 = 1_000_000_000_000 * CREDIT;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolKind {
    Workspace,
    Instance,
}

/// One pool of one tenant, with the tenant's catalogue. The pool may not exist yet.
#[derive(Clone, Debug)]
pub struct Model {
    kind: PoolKind,
    catalogue: Catalogue,
    pool: Option<Pool>,
}

#[derive(Clone, Debug)]
pub enum Command {
    Put(PutPool),
    /// Applies a signed licence.
    License(Box<Key>),
    /// Gives the signed licence up.
    Withdraw,
    /// Moves the pool from a legacy plan to the new ones.
    Upgrade {
        at: Instant,
    },
    /// Makes the pool from another system's figures.
    Import(Box<Opening>),
    Debit(Debit),
    Hold(Hold),
    /// A hold goes by the number of the entry that opened it.
    ExtendHold {
        hold: usize,
        expires_in_seconds: i64,
    },
    CaptureHold {
        hold: usize,
        credits: i64,
        round: Round,
        settle: bool,
    },
    ReleaseHold {
        hold: usize,
    },
    /// Of the debit or capture that this entry booked; left out, `credits` are all that is left.
    Refund {
        debit: usize,
        credits: Option<i64>,
    },
    /// All that is left of every debit of the run.
    RefundRun {
        run: String,
    },
    Purchase(Purchase),
    Settle(Settle),
    Adjust(Adjustment),
    Close,
    /// A new version of a plan, in force from its `effective_at`.
    PutPlan(PlanVersion),
    PutOperation(Operation),
    /// Books what is due and nothing else, as the sweeper does.
    Advance,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Put {
        change: Change,
        version: usize,
    },
    Debited {
        seq: usize,
        credits: i64,
        /// What was asked for, when the request said how to round.
        requested: Option<i64>,
        monthly: i64,
        addon: i64,
        overdraft: i64,
        /// Of a hold that had expired.
        late: bool,
        /// The hold that it captures.
        hold: Option<usize>,
    },
    Held {
        seq: usize,
        credits: i64,
        /// Before it was rounded, and before a partial hold took what there was.
        requested: i64,
        monthly: i64,
        addon: i64,
        expires_at: Instant,
    },
    Extended {
        seq: usize,
        expires_at: Instant,
    },
    Released {
        seq: usize,
    },
    /// The four parts say where the credits went.
    Refunded {
        seq: usize,
        credits: i64,
        overdraft: i64,
        addon: i64,
        monthly: i64,
        lapsed: i64,
    },
    RunRefunded {
        /// One a debit, oldest debit first.
        refunds: Vec<RunRefund>,
        credits: i64,
    },
    Purchased {
        seq: usize,
        credits: i64,
        bonus: i64,
        paid_at: Instant,
        /// The end of the whole add-on pool, as this purchase left it.
        expires_at: Instant,
        /// False for a payment that was credited before: 200 instead of 201.
        first: bool,
    },
    /// What the payment has lost by now, taken and not taken.
    Settled {
        /// `None` where nothing was booked: it was known already.
        seq: Option<usize>,
        clawed_back: i64,
        uncollected: i64,
    },
    Adjusted {
        seq: usize,
    },
    Closed {
        seq: usize,
    },
    /// `None` where there was nothing to move.
    Upgraded {
        seq: Option<usize>,
    },
    Imported {
        /// Before anything that was due since.
        version: usize,
    },
    CatalogueStored,
    Advanced {
        version: usize,
    },
    Refused(Code),
}

impl Model {
    pub fn new(kind: PoolKind, catalogue: Catalogue) -> Self {
        Self {
            kind,
            catalogue,
            pool: None,
        }
    }

    /// Books what is due up to and including `now`, then the command. A refusal books nothing of
    /// its own.
    pub fn apply(&mut self, now: Instant, command: &Command) -> Answer {
        let now = self.not_before_the_last_entry(now);
        if let Command::Upgrade { at } = command {
            // What is due after its own instant comes after it.
            return self.upgrade(now, *at).unwrap_or_else(Answer::Refused);
        }
        self.advance(now);
        let decided = match command {
            Command::Put(body) => self.put(now, body),
            Command::License(key) => self.apply_key(now, key),
            Command::Withdraw => self.withdraw(now),
            Command::Import(opening) => self.import(now, opening),
            Command::Debit(debit) => self.debit(now, debit),
            Command::Hold(hold) => self.hold(now, hold),
            Command::ExtendHold {
                hold,
                expires_in_seconds,
            } => self.extend_hold(now, *hold, *expires_in_seconds),
            Command::CaptureHold {
                hold,
                credits,
                round,
                settle,
            } => {
                let asked = Capture {
                    hold: *hold,
                    credits: *credits,
                    round: *round,
                    settle: *settle,
                };
                self.capture_hold(now, &asked)
            }
            Command::ReleaseHold { hold } => self.release_hold(now, *hold),
            Command::Refund { debit, credits } => self.refund(now, *debit, *credits),
            Command::RefundRun { run } => self.refund_run(now, run),
            Command::Purchase(purchase) => self.purchase(now, purchase),
            Command::Settle(known) => self.settle_payment(now, known),
            Command::Adjust(adjustment) => self.adjust(now, adjustment),
            Command::Close => self.close(now),
            Command::PutPlan(version) => self.catalogue.put_plan(now, version),
            Command::PutOperation(operation) => self.catalogue.put_operation(operation),
            Command::Advance | Command::Upgrade { .. } => {
                self.existing().map(|pool| Answer::Advanced {
                    version: pool.version(),
                })
            }
        };
        decided.unwrap_or_else(Answer::Refused)
    }

    /// Section 5, as of `now`, what is due included. `None` before the pool exists.
    pub fn balance(&self, now: Instant) -> Option<Balance> {
        let now = self.not_before_the_last_entry(now);
        Some(self.at(now).pool?.balance(now))
    }

    /// What `GET /v1/pools/{pool}` tells, what is due included. `None` before the pool exists.
    pub fn pool_view(&self, now: Instant) -> Option<PoolView> {
        let now = self.not_before_the_last_entry(now);
        let then = self.at(now);
        Some(then.pool.as_ref()?.view(now, self.kind, &self.catalogue))
    }

    /// Every entry booked so far, oldest first. Apply `Advance` to see what is due as well.
    pub fn journal(&self) -> &[Entry] {
        self.pool.as_ref().map_or(&[], |pool| &pool.journal)
    }

    /// Every purchase, with what its payment has lost, as the last command left it.
    pub fn credited(&self) -> Vec<view::Credited> {
        let pools = self.pool.iter();
        pools.flat_map(Pool::credited).collect()
    }

    /// What is left in an account, over the whole journal; sources and overdraft are negative.
    pub fn account(&self, account: Account) -> i64 {
        journal::balance_of(self.journal(), account)
    }

    /// The model as it stands at `now`, on a copy: reads book nothing.
    fn at(&self, now: Instant) -> Self {
        let mut copy = self.clone();
        copy.advance(now);
        copy
    }

    fn advance(&mut self, now: Instant) {
        if let Some(pool) = &mut self.pool {
            pool.advance(now, self.kind, &self.catalogue);
        }
    }

    fn not_before_the_last_entry(&self, now: Instant) -> Instant {
        let last = self.journal().last().map(|entry| entry.at);
        last.map_or(now, |last| now.max(last))
    }

    fn existing(&self) -> Result<&Pool, Code> {
        self.pool.as_ref().ok_or("not_found")
    }

    fn writable(&mut self) -> Result<&mut Pool, Code> {
        match &mut self.pool {
            None => Err("not_found"),
            Some(pool) if pool.closed => Err("pool_closed"),
            Some(pool) => Ok(pool),
        }
    }

    /// A second close answers the same as the first.
    fn close(&mut self, now: Instant) -> Result<Answer, Code> {
        if self.existing()?.closed {
            let seq = self.existing()?.version();
            return Ok(Answer::Closed { seq });
        }
        let pool = self.writable()?;
        let open: Vec<_> = pool.open_holds().map(|hold| hold.seq).collect();
        for hold in open {
            pool.release(now, hold);
        }
        pool.closed = true;
        let seq = pool.write(Kind::Close, now, vec![]);
        Ok(Answer::Closed { seq })
    }
}
