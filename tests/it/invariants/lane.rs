//! What a lane does with one pool, in memory: advance, decide, keep the entries.
//!
//! It takes the model's commands and gives the model's answers. Payment references and the dates
//! of plan versions are not the core's to check; the little that the store does there is here.

mod payments;
mod takeovers;

use std::collections::BTreeMap;
use std::sync::Arc;

use credit_ledger::ledger::{
    self, Accounts, Actor, Along, Book, Bought, Catalogue, Changed, ClockId, Command, Credits,
    Entry, EntryId, Hold, Kept, Kind, Outcome, Pool, PoolId, PoolName, RefundTotals,
    RefundableDebit, Refusal, TenantId, Time,
};
use uuid::Uuid;

use super::{answers, requests};
use crate::model;
use crate::model::Answer;

/// What a case is set in.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    pub kind: model::PoolKind,
    pub on_clock: bool,
    /// Whether PUTs name plans by their other names where they have one.
    pub by_alias: bool,
    pub max_debit: i64,
    pub start: Time,
}

/// One pool, its catalogue and its journal.
#[derive(Clone)]
pub struct Lane {
    setting: Setting,
    pub catalogue: Catalogue,
    book: Option<Book>,
    journal: Vec<Arc<Entry>>,
    /// What the transfers of the journal add up to.
    sums: Accounts,
    payments: BTreeMap<String, (i64, Answer)>,
    /// What a store keeps beside the journal: holds, and what was refunded of each debit.
    holds: BTreeMap<i64, Hold>,
    refunded: BTreeMap<i64, Credits>,
    bought: BTreeMap<i64, Bought>,
    /// How many commands there were: the number of the next one's idempotency key.
    commands: usize,
}

impl Setting {
    /// When the default plans came into force.
    pub fn catalogue_from(&self) -> Time {
        self.start - chrono::Duration::days(3_650)
    }

    fn clock(&self) -> Option<ClockId> {
        self.on_clock.then(|| Uuid::from_u128(9).into())
    }

    pub fn model(&self) -> model::Model {
        let mut catalogue = model::Catalogue::defaults(self.catalogue_from());
        catalogue.max_debit_credits = self.max_debit;
        catalogue.on_test_clock = self.on_clock;
        model::Model::new(self.kind, catalogue)
    }
}

impl Lane {
    pub fn new(setting: Setting) -> Self {
        Self {
            setting,
            catalogue: requests::catalogue(setting.catalogue_from(), setting.max_debit),
            book: None,
            journal: Vec::new(),
            sums: Accounts::default(),
            payments: BTreeMap::new(),
            holds: BTreeMap::new(),
            refunded: BTreeMap::new(),
            bought: BTreeMap::new(),
            commands: 0,
        }
    }

    /// The pool with everything that is decided on it.
    pub fn pool(&self) -> Option<&Pool> {
        self.book.as_ref().map(Book::pool)
    }

    /// The entries that are committed.
    pub fn journal(&self) -> &[Arc<Entry>] {
        &self.journal
    }

    /// What their transfers add up to.
    pub fn sums(&self) -> &Accounts {
        &self.sums
    }

    /// `now` is never earlier than the pool's last entry.
    pub fn not_before_the_last_entry(&self, now: Time) -> Time {
        self.pool().map_or(now, |pool| now.max(pool.last_at))
    }

    /// The pool as a read at `now` sees it: what is due is booked on a copy.
    pub fn read(&self, now: Time) -> Option<Book> {
        let mut copy = self.book.clone()?;
        ledger::advance(
            &mut copy,
            &self.catalogue,
            self.not_before_the_last_entry(now),
        );
        Some(copy)
    }

    /// What is kept beside the journal, for an audit of both.
    pub fn kept(&self) -> Kept {
        let mut kept = Kept {
            bought: self.bought.values().cloned().collect(),
            ..Kept::default()
        };
        for hold in self.holds.values() {
            if hold.is_open() {
                kept.open_holds.push(hold.clone());
            } else {
                *kept.closed_holds.entry(hold.status).or_default() += 1;
            }
        }
        let refunds = self.journal.iter().filter(|it| it.kind == Kind::Refund);
        let credits = self.refunded.values().map(|credits| credits.signed());
        kept.refunds = RefundTotals {
            count: i64::try_from(refunds.count()).expect("a case is short"),
            credits: credits.fold(Default::default(), |sum, credits| sum + credits),
        };
        kept
    }

