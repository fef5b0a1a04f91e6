//! Section 6: holds. Each is a plain struct that remembers where its credits came from; how many
//! are held altogether is only known to the journal.

use super::parts::{Part, addon_of, monthly_of, take, total};
use super::pool::Pool;
use super::spend::{Charge, refuse_if_short};
use super::{Answer, Code, Instant, Kind, Model, Round};
use chrono::Duration;

const OPEN_HOLDS_MAX: usize = 1_000;
const EXPIRES_IN_SECONDS_MAX: i64 = 86_400;

#[derive(Clone, Debug)]
pub struct Hold {
    pub credits: Option<i64>,
    pub operation: Option<String>,
    /// Captures are of the hold's operation and run.
    pub run: Option<String>,
    /// Content with what there is.
    pub partial: bool,
    pub round: Round,
    pub expires_in_seconds: i64,
}

/// What a capture asks for.
pub struct Capture {
    pub hold: usize,
    pub credits: i64,
    pub round: Round,
    pub settle: bool,
}

#[derive(Clone, Debug)]
pub struct PlacedHold {
    /// The entry that opened it.
    pub seq: usize,
    /// Before it was rounded, and before a partial hold took what there was.
    pub requested: i64,
    pub operation: Option<String>,
    pub at_fixed_price: bool,
    pub run: Option<String>,
    /// What it holds, monthly first: nothing once it is no longer open.
    pub parts: Vec<Part>,
    pub expires_at: Instant,
    pub status: HoldStatus,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoldStatus {
    Open,
    Captured,
    Released,
    Expired,
}

impl Model {
    pub(super) fn hold(&mut self, now: Instant, asked: &Hold) -> Result<Answer, Code> {
        self.writable()?;
        let expires_at = expiry(now, asked.expires_in_seconds)?;
        let requested = self.priced(asked.operation.as_deref(), asked.credits)?;
        let at_fixed_price = self.fixed_price(asked.operation.as_deref())?.is_some();
        let wanted = self.amount(requested, asked.round)?;
        let pool = self.writable()?;
        if pool.open_holds().count() >= OPEN_HOLDS_MAX {
            return Err("too_many_holds");
        }
        let available = pool.available();
        let credits = if asked.partial && available > 0 {
            wanted.min(available)
        } else {
            wanted
        };
        refuse_if_short(available, credits)?;
        let parts = pool.drawn(credits);
        let reserved = parts.iter().map(|part| {
            let (home, held) = (pool.home_of(part.origin), pool.held_in(part.origin));
            home.to(held, part.credits)
        });
        let reserved = reserved.collect();
        let seq = pool.write(Kind::Hold, now, reserved);
        pool.holds.push(PlacedHold {
            seq,
            requested,
            operation: asked.operation.clone(),
            at_fixed_price,
            run: asked.run.clone(),
            parts: parts.clone(),
            expires_at,
            status: HoldStatus::Open,
        });
        Ok(Answer::Held {
            seq,
            credits,
            requested,
            monthly: monthly_of(&parts),
            addon: addon_of(&parts),
            expires_at,
        })
    }

    pub(super) fn extend_hold(
        &mut self,
        now: Instant,
        hold: usize,
        expires_in_seconds: i64,
    ) -> Result<Answer, Code> {
        let pool = self.writable()?;
        let expires_at = expiry(now, expires_in_seconds)?;
        pool.open_hold(hold)?.expires_at = expires_at;
        let seq = pool.write(Kind::HoldExtend, now, vec![]);
        Ok(Answer::Extended { seq, expires_at })
    }

    pub(super) fn release_hold(&mut self, now: Instant, hold: usize) -> Result<Answer, Code> {
        let pool = self.writable()?;
        pool.open_hold(hold)?;
        let seq = pool.release(now, hold);
        Ok(Answer::Released { seq })
    }

