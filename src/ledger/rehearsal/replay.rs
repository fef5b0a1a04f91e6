//! Decides anew what users did, entry by entry, on a pool under another catalogue.
//!
//! Every decision is the one that the service makes: the commands and `advance` of the core. Only
//! what a journal does not say as a command is booked by hand: what a clawback took. What was spent
//! and given back is in `spending`.

use std::collections::{BTreeMap, HashMap};

use super::past::{Past, has_ended, returns};
use super::spending::Kept;
use super::tally::{Tally, unreadable};
use super::{LeftOut, Told};
use crate::ledger::book::Draft;
use crate::ledger::purchase::reinstate;
use crate::ledger::{
    Account, Actor, Adjustment, Allowance, Book, Catalogue, Command, Credits, ExpiredAddons, Fault,
    Kind, Label, Patch, Pool, Purchase, PurchaseId, PutPool, Refusal, Requested, Seats,
    SignedCredits, SignedLicense, Terms, Time, Transfer, Upgrade, Withdrawal, advance,
};

/// A pool as it would be.
pub(super) struct Replay<'c> {
    pub other: &'c Catalogue,
    pub book: Book,
    pub tally: Tally,
    pub left_out: LeftOut,
    /// By their number in the journal: debits of which refunds are still to come.
    pub debits: BTreeMap<i64, Kept>,
    /// What clawbacks took in the past and could not take here.
    missed: Credits,
    /// The add-on pool that something was taken from, by purchase.
    clawed_from: HashMap<PurchaseId, i64>,
}

impl<'c> Replay<'c> {
    /// Begins with a pool as it stands.
    pub fn new(pool: Pool, other: &'c Catalogue) -> Self {
        Self::with(Book::new(pool), other)
    }

    /// Begins with the making of a pool; `None` when the other catalogue cannot have it.
    pub fn open(past: &Past, other: &'c Catalogue, told: &Told<'_>) -> Option<Self> {
        let Told { entry, details, .. } = told;
        let requested = details.requested.as_ref()?;
        let instant = requested.test_clock.is_none().then_some(entry.at);
        let put = PutPool {
            plan: Some(requested.terms.plan.clone()),
            builders: Patch::Set(requested.terms.builders),
            monthly_allowance: own_allowance(other, &requested.terms, instant),
            billing_anchor: Some(requested.billing_anchor),
            term: Patch::Set(requested.term),
            license: requested.license.clone().map_or(Patch::Keep, Patch::Set),
            test_clock: requested.test_clock.map_or(Patch::Keep, Patch::Set),
            metadata: Patch::Keep,
        };
        let book = put.create(past.names(), other, Actor::default(), entry.at);
        book.ok().map(|book| Self::with(book, other))
    }

    fn with(book: Book, other: &'c Catalogue) -> Self {
        Self {
            other,
            book,
            tally: Tally::default(),
            left_out: LeftOut::default(),
            debits: BTreeMap::new(),
            missed: Credits::ZERO,
            clawed_from: HashMap::new(),
        }
    }

    /// Books what is due by `now`.
    pub fn advance(&mut self, now: Time) -> Result<(), Fault> {
        advance(&mut self.book, self.other, now);
        self.settle()
    }

    /// Lets happen what this entry says was asked for. What happened by itself happens by itself
    /// again, and holds are not rehearsed.
    pub fn step(
        &mut self,
        told: &Told<'_>,
        past: &Past,
        catalogue: &Catalogue,
    ) -> Result<(), Fault> {
        let entry = told.entry;
        advance(&mut self.book, self.other, entry.at);
        let done = match entry.kind {
            Kind::Restart | Kind::TermsChange => self.put(told, past),
            Kind::LicenseEnd => self.end_license(told, past),
            Kind::Upgrade => self.upgrade(told, past),
            Kind::Debit => self.debit(told),
            Kind::Refund => self.refund(told),
            Kind::Purchase => self.purchase(told, past.addons_allowed(catalogue)),
            Kind::Reinstatement => self.reinstate(told),
            Kind::Clawback => self.claw_back(told),
            Kind::ClawbackReversal => self.reverse_clawback(told),
            Kind::Adjustment => self.adjust(told),
            Kind::Close => self.decide(Command::Close, entry.at).map(|_| ()).ok(),
            Kind::Open
            | Kind::Import
            | Kind::Renewal
            | Kind::AddonExpiry
            | Kind::Hold
            | Kind::HoldExtend
            | Kind::Release
            | Kind::HoldExpiry => Some(()),
        };
        done.ok_or_else(|| unreadable(entry))?;
        self.settle()
    }

