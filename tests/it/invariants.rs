//! Property tests of the core, in memory: random commands at awkward instants, against the naive
//! model of the contract and against the invariants named in the design.
//!
//! CI draws the same cases each time. `PROPTEST_CASES=20000 cargo test --test it invariants` draws
//! new ones, as many as asked for. A failure prints the shortest list of commands that shows it.

mod answers;
mod books;
mod calendar;
mod chain;
mod duel;
mod grants;
mod keys;
mod lane;
mod minting;
mod openings;
mod paths;
mod payments;
mod puts;
mod replays;
mod requests;
mod script;
mod steps;

use proptest::prelude::{ProptestConfig, Strategy};
use proptest::test_runner::{RngSeed, TestCaseError, TestError, TestRunner};

/// Why a property does not hold, for a reader.
type Broken = String;

/// Runs a property over random cases, the same ones each time unless the environment says how many.
fn holds<S: Strategy>(cases: u32, strategy: S, property: impl Fn(S::Value) -> Result<(), Broken>) {
    let default = ProptestConfig::default();
    let (cases, rng_seed) = match std::env::var_os("PROPTEST_CASES") {
        Some(_) => (default.cases, default.rng_seed),
        None => (cases, RngSeed::Fixed(2026)),
    };
    let config = ProptestConfig {
        cases,
        rng_seed,
        failure_persistence: None,
        max_shrink_iters: 20_000,
        ..default
    };
    let outcome = TestRunner::new(config).run(&strategy, |case| {
        property(case).map_err(TestCaseError::fail)
    });
    match outcome {
        Ok(()) => {}
        // The reason lists the commands; the steps they were made from add nothing.
        Err(TestError::Fail(reason, _)) => panic!("{reason}"),
        Err(error @ TestError::Abort(_)) => panic!("{error}"),
    }
}