    /// From the hold, the rest of which is released; what goes beyond it is drawn anew. Nothing is
    /// left in a hold that has expired, so a late capture draws everything anew.
    pub(super) fn capture_hold(&mut self, now: Instant, asked: &Capture) -> Result<Answer, Code> {
        let hold = self.writable()?.placed_hold(asked.hold)?.clone();
        let late = match hold.status {
            HoldStatus::Open => false,
            HoldStatus::Expired if asked.settle => true,
            HoldStatus::Expired | HoldStatus::Captured | HoldStatus::Released => {
                return Err("hold_not_open");
            }
        };
        // Work that began at a fixed price ends at it, or at what the price is by now.
        if hold.at_fixed_price
            && asked.credits != hold.requested
            && self.fixed_price(hold.operation.as_deref())? != Some(asked.credits)
        {
            return Err("price_is_fixed");
        }
        // All that is held can be captured, whatever the smallest step has become.
        let credits = if !late && asked.credits == total(&hold.parts) {
            self.amount(asked.credits, Round::Up)
                .map(|_| asked.credits)?
        } else {
            self.amount(asked.credits, asked.round)?
        };
        let pool = self.writable()?;
        let mut released = hold.parts;
        let captured = take(&mut released, credits);
        let excess = credits - total(&captured);
        if excess > 0 && !asked.settle {
            refuse_if_short(pool.available(), excess)?;
        }
        let charge = Charge {
            requested: (asked.round != Round::No).then_some(asked.credits),
            drawn: pool.drawn(excess),
            credits,
            captured,
            released,
            hold: Some(asked.hold),
            late,
            run: hold.run,
        };
        let answer = pool.book(now, charge)?;
        pool.end_hold(asked.hold, HoldStatus::Captured);
        Ok(answer)
    }
}

impl Pool {
    pub fn open_holds(&self) -> impl Iterator<Item = &PlacedHold> {
        let open = |hold: &&PlacedHold| hold.status == HoldStatus::Open;
        self.holds.iter().filter(open)
    }

    fn placed_hold(&mut self, seq: usize) -> Result<&mut PlacedHold, Code> {
        let mut holds = self.holds.iter_mut();
        holds.find(|hold| hold.seq == seq).ok_or("not_found")
    }

    fn open_hold(&mut self, seq: usize) -> Result<&mut PlacedHold, Code> {
        let hold = self.placed_hold(seq)?;
        match hold.status {
            HoldStatus::Open => Ok(hold),
            HoldStatus::Captured | HoldStatus::Released | HoldStatus::Expired => {
                Err("hold_not_open")
            }
        }
    }

    pub fn release(&mut self, now: Instant, hold: usize) -> usize {
        let released = self.end_hold(hold, HoldStatus::Released);
        self.give_back(Kind::Release, now, &released)
    }

    pub fn expire_hold(&mut self, at: Instant, hold: usize) {
        let released = self.end_hold(hold, HoldStatus::Expired);
        self.give_back(Kind::HoldExpiry, at, &released);
    }

    /// Answers what it still held.
    fn end_hold(&mut self, seq: usize, status: HoldStatus) -> Vec<Part> {
        let hold = self.placed_hold(seq).expect("it was found before");
        hold.status = status;
        std::mem::take(&mut hold.parts)
    }

    fn give_back(&mut self, kind: Kind, at: Instant, released: &[Part]) -> usize {
        let transfers = released.iter().map(|part| {
            let (held, home) = (self.held_in(part.origin), self.home_of(part.origin));
            held.to(home, part.credits)
        });
        let transfers = transfers.collect();
        self.note_lapses(released);
        let seq = self.write(kind, at, transfers);
        self.collect(at, self.freed_by(seq));
        seq
    }
}

fn expiry(now: Instant, expires_in_seconds: i64) -> Result<Instant, Code> {
    match expires_in_seconds {
        1..=EXPIRES_IN_SECONDS_MAX => Ok(now + Duration::seconds(expires_in_seconds)),
        _ => Err("validation_failed"),
    }
}