    /// The committed debits, with what is left of them to be refunded.
    pub fn debits(&self) -> impl Iterator<Item = RefundableDebit> {
        let debits = self.journal.iter().filter(|it| it.kind == Kind::Debit);
        debits.map(|entry| RefundableDebit {
            entry: Arc::clone(entry),
            refunded: self.refunded.get(&entry.seq).copied().unwrap_or_default(),
        })
    }

    /// Every hold there ever was, by the number of its entry, as the last commit left it.
    pub fn holds(&self) -> impl Iterator<Item = &Hold> {
        self.holds.values()
    }

    /// Books what is due, as the sweeper does.
    pub fn advance(&mut self, now: Time) {
        let now = self.not_before_the_last_entry(now);
        if let Some(book) = &mut self.book {
            ledger::advance(book, &self.catalogue, now);
        }
    }

    /// Does what is due and then the command. Nothing is committed yet.
    pub fn apply(&mut self, now: Time, command: &model::Command) -> Answer {
        self.commands += 1;
        let now = self.not_before_the_last_entry(now);
        if matches!(command, model::Command::Refund { .. }) {
            // A refund names a debit that its client has seen, so it is in the journal.
            self.commit(None)
                .expect("what was decided can be committed");
        }
        let decided = match command {
            model::Command::PutPlan(version) => return self.put_plan(now, version),
            model::Command::PutOperation(operation) => return self.put_operation(operation),
            model::Command::Put(body) if self.book.is_none() => self.create(now, body),
            model::Command::Import(opening) => self.import(now, opening),
            _ if self.book.is_none() => Err(Refusal::PoolNotFound),
            model::Command::Advance => {
                self.advance(now);
                self.pool()
                    .map(answers::advanced)
                    .ok_or(Refusal::PoolNotFound)
            }
            model::Command::Upgrade { at } => self.upgrade(now, *at),
            model::Command::Purchase(bought) => {
                self.advance(now);
                self.purchase(now, bought)
            }
            model::Command::Settle(known) => {
                self.advance(now);
                self.settle(now, known)
            }
            _ => {
                self.advance(now);
                self.decide(now, self.command(command))
            }
        };
        decided.unwrap_or_else(|refusal| Answer::Refused(refusal.code()))
    }

    pub fn authorize(
        &self,
        now: Time,
        asked: (Option<i64>, Option<&str>),
    ) -> Result<model::Authorization, model::Code> {
        let pool = self.read(now).ok_or("pool_not_found")?;
        let pool = pool.pool();
        requests::authorize(pool, &self.catalogue, asked)
            .map(|answer| answers::authorized(&answer, pool))
            .map_err(|refusal| refusal.code())
    }

    /// Moves the entries to the journal, and opens a new book on the pool as it was written.
    ///
    /// A book that says how much changed must be right: the store writes nothing else.
    pub fn commit(&mut self, before: Option<&Pool>) -> Result<(), String> {
        let Some(book) = &mut self.book else {
            return Ok(());
        };
        let read_seq = usize::try_from(book.read_seq()).map_err(|error| error.to_string())?;
        if read_seq != self.journal.len() {
            return Err(format!("the book was read at {read_seq}, another number"));
        }
        if let Some(before) = before {
            let saved = saved(before, book.pool(), book.changed());
            if saved != *book.pool() {
                return Err("more of the pool changed than the book says".to_owned());
            }
        }
        for transfer in book.entries().iter().flat_map(|entry| &entry.transfers) {
            self.sums.apply(*transfer);
        }
        self.journal.extend(book.entries().iter().map(Arc::clone));
        let changed = book.changed_holds().cloned();
        self.holds.extend(changed.map(|hold| (hold.seq, hold)));
        let changed = book.changed_bought().cloned();
        self.bought
            .extend(changed.map(|bought| (bought.seq, bought)));
        for entry in book.entries().iter().filter(|it| it.kind == Kind::Refund) {
            let facts = entry.read_details().and_then(|details| details.refund);
            let facts = facts.ok_or("a refund says what it undid")?;
            let (debit, _) = facts.debit.locate(entry.pool).ok_or("of this pool")?;
            let refunded = self.refunded.entry(debit).or_default();
            *refunded = *refunded + facts.credits();
        }
        let pool = book.pool().clone();
        let along = Along {
            holds: Some(self.holds.values().cloned().collect()),
            debits: self.debits().collect(),
            bought: self.bought.values().cloned().collect(),
        };
        self.book = Some(Book::with(pool, along));
        Ok(())
    }

