//! The one-time move from the legacy plans to the plans that came after them.

use super::pool::Pool;
use super::{Answer, Catalogue, Code, Instant, Kind, Model, PoolKind, Terms};

impl Model {
    /// At its own instant: never before the pool's last entry, never after its now. What is due
    /// by then comes first, what is due after it comes later.
    pub(super) fn upgrade(&mut self, now: Instant, at: Instant) -> Result<Answer, Code> {
        let last = self.existing()?.journal.last().map(|entry| entry.at);
        let instant = last.map_or(at, |last| at.max(last)).min(now);
        self.advance(instant);
        let (kind, catalogue) = (self.kind, self.catalogue.clone());
        let seq = self.writable()?.upgrade(instant, kind, &catalogue);
        self.advance(now);
        Ok(Answer::Upgraded { seq })
    }
}

impl Pool {
    /// A full grant of the new plan at once, in a cycle that ends when the old one would have.
    fn upgrade(&mut self, at: Instant, kind: PoolKind, catalogue: &Catalogue) -> Option<usize> {
        let mapped = |terms: &Terms| terms.upgraded(kind);
        let in_force = mapped(&self.in_force);
        let pending = self.pending.as_ref().and_then(mapped);
        let requested = mapped(&self.requested.terms);
        if in_force.is_none() && pending.is_none() && requested.is_none() {
            return None;
        }
        if let Some(requested) = requested {
            self.renamed = Some((self.requested.terms.clone(), requested.clone()));
            self.requested.terms = requested;
        }
        if pending.is_some() {
            self.pending = pending;
        }
        let Some(terms) = in_force else {
            return Some(self.write(Kind::Upgrade, at, vec![]));
        };
        let version = catalogue.version_at(&terms.plan, at).clone();
        self.open_cycle(Kind::Upgrade, at, terms, version);
        self.cycle_began_at = Some(at);
        Some(self.version())
    }
}

impl Terms {
    /// On the plan that came after theirs; `None` where they are on no old one.
    fn upgraded(&self, kind: PoolKind) -> Option<Self> {
        let plan = match (self.plan.as_str(), kind) {
            ("legacy_free", PoolKind::Workspace) => "free",
            ("legacy_free", PoolKind::Instance) => "basic",
            ("legacy_pro", _) => "pro",
            ("legacy_team", _) => "team",
            _ => return None,
        };
        Some(Self {
            plan: plan.to_owned(),
            ..self.clone()
        })
    }
}
