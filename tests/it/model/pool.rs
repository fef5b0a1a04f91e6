//! The pool's state and its due events, each at its own instant, in the contract's order.
//!
//! Balances come from the journal. Kept here are the current cycle's allowance, and what the
//! journal cannot say: where credits that are held or spent came from.

use super::calendar::add_months;
use super::clawback::Settle;
use super::hold::PlacedHold;
use super::journal::{GrantedAgain, addon_granted, balance_of};
use super::license::{Memory, Withdrawn};
use super::parts::Origin;
use super::purchase::LostAddons;
use super::refund::{BookedDebit, Unused};
use super::{Account, Builders, Catalogue, Entry, Instant, Kind, PlanVersion};
use super::{PoolKind, Purchase, Requested, Terms, Transfer};
use chrono::Duration;

const TRIAL_DAYS: i64 = 14;

#[derive(Clone, Debug)]
pub struct Pool {
    /// As given at creation, for ever.
    pub billing_anchor: Instant,
    /// What cycles are counted from now: the last restart or licence end moves it.
    pub anchor: Instant,
    pub cycle: i64,
    /// What was requested last before the pool was moved to the new plans, and what that became.
    pub renamed: Option<(Terms, Terms)>,
    /// Where that is not where the cycle starts by the anchor.
    pub cycle_began_at: Option<Instant>,
    /// The entry that opened the current cycle.
    pub cycle_opened_by: usize,
    pub in_force: Terms,
    /// Of the plan in force, taken at the last grant or at the last equal change.
    pub version: PlanVersion,
    pub granted: i64,
    pub pending: Option<Terms>,
    pub requested: Requested,
    /// A licence has ended, and nothing has been asked for since that brings the plan back. While
    /// this is so, a licence in `requested` is one that has ended, and is not due again.
    pub fallen_back: bool,
    pub first_trial_at: Option<Instant>,
    pub memory: Memory,
    pub withdrawn: Option<Withdrawn>,
    pub addon_expires_at: Option<Instant>,
    /// The live add-on pool, by the entry that opened it: several where late payments made them
    /// one, none while there is no add-on pool.
    pub live_addon_pools: Vec<usize>,
    pub lost_addons: Option<LostAddons>,
    pub granted_again: Vec<GrantedAgain>,
    /// Entries that took from, or gave back to, another add-on pool than the purchase went to.
    pub clawed_elsewhere: Vec<usize>,
    /// Oldest first.
    pub purchases: Vec<CreditedPurchase>,
    /// Every hold there ever was.
    pub holds: Vec<PlacedHold>,
    /// Every debit and capture, oldest first.
    pub debits: Vec<BookedDebit>,
    pub unused: Vec<Unused>,
    pub closed: bool,
    pub journal: Vec<Entry>,
}

#[derive(Clone, Debug)]
pub struct CreditedPurchase {
    pub seq: usize,
    pub purchase: Purchase,
    pub expires_at: Instant,
    /// The end of its own validity, whatever else the pool has.
    pub valid_until: Instant,
    /// The add-on pool that it went to.
    pub origin: Origin,
    /// The last that was known of the payment; `None` as long as that is only that it was made.
    pub known: Option<Settle>,
    pub clawed_back: i64,
    /// The add-on pool that it was taken from.
    pub clawed_from: Option<Origin>,
    /// Lost, but not there to be taken yet.
    pub uncollected: i64,
}

/// In the order in which they happen when they fall on one instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    /// Of the hold that this entry opened.
    HoldExpiry(usize),
    AddonExpiry,
    LicenseEnd,
    Renewal,
}

impl Terms {
    /// What a pool falls to when its licence ends.
    pub fn without_licence(kind: PoolKind) -> Self {
        let plan = match kind {
            PoolKind::Workspace => "free",
            PoolKind::Instance => "basic",
        };
        Self {
            plan: plan.to_owned(),
            builders: Builders::Count(1),
            monthly_allowance: None,
        }
    }

    pub fn need_no_licence(&self) -> bool {
        self.plan == "free" || self.plan == "basic"
    }
}

