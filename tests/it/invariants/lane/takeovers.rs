//! The two commands that come at an instant of their own: the move to the new plans, and pools
//! taken over from another system.

use credit_ledger::ledger::{Actor, Command, Outcome, Refusal, Time};

use super::super::{answers, requests};
use super::Lane;
use crate::model::{Answer, Opening};

impl Lane {
    /// What is due by its instant comes before it, and what is due since comes after.
    pub(super) fn upgrade(&mut self, now: Time, at: Time) -> Result<Answer, Refusal> {
        let upgrade = requests::upgrade(at);
        let pool = self.pool().ok_or(Refusal::PoolNotFound)?;
        let instant = upgrade.instant(pool, now);
        self.advance(instant);
        let outcome = self.outcome(instant, Command::Upgrade(Box::new(upgrade)))?;
        self.advance(now);
        Ok(match outcome {
            Outcome::Booked(entry) => answers::upgraded(Some(&entry)),
            Outcome::Done | Outcome::Put(_) => answers::upgraded(None),
        })
    }

    pub(super) fn import(&mut self, now: Time, opening: &Opening) -> Result<Answer, Refusal> {
        let opening = requests::opening(opening);
        if self.book.is_some() {
            self.advance(now);
            self.outcome(now, Command::Import(Box::new(opening)))?;
            unreachable!("a pool that is there is not taken over");
        }
        if opening.at > now {
            return Err(Refusal::invalid("at", "must not be in the future"));
        }
        let book = opening.create(self.names(), &self.catalogue, Actor::default())?;
        let answer = answers::imported(book.pool());
        self.book = Some(book);
        self.advance(now);
        Ok(answer)
    }
}
