//! Path-independent: who looks, how often and when changes nothing in the books.

use chrono::Duration;
use credit_ledger::ledger::Time;
use proptest::prelude::{Strategy, any, prop};

use super::lane::Lane;
use super::script::{Asked, Script};
use super::steps::{self, Case, Mix, What, When};
use super::{Broken, holds};

/// Looks at the pool on the way from one command to the next, in thousandths of the way.
type Detours = Vec<(i32, Look)>;

#[derive(Clone, Copy, Debug)]
enum Look {
    /// The sweeper books what is due.
    Sweep,
    /// A read computes it in memory, and writes nothing.
    Read,
}

#[test]
fn a_jump_in_time_and_many_small_steps_give_the_same_entries_and_hashes() {
    for mix in [Mix::Everything, Mix::Addons, Mix::Holds, Mix::Payments] {
        let case = (steps::case(mix, 30), prop::collection::vec(detours(), 30));
        holds(250, case, |(case, detours)| paths_agree(&case, &detours));
    }
}

/// A move to the new plans that is asked for too late comes after what was booked meanwhile, so
/// there it does matter who looked: here each is asked for in time.
#[test]
fn licences_moves_and_imports_give_the_same_entries_and_hashes_by_every_path() {
    for mix in [Mix::Licenses, Mix::Upgrades, Mix::Imports] {
        let case = (steps::case(mix, 30), prop::collection::vec(detours(), 30));
        holds(120, case, |(mut case, detours)| {
            for step in &mut case.steps {
                if let What::Upgrade(at) = &mut step.what {
                    *at = When::Now;
                }
            }
            paths_agree(&case, &detours)
        });
    }
}

fn detours() -> impl Strategy<Value = Detours> {
    let look = any::<bool>().prop_map(|sweep| if sweep { Look::Sweep } else { Look::Read });
    prop::collection::vec((0..=1_000, look), 0..4)
}

fn paths_agree(case: &Case, detours: &[Detours]) -> Result<(), Broken> {
    let (plain, lines) = straight(case)?;
    let last = lines.last().map_or(case.setting.start, |(now, _)| *now);
    // Far enough for a licence, a cycle and what was bought to end.
    let end = last + Duration::days(400);
    let mut in_one_jump = plain.clone();
    in_one_jump.advance(end);
    in_one_jump.commit(None)?;

    let paths = [
        (
            "many small steps",
            with_detours(case, &lines, detours, end)?,
        ),
        ("one long book", in_one_book(case, &lines, end)?),
    ];
    for (path, lane) in paths {
        let same = lane.journal() == in_one_jump.journal()
            && lane.pool() == in_one_jump.pool()
            && lane.kept() == in_one_jump.kept();
        if !same {
            return Err(differ(path, &lane, &in_one_jump, &lines));
        }
    }
    Ok(())
}

/// One command after the other, each in a book of its own.
fn straight(case: &Case) -> Result<(Lane, Vec<(Time, Asked)>), Broken> {
    let (mut lane, mut script) = (Lane::new(case.setting), Script::default());
    let mut now = case.setting.start;
    for step in case.steps() {
        let asked;
        (now, asked) = script.next(&lane, now, &step);
        ask(&mut lane, now, &asked);
        lane.commit(None)?;
    }
    Ok((lane, script.lines))
}

fn ask(lane: &mut Lane, now: Time, asked: &Asked) {
    if let Asked::Command(command) = asked {
        lane.apply(now, command);
    }
}

/// The same commands, with looks at the pool between them, and day by day to the end.
fn with_detours(
    case: &Case,
    lines: &[(Time, Asked)],
    detours: &[Detours],
    end: Time,
) -> Result<Lane, Broken> {
    let mut lane = Lane::new(case.setting);
    let mut before = case.setting.start;
    let none = Detours::new();
    for ((now, asked), looks) in lines
        .iter()
        .zip(detours.iter().chain(std::iter::repeat(&none)))
    {
        let mut looks = looks.clone();
        looks.sort_by_key(|(part, _)| *part);
        for (part, look) in looks {
            let at = before + (*now - before) / 1_000 * part;
            match look {
                Look::Sweep => lane.advance(at),
                Look::Read => drop(lane.read(at)),
            }
            lane.commit(None)?;
        }
        ask(&mut lane, *now, asked);
        lane.commit(None)?;
        before = *now;
    }
    while before < end {
        before += Duration::days(1);
        lane.advance(before.min(end));
        lane.commit(None)?;
    }
    Ok(lane)
}

/// The same commands in one batch: nothing is written between them.
fn in_one_book(case: &Case, lines: &[(Time, Asked)], end: Time) -> Result<Lane, Broken> {
    let mut lane = Lane::new(case.setting);
    for (now, asked) in lines {
        ask(&mut lane, *now, asked);
    }
    lane.advance(end);
    lane.commit(None)?;
    Ok(lane)
}

fn differ(path: &str, lane: &Lane, plain: &Lane, lines: &[(Time, Asked)]) -> Broken {
    let both = lane.journal().iter().zip(plain.journal());
    let first = both.into_iter().find(|(one, other)| one != other);
    let lines: Vec<_> = lines
        .iter()
        .map(|(now, asked)| format!("{now} {asked:?}"))
        .collect();
    format!(
        "{path} and one jump differ:\n{first:#?}\n\nafter\n{}\n",
        lines.join("\n")
    )
}
