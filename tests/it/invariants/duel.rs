//! The core against the model, command by command: the same answers, the same pool, the same
//! journal, and after each command the invariants that the books show by themselves.

use std::fmt::Debug;

use chrono::{DateTime, Utc};
use credit_ledger::ledger::Book;

use super::lane::Lane;
use super::script::{Asked, Script};
use super::steps::{self, Case, Mix};
use super::{Broken, answers, books, holds};
use crate::model::{Answer, Command, Model};

#[test]
fn the_core_answers_as_the_model_does() {
    holds(700, steps::case(Mix::Everything, 60), |case| {
        Duel::of(&case).fight(&case)
    });
}

#[test]
fn the_core_keeps_addon_credits_as_the_model_does() {
    holds(400, steps::case(Mix::Addons, 40), |case| {
        Duel::of(&case).fight(&case)
    });
}

#[test]
fn the_core_takes_storms_of_puts_as_the_model_does() {
    holds(400, steps::case(Mix::Puts, 40), |case| {
        Duel::of(&case).fight(&case)
    });
}

#[test]
fn the_core_holds_and_refunds_as_the_model_does() {
    holds(700, steps::case(Mix::Holds, 50), |case| {
        Duel::of(&case).fight(&case)
    });
}

#[test]
fn the_core_claws_back_as_the_model_does() {
    holds(500, steps::case(Mix::Payments, 50), |case| {
        Duel::of(&case).fight(&case)
    });
}

#[test]
fn the_core_takes_licence_keys_as_the_model_does() {
    holds(400, steps::case(Mix::Licenses, 40), |case| {
        Duel::of(&case).fight(&case)
    });
}

#[test]
fn the_core_moves_pools_to_the_new_plans_as_the_model_does() {
    holds(300, steps::case(Mix::Upgrades, 40), |case| {
        Duel::of(&case).fight(&case)
    });
}

#[test]
fn the_core_takes_pools_over_as_the_model_does() {
    holds(300, steps::case(Mix::Imports, 40), |case| {
        Duel::of(&case).fight(&case)
    });
}

/// The core and the model side by side.
struct Duel {
    lane: Lane,
    model: Model,
    script: Script,
    /// How many entries are known to agree.
    agreed: usize,
    /// What was asked and answered so far, for a reader.
    told: Vec<String>,
}

impl Duel {
    fn of(case: &Case) -> Self {
        Self {
            lane: Lane::new(case.setting),
            model: case.setting.model(),
            script: Script::default(),
            agreed: 0,
            told: vec![format!("{:?}", case.setting)],
        }
    }

    fn fight(mut self, case: &Case) -> Result<(), Broken> {
        let mut now = case.setting.start;
        for step in case.steps() {
            let asked;
            (now, asked) = self.script.next(&self.lane, now, &step);
            self.told.push(format!("{now} {asked:?}"));
            let round = self.round(now, &asked);
            round.map_err(|why| format!("{why}\n\nafter\n{}\n", self.told.join("\n")))?;
        }
        self.end()
            .map_err(|why| format!("{why}\n\nafter\n{}\n", self.told.join("\n")))
    }

    fn round(&mut self, now: DateTime<Utc>, asked: &Asked) -> Result<(), Broken> {
        match asked {
            Asked::Authorize(credits, operation) => {
                let core = self.lane.authorize(now, (*credits, *operation));
                let model = self.model.authorize(now, *credits, *operation);
                let pool = self.lane.pool();
                let model = model.map_err(|code| answers::model_code(code, pool));
                same("authorize", &core, &model)
            }
            Asked::Command(command) => {
                self.answers_agree(now, command)?;
                self.books_agree(now)
            }
        }
    }

    fn answers_agree(&mut self, now: DateTime<Utc>, command: &Command) -> Result<(), Broken> {
        let before = self.lane.pool().cloned();
        let core = self.lane.apply(now, command);
        // The model books what is due for a change of the catalogue, too.
        self.lane.advance(now);
        self.lane.commit(before.as_ref())?;
        let model = match self.model.apply(now, command) {
            Answer::Refused(code) => Answer::Refused(answers::model_code(code, before.as_ref())),
            answer => answer,
        };
        self.told.push(format!("  = {core:?}"));
        same("answer", &core, &model)
    }

    /// After each command: the new entries, the balance, the pool, and what the entries add up to.
    fn books_agree(&mut self, now: DateTime<Utc>) -> Result<(), Broken> {
        let (journal, naive) = (self.lane.journal(), self.model.journal());
        for (entry, naive) in journal.iter().zip(naive).skip(self.agreed) {
            same("entry", &answers::entry(entry), &answers::in_order(naive))?;
        }
        same("number of entries", &journal.len(), &naive.len())?;
        self.agreed = journal.len();
        let now = self.lane.not_before_the_last_entry(now);
        let book = self.lane.read(now);
        let view = book
            .as_ref()
            .map(|book| answers::view(book, &self.lane.catalogue, now));
        same("pool", &view, &self.model.pool_view(now))?;
        let credited: Vec<_> = self.lane.bought().map(answers::credited).collect();
        same("purchases", &credited, &self.model.credited())?;
        let Some(pool) = book.as_ref().map(Book::pool) else {
            return Ok(());
        };
        if pool.next_due_at().is_some_and(|due| due <= now) {
            return Err("something is still due".to_owned());
        }
        books::are_sound(pool, self.lane.sums(), journal)
    }

    fn end(&self) -> Result<(), Broken> {
        let Some(pool) = self.lane.pool() else {
            return Ok(());
        };
        for (core, model) in answers::ACCOUNTS {
            let held = pool.accounts.get(core).units();
            same(core.as_str(), &held, &self.model.account(model))?;
        }
        books::grants_are_allowed(self.lane.journal())?;
        books::addons_are_left_alone(self.lane.journal())?;
        books::pass_their_audit(self.lane.journal(), pool, &self.lane.kept())?;
        match books::first_broken(self.lane.journal(), pool) {
            Some(seq) => Err(format!("the chain is broken at entry {seq}")),
            None => Ok(()),
        }
    }
}

fn same<T: PartialEq + Debug>(what: &str, core: &T, model: &T) -> Result<(), Broken> {
    if core == model {
        return Ok(());
    }
    let (core, model) = (format!("{core:#?}"), format!("{model:#?}"));
    if core.lines().count() != model.lines().count() {
        return Err(format!(
            "{what}: the core says\n{core}\nthe model says\n{model}"
        ));
    }
    let lines = core
        .lines()
        .zip(model.lines())
        .filter(|(core, model)| core != model);
    let lines: Vec<_> = lines
        .map(|(core, model)| format!("  core  {}\n  model {}", core.trim(), model.trim()))
        .collect();
    Err(format!("{what}\n{}", lines.join("\n")))
}
