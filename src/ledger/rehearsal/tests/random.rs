//! Random histories: under the same catalogue the past comes out again, wherever the window
//! begins, and the terms of a pool are those that its journal tells.

use chrono::TimeDelta;
use uuid::Uuid;

use super::*;
use crate::ledger::samples::{know_debits, license, names, refund};
use crate::ledger::{
    Actor, Balance, License, LicenseType, Mode, PaymentState, Pool, Purchase, Settlement,
    SignedCredits,
};

/// Numbers that look random and are the same in each run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u32) -> u32 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        u32::try_from((self.0 >> 33) % u64::from(end)).expect("it is below")
    }
}

/// Add-on pools that expire soon, and a plan that is another from March on.
fn sold() -> Catalogue {
    let mut sold = catalogue();
    sold.addon_terms.validity_months = 1;
    let plan = sold.plans.get_mut(&code("pro")).expect("a default plan");
    let next = PlanVersion {
        version: 2,
        effective_at: time("2026-03-01"),
        allowance: Allowance::PerBuilder(Credits::whole(500)),
        ..plan.versions[0].clone()
    };
    plan.versions.push(next);
    sold
}

struct History {
    book: Book,
    sold: Catalogue,
    now: Time,
    chance: Chance,
    payments: u32,
}

impl History {
    fn new(seed: u64) -> Self {
        let mut chance = Chance(seed);
        let plan = ["pro", "free", "team"][usize::try_from(chance.below(3)).expect("small")];
        let made = put(plan, 1).create(
            names("workspace:6f1c"),
            &sold(),
            Actor::default(),
            time(START),
        );
        Self {
            book: made.expect("a good request"),
            sold: sold(),
            now: time(START),
            chance,
            payments: 0,
        }
    }

    /// What is refused is not in the journal.
    fn decide(&mut self, command: Command) {
        advance(&mut self.book, &self.sold, self.now);
        know_debits(&mut self.book);
        let _ = command.decide(&mut self.book, &self.sold, Actor::default(), self.now);
    }

    fn some(&mut self, kind: Kind) -> Option<std::sync::Arc<Entry>> {
        let found = self.book.entries().iter().filter(|it| it.kind == kind);
        let found: Vec<_> = found.cloned().collect();
        let count = u32::try_from(found.len()).ok().filter(|count| *count > 0)?;
        let place = usize::try_from(self.chance.below(count)).ok()?;
        found.get(place).cloned()
    }

    fn step(&mut self) {
        let credits = self.chance.below(500) + 1;
        match self.chance.below(14) {
            0..=2 => self.debit(credits),
            3..=4 => {
                let hours = i64::from(self.chance.below(400));
                self.now += TimeDelta::hours(hours);
            }
            5..=6 => {
                if let Some(debit) = self.some(Kind::Debit) {
                    let part = (credits > 250).then_some(credits / 20);
                    self.decide(refund(&debit, part));
                }
            }
            7..=8 => self.buy(),
            9 => {
                let bucket =
                    [Bucket::Monthly, Bucket::Addon][usize::from(credits.is_multiple_of(2))];
                let credits = i64::from(credits) - 250;
                if credits != 0 {
                    self.decide(Command::Adjust(Box::new(adjust(bucket, credits))));
                }
            }
            10..=12 => self.change(),
            _ => self.claw_back(credits),
        }
    }

    fn debit(&mut self, credits: u32) {
        let mode = [Mode::Strict, Mode::Settle][usize::from(self.chance.below(2) == 0)];
        let fixed = self.chance.below(4) == 0;
        let spent = Debit {
            mode,
            ..debit(credits)
        };
        let spent = match fixed {
            true => for_operation("custom_code", spent),
            false => spent,
        };
        self.decide(Command::Debit(Box::new(spent)));
    }

    fn buy(&mut self) {
        self.payments += 1;
        let days = i64::from(self.chance.below(40));
        let purchase = Purchase {
            id: Uuid::from_u128(u128::from(self.payments)).into(),
            credits: Ok(SignedCredits::from_units(20_000)),
            reference: label(&format!("pi_{}", self.payments)),
            paid_at: Some(self.now - TimeDelta::days(days)),
            ..paid(200, START)
        };
        advance(&mut self.book, &self.sold, self.now);
        let checked = Command::CheckPurchase(Box::new(purchase.clone()));
        let book = &mut self.book;
        if checked
            .decide(book, &self.sold, Actor::default(), self.now)
            .is_ok()
        {
            self.decide(Command::Purchase(Box::new(purchase)));
        }
    }

