//! Chained: a changed, removed or inserted journal row is found, by the hashes alone and by the
//! audit that `verify` runs.

use std::sync::Arc;

use chrono::Duration;
use credit_ledger::ledger::{
    Account, Audit, Canonical, Credits, Entry, Hash, Kept, Kind, Metadata,
};
use credit_ledger::ledger::{Pool, Transfer};
use proptest::prelude::any;
use uuid::Uuid;

use super::lane::Lane;
use super::script::{Asked, Script};
use super::steps::{self, Case, Mix};
use super::{Broken, books, holds};

type Journal = Vec<Arc<Entry>>;

/// A pool, and what is kept beside its journal.
type Books = (Pool, Kept);

/// A change of one field of a stored entry.
type Tampering = (&'static str, fn(&mut Entry));

#[test]
fn a_journal_that_nobody_touched_passes_its_audit() {
    holds(200, steps::case(Mix::Everything, 30), |case| {
        let Some((books, journal)) = book(&case)? else {
            return Ok(());
        };
        match audited(&journal, &books) {
            None => Ok(()),
            Some(fault) => Err(format!("{fault:?} in {journal:#?}")),
        }
    });
}

#[test]
fn a_changed_field_is_found_in_its_entry() {
    let case = (steps::case(Mix::Everything, 12), any::<usize>());
    holds(150, case, |(case, which)| {
        let Some((books, journal)) = book(&case)? else {
            return Ok(());
        };
        let place = which % journal.len();
        for (field, tamper) in tamperings() {
            let mut bad = journal.clone();
            tamper(Arc::make_mut(&mut bad[place]));
            if bad[place] != journal[place] {
                let found = [books::first_broken(&bad, &books.0), audited(&bad, &books)];
                if found != [Some(journal[place].seq); 2] {
                    return Err(format!("{field} of {:#?}: found at {found:?}", bad[place]));
                }
            }
        }
        Ok(())
    });
}

#[test]
fn a_removed_an_inserted_and_a_moved_entry_are_found() {
    let case = (
        steps::case(Mix::Everything, 12),
        any::<usize>(),
        any::<usize>(),
    );
    holds(200, case, |(case, one, other)| {
        let Some((books, journal)) = book(&case)? else {
            return Ok(());
        };
        let (one, other) = (one % journal.len(), other % journal.len());
        let mut removed = journal.clone();
        removed.remove(one);
        let mut inserted = journal.clone();
        inserted.insert(other, Arc::clone(&journal[one]));
        let mut moved = journal.clone();
        moved.swap(one, other);
        for (what, bad) in [
            ("removed", removed),
            ("inserted", inserted),
            ("moved", moved),
        ] {
            let found = [books::first_broken(&bad, &books.0), audited(&bad, &books)];
            if bad != journal && found.contains(&None) {
                return Err(format!(
                    "entry {one} was {what} ({other}) and not found: {found:?}"
                ));
            }
        }
        Ok(())
    });
}

#[test]
fn a_chain_that_is_made_anew_does_not_end_where_the_pool_does() {
    let case = (steps::case(Mix::Everything, 12), any::<usize>());
    holds(100, case, |(case, which)| {
        let Some((books, journal)) = book(&case)? else {
            return Ok(());
        };
        let mut forged = journal.clone();
        let place = which % journal.len();
        Arc::make_mut(&mut forged[place]).reason = "nothing to see".parse().ok();
        let mut previous = place
            .checked_sub(1)
            .map_or(Hash::GENESIS, |place| forged[place].hash);
        for entry in &mut forged[place..] {
            let entry = Arc::make_mut(entry);
            entry.hash = entry.chained_to(previous);
            previous = entry.hash;
        }
        match [
            books::first_broken(&forged, &books.0),
            audited(&forged, &books),
        ] {
            [Some(_), Some(_)] => Ok(()),
            found => Err(format!("a forged chain from {place} on: {found:?}")),
        }
    });
}

/// The pool and the journal of a case; `None` when no pool came of it.
fn book(case: &Case) -> Result<Option<(Books, Journal)>, Broken> {
    let (mut lane, mut script) = (Lane::new(case.setting), Script::default());
    let mut now = case.setting.start;
    for step in case.steps() {
        let asked;
        (now, asked) = script.next(&lane, now, &step);
        if let Asked::Command(command) = asked {
            lane.apply(now, &command);
        }
    }
    lane.commit(None)?;
    let journal = lane.journal().to_vec();
    let kept = lane.kept();
    Ok(lane.pool().map(|pool| ((pool.clone(), kept), journal)))
}

/// The entry that the audit names; the one after the last when only the pool's row is wrong.
fn audited(journal: &[Arc<Entry>], (pool, kept): &Books) -> Option<i64> {
    let mut audit = Audit::new(pool.id);
    let checked = journal.iter().try_for_each(|entry| audit.check(entry));
    let fault = checked.and_then(|()| audit.finish(pool, kept)).err()?;
    Some(fault.seq.unwrap_or(audit.entries() + 1))
}

/// Every field but those that are made from others: an id, the balance's version and its instant.
fn tamperings() -> Vec<Tampering> {
    let mut all = whats();
    all.extend(whos());
    all.extend(states());
    all
}

fn whats() -> Vec<Tampering> {
    vec![
        ("pool", |entry| entry.pool = Uuid::from_u128(1).into()),
        ("seq", |entry| entry.seq += 1),
        ("kind", |entry| {
            entry.kind = if entry.kind == Kind::Debit {
                Kind::Close
            } else {
                Kind::Debit
            };
        }),
        ("at", |entry| entry.at += Duration::milliseconds(1)),
        ("details", |entry| {
            entry.details = Some("{\"mode\":\"settle\"} ".into())
        }),
        ("amount", |entry| {
            if let Some(transfer) = entry.transfers.first_mut() {
                transfer.amount = transfer.amount + Credits::whole(1);
            }
        }),
        ("account", |entry| {
            if let Some(transfer) = entry.transfers.last_mut() {
                transfer.to = Account::ClawedBack;
            }
        }),
        ("one transfer more", |entry| {
            entry.transfers.extend(Transfer::new(
                Account::Adjusted,
                Account::Monthly,
                Credits::whole(1),
            ));
        }),
        ("one transfer less", |entry| {
            entry.transfers.pop();
        }),
        ("hash", |entry| entry.hash = Hash::GENESIS),
    ]
}

fn whos() -> Vec<Tampering> {
    vec![
        ("key", |entry| {
            entry.actor.key = Some(Uuid::from_u128(1).into())
        }),
        ("no key", |entry| entry.actor.key = None),
        ("no request", |entry| entry.actor.request = None),
        ("idempotency key", |entry| {
            if let Some(request) = &mut entry.actor.request {
                request.key = "another".parse().expect("a good key");
            }
        }),
        ("fingerprint", |entry| {
            if let Some(request) = &mut entry.actor.request {
                request.fingerprint = Canonical::new("another").fingerprint();
            }
        }),
        ("operation", |entry| {
            entry.attribution.operation = "x".parse().ok()
        }),
        ("user", |entry| entry.attribution.user_id = "x".parse().ok()),
        ("workspace", |entry| {
            entry.attribution.workspace_id = "x".parse().ok()
        }),
        ("run", |entry| entry.attribution.run_id = "x".parse().ok()),
        ("model", |entry| entry.attribution.model = "x".parse().ok()),
        ("reference", |entry| entry.reference = "x".parse().ok()),
        ("reason", |entry| entry.reason = "x".parse().ok()),
        ("purchase", |entry| {
            entry.purchase = Some(Uuid::from_u128(77).into())
        }),
        ("metadata", |entry| {
            entry.metadata = Some(Metadata::stored("{}".to_owned()))
        }),
    ]
}

fn states() -> Vec<Tampering> {
    fn more(credits: &mut Credits) {
        *credits = *credits + Credits::whole(1);
    }
    vec![
        ("granted", |entry| more(&mut entry.after.monthly.granted)),
        ("settled", |entry| more(&mut entry.after.monthly.settled)),
        ("held", |entry| more(&mut entry.after.monthly.held)),
        ("used", |entry| more(&mut entry.after.monthly.used)),
        ("cycle start", |entry| {
            entry.after.monthly.cycle_start += Duration::milliseconds(1)
        }),
        ("renewal", |entry| {
            entry.after.monthly.renews_at += Duration::milliseconds(1)
        }),
        ("expiry", |entry| {
            entry.after.monthly.expires_at += Duration::milliseconds(1)
        }),
        ("add-on granted", |entry| {
            more(&mut entry.after.addon.granted)
        }),
        ("add-on settled", |entry| {
            more(&mut entry.after.addon.settled)
        }),
        ("add-on held", |entry| more(&mut entry.after.addon.held)),
        ("add-on expiry", |entry| {
            entry.after.addon.expires_at = match entry.after.addon.expires_at {
                Some(_) => None,
                None => Some(entry.at),
            };
        }),
        ("overdraft", |entry| more(&mut entry.after.overdraft)),
        ("held of ended cycles", |entry| {
            more(&mut entry.after.held_ended)
        }),
        ("cycle", |entry| entry.cycle_seq += 1),
        ("add-on pool", |entry| {
            entry.addon_seq = Some(entry.addon_seq.map_or(1, |seq| seq + 1));
        }),
    ]
}