impl Requested {
    /// When the licence expires; a trial that does not say is counted from the pool's first one.
    pub fn license_expires_at(&self, first_trial_at: Option<Instant>) -> Option<Instant> {
        let license = self.license.as_ref()?;
        let of_the_trial = || {
            let first = first_trial_at.filter(|_| license.is_trial())?;
            Some(first + Duration::days(TRIAL_DAYS))
        };
        license.expires_at.or_else(of_the_trial)
    }

    pub fn license_end(&self, first_trial_at: Option<Instant>) -> Option<Instant> {
        let license = self.license.as_ref()?;
        license
            .grace_until
            .or_else(|| self.license_expires_at(first_trial_at))
    }
}

impl Pool {
    /// Before its first entry: the terms that are requested, and nothing granted.
    pub fn blank(anchor: Instant, requested: Requested, version: PlanVersion) -> Self {
        Self {
            billing_anchor: anchor,
            anchor,
            cycle: 0,
            cycle_began_at: None,
            cycle_opened_by: 1,
            in_force: requested.terms.clone(),
            version,
            granted: 0,
            pending: None,
            requested,
            fallen_back: false,
            first_trial_at: None,
            memory: Memory::default(),
            withdrawn: None,
            renamed: None,
            addon_expires_at: None,
            live_addon_pools: vec![],
            lost_addons: None,
            granted_again: vec![],
            clawed_elsewhere: vec![],
            purchases: vec![],
            holds: vec![],
            debits: vec![],
            unused: vec![],
            closed: false,
            journal: vec![],
        }
    }

    pub fn version(&self) -> usize {
        self.journal.len()
    }

    pub fn cycle_start(&self) -> Instant {
        let by_the_anchor = add_months(self.anchor, self.cycle);
        self.cycle_began_at.unwrap_or(by_the_anchor)
    }

    pub fn cycle_end(&self) -> Instant {
        add_months(self.anchor, self.cycle + 1)
    }

    pub fn license_end(&self) -> Option<Instant> {
        if self.fallen_back {
            return None;
        }
        self.requested.license_end(self.first_trial_at)
    }

    pub fn monthly(&self) -> i64 {
        balance_of(&self.journal, Account::Monthly)
    }

    pub fn addon(&self) -> i64 {
        balance_of(&self.journal, Account::Addon)
    }

    pub fn monthly_held(&self) -> i64 {
        balance_of(&self.journal, Account::HeldMonthly)
    }

    pub fn addon_held(&self) -> i64 {
        balance_of(&self.journal, Account::HeldAddon)
    }

    /// With what is in no bucket any more.
    pub fn held(&self) -> i64 {
        let ended = balance_of(&self.journal, Account::HeldEnded);
        self.monthly_held() + self.addon_held() + ended
    }

    pub fn monthly_settled(&self) -> i64 {
        self.monthly() + self.monthly_held()
    }

    pub fn addon_settled(&self) -> i64 {
        self.addon() + self.addon_held()
    }

    /// What is owed: the account itself is as far below zero.
    pub fn overdraft(&self) -> i64 {
        -balance_of(&self.journal, Account::Overdraft)
    }

    pub fn available(&self) -> i64 {
        self.monthly() - self.overdraft() + self.addon()
    }

    pub fn addon_granted(&self) -> i64 {
        addon_granted(&self.journal, &self.granted_again, &self.clawed_elsewhere)
    }

    /// Writes one entry, without the transfers that would move nothing, and returns its number.
    pub fn write(&mut self, kind: Kind, at: Instant, transfers: Vec<Transfer>) -> usize {
        let seq = self.journal.len() + 1;
        let transfers = transfers.into_iter().filter(|transfer| transfer.amount > 0);
        self.journal.push(Entry {
            seq,
            kind,
            at,
            transfers: transfers.collect(),
        });
        seq
    }

    pub fn advance(&mut self, now: Instant, kind: PoolKind, catalogue: &Catalogue) {
        while let Some((at, due)) = self.next_due().filter(|(at, _)| *at <= now) {
            match due {
                Due::HoldExpiry(hold) => self.expire_hold(at, hold),
                Due::AddonExpiry => self.expire_addon(at),
                Due::LicenseEnd => self.end_license(at, kind, catalogue),
                Due::Renewal => self.renew(at, catalogue),
            }
        }
    }