    fn change(&mut self) {
        let builders = Patch::Set(Seats::Count(self.chance.below(3) + 1));
        let plans = ["pro", "free", "team", "legacy_pro", "trial"];
        let plan = plans[usize::try_from(self.chance.below(5)).expect("small")];
        let end = (self.now + TimeDelta::days(i64::from(self.chance.below(40)) - 5)).to_rfc3339();
        let put = match self.chance.below(6) {
            0 => PutPool {
                builders,
                ..PutPool::default()
            },
            1 => PutPool {
                license: Patch::Clear,
                ..PutPool::default()
            },
            2 => PutPool {
                license: Patch::Set(license(LicenseType::Trial, None)),
                ..put(plan, 1)
            },
            3 => until(&end, put(plan, 2)),
            4 => until(&end, PutPool::default()),
            _ => PutPool {
                builders,
                ..put(plan, 1)
            },
        };
        if self.chance.below(12) == 0 {
            let plans = Upgrade::default_plans();
            let at = self.now;
            self.decide(Command::Upgrade(Box::new(Upgrade { at, plans })));
        }
        self.decide(Command::Update(Box::new(put)));
    }

    fn claw_back(&mut self, credits: u32) {
        let Some(purchase) = self.some(Kind::Purchase).and_then(|it| it.purchase) else {
            return;
        };
        let refunded = i64::from(credits.min(200));
        let version = i64::try_from(self.book.entries().len()).expect("small");
        let payment = PaymentState {
            version,
            charged: 200,
            refunded,
            ..PaymentState::default()
        };
        self.decide(Command::Settle(Box::new(Settlement { purchase, payment })));
    }
}

/// Terms, cycle and licence: what the journal tells of a pool. Of one that is on the free terms it
/// asked for last, nobody can tell, and nothing depends on, whether it has fallen back on them.
fn told_of(pool: &Pool) -> Pool {
    let cannot_tell = pool.terms == pool.requested.terms && pool.terms.need_no_license();
    let license = pool.license.clone().filter(|_| !cannot_tell);
    // The same one given again counts as one that follows; only signed ones ask for that.
    let license = license.map(|license| License {
        follows_paid: false,
        ..license
    });
    Pool {
        fallen_back: pool.fallen_back && !cannot_tell,
        license,
        seq: 0,
        hash: crate::ledger::Hash::GENESIS,
        last_at: pool.created_at,
        accounts: crate::ledger::Accounts::default(),
        denomination: Denomination::One,
        legacy_prices: false,
        addons_allowed: false,
        granted: Credits::ZERO,
        used: Credits::ZERO,
        cycle_seq: 0,
        addons: None,
        expired_addons: None,
        uncollected: Credits::ZERO,
        ..pool.clone()
    }
}

#[test]
fn under_the_same_catalogue_any_past_comes_out_again() {
    let (mut rehearsed, mut out) = (0, 0);
    for seed in 0..400 {
        let mut history = History::new(seed);
        for _ in 0..60 {
            history.step();
        }
        let end = (history.now + TimeDelta::days(10)).to_rfc3339();
        let days = i64::from(history.chance.below(120));
        let some_day = (time(START) + TimeDelta::days(days)).to_rfc3339();
        for begin in ["2020-01-01", some_day.as_str()] {
            let (book, sold) = (&history.book, &history.sold);
            let found = from_catalogue(sold, begin, book, sold, &end);
            let Some(found) = found else { continue };
            assert_eq!(found.then, found.now, "seed {seed} from {begin}");
            assert_eq!(
                found.left_out,
                LeftOut::default(),
                "seed {seed} from {begin}"
            );
            rehearsed += 1;
            out += i32::from(found.now.ran_out());
        }
    }
    assert!(rehearsed > 600, "{rehearsed} were rehearsed");
    assert!(out > 200, "{out} ran out");
}

#[test]
fn the_terms_of_a_pool_are_those_that_its_journal_tells() {
    for seed in 0..400 {
        let mut history = History::new(seed);
        for step in 0..60 {
            history.step();
            if step % 10 != 0 {
                continue;
            }
            let pool = history.book.pool();
            let mut past = Past::new((pool.id, pool.tenant, pool.name.clone()));
            for entry in history.book.entries() {
                let details = entry.read_details().expect("details can be read");
                past.follow(entry, &details).expect("what we write");
            }
            let found = past.pool().map(told_of).expect("it was opened");
            assert_eq!(found, told_of(pool), "seed {seed}");
            let standing = past.standing(&history.sold, &history.sold);
            let standing = standing.expect("it was opened");
            let balance: Balance = standing.balance(pool.last_at);
            assert_eq!(balance, pool.balance(pool.last_at), "seed {seed}");
        }
    }
}
