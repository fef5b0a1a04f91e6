//! Section 7: what a payment loses by refunds and disputes, and what is taken and given back.

use super::parts::{Origin, Part};
use super::pool::{CreditedPurchase, Pool};
use super::{Account, Answer, BALANCE_LIMIT, Code, Instant, Kind, Model};

/// All that is known of a payment now, in cents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settle {
    /// The entry that booked the purchase.
    pub purchase: usize,
    pub charged: i64,
    pub refunded: i64,
    /// By disputes that are open.
    pub disputed: i64,
    pub dispute_lost: i64,
}

impl Settle {
    /// The purchase is no longer one that keeps its add-on pool alive.
    fn is_void(&self) -> bool {
        self.refunded >= self.charged || self.dispute_lost > 0
    }

    fn lost(&self, credited: i64, denomination: i64) -> i64 {
        let refunded = part(credited, self.refunded, self.charged, denomination);
        let disputed = self.disputed + self.dispute_lost;
        let disputed = part(credited, disputed, self.charged, denomination);
        credited.min(refunded + disputed)
    }
}

/// What this amount is worth in credits, rounded down to the denomination.
fn part(credited: i64, amount: i64, charged: i64, denomination: i64) -> i64 {
    let exact = i128::from(credited) * i128::from(amount) / i128::from(charged);
    let exact = i64::try_from(exact).expect("amounts of these tests are not that much apart");
    exact - exact % denomination
}

impl CreditedPurchase {
    pub fn credited(&self) -> i64 {
        self.purchase.credits + self.purchase.bonus
    }

    fn is_void(&self) -> bool {
        self.known.is_some_and(|known| known.is_void())
    }
}

impl Model {
    pub(super) fn settle_payment(&mut self, now: Instant, known: &Settle) -> Result<Answer, Code> {
        let pool = self.writable()?;
        let mut purchases = pool.purchases.iter();
        let place = purchases.position(|bought| bought.seq == known.purchase);
        let place = place.ok_or("not_found")?;
        let bought = pool.purchases[place].clone();
        if bought.known == Some(*known) {
            return Ok(settled(None, &bought));
        }
        let before = bought.clawed_back + bought.uncollected;
        let lost = known.lost(bought.credited(), pool.version.denomination);
        let seq = if lost < before {
            pool.reverse(now, place, before - lost)?
        } else {
            pool.claw_back(now, place, lost - before)
        };
        pool.purchases[place].known = Some(*known);
        let is_of_the_live_pool = pool.home_of(bought.origin) == Account::Addon;
        if known.is_void() && !bought.is_void() && is_of_the_live_pool {
            pool.shorten_validity(now);
        }
        let answer = settled(Some(seq), &pool.purchases[place]);
        // The add-on pool may just have come to its end.
        self.advance(now);
        Ok(answer)
    }
}

impl Pool {
    /// Takes what is there and notes the rest.
    fn claw_back(&mut self, now: Instant, place: usize, credits: i64) -> usize {
        let taken = credits.min(self.addon());
        let live = self.live_addon_pools.first().copied();
        let bought = &mut self.purchases[place];
        bought.clawed_back += taken;
        bought.uncollected += credits - taken;
        if taken > 0 {
            bought.clawed_from = live.map(Origin::AddonPool);
        }
        let origin = bought.origin;
        let transfer = Account::Addon.to(Account::ClawedBack, taken);
        let seq = self.write(Kind::Clawback, now, vec![transfer]);
        self.note_elsewhere(seq, origin);
        seq
    }

    /// Whether an entry is about credits of another add-on pool than the purchase went to.
    fn note_elsewhere(&mut self, seq: usize, bought_into: Origin) {
        if self.home_of(bought_into) != Account::Addon {
            self.clawed_elsewhere.push(seq);
        }
    }

    /// What was not taken yet need not be taken any more; the rest goes back to where it was.
    fn reverse(&mut self, now: Instant, place: usize, credits: i64) -> Result<usize, Code> {
        let bought = &self.purchases[place];
        let never_taken = credits.min(bought.uncollected);
        let bought_into = bought.origin;
        let back = Part {
            origin: bought.clawed_from.unwrap_or(bought_into),
            credits: credits - never_taken,
        };
        let home = self.home_of(back.origin);
        if home == Account::Addon && self.addon_settled() + back.credits > BALANCE_LIMIT {
            return Err("balance_limit");
        }
        let bought = &mut self.purchases[place];
        bought.uncollected -= never_taken;
        bought.clawed_back -= back.credits;
        if home == Account::Lapsed {
            self.note_lapses(&[back]);
            self.note_grant_of_the_lost(back, bought_into);
        }
        let transfer = Account::ClawedBack.to(home, back.credits);
        let seq = self.write(Kind::ClawbackReversal, now, vec![transfer]);
        self.note_elsewhere(seq, bought_into);
        if home == Account::Addon {
            // Others may still owe: it is as if the dispute had never been.
            self.collect(now, back.credits);
        }
        Ok(seq)
    }

    /// It was bought into the add-on pool that has expired, after all.
    fn note_grant_of_the_lost(&mut self, back: Part, bought_into: Origin) {
        if let Some(lost) = &mut self.lost_addons
            && let Origin::AddonPool(taken_from) = back.origin
            && let Origin::AddonPool(opened_by) = bought_into
            && lost.pools.contains(&taken_from)
            && lost.pools.contains(&opened_by)
        {
            lost.granted += back.credits;
        }
    }

    /// To the latest purchase that still stands, never before now. Where none does, to the
    /// earliest, so that their order does not matter.
    fn shorten_validity(&mut self, now: Instant) {
        let all = self.purchases.iter();
        let of_it: Vec<_> = all
            .filter(|bought| self.home_of(bought.origin) == Account::Addon)
            .collect();
        let standing = of_it.iter().filter(|bought| !bought.is_void());
        let latest = standing.map(|bought| bought.valid_until).max();
        let earliest = of_it.iter().map(|bought| bought.valid_until).min();
        if let (Some(wanted), Some(end)) = (latest.or(earliest), self.addon_expires_at) {
            self.addon_expires_at = Some(end.min(wanted.max(now)));
        }
    }

    /// What this entry brought back into the bucket for add-on credits.
    pub fn freed_by(&self, seq: usize) -> i64 {
        self.journal[seq - 1].moved(Account::HeldAddon, Account::Addon)
    }

    /// Takes what payments have lost out of what was just freed.
    pub fn collect(&mut self, at: Instant, mut freed: i64) {
        for place in 0..self.purchases.len() {
            let taken = freed.min(self.purchases[place].uncollected);
            if taken > 0 {
                freed -= taken;
                self.purchases[place].uncollected -= taken;
                self.claw_back(at, place, taken);
            }
        }
    }
}

fn settled(seq: Option<usize>, bought: &CreditedPurchase) -> Answer {
    Answer::Settled {
        seq,
        clawed_back: bought.clawed_back,
        uncollected: bought.uncollected,
    }
}
