//! In which order jobs leave the desk.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use uuid::Uuid;

use super::*;
use crate::clock::Clock;
use crate::lanes::knowledge::Read;
use crate::lanes::{Job, LaneError, Reply};
use crate::ledger::{
    Actor, Attribution, Book, Catalogue, ClockId, Command, Credits, Debit, Mode, Patch, PoolName,
    PutPool, TenantId,
};
use crate::store::Loaded;

type Caller = oneshot::Receiver<Result<Reply, LaneError>>;

/// A job on the pool and who waits for it.
fn job(pool: &str, command: Command) -> (Envelope, Caller) {
    let tenant = TenantId::from(Uuid::from_u128(7));
    let pool = pool.parse().expect("a good name");
    let id = PoolId::of(tenant, &pool);
    let (answer, caller) = oneshot::channel();
    let job = Job {
        tenant,
        pool,
        actor: Actor::default(),
        command,
        dry_run: false,
    };
    (Envelope { id, job, answer }, caller)
}

fn debit(credits: u32) -> Command {
    Command::Debit(Box::new(Debit {
        credits: Some(Credits::whole(credits)),
        round: None,
        mode: Mode::Strict,
        attribution: Attribution::default(),
        metadata: None,
    }))
}

/// A desk with these commands on one pool.
fn desk_with(commands: &[Command]) -> (Desk, Knowledge, Vec<Caller>) {
    let (mut desk, mut knowledge) = (Desk::default(), Knowledge::new(Clock::System));
    let mut callers = Vec::new();
    for command in commands {
        let (envelope, caller) = job("workspace:w", command.clone());
        desk.take_up(envelope, &mut knowledge);
        callers.push(caller);
    }
    (desk, knowledge, callers)
}

/// What the jobs debit; of others, nothing.
fn debited(jobs: &PoolJobs) -> Vec<Option<Credits>> {
    let credits = |envelope: &Envelope| match &envelope.job.command {
        Command::Debit(debit) => debit.credits,
        _ => None,
    };
    jobs.envelopes.iter().map(credits).collect()
}

fn whole<const N: usize>(credits: [u32; N]) -> [Option<Credits>; N] {
    credits.map(|credits| Some(Credits::whole(credits)))
}

fn taken(desk: &mut Desk, way: Way, knowledge: &Knowledge) -> Vec<PoolJobs> {
    let taken = desk.take(way, &Busy::new(), knowledge);
    taken.into_iter().map(|(jobs, _)| jobs).collect()
}

#[test]
fn a_pool_that_is_busy_is_not_sent() {
    let (mut desk, knowledge, _callers) = desk_with(&[debit(1)]);
    let busy = Busy::from([(desk.groups[0].jobs.id, Instant::now())]);
    assert_eq!(desk.free(&busy, &knowledge), ByWay::default());
    assert_eq!(desk.take(Way::Read, &busy, &knowledge).len(), 0);
    assert_eq!(*desk.free(&Busy::new(), &knowledge).of(Way::Read), 1);
    assert_eq!((desk.jobs(), desk.may_wait()), (1, true));
}

/// The pool as it was made.
fn made(catalogue: &Catalogue, test_clock: Patch<ClockId>) -> Box<Book> {
    let tenant = TenantId::from(Uuid::from_u128(7));
    let name: PoolName = "workspace:w".parse().expect("a good name");
    let put = PutPool {
        plan: "pro".parse().ok(),
        test_clock,
        ..PutPool::default()
    };
    let names = (PoolId::of(tenant, &name), tenant, name);
    let made = put.create(names, catalogue, Actor::default(), Clock::System.now());
    Box::new(made.expect("a good request"))
}

/// A lane that remembers the pool and knows its tenant's catalogue.
fn knowing(version: i64) -> Knowledge {
    let tenant = TenantId::from(Uuid::from_u128(7));
    let catalogue = Arc::new(Catalogue::initial(Clock::System.now()));
    let mut knowledge = Knowledge::new(Clock::System);
    knowledge.memory.keep(made(&catalogue, Patch::Keep));
    knowledge.memory.confirm();
    knowledge.learn(&Read {
        loaded: Loaded::default(),
        clocks: HashMap::new(),
        catalogues: HashMap::from([(tenant, Some((version, catalogue)))]),
        now: Clock::System.now(),
    });
    knowledge
}

#[test]
fn debits_on_a_remembered_pool_need_no_read_as_long_as_the_catalogue_is_the_same() {
    let mut desk = Desk::default();
    let mut knowledge = knowing(1);
    let mut callers = Vec::new();
    let mut take_up = |desk: &mut Desk, knowledge: &mut Knowledge, credits| {
        let (envelope, caller) = job("workspace:w", debit(credits));
        desk.take_up(envelope, knowledge);
        callers.push(caller);
        let mut free = desk.free(&Busy::new(), knowledge);
        (*free.of(Way::Remembered), *free.of(Way::Read))
    };
    assert_eq!(take_up(&mut desk, &mut knowledge, 1), (1, 0));
    assert_eq!(take_up(&mut desk, &mut knowledge, 2), (2, 0));
    let mut later = knowing(2);
    assert_eq!(take_up(&mut desk, &mut later, 3), (0, 3));
}

