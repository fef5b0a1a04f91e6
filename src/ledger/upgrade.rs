//! The one-time move of pools on legacy plans to the plans that came after them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::advance::turn_over;
use super::book::Draft;
use super::put::{possible, put_details};
use super::{
    Actor, Book, Catalogue, Cycle, Entry, Kind, PlanCode, Pool, PoolKind, Refusal, Terms, Time,
};

/// Moves a pool to the new plans.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upgrade {
    /// When, for pools of which nothing later is booked.
    pub at: Time,
    /// The new plan of each old one. For an instance, `free` means its own free plan.
    pub plans: BTreeMap<PlanCode, PlanCode>,
}

impl Upgrade {
    /// The plans of the default catalogue: what was 30, 200 and 500 becomes 100, 800 and 2000.
    ///
    /// # Panics
    /// Never: the codes are good.
    #[must_use]
    pub fn default_plans() -> BTreeMap<PlanCode, PlanCode> {
        let code = |code: &str| code.parse::<PlanCode>().expect("a good code");
        [
            ("legacy_free", "free"),
            ("legacy_pro", "pro"),
            ("legacy_team", "team"),
        ]
        .map(|(old, new)| (code(old), code(new)))
        .into()
    }

    /// The instant at which a pool is moved: never before its last entry, never after its now.
    #[must_use]
    pub fn instant(&self, pool: &Pool, now: Time) -> Time {
        self.at.min(now).max(pool.last_at)
    }

    /// Moves the pool: what is left of the cycle lapses and the new plan's full allowance is
    /// granted at once. That cycle ends at the pool's own next renewal, so the billing date stays.
    /// A pool on none of the old plans has nothing to move: then nothing is booked.
    ///
    /// # Errors
    /// The pool is closed, or the new plan cannot be its plan.
    pub fn book(
        &self,
        book: &mut Book,
        catalogue: &Catalogue,
        actor: Actor,
        at: Time,
    ) -> Result<Option<Arc<Entry>>, Refusal> {
        if book.pool.is_closed() {
            return Err(Refusal::PoolClosed);
        }
        let new = |terms: &Terms| self.moved(book.pool.name.kind(), terms);
        let terms = new(&book.pool.terms);
        let pending = book.pool.pending.as_ref().and_then(new);
        let requested = new(&book.pool.requested.terms);
        if terms.is_none() && pending.is_none() && requested.is_none() {
            return Ok(None);
        }
        let instant = book.pool.plan_instant(at);
        for terms in [&terms, &pending].into_iter().flatten() {
            possible(terms, catalogue, instant)?;
        }
        if let Some(pending) = pending {
            book.pool.pending = Some(pending);
        }
        if let Some(requested) = requested {
            let before = std::mem::replace(&mut book.pool.requested.terms, requested.clone());
            book.pool.requested.upgraded = Some(Box::new((before, requested)));
        }
        let transfers = terms.map_or_else(Vec::new, |terms| {
            let cycle = Cycle {
                start: at,
                ..book.pool.cycle
            };
            turn_over(book, catalogue, at, terms, cycle)
        });
        let draft = Draft {
            actor,
            details: put_details(&book.pool),
            ..Draft::new(Kind::Upgrade, transfers)
        };
        Ok(Some(book.append(at, draft)))
    }

    fn moved(&self, kind: PoolKind, terms: &Terms) -> Option<Terms> {
        let new = self.plans.get(&terms.plan)?;
        let is_free = new.as_str() == PoolKind::Workspace.free_plan();
        let own = is_free.then(|| kind.free_plan().parse().ok()).flatten();
        Some(Terms {
            plan: own.unwrap_or_else(|| new.clone()),
            ..terms.clone()
        })
    }
}

#[cfg(test)]
mod tests;