    /// Counts what was booked, and forgets the entries: only the pool is kept.
    pub fn settle(&mut self) -> Result<(), Fault> {
        if self.book.entries().is_empty() {
            return Ok(());
        }
        for entry in self.book.entries() {
            self.tally.add(entry)?;
        }
        self.book = Book::new(self.book.pool().clone());
        Ok(())
    }

    fn decide(&mut self, command: Command, at: Time) -> Result<(), Refusal> {
        let decided = command.decide(&mut self.book, self.other, Actor::default(), at);
        decided.map(|_| ())
    }

    /// Requests the same terms again: what they are, an increase or a decrease, is decided here.
    fn put(&mut self, told: &Told<'_>, past: &Past) -> Option<()> {
        let requested = told.details.requested.as_ref()?;
        let before = past.pool()?;
        let at = told.entry.at;
        let put = PutPool {
            plan: self
                .names_a_plan(told, before)
                .then(|| requested.terms.plan.clone()),
            builders: Patch::Set(requested.terms.builders),
            monthly_allowance: {
                let instant = self.book.pool.plan_instant(at);
                own_allowance(self.other, &requested.terms, instant)
            },
            term: Patch::Set(requested.term),
            license: self.license(requested, at),
            ..PutPool::default()
        };
        let (book, other) = (&mut self.book, self.other);
        let comes_back = returning_license(&book.pool, requested)
            .is_some_and(|license| license.comes_back(&book.pool, at));
        let done = match comes_back {
            true => put.resume(book, other, Actor::default(), at),
            false => put.change(book, other, Actor::default(), at),
        };
        if done.is_err() {
            self.left_out.changes = self.left_out.changes.saturating_add(1);
        }
        Some(())
    }

    /// A pool that has lost its licence only leaves its free plan when a plan was named.
    fn names_a_plan(&self, told: &Told<'_>, before: &Pool) -> bool {
        !self.book.pool.fallen_back
            || !before.fallen_back
            || returns(before, told.entry.kind, told.details)
    }

    fn license(&self, requested: &Requested, at: Time) -> Patch<super::super::License> {
        let pool = &self.book.pool;
        let last = pool.requested.license.as_ref();
        match &requested.license {
            Some(same) if last == Some(same) && !has_ended(pool, Some(same), at) => Patch::Keep,
            Some(license) => Patch::Set(license.clone()),
            None if last.is_some() => Patch::Clear,
            None => Patch::Keep,
        }
    }

    /// A licence that ended by itself does so again; what a PUT ended or somebody took is repeated.
    fn end_license(&mut self, told: &Told<'_>, past: &Past) -> Option<()> {
        if told.details.requested.is_some() {
            return self.put(told, past);
        }
        let (book, at) = (&mut self.book, told.entry.at);
        if Withdrawal
            .book(book, self.other, Actor::default(), at)
            .is_err()
        {
            self.left_out.changes = self.left_out.changes.saturating_add(1);
        }
        Some(())
    }

    fn upgrade(&mut self, told: &Told<'_>, past: &Past) -> Option<()> {
        let at = told.entry.at;
        let upgrade = Upgrade {
            at,
            plans: past.moves(told.details),
        };
        if self
            .decide(Command::Upgrade(Box::new(upgrade)), at)
            .is_err()
        {
            self.left_out.changes = self.left_out.changes.saturating_add(1);
        }
        Some(())
    }

    /// A payment is credited, unless it is the other plan that sells no add-on credits.
    fn purchase(&mut self, told: &Told<'_>, was_allowed: bool) -> Option<()> {
        let Told { entry, details, .. } = told;
        if was_allowed && !self.book.pool.addons_allowed {
            self.left_out.purchases = self.left_out.purchases.saturating_add(1);
            return Some(());
        }
        let credits = entry.moved(Account::IssuedAddon, Account::Addon);
        let bonus = details.bonus_credits.unwrap_or(Credits::ZERO);
        let purchase = Purchase {
            id: entry.purchase?,
            credits: Ok(credits.saturating_sub(bonus).signed()),
            bonus,
            as_sold: true,
            reference: entry.reference.clone()?,
            paid_at: details.paid_at,
            amount_cents: details.amount_cents,
            currency: None,
            user_id: None,
        };
        let purchase = Command::Purchase(Box::new(purchase));
        // Only a closed pool refuses it, and nothing was booked to that.
        self.decide(purchase, entry.at).ok()?;
        self.follow_validity(told);
        Some(())
    }

    /// When the add-on pool ends depends on payments alone, so the journal knows it, by the terms
    /// that were in force.
    fn follow_validity(&mut self, told: &Told<'_>) {
        let said = told.entry.after.addon.expires_at;
        if let (Some(live), Some(expires_at)) = (self.book.pool.addons.as_mut(), said) {
            live.expires_at = expires_at;
        }
    }