#[test]
fn a_pool_on_a_test_clock_that_waits_to_be_written_takes_no_more_debits() {
    let (mut desk, mut knowledge) = (Desk::default(), knowing(1));
    let clock = Patch::Set(ClockId::from(Uuid::from_u128(8)));
    let book = made(&Catalogue::initial(Clock::System.now()), clock);
    let (first, _first_caller) = job("workspace:w", debit(1));
    let mut jobs = PoolJobs::new(first.id);
    jobs.push(first);
    desk.put(jobs, Some(Decided::on_guess(book)));
    let (second, _second_caller) = job("workspace:w", debit(2));
    desk.take_up(second, &mut knowledge);
    let mut free = desk.free(&Busy::new(), &knowledge);
    let by_way = (*free.of(Way::Remembered), *free.of(Way::Read));
    assert_eq!(by_way, (0, 2), "its time is read");
}

#[test]
fn a_pool_that_others_write_waits_for_its_turn() {
    let (mut desk, mut knowledge, _callers) = desk_with(&[debit(1)]);
    knowledge.contend(desk.groups[0].jobs.id);
    assert_eq!(taken(&mut desk, Way::Read, &knowledge).len(), 0);
    assert_eq!(taken(&mut desk, Way::InTurn, &knowledge).len(), 1);
    assert_eq!((desk.jobs(), desk.groups.len()), (0, 0));
}

#[test]
fn what_waits_for_something_late_is_taken_off_and_the_rest_stays() {
    let (mut desk, mut knowledge, mut callers) = desk_with(&[debit(1), debit(2)]);
    let now = Instant::now();
    let mut busy = Busy::from([(desk.groups[0].jobs.id, now)]);
    for pool in ["workspace:free", "workspace:in-turn", "workspace:soon"] {
        let (envelope, caller) = job(pool, debit(3));
        callers.push(caller);
        match pool {
            "workspace:in-turn" => knowledge.contend(envelope.id),
            "workspace:soon" => drop(busy.insert(envelope.id, now + Duration::from_millis(1))),
            _ => {}
        }
        desk.take_up(envelope, &mut knowledge);
    }
    let none_stuck = desk.take_stuck(&busy, now, ByWay::default(), &knowledge);
    assert_eq!(
        none_stuck.iter().map(debited).collect::<Vec<_>>(),
        [whole([1, 2])]
    );
    let mut stuck = ByWay::default();
    *stuck.of(Way::InTurn) = true;
    let in_turn = desk.take_stuck(&busy, now, stuck, &knowledge);
    assert_eq!(
        in_turn.iter().map(debited).collect::<Vec<_>>(),
        [whole([3])]
    );
    assert_eq!(desk.jobs(), 2, "one is free and one is not late");
}

#[test]
fn debits_join_those_that_were_read_up_to_what_must_be_read_for_itself() {
    let all = [debit(1), debit(2), Command::Advance, debit(3)];
    let (mut desk, mut knowledge, mut callers) = desk_with(&all);
    let (first, caller) = job("workspace:w", debit(9));
    let mut read = PoolJobs::new(first.id);
    read.push(first);
    callers.push(caller);
    desk.join(&mut read);
    assert_eq!(debited(&read), whole([9, 1, 2]));
    let left = &desk.groups[0].jobs;
    assert_eq!(debited(left), [None, Some(Credits::whole(3))]);
    assert_eq!(desk.jobs(), 2);

    // Where all join, the pool leaves the desk: the next debit may be decided at once.
    let (envelope, caller) = job("workspace:other", debit(4));
    let mut others = PoolJobs::new(envelope.id);
    desk.take_up(envelope, &mut knowledge);
    callers.push(caller);
    desk.join(&mut others);
    assert_eq!(debited(&others), whole([4]));
    assert_eq!((desk.jobs(), desk.groups.len()), (2, 1));
}

#[test]
fn what_must_be_done_again_comes_before_what_came_after_it() {
    let (mut desk, mut knowledge, mut callers) = desk_with(&[debit(1), debit(2)]);
    let mut lost = taken(&mut desk, Way::Read, &knowledge);
    let (envelope, caller) = job("workspace:w", debit(3));
    desk.take_up(envelope, &mut knowledge);
    callers.push(caller);
    desk.put_back(lost.remove(0));
    let again = taken(&mut desk, Way::Read, &knowledge);
    assert_eq!(debited(&again[0]), whole([1, 2, 3]));
    assert_eq!((again.len(), desk.jobs()), (1, 0));
}

#[test]
fn a_job_that_nobody_waits_for_never_begins() {
    let (mut desk, mut knowledge, callers) = desk_with(&[]);
    let (envelope, caller) = job("workspace:w", debit(1));
    drop((caller, callers));
    desk.take_up(envelope, &mut knowledge);
    assert_eq!(desk.jobs(), 0);
}