    /// The id of an entry, or one that looks like it where there is none.
    fn id(&self, seq: usize) -> EntryId {
        let seq = i64::try_from(seq).expect("a case is short");
        let book = self.book.as_ref().expect("there is a pool");
        let entries = self.journal.iter().chain(book.entries());
        let found = entries.into_iter().find(|entry| entry.seq == seq);
        let unknown = || EntryId::of(book.pool().id, seq, book.pool().last_at);
        found.map_or_else(unknown, |entry| entry.id())
    }

    fn create(&mut self, now: Time, body: &model::PutPool) -> Result<Answer, Refusal> {
        let put = requests::put(body, self.setting.by_alias, self.setting.clock());
        let book = put.create(self.names(), &self.catalogue, Actor::default(), now)?;
        let answer = answers::put(ledger::Change::Created, book.pool());
        self.book = Some(book);
        Ok(answer)
    }

    fn names(&self) -> (PoolId, TenantId, PoolName) {
        let kind = requests::kind(self.setting.kind);
        let name = PoolName::new(kind, requests::POOL).expect("a good name");
        let tenant = TenantId::from(Uuid::from_u128(7));
        (PoolId::of(tenant, &name), tenant, name)
    }

    fn command(&self, command: &model::Command) -> Command {
        match command {
            model::Command::Put(body) => {
                let put = requests::put(body, self.setting.by_alias, self.setting.clock());
                Command::Update(Box::new(put))
            }
            model::Command::Debit(debit) => Command::Debit(Box::new(requests::debit(debit))),
            model::Command::Purchase(bought) => {
                Command::Purchase(Box::new(requests::purchase(bought, self.commands)))
            }
            model::Command::Adjust(given) => Command::Adjust(Box::new(requests::adjustment(given))),
            model::Command::Hold(asked) => Command::Hold(Box::new(requests::hold(asked))),
            model::Command::ExtendHold {
                hold,
                expires_in_seconds,
            } => Command::Extend(requests::extension(self.id(*hold), *expires_in_seconds)),
            model::Command::CaptureHold {
                hold,
                credits,
                round,
                settle,
            } => {
                let cost = (*credits, *round, *settle);
                Command::Capture(Box::new(requests::capture(self.id(*hold), cost)))
            }
            model::Command::ReleaseHold { hold } => Command::Release(ledger::Release {
                hold: self.id(*hold),
            }),
            model::Command::Refund { debit, credits } => {
                Command::Refund(Box::new(requests::refund(self.id(*debit), *credits)))
            }
            model::Command::RefundRun { run } => {
                Command::RefundRun(Box::new(requests::run_refund(run)))
            }
            model::Command::Close => Command::Close,
            model::Command::Advance => Command::Advance,
            model::Command::License(key) => Command::License(Box::new(requests::key(key))),
            model::Command::Withdraw => Command::Withdraw,
            model::Command::Settle(_)
            | model::Command::Upgrade { .. }
            | model::Command::Import(_) => unreachable!("decided where it is prepared"),
            model::Command::PutPlan(_) | model::Command::PutOperation(_) => {
                unreachable!("the catalogue is not decided by a pool")
            }
        }
    }