    /// A late payment, which is the next entry, brings back what the add-on pool lost. If that was
    /// lost before the rehearsal began, it is what the journal says.
    fn reinstate(&mut self, told: &Told<'_>) -> Option<()> {
        let entry = told.entry;
        let pool = &mut self.book.pool;
        if pool.expired_addons.is_none() && self.left_out.purchases == 0 {
            pool.expired_addons = Some(ExpiredAddons {
                expired_at: entry.at,
                granted: Credits::ZERO,
                lapsed: entry.moved(Account::Lapsed, Account::Addon),
                held: Credits::ZERO,
                opened_seq: entry.addon_seq?,
            });
        }
        let expires_at = entry.after.addon.expires_at?;
        reinstate(&mut self.book, Time::MIN_UTC, expires_at, entry.at);
        Some(())
    }

    /// Takes what was taken, as far as it is there.
    fn claw_back(&mut self, told: &Told<'_>) -> Option<()> {
        let wanted = told.entry.moved(Account::Addon, Account::ClawedBack);
        let taken = wanted.min(self.book.pool.addon());
        self.missed = self.missed + wanted.saturating_sub(taken);
        if let (Some(purchase), Some(live)) = (told.entry.purchase, self.book.pool.addons) {
            self.clawed_from.insert(purchase, live.opened_seq);
        }
        self.move_by_hand(told, (Account::Addon, Account::ClawedBack), taken);
        self.follow_validity(told);
        Some(())
    }

    /// Gives back what was given back, as far as it was taken.
    fn reverse_clawback(&mut self, told: &Told<'_>) -> Option<()> {
        let from = Account::ClawedBack;
        let [live, ended] = [Account::Addon, Account::Lapsed].map(|to| told.entry.moved(from, to));
        let forgiven = self.missed.min(live + ended);
        self.missed = self.missed.saturating_sub(forgiven);
        let back = (live + ended).saturating_sub(forgiven);
        let to = match self.book.pool.addons {
            Some(_) if ended.is_zero() => Account::Addon,
            _ => Account::Lapsed,
        };
        let purchase = told.entry.purchase.as_ref();
        let clawed_from = purchase.and_then(|it| self.clawed_from.get(it)).copied();
        let lost = self.book.pool.lost_addon_pool(clawed_from);
        if let Some(lost) = lost.filter(|_| to == Account::Lapsed) {
            lost.lapsed = lost.lapsed + back;
        }
        self.move_by_hand(told, (from, to), back);
        self.follow_validity(told);
        Some(())
    }

    fn move_by_hand(&mut self, told: &Told<'_>, (from, to): (Account, Account), credits: Credits) {
        if let Some(leg) = Transfer::new(from, to, credits) {
            let draft = Draft::new(told.entry.kind, vec![leg]);
            self.book.append(told.entry.at, draft);
        }
    }

    /// Gives or takes the same by hand; no more is taken than is there.
    fn adjust(&mut self, told: &Told<'_>) -> Option<()> {
        let Told { entry, details, .. } = told;
        let bucket = details.bucket?;
        let account = bucket.account();
        let given = entry.moved(Account::Adjusted, account);
        let there = self.book.pool.accounts.bucket(account);
        let taken = entry.moved(account, Account::Adjusted).min(there);
        let credits = given.signed() - taken.signed();
        if credits == SignedCredits::ZERO {
            return Some(());
        }
        let reason = entry.reason.clone()?;
        let adjustment = Command::Adjust(Box::new(Adjustment {
            bucket,
            credits,
            reason,
        }));
        if self.decide(adjustment, entry.at).is_err() {
            self.left_out.changes = self.left_out.changes.saturating_add(1);
        }
        self.follow_validity(told);
        Some(())
    }
}

/// An allowance of the pool's own, where its plan has none in the other catalogue.
fn own_allowance(other: &Catalogue, terms: &Terms, instant: Option<Time>) -> Patch<Credits> {
    let plan = other.plan(&terms.plan);
    let is_custom = plan.is_some_and(|(_, plan)| {
        let allowance = plan.version(instant).allowance;
        allowance == Allowance::Custom || terms.builders == Seats::Unlimited
    });
    match (is_custom, terms.monthly_allowance) {
        (true, Some(credits)) => Patch::Set(credits),
        (true, None) => Patch::Keep,
        (false, _) => Patch::Clear,
    }
}

/// The signed licence that is requested; one that was taken away a short while ago comes back
/// without a grant.
fn returning_license(pool: &Pool, requested: &Requested) -> Option<SignedLicense> {
    let license = requested.license.as_ref()?;
    let customer: Label = pool.name.id().parse().ok()?;
    Some(SignedLicense {
        customer,
        terms: requested.terms.clone(),
        license: license.clone(),
        signed: license.signed.as_deref()?.clone(),
        starts_at: None,
    })
}