    fn next_due(&self) -> Option<(Instant, Due)> {
        if self.closed {
            return None;
        }
        let hold_expiries = self
            .open_holds()
            .map(|hold| (hold.expires_at, Due::HoldExpiry(hold.seq)));
        let addon_expiry = self.addon_expires_at.map(|at| (at, Due::AddonExpiry));
        let license_end = self.license_end().map(|at| (at, Due::LicenseEnd));
        let renewal = Some((self.cycle_end(), Due::Renewal));
        [addon_expiry, license_end, renewal]
            .into_iter()
            .flatten()
            .chain(hold_expiries)
            .min()
    }

    /// What is left repays an overdraft first, and then lapses; what is held stays held.
    fn expire_addon(&mut self, at: Instant) {
        let repaid = self.addon().min(self.overdraft());
        let lapsed = self.addon() - repaid;
        self.lost_addons = Some(LostAddons {
            pools: std::mem::take(&mut self.live_addon_pools),
            expired_at: at,
            granted: self.addon_granted(),
            lapsed,
        });
        self.addon_expires_at = None;
        let transfers = vec![
            Account::Addon.to(Account::Overdraft, repaid),
            Account::Addon.to(Account::Lapsed, lapsed),
            Account::HeldAddon.to(Account::HeldEnded, self.addon_held()),
        ];
        self.write(Kind::AddonExpiry, at, transfers);
    }

    fn end_license(&mut self, at: Instant, kind: PoolKind, catalogue: &Catalogue) {
        self.requested.license = None;
        self.fall_back(at, kind, catalogue, Kind::LicenseEnd);
    }

    /// Takes the pool to the plan that needs no licence, with that plan's grant; a pool that is on
    /// one keeps plan and cycle, though not its builders and its own allowance, and gets an entry
    /// of the kind given, without transfers.
    pub fn fall_back(&mut self, at: Instant, to: PoolKind, catalogue: &Catalogue, kept: Kind) {
        self.fallen_back = true;
        self.pending = None;
        if self.in_force.need_no_licence() {
            self.in_force.builders = Builders::Count(1);
            self.in_force.monthly_allowance = None;
            self.write(kept, at, vec![]);
            return;
        }
        let terms = Terms::without_licence(to);
        let version = catalogue.version_at(&terms.plan, at).clone();
        self.restart_cycle_at(at);
        self.open_cycle(Kind::LicenseEnd, at, terms, version);
    }

    fn renew(&mut self, at: Instant, catalogue: &Catalogue) {
        let terms = self.pending.take().unwrap_or(self.in_force.clone());
        let version = catalogue.version_at(&terms.plan, at).clone();
        self.cycle += 1;
        self.open_cycle(Kind::Renewal, at, terms, version);
    }

    pub fn restart_cycle_at(&mut self, at: Instant) {
        self.anchor = at;
        self.cycle = 0;
    }

    /// The monthly remainder repays an overdraft and lapses, but what is held of it stays held. The
    /// full allowance is granted, and that repays what is left of the overdraft.
    pub fn open_cycle(&mut self, kind: Kind, at: Instant, terms: Terms, version: PlanVersion) {
        let remainder = self.monthly();
        let owed = self.overdraft();
        let granted = version.grant_of(&terms);
        let repaid_by_remainder = remainder.min(owed);
        let repaid_by_grant = granted.min(owed - repaid_by_remainder);
        let transfers = vec![
            Account::Monthly.to(Account::Overdraft, repaid_by_remainder),
            Account::Monthly.to(Account::Lapsed, remainder - repaid_by_remainder),
            Account::HeldMonthly.to(Account::HeldEnded, self.monthly_held()),
            Account::IssuedMonthly.to(Account::Monthly, granted),
            Account::Monthly.to(Account::Overdraft, repaid_by_grant),
        ];
        self.cycle_began_at = None;
        self.granted = granted;
        self.in_force = terms;
        self.version = version;
        self.cycle_opened_by = self.write(kind, at, transfers);
    }
}