    /// # Panics
    /// When a refusal left a trace in the book.
    fn outcome(&mut self, now: Time, command: Command) -> Result<Outcome, Refusal> {
        let actor = self.actor(&command);
        let book = self.book.as_mut().expect("there is a pool");
        let (pool, entries) = (book.pool().clone(), book.entries().len());
        let decided = command.decide(book, &self.catalogue, actor, now);
        if decided.is_err() {
            assert_eq!(*book.pool(), pool, "a refusal leaves the book as it was");
            assert_eq!(book.entries().len(), entries, "a refusal books nothing");
        }
        decided
    }

    fn decide(&mut self, now: Time, command: Command) -> Result<Answer, Refusal> {
        let outcome = self.outcome(now, command)?;
        let book = self.book.as_ref().expect("there is a pool");
        Ok(match outcome {
            Outcome::Put(change) => answers::put(change, book.pool()),
            Outcome::Booked(entry) => match entry.kind {
                Kind::Debit => answers::debited(&entry),
                Kind::Purchase => answers::purchased(&entry),
                Kind::Hold => answers::held(&entry),
                Kind::HoldExtend => answers::extended(&entry),
                Kind::Release => answers::released(&entry),
                Kind::Refund => answers::refunded(&entry, book.entries()),
                _ => answers::adjusted(&entry),
            },
            Outcome::Done => answers::closed(book.pool()),
        })
    }

    fn actor(&self, command: &Command) -> Actor {
        let fingerprint = match command {
            Command::Debit(debit) => debit.fingerprint(),
            Command::Purchase(purchase) => purchase.fingerprint(),
            Command::Adjust(adjustment) => adjustment.fingerprint(),
            Command::Hold(hold) => hold.fingerprint(),
            Command::Extend(extension) => extension.fingerprint(),
            Command::Capture(capture) => capture.fingerprint(),
            Command::Release(release) => release.fingerprint(),
            Command::Refund(refund) => refund.fingerprint(),
            Command::RefundRun(refund) => refund.fingerprint(),
            Command::Advance
            | Command::Update(_)
            | Command::License(_)
            | Command::Withdraw
            | Command::Upgrade(_)
            | Command::Import(_)
            | Command::Close
            | Command::CheckPurchase(_)
            | Command::Settle(_) => return Actor::default(),
        };
        let key = format!("key-{}", self.commands);
        let key = key.parse().expect("a good key");
        Actor {
            key: Some(Uuid::from_u128(5).into()),
            request: Some(ledger::Request { key, fingerprint }),
        }
    }

    fn put_plan(&mut self, now: Time, put: &model::PlanVersion) -> Answer {
        if self.setting.on_clock {
            // Moving a test clock books what is due; no edit of a plan comes between.
            self.advance(now);
        } else if put.effective_at < now {
            return Answer::Refused("validation_failed");
        }
        let plan = self.catalogue.plans.entry(requests::code(&put.code));
        let versions = &mut plan
            .or_insert_with(|| ledger::Plan {
                aliases: Vec::new(),
                versions: Vec::new(),
            })
            .versions;
        versions.push(requests::plan_version(put, versions.len() + 1));
        Answer::CatalogueStored
    }

    fn put_operation(&mut self, put: &model::Operation) -> Answer {
        let operation = requests::operation(put);
        let code = requests::code(&put.code);
        self.catalogue.operations.insert(code, operation);
        Answer::CatalogueStored
    }
}

/// What the store makes of a pool that was read, with what it writes after such a book.
fn saved(before: &Pool, after: &Pool, changed: Changed) -> Pool {
    let balances = Pool {
        seq: after.seq,
        hash: after.hash,
        last_at: after.last_at,
        accounts: after.accounts,
        used: after.used,
        ..before.clone()
    };
    match changed {
        Changed::Balances => balances,
        Changed::Cycle => Pool {
            denomination: after.denomination,
            legacy_prices: after.legacy_prices,
            addons_allowed: after.addons_allowed,
            granted: after.granted,
            cycle: ledger::Cycle {
                anchor: before.cycle.anchor,
                ..after.cycle
            },
            cycle_seq: after.cycle_seq,
            ..balances
        },
        Changed::Everything => after.clone(),
    }
}
